"""The verdict rules, and the words for each verdict: never a star, never stronger than the rule.

Two intervals decide. The 95% interval (Holm-adjusted where the claim has siblings) is held against the threshold (0
unless the claim names another), the 90% interval against the margin around it: two one-sided tests at 5% each
(Schuirmann, J Pharmacokin Biopharm 15, 1987, 657-680).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.inference.estimate import Interval
from analysis.inference.power import MOST_SEEDS, WANTED
from analysis.results import ClaimKind, Verdict


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: one contrast, in the claim's unit, positive in the claimed direction.

    Attributes:
        estimate: The contrast.
        ci95: 95% interval at the level of its Holm step.
        ci90: 90% interval, not adjusted.
        members: Hypotheses that `ci95` is corrected for; 1 is no correction.
    """

    estimate: float
    ci95: Interval
    ci90: Interval
    members: int


@dataclass(frozen=True)
class Rule:
    """What is claimed of an effect.

    Attributes:
        kind: `directional` claims an effect above 0, `null` none beyond the margin, `at least` one that is below the
            threshold by no more than the margin (non-inferiority).
        margin: Smallest difference that matters, above 0.
        unit: Unit of effect, margin and threshold.
        threshold: Of an `at least` claim; 0 otherwise.
    """

    kind: ClaimKind
    margin: float
    unit: str = "pp"
    threshold: float = 0.0


def judge(rule: Rule, evidence: Evidence) -> Verdict:
    """Apply the rules to one contrast.

    Returns:
        supported, refuted or cannot tell. A supported directional claim may still lie inside the margin, and a
        supported `at least` claim below its threshold; `statement` then says so.
    """
    small = inside(evidence.ci90, rule.margin)
    above, below = evidence.ci95[0] > 0, evidence.ci95[1] < 0
    if rule.kind == "null":
        supported, refuted = small, above or below
    elif rule.kind == "directional":
        supported, refuted = above, small or below
    else:
        supported = evidence.ci90[0] > rule.threshold - rule.margin
        refuted = evidence.ci95[1] < rule.threshold
    if supported:
        return "supported"
    return "refuted" if refuted else "cannot tell"


def judge_together(rule: Rule, evidence: Sequence[Evidence]) -> Verdict:
    """A claim about several contrasts at once: all must hold, and one that is refuted refutes it.

    That all are supported needs no correction (Berger, Technometrics 24, 1982, 295-300); the Holm-adjusted intervals
    take care of the other direction.
    """
    verdicts = {judge(rule, one) for one in evidence}
    if verdicts == {"supported"}:
        return "supported"
    return "refuted" if "refuted" in verdicts else "cannot tell"


def weakest(rule: Rule, evidence: Sequence[Evidence]) -> int:
    """Index of the contrast that decides a claim about several: the first to break it."""
    order = {"refuted": 0, "cannot tell": 1, "supported": 2}

    def strength(index: int) -> tuple[int, float]:
        one = evidence[index]
        room = -max(abs(one.ci90[0]), abs(one.ci90[1])) if rule.kind == "null" else one.ci90[0]
        return order[judge(rule, one)], room

    return min(range(len(evidence)), key=strength)


def statement(rule: Rule, effect: str, evidence: Evidence, seeds: int | None) -> str:
    """The verdict on one contrast as one sentence.

    Args:
        rule: What is claimed.
        effect: What is estimated, as a noun phrase.
        evidence: Estimate and intervals.
        seeds: Seeds a cell that would settle it; None if too many. Only told where the verdict is `cannot tell`.
    """
    verdict = judge(rule, evidence)
    numbers = f"{effect} is {signed(evidence.estimate, rule.unit)} {rule.unit}"
    ci95 = interval_words(evidence.ci95, rule.unit, adjusted=evidence.members > 1)
    margin = f"margin of {rule.margin:g} {rule.unit}"
    ci90 = f"its 90% interval ({signed(evidence.ci90[0], rule.unit)} to {signed(evidence.ci90[1], rule.unit)})"
    within = f"{ci90} lies inside the {margin}"
    if rule.kind == "at least":
        said = _at_least(rule, evidence, f"{numbers} ({ci95})", f"{ci90} stays above", seeds)
    elif verdict == "cannot tell":
        wide = f"{numbers} ({ci95}), which leaves open both no effect and one beyond the {margin}"
        said = f"Cannot tell: {wide}; {_enough(seeds)}"
    elif rule.kind == "null" and verdict == "supported":
        said = f"Supported: {numbers}, and {within}"
    elif rule.kind == "null":
        said = f"Refuted: {numbers} ({ci95}), and not shown to lie inside the {margin}"
    elif verdict == "supported":
        small = f"; real but below the margin: {within}" if inside(evidence.ci90, rule.margin) else ""
        said = f"Supported: {numbers} ({ci95}){small}"
    elif evidence.ci95[1] < 0:
        said = f"Refuted: {numbers}, the other way than claimed ({ci95})"
    else:
        said = f"Refuted: {numbers}, and {within}: too small to matter, whatever its sign"
    return f"{said}."


def _at_least(rule: Rule, evidence: Evidence, numbers: str, above: str, seeds: int | None) -> str:
    verdict = judge(rule, evidence)
    threshold = f"{rule.threshold:g} {rule.unit}"
    allowance = f"{threshold} less the margin of {rule.margin:g} {rule.unit}"
    if verdict == "supported":
        short = f", though below {threshold} itself" if evidence.ci95[1] < rule.threshold else ""
        return f"Supported: {numbers}; {above} {allowance}{short}"
    if verdict == "refuted":
        return f"Refuted: {numbers}, which lies below {threshold}"
    return f"Cannot tell: {numbers}, which leaves open {threshold} or more and less than {allowance}; {_enough(seeds)}"


def _enough(seeds: int | None) -> str:
    chance = f"settle it with probability {WANTED:g} if the true effect is this estimate"
    return (
        f"about {seeds} seeds a cell would {chance}" if seeds else f"even {MOST_SEEDS} seeds a cell would not {chance}"
    )


def interval_words(interval: Interval, unit: str = "pp", *, adjusted: bool) -> str:
    """A 95% interval in words, saying whether it was widened for its family."""
    ends = f"{signed(interval[0], unit)} to {signed(interval[1], unit)}"
    return f"{'Holm-adjusted ' if adjusted else ''}95% interval {ends}"


def signed(value: float, unit: str = "pp") -> str:
    """Signed; two decimals of a percentage point, four of another unit; more where a difference would round to zero."""
    decimals = 2 if unit == "pp" else 4
    if 0 < abs(value) < 0.5 * 10**-decimals:
        decimals = -math.floor(math.log10(abs(value)))
    return f"{value:+.{decimals}f}"


def inside(interval: Interval, margin: float) -> bool:
    """Whether an interval lies inside the margin on both sides."""
    return -margin < interval[0] and interval[1] < margin
