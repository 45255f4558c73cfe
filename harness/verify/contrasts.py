"""Combinations of cell means that gains and claims rest on, and what the register's claims come to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pandas as pd

from analysis.claims.register import Registered, bind
from analysis.errors import TableError
from analysis.estimates import estimate_means
from analysis.runs.columns import cell_label
from analysis.runs.layout import Layout, layout_of
from analysis.runs.reach import first_seeds
from analysis.study.estimands import gains_by_cell, pair_families, student_families
from harness.claims import read_claims
from harness.verify.reference import METRIC
from harness.verify.verdict import Conclusion

OnCells = Mapping[str, float]


@cache
def _register() -> tuple[Registered, ...]:
    """The register that kdcap ships, read once."""
    return read_claims()


def gain_contrasts(finals: pd.DataFrame) -> dict[str, OnCells]:
    """Each distilled cell's mean less its student's baseline's, by the distilled cell's name."""
    return {cell_label(*cell): weights for cell, weights in gains_by_cell(finals).items()}


def claim_contrasts(finals: pd.DataFrame) -> dict[str, OnCells]:
    """Contrasts of accuracies that the register's claims rest on, as weights on the cells of a study.

    A student's accuracy under a method is the mean over its teachers' cells, as the primary model has it where
    cells have equally many runs.

    Args:
        finals: Final rows of the reference.

    Returns:
        By name, `moderation:feature-none:resnet34-resnet18`; where only some teachers count, their names follow in
        brackets. Empty if the study is too small for any claim.
    """
    layout = _layout(finals)
    if layout is None:
        return {}
    shared = layout.shared_teachers
    pair = layout.pair or ()
    matched = finals[finals["teacher"].isin(["", *shared]) & finals["student"].isin(pair)]
    by_student = {name: weights for family in student_families(layout).values() for name, weights in family.items()}
    places: dict[tuple[str, str], Mapping[str, OnCells]] = {
        ("primary", "all"): _on_cells(by_student, finals),
        ("primary", f"teachers:{'+'.join(shared)}"): _on_cells(by_student, matched),
        ("pairs", "all"): {
            name: weights for family in pair_families(finals).values() for name, weights in family.items()
        },
    }
    found: dict[str, OnCells] = {}
    for claim in _of_accuracies(layout):
        for name, weights in places.get((claim.model, claim.subset), {}).items():
            if claim.matches(name):
                found[name if claim.subset == "all" else f"{name} ({claim.subset})"] = weights
    return found


def _layout(finals: pd.DataFrame) -> Layout | None:
    try:
        return layout_of(finals)
    except TableError:  # one seed in a cell: nothing can be claimed
        return None


def _of_accuracies(layout: Layout) -> list[Registered]:
    """The register's claims about cell means of accuracy; others rest on fidelity, ablations or gaps."""
    bound = bind(_register(), layout, layout.methods)
    return [one for one in bound if one.model in ("primary", "pairs") and one.metric in ("", METRIC)]


def _on_cells(by_student: Mapping[str, OnCells], finals: pd.DataFrame) -> dict[str, OnCells]:
    """Weights on `student:method` spread evenly over that student's and method's cells."""
    cells: dict[str, list[str]] = {}
    for teacher, student, method in dict.fromkeys(
        zip(finals["teacher"], finals["student"], finals["method"], strict=True)
    ):
        cells.setdefault(f"{student}:{method}", []).append(cell_label(teacher, student, method))
    return {
        name: {cell: weight / len(cells[place]) for place, weight in weights.items() for cell in cells[place]}
        for name, weights in by_student.items()
        if weights.keys() <= cells.keys()
    }


def conclusions(
    runs: pd.DataFrame, reference: pd.DataFrame, margin_pp: float
) -> tuple[tuple[Conclusion, ...], tuple[str, ...]]:
    """What each claim about accuracies comes to on either side, by the rules of `harness analyze`.

    Args:
        runs: Rows of the new study, every stage.
        reference: Rows of the reference, every stage.
        margin_pp: Smallest effect that matters.

    Returns:
        The conclusions, and notes: which runs they rest on where that is not all of them, or why none was reached.
    """
    layout = _layout(reference[reference["stage"] == "final"])
    if layout is None:
        return (), ()
    here, told_here = _verdicts(runs, margin_pp)
    there, told_there = _verdicts(reference, margin_pp)
    found = tuple(
        Conclusion(claim.id, claim.sentence, here.get(claim.id, "not tested"), there.get(claim.id, "not tested"))
        for claim in _of_accuracies(layout)
    )
    told = {"this table": told_here, "the reference": told_there}
    return found, tuple(f"What claims come to on {side}: {note}" for side, note in told.items() if note)


def _verdicts(runs: pd.DataFrame, margin_pp: float) -> tuple[dict[str, str], str]:
    """Verdicts by claim, and what a reader must know of the runs behind them; empty if nothing."""
    try:
        table, cut = first_seeds(runs)
        judged = estimate_means(table).judged(_register(), margin_pp)
    except TableError as error:  # too few seeds, too many cells, or a baseline is missing: nothing can be claimed
        return {}, f"not tested, since {error}"
    return {claim.id: claim.verdict for claim in judged}, cut
