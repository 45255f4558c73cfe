"""The noncentral t distribution against scipy, R, closed forms and an integral over the other variable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from analysis.inference.student_t import cdf, chi_expectation, noncentrality, noncentrality_interval, sf

# R 4.2.2: sprintf("%.14g", pt(q, df, ncp)); its own accuracy is about 1e-12
FROM_R = [
    # q, df, nc, P(T <= q)
    (2, 5, 1, 0.77807466261595),
    (-1, 3, 2, 0.0030052475954501),
    (0.5, 1, -1, 0.9103675991354),
    (10, 4, 6, 0.8267894911856),
    (25, 30, 20, 0.92567755701761),
    (3, 1.5, 0.5, 0.87531859319839),
    (0, 7, 1.2, 0.11506967022171),
    (40, 12, 35, 0.68567619174503),
    (2.5, 200.5, 2.2, 0.61584498803476),
]

# R 4.2.2: uniroot(function(nc) pt(t, df, nc) - p, c(-37, 37), tol = 1e-13)$root with p = 0.975, then 0.025
INTERVALS_FROM_R = [
    # t, df, low, high
    (2.83, 126, 0.83375026084, 4.81535914),
    (1.5, 8, -0.62936751347, 3.5485798032),
    (-4, 3, -7.5532267386, -0.34278087074),
]


@pytest.mark.parametrize(("q", "df", "nc", "expected"), FROM_R)
def test_cdf_equals_r(q: float, df: float, nc: float, expected: float) -> None:
    """R's pt to 1e-11, small and fractional degrees of freedom included."""
    assert float(cdf(q, df, nc)) == pytest.approx(expected, abs=1e-11)
    assert float(sf(q, df, nc)) == pytest.approx(1 - expected, abs=1e-11)


@given(df=st.floats(0.5, 2000), nc=st.floats(-30, 30), ratio=st.floats(-3, 3), shift=st.floats(-3, 3))
def test_cdf_equals_scipy(df: float, nc: float, ratio: float, shift: float) -> None:
    """scipy.special.nctdtr to 1e-9, except where that is NaN."""
    q = ratio * nc + shift
    theirs = special.nctdtr(df, nc, q)
    assume(np.isfinite(theirs))
    assert float(cdf(q, df, nc)) == pytest.approx(theirs, abs=1e-9)


def test_where_scipy_is_nan() -> None:
    """At q = -8, df = 1, nc = 8: 7.5e-18, by the integral over Z (R's pt says 1.0e-13)."""

    def integrand(z: float) -> float:
        return float(stats.norm.pdf(z) * stats.chi2.cdf(((z + 8) / 8) ** 2, 1))

    assert float(cdf(-8.0, 1, 8.0)) == pytest.approx(integrate.quad(integrand, -20, -8, epsabs=0)[0], rel=1e-9)


def test_the_check_can_fail() -> None:
    """The usual approximation, Phi(q - nc), is far outside these tolerances, in the middle and with many df."""
    assert abs(stats.norm.cdf(2 - 1) - FROM_R[0][3]) > 0.05
    assert abs(stats.norm.cdf(0.3) - FROM_R[8][3]) > 1e-3


@pytest.mark.parametrize(
    ("q", "df", "nc"),
    [(300, 1, 60), (1200, 2, 1000), (11_000, 10, 10_000), (38, 5, 38), (51, 1e6, 50), (5, 0.5, 3), (150, 8, 200)],
)
def test_large_noncentralities(q: float, df: float, nc: float) -> None:
    """Where scipy and R give up: the same probability as an integral over Z instead of u, to 1e-11."""

    def integrand(z: float) -> float:
        return float(stats.norm.pdf(z) * stats.chi2.sf(df * (max(z + nc, 0.0) / q) ** 2, df))

    ends = [-9.0, *sorted(z for z in (-nc, q - nc) if abs(z) < 9), 9.0]
    parts = [integrate.quad(integrand, a, b, epsabs=1e-14, epsrel=1e-13, limit=500)[0] for a, b in zip(ends, ends[1:])]  # noqa: B905, RUF007 - neighbours
    assert float(cdf(q, df, nc)) == pytest.approx(sum(parts), abs=1e-11)


def test_never_nan_and_always_a_probability() -> None:
    """Over 20,000 points, |nc| to 10,000, every value lies in [0, 1], and falls as nc grows."""
    rng = np.random.default_rng(1)
    df = np.exp(rng.uniform(np.log(0.3), np.log(1e9), 5000))
    nc = rng.normal(0, 1, 5000) * 10 ** rng.uniform(0, 4, 5000)
    q = nc * rng.normal(1, 0.5, 5000)
    values = np.stack([cdf(q, df, nc + step) for step in (0.0, 0.3, 1.0, 5.0)])
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1 + 1e-12
    assert np.diff(values, axis=0).max() <= 1e-12


def test_closed_forms() -> None:
    """At q = 0 it is Phi(-nc), with infinite df Phi(q - nc), with nc = 0 Student's t; T mirrored has -nc."""
    assert float(cdf(0.0, 7, 1.2)) == pytest.approx(stats.norm.cdf(-1.2), abs=1e-15)
    assert float(cdf(4.0, np.inf, 3.0)) == pytest.approx(stats.norm.cdf(1.0), abs=1e-15)
    assert float(cdf(4.0, 2e8, 3.0)) == pytest.approx(stats.norm.cdf(1.0), abs=1e-8)
    assert float(cdf(1.3, 4.5, 0.0)) == pytest.approx(stats.t.cdf(1.3, 4.5), abs=1e-13)
    assert float(cdf(1.3, 4.5, 2.0)) == pytest.approx(float(sf(-1.3, 4.5, -2.0)), abs=1e-15)


def test_small_tails_keep_their_digits() -> None:
    """With nc = 0 it is Student's t: a tail of 1e-10 agrees to 7 digits."""
    tail = stats.t.sf(25.0, 10)
    assert 1e-10 < tail < 2e-10
    assert float(sf(25.0, 10, 0.0)) == pytest.approx(tail, rel=1e-7)
    assert 0 <= float(cdf(4.0, 1000, 30.0)) < 1e-15  # R: 8.9e-155


def test_moments_of_the_chi_average() -> None:
    """E[u^2] = 1 and E[u] is the factor c4 of quality control, gamma functions: 0.9400 for 4 degrees of freedom."""
    df = np.array([0.5, 1.0, 4.0, 300.0])
    c4 = np.exp(special.gammaln((df + 1) / 2) - special.gammaln(df / 2)) * np.sqrt(2 / df)
    assert c4[2] == pytest.approx(0.9400, abs=1e-4)
    np.testing.assert_allclose(chi_expectation(lambda u: u**2, df, []), 1, rtol=1e-12)
    np.testing.assert_allclose(chi_expectation(lambda u: u, df, []), c4, rtol=1e-12)


def test_broadcasting() -> None:
    """A table of q by df comes back as a table, each entry as if it were alone."""
    table = cdf(np.array([[1.0], [2.0]]), np.array([3.0, 5.0, 9.0]), 1.0)
    assert table.shape == (2, 3)
    assert table[1, 1] == pytest.approx(float(cdf(2.0, 5.0, 1.0)), abs=1e-15)


@pytest.mark.parametrize(("t", "df", "low", "high"), INTERVALS_FROM_R)
def test_interval_equals_r(t: float, df: float, low: float, high: float) -> None:
    """Root finding on R's pt ends at the same noncentralities, to 1e-8."""
    assert noncentrality_interval(t, df, 0.95) == pytest.approx((low, high), abs=1e-8)


@pytest.mark.parametrize(("t", "df"), [(500.0, 2), (-3e4, 8), (0.0, 8), (1e-9, 1), (60.0, 1e5)])
def test_interval_ends_have_their_probabilities(t: float, df: float) -> None:
    """Under its ends the observed t sits at the 97.5th and the 2.5th percentile, however large it is."""
    low, high = noncentrality_interval(t, df, 0.95)
    assert float(cdf(t, df, low)) == pytest.approx(0.975, abs=1e-9)
    assert float(cdf(t, df, high)) == pytest.approx(0.025, abs=1e-9)
    assert low < noncentrality(t, df, 0.5) < high


def test_bad_input_is_named() -> None:
    """An infinite t, a level in percent and df of 0 each get a sentence."""
    with pytest.raises(ValueError, match="finite t, got inf; is the standard error zero"):
        noncentrality_interval(np.inf, 8, 0.95)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 95; 0\.95 is a 95% interval"):
        noncentrality_interval(1.0, 8, 95)
    with pytest.raises(ValueError, match="degrees of freedom must be above 0, got"):
        cdf(1.0, 0.0, 0.0)
