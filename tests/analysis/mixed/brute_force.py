"""What the engine computes, the slow way: n-by-n matrices, written from the definitions."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from analysis.mixed.criterion import Criterion, Data, Profiled
from analysis.mixed.model import Floats, Model


def covariance(model: Model, variances: Floats) -> Floats:
    """(n, n) covariance of the response for K components' variances and the error's, last."""
    v = variances[-1] * np.eye(len(model.y))
    for variance, component in zip(variances, model.components, strict=False):
        v = v + variance * component.z @ component.z.T
    return np.asarray(v)


def least_squares(model: Model, variances: Floats) -> tuple[Floats, Floats]:
    """Generalised least squares: estimates and their covariance."""
    s_inverse = np.linalg.inv(covariance(model, variances))
    phi = np.linalg.inv(model.x.T @ s_inverse @ model.x)
    return np.asarray(phi @ model.x.T @ s_inverse @ model.y), np.asarray(phi)


def minus_2_log_likelihood(model: Model, variances: Floats, kind: Criterion) -> float:
    """By scipy's normal density: of the response (ML), or of what the fixed part cannot reach (REML).

    lme4's REML criterion is the latter plus log|X'X|.
    """
    s = covariance(model, variances)
    if kind == "ML":
        mean = model.x @ least_squares(model, variances)[0]
        return -2 * float(stats.multivariate_normal(mean, s).logpdf(model.y))
    x = model.x
    # the left-out singular vectors: orthonormal, and orthogonal to every column of x
    outside = np.linalg.svd(x)[0][:, x.shape[1] :]
    # no digits lost to the mean: it is in the space of x
    rest = outside.T @ (model.y - model.y.mean() * (x @ np.linalg.lstsq(x, np.ones(len(x)), rcond=None)[0]))
    density = float(stats.multivariate_normal(np.zeros(len(rest)), outside.T @ s @ outside).logpdf(rest))
    return -2 * density + float(np.linalg.slogdet(x.T @ x)[1])


def profiled_value(model: Model, gamma: Floats, kind: Criterion) -> float:
    """-2 log likelihood at variance ratios, at the best error variance (its closed form, and scipy's density)."""
    ratios = np.append(gamma, 1.0)
    beta, _ = least_squares(model, ratios)
    residuals = model.y - model.x @ beta
    nu = len(model.y) - (model.x.shape[1] if kind == "REML" else 0)
    sigma2 = float(residuals @ np.linalg.solve(covariance(model, ratios), residuals)) / nu
    return minus_2_log_likelihood(model, sigma2 * ratios, kind)


def scan(problem: Profiled, data: Data, points: int = 4000) -> tuple[Floats, Floats]:
    """The criterion of one response over one variance ratio, 0 and then evenly in its logarithm: ratios, values."""
    ratios = np.concatenate([[0.0], np.geomspace(1e-7, 1e9, points)]) / problem.scale[0]
    return ratios, problem.values(ratios[:, None], data)[0]


def local_minima(values: Floats) -> list[int]:
    """Where a scanned criterion is below both neighbours."""
    padded = np.concatenate([[np.inf], values, [np.inf]])
    # a step in the tenth digit is rounding
    return [int(i) for i in np.flatnonzero((padded[1:-1] < padded[:-2] - 1e-9) & (padded[1:-1] < padded[2:] - 1e-9))]


def lowest(problem: Profiled, data: Data, points: int) -> float:
    """Least criterion of one response over two ratios: a fine grid, and simplex searches from its five best points."""
    axis = np.concatenate([[0.0], np.geomspace(1e-5, 1e6, points - 1)])
    grid = np.stack([part.ravel() for part in np.meshgrid(*[axis / scale for scale in problem.scale])], axis=1)
    values = problem.values(grid, data)[0]

    def at(root: Floats) -> float:
        return float(problem.values(root[None, :] ** 2, data)[0, 0])

    ends = [
        optimize.minimize(at, np.sqrt(grid[index]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11}).fun
        for index in np.argsort(values)[:5]
    ]
    return float(min(values.min(), *ends))
