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
from report import markdown, numbers, tables, words
from report.context import ReportContext
from report.figures.forest import forest
from report.figures.interaction import interaction

SCHEMA = "kdcap.report/1"


def render(analysis: Analysis, runs: pd.DataFrame, context: ReportContext) -> str:
    """Render the report as one self-contained HTML page.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it, as `analysis.table.check_runs` returns it (accuracies are fractions).
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
            published_claims={claim.id: claim for claim in context.published.claims} if context.published else {},
            pictures=[forest(analysis, context.published), interaction(analysis, runs)],
            evidence=[
                *contrast_tables(analysis, context.published),
                tables.cell_table(analysis),
                tables.emmean_table(analysis),
                tables.variance_table(analysis),
                tables.omnibus_table(analysis),
            ],
            limits=(*analysis.flags, *words.LIMITS),
            definitions=words.DEFINITIONS,
            runs=tables.run_table(runs),
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
    """The report's main numbers for machines, in the units that the keys name."""
    contrasts = [dataclasses.asdict(contrast) for contrast in analysis.contrasts]
    return {
        "schema": SCHEMA,
        "title": context.title,
        "profile": context.profile,
        "dataset": context.dataset,
        "banner": context.banner,
        "answer": list(analysis.answer),
        "flags": list(analysis.flags),
        "claims": [dataclasses.asdict(claim) for claim in analysis.claims],
        "moderation": [row for row in contrasts if row["contrast"].startswith("moderation:")],
        "gains": [row for row in contrasts if row["contrast"].startswith("gain:")],
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
    return tuple(asked) or analysis.claims[:1]


def contrast_tables(analysis: Analysis, published: Analysis | None) -> tuple[tables.Table, tables.Table]:
    """The two tables of contrasts: what the question asks, and the gains it rests on."""
    return (
        tables.contrast_table(analysis, published, "moderation", "Moderation: differences between gains"),
        tables.contrast_table(analysis, published, "gain", "Gains over the student trained alone"),
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
        "subset_name": words.subset_name,
        "svg": Markup,
    }
    made.globals |= {"estimate": tables.estimate, "verdict_mark": words.VERDICT_MARKS.__getitem__}
    return made
