"""Tables as text: what stands in every cell of the main tables, ready for HTML or markdown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pandas as pd

from analysis.results import Analysis, Claim, Contrast, EmMean, Fidelity, ModelFit, Omnibus, VarianceComponent
from analysis.runs.columns import ACCURACIES
from report.context import Published
from report.estimands import (
    NEW_IMAGES,
    Estimand,
    beside,
    estimand,
    is_for_new_images,
    is_refit,
    plain_model,
    that_count,
)
from report.numbers import MISSING, effect_unit, estimate, interval, number, typeset
from report.words import (
    architecture,
    cell_name,
    contrast_labels,
    df_method,
    metric_name,
    response_name,
    seeds_to_settle,
    spoken,
    subset_name,
)

Row = TypeVar("Row")
Fitted = Contrast | Fidelity | EmMean | VarianceComponent | Omnibus | ModelFit


class Linked(str):
    """Text of a cell that leads to another place of the page.

    Args:
        text: What is shown.
        target: Id of the place.
    """

    target: str

    def __new__(cls, text: str, target: str) -> Linked:
        """The text, with where it leads."""
        made = super().__new__(cls, text)
        made.target = target
        return made


Spec = tuple[str, bool, Callable[[Row], str]]  # heading, whether numeric, what a row shows there

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
RUNS_CAPTION = (
    "Every row of the runs table, numbered by stage, teacher, student, method, setting and seed; that is not the order "
    "of the file's lines."
)
MOST_ROWS = 5000  # of a page that a browser still opens and sorts at once
DIGEST_LENGTH = 12  # hex digits: enough to find a file by, short enough to read


@dataclass(frozen=True)
class Column:
    """Heading of a column; numbers are set to the right in figures of equal width."""

    heading: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A captioned table; the first column names the row.

    Attributes:
        id: Its id in the page, `table-ID`.
        caption: What it holds.
        columns: Its columns.
        rows: Text of every cell; a `Linked` one leads somewhere.
        anchors: Id of each row, for links to it; empty where none is linked to.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    anchors: tuple[str, ...] = ()


def build(
    name: str,
    caption: str,
    specs: Sequence[Spec[Row]],
    rows: Iterable[Row],
    anchor: Callable[[Row], str] | None = None,
) -> Table:
    """A table from what each column shows of a row.

    Args:
        name: Id of the table in the page.
        caption: Its caption.
        specs: Heading, whether numeric, and text of a row, column by column.
        rows: The rows.
        anchor: Id of a row in the page; None where no row is linked to.
    """
    columns = tuple(Column(heading, numeric) for heading, numeric, _ in specs)
    kept = tuple(rows)
    cells = tuple(tuple(show(row) for _, _, show in specs) for row in kept)
    return Table(name, caption, columns, cells, tuple(map(anchor, kept)) if anchor else ())


def model_anchor(row: Fitted) -> str:
    """Id of the place where a row's model is described."""
    return anchor("model", row.model.replace(f":{NEW_IMAGES}", ""), row.metric, row.subset)


def contrast_anchor(model: str, metric: str, subset: str, contrast: str) -> str:
    """Id of a contrast's row."""
    return anchor("contrast", model, metric, subset, contrast)


def anchor(*parts: str) -> str:
    """An id made of names that may hold any character: words for people, a digest so that no two are alike."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{words}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:6]}"


def contrast_table(
    analysis: Analysis, published: Published | None, name: str, caption: str, families: Collection[str]
) -> Table:
    """Contrasts of some families, each with its uncertainty and, where there is one, the published estimate.

    Of a singular fit both the fit and the refit stand there, one below the other.

    Args:
        analysis: The analysis to show.
        published: What the published runs say, or None.
        name: Id of the table in the page.
        caption: Caption of the table.
        families: Families of contrasts to show.
    """
    labels = contrast_labels(analysis)
    of_family = [row for row in analysis.contrasts if row.family in families]
    rows = beside(of_family)
    counts = that_count(of_family).values()
    theirs = that_count(published.contrasts) if published else {}
    others = {estimand(row): row for row in of_family if is_for_new_images(row.model)}

    first = {(row.subset, row.contrast): plain_model(row.model) for row in reversed(rows)}

    def label(row: Contrast) -> str:
        name, model = labels.get(row.contrast, row.contrast), plain_model(row.model)
        return name if model == first[row.subset, row.contrast] else f"{name}, {model} model"

    def beside_it(row: Contrast, there: Mapping[Estimand, Contrast]) -> Contrast | None:
        return there.get(estimand(row)) if row in counts else None

    def their_estimate(row: Contrast) -> str:
        found = beside_it(row, theirs)
        return estimate(found.estimate_pp, found.ci_low_pp, found.ci_high_pp, "signed_pp") if found else MISSING

    def other_images(row: Contrast) -> str:
        found = beside_it(row, others)
        return interval(found.ci_low_pp, found.ci_high_pp, "signed_pp") if found else MISSING

    columns: list[Spec[Contrast]] = [
        ("Contrast", False, lambda c: told_apart(label(c), c)),
        ("Estimate (pp)", True, lambda c: number(c.estimate_pp, "signed_pp")),
        ("95% interval (pp)", True, lambda c: interval(c.ci_low_pp, c.ci_high_pp, "signed_pp")),
        ("SE (pp)", True, lambda c: number(c.se_pp, "pp")),
        ("df", True, lambda c: degrees(c.df, c.df_method)),
        ("p", True, lambda c: number(c.p, "p")),
        ("p (Holm)", True, lambda c: number(c.p_holm, "p")),
        ("Runs or gains", True, lambda c: number(c.n, "plain")),
        ("Model", False, lambda c: Linked(plain_model(c.model), model_anchor(c))),
    ]
    if any(beside_it(row, theirs) for row in rows):
        columns.insert(3, ("Published (pp)", True, their_estimate))
    if others:
        columns.insert(3, ("95% interval, other images (pp)", True, other_images))
    return build(name, caption, columns, rows, lambda c: contrast_anchor(c.model, c.metric, c.subset, c.contrast))


def claim_table(analysis: Analysis) -> Table:
    """The claims with their verdicts, in short."""
    return build(
        "claims",
        "Claims and verdicts",
        [
            ("Claim", False, lambda c: spoken(c.sentence)),
            ("Verdict", False, lambda c: c.verdict),
            ("Estimate and adjusted 95% interval", True, claim_estimate),
            ("p (Holm)", True, lambda c: number(c.p_holm, "p")),
            ("Held against", False, held_against),
            ("90% interval", True, lambda c: interval(c.ci90_low, c.ci90_high, effect_unit(c.unit))),
            ("Seeds to settle", True, seeds_to_settle),
            ("Published with it", False, lambda c: typeset(c.published) or MISSING),
        ],
        analysis.claims,
    )


def without(table: Table, heading: str) -> Table:
    """The table less one column."""
    at = [column.heading for column in table.columns].index(heading)
    rows = tuple((*row[:at], *row[at + 1 :]) for row in table.rows)
    return replace(table, columns=(*table.columns[:at], *table.columns[at + 1 :]), rows=rows)


def claim_estimate(claim: Claim) -> str:
    """Estimate, interval and unit of a claim."""
    found = estimate(claim.estimate, claim.ci_low, claim.ci_high, effect_unit(claim.unit))
    return found if claim.estimate is None else f"{found} {claim.unit}"


def held_against(claim: Claim) -> str:
    """What decides a claim: its direction or threshold, and the margin."""
    margin = f"{number(claim.margin, 'plain')} {claim.unit}"
    if claim.kind == "null":
        return f"none beyond ±{margin}"
    if claim.kind == "at least":
        return f"at least {number(claim.threshold, 'plain')}, less {margin}"
    return f"above 0, margin {margin}"


def cell_table(analysis: Analysis) -> Table:
    """Mean, spread and number of runs of every cell, before any model."""
    return build(
        "cells",
        f"Cells: {metric_name(analysis)} over seeds, before any model.",
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
    return build(
        "emmeans",
        f"Estimated marginal means: {metric_name(analysis)} of each student under each method, as the model sees it.",
        [
            ("Student and method", False, lambda m: told_apart(f"{architecture(m.student)}, {m.method}", m)),
            ("Mean (%)", True, lambda m: number(m.mean_pct, "pct")),
            ("95% interval (%)", True, lambda m: interval(m.ci_low_pct, m.ci_high_pct, "pct")),
            ("SE (pp)", True, lambda m: number(m.se_pp, "pp")),
            ("df", True, lambda m: degrees(m.df, m.df_method)),
            ("Runs", True, lambda m: number(m.n, "plain")),
            ("Model", False, lambda m: Linked(plain_model(m.model), model_anchor(m))),
        ],
        analysis.emmeans,
    )


def variance_table(analysis: Analysis) -> Table:
    """Variance components of each model."""
    return build(
        "variance",
        "Variance components: how much results differ from seed to seed, and within a seed. Intervals by profile "
        "likelihood, for the main models.",
        [
            (
                "Model and component",
                False,
                lambda v: f"{fit_name(v, response_name(v.metric, analysis))}: {v.component}",
            ),
            ("SD (pp)", True, lambda v: number(v.sd_pp, "pp")),
            ("95% interval (pp)", True, lambda v: interval(v.sd_ci_low_pp, v.sd_ci_high_pp, "pp")),
            ("Variance (pp²)", True, lambda v: number(v.variance_pp2, "pp2")),
            ("Share (%)", True, lambda v: number(v.share, "share")),
        ],
        analysis.variance_components,
    )


def omnibus_table(analysis: Analysis) -> Table:
    """Joint tests of the models' terms."""

    def freedom(row: Omnibus) -> str:
        ends = (number(row.df_num, "df"), "" if row.df_den is None else number(row.df_den, "df"))
        return ", ".join(filter(None, ends))

    return build(
        "omnibus",
        "Joint tests of moderation under all methods at once. The verdicts rest on the contrasts, not on these.",
        [
            ("Model and term", False, lambda o: f"{fit_name(o)}: {o.term}"),
            ("Test", False, lambda o: "likelihood ratio" if o.test == "LRT" else o.test),
            ("Statistic", True, lambda o: number(o.statistic, "statistic")),
            ("df", True, freedom),
            ("Reference", False, lambda o: o.df_method),
            ("p", True, lambda o: number(o.p, "p")),
            ("Simulation error of p", True, lambda o: number(o.p_mc_se, "p")),
            ("Draws", True, lambda o: number(o.draws, "plain")),
            ("Runs", True, lambda o: number(o.n, "plain")),
        ],
        analysis.omnibus,
    )


def run_table(runs: pd.DataFrame, metric: str, not_shown: str = "") -> Table:
    """Every row of a checked runs table, accuracies in percent, in canonical order.

    Args:
        runs: The checked table; of more than `MOST_ROWS` rows the search's candidates are left out.
        metric: Column analysed; one of the user's own gets a column here too.
        not_shown: Sentence on runs that are not in `runs`.
    """
    columns: list[Spec[dict[Hashable, Any]]] = [
        ("Run", True, lambda r: str(r["number"])),
        ("Stage", False, lambda r: r["stage"]),
        ("Cell", False, lambda r: cell_name(r["teacher"], r["student"], r["method"])),
        ("Seed", True, lambda r: str(r["seed"])),
        ("Test, best (%)", True, lambda r: percent(r["test_acc_best"])),
        ("Test, last (%)", True, lambda r: percent(r["test_acc_final"])),
        ("Validation (%)", True, lambda r: percent(r["val_acc"])),
        ("Best epoch", True, lambda r: number(r["best_epoch"], "plain")),
        ("of", True, lambda r: number(r["epochs"], "plain")),
        (ALPHA, True, lambda r: number(r["alpha"], "plain")),
        ("T", True, lambda r: number(r["temperature"], "plain")),
        ("Stem", False, lambda r: r["stem"] or MISSING),
    ]
    measured: dict[str, Spec[dict[Hashable, Any]]] = {
        "agreement": ("Agreement (%)", True, lambda r: percent(r["agreement"])),
        "kl_t1": ("KL, T = 1 (nats)", True, lambda r: number(r["kl_t1"], "fine")),
        "kl_t4": ("KL, T = 4 (nats)", True, lambda r: number(r["kl_t4"], "fine")),
        "ece": ("Calibration error (%)", True, lambda r: percent(r["ece"])),
    }
    columns += [spec for column, spec in measured.items() if runs[column].notna().any() and column != metric]
    if runs["other_hyperparameters"].any():
        columns.insert(11, ("Others", False, lambda r: r["other_hyperparameters"] or MISSING))
    if runs["teacher_seed"].notna().any():
        columns.insert(3, ("Teacher's seed", True, lambda r: number(r["teacher_seed"], "plain")))
    if metric not in ACCURACIES:
        columns.append((f"{metric} (%)", True, lambda r: percent(r[metric])))
    if runs["run_id"].any():
        columns.append(("Run folder", False, lambda r: r["run_id"] or MISSING))
    if runs["weights_sha256"].any():
        columns.append(("Weights (SHA-256)", False, lambda r: r["weights_sha256"][:DIGEST_LENGTH] or MISSING))
    shown = runs[runs["stage"] != "select"] if len(runs) > MOST_ROWS else runs
    if len(shown) < len(runs):
        not_shown = f"{len(runs) - len(shown)} candidates of the search are left out here. {not_shown}".strip()
    rows = numbered(shown, runs).astype(object)
    records = rows.where(rows.notna(), None).to_dict("records")
    caption = f"{RUNS_CAPTION.replace('Every row', 'Rows')} {not_shown}" if not_shown else RUNS_CAPTION
    return build("runs", caption, columns, records, lambda r: f"run-{r['number']}")


def numbered(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows with the number, counted from 1, under which a reader finds them in the table of all runs.

    Args:
        rows: Some or all rows of `runs`, in any order.
        runs: The runs table.
    """
    numbers = pd.Series(range(1, len(runs) + 1), index=runs.index)
    return rows.assign(number=numbers.loc[rows.index])


def percent(fraction: float | None) -> str:
    """An accuracy, given as a fraction, in percent."""
    return number(None if fraction is None else 100 * fraction, "pct")


def degrees(df: float, method: str) -> str:
    """Degrees of freedom and how they were obtained: `34.2 KR`."""
    return f"{number(df, 'df')} {df_method(method)}"


def fit_name(row: Fitted, response: str = "") -> str:
    """Which fit a row comes from: the model, its response where it needs saying, its rows, and how it was fitted."""
    return ", ".join(filter(None, (plain_model(row.model), response, subset_name(row.subset), _how_fitted(row))))


def told_apart(name: str, row: Fitted) -> str:
    """A row's name with what tells it from other rows of that name: the runs used, and which fit it is."""
    how = _how_fitted(row)
    return ", ".join(filter(None, (name, subset_name(row.subset)))) + (f" ({how})" if how else "")


def _how_fitted(row: Fitted) -> str:
    return "refit" if is_refit(row.model) else "singular fit" if row.singular else ""
