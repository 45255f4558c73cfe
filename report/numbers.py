"""The digits rule: one function decides how every number of a report is written."""

from __future__ import annotations

import math
import re
from typing import Literal

Unit = Literal["pp", "signed_pp", "pp2", "pct", "share", "p", "df", "statistic", "plain"]

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"

_DECIMALS: dict[Unit, int] = {
    "pp": 2,
    "signed_pp": 2,
    "pp2": 3,
    "pct": 2,
    "share": 0,
    "p": 3,
    "df": 1,
    "statistic": 2,
}
_SMALLEST_P = 0.001
_NOISE_PP = 1e-6  # a millionth of a point is rounding error of the arithmetic: that is zero


def number(value: float | None, unit: Unit) -> str:
    """Write a number as the reports do.

    Args:
        value: The number; None and NaN mean that there is none.
        unit: `pp` percentage points, `signed_pp` the same with a sign (for differences), `pp2` their square,
            `pct` percent, `share` a fraction in [0, 1] written as whole percent, `p` a p value, `df` degrees
            of freedom, `statistic` a t or F value, `plain` a count or a setting in its shortest form.

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
    else:
        text = f"{100 * value if unit == 'share' else value:.{_decimals(value, unit)}f}"
    if unit == "df":
        text = text.removesuffix(".0")
    magnitude = text.lstrip("-")
    if not magnitude.strip("0."):
        return magnitude
    return (MINUS if value < 0 else "+" if unit == "signed_pp" else "") + magnitude


def _decimals(value: float, unit: Unit) -> int:
    decimals = _DECIMALS[unit]
    vanishes = unit == "signed_pp" and _NOISE_PP < abs(value) < 0.5 * 10**-decimals
    return -math.floor(math.log10(abs(value))) if vanishes else decimals


def typeset(sentence: str) -> str:
    """Set the minus signs of a sentence's numbers; hyphens inside words and names stay."""
    return re.sub(r"(?<![\w.-])-(?=\d)", MINUS, sentence)


def interval(low: float | None, high: float | None, unit: Unit) -> str:
    """Write an interval as `[low, high]`, or an en dash where one end is missing."""
    ends = number(low, unit), number(high, unit)
    return MISSING if MISSING in ends else f"[{ends[0]}, {ends[1]}]"
