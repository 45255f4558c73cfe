"""The pipeline, for real: DVC, training, analysis, report and verdict of a study that takes seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from tests.pipeline.conftest import TRAININGS, Pipeline, killed_again_and_again


def test_it_makes_every_result_and_trains_each_run_once(finished: Pipeline) -> None:
    """One `dvc repro` leaves every file of the design, and a run that phases share is trained once."""
    assert finished.trained() == TRAININGS
    results = finished.folder / "results" / "tiny"
    made = {"selected.json", "runs.csv", "correct.npz", "convergence.csv", "environment.json", "metrics.json"}
    made |= {"curves.csv", "coverage.csv", "verdict.json"}
    assert made <= {path.name for path in results.iterdir()}
    for name in ("report.html", "report.md", "report.json", "analysis/analysis.json", "analysis/contrasts.csv"):
        assert (results / name).stat().st_size > 0
    assert json.loads((results / "verdict.json").read_text(encoding="utf-8"))["verdict"] == "NOT JUDGED"
    table = pd.read_csv(results / "runs.csv")
    assert len(table) == 1 + 6 + 18 + 2 + 1
    assert table["run_id"].nunique() == TRAININGS


def test_nothing_is_left_to_do_afterwards(finished: Pipeline) -> None:
    """A second `dvc repro` runs no stage, and `dvc status` is clean."""
    code, output = finished.run("dvc", "repro")
    assert code == 0
    assert "Running stage" not in output
    assert finished.run("dvc", "status") == (0, "Data and pipelines are up to date.\n")


def test_dvc_shows_the_study(finished: Pipeline) -> None:
    """`dvc dag`, `dvc metrics show` and `dvc plots show` have something to say."""
    code, dag = finished.run("dvc", "dag", "--mermaid")
    assert code == 0
    assert all(stage in dag for stage in ("teachers", "select", "students", "ablations", "collect", "verify"))
    code, metrics = finished.run("dvc", "metrics", "show", "--json")
    assert code == 0
    values = json.loads(metrics)[""]["data"]
    shown = values["results/tiny/metrics.json"]["data"]
    assert shown["trainings"] == TRAININGS
    assert "resnet34-none" in shown["mean_test_acc_pct"]["teachers"]
    code, plots = finished.run("dvc", "plots", "show", "--json")
    assert code == 0
    assert len(json.loads(plots)["data"]) == 2, plots


def test_edited_results_are_named_and_trained_again(finished: Pipeline, tmp_path: Path) -> None:
    """What was edited in place does not survive the next `dvc repro`: each run is named, and its bits come back."""
    pipeline = Pipeline(tmp_path / "copy", "tiny")
    shutil.copytree(finished.folder, pipeline.folder, symlinks=True)
    runs = pipeline.folder / "runs" / "tiny"
    edited = ["teachers/resnet34-none-s0", "select/resnet34-resnet18-feature-a0.5-t0-s0", "final/resnet18-none-s1"]
    for name in edited[:2]:
        record = runs / name / "record.json"
        text = record.read_text(encoding="utf-8")
        accuracy = json.loads(text)["test_best"]["accuracy"]
        record.write_text(text.replace(f'"accuracy": {accuracy}', '"accuracy": 0.99'), encoding="utf-8")
    weights = bytearray((runs / edited[2] / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (runs / edited[2] / "weights.safetensors").write_bytes(weights)
    code, output = pipeline.run("dvc", "repro")
    assert code == 0, output
    for name in edited:
        assert f"runs/tiny/{name} is trained again" in output
    assert output.count("is trained again") == len(edited)
    assert "was edited" in output
    assert "weights.safetensors was changed" in output
    assert pipeline.digests() == finished.digests()


def test_killed_at_random_moments_it_ends_with_the_same_bits(finished: Pipeline, tmp_path: Path) -> None:
    """Three SIGKILLs to every process, each while runs are in the middle: the digests are an uncut study's."""
    rounds = killed_again_and_again(tmp_path, "tiny", kills=3, spread_s=1.5, seed=2605)
    assert sum(each.kills for each in rounds) == 3
    resumed = 0
    for each in rounds:
        assert each.pipeline.digests() == finished.digests()
        environment = json.loads((each.pipeline.folder / "results/tiny/environment.json").read_text(encoding="utf-8"))
        resumed += int(environment["runs cut and resumed"])
    assert resumed > 0, "some run went on from its checkpoint"


def test_digests_tell_studies_apart(finished: Pipeline) -> None:
    """The comparison above can fail: another seed gives other weights."""
    digests = finished.digests()
    assert len(digests) == 3 * TRAININGS
    weights = [digests[f"runs/tiny/final/resnet18-none-s{seed}/weights.safetensors"] for seed in (0, 1, 2)]
    assert len(set(weights)) == 3
