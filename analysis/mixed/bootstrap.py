"""Parametric bootstrap: responses drawn from a fitted model, the models fitted anew to each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.errors import ModelError
from analysis.mixed.criterion import Criterion, Crossed, profiled
from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import Floats, Model
from analysis.mixed.optimise import minimise_all

_CHUNK = 500  # responses whose covariances are in memory at once
_STARTS = 2
_INSIDE = 1e-9  # a column whose part outside a space is this small, relative to itself, lies in it


def simulate(fitted: Fit, count: int, generator: np.random.Generator) -> Floats:
    """Responses (count, n) drawn from a fitted model: its fixed part, new group effects, new errors."""
    runs = len(fitted.model.y)
    y = fitted.fitted + math.sqrt(fitted.sigma2) * generator.standard_normal((count, runs))
    for component in fitted.model.components:
        sd = math.sqrt(fitted.variances[component.name])
        if sd > 0:
            y += sd * generator.standard_normal((count, component.z.shape[1])) @ component.z.T
    return np.asarray(y)


@dataclass(frozen=True)
class Refits:
    """A model fitted to many responses.

    Attributes:
        gamma: (B, K) variance ratios, 0 where singular.
        sigma2: (B,) error variances.
        minus_2_log_likelihood: (B,) at the minimum.
    """

    gamma: Floats
    sigma2: Floats
    minus_2_log_likelihood: Floats


def refit(model: Model, y: Floats, criterion: Criterion) -> Refits:
    """Fit a model to responses (B, n), each from its own start (never from another fit's)."""
    problem = profiled(model, criterion)
    data = problem.data(y)
    gamma, value = minimise_all(problem, data, starts=_STARTS)
    return Refits(gamma, problem.error_variance(gamma, data), value + problem.constant)


def fixed_effects(model: Model, y: Floats, gamma: Floats) -> Floats:
    """Generalised least-squares estimates (B, p) of responses (B, n) at their own variance ratios (B, K)."""
    least_squares = np.linalg.pinv(model.x)
    start = y @ least_squares.T
    rest = y - start @ model.x.T
    basis, g = model.space.basis, model.space.g
    inside = basis.T @ model.x
    # where each Z Z' maps the fixed part into itself, least squares is best for every gamma (Zyskind, 1967)
    mapped = basis @ (g @ inside)
    off = np.abs(mapped - model.x @ (least_squares @ mapped)).max(initial=0.0)
    if off < _INSIDE * np.abs(mapped).max(initial=1.0):
        return np.asarray(start)
    # X' V^-1 X and X' V^-1 y in two positive parts: outside the random effects' space, where V is I, and inside it
    outside = model.x - basis @ inside
    found = np.empty_like(start)
    for first in range(0, len(y), _CHUNK):
        part = slice(first, first + _CHUNK)
        weighted = Crossed(g).at(gamma[part]).inverse @ inside
        normal = outside.T @ outside + inside.T @ weighted
        right = rest[part] @ outside + np.einsum("br,brp->bp", rest[part] @ basis, weighted)
        found[part] = start[part] + np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return found


@dataclass(frozen=True)
class BootstrapTest:
    """A likelihood ratio test by simulation under the null model.

    Attributes:
        statistic: -2 log likelihood of the null model less that of the full one.
        df: Difference in fixed effects and variances.
        p_chi2: p by the chi-square distribution: asymptotic, and known to be too small here.
        p: (1 + simulated statistics at least as large) / (1 + draws) (Davison and Hinkley, 1997, section 4.2).
        p_mc_se: Monte-Carlo standard error of p.
        draws: Simulated responses.
    """

    statistic: float
    df: int
    p_chi2: float
    p: float
    p_mc_se: float
    draws: int


def likelihood_ratio(
    full: Model, null: Model, draws: int, generator: np.random.Generator, criterion: Criterion = "ML"
) -> BootstrapTest:
    """Test a null model inside a full one, as R's PBmodcomp does but with every fit from a start of its own.

    Args:
        full: The larger model.
        null: The smaller one, on the same responses.
        draws: Simulated responses, at least 1.
        generator: Source of randomness.
        criterion: ML; REML only where both have the same fixed part.

    Raises:
        ModelError: The null model is no part of the full one, or REML would compare different fixed parts.
    """
    df = full.x.shape[1] - null.x.shape[1] + len(full.components) - len(null.components)
    if df < 1 or not np.array_equal(full.y, null.y) or not _inside(null, full):
        raise ModelError(f"{null.formula!r} is no smaller model of the same responses inside {full.formula!r}.")
    if criterion == "REML" and full.names != null.names:
        raise ModelError("REML criteria of different fixed parts cannot be compared; use ML.")
    small = fit(null, criterion)
    statistic = max(small.minus_2_log_likelihood - fit(full, criterion).minus_2_log_likelihood, 0.0)
    y = simulate(small, draws, generator)
    drawn = refit(null, y, criterion).minus_2_log_likelihood - refit(full, y, criterion).minus_2_log_likelihood
    p = (1 + int((drawn >= statistic - 1e-9).sum())) / (1 + draws)
    return BootstrapTest(statistic, df, float(stats.chi2.sf(statistic, df)), p, math.sqrt(p * (1 - p) / draws), draws)


def _inside(null: Model, full: Model) -> bool:
    """Whether the full model has the null one's components, and fits its fixed part."""
    names = {component.name for component in full.components}
    if not all(component.name in names for component in null.components):
        return False
    fitted = full.x @ np.linalg.lstsq(full.x, null.x, rcond=None)[0]
    return bool((np.linalg.norm(fitted - null.x, axis=0) <= _INSIDE * np.linalg.norm(null.x, axis=0)).all())


@dataclass(frozen=True)
class BootstrapEstimate:
    """An estimate's sampling distribution by simulation from the fitted model.

    Attributes:
        se: Standard deviation over draws.
        low: Lower end of the percentile interval.
        high: Upper end.
        end_mc_se: Monte-Carlo standard error of the ends (the larger one).
        draws: Simulated responses.
    """

    se: float
    low: float
    high: float
    end_mc_se: float
    draws: int


def estimates(
    fitted: Fit, combinations: Floats, draws: int, generator: np.random.Generator, level: float = 0.95
) -> tuple[BootstrapEstimate, ...]:
    """Bootstrap combinations (q, p) of the fixed effects.

    Percentile intervals do not widen for the estimation of the variances as t intervals do: with few groups they
    are a little short. They are shown beside the t intervals, not instead.
    """
    y = simulate(fitted, draws, generator)
    gamma = refit(fitted.model, y, fitted.criterion).gamma
    drawn = fixed_effects(fitted.model, y, gamma) @ combinations.T
    tail = (1 - level) / 2
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    sds = drawn.std(axis=0, ddof=1)
    # density of a normal distribution at its quantile: the error of a quantile is sqrt(q (1 - q) / B) / density
    density = stats.norm.pdf(stats.norm.ppf(tail))
    return tuple(
        BootstrapEstimate(
            float(sd), float(low), float(high), float(sd * math.sqrt(tail * (1 - tail) / draws) / density), draws
        )
        for sd, low, high in zip(sds, ends[0], ends[1], strict=True)
    )
