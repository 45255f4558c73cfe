"""The random-intercept fit against worked examples, published fits and other derivations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.contrasts import gain, moderation
from analysis.design import Design, make_design
from analysis.errors import TableError
from analysis.split_plot import fit
from analysis.table import finals

# Yields of dyestuff, 6 batches of 5 (Davies 1947), and the simulated set of Box and Tiao (1973): lme4's
# Dyestuff and Dyestuff2. Its REML fits are printed in Bates, lme4: Mixed-effects Modeling with R (2010), ch. 1.
DYESTUFF = """1545 1440 1440 1520 1580 1540 1555 1490 1560 1495 1595 1550 1605 1510 1560
1445 1440 1595 1465 1545 1595 1630 1515 1635 1625 1520 1455 1450 1480 1445"""
DYESTUFF2 = """7.298 3.846 2.434 9.566 7.990 5.220 6.556 0.608 11.788 -0.892 0.110 10.386 13.434 5.510 8.166
2.212 4.852 7.092 9.288 4.980 0.282 9.014 4.458 9.446 7.198 1.722 4.782 8.106 0.758 3.758"""


def dyestuff(text: str) -> Design:
    """One cell, six groups."""
    return make_design(np.array(text.split(), dtype=float), ["all"] * 30, [f"{i // 5}" for i in range(30)])


def design_of(runs: pd.DataFrame, scale: float = 100) -> Design:
    """The primary model's design, written out again."""
    rows = finals(runs)
    cells = (rows["student"] + ":" + rows["method"]).tolist()
    groups = (rows["student"] + ":" + rows["seed"].astype(str)).tolist()
    return make_design(scale * rows["test_acc_best"].to_numpy(dtype=float), cells, groups)


def unbalanced(runs: pd.DataFrame) -> pd.DataFrame:
    """A table with one distilled run and one baseline lost."""
    kd = runs.index[runs["method"] == "feature"][3]
    baseline = runs.index[(runs["stage"] == "final") & (runs["method"] == "none")][1]
    return runs.drop(index=[kd, baseline]).reset_index(drop=True)


def test_dyestuff_gives_lme4s_published_fit() -> None:
    """Standard deviations 42.00 and 49.51, mean 1527.5 with SE 19.38, criterion 319.65."""
    fitted = fit(dyestuff(DYESTUFF))
    mean = fitted.estimate({"all": 1.0})
    assert fitted.tau2**0.5 == pytest.approx(42.00, abs=0.005)
    assert fitted.sigma2**0.5 == pytest.approx(49.51, abs=0.005)
    assert fitted.criterion == pytest.approx(319.6543, abs=5e-5)
    assert (mean.value, mean.se) == (pytest.approx(1527.5), pytest.approx(19.38, abs=0.005))
    assert (mean.df, mean.df_method) == (5, "anova-strata")


def test_dyestuff2_is_singular_as_in_lme4() -> None:
    """Variance between batches 0, residual 3.716, mean 5.6656 with SE 0.6784, criterion 161.83."""
    fitted = fit(dyestuff(DYESTUFF2))
    assert fitted.singular
    assert fitted.sigma2**0.5 == pytest.approx(3.716, abs=5e-4)
    assert fitted.criterion == pytest.approx(161.8283, abs=5e-5)
    refit = fit(fitted.design, random=False).estimate({"all": 1.0})
    assert (refit.value, refit.se) == (pytest.approx(5.6656), pytest.approx(0.6784, abs=5e-5))
    assert (refit.df, refit.df_method) == (29, "residual")


def test_worked_example() -> None:
    """Three seeds, two methods, by hand: differences 1, 3, 2 and means 1.5, 3.5, 4.

    MS_within = ((1-2)^2 + (3-2)^2 + 0) / 2 / 2 = 0.5, MS_between = 2 (1.5^2 + 0.5^2 + 1^2) / 2 = 3.5, so the
    variances are 0.5 and (3.5 - 0.5) / 2 = 1.5; the gain is the paired t test's: 2 with SE 1 / sqrt(3), 2 df.
    """
    fitted = fit(make_design(np.array([1.0, 2, 3, 2, 5, 5]), [*"aaabbb"], [*"123123"]))
    assert (fitted.sigma2, fitted.tau2) == (pytest.approx(0.5), pytest.approx(1.5))
    estimate = fitted.estimate({"b": 1.0, "a": -1.0})
    assert (estimate.value, estimate.se, estimate.df) == (pytest.approx(2), pytest.approx(3**-0.5), 2)
    # 4.302653 = t quantile at 0.975 with 2 df, from tables
    assert estimate.interval(0.95) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
    # a mean over both strata: Var = (0.5 + 1.5) / 3, df = (MSw w + MSb b)^2 / ..., with w = b = 1/6
    mean = fitted.estimate({"a": 1.0})
    assert mean.se == pytest.approx((2 / 3) ** 0.5)
    assert mean.df == pytest.approx((0.5 + 3.5) ** 2 / (0.5**2 / 2 + 3.5**2 / 2))
    assert mean.df_method == "satterthwaite"


def test_within_contrasts_equal_group_fixed_effects(published: pd.DataFrame) -> None:
    """Gains and moderation are those of least squares with a dummy per student:seed, 36 df."""
    design = design_of(published)
    fitted = fit(design)
    # fixed effects: groups, and methods (not none) within each student
    kd = [i for i, cell in enumerate(design.cells) if not cell.endswith("none")]
    reference = sm.OLS(design.y, np.hstack([design.z, design.x[:, kd]])).fit()
    assert reference.df_resid == 36
    names = [design.cells[i] for i in kd]
    for student in ("resnet18", "resnet34"):
        for method in ("feature", "logit"):
            at = len(design.sizes) + names.index(f"{student}:{method}")
            estimate = fitted.estimate(gain(student, method))
            assert estimate.value == pytest.approx(reference.params[at], abs=1e-9)
            assert estimate.se == pytest.approx(reference.bse[at], rel=1e-9)
            assert (estimate.df, estimate.df_method) == (36, "anova-strata")
    weights = np.zeros(len(reference.params))
    for name, sign in (("resnet34:feature", 1), ("resnet18:feature", -1)):
        weights[len(design.sizes) + names.index(name)] = sign
    test = reference.t_test(weights)
    estimate = fitted.estimate(moderation("resnet18", "resnet34", "feature"))
    assert estimate.value == pytest.approx(test.effect[0], abs=1e-9)
    assert estimate.p == pytest.approx(float(test.pvalue), rel=1e-7)


def test_joint_test_equals_nested_least_squares(published: pd.DataFrame) -> None:
    """The 2-df F of student:method is the comparison of two fixed-effect regressions."""
    design = design_of(published)
    cells = {cell: design.x[:, i] for i, cell in enumerate(design.cells)}
    feature = cells["resnet18:feature"] + cells["resnet34:feature"]
    logit = cells["resnet18:logit"] + cells["resnet34:logit"]
    small = sm.OLS(design.y, np.column_stack([design.z, feature, logit])).fit()
    full = np.column_stack([design.z, feature, logit, cells["resnet34:feature"], cells["resnet34:logit"]])
    f, _, df_num = sm.OLS(design.y, full).fit().compare_f_test(small)
    contrasts = [moderation("resnet18", "resnet34", method) for method in ("feature", "logit")]
    found = fit(design).joint(contrasts)
    assert found == (pytest.approx(f, rel=1e-7), int(df_num), 36, "anova-strata")


def test_means_carry_both_variances(published: pd.DataFrame) -> None:
    """A mean over 5 seeds of 2 runs each: Var = (tau^2 + sigma^2 / 2) / 5."""
    fitted = fit(design_of(published))
    estimate = fitted.estimate({"resnet34:feature": 1.0})
    assert estimate.se == pytest.approx(((fitted.tau2 + fitted.sigma2 / 2) / 5) ** 0.5)


def test_closed_form_is_where_statsmodels_ends(published: pd.DataFrame) -> None:
    """Powell's optimum and log-likelihood are ours (its default, L-BFGS, stops at 0 here)."""
    design = design_of(published, scale=1000)  # statsmodels warns of a boundary below variances of 0.01
    fitted = fit(design)
    model = sm.MixedLM(design.residual, design.x, groups=design.z.argmax(axis=1)).fit(method="powell")
    assert float(model.cov_re[0, 0]) == pytest.approx(fitted.tau2, rel=1e-4)
    assert model.scale == pytest.approx(fitted.sigma2, rel=1e-4)
    assert -2 * model.llf == pytest.approx(fitted.criterion, abs=1e-6)


@pytest.mark.parametrize("draw", [1, 2])
def test_unbalanced_fit_is_the_generalised_least_squares_optimum(
    simulated: Callable[..., pd.DataFrame], draw: int
) -> None:
    """Against explicit matrices: no ratio on a fine grid is better, and estimates and SE are textbook GLS."""
    design = design_of(unbalanced(simulated(draw=draw)))
    fitted = fit(design)
    assert (design.balanced, fitted.df_rule) == (False, "containment")

    def dense(ratio: float) -> tuple[float, np.ndarray, np.ndarray]:
        v = np.eye(len(design.y)) + ratio * design.z @ design.z.T
        info = design.x.T @ np.linalg.solve(v, design.x)
        beta = np.linalg.solve(info, design.x.T @ np.linalg.solve(v, design.y))
        rest = design.y - design.x @ beta
        free = len(design.y) - design.x.shape[1]
        sigma2 = rest @ np.linalg.solve(v, rest) / free
        logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(info)[1]
        return free * (np.log(2 * np.pi * sigma2) + 1) + logs, beta, sigma2 * np.linalg.inv(info)

    grid = [dense(ratio)[0] for ratio in np.geomspace(1e-4, 100, 300)]
    criterion, beta, covariance = dense(fitted.ratio)
    assert fitted.criterion == pytest.approx(criterion, abs=1e-7)
    assert fitted.criterion <= min(grid) + 1e-9
    weights = moderation("resnet18", "resnet34", "logit")
    c = np.array([weights.get(cell, 0.0) for cell in design.cells])
    estimate = fitted.estimate(weights)
    assert estimate.value == pytest.approx(c @ beta, abs=1e-7)
    assert estimate.se == pytest.approx((c @ covariance @ c) ** 0.5, rel=1e-6)


def test_containment_tells_the_strata_apart(simulated: Callable[..., pd.DataFrame]) -> None:
    """48 runs in 10 groups: 48 - 10 - 4 df within for a gain, fewer between for a mean."""
    design = design_of(unbalanced(simulated(draw=1)))
    fitted = fit(design)
    assert fitted.estimate(gain("resnet18", "feature")).df == 48 - 10 - 4
    mean = fitted.estimate({"resnet18:none": 1.0})
    assert (mean.df, mean.df_method) == (design.df_between, "containment")
    assert design.df_between < design.df_within


def test_one_run_a_group_leaves_plain_least_squares() -> None:
    """Baselines alone: nothing tells seeds from error, and a Student comparison remains."""
    fitted = fit(make_design(np.array([1.0, 2, 3, 5]), [*"aabb"], [*"1234"]))
    estimate = fitted.estimate({"b": 1.0, "a": -1.0})
    # pooled variance (0.5 + 2) / 2, SE sqrt(1.25 (1/2 + 1/2))
    assert (estimate.value, estimate.se) == (pytest.approx(2.5), pytest.approx(1.25**0.5))
    assert (estimate.df, estimate.df_method) == (2, "residual")


@pytest.mark.parametrize("values", [[1, 1, 1, 2, 2, 2], [1, 2, 3, 2, 3, 4]])
def test_no_spread_is_refused(values: list[float]) -> None:
    """Equal runs, or runs that differ by whole seeds only, give no interval for a gain."""
    with pytest.raises(TableError, match="no spread between seeds"):
        fit(make_design(np.array(values, dtype=float), [*"aaabbb"], [*"123123"]))


@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-50, 50), scale=st.floats(0.01, 100), draw=st.integers(0, 10_000))
def test_shift_and_scale(shift: float, scale: float, draw: int) -> None:
    """Adding a constant changes no contrast; a factor scales estimate and SE and leaves p and df."""
    y = np.random.default_rng(draw).normal(0, 1, 12)
    labels = [*"aaaabbbbcccc"], [*"123412341234"]
    weights = {"b": 1.0, "a": -1.0}
    before = fit(make_design(y, *labels)).estimate(weights)
    after = fit(make_design(shift + scale * y, *labels)).estimate(weights)
    assert after.value == pytest.approx(scale * before.value, rel=1e-6, abs=1e-9 * (1 + abs(shift)))
    assert after.se == pytest.approx(scale * before.se, rel=1e-6)
    assert after.p == pytest.approx(before.p, rel=1e-5, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(10)), names=st.permutations("123456789"))
def test_order_of_rows_and_names_of_seeds_mean_nothing(order: list[int], names: list[str]) -> None:
    """The same runs in another order, with other seed names, give the same fit (unbalanced)."""
    y = np.array([3.1, 2.7, 4.2, 3.3, 5.0, 4.1, 4.4, 4.9, 1.0, 2.2])
    cells, seeds = [*"aaaabbbbcc"], [*"1234123412"]
    first = fit(make_design(y, cells, seeds))
    second = fit(make_design(y[order], [cells[i] for i in order], [names[int(seeds[i])] for i in order]))
    assert second.criterion == pytest.approx(first.criterion, abs=1e-8)
    assert second.means_pct == pytest.approx(first.means_pct, abs=1e-6)
