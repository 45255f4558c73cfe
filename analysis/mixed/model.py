"""From a formula and a table to the matrices of a mixed model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import formulaic
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import ModelError

Floats = NDArray[np.float64]

_RANDOM_TERM = re.compile(r"\+?\s*\(([^|()]*)\|([^|()]*)\)")
_ALIASED = 1e-9  # a column whose part outside the columns before it is this small, relative to itself, adds nothing


@dataclass(frozen=True)
class Component:
    """One set of random intercepts with a common variance.

    Attributes:
        name: The grouping, `student:seed`; a gated one names its gate, `teacher[kd]`.
        term: Its term in a formula.
        levels: Names of the groups, in order of the columns of `z`.
        z: Runs by groups: 1 (or the gate's value) where a run belongs to a group.
    """

    name: str
    term: str
    levels: tuple[str, ...]
    z: Floats


@dataclass(frozen=True)
class Model:
    """Response and design.

    Attributes:
        formula: As given.
        y: Response, one value a run.
        x: Fixed part, runs by coefficients, of full rank (aliased columns are left out, as R does).
        names: Names of the columns of `x`.
        components: The random part.
        spec: formulaic's specification, which codes new rows as these were coded.
        kept: Indices of the specification's columns that `x` keeps.
        null: Basis of the combinations of all columns that the runs say nothing about, columns by directions.
    """

    formula: str
    y: Floats
    x: Floats
    names: tuple[str, ...]
    components: tuple[Component, ...]
    spec: Any
    kept: tuple[int, ...]
    null: Floats

    @property
    def fixed_formula(self) -> str:
        """The formula without its random part."""
        return _split(self.formula)[0]

    def with_response(self, y: Floats) -> Model:
        """The same design with another response."""
        return replace(self, y=np.asarray(y, dtype=np.float64))

    def without(self, names: Sequence[str]) -> Model:
        """The model without some components; the formula follows."""
        kept = tuple(component for component in self.components if component.name not in names)
        terms = [self.fixed_formula, *(component.term for component in kept)]
        return replace(self, formula=" + ".join(terms), components=kept)

    def rows(self, table: pd.DataFrame) -> Floats:
        """Coefficients of the expected response of new rows, rows by columns of `x`.

        Raises:
            ModelError: A row asks for a combination that the runs say nothing about.
        """
        coded = np.asarray(self.spec.rhs.get_model_matrix(table), dtype=np.float64)
        scale = np.abs(coded).max(axis=1, initial=1.0)
        unknown = np.abs(coded @ self.null).max(axis=1, initial=0.0) > _ALIASED * scale
        if unknown.any():
            row = table.iloc[int(np.flatnonzero(unknown)[0])]
            raise ModelError(f"no run tells the mean of {', '.join(f'{k} {v}' for k, v in row.items())}.")
        return np.asarray(coded[:, self.kept])


def build(formula: str, table: pd.DataFrame) -> Model:
    """Code a table for a formula.

    Args:
        formula: `response ~ fixed part + (1 | group) + (0 + gate | group)`. The fixed part is formulaic's
            (Wilkinson notation); a group is a column, `a:b` for combinations, or `a/b` for `a` and `a:b`; a gate
            is a numeric column, 0 where the intercept does not act. Text columns are factors with levels in
            alphabetical order, categorical ones in their own.
        table: One row a run, without gaps in the columns used.

    Raises:
        ModelError: The formula cannot be read, names a column that is not there, or the table has gaps.
    """
    fixed, terms = _split(formula)
    _refuse_gaps(formula, table)
    try:
        coded = formulaic.model_matrix(fixed, table, na_action="raise")
    except (formulaic.errors.FormulaicError, ValueError) as error:
        raise ModelError(f"formula {formula!r} cannot be coded: {error}.") from None
    y = np.asarray(coded.lhs, dtype=np.float64)[:, 0]
    full = np.asarray(coded.rhs, dtype=np.float64)
    kept = _independent(full)
    names = tuple(str(name) for name in np.asarray(coded.rhs.columns)[list(kept)])
    components = tuple(part for gate, group in terms for part in _components(gate, group, table))
    return Model(formula, y, full[:, kept], names, components, coded.model_spec, kept, _null(full))


def _split(formula: str) -> tuple[str, list[tuple[str, str]]]:
    """The fixed formula, and (gate, group) of each random term; the gate is "" for a plain intercept."""
    terms = []
    for effect, group in _RANDOM_TERM.findall(formula):
        gate = re.fullmatch(r"\s*(?:1|0\s*\+\s*(\w+))\s*", effect)
        if gate is None:
            raise ModelError(
                f"formula {formula!r}: expected a random intercept (1 | group) or (0 + gate | group), "
                f"found ({effect.strip()} | {group.strip()}); random slopes are not fitted here."
            )
        terms.append((gate[1] or "", group.replace(" ", "")))
    fixed = _RANDOM_TERM.sub("", formula).strip()
    if "|" in fixed:
        raise ModelError(f"formula {formula!r}: expected random terms like (1 | group), found {fixed!r}.")
    return (f"{fixed} 1" if fixed.endswith("~") else fixed), terms


def _components(gate: str, group: str, table: pd.DataFrame) -> list[Component]:
    first, *nested = group.split("/")
    groups = [first]
    for inner in nested:
        groups.append(f"{groups[-1]}:{inner}")
    return [_component(gate, name, table) for name in groups]


def _component(gate: str, group: str, table: pd.DataFrame) -> Component:
    columns = [table[name].astype(str) for name in group.split(":")]
    labels = [":".join(parts) for parts in zip(*columns, strict=True)]
    levels, index = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    z = np.eye(len(levels))[index]
    if gate:
        z = z * table[gate].to_numpy(dtype=np.float64)[:, None]
        acting = z.any(axis=0)
        levels, z = levels[acting], z[:, acting]
    name, effect = (f"{group}[{gate}]", f"0 + {gate}") if gate else (group, "1")
    return Component(name, f"({effect} | {group})", tuple(str(level) for level in levels), z)


def _refuse_gaps(formula: str, table: pd.DataFrame) -> None:
    used = [name for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", formula)) if name in table]
    groups = re.findall(r"[A-Za-z_]\w*", " ".join(f"{gate} {group}" for gate, group in _split(formula)[1]))
    missing = [name for name in groups if name not in table]
    if missing:
        raise ModelError(f"formula {formula!r}: no column {missing[0]!r}; the table has {', '.join(table.columns)}.")
    gaps = [name for name in used if table[name].isna().any()]
    if gaps:
        raise ModelError(f"formula {formula!r}: column {gaps[0]!r} has gaps; fill them or drop the rows.")


def _independent(full: Floats) -> tuple[int, ...]:
    """Columns that add to those before them, by Gram-Schmidt in order."""
    kept: list[int] = []
    basis = np.empty((len(full), 0))
    for index, column in enumerate(full.T):
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)  # twice is enough (Giraud and others, 2005)
        size = float(np.linalg.norm(rest))
        if size > _ALIASED * max(1.0, float(np.linalg.norm(column))):
            kept.append(index)
            basis = np.column_stack([basis, rest / size])
    return tuple(kept)


def _null(full: Floats) -> Floats:
    _, singular, vt = np.linalg.svd(full, full_matrices=True)
    rank = int((singular > _ALIASED * singular.max(initial=0.0)).sum())
    return np.asarray(vt[rank:].T)
