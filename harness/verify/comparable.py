"""What may be compared: cells that both tables have, under the same settings. Refusals name the field and a way out.

Some can be overruled with `--allow FIELD`, by someone who knows why the experiments are alike all the same; an
override stands in every output.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import pandas as pd

from analysis.runs.columns import BASELINE, cell_label
from analysis.study.capacity import CAPACITIES
from harness.errors import ReferenceProblem
from harness.verify.cells import CELL, labels_of
from harness.verify.reference import Reference, ReferenceCard
from harness.verify.verdict import Override

Allowed = Literal["stem", "epochs", "checkpoint", "parameters", "records"]
ALLOWED: tuple[Allowed, ...] = get_args(Allowed)
SETTINGS: tuple[Allowed, ...] = ("stem", "epochs")
CIFAR10 = "cifar10"  # what the known sizes of the paper's architectures belong to: ten classes, CIFAR stem


@dataclass(frozen=True)
class Comparable:
    """Final rows that may be compared.

    Attributes:
        chosen: Names of the cells to judge, sorted.
        cells: These and the baselines that their gains need, sorted.
        rows: The new study's rows of `cells`.
        overrides: What was allowed that would have been refused.
    """

    chosen: tuple[str, ...]
    cells: tuple[str, ...]
    rows: pd.DataFrame
    overrides: tuple[Override, ...]


def comparable(
    rows: pd.DataFrame, reference: Reference, patterns: Sequence[str], allowed: Collection[Allowed]
) -> Comparable:
    """Find the cells that both have, and refuse what must not be compared.

    Args:
        rows: Final rows of the new study.
        reference: What they are compared with.
        patterns: Names of cells to judge, with `*` and `?`; empty for all.
        allowed: Fields that may differ.

    Raises:
        ReferenceProblem: Another data set, stem, number of epochs, checkpoint rule or size; no cell in common.
    """
    name, card = reference.card.name, reference.card
    _same_data(rows, card)
    here, there = set(labels_of(rows)), set(labels_of(reference.finals))
    common = sorted(here & there)
    if not common:
        raise ReferenceProblem(
            f"fields {', '.join(CELL)}: no cell of this table is in reference {name}; "
            f"it knows {', '.join(sorted(there))}."
        )
    chosen = [cell for cell in common if not patterns or any(fnmatchcase(cell, pattern) for pattern in patterns)]
    if not chosen:
        raise ReferenceProblem(
            f"--cells {' '.join(patterns)}: no cell that this table shares with reference {name} has such a name; "
            f"shared are {', '.join(common)}."
        )
    students = set(rows.loc[[label in chosen for label in labels_of(rows)], "student"])
    baselines = {cell_label("", student, BASELINE) for student in students}
    cells = sorted({*chosen, *(baselines & set(common))})
    kept = rows[[label in cells for label in labels_of(rows)]].reset_index(drop=True)
    known = reference.finals[[label in cells for label in labels_of(reference.finals)]]
    overrides = [
        *(_settings(kept, known, field, name, allowed) for field in SETTINGS),
        _checkpoint(kept, card, allowed),
        _sizes(kept, known, card, allowed),
    ]
    return Comparable(tuple(chosen), tuple(cells), kept, tuple(one for one in overrides if one is not None))


def _same_data(rows: pd.DataFrame, card: ReferenceCard) -> None:
    dataset = str(rows["dataset"].iloc[0])
    if dataset != card.dataset:
        raise ReferenceProblem(
            f"field dataset: reference {card.name} has {card.dataset}, this table says "
            f"{dataset or 'nothing'}; verify against a reference of that data, or correct the column."
        )


def _refuse_or_allow(field: Allowed, problem: str, allowed: Collection[Allowed]) -> Override:
    if field not in allowed:
        raise ReferenceProblem(
            f"field {field} of {problem}; that is another experiment: leave these runs out, verify against their own "
            f"reference, or, if you know that it makes no difference, say --allow {field}."
        )
    return Override(f"--allow {field}", f"{field[0].upper()}{field[1:]} of {problem}.")


def _settings(
    rows: pd.DataFrame, known: pd.DataFrame, field: Allowed, name: str, allowed: Collection[Allowed]
) -> Override | None:
    wanted = dict(zip(labels_of(known), known[field], strict=True))
    for cell, found in zip(labels_of(rows), rows[field], strict=True):
        if str(found) != str(wanted[cell]):
            told = "nothing" if pd.isna(found) or found == "" else found
            problem = f"cell {cell}: reference {name} has {wanted[cell]}, this table says {told}"
            return _refuse_or_allow(field, problem, allowed)
    return None


def _checkpoint(rows: pd.DataFrame, card: ReferenceCard, allowed: Collection[Allowed]) -> Override | None:
    rule = str(rows["checkpoint"].iloc[0])
    if rule in ("", card.checkpoint):
        return None
    problem = f"this table: reference {card.name} measured the {card.checkpoint} checkpoint, this table says {rule}"
    return _refuse_or_allow("checkpoint", problem, allowed)


def _sizes(
    rows: pd.DataFrame, known: pd.DataFrame, card: ReferenceCard, allowed: Collection[Allowed]
) -> Override | None:
    """A network of the same name and another size is another network; who does not tell sizes is believed."""
    wanted = known.groupby("student")["parameters"].first().dropna().astype(int).to_dict()
    if card.dataset == CIFAR10:
        wanted = {name: size.parameters for name, size in CAPACITIES.items()} | wanted
    for student, found in zip(rows["student"], rows["parameters"], strict=True):
        if not pd.isna(found) and student in wanted and int(found) != wanted[student]:
            problem = f"{student}: reference {card.name} has {wanted[student]:,} parameters, this table says {found:,}"
            return _refuse_or_allow("parameters", problem, allowed)
    return None
