"""From a table that is too large for an analysis to a report: all say which runs they rest on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from tiny_study import ROOT
from typer.testing import CliRunner

from analysis.runs import reach
from analysis.runs.reach import first_seeds
from harness import analysing, reporting
from harness.analysis_files import write_analysis
from harness.cli import app


def test_analysis_and_report_are_of_the_first_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten cells at five seeds, of which 30 runs fit: three seeds of each cell, said first, and counted on the page."""
    for module in (analysing, reporting):
        monkeypatch.setattr(module, "first_seeds", partial(first_seeds, most=30))
    runs = tmp_path / "runs.csv"
    runs.write_bytes((ROOT / "reference/quick/runs.csv").read_bytes())
    found = analysing.analyse_files(runs, margin_pp=1.0)
    assert found.flags[0].startswith("Of 50 final runs 30 are analysed, 3 of 5 a cell: ")
    assert {cell.n for cell in found.cells} == {3}
    write_analysis(tmp_path / "analysis", found)
    reporting.write_report(runs, tmp_path / "analysis", tmp_path / "report.html", title="Large")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "20 final runs of later seeds are not on this page; runs.csv has them." in page
    assert "Of 50 final runs 30 are analysed, 3 of 5 a cell" in page
    assert page.count('<tr id="run-') == 33  # and the three teachers


def test_a_plan_says_which_runs_it_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON under `notes`, which is empty where it rests on all of them."""
    whole, part = (partial(first_seeds, most=most) for most in (50, 30))
    for cut, notes in ((whole, []), (part, ["Of 50 final runs 30 are analysed, 3 of 5 a cell"])):
        monkeypatch.setattr(reach, "first_seeds", cut)
        result = CliRunner().invoke(app, ["power", "--runs", str(ROOT / "reference/quick/runs.csv"), "--json"])
        assert result.exit_code == 0, result.output
        assert [note.partition(":")[0] for note in json.loads(result.stdout)["notes"]] == notes
