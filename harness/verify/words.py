"""The sentences of a verdict: each says what its numbers say, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pandas as pd

from analysis.replication.judge import SEED_LIMIT
from harness.verify.bitwise import Bitwise
from harness.verify.verdict import Conclusion, Family, FamilyName, Judged, Member, Verdict

NAMED = 3  # failed members in the sentence; the table has them all
NOUNS: dict[FamilyName, str] = {
    "accuracies": "cells",
    "teachers": "teachers",
    "fidelity": "fidelity values",
    "gains": "gains",
    "claims": "contrasts of claims",
}
DECIMALS = {"pp": 2, "nats": 4}
NOISE = 1e-9  # what is smaller is rounding error of the arithmetic, and zero


def value(given: object) -> str:
    """A hyperparameter for people: `0.7`; `none` where it means nothing or is not recorded."""
    if pd.isna(given) or given == "":  # type: ignore[call-overload]  # one scalar of a table
        return "none"
    return f"{given:g}" if isinstance(given, float) else str(given)


def signed(number: float, unit: str) -> str:
    """A difference with its sign and unit: `+0.12 pp`."""
    return f"{ends(number, unit)} {unit}"


def ends(number: float, unit: str) -> str:
    """The same without unit, for the ends of an interval; with more digits where they would round to zero."""
    decimals = DECIMALS[unit]
    if NOISE < abs(number) < 0.5 * 10**-decimals:
        decimals = -math.floor(math.log10(abs(number)))
    return f"{number:+z.{decimals}f}"


def margin(member: Member) -> str:
    """`0.4 pp`."""
    return f"{member.margin:g} {member.unit}"


def named(member: Member) -> str:
    """A member with what is compared, where its family compares several things: `kl_t1 of resnet50>resnet18:logit`."""
    return _named(member.name, member.quantity)


def _named(name: str, quantity: str) -> str:
    if quantity == "gain":
        return f"the gain of {name}"
    return name if quantity in ("test_acc_best", "contrast") else f"{quantity} of {name}"


def member_sentence(
    name: str, quantity: str, verdict: Judged, unit: Literal["pp", "nats"], numbers: Mapping[str, float]
) -> str:
    """One member's verdict in words; `numbers` are the fields of `Member`."""
    what, difference = _named(name, quantity), signed(numbers["difference"], unit)
    if verdict == "FAIL":
        interval = f"{ends(numbers['ci_low'], unit)} to {ends(numbers['ci_high'], unit)}"
        return f"{what} differs by {difference} (family interval {interval})."
    within = f"{numbers['margin']:g} {unit}"
    equivalence = f"{ends(numbers['equivalence_low'], unit)} to {ends(numbers['equivalence_high'], unit)}"
    found = f"{difference}, equivalence interval {equivalence}"
    if verdict == "PASS":
        return f"{what} agrees within {within} ({found})."
    return f"{what} is not shown to differ, nor to agree within {within} ({found})."


def with_sentence(family: Family) -> Family:
    """The family with its verdict in words; of one that is not judged, the reason is its sentence already."""
    match family.verdict:
        case "PASS":
            sentence = f"{_judged(family)} agree within {_margins(family)}; {_largest(family)}."
        case "FAIL":
            sentence = f"{'; '.join(_culprits(family))}. {_excuse(family)}".rstrip()
        case "INCONCLUSIVE":
            open_ones = sum(member.verdict == "INCONCLUSIVE" for member in family.members)
            few = "One seed a cell mostly ends here. " if all(member.n == 1 for member in family.members) else ""
            sentence = (
                f"nothing is shown to differ, but {open_ones} of {len(family.members)} {NOUNS[family.family]} are not "
                f"shown to agree within {_margins(family)}. {few}{_seeds(family)}"
            )
        case _:
            sentence = family.sentence
    return replace(family, sentence=sentence)


def with_conclusions(family: Family, conclusions: tuple[Conclusion, ...]) -> Family:
    """The family of claims with what the claims come to on both sides."""
    told = [one for one in conclusions if "not tested" not in (one.here, one.reference)]
    same = sum(one.here == one.reference for one in told)
    said = f" {same} of {len(told)} claims come to the reference's own conclusion." if told else ""
    return replace(family, conclusions=conclusions, sentence=family.sentence + said)


def verdict_sentence(verdict: Verdict) -> str:
    """The whole verdict in words: what decides it, then what stands beside the gate, then what was overruled."""
    against = f" against {verdict.reference.name}" if verdict.reference else ""
    gated = [family for family in verdict.families if family.gated]
    deciding = [one for one in gated if verdict.verdict != "FAIL" or one.verdict == "FAIL"]  # of a FAIL, what failed
    told = [one.sentence.removesuffix(".") for one in verdict.integrity if one.verdict == "FAIL"]
    bitwise = verdict.bitwise
    if bitwise is not None and (bitwise.verdict == "FAIL" or not verdict.families):
        told.append(bitwise_sentence(bitwise).removesuffix("."))
    told += [_family_words(family, alone=len(gated) == 1) for family in deciding]
    told += [note.removesuffix(".") for note in verdict.notes if not verdict.families]
    said = f"{verdict.verdict}{against}: {'; '.join(told)}."
    if any(one.verdict == "FAIL" for one in verdict.integrity):
        said += " No agreement of numbers makes up for runs that cannot be believed."
    beside = [f"{family.family} {family.verdict}" for family in verdict.families if not family.gated]
    if beside:
        said += f" Beside the gate: {', '.join(beside)}."
    if verdict.overrides:
        said += f" Overruled: {' '.join(f'{one.option}: {one.sentence}' for one in verdict.overrides)}"
    return said


def bitwise_sentence(bitwise: Bitwise) -> str:
    """The sentence of the bitwise level without its verdict, which stands before it in every output."""
    return bitwise.sentence.removeprefix(f"{bitwise.verdict}: ")


def _family_words(family: Family, *, alone: bool) -> str:
    sentence = family.sentence.removesuffix(".")
    if alone:
        return sentence
    return f"{family.family} {family.verdict}: {sentence}"


def _judged(family: Family) -> str:
    count, noun = len(family.members), NOUNS[family.family]
    if count == family.members_in_reference:
        return f"all {count} {noun}"
    return f"the {noun} judged ({count} of the reference's {family.members_in_reference})"


def _margins(family: Family) -> str:
    """One margin, or each quantity's own."""
    by_quantity = {member.quantity: margin(member) for member in family.members}
    if len(by_quantity) == 1:
        return next(iter(by_quantity.values()))
    return ", ".join(f"{size} ({quantity})" for quantity, size in by_quantity.items())


def _largest(family: Family) -> str:
    """The largest difference of each unit; margins apart, one number tells how near the studies are."""
    found = []
    for unit in dict.fromkeys(member.unit for member in family.members):
        worst = max((member.difference for member in family.members if member.unit == unit), key=abs)
        found.append(signed(worst, unit))
    return f"the largest difference is {' and '.join(found)}"


def _culprits(family: Family) -> list[str]:
    failed = [member for member in family.members if member.verdict == "FAIL"]
    failed.sort(key=lambda member: -abs(member.difference) / member.margin)
    found = [member.sentence.removesuffix(".") for member in failed[:NAMED]]
    if len(failed) > NAMED:
        more = len(failed) - NAMED
        found.append(f"so do {more} more {NOUNS[family.family]}" if more > 1 else "so does one more")
    if family.mean_shift is not None and family.mean_shift.fails:
        shift = family.mean_shift
        found.append(
            f"the mean over the {NOUNS[family.family]} judged is shifted by {signed(shift.estimate, 'pp')} "
            f"(interval {ends(shift.ci_low, 'pp')} to {ends(shift.ci_high, 'pp')})"
        )
    if family.spread_ratio is not None and family.spread_ratio.fails:
        ratio = family.spread_ratio
        found.append(
            f"the variance of runs is {ratio.estimate:.2g} times the reference's "
            f"(interval {ratio.ci_low:.2g} to {ratio.ci_high:.2g})"
        )
    return found


def _excuse(family: Family) -> str:
    if family.family == "fidelity":
        return (
            "Fidelity is to one teacher checkpoint: another one moves it, and no sd between studies is assumed for it."
        )
    if family.spread_ratio is not None and family.spread_ratio.fails:
        return "It stays a FAIL at any between-study sd, which does not touch the spread of runs."
    if family.excusing_between_study_sd is None:
        return ""
    return (
        "It would cease to be a FAIL if true cell means varied from study to study with an sd of "
        f"{math.ceil(100 * family.excusing_between_study_sd) / 100:.2f} {family.members[0].unit} (another teacher "
        "checkpoint, other hyperparameters)."
    )


def _seeds(family: Family) -> str:
    if family.seeds_to_decide is None:
        return (
            f"Not even {SEED_LIMIT} seeds a cell would decide: the reference's own runs, and what studies are assumed "
            "to differ by, leave too much open."
        )
    return f"About {family.seeds_to_decide} seeds a cell would decide, if the differences stayed as they are."
