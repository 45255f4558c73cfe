"""Sentences that a reader must know before believing a number."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.layout import Layout, cell_sizes
from analysis.models import Fitted
from analysis.table import BASELINE, distinct_runs


def flags(runs: pd.DataFrame, final: pd.DataFrame, layout: Layout, fitted: Sequence[Fitted]) -> tuple[str, ...]:
    """Every flag that applies.

    Args:
        runs: The whole checked table.
        final: Its final rows.
        layout: Their shape.
        fitted: The models.
    """
    found = [
        _selection(runs, final),
        _checkpoints(final),
        _few_seeds(final),
        *(_singular(model) for model in fitted),
        *(_unbalanced(model) for model in fitted),
        *_no_baseline(final, layout),
        f"Capacity as a moderator is not tested: {layout.no_pair}." if layout.no_pair else "",
        _repeated(runs),
    ]
    return tuple(flag for flag in found if flag)


def _selection(runs: pd.DataFrame, final: pd.DataFrame) -> str:
    chosen = set(runs.loc[runs["stage"] == "select", "seed"])
    both = sorted(chosen & set(final.loc[final["method"] != BASELINE, "seed"]))
    if not both:
        return ""
    seeds = ", ".join(str(seed) for seed in both)
    return (
        f"Seed {seeds} both chose the hyperparameters and counts among the final runs, which can favour distillation."
    )


def _checkpoints(final: pd.DataFrame) -> str:
    teachers = sorted(set(final["teacher"]) - {""})
    if not teachers:
        return ""
    return (
        "Teacher checkpoints are not told apart: all students of a teacher are taken to share one, so "
        f"intervals hold for these checkpoints of {', '.join(teachers)} only."
    )


def _few_seeds(final: pd.DataFrame) -> str:
    runs = cell_sizes(final)
    most = max(runs.values())
    short = [f"{cell} ({n})" for cell, n in runs.items() if n < most]
    return f"Cells with fewer than {most} seeds: {', '.join(short)}." if short else ""


def _singular(model: Fitted) -> str:
    if not model.source.singular:
        return ""
    return (
        f"{_name(model)}: the fit is singular (the variance between student:seed groups is estimated as 0), "
        "which is common with few seeds; it was refitted without that component; contrasts are the refit's."
    )


def _unbalanced(model: Fitted) -> str:
    if model.source.fit.df_rule != "containment":
        return ""
    return (
        f"{_name(model)}: the table is unbalanced (not every student:seed holds the same runs); "
        "degrees of freedom are by containment, an approximation."
    )


def _no_baseline(final: pd.DataFrame, layout: Layout) -> list[str]:
    trained = set(final.loc[final["method"] == BASELINE, "student"])
    return [
        f"{student} has no baseline among the final runs, so its gains cannot be estimated."
        for student in layout.students
        if student not in trained
    ]


def _repeated(runs: pd.DataFrame) -> str:
    distinct = len(distinct_runs(runs))
    if distinct == len(runs):
        return ""
    return f"{len(runs)} rows are {distinct} distinct runs: a run that stands in several stages counts once."


def _name(model: Fitted) -> str:
    return f"Model {model.source.model} ({model.source.subset})"
