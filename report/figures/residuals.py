"""Residuals of a model: against fitted values, and against the quantiles that normal ones would have."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from analysis.results import Analysis, Diagnostic
from analysis.runs.columns import cell_label
from report.figures.canvas import POINTS_PER_INCH, WIDTH, Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.numbers import number
from report.words import cell_name, metric_name, shortened

TITLE = "Residuals against fitted values and normal quantiles"
HEADING, PANEL, AXIS, LINE = 26.0, 190.0, 44.0, 16.0  # heights in units
LEFT, RIGHT = 46.0, 14.0  # units beside the panels, for numbers
LETTER, KEY = 7.0, 14.0  # widths in units: of a letter, generously, and of a mark before its name
LETTERS = 52  # of a line of text
NAMED = 3  # largest residuals that are named
TOOLTIPS = 120  # runs up to which each mark has its words; more would make a large file
LEAST_PP, LEAST_PCT = 0.01, 0.01  # room around the marks at least: what lies closer is rounding error
RING, DIGIT = 11.0, 10.0  # sizes in units
# where a rank stands in units from its mark, best first: above a QQ plot's points there are no others
BESIDE = ((-12, 4), (0, 13), (12, -4), (0, -13), (-12, 15), (12, -15), (0, 26), (0, -26))
UNKNOWN = Look(COLOURS["ink"], "o", "-")


@dataclass(frozen=True)
class _Run:
    """A run's residual, and how it is told; `rank` counts the largest residuals from 1, and is 0 for all others."""

    row: Diagnostic
    fitted_pct: float
    name: str
    method: str
    rank: int


def residuals(analysis: Analysis) -> Picture | None:
    """Draw the residuals, given fixed part and random effects, of the model whose diagnostics the analysis holds.

    Args:
        analysis: The analysis to show.

    Returns:
        The picture, or None where there are no residuals.
    """
    runs = _runs(analysis)
    if not runs:
        return None
    looks = {name: look for name, look in method_looks(analysis).items() if name in {run.method for run in runs}}
    keys, key_lines = _keys(looks)
    named = [f"{run.rank}. {_words(run)}" for run in sorted(runs, key=lambda run: run.rank) if run.rank]
    notes = [line for text in named for line in wrapped(text, LETTERS)]
    sd_pp = _sd_pp(analysis, runs[0].row)
    height = LINE * (key_lines + len(notes)) + 2 * (HEADING + PANEL + AXIS) + 6
    tooltips: dict[str, str] = {}
    with canvas(height) as figure:
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        page.set_axis_off()
        for x, line, look, text in keys:
            if look is not None:
                page.plot(x + 5, LINE * line + 8, look.marker, color=look.colour, markersize=7)
            page.text(x + KEY, LINE * line + 12, text)
        y = LINE * key_lines
        page.text(2, y + 18, "Residual (pp) against fitted value", weight="bold")
        by_fitted = _panel(figure, y + HEADING, runs)
        by_fitted.set_xlabel(f"fitted {metric_name(analysis)} (%)")
        _draw(by_fitted, [(run.fitted_pct, run) for run in runs], looks, tooltips)
        y += HEADING + PANEL + AXIS
        page.text(2, y + 18, "Residual (pp) against normal quantile", weight="bold")
        by_quantile = _panel(figure, y + HEADING, runs)
        by_quantile.set_xlabel("quantile of the standard normal distribution")
        if sd_pp is not None:
            by_quantile.axline((0, 0), slope=sd_pp, color=COLOURS["muted"], linewidth=1.2, linestyle="--", zorder=1)
            words, corner = f"dashed: normal, sd {number(sd_pp, 'pp')} pp", by_quantile.transAxes
            by_quantile.text(0.99, 0.04, words, transform=corner, ha="right", color=COLOURS["muted"])
        _draw(by_quantile, [(run.row.normal_quantile, run) for run in runs], looks, tooltips)
        y += HEADING + PANEL + AXIS
        for position, text in enumerate(notes, 1):
            page.text(2, y + LINE * position, text)
        svg = inline_svg(figure, "residuals", TITLE, _description(runs, named, sd_pp), tooltips)
    head = ("model", "subset", "run", "fitted_pct", "residual_pp", "normal_quantile")
    data = tuple(
        (row.model, row.subset, row.label, row.fitted_pct, row.value_pp, row.normal_quantile)
        for row in (run.row for run in runs)
    )
    return Picture("residuals", TITLE, svg, _caption(analysis, runs, named, sd_pp), head, data)


def _runs(analysis: Analysis) -> list[_Run]:
    """Every residual, in the order of the analysis."""
    rows = [
        (row, row.fitted_pct) for row in analysis.diagnostics if row.kind == "residual" and row.fitted_pct is not None
    ]
    largest = sorted(range(len(rows)), key=lambda place: (-abs(rows[place][0].value_pp), rows[place][0].label))
    rank = {place: position for position, place in enumerate(largest[:NAMED], 1)}
    return [
        _Run(row, fitted_pct, *_name_and_method(row.label, analysis), rank.get(place, 0))
        for place, (row, fitted_pct) in enumerate(rows)
    ]


def _name_and_method(label: str, analysis: Analysis) -> tuple[str, str]:
    """Words for a run and its method; a label that begins with no cell of the analysis stays, without a method.

    Cells are looked up, never read out of the label: names may hold any character.
    """
    found = {cell_label(cell.teacher, cell.student, cell.method): cell for cell in analysis.cells}
    fitting = [name for name in found if label.startswith(f"{name}, ")]
    if not fitting:
        return label, ""
    longest = max(fitting, key=len)
    cell = found[longest]
    name = shortened(cell_name(cell.teacher, cell.student, cell.method))
    return name + label.removeprefix(longest), cell.method


def _sd_pp(analysis: Analysis, row: Diagnostic) -> float | None:
    """The estimated standard deviation of a run's error in the model of this residual."""
    fit = (row.model, row.metric, row.subset, "residual")
    rows = analysis.variance_components
    return next((one.sd_pp for one in rows if (one.model, one.metric, one.subset, one.component) == fit), None)


def _words(run: _Run) -> str:
    return f"{run.name}: {number(run.row.value_pp, 'signed_pp')} pp"


def _keys(looks: dict[str, Look]) -> tuple[list[tuple[float, int, Look | None, str]], int]:
    """Where the methods' names stand, side by side while there is room: x, line, mark, text; and how many lines."""
    keys: list[tuple[float, int, Look | None, str]] = []
    x, line = 0.0, 0
    for method, look in looks.items():
        first, *more = wrapped(method, LETTERS)
        if x and x + KEY + LETTER * len(first) > WIDTH:
            x, line = 0.0, line + 1
        keys.append((x, line, look, first))
        x += KEY + LETTER * len(first) + KEY
        for text in more:
            line += 1
            keys.append((0.0, line, None, text))
            x = WIDTH  # nothing else on its line
    return keys, line + bool(keys)


def _panel(figure: Figure, top: float, runs: list[_Run]) -> Axes:
    """Axes for residuals; both panels have the same scale, so that a run is as high in one as in the other."""
    height = figure.get_figheight() * POINTS_PER_INCH
    frame = (LEFT / WIDTH, 1 - (top + PANEL) / height, 1 - (LEFT + RIGHT) / WIDTH, PANEL / height)
    axes = figure.add_axes(frame)
    reach_pp = max(LEAST_PP, *(1.2 * abs(run.row.value_pp) for run in runs))
    axes.set_ylim(-reach_pp, reach_pp)
    axes.axhline(0, color=COLOURS["muted"], linewidth=1, zorder=1)
    axes.grid(axis="y", color=COLOURS["band"], linewidth=1)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=5)
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(axis="y", length=0)
    bare(axes)
    return axes


def _draw(axes: Axes, points: list[tuple[float, _Run]], looks: dict[str, Look], tooltips: dict[str, str]) -> None:
    """Every run at its place, the largest residuals ringed and numbered."""
    places = [x for x, _ in points]
    room = max(0.07 * (max(places) - min(places)), LEAST_PCT)
    axes.set_xlim(min(places) - room, max(places) + room)
    one_by_one = len(points) <= TOOLTIPS
    batches: dict[str, list[tuple[float, _Run]]] = {}
    for position, point in enumerate(points):
        batches.setdefault(f"run-{position}" if one_by_one else point[1].method, []).append(point)
    for batch in batches.values():
        look = looks.get(batch[0][1].method, UNKNOWN)
        marks = axes.plot([x for x, _ in batch], [run.row.value_pp for _, run in batch], look.marker, zorder=2)
        marks[0].set(color=look.colour, markersize=6, alpha=0.75, markeredgewidth=0)
        if one_by_one:
            group = f"run-{len(tooltips)}"
            marks[0].set_gid(group)
            tooltips[group] = f"{_words(batch[0][1])}, fitted {number(batch[0][1].fitted_pct, 'pct')}%"
    _number(axes, sorted(((x, run) for x, run in points if run.rank), key=lambda point: point[1].rank))


def _number(axes: Axes, named: list[tuple[float, _Run]]) -> None:
    """Ring these runs and write their ranks beside them, where no other ring or rank stands."""
    for x, run in named:
        axes.plot(x, run.row.value_pp, "o", color=COLOURS["ink"], markerfacecolor="none", markersize=RING, zorder=3)
    to_units = axes.transData + axes.figure.dpi_scale_trans.inverted() + Affine2D().scale(POINTS_PER_INCH)
    centres = [tuple(to_units.transform((x, run.row.value_pp))) for x, run in named]
    taken = [(x, y, RING) for x, y in centres]
    for (x, run), (across, up) in zip(named, centres, strict=True):
        free = [
            (dx, dy)
            for dx, dy in BESIDE
            if all(max(abs(across + dx - a), abs(up + dy - b)) > (DIGIT + size) / 2 for a, b, size in taken)
        ]
        dx, dy = free[0] if free else BESIDE[0]
        taken.append((across + dx, up + dy, DIGIT))
        mark = axes.annotate(str(run.rank), (x, run.row.value_pp), (dx, dy), textcoords="offset points")
        mark.set(ha="center", va="center_baseline", weight="bold")


def _description(runs: list[_Run], named: list[str], sd_pp: float | None) -> str:
    """How far residuals reach, and which are the largest."""
    values = [run.row.value_pp for run in runs]
    ends = [number(end, "signed_pp") for end in (min(values), max(values))]
    line = "" if sd_pp is None else f" The dashed line of the lower panel has slope {number(sd_pp, 'pp')} pp."
    return f"{len(runs)} residuals from {ends[0]} to {ends[1]} pp. The largest: {'; '.join(named)}.{line}"


def _caption(analysis: Analysis, runs: list[_Run], named: list[str], sd_pp: float | None) -> str:
    """What to see, with the tests of these residuals where the analysis has some."""
    caption = (
        "What to see: above, a cloud without shape is good; a funnel would mean that some cells scatter more than "
        "others, a bend that the model misses something. Below, normal residuals lie along a straight line; ends that "
        "turn away from it are outliers or heavy tails."
    )
    if sd_pp is not None:
        caption += (
            " The dashed line has the standard deviation that the model estimates for its error; residuals lie a "
            "little flatter, since a fit takes up part of the scatter."
        )
    tests = [
        f"{row.assumption}: {row.test}, p {number(row.p, 'p')}"
        for row in analysis.assumptions
        if row.model == runs[0].row.model and not row.assumption.startswith("effects of")
    ]
    if tests:
        caption += f" Tests ({'; '.join(tests)}) find gross failures only; a large p is no proof."
    return f"{caption} Rings mark the largest {len(named)} of {len(runs)} residuals."
