"""`harness collect`: the runs table says what the run folders say, entry for entry of the plan."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from tiny_study import PUBLISHED, Tiny, entry_named, plan_of, tree
from typer.testing import CliRunner, Result

from harness import __version__, parallel
from harness.beside import read_coverage, read_curves
from harness.cli import app
from harness.collect import row_of
from harness.correctness import read_correct
from harness.errors import StoreError
from harness.store import record as records
from harness.store.store import Store
from harness.tables import read_runs

RUNS, RESULTS = Path("runs/tiny"), Path("results/tiny")
FEATURE = "resnet34-resnet18-feature-a0.5"


def collect(*options: str) -> Result:
    """Run the verb in this process."""
    return CliRunner().invoke(app, ["collect", *options])


def collected(*options: str) -> list[dict[str, str]]:
    """The runs table that the verb writes, as text."""
    result = collect(*options)
    assert result.exit_code == 0, result.output
    return rows_of(RESULTS / "runs.csv")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def record_of(row: dict[str, str]) -> dict[str, Any]:
    """record.json of a row's run."""
    content = json.loads((RUNS / row["run_id"] / "record.json").read_text())
    assert isinstance(content, dict)
    return content


def number(text: str) -> float | None:
    """A cell of the table."""
    return float(text) if text else None


def test_the_columns_are_the_published_ones_and_where_a_row_comes_from(trained: Tiny) -> None:
    """The published table's columns in its order, two that tell its cells and runs further apart, then ours."""
    rows = collected()
    published = list(rows_of(PUBLISHED)[0])
    assert published[-1] == "dataset"
    added = {"teacher": "teacher_seed", "temperature": "other_hyperparameters"}
    assert list(rows[0]) == [
        *(column for name in published[:-1] for column in (name, *([added[name]] if name in added else []))),
        *("dataset", "profile", "run_id", "spec_sha256", "weights_sha256", "history_sha256", "correct_sha256"),
        *("seconds", "ece", "test_openings", "parameters", "forward_gflop"),
        *("latency_ms_batch1", "latency_ms_batch128", "checkpoint"),
    ]
    assert {(row["dataset"], row["profile"]) for row in rows} == {("digits", trained.workspace.profile)}
    assert {row["checkpoint"] for row in rows} == {"best-validation"}


def test_a_row_is_an_entry_of_the_plan(trained: Tiny) -> None:
    """All 15, in the plan's order, each with its cell, seed and the run that the plan names."""
    rows = collected()
    for row, entry in zip(rows, plan_of(trained), strict=True):
        run = entry.run
        assert row["stage"] == entry.phase
        assert row["teacher"] == (run.teacher.architecture if run.teacher else "")
        assert (row["student"], row["method"], row["stem"]) == (run.architecture, run.method, run.stem)
        assert row["teacher_seed"] == (str(run.teacher.seed) if run.teacher else "")
        for name in ("alpha", "temperature"):
            assert number(row[name]) == run.hyperparameter(name)
        assert row["other_hyperparameters"] == ""
        assert row["clip_projections"] == {None: "", True: "true", False: "false"}[run.clip_projections]
        assert (int(row["seed"]), int(row["epochs"])) == (run.seed, run.epochs)
        assert row["run_id"] == f"{entry.owner}/{run.name}"
        assert row["spec_sha256"] == run.sha256


@pytest.mark.usefixtures("trained")
def test_a_shared_run_is_one_run_in_every_stage() -> None:
    """Same run_id and, but for the stage, the same line: 15 entries of 11 trainings."""
    rows = collected()
    lines: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        lines.setdefault(row["run_id"], set()).add(tuple(value for key, value in row.items() if key != "stage"))
    assert len(rows) == 15
    assert len(lines) == 11
    assert all(len(same) == 1 for same in lines.values())
    stages = Counter((row["stage"], row["run_id"].partition("/")[0]) for row in rows)
    assert stages["final", "select"] == 2
    assert stages["stem_ablation", "final"] == stages["stem_ablation", "teachers"] == 1


@pytest.mark.usefixtures("trained")
def test_a_row_tells_what_its_files_hold() -> None:
    """Accuracy counted from the bits of the test images, epochs from the history, digests from the bytes."""
    for row in collected():
        folder = RUNS / row["run_id"]
        for column, file in (("test_acc_best", "correct_best.bin"), ("test_acc_final", "correct_last.bin")):
            right = np.unpackbits(np.frombuffer((folder / file).read_bytes(), dtype=np.uint8))
            assert len(right) == 64  # 60 test images, filled up to whole bytes with zeros
            assert not right[60:].any()
            assert float(row[column]) == right.sum() / 60
        record = record_of(row)
        curve = [epoch["val_acc"] for epoch in record["history"]]
        assert float(row["val_acc"]) == max(curve)
        assert int(row["best_epoch"]) == curve.index(max(curve)) + 1
        for column, file in (("weights_sha256", "weights.safetensors"), ("correct_sha256", "correct_best.bin")):
            assert row[column] == hashlib.sha256((folder / file).read_bytes()).hexdigest()
        history = json.dumps(record["history"], sort_keys=True, separators=(",", ":"))
        assert row["history_sha256"] == hashlib.sha256(history.encode()).hexdigest()
        assert float(row["seconds"]) == pytest.approx(sum(record["seconds_per_epoch"]))
        fidelity = record["fidelity"] or {}
        for column in ("agreement", "kl_t1", "kl_t4"):
            assert number(row[column]) == fidelity.get(column)
        assert (row["agreement"] != "") == (row["method"] != "none")
        assert (float(row["ece"]), row["test_openings"]) == (record["test_best"]["ece"], "2")
        footprint = record["footprint"]
        assert int(row["parameters"]) == footprint["parameters"]
        assert float(row["forward_gflop"]) * 1e9 == pytest.approx(footprint["forward_flop"])
        for batch in ("1", "128"):
            assert float(row[f"latency_ms_batch{batch}"]) == footprint["latency_ms"][batch]


def test_hyperparameters_without_a_column_share_one(trained: Tiny) -> None:
    """By name, in alphabetical order, as cells are named; alpha and T keep their own columns."""
    entry = entry_named(plan_of(trained), "final", "resnet34-resnet18-feature-a0.5-t0-s1")
    record = Store(trained.workspace.runs).check(entry).record
    assert record is not None
    values = (("alpha", 0.5), ("beta", 1000.0), ("gamma", 0.25))
    spec = entry.run.model_copy(update={"hyperparameters": values})
    row = row_of("tiny", entry.phase, entry.owner, record.model_copy(update={"spec": spec}))
    assert (row.alpha, row.temperature, row.other_hyperparameters) == (0.5, None, "beta=1000 gamma=0.25")


@pytest.mark.usefixtures("trained")
def test_accuracies_are_fractions() -> None:
    """Of 40 validation and 60 test images."""
    for row in collected():
        for column, images in (("val_acc", 40), ("test_acc_best", 60), ("test_acc_final", 60)):
            assert 0 <= float(row[column]) <= 1
            assert float(row[column]) * images == pytest.approx(round(float(row[column]) * images))


def test_the_table_passes_the_analysis_schema(trained: Tiny) -> None:
    """`harness analyze` takes what `harness collect` makes; nothing is lost on the way."""
    rows = collected()
    runs = read_runs(trained.workspace.runs_table)
    assert len(runs) == len(rows)
    assert runs["run_id"].nunique() == 11
    assert sorted(runs["test_acc_best"]) == sorted(float(row["test_acc_best"]) for row in rows)


def test_collecting_twice_gives_the_same_bytes(trained: Tiny) -> None:
    """No clock, no order of the file system."""
    collected()
    before = tree(trained.root)
    collected()
    assert tree(trained.root) == before


def test_the_bits_of_every_run_stand_beside_the_table(trained: Tiny) -> None:
    """One entry a distinct run, and for each row of the table what its run's folder holds, bit for bit."""
    collected()
    runs = read_runs(trained.workspace.runs_table)
    correct = read_correct(trained.workspace.correct, runs)
    assert correct is not None
    assert correct.shape == (15, 60)
    for run_id, row in zip(runs["run_id"], correct, strict=True):
        assert np.packbits(row).tobytes() == (RUNS / run_id / "correct_best.bin").read_bytes()
    with np.load(trained.workspace.correct, allow_pickle=False) as archive:
        assert {digest.tobytes().hex() for digest in archive["sha256"]} == set(runs["correct_sha256"])


def test_an_edited_accuracy_is_caught_by_the_bits(trained: Tiny) -> None:
    """The table alone can be edited; with the images beside it, it can no longer."""
    collected()
    runs = read_runs(trained.workspace.runs_table)
    runs.loc[3, "test_acc_best"] += 1 / 60
    with pytest.raises(StoreError, match=f"{runs.loc[3, 'run_id']} got .* of 60 test images right, but the runs table"):
        read_correct(trained.workspace.correct, runs)


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_missing_run_is_named_and_nothing_is_written(trained: Tiny) -> None:
    """One sentence: how many, the first of them, and the two ways on."""
    shutil.rmtree(RUNS / "final/resnet18-none-s0")
    shutil.rmtree(RUNS / "bug_ablation")
    before = tree(trained.root)
    result = collect()
    assert isinstance(result.exception, StoreError)
    sentence = str(result.exception)
    assert "found 3 missing or stale" in sentence  # the baseline stands in two stages
    assert "the first: final/resnet18-none-s0 (missing)" in sentence
    assert "`harness train`" in sentence
    assert "--partial" in sentence
    assert "\n" not in sentence
    assert tree(trained.root) == before


@pytest.mark.usefixtures("trained")
def test_a_stale_run_is_not_collected() -> None:
    """An edited file is named, and its run's numbers do not get into the table."""
    damaged = RUNS / "final/resnet18-none-s1/weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    result = collect()
    assert isinstance(result.exception, StoreError)
    assert f"final/resnet18-none-s1 ({damaged} was changed after it was written)" in str(result.exception)
    rows = collected("--partial")
    assert "final/resnet18-none-s1" not in {row["run_id"] for row in rows}


@pytest.mark.usefixtures("trained")
def test_many_runs_are_collected_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large study run folders are looked at by several processes; every file says what one process finds."""
    collected()
    before = tree(RESULTS)
    monkeypatch.setattr(parallel, "FEWEST", 2)
    collected()
    assert tree(RESULTS) == before


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("name", ["weights.safetensors", "correct_last.bin", "record.json"])
def test_one_changed_byte_is_found_among_many_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the other processes too: the run is named, and nothing is collected."""
    monkeypatch.setattr(parallel, "FEWEST", 2)
    damaged = RUNS / f"final/{FEATURE}-t0-s1/{name}"
    content = damaged.read_text() if name == "record.json" else ""
    if content:
        damaged.write_text(content.replace('"best_epoch":', '"best_epoch": 1, "was":', 1))
    else:
        damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    result = collect()
    assert isinstance(result.exception, StoreError)
    assert f"found 1 missing or stale, the first: final/{FEATURE}-t0-s1 (" in str(result.exception)
    assert not (RESULTS / "runs.csv").exists()


@pytest.mark.usefixtures("trained")
def test_partial_writes_what_is_there_and_names_what_is_not() -> None:
    """On standard error, an entry a line; the table is the rest."""
    whole = collected()
    shutil.rmtree(RUNS / "final/resnet18-none-s0")
    shutil.rmtree(RUNS / "bug_ablation")
    result = collect("--partial")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "left out: final/resnet18-none-s0 (missing)",
        "left out: stem_ablation/resnet18-none-s0 (missing)",
        f"left out: bug_ablation/{FEATURE}-unclipped-t0-s0 (missing)",
    ]
    assert result.stdout == "results/tiny/runs.csv: 12 entries, 9 distinct trainings\n"
    gone = {"final/resnet18-none-s0", f"bug_ablation/{FEATURE}-unclipped-t0-s0"}
    assert rows_of(RESULTS / "runs.csv") == [row for row in whole if row["run_id"] not in gone]


def test_partial_before_the_selection(trained: Tiny) -> None:
    """What waits for it is left out; teachers, candidates and baselines are there."""
    trained.workspace.selected.unlink()
    rows = collected("--partial")
    assert Counter(row["stage"] for row in rows) == {"teachers": 1, "select": 3, "final": 2, "stem_ablation": 4}


@pytest.mark.parametrize("options", [(), ("--partial",)])
def test_nothing_at_all_is_an_error_in_any_case(untrained: Tiny, options: tuple[str, ...]) -> None:
    """A table without rows helps nobody."""
    before = tree(untrained.root)
    result = collect(*options)
    assert isinstance(result.exception, StoreError)
    assert "run `harness train`" in str(result.exception)
    assert tree(untrained.root) == before


# --- beside the table: curves and coverage ----------------------------------------------------------------------------


def test_curves_are_every_runs_history(trained: Tiny) -> None:
    """An epoch a line, each run once with every stage that it stands in; accuracies to the last digit."""
    rows = collected()
    curves = rows_of(RESULTS / "curves.csv")
    assert list(curves[0]) == [
        *("run_id", "stages", "teacher", "teacher_seed", "student", "method", "seed"),
        *("epoch", "lr", "train_loss", "val_acc"),
    ]
    assert len(curves) == 11 * 2
    stages: dict[str, list[str]] = {}
    for row in rows:
        stages.setdefault(row["run_id"], []).append(row["stage"])
    by_id = {row["run_id"]: row for row in rows}
    for line in curves:
        epoch = record_of(line)["history"][int(line["epoch"]) - 1]
        assert float(line["val_acc"]) == epoch["val_acc"]
        for name in ("lr", "train_loss"):
            assert float(line[name]) == pytest.approx(epoch[name], rel=1e-5)
        for name in ("teacher", "teacher_seed", "student", "method", "seed"):
            assert line[name] == by_id[line["run_id"]][name]
        assert line["stages"].split() == stages[line["run_id"]]
        assert line["run_id"].startswith(f"{line['stages'].split(maxsplit=1)[0]}/")
    table = read_runs(trained.workspace.runs_table)
    read = read_curves(trained.workspace.curves, table)
    assert read is not None
    assert read["val_acc"].tolist() == [float(line["val_acc"]) for line in curves]


def test_coverage_is_the_whole_plan(trained: Tiny) -> None:
    """Every entry in the plan's order, done, with its run; the report finds each in the runs table."""
    rows = collected()
    coverage = rows_of(RESULTS / "coverage.csv")
    assert list(coverage[0]) == [
        *("stage", "teacher", "teacher_seed", "student", "method", "seed", "setting", "run_id", "state", "reason"),
    ]
    shared = ("stage", "teacher", "teacher_seed", "student", "method", "seed", "run_id")
    assert [[line[name] for name in shared] for line in coverage] == [[row[name] for name in shared] for row in rows]
    assert {(line["state"], line["reason"]) for line in coverage} == {("done", "")}
    settings = {(line["stage"], line["setting"]) for line in coverage if line["method"] != "logit"}
    assert settings == {
        *((stage, "") for stage in ("teachers", "final", "stem_ablation")),
        ("stem_ablation", "stem=imagenet"),
        *((stage, "alpha=0.5") for stage in ("select", "final")),
        ("bug_ablation", "alpha=0.5 clip_projections=false"),
    }
    assert {line["setting"] for line in coverage if line["stage"] == "select" and line["method"] == "logit"} == {
        "alpha=0.3 temperature=2",
        "alpha=0.7 temperature=2",
    }
    table = read_runs(trained.workspace.runs_table)
    read = read_coverage(trained.workspace.coverage, table)
    assert read is not None
    for entry in read.to_dict("records"):
        row = table.iloc[entry["run"] - 1]
        assert (row["stage"], row["run_id"]) == (entry["stage"], entry["run_id"])


def test_coverage_tells_what_became_of_each_entry(trained: Tiny) -> None:
    """Missing, failed and stale runs stand there with their reasons, in every stage that they stand in."""
    plan = plan_of(trained)
    store = Store(trained.workspace.runs)
    failed = entry_named(plan, "final", "resnet18-none-s1")
    for label in ("resnet18-none-s0", failed.label):
        shutil.rmtree(RUNS / "final" / label)
    store.mark(failed, "the loss of epoch 2 is not a number")
    stale = RUNS / "bug_ablation" / f"{FEATURE}-unclipped-t0-s0" / "weights.safetensors"
    stale.write_bytes(b"")
    collected("--partial")
    states = {
        (line["stage"], line["run_id"]): (line["state"], line["reason"])
        for line in rows_of(RESULTS / "coverage.csv")
        if line["state"] != "done"
    }
    assert states == {
        ("final", "final/resnet18-none-s0"): ("missing", ""),
        ("stem_ablation", "final/resnet18-none-s0"): ("missing", ""),
        ("final", "final/resnet18-none-s1"): ("failed", "the loss of epoch 2 is not a number"),
        ("bug_ablation", f"bug_ablation/{FEATURE}-unclipped-t0-s0"): (
            "stale",
            f"{stale} was changed after it was written",
        ),
    }


def test_coverage_before_the_selection(trained: Tiny) -> None:
    """Entries that wait for it have teacher, student, method and seed, but no hyperparameters and no run yet."""
    whole = plan_of(trained)
    trained.workspace.selected.unlink()
    collected("--partial")
    coverage = rows_of(RESULTS / "coverage.csv")
    waiting = [line for line in coverage if line["state"] == "missing"]
    assert {(line["run_id"], line["reason"]) for line in waiting} == {("", "waits for the selection")}
    assert {line["setting"] for line in waiting} == {"", "clip_projections=false"}
    for line, entry in zip(coverage, whole, strict=True):
        taught = entry.run.teacher
        expected = (taught.architecture if taught else "", entry.run.architecture, entry.run.method, str(entry.seed))
        assert (line["teacher"], line["student"], line["method"], line["seed"]) == expected
    assert Counter(line["stage"] for line in waiting) == {"final": 4, "bug_ablation": 1}


# --- beside the table: for DVC and the report -------------------------------------------------------------------------


@pytest.mark.usefixtures("trained")
def test_convergence_is_the_mean_curve_of_final_runs() -> None:
    """Validation accuracy in percent, a student and method a column, averaged over seeds, an epoch a row."""
    rows = [row for row in collected() if row["stage"] == "final"]
    curves = rows_of(RESULTS / "convergence.csv")
    assert list(curves[0]) == ["epoch", "resnet18-none", "resnet18-logit", "resnet18-feature"]
    assert [row["epoch"] for row in curves] == ["1", "2"]
    for method in ("none", "logit", "feature"):
        records_of = [record_of(row) for row in rows if row["method"] == method]
        assert len(records_of) == 2
        for epoch in range(2):
            mean = sum(record["history"][epoch]["val_acc"] for record in records_of) / 2
            assert float(curves[epoch][f"resnet18-{method}"]) == pytest.approx(100 * mean, abs=5e-5)


@pytest.mark.usefixtures("trained")
def test_metrics_are_mean_test_accuracies_in_percent() -> None:
    """Of teachers and final cells, at the best-validation checkpoint; and how much was collected."""
    rows = collected()
    metrics = json.loads((RESULTS / "metrics.json").read_text())
    (logit,) = {row["alpha"] for row in rows if row["stage"] == "final" and row["method"] == "logit"}
    cells = {
        "teachers": {"resnet34-none": ("", "none")},
        "final": {
            "resnet18-none": ("", "none"),
            f"resnet34-resnet18-logit-a{logit}-T2": ("resnet34", "logit"),
            FEATURE: ("resnet34", "feature"),
        },
    }
    expected = {
        stage: {
            cell: pytest.approx(
                100
                * fmean(
                    float(row["test_acc_best"])
                    for row in rows
                    if (row["stage"], row["teacher"], row["method"]) == (stage, *which)
                ),
                abs=5e-4,
            )
            for cell, which in of_stage.items()
        }
        for stage, of_stage in cells.items()
    }
    assert metrics == {"entries": 15, "trainings": 11, "mean_test_acc_pct": expected}


@pytest.mark.usefixtures("trained")
def test_the_environment_is_flat_text() -> None:
    """What the report prints beside the numbers: versions, device, digests, how often the test set was opened."""
    row, *_ = collected()
    found = json.loads((RESULTS / "environment.json").read_text())
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in found.items())
    record = record_of(row)
    assert found["kdcap"] == __version__
    assert (found["profile"], found["dataset"], found["study"]) == ("tiny", "digits", "A study for tests")
    assert found["dataset digest"] == record["data_sha256"]
    assert found["training code digest"] == record["code_sha256"]
    assert found["torch"] == record["stack"]["torch"]
    assert found["device"] == "cpu"
    assert found["deterministic algorithms"] == "True"
    assert found["threads"] == "1"
    assert found["trainings"] == "11"
    assert found["runs cut and resumed"] == "0"
    assert found["test set openings a run"] == "2"


def test_runs_of_two_machines_are_told_apart(trained: Tiny) -> None:
    """Where runs differ, every value stands there with its count."""
    store = Store(trained.workspace.runs)
    entry = entry_named(plan_of(trained), "final", "resnet18-none-s1")
    record = store.check(entry).record
    assert record is not None
    other = record.model_copy(update={"stack": record.stack | {"torch": "9.9.9"}, "resumed_at": (1,)})
    (store.folder(entry) / records.RECORD).write_text(other.text())
    collected()
    found = json.loads((RESULTS / "environment.json").read_text())
    assert found["torch"] == f"{record.stack['torch']} (10 runs), 9.9.9 (1 run)"
    assert found["runs cut and resumed"] == "1"
