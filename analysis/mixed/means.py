"""Estimated marginal means: expected responses over a balanced grid of factor levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from analysis.mixed.model import Floats, Model


def marginal_means(
    model: Model, factors: Mapping[str, Sequence[str]], by: Sequence[str]
) -> dict[tuple[str, ...], Floats]:
    """Combinations of fixed effects that are marginal means (Searle, Speed and Milliken, Am Stat 34, 1980, 216-221).

    Every level of the factors not in `by` counts equally, however many runs it has; as in R's emmeans.

    Args:
        model: A model whose fixed part uses these factors alone.
        factors: All levels of each factor.
        by: The factors to keep, in the order of the keys returned.

    Returns:
        For each combination of levels of `by`, the (p,) coefficients c of its mean c' beta.

    Raises:
        ModelError: The runs say nothing about a combination.
    """
    combinations = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    grid = pd.DataFrame(combinations)
    rows = model.rows(grid)
    keys = [tuple(combination[name] for name in by) for combination in combinations]
    return {key: np.asarray(rows[[other == key for other in keys]].mean(axis=0)) for key in dict.fromkeys(keys)}
