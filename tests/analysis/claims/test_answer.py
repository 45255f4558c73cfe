"""The answer in words: verdict first, never more than the claims say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.claims.answer import answer
from analysis.results import Claim, ClaimKind, Verdict
from analysis.runs.layout import Layout

LAYOUT = Layout(("resnet18", "resnet34"), ("feature", "logit"), ("resnet18", "resnet34"), "", ("resnet50",), 5)
ALONE = replace(LAYOUT, students=("resnet34",), pair=None, no_pair="it compares two students, and here is one")


def claim(
    name: str, verdict: Verdict, kind: ClaimKind = "directional", margin: float = 0.2, p_holm: float | None = 0.5
) -> Claim:
    """A claim of which the answer uses id, kind, verdict and numbers."""
    tested = verdict != "not tested"
    return Claim(
        id=name, sentence="", source="", published="", kind=kind, unit="pp", margin=margin, threshold=0.0, family="",
        model="", metric="", subset="", contrast="", contrasts=1, estimate=0.31 if tested else None,
        ci_low=0.02 if tested else None, ci_high=0.6 if tested else None, ci90_low=0.05 if tested else None,
        ci90_high=0.55 if tested else None, p_holm=p_holm, p_equivalence=None, verdict=verdict, statement="",
        adjusted_for=1 if p_holm is None else 2,
        caution="", seeds_to_settle=None,
    )  # fmt: skip


def pooled(feature: Verdict, logit: Verdict) -> list[Claim]:
    """Both moderation claims."""
    return [claim("moderation:feature", feature), claim("moderation:logit", logit)]


@pytest.mark.parametrize(
    ("verdict", "lead"),
    [
        ("supported", "Supported: larger students gain more from distillation."),
        ("refuted", "Refuted: larger students do not gain 0.2 percentage points more from distillation."),
        ("cannot tell", "Cannot tell whether larger students gain more from distillation."),
    ],
)
def test_one_verdict_for_both_methods_leads(verdict: Verdict, lead: str) -> None:
    """Then both numbers with their interval."""
    said = answer(pooled(verdict, verdict), LAYOUT)
    assert said == (
        lead,
        "Gain of resnet34 less that of resnet18, in percentage points: "
        "+0.31 under feature (Holm-adjusted 95% interval +0.02 to +0.60); "
        "+0.31 under logit (Holm-adjusted 95% interval +0.02 to +0.60).",
    )


def test_methods_that_differ_are_told_apart() -> None:
    """No verdict of one method stands for the other."""
    said = answer(pooled("supported", "cannot tell"), LAYOUT)
    expected = "Whether larger students gain more from distillation: supported under feature, cannot tell under logit."
    assert said[0] == expected


def test_a_method_that_was_not_tested_is_not_spoken_of() -> None:
    """One method's verdict alone leads; if none was tested, the answer says what is missing."""
    said = answer(pooled("supported", "not tested"), LAYOUT)
    assert said[0] == "Supported: larger students gain more from distillation."
    assert "logit" not in said[1]
    said = answer(pooled("not tested", "not tested"), LAYOUT)
    assert said == (
        "Not tested whether larger students gain more from distillation: both students need final runs of a baseline "
        "and of one method.",
    )


def test_the_same_teacher_comes_third() -> None:
    """With its own verdicts and the teachers' names."""
    matched = claim("moderation-same-teacher:feature", "refuted", p_holm=None)
    said = answer([*pooled("supported", "supported"), matched], LAYOUT)
    assert said[2] == ("Under the same teacher (resnet50): refuted, +0.31 under feature (95% interval +0.02 to +0.60).")


def test_the_lead_of_feature_is_no_moderation_of_gains() -> None:
    """`moderation:feature-logit` compares methods: it neither leads nor counts as tested."""
    said = answer([claim("moderation:feature-logit", "supported")], LAYOUT)
    assert said[0].startswith("Not tested whether")
    said = answer([*pooled("refuted", "refuted"), claim("moderation:feature-logit", "supported")], LAYOUT)
    assert said[0].startswith("Refuted")


def test_without_a_pair_the_gains_are_told() -> None:
    """The reason first, then each tested gain with its verdict, and gains that were not tested not at all."""
    gains = [claim("gain:resnet34:feature", "supported"), claim("gain:resnet34:logit", "not tested")]
    said = answer([*pooled("not tested", "not tested"), *gains], ALONE)
    assert said == (
        "Not tested whether larger students gain more from distillation: it compares two students, and here is one.",
        "Gains in percentage points: resnet34 supported, +0.31 under feature (Holm-adjusted 95% interval +0.02 to "
        "+0.60).",
    )


def test_small_real_effects_are_called_so() -> None:
    """Only a supported claim whose 90% interval lies inside its margin."""
    small = replace(claim("moderation:feature", "supported"), ci90_low=0.05, ci90_high=0.15)
    assert ", real but below the margin" in answer([small], LAYOUT)[1]
    assert "real but" not in answer([replace(small, verdict="refuted")], LAYOUT)[1]
    assert "real but" not in answer([replace(small, ci90_high=0.25)], LAYOUT)[1]


def test_a_register_of_ones_own_is_not_overstated() -> None:
    """A claim of no difference is no claim of one; margins are the claims'; a question not asked is told as such."""
    null = claim("moderation:none-at-all", "supported", kind="null")
    assert answer([null], LAYOUT)[0].startswith("Not tested whether")
    wide = [claim("moderation:feature", "refuted", margin=0.5), claim("moderation:logit", "refuted", margin=0.3)]
    assert answer(wide, LAYOUT)[0] == (
        "Refuted: larger students do not gain 0.5 percentage points more from distillation."
    )
    assert answer([], LAYOUT) == ("Not tested whether larger students gain more from distillation: no claim asks it.",)


def test_a_claim_without_numbers_is_our_mistake() -> None:
    """A tested claim has an estimate; one that has none must not be printed as if it had."""
    with pytest.raises(ValueError, match="was not tested and has no number"):
        answer([replace(claim("moderation:feature", "supported"), estimate=None)], LAYOUT)
