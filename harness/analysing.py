"""From files to an analysis: a runs table with what lies beside it, the register of claims, and a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.analyze import DEFAULT_MARGIN_PP, analyze
from analysis.results import Analysis
from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.reach import first_seeds
from harness.claims import REGISTER, read_claims
from harness.correctness import read_correct
from harness.tables import read_runs
from harness.workspace import CORRECT


def analyse_files(
    runs: Path,
    *,
    margin_pp: float = DEFAULT_MARGIN_PP,
    metric: Metric = ACCURACY,
    order: tuple[str, ...] | None = None,
    claims: Path = REGISTER,
    history: Path | None = None,
    seed: int = 0,
) -> Analysis:
    """Read a runs table and analyse it.

    Args:
        runs: The table; per-image correctness is taken from `correct.npz` beside it, where there is one.
        margin_pp: As in `analysis.analyze.analyze`.
        metric: What runs are compared by.
        order: The two students to compare, smaller first.
        claims: The register of claims.
        history: An earlier version's gains table.
        seed: Of the generator that bootstrap and simulation draw from.

    Raises:
        harness.errors.KdcapError: A file is missing or damaged.
        analysis.errors.TableError: The table cannot be analysed.
    """
    table, cut = first_seeds(read_runs(runs, metric))
    found = analyze(
        table,
        claims=read_claims(claims),
        margin_pp=margin_pp,
        metric=metric,
        student_order=order,
        correct=read_correct(runs.parent / CORRECT, table) if metric == ACCURACY else None,
        history=None if history is None else pd.read_csv(history),
        generator=np.random.default_rng(seed),
    )
    return replace(found, flags=(cut, *found.flags)) if cut else found
