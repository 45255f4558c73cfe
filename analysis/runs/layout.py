"""What a table of final runs can be asked: its students in order of capacity, methods, shared teachers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.errors import TableError
from analysis.runs.table import BASELINE, UNNAMED_TEACHER, cell_label

# a t interval needs a spread, and a spread needs two
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Layout:
    """The shape of the final phase.

    Attributes:
        students: Architectures, smaller first where their order is known.
        methods: Distillation methods with runs, in alphabetical order.
        pair: The smaller and the larger student, None where moderation cannot be asked.
        no_pair: Why `pair` is None, as a clause; empty otherwise.
        shared_teachers: Teachers that taught both students of `pair` by the same methods.
        seeds: Runs in the smallest cell.
    """

    students: tuple[str, ...]
    methods: tuple[str, ...]
    pair: tuple[str, str] | None
    no_pair: str
    shared_teachers: tuple[str, ...]
    seeds: int


def layout_of(final: pd.DataFrame, student_order: Sequence[str] | None = None) -> Layout:
    """Read the layout off the final rows.

    Args:
        final: Checked rows of stage `final`.
        student_order: The two students to compare, smaller first; by default two ResNets by depth.

    Raises:
        TableError: A cell has fewer than two seeds, or `student_order` names a student without runs.
    """
    runs = cell_sizes(final)
    label = min(runs, key=runs.__getitem__)
    fewest = runs[label]
    if fewest < FEWEST_SEEDS:
        raise TableError(
            f"stage `final` has {fewest} run of {label}; an interval needs at least {FEWEST_SEEDS} seeds "
            "a cell: train more seeds or leave the cell out."
        )
    present = sorted(final["student"].unique(), key=lambda name: (_depth(name) or 0, name))
    pair, no_pair = _pair(present, student_order)
    methods = tuple(sorted(set(final["method"]) - {BASELINE}))
    shared = _shared_teachers(final, pair) if pair else ()
    return Layout(tuple(present), methods, pair, no_pair, shared, fewest)


def cell_sizes(final: pd.DataFrame) -> Mapping[str, int]:
    """Runs in each cell, by `analysis.runs.table.cell_label`."""
    return Counter(map(cell_label, final["teacher"], final["student"], final["method"]))


def _depth(student: str) -> int | None:
    """Layers of a ResNet by its name."""
    found = re.fullmatch(r"resnet-?(\d+)", student, re.IGNORECASE)
    return int(found[1]) if found else None


def _pair(present: Sequence[str], order: Sequence[str] | None) -> tuple[tuple[str, str] | None, str]:
    if order is not None:
        if len(set(order)) != 2 or len(order) != 2:  # noqa: PLR2004 - a pair
            raise TableError(
                f"the order of students must name two, smaller first (found {', '.join(order) or 'none'})."
            )
        absent = [student for student in order if student not in present]
        if absent:
            raise TableError(f"student {absent[0]} has no final runs; the table has {', '.join(present)}.")
        return (order[0], order[1]), ""
    if len(present) != 2:  # noqa: PLR2004 - a pair
        return (
            None,
            f"it compares two students, and the final runs have {len(present)} ({', '.join(present)})"
            + ("; name two with --order SMALLER,LARGER" if len(present) > 1 else ""),
        )
    depths = [_depth(student) for student in present]
    if None in depths or depths[0] == depths[1]:
        return (
            None,
            f"the names {present[0]} and {present[1]} do not tell which student is larger; give their order "
            "with --order SMALLER,LARGER",
        )
    return (present[0], present[1]), ""


def _shared_teachers(final: pd.DataFrame, pair: tuple[str, str]) -> tuple[str, ...]:
    taught = (
        final[~final["teacher"].isin(["", UNNAMED_TEACHER])].groupby(["teacher", "student"])["method"].agg(frozenset)
    )
    return tuple(
        teacher
        for teacher in sorted(taught.index.get_level_values("teacher").unique())
        if taught.get((teacher, pair[0]), "nothing") == taught.get((teacher, pair[1]))
    )
