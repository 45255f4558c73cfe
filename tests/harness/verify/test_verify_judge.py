"""Verdicts on changed copies of the published runs: each change has the verdict and culprit it deserves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.errors import TableError
from harness.errors import ReferenceProblem
from harness.files import canonical_json
from harness.tables import read_runs
from harness.verify.judge import judge_runs
from harness.verify.reference import read_reference
from harness.verify.verdict import Verdict

Judge = Callable[[pd.DataFrame], Verdict]
CULPRIT = "resnet50>resnet34:feature"


@pytest.fixture
def judged(saved: Callable[[pd.DataFrame], Path]) -> Judge:
    """Judges a frame against the published runs, through a file as a user would."""

    def judge(frame: pd.DataFrame) -> Verdict:
        return judge_runs(read_runs(saved(frame)), read_reference("yasar2026-v2"), "0" * 64)

    return judge


def rows_of(frame: pd.DataFrame, cell: str) -> pd.Series:
    """Which rows belong to `teacher>student:method`."""
    pair, method = cell.split(":")
    teacher, student = pair.split(">")
    return (frame["teacher"] == teacher) & (frame["student"] == student) & (frame["method"] == method)


def test_the_published_runs_pass_against_themselves(judged: Judge, published: pd.DataFrame) -> None:
    """Identical runs PASS in every cell, with no shift and a spread ratio of 1."""
    verdict = judged(published)
    assert (verdict.verdict, verdict.exit_code) == ("PASS", 0)
    assert (verdict.cells_judged, verdict.cells_passed, verdict.cells_in_reference) == (10, 10, 10)
    assert verdict.mean_shift_pp == pytest.approx(0, abs=1e-12)
    assert verdict.spread_ratio == pytest.approx(1)
    assert "all 10 cells agree with yasar2026-v2 within 0.4 pp" in verdict.sentence


def test_the_model_is_the_split_plot_analysis_of_the_published_runs(judged: Judge, published: pd.DataFrame) -> None:
    """Means squares of seeds and residuals, computed here by group means, give the reported sds."""
    y = 100 * published["test_acc_best"]
    cell = published["teacher"] + published["student"] + published["method"]
    residual = y - y.groupby(cell).transform("mean")
    seed_means = residual.groupby(published["student"] + published["seed"]).mean()
    ms_group = 5 * (seed_means**2).sum() / 8
    ms_within = ((residual**2).sum() - 5 * (seed_means**2).sum()) / 32
    model = judged(published).model
    assert (model["df_group"], model["df_within"]) == (8, 32)
    assert model["residual_sd_pp"] ** 2 == pytest.approx(ms_within)
    assert model["seed_sd_pp"] ** 2 == pytest.approx((ms_group - ms_within) / 5)


@pytest.mark.parametrize("shift_pp", [-0.5, 0.5])
def test_one_shifted_cell_fails_by_name(judged: Judge, published: pd.DataFrame, shift_pp: float) -> None:
    """Half a point in one cell is a FAIL that names this cell alone, in both directions."""
    published.loc[rows_of(published, CULPRIT), "test_acc_best"] += shift_pp / 100
    verdict = judged(published)
    assert (verdict.verdict, verdict.exit_code) == ("FAIL", 1)
    assert [cell.cell for cell in verdict.cells if cell.verdict == "FAIL"] == [CULPRIT]
    assert f"{CULPRIT} differs by {shift_pp:+.2f} pp" in verdict.sentence
    assert not verdict.mean_shift_fails
    assert verdict.excusing_between_study_sd_pp is not None
    assert f"an sd of {verdict.excusing_between_study_sd_pp:.2f} pp" in verdict.sentence


def test_a_common_shift_fails_by_the_mean(judged: Judge, published: pd.DataFrame) -> None:
    """0.3 pp in all cells are a mean shift; the sentence names three cells and counts the others."""
    published["test_acc_best"] -= 0.003
    verdict = judged(published)
    assert verdict.verdict == "FAIL"
    assert verdict.mean_shift_fails
    assert verdict.mean_shift_pp == pytest.approx(-0.3)
    assert "shifted by -0.30 pp" in verdict.sentence
    assert "so do 7 more cells" in verdict.sentence


def test_a_doubled_spread_fails_whatever_studies_differ_by(judged: Judge, published: pd.DataFrame) -> None:
    """Twice the sd around unchanged means is a FAIL of the spread, and no between-study sd excuses it."""
    cells = published.groupby(["teacher", "student", "method"])["test_acc_best"]
    published["test_acc_best"] = 2 * published["test_acc_best"] - cells.transform("mean")
    verdict = judged(published)
    assert verdict.verdict == "FAIL"
    assert verdict.spread_fails
    assert verdict.spread_ratio == pytest.approx(4)
    assert verdict.excusing_between_study_sd_pp is None
    assert "stays a FAIL at any between-study sd" in verdict.sentence


def test_one_seed_is_inconclusive_and_says_so(judged: Judge, published: pd.DataFrame) -> None:
    """Seed 0 alone neither passes nor fails; the sentence says why and how many seeds would decide."""
    verdict = judged(published[published["seed"] == "0"])
    assert (verdict.verdict, verdict.exit_code) == ("INCONCLUSIVE", 3)
    assert verdict.seeds_to_decide is not None
    assert verdict.seeds_to_decide > 1
    assert "One seed a cell mostly ends here" in verdict.sentence
    assert f"About {verdict.seeds_to_decide} seeds" in verdict.sentence
    assert verdict.spread_ratio is None
    assert any("Too few runs share" in note for note in verdict.notes)
    assert any("not run for any cell: 1, 2, 3, 4" in note for note in verdict.notes)


def test_a_dropped_seed_is_named_and_fine(judged: Judge, published: pd.DataFrame) -> None:
    """One missing run of one cell changes its n, not the verdict."""
    gone = rows_of(published, CULPRIT) & (published["seed"] == "3")
    verdict = judged(published[~gone])
    assert verdict.verdict == "PASS"
    assert {cell.cell: cell.n for cell in verdict.cells}[CULPRIT] == 4
    assert f"Seeds of the reference not run for {CULPRIT}: 3." in verdict.notes


def test_a_subset_of_cells_is_judged_as_one(judged: Judge, published: pd.DataFrame) -> None:
    """Two cells are judged as a family of two; the sentence says so and the notes name the missing ones."""
    verdict = judged(published[published["teacher"] == "resnet101"])
    assert verdict.verdict == "PASS"
    assert "the cells judged (2 of the reference's 10)" in verdict.sentence
    assert any("Not in this table" in note and CULPRIT in note for note in verdict.notes)
    assert verdict.cells[0].ci_high_pp < judged(published).cells[0].ci_high_pp  # a smaller family asks less


def test_a_cell_that_the_reference_lacks_is_named(judged: Judge, published: pd.DataFrame) -> None:
    """A new pair is listed as not judged and moves nothing."""
    new = published[published["teacher"] == "resnet101"].assign(student="resnet50", test_acc_best=0.5)
    verdict = judged(pd.concat([published, new]))
    assert verdict.verdict == "PASS"
    assert any("Not in the reference" in note and "resnet101>resnet50:logit" in note for note in verdict.notes)


def test_another_selected_temperature_is_named_not_refused(judged: Judge, published: pd.DataFrame) -> None:
    """Hyperparameters are chosen, not fixed: a note names cell, field and both values."""
    published.loc[rows_of(published, "resnet50>resnet34:logit"), "temperature"] = "4.0"
    verdict = judged(published)
    assert verdict.verdict == "PASS"
    assert "resnet50>resnet34:logit ran with temperature 4, the reference with 3; judged all the same." in verdict.notes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "digits"}, ["field dataset", "cifar10", "digits"]),
        ({"dataset": ""}, ["field dataset", "nothing"]),
        ({"stem": "imagenet"}, ["field stem", "cifar", "imagenet"]),
        ({"epochs": "200"}, ["field epochs", "100", "200"]),
        ({"epochs": "", "best_epoch": ""}, ["field epochs", "nothing"]),
        ({"student": "resnet50"}, ["teacher, student, method", "no cell"]),
    ],
)
def test_what_must_not_be_compared_is_refused(
    judged: Judge, published: pd.DataFrame, changes: dict[str, str], words: list[str]
) -> None:
    """Another data set, stem or budget is another experiment: the refusal names the field and both values."""
    with_teacher = published[published["teacher"] != ""].drop_duplicates(["teacher", "method", "seed"])
    with pytest.raises(ReferenceProblem) as refusal:
        judged(with_teacher.assign(**changes))
    for word in words:
        assert word in str(refusal.value)


def test_percent_is_refused(judged: Judge, published: pd.DataFrame) -> None:
    """Percent where fractions belong never reaches a verdict."""
    published["test_acc_best"] *= 100
    with pytest.raises(TableError, match="test_acc_best"):
        judged(published)


def test_a_duplicated_run_is_refused(judged: Judge, published: pd.DataFrame) -> None:
    """A run twice within a phase would count twice."""
    with pytest.raises(TableError, match="twice"):
        judged(pd.concat([published, published.iloc[[7]]]))


def test_the_verdict_does_not_depend_on_row_order(judged: Judge, published: pd.DataFrame) -> None:
    """The same rows in another order give the same bytes."""
    shuffled = published.sample(frac=1, random_state=1)
    assert canonical_json(judged(published).as_json()) == canonical_json(judged(shuffled).as_json())


def test_verdict_json_holds_plain_scalars_at_the_top(judged: Judge, published: pd.DataFrame) -> None:
    """DVC reads metrics from the top level: numbers, rounded to six decimals, no NaN, no -0."""
    published["test_acc_best"] += 0.0001234567
    plain = judged(published).as_json()
    assert plain["schema"] == "kdcap.verdict/1"
    assert plain["mean_shift_pp"] == 0.012346
    assert plain["cells"][0]["diff_pp"] == 0.012346
    assert isinstance(plain["notes"], list)
