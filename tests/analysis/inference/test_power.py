"""Power and seeds needed against R, statsmodels, closed forms, exhaustive search and a simulation of the rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.claims.verdict import Evidence, Rule, judge
from analysis.inference.power import (
    MOST_SEEDS,
    Kind,
    Precision,
    power,
    power_curve,
    scaled,
    seeds_needed,
    seeds_to_settle,
    sigma_interval,
    smallest_detectable_pp,
    verdict_power,
)

MARGIN = 0.2

# R 4.2.2: power.t.test(n, delta, sd, strict = TRUE)$power, two-sample
POWER_FROM_R = [
    # n, delta, sd, power
    (5, 0.2, 0.13, 0.570211335223),
    (3, 0.2, 0.1, 0.462640811891),
    (10, 0.1, 0.13, 0.37030170224),
    (20, 0.05, 0.1, 0.337939028925),
    (5, 0.0, 0.1, 0.05),
]


def two_sample(sd: float) -> Precision:
    """Difference of two means of n seeds."""
    return lambda n: (sd * math.sqrt(2 / n), 2.0 * n - 2)


def known(se: float, seeds: int) -> Precision:
    """Standard error `se` at `seeds` seeds, taken as known."""
    return lambda n: (se * math.sqrt(seeds / n), math.inf)


def teachers(teacher_var: float, seed_var: float) -> Precision:
    """Three teachers' variance that seeds do not average away, Satterthwaite df (Biometrics Bulletin 2, 1946)."""

    def precision(n: int) -> tuple[float, float]:
        parts = teacher_var, seed_var / n
        return math.sqrt(sum(parts)), sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / (2 * n - 2))

    return precision


@pytest.mark.parametrize(("n", "delta", "sd", "expected"), POWER_FROM_R)
def test_power_equals_r(n: int, delta: float, sd: float, expected: float) -> None:
    """R counts both tails with strict = TRUE, as here, and has 5% without an effect."""
    assert float(power(delta, *two_sample(sd)(n))) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("level", [0.95, 0.975])
def test_power_equals_statsmodels(level: float) -> None:
    """Two-sample and one-sample designs over a table of sizes and effects, at Holm's level for two as well."""
    n = np.arange(3, 30)[:, None]
    d = np.array([0.1, 0.5, 1.0, 2.0])
    theirs = np.vectorize(lambda n, d: TTestIndPower().power(d, n, 1 - level))(n, d)
    np.testing.assert_allclose(power(d, np.sqrt(2 / n), 2 * n - 2, level), theirs, atol=1e-9)
    theirs = np.vectorize(lambda n, d: TTestPower().power(d, n, 1 - level))(n, d)
    ours = power(d, np.sqrt(1 / n), n - 1, level)
    there = np.isfinite(theirs)  # it is NaN where scipy's noncentral t is: here, with power near 1
    assert there.mean() > 0.9
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours[there], theirs[there], atol=1e-9)


def test_normal_theory_is_far_off_with_few_seeds() -> None:
    """The check can fail: the power that takes se as known overstates by 0.11 at 5 seeds."""
    se, df = two_sample(0.13)(5)
    assert float(power(0.2, se, math.inf)) - float(power(0.2, se, df)) == pytest.approx(0.112, abs=0.01)


@pytest.mark.parametrize(
    ("n", "sd", "wanted", "delta"),
    [(5, 0.13, 0.8, 0.26317711412), (3, 0.13, 0.8, 0.399215994627), (20, 0.1, 0.9, 0.105199294828)],
)
def test_detectable_effect_equals_r(n: int, sd: float, wanted: float, delta: float) -> None:
    """R 4.2.2: power.t.test(n, sd = sd, power = wanted, strict = TRUE, tol = 1e-12)$delta."""
    assert smallest_detectable_pp(*two_sample(sd)(n), wanted) == pytest.approx(delta, abs=1e-9)


@pytest.mark.parametrize(
    ("delta", "sd", "wanted", "n"),
    [(0.2, 0.13, 0.8, 7.7217), (0.1, 0.13, 0.8, 27.5233), (0.05, 0.13, 0.9, 143.0275), (0.4, 0.13, 0.8, 2.9943)],
)
def test_seeds_needed_equal_r(delta: float, sd: float, wanted: float, n: float) -> None:
    """R 4.2.2: power.t.test(delta, sd, power = wanted, strict = TRUE, tol = 1e-10)$n, rounded up."""
    assert seeds_needed(delta, two_sample(sd), wanted) == math.ceil(n)


def test_seeds_beyond_the_limit() -> None:
    """No effect is found by no number of seeds; 10,000 is the last number tried, and is tried."""
    tried: list[int] = []

    def precision(n: int) -> tuple[float, float]:
        tried.append(n)
        return two_sample(1.0)(n)

    assert seeds_needed(0.0, precision) is None
    assert max(tried) == MOST_SEEDS
    assert len(tried) < 350  # a call may cost a fit
    at_limit = smallest_detectable_pp(*two_sample(1.0)(MOST_SEEDS))
    assert seeds_needed(at_limit * 1.00001, two_sample(1.0)) == MOST_SEEDS
    assert seeds_needed(at_limit * 0.99999, two_sample(1.0)) is None


def test_more_seeds_can_have_less_power() -> None:
    """Where three teachers' variance comes to dominate, so do its 2 df: power passes 0.8 at 29 seeds, not after 411.

    Bisection between 2 and 10,000 would answer that no number of seeds does.
    """
    precision = teachers(0.02**2, 0.02)
    se, df = np.array([precision(n) for n in range(2, MOST_SEEDS + 1)]).T
    enough = np.flatnonzero(power(0.1, se, df) >= 0.8) + 2
    assert (enough[0], enough[-1]) == (29, 411)
    assert seeds_needed(0.1, precision) == 29


def test_search_equals_exhaustive_search() -> None:
    """30 random designs, families up to 60, teachers' variance in half of them: the first crossing, or none."""
    rng = np.random.default_rng(5)
    numbers = np.arange(2, 600)
    answers = 0
    for draw in range(30):
        effect, members = rng.uniform(0, 0.6), int(rng.choice([1, 2, 10, 60]))
        sd = math.exp(rng.uniform(math.log(0.05), math.log(1.0)))
        precision = teachers((sd * rng.uniform(0.02, 0.3)) ** 2, 2 * sd**2) if draw % 2 else two_sample(sd)
        se, df = np.array([precision(int(n)) for n in numbers]).T
        settled = 1 - verdict_power(effect, se, df, MARGIN, members, "null").cannot_tell
        enough = numbers[settled >= 0.8]
        found = seeds_to_settle(effect, precision, MARGIN, members)
        if len(enough):
            assert found == enough[0]
            answers += 1
        else:
            assert found is None or found > numbers[-1]
    assert 10 < answers < 30


@pytest.mark.parametrize("kind", ["directional", "null"])
@pytest.mark.parametrize(
    ("effect", "se", "df", "margin", "members"),
    [
        (0.1, 0.1, 8, 0.2, 1),
        (0.0, 0.05, 8, 0.2, 2),
        (0.2, 0.12, 3, 0.3, 2),
        (-0.1, 0.08, 20, 0.2, 1),
        (0.05, 0.3, 1, 0.2, 1),
        (0.15, 0.03, 1, 0.5, 2),
    ],
)
def test_verdicts_fall_as_often_as_said(
    kind: Kind, effect: float, se: float, df: float, margin: float, members: int
) -> None:
    """20,000 experiments, each judged by the rules themselves; Monte-Carlo error 0.0035 or less, 4 of them allowed."""
    rng = np.random.default_rng(11)
    estimates = rng.normal(effect, se, 20_000)
    errors = se * np.sqrt(rng.chisquare(df, 20_000) / df)
    c95, c90 = stats.t.isf(0.025 / members, df), stats.t.isf(0.05, df)
    rule = Rule(kind, margin)
    verdicts = [
        judge(rule, Evidence(e, (e - c95 * s, e + c95 * s), (e - c90 * s, e + c90 * s), members))
        for e, s in zip(estimates.tolist(), errors.tolist(), strict=True)
    ]
    exact = verdict_power(effect, se, df, margin, members, kind)
    for verdict, p in (("supported", exact.supported), ("refuted", exact.refuted), ("cannot tell", exact.cannot_tell)):
        error = math.sqrt(max(p * (1 - p), 1e-4) / 20_000)
        assert verdicts.count(verdict) / 20_000 == pytest.approx(float(p), abs=4 * error)


def test_verdict_power_in_closed_form() -> None:
    """With se known and no margin in reach, 'supported' is one tail; and what `power` gives is both tails."""
    known_se = verdict_power(0.3, 0.1, math.inf, 1e-6, 1, "directional")
    assert float(known_se.supported) == pytest.approx(stats.norm.cdf(3 - stats.norm.isf(0.025)), abs=1e-12)
    assert float(known_se.refuted) == pytest.approx(stats.norm.cdf(-3 - stats.norm.isf(0.025)), abs=1e-12)
    effects = np.array([0.0, 0.1, 0.5])
    unknown_se = verdict_power(effects, 0.1, 6, 1e-9, 3, "directional")
    np.testing.assert_allclose(
        unknown_se.supported + unknown_se.refuted, power(effects, 0.1, 6, 1 - 0.05 / 3), atol=1e-7
    )


def test_verdicts_add_up_and_settle_alike() -> None:
    """Over a wide table: three probabilities that add up to 1, and both kinds of claim undecided equally often."""
    rng = np.random.default_rng(2)
    effect, se = rng.normal(0, 0.3, (40, 25)), np.exp(rng.uniform(-5, 0, (40, 25)))
    df = np.exp(rng.uniform(-0.5, 9, 25))
    claim, null = (verdict_power(effect, se, df, MARGIN, 2, kind) for kind in ("directional", "null"))
    for found in (claim, null):
        total = np.stack([found.supported, found.refuted, found.cannot_tell])
        assert total.shape == (3, 40, 25)
        np.testing.assert_allclose(total.sum(axis=0), 1, atol=1e-12)
        assert total.min() >= 0
    np.testing.assert_allclose(claim.cannot_tell, null.cannot_tell, atol=1e-12)


def test_seeds_to_settle_by_hand() -> None:
    """With se known: effect 0.5, SE 0.3 at 5 seeds, no margin: 5 ((1.95996 + 0.84162) 0.3 / 0.5)^2 = 14.1, so 15.

    Effect 0, SE 0.1 at 5 seeds: 5% fall beyond 1.96 SE, so 75% must fall within 0.2 - 1.645 SE, which is
    0.2 = (1.64485 + 1.15035) SE, so 5 (0.1 / 0.071551)^2 = 9.77, so 10.
    """
    assert seeds_to_settle(0.5, known(0.3, 5), 1e-6) == 15
    assert seeds_to_settle(0.0, known(0.1, 5), MARGIN) == 10
    assert seeds_to_settle(0.0, known(0.1, 5), MARGIN, first=12) == 12
    assert seeds_to_settle(0.0, known(50.0, 5), MARGIN) is None


def test_estimating_the_error_costs_seeds() -> None:
    """The same two questions with t instead of normal quantiles never need fewer seeds."""
    for effect in (0.0, 0.1, 0.3, 0.5):
        normal = seeds_to_settle(effect, known(0.1, 5), MARGIN, 2)
        exact = seeds_to_settle(effect, two_sample(0.1 / math.sqrt(0.4)), MARGIN, 2)
        assert normal is not None
        assert exact is not None
        assert exact >= normal


def test_sigma_interval_equals_r() -> None:
    """R 4.2.2: 0.13 * sqrt(16 / qchisq(c(0.975, 0.025), 16))."""
    assert sigma_interval(0.13, 16) == pytest.approx((0.0968200787919, 0.197850763353), rel=1e-10)


def test_power_curve_and_its_band() -> None:
    """Rows hold the power at each n; the band's ends are the power at sigma's ends, the larger sigma below."""
    ratios = sigma_interval(1.0, 16)
    rows = power_curve(0.2, two_sample(0.13), (3, 5, 10), ratios)
    assert [row.seeds for row in rows] == [3, 5, 10]
    assert rows[1].power == pytest.approx(POWER_FROM_R[0][3], abs=1e-10)
    assert rows[1].detectable_pp == pytest.approx(0.26317711412, abs=1e-9)
    for row in rows:
        assert row.power_low < row.power < row.power_high
        assert row.power_low == pytest.approx(float(power(0.2, *two_sample(0.197850763353)(row.seeds))), abs=1e-9)
        assert row.power_high == pytest.approx(float(power(0.2, *two_sample(0.0968200787919)(row.seeds))), abs=1e-9)


def test_band_of_seeds_needed() -> None:
    """R 4.2.2: power.t.test(delta = 0.2, sd, power = 0.8, strict = TRUE)$n is 4.86, 7.72, 16.38 over the band."""
    low, high = sigma_interval(1.0, 16)
    band = [seeds_needed(0.2, scaled(two_sample(0.13), ratio)) for ratio in (low, 1.0, high)]
    assert band == [5, 8, 17]


def test_bad_input_is_named() -> None:
    """Margin 0, no hypotheses, a power no higher than a false alarm, and a precision without df: each a sentence."""
    with pytest.raises(ValueError, match="margin_pp must be above 0 pp, got 0"):
        verdict_power(0.1, 0.1, 8, 0, 1, "null")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        verdict_power(0.1, 0.1, 8, MARGIN, 0, "null")
    with pytest.raises(ValueError, match=r"between 0\.05 \(found without any effect\) and 1, got 0\.05"):
        smallest_detectable_pp(0.1, 8, 0.05)
    with pytest.raises(ValueError, match="wanted must lie between 0 and 1, got 80"):
        seeds_needed(0.2, two_sample(0.13), 80)
    with pytest.raises(
        ValueError, match=r"precision at 1 seeds a cell must be .* got 0\.18.* and 0\.0; start from more"
    ):
        seeds_needed(0.2, two_sample(0.13), first=1)
