"""Design of a model with one free mean per cell and one random intercept per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Response and design of one model.

    Attributes:
        y: Accuracies in percent, one per run.
        cells: Names of the columns of `x`.
        x: Cell indicators, runs by cells.
        z: Group indicators, runs by groups.
    """

    y: Floats
    cells: tuple[str, ...]
    x: Floats
    z: Floats

    def group_means(self, columns: Floats) -> Floats:
        """`columns` (a vector or a matrix with a row per run), each entry replaced by its group's mean."""
        return np.asarray(self.z @ (self.z.T @ columns / self.sizes.reshape(-1, *[1] * (columns.ndim - 1))))

    @cached_property
    def sizes(self) -> Floats:
        """Runs in each group."""
        return np.asarray(self.z.sum(axis=0))

    @cached_property
    def averaged(self) -> Floats:
        """`x` with each row replaced by its group's mean row."""
        return self.group_means(self.x)

    @cached_property
    def df_between(self) -> int:
        """Degrees of freedom of the residual between groups."""
        return len(self.sizes) - rank(self.averaged)

    @cached_property
    def df_within(self) -> int:
        """Degrees of freedom of the residual within groups."""
        return len(self.y) - rank(np.hstack([self.x, self.z]))

    @cached_property
    def balanced(self) -> bool:
        """Whether the strata are orthogonal, so that the closed form is the REML solution."""
        sizes = self.z.sum(axis=0)
        return bool(np.all(sizes == sizes[0]) and rank(np.hstack([self.x, self.averaged])) == self.x.shape[1])

    @cached_property
    def raw_means(self) -> Floats:
        """Plain mean of each cell: the least-squares fit, in percent."""
        return np.asarray(self.x.T @ self.y / self.x.sum(axis=0))

    @cached_property
    def residual(self) -> Floats:
        """`y` less its least-squares fit: criteria formed from it keep the digits that 95% would eat."""
        return np.asarray(self.y - self.x @ self.raw_means)


def make_design(y: Floats, cells: Sequence[str], groups: Sequence[str]) -> Design:
    """Design of a model from one label per run for its cell and its group; columns in sorted order."""
    names, cell = np.unique(np.asarray(cells, dtype=str), return_inverse=True)
    seeds, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    x, z = np.eye(len(names))[cell], np.eye(len(seeds))[group]
    return Design(np.asarray(y, dtype=float), tuple(str(name) for name in names), x, z)


def rank(matrix: Floats) -> int:
    """Rank of a matrix of indicators and their averages, whose singular values are 0 or far from it."""
    return int(np.linalg.matrix_rank(matrix, tol=1e-8))
