"""A verdict as rows of text, for the outputs that people read; digits are those of the sentences."""

from __future__ import annotations

from analysis.replication.judge import SEED_LIMIT
from harness.verify import words
from harness.verify.verdict import Family, FamilyTest, Member, Verdict
from report.words import measure_name

RUNS, HERE, REFERENCE, DIFFERENCE, INTERVAL, MARGIN, VERDICT, TO_DECIDE = COLUMNS = (
    "runs", "here", "reference", "difference", "interval", "margin", "verdict", "to decide",
)  # fmt: skip
NUMERIC = (RUNS, HERE, REFERENCE, DIFFERENCE, INTERVAL, MARGIN)
Row = tuple[str, ...]
OVERVIEW = ("judged", "verdict", "gate", "members")
_SIGNED = ("gain", "contrast")  # quantities that are differences themselves


def label(family: Family, member: Member) -> str:
    """A member's name, which no other of its family has: `resnet18:none`, `kl_t1 of resnet50>resnet18:logit`."""
    return words.named(member) if family.family == "fidelity" else member.name


def by_quantity(family: Family) -> dict[str, list[Member]]:
    """A family's members under what is compared and how closely: `test accuracy, % (margin 0.4 pp)`."""
    found: dict[str, list[Member]] = {}
    for member in family.members:
        found.setdefault(_heading(member), []).append(member)
    return found


def member_row(member: Member) -> Row:
    """What stands under `COLUMNS` for a member: `5`, `95.26`, `95.20`, `+0.06 pp`, `-0.21 to +0.33`, `0.4`, `PASS`.

    The last one, seeds a cell that would decide, is empty unless it is INCONCLUSIVE.
    """
    return (
        str(member.n),
        _value(member, member.value),
        _value(member, member.reference_value),
        words.signed(member.difference, member.unit),
        f"{words.ends(member.ci_low, member.unit)} to {words.ends(member.ci_high, member.unit)}",
        f"{member.margin:g}",
        member.verdict,
        _seeds(member),
    )


def tests_of_the_whole(family: Family) -> dict[str, tuple[FamilyTest, Row]]:
    """The tests that a family has of itself as a whole, by name, each with its row under `COLUMNS`."""
    shift, ratio = family.mean_shift, family.spread_ratio
    found: dict[str, tuple[FamilyTest, Row]] = {}
    if shift is not None:
        unit = family.members[0].unit
        interval = f"{words.ends(shift.ci_low, unit)} to {words.ends(shift.ci_high, unit)}"
        verdict = "FAIL" if shift.fails else "not shifted"
        found["mean shift"] = shift, ("", "", "", words.signed(shift.estimate, unit), interval, "", verdict, "")
    if ratio is not None:
        interval = f"{ratio.ci_low:.2f} to {ratio.ci_high:.2f}"
        verdict = "FAIL" if ratio.fails else "not different"
        found["variance ratio"] = ratio, ("", "", "", f"{ratio.estimate:.2f}", interval, "", verdict, "")
    return found


def overview(verdict: Verdict) -> list[Row]:
    """What was judged and to what end, under `OVERVIEW`: families, checks of the runs, the bitwise level."""
    found: list[Row] = [
        (family.family, family.verdict, "gated" if family.gated else "not gated", _counts(family))
        for family in verdict.families
    ]
    found += [(check.check, check.verdict, "always", "") for check in verdict.integrity]
    if (bitwise := verdict.bitwise) is not None:
        found.append(("bitwise", bitwise.verdict, "always", f"{len(bitwise.runs)} runs, dvc.lock"))
    return found


def _heading(member: Member) -> str:
    percent = member.unit == "pp" and member.quantity not in _SIGNED
    return f"{measure_name(member.quantity)}, {'%' if percent else member.unit} (margin {words.margin(member)})"


def _value(member: Member, number: float) -> str:
    if member.quantity in _SIGNED:
        return words.ends(number, member.unit)
    return f"{number:z.{words.DECIMALS[member.unit]}f}"


def _seeds(member: Member) -> str:
    if member.verdict != "INCONCLUSIVE":
        return ""
    return f">{SEED_LIMIT} seeds" if member.seeds_to_decide is None else f"{member.seeds_to_decide} seeds"


def _counts(family: Family) -> str:
    """`10 of 10: 8 PASS, 2 FAIL`."""
    verdicts = [member.verdict for member in family.members]
    told = [f"{verdicts.count(one)} {one}" for one in ("PASS", "FAIL", "INCONCLUSIVE") if one in verdicts]
    return f"{len(verdicts)} of {family.members_in_reference}{': ' if told else ''}{', '.join(told)}"
