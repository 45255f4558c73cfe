"""References: published or frozen runs with the rule that they are judged by, and a digest over both.

A reference is a folder: `runs.csv` (a runs table) and `reference.yaml` (`ReferenceCard`). It is fixed before
any study is judged by it; reading refuses it when either file was edited, and freezing anew leaves an entry
in its log.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from analysis.replication.judge import Rule
from analysis.runs.table import finals
from harness.errors import ReferenceProblem, StudyError
from harness.files import canonical_json, sha256_of_bytes, sha256_of_file
from harness.study.load import load_strict
from harness.study.spec import Frozen
from harness.tables import read_runs
from harness.verify.cells import CELL, FIXED

CARD, RUNS = "reference.yaml", "runs.csv"
PUBLISHED = "yasar2026-v2"
V1_TABLE = Path(str(resources.files("reference"))) / "yasar2026-v1" / "table.csv"
METRIC: Literal["test_acc_best"] = "test_acc_best"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(min_length=1)]
Error = Annotated[float, Field(gt=0, lt=0.5)]


class Source(Frozen):
    """Where the runs come from, so that a reader can go and look."""

    title: Words
    location: Words
    version: Words
    licence: Words


class Alpha(Frozen):
    """The error of a FAIL, and the tests that it is spent on."""

    total: Error = 0.05
    cells: Error = 0.03
    mean_shift: Error = 0.015
    spread_ratio: Error = 0.005

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        spent = self.cells + self.mean_shift + self.spread_ratio
        if abs(spent - self.total) > 1e-9:  # noqa: PLR2004 - rounding of decimal fractions
            raise ValueError(f"cells, mean_shift and spread_ratio must add up to {self.total:g}, found {spent:g}")
        return self

    def rule(self, margin_pp: float, between_study_sd_pp: float) -> Rule:
        """The rule in the words of `analysis.replication.judge`."""
        return Rule(
            margin_pp=margin_pp,
            alpha_cells=self.cells,
            alpha_shift=self.mean_shift,
            alpha_spread=self.spread_ratio,
            between_study_sd_pp=between_study_sd_pp,
        )


class Environment(Frozen):
    """What the runs were made on, as far as it is known."""

    hardware: Words
    software: Words
    precision: Words


class LogEntry(Frozen):
    """One freezing: who froze what, when and why, and which content it replaced."""

    who: Words
    when: dt.date
    why: Words
    old_sha256: Digest | None
    new_sha256: Digest


class ReferenceCard(Frozen):
    """All of reference.yaml.

    Attributes:
        name: The folder's name.
        title: One line for people.
        source: Provenance of the runs.
        dataset: Data set of every run.
        metric: Column that is judged.
        unit: Its unit in the table; judged in percentage points.
        direction: Which way is better; differences both ways are judged.
        checkpoint: Which weights the metric belongs to.
        margin_pp: A cell is equivalent if its difference is shown to be smaller.
        margin_note: Where the margin comes from.
        alpha: Errors.
        between_study_sd_pp: Assumed sd of a cell's true mean from study to study.
        between_study_note: Why that much.
        environment: Hardware and stack.
        runs_sha256: Digest of runs.csv.
        log: Every freezing, oldest first; the last entry's `new_sha256` covers all fields above.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: Words
    source: Source
    dataset: Words
    metric: Literal["test_acc_best"]
    unit: Literal["fraction"]
    direction: Literal["higher"]
    checkpoint: Literal["best-validation"]
    margin_pp: Annotated[float, Field(gt=0, lt=100)]
    margin_note: Words
    alpha: Alpha
    between_study_sd_pp: Annotated[float, Field(ge=0, lt=100)]
    between_study_note: Words
    environment: Environment
    runs_sha256: Digest
    # YAML has lists, not tuples, hence not strict at this level
    log: Annotated[tuple[LogEntry, ...], Field(strict=False)] = ()

    @property
    def content_sha256(self) -> str:
        """Digest of all fields but the log and, through `runs_sha256`, of the runs."""
        return sha256_of_bytes(canonical_json(self.model_dump(mode="json", exclude={"log"})).encode())

    @property
    def rule(self) -> Rule:
        """The rule that it is judged by."""
        return self.alpha.rule(self.margin_pp, self.between_study_sd_pp)


@dataclass(frozen=True)
class Reference:
    """A reference that was read, checked and may be judged by.

    Attributes:
        card: Its description.
        finals: Rows of its final phase.
    """

    card: ReferenceCard
    finals: pd.DataFrame


def find_reference(name: str) -> Path:
    """Folder of a reference: a path, a name under ./reference, or a name that kdcap ships.

    Raises:
        ReferenceProblem: There is none; lists those that there are.
    """
    shipped = Path(str(resources.files("reference")))
    for folder in (Path(name), Path("reference") / name, shipped / name):
        if (folder / CARD).is_file():
            return folder
    roots = (Path("reference"), shipped)
    known = sorted({card.parent.name for root in roots for card in root.glob(f"*/{CARD}")})
    raise ReferenceProblem(
        f"--reference: no folder {name} with a {CARD}, and kdcap knows no reference of that name; "
        f"use one of {', '.join(known) or 'none yet'}, or make one with `harness reference freeze`."
    )


def read_card(folder: Path) -> ReferenceCard:
    """Read reference.yaml and check its digests and those of runs.csv.

    Raises:
        ReferenceProblem: The file breaks its schema, or either file was edited after freezing.
    """
    path = folder / CARD
    try:
        card = load_strict(path, ReferenceCard)
    except StudyError as error:
        raise ReferenceProblem(str(error)) from None
    if not (folder / RUNS).is_file():
        raise ReferenceProblem(f"{folder / RUNS} is missing; restore the folder as it was frozen.")
    frozen = card.log[-1].new_sha256 if card.log else "no log entry"
    for what, expected, found in (
        (folder / RUNS, card.runs_sha256, sha256_of_file(folder / RUNS)),
        (path, frozen, card.content_sha256),
    ):
        if expected != found:
            raise ReferenceProblem(
                f"{what} was edited after it was frozen: expected digest {expected[:12]}, found {found[:12]};"
                " restore it, or freeze anew with `harness reference freeze --replace --why TEXT`."
            )
    return card


def read_reference(name: str) -> Reference:
    """Find a reference, check it, and read its runs.

    Args:
        name: Name or folder.

    Raises:
        ReferenceProblem: See `find_reference`, `read_card`; or its runs cannot serve as a reference.
        analysis.errors.TableError: Its runs table breaks the schema.
    """
    folder = find_reference(name)
    card = read_card(folder)
    rows = judgeable(folder / RUNS)
    if (found := rows["dataset"].iloc[0]) != card.dataset:
        raise ReferenceProblem(f"{folder}: {CARD} says dataset {card.dataset}, {RUNS} says {found}; freeze it anew.")
    return Reference(card, rows)


def judgeable(path: Path) -> pd.DataFrame:
    """The final rows of a runs table that can be a reference: settings named, spread visible.

    Raises:
        ReferenceProblem: Something is missing for that.
        analysis.errors.TableError: The table breaks its schema, or has no final rows.
    """
    rows = finals(read_runs(path))
    for column in ("dataset", *FIXED):
        if (rows[column].isna() | (rows[column].astype(str) == "")).any():
            raise ReferenceProblem(f"{path}: column {column} is empty in final rows; a reference needs it, fill it in.")
    by_cell = rows.groupby(list(CELL))[METRIC]
    if not (by_cell.max() > by_cell.min()).any():
        raise ReferenceProblem(
            f"{path}: no cell has two final runs that differ, so there is no spread to judge by; add seeds."
        )
    return rows
