"""Forest plot: every gain and moderation contrast with its interval."""

from __future__ import annotations

from matplotlib.axes import Axes

from analysis.results import Analysis, Contrast
from report.context import Published
from report.estimands import GAINS, MODERATION, estimand, that_count
from report.figures.canvas import Look, Picture, bare, canvas, method_looks
from report.figures.svg import COLOURS, inline_svg
from report.numbers import estimate, number
from report.words import contrast_labels, metric_name, natural_key, shortened, subset_name

TITLE = "Gains and moderation with their intervals"
HEADING, ROW, PUBLISHED, AXIS = 32.0, 38.0, 9.0, 46.0  # heights in units


def forest(analysis: Analysis, published: Published | None) -> Picture | None:
    """Draw the contrasts one below the other, each with the published one below it where there is one.

    A contrast that several models estimate is drawn once, from the first: the one that the verdicts rest on.
    """
    labels, looks, groups = contrast_labels(analysis), method_looks(analysis), grouped_contrasts(analysis)
    if not groups:
        return None
    asked = {estimand(row) for rows in groups.values() for row in rows}
    known = that_count(published.contrasts) if published else {}
    theirs = {name: row for name, row in known.items() if name in asked}
    count = sum(map(len, groups.values()))
    row_height = ROW + PUBLISHED * bool(theirs)
    height = count * row_height + len(groups) * HEADING + AXIS
    with canvas(height) as figure:
        axes = figure.add_axes((0.01, AXIS / height, 0.98, 1 - AXIS / height))
        axes.set_ylim(height - AXIS, 0)
        across = axes.get_yaxis_transform()
        y = 0.0
        for heading, rows in groups.items():
            axes.text(0, y + 20, heading, transform=across, weight="bold")
            y += HEADING
            for row in rows:
                text = estimate(row.estimate_pp, row.ci_low_pp, row.ci_high_pp, "signed_pp")
                axes.text(0, y + 10, shortened(labels.get(row.contrast, row.contrast)), transform=across)
                axes.text(1, y + 10, text, transform=across, ha="right")
                _lane(axes, analysis.margin_pp, y + 15, y + row_height - 9)
                look = looks.get(row.contrast.rsplit(":", 1)[-1], Look(COLOURS["ink"], "D", "-"))
                _ours(axes, row, y + 22, look)
                if estimand(row) in theirs:
                    _theirs(axes, theirs[estimand(row)], y + 22 + PUBLISHED, look)
                y += row_height
        axes.set_yticks([])
        axes.set_xlabel(f"difference in {metric_name(analysis)} (percentage points)")
        bare(axes)
        desc = f"{count} estimates with 95% intervals. The same numbers stand in the tables."
        svg = inline_svg(figure, "forest", TITLE, desc, {})
    caption = (
        "What to see: an interval that crosses zero leaves the direction open; one that lies wholly inside "
        f"the grey band (within ±{number(analysis.margin_pp, 'pp')} pp) shows an effect too small to matter. "
        "Intervals are 95%, not adjusted for the number of contrasts."
    )
    if theirs:
        caption += " Filled marks on solid lines are these runs, hollow ones on dashed lines the published."
    head = (
        "group", "contrast", "estimate_pp", "ci_low_pp", "ci_high_pp",
        "published_pp", "published_ci_low_pp", "published_ci_high_pp",
    )  # fmt: skip
    data = tuple(
        (heading, row.contrast, row.estimate_pp, row.ci_low_pp, row.ci_high_pp, *_numbers(theirs.get(estimand(row))))
        for heading, rows in groups.items()
        for row in rows
    )
    return Picture("forest", TITLE, svg, caption, head, data)


def _numbers(row: Contrast | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if row is None else (row.estimate_pp, row.ci_low_pp, row.ci_high_pp)


def grouped_contrasts(analysis: Analysis) -> dict[str, list[Contrast]]:
    """Rows under their headings. Gains within a subset are left out: they stand there pair by pair."""
    first: dict[tuple[str, str], Contrast] = {}
    for row in that_count(analysis.contrasts).values():
        if row.family in (*MODERATION, *GAINS):
            first.setdefault((row.subset, row.contrast), row)
    rows = first.values()
    groups: dict[str, list[Contrast]] = {}
    for row in rows:
        if row.family in MODERATION:
            subset = shortened(subset_name(row.subset))
            heading = f"Moderation, {subset}" if subset else "Moderation: do larger students gain more?"
            groups.setdefault(heading, []).append(row)
    gains = [row for row in rows if row.family in GAINS and row.subset == "all"]
    for row in sorted(gains, key=lambda row: natural_key(row.contrast)):
        heading = "Gain, pair by pair" if row.family == "pair-gains" else "Gain, all teachers together"
        groups.setdefault(heading, []).append(row)
    return groups


def _lane(axes: Axes, margin_pp: float, top: float, bottom: float) -> None:
    """Zero and the margin, behind the marks only: letters stay on clear ground."""
    axes.fill_between([-margin_pp, margin_pp], top, bottom, color=COLOURS["band"], linewidth=0, zorder=0)
    axes.vlines(0, top, bottom, color=COLOURS["muted"], linewidth=1, zorder=1)


def _ours(axes: Axes, row: Contrast, y: float, look: Look) -> None:
    ends = [row.ci_low_pp, row.ci_high_pp]
    axes.plot(ends, [y, y], "|-", color=look.colour, linewidth=2, markersize=8)
    axes.plot(row.estimate_pp, y, look.marker, color=look.colour, markersize=7.5)


def _theirs(axes: Axes, row: Contrast, y: float, look: Look) -> None:
    ends, muted = [row.ci_low_pp, row.ci_high_pp], COLOURS["muted"]
    axes.plot(ends, [y, y], color=muted, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.plot(row.estimate_pp, y, look.marker, color=muted, markerfacecolor=COLOURS["page"], markersize=6)
