"""The main tables of an analysis as LaTeX, for a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis.results import Analysis

HEAD = "% Made by kdcap; needs \\usepackage{booktabs}. Effects in percentage points unless a unit is given.\n"


def latex_tables(analysis: Analysis) -> str:
    """Claims, gains and moderation, estimated means, and variance components."""
    main = [c for c in analysis.contrasts if c.model.startswith("primary") and c.family in ("gains", "moderation")]
    tables = [
        _table(
            "Claims and verdicts.", "claims",
            ["Claim", "Verdict", "Estimate", "Adjusted 95% interval", "Unit"],
            [[c.sentence, c.verdict, _signed(c.estimate), _interval(c.ci_low, c.ci_high), c.unit]
             for c in analysis.claims],
        ),
        _table(
            "Gains and moderation, primary model.", "contrasts",
            ["Model", "Rows", "Contrast", "Estimate", "SE", "df", "95% interval", "p", "p (Holm)"],
            [[c.model, c.subset, c.contrast, _signed(c.estimate_pp), f"{c.se_pp:.3f}", f"{c.df:.1f}",
              _interval(c.ci_low_pp, c.ci_high_pp), _p(c.p), _p(c.p_holm)] for c in main],
        ),
        _table(
            "Estimated marginal means.", "emmeans",
            ["Rows", "Student", "Method", "Mean", "SE", "95% interval"],
            [[m.subset, m.student, m.method, f"{m.mean_pct:.2f}", f"{m.se_pp:.3f}",
              _interval(m.ci_low_pct, m.ci_high_pct, signed=False)] for m in analysis.emmeans],
        ),
        _table(
            "Variance components.", "variances",
            ["Model", "Rows", "Component", "SD", "95% interval", "Share"],
            [[v.model, v.subset, v.component, f"{v.sd_pp:.3f}",
              _interval(v.sd_ci_low_pp, v.sd_ci_high_pp, signed=False), f"{100 * v.share:.0f}%"]
             for v in analysis.variance_components],
        ),
    ]  # fmt: skip
    return HEAD + "\n".join(tables)


def _table(caption: str, label: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    frame = pd.DataFrame(rows, columns=list(heads))
    style = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    return style.to_latex(caption=caption, label=f"tab:{label}", hrules=True, position="tb", position_float="centering")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _interval(low: float | None, high: float | None, *, signed: bool = True) -> str:
    sign = "+" if signed else ""
    return "" if low is None or high is None else f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def _p(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - three decimals
