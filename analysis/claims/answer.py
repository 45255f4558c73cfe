"""The answer in one to three sentences for a reader who knows no statistics."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.claims.verdict import inside, interval_words, signed
from analysis.results import Claim
from analysis.runs.layout import Layout


def answer(claims: Sequence[Claim], layout: Layout) -> tuple[str, ...]:
    """Verdict first, then its numbers, then the same under identical teachers (or the gains themselves)."""
    pooled = [claim for claim in _tested(claims, "moderation:") if claim.id != "moderation:feature-logit"]
    if layout.pair is None or not pooled:
        gains = "; ".join(f"{claim.id.split(':')[1]} {_judged(claim)}" for claim in _tested(claims, "gain:"))
        asked = any(claim.id.startswith("moderation:") for claim in claims)
        lacking = "both students need final runs of a baseline and of one method" if asked else "no claim asks it"
        why = layout.no_pair or lacking
        told = [f"Gains in percentage points: {gains}."] if gains else []
        return (f"Not tested whether larger students gain more from distillation: {why}.", *told)
    smaller, larger = layout.pair
    numbers = "; ".join(_number(claim) for claim in pooled)
    said = [
        _lead(pooled),
        f"Gain of {larger} less that of {smaller}, in percentage points: {numbers}.",
    ]
    matched = "; ".join(_judged(claim) for claim in _tested(claims, "moderation-same-teacher:"))
    if matched:
        said.append(f"Under the same teacher ({', '.join(layout.shared_teachers)}): {matched}.")
    return tuple(said)


def _lead(pooled: Sequence[Claim]) -> str:
    verdicts = {claim.verdict for claim in pooled}
    if verdicts == {"supported"}:
        return "Supported: larger students gain more from distillation."
    if verdicts == {"refuted"} and all(claim.ci_high is not None and claim.ci_high < 0 for claim in pooled):
        return "Refuted: larger students gain less from distillation, not more."
    if verdicts == {"refuted"}:
        margin_pp = max(claim.margin for claim in pooled)
        return f"Refuted: larger students do not gain {margin_pp:g} percentage points more from distillation."
    if verdicts == {"cannot tell"}:
        return "Cannot tell whether larger students gain more from distillation."
    parts = ", ".join(f"{claim.verdict} under {_method(claim)}" for claim in pooled)
    return f"Whether larger students gain more from distillation: {parts}."


def _tested(claims: Sequence[Claim], prefix: str) -> list[Claim]:
    """Claims of an effect above 0; a claim of none would turn the words around."""
    asked = [claim for claim in claims if claim.id.startswith(prefix) and claim.kind == "directional"]
    return [claim for claim in asked if claim.verdict != "not tested"]


def _method(claim: Claim) -> str:
    return claim.id.rsplit(":", 1)[1]


def _number(claim: Claim) -> str:
    if claim.estimate is None or claim.ci_low is None or claim.ci_high is None:
        raise ValueError(f"claim {claim.id} was not tested and has no number")
    interval = interval_words((claim.ci_low, claim.ci_high), adjusted=claim.adjusted_for > 1)
    small = ", real but below the margin" if claim.verdict == "supported" and _inside_margin(claim) else ""
    return f"{signed(claim.estimate)} under {_method(claim)} ({interval}){small}"


def _inside_margin(claim: Claim) -> bool:
    if claim.ci90_low is None or claim.ci90_high is None:
        return False
    return inside((claim.ci90_low, claim.ci90_high), claim.margin)


def _judged(claim: Claim) -> str:
    return f"{claim.verdict}, {_number(claim)}"
