"""`harness analyze`: where it reads and writes, what it prints, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.runs.metric import Metric
from harness.analysis_files import read_analysis
from harness.cli import app
from harness.errors import KdcapError, StudyError
from harness.tables import read_runs

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reference" / "yasar2026-v2" / "runs.csv"
runner = CliRunner()


SMALLEST = ROOT / "examples" / "smallest.csv"
SMALL = ("--runs", str(SMALLEST), "--order", "small,big")


@pytest.fixture
def hasty(in_haste: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """For what does not depend on the parts of an analysis that take the most time."""
    with in_haste():
        yield


hastily = pytest.mark.usefixtures("hasty")


def test_own_runs_need_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anywhere on disk, with --runs alone: the margin is 0.2 and files lie beside the table."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SMALLEST, tmp_path / "mine.csv")
    result = runner.invoke(app, ["analyze", "--runs", "mine.csv", "--order", "small,big"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Supported: larger students gain more from distillation.")
    assert "gain:big:kd" in result.output
    assert "not tested (claims.csv says why): moderation:feature" in result.output
    found = read_analysis(tmp_path / "analysis")
    assert found.margin_pp == 0.2
    # by hand: mean gains of the table
    runs = read_runs(SMALLEST)
    mean = runs.groupby(["student", "method"])["test_acc_best"].mean()
    gains = {s: 100 * float(mean[s, "kd"] - mean[s, "none"]) for s in ("small", "big")}
    by_id = {claim.id: claim for claim in found.claims}
    assert by_id["moderation:kd"].estimate == pytest.approx(gains["big"] - gains["small"])
    assert all(len(line) <= 100 for line in result.output.splitlines())


@hastily
def test_json_is_the_file(tmp_path: Path) -> None:
    """--json prints what was written, and only that; --latex writes tables beside it."""
    result = runner.invoke(app, ["analyze", *SMALL, "--out", str(tmp_path), "--margin", "0.5", "--json", "--latex"])
    assert result.exit_code == 0, result.output
    assert result.output == (tmp_path / "analysis.json").read_text()
    assert json.loads(result.output)["margin_pp"] == 0.5
    tables = (tmp_path / "tables.tex").read_text(encoding="utf-8")
    assert tables.count("\\begin{tabular}") == 4
    assert "gain:big:kd" in tables
    assert "0.5\\%" not in tables
    assert "[+0.264, +0.680]" in tables


@hastily
def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    """Gains are reductions of the error; a direction without a metric is refused."""
    errors = ROOT / "examples" / "error_rate.csv"
    asked = ["--metric", "top1_error", "--lower-is-better", "--order", "small,big"]
    result = runner.invoke(app, ["analyze", "--runs", str(errors), *asked, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Of top1_error a lower value is better" in " ".join(result.output.split())
    mean = (
        read_runs(errors, Metric("top1_error", higher_is_better=False))
        .groupby(["student", "method"])["top1_error"]
        .mean()
    )
    by_id = {claim.id: claim for claim in read_analysis(tmp_path).claims}
    assert by_id["gain:big:feature"].estimate == pytest.approx(100 * (mean["big", "none"] - mean["big", "feature"]))
    refused = runner.invoke(app, ["analyze", "--runs", str(errors), "--lower-is-better"])
    assert isinstance(refused.exception, StudyError)
    assert "expected a --metric" in str(refused.exception)


@hastily
def test_a_profile_gives_place_and_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --runs: results/PROFILE/runs.csv, the profile's margin, results/PROFILE/analysis."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    shutil.copy(SMALLEST, tmp_path / "results" / "quick" / "runs.csv")
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["analyze", "--profile", "quick"])
    assert result.exit_code == 0, result.output
    found = read_analysis(tmp_path / "results" / "quick" / "analysis")
    assert (found.n_runs, found.margin_pp) == (20, 1.0)


@hastily
def test_order_of_students_is_taken(tmp_path: Path) -> None:
    """--order turns the comparison round."""
    arguments = ["--runs", str(SMALLEST), "--out", str(tmp_path), "--order", "big, small"]
    assert runner.invoke(app, ["analyze", *arguments]).exit_code == 0
    by_id = {claim.id: claim for claim in read_analysis(tmp_path).claims}
    assert by_id["moderation:kd"].contrast == "moderation:kd-none:small-big"


@hastily
def test_claims_of_ones_own(tmp_path: Path) -> None:
    """Another register is judged instead of the paper's."""
    own = tmp_path / "claims.yaml"
    own.write_text(
        "claims:\n- {id: mine, sentence: Big gains., effect: the gain of big, source: me, published: '', "
        "kind: directional, unit: pp, margin: gain, model: primary, subset: all, "
        "contrast: 'gain:big:kd', needs: big needs runs}\n",
        encoding="utf-8",
    )
    result = runner.invoke(app, ["analyze", *SMALL, "--claims", str(own), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    (claim,) = read_analysis(tmp_path / "out").claims
    assert (claim.id, claim.verdict) == ("mine", "supported")


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "200"])
def test_impossible_margins(tmp_path: Path, margin: str) -> None:
    """A margin is a number of percentage points above 0; nothing is written otherwise."""
    arguments = ["analyze", "--runs", str(PUBLISHED), "--out", str(tmp_path / "out"), "--margin", margin]
    result = runner.invoke(app, arguments)
    assert isinstance(result.exception, StudyError)
    assert "--margin: expected percentage points between 0 and 100" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_missing_runs(tmp_path: Path) -> None:
    """A missing table is a sentence, not a traceback."""
    result = runner.invoke(app, ["analyze", "--runs", str(tmp_path / "none.csv")])
    assert isinstance(result.exception, KdcapError)
