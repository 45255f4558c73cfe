"""The description of a study: one strict, frozen object per profile.

Every value is checked here once; inside the harness a `Study` is trusted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from harness.study.spec import (
    BASELINE,
    NAME,
    Architecture,
    Count,
    Dataset,
    Frozen,
    Hyperparameters,
    Method,
    Model,
    Optimisation,
    Positive,
    ResNet,
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
    """Teachers trained, and the seeds whose checkpoints the students learn from.

    Every student seed of the final phase learns from each of them: teacher and student seeds are crossed. Selection
    and ablations use the first.
    """

    architectures: Some[Architecture]
    seeds: Some[Seed]
    distilled_seeds: Some[Seed]


class Pair(Frozen):
    """A teacher and the student that learns from it."""

    teacher: Architecture
    student: Architecture


class Grid(Frozen, extra="allow"):
    """Values of each hyperparameter of a method. All but alpha are above 0, where the method would be another one."""

    __pydantic_extra__: dict[str, Some[Positive]] = Field(init=False)
    alpha: Some[Share]

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        for name in self.model_extra or {}:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"`{name}` must be a name of lower-case letters, digits and underscores")
        return self

    @property
    def values(self) -> dict[str, tuple[float, ...]]:
        """Values by name, in the order of the alphabet: that of the file means nothing."""
        return dict(sorted({"alpha": self.alpha, **(self.model_extra or {})}.items()))

    def candidates(self) -> list[Hyperparameters]:
        """Every value with every other's; the last name's vary fastest."""
        return [tuple(zip(self.values, chosen, strict=True)) for chosen in product(*self.values.values())]


class Selection(Frozen):
    """The hyperparameter search: every candidate of every pair at one seed, chosen by validation accuracy.

    Attributes:
        seed: Seed of every candidate. Where it is none of the study's `seeds`, no candidate is counted as a result.
        grid: By method, the values of each hyperparameter; every value is tried with every other's.
    """

    seed: Seed
    grid: Annotated[dict[Method, Grid], Field(min_length=1)]


class StemAblation(Frozen):
    """ResNets trained with both stems, at a teacher's or a student's epochs; other families have one stem."""

    architecture: ResNet
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
        seeds: Seeds of the final phase.
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
    def methods(self) -> tuple[str, ...]:
        """Distillation methods of the study, in the order of the selection grid."""
        return tuple(self.selection.grid)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not {*self.teachers.distilled_seeds} <= {*self.teachers.seeds}:
            raise ValueError(
                f"teachers.distilled_seeds must be among the trained seeds {list(self.teachers.seeds)}, "
                f"found {list(self.teachers.distilled_seeds)}"
            )
        if BASELINE in self.methods:
            raise ValueError(f"selection.grid.{BASELINE}: a baseline has no hyperparameters; remove it")
        for i, pair in enumerate(self.pairs):
            _one_of(f"pairs.{i}.teacher", pair.teacher, "teachers.architectures", self.teachers.architectures)
            _one_of(f"pairs.{i}.student", pair.student, "baselines (its gain needs one)", self.baselines)
        trained = [(pair.teacher, pair.student) for pair in self.pairs]
        for i, bug in enumerate(self.bug_ablation):
            if (bug.teacher, bug.student) not in trained:
                raise ValueError(f"bug_ablation.{i}: {bug.teacher} -> {bug.student} must be one of `pairs`")
            if "feature" not in self.methods:
                raise ValueError(f"bug_ablation.{i} needs selection.grid.feature: only Feature-KD has projections")
        return self


def _one_of(key: str, found: str, where: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise ValueError(f"{key} must be among {where}: {', '.join(allowed)}; found {found}")
