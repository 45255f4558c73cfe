"""Power tables against statsmodels, other intervals against their definitions, likelihood ratios against dense fits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.claims.verdict import Evidence, Rule, judge
from analysis.inference.estimate import Estimate
from analysis.results import AlternativeInterval, Analysis
from analysis.runs.metric import ACCURACY
from analysis.study import ablations, precision
from analysis.study.contrasts import gain
from analysis.study.models import Source, primary
from analysis.study.planning import Plan

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]
NAME = "moderation:feature-none:resnet34-resnet18"


def agrees(found: float, theirs: float) -> None:
    """Equal powers; statsmodels has NaN where scipy's noncentral t gives up, which is near 1."""
    if np.isnan(theirs):
        assert 0.999 < found <= 1
    else:
        assert found == pytest.approx(theirs, abs=1e-6)


@pytest.fixture(scope="module")
def two_samples(simulated: Simulated, framed: Framed) -> tuple[Source, pd.DataFrame]:
    """One student, two cells, no seed in both: a comparison of two independent samples of five."""
    runs = simulated(pairs=[("t", "resnet18")], methods=["mine"], draw=1)
    frame = framed(runs.assign(seed=range(len(runs))))
    return primary(frame, "acc", "all").used, frame


def test_power_of_two_samples_is_statsmodels(two_samples: tuple[Source, pd.DataFrame]) -> None:
    """Its exact power of the t test at every number of seeds, with sigma and at both ends of sigma's interval."""
    source, frame = two_samples
    weights = {"gain": gain("resnet18", "mine")}
    rows = precision.power_points(source, Plan(source, frame), weights, [0.1, 0.2], margin_pp=0.2)
    assert [(r.effect_pp, r.seeds) for r in rows] == [(e, n) for e in (0.1, 0.2) for n in precision.SEEDS]
    sigma = np.sqrt(source.fit.variances["residual"])
    ends = [sigma * np.sqrt(8 / stats.chi2.ppf(tail, 8)) for tail in (0.975, 0.025)]
    for row in rows:
        assert (row.se_pp, row.df) == pytest.approx((sigma * np.sqrt(2 / row.seeds), 2 * row.seeds - 2))
        for found, sd in ((row.power, sigma), (row.power_high, ends[0]), (row.power_low, ends[1])):
            agrees(found, TTestIndPower().power(row.effect_pp / sd, row.seeds, 0.05))
        at_detectable = TTestIndPower().power(row.smallest_detectable_pp / sigma, row.seeds, 0.05)
        assert at_detectable == pytest.approx(0.8, abs=1e-6)


def test_seeds_needed_by_two_samples_is_statsmodels(two_samples: tuple[Source, pd.DataFrame]) -> None:
    """The number at which its power first reaches what is wanted, and the band from sigma's interval."""
    source, frame = two_samples
    weights = {"gain": gain("resnet18", "mine")}
    rows = precision.seeds_needed(source, Plan(source, frame), weights, [0.1, 0.2], precision.POWERS)
    assert [(r.effect_pp, r.power) for r in rows] == [(0.1, 0.8), (0.1, 0.9), (0.2, 0.8), (0.2, 0.9)]
    sigma = np.sqrt(source.fit.variances["residual"])
    ends = [sigma * np.sqrt(8 / stats.chi2.ppf(tail, 8)) for tail in (0.975, 0.025)]
    for row in rows:
        for found, sd in ((row.seeds, sigma), (row.seeds_low, ends[0]), (row.seeds_high, ends[1])):
            assert found is not None
            powers = [float(TTestIndPower().power(row.effect_pp / sd, n, 0.05)) for n in (found - 1, found)]
            assert powers[1] >= row.power
            assert powers[0] < row.power or found == 2


def test_power_of_paired_seeds_is_statsmodels(published: pd.DataFrame) -> None:
    """The clipping ablation: a one-sample t test of n differences."""
    part = ablations.clipping(published, ACCURACY)
    assert part is not None
    fitted, frame, contrasts = part
    rows = precision.power_points(fitted.used, Plan(fitted.used, frame), contrasts, [0.2], margin_pp=0.2)
    sd = np.sqrt(2 * fitted.used.fit.variances["residual"])
    for row in rows:
        agrees(row.power, TTestPower().power(0.2 / sd, row.seeds, 0.05))


def test_verdict_probability_is_how_often_the_rules_decide(two_samples: tuple[Source, pd.DataFrame]) -> None:
    """Estimates and standard errors are drawn, and each is judged; two contrasts share the 5%."""
    source, frame = two_samples
    weights = {name: gain("resnet18", "mine") for name in ("one", "other")}
    rows = precision.power_points(source, Plan(source, frame), weights, [0.1], margin_pp=0.2)
    rng = np.random.default_rng(1)
    for seeds in (7, 20):
        (row,) = [r for r in rows if (r.contrast, r.seeds) == ("one", seeds)]
        decided = 0
        draws = 1000
        for value, chi2 in zip(rng.normal(0.1, row.se_pp, draws), rng.chisquare(row.df, draws), strict=True):
            drawn = Estimate(value, row.se_pp * np.sqrt(chi2 / row.df), row.df, "")
            evidence = Evidence(value, drawn.interval(1 - 0.05 / 2), drawn.interval(0.9), 2)
            decided += judge(Rule("directional", 0.2), evidence) != "cannot tell"
        share = row.verdict_probability
        assert decided / draws == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / draws))


def by_method(analysis: Analysis, contrast: str = NAME) -> dict[str, AlternativeInterval]:
    """Other intervals of a contrast, by their method."""
    return {row.method: row for row in analysis.intervals if row.contrast == contrast}


def test_t_intervals_are_the_table_of_contrasts_own(published_analysis: Analysis) -> None:
    """Kenward-Roger's is the row of contrasts.csv; Satterthwaite's is the same in a balanced table."""
    (row,) = [c for c in published_analysis.contrasts if (c.model, c.subset, c.contrast) == ("primary", "all", NAME)]
    for method in ("t, kenward-roger", "t, satterthwaite"):
        found = by_method(published_analysis)[method]
        assert (found.estimate_pp, found.p) == pytest.approx((row.estimate_pp, row.p))
        assert (found.low_pp, found.high_pp) == pytest.approx((row.ci_low_pp, row.ci_high_pp))
        assert (found.mc_se, found.draws) == (None, None)


def dense_ml(frame: pd.DataFrame, x: np.ndarray, moved: np.ndarray | float = 0.0) -> float:
    """-2 log likelihood by ML with n-by-n matrices, minimised over the variance ratio by scipy."""
    y = frame["y"].to_numpy() - 95 - moved
    names = frame["student"].astype(str) + frame["seed"].astype(str)
    same = (names.to_numpy()[:, None] == names.to_numpy()[None, :]).astype(float)

    def value(log_ratio: float) -> float:
        v = np.eye(len(y)) + np.exp(log_ratio) * same
        inverse = np.linalg.inv(v)
        beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        rest = y - x @ beta
        sigma2 = float(rest @ inverse @ rest) / len(y)
        return float(len(y) * np.log(2 * np.pi * sigma2) + np.linalg.slogdet(v)[1] + len(y))

    return float(optimize.minimize_scalar(value, bounds=(-15, 4), method="bounded", options={"xatol": 1e-10}).fun)


def coding(frame: pd.DataFrame, *, interaction: bool) -> np.ndarray:
    """Fixed part by hand: intercept, student, two methods, and their products."""
    larger = (frame["student"] == "resnet34").to_numpy(dtype=float)
    methods = [(frame["method"] == method).to_numpy(dtype=float) for method in ("feature", "logit")]
    columns = [np.ones(len(frame)), larger, *methods]
    return np.column_stack(columns + [larger * method for method in methods] if interaction else columns)


def test_profile_interval_ends_where_the_likelihood_falls(
    published_analysis: Analysis, published_frame: pd.DataFrame
) -> None:
    """At both ends -2 log likelihood, with the contrast fixed there, is 3.84 above its minimum."""
    x = coding(published_frame, interaction=True)
    lowest = dense_ml(published_frame, x)
    found = by_method(published_analysis)["profile likelihood"]
    for end in (found.low_pp, found.high_pp):
        assert end is not None
        fixed = dense_ml(published_frame, np.delete(x, 4, axis=1), end * x[:, 4])
        assert fixed - lowest == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-3)


def test_parametric_bootstrap_is_normal_around_the_estimate(published_analysis: Analysis) -> None:
    """In a balanced table the estimate is normal: its percentiles are 1.96 standard errors away, but for chance."""
    (row,) = [c for c in published_analysis.contrasts if (c.model, c.subset, c.contrast) == ("primary", "all", NAME)]
    found = by_method(published_analysis)["parametric bootstrap"]
    assert found.draws == precision.DRAWS
    assert found.mc_se is not None
    assert 0 < found.mc_se < 0.01
    for end, sign in ((found.low_pp, -1), (found.high_pp, 1)):
        assert end == pytest.approx(row.estimate_pp + sign * 1.959964 * row.se_pp, abs=4 * found.mc_se)


def unit_means(frame: pd.DataFrame, student: str, method: str) -> np.ndarray:
    """Gain of a student at each seed, averaged over its teachers."""
    own = frame[frame["student"] == student]
    means = own.groupby(["seed", "method"], observed=True)["y"].mean()
    return np.array([means[seed, method] - means[seed, "none"] for seed in sorted(set(own["seed"]))])


@pytest.mark.parametrize("method", ["feature", "logit"])
def test_permutation_of_seeds_by_enumeration(
    published_analysis: Analysis, published_frame: pd.DataFrame, method: str
) -> None:
    """Share of the 252 ways to call five of ten seeds' gains the larger student's that are as far apart."""
    smaller, larger = (unit_means(published_frame, s, method) for s in ("resnet18", "resnet34"))
    pooled = np.concatenate([smaller, larger])
    observed = abs(larger.mean() - smaller.mean())
    chosen = [list(places) for places in combinations(range(10), 5)]
    far = [abs(pooled[c].mean() - np.delete(pooled, c).mean()) >= observed - 1e-9 for c in chosen]
    found = by_method(published_analysis, f"moderation:{method}-none:resnet34-resnet18")
    row = found["exact permutation of seeds"]
    assert row.p == pytest.approx(np.mean(far))
    assert row.estimate_pp == pytest.approx(larger.mean() - smaller.mean())
    assert (row.low_pp, row.high_pp, row.draws) == (None, None, None)


def test_resampled_seeds_are_named_too_narrow_and_are(
    published_analysis: Analysis, published_frame: pd.DataFrame
) -> None:
    """Bootstrap intervals hold the estimate and are shorter than the t interval of the same ten gains."""
    smaller, larger = (unit_means(published_frame, s, "feature") for s in ("resnet18", "resnet34"))
    interval = stats.ttest_ind(larger, smaller).confidence_interval(0.95)
    found = by_method(published_analysis)
    for method in ("percentile", "BCa"):
        row = found[f"bootstrap of seeds, {method} (too narrow)"]
        assert row.low_pp is not None
        assert row.high_pp is not None
        assert row.low_pp < row.estimate_pp < row.high_pp
        assert row.high_pp - row.low_pp < interval.high - interval.low


def test_a_singular_fit_has_the_refits_intervals_and_its_own_profile(simulated: Simulated, framed: Framed) -> None:
    """T intervals are residual ones; the profile is of the model with its variance, wherever that ends."""
    frame = framed(simulated(tau_pp=0, draw=1))
    fitted = primary(frame, "acc", "all")
    weights = {"a": ("feature", {"resnet34:feature": 1.0, "resnet34:none": -1.0})}
    rows = precision.alternative_intervals(fitted, frame, weights, ("resnet18", "resnet34"), np.random.default_rng(0))
    found = {row.method: row for row in rows}
    assert [row.method for row in rows][:2] == ["t, residual", "profile likelihood"]
    assert (found["t, residual"].model, found["profile likelihood"].model) == ("primary:refit", "primary")
    assert precision.alternative_intervals(fitted, frame, {}, ("a", "b"), np.random.default_rng(0)) == ()


def test_seeds_that_cannot_be_resampled_are_left_out(simulated: Simulated, framed: Framed) -> None:
    """No seed has a baseline and a distilled run: there are no gains of seeds, and so no resampling."""
    runs = simulated(draw=2)
    frame = framed(runs.assign(seed=range(len(runs))))
    fitted = primary(frame, "acc", "all")
    weights = {"a": ("feature", gain("resnet34", "feature"))}
    rows = precision.alternative_intervals(fitted, frame, weights, ("resnet18", "resnet34"), np.random.default_rng(0))
    assert [row.method for row in rows] == ["t, residual", "profile likelihood", "parametric bootstrap"]


def test_likelihood_ratio_is_that_of_two_dense_fits(
    published_analysis: Analysis, published_frame: pd.DataFrame
) -> None:
    """Twice the difference of log likelihoods, on chi-square with 2 df; the bootstrap's p is near the exact F's."""
    statistic = dense_ml(published_frame, coding(published_frame, interaction=False)) - dense_ml(
        published_frame, coding(published_frame, interaction=True)
    )
    rows = {o.df_method: o for o in published_analysis.omnibus if o.test == "LRT" and o.model == "primary"}
    asymptotic, simulated = rows["chi-square"], rows["parametric bootstrap"]
    assert asymptotic.statistic == pytest.approx(statistic, abs=1e-5)
    assert (asymptotic.df_num, asymptotic.df_den, asymptotic.draws) == (2, None, None)
    assert asymptotic.p == pytest.approx(stats.chi2.sf(statistic, 2), abs=1e-5)
    (exact,) = [
        o for o in published_analysis.omnibus
        if (o.model, o.subset, o.term, o.df_method) == ("primary", "all", "student:method", "kenward-roger")
    ]  # fmt: skip
    assert simulated.p_mc_se is not None
    assert simulated.p == pytest.approx(exact.p, abs=0.02)
    assert simulated.p > asymptotic.p  # asymptotics are too bold here
    assert simulated.draws == precision.DRAWS


def test_without_an_interaction_there_is_no_likelihood_ratio(simulated: Simulated, framed: Framed) -> None:
    """One student: the formula has no product to leave out."""
    runs = simulated(draw=3)
    frame = framed(runs[runs["student"] == "resnet34"].reset_index(drop=True))
    source = primary(frame, "acc", "all").first
    assert precision.likelihood_ratio_tests(source, frame, np.random.default_rng(0)) == ()
