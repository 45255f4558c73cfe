"""What made a report: the code, and DVC's digests of the runs where they are those of the very table reported."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import ROOT

import analysis
from harness import __version__
from harness.errors import KdcapError
from harness.provenance import analysis_code_sha256, provenance
from harness.workspace import Workspace

WORKSPACE = Workspace("tiny")
CODE = ["kdcap of this report", "analysis code digest"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs table where its profile has it; the test works in its folder."""
    monkeypatch.chdir(tmp_path)
    WORKSPACE.runs_table.parent.mkdir(parents=True)
    WORKSPACE.runs_table.write_text("a runs table\n")
    return WORKSPACE.runs_table


def lock(runs: Path, **stages: dict[str, Any]) -> None:
    """DVC's record of a study: a report, training, and the table as it is, collected from two folders."""
    collected = {
        "outs": [
            {"path": "results/tiny/correct.npz", "md5": "c" * 32},
            {"path": "results/tiny/runs.csv", "md5": hashlib.md5(runs.read_bytes(), usedforsecurity=False).hexdigest()},
        ],
        "deps": [
            {"path": "runs/tiny/final", "md5": "f" * 32 + ".dir"},
            {"path": "harness/collect.py", "md5": "0" * 32},
            {"path": "runs/tiny/teachers", "md5": "7" * 32 + ".dir"},
            {"path": "runs/other/teachers", "md5": "8" * 32 + ".dir"},
        ],
    }
    content = {
        "report": {"outs": [{"path": "results/tiny/report.html", "md5": "e" * 32}]},
        "teachers": {"outs": [{"path": "runs/tiny/teachers", "md5": "9" * 32 + ".dir"}]},
        "collect": collected,
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": content | stages}))


def test_the_code_is_always_told(runs: Path) -> None:
    """With or without DVC, and for a table of no profile."""
    found = provenance(runs, WORKSPACE)
    assert found == {CODE[0]: __version__, CODE[1]: analysis_code_sha256()}
    lock(runs)
    assert provenance(runs, None) == found


def test_the_digests_are_those_of_the_table_and_of_the_folders_it_was_collected_from(runs: Path) -> None:
    """Not those of folders that were trained again since; in the order of the phases; nothing of the report."""
    lock(runs)
    found = provenance(runs, WORKSPACE)
    assert list(found) == [
        *CODE,
        "DVC md5 of results/tiny/runs.csv",
        "DVC md5 of runs/tiny/teachers",
        "DVC md5 of runs/tiny/final",
    ]
    assert found["DVC md5 of runs/tiny/teachers"] == "7" * 32 + ".dir"
    assert (
        found["DVC md5 of results/tiny/runs.csv"] == hashlib.md5(b"a runs table\n", usedforsecurity=False).hexdigest()
    )


def test_a_report_is_no_part_of_its_own_provenance(runs: Path) -> None:
    """What DVC records of the report when it is done changes nothing in the next one."""
    lock(runs)
    before = provenance(runs, WORKSPACE)
    lock(
        runs, report={"outs": [{"path": "results/tiny/report.html", "md5": "1" * 32}]}, verify={"cmd": "harness verify"}
    )
    assert provenance(runs, WORKSPACE) == before


def test_a_table_that_dvc_did_not_record_has_no_digests(runs: Path) -> None:
    """Collected by hand since, or the lock is another profile's: then DVC's digests say nothing of it."""
    lock(runs)
    assert list(provenance(runs, Workspace("other"))) == CODE
    runs.write_text("another runs table\n")
    assert list(provenance(runs, WORKSPACE)) == CODE
    lock(runs, collect={"cmd": "harness collect"})
    assert list(provenance(runs, WORKSPACE)) == CODE


@pytest.mark.parametrize("content", ["", "stages: 3", "stages: {collect: {outs: [runs.csv]}}", "{", "\0"])
def test_a_damaged_lock_is_named(runs: Path, content: str) -> None:
    """One sentence with the file's name and the way out."""
    Path("dvc.lock").write_text(content)
    with pytest.raises(KdcapError, match=r"^dvc\.lock: expected DVC's record of the pipeline.*`dvc repro`") as caught:
        provenance(runs, WORKSPACE)
    assert "\n" not in str(caught.value)


def test_the_analysis_digest_follows_the_analysis_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte or a module more changes it; what is no code does not, and no path is in it."""
    first = analysis_code_sha256()
    package = tmp_path / "analysis"
    shutil.copytree(ROOT / "analysis", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(analysis, "__file__", str(package / "__init__.py"))
    assert analysis_code_sha256() == first
    (package / "notes.txt").write_text("not code")
    assert analysis_code_sha256() == first
    (package / "mixed" / "another.py").write_text("")
    second = analysis_code_sha256()
    (package / "mixed" / "another.py").write_text("# a byte more")
    assert len({first, second, analysis_code_sha256()}) == 3
