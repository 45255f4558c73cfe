"""Words: names of architectures and contrasts, and the sentences that every report carries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations, product

from analysis.inference.power import MOST_SEEDS
from analysis.results import Analysis, Claim, Verdict
from analysis.runs.columns import BASELINE, cell_label
from report.numbers import MISSING, number

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
    "Intervals express how results vary with the seed, on these test images; other images add noise of their own, "
    "which columns headed “other images” count, where there are any.",
    "Architectures differ in more than capacity, and a few of them make no curve: nothing here says what "
    "another size, family, dataset or training recipe would show.",
)

_DEFINITIONS = {
    "Moderation": "The gain of the larger student minus the gain of the smaller one, in percentage points.",
    "Interval": "A two-sided 95% t interval with the degrees of freedom given beside it. In the claims it is "
    "widened for the contrasts judged together (Holm); elsewhere it is not.",
    "df": "Degrees of freedom, and how they were obtained: KR Kenward-Roger, S Satterthwaite; residual ones are exact.",
    "Singular, refit": "A fit is singular if a variance is estimated as zero, which is common with few seeds. The "
    "model is then fitted again without it; both stand here, and claims and figures rest on the refit.",
    "Margin": "The smallest difference that matters, to be fixed before the runs are looked at. An effect "
    "inside it is too small to act on, however certain it is.",
    "Supported": "The adjusted 95% interval lies beyond zero in the direction of the claim, even if the "
    "effect is below the margin. For a claim of no effect, the 90% interval lies inside the margin on both "
    "sides; for a claim of “at least”, above the threshold less the margin.",
    "Refuted": "The adjusted 95% interval lies beyond zero the other way, or the 90% interval lies inside "
    "the margin. For a claim of no effect, the 95% interval excludes zero and the 90% interval reaches "
    "beyond the margin; for a claim of “at least”, the 95% interval lies below the threshold.",
    "Cannot tell": "Neither: more seeds would be needed to decide.",
    "Not tested": "The runs table holds no runs that the claim is about.",
}

_METRICS = {
    "test_acc_best": "test accuracy",
    "test_acc_final": "test accuracy after the last epoch",
    "val_acc": "validation accuracy",
    "agreement": "agreement",
    "kl_t1": "KL at T = 1",
    "kl_t4": "KL at T = 4",
    "ece": "calibration error",
}
_DF_METHODS = {"kenward-roger": "KR", "satterthwaite": "S"}
_CHOICES = {
    "metric": "accuracy",
    "scale": "scale",
    "seeds": "seeds",
    "teachers": "teachers",
    "hyperparameters": "hyperparameters",
    "model": "model",
    "df_method": "degrees of freedom",
}


def definitions(analysis: Analysis) -> dict[str, str]:
    """What the words of the page mean, for the metric that was analysed."""
    where = ", at the checkpoint with the best validation accuracy" if analysis.metric == "test_acc_best" else ""
    gain = f"{metric_name(analysis)} with distillation minus that of the same student trained without it"
    return {"Gain": f"{gain[0].upper()}{gain[1:]}, in percentage points (pp){where}.", **_DEFINITIONS}


def metric_name(analysis: Analysis) -> str:
    """What was analysed: higher is better, so that an error rate stands as one minus itself."""
    return measure_name(analysis.metric) if analysis.higher_is_better else f"1 - {analysis.metric}"


def measure_name(column: str) -> str:
    """Words for a column of the runs table."""
    return _METRICS.get(column, column)


def response_name(column: str, analysis: Analysis) -> str:
    """Words for a model's response, where it is not the metric that the page is about."""
    return "" if column == analysis.metric else measure_name(column)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts resnet18 before resnet101."""
    return tuple((int(part or 0), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def architecture(name: str) -> str:
    """Name as people write it: `resnet34` becomes `ResNet-34`; others are left as they are."""
    return re.sub(r"^resnet(\d+)$", r"ResNet-\1", name)


def spoken(sentence: str) -> str:
    """A generated sentence with architectures as people write them; identifiers such as `a>b:c` are left alone."""
    return re.sub(r"(?<![\w:>.-])resnet(\d+)(?![\w:>-])", r"ResNet-\1", sentence)


def claim_counts(claims: Sequence[Claim]) -> str:
    """How many claims there are, and how they fare."""
    counts = Counter(claim.verdict for claim in claims)
    fates = [f"{counts[verdict]} {verdict}" for verdict in VERDICT_MARKS if counts[verdict]]
    return f"{len(claims)} {'claim' if len(claims) == 1 else 'claims'}: {', '.join(fates)}."


def seeds_to_settle(claim: Claim) -> str:
    """Seeds a cell that would give a verdict; a dash where there is one, or where nothing is known."""
    if claim.verdict != "cannot tell":
        return MISSING
    return f"> {number(MOST_SEEDS, 'plain')}" if claim.seeds_to_settle is None else str(claim.seeds_to_settle)


def subset_name(subset: str) -> str:
    """Words for a subset of rows: `teachers:resnet50` becomes `taught by ResNet-50 alone`, `all` nothing."""
    if subset.startswith("teachers:"):
        teachers = subset.removeprefix("teachers:").split("+")
        return f"taught by {' and '.join(map(architecture, teachers))} alone"
    return "" if subset == "all" else subset


def df_method(name: str) -> str:
    """Short name of how degrees of freedom were obtained."""
    return _DF_METHODS.get(name, name)


def choice_name(choice: str) -> str:
    """Words for a choice of the specification curve."""
    return _CHOICES.get(choice, choice)


def option_name(choice: str, option: str) -> str:
    """Words for one way to take a choice; only accuracies have other names than in the files."""
    if choice == "teachers" and option.startswith("without "):
        return f"without {architecture(option.removeprefix('without '))}"
    return measure_name(option) if choice == "metric" else option


def shortened(label: str) -> str:
    """A label for figures, where room is short: `ResNet-34` becomes `R34`."""
    return label.replace("ResNet-", "R").replace(" minus ", " \N{MINUS SIGN} ")


def cell_name(teacher: str, student: str, method: str) -> str:
    """Name of a cell: `ResNet-50 → ResNet-18, logit`, or `ResNet-18, none` for a baseline."""
    return f"{_pair(teacher, student) if teacher else architecture(student)}, {method}"


def claim_statement(claim: Claim, labels: Mapping[str, str]) -> str:
    """The statement of a claim; where it names the weakest of several contrasts, in words."""
    label = labels.get(claim.contrast)
    return claim.statement.replace(claim.contrast, f"“{label}”") if label and claim.contrasts > 1 else claim.statement


def contrast_labels(analysis: Analysis) -> dict[str, str]:
    """Words for the contrast identifiers that this analysis can hold.

    Identifiers are composed from the names of cells, never taken apart: names may hold any character. What is
    not found here is shown by its identifier.
    """
    cells = [(cell.teacher, cell.student, cell.method) for cell in analysis.cells]
    students = list(dict.fromkeys(student for _, student, _ in cells))
    teachers = list(dict.fromkeys(teacher for teacher, _, _ in cells if teacher))
    methods = list(dict.fromkeys(method for _, _, method in cells))
    labels = {"v1-v2:mean": "first version minus these runs, mean over cells"}
    for name in dict.fromkeys((*students, *teachers)):
        labels[f"stem:cifar-imagenet:{name}"] = f"CIFAR stem minus ImageNet stem, {architecture(name)}"
    for student in students:
        name = architecture(student)
        labels[f"lead:feature-logit:{student}"] = f"{name}, feature minus logit"
        for method in methods:
            labels[f"gain:{student}:{method}"] = f"{name}, {method}"
            for one, other in permutations(teachers, 2):
                labels[f"teacher:{one}-{other}:{student}:{method}"] = (
                    f"taught by {architecture(one)} minus by {architecture(other)}: {name}, {method}"
                )
    for teacher, student in product(teachers, students):
        pair = _pair(teacher, student)
        labels[f"lead:feature-logit:{teacher}>{student}"] = f"{pair}, feature minus logit"
        labels[f"closer:feature-logit:{teacher}>{student}"] = f"{pair}, logit minus feature"
        for method in methods:
            labels[f"gain:{cell_label(teacher, student, method)}"] = f"{pair}, {method}"
    for larger, smaller in permutations(students, 2):
        both = f"{architecture(larger)} minus {architecture(smaller)}"
        labels[f"moderation-at-equal-gap:{larger}-{smaller}"] = f"{both} at equal accuracy gap"
        for method, base in permutations(methods, 2):
            effect = f"gain from {method}" if base == BASELINE else f"{method} over {base}"
            labels[f"moderation:{method}-{base}:{larger}-{smaller}"] = f"{effect}: {both}"
    for cell in cells:
        labels[f"clipping:without-with:{cell_label(*cell)}"] = (
            f"projections not clipped minus clipped: {cell_name(*cell)}"
        )
    for one_cell, other_cell in permutations(cells, 2):
        labels[f"agreement:{cell_label(*one_cell)}-{cell_label(*other_cell)}"] = (
            f"{cell_name(*one_cell)} minus {cell_name(*other_cell)}"
        )
    return labels


def _pair(teacher: str, student: str) -> str:
    return f"{architecture(teacher)} → {architecture(student)}"
