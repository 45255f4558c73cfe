"""selected.json: every candidate of the hyperparameter search, and which one won."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import StudyError
from harness.files import write_json
from harness.study.plan import Choice, Hyperparameters, Selected, candidates, choose
from harness.study.study import Study

SCHEMA = "kdcap.selected/1"


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
            "alpha": spec.alpha,
            "temperature": spec.temperature,
            "seed": spec.seed,
            "val_acc": val_acc[spec.sha256],
            "chosen": winners[choice] == Hyperparameters(spec.alpha or 0.0, spec.temperature),
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
        rows = {row["spec_sha256"]: bool(row["chosen"]) for row in content["candidates"]}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path}: expected the selection in schema {SCHEMA}, found something else ({error!r}); delete the file and "
            "run `harness train --phase select`."
        ) from None
    grid = candidates(study)
    if set(rows) != {spec.sha256 for specs in grid.values() for spec in specs}:
        return None
    selected: dict[Choice, Hyperparameters] = {}
    for choice, specs in grid.items():
        chosen = [spec for spec in specs if rows[spec.sha256]]
        if len(chosen) != 1:
            raise StudyError(
                f"{path}: expected one chosen candidate for {choice}, found {len(chosen)}; delete the file."
            )
        selected[choice] = Hyperparameters(chosen[0].alpha or 0.0, chosen[0].temperature)
    return selected
