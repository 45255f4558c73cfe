"""The bitwise level of `harness verify`: trained again where it was trained, does a run give the same bits?

Chosen runs are trained again in a scratch folder, by the code that trained them, and held against the stored records.
A record whose files and digests are consistent, but which is not what training gives, is found out here. Where the
machine, the libraries, the training code, the images or the teacher are others than the record's, other bits would
prove nothing: then nothing is trained, and the statistical level stands alone.
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from harness.errors import EnvironmentProblem, RunsFailed, StoreError, StudyError
from harness.execute.job import Job
from harness.execute.local import LocalExecutor, default_workers
from harness.execute.progress import StageProgress
from harness.selection import read_selected
from harness.store import record as records
from harness.store.code import training_code_sha256
from harness.store.record import RunRecord
from harness.store.store import Store, read
from harness.study.cost import training_flops
from harness.study.plan import PHASES, Entry, distinct, plan
from harness.study.spec import Dataset, RunSpec
from harness.study.study import Study
from harness.verify.lock import LockCheck, check_lock
from harness.workspace import DOWNLOADS, Workspace

Verdict = Literal["PASS", "FAIL", "NOT COMPARABLE"]

# What must be the same to the bit. Contents stand beside the digests that records keep of them, and test results beside
# the correctness that accuracies follow from: who edits a record may leave either as it was.
COMPARED: Mapping[str, Callable[[RunRecord], object]] = {
    "best weights": lambda record: record.files.get(records.WEIGHTS),
    "last weights": lambda record: record.last_weights_sha256,
    "history": lambda record: (record.history_sha256, record.history, record.best_epoch),
    "correctness of the best": lambda record: record.files.get(records.CORRECT_BEST),
    "correctness of the last": lambda record: record.files.get(records.CORRECT_LAST),
    "test results": lambda record: (record.test_best, record.test_last, record.fidelity),
}


@dataclass(frozen=True)
class RunComparison:
    """One run, trained again or not.

    Attributes:
        run: PHASE/NAME, its `run_id` in runs.csv.
        verdict: PASS if all of `COMPARED` agrees; FAIL if not; NOT COMPARABLE if it was not trained again.
        differs: Names from `COMPARED`; of a run that is not comparable, what its bits depend on and is another here,
            with both values: `torch: record 2.11.0, here 2.13.0`.
        sentence: The same in words.
    """

    run: str
    verdict: Verdict
    differs: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Bitwise:
    """The whole bitwise level.

    Attributes:
        verdict: FAIL if a run or dvc.lock fails; PASS if every run passes and dvc.lock does not fail; otherwise NOT
            COMPARABLE.
        sentence: The verdict in words.
        runs: Each chosen run.
        lock: dvc.lock held against the disk.
    """

    verdict: Verdict
    sentence: str
    runs: tuple[RunComparison, ...]
    lock: LockCheck


def compare_bitwise(study: Study, workspace: Workspace, runs: Sequence[str]) -> Bitwise:
    """Train runs again in a scratch folder and hold them against the stored records, and dvc.lock against the disk.

    Scratch files (checkpoints, teachers' tables) lie in the system's folder for temporary files (TMPDIR) and go at the
    end; nothing under `runs/` is written. Progress is printed as `harness train` prints it.

    Args:
        study: The study.
        workspace: Its files; only read.
        runs: PHASE/NAME of runs; if empty, of each phase that has trained some the cheapest by operations.

    Returns:
        What agrees, what differs, and what could not be compared.

    Raises:
        StudyError: The plan has no run of such a name, or it waits for the selection.
        StoreError: A run or its teacher is missing, damaged or of another description; or no run is there at all.
        DataError: The images are missing or damaged.
        RunsFailed: A run could not be trained to its end.
    """
    store = Store(workspace.runs)
    chosen = {
        run_id: _whole(store.folder(entry), entry.run, run_id)
        for run_id, entry in _chosen(study, workspace, store, runs).items()
    }
    images = cache(_images_sha256)  # of one study all runs have the same
    elsewhere = {run_id: _differences(record, store, images) for run_id, record in chosen.items()}
    lock = check_lock(workspace)
    comparable = {run_id: record.spec for run_id, record in chosen.items() if not elsewhere[run_id]}
    again = _trained_again(store, study, comparable)
    compared = [
        _compared(run_id, record, again[run_id]) if run_id in again else _not_comparable(run_id, elsewhere[run_id])
        for run_id, record in chosen.items()
    ]
    return _judged(tuple(compared), lock)


def _chosen(study: Study, workspace: Workspace, store: Store, runs: Sequence[str]) -> dict[str, Entry]:
    """The runs to compare by `run_id`: each once, though phases may share it."""
    entries = plan(study, read_selected(workspace.selected, study))
    if runs:
        known = {f"{entry.phase}/{entry.label}": entry for entry in entries}
        unknown = [run for run in runs if run not in known]
        if unknown:
            raise StudyError(
                f"--bitwise: expected PHASE/NAME of a run of profile {workspace.profile}, found {unknown[0]}; "
                "`harness plan --runs` lists phases and names."
            )
        wanted = [known[run] for run in runs]
    else:
        # A broken run is not stepped over: it ends in a sentence, not in a verdict on the others.
        there = [entry for entry in distinct(entries) if entry.spec is not None and store.folder(entry).exists()]
        phases = [[entry for entry in there if entry.phase == phase] for phase in PHASES]
        wanted = [min(some, key=lambda entry: training_flops(entry.run)) for some in phases if some]
        if not wanted:
            raise StoreError(f"{store.root}: expected at least one trained run, found none; run `harness train` first.")
    return {f"{entry.owner}/{entry.run.name}": entry for entry in wanted}


def _whole(folder: Path, spec: RunSpec, run_id: str) -> RunRecord:
    """The record of a run, after checking every digest and that it is of this very description.

    Not `Store.check`: there a run of other training code or of another teacher is stale, here it is not comparable.
    """
    try:
        record = read(folder)
    except StoreError as error:
        found = str(error)
    else:
        if record.spec == spec:
            return record
        found = f"{folder} was trained for another description"
    raise StoreError(
        f"{run_id}: expected a trained run, whole and of this study, found that {found}; `harness plan --runs` says "
        "which are, and `harness train` trains the others."
    )


# --- here and there ---------------------------------------------------------------------------------------------------


def _differences(record: RunRecord, store: Store, images_sha256: Callable[[Dataset], str]) -> tuple[str, ...]:
    """All that the bits of a run depend on and that is another here, with both values; empty if it can be compared."""
    spec, digests = record.spec, {"training code": (record.code_sha256, training_code_sha256(record.spec.method))}
    folder = store.teacher_folder(spec)
    if spec.teacher is not None and folder is not None:
        teacher = _whole(folder, spec.teacher, f"teachers/{spec.teacher.name}")
        learned_from = record.teacher.weights_sha256 if record.teacher else "nothing"
        digests["teacher's weights"] = (learned_from, teacher.files[records.WEIGHTS])
    found = [*_digests_differ(digests), *_machine_differs(record)]
    if not found:  # images may take long to load: not for a run that is not trained again anyway
        found += _digests_differ({"images": (record.data_sha256, images_sha256(spec.dataset))})
    return tuple(found)


def _digests_differ(digests: Mapping[str, tuple[str, str]]) -> list[str]:
    return [
        f"{name}: record {then[:12]}, here {now[:12]}"  # as many hex digits as tell digests apart
        for name, (then, now) in digests.items()
        if then != now
    ]


def _machine_differs(record: RunRecord) -> list[str]:
    """Hardware, libraries, switches and settings, as far as bits depend on them."""
    if importlib.util.find_spec("torch") is None:  # verdicts on tables do without
        return [f"torch: record {record.stack.get('torch')}, here none"]
    from harness.training import determinism

    spec, there = record.spec, record.stack
    try:
        device = determinism.configure(spec.optimisation)
    except EnvironmentProblem:  # the study asks for cuda
        return [f"device: record {there.get('device')}, here none that the study asks for"]
    here = determinism.stack(device)
    names = [*determinism.bits_depend_on(spec, there), *determinism.bits_depend_on(spec, here)]
    pairs = {name: (there.get(name), here.get(name)) for name in names}
    for name, value in determinism.settings().items():
        if name != "cublas_workspace_config":  # in the stack of a GPU; anywhere else nothing reads it
            pairs[name] = (str(record.settings.get(name)), str(value))
    return [
        f"{name}: record {then or 'none'}, here {now or 'none'}" for name, (then, now) in pairs.items() if then != now
    ]


def _images_sha256(dataset: Dataset) -> str:
    from harness.training import data

    return data.load(dataset, DOWNLOADS).sha256


# --- again ------------------------------------------------------------------------------------------------------------


def _trained_again(store: Store, study: Study, runs: Mapping[str, RunSpec]) -> dict[str, RunRecord]:
    """Records of runs trained here and now, each in a fresh process, from nothing but the stored teachers."""
    if not runs:
        return {}
    with tempfile.TemporaryDirectory(prefix="kdcap-bitwise-") as scratch:
        place = Path(scratch)
        jobs = {
            Job(
                spec=spec,
                teacher=store.teacher_folder(spec),
                partial=place / "partial" / run_id,
                folder=place / "runs" / run_id,
                tables=place / "tables",
                downloads=DOWNLOADS,
                code_sha256=training_code_sha256(spec.method),
                checkpoint_every_s=math.inf,  # nobody goes on from a scratch folder
            ): run_id
            for run_id, spec in runs.items()
        }
        longest_first = sorted(jobs, key=lambda job: -training_flops(job.spec))
        executor = LocalExecutor(default_workers(study.optimisation), study.methods)
        failed = []
        with StageProgress({"bitwise": [job.spec for job in longest_first]}) as progress:
            for done in executor.run(longest_first, progress.epoch, progress.say):
                progress.ended(done)
                if done.error is not None:
                    failed.append(f"  {jobs[done.job]}: {done.error}")
        if failed:
            raise RunsFailed(
                f"{len(failed)} of {len(jobs)} runs could not be trained again, so that nothing was compared (scratch "
                f"files were in {scratch}; TMPDIR names another place):\n" + "\n".join(failed)
            )
        return {run_id: read(job.folder) for job, run_id in jobs.items()}


def _compared(run_id: str, stored: RunRecord, again: RunRecord) -> RunComparison:
    differs = tuple(name for name, part in COMPARED.items() if part(stored) != part(again))
    agrees = ", ".join(name for name in COMPARED if name not in differs)
    if not differs:
        return RunComparison(run_id, "PASS", (), f"{run_id}, trained again, is the same to the bit: {agrees}.")
    return RunComparison(
        run_id,
        "FAIL",
        differs,
        f"{run_id}, trained again on the same stack, differs in {', '.join(differs)}; the same: {agrees or 'nothing'}.",
    )


def _not_comparable(run_id: str, differs: tuple[str, ...]) -> RunComparison:
    return RunComparison(
        run_id,
        "NOT COMPARABLE",
        differs,
        f"{run_id} was not trained again, since other bits would prove nothing: {'; '.join(differs)}.",
    )


def _judged(runs: tuple[RunComparison, ...], lock: LockCheck) -> Bitwise:
    failed = [run.sentence for run in runs if run.verdict == "FAIL"]
    elsewhere = [run for run in runs if run.verdict == "NOT COMPARABLE"]
    same = len(runs) - len(failed) - len(elsewhere)
    verdict: Verdict = "PASS"
    told = [f"{_count(same)} trained again, the same to the bit."] if same else []
    if elsewhere:
        verdict = "NOT COMPARABLE"
        first = elsewhere[0]
        told.append(
            f"{_count(len(elsewhere))} not trained again, the first {first.run} ({'; '.join(first.differs)}): for "
            "these the statistical verdict stands instead."
        )
    if failed or lock.verdict == "FAIL":
        verdict = "FAIL"
    return Bitwise(verdict, f"{verdict}: {' '.join([*failed, *told, lock.sentence])}", runs, lock)


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
