"""Images a second of a quick-profile epoch, ours against a plain loop.

Both train the same network on the same images in one process, taking turns; each figure is the median of several
epochs, and the ratio is the median of the ratios of neighbours, so that a noisy machine disturbs both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.plain import PlainRun, warm_up_torchvision
from harness.study.load import load_study
from harness.study.plan import candidates, plan
from harness.study.spec import RunSpec
from harness.training import data, determinism
from harness.training.loop import Run
from harness.training.models import build


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _measure(spec: RunSpec, epochs: int) -> dict[str, float | str]:
    device = determinism.configure(spec.optimisation)
    images = data.load(spec.dataset, Path("data"))
    teacher, weights = None, None
    if spec.teacher is not None:
        teacher = build(spec.teacher.architecture, spec.teacher.stem, spec.model, images.classes, "teacher", 0)
        weights = teacher.state_dict()
        teacher.eval().requires_grad_(requires_grad=False)
    ours, plain = Run(spec, images, weights, device), PlainRun(spec, images, teacher)
    ours.train_epoch()
    plain.train_epoch()
    pairs = [(_seconds(ours.train_epoch), _seconds(plain.train_epoch)) for _ in range(epochs)]
    count = len(images.train_labels)
    return {
        "cell": spec.cell,
        "ours_images_per_second": count / statistics.median(mine for mine, _ in pairs),
        "plain_images_per_second": count / statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(theirs / mine for mine, theirs in pairs),
    }


def measure(epochs: int) -> list[dict[str, float | str]]:
    """A baseline, and the two ways of distillation from one teacher.

    Args:
        epochs: Epochs of each loop, after one to warm up.
    """
    warm_up_torchvision()
    study = load_study("quick")
    baseline = next(entry.run for entry in plan(study, None) if entry.phase == "final")
    distilled = [specs[0] for choice, specs in candidates(study).items() if choice.teacher == "resnet50"][:2]
    return [_measure(spec, epochs) for spec in (baseline, *distilled)]


def show(rows: list[dict[str, float | str]]) -> None:
    """Print the figures as a table."""
    print(f"{'cell (ours includes validation)':<36}{'ours':>10}{'plain':>10}{'ratio':>8}   images a second")
    for row in rows:
        ours, plain, ratio = row["ours_images_per_second"], row["plain_images_per_second"], row["ratio"]
        print(f"{row['cell']:<36}{ours:>10.0f}{plain:>10.0f}{ratio:>8.2f}")
