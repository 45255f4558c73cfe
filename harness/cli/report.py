"""`harness report`: one page for a doubting reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import KdcapError

if TYPE_CHECKING:
    from analysis.results import Analysis
    from report.context import Verification

TITLE = "Student capacity and the gain from knowledge distillation"
PUBLISHED = "yasar2026-v2"
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

    table, found = read_runs(runs), read_analysis(analysis)
    digest = sha256_of_file(runs)
    published, source = _published(digest)
    dataset = table["dataset"].iloc[0]
    evidence = dataset != "digits" if profile is None else load_study(profile).evidence
    context = ReportContext(
        title=title,
        profile=table["profile"].iloc[0],
        dataset=dataset or "dataset not named",
        banner="" if evidence else NO_EVIDENCE,
        environment=_environment(runs.parent / "environment.json") | {"Runs table, SHA-256": digest},
        verification=_verification(runs.parent / "verdict.json", digest),
        published=published,
        published_source=source,
    )
    write_whole(page, render(found, table, context))
    write_whole(page.with_suffix(".md"), render_markdown(found, context))
    write_json(page.with_suffix(".json"), render_json(found, context))
    typer.echo(f"Written: {page}, {page.with_suffix('.md').name}, {page.with_suffix('.json').name}.")


def _published(digest: str) -> tuple[Analysis | None, str]:
    """Analysis of the published runs and where they come from; none if they are the very runs shown."""
    from analysis.analyze import analyze
    from harness.tables import read_runs
    from harness.verify.reference import RUNS, find_reference, read_card

    folder = find_reference(PUBLISHED)
    card = read_card(folder)
    if card.runs_sha256 == digest:
        return None, ""
    return analyze(read_runs(folder / RUNS)), f"{card.title} ({card.source.location}, {card.source.version})"


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
