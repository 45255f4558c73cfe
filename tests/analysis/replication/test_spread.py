"""Spread of runs: mean squares, variances, standard errors and degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.replication.spread import Floats, Layout, cell_means, spread, weights


def balanced(students: int, cells: int, seeds: int) -> Layout:
    """Every student's cells at every seed."""
    cell = np.repeat(np.arange(students * cells), seeds)
    return Layout(cell, cell // cells * 100 + np.tile(np.arange(seeds), students * cells))


def reml(y: Floats, layout: Layout, sigma2: float, tau2: float) -> float:
    """Restricted log-likelihood up to a constant, with dense matrices (Patterson and Thompson 1971)."""
    x = (layout.averaging > 0).astype(float)
    v_inv = np.linalg.inv(sigma2 * np.eye(y.size) + tau2 * layout.membership @ layout.membership.T)
    information = x.T @ v_inv @ x
    residual = y - x @ np.linalg.solve(information, x.T @ v_inv @ y)
    logdets = -np.linalg.slogdet(v_inv)[1] + np.linalg.slogdet(information)[1]
    return float(-0.5 * (logdets + residual @ v_inv @ residual))


def test_mean_squares_of_a_table_worked_by_hand() -> None:
    """One student, two cells, two seeds: 1 3 / 2 8 has group SS 16, residual SS 4, one df each."""
    # Cell means 2 and 5, residuals -1 1 -3 3; seed means -2 and 2: SS 2*(4+4) = 16; the rest is 20 - 16 = 4.
    noise = spread(np.array([1.0, 3.0, 2.0, 8.0]), balanced(students=1, cells=2, seeds=2))
    assert (noise.df_within, noise.df_group) == (1, 1)
    assert noise.runs_per_group == pytest.approx(2)
    assert float(noise.ms_group) == pytest.approx(16)
    assert float(noise.ms_within) == pytest.approx(4)
    assert float(noise.tau2) == pytest.approx(6)  # (16 - 4) / 2
    assert float(noise.sigma2) == pytest.approx(4)
    assert float(noise.icc) == pytest.approx(0.6)


@pytest.mark.parametrize("seed_sd", [1.0, 0.0])
def test_variances_maximise_the_restricted_likelihood_of_a_balanced_table(seed_sd: float) -> None:
    """No pair of variances near the closed form has a higher REML likelihood, also where tau2 ends at 0."""
    layout = balanced(students=2, cells=4, seeds=5)
    rng = np.random.default_rng(3)
    y = 90 + rng.standard_normal(40) + seed_sd * layout.membership @ rng.standard_normal(10)
    noise = spread(y, layout)
    assert (noise.tau2 > 0) == (seed_sd > 0)
    best = reml(y, layout, float(noise.sigma2), float(noise.tau2))
    for sigma_step in (0.99, 1.0, 1.01):
        for tau_step in (-0.01, 0.0, 0.01):
            tau2 = max(float(noise.tau2) + tau_step, 0.0)
            assert reml(y, layout, float(noise.sigma2) * sigma_step, tau2) <= best + 1e-9


def test_standard_errors_in_a_balanced_table() -> None:
    """A cell mean has variance (sigma2 + tau2)/n, the mean of all cells MS_group/N with the groups' df."""
    layout = balanced(students=2, cells=5, seeds=5)
    rng = np.random.default_rng(1)
    noise = spread(rng.standard_normal(50) + 2 * layout.membership @ rng.standard_normal(10), layout)
    made_of = weights(layout)
    se, df = noise.standard_error(made_of.noise, np.diag(made_of.seed))
    assert se**2 == pytest.approx((noise.sigma2 + noise.tau2) / 5)
    group, within = noise.ms_group / 25, 4 * noise.ms_within / 25  # (MS_group + 4 MS_within) / 5, over 5 runs
    assert df == pytest.approx((group + within) ** 2 / (group**2 / 8 + within**2 / 32))
    se, df = noise.standard_error(np.array([made_of.noise.sum() / 100]), np.array([made_of.seed.sum() / 100]))
    assert se**2 == pytest.approx(noise.ms_group / 50)
    assert df == pytest.approx(8)


def test_no_seed_effect_pools_all_degrees_of_freedom() -> None:
    """Where groups vary less than runs within them, one variance with all 40 degrees of freedom is left."""
    layout = balanced(students=2, cells=5, seeds=5)
    y = np.random.default_rng(5).standard_normal(50)
    y -= 0.9 * (layout.membership @ (layout.membership.T @ y)) / 5  # takes most of the seed means away
    noise = spread(y, layout)
    residual = y - cell_means(y, layout)[layout.cell]
    assert float(noise.tau2) == 0
    assert float(noise.sigma2) == pytest.approx((residual**2).sum() / 40)
    _, df = noise.standard_error(np.array([0.2]), np.array([0.2]))
    assert df == pytest.approx(40)


def test_weights_give_the_covariance_of_cell_means() -> None:
    """With unequal seeds, weights agree with averaging a dense covariance of runs."""
    layout = Layout(np.array([0, 0, 0, 1, 1, 2]), np.array([10, 11, 12, 11, 12, 20]))
    sigma2, tau2 = 2.0, 3.0
    dense = sigma2 * np.eye(6) + tau2 * np.equal.outer(layout.group, layout.group)
    average = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]) / [[3], [2], [1]]
    made_of = weights(layout)
    assert sigma2 * np.diag(made_of.noise) + tau2 * made_of.seed == pytest.approx(average @ dense @ average.T)
    picked = made_of.take(np.array([2, 0]))
    assert picked.noise == pytest.approx([1, 1 / 3])
    assert picked.seed == pytest.approx(np.array([[1, 0], [0, 1 / 3]]))


def test_mean_squares_have_their_expectations_in_an_unbalanced_table() -> None:
    """Over simulations, sigma2 and tau2 come out right when cells lack seeds (before cutting at 0)."""
    full = balanced(students=2, cells=3, seeds=5)
    kept = np.delete(np.arange(30), [0, 7, 8, 21, 29])
    layout = Layout(full.cell[kept], full.group[kept])
    rng = np.random.default_rng(8)
    y = 2 * rng.standard_normal((20_000, 25))
    y += 3 * rng.standard_normal((20_000, 10)) @ layout.membership.T
    noise = spread(y, layout)
    tau2 = (noise.ms_group - noise.ms_within) / noise.runs_per_group
    for found, expected in ((noise.ms_within, 4.0), (tau2, 9.0)):
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(found.size))


def test_one_run_a_cell_has_no_spread() -> None:
    """Without two runs in any cell nothing says how far runs scatter."""
    with pytest.raises(ValueError, match="one run only"):
        spread(np.array([1.0, 2.0]), Layout(np.array([0, 1]), np.array([0, 0])))
