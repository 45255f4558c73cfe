"""What a fit says of its groups and of itself: predictions of the random effects, ICC, R squared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.mixed.fit import Fit


@dataclass(frozen=True)
class Prediction:
    """The best linear unbiased prediction of one group's effect.

    Attributes:
        component: Variance component.
        level: Group.
        effect: Prediction, in the response's unit; shrunk towards 0.
        sd: Conditional standard deviation given the responses and the fixed effects (lme4's `condVar`).
    """

    component: str
    level: str
    effect: float
    sd: float


def predictions(fit: Fit) -> tuple[Prediction, ...]:
    """BLUPs (Henderson, Biometrics 31, 1975, 423-447): D Z' V^-1 (y - X beta), variance D - D Z' V^-1 Z D."""
    rows = []
    space = fit.model.space
    weighted_residuals = fit.inverse @ (space.basis.T @ fit.residuals)
    for gamma, component, z in zip(fit.optimum.gamma, fit.model.components, space.inside, strict=True):
        effects = gamma * (z.T @ weighted_residuals)
        known = (z * (fit.inverse @ z)).sum(axis=0)
        variances = fit.sigma2 * (gamma - gamma**2 * known)
        rows += [
            Prediction(component.name, level, float(effect), math.sqrt(max(float(variance), 0.0)))
            for level, effect, variance in zip(component.levels, effects, variances, strict=True)
        ]
    return tuple(rows)


@dataclass(frozen=True)
class Explained:
    """Shares of variance.

    Attributes:
        icc: Share of each component in the variance around the fixed part, by name.
        r2_marginal: Share of the fixed part in the variance of a run.
        r2_conditional: Share of fixed and random part.
    """

    icc: dict[str, float]
    r2_marginal: float
    r2_conditional: float


def explained(fit: Fit) -> Explained:
    """ICC and R squared (Nakagawa and Schielzeth, Methods Ecol Evol 4, 2013, 133-142).

    A gated component counts with its mean variance over the runs (Johnson, Methods Ecol Evol 5, 2014, 944-946). The
    fixed part's variance is that of the fitted values with n - 1, as in R's MuMIn and performance.
    """
    variances = fit.variances
    runs = len(fit.model.y)
    random = {c.name: variances[c.name] * float((c.z**2).sum()) / runs for c in fit.model.components}
    fixed = float(np.var(fit.fitted, ddof=1))
    around = sum(random.values()) + fit.sigma2
    return Explained(
        icc={name: variance / around for name, variance in random.items()},
        r2_marginal=fixed / (fixed + around),
        r2_conditional=(fixed + sum(random.values())) / (fixed + around),
    )
