"""Strip plot: every final run at its accuracy, cell by cell, beside its student trained alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.results import Analysis
from analysis.runs.columns import BASELINE
from analysis.runs.content import flagged_runs, selection_winners
from analysis.runs.frame import accuracy
from analysis.runs.metric import Metric
from report.figures.canvas import Look, Picture, bare, canvas, method_looks, wrapped
from report.figures.interaction import RUN_HEAD, run_data, smaller_first
from report.figures.svg import COLOURS, inline_svg
from report.numbers import number
from report.tables import numbered
from report.words import architecture, cell_name, metric_name, natural_key, shortened

TITLE = "Every run, cell by cell"
HEADING, LINE, GAP, TICKS, NAME = 28.0, 15.0, 9.0, 26.0, 18.0  # heights in units
BAND, SEED, DEEPEST, BETWEEN = 15.0, 2.0, 36.0, 5.0  # of a band of runs: at least, a seed, at most; between two
LETTERS, BOLD_LETTERS = 50, 42  # of 12 units that fit beside a mean, and beside its heading
MOST_NAMED = 6  # checkpoints that a label lists
ROOM, EDGE = 1.04, 0.05  # of the axis for the data, so that marks stand clear of its ends; share without numbers


@dataclass(frozen=True)
class _Cell:
    """One cell as it is drawn.

    Attributes:
        name: Its name in full.
        method: Its method.
        mean_pct: Mean of its runs.
        label: Its name, broken into lines.
        bands: Its runs, one table for each checkpoint of a teacher that has several.
        depth: Height of one band in units.
    """

    name: str
    method: str
    mean_pct: float
    label: tuple[str, ...]
    bands: tuple[pd.DataFrame, ...]
    depth: float

    @property
    def tops(self) -> tuple[float, ...]:
        """Where each band begins, from the top of the cell."""
        return tuple(LINE * len(self.label) + place * (self.depth + BETWEEN) for place in range(len(self.bands)))

    @property
    def height(self) -> float:
        """Height of label, bands and the gap below."""
        return self.tops[-1] + self.depth + GAP

    @property
    def accuracies_pct(self) -> pd.Series[float]:
        """Of all its runs."""
        every: pd.Series[float] = pd.concat([band["accuracy_pct"] for band in self.bands])
        return every


@dataclass(frozen=True)
class _Student:
    """A student's heading, broken into lines, its cells, and the mean of its baseline."""

    heading: tuple[str, ...]
    cells: tuple[_Cell, ...]
    baseline_pct: float | None

    @property
    def centre_pct(self) -> float:
        """Mean of its baseline; the middle of its runs where there is none."""
        every = pd.concat([cell.accuracies_pct for cell in self.cells])
        return float(every.min() + every.max()) / 2 if self.baseline_pct is None else self.baseline_pct

    @property
    def height(self) -> float:
        """In units, without the axis."""
        return HEADING + LINE * (len(self.heading) - 1) + sum(cell.height for cell in self.cells)


def strip(analysis: Analysis, runs: pd.DataFrame) -> Picture:
    """Draw every final run, with the mean of its cell and that of its student's baseline.

    Every student has an axis of its own, all to one scale and with the baselines on one line: distances from it are
    gains, and compare.

    Args:
        analysis: The analysis of the runs.
        runs: The runs table, as `analysis.runs.table.check_runs` returns it.
    """
    final = numbered(runs[runs["stage"] == "final"], runs)
    final["accuracy_pct"] = 100 * accuracy(final, Metric(analysis.metric, analysis.higher_is_better))
    winners, notes, looks = frozenset(selection_winners(runs)), flagged_runs(runs), method_looks(analysis)
    students = _students(analysis, final)
    low_pp, high_pp = _reach(students, analysis.margin_pp)
    height = sum(student.height + TICKS for student in students) + NAME
    with canvas(height) as figure:
        bottom = height
        for student in students:
            bottom -= student.height
            axes = figure.add_axes((0.01, bottom / height, 0.98, student.height / height))
            axes.set(ylim=(student.height, 0), xlim=(student.centre_pct + low_pp, student.centre_pct + high_pp))
            _panel(axes, student, analysis.margin_pp, looks, winners)
            bottom -= TICKS
        axes.set_xlabel(f"{metric_name(analysis)} (%)")
        svg = inline_svg(figure, "strip", TITLE, _description(students), _tooltips(final, notes))
    head = (*RUN_HEAD, "cell_mean_pct", "chose_hyperparameters", "note")
    means = {(cell.teacher, cell.student, cell.method): cell.mean_pct for cell in analysis.cells}
    cells = zip(final["teacher"], final["student"], final["method"], strict=True)
    data = tuple(
        (*run, means[cell], "yes" if run[0] in winners else "no", notes.get(number))
        for run, cell, number in zip(run_data(final), cells, final["number"], strict=True)
    )
    hollow = bool(winners.intersection(final["number"]))
    return Picture("strip", TITLE, svg, _caption(analysis, students, hollow=hollow), head, data)


def _students(analysis: Analysis, final: pd.DataFrame) -> list[_Student]:
    """Smaller ones first; the cells of each with the baseline first, then by teacher and method."""
    students = []
    for name in smaller_first(analysis, set(final["student"])):
        own = final[final["student"] == name]
        seeds = {seed: place for place, seed in enumerate(sorted(own["seed"].unique()))}
        own = own.assign(share=(own["seed"].map(seeds) + 0.5) / len(seeds))
        known = [cell for cell in analysis.cells if cell.student == name]
        known.sort(key=lambda cell: (cell.teacher != "", natural_key(cell.teacher), natural_key(cell.method)))
        cells = []
        for cell in known:
            bands = _bands(own[(own["teacher"] == cell.teacher) & (own["method"] == cell.method)])
            full = cell_name(cell.teacher, name, cell.method)
            label = shortened(full) + (f" ({_checkpoints(bands)})" if len(bands) > 1 else "")
            lines = wrapped(label, LETTERS)
            depth = min(max(BAND, SEED * len(seeds)), DEEPEST)
            cells.append(_Cell(full, cell.method, cell.mean_pct, lines, bands, depth))
        baseline = next((cell.mean_pct for cell in cells if cell.method == BASELINE), None)
        heading = wrapped(f"Student: {shortened(architecture(name))}", BOLD_LETTERS)
        students.append(_Student(tuple(heading), tuple(cells), baseline))
    return students


def _bands(runs: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """The runs of each checkpoint; of one alone, or where every run has its own, they are no groups."""
    bands = tuple(band for _, band in runs.groupby("teacher_seed", dropna=False))
    return bands if max(map(len, bands)) > 1 else (runs,)


def _checkpoints(bands: Sequence[pd.DataFrame]) -> str:
    seeds = [str(band["teacher_seed"].iloc[0]) for band in bands]
    return f"teacher seeds {', '.join(seeds)}" if len(seeds) <= MOST_NAMED else f"{len(seeds)} teacher seeds"


def _reach(students: Sequence[_Student], margin_pp: float) -> tuple[float, float]:
    """How far from the baselines the runs and the margin reach, on either side, in pp."""
    away = pd.concat([cell.accuracies_pct - student.centre_pct for student in students for cell in student.cells])
    low, high = min(float(away.min()), -margin_pp), max(float(away.max()), margin_pp)
    middle, half = (low + high) / 2, ROOM * (high - low) / 2
    return middle - half, middle + half


def _panel(axes: Axes, student: _Student, margin_pp: float, looks: Mapping[str, Look], winners: frozenset[int]) -> None:
    """One student's cells, one below the other."""
    across, y = axes.get_yaxis_transform(), HEADING + LINE * (len(student.heading) - 1)
    for position, line in enumerate(student.heading):
        axes.text(0, 17 + LINE * position, line, transform=across, weight="bold")
    axes.text(1, 17, "mean (%)", transform=across, ha="right", color=COLOURS["muted"])
    for cell in student.cells:
        for position, line in enumerate(cell.label):
            axes.text(0, y + 9 + LINE * position, line, transform=across)
        axes.text(1, y + 9, number(cell.mean_pct, "pct"), transform=across, ha="right")
        for top, band in zip(cell.tops, cell.bands, strict=True):
            ends = y + top, y + top + cell.depth
            _lane(axes, student.baseline_pct, margin_pp, ends)
            axes.vlines(cell.mean_pct, *ends, color=looks[cell.method].colour, linewidth=2.5, zorder=3)
            for run in band.to_dict("records"):
                at = run["accuracy_pct"], ends[0] + cell.depth * run["share"]
                _mark(axes, at, looks[cell.method], run["number"], hollow=run["number"] in winners)
        y += cell.height
    low, high = axes.get_xlim()
    inside = EDGE * (high - low)  # at the very edge a number would be cut
    axes.set_xticks([x for x in MaxNLocator(6).tick_values(low, high) if low + inside <= x <= high - inside])
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_yticks([])
    bare(axes)


def _lane(axes: Axes, baseline_pct: float | None, margin_pp: float, ends: tuple[float, float]) -> None:
    """The baseline's mean and the margin, behind the marks only: letters stay on clear ground."""
    if baseline_pct is not None:
        sides = [baseline_pct - margin_pp, baseline_pct + margin_pp]
        axes.fill_between(sides, *ends, color=COLOURS["band"], linewidth=0, zorder=0)
        axes.vlines(baseline_pct, *ends, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 2)), zorder=1)


def _mark(axes: Axes, at: tuple[float, float], look: Look, run: int, *, hollow: bool) -> None:
    (mark,) = axes.plot(*at, look.marker, color=look.colour, markersize=5, zorder=2)
    mark.set(gid=f"run-{run}", clip_on=False)
    if hollow:
        mark.set(markerfacecolor=COLOURS["page"], markeredgewidth=1.3)
    else:
        mark.set(markeredgewidth=0, alpha=0.75)


def _tooltips(final: pd.DataFrame, notes: Mapping[int, str]) -> dict[str, str]:
    tooltips = {}
    for row in final.to_dict("records"):
        run, name = row["number"], cell_name(row["teacher"], row["student"], row["method"])
        taught = f"teacher seed {row['teacher_seed']}, " if pd.notna(row["teacher_seed"]) else ""
        note = f"; {notes[run]}" if run in notes else ""
        accuracy_pct = number(row["accuracy_pct"], "pct")
        tooltips[f"run-{run}"] = f"Run {run}: {name}, {taught}seed {row['seed']}, {accuracy_pct}%{note}"
    return tooltips


def _description(students: Sequence[_Student]) -> str:
    """Every cell in numbers, for those who do not see it."""
    told = []
    for cell in (cell for student in students for cell in student.cells):
        values = cell.accuracies_pct
        ends = f"{number(float(values.min()), 'pct')} to {number(float(values.max()), 'pct')}"
        told.append(f"{cell.name}: {len(values)} runs from {ends}, mean {number(cell.mean_pct, 'pct')}")
    return f"Accuracies in percent. {'; '.join(told)}."


def _caption(analysis: Analysis, students: Sequence[_Student], *, hollow: bool) -> str:
    caption = (
        "What to see: every small mark is one run, the thick line the mean of its cell; within a cell seeds stand in "
        "order from the top."
    )
    if any(student.baseline_pct is not None for student in students):
        caption += (
            " The dashed line is the mean of the student trained alone, the grey band the margin "
            f"around it (±{number(analysis.margin_pp, 'pp')} pp). Students stand with it on one line and to one scale, "
            "so that distances from it compare, though not accuracies. Where the runs of a cell lie on both sides of "
            "the dashed line, a single run would not show which is better; whether means differ is for intervals to "
            "say."
        )
    if any(len(cell.bands) > 1 for student in students for cell in student.cells):
        caption += " A row of a cell is one checkpoint of its teacher, in the order in which their seeds are named."
    if hollow:
        caption += " Hollow marks are runs that chose the hyperparameters of their cell, which can flatter it."
    return caption
