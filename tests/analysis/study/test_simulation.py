"""The simulated procedure is the study's own, and its truths are what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.mixed.bootstrap import simulate
from analysis.runs.frame import model_frame
from analysis.runs.table import finals
from analysis.study.contrasts import contrast_family, interaction_tests, moderation, moderation_id
from analysis.study.models import Fitted, primary
from analysis.study.simulation import Procedure, Share, by_first, by_used, characteristics, with_icc, without_effects

STUDENTS, METHODS = ("resnet18", "resnet34"), ("feature", "logit")
CONTRASTS = {moderation_id(*STUDENTS, method): moderation(*STUDENTS, method) for method in METHODS}


@pytest.fixture(scope="module")
def frame(published: pd.DataFrame) -> pd.DataFrame:
    """The published final runs, two of them lost."""
    final = finals(published)
    whole = model_frame(final, 100 * final["test_acc_best"].astype("float64"), STUDENTS, METHODS)
    return whole.drop(index=[3, 21]).reset_index(drop=True)


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> Fitted:
    """Its primary model."""
    return primary(frame, "test_acc_best", "all")


@pytest.fixture(scope="module")
def combinations(fitted: Fitted) -> np.ndarray:
    """The moderation contrasts."""
    return np.stack([fitted.first.combination(weights) for weights in CONTRASTS.values()])


def test_it_is_the_procedure_of_the_study(frame: pd.DataFrame, fitted: Fitted) -> None:
    """Each response gets the very numbers that fitting the model from its table gives, regular or singular."""
    procedure, singular = Procedure(fitted), []
    for y in simulate(fitted.first.fit, 12, np.random.default_rng(5)):
        quick, slow = procedure(y), primary(frame.assign(y=y), "test_acc_best", "all")
        singular.append(quick.first.singular)
        for one, other in zip(quick.sources, slow.sources, strict=True):
            assert one.labels == other.labels
            assert contrast_family(one, "moderation", CONTRASTS) == contrast_family(other, "moderation", CONTRASTS)
            assert interaction_tests(one, STUDENTS, METHODS) == interaction_tests(other, STUDENTS, METHODS)
    assert set(singular) == {True, False}


def test_shares_count_what_the_tables_say(fitted: Fitted) -> None:
    """Rejections are contrasts whose p is below 0.05, and joint tests likewise, over the same draws."""
    truth, procedure = fitted.first.fit, Procedure(fitted)
    found = characteristics(fitted, truth, CONTRASTS, {"used": by_used}, 40, np.random.default_rng(6))
    sources = [procedure(y).used for y in simulate(truth, 40, np.random.default_rng(6))]
    rows = [contrast_family(source, "moderation", CONTRASTS) for source in sources]
    for index, share in enumerate(found.judged["used"].rejected.values()):
        assert share == Share(sum(row[index].p < 0.05 for row in rows), 40)
    joint = [interaction_tests(source, STUDENTS, METHODS)[0].p for source in sources]
    assert found.judged["used"].joint == Share(sum(p < 0.05 for p in joint), 40)
    assert found.judged["used"].joint.count > 0


def test_ways_of_judging_differ_only_after_a_singular_fit(fitted: Fitted) -> None:
    """The procedure takes the refit with its residual degrees of freedom, the other way keeps the singular fit."""
    procedure = Procedure(fitted)
    for y in simulate(with_icc(fitted.first.fit, 0.0), 12, np.random.default_rng(7)):
        found = procedure(y)
        if found.first.singular:
            assert by_used(found) == (found.used, "residual")
            assert by_first(found) == (found.first, "kenward-roger")
            assert not found.used.fit.model.components
        else:
            assert by_used(found) == by_first(found) == (found.first, "kenward-roger")


def test_a_truth_without_effects_has_none(fitted: Fitted, combinations: np.ndarray) -> None:
    """The contrasts of the null truth are zero, and other directions of the means stay as fitted."""
    null = without_effects(fitted.first.fit, combinations)
    assert combinations @ null.beta == pytest.approx(0, abs=1e-12)
    across = np.linalg.svd(combinations)[2][len(combinations) :]
    assert across @ null.beta == pytest.approx(across @ fitted.first.fit.beta)


@pytest.mark.parametrize("icc", [0.0, 0.3, 0.6])
def test_an_icc_is_what_responses_have(fitted: Fitted, icc: float) -> None:
    """The seed's share of the variance is as asked, the total as fitted, in the truth and in what is drawn from it."""
    truth = with_icc(fitted.first.fit, icc)
    seeds, error = truth.variances.values()
    total = sum(fitted.first.fit.variances.values())
    assert (seeds, error) == (pytest.approx(icc * total), pytest.approx((1 - icc) * total))
    z = truth.model.components[0].z
    one, other = np.flatnonzero(z[:, 0])[:2]
    drawn = simulate(truth, 20_000, np.random.default_rng(8)) - truth.fitted
    assert np.corrcoef(drawn[:, one], drawn[:, other])[0, 1] == pytest.approx(icc, abs=0.03)


def test_an_icc_that_cannot_be_is_refused(fitted: Fitted) -> None:
    """One is all seed and no error; below zero is no share."""
    for icc in (1.0, -0.1):
        with pytest.raises(ValueError, match="0 <= icc < 1"):
            with_icc(fitted.first.fit, icc)


def test_a_generator_in_the_same_state_gives_the_same_shares(fitted: Fitted) -> None:
    """Nothing but the generator is random."""
    found = [
        characteristics(fitted, fitted.first.fit, CONTRASTS, {"used": by_used}, 20, np.random.default_rng(9))
        for _ in range(2)
    ]
    assert found[0] == found[1]


def test_monte_carlo_errors_are_binomial() -> None:
    """100 of 2,000 is 5% with a standard error of 0.487 pp; 140 of 2,000 lie 4.1 of these above it."""
    assert Share(100, 2000).value == 0.05
    assert Share(100, 2000).mc_se == pytest.approx(0.004873, abs=1e-6)
    assert Share(140, 2000).errors_from(0.05) == pytest.approx(4.104, abs=1e-3)
    assert Share(60, 2000).errors_from(0.05) == pytest.approx(-4.104, abs=1e-3)
