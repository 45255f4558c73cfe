"""What a checked table lacks, what in it looks copied, and which runs need a word: sentences, and no statistic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.runs.checks import DIGESTS, MEASURED, own_columns
from analysis.runs.columns import BASELINE, ENTRY_KEY, RUN_KEY, cell_label, text_of

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
    found = []
    for same in _copies(runs):
        differ = [name for name in RUN_KEY if len(set(map(text_of, same[name]))) > 1]
        teacher, student, method = (text_of(same[name].iloc[0]) for name in ("teacher", "student", "method"))
        cell = cell_label("" if "teacher" in differ else teacher, student, method)
        texts = [[f"{name} {text_of(run[name]) or 'none'}" for name in differ] for _, run in same.iterrows()]
        which = [" ".join(words) for words in texts]
        equal = [name for name in _measured(runs) if same[name].notna().all()]
        found.append(f"Runs of {cell} with {_listed(which)} have the same {_listed(equal)}: one run copied?")
    return tuple(found)


def flagged_runs(runs: pd.DataFrame) -> dict[int, str]:
    """Rows that a reader should look at twice, and why.

    Args:
        runs: The whole checked table.

    Returns:
        A short reason by row, counted from 1, in ascending order: a final run that chose the hyperparameters (of the
        candidates at its seed its setting had the best validation accuracy, which can flatter its cell), a run that
        stands in several stages, or one that looks copied (`suspected_copies`).
    """
    run_of, reasons = _run_of(runs).tolist(), dict[int, list[str]]()
    stages, rows_of = runs["stage"].tolist(), dict[int, list[int]]()
    for row, run in enumerate(run_of, 1):
        rows_of.setdefault(run, []).append(row)
    for row in selection_winners(runs):
        itself = any(stages[other - 1] == "select" for other in rows_of[run_of[row - 1]])
        told = "chose the hyperparameters" if itself else "the hyperparameters were chosen at its seed"
        reasons.setdefault(row, []).append(told)
    for rows in rows_of.values():
        for row in rows:
            others = [f"row {other} ({stages[other - 1]})" for other in rows if other != row]
            if others:
                reasons.setdefault(row, []).append(f"the same run as {_listed(others)}")
    for same in _copies(runs):
        for run in same["run"]:
            others = [str(rows_of[other][0]) for other in same["run"] if other != run]
            for row in rows_of[run]:
                reasons.setdefault(row, []).append(f"copy of row {_listed(others)} suspected")
    return {row: "; ".join(reasons[row]) for row in sorted(reasons)}


def selection_winners(runs: pd.DataFrame) -> tuple[int, ...]:
    """Final rows, counted from 1, whose setting the selection chose at their own seed, among several.

    Args:
        runs: The whole checked table; the choice is by validation accuracy, as the selection makes it.
    """
    tried = runs[(runs["stage"] == "select") & runs["val_acc"].notna()]
    rivals = tried.groupby(["teacher", "teacher_seed", "student", "method", "seed"], dropna=False)["val_acc"]
    won = tried[(tried["val_acc"] == rivals.transform("max")) & (rivals.transform("size") > 1)]
    entry = list(ENTRY_KEY[1:])  # without the stage
    chosen = {tuple(map(text_of, values)) for values in won[entry].itertuples(index=False)}
    rows = enumerate(zip(runs["stage"], runs[entry].itertuples(index=False), strict=True), start=1)
    return tuple(row for row, (stage, values) in rows if stage == "final" and tuple(map(text_of, values)) in chosen)


def _run_of(runs: pd.DataFrame) -> pd.Series[int]:
    """Which run each row is of, numbered from 0: a run may stand in several stages."""
    return runs.groupby(list(RUN_KEY), dropna=False).ngroup()


def _measured(runs: pd.DataFrame) -> list[str]:
    return [*MEASURED, *own_columns(runs)]


def _copies(runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Groups of runs that look copied: all that the table knows of each, and its number (`_run_of`)."""
    measured = _measured(runs)
    # all that is known of a run: a stage may leave empty what another holds, and where both speak they agree
    known = runs[[*RUN_KEY, *measured, *DIGESTS]].assign(run=_run_of(runs))
    rows = known.groupby(list(RUN_KEY), dropna=False, as_index=False).max()
    rows = rows[rows[measured].notna().sum(axis="columns") >= FEWEST_EQUAL]
    for _, same in rows.groupby(["student", "method", *measured], dropna=False, sort=False):
        told_apart = any((same[digest] != "").all() and same[digest].is_unique for digest in DIGESTS)
        if len(same) > 1 and not told_apart:
            yield same


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
