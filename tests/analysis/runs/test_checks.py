"""Rows together: no run twice, no name in two spellings."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.runs.metric import Metric
from analysis.runs.table import check_runs

A, B, C = "a" * 64, "b" * 64, "c" * 64


def table(**columns: list[str]) -> pd.DataFrame:
    """Two baselines and a distilled run, with some columns replaced."""
    rows: dict[str, list[str]] = {
        "stage": ["final"] * 3,
        "teacher": ["", "", "big"],
        "student": ["small"] * 3,
        "method": ["none", "none", "kd"],
        "seed": ["0", "1", "0"],
        "test_acc_best": ["0.91", "0.92", "0.93"],
    }
    return pd.DataFrame(rows | columns)


@pytest.mark.parametrize("digest", ["weights_sha256", "history_sha256", "correct_sha256"])
def test_one_run_under_two_seeds_is_a_copy(digest: str) -> None:
    """Equal content under two entries of a stage names both rows."""
    with pytest.raises(TableError) as error:
        check_runs(table(**{digest: [A, A, B]}), "mine.csv")
    assert str(error.value).startswith(
        f"mine.csv, row 3, column {digest}: small:none, seed 1, has the content of row 2 (small:none, seed 0): "
        "one run copied; remove one (found aaaa"
    )
    assert len(check_runs(table(**{digest: [A, "", ""]}), "mine.csv")) == 3


def test_one_run_in_two_stages_is_no_copy(published: pd.DataFrame) -> None:
    """A baseline of `final` may be one of `stem_ablation`, with its digests."""
    frame = table(
        stage=["final", "stem_ablation", "final"], seed=["0", "0", "0"], test_acc_best=["0.91", "0.91", "0.93"]
    )
    assert len(check_runs(frame.assign(weights_sha256=[A, A, B]), "mine.csv")) == 3
    assert len(check_runs(published, "x")) == 126


def test_right_on_the_same_images_is_no_copy_where_weights_differ() -> None:
    """Two collapsed networks guess one class, two perfect ones are right everywhere."""
    apart = {"weights_sha256": [A, B, C], "correct_sha256": [A, A, B]}
    assert len(check_runs(table(**apart), "mine.csv")) == 3
    perfect = {"correct_sha256": [A, A, B], "test_acc_best": ["1", "1", "0.9"]}
    assert len(check_runs(table(**perfect), "mine.csv")) == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"method": ["None", "None", "kd"]}, "row 2, column method: differs from none in upper and lower case alone"),
        ({"student": ["small", "Small", "small"]}, "row 3, column student: differs from small in upper"),
        (
            {"teacher": ["", "t", "T"], "method": ["none", "kd", "kd"]},
            "row 4, column teacher: differs from t in upper",
        ),
        (
            {"teacher": ["", "a", "a>b"], "student": ["s", "b>c", "c"], "method": ["none", "kd", "kd"]},
            "row 4, column student: two cells would both be called a>b>c:kd; leave > and : out of names (found c)",
        ),
    ],
)
def test_names_that_would_split_or_merge_cells(columns: dict[str, list[str]], words: str) -> None:
    """Two spellings of one name, and two cells of one label, are refused."""
    with pytest.raises(TableError) as error:
        check_runs(table(**columns), "mine.csv")
    assert words in str(error.value)


def test_an_own_metric_is_the_same_in_all_stages() -> None:
    """The repeated run's own metric is held against its first row, as the known columns are."""
    frame = table(stage=["final", "stem_ablation", "final"], seed=["0", "0", "0"], test_acc_best=[""] * 3)
    with pytest.raises(TableError, match=r"row 3, column f1: the same run in row 2 \(stage final\) says 0.8"):
        check_runs(frame.assign(f1=["0.8", "0.7", "0.9"]), "mine.csv", Metric("f1", higher_is_better=True))


@pytest.mark.parametrize("column", ["ece", "test_openings", "parameters"])
def test_a_repeated_run_tells_the_same_of_itself(column: str) -> None:
    """Calibration, openings and size are the run's, whatever stage it stands in; its latency is measured anew."""
    frame = table(stage=["final", "stem_ablation", "final"], seed=["0"] * 3, test_acc_best=["0.91", "0.91", "0.93"])
    with pytest.raises(TableError, match=f"row 3, column {column}"):
        check_runs(frame.assign(**{column: ["1", "0", "1"] if column == "ece" else ["2", "3", "2"]}), "mine.csv")
    assert len(check_runs(frame.assign(latency_ms_batch1=["2", "3", "2"]), "mine.csv")) == 3
