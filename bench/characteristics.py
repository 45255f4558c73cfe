"""False alarms and coverage of the study's procedure, by simulation, on the published layout and with runs lost.

Each row draws data sets from the model fitted to the published runs, with its seed ICC or another one: under no
interaction to count false alarms, under the fitted means to count intervals that hold the truth. Two ways of judging
see the same data sets: the study's procedure, and Kenward-Roger on the fit itself, also where it is singular.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.frame import model_frame
from analysis.runs.table import finals
from analysis.study.contrasts import moderation, moderation_id
from analysis.study.models import primary
from analysis.study.simulation import Judged, by_first, by_used, characteristics, with_icc, without_effects
from harness.tables import read_runs

RUNS = Path("reference/yasar2026-v2/runs.csv")
STUDENTS, METHODS = ("resnet18", "resnet34"), ("feature", "logit")
# six runs of six cells, so that no two cells of a student keep the same seeds (the same as in tests/r/datasets.R)
LOST = {
    ("resnet18:none", 4), ("resnet34:none", 1), ("resnet34>resnet18:feature", 0), ("resnet50>resnet18:logit", 2),
    ("resnet50>resnet34:feature", 1), ("resnet101>resnet34:logit", 3),
}  # fmt: skip
ICCS = (0.0, None, 0.3, 0.6)  # None: as fitted
JUDGES = {"procedure": by_used, "first fit": by_first}
SEED = 20_260_501


@dataclass(frozen=True)
class Row:
    """One setting, judged in one way; shares in percent.

    Attributes:
        layout: The published one, or with six runs lost.
        icc: Share of the seed's variance in the truth.
        judge: The procedure, or the fit itself.
        singular_pct: Fits with a seed variance of zero.
        joint_pct: False alarms of the interaction's joint F test at 5%.
        contrasts_pct: False alarms of each of its contrasts (feature, logit) at 5%.
        coverage_pct: Coverage of their 95% intervals.
        mc_se_pct: Monte-Carlo standard error of a share that is 5% or 95%.
        draws: Data sets under each truth.
    """

    layout: str
    icc: float
    judge: str
    singular_pct: float
    joint_pct: float
    contrasts_pct: tuple[float, ...]
    coverage_pct: tuple[float, ...]
    mc_se_pct: float
    draws: int


def _frame(lost: set[tuple[str, int]]) -> pd.DataFrame:
    final = finals(read_runs(RUNS))
    frame = model_frame(final, 100 * final["test_acc_best"].astype("float64"), STUDENTS, METHODS)
    kept = [(str(cell), int(seed)) not in lost for cell, seed in zip(frame["cell"], frame["seed"], strict=True)]
    return frame[kept].reset_index(drop=True)


def _setting(layout: str, icc: float | None, draws: int, seed: np.random.SeedSequence) -> list[Row]:
    fitted = primary(_frame(LOST if layout == "6 runs lost" else set()), "test_acc_best", "all")
    contrasts = {moderation_id(*STUDENTS, method): moderation(*STUDENTS, method) for method in METHODS}
    published = primary(_frame(set()), "test_acc_best", "all").first.fit
    ratio = float(published.optimum.gamma[0])
    truth = with_icc(fitted.first.fit, ratio / (1 + ratio) if icc is None else icc)
    combinations = np.stack([fitted.first.combination(weights) for weights in contrasts.values()])
    generator = np.random.default_rng(seed)
    null = characteristics(fitted, without_effects(truth, combinations), contrasts, JUDGES, draws, generator)
    under = characteristics(fitted, truth, contrasts, JUDGES, draws, generator)
    share = float(truth.optimum.gamma[0]) / (1 + float(truth.optimum.gamma[0]))
    return [
        _row(layout, share, judge, null.singular.value, null.judged[judge], under.judged[judge], draws)
        for judge in JUDGES
    ]


def _row(layout: str, icc: float, judge: str, singular: float, null: Judged, under: Judged, draws: int) -> Row:
    return Row(
        layout, round(icc, 3), judge, 100 * singular, 100 * null.joint.value,
        tuple(100 * share.value for share in null.rejected.values()),
        tuple(100 * share.value for share in under.covered.values()),
        100 * math.sqrt(0.05 * 0.95 / draws), draws,
    )  # fmt: skip


def measure(draws: int) -> Iterator[Row]:
    """Simulate every setting, in as many processes as there are cores; the same rows whatever their number.

    Args:
        draws: Data sets of each row under each of its two truths.
    """
    settings = [(layout, icc) for layout in ("published", "6 runs lost") for icc in ICCS]
    seeds = np.random.SeedSequence(SEED).spawn(len(settings))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(_setting, layout, icc, draws, seed) for (layout, icc), seed in zip(settings, seeds, strict=True)
        ]
        for done, job in enumerate(jobs, 1):
            rows = job.result()
            print(f"simulated {done} of {len(jobs)} settings", file=sys.stderr)
            yield from rows


def show(found: list[Row]) -> None:
    """Print the rows as a table."""
    names = " ".join(f"{method:>8}" for method in METHODS)
    print(f"{'':<34}{'false alarms at 5%':>27}{'coverage of 95%':>18}")
    print(f"{'layout':<13}{'ICC':>6}{'singular':>9}  {'judged by':<10}{'F test':>9} {names} {names}")
    for row in found:
        shares = " ".join(f"{share:>8.2f}" for share in (row.joint_pct, *row.contrasts_pct, *row.coverage_pct))
        print(f"{row.layout:<13}{row.icc:>6.3f}{row.singular_pct:>8.1f}%  {row.judge:<10} {shares}")
    last = found[-1]
    print(f"in percent of {last.draws:,} data sets; Monte-Carlo standard error of 5% or 95%: {last.mc_se_pct:.2f}")


def as_json(rows: list[Row]) -> list[dict[str, object]]:
    """The rows as JSON holds them."""
    return [asdict(row) for row in rows]
