"""The whole procedure, singular refit included, keeps its 5% and 95%; the same check catches procedures that do not.

A larger simulation, over seed ICCs and with runs lost, is `python -m bench characteristics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from checkpoint_rates import rates
from scipy import stats

from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import DfMethod
from analysis.mixed.model import build
from analysis.runs.frame import model_frame
from analysis.runs.table import finals
from analysis.study.contrasts import moderation, moderation_id
from analysis.study.models import Fitted, Source, primary
from analysis.study.simulation import (
    Characteristics,
    Judge,
    Judged,
    Share,
    by_first,
    by_used,
    characteristics,
    with_icc,
    without_effects,
)

DRAWS = 1500
# Monte-Carlo standard errors (0.56 pp at 1,500 data sets) that a share may lie from 5% or 95%. An honest share is
# further off once in 2,000 seeds; two dozen shares are judged here. What the procedure is truly off by (0.2 pp, by the
# closed form below) is a third of one.
ERRORS = 3.5
ICC = 0.105  # as fitted
CONTRASTS = {
    moderation_id("resnet18", "resnet34", method): moderation("resnet18", "resnet34", method)
    for method in ("feature", "logit")
}


@dataclass(frozen=True)
class Study:
    """The published layout: its rows, its fit, and a truth without interaction."""

    frame: pd.DataFrame
    fitted: Fitted
    null: Fit

    def run(self, truth: Fit, judges: dict[str, Judge], draws: int, seed: int) -> Characteristics:
        """Simulate from a truth on this layout."""
        return characteristics(self.fitted, truth, CONTRASTS, judges, draws, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def study(published: pd.DataFrame) -> Study:
    """The published runs."""
    final = finals(published)
    y = 100 * final["test_acc_best"].astype("float64")
    frame = model_frame(final, y, ("resnet18", "resnet34"), ("feature", "logit"))
    fitted = primary(frame, "test_acc_best", "all")
    combinations = np.stack([fitted.first.combination(weights) for weights in CONTRASTS.values()])
    return Study(frame, fitted, without_effects(fitted.first.fit, combinations))


@pytest.fixture(scope="module")
def under_null(study: Study) -> Characteristics:
    """Data sets without interaction, judged by the procedure, without a refit, and with a shared baseline."""
    judges = {"used": by_used, "first": by_first, "shared": shared_baseline(study.frame)}
    return study.run(study.null, judges, DRAWS, seed=1)


def shared_baseline(frame: pd.DataFrame) -> Judge:
    """A wrong procedure: gains over one baseline a student and seed, as if each gain had a baseline of its own."""
    distilled = frame[frame["kd"] == 1].reset_index()
    alone = frame[frame["kd"] == 0].reset_index().set_index(["student", "seed"])["index"]
    baselines = [alone[student, seed] for student, seed in zip(distilled["student"], distilled["seed"], strict=True)]
    distilled["pair"] = distilled["student"].astype(str) + ":" + distilled["method"].astype(str)
    model = build("y ~ 0 + pair", distilled)
    cells = {
        name.removeprefix("pair[").removesuffix("]"): row for name, row in zip(model.names, np.eye(4), strict=True)
    }
    cells |= {f"{student}:none": np.zeros(4) for student in ("resnet18", "resnet34")}

    def judge(fitted: Fitted) -> tuple[Source, DfMethod]:
        y = fitted.first.fit.model.y
        gains = fit(model.with_response(y[distilled["index"]] - y[baselines]))
        return Source("gains", "y", "all", gains, cells), "residual"

    return judge


def pooled(fitted: Fitted) -> tuple[Source, DfMethod]:
    """A wrong procedure: least squares, as if runs of one seed had nothing in common."""
    model = fitted.first.fit.model
    return Source("pooled", "y", "all", fit(model.without(["student:seed"])), fitted.first.cells), "residual"


def false_alarms(judged: Judged) -> list[Share]:
    """Of the joint test and of each contrast."""
    return [judged.joint, *judged.rejected.values()]


def within(share: Share, nominal: float) -> bool:
    """Whether a share is as near to its nominal value as its Monte-Carlo error allows."""
    return abs(share.errors_from(nominal)) < ERRORS


def test_false_alarms_are_five_percent(under_null: Characteristics) -> None:
    """Where capacity moderates nothing, the joint test and each contrast say otherwise in 5% of data sets."""
    assert all(within(share, 0.05) for share in false_alarms(under_null.judged["used"]))
    assert under_null.singular.count > DRAWS / 10  # the refit takes part in this


def test_intervals_hold_the_truth_ninety_five_times_in_a_hundred(study: Study) -> None:
    """Under the fitted means the 95% intervals of the moderation contrasts cover 95%."""
    found = study.run(study.fitted.first.fit, {"used": by_used}, DRAWS, seed=2).judged["used"]
    assert all(within(share, 0.95) for share in found.covered.values())


def test_a_shared_baseline_is_caught(under_null: Characteristics) -> None:
    """The check can fail: gains over one baseline, taken as independent, raise more false alarms than it lets pass."""
    assert not any(within(share, 0.05) for share in false_alarms(under_null.judged["shared"]))
    assert under_null.judged["shared"].joint.value > 0.08


def test_ignoring_the_seeds_is_caught(study: Study) -> None:
    """The check can fail: with a true seed variance, least squares covers too often, while the procedure does not."""
    truth = with_icc(study.null, 0.6)
    found = study.run(truth, {"used": by_used, "pooled": pooled}, 400, seed=3)
    assert all(within(share, 0.05) for share in false_alarms(found.judged["used"]))
    assert all(within(share, 0.95) for share in found.judged["used"].covered.values())
    assert not any(within(share, 0.95) for share in found.judged["pooled"].covered.values())
    assert not within(found.judged["pooled"].joint, 0.05)


@dataclass(frozen=True)
class ClosedForm:
    """Shares in the published layout, where each seed has the same five runs, by integration instead of simulation.

    Within and between seeds of a student, sums of squares are sigma^2 chi2(36) and (1 + 5 gamma) sigma^2 chi2(8). The
    fit is singular where the second mean square is the smaller one; the two are then pooled. Contrasts are independent
    of both, and their variance is known up to sigma^2.
    """

    singular: float
    t: float
    f: float


def closed_form(icc: float, df_pooled: int) -> ClosedForm:
    """Integrate over both sums of squares, in units of sigma^2; pooled fits are judged by `df_pooled`."""
    within_df, between_df = 36, 8
    spread = 1 + 5 * icc / (1 - icc)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u, weights = (nodes + 1) / 2, weights / 2
    a = stats.chi2.ppf(u, within_df)
    singular = stats.chi2.cdf(between_df * a / within_df / spread, between_df)
    b = spread * stats.chi2.ppf(u[None, :] * singular[:, None], between_df)

    def expected(beyond: Callable[[np.ndarray, int], np.ndarray]) -> float:
        pooled = beyond((a[:, None] + b) / (within_df + between_df), df_pooled) @ weights
        return float(weights @ (beyond(a / within_df, within_df) * (1 - singular) + pooled * singular))

    return ClosedForm(
        float(weights @ singular),
        expected(lambda s2, df: 2 * stats.norm.sf(stats.t.isf(0.025, df) * np.sqrt(s2))),
        expected(lambda s2, df: np.exp(-stats.f.isf(0.05, 2, df) * s2)),
    )


def test_simulation_and_closed_form_agree(under_null: Characteristics) -> None:
    """Integration over the two sums of squares gives the simulated shares, singular fits among them."""
    for judge, df in (("used", 44), ("first", 36)):
        exact, found = closed_form(ICC, df), under_null.judged[judge]
        assert within(under_null.singular, exact.singular)
        assert within(found.joint, exact.f)
        assert all(within(share, exact.t) for share in found.rejected.values())


def test_the_procedure_is_slightly_liberal_without_seed_variance() -> None:
    """What the refit costs at most, in this layout: half a percentage point of level, at ICC 0; nothing at 0.6."""
    assert 100 * closed_form(0.0, 44).t == pytest.approx(5.45, abs=0.01)
    assert 100 * closed_form(0.0, 44).f == pytest.approx(5.58, abs=0.01)
    assert 100 * closed_form(0.0, 36).t == pytest.approx(5.38, abs=0.01)
    assert 100 * closed_form(ICC, 44).t == pytest.approx(5.17, abs=0.01)
    assert 100 * closed_form(ICC, 44).f == pytest.approx(5.21, abs=0.01)
    assert 100 * closed_form(0.6, 44).t == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("kind", ["by student", "by both"])
def test_false_alarms_with_several_checkpoints_are_five_percent(kind: str) -> None:
    """One teacher of three checkpoints, crossed with eight seeds: 5% where the models tell them apart.

    The check can fail: taken for independent replicates, the same runs give false alarms in one of five data sets.
    """
    shared = (("b", "small"), ("b", "large"))
    apart = rates(shared, 8, 3, {kind: 0.2}, told_apart=True, draws=250).judged["used"]
    assert all(within(share, 0.05) for share in false_alarms(apart))
    taken = rates(shared, 8, 3, {kind: 0.2}, told_apart=False, draws=100).judged["used"]
    assert all(share.value > 0.15 for share in false_alarms(taken))
