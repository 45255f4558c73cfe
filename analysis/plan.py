"""The planning question alone: how many seeds would a study like this one need?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.errors import TableError
from analysis.inference.power import WANTED, smallest_detectable_pp
from analysis.results import PowerPoint, SeedsNeeded
from analysis.runs.frame import final_frame
from analysis.runs.metric import ACCURACY, Metric
from analysis.study.estimands import main_contrasts
from analysis.study.models import primary
from analysis.study.planning import Plan
from analysis.study.precision import power_points, seeds_needed


@dataclass(frozen=True)
class PlanAnswer:
    """What a study with these runs' variances needs.

    Attributes:
        effect_pp: True effect assumed.
        margin_pp: Margin of the verdicts.
        seeds_now: Seeds in the smallest cell of these runs.
        detectable_now_pp: For each contrast, the effect that as many seeds find with probability 0.8.
        needed: Seeds for the effect, by contrast and power.
        curve: Power at several numbers of seeds.
    """

    effect_pp: float
    margin_pp: float
    seeds_now: int
    detectable_now_pp: dict[str, float]
    needed: tuple[SeedsNeeded, ...]
    curve: tuple[PowerPoint, ...]


def plan_study(
    runs: pd.DataFrame,
    effect_pp: float,
    *,
    margin_pp: float,
    powers: Sequence[float],
    metric: Metric = ACCURACY,
    student_order: Sequence[str] | None = None,
) -> PlanAnswer:
    """Plan from the variances of some runs.

    Args:
        runs: A checked runs table: its design is repeated with other numbers of seeds.
        effect_pp: True difference between the students' gains (or gain, where there are no two students), above 0.
        margin_pp: Margin of the verdicts, above 0.
        powers: Probabilities with which the effect is to be found.
        metric: What runs are compared by.
        student_order: The two students, smaller first.

    Raises:
        TableError: The table cannot be analysed.
    """
    _, layout, frame = final_frame(runs, metric, student_order)
    source = primary(frame, metric.name, "all").used
    contrasts = source.known(main_contrasts(layout))
    if not contrasts:
        raise TableError(
            "the table has no student with final runs of both a baseline (method none) and another method: there is no "
            "gain to plan for; add such runs."
        )
    plan = Plan(source, frame)
    now = {name: plan.precision(source.combination(weights))(layout.seeds) for name, weights in contrasts.items()}
    return PlanAnswer(
        effect_pp=effect_pp,
        margin_pp=margin_pp,
        seeds_now=layout.seeds,
        detectable_now_pp={name: smallest_detectable_pp(se, df, WANTED) for name, (se, df) in now.items()},
        needed=seeds_needed(source, plan, contrasts, (effect_pp,), powers),
        curve=power_points(source, plan, contrasts, (effect_pp,), margin_pp),
    )
