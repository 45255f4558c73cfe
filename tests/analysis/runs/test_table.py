"""The schema of runs tables: what passes, what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.runs.metric import Metric
from analysis.runs.table import COLUMNS, UNNAMED_TEACHER, cell_label, check_runs, distinct_runs, finals

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def set_value(row: int, column: str, value: str) -> Edit:
    """An edit of one value of the raw table."""

    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return edit


def test_published_table_passes(published: pd.DataFrame) -> None:
    """126 rows, 111 distinct runs, 50 of them final: the counts that the paper's design gives."""
    assert len(published) == 126
    assert len(distinct_runs(published)) == 111
    assert len(finals(published)) == 50
    assert list(published.columns) == [column.name for column in COLUMNS]


def test_row_order_does_not_matter(raw_published: pd.DataFrame, published: pd.DataFrame) -> None:
    """A shuffled file gives the same frame."""
    shuffled = raw_published.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(check_runs(shuffled, "x"), published)


def test_checked_frame_passes_again(published: pd.DataFrame) -> None:
    """Checking is idempotent, so that a frame may cross the border twice."""
    pd.testing.assert_frame_equal(check_runs(published, "x"), published)


def test_small_table_is_enough() -> None:
    """Six columns make a table; the others are there and empty."""
    rows = [("final", "", "small", "none", "0", "0.5"), ("final", "t", "small", "mine", "0", "0.6")]
    columns = ["stage", "teacher", "student", "method", "seed", "test_acc_best"]
    runs = check_runs(pd.DataFrame(rows, columns=columns), "mine.csv")
    assert runs["seed"].tolist() == [0, 0]
    assert runs["alpha"].isna().all()
    assert runs["stem"].tolist() == ["", ""]


def test_a_checkpoint_rule_may_be_said_or_not(raw_published: pd.DataFrame, published: pd.DataFrame) -> None:
    """Any rule, as text, if it is that of the whole table; a table without the column says none."""
    assert set(published["checkpoint"]) == {""}
    assert set(check_runs(raw_published.assign(checkpoint=" last "), "mine.csv")["checkpoint"]) == {"last"}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f: f.assign(top1="1"), ["unknown column 'top1'", "rename"]),
        (lambda f: f.assign(accuracy="1"), ["column 'accuracy' is another name of 'test_acc_best'", "keep one"]),
        (lambda f: f.drop(columns="seed"), ["column seed is missing"]),
        (lambda f: f.iloc[:0], ["no rows"]),
        (
            lambda f: f.assign(test_acc_best=(100 * f["test_acc_best"].astype(float)).astype(str)),
            ["row 2, column test_acc_best", "percent", "divide it by 100", "95.45"],
        ),
        (set_value(4, "test_acc_best", "1.5"), ["row 6, column test_acc_best", "from 0 to 1", "1.5"]),
        (set_value(4, "test_acc_best", ""), ["row 6, column test_acc_best", "a value is needed", "nothing"]),
        (set_value(4, "test_acc_best", "nan"), ["row 6, column test_acc_best", "must be a number", "nan"]),
        (set_value(4, "seed", "-1"), ["row 6, column seed", "at least 0", "-1"]),
        (set_value(4, "seed", "1.5"), ["row 6, column seed", "whole number", "1.5"]),
        (set_value(4, "stage", "finals"), ["row 6, column stage", "stem_ablation", "finals"]),
        (
            set_value(4, "method", "logit"),
            ["row 6, column method", "teacher is trained without distillation"],
        ),
        (set_value(9, "teacher", ""), ["row 11, column teacher", "needs its teacher's name"]),
        (set_value(9, "alpha", "1.2"), ["row 11, column alpha", "from 0 to 1", "1.2"]),
        (set_value(12, "temperature", "0"), ["row 14, column temperature", "above 0"]),
        (set_value(9, "clip_projections", "yes"), ["row 11, column clip_projections", "true, false", "yes"]),
        (set_value(57, "alpha", "0.5"), ["row 59, column alpha", "means nothing for method none", "0.5"]),
        (set_value(57, "teacher", "resnet50"), ["row 59, column teacher", "means nothing for method none"]),
        (set_value(57, "best_epoch", "101"), ["row 59, column best_epoch", "must not exceed epochs (100)"]),
        (set_value(58, "seed", "0"), ["row 60, column seed", "twice", "row 59", "resnet18:none"]),
        (set_value(58, "dataset", "cifar100"), ["row 60, column dataset", "one dataset", "split the file"]),
        (
            lambda f: f.assign(checkpoint=["best-validation"] * 9 + ["last"] + ["best-validation"] * 116),
            ["row 11, column checkpoint", "one checkpoint rule, and row 2 says best-validation", "split", "found last"],
        ),
        (
            lambda f: f.assign(checkpoint=[""] * 9 + ["last"] * 117),
            ["row 11, column checkpoint", "one checkpoint rule, and row 2 says nothing", "found last"],
        ),
        (lambda f: f.assign(weights_sha256="abc"), ["row 2, column weights_sha256", "64 hex digits", "abc"]),
        (
            set_value(107, "test_acc_final", "0.9"),
            ["row 109, column test_acc_final", "row 59 (stage final) says 0.9465", "0.9"],
        ),
    ],
)
def test_refusals_name_the_place_and_the_way_out(raw_published: pd.DataFrame, edit: Edit, words: list[str]) -> None:
    """Each broken rule gives one sentence with source, row, column and value."""
    with pytest.raises(TableError) as error:
        check_runs(edit(raw_published.copy()), "mine.csv")
    assert str(error.value).startswith("mine.csv")
    for word in words:
        assert word in str(error.value)


SMALLEST = pd.DataFrame(
    [("small", "none", "0", "0.91"), ("small", "kd", "0", "0.92")], columns=["student", "method", "seed", "accuracy"]
)
ERROR = Metric("top1_error", higher_is_better=False)
ERRORS = SMALLEST.rename(columns={"accuracy": "top1_error"})


def test_the_smallest_table() -> None:
    """Four columns do: every row is final, distilled runs learned from one nameless teacher, accuracy is the test's."""
    runs = check_runs(SMALLEST, "mine.csv")
    assert list(runs.columns) == [column.name for column in COLUMNS]
    assert runs["stage"].tolist() == ["final", "final"]
    assert dict(zip(runs["method"], runs["teacher"], strict=True)) == {"none": "", "kd": UNNAMED_TEACHER}
    assert dict(zip(runs["method"], runs["test_acc_best"], strict=True)) == {"none": 0.91, "kd": 0.92}
    pd.testing.assert_frame_equal(check_runs(runs, "mine.csv"), runs)


def test_an_own_metric_takes_the_place_of_accuracy() -> None:
    """Its column is float64 and last, test accuracy may be absent or have gaps, and checking is idempotent."""
    runs = check_runs(ERRORS, "mine.csv", ERROR)
    assert list(runs.columns) == [*(column.name for column in COLUMNS), "top1_error"]
    assert runs["top1_error"].dtype == "float64"
    assert sorted(runs["top1_error"]) == [0.91, 0.92]
    assert runs["test_acc_best"].isna().all()
    pd.testing.assert_frame_equal(check_runs(runs, "mine.csv", ERROR), runs)
    both = check_runs(ERRORS.assign(accuracy=["", "0.08"]), "mine.csv", ERROR)
    assert both["test_acc_best"].notna().sum() == 1


def test_a_known_accuracy_as_metric_changes_nothing(raw_published: pd.DataFrame, published: pd.DataFrame) -> None:
    """Validation accuracy is a column of the schema already."""
    pd.testing.assert_frame_equal(check_runs(raw_published, "x", Metric("val_acc", higher_is_better=True)), published)


def test_accuracy_by_name_is_an_own_metric() -> None:
    """Who asks for `accuracy` finds a column of that name."""
    runs = check_runs(SMALLEST, "mine.csv", Metric("accuracy", higher_is_better=True))
    assert sorted(runs["accuracy"]) == [0.91, 0.92]


@pytest.mark.parametrize(
    ("frame", "metric", "words"),
    [
        (ERRORS, Metric("f1", higher_is_better=True), ["unknown column 'top1_error'"]),
        (SMALLEST, ERROR, ["column top1_error is missing; found: student, method, seed, accuracy"]),
        (ERRORS.assign(top1_error=["0.1", ""]), ERROR, ["row 3, column top1_error: a value is needed"]),
        (
            ERRORS.assign(top1_error=["5.1", "0.9"]),
            ERROR,
            ["row 2, column top1_error: must be from 0 to 1", "kdcap compares fractions", "found 5.1"],
        ),
        (ERRORS.assign(top1_error=["5.1", "4.9"]), ERROR, ["row 2, column top1_error", "percent; divide it by 100"]),
        (
            ERRORS.rename(columns={"top1_error": "perplexity"}).assign(perplexity=["120.5", "98.25"]),
            Metric("perplexity", higher_is_better=False),
            ["row 2, column perplexity: must be from 0 to 1; kdcap compares fractions", "turn a perplexity", "120.5"],
        ),
        (
            ERRORS.rename(columns={"top1_error": "perplexity"}).assign(perplexity=["20.5", "18.25"]),
            Metric("perplexity", higher_is_better=False),
            ["percent; divide it by 100; if it is no percentage, kdcap compares fractions", "turn a perplexity"],
        ),
        (
            ERRORS.assign(top1_error=["-0.1", "0.1"]),
            ERROR,
            ["row 2, column top1_error: must be from 0 to 1; kdcap compares fractions"],
        ),
        (SMALLEST, Metric("accuracy", higher_is_better=False), ["accuracy is an accuracy, so higher is better"]),
        (SMALLEST, Metric("val_acc", higher_is_better=False), ["val_acc is an accuracy, so higher is better"]),
        (SMALLEST, Metric("kl_t1", higher_is_better=False), ["cannot be compared by column kl_t1", "a column of your"]),
        (SMALLEST, Metric("seed", higher_is_better=True), ["cannot be compared by column seed"]),
        (SMALLEST, Metric("ece", higher_is_better=False), ["column ece is missing"]),
        (SMALLEST.assign(ece=["0.1", ""]), Metric("ece", higher_is_better=False), ["row 3, column ece: a value is"]),
        (SMALLEST.assign(ece=["0.1", "0.2"]), Metric("ece", higher_is_better=True), ["ece is an error, so lower is"]),
    ],
)
def test_metrics_that_do_not_fit(frame: pd.DataFrame, metric: Metric, words: list[str]) -> None:
    """A metric must be there, filled, a fraction, no other column, and an accuracy must point upwards."""
    with pytest.raises(TableError) as error:
        check_runs(frame, "mine.csv", metric)
    assert str(error.value).startswith("mine.csv")
    for word in words:
        assert word in str(error.value)


def test_calibration_error_can_be_compared() -> None:
    """A column of the schema, which is then required, while accuracy no longer is."""
    frame = SMALLEST.drop(columns="accuracy").assign(ece=["0.03", "0.02"])
    runs = check_runs(frame, "mine.csv", Metric("ece", higher_is_better=False))
    assert sorted(runs["ece"]) == [0.02, 0.03]
    assert list(runs.columns) == [column.name for column in COLUMNS]


TAUGHT = pd.DataFrame(
    [
        ("", "", "small", "none", "", "0", "0.91"),
        ("big", "0", "small", "kd", "beta=1000", "0", "0.92"),
        ("big", "1", "small", "kd", "beta=1000", "0", "0.93"),
    ],
    columns=["teacher", "teacher_seed", "student", "method", "other_hyperparameters", "seed", "accuracy"],
)


def test_checkpoints_of_a_teacher_make_runs_but_no_cells() -> None:
    """Rows that differ in the teacher's seed alone are two runs of one cell; the same twice is refused."""
    runs = check_runs(TAUGHT, "mine.csv")
    assert runs["teacher_seed"].dropna().tolist() == [0, 1]
    assert (len(distinct_runs(runs)), len(finals(runs))) == (3, 3)
    with pytest.raises(TableError, match="row 4, column seed: final big>small:kd stands there twice"):
        check_runs(TAUGHT.assign(teacher_seed=["", "1", "1"]), "mine.csv")


def test_other_hyperparameters_are_a_setting() -> None:
    """Two values of beta are two settings of a cell, as two temperatures are."""
    with pytest.raises(TableError, match="big>small:kd under two settings"):
        finals(check_runs(TAUGHT.assign(other_hyperparameters=["", "beta=1", "beta=2"]), "mine.csv"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher_seed": ["1", "0", "1"]}, "row 2, column teacher_seed: means nothing for method none"),
        ({"other_hyperparameters": ["b=1", "", ""]}, "row 2, column other_hyperparameters: means nothing for method"),
        ({"teacher_seed": ["", "0", "x"]}, "row 4, column teacher_seed: must be a number"),
        (
            {"teacher_seed": ["", "0", ""]},
            "row 4, column teacher_seed: is given for some runs of teacher big and not for others; fill it in for all",
        ),
        (
            {"parameters": ["100", "100", "101"]},
            "row 4, column parameters: row 2 gives small 100; one name is one network",
        ),
        ({"forward_gflop": ["0", "", ""]}, "row 2, column forward_gflop: must be at least 1e-09"),
        ({"test_openings": ["2", "2.5", "2"]}, "row 3, column test_openings: must be a whole number"),
        ({"latency_ms_batch1": ["-1", "", ""]}, "row 2, column latency_ms_batch1: must be at least 0"),
        ({"ece": ["3", "2", "2"]}, "row 2, column ece: values must be fractions"),
    ],
)
def test_what_the_columns_of_records_refuse(changes: dict[str, list[str]], words: str) -> None:
    """Checkpoints and hyperparameters belong to distilled runs, sizes to students; counts and ranges are held."""
    with pytest.raises(TableError) as error:
        check_runs(TAUGHT.assign(**changes), "mine.csv")
    assert str(error.value).startswith(f"mine.csv, {words}")


def test_a_stem_is_another_network() -> None:
    """The ImageNet stem has other sizes under the same name."""
    rows = TAUGHT.assign(
        stage="stem_ablation", stem=["cifar", "imagenet", "imagenet"], parameters=["100", "110", "110"]
    )
    assert len(check_runs(rows, "mine.csv")) == 3


def test_a_stage_that_is_there_is_checked() -> None:
    """Only an absent column has a default: an empty cell is still an error."""
    with pytest.raises(TableError, match="row 2, column stage: a value is needed"):
        check_runs(SMALLEST.assign(stage=["", "final"]), "mine.csv")
    with pytest.raises(TableError, match="row 3, column teacher: method kd needs its teacher's name"):
        check_runs(SMALLEST.assign(teacher=["", ""]), "mine.csv")


def test_messages_use_the_name_that_the_table_uses() -> None:
    """Who wrote `accuracy` is not told about test_acc_best."""
    with pytest.raises(TableError, match="row 3, column accuracy: must be from 0 to 1"):
        check_runs(SMALLEST.assign(accuracy=["0.9", "1.2"]), "mine.csv")


def test_finals_need_final_rows(published: pd.DataFrame) -> None:
    """A table without final runs cannot be analysed, and says what to give."""
    with pytest.raises(TableError, match="no row of stage `final`"):
        finals(published[published["stage"] == "teachers"])


def test_finals_refuse_two_settings_of_one_cell(raw_published: pd.DataFrame) -> None:
    """Pooling two temperatures in one cell would mix two methods."""
    edited = raw_published.copy()
    row = edited.index[(edited["stage"] == "final") & (edited["method"] == "logit")][0]
    edited.loc[row, "temperature"] = "3.5"
    edited = edited.drop(index=edited.index[(edited["stage"] == "select")])
    with pytest.raises(TableError, match="resnet34>resnet18:logit under two settings"):
        finals(check_runs(edited, "x"))


def test_cell_labels() -> None:
    """A baseline has no teacher to name."""
    assert cell_label("resnet50", "resnet18", "logit") == "resnet50>resnet18:logit"
    assert cell_label("", "resnet18", "none") == "resnet18:none"
