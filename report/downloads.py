"""Tables and figures as CSV: what a reader can save and compute with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from report.figures.canvas import Datum, Picture
from report.numbers import MINUS, MISSING
from report.tables import Table

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for a formula


def table_csv(table: Table) -> str:
    """A table as it is shown, with plain minus signs; nothing where the page shows that there is nothing."""
    rows = [
        [_plain(cell) if column.numeric else _text(cell) for column, cell in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]
    return _written([column.heading for column in table.columns], rows)


def picture_csv(picture: Picture) -> str:
    """A figure's data, to the last digit."""
    return _written(picture.head, [[_datum(value) for value in row] for row in picture.rows])


def _plain(cell: str) -> str:
    return "" if cell == MISSING else cell.replace(MINUS, "-")


def _text(cell: str) -> str:
    """Text that is no formula: names come from the runs table, and a spreadsheet would run `=HYPERLINK(...)`."""
    return "" if cell == MISSING else f"'{cell}" if cell.startswith(FORMULA) else str(cell)


def _datum(value: Datum) -> str:
    if value is None:
        return ""
    return _text(value) if isinstance(value, str) else str(value)  # not repr, which of a numpy number is code


def _written(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_text, head))
    writer.writerows(rows)
    return text.getvalue()
