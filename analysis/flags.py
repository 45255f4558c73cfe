"""Sentences that a reader must know before believing a number."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.results import Rival
from analysis.runs.columns import BASELINE
from analysis.runs.content import missing_cells, suspected_copies, unequal_seeds
from analysis.runs.frame import checkpoints, grouped
from analysis.runs.layout import Layout
from analysis.runs.metric import Metric
from analysis.runs.table import UNNAMED_TEACHER, distinct_runs
from analysis.study.models import Fitted


def flags(
    runs: pd.DataFrame, final: pd.DataFrame, layout: Layout, metric: Metric, fitted: Sequence[Fitted]
) -> tuple[str, ...]:
    """Every flag that applies to the runs.

    Args:
        runs: The whole checked table.
        final: Its final rows.
        layout: Their shape.
        metric: The metric analysed.
        fitted: The models.
    """
    found = [
        _direction(metric),
        _selection(runs, final),
        _checkpoints(final),
        *missing_cells(final),
        *unequal_seeds(final),
        *suspected_copies(runs),
        _singular(fitted, metric),
        *(note for model in fitted for note in model.notes),
        f"Capacity as a moderator is not tested: {layout.no_pair}." if layout.no_pair else "",
        _extremes(layout),
        _repeated(runs),
    ]
    return tuple(flag for flag in found if flag)


def told_apart(rivals: Sequence[Rival]) -> str:
    """How far the runs can tell what moderates the gain; empty where nothing was compared."""
    compared = [rival for rival in rivals if rival.moderator != "none"]
    if not compared:
        return ""
    same = [rival.moderator for rival in compared if (rival.correlation_with_student or 0) > 1 - 1e-8]
    alias = f"{', '.join(same)} are one moderator here, since there are two students" if len(same) > 1 else ""
    others = [rival for rival in compared if rival.moderator not in same]
    found = "; ".join(
        f"{rival.moderator} is found in {rival.chosen_if_true:.0%} of data sets in which it is the truth"
        for rival in others
    )
    rest = f"{found}" if others else ""
    return f"Rival moderators: {'; '.join(part for part in (alias, rest) if part)}." if alias or rest else ""


def _direction(metric: Metric) -> str:
    if metric.higher_is_better:
        return ""
    return f"Of {metric.name} a lower value is better: 1 - {metric.name} is analysed, so that a gain is a reduction."


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
    counts = checkpoints(grouped(final))
    if max(counts.values()) > 1:
        told = ", ".join(f"{count} of {teacher}" for teacher, count in counts.items())
        return (
            f"Teacher checkpoints are told apart ({told}): intervals hold for these teachers in general, not for these "
            "checkpoints alone; numbers of seeds needed are with as many checkpoints as here."
        )
    if teachers == [UNNAMED_TEACHER]:
        return "The table names no teachers: intervals hold for those that were used, and none are compared."
    return (
        "Teacher checkpoints are not told apart: all students of a teacher are taken to share one, so "
        f"intervals hold for these checkpoints of {', '.join(teachers)} only."
    )


def _extremes(layout: Layout) -> str:
    if layout.pair is None or layout.named or len(layout.students) == 2:  # noqa: PLR2004 - a pair
        return ""
    return (
        f"Of {len(layout.students)} students the smallest and the largest, {layout.pair[0]} and {layout.pair[1]}, are "
        "compared; every other two are in contrasts.csv (family moderation-others), and --order SMALLER,LARGER asks "
        "the claims of them."
    )


def _singular(fitted: Sequence[Fitted], metric: Metric) -> str:
    first = [model.first for model in fitted if model.first.singular]
    of = ["" if one.metric == metric.name else f" of {one.metric}" for one in first]
    names = [f"{one.model}{what} ({one.subset})" for one, what in zip(first, of, strict=True)]
    if not names:
        return ""
    return (
        f"Singular fits (a variance estimated as 0, which is common with few seeds): {', '.join(names)}. Each was "
        "refitted without that variance; both are shown, and claims rest on the refit."
    )


def _repeated(runs: pd.DataFrame) -> str:
    distinct = len(distinct_runs(runs))
    if distinct == len(runs):
        return ""
    return f"{len(runs)} rows are {distinct} distinct runs: a run that stands in several stages counts once."
