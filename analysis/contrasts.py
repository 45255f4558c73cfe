"""Contrasts of a fitted model: gains, moderation, the joint test, and Holm's correction over a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.results import Contrast, EmMean, Omnibus
from analysis.split_plot import Fit
from analysis.table import BASELINE

Weights = dict[str, float]

LEVEL = 0.95


@dataclass(frozen=True)
class Source:
    """Where numbers come from: the first three fields of every result row, and the fit itself.

    Attributes:
        model: Name of the model.
        metric: Column of the runs table.
        subset: Name of the rows used.
        fit: The fit that inference uses (after a singular one, the refit without its random part).
        singular: Whether the random part was estimated as zero.
    """

    model: str
    metric: str
    subset: str
    fit: Fit
    singular: bool

    @property
    def labels(self) -> dict[str, Any]:
        """Fields that every row of this model shares."""
        return {"model": self.model, "metric": self.metric, "subset": self.subset, "singular": self.singular}


def gain(student: str, method: str) -> Weights:
    """Accuracy of a student under a method less its baseline's, in cells `student:method`."""
    return {f"{student}:{method}": 1.0, f"{student}:{BASELINE}": -1.0}


def moderation(smaller: str, larger: str, method: str, other: str = BASELINE) -> Weights:
    """(method - other) of the larger student less that of the smaller one: an interaction contrast."""
    return {
        f"{larger}:{method}": 1.0,
        f"{larger}:{other}": -1.0,
        f"{smaller}:{method}": -1.0,
        f"{smaller}:{other}": 1.0,
    }


def moderation_id(smaller: str, larger: str, method: str, other: str = BASELINE) -> str:
    """Stable identifier of an interaction contrast."""
    return f"moderation:{method}-{other}:{larger}-{smaller}"


@dataclass(frozen=True)
class HolmStep:
    """Holm's verdict on one test of a family.

    Attributes:
        p: Adjusted p value.
        members: Hypotheses that the test's step was corrected for: the interval at level 1 - 0.05 / members
            excludes 0 exactly where the adjusted p is below 0.05.
    """

    p: float
    members: int


def holm(p_values: Sequence[float]) -> list[HolmStep]:
    """Holm's step-down correction (Scand J Stat 6, 1979, 65-70), at 5% for the steps.

    The i-th smallest of m p values is held against 0.05 / (m - i + 1) until one fails; that one and all
    larger ones are held against the level at which the procedure stopped. Intervals at these levels agree
    with the adjusted p, and each covers with at least 95%. They are not simultaneous (the simultaneous ones
    that go with Holm say of a rejected hypothesis only that it lies beyond 0: Strassburger and Bretz, Stat
    Med 27, 2008, 4914-4927).
    """
    m = len(p_values)
    order = sorted(range(m), key=lambda index: p_values[index])
    adjusted = np.maximum.accumulate([min(1.0, (m - place) * p_values[i]) for place, i in enumerate(order)])
    rejected = int((adjusted < 1 - LEVEL).sum())
    steps = {index: HolmStep(float(adjusted[place]), m - min(place, rejected)) for place, index in enumerate(order)}
    return [steps[index] for index in range(m)]


def contrast_family(source: Source, family: str, contrasts: Mapping[str, Weights]) -> tuple[Contrast, ...]:
    """Rows of one family of contrasts; those that need a cell without runs are left out.

    Args:
        source: The model.
        family: Name of the family that Holm's correction is over; a family of one is not corrected.
        contrasts: Weights by identifier.
    """
    cells = set(source.fit.design.cells)
    found = {name: source.fit.estimate(weights) for name, weights in contrasts.items() if cells.issuperset(weights)}
    steps = holm([estimate.p for estimate in found.values()]) if len(found) > 1 else None
    rows = []
    for index, (name, estimate) in enumerate(found.items()):
        low, high = estimate.interval(LEVEL)
        rows.append(
            Contrast(
                **source.labels,
                contrast=name,
                estimate_pp=estimate.value,
                se_pp=estimate.se,
                df=estimate.df,
                df_method=estimate.df_method,
                ci_low_pp=low,
                ci_high_pp=high,
                t=estimate.t,
                p=estimate.p,
                p_holm=steps[index].p if steps else None,
                family=family,
                n=len(source.fit.design.y),
            )
        )
    return tuple(rows)


def marginal_means(source: Source, students: Sequence[str], methods: Sequence[str]) -> tuple[EmMean, ...]:
    """Estimated marginal mean of each student under each method that has runs (baseline first)."""
    design = source.fit.design
    runs = dict(zip(design.cells, design.x.sum(axis=0), strict=True))
    rows = []
    for student in students:
        for method in (BASELINE, *methods):
            cell = f"{student}:{method}"
            if cell in runs:
                estimate = source.fit.estimate({cell: 1.0})
                low, high = estimate.interval(LEVEL)
                rows.append(
                    EmMean(
                        **source.labels,
                        student=student,
                        method=method,
                        mean_pct=estimate.value,
                        se_pp=estimate.se,
                        df=estimate.df,
                        df_method=estimate.df_method,
                        ci_low_pct=low,
                        ci_high_pct=high,
                        n=int(runs[cell]),
                    )
                )
    return tuple(rows)


def interaction_test(source: Source, students: Sequence[str], methods: Sequence[str]) -> tuple[Omnibus, ...]:
    """Joint F test of student:method over the methods that all students with a baseline share, if any."""
    cells = set(source.fit.design.cells)
    students = [student for student in students if f"{student}:{BASELINE}" in cells]
    common = [m for m in methods if all(cells.issuperset(gain(student, m)) for student in students)]
    contrasts = [moderation(students[0], larger, method) for larger in students[1:] for method in common]
    if not contrasts:
        return ()
    f, df_num, df_den, df_method = source.fit.joint(contrasts)
    return (
        Omnibus(
            **source.labels,
            term="student:method",
            f=f,
            df_num=float(df_num),
            df_den=df_den,
            df_method=df_method,
            p=float(stats.f.sf(f, df_num, df_den)),
            n=len(source.fit.design.y),
        ),
    )
