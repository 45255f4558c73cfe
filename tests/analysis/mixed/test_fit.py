"""Estimates at the minimum, against textbook matrices, ordinary least squares and analyses of variance."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import statsmodels.api as sm
from designs import CROSSED, STUDY, crossed, study

from analysis.errors import ModelError
from analysis.mixed.criterion import Criterion, profiled
from analysis.mixed.fit import Fit, fit, fit_prepared
from analysis.mixed.model import Model, build

DESIGNS = ("strata", "crossed", "gated", "split", "plain")


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("name", DESIGNS)
def test_estimates_are_generalised_least_squares(models: dict[str, Model], name: str, kind: Criterion) -> None:
    """At the fitted variances, estimates, covariance and criterion are the textbook's."""
    found = fit(models[name], kind)
    variances = np.array(list(found.variances.values()))
    beta, covariance = brute_force.least_squares(models[name], variances)
    assert found.beta == pytest.approx(beta, abs=1e-9)
    assert found.covariance == pytest.approx(covariance, rel=1e-8, abs=1e-12)
    inverse = np.linalg.inv(brute_force.covariance(models[name], variances))
    assert found.weighted(np.eye(len(inverse))) / found.sigma2 == pytest.approx(inverse, rel=1e-9, abs=1e-9)
    assert found.minus_2_log_likelihood == pytest.approx(
        brute_force.minus_2_log_likelihood(models[name], variances, kind), abs=1e-7
    )
    assert found.criterion == kind


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("name", DESIGNS)
def test_no_variance_near_the_estimate_is_better(models: dict[str, Model], name: str, kind: Criterion) -> None:
    """Each variance, the error's too, moved by 1% raises -2 log likelihood."""
    found = fit(models[name], kind)
    variances = np.array(list(found.variances.values()))
    for k in np.flatnonzero(variances):
        for factor in (0.99, 1.01):
            moved = variances.copy()
            moved[k] *= factor
            raised = brute_force.minus_2_log_likelihood(models[name], moved, kind)
            assert raised > found.minus_2_log_likelihood


def test_without_random_part_it_is_ordinary_least_squares(fits: dict[str, Fit]) -> None:
    """As statsmodels has it: estimates, covariance, error variance; its log likelihood by ML."""
    found = fits["plain"]
    ordinary = sm.OLS(found.model.y, found.model.x).fit()
    assert found.beta == pytest.approx(ordinary.params, abs=1e-9)
    assert found.covariance == pytest.approx(ordinary.cov_params(), rel=1e-9)
    assert found.sigma2 == pytest.approx(ordinary.scale)
    assert found.variances == {"residual": found.sigma2}
    assert fit(found.model, "ML").minus_2_log_likelihood == pytest.approx(-2 * ordinary.llf, abs=1e-8)


@pytest.mark.parametrize("kind", ["REML", "ML"])
def test_a_singular_fit_is_the_fit_without_the_component(kind: Criterion) -> None:
    """Zero variance and no component are the same model: criterion, estimates, covariance, error variance."""
    draws = (crossed(np.random.default_rng(seed), sds=(0.3, 0.0)) for seed in range(20))
    fits = (fit(build(CROSSED, table), kind) for table in draws)
    whole = next(one for one in fits if one.singular == ("seed",))
    assert whole.variances["seed"] == 0
    part = fit(whole.model.without(whole.singular), kind)
    assert part.singular == ()
    assert whole.minus_2_log_likelihood == pytest.approx(part.minus_2_log_likelihood, abs=1e-9)
    assert whole.beta == pytest.approx(part.beta, abs=1e-10)
    assert whole.covariance == pytest.approx(part.covariance, rel=1e-7)
    assert whole.sigma2 == pytest.approx(part.sigma2, rel=1e-8)
    assert whole.variances["teacher"] == pytest.approx(part.variances["teacher"], rel=1e-6)


@pytest.mark.parametrize("name", DESIGNS)
def test_weights_make_an_estimate_of_the_runs(fits: dict[str, Fit], name: str) -> None:
    """An estimate is a weighted sum of the responses; its weights give the combination back from the design."""
    found = fits[name]
    for combination in np.eye(len(found.beta)):
        weights = found.run_weights(combination)
        assert weights @ found.model.y == pytest.approx(combination @ found.beta, abs=1e-9)
        assert weights @ found.model.x == pytest.approx(combination, abs=1e-10)


def test_residuals_and_fitted_values_add_up(fits: dict[str, Fit]) -> None:
    """The fixed part and what is left make the response; V^-1 takes the rest out of the fixed part's reach."""
    found = fits["crossed"]
    assert found.fitted + found.residuals == pytest.approx(found.model.y)
    assert found.v_inverse_x.T @ found.residuals == pytest.approx(np.zeros(3), abs=1e-8)


def test_a_prepared_design_serves_other_responses(models: dict[str, Model]) -> None:
    """The criterion of a design, prepared once, gives each response the fit of its own."""
    model = models["crossed"]
    problem = profiled(model, "REML")
    other = model.with_response(model.y + 0.1 * np.random.default_rng(4).normal(size=len(model.y)))
    prepared, direct = fit_prepared(other, problem), fit(other)
    assert prepared.beta.tolist() == direct.beta.tolist()
    assert prepared.minus_2_log_likelihood == direct.minus_2_log_likelihood


NO_SPREAD = "accuracies show no spread between seeds .* check that the runs of a cell were trained with different seeds"


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("spread", ["none", "cells", "plots", "rounding"])
def test_runs_without_spread_are_refused(spread: str, kind: Criterion) -> None:
    """All runs alike, all runs of a cell or of a plot alike, or differences that are rounding: no error to measure."""
    table = study(np.random.default_rng(0))
    cell = table["method"].cat.codes + 0.3 * (table["student"] == "resnet34")
    plot = table["seed"] ** 1.5 + 7.0 * (table["student"] == "resnet34")
    rounding = 1e-11 * np.random.default_rng(0).normal(size=len(table))
    table["acc_pct"] = 95 + {"none": 0 * cell, "cells": cell, "plots": cell + plot, "rounding": rounding}[spread]
    with pytest.raises(ModelError, match=NO_SPREAD):
        fit(build(STUDY, table), kind)


@pytest.mark.parametrize("factor", [1e-5, 1e-3, 1e3, 1e6])
def test_a_near_perfect_fit_is_as_exact_as_any(models: dict[str, Model], factor: float) -> None:
    """Errors of 1e-6 points around means of 95, or of 1e5: the same fit in another unit, as far as doubles hold."""
    model = models["crossed"]
    beta = np.linalg.lstsq(model.x, model.y, rcond=None)[0]
    plain = fit(model)
    scaled = fit(model.with_response(model.x @ beta + factor * (model.y - model.x @ beta)))
    digits = 1e-13 / min(factor, 1.0) * 100
    assert scaled.optimum.gamma == pytest.approx(plain.optimum.gamma, rel=max(digits, 1e-6))
    assert scaled.sigma2 == pytest.approx(factor**2 * plain.sigma2, rel=max(digits, 1e-6))
    assert scaled.beta - beta == pytest.approx(factor * (plain.beta - beta), rel=1e-4, abs=1e-10)


def test_a_formula_alone_names_the_model_in_a_refusal() -> None:
    """Whoever reads the sentence sees which model it is about."""
    table = study(np.random.default_rng(0)).assign(acc_pct=95.0)
    with pytest.raises(ModelError, match=r"^'acc_pct ~ student \* method \+ \(1 \| student:seed\)': accuracies"):
        fit(build(STUDY, table))
