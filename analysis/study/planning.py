"""How precise a contrast would be with another number of seeds, under the fitted variances."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from analysis.inference.estimate import Estimate
from analysis.inference.power import Precision
from analysis.mixed.inference import Inference
from analysis.mixed.model import Floats, build
from analysis.study.models import Source

_FEW, _MORE = 4, 12  # seeds of the two designs that the line is drawn through


class Plan:
    """The design of a fit, repeated with other numbers of seeds.

    Every random effect of these models belongs to a seed, so that a new seed brings new ones: information grows in
    proportion to the seeds, the standard error is exactly as one over their root, and degrees of freedom
    grow along a line. Two small designs therefore give all others. (The gain model's teachers are no seed's: claims do
    not rest on it, and planning by it would be too optimistic.)

    Args:
        source: The fit.
        frame: The rows that it was fitted to; each of their cells is repeated at every seed.
    """

    def __init__(self, source: Source, frame: pd.DataFrame) -> None:
        self._source = source
        # teachers stay apart even where the formula pools them: each has its own run at a seed
        factors = [name for name in frame.columns if name not in ("y", "seed", "row")]
        self._cells = frame[factors].drop_duplicates().reset_index(drop=True)
        self._designs = cache(self._design)

    def precision(self, combination: Floats) -> Precision:
        """Seeds a cell -> (standard error in pp, degrees of freedom) of c' beta."""
        few, more = (self._estimate(combination, seeds) for seeds in (_FEW, _MORE))
        slope = (more.df - few.df) / (_MORE - _FEW)

        def precision(seeds: int) -> tuple[float, float]:
            return few.se * math.sqrt(_FEW / seeds), max(few.df + slope * (seeds - _FEW), 1.0)

        return precision

    def _estimate(self, combination: Floats, seeds: int) -> Estimate:
        return self._designs(seeds).estimate(combination, self._source.df_method)

    def _design(self, seeds: int) -> Inference:
        rows = [self._cells.assign(seed=seed) for seed in range(seeds)]
        table = pd.concat(rows, ignore_index=True).assign(y=0.0)
        fitted = self._source.fit
        model = build(fitted.model.formula, table)
        if model.names != fitted.model.names:
            raise ValueError(f"planned design has coefficients {model.names}, the fit {fitted.model.names}")
        return Inference(replace(fitted, model=model, beta=np.zeros(len(fitted.beta))))
