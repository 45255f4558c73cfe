"""`harness plan`: every phase, cell and run, and what it will cost."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON, for machines.")] = False,
    verbose: Annotated[bool, typer.Option("--runs", help="Every run, not only cells.")] = False,
    workers: Annotated[
        list[str] | None,
        typer.Option(metavar="N[,N...]", help="Also how long it takes with so many runs at once; may be repeated."),
    ] = None,
) -> None:
    """Show the study: its phases, cells and runs, which are done, stale, failed or missing, and what they take.

    In a cell's line, t0-2 are the seeds of its teachers and s0-9 its own.

    \b
    Example:
      harness plan
      harness plan --profile paper --runs
      harness plan --json | jq .left
      harness plan --profile paper --workers 8,24              and 1, 2, 4, ... as far as more help
    """  # noqa: D301 - \b keeps line breaks in the help
    from harness.planning import overview, render_text
    from harness.study.load import load_study, resolve_profile
    from harness.workspace import Workspace

    counts = [_count(word) for words in workers or [] for word in words.split(",")]
    name = resolve_profile(profile)
    found = overview(load_study(name), Workspace(name), counts)
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo(render_text(found, runs=verbose))


def _count(word: str) -> int:
    if not word.strip().isdecimal() or int(word) < 1:
        raise typer.BadParameter(
            f"expected numbers of runs at once, above 0, with commas between them (8,24), found {word!r}.",
            param_hint="--workers",
        )
    return int(word)
