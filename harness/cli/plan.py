"""`harness plan`: every phase, cell and run, and what it will cost."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON, for machines.")] = False,
    verbose: Annotated[bool, typer.Option("--runs", help="Every run, not only cells.")] = False,
) -> None:
    """Show the study: its phases, cells and runs, which are done, stale, failed or missing, and what they take.

    In a cell's line, t0-2 are the seeds of its teachers and s0-9 its own.

    \b
    Example:
      harness plan
      harness plan --profile paper --runs
      harness plan --json | jq .left
    """  # noqa: D301 - \b keeps line breaks in the help
    from harness.planning import overview, render_text
    from harness.study.load import load_study, resolve_profile
    from harness.workspace import Workspace

    name = resolve_profile(profile)
    found = overview(load_study(name), Workspace(name))
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(render_text(found, runs=verbose))
