"""`harness reference`: the references that `harness verify` judges by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make and list the references that `harness verify` judges by.", no_args_is_help=True)
UNKNOWN = "not recorded"


@app.callback()
def _root() -> None:
    """Make and list the references that `harness verify` judges by."""


@app.command()
def freeze(
    *,
    runs: Annotated[Path, typer.Option(metavar="FILE", help="Runs table, CSV; its finals and teachers are kept.")],
    name: Annotated[str, typer.Option(help="Name of the reference: lower-case letters, digits, dots, dashes.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds references.")] = Path("reference"),
    title: Annotated[str | None, typer.Option(help="One line for people (default: the name).")] = None,
    location: Annotated[str, typer.Option(help="Where the runs come from: a paper, a repository.")] = UNKNOWN,
    version: Annotated[str, typer.Option(help="Version or commit of that source.")] = UNKNOWN,
    licence: Annotated[str, typer.Option(help="Licence of the runs.")] = UNKNOWN,
    hardware: Annotated[str, typer.Option(help="Device that the runs were made on.")] = UNKNOWN,
    software: Annotated[str, typer.Option(help="Versions that the runs were made with.")] = UNKNOWN,
    precision: Annotated[str, typer.Option(help="Arithmetic of the runs, e.g. fp32.")] = UNKNOWN,
    margin: Annotated[float | None, typer.Option(metavar="PP", help="Margin of accuracies, percentage points.")] = None,
    effects_margin: Annotated[
        float, typer.Option(metavar="PP", help="Margin of gains and claims: the smallest effect that matters.")
    ] = 0.2,
    pass_probability: Annotated[
        float | None,
        typer.Option(metavar="P", help="Set margins so that an exact replicate passes this often (default: 0.9)."),
    ] = None,
    between_study_sd: Annotated[
        float, typer.Option(metavar="PP", help="Assumed sd of a cell's true mean from study to study.")
    ] = 0.0,
    between_study_note: Annotated[
        str, typer.Option(metavar="TEXT", help="Where that sd comes from.")
    ] = "assumed when frozen, not estimated: one study says nothing about others",
    who: Annotated[str | None, typer.Option(help="Who freezes, for the log (default: $USER).")] = None,
    why: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the log; needed to replace.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a reference that is there already.")] = False,
) -> None:
    """Freeze the final runs of a table as a reference, with the rule they will be judged by.

    The margin is fixed now, before any study is judged. Both files carry a digest that is checked whenever
    they are read, and every change stays in the reference's log.

    \b
    Example:
      harness reference freeze --runs results/quick/runs.csv --name my-lab --licence CC0
      harness reference freeze --runs more.csv --name my-lab --replace --why "five more seeds"
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    import datetime as dt
    import os

    from harness.errors import ReferenceProblem
    from harness.verify import freeze as freezing

    if margin is not None and pass_probability is not None:
        raise ReferenceProblem("--margin and --pass-probability both set the margin; give one of them.")
    title = title or name
    card = freezing.freeze(
        runs,
        out / name,
        title=title,
        source={"title": title, "location": location, "version": version, "licence": licence},
        environment={"hardware": hardware, "software": software, "precision": precision},
        margin_pp=margin,
        effects_margin_pp=effects_margin,
        pass_probability=0.9 if pass_probability is None else pass_probability,
        between_study_sd_pp=between_study_sd,
        between_study_note=between_study_note,
        who=who or os.environ.get("USER") or "unknown",
        when=dt.datetime.now(dt.UTC).date(),
        why=why,
        replace=replace,
    )
    typer.echo(
        f"Frozen: {out / name}, margin of accuracies {card.margins.accuracies_pp:g} pp ({card.margins_note}), "
        f"digest {card.log[-1].new_sha256[:12]}."
    )


@app.command(name="list")
def list_all() -> None:
    """List the references that can be judged by: their data, runs, margins and last change.

    \b
    Example:
      harness reference list
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    from harness.verify.cells import labels_of
    from harness.verify.reference import known_references, read_reference

    for name in known_references():
        found = read_reference(name)
        card, last = found.card, found.card.log[-1]
        typer.echo(f"{name}: {card.title}")
        typer.echo(
            f"  {card.dataset}, {len(set(labels_of(found.finals)))} cells of {len(found.finals)} final runs; margins "
            f"{card.margins.accuracies_pp:g} pp (accuracies), {card.margins.effects_pp:g} pp (gains, claims); "
            f"licence {card.source.licence}; from {card.source.location}"
        )
        typer.echo(f"  {last.when} by {last.who}: {last.why} ({last.new_sha256[:12]})")
