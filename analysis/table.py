"""The runs table's one schema: what a table must hold before any statistic touches it.

One row per entry of the plan. A run may stand in several stages (a baseline of `final` is also one of
`stem_ablation`): same numbers, counted once. Accuracies are fractions in the table; percent begins behind it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import pandas as pd

from analysis.errors import TableError

STAGES = ("teachers", "select", "final", "stem_ablation", "bug_ablation")
BASELINE = "none"
ACCURACIES = ("test_acc_best", "test_acc_final", "val_acc")


@dataclass(frozen=True)
class Column:
    """One column: its type, whether a table must have it, whether each row must fill it, and its range."""

    name: str
    kind: Literal["text", "int", "float", "bool", "sha256"]
    required: bool = False
    filled: bool = False
    low: float = -math.inf
    high: float = math.inf


COLUMNS = (
    Column("stage", "text", required=True, filled=True),
    Column("teacher", "text", required=True),
    Column("student", "text", required=True, filled=True),
    Column("method", "text", required=True, filled=True),
    Column("alpha", "float", low=0, high=1),
    Column("temperature", "float", low=0),
    Column("stem", "text"),
    Column("clip_projections", "bool"),
    Column("seed", "int", required=True, filled=True, low=0),
    Column("epochs", "int", low=1),
    Column("best_epoch", "int", low=1),
    Column("val_acc", "float", low=0, high=1),
    Column("test_acc_best", "float", required=True, filled=True, low=0, high=1),
    Column("test_acc_final", "float", low=0, high=1),
    Column("agreement", "float", low=0, high=1),
    Column("kl_t1", "float", low=-1e-6),  # a mean of rounded non-negative terms may come out a hair below 0
    Column("kl_t4", "float", low=-1e-6),
    Column("dataset", "text"),
    Column("profile", "text"),
    Column("run_id", "text"),
    Column("spec_sha256", "sha256"),
    Column("weights_sha256", "sha256"),
    Column("history_sha256", "sha256"),
    Column("correct_sha256", "sha256"),
    Column("seconds", "float", low=0),
)
_SETTING = ["teacher", "student", "method", "alpha", "temperature", "stem", "clip_projections"]
ENTRY_KEY = ("stage", *_SETTING, "seed")
RUN_KEY = (*_SETTING, "seed", "epochs")
_SAME_IN_ALL_STAGES = (  # seconds may differ: a record may be timed once or carried over
    "best_epoch", "val_acc", "test_acc_best", "test_acc_final", "agreement", "kl_t1", "kl_t4",
    "run_id", "spec_sha256", "weights_sha256", "history_sha256", "correct_sha256",
)  # fmt: skip
_DTYPES = {"text": "str", "sha256": "str", "int": "Int64", "float": "float64", "bool": "boolean"}


def check_runs(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Parse and check a runs table, strictly.

    Args:
        frame: Rows in file order, as text or typed; row i is line i + 2 of a CSV file with a header.
        source: Name of the file, for messages.

    Returns:
        A typed frame with every column of `COLUMNS` (an absent optional one is empty) in canonical row order.
        Empty text is "", empty numbers are NaN or <NA>.

    Raises:
        TableError: Names source, row, column, value, and what to do.
    """
    _check_columns(frame, source)
    if frame.empty:
        raise TableError(f"{source}: the table has a header but no rows; collect runs first.")
    typed: dict[str, Any] = {}
    for column in COLUMNS:
        texts = [_text(value) for value in frame[column.name]] if column.name in frame else [""] * len(frame)
        if column.name in ACCURACIES:
            _refuse_percent(texts, column, source)
        values = [_parse(text, column, source, row) for row, text in enumerate(texts)]
        whole = column.kind == "int" and column.filled
        typed[column.name] = pd.Series(values, dtype="int64" if whole else _DTYPES[column.kind])
    runs = pd.DataFrame(typed)
    _check_rows(runs, source)
    _check_one_value(runs, source, "dataset")
    _check_one_value(runs, source, "profile")
    _check_unique(runs, source)
    _check_repeats(runs, source)
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
    settings = rows[[*_SETTING, "epochs"]].drop_duplicates()
    twice = settings[settings.duplicated(cell)]
    if not twice.empty:
        label = cell_label(*twice.iloc[0][cell])
        raise TableError(
            f"stage `final` holds {label} under two settings (alpha, temperature, stem, clip_projections, "
            "epochs); one setting per teacher, student and method can be analysed: keep the chosen one."
        )
    return rows


def distinct_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Each run once, however many stages it stands in (its first stage's row is kept)."""
    return runs.drop_duplicates(list(RUN_KEY)).reset_index(drop=True)


def cell_label(teacher: str, student: str, method: str) -> str:
    """Name of a cell: `resnet101>resnet34:feature`, or `resnet34:none` for a baseline."""
    return f"{teacher}>{student}:{method}" if teacher else f"{student}:{method}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if pd.isna(value) else str(value).strip()  # type: ignore[call-overload]  # a cell holds one scalar


def _fail(source: str, row: int, column: str, value: object, problem: str) -> NoReturn:
    raise TableError(f"{source}, row {row + 2}, column {column}: {problem} (found {_text(value) or 'nothing'}).")


def _check_columns(frame: pd.DataFrame, source: str) -> None:
    names = [str(name) for name in frame.columns]
    known = [column.name for column in COLUMNS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TableError(f"{source}: unknown column {unknown[0]!r}; remove or rename it. Known: {', '.join(known)}.")
    if len(set(names)) < len(names):
        raise TableError(
            f"{source}: column {next(n for n in names if names.count(n) > 1)!r} stands there twice; keep one."
        )
    missing = [column.name for column in COLUMNS if column.required and column.name not in names]
    if missing:
        raise TableError(f"{source}: column {', '.join(missing)} is missing; found: {', '.join(names)}. Add it.")


def _refuse_percent(texts: list[str], column: Column, source: str) -> None:
    """A whole column in percent is one mistake with one way out, not a hundred rows out of range."""
    numbers = [(row, float(text)) for row, text in enumerate(texts) if re.fullmatch(r"\d+(\.\d*)?", text)]
    above = [(row, value) for row, value in numbers if value > 1]
    if above and len(above) * 2 > len(numbers) and max(value for _, value in above) <= 100:  # noqa: PLR2004 - 100%
        row, value = above[0]
        _fail(
            source,
            row,
            column.name,
            value,
            "accuracies must be fractions in [0, 1], and this column looks like percent; divide it by 100",
        )


def _parse(text: str, column: Column, source: str, row: int) -> Any:  # noqa: ANN401 - one of str, int, float, bool, None
    if text == "":
        if column.filled:
            _fail(source, row, column.name, text, "a value is needed here; fill it in or drop the row")
        return "" if column.kind in ("text", "sha256") else None
    if column.kind == "text":
        return text
    if column.kind == "sha256":
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            _fail(source, row, column.name, text, "must be a SHA-256 digest of 64 hex digits, or empty")
        return text
    if column.kind == "bool":
        if text.lower() not in ("true", "false"):
            _fail(source, row, column.name, text, "must be true, false or empty")
        return text.lower() == "true"
    return _parse_number(text, column, source, row)


def _parse_number(text: str, column: Column, source: str, row: int) -> float | int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        _fail(source, row, column.name, text, "must be a number")
    if column.kind == "int" and not number.is_integer():
        _fail(source, row, column.name, text, "must be a whole number")
    if not column.low <= number <= column.high:
        bounds = f"from {column.low:g} to {column.high:g}" if column.high < math.inf else f"at least {column.low:g}"
        _fail(source, row, column.name, text, f"must be {bounds}")
    return int(number) if column.kind == "int" else number


def _check_rows(runs: pd.DataFrame, source: str) -> None:
    for row, run in enumerate(runs.to_dict("records")):
        if run["stage"] not in STAGES:
            _fail(source, row, "stage", run["stage"], f"must be one of {', '.join(STAGES)}")
        if run["stage"] == "teachers" and run["method"] != BASELINE:
            _fail(
                source,
                row,
                "method",
                run["method"],
                "a teacher is trained without distillation: method must be none",
            )
        if run["method"] == BASELINE:
            for column in ("teacher", "alpha", "temperature"):
                if not (run[column] == "" or pd.isna(run[column])):
                    _fail(source, row, column, run[column], "means nothing for method none; leave it empty")
        elif run["teacher"] == "":
            _fail(source, row, "teacher", "", f"method {run['method']} needs its teacher's name; fill it in")
        if run["temperature"] == 0:
            _fail(source, row, "temperature", 0, "must be above 0, or empty where the method has none")
        if not (pd.isna(run["best_epoch"]) or pd.isna(run["epochs"])) and run["best_epoch"] > run["epochs"]:
            _fail(source, row, "best_epoch", run["best_epoch"], f"must not exceed epochs ({run['epochs']})")


def _check_one_value(runs: pd.DataFrame, source: str, column: str) -> None:
    odd = runs.index[runs[column] != runs[column].iloc[0]]
    if len(odd):
        first = runs[column].iloc[0]
        _fail(
            source,
            odd[0],
            column,
            runs[column].iloc[odd[0]],
            f"a table holds one {column}, and row 2 says {first or 'nothing'}; split the file",
        )


def _check_unique(runs: pd.DataFrame, source: str) -> None:
    first: dict[tuple[str, ...], int] = {}
    for row, run in enumerate(runs.to_dict("records")):
        entry = tuple(_text(run[column]) for column in ENTRY_KEY)
        if first.setdefault(entry, row) < row:
            label = cell_label(run["teacher"], run["student"], run["method"])
            problem = f"{run['stage']} {label} stands there twice with this seed, first in row {first[entry] + 2}"
            _fail(source, row, "seed", run["seed"], f"{problem}; keep one")


def _check_repeats(runs: pd.DataFrame, source: str) -> None:
    for _, same in runs.groupby(list(RUN_KEY), dropna=False, sort=False):
        for column in _SAME_IN_ALL_STAGES if len(same) > 1 else ():
            given = same[column][same[column].notna() & (same[column] != "")]
            odd = given.index[given != given.iloc[0]] if len(given) else []
            if len(odd):
                first = given.index[0]
                _fail(
                    source, odd[0], column, given[odd[0]],
                    f"the same run in row {first + 2} (stage {runs['stage'][first]}) says {given[first]}; "
                    "a run that stands in several stages carries the same numbers",
                )  # fmt: skip
