"""Tables to analyse: the published one, and simulated ones with known truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.analyze import analyze
from analysis.claims.register import Registered
from analysis.results import Analysis
from analysis.runs.frame import accuracy, model_frame
from analysis.runs.layout import layout_of
from analysis.runs.metric import ACCURACY
from analysis.runs.table import check_runs, finals
from harness.claims import read_claims

REFERENCE = Path(__file__).parents[2] / "reference"
PUBLISHED = REFERENCE / "yasar2026-v2" / "runs.csv"
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


@pytest.fixture(scope="session")
def published_frame(published: pd.DataFrame) -> pd.DataFrame:
    """Their final rows as models see them."""
    return frame_of(published)


@pytest.fixture(scope="session")
def first_version() -> pd.DataFrame:
    """The gains that the paper's first version published."""
    return pd.read_csv(REFERENCE / "yasar2026-v1" / "table.csv")


@pytest.fixture(scope="session")
def register() -> tuple[Registered, ...]:
    """The project's register of claims."""
    return read_claims()


@pytest.fixture(scope="session")
def quickly(
    in_haste: Callable[..., AbstractContextManager[None]], register: Sequence[Registered]
) -> Callable[..., Analysis]:
    """`analyze` in haste, with the project's register."""

    def run(runs: pd.DataFrame, *, seed: int = 0, second: bool = False, **options: object) -> Analysis:
        with in_haste(second=second):
            return analyze(runs, **{"claims": register, "generator": np.random.default_rng(seed)} | options)

    return run


@pytest.fixture(scope="session")
def quick_published(quickly: Callable[..., Analysis], published: pd.DataFrame) -> Analysis:
    """The published runs, analysed so, with the second engine."""
    return quickly(published, second=True)


def frame_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Final rows of checked runs as models see them, in percent."""
    final = finals(runs)
    layout = layout_of(final)
    return model_frame(final, 100 * accuracy(final, ACCURACY), layout.students, layout.methods)


@pytest.fixture(scope="session")
def framed() -> Callable[[pd.DataFrame], pd.DataFrame]:
    """`frame_of`, for tests."""
    return frame_of


def simulate(
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    methods: Sequence[str] = ("logit", "feature"),
    seeds: int = 5,
    effects_pp: Mapping[tuple[str, str], float] | None = None,
    tau_pp: float = 0.1,
    sigma_pp: float = 0.1,
    checkpoints: int = 0,
    checkpoint_pp: float = 0.0,
    draw: int = 0,
) -> pd.DataFrame:
    """Final rows of a study: 90% plus effects by (student, method), a seed effect and noise.

    With checkpoints, every seed learns from each of them, and each has an effect on each student, and on each student
    by each method, of `checkpoint_pp`; without, the table does not speak of them.
    """
    rng = np.random.default_rng(draw)
    students = list(dict.fromkeys(student for _, student in pairs))
    shared = {(student, seed): rng.normal(0, tau_pp) for student in students for seed in range(seeds)}
    cells = [("", student, "none") for student in students]
    cells += [(teacher, student, method) for teacher, student in pairs for method in methods]
    taught = defaultdict[tuple[object, ...], float](lambda: rng.normal(0, checkpoint_pp) if checkpoint_pp else 0.0)
    rows = [
        {
            "stage": "final",
            "teacher": teacher,
            "teacher_seed": checkpoint,
            "student": student,
            "method": method,
            "seed": seed,
            "test_acc_best": (
                90
                + (effects_pp or {}).get((student, method), 0.0)
                + shared[student, seed]
                + (
                    taught[teacher, checkpoint, student] + taught[teacher, checkpoint, student, method]
                    if teacher
                    else 0
                )
                + rng.normal(0, sigma_pp)
            )
            / 100,
        }
        for teacher, student, method in cells
        for checkpoint in (range(checkpoints) if teacher and checkpoints else ("",))
        for seed in range(seeds)
    ]
    return check_runs(pd.DataFrame(rows), "simulated")


@pytest.fixture(scope="session")
def simulated() -> Callable[..., pd.DataFrame]:
    """`simulate`, for tests."""
    return simulate
