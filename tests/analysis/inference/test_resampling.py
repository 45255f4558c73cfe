"""Permutation and bootstrap against enumeration by hand, closed forms and known coverage."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analysis.inference.resampling import RANDOM_ARRANGEMENTS, bootstrap, permutation_test

SMALLER = np.array([0.05, -0.10, 0.12, 0.02, -0.03])
LARGER = np.array([0.21, 0.08, 0.30, 0.16, 0.01])


def rng(seed: int = 1) -> np.random.Generator:
    """A fresh generator."""
    return np.random.default_rng(seed)


def enumerated(smaller: np.ndarray, larger: np.ndarray) -> float:
    """Share of all splits of the pooled units with a difference at least as far from 0."""
    pooled = np.concatenate([smaller, larger])
    observed = abs(larger.mean() - smaller.mean())
    hits = []
    for chosen in combinations(range(len(pooled)), len(larger)):
        mask = np.isin(np.arange(len(pooled)), chosen)
        hits.append(abs(pooled[mask].mean() - pooled[~mask].mean()) >= observed - 1e-12)
    return float(np.mean(hits))


@pytest.mark.parametrize(("smaller", "larger"), [(SMALLER, LARGER), (SMALLER[:3], LARGER), (SMALLER, LARGER[:2])])
def test_exact_p_equals_enumeration(smaller: np.ndarray, larger: np.ndarray) -> None:
    """Equal and unequal numbers of units, all splits listed by hand."""
    ours = permutation_test(smaller, larger, rng())
    assert ours.exact
    assert ours.mc_error == 0
    assert ours.p == pytest.approx(enumerated(smaller, larger))
    assert ours.difference_pp == pytest.approx(larger.mean() - smaller.mean())


def test_most_extreme_split() -> None:
    """No overlap with 5 + 5 units: 2 of 252 splits; with 2 + 2 no data could come below 1/3."""
    ours = permutation_test([1.0, 2, 3, 4, 5], [6.0, 7, 8, 9, 10], rng())
    assert (ours.p, ours.arrangements) == (pytest.approx(2 / 252), 252)
    assert ours.smallest_p == ours.p
    assert permutation_test([1.0, 2], [3.0, 4], rng()).p == pytest.approx(1 / 3)
    assert permutation_test([0.0, 1], [3.0, 4, 5], rng()).p == pytest.approx(0.1)


def test_equal_units_give_p_one() -> None:
    """Ties by rounding do not count as farther from 0 or nearer."""
    assert permutation_test([0.1, 0.1], [0.1, 0.1, 0.1], rng()).p == 1


def test_many_units_are_drawn_at_random() -> None:
    """C(20, 10) = 184,756 is too many: random splits, near the t test's p, and as said by their own error.

    Two generators differ by no more than their errors allow; the same generator gives the same p.
    """
    draws = rng(3)
    smaller, larger = draws.normal(0, 0.1, 10), draws.normal(0.05, 0.1, 10)
    first, again, other = (permutation_test(smaller, larger, rng(seed)) for seed in (1, 1, 2))
    assert not first.exact
    assert first.arrangements == RANDOM_ARRANGEMENTS
    assert first == again
    assert first.p != other.p
    assert abs(first.p - other.p) < 4 * np.hypot(first.mc_error, other.mc_error)
    assert first.mc_error == pytest.approx(np.sqrt(first.p * (1 - first.p) / 20_000))
    assert first.p == pytest.approx(stats.ttest_ind(larger, smaller).pvalue, abs=0.02)


def test_permutation_false_alarms() -> None:
    """Without a difference p <= 0.05 in at most 5% of data sets (1,000 of 4 + 4 units: 4 * 0.7 = 2.8% slack)."""
    draws = rng(5)
    p = [permutation_test(draws.normal(0, 1, 4), draws.normal(0, 1, 4), draws).p for _ in range(1000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(2 / 70, abs=4 * np.sqrt(2 / 70 / 1000))  # 0.029 attainable


def test_percentile_interval_in_a_large_sample() -> None:
    """With 400 units it is the normal interval, up to its Monte-Carlo error."""
    draws = rng(2)
    smaller, larger = draws.normal(0, 0.1, 400), draws.normal(0.05, 0.1, 400)
    ours = bootstrap(smaller, larger, rng())
    half = 1.96 * np.sqrt(smaller.var() / 400 + larger.var() / 400)
    expected = ours.difference_pp - half, ours.difference_pp + half
    assert (ours.percentile_low_pp, ours.percentile_high_pp) == pytest.approx(expected, abs=0.05 * half)
    assert (ours.bca_low_pp, ours.bca_high_pp) == pytest.approx(expected, abs=0.08 * half)


def test_bca_moves_with_skewness() -> None:
    """On skewed units it lies further out on the long side than the percentile interval; on these it is no copy."""
    skewed = np.array([0.0, 0.01, 0.02, 0.02, 0.03, 0.04, 0.5, 0.9])
    ours = bootstrap(np.linspace(0, 0.01, 8), skewed, rng())
    assert ours.bca_high_pp > ours.percentile_high_pp
    assert ours.bca_low_pp > ours.percentile_low_pp


def test_too_narrow_with_five_units() -> None:
    """The docstring's warning: about 88% covered where 95% is said, 0.76 of the width of the t interval.

    400 data sets: Monte-Carlo error 1.6% on coverage.
    """
    draws = rng(7)
    covered, ratios = [], []
    for _ in range(400):
        smaller, larger = draws.normal(0, 0.1, 5), draws.normal(0, 0.1, 5)
        ours = bootstrap(smaller, larger, draws)
        covered.append(ours.bca_low_pp < 0 < ours.bca_high_pp)
        t = stats.ttest_ind(larger, smaller).confidence_interval(0.95)
        ratios.append((ours.percentile_high_pp - ours.percentile_low_pp) / (t.high - t.low))
    assert np.mean(covered) == pytest.approx(0.885, abs=0.05)
    assert np.mean(covered) < 0.92
    assert np.median(ratios) == pytest.approx(0.76, abs=0.02)


def test_bootstrap_is_the_generators() -> None:
    """The same generator gives the same interval to the last digit, another one not; a wider level is wider."""
    assert bootstrap(SMALLER, LARGER, rng()) == bootstrap(SMALLER, LARGER, rng())
    ours, other = bootstrap(SMALLER, LARGER, rng()), bootstrap(SMALLER, LARGER, rng(2))
    assert ours != other
    wide = bootstrap(SMALLER, LARGER, rng(), level=0.99)
    assert wide.percentile_low_pp < ours.percentile_low_pp < ours.percentile_high_pp < wide.percentile_high_pp


@pytest.mark.parametrize("units", [[0.1], [0.1, float("nan")], [[0.1, 0.2]]])
def test_bad_units_are_named(units: list[float]) -> None:
    """One unit, a missing one, a table: refused by both, with the student's role."""
    with pytest.raises(ValueError, match="the larger student's gains must be 2 or more finite numbers"):
        permutation_test(SMALLER, units, rng())
    with pytest.raises(ValueError, match="the smaller student's gains"):
        bootstrap(units, LARGER, rng())


def test_nothing_to_resample() -> None:
    """Units that do not differ at all are refused in words; one constant student is not."""
    with pytest.raises(ValueError, match=r"all gains of each student are equal \(0\.1 and 0\.2 pp\)"):
        bootstrap([0.1, 0.1], [0.2, 0.2], rng())
    ours = bootstrap(SMALLER, [0.1, 0.1, 0.1], rng())
    assert ours.percentile_low_pp < ours.difference_pp < ours.percentile_high_pp
