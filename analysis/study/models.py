"""The study's models: fitted, checked, refitted without a zero variance, and described."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import UnidentifiedError
from analysis.inference.estimate import Estimate
from analysis.mixed.criterion import Profiled, profiled
from analysis.mixed.describe import explained
from analysis.mixed.fit import Fit, fit_prepared
from analysis.mixed.inference import DfMethod, Inference
from analysis.mixed.model import Floats, Model, build
from analysis.results import ModelFit, VarianceComponent
from analysis.runs.frame import checkpoints
from analysis.study import second_engine

ENGINE = "kdcap's own profiled REML (analysis/mixed)"
LEAST_SQUARES = "least squares"
SEEDS = "(1 | student:seed)"

Weights = dict[str, float]


@dataclass(frozen=True)
class Source:
    """A fit that numbers come from.

    Attributes:
        model: Name of the model.
        metric: Response.
        subset: Name of the rows used.
        fit: The fit.
        cells: (p,) coefficients of each cell's mean, by the cell's name.
    """

    model: str
    metric: str
    subset: str
    fit: Fit
    cells: Mapping[str, Floats]

    @cached_property
    def inference(self) -> Inference:
        """Small-sample inference on the fit."""
        return Inference(self.fit)

    @property
    def singular(self) -> bool:
        """Whether a variance was estimated as zero."""
        return bool(self.fit.singular)

    @property
    def df_method(self) -> DfMethod:
        """Kenward-Roger, which without a random part is exact and called `residual`."""
        return "kenward-roger" if self.fit.model.components else "residual"

    @property
    def labels(self) -> dict[str, Any]:
        """Fields that every row of this fit shares."""
        return {"model": self.model, "metric": self.metric, "subset": self.subset, "singular": self.singular}

    def combination(self, weights: Weights) -> Floats:
        """(p,) coefficients of a linear combination of cell means."""
        return np.asarray(sum(weight * self.cells[cell] for cell, weight in weights.items()), dtype=np.float64)

    def known(self, contrasts: Mapping[str, Weights]) -> dict[str, Weights]:
        """The contrasts whose cells all have runs."""
        return {name: weights for name, weights in contrasts.items() if self.cells.keys() >= weights.keys()}

    def estimate(self, weights: Weights, method: DfMethod | None = None) -> Estimate:
        """A linear combination of cell means."""
        return self.inference.estimate(self.combination(weights), method or self.df_method)


@dataclass(frozen=True)
class Fitted:
    """A model as fitted, and as used.

    Attributes:
        first: The model as fitted.
        used: The same, or after a singular fit the refit without its zero variances, which claims rest on.
        notes: What was left out because the runs cannot tell it, and why.
    """

    first: Source
    used: Source
    notes: tuple[str, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Both where they differ, to be shown beside each other."""
        return (self.first,) if self.first is self.used else (self.first, self.used)


def fit_model(name: str, formula: str, frame: pd.DataFrame, cells: Mapping[str, int], **labels: str) -> Fitted:
    """Fit a model by REML and, where it is singular, once more without the zero variances.

    Args:
        name: Name of the model.
        formula: Its formula, in columns of the frame.
        frame: As `analysis.runs.frame.model_frame` returns it.
        cells: Place in the frame of one run of each cell, by the cell's name.
        labels: `metric` and `subset`.

    Raises:
        ModelError: It cannot be fitted.
    """
    model, problems, notes = identified(build(formula, frame))
    means = {cell: model.x[place] for cell, place in cells.items()}
    first, used = both_fits(model, problems)
    source = Source(name, labels["metric"], labels["subset"], first, means)
    return Fitted(source, source if used is first else replace(source, model=f"{name}:refit", fit=used), notes)


Problems = dict[tuple[str, ...], Profiled]
"""REML criteria of one design, by the components left out: made once, for any number of responses."""


def identified(model: Model) -> tuple[Model, Problems, tuple[str, ...]]:
    """The model without the components that its runs cannot tell apart, its criterion, and why they were left out."""
    notes: list[str] = []
    while True:
        try:
            problem = profiled(model, "REML")
        except UnidentifiedError as error:
            notes.append(f"{error.component} is left out of {model.formula}: the runs cannot tell its variance apart.")
            model = model.without([error.component])
        else:
            return model, {(): problem}, tuple(notes)


def both_fits(model: Model, problems: Problems) -> tuple[Fit, Fit]:
    """The fit, and after a singular one the refit without its zero variances; else the same fit twice.

    Args:
        model: Design and response.
        problems: What `identified` prepared for the design; criteria of refits are added.
    """
    first = fit_prepared(model, problems[()])
    if not first.singular:
        return first, first
    reduced = model.without(first.singular)
    if first.singular not in problems:
        problems[first.singular] = profiled(reduced, "REML")
    return first, fit_prepared(reduced, problems[first.singular])


def cell_places(labels: pd.Series) -> dict[str, int]:
    """Place of the first run of each cell that has runs, by its name.

    Args:
        labels: Name of each run's cell.
    """
    names = [str(label) for label in labels]
    return {name: names.index(name) for name in dict.fromkeys(names)}


def student_method_cells(frame: pd.DataFrame) -> dict[str, int]:
    """Cells `student:method`, as `cell_places` gives them."""
    return cell_places(frame["student"].astype(str) + ":" + frame["method"].astype(str))


def random_part(frame: pd.DataFrame) -> str:
    """The random part of every model of runs.

    Runs of one student and seed share initialisation and data order: `(1 | student:seed)`. Where a teacher has several
    checkpoints, the students of one share that checkpoint too, and they are no independent replicates: it has an effect
    on each of its students, and on each of them by each method, and none on baselines (kd is 0). An effect common to
    all its students would cancel from moderation; it is not a component, since where students do differ it would take
    up their difference by chance and with it the error of moderation (`docs/statistics.md` has the error rates).

    Args:
        frame: With the columns of `analysis.runs.frame.grouped`.
    """
    taught = frame[frame["kd"] > 0]
    pair = ["teacher", "teacher_seed", "student"]
    # an effect of which each run has its own is part of the error
    if max(checkpoints(frame).values(), default=1) == 1 or not taught.duplicated(pair).any():
        return SEEDS
    by_method = len(set(taught["method"])) > 1 and taught.duplicated([*pair, "method"]).any()
    return f"{SEEDS} + (0 + kd | {':'.join(pair)}{'/method' if by_method else ''})"


def _student_by_method(frame: pd.DataFrame) -> str:
    """`student * method`, with the factors that vary."""
    factors = [name for name in ("student", "method") if len(frame[name].cat.categories) > 1]
    return " * ".join(factors) or "1"


def primary(frame: pd.DataFrame, metric: str, subset: str) -> Fitted:
    """`acc ~ student * method` and the random part, pooled over teachers; cells are `student:method`."""
    formula = f"y ~ {_student_by_method(frame)} + {random_part(frame)}"
    return fit_model("primary", formula, frame, student_method_cells(frame), metric=metric, subset=subset)


def pairs(frame: pd.DataFrame, metric: str, subset: str) -> Fitted:
    """The same random part, with a free mean for each teacher, student and method."""
    formula = f"y ~ 0 + cell + {random_part(frame)}"
    return fit_model("pairs", formula, frame, cell_places(frame["cell"]), metric=metric, subset=subset)


def gains(frame: pd.DataFrame, metric: str, subset: str) -> Fitted:
    """`gain ~ student * method + (1 | teacher)` and the random part, on the gains over the same seed's baseline.

    Readers expect it, so it is shown; claims rest on `primary`, where the baseline's own noise is part of the model.

    Args:
        frame: As `analysis.runs.frame.gain_frame` returns it.
        metric: Name of the metric that gains are of.
        subset: Name of the rows.
    """
    formula = f"y ~ {_student_by_method(frame)} + (1 | teacher) + {random_part(frame)}"
    return fit_model("gain", formula, frame, student_method_cells(frame), metric=metric, subset=subset)


def describe(fitted: Fitted, runs: Iterable[int], *, second: bool) -> tuple[ModelFit, ...]:
    """Rows of `models.csv`: the fit, and the refit after a singular one.

    Args:
        fitted: The model.
        runs: Rows of the runs table that its responses come from, counted from 1, each once.
        second: Whether to fit the second engine beside it; only regular fits with a random part have one.
    """
    numbers = tuple(sorted(int(number) for number in runs))
    return tuple(_described(source, fitted, numbers, second=second) for source in fitted.sources)


def _described(source: Source, fitted: Fitted, runs: tuple[int, ...], *, second: bool) -> ModelFit:
    found = source.fit
    shares = explained(found)
    regular = bool(found.model.components) and not source.singular
    other = second_engine.compare(found) if second and regular else None
    if source is not fitted.first:
        why = f"refit of {fitted.first.model} without {', '.join(fitted.first.fit.singular)}, whose variance is 0"
    elif source.singular:
        why = f"singular: the variance of {', '.join(found.singular)} is 0; {fitted.used.model} is without it"
    else:
        why = other.told if other else "regular fit" if found.model.components else "no random part"
    return ModelFit(
        **source.labels,
        formula=found.model.formula,
        engine=ENGINE if found.model.components else LEAST_SQUARES,
        optimiser=found.optimum.told if found.model.components else "closed form",
        criterion=found.criterion,
        minus_2_log_likelihood=found.minus_2_log_likelihood,
        n=len(found.model.y),
        runs=runs,
        groups=sum(len(component.levels) for component in found.model.components),
        zero_components=", ".join(found.singular),
        r2_marginal=shares.r2_marginal,
        r2_conditional=shares.r2_conditional,
        second_engine=other.name if other else "",
        second_excess=other.excess if other else None,
        second_effect_difference_pp=other.effect_difference if other else None,
        second_se_ratio=other.se_ratio if other else None,
        check="; ".join([why, *fitted.notes]),
    )


def components(source: Source, intervals: Mapping[str, tuple[float, float]]) -> tuple[VarianceComponent, ...]:
    """Rows of `variance_components.csv`, with profile intervals where there are some."""
    shares = explained(source.fit).icc
    rest = 1 - sum(shares.values())
    rows = []
    for name, variance in source.fit.variances.items():
        low, high = intervals.get(name, (None, None))
        rows.append(
            VarianceComponent(
                **source.labels,
                component=name,
                sd_pp=float(np.sqrt(variance)),
                sd_ci_low_pp=low,
                sd_ci_high_pp=high,
                variance_pp2=variance,
                share=shares.get(name, rest),
            )
        )
    return tuple(rows)
