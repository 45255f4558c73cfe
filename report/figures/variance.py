"""Variance components: how far results scatter for each reason, beside the margin."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes

from analysis.results import Analysis, VarianceComponent
from report.estimands import is_refit, plain_model
from report.figures.canvas import Picture, bare, canvas, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import MISSING, interval, number
from report.words import metric_name, shortened, subset_name

TITLE = "Variance components beside the margin"
MAIN = ("primary", "pairs", "gain")
CHECKPOINT = "teacher:teacher_seed:student"
WORDS = {
    "student:seed": "from seed to seed",
    "residual": "within a seed",
    "teacher": "from teacher to teacher",
    f"{CHECKPOINT}[kd]": "from checkpoint to checkpoint of a teacher",
    f"{CHECKPOINT}:method[kd]": "from checkpoint to checkpoint, by method",
}
TOP, HEADING, LINE, LANE, AXIS = 20.0, 26.0, 15.0, 24.0, 46.0  # heights in units
LETTERS = 56  # of 12 units that fit side by side
SIDE = 0.2  # of the width that half of the margin's words need
MARK = 6.0


@dataclass(frozen=True)
class _Row:
    """A component as it is drawn: its name, broken into lines, and its numbers in words."""

    component: VarianceComponent
    label: tuple[str, ...]
    numbers: str

    @property
    def height(self) -> float:
        """In units, lines and lane together."""
        return LINE * len(self.label) + LANE


def component_name(component: str) -> str:
    """Words for a variance component, with its name in the tables: `from seed to seed (student:seed)`."""
    return f"{WORDS[component]} ({component})" if component in WORDS else component


def variance(analysis: Analysis) -> Picture | None:
    """Draw the standard deviations of the main models' components with their profile intervals, and the margin.

    A component that was estimated as zero stands at zero, from the fit that found it so; its companions come from the
    refit without it, which claims rest on.

    Args:
        analysis: The analysis to show.

    Returns:
        The picture, or None where no main model has a component.
    """
    groups = _groups(analysis)
    if not groups:
        return None
    rows = [row for group in groups.values() for row in group]
    ends = [row.component.sd_ci_high_pp or row.component.sd_pp for row in rows]
    right_pp = 1.04 * max(filter(math.isfinite, (analysis.margin_pp, *ends)))
    height = TOP + sum(row.height for row in rows) + AXIS
    height += sum(HEADING + LINE * (len(heading) - 1) for heading in groups)
    tooltips: dict[str, str] = {}
    margin = f"margin {number(analysis.margin_pp, 'pp')} pp"
    with canvas(height) as figure:
        axes = figure.add_axes((0.01, AXIS / height, 0.98, 1 - AXIS / height))
        axes.set_ylim(height - AXIS, 0)
        axes.set_xlim(-0.04 * right_pp, right_pp)  # room for half a tick label
        across = axes.get_yaxis_transform()
        axes.text(analysis.margin_pp, 12, margin, ha=_side(analysis.margin_pp / right_pp), color=COLOURS["muted"])
        y = TOP
        for heading, group in groups.items():
            y += HEADING - LINE
            for line in heading:
                y += LINE
                axes.text(0, y - 8, line, transform=across, weight="bold")
            for row in group:
                for line in row.label:
                    y += LINE
                    axes.text(0, y - 3, line, transform=across)
                axes.text(1, y - 3, row.numbers, transform=across, ha="right")
                _lane(axes, analysis.margin_pp, y + 1, y + LANE - 6)
                name = f"component-{len(tooltips)}"
                tooltips[name] = f"{_place(row.component)}, {row.component.component}: {row.numbers}"
                _mark(axes, row.component, y + (LANE - 5) / 2, right_pp, name)
                y += LANE
        axes.set_yticks([])
        axes.set_xlabel("standard deviation (percentage points)")
        bare(axes)
        svg = inline_svg(figure, "variance", TITLE, _description(groups, margin), tooltips)
    head = ("model", "subset", "component", "sd_pp", "sd_ci_low_pp", "sd_ci_high_pp", "margin_pp")
    data = tuple(
        (one.model, one.subset, one.component, one.sd_pp, one.sd_ci_low_pp, one.sd_ci_high_pp, analysis.margin_pp)
        for one in (row.component for row in rows)
    )
    return Picture("variance", TITLE, svg, _caption(analysis, [row.component for row in rows]), head, data)


def _groups(analysis: Analysis) -> dict[tuple[str, ...], list[_Row]]:
    """Components under the names of their models."""
    asked = [
        row for row in analysis.variance_components if plain_model(row.model) in MAIN and row.metric == analysis.metric
    ]
    groups: dict[tuple[str, ...], list[_Row]] = {}
    for model, subset in dict.fromkeys((plain_model(row.model), row.subset) for row in asked):
        own = [row for row in asked if (plain_model(row.model), row.subset) == (model, subset)]
        heading = wrapped(f"Model: {_place(own[0])}", LETTERS - 6)  # bold is wider
        groups[heading] = [_row(row) for row in _that_count(own)]
    return groups


def _place(row: VarianceComponent) -> str:
    """Model and rows used: `primary, taught by R50 alone`."""
    return ", ".join(filter(None, (plain_model(row.model), shortened(subset_name(row.subset)))))


def _that_count(rows: Iterable[VarianceComponent]) -> list[VarianceComponent]:
    """One row a component of one model: the refit's where it has it, in the order of the first fit."""
    found: dict[str, VarianceComponent] = {}
    for row in rows:
        if row.component not in found or is_refit(row.model):
            found[row.component] = row
    return list(found.values())


def _row(component: VarianceComponent) -> _Row:
    """Name and numbers share a line where there is room."""
    ends = interval(component.sd_ci_low_pp, component.sd_ci_high_pp, "pp")
    value = "zero" if component.sd_pp == 0 else number(component.sd_pp, "pp")
    missing = "; limit not known" if component.sd_pp == 0 else "; interval not known"
    numbers = f"{value}{missing}" if ends == MISSING else f"{value} {ends}"
    label = wrapped(component_name(component.component), LETTERS)
    if len(label[-1]) + len(numbers) >= LETTERS:
        label = (*label, "")
    return _Row(component, label, numbers)


def _side(share: float) -> Literal["left", "center", "right"]:
    """How words stand to a place at this share of the width, so that they stay inside."""
    return "left" if share < SIDE else "right" if share > 1 - SIDE else "center"


def _lane(axes: Axes, margin_pp: float, top: float, bottom: float) -> None:
    """Zero and the margin, behind the marks only: letters stay on clear ground."""
    axes.vlines(0, top, bottom, color=COLOURS["muted"], linewidth=1, zorder=1)
    axes.vlines(margin_pp, top, bottom, color=COLOURS["muted"], linewidth=1.5, linestyle=(0, (3, 2)), zorder=1)


def _mark(axes: Axes, row: VarianceComponent, y: float, right_pp: float, name: str) -> None:
    """Interval and estimate; an upper end that lies nowhere runs out of the picture."""
    ink = COLOURS["ink"]
    if row.sd_ci_low_pp is not None and row.sd_ci_high_pp is not None:
        ends = [row.sd_ci_low_pp, min(row.sd_ci_high_pp, right_pp)]
        axes.plot(ends, [y, y], color=ink, linewidth=2)
        for end in filter(math.isfinite, (row.sd_ci_low_pp, row.sd_ci_high_pp)):
            axes.plot(end, y, "|", color=ink, markersize=8)
    face = COLOURS["page"] if row.sd_pp == 0 else ink
    mark = axes.plot(row.sd_pp, y, "D", color=ink, markerfacecolor=face, markersize=MARK, zorder=3)
    mark[0].set_gid(name)


def _description(groups: dict[tuple[str, ...], list[_Row]], margin: str) -> str:
    """Every number of the picture, for those who do not see it."""
    told = (
        f"{' '.join(heading)}: {', '.join(f'{row.component.component} {row.numbers}' for row in group)}."
        for heading, group in groups.items()
    )
    return f"Standard deviations in percentage points with 95% intervals, beside the {margin}. {' '.join(told)}"


def _caption(analysis: Analysis, rows: list[VarianceComponent]) -> str:
    """What to see, with what must be said of zeros and of the model of gains where they are there."""
    caption = (
        f"What to see: how far {metric_name(analysis)} scatters between runs, as standard deviations with 95% profile "
        f"likelihood intervals, beside the margin (dashed, {number(analysis.margin_pp, 'pp')} pp), the smallest "
        "difference that matters. Where scatter comes near the margin, a single run can hide or fake such a "
        "difference; means over seeds scatter less. An interval that begins at zero leaves open whether there is "
        "scatter of that kind."
    )
    if any(plain_model(row.model) == "gain" and row.component == "student:seed" for row in rows):
        caption += (
            " In model gain, student:seed also holds the scatter of the baseline run, which the gains of a seed share."
        )
    zeros = [row for row in rows if row.sd_pp == 0]
    if zeros:
        named = "; ".join(f"{row.component} in model {_place(row)}" for row in zeros)
        caption += (
            f" Hollow marks were estimated as zero ({named}): common with few groups, and no proof that there is no "
            "such scatter. The other numbers of such a model come from the refit without it."
        )
    if any(_place(row) == "primary" for row in zeros):
        caption += " Where model primary has a zero, its groups have no effects to draw."
    return caption
