"""The parametric bootstrap: draws from the right model, fits each anew, and says how sure it is."""

from __future__ import annotations

import math

import brute_force
import numpy as np
import pytest
from designs import CROSSED, STUDY, crossed, gated, study
from scipy import stats

from analysis.errors import ModelError
from analysis.mixed import bootstrap
from analysis.mixed.bootstrap import estimates, fixed_effects, likelihood_ratio, refit, simulate
from analysis.mixed.criterion import Criterion
from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import Model, build

NULL = "acc_pct ~ student + method + (1 | student:seed)"


@pytest.fixture(scope="module")
def table() -> object:
    """A balanced study with a seed effect of the error's size."""
    return study(np.random.default_rng(20))


@pytest.mark.parametrize("name", ["strata", "crossed", "gated", "split", "plain"])
def test_draws_have_the_model_s_mean_and_covariance(fits: dict[str, Fit], name: str) -> None:
    """Over 20,000 draws: mean within 5 standard errors everywhere, covariance within 5 of its own."""
    found, draws = fits[name], 20_000
    y = simulate(found, draws, np.random.default_rng(0))
    v = brute_force.covariance(found.model, np.array(list(found.variances.values())))
    sds = np.sqrt(np.diag(v))
    assert (np.abs(y.mean(axis=0) - found.fitted) < 5 * sds / math.sqrt(draws)).all()
    # the variance of a sample covariance of normal values is (v_ii v_jj + v_ij^2) / B
    errors = np.sqrt((np.outer(sds**2, sds**2) + v**2) / draws)
    assert (np.abs(np.cov(y.T) - v) < 5 * errors).all()


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("name", ["strata", "crossed", "gated", "split", "plain"])
def test_a_batch_of_fits_is_fit_after_fit(
    fits: dict[str, Fit], monkeypatch: pytest.MonkeyPatch, name: str, kind: Criterion
) -> None:
    """Ratios, error variances, criteria and fixed effects of many responses are those of `fit`, across chunks too."""
    monkeypatch.setattr(bootstrap, "_CHUNK", 7)
    model = fits[name].model
    y = simulate(fits[name], 20, np.random.default_rng(1))
    together = refit(model, y, kind)
    effects = fixed_effects(model, y, together.gamma)
    alone = [fit(model.with_response(row), kind) for row in y]
    assert together.gamma == pytest.approx(np.array([one.optimum.gamma for one in alone]), rel=1e-5, abs=1e-7)
    assert together.sigma2 == pytest.approx([one.sigma2 for one in alone], rel=1e-6)
    assert together.minus_2_log_likelihood == pytest.approx([one.minus_2_log_likelihood for one in alone], abs=1e-8)
    assert effects == pytest.approx(np.array([one.beta for one in alone]), abs=1e-8)


def test_least_squares_serve_where_they_are_best(models: dict[str, Model]) -> None:
    """In a balanced design the estimates do not depend on the ratios; in an unbalanced one they do."""
    for name, free in (("strata", True), ("crossed", False), ("gated", False), ("split", False)):
        model = models[name]
        small, large = (np.full((1, len(model.components)), ratio) for ratio in (0.1, 10.0))
        differs = np.abs(fixed_effects(model, model.y[None], small) - fixed_effects(model, model.y[None], large)).max()
        assert (differs < 1e-10) == free


def test_p_is_uniform_where_the_null_is_true(table: object) -> None:
    """150 tables drawn from the null, p from 39 draws each: each fifth of (0, 1) holds its share, and 5% is 5%."""
    generator = np.random.default_rng(2)
    full, null = build(STUDY, table), build(NULL, table)
    drawn = simulate(fit(null, "ML"), 150, generator)
    p = [likelihood_ratio(full.with_response(y), null.with_response(y), 39, generator).p for y in drawn]
    # with 39 draws p is 1/40, 2/40, ..., 1, each as likely
    shares = np.bincount([math.ceil(5 * one - 1e-9) - 1 for one in p], minlength=5)
    assert float(stats.chisquare(shares).pvalue) > 0.01
    rejected = int(sum(one <= 0.05 for one in p))
    assert abs(rejected - 150 * 0.05) < 3 * math.sqrt(150 * 0.05 * 0.95)


def test_chi_square_is_too_small_here(table: object) -> None:
    """The reason for the bootstrap: with five seeds the chi-square p is below the simulated one."""
    full, null = build(STUDY, table), build(NULL, table)
    test = likelihood_ratio(full, null, 2000, np.random.default_rng(3))
    assert test.df == 2
    assert test.p_chi2 == pytest.approx(stats.chi2.sf(test.statistic, 2))
    assert test.p_chi2 < test.p - 3 * test.p_mc_se
    # F is a monotone function of the ratio in this balanced design, so its p is what the bootstrap estimates
    statistic = fit(null, "ML").minus_2_log_likelihood - fit(full, "ML").minus_2_log_likelihood
    assert test.statistic == pytest.approx(statistic, abs=1e-10)


def test_p_counts_draws_and_tells_its_error(table: object) -> None:
    """The p value is (1 + draws as large) / (1 + draws), its error that of a share; many runs scatter by as much."""
    full, null = build(STUDY, table), build(NULL, table)
    tests = [likelihood_ratio(full, null, 50, np.random.default_rng(seed)) for seed in range(60)]
    for one in tests:
        count = one.p * 51 - 1
        assert count == pytest.approx(round(count), abs=1e-9)
        assert one.p_mc_se == pytest.approx(math.sqrt(one.p * (1 - one.p) / 50))
        assert one.draws == 50
    scatter, told = np.std([one.p for one in tests], ddof=1), np.mean([one.p_mc_se for one in tests])
    # a standard deviation of 60 values is known to 9%
    assert scatter == pytest.approx(told, rel=0.3)


def test_a_clear_effect_has_the_smallest_p_there_is(table: object) -> None:
    """Of 99 draws none is as large: 1 / 100. And an effect of nothing has p = 1."""
    full, null = build(STUDY, table), build(NULL, table)
    strong = full.y + 1.0 * full.x[:, -1]
    test = likelihood_ratio(full.with_response(strong), null.with_response(strong), 99, np.random.default_rng(4))
    assert test.p == 0.01
    none = null.x @ np.linalg.lstsq(null.x, full.y, rcond=None)[0]
    plots = full.components[0].z @ np.random.default_rng(5).normal(size=10)
    noise = np.random.default_rng(5).normal(size=30)
    flat = none + plots + noise - full.x @ np.linalg.lstsq(full.x, plots + noise, rcond=None)[0]
    test = likelihood_ratio(full.with_response(flat), null.with_response(flat), 99, np.random.default_rng(4))
    assert test.statistic == pytest.approx(0, abs=1e-9)
    assert test.p == 1


def test_a_component_can_be_tested() -> None:
    """REML compares models of one fixed part: a seed effect of three times the error is found."""
    table = study(np.random.default_rng(22), sd_seed=0.3)
    full, null = build(STUDY, table), build("acc_pct ~ student * method", table)
    test = likelihood_ratio(full, null, 200, np.random.default_rng(6), "REML")
    assert test.df == 1
    assert test.p == 1 / 201
    # under the null the statistic is zero half of the time, so that chi-square is too careful: here a small effect
    weak = study(np.random.default_rng(20))
    test = likelihood_ratio(
        full.with_response(weak["acc_pct"]), null.with_response(weak["acc_pct"]), 200, np.random.default_rng(6), "REML"
    )
    assert 2 * test.p == pytest.approx(test.p_chi2, abs=6 * test.p_mc_se)
    assert test.p < test.p_chi2


def test_draws_as_small_as_the_statistic_count() -> None:
    """A component estimated as zero has a statistic of 0, which every draw reaches, most of them by being 0 too."""
    tables = (study(np.random.default_rng(seed), sd_seed=0.0) for seed in range(20))
    fits = (fit(build(STUDY, one)) for one in tables)
    found = next(one for one in fits if one.singular)
    null = found.model.without(found.singular)
    test = likelihood_ratio(found.model, null, 50, np.random.default_rng(0), "REML")
    assert test.statistic == pytest.approx(0, abs=1e-9)
    assert test.p == 1


def test_the_generator_decides_everything(table: object) -> None:
    """The same generator state gives the same answer to the last digit, another one another."""
    full, null = build(STUDY, table), build(NULL, table)
    one, same, other = (likelihood_ratio(full, null, 100, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert one == same
    assert one != other
    found = fit(full)
    drawn = [estimates(found, np.eye(6)[4:], 100, np.random.default_rng(seed)) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("full", "null"),
    [
        (NULL, STUDY),
        (NULL, NULL),
        ("acc_pct ~ method + (1 | student:seed)", "acc_pct ~ student + (1 | student:seed)"),
        ("acc_pct ~ student * method + (1 | student:seed)", "acc_pct ~ student + (1 | seed)"),
        ("acc_pct ~ student * method", "acc_pct ~ student + (1 | student:seed)"),
    ],
    ids=["turned around", "the same", "other means", "another component", "a component more"],
)
def test_a_null_that_is_no_part_of_the_full_model_is_refused(table: object, full: str, null: str) -> None:
    """Fewer parameters are not enough: every mean and every component of the null must be in the full model."""
    with pytest.raises(ModelError, match="is no smaller model of the same responses inside"):
        likelihood_ratio(build(full, table), build(null, table), 9, np.random.default_rng(0))


def test_a_recoded_null_is_accepted(table: object) -> None:
    """What counts is the space of the means, not their coding."""
    full, null = build(STUDY, table), build("acc_pct ~ 0 + student + method + (1 | student:seed)", table)
    recoded = likelihood_ratio(full, null, 1, np.random.default_rng(0)).statistic
    plain = likelihood_ratio(full, build(NULL, table), 1, np.random.default_rng(0)).statistic
    assert recoded == pytest.approx(plain, abs=1e-9)


def test_other_responses_and_reml_of_other_means_are_refused(table: object) -> None:
    """Likelihoods of different data, or restricted ones of different fixed parts, do not compare."""
    full, null = build(STUDY, table), build(NULL, table)
    with pytest.raises(ModelError, match="of the same responses"):
        likelihood_ratio(full, null.with_response(null.y + 1), 9, np.random.default_rng(0))
    with pytest.raises(ModelError, match="REML criteria of different fixed parts cannot be compared; use ML"):
        likelihood_ratio(full, null, 9, np.random.default_rng(0), "REML")


@pytest.mark.parametrize("name", ["strata", "crossed"])
def test_estimates_scatter_as_the_model_says(fits: dict[str, Fit], name: str) -> None:
    """The standard deviation over 2,000 draws is the model's standard error to within its Monte-Carlo error."""
    found, draws = fits[name], 2000
    rows = np.eye(len(found.beta))
    plain = np.sqrt(np.diag(found.covariance))
    for one, se, value in zip(estimates(found, rows, draws, np.random.default_rng(9)), plain, found.beta, strict=True):
        # a standard deviation of B values is known to 1 / sqrt(2 B); estimated ratios add a little in a crossed design
        assert one.se == pytest.approx(se, rel=4 / math.sqrt(2 * draws) + (0.02 if name == "crossed" else 0))
        assert one.draws == draws
        half = float(stats.norm.isf(0.025)) * se
        assert (one.low, one.high) == pytest.approx((value - half, value + half), abs=4 * one.end_mc_se + 0.02 * se)


def test_an_interval_s_ends_scatter_as_told(fits: dict[str, Fit]) -> None:
    """Forty bootstraps of 400 draws: their ends differ by the Monte-Carlo error that each reports."""
    row = np.eye(6)[[5]]
    drawn = [estimates(fits["strata"], row, 400, np.random.default_rng(seed), 0.9)[0] for seed in range(40)]
    told = np.mean([one.end_mc_se for one in drawn])
    for ends in ([one.low for one in drawn], [one.high for one in drawn]):
        assert np.std(ends, ddof=1) == pytest.approx(told, rel=0.35)


def test_a_wider_level_is_wider(fits: dict[str, Fit]) -> None:
    """The same draws give a 99% interval that holds the 90% one."""
    row = np.eye(6)[[5]]
    narrow, wide = (estimates(fits["strata"], row, 500, np.random.default_rng(1), level)[0] for level in (0.9, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert narrow.se == wide.se


def test_a_singular_model_can_be_drawn_from() -> None:
    """A component of zero variance adds nothing and takes no random numbers."""
    generator = np.random.default_rng(10)
    draws = (fit(build(CROSSED, crossed(generator, sds=(0.3, 0.0)))) for _ in range(30))
    found = next(one for one in draws if one.singular == ("seed",))
    without = fit(found.model.without(["seed"]))
    one, other = (simulate(each, 3, np.random.default_rng(0)) for each in (found, without))
    assert one == pytest.approx(other, abs=1e-6)
    assert np.isfinite(refit(found.model, one, "REML").minus_2_log_likelihood).all()


def test_gated_runs_alone_feel_a_gated_effect() -> None:
    """A drawn teacher effect reaches the distilled runs and no baseline."""
    found = fit(build("acc_pct ~ method + (0 + kd | teacher)", gated(np.random.default_rng(0), sds=(0.0, 3.0))))
    y = simulate(found, 2000, np.random.default_rng(0))
    z = found.model.components[0].z
    baselines, distilled = y[:, z.sum(axis=1) == 0], y[:, z.sum(axis=1) == 1]
    sd = math.sqrt(found.variances["teacher[kd]"])
    assert baselines.std(axis=0).mean() == pytest.approx(math.sqrt(found.sigma2), rel=0.05)
    assert distilled.std(axis=0).mean() == pytest.approx(math.hypot(sd, math.sqrt(found.sigma2)), rel=0.05)
