"""Profile likelihood intervals of fixed effects and of standard deviations, as lme4's `confint` gives them.

A value is inside where fixing the parameter there raises -2 log likelihood (ML, minimised over all else) by no more
than the chi-square quantile with 1 degree of freedom. The interval needs no symmetry: a standard deviation's may end
at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import optimize, stats

from analysis.inference.estimate import Interval
from analysis.mixed.criterion import Data, Profiled, profiled
from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import Floats, Model
from analysis.mixed.optimise import minimise_all

RESIDUAL = "residual"
_TOLERANCE = 1e-6  # of an end, in first steps
_FAR = 1e4  # times the first step; one degree of freedom (two groups) needs 45 at 95%, 1,500 at 99.9%


def combination_interval(model: Model, combination: Floats, level: float = 0.95) -> Interval:
    """Profile interval of c' beta: with beta = a b + N eta (c'a = 1, c'N = 0), fix b and minimise over the rest."""
    best = fit(model, "ML")
    estimate = float(combination @ best.beta)
    se = math.sqrt(float(combination @ best.covariance @ combination))
    along = model.x @ (combination / float(combination @ combination))
    _, _, vt = np.linalg.svd(combination[None, :])
    rest = replace(model, x=model.x @ vt[1:].T)
    problem = profiled(rest, "ML")

    def excess(b: float) -> float:
        _, value = minimise_all(problem, problem.data((model.y - b * along)[None, :]), starts=2)
        return float(value[0]) + problem.constant - best.minus_2_log_likelihood - _quantile(level)

    return -_edge(lambda b: excess(-b), -estimate, se), _edge(excess, estimate, se)


def sd_interval(fitted: Fit, component: str, level: float = 0.95) -> Interval:
    """Profile interval of a component's standard deviation (`residual` is the error's), by the fit's own criterion.

    lme4 profiles ML whatever the fit; give an ML fit for its numbers.
    """
    problem = fitted.problem
    data = problem.data(fitted.model.y[None, :])
    estimate = math.sqrt(fitted.variances[component])
    names = [one.name for one in fitted.model.components]
    index = None if component == RESIDUAL else names.index(component)
    lowest = fitted.optimum.value - problem.nu * math.log(problem.nu) + problem.nu

    free = [k for k in range(len(names)) if k != index]
    warm = np.concatenate(
        [[] if index is None else [math.log(fitted.sigma2)], fitted.optimum.gamma[free] * fitted.sigma2]
    )

    def excess(sd: float) -> float:
        value, warm[:] = _minimum_at(problem, data, index, sd**2, warm)
        return value - lowest - _quantile(level)

    step = max(estimate, math.sqrt(fitted.sigma2)) / 4
    low = 0.0
    if estimate > 0 and (index is None or excess(0.0) > 0):
        outside = estimate / 2
        while excess(outside) < 0:
            outside /= 2
        low = float(optimize.brentq(excess, outside, estimate, xtol=_TOLERANCE * step))
    return low, _edge(excess, estimate, step)


def _quantile(level: float) -> float:
    return float(stats.chi2.ppf(level, 1))


def _edge(excess: Callable[[float], float], inside: float, step: float) -> float:
    """Where `excess` becomes positive, going up from a point inside."""
    reach = step
    while excess(inside + reach) < 0:
        reach *= 2
        if reach > _FAR * step:
            return math.inf
    return float(optimize.brentq(excess, inside, inside + reach, xtol=_TOLERANCE * step))


def _minimum_at(
    problem: Profiled, data: Data, index: int | None, variance: float, start: Floats
) -> tuple[float, Floats]:
    """Least log|V|... + nu log sigma^2 + Q / sigma^2 with one variance fixed, over sigma^2 and the other variances.

    Args:
        problem: The criterion.
        data: One response.
        index: The component whose variance is fixed; None for the error's.
        variance: Its value.
        start: Where the search starts: log sigma^2 (if it is free), then the other variances.

    Returns:
        The minimum and where it lies.
    """
    components = len(problem.scale)
    free = [k for k in range(components) if k != index]

    def value(point: Floats) -> tuple[float, Floats]:
        sigma2 = variance if index is None else math.exp(point[0])
        variances = np.empty(components)
        variances[free] = point[len(point) - len(free) :]
        if index is not None:
            variances[index] = variance
        gamma = variances / sigma2
        logs = problem.determinant_part.at(gamma[None, :]).log_determinant(curved=False)
        part = problem.residual_part.at(gamma[None, :]).quadratic(data.h, curved=False)
        q = float(part.value[0] + data.s[0])
        slope = logs.gradient[0] + part.gradient[0] / sigma2
        total = float(logs.value[0]) + problem.nu * math.log(sigma2) + q / sigma2
        by_log_sigma2 = [] if index is None else [problem.nu - q / sigma2 - float(gamma @ slope)]
        return total, np.concatenate([by_log_sigma2, slope[free] / sigma2])

    if not len(start):
        return value(start)[0], start
    bounds = [*([] if index is None else [(None, None)]), *[(0.0, None)] * len(free)]
    found = optimize.minimize(
        value, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-6, "maxiter": 500}
    )
    return float(found.fun), np.asarray(found.x)
