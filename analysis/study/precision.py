"""What more seeds would find out about the main contrasts, and other intervals for them than the t interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import ModelError
from analysis.inference import power, resampling
from analysis.inference.estimate import Estimate
from analysis.mixed import bootstrap
from analysis.mixed.criterion import Profiled, profiled
from analysis.mixed.inference import DfMethod
from analysis.mixed.model import build
from analysis.mixed.profile import combination_interval
from analysis.results import AlternativeInterval, Omnibus, PowerPoint, SeedsNeeded
from analysis.runs.columns import cell_label
from analysis.runs.frame import unit_gains
from analysis.study.contrasts import LEVEL
from analysis.study.images import paired_gains
from analysis.study.models import Fitted, Source, Weights
from analysis.study.planning import Plan

SEEDS = (2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
POWERS = (0.8, 0.9)
DRAWS = 10_000
CROSSED_DRAWS = 500  # where the criterion is no sum over strata: each response costs a hundred times as much


def power_points(
    source: Source, plan: Plan, contrasts: Mapping[str, Weights], effects_pp: Sequence[float], margin_pp: float
) -> tuple[PowerPoint, ...]:
    """Power of each contrast at each effect and number of seeds.

    Args:
        source: The fit whose variances are assumed.
        plan: Its design.
        contrasts: Weights by identifier; they share the 5% for verdicts.
        effects_pp: True effects assumed, above 0.
        margin_pp: Margin of the verdict.
    """
    rows = []
    for name, weights in contrasts.items():
        combination = source.combination(weights)
        precision = plan.precision(combination)
        ratios = _ratios(source.estimate(weights))
        for effect in effects_pp:
            for row in power.power_curve(effect, precision, SEEDS, ratios):
                settled = power.verdict_power(effect, row.se_pp, row.df, margin_pp, len(contrasts), "directional")
                rows.append(
                    PowerPoint(
                        contrast=name, effect_pp=effect, seeds=row.seeds, se_pp=row.se_pp, df=row.df, power=row.power,
                        power_low=row.power_low, power_high=row.power_high,
                        verdict_probability=float(1 - settled.cannot_tell), smallest_detectable_pp=row.detectable_pp,
                    )
                )  # fmt: skip
    return tuple(rows)


def seeds_needed(
    source: Source, plan: Plan, contrasts: Mapping[str, Weights], effects_pp: Sequence[float], powers: Sequence[float]
) -> tuple[SeedsNeeded, ...]:
    """Seeds a cell for each contrast, effect and power, with the band of sigma's own interval."""
    rows = []
    for name, weights in contrasts.items():
        precision = plan.precision(source.combination(weights))
        low, high = _ratios(source.estimate(weights))
        for effect in effects_pp:
            for wanted in powers:
                few, middle, many = (
                    power.seeds_needed(effect, power.scaled(precision, ratio), wanted) for ratio in (low, 1.0, high)
                )
                rows.append(SeedsNeeded(name, effect, wanted, middle, few, many))
    return tuple(rows)


def _ratios(estimate: Estimate) -> tuple[float, float]:
    return power.sigma_interval(1.0, estimate.df)


def alternative_intervals(
    fitted: Fitted, frame: pd.DataFrame, contrasts: Mapping[str, tuple[str, Weights]], pair: tuple[str, str],
    generator: np.random.Generator,
) -> tuple[AlternativeInterval, ...]:  # fmt: skip
    """The moderation contrasts by every other method at hand.

    Args:
        fitted: The primary model.
        frame: Its rows.
        contrasts: Distillation method and weights, by identifier.
        pair: The two students, smaller first.
        generator: For bootstrap and large permutation tests.
    """
    source = fitted.used
    if not contrasts:
        return ()
    combinations = np.stack([source.combination(weights) for _, weights in contrasts.values()])
    draws = _draws(source.fit.problem)
    drawn = bootstrap.estimates(source.fit, combinations, draws, generator)
    rows = []
    for (name, (method, weights)), combination, simulated in zip(contrasts.items(), combinations, drawn, strict=True):
        dfs: tuple[DfMethod, ...] = ("kenward-roger", "satterthwaite") if source.fit.model.components else ("residual",)
        for df_method in dfs:
            estimate = source.estimate(weights, df_method)
            low, high = estimate.interval(LEVEL)
            rows.append(_interval(name, source.model, f"t, {df_method}", estimate.value, (low, high), p=estimate.p))
        value = source.estimate(weights).value
        profile = combination_interval(fitted.first.fit.model, combination, LEVEL)
        rows.append(_interval(name, fitted.first.model, "profile likelihood", value, profile))
        ends = (simulated.low, simulated.high)
        rows.append(_interval(name, source.model, "parametric bootstrap", value, ends, mc=(simulated.end_mc_se, draws)))
        rows += _over_seeds(name, unit_gains(frame, method), pair, generator)
    return tuple(rows)


def _draws(problem: Profiled) -> int:
    return DRAWS if problem.stratified else min(DRAWS, CROSSED_DRAWS)


def _over_seeds(
    name: str, gains: Mapping[str, pd.Series], pair: tuple[str, str], generator: np.random.Generator
) -> list[AlternativeInterval]:
    """Resampling of whole seeds: each student and seed is one unit."""
    units = [gains[student].to_numpy() for student in pair if student in gains]
    if len(units) < len(pair) or min(map(len, units)) < 2 or max(map(np.ptp, units)) == 0:  # noqa: PLR2004 - a spread needs two
        return []
    exchanged = resampling.permutation_test(units[0], units[1], generator)
    again = resampling.bootstrap(units[0], units[1], generator)
    kind = "exact permutation of seeds" if exchanged.exact else "random permutation of seeds"
    mc = None if exchanged.exact else (exchanged.mc_error, exchanged.arrangements)
    value, resampled = exchanged.difference_pp, (None, again.resamples)
    percentile, bca = (again.percentile_low_pp, again.percentile_high_pp), (again.bca_low_pp, again.bca_high_pp)
    return [
        _interval(name, "seeds", kind, value, None, p=exchanged.p, mc=mc),
        _interval(name, "seeds", "bootstrap of seeds, percentile (too narrow)", value, percentile, mc=resampled),
        _interval(name, "seeds", "bootstrap of seeds, BCa (too narrow)", value, bca, mc=resampled),
    ]


def _interval(
    contrast: str, model: str, method: str, value: float, ends: tuple[float, float] | None,
    *, p: float | None = None, mc: tuple[float | None, int] | None = None,
) -> AlternativeInterval:  # fmt: skip
    low, high = ends or (None, None)
    return AlternativeInterval(
        contrast=contrast, model=model, method=method, estimate_pp=value, low_pp=low, high_pp=high, p=p,
        mc_se=mc[0] if mc else None, draws=mc[1] if mc else None,
    )  # fmt: skip


def paired_intervals(final: pd.DataFrame, right: NDArray[np.bool_]) -> tuple[AlternativeInterval, ...]:
    """Each distilled cell against its baseline on the same images: for these images, for new ones, and seed by seed.

    Args:
        final: Final rows.
        right: Whether a run (row of `final`) classifies a test image (column) rightly.

    Returns:
        Paired t intervals over seeds without and with the images' noise, and the exact McNemar test of each seed's two
        networks, which speaks of these two networks alone.
    """
    rows = []
    for pair in paired_gains(final, right):
        name = f"gain:{cell_label(pair.teacher, pair.student, pair.method)}"
        several = len(pair.checkpoints) > 1
        if pair.these is not None and pair.new is not None:
            for what, one in (("these images", pair.these), ("new images", pair.new.estimate)):
                ends = one.interval(LEVEL)
                rows.append(
                    _interval(
                        name,
                        "seeds",
                        f"paired t over seeds, {what}{', these checkpoints' * several}",
                        one.value,
                        ends,
                        p=one.p,
                    )
                )
        networks = [(f"teacher seed {c}, " * several, seed) for c in pair.checkpoints for seed in pair.seeds]
        for (taught, seed), p in zip(networks, pair.mcnemar_p, strict=True):
            rows.append(_interval(name, f"{taught}seed {seed}", "exact McNemar, two networks", pair.gain_pp, None, p=p))
    return tuple(rows)


def likelihood_ratio_tests(source: Source, frame: pd.DataFrame, generator: np.random.Generator) -> tuple[Omnibus, ...]:
    """The interaction by ML: chi-square (asymptotic) and parametric bootstrap; none where there is no interaction."""
    full = source.fit.model
    formula = full.formula.replace("student * method", "student + method")
    if formula == full.formula:
        return ()
    null = build(formula, frame)
    try:
        found = bootstrap.likelihood_ratio(full, null, _draws(profiled(full, "ML")), generator)
    except ModelError:
        return ()
    shared = {
        **source.labels, "term": "student:method", "test": "LRT", "statistic": found.statistic,
        "df_num": float(found.df), "df_den": None, "n": len(full.y),
    }  # fmt: skip
    return (
        Omnibus(**shared, df_method="chi-square", p=found.p_chi2, p_mc_se=None, draws=None),
        Omnibus(**shared, df_method="parametric bootstrap", p=found.p, p_mc_se=found.p_mc_se, draws=found.draws),
    )
