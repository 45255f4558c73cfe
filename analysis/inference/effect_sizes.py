"""How far two groups of accuracies lie apart in units of their spread: Hedges g twice, and the classical t tests.

pingouin's g and interval are approximations, of no account in large samples. With five seeds a group they are
not: both stand beside the exact ones, so that a reader can see which number came from where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.inference.student_t import noncentrality_interval

LEVEL = 0.95
FEWEST = 2  # runs a group


@dataclass(frozen=True)
class EffectSize:
    """Two independent groups compared; a positive sign says that x is the larger.

    Attributes:
        label: Name of the comparison.
        n_x: Runs in x.
        n_y: Runs in y.
        difference_pp: Mean of x less mean of y.
        g_exact: Hedges g with the exact small-sample correction (gamma functions); unbiased.
        g_exact_ci_low: 95% interval of the true standardised difference, from the noncentral t distribution: exact
            for normal groups with one variance.
        g_exact_ci_high: Its upper end.
        g_pingouin: Hedges g with pingouin's correction 1 - 3 / (4 (n_x + n_y) - 9).
        g_pingouin_ci_low: pingouin's 95% interval: g -+ t quantile times a large-sample standard error, symmetric.
        g_pingouin_ci_high: Its upper end.
        g_pingouin_less_exact: g_pingouin - g_exact.
        t_welch: Welch's t statistic (variances not assumed equal).
        df_welch: Its Welch-Satterthwaite degrees of freedom.
        p_welch: Its two-sided p value.
        p_student: Two-sided p value of Student's test (variances assumed equal; n_x + n_y - 2 degrees of freedom).
    """

    label: str
    n_x: int
    n_y: int
    difference_pp: float
    g_exact: float
    g_exact_ci_low: float
    g_exact_ci_high: float
    g_pingouin: float
    g_pingouin_ci_low: float
    g_pingouin_ci_high: float
    g_pingouin_less_exact: float
    t_welch: float
    df_welch: float
    p_welch: float
    p_student: float


def small_sample_correction(df: float) -> float:
    """J, by which a standardised difference on `df` (at least 2) degrees of freedom must be multiplied to be unbiased.

    J = Gamma(df / 2) / (sqrt(df / 2) Gamma((df - 1) / 2)): Hedges, J Educ Stat 6, 1981, 107-128, eq. 6e.
    """
    return float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2))


def compare_groups(x_pct: Sequence[float], y_pct: Sequence[float], label: str) -> EffectSize:
    """Compare two independent groups of accuracies.

    Args:
        x_pct: Accuracies in percent, at least 2.
        y_pct: The same of the other group.
        label: Name of the comparison, kept in the result and named in errors.

    Raises:
        ValueError: A group has fewer than 2 runs or a missing value, or neither group varies.
    """
    # importing pingouin takes 0.5 to 0.7 s on top of scipy and pandas (it brings matplotlib with it): whoever only
    # plans or fits models should not wait for it
    import pingouin

    x, y = _centred(_checked(x_pct, label, "first"), _checked(y_pct, label, "second"))
    n_x, n_y = len(x), len(y)
    df = n_x + n_y - 2
    difference = float(x.mean() - y.mean())
    pooled_sd = math.sqrt(((n_x - 1) * x.var(ddof=1) + (n_y - 1) * y.var(ddof=1)) / df)
    if pooled_sd == 0:
        raise ValueError(
            f"{label}: a standardised difference needs runs that differ, but neither group varies (each of its runs "
            "has one value); look for copied runs, or report the difference in percentage points alone"
        )
    d = difference / pooled_sd
    root_n = math.sqrt(n_x * n_y / (n_x + n_y))  # t = d * root_n, and noncentrality = delta * root_n
    low, high = noncentrality_interval(d * root_n, df, LEVEL)
    g_exact = d * small_sample_correction(df)
    g_pingouin = float(pingouin.compute_effsize(x, y, eftype="hedges"))
    # it rounds to 2 decimals unless told otherwise
    approximate = pingouin.compute_esci(g_pingouin, n_x, n_y, eftype="hedges", confidence=LEVEL, decimals=15)
    welch = pingouin.ttest(x, y, correction=True).iloc[0]  # its default is Welch for unequal sizes only
    student = pingouin.ttest(x, y, correction=False).iloc[0]
    return EffectSize(
        label=label,
        n_x=n_x,
        n_y=n_y,
        difference_pp=difference,
        g_exact=g_exact,
        g_exact_ci_low=low / root_n,
        g_exact_ci_high=high / root_n,
        g_pingouin=g_pingouin,
        g_pingouin_ci_low=float(approximate[0]),
        g_pingouin_ci_high=float(approximate[1]),
        g_pingouin_less_exact=g_pingouin - g_exact,
        t_welch=float(welch["T"]),
        df_welch=float(welch["dof"]),
        p_welch=float(welch["p_val"]),
        p_student=float(student["p_val"]),
    )


def _checked(values: Sequence[float], label: str, which: str) -> NDArray[np.float64]:
    """One group as an array; pingouin would drop missing values, and take a group of one for a population mean."""
    group = np.asarray(values, dtype=float)
    if group.ndim != 1 or len(group) < FEWEST or not np.isfinite(group).all():
        raise ValueError(
            f"{label}: the {which} group must be {FEWEST} or more finite accuracies in percent, got {group.tolist()}; "
            "add seeds or leave the comparison out"
        )
    return group


def _centred(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both groups less one number, which changes no result but keeps digits.

    A group that does not vary becomes exactly 0: as equal numbers near 94 it would have a variance of rounding
    errors, of which scipy warns.
    """
    origin = y[0] if np.ptp(y) == 0 else x[0]
    return x - origin, y - origin
