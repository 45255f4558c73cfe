"""Distillation methods by name, as packages announce them; nothing of theirs is imported, and torch is not needed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from harness.errors import StudyError

GROUP = "kdcap.methods"
# Of this package's methods, so that a study is refused before hours of training; others check when they train.
HYPERPARAMETERS = {"attention": ["beta"], "feature": [], "logit": ["temperature"], "random_teacher": ["temperature"]}
# These need no more of a teacher than its logits. What other packages' methods need is known only once they are
# imported, and that takes torch: a plan counts them as if they needed the teacher in every step.
LOGITS_METHODS = ("logit", "random_teacher")
UNTRAINED_TEACHER = ("random_teacher",)  # of these the teacher is one that never trained
STAGE_BY_STAGE = ("attention", "feature")  # these compare features, and so networks of as many stages


def find(name: str) -> EntryPoint:
    """The entry point of a method.

    Raises:
        StudyError: No installed package has a method of this name, or several have.
    """
    found = list(entry_points(group=GROUP, name=name))
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)})) or "none; install kdcap again"
    there = ", ".join(point.value for point in found) or "none"
    raise StudyError(
        f"method {name}: expected one installed method of that name, found {there} (known are {known}); install the "
        "package that has it, or correct `selection.grid` in the profile."
    )


def source(name: str) -> str:
    """Package and version that a method comes from, e.g. `kdcap 0.1.0`.

    Raises:
        StudyError: See `find`.
    """
    package = find(name).dist
    return f"{package.name} {package.version}" if package else "unknown"
