"""Tables to analyse: the published one, and simulated ones with known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.table import check_runs

PUBLISHED = Path(__file__).parents[2] / "reference" / "yasar2026-v2" / "runs.csv"
PAIRS = (
    ("resnet34", "resnet18"),
    ("resnet50", "resnet18"),
    ("resnet50", "resnet34"),
    ("resnet101", "resnet34"),
)


@pytest.fixture(scope="session")
def raw_published() -> pd.DataFrame:
    """The published runs as text, as a file holds them."""
    return pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)


@pytest.fixture(scope="session")
def published(raw_published: pd.DataFrame) -> pd.DataFrame:
    """The published runs, checked."""
    return check_runs(raw_published, "runs.csv")


def simulate(
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    methods: Sequence[str] = ("logit", "feature"),
    seeds: int = 5,
    effects_pp: Mapping[tuple[str, str], float] | None = None,
    tau_pp: float = 0.1,
    sigma_pp: float = 0.1,
    draw: int = 0,
) -> pd.DataFrame:
    """Final rows of a study: 90% plus effects by (student, method), a seed effect and noise."""
    rng = np.random.default_rng(draw)
    students = list(dict.fromkeys(student for _, student in pairs))
    shared = {(student, seed): rng.normal(0, tau_pp) for student in students for seed in range(seeds)}
    cells = [("", student, "none") for student in students]
    cells += [(teacher, student, method) for teacher, student in pairs for method in methods]
    rows = [
        {
            "stage": "final",
            "teacher": teacher,
            "student": student,
            "method": method,
            "seed": seed,
            "test_acc_best": (
                90 + (effects_pp or {}).get((student, method), 0.0) + shared[student, seed] + rng.normal(0, sigma_pp)
            )
            / 100,
        }
        for teacher, student, method in cells
        for seed in range(seeds)
    ]
    return check_runs(pd.DataFrame(rows), "simulated")


@pytest.fixture(scope="session")
def simulated() -> Callable[..., pd.DataFrame]:
    """`simulate`, for tests."""
    return simulate
