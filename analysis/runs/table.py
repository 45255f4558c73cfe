"""The runs table's one schema: what a table must hold before any statistic touches it.

One row per entry of the plan. A run may stand in several stages (a baseline of `final` is also one of
`stem_ablation`): same numbers, counted once. `columns` holds what a column may say, `checks` what rows may
say together.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.errors import TableError
from analysis.runs.checks import check_together
from analysis.runs.columns import (
    ACCURACIES,
    BASELINE,
    CALIBRATION,
    CELL_SETTING,
    COLUMNS,
    ENTRY_KEY,
    FRACTION_ADVICE,
    OTHER_NAME,
    RUN_KEY,
    STAGES,
    Column,
    cell_label,
    parse_column,
    text_of,
)
from analysis.runs.metric import ACCURACY, Metric

__all__ = [
    "ACCURACIES",
    "BASELINE",
    "COLUMNS",
    "STAGES",
    "UNNAMED_TEACHER",
    "cell_label",
    "check_runs",
    "distinct_runs",
    "finals",
]

UNNAMED_TEACHER = "teacher"
_DTYPES = {"text": "str", "sha256": "str", "int": "Int64", "float": "float64", "bool": "boolean"}


def check_runs(frame: pd.DataFrame, source: str, metric: Metric = ACCURACY) -> pd.DataFrame:
    """Parse and check a runs table, strictly.

    A table without `stage` holds final runs alone; without `teacher`, distilled runs learned from one teacher,
    called `UNNAMED_TEACHER`; `accuracy` is another name of `test_acc_best`.

    Args:
        frame: Rows in file order, as text or typed; row i is line i + 2 of a CSV file with a header.
        source: Name of the file, for messages.
        metric: What runs are compared by. A column of the user's own is required and filled, and
            `test_acc_best` is then optional.

    Returns:
        A typed frame with every column of `COLUMNS` (an absent optional one is empty) and the user's own metric
        as last column, in canonical row order. Empty text is "", empty numbers are NaN or <NA>.

    Raises:
        TableError: Names source, row, column, value, and what to do.
    """
    schema = _schema(metric, source)
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns")
    written = _written_names(frame, schema, source)
    if frame.empty:
        raise TableError(f"{source}: the table has a header but no rows; collect runs first.")
    typed: dict[str, Any] = {}
    for column in schema:
        name = written.get(column.name)
        texts = [text_of(value) for value in frame[name].tolist()] if name else [""] * len(frame)
        if column.name == "stage" and not name:
            texts = ["final"] * len(frame)
        if column.name == "teacher" and not name:
            methods = [text_of(value) for value in frame["method"]]
            texts = ["" if method.casefold() == BASELINE else UNNAMED_TEACHER for method in methods]
        values = parse_column(texts, replace(column, name=name or column.name), source)
        whole = column.kind == "int" and column.filled
        typed[column.name] = pd.Series(values, dtype="int64" if whole else _DTYPES[column.kind])
    runs = pd.DataFrame(typed)
    check_together(runs, source)
    order = runs.assign(stage=runs["stage"].map(STAGES.index))
    return runs.loc[order.sort_values(list(ENTRY_KEY)).index].reset_index(drop=True)


def finals(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of the final phase: the only ones that the models use.

    Raises:
        TableError: There are none, or one teacher, student and method stand there under two settings.
    """
    rows = runs[runs["stage"] == "final"].reset_index(drop=True)
    if rows.empty:
        raise TableError(
            "the runs table has no row of stage `final`: nothing to compare; give the final runs that stage."
        )
    cell = ["teacher", "student", "method"]
    settings = rows[list(CELL_SETTING)].drop_duplicates()
    twice = settings[settings.duplicated(cell)]
    if not twice.empty:
        label = cell_label(*twice.iloc[0][cell])
        raise TableError(
            f"stage `final` holds {label} under two settings (hyperparameters, stem, clip_projections, "
            "epochs); one setting per teacher, student and method can be analysed: keep the chosen one."
        )
    return rows


def distinct_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Each run once, however many stages it stands in (its first stage's row is kept)."""
    return runs.drop_duplicates(list(RUN_KEY)).reset_index(drop=True)


def _schema(metric: Metric, source: str) -> tuple[Column, ...]:
    """The columns of a table that is compared by `metric`."""
    if metric.name in (*ACCURACIES, OTHER_NAME[0]) and not metric.higher_is_better:
        raise TableError(
            f"{source}: {metric.name} is an accuracy, so higher is better; put an error rate into a column of its own."
        )
    if metric.name == CALIBRATION and metric.higher_is_better:
        raise TableError(f"{source}: {metric.name} is an error, so lower is better; say so with --lower-is-better.")
    if metric.name in ACCURACIES:
        return COLUMNS
    if metric.name in {column.name for column in COLUMNS} - {CALIBRATION}:
        raise TableError(
            f"{source}: runs cannot be compared by column {metric.name}, which means something else; choose "
            f"{', '.join(ACCURACIES)} or a column of your own that holds fractions."
        )
    optional = tuple(
        replace(column, required=False, filled=False) if column.name == ACCURACY.name else column for column in COLUMNS
    )
    if metric.name == CALIBRATION:
        return tuple(replace(column, required=True, filled=True) if column.name == CALIBRATION else column
                     for column in optional)  # fmt: skip
    return (*optional, Column(metric.name, "float", required=True, filled=True, low=0, high=1, advice=FRACTION_ADVICE))


def _written_names(frame: pd.DataFrame, schema: tuple[Column, ...], source: str) -> dict[str, str]:
    """For each column of the schema that the table has, the name it has there."""
    names = list(frame.columns)
    known = [column.name for column in schema]
    if "" in names:
        raise TableError(f"{source}: column {names.index('') + 1} has no name; name it or remove it.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f"{source}: column {twice!r} stands there twice; keep one.")
    other, meant = OTHER_NAME if OTHER_NAME[0] not in known else ("", "")
    if other in names and meant in names:
        raise TableError(f"{source}: column {other!r} is another name of {meant!r}, and both are there; keep one.")
    written = {meant if name == other else name: name for name in names}
    unknown = [name for name in written if name not in known]
    if unknown:
        plain = re.sub(r"[^a-z0-9]+", "_", unknown[0].lower())
        way_out = f"rename it to {plain!r}" if plain in known else "remove or rename it, or compare runs by it"
        raise TableError(f"{source}: unknown column {unknown[0]!r}; {way_out}. Known: {', '.join(known)}.")
    missing = [column.name for column in schema if column.required and column.name not in written]
    if missing:
        raise TableError(f"{source}: column {', '.join(missing)} is missing; found: {', '.join(names)}. Add it.")
    return written
