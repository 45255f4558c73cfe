"""`harness analyze`: from a runs table to verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import StudyError

if TYPE_CHECKING:
    from analysis.results import Analysis
    from analysis.runs.metric import Metric

Margin = Annotated[
    float | None,
    typer.Option(help="Smallest difference that matters, in percentage points; default: the profile's, or 0.2."),
]
Order = Annotated[
    str | None, typer.Option(metavar="SMALLER,LARGER", help="Students to compare; default: the smallest and largest.")
]
Seed = Annotated[
    int, typer.Option(min=0, help="Seed of bootstrap and simulation; the same seed gives the same digits.")
]
Claims = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Register of claims (YAML); default: the paper's, shipped with kdcap."),
]
Json = Annotated[bool, typer.Option("--json", help="Print analysis.json instead of the summary.")]
MetricName = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="What to compare, a fraction; default: test_acc_best or accuracy.")
]
LowerIsBetter = Annotated[
    bool, typer.Option("--lower-is-better", help="Of the metric a lower value is better (an error rate).")
]
Latex = Annotated[bool, typer.Option("--latex", help="Also write the main tables as tables.tex, for a paper.")]


def analyze(
    *,
    profile: Annotated[
        str | None, typer.Option(help="Profile whose runs to analyse; default: the one in params.yaml.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A runs table of your own (CSV); no profile is needed then.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write to; default: `analysis` beside the runs table.")
    ] = None,
    margin: Margin = None,
    metric: MetricName = None,
    lower_is_better: LowerIsBetter = False,
    order: Order = None,
    claims: Claims = None,
    seed: Seed = 0,
    json: Json = False,
    latex: Latex = False,
) -> None:
    """Say what a runs table supports: gains, moderation by capacity, and a verdict on each claim.

    \b
    Fits `acc ~ student * method + (1 | student:seed)` by REML (Kenward-Roger degrees of freedom) to the rows of
    stage `final`, with every defensible alternative beside it, and writes analysis.json and its tables as CSV.
    Accuracies in the table are fractions; everything written is in percent or percentage points.
    The smallest table that works has the columns student, method (none without distillation), seed, accuracy.

    \b
    Example:
      harness analyze                                 the runs of the current profile
      harness analyze --runs mine.csv --margin 0.3    your own runs, any trainer
      harness analyze --runs mine.csv --order small,big --metric top1_error --lower-is-better
    """  # noqa: D301 - \b keeps line breaks in the help
    from analysis.analyze import DEFAULT_MARGIN_PP
    from harness.analysing import analyse_files
    from harness.claims import REGISTER

    if runs is None or profile is not None:
        from harness.study.load import load_study, resolve_profile
        from harness.workspace import Workspace

        profile = resolve_profile(profile)
        margin = load_study(profile).margins.gain_pp if margin is None else margin
        runs = runs or Workspace(profile).runs_table
    result = analyse_files(
        runs,
        margin_pp=checked_margin(DEFAULT_MARGIN_PP if margin is None else margin),
        metric=chosen_metric(metric, lower_is_better=lower_is_better),
        order=students(order),
        claims=claims or REGISTER,
        seed=seed,
    )
    folder = out or runs.parent / "analysis"
    write(result, folder, latex=latex)
    show(result, folder, json=json, where=str(folder))


def checked_margin(margin: float) -> float:
    """A margin in percentage points, above 0 and below 100."""
    if not 0 < margin < 100:  # noqa: PLR2004 - percentage points
        raise StudyError(f"--margin: expected percentage points between 0 and 100, found {margin:g}.")
    return margin


def chosen_metric(name: str | None, *, lower_is_better: bool) -> Metric:
    """The metric of `--metric` and its direction; accuracy by default."""
    from analysis.runs.metric import ACCURACY, Metric

    if name is None and lower_is_better:
        raise StudyError("--lower-is-better: expected a --metric that it speaks of, found none; name the column.")
    return ACCURACY if name is None else Metric(name, higher_is_better=not lower_is_better)


def students(order: str | None) -> tuple[str, ...] | None:
    """The names of `--order`."""
    return tuple(name.strip() for name in order.split(",")) if order else None


def write(result: Analysis, out: Path, *, latex: bool) -> None:
    """Write an analysis."""
    from harness.analysis_files import write_analysis
    from harness.files import write_whole
    from harness.latex import latex_tables

    write_analysis(out, result)
    if latex:
        write_whole(out / "tables.tex", latex_tables(result))


def show(result: Analysis, out: Path, *, json: bool, where: str) -> None:
    """Print an analysis that was written, as the summary with where it is, or as JSON."""
    from harness.analysis_files import JSON_NAME
    from harness.cli.summary import summary

    if json:
        typer.echo((out / JSON_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(f"{summary(result)}\n\nwritten to {where}")
