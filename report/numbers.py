"""The digits rule: one function decides how every number of a report is written."""

from __future__ import annotations

import math
import re
from typing import Literal

Unit = Literal[
    "pp", "signed_pp", "pp2", "fine", "signed_fine", "pct", "share", "p", "df", "statistic", "ratio", "power_of_ten",
    "plain",
]  # fmt: skip

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"

_DECIMALS: dict[Unit, int] = {
    "pp": 2,
    "signed_pp": 2,
    "pp2": 3,
    "fine": 4,
    "signed_fine": 4,
    "pct": 2,
    "share": 0,
    "p": 3,
    "df": 1,
    "statistic": 2,
    "ratio": 4,
}
_SIGNED = ("signed_pp", "signed_fine")
_SMALLEST_P = 0.001
_NOISE = 1e-6  # a millionth of a point, or of a nat, is rounding error of the arithmetic: that is zero


def number(value: float | None, unit: Unit) -> str:
    """Write a number as the reports do.

    Args:
        value: The number; None and NaN mean that there is none.
        unit: `pp` percentage points, `signed_pp` the same with a sign (for differences), `pp2` their square,
            `fine` and `signed_fine` a divergence in nats, `pct` percent, `share` a fraction in [0, 1] written as
            whole percent, `p` a p value, `df` degrees of freedom, `statistic` a t or F value, `ratio` one that is
            about 1, `power_of_ten` a rounding error, `plain` a count or a setting in its shortest form.

    Returns:
        Text with a true minus sign and no unit; an en dash where there is no number; `< 0.001` for a smaller
        p value; whole degrees of freedom without decimals. A signed difference that its decimals would round
        away to zero gets as many as show it: the side of zero on which an interval ends is what it
        is read for. There is no negative zero.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}"
    if unit == "p" and value < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    if unit == "plain":
        text = f"{value:g}"
    elif unit == "power_of_ten":
        text = f"{value:.0e}" if value else "0"
    else:
        text = f"{100 * value if unit == 'share' else value:.{_decimals(value, unit)}f}"
    if unit == "df":
        text = text.removesuffix(".0")
    magnitude = text.lstrip("-")
    if not magnitude.strip("0."):
        return magnitude
    return (MINUS if value < 0 else "+" if unit in _SIGNED else "") + magnitude


def _decimals(value: float, unit: Unit) -> int:
    decimals = _DECIMALS[unit]
    vanishes = unit in _SIGNED and _NOISE < abs(value) < 0.5 * 10**-decimals
    return -math.floor(math.log10(abs(value))) if vanishes else decimals


def typeset(sentence: str) -> str:
    """Set the minus signs of a sentence's numbers; hyphens inside words and names stay."""
    return re.sub(r"(?<![\w.-])-(?=\d)", MINUS, sentence)


def interval(low: float | None, high: float | None, unit: Unit) -> str:
    """Write an interval as `[low, high]`, or an en dash where one end is missing."""
    ends = number(low, unit), number(high, unit)
    return MISSING if MISSING in ends else f"[{ends[0]}, {ends[1]}]"


def effect_unit(name: str) -> Unit:
    """How an effect is written whose unit has this name: percentage points, or anything finer."""
    return "signed_pp" if name == "pp" else "signed_fine"


def estimate(value: float | None, low: float | None, high: float | None, unit: Unit) -> str:
    """Write an estimate with its interval, or an en dash where there is no estimate."""
    return MISSING if value is None else f"{number(value, unit)} {interval(low, high, unit)}"
