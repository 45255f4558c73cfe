"""Effect sizes against R, a simulation of the bias, and pingouin's documented formulas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from analysis.inference.effect_sizes import compare_groups, small_sample_correction

X = [94.31, 94.52, 94.18, 94.40, 94.29]
Y = [94.55, 94.61, 94.38, 94.70, 94.52]


def test_t_tests_equal_r() -> None:
    """R 4.2.2: t.test(x, y) gives t, df, p; t.test(x, y, var.equal = TRUE) the last p."""
    ours = compare_groups(X, Y, "r50 to r18")
    found = (ours.t_welch, ours.df_welch, ours.p_welch, ours.p_student)
    assert found == pytest.approx((-2.72692776, 7.954720077, 0.02610582542, 0.02596890493), rel=1e-8)
    assert ours.difference_pp == pytest.approx(94.340 - 94.552, abs=1e-12)
    assert (ours.label, ours.n_x, ours.n_y) == ("r50 to r18", 5, 5)


def test_exact_interval_equals_r() -> None:
    """R 4.2.2: uniroot(function(nc) pt(t, 8, nc) - p, c(-30, 30), tol = 1e-13)$root / sqrt(2.5), p 0.975 and 0.025."""
    ours = compare_groups(X, Y, "a")
    assert (ours.g_exact_ci_low, ours.g_exact_ci_high) == pytest.approx((-3.180774041, -0.1964034457), abs=1e-8)


def test_pingouins_numbers_are_its_formulas() -> None:
    """Its g is d (1 - 3 / (4 * 10 - 9)); its interval g -+ t sqrt(10 / 25 + g^2 / 20), not rounded to 2 decimals."""
    ours = compare_groups(X, Y, "a")
    d = stats.ttest_ind(X, Y).statistic * np.sqrt(10 / 25)
    g = d * (1 - 3 / 31)
    half = stats.t.ppf(0.975, 8) * np.sqrt(10 / 25 + g**2 / 20)
    assert ours.g_pingouin == pytest.approx(g, rel=1e-9)
    assert (ours.g_pingouin_ci_low, ours.g_pingouin_ci_high) == pytest.approx((g - half, g + half), rel=1e-9)


def test_the_two_differ_and_the_row_says_by_how_much() -> None:
    """J is 0.902703 for 8 df, its approximation 0.903226; the exact interval is not symmetric about g."""
    ours = compare_groups(X, Y, "a")
    d = ours.g_exact / small_sample_correction(8)
    assert ours.g_pingouin_less_exact == pytest.approx(d * (0.9032258065 - 0.9027033337), rel=1e-6)
    assert abs(ours.g_exact_ci_low + ours.g_exact_ci_high - 2 * ours.g_exact) > 0.2


@pytest.mark.parametrize(("df", "j"), [(2, 1 / np.sqrt(np.pi)), (3, np.sqrt(np.pi / 6)), (4, np.sqrt(2 / np.pi))])
def test_correction_by_hand(df: int, j: float) -> None:
    """By hand, df 2: Gamma(1) / Gamma(1/2); df 3: (sqrt(pi) / 2) / sqrt(3/2); df 4: 1 / (sqrt(2) sqrt(pi) / 2)."""
    assert small_sample_correction(df) == pytest.approx(j, rel=1e-12)
    assert abs(1 - 3 / (4 * df - 1) - j) > 1e-3  # the approximation would not pass


def test_exact_g_is_unbiased_and_its_interval_covers() -> None:
    """Three runs a group, true difference 1.5 sd: the mean of J d is 1.5; d itself averages 1.5 / J = 1.88.

    400,000 draws of the noncentral t that d follows; and the interval holds 1.5 exactly where the probability of
    a smaller t lies between 0.025 and 0.975, so coverage is 95% by construction.
    """
    rng = np.random.default_rng(1)
    root_n = np.sqrt(1.5)
    d = (rng.normal(1.5 * root_n, 1, 400_000) / np.sqrt(rng.chisquare(4, 400_000) / 4)) / root_n
    error = d.std() / np.sqrt(len(d))
    assert small_sample_correction(4) * d.mean() == pytest.approx(1.5, abs=4 * error)
    assert abs(d.mean() - 1.5) > 20 * error


def test_sign_follows_the_order() -> None:
    """Swapped groups change every sign and swap the ends; p values stay."""
    there, back = compare_groups(X, Y, "a"), compare_groups(Y, X, "a")
    assert there.g_exact < 0 < back.g_exact
    assert back.g_exact == pytest.approx(-there.g_exact)
    assert (back.g_exact_ci_low, back.g_pingouin_ci_low) == pytest.approx(
        (-there.g_exact_ci_high, -there.g_pingouin_ci_high)
    )
    assert back.p_welch == pytest.approx(there.p_welch)


def test_two_runs_a_group() -> None:
    """The smallest case works; both intervals are finite and the exact one is the narrower here."""
    ours = compare_groups([94.1, 94.2], [94.5, 94.3], "a")
    assert ours.p_student == pytest.approx(stats.ttest_ind([94.1, 94.2], [94.5, 94.3]).pvalue)
    assert -5 < ours.g_exact_ci_low < ours.g_exact < ours.g_exact_ci_high < 1
    assert ours.g_pingouin_ci_low < ours.g_exact_ci_low


@pytest.mark.parametrize(("x", "y"), [([94.1] * 3, [94.2, 94.5, 94.3]), ([94.2, 94.5, 94.3], [94.1] * 3)])
def test_one_group_without_variance(x: list[float], y: list[float]) -> None:
    """It is no error: Welch then has the other group's 2 df, and no warning of rounding is raised."""
    ours = compare_groups(x, y, "a")
    assert ours.df_welch == pytest.approx(2)
    assert abs(ours.t_welch) == pytest.approx(0.7 / 3 / (np.std([0.2, 0.5, 0.3], ddof=1) / np.sqrt(3)))


def test_no_variance_at_all_is_refused() -> None:
    """Nothing to standardise by: the sentence says what to do instead."""
    with pytest.raises(ValueError, match="stem: a standardised difference needs runs that differ"):
        compare_groups([94.1] * 3, [94.2] * 3, "stem")


@pytest.mark.parametrize("group", [[94.1], [94.1, float("nan"), 94.2], [[94.1, 94.2]]])
def test_groups_pingouin_would_misread(group: list[float]) -> None:
    """One run (pingouin: a population mean), a missing one (pingouin: dropped), a table: refused by name."""
    with pytest.raises(ValueError, match="stem: the second group must be 2 or more finite accuracies"):
        compare_groups(X, group, "stem")


def test_pingouin_is_imported_late() -> None:
    """Importing the module does not import pingouin."""
    code = "import sys, analysis.inference.effect_sizes; sys.exit('pingouin' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
