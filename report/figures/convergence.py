"""Convergence: validation accuracy after every epoch, mean and range over runs, with the last epochs enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from report.figures.canvas import LOOKS, WIDTH, Look, Picture, bare, canvas, looks_of, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import number
from report.words import architecture, natural_key

TITLE = "Validation accuracy by epoch"
POINTS, LATE_POINTS = 40, 20  # of a line at most: more cannot be told apart, and make the page heavy
LATE = 5  # the last fifth is enlarged
NEAR_ZERO = 0.01  # of the highest learning rate
LEFT, BETWEEN, WHOLE = 30.0, 42.0, 0.56  # units beside both axes, and what the whole curve gets of the rest
HEADING, BELOW, PLOT = 44.0, 28.0, 130.0  # heights in units
LETTERS, LETTER, LINE = 16, 6.8, 14.0  # of a line of a label; width of a letter, height of a line


@dataclass(frozen=True)
class _Curve:
    """A line: its name, its look, and an epoch a row: `epoch`, `runs`, `mean_pct`, `low_pct`, `high_pct`."""

    name: str
    look: Look
    epochs: pd.DataFrame

    @property
    def last(self) -> pd.Series[float]:
        """The last epoch."""
        return self.epochs.iloc[-1]

    @property
    def label(self) -> tuple[str, ...]:
        """Name and mean after the last epoch, broken into lines."""
        words = wrapped(self.name, LETTERS)
        end = number(self.last["mean_pct"], "pct")
        together = len(words[-1]) + len(end) < LETTERS
        return (*words[:-1], f"{words[-1]} {end}") if together else (*words, end)

    @property
    def late(self) -> pd.DataFrame:
        """The last epochs, those that are enlarged."""
        return self.epochs.tail(max(2, len(self.epochs) // LATE))

    @property
    def drawn(self) -> pd.DataFrame:
        """The epochs that are drawn on one of both scales."""
        both = pd.concat([_thinned(self.epochs, POINTS), _thinned(self.late, LATE_POINTS)])
        return both.drop_duplicates("epoch").sort_values("epoch")


@dataclass(frozen=True)
class _Panel:
    """Lines that share axes."""

    heading: str
    curves: tuple[_Curve, ...]

    @property
    def late(self) -> int:
        """How many epochs are enlarged."""
        return max(len(curve.late) for curve in self.curves)

    @property
    def height(self) -> float:
        """Of the axes, in units: every line of a label has room."""
        return max(PLOT, LINE * sum(len(curve.label) for curve in self.curves))


def convergence(curves: pd.DataFrame) -> Picture | None:
    """Draw the validation accuracy of final runs, a panel a student and a line a method, and of the teachers.

    Args:
        curves: `ReportContext.curves`.

    Returns:
        The picture, or None if there are neither final runs nor teachers.
    """
    panels = _panels(curves)
    if not panels:
        return None
    height = sum(HEADING + panel.height + BELOW for panel in panels)
    letters = max(len(line) for panel in panels for curve in panel.curves for line in curve.label)
    width = WIDTH - LEFT - BETWEEN - (LETTER * letters + 16)
    with canvas(height) as figure:
        bottom = height
        for panel in panels:
            bottom -= HEADING + panel.height
            figure.text(0, (bottom + panel.height + 26) / height, panel.heading, weight="bold")
            whole, late = (
                figure.add_axes((left / WIDTH, bottom / height, share * width / WIDTH, panel.height / height))
                for left, share in ((LEFT, WHOLE), (LEFT + WHOLE * width + BETWEEN, 1 - WHOLE))
            )
            _draw(whole, [(curve, _thinned(curve.epochs, POINTS)) for curve in panel.curves], "all epochs (%)")
            enlarged = [(curve, _thinned(curve.late, LATE_POINTS)) for curve in panel.curves]
            _draw(late, enlarged, f"last {panel.late} epochs")
            _label(figure, late, panel, bottom)
            bottom -= BELOW
        svg = inline_svg(figure, "convergence", TITLE, _description(panels), {})
    columns = ["epoch", "runs", "mean_pct", "low_pct", "high_pct"]
    data = tuple(
        (panel.heading, curve.name, *row)
        for panel in panels
        for curve in panel.curves
        for row in zip(*(curve.drawn[column].tolist() for column in columns), strict=True)
    )
    return Picture("convergence", TITLE, svg, _caption(panels, curves), ("panel", "line", *columns), data)


def _panels(curves: pd.DataFrame) -> list[_Panel]:
    """Students by name, then the teachers."""
    final = curves[curves["stages"].str.contains(r"\bfinal\b")]
    teachers = curves[curves["stages"].str.contains(r"\bteachers\b")]
    looks = looks_of(set(final["method"]))
    found = []
    for student in sorted(set(final["student"]), key=natural_key):
        lines = _curves(final[final["student"] == student], "method", looks)
        found.append(_Panel(f"{architecture(student)}, student", lines))
    names = sorted(set(teachers["student"]), key=natural_key)
    lines_of = [LOOKS[position % len(LOOKS)] for position in range(len(names))]
    inked = {name: Look(COLOURS["ink"], look.marker, look.line) for name, look in zip(names, lines_of, strict=True)}
    return [*found, _Panel("Teachers", _curves(teachers, "student", inked))] if names else found


def _curves(rows: pd.DataFrame, by: str, looks: dict[str, Look]) -> tuple[_Curve, ...]:
    """Mean and range over runs at every epoch: they describe what was measured, and estimate nothing."""
    found = []
    for name, look in looks.items():
        values = rows[rows[by] == name].groupby("epoch")["val_acc"]
        if values.ngroups:
            measured = {"mean_pct": values.mean(), "low_pct": values.min(), "high_pct": values.max()}
            epochs = pd.DataFrame(measured).mul(100).assign(runs=values.size()).reset_index()
            found.append(_Curve(architecture(name), look, epochs))
    return tuple(found)


def _thinned(epochs: pd.DataFrame, points: int) -> pd.DataFrame:
    """As many epochs at most, evenly from the first to the last."""
    count = len(epochs)
    if count <= points:
        return epochs
    return epochs.iloc[[round(point * (count - 1) / (points - 1)) for point in range(points)]]


def _draw(axes: Axes, lines: Sequence[tuple[_Curve, pd.DataFrame]], title: str) -> None:
    """Ranges below, means above, and each line's mark at its end."""
    for position, (curve, epochs) in enumerate(lines):
        look = curve.look
        band = axes.fill_between(epochs["epoch"], epochs["low_pct"], epochs["high_pct"], color=look.colour, linewidth=0)
        band.set(alpha=0.16, zorder=1)
        axes.plot(epochs["epoch"], epochs["mean_pct"], look.line, color=look.colour, linewidth=1.4, zorder=3 + position)
        mark = axes.plot(epochs["epoch"].iloc[-1], epochs["mean_pct"].iloc[-1], look.marker, color=look.colour)
        mark[0].set(markersize=5, zorder=20, clip_on=False)
    first = min(epochs["epoch"].iloc[0] for _, epochs in lines)
    last = max(epochs["epoch"].iloc[-1] for _, epochs in lines)
    axes.set_xticks(sorted({first, last}))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color=COLOURS["band"], linewidth=1)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=12, color=COLOURS["muted"], pad=6)
    axes.tick_params(length=0, pad=4)
    bare(axes)


def _label(figure: Figure, axes: Axes, panel: _Panel, bottom: float) -> None:
    """Name the lines at their ends, highest first, moved apart where they would touch."""
    height = figure.get_figheight() * 72
    low, high = axes.get_ylim()
    right = axes.get_position().x1 * WIDTH
    ordered = sorted(panel.curves, key=lambda curve: -curve.last["mean_pct"])
    ends = [bottom + panel.height * (curve.last["mean_pct"] - low) / (high - low) for curve in ordered]
    tops = _apart(
        [end + LINE * len(curve.label) / 2 for end, curve in zip(ends, ordered, strict=True)],
        [LINE * len(curve.label) for curve in ordered],
        bottom,
        bottom + panel.height,
    )
    for curve, end, top in zip(ordered, ends, tops, strict=True):
        middle = top - LINE * len(curve.label) / 2
        x = [(right + 3) / WIDTH, (right + 12) / WIDTH]
        figure.add_artist(Line2D(x, [end / height, middle / height], color=curve.look.colour, linewidth=0.8))
        for position, line in enumerate(curve.label):
            y = top - LINE * position - 10.5
            figure.text((right + 14) / WIDTH, y / height, line, color=curve.look.colour)


def _apart(tops: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Upper edges of labels from the highest down, as near to where they belong as no two touching allows."""
    placed: list[float] = []
    ceiling = high
    for top, height in zip(tops, heights, strict=True):
        placed.append(min(top, ceiling))
        ceiling = placed[-1] - height
    floor = low
    for position in reversed(range(len(placed))):
        placed[position] = max(placed[position], floor + heights[position])
        floor = placed[position]
    return placed


def _description(panels: Sequence[_Panel]) -> str:
    """Where every line ends, in numbers."""
    told = []
    for panel in panels:
        ends = [f"{curve.name} {_end(curve)}" for curve in panel.curves]
        told.append(f"{panel.heading}: {'; '.join(ends)}.")
    return f"Mean validation accuracy after the last epoch, and its range over runs. {' '.join(told)}"


def _end(curve: _Curve) -> str:
    """Mean, range and number of runs after the last epoch: `94.95% (10 runs, 94.62 to 95.20), epoch 100`."""
    runs, last = round(curve.last["runs"]), curve.last
    ends = f"{number(last['low_pct'], 'pct')} to {number(last['high_pct'], 'pct')}"
    which = f"{runs} runs, {ends}" if runs > 1 else "1 run"
    return f"{number(last['mean_pct'], 'pct')}% ({which}), epoch {round(last['epoch'])}"


def _caption(panels: Sequence[_Panel], curves: pd.DataFrame) -> str:
    """What to see, and what a flat end does not say where the learning rate ends near zero."""
    every = [curve for panel in panels for curve in panel.curves]
    moved_pp = max(abs(curve.last["mean_pct"] - _before(curve)["mean_pct"]) for curve in every)
    caption = (
        "What to see: a line that still climbs at its end might have climbed further; where bands overlap, single "
        "runs do not tell methods apart. Lines are means over seeds and teachers, bands reach from the lowest run to "
        "the highest; to the right, the last epochs on a scale of their own. Over the last tenth of the epochs no "
        f"mean moved by more than {number(moved_pp, 'pp')} pp."
    )
    if curves["lr"].iloc[-1] < NEAR_ZERO * curves["lr"].max():
        caption += (
            " The learning rate ends near zero, so a flat end says that training was over, and not that a longer one "
            "would change nothing."
        )
    if any(len(curve.epochs) > POINTS for curve in every):
        caption += f" At most {POINTS} epochs of a line are drawn in each part; curves.csv has all."
    return f"{caption} Validation images choose the checkpoint; the answer rests on test images."


def _before(curve: _Curve) -> pd.Series[float]:
    """The epoch before the last tenth; the first of a short curve."""
    return curve.epochs.iloc[-1 - max(1, len(curve.epochs) // 10)] if len(curve.epochs) > 1 else curve.last
