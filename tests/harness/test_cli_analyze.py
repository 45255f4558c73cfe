"""`harness analyze`: where it reads and writes, what it prints, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.analysis_files import read_analysis
from harness.cli import app
from harness.errors import KdcapError, StudyError

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reference" / "yasar2026-v2" / "runs.csv"
runner = CliRunner()


def test_own_runs_need_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anywhere on disk, with --runs alone: the margin is 0.2 and files lie beside the table."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PUBLISHED, tmp_path / "mine.csv")
    result = runner.invoke(app, ["analyze", "--runs", "mine.csv"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Cannot tell whether larger students gain more from distillation.")
    assert "gain:resnet34:feature" in result.output
    assert "- Seed 0 both chose" in result.output
    assert read_analysis(tmp_path / "analysis").margin_pp == 0.2


def test_json_is_the_file(tmp_path: Path) -> None:
    """--json prints what was written, and only that."""
    result = runner.invoke(
        app, ["analyze", "--runs", str(PUBLISHED), "--out", str(tmp_path), "--margin", "0.5", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert result.output == (tmp_path / "analysis.json").read_text()
    assert json.loads(result.output)["margin_pp"] == 0.5


def test_a_profile_gives_place_and_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --runs: results/PROFILE/runs.csv, the profile's margin, results/PROFILE/analysis."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "results" / "paper").mkdir(parents=True)
    shutil.copy(PUBLISHED, tmp_path / "results" / "paper" / "runs.csv")
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["analyze", "--profile", "paper"])
    assert result.exit_code == 0, result.output
    assert read_analysis(tmp_path / "results" / "paper" / "analysis").n_runs == 50


def test_order_of_students_is_taken(tmp_path: Path) -> None:
    """--order turns the comparison round."""
    arguments = ["--runs", str(PUBLISHED), "--out", str(tmp_path), "--order", "resnet34, resnet18"]
    assert runner.invoke(app, ["analyze", *arguments]).exit_code == 0
    assert read_analysis(tmp_path).claims[0].contrast == "moderation:feature-none:resnet18-resnet34"


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
