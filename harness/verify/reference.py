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
from harness.verify.cells import CELL, SETTING

CARD, RUNS = "reference.yaml", "runs.csv"
PUBLISHED = "yasar2026-v2"
SHIPPED = Path(str(resources.files("reference")))
V1_TABLE = SHIPPED / "yasar2026-v1" / "table.csv"
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

    def of_accuracies(self, margin_pp: float, between_study_sd_pp: float) -> Rule:
        """The rule of accuracies, in the words of `analysis.replication.judge`."""
        return Rule(
            margin_pp,
            self.cells,
            self.mean_shift,
            self.spread_ratio,
            alpha_pass=self.total,
            between_study_sd=between_study_sd_pp,
        )

    def of_others(self, margin: float, between_study_sd: float = 0.0, share: int = 1) -> Rule:
        """The rule of another family, which has an error of its own; `share` responses of one family split it."""
        return Rule(margin, self.total / share, alpha_pass=self.total, between_study_sd=between_study_sd)


Margin = Annotated[float, Field(gt=0, lt=100)]


class Margins(Frozen):
    """Half widths of equivalence: a difference counts as none if it is shown to be smaller.

    Attributes:
        accuracies_pp: Of a cell's test accuracy.
        teachers_pp: Of a teacher's; None where the reference's teachers show no spread to judge by.
        agreement_pp: Of a cell's agreement with its teacher; None where the reference does not have it.
        kl_t1_nats: Of its divergence from its teacher at T=1; likewise.
        kl_t4_nats: The same at T=4.
        effects_pp: Of a gain, and of the contrasts that claims rest on: the smallest effect that matters.
    """

    accuracies_pp: Margin
    teachers_pp: Margin | None
    agreement_pp: Margin | None
    kl_t1_nats: Margin | None
    kl_t4_nats: Margin | None
    effects_pp: Margin


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
        margins: What counts as no difference.
        margins_note: Where these margins come from.
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
    checkpoint: Words
    margins: Margins
    margins_note: Words
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
        """The rule that accuracies are judged by."""
        return self.alpha.of_accuracies(self.margins.accuracies_pp, self.between_study_sd_pp)


@dataclass(frozen=True)
class Reference:
    """A reference that was read, checked and may be judged by.

    Attributes:
        card: Its description.
        runs: Every row of its runs table.
        finals: Rows of its final phase.
    """

    card: ReferenceCard
    runs: pd.DataFrame
    finals: pd.DataFrame


def find_reference(name: str) -> Path:
    """Folder of a reference: a path, a name that kdcap ships, or a name under ./reference.

    A name that kdcap ships means what it ships, whatever lies in the working folder: a checkout under test must not
    bring its own `yasar2026-v2`. Another folder is named by a path with a slash.

    Raises:
        ReferenceProblem: There is none; lists those that there are.
    """
    by_name = (SHIPPED / name, Path("reference") / name, Path(name))
    for folder in (Path(name),) if "/" in name else by_name:
        if (folder / CARD).is_file():
            return folder
    raise ReferenceProblem(
        f"--reference: no folder {name} with a {CARD}, and kdcap knows no reference of that name; "
        f"use one of {', '.join(known_references()) or 'none yet'}, or make one with `harness reference freeze`."
    )


def known_references() -> list[str]:
    """Names of the references under ./reference and of those that kdcap ships, sorted."""
    return sorted({card.parent.name for root in (Path("reference"), SHIPPED) for card in root.glob(f"*/{CARD}")})


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
    if not card.log:
        raise ReferenceProblem(
            f"{path} has no log, so nothing says what was frozen; freeze it with `harness reference`."
        )
    frozen = card.log[-1].new_sha256
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
    runs, rows = judgeable(folder / RUNS)
    if (found := rows["dataset"].iloc[0]) != card.dataset:
        raise ReferenceProblem(f"{folder}: {CARD} says dataset {card.dataset}, {RUNS} says {found}; freeze it anew.")
    return Reference(card, runs, rows)


def judgeable(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A runs table that can be a reference (settings named, spread visible), and its final rows.

    Raises:
        ReferenceProblem: Something is missing for that.
        analysis.errors.TableError: The table breaks its schema, or has no final rows.
    """
    runs = read_runs(path)
    rows = finals(runs)
    for column in ("dataset", *SETTING):
        if (rows[column].isna() | (rows[column].astype(str) == "")).any():
            raise ReferenceProblem(f"{path}: column {column} is empty in final rows; a reference needs it, fill it in.")
    by_cell = rows.groupby(list(CELL))[METRIC]
    if not (by_cell.max() > by_cell.min()).any():
        raise ReferenceProblem(
            f"{path}: no cell has two final runs that differ, so there is no spread to judge by; add seeds."
        )
    return runs, rows
