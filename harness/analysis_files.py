"""An analysis as files: `analysis.json` holds everything, one CSV file a table holds the same rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from analysis import results
from analysis.inference.effect_sizes import EffectSize
from analysis.results import SCHEMA, Analysis
from harness.errors import StoreError
from harness.files import write_json
from harness.tables import write_table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JSON_NAME = "analysis.json"
# one file a table: its name is the field of Analysis
TABLES = {
    "contrasts": results.Contrast,
    "emmeans": results.EmMean,
    "variance_components": results.VarianceComponent,
    "omnibus": results.Omnibus,
    "claims": results.Claim,
    "multiverse": results.Specification,
    "choices": results.Choice,
    "power": results.PowerPoint,
    "seeds_needed": results.SeedsNeeded,
    "diagnostics": results.Diagnostic,
    "assumptions": results.Assumption,
    "models": results.ModelFit,
    "intervals": results.AlternativeInterval,
    "effect_sizes": EffectSize,
    "rivals": results.Rival,
    "fidelity": results.Fidelity,
    "history": results.Version,
    "cells": results.Cell,
}
_ADAPTER = TypeAdapter(Analysis)


def json_schema() -> dict[str, Any]:
    """JSON Schema of `analysis.json`, of the version that its `schema` field names."""
    schema = _ADAPTER.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}


def analysis_to_dict(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(analysis), allow_nan=False))
    return plain


def analysis_from_json(text: str, source: str) -> Analysis:
    """Parse `analysis.json`, strictly.

    Args:
        text: Content of the file.
        source: Name of the file, for messages.

    Raises:
        StoreError: It is no analysis of this version, or holds an unknown, missing or mistyped key.
    """
    remedy = "make it again with `harness analyze`."
    try:
        analysis = _ADAPTER.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StoreError(f"{source}: {place}: {first['msg']}; {remedy}") from None
    if analysis.schema != SCHEMA:
        raise StoreError(f"{source}: expected schema {SCHEMA}, found {analysis.schema}; {remedy}")
    if analysis_to_dict(analysis) != json.loads(text):  # dataclasses drop unknown keys silently
        raise StoreError(f"{source}: holds keys that {SCHEMA} does not know; {remedy}")
    return analysis


def read_analysis(folder: Path) -> Analysis:
    """Read `analysis.json` of a folder.

    Raises:
        StoreError: There is none, or it breaks the schema.
    """
    path = folder / JSON_NAME
    try:
        return analysis_from_json(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise StoreError(f"no analysis at {path}; make it with `harness analyze`.") from None


def write_analysis(folder: Path, analysis: Analysis) -> None:
    """Write `analysis.json` and one CSV file a table; the same analysis always gives the same bytes."""
    for name, row_type in TABLES.items():
        write_table(folder / f"{name}.csv", [_in_file(row) for row in getattr(analysis, name)], row_type)
    write_json(folder / JSON_NAME, analysis_to_dict(analysis))


def _in_file(row: DataclassInstance) -> DataclassInstance:
    """A row as CSV holds it: a list of runs in words (`1 to 3, 7`), since a spreadsheet takes 1-3 for a date."""
    if not isinstance(row, results.ModelFit):
        return row
    words = [str(first) if first == last else f"{first} to {last}" for first, last in row.run_ranges]
    flat: DataclassInstance = row
    return dataclasses.replace(flat, runs=", ".join(words))
