"""The verdict rules, and the words for each verdict: never a star, never stronger than the rule.

Two intervals decide. The 95% interval (Holm-adjusted where the claim has siblings) is held against 0, the
90% interval against the margin on both sides: two one-sided tests at 5% each (Schuirmann, J Pharmacokin
Biopharm 15, 1987, 657-680).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from analysis.results import Verdict

Interval = tuple[float, float]
Kind = Literal["directional", "null"]

POWER = 0.8
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on, in pp, positive in the claimed direction.

    Attributes:
        estimate: The contrast.
        se: Its standard error.
        ci95: 95% interval at the level of its Holm step.
        ci90: 90% interval, not adjusted.
        members: Hypotheses that `ci95` is corrected for; 1 is no correction.
        seeds: Seeds a cell behind it.
    """

    estimate: float
    se: float
    ci95: Interval
    ci90: Interval
    members: int
    seeds: int


def judge(kind: Kind, evidence: Evidence, margin_pp: float) -> Verdict:
    """Apply the rules.

    Args:
        kind: `directional` claims an effect above 0, `null` claims none beyond the margin.
        evidence: Estimate and intervals.
        margin_pp: Smallest difference that matters, above 0.

    Returns:
        supported, refuted or cannot tell. A supported directional claim may still lie inside the margin;
        `statement` then says so.
    """
    small = inside(evidence.ci90, margin_pp)
    above, below = evidence.ci95[0] > 0, evidence.ci95[1] < 0
    if kind == "null":
        supported, refuted = small, above or below
    else:
        supported, refuted = above, small or below
    if supported:
        return "supported"
    return "refuted" if refuted else "cannot tell"


def statement(kind: Kind, effect: str, evidence: Evidence, margin_pp: float) -> str:
    """The verdict as one sentence.

    Args:
        kind: As in `judge`.
        effect: What is estimated, as a noun phrase.
        evidence: Estimate and intervals.
        margin_pp: As in `judge`.
    """
    verdict = judge(kind, evidence, margin_pp)
    numbers = f"{effect} is {pp(evidence.estimate)} pp"
    ci95 = interval_words(evidence.ci95, adjusted=evidence.members > 1)
    margin = f"margin of {margin_pp:g} pp"
    within = f"its 90% interval ({pp(evidence.ci90[0])} to {pp(evidence.ci90[1])}) lies inside the {margin}"
    small = inside(evidence.ci90, margin_pp)
    if verdict == "cannot tell":
        wide = f"{numbers} ({ci95}), which leaves open both no effect and one beyond the {margin}"
        seeds = seeds_to_settle(evidence, margin_pp)
        enough = f"about {seeds}" if seeds else f"more than {MOST_SEEDS}"
        return (
            f"Cannot tell: {wide}; {enough} seeds a cell would settle it with probability {POWER:g} if the "
            "true effect is this estimate (approximate)."
        )
    if kind == "null":
        if verdict == "supported":
            return f"Supported: {numbers}, and {within}."
        return f"Refuted: {numbers} ({ci95}), and not shown to lie inside the {margin}."
    if verdict == "supported":
        return f"Supported: {numbers} ({ci95})" + (f"; real but below the margin: {within}." if small else ".")
    if evidence.ci95[1] < 0:
        return f"Refuted: {numbers}, the other way than claimed ({ci95})."
    return f"Refuted: {numbers}, and {within}: too small to matter, whatever its sign."


def seeds_to_settle(evidence: Evidence, margin_pp: float) -> int | None:
    """Smallest number of seeds a cell that gives a verdict with probability 0.8 if the estimate is true.

    Normal theory: the estimate is N(theta, se^2), se shrinks as one over the root of the seeds, and a verdict
    falls where |estimate| > z se (z two-sided at 0.05 / members) or |estimate| < margin - 1.645 se. An
    approximation: se is itself estimated, and the truth is not the estimate.

    Returns:
        The number, or None if `MOST_SEEDS` would not do.
    """
    seeds = np.arange(evidence.seeds + 1, MOST_SEEDS + 1)
    se = evidence.se * np.sqrt(evidence.seeds / seeds)
    beyond = stats.norm.isf(0.05 / 2 / evidence.members) * se
    within = np.maximum(margin_pp - stats.norm.isf(0.05) * se, 0.0)
    enough = np.flatnonzero(1 - _between(evidence.estimate, se, within, beyond) >= POWER)
    return int(seeds[enough[0]]) if len(enough) else None


def interval_words(interval: Interval, *, adjusted: bool) -> str:
    """A 95% interval in words, saying whether it was widened for its family."""
    return f"{'Holm-adjusted ' if adjusted else ''}95% interval {pp(interval[0])} to {pp(interval[1])}"


def pp(value: float) -> str:
    """Signed, two decimals; more where these would round a difference away to zero."""
    decimals = 2
    if 0 < abs(value) < 0.005:  # noqa: PLR2004 - what two decimals would show as 0.00
        decimals = -math.floor(math.log10(abs(value)))
    return f"{value:+.{decimals}f}"


def inside(interval: Interval, margin_pp: float) -> bool:
    """Whether an interval lies inside the margin on both sides."""
    return -margin_pp < interval[0] and interval[1] < margin_pp


def _between(mean: float, se: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """P(low <= |e| <= high) for e ~ N(mean, se^2); 0 where high is below low."""
    positive = stats.norm.cdf(high, mean, se) - stats.norm.cdf(low, mean, se)
    negative = stats.norm.cdf(-low, mean, se) - stats.norm.cdf(-high, mean, se)
    return np.where(high > low, positive + negative, 0.0)
