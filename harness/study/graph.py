"""What has to be done before what: a student's teacher, and the candidates that its hyperparameters are chosen from.

Pure: entries of a plan in, numbers of entries out.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.study.plan import Choice, Entry


def choice_of(entry: Entry) -> Choice | None:
    """The pair and method of a distilled run; None for one without a teacher."""
    if entry.spec is None or entry.spec.teacher is None:
        return entry.choice
    return Choice(entry.spec.teacher.architecture, entry.spec.architecture, entry.spec.method)


def needs(entries: Sequence[Entry]) -> tuple[frozenset[int], ...]:
    """What each entry has to wait for.

    Args:
        entries: Entries of a plan, each run once, in training order.

    Returns:
        By entry, numbers of earlier entries: the teacher of a distilled run, and, for a run that waits for the
        selection, every candidate of its pair and method. What is not among `entries` is left out.
    """
    teachers: dict[tuple[str, int | None], int] = {}
    candidates: dict[Choice | None, set[int]] = {}
    found = []
    for number, entry in enumerate(entries):
        choice = choice_of(entry)
        if entry.phase == "teachers" and entry.spec is not None:
            teachers[entry.spec.architecture, entry.seed] = number
        if entry.phase == "select":
            candidates.setdefault(choice, set()).add(number)
        before = set() if entry.spec is not None else set(candidates.get(choice, ()))
        if choice is not None and (teacher := teachers.get((choice.teacher, entry.teacher_seed))) is not None:
            before.add(teacher)
        found.append(frozenset(before))
    return tuple(found)
