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
from analysis.runs.frame import checkpoints
from analysis.study.models import Source

_FEW, _MORE = 4, 12  # seeds of the two designs that the line is drawn through


class Plan:
    """The design of a fit, repeated with other numbers of seeds.

    Where every random effect belongs to a seed, so that a new seed brings new ones, information grows in proportion to
    the seeds: the variance is exactly as one over their number, and degrees of freedom grow along a line. Where
    checkpoints of teachers have effects, each seed learns from each of them, and they stay as many as they are: the
    variance is exactly a + b / seeds, and the variance of its estimate, 2 variance^2 / df, close to a line in
    1 / seeds, as the checkpoints' few degrees of freedom come to rule (df within 2% from 4 seeds to 40 in the tests).
    Two small designs therefore give all others. A study that gave each seed a checkpoint of its own goes on so: then
    checkpoints are a seed's. (The gain model's teachers are no seed's: claims do not rest on it, and planning by it
    would be too optimistic.)

    Args:
        source: The fit.
        frame: The rows that it was fitted to; each of their cells is repeated at every seed.
    """

    def __init__(self, source: Source, frame: pd.DataFrame) -> None:
        self._source = source
        # teachers and checkpoints stay apart even where the formula pools them: each has its own run at a seed
        factors = [name for name in frame.columns if name not in ("y", "seed", "row")]
        taught = frame[frame["kd"] > 0].groupby(["teacher", "teacher_seed"])["seed"].nunique()
        self._own = max(checkpoints(frame).values(), default=1) > 1 == taught.max()
        cells = frame[factors].assign(teacher_seed="") if self._own else frame[factors]
        self._cells = cells.drop_duplicates().reset_index(drop=True)
        self._shared = not self._own and any(
            "teacher_seed" in component.name for component in source.fit.model.components
        )
        self._designs = cache(self._design)

    def precision(self, combination: Floats) -> Precision:
        """Seeds a cell -> (standard error in pp, degrees of freedom) of c' beta."""
        few, more = (self._estimate(combination, seeds) for seeds in (_FEW, _MORE))

        def of_seeds(seeds: int) -> tuple[float, float]:
            slope = (more.df - few.df) / (_MORE - _FEW)
            return few.se * math.sqrt(_FEW / seeds), max(few.df + slope * (seeds - _FEW), 1.0)

        def of_seeds_and_checkpoints(seeds: int) -> tuple[float, float]:
            variance = _line(seeds, few.se**2, more.se**2)
            return math.sqrt(variance), max(variance**2 / _line(seeds, few.se**4 / few.df, more.se**4 / more.df), 1.0)

        return of_seeds_and_checkpoints if self._shared else of_seeds

    def _estimate(self, combination: Floats, seeds: int) -> Estimate:
        return self._designs(seeds).estimate(combination, self._source.df_method)

    def _design(self, seeds: int) -> Inference:
        rows = [self._cells.assign(seed=seed) for seed in range(seeds)]
        if self._own:
            rows = [table.assign(teacher_seed=str(seed)) for seed, table in enumerate(rows)]
        table = pd.concat(rows, ignore_index=True).assign(y=0.0)
        fitted = self._source.fit
        model = build(fitted.model.formula, table)
        if model.names != fitted.model.names:
            raise ValueError(f"planned design has coefficients {model.names}, the fit {fitted.model.names}")
        return Inference(replace(fitted, model=model, beta=np.zeros(len(fitted.beta))))


def _line(seeds: int, few: float, more: float) -> float:
    """The line in 1 / seeds through values at the two designs."""
    return more + (few - more) * (1 / seeds - 1 / _MORE) / (1 / _FEW - 1 / _MORE)
