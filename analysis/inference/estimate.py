"""An estimate with its t interval: the one shape in which every linear effect leaves a model."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A linear combination of a model's means.

    Attributes:
        value: Estimate, in the unit of the response (percentage points throughout kdcap).
        se: Its standard error, above 0.
        df: Degrees of freedom of the t distribution that (value - truth) / se is referred to; may be infinite.
        df_method: How `df` was obtained (`kenward-roger`, `satterthwaite`, `residual`, ...).
    """

    value: float
    se: float
    df: float
    df_method: str

    def interval(self, level: float) -> Interval:
        """Two-sided t interval at `level` (0 to 1)."""
        half = float(stats.t.isf((1 - level) / 2, self.df)) * self.se
        return self.value - half, self.value + half

    @property
    def t(self) -> float:
        """Estimate over standard error."""
        return self.value / self.se

    @property
    def p(self) -> float:
        """Two-sided p value of the hypothesis that the truth is 0."""
        return float(2 * stats.t.sf(abs(self.t), self.df))
