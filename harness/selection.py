"""selected.json: every candidate of the hyperparameter search, and which one won."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import StudyError
from harness.files import write_json
from harness.study.plan import Selected, candidates, choose
from harness.study.study import Study

SCHEMA = "kdcap.selected/2"


def write_selected(path: Path, study: Study, val_acc: Mapping[str, float]) -> None:
    """Choose by validation accuracy and write every candidate with its accuracy.

    Args:
        path: selected.json.
        study: The study.
        val_acc: Best validation accuracy (fraction) of each candidate, by run identity.
    """
    winners = choose(study, val_acc)
    rows = [
        {
            "teacher": choice.teacher,
            "student": choice.student,
            "method": choice.method,
            "hyperparameters": dict(spec.hyperparameters),
            "seed": spec.seed,
            "val_acc": val_acc[spec.sha256],
            "chosen": spec.hyperparameters == winners[choice],
            "run": spec.name,
            "spec_sha256": spec.sha256,
        }
        for choice, specs in candidates(study).items()
        for spec in specs
    ]
    write_json(path, {"schema": SCHEMA, "rule": "highest val_acc; of equals the first", "candidates": rows})


def read_selected(path: Path, study: Study) -> Selected | None:
    """The chosen hyperparameters, or None where this study's selection is not done.

    Args:
        path: selected.json.
        study: The study; a file that lists other candidates than the study's counts as not done.

    Raises:
        StudyError: The file cannot be read as what `write_selected` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        chosen = {row["spec_sha256"]: row["chosen"] for row in content["candidates"]}
        val_acc = {row["spec_sha256"]: float(row["val_acc"]) for row in content["candidates"]}
        schema = content["schema"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(path, f"something else ({error!r})") from None
    if schema != SCHEMA:
        raise _unusable(path, f"schema {schema}")
    grid = candidates(study)
    if set(chosen) != {spec.sha256 for specs in grid.values() for spec in specs}:
        return None
    winners = choose(study, val_acc)
    for choice, specs in grid.items():
        for spec in specs:
            if chosen[spec.sha256] is not (spec.hyperparameters == winners[choice]):
                raise _unusable(path, f"{spec.name} marked `chosen: {chosen[spec.sha256]}` against its val_acc")
    return winners


def _unusable(path: Path, found: str) -> StudyError:
    return StudyError(
        f"{path}: expected a selection as `harness train --phase select` writes it (schema {SCHEMA}), found {found}; "
        "delete the file and run that command again."
    )
