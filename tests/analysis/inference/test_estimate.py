"""The one shape of an estimate: interval, t and p by scipy and by R."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.inference.estimate import Estimate


def test_against_r() -> None:
    """R's pt(-2, 36) and qt: p 0.0530885; the 95% interval reaches 2.028094 SE, the 90% one 1.688298."""
    estimate = Estimate(1.0, 0.5, 36.0, "residual")
    assert estimate.t == 2.0
    assert estimate.p == pytest.approx(0.05308848711, rel=1e-9)
    assert estimate.interval(0.95) == pytest.approx((1 - 0.5 * 2.028094, 1 + 0.5 * 2.028094), abs=1e-6)
    assert estimate.interval(0.90) == pytest.approx((1 - 0.5 * 1.688298, 1 + 0.5 * 1.688298), abs=1e-6)


def test_infinite_degrees_of_freedom_are_normal() -> None:
    """As statsmodels reports mixed models: 1.96 standard errors."""
    estimate = Estimate(-1.0, 0.5, math.inf, "normal")
    assert estimate.interval(0.95) == pytest.approx((-1 - 0.5 * 1.959964, -1 + 0.5 * 1.959964), abs=1e-6)
    assert estimate.p == pytest.approx(2 * stats.norm.sf(2))


def test_tiny_p_values_keep_their_digits() -> None:
    """1 - cdf would be 0 here."""
    assert Estimate(60.0, 1.0, 20.0, "").p == pytest.approx(2 * stats.t(20).sf(60), rel=1e-9)
    assert 0 < Estimate(60.0, 1.0, 20.0, "").p < 1e-20


@given(value=st.floats(-5, 5), se=st.floats(0.01, 5), df=st.floats(1, 200), level=st.floats(0.5, 0.999))
def test_an_interval_excludes_zero_where_p_is_small(value: float, se: float, df: float, level: float) -> None:
    """Test and interval never disagree, and intervals are nested and symmetric."""
    estimate = Estimate(value, se, df, "")
    low, high = estimate.interval(level)
    assert (low + high) / 2 == pytest.approx(value, abs=1e-6 * (1 + high - low))
    if abs(estimate.p - (1 - level)) > 1e-9:
        assert (low > 0 or high < 0) == (estimate.p < 1 - level)
    wider = estimate.interval((1 + level) / 2)
    assert wider[0] < low < high < wider[1]
