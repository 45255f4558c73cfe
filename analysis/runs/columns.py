"""The columns of a runs table, and how the text of one cell becomes a value.

Accuracies are fractions in the table; percent begins behind it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import pandas as pd

from analysis.errors import TableError

STAGES = ("teachers", "select", "final", "stem_ablation", "bug_ablation")
BASELINE = "none"
ACCURACIES = ("test_acc_best", "test_acc_final", "val_acc")
CALIBRATION = "ece"  # an error that the table may hold and runs may be compared by
OTHER_NAME = ("accuracy", "test_acc_best")  # what a table of one accuracy a run may call it
FRACTION_ADVICE = "kdcap compares fractions (accuracy, error rate, F1), so turn a perplexity or a loss into one first"
LONGEST_FOUND = 60  # characters of a cell that a message repeats


@dataclass(frozen=True)
class Column:
    """One column: its type, whether a table must have it, whether each row must fill it, its range, and a way out."""

    name: str
    kind: Literal["text", "int", "float", "bool", "sha256"]
    required: bool = False
    filled: bool = False
    low: float = -math.inf
    high: float = math.inf
    advice: str = ""


COLUMNS = (
    Column("stage", "text", filled=True),
    Column("teacher", "text"),
    Column("teacher_seed", "int", low=0),  # which of the teacher's checkpoints; empty: the only one
    Column("student", "text", required=True, filled=True),
    Column("method", "text", required=True, filled=True),
    Column("alpha", "float", low=0, high=1),
    Column("temperature", "float", low=0),
    Column("other_hyperparameters", "text"),  # `beta=1000`
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
    Column(CALIBRATION, "float", low=0, high=1),
    Column("test_openings", "int", low=0),
    Column("parameters", "int", low=1),
    Column("forward_gflop", "float", low=1e-9),  # one operation
    Column("latency_ms_batch1", "float", low=0),
    Column("latency_ms_batch128", "float", low=0),
    Column("checkpoint", "text"),  # the rule that chose the weights of test_acc_best
)
_SETTING = ("student", "method", "alpha", "temperature", "other_hyperparameters", "stem", "clip_projections")
# a cell's runs over several checkpoints of its teacher belong together; as runs they differ
_RUN = ("teacher", "teacher_seed", *_SETTING, "seed")
ENTRY_KEY = ("stage", *_RUN)
RUN_KEY = (*_RUN, "epochs")
CELL_SETTING = ("teacher", *_SETTING, "epochs")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_LARGEST_INT = 2**63 - 1  # what an int64 column holds


def cell_label(teacher: str, student: str, method: str) -> str:
    """Name of a cell: `resnet101>resnet34:feature`, or `resnet34:none` for a baseline."""
    return f"{teacher}>{student}:{method}" if teacher else f"{student}:{method}"


def text_of(value: object) -> str:
    """A cell as a CSV file would hold it, without outer spaces; "" if it is empty."""
    if isinstance(value, str):  # most cells; to ask pandas takes longer than all the rest
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    return "" if pd.isna(value) else str(value).strip()  # type: ignore[call-overload]  # a cell holds one scalar


def refuse(source: str, row: int, column: str, value: object, problem: str) -> NoReturn:
    """Raise a TableError that names the place and what was found; row 0 is line 2 of the file."""
    found = text_of(value) or "nothing"
    found = found if len(found) <= LONGEST_FOUND else f"{found[:LONGEST_FOUND]}..."
    raise TableError(f"{source}, row {row + 2}, column {column}: {problem} (found {found}).")


def parse_column(texts: Sequence[str], column: Column, source: str) -> list[Any]:
    """The values of one column.

    Args:
        texts: Its cells in file order, from `text_of`.
        column: What they must be.
        source: Name of the file, for messages.

    Returns:
        One of str, int, float, bool a cell; an empty cell is "" in a text column and None elsewhere.

    Raises:
        TableError: A cell that breaks the column's rule, or a column of fractions that holds percent.
    """
    if column.high == 1:
        _refuse_percent(texts, column, source)
    parsed: dict[str, Any] = {}  # most columns repeat a few values
    for row, text in enumerate(texts):
        if text not in parsed:
            parsed[text] = _parse(text, column, source, row)
    return [parsed[text] for text in texts]


def _refuse_percent(texts: Sequence[str], column: Column, source: str) -> None:
    """A whole column in percent is one mistake with one way out, not a hundred rows out of range."""
    numbers = [(row, float(text)) for row, text in enumerate(texts) if _NUMBER.fullmatch(text)]
    above = [(row, value) for row, value in numbers if value > 1]
    if above and len(above) * 2 > len(numbers) and max(value for _, value in above) <= 100:  # noqa: PLR2004 - 100%
        row = above[0][0]
        problem = "values must be fractions in [0, 1], and this column looks like percent; divide it by 100"
        other = f"; if it is no percentage, {column.advice}" if column.advice else ""
        refuse(source, row, column.name, texts[row], problem + other)


def _parse(text: str, column: Column, source: str, row: int) -> Any:  # noqa: ANN401 - one of str, int, float, bool, None
    if text == "":
        if column.filled:
            refuse(source, row, column.name, text, "a value is needed here; fill it in or drop the row")
        return "" if column.kind in ("text", "sha256") else None
    if not text.isprintable():
        hidden = next(character for character in text if not character.isprintable())
        shown = "".join(character if character.isprintable() else "?" for character in text)
        refuse(source, row, column.name, shown, f"holds the invisible character U+{ord(hidden):04X}; write it anew")
    if column.kind == "text":
        return text
    if column.kind == "sha256":
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            refuse(source, row, column.name, text, "must be a SHA-256 digest of 64 hex digits, or empty")
        return text
    if column.kind == "bool":
        if text.lower() not in ("true", "false"):
            refuse(source, row, column.name, text, "must be true, false or empty")
        return text.lower() == "true"
    return _parse_number(text, column, source, row)


def _parse_number(text: str, column: Column, source: str, row: int) -> float | int:
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        refuse(source, row, column.name, text, f"must be a number{_number_hint(text, column)}")
    if column.kind == "int" and not number.is_integer():
        refuse(source, row, column.name, text, "must be a whole number")
    if not column.low <= number <= column.high:
        bounds = f"from {column.low:g} to {column.high:g}" if column.high < math.inf else f"at least {column.low:g}"
        refuse(source, row, column.name, text, f"must be {bounds}{column.advice and f'; {column.advice}'}")
    if column.kind == "float":
        return number
    whole = int(text) if re.fullmatch(r"[+-]?\d+", text) else int(number)  # a float would round a long seed
    if whole > _LARGEST_INT:
        refuse(source, row, column.name, text, f"must be at most {_LARGEST_INT}; number them anew")
    return whole


def _number_hint(text: str, column: Column) -> str:
    if text.endswith("%"):
        return " without a percent sign; write a fraction, 0.951 for 95.1%"
    if "," in text:
        return " with a decimal point; write 0.951 for 0,951"
    return "" if column.filled else ", or empty where there is none"
