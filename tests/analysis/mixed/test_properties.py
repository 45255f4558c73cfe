"""What no unit, label or order may change, and what a balanced design must give by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from designs import CROSSED, GATED, METHODS, STUDENTS, STUDY, crossed, gated, study
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.mixed.criterion import Criterion
from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import DfMethod, Inference
from analysis.mixed.means import marginal_means
from analysis.mixed.model import build

TABLES = {STUDY: study, CROSSED: crossed, GATED: gated}
SIZES = {STUDY: "sd_seed", CROSSED: "sds", GATED: "sds"}
seeds = st.integers(0, 2**32 - 1)
kinds: st.SearchStrategy[Criterion] = st.sampled_from(["REML", "ML"])
methods: st.SearchStrategy[DfMethod] = st.sampled_from(["kenward-roger", "satterthwaite"])
few = settings(max_examples=12)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, pd.DataFrame]:
    """A formula and a table for it: any of three designs, effects of 0 to 2 errors, rows missing at random."""
    formula = draw(st.sampled_from([STUDY, CROSSED, GATED]))
    generator = np.random.default_rng(draw(seeds))
    size = st.sampled_from([0.0, 0.1, 0.2, 0.4])
    effects: Any = draw(size) if formula == STUDY else (draw(size), draw(size))
    table = TABLES[formula](generator, sd=0.2, **{SIZES[formula]: effects})
    kept = np.sort(generator.permutation(len(table))[: len(table) - draw(st.integers(0, 4))])
    return formula, table.iloc[kept].reset_index(drop=True)


def assert_same(one: Fit, other: Fit, *, unit: float = 1.0, shift: float = 0.0) -> None:
    """`other` is `one` in another unit and from another zero, to rounding."""
    nu = one.problem.nu
    assert other.minus_2_log_likelihood == pytest.approx(one.minus_2_log_likelihood + 2 * nu * math.log(unit), abs=1e-8)
    first = np.eye(len(one.beta))[0] * shift
    assert other.beta == pytest.approx(unit * one.beta + first, abs=1e-8 * unit, rel=1e-10)
    assert other.singular == one.singular
    # a flat criterion knows its minimum less well than its value
    assert other.sigma2 == pytest.approx(unit**2 * one.sigma2, rel=1e-6)
    assert other.optimum.gamma == pytest.approx(one.optimum.gamma, rel=1e-5, abs=1e-6)
    assert other.covariance == pytest.approx(unit**2 * one.covariance, rel=1e-5, abs=1e-9 * unit**2)


@few
@given(tables(), kinds, st.floats(-1e4, 1e4))
def test_a_shift_moves_the_intercept_alone(drawn: tuple[str, pd.DataFrame], kind: Criterion, shift: float) -> None:
    """Another zero of the scale changes nothing else."""
    formula, table = drawn
    assert_same(
        fit(build(formula, table), kind),
        fit(build(formula, table.assign(acc_pct=table["acc_pct"] + shift)), kind),
        shift=shift,
    )


@few
@given(tables(), kinds, st.sampled_from([1e-3, 0.01, 3.0, 1e4]))
def test_a_unit_scales_everything(drawn: tuple[str, pd.DataFrame], kind: Criterion, unit: float) -> None:
    """Estimates scale by the unit, variances by its square, -2 log likelihood moves by 2 nu log unit."""
    formula, table = drawn
    assert_same(
        fit(build(formula, table), kind),
        fit(build(formula, table.assign(acc_pct=table["acc_pct"] * unit)), kind),
        unit=unit,
    )


@few
@given(tables(), kinds, seeds)
def test_the_order_of_rows_means_nothing(drawn: tuple[str, pd.DataFrame], kind: Criterion, seed: int) -> None:
    """A shuffled table is the same table."""
    formula, table = drawn
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    assert_same(fit(build(formula, table), kind), fit(build(formula, shuffled), kind))


@few
@given(tables(), methods, seeds)
def test_names_of_groups_mean_nothing(drawn: tuple[str, pd.DataFrame], method: DfMethod, seed: int) -> None:
    """Seeds and teachers may be called anything, in any order: fit, standard errors and degrees of freedom stay."""
    formula, table = drawn
    generator = np.random.default_rng(seed)
    renamed = table.copy()
    for column in {"seed", "teacher"} & set(table.columns):
        old = table[column].unique()
        names = [f"{column} {number}" for number in generator.permutation(len(old))]
        renamed[column] = table[column].map(dict(zip(old, names, strict=True)))
    one, other = fit(build(formula, table)), fit(build(formula, renamed))
    assert_same(one, other)
    last = np.eye(len(one.beta))[-1]
    mine, theirs = Inference(one).estimate(last, method), Inference(other).estimate(last, method)
    assert (theirs.se, theirs.df) == pytest.approx((mine.se, mine.df), rel=1e-5)


@few
@given(tables(), methods)
def test_codings_of_factors_mean_nothing(drawn: tuple[str, pd.DataFrame], method: DfMethod) -> None:
    """Another reference level gives the same criterion, and the same contrast with the same inference."""
    formula, table = drawn
    turned = table.assign(method=pd.Categorical(table["method"], METHODS[::-1]))
    one, other = fit(build(formula, table)), fit(build(formula, turned))
    assert other.minus_2_log_likelihood == pytest.approx(one.minus_2_log_likelihood, abs=1e-8)
    factors = {"method": METHODS} if formula == CROSSED else {"student": STUDENTS, "method": METHODS}
    found = []
    for each in (one, other):
        means = marginal_means(each.model, factors, ("method",))
        found.append(Inference(each).estimate(means["feature",] - means["none",], method))
    assert found[1].value == pytest.approx(found[0].value, abs=1e-8)
    assert (found[1].se, found[1].df) == pytest.approx((found[0].se, found[0].df), rel=1e-5)


def twice(table: pd.DataFrame) -> pd.DataFrame:
    """All rows again, with groups of their own."""
    again = table.copy()
    for column in {"seed", "teacher"} & set(table.columns):
        again[column] = "second " + table[column].astype(str)
    return pd.concat([table.astype({"seed": str}).assign(block="one"), again.assign(block="two")], ignore_index=True)


@few
@given(tables())
def test_a_duplicate_block_halves_the_covariance(drawn: tuple[str, pd.DataFrame]) -> None:
    """By ML the same estimates, half the covariance, twice -2 log likelihood, twice Satterthwaite's df."""
    formula, table = drawn
    one, both = fit(build(formula, table), "ML"), fit(build(formula, twice(table)), "ML")
    assert both.minus_2_log_likelihood == pytest.approx(2 * one.minus_2_log_likelihood, abs=1e-7)
    assert both.beta == pytest.approx(one.beta, abs=1e-8)
    assert both.optimum.gamma == pytest.approx(one.optimum.gamma, rel=1e-5, abs=1e-6)
    assert both.sigma2 == pytest.approx(one.sigma2, rel=1e-6)
    assert both.covariance == pytest.approx(one.covariance / 2, rel=1e-5, abs=1e-9)
    last = np.eye(len(one.beta))[-1]
    df, double = (Inference(each).estimate(last, "satterthwaite").df for each in (one, both))
    assert double == pytest.approx(2 * df, rel=1e-4)


@few
@given(tables())
def test_a_block_with_means_of_its_own_repeats_the_reml_fit(drawn: tuple[str, pd.DataFrame]) -> None:
    """By REML each block keeps its estimates and standard errors, and the criterion doubles."""
    formula, table = drawn
    fixed, _, random = formula.removeprefix("acc_pct ~ ").partition(" + ")
    one = fit(build(formula, table))
    both = fit(build(f"acc_pct ~ block * ({fixed}) + {random}", twice(table)))
    p = len(one.beta)
    assert len(both.beta) == 2 * p
    assert both.optimum.gamma == pytest.approx(one.optimum.gamma, rel=1e-5, abs=1e-6)
    assert both.sigma2 == pytest.approx(one.sigma2, rel=1e-6)
    # the first block is the reference: its coefficients are those without `block`
    own = [index for index, name in enumerate(both.model.names) if "block" not in name]
    assert both.beta[own] == pytest.approx(one.beta, abs=1e-8)
    assert both.covariance[np.ix_(own, own)] == pytest.approx(one.covariance, rel=1e-5, abs=1e-9)
    # |X'X| does not depend on the coding: it changes by the squared determinant of a triangle of ones, 1
    assert both.minus_2_log_likelihood == pytest.approx(2 * one.minus_2_log_likelihood, abs=1e-7)


# --- A balanced split plot by hand (Cochran and Cox 1957, chapter 7). ---------------------------------------------


def mean_squares(table: pd.DataFrame, runs: int) -> tuple[float, float, dict[str, float]]:
    """Of whole plots within students, of the error, and of student, method and their interaction."""
    y = table["acc_pct"]
    student, method, seed = table["student"], table["method"], table["seed"]

    def average(*factors: pd.Series) -> pd.Series:
        return y.groupby(list(factors), observed=True).transform("mean")

    plot, cell = average(student, seed), average(student, method)
    interaction = cell - average(student) - average(method) + y.mean()
    whole = float(((plot - average(student)) ** 2).sum()) / (2 * (runs - 1))
    error = float(((y - plot - cell + average(student)) ** 2).sum()) / (4 * (runs - 1))
    return whole, error, {
        "student": float(((average(student) - y.mean()) ** 2).sum()),
        "method": float(((average(method) - y.mean()) ** 2).sum()) / 2,
        "interaction": float((interaction**2).sum()) / 2,
    }  # fmt: skip


@few
@given(seeds, st.integers(2, 8), st.sampled_from([0.05, 0.1, 0.4]), methods)
def test_a_balanced_split_plot_is_its_analysis_of_variance(seed: int, runs: int, sd: float, method: DfMethod) -> None:
    """Variances, standard errors, degrees of freedom and F of both strata are the closed forms."""
    table = study(np.random.default_rng(seed), seeds=runs, sd_seed=sd, sd=0.1)
    whole, error, effects = mean_squares(table, runs)
    assume(whole > 1.01 * error)
    found = fit(build(STUDY, table))
    plots, rest = 2 * (runs - 1), 4 * (runs - 1)
    assert found.sigma2 == pytest.approx(error, rel=1e-7)
    assert found.variances["student:seed"] == pytest.approx((whole - error) / 3, rel=1e-6)

    inference = Inference(found)
    means = marginal_means(found.model, {"student": STUDENTS, "method": METHODS}, ("student", "method"))
    cells = table.groupby(["student", "method"], observed=True)["acc_pct"].mean()
    gains = {s: means[s, "logit"] - means[s, "none"] for s in STUDENTS}
    students = {s: sum(means[s, m] for m in METHODS) / 3 for s in STUDENTS}
    moderation = inference.estimate(gains["resnet34"] - gains["resnet18"], method)
    gain = inference.estimate(gains["resnet18"], method)
    between = inference.estimate(students["resnet34"] - students["resnet18"], method)
    cell = inference.estimate(means["resnet34", "logit"], method)

    difference = cells["resnet34", "logit"] - cells["resnet34", "none"]
    difference -= cells["resnet18", "logit"] - cells["resnet18", "none"]
    assert moderation.value == pytest.approx(difference, abs=1e-9)
    assert (moderation.se, moderation.df) == pytest.approx((math.sqrt(4 * error / runs), rest), rel=1e-5)
    assert (gain.se, gain.df) == pytest.approx((math.sqrt(2 * error / runs), rest), rel=1e-5)
    assert (between.se, between.df) == pytest.approx((math.sqrt(2 * whole / (3 * runs)), plots), rel=1e-5)
    # a cell's mean mixes the strata: Satterthwaite's formula for a sum of mean squares
    df = (whole + 2 * error) ** 2 / (whole**2 / plots + (2 * error) ** 2 / rest)
    assert (cell.se, cell.df) == pytest.approx((math.sqrt((whole + 2 * error) / (3 * runs)), df), rel=1e-5)

    joint = inference.joint(np.eye(6)[4:], method)
    assert (joint.f, joint.df_num, joint.df_den) == pytest.approx((effects["interaction"] / error, 2, rest), rel=1e-5)
    assert between.t**2 == pytest.approx(effects["student"] / whole, rel=1e-5)
    rows = np.stack([
        sum(means[s, m] - means[s, "none"] for s in STUDENTS) for m in ("feature", "logit")
    ])  # fmt: skip
    main = inference.joint(rows, method)
    assert (main.f, main.df_den) == pytest.approx((effects["method"] / error, rest), rel=1e-5)


@few
@given(seeds, st.integers(3, 8))
def test_a_split_plot_without_plot_variance_pools_its_strata(seed: int, runs: int) -> None:
    """Where plots differ less than the error says, REML pools both sums of squares; a singular fit says so."""
    table = study(np.random.default_rng(seed), seeds=runs, sd_seed=0.0, sd=0.1)
    whole, error, _ = mean_squares(table, runs)
    assume(whole < 0.99 * error)
    found = fit(build(STUDY, table))
    plots, rest = 2 * (runs - 1), 4 * (runs - 1)
    assert found.singular == ("student:seed",)
    assert found.sigma2 == pytest.approx((plots * whole + rest * error) / (plots + rest), rel=1e-9)
    estimate = Inference(found).estimate(np.eye(6)[5], "satterthwaite")
    assert estimate.df == pytest.approx(plots + rest, rel=1e-9)
