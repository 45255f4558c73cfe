"""Words: names of architectures and contrasts, and the sentences that every report carries."""

from __future__ import annotations

import re
from itertools import product

from analysis.results import Analysis, Verdict

# Shape and word carry a verdict, so that colour is never needed to read it.
VERDICT_MARKS: dict[Verdict, str] = {
    "supported": "\N{CHECK MARK}",
    "refuted": "\N{MULTIPLICATION X}",
    "cannot tell": "?",
    "not tested": "\N{EN DASH}",
}

QUESTION = (
    "Does knowledge distillation help a larger student more than a smaller one, "
    "or is the difference within what chance alone would show?"
)

LIMITS = (
    "“Cannot tell” is not “no effect”: it means that these runs leave room for both.",
    "An effect that is significant for one student and not for the other is no evidence of a difference "
    "between them. Only the moderation estimates compare students.",
    "The intervals express how results vary with the seed. All runs are scored on the same test images; "
    "other images would add noise of their own.",
    "Architectures differ in more than capacity, and a few of them make no curve: nothing here says what "
    "another size, family, dataset or training recipe would show.",
)

DEFINITIONS = {
    "Gain": "Test accuracy with distillation minus test accuracy of the same student trained without it, in "
    "percentage points (pp), both at the checkpoint with the best validation accuracy.",
    "Moderation": "The gain of the larger student minus the gain of the smaller one, in percentage points.",
    "Interval": "A two-sided 95% t interval with the degrees of freedom given beside it. In the claims it is "
    "widened for the number of claims judged together (Holm); elsewhere it is not.",
    "Margin": "The smallest difference that matters, to be fixed before the runs are looked at. An effect "
    "inside it is too small to act on, however certain it is.",
    "Supported": "The adjusted 95% interval lies beyond zero in the direction of the claim, even if the "
    "effect is below the margin; for a claim of no effect, the 90% interval lies inside the margin on both "
    "sides.",
    "Refuted": "The adjusted 95% interval lies beyond zero the other way, or the 90% interval lies inside "
    "the margin; for a claim of no effect, the 95% interval excludes zero and the 90% interval reaches "
    "beyond the margin.",
    "Cannot tell": "Neither: more seeds would be needed to decide.",
    "Not tested": "The runs table holds no runs that the claim is about.",
}


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts resnet18 before resnet101."""
    return tuple((int(part or 0), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def architecture(name: str) -> str:
    """Name as people write it: `resnet34` becomes `ResNet-34`; others are left as they are."""
    return re.sub(r"^resnet(\d+)$", r"ResNet-\1", name)


def subset_name(subset: str) -> str:
    """Words for a subset of rows: `teachers:resnet50` becomes `taught by ResNet-50 alone`, `all` nothing."""
    if subset.startswith("teachers:"):
        teachers = subset.removeprefix("teachers:").split("+")
        return f"taught by {' and '.join(map(architecture, teachers))} alone"
    return "" if subset == "all" else subset


def shortened(label: str) -> str:
    """A label for figures, where room is short: `ResNet-34` becomes `R34`."""
    return label.replace("ResNet-", "R").replace(" minus ", " \N{MINUS SIGN} ")


def contrast_labels(analysis: Analysis) -> dict[str, str]:
    """Words for the contrast identifiers that this analysis can hold.

    Identifiers are composed from the names of cells, never taken apart: names may hold any character. What is
    not found here is shown by its identifier.
    """
    students = {cell.student for cell in analysis.cells}
    teachers = {cell.teacher for cell in analysis.cells if cell.teacher}
    methods = {cell.method for cell in analysis.cells}
    labels: dict[str, str] = {}
    for student, method in product(students, methods):
        labels[f"gain:{student}:{method}"] = f"{architecture(student)}, {method}"
        for teacher in teachers:
            labels[f"gain:{teacher}>{student}:{method}"] = f"{_pair(teacher, student)}, {method}"
    for larger, smaller, method, base in product(students, students, methods, methods):
        effect = f"gain from {method}" if base == "none" else f"{method} over {base}"
        labels[f"moderation:{method}-{base}:{larger}-{smaller}"] = (
            f"{effect}: {architecture(larger)} minus {architecture(smaller)}"
        )
    return labels


def _pair(teacher: str, student: str) -> str:
    return f"{architecture(teacher)} → {architecture(student)}"
