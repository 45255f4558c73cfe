"""Small tables with known truth, and their formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd

STUDENTS, METHODS = ("resnet18", "resnet34"), ("none", "feature", "logit")
STUDY = "acc_pct ~ student * method + (1 | student:seed)"
CROSSED = "acc_pct ~ method + (1 | teacher) + (1 | seed)"
GATED = "acc_pct ~ student * method + (1 | student:seed) + (0 + kd | teacher)"
SPLIT = "acc_pct ~ student * method + (1 | student:seed) + (0 + kd | checkpoint:student/method)"


def study(generator: np.random.Generator, *, seeds: int = 5, sd_seed: float = 0.1, sd: float = 0.1) -> pd.DataFrame:
    """A balanced split plot: every student and seed under every method once."""
    rows = [(student, method, seed) for student in STUDENTS for seed in range(seeds) for method in METHODS]
    table = pd.DataFrame(rows, columns=["student", "method", "seed"])
    table["method"] = pd.Categorical(table["method"], METHODS)
    table["kd"] = (table["method"] != "none").astype(int)
    plot = generator.normal(size=2 * seeds).repeat(3)
    table["acc_pct"] = 95 + 0.2 * table["kd"] + sd_seed * plot + sd * generator.normal(size=len(table))
    return table


def crossed(
    generator: np.random.Generator, *, runs: int = 50, sds: tuple[float, float] = (0.3, 0.2), sd: float = 0.15
) -> pd.DataFrame:
    """Teachers crossed with seeds, some combinations missing, so that nothing is balanced."""
    rows = [(teacher, seed, method) for teacher in "abcdef" for seed in range(5) for method in METHODS]
    table = pd.DataFrame(rows, columns=["teacher", "seed", "method"])
    table = table.iloc[np.sort(generator.permutation(len(table))[:runs])].reset_index(drop=True)
    table["method"] = pd.Categorical(table["method"], METHODS)
    teachers = dict(zip("abcdef", sds[0] * generator.normal(size=6), strict=True))
    seeds = sds[1] * generator.normal(size=5)
    noise = sd * generator.normal(size=len(table))
    table["acc_pct"] = 95 + table["teacher"].map(teachers) + seeds[table["seed"]] + noise
    return table


def gated(generator: np.random.Generator, *, sds: tuple[float, float] = (0.2, 0.3), sd: float = 0.15) -> pd.DataFrame:
    """Baselines without a teacher, distilled runs with one of three."""
    baselines = study(generator, sd_seed=sds[0], sd=sd)
    table = pd.concat(
        [baselines.assign(teacher=np.where(baselines["kd"] == 1, teacher, "alone")) for teacher in "abc"],
        ignore_index=True,
    )
    table = table[(table["kd"] == 1) | ~table.duplicated(["student", "method", "seed"])]
    # some runs are missing, so that nothing is balanced
    table = table.iloc[np.sort(generator.permutation(len(table))[: len(table) - 12])].reset_index(drop=True)
    effects = dict(zip(["alone", *"abc"], [0.0, *(sds[1] * generator.normal(size=3))], strict=True))
    table["acc_pct"] += table["teacher"].map(effects) + sd * generator.normal(size=len(table))
    return table


def split(generator: np.random.Generator, *, seeds: int = 5) -> pd.DataFrame:
    """Baselines and the runs that learn from one of four checkpoints; two of these teach by one method alone.

    One run is missing. There its seed and its checkpoint cross; all else has strata.
    """
    taught = [*(("feature", name) for name in "abc"), *(("logit", name) for name in "abd")]
    cells = [("none", "alone"), *taught]
    rows = [(student, *cell, seed) for student in STUDENTS for cell in cells for seed in range(seeds)]
    table = pd.DataFrame(rows, columns=["student", "method", "checkpoint", "seed"])
    table["method"] = pd.Categorical(table["method"], METHODS)
    table["kd"] = (table["method"] != "none").astype(int)
    table["acc_pct"] = 95 + 0.1 * generator.normal(size=len(rows))
    for group, gate in ((["seed"], 1), (["checkpoint"], table["kd"]), (["checkpoint", "method"], table["kd"])):
        place = table.groupby(["student", *group], observed=True).ngroup()
        table["acc_pct"] += gate * (0.4 * generator.normal(size=len(rows)))[place]
    return table.iloc[:-1]
