"""Tables beside the runs table: the curve of every run, and what became of every entry of the plan.

`harness collect` writes them, `harness report` reads them. Each is held against the runs table before it is believed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import itemgetter
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from harness.errors import StoreError
from harness.store.store import State

_REMEDY = "make both again with `harness collect`."
_RUN = ["run_id", "teacher", "student", "method", "seed"]  # by these, two tables speak of one run


@dataclass(frozen=True)
class CurveRow:
    """A line of curves.csv: one epoch of one run; a run that stands in several stages has its lines once.

    Attributes:
        run_id: As in runs.csv.
        stages: Every stage that the run stands in, with spaces between, that of its folder first.
        teacher: As in runs.csv, like the next four.
        teacher_seed: Which of the teacher's checkpoints.
        student: Architecture that was trained.
        method: What taught it.
        seed: The run's own.
        epoch: From 1.
        lr: Learning rate, to six digits.
        train_loss: Mean loss over the training images, to six digits.
        val_acc: Validation accuracy after the epoch, a fraction, to the last digit.
    """

    run_id: str
    stages: str
    teacher: str | None
    teacher_seed: int | None
    student: str
    method: str
    seed: int
    epoch: int
    lr: float
    train_loss: float
    val_acc: float


@dataclass(frozen=True)
class CoverageRow:
    """A line of coverage.csv: one entry of the plan.

    Attributes:
        stage: As in runs.csv, like the next five.
        teacher: None for a run that learns alone.
        teacher_seed: Which of the teacher's checkpoints.
        student: Architecture that is trained.
        method: What teaches it.
        seed: The run's own.
        setting: Hyperparameters, and a stem or clipping that is not the usual one: `alpha=0.7 temperature=2`.
        run_id: As in runs.csv; empty while the run waits for the selection.
        state: See `harness.store.store.Check`.
        reason: Why it is not done; empty for a run that is done, or that nobody tried.
    """

    stage: str
    teacher: str | None
    teacher_seed: int | None
    student: str
    method: str
    seed: int
    setting: str
    run_id: str
    state: State
    reason: str


def read_curves(path: Path, runs: pd.DataFrame, *, part: bool = False) -> pd.DataFrame | None:
    """Read every run's curve, if the file belongs to a runs table.

    Args:
        path: `curves.csv` beside the table.
        runs: A table that went through `analysis.runs.table.check_runs`.
        part: Whether `runs` is only a part of the table; curves of other runs are then passed over, unread.

    Returns:
        The columns of `CurveRow`, typed as in `runs`. None if there is no such file, or if its runs (identifier,
        teacher, student, method, seed) are not exactly the table's: it then belongs to another table.

    Raises:
        StoreError: The file is damaged, or it tells of some run another number of epochs, or another validation
            accuracy at the best epoch, than the table; names the run.
    """
    if not path.is_file():
        return None
    known = set(_keys(runs, _RUN))
    place = itemgetter(*_places(CurveRow, _RUN))
    curves = _read(path, CurveRow, (lambda values: place(values) in known) if part else None)
    if set(_keys(curves, _RUN)) != known:
        return None
    of_run = dict(list(curves.groupby("run_id", sort=False)))
    for run in runs.drop_duplicates("run_id").to_dict("records"):
        curve = of_run[run["run_id"]]
        epochs = curve["epoch"].tolist()
        if epochs != list(range(1, len(epochs) + 1)) or not curve["val_acc"].between(0, 1).all():
            raise StoreError(
                f"{path}: expected epochs of {run['run_id']} from 1 on with validation accuracies from 0 to 1, found "
                f"others; {_REMEDY}"
            )
        best = curve["val_acc"].where(curve["epoch"] == run["best_epoch"]).max()
        for name, found, said in (("epochs", len(epochs), run["epochs"]), ("best val_acc", best, run["val_acc"])):
            if pd.notna(said) and found != said:
                raise StoreError(
                    f"{path}: expected {name} {said} of {run['run_id']}, as in the runs table, found {found}; {_REMEDY}"
                )
    return curves


def read_coverage(path: Path, runs: pd.DataFrame, *, part: bool = False) -> pd.DataFrame | None:
    """Read what became of every entry of the plan, if the file belongs to a runs table.

    Args:
        path: `coverage.csv` beside the table.
        runs: A table that went through `analysis.runs.table.check_runs`.
        part: Whether `runs` is only a part of the table; of the entries that are done, others are then passed over.

    Returns:
        The columns of `CoverageRow`, typed as in `runs`, and `run`: number of the entry's row in `runs`, counted
        from 1, empty for an entry that is not done. None if there is no such file, or if its done entries (stage,
        run identifier, teacher, student, method, seed) are not exactly the table's rows.

    Raises:
        StoreError: The file is damaged.
    """
    if not path.is_file():
        return None
    entry = ["stage", *_RUN]
    number_of = {key: number for number, key in enumerate(_keys(runs, entry), start=1)}
    place, (state,) = itemgetter(*_places(CoverageRow, entry)), _places(CoverageRow, ["state"])
    coverage = _read(
        path, CoverageRow, (lambda values: values[state] != "done" or place(values) in number_of) if part else None
    )
    unknown = sorted(set(coverage["state"]) - set(get_args(State)))
    if unknown:
        raise StoreError(f"{path}: expected a state of {', '.join(get_args(State))}, found {unknown[0]!r}; {_REMEDY}")
    done = coverage["state"] == "done"
    if sorted(_keys(coverage[done], entry)) != sorted(_keys(runs, entry)):
        return None
    numbers = [number_of.get(key) for key in _keys(coverage, entry)]
    return coverage.assign(run=pd.array(numbers, dtype="Int64"))


def _places(row: type[CurveRow] | type[CoverageRow], columns: list[str]) -> list[int]:
    """Where columns stand in a line."""
    names = [field.name for field in fields(row)]
    return [names.index(column) for column in columns]


def _read(
    path: Path, row: type[CurveRow] | type[CoverageRow], wanted: Callable[[list[str]], bool] | None
) -> pd.DataFrame:
    """The typed columns of a row's class, and no others; of the rows all, or those that are wanted."""
    names = [field.name for field in fields(row)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, strict=True)
            head = next(lines, [])
            _need(head == names, f"columns {', '.join(head)}")
            rows = []
            for values in lines:
                _need(len(values) == len(names), "a row of another length")
                if wanted is None or wanted(values):
                    rows.append(values)
        texts = pd.DataFrame(rows, columns=names, dtype="str")
        return texts.assign(**{field.name: _typed(texts[field.name], str(field.type)) for field in fields(row)})
    except (OSError, ValueError, csv.Error) as error:
        problem = " ".join(str(error).split())
        raise StoreError(
            f"{path}: expected a table of {', '.join(names)}, found something else ({problem}); {_REMEDY}"
        ) from None


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _typed(texts: pd.Series[str], kind: str) -> pd.Series[Any]:
    """Values of a column; numbers are Python's, whose floats are what was written, to the last digit."""
    if kind == "float":
        return texts.map(_finite)
    if kind == "int":
        return texts.map(int)
    if kind == "int | None":
        return pd.Series([int(text) if text else None for text in texts], index=texts.index, dtype="Int64")
    return texts


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, found {text}")
    return number


def _keys(table: pd.DataFrame, columns: list[str]) -> list[tuple[str, ...]]:
    """What identifies each row."""
    return [tuple(map(str, key)) for key in zip(*(table[column] for column in columns), strict=True)]
