"""What a table of final runs can be asked: its students in order of capacity, methods, shared teachers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.errors import TableError
from analysis.runs.checks import SIZES
from analysis.runs.table import BASELINE, UNNAMED_TEACHER, cell_label
from analysis.study.capacity import CAPACITIES, Capacity

# a t interval needs a spread, and a spread needs two
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Layout:
    """The shape of the final phase.

    Attributes:
        students: Architectures, smaller first where their order is known.
        methods: Distillation methods with runs, in alphabetical order.
        pair: The smaller and the larger student to compare, None where moderation cannot be asked.
        no_pair: Why `pair` is None, as a clause; empty otherwise.
        shared_teachers: Teachers that taught both students of `pair` by the same methods.
        seeds: Seeds in the cell that has fewest.
        ordered: Whether the order of `students` is known.
        named: Whether `pair` was named, not taken from the order of all.
    """

    students: tuple[str, ...]
    methods: tuple[str, ...]
    pair: tuple[str, str] | None
    no_pair: str
    shared_teachers: tuple[str, ...]
    seeds: int
    ordered: bool = True
    named: bool = False


def layout_of(final: pd.DataFrame, student_order: Sequence[str] | None = None) -> Layout:
    """Read the layout off the final rows.

    Args:
        final: Checked rows of stage `final`.
        student_order: The two students to compare, smaller first; by default the smallest and the largest.

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
    ranks = _ranks(final)
    present = sorted(final["student"].unique(), key=lambda name: (ranks.get(name, 0), name))
    ordered = len(set(ranks.values())) == len(present)
    pair, no_pair = _pair(present, student_order, ordered=ordered)
    methods = tuple(sorted(set(final["method"]) - {BASELINE}))
    shared = _shared_teachers(final, pair) if pair else ()
    seeds = int(final.groupby(["teacher", "student", "method"])["seed"].nunique().min())
    return Layout(tuple(present), methods, pair, no_pair, shared, seeds, ordered, named=student_order is not None)


def student_sizes(final: pd.DataFrame) -> dict[str, Capacity]:
    """Size of each student: what the table says, else what is known of the study's architectures.

    Args:
        final: Checked rows of stage `final`.

    Returns:
        By student; those of unknown size are left out.
    """
    given = final.groupby("student")[list(SIZES)].first().dropna().astype(float)
    told = {str(name): Capacity(int(size[SIZES[0]]), size[SIZES[1]]) for name, size in given.iterrows()}
    return {name: size for name in final["student"].unique() if (size := told.get(name) or CAPACITIES.get(name))}


def _ranks(final: pd.DataFrame) -> dict[str, int]:
    """What orders the students: parameters where all are known, else the depth of those that are ResNets by name."""
    students = set(final["student"])
    sizes = student_sizes(final)
    if sizes.keys() == students:
        return {name: size.parameters for name, size in sizes.items()}
    return {name: depth for name in students if (depth := _depth(name)) is not None}


def cell_sizes(final: pd.DataFrame) -> Mapping[str, int]:
    """Runs in each cell, by `analysis.runs.table.cell_label`."""
    return Counter(map(cell_label, final["teacher"], final["student"], final["method"]))


def _depth(student: str) -> int | None:
    """Layers of a ResNet by its name."""
    found = re.fullmatch(r"resnet-?(\d+)", student, re.IGNORECASE)
    return int(found[1]) if found else None


def _pair(present: Sequence[str], order: Sequence[str] | None, *, ordered: bool) -> tuple[tuple[str, str] | None, str]:
    if order is not None:
        if len(set(order)) != 2 or len(order) != 2:  # noqa: PLR2004 - a pair
            raise TableError(
                f"the order of students must name two, smaller first (found {', '.join(order) or 'none'})."
            )
        absent = [student for student in order if student not in present]
        if absent:
            raise TableError(f"student {absent[0]} has no final runs; the table has {', '.join(present)}.")
        return (order[0], order[1]), ""
    if ordered and len(present) > 1:
        return (present[0], present[-1]), ""
    if len(present) != 2:  # noqa: PLR2004 - a pair
        return (
            None,
            f"it compares two students, and the final runs have {len(present)} ({', '.join(present)})"
            + ("; name two with --order SMALLER,LARGER" if len(present) > 1 else ""),
        )
    return (
        None,
        f"the names {present[0]} and {present[1]} do not tell which student is larger; give their order "
        "with --order SMALLER,LARGER",
    )


def _shared_teachers(final: pd.DataFrame, pair: tuple[str, str]) -> tuple[str, ...]:
    taught = (
        final[~final["teacher"].isin(["", UNNAMED_TEACHER])].groupby(["teacher", "student"])["method"].agg(frozenset)
    )
    return tuple(
        teacher
        for teacher in sorted(taught.index.get_level_values("teacher").unique())
        if taught.get((teacher, pair[0]), "nothing") == taught.get((teacher, pair[1]))
    )
