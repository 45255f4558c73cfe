"""`harness report`: one page for a doubting reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import KdcapError

if TYPE_CHECKING:
    from analysis.results import Analysis
    from report.context import Published, Verification

TITLE = "Student capacity and the gain from knowledge distillation"
NO_EVIDENCE = "These are digits, and small networks: a test of the pipeline, not evidence about CIFAR-10."


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
) -> None:
    """Write the report: the answer first, then what it rests on, down to every run.

    One HTML file that needs no network and no script, on a screen or on paper. Beside it, under the same
    name, a short .md for a pull request and a .json for machines. The published runs stand next to these
    where both estimate the same thing. The same results give the same bytes.

    \b
    Example:
      harness report                                         the results of the current profile
      harness report --runs mine.csv --out mine.html         your own runs, after `harness analyze`
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    from analysis.runs.metric import Metric
    from harness.analysis_files import read_analysis
    from harness.files import sha256_of_file, write_json, write_whole
    from harness.study.load import load_study, resolve_profile
    from harness.tables import read_runs
    from harness.workspace import Workspace
    from report.context import ReportContext
    from report.render import render, render_json, render_markdown

    if runs is None or profile is not None:
        profile = resolve_profile(profile)
        workspace = Workspace(profile)
        runs, analysis = runs or workspace.runs_table, analysis or workspace.analysis
    analysis = analysis or runs.parent / "analysis"
    page = out or analysis.parent / "report.html"
    if page.suffix != ".html":
        raise KdcapError(f"--out: expected a name ending in .html, found {page}; the .md and .json go beside it.")

    if not runs.is_file():
        raise KdcapError(f"no runs table at {runs}; make it with `harness collect` or name another with --runs.")
    found = read_analysis(analysis)
    table = read_runs(runs, Metric(found.metric, found.higher_is_better))
    digest = sha256_of_file(runs)
    dataset = table["dataset"].iloc[0]
    evidence = dataset != "digits" if profile is None else load_study(profile).evidence
    context = ReportContext(
        title=title,
        profile=table["profile"].iloc[0],
        dataset=dataset or "dataset not named",
        banner="" if evidence else NO_EVIDENCE,
        environment=_environment(runs.parent / "environment.json") | {"Runs table, SHA-256": digest},
        verification=_verification(runs.parent / "verdict.json", digest),
        published=_published(found, digest),
    )
    write_whole(page, render(found, table, context))
    write_whole(page.with_suffix(".md"), render_markdown(found, context))
    write_json(page.with_suffix(".json"), render_json(found, context))
    typer.echo(f"Written: {page}, {page.with_suffix('.md').name}, {page.with_suffix('.json').name}.")


def _published(found: Analysis, digest: str) -> Published | None:
    """What the published runs say by the same metric; None where nothing of it can stand beside this analysis.

    That is where they are the very runs shown, have no such metric, or have no cell in common with these.
    """
    import pandas as pd

    from analysis.analyze import DEFAULT_MARGIN_PP
    from analysis.estimates import estimate_all
    from analysis.runs.columns import ACCURACIES
    from analysis.runs.metric import Metric
    from analysis.runs.table import finals
    from harness.claims import read_claims
    from harness.tables import read_runs
    from harness.verify.reference import PUBLISHED, RUNS, V1_TABLE, find_reference, read_card
    from report.context import Published

    folder = find_reference(PUBLISHED)
    card = read_card(folder)
    if card.runs_sha256 == digest or found.metric not in ACCURACIES:
        return None
    runs = read_runs(folder / RUNS)
    theirs = finals(runs)
    cells = set(zip(theirs["teacher"], theirs["student"], theirs["method"], strict=True))
    if cells.isdisjoint((cell.teacher, cell.student, cell.method) for cell in found.cells):
        return None
    metric = Metric(found.metric, found.higher_is_better)
    there = estimate_all(runs, metric=metric, history=pd.read_csv(V1_TABLE))
    source = f"{card.title} ({card.source.location}, {card.source.version})"
    claims = there.judged(read_claims(), DEFAULT_MARGIN_PP)
    return Published(source, DEFAULT_MARGIN_PP, tuple(there.contrasts), claims)


def _environment(path: Path) -> dict[str, str]:
    """What `harness collect` noted of the machine; empty for runs that came without."""
    found = _read_object(path)
    for name, value in found.items():
        if not isinstance(value, str):
            raise KdcapError(f"{path}: expected text for {name}, found {value!r}; run `harness collect` again.")
    return found


def _verification(path: Path, digest: str) -> Verification | None:
    """The verdict beside the runs table, if it was given on this very table."""
    from report.context import Verification

    found = _read_object(path)
    if found.get("runs_sha256") != digest:
        return None
    try:
        verdict = str(found["verdict"])
        sentence = str(found["sentence"]).removeprefix(f"{verdict}: ")
        return Verification(verdict, sentence[:1].upper() + sentence[1:])
    except KeyError as missing:
        raise KdcapError(f"{path}: key {missing} is missing; make it again with `harness verify`.") from None


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise KdcapError(f"{path} is no JSON file ({error}); delete it and make it again.") from None
    if not isinstance(content, dict):
        raise KdcapError(f"{path}: expected a JSON object, found {type(content).__name__}; make it again.")
    return content
