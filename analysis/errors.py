"""What can be wrong with what `analysis` is given."""

from __future__ import annotations


class TableError(ValueError):
    """A runs table breaks its schema or cannot be analysed; the message names source, row, column and value."""


class ModelError(TableError):
    """A model cannot be fitted to these runs: a formula that does not fit the table, or a part nothing tells apart."""


class UnidentifiedError(ModelError):
    """The runs cannot tell a component's variance from something else; `component` names the one to leave out."""

    def __init__(self, message: str, component: str) -> None:
        super().__init__(message)
        self.component = component
