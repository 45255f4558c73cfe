"""Carries out the phases of a study: skips what is done, trains the rest, tells what failed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence

from harness.errors import EnvironmentProblem, RunsFailed, StoreError, StudyError
from harness.execute.job import CHECKPOINT_EVERY_S, Done, Executor, Job
from harness.execute.progress import StageProgress
from harness.selection import read_selected, write_selected
from harness.store.code import training_code_sha256
from harness.store.store import Store
from harness.study.cost import training_flops
from harness.study.plan import PHASES, Entry, Phase, plan
from harness.study.study import Study
from harness.workspace import DOWNLOADS, Workspace

_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))  # what a run on a full disk ends with


def train_phases(
    study: Study,
    workspace: Workspace,
    phases: Sequence[Phase],
    executor: Executor,
    *,
    cell: str | None = None,
    seed: int | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> None:
    """Bring phases up to date.

    Args:
        study: The study.
        workspace: Its files.
        phases: Which phases; carried out in the study's order.
        executor: Who trains.
        cell: Only runs of this cell (`RunSpec.cell`); None for all.
        seed: Only runs with this seed; None for all.
        checkpoint_every_s: Seconds between a run's checkpoints; 0 for every epoch.

    Raises:
        EnvironmentProblem: Another process works on the same runs, or the disk is full.
        StoreError: A phase needs runs of an earlier phase that are not there.
        RunsFailed: Some runs failed; all others of the phase are done.
        StudyError: No run is of this cell and seed, or the phase waits for the selection.
    """
    store = Store(workspace.runs)
    filtered = cell is not None or seed is not None
    matched = 0
    with store.locked():
        for phase in (phase for phase in PHASES if phase in phases):
            # Phases up to the selection do not read its result: a damaged one is no obstacle to making it again.
            done = phase not in ("teachers", "select")
            selected = read_selected(workspace.selected, study) if done else None
            entries = [entry for entry in plan(study, selected) if entry.phase == phase and _wanted(entry, cell, seed)]
            matched += len(entries)
            if entries or not filtered:
                _train_phase(store, phase, entries, executor, checkpoint_every_s)
            if phase == "select" and not filtered:
                _select(store, study, workspace, entries)
    if filtered and not matched:
        raise StudyError(
            f"--cell, --seed: expected a run of {', '.join(phases)}, found none with cell {cell or 'any'} and seed "
            f"{'any' if seed is None else seed}; `harness plan --runs` lists them."
        )


def _train_phase(
    store: Store, phase: Phase, entries: Sequence[Entry], executor: Executor, checkpoint_every_s: float
) -> None:
    jobs: dict[Job, Entry] = {}
    for entry in entries:
        check = store.check(entry)
        folder = store.folder(entry)
        if check.state == "done":
            continue
        if entry.owner != phase:
            raise StoreError(
                f"{phase} shares the run {folder}, which is {check.state} ({check.reason or 'not trained yet'}); "
                f"run `harness train --phase {entry.owner}` first."
            )
        if check.state == "stale":
            print(f"{folder} is trained again: {check.reason}", flush=True)  # noqa: T201 - progress, for people
        job = Job(
            spec=entry.run,
            teacher=store.teacher_folder(entry.run),
            partial=store.partial(entry),
            folder=folder,
            tables=store.tables,
            downloads=DOWNLOADS,
            code_sha256=training_code_sha256(entry.run.method),
            checkpoint_every_s=checkpoint_every_s,
        )
        jobs[job] = entry
    _need_teachers(store, list(jobs))
    longest_first = sorted(jobs, key=lambda job: -training_flops(job.spec))  # no long run is left alone at the end
    failed = []
    with StageProgress(phase, longest_first, skipped=len(entries) - len(jobs)) as progress:
        for done in executor.run(longest_first, progress.epoch, progress.say):
            progress.ended(done)
            if done.error is not None and any(word in done.error for word in _FULL):
                raise EnvironmentProblem(_full(store, done))
            store.mark(jobs[done.job], done.error)
            if done.error is not None:
                failed.append(f"  {done.job.folder}: {done.error}")
    (store.root / phase).mkdir(exist_ok=True)  # also when a study has no run in this phase: DVC expects the folder
    if failed:
        whole = len(jobs) - len(failed)
        raise RunsFailed(
            f"{len(failed)} of {len(jobs)} runs of {phase} (the other {whole} are done and kept; the same command "
            "tries the failed ones again):\n" + "\n".join(failed)
        )


def _full(store: Store, done: Done) -> str:
    return (
        f"{done.job.folder}: expected room for a run, found the disk full "
        f"({shutil.disk_usage(store.root).free / 1e6:,.0f} MB free); all that was whole is kept. Make room "
        "(`harness plan` says what the study takes), and the same command goes on from there."
    )


def _wanted(entry: Entry, cell: str | None, seed: int | None) -> bool:
    """Whether a run was asked for; of one that waits for the selection, cell and seed are not known yet."""
    if entry.spec is None:
        return cell is None and seed is None
    return cell in (None, entry.spec.cell) and seed in (None, entry.spec.seed)


def _need_teachers(store: Store, jobs: Sequence[Job]) -> None:
    for job in {job.teacher: job for job in jobs if job.teacher is not None}.values():
        check = store.check_teacher(job.spec)
        if check.state != "done":
            raise StoreError(
                f"expected the teacher's run {job.teacher} to be done, found it {check.state} "
                f"({check.reason or 'not trained yet'}); run `harness train --phase teachers` first."
            )


def _select(store: Store, study: Study, workspace: Workspace, entries: Sequence[Entry]) -> None:
    val_acc = {}
    for entry in entries:
        record = store.check(entry).record
        if record is None:
            raise StoreError(f"{store.folder(entry)} is not whole; run `harness train --phase select` again.")
        val_acc[record.spec_sha256] = record.val_acc
    write_selected(workspace.selected, study, val_acc)
