"""The sentences of a verdict: each says what its numbers say, and no more."""

from __future__ import annotations

import pandas as pd

from analysis.replication.judge import SEED_LIMIT
from harness.verify.verdict import CellVerdict, Verdict

NAMED = 3  # failed cells in the sentence; the table has them all


def value(given: object) -> str:
    """A hyperparameter for people: `0.7`; `none` where it means nothing or is not recorded."""
    if pd.isna(given) or given == "":  # type: ignore[call-overload]  # one scalar of a table
        return "none"
    return f"{given:g}" if isinstance(given, float) else str(given)


def cell_sentence(cell: CellVerdict, margin_pp: float) -> str:
    """One cell's verdict in words."""
    if cell.verdict == "FAIL":
        interval = f"{cell.ci_low_pp:+z.2f} to {cell.ci_high_pp:+z.2f}"
        return f"{cell.cell} differs by {cell.diff_pp:+z.2f} pp (family interval {interval})."
    found = (
        f"{cell.diff_pp:+z.2f} pp, "
        f"equivalence interval {cell.equivalence_low_pp:+z.2f} to {cell.equivalence_high_pp:+z.2f}"
    )
    if cell.verdict == "PASS":
        return f"{cell.cell} agrees within {margin_pp:g} pp ({found})."
    return f"{cell.cell} is not shown to differ, nor to agree within {margin_pp:g} pp ({found})."


def verdict_sentence(verdict: Verdict) -> str:
    """The whole verdict in words."""
    name = verdict.reference["name"]
    match verdict.verdict:
        case "PASS":
            return (
                f"PASS: {_judged(verdict)} agree with {name} within {verdict.margin_pp:g} pp; "
                f"the largest difference is {verdict.largest_diff_pp:+z.2f} pp."
            )
        case "FAIL":
            return f"FAIL against {name}: {'; '.join(_culprits(verdict))}. {_excuse(verdict)}"
        case _:
            few = "One seed a cell mostly ends here. " if all(cell.n == 1 for cell in verdict.cells) else ""
            return (
                f"INCONCLUSIVE against {name}: nothing is shown to differ, but {verdict.cells_inconclusive} "
                f"of {verdict.cells_judged} cells are not shown to agree within {verdict.margin_pp:g} pp. "
                f"{few}{_seeds(verdict)}"
            )


def _judged(verdict: Verdict) -> str:
    if verdict.cells_judged == verdict.cells_in_reference:
        return f"all {verdict.cells_judged} cells"
    return f"the cells judged ({verdict.cells_judged} of the reference's {verdict.cells_in_reference})"


def _culprits(verdict: Verdict) -> list[str]:
    found = [verdict.openings_sentence] if verdict.openings_wrong else []
    failed = sorted((cell for cell in verdict.cells if cell.verdict == "FAIL"), key=lambda cell: -abs(cell.diff_pp))
    found += [cell.sentence.rstrip(".") for cell in failed[:NAMED]]
    if len(failed) > NAMED:
        found.append(f"so do {len(failed) - NAMED} more cells")
    if verdict.mean_shift_fails:
        found.append(
            f"the mean over all cells is shifted by {verdict.mean_shift_pp:+z.2f} pp "
            f"(interval {verdict.mean_shift_ci_low_pp:+z.2f} to {verdict.mean_shift_ci_high_pp:+z.2f})"
        )
    if verdict.spread_fails:
        found.append(
            f"the variance of runs is {verdict.spread_ratio:.2g} times the reference's "
            f"(interval {verdict.spread_ratio_ci_low:.2g} to {verdict.spread_ratio_ci_high:.2g})"
        )
    return found


def _excuse(verdict: Verdict) -> str:
    if verdict.openings_wrong:
        return "No agreement of numbers makes up for a test set that was not opened as the protocol has it."
    if verdict.excusing_between_study_sd_pp is None:
        return "It stays a FAIL at any between-study sd, which does not touch the spread of runs."
    return (
        "It would cease to be a FAIL if true cell means varied from study to study with an sd of "
        f"{verdict.excusing_between_study_sd_pp:.2f} pp (another teacher checkpoint, other hyperparameters)."
    )


def _seeds(verdict: Verdict) -> str:
    if verdict.seeds_to_decide is None:
        return f"Not even {SEED_LIMIT} seeds a cell would decide: the reference's own runs are too few."
    return f"About {verdict.seeds_to_decide} seeds a cell would decide, if the differences stayed as they are."
