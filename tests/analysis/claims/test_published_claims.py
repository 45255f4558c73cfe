"""What the published runs say of every claim, with the reason, from plain arithmetic on the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.claims.register import Registered
from analysis.claims.verdict import Evidence, Rule, judge
from analysis.results import Analysis, Claim, Contrast, Fidelity

# id -> verdict; why is tested below
VERDICTS = {
    "moderation:feature": "cannot tell",
    "moderation:logit": "cannot tell",
    "moderation-same-teacher:feature": "cannot tell",
    "moderation-same-teacher:logit": "cannot tell",
    "moderation:feature-logit": "refuted",
    "feature-over-logit:resnet18": "cannot tell",
    "feature-over-logit:resnet34": "cannot tell",
    "gain:resnet18:feature": "cannot tell",
    "gain:resnet18:logit": "refuted",
    "gain:resnet34:feature": "supported",
    "gain:resnet34:logit": "refuted",
    "no-gain:resnet18:feature": "cannot tell",
    "no-gain:resnet18:logit": "supported",
    "larger-teacher:feature": "supported",
    "larger-teacher:logit": "supported",
    "student-not-gap": "cannot tell",
    "student-not-gap-mean": "cannot tell",
    "persists-at-resnet50": "not tested",
    "feature-at-least-logit": "supported",
    "feature-closer-kl1": "supported",
    "feature-closer-kl4": "refuted",
    "agreement-flat": "cannot tell",
    "stem-worth": "supported",
    "clipping-no-effect": "cannot tell",
    "v1-larger": "cannot tell",
    "determinism": "not tested",
}


@pytest.fixture(scope="module")
def claims(published_analysis: Analysis) -> dict[str, Claim]:
    """Claims by id."""
    return {claim.id: claim for claim in published_analysis.claims}


@pytest.fixture(scope="module")
def means(published: pd.DataFrame) -> Mapping[tuple[str, str, str], float]:
    """Mean accuracy of each final cell, percent."""
    final = published[published["stage"] == "final"]
    found = (100 * final["test_acc_best"]).groupby([final["teacher"], final["student"], final["method"]]).mean()
    return {(str(t), str(s), str(m)): float(mean) for (t, s, m), mean in found.items()}


@cache  # statsmodels collects garbage at every call
def holm(p_values: tuple[float, ...]) -> list[float]:
    """Holm-adjusted p values by statsmodels."""
    return list(multipletests(p_values, method="holm")[1])


def rows(analysis: Analysis, claim: Claim) -> list[Contrast | Fidelity]:
    """The rows of the family that a claim's contrast belongs to."""
    everything: list[Contrast | Fidelity] = [*analysis.contrasts, *analysis.fidelity]
    here = [r for r in everything if (r.model, r.metric, r.subset) == (claim.model, claim.metric, claim.subset)]
    (own,) = [row for row in here if row.contrast == claim.contrast]
    return [row for row in here if row.family == own.family]


def test_every_claim_has_its_verdict(claims: dict[str, Claim], register: Sequence[Registered]) -> None:
    """In the register's order, each once."""
    assert {name: claim.verdict for name, claim in claims.items()} == VERDICTS
    assert list(claims) == list(VERDICTS)
    assert list(dict.fromkeys(name.split(":")[0] for name in claims)) == list(
        dict.fromkeys(one.id.split(":")[0] for one in register)
    )


def test_verdicts_follow_from_the_numbers_shown(published_analysis: Analysis) -> None:
    """By the rules, from the intervals that stand beside them; the sentence opens with the verdict."""
    for claim in published_analysis.claims:
        assert claim.statement.startswith(f"{claim.verdict.capitalize()}: ")
        if claim.verdict == "not tested":
            assert (claim.estimate, claim.seeds_to_settle, claim.contrasts) == (None, None, 0)
            continue
        assert None not in (claim.estimate, claim.ci_low, claim.ci_high, claim.ci90_low, claim.ci90_high)
        shown = Evidence(
            claim.estimate or 0, (claim.ci_low or 0, claim.ci_high or 0), (claim.ci90_low or 0, claim.ci90_high or 0), 1
        )
        assert judge(Rule(claim.kind, claim.margin, claim.unit, claim.threshold), shown) == claim.verdict
        told = f"about {claim.seeds_to_settle} seeds a cell would settle it" in claim.statement
        hopeless = "even 10000 seeds a cell would not settle it" in claim.statement
        assert (told or hopeless) == (claim.verdict == "cannot tell")
        assert (claim.seeds_to_settle is not None) == told


def test_claims_stand_on_rows_of_the_tables(published_analysis: Analysis) -> None:
    """Same estimate; p adjusted over the row's family as the row says; the interval at the level of its Holm step."""
    for claim in published_analysis.claims:
        if claim.verdict == "not tested":
            continue
        family = rows(published_analysis, claim)
        (own,) = [row for row in family if row.contrast == claim.contrast]
        value = own.estimate_pp if isinstance(own, Contrast) else own.estimate
        se = own.se_pp if isinstance(own, Contrast) else own.se
        assert claim.estimate == pytest.approx(value)
        assert claim.p_holm == own.p_holm
        adjusted = holm(tuple(row.p for row in family))
        if own.p_holm is not None:
            assert own.p_holm == pytest.approx(adjusted[[row.contrast for row in family].index(claim.contrast)])
        assert (claim.ci90_low, claim.ci90_high) == pytest.approx(stats.t.interval(0.9, own.df, value, se))
        rejected = sum(p < 0.05 for p in adjusted)
        place = sorted(range(len(family)), key=lambda k: family[k].p).index(
            [row.contrast for row in family].index(claim.contrast)
        )
        level = 1 - 0.05 / (len(family) - min(place, rejected))
        assert (claim.ci_low, claim.ci_high) == pytest.approx(stats.t.interval(level, own.df, value, se))
        if claim.kind != "at least":
            test = max(
                stats.t.sf((value + claim.margin) / se, own.df), stats.t.cdf((value - claim.margin) / se, own.df)
            )
            assert claim.p_equivalence == pytest.approx(test)


def test_pooled_gains_and_moderation(claims: dict[str, Claim], means: Mapping[tuple[str, str, str], float]) -> None:
    """Plain means of a student's two pairs; SE 0.0702 on 36 df decides what that is worth."""
    taught = {"resnet18": ("resnet34", "resnet50"), "resnet34": ("resnet50", "resnet101")}
    gains = {
        (s, m): float(np.mean([means[t, s, m] for t in teachers])) - means["", s, "none"]
        for s, teachers in taught.items()
        for m in ("feature", "logit")
    }
    for (student, method), gain in gains.items():
        assert claims[f"gain:{student}:{method}"].estimate == pytest.approx(gain)
    for method in ("feature", "logit"):
        assert claims[f"moderation:{method}"].estimate == pytest.approx(
            gains["resnet34", method] - gains["resnet18", method]
        )
        assert claims[f"no-gain:resnet18:{method}"].estimate == pytest.approx(gains["resnet18", method])
    se, t90 = 0.07024, stats.t.isf(0.05, 36)
    # below the margin where gain + t90 SE < 0.2: both logit gains, not ResNet-18's feature gain
    for (_, method), gain in gains.items():
        assert (abs(gain) + t90 * se < 0.2) == (method == "logit")
    # the smallest of four p values, times four: ResNet-34 by feature, alone beyond 0
    assert 4 * 2 * stats.t.sf(gains["resnet34", "feature"] / se, 36) == pytest.approx(0.025, abs=1e-3)
    lead = claims["moderation:feature-logit"]
    assert lead.estimate == pytest.approx(
        gains["resnet34", "feature"] - gains["resnet34", "logit"]
        - gains["resnet18", "feature"] + gains["resnet18", "logit"]
    )  # fmt: skip
    assert "whatever its sign" in lead.statement


def test_under_one_teacher(claims: dict[str, Claim], means: Mapping[tuple[str, str, str], float]) -> None:
    """+0.096 and +0.026 pp with ResNet-50 alone, an interval that is wider than the pooled one."""
    for method, expected in (("feature", 0.096), ("logit", 0.026)):
        claim = claims[f"moderation-same-teacher:{method}"]
        gains = [means["resnet50", s, method] - means["", s, "none"] for s in ("resnet18", "resnet34")]
        assert claim.estimate == pytest.approx(gains[1] - gains[0])
        assert claim.estimate == pytest.approx(expected, abs=1e-9)
        assert claim.subset == "teachers:resnet50"
        assert claim.statement.startswith("Cannot tell: under resnet50 alone, the gain of resnet34")
        pooled = claims[f"moderation:{method}"]
        assert (claim.ci_high or 0) - (claim.ci_low or 0) > (pooled.ci_high or 0) - (pooled.ci_low or 0)


def test_teachers_and_leads_by_pair(claims: dict[str, Claim], means: Mapping[tuple[str, str, str], float]) -> None:
    """R101 less R50: +0.020 and -0.026 pp. Feature less logit: the smallest of four leads is +0.040 pp."""
    for method, expected in (("feature", 0.020), ("logit", -0.026)):
        difference = means["resnet101", "resnet34", method] - means["resnet50", "resnet34", method]
        assert claims[f"larger-teacher:{method}"].estimate == pytest.approx(difference)
        assert difference == pytest.approx(expected, abs=1e-9)
    leads = {
        (t, s): means[t, s, "feature"] - means[t, s, "logit"]
        for t, s in (
            ("resnet34", "resnet18"),
            ("resnet50", "resnet18"),
            ("resnet50", "resnet34"),
            ("resnet101", "resnet34"),
        )
    }
    claim = claims["feature-at-least-logit"]
    assert min(leads, key=leads.__getitem__) == ("resnet50", "resnet18")
    assert claim.contrast == "lead:feature-logit:resnet50>resnet18"
    assert (claim.estimate, claim.contrasts) == (pytest.approx(leads["resnet50", "resnet18"]), 4)
    assert claim.estimate == pytest.approx(0.040, abs=1e-9)
    assert "stays above 0 pp less the margin of 0.2 pp" in claim.statement


def test_fidelity_claims(claims: dict[str, Claim]) -> None:
    """Closer at T=1 in every pair; at T=4 farther for ResNet-18; agreement spans 0.20 pp over 28 differences."""
    near, far, flat = (claims[name] for name in ("feature-closer-kl1", "feature-closer-kl4", "agreement-flat"))
    assert (near.unit, near.margin, near.metric, near.contrasts) == ("nats", 0.02, "kl_t1", 4)
    assert (near.contrast, near.estimate) == ("closer:feature-logit:resnet34>resnet18", pytest.approx(0.0702, abs=5e-5))
    assert (far.contrast, far.estimate) == ("closer:feature-logit:resnet50>resnet18", pytest.approx(-0.0094, abs=5e-5))
    assert "the other way than claimed" in far.statement
    assert (flat.contrasts, flat.estimate) == (28, pytest.approx(0.20, abs=5e-3))


def test_ablation_claims(claims: dict[str, Claim]) -> None:
    """Stems of ResNet-18 and -34; ResNet-34's +6.74 is the weaker. Clipping: +0.05 on four degrees of freedom."""
    stem, clipping = claims["stem-worth"], claims["clipping-no-effect"]
    assert (stem.kind, stem.threshold, stem.contrasts) == ("at least", 5.5, 2)
    assert (stem.contrast, stem.estimate) == ("stem:cifar-imagenet:resnet34", pytest.approx(6.7367, abs=5e-5))
    assert clipping.estimate == pytest.approx(0.05)
    assert (clipping.ci_low, clipping.ci_high) == pytest.approx((-0.22, 0.32), abs=5e-3)
    assert (clipping.ci90_high or 0) > 0.2


def test_the_first_versions_surplus(claims: dict[str, Claim]) -> None:
    """+0.083 pp on average; no number of new seeds removes the first version's own noise."""
    claim = claims["v1-larger"]
    assert claim.estimate == pytest.approx(0.083, abs=5e-4)
    assert claim.seeds_to_settle is None
    assert "even 10000 seeds a cell would not settle it" in claim.statement
    assert "cannot show the cause" in claim.caution


def test_what_was_not_tested_says_what_is_missing(claims: dict[str, Claim]) -> None:
    """No ResNet-50 student; no second training of one run."""
    assert "must be resnet34 and resnet50 (--order)" in claims["persists-at-resnet50"].statement
    assert "two trainings on one stack" in claims["determinism"].statement


def test_seeds_that_would_settle_are_seeds_that_do(claims: dict[str, Claim]) -> None:
    """Moderation by feature: at the number told, and not at one less, 80% of drawn studies get a verdict.

    Under the fitted variances a study of n seeds has SE sigma sqrt(3 / n) on 8 n - 4 degrees of freedom.
    """
    claim = claims["moderation:feature"]
    assert claim.seeds_to_settle is not None
    sigma = 0.128235
    rng = np.random.default_rng(3)
    shares = []
    for n in (claim.seeds_to_settle - 1, claim.seeds_to_settle):
        se, df = sigma * math.sqrt(3 / n), 8 * n - 4
        e = rng.normal(claim.estimate, se, 200_000)
        s = se * np.sqrt(rng.chisquare(df, 200_000) / df)
        beyond = np.abs(e) > stats.t.isf(0.0125, df) * s
        small = np.abs(e) + stats.t.isf(0.05, df) * s < 0.2
        shares.append(float((beyond | small).mean()))
    assert shares[0] < 0.8 < shares[1] + 0.003


def test_significance_is_no_word_of_ours(published_analysis: Analysis) -> None:
    """One gaining and the other not being shown to is never told as a difference; stars and proofs do not occur."""
    texts = [*published_analysis.answer, *published_analysis.flags, *(c.statement for c in published_analysis.claims)]
    for text in texts:
        assert not any(word in text.lower() for word in ("significan", "prove", "*", "confirm"))
    gains = [c for c in published_analysis.claims if c.id.startswith("gain:")]
    assert all("One student gaining and the other not being shown to gain" in c.caution for c in gains)
