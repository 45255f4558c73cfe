"""Every branch of the verdict rules, and its words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.verdict import Evidence, Interval, Kind, judge, pp, seeds_to_settle, statement

MARGIN = 0.2


def evidence(estimate: float, ci95: Interval, ci90: Interval, members: int = 1) -> Evidence:
    """Evidence with a standard error that plays no part in the verdict."""
    return Evidence(estimate, 0.1, ci95, ci90, members, 5)


CLAIM, NULL = "directional", "null"
BRANCHES = [
    # kind, evidence, verdict, words
    (CLAIM, evidence(0.3, (0.1, 0.5), (0.13, 0.47)), "supported", "95% interval +0.10 to +0.50)."),
    (CLAIM, evidence(0.1, (0.01, 0.19), (0.03, 0.17)), "supported", "real but below the margin: its 90%"),
    (CLAIM, evidence(0.05, (-0.1, 0.2), (-0.08, 0.18)), "refuted", "too small to matter, whatever"),
    (CLAIM, evidence(-0.3, (-0.5, -0.1), (-0.47, -0.13)), "refuted", "the other way than claimed (95%"),
    (CLAIM, evidence(-0.1, (-0.19, -0.01), (-0.17, -0.03)), "refuted", "the other way than claimed"),
    (CLAIM, evidence(0.1, (-0.1, 0.3), (-0.07, 0.27)), "cannot tell", "leaves open both no effect and one"),
    (CLAIM, evidence(-0.1, (-0.3, 0.1), (-0.27, 0.07)), "cannot tell", "beyond the margin of 0.2 pp"),
    # an interval that ends at 0 or at the margin is not beyond it
    (CLAIM, evidence(0.2, (0.0, 0.4), (0.03, 0.37)), "cannot tell", "Cannot tell"),
    (CLAIM, evidence(0.0, (-0.3, 0.3), (-0.2, 0.2)), "cannot tell", "Cannot tell"),
    (NULL, evidence(0.05, (-0.1, 0.2), (-0.08, 0.18)), "supported", "lies inside the margin of 0.2 pp."),
    (NULL, evidence(0.1, (0.01, 0.19), (0.03, 0.17)), "supported", "90% interval (+0.03 to +0.17) lies inside"),
    (NULL, evidence(0.3, (0.1, 0.5), (0.13, 0.47)), "refuted", "not shown to lie inside the margin"),
    (NULL, evidence(-0.3, (-0.5, -0.1), (-0.47, -0.13)), "refuted", "95% interval -0.50 to -0.10"),
    (NULL, evidence(0.1, (-0.1, 0.3), (-0.07, 0.27)), "cannot tell", "leaves open both no effect and one"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "found", "verdict", "words"), BRANCHES)
def test_branches(kind: Kind, found: Evidence, verdict: str, words: str) -> None:
    """Each rule gives its verdict, and the sentence opens with it and says why."""
    assert judge(kind, found, MARGIN) == verdict
    sentence = statement(kind, "the gain of a", found, MARGIN)
    assert sentence.startswith(f"{verdict.capitalize()}: the gain of a is {found.estimate:+.2f} pp")
    assert sentence.endswith(".")
    assert words in sentence


@given(
    kind=st.sampled_from(["directional", "null"]),
    centre=st.floats(-0.5, 0.5),
    half=st.floats(0.01, 0.5),
    widened=st.floats(1.0, 1.5),
)
def test_words_are_never_stronger_than_the_verdict(kind: Kind, centre: float, half: float, widened: float) -> None:
    """Whatever the numbers: one verdict word, no talk of proof or significance, and no missing case."""
    ci95 = (centre - 1.2 * widened * half, centre + 1.2 * widened * half)
    found = evidence(centre, ci95, (centre - half, centre + half), members=2)
    verdict = judge(kind, found, MARGIN)
    sentence = statement(kind, "x", found, MARGIN).lower()
    others = {"supported", "refuted", "cannot tell"} - {verdict}
    assert verdict in sentence
    assert not any(word in sentence for word in (*others, "prove", "significant", "certain", "confirm"))
    if verdict == "cannot tell":  # what the sentence says must be so
        assert ci95[0] <= 0 <= ci95[1]
        assert max(ci95[1], -ci95[0]) >= MARGIN


def test_adjusted_intervals_say_so() -> None:
    """A reader can tell an interval that was widened for its family."""
    alone, family = (
        evidence(0.3, (0.1, 0.5), (0.13, 0.47)),
        evidence(0.3, (0.1, 0.5), (0.13, 0.47), members=2),
    )
    assert "(95% interval" in statement("directional", "x", alone, MARGIN)
    assert "(Holm-adjusted 95% interval" in statement("directional", "x", family, MARGIN)


def test_seeds_for_a_large_effect() -> None:
    """Effect 0.5, SE 0.3 with 5 seeds, no margin: 5 ((1.95996 + 0.84162) 0.3 / 0.5)^2 = 14.1, so 15."""
    assert seeds_to_settle(Evidence(0.5, 0.3, (-0.1, 1.1), (0.0, 1.0), 1, 5), 1e-6) == 15


def test_seeds_for_no_effect() -> None:
    """Effect 0 at SE 0.1 with 5 seeds: 5% fall beyond 1.96 SE, so 75% must fall within 0.2 - 1.645 SE.

    That is 0.2 = (1.64485 + 1.15035) SE, so 5 (0.1 / 0.071551)^2 = 9.77, so 10.
    """
    assert seeds_to_settle(Evidence(0.0, 0.1, (-0.3, 0.3), (-0.25, 0.25), 1, 5), MARGIN) == 10


def test_seeds_give_a_verdict_as_often_as_said() -> None:
    """At that number of seeds, normal estimates are decided in 80% of draws or a little more."""
    found = Evidence(0.1, 0.15, (-0.25, 0.45), (-0.15, 0.35), 2, 5)
    seeds = seeds_to_settle(found, MARGIN)
    assert seeds is not None
    shares = []
    for n in (seeds - 1, seeds):
        se = 0.15 * (5 / n) ** 0.5
        draws = np.random.default_rng(1).normal(0.1, se, 4000)
        verdicts = [
            judge(
                "directional",
                evidence(e, (e - 2.241403 * se, e + 2.241403 * se), (e - 1.644854 * se, e + 1.644854 * se)),
                MARGIN,
            )
            for e in draws
        ]
        shares.append(np.mean([verdict != "cannot tell" for verdict in verdicts]))
    assert shares[1] == pytest.approx(0.8, abs=0.06)  # Monte-Carlo error 0.006; one seed more moves it by about 0.04
    assert shares[0] < shares[1]


def test_hopeless_cases_have_no_number() -> None:
    """Noise far above the margin: more than 10,000 seeds, said in words."""
    hopeless = Evidence(0.0, 50.0, (-99, 99), (-80, 80), 1, 5)
    assert seeds_to_settle(hopeless, MARGIN) is None
    assert "more than 10000 seeds" in statement("directional", "x", hopeless, MARGIN)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.092, "+0.09"), (-1.0, "-1.00"), (0.0041, "+0.004"), (-0.0004, "-0.0004"), (0.0, "+0.00")],
)
def test_digits(value: float, text: str) -> None:
    """Two decimals, more where a difference would be rounded away."""
    assert pp(value) == text
