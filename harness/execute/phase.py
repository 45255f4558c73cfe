"""Carries out a study, or some of its phases: skips what is done, trains the rest, tells what failed."""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import EnvironmentProblem, RunsFailed, StoreError, StudyError
from harness.execute.agenda import Agenda
from harness.execute.job import CHECKPOINT_EVERY_S, Done, Executor, Job
from harness.execute.progress import StageProgress
from harness.execute.slurm import SlurmExecutor, need_no_jobs
from harness.files import FULL
from harness.selection import read_selected, write_selected
from harness.store.store import Store
from harness.study.plan import PHASES, Entry, Phase, any_winner, plan
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.workspace import Workspace

_COLUMNS = ["ended_utc", "phase", "run", "executor", "node", "seconds", "outcome"]
_NAMED = 3  # of the runs that a failure keeps from starting

_Runs = Sequence[tuple[Entry, RunSpec]]  # entries, each with its run or, before the selection, one that costs the same

_FULL = tuple(map(os.strerror, FULL))  # the words of a run's end on a full disk


def train_phases(
    study: Study,
    workspace: Workspace,
    phases: Sequence[Phase],
    executor: Executor,
    *,
    cell: str | None = None,
    seed: int | None = None,
    part: tuple[int, int] | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> None:
    """Bring phases up to date, all in one pool of runs.

    A student can start when its own teacher is done, and a run that waits for the selection when all candidates of its
    pair and method are. Every end is noted in `runs/<profile>/executions.csv`.

    Args:
        study: The study.
        workspace: Its files.
        phases: Which phases.
        executor: Who trains.
        cell: Only runs of this cell (`RunSpec.cell`); None for all.
        seed: Only runs with this seed; None for all.
        part: Only every n-th run from the k-th (k, n; 0 <= k < n), as a job array without a driver does; None for all.
        checkpoint_every_s: Seconds between a run's checkpoints; 0 for every epoch.

    Raises:
        EnvironmentProblem: Another process works on the same runs, jobs of Slurm may do so, or the disk is full.
        StoreError: A run needs one of a phase that was not asked for, and it is not there.
        RunsFailed: Some runs failed; all others that do not need them are done.
        StudyError: No run is of this cell and seed, or a phase waits for the selection.
    """
    store = Store(workspace.runs)
    named = cell is not None or seed is not None
    filtered = named or part is not None
    selects = "select" in phases and not filtered  # a part of the candidates selects nothing
    with store.locked(shared=filtered), ExitStack() as runs:
        selected = None
        # Phases up to the selection do not read its result: a damaged one is no obstacle to making it again.
        if not selects and not {*phases} <= {"teachers", "select"}:
            selected = read_selected(workspace.selected, study)
        stand_ins = plan(study, selected or any_winner(study))
        wanted = [
            (entry, stand_in.run)
            for entry, stand_in in zip(plan(study, selected), stand_ins, strict=True)
            if entry.phase in phases and _wanted(entry, cell, seed)
        ]
        if named and not wanted:
            raise StudyError(
                f"--cell, --seed: expected a run of {', '.join(phases)}, found none with cell {cell or 'any'} and seed "
                f"{'any' if seed is None else seed}; `harness plan --runs` lists them."
            )
        if part is not None:
            wanted = wanted[part[0] :: part[1]]
        shown = [phase for phase in PHASES if phase in phases]
        if filtered:
            shown = [phase for phase in shown if any(entry.phase == phase for entry, _ in wanted)]
        if not selects:
            for entry, _ in wanted:
                entry.run  # noqa: B018 - says so where it waits for the selection
        _need_owners(store, [entry for entry, _ in wanted if entry.owner not in phases])
        own = [(entry, run) for entry, run in wanted if entry.owner == entry.phase]
        if filtered:
            runs.enter_context(store.holding([entry for entry, _ in own]))

        def select(val_acc: Mapping[str, float]) -> None:
            if selects:
                write_selected(workspace.selected, study, val_acc)

        agenda = Agenda(store, study, own, checkpoint_every_s, select)
        new = [each for each, expected in zip(own, agenda.survey(), strict=True) if expected]
        _need_teachers(store, own, new)
        with StageProgress(*_headings(shown, wanted, new)) as progress:
            agenda.start(progress)
            ends = list(_ends(store, agenda, executor, progress))
        for phase in shown:  # also when a study has no run in this phase: DVC expects the folder
            (store.root / phase).mkdir(exist_ok=True)
    if any(done.error is not None for done, _ in ends):
        raise RunsFailed(_told(ends, shown))


def _ends(
    store: Store, agenda: Agenda, executor: Executor, progress: StageProgress
) -> Iterator[tuple[Done, list[Entry]]]:
    """Every end, noted, with the entries that cannot be started for it."""

    def on_epoch(job: Job, epoch: int, val_acc: float) -> None:
        progress.epoch(job, epoch, val_acc)
        agenda.past_table(job)

    if agenda.ready and not isinstance(executor, SlurmExecutor):
        need_no_jobs(store.root)  # they outlive a `harness train` that was killed, and with it the store's lock
    for done in executor.run(agenda.ready, on_epoch, progress.say):
        entry, lost = agenda.entry(done.job), []
        agenda.past_table(done.job, ended=True)
        progress.ended(done)
        if done.error is not None and any(word in done.error for word in _FULL):
            raise EnvironmentProblem(_full(store, done))
        store.mark(entry, done.error)
        _note(store.root / "executions.csv", entry, done, type(executor).__name__)
        if done.error is None:
            agenda.done(done.job)
        else:
            lost = agenda.failed(done.job)
        yield done, lost


def _told(ends: Sequence[tuple[Done, list[Entry]]], phases: Sequence[Phase]) -> str:
    """What failed and why, and what was not started for it."""
    failures = [(done, lost) for done, lost in ends if done.error is not None]
    stopped = sum(len(lost) for _, lost in failures)
    lines = []
    for done, lost in failures:
        lines.append(f"  {done.job.folder}: {done.error}")
        if lost:
            names = [f"{entry.phase}/{entry.label}" for entry in lost]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            lines.append(f"    not started, since they need it: {', '.join(names[:_NAMED])}{more}")
    of = f" of {phases[0]}" if len(phases) == 1 else ""
    waiting = f", {stopped} {'was' if stopped == 1 else 'were'} not started" if stopped else ""
    return (
        f"{len(failures)} of {len(ends) + stopped} runs{of} (the other {len(ends) - len(failures)} are done and "
        f"kept{waiting}; the same command tries the failed ones again):\n" + "\n".join(lines)
    )


def _headings(phases: Sequence[Phase], wanted: _Runs, new: _Runs) -> tuple[dict[str, list[RunSpec]], dict[str, str]]:
    """By phase: runs to train, and words on its other entries, which are done or another phase's to train."""
    to_train: dict[str, list[RunSpec]] = {
        phase: [run for entry, run in new if entry.phase == phase] for phase in phases
    }
    missing = {run.sha256 for _, run in new}
    words = {}
    for phase, runs in to_train.items():
        entries = [(entry, run) for entry, run in wanted if entry.phase == phase]
        shared = sum(entry.owner != phase and run.sha256 in missing for entry, run in entries)
        done = len(entries) - len(runs) - shared
        words[phase] = f", {done} done before" * bool(done) + f", {shared} shared with earlier phases" * bool(shared)
    return to_train, words


def _note(path: Path, entry: Entry, done: Done, executor: str) -> None:
    """Add a line to the log of executions: which node ran what. Unlike other files it grows in place, line by line."""
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    seconds = "" if done.seconds is None else f"{done.seconds:.1f}"
    outcome = "done" if done.error is None else "failed"
    with path.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # processes with a part of the runs each may come to their ends together
        rows = csv.writer(file, lineterminator="\n")
        if not path.stat().st_size:
            rows.writerow(_COLUMNS)
        rows.writerow([ended, entry.phase, entry.run.name, executor, done.node, seconds, outcome])


def _full(store: Store, done: Done) -> str:
    where = f" on {done.node}" if done.node else ""
    return (
        f"{done.job.folder}: expected room for a run, found the disk full{where} ({store.root} has "
        f"{shutil.disk_usage(store.root).free / 1e6:,.0f} MB free); all that was whole is kept. Make room "
        "(`harness plan` says what the study takes), and the same command goes on from there."
    )


def _wanted(entry: Entry, cell: str | None, seed: int | None) -> bool:
    """Whether a run was asked for; of one that waits for the selection, cell and seed are not known yet."""
    if entry.spec is None:
        return cell is None and seed is None
    return cell in (None, entry.spec.cell) and seed in (None, entry.spec.seed)


def _need_owners(store: Store, entries: Sequence[Entry]) -> None:
    """Entries whose runs belong to phases that were not asked for have to be done."""
    for entry in entries:
        check = store.check(entry)
        if check.state != "done":
            raise StoreError(
                f"{entry.phase} shares the run {store.folder(entry)}, which is {check.state} "
                f"({check.reason or 'not trained yet'}); run `harness train --phase {entry.owner}` first."
            )


def _need_teachers(store: Store, own: _Runs, new: _Runs) -> None:
    """So have the teachers, not asked for themselves, of runs that will be trained."""
    asked = {run.sha256 for entry, run in own if entry.phase == "teachers"}
    teachers = {run.teacher.sha256: run for _, run in new if run.teacher is not None}
    needed = {sha256: run for sha256, run in teachers.items() if sha256 not in asked}
    for run in needed.values():
        check = store.check_teacher(run)
        if check.state != "done":
            raise StoreError(
                f"expected the teacher's run {store.teacher_folder(run)} to be done, found it {check.state} "
                f"({check.reason or 'not trained yet'}); run `harness train --phase teachers` first."
            )
