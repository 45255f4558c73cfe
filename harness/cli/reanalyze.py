"""`harness reanalyze`: what the published runs support, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.analyze import Claims, Json, Latex, Margin, Seed

PUBLISHED_TITLE = "Student capacity and the gain from knowledge distillation: the published runs"
DEFAULT_OUT = Path("results/published")


def reanalyze(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = DEFAULT_OUT,
    margin: Margin = None,
    claims: Claims = None,
    seed: Seed = 0,
    json: Json = False,
    latex: Latex = False,
) -> None:
    """Put the 126 published runs of the paper, and its first version's table, through the whole analysis.

    No training, no PyTorch, seconds. The runs are part of kdcap (source and licence: reference/README.md). Prints one
    screen, and writes analysis.json and its tables as `harness analyze` does, and the report (not with --json).

    \b
    Example:
      harness reanalyze
      harness reanalyze --out published --latex
      harness reanalyze --json | jq '.claims[] | {id, verdict, statement}'
    """  # noqa: D301 - \b keeps line breaks in the help
    from analysis.analyze import DEFAULT_MARGIN_PP
    from harness.analysing import analyse_files
    from harness.claims import REGISTER
    from harness.cli.analyze import checked_margin, show, write
    from harness.reporting import write_report
    from harness.verify.reference import PUBLISHED, RUNS, V1_TABLE, find_reference

    result = analyse_files(
        find_reference(PUBLISHED) / RUNS,
        margin_pp=checked_margin(DEFAULT_MARGIN_PP if margin is None else margin),
        claims=claims or REGISTER,
        history=V1_TABLE,
        seed=seed,
    )
    write(result, out, latex=latex)
    page = out / "report.html"
    if not json:
        runs = find_reference(PUBLISHED) / RUNS
        write_report(runs, out, page, title=PUBLISHED_TITLE)
    show(result, out, json=json, where=f"{out}, with the report {page.name}")
