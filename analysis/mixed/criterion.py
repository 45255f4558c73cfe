"""The profiled criterion of a mixed model, its gradient and curvature, for many responses at once.

With gamma the variance ratios, V = I + sum_k gamma_k Z_k Z_k' and Q = r' V^-1 r the weighted residual sum of
squares at the best fixed part, -2 log likelihood profiled over fixed part and error variance is

    REML:  log|V| + log|X' V^-1 X| + nu log Q + const,   nu = n - p
    ML:    log|V|                  + nu log Q + const,   nu = n

(Harville, JASA 72, 1977, 320-338). Neither needs n-by-n matrices. Let M project onto what X leaves (so that
the least-squares fit, 95% here, never enters a sum of squares), M Z = U R with U orthonormal, G_k = R_k R_k'. Then,
with h = U' y and s = |M y|^2 - |h|^2 the part of y that no random effect reaches,

    Q = s + h' W^-1 h,    log|V| + log|X' V^-1 X| = log|W| + log|X' X|,    W = I + sum_k gamma_k G_k

W is small (as many rows as Z has rank), a sum of positive parts, and linear in gamma: gradient and Hessian are
traces. ML's log|V| is the same with Z in place of M Z. Where all G_k commute (one component, or a balanced
design) a rotation makes W diagonal, and equal diagonal entries collapse into one: the strata of an analysis of
variance. Where they commute in a part of the space only (checkpoints and seeds crossed: what seeds differ by knows
nothing of checkpoints), that part has strata, and W proper is as small as the rest, however many seeds there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import ModelError, UnidentifiedError
from analysis.mixed.model import Floats, Model
from analysis.mixed.space import RANK, squares

Criterion = Literal["REML", "ML"]

_AT_ONCE = 1000  # responses that are reduced at once: each takes as much memory as there are runs, several times over
_COMMUTE = 1e-9  # entries off the diagonal this small, relative to the matrix, are rounding
_IDENTIFIED = 1e-8  # smallest eigenvalue of the components' correlation matrix that still tells them apart


@dataclass(frozen=True)
class Values:
    """The criterion at some gammas, one a response (B), for K components.

    Attributes:
        value: (B,) profiled criterion.
        gradient: (B, K) with respect to gamma.
        hessian: (B, K, K).
    """

    value: Floats
    gradient: Floats
    hessian: Floats

    def __add__(self, other: Values) -> Values:
        return Values(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)


@dataclass(frozen=True)
class Strata:
    """W in the basis where it is diagonal: entries 1 + gamma' e, each `count` times.

    Attributes:
        e: (K, m) distinct eigenvalues of the G_k, taken together.
        count: (m,) multiplicities.
    """

    e: Floats
    count: Floats

    def at(self, gamma: Floats) -> StrataAt:
        """W at gamma (B, K)."""
        return StrataAt(self, 1 + gamma @ self.e)


@dataclass(frozen=True)
class StrataAt:
    """A diagonal W at B gammas; forms take h2 (B, m), the squares of h summed over each stratum.

    Attributes:
        strata: The entries as functions of gamma.
        w: (B, m) the distinct entries.
    """

    strata: Strata
    w: Floats

    @cached_property
    def _over(self) -> Floats:
        return np.asarray(self.strata.e / self.w[:, None, :])

    @cached_property
    def log(self) -> Floats:
        """(B,) log|W|."""
        return np.asarray(np.log(self.w) @ self.strata.count)

    def form(self, h2: Floats) -> Floats:
        """(B,) h' W^-1 h."""
        return np.asarray((h2 / self.w).sum(axis=1))

    def forms(self, h2: Floats) -> Floats:
        """(D, B) the same of D responses, each at every gamma."""
        return np.asarray(h2 @ (1 / self.w).T)

    def log_determinant(self, *, curved: bool = True) -> Values:
        """log|W| and its derivatives."""
        weighted = self._over * self.strata.count
        hessian = -(weighted @ self._over.swapaxes(1, 2)) if curved else np.empty(0)
        return Values(self.log, weighted.sum(axis=2), hessian)

    def quadratic(self, h2: Floats, *, curved: bool = True) -> Values:
        """The form h' W^-1 h and its derivatives."""
        weighted = self._over * (h2 / self.w)[:, None, :]
        hessian = 2 * (weighted @ self._over.swapaxes(1, 2)) if curved else np.empty(0)
        return Values(self.form(h2), -weighted.sum(axis=2), hessian)


@dataclass(frozen=True)
class Crossed:
    """W where the G_k do not commute.

    Attributes:
        g: (K, r, r) the G_k.
    """

    g: Floats

    def at(self, gamma: Floats) -> CrossedAt:
        """W at gamma (B, K)."""
        size = self.g.shape[1]
        w = gamma @ self.g.reshape(len(self.g), size * size)
        return CrossedAt(self.g, np.eye(size) + w.reshape(len(gamma), size, size))


@dataclass(frozen=True)
class CrossedAt:
    """W at B gammas; what derivatives need is made once.

    Attributes:
        g: (K, r, r) the G_k.
        w: (B, r, r).
    """

    g: Floats
    w: Floats

    @cached_property
    def log(self) -> Floats:
        """(B,) log|W|."""
        lower = np.linalg.cholesky(self.w)
        return np.asarray(2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1))

    @cached_property
    def inverse(self) -> Floats:
        """(B, r, r) W^-1."""
        return np.asarray(np.linalg.inv(self.w))

    def form(self, h: Floats) -> Floats:
        """(B,) h' W^-1 h for h (B, r)."""
        return np.asarray((h * np.linalg.solve(self.w, h[:, :, None])[:, :, 0]).sum(axis=1))

    def forms(self, h: Floats) -> Floats:
        """(D, B) the same of D responses, each at every gamma."""
        return np.stack([((h @ inverse) * h).sum(axis=1) for inverse in self.inverse], axis=1)

    def log_determinant(self, *, curved: bool = True) -> Values:
        """log|W| and its derivatives."""
        products = self.inverse[:, None] @ self.g
        gradient = np.trace(products, axis1=2, axis2=3)
        if not curved:
            return Values(self.log, gradient, np.empty(0))
        # tr(A_k A_l): rows of A_k against columns of A_l
        shape = (*gradient.shape, self.g[0].size)
        rows, columns = products.reshape(shape), products.swapaxes(2, 3).reshape(shape)
        return Values(self.log, gradient, -(rows @ columns.swapaxes(1, 2)))

    def quadratic(self, h: Floats, *, curved: bool = True) -> Values:
        """The form h' W^-1 h and its derivatives, for h (B, r)."""
        a = (self.inverse @ h[:, :, None])[:, :, 0]
        ga = (a @ self.g).swapaxes(0, 1)
        hessian = 2 * (ga @ self.inverse @ ga.swapaxes(1, 2)) if curved else np.empty(0)
        return Values((h * a).sum(axis=1), -(ga @ a[:, :, None])[:, :, 0], hessian)


@dataclass(frozen=True)
class Split:
    """W in two blocks: where the G_k do not commute, and the strata where they do."""

    crossed: Crossed
    strata: Strata

    def at(self, gamma: Floats) -> SplitAt:
        """W at gamma (B, K)."""
        return SplitAt(self.crossed.at(gamma), self.strata.at(gamma))


@dataclass(frozen=True)
class SplitAt:
    """W in two blocks at B gammas; forms take h (B, r + m): r values for the first block, m squares for the strata."""

    crossed: CrossedAt
    strata: StrataAt

    def _of(self, h: Floats) -> tuple[Floats, Floats]:
        size = self.crossed.g.shape[1]
        return h[:, :size], h[:, size:]

    @cached_property
    def log(self) -> Floats:
        """(B,) log|W|."""
        return np.asarray(self.crossed.log + self.strata.log)

    def form(self, h: Floats) -> Floats:
        """(B,) h' W^-1 h."""
        crossed, strata = self._of(h)
        return np.asarray(self.crossed.form(crossed) + self.strata.form(strata))

    def forms(self, h: Floats) -> Floats:
        """(D, B) the same of D responses, each at every gamma."""
        crossed, strata = self._of(h)
        return np.asarray(self.crossed.forms(crossed) + self.strata.forms(strata))

    def log_determinant(self, *, curved: bool = True) -> Values:
        """log|W| and its derivatives."""
        return self.crossed.log_determinant(curved=curved) + self.strata.log_determinant(curved=curved)

    def quadratic(self, h: Floats, *, curved: bool = True) -> Values:
        """The form h' W^-1 h and its derivatives."""
        crossed, strata = self._of(h)
        return self.crossed.quadratic(crossed, curved=curved) + self.strata.quadratic(strata, curved=curved)


Part = Strata | Crossed | Split
PartAt = StrataAt | CrossedAt | SplitAt


@dataclass(frozen=True)
class Data:
    """What the criterion needs of B responses: `h` (B, m) in the criterion's own basis, and the rest `s` (B,)."""

    h: Floats
    s: Floats

    def take(self, index: NDArray[np.intp] | slice) -> Data:
        """Those of some responses."""
        return Data(self.h[index], self.s[index])


@dataclass(frozen=True)
class Profiled:
    """The criterion of one design, ready for any responses.

    Attributes:
        kind: REML or ML.
        nu: Denominator of the error variance.
        residual_part: W of the residual sum of squares.
        determinant_part: W of the determinant (the same for REML).
        basis: (n, r) U, rotated so that `residual_part` is diagonal where it can be, with the other directions first.
        stratum: Stratum of each direction where it is diagonal, the last ones of `basis`.
        x_basis: (n, p) orthonormal basis of the fixed part.
        constant: What the criterion adds to `value` to be -2 log likelihood.
        scale: (K,) typical size of each G_k: gamma_k * scale_k is a variance ratio of strata.
    """

    kind: Criterion
    nu: int
    residual_part: Part
    determinant_part: Part
    basis: Floats
    stratum: NDArray[np.intp]
    x_basis: Floats
    constant: float
    scale: Floats

    @property
    def stratified(self) -> bool:
        """Whether the criterion is a sum over strata: then a response costs next to nothing."""
        return isinstance(self.residual_part, Strata) and isinstance(self.determinant_part, Strata)

    def data(self, y: Floats) -> Data:
        """Reduce responses (B, n)."""
        parts = [self._data(y[first : first + _AT_ONCE]) for first in range(0, len(y), _AT_ONCE)]
        return Data(np.concatenate([part.h for part in parts]), np.concatenate([part.s for part in parts]))

    def _data(self, y: Floats) -> Data:
        rest = y - (y @ self.x_basis) @ self.x_basis.T
        rest -= (rest @ self.x_basis) @ self.x_basis.T
        h = rest @ self.basis
        outside = rest - h @ self.basis.T
        if len(self.stratum):
            crossed = h.shape[1] - len(self.stratum)
            sums = h[:, crossed:] ** 2 @ np.eye(self.stratum.max() + 1)[self.stratum]
            h = np.hstack([h[:, :crossed], sums])
        return Data(h, (outside**2).sum(axis=1))

    def evaluate(self, gamma: Floats, data: Data) -> Values:
        """The criterion at gamma (B, K), without its constant."""
        at, other = self._at(gamma)
        logs, part = other.log_determinant(), at.quadratic(data.h)
        q = part.value + data.s
        slope = part.gradient / q[:, None]
        hessian = part.hessian / q[:, None, None] - slope[:, :, None] * slope[:, None, :]
        return Values(
            logs.value + self.nu * np.log(q), logs.gradient + self.nu * slope, logs.hessian + self.nu * hessian
        )

    def value(self, gamma: Floats, data: Data) -> Floats:
        """(B,) `evaluate` without derivatives."""
        at, other = self._at(gamma)
        return np.asarray(other.log + self.nu * np.log(at.form(data.h) + data.s))

    def values(self, gamma: Floats, data: Data) -> Floats:
        """The criterion of every response (B) at every gamma (G, K): (B, G), for a first look."""
        at, other = self._at(gamma)
        return np.asarray(other.log + self.nu * np.log(at.forms(data.h) + data.s[:, None]))

    def _at(self, gamma: Floats) -> tuple[PartAt, PartAt]:
        """W of the residual sum of squares and of the determinant; under REML they are one, computed once."""
        at = self.residual_part.at(gamma)
        return at, at if self.determinant_part is self.residual_part else self.determinant_part.at(gamma)

    def error_variance(self, gamma: Floats, data: Data) -> Floats:
        """sigma^2 at gamma (B, K): Q / nu."""
        return np.asarray((self.residual_part.at(gamma).form(data.h) + data.s) / self.nu)


def profiled(model: Model, kind: Criterion) -> Profiled:
    """Prepare the criterion of a model's design.

    Raises:
        ModelError: No run is left to tell the error by.
        UnidentifiedError: The runs cannot tell a component from the fixed part, the error, or other components.
    """
    x = model.x
    n, p = x.shape
    if n <= p:
        raise ModelError(f"{model.formula!r}: {n} runs cannot tell {p} means and an error apart; train more seeds.")
    x_basis, triangle = np.linalg.qr(x)
    space = model.space
    # Of the space's basis U, M U has the Gram matrix I - A A' with A = U' X: 1 - s^2 along A's left singular vectors
    left, cosines, _ = np.linalg.svd(space.basis.T @ x_basis, full_matrices=True)
    outside = np.ones(len(left))
    outside[: len(cosines)] -= cosines**2
    kept = outside > RANK
    left, length = left[:, kept], np.sqrt(outside[kept])
    g = squares([length[:, None] * (left.T @ one) for one in space.inside], len(length))
    _refuse_unidentified(model, g, n - p)
    residual_part, rotation, stratum = _part(g)
    basis = (space.basis - x_basis @ (x_basis.T @ space.basis)) @ ((left / length) @ rotation)
    nu, determinant_part = n - p, residual_part
    constant = 2 * float(np.log(np.abs(np.diag(triangle))).sum())
    if kind == "ML":
        nu, constant = n, 0.0
        determinant_part = _part(space.g)[0]
    constant += nu * (1 + math.log(2 * math.pi / nu))
    tolerances = [RANK * max(1.0, float(np.trace(one))) for one in g]
    ranks = [int(np.linalg.matrix_rank(one, tol=tol, hermitian=True)) for one, tol in zip(g, tolerances, strict=True)]
    scale = np.array([float(np.trace(one)) / max(rank, 1) for one, rank in zip(g, ranks, strict=True)])
    return Profiled(kind, nu, residual_part, determinant_part, basis, stratum, x_basis, constant, scale)


def _part(g: Floats) -> tuple[Part, Floats, NDArray[np.intp]]:
    """The G_k as strata where they commute, the rotation into that basis, and the stratum of each of its last axes."""
    size = g.shape[1]
    # a combination with weights that no symmetry of a design can cancel
    weights = np.sqrt(np.arange(2, len(g) + 2))
    _, rotation = np.linalg.eigh(np.einsum("k,kij->ij", weights, g)) if len(g) else (None, np.eye(size))
    rotated = rotation.T @ g @ rotation if len(g) else g
    diagonal = np.diagonal(rotated, axis1=1, axis2=2) if len(g) else np.empty((0, size))
    off = np.abs(rotated - np.eye(size) * diagonal[:, None, :]).max(axis=(0, 1), initial=0.0)
    largest = float(np.abs(diagonal).max(initial=1.0))
    mixed = off > _COMMUTE * largest
    crossed = Crossed(rotated[:, mixed][:, :, mixed])
    if mixed.all() and size:
        return crossed, rotation, np.empty(0, dtype=np.intp)
    diagonal = diagonal[:, ~mixed]
    decimals = 9 - math.ceil(math.log10(largest))
    distinct, stratum, count = np.unique(diagonal.round(decimals), axis=1, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(stratum.ravel(), row) for row in diagonal]) / count if len(g) else distinct
    strata = Strata(np.maximum(mean, 0.0), count.astype(float))
    order = np.argsort(~mixed, kind="stable")
    return Split(crossed, strata) if mixed.any() else strata, rotation[:, order], stratum.ravel().astype(np.intp)


def _refuse_unidentified(model: Model, g: Floats, free: int) -> None:
    """Components must span different directions, and not the error's."""
    if not len(g):
        return
    names = [component.name for component in model.components]
    sizes = np.array([math.sqrt(float((one**2).sum())) for one in g])
    for name, size, component in zip(names, sizes, model.components, strict=True):
        if size <= RANK * float((component.z**2).sum()):
            raise UnidentifiedError(
                f"{model.formula!r}: the runs cannot tell the variance of {name} from the fixed part; leave it out.",
                name,
            )
    stacked = [one / size for one, size in zip(g, sizes, strict=True)]
    gram = np.ones((len(g) + 1, len(g) + 1))
    for i, one in enumerate(stacked):
        gram[i, -1] = gram[-1, i] = float(np.trace(one)) / math.sqrt(free)
        for j, other in enumerate(stacked):
            gram[i, j] = float((one * other).sum())
    values, vectors = np.linalg.eigh(gram)
    if values[0] < _IDENTIFIED:
        involved = [name for name, weight in zip([*names, "error"], vectors[:, 0], strict=True) if abs(weight) > 0.1]  # noqa: PLR2004 - a tenth of a unit vector
        redundant = next(name for name in involved if name != "error")
        raise UnidentifiedError(
            f"{model.formula!r}: the runs cannot tell the variances of {' and '.join(involved)} apart; "
            f"leave {redundant} out.",
            redundant,
        )
