"""Reads a register of claims, strictly."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from analysis.claims.register import Registered
from harness.study.load import load_strict
from harness.study.spec import Frozen

REGISTER = Path(str(resources.files("reference"))) / "claims.yaml"

Text = Annotated[str, Field(min_length=1)]


def _margin(value: object) -> object:
    """One sentence for both ways to write it, where a union would tell of the first alone."""
    if value == "gain" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf):
        return value if value == "gain" else float(value)
    raise ValueError(f"expected `gain` or a number above 0, found {value!r}")


class _Claim(Frozen):
    """One entry; fields as in `analysis.claims.register.Registered`."""

    id: Text
    sentence: Text
    effect: str
    source: Text
    published: str
    kind: Literal["directional", "null", "at least"]
    unit: Text
    margin: Annotated[Literal["gain"] | float, BeforeValidator(_margin)]
    threshold: Annotated[float, Field(strict=False)] = 0.0
    model: Text
    metric: str = ""
    subset: Text
    contrast: str
    needs: Text
    caution: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.threshold != 0 and self.kind != "at least":
            raise ValueError(f"threshold {self.threshold:g} belongs to a claim of kind `at least`; this is {self.kind}")
        if self.margin == "gain" and self.unit != "pp":
            raise ValueError(f"margin `gain` is in pp, but the unit is {self.unit}; give a number in that unit")
        return self


class _Register(Frozen):
    claims: Annotated[tuple[_Claim, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [claim.id for claim in self.claims]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"id {twice!r} stands there twice; rename one")
        return self


def read_claims(path: Path = REGISTER) -> tuple[Registered, ...]:
    """The claims of a register, in its order.

    Raises:
        harness.errors.StudyError: It cannot be read, an entry lacks or misspells a key, or an id stands there twice.
    """
    entries = load_strict(path, _Register).claims
    return tuple(
        Registered(**entry.model_dump() | {"margin": None if entry.margin == "gain" else entry.margin})
        for entry in entries
    )
