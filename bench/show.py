"""How benches show what they found: tables in Markdown, which read well on a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    """A Markdown table; numbers stand to the right.

    Args:
        head: Names of the columns.
        rows: Text, numbers (shown with three digits) or None for what was not measured.
    """
    cells = [[_text(value) for value in row] for row in rows]
    right = [all(not isinstance(row[i], str) for row in rows) for i in range(len(head))]
    widths = [max(3, *(len(row[i]) for row in [list(head), *cells])) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = (
            f"{text:>{n}}" if to_right else f"{text:<{n}}" for text, n, to_right in zip(row, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (n + 1) + (":" if to_right else "-") for n, to_right in zip(widths, right, strict=True))
    return "\n".join([line(head), f"|{rule}|", *map(line, cells)])


def _text(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
