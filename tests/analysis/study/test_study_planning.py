"""Precision at other numbers of seeds: the split plot's closed forms, and designs fitted with that many seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.mixed.inference import Inference
from analysis.mixed.model import build
from analysis.runs.frame import taught_by
from analysis.runs.metric import ACCURACY
from analysis.study import ablations, rivals
from analysis.study.contrasts import gain, moderation
from analysis.study.models import Fitted, Source, Weights, pairs, primary
from analysis.study.planning import Plan

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]
SEEDS = (2, 3, 5, 8, 20, 100)
MODERATION = moderation("resnet18", "resnet34", "feature")


def planned(source: Source, frame: pd.DataFrame, weights: Weights, seeds: int) -> tuple[float, float]:
    """Standard error and df of a combination of cells with that many seeds."""
    return Plan(source, frame).precision(source.combination(weights))(seeds)


def error_sd(source: Source) -> float:
    """Residual standard deviation of the fit."""
    return float(np.sqrt(source.fit.variances["residual"]))


# weights, runs a seed, seed effects a seed, means, sum of squared weights of one seed's runs
WITHIN = [
    ("primary", gain("resnet34", "feature"), 10, 2, 6, 1 / 2 + 1),
    ("primary", MODERATION, 10, 2, 6, 2 * (1 / 2 + 1)),
    ("primary", moderation("resnet18", "resnet34", "feature", "logit"), 10, 2, 6, 4 / 2),
    ("pairs", {"resnet50>resnet34:logit": 1.0, "resnet34:none": -1.0}, 10, 2, 10, 2),
    ("pairs", {"resnet101>resnet34:logit": 1.0, "resnet50>resnet34:logit": -1.0}, 10, 2, 10, 2),
    ("matched", MODERATION, 6, 2, 6, 4),
]


@pytest.mark.parametrize(("model", "weights", "runs", "blocks", "means", "squares"), WITHIN)
def test_contrasts_within_seeds_have_the_closed_form(
    published_frame: pd.DataFrame, model: str, weights: Weights, runs: int, blocks: int, means: int, squares: float
) -> None:
    """The seed's effect cancels: SE is sigma sqrt(squares / n), df what runs less seeds less free means leave.

    Of `means` cell means, `blocks` are no cost beside the seed effects: the students' own.
    """
    frame = taught_by(published_frame, ["resnet50"]) if model == "matched" else published_frame
    source = (pairs if model == "pairs" else primary)(frame, "acc", "all").used
    for seeds in SEEDS:
        se, df = planned(source, frame, weights, seeds)
        assert se == pytest.approx(error_sd(source) * np.sqrt(squares / seeds))
        assert df == pytest.approx(runs * seeds - blocks * seeds - (means - blocks))


def test_means_have_the_seeds_noise_and_satterthwaites_df(published_frame: pd.DataFrame) -> None:
    """A baseline's mean over n seeds: variance (tau^2 + sigma^2) / n, df by Satterthwaite from two mean squares."""
    source = primary(published_frame, "acc", "all").used
    tau2, sigma2 = source.fit.variances["student:seed"], source.fit.variances["residual"]
    for seeds in SEEDS:
        of_seeds, of_error = (sigma2 + 5 * tau2) / 5 / seeds, sigma2 * (1 - 1 / 5) / seeds
        total = of_seeds + of_error
        df = total**2 / (of_seeds**2 / (2 * (seeds - 1)) + of_error**2 / (8 * seeds - 4))
        se, found = planned(source, published_frame, {"resnet18:none": 1.0}, seeds)
        assert se == pytest.approx(np.sqrt((tau2 + sigma2) / seeds))
        assert found == pytest.approx(df, rel=0.03)  # the line through 4 and 12 seeds bends a little


def test_after_a_singular_fit_runs_are_independent(simulated: Simulated, framed: Framed) -> None:
    """The refit has no seed effects: 10 n - 6 df."""
    frame = framed(simulated(tau_pp=0, draw=1))
    source = primary(frame, "acc", "all").used
    assert source.model == "primary:refit"
    for seeds in SEEDS:
        se, df = planned(source, frame, MODERATION, seeds)
        assert (se, df) == (pytest.approx(error_sd(source) * np.sqrt(3 / seeds)), pytest.approx(10 * seeds - 6))


def test_stems_and_clipping_are_paired_differences(published: pd.DataFrame) -> None:
    """Two runs a seed: SE sigma sqrt(2 / n); df 2 (n - 1) over two students, n - 1 with one."""
    for part, students in ((ablations.stems(published, ACCURACY), 2), (ablations.clipping(published, ACCURACY), 1)):
        assert part is not None
        fitted, frame, contrasts = part
        for weights in contrasts.values():
            for seeds in SEEDS:
                se, df = planned(fitted.used, frame, weights, seeds)
                assert se == pytest.approx(error_sd(fitted.used) * np.sqrt(2 / seeds))
                assert df == pytest.approx(students * (seeds - 1))


@pytest.mark.parametrize("seeds", [3, 4, 7])
def test_designs_fitted_with_that_many_seeds_agree(simulated: Simulated, framed: Framed, seeds: int) -> None:
    """A plan made from five seeds gives, in units of sigma, what a fit to other runs with n seeds has."""
    frame, other = framed(simulated(draw=2, tau_pp=0.3)), framed(simulated(draw=3, tau_pp=0.3, seeds=seeds))
    for model, weights in ((primary, MODERATION), (pairs, {"resnet50>resnet34:logit": 1.0, "resnet34:none": -1.0})):
        source, again = model(frame, "acc", "all").used, model(other, "acc", "all").used
        assert source.fit.model.components
        assert again.fit.model.components
        se, df = planned(source, frame, weights, seeds)
        found = again.estimate(weights)
        assert se / error_sd(source) == pytest.approx(found.se / error_sd(again))
        assert df == pytest.approx(found.df)


@pytest.mark.parametrize("seeds", [3, 6, 20])
def test_more_seeds_at_the_same_checkpoints(simulated: Simulated, framed: Framed, seeds: int) -> None:
    """What a fit with n seeds has, under the same variances: exactly its standard error, and nearly its df.

    The checkpoints' part stays however many seeds there are.
    """
    frame = framed(simulated(draw=4, tau_pp=0.1, checkpoints=3, checkpoint_pp=0.2))
    source = primary(frame, "acc", "all").used
    assert len(source.fit.model.components) == 3
    other = build(source.fit.model.formula, framed(simulated(checkpoints=3, seeds=seeds)))
    there = Inference(replace(source.fit, model=other)).estimate(source.combination(MODERATION))
    se, df = planned(source, frame, MODERATION, seeds)
    assert se == pytest.approx(there.se)
    assert df == pytest.approx(there.df, rel=0.05)
    assert planned(source, frame, MODERATION, 10_000)[0] > 0.5 * planned(source, frame, MODERATION, 5)[0]


def test_a_seed_with_a_checkpoint_of_its_own_brings_it_along(simulated: Simulated, framed: Framed) -> None:
    """Then everything grows with the seeds: the standard error falls as one over their root, without end."""
    runs = simulated(draw=4, checkpoints=5, checkpoint_pp=0.2)
    own = runs[(runs["method"] == "none") | (runs["teacher_seed"] == runs["seed"])].reset_index(drop=True)
    frame = framed(own)
    source = primary(frame, "acc", "all").used
    assert [component.name for component in source.fit.model.components][-1].startswith("teacher:teacher_seed")
    here = source.estimate(MODERATION)
    se, df = planned(source, frame, MODERATION, 5)
    assert (se, df) == (pytest.approx(here.se), pytest.approx(here.df, rel=0.02))
    assert planned(source, frame, MODERATION, 500)[0] == pytest.approx(se / 10)


def fits(published: pd.DataFrame, frame: pd.DataFrame) -> dict[str, tuple[Fitted, pd.DataFrame, list[Weights]]]:
    """Every model whose contrasts claims rest on, with its rows and some contrasts."""
    final = published[published["stage"] == "final"].reset_index(drop=True)
    found: dict[str, tuple[Fitted, pd.DataFrame, list[Weights]]] = {
        "primary": (primary(frame, "acc", "all"), frame, [MODERATION, {"resnet18:none": 1.0, "resnet34:none": -1.0}]),
        "pairs": (pairs(frame, "acc", "all"), frame, [{"resnet34:none": 1.0, "resnet50>resnet18:logit": -1.0}]),
    }
    for measure in ("agreement", "kl_t1", "kl_t4"):
        part = ablations.fidelity(final, measure)
        assert part is not None
        found[measure] = (part[0], part[1], list(part[2].values()))
    return found


def test_at_the_seeds_that_are_there_the_plan_is_the_fit(
    published: pd.DataFrame, published_frame: pd.DataFrame
) -> None:
    """Five seeds: standard error and df of the fit itself, also between students and of divergences."""
    for fitted, frame, asked in fits(published, published_frame).values():
        for weights in asked:
            estimate = fitted.used.estimate(weights)
            se, df = planned(fitted.used, frame, weights, 5)
            assert se == pytest.approx(estimate.se)
            assert df == pytest.approx(estimate.df, rel=1e-3)


def test_the_gap_model_is_planned_as_it_was_fitted(published: pd.DataFrame, published_frame: pd.DataFrame) -> None:
    """Four pairs a seed with their moderators: at five seeds the fit's standard error, and its df but for a bend."""
    gaps = rivals.gap_frame(published, published_frame, ACCURACY, ("resnet18", "resnet34"))
    fitted = rivals.at_equal_gap(gaps, "acc", "gap-mean")
    assert fitted is not None
    estimate = fitted.used.estimate({"larger": 1.0})
    se, df = planned(fitted.used, gaps, {"larger": 1.0}, 5)
    assert (se, df) == (pytest.approx(estimate.se), pytest.approx(estimate.df, abs=0.1))


def test_lost_runs_are_planned_for_in_full(published: pd.DataFrame, framed: Framed) -> None:
    """A run that was lost is no part of the plan: the next study has every cell at every seed."""
    lost = (published["stage"] == "final") & (published["method"] == "logit") & (published["seed"] == 3)
    frame = framed(published.drop(index=published.index[lost][0]))
    source = primary(frame, "acc", "all").used
    se, df = planned(source, frame, MODERATION, 5)
    assert (se, df) == (pytest.approx(error_sd(source) * np.sqrt(3 / 5)), pytest.approx(36))
    assert source.estimate(MODERATION).df < 36.5


def test_accuracy_is_not_looked_at(published_frame: pd.DataFrame) -> None:
    """A plan knows variances and the design: other means change nothing."""
    source = primary(published_frame, "acc", "all").used
    moved = published_frame.assign(y=published_frame["y"] * 0)
    assert planned(source, moved, MODERATION, 7) == planned(source, published_frame, MODERATION, 7)
