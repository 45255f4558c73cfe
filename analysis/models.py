"""The pre-registered model and its sibling by pairs, fitted, checked and described."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import second_engine
from analysis.contrasts import Source
from analysis.design import make_design
from analysis.results import ModelFit, VarianceComponent
from analysis.split_plot import fit
from analysis.table import cell_label

LEAST_SQUARES = "ordinary least squares"


@dataclass(frozen=True)
class Fitted:
    """A model with its description.

    Attributes:
        source: What contrasts are computed from.
        models: One row, or two after a singular fit: the fit and the refit without its component.
        variance_components: Those of every row of `models`.
    """

    source: Source
    models: tuple[ModelFit, ...]
    variance_components: tuple[VarianceComponent, ...]


def primary(rows: pd.DataFrame, metric: str, subset: str) -> Fitted:
    """`acc ~ student * method + (1 | student:seed)`, pooled over teachers; cells are `student:method`."""
    cells = [f"{student}:{method}" for student, method in zip(rows["student"], rows["method"], strict=True)]
    return _fit("primary", "student * method", rows, cells, metric=metric, subset=subset)


def pairs(rows: pd.DataFrame, metric: str, subset: str) -> Fitted:
    """The same random part, with a free mean for each teacher, student and method."""
    names = zip(rows["teacher"], rows["student"], rows["method"], strict=True)
    cells = [cell_label(*name) for name in names]
    return _fit("pairs", "teacher:student:method", rows, cells, metric=metric, subset=subset)


def _fit(name: str, terms: str, rows: pd.DataFrame, cells: list[str], *, metric: str, subset: str) -> Fitted:
    bare = f"{metric} ~ {terms}"
    formula = f"{bare} + (1 | student:seed)"
    groups = [f"{student}:{seed}" for student, seed in zip(rows["student"], rows["seed"], strict=True)]
    design = make_design(100 * rows[metric].to_numpy(dtype=np.float64), cells, groups)
    first = fit(design)
    source = Source(name, metric, subset, first, first.singular)
    if first.df_rule == "residual":
        check = "each student:seed has one run, so no component can be told from the residual"
        return Fitted(source, (_model(source, bare, LEAST_SQUARES, "", check),), _components(source))
    engine, optimiser, check = second_engine.check(first)
    model = _model(source, formula, engine, optimiser, check)
    if not first.singular:
        return Fitted(source, (model,), _components(source))
    refit = replace(source, fit=fit(design, random=False))
    named = replace(refit, model=f"{name}:refit")
    why = f"refit of {name} without its singular component; contrasts of {name} come from here"
    second = _model(named, bare, LEAST_SQUARES, "", why)
    return Fitted(refit, (model, second), _components(source) + _components(named))


def _model(source: Source, formula: str, engine: str, optimiser: str, check: str) -> ModelFit:
    design = source.fit.design
    return ModelFit(
        **source.labels,
        formula=formula,
        engine=engine,
        optimiser=optimiser,
        criterion="REML",
        minus_2_log_likelihood=source.fit.criterion,
        n=len(design.y),
        groups=len(design.sizes),
        check=check,
    )


def _components(source: Source) -> tuple[VarianceComponent, ...]:
    fitted = source.fit
    variances = {} if fitted.df_rule == "residual" else {"student:seed": fitted.tau2}
    variances["residual"] = fitted.sigma2
    total = sum(variances.values())
    return tuple(
        VarianceComponent(
            **source.labels,
            component=component,
            sd_pp=float(np.sqrt(variance)),
            variance_pp2=variance,
            share=variance / total,
        )
        for component, variance in variances.items()
    )
