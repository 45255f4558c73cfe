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
        for i, p_i in enumerate(slopes):
            for j, p_j in enumerate(slopes):
                inner += w[i, j] * (self._curvatures[i][j] - p_i @ phi @ p_j)
        return np.asarray(phi + 2 * phi @ (inner + inner.T) / 2 @ phi)

    # Everything below is made in the random effects' space, of r dimensions, where S^-1 is `fit.inverse` / sigma^2 and
    # the error's G is the identity. Outside it S^-1 is the identity / sigma^2, and of all G only the error's is there.

    @cached_property
    def _g(self) -> list[Floats]:
        """(r, r) each G in the random effects' space, the error's last."""
        return [*self.fit.model.space.g, np.eye(len(self.fit.inverse))]

    @cached_property
    def _s_inverse_g(self) -> list[Floats]:
        *random, _ = self._g  # times the error's, the identity, it is what it was
        return [
            product / self.fit.sigma2 for product in (*(self.fit.inverse @ one for one in random), self.fit.inverse)
        ]

    @cached_property
    def _x(self) -> tuple[Floats, Floats]:
        """S^-1 X in the random effects' space (r, p); and X' S^-2 X of what of X lies outside it (p, p)."""
        inside, outside = self.fit.parts(self.fit.model.x)
        return self.fit.inverse @ inside / self.fit.sigma2, outside.T @ outside / self.fit.sigma2**2

    @cached_property
    def _slopes(self) -> list[Floats]:
        """P_i: the derivative of X' S^-1 X with respect to each variance."""
        inside, outside = self._x
        slopes = [-inside.T @ one @ inside for one in self._g]
        slopes[-1] -= outside
        return slopes

    @cached_property
    def _curvatures(self) -> list[list[Floats]]:
        """Q_ij."""
        inside, outside = self._x
        g_s_inverse_x = [one @ inside for one in self._g]
        weighted = [self.fit.inverse @ one / self.fit.sigma2 for one in g_s_inverse_x]
        found = [[left.T @ right for right in weighted] for left in g_s_inverse_x]
        found[-1][-1] += outside / self.fit.sigma2
        return found

    @cached_property
    def _covariance_slopes(self) -> list[Floats]:
        """Phi P_i Phi: minus the derivative of Phi."""
        return [self.fit.covariance @ slope @ self.fit.covariance for slope in self._slopes]

    @cached_property
    def _traces(self) -> Floats:
        """tr(S^-1 G_i S^-1 G_j)."""
        products = self._s_inverse_g
        traces = np.array([[float((one * other.T).sum()) for other in products] for one in products])
        traces[-1, -1] += (len(self.fit.model.y) - len(self.fit.inverse)) / self.fit.sigma2**2
        return traces

    @cached_property
    def _information(self) -> Floats:
        """tr(P G_i P G_j), P = S^-1 - S^-1 X Phi X' S^-1: twice the expected REML information of the variances."""
        phi, slopes, information = self.fit.covariance, self._slopes, self._traces.copy()
        for i, row in enumerate(self._curvatures):
            for j, q_ij in enumerate(row):
                information[i, j] += float(-2 * (phi * q_ij.T).sum() + ((phi @ slopes[i]) * (phi @ slopes[j]).T).sum())
        return information

    @cached_property
    def _expected_covariance(self) -> Floats:
        """W: the inverse expected REML information of the variances."""
        return 2 * _inverse(self._information)

    @cached_property
    def _observed_covariance(self) -> Floats:
        """Twice the inverse Hessian of -2 log likelihood over the variances off the boundary and the error's."""
        fit = self.fit
        inside, outside = fit.parts(fit.residuals[:, None])
        py = fit.inverse @ inside[:, 0] / fit.sigma2
        g_py = np.stack([one @ py for one in self._g], axis=1)  # G_i P y
        hessian = 2 * g_py.T @ fit.inverse @ g_py / fit.sigma2
        x_g_py = self._x[0].T @ g_py
        x_g_py[:, -1] += fit.model.x.T @ outside[:, 0] / fit.sigma2**2
        hessian[-1, -1] += 2 * float((outside**2).sum()) / fit.sigma2**3
        hessian -= 2 * x_g_py.T @ fit.covariance @ x_g_py
        hessian -= self._information if fit.criterion == "REML" else self._traces
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
