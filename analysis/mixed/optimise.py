"""The minimum of the profiled criterion: a grid, then Newton's method with the boundary, from several starts.

The criterion may have several minima and often has its lowest point on the boundary (a variance of zero). So: every
response is first evaluated on a grid over all ratios, zero included; Newton's method with the exact Hessian then goes
on from every local minimum of the grid and from its best points. At the boundary the criterion's slope with respect
to the *variance* decides (its slope with respect to the standard deviation is zero there by symmetry, where an
optimiser started at zero stays).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from analysis.mixed.criterion import Data, Profiled
from analysis.mixed.model import Floats

BEST, MOST_STARTS = 3, 12  # starts from the grid's best points whatever lies beside them, and starts in all
SINGULAR_SD_RATIO = 1e-4  # lme4's isSingular: a standard deviation below 1e-4 error standard deviations is zero
_POINTS = {1: 25, 2: 9, 3: 7, 4: 4}  # grid points a component: at most a few hundred in all
_LOWEST, _HIGHEST = 1e-3, 1e5  # of the grid, in variance ratios of strata
_NEWTON_STEPS = 100
_DECREMENT = 1e-8  # expected decrease of -2 log likelihood below which full steps are taken without a search
_FULL_STEPS = 3
_SETTLED = 1e-18  # the same, below which a step is the last: what it leaves is its square, below rounding
_SAME = 1e-6  # minima whose criteria differ by less are one


@dataclass(frozen=True)
class Optimum:
    """What was found, and how it was checked.

    Attributes:
        gamma: (K,) variance ratios; exactly 0 on the boundary.
        value: The criterion there, without its constant.
        slope: Largest slope of -2 log likelihood per unit of log variance ratio, over components off the boundary.
        curvature: Smallest eigenvalue of the Hessian over log ratios off the boundary; positive at a minimum; infinite
            if no component is off the boundary.
        boundary_slope: Smallest slope with respect to the (scaled) variance ratio at components on the
            boundary; positive where the boundary is right; infinite if none is there.
        starts: Starting points: the grid's local minima and its best points.
        agreeing: Starts that ended at this minimum.
        other_minima: Criteria of further minima, relative to this one.
        grid_points: Points of the grid.
    """

    gamma: Floats
    value: float
    slope: float
    curvature: float
    boundary_slope: float
    starts: int
    agreeing: int
    other_minima: tuple[float, ...]
    grid_points: int

    @property
    def converged(self) -> bool:
        """Whether the first and second order conditions of a minimum hold."""
        return self.slope < 1e-5 and self.curvature > 0 and self.boundary_slope > -1e-8  # noqa: PLR2004 - in units of -2 log likelihood

    @property
    def told(self) -> str:
        """What was done, in words."""
        others = (
            f"; {len(self.other_minima)} other minima, {min(self.other_minima):.3g} higher" if self.other_minima else ""
        )
        state = "first and second order conditions hold" if self.converged else "NOT a minimum to tolerance"
        return (
            f"grid of {self.grid_points}, Newton from {self.starts} starts: {self.agreeing} end at this minimum"
            f"{others}; {state} (slope {self.slope:.1e})"
        )


def minimise(problem: Profiled, data: Data) -> Optimum:
    """The minimum for one response, from several starts."""
    components = len(problem.scale)
    if components == 0:
        value = float(problem.evaluate(np.empty((1, 0)), data).value[0])
        return Optimum(np.empty(0), value, 0.0, np.inf, np.inf, 0, 0, (), 0)
    grid = _grid(problem)
    first = problem.values(grid, data)[0]
    best = _starts(first, components)
    copies = Data(np.repeat(data.h, len(best), axis=0), np.repeat(data.s, len(best)))
    ends = _newton(problem, copies, grid[best])
    reached = problem.value(ends, copies)
    lowest = int(np.argmin(reached))
    above = np.sort(reached - reached[lowest])
    others = tuple(float(one) for one, before in zip(above[1:], above[:-1], strict=True) if one - before > _SAME)
    found = ends[lowest]
    at = problem.evaluate(found[None, :], data)
    free = found > 0
    scaled = at.gradient[0] * np.where(free, found, 1 / problem.scale)
    curvature = np.inf
    if free.any():
        in_logs = at.hessian[0][np.ix_(free, free)] * np.outer(found[free], found[free]) + np.diag(scaled[free])
        curvature = float(np.linalg.eigvalsh(in_logs)[0])
    return Optimum(
        found, float(reached[lowest]), float(np.abs(scaled[free]).max(initial=0.0)), curvature,
        float(scaled[~free].min(initial=np.inf)), len(best), int((above <= _SAME).sum()), others, len(grid),
    )  # fmt: skip


def _starts(values: Floats, components: int) -> NDArray[np.intp]:
    """Grid points to start from, best first: every one that no neighbour along an axis undercuts, and the best few.

    Args:
        values: The criterion at the grid's points.
        components: Axes of the grid.
    """
    axes = values.reshape([round(len(values) ** (1 / components))] * components)
    bottom = np.ones(axes.shape, dtype=bool)
    for axis in range(components):
        falls = np.diff(axes, axis=axis) < 0
        before = [slice(None)] * components
        after = [slice(None)] * components
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        bottom[tuple(before)] &= ~falls
        bottom[tuple(after)] &= falls | (axes[tuple(after)] == axes[tuple(before)])
    order = np.argsort(values, kind="stable")
    chosen = bottom.ravel()[order]
    chosen[:BEST] = True
    return np.asarray(order[chosen][:MOST_STARTS])


def minimise_all(problem: Profiled, data: Data, *, starts: int = 1) -> tuple[Floats, Floats]:
    """Variance ratios (B, K) and criteria (B,) of many responses.

    Args:
        problem: The design.
        data: Responses.
        starts: Newton runs a response, from its best grid points.
    """
    components = len(problem.scale)
    if components == 0:
        empty = np.empty((len(data.s), 0))
        return empty, problem.evaluate(empty, data).value
    grid = _grid(problem)
    first = problem.values(grid, data)
    order = np.argpartition(first, min(starts, first.shape[1]) - 1, axis=1)[:, :starts]
    gamma, value = np.empty((len(data.s), components)), np.full(len(data.s), np.inf)
    for start in range(starts):
        ended = _newton(problem, data, grid[order[:, start]])
        reached = problem.value(ended, data)
        better = reached < value
        gamma[better], value[better] = ended[better], reached[better]
    return gamma, value


def _grid(problem: Profiled) -> Floats:
    axis = _axis(_POINTS.get(len(problem.scale), 3))
    if len(problem.scale) == 1:
        return np.asarray(axis[:, None] / problem.scale)
    mesh = np.meshgrid(*[axis / scale for scale in problem.scale], indexing="ij")
    return np.stack([part.ravel() for part in mesh], axis=1)


@cache
def _axis(points: int) -> Floats:
    if points == 3:  # noqa: PLR2004 - five components and more
        return np.array([0.0, 0.1, 10.0])
    return np.concatenate([[0.0], np.geomspace(_LOWEST, _HIGHEST, points - 1)])


def _newton(problem: Profiled, data: Data, start: Floats) -> Floats:
    """Projected Newton (Bertsekas, SIAM J Control Optim 20, 1982, 221-246) with backtracking, for all responses."""
    gamma = start.copy()
    polished = np.zeros(len(gamma), dtype=int)
    working = np.arange(len(gamma))
    for _ in range(_NEWTON_STEPS):
        here, at = (data, gamma.copy()) if len(working) == len(gamma) else (data.take(working), gamma[working])
        found = problem.evaluate(at, here)
        step, decrement = _direction(at, found.gradient, found.hessian, problem.scale)
        near = decrement < _DECREMENT
        polished[working[near]] += 1
        at[near] = np.maximum(at[near] + step[near], 0.0)
        far = np.flatnonzero(~near)
        if len(far):
            at[far] = _search(problem, here.take(far), at[far], step[far], found.value[far], found.gradient[far])
        at[at * problem.scale < SINGULAR_SD_RATIO**2 * 1e-2] = 0.0
        gamma[working] = at
        working = working[(polished[working] < _FULL_STEPS) & (decrement > _SETTLED)]
        if not len(working):
            break
    singular = gamma < SINGULAR_SD_RATIO**2
    gamma[singular] = 0.0
    return gamma


def _direction(at: Floats, gradient: Floats, hessian: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Newton steps over the components off the boundary, and the expected decreases.

    In units where every component is of order 1; negative curvature is turned around, so that each step descends.
    """
    unit = np.maximum(at, 1e-3 / scale)
    held = (at <= 0) & (gradient >= 0)
    slope = np.where(held, 0.0, gradient * unit)
    if at.shape[1] == 1:
        move = -slope / np.maximum(np.abs(hessian[:, 0] * unit * unit), 1e-10)
        return move * unit, np.abs(slope * move)[:, 0]
    curved = hessian * unit[:, :, None] * unit[:, None, :]
    curved = np.where(held[:, :, None] | held[:, None, :], np.eye(at.shape[1]), curved)
    values, vectors = np.linalg.eigh(curved)
    rotated = np.einsum("bij,bi->bj", vectors, slope)
    move = -np.einsum("bij,bj->bi", vectors, rotated / np.maximum(np.abs(values), 1e-10))
    move = np.where(held, 0.0, move)
    return move * unit, np.abs((slope * move).sum(axis=1))


def _search(problem: Profiled, data: Data, at: Floats, step: Floats, value: Floats, gradient: Floats) -> Floats:
    """Backtrack along the projected path until the criterion falls by a ten-thousandth of what was expected."""
    best = at.copy()
    # a variance ratio does not grow more than a hundredfold at once
    most = 100 * np.maximum(at, 1 / problem.scale)
    open_: NDArray[np.intp] = np.arange(len(at))
    for halvings in range(40):
        trial = np.minimum(np.maximum(at + 0.5**halvings * step, 0.0), most)
        expected = (gradient * (trial - at)).sum(axis=1)
        good = problem.value(trial, data) <= value + 1e-4 * np.minimum(expected, 0.0)
        best[open_[good]] = trial[good]
        left = np.flatnonzero(~good)
        if not len(left):
            break
        open_, data, most = open_[left], data.take(left), most[left]
        at, step, value, gradient = at[left], step[left], value[left], gradient[left]
    return best
