"""Fidelity: does a cell whose students follow their teacher more closely gain more?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.results import Analysis, Contrast
from analysis.runs.columns import BASELINE, cell_label
from report.estimands import that_count
from report.figures.canvas import WIDTH, Datum, Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import Unit, estimate, number
from report.tables import numbered
from report.words import cell_name, claim_counts, measure_name, shortened

TITLE = "Fidelity to the teacher beside the gain, cell by cell"
AGREEMENT, DIVERGENCES = "agreement", ("kl_t1", "kl_t4")
UNITS: dict[str, Unit] = {AGREEMENT: "pct", "kl_t1": "fine", "kl_t4": "fine"}
SPOKEN = 6  # cells at either end that the description names where there are many
TOP, PLOT, AXIS = 22.0, 180.0, 50.0  # heights in units: above the upper panel, its own, below it
NUMBERS = 24.0  # below the lower panels
LABEL = 14.0  # from one cell's number to the next
HEAD, LINE, LANE, GAP = 42.0, 15.0, 18.0, 3.0  # of the lower panels
LEFT, RIGHT, BETWEEN = 40.0, 36.0, 22.0  # widths in units
ROUND = [1, 2, 5, 10]  # steps between numbers on an axis
LETTER = 6.6  # width of a letter of 12
LETTERS = 54  # of 12 units that fit side by side
TICK = 6.0  # half the height of a run's tick


@dataclass(frozen=True)
class _Cell:
    """A distilled cell: its place by gain, the highest first, counted from 1; its name, gain, look, and runs."""

    place: int
    name: str
    gain: Contrast
    look: Look
    runs: pd.DataFrame

    def values(self, measure: str) -> list[float]:
        """What its runs have of a measure, as it is shown: agreement in percent, divergences in nats."""
        return [_shown(measure, value) for value in self.runs[measure].dropna()]

    @property
    def told(self) -> str:
        """Its gain with the interval, in words."""
        gain = self.gain
        return f"gain {estimate(gain.estimate_pp, gain.ci_low_pp, gain.ci_high_pp, 'signed_pp')}"

    @property
    def lines(self) -> tuple[str, ...]:
        """Its number and name; the gain stands at the right of the last line, which has room for it."""
        lines = wrapped(f"{self.place}: {shortened(self.name)}", LETTERS)
        return lines if len(lines[-1]) + len(self.told) < LETTERS else (*lines, "")

    @property
    def height(self) -> float:
        """Of its lines and its lane, in units."""
        return LINE * len(self.lines) + LANE + GAP


def fidelity(analysis: Analysis, runs: pd.DataFrame) -> Picture | None:
    """Draw agreement with the teacher against the gain, and below it the divergences cell by cell, every run.

    Nothing is averaged: a run stands at its own agreement and at the gain of its cell, which has one gain only.

    Args:
        analysis: What the runs say; gains are those of its family `pair-gains`.
        runs: The runs table behind it.

    Returns:
        The picture, or None where no run of a cell with a gain has a measure of fidelity.
    """
    cells = _cells(analysis, runs)
    measures = [name for name in (AGREEMENT, *DIVERGENCES) if any(cell.values(name) for cell in cells)]
    if not measures:
        return None
    plot = max(PLOT, LABEL * len(cells)) if AGREEMENT in measures else 0
    upper = TOP + plot + AXIS if plot else 0
    height = upper + HEAD + sum(cell.height for cell in cells) + NUMBERS
    with canvas(height) as figure:
        tooltips = _scatter(figure, cells, plot / height) if plot else {}
        _columns(figure, analysis, cells, [name for name in measures if name != AGREEMENT], upper)
        svg = inline_svg(figure, "fidelity", TITLE, _description(cells, measures), tooltips)
    head = (
        "cell", "run", "teacher", "teacher_seed", "student", "method", "seed", "agreement_pct", "kl_t1_nats",
        "kl_t4_nats", "cell_gain_pp", "cell_gain_ci_low_pp", "cell_gain_ci_high_pp",
    )  # fmt: skip
    data = tuple(_datum(cell, row) for cell in cells for _, row in cell.runs.iterrows())
    return Picture("fidelity", TITLE, svg, _caption(analysis, measures), head, data)


def _shown(measure: str, value: float) -> float:
    return 100 * value if measure == AGREEMENT else value


def _cells(analysis: Analysis, runs: pd.DataFrame) -> list[_Cell]:
    """Cells with a gain and with runs that have a measure, the highest gain first."""
    gains = {
        row.contrast: row
        for row in that_count(analysis.contrasts).values()
        if row.family == "pair-gains" and row.subset == "all"
    }
    measured = runs[[AGREEMENT, *DIVERGENCES]].notna().any(axis=1)
    distilled = numbered(runs[(runs["stage"] == "final") & (runs["method"] != BASELINE) & measured], runs)
    found = []
    for (teacher, student, method), own in distilled.groupby(["teacher", "student", "method"], sort=False):
        cell = (str(teacher), str(student), str(method))
        gain = gains.get(f"gain:{cell_label(*cell)}")
        if gain is not None:
            found.append((gain, cell, own))
    found.sort(key=lambda one: (-one[0].estimate_pp, one[1]))
    looks = method_looks(analysis)
    return [
        _Cell(place, cell_name(*cell), gain, looks.get(cell[2], Look(COLOURS["ink"], "D", "-")), own)
        for place, (gain, cell, own) in enumerate(found, 1)
    ]


def _datum(cell: _Cell, run: pd.Series) -> tuple[Datum, ...]:
    """A run's row of data."""

    def known(column: str) -> float | None:
        return None if pd.isna(run[column]) else _shown(column, float(run[column]))

    gain = cell.gain
    seed = None if pd.isna(run["teacher_seed"]) else int(run["teacher_seed"])
    return (
        cell.place, int(run["number"]), run["teacher"], seed, run["student"], run["method"], int(run["seed"]),
        *map(known, (AGREEMENT, *DIVERGENCES)), gain.estimate_pp, gain.ci_low_pp, gain.ci_high_pp,
    )  # fmt: skip


def _scatter(figure: Figure, cells: Sequence[_Cell], plot: float) -> dict[str, str]:
    """Upper panel: a line of runs a cell, at the height of its gain; returns tooltips by group."""
    height = 72 * figure.get_figheight()
    axes = figure.add_axes((LEFT / WIDTH, 1 - TOP / height - plot, 1 - (LEFT + RIGHT) / WIDTH, plot))
    low, high = _limits([0, *(cell.gain.estimate_pp for cell in cells)])
    axes.set_ylim(low, high)
    axes.set_xlim(*_limits([value for cell in cells for value in cell.values(AGREEMENT)]))
    right = axes.get_xlim()[1]
    axes.axhline(0, color=COLOURS["muted"], linewidth=1, zorder=1)
    drawn = [cell for cell in cells if cell.values(AGREEMENT)]
    heights = [(cell.gain.estimate_pp - low) / (high - low) for cell in drawn]
    tooltips: dict[str, str] = {}
    for cell, own, label in zip(drawn, heights, _apart(heights, LABEL / (plot * height)), strict=True):
        x, y, group = sorted(cell.values(AGREEMENT)), cell.gain.estimate_pp, f"cell-{cell.place}"
        axes.plot([x[0], right], [y, y], color=COLOURS["rule"], linewidth=0.8, zorder=1)
        axes.plot(
            [1, 1.03], [own, label], color=COLOURS["rule"], linewidth=0.8, clip_on=False, transform=axes.transAxes
        )
        axes.text(1.04, label, str(cell.place), va="center_baseline", transform=axes.transAxes)
        dots = axes.plot(x, [y] * len(x), cell.look.marker, color=cell.look.colour, markersize=5.5, zorder=2)
        dots[0].set(gid=group, alpha=0.75, markeredgewidth=0, clip_on=False)
        tooltips[group] = f"{cell.place}: {cell.name}: {_told(cell, [AGREEMENT])}"
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.tick_params(length=0)
    axes.grid(color=COLOURS["band"], linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel("agreement with the teacher (%), closer →")
    bare(axes)
    figure.text(0.01, 1 - 4 / height, "gain of the cell (percentage points)", va="top")
    return tooltips


def _columns(
    figure: Figure, analysis: Analysis, cells: Sequence[_Cell], divergences: Sequence[str], upper: float
) -> None:
    """Lower panels, side by side: the cells' gains with intervals, and each divergence run by run."""
    height = 72 * figure.get_figheight()
    below = height - upper - NUMBERS
    whole = figure.add_axes((0.01, NUMBERS / height, 0.98, below / height))
    whole.set_axis_off()
    whole.set(xlim=(0, 1), ylim=(below, 0))
    width = (0.98 * WIDTH - BETWEEN * len(divergences)) / (1 + len(divergences)) / WIDTH
    columns = [
        figure.add_axes((0.01 + place * (width + BETWEEN / WIDTH), NUMBERS / height, width, below / height))
        for place in range(1 + len(divergences))
    ]
    ends = [end for cell in cells for end in (cell.gain.ci_low_pp, cell.gain.ci_high_pp)]
    columns[0].set_xlim(*_limits([0, *ends]))
    for axes, name in zip(columns[1:], divergences, strict=True):
        axes.set_xlim(*_limits([value for cell in cells for value in cell.values(name)]))
    heads = [("gain (pp)", "95% interval"), *((f"{measure_name(name)} (nats)", "← closer") for name in divergences)]
    for axes, lines in zip(columns, heads, strict=True):
        for line, colour, y in zip(lines, ("ink", "muted"), (12, 12 + LINE), strict=True):
            axes.text(0, y, line, color=COLOURS[colour], transform=axes.get_yaxis_transform())
        axes.set(ylim=(below, 0), yticks=[])
        axes.set_xticks(_few(axes.get_xlim(), width * WIDTH))
        bare(axes)
    y = HEAD
    for cell in cells:
        for line in cell.lines:
            y += LINE
            whole.text(0, y - 3, line)
        whole.text(1, y - 3, cell.told, ha="right")
        y += LANE + GAP
        middle = y - GAP - LANE / 2
        _gain(columns[0], cell, middle, analysis.margin_pp)
        for axes, name in zip(columns[1:], divergences, strict=True):
            _ticks(axes, cell.values(name), middle, cell.look)


def _gain(axes: Axes, cell: _Cell, y: float, margin_pp: float) -> None:
    """Zero and the margin behind the interval, in its lane only: letters stay on clear ground."""
    top, bottom = y - LANE / 2, y + LANE / 2
    left, right = axes.get_xlim()
    axes.fill_between([max(-margin_pp, left), min(margin_pp, right)], top, bottom, color=COLOURS["band"], linewidth=0)
    axes.vlines(0, top, bottom, color=COLOURS["muted"], linewidth=1)
    axes.plot([cell.gain.ci_low_pp, cell.gain.ci_high_pp], [y, y], color=cell.look.colour, linewidth=2)
    axes.plot(cell.gain.estimate_pp, y, cell.look.marker, color=cell.look.colour, markersize=6.5)


def _ticks(axes: Axes, values: Sequence[float], y: float, look: Look) -> None:
    """Every run as a tick on a line, all in one path."""
    axes.plot(axes.get_xlim(), [y, y], color=COLOURS["band"], linewidth=1, zorder=1)
    x = [place for value in values for place in (value, value, float("nan"))]
    axes.plot(x, [y - TICK, y + TICK, float("nan")] * len(values), color=look.colour, linewidth=1.6, zorder=2)


def _few(limits: tuple[float, float], width: float) -> list[float]:
    """Round numbers for an axis of this width; the first and the last alone where all would touch each other."""
    low, high = limits
    inside = [tick for tick in MaxNLocator(3, steps=ROUND).tick_values(low, high) if low <= tick <= high]
    room = (inside[-1] - inside[0]) / max(len(inside) - 1, 1) / (high - low) * width
    widest = LETTER * max(len(f"{tick:.3g}") for tick in inside)
    return inside if room > widest + 4 else sorted({inside[0], inside[-1]})


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits with some air, also where all values are one."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Places of labels, from the top down, as near to these (falling) as a gap between them allows, within 0 and 1."""
    found: list[float] = []
    for place in places:  # down from the top, each below the one before
        found.append(min(place, found[-1] - gap) if found else place)
    lowest = 0.0
    for position in reversed(range(len(found))):  # and up again where they fell below the axis
        found[position] = max(found[position], lowest)
        lowest = found[position] + gap
    return found


def _told(cell: _Cell, measures: Sequence[str]) -> str:
    """A cell in words: its gain, and between which values its runs lie."""
    parts = [f"{cell.told} pp"]
    for name in measures:
        values, unit = cell.values(name), UNITS[name]
        if values:
            ends = " to ".join(dict.fromkeys(number(end, unit) for end in (min(values), max(values))))
            parts.append(f"{measure_name(name)} {ends}{'%' if name == AGREEMENT else ' nats'}")
    return ", ".join((*parts, f"{len(cell.runs)} {'run' if len(cell.runs) == 1 else 'runs'}"))


def _description(cells: Sequence[_Cell], measures: Sequence[str]) -> str:
    """Cells in numbers for those who do not see the picture; of many, those with the highest and the lowest gains."""
    ends = cells if len(cells) <= 2 * SPOKEN else (*cells[:SPOKEN], *cells[-SPOKEN:])
    told = " ".join(f"{cell.place}, {cell.name}: {_told(cell, measures)}." for cell in ends)
    which = "" if len(ends) == len(cells) else f", of which the {SPOKEN} highest and the {SPOKEN} lowest"
    return f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'} from the highest gain to the lowest{which}: {told}"


def _caption(analysis: Analysis, measures: Sequence[str]) -> str:
    """What to see, panel by panel, and what the claims about fidelity have come to."""
    above, below = AGREEMENT in measures, bool(set(measures) & set(DIVERGENCES))
    judged = [claim for claim in analysis.claims if claim.metric in measures and claim.verdict != "not tested"]
    sentences = (
        "What to see: whether cells that follow their teacher more closely gain more.",
        "Above, each mark is a run: at how often it and its teacher give the same class, and at the gain of its cell. "
        "If following paid, higher lines would reach further right."
        if above
        else "",
        f"{'Below are the same cells' if above else 'These are the cells'}, highest gain first, with 95% intervals "
        "(not adjusted) and the margin in grey.",
        "A tick is one run's divergence from its teacher, closer to the left. If following paid, ticks would move "
        "right from row to row."
        if below
        else "",
        "Even then following need not be the cause: cells differ in more. Stanton et al. (2021, “Does knowledge "
        "distillation really work?”) found that students closer to their teacher are not always better.",
        f"On fidelity this page judges {claim_counts(judged)}" if judged else "",
    )
    return " ".join(filter(None, sentences))
