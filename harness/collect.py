"""From run folders to tables: runs, what stands beside them (`harness.beside`), means for DVC, the environment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from harness import __version__
from harness.beside import CoverageRow, CurveRow
from harness.correctness import write_correct
from harness.errors import StoreError
from harness.files import sha256_of_file, write_json, write_whole
from harness.selection import read_selected
from harness.store import record as records
from harness.store.record import RunRecord
from harness.store.store import Check, Store
from harness.study.plan import Entry, Phase, any_winner, plan
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.tables import write_table
from harness.workspace import Workspace

CHECKPOINT = "best-validation"  # the weights that a record reports by `best_epoch` and `test_best`
RUNS_SHA256 = "runs_sha256"  # in environment.json: the table that it belongs to
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
    found: list[tuple[Entry, RunRecord]] = []
    coverage = []
    packed: dict[str, bytes] = {}
    left_out = []
    entries = plan(study, read_selected(workspace.selected, study))
    for entry, alike in zip(entries, plan(study, any_winner(study)), strict=True):
        check = store.check(entry)
        coverage.append(_coverage_row(entry, alike.run, check))
        if check.record is not None:
            found.append((entry, check.record))
            packed[check.record.files[records.CORRECT_BEST]] = (store.folder(entry) / records.CORRECT_BEST).read_bytes()
        else:
            left_out.append(f"{entry.phase}/{entry.label} ({check.reason or check.state})")
    if left_out and (not partial or not found):
        way_out = ", or collect what is there with --partial" if found else ""
        raise StoreError(
            f"expected every run of the plan, found {len(left_out)} missing or stale, the first: {left_out[0]}; "
            f"run `harness train`{way_out}."
        )
    distinct = {record.spec_sha256: record for _, record in found}
    rows = [row_of(workspace.profile, entry.phase, entry.owner, record) for entry, record in found]
    write_table(workspace.runs_table, rows)
    write_correct(workspace.correct, packed, found[0][1].test_images)
    write_table(workspace.curves, _curve_rows(found))
    write_table(workspace.coverage, coverage)
    write_whole(workspace.convergence, _convergence(found))
    write_json(workspace.metrics, _metrics(found, len(distinct)))
    facts = _environment(study, workspace.profile, list(distinct.values()))
    write_json(workspace.environment, facts | {RUNS_SHA256: sha256_of_file(workspace.runs_table)})
    return Collected(len(found), len(distinct), tuple(left_out))


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


def _curve_rows(found: Sequence[tuple[Entry, RunRecord]]) -> list[CurveRow]:
    """Every epoch of every distinct run."""
    stages: dict[str, list[Phase]] = defaultdict(list)  # in the plan's order, in which the owner is first
    for entry, record in found:
        stages[record.spec_sha256].append(entry.phase)
    return [
        CurveRow(
            run_id=f"{stages[identity][0]}/{record.name}",
            stages=" ".join(stages[identity]),
            teacher=record.spec.teacher.architecture if record.spec.teacher else None,
            teacher_seed=record.spec.teacher.seed if record.spec.teacher else None,
            student=record.spec.architecture,
            method=record.spec.method,
            seed=record.spec.seed,
            epoch=epoch.epoch,
            lr=float(f"{epoch.lr:.6g}"),
            train_loss=float(f"{epoch.train_loss:.6g}"),
            val_acc=epoch.val_acc,
        )
        for identity, record in {record.spec_sha256: record for _, record in found}.items()
        for epoch in record.history
    ]


def _coverage_row(entry: Entry, alike: RunSpec, check: Check) -> CoverageRow:
    """What became of an entry; before the selection, all but its hyperparameters is known from a run alike."""
    spec = entry.spec or alike
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
        state=check.state,
        reason=check.reason,
    )


def _kind(record: RunRecord) -> str:
    return f"{record.spec.architecture}-{record.spec.method}"


def _convergence(found: Sequence[tuple[Entry, RunRecord]]) -> str:
    """Mean validation accuracy in percent, an epoch a row, a student and method a column, over all final runs."""
    curves: dict[str, list[list[float]]] = defaultdict(list)
    for entry, record in found:
        if entry.phase == "final":
            curves[_kind(record)].append([100 * epoch.val_acc for epoch in record.history])
    lines = [",".join(["epoch", *curves])]
    means = [[fmean(epoch) for epoch in zip(*runs, strict=True)] for runs in curves.values()]
    lines += [
        f"{epoch}," + ",".join(f"{mean:.4f}" for mean in row)
        for epoch, row in enumerate(zip(*means, strict=True), start=1)
    ]
    return "\n".join(lines) + "\n"


def _metrics(found: Sequence[tuple[Entry, RunRecord]], trainings: int) -> dict[str, object]:
    accuracies: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry, record in found:
        if entry.phase in ("teachers", "final"):
            accuracies[entry.phase][record.spec.cell].append(100 * record.test_best.accuracy)
    means = {
        phase: {cell: round(fmean(values), 3) for cell, values in cells.items()} for phase, cells in accuracies.items()
    }
    return {"entries": len(found), "trainings": trainings, "mean_test_acc_pct": means}


def _environment(study: Study, profile: str, found: Sequence[RunRecord]) -> dict[str, str]:
    """What the runs were made with, as flat text; where runs differ, every value with its count."""

    def of(values: Sequence[str]) -> str:
        counts = Counter(values)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in counts.most_common())

    facts = {
        "kdcap": __version__,
        "profile": profile,
        "study": study.title,
        "dataset": study.dataset.name,
        "dataset digest": of([record.data_sha256 for record in found]),
        "training code digest": of([record.code_sha256 for record in found]),
    }
    for key in ("precision", "teacher_logits"):
        facts[key.replace("_", " ")] = of([getattr(record.spec.optimisation, key) for record in found])
    for key in dict.fromkeys(key for record in found for key in record.stack):
        facts[key] = of([record.stack.get(key, "none") for record in found])
    for key in dict.fromkeys(key for record in found for key in record.settings):
        facts[key.replace("_", " ")] = of([str(record.settings.get(key, "none")) for record in found])
    facts["trainings"] = str(len(found))
    facts["training time"] = f"{sum(record.seconds for record in found) / 3600:.2f} run-hours"
    facts["runs cut and resumed"] = str(sum(bool(record.resumed_at) for record in found))
    facts["test set openings a run"] = of([str(record.test_openings) for record in found])
    return facts
