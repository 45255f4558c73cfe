"""Claims judged by the contrasts they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from analysis.claims.register import Registered
from analysis.claims.verdict import Evidence, Rule, judge, judge_together, statement, weakest
from analysis.inference import power
from analysis.inference.equivalence import equivalence
from analysis.inference.estimate import Estimate
from analysis.inference.power import Precision
from analysis.results import Claim
from analysis.study.contrasts import LEVEL, holm, holm_p


@dataclass(frozen=True)
class Family:
    """Estimates that multiplicity is controlled over, and where they come from.

    Attributes:
        name: Name of the family, as in `contrasts.csv`.
        model: Model, without `:refit`.
        shown_model: Model whose numbers these are.
        metric: Response.
        subset: Rows used.
        estimates: By identifier of the contrast.
        precision: Seeds a cell -> precision, by identifier.
    """

    name: str
    model: str
    shown_model: str
    metric: str
    subset: str
    estimates: Mapping[str, Estimate]
    precision: Callable[[str], Precision]


def judge_all(
    claims: Sequence[Registered], families: Sequence[Family], *, metric: str, margin_pp: float, seeds: int
) -> tuple[Claim, ...]:
    """Judge each claim of a bound register.

    Args:
        claims: The register, bound to the table's names.
        families: What was estimated.
        metric: The metric analysed.
        margin_pp: The study's margin.
        seeds: Runs in the smallest cell.
    """
    return tuple(_judge(claim, families, metric, margin_pp, seeds) for claim in claims)


def _judge(claim: Registered, families: Sequence[Family], metric: str, margin_pp: float, seeds: int) -> Claim:
    rule = Rule(claim.kind, margin_pp if claim.margin is None else claim.margin, claim.unit, claim.threshold)
    place = (claim.model, claim.metric or metric, claim.subset)
    for family in families:
        names = [name for name in family.estimates if claim.matches(name)]
        if names and (family.model, family.metric, family.subset) == place:
            return _tested(claim, rule, family, names, seeds)
    return Claim(
        **_shared(claim, rule), family="", model=claim.model, metric=place[1], subset=claim.subset,
        contrast=claim.contrast, contrasts=0, estimate=None, ci_low=None, ci_high=None, ci90_low=None,
        ci90_high=None, p_holm=None, p_equivalence=None, verdict="not tested",
        statement=f"Not tested: {claim.needs}.", seeds_to_settle=None,
    )  # fmt: skip


def _tested(claim: Registered, rule: Rule, family: Family, names: Sequence[str], seeds: int) -> Claim:
    evidence = evidence_of(family.estimates)
    found = [evidence[name] for name in names]
    verdict = judge_together(rule, found)
    decisive = weakest(rule, found)
    name, one = names[decisive], found[decisive]
    estimate = family.estimates[name]
    needed = None
    if verdict == "cannot tell":
        undecided = [n for n, e in zip(names, found, strict=True) if judge(rule, e) == "cannot tell"]
        counts = [seeds_to_settle(rule, evidence[n], family.precision(n), seeds) for n in undecided]
        known = [count for count in counts if count is not None]
        needed = max(known) if len(known) == len(counts) else None
    effect = claim.effect if len(names) == 1 else _all_of(rule, found, name)
    return Claim(
        **_shared(claim, rule), family=family.name, model=family.shown_model, metric=family.metric,
        subset=family.subset, contrast=name, contrasts=len(names), estimate=one.estimate, ci_low=one.ci95[0],
        ci_high=one.ci95[1], ci90_low=one.ci90[0], ci90_high=one.ci90[1], p_holm=_holm_p(family, name),
        p_equivalence=_p_equivalence(rule, estimate), verdict=verdict,
        statement=statement(rule, effect, one, needed), seeds_to_settle=needed, adjusted_for=one.members,
    )  # fmt: skip


def _all_of(rule: Rule, found: Sequence[Evidence], name: str) -> str:
    """Several contrasts as the subject of a sentence: how they fare, and which decides."""
    counts = Counter(judge(rule, one) for one in found)
    fates = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) if len(counts) > 1 else ""
    return f"of {len(found)} contrasts that must all hold{f' ({fates})' * bool(fates)}, the weakest, {name},"


def _shared(claim: Registered, rule: Rule) -> dict[str, Any]:
    return {
        "id": claim.id, "sentence": claim.sentence, "source": claim.source, "published": claim.published,
        "kind": claim.kind, "unit": claim.unit, "margin": rule.margin, "threshold": rule.threshold,
        "caution": claim.caution,
    }  # fmt: skip


def evidence_of(estimates: Mapping[str, Estimate]) -> dict[str, Evidence]:
    """Intervals of a family: 95% at the level of each one's Holm step, 90% unadjusted."""
    steps = holm([estimate.p for estimate in estimates.values()])
    return {
        name: Evidence(
            estimate.value, estimate.interval(1 - (1 - LEVEL) / step.members), estimate.interval(0.90), step.members
        )
        for (name, estimate), step in zip(estimates.items(), steps, strict=True)
    }


def _holm_p(family: Family, name: str) -> float | None:
    return dict(zip(family.estimates, holm_p(list(family.estimates.values())), strict=True))[name]


def _p_equivalence(rule: Rule, estimate: Estimate) -> float:
    """P of the two one-sided tests at the margin; of the one that an `at least` claim needs."""
    if rule.kind == "at least":
        return float(stats.t.sf((estimate.value - rule.threshold + rule.margin) / estimate.se, estimate.df))
    return equivalence(estimate, rule.margin).p


def seeds_to_settle(rule: Rule, evidence: Evidence, precision: Precision, seeds: int) -> int | None:
    """Smallest number of seeds a cell, above the present one, that gives a verdict with probability 0.8.

    If the true effect is the estimate; from the exact distribution of estimate and standard error.

    Returns:
        The number; None if 10,000 would not do.
    """
    if rule.kind != "at least":
        return power.seeds_to_settle(evidence.estimate, precision, rule.margin, evidence.members, first=seeds + 1)

    def settled(se: power.Floats, df: power.Floats) -> power.Floats:
        return power.at_least_settled(evidence.estimate, se, df, rule.margin, rule.threshold, evidence.members)

    return power.fewest(settled, precision, first=seeds + 1)
