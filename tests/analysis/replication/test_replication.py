"""Verdicts: error rates, equivalence, seeds that would decide, margins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.replication.judge import (
    Judgement,
    Rule,
    SeedsToDecide,
    excusing_sd,
    family_level,
    judge,
    replicate_margin,
    seeds_to_decide,
    spread_ratio,
)
from analysis.replication.spread import Floats, Layout, Spread, Weights, cell_means, spread, weights

RULE = Rule(margin=0.4, alpha_members=0.03, alpha_shift=0.015, alpha_spread=0.005, between_study_sd=0.0)
# fitted to the published runs by split-plot analysis of 10 cell means: mean squares 0.026103 and 0.016952
SIGMA2, TAU2 = 0.01695175, 0.00183025
STUDENT = np.repeat([0, 1], 5)


def layout(seeds: int) -> Layout:
    """Two students, five cells each, as published."""
    cell = np.repeat(np.arange(10), seeds)
    return Layout(cell, STUDENT[cell] * 1000 + np.tile(np.arange(seeds), 10))


def studies(rng: np.random.Generator, seeds: int, size: int, tau2: float, sigma2: float) -> Floats:
    """Accuracies of `size` studies of equal cells."""
    of = layout(seeds)
    runs = np.sqrt(sigma2) * rng.standard_normal((size, of.cell.size))
    groups = np.sqrt(tau2) * rng.standard_normal((size, 2 * seeds))
    return np.asarray(runs + groups @ of.membership.T)


def verdicts(reference: Floats, new: Floats, seeds: int, rule: Rule = RULE) -> tuple[Judgement, np.ndarray, np.ndarray]:
    """Judgement, FAIL and PASS of each simulated pair of studies."""
    old = layout(5)
    noise = spread(reference, old)
    difference = cell_means(new, layout(seeds)) - cell_means(reference, old)
    judgement = judge(difference, weights(old) + weights(layout(seeds)), noise, rule)
    ratio = spread_ratio(new, layout(seeds), noise, rule.alpha_spread)
    fails = judgement.fails | (ratio.fails if ratio else False)
    return judgement, fails, judgement.passes & ~fails


@pytest.mark.parametrize("icc", [0.0, TAU2 / (TAU2 + SIGMA2), 0.3])
@pytest.mark.parametrize("seeds", [1, 5])
def test_a_replicate_fails_in_at_most_five_percent(icc: float, seeds: int) -> None:
    """The false-FAIL rate keeps to 5% within three Monte-Carlo errors, whatever cells share; it is not 0."""
    rng = np.random.default_rng(20260)
    size, total = 6000, TAU2 + SIGMA2
    reference = studies(rng, 5, size, icc * total, (1 - icc) * total)
    _, fails, _ = verdicts(reference, studies(rng, seeds, size, icc * total, (1 - icc) * total), seeds)
    error = np.sqrt(0.05 * 0.95 / size)
    assert 0.025 < fails.mean() < 0.05 + 3 * error


def test_detection_rates_with_five_seeds() -> None:
    """Five seeds find 0.3 pp in one cell in about 0.6, and 0.5 pp there or 0.3 pp in all about always."""
    rng = np.random.default_rng(5)
    reference = studies(rng, 5, 4000, TAU2, SIGMA2)
    new = studies(rng, 5, 4000, TAU2, SIGMA2)
    one = np.where(layout(5).cell == 3, 1.0, 0.0)
    assert 0.55 < verdicts(reference, new - 0.3 * one, 5)[1].mean() < 0.7
    assert verdicts(reference, new - 0.5 * one, 5)[1].mean() > 0.98
    assert verdicts(reference, new - 0.3, 5)[0].shift_fails.mean() > 0.99


def test_one_seed_is_mostly_inconclusive() -> None:
    """With a single seed a cell, a replicate neither passes nor fails in most cases."""
    rng = np.random.default_rng(6)
    _, fails, passes = verdicts(studies(rng, 5, 4000, TAU2, SIGMA2), studies(rng, 1, 4000, TAU2, SIGMA2), 1)
    assert (~fails & ~passes).mean() > 0.85


def test_new_teachers_make_false_fails_unless_their_sd_is_assumed() -> None:
    """Cell means that vary by 0.10 pp between studies FAIL often; a rule that assumes it keeps its 5%."""
    rng = np.random.default_rng(7)
    size, of = 4000, layout(5)
    reference, new = (
        studies(rng, 5, size, TAU2, SIGMA2) + 0.1 * rng.standard_normal((size, 10))[:, of.cell] for _ in range(2)
    )
    assert verdicts(reference, new, 5)[1].mean() > 0.5
    assuming = Rule(0.4, 0.03, 0.015, 0.005, between_study_sd=0.1)
    assert verdicts(reference, new, 5, assuming)[1].mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / size)


@pytest.mark.parametrize("probability", [0.8, 0.9])
def test_the_default_margin_lets_an_exact_replicate_pass(probability: float) -> None:
    """Over references and replicates, PASS comes at least as often as promised, and not much more often."""
    rng = np.random.default_rng(9)
    size, hundredfold = 1500, 1e4  # in a unit where steps of 0.1 do not round the margin up noticeably
    reference = studies(rng, 5, size, hundredfold * TAU2, hundredfold * SIGMA2)
    new = studies(rng, 5, size, hundredfold * TAU2, hundredfold * SIGMA2)
    passed = 0
    for i in range(size):
        margin = replicate_margin(layout(5), spread(reference[i], layout(5)), RULE, probability, 0.1)
        rule = Rule(margin, 0.03, 0.015, 0.005)
        passed += bool(verdicts(reference[i], new[i], 5, rule)[2])
    error = np.sqrt(probability * (1 - probability) / size)
    assert probability - 3 * error < passed / size < probability + 0.04


def test_the_default_margin_worked_by_hand() -> None:
    """One cell with known df: margin = se (t(0.95) + t(1 - share/2)), rounded up to 0.1."""
    of = Layout(np.zeros(4, dtype=np.intp), np.arange(4))
    noise = spread(np.array([1.0, 2.0, 3.0, 4.0]), of)  # variance 5/3 with 3 df; se of a difference sqrt(5/6)
    # t quantiles with 3 df from a printed table: t(0.95) = 2.353; share 0.08 gives t(0.96) = 2.605
    assert np.sqrt(5 / 6) * (2.353 + 2.605) == pytest.approx(4.526, abs=0.001)
    assert replicate_margin(of, noise, RULE, 0.9, 0.1) == pytest.approx(4.6)


@pytest.mark.parametrize("probability", [0.0, 0.95, 1.0])
def test_a_margin_that_cannot_be_is_refused(probability: float) -> None:
    """A false FAIL takes 5%, so that no margin makes a replicate pass in 95%."""
    with pytest.raises(ValueError, match=r"between 0 and 0\.95"):
        replicate_margin(layout(5), spread(np.arange(50.0) % 7, layout(5)), RULE, probability, 0.1)


@pytest.fixture
def noise() -> Spread:
    """Spread of a simulated reference."""
    return spread(studies(np.random.default_rng(2), 5, 1, TAU2, SIGMA2)[0], layout(5))


def both(seeds: int) -> Weights:
    """Weights of a difference between five seeds and `seeds`."""
    return weights(layout(5)) + weights(layout(seeds))


def test_family_level_is_sidaks() -> None:
    """Ten independent tests at the family level err together with the family's error."""
    level = family_level(0.03, 10)
    assert (1 - level) ** 10 == pytest.approx(0.97)


def test_intervals_are_students_t_around_the_difference(noise: Spread) -> None:
    """Half widths agree with scipy's t interval at the Sidak level, and equivalence uses level 0.90."""
    judgement = judge(np.zeros(10), both(5), noise, RULE)
    se, df = noise.standard_error(both(5).noise, np.diag(both(5).seed))
    for half, confidence in (
        (judgement.family_half, 0.97**0.1),
        (judgement.equivalence_half, 0.90),
    ):
        assert half == pytest.approx(stats.t.interval(confidence, df, scale=se)[1])


def test_a_cell_at_the_margin_neither_passes_nor_escapes(noise: Spread) -> None:
    """Verdicts move from PASS over INCONCLUSIVE to FAIL as the difference leaves the reference, both ways."""
    judgement = judge(np.zeros(10), both(5), noise, RULE)
    family, equivalence = float(judgement.family_half[0]), float(judgement.equivalence_half[0])
    wide = Rule(family + equivalence / 2, 0.03, 0.015, 0.005)  # so that all three verdicts occur
    edge = wide.margin - equivalence
    for sign in (1, -1):
        cell = np.zeros(10)
        for size, expected in (
            (edge - 1e-9, (True, False)), (edge + 1e-9, (False, False)), (family + 1e-9, (False, True)),
        ):  # fmt: skip
            cell[0] = sign * size
            found = judge(cell, both(5), noise, wide)
            assert (bool(found.member_passes[0]), bool(found.member_fails[0])) == expected


def test_fail_outranks_pass(noise: Spread) -> None:
    """A cell that differs for certain fails although it lies inside a wide margin."""
    difference = np.full(10, 0.0)
    difference[4] = 0.5
    judgement = judge(difference, both(5), noise, Rule(5.0, 0.03, 0.015, 0.005))
    assert judgement.member_fails[4]
    assert not judgement.member_passes[4]
    assert judgement.fails
    assert not judgement.passes


@pytest.mark.parametrize("difference", [np.full(10, 0.3), np.eye(10)[2] * 0.5])
def test_the_excusing_sd_is_where_the_fail_ends(noise: Spread, difference: Floats) -> None:
    """Assuming a little more than it ends the FAIL, a little less does not."""
    judgement = judge(difference, both(5), noise, RULE)
    sd = excusing_sd(judgement, both(5), noise, RULE)
    assert judgement.fails
    assert judge(difference, both(5), noise, Rule(0.4, 0.03, 0.015, 0.005, between_study_sd=sd * 0.999)).fails
    assert not judge(difference, both(5), noise, Rule(0.4, 0.03, 0.015, 0.005, between_study_sd=sd * 1.001)).fails


def test_nothing_to_excuse_is_zero(noise: Spread) -> None:
    """Equal means need no between-study sd."""
    assert excusing_sd(judge(np.zeros(10), both(5), noise, RULE), both(5), noise, RULE) == 0


def test_seeds_to_decide_are_the_fewest_that_decide(noise: Spread) -> None:
    """With that many seeds a cell the same differences decide; with one less they do not."""
    difference = np.eye(10)[1] * 0.24
    found = seeds_to_decide(difference, STUDENT, weights(layout(5)), noise, RULE)
    seeds = found.decided
    assert seeds is not None
    assert seeds > 1
    for n, expected in ((seeds, True), (seeds - 1, False)):
        judgement = judge(difference, both(n), noise, RULE)
        assert bool(judgement.fails | judgement.passes) is expected


def test_no_number_of_seeds_helps_a_reference_of_few(noise: Spread) -> None:
    """A margin below the reference's own error can neither be met nor, at a small difference, be broken."""
    tight = Rule(0.05, 0.03, 0.015, 0.005)
    assert seeds_to_decide(np.zeros(10), STUDENT, weights(layout(5)), noise, tight) == SeedsToDecide(
        None, None, (None,) * 10
    )


def test_the_spread_ratio_is_an_f_interval() -> None:
    """A ratio of 4 with 10 and 10 df: a printed table has F(0.975; 10, 10) = 3.717."""
    of = Layout(np.repeat([0, 1], 11), np.tile(np.arange(11), 2))
    reference = spread(np.random.default_rng(4).standard_normal(22), of)
    ratio = spread_ratio(2 * np.random.default_rng(4).standard_normal(22), of, reference, 0.05)
    assert ratio is not None
    assert float(ratio.ratio) == pytest.approx(4)
    assert float(ratio.low) == pytest.approx(4 / 3.717, rel=1e-3)
    assert float(ratio.high) == pytest.approx(4 * 3.717, rel=1e-3)
    assert ratio.fails


@pytest.mark.parametrize(
    "of",
    [
        Layout(np.arange(3), np.zeros(3, dtype=np.intp)),  # one seed
        Layout(np.zeros(3, dtype=np.intp), np.arange(3)),  # one cell: seed effect and noise are one
    ],
)
def test_a_spread_that_cannot_be_compared_is_none(noise: Spread, of: Layout) -> None:
    """Without runs that share a seed there is no degree of freedom within seed groups."""
    assert spread_ratio(np.array([1.0, 2.0, 4.0]), of, noise, 0.005) is None


def test_a_constant_added_to_both_tables_changes_nothing() -> None:
    """The verdict depends on differences alone, to the last decimal that matters."""
    rng = np.random.default_rng(12)
    reference, new = studies(rng, 5, 1, TAU2, SIGMA2)[0], studies(rng, 5, 1, TAU2, SIGMA2)[0]
    near, far = verdicts(reference, new, 5)[0], verdicts(reference + 95, new + 95, 5)[0]
    assert far.difference == pytest.approx(near.difference, abs=1e-11)
    assert far.family_half == pytest.approx(near.family_half, rel=1e-9)


# gains of one student's four distilled cells over its baseline, cell 0 of `layout(5)`
GAINS = np.hstack([np.full((4, 1), -1.0), np.eye(4), np.zeros((4, 5))])


def test_combinations_are_judged_with_what_their_cells_share() -> None:
    """A gain's variance is 2 (sigma2 + seeds' share, which cancels) / n a study; the reference's spread gives it."""
    of = layout(5)
    reference = spread(studies(np.random.default_rng(3), 5, 1, 4 * SIGMA2, SIGMA2)[0], of)
    judgement = judge(np.arange(10.0), both(5), reference, Rule(1.0, 0.05), GAINS)
    assert judgement.difference == pytest.approx([1, 2, 3, 4])
    level = 1 - 0.95 ** (1 / 4)
    within_student = stats.t.isf(level / 2, 32) * np.sqrt(2 * 2 * float(reference.sigma2) / 5)
    assert float(reference.tau2) > float(reference.sigma2)
    assert judgement.family_half == pytest.approx(within_student, rel=1e-9)
    assert np.isinf(judgement.shift_half)  # a rule without that test cannot fail by it
    assert not judgement.shift_fails


@pytest.mark.parametrize("icc", [0.0, 0.3])
def test_gains_of_a_replicate_fail_in_at_most_five_percent(icc: float) -> None:
    """The family of gains has an error of its own, whatever seeds share."""
    size, rng = 4000, np.random.default_rng(5)
    tau2, sigma2 = icc * 0.0225, (1 - icc) * 0.0225
    reference, new = (studies(rng, 5, size, tau2, sigma2) for _ in range(2))
    of = layout(5)
    judgement = judge(
        cell_means(new, of) - cell_means(reference, of), both(5), spread(reference, of), Rule(0.2, 0.05), GAINS
    )
    assert 0.03 < judgement.fails.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / size)


def test_each_member_has_its_own_seeds_to_decide(noise: Spread) -> None:
    """A difference of nothing needs fewer seeds than one near the margin; the family needs the most of them."""
    rule = Rule(0.35, 0.05)
    found = seeds_to_decide(np.eye(10)[1] * 0.1, STUDENT, weights(layout(5)), noise, rule, GAINS)
    assert len(found.members) == len(GAINS)
    near, nothing = found.members[0], found.members[1]
    assert near is not None
    assert nothing is not None
    assert near > nothing
    assert found.fails is None
    assert found.decided == max(one or 0 for one in found.members)
    assert (
        near + 1
        == seeds_to_decide(np.eye(10)[1] * 0.1, STUDENT, weights(layout(5)), noise, rule, GAINS, near).members[0]
    )


def test_assuming_more_between_studies_never_narrows_an_interval() -> None:
    """A known variance raises the degrees of freedom; with one of them the interval would shrink from 12.7 se."""
    of = Layout(np.array([0, 0, 1]), np.arange(3))
    few = spread(np.array([1.0, 1.4, 2.0]), of)
    both_of = weights(of) + weights(of)
    halves = [
        float(judge(np.array([3.0, 0.0]), both_of, few, Rule(5.0, 0.05, between_study_sd=sd)).family_half[0])
        for sd in (0.0, 0.1, 0.3, 0.65, 2.0, 9.0)
    ]
    assert halves == sorted(halves)
    judgement = judge(np.array([60.0, 0.0]), both_of, few, Rule(5.0, 0.05, between_study_sd=0.65))
    assert judgement.fails
    assert excusing_sd(judgement, both_of, few, Rule(5.0, 0.05)) > 0.65


def test_margins_come_in_steps(noise: Spread) -> None:
    """The same margin at a finer step is no larger, and within one step of it."""
    coarse, fine = (replicate_margin(layout(5), noise, RULE, 0.9, step) for step in (0.1, 0.001))
    assert fine <= coarse < fine + 0.1
    assert round(fine * 1000) == pytest.approx(fine * 1000, abs=1e-9)
