"""Equivalence plot: which gains and differences are too small to matter, which lie beyond zero, which are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.claims.verdict import inside
from analysis.results import Analysis, Contrast
from report.figures.canvas import Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.forest import grouped_contrasts
from report.figures.svg import COLOURS, inline_svg
from report.numbers import estimate, number
from report.words import contrast_labels, metric_name, shortened

TITLE = "Inside the margin, beyond zero, or open"
HEADING, LINE, LANE, AXIS = 30.0, 15.0, 21.0, 46.0  # heights in units
LETTERS, BOLD_LETTERS = 54, 48  # of 12 units that fit side by side
ALPHA = 0.05
BEYOND, BOTH, SMALL = "beyond zero", "beyond zero, inside the margin", "inside the margin"
OPEN = "cannot tell"


@dataclass(frozen=True)
class _Row:
    """A contrast as it is drawn: its name in full and as lines, and what follows."""

    contrast: Contrast
    name: str
    label: tuple[str, ...]
    word: str

    @property
    def height(self) -> float:
        """In units, lines and lane together."""
        return LINE * len(self.label) + LANE


def equivalence(analysis: Analysis) -> Picture | None:
    """Draw the gains and moderation contrasts that count with their 90% intervals, beside the margin.

    The order is that of the forest plot. A word says what follows: the 90% interval decides whether an effect is shown
    to be inside the margin, the p value adjusted for its family (Holm) whether it is shown to lie beyond zero.

    Args:
        analysis: The analysis to show.

    Returns:
        The picture, or None where there is no such contrast.
    """
    labels, looks = contrast_labels(analysis), method_looks(analysis)
    groups = {
        wrapped(heading, BOLD_LETTERS): [
            _row(contrast, labels.get(contrast.contrast, contrast.contrast), analysis.margin_pp) for contrast in rows
        ]
        for heading, rows in grouped_contrasts(analysis).items()
    }
    rows = [row for group in groups.values() for row in group]
    if not rows:
        return None
    height = sum(HEADING + LINE * (len(heading) - 1) for heading in groups) + sum(row.height for row in rows) + AXIS
    with canvas(height) as figure:
        axes = figure.add_axes((0.01, AXIS / height, 0.98, 1 - AXIS / height))
        axes.set_ylim(height - AXIS, 0)
        across, y = axes.get_yaxis_transform(), 0.0
        for heading, group in groups.items():
            for position, line in enumerate(heading):
                axes.text(0, y + 19 + LINE * position, line, transform=across, weight="bold")
            y += HEADING + LINE * (len(heading) - 1)
            for row in group:
                for position, line in enumerate(row.label):
                    axes.text(0, y + 10 + LINE * position, line, transform=across)
                y += LINE * len(row.label)
                colour = COLOURS["muted" if row.word == OPEN else "ink"]
                axes.text(1, y - 5, row.word, transform=across, ha="right", color=colour)
                look = looks.get(row.contrast.contrast.rsplit(":", 1)[-1], Look(COLOURS["ink"], "D", "-"))
                _lane(axes, row.contrast, analysis.margin_pp, y, look)
                y += LANE
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_yticks([])
        axes.set_xlabel(f"difference in {metric_name(analysis)} (percentage points)")
        bare(axes)
        svg = inline_svg(figure, "equivalence", TITLE, _description(groups, analysis.margin_pp), {})
    head = (
        "group", "contrast", "estimate_pp", "ci90_low_pp", "ci90_high_pp", "ci95_low_pp", "ci95_high_pp", "margin_pp",
        "p_equivalence", "p", "p_holm", "word",
    )  # fmt: skip
    data = tuple(
        (
            " ".join(heading), one.contrast, one.estimate_pp, one.ci90_low_pp, one.ci90_high_pp, one.ci_low_pp,
            one.ci_high_pp, analysis.margin_pp, one.p_equivalence, one.p, one.p_holm, row.word,
        )
        for heading, group in groups.items()
        for row in group
        for one in (row.contrast,)
    )  # fmt: skip
    return Picture("equivalence", TITLE, svg, _caption(rows, analysis.margin_pp), head, data)


def _row(contrast: Contrast, label: str, margin_pp: float) -> _Row:
    """Name and word share a line where there is room."""
    word = _word(contrast, margin_pp)
    lines = wrapped(shortened(label), LETTERS)
    fits = len(lines[-1]) + len(word) < LETTERS
    return _Row(contrast, label, tuple(lines if fits else [*lines, ""]), word)


def _word(contrast: Contrast, margin_pp: float) -> str:
    small = inside((contrast.ci90_low_pp, contrast.ci90_high_pp), margin_pp)
    beyond = (contrast.p if contrast.p_holm is None else contrast.p_holm) < ALPHA
    return (BOTH if beyond else SMALL) if small else BEYOND if beyond else OPEN


def _lane(axes: Axes, row: Contrast, margin_pp: float, top: float, look: Look) -> None:
    """Margin and zero behind both intervals: the thick one is held against the margin, the thin one against zero."""
    bottom = top + LANE - 7
    y = (top + bottom) / 2
    axes.fill_between([-margin_pp, margin_pp], top, bottom, color=COLOURS["band"], linewidth=0, zorder=0)
    axes.vlines([-margin_pp, margin_pp], top, bottom, color=COLOURS["muted"], linewidth=1, zorder=1)
    axes.vlines(0, top, bottom, color=COLOURS["muted"], linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    axes.plot([row.ci_low_pp, row.ci_high_pp], [y, y], "|-", color=look.colour, linewidth=1.2, markersize=7)
    axes.plot([row.ci90_low_pp, row.ci90_high_pp], [y, y], color=look.colour, linewidth=4, solid_capstyle="butt")
    (mark,) = axes.plot(row.estimate_pp, y, look.marker, color=look.colour, markersize=8, markeredgewidth=1.5)
    mark.set_markerfacecolor(COLOURS["page"])


def _counts(rows: Sequence[_Row]) -> str:
    """How many contrasts each word is said of."""
    counts = {word: sum(row.word == word for row in rows) for word in (BEYOND, BOTH, SMALL, OPEN)}
    return f"Of {len(rows)}: {', '.join(f'{count} “{word}”' for word, count in counts.items() if count)}."


def _description(groups: Mapping[tuple[str, ...], Sequence[_Row]], margin_pp: float) -> str:
    """Every contrast in numbers, for those who do not see it."""
    told = []
    for heading, group in groups.items():
        found = []
        for row in group:
            one = row.contrast
            ends = estimate(one.estimate_pp, one.ci90_low_pp, one.ci90_high_pp, "signed_pp")
            found.append(f"{row.name} {ends} {row.word}")
        told.append(f"{' '.join(heading)} ({'; '.join(found)}).")
    margin = f"±{number(margin_pp, 'pp')}"
    counts = _counts([row for group in groups.values() for row in group])
    return f"Estimates with 90% intervals in percentage points and a margin of {margin}. {counts} {' '.join(told)}"


def _caption(rows: Sequence[_Row], margin_pp: float) -> str:
    return (
        "What to see: a thick bar (the 90% interval) wholly inside the grey band shows an effect smaller than the "
        f"margin (±{number(margin_pp, 'pp')} pp), by two one-sided tests at 5%. The thin line is the 95% interval. "
        "“Beyond zero” allows for the contrasts judged together (Holm), so that a thin line may stay clear of zero and "
        "the word still be “cannot tell”, which is no sign of a small effect: these runs leave room for none and for "
        f"one that matters. {_counts(rows)}"
    )
