"""`harness train`: bring runs up to date."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class PhaseName(StrEnum):
    """Phases, as the command line spells them."""

    teachers = "teachers"
    select = "select"
    final = "final"
    stem_ablation = "stem_ablation"
    bug_ablation = "bug_ablation"


def train(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    phase: Annotated[list[PhaseName] | None, typer.Option(help="Only this phase; may be repeated.")] = None,
    cell: Annotated[str | None, typer.Option(help="Only this cell, as `harness plan` names it, without seed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once (default: cores / threads of a run; 1 on a GPU).")
    ] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            min=0,
            envvar="KDCAP_CHECKPOINT_EVERY",
            help="Seconds between a run's checkpoints (default: 30; 0: every epoch).",
        ),
    ] = None,
) -> None:
    """Train what is missing or stale, skip what is done.

    A run is skipped only when its description, the training code and every digest check out. Cut it whenever you
    like: the same command goes on from the last checkpoint, and ends with the same bits.

    \b
    Example:
      harness train                                            everything, in order
      harness train --phase final --workers 4
      harness train --phase teachers --cell resnet34-none --seed 0
    """  # noqa: D301 - \b keeps line breaks in the help
    from harness.execute.job import CHECKPOINT_EVERY_S
    from harness.execute.local import LocalExecutor, default_workers
    from harness.execute.phase import train_phases
    from harness.study.load import load_study, resolve_profile
    from harness.study.plan import PHASES
    from harness.workspace import DOWNLOADS, Workspace

    name = resolve_profile(profile)
    study = load_study(name)
    chosen = [one for one in PHASES if phase is None or PhaseName(one) in phase]
    if study.dataset.name != "digits":
        from harness.training.data import prepare  # imports torch, which the workers otherwise do alone

        prepare(study.dataset, DOWNLOADS)
    count = workers or default_workers(study.optimisation)
    train_phases(
        study,
        Workspace(name),
        chosen,
        LocalExecutor(count, study.methods),
        cell=cell,
        seed=seed,
        checkpoint_every_s=CHECKPOINT_EVERY_S if checkpoint_every is None else checkpoint_every,
    )
