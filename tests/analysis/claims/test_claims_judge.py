"""Claims and the contrasts they rest on: which, how adjusted, and how many seeds would settle them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.claims.judge import Family, evidence_of, judge_all, seeds_to_settle
from analysis.claims.register import Registered, bind
from analysis.claims.verdict import Evidence, Rule, judge
from analysis.inference.estimate import Estimate
from analysis.inference.power import Precision
from analysis.results import Claim
from analysis.runs.layout import Layout

LAYOUT = Layout(("s", "l"), ("m",), ("s", "l"), "", ("t",), 5)


def rooted(se: float, df: float = 30) -> Precision:
    """A standard error that is `se` at five seeds and falls with the root of their number."""
    return lambda seeds: (se * math.sqrt(5 / seeds), df * seeds / 5)


def family(estimates: Mapping[str, Estimate], **fields: object) -> Family:
    """A family of the primary model; each contrast is planned with its own standard error."""

    def precision(name: str) -> Precision:
        return rooted(estimates[name].se, estimates[name].df)

    usual = {
        "name": "gains",
        "model": "primary",
        "shown_model": "primary",
        "metric": "acc",
        "subset": "all",
        "precision": precision,
    }
    return Family(**usual | {"estimates": estimates} | fields)


def claim(**fields: object) -> Registered:
    """A bound claim on contrast `a`; the arguments change what they name."""
    usual = {
        "id": "c", "sentence": "S.", "effect": "the effect", "source": "here", "published": "p", "kind": "directional",
        "unit": "pp", "margin": None, "threshold": 0.0, "model": "primary", "metric": "",
        "subset": "all", "contrast": "a", "needs": "runs are missing", "caution": "beware",
    }  # fmt: skip
    (bound,) = bind([Registered(**usual | fields)], LAYOUT, ["m"])
    return bound


def judged(one: Registered, *families: Family, margin_pp: float = 0.2) -> Claim:
    """The claim, judged."""
    (found,) = judge_all([one], families, metric="acc", margin_pp=margin_pp, seeds=5)
    return found


A, B, C = (Estimate(value, 0.1, 30.0, "residual") for value in (0.5, 0.12, 0.26))
THREE = {"a": A, "b": B, "c": C}


def test_numbers_are_those_of_the_contrast() -> None:
    """Estimate, 95% interval at the Holm step, 90% interval as it is, adjusted p, and where they come from."""
    found = judged(claim(), family(THREE, shown_model="primary:refit"))
    assert (found.estimate, found.contrast, found.contrasts) == (0.5, "a", 1)
    assert (found.model, found.metric, found.subset, found.margin) == ("primary:refit", "acc", "all", 0.2)
    assert (found.ci_low, found.ci_high) == pytest.approx(stats.t.interval(1 - 0.05 / 3, 30, 0.5, 0.1))
    assert (found.ci90_low, found.ci90_high) == pytest.approx(stats.t.interval(0.9, 30, 0.5, 0.1))
    adjusted = multipletests([e.p for e in THREE.values()], method="holm")[1]
    assert found.p_holm == pytest.approx(adjusted[0])
    assert found.adjusted_for == 3
    assert (found.source, found.published, found.caution, found.sentence) == ("here", "p", "beware", "S.")
    assert found.statement.startswith("Supported: the effect is +0.50 pp (Holm-adjusted 95% interval ")


def test_each_step_of_a_family_has_its_own_interval() -> None:
    """Rejected at 0.05/3, then at 0.05/2; what fails stays at the level at which Holm stopped."""
    found = evidence_of(THREE)
    assert [found[name].members for name in ("a", "c", "b")] == [3, 2, 1]
    adjusted = dict(zip(THREE, multipletests([e.p for e in THREE.values()], method="holm")[1], strict=True))
    for name, estimate in THREE.items():
        interval = stats.t.interval(1 - 0.05 / found[name].members, 30, estimate.value, estimate.se)
        assert found[name].ci95 == pytest.approx(interval)
        assert (found[name].ci95[0] > 0) == (adjusted[name] < 0.05)


def test_a_family_of_one_is_not_adjusted() -> None:
    """Neither p nor interval nor words."""
    found = judged(claim(), family({"a": A}))
    assert (found.p_holm, found.adjusted_for) == (None, 1)
    assert (found.ci_low, found.ci_high) == pytest.approx(stats.t.interval(0.95, 30, 0.5, 0.1))
    assert "Holm" not in found.statement


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "pairs"},
        {"metric": "kl_t1"},
        {"subset": "teachers:t"},
        {"contrast": "z"},
        {"contrast": "z*"},
        {"contrast": ""},
    ],
)
def test_what_is_not_there_is_not_tested(fields: dict[str, str]) -> None:
    """Another model, metric, subset or contrast is no substitute; the reason is the register's."""
    found = judged(claim(**fields), family(THREE))
    assert (found.verdict, found.statement) == ("not tested", "Not tested: runs are missing.")
    assert {found.estimate, found.ci_low, found.ci90_high, found.p_holm, found.p_equivalence} == {None}
    assert (found.seeds_to_settle, found.contrasts) == (None, 0)
    assert found.contrast == fields.get("contrast", "a")


def test_a_model_is_found_by_its_first_name() -> None:
    """After a singular fit the numbers are the refit's; the register still says `primary`."""
    families = (family(THREE, model="pairs"), family({"a": B}, shown_model="primary:refit"))
    found = judged(claim(), *families)
    assert (found.estimate, found.model) == (0.12, "primary:refit")


def test_a_claims_own_metric_and_margin_go_first() -> None:
    """The study's margin and metric are for claims that name none."""
    nats = family({"a": Estimate(0.05, 0.01, 30.0, "r")}, metric="kl_t1")
    found = judged(claim(metric="kl_t1", unit="nats", margin=0.02), nats)
    assert (found.margin, found.unit, found.metric) == (0.02, "nats", "kl_t1")
    assert "+0.0500 nats" in found.statement
    assert judged(claim(), family(THREE), margin_pp=0.7).margin == 0.7


def test_several_contrasts_must_all_hold() -> None:
    """The weakest is shown and named; the family's correction is over all of its contrasts."""
    found = judged(claim(contrast="*"), family(THREE))
    assert (found.contrasts, found.contrast, found.estimate) == (3, "b", 0.12)
    assert found.verdict == "cannot tell"
    assert (
        "of 3 contrasts that must all hold (2 supported, 1 cannot tell), the weakest, b, is +0.12 pp" in found.statement
    )
    without = {name: replace(estimate, value=estimate.value + 0.5) for name, estimate in THREE.items()}
    assert judged(claim(contrast="*"), family(without)).verdict == "supported"
    against = THREE | {"d": Estimate(-0.6, 0.1, 30.0, "r")}
    broken = judged(claim(contrast="*"), family(against))
    assert (broken.verdict, broken.contrast) == ("refuted", "d")


def test_seeds_are_told_where_the_verdict_is_open_alone() -> None:
    """And of several undecided contrasts the one that needs most decides."""
    assert judged(claim(), family({"a": A})).seeds_to_settle is None
    open_ = judged(claim(), family({"a": B}))
    assert open_.verdict == "cannot tell"
    assert open_.seeds_to_settle is not None
    assert f"about {open_.seeds_to_settle} seeds a cell" in open_.statement
    wide = Estimate(0.12, 0.2, 30.0, "r")
    both = judged(claim(contrast="*"), family({"a": B, "b": wide}))
    alone = [
        seeds_to_settle(Rule("directional", 0.2), evidence_of({"a": B, "b": wide})[name], rooted(e.se), 5)
        for name, e in (("a", B), ("b", wide))
    ]
    assert None not in alone
    assert both.seeds_to_settle == max(count for count in alone if count is not None)
    hopeless = judged(claim(contrast="*"), family({"a": B, "b": Estimate(0.0, 50.0, 30.0, "r")}))
    assert hopeless.seeds_to_settle is None
    assert "even 10000 seeds a cell would not settle it" in hopeless.statement


def test_a_supported_sibling_needs_no_seeds() -> None:
    """What is decided already is not planned for, however little more seeds would add to it."""
    estimates = {"a": B, "b": Estimate(30.0, 5.0, 30.0, "r")}
    plans = {"a": rooted(0.1), "b": lambda _: (500.0, 30.0)}
    found = judged(claim(contrast="*"), family(estimates, precision=plans.__getitem__))
    alone = judged(claim(contrast="a"), family(estimates, precision=plans.__getitem__))
    assert found.verdict == "cannot tell"
    assert found.seeds_to_settle == alone.seeds_to_settle
    assert found.seeds_to_settle is not None


def test_p_of_equivalence_is_the_larger_of_two_one_sided() -> None:
    """By scipy; an `at least` claim has the one test that it needs, against the threshold less the margin."""
    found = judged(claim(), family({"a": B}))
    assert found.p_equivalence == pytest.approx(
        max(stats.t.sf((0.12 + 0.2) / 0.1, 30), stats.t.cdf((0.12 - 0.2) / 0.1, 30))
    )
    least = judged(claim(kind="at least", threshold=0.3), family({"a": C}))
    assert least.p_equivalence == pytest.approx(stats.t.sf((0.26 - 0.3 + 0.2) / 0.1, 30))
    assert (least.p_equivalence < 0.05) == ((least.ci90_low or 0) > 0.1)


def known(se: float) -> Precision:
    """Standard errors taken as known: infinite degrees of freedom."""
    return lambda seeds: (se * math.sqrt(5 / seeds), 1e9)


def test_seeds_for_a_large_effect_by_hand() -> None:
    """Effect 0.5, SE 0.3 with 5 seeds, no margin: 5 ((1.95996 + 0.84162) 0.3 / 0.5)^2 = 14.1, so 15."""
    found = Evidence(0.5, (-0.1, 1.1), (0.0, 1.0), 1)
    assert seeds_to_settle(Rule("directional", 1e-6), found, known(0.3), 5) == 15


def test_seeds_for_no_effect_by_hand() -> None:
    """Effect 0 at SE 0.1 with 5 seeds: 5% fall beyond 1.96 SE, so 75% must fall within 0.2 - 1.645 SE.

    That is 0.2 = (1.64485 + 1.15035) SE, so 5 (0.1 / 0.071551)^2 = 9.77, so 10.
    """
    found = Evidence(0.0, (-0.3, 0.3), (-0.25, 0.25), 1)
    for kind in ("directional", "null"):
        assert seeds_to_settle(Rule(kind, 0.2), found, known(0.1), 5) == 10


def test_seeds_for_an_at_least_claim_by_hand() -> None:
    """Exactly at the threshold: supported if the estimate is above threshold - margin + 1.645 SE, else if below -1.96.

    P(Z > 1.64485 - 0.2 / SE) + 0.025 = 0.8: 0.2 / SE = 1.64485 + 0.75542 (77.5%), SE = 0.083324, n = 7.20, so 8.
    """
    found = Evidence(5.5, (5.0, 6.0), (5.1, 5.9), 1)
    assert seeds_to_settle(Rule("at least", 0.2, threshold=5.5), found, known(0.1), 5) == 8


def test_more_seeds_than_there_are() -> None:
    """A number that was trained already would settle nothing."""
    found = Evidence(0.5, (0.4, 0.6), (0.4, 0.6), 1)
    assert seeds_to_settle(Rule("directional", 0.2), found, known(0.01), 5) == 6


@pytest.mark.parametrize("kind", ["directional", "null", "at least"])
def test_seeds_give_a_verdict_as_often_as_said(kind: str) -> None:
    """At that number, drawn estimates and standard errors are decided in 80% of draws; with one less, in fewer."""
    rule = Rule(kind, 0.2, threshold=0.05 if kind == "at least" else 0.0)
    precision = rooted(0.15, 12)
    found = Evidence(0.1, (-0.25, 0.45), (-0.15, 0.35), 2)
    seeds = seeds_to_settle(rule, found, precision, 3)
    assert seeds is not None
    assert seeds > 4
    rng = np.random.default_rng(1)
    shares = []
    for n in (seeds - 1, seeds):
        se, df = precision(n)
        z, chi2 = rng.standard_normal(4000), rng.chisquare(df, 4000)
        t95, t90 = stats.t.isf(0.0125, df), stats.t.isf(0.05, df)
        decided = 0
        for e, s in zip(0.1 + se * z, se * np.sqrt(chi2 / df), strict=True):
            drawn = Evidence(float(e), (e - t95 * s, e + t95 * s), (e - t90 * s, e + t90 * s), 2)
            decided += judge(rule, drawn) != "cannot tell"
        shares.append(decided / 4000)
    assert shares[1] > 0.8 - 4 * 0.0063
    assert shares[0] < 0.8 + 4 * 0.0063
    assert shares[0] < shares[1] + 0.02


def test_claims_keep_the_registers_order() -> None:
    """One row a claim, tested or not."""
    found = judge_all(
        [claim(id="x", contrast="z"), claim(id="y"), claim(id="w")],
        [family(THREE)],
        metric="acc",
        margin_pp=0.2,
        seeds=5,
    )
    assert [one.id for one in found] == ["x", "y", "w"]
    assert [one.verdict for one in found] == ["not tested", "supported", "supported"]
