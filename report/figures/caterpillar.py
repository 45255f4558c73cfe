"""Caterpillar plot: the predicted effect of every group that runs share, by size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from matplotlib.axes import Axes

from analysis.results import Analysis, Diagnostic
from report.figures.canvas import WIDTH, Picture, bare, canvas, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.figures.variance import CHECKPOINT, component_name
from report.numbers import number
from report.words import architecture, metric_name, shortened

TITLE = "Predicted effects of groups of runs"
HEADING, LINE, GAP, AXIS = 28.0, 14.0, 5.0, 46.0  # heights in units
LETTER = 7.0  # width of a letter in units, generously
LETTERS = 24  # of a line of a name: what leaves most of the width to the effects
NAMED = 40  # groups of a component that are all named; of more, only those at both ends
ENDS = 8
CROWD = 240.0  # height of what lies between the ends


@dataclass(frozen=True)
class _Lane:
    """A group as it is drawn; `name` is empty inside a crowd."""

    row: Diagnostic
    name: tuple[str, ...]
    height: float


def caterpillar(analysis: Analysis) -> Picture | None:
    """Draw predictions (BLUPs) with their conditional standard deviations, largest on top, component by component.

    Args:
        analysis: The analysis to show.

    Returns:
        The picture, or None where no group effect was predicted: a component whose variance was estimated as zero
        has none.
    """
    effects = [row for row in analysis.diagnostics if row.kind == "random effect"]
    if not effects:
        return None
    components = {
        name: _lanes([row for row in effects if row.component == name], analysis)
        for name in dict.fromkeys(row.component for row in effects)
    }
    lanes = [lane for own in components.values() for lane in own]
    headings = {name: wrapped(component_name(name), 50) for name in components}  # letters of bold that fit
    height = sum(lane.height for lane in lanes) + AXIS
    height += sum(HEADING + LINE * (len(lines) - 1) for lines in headings.values())
    left = LETTER * max(len(line) for lane in lanes for line in lane.name) + 8
    reach_pp = 1.04 * max(abs(row.value_pp) + 2 * (row.sd_pp or 0.0) for row in effects) or 1.0
    tooltips: dict[str, str] = {}
    with canvas(height) as figure:
        axes = figure.add_axes((left / WIDTH, AXIS / height, 0.99 - left / WIDTH, 1 - AXIS / height))
        axes.set_ylim(height - AXIS, 0)
        axes.set_xlim(-reach_pp, reach_pp)
        edge = -left / (0.99 * WIDTH - left)  # of the picture, in widths of the axes
        y = 0.0
        for component, own in components.items():
            y += HEADING - LINE
            for line in headings[component]:
                y += LINE
                axes.text(edge, y - 5, line, transform=axes.get_yaxis_transform(), weight="bold")
            axes.vlines(0, y, y + sum(lane.height for lane in own), color=COLOURS["muted"], linewidth=1, zorder=1)
            _draw(axes, own, y, edge, tooltips)
            y += sum(lane.height for lane in own)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("effect (percentage points)")
        bare(axes)
        svg = inline_svg(figure, "caterpillar", TITLE, _description(components), tooltips)
    head = ("model", "subset", "component", "group", "effect_pp", "conditional_sd_pp")
    data = tuple(
        (row.model, row.subset, row.component, row.label, row.value_pp, row.sd_pp)
        for row in (lane.row for lane in lanes)
    )
    caption = (
        f"What to see: whether some groups of runs, such as those of one student and seed, lie above or below the rest "
        f"in {metric_name(analysis)}. Marks are predictions (BLUPs), drawn towards zero the more the less the runs "
        "tell; thick lines reach one conditional standard deviation to each side, thin lines two (about 95%, if the "
        f"model's variances were known exactly). {_clear(lanes)} Sorted by size, the ends always look "
        "extreme: the order alone means nothing."
    )
    if not all(lane.name for lane in lanes):
        caption += f" Of many groups, the {ENDS} at each end are named; bands join the lines of those between."
    return Picture("caterpillar", TITLE, svg, caption, head, data)


def _lanes(rows: list[Diagnostic], analysis: Analysis) -> list[_Lane]:
    """One component's groups, largest effect first; a crowd is named at its ends alone."""
    ordered = sorted(rows, key=lambda row: (-row.value_pp, row.label))
    crowd = len(ordered) - 2 * ENDS if len(ordered) > NAMED else 0
    lanes = []
    for position, row in enumerate(ordered):
        if crowd and ENDS <= position < ENDS + crowd:
            lanes.append(_Lane(row, (), CROWD / crowd))
        else:
            name = wrapped(shortened(_group_name(row, analysis)), LETTERS)
            lanes.append(_Lane(row, name, LINE * len(name) + GAP))
    return lanes


def _group_name(row: Diagnostic, analysis: Analysis) -> str:
    """Words for a group: `ResNet-18, seed 0`; one that is not understood keeps its label.

    A seed is digits, so it can be taken off an end; names may hold any character, so they are looked up.
    """
    if row.component == "student:seed":
        student, _, seed = row.label.rpartition(":")
        return f"{architecture(student)}, seed {seed}"
    for cell in analysis.cells if row.component.startswith(CHECKPOINT) else ():
        first, last = f"{cell.teacher}:", f":{cell.student}"
        words = f"{architecture(cell.teacher)} seed {{}} → {architecture(cell.student)}"
        if row.component.startswith(f"{CHECKPOINT}:method"):
            last, words = f"{last}:{cell.method}", f"{words}, {cell.method}"
        seed = row.label.removeprefix(first).removesuffix(last)
        if row.label == f"{first}{seed}{last}" and (seed.isdigit() or not seed):
            return words.replace("{}", seed or "unknown")
    return row.label


def _draw(axes: Axes, lanes: list[_Lane], top: float, edge: float, tooltips: dict[str, str]) -> None:
    """Each named group with thin lines of two and thick ones of one conditional standard deviation; a crowd as bands.

    Args:
        axes: Where to draw.
        lanes: Groups of one component.
        top: Where the first lane begins.
        edge: Where names begin, in widths of the axes.
        tooltips: Words of each named group, added here.
    """
    bottoms = accumulate(lane.height for lane in lanes)
    middles = [top + bottom - lane.height / 2 for bottom, lane in zip(bottoms, lanes, strict=True)]
    crowd = [(middle, lane.row) for middle, lane in zip(middles, lanes, strict=True) if not lane.name]
    if crowd:
        _draw_crowd(axes, crowd)
    for middle, lane in zip(middles, lanes, strict=True):
        if lane.name:
            group = f"group-{len(tooltips)}"
            _draw_group(axes, lane.row, middle, group)
            value, sd = number(lane.row.value_pp, "signed_pp"), number(lane.row.sd_pp, "pp")
            tooltips[group] = f"{_label(lane)}: {value} pp, conditional sd {sd} pp"
        for line, text in enumerate(lane.name):
            baseline = middle + 4 + LINE * (line - (len(lane.name) - 1) / 2)
            axes.text(edge, baseline, text, transform=axes.get_yaxis_transform())


def _ends(row: Diagnostic, reach: int) -> tuple[float, float]:
    """Where a line of `reach` conditional standard deviations ends."""
    sd_pp = row.sd_pp or 0.0
    return row.value_pp - reach * sd_pp, row.value_pp + reach * sd_pp


def _draw_group(axes: Axes, row: Diagnostic, y: float, group: str) -> None:
    for reach, width in ((2, 1.0), (1, 3.0)):
        axes.plot(_ends(row, reach), [y, y], color=COLOURS["ink"], linewidth=width, zorder=2)
    mark = axes.plot(row.value_pp, y, "o", color=COLOURS["ink"], markersize=6.5, zorder=3)
    mark[0].set(gid=group, markeredgecolor=COLOURS["page"])


def _draw_crowd(axes: Axes, crowd: list[tuple[float, Diagnostic]]) -> None:
    """Hundreds of lines would be a smear, and a large file: their ends are joined instead."""
    y = [middle for middle, _ in crowd]
    for reach, colour in ((2, "rule"), (1, "muted")):
        low, high = zip(*(_ends(row, reach) for _, row in crowd), strict=True)
        axes.fill_betweenx(y, low, high, color=COLOURS[colour], linewidth=0, zorder=0)
    axes.plot([row.value_pp for _, row in crowd], y, color=COLOURS["page"], linewidth=2, zorder=2)


def _clears(row: Diagnostic) -> bool:
    """Whether the thin line lies on one side of zero."""
    return abs(row.value_pp) > 2 * (row.sd_pp or 0.0)


def _clear(lanes: list[_Lane]) -> str:
    clear = sum(_clears(lane.row) for lane in lanes)
    if clear == 0:
        return f"All {len(lanes)} thin lines cross zero: no group stands out, which does not show that they are equal."
    return (
        f"{clear} of {len(lanes)} thin lines {'clears' if clear == 1 else 'clear'} zero; of many, a few do by chance."
    )


def _description(components: dict[str, list[_Lane]]) -> str:
    """How many groups there are, and how far the largest and the smallest effect reach."""
    told = []
    for name, lanes in components.items():
        ends = [f"{_label(lane)} at {number(lane.row.value_pp, 'signed_pp')}" for lane in (lanes[0], lanes[-1])]
        told.append(f"{len(lanes)} groups of {name}, from {ends[0]} down to {ends[1]} pp.")
    return " ".join([*told, _clear([lane for lanes in components.values() for lane in lanes])])


def _label(lane: _Lane) -> str:
    return " ".join(lane.name)
