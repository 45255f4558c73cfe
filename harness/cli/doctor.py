"""`harness doctor`: is this machine fit to run the study?"""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON, for machines.")] = False,
) -> None:
    """Look over this machine: would the study run here, and what do its bits depend on?

    Versions against the locks, device, threads, every thing that changes bits, determinism, the allocator, the study's
    methods, disk, images.

    Exit code 1 if something must be fixed before the study can run, else 0.

    \b
    Example:
      harness doctor
      harness doctor --profile paper --json
    """  # noqa: D301 - \b keeps line breaks in the help
    import json
    from dataclasses import asdict

    from harness.doctor import examine
    from harness.study.load import load_study, resolve_profile

    findings = examine(load_study(resolve_profile(profile)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.status:<8} {finding.topic:<12} {finding.found}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
