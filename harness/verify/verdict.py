"""What a verification says: frozen records, and their form in verdict.json (`verdict.schema.json`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from harness.verify.bitwise import Bitwise

SCHEMA = "kdcap.verdict/3"
FamilyName = Literal["accuracies", "teachers", "fidelity", "gains", "claims"]
FAMILIES: tuple[FamilyName, ...] = ("accuracies", "teachers", "fidelity", "gains", "claims")
Judged = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT JUDGED"]
# NOT JUDGED comes from a profile without a reference; the bare command then refuses, as for any bad input
EXIT_CODES: dict[Outcome, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "NOT JUDGED": 2}
DECIMALS = 6  # in verdict.json: far below any digit that matters, above the noise of linear algebra


@dataclass(frozen=True)
class Member:
    """One member of a family, judged: a cell's accuracy or fidelity, a teacher, a gain, a contrast.

    Attributes:
        name: Name of the cell or contrast.
        quantity: What is compared: `test_acc_best`, `agreement`, `kl_t1`, `kl_t4`, `gain`, `contrast`.
        unit: Unit of differences, intervals and margin; an accuracy or agreement itself is in percent.
        key: What made a cell comparable (dataset, teacher, student, method, stem, epochs, checkpoint); else empty.
        n: Runs judged; the fewest of its cells.
        n_reference: Runs of the reference, likewise.
        value: The new study's value.
        reference_value: The reference's.
        difference: The first minus the second.
        ci_low: Lower end of the family's interval; FAIL if 0 lies outside it.
        ci_high: Its upper end.
        equivalence_low: Lower end of the interval of the two one-sided tests; PASS if all of it is inside the margin.
        equivalence_high: Its upper end.
        margin: Half width of equivalence.
        verdict: PASS, FAIL or INCONCLUSIVE.
        seeds_to_decide: Seeds a cell that would decide it, roughly; None unless INCONCLUSIVE, or if none would.
        sentence: The same in words.
    """

    name: str
    quantity: str
    unit: Literal["pp", "nats"]
    key: dict[str, str | int]
    n: int
    n_reference: int
    value: float
    reference_value: float
    difference: float
    ci_low: float
    ci_high: float
    equivalence_low: float
    equivalence_high: float
    margin: float
    verdict: Judged
    seeds_to_decide: int | None
    sentence: str


@dataclass(frozen=True)
class FamilyTest:
    """A test of a family as a whole: its mean shift, or its spread.

    Attributes:
        estimate: Mean difference in the family's unit, or the ratio of variances, new over reference.
        ci_low: Lower end of its interval.
        ci_high: Its upper end.
        fails: Whether no shift (0), or equal spread (1), lies outside the interval.
    """

    estimate: float
    ci_low: float
    ci_high: float
    fails: bool


@dataclass(frozen=True)
class Conclusion:
    """What one claim comes to, on the new runs and on the reference's.

    Attributes:
        claim: Its identifier in the register.
        sentence: The claim.
        here: supported, refuted, cannot tell or not tested, judged on the new runs alone.
        reference: The same on the reference's runs.
    """

    claim: str
    sentence: str
    here: str
    reference: str


@dataclass(frozen=True)
class Family:
    """Members that share one error of a false FAIL.

    Attributes:
        family: Its name.
        verdict: FAIL if a member or a test of the whole fails; PASS if every member passes; NOT JUDGED without members.
        sentence: The verdict in words, with its numbers.
        gated: Whether it decides the exit code.
        alpha: Its error of a false FAIL.
        members_in_reference: Members that the reference could judge.
        members: Those that both have.
        mean_shift: Test of the mean over all members; only of accuracies.
        spread_ratio: Test of the variance of runs within seed groups; only of accuracies, and where runs share a seed.
        seeds_to_decide: Seeds a cell that would decide it, roughly; None unless INCONCLUSIVE, or if none would.
        excusing_between_study_sd: Between-study sd, in the unit, from which a FAIL would be none; None unless it fails,
            or where the spread fails, which no such sd excuses.
        conclusions: What the register's claims come to; only of claims.
    """

    family: FamilyName
    verdict: Outcome
    sentence: str
    gated: bool
    alpha: float
    members_in_reference: int
    members: tuple[Member, ...]
    mean_shift: FamilyTest | None
    spread_ratio: FamilyTest | None
    seeds_to_decide: int | None
    excusing_between_study_sd: float | None
    conclusions: tuple[Conclusion, ...]


@dataclass(frozen=True)
class Integrity:
    """A check of the runs themselves, which no agreement of numbers makes up for.

    Attributes:
        check: `test openings` (twice a run, after training) or `records` (the table is what the run folders say).
        verdict: FAIL, PASS, or NOT CHECKED where the table does not say.
        sentence: The same in words.
    """

    check: Literal["test openings", "records"]
    verdict: Literal["PASS", "FAIL", "NOT CHECKED"]
    sentence: str


@dataclass(frozen=True)
class Override:
    """A refusal that was overruled, or a rule that was changed, by the one who asked for the verdict.

    Attributes:
        option: As given on the command line.
        sentence: What it let pass.
    """

    option: str
    sentence: str


@dataclass(frozen=True)
class Named:
    """The reference judged by: its name, title and content digest."""

    name: str
    title: str
    sha256: str


@dataclass(frozen=True)
class Verdict:
    """All of verdict.json.

    Attributes:
        schema: Version of this structure.
        verdict: Of the gated families, the integrity checks and the bitwise level together.
        sentence: The verdict in words, with its numbers and whatever was overruled.
        exit_code: What `harness verify` exits with, unless --no-gate is given.
        gate: Families that decide the verdict.
        runs_sha256: Digest of the runs table.
        reference: What was judged by; None where there is none.
        overrides: What was overruled.
        integrity: Checks of the runs.
        families: Every family.
        bitwise: The bitwise level; None where it was not asked for.
        model: The spread of accuracies as fitted to the reference: sds in pp, icc, degrees of freedom.
        notes: What else a reader must know.
    """

    schema: str
    verdict: Outcome
    sentence: str
    exit_code: int
    gate: tuple[FamilyName, ...]
    runs_sha256: str
    reference: Named | None
    overrides: tuple[Override, ...]
    integrity: tuple[Integrity, ...]
    families: tuple[Family, ...]
    bitwise: Bitwise | None
    model: dict[str, float]
    notes: tuple[str, ...]

    def family(self, name: FamilyName) -> Family:
        """One family.

        Raises:
            KeyError: There is none of that name.
        """
        return {family.family: family for family in self.families}[name]

    def as_json(self) -> dict[str, Any]:
        """Plain values for verdict.json, in the order above."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tree of JSON values
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: no -0.0
