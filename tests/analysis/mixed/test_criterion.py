"""The profiled criterion against the normal density of n runs, and its slopes against differences."""

from __future__ import annotations

from dataclasses import replace

import brute_force
import numpy as np
import pytest
from designs import CROSSED, STUDY, crossed, study
from scipy.linalg import block_diag

from analysis.errors import ModelError, UnidentifiedError
from analysis.mixed.criterion import Criterion, Crossed, Data, Profiled, Split, Strata, profiled
from analysis.mixed.model import Floats, Model, build

DESIGNS = ("strata", "crossed", "gated", "split", "plain")
KINDS: tuple[Criterion, ...] = ("REML", "ML")


def ratios(model: Model, count: int = 5) -> np.ndarray:
    """Variance ratios over six decades, the first at the boundary."""
    found = 10 ** np.random.default_rng(5).uniform(-3, 3, size=(count, len(model.components)))
    found[0] = 0
    return found


def repeated(model: Model, kind: Criterion, count: int) -> tuple:
    """A criterion and its data, one response `count` times."""
    problem = profiled(model, kind)
    return problem, problem.data(np.tile(model.y, (count, 1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("design", DESIGNS)
def test_it_is_minus_2_log_likelihood(models: dict[str, Model], design: str, kind: Criterion) -> None:
    """Value and constant give scipy's normal density at every variance ratio, and the error variance its maximum."""
    model = models[design]
    gamma = ratios(model)
    problem, data = repeated(model, kind, len(gamma))
    value = problem.evaluate(gamma, data).value + problem.constant
    assert value == pytest.approx([brute_force.profiled_value(model, one, kind) for one in gamma], abs=1e-7)
    for one, sigma2 in zip(gamma, problem.error_variance(gamma, data), strict=True):
        near = [
            brute_force.minus_2_log_likelihood(model, factor * sigma2 * np.append(one, 1), kind)
            for factor in (0.99, 1, 1.01)
        ]
        assert near[1] < min(near[0], near[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("design", DESIGNS[:4])
def test_slopes_and_curvature_are_exact(models: dict[str, Model], design: str, kind: Criterion) -> None:
    """Gradient and Hessian are the differences of the criterion and of the gradient."""
    model = models[design]
    gamma = ratios(model)[1:]
    problem, data = repeated(model, kind, len(gamma))
    at = problem.evaluate(gamma, data)
    for k in range(gamma.shape[1]):
        step = np.zeros_like(gamma)
        step[:, k] = 1e-4 * gamma[:, k]
        above, below = problem.evaluate(gamma + step, data), problem.evaluate(gamma - step, data)
        width = 2 * step[:, k]
        assert at.gradient[:, k] * gamma[:, k] == pytest.approx(
            (above.value - below.value) / width * gamma[:, k], abs=5e-6
        )
        # in logarithms of the ratios, where entries are of order 1
        size = gamma * gamma[:, [k]]
        slopes = (above.gradient - below.gradient) / width[:, None]
        assert at.hessian[:, k] * size == pytest.approx(slopes * size, abs=1e-6)


def test_balance_is_recognised(models: dict[str, Model]) -> None:
    """A balanced split plot falls into two strata, as in an analysis of variance; a crossed one with gaps does not."""
    part = profiled(models["strata"], "REML").residual_part
    assert isinstance(part, Strata)
    # 10 plots less 2 student means, each of 3 runs; the error within plots is outside the random part's space
    assert part.e == pytest.approx(np.array([[3.0]]))
    assert part.count.tolist() == [8]
    assert isinstance(profiled(models["crossed"], "REML").residual_part, Crossed)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_balanced_is_strata_beside_what_is_not(models: dict[str, Model], kind: Criterion) -> None:
    """Differences of seeds that have all their 7 runs are a stratum: 5 seeds of one student, 4 of the other."""
    part = profiled(models["split"], kind).determinant_part
    assert isinstance(part, Split)
    seeds = [
        count for e, count in zip(part.strata.e.T, part.strata.count, strict=True) if e == pytest.approx([7, 0, 0])
    ]
    assert seeds == [4 + 3]
    # of 5 seeds and 6 taught cells a student; REML is without the 3 means, and in ML the means cross
    assert (part.crossed.g.shape[1], part.strata.count.sum()) == ((8, 14) if kind == "ML" else (3, 13))


@pytest.mark.parametrize("kind", KINDS)
def test_two_blocks_are_the_whole(models: dict[str, Model], kind: Criterion) -> None:
    """Criterion, gradient and curvature with some strata are those without any."""
    model = models["split"]
    gamma = ratios(model)
    quick, data = repeated(model, kind, len(gamma))
    dense = {}
    for name in ("residual_part", "determinant_part"):
        part = getattr(quick, name)
        strata = np.repeat(part.strata.e, part.strata.count.astype(int), axis=1)
        dense[name] = Crossed(
            np.stack([block_diag(g, np.diag(e)) for g, e in zip(part.crossed.g, strata, strict=True)])
        )
    slow = replace(quick, stratum=np.empty(0, dtype=np.intp), basis=_by_stratum(quick), **dense)
    one, other = quick.evaluate(gamma, data), slow.evaluate(gamma, slow.data(np.tile(model.y, (len(gamma), 1))))
    assert other.value == pytest.approx(one.value, abs=1e-9)
    assert other.gradient == pytest.approx(one.gradient, abs=1e-9, rel=1e-9)
    assert other.hessian == pytest.approx(one.hessian, abs=1e-9, rel=1e-9)


def _by_stratum(problem: Profiled) -> Floats:
    """The basis with the directions of one stratum beside each other, as `Strata` counts them."""
    crossed = problem.basis.shape[1] - len(problem.stratum)
    return problem.basis[:, [*range(crossed), *(crossed + np.argsort(problem.stratum, kind="stable"))]]


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_agree(models: dict[str, Model], kind: Criterion) -> None:
    """Strata are a quicker way to the same numbers: the general form gives them too."""
    model = models["strata"]
    gamma = ratios(model)
    quick, data = repeated(model, kind, len(gamma))
    assert isinstance(quick.residual_part, Strata)
    # the same matrices, kept whole
    full = {
        "residual_part": np.diag(np.full(8, 3.0)),
        "determinant_part": np.diag(np.full(10 if kind == "ML" else 8, 3.0)),
    }
    slow = replace(quick, stratum=np.empty(0, dtype=np.intp), **{name: Crossed(w[None]) for name, w in full.items()})
    rest = slow.data(np.tile(model.y, (len(gamma), 1)))
    one, other = quick.evaluate(gamma, data), slow.evaluate(gamma, rest)
    assert other.value == pytest.approx(one.value, abs=1e-9)
    assert other.gradient == pytest.approx(one.gradient, abs=1e-9, rel=1e-9)
    assert other.hessian == pytest.approx(one.hessian, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("design", DESIGNS[:4])
def test_many_responses_are_as_one(models: dict[str, Model], design: str) -> None:
    """A batch's criterion is each response's, and the first look over a grid is the criterion."""
    model = models[design]
    generator = np.random.default_rng(6)
    y = model.y + generator.normal(size=(4, len(model.y)))
    problem = profiled(model, "REML")
    data, gamma = problem.data(y), ratios(model, 4)
    together = problem.evaluate(gamma, data).value
    alone = [problem.evaluate(gamma[[i]], problem.data(y[[i]])).value[0] for i in range(4)]
    assert together == pytest.approx(alone, abs=1e-10)
    assert np.diag(problem.values(gamma, data)) == pytest.approx(together, abs=1e-10)
    assert problem.evaluate(gamma[:2], data.take(np.array([3, 1]))).value == pytest.approx(
        [problem.evaluate(gamma[[i]], data.take(slice(j, j + 1))).value[0] for i, j in ((0, 3), (1, 1))], abs=1e-10
    )


@pytest.mark.parametrize("design", DESIGNS)
def test_a_large_mean_costs_no_digits(models: dict[str, Model], design: str) -> None:
    """Accuracies of 95 or of a million: what the mean explains never enters a sum of squares."""
    model = models[design]
    gamma = ratios(model)
    problem, data = repeated(model, "REML", len(gamma))
    far = problem.data(np.tile(model.y + 1e6, (len(gamma), 1)))
    assert problem.evaluate(gamma, far).value == pytest.approx(problem.evaluate(gamma, data).value, abs=1e-6)


REFUSED = {
    "acc_pct ~ method + (1 | method)": ("variance of method from the fixed part; leave it out", "method"),
    "acc_pct ~ method + (1 | run)": ("variances of run and error apart; leave run out", "run"),
    "acc_pct ~ method + (1 | seed) + (1 | same)": ("variances of seed and same apart; leave seed out", "seed"),
    "acc_pct ~ student * method + (1 | student) + (1 | seed)": ("variance of student from the fixed part", "student"),
    "acc_pct ~ method + (0 + never | seed)": (r"variance of seed\[never\] from the fixed part", "seed[never]"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("formula", REFUSED)
def test_what_the_runs_cannot_tell_apart_is_refused(formula: str, kind: Criterion) -> None:
    """The sentence names what is confounded; the error names the component to leave out."""
    table = study(np.random.default_rng(0))
    table = table.assign(run=range(len(table)), same="s" + table["seed"].astype(str), never=0)
    sentence, component = REFUSED[formula]
    with pytest.raises(UnidentifiedError, match=sentence) as refusal:
        profiled(build(formula, table), kind)
    assert refusal.value.component == component


def test_three_that_only_two_can_tell_are_refused() -> None:
    """Of an error and two components, a balanced table of one run a pair tells two: `a:b` is the error."""
    table = study(np.random.default_rng(0)).assign(pair=lambda t: t["seed"].astype(str) + t["method"].astype(str))
    with pytest.raises(UnidentifiedError, match="variances of seed:method and pair apart"):
        profiled(build("acc_pct ~ student + (1 | seed:method) + (1 | pair)", table), "REML")


def test_too_few_runs_are_refused() -> None:
    """As many means as runs leave nothing to tell an error by."""
    table = study(np.random.default_rng(0), seeds=1)
    with pytest.raises(ModelError, match="6 runs cannot tell 6 means and an error apart; train more seeds"):
        profiled(build("acc_pct ~ student * method", table), "REML")


def test_unbalanced_designs_keep_their_strata_apart() -> None:
    """Plots of different sizes are different strata, and their number of runs is what each is multiplied by."""
    table = study(np.random.default_rng(0)).drop(index=[0, 4, 5])
    part = profiled(build("acc_pct ~ 0 + (1 | student:seed)", table), "REML").residual_part
    assert isinstance(part, Strata)
    assert part.e[0] == pytest.approx([1, 2, 3])
    assert part.count.tolist() == [1, 1, 8]


def test_data_are_reduced_sums_of_squares(models: dict[str, Model]) -> None:
    """In a balanced design h is the plots' sum of squares and s the error's: the table of an analysis of variance."""
    model = models["strata"]
    problem = profiled(model, "REML")
    data = problem.data(model.y[None])
    table = study(np.random.default_rng(1))
    centred = table["acc_pct"] - table.groupby(["student", "method"], observed=True)["acc_pct"].transform("mean")
    plots = centred.groupby([table["student"], table["seed"]]).mean()
    between = 3 * float((plots**2).sum())
    assert isinstance(data, Data)
    assert data.h[0] == pytest.approx([between])
    assert data.s[0] == pytest.approx(float((centred**2).sum()) - between)


def test_a_component_s_scale_is_its_group_s_size() -> None:
    """A ratio times its scale compares strata: 3 runs a plot, here, and near the mean size where sizes differ."""
    table = study(np.random.default_rng(0))
    assert profiled(build(STUDY, table), "REML").scale == pytest.approx([3.0])
    scale = profiled(build(CROSSED, crossed(np.random.default_rng(0))), "REML").scale
    assert ((scale > 1) & (scale < 12)).all()
