"""Degrees of freedom against least squares, classical strata, and numerical derivatives of the likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable

import brute_force
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from designs import study
from scipy import stats

from analysis.errors import ModelError
from analysis.mixed.criterion import Criterion
from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import DfMethod, Inference
from analysis.mixed.model import Floats, Model, build

METHODS: tuple[DfMethod, ...] = ("kenward-roger", "satterthwaite", "residual")
DESIGNS = ("strata", "crossed", "gated", "split")


@pytest.mark.parametrize("method", METHODS)
def test_without_random_part_all_methods_are_least_squares(fits: dict[str, Fit], method: DfMethod) -> None:
    """Both t and F tests are those of ordinary regression with n - p degrees of freedom."""
    found = fits["plain"]
    ordinary = sm.OLS(found.model.y, found.model.x).fit()
    inference = Inference(found)
    estimates = [inference.estimate(row, method) for row in np.eye(6)]
    assert [one.df for one in estimates] == pytest.approx([24] * 6)
    assert [one.t for one in estimates] == pytest.approx(ordinary.tvalues)
    assert [one.p for one in estimates[1:]] == pytest.approx(ordinary.pvalues[1:])
    assert estimates[1].df_method == method
    joint, theirs = inference.joint(np.eye(6)[4:], method), ordinary.f_test(np.eye(6)[4:])
    assert (joint.f, joint.df_den, joint.p) == pytest.approx((float(theirs.fvalue), 24, float(theirs.pvalue)))
    assert (joint.df_num, joint.df_method) == (2, method)


def test_normal_means_infinitely_many(fits: dict[str, Fit]) -> None:
    """A z instead of t, chi-square over its degrees of freedom instead of F."""
    inference = Inference(fits["crossed"])
    estimate = inference.estimate(np.eye(3)[1], "normal")
    assert estimate.df == math.inf
    assert estimate.p == pytest.approx(2 * stats.norm.sf(abs(estimate.t)))
    joint = inference.joint(np.eye(3)[1:], "normal")
    assert joint.df_den == math.inf
    assert joint.p == pytest.approx(stats.chi2.sf(2 * joint.f, 2))


@pytest.mark.parametrize(("levels", "seeds"), [(2, 2), (2, 3), (3, 2), (4, 2), (3, 3), (5, 2), (6, 2)])
def test_kenward_roger_s_f_is_exact_with_few_degrees_of_freedom(levels: int, seeds: int) -> None:
    """Randomised blocks: F has (b - 1)(r - 1) df, also with 1 to 4, where F has no mean or variance to match."""
    generator = np.random.default_rng(levels)
    rows = [(seed, method) for seed in range(seeds) for method in "abcdef"[:levels]]
    table = pd.DataFrame(rows, columns=["seed", "method"])
    table["y"] = 100.0 * table["seed"] + generator.normal(size=len(rows))
    found = fit(build("y ~ method + (1 | seed)", table))
    assert not found.singular
    method, seed = (table["y"].groupby(table[one]).transform("mean") for one in ("method", "seed"))
    rest = (levels - 1) * (seeds - 1)
    error = float(((table["y"] - method - seed + table["y"].mean()) ** 2).sum()) / rest
    f = float(((method - table["y"].mean()) ** 2).sum()) / (levels - 1) / error
    joint = Inference(found).joint(np.eye(levels)[1:])
    assert (joint.f, joint.df_num, joint.df_den) == pytest.approx((f, levels - 1, rest), rel=1e-6)


def derivatives(value: Callable[[Floats], float], at: Floats) -> tuple[Floats, Floats]:
    """Central differences: gradient and Hessian, steps relative to each coordinate."""
    steps = np.diag(1e-3 * at)
    gradient = np.array([(value(at + one) - value(at - one)) / (2 * one.sum()) for one in steps])
    hessian = np.array(
        [
            [
                (value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b))
                / (4 * a.sum() * b.sum())
                for b in steps
            ]
            for a in steps
        ]
    )
    return gradient, hessian


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("name", DESIGNS)
def test_satterthwaite_is_its_definition(models: dict[str, Model], name: str, kind: Criterion) -> None:
    """2 v^2 over the delta method's variance of v, with differences of the dense likelihood for the information."""
    model = models[name]
    found = fit(model, kind)
    assert not found.singular
    at = np.array(list(found.variances.values()))
    _, hessian = derivatives(lambda v: brute_force.minus_2_log_likelihood(model, v, kind), at)
    covariance = 2 * np.linalg.inv(hessian)
    inference = Inference(found)
    for row in np.eye(len(found.beta))[:3]:

        def variance(v: Floats, c: Floats = row) -> float:
            return float(c @ brute_force.least_squares(model, v)[1] @ c)

        gradient, _ = derivatives(variance, at)
        df = 2 * variance(at) ** 2 / float(gradient @ covariance @ gradient)
        estimate = inference.estimate(row, "satterthwaite")
        assert estimate.df == pytest.approx(df, rel=1e-4)
        assert estimate.se == pytest.approx(math.sqrt(variance(at)), rel=1e-8)


@pytest.mark.parametrize("name", DESIGNS)
def test_kenward_roger_uses_the_expected_information(fits: dict[str, Fit], name: str) -> None:
    """Its df is 2 v^2 over the delta method's variance, with the mean information: tr(P G P G) / 2, P by definition."""
    found = fits[name]
    model = found.model
    at = np.array(list(found.variances.values()))
    s_inverse = np.linalg.inv(brute_force.covariance(model, at))
    projection = s_inverse - s_inverse @ model.x @ brute_force.least_squares(model, at)[1] @ model.x.T @ s_inverse
    parts = [component.z @ component.z.T for component in model.components] + [np.eye(len(model.y))]
    information = [[np.trace(projection @ a @ projection @ b) / 2 for b in parts] for a in parts]
    for row in np.eye(len(found.beta)):

        def variance(v: Floats, c: Floats = row) -> float:
            return float(c @ brute_force.least_squares(model, v)[1] @ c)

        gradient, _ = derivatives(variance, at)
        df = 2 * variance(at) ** 2 / float(gradient @ np.linalg.inv(information) @ gradient)
        assert Inference(found).estimate(row).df == pytest.approx(df, rel=1e-5)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_adjustment_is_twice_the_taylor_term(fits: dict[str, Fit], name: str) -> None:
    """Phi grows by twice - sum W_ij d2 Phi / (ds_i ds_j) / 2 (Kenward and Roger 1997, equation 3), by differences."""
    found = fits[name]
    model = found.model
    at = np.array(list(found.variances.values()))
    s_inverse = np.linalg.inv(brute_force.covariance(model, at))
    phi = brute_force.least_squares(model, at)[1]
    projection = s_inverse - s_inverse @ model.x @ phi @ model.x.T @ s_inverse
    parts = [component.z @ component.z.T for component in model.components] + [np.eye(len(model.y))]
    w = np.linalg.inv([[np.trace(projection @ a @ projection @ b) / 2 for b in parts] for a in parts])
    for c in np.eye(len(found.beta)):
        _, curvature = derivatives(lambda v, c=c: float(c @ brute_force.least_squares(model, v)[1] @ c), at)
        adjusted = float(c @ phi @ c) - float((w * curvature).sum())
        assert Inference(found).estimate(c).se ** 2 == pytest.approx(adjusted, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DESIGNS)
def test_one_combination_is_a_t_test(fits: dict[str, Fit], name: str, method: DfMethod) -> None:
    """F of one row is t squared with the same degrees of freedom and p."""
    inference = Inference(fits[name])
    row = np.eye(len(fits[name].beta))[1]
    joint, estimate = inference.joint(row[None], method), inference.estimate(row, method)
    assert joint.f == pytest.approx(estimate.t**2)
    assert joint.df_den == pytest.approx(estimate.df)
    assert joint.p == pytest.approx(estimate.p)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_joint_test_is_of_the_space_not_of_its_basis(fits: dict[str, Fit], name: str) -> None:
    """Gains over none are all zero exactly when one gain and the difference of gains are: the same F and df."""
    inference = Inference(fits[name])
    rows = np.eye(len(fits[name].beta))[-2:]
    one, other = inference.joint(rows), inference.joint(np.array([[1.0, 0.0], [-2.0, 3.0]]) @ rows)
    assert (one.f, one.df_den) == pytest.approx((other.f, other.df_den))


def test_a_balanced_design_keeps_its_covariance(fits: dict[str, Fit]) -> None:
    """Where strata are exact, Kenward-Roger enlarges nothing and the scale of F is 1."""
    inference = Inference(fits["strata"])
    rows = np.eye(6)[4:]
    assert inference.adjusted_covariance == pytest.approx(fits["strata"].covariance, rel=1e-8)
    for method in ("kenward-roger", "satterthwaite"):
        joint = inference.joint(rows, method)
        assert joint.df_den == pytest.approx(16)
        assert joint.f == pytest.approx(inference.joint(rows, "normal").f)


@pytest.mark.parametrize("name", ["crossed", "gated", "split"])
def test_an_unbalanced_design_pays_for_its_variances(fits: dict[str, Fit], name: str) -> None:
    """Kenward-Roger's standard errors are not smaller than the model's."""
    found = fits[name]
    extra = np.diag(Inference(found).adjusted_covariance) - np.diag(found.covariance)
    assert (extra > -1e-15).all()
    assert extra.max() > 1e-9


def test_kenward_roger_needs_reml(models: dict[str, Model]) -> None:
    """An ML fit is refused with what to do."""
    inference = Inference(fit(models["crossed"], "ML"))
    with pytest.raises(ModelError, match="needs a REML fit; fit by REML, or ask for Satterthwaite's"):
        inference.estimate(np.eye(3)[1])
    with pytest.raises(ModelError, match="needs a REML fit"):
        inference.joint(np.eye(3)[1:])


def test_an_adjustment_that_leaves_no_variance_is_refused(fits: dict[str, Fit]) -> None:
    """With too few groups the second-order term can outweigh the first; no standard error is made of it."""
    inference = Inference(fits["crossed"])
    vars(inference)["adjusted_covariance"] = -fits["crossed"].covariance
    with pytest.raises(
        ModelError, match=r"leaves no positive variance, .* train more seeds, or ask for Satterthwaite's"
    ):
        inference.estimate(np.eye(3)[1])


@pytest.mark.parametrize(("group", "nu"), [("student:seed", 9.0), ("student", 1.0)])
def test_satterthwaite_joins_degrees_of_freedom(group: str, nu: float) -> None:
    """A grand mean on nu df and a difference on the error's give 2E / (E - 2), E = sum nu / (nu - 2).

    With a part of 2 df or less, whose F has no mean, the denominator gets 2, as in lmerTest.
    """
    table = study(np.random.default_rng(0), seeds=5)
    table["acc_pct"] += 1.0 * (table["student"] == "resnet34")
    inference = Inference(fit(build(f"acc_pct ~ method + (1 | {group})", table)))
    mean, difference = np.array([1.0, 1 / 3, 1 / 3]), np.array([0.0, 1.0, -1.0])
    error = 30 - 3 - nu
    for row, df in ((mean, nu), (difference, error)):
        assert inference.estimate(row, "satterthwaite").df == pytest.approx(df, rel=1e-6)
    expected = nu / (nu - 2) + error / (error - 2)
    joint = inference.joint(np.stack([mean, difference]), "satterthwaite")
    assert joint.df_den == pytest.approx(2 * expected / (expected - 2) if nu > 2 else 2.0, rel=1e-6)
