"""Every branch of the verdict rules, and its words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.claims.verdict import (
    Evidence,
    Rule,
    inside,
    interval_words,
    judge,
    judge_together,
    signed,
    statement,
    weakest,
)
from analysis.results import ClaimKind

Interval = tuple[float, float]
CLAIM, NULL, LEAST = (
    Rule("directional", 0.2),
    Rule("null", 0.2),
    Rule("at least", 0.2, threshold=5.5),
)
NATS = Rule("directional", 0.02, "nats")
ORDER = ("refuted", "cannot tell", "supported")


def evidence(estimate: float, ci95: Interval, ci90: Interval, members: int = 1) -> Evidence:
    """Evidence in the order that the table below is read in."""
    return Evidence(estimate, ci95, ci90, members)


BRANCHES = [
    # rule, evidence, verdict, words
    (CLAIM, evidence(0.3, (0.1, 0.5), (0.13, 0.47)), "supported", "95% interval +0.10 to +0.50)."),
    (CLAIM, evidence(0.1, (0.01, 0.19), (0.03, 0.17)), "supported", "real but below the margin: its 90%"),
    (CLAIM, evidence(0.05, (-0.1, 0.2), (-0.08, 0.18)), "refuted", "too small to matter, whatever"),
    (CLAIM, evidence(-0.3, (-0.5, -0.1), (-0.47, -0.13)), "refuted", "the other way than claimed (95%"),
    (CLAIM, evidence(-0.1, (-0.19, -0.01), (-0.17, -0.03)), "refuted", "the other way than claimed"),
    (CLAIM, evidence(0.1, (-0.1, 0.3), (-0.07, 0.27)), "cannot tell", "leaves open both no effect and one"),
    (CLAIM, evidence(-0.1, (-0.3, 0.1), (-0.27, 0.07)), "cannot tell", "beyond the margin of 0.2 pp"),
    # an interval that ends at 0 or at the margin is not beyond it, nor inside
    (CLAIM, evidence(0.2, (0.0, 0.4), (0.03, 0.37)), "cannot tell", "Cannot tell"),
    (CLAIM, evidence(-0.2, (-0.4, 0.0), (-0.37, -0.03)), "cannot tell", "Cannot tell"),
    (CLAIM, evidence(0.0, (-0.3, 0.3), (-0.2, 0.2)), "cannot tell", "Cannot tell"),
    (CLAIM, evidence(0.0, (-0.3, 0.3), (-0.2, 0.1)), "cannot tell", "Cannot tell"),
    (CLAIM, evidence(0.0, (-0.3, 0.3), (-0.1, 0.2)), "cannot tell", "Cannot tell"),
    (NULL, evidence(0.05, (-0.1, 0.2), (-0.08, 0.18)), "supported", "lies inside the margin of 0.2 pp."),
    (NULL, evidence(0.1, (0.01, 0.19), (0.03, 0.17)), "supported", "90% interval (+0.03 to +0.17) lies inside"),
    (NULL, evidence(0.3, (0.1, 0.5), (0.13, 0.47)), "refuted", "not shown to lie inside the margin"),
    (NULL, evidence(-0.3, (-0.5, -0.1), (-0.47, -0.13)), "refuted", "95% interval -0.50 to -0.10"),
    (NULL, evidence(0.1, (-0.1, 0.3), (-0.07, 0.27)), "cannot tell", "leaves open both no effect and one"),
    (NULL, evidence(0.1, (0.0, 0.2), (0.0, 0.2)), "cannot tell", "Cannot tell"),
    (LEAST, evidence(6.0, (5.6, 6.4), (5.7, 6.3)), "supported", "stays above 5.5 pp less the margin of 0.2 pp."),
    (LEAST, evidence(5.6, (5.2, 6.0), (5.31, 5.9)), "supported", "90% interval (+5.31 to +5.90) stays above"),
    # above the threshold less the margin, and all of it below the threshold: supported, and the words say so
    (LEAST, evidence(5.4, (5.35, 5.45), (5.36, 5.44)), "supported", "though below 5.5 pp itself."),
    (LEAST, evidence(5.0, (4.6, 5.4), (4.7, 5.3)), "refuted", "which lies below 5.5 pp."),
    (LEAST, evidence(5.4, (4.9, 5.9), (5.0, 5.8)), "cannot tell", "leaves open 5.5 pp or more and less than 5.5 pp"),
    (LEAST, evidence(5.6, (5.2, 6.0), (5.3, 5.9)), "cannot tell", "less than 5.5 pp less the margin of 0.2 pp"),
    (LEAST, evidence(5.0, (4.5, 5.5), (4.6, 5.4)), "cannot tell", "Cannot tell"),
    (NATS, evidence(0.0702, (0.0645, 0.0759), (0.065, 0.075)), "supported", "interval +0.0645 to +0.0759)."),
    (NATS, evidence(-0.0094, (-0.0106, -0.0082), (-0.0104, -0.0084)), "refuted", "the other way than claimed"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "found", "verdict", "words"), BRANCHES)
def test_branches(rule: Rule, found: Evidence, verdict: str, words: str) -> None:
    """Each rule gives its verdict, and the sentence opens with it, gives the estimate in its unit, and says why."""
    assert judge(rule, found) == verdict
    sentence = statement(rule, "the gain of a", found, seeds=9)
    decimals = 2 if rule.unit == "pp" else 4
    assert sentence.startswith(f"{verdict.capitalize()}: the gain of a is {found.estimate:+.{decimals}f} {rule.unit}")
    assert sentence.endswith(".")
    assert words in sentence
    assert ("seeds a cell" in sentence) == (verdict == "cannot tell")


RULES = st.builds(
    Rule,
    kind=st.sampled_from(["directional", "null", "at least"]),
    margin=st.floats(0.05, 0.5),
    unit=st.sampled_from(["pp", "nats"]),
    threshold=st.floats(-0.5, 0.5),
)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Any estimate with a 95% interval that holds its 90% interval."""
    centre, half = draw(st.floats(-1, 1)), draw(st.floats(0.01, 0.6))
    wider = draw(st.floats(1.05, 1.8))
    ends = (centre - wider * half, centre + wider * half)
    return Evidence(centre, ends, (centre - half, centre + half), draw(st.integers(1, 3)))


@given(rule=RULES, found=evidences(), seeds=st.one_of(st.none(), st.integers(2, 500)))
def test_words_are_never_stronger_than_the_verdict(rule: Rule, found: Evidence, seeds: int | None) -> None:
    """Whatever the numbers: one verdict word, no talk of proof or significance, and what is said is so."""
    rule = rule if rule.kind == "at least" else Rule(rule.kind, rule.margin, rule.unit)
    verdict = judge(rule, found)
    sentence = statement(rule, "x", found, seeds)
    words = sentence.lower()
    others = {"supported", "refuted", "cannot tell"} - {verdict}
    assert words.startswith(verdict)
    assert not any(word in words for word in (*others, "prove", "significant", "certain", "confirm", "*"))
    low, high = found.ci95
    assert ("holm-adjusted" in words) == (found.members > 1 and "95% interval" in words)
    if verdict == "cannot tell" and rule.kind == "at least":
        assert high >= rule.threshold
        assert found.ci90[0] <= rule.threshold - rule.margin
    elif verdict == "cannot tell":
        assert low <= 0 <= high  # no effect is left open
        assert max(found.ci90[1], -found.ci90[0]) >= rule.margin  # and so is one beyond the margin
    if "lies inside the margin" in words and "not shown to" not in words:
        assert inside(found.ci90, rule.margin)
    if "not shown to lie inside" in words:
        assert not inside(found.ci90, rule.margin)
    if "the other way" in words:
        assert high < 0
    if "stays above" in words:
        assert found.ci90[0] > rule.threshold - rule.margin
    if rule.kind == "at least" and verdict != "cannot tell":
        assert ("below" in words.removesuffix(".").split(")", 1)[1]) == (high < rule.threshold)
    if verdict == "supported" and rule.kind == "directional":
        assert low > 0
        assert ("real but below the margin" in words) == inside(found.ci90, rule.margin)
    if verdict == "cannot tell":
        count = f"about {seeds} seeds a cell would" if seeds else "even 10000 seeds a cell would not"
        assert f"{count} settle it with probability 0.8" in sentence
    else:
        assert "seeds" not in sentence


@given(rule=RULES, found=evidences())
def test_an_effect_and_its_mirror_image(rule: Rule, found: Evidence) -> None:
    """A null claim does not care which way; a directional one cannot be supported both ways."""
    mirrored = Evidence(-found.estimate, (-found.ci95[1], -found.ci95[0]), (-found.ci90[1], -found.ci90[0]), 1)
    null = Rule("null", rule.margin)
    assert judge(null, found) == judge(null, mirrored)
    claim = Rule("directional", rule.margin)
    assert [judge(claim, found), judge(claim, mirrored)].count("supported") <= 1


@given(rule=RULES, several=st.lists(evidences(), min_size=1, max_size=6))
def test_several_contrasts_are_as_strong_as_the_weakest(rule: Rule, several: list[Evidence]) -> None:
    """All must be supported, one refuted refutes; the contrast that is shown has the claim's own verdict."""
    verdicts = [judge(rule, one) for one in several]
    together = judge_together(rule, several)
    if "refuted" in verdicts:
        assert together == "refuted"
    else:
        assert together == ("supported" if set(verdicts) == {"supported"} else "cannot tell")
    place = weakest(rule, several)
    assert verdicts[place] == together
    rivals = [one for one, verdict in zip(several, verdicts, strict=True) if verdict == together]
    chosen = several[place]
    if rule.kind == "null":
        assert max(map(abs, chosen.ci90)) == max(max(map(abs, one.ci90)) for one in rivals)
    else:
        assert chosen.ci90[0] == min(one.ci90[0] for one in rivals)


@pytest.mark.parametrize(
    ("kinds", "verdict", "place"),
    [("sss", "supported", 2), ("scs", "cannot tell", 1), ("scr", "refuted", 2), ("rcs", "refuted", 0)],
)
def test_the_first_to_break_a_claim_is_shown(kinds: str, verdict: str, place: int) -> None:
    """Refuted before undecided before supported; among supported ones the nearest to 0."""
    table = {
        "s": [evidence(e, (e - 0.2, e + 0.2), (e - 0.15, e + 0.15)) for e in (0.7, 0.6, 0.5)],
        "c": [evidence(0.1, (-0.1, 0.3), (-0.07, 0.27))] * 3,
        "r": [evidence(-0.3, (-0.5, -0.1), (-0.47, -0.13))] * 3,
    }
    several = [table[kind][index] for index, kind in enumerate(kinds)]
    assert (judge_together(CLAIM, several), weakest(CLAIM, several)) == (verdict, place)


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("directional", -0.05, 0.19, "refuted"),
        ("null", -0.05, 0.19, "supported"),
        ("at least", -0.05, 0.19, "supported"),
    ],
)
def test_one_interval_three_claims(kind: ClaimKind, low: float, high: float, expected: str) -> None:
    """Inside the margin: against an effect, for none, and for "not below 0 by more than the margin"."""
    found = evidence(0.07, (low - 0.02, high + 0.02), (low, high))
    assert judge(Rule(kind, 0.2), found) == expected


def test_adjusted_intervals_say_so() -> None:
    """A reader can tell an interval that was widened for its family."""
    alone = evidence(0.3, (0.1, 0.5), (0.13, 0.47))
    family = evidence(0.3, (0.1, 0.5), (0.13, 0.47), members=2)
    assert "(95% interval" in statement(CLAIM, "x", alone, None)
    assert "(Holm-adjusted 95% interval" in statement(CLAIM, "x", family, None)
    assert interval_words((-0.1, 0.25), adjusted=True) == "Holm-adjusted 95% interval -0.10 to +0.25"
    assert interval_words((-0.1, 0.25), "nats", adjusted=False) == "95% interval -0.1000 to +0.2500"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.092, "pp", "+0.09"), (-1.0, "pp", "-1.00"), (0.0041, "pp", "+0.004"), (-0.0004, "pp", "-0.0004"),
        (0.0, "pp", "+0.00"), (0.005, "pp", "+0.01"), (0.00499, "pp", "+0.005"), (0.07023, "nats", "+0.0702"),
        (-0.00001, "nats", "-0.00001"), (12.0, "nats", "+12.0000"),
    ],
)  # fmt: skip
def test_digits(value: float, unit: str, text: str) -> None:
    """Two decimals of a percentage point, four of a nat, more where a difference would be rounded away."""
    assert signed(value, unit) == text


@given(value=st.floats(-1, 1).filter(lambda v: abs(v) > 1e-9), unit=st.sampled_from(["pp", "nats"]))
def test_no_difference_is_printed_as_none(value: float, unit: str) -> None:
    """A number that is not 0 shows a digit other than 0, and its sign."""
    text = signed(value, unit)
    assert text[0] == ("+" if value > 0 else "-")
    assert re.search("[1-9]", text)
    assert float(text) == pytest.approx(value, abs=0.51 * 10 ** -(len(text.split(".")[1])))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((-0.1, 0.1), True), ((-0.2, 0.1), False), ((-0.1, 0.2), False), ((-0.3, 0.3), False), ((0.21, 0.3), False)],
)
def test_inside_is_strict_on_both_sides(interval: Interval, expected: bool) -> None:
    """An end on the margin is not inside it."""
    assert inside(interval, 0.2) is expected
