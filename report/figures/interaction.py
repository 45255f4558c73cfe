"""Interaction plot: accuracy by student and method, every run as a dot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import permutations

import pandas as pd
from matplotlib.axes import Axes

from analysis.results import Analysis
from analysis.runs.frame import accuracy
from analysis.runs.metric import Metric
from report.estimands import means_that_count
from report.figures.canvas import Datum, Look, Picture, bare, canvas, method_looks
from report.figures.svg import COLOURS, inline_svg
from report.numbers import number
from report.tables import numbered
from report.words import architecture, cell_name, metric_name, natural_key, shortened

TITLE = "Accuracy by student and method, every run"
HEIGHT, LINE = 380.0, 19.0  # of the figure, and of a line of text, in units
SPREAD = 0.82  # of the distance between two students: what the columns of the methods share
IN_A_LINE = 3  # methods that the legend has beside the name of the axis; more stand below it, as many a line
DOTS, MEAN = -0.12, 0.32  # where a method's runs and its mean stand in its column, from -1/2 to 1/2


def interaction(analysis: Analysis, runs: pd.DataFrame) -> Picture:
    """Draw every run of the final stage, the pairing of seeds, and the model's means with intervals."""
    final = numbered(runs[runs["stage"] == "final"], runs)
    final["accuracy_pct"] = 100 * accuracy(final, Metric(analysis.metric, analysis.higher_is_better))
    students = smaller_first(analysis, set(final["student"]))
    looks = {method: look for method, look in method_looks(analysis).items() if method in set(final["method"])}
    place = _places(final, students, list(looks))
    tooltips: dict[str, str] = {}
    with canvas(HEIGHT) as figure:
        lines = -(-len(looks) // IN_A_LINE) if len(looks) > IN_A_LINE else 0  # of the legend, below the axis' name
        axes = figure.add_axes((0.115, 0.135, 0.885, 0.78 - LINE * lines / HEIGHT))
        for line in _seed_lines(final, list(looks)):
            x = [place[run] for run in line["number"]]
            axes.plot(x, line["accuracy_pct"].tolist(), color=COLOURS["rule"], linewidth=0.8, zorder=1)
        for row in final.to_dict("records"):
            look, group = looks[row["method"]], f"run-{row['number']}"
            dot = axes.plot(
                place[row["number"]],
                row["accuracy_pct"],
                look.marker,
                color=look.colour,
                markersize=5,
                zorder=2,
            )
            dot[0].set(gid=group, alpha=0.75, markeredgewidth=0, clip_on=False)
            name = cell_name(row["teacher"], row["student"], row["method"])
            taught = f"teacher seed {row['teacher_seed']}, " if pd.notna(row["teacher_seed"]) else ""
            accuracy_pct = number(row["accuracy_pct"], "pct")
            tooltips[group] = f"Run {row['number']}: {name}, {taught}seed {row['seed']}, {accuracy_pct}%"
        _means(axes, analysis, students, looks)
        axes.set_xticks(range(len(students)), [shortened(architecture(name)) for name in students], fontsize=13)
        axes.set_xlim(-0.5, len(students) - 0.5)
        axes.tick_params(length=0)
        axes.grid(axis="y", color=COLOURS["band"], linewidth=1)
        axes.set_axisbelow(True)
        axes.set_xlabel("student")
        bare(axes)
        figure.text(0.01, 0.985, f"{metric_name(analysis)} (%)", va="top")
        figure.legend(
            loc="upper right",
            bbox_to_anchor=(1, 1 - (LINE / HEIGHT if lines else 0)),
            ncols=min(len(looks), IN_A_LINE),
            frameon=False,
            borderaxespad=0,
            columnspacing=1.2,
        )
        desc = (
            f"{len(final)} runs of {', '.join(map(architecture, students))} under {', '.join(looks)}, each a "
            f"mark at its {metric_name(analysis)}, and the estimated means. The same numbers stand in the tables."
        )
        svg = inline_svg(figure, "interaction", TITLE, desc, tooltips)
    caption = (
        "What to see: every small mark is one run, large marks are means with 95% intervals. "
        "Parallel lines are equal gains, by estimate; they fan out where capacity moderates the effect, and by chance: "
        "the intervals of moderation decide. "
        "Grey lines join runs of one seed."
    )
    return Picture("interaction", TITLE, svg, caption, RUN_HEAD, run_data(final))


RUN_HEAD = ("run", "teacher", "teacher_seed", "student", "method", "seed", "accuracy_pct")


def run_data(final: pd.DataFrame) -> tuple[tuple[Datum, ...], ...]:
    """Data of runs under `RUN_HEAD`: numbered rows with their `accuracy_pct`."""
    rows = final[["number", *RUN_HEAD[1:]]].astype(object)
    return tuple(rows.where(rows.notna(), None).itertuples(index=False, name=None))


def smaller_first(analysis: Analysis, students: set[str]) -> list[str]:
    """Students as the moderation contrasts order them, which end in `:LARGER-SMALLER`; equals by name."""
    moderation = [row.contrast for row in analysis.contrasts if row.contrast.startswith("moderation:")]
    smaller_ones = Counter(
        larger
        for larger, smaller in permutations(students, 2)
        if any(contrast.endswith(f":{larger}-{smaller}") for contrast in moderation)
    )
    return sorted(students, key=lambda name: (smaller_ones[name], natural_key(name)))


def _slot(position: int, count: int) -> float:
    """Where column `position` of `count` stands, between -1/2 and 1/2."""
    return (position + 0.5) / count - 0.5


def _places(final: pd.DataFrame, students: list[str], methods: list[str]) -> dict[int, float]:
    """Where each run stands on the axis: by student, then method, then side by side by teacher and seed."""
    places: dict[int, float] = {}
    column = SPREAD / len(methods)
    for student in students:
        for position, method in enumerate(methods):
            middle = students.index(student) + SPREAD * _slot(position, len(methods)) + DOTS * column
            own = final[(final["student"] == student) & (final["method"] == method)]
            ordered = own.sort_values(["teacher", "teacher_seed", "seed"], kind="stable")["number"]
            places |= {run: middle + column * _slot(rank, len(own)) / 2 for rank, run in enumerate(ordered)}
    return places


def _seed_lines(final: pd.DataFrame, methods: list[str]) -> Iterator[pd.DataFrame]:
    """Runs to join: of one student and seed, the baseline and then each method of one teacher's one checkpoint."""
    baseline = final["method"] == "none"
    taught = ["student", "seed", "teacher", "teacher_seed"]
    for (student, seed, _, _), distilled in final[~baseline].groupby(taught, dropna=False):
        own = final[baseline & (final["student"] == student) & (final["seed"] == seed)]
        yield pd.concat([own, distilled]).sort_values(
            "method", key=lambda names: names.map(methods.index), kind="stable"
        )


def _means(axes: Axes, analysis: Analysis, students: list[str], looks: dict[str, Look]) -> None:
    """Lines from student to student through the means that count."""
    estimated = means_that_count(analysis.emmeans)
    for position, (method, look) in enumerate(looks.items()):
        means = {
            students.index(mean.student): mean
            for mean in estimated
            if mean.method == method and mean.student in students
        }
        column = SPREAD * (_slot(position, len(looks)) + MEAN / len(looks))
        x = [student + column for student in sorted(means)]
        own = [means[student] for student in sorted(means)]
        axes.vlines(
            x,
            [m.ci_low_pct for m in own],
            [m.ci_high_pct for m in own],
            color=look.colour,
            linewidth=2,
            zorder=3,
        )
        lines = axes.plot(
            x, [m.mean_pct for m in own], look.line, color=look.colour, linewidth=1.8, label=method, zorder=4
        )
        lines[0].set(marker=look.marker, markersize=9, markeredgecolor=COLOURS["page"])
