"""The noncentral t distribution, safe at every noncentrality, and the interval that it gives.

A noncentral t variable is (Z + nc) / u with Z standard normal and u = sqrt(chi2 / df) independent of it, so

    P(T <= q) = E[Phi(q u - nc)],

an average over the one random number u. It is computed here by Gauss-Legendre quadrature over log u. Series
lose their digits as nc grows (scipy 1.17's `nct.cdf` is NaN at q = -8, df = 1, nc = 8 and elsewhere, R's `pt` stops at
|nc| = 37.62); this integrand stays positive and bounded. On the log scale it is also analytic for every df, where
u^(df - 1) is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)  # doubling them moves no result by more than 1e-13
_TAIL = 1e-17  # probability left out at each end of u
_SPLITS = (1e-9, 1e-3, 0.5)  # quantiles of u between which its density varies by a few orders of magnitude only
_LARGEST_DF = 1e8  # beyond, u is 1 to within 7e-5 and so is taken to be 1: a result moves by less than 1e-8
_FLAT = 1e-100  # below this slope Phi(slope u - centre) does not vary with u
_STEP = 8.5  # standard deviations within which the normal distribution function climbs from 0 to 1, to 1e-17


def chi_expectation(function: Callable[[Floats], Floats], df: Floats, breaks: Sequence[Floats]) -> Floats:
    """E[function(u)] for u = sqrt(chi2 / df), what an estimated standard error is to the true one.

    Args:
        function: Takes values of u on a last axis of its own, after the axes of `df`; returns the same shape, or
            several such arrays on leading axes.
        df: Degrees of freedom, at least 0.1; may be infinite (u is then 1).
        breaks: Values of u, each broadcastable to the shape of `df`, at which `function` has a kink or around
            which it climbs steeply. The quadrature is split there and keeps its digits.

    Returns:
        The expectation, in the shape of `df` (after leading axes, if any), to about 1e-12 times the largest value
        of `function`.
    """
    if not np.all(df > 0):
        raise ValueError(f"degrees of freedom must be above 0, got {df.tolist()}; check the fit they come from")
    certain = df > _LARGEST_DF
    df = np.minimum(df, _LARGEST_DF)
    half = df / 2
    low, high = special.gammaincinv(half, _TAIL), special.gammainccinv(half, _TAIL)
    fixed = [np.log(np.maximum(x, 1e-300) / half) / 2 for x in (low, *special.gammaincinv(half, _spread(df)), high)]
    edges = [np.log(np.clip(edge, np.exp(fixed[0]), np.exp(fixed[-1]))) for edge in breaks]
    panels = np.sort(np.stack(np.broadcast_arrays(*fixed, *edges), axis=-1), axis=-1)
    centre, radius = (panels[..., 1:] + panels[..., :-1]) / 2, np.diff(panels, axis=-1) / 2
    log_u = (centre[..., None] + radius[..., None] * _NODES).reshape(*df.shape, -1)
    widths = (radius[..., None] * _WEIGHTS).reshape(*df.shape, -1)
    # log density of log u but for its constant; expm1 keeps the digits that a large df would multiply away
    weights = widths * np.exp(df[..., None] * (log_u - special.expm1(2 * log_u) / 2))
    u = np.where(certain[..., None], 1.0, np.exp(log_u))
    return np.asarray((weights * function(u)).sum(axis=-1) / weights.sum(axis=-1))


def steep(centre: Floats, slope: Floats) -> list[Floats]:
    """Breaks for `chi_expectation` of a function that holds Phi(slope u - centre), slope not 0."""
    return [np.asarray((centre + away) / slope) for away in (-_STEP, 0.0, _STEP)]


def cdf(q: ArrayLike, df: ArrayLike, nc: ArrayLike) -> Floats:
    """P(T <= q), T noncentral t, to about 1e-12; arguments broadcast.

    Args:
        q: Quantile, finite.
        df: Degrees of freedom, at least 0.1; may be infinite.
        nc: Noncentrality, finite.
    """
    q, df, nc = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(q, df, nc))
    slope = np.where(np.abs(q) < _FLAT, 1.0, q)  # without a climb any break will do
    return chi_expectation(lambda u: special.ndtr(q[..., None] * u - nc[..., None]), df, steep(nc, slope))


def sf(q: ArrayLike, df: ArrayLike, nc: ArrayLike) -> Floats:
    """P(T > q), as `cdf`: small values keep their digits, where 1 - cdf would lose them."""
    return cdf(-np.asarray(q, dtype=float), df, -np.asarray(nc, dtype=float))


def noncentrality(t: float, df: float, p: float) -> float:
    """The noncentrality under which P(T <= t) is p (0 to 1, both excluded): cdf falls in nc, so there is one."""

    def excess(nc: float) -> float:
        return float(cdf(t, df, nc)) - p

    reach = 10.0 + abs(t)
    while excess(t - reach) < 0 or excess(t + reach) > 0:
        reach *= 2
    return float(optimize.brentq(excess, t - reach, t + reach, xtol=1e-12, rtol=1e-12))


def noncentrality_interval(t: float, df: float, level: float) -> tuple[float, float]:
    """Exact two-sided interval for the noncentrality behind an observed t.

    Its ends are the noncentralities under which a t this large, or this small, has probability (1 - level) / 2
    (Steiger and Fouladi, in Harlow, Mulaik and Steiger, What if there were no significance tests?, 1997, 221-257).

    Args:
        t: Observed t statistic, finite.
        df: Its degrees of freedom.
        level: Coverage, 0 to 1, both excluded.
    """
    if not np.isfinite(t):
        raise ValueError(f"a noncentrality interval needs a finite t, got {t}; is the standard error zero?")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.95 is a 95% interval")
    return noncentrality(t, df, (1 + level) / 2), noncentrality(t, df, (1 - level) / 2)


def _spread(df: Floats) -> Floats:
    """The splitting quantiles on a first axis, before those of `df`."""
    return np.asarray(_SPLITS).reshape(-1, *[1] * df.ndim)
