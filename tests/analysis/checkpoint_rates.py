"""What taking the runs of several checkpoints for independent replicates costs, and what the models make of it.

    python -m tests.analysis.checkpoint_rates --draws 2000

prints the table of `docs/statistics.md`. Data are drawn with effects of each checkpoint of every conceivable kind, the
models' own and others, and go the way of the study's procedure with the models' random part, and without checkpoints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.mixed.fit import Fit
from analysis.mixed.model import build
from analysis.study.contrasts import moderation
from analysis.study.models import SEEDS, primary
from analysis.study.simulation import Characteristics, by_used, characteristics

STUDENTS, METHODS = ("small", "large"), ("feature", "logit")
POOLED = (("a", "small"), ("b", "small"), ("b", "large"), ("c", "large"))  # as the published pairs
MATCHED = (("b", "small"), ("b", "large"))
SEED_SD_PP, ERROR_SD_PP = 0.045, 0.13  # as fitted to the published runs
OF_CHECKPOINT = "teacher:teacher_seed"
EFFECTS = {
    "checkpoint": OF_CHECKPOINT,
    "by student": f"{OF_CHECKPOINT}:student",
    "by method": f"{OF_CHECKPOINT}:method",
    "by both": f"{OF_CHECKPOINT}:student:method",
}
CONTRASTS = {method: moderation(*STUDENTS, method) for method in METHODS}


def design(pairs: Sequence[tuple[str, str]], seeds: int, checkpoints: int) -> pd.DataFrame:
    """Rows as models see them: baselines, and every pair under every method, checkpoints and seeds crossed."""
    rows = [("alone", "", student, "none", seed) for student in STUDENTS for seed in range(seeds)]
    rows += [
        (teacher, str(checkpoint), student, method, seed)
        for teacher, student in pairs
        for method in METHODS
        for checkpoint in range(checkpoints)
        for seed in range(seeds)
    ]
    frame = pd.DataFrame(rows, columns=["teacher", "teacher_seed", "student", "method", "seed"])
    return frame.assign(
        student=pd.Categorical(frame["student"], STUDENTS),
        method=pd.Categorical(frame["method"], ("none", *METHODS)),
        kd=(frame["method"] != "none").astype(float),
        y=np.random.default_rng(0).normal(0, 1, len(frame)),
    )


def truth(frame: pd.DataFrame, fit: Fit, sd_pp: Mapping[str, float]) -> Fit:
    """No effect of anything but seeds, error, and checkpoints, whose effects (`EFFECTS`) have these sds."""
    random = "".join(f" + (0 + kd | {EFFECTS[kind]})" for kind in sd_pp)
    model = build(f"y ~ student * method + {SEEDS}{random}", frame)
    gamma = np.array([SEED_SD_PP, *sd_pp.values()]) ** 2 / ERROR_SD_PP**2
    optimum = replace(fit.optimum, gamma=gamma)
    return replace(fit, model=model, optimum=optimum, beta=np.zeros(len(fit.beta)), sigma2=ERROR_SD_PP**2)


def rates(
    pairs: Sequence[tuple[str, str]],
    seeds: int,
    checkpoints: int,
    sd_pp: Mapping[str, float],
    *,
    told_apart: bool,
    draws: int,
    seed: int = 0,
) -> Characteristics:
    """False alarms of moderation, by models that tell checkpoints apart or by ones that are not told of them."""
    frame = design(pairs, seeds, checkpoints)
    fitted = primary(frame if told_apart else frame.assign(teacher_seed=""), "y", "all")
    drawn = truth(frame, fitted.first.fit, sd_pp)
    return characteristics(fitted, drawn, CONTRASTS, {"used": by_used}, draws, np.random.default_rng(seed))


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=2000)
    draws = options.parse_args().draws
    head = "| true effects of a checkpoint, sd in pp | teachers | F | feature | logit | F | feature | logit |"
    sys.stdout.write(f"{head}\n|---|---|---|---|---|---|---|---|\n")
    kinds: list[dict[str, float]] = [{}, *({kind: 0.2} for kind in EFFECTS), dict.fromkeys(EFFECTS, 0.1)]
    for sd_pp in kinds:
        name = "each kind 0.1" if len(sd_pp) > 1 else next((f"{kind} {sd}" for kind, sd in sd_pp.items()), "none")
        for teachers, pairs in (("as published", POOLED), ("one, shared", MATCHED)):
            cells = []
            for told_apart in (True, False):
                found = rates(pairs, 10, 3, sd_pp, told_apart=told_apart, draws=draws).judged["used"]
                cells += [f"{100 * share.value:.1f}" for share in (found.joint, *found.rejected.values())]
            sys.stdout.write(f"| {name} | {teachers} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
