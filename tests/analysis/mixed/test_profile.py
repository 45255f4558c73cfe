"""Profile intervals against closed forms and against searches over the dense likelihood."""

from __future__ import annotations

import math

import brute_force
import numpy as np
import pytest
from designs import STUDY, study
from scipy import optimize, stats

from analysis.mixed.criterion import Criterion
from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import Model, build
from analysis.mixed.profile import combination_interval, sd_interval


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_a_regression_s_interval_has_a_closed_form(models: dict[str, Model], level: float) -> None:
    """Without random part n log(1 + t^2 / (n - p)) rises by the chi-square quantile at the ends of any combination."""
    model = models["plain"]
    found = fit(model, "REML")
    n, p = model.x.shape
    for c in (np.eye(p)[5], np.array([1.0, 0.5, 0, 0, 0, -2])):
        se = math.sqrt(float(c @ found.covariance @ c))
        half = se * math.sqrt((n - p) * math.expm1(float(stats.chi2.ppf(level, 1)) / n))
        low, high = combination_interval(model, c, level)
        assert (low, high) == pytest.approx((c @ found.beta - half, c @ found.beta + half), abs=1e-5 * se)


@pytest.mark.parametrize("kind", ["REML", "ML"])
def test_the_error_s_interval_has_a_closed_form(models: dict[str, Model], kind: Criterion) -> None:
    """Without random part nu (r - 1 - log r), r the ratio of the variances, rises by the quantile at the ends."""
    found = fit(models["plain"], kind)
    sd = math.sqrt(found.sigma2)
    for end in sd_interval(found, "residual"):
        ratio = found.sigma2 / end**2
        assert found.problem.nu * (ratio - 1 - math.log(ratio)) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-4)
        assert end != sd


@pytest.mark.parametrize(
    ("name", "kind"), [("strata", "REML"), ("strata", "ML"), ("crossed", "REML"), ("gated", "ML"), ("split", "REML")]
)
def test_at_the_ends_of_an_sd_the_likelihood_has_fallen_by_the_quantile(
    models: dict[str, Model], name: str, kind: Criterion
) -> None:
    """-2 log likelihood with the sd held there, minimised over all other variances by a simplex search."""
    model = models[name]
    found = fit(model, kind)
    variances = np.array(list(found.variances.values()))
    for k, component in enumerate(found.variances):
        for end in sd_interval(found, component, 0.9):
            if end == 0:
                continue
            others = np.delete(variances, k)

            def held(logs: np.ndarray, k: int = k, end: float = end) -> float:
                return brute_force.minus_2_log_likelihood(model, np.insert(np.exp(logs), k, end**2), kind)

            least = optimize.minimize(
                held, np.log(others), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6}
            )
            rise = least.fun - found.minus_2_log_likelihood
            assert rise == pytest.approx(stats.chi2.ppf(0.9, 1), abs=1e-4)


@pytest.mark.parametrize("name", ["strata", "crossed"])
def test_at_the_ends_of_an_effect_the_likelihood_has_fallen_by_the_quantile(
    models: dict[str, Model], name: str
) -> None:
    """The effect is taken out of the response at the end's value, its column out of the design, and the rest fitted."""
    model = models[name]
    best = fit(model, "ML").minus_2_log_likelihood
    column = model.x[:, -1]
    for end in combination_interval(model, np.eye(model.x.shape[1])[-1]):
        rest = type(model)(
            model.formula, model.y - end * column, model.x[:, :-1], model.names[:-1], model.components, model.spec,
            model.kept[:-1], model.null,
        )  # fmt: skip
        assert fit(rest, "ML").minus_2_log_likelihood - best == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-4)


def test_two_groups_leave_a_long_but_finite_end() -> None:
    """One degree of freedom: with negligible error v = r v_hat rises by log r + 1 / r - 1, 3.84 at r near 125."""
    table = study(np.random.default_rng(0), sd_seed=0.0, sd=1e-3)
    table["acc_pct"] += 1.0 * (table["student"] == "resnet34")
    found = fit(build("acc_pct ~ method + (1 | student)", table))
    estimate = math.sqrt(found.variances["student"])
    quantile = float(stats.chi2.ppf(0.95, 1))
    low, high = (
        math.sqrt(optimize.brentq(lambda r: math.log(r) + 1 / r - 1 - quantile, *bracket))
        for bracket in ((1e-3, 1), (1, 1e4))
    )
    assert high > 11
    assert sd_interval(found, "student") == pytest.approx((low * estimate, high * estimate), rel=1e-3)


def test_a_singular_component_s_interval_starts_at_zero(fits: dict[str, Fit]) -> None:
    """Nothing is below zero, and an estimate of zero is not known to be zero."""
    table = study(np.random.default_rng(0), sd_seed=0.0)
    centred = table["acc_pct"] - table.groupby(["student", "method"], observed=True)["acc_pct"].transform("mean")
    table["acc_pct"] -= 0.5 * centred.groupby([table["student"], table["seed"]]).transform("mean")
    found = fit(build(STUDY, table))
    assert found.singular
    low, high = sd_interval(found, "student:seed")
    assert low == 0
    assert 0 < high < 1
    assert not fits["strata"].singular


@pytest.mark.parametrize("name", ["strata", "gated", "split"])
def test_a_higher_level_reaches_further(fits: dict[str, Fit], name: str) -> None:
    """A 99% interval holds the 90% one, which holds the estimate."""
    found = fits[name]
    for component, variance in found.variances.items():
        inner, outer = (sd_interval(found, component, level) for level in (0.9, 0.99))
        assert outer[0] <= inner[0] <= math.sqrt(variance) <= inner[1] <= outer[1]
