"""Is a new study's table of runs a replicate of a reference? The statistics of `harness verify`.

Differences of cell means, and of combinations of them (gains, interactions), are judged with the covariance of
`analysis.replication.spread`, both of its variances estimated from the reference only: a study must not widen its own
interval by being noisy. Values are in the unit of the response (percentage points, nats).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from analysis.replication.spread import Floats, Layout, Spread, Weights, spread, weights

SEED_LIMIT = 1000  # beyond a thousand seeds a cell, "more seeds" is no advice
FLAT = 1e-12  # of the mean square between seed groups: below it, what is within them is rounding
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """What a reference promises to call a difference: margin and errors, fixed before any study is judged.

    Attributes:
        margin: Half width of equivalence, for each member of the family, in the response's unit.
        alpha_members: Error of all members together.
        alpha_shift: Error of their mean shift; 0 where it is not tested.
        alpha_spread: Error of the spread ratio; 0 where it is not tested.
        alpha_pass: Level of each of the two one-sided tests of a PASS.
        between_study_sd: Assumed sd of a cell's true mean from study to study (another teacher checkpoint,
            other hyperparameters); both studies carry it, so a difference has twice its variance.
    """

    margin: float
    alpha_members: float
    alpha_shift: float = 0.0
    alpha_spread: float = 0.0
    _: KW_ONLY
    alpha_pass: float = 0.05
    between_study_sd: float = 0.0

    @property
    def alpha(self) -> float:
        """The error of a FAIL in all."""
        return self.alpha_members + self.alpha_shift + self.alpha_spread


@dataclass(frozen=True)
class Judgement:
    """Members of a family (last axis) and their mean shift, judged. Half widths make intervals around the differences.

    Attributes:
        difference: New value minus the reference's, a member.
        family_half: Half width of a member's interval at the family's error; beyond it is FAIL.
        equivalence_half: Half width of a member's 1 - 2 alpha interval; all of it inside the margin is PASS.
        shift: Mean of the differences.
        shift_half: Half width of its interval; infinite where the rule does not test it.
        member_fails: Per member.
        member_passes: Per member, and never together with a fail.
        shift_fails: Of the mean shift.
    """

    difference: Floats
    family_half: Floats
    equivalence_half: Floats
    shift: Floats
    shift_half: Floats
    member_fails: Bools
    member_passes: Bools
    shift_fails: Bools

    @property
    def fails(self) -> Bools:
        """Whether any member, or the mean shift, differs."""
        return np.asarray(self.member_fails.any(axis=-1) | self.shift_fails)

    @property
    def passes(self) -> Bools:
        """Whether every member is equivalent and nothing differs."""
        return np.asarray(self.member_passes.all(axis=-1) & ~self.fails)


def family_level(alpha: float, members: int) -> float:
    """Level of each of `members` two-sided tests so that all together err with at most `alpha`.

    Sidak (JASA 62, 1967, 626-633): holds for normal estimates whatever their correlation, and for t
    statistics with a common denominator.
    """
    return -math.expm1(math.log1p(-alpha) / members)


def _half(level: float, combinations: Floats, both: Weights, reference: Spread, between_study_sd: float) -> Floats:
    """Half width of the interval of each combination of differences of cell means.

    Never below that without a between-study variance: such a variance is known, so it raises the degrees of freedom,
    and where these are few the interval would shrink as more were assumed.
    """
    noise, seed = both.of(combinations)
    between = 2 * (combinations**2).sum(axis=-1)

    def at(sd: float) -> Floats:
        se, df = reference.standard_error(noise, seed, between * sd**2)
        return np.asarray(stats.t.ppf(1 - level / 2, df) * se)

    return np.maximum(at(between_study_sd), at(0.0)) if between_study_sd else at(0.0)


def judge(
    cell_difference: Floats, both: Weights, reference: Spread, rule: Rule, combinations: Floats | None = None
) -> Judgement:
    """Judge differences of cell means, or of combinations of them.

    FAIL: two-sided t tests, Sidak over the members, and one of the mean shift. PASS of a member: two one-sided tests
    (Schuirmann, J Pharmacokin Biopharm 15, 1987, 657-680), which need no correction where all must pass
    (Berger, Technometrics 24, 1982, 295-300).

    Args:
        cell_difference: New minus reference, cells on the last axis.
        both: Weights of the new study plus those of the reference.
        reference: Spread of the reference's runs.
        rule: The reference's rule.
        combinations: Members x cells, a member's coefficients on the cell means; None where the cells are the members.
    """
    chosen = np.eye(cell_difference.shape[-1]) if combinations is None else combinations
    spread_of = both, reference, rule.between_study_sd
    family = _half(family_level(rule.alpha_members, len(chosen)), chosen, *spread_of)
    equivalence = _half(2 * rule.alpha_pass, chosen, *spread_of)
    difference = cell_difference @ chosen.T
    shift = difference.mean(axis=-1)
    shift_half = _half(rule.alpha_shift, chosen.mean(axis=0, keepdims=True), *spread_of)[..., 0]
    fails = np.abs(difference) > family
    return Judgement(
        difference=difference,
        family_half=family,
        equivalence_half=equivalence,
        shift=shift,
        shift_half=shift_half,
        member_fails=fails,
        member_passes=(np.abs(difference) + equivalence < rule.margin) & ~fails,
        shift_fails=np.asarray(np.abs(shift) > shift_half),
    )


def excusing_sd(
    judgement: Judgement, both: Weights, reference: Spread, rule: Rule, combinations: Floats | None = None
) -> float:
    """The between-study sd from which on neither members nor mean shift of one judged study would FAIL.

    It is the total that would have to be assumed in place of the rule's; 0 where nothing fails.
    """
    chosen = np.eye(both.noise.size) if combinations is None else combinations
    level = family_level(rule.alpha_members, len(chosen))
    tests = [(abs(float(judgement.difference[m])), chosen[m], level) for m in np.flatnonzero(judgement.member_fails)]
    if judgement.shift_fails:
        tests.append((abs(float(judgement.shift)), chosen.mean(axis=0), rule.alpha_shift))

    def ceases(size: float, combination: Floats, level: float) -> float:
        def excess(sd: float) -> float:
            return size - float(_half(level, combination[None], both, reference, sd)[0])

        # at the upper end the assumed variance alone equals the squared difference, and t exceeds 1
        return float(optimize.brentq(excess, 0.0, size / math.sqrt(2 * float((combination**2).sum()))))

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
    if reference.ms_within.max() <= FLAT * reference.ms_group.max():  # no spread within groups to be compared with
        return None
    ratio = new.ms_within / reference.ms_within
    high, low = stats.f.ppf([alpha / 2, 1 - alpha / 2], new.df_within, reference.df_within)
    return SpreadRatio(np.asarray(ratio), np.asarray(ratio / low), np.asarray(ratio / high))


@dataclass(frozen=True)
class SeedsToDecide:
    """Seeds a cell of the new study from which on there is a verdict; None where `SEED_LIMIT` would not do.

    Attributes:
        fails: Until some member or the mean shift FAILs.
        decided: Until all members PASS, or something FAILs.
        members: Until each member by itself does either.
    """

    fails: int | None
    decided: int | None
    members: tuple[int | None, ...]


def seeds_to_decide(
    cell_difference: Floats,
    student: NDArray[Any],
    of_reference: Weights,
    reference: Spread,
    rule: Rule,
    combinations: Floats | None = None,
    present: int = 0,
) -> SeedsToDecide:
    """Seeds a cell of the new study that would end in PASS or FAIL, if the differences stayed as they are.

    An approximation: more seeds also move the differences, and a student's cells are taken to have the same seeds. None
    where even `SEED_LIMIT` would not do, since the reference's own seeds are too few.

    Args:
        cell_difference: Observed differences of one study, a cell.
        student: Student of each cell; a student's cells share seeds.
        of_reference: Weights of the reference's cell means.
        reference: Spread of the reference's runs.
        rule: The reference's rule.
        combinations: As in `judge`.
        present: Seeds that the new study has; as many, or fewer, would be no advice.
    """
    same = np.equal.outer(student, student).astype(float)

    @cache  # members ask for the same numbers of seeds
    def judged(seeds: int) -> Judgement:
        new = Weights(np.full(cell_difference.size, 1.0 / seeds), same / seeds)
        return judge(cell_difference, new + of_reference, reference, rule, combinations)

    def first(decided: Callable[[Judgement], Any]) -> int | None:
        more = range(present + 1, SEED_LIMIT + 1)
        found = bisect_left(more, True, key=lambda seeds: bool(decided(judged(seeds))))
        return more[found] if found < len(more) else None

    members = judged(1).member_fails.size
    return SeedsToDecide(
        first(lambda one: one.fails),
        first(lambda one: one.fails | one.passes),
        tuple(first(lambda one, m=m: one.member_fails[m] | one.member_passes[m]) for m in range(members)),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    )


def replicate_margin(layout: Layout, reference: Spread, rule: Rule, pass_probability: float, step: float) -> float:
    """Smallest margin, in whole steps, at which an exact replicate passes with the given probability.

    A replicate (same layout, independent seeds, equal means) passes if each cell's difference d keeps
    |d| + t(1 - alpha_pass) se < margin and nothing fails. With share = 1 - pass_probability - alpha_shift -
    alpha_spread, all cells keep |d| < t(1 - level / 2) se, level = `family_level(share)`, with probability at
    least 1 - share; and none of these fails, as long as share exceeds alpha_members. By the union bound the
    margin is then the largest of se (t(1 - alpha_pass) + t(1 - level / 2)).

    Args:
        layout: Layout of the reference's runs.
        reference: Their spread.
        rule: Errors and between-study sd; its margin is not used.
        pass_probability: Above 0 and below 1 - alpha, which no margin can reach.
        step: The margin is a multiple of it, in the response's unit.

    Raises:
        ValueError: No margin reaches that probability.
    """
    share = 1 - pass_probability - rule.alpha_shift - rule.alpha_spread
    if not 0 < pass_probability < 1 - rule.alpha:
        raise ValueError(f"pass probability must lie between 0 and {1 - rule.alpha:g}, got {pass_probability:g}")
    one = weights(layout)
    cells = np.eye(one.noise.size)
    spread_of = one + one, reference, rule.between_study_sd
    needed = _half(2 * rule.alpha_pass, cells, *spread_of) + _half(family_level(share, len(cells)), cells, *spread_of)
    return round(math.ceil(float(needed.max()) / step - 1e-9) * step, 12)  # 12: no dust behind 0.1 x 3
