"""`harness analyze`: from a runs table to verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import StudyError

if TYPE_CHECKING:
    from analysis.results import Analysis


def analyze(
    *,
    profile: Annotated[
        str | None, typer.Option(help="Profile whose runs to analyse; default: the one in params.yaml.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="A runs table of your own (CSV); no profile is needed then.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; default: `analysis` beside the runs table.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Smallest difference that matters, in percentage points; default: the profile's, or 0.2."),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(metavar="SMALLER,LARGER", help="Students to compare; default: two ResNets by depth."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print analysis.json instead of the summary.")] = False,
) -> None:
    """Say what a runs table supports: gains, moderation by capacity, and a verdict on each claim.

    \b
    Fits `acc ~ student * method + (1 | student:seed)` by REML to the rows of stage `final` and writes
    analysis.json and its tables (contrasts, emmeans, variance_components, omnibus, claims, models, cells)
    as CSV. Accuracies in the table are fractions; everything written is in percent or percentage points.

    \b
    Example:
      harness analyze                                 the runs of the current profile
      harness analyze --runs mine.csv --margin 0.3    your own runs, any trainer
      harness analyze --runs mine.csv --order small,big --json
    """  # noqa: D301 - \b keeps line breaks in the help
    from analysis.analyze import DEFAULT_MARGIN_PP
    from analysis.analyze import analyze as analyze_runs
    from harness.analysis_files import JSON_NAME, write_analysis
    from harness.tables import read_runs

    if runs is None or profile is not None:
        from harness.study.load import load_study, resolve_profile
        from harness.workspace import Workspace

        profile = resolve_profile(profile)
        margin = load_study(profile).margins.gain_pp if margin is None else margin
        runs = runs or Workspace(profile).runs_table
    margin = DEFAULT_MARGIN_PP if margin is None else margin
    if not 0 < margin < 100:  # noqa: PLR2004 - percentage points
        raise StudyError(f"--margin: expected percentage points between 0 and 100, found {margin:g}.")
    students = [name.strip() for name in order.split(",")] if order else None
    result = analyze_runs(read_runs(runs), margin_pp=margin, student_order=students)
    out = out or runs.parent / "analysis"
    write_analysis(out, result)
    if json:
        typer.echo((out / JSON_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(_summary(result))
        typer.echo(f"\nwritten to {out}")


def _summary(result: Analysis) -> str:
    """The answer, the claims as a table, and what a reader must know."""
    lines = [*result.answer, ""]
    lines.append(f"{'claim':<36}{'verdict':<13}{'pp':>8}  95% interval, adjusted")
    for claim in result.claims:
        numbers = ""
        if claim.estimate_pp is not None:
            numbers = f"{claim.estimate_pp:>+8.3f}  {claim.ci_low_pp:+.3f} to {claim.ci_high_pp:+.3f}"
        lines.append(f"{claim.id:<36}{claim.verdict:<13}{numbers}".rstrip())
    lines += ["", f"{result.n_runs} runs, margin {result.margin_pp:g} pp. Note:"]
    lines += [f"- {flag}" for flag in result.flags]
    return "\n".join(lines)
