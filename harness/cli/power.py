"""`harness power`: how many seeds it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.analyze import LowerIsBetter, MetricName, Order
from harness.errors import StudyError

if TYPE_CHECKING:
    from analysis.plan import PlanAnswer
    from analysis.results import PowerPoint, SeedsNeeded


def power(
    *,
    effect: Annotated[
        float, typer.Option(help="True difference between the students' gains to plan for, percentage points.")
    ] = 0.2,
    wanted: Annotated[
        list[float] | None,
        typer.Option("--power", help="Probability of finding it; may be repeated (default 0.8, 0.9)."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Margin of the verdicts; default: the effect.")] = None,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Runs whose variances to plan with; default: the published ones."),
    ] = None,
    metric: MetricName = None,
    lower_is_better: LowerIsBetter = False,
    order: Order = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Answer the planning question: seeds a cell for a given effect, and what fewer or more would find.

    Power is exact for the t test with Kenward-Roger degrees of freedom under the variances of the runs given; the band
    is that of sigma's own 95% interval, since sigma is itself only estimated.

    \b
    Example:
      harness power --effect 0.2
      harness power --effect 0.5 --power 0.9 --runs results/quick/runs.csv
    """  # noqa: D301 - \b keeps line breaks in the help
    import dataclasses
    import json as json_module

    from analysis.plan import plan_study
    from analysis.runs.reach import first_seeds
    from harness.cli.analyze import checked_margin, chosen_metric, students
    from harness.tables import read_runs
    from harness.verify.reference import PUBLISHED, RUNS, find_reference

    if not 0 < effect < 100:  # noqa: PLR2004 - percentage points
        raise StudyError(f"--effect: expected percentage points between 0 and 100, found {effect:g}.")
    powers = tuple(wanted or (0.8, 0.9))
    for one in powers:
        if not 0.05 < one < 1:  # noqa: PLR2004 - the level of the test
            raise StudyError(f"--power: expected a probability between 0.05 and 1, found {one:g}.")
    compared = chosen_metric(metric, lower_is_better=lower_is_better)
    table, cut = first_seeds(read_runs(runs if runs is not None else find_reference(PUBLISHED) / RUNS, compared))
    if cut:
        typer.echo(cut, err=True)
    answer = plan_study(
        table,
        effect,
        margin_pp=checked_margin(effect if margin is None else margin),
        powers=powers,
        metric=compared,
        student_order=students(order),
    )
    if json:
        typer.echo(json_module.dumps({**dataclasses.asdict(answer), "notes": [cut] if cut else []}, indent=2))
    else:
        typer.echo(_screen(answer))


def _screen(answer: PlanAnswer) -> str:
    lines = [f"To find a true effect of {answer.effect_pp:g} pp, seeds a cell (band: sigma's own 95% interval):", ""]
    width = max(len(row.contrast) for row in answer.needed)
    lines += [f"{'contrast':{width}}  power  seeds  band"]
    lines += [
        f"{row.contrast:{width}}  {row.power:5.2f}  {_count(row.seeds):>5}  {_band(row)}" for row in answer.needed
    ]
    lines += ["", f"With {answer.seeds_now} seeds a cell, as in these runs, the effect found with probability 0.8 is:"]
    lines += [f"{name:{width}}  {effect:.2f} pp" for name, effect in answer.detectable_now_pp.items()]
    shown = answer.needed[0].contrast
    lines += [
        "",
        f"Power for {shown} (verdict: probability of any but `cannot tell`, margin {answer.margin_pp:g} pp):",
        "",
    ]
    lines += ["seeds     SE     df  power  band          verdict  detectable pp"]
    lines += [_point(row) for row in answer.curve if row.contrast == shown]
    return "\n".join(lines)


def _count(seeds: int | None) -> str:
    return str(seeds) if seeds else ">10000"


def _band(row: SeedsNeeded) -> str:
    return f"{_count(row.seeds_low)} to {_count(row.seeds_high)}"


def _point(row: PowerPoint) -> str:
    band = f"{row.power_low:.2f} to {row.power_high:.2f}"
    return (
        f"{row.seeds:5d}  {row.se_pp:.3f}  {row.df:5.0f}  {row.power:5.2f}  {band:12}  {row.verdict_probability:7.2f}"
        f"  {row.smallest_detectable_pp:13.2f}"
    )
