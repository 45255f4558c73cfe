"""Predictions of the random effects, ICC and R squared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from designs import study

from analysis.mixed.describe import explained, predictions
from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import build


@pytest.mark.parametrize("name", ["strata", "crossed", "gated", "split"])
def test_predictions_solve_the_mixed_model_equations(fits: dict[str, Fit], name: str) -> None:
    """Henderson's equations give the same effects; their inverse, the conditional variances."""
    found = fits[name]
    z = np.hstack([component.z for component in found.model.components])
    variances = [found.variances[c.name] for c in found.model.components for _ in c.levels]
    precision = z.T @ z / found.sigma2 + np.diag(1 / np.array(variances))
    effects = np.linalg.solve(precision, z.T @ found.residuals / found.sigma2)
    mine = predictions(found)
    assert [one.effect for one in mine] == pytest.approx(effects, abs=1e-9)
    assert [one.sd for one in mine] == pytest.approx(np.sqrt(np.diag(np.linalg.inv(precision))), rel=1e-8)
    assert [(one.component, one.level) for one in mine] == [
        (c.name, level) for c in found.model.components for level in c.levels
    ]


def test_a_balanced_group_is_shrunk_by_its_reliability() -> None:
    """Effect: mean deviation times m tau^2 / (m tau^2 + sigma^2) (Searle, Casella and McCulloch 1992, 3.4)."""
    table = study(np.random.default_rng(1), sd_seed=0.3)
    found = fit(build("acc_pct ~ 1 + (1 | student:seed)", table))
    tau2 = found.variances["student:seed"]
    shrinkage = 3 * tau2 / (3 * tau2 + found.sigma2)
    means = (
        table["acc_pct"].groupby(table["student"] + ":" + table["seed"].astype(str)).mean() - table["acc_pct"].mean()
    )
    for one in predictions(found):
        assert one.effect == pytest.approx(shrinkage * means[one.level], abs=1e-9)
        assert one.sd == pytest.approx(math.sqrt(tau2 * (1 - shrinkage)))


def test_a_component_of_zero_has_no_effects() -> None:
    """All predictions and their sds are 0, and so is its share."""
    tables = (study(np.random.default_rng(seed), sd_seed=0.0) for seed in range(20))
    fits = (fit(build("acc_pct ~ method + (1 | student:seed)", table)) for table in tables)
    found = next(one for one in fits if one.singular)
    assert {(one.effect, one.sd) for one in predictions(found)} == {(0.0, 0.0)}
    shares = explained(found)
    assert shares.icc == {"student:seed": 0.0}
    assert shares.r2_conditional == shares.r2_marginal


def test_shares_are_of_the_variance_of_a_run(fits: dict[str, Fit]) -> None:
    """ICC: of what is around the fixed part. R2: of all; fixed, then fixed and random, and the error is the rest."""
    found = fits["crossed"]
    v = found.variances
    fixed = float(np.var(found.fitted, ddof=1))
    total = fixed + sum(v.values())
    shares = explained(found)
    around = sum(v.values())
    assert shares.icc == pytest.approx({"teacher": v["teacher"] / around, "seed": v["seed"] / around})
    assert shares.r2_marginal == pytest.approx(fixed / total)
    assert 1 - shares.r2_conditional == pytest.approx(v["residual"] / total)


def test_a_gated_component_counts_where_it_acts(fits: dict[str, Fit]) -> None:
    """Its mean variance over the runs: the share of distilled runs times its variance."""
    found = fits["gated"]
    acting = float(found.model.components[1].z.sum()) / len(found.model.y)
    assert 0 < acting < 1
    v = found.variances
    around = acting * v["teacher[kd]"] + v["student:seed"] + v["residual"]
    assert explained(found).icc["teacher[kd]"] == pytest.approx(acting * v["teacher[kd]"] / around)


def test_without_random_part_r2_is_regression_s(fits: dict[str, Fit]) -> None:
    """Marginal and conditional agree; there is no ICC."""
    shares = explained(fits["plain"])
    assert shares.icc == {}
    assert shares.r2_marginal == shares.r2_conditional
    found = fits["plain"]
    fixed = float(np.var(found.fitted, ddof=1))
    assert shares.r2_marginal == pytest.approx(fixed / (fixed + found.sigma2))
    assert predictions(found) == ()
