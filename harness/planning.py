"""The plan as people and machines read it: every entry with its state and cost, and the time and disk it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from harness.execute.local import default_workers
from harness.parallel import each
from harness.selection import read_selected
from harness.store.store import State, Store
from harness.study.cost import (
    Pace,
    peak_checkpoint_bytes,
    run_bytes,
    table_bytes,
    table_flops,
    teacher_tables,
    training_flops,
)
from harness.study.graph import needs
from harness.study.plan import PHASES, Entry, any_winner, distinct, plan
from harness.study.schedule import critical_path, doubling, enough_workers, list_schedule
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.workspace import Workspace

_Rows = Sequence[Mapping[str, Any]]


def overview(study: Study, workspace: Workspace, workers: Collection[int] = ()) -> dict[str, Any]:
    """Everything that `harness plan` shows, as JSON values.

    Args:
        study: The study.
        workspace: Its files; only read.
        workers: Numbers of workers to simulate what is left on.

    Returns:
        `entries` (phase, run, cell, teacher, student, method, teacher_seed, seed, owner, state, reason, pflop), counts;
        `disk_gb` (10^9 bytes) of all finished `runs`, of all `teacher_tables`, and of the `checkpoints` while the
        heaviest runs left are trained; and of what is `left`: `trainings`, `tables`, `pflop`, `run_hours` (of runs one
        after another), `hours` (at `workers` runs at once) and what these hours are reckoned by, the `basis`. With
        `workers`, also the `schedule`: see `_schedule`.
    """
    store = Store(workspace.runs)
    selected = read_selected(workspace.selected, study)
    entries = plan(study, selected)
    # Before the selection any candidate stands for the winner: all cost the same.
    runs = [entry.run for entry in plan(study, selected or any_winner(study))]
    checks = list(each(partial(_look, store), entries))
    owned = [
        (run, check) for entry, run, check in zip(entries, runs, checks, strict=True) if entry.owner == entry.phase
    ]
    todo = [run for run, check in owned if check.state != "done"]
    tables = teacher_tables(run for run, _ in owned)
    at_once = default_workers(study.optimisation)
    tables_left = {name: run for name, run in teacher_tables(todo).items() if not any(store.tables.glob(f"{name}-*"))}
    pace = Pace({run: check.seconds for run, check in owned if check.seconds is not None})
    schedule = {}
    if workers and todo:
        lines = zip(plan(study, None), entries, runs, checks, strict=True)
        left = [(line, entry.label, run) for line, entry, run, check in lines if check.state != "done"]
        schedule = {"schedule": _schedule(_tasks(left, tables_left, pace), workers)}
    return {
        "profile": workspace.profile,
        "title": study.title,
        "entries": [_row(*each) for each in zip(entries, runs, checks, strict=True)],
        "entry_count": len(entries),
        "training_count": len(distinct(entries)),
        "disk_gb": {
            "runs": sum(run_bytes(run) for run, _ in owned) / 1e9,
            "teacher_tables": sum(map(table_bytes, tables.values())) / 1e9,
            "checkpoints": peak_checkpoint_bytes(todo, at_once) / 1e9,
        },
        "left": _left(todo, list(tables_left.values()), pace, at_once),
        **schedule,
    }


class _Look(NamedTuple):
    """What a plan needs of a check: a study of 100,000 runs would not fit in memory with all their records."""

    state: State
    reason: str
    seconds: float | None


def _look(store: Store, entry: Entry) -> _Look:
    check = store.check(entry)
    return _Look(check.state, check.reason, None if check.record is None else check.record.seconds)


def _row(entry: Entry, run: RunSpec, check: _Look) -> dict[str, Any]:
    return {
        "phase": entry.phase,
        "run": entry.label,
        "cell": entry.cell,
        "teacher": run.teacher.architecture if run.teacher else None,
        "student": run.architecture,
        "method": run.method,
        "teacher_seed": entry.teacher_seed,
        "seed": entry.seed,
        "owner": entry.owner,
        "state": check.state,
        "reason": check.reason,
        "pflop": training_flops(run) / 1e15 if entry.owner == entry.phase else 0.0,
    }


def _left(todo: Sequence[RunSpec], tables: Sequence[RunSpec], pace: Pace, workers: int) -> dict[str, Any]:
    """What is left: runs, a run of each table that is not there, and how long it takes."""
    basis = "12 GFLOP/s a CPU thread" if any(run.optimisation.device == "cpu" for run in todo) else "A100 logs"
    hours = (sum(map(pace.run_seconds, todo)) + sum(map(pace.table_seconds, tables))) / 3600
    return {
        "trainings": len(todo),
        "tables": len(tables),
        "pflop": (sum(map(training_flops, todo)) + sum(map(table_flops, tables))) / 1e15,
        "run_hours": hours,
        "hours": hours / workers,
        "workers": workers,
        "basis": "the runs done here" if pace.done else basis,
    }


class _Tasks(NamedTuple):
    """What is left, for `harness.study.schedule`: names, seconds and needs of runs and teacher tables."""

    names: list[str]
    seconds: list[float]
    needs: list[frozenset[int]]


def _tasks(left: Sequence[tuple[Entry, str, RunSpec]], tables: Mapping[str, RunSpec], pace: Pace) -> _Tasks:
    """The graph of what is left.

    A table is a task of its own, between its teacher and the first run that reads it; all that read it wait for it.

    Args:
        left: Entries, each as it is before the selection, with its name and run, in training order.
        tables: Teacher tables that are not there, by name.
        pace: How fast runs go.
    """
    own = [each for each in left if each[0].owner == each[0].phase]
    tasks, task_of, table_of = _Tasks([], [], []), dict[int, int](), dict[str, int]()

    def add(name: str, seconds: float, before: Iterable[int]) -> int:
        tasks.names.append(name)
        tasks.seconds.append(seconds)
        tasks.needs.append(frozenset(before))
        return len(tasks.names) - 1

    for number, before in enumerate(needs([entry for entry, _, _ in own])):
        entry, label, run = own[number]
        waits_for = {task_of[earlier] for earlier in before}
        for name in tables.keys() & teacher_tables([run]):
            if name not in table_of:
                teacher = [task_of[earlier] for earlier in before if own[earlier][0].phase == "teachers"]
                table_of[name] = add(f"table of {name}", pace.table_seconds(run), teacher)
            waits_for.add(table_of[name])
        task_of[number] = add(f"{entry.phase}/{label}", pace.run_seconds(run), waits_for)
    return tasks


def _schedule(tasks: _Tasks, workers: Collection[int]) -> dict[str, Any]:
    """What is left on some numbers of workers and on 1, 2, 4, ..., as far as more of them help, as JSON values.

    Returns:
        `table` (workers, hours, utilisation), the `critical_path` (task, hours) with its `critical_hours`, and
        `enough_workers`, beyond which more do not help.
    """
    names, seconds, before = tasks
    path = critical_path(seconds, before)
    enough = enough_workers(seconds, before)
    counts = sorted({*workers, *doubling(enough)})
    schedules = [list_schedule(seconds, before, count) for count in counts]
    return {
        "table": [
            {"workers": each.workers, "hours": each.makespan_s / 3600, "utilisation": each.utilisation}
            for each in schedules
        ],
        "critical_path": [{"task": names[task], "hours": seconds[task] / 3600} for task in path],
        "critical_hours": sum(seconds[task] for task in path) / 3600,
        "enough_workers": enough,
    }


def render_text(found: Mapping[str, Any], *, runs: bool) -> str:
    """The overview as lines for a terminal; `runs` lists every run, else cells with their counts."""
    lines = [
        f"{found['title']}",
        f"profile {found['profile']}: {found['entry_count']} entries, {found['training_count']} distinct trainings",
        "",
    ]
    for phase in PHASES:
        rows = [row for row in found["entries"] if row["phase"] == phase]
        if not rows:
            continue
        shared = sum(row["owner"] != phase for row in rows)
        note = f" ({shared} shared with earlier phases)" if shared else ""
        pflop = _number(sum(row["pflop"] for row in rows))
        lines.append(f"{phase}: {len(rows)} entries{note}, {_states(rows)}, {pflop} PFLOP")
        lines += map(_run_line, rows) if runs else _cell_lines(rows)
        lines.append("")
    disk, left = found["disk_gb"], found["left"]
    lines.append(
        f"disk: {_number(disk['runs'])} GB of runs, {_number(disk['teacher_tables'])} GB of teacher tables, at most "
        f"{_number(disk['checkpoints'])} GB of checkpoints"
    )
    if left["trainings"]:
        lines.append(
            f"left: {left['trainings']} trainings, {left['tables']} teacher tables, {_number(left['pflop'])} PFLOP, "
            f"about {duration(left['hours'])} with {left['workers']} at once (by {left['basis']})"
        )
    else:
        lines.append("left: nothing; every run is done and its digests check out")
    if "schedule" in found:
        lines += ["", *_schedule_lines(found["schedule"])]
    return "\n".join(lines)


def _schedule_lines(schedule: Mapping[str, Any]) -> Iterable[str]:
    yield "workers      time  at work"
    for row in schedule["table"]:
        yield f"{row['workers']:>7}  {duration(row['hours']):>8}  {row['utilisation']:>7.0%}"
    yield f"More than {schedule['enough_workers']} workers do not help: no run can start before what it needs is done."
    yield f"The longest chain takes {duration(schedule['critical_hours'])}:"
    for step in schedule["critical_path"]:
        yield f"  {step['task']:<56} {duration(step['hours']):>8}"


def _run_line(row: Mapping[str, Any]) -> str:
    where = "" if row["owner"] == row["phase"] else f"  (run of {row['owner']})"
    why = f"  {row['reason']}" if row["reason"] else ""
    return f"  {row['run']:<52} {row['state']}{where}{why}"


def _cell_lines(rows: _Rows) -> Iterable[str]:
    """A line a cell; a search's candidates, which differ in their hyperparameters alone, share one."""
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        searched = row["phase"] == "select"
        cells.setdefault(f"{row['teacher']}-{row['student']}-{row['method']}" if searched else row["cell"], []).append(
            row
        )
    for cell, group in cells.items():
        candidates = len({row["cell"] for row in group})
        teachers = {row["teacher_seed"] for row in group} - {None}
        seeds = f"t{_ranges(teachers)} " if teachers else ""
        seeds += f"s{_ranges({row['seed'] for row in group})}"
        tried = f"{candidates} candidates: " if candidates > 1 else ""
        yield f"  {cell:<50} {seeds:<16} {tried}{_states(group)}"


def _ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as a reader writes them: `0-4,7`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ",".join("-".join(map(str, ends)) for ends in found)


def _states(rows: _Rows) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(row["state"] for row in rows).items()))


def _number(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def duration(hours: float) -> str:
    """Hours as a reader says them: hours, or minutes below one."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
