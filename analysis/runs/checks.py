"""What the rows of a runs table must say together: names, settings, and no run twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from analysis.runs.columns import BASELINE, COLUMNS, ENTRY_KEY, RUN_KEY, STAGES, cell_label, refuse, text_of

DIGESTS = ("weights_sha256", "history_sha256", "correct_sha256")
MEASURED = ("best_epoch", "val_acc", "test_acc_best", "test_acc_final", "agreement", "kl_t1", "kl_t4", "ece")
SIZES = ("parameters", "forward_gflop")
ONE_VALUE = {"dataset": "dataset", "profile": "profile", "checkpoint": "checkpoint rule"}  # column: what it holds

Row = dict[Hashable, Any]


def check_together(runs: pd.DataFrame, source: str) -> None:
    """Check a typed table across its columns and rows.

    Args:
        runs: Every column of `COLUMNS`, and the user's own metric if there is one; in file order.
        source: Name of the file, for messages.

    Raises:
        TableError: Names source, row, column, value, and what to do.
    """
    rows: list[Row] = runs.to_dict("records")
    _check_names(rows, source)
    for row, run in enumerate(rows):
        _check_row(run, row, source)
    _check_labels(rows, source)
    for column in ONE_VALUE:
        _check_one_value(rows, source, column)
    _check_unique(rows, source)
    _check_checkpoints(rows, source)
    _check_sizes(rows, source)
    _check_repeats(runs, source)
    _check_copies(rows, source)


def own_columns(runs: pd.DataFrame) -> tuple[str, ...]:
    """Columns beyond the schema: the user's own metric, or nothing."""
    known = {column.name for column in COLUMNS}
    return tuple(name for name in runs.columns if name not in known)


def _check_names(rows: list[Row], source: str) -> None:
    """`KD` beside `kd`, or `None` for `none`, would silently be two methods."""
    for column in ("student", "teacher", "method"):
        spelling = {BASELINE: BASELINE} if column == "method" else {}
        for row, run in enumerate(rows):
            first = spelling.setdefault(run[column].casefold(), run[column])
            if first != run[column]:
                problem = f"differs from {first} in upper and lower case alone; write {first} if it is the same"
                refuse(source, row, column, run[column], problem)


def _check_row(run: Row, row: int, source: str) -> None:
    if run["stage"] not in STAGES:
        refuse(source, row, "stage", run["stage"], f"must be one of {', '.join(STAGES)}")
    if run["stage"] == "teachers" and run["method"] != BASELINE:
        problem = "a teacher is trained without distillation: method must be none"
        refuse(source, row, "method", run["method"], problem)
    if run["method"] == BASELINE:
        for column in ("teacher", "teacher_seed", "alpha", "temperature", "other_hyperparameters"):
            if not (run[column] == "" or pd.isna(run[column])):
                refuse(source, row, column, run[column], "means nothing for method none; leave it empty")
    elif run["teacher"] == "":
        refuse(source, row, "teacher", "", f"method {run['method']} needs its teacher's name; fill it in")
    if run["temperature"] == 0:
        refuse(source, row, "temperature", 0, "must be above 0, or empty where the method has none")
    best, epochs = run["best_epoch"], run["epochs"]
    if text_of(best) and text_of(epochs) and best > epochs:
        refuse(source, row, "best_epoch", best, f"must not exceed epochs ({epochs})")


def _check_labels(rows: list[Row], source: str) -> None:
    """Models tell cells apart by their labels, so `a>b` as a name must not make two cells one."""
    cells: dict[str, tuple[str, ...]] = {}
    for row, run in enumerate(rows):
        cell = (run["teacher"], run["student"], run["method"])
        label = cell_label(*cell)
        if cells.setdefault(label, cell) != cell:
            problem = f"two cells would both be called {label}; leave > and : out of names"
            refuse(source, row, "student", run["student"], problem)


def _check_one_value(rows: list[Row], source: str, column: str) -> None:
    first = rows[0][column]
    for row, run in enumerate(rows):
        if run[column] != first:
            problem = f"a table holds one {ONE_VALUE[column]}, and row 2 says {first or 'nothing'}; split the file"
            refuse(source, row, column, run[column], problem)


def _check_unique(rows: list[Row], source: str) -> None:
    first: dict[tuple[str, ...], int] = {}
    for row, run in enumerate(rows):
        entry = tuple(text_of(run[column]) for column in ENTRY_KEY)
        if first.setdefault(entry, row) < row:
            problem = f"{run['stage']} {_cell(run)} stands there twice with this seed, first in row {first[entry] + 2}"
            refuse(source, row, "seed", run["seed"], f"{problem}; keep one")


def _check_checkpoints(rows: list[Row], source: str) -> None:
    """Of a teacher whose checkpoints are told apart, a run without one could be any's."""
    first: dict[str, int] = {}
    for row, run in enumerate(rows):
        earlier = rows[first.setdefault(run["teacher"], row)]
        if (text_of(run["teacher_seed"]) == "") != (text_of(earlier["teacher_seed"]) == ""):
            problem = f"is given for some runs of teacher {run['teacher']} and not for others; fill it in for all"
            refuse(source, row, "teacher_seed", run["teacher_seed"], problem)


def _check_sizes(rows: list[Row], source: str) -> None:
    """A student with two sizes is two students."""
    for column in SIZES:
        first: dict[tuple[str, str], int] = {}
        for row, run in enumerate(rows):
            if text_of(run[column]) == "":
                continue
            earlier = first.setdefault((run["student"], run["stem"]), row)
            if rows[earlier][column] != run[column]:
                problem = f"row {earlier + 2} gives {run['student']} {rows[earlier][column]:g}; one name is one network"
                refuse(source, row, column, run[column], f"{problem}: correct one, or name them apart")


def _check_repeats(runs: pd.DataFrame, source: str) -> None:
    # seconds and latencies may differ: a record may be timed once or carried over
    same_in_all_stages = (*MEASURED, *own_columns(runs), *SIZES, "test_openings", "run_id", "spec_sha256", *DIGESTS)
    repeated = runs[runs.duplicated(list(RUN_KEY), keep=False)]
    for _, same in repeated.groupby(list(RUN_KEY), dropna=False, sort=False):
        for column in same_in_all_stages:
            given = same[column][same[column].notna() & (same[column] != "")]
            odd = given.index[given != given.iloc[0]] if len(given) else []
            if len(odd):
                first = given.index[0]
                refuse(
                    source, odd[0], column, given[odd[0]],
                    f"the same run in row {first + 2} (stage {runs['stage'][first]}) says {given[first]}; "
                    "a run that stands in several stages carries the same numbers",
                )  # fmt: skip


def _check_copies(rows: list[Row], source: str) -> None:
    """Within a stage, equal content under two entries is one run copied; across stages a run may stand twice."""
    for column in DIGESTS:
        first: dict[tuple[str, str], int] = {}
        for row, run in enumerate(rows):
            if run[column] == "":
                continue
            earlier = first.setdefault((run["stage"], run[column]), row)
            if earlier < row and not (column == "correct_sha256" and _may_be_right_alike(run, rows[earlier])):
                other = f"row {earlier + 2} ({_cell(rows[earlier])}, seed {rows[earlier]['seed']})"
                problem = f"{_cell(run)}, seed {run['seed']}, has the content of {other}: one run copied; remove one"
                refuse(source, row, column, run[column], problem)


def _may_be_right_alike(run: Row, other: Row) -> bool:
    """Two networks can be right on the same images: told apart by their weights, or right on all or none."""
    return (run["weights_sha256"] != "" and other["weights_sha256"] != "") or run["test_acc_best"] in (0, 1)


def _cell(run: Row) -> str:
    return cell_label(run["teacher"], run["student"], run["method"])
