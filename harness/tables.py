"""Tables as files: runs tables in, result tables out."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.table import check_runs
from harness.errors import KdcapError
from harness.files import write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def read_runs(path: Path) -> pd.DataFrame:
    """Read and check a runs table.

    Args:
        path: CSV file, a row per entry of the plan (`analysis.table.COLUMNS`), accuracies as fractions.

    Returns:
        The checked, typed frame in canonical row order.

    Raises:
        KdcapError: The file is missing or is no CSV file.
        analysis.errors.TableError: The table breaks its schema.
    """
    try:
        # as text, blank lines kept: messages then repeat what was written and count lines as an editor
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8")
    except FileNotFoundError:
        raise KdcapError(
            f"no runs table at {path}; make it with `harness collect` or name another with --runs."
        ) from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise KdcapError(
            f"{path} is no CSV file with a header and a row per run ({str(error).strip()}); check the path."
        ) from None
    return check_runs(raw, str(path))


def write_table(path: Path, rows: Sequence[DataclassInstance], row_type: type[DataclassInstance] | None = None) -> None:
    """Write rows as CSV, whole or not at all; the same rows always give the same bytes.

    Args:
        path: Target file.
        rows: Instances of one frozen dataclass; its fields are the columns, in order.
        row_type: The class, needed only where `rows` may be empty.
    """
    kind = row_type or type(rows[0])
    names = [field.name for field in dataclasses.fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    write_whole(path, text.getvalue())


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a result row may hold
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, float) else str(value)  # repr reads back as the same float
