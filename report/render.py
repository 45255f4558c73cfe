"""The front door: one analysis, one page. Same input, same bytes: no clock, no random names, no network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.results import Analysis, Claim
from report import downloads, markdown, numbers, tables, words
from report.contents import Contents, contents
from report.context import ReportContext
from report.estimands import GAINS, MODERATION

SCHEMA = "kdcap.report/3"


@dataclass(frozen=True)
class Rendered:
    """The report in its three forms.

    Attributes:
        html: One self-contained page that needs no network and no script, under a Content-Security-Policy that allows
            its own style and its own script, which sorts tables, and nothing else.
        markdown: Answer and claims, for a pull request or a step summary.
        json: All numbers of the page, for machines.
    """

    html: str
    markdown: str
    json: dict[str, Any]


def render(analysis: Analysis, runs: pd.DataFrame, context: ReportContext) -> Rendered:
    """Render the report.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it, as `analysis.runs.table.check_runs` returns it (accuracies are fractions).
        context: Where the runs come from, and what they may be compared with.

    Raises:
        jinja2.UndefinedError: The template asks for something that is not there.
    """
    shown = contents(analysis, runs, context)
    return Rendered(_html(analysis, context, shown), _markdown(analysis, context), _json(analysis, context, shown))


def _html(analysis: Analysis, context: ReportContext, shown: Contents) -> str:
    places = {anchor for table in shown.tables for anchor in table.anchors}
    places |= {tables.model_anchor(model) for model in analysis.models}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            analysis=analysis,
            context=context,
            question=words.QUESTION,
            headline=headline(analysis),
            labels=words.contrast_labels(analysis),
            claim_counts=words.claim_counts(analysis.claims),
            claims_csv=downloads.table_csv(tables.claim_table(analysis)),
            published_claims={claim.id: claim for claim in context.published.claims} if context.published else {},
            pictures=shown.pictures,
            figure_numbers={picture.id: number for number, picture in enumerate(shown.every_picture, 1)},
            evidence=shown.evidence,
            drawers=shown.drawers,
            engines=shown.engines,
            coverage=shown.coverage,
            places=places,
            limits=(*analysis.flags, *words.LIMITS),
            definitions=words.definitions(analysis),
            runs=shown.runs,
            style=_own("style.css"),
            script=_own("sort.js"),
        )
    )


def _own(name: str) -> Markup:
    """A file of the package's own, to stand in the page as it is."""
    return Markup((resources.files("report") / "templates" / name).read_text(encoding="utf-8"))  # noqa: S704 - ours


def _markdown(analysis: Analysis, context: ReportContext) -> str:
    """Render answer, headline claims and gains as short markdown, for a pull request or a step summary."""
    parts = [f"# {markdown.escape(context.title)}"]
    if context.banner:
        parts.append(f"> **{markdown.escape(context.banner)}**")
    parts.append(markdown.escape(numbers.typeset(words.spoken(" ".join(analysis.answer)))))
    if context.verification:
        told = f"{context.verification.verdict}. {context.verification.sentence}"
        parts.append(f"**Verification:** {markdown.escape(numbers.typeset(told))}")
    parts.append(f"{words.claim_counts(analysis.claims)} Those that were tested:")
    tested = [claim for claim in analysis.claims if claim.verdict != "not tested"]
    short = tables.claim_table(dataclasses.replace(analysis, claims=tuple(tested)))
    parts.append(markdown.table(tables.without(short, "Published with it")))  # prose; the page has it
    parts.append(f"{analysis.n_runs} runs analysed. The page has the evidence, the limits and every run.")
    return "\n\n".join(parts) + "\n"


def _json(analysis: Analysis, context: ReportContext, shown: Contents) -> dict[str, Any]:
    """All that the page says: main numbers unrounded, every table as shown, every figure's data.

    Units are in the keys and headings; a claim names its own.
    """

    def contrasts(families: tuple[str, ...]) -> list[dict[str, Any]]:
        return [dataclasses.asdict(row) for row in analysis.contrasts if row.family in families]

    return {
        "schema": SCHEMA,
        "title": context.title,
        "profile": context.profile,
        "dataset": context.dataset,
        "banner": context.banner,
        "metric": analysis.metric,
        "higher_is_better": analysis.higher_is_better,
        "answer": list(analysis.answer),
        "flags": list(analysis.flags),
        "claims": [dataclasses.asdict(claim) for claim in analysis.claims],
        "moderation": contrasts(MODERATION),
        "gains": contrasts(GAINS),
        "seeds_needed": [dataclasses.asdict(row) for row in analysis.seeds_needed],
        "models": [dataclasses.asdict(row) for row in analysis.models],
        "tables": {
            table.id: {
                "caption": table.caption,
                "columns": [column.heading for column in table.columns],
                "rows": [list(row) for row in table.rows],
            }
            for table in shown.tables
        },
        "figures": {
            picture.id: {
                "title": picture.title,
                "columns": list(picture.head),
                "rows": [list(row) for row in picture.rows],
            }
            for picture in shown.every_picture
        },
        "environment": dict(context.environment),
        "verification": dataclasses.asdict(context.verification) if context.verification else None,
    }


def headline(analysis: Analysis) -> tuple[Claim, ...]:
    """The claims that the question is about: moderation of gains, over all runs; or else the first claim."""
    asked = [
        claim
        for claim in analysis.claims
        if claim.subset == "all" and claim.contrast.startswith("moderation:") and "-none:" in claim.contrast
    ]
    tested = [claim for claim in asked if claim.verdict != "not tested"]
    return tuple(tested or asked) or analysis.claims[:1]


def environment() -> jinja2.Environment:
    """Templates with escaping on; a missing value stops the report instead of printing as nothing."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": numbers.number,
        "typeset": numbers.typeset,
        "fit_name": tables.fit_name,
        "response_name": words.response_name,
        "effect_unit": numbers.effect_unit,
        "held_against": tables.held_against,
        "svg": Markup,
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        "spoken": words.spoken,
        "table_csv": downloads.table_csv,
        "picture_csv": downloads.picture_csv,
        "seeds_to_settle": words.seeds_to_settle,
        "claim_place": partial(tables.anchor, "claim"),
        "claim_words_place": partial(tables.anchor, "claim-in-words"),
        "contrast_place": lambda claim: tables.contrast_anchor(claim.model, claim.metric, claim.subset, claim.contrast),
        "model_place": tables.model_anchor,
    }
    made.globals |= {
        "claim_statement": words.claim_statement,
        "interval": numbers.interval,
        "verdict_mark": words.VERDICT_MARKS.__getitem__,
    }
    return made
