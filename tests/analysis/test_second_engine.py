"""The check against statsmodels: it agrees where it should, and can disagree."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis import second_engine
from analysis.design import Design, make_design
from analysis.split_plot import fit
from analysis.table import finals


@pytest.fixture(scope="module")
def design(published: pd.DataFrame) -> Design:
    """The primary model of the published runs."""
    rows = finals(published)
    groups = rows["student"] + ":" + rows["seed"].astype(str)
    y = 100 * rows["test_acc_best"].to_numpy(dtype=float)
    return make_design(y, (rows["student"] + ":" + rows["method"]).tolist(), groups.tolist())


def test_agreement_is_stated_with_the_optimiser(design: Design) -> None:
    """The published table: statsmodels reaches the closed form, though not with its default optimiser."""
    engine, optimiser, check = second_engine.check(fit(design))
    assert engine.startswith("statsmodels")
    assert optimiser in ("bfgs", "powell")
    assert "closed-form split-plot ANOVA agree on both sds within 0.001 pp" in check
    assert "stopped short of the optimum: lbfgs" in check


@pytest.mark.parametrize("draw", range(4))
def test_agreement_on_simulated_tables(simulated: Callable[..., pd.DataFrame], draw: int) -> None:
    """Regular, singular and unbalanced fits: the best optimiser ends where the exact solution is."""
    rows = finals(simulated(draw=draw, tau_pp=0.05 * draw))
    rows = rows.drop(index=[0, 13]) if draw % 2 else rows
    cells, groups = rows["student"] + rows["method"], rows["student"] + rows["seed"].astype(str)
    fitted = fit(make_design(100 * rows["test_acc_best"].to_numpy(), cells.tolist(), groups.tolist()))
    assert "agree" in second_engine.check(fitted)[2]


def test_a_wrong_optimum_is_overruled(design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    """If every optimiser stops at zero variance, the closed form is used and the difference told."""
    monkeypatch.setattr(second_engine, "_ratio", lambda *_: 0.0)
    engine, optimiser, check = second_engine.check(fit(design))
    assert (engine, optimiser) == ("closed-form split-plot ANOVA", "")
    assert "0.0000 (student:seed)" in check
    assert "0.0440 and 0.1282; the latter is used" in check


def test_a_failing_engine_is_told(design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimiser returns: the exact solution stands alone, and says so."""
    monkeypatch.setattr(second_engine, "_ratio", lambda *_: None)
    engine, _, check = second_engine.check(fit(design))
    assert engine == "closed-form split-plot ANOVA"
    assert "failed with each of lbfgs, bfgs, powell" in check
