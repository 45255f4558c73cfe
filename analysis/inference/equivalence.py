"""Equivalence: is an effect shown to be smaller than what matters? Two one-sided tests at a margin.

Schuirmann (J Pharmacokin Biopharm 15, 1987, 657-680): equivalence at 5% is shown exactly where the 90% interval lies
inside the margin on both sides. A large p value of the ordinary test shows nothing of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats

from analysis.inference.estimate import Estimate

LEVEL = 0.90  # of the interval that goes with two one-sided tests at 5%


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of one estimate.

    Attributes:
        margin_pp: Smallest difference that matters, either way.
        p_lower: One-sided p value of "the effect is at or below -margin".
        p_upper: One-sided p value of "the effect is at or above +margin".
        p: The larger of both: that of "the effect is not smaller than the margin".
        ci90_low_pp: Lower end of the 90% interval.
        ci90_high_pp: Upper end.
        inside: Whether the interval lies inside the margin, its ends not on it; the same as p < 0.05.
    """

    margin_pp: float
    p_lower: float
    p_upper: float
    p: float
    ci90_low_pp: float
    ci90_high_pp: float
    inside: bool


def equivalence(estimate: Estimate, margin_pp: float) -> Equivalence:
    """Test whether an effect lies within +-margin.

    Args:
        estimate: Any estimate with a t distribution, in pp.
        margin_pp: Above 0; to be fixed before the data are seen.

    Raises:
        ValueError: The margin is not above 0.
    """
    if not margin_pp > 0:
        raise ValueError(f"margin_pp must be above 0 pp, got {margin_pp}: with no margin nothing is equivalent")
    p_lower = float(stats.t.sf((estimate.value + margin_pp) / estimate.se, estimate.df))
    p_upper = float(stats.t.cdf((estimate.value - margin_pp) / estimate.se, estimate.df))
    low, high = estimate.interval(LEVEL)
    return Equivalence(
        margin_pp=margin_pp,
        p_lower=p_lower,
        p_upper=p_upper,
        p=max(p_lower, p_upper),
        ci90_low_pp=low,
        ci90_high_pp=high,
        inside=-margin_pp < low and high < margin_pp,
    )
