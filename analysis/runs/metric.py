"""What the compared column measures, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A column to compare runs by; its values are fractions in [0, 1].

    Attributes:
        name: Column of the runs table: one of `analysis.runs.columns.ACCURACIES` or a column of the user's own.
        higher_is_better: True for an accuracy or an F1 score, False for an error rate.
    """

    name: str
    higher_is_better: bool


ACCURACY = Metric("test_acc_best", higher_is_better=True)
