"""Holm's correction and the intervals that go with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.contrasts import gain, holm, moderation, moderation_id
from analysis.split_plot import Estimate


def test_holm_by_hand() -> None:
    """P values 0.01, 0.04, 0.03 times 3, 1, 2, made monotone: 0.03, 0.06, 0.06; stopped at step 2."""
    steps = holm([0.01, 0.04, 0.03])
    assert [step.p for step in steps] == pytest.approx([0.03, 0.06, 0.06])
    assert [step.members for step in steps] == [3, 2, 2]


def test_holm_equals_statsmodels() -> None:
    """Another implementation, on p values with ties and one above its multiple's reach."""
    p_values = [0.2, 0.011, 0.9, 0.011, 0.04, 0.0001]
    assert [step.p for step in holm(p_values)] == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_when_all_are_rejected_or_none() -> None:
    """Rejected one after the other: 2, then 1. Stopped at once: all at the first step."""
    assert [step.members for step in holm([0.04, 0.01])] == [1, 2]
    assert [step.members for step in holm([0.5, 0.03])] == [2, 2]
    assert holm([0.04])[0].members == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=6))
def test_step_intervals_agree_with_adjusted_p(ts: list[float]) -> None:
    """An interval at 1 - 0.05 / members excludes 0 exactly where Holm's p is below 0.05."""
    estimates = [Estimate(t, 1.0, 12.0, "") for t in ts]
    for estimate, step in zip(estimates, holm([e.p for e in estimates]), strict=True):
        low, high = estimate.interval(1 - 0.05 / step.members)
        if abs(step.p - 0.05) > 1e-9:
            assert (low > 0 or high < 0) == (step.p < 0.05)


def test_estimate_matches_tables() -> None:
    """T = 2 at 36 df has p 0.0531; the 95% interval reaches 2.0281 SE."""
    estimate = Estimate(1.0, 0.5, 36.0, "")
    assert estimate.p == pytest.approx(0.05311, abs=5e-5)
    assert estimate.interval(0.95) == pytest.approx((1 - 0.5 * 2.028094, 1 + 0.5 * 2.028094), abs=1e-5)
    assert estimate.p == pytest.approx(2 * stats.t(36).cdf(-2))


def test_moderation_is_the_difference_of_gains() -> None:
    """Larger minus smaller, with the sign that its identifier says."""
    weights = {f"b:{m}": v for m, v in (("logit", 1.0), ("none", -1.0))} | {"a:logit": -1.0, "a:none": 1.0}
    assert moderation("a", "b", "logit") == weights
    assert moderation_id("a", "b", "logit") == "moderation:logit-none:b-a"
    assert gain("a", "logit") == {"a:logit": 1.0, "a:none": -1.0}
