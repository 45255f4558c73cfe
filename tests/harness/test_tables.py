"""Tables and analyses as files: read strictly, written whole, byte for byte the same."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.analyze import analyze
from analysis.errors import TableError
from analysis.results import Analysis
from harness.analysis_files import TABLES, analysis_from_json, analysis_to_dict, read_analysis, write_analysis
from harness.errors import KdcapError, StoreError
from harness.tables import read_runs, write_table

PUBLISHED = Path(__file__).parents[2] / "reference" / "yasar2026-v2" / "runs.csv"


@dataclass(frozen=True)
class Row:
    """A row with every kind of value."""

    name: str
    value: float
    count: int
    flag: bool
    missing: float | None


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a file, as text."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """The published runs, analysed."""
    return analyze(read_runs(PUBLISHED))


def test_published_runs_are_read() -> None:
    """The shipped table passes its own schema."""
    runs = read_runs(PUBLISHED)
    assert len(runs) == 126
    assert set(runs["dataset"]) == {"cifar10"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no CSV file with a header"),
        (b'a,b\n1,2\n3,4,5\n"', "no CSV file with a header"),
        (b"\xff\xfe\x00", "no CSV file with a header"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, words: str) -> None:
    """Whatever is no table gives one sentence with the path."""
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(KdcapError, match=words) as error:
        read_runs(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    """The sentence says which command makes the file."""
    with pytest.raises(KdcapError, match="harness collect"):
        read_runs(tmp_path / "runs.csv")


def test_line_numbers_are_the_editors(tmp_path: Path) -> None:
    """The row in a message is the line in the file, blank lines counted."""
    path = tmp_path / "runs.csv"
    lines = ["stage,teacher,student,method,seed,test_acc_best", "final,,a,none,0,0.9", "", "final,,a,none,1,2"]
    path.write_text("\n".join(lines))
    with pytest.raises(TableError, match=r"runs\.csv, row 3, column stage"):
        read_runs(path)
    path.write_text("\n".join([*lines[:2], "final,,a,none,1,oops"]))
    with pytest.raises(TableError, match=r"row 3, column test_acc_best: must be a number \(found oops\)"):
        read_runs(path)


def test_floats_survive_the_file(tmp_path: Path) -> None:
    """Every float reads back as itself; None is empty; text is quoted where needed."""
    values = [0.1 + 0.2, 1 / 3, 1e-300, 95.0]
    path = tmp_path / "t.csv"
    write_table(path, [Row("a, b", value, 3, True, None) for value in values])
    rows = read_csv(path)
    assert [float(row["value"]) for row in rows] == values
    assert rows[0] == {"name": "a, b", "value": repr(0.1 + 0.2), "count": "3", "flag": "true", "missing": ""}


def test_empty_table_keeps_its_header(tmp_path: Path) -> None:
    """No rows is a fact to be read, not an empty file."""
    write_table(tmp_path / "t.csv", [], Row)
    assert (tmp_path / "t.csv").read_text() == "name,value,count,flag,missing\n"


def test_analysis_reads_back_as_itself(tmp_path: Path, analysis: Analysis) -> None:
    """JSON holds everything, to the last digit."""
    write_analysis(tmp_path, analysis)
    assert read_analysis(tmp_path) == analysis


def test_every_table_is_written_byte_stable(tmp_path: Path, analysis: Analysis) -> None:
    """Two writings of two analyses of the same table are equal; each file has a row per result."""
    write_analysis(tmp_path / "a", analysis)
    write_analysis(tmp_path / "b", analyze(read_runs(PUBLISHED)))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted([*(f"{name}.csv" for name in TABLES), "analysis.json"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in TABLES:
        rows = read_csv(tmp_path / "a" / f"{name}.csv")
        assert len(rows) == len(getattr(analysis, name)) > 0


def test_contrasts_have_the_promised_columns(tmp_path: Path, analysis: Analysis) -> None:
    """The columns that other programs read, in order."""
    write_analysis(tmp_path, analysis)
    header = (tmp_path / "contrasts.csv").read_text().splitlines()[0]
    assert header == (
        "model,metric,subset,contrast,estimate_pp,se_pp,df,df_method,ci_low_pp,ci_high_pp,t,p,p_holm,family,n,singular"
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(schema="kdcap.analysis/0"), "expected schema kdcap.analysis/1, found kdcap.analysis/0"),
        (lambda d: d.update(extra=1), "does not know"),
        (lambda d: d["contrasts"][0].update(extra=1), "does not know"),
        (lambda d: d.pop("claims"), "claims"),
        (lambda d: d["claims"][0].update(verdict="proved"), "claims.0.verdict"),
        (lambda d: d.update(n_runs="50"), "n_runs"),
    ],
)
def test_edited_analyses_are_refused(analysis: Analysis, edit: object, words: str) -> None:
    """Another schema, unknown, missing and mistyped keys are named."""
    content = analysis_to_dict(analysis)
    assert callable(edit)
    edit(content)
    with pytest.raises(StoreError, match=words) as error:
        analysis_from_json(json.dumps(content), "analysis.json")
    assert "harness analyze" in str(error.value)


def test_no_analysis_yet(tmp_path: Path) -> None:
    """The sentence says which command makes it."""
    with pytest.raises(StoreError, match="make it with `harness analyze`"):
        read_analysis(tmp_path)
