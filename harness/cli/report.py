"""`harness report`: one page for a doubting reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import KdcapError

TITLE = "Student capacity and the gain from knowledge distillation"


def report(
    *,
    profile: Annotated[str | None, typer.Option(help="Profile to report; default: the one in params.yaml.")] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A runs table of your own; no profile is needed then.")
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What `harness analyze` wrote; default: `analysis` beside the runs."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page to write; default: report.html beside the analysis' folder."),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = TITLE,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report: the answer first, then what it rests on, down to every run.

    One HTML file that needs no network and no script, on a screen or on paper; with scripts, its tables can be sorted.
    Beside it, under the same name, a short .md for a pull request and a .json for machines. The published runs stand
    next to these where both estimate the same thing. The same results give the same bytes.

    \b
    Example:
      harness report                                         the results of the current profile
      harness report --open                                  and look at it
      harness report --runs mine.csv --out mine.html         your own runs, after `harness analyze`
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    from harness.reporting import write_report
    from harness.study.load import load_study, resolve_profile
    from harness.workspace import Workspace

    workspace, evidence = None, True
    if runs is None or profile is not None:
        profile = resolve_profile(profile)
        workspace, evidence = Workspace(profile), load_study(profile).evidence
        runs, analysis = runs or workspace.runs_table, analysis or workspace.analysis
    analysis = analysis or runs.parent / "analysis"
    page = out or analysis.parent / "report.html"
    if page.suffix != ".html":
        raise KdcapError(f"--out: expected a name ending in .html, found {page}; the .md and .json go beside it.")
    files = write_report(runs, analysis, page, title=title, workspace=workspace, evidence=evidence)
    typer.echo(f"Written: {files[0]}, {', '.join(path.name for path in files[1:])}.")
    if show:
        typer.launch(page.resolve().as_uri())
