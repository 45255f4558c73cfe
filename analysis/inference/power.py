"""Planning: what an experiment of n seeds a cell would show, exactly, and how many seeds show enough.

One assumption throughout: estimate ~ N(effect, se^2), and independently of it the estimated standard error is
se * sqrt(chi2(df) / df). It holds exactly in a balanced design with one error stratum; elsewhere it is what
Kenward-Roger and Satterthwaite degrees of freedom approximate. The standard error is never taken as known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from analysis.inference import student_t

Floats = NDArray[np.float64]
Kind = Literal["directional", "null"]

Precision = Callable[[int], tuple[float, float]]
"""Seeds a cell -> (standard error in pp, degrees of freedom) of a contrast, under given variances."""

WANTED = 0.8  # Cohen, Statistical power analysis for the behavioral sciences, 2nd edition 1988, p. 56
MOST_SEEDS = 10_000
_ALPHA = 0.05
_EACH = 64  # up to here every number of seeds is tried, beyond it steps of 1/32 or less


def power(effect_pp: ArrayLike, se: ArrayLike, df: ArrayLike, level: float = 0.95) -> Floats:
    """Probability that the two-sided t interval at `level` excludes 0; arguments broadcast.

    Args:
        effect_pp: True effect.
        se: Its true standard error, pp, above 0.
        df: Degrees of freedom of the estimated standard error.
        level: Of the interval, 0 to 1; 1 - 0.05 / m for the first step of Holm's correction over m hypotheses.
    """
    effect, se, df = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(effect_pp, se, df))
    critical = stats.t.isf((1 - level) / 2, df)
    return student_t.sf(critical, df, effect / se) + student_t.cdf(-critical, df, effect / se)


def smallest_detectable_pp(se: float, df: float, wanted: float = WANTED, level: float = 0.95) -> float:
    """The true effect (above 0, pp) that is found with probability `wanted`; it is found either way round.

    Args:
        se: Standard error, pp.
        df: Degrees of freedom.
        wanted: Power, above 1 - level and below 1.
        level: As in `power`.
    """
    if not 1 - level < wanted < 1:
        raise ValueError(f"power must lie between {1 - level:g} (found without any effect) and 1, got {wanted}")

    def excess(ratio: float) -> float:
        return float(power(ratio, 1.0, df, level)) - wanted

    reach = 4.0
    while excess(reach) < 0:
        reach *= 2
    return se * float(optimize.brentq(excess, 0.0, reach, xtol=1e-12, rtol=1e-12))


@dataclass(frozen=True)
class VerdictPower:
    """Probability of each verdict; the three add up to 1."""

    supported: Floats
    refuted: Floats
    cannot_tell: Floats


def verdict_power(
    effect_pp: ArrayLike, se: ArrayLike, df: ArrayLike, margin_pp: float, members: int, kind: Kind
) -> VerdictPower:
    """Exact probability of each verdict under the rules of `analysis.claims.verdict`; arguments broadcast.

    Given the estimated standard error s the verdict depends on where the estimate e falls: beyond c s on either
    side (95% interval excludes 0), or within w = margin - c90 s (90% interval inside the margin). These are normal
    probabilities; they are then averaged over s. No verdict falls where |e| is between w and c s: the two kinds
    of claim are settled by the same data.

    Args:
        effect_pp: True effect, positive in the claimed direction.
        se: True standard error, pp, above 0.
        df: Degrees of freedom.
        margin_pp: Smallest difference that matters, pp, above 0.
        members: Hypotheses that share the 5% at the first step of Holm's correction. Later steps, reached if a
            sibling is significant, have narrower intervals: a verdict may then be likelier than said here.
        kind: `directional` or `null`.
    """
    _check_margin(margin_pp)
    if members < 1:
        raise ValueError(f"members counts the hypotheses of a family, at least 1, got {members}")
    effect, se, df = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(effect_pp, se, df))
    delta, margin = effect / se, margin_pp / se  # all in units of the true standard error
    c, c90 = stats.t.isf(_ALPHA / 2 / members, df), stats.t.isf(_ALPHA, df)

    def parts(u: Floats) -> Floats:
        centre, beyond = delta[..., None], c[..., None] * u
        within = np.maximum(margin[..., None] - c90[..., None] * u, 0.0)
        neither = np.minimum(within, beyond)
        return np.stack(
            [
                special.ndtr(centre - beyond),
                special.ndtr(-centre - beyond),
                special.ndtr(within - centre) - special.ndtr(-within - centre),
                special.ndtr(neither - centre) - special.ndtr(-neither - centre),
            ]
        )

    kinks = [margin / c90, margin / (c + c90)]
    climbs = [(delta, c), (-delta, c), (margin - delta, c90), (margin + delta, c90)]
    breaks = [*kinks, *(edge for centre, slope in climbs for edge in student_t.steep(centre, slope))]
    above, below, small, small_and_not_beyond = student_t.chi_expectation(parts, df, breaks)
    settled = above + below + small_and_not_beyond
    supported = above if kind == "directional" else small
    return VerdictPower(supported, np.maximum(settled - supported, 0.0), np.maximum(1 - settled, 0.0))


def at_least_settled(
    effect_pp: ArrayLike, se: ArrayLike, df: ArrayLike, margin_pp: float, threshold_pp: float, members: int
) -> Floats:
    """Probability that an `at least` claim gets a verdict; arguments broadcast.

    Supported: the 90% interval stays above threshold - margin. Refuted: the 95% interval (at the first step of Holm's
    correction) stays below the threshold. With a small enough standard error one or the other always holds.

    Args:
        effect_pp: True effect.
        se: True standard error, pp, above 0.
        df: Degrees of freedom.
        margin_pp: Smallest difference that matters, pp, above 0.
        threshold_pp: What the effect is held against.
        members: As in `verdict_power`.
    """
    _check_margin(margin_pp)
    effect, se, df = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(effect_pp, se, df))
    delta, margin = (effect - threshold_pp) / se, margin_pp / se
    c, c90 = stats.t.isf(_ALPHA / 2 / members, df), stats.t.isf(_ALPHA, df)

    def either(u: Floats) -> Floats:
        clears = special.ndtr(delta[..., None] + margin[..., None] - c90[..., None] * u)
        below = special.ndtr(-delta[..., None] - c[..., None] * u)
        return np.where((c + c90)[..., None] * u < margin[..., None], 1.0, clears + below)

    climbs = [(delta + margin, c90), (-delta, c)]
    breaks = [margin / (c + c90), *(edge for centre, slope in climbs for edge in student_t.steep(centre, slope))]
    return student_t.chi_expectation(either, df, breaks)


def seeds_needed(
    effect_pp: float, precision: Precision, wanted: float = WANTED, level: float = 0.95, first: int = 2
) -> int | None:
    """Smallest number of seeds a cell, from `first` on, with which `effect_pp` is found with probability `wanted`.

    Returns:
        The number, or None if `MOST_SEEDS` would not do.
    """
    return fewest(lambda se, df: power(effect_pp, se, df, level), precision, wanted, first)


def seeds_to_settle(
    effect_pp: float, precision: Precision, margin_pp: float, members: int = 1, wanted: float = WANTED, first: int = 2
) -> int | None:
    """Smallest number of seeds a cell that gives a verdict with probability `wanted` if the truth is `effect_pp`.

    Any verdict but `cannot tell`; it is the same number for both kinds of claim (see `verdict_power`).

    Returns:
        The number, or None if `MOST_SEEDS` would not do.
    """
    _check_margin(margin_pp)

    def settled(se: Floats, df: Floats) -> Floats:
        return 1 - verdict_power(effect_pp, se, df, margin_pp, members, "directional").cannot_tell

    return fewest(settled, precision, wanted, first)


def fewest(
    probability: Callable[[Floats, Floats], Floats], precision: Precision, wanted: float = WANTED, first: int = 2
) -> int | None:
    """Smallest number of seeds a cell, from `first` to `MOST_SEEDS`, whose probability reaches `wanted`, or None.

    The probability need not grow with seeds. Where a variance that seeds do not average away (the teachers')
    comes to dominate the standard error, its few degrees of freedom do too: the critical value rises faster than
    the standard error falls, and power drops. Large families do the same to a verdict on a smaller scale. Bisection
    could then miss the first crossing, or all. So: upwards through every number to `_EACH`, then in steps of at
    most 1/32, and through every number of the first step that reaches `wanted`. Missed is only a rise above it
    that is gone again within one step, in which the standard error changes by 1.6% at most.

    Args:
        probability: Of what is hoped for, at arrays of standard errors and degrees of freedom.
        precision: Of the contrast.
        wanted: 0 to 1, both excluded.
        first: Smallest number that has a standard error.
    """
    if not 0 < wanted < 1:
        raise ValueError(f"the probability wanted must lie between 0 and 1, got {wanted}")

    def first_of(seeds: NDArray[np.int64]) -> int | None:
        se, df = np.array([_checked(precision, int(n)) for n in seeds]).T
        hits = np.flatnonzero(probability(se, df) >= wanted)
        return int(hits[0]) if len(hits) else None

    tried = first - 1
    while tried < MOST_SEEDS:
        step = max(1, 2 * tried // _EACH)
        end = min(max(2 * tried, _EACH // 4), MOST_SEEDS)
        block = np.append(np.arange(tried + step, end, step), end)
        hit = first_of(block)
        if hit is not None:
            between = np.arange((block[hit - 1] if hit else tried) + 1, block[hit])
            earlier = first_of(between) if len(between) else None
            return int(block[hit] if earlier is None else between[earlier])
        tried = end
    return None


def sigma_interval(sigma: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Equal-tailed chi-square interval of a standard deviation, in its own unit.

    df s^2 / sigma^2 ~ chi2(df): Snedecor and Cochran, Statistical methods, 8th edition 1989, chapter 5. It serves
    a contrast's standard error as well, with the contrast's df.
    """
    tail = (1 - level) / 2
    return sigma * float(np.sqrt(df / stats.chi2.isf(tail, df))), sigma * float(np.sqrt(df / stats.chi2.ppf(tail, df)))


def scaled(precision: Precision, ratio: float) -> Precision:
    """The precision if every standard deviation were `ratio` times the fitted one: the band of any number of seeds.

    With `ratio` an end of `sigma_interval(1.0, df)`: seeds_needed(effect_pp, scaled(precision, ratio)).
    """

    def rescaled(seeds: int) -> tuple[float, float]:
        se, df = precision(seeds)
        return se * ratio, df

    return rescaled


@dataclass(frozen=True)
class PowerRow:
    """Power of an experiment, and what not knowing sigma makes of it.

    Attributes:
        seeds: Seeds a cell.
        se_pp: Standard error under the fitted variances.
        df: Degrees of freedom.
        power: Probability that the effect is found (0 to 1).
        power_low: The same at the upper end of sigma's interval.
        power_high: The same at its lower end.
        detectable_pp: Effect found with probability 0.8 under the fitted variances.
    """

    seeds: int
    se_pp: float
    df: float
    power: float
    power_low: float
    power_high: float
    detectable_pp: float


def power_curve(
    effect_pp: float, precision: Precision, seeds: Sequence[int], ratios: tuple[float, float], level: float = 0.95
) -> tuple[PowerRow, ...]:
    """Power at each number of seeds.

    Args:
        effect_pp: True effect.
        precision: Of the contrast.
        seeds: Numbers of seeds a cell.
        ratios: Ends of sigma's interval over sigma, lower first: `sigma_interval(1.0, df)`.
        level: As in `power`.
    """
    rows = []
    for n in seeds:
        se, df = _checked(precision, n)
        high, middle, low = (float(power(effect_pp, se * ratio, df, level)) for ratio in (ratios[0], 1.0, ratios[1]))
        rows.append(PowerRow(n, se, df, middle, low, high, smallest_detectable_pp(se, df, WANTED, level)))
    return tuple(rows)


def _checked(precision: Precision, seeds: int) -> tuple[float, float]:
    se, df = precision(seeds)
    if not (se > 0 and df > 0):
        raise ValueError(
            f"precision at {seeds} seeds a cell must be a standard error and degrees of freedom above 0, got "
            f"{se} and {df}; start from more seeds, or check the variances that it rests on"
        )
    return se, df


def _check_margin(margin_pp: float) -> None:
    if not margin_pp > 0:
        raise ValueError(f"margin_pp must be above 0 pp, got {margin_pp}: with no margin nothing is equivalent")
