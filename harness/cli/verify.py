"""`harness verify`: a verdict on a runs table, with an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import ReferenceProblem

if TYPE_CHECKING:
    from harness.verify.verdict import Verdict


def verify(
    *,
    profile: Annotated[str | None, typer.Option(help="Profile whose runs are judged (default: params.yaml's).")] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Runs table, CSV (default: results/PROFILE/runs.csv).")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Reference to judge by (default: the profile's).")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Where to write the verdict (default: results/PROFILE/verdict.json; nowhere with --runs).",
        ),
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Exit with 0 whatever the verdict is.")] = False,
) -> None:
    """Judge a runs table against a frozen reference: PASS, FAIL or INCONCLUSIVE.

    Cells of the final phase are compared by test accuracy at the best-validation checkpoint. FAIL means that
    a cell, or the mean over all cells, or the spread of runs differs from the reference by more than chance
    explains (5% false alarms in all), or that a run is recorded as not having opened the test set exactly twice.
    PASS means that every cell is shown to lie within the reference's margin. Anything else is INCONCLUSIVE, with
    the number of seeds that would decide. A subset of cells or of seeds is fine; another data set, stem or number
    of epochs is refused.

    \b
    Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 2 bad input.

    \b
    Example:
      harness verify
      harness verify --runs mine.csv --reference yasar2026-v2 --json verdict.json
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    from harness.files import sha256_of_file, write_json
    from harness.study.load import load_study, resolve_profile
    from harness.tables import read_runs
    from harness.verify.judge import judge_runs
    from harness.verify.reference import read_reference
    from harness.verify.verdict import SCHEMA
    from harness.workspace import Workspace

    if runs is None or reference is None:
        profile = resolve_profile(profile)
        reference = reference if reference is not None else load_study(profile).reference
    if runs is None:
        workspace = Workspace(str(profile))
        runs, json_file = workspace.runs_table, json_file or workspace.verdict
    table = read_runs(runs)
    if reference is None:
        sentence = f"Not judged: profile {profile} names no reference. Make one with `harness reference freeze`."
        if not no_gate:
            raise ReferenceProblem(sentence)
        if json_file is not None:
            write_json(json_file, {"schema": SCHEMA, "verdict": "NOT JUDGED", "sentence": sentence})
        typer.echo(sentence)
        return
    verdict = judge_runs(table, read_reference(reference), sha256_of_file(runs))
    typer.echo(_table(verdict))
    if json_file is not None:
        write_json(json_file, verdict.as_json())
        typer.echo(f"Written to {json_file}.")
    if not no_gate:
        raise typer.Exit(verdict.exit_code)


def _table(verdict: Verdict) -> str:
    """The verdict for a terminal: a line a cell, then notes, then the sentence."""
    width = max(len("mean of all cells"), *(len(cell.cell) for cell in verdict.cells))
    head = f"{'cell':{width}}  runs   mean %   reference %   difference pp   family interval   verdict"
    lines = [
        f"{verdict.reference['title']} ({verdict.reference['name']})",
        "",
        head,
        "-" * len(head),
        *(
            f"{cell.cell:{width}}  {cell.n:4d}  {cell.mean_pct:7.2f}  {cell.reference_mean_pct:12.2f}"
            f"  {cell.diff_pp:+z14.2f}  {_ends(cell.ci_low_pp, cell.ci_high_pp):>16}   {cell.verdict}"
            for cell in verdict.cells
        ),
        f"{'mean of all cells':{width}}  {'':4}  {'':7}  {'':12}  {verdict.mean_shift_pp:+z14.2f}"
        f"  {_ends(verdict.mean_shift_ci_low_pp, verdict.mean_shift_ci_high_pp):>16}   "
        f"{'FAIL' if verdict.mean_shift_fails else 'not shifted'}",
    ]
    if verdict.spread_ratio_ci_low is not None and verdict.spread_ratio_ci_high is not None:
        lines.append(
            f"{'variance ratio':{width}}  {'':4}  {'':7}  {'':12}  {verdict.spread_ratio:14.2f}"
            f"  {f'{verdict.spread_ratio_ci_low:.2f} to {verdict.spread_ratio_ci_high:.2f}':>16}   "
            f"{'FAIL' if verdict.spread_fails else 'not different'}"
        )
    return "\n".join([*lines, "", *(f"Note: {note}" for note in verdict.notes), "", verdict.sentence])


def _ends(low: float, high: float) -> str:
    return f"{low:+z.2f} to {high:+z.2f}"
