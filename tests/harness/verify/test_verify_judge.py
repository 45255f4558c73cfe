"""Verdicts on changed copies of the published runs: each change has the verdict and culprit it deserves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.runs.reach import first_seeds
from harness.errors import ReferenceProblem
from harness.files import canonical_json
from harness.tables import read_runs
from harness.verify import contrasts
from harness.verify.judge import Asked, judge_runs
from harness.verify.records import RecordsCheck
from harness.verify.reference import read_reference
from harness.verify.verdict import FamilyTest, Integrity, Verdict

Judge = Callable[[pd.DataFrame], Verdict]
CULPRIT = "resnet50>resnet34:feature"


@pytest.fixture
def judged(saved: Callable[[pd.DataFrame], Path]) -> Judge:
    """Judges a frame against the published runs, through a file as a user would."""

    def judge(frame: pd.DataFrame) -> Verdict:
        runs = read_runs(saved(frame))
        return judge_runs(runs, read_reference("yasar2026-v2"), "0" * 64, Asked(), RecordsCheck(len(runs), 0, ()))

    return judge


def whole(test: FamilyTest | None) -> FamilyTest:
    """A test of a family as a whole, which must have been made."""
    assert test is not None
    return test


def openings(verdict: Verdict) -> Integrity:
    """The check of how often runs opened the test set."""
    return next(one for one in verdict.integrity if one.check == "test openings")


def rows_of(frame: pd.DataFrame, cell: str) -> pd.Series:
    """Which rows belong to `teacher>student:method`."""
    pair, method = cell.split(":")
    teacher, student = pair.split(">")
    return (frame["teacher"] == teacher) & (frame["student"] == student) & (frame["method"] == method)


def test_the_published_runs_pass_against_themselves(judged: Judge, published: pd.DataFrame) -> None:
    """Identical runs PASS in every cell, with no shift and a spread ratio of 1."""
    verdict = judged(published)
    assert (verdict.verdict, verdict.exit_code) == ("PASS", 0)
    family = verdict.family("accuracies")
    assert [member.verdict for member in family.members] == ["PASS"] * 10
    assert family.members_in_reference == 10
    assert whole(family.mean_shift).estimate == pytest.approx(0, abs=1e-12)
    assert whole(family.spread_ratio).estimate == pytest.approx(1)
    assert "PASS against yasar2026-v2: all 10 cells agree within 0.4 pp" in verdict.sentence


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
    family = verdict.family("accuracies")
    assert [cell.name for cell in family.members if cell.verdict == "FAIL"] == [CULPRIT]
    assert f"{CULPRIT} differs by {shift_pp:+.2f} pp" in verdict.sentence
    assert not whole(family.mean_shift).fails
    assert family.excusing_between_study_sd is not None
    rounded_up = math.ceil(100 * family.excusing_between_study_sd) / 100  # at the sd named it is no FAIL any more
    assert f"an sd of {rounded_up:.2f} pp" in verdict.sentence


def test_a_common_shift_fails_by_the_mean(judged: Judge, published: pd.DataFrame) -> None:
    """0.3 pp in all cells are a mean shift; the sentence names three cells and counts the others."""
    published["test_acc_best"] -= 0.003
    verdict = judged(published)
    assert verdict.verdict == "FAIL"
    shift = whole(verdict.family("accuracies").mean_shift)
    assert shift.fails
    assert shift.estimate == pytest.approx(-0.3)
    assert "shifted by -0.30 pp" in verdict.sentence
    assert "so do 7 more cells" in verdict.sentence


def test_a_doubled_spread_fails_whatever_studies_differ_by(judged: Judge, published: pd.DataFrame) -> None:
    """Twice the sd around unchanged means is a FAIL of the spread, and no between-study sd excuses it."""
    cells = published.groupby(["teacher", "student", "method"])["test_acc_best"]
    published["test_acc_best"] = 2 * published["test_acc_best"] - cells.transform("mean")
    verdict = judged(published)
    assert verdict.verdict == "FAIL"
    family = verdict.family("accuracies")
    assert whole(family.spread_ratio).fails
    assert whole(family.spread_ratio).estimate == pytest.approx(4)
    assert family.excusing_between_study_sd is None
    assert "stays a FAIL at any between-study sd" in verdict.sentence


def test_one_seed_is_inconclusive_and_says_so(judged: Judge, published: pd.DataFrame) -> None:
    """Seed 0 alone neither passes nor fails; the sentence says why and how many seeds would decide."""
    verdict = judged(published[published["seed"] == "0"])
    assert (verdict.verdict, verdict.exit_code) == ("INCONCLUSIVE", 3)
    family = verdict.family("accuracies")
    assert family.seeds_to_decide is not None
    assert family.seeds_to_decide > 1
    assert "One seed a cell mostly ends here" in verdict.sentence
    assert f"About {family.seeds_to_decide} seeds" in verdict.sentence
    assert family.spread_ratio is None
    assert any("Too few runs share" in note for note in verdict.notes)
    assert any("not run for any cell: 1, 2, 3, 4" in note for note in verdict.notes)


def test_a_dropped_seed_is_named_and_fine(judged: Judge, published: pd.DataFrame) -> None:
    """One missing run of one cell changes its n, not the verdict."""
    gone = rows_of(published, CULPRIT) & (published["seed"] == "3")
    verdict = judged(published[~gone])
    assert verdict.verdict == "PASS"
    assert {cell.name: cell.n for cell in verdict.family("accuracies").members}[CULPRIT] == 4
    assert f"Seeds of the reference not run for {CULPRIT}: 3." in verdict.notes


def test_a_subset_of_cells_is_judged_as_one(judged: Judge, published: pd.DataFrame) -> None:
    """Two cells are judged as a family of two; the sentence says so and the notes name the missing ones."""
    verdict = judged(published[published["teacher"] == "resnet101"])
    assert verdict.verdict == "PASS"
    assert "the cells judged (2 of the reference's 10)" in verdict.sentence
    assert any("Not in this table" in note and CULPRIT in note for note in verdict.notes)
    here, there = (one.family("accuracies").members[0] for one in (verdict, judged(published)))
    assert here.ci_high < there.ci_high  # a smaller family asks less


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


def test_two_openings_a_run_are_the_protocol(judged: Judge, published: pd.DataFrame) -> None:
    """Recorded for all and two everywhere: nothing is noted, and the verdict is the numbers' own."""
    verdict = judged(published.assign(test_openings="2"))
    assert (verdict.verdict, openings(verdict).verdict) == ("PASS", "PASS")
    assert openings(verdict).sentence == "every run opened the test set twice, after training"


@pytest.mark.parametrize(("count", "words"), [("0", "0 times"), ("1", "once"), ("3", "3 times")])
def test_another_number_of_openings_fails(judged: Judge, published: pd.DataFrame, count: str, words: str) -> None:
    """Runs whose numbers agree to the last digit FAIL if one of them looked at the test set once more, or less."""
    counts = ["2"] * 50
    counts[7] = count
    verdict = judged(published.assign(test_openings=counts))
    assert (verdict.verdict, verdict.exit_code, verdict.family("accuracies").verdict) == ("FAIL", 1, "PASS")
    said = openings(verdict).sentence
    assert said.endswith(f"opened the test set {words} where the protocol has 2.")
    row = published.iloc[7]
    label = f"{row['student']}:{row['method']}" if row["teacher"] == "" else f"{row['teacher']}>{row['student']}"
    assert f"run final {label}" in said
    assert f"seed {row['seed']} opened" in said
    assert f"FAIL against yasar2026-v2: {said}" in verdict.sentence
    assert "between-study" not in verdict.sentence


def test_the_first_run_is_named_and_the_others_counted(judged: Judge, published: pd.DataFrame) -> None:
    """By its run's name where the table has it; a run that stands in two stages counts once, whichever tells."""
    named = published.assign(test_openings="5", run_id=[f"final/run-{row}" for row in range(50)])
    again = named[named["method"] == "none"].assign(stage="stem_ablation")
    silent = named.assign(test_openings=named["test_openings"].where(named["method"] != "none", ""))
    for frame in (named, pd.concat([named, again]), pd.concat([silent, again])):
        verdict = judged(frame)
        assert openings(verdict).verdict == "FAIL"
        assert "and 49 more runs did not open it twice" in verdict.sentence
        assert "run final/run-" in verdict.sentence
    two = named.assign(test_openings=["5", "5", *["2"] * 48])
    assert "and 1 more run did not" in judged(two).sentence


def test_runs_of_every_stage_must_have_kept_the_test_set_shut(judged: Judge, published: pd.DataFrame) -> None:
    """Also of a selection, which no cell of the verdict is made of: choosing on test images is the first sin."""
    tried = published[published["method"] == "logit"].head(1).assign(stage="select", seed="9", test_openings="7")
    verdict = judged(pd.concat([published.assign(test_openings="2"), tried]))
    assert verdict.verdict == "FAIL"
    assert "run select resnet34>resnet18:logit, seed 9 opened the test set 7 times" in verdict.sentence


def test_openings_that_are_not_recorded_are_noted(judged: Judge, published: pd.DataFrame) -> None:
    """No column, or gaps in it, is no FAIL: it is told."""
    verdict = judged(published)
    assert (verdict.verdict, openings(verdict).verdict) == ("PASS", "NOT CHECKED")
    note = "Test set openings not recorded: nothing shows that it stayed shut until training was over."
    assert openings(verdict).sentence == note
    some = openings(judged(published.assign(test_openings=["", *["2"] * 49])))
    assert some.verdict == "PASS"
    assert some.sentence.startswith("Test set openings not recorded for 1 of 50 runs")


def test_a_fail_of_openings_still_names_what_differs(judged: Judge, published: pd.DataFrame) -> None:
    """Both are said, the openings first; no spread between studies excuses it."""
    published.loc[rows_of(published, CULPRIT), "test_acc_best"] += 0.005
    sentence = judged(published.assign(test_openings="1")).sentence
    assert sentence.index("opened the test set once") < sentence.index(f"{CULPRIT} differs by +0.50 pp")
    assert "No agreement of numbers makes up for runs that cannot be believed." in sentence


def test_another_hyperparameter_is_named_not_refused(judged: Judge, published: pd.DataFrame) -> None:
    """A plugin's own hyperparameters are chosen, as alpha and T are."""
    published["other_hyperparameters"] = ""
    published.loc[rows_of(published, CULPRIT), "other_hyperparameters"] = "beta=10"
    notes = judged(published).notes
    assert f"{CULPRIT} ran with other_hyperparameters beta=10, the reference with none; judged all the same." in notes


@pytest.mark.parametrize(
    ("most", "told", "verdicts"),
    [(30, "Of 50 final runs 30 are analysed, 3 of 5 a cell: ", {"supported", "refuted", "cannot tell"}),
     (10, "not tested, since an analysis takes in at most 10 final runs, ", {"not tested"})],
)  # fmt: skip
def test_claims_of_a_large_table_say_which_runs_they_rest_on(
    judged: Judge, published: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, most: int, told: str, verdicts: set[str]
) -> None:
    """Here and on the reference, or why none is tested; the other families rest on every run."""
    monkeypatch.setattr(contrasts, "first_seeds", partial(first_seeds, most=most))
    verdict = judged(published)
    for side in ("this table", "the reference"):
        assert any(note.startswith(f"What claims come to on {side}: {told}") for note in verdict.notes)
    found = {one.here for one in verdict.family("claims").conclusions}
    assert found & verdicts
    assert found <= verdicts | {"not tested"}
    assert {member.n for member in verdict.family("accuracies").members} == {5}


def test_a_table_that_is_taken_whole_has_no_note_of_it(judged: Judge, published: pd.DataFrame) -> None:
    """Nothing is said of what claims rest on where that is everything."""
    assert not any(note.startswith("What claims come to") for note in judged(published).notes)


def test_several_checkpoints_are_judged_together(judged: Judge, published: pd.DataFrame) -> None:
    """A study that crossed its seeds with two checkpoints is judged by its cells' means over both."""
    taught = published["teacher"] != ""
    first = published.assign(teacher_seed=["0" if one else "" for one in taught])
    both = pd.concat([first, first[taught].assign(teacher_seed="1")])
    verdict = judged(both)
    assert verdict.verdict == "PASS"
    family = verdict.family("accuracies")
    assert {cell.n for cell in family.members if cell.key["teacher"]} == {10}
    assert whole(family.mean_shift).estimate == pytest.approx(0, abs=1e-9)


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


def test_verdict_json_holds_rounded_numbers(judged: Judge, published: pd.DataFrame) -> None:
    """Numbers are rounded to six decimals, so that linear algebra's last digits change no byte."""
    published["test_acc_best"] += 0.0001234567
    plain = judged(published).as_json()
    assert plain["schema"] == "kdcap.verdict/3"
    assert plain["families"][0]["mean_shift"]["estimate"] == 0.012346
    assert plain["families"][0]["members"][0]["difference"] == 0.012346
    assert isinstance(plain["notes"], list)
