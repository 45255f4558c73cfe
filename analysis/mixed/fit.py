"""A fitted mixed model: estimates at the minimum, with what inference needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.errors import ModelError
from analysis.mixed.criterion import Criterion, Crossed, Profiled, profiled
from analysis.mixed.model import Floats, Model
from analysis.mixed.optimise import Optimum, minimise

# an error standard deviation below 1e-8 of the response's unit is rounding, not spread between runs
_NO_SPREAD = 1e-16
# a variance ratio above this is an error variance of zero: the criterion is flat, or falls without end, out there
_ALL_BETWEEN = 1e7


@dataclass(frozen=True)
class Fit:
    """A model at its REML or ML estimate.

    Attributes:
        model: What was fitted.
        problem: Its profiled criterion.
        optimum: The variance ratios and how the minimum was checked.
        beta: (p,) fixed effects.
        sigma2: Error variance, unit of the response squared.
    """

    model: Model
    problem: Profiled
    optimum: Optimum
    beta: Floats
    sigma2: float

    @property
    def criterion(self) -> Criterion:
        """REML or ML."""
        return self.problem.kind

    @property
    def minus_2_log_likelihood(self) -> float:
        """-2 log (restricted) likelihood, with lme4's constants."""
        return self.optimum.value + self.problem.constant

    @property
    def variances(self) -> dict[str, float]:
        """Variance of each component, the error's last (`residual`)."""
        names = [component.name for component in self.model.components]
        found = {name: float(g) * self.sigma2 for name, g in zip(names, self.optimum.gamma, strict=True)}
        return found | {"residual": self.sigma2}

    @property
    def singular(self) -> tuple[str, ...]:
        """Components whose variance was estimated as zero relative to the error's."""
        pairs = zip(self.model.components, self.optimum.gamma, strict=True)
        return tuple(component.name for component, gamma in pairs if gamma == 0)

    @cached_property
    def inverse(self) -> Floats:
        """(r, r) V^-1 in the random effects' space, in units of the error variance; outside it V is the identity."""
        return np.asarray(Crossed(self.model.space.g).at(self.optimum.gamma[None, :]).inverse[0])

    def parts(self, matrix: Floats) -> tuple[Floats, Floats]:
        """A matrix (n, m) in the random effects' space (r, m), and what of it (n, m) lies outside."""
        basis = self.model.space.basis
        inside = basis.T @ matrix
        outside = matrix - basis @ inside
        outside -= basis @ (basis.T @ outside)
        return inside, outside

    def weighted(self, matrix: Floats) -> Floats:
        """V^-1 times a matrix (n, m)."""
        inside, outside = self.parts(matrix)
        return np.asarray(outside + self.model.space.basis @ (self.inverse @ inside))

    @cached_property
    def v_inverse_x(self) -> Floats:
        """(n, p) V^-1 X."""
        return self.weighted(self.model.x)

    @cached_property
    def covariance(self) -> Floats:
        """(p, p) model-based covariance of the fixed effects: sigma^2 (X' V^-1 X)^-1."""
        return np.asarray(self.sigma2 * np.linalg.inv(self.model.x.T @ self.v_inverse_x))

    @property
    def fitted(self) -> Floats:
        """(n,) fixed part of each run."""
        return np.asarray(self.model.x @ self.beta)

    @property
    def residuals(self) -> Floats:
        """(n,) response less its fixed part."""
        return np.asarray(self.model.y - self.fitted)

    def run_weights(self, combination: Floats) -> Floats:
        """(n,) weights w with c' beta = w' y: how each run enters an estimate."""
        return np.asarray(self.v_inverse_x @ (self.covariance / self.sigma2) @ combination)


def fit(model: Model, criterion: Criterion = "REML") -> Fit:
    """Fit a model.

    Args:
        model: Response and design.
        criterion: REML, or ML where models with different fixed parts are compared.

    Raises:
        ModelError: The runs cannot tell the parts of the model apart, do not differ within their groups, or no
            minimum was found.
    """
    return fit_prepared(model, profiled(model, criterion))


def fit_prepared(model: Model, problem: Profiled) -> Fit:
    """`fit` with a criterion that was prepared for the same design: for another response of one design."""
    data = problem.data(model.y[None, :])
    if float(problem.error_variance(np.zeros((1, len(problem.scale))), data)[0]) < _NO_SPREAD:
        raise _no_spread(model)
    optimum = minimise(problem, data)
    sigma2 = float(problem.error_variance(optimum.gamma[None, :], data)[0])
    if sigma2 < _NO_SPREAD:
        raise _no_spread(model)
    if len(optimum.gamma) and float(optimum.gamma.max()) > _ALL_BETWEEN:
        raise _no_spread(model)
    if not optimum.converged:
        raise ModelError(f"{model.formula!r}: no minimum of the criterion was found ({optimum.told}).")
    found = Fit(model, problem, optimum, np.empty(0), sigma2)
    # least squares first: the digits of its 95% stay out of what follows
    start = np.linalg.lstsq(model.x, model.y, rcond=None)[0]
    weighted = found.v_inverse_x
    change = np.linalg.solve(model.x.T @ weighted, weighted.T @ (model.y - model.x @ start))
    return Fit(model, problem, optimum, np.asarray(start + change), sigma2)


def _no_spread(model: Model) -> ModelError:
    return ModelError(
        f"{model.formula!r}: accuracies show no spread between seeds beyond what whole groups share, so no interval "
        "can be computed; check that the runs of a cell were trained with different seeds."
    )
