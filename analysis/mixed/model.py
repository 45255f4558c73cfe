"""From a formula and a table to the matrices of a mixed model."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import formulaic
import numpy as np
import pandas as pd

from analysis.errors import ModelError
from analysis.mixed.space import Floats, Space, spanned

__all__ = ["Component", "Components", "Floats", "Model", "build"]

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


class Components(tuple[Component, ...]):
    """The random part of a design; the space that it spans is made once for all responses."""

    @cached_property
    def space(self) -> Space:
        """The space; see `analysis.mixed.space`. There must be a component."""
        return spanned([component.z for component in self], len(self[0].z))

    @cached_property
    def _fewer(self) -> dict[tuple[str, ...], Components]:
        return {}

    def without(self, names: Sequence[str]) -> Components:
        """Those of other names; asked again, the same object."""
        kept = [component for component in self if component.name not in names]
        return self._fewer.setdefault(tuple(component.name for component in kept), Components(kept))


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
    components: Components
    spec: Any
    kept: tuple[int, ...]
    null: Floats

    @property
    def fixed_formula(self) -> str:
        """The formula without its random part."""
        return _split(self.formula)[0]

    @property
    def space(self) -> Space:
        """The space that the random effects span; without any it has no dimension."""
        return self.components.space if self.components else spanned([], len(self.y))

    def with_response(self, y: Floats) -> Model:
        """The same design with another response."""
        return replace(self, y=np.asarray(y, dtype=np.float64))

    def without(self, names: Sequence[str]) -> Model:
        """The model without some components; the formula follows."""
        kept = self.components.without(names)
        terms = [self.fixed_formula, *(component.term for component in kept)]
        return replace(self, formula=" + ".join(terms), components=kept)

    def rows(self, table: pd.DataFrame) -> Floats:
        """Coefficients of the expected response of new rows, rows by columns of `x`.

        Raises:
            ModelError: A row asks for a combination that the runs say nothing about.
        """
        for name, (_, state) in self.spec.encoder_state.items():
            unseen = [level for level in table[name] if level not in state.get("categories", [level])]
            if unseen:
                raise ModelError(f"no run tells the mean of {name} {unseen[0]}.")
        coded = np.asarray(self.spec.get_model_matrix(table), dtype=np.float64)
        unknown = (np.abs(coded @ self.null) > _ALIASED * (np.abs(coded) @ np.abs(self.null))).any(axis=1)
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
    _refuse_gaps(formula, terms, table)
    try:
        parsed = _parsed(fixed)
        response = _response(parsed, table)
        coded = (
            parsed.rhs.get_model_matrix(table, na_action="raise", output="numpy") if hasattr(parsed, "rhs") else None
        )
    except (formulaic.errors.FormulaicError, ValueError) as error:
        raise ModelError(f"formula {formula!r} cannot be coded: {error}.") from None
    if coded is None or response is None:
        raise ModelError(
            f"formula {formula!r}: expected one numeric response before ~; name the metric's column there."
        )
    full = np.asarray(coded, dtype=np.float64)
    kept = _independent(full)
    names = tuple(coded.model_spec.column_names[index] for index in kept)
    components = Components(part for gate, group in terms for part in _components(gate, group, table))
    null = _null(full) if len(kept) < full.shape[1] else np.empty((full.shape[1], 0))
    return Model(formula, response, full[:, kept], names, components, coded.model_spec, kept, null)


@cache
def _parsed(fixed: str) -> formulaic.Formula:
    """A fixed formula, read once: a fifth of the time of coding a table."""
    return formulaic.Formula(fixed)


def _response(parsed: Any, table: pd.DataFrame) -> Floats | None:  # noqa: ANN401 - formulaic's formulas differ in type
    """The left-hand side (n,); None if there is none, or more than one number a run."""
    name = str(getattr(parsed, "lhs", ""))
    if name in table:
        return table[name].to_numpy(dtype=np.float64) if pd.api.types.is_numeric_dtype(table[name]) else None
    if not name:
        return None
    coded = np.asarray(parsed.lhs.get_model_matrix(table, na_action="raise", output="numpy"), dtype=np.float64)
    return coded[:, 0] if coded.shape[1] == 1 else None


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
    columns = [[str(value) for value in table[name].tolist()] for name in group.split(":")]
    # tuples, not joined labels: labels may hold colons themselves
    runs = list(zip(*columns, strict=True))
    groups = {levels: index for index, levels in enumerate(sorted(set(runs)))}
    levels = np.array([":".join(parts) for parts in groups], dtype=str)
    z = np.eye(len(groups))[[groups[parts] for parts in runs]]
    if gate:
        z = z * table[gate].to_numpy(dtype=np.float64)[:, None]
        acting = z.any(axis=0)
        levels, z = levels[acting], z[:, acting]
    name, effect = (f"{group}[{gate}]", f"0 + {gate}") if gate else (group, "1")
    return Component(name, f"({effect} | {group})", tuple(str(level) for level in levels), z)


def _refuse_gaps(formula: str, terms: list[tuple[str, str]], table: pd.DataFrame) -> None:
    used = [name for name in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", formula)) if name in table]
    groups = re.findall(r"[A-Za-z_]\w*", " ".join(f"{gate} {group}" for gate, group in terms))
    missing = [name for name in groups if name not in table]
    if missing:
        raise ModelError(f"formula {formula!r}: no column {missing[0]!r}; the table has {', '.join(table.columns)}.")
    gaps = [name for name in used if _has_gaps(table[name])]
    if gaps:
        raise ModelError(f"formula {formula!r}: column {gaps[0]!r} has gaps; fill them or drop the rows.")
    gates = [gate for gate, _ in terms if gate]
    text = [gate for gate in gates if not pd.api.types.is_numeric_dtype(table[gate])]
    if text:
        raise ModelError(f"formula {formula!r}: gate {text[0]!r} must be a column of numbers, 0 where it does not act.")


def _has_gaps(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return not np.isfinite(column.to_numpy(dtype=np.float64, na_value=math.nan)).all()
    return bool(pd.isna(column.array).any())


def _independent(full: Floats) -> tuple[int, ...]:
    """Columns that add to those before them, by Gram-Schmidt in order."""
    kept: list[int] = []
    basis = np.empty((len(full), 0))
    for index, column in enumerate(full.T):
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)  # twice is enough (Giraud and others, 2005)
        size = float(np.linalg.norm(rest))
        if size > _ALIASED * float(np.linalg.norm(column)):
            kept.append(index)
            basis = np.column_stack([basis, rest / size])
    return tuple(kept)


def _null(full: Floats) -> Floats:
    # columns of one length: a covariate's unit must not decide what counts as zero
    lengths = np.linalg.norm(full, axis=0)
    lengths[lengths == 0] = 1.0
    _, singular, vt = np.linalg.svd(full / lengths, full_matrices=True)
    rank = int((singular > _ALIASED * singular.max(initial=0.0)).sum())
    null = np.where(np.abs(vt[rank:]) > _ALIASED, vt[rank:], 0.0)  # rounding is no direction
    return np.asarray(null.T / lengths[:, None])
