"""Coverage: a mark for every entry of the plan, so that nobody must take on trust that no run was left out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.runs.columns import STAGES
from report.figures.canvas import WIDTH, Datum, Picture, canvas, wrapped
from report.figures.svg import COLOURS, inline_svg
from report.words import cell_name, natural_key, shortened

TITLE = "Which runs there are"
GROUPS = {
    "teachers": "Teachers",
    "select": "Selection",
    "final": "Final runs",
    "stem_ablation": "Stem ablation",
    "bug_ablation": "Clipping ablation",
}
SELECTION = "select"  # its columns are candidates, which have one seed; those of all others are seeds
PITCH, LINE, HEADING = 16.0, 16.0, 30.0  # units from mark to mark, and heights in units
PER_LINE = 30  # marks side by side at most
LETTER, BOLD, LETTERS = 6.8, 7.6, 56  # widths of a letter in units; letters side by side
NAMED = 4  # entries that words name at most; the data have them all


_Cell = tuple[str, str, str]  # teacher, student, method


@dataclass(frozen=True)
class _Mark:
    """How a state is drawn and what it means: shape and letter tell it, so that no colour is needed."""

    letter: str
    shape: str
    size: float
    face: str
    meaning: str


MARKS = {
    "done": _Mark("", "s", 8, "muted", "counts"),
    "flagged": _Mark(
        "!", "o", 13, "page", "counts; look twice: it stands in several stages, or its settings were chosen at its seed"
    ),
    "failed": _Mark("F", "s", 13, "ink", "ended with an error"),
    "stale": _Mark("S", "D", 11, "page", "was made by other code or settings, or changed since"),
    "missing": _Mark("M", "s", 13, "page", "was not trained"),
}


@dataclass(frozen=True)
class _Entry:
    """An entry of the plan, or a row of a runs table; `run` is the number of its row there."""

    stage: str
    teacher: str
    teacher_seed: int | None
    student: str
    method: str
    setting: str
    seed: int
    run: int | None
    run_id: str
    state: str
    reason: str

    @property
    def cell(self) -> _Cell:
        """Whom it compares."""
        return self.teacher, self.student, self.method

    @property
    def words(self) -> str:
        """What a reader is told of it."""
        number = f"Run {self.run}: " if self.run else ""
        setting = f", {self.setting}" if self.setting else ""
        taught = "" if self.teacher_seed is None else f", teacher seed {self.teacher_seed}"
        state = "" if self.state == "done" else f", {self.state}{f': {self.reason}' if self.reason else ''}"
        return f"{number}{cell_name(self.teacher, self.student, self.method)}{setting}{taught}, seed {self.seed}{state}"


@dataclass(frozen=True)
class _Row:
    """A line of marks with its label; each mark has a column."""

    label: str
    entries: tuple[tuple[int, _Entry], ...]


@dataclass(frozen=True)
class _Group:
    """Rows of one stage under its title; `columns` are their headings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]


def coverage(table: pd.DataFrame, flagged: Mapping[int, str] | None) -> Picture | None:
    """Draw what became of every entry, a row a cell and a column a seed, grouped by stage.

    Args:
        table: `ReportContext.coverage`, or, where the plan is not known, the runs table, whose rows are all done.
        flagged: Reasons to look twice at a run, by the number of its row in the runs table, counted from 1.

    Returns:
        The picture, or None for an empty table.
    """
    entries = _entries(table, flagged or {})
    if not entries:
        return None
    groups = _groups(entries)
    counts = Counter(entry.state for entry in entries)
    start = _start(groups)
    legend = _legend(counts)
    top = LINE * len(legend) + 6
    height = top + sum(_height(group, start) for group in groups)
    tooltips: dict[str, str] = {}
    with canvas(height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        _draw_legend(axes, legend)
        y = top
        for group in groups:
            _draw(axes, group, y, start, tooltips)
            y += _height(group, start)
        planned = "state" in table.columns
        desc = _description(entries, counts, planned=planned)
        svg = inline_svg(figure, "coverage", TITLE, desc, tooltips)
    head = (
        "stage", "teacher", "teacher_seed", "student", "method", "setting", "seed", "run", "run_id", "state", "reason",
    )  # fmt: skip
    data: tuple[tuple[Datum, ...], ...] = tuple(tuple(getattr(entry, name) for name in head) for entry in entries)
    return Picture("coverage", TITLE, svg, _caption(entries, counts, planned=planned), head, data)


def _entries(table: pd.DataFrame, flagged: Mapping[int, str]) -> list[_Entry]:
    """The table's rows as entries; of a runs table, each is done."""
    planned = "state" in table.columns
    found = []
    for number, row in enumerate(table.astype(object).where(table.notna(), None).to_dict("records"), start=1):
        run = row["run"] if planned else number
        state = row["state"] if planned else "done"
        doubt = flagged.get(run, "") if run else ""
        found.append(
            _Entry(
                **{name: row[name] for name in ("stage", "teacher", "teacher_seed", "student", "method", "seed")},
                setting=row["setting"] if planned else _setting(row),
                run=run,
                run_id=row["run_id"],
                state="flagged" if doubt else state,
                reason=doubt or (row["reason"] if planned else ""),
            )
        )
    return found


def _setting(row: Mapping[Hashable, Any]) -> str:
    """What `coverage.csv` calls the setting, of a row of the runs table."""
    parts = [f"{name}={row[name]:g}" for name in ("alpha", "temperature") if row[name] is not None]
    parts.append(row["other_hyperparameters"])
    if row["stem"] not in ("", "cifar"):
        parts.append(f"stem={row['stem']}")
    if row["clip_projections"] is False:
        parts.append("clip_projections=false")
    return " ".join(filter(None, parts))


def _groups(entries: Sequence[_Entry]) -> list[_Group]:
    """A group a stage, in training order, with its cells by name, smaller numbers first."""
    found = []
    for stage in STAGES:
        own = [entry for entry in entries if entry.stage == stage]
        own.sort(key=lambda entry: [natural_key(name) for name in entry.cell])
        if own:
            found.append(_selection(own) if stage == SELECTION else _seeds(stage, own))
    return found


def _selection(entries: Sequence[_Entry]) -> _Group:
    """A row for each teacher, student and method, and a mark a candidate."""
    rows: dict[_Cell, list[_Entry]] = defaultdict(list)
    for entry in entries:
        rows[entry.cell].append(entry)
    drawn = []
    for cell, own in rows.items():
        candidates = sorted(own, key=lambda entry: (natural_key(entry.setting), entry.seed))
        drawn.append(_Row(_words(*cell), tuple(enumerate(candidates))))
    return _Group(f"{GROUPS[SELECTION]}, by candidate", ("",) * max(map(len, rows.values())), tuple(drawn))


def _seeds(stage: str, entries: Sequence[_Entry]) -> _Group:
    """A row for each cell and checkpoint of its teacher, and a column a seed."""
    seeds = sorted({entry.seed for entry in entries})
    settings, checkpoints = defaultdict(set), defaultdict(set)
    rows: dict[tuple[_Cell, str, int | None], list[tuple[int, _Entry]]] = defaultdict(list)
    for entry in entries:
        settings[entry.cell].add(entry.setting)
        checkpoints[entry.cell].add(entry.teacher_seed)
        rows[entry.cell, entry.setting, entry.teacher_seed].append((seeds.index(entry.seed), entry))
    drawn = []
    for (cell, setting, teacher_seed), marks in rows.items():
        told = setting if len(settings[cell]) > 1 else ""
        taught = f"t{teacher_seed}" if len(checkpoints[cell]) > 1 and teacher_seed is not None else ""
        drawn.append(_Row(", ".join(filter(None, (_words(*cell), told, taught))), tuple(marks)))
    return _Group(f"{GROUPS[stage]}, by seed", tuple(map(str, seeds)), tuple(drawn))


def _words(teacher: str, student: str, method: str) -> str:
    return shortened(cell_name(teacher, student, method))


def _start(groups: Sequence[_Group]) -> float:
    """Where marks begin beside their labels, in units; 0 if they do not fit there, and labels stand above."""
    letters = max(len(row.label) for group in groups for row in group.rows)
    start = max(LETTER * letters, BOLD * max(len(group.title) for group in groups)) + 10
    return start if start + PITCH * max(len(group.columns) for group in groups) <= WIDTH else 0


def _label(row: _Row) -> tuple[str, ...]:
    return wrapped(row.label, LETTERS)


def _height(group: _Group, start: float) -> float:
    """Of a group with its title, in units; column headings stand beside the title or, like labels, above the marks."""
    lines = 1 + (len(group.columns) - 1) // PER_LINE
    if start:
        return HEADING + LINE * lines * len(group.rows)
    return HEADING + LINE * any(group.columns) + sum(LINE * (len(_label(row)) + lines) for row in group.rows)


def _draw(axes: Axes, group: _Group, y: float, start: float, tooltips: dict[str, str]) -> None:
    """Title, column headings, then the rows."""
    pitch = PITCH if start else min(PITCH, WIDTH / min(PER_LINE, len(group.columns)))
    axes.text(0, y + HEADING - 7, group.title, weight="bold")
    y += HEADING + (LINE if any(group.columns) and not start else 0)
    step = math.ceil((LETTER * max(map(len, group.columns)) + 4) / pitch)
    if len(group.columns) <= PER_LINE:
        for column, heading in list(enumerate(group.columns))[::step]:
            axes.text(start + pitch * (column + 0.5), y - 7, heading, ha="center", color=COLOURS["muted"])
    for row in group.rows:
        for line in _label(row):
            axes.text(0, y + 12, line)
            y += 0 if start else LINE
        for column, entry in row.entries:
            at = start + pitch * (column % PER_LINE + 0.5), y + LINE * (column // PER_LINE) + LINE / 2
            name = f"entry-{len(tooltips)}"
            tooltips[name] = entry.words
            _draw_mark(axes, MARKS[entry.state], *at, name)
        y += LINE * (1 + (len(group.columns) - 1) // PER_LINE)


def _draw_mark(axes: Axes, mark: _Mark, x: float, y: float, name: str | None) -> None:
    """Shape and letter; `name` leads to its tooltip."""
    drawn = axes.plot(x, y, mark.shape, color=COLOURS[mark.face], markersize=mark.size)
    drawn[0].set(gid=name, clip_on=False, markeredgecolor=COLOURS["ink" if mark.letter else mark.face])
    if mark.letter:
        colour = COLOURS["page" if mark.face == "ink" else "ink"]
        axes.text(x, y + 4.2, mark.letter, ha="center", color=colour, weight="bold")


def _legend(counts: Counter[str]) -> list[list[tuple[str, str]]]:
    """Each state that there is, with how often, broken into lines."""
    lines: list[list[tuple[str, str]]] = [[]]
    for state in MARKS:
        if counts[state]:
            item = (state, f"{state} {counts[state]}")
            if sum(_width(words) for _, words in [*lines[-1], item]) > WIDTH:
                lines.append([])
            lines[-1].append(item)
    return lines


def _width(words: str) -> float:
    """Of an item of the legend with its mark, in units."""
    return 17 + LETTER * len(words) + 9


def _draw_legend(axes: Axes, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Mark and words of every item."""
    for line, items in enumerate(lines):
        x, y = 0.0, LINE * line
        for state, words in items:
            _draw_mark(axes, MARKS[state], x + 7, y + 9, None)
            axes.text(x + 17, y + 13, words)
            x += _width(words)


def _description(entries: Sequence[_Entry], counts: Counter[str], *, planned: bool) -> str:
    """How many there are of each state, and the first of those that are not done."""
    of = "entries of the plan" if planned else "rows of the runs table"
    told = ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state])
    return f"{len(entries)} {of}: {told}.{_named(entries)}"


def _named(entries: Sequence[_Entry]) -> str:
    """Entries that do not count, by name, a few of them."""
    gone = [entry.words for entry in entries if entry.state not in ("done", "flagged")]
    more = f"; and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    return f" Without a run that counts: {'; '.join(gone[:NAMED])}{more}." if gone else ""


def _caption(entries: Sequence[_Entry], counts: Counter[str], *, planned: bool) -> str:
    """What to see, what the marks mean, and what does not count."""
    gone = len(entries) - counts["done"] - counts["flagged"]
    if not planned:
        seen = (
            "every mark is a row of the runs table. What was planned is not known: a gap shows only where a cell lacks "
            "a seed that another has."
        )
    elif gone:
        seen = f"{gone} of {len(entries)} entries of the plan have no run that counts; the numbers rest on the others."
    else:
        seen = f"all {len(entries)} entries of the plan have their run; none was left out."
    marks = [f"{mark.letter} {mark.meaning}" for state, mark in MARKS.items() if mark.letter and counts[state]]
    legend = f" A plain square counts; {'; '.join(marks)}." if marks else ""
    where = " Why a run is flagged stands in its tooltip and in the data." if counts["flagged"] else ""
    several = len({entry.teacher_seed for entry in entries} - {None}) > 1
    taught = " t0, t1 and so on are checkpoints of a teacher, by its seed." if several else ""
    return f"What to see: {seen}{legend}{where}{taught}{_named(entries)}"
