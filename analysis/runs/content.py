"""What a checked table lacks, and what in it looks copied: sentences, and no statistic."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.runs.checks import DIGESTS, MEASURED, own_columns
from analysis.runs.columns import BASELINE, RUN_KEY, cell_label, text_of

# One or two equal numbers are chance: accuracies on a small test set take few values.
FEWEST_EQUAL = 3
_MOST_LISTED = 8


def missing_cells(final: pd.DataFrame) -> tuple[str, ...]:
    """Comparisons that a reader would expect and the final rows cannot give.

    Args:
        final: Checked rows of stage `final`.

    Returns:
        One sentence for each student without a baseline, for each student without a method that another has,
        and for each teacher-student pair that lacks a method which its student learned from another teacher.
    """
    methods = sorted(set(final["method"]) - {BASELINE})
    found = []
    for student, rows in final.groupby("student"):
        has = set(rows["method"])
        if BASELINE not in has:
            found.append(f"{student} has no baseline among the final runs, so its gains cannot be estimated.")
        lacks = [method for method in methods if method not in has]
        if lacks:
            found.append(f"{student} has no final runs of {_listed(lacks)}, which another student has.")
        for (teacher, seed), taught in rows[rows["teacher"] != ""].groupby(["teacher", "teacher_seed"], dropna=False):
            lacks = sorted(has - set(taught["method"]) - {BASELINE})
            if lacks:
                pair = f"{teacher}>{student}{_checkpoint(rows, teacher, seed)}"
                which = f"which {student} learned from another teacher"
                found.append(f"{pair} has no final runs of {_listed(lacks)}, {which}.")
    return tuple(found)


def unequal_seeds(final: pd.DataFrame) -> tuple[str, ...]:
    """Seeds that cells of one student do not share, and students with unequal numbers of seeds.

    Args:
        final: Checked rows of stage `final`.

    Returns:
        A sentence for each set of seeds that cells lack and others of their student have, and one if students
        differ in how many they have.
    """
    found, seeds_of = [], {}
    for student, rows in final.groupby("student"):
        seeds_of[str(student)] = everything = set(rows["seed"])
        lacking: dict[tuple[int, ...], list[str]] = {}
        for (teacher, teacher_seed, method), cell in rows.groupby(["teacher", "teacher_seed", "method"], dropna=False):
            missing = tuple(sorted(everything - set(cell["seed"])))
            if missing:
                label = cell_label(str(teacher), str(student), str(method))
                lacking.setdefault(missing, []).append(label + _checkpoint(rows, teacher, teacher_seed))
        for missing, cells in lacking.items():
            verb, noun = ("lacks" if len(cells) == 1 else "lack"), ("seed" if len(missing) == 1 else "seeds")
            found.append(f"{_listed(cells)} {verb} {noun} {_listed(missing)}, which other cells of {student} have.")
    if len({len(seeds) for seeds in seeds_of.values()}) > 1:
        counts = [f"{student} {len(seeds)}" for student, seeds in seeds_of.items()]
        found.append(f"Students differ in their number of seeds: {_listed(counts)}.")
    return tuple(found)


def suspected_copies(runs: pd.DataFrame) -> tuple[str, ...]:
    """Runs of one student and method whose every measured number coincides, and that no digest tells apart.

    Args:
        runs: The whole checked table. A run that stands in several stages counts once.

    Returns:
        A sentence for each group of such runs; nothing where fewer than three numbers were measured.
    """
    measured = [*MEASURED, *own_columns(runs)]
    # all that is known of a run: a stage may leave empty what another holds, and where both speak they agree
    rows = runs[[*RUN_KEY, *measured, *DIGESTS]].groupby(list(RUN_KEY), dropna=False, as_index=False).max()
    rows = rows[rows[measured].notna().sum(axis="columns") >= FEWEST_EQUAL]
    found = []
    for _, same in rows.groupby(["student", "method", *measured], dropna=False, sort=False):
        told_apart = any((same[digest] != "").all() and same[digest].is_unique for digest in DIGESTS)
        if len(same) > 1 and not told_apart:
            differ = [name for name in RUN_KEY if len(set(map(text_of, same[name]))) > 1]
            teacher, student, method = (text_of(same[name].iloc[0]) for name in ("teacher", "student", "method"))
            cell = cell_label("" if "teacher" in differ else teacher, student, method)
            texts = [[f"{name} {text_of(run[name]) or 'none'}" for name in differ] for _, run in same.iterrows()]
            which = [" ".join(words) for words in texts]
            equal = [name for name in measured if same[name].notna().all()]
            found.append(f"Runs of {cell} with {_listed(which)} have the same {_listed(equal)}: one run copied?")
    return tuple(found)


def _checkpoint(rows: pd.DataFrame, teacher: object, seed: object) -> str:
    """Which of a teacher's checkpoints is meant, where it has several; else nothing."""
    known = set(rows.loc[rows["teacher"] == teacher, "teacher_seed"].dropna())
    return f" (teacher seed {seed})" if len(known) > 1 else ""


def _listed(items: Sequence[object]) -> str:
    """Names with commas; a long list is cut and counted."""
    names = [str(item) for item in items]
    if len(names) > _MOST_LISTED:
        names = [*names[: _MOST_LISTED - 1], f"{len(names) - _MOST_LISTED + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
