"""Tables as text: what stands in every cell of every table, ready for HTML or markdown."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from analysis.results import Analysis, Contrast, EmMean, Omnibus, VarianceComponent
from report.numbers import MISSING, interval, number
from report.words import architecture, contrast_labels, subset_name

Row = TypeVar("Row")
Spec = tuple[str, bool, Callable[[Row], str]]  # heading, whether numeric, what a row shows there

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
DIGEST_LENGTH = 12  # hex digits: enough to find a file by, short enough to read


@dataclass(frozen=True)
class Column:
    """Heading of a column; numbers are set to the right in figures of equal width."""

    heading: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A captioned table; the first column names the row."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def published_contrasts(published: Analysis | None) -> dict[tuple[str, str, str, str], Contrast]:
    """The published contrasts by what makes two estimands the same: model, metric, subset and contrast."""
    return {key(contrast): contrast for contrast in published.contrasts} if published else {}


def key(contrast: Contrast) -> tuple[str, str, str, str]:
    """What makes two contrasts estimates of the same thing."""
    return contrast.model, contrast.metric, contrast.subset, contrast.contrast


def contrast_table(analysis: Analysis, published: Analysis | None, kind: str, caption: str) -> Table:
    """Contrasts of one kind, each with its uncertainty and, where there is one, the published estimate.

    Args:
        analysis: The analysis to show.
        published: Analysis of the published runs, or None.
        kind: What the contrast's identifier begins with: `gain` or `moderation`.
        caption: Caption of the table.
    """
    labels = contrast_labels(analysis)
    theirs = published_contrasts(published)

    def their_estimate(row: Contrast) -> str:
        found = theirs.get(key(row))
        return estimate(found.estimate_pp, found.ci_low_pp, found.ci_high_pp) if found else MISSING

    columns: list[Spec[Contrast]] = [
        ("Contrast", False, lambda c: labels.get(c.contrast, c.contrast)),
        ("Estimate (pp)", True, lambda c: number(c.estimate_pp, "signed_pp")),
        ("95% interval (pp)", True, lambda c: interval(c.ci_low_pp, c.ci_high_pp, "signed_pp")),
        ("SE (pp)", True, lambda c: number(c.se_pp, "pp")),
        ("df", True, lambda c: number(c.df, "df")),
        ("p", True, lambda c: number(c.p, "p")),
        ("p (Holm)", True, lambda c: number(c.p_holm, "p")),
        ("Runs", True, lambda c: number(c.n, "plain")),
        ("Model", False, _fit),
    ]
    if theirs:
        columns.insert(3, ("Published (pp)", True, their_estimate))
    return _table(kind, caption, columns, (c for c in analysis.contrasts if c.contrast.startswith(f"{kind}:")))


def claim_table(analysis: Analysis) -> Table:
    """The claims with their verdicts, in short."""
    return _table(
        "claims",
        "Claims and verdicts",
        [
            ("Claim", False, lambda c: c.sentence),
            ("Verdict", False, lambda c: c.verdict),
            (
                "Estimate and adjusted 95% interval (pp)",
                True,
                lambda c: estimate(c.estimate_pp, c.ci_low_pp, c.ci_high_pp),
            ),
            ("p (Holm)", True, lambda c: number(c.p_holm, "p")),
            ("Margin (pp)", True, lambda c: number(c.margin_pp, "pp")),
        ],
        analysis.claims,
    )


def cell_table(analysis: Analysis) -> Table:
    """Mean, spread and number of runs of every cell, before any model."""
    return _table(
        "cells",
        "Cells: test accuracy over seeds, before any model.",
        [
            ("Cell", False, lambda c: cell_name(c.teacher, c.student, c.method)),
            (ALPHA, True, lambda c: number(c.alpha, "plain")),
            ("T", True, lambda c: number(c.temperature, "plain")),
            ("Runs", True, lambda c: number(c.n, "plain")),
            ("Mean (%)", True, lambda c: number(c.mean_pct, "pct")),
            ("SD (pp)", True, lambda c: number(c.sd_pp, "pp")),
        ],
        analysis.cells,
    )


def emmean_table(analysis: Analysis) -> Table:
    """Estimated marginal means: accuracy of each student under each method, as the model sees it."""
    return _table(
        "emmeans",
        "Estimated marginal means: test accuracy of each student under each method, as the model sees it.",
        [
            ("Student and method", False, lambda m: f"{architecture(m.student)}, {m.method}"),
            ("Mean (%)", True, lambda m: number(m.mean_pct, "pct")),
            ("95% interval (%)", True, lambda m: interval(m.ci_low_pct, m.ci_high_pct, "pct")),
            ("SE (pp)", True, lambda m: number(m.se_pp, "pp")),
            ("df", True, lambda m: number(m.df, "df")),
            ("Runs", True, lambda m: number(m.n, "plain")),
            ("Model", False, _fit),
        ],
        analysis.emmeans,
    )


def variance_table(analysis: Analysis) -> Table:
    """Variance components of each model."""
    return _table(
        "variance",
        "Variance components: how much results differ from seed to seed, and within a seed.",
        [
            ("Component", False, lambda v: v.component),
            ("SD (pp)", True, lambda v: number(v.sd_pp, "pp")),
            ("Variance (pp²)", True, lambda v: number(v.variance_pp2, "pp2")),
            ("Share (%)", True, lambda v: number(v.share, "share")),
            ("Model", False, _fit),
        ],
        analysis.variance_components,
    )


def omnibus_table(analysis: Analysis) -> Table:
    """Joint F tests of the models' terms."""
    return _table(
        "omnibus",
        "Joint tests of each term. The verdicts rest on the contrasts, not on these.",
        [
            ("Term", False, lambda o: o.term),
            ("F", True, lambda o: number(o.f, "statistic")),
            ("df", True, lambda o: f"{number(o.df_num, 'df')}, {number(o.df_den, 'df')}"),
            ("p", True, lambda o: number(o.p, "p")),
            ("Runs", True, lambda o: number(o.n, "plain")),
            ("Model", False, _fit),
        ],
        analysis.omnibus,
    )


def run_table(runs: pd.DataFrame) -> Table:
    """Every row of a checked runs table, accuracies in percent, in the table's own order."""
    columns: list[Spec[dict[Hashable, Any]]] = [
        ("Run", True, lambda r: str(r["number"])),
        ("Stage", False, lambda r: r["stage"]),
        ("Cell", False, lambda r: cell_name(r["teacher"], r["student"], r["method"])),
        (ALPHA, True, lambda r: number(r["alpha"], "plain")),
        ("T", True, lambda r: number(r["temperature"], "plain")),
        ("Stem", False, lambda r: r["stem"] or MISSING),
        ("Seed", True, lambda r: str(r["seed"])),
        ("Best epoch", True, lambda r: number(r["best_epoch"], "plain")),
        ("of", True, lambda r: number(r["epochs"], "plain")),
        ("Validation (%)", True, lambda r: percent(r["val_acc"])),
        ("Test, best (%)", True, lambda r: percent(r["test_acc_best"])),
        ("Test, last (%)", True, lambda r: percent(r["test_acc_final"])),
    ]
    if runs["weights_sha256"].any():
        columns.append(("Weights (SHA-256)", False, lambda r: r["weights_sha256"][:DIGEST_LENGTH] or MISSING))
    rows = numbered(runs, runs).astype(object)
    return _table("runs", "Every row of the runs table.", columns, rows.where(rows.notna(), None).to_dict("records"))


def numbered(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows with the number, counted from 1, under which a reader finds them in the table of all runs.

    Args:
        rows: Some or all rows of `runs`, in any order.
        runs: The runs table.
    """
    numbers = pd.Series(range(1, len(runs) + 1), index=runs.index)
    return rows.assign(number=numbers.loc[rows.index])


def estimate(value: float | None, low: float | None, high: float | None) -> str:
    """An estimate with its interval, in percentage points without the unit."""
    if value is None:
        return MISSING
    return f"{number(value, 'signed_pp')} {interval(low, high, 'signed_pp')}"


def percent(fraction: float | None) -> str:
    """An accuracy, given as a fraction, in percent."""
    return number(None if fraction is None else 100 * fraction, "pct")


def cell_name(teacher: str, student: str, method: str) -> str:
    """Name of a cell: `ResNet-50 → ResNet-18, logit`, or `ResNet-18, none` for a baseline."""
    return (f"{architecture(teacher)} → " if teacher else "") + f"{architecture(student)}, {method}"


def _fit(row: Contrast | EmMean | VarianceComponent | Omnibus) -> str:
    """Which fit a row comes from: the model, its subset if not all runs, and whether it was singular."""
    words = (row.model, subset_name(row.subset), "singular" if row.singular else "")
    return ", ".join(filter(None, words))


def _table(name: str, caption: str, specs: Sequence[Spec[Row]], rows: Iterable[Row]) -> Table:
    columns = tuple(Column(heading, numeric) for heading, numeric, _ in specs)
    return Table(name, caption, columns, tuple(tuple(show(row) for _, _, show in specs) for row in rows))
