"""`harness verify`: a verdict that one can gate CI on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import ReferenceProblem

if TYPE_CHECKING:
    from harness.verify.bitwise import Bitwise
    from harness.verify.verdict import Verdict


class FamilyChoice(StrEnum):
    """Families of a verdict, as the command line spells them."""

    accuracies = "accuracies"
    teachers = "teachers"
    fidelity = "fidelity"
    gains = "gains"
    claims = "claims"


class AllowChoice(StrEnum):
    """Refusals that can be overruled, as the command line spells them."""

    stem = "stem"
    epochs = "epochs"
    checkpoint = "checkpoint"
    parameters = "parameters"
    records = "records"


def verify(
    *,
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="With --bitwise: runs to train again, PHASE/NAME (default: a cheap one a phase)."
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile whose runs are judged (default: params.yaml's).")] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Runs table, CSV (default: results/PROFILE/runs.csv).")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Reference to judge by (default: the profile's).")
    ] = None,
    cells: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Judge only these cells, e.g. 'resnet50>*'; may be repeated."),
    ] = None,
    gate: Annotated[
        list[FamilyChoice] | None,
        typer.Option(help="Families that decide the exit code; may be repeated (default: accuracies)."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="PP", help="Margin of accuracies in place of the reference's; is printed.")
    ] = None,
    allow: Annotated[
        list[AllowChoice] | None,
        typer.Option(help="Compare although this differs; may be repeated; is printed in every output."),
    ] = None,
    bitwise: Annotated[
        bool, typer.Option("--bitwise", help="Also train runs again, compare digests, and check dvc.lock.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Where to write the verdict (default: results/PROFILE/verdict.json, where nothing but the profile "
            "and --junit, --summary or --no-gate is given; else nowhere).",
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML, for CI systems.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also append Markdown, e.g. to $GITHUB_STEP_SUMMARY."),
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Exit with 0 whatever the verdict is.")] = False,
) -> None:
    """Is this the published result? Judge a runs table against a frozen reference.

    Five families are judged, each with its own 5% of false alarms: accuracies of cells (with their mean shift and the
    spread of runs), teachers, fidelity to the teacher, gains, and the contrasts that claims rest on. FAIL: something
    differs by more than chance explains, or runs are not what they should be (the test set was not opened exactly
    twice). PASS: everything is shown to lie within the reference's margin. Anything else is INCONCLUSIVE, with
    the seeds that would decide; one seed a cell mostly ends there.

    The exit code is decided by the accuracies, or by the families that --gate names. A subset of cells or seeds is
    fine. Another data set, stem, number of epochs, checkpoint rule or network size is refused, and so is a table that
    was edited after it was collected; --allow overrules all but the first.

    --bitwise asks for more: the same digests, on the same stack and device. Where these differ it says what differs,
    and the statistical verdict stands.

    \b
    Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 2 bad input, 70 a bug in kdcap.

    \b
    Example:
      harness verify
      harness verify --runs mine.csv --reference yasar2026-v2 --cells 'resnet50>*' --junit verdict.xml
      harness verify --gate accuracies --gate gains --summary "$GITHUB_STEP_SUMMARY"
      harness verify --bitwise final/resnet18-none-s0
    """  # noqa: D301 - click keeps the line breaks behind a real backspace character
    from harness.files import sha256_of_file
    from harness.study.load import load_study, resolve_profile
    from harness.tables import read_runs
    from harness.verify.judge import Asked, judge_runs, not_judged, with_bitwise
    from harness.verify.records import check_records
    from harness.verify.reference import read_reference
    from harness.verify.terminal import table
    from harness.workspace import Workspace

    _check_options(run or (), bitwise=bitwise, runs=runs, margin=margin, outputs=(json_file, junit, summary))
    own_rule = not (bitwise or cells or gate or allow or margin is not None or reference is not None)
    if profile is not None or runs is None or reference is None:
        profile = resolve_profile(profile)
        reference = reference if reference is not None else load_study(profile).reference
    if runs is None:
        workspace = Workspace(str(profile))
        # a verdict by another rule than the pipeline's must not take the place of the pipeline's own
        runs, json_file = workspace.runs_table, json_file or (workspace.verdict if own_rule else None)
    rows, digest = read_runs(runs), sha256_of_file(runs)
    records = check_records(runs, rows)
    if reference is None:
        if not own_rule and not bitwise:
            raise ReferenceProblem(
                f"profile {profile} names no reference, so --cells, --gate, --allow and --margin have nothing to act "
                "on; name one with --reference."
            )
        verdict = not_judged(str(profile), rows, digest, records)
    else:
        asked = Asked(
            cells=cells or (),
            gate=[one.value for one in gate or (FamilyChoice.accuracies,)],
            margin_pp=margin,
            allowed=[one.value for one in allow or ()],
        )
        verdict = judge_runs(rows, read_reference(reference), digest, asked, records)
    if bitwise:  # last, since it may take hours: nothing is trained for a table that is refused
        verdict = with_bitwise(verdict, _bitwise(str(profile), run or ()))
    typer.echo(table(verdict))
    written = _write(verdict, json_file, junit, summary)
    if written:
        typer.echo(f"Written to {', '.join(map(str, written))}.")
    if not no_gate:
        raise typer.Exit(verdict.exit_code)


def _check_options(
    run: Sequence[str], *, bitwise: bool, runs: Path | None, margin: float | None, outputs: Sequence[Path | None]
) -> None:
    if margin is not None and not 0 < margin < 100:  # noqa: PLR2004 - percentage points of an accuracy
        raise ReferenceProblem(f"--margin: expected percentage points above 0 and below 100, found {margin:g}.")
    if run and not bitwise:
        raise ReferenceProblem(f"{run[0]}: runs to train again are given with --bitwise; a runs table with --runs.")
    if bitwise and runs is not None:
        raise ReferenceProblem("--bitwise trains a profile's runs again, and --runs names a table; give one of them.")
    for path in outputs:
        if path is not None and path.is_dir():  # an empty name is the folder that one is in
            raise ReferenceProblem(
                f"--json, --junit, --summary: expected the name of a file, found the folder {path} (is the variable in "
                "the command set?)."
            )


def _write(verdict: Verdict, json_file: Path | None, junit: Path | None, summary: Path | None) -> list[Path]:
    """Write the forms that were asked for; a summary goes behind what the file holds, as GitHub's steps share one."""
    from harness.files import write_json, write_whole
    from harness.verify.junit import junit as as_junit
    from harness.verify.markdown import summary as as_markdown

    if json_file is not None:
        write_json(json_file, verdict.as_json())
    if junit is not None:
        write_whole(junit, as_junit(verdict))
    if summary is not None:
        before = summary.read_bytes() if summary.is_file() else b""
        gap = b"" if not before or before.endswith(b"\n") else b"\n"
        write_whole(summary, before + gap + as_markdown(verdict).encode())
    return [path for path in (json_file, junit, summary) if path is not None]


def _bitwise(profile: str, chosen: Sequence[str]) -> Bitwise:
    from harness.study.load import load_study
    from harness.verify.bitwise import compare_bitwise
    from harness.workspace import Workspace

    return compare_bitwise(load_study(profile), Workspace(profile), chosen)
