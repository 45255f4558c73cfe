"""Tables and analyses as files: read strictly, written whole, byte for byte the same."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from analysis.analyze import analyze
from analysis.errors import TableError
from analysis.results import Analysis
from analysis.runs.columns import COLUMNS, Column
from analysis.runs.metric import Metric
from harness.analysis_files import TABLES, analysis_from_json, analysis_to_dict, read_analysis, write_analysis
from harness.errors import KdcapError, StoreError
from harness.tables import read_runs, write_table

EXAMPLES = Path(__file__).parents[2] / "examples"
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
    """A small table, analysed."""
    runs = read_runs(EXAMPLES / "smallest.csv")
    return analyze(runs, student_order=("small", "big"), generator=np.random.default_rng(0))


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


GOOD = "student,method,seed,accuracy\nsmall,none,0,0.9\nsmall,kd,0,0.95\n"
HEAD = "student,method,seed,accuracy\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD + "\n\n",
        GOOD + ",,,\n",
        GOOD.replace(",", " , "),
        GOOD.replace("0.9\n", "9e-1\n").replace(",0,", ",0.0,"),
        '"' + GOOD.replace(",", '","').replace("\n", '"\n"').removesuffix('"'),
    ],
)
def test_the_same_table_in_other_clothes(tmp_path: Path, content: str) -> None:
    """Byte-order mark, line ends, outer spaces, quotes and empty lines at the end change nothing."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode())
    runs = read_runs(path)
    assert list(zip(runs["method"], runs["seed"], runs["test_acc_best"], strict=True)) == [
        ("none", 0, 0.9),
        ("kd", 0, 0.95),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n\n", "is no CSV file with a header and a row per run (it is empty)"),
        (HEAD, "the table has a header but no rows; collect runs first"),
        (GOOD.replace(",", ";"), "values are separated by semicolons, and kdcap reads commas; save"),
        (GOOD.replace(",", "\t"), "values are separated by tabs, and kdcap reads commas; save"),
        (HEAD.replace("method", "seed") + "a,1,1,1\n", "column 'seed' stands there twice; keep one"),
        (HEAD.replace("\n", ",\n") + "a,none,0,0.9,\n", "column 5 has no name; name it or remove it"),
        (HEAD.replace("seed", "Seed") + "a,none,0,0.9\n", "unknown column 'Seed'; rename it to 'seed'"),
        (HEAD + "a,none,0,0.9,1\n", "row 2 has 5 values and the header 4 names"),
        (HEAD + "a,none,0\n", "row 2 has 3 values and the header 4 names"),
        (
            HEAD + "a,none,0,0,951\n",
            "row 2 has 5 values and the header 4 names; quote names with commas, and write dec",
        ),
        (HEAD + 'a,none,0,"0,951"\n', "row 2, column accuracy: must be a number with a decimal point"),
        (HEAD + "a,none,0,0.9\n\na,none,1,0.9\n", "row 3, column student: a value is needed here"),
        (HEAD + "a,none,0,95.1%\n", "row 2, column accuracy: must be a number without a percent sign"),
        (HEAD + "a,none,0,95.1\n", "row 2, column accuracy: values must be fractions in [0, 1]"),
        (HEAD + "a,none,0,NaN\n", "row 2, column accuracy: must be a number (found NaN)"),
        (HEAD + "a,none,0,inf\n", "row 2, column accuracy: must be a number (found inf)"),
        (HEAD + "a,none,0,\n", "row 2, column accuracy: a value is needed here"),
        (HEAD + "a,none,-1,0.9\n", "row 2, column seed: must be at least 0 (found -1)"),
        (HEAD + "a,none,0,0.9\na,none,0.0,0.9\n", "row 3, column seed: final a:none stands there twice"),
        (HEAD + '"a\nb",none,0,0.9\n', "row 2, column student: holds the invisible character U+000A"),
        (HEAD + "a\0,none,0,0.9\n", "row 2, column student: holds the invisible character U+0000"),
        (HEAD + "a,None,0,0.9\n", "row 2, column method: differs from none in upper and lower case alone"),
    ],
)
def test_tables_that_a_careless_or_hostile_hand_wrote(tmp_path: Path, content: str, words: str) -> None:
    """Each gives one printable sentence that begins with the file."""
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode())
    with pytest.raises((KdcapError, TableError)) as error:
        read_runs(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)
    assert str(error.value).isprintable()


def test_html_is_a_name_like_any_other(tmp_path: Path) -> None:
    """Tables keep text as it is; who shows it escapes it."""
    path = tmp_path / "mine.csv"
    path.write_text(HEAD + "<script>alert(1)</script>,none,0,0.9\n", encoding="utf-8")
    assert read_runs(path)["student"].tolist() == ["<script>alert(1)</script>"]


def test_examples_are_tables() -> None:
    """Both pass; the smallest can be analysed, and finds the moderation that its program put in."""
    errors = read_runs(EXAMPLES / "error_rate.csv", Metric("top1_error", higher_is_better=False))
    assert set(errors["teacher"]) == {"", "huge"}
    smallest = read_runs(EXAMPLES / "smallest.csv")
    assert smallest.groupby(["student", "method"]).size().tolist() == [5] * 4
    result = analyze(smallest, student_order=("small", "big"), generator=np.random.default_rng(0))
    found = {row.contrast: row for row in result.contrasts if row.model == "primary"}
    assert found["gain:big:kd"].ci_low_pp > 0


def test_examples_are_what_their_program_draws(tmp_path: Path) -> None:
    """The page says that the numbers are invented, and how: its program gives these very files."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert "**The numbers in this folder are invented.**" in page
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    subprocess.run([sys.executable, "-c", *program, str(tmp_path)], check=True)
    for name in ("smallest.csv", "error_rate.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes()
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert (EXAMPLES / "smallest.csv").read_text(encoding="utf-8").startswith(shown[0])


def test_the_page_lists_every_column_as_the_schema_has_it() -> None:
    """Name, type, rule and range of each column, in order."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in row] for row in re.findall(r"^\| (`.*?) \|(.*?)\|(.*?)\|(.*?)\|", page, re.MULTILINE)
    ]
    assert rows == [[f"`{c.name}`", c.kind, rule(c), bounds(c)] for c in COLUMNS]


def rule(column: Column) -> str:
    """What a table and a row must do, in the page's words."""
    return ", ".join(word for word, holds in (("needed", column.required), ("filled", column.filled)) if holds)


def bounds(column: Column) -> str:
    """A column's range in the page's words; KL's rounding slack is not worth a word."""
    if column.high < math.inf:
        return f"{column.low:g} to {column.high:g}"
    return f"from {max(column.low, 0):g}" if column.low > -math.inf else ""


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


def test_runs_behind_a_model_are_ranges_in_words(tmp_path: Path, analysis: Analysis) -> None:
    """In CSV `1 to 3, 7`, which no spreadsheet takes for a date; in JSON every number."""
    broken = replace(analysis.models[0], runs=(1, 2, 3, 7, 9, 10))
    write_analysis(tmp_path, replace(analysis, models=(broken, replace(broken, runs=()))))
    assert [row["runs"] for row in read_csv(tmp_path / "models.csv")] == ["1 to 3, 7, 9 to 10", ""]
    assert json.loads((tmp_path / "analysis.json").read_text())["models"][0]["runs"] == [1, 2, 3, 7, 9, 10]
    assert read_analysis(tmp_path).models[0].runs == (1, 2, 3, 7, 9, 10)


def test_every_table_is_written_byte_stable(tmp_path: Path, analysis: Analysis) -> None:
    """Two writings of two analyses of the same table are equal; each file has a row per result."""
    write_analysis(tmp_path / "a", analysis)
    again = analyze(
        read_runs(EXAMPLES / "smallest.csv"), student_order=("small", "big"), generator=np.random.default_rng(0)
    )
    write_analysis(tmp_path / "b", again)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted([*(f"{name}.csv" for name in TABLES), "analysis.json"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in TABLES:
        rows = read_csv(tmp_path / "a" / f"{name}.csv")
        assert len(rows) == len(getattr(analysis, name))


def test_contrasts_have_the_promised_columns(tmp_path: Path, analysis: Analysis) -> None:
    """The columns that other programs read, in order."""
    write_analysis(tmp_path, analysis)
    header = (tmp_path / "contrasts.csv").read_text().splitlines()[0]
    assert header == (
        "model,metric,subset,contrast,estimate_pp,se_pp,df,df_method,ci_low_pp,ci_high_pp,ci90_low_pp,ci90_high_pp,t,p,"
        "p_holm,p_equivalence,family,n,singular"
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(schema="kdcap.analysis/0"), "expected schema kdcap.analysis/3, found kdcap.analysis/0"),
        (lambda d: d.update(extra=1), "does not know"),
        (lambda d: d["contrasts"][0].update(extra=1), "does not know"),
        (lambda d: d.pop("claims"), "claims"),
        (lambda d: d["multiverse"][0].update(supports="yes"), "multiverse.0.supports"),
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
