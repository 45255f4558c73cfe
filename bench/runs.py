"""The runs that benches train: the paper's, on other images, of another size, or in another arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.study.load import load_study
from harness.study.plan import Choice, candidates, plan
from harness.study.spec import BASELINE, Architecture, RunSpec


def of_profile(profile: str, method: str, student: Architecture, teacher: Architecture) -> RunSpec:
    """A cell of a study: a baseline, or the first candidate of a pair and method.

    Args:
        profile: The study's profile.
        method: `none` for a baseline.
        student: The network trained.
        teacher: Its teacher, where there is one.

    Raises:
        SystemExit: The study has no such pair or method.
    """
    study = load_study(profile)
    if method == BASELINE:
        baseline = next(entry.run for entry in plan(study, None) if entry.phase == "final")
        return baseline.model_copy(update={"architecture": student})
    found = candidates(study)
    choice = Choice(teacher, student, method)
    if choice not in found:
        pairs = sorted({f"{known.teacher}:{known.student}" for known in found})
        raise SystemExit(f"expected a pair of profile {profile} ({', '.join(pairs)}), found {teacher}:{student}")
    return found[choice][0]


def changed(spec: RunSpec, blocks: Mapping[str, Mapping[str, Any]], epochs: int | None = None) -> RunSpec:
    """A run with other values in its blocks, and in its teacher's.

    Args:
        spec: The run.
        blocks: By name of the block (`dataset`, `model`, `optimisation`), the fields to change.
        epochs: Its epochs; None leaves them as they are.
    """
    update: dict[str, Any] = {name: getattr(spec, name).model_copy(update=fields) for name, fields in blocks.items()}
    if spec.teacher is not None:
        update["teacher"] = changed(spec.teacher, blocks)
    if epochs is not None:
        update["epochs"] = epochs
    return RunSpec.model_validate(spec.model_copy(update=update).model_dump())


def short_name(*networks: Architecture, method: str) -> str:
    """A cell in a table: `R50->R18 logit`.

    Args:
        networks: The teacher, where there is one, and the student.
        method: `none` for a baseline.
    """
    return f"{'->'.join(networks)} {method}".replace("resnet", "R")


def cell(spec: RunSpec) -> str:
    """A run's cell as `short_name` has it."""
    networks = (spec.teacher.architecture, spec.architecture) if spec.teacher else (spec.architecture,)
    return short_name(*networks, method=spec.method)
