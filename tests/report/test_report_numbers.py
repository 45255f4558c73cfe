"""The digits rule."""

from __future__ import annotations

import math

import pytest

from report.numbers import Unit, effect_unit, estimate, interval, number, typeset

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.2049, "pp", "0.20"),
        (0.2049, "signed_pp", "+0.20"),
        (-0.2049, "signed_pp", MINUS + "0.20"),
        (0.0, "signed_pp", "0.00"),
        (-0.0, "pp", "0.00"),
        (-0.001, "pp", "0.00"),
        (-0.004, "signed_pp", MINUS + "0.004"),
        (0.00031, "signed_pp", "+0.0003"),
        (-1.4e-14, "signed_pp", "0.00"),
        (94.8561, "pct", "94.86"),
        (0.105, "share", "10"),
        (0.0004, "p", "< 0.001"),
        (0.001, "p", "0.001"),
        (0.25, "p", "0.250"),
        (32.0, "df", "32"),
        (34.23, "df", "34.2"),
        (-51.834, "statistic", MINUS + "51.83"),
        (0.07023, "signed_fine", "+0.0702"),
        (-0.0094, "signed_fine", MINUS + "0.0094"),
        (-0.00004, "signed_fine", MINUS + "0.00004"),
        (0.02, "fine", "0.0200"),
        (0.99999, "ratio", "1.0000"),
        (5.33e-15, "power_of_ten", "5e-15"),
        (-2e-13, "power_of_ten", MINUS + "2e-13"),
        (0.0, "power_of_ten", "0"),
        (0.7, "plain", "0.7"),
        (4.0, "plain", "4"),
        (None, "pp", NONE),
        (math.nan, "pct", NONE),
        (math.inf, "df", "∞"),
        (-math.inf, "pp", MINUS + "∞"),
    ],
)
def test_each_unit_has_one_way_to_be_written(value: float | None, unit: Unit, text: str) -> None:
    """Two decimals for pp and percent, three for p, one for broken df; true minus; no negative zero."""
    assert number(value, unit) == text


def test_an_interval_needs_both_ends() -> None:
    """An interval shows both ends with their signs, or nothing."""
    assert interval(-0.0812, 0.2849, "signed_pp") == f"[{MINUS}0.08, +0.28]"
    assert interval(None, 0.2849, "signed_pp") == NONE


def test_an_effect_is_written_in_its_own_unit() -> None:
    """Percentage points have two decimals, any other unit four; without an estimate there is a dash."""
    assert estimate(0.0702, 0.0645, 0.0759, effect_unit("pp")) == "+0.07 [+0.06, +0.08]"
    assert estimate(0.0702, 0.0645, 0.0759, effect_unit("nats")) == "+0.0702 [+0.0645, +0.0759]"
    assert estimate(None, None, None, effect_unit("nats")) == NONE


def test_minus_signs_are_set_and_hyphens_left() -> None:
    """In sentences a minus before a number is set; hyphens in names, words and exponents are not touched."""
    kept = "ResNet-34 under R-18, CIFAR-10, 5-9, equal to 1e-8"
    assert typeset(kept) == kept
    assert typeset("-0.08 (interval -0.1 to +0.2)") == f"{MINUS}0.08 (interval {MINUS}0.1 to +0.2)"
