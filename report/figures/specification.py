"""Specification curve: the moderation estimate under every choice, and what each choice does to it.

After Simonsohn, Simmons and Nelson, Nat Hum Behav 4, 2020, 1208-1214, turned on its side: all parts share one axis of
estimates, so that zero and the margin run through the whole figure, and an option takes one line however many
specifications take it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from analysis.results import Analysis, Specification
from analysis.study.contrasts import LEVEL
from analysis.study.multiverse import SELECTED
from report.figures.canvas import WIDTH, Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import estimate, interval, number
from report.words import architecture, choice_name, option_name, shortened

TITLE = "Moderation under every specification"
IN_POINTS = "pp"
CHOICES = ("metric", "seeds", "teachers", "hyperparameters", "model")  # df_method moves intervals, not estimates
LEFT, RIGHT, TOP, BOTTOM = 126.0, 8.0, 26.0, 42.0  # units around the axes; words stand to their left
LINE = 15.0  # height of a line of text
LETTERS, BOLD_LETTERS = 20, 17  # in a line of text
CURVE, PITCH = 140.0, 10.0  # height of a curve of many specifications, and of each of few
GAP = 12.0  # below a curve
HEADING = 22.0
LANE, LANES = 7.0, 40.0  # height of one method in the row of an option, and of all of many
OPTIONS = 9  # rows of one choice at most
BEYOND = 20  # one in so many intervals may reach beyond the frame at either end: those of tiny designs are endless
MERGED = 3  # units: of estimates that stand closer one stroke is drawn in a lane
GRAIN = 10  # positions are rounded to 1/GRAIN unit, which no eye sees: half the bytes


@dataclass(frozen=True)
class _Curve:
    """One method's specifications in points, highest estimate first; `primary` is that on which claims rest."""

    method: str
    look: Look
    rows: tuple[Specification, ...]
    primary: Specification | None

    @property
    def words(self) -> list[str]:
        """Lines of text beside the curve; the first ones name the method."""
        sides = [_side(row) for row in self.rows]
        counts = (f"{len(self.rows)} specifications", f"{sides.count(1)} above 0, {sides.count(-1)} below")
        if self.primary is None:
            return [*_wrapped(self.method, bold=True), *counts]
        ends = interval(self.primary.ci_low, self.primary.ci_high, "signed_pp")
        return [
            *_wrapped(self.method, bold=True),
            *counts,
            f"{number(self.primary.estimate, 'signed_pp')} primary",
            ends,
        ]

    @property
    def height(self) -> float:
        """Room for the curve beside its words."""
        return max(min(PITCH * len(self.rows), CURVE), LINE * len(self.words))


@dataclass(frozen=True)
class _Taken:
    """One method's specifications that take an option."""

    curve: _Curve
    name: str
    median_pp: float
    estimates_pp: tuple[float, ...]


@dataclass(frozen=True)
class _Row:
    """One option of a choice: its name, whether a primary specification takes it, and a lane for each method."""

    lines: tuple[str, ...]
    of_primary: bool
    lanes: tuple[_Taken, ...]

    @property
    def pitch(self) -> float:
        """From one lane to the next."""
        return min(LANE, LANES / len(self.lanes))

    @property
    def height(self) -> float:
        """Room for the name beside the lanes."""
        return max(LINE * len(self.lines), self.pitch * len(self.lanes)) + 2


@dataclass(frozen=True)
class _Group:
    """A choice with the rows of its options; `left_out` more lie between them."""

    choice: str
    rows: tuple[_Row, ...]
    left_out: int

    @property
    def height(self) -> float:
        """Room for the heading, the rows, and a line on those left out."""
        return HEADING + sum(row.height for row in self.rows) + (LINE if self.left_out else 0)


@dataclass(frozen=True)
class _Lane:
    """Where a method's specifications that take an option are drawn."""

    taken: _Taken
    y: float


def specification(analysis: Analysis) -> Picture | None:
    """Draw the specifications on the scale of percentage points; None where there are none.

    Above, each method's specifications by size, with intervals; below, a row for each option of each choice, with its
    specifications and their median. The primary specification is marked above, and its options below.
    """
    curves = _curves(analysis)
    if not curves:
        return None
    groups = [group for choice in CHOICES if (group := _group(choice, curves, analysis)).rows]
    inside = sum(curve.height + GAP for curve in curves) + sum(group.height for group in groups)
    height = TOP + inside + BOTTOM
    tooltips: dict[str, str] = {}
    with canvas(height) as figure:
        axes = figure.add_axes((LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, inside / height))
        axes.set_xlim(*_frame(curves, analysis.margin_pp))
        axes.set_ylim(inside, 0)
        axes.axvspan(-analysis.margin_pp, analysis.margin_pp, color=COLOURS["band"], linewidth=0, zorder=0)
        axes.axvline(0, color=COLOURS["muted"], linewidth=1, zorder=1)
        y = 0.0
        for curve in curves:
            _draw_curve(axes, curve, y)
            y += curve.height + GAP
        lanes: list[_Lane] = []
        for group in groups:
            lanes += _draw_names(axes, group, y)
            y += group.height
        for curve in curves:
            _draw_lanes(axes, curve, [lane for lane in lanes if lane.taken.curve is curve], tooltips)
        axes.set_yticks([])
        axes.tick_params(top=True, labeltop=True)
        bare(axes)
        figure.text(0.995, 6 / height, "gain of the larger student less that of the smaller (pp)", ha="right")
        svg = inline_svg(figure, "specification", TITLE, _description(analysis, curves), tooltips)
    head = (
        "method", "metric", "seeds", "teachers", "hyperparameters", "model", "df_method", "estimate_pp", "ci_low_pp",
        "ci_high_pp", "p", "interval_above_0", "above_0_after_holm", "primary",
    )  # fmt: skip
    data = tuple(
        (
            row.method, row.metric, row.seeds, row.teachers, row.hyperparameters, row.model, row.df_method,
            row.estimate, row.ci_low, row.ci_high, row.p,
            *("yes" if holds else "no" for holds in (row.supports, row.supports_holm, row is curve.primary)),
        )
        for curve in curves
        for row in curve.rows
    )  # fmt: skip
    return Picture("specification", TITLE, svg, _caption(analysis, curves, groups), head, data)


def _curves(analysis: Analysis) -> list[_Curve]:
    """The curve of each method that has specifications in points, in the order of the methods."""
    curves = []
    for method, look in method_looks(analysis).items():
        own = [row for row in analysis.multiverse if row.method == method and row.scale == IN_POINTS]
        # rounded, so that equal estimates of several models stand in the order of the file, whatever their last digits
        ordered = sorted(own, key=lambda row: -round(row.estimate, 9))
        if ordered:
            curves.append(_Curve(method, look, tuple(ordered), _primary(own, analysis.metric)))
    return curves


def _primary(rows: Iterable[Specification], metric: str) -> Specification | None:
    """The specification that claims rest on: all that was analysed, in the mixed model, with its first df method."""
    for row in rows:
        asked = (row.metric, row.seeds, row.teachers, row.hyperparameters, row.model)
        if asked == (metric, "all", "all", SELECTED, "mixed"):
            return row
    return None


def _side(row: Specification) -> int:
    """On which side of zero the 95% interval lies (of a permutation test: its p value says so); 0 if it holds zero."""
    if row.supports:
        return 1
    below = row.p < 1 - LEVEL if row.ci_high is None else row.ci_high < 0
    return -1 if below and row.estimate < 0 else 0


def _group(choice: str, curves: Sequence[_Curve], analysis: Analysis) -> _Group:
    """The rows of a choice; none where there is nothing to choose.

    Of many options the first is drawn, and those with the lowest and the highest medians: all others lie between.
    """
    known = {(one.method, one.option): one for one in analysis.choices if one.choice == choice}
    options: dict[str, list[_Taken]] = {}
    for option in dict.fromkeys(one.option for one in analysis.choices if one.choice == choice):
        for curve in curves:
            one = known.get((curve.method, option))
            own = tuple(row.estimate for row in curve.rows if getattr(row, choice) == option)
            if one is not None and one.median_estimate_pp is not None and own:
                name = f"{choice_name(choice)}: {_option(choice, option)}"
                options.setdefault(option, []).append(_Taken(curve, name, one.median_estimate_pp, own))
    if len(options) < 2:  # noqa: PLR2004 - one option is no choice
        return _Group(choice, (), 0)
    kept = _outermost(options) if len(options) > OPTIONS else set(options)
    of_primary = {getattr(curve.primary, choice) for curve in curves if curve.primary}
    rows = tuple(
        _Row(_wrapped(_option(choice, option), bold=option in of_primary), option in of_primary, tuple(lanes))
        for option, lanes in options.items()
        if option in kept
    )
    return _Group(choice, rows, len(options) - len(rows))


def _outermost(options: dict[str, list[_Taken]]) -> set[str]:
    """The first option, and as many as there is room for with the lowest and with the highest medians."""
    medians = {option: [lane.median_pp for lane in lanes] for option, lanes in options.items()}
    each = (OPTIONS - 1) // 2
    lowest = sorted(options, key=lambda option: min(medians[option]))
    highest = sorted(options, key=lambda option: -max(medians[option]))
    return {next(iter(options)), *lowest[:each], *highest[:each]}


def _option(choice: str, option: str) -> str:
    """Words for an option, in short."""
    if choice == "teachers" and option.startswith("without "):
        return f"without {shortened(architecture(option.removeprefix('without ')))}"
    return option_name(choice, option)


def _wrapped(text: str, *, bold: bool) -> tuple[str, ...]:
    return wrapped(text, BOLD_LETTERS if bold else LETTERS)


def _frame(curves: Sequence[_Curve], margin_pp: float) -> tuple[float, float]:
    """Ends of the axis: all estimates, the margin, and the intervals but for the few that reach farthest."""
    rows = [row for curve in curves for row in curve.rows]
    lows, highs = (sorted(end) for end in zip(*_intervals(rows), strict=True)) if _intervals(rows) else ([], [])
    estimates = [row.estimate for row in rows]
    low_pp = min(-margin_pp, *estimates, *lows[len(lows) // BEYOND :][:1])
    high_pp = max(margin_pp, *estimates, *highs[: len(highs) - len(highs) // BEYOND][-1:])
    room = (high_pp - low_pp) / 40
    return low_pp - room, high_pp + room


def _draw_curve(axes: Axes, curve: _Curve, y: float) -> None:
    """Intervals as lines, estimates as marks, the highest above; the words to the left."""
    pitch = min(curve.height / len(curve.rows), PITCH)
    edges = [y + pitch * position for position in range(len(curve.rows) + 1)]
    drawn = [
        (row.ci_low, row.ci_high, (above + below) / 2, _side(row))
        for row, above, below in zip(curve.rows, edges, edges[1:], strict=False)
        if row.ci_low is not None and row.ci_high is not None
    ]
    for colour, sides in ((COLOURS["rule"], (0,)), (COLOURS["ink"], (-1, 1))):
        own = [(low, at, high, at) for low, high, at, side in drawn if side in sides]
        _segments(axes, own, colour, min(max(0.75 * pitch, 0.4), 2))
    _segments(axes, _steps([row.estimate for row in curve.rows], edges), curve.look.colour, 2)
    first_number = len(curve.words) - 2
    for position, line in enumerate(curve.words):
        baseline = y + LINE * (position + 0.75)
        is_primary = curve.primary is not None and position == first_number
        weight = "bold" if position < len(_wrapped(curve.method, bold=True)) else "normal"
        axes.text(_left(14 if is_primary else 0), baseline, line, transform=axes.get_yaxis_transform(), weight=weight)
        if is_primary:
            key = axes.plot(_left(5), baseline - 4.5, curve.look.marker, transform=axes.get_yaxis_transform())
            key[0].set(color=curve.look.colour, markersize=8, markeredgewidth=0, clip_on=False)
    if curve.primary is not None:
        at = next((a + b) / 2 for row, a, b in zip(curve.rows, edges, edges[1:], strict=False) if row is curve.primary)
        if curve.primary.ci_low is not None and curve.primary.ci_high is not None:
            axes.plot([curve.primary.ci_low, curve.primary.ci_high], [at, at], "|-", color=curve.look.colour, zorder=4)
        mark = axes.plot(curve.primary.estimate, at, curve.look.marker, color=curve.look.colour, markersize=9, zorder=5)
        mark[0].set(markeredgecolor=COLOURS["page"])


def _left(units: float) -> float:
    """A place in the column of words, in widths of the axes."""
    return (units - LEFT + 2) / (WIDTH - LEFT - RIGHT)


def _steps(values: Sequence[float], edges: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """An upright line at each value from its edge to the next; one line through equal neighbours."""
    lines: list[tuple[float, float, float, float]] = []
    for value, above, below in zip(values, edges, edges[1:], strict=False):
        if lines and math.isclose(lines[-1][0], value, abs_tol=1e-9):
            lines[-1] = (value, lines[-1][1], value, below)
        else:
            lines.append((value, above, value, below))
    return lines


def _segments(axes: Axes, ends: Sequence[tuple[float, float, float, float]], colour: str, width: float) -> None:
    """Many straight lines (x, y, x, y) as one path, cut at the frame and rounded: a tenth of the bytes."""
    if not ends:
        return
    left, right = axes.get_xlim()
    unit_pp = (right - left) / (WIDTH - LEFT - RIGHT)

    def across(value: float) -> float:
        return left + unit_pp * round(GRAIN * (min(max(value, left), right) - left) / unit_pp) / GRAIN

    x = [value for x0, _, x1, _ in ends for value in (across(x0), across(x1), math.nan)]
    y = [round(GRAIN * value) / GRAIN for _, y0, _, y1 in ends for value in (y0, y1, y1)]
    axes.plot(x, y, color=colour, linewidth=width, solid_capstyle="butt", zorder=2)


def _draw_names(axes: Axes, group: _Group, y: float) -> list[_Lane]:
    """A choice and its options to the left; where the lanes of the options go."""
    words = axes.get_yaxis_transform()
    axes.plot([_left(0), 1], [y, y], color=COLOURS["rule"], linewidth=1, transform=words, clip_on=False, zorder=1)
    axes.text(_left(0), y + 16, choice_name(group.choice), transform=words, color=COLOURS["muted"])
    y += HEADING
    lanes = []
    for row in group.rows:
        top = y + (row.height - LINE * len(row.lines)) / 2
        for position, line in enumerate(row.lines):
            weight = "bold" if row.of_primary else "normal"
            axes.text(_left(0), top + LINE * (position + 0.75), line, transform=words, weight=weight)
        first = y + (row.height - row.pitch * (len(row.lanes) - 1)) / 2
        lanes += [_Lane(taken, first + row.pitch * position) for position, taken in enumerate(row.lanes)]
        y += row.height
    if group.left_out:
        left_out = f"{group.left_out} more lie between"
        axes.text(_left(0), y + LINE - 5, left_out, transform=words, color=COLOURS["muted"])
    return lanes


def _draw_lanes(axes: Axes, curve: _Curve, lanes: Sequence[_Lane], tooltips: dict[str, str]) -> None:
    """One method's lanes: a line over an option's specifications, strokes where they are, a mark at their median."""
    colour, (left, right) = curve.look.colour, axes.get_xlim()
    merged_pp = MERGED * (right - left) / (WIDTH - LEFT - RIGHT)
    lines: list[tuple[float, float, float, float]] = []
    for lane in lanes:
        values = sorted(lane.taken.estimates_pp)
        if values[0] < values[-1]:
            lines.append((values[0], lane.y, values[-1], lane.y))
        apart = {round(value / merged_pp): value for value in values} | {None: values[0]}
        lines += [(value, lane.y - 2.5, value, lane.y + 2.5) for value in apart.values()]
    _segments(axes, lines, colour, 0.8)
    for lane in lanes:
        taken, identity = lane.taken, f"option-{len(tooltips)}"
        mark = axes.plot(taken.median_pp, lane.y, curve.look.marker, color=colour, markersize=6, zorder=4)
        mark[0].set(gid=identity, markeredgewidth=0, clip_on=False)
        ends = (number(end(taken.estimates_pp), "signed_pp") for end in (min, max))
        tooltips[identity] = (
            f"{curve.method}, {taken.name}. Median {number(taken.median_pp, 'signed_pp')} pp, "
            f"{len(taken.estimates_pp)} specifications from {' to '.join(ends)} pp"
        )


def _description(analysis: Analysis, curves: Sequence[_Curve]) -> str:
    """The finding of each method in numbers."""
    told = []
    for curve in curves:
        sides = [_side(row) for row in curve.rows]
        highest, lowest = curve.rows[0].estimate, curve.rows[-1].estimate
        told.append(
            f"{curve.method}: {len(curve.rows)} specifications from {number(lowest, 'signed_pp')} to "
            f"{number(highest, 'signed_pp')} pp; {sides.count(1)} with an interval above zero "
            f"({sum(row.supports_holm for row in curve.rows)} after Holm's correction), {sides.count(-1)} below."
        )
        if curve.primary is not None:
            primary = (curve.primary.estimate, curve.primary.ci_low, curve.primary.ci_high)
            told.append(f"The primary one: {estimate(*primary, 'signed_pp')} pp.")
        medians = [
            (one.median_estimate_pp, f"{choice_name(one.choice)}: {_option(one.choice, one.option)}")
            for one in analysis.choices
            if one.method == curve.method and one.choice in CHOICES and one.median_estimate_pp is not None
        ]
        if medians:
            ends = [f"{number(median_pp, 'signed_pp')} ({name})" for median_pp, name in (min(medians), max(medians))]
            told.append(f"Medians of its options run from {ends[0]} to {ends[1]}.")
    return " ".join(told)


def _caption(analysis: Analysis, curves: Sequence[_Curve], groups: Sequence[_Group]) -> str:
    """What to see, how to read the marks, and what is not drawn."""
    rows = [row for curve in curves for row in curve.rows]
    sides, (left, right) = [_side(row) for row in rows], _frame(curves, analysis.margin_pp)
    caption = (
        "What to see: whether the answer hangs on how it is computed. Each line is the 95% interval of one defensible "
        f"way, a specification; upright strokes are estimates, the highest above. Intervals above zero: "
        f"{sides.count(1)} of {len(rows)} ({sum(row.supports_holm for row in rows)} after Holm's correction); below: "
        f"{sides.count(-1)}; these are drawn strongest. The grey band is the margin, "
        f"±{number(analysis.margin_pp, 'pp')} pp."
    )
    if any(curve.primary for curve in curves):
        caption += " Large marks are the primary specification, on which the claims rest"
        caption += ", and its options are bold." if groups else "."
    if groups:
        order = ", methods in the order of the curves" if len(curves) > 1 else ""
        caption += (
            f" Below, the specifications by the option that they take{order}: a mark at their median. An option whose "
            "mark stands away from the others moves the estimate, or rests on few runs."
        )
    caption += " Specifications share their runs: shares of them are no probabilities."
    permuted = sum(row.ci_low is None for row in rows)
    if permuted:
        caption += f" Permutation tests ({permuted}) have no interval and count by their p value."
    cut = sum(low < left or high > right for low, high in _intervals(rows))
    if cut:
        caption += f" Intervals that go on beyond the frame: {cut}."
    others = [row for row in analysis.multiverse if row.scale != IN_POINTS]
    if others:
        scales = " and ".join(dict.fromkeys(row.scale for row in others))
        caption += (
            f" Not drawn, since their unit is another: {len(others)} on other scales ({scales}), "
            f"{sum(row.supports for row in others)} of them above zero."
        )
    return caption


def _intervals(rows: Iterable[Specification]) -> list[tuple[float, float]]:
    return [(row.ci_low, row.ci_high) for row in rows if row.ci_low is not None and row.ci_high is not None]
