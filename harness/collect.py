"""From run folders to tables: runs, what stands beside them (`harness.beside`), means for DVC, the environment."""

from __future__ import annotations

import math
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from functools import partial as partial_of
from statistics import fmean

from harness import __version__
from harness.beside import CoverageRow, CurveRow
from harness.correctness import write_correct
from harness.errors import StoreError
from harness.files import sha256_of_file, write_json, write_whole
from harness.parallel import each
from harness.selection import read_selected
from harness.store import record as records
from harness.store.record import RunRecord
from harness.store.store import State, Store
from harness.study.plan import Entry, Phase, any_winner, plan
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.tables import csv_line, line_of, write_lines, write_table
from harness.workspace import Workspace

CHECKPOINT = "best-validation"  # the weights that a record reports by `best_epoch` and `test_best`
RUNS_SHA256 = "runs_sha256"  # in environment.json: the table that it belongs to
_AT_ONCE = 1 << 20  # characters of curves that are written at once
_IN_MEMORY = 1 << 26  # bytes of curves that wait in memory until it is clear that they are wanted; more, on the disk
_Facts = tuple[tuple[str, str], ...]
OWN_COLUMN = ("alpha", "temperature")  # hyperparameters that runs.csv gives a column; others share one


@dataclass(frozen=True)
class RunRow:
    """A line of runs.csv: the published runs' columns and others beside them, where it comes from, what it cost.

    Accuracies and calibration error are fractions; units of the rest are in the names.
    """

    stage: str
    teacher: str | None
    teacher_seed: int | None
    student: str
    method: str
    alpha: float | None
    temperature: float | None
    other_hyperparameters: str
    stem: str
    clip_projections: bool | None
    seed: int
    epochs: int
    best_epoch: int
    val_acc: float
    test_acc_best: float
    test_acc_final: float
    agreement: float | None
    kl_t1: float | None
    kl_t4: float | None
    dataset: str
    profile: str
    run_id: str
    spec_sha256: str
    weights_sha256: str
    history_sha256: str
    correct_sha256: str
    seconds: float
    ece: float
    test_openings: int
    parameters: int
    forward_gflop: float
    latency_ms_batch1: float
    latency_ms_batch128: float
    checkpoint: str


@dataclass(frozen=True)
class Collected:
    """What was collected: entries written, entries left out because their run is not whole."""

    entries: int
    trainings: int
    left_out: tuple[str, ...]


def collect(study: Study, workspace: Workspace, *, partial: bool) -> Collected:
    """Write runs.csv, correct.npz, curves.csv, coverage.csv, convergence.csv, metrics.json and environment.json.

    Args:
        study: The study.
        workspace: Its files.
        partial: Write what is there; otherwise every run must be.

    Returns:
        Counts, and what was left out.

    Raises:
        StoreError: Runs are missing, stale or damaged (and `partial` is false), or there is none at all.
    """
    store = Store(workspace.runs)
    selected = read_selected(workspace.selected, study)
    entries = plan(study, selected)
    alike = entries if selected else plan(study, any_winner(study))
    runs: dict[str, list[Entry]] = {}  # by folder: a run that stands in several phases is checked once
    for entry in entries:
        runs.setdefault(_place(entry), []).append(entry)
    look = partial_of(_look, store, workspace.profile)
    taken: dict[str, _Taken] = {}
    packed: dict[str, bytes] = {}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="") as curves:
        for place, found in zip(runs, each(look, list(runs.values())), strict=True):
            taken[place] = found.taken
            curves.write(found.curve)
            if found.taken.state == "done":
                packed[found.taken.correct_sha256] = found.correct
        outcomes = [taken[_place(entry)] for entry in entries]
        left_out = tuple(
            f"{entry.phase}/{entry.label} ({outcome.reason or outcome.state})"
            for entry, outcome in zip(entries, outcomes, strict=True)
            if outcome.state != "done"
        )
        done = [(entry, run) for entry, run in zip(entries, outcomes, strict=True) if run.state == "done"]
        if left_out and (not partial or not done):
            way_out = ", or collect what is there with --partial" if done else ""
            raise StoreError(
                f"expected every run of the plan, found {len(left_out)} missing or stale, the first: {left_out[0]}; "
                f"run `harness train`{way_out}."
            )
        distinct = list({id(run): run for _, run in done}.values())
        write_correct(workspace.correct, packed, distinct[0].test_images)  # first: what it refuses leaves all as it was
        write_lines(workspace.runs_table, RunRow, (run.lines[entry.phase] for entry, run in done))
        curves.seek(0)
        write_lines(workspace.curves, CurveRow, iter(partial_of(curves.read, _AT_ONCE), ""))
    write_table(workspace.coverage, [_coverage_row(*line) for line in zip(entries, alike, outcomes, strict=True)])
    write_whole(workspace.convergence, _convergence(done))
    write_json(workspace.metrics, _metrics(done, len(distinct)))
    environment = _environment(study, workspace.profile, distinct)
    write_json(workspace.environment, environment | {RUNS_SHA256: sha256_of_file(workspace.runs_table)})
    return Collected(len(done), len(distinct), left_out)


def _place(entry: Entry) -> str:
    """What tells runs apart: the folder, or the entry itself while it waits for the selection."""
    return f"{entry.owner}/{entry.label}" if entry.spec else f"{entry.phase}:{entry.label}"


@dataclass(frozen=True)
class _Taken:
    """What stays in memory of a run: of a record, which is large, what all tables together need.

    Attributes:
        state: As `harness.store.store.Check` has it, like `reason`.
        reason: Why it is not done.
        lines: Its line of runs.csv, by stage.
        cell: Its cell.
        kind: Its student and method.
        accuracy: At the reported checkpoint, a fraction.
        val_acc: After each epoch, fractions.
        correct_sha256: Digest of the bits of the test images.
        test_images: How many.
        seconds: Of training.
        resumed: Whether it was cut and went on.
        facts: What it was made with, by name; runs made alike share one.
    """

    state: State
    reason: str = ""
    lines: Mapping[Phase, str] = field(default_factory=dict)
    cell: str = ""
    kind: str = ""
    accuracy: float = math.nan
    val_acc: Sequence[float] = ()
    correct_sha256: str = ""
    test_images: int = 0
    seconds: float = 0.0
    resumed: bool = False
    facts: _Facts = ()


@dataclass(frozen=True)
class _Look:
    """What a look at a run finds: what stays, its lines of curves.csv, and its packed bits."""

    taken: _Taken
    curve: str = ""
    correct: bytes = b""


def _look(store: Store, profile: str, entries: Sequence[Entry]) -> _Look:
    """Check a run and take what the tables need.

    Args:
        store: The run folders.
        profile: Their profile.
        entries: All that the run stands for, that of its folder first.
    """
    owner = entries[0]
    check = store.check(owner)
    record = check.record
    if record is None:
        return _Look(_Taken(check.state, check.reason))
    taken = _Taken(
        state=check.state,
        lines={entry.phase: line_of(row_of(profile, entry.phase, owner.owner, record)) for entry in entries},
        cell=record.spec.cell,
        kind=f"{record.spec.architecture}-{record.spec.method}",
        accuracy=record.test_best.accuracy,
        val_acc=array("d", [epoch.val_acc for epoch in record.history]),
        correct_sha256=record.files[records.CORRECT_BEST],
        test_images=record.test_images,
        seconds=record.seconds,
        resumed=bool(record.resumed_at),
        facts=_one(_facts(record)),
    )
    return _Look(taken, _curve_lines(entries, record), (store.folder(owner) / records.CORRECT_BEST).read_bytes())


@cache
def _one(facts: _Facts) -> _Facts:
    """The first of equal ones: one in the memory of a process, and of all runs that it hands over together."""
    return facts


def row_of(profile: str, stage: Phase, owner: Phase, record: RunRecord) -> RunRow:
    """The line of runs.csv that a run's record gives.

    Args:
        profile: The profile that the run belongs to.
        stage: Phase of the plan that the line stands in.
        owner: Phase whose folder holds the run.
        record: Its record.
    """
    spec, follows, footprint = record.spec, record.fidelity, record.footprint
    others = _settings(spec, without=OWN_COLUMN)
    return RunRow(
        stage=stage,
        teacher=spec.teacher.architecture if spec.teacher else None,
        teacher_seed=spec.teacher.seed if spec.teacher else None,
        student=spec.architecture,
        method=spec.method,
        alpha=spec.hyperparameter("alpha"),
        temperature=spec.hyperparameter("temperature"),
        other_hyperparameters=" ".join(others),
        stem=spec.stem,
        clip_projections=spec.clip_projections,
        seed=spec.seed,
        epochs=spec.epochs,
        best_epoch=record.best_epoch,
        val_acc=record.val_acc,
        test_acc_best=record.test_best.accuracy,
        test_acc_final=record.test_last.accuracy,
        agreement=follows.agreement if follows else None,
        kl_t1=follows.kl_t1 if follows else None,
        kl_t4=follows.kl_t4 if follows else None,
        dataset=spec.dataset.name,
        profile=profile,
        run_id=f"{owner}/{record.name}",
        spec_sha256=record.spec_sha256,
        weights_sha256=record.files[records.WEIGHTS],
        history_sha256=record.history_sha256,
        correct_sha256=record.files[records.CORRECT_BEST],
        seconds=record.seconds,
        ece=record.test_best.ece,
        test_openings=record.test_openings,
        parameters=footprint.parameters,
        forward_gflop=footprint.forward_flop / 1e9,
        latency_ms_batch1=footprint.latency_ms["1"],
        latency_ms_batch128=footprint.latency_ms["128"],
        checkpoint=CHECKPOINT,
    )


def _settings(spec: RunSpec, without: Sequence[str] = ()) -> list[str]:
    """A run's hyperparameters as text."""
    return [f"{name}={value:g}" for name, value in spec.hyperparameters if name not in without]


def _curve_lines(entries: Sequence[Entry], record: RunRecord) -> str:
    """Every epoch of a run, as lines of `CurveRow`."""
    spec = record.spec
    phases = [entry.phase for entry in entries]
    teacher = (spec.teacher.architecture, spec.teacher.seed) if spec.teacher else (None, None)
    run = (f"{phases[0]}/{record.name}", " ".join(phases), *teacher, spec.architecture, spec.method, spec.seed)
    same = csv_line(run).removesuffix("\n")
    return "".join(
        f"{same},{epoch.epoch},{epoch.lr:.6g},{epoch.train_loss:.6g},{epoch.val_acc!r}\n" for epoch in record.history
    )


def _coverage_row(entry: Entry, alike: Entry, outcome: _Taken) -> CoverageRow:
    """What became of an entry; before the selection, all but its hyperparameters is known from a run alike."""
    spec = alike.run
    setting = _settings(spec) if entry.spec else []
    if spec.stem != "cifar":
        setting.append(f"stem={spec.stem}")
    if spec.clip_projections is False:
        setting.append("clip_projections=false")
    return CoverageRow(
        stage=entry.phase,
        teacher=spec.teacher.architecture if spec.teacher else None,
        teacher_seed=entry.teacher_seed,
        student=spec.architecture,
        method=spec.method,
        seed=entry.seed,
        setting=" ".join(setting),
        run_id=f"{entry.owner}/{spec.name}" if entry.spec else "",
        state=outcome.state,
        reason=outcome.reason,
    )


def _convergence(done: Sequence[tuple[Entry, _Taken]]) -> str:
    """Mean validation accuracy in percent, an epoch a row, a student and method a column, over all final runs."""
    curves: dict[str, list[Sequence[float]]] = defaultdict(list)
    for entry, run in done:
        if entry.phase == "final":
            curves[run.kind].append(run.val_acc)
    lines = [",".join(["epoch", *curves])]
    means = [[fmean([100 * value for value in epoch]) for epoch in zip(*runs, strict=True)] for runs in curves.values()]
    lines += [
        f"{epoch}," + ",".join(f"{mean:.4f}" for mean in row)
        for epoch, row in enumerate(zip(*means, strict=True), start=1)
    ]
    return "\n".join(lines) + "\n"


def _metrics(done: Sequence[tuple[Entry, _Taken]], trainings: int) -> dict[str, object]:
    accuracies: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry, run in done:
        if entry.phase in ("teachers", "final"):
            accuracies[entry.phase][run.cell].append(100 * run.accuracy)
    means = {
        phase: {cell: round(fmean(values), 3) for cell, values in cells.items()} for phase, cells in accuracies.items()
    }
    return {"entries": len(done), "trainings": trainings, "mean_test_acc_pct": means}


def _facts(record: RunRecord) -> _Facts:
    """What a run was made with: name and value; names from stack and settings are theirs."""
    optimisation = record.spec.optimisation
    return (
        ("dataset digest", record.data_sha256),
        ("training code digest", record.code_sha256),
        ("precision", optimisation.precision),
        ("teacher logits", optimisation.teacher_logits),
        *record.stack.items(),
        *((name.replace("_", " "), str(value)) for name, value in record.settings.items()),
        ("test set openings a run", str(record.test_openings)),
    )


def _environment(study: Study, profile: str, found: Sequence[_Taken]) -> dict[str, str]:
    """What the runs were made with, as flat text; where runs differ, every value with its count."""
    alike = {facts: dict(facts) for facts in dict.fromkeys(run.facts for run in found)}
    counts = Counter(run.facts for run in found)

    def of(name: str) -> str:
        values: Counter[str] = Counter()
        for facts, told in alike.items():
            values[told.get(name, "none")] += counts[facts]
        if len(values) == 1:
            return next(iter(values))
        return ", ".join(f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in values.most_common())

    names = dict.fromkeys(name for facts in alike for name, _ in facts)
    openings = "test set openings a run"
    return {
        "kdcap": __version__,
        "profile": profile,
        "study": study.title,
        "dataset": study.dataset.name,
        **{name: of(name) for name in names if name != openings},
        "trainings": str(len(found)),
        "training time": f"{sum(run.seconds for run in found) / 3600:.2f} run-hours",
        "runs cut and resumed": str(sum(run.resumed for run in found)),
        openings: of(openings),
    }
