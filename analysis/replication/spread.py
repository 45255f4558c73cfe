"""How far runs of one cell scatter, and what the cells of one student share: the noise of cell means.

Model, for run r of cell c, student s and seed k (accuracies in percent):

    y = mean[c] + u[s, k] + e[r],    u ~ N(0, tau2),  e ~ N(0, sigma2)

Cells of one student that share a seed share u, so their means are correlated. Functions take runs or cells on
the last axis and any axes before it, so that simulations run the very code that judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Which runs belong together.

    Attributes:
        cell: Index of each run's cell, 0 to cells - 1, every cell present.
        group: Label of each run's student and seed; runs that share it share a seed effect.
    """

    cell: NDArray[np.intp]
    group: NDArray[np.intp]

    @property
    def averaging(self) -> Floats:
        """Runs x cells: `y @ averaging` are the cell means."""
        indicator = np.eye(int(self.cell.max()) + 1)[self.cell]
        return np.asarray(indicator / indicator.sum(axis=0))

    @property
    def membership(self) -> Floats:
        """Runs x groups, ones and zeros."""
        index = self._index
        return np.asarray(np.eye(int(index.max()) + 1)[index])

    @property
    def _index(self) -> NDArray[np.intp]:
        """Each run's group, numbered from 0."""
        return np.unique(self.group, return_inverse=True)[1]

    @property
    def counts(self) -> Floats:
        """Cells x groups: how many runs of a cell are of a group."""
        index = self._index
        counts = np.zeros((int(self.cell.max()) + 1, int(index.max()) + 1))
        np.add.at(counts, (self.cell, index), 1.0)
        return counts

    def group_sums(self, values: Floats) -> Floats:
        """Sums over each group of values with runs on the last axis."""
        index = self._index
        runs = np.arange(index.size)
        summing = sparse.csr_array((np.ones(index.size), (index, runs)))  # dense, it is gigabytes for 100,000 runs
        flat = values.reshape(-1, index.size)
        return np.asarray((summing @ flat.T).T.reshape(*values.shape[:-1], -1))


@dataclass(frozen=True)
class Weights:
    """What the covariance of cell means, or of differences between them, is made of.

    covariance = sigma2 * diag(noise) + tau2 * seed; weights of independent studies add up.
    """

    noise: Floats
    seed: Floats

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.noise + other.noise, self.seed + other.seed)

    def take(self, cells: NDArray[np.intp]) -> Weights:
        """Those of some cells, in the order given."""
        return Weights(self.noise[cells], self.seed[np.ix_(cells, cells)])

    def of(self, combinations: Floats) -> tuple[Floats, Floats]:
        """Weights of sigma2 and of tau2 in the variance of each combination of cell means (combinations x cells)."""
        noise = combinations**2 @ self.noise
        return np.asarray(noise), np.einsum("mc,cd,md->m", combinations, self.seed, combinations)


@dataclass(frozen=True)
class Spread:
    """Mean squares of the seed groups and within them, pp squared (arrays over leading axes).

    E[ms_within] = sigma2 and E[ms_group] = sigma2 + runs_per_group * tau2.
    """

    ms_within: Floats
    ms_group: Floats
    df_within: int
    df_group: int
    runs_per_group: float

    @property
    def _separable(self) -> Floats:
        """1.0 where a seed effect stands out (tau2 > 0), else 0.0, where both mean squares are pooled."""
        return np.asarray((self.df_within > 0) & (self.ms_group > self.ms_within), dtype=float)

    @property
    def _pooled(self) -> Floats:
        total = self.df_within * self.ms_within + self.df_group * self.ms_group
        return np.asarray(total / (self.df_within + self.df_group))

    @property
    def tau2(self) -> Floats:
        """Variance of the seed effect that a student's cells share; 0 where it does not stand out."""
        return np.asarray(self._separable * (self.ms_group - self.ms_within) / self.runs_per_group)

    @property
    def sigma2(self) -> Floats:
        """Variance of a run around its cell mean and seed effect."""
        return np.asarray(np.where(self._separable > 0, self.ms_within, self._pooled))

    @property
    def icc(self) -> Floats:
        """Share of a run's variance that the cells of one student and seed have in common."""
        return np.asarray(self.tau2 / (self.tau2 + self.sigma2))

    def standard_error(self, noise: Floats, seed: Floats, known: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """Standard error, pp, and degrees of freedom of combinations with these weights.

        Degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 1946, eq. 17) on the two mean squares.

        Args:
            noise: Weight of sigma2, one a combination (last axis).
            seed: Weight of tau2.
            known: A variance in pp squared that is assumed, not estimated; it costs no degrees of freedom.
        """
        from_group = self._separable[..., None] * seed / self.runs_per_group
        from_within = noise - from_group
        ms_within = self.sigma2[..., None]
        df_within = np.where(self._separable > 0, self.df_within, self.df_within + self.df_group)[..., None]
        parts = from_within * ms_within, from_group * self.ms_group[..., None]
        variance = parts[0] + parts[1] + known
        df = variance**2 / (parts[0] ** 2 / df_within + parts[1] ** 2 / self.df_group)
        return np.sqrt(variance), df


def cell_means(y_pct: Floats, layout: Layout) -> Floats:
    """Mean of each cell, percent, in order of the cells' indices."""
    return np.asarray(y_pct @ layout.averaging)


def weights(layout: Layout) -> Weights:
    """What the cell means of one study owe to each variance; cells need not have the same seeds."""
    counts = layout.counts
    size = counts.sum(axis=1)
    shared = counts / size[:, None]
    return Weights(noise=1 / size, seed=shared @ shared.T)


def spread(y_pct: Floats, layout: Layout) -> Spread:
    """The two mean squares, by Henderson's method 3 (Biometrics 9, 1953, 226-252).

    They are the sum of squares that seed groups explain beyond free cell means, and what is then left. In a
    balanced table these are the strata of the split-plot analysis, and the variances derived from them are
    those of REML, also where REML puts tau2 at 0. Each teacher has its own cell mean: its effect is no noise.

    Args:
        y_pct: Accuracies in percent, runs on the last axis.
        layout: The runs' cells and groups.

    Raises:
        ValueError: Each cell has one run only, so that nothing says how far runs scatter.
    """
    # With N the counts, C and D the sizes of cells and groups: groups given cells have the cross products
    # G = D - N' C^-1 N, whose rank is their number less that of the parts that share no cell, and a residual's sums r
    # over groups have r' G^+ r = r' D^-1 r + b' (C - N D^-1 N')^+ b, b = N D^-1 r: no matrix has runs on both sides.
    counts = layout.counts
    of_cell, of_group = counts.sum(axis=1), counts.sum(axis=0)
    linked = sparse.block_array([[None, sparse.csr_array(counts)], [sparse.csr_array(counts.T), None]])
    df_group = of_group.size - int(csgraph.connected_components(linked, directed=False)[0])
    df_within = int(layout.cell.size - of_cell.size - df_group)
    if df_group == 0:
        raise ValueError("every cell has one run only: there is no spread to estimate")
    residual = y_pct - cell_means(y_pct, layout)[..., layout.cell]
    r = layout.group_sums(residual)
    b = (r / of_group) @ counts.T
    between_cells = np.linalg.pinv(np.diag(of_cell) - counts / of_group @ counts.T, rcond=1e-9, hermitian=True)
    ss_group = (r**2 / of_group).sum(axis=-1) + np.einsum("...c,cd,...d->...", b, between_cells, b)
    ss_within = np.maximum((residual**2).sum(axis=-1) - ss_group, 0.0)
    return Spread(
        ms_within=np.asarray(ss_within / max(df_within, 1)),
        ms_group=np.asarray(ss_group / df_group),
        df_within=df_within,
        df_group=df_group,
        runs_per_group=float((of_group.sum() - (counts**2 / of_cell[:, None]).sum()) / df_group),
    )
