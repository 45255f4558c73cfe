"""The claims that a runs table is asked about, each judged by the contrast it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.contrasts import LEVEL, holm, moderation_id
from analysis.layout import Layout
from analysis.results import Claim, Contrast
from analysis.split_plot import Estimate
from analysis.verdict import Evidence, judge, seeds_to_settle, statement

# the paper's methods are asked about even where a table has no runs of them: the answer is then "not tested"
PAPER_METHODS = ("feature", "logit")


@dataclass(frozen=True)
class Question:
    """A directional claim before it is judged: an effect above 0.

    Attributes:
        id: Stable identifier.
        sentence: The claim in words.
        effect: What is estimated, as a noun phrase.
        contrast: Identifier of its contrast in the primary model.
        subset: Subset of rows.
        missing: What is missing where its contrast cannot be had, as a clause.
    """

    id: str
    sentence: str
    effect: str
    contrast: str
    subset: str
    missing: str


def questions(layout: Layout, shared: str) -> list[Question]:
    """The claims of the paper, in the words of the table's own students and methods.

    Args:
        layout: Students, methods and the pair to compare.
        shared: Name of the subset of teachers that both students share.
    """
    methods = (*PAPER_METHODS, *(method for method in layout.methods if method not in PAPER_METHODS))
    smaller, larger = layout.pair or ("smaller student", "larger student")
    teachers = ", ".join(layout.shared_teachers)
    pooled = [
        Question(
            f"moderation:{method}",
            f"Larger students gain more from {method} distillation.",
            f"the gain of {larger} from {method} distillation less that of {smaller}",
            moderation_id(smaller, larger, method),
            "all",
            layout.no_pair or f"both students need final runs under {method} and a baseline",
        )
        for method in methods
    ]
    none_shared = layout.no_pair or "no teacher taught both students by the same methods"
    same_teacher = [
        replace(
            question,
            id=question.id.replace("moderation", "moderation-same-teacher"),
            sentence=f"Under the same teacher, larger{question.sentence.removeprefix('Larger')}",
            effect=f"under {teachers} alone, {question.effect}",
            subset=shared,
            missing=question.missing if teachers else none_shared,
        )
        for question in pooled
    ]
    lead = Question(
        "moderation:feature-logit",
        "Feature distillation wins over logit distillation at high capacity.",
        f"the lead of feature over logit distillation for {larger} less that for {smaller}",
        moderation_id(smaller, larger, "feature", "logit"),
        "all",
        layout.no_pair or "both students need final runs under feature and logit",
    )
    gains = [
        Question(
            f"gain:{student}:{method}",
            f"{student} gains from {method} distillation.",
            f"the gain of {student} from {method} distillation",
            f"gain:{student}:{method}",
            "all",
            f"{student} needs final runs under {method} and a baseline",
        )
        for student in layout.students
        for method in methods
    ]
    return [*pooled, *same_teacher, lead, *gains]


def judge_all(
    asked: Sequence[Question], contrasts: Sequence[Contrast], margin_pp: float, seeds: int
) -> tuple[Claim, ...]:
    """Judge each question by its contrast in the primary model.

    Args:
        asked: The questions.
        contrasts: All rows of the analysis.
        margin_pp: Smallest difference that matters, above 0.
        seeds: Runs in the smallest cell.
    """
    found = {(row.subset, row.contrast): row for row in contrasts if row.model == "primary"}
    return tuple(
        _judge(question, found.get((question.subset, question.contrast)), contrasts, margin_pp, seeds)
        for question in asked
    )


def _judge(
    question: Question, row: Contrast | None, contrasts: Sequence[Contrast], margin_pp: float, seeds: int
) -> Claim:
    untested = Claim(
        id=question.id,
        sentence=question.sentence,
        contrast=question.contrast,
        kind="directional",
        margin_pp=margin_pp,
        estimate_pp=None,
        ci_low_pp=None,
        ci_high_pp=None,
        p_holm=None,
        verdict="not tested",
        statement=f"Not tested: {question.missing}.",
        subset=question.subset,
    )
    if row is None:
        return untested
    evidence = _evidence(row, contrasts, seeds)
    verdict = judge("directional", evidence, margin_pp)
    return replace(
        untested,
        estimate_pp=row.estimate_pp,
        ci_low_pp=evidence.ci95[0],
        ci_high_pp=evidence.ci95[1],
        p_holm=row.p_holm,
        verdict=verdict,
        statement=statement("directional", question.effect, evidence, margin_pp),
        ci90_low_pp=evidence.ci90[0],
        ci90_high_pp=evidence.ci90[1],
        seeds_to_settle=seeds_to_settle(evidence, margin_pp) if verdict == "cannot tell" else None,
    )


def _evidence(row: Contrast, contrasts: Sequence[Contrast], seeds: int) -> Evidence:
    place = (row.model, row.metric, row.subset, row.family)
    family = [other for other in contrasts if (other.model, other.metric, other.subset, other.family) == place]
    members = holm([other.p for other in family])[family.index(row)].members
    estimate = Estimate(row.estimate_pp, row.se_pp, row.df, row.df_method)
    ci95, ci90 = estimate.interval(1 - (1 - LEVEL) / members), estimate.interval(0.90)
    return Evidence(row.estimate_pp, row.se_pp, ci95, ci90, members, seeds)
