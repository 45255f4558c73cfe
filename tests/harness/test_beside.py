"""`curves.csv` and `coverage.csv`: used only beside the runs table that they belong to, and only if they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.table import check_runs
from harness.beside import CoverageRow, CurveRow, read_coverage, read_curves
from harness.errors import StoreError
from harness.tables import write_table

Read = Callable[[Path, pd.DataFrame], pd.DataFrame | None]
CURVES = [
    CurveRow("teachers/big-s0", "teachers stem_ablation", None, None, "big", "none", 0, epoch, 0.1, 2.5, val_acc)
    for epoch, val_acc in ((1, 0.1), (2, 1 / 3))
] + [
    CurveRow("final/small-s1", "final", "big", 0, "small", "logit", 1, epoch, 0.1, 2.5, val_acc)
    for epoch, val_acc in ((1, 0.1), (2, 0.7), (3, 0.6))
]
COVERAGE = [
    CoverageRow("teachers", None, None, "big", "none", 0, "", "teachers/big-s0", "done", ""),
    CoverageRow("final", "big", 0, "small", "logit", 0, "", "", "missing", "waits for the selection"),
    CoverageRow("final", "big", 0, "small", "logit", 1, "alpha=0.5", "final/small-s1", "done", ""),
    CoverageRow("stem_ablation", None, None, "big", "none", 0, "", "teachers/big-s0", "done", ""),
]


def runs(**columns: list[object]) -> pd.DataFrame:
    """A checked runs table of three rows and two runs, in another order than the file's; `columns` are changed."""
    rows: dict[str, list[object]] = {
        "stage": ["stem_ablation", "final", "teachers"],
        "run_id": ["teachers/big-s0", "final/small-s1", "teachers/big-s0"],
        "teacher": ["", "big", ""],
        "student": ["big", "small", "big"],
        "method": ["none", "logit", "none"],
        "seed": [0, 1, 0],
        "epochs": [2, 3, 2],
        "best_epoch": [2, 2, 2],
        "val_acc": [1 / 3, 0.7, 1 / 3],
        "test_acc_best": [0.5, 0.6, 0.5],
    }
    return check_runs(pd.DataFrame(rows | columns), "runs.csv")


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """The file as `harness collect` writes it."""
    write_table(tmp_path / "curves.csv", CURVES)
    return tmp_path / "curves.csv"


@pytest.fixture
def coverage(tmp_path: Path) -> Path:
    """The file as `harness collect` writes it."""
    write_table(tmp_path / "coverage.csv", COVERAGE)
    return tmp_path / "coverage.csv"


def sentence(read: Read, path: Path) -> str:
    """What is said of a file that cannot be used: one sentence with its name that ends with the way out."""
    with pytest.raises(StoreError) as caught:
        read(path, runs())
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith("make both again with `harness collect`.")
    assert "\n" not in text
    return text


def test_curves_come_back_as_they_were_written(curves: Path) -> None:
    """To the last digit of an accuracy, an empty teacher as in the runs table."""
    read = read_curves(curves, runs())
    assert read is not None
    assert read["val_acc"].tolist() == [0.1, 1 / 3, 0.1, 0.7, 0.6]
    assert read["teacher"].tolist() == ["", "", "big", "big", "big"]
    assert read["teacher_seed"].isna().tolist() == [True, True, False, False, False]
    assert read["stages"].iloc[0] == "teachers stem_ablation"


def test_coverage_comes_back_with_the_numbers_of_the_rows(coverage: Path) -> None:
    """Counted from 1 in the runs table's own order; an entry without a run has none."""
    read = read_coverage(coverage, runs())
    assert read is not None
    assert runs()["stage"].tolist() == ["teachers", "final", "stem_ablation"]
    assert read["run"].astype(object).where(read["run"].notna(), None).tolist() == [1, None, 2, 3]
    assert read["reason"].tolist() == ["", "waits for the selection", "", ""]


def test_a_part_of_the_table_gets_its_own_curves(curves: Path) -> None:
    """Those of other runs are passed over; a run that the file lacks still tells that it is another table's."""
    part = runs().iloc[1:2].reset_index(drop=True)
    read = read_curves(curves, part, part=True)
    assert read is not None
    assert set(read["run_id"]) == set(part["run_id"])
    assert read_curves(curves, part) is None
    assert read_curves(curves, part.assign(run_id="final/another"), part=True) is None


def test_a_part_of_the_table_gets_its_own_coverage(coverage: Path) -> None:
    """Its rows' entries with their numbers there, and all that is not done."""
    part = runs().iloc[1:].reset_index(drop=True)
    read = read_coverage(coverage, part, part=True)
    assert read is not None
    assert read["run"].astype(object).where(read["run"].notna(), None).tolist() == [None, 1, 2]
    assert read_coverage(coverage, part) is None
    assert read_coverage(coverage, part.assign(seed=5), part=True) is None


@pytest.mark.parametrize("read", [read_curves, read_coverage])
def test_no_file_is_nothing(read: Read, tmp_path: Path) -> None:
    """Runs of another trainer come without."""
    assert read(tmp_path / "absent.csv", runs()) is None


@pytest.mark.parametrize(
    "columns",
    [
        {"run_id": ["", "", ""]},
        {"run_id": ["teachers/big-s0", "final/small-s2", "teachers/big-s0"]},
        {"seed": [0, 2, 0]},
        {"method": ["none", "feature", "none"]},
    ],
    ids=["runs without names", "another run", "another seed", "another method"],
)
def test_a_file_of_other_runs_is_left_alone(columns: dict[str, list[object]], curves: Path, coverage: Path) -> None:
    """It belongs to another table: neither used nor refused."""
    assert read_curves(curves, runs(**columns)) is None
    assert read_coverage(coverage, runs(**columns)) is None


def test_a_row_that_was_taken_out_of_the_runs_table_is_noticed(coverage: Path) -> None:
    """Done entries are the table's rows, each once."""
    assert read_coverage(coverage, runs()[:2]) is None


def test_curves_that_contradict_the_runs_table_are_refused(tmp_path: Path) -> None:
    """The best validation accuracy and the number of epochs are in both, to the last digit."""
    path = tmp_path / "curves.csv"
    write_table(path, [*CURVES[:3], replace(CURVES[3], val_acc=0.71), CURVES[4]])
    assert "best val_acc 0.7 of final/small-s1, as in the runs table, found 0.71" in sentence(read_curves, path)
    write_table(path, CURVES[:-1])
    assert "expected epochs 3 of final/small-s1, as in the runs table, found 2" in sentence(read_curves, path)
    for damaged in (replace(CURVES[4], epoch=4), replace(CURVES[4], epoch=2), replace(CURVES[4], val_acc=60.0)):
        write_table(path, [*CURVES[:4], damaged])
        assert "expected epochs of final/small-s1 from 1 on" in sentence(read_curves, path)


def test_a_runs_table_that_does_not_say_is_not_contradicted(curves: Path) -> None:
    """Validation accuracies may have been taken out."""
    assert read_curves(curves, runs(val_acc=[None, None, None], epochs=[None, None, None])) is not None


@pytest.mark.parametrize("read", [read_curves, read_coverage])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("seed,", "sead,"),
        lambda text: text.replace("student,", "", 1),
        lambda text: text.rpartition(",")[0] + "\n",
        lambda text: text.replace(",1,", ",one,"),
        lambda _: "",
        lambda text: text + ",".join("x" * 20) + "\n",
    ],
    ids=["a column of another name", "a column less", "cut in a row", "a word for a number", "empty", "a longer row"],
)
def test_a_damaged_file_is_named(read: Read, damage: Callable[[str], str], curves: Path, coverage: Path) -> None:
    """One sentence, whatever is wrong with it."""
    path = curves if read is read_curves else coverage
    path.write_text(damage(path.read_text()))
    assert "expected a table of" in sentence(read, path)


def test_a_file_that_is_no_text_is_named(curves: Path) -> None:
    """Bytes of something else."""
    curves.write_bytes(b"\xff\xfe\x00" * 40)
    assert "expected a table of run_id" in sentence(read_curves, curves)


def test_an_unknown_state_is_named(coverage: Path) -> None:
    """There are four."""
    coverage.write_text(coverage.read_text().replace(",missing,", ",lost,"))
    assert "expected a state of done, stale, failed, missing, found 'lost'" in sentence(read_coverage, coverage)
