"""Is a new study's table of runs a replicate of a reference? The statistics of `harness verify`.

Differences of cell means are judged with the covariance of `analysis.replication.spread`, both of its variances
estimated from the reference only: a study must not widen its own interval by being noisy.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from analysis.replication.spread import Floats, Layout, Spread, Weights, spread, weights

SEED_LIMIT = 1000  # beyond a thousand seeds a cell, "more seeds" is no advice


@dataclass(frozen=True)
class Rule:
    """What a reference promises to call a difference: margin and errors, fixed before any study is judged.

    Attributes:
        margin_pp: Half width of equivalence, for each cell.
        alpha_cells: Error of all cells together.
        alpha_shift: Error of the mean shift.
        alpha_spread: Error of the spread ratio.
        between_study_sd_pp: Assumed sd of a cell's true mean from study to study (another teacher checkpoint,
            other hyperparameters); both studies carry it, so a difference has twice its variance.
    """

    margin_pp: float
    alpha_cells: float
    alpha_shift: float
    alpha_spread: float
    between_study_sd_pp: float

    @property
    def alpha(self) -> float:
        """The error of a FAIL in all; also the level of each of the two one-sided tests of a PASS."""
        return self.alpha_cells + self.alpha_shift + self.alpha_spread


@dataclass(frozen=True)
class Judgement:
    """Cells (last axis) and their mean shift, judged. Half widths make intervals around the differences.

    Attributes:
        difference_pp: New cell mean minus the reference's.
        family_half_pp: Half width of a cell's interval at the family's error; beyond it is FAIL.
        equivalence_half_pp: Half width of a cell's 1 - 2 alpha interval; all of it inside the margin is PASS.
        shift_pp: Mean of the differences.
        shift_half_pp: Half width of its interval.
        cell_fails: Per cell.
        cell_passes: Per cell, and never together with a fail.
        shift_fails: Of the mean shift.
    """

    difference_pp: Floats
    family_half_pp: Floats
    equivalence_half_pp: Floats
    shift_pp: Floats
    shift_half_pp: Floats
    cell_fails: NDArray[np.bool_]
    cell_passes: NDArray[np.bool_]
    shift_fails: NDArray[np.bool_]

    @property
    def fails(self) -> NDArray[np.bool_]:
        """Whether any cell, or the mean shift, differs."""
        return np.asarray(self.cell_fails.any(axis=-1) | self.shift_fails)

    @property
    def passes(self) -> NDArray[np.bool_]:
        """Whether every cell is equivalent and nothing differs."""
        return np.asarray(self.cell_passes.all(axis=-1) & ~self.fails)


def family_level(alpha: float, members: int) -> float:
    """Level of each of `members` two-sided tests so that all together err with at most `alpha`.

    Sidak (JASA 62, 1967, 626-633): holds for normal estimates whatever their correlation, and for t
    statistics with a common denominator.
    """
    return -math.expm1(math.log1p(-alpha) / members)


def _half(level: float, se: Floats, df: Floats) -> Floats:
    return np.asarray(stats.t.ppf(1 - level / 2, df) * se)


def judge(difference_pp: Floats, both: Weights, reference: Spread, rule: Rule) -> Judgement:
    """Judge differences of cell means.

    FAIL: two-sided t tests, Sidak over cells, and one of the mean shift. PASS of a cell: two one-sided tests
    (Schuirmann, J Pharmacokin Biopharm 15, 1987, 657-680), which need no correction where all must pass
    (Berger, Technometrics 24, 1982, 295-300).

    Args:
        difference_pp: New minus reference, cells on the last axis.
        both: Weights of the new study plus those of the reference.
        reference: Spread of the reference's runs.
        rule: The reference's rule.
    """
    cells = difference_pp.shape[-1]
    between = 2 * rule.between_study_sd_pp**2
    se, df = reference.standard_error(both.noise, np.diag(both.seed), between)
    noise, seed = _mean_weights(both)
    shift_se, shift_df = reference.standard_error(noise, seed, between / cells)
    family = _half(family_level(rule.alpha_cells, cells), se, df)
    equivalence = _half(2 * rule.alpha, se, df)
    shift = difference_pp.mean(axis=-1)
    shift_half = _half(rule.alpha_shift, shift_se, shift_df)[..., 0]
    fails = np.abs(difference_pp) > family
    return Judgement(
        difference_pp=difference_pp,
        family_half_pp=family,
        equivalence_half_pp=equivalence,
        shift_pp=shift,
        shift_half_pp=shift_half,
        cell_fails=fails,
        cell_passes=(np.abs(difference_pp) + equivalence < rule.margin_pp) & ~fails,
        shift_fails=np.asarray(np.abs(shift) > shift_half),
    )


def _mean_weights(both: Weights) -> tuple[Floats, Floats]:
    """Weights of the mean over all cells, as arrays of one combination."""
    cells = both.noise.size
    return np.array([both.noise.sum() / cells**2]), np.array([both.seed.sum() / cells**2])


def excusing_sd_pp(judgement: Judgement, both: Weights, reference: Spread, rule: Rule) -> float:
    """The between-study sd, pp, from which on neither cells nor mean shift of one judged study would FAIL.

    It is the total that would have to be assumed in place of the rule's; 0 where nothing fails.
    """
    cells = judgement.difference_pp.size
    level = family_level(rule.alpha_cells, cells)
    tests = [
        (abs(float(judgement.difference_pp[c])), both.noise[[c]], both.seed[c, [c]], 2.0, level)
        for c in np.flatnonzero(judgement.cell_fails)
    ]
    if judgement.shift_fails:
        tests.append((abs(float(judgement.shift_pp)), *_mean_weights(both), 2.0 / cells, rule.alpha_shift))

    def ceases(size: float, noise: Floats, seed: Floats, share: float, level: float) -> float:
        def excess(sd: float) -> float:
            return size - float(_half(level, *reference.standard_error(noise, seed, share * sd**2))[0])

        # at the upper end the assumed variance alone equals the squared difference, and t exceeds 1
        return float(optimize.brentq(excess, 0.0, size / math.sqrt(share)))

    return max((ceases(*test) for test in tests), default=0.0)


@dataclass(frozen=True)
class SpreadRatio:
    """Variance of runs within seed groups, new over reference, with its interval."""

    ratio: Floats
    low: Floats
    high: Floats

    @property
    def fails(self) -> NDArray[np.bool_]:
        """Whether 1 lies outside the interval; too little spread is as strange as too much."""
        return np.asarray((self.low > 1.0) | (self.high < 1.0))


def spread_ratio(y_pct: Floats, layout: Layout, reference: Spread, alpha: float) -> SpreadRatio | None:
    """Compare a new study's spread with the reference's by the F interval of a ratio of variances.

    Returns:
        The ratio, or None where the runs of either leave no degree of freedom within seed groups.
    """
    new = spread(y_pct, layout) if layout.cell.size > layout.cell.max() + 1 else None
    if new is None or not (new.df_within and reference.df_within):
        return None
    ratio = new.ms_within / reference.ms_within
    high, low = stats.f.ppf([alpha / 2, 1 - alpha / 2], new.df_within, reference.df_within)
    return SpreadRatio(np.asarray(ratio), np.asarray(ratio / low), np.asarray(ratio / high))


def seeds_to_decide(
    difference_pp: Floats, student: NDArray[Any], of_reference: Weights, reference: Spread, rule: Rule
) -> int | None:
    """Seeds a cell of the new study that would end in PASS or FAIL, if the differences stayed as they are.

    An approximation: more seeds also move the differences. None where `SEED_LIMIT` would not do, since the
    reference's own seeds are too few.

    Args:
        difference_pp: Observed differences of one study.
        student: Student of each cell; a student's cells share seeds.
        of_reference: Weights of the reference's cell means.
        reference: Spread of the reference's runs.
        rule: The reference's rule.
    """
    same = np.equal.outer(student, student).astype(float)

    def decided(seeds: int) -> bool:
        new = Weights(np.full(difference_pp.size, 1.0 / seeds), same / seeds)
        judgement = judge(difference_pp, new + of_reference, reference, rule)
        return bool(judgement.fails | judgement.passes)

    found = bisect_left(range(1, SEED_LIMIT + 1), True, key=decided) + 1
    return found if found <= SEED_LIMIT else None


def replicate_margin_pp(layout: Layout, reference: Spread, rule: Rule, pass_probability: float) -> float:
    """Smallest margin, in steps of 0.1 pp, at which an exact replicate passes with the given probability.

    A replicate (same layout, independent seeds, equal means) passes if each cell's difference d keeps
    |d| + t(1 - alpha) se < margin and nothing fails. With share = 1 - pass_probability - alpha_shift -
    alpha_spread, all cells keep |d| < t(1 - level / 2) se, level = `family_level(share)`, with probability at
    least 1 - share; and none of these fails, as long as share exceeds alpha_cells. By the union bound the
    margin is then the largest of se (t(1 - alpha) + t(1 - level / 2)).

    Args:
        layout: Layout of the reference's runs.
        reference: Their spread.
        rule: Errors and between-study sd; its margin is not used.
        pass_probability: Above 0 and below 1 - alpha, which no margin can reach.

    Raises:
        ValueError: No margin reaches that probability.
    """
    share = 1 - pass_probability - rule.alpha_shift - rule.alpha_spread
    if not 0 < pass_probability < 1 - rule.alpha:
        raise ValueError(f"pass probability must lie between 0 and {1 - rule.alpha:g}, got {pass_probability:g}")
    one = weights(layout)
    both = one + one
    se, df = reference.standard_error(both.noise, np.diag(both.seed), 2 * rule.between_study_sd_pp**2)
    needed = _half(2 * rule.alpha, se, df) + _half(family_level(share, se.size), se, df)
    return math.ceil(float(needed.max()) * 10 - 1e-9) / 10
