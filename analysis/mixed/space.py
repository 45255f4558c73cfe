"""The space that random effects span: small beside the runs, and V is the identity outside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RANK = 1e-10  # singular values this small, relative to the largest, are rounding


@dataclass(frozen=True)
class Space:
    """A basis of it, and the components in it.

    Attributes:
        basis: U (n, r), orthonormal.
        inside: U' Z_k (r, levels) of each component.
    """

    basis: Floats
    inside: tuple[Floats, ...]

    @cached_property
    def g(self) -> Floats:
        """(K, r, r) each Z Z' in the space."""
        return squares(self.inside, self.basis.shape[1])


def spanned(parts: Sequence[Floats], n: int) -> Space:
    """The space of all columns of some Z_k (n, levels).

    Columns of one Z have no run in common. The largest Z's are therefore a basis as they are, and of the others only
    what they add is to be found.
    """
    basis, inside = np.empty((n, 0)), [np.empty((0, 0))] * len(parts)
    for k in sorted(range(len(parts)), key=lambda k: parts[k].shape[1], reverse=True):
        part, length = parts[k], np.linalg.norm(parts[k], axis=0)
        if basis.shape[1]:
            before = basis.T @ part
            rest = part - basis @ before
            rest -= basis @ (basis.T @ rest)
            u, singular, _ = np.linalg.svd(rest, full_matrices=False)
            u = u[:, singular > RANK * max(1.0, float(length.max()))]
            basis, inside[k] = np.hstack([basis, u]), np.vstack([before, u.T @ part])
        else:
            basis, inside[k] = part / length, np.diag(length)
    size = basis.shape[1]
    return Space(basis, tuple(np.pad(one, ((0, size - len(one)), (0, 0))) for one in inside))


def squares(parts: Sequence[Floats], size: int) -> Floats:
    """(K, size, size) A A' of each A (size, levels)."""
    return np.stack([one @ one.T for one in parts]) if parts else np.empty((0, size, size))
