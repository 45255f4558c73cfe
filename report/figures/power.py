"""Power curves: how many seeds a cell find a true effect, and how many give a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.inference.power import MOST_SEEDS, WANTED
from analysis.results import Analysis, PowerPoint, SeedsNeeded
from report.figures.canvas import WIDTH, Picture, bare, canvas, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import number
from report.words import contrast_labels, shortened

TITLE = "Power: what more seeds would find"
LEFT, RIGHT, BESIDE = 38.0, 12.0, 72.0  # units around the axes; `BESIDE` where a line is named at its right end
LINE, CURVES, AXIS = 15.0, 124.0, 44.0  # heights in units: a line of text, the axes, and what stands below them
LETTERS = 62  # in a line of text
NAME = 66.0  # width of a line's name
TICK = 22.0  # least distance of two ticks
ALIKE = 0.01  # curves that differ by less cannot be told apart in a figure
PANELS = 4
MARKERS = ("o", "s", "^", "D")  # of the effects, smallest first
SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆"}  # the same as letters


@dataclass(frozen=True)
class _Line:
    """One true effect: its points by seeds, and how many seeds find it with probability `WANTED`."""

    effect_pp: float
    marker: str
    points: tuple[PowerPoint, ...]
    needed: SeedsNeeded | None


@dataclass(frozen=True)
class _Panel:
    """Contrasts of the same curves, and the lines of the first."""

    contrasts: tuple[str, ...]
    lines: tuple[_Line, ...]


def power(analysis: Analysis) -> Picture | None:
    """Draw power and the probability of a verdict against seeds a cell; None where nothing was planned.

    Contrasts whose curves cannot be told apart share a panel, as all methods do in a balanced study.
    """
    panels = _panels(analysis)
    if not panels:
        return None
    shown, labels = panels[:PANELS], contrast_labels(analysis)
    now = min((cell.n for cell in analysis.cells), default=None)
    names = [
        [line for name in panel.contrasts for line in wrapped(shortened(labels.get(name, name)), LETTERS)]
        for panel in shown
    ]
    of_power, of_verdicts = LINE * 4 + CURVES + AXIS, LINE * 3 + CURVES + AXIS
    height = sum(LINE * len(lines) + of_power + of_verdicts for lines in names)
    with canvas(height) as figure:
        y = 0.0
        for panel, lines in zip(shown, names, strict=True):
            for line in lines:
                figure.text(0.005, 1 - (y + LINE * 0.8) / height, line, weight="bold")
                y += LINE
            found, told = "probability that the effect is found", "probability of a verdict"
            _draw(figure, found, panel.lines, now, y, height, _power_of)
            _draw(figure, told, panel.lines, now, y + of_power, height, _verdict_of)
            y += of_power + of_verdicts
        svg = inline_svg(figure, "power", TITLE, _description(shown, labels, now), {})
    head = (
        "contrast", "effect_pp", "seeds", "se_pp", "df", "power", "power_low", "power_high", "verdict_probability",
    )  # fmt: skip
    data = tuple(
        (
            point.contrast, point.effect_pp, point.seeds, point.se_pp, point.df, point.power, point.power_low,
            point.power_high, point.verdict_probability,
        )
        for point in analysis.power
    )  # fmt: skip
    return Picture("power", TITLE, svg, _caption(analysis, panels, now), head, data)


def _power_of(point: PowerPoint) -> float:
    return point.power


def _verdict_of(point: PowerPoint) -> float:
    return point.verdict_probability


def _panels(analysis: Analysis) -> list[_Panel]:
    """The contrasts in their order, those with the same curves together."""
    panels: list[_Panel] = []
    for contrast in dict.fromkeys(point.contrast for point in analysis.power):
        lines = _lines(analysis, contrast)
        for position, panel in enumerate(panels):
            if _alike(panel.lines, lines):
                panels[position] = _Panel((*panel.contrasts, contrast), panel.lines)
                break
        else:
            panels.append(_Panel((contrast,), lines))
    return panels


def _lines(analysis: Analysis, contrast: str) -> tuple[_Line, ...]:
    own = [point for point in analysis.power if point.contrast == contrast]
    needed = {row.effect_pp: row for row in analysis.seeds_needed if row.contrast == contrast and row.power == WANTED}
    return tuple(
        _Line(
            effect_pp,
            MARKERS[position % len(MARKERS)],
            tuple(sorted((p for p in own if p.effect_pp == effect_pp), key=lambda point: point.seeds)),
            needed.get(effect_pp),
        )
        for position, effect_pp in enumerate(sorted({point.effect_pp for point in own}))
    )


def _alike(some: Sequence[_Line], others: Sequence[_Line]) -> bool:
    """Whether two contrasts have the same curves for the eye."""
    ones, twos = ([point for line in lines for point in line.points] for lines in (some, others))
    if [(p.effect_pp, p.seeds) for p in ones] != [(p.effect_pp, p.seeds) for p in twos]:
        return False
    return all(
        abs(value - other) < ALIKE
        for one, two in zip(ones, twos, strict=True)
        for value, other in zip(_shown(one), _shown(two), strict=True)
    )


def _shown(point: PowerPoint) -> tuple[float, ...]:
    return point.power, point.power_low, point.power_high, point.verdict_probability


def _draw(
    figure: Figure,
    title: str,
    lines: Sequence[_Line],
    now: int | None,
    y: float,
    height: float,
    probability: Callable[[PowerPoint], float],
) -> None:
    """One pair of axes from `y` on: title, names of the lines, curves, seeds."""
    banded = probability is _power_of
    top = y + LINE * (4 if banded else 3)
    late = any(_reached(line, way) is None for line in lines for way in (_power_of, _verdict_of))
    width = WIDTH - LEFT - (BESIDE if late else RIGHT)  # the same for both ways: one scale of seeds below the other
    figure.text(0.005, 1 - (y + LINE * 0.8) / height, title)
    axes = figure.add_axes((LEFT / WIDTH, 1 - (top + CURVES) / height, width / WIDTH, CURVES / height))
    seeds = sorted({point.seeds for line in lines for point in line.points} | ({now} if now else set()))
    axes.set_xscale("log")
    axes.set_xlim(seeds[0] / 1.1, seeds[-1] * 1.1)
    axes.set_ylim(0, 1)
    if banded:
        for line in lines:
            _draw_band(axes, line)
    axes.axhline(WANTED, color=COLOURS["muted"], linewidth=1, linestyle=(0, (1, 2)))
    if now is not None:
        axes.axvline(now, color=COLOURS["muted"], linewidth=1.6)
    for line in lines:
        curve = axes.plot(
            [point.seeds for point in line.points], list(map(probability, line.points)), color=COLOURS["ink"]
        )
        curve[0].set(marker=line.marker, markersize=6, linewidth=1.5, clip_on=False, zorder=4)
        curve[0].set(markeredgewidth=0.8, markeredgecolor=COLOURS["page"])
    _name_lines(axes, lines, width, probability)
    _scale(axes, seeds, now, width)


def _draw_band(axes: Axes, line: _Line) -> None:
    """What sigma's own interval makes of the power: filled, with dashed edges, so that it is seen without colour."""
    seeds = [point.seeds for point in line.points]
    low, high = [point.power_low for point in line.points], [point.power_high for point in line.points]
    axes.fill_between(seeds, low, high, color=COLOURS["band"], linewidth=0, zorder=0)
    for edge in (low, high):
        axes.plot(seeds, edge, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)


def _reached(line: _Line, probability: Callable[[PowerPoint], float]) -> float | None:
    """Seeds at which the drawn line crosses `WANTED`; None if it does not."""
    for before, after in zip((None, *line.points), line.points, strict=False):
        if probability(after) >= WANTED:
            if before is None:
                return after.seeds
            share = (WANTED - probability(before)) / (probability(after) - probability(before))
            return float(before.seeds * (after.seeds / before.seeds) ** share)
    return None


def _name_lines(axes: Axes, lines: Sequence[_Line], width: float, probability: Callable[[PowerPoint], float]) -> None:
    """Names where the lines cross 80%, above the axes; where they do not, at their right ends."""
    banded = probability is _power_of
    low, high = (math.log(end) for end in axes.get_xlim())
    crossed = [(line, seeds) for line in lines if (seeds := _reached(line, probability)) is not None]
    crossed.sort(key=lambda pair: pair[1])
    wanted = [width * (math.log(seeds) - low) / (high - low) for _, seeds in crossed]
    for (line, seeds), x in zip(crossed, _spread(wanted, NAME, NAME / 2 - LEFT, width + RIGHT - NAME / 2), strict=True):
        at = math.exp(low + x / width * (high - low))
        words = _words(line, banded=banded)
        axes.plot([seeds, at], [WANTED, 1.03], color=COLOURS["muted"], linewidth=0.6, clip_on=False, zorder=3)
        for position, word in enumerate(words):
            axes.text(at, 1 + (6 + LINE * (len(words) - 1 - position) + 3) / CURVES, word, ha="center")
    late = sorted((probability(line.points[-1]), position) for position, line in enumerate(lines))
    late = [(end, position) for end, position in late if _reached(lines[position], probability) is None]
    room = LINE * (2 if banded else 1)
    ends = _spread([end * CURVES for end, _ in late], room, room / 2 - 6, CURVES)
    for (_, position), y in zip(late, ends, strict=True):
        for row, word in enumerate(_words(lines[position], banded=banded)):
            offset = room / 2 - LINE * (row + 0.75)
            axes.text(1 + 6 / width, (y + offset) / CURVES, word, transform=axes.transAxes)


def _words(line: _Line, *, banded: bool) -> list[str]:
    """The effect, and how many seeds find it, where that is known."""
    effect = f"{SIGNS[line.marker]} {number(line.effect_pp, 'plain')} pp"
    if not banded or line.needed is None:
        return [effect]
    return [effect, _seeds(line.needed.seeds) + (" seeds" if line.needed.seeds else "")]


def _seeds(count: int | None) -> str:
    return f"> {MOST_SEEDS}" if count is None else str(count)


def _spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places, ascending, moved as little as need be to stand apart between two ends."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + apart if found else low))
    for position in reversed(range(len(found))):
        found[position] = min(found[position], found[position + 1] - apart if position + 1 < len(found) else high)
    return found


def _scale(axes: Axes, seeds: Sequence[int], now: int | None, width: float) -> None:
    """Ticks at the numbers of seeds, as far as they fit, and first at that of these runs."""
    low, high = (math.log(end) for end in axes.get_xlim())
    places = {count: width * (math.log(count) - low) / (high - low) for count in seeds}
    kept: list[int] = []
    for count in sorted(seeds, key=lambda count: (count != now, count)):
        if all(abs(places[count] - places[other]) >= TICK for other in kept):
            kept.append(count)
    axes.set_xticks(sorted(kept), [str(count) for count in sorted(kept)])
    axes.minorticks_off()
    axes.set_yticks([0, 0.5, WANTED, 1], [f"{number(share, 'share')}%" for share in (0, 0.5, WANTED, 1)])
    axes.tick_params(length=3)
    bare(axes)
    below = -(AXIS - 12) / CURVES
    right = now is None or places[now] < width / 2
    axes.text(1 if right else 0, below, "seeds a cell", transform=axes.transAxes, ha="right" if right else "left")
    if now is not None:
        for label in axes.get_xticklabels():
            if label.get_text() == str(now):
                label.set_fontweight("bold")
        side = "left" if places[now] < NAME / 2 else "right" if places[now] > width - NAME / 2 else "center"
        axes.text(now, below, "these runs", ha=side, weight="bold")


def _description(panels: Sequence[_Panel], labels: dict[str, str], now: int | None) -> str:
    """The finding of each effect in numbers."""
    told = []
    for panel in panels:
        told.append(f"{'; '.join(labels.get(name, name) for name in panel.contrasts)}.")
        told += [_told(line, now) for line in panel.lines]
    return " ".join(told)


def _told(line: _Line, now: int | None) -> str:
    """One effect with the seeds of these runs, or else with the fewest and the most drawn, and the seeds it takes."""
    effect, wanted = f"a true effect of {number(line.effect_pp, 'plain')} pp", f"{number(WANTED, 'share')}%"
    at = [point for point in line.points if point.seeds == now] or [line.points[0], line.points[-1]]
    told = [
        f"With {point.seeds} seeds a cell {effect} is found with probability {number(point.power, 'share')}% "
        f"({number(point.power_low, 'share')} to {number(point.power_high, 'share')}%) and gets a verdict with "
        f"{number(point.verdict_probability, 'share')}%."
        for point in at
    ]
    if line.needed:
        ends = f"{_seeds(line.needed.seeds_low)} to {_seeds(line.needed.seeds_high)}"
        told.append(f"To find it with {wanted} takes {_seeds(line.needed.seeds)} seeds ({ends}).")
    return " ".join(told)


def _caption(analysis: Analysis, panels: Sequence[_Panel], now: int | None) -> str:
    """What to see, and what it rests on."""
    caption = (
        "What to see: how many seeds a cell it takes. Each line is a true effect, named where it reaches "
        f"{number(WANTED, 'share')}% or at its end. Found means that the unadjusted 95% interval excludes zero; the "
        "band between dashed edges is what the uncertainty of sigma (its own 95% interval) makes of the line. A "
        f"verdict is any but “cannot tell”, at the margin of {number(analysis.margin_pp, 'plain')} pp."
    )
    at_margin = [line for line in panels[0].lines if math.isclose(line.effect_pp, analysis.margin_pp)]
    caption += "".join(f" {_told(line, now)}" for line in at_margin)
    caption += (
        " All this holds if the variances are those fitted here, and says nothing about whether there is an effect."
    )
    if any(len(panel.contrasts) > 1 for panel in panels):
        caption += " Contrasts whose curves cannot be told apart share a panel."
    left_out = sum(len(panel.contrasts) for panel in panels[PANELS:])
    if left_out:
        caption += f" Contrasts with other curves that are not drawn: {left_out}; their numbers stand in the table."
    return caption
