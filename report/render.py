"""The front door: one analysis, one page. Same input, same bytes: no clock, no random names, no network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.results import Analysis, Claim
from report import evidence, markdown, numbers, tables, words
from report.context import Published, ReportContext
from report.drawers import drawers
from report.estimands import GAINS, MODERATION
from report.figures.forest import forest
from report.figures.interaction import interaction

SCHEMA = "kdcap.report/2"


def render(analysis: Analysis, runs: pd.DataFrame, context: ReportContext) -> str:
    """Render the report as one self-contained HTML page.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it, as `analysis.runs.table.check_runs` returns it (accuracies are fractions).
        context: Where the runs come from, and what they may be compared with.

    Returns:
        A page that needs no network and no script, under a Content-Security-Policy that allows neither.

    Raises:
        jinja2.UndefinedError: The template asks for something that is not there.
    """
    style = (resources.files("report") / "templates" / "style.css").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            analysis=analysis,
            context=context,
            question=words.QUESTION,
            headline=headline(analysis),
            labels=words.contrast_labels(analysis),
            published_claims={claim.id: claim for claim in context.published.claims} if context.published else {},
            pictures=[forest(analysis, context.published), interaction(analysis, runs)],
            evidence=[*contrast_tables(analysis, context.published), tables.cell_table(analysis)],
            drawers=drawers(analysis),
            engines=evidence.engine_table(analysis),
            limits=(*analysis.flags, *words.LIMITS),
            definitions=words.definitions(analysis),
            runs=tables.run_table(runs, analysis.metric),
            style=Markup(style),  # noqa: S704 - the package's own style sheet
            style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        )
    )


def render_markdown(analysis: Analysis, context: ReportContext) -> str:
    """Render answer, claims, moderation and gains as short markdown, for a pull request or a step summary."""
    parts = [f"# {markdown.escape(context.title)}"]
    if context.banner:
        parts.append(f"> **{markdown.escape(context.banner)}**")
    parts.append(markdown.escape(numbers.typeset(" ".join(analysis.answer))))
    shown = (tables.claim_table(analysis), *contrast_tables(analysis, context.published))
    parts += [f"## {content.caption}\n\n{markdown.table(content)}" for content in shown]
    return "\n\n".join(parts) + "\n"


def render_json(analysis: Analysis, context: ReportContext) -> dict[str, Any]:
    """The report's main numbers for machines, in the units that the keys name (a claim names its own)."""

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


def contrast_tables(analysis: Analysis, published: Published | None) -> tuple[tables.Table, tables.Table]:
    """The two tables of contrasts: what the question asks, and the gains it rests on."""
    return (
        tables.contrast_table(analysis, published, "moderation", "Moderation: differences between gains", MODERATION),
        tables.contrast_table(analysis, published, "gain", "Gains over the student trained alone", GAINS),
    )


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
    }
    made.globals |= {
        "claim_statement": words.claim_statement,
        "interval": numbers.interval,
        "verdict_mark": words.VERDICT_MARKS.__getitem__,
    }
    return made
