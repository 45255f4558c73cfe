"""An analysis on one screen of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.results import Analysis, Claim, Specification

WIDTH = 100


def summary(result: Analysis) -> str:
    """The answer, the claims as a table, what it depends on, and what a reader must know."""
    blocks = ["\n".join(_wrapped(sentence) for sentence in result.answer), _claims(result.claims)]
    blocks.append("\n".join(line for line in (*_curve(result.multiverse), *_seeds(result), _engines(result)) if line))
    notes = "\n".join(_wrapped(f"- {flag}", "  ") for flag in result.flags)
    blocks.append(f"{result.n_runs} runs, margin {result.margin_pp:g} pp. Note:\n{notes}")
    return "\n\n".join(block for block in blocks if block)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _claims(claims: Sequence[Claim]) -> str:
    tested = [claim for claim in claims if claim.estimate is not None]
    width = max([len(claim.id) for claim in tested], default=0)
    lines = [f"{'claim':{width}}  {'verdict':11}  {'estimate':>8}  {'95% interval, adjusted':>22}  {'unit':4}  seeds"]
    for claim in tested:
        interval = f"{claim.ci_low:+.3f} to {claim.ci_high:+.3f}"
        numbers = f"{claim.estimate:+8.3f}  {interval:>22}  {claim.unit:4}  {_needed(claim)}"
        lines.append(f"{claim.id:{width}}  {claim.verdict:11}  {numbers}".rstrip())
    lines.append("seeds: seeds a cell that would settle it (probability 0.8, if the estimate is the truth)")
    lines.append("No effect, at least as good, too small to matter: these rest on the 90% interval (claims.csv).")
    untested = ", ".join(claim.id for claim in claims if claim.estimate is None)
    told = [_wrapped(f"not tested (claims.csv says why): {untested}", "  ")] if untested else []
    return "\n".join([*(lines if tested else []), *told])


def _needed(claim: Claim) -> str:
    if claim.verdict != "cannot tell":
        return ""
    return str(claim.seeds_to_settle) if claim.seeds_to_settle else "none"


def _curve(curve: Sequence[Specification]) -> list[str]:
    lines = []
    for method in dict.fromkeys(one.method for one in curve):
        own = [one for one in curve if one.method == method]
        in_pp = [one.estimate for one in own if one.scale == "pp"]
        share = sum(one.supports for one in own) / len(own)
        adjusted = sum(one.supports_holm for one in own) / len(own)
        told = (
            f"Specification curve, {method}: {len(own)} specifications, interval above 0 in {share:.0%} "
            f"({adjusted:.0%} after Holm); on the scale of points {min(in_pp):+.2f} to {max(in_pp):+.2f}, "
            f"median {median(in_pp):+.2f} pp{_moves(own)}."
        )
        lines.append(_wrapped(told, "  "))
    return lines


def _moves(curve: Sequence[Specification]) -> str:
    """The choice whose options differ most in their median estimate, over the selected cells (others have one seed)."""
    own = [one for one in curve if one.scale == "pp" and one.hyperparameters == "selected"]
    widest, told = 0.0, ""
    for choice, name in {
        "metric": "checkpoint rule",
        "seeds": "seeds",
        "teachers": "teachers",
        "model": "model",
    }.items():
        options = {getattr(one, choice) for one in own}
        medians = [median(one.estimate for one in own if getattr(one, choice) == option) for option in options]
        if medians and max(medians) - min(medians) > widest:
            widest = max(medians) - min(medians)
            told = f"; the choice of {name} moves it most (medians {min(medians):+.2f} to {max(medians):+.2f})"
    return told


def _seeds(result: Analysis) -> list[str]:
    margin = [row for row in result.seeds_needed if row.effect_pp == result.margin_pp and row.power == 0.8]  # noqa: PLR2004 - the usual power
    if not margin:
        return []
    row = margin[0]
    seeds, low, high = (str(n) if n else "more than 10000" for n in (row.seeds, row.seeds_low, row.seeds_high))
    told = (
        f"To find an effect of {row.effect_pp:g} pp ({row.contrast}) with probability 0.8 takes {seeds} seeds a cell "
        f"({low} to {high} within sigma's own 95% interval)."
    )
    return [_wrapped(told, "  ")]


def _engines(result: Analysis) -> str:
    compared = [model for model in result.models if model.second_engine]
    if not compared:
        return ""
    worst = max(abs(model.second_effect_difference_pp or 0.0) for model in compared)
    short = sum((model.second_excess or 0.0) > 1e-4 for model in compared)  # noqa: PLR2004 - of -2 log likelihood
    astray = f"; it stopped short of the optimum in {short}" if short else ""
    agrees = f"within {max(worst, 0.001):.3f} pp"
    fits = "1 regular fit" if len(compared) == 1 else f"{len(compared)} regular fits"
    told = f"Second engine (statsmodels) beside ours on {fits}: fixed effects {agrees}{astray}."
    return _wrapped(told, "  ")
