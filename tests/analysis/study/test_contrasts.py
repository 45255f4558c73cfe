"""Holm's correction, the intervals that go with it, and the rows that models give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.inference.estimate import Estimate
from analysis.study.contrasts import (
    contrast_family,
    contrast_rows,
    fidelity_family,
    gain,
    held_against,
    holm,
    holm_p,
    interaction_tests,
    marginal_means,
    moderation,
    moderation_contrasts,
    moderation_id,
)
from analysis.study.models import Source, primary

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]
STUDENTS, METHODS = ("resnet18", "resnet34"), ("feature", "logit")


@pytest.fixture(scope="module")
def source(published_frame: pd.DataFrame) -> Source:
    """The primary model of the published runs."""
    return primary(published_frame, "test_acc_best", "all").used


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


def test_moderation_is_the_difference_of_gains() -> None:
    """Larger minus smaller, with the sign that its identifier says."""
    weights = {f"b:{m}": v for m, v in (("logit", 1.0), ("none", -1.0))} | {"a:logit": -1.0, "a:none": 1.0}
    assert moderation("a", "b", "logit") == weights
    assert moderation_id("a", "b", "logit") == "moderation:logit-none:b-a"
    assert gain("a", "logit") == {"a:logit": 1.0, "a:none": -1.0}
    assert moderation_id("a", "b", "feature", "logit") == "moderation:feature-logit:b-a"
    assert moderation("a", "b", "feature", "logit")["a:logit"] == 1.0


def test_a_family_of_one_is_not_corrected() -> None:
    """No adjusted p where there is nothing to adjust for; nothing at all of an empty family."""
    one = Estimate(0.3, 0.1, 10.0, "residual")
    assert holm_p([one]) == [None]
    assert holm_p([]) == []
    assert holm_p([one, one]) == pytest.approx([2 * one.p] * 2)


def test_rows_carry_estimate_interval_and_adjusted_p() -> None:
    """The interval is the unadjusted 95% one, by scipy; the adjusted p is statsmodels'."""
    estimates = {"a": Estimate(0.3, 0.1, 10.0, "residual"), "b": Estimate(-0.1, 0.1, 12.5, "residual")}
    labels = {"model": "m", "metric": "acc", "subset": "all", "singular": True}
    rows = contrast_rows(estimates, "both", n=7, **labels)
    adjusted = multipletests([estimate.p for estimate in estimates.values()], method="holm")[1]
    for row, (name, estimate), p_holm in zip(rows, estimates.items(), adjusted, strict=True):
        interval = stats.t.interval(0.95, estimate.df, estimate.value, estimate.se)
        assert (row.contrast, row.family, row.n, row.singular) == (name, "both", 7, True)
        assert (row.ci_low_pp, row.ci_high_pp) == pytest.approx(interval)
        assert (row.p, row.p_holm) == pytest.approx((2 * stats.t.sf(abs(estimate.t), estimate.df), p_holm))


def test_the_90_percent_interval_is_that_of_the_t_distribution() -> None:
    """R's qt(0.95, 10) is 1.812461; at 2 degrees of freedom the quantile is sqrt(2) (2q - 1) / sqrt(1 - (2q - 1)^2)."""
    labels = {"model": "m", "metric": "acc", "subset": "all", "singular": False}
    estimates = {"ten": Estimate(0.3, 0.1, 10.0, "residual"), "two": Estimate(-0.1, 0.2, 2.0, "residual")}
    ten, two = contrast_rows(estimates, "both", n=7, **labels)
    assert (ten.ci90_low_pp, ten.ci90_high_pp) == pytest.approx((0.3 - 0.1812461123, 0.3 + 0.1812461123), abs=1e-9)
    half = 0.2 * np.sqrt(2) * 0.9 / np.sqrt(1 - 0.9**2)
    assert (two.ci90_low_pp, two.ci90_high_pp) == pytest.approx((-0.1 - half, -0.1 + half))
    assert (ten.p_equivalence, two.p_equivalence) == (None, None)


def test_a_margin_is_tested_from_both_sides() -> None:
    """R's pt(-2, 10) is 0.03669402; without a sign, at 2 degrees of freedom pt(-x) is (1 - x / sqrt(2 + x^2)) / 2."""
    labels = {"model": "m", "metric": "acc", "subset": "all", "singular": False}
    estimates = {"ten": Estimate(0.3, 0.1, 10.0, "residual"), "two": Estimate(-0.1, 0.2, 2.0, "residual")}
    rows = contrast_rows(estimates, "both", n=7, **labels)
    ten, two = held_against(rows, 0.5)
    assert ten.p_equivalence == pytest.approx(0.03669402, abs=1e-8)
    assert two.p_equivalence == pytest.approx((1 - 2 / np.sqrt(6)) / 2)
    assert (ten.ci90_high_pp < 0.5, two.ci90_low_pp > -0.5) == (True, False)
    assert [row.contrast for row in held_against(rows, 0.5)] == ["ten", "two"]
    assert held_against(rows, 0.3)[0].p_equivalence == pytest.approx(0.5)


def test_contrasts_without_their_cells_are_left_out(source: Source) -> None:
    """And do not count in their family: the correction is over what was tested."""
    asked = {f"gain:resnet34:{m}": gain("resnet34", m) for m in ("feature", "mine")}
    (row,) = contrast_family(source, "gains", asked)
    assert (row.contrast, row.p_holm) == ("gain:resnet34:feature", None)
    assert contrast_family(source, "gains", {"gain:x:feature": gain("x", "feature")}) == ()


def test_other_units_have_rows_of_the_same_numbers(source: Source) -> None:
    """`fidelity.csv` differs from `contrasts.csv` in the unit's name alone."""
    asked = {f"gain:{s}:feature": gain(s, "feature") for s in STUDENTS}
    for row, other in zip(
        contrast_family(source, "f", asked), fidelity_family(source, "f", "nats", asked), strict=True
    ):
        assert other.unit == "nats"
        assert (other.estimate, other.se, other.df, other.t, other.p, other.p_holm) == (
            row.estimate_pp, row.se_pp, row.df, row.t, row.p, row.p_holm,
        )  # fmt: skip
        assert (other.ci_low, other.ci_high, other.n) == (row.ci_low_pp, row.ci_high_pp, row.n)


def test_marginal_means_of_a_split_plot(source: Source, published_frame: pd.DataFrame) -> None:
    """Plain means; standard error and df from the two mean squares, by Satterthwaite's formula as in textbooks.

    Five seeds, five runs each a student. A mean over k runs a seed has variance (tau^2 + sigma^2 / k) / 5, with
    tau^2 = (MS seeds - MS error) / 5 on 8 and 36 degrees of freedom.
    """
    frame = published_frame
    rest = frame["y"] - frame.groupby(["student", "method"], observed=True)["y"].transform("mean")
    block = rest.groupby([frame["student"].astype(str), frame["seed"]]).transform("mean")
    seeds_ms, error_ms = float((block**2).sum()) / 8, float(((rest - block) ** 2).sum()) / 36
    rows = {(row.student, row.method): row for row in marginal_means(source, STUDENTS, METHODS)}
    assert list(rows) == [(s, m) for s in STUDENTS for m in ("none", *METHODS)]
    for (student, method), row in rows.items():
        own = frame[(frame["student"] == student) & (frame["method"] == method)]
        k = len(own) / 5
        of_seeds, of_error = seeds_ms / 25, error_ms * (1 / k - 1 / 5) / 5
        variance = of_seeds + of_error
        df = variance**2 / (of_seeds**2 / 8 + of_error**2 / 36)
        assert row.mean_pct == pytest.approx(own["y"].mean())
        assert (row.se_pp, row.df) == pytest.approx((np.sqrt(variance), df))
        assert (row.ci_low_pct, row.ci_high_pct) == pytest.approx(stats.t.interval(0.95, df, row.mean_pct, row.se_pp))
        assert row.n == len(own)


def test_the_joint_test_is_that_of_nested_regressions(source: Source, published_frame: pd.DataFrame) -> None:
    """F of student:method on (2, 36) df: statsmodels' least squares with a dummy a block, with and without it."""
    frame = published_frame
    blocks = pd.get_dummies(frame["student"].astype(str) + frame["seed"].astype(str), dtype=float).to_numpy()
    methods = np.stack([frame["method"] == method for method in METHODS], axis=1).astype(float)
    larger = (frame["student"] == "resnet34").to_numpy(dtype=float)[:, None]
    without = sm.OLS(frame["y"].to_numpy(), np.hstack([blocks, methods])).fit()
    full = sm.OLS(frame["y"].to_numpy(), np.hstack([blocks, methods, methods * larger])).fit()
    f, p, df = full.compare_f_test(without)
    by_kr, by_satterthwaite = interaction_tests(source, STUDENTS, METHODS)
    for row, method in ((by_kr, "kenward-roger"), (by_satterthwaite, "satterthwaite")):
        assert (row.term, row.test, row.df_method, row.n) == ("student:method", "F", method, 50)
        assert (row.statistic, row.p) == pytest.approx((f, p), rel=1e-6)
        assert (row.df_num, row.df_den) == (df, pytest.approx(36))
        assert (row.p_mc_se, row.draws) == (None, None)


def test_a_joint_test_of_one_contrast_is_its_t_test(simulated: Simulated, framed: Framed) -> None:
    """Also at 2 degrees of freedom, where Kenward and Roger's formula for F is 0 / 0."""
    frame = framed(simulated(pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["mine"], seeds=2, draw=1))
    source = primary(frame, "acc", "all").used
    row = interaction_tests(source, STUDENTS, ["mine"])[0]
    alone = source.estimate(moderation(*STUDENTS, "mine"))
    assert alone.df == pytest.approx(2)
    assert (row.statistic, row.df_num, row.df_den) == (pytest.approx(alone.t**2), 1, pytest.approx(alone.df))
    assert row.p == pytest.approx(alone.p)


def test_moderation_is_over_the_methods_that_all_share(simulated: Simulated, framed: Framed) -> None:
    """A student without baseline takes no part; a method that one of the others lacks is left out."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")])
    students = ("resnet18", "resnet34", "resnet50")
    cells = primary(framed(runs), "acc", "all").used
    assert len(moderation_contrasts(cells, students, METHODS)) == 4
    lost = runs[~((runs["student"] == "resnet50") & (runs["method"] == "logit"))].reset_index(drop=True)
    kept = moderation_contrasts(primary(framed(lost), "acc", "all").used, students, METHODS)
    assert kept == [moderation("resnet18", larger, "feature") for larger in ("resnet34", "resnet50")]
    bare = runs[~((runs["student"] == "resnet18") & (runs["method"] == "none"))].reset_index(drop=True)
    kept = moderation_contrasts(primary(framed(bare), "acc", "all").used, students, METHODS)
    assert kept == [moderation("resnet34", "resnet50", method) for method in METHODS]
