"""Markdown: tables and text for places that show no HTML."""

from __future__ import annotations

import re

from report.tables import Table


def escape(text: str) -> str:
    """Text that markdown shows as it is, whatever it holds (also inside a table)."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", " ".join(text.split()))


def table(content: Table) -> str:
    """A pipe table; numbers stand to the right."""
    heads = [column.heading for column in content.columns]
    rules = ["---:" if column.numeric else "---" for column in content.columns]
    rows = [[escape(cell) for cell in row] for row in content.rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rules, *rows))
