"""The plan as people and machines see it: the study's entries beside what the store holds, and the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.execute.local import default_workers
from harness.selection import read_selected
from harness.store.store import Store
from harness.study.cost import nominal_seconds, training_flops
from harness.study.plan import PHASES, any_winner, distinct, plan
from harness.study.study import Study
from harness.workspace import Workspace


def overview(study: Study, workspace: Workspace) -> dict[str, Any]:
    """Everything that `harness plan` shows, as JSON values.

    Args:
        study: The study.
        workspace: Its files; only read.

    Returns:
        `entries` (phase, run, cell, seed, owner, state, reason, pflop), counts, and the estimate of what is left:
        `pflop`, `run_hours` (of runs one after another), `hours` (at `workers` runs at once) and its `basis`.
    """
    store = Store(workspace.runs)
    selected = read_selected(workspace.selected, study)
    entries = plan(study, selected)
    priced = plan(study, selected or any_winner(study))
    checks = [store.check(entry) for entry in entries]
    seconds, operations = 0.0, 0.0
    rows: list[dict[str, Any]] = []
    for entry, price, check in zip(entries, priced, checks, strict=True):
        rows.append(
            {
                "phase": entry.phase,
                "run": entry.label,
                "cell": entry.spec.cell if entry.spec else entry.label.rpartition("-s")[0],
                "seed": price.run.seed,
                "owner": entry.owner,
                "state": check.state,
                "reason": check.reason,
                "pflop": training_flops(price.run) / 1e15 if entry.owner == entry.phase else 0.0,
                "nominal_seconds": nominal_seconds(price.run) if entry.owner == entry.phase else 0.0,
            }
        )
        if check.record is not None and entry.owner == entry.phase:
            seconds += check.record.seconds
            operations += training_flops(entry.run) / 1e15
    todo = [row for row in rows if row["state"] != "done" and row["owner"] == row["phase"]]
    left = sum(row["pflop"] for row in todo)
    device = study.optimisation.device
    workers = default_workers(study.optimisation)
    if operations:
        run_hours, basis = left * seconds / operations / 3600, "the runs done here"
    else:
        run_hours = sum(row["nominal_seconds"] for row in todo) / 3600
        basis = "12 GFLOP/s a CPU thread" if device == "cpu" else "the published A100-80GB logs, one run at a time"
    return {
        "profile": workspace.profile,
        "title": study.title,
        "entries": rows,
        "entry_count": len(rows),
        "training_count": len(distinct(entries)),
        "left": {
            "trainings": len(todo),
            "pflop": left,
            "run_hours": run_hours,
            "hours": run_hours / workers,
            "workers": workers,
            "basis": basis,
        },
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
        states = Counter(row["state"] for row in rows)
        shared = sum(row["owner"] != phase for row in rows)
        note = f" ({shared} shared with earlier phases)" if shared else ""
        lines.append(f"{phase}: {len(rows)} entries{note}, " + _counts(states))
        for cell in dict.fromkeys(row["cell"] for row in rows):
            of_cell = [row for row in rows if row["cell"] == cell]
            if runs:
                lines += [_run_line(row) for row in of_cell]
            else:
                seeds = ",".join(str(row["seed"]) for row in of_cell)
                lines.append(f"  {cell:<44} seeds {seeds:<12} " + _counts(Counter(row["state"] for row in of_cell)))
        lines.append("")
    left = found["left"]
    if left["trainings"]:
        lines.append(
            f"left: {left['trainings']} trainings, {left['pflop']:.3g} PFLOP, about {_duration(left['hours'])} with "
            f"{left['workers']} at once (by {left['basis']})"
        )
    else:
        lines.append("left: nothing; every run is done and its digests check out")
    return "\n".join(lines)


def _run_line(row: Mapping[str, Any]) -> str:
    where = "" if row["owner"] == row["phase"] else f"  (run of {row['owner']})"
    why = f"  {row['reason']}" if row["reason"] else ""
    return f"  {row['run']:<48} {row['state']}{where}{why}"


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
