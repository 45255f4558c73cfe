"""From a study to its runs: every phase, cell and seed, in training order. Pure: reads and writes nothing.

A run may stand in several phases (the paper's 126 entries are 111 trainings): it is trained in the first phase
that names it, its owner, and the others point there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from harness.errors import StudyError
from harness.study.spec import Architecture, Method, Role, RunSpec, Stem
from harness.study.study import Pair, Study

Phase = Literal["teachers", "select", "final", "stem_ablation", "bug_ablation"]
PHASES: tuple[Phase, ...] = ("teachers", "select", "final", "stem_ablation", "bug_ablation")


@dataclass(frozen=True)
class Hyperparameters:
    """Alpha and temperature (None for Feature-KD) of a distillation cell."""

    alpha: float
    temperature: float | None

    @classmethod
    def of(cls, spec: RunSpec) -> Self:
        """Those of a distilled run.

        Raises:
            ValueError: The run is a baseline: it has none.
        """
        if spec.alpha is None:
            raise ValueError(f"{spec.name} is a baseline and has no hyperparameters")
        return cls(spec.alpha, spec.temperature)


@dataclass(frozen=True, order=True)
class Choice:
    """What the selection chooses for: a pair and a method."""

    teacher: Architecture
    student: Architecture
    method: Method


Selected = Mapping[Choice, Hyperparameters]


@dataclass(frozen=True)
class Entry:
    """One line of the plan.

    Attributes:
        phase: Phase that the line stands in.
        label: Readable name: the run's, or, before selection, the cell's without alpha and T.
        spec: The run; None while its hyperparameters wait for the selection.
        owner: Phase whose folder holds the run.
    """

    phase: Phase
    label: str
    spec: RunSpec | None
    owner: Phase

    @property
    def run(self) -> RunSpec:
        """The run.

        Raises:
            StudyError: It waits for the selection.
        """
        if self.spec is None:
            raise StudyError(f"{self.label} waits for the selection; run `harness train --phase select` first.")
        return self.spec


def plan(study: Study, selected: Selected | None) -> tuple[Entry, ...]:
    """Every entry of a study in training order.

    Args:
        study: The study.
        selected: Chosen hyperparameters of every pair and method, or None before the selection is done.

    Returns:
        The entries. Without `selected`, entries that need it have no spec, but their owner is already known: at
        the selection's seed a final run is the winning candidate itself.
    """
    owners: dict[str, Phase] = {}
    entries = []
    for phase, label, spec, pending_owner in _lines(study, selected):
        owner = owners.setdefault(spec.sha256, phase) if spec is not None else pending_owner
        entries.append(Entry(phase=phase, label=label, spec=spec, owner=owner))
    return tuple(entries)


def candidates(study: Study) -> dict[Choice, tuple[RunSpec, ...]]:
    """The selection's candidates of every pair and method, in grid order."""
    found: dict[Choice, tuple[RunSpec, ...]] = {}
    for pair in study.pairs:
        for method in study.methods:
            grid = _grid(study, method)
            specs = tuple(_distilled(study, pair, method, values, study.selection.seed) for values in grid)
            found[Choice(pair.teacher, pair.student, method)] = specs
    return found


def choose(study: Study, val_acc: Mapping[str, float]) -> dict[Choice, Hyperparameters]:
    """Choose every cell's hyperparameters by validation accuracy (paper, section 4).

    Args:
        study: The study.
        val_acc: Best validation accuracy (fraction) of each candidate, by the run's identity (`RunSpec.sha256`).

    Returns:
        The winner of each pair and method; of equals the first in grid order.

    Raises:
        KeyError: A candidate has no accuracy.
    """
    winners = {}
    for choice, specs in candidates(study).items():
        winners[choice] = Hyperparameters.of(max(specs, key=lambda spec: val_acc[spec.sha256]))
    return winners


def any_winner(study: Study) -> dict[Choice, Hyperparameters]:
    """A selection before there is one: the first candidate of each pair and method; all cost the same."""
    return {choice: Hyperparameters.of(specs[0]) for choice, specs in candidates(study).items()}


def distinct(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries that train something: each run once, in the phase that owns it."""
    return tuple(entry for entry in entries if entry.owner == entry.phase)


_Line = tuple[Phase, str, RunSpec | None, Phase]


def _lines(study: Study, selected: Selected | None) -> Iterator[_Line]:
    for architecture in study.teachers.architectures:
        for seed in study.teachers.seeds:
            yield _known("teachers", _alone(study, "teacher", architecture, seed))
    for specs in candidates(study).values():
        for spec in specs:
            yield _known("select", spec)
    yield from _final_lines(study, selected)
    stems: tuple[Stem, ...] = ("cifar", "imagenet")
    for stem in stems:
        for ablation in study.stem_ablation:
            for seed in ablation.seeds:
                yield _known("stem_ablation", _alone(study, ablation.role, ablation.architecture, seed, stem))
    for bug in study.bug_ablation:
        pair = Pair(teacher=bug.teacher, student=bug.student)
        for seed in bug.seeds:
            yield _chosen("bug_ablation", study, selected, pair, "feature", seed, clip_projections=False)


def _final_lines(study: Study, selected: Selected | None) -> Iterator[_Line]:
    for student in study.baselines:
        for seed in study.seeds:
            yield _known("final", _alone(study, "student", student, seed))
    for pair in study.pairs:
        for method in study.methods:
            for seed in study.seeds:
                yield _chosen("final", study, selected, pair, method, seed)


def _known(phase: Phase, spec: RunSpec) -> _Line:
    return phase, spec.name, spec, phase


def _chosen(
    phase: Phase,
    study: Study,
    selected: Selected | None,
    pair: Pair,
    method: Method,
    seed: int,
    *,
    clip_projections: bool = True,
) -> _Line:
    """A line whose hyperparameters come from the selection."""
    if selected is not None:
        values = selected[Choice(pair.teacher, pair.student, method)]
        return _known(phase, _distilled(study, pair, method, values, seed, clip_projections=clip_projections))
    unclipped = "" if clip_projections else "-unclipped"
    owner: Phase = "select" if clip_projections and seed == study.selection.seed else phase
    return phase, f"{pair.teacher}-{pair.student}-{method}{unclipped}-s{seed}", None, owner


def _grid(study: Study, method: Method) -> list[Hyperparameters]:
    if method == "logit" and (logit := study.selection.logit):
        return [Hyperparameters(alpha, temperature) for alpha in logit.alpha for temperature in logit.temperature]
    if method == "feature" and (feature := study.selection.feature):
        return [Hyperparameters(alpha, None) for alpha in feature.alpha]
    return []


def _alone(study: Study, role: Role, architecture: Architecture, seed: int, stem: Stem = "cifar") -> RunSpec:
    """A run without a teacher."""
    return RunSpec(
        role=role,
        architecture=architecture,
        stem=stem,
        method="none",
        seed=seed,
        epochs=getattr(study.epochs, role),
        dataset=study.dataset,
        model=study.model,
        optimisation=study.optimisation,
    )


def _distilled(
    study: Study,
    pair: Pair,
    method: Method,
    values: Hyperparameters,
    seed: int,
    *,
    clip_projections: bool = True,
) -> RunSpec:
    """A run that learns from the pair's teacher."""
    return RunSpec(
        role="student",
        architecture=pair.student,
        stem="cifar",
        method=method,
        alpha=values.alpha,
        temperature=values.temperature,
        clip_projections=clip_projections if method == "feature" else None,
        teacher=_alone(study, "teacher", pair.teacher, study.teachers.distilled_seed),
        seed=seed,
        epochs=study.epochs.student,
        dataset=study.dataset,
        model=study.model,
        optimisation=study.optimisation,
    )
