"""A runs table in, everything it says out: the one front door of the statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis.answer import answer
from analysis.claims import judge_all, questions
from analysis.contrasts import (
    Source,
    Weights,
    contrast_family,
    gain,
    interaction_test,
    marginal_means,
    moderation,
    moderation_id,
)
from analysis.errors import TableError
from analysis.flags import flags
from analysis.layout import Layout, layout_of
from analysis.models import pairs, primary
from analysis.results import SCHEMA, Analysis, Cell, Contrast
from analysis.table import ACCURACIES, BASELINE, cell_label, finals

DEFAULT_MARGIN_PP = 0.2


def analyze(
    runs: pd.DataFrame,
    *,
    margin_pp: float = DEFAULT_MARGIN_PP,
    metric: str = "test_acc_best",
    student_order: Sequence[str] | None = None,
) -> Analysis:
    """Fit the models to the final rows and judge the claims.

    Args:
        runs: A table that went through `analysis.table.check_runs`.
        margin_pp: Smallest gain or interaction that matters, in percentage points, above 0.
        metric: Accuracy column (`test_acc_best`, `test_acc_final` or `val_acc`), fractions.
        student_order: The two students to compare, smaller first; by default two ResNets by depth.

    Returns:
        The analysis; the same table gives the same answer to the last digit.

    Raises:
        TableError: The table has no final rows, too few seeds, no spread, or gaps in `metric`.
        ValueError: `margin_pp` or `metric` is out of range.
    """
    if not (margin_pp > 0 and math.isfinite(margin_pp)):
        raise ValueError(f"margin_pp must be a number above 0 (got {margin_pp})")
    if metric not in ACCURACIES:
        raise ValueError(f"metric must be one of {', '.join(ACCURACIES)} (got {metric})")
    final = finals(runs)
    _refuse_gaps(final, metric)
    layout = layout_of(final, student_order)
    shared = "teachers:" + ("+".join(layout.shared_teachers) or "none shared")

    models = [primary(final, metric, "all"), pairs(final, metric, "all")]
    contrasts = [*_primary_contrasts(models[0].source, layout), *_pair_gains(models[1].source, final)]
    sources = [models[0].source]
    if layout.shared_teachers:
        taught = final["teacher"].isin(["", *layout.shared_teachers]) & final["student"].isin(layout.pair or ())
        same_teacher = primary(final[taught], metric, shared)
        models.append(same_teacher)
        sources.append(same_teacher.source)
        contrasts += _primary_contrasts(same_teacher.source, layout)
    claims = judge_all(questions(layout, shared), contrasts, margin_pp, layout.seeds)
    return Analysis(
        schema=SCHEMA,
        metric=metric,
        margin_pp=margin_pp,
        n_runs=len(final),
        answer=answer(claims, layout, margin_pp),
        flags=flags(runs, final, layout, models),
        cells=_cells(final, metric),
        emmeans=tuple(row for s in sources for row in marginal_means(s, layout.students, layout.methods)),
        contrasts=tuple(contrasts),
        variance_components=tuple(row for model in models for row in model.variance_components),
        omnibus=tuple(row for s in sources for row in interaction_test(s, layout.students, layout.methods)),
        claims=claims,
        models=tuple(row for model in models for row in model.models),
    )


def _primary_contrasts(source: Source, layout: Layout) -> tuple[Contrast, ...]:
    gains = {f"gain:{s}:{m}": gain(s, m) for s in layout.students for m in layout.methods}
    rows = contrast_family(source, "gains", gains)
    if layout.pair is None:
        return rows
    moderated = {moderation_id(*layout.pair, m): moderation(*layout.pair, m) for m in layout.methods}
    rows += contrast_family(source, "moderation", moderated)
    between = {
        moderation_id(*layout.pair, "feature", "logit"): moderation(*layout.pair, "feature", "logit"),
    }
    return rows + contrast_family(source, "feature-logit", between)


def _pair_gains(source: Source, final: pd.DataFrame) -> tuple[Contrast, ...]:
    cells = final[["teacher", "student", "method"]].drop_duplicates()
    gains: dict[str, Weights] = {}
    for teacher, student, method in cells.itertuples(index=False):
        if method != BASELINE:
            label = cell_label(teacher, student, method)
            gains[f"gain:{label}"] = {label: 1.0, cell_label("", student, BASELINE): -1.0}
    return contrast_family(source, "pair-gains", gains)


def _refuse_gaps(final: pd.DataFrame, metric: str) -> None:
    empty = final[final[metric].isna()]
    if not empty.empty:
        run = empty.iloc[0]
        label = cell_label(run["teacher"], run["student"], run["method"])
        raise TableError(f"stage `final`, {label}, seed {run['seed']}: column {metric} is empty; fill it in.")


def _cells(final: pd.DataFrame, metric: str) -> tuple[Cell, ...]:
    rows = []
    for (teacher, student, method), runs in final.groupby(["teacher", "student", "method"]):
        accuracy_pct = 100 * runs[metric]
        alpha, temperature = runs["alpha"].iloc[0], runs["temperature"].iloc[0]
        rows.append(
            Cell(
                teacher=str(teacher),
                student=str(student),
                method=str(method),
                alpha=None if math.isnan(alpha) else float(alpha),
                temperature=None if math.isnan(temperature) else float(temperature),
                n=len(runs),
                mean_pct=float(accuracy_pct.mean()),
                sd_pp=float(accuracy_pct.std(ddof=1)),
            )
        )
    return tuple(rows)
