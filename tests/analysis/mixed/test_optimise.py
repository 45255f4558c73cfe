"""The minimum: against dense scans, closed forms and simplex searches; and the report's power to say no."""

from __future__ import annotations

import math
from dataclasses import replace

import brute_force
import numpy as np
import pytest
from designs import CROSSED, GATED, STUDY, crossed, gated, study
from scipy import optimize

from analysis.errors import ModelError
from analysis.mixed import optimise
from analysis.mixed.criterion import Criterion, Data, Profiled, Strata, profiled
from analysis.mixed.fit import fit
from analysis.mixed.model import Floats, Model, build
from analysis.mixed.optimise import minimise, minimise_all


def strata(e: list[float], count: list[float], nu: int) -> Profiled:
    """A criterion of one component, given by its strata."""
    part = Strata(np.array([e]), np.array(count))
    scale = np.array([float(np.dot(e, count) / np.sum(count))])
    return Profiled("REML", nu, part, part, np.empty((0, 0)), np.empty(0, int), np.empty((0, 0)), 0.0, scale)


# Two strata that contradict each other: the one that feels the component less has by far the larger sum of squares.
# A dense scan finds two minima, at ratios of 0 and of 328, the second 0.31 higher.
TWO_MINIMA = strata([0.09, 0.92], [5.0, 7.0], 19)
TWO_MINIMA_DATA = Data(np.array([[376.5, 5.5]]), np.array([7.0]))


def test_two_minima_are_both_found_and_told() -> None:
    """The lower one is the answer, the higher one is in the report."""
    ratios, values = brute_force.scan(TWO_MINIMA, TWO_MINIMA_DATA)
    minima = brute_force.local_minima(values)
    assert len(minima) == 2
    found = minimise(TWO_MINIMA, TWO_MINIMA_DATA)
    best = min(minima, key=lambda i: values[i])
    assert found.value <= values[best] + 1e-9
    assert found.gamma[0] == ratios[best] == 0
    assert found.other_minima == pytest.approx([abs(float(values[minima[0]] - values[minima[1]]))], abs=1e-3)
    assert found.agreeing < found.starts
    assert "1 other minima" in found.told
    assert found.converged


def random_problem(generator: np.random.Generator) -> tuple[Profiled, Data]:
    """One component, two to four strata with sizes and sums of squares over many decades."""
    strata_ = int(generator.integers(2, 5))
    e = 10 ** generator.uniform(-1.5, 2.5, size=strata_)
    count = generator.integers(1, 30, size=strata_).astype(float)
    error = int(generator.integers(3, 40))
    h = count * 10 ** generator.uniform(-1, 3, size=strata_)
    return strata(list(e), list(count), int(count.sum()) + error), Data(h[None, :], np.array([float(error)]))


def test_nothing_in_a_dense_scan_is_lower() -> None:
    """Of 200 random problems, many with two minima, many on the boundary, none ends above its scan's lowest point."""
    generator = np.random.default_rng(8)
    several = at_zero = 0
    for _ in range(200):
        problem, data = random_problem(generator)
        ratios, values = brute_force.scan(problem, data, 800)
        minima = brute_force.local_minima(values)
        found = minimise(problem, data)
        assert found.converged, found.told
        assert found.value <= values.min() + 1e-9
        assert minimise_all(problem, data, starts=2)[1][0] <= values.min() + 1e-9
        several += len(minima) > 1
        at_zero += found.gamma[0] == 0
        assert (found.gamma[0] == 0) == (ratios[int(values.argmin())] == 0) or found.value < values.min() - 1e-9
        # every reported minimum is one of the scan's
        for above in found.other_minima:
            assert min(abs(found.value + above - values[i]) for i in minima) < 0.05
    assert several >= 50
    assert 10 <= at_zero <= 190


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("sds", [(0.3, 0.2), (0.0, 0.2), (0.05, 0.05)])
def test_two_crossed_components_reach_the_lowest_point(kind: Criterion, sds: tuple[float, float]) -> None:
    """A fine grid over both ratios with simplex searches finds nothing lower."""
    for seed in range(2):
        table = crossed(np.random.default_rng(100 + seed), runs=24, sds=sds)
        model = build(CROSSED, table)
        problem = profiled(model, kind)
        data = problem.data(model.y[None])
        found = minimise(problem, data)
        assert found.converged, found.told
        assert found.value == pytest.approx(brute_force.lowest(problem, data, 60), abs=1e-7)


def test_five_components_reach_the_lowest_point() -> None:
    """With a coarse grid too: no quasi-Newton search over five standard deviations, from 10 starts, ends lower."""
    generator = np.random.default_rng(30)
    table = crossed(generator, runs=60)
    for name in ("order", "day", "host"):
        group = generator.integers(6, size=len(table))
        table[name] = group
        table["acc_pct"] += 0.2 * generator.normal(size=6)[group]
    model = build(CROSSED + " + (1 | order) + (1 | day) + (1 | host)", table)
    problem = profiled(model, "REML")
    data = problem.data(model.y[None])
    found = minimise(problem, data)
    assert found.converged, found.told
    ends = [
        optimize.minimize(lambda root: float(problem.values(root[None] ** 2, data)[0, 0]), start, method="L-BFGS-B").fun
        for start in generator.uniform(0, 3, size=(10, 5))
    ]
    assert found.value == pytest.approx(min(ends), abs=1e-5)
    assert found.value <= min(ends) + 1e-9


@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("kind", ["REML", "ML"])
def test_a_balanced_design_s_ratio_is_its_closed_form(ratio: float, kind: Criterion) -> None:
    """Tiny and huge ratios alike: (F - 1) / m by REML, ((a - 1) / a F - 1) / m by ML (Searle and others 1992, 4.7)."""
    table = study(np.random.default_rng(0), seeds=5)
    model = build("acc_pct ~ 1 + (1 | student:seed)", table)
    plots, runs = 10, 3
    degrees = plots - 1 if kind == "REML" else plots
    f = (1 + runs * ratio) * degrees / (plots - 1)
    means = table["acc_pct"].groupby([table["student"], table["seed"]]).transform("mean")
    within, between = table["acc_pct"] - means, means - means.mean()
    within /= math.sqrt(float((within**2).sum()) / (plots * (runs - 1)))
    between *= math.sqrt(f * (plots - 1) / float((between**2).sum()))
    found = fit(model.with_response((95 + within + between).to_numpy()), kind)
    assert found.optimum.gamma[0] == pytest.approx(ratio, rel=1e-7, abs=1e-9)
    assert found.sigma2 == pytest.approx(1.0, rel=1e-9)


def test_a_ratio_that_is_exactly_on_the_fence_is_zero() -> None:
    """F = 1 puts the minimum at 0 with a slope of 0: no start may wander, and the report calls it a minimum."""
    problem = strata([3.0], [8.0], 8 + 20)
    found = minimise(problem, Data(np.array([[8.0]]), np.array([20.0])))
    assert found.gamma[0] == 0
    assert found.converged


def test_the_boundary_is_where_the_slope_says_so() -> None:
    """Plots that differ less than the error says give a ratio of exactly 0, with a positive slope there."""
    table = study(np.random.default_rng(0), sd_seed=0.0)
    model = build(STUDY, table)
    centred = table["acc_pct"] - table.groupby(["student", "method"], observed=True)["acc_pct"].transform("mean")
    plots = centred.groupby([table["student"], table["seed"]]).transform("mean")
    shrunk = model.with_response(model.y - 0.9 * plots.to_numpy())
    found = fit(shrunk)
    assert found.singular == ("student:seed",)
    assert found.optimum.gamma.tolist() == [0.0]
    assert found.optimum.boundary_slope > 0
    assert found.optimum.curvature == math.inf
    assert found.optimum.converged


@pytest.mark.parametrize("kind", ["REML", "ML"])
@pytest.mark.parametrize("name", ["strata", "crossed", "gated", "split"])
def test_many_at_once_is_one_by_one(models: dict[str, Model], name: str, kind: Criterion) -> None:
    """A batch with two starts reaches what eight starts reach, response by response, on both forms of the criterion."""
    model = models[name]
    generator = np.random.default_rng(9)
    y = model.y + generator.normal(scale=0.2, size=(20, len(model.y)))
    problem = profiled(model, kind)
    data = problem.data(y)
    gamma, value = minimise_all(problem, data, starts=2)
    alone = [minimise(problem, data.take(slice(i, i + 1))) for i in range(len(y))]
    assert value == pytest.approx([one.value for one in alone], abs=1e-8)
    assert gamma == pytest.approx(np.array([one.gamma for one in alone]), rel=1e-5, abs=1e-6)
    assert ((gamma == 0) == np.array([one.gamma == 0 for one in alone])).all()


def test_a_batch_with_two_minima_takes_the_lower() -> None:
    """Starts are chosen by each response's own criterion."""
    copies = Data(np.repeat(TWO_MINIMA_DATA.h, 3, axis=0) * [[1, 1], [1.1, 1], [1, 40]], np.repeat(7.0, 3))
    gamma, value = minimise_all(TWO_MINIMA, copies, starts=2)
    for i in range(3):
        _, values = brute_force.scan(TWO_MINIMA, copies.take(slice(i, i + 1)))
        assert value[i] <= values.min() + 1e-9
    assert len(np.unique(gamma.round(6))) == 3


def test_no_random_part_is_no_search() -> None:
    """Without components the criterion is evaluated once, alone or in a batch."""
    model = build("acc_pct ~ student * method", study(np.random.default_rng(0)))
    problem = profiled(model, "REML")
    data = problem.data(np.stack([model.y, model.y * 2]))
    gamma, value = minimise_all(problem, data)
    assert gamma.shape == (2, 0)
    assert value[0] == minimise(problem, data.take(slice(0, 1))).value
    assert fit(model).optimum.converged


def stay(where: Floats) -> object:
    """A search that ends where it is told, whatever the criterion."""
    return lambda problem, data, start: np.tile(where, (len(start), 1))  # noqa: ARG005 - Newton's signature


WRONG = {
    "short of the minimum": 0.9,
    "a thousandth beside it": 1.001,
    "far out": 1e3,
}


@pytest.mark.parametrize("factor", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("name", ["strata", "crossed", "gated", "split"])
def test_a_point_beside_the_minimum_is_called_what_it_is(
    models: dict[str, Model], monkeypatch: pytest.MonkeyPatch, name: str, factor: float
) -> None:
    """The report is computed from the criterion, not from the search: handed another point, it says so."""
    right = fit(models[name]).optimum
    monkeypatch.setattr(optimise, "_newton", stay(right.gamma * factor))
    problem = profiled(models[name], "REML")
    wrong = minimise(problem, problem.data(models[name].y[None]))
    assert not wrong.converged
    assert "NOT a minimum to tolerance" in wrong.told
    with pytest.raises(ModelError, match=r"no minimum of the criterion was found .*NOT a minimum"):
        fit(models[name])


def test_a_boundary_that_is_no_minimum_is_called_so(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero, where an optimiser over standard deviations may stay, has a falling slope if the variance is there."""
    monkeypatch.setattr(optimise, "_newton", stay(np.zeros(1)))
    with pytest.raises(ModelError, match="NOT a minimum"):
        fit(models["strata"])


def test_a_maximum_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two minima the slope is zero too; the curvature gives it away."""
    ratios, values = brute_force.scan(TWO_MINIMA, TWO_MINIMA_DATA)
    low, high = brute_force.local_minima(values)
    lower, upper = ratios[low], ratios[high]
    for _ in range(200):
        inner = np.linspace(lower, upper, 4)[1:3]
        slopes = [TWO_MINIMA.evaluate(np.array([[g]]), TWO_MINIMA_DATA).gradient[0, 0] for g in inner]
        lower, upper = (inner[0] if slopes[0] > 0 else lower), (inner[1] if slopes[1] < 0 else upper)
    monkeypatch.setattr(optimise, "_newton", stay(np.array([(lower + upper) / 2])))
    top = minimise(TWO_MINIMA, TWO_MINIMA_DATA)
    assert top.slope < 1e-5
    assert top.curvature < 0
    assert not top.converged


def test_each_condition_alone_can_fail(models: dict[str, Model]) -> None:
    """Slope, curvature and boundary each decide."""
    optimum = fit(models["crossed"]).optimum
    assert optimum.converged
    assert "first and second order conditions hold" in optimum.told
    for change in ({"slope": 1e-4}, {"curvature": -1e-3}, {"boundary_slope": -1e-3}):
        assert not replace(optimum, **change).converged


@pytest.mark.parametrize("kind", ["REML", "ML"])
def test_simulated_tables_all_converge(kind: Criterion) -> None:
    """Thirty gated and crossed tables, a third of them without one effect or both: each fit passes its own checks."""
    generator = np.random.default_rng(10)
    singular = 0
    for _ in range(5):
        for sds in ((0.0, 0.0), (0.2, 0.0), (0.2, 0.3)):
            for model in (
                build(GATED, gated(generator, sds=sds)),
                build(CROSSED, crossed(generator, sds=sds)),
            ):
                singular += bool(fit(model, kind).singular)
    assert 5 <= singular <= 25
