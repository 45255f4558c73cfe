"""Does a runs table say what the run folders beside it say?

`harness collect` makes results/PROFILE/runs.csv from the folders runs/PROFILE/PHASE/NAME. Here each row is made anew
from its run's record and held against the table's own. Digests are no signatures: who writes table, record and every
digest anew is not found out by them.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.runs.checks import Row
from analysis.runs.columns import cell_label, text_of
from harness.collect import row_of
from harness.errors import KdcapError, StoreError
from harness.parallel import each
from harness.store import record as records
from harness.store.code import training_code_sha256
from harness.store.store import read
from harness.study.plan import PHASES
from harness.workspace import Workspace

# PHASE/NAME and nothing else: no `..`, no absolute path, no name longer than a file system takes
_RUN_ID = re.compile(rf"({'|'.join(PHASES)})/[A-Za-z0-9][A-Za-z0-9._+-]{{0,250}}")


@dataclass(frozen=True)
class RecordsCheck:
    """A runs table held against its run folders.

    Attributes:
        rows: Rows of the table.
        checked: Of these, rows whose run folder is at hand, so that they were held against it.
        problems: What shows that table or folders were edited, a sentence each; empty if nothing does.
        unlisted: PHASE/NAME of stale or damaged run folders beside the table that no row names: `harness collect
            --partial` leaves these out. A whole one of the present code that no row names is a problem: runs that were
            left out may be those that differ.
    """

    rows: int
    checked: int
    problems: tuple[str, ...]
    unlisted: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What was not checked, in sentences; empty where every row was and every folder is named."""
        sentences = []
        if self.checked == 0:
            sentences.append(
                "Not checked against run records, as no row has one beside this table: nothing shows that its numbers "
                "are those that training wrote."
            )
        elif self.checked < self.rows:
            sentences.append(
                f"{self.checked} of {self.rows} rows checked against run records; the others' are not at hand."
            )
        if self.unlisted:
            runs = "1 run is" if len(self.unlisted) == 1 else f"{len(self.unlisted)} runs are"
            sentences.append(
                f"{runs} recorded beside this table and not in it, since stale or damaged; the first: "
                f"{self.unlisted[0]}."
            )
        return " ".join(sentences)


def check_records(runs_file: Path, runs: pd.DataFrame) -> RecordsCheck:
    """Hold each row of a runs table against the record of its run, after checking every digest of the run's folder.

    Args:
        runs_file: Where the table lies. Records are looked for only if that is a folder results/PROFILE: then in
            runs/PROFILE beside `results`. A table copied elsewhere, or of another trainer, has none.
        runs: The table, from `harness.tables.read_runs(runs_file)`.

    Returns:
        Counts and problems. A row that names no run folder is a problem where other rows do: `harness collect` wrote
        none such.
    """
    store = _store_of(runs_file)
    rows: list[Row] = runs.to_dict("records")
    if store is None:
        return RecordsCheck(len(rows), 0, ())
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row["run_id"], []).append(row)
    strangers = [_stranger(row) for run_id, same in by_run.items() if not _RUN_ID.fullmatch(run_id) for row in same]
    at_hand = [(r, same) for r, same in by_run.items() if _RUN_ID.fullmatch(r) and (store / r).is_dir()]
    checked = sum(len(same) for _, same in at_hand)
    problems = [problem for found in each(partial(_problems, store), at_hand) for problem in found]
    unlisted = [run for run in _recorded(store) if run not in by_run] if checked else []
    whole = [run for run in unlisted if _is_whole(store / run)]
    problems += [f"run {run} is recorded beside this table and is not in it" for run in whole]
    return RecordsCheck(
        rows=len(rows),
        checked=checked,
        problems=(*problems, *(strangers if checked else ())),
        unlisted=tuple(run for run in unlisted if run not in whole),
    )


def _store_of(runs_file: Path) -> Path | None:
    """Folder of the run folders that a table was collected from; None if it lies where `harness collect` puts none."""
    results = Path(os.path.abspath(runs_file)).parent  # noqa: PTH100 - resolve() would follow links out of the workspace
    workspace = Workspace(results.name)
    root = results.parent.parent
    return root / workspace.runs if results == root / workspace.results else None


def _recorded(store: Path) -> Iterator[str]:
    """PHASE/NAME of every run folder, in training order of the phases."""
    for phase in PHASES:
        for path in sorted((store / phase).glob(f"*/{records.RECORD}")):
            yield f"{phase}/{path.parent.name}"


def _is_whole(folder: Path) -> bool:
    """Whether a run folder is one that `harness collect` takes: undamaged, and of the present training code."""
    try:
        record = read(folder)
        return record.code_sha256 == training_code_sha256(record.spec.method)
    except KdcapError:  # damaged, or of a method that is not installed
        return False


def _problems(store: Path, listed: tuple[str, list[Row]]) -> list[str]:
    """What is wrong with one run's folder, or with the rows that name it."""
    return list(_each_problem(store, *listed))


def _each_problem(store: Path, run_id: str, rows: list[Row]) -> Iterator[str]:
    owner = next(phase for phase in PHASES if run_id.startswith(f"{phase}/"))
    try:
        record = read(store / run_id)
    except StoreError as error:
        yield str(error)
        return
    stages = [stage for stage in PHASES if stage in {row["stage"] for row in rows}]
    if stages[0] != owner:
        yield (
            f"run {run_id} stands first in stage {stages[0]}; `harness collect` puts a run in the stage whose folder "
            f"holds it, {owner}, and in later ones"
        )
    for row in rows:
        expected = dataclasses.asdict(row_of(store.name, row["stage"], owner, record))
        for column, value in expected.items():
            found = row[column]
            # records do not hold the rule, and a table that does not say it claims nothing
            silent = column == "checkpoint" and found == ""
            if not silent and not _same(found, value):
                yield (
                    f"run {run_id}, stage {row['stage']}, column {column}: the table says {text_of(found) or 'nothing'}"
                    f", the run's record {text_of(value) or 'nothing'}"
                )


def _same(found: object, expected: object) -> bool:
    """Whether a parsed cell is the value that was written; floats to the last bit, since they are written as repr."""
    if "" in (text_of(found), text_of(expected)):
        return text_of(found) == text_of(expected)
    return bool(found == expected)


def _stranger(row: Row) -> str:
    cell = cell_label(row["teacher"], row["student"], row["method"])
    return (
        f"stage {row['stage']}, {cell}, seed {row['seed']}: column run_id must be PHASE/NAME as in the rows that "
        f"`harness collect` wrote (found {row['run_id'] or 'nothing'})"
    )
