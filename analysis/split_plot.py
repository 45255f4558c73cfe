"""The random-intercept model `y = cell + group + error` by REML: exact where the table is balanced.

Cells are the fixed part (one free mean each, which spans `student * method`), groups are `student:seed`. One
variance ratio, var(group) / var(error), decides everything else.

*Balanced*: groups of one size, and averaging over groups leads out of no column of the design. Then least
squares is best linear unbiased, and the mean squares of the split-plot analysis of variance solve the REML
equations (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4 and 6), m runs a group:
    var(error) = MS_within, var(group) = (MS_between - MS_within) / m, or 0 if that is negative.
*Unbalanced* (a failed run): the ratio by a search of the profiled criterion.
*Singular* (var(group) estimated as 0): what remains is ordinary least squares with a pooled mean square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from analysis.design import Design, Floats, rank
from analysis.errors import TableError

# lme4's isSingular: a relative standard deviation of the groups below 1e-4 is zero
SINGULAR_RATIO = 1e-4**2
# mean squares below this (a standard deviation of 1e-8 pp) are rounding, not spread between seeds
NO_SPREAD_PP2 = 1e-16
_TINY = 1e-10


@dataclass(frozen=True)
class Estimate:
    """A linear combination of cell means: pp, with the degrees of freedom of its t interval."""

    value: float
    se: float
    df: float
    df_method: str

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided t interval at `level` (0 to 1)."""
        half = float(stats.t.isf((1 - level) / 2, self.df)) * self.se
        return self.value - half, self.value + half

    @property
    def t(self) -> float:
        """Estimate over standard error."""
        return self.value / self.se

    @property
    def p(self) -> float:
        """Two-sided p value."""
        return float(2 * stats.t.sf(abs(self.t), self.df))


@dataclass(frozen=True)
class Fit:
    """A fitted random-intercept model.

    Attributes:
        design: What was fitted.
        means_pct: Estimated cell means.
        ratio: var(group) / var(error).
        sigma2: var(error) in pp^2.
        criterion: -2 log restricted likelihood.
        df_rule: `anova-strata`, `containment`, or `residual` (no random part).
    """

    design: Design
    means_pct: Floats
    ratio: float
    sigma2: float
    criterion: float
    df_rule: str

    @property
    def singular(self) -> bool:
        """Whether the model has a random part and its variance came out as zero, relative to the error's."""
        return self.df_rule != "residual" and self.ratio < SINGULAR_RATIO

    @property
    def tau2(self) -> float:
        """var(group) in pp^2."""
        return self.ratio * self.sigma2

    def estimate(self, weights: dict[str, float]) -> Estimate:
        """A linear combination of cell means, by cell name."""
        coefficients = np.array([weights.get(cell, 0.0) for cell in self.design.cells])
        rows = self._rows(coefficients[:, None])
        variance = float(self._covariance(rows)[0, 0])
        df, method = self._df(coefficients, rows[:, 0])
        return Estimate(float(coefficients @ self.means_pct), math.sqrt(variance), df, method)

    def joint(self, contrasts: Sequence[dict[str, float]]) -> tuple[float, int, float, str]:
        """F test that all contrasts are zero.

        Returns:
            F, numerator and denominator degrees of freedom, and how the latter was obtained. The contrasts of
            one term lie in one stratum and share their degrees of freedom; the smallest is taken.
        """
        matrix = np.array([[weights.get(cell, 0.0) for cell in self.design.cells] for weights in contrasts])
        values = matrix @ self.means_pct
        covariance = self._covariance(self._rows(matrix.T))
        f = float(values @ np.linalg.solve(covariance, values)) / len(contrasts)
        df, method = min((self.estimate(weights).df, self.estimate(weights).df_method) for weights in contrasts)
        return f, len(contrasts), df, method

    def _rows(self, coefficients: Floats) -> Floats:
        """What each run contributes to combinations (columns): V^-1 X (X' V^-1 X)^-1 c."""
        weighted = _inverse_times(self.design, self.ratio, self.design.x)
        return np.asarray(weighted @ np.linalg.solve(self.design.x.T @ weighted, coefficients))

    def _covariance(self, rows: Floats) -> Floats:
        sums = self.design.z.T @ rows
        return np.asarray(self.sigma2 * (rows.T @ rows + self.ratio * sums.T @ sums))

    def _df(self, coefficients: Floats, row: Floats) -> tuple[float, str]:
        design = self.design
        if self.df_rule == "residual":
            return float(len(design.y) - len(design.cells)), "residual"
        if self.df_rule == "containment":
            inside = design.x - design.averaged
            within = rank(np.vstack([inside, coefficients])) == rank(inside)
            return float(design.df_within if within else design.df_between), "containment"
        # Variance = MS_within * w + MS_between * b. One stratum alone: its degrees of freedom, which is what
        # Kenward and Roger (Biometrics 53, 1997, 983-997) give here too. Both: Satterthwaite (Biometrics
        # Bulletin 2, 1946, 110-114).
        size = float(design.sizes[0])
        b = float(((design.z.T @ row) ** 2).sum()) / size
        w = float(row @ row) - b
        if min(b, w) < _TINY * (b + w):
            return float(design.df_between if b > w else design.df_within), "anova-strata"
        parts = self.sigma2 * w, self.sigma2 * (1 + size * self.ratio) * b
        df = sum(parts) ** 2 / (parts[0] ** 2 / design.df_within + parts[1] ** 2 / design.df_between)
        return df, "satterthwaite"


def fit(design: Design, *, random: bool = True) -> Fit:
    """Fit by REML: closed form where balanced, else by search.

    Args:
        design: Response and design; at least two runs in every cell.
        random: False leaves the group's component out (ordinary least squares), as after a singular fit. It
            is left out in any case if nothing tells groups from error (one run a group).

    Raises:
        TableError: The runs of a cell do not differ, so that no interval can be computed.
    """
    if not random or design.df_within < 1:
        ratio, rule = 0.0, "residual"
    elif design.balanced:
        ratio, rule = _closed_form(design), "anova-strata"
    else:
        ratio, rule = _search(design), "containment"
    sigma2, criterion = profile(design, ratio)
    if sigma2 < NO_SPREAD_PP2:
        raise _no_spread()
    weighted = _inverse_times(design, ratio, design.x)
    correction = np.linalg.solve(design.x.T @ weighted, weighted.T @ design.residual)
    means = np.asarray(design.raw_means + correction)
    return Fit(design, means, ratio, sigma2, criterion, rule)


def profile(design: Design, ratio: float) -> tuple[float, float]:
    """REML at a fixed variance ratio: var(error) in pp^2 and -2 log restricted likelihood.

    -2 l = (N-p) (log(2 pi s2) + 1) + log|V| + log|X' V^-1 X|, with V = I + ratio Z Z', s2 = r' V^-1 r / (N-p)
    (Harville, JASA 72, 1977, 320-338). X holds cell indicators; treatment coding gives the same determinant.
    """
    x, residual, free = design.x, design.residual, len(design.y) - len(design.cells)
    weighted = _inverse_times(design, ratio, x)
    info = x.T @ weighted
    rest = residual - x @ np.linalg.solve(info, weighted.T @ residual)
    sigma2 = float(rest @ _inverse_times(design, ratio, rest[:, None])[:, 0]) / free
    if sigma2 < NO_SPREAD_PP2:
        return sigma2, -math.inf
    log_v = float(np.log1p(ratio * design.sizes).sum())
    return sigma2, free * (math.log(2 * math.pi * sigma2) + 1) + log_v + float(np.linalg.slogdet(info)[1])


def _no_spread() -> TableError:
    return TableError(
        "accuracies show no spread between seeds beyond what whole seeds share, so no interval can be "
        "computed; check that the runs of a cell were trained with different seeds."
    )


def _closed_form(design: Design) -> float:
    between = design.group_means(design.residual)
    within = design.residual - between
    mean_square_between = float(between @ between) / design.df_between
    mean_square_within = float(within @ within) / design.df_within
    if mean_square_within < NO_SPREAD_PP2:
        raise _no_spread()
    ratio = (mean_square_between / mean_square_within - 1) / float(design.sizes[0])
    return ratio if ratio >= SINGULAR_RATIO else 0.0


def _search(design: Design) -> float:
    """The ratio with the lowest criterion: a grid first (there may be two minima), then a bounded search."""

    def criterion(log_ratio: float) -> float:
        return profile(design, math.exp(log_ratio))[1]

    grid = np.linspace(math.log(SINGULAR_RATIO), math.log(1e8), 200)
    at = int(np.argmin([criterion(log_ratio) for log_ratio in grid]))
    bounds = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(criterion, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return math.exp(found.x) if found.fun < profile(design, 0.0)[1] else 0.0


def _inverse_times(design: Design, ratio: float, columns: Floats) -> Floats:
    """(I + ratio Z Z')^-1 times columns, by groups (Sherman-Morrison)."""
    shrink = ratio / (1 + ratio * design.sizes)
    return np.asarray(columns - design.z @ (shrink[:, None] * (design.z.T @ columns)))
