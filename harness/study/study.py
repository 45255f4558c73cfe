"""The description of a study: one strict, frozen object per profile.

Every value is checked here once; inside the harness a `Study` is trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from harness.study.spec import (
    Architecture,
    Count,
    Dataset,
    Frozen,
    Model,
    Optimisation,
    Positive,
    Role,
    Seed,
    Share,
)


def _no_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"each value may stand once, but {repeated[0]!r} stands more than once")
    return values


T = TypeVar("T")
# YAML's lists become tuples (hence not strict at this level): a frozen description holds nothing that can change.
Distinct = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_no_repeats)]
Some = Annotated[Distinct[T], Field(min_length=1)]


class Epochs(Frozen):
    """Epochs of a teacher and of a student (baselines are students)."""

    teacher: Count
    student: Count


class Teachers(Frozen):
    """Teachers trained, and the seed whose checkpoint the students learn from."""

    architectures: Some[Architecture]
    seeds: Some[Seed]
    distilled_seed: Seed


class Pair(Frozen):
    """A teacher and the student that learns from it."""

    teacher: Architecture
    student: Architecture


class LogitGrid(Frozen):
    """Candidates of Logit-KD: every alpha with every temperature."""

    alpha: Some[Share]
    temperature: Some[Positive]


class FeatureGrid(Frozen):
    """Candidates of Feature-KD."""

    alpha: Some[Share]


class Selection(Frozen):
    """The hyperparameter search: every candidate of every pair at one seed, chosen by validation accuracy."""

    seed: Seed
    logit: LogitGrid | None = None
    feature: FeatureGrid | None = None


class StemAblation(Frozen):
    """Networks trained with both stems, at a teacher's or a student's epochs."""

    architecture: Architecture
    role: Role
    seeds: Some[Seed]


class BugAblation(Frozen):
    """Feature-KD of one pair with the projections left out of gradient clipping."""

    teacher: Architecture
    student: Architecture
    seeds: Some[Seed]


class Margins(Frozen):
    """Smallest difference that matters, in percentage points, for gains and their interactions."""

    gain_pp: Positive


class Study(Frozen):
    """A whole study at one budget.

    Attributes:
        title: One line for people.
        evidence: False for a study that tests the pipeline and says nothing about the paper's claim.
        dataset: Images.
        model: Shape of the networks.
        optimisation: Optimiser and arithmetic.
        epochs: Budget of teachers and students.
        teachers: Teachers trained.
        baselines: Students trained without a teacher, the base of every gain.
        pairs: Teacher and student pairs.
        selection: Hyperparameter search.
        seeds: Some[Seed] of the final phase.
        stem_ablation: Networks trained with both stems.
        bug_ablation: Runs with the clipping bug.
        margins: Margins of the analysis.
        reference: Name of the reference that `harness verify` judges against; None where nothing is frozen yet.
    """

    title: str
    evidence: bool
    dataset: Dataset
    model: Model
    optimisation: Optimisation
    epochs: Epochs
    teachers: Teachers
    baselines: Some[Architecture]
    pairs: Some[Pair]
    selection: Selection
    seeds: Some[Seed]
    stem_ablation: Distinct[StemAblation]
    bug_ablation: Distinct[BugAblation]
    margins: Margins
    reference: str | None

    @property
    def methods(self) -> tuple[Literal["logit", "feature"], ...]:
        """Distillation methods of the study, in the order of the selection grid."""
        named: tuple[Literal["logit", "feature"], ...] = ("logit", "feature")
        return tuple(method for method in named if getattr(self.selection, method) is not None)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.teachers.distilled_seed not in self.teachers.seeds:
            raise ValueError(
                f"teachers.distilled_seed must be one of the trained seeds {list(self.teachers.seeds)}, "
                f"found {self.teachers.distilled_seed}"
            )
        if not self.methods:
            raise ValueError("selection must have a grid for `logit`, `feature` or both, found neither")
        for i, pair in enumerate(self.pairs):
            _one_of(f"pairs.{i}.teacher", pair.teacher, "teachers.architectures", self.teachers.architectures)
            _one_of(f"pairs.{i}.student", pair.student, "baselines (its gain needs one)", self.baselines)
        trained = [(pair.teacher, pair.student) for pair in self.pairs]
        for i, bug in enumerate(self.bug_ablation):
            if (bug.teacher, bug.student) not in trained:
                raise ValueError(f"bug_ablation.{i}: {bug.teacher} -> {bug.student} must be one of `pairs`")
            if "feature" not in self.methods:
                raise ValueError(f"bug_ablation.{i} needs selection.feature: only Feature-KD has projections")
        return self


def _one_of(key: str, found: str, where: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise ValueError(f"{key} must be among {where}: {', '.join(allowed)}; found {found}")
