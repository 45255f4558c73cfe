"""Tables as files: runs tables in, result tables out."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.table import check_runs
from harness.errors import KdcapError
from harness.files import whole_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def read_runs(path: Path, metric: Metric = ACCURACY) -> pd.DataFrame:
    """Read and check a runs table.

    Args:
        path: CSV file, a row per entry of the plan (`analysis.runs.table.COLUMNS`), accuracies as fractions.
        metric: What runs are compared by; see `analysis.runs.table.check_runs`.

    Returns:
        The checked, typed frame in canonical row order.

    Raises:
        KdcapError: The file is missing or is no CSV file.
        analysis.errors.TableError: The table breaks its schema.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets put a byte-order mark in front
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError:
        raise KdcapError(
            f"no runs table at {path}; make it with `harness collect` or name another with --runs."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _no_table(path, str(error)) from None
    while lines and not any(value.strip() for value in lines[-1]):
        lines.pop()
    if not lines:
        raise _no_table(path, "it is empty")
    return check_runs(_frame(lines, path), str(path), metric)


def _frame(lines: list[list[str]], path: Path) -> pd.DataFrame:
    """The lines as text; blank ones are kept, so that messages count lines as an editor does."""
    header, *rows = lines
    for name, sign in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and sign in header[0]:
            raise KdcapError(
                f"{path}: values are separated by {name}, and kdcap reads commas; save the table as "
                "comma-separated CSV, with decimal points."
            )
    for row, values in enumerate(rows):
        if values and len(values) != len(header):
            problem = f"row {row + 2} has {len(values)} values and the header {len(header)} names"
            raise _no_table(path, f"{problem}; quote names with commas, and write decimal points")
    return pd.DataFrame([values or [""] * len(header) for values in rows], columns=header, dtype="str")


def _no_table(path: Path, why: str) -> KdcapError:
    return KdcapError(f"{path} is no CSV file with a header and a row per run ({why}); check the file.")


def write_table(path: Path, rows: Sequence[DataclassInstance], row_type: type[DataclassInstance] | None = None) -> None:
    """Write rows as CSV, whole or not at all; the same rows always give the same bytes.

    Args:
        path: Target file.
        rows: Instances of one frozen dataclass; its fields are the columns, in order.
        row_type: The class, needed only where `rows` may be empty.
    """
    write_lines(path, row_type or type(rows[0]), map(line_of, rows))


def write_lines(path: Path, row_type: type[DataclassInstance], lines: Iterable[str]) -> None:
    """`write_table` of rows that are text already, so that not all of them need be in memory.

    Args:
        path: Target file.
        row_type: The frozen dataclass that they are of.
        lines: Text of whole lines, in pieces of any length, as `line_of` gives them.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(csv_line(field.name for field in dataclasses.fields(row_type)))
        stream.writelines(lines)


def line_of(row: DataclassInstance) -> str:
    """A row as a line of CSV."""
    return csv_line(getattr(row, field.name) for field in dataclasses.fields(row))


def csv_line(values: Iterable[object]) -> str:
    """Values as a line of CSV, ended; None is nothing, floats read back as they were."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(_cell, values))
    return text.getvalue()


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a result row may hold
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, float) else str(value)  # repr reads back as the same float
