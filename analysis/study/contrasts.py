"""Contrasts of a fitted model: gains, moderation, joint tests, and Holm's correction over a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.inference import equivalence
from analysis.inference.estimate import Estimate
from analysis.mixed.inference import DfMethod, FTest
from analysis.mixed.model import Floats
from analysis.results import Contrast, EmMean, Fidelity, Omnibus
from analysis.runs.columns import BASELINE
from analysis.study.models import Source, Weights

LEVEL = 0.95


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


def holm_p(estimates: Sequence[Estimate]) -> list[float | None]:
    """Adjusted p values of a family; a family of one is not corrected."""
    if len(estimates) < 2:  # noqa: PLR2004 - a family of one
        return [None] * len(estimates)
    return [step.p for step in holm([estimate.p for estimate in estimates])]


def contrast_family(source: Source, family: str, contrasts: Mapping[str, Weights]) -> tuple[Contrast, ...]:
    """Rows of one family of contrasts; those that need a cell without runs are left out.

    Args:
        source: The model.
        family: Name of the family that Holm's correction is over; a family of one is not corrected.
        contrasts: Weights by identifier.
    """
    found = {name: source.estimate(weights) for name, weights in source.known(contrasts).items()}
    return contrast_rows(found, family, n=len(source.fit.model.y), **source.labels)


def contrast_rows(
    estimates: Mapping[str, Estimate], family: str, *, model: str, metric: str, subset: str, n: int, singular: bool
) -> tuple[Contrast, ...]:
    """Rows of `contrasts.csv` for estimates of one family, by identifier; `held_against` adds the margin's test."""
    rows = []
    for (name, estimate), p_holm in zip(estimates.items(), holm_p(list(estimates.values())), strict=True):
        low, high = estimate.interval(LEVEL)
        low90, high90 = estimate.interval(equivalence.LEVEL)
        rows.append(
            Contrast(
                model=model, metric=metric, subset=subset, contrast=name, estimate_pp=estimate.value,
                se_pp=estimate.se, df=estimate.df, df_method=estimate.df_method, ci_low_pp=low, ci_high_pp=high,
                ci90_low_pp=low90, ci90_high_pp=high90, t=estimate.t, p=estimate.p, p_holm=p_holm, p_equivalence=None,
                family=family, n=n, singular=singular,
            )
        )  # fmt: skip
    return tuple(rows)


def held_against(rows: Sequence[Contrast], margin_pp: float) -> tuple[Contrast, ...]:
    """The rows with `p_equivalence`, the test of whether an effect is smaller than the margin.

    Args:
        rows: Contrasts in percentage points.
        margin_pp: Above 0; to be fixed before the data are seen.
    """
    found = [Estimate(row.estimate_pp, row.se_pp, row.df, row.df_method) for row in rows]
    return tuple(
        replace(row, p_equivalence=equivalence.equivalence(estimate, margin_pp).p)
        for row, estimate in zip(rows, found, strict=True)
    )


def fidelity_family(source: Source, family: str, unit: str, contrasts: Mapping[str, Weights]) -> tuple[Fidelity, ...]:
    """Rows of `fidelity.csv`: as `contrast_family`, for a response in another unit."""
    found = {name: source.estimate(weights) for name, weights in source.known(contrasts).items()}
    rows = []
    for (name, estimate), p_holm in zip(found.items(), holm_p(list(found.values())), strict=True):
        low, high = estimate.interval(LEVEL)
        rows.append(
            Fidelity(
                **source.labels, contrast=name, unit=unit, estimate=estimate.value, se=estimate.se, df=estimate.df,
                df_method=estimate.df_method, ci_low=low, ci_high=high, t=estimate.t, p=estimate.p, p_holm=p_holm,
                family=family, n=len(source.fit.model.y),
            )
        )  # fmt: skip
    return tuple(rows)


def marginal_means(source: Source, students: Sequence[str], methods: Sequence[str]) -> tuple[EmMean, ...]:
    """Estimated marginal mean of each student under each method that has runs (baseline first)."""
    rows = []
    for student in students:
        for method in (BASELINE, *methods):
            cell = f"{student}:{method}"
            if cell not in source.cells:
                continue
            estimate = source.estimate({cell: 1.0})
            low, high = estimate.interval(LEVEL)
            rows.append(
                EmMean(
                    **source.labels, student=student, method=method, mean_pct=estimate.value, se_pp=estimate.se,
                    df=estimate.df, df_method=estimate.df_method, ci_low_pct=low, ci_high_pct=high,
                    n=int((source.fit.model.x == source.cells[cell]).all(axis=1).sum()),
                )
            )  # fmt: skip
    return tuple(rows)


def moderation_contrasts(source: Source, students: Sequence[str], methods: Sequence[str]) -> list[Weights]:
    """Interaction contrasts student:method over the methods that all students with a baseline share."""
    cells = source.cells.keys()
    students = [student for student in students if f"{student}:{BASELINE}" in cells]
    common = [m for m in methods if all(cells >= gain(student, m).keys() for student in students)]
    return [moderation(students[0], larger, method) for larger in students[1:] for method in common]


def interaction_tests(source: Source, students: Sequence[str], methods: Sequence[str]) -> tuple[Omnibus, ...]:
    """Joint F tests of student:method, by Kenward-Roger and by Satterthwaite; none if there is nothing to test."""
    return joint_tests(source, "student:method", moderation_contrasts(source, students, methods))


def joint_tests(source: Source, term: str, contrasts: Sequence[Weights]) -> tuple[Omnibus, ...]:
    """F tests that some contrasts are all zero; those that need a cell without runs are left out.

    Args:
        source: The model.
        term: What is tested.
        contrasts: Linearly independent contrasts.
    """
    contrasts = [weights for weights in contrasts if source.cells.keys() >= weights.keys()]
    if not contrasts:
        return ()
    combinations = np.stack([source.combination(weights) for weights in contrasts])
    methods_of_df: tuple[DfMethod, ...] = ("residual",)
    if source.fit.model.components:
        methods_of_df = ("kenward-roger", "satterthwaite")
    found = (_omnibus(source, term, combinations, method) for method in methods_of_df)
    return tuple(row for row in found if row is not None)


def _omnibus(source: Source, term: str, combinations: Floats, method: DfMethod) -> Omnibus | None:
    """One joint test; None where so few groups tell the variances that F or its degrees of freedom do not exist."""
    if len(combinations) == 1:  # F is t squared; Kenward and Roger's formula for it is 0 / 0 at 2 degrees of freedom
        alone = source.inference.estimate(combinations[0], method)
        found = FTest(alone.t**2, 1, alone.df, method)
    else:
        found = source.inference.joint(combinations, method)
    if not np.isfinite([found.f, found.df_den, found.p]).all():
        return None
    return Omnibus(
        **source.labels, term=term, test="F", statistic=float(found.f), df_num=float(found.df_num),
        df_den=float(found.df_den), df_method=found.df_method, p=found.p, p_mc_se=None, draws=None,
        n=len(source.fit.model.y),
    )  # fmt: skip
