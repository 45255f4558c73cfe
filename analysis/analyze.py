"""A runs table in, everything it says out: the one front door of the statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.claims.answer import answer
from analysis.claims.register import Registered
from analysis.estimates import Estimates, estimate_all
from analysis.flags import flags, told_apart
from analysis.inference.effect_sizes import EffectSize, compare_groups
from analysis.results import SCHEMA, AlternativeInterval, Analysis, Cell, PowerPoint, Rival, SeedsNeeded
from analysis.runs.columns import BASELINE, cell_label
from analysis.runs.frame import accuracy, checkpoints, grouped
from analysis.runs.metric import ACCURACY, Metric
from analysis.study import multiverse, precision, rivals
from analysis.study.contrasts import held_against, marginal_means, moderation, moderation_id
from analysis.study.diagnostics import assumptions, diagnostics
from analysis.study.estimands import main_contrasts
from analysis.study.planning import Plan

DEFAULT_MARGIN_PP = 0.2


def analyze(
    runs: pd.DataFrame,
    *,
    claims: Sequence[Registered] = (),
    margin_pp: float = DEFAULT_MARGIN_PP,
    metric: Metric = ACCURACY,
    student_order: Sequence[str] | None = None,
    correct: NDArray[np.bool_] | None = None,
    history: pd.DataFrame | None = None,
    generator: np.random.Generator,
) -> Analysis:
    """Fit the models to the final rows and judge the claims.

    Args:
        runs: A table that went through `analysis.runs.table.check_runs`.
        claims: The register of claims.
        margin_pp: Smallest gain or interaction that matters, in percentage points, above 0.
        metric: What runs are compared by.
        student_order: The two students to compare, smaller first; by default two ResNets by depth.
        correct: Whether a run (row of `runs`) classifies a test image (column) rightly; None where it is not known.
        history: The first version's gains table, where these are its successor's runs.
        generator: Source of randomness for bootstrap and simulation.

    Returns:
        The analysis; the same table, and a generator in the same state, give the same answer to the last digit.

    Raises:
        TableError: The table has no final rows, too few seeds, no spread, or gaps in the metric.
        ValueError: `margin_pp` is out of range.
    """
    if not (margin_pp > 0 and math.isfinite(margin_pp)):
        raise ValueError(f"margin_pp must be a number above 0 (got {margin_pp})")
    found = estimate_all(runs, metric=metric, student_order=student_order, correct=correct, history=history)
    frame, main, layout = found.frame, found.main, found.layout
    judged = found.judged(claims, margin_pp)
    likelihood_ratios = precision.likelihood_ratio_tests(main.first, frame, generator)
    curve = multiverse.specifications(runs, layout, metric, generator)
    compared = rivals.rivals(found.gaps, generator)
    residuals = diagnostics(main.used, [f"{c}, seed {s}" for c, s in zip(frame["cell"], frame["seed"], strict=True)])
    points, needed = _planned(found, margin_pp)
    return Analysis(
        schema=SCHEMA,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        margin_pp=margin_pp,
        n_runs=len(found.final),
        answer=answer(judged, layout),
        flags=_flags(runs, found, compared, known=correct is not None),
        cells=_cells(found.final, metric),
        emmeans=tuple(row for s in found.sources for row in marginal_means(s, layout.students, layout.methods)),
        contrasts=held_against(found.contrasts, margin_pp),
        fidelity=tuple(found.fidelity),
        variance_components=tuple(found.variances),
        omnibus=(*found.omnibus, *likelihood_ratios),
        claims=judged,
        models=tuple(found.models),
        intervals=(*_intervals(found, generator), *found.intervals),
        multiverse=curve,
        choices=multiverse.choices(curve),
        rivals=compared,
        power=points,
        seeds_needed=needed,
        effect_sizes=_effect_sizes(found.final, metric),
        diagnostics=residuals,
        assumptions=assumptions(residuals, [str(cell) for cell in frame["cell"]]),
        history=found.history,
    )


def _intervals(found: Estimates, generator: np.random.Generator) -> tuple[AlternativeInterval, ...]:
    layout = found.layout
    if layout.pair is None:
        return ()
    asked = {
        moderation_id(*layout.pair, method): (method, moderation(*layout.pair, method))
        for method in layout.methods
        if found.main.used.known({method: moderation(*layout.pair, method)})
    }
    return precision.alternative_intervals(found.main, found.frame, asked, layout.pair, generator)


def _planned(found: Estimates, margin_pp: float) -> tuple[tuple[PowerPoint, ...], tuple[SeedsNeeded, ...]]:
    """Planning for the moderation contrasts, or for the gains where there are none."""
    source = found.main.used
    contrasts = source.known(main_contrasts(found.layout))
    plan = Plan(source, found.frame)
    effects = (margin_pp / 2, margin_pp, 2 * margin_pp)
    return (
        precision.power_points(source, plan, contrasts, effects, margin_pp),
        precision.seeds_needed(source, plan, contrasts, effects, precision.POWERS),
    )


def _effect_sizes(final: pd.DataFrame, metric: Metric) -> tuple[EffectSize, ...]:
    """Standardised gain of each distilled cell over its student's baseline.

    Of cells whose runs share one checkpoint: runs of several are no sample of independent ones, which this is made for.
    """
    several = {teacher for teacher, count in checkpoints(grouped(final)).items() if count > 1}
    pct = 100 * accuracy(final, metric)
    cells = dict.fromkeys(zip(final["teacher"], final["student"], final["method"], strict=True))
    rows = []
    for teacher, student, method in cells:
        own = pct[(final["teacher"] == teacher) & (final["student"] == student) & (final["method"] == method)]
        base = pct[(final["student"] == student) & (final["method"] == BASELINE)]
        if (
            method != BASELINE
            and teacher not in several
            and len(base) > 1
            and np.ptp([*(own - own.mean()), *(base - base.mean())]) > 0
        ):
            rows.append(compare_groups(own.to_list(), base.to_list(), f"gain:{cell_label(teacher, student, method)}"))
    return tuple(rows)


def _flags(runs: pd.DataFrame, found: Estimates, compared: Sequence[Rival], *, known: bool) -> tuple[str, ...]:
    told = [*flags(runs, found.final, found.layout, found.metric, found.fitted), told_apart(compared)]
    if not known:
        told.append("Per-image correctness is not known: all intervals are for these test images, other seeds.")
    return tuple(flag for flag in told if flag)


def _cells(final: pd.DataFrame, metric: Metric) -> tuple[Cell, ...]:
    rows = []
    pct = 100 * accuracy(final, metric)
    for (teacher, student, method), runs in final.groupby(["teacher", "student", "method"]):
        own = pct[runs.index]
        alpha, temperature = runs["alpha"].iloc[0], runs["temperature"].iloc[0]
        rows.append(
            Cell(
                teacher=str(teacher),
                student=str(student),
                method=str(method),
                alpha=None if math.isnan(alpha) else float(alpha),
                temperature=None if math.isnan(temperature) else float(temperature),
                n=len(runs),
                mean_pct=float(own.mean()),
                sd_pp=float(own.std(ddof=1)) if len(own) > 1 else None,
            )
        )
    return tuple(rows)
