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

from analysis.runs.columns import BASELINE, cell_label, text_of
from analysis.runs.table import distinct_runs, finals
from analysis.study.capacity import CAPACITIES
from harness.errors import ReferenceProblem
from harness.verify.cells import CELL, labels_of, with_labels
from harness.verify.reference import Reference, ReferenceCard
from harness.verify.verdict import Override

Allowed = Literal["stem", "epochs", "checkpoint", "parameters", "records"]
ALLOWED: tuple[Allowed, ...] = get_args(Allowed)
SETTINGS: tuple[Allowed, ...] = ("stem", "epochs")
CIFAR10 = "cifar10"  # what the known sizes of the paper's architectures belong to: ten classes, CIFAR stem


@dataclass(frozen=True)
class Comparable:
    """Rows that may be compared.

    Attributes:
        chosen: Names of the cells to judge, sorted.
        cells: These and the baselines that their gains need, sorted.
        rows: The new study's final rows of `cells`.
        teachers: Its rows of the teachers that taught `chosen`, each run once.
        overrides: What was allowed that would have been refused.
    """

    chosen: tuple[str, ...]
    cells: tuple[str, ...]
    rows: pd.DataFrame
    teachers: pd.DataFrame
    overrides: tuple[Override, ...]


def comparable(
    runs: pd.DataFrame, reference: Reference, patterns: Sequence[str], allowed: Collection[Allowed]
) -> Comparable:
    """Find the cells that both have, and refuse what must not be compared.

    Args:
        runs: Every row of the new study.
        reference: What they are compared with.
        patterns: Names of cells to judge, with `*` and `?`; empty for all.
        allowed: Fields that may differ.

    Raises:
        ReferenceProblem: Another data set, stem, number of epochs, checkpoint rule or size; no cell in common.
        analysis.errors.TableError: No final rows, or a cell under two settings.
    """
    name, card, rows = reference.card.name, reference.card, finals(runs)
    _same_data(rows, card)
    here, there = set(labels_of(rows)), set(labels_of(reference.finals))
    common = sorted(here & there)
    if not common:
        raise ReferenceProblem(
            f"fields {', '.join(CELL)}: no cell of this table is in reference {name}; "
            f"it knows {', '.join(sorted(there))}."
        )
    for pattern in patterns:
        if not any(fnmatchcase(cell, pattern) for cell in common):
            raise ReferenceProblem(
                f"--cells {pattern}: no cell that this table shares with reference {name} has such a name; "
                f"shared are {', '.join(common)}."
            )
    chosen = [cell for cell in common if not patterns or any(fnmatchcase(cell, pattern) for pattern in patterns)]
    students = set(with_labels(rows, chosen)["student"])
    baselines = {cell_label("", student, BASELINE) for student in students}
    cells = sorted({*chosen, *(baselines & set(common))})
    kept, known = with_labels(rows, cells), with_labels(reference.finals, cells)
    taught_by = set(with_labels(rows, chosen)["teacher"]) - {""}
    teachers, known_teachers = (_teachers(table, taught_by) for table in (runs, reference.runs))
    pairs = ((kept, known), (teachers, known_teachers))
    overrides = [
        *(_settings(pairs, field, name, allowed) for field in SETTINGS),
        _checkpoint(kept, card, allowed),
        _sizes(pairs, card, allowed),
    ]
    return Comparable(tuple(chosen), tuple(cells), kept, teachers, tuple(one for one in overrides if one is not None))


def _teachers(runs: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    rows = runs[(runs["stage"] == "teachers") & runs["student"].isin(names)]
    return distinct_runs(rows)


def _same_data(rows: pd.DataFrame, card: ReferenceCard) -> None:
    dataset = str(rows["dataset"].iloc[0])
    if dataset != card.dataset:
        raise ReferenceProblem(
            f"field dataset: reference {card.name} has {card.dataset}, this table says "
            f"{dataset or 'nothing'}; verify against a reference of that data, or correct the column."
        )


def _refuse_or_allow(field: Allowed, problems: Sequence[str], allowed: Collection[Allowed]) -> Override | None:
    """Nothing where nothing differs; a refusal names the first difference, an override all of them."""
    different = list(dict.fromkeys(problems))
    if not different:
        return None
    if field not in allowed:
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise ReferenceProblem(
            f"field {field} of {different[0]}{more}; that is another experiment: leave these runs out, verify against "
            f"their own reference, or, if you know that it makes no difference, say --allow {field}."
        )
    return Override(f"--allow {field}", f"{field[0].upper()}{field[1:]} of {'; '.join(different)}.")


Pairs = Sequence[tuple[pd.DataFrame, pd.DataFrame]]  # rows of the new study, and those of the reference


def _settings(pairs: Pairs, field: Allowed, name: str, allowed: Collection[Allowed]) -> Override | None:
    problems = []
    for rows, known in pairs:
        wanted = dict(zip(labels_of(known), known[field], strict=True))
        problems += [
            f"cell {cell}: reference {name} has {wanted[cell]}, this table says {_told(found)}"
            for cell, found in zip(labels_of(rows), rows[field], strict=True)
            if cell in wanted and str(found) != str(wanted[cell])
        ]
    return _refuse_or_allow(field, problems, allowed)


def _told(found: object) -> object:
    return "nothing" if text_of(found) == "" else found


def _checkpoint(rows: pd.DataFrame, card: ReferenceCard, allowed: Collection[Allowed]) -> Override | None:
    rule = str(rows["checkpoint"].iloc[0])
    problem = f"this table: reference {card.name} measured the {card.checkpoint} checkpoint, this table says {rule}"
    return _refuse_or_allow("checkpoint", [problem] if rule not in ("", card.checkpoint) else [], allowed)


def _sizes(pairs: Pairs, card: ReferenceCard, allowed: Collection[Allowed]) -> Override | None:
    """A network of the same name and another size is another network; who does not tell sizes is believed."""
    problems = []
    for rows, known in pairs:
        wanted = known.groupby("student")["parameters"].first().dropna().astype(int).to_dict()
        if card.dataset == CIFAR10:
            wanted = {name: size.parameters for name, size in CAPACITIES.items()} | wanted
        problems += [
            f"{name}: reference {card.name} has {wanted[name]:,} parameters, this table says {found:,}"
            for name, found in zip(rows["student"], rows["parameters"], strict=True)
            if not pd.isna(found) and name in wanted and int(found) != wanted[name]
        ]
    return _refuse_or_allow("parameters", problems, allowed)
