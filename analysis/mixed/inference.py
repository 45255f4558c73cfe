"""Tests and intervals with small-sample degrees of freedom: Kenward-Roger and Satterthwaite.

With Phi = (X' S^-1 X)^-1 the covariance of the fixed effects, S = sum_i v_i G_i over all variances v_i (the
error's G is the identity), and P_i = -X' S^-1 G_i S^-1 X:

Satterthwaite (Giesbrecht and Burns, Biometrics 41, 1985, 477-486; Fai and Cornelius, J Stat Comput Simul 54, 1996,
363-378, for several contrasts; as in R's lmerTest): df = 2 (c' Phi c)^2 / Var(c' Phi c), by the delta method with
the observed information of the variances. Variances on the boundary count as known to be zero.

Kenward-Roger (Biometrics 53, 1997, 983-997; as in R's pbkrtest): Phi is enlarged for the estimation of the variances,
    Phi_A = Phi + 2 Phi { sum_ij W_ij (Q_ij - P_i Phi P_j) } Phi,   Q_ij = X' S^-1 G_i S^-1 G_j S^-1 X,
W the inverse expected REML information, and F is scaled and its denominator df chosen so that its first two moments
match; for one contrast df = 2 (c' Phi c)^2 / sum_ij W_ij (c' Phi P_i Phi c)(c' Phi P_j Phi c). All variances
take part, also those on the boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats

from analysis.errors import ModelError
from analysis.inference.estimate import Estimate
from analysis.mixed.fit import Fit
from analysis.mixed.model import Floats

DfMethod = Literal["kenward-roger", "satterthwaite", "residual", "normal"]

_NO_INFORMATION = 1e-12  # eigenvalues of an information matrix this small, relative to the largest, are zero


@dataclass(frozen=True)
class FTest:
    """A joint test that combinations of fixed effects are zero.

    Attributes:
        f: Statistic (Kenward-Roger's is scaled).
        df_num: Combinations tested.
        df_den: Denominator degrees of freedom.
        df_method: How they were obtained.
    """

    f: float
    df_num: int
    df_den: float
    df_method: DfMethod

    @property
    def p(self) -> float:
        """Probability of a larger F if all combinations are zero."""
        if math.isinf(self.df_den):  # where scipy's F distribution gives nan
            return float(stats.chi2.sf(self.df_num * self.f, self.df_num))
        return float(stats.f.sf(self.f, self.df_num, self.df_den))


@dataclass(frozen=True)
class Inference:
    """Small-sample inference on a fit; every matrix is made once.

    Args:
        fit: The fit; Kenward-Roger needs a REML one.
    """

    fit: Fit

    def estimate(self, combination: Floats, method: DfMethod = "kenward-roger") -> Estimate:
        """A linear combination of the fixed effects, c' beta, with its degrees of freedom.

        Args:
            combination: (p,) c.
            method: Kenward-Roger or Satterthwaite; `residual` takes n - p (exact without random part), `normal`
                infinitely many (what statsmodels reports).

        Raises:
            ModelError: Kenward-Roger is asked of an ML fit.
        """
        value = float(combination @ self.fit.beta)
        plain = float(combination @ self.fit.covariance @ combination)
        if method == "kenward-roger":
            adjusted = float(combination @ self.adjusted_covariance @ combination)
            if adjusted <= 0:
                raise ModelError(
                    f"{self.fit.model.formula!r}: Kenward-Roger's adjustment leaves no positive variance, since "
                    "too few groups tell the variances; train more seeds, or ask for Satterthwaite's method."
                )
            return Estimate(value, math.sqrt(adjusted), self._kenward_roger_df(combination), method)
        if method == "satterthwaite":
            return Estimate(value, math.sqrt(plain), self._satterthwaite_df(combination), method)
        df = float(len(self.fit.model.y) - len(self.fit.beta)) if method == "residual" else math.inf
        return Estimate(value, math.sqrt(plain), df, method)

    def joint(self, combinations: Floats, method: DfMethod = "kenward-roger") -> FTest:
        """F test that q linearly independent combinations (q, p) are all zero."""
        values = combinations @ self.fit.beta
        q = len(combinations)
        if method == "kenward-roger":
            scale, df = self._kenward_roger_f(combinations)
            covariance = combinations @ self.adjusted_covariance @ combinations.T
            f = scale * float(values @ np.linalg.solve(covariance, values)) / q
            return FTest(f, q, df, method)
        covariance = combinations @ self.fit.covariance @ combinations.T
        f = float(values @ np.linalg.solve(covariance, values)) / q
        if method == "satterthwaite":
            return FTest(f, q, self._fai_cornelius_df(combinations, covariance), method)
        df = float(len(self.fit.model.y) - len(self.fit.beta)) if method == "residual" else math.inf
        return FTest(f, q, df, method)

    @cached_property
    def adjusted_covariance(self) -> Floats:
        """(p, p) Kenward and Roger's Phi_A."""
        if self.fit.criterion != "REML":
            raise ModelError("Kenward-Roger's method needs a REML fit; fit by REML, or ask for Satterthwaite's.")
        phi, slopes, w = self.fit.covariance, self._slopes, self._expected_covariance
        inner = np.zeros_like(phi)
        for i, (left, p_i) in enumerate(zip(self._s_inverse_g_s_inverse_x, slopes, strict=True)):
            for j, p_j in enumerate(slopes):
                q_ij = left.T @ self._g_times(j, self._s_inverse_x)
                inner += w[i, j] * (q_ij - p_i @ phi @ p_j)
        return np.asarray(phi + 2 * phi @ (inner + inner.T) / 2 @ phi)

    @cached_property
    def _s_inverse(self) -> Floats:
        return np.asarray(self.fit.weighted(np.eye(len(self.fit.model.y))) / self.fit.sigma2)

    @cached_property
    def _s_inverse_x(self) -> Floats:
        return np.asarray(self.fit.v_inverse_x / self.fit.sigma2)

    def _g_times(self, index: int, matrix: Floats) -> Floats:
        """G_i times a matrix; the last G is the error's identity."""
        components = self.fit.model.components
        if index == len(components):
            return matrix
        z = components[index].z
        return np.asarray(z @ (z.T @ matrix))

    @cached_property
    def _s_inverse_g(self) -> list[Floats]:
        count = len(self.fit.model.components)
        return [self._g_times(i, self._s_inverse).T for i in range(count + 1)]

    @cached_property
    def _s_inverse_g_s_inverse_x(self) -> list[Floats]:
        """S^-1 G_i S^-1 X."""
        return [product @ self._s_inverse_x for product in self._s_inverse_g]

    @cached_property
    def _slopes(self) -> list[Floats]:
        """P_i: the derivative of X' S^-1 X with respect to each variance."""
        return [-self.fit.model.x.T @ product for product in self._s_inverse_g_s_inverse_x]

    @cached_property
    def _covariance_slopes(self) -> list[Floats]:
        """Phi P_i Phi: minus the derivative of Phi."""
        return [self.fit.covariance @ slope @ self.fit.covariance for slope in self._slopes]

    @cached_property
    def _traces(self) -> Floats:
        """tr(S^-1 G_i S^-1 G_j)."""
        products = self._s_inverse_g
        return np.array([[float((one * other.T).sum()) for other in products] for one in products])

    @cached_property
    def _expected_covariance(self) -> Floats:
        """W: the inverse expected REML information of the variances."""
        phi, slopes = self.fit.covariance, self._slopes
        information = self._traces.copy()
        for i, left in enumerate(self._s_inverse_g_s_inverse_x):
            for j in range(len(slopes)):
                q_ij = left.T @ self._g_times(j, self._s_inverse_x)
                information[i, j] += float(-2 * (phi * q_ij.T).sum() + ((phi @ slopes[i]) * (phi @ slopes[j]).T).sum())
        return 2 * _inverse(information)

    @cached_property
    def _observed_covariance(self) -> Floats:
        """Twice the inverse Hessian of -2 log likelihood over the variances off the boundary and the error's."""
        fit = self.fit
        products, phi, x = self._s_inverse_g, fit.covariance, fit.model.x
        projection = self._s_inverse - self._s_inverse_x @ phi @ self._s_inverse_x.T
        py = self._s_inverse @ fit.residuals
        slopes = [self._g_times(i, py) for i in range(len(products))]
        if fit.criterion == "REML":
            pg = [product - self._s_inverse_x @ phi @ (x.T @ product) for product in products]
        else:
            pg = products
        size = len(products)
        hessian = np.array(
            [
                [-float((pg[i] * pg[j].T).sum()) + 2 * float(slopes[i] @ projection @ slopes[j]) for j in range(size)]
                for i in range(size)
            ]
        )
        active = np.flatnonzero([*(fit.optimum.gamma > 0), True])
        full = np.zeros_like(hessian)
        full[np.ix_(active, active)] = 2 * _inverse(hessian[np.ix_(active, active)])
        return full

    def _kenward_roger_df(self, c: Floats) -> float:
        shares = np.array([float(c @ slope @ c) for slope in self._covariance_slopes])
        shares /= float(c @ self.fit.covariance @ c)
        return 2 / float(shares @ self._expected_covariance @ shares)

    def _satterthwaite_df(self, c: Floats) -> float:
        gradient = np.array([-float(c @ slope @ c) for slope in self._covariance_slopes])
        variance = float(c @ self.fit.covariance @ c)
        return 2 * variance**2 / float(gradient @ self._observed_covariance @ gradient)

    def _fai_cornelius_df(self, combinations: Floats, covariance: Floats) -> float:
        _, vectors = np.linalg.eigh(covariance)
        nu = np.array([self._satterthwaite_df(row) for row in vectors.T @ combinations])
        q = len(nu)
        if np.ptp(nu) < 1e-8:  # noqa: PLR2004 - lmerTest's own bound for "all the same"
            return float(nu.mean())
        if (nu <= 2).any():  # noqa: PLR2004 - F has no mean then
            return 2.0
        expected = float((nu / (nu - 2)).sum())
        return 2 * expected / (expected - q)

    def _kenward_roger_f(self, combinations: Floats) -> tuple[float, float]:
        """Scale and denominator df of F, equations (7) and (8) of Kenward and Roger with guards like pbkrtest's."""
        phi, w, q = self.fit.covariance, self._expected_covariance, len(combinations)
        theta = combinations.T @ np.linalg.solve(combinations @ phi @ combinations.T, combinations)
        products = [theta @ slope for slope in self._covariance_slopes]
        size = range(len(products))
        a1 = sum(w[i, j] * float(np.trace(products[i])) * float(np.trace(products[j])) for i in size for j in size)
        a2 = sum(w[i, j] * float((products[i] * products[j].T).sum()) for i in size for j in size)
        b = (a1 + 6 * a2) / (2 * q)
        g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
        c1, c2, c3 = (part / (3 * q + 2 * (1 - g)) for part in (g, q - g, q + 2 - g))
        v0, v1, v2 = 1 + c1 * b, 1 - c2 * b, 1 - c3 * b
        # with 2 df, where F has no mean, 1 - a2 / q and v1 are zero; with 4, where it has no variance, v2 is
        ratio = 1.0 if max(abs(1 - a2 / q), abs(v1)) < 1e-10 else (1 - a2 / q) / v1  # noqa: PLR2004 - rounding
        df = 4 + (q + 2) * v2 / (ratio**2 * v0 - v2)
        scale = 1.0 if abs(df - 2) < 1e-2 else df * (1 - a2 / q) / (df - 2)  # noqa: PLR2004 - pbkrtest's bound
        return scale, df


def _inverse(information: Floats) -> Floats:
    """Inverse of a symmetric matrix; directions without information get none (Moore-Penrose)."""
    unit = np.sqrt(np.abs(np.diag(information)))
    unit[unit == 0] = 1.0
    return np.asarray(np.linalg.pinv(information / np.outer(unit, unit), rcond=_NO_INFORMATION) / np.outer(unit, unit))
