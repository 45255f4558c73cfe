"""From files to a report: an analysis, the runs behind it, and what lies beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.analyze import DEFAULT_MARGIN_PP
from analysis.estimates import estimate_all
from analysis.results import Analysis
from analysis.runs.columns import ACCURACIES
from analysis.runs.metric import Metric
from analysis.runs.reach import first_seeds
from analysis.runs.table import finals
from harness.analysis_files import read_analysis
from harness.beside import read_coverage, read_curves
from harness.claims import read_claims
from harness.collect import RUNS_SHA256
from harness.errors import KdcapError
from harness.files import sha256_of_file, write_json, write_whole
from harness.provenance import provenance
from harness.tables import read_runs
from harness.verify.reference import PUBLISHED, RUNS, V1_TABLE, ReferenceCard, find_reference, read_card
from harness.workspace import COVERAGE, CURVES, Workspace
from report.context import Published, ReportContext, Verification
from report.render import render

DIGITS = "These are digits, and small networks: a test of the pipeline, not evidence about CIFAR-10."


def write_report(
    runs: Path, analysis: Path, page: Path, *, title: str, workspace: Workspace | None = None, evidence: bool = True
) -> Sequence[Path]:
    """Render a report and write its three files.

    Args:
        runs: Runs table; environment, curves, coverage and verdict are taken from beside it, where they belong to it.
        analysis: Folder of its analysis.
        page: The page; the .md and .json go beside it.
        title: Heading of the page.
        workspace: Files of its profile; None for a table that belongs to no profile.
        evidence: Whether the profile says that its numbers are evidence, and no test of the pipeline.

    Returns:
        The files.

    Raises:
        KdcapError: A file is missing or damaged, or the table is of another profile.
        analysis.errors.TableError: The runs table cannot be read.
    """
    if not runs.is_file():
        raise KdcapError(f"no runs table at {runs}; make it with `harness collect` or name another with --runs.")
    found = read_analysis(analysis)
    every = read_runs(runs, Metric(found.metric, found.higher_is_better))
    table, cut = first_seeds(every)
    digest = sha256_of_file(runs)
    dataset, profile = table["dataset"].iloc[0], table["profile"].iloc[0]
    if workspace is not None and profile not in ("", workspace.profile):
        raise KdcapError(
            f"{runs}: expected runs of profile {workspace.profile}, found those of {profile}; leave --profile out, or "
            "name the profile that they belong to."
        )
    card = read_card(find_reference(PUBLISHED))
    context = ReportContext(
        title=title,
        profile=profile,
        dataset=dataset or "dataset not named",
        banner=banner_of(dataset, profile, evidence=evidence),
        environment=_environment(runs.parent / "environment.json", digest)
        | (_facts(card) if card.runs_sha256 == digest else {})
        | {"Runs table, SHA-256": digest}
        | provenance(runs, workspace),
        verification=_verification(runs.parent / "verdict.json", digest),
        published=None if card.runs_sha256 == digest else _published(found, card),
        curves=read_curves(runs.parent / CURVES, table, part=bool(cut)),
        coverage=read_coverage(runs.parent / COVERAGE, table, part=bool(cut)),
        not_shown=f"{len(every) - len(table)} final runs of later seeds are not on this page; {runs.name} has them."
        if cut
        else "",
    )
    rendered = render(found, table, context)
    write_whole(page, rendered.html)
    write_whole(page.with_suffix(".md"), rendered.markdown)
    write_json(page.with_suffix(".json"), rendered.json)
    return [page, page.with_suffix(".md"), page.with_suffix(".json")]


def banner_of(dataset: str, profile: str, *, evidence: bool) -> str:
    """What the numbers of a table are not; empty where they are the published study's, or say of themselves nothing.

    Args:
        dataset: As the table gives it.
        profile: Likewise.
        evidence: Whether its profile calls it evidence.
    """
    if dataset == "digits":
        return DIGITS
    if not evidence:
        return f"Profile {profile} is a test of the pipeline: these numbers are no evidence."
    return "" if profile in ("", "paper") else f"Profile {profile}: a study of its own, not the published one."


def _facts(card: ReferenceCard) -> dict[str, str]:
    """Where a reference's runs come from."""
    return {
        "source": card.source.title,
        "location": f"{card.source.location}, {card.source.version}",
        "licence of the runs": card.source.licence,
        "hardware": card.environment.hardware,
        "software": card.environment.software,
        "precision": card.environment.precision,
    }


def _published(found: Analysis, card: ReferenceCard) -> Published | None:
    """What the published runs say by the same metric; None where nothing of it can stand beside this analysis.

    That is where they have no such metric, or have no cell in common with these.
    """
    if found.metric not in ACCURACIES:
        return None
    runs = read_runs(find_reference(PUBLISHED) / RUNS)
    theirs = finals(runs)
    cells = set(zip(theirs["teacher"], theirs["student"], theirs["method"], strict=True))
    if cells.isdisjoint((cell.teacher, cell.student, cell.method) for cell in found.cells):
        return None
    metric = Metric(found.metric, found.higher_is_better)
    there = estimate_all(runs, metric=metric, history=pd.read_csv(V1_TABLE), second=False)
    source = f"{card.title} ({card.source.location}, {card.source.version})"
    claims = there.judged(read_claims(), DEFAULT_MARGIN_PP)
    return Published(source, DEFAULT_MARGIN_PP, tuple(there.contrasts), claims)


def _environment(path: Path, digest: str) -> dict[str, str]:
    """What `harness collect` noted of the machine, if it noted it of this very table; empty otherwise."""
    found = _read_object(path)
    for name, value in found.items():
        if not isinstance(value, str):
            raise KdcapError(f"{path}: expected text for {name}, found {value!r}; run `harness collect` again.")
    return found if found.pop(RUNS_SHA256, None) == digest else {}


def _verification(path: Path, digest: str) -> Verification | None:
    """The verdict beside the runs table, if it was given on this very table."""
    found = _read_object(path)
    if found.get("runs_sha256") != digest:
        return None
    try:
        verdict = str(found["verdict"])
        sentence = str(found["sentence"]).removeprefix(verdict).lstrip(": ")
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
