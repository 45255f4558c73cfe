"""Permutation and bootstrap on gains, one unit a student and seed: what is left without a normal model.

A unit is the mean gain of one student and seed over the student's teachers: runs that share a baseline are not
independent, units are. They are few, so both methods are shown beside the model, not instead of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

MOST_EXACT = 20_000  # arrangements; up to here all of them are enumerated
RANDOM_ARRANGEMENTS = 20_000  # Monte-Carlo error of a p value of 0.05: 0.0015
RESAMPLES = 9_999  # of the bootstrap; (resamples + 1) * 0.025 is an integer
FEWEST = 2  # units a student
_SAME_DIGITS = 9  # decimals of a difference; beyond them is rounding


@dataclass(frozen=True)
class PermutationTest:
    """Test that two students gain equally.

    Attributes:
        difference_pp: Mean gain of the larger student less that of the smaller.
        p: Two-sided p value: share of arrangements whose difference is at least as far from 0 as this one's.
        arrangements: Number of them, the observed one counted.
        exact: Whether these are all there are.
        mc_error: Standard error of p from drawing arrangements; 0 where exact.
        smallest_p: The least p that this many units can give: above 0.05, no data could reject.
    """

    difference_pp: float
    p: float
    arrangements: int
    exact: bool
    mc_error: float
    smallest_p: float


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap intervals of the difference between two students' mean gains.

    Attributes:
        difference_pp: Mean gain of the larger student less that of the smaller.
        level: Nominal coverage.
        percentile_low_pp: Percentile interval.
        percentile_high_pp: Its upper end.
        bca_low_pp: Bias-corrected and accelerated interval (Efron, JASA 82, 1987, 171-185).
        bca_high_pp: Its upper end.
        resamples: Number of resamples.
    """

    difference_pp: float
    level: float
    percentile_low_pp: float
    percentile_high_pp: float
    bca_low_pp: float
    bca_high_pp: float
    resamples: int


def permutation_test(smaller_pp: ArrayLike, larger_pp: ArrayLike, rng: np.random.Generator) -> PermutationTest:
    """Test equal gains by exchanging units between the students.

    Exact if, without a difference, the units of both students are exchangeable, so have one distribution and not
    only one mean.

    Args:
        smaller_pp: Gains of the smaller student's units, one-dimensional.
        larger_pp: Gains of the larger student's.
        rng: Used only beyond `MOST_EXACT` arrangements.
    """
    smaller, larger = _units(smaller_pp, "smaller"), _units(larger_pp, "larger")
    possible = math.comb(len(smaller) + len(larger), len(larger))
    exact = possible <= MOST_EXACT
    result = stats.permutation_test(
        (larger, smaller),
        # two-sided by distance from 0; scipy's doubles a tail. Rounded: accuracies on one test set tie, and sums of
        # the same gains in another order must not come out further away, or nearer, by their last digit
        lambda a, b, axis: np.abs(_difference(a, b, axis)).round(_SAME_DIGITS),
        n_resamples=np.inf if exact else RANDOM_ARRANGEMENTS - 1,
        batch=1_000,
        alternative="greater",
        rng=rng,
    )
    p = float(result.pvalue)
    mirrored = 2 if len(smaller) == len(larger) else 1  # with equal numbers each arrangement has one as extreme
    return PermutationTest(
        difference_pp=float(larger.mean() - smaller.mean()),
        p=p,
        arrangements=possible if exact else RANDOM_ARRANGEMENTS,
        exact=exact,
        mc_error=0.0 if exact else math.sqrt(p * (1 - p) / RANDOM_ARRANGEMENTS),
        smallest_p=mirrored / possible if exact else 1 / RANDOM_ARRANGEMENTS,
    )


def bootstrap(smaller_pp: ArrayLike, larger_pp: ArrayLike, rng: np.random.Generator, level: float = 0.95) -> Bootstrap:
    """Percentile and BCa intervals of the moderation difference. Too narrow with few units: not for a verdict.

    Resampled units have the variance of the sample with divisor n, which is (n - 1) / n of the unbiased one, and the
    quantiles of the result are near the normal ones where the t quantiles of 2n - 2 degrees of freedom are due. With
    five units a student both together make the interval sqrt(4 / 5) * 1.96 / 2.31 = 0.76 of the t interval, and a
    nominal 95% covers 88% (P(|t8| < 0.76 * 2.31); 4,000 simulated normal samples: 88.6% percentile and BCa, standard
    error 0.5). BCa corrects bias and skewness, not this narrowness (Hesterberg, Am Stat 69, 2015, 371-386).

    Args:
        smaller_pp: Gains of the smaller student's units, one-dimensional.
        larger_pp: Gains of the larger student's.
        rng: Draws the resamples; both intervals come from the same ones.
        level: Nominal coverage, 0 to 1.
    """
    smaller, larger = _units(smaller_pp, "smaller"), _units(larger_pp, "larger")
    if np.ptp(smaller) == 0 and np.ptp(larger) == 0:
        raise ValueError(
            "a bootstrap needs units that differ, but all gains of each student are equal "
            f"({smaller[0]:g} and {larger[0]:g} pp); look for copied runs"
        )
    options = {"confidence_level": level, "n_resamples": RESAMPLES, "vectorized": True}
    first = stats.bootstrap((larger, smaller), _difference, method="percentile", rng=rng, **options)
    # no new draws: BCa from the same resamples
    second = stats.bootstrap(
        (larger, smaller), _difference, method="BCa", bootstrap_result=first, **{**options, "n_resamples": 0}
    )
    return Bootstrap(
        difference_pp=float(larger.mean() - smaller.mean()),
        level=level,
        percentile_low_pp=float(first.confidence_interval.low),
        percentile_high_pp=float(first.confidence_interval.high),
        bca_low_pp=float(second.confidence_interval.low),
        bca_high_pp=float(second.confidence_interval.high),
        resamples=RESAMPLES,
    )


def _difference(larger: Floats, smaller: Floats, axis: int) -> Floats:
    return np.asarray(larger.mean(axis=axis) - smaller.mean(axis=axis))


def _units(gains_pp: ArrayLike, student: str) -> Floats:
    units = np.asarray(gains_pp, dtype=float)
    if units.ndim != 1 or len(units) < FEWEST or not np.isfinite(units).all():
        raise ValueError(
            f"the {student} student's gains must be {FEWEST} or more finite numbers in pp, one a seed, got "
            f"{units.tolist()}; add seeds or leave the resampling out"
        )
    return units
