"""What a verification says: frozen records, and their form in verdict.json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA = "kdcap.verdict/2"
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
EXIT_CODES: dict[Outcome, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
DECIMALS = 6  # in verdict.json: far below any digit that matters, above the noise of linear algebra


@dataclass(frozen=True)
class CellVerdict:
    """One cell, judged.

    Attributes:
        cell: Name of the cell.
        dataset: With the next five and `checkpoint`, the key that made it comparable.
        teacher: Architecture, empty for a baseline.
        student: Architecture.
        method: none, logit, feature, or another.
        stem: Stem of the networks.
        epochs: Epochs trained.
        checkpoint: Which weights were measured.
        n: Runs judged.
        n_reference: Runs of the reference.
        mean_pct: Their mean.
        reference_mean_pct: The reference's mean.
        diff_pp: The first minus the second.
        ci_low_pp: Lower end of the family's interval; FAIL if 0 lies outside it.
        ci_high_pp: Its upper end.
        equivalence_low_pp: Lower end of the 1 - 2 alpha interval; PASS if all of it is inside the margin.
        equivalence_high_pp: Its upper end.
        verdict: PASS, FAIL or INCONCLUSIVE.
        sentence: The same in words.
    """

    cell: str
    dataset: str
    teacher: str
    student: str
    method: str
    stem: str
    epochs: int
    checkpoint: str
    n: int
    n_reference: int
    mean_pct: float
    reference_mean_pct: float
    diff_pp: float
    ci_low_pp: float
    ci_high_pp: float
    equivalence_low_pp: float
    equivalence_high_pp: float
    verdict: Outcome
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """All of verdict.json; numbers one may plot or gate on stand at the top level.

    Attributes:
        schema: Version of this structure.
        verdict: PASS, FAIL or INCONCLUSIVE.
        sentence: The verdict in words, with its numbers.
        exit_code: What `harness verify` exits with, unless --no-gate is given.
        runs_sha256: Digest of the runs table.
        cells_in_reference: Cells that the reference has.
        cells_judged: Cells that both tables have.
        cells_passed: Of these.
        cells_failed: Of these.
        cells_inconclusive: Of these.
        largest_diff_pp: Difference of largest size, with its sign.
        margin_pp: The reference's margin.
        mean_shift_pp: Mean difference over all cells judged.
        mean_shift_ci_low_pp: Lower end of its interval.
        mean_shift_ci_high_pp: Its upper end.
        mean_shift_fails: Whether 0 lies outside it.
        spread_ratio: Variance within seed groups, new over reference; None where too few runs share a seed.
        spread_ratio_ci_low: Lower end of its interval.
        spread_ratio_ci_high: Its upper end.
        spread_fails: Whether 1 lies outside it.
        openings_recorded: Runs of the whole table, each once, that say how often they opened the test set.
        openings_wrong: Of these, runs that did not open it exactly twice, as the protocol has it; any is a FAIL.
        openings_sentence: The first such run and its count in words; empty where there is none.
        seeds_to_decide: Seeds a cell that would decide, roughly; None unless INCONCLUSIVE, or if none would.
        excusing_between_study_sd_pp: Between-study sd from which a FAIL would be none; None unless FAIL, or
            where the spread or the openings fail, which no such sd excuses.
        reference: Name, title and digest.
        alpha: How the error is split over the tests.
        model: The reference's fitted spread.
        notes: What else a reader must know.
        cells: Each cell.
    """

    schema: str
    verdict: Outcome
    sentence: str
    exit_code: int
    runs_sha256: str
    cells_in_reference: int
    cells_judged: int
    cells_passed: int
    cells_failed: int
    cells_inconclusive: int
    largest_diff_pp: float
    margin_pp: float
    mean_shift_pp: float
    mean_shift_ci_low_pp: float
    mean_shift_ci_high_pp: float
    mean_shift_fails: bool
    spread_ratio: float | None
    spread_ratio_ci_low: float | None
    spread_ratio_ci_high: float | None
    spread_fails: bool
    openings_recorded: int
    openings_wrong: int
    openings_sentence: str
    seeds_to_decide: int | None
    excusing_between_study_sd_pp: float | None
    reference: dict[str, str]
    alpha: dict[str, float]
    model: dict[str, float]
    notes: tuple[str, ...]
    cells: tuple[CellVerdict, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for verdict.json, in the order above."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tree of JSON values
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: no -0.0
