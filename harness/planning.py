"""The plan as people and machines read it: every entry with its state and cost, and the time and disk it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.execute.local import default_workers
from harness.selection import read_selected
from harness.store.store import Check, Store
from harness.study.cost import (
    nominal_seconds,
    peak_checkpoint_bytes,
    run_bytes,
    table_bytes,
    table_flops,
    teacher_tables,
    training_flops,
)
from harness.study.plan import PHASES, Entry, any_winner, distinct, plan
from harness.study.spec import RunSpec
from harness.study.study import Study
from harness.workspace import Workspace

_Rows = Sequence[Mapping[str, Any]]


def overview(study: Study, workspace: Workspace) -> dict[str, Any]:
    """Everything that `harness plan` shows, as JSON values.

    Args:
        study: The study.
        workspace: Its files; only read.

    Returns:
        `entries` (phase, run, cell, teacher, student, method, teacher_seed, seed, owner, state, reason, pflop), counts;
        `disk_gb` (10^9 bytes) of all finished `runs`, of all `teacher_tables`, and of the `checkpoints` while the
        heaviest runs left are trained; and of what is `left`: `trainings`, `tables`, `pflop`, `run_hours` (of runs one
        after another), `hours` (at `workers` runs at once) and what these hours are reckoned by, the `basis`.
    """
    store = Store(workspace.runs)
    selected = read_selected(workspace.selected, study)
    entries = plan(study, selected)
    # Before the selection any candidate stands for the winner: all cost the same.
    runs = [entry.run for entry in plan(study, selected or any_winner(study))]
    checks = [store.check(entry) for entry in entries]
    owned = [
        (run, check) for entry, run, check in zip(entries, runs, checks, strict=True) if entry.owner == entry.phase
    ]
    todo = [run for run, check in owned if check.state != "done"]
    tables = teacher_tables(run for run, _ in owned)
    workers = default_workers(study.optimisation)
    return {
        "profile": workspace.profile,
        "title": study.title,
        "entries": [_row(*each) for each in zip(entries, runs, checks, strict=True)],
        "entry_count": len(entries),
        "training_count": len(distinct(entries)),
        "disk_gb": {
            "runs": sum(run_bytes(run) for run, _ in owned) / 1e9,
            "teacher_tables": sum(map(table_bytes, tables.values())) / 1e9,
            "checkpoints": peak_checkpoint_bytes(todo, workers) / 1e9,
        },
        "left": _left(
            todo,
            [run for name, run in teacher_tables(todo).items() if not any(store.tables.glob(f"{name}-*"))],
            {run: check.record.seconds for run, check in owned if check.record is not None},
            workers,
        ),
    }


def _row(entry: Entry, run: RunSpec, check: Check) -> dict[str, Any]:
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


def _left(
    todo: Sequence[RunSpec], tables: Sequence[RunSpec], done_seconds: Mapping[RunSpec, float], workers: int
) -> dict[str, Any]:
    """What is left: runs, a run of each table that is not there, and how long it takes by the runs that are done."""
    flops = sum(map(training_flops, todo)) + sum(map(table_flops, tables))
    if done_seconds:
        basis = "the runs done here"
        seconds = flops * sum(done_seconds.values()) / sum(map(training_flops, done_seconds))
    else:
        basis = "12 GFLOP/s a CPU thread" if any(run.optimisation.device == "cpu" for run in todo) else "A100 logs"
        seconds = sum(map(nominal_seconds, todo))
        seconds += sum(nominal_seconds(run) * table_flops(run) / training_flops(run) for run in tables)
    return {
        "trainings": len(todo),
        "tables": len(tables),
        "pflop": flops / 1e15,
        "run_hours": seconds / 3600,
        "hours": seconds / 3600 / workers,
        "workers": workers,
        "basis": basis,
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
    return "\n".join(lines)


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
