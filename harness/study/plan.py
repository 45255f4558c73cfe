"""From a study to its runs: every phase, cell and seed, in training order. Pure: reads and writes nothing.

A run may stand in several phases (the paper's 126 entries are 111 trainings): it is trained in the first phase
that names it, its owner, and the others point there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import StudyError
from harness.study.spec import BASELINE, Architecture, Hyperparameters, Role, RunSpec, Stem, run_name
from harness.study.study import Study

Phase = Literal["teachers", "select", "final", "stem_ablation", "bug_ablation"]
PHASES: tuple[Phase, ...] = ("teachers", "select", "final", "stem_ablation", "bug_ablation")


@dataclass(frozen=True, order=True)
class Choice:
    """What the selection chooses for: a pair and a method."""

    teacher: Architecture
    student: Architecture
    method: str


Selected = Mapping[Choice, Hyperparameters]


@dataclass(frozen=True)
class Entry:
    """One line of the plan.

    Attributes:
        phase: Phase that the line stands in.
        cell: Readable name of the cell; before selection without hyperparameters.
        teacher_seed: Seed of the teacher's run; None without a teacher.
        seed: The run's own.
        owner: Phase whose folder holds the run.
        spec: The run; None while its hyperparameters wait for the selection.
        choice: The choice that it waits for; None for a known run.
    """

    phase: Phase
    cell: str
    teacher_seed: int | None
    seed: int
    owner: Phase
    spec: RunSpec | None = None
    choice: Choice | None = None

    @property
    def label(self) -> str:
        """Readable name: the run's, or, before selection, the same without hyperparameters."""
        return run_name(self.cell, self.teacher_seed, self.seed)

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
        The entries. Without `selected`, entries that need it have no spec, but their owner is already known: with
        the selection's teacher and seed a final run is the winning candidate itself.
    """
    owners: dict[RunSpec, Phase] = {}
    entries = []
    for entry in _lines(study, selected):
        owner = entry.owner if entry.spec is None else owners.setdefault(entry.spec, entry.phase)
        entries.append(entry if owner == entry.owner else replace(entry, owner=owner))
    return tuple(entries)


def candidates(study: Study) -> dict[Choice, tuple[RunSpec, ...]]:
    """The selection's candidates of every pair and method, in grid order."""
    teacher_seed, seed = _tried(study)
    return {
        choice: tuple(
            _distilled(study, choice, values, _teacher(study, choice, teacher_seed), seed)
            for values in study.selection.grid[choice.method].candidates()
        )
        for choice in _choices(study)
    }


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
    return {choice: winner(specs, val_acc) for choice, specs in candidates(study).items()}


def winner(specs: Sequence[RunSpec], val_acc: Mapping[str, float]) -> Hyperparameters:
    """The hyperparameters that won among the candidates of one pair and method; see `choose`."""
    return max(specs, key=lambda spec: val_acc[spec.sha256]).hyperparameters


def any_winner(study: Study) -> dict[Choice, Hyperparameters]:
    """A selection before there is one: the first candidate of each pair and method; all cost the same."""
    return {choice: specs[0].hyperparameters for choice, specs in candidates(study).items()}


def decided(study: Study, entry: Entry, values: Hyperparameters) -> Entry:
    """An entry that waited for the selection, with the hyperparameters that were chosen.

    Raises:
        ValueError: It does not wait.
    """
    if entry.choice is None or entry.teacher_seed is None:
        raise ValueError(f"{entry.label} waits for no selection")
    teacher = _teacher(study, entry.choice, entry.teacher_seed)
    known = _chosen(entry.phase, study, {entry.choice: values}, entry.choice, teacher, entry.seed)
    return replace(known, owner=entry.owner)


def distinct(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries that train something: each run once, in the phase that owns it."""
    return tuple(entry for entry in entries if entry.owner == entry.phase)


def _lines(study: Study, selected: Selected | None) -> Iterator[Entry]:
    """Every entry, as if its own phase owned each known run."""
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
        choice = Choice(bug.teacher, bug.student, "feature")
        teacher = _teacher(study, choice, _tried(study)[0])
        for seed in bug.seeds:
            yield _chosen("bug_ablation", study, selected, choice, teacher, seed)


def _final_lines(study: Study, selected: Selected | None) -> Iterator[Entry]:
    for student in study.baselines:
        for seed in study.seeds:
            yield _known("final", _alone(study, "student", student, seed))
    for choice in _choices(study):
        for teacher_seed in study.teachers.distilled_seeds:
            teacher = _teacher(study, choice, teacher_seed)
            for seed in study.seeds:
                yield _chosen("final", study, selected, choice, teacher, seed)


def _choices(study: Study) -> list[Choice]:
    return [Choice(pair.teacher, pair.student, method) for pair in study.pairs for method in study.methods]


def _tried(study: Study) -> tuple[int, int]:
    """Seeds of the candidates' teacher and of the candidates."""
    return study.teachers.distilled_seeds[0], study.selection.seed


def _known(phase: Phase, spec: RunSpec) -> Entry:
    return Entry(phase, spec.cell, spec.teacher.seed if spec.teacher else None, spec.seed, owner=phase, spec=spec)


def _chosen(
    phase: Phase,
    study: Study,
    selected: Selected | None,
    choice: Choice,
    teacher: RunSpec,
    seed: int,
) -> Entry:
    """An entry whose hyperparameters come from the selection."""
    clip_projections = phase != "bug_ablation"
    if selected is not None:
        values = selected[choice]
        return _known(phase, _distilled(study, choice, values, teacher, seed, clip_projections=clip_projections))
    cell = f"{choice.teacher}-{choice.student}-{choice.method}{'' if clip_projections else '-unclipped'}"
    shared = clip_projections and (teacher.seed, seed) == _tried(study)
    return Entry(phase, cell, teacher.seed, seed, owner="select" if shared else phase, choice=choice)


def _teacher(study: Study, choice: Choice, seed: int) -> RunSpec:
    return _alone(study, "teacher", choice.teacher, seed)


def _alone(study: Study, role: Role, architecture: Architecture, seed: int, stem: Stem = "cifar") -> RunSpec:
    """A run without a teacher."""
    return RunSpec(
        role=role,
        architecture=architecture,
        stem=stem,
        method=BASELINE,
        seed=seed,
        epochs=getattr(study.epochs, role),
        dataset=study.dataset,
        model=study.model,
        optimisation=study.optimisation,
    )


def _distilled(
    study: Study,
    choice: Choice,
    hyperparameters: Hyperparameters,
    teacher: RunSpec,
    seed: int,
    *,
    clip_projections: bool = True,
) -> RunSpec:
    """A run that learns from a teacher."""
    return RunSpec(
        role="student",
        architecture=choice.student,
        stem="cifar",
        method=choice.method,
        hyperparameters=hyperparameters,
        clip_projections=clip_projections if choice.method == "feature" else None,
        teacher=teacher,
        seed=seed,
        epochs=study.epochs.student,
        dataset=study.dataset,
        model=study.model,
        optimisation=study.optimisation,
    )
