"""Efficiency: what accuracy a budget of parameters, operations or time buys."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.results import Analysis
from analysis.runs.frame import accuracy
from analysis.runs.metric import Metric
from report.budget import Cost, Spread, Step, costs, latency_note, size_note, steps, three_digits, verdict
from report.estimands import means_that_count
from report.figures.canvas import WIDTH, Datum, Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import estimate, number
from report.words import architecture, metric_name, shortened

TITLE = "Accuracy against size, operations and latency"
LINE, PLOT, AXIS, LANE = 18.0, 150.0, 62.0, 16.0  # heights in units: of the key, a panel, below it, and of a name
LEFT, BETWEEN, RIGHT = 40.0, 18.0, 6.0  # widths in units
ACROSS = 2  # panels side by side
PANEL = (WIDTH - LEFT - BETWEEN - RIGHT) / ACROSS
DIGIT, APART = 7.7, 5.0  # width of a digit, and the least between two numbers on an axis
LETTER, MARK, GAP = 6.8, 15.0, 14.0  # widths of a letter of 12, of a mark before its name, and of what follows
LETTERS = 50  # that fit behind a mark
STEP, CLOSEST = 8.0, 4.0  # from one method of a student to the next, and where students crowd
FACTOR = 10.0  # largest over smallest from which a scale is logarithmic
PICKS = 3  # students that the caption names at most
FRONT, NOTHING = Look(COLOURS["ink"], "", "-"), Look(COLOURS["ink"], "", "")
TEACHERS = "a run of a teacher"


@dataclass(frozen=True)
class _Measure:
    """What can be short: its key, name and unit, and what it is for an architecture, from its best run to its worst."""

    key: str
    name: str
    unit: str
    of: Callable[[Cost], Spread | None]

    def told(self, value: Spread) -> str:
        """In words."""
        return f"{self.name} {' to '.join(dict.fromkeys(map(three_digits, value)))} {self.unit}"


MEASURES = (
    _Measure("size", "parameters", "millions", lambda c: None if c.parameters is None else (c.parameters / 1e6,) * 2),
    _Measure(
        "work", "operations, 1 image", "GFLOP", lambda c: None if c.forward_gflop is None else (c.forward_gflop,) * 2
    ),
    _Measure("one", "latency, 1 image", "ms", lambda c: c.latency_ms_batch1),
    _Measure("batch", "latency, 128 images", "ms", lambda c: c.latency_ms_batch128),
)


@dataclass(frozen=True)
class _Mark:
    """One mark: a student's mean under a method, with its interval; or a run of a teacher, which has no method."""

    architecture: str
    method: str | None
    seed: int | None
    accuracy_pct: float
    interval_pct: Spread | None

    @property
    def told(self) -> str:
        """In words."""
        name = architecture(self.architecture)
        if self.interval_pct is None:
            return f"{name}, teacher, seed {self.seed}: {number(self.accuracy_pct, 'pct')}%"
        return f"{name}, {self.method}: {estimate(self.accuracy_pct, *self.interval_pct, 'pct')}%"


@dataclass(frozen=True)
class _Panel:
    """Accuracy against one measure.

    Attributes:
        measure: The measure.
        ranges: Its best and worst run, by architecture, smallest first.
        margin: Units left free at either end of the scale.
    """

    measure: _Measure
    ranges: Mapping[str, Spread]
    margin: float

    @property
    def ends(self) -> Spread:
        """Of the scale."""
        return min(low for low, _ in self.ranges.values()), max(high for _, high in self.ranges.values())

    @property
    def logarithmic(self) -> bool:
        """Whether equal distances are equal factors."""
        return self.ends[1] >= FACTOR * self.ends[0] > 0

    def place(self, value: float) -> float:
        """Where a value stands, in units from the left edge; in the middle where all are one."""
        low, high = self.ends
        if low == high:
            return PANEL / 2
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.margin + (value - low) / (high - low) * (PANEL - 2 * self.margin)

    def ticks(self) -> list[float]:
        """Round numbers inside, as many as stand apart."""
        low, high = self.ends
        if low == high:
            return [low]
        if self.logarithmic:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            choices = [[digit * 10.0**decade for decade in decades for digit in digits] for digits in ((1, 2, 5), (1,))]
        else:
            choices = [list(MaxNLocator(bins, steps=[1, 2, 5, 10]).tick_values(low, high)) for bins in (4, 3, 2)]
        inside = [[tick for tick in ticks if low <= tick <= high] for ticks in choices]
        return next((ticks for ticks in inside if ticks and self._fits(ticks)), [low, high])

    def _fits(self, ticks: Sequence[float]) -> bool:
        places = [self.place(tick) for tick in ticks]
        halves = [(DIGIT * len(three_digits(tick)) + APART) / 2 for tick in ticks]
        return all(
            right - left > one + other
            for left, right, one, other in zip(places, places[1:], halves, halves[1:], strict=False)
        )

    def lanes(self) -> dict[str, int]:
        """Which lane of names each architecture stands in, counted from the panel up: names and ranges stay apart."""
        taken: list[float] = []  # where each lane is free from
        found: dict[str, int] = {}
        for name, (_, high) in self.ranges.items():
            left, right = self.label(name)
            right = max(right, self.place(high)) + LETTER
            lane = next((lane for lane, free in enumerate(taken) if free <= left), len(taken))
            taken[lane : lane + 1] = [right]
            found[name] = lane
        return found

    @property
    def lane(self) -> float:
        """Height of a lane: that of the name with most lines."""
        return LANE * max(len(_lines(name)) for name in self.ranges)

    @property
    def above(self) -> float:
        """Height of all lanes."""
        return self.lane * (1 + max(self.lanes().values()))

    def label(self, name: str) -> tuple[float, float]:
        """Left and right end of an architecture's name, centred where it stands as far as the panel allows."""
        wide = LETTER * max(map(len, _lines(name)))
        left = min(max(self.place(self.ranges[name][0]) - wide / 2, 0), max(PANEL - wide, 0))
        return left, left + wide


def _lines(name: str) -> tuple[str, ...]:
    """An architecture's name in lines that a panel is wide enough for."""
    return wrapped(shortened(architecture(name)), int(PANEL / LETTER))


def efficiency(analysis: Analysis, runs: pd.DataFrame) -> tuple[Picture, ...]:
    """Draw the estimated means of students, and runs of teachers, against each measure of size that is known.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it.

    Returns:
        One picture of up to four panels, or none where of no student anything is known.
    """
    cost, budget = costs(runs), steps(analysis, runs)
    marks = [*_means(analysis, cost), *_teachers(analysis, runs)]
    drawn = {mark.method for mark in marks}
    looks = {method: look for method, look in _looks(analysis).items() if method in drawn}
    panels = _panels(cost, budget, marks, len(looks))
    if not panels:
        return ()
    key = _key(looks)
    rows = [panels[first : first + ACROSS] for first in range(0, len(panels), ACROSS)]
    heights = [max(panel.above for panel in row) + PLOT + AXIS for row in rows]
    top = LINE * (1 + len(key)) + 6
    height = top + sum(heights)
    tooltips: dict[str, str] = {}
    with canvas(height) as figure:
        figure.text(0.01, 1 - 4 / height, f"{metric_name(analysis)} (%)", va="top")
        _draw_key(figure, key)
        bottom = height - top
        for row, own in zip(rows, heights, strict=True):
            bottom -= own
            for column, panel in enumerate(row):
                left = LEFT + column * (PANEL + BETWEEN)
                box = (left / WIDTH, (bottom + AXIS) / height, PANEL / WIDTH, PLOT / height)
                axes = figure.add_axes(box)
                _frame(axes, panel, marks, first=column == 0)
                _front(axes, panel, budget)
                tooltips |= _marks(axes, panel, marks, looks)
        svg = inline_svg(figure, "efficiency", TITLE, _description(analysis, budget, marks), tooltips)
    head = (
        "mark", "architecture", "method", "seed", "accuracy_pct", "ci_low_pct", "ci_high_pct", "parameters",
        "forward_gflop", "latency_ms_batch1_fastest", "latency_ms_batch1_slowest", "latency_ms_batch128_fastest",
        "latency_ms_batch128_slowest",
    )  # fmt: skip
    data = tuple(_datum(mark, cost[mark.architecture]) for mark in marks)
    return (Picture("efficiency", TITLE, svg, _caption(cost, budget, marks), head, data),)


def _looks(analysis: Analysis) -> dict[str | None, Look]:
    """The look of each method and, under None, of teachers, in the order in which they stand side by side."""
    looks: dict[str | None, Look] = {}
    looks.update(method_looks(analysis))
    return looks | {None: Look(COLOURS["ink"], "x", "")}


def _means(analysis: Analysis, cost: Mapping[str, Cost]) -> list[_Mark]:
    return [
        _Mark(mean.student, mean.method, None, mean.mean_pct, (mean.ci_low_pct, mean.ci_high_pct))
        for mean in means_that_count(analysis.emmeans)
        if mean.student in cost
    ]


def _teachers(analysis: Analysis, runs: pd.DataFrame) -> list[_Mark]:
    own = runs[(runs["stage"] == "teachers") & runs[analysis.metric].notna()]
    accuracies_pct = 100 * accuracy(own, Metric(analysis.metric, analysis.higher_is_better))
    return [
        _Mark(str(name), None, int(seed), float(value), None)
        for name, seed, value in zip(own["student"], own["seed"], accuracies_pct, strict=True)
    ]


def _panels(cost: Mapping[str, Cost], budget: Sequence[Step], marks: Sequence[_Mark], slots: int) -> list[_Panel]:
    """A panel for each measure that is known of a student; teachers stand in it where it is known of them."""
    names = dict.fromkeys(mark.architecture for mark in marks)
    panels = []
    for measure in MEASURES:
        known = {name: value for name in names if (value := measure.of(cost[name])) is not None}
        if any(step.student in known for step in budget):
            values = dict(sorted(known.items(), key=lambda item: item[1]))
            panels.append(_Panel(measure, values, STEP * slots / 2 + 4))
    return panels


def _frame(axes: Axes, panel: _Panel, marks: Sequence[_Mark], *, first: bool) -> None:
    """Axes, and above them the names of architectures with the ranges of their runs."""
    ends = [end for mark in marks for end in mark.interval_pct or (mark.accuracy_pct,)]
    air = 0.05 * (max(ends) - min(ends)) or 1.0
    axes.set(xlim=(0, PANEL), ylim=(min(ends) - air, max(ends) + air))
    axes.set_xticks([panel.place(tick) for tick in panel.ticks()], [three_digits(tick) for tick in panel.ticks()])
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=COLOURS["band"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelleft=first)
    scale = ", log scale" if panel.logarithmic else ""
    axes.set_xlabel(f"{panel.measure.name}\n({panel.measure.unit}{scale})")
    bare(axes)
    units = axes.get_xaxis_transform()  # across in units, up in panels
    for name, lane in panel.lanes().items():
        low, high = map(panel.place, panel.ranges[name])
        left, right = panel.label(name)
        y = 1 + panel.lane * (lane + 0.5) / PLOT
        axes.plot([low, low], [0, y], color=COLOURS["band"], linewidth=1, transform=units, clip_on=False, zorder=1)
        if high > low:
            axes.plot(
                [low, high],
                [y, y],
                "|-",
                color=COLOURS["muted"],
                markersize=6,
                linewidth=1,
                transform=units,
                clip_on=False,
                zorder=1,
            )
        axes.text(
            (left + right) / 2,
            y,
            "\n".join(_lines(name)),
            ha="center",
            va="center",
            transform=units,
            bbox={"facecolor": COLOURS["page"], "edgecolor": "none", "pad": 1},
        )


def _front(axes: Axes, panel: _Panel, budget: Sequence[Step]) -> None:
    """The highest estimated mean that each budget pays for."""
    x: list[float] = []
    y: list[float] = []
    known = [step for step in budget if step.student in panel.ranges]
    for step in sorted(known, key=lambda step: panel.ranges[step.student][0]):
        place = panel.place(panel.ranges[step.student][0])
        x.append(place)
        y.append(max(step.best.mean_pct, *y[-1:]) if y else step.best.mean_pct)
    axes.step([*x, PANEL], [*y, y[-1]], where="post", color=COLOURS["ink"], linewidth=1.2, zorder=1)


def _marks(axes: Axes, panel: _Panel, marks: Sequence[_Mark], looks: Mapping[str | None, Look]) -> dict[str, str]:
    """Every mark beside the others of its architecture; returns tooltips by group."""
    beside: dict[str, list[str | None]] = {}
    for mark in sorted(marks, key=lambda mark: list(looks).index(mark.method)):
        if mark.method not in beside.setdefault(mark.architecture, []):
            beside[mark.architecture].append(mark.method)
    places = sorted({panel.place(low) for low, _ in panel.ranges.values()})
    nearest = min((right - left for left, right in pairwise(places)), default=PANEL)
    step = min(STEP, max(CLOSEST, 0.9 * nearest / len(looks)))
    tooltips: dict[str, str] = {}
    for position, mark in enumerate(marks):
        if mark.architecture not in panel.ranges:
            continue
        look, value = looks[mark.method], panel.ranges[mark.architecture]
        own = beside[mark.architecture]
        x = panel.place(value[0]) + step * (own.index(mark.method) - (len(own) - 1) / 2)
        if mark.interval_pct is not None:
            axes.plot([x, x], mark.interval_pct, color=look.colour, linewidth=1.6, zorder=2)
        group = f"{panel.measure.key}-{position}"
        dot = axes.plot(x, mark.accuracy_pct, look.marker, color=look.colour, markersize=6, zorder=3)
        dot[0].set(gid=group, clip_on=False)
        tooltips[group] = f"{mark.told}, {panel.measure.told(value)}"
    return tooltips


def _key(looks: Mapping[str | None, Look]) -> list[list[tuple[Look, str]]]:
    """Looks and what they mean, in lines that fit."""
    entries = [(look, TEACHERS if method is None else method) for method, look in looks.items()]
    lines: list[list[tuple[Look, str]]] = []
    used = WIDTH
    for look, label in (*entries, (FRONT, "best mean within the budget")):
        first, *rest = wrapped(label, LETTERS)
        if used + _wide(first) > WIDTH:
            lines.append([])
            used = 0.0
        lines[-1].append((look, first))
        used += _wide(first)
        if rest:
            lines += [[(NOTHING, line)] for line in rest]
            used = WIDTH
    return lines


def _wide(label: str) -> float:
    """Width of an entry of the key, with the gap behind it."""
    return MARK + LETTER * len(label) + GAP


def _draw_key(figure: Figure, lines: Sequence[Sequence[tuple[Look, str]]]) -> None:
    height = 72 * figure.get_figheight()
    axes = figure.add_axes((0, 1 - LINE * (1 + len(lines)) / height, 1, LINE * len(lines) / height))
    axes.set(xlim=(0, WIDTH), ylim=(len(lines), 0))
    axes.set_axis_off()
    for row, line in enumerate(lines):
        x, y = 4.0, row + 0.5
        for look, label in line:
            if look is FRONT:
                axes.plot([x, x + 10], [y, y], color=look.colour, linewidth=1.2)
            else:
                axes.plot(x + 5, y, look.marker, color=look.colour, markersize=6)
            axes.text(x + MARK, y, label, va="center_baseline")
            x += _wide(label)


def _datum(mark: _Mark, cost: Cost) -> tuple[Datum, ...]:
    low, high = (None, None) if mark.interval_pct is None else mark.interval_pct
    return (
        "teacher's run" if mark.method is None else "estimated mean", mark.architecture, mark.method, mark.seed,
        mark.accuracy_pct, low, high, cost.parameters, cost.forward_gflop, *(cost.latency_ms_batch1 or (None, None)),
        *(cost.latency_ms_batch128 or (None, None)),
    )  # fmt: skip


def _description(analysis: Analysis, budget: Sequence[Step], marks: Sequence[_Mark]) -> str:
    """The best of each student, and the teachers, in numbers."""

    def best(step: Step) -> str:
        sizes = [measure.told(value) for measure in MEASURES if (value := measure.of(step.cost)) is not None]
        mean = step.best
        told = estimate(mean.mean_pct, mean.ci_low_pct, mean.ci_high_pct, "pct")
        return f"{', '.join((architecture(step.student), *sizes))}: {mean.method}, {told}%."

    teachers = [mark.told for mark in marks if mark.method is None]
    told = f" Single runs of teachers: {'; '.join(teachers)}." if teachers else ""
    return (
        f"The highest estimated mean of {metric_name(analysis)} that each student reaches, with its 95% interval. "
        f"{' '.join(map(best, budget))}{told}"
    )


def _caption(cost: Mapping[str, Cost], budget: Sequence[Step], marks: Sequence[_Mark]) -> str:
    """What to see, what a growing budget would pick, and where sizes and times come from."""
    picks = [step for step in budget if step.cost.parameters is not None and step.rises]
    shown = picks if len(picks) <= PICKS else [picks[0], picks[-1]]
    told = (", then " if len(shown) == len(picks) else ", and in the end ").join(
        f"{architecture(step.student)}, {step.best.method} ({number(step.best.mean_pct, 'pct')}%, {_apart(step)})"
        for step in shown
    )
    teachers = any(mark.method is None for mark in marks)
    timed = any(one.latency_ms_batch1 or one.latency_ms_batch128 for one in cost.values())
    sentences = (
        "What to see: the line is the best estimated mean that a budget pays for. Where it rises, a larger student is "
        "better by estimate; where it runs on, no larger student's best estimate is higher.",
        f"By parameters it picks {told}. The best of several is often so by luck, and students are not "
        "compared with each other."
        if picks
        else "",
        "Marks are means over all teachers with 95% intervals"
        + (", crosses single runs of teachers, which take no part in the line." if teachers else "."),
        size_note(cost),
        latency_note(cost),
        "Marks stand at the fastest run; bars beside the names reach to the slowest." if timed else "",
    )
    return " ".join(filter(None, sentences))


def _apart(step: Step) -> str:
    return "its only method" if step.next_best is None else f"{verdict(step)} from {step.next_best.method}"
