"""Two one-sided tests against pingouin and statsmodels on plain two-sample data."""

from __future__ import annotations

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from analysis.inference.equivalence import equivalence
from analysis.inference.estimate import Estimate

X = np.array([94.31, 94.52, 94.18, 94.40, 94.29])
Y = np.array([94.35, 94.61, 94.38, 94.50, 94.32, 94.44])


def two_sample() -> Estimate:
    """Difference of the two means with the pooled standard error, from scipy."""
    test = stats.ttest_ind(X, Y)
    difference = float(X.mean() - Y.mean())
    return Estimate(difference, difference / float(test.statistic), float(test.df), "residual")


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.25, 1.0])
def test_equals_pingouin_and_statsmodels(margin: float) -> None:
    """Both one-sided p values, and the larger as the result."""
    ours = equivalence(two_sample(), margin)
    p, lower, upper = ttost_ind(X, Y, -margin, margin)
    assert (ours.p, ours.p_lower, ours.p_upper) == pytest.approx((p, lower[1], upper[1]), rel=1e-9)
    assert ours.p == pytest.approx(pingouin.tost(X, Y, bound=margin)["pval"].iloc[0], rel=1e-9)


def test_which_side_is_which() -> None:
    """An effect at the upper margin: nothing speaks against 'at or above it' (p 0.5), much against the lower one."""
    ours = equivalence(Estimate(0.2, 0.05, 8, "residual"), 0.2)
    assert ours.p_upper == ours.p == pytest.approx(0.5)
    assert ours.p_lower == pytest.approx(stats.t.sf(8, 8))
    assert not ours.inside


def test_no_difference_found_is_not_equivalence() -> None:
    """A noisy zero: the ordinary p value is 1, and the test of equivalence fails all the same."""
    noisy = Estimate(0.0, 0.3, 8, "residual")
    assert noisy.p == 1
    assert not equivalence(noisy, 0.2).inside


@given(value=st.floats(-1, 1), se=st.floats(0.001, 1), df=st.floats(1, 200), margin=st.floats(0.01, 1))
def test_interval_and_p_agree(value: float, se: float, df: float, margin: float) -> None:
    """The 90% interval is inside exactly where p is below 0.05; the mirrored estimate swaps the sides."""
    ours = equivalence(Estimate(value, se, df, "residual"), margin)
    if abs(ours.p - 0.05) > 1e-9:
        assert ours.inside == (ours.p < 0.05)
    mirrored = equivalence(Estimate(-value, se, df, "residual"), margin)
    assert (mirrored.p_lower, mirrored.p_upper) == pytest.approx((ours.p_upper, ours.p_lower), rel=1e-9)
    assert (ours.ci90_low_pp + ours.ci90_high_pp) / 2 == pytest.approx(value, abs=1e-12)


def test_a_margin_is_needed() -> None:
    """0 as margin is refused in words."""
    with pytest.raises(ValueError, match="margin_pp must be above 0 pp, got 0"):
        equivalence(two_sample(), 0)
