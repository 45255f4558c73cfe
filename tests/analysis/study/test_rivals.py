"""Rival moderators: their numbers by hand, what coincides, and what the runs can tell apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import optimize

from analysis.mixed.bootstrap import refit, simulate
from analysis.mixed.fit import fit
from analysis.mixed.model import build
from analysis.results import Analysis, Rival
from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.table import check_runs
from analysis.study import rivals
from analysis.study.capacity import CAPACITIES
from analysis.study.models import SEEDS, random_part

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]
PAIR = ("resnet18", "resnet34")


@pytest.fixture(scope="module")
def gaps(published: pd.DataFrame, published_frame: pd.DataFrame) -> pd.DataFrame:
    """The published gains with their moderators."""
    return rivals.gap_frame(published, published_frame, ACCURACY, PAIR)


@pytest.fixture(scope="module")
def found(published_analysis: Analysis) -> dict[str, Rival]:
    """The published runs' rivals by name."""
    return {row.moderator: row for row in published_analysis.rivals}


def dense_ml(y: np.ndarray, x: np.ndarray, blocks: pd.Series) -> tuple[float, np.ndarray]:
    """-2 log likelihood and fixed effects by ML, with n-by-n matrices and scipy's minimiser."""
    same = (blocks.to_numpy()[:, None] == blocks.to_numpy()[None, :]).astype(float)

    def parts(log_ratio: float) -> tuple[float, np.ndarray]:
        v = np.eye(len(y)) + np.exp(log_ratio) * same
        inverse = np.linalg.inv(v)
        beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        rest = y - x @ beta
        sigma2 = float(rest @ inverse @ rest) / len(y)
        return len(y) * (math.log(2 * math.pi * sigma2) + 1) + float(np.linalg.slogdet(v)[1]), beta

    best = optimize.minimize_scalar(lambda log: parts(log)[0], bounds=(-15, 6), method="bounded")
    return parts(float(best.x))


def test_the_gap_is_teacher_less_baseline(gaps: pd.DataFrame, published: pd.DataFrame) -> None:
    """Mean of the teacher's seeds, and its seed 0, less the student's mean baseline: 0.447 and 0.354 for R34->R18."""
    expected = {
        ("resnet34", "resnet18"): (0.447, 0.354),
        ("resnet50", "resnet18"): (0.504, 0.504),
        ("resnet50", "resnet34"): (0.318, 0.318),
        ("resnet101", "resnet34"): (0.331, 0.408),
    }
    teachers, final = (published[published["stage"] == stage] for stage in ("teachers", "final"))
    for (teacher, student), pair in gaps.groupby(["teacher", "student"], observed=True):
        own = 100 * teachers[teachers["student"] == teacher]["test_acc_best"]
        checkpoint = 100 * teachers[(teachers["student"] == teacher) & (teachers["seed"] == 0)]["test_acc_best"].item()
        base = 100 * final[(final["student"] == student) & (final["method"] == "none")]["test_acc_best"].mean()
        assert pair["gap_mean_pp"].unique() == pytest.approx([own.mean() - base])
        assert pair["gap_checkpoint_pp"].unique() == pytest.approx([checkpoint - base])
        assert (own.mean() - base, checkpoint - base) == pytest.approx(expected[teacher, student], abs=6e-4)


def test_capacity_moderators_are_logarithms_of_the_student(gaps: pd.DataFrame) -> None:
    """Parameters and operations to base 10, and 1 for the larger student; the teacher plays no part."""
    for student, rows in gaps.groupby("student", observed=True):
        size = CAPACITIES[str(student)]
        assert rows["log10_parameters"].unique() == pytest.approx([math.log10(size.parameters)])
        assert rows["log10_flops"].unique() == pytest.approx([math.log10(size.forward_gflop)])
        assert set(rows["larger"]) == {float(student == "resnet34")}


def test_unknown_moderators_are_left_out(simulated: Simulated, framed: Framed) -> None:
    """Without teachers' runs there is no gap; a student of unknown size has no capacity."""
    runs = simulated(draw=1)
    plain = rivals.gap_frame(runs, framed(runs), ACCURACY, PAIR)
    assert "gap_mean_pp" not in plain
    assert {"larger", "log10_parameters"} <= set(plain.columns)
    assert rivals.at_equal_gap(plain, "acc", "gap-mean") is None
    unknown = simulated(pairs=[("t", "deep"), ("t", "wide")])
    frame = rivals.gap_frame(unknown, framed(unknown), ACCURACY, ("deep", "wide"))
    assert {"log10_parameters", "log10_flops"}.isdisjoint(frame.columns)
    names = {row.moderator for row in rivals.rivals(frame, np.random.default_rng(0))}
    assert names == {"none", "student"}


def test_criteria_are_those_of_a_dense_fit(gaps: pd.DataFrame, found: dict[str, Rival]) -> None:
    """-2 log likelihood by n-by-n matrices; AICc = that + 2 k n / (n - k - 1), k two variances and all coefficients."""
    feature = (gaps["method"] == "feature").to_numpy(dtype=float)
    blocks = gaps["student"].astype(str) + gaps["seed"].astype(str)
    columns = {"none": None, "student": "larger", "accuracy gap (mean of the teacher's seeds)": "gap_mean_pp"}
    for name, column in columns.items():
        moderator = [] if column is None else [gaps[column].to_numpy(dtype=float)]
        x = np.column_stack([np.ones(len(gaps)), feature, *moderator])
        lowest, beta = dense_ml(gaps["y"].to_numpy(), x, blocks)
        k = x.shape[1] + 2
        row = found[name]
        assert row.minus_2_log_likelihood == pytest.approx(lowest, abs=1e-4)
        assert row.aicc == pytest.approx(lowest + 2 * k * 40 / (40 - k - 1), abs=1e-4)
        assert row.n == 40
        if column:
            assert row.slope_pp == pytest.approx(beta[-1], abs=1e-4)


def test_the_student_under_another_name_is_the_same_model(found: dict[str, Rival]) -> None:
    """With two students size is the student: one criterion, slopes that differ by their unit, one shared success."""
    student, size, work = (found[name] for name in ("student", "log10 parameters", "log10 FLOPs"))
    for other, values in (
        (size, [c.parameters for c in CAPACITIES.values()]),
        (work, [c.forward_gflop for c in CAPACITIES.values()]),
    ):
        assert other.minus_2_log_likelihood == pytest.approx(student.minus_2_log_likelihood, abs=1e-8)
        assert other.aicc == pytest.approx(student.aicc, abs=1e-8)
        assert other.p == pytest.approx(student.p, rel=1e-5)
        assert other.correlation_with_student == pytest.approx(1)
        assert student.slope_pp is not None
        assert other.slope_pp == pytest.approx(student.slope_pp / math.log10(values[1] / values[0]), rel=1e-4)
    # each is found in a third of the data sets in which any of the three is
    for one in (student, size, work):
        assert one.chosen_if_true == pytest.approx(
            (student.chosen_if_true + size.chosen_if_true + work.chosen_if_true) / 3, abs=0.03
        )
        assert one.chosen_if_true < 1 / 3 + 1e-9


def test_rows_are_ranked_by_the_criterion(published_analysis: Analysis) -> None:
    """Best first, from 0 up; the model without a moderator has no slope."""
    rows = published_analysis.rivals
    deltas = [round(row.delta_aicc, 6) for row in rows]
    assert deltas == sorted(deltas)
    tied = [row.moderator for row in rows if row.moderator in ("student", "log10 parameters", "log10 FLOPs")]
    assert tied == ["student", "log10 parameters", "log10 FLOPs"]  # one model, in one order on every machine
    assert rows[0].delta_aicc == 0
    for row in rows:
        assert row.delta_aicc == pytest.approx(row.aicc - rows[0].aicc)
        assert 0 <= row.chosen_if_true <= 1
    (none,) = [row for row in rows if row.moderator == "none"]
    assert (none.slope_pp, none.se_pp, none.p, none.correlation_with_student, none.slope_unit) == (None,) * 4 + ("",)


def test_correlations_over_four_pairs(found: dict[str, Rival], gaps: pd.DataFrame) -> None:
    """By numpy, whatever its sign: 0.96 for the teacher's mean, 0.47 for the checkpoint that was used."""
    pairs = gaps.drop_duplicates(["teacher", "student"])
    for name, column, expected in (
        ("accuracy gap (mean of the teacher's seeds)", "gap_mean_pp", 0.965),
        ("accuracy gap (the teacher's first seed)", "gap_checkpoint_pp", 0.471),
    ):
        plain = np.corrcoef(pairs["larger"].astype(float), pairs[column].astype(float))[0, 1]
        assert found[name].correlation_with_student == pytest.approx(abs(plain))
        assert found[name].correlation_with_student == pytest.approx(expected, abs=1e-3)


def test_a_strong_moderator_is_found_and_a_weak_one_is_not(published: pd.DataFrame, framed: Framed) -> None:
    """Two percentage points a point of gap: its model is best, and would be found nearly always."""
    runs = published.copy()
    shift = {("resnet34", "resnet18"): 0.354, ("resnet50", "resnet18"): 0.504, ("resnet101", "resnet34"): 0.408}
    for (teacher, student), gap in (shift | {("resnet50", "resnet34"): 0.318}).items():
        mine = (runs["stage"] == "final") & (runs["teacher"] == teacher) & (runs["student"] == student)
        runs.loc[mine, "test_acc_best"] += 0.05 * gap
    rows = rivals.rivals(rivals.gap_frame(runs, framed(runs), ACCURACY, PAIR), np.random.default_rng(0))
    assert rows[0].moderator == "accuracy gap (the teacher's first seed)"
    assert rows[0].chosen_if_true > 0.95
    assert rows[0].slope_pp == pytest.approx(5, abs=1)
    assert rows[0].p is not None
    assert rows[0].p < 1e-6


def test_the_difference_at_equal_gap_is_a_regression(gaps: pd.DataFrame) -> None:
    """At the fitted variances: generalised least squares of gains on method, student and gap, by statsmodels."""
    fitted = rivals.at_equal_gap(gaps, "acc", "gap-mean")
    assert fitted is not None
    assert fitted.first.fit.model.formula == f"y ~ method + larger + gap_mean_pp + {SEEDS}"
    variances = fitted.used.fit.variances
    blocks = (gaps["student"].astype(str) + gaps["seed"].astype(str)).to_numpy()
    v = variances["residual"] * np.eye(40) + variances["student:seed"] * (blocks[:, None] == blocks[None, :])
    rows = gaps.assign(feature=(gaps["method"] == "feature").astype(float), larger=gaps["larger"].astype(float))
    theirs = smf.gls("y ~ feature + larger + gap_mean_pp", rows, sigma=v).fit(cov_type="fixed_scale")
    found = fitted.used.estimate({"larger": 1.0})
    assert found.value == pytest.approx(theirs.params["larger"], abs=1e-7)
    assert fitted.used.estimate({"larger": 1.0}, "normal").se == pytest.approx(theirs.bse["larger"], rel=1e-6)
    assert found.se >= theirs.bse["larger"] * (1 - 1e-9)


def test_no_difference_at_equal_gap_where_the_gap_is_the_student(gaps: pd.DataFrame) -> None:
    """A gap that says no more than the student's name cannot be held equal; nor can one student be compared."""
    alias = gaps.assign(gap_mean_pp=0.5 - 0.2 * gaps["larger"])
    assert rivals.at_equal_gap(alias, "acc", "gap-mean") is None
    assert rivals.at_equal_gap(gaps[gaps["larger"] == 1].reset_index(drop=True), "acc", "gap-mean") is None
    assert rivals.at_equal_gap(gaps.drop(columns="gap_mean_pp"), "acc", "gap-mean") is None
    assert rivals.at_equal_gap(gaps.drop(columns="larger"), "acc", "gap-mean") is None
    checkpoint = rivals.at_equal_gap(gaps, "acc", "gap")
    assert checkpoint is not None
    assert "gap_checkpoint_pp" in checkpoint.first.fit.model.names


def test_rivals_need_two_students_and_enough_gains(simulated: Simulated, framed: Framed) -> None:
    """One student, no gain, or as many coefficients as gains leave: no comparison, and no crash."""
    runs = simulated(draw=1)
    generator = np.random.default_rng(0)
    one = runs[runs["student"] == "resnet18"].reset_index(drop=True)
    assert rivals.rivals(rivals.gap_frame(one, framed(one), ACCURACY, None), generator) == ()
    bare = runs[runs["method"] == "none"].reset_index(drop=True)
    assert rivals.rivals(rivals.gap_frame(bare, framed(bare), ACCURACY, PAIR), generator) == ()
    tiny = simulated(pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["mine"], seeds=2)
    assert rivals.rivals(rivals.gap_frame(tiny, framed(tiny), ACCURACY, PAIR), generator) == ()


def test_three_students_are_told_apart_by_numbers_alone(simulated: Simulated, framed: Framed) -> None:
    """Without a named pair there is no `larger`; a named pair leaves the third student's gains out."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")], draw=2)
    frame = framed(runs)
    everyone = rivals.gap_frame(runs, frame, ACCURACY, None)
    rows = rivals.rivals(everyone, np.random.default_rng(0))
    assert {row.moderator for row in rows} == {"none", "log10 parameters", "log10 FLOPs"}
    assert {row.correlation_with_student for row in rows} == {None}
    assert {row.n for row in rows} == {30}
    named = rivals.gap_frame(runs, frame, ACCURACY, ("resnet18", "resnet34"))
    assert set(named["student"]) == {"resnet18", "resnet34"}
    assert set(named[named["larger"] == 1]["student"]) == {"resnet34"}


def test_a_gap_of_errors_has_the_accuracys_sign(published: pd.DataFrame, published_frame: pd.DataFrame) -> None:
    """Of an error rate the teacher's lead over the student is the student's error less the teacher's."""
    metric = Metric("top1_error", higher_is_better=False)
    errors = published.assign(top1_error=1 - published["test_acc_best"])
    there = rivals.gap_frame(errors, published_frame, metric, PAIR)
    here = rivals.gap_frame(published, published_frame, ACCURACY, PAIR)
    assert there["gap_mean_pp"].to_numpy() == pytest.approx(here["gap_mean_pp"].to_numpy())


def with_teachers(runs: pd.DataFrame, seeds: int = 3) -> pd.DataFrame:
    """The runs, and runs of their teachers: 0.94, and a tenth of a point more at each seed."""
    teachers = [
        {"stage": "teachers", "student": name, "method": "none", "seed": seed, "test_acc_best": 0.94 + seed / 1000}
        for name in sorted(set(runs["teacher"]) - {""})
        for seed in range(seeds)
    ]
    return check_runs(pd.concat([runs, pd.DataFrame(teachers).assign(epochs=200)]), "x")


def test_the_gap_is_that_of_the_checkpoint_that_taught(simulated: Simulated, framed: Framed) -> None:
    """Where the table tells it, each run's own; a checkpoint whose accuracy is not there makes the gap unknown."""
    runs = with_teachers(simulated(checkpoints=3, checkpoint_pp=0.1, draw=1))
    frame = framed(runs)
    gaps = rivals.gap_frame(runs, frame, ACCURACY, PAIR)
    base = frame[frame["kd"] == 0].groupby("student", observed=True)["y"].mean()
    expected = [94 + int(c) / 10 - base[s] for c, s in zip(gaps["teacher_seed"], gaps["student"], strict=True)]
    assert gaps["gap_checkpoint_pp"].to_numpy() == pytest.approx(expected)
    names = {row.moderator for row in rivals.rivals(gaps, np.random.default_rng(0))}
    assert "accuracy gap (the checkpoint that taught)" in names
    unknown = with_teachers(simulated(checkpoints=3, draw=1), seeds=2)
    assert "gap_checkpoint_pp" not in rivals.gap_frame(unknown, framed(unknown), ACCURACY, PAIR)


def test_a_table_s_sizes_are_the_moderators(simulated: Simulated, framed: Framed) -> None:
    """Parameters and operations of students that kdcap does not know, from the table's own columns."""
    runs = simulated(pairs=[("t", "small"), ("t", "large")])
    large = runs["student"] == "large"
    sized = check_runs(
        runs.assign(parameters=np.where(large, 1_000, 100), forward_gflop=np.where(large, 10.0, 0.1)), "x"
    )
    gaps = rivals.gap_frame(sized, framed(sized), ACCURACY, ("small", "large"))
    assert gaps.groupby("student", observed=True)["log10_parameters"].first().to_dict() == {"small": 2, "large": 3}
    assert gaps.groupby("student", observed=True)["log10_flops"].first().to_dict() == {"small": -1, "large": 1}


def test_costly_rivals_are_compared_at_the_variances_first_fitted(simulated: Simulated, framed: Framed) -> None:
    """Where crossed effects make each fit costly; on a small design on which both can be had they hardly differ."""
    runs = with_teachers(simulated(checkpoints=3, checkpoint_pp=0.1, draw=1))
    lost = runs[~((runs["teacher_seed"] == 1) & (runs["seed"] == 2) & (runs["method"] == "logit")).fillna(value=False)]
    lost = lost.reset_index(drop=True)
    gaps = rivals.gap_frame(lost, framed(lost), ACCURACY, PAIR)
    one = fit(build(f"y ~ method + larger + {random_part(gaps)}", gaps), "ML")
    assert not one.problem.stratified
    own = rivals._criteria(one, one.model.y[None, :])[0]
    assert own == pytest.approx(rivals._aicc(one.minus_2_log_likelihood, one.model))
    y = simulate(one, 200, np.random.default_rng(0))
    exact = refit(one.model, y, "ML").minus_2_log_likelihood
    found = rivals._criteria(one, y) - own + one.minus_2_log_likelihood
    assert (found >= exact - 1e-6).all()
    assert np.median(found - exact) < 4  # of a criterion that varies by tens
    assert np.corrcoef(found, exact)[0, 1] > 0.98
