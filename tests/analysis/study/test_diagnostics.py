"""Residuals, predicted seed effects and tests of assumptions, by the shrinkage formula and by scipy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.results import Analysis, Diagnostic
from analysis.study.diagnostics import assumptions, diagnostics, normal_quantiles
from analysis.study.models import primary

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]


def values(rows: tuple[Diagnostic, ...], component: str) -> dict[str, float]:
    """Values of a component by label."""
    return {row.label: row.value_pp for row in rows if row.component == component}


def test_seed_effects_are_shrunken_block_means(published_analysis: Analysis, published_frame: pd.DataFrame) -> None:
    """A block of five runs is shrunken by 5 tau^2 / (sigma^2 + 5 tau^2); what is left of a run is its residual."""
    frame = published_frame
    variances = {
        row.component: row.variance_pp2
        for row in published_analysis.variance_components
        if (row.model, row.subset) == ("primary", "all")
    }
    tau2, sigma2 = variances["student:seed"], variances["residual"]
    rest = frame["y"] - frame.groupby(["student", "method"], observed=True)["y"].transform("mean")
    block = frame["student"].astype(str) + ":" + frame["seed"].astype(str)
    effects = rest.groupby(block).mean() * 5 * tau2 / (sigma2 + 5 * tau2)
    assert values(published_analysis.diagnostics, "student:seed") == pytest.approx(effects.to_dict(), abs=1e-9)
    found = [row for row in published_analysis.diagnostics if row.kind == "residual"]
    assert [row.value_pp for row in found] == pytest.approx((rest - block.map(effects)).tolist(), abs=1e-9)
    assert [row.value_pp + (row.fitted_pct or 0) for row in found] == pytest.approx(frame["y"].tolist())
    assert found[0].label == f"{frame['cell'].iloc[0]}, seed {frame['seed'].iloc[0]}"
    assert all(row.sd_pp is None for row in found)
    sds = [row.sd_pp for row in published_analysis.diagnostics if row.kind == "random effect"]
    assert all(sd is not None and 0 < sd < np.sqrt(tau2) for sd in sds)


def test_quantiles_are_bloms() -> None:
    """Of three values the smallest lies at (1 - 3/8) / 3.25, the middle one at 1/2."""
    assert normal_quantiles(np.array([5.0, -2.0, 0.1])) == pytest.approx(
        [stats.norm.ppf(2.625 / 3.25), stats.norm.ppf(0.625 / 3.25), 0.0]
    )


def test_assumptions_are_tested_by_scipy(published_analysis: Analysis, published_frame: pd.DataFrame) -> None:
    """Shapiro and Wilk on residuals and on seed effects, Levene (medians) over ten cells."""
    rows = {row.assumption: row for row in published_analysis.assumptions}
    residuals = [row.value_pp for row in published_analysis.diagnostics if row.kind == "residual"]
    effects = list(values(published_analysis.diagnostics, "student:seed").values())
    for name, sample in (("residuals are normal", residuals), ("effects of student:seed are normal", effects)):
        theirs = stats.shapiro(sample)
        assert (rows[name].statistic, rows[name].p) == pytest.approx((theirs.statistic, theirs.pvalue))
    by_cell = pd.Series(residuals).groupby(published_frame["cell"].to_numpy(), observed=True)
    theirs = stats.levene(*(group.to_numpy() for _, group in by_cell), center="median")
    spread = rows["cells spread equally"]
    assert (spread.statistic, spread.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_a_gross_outlier_is_found(published_analysis: Analysis, published_frame: pd.DataFrame) -> None:
    """One run that is 3 pp off: neither residuals are normal nor is the test silent."""
    rows = list(published_analysis.diagnostics)
    rows[0] = replace(rows[0], value_pp=rows[0].value_pp + 3)
    found = assumptions(tuple(rows), [str(cell) for cell in published_frame["cell"]])
    assert found[0].assumption == "residuals are normal"
    assert found[0].p < 1e-6


def test_refits_have_residuals_alone(simulated: Simulated, framed: Framed) -> None:
    """Without random part residuals are plain, and there are no effects to test."""
    frame = framed(simulated(tau_pp=0, draw=1))
    used = primary(frame, "acc", "all").used
    rows = diagnostics(used, [str(place) for place in range(len(frame))])
    plain = frame["y"] - frame.groupby(["student", "method"], observed=True)["y"].transform("mean")
    assert [row.value_pp for row in rows] == pytest.approx(plain.tolist(), abs=1e-9)
    assert {row.kind for row in rows} == {"residual"}
    assert rows[0].model == "primary:refit"


def test_too_few_values_are_not_tested(simulated: Simulated, framed: Framed) -> None:
    """Two seeds of one student have no normality to test; one cell has no spread to compare."""
    runs = simulated(pairs=[("t", "resnet18")], methods=[], seeds=2, draw=1)
    frame = framed(runs)
    used = primary(frame, "acc", "all").used
    assert assumptions(diagnostics(used, ["a", "b"]), ["one", "one"]) == ()
