"""What a reader looks at before trusting a model: residuals, predicted group effects, and tests of its assumptions."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from analysis.mixed.describe import predictions
from analysis.mixed.model import Floats
from analysis.results import Assumption, Diagnostic
from analysis.study.models import Source

FEWEST = 3  # values that a test of normality needs


def diagnostics(source: Source, labels: list[str]) -> tuple[Diagnostic, ...]:
    """Residuals of runs (given fixed part and random effects) and predictions of group effects.

    Args:
        source: The fit.
        labels: Name of each run.
    """
    found = source.fit
    effects = predictions(found)
    inside = np.zeros(len(found.model.y))
    for component in found.model.components:
        inside += component.z @ np.array([one.effect for one in effects if one.component == component.name])
    residuals = found.residuals - inside
    shared = {"model": source.model, "metric": source.metric, "subset": source.subset}
    rows = [
        Diagnostic(**shared, kind="residual", component="residual", label=label, value_pp=float(value), sd_pp=None,
                   fitted_pct=float(mean), normal_quantile=quantile)
        for label, value, mean, quantile in zip(
            labels, residuals, found.fitted + inside, normal_quantiles(residuals), strict=True
        )
    ]  # fmt: skip
    for component in found.model.components:
        own = [one for one in effects if one.component == component.name]
        quantiles = normal_quantiles(np.array([one.effect for one in own]))
        rows += [
            Diagnostic(**shared, kind="random effect", component=component.name, label=one.level,
                       value_pp=one.effect, sd_pp=one.sd, fitted_pct=None, normal_quantile=quantile)
            for one, quantile in zip(own, quantiles, strict=True)
        ]  # fmt: skip
    return tuple(rows)


def normal_quantiles(values: Floats) -> list[float]:
    """Expected standard normal quantiles of the values' ranks (Blom, 1958: (rank - 3/8) / (n + 1/4))."""
    ranks = stats.rankdata(values, method="ordinal")
    return [float(q) for q in stats.norm.ppf((ranks - 0.375) / (len(values) + 0.25))]


def assumptions(rows: tuple[Diagnostic, ...], cells: list[str]) -> tuple[Assumption, ...]:
    """Normality of residuals and of predicted effects (Shapiro and Wilk), equal spread of cells (Levene).

    With few runs these tests find gross failures only; a large p is no proof.

    Args:
        rows: Diagnostics of one model, residuals in the order of the runs.
        cells: Cell of each run.
    """
    import pingouin  # slow to import, and only needed here

    found = []
    for component in dict.fromkeys(row.component for row in rows):
        values = [row.value_pp for row in rows if row.component == component]
        if len(values) < FEWEST or np.ptp(values) == 0:
            continue
        test = pingouin.normality(np.asarray(values)).iloc[0]
        what = "residuals are normal" if component == "residual" else f"effects of {component} are normal"
        found.append(Assumption(rows[0].model, what, "Shapiro-Wilk", float(test["W"]), float(test["pval"])))
    if len(set(cells)) == 1:
        return tuple(found)
    residuals = pd.DataFrame({"value": [row.value_pp for row in rows if row.kind == "residual"], "cell": cells})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells too small for its own normality test, which is not asked for
        try:
            test = pingouin.homoscedasticity(residuals, dv="value", group="cell", method="levene").iloc[0]
        except ValueError:
            return tuple(found)
    found.append(Assumption(rows[0].model, "cells spread equally", "Levene", float(test["W"]), float(test["pval"])))
    # with two runs a cell all residuals of a cell are equally far from 0: nothing to test
    return tuple(row for row in found if np.isfinite([row.statistic, row.p]).all())
