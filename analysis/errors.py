"""The one error of `analysis`: a runs table that cannot be analysed."""

from __future__ import annotations


class TableError(ValueError):
    """A runs table breaks its schema; the message names source, row, column and value."""
