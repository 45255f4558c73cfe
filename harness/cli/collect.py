"""`harness collect`: from run folders to the runs table."""

from __future__ import annotations

from typing import Annotated

import typer


def collect(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Write what is there, and name what is not.")] = False,
) -> None:
    """Check every run folder and write results/PROFILE/runs.csv, a line for each entry of the plan.

    Beside it: correct.npz (which test images each run classifies rightly), curves.csv (every epoch of every run),
    coverage.csv (what became of every entry of the plan), convergence.csv (mean validation accuracy an epoch),
    metrics.json and environment.json.

    \b
    Example:
      harness collect
      harness collect --profile paper --partial
    """  # noqa: D301 - \b keeps line breaks in the help
    from harness.collect import collect as collect_runs
    from harness.study.load import load_study, resolve_profile
    from harness.workspace import Workspace

    name = resolve_profile(profile)
    workspace = Workspace(name)
    found = collect_runs(load_study(name), workspace, partial=partial)
    for missing in found.left_out:
        typer.echo(f"left out: {missing}", err=True)
    typer.echo(f"{workspace.runs_table}: {found.entries} entries, {found.trainings} distinct trainings")
