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


class ExecutorName(StrEnum):
    """Executors, as the command line spells them."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


def train(
    profile: Annotated[str | None, typer.Option(help="Profile (default: params.yaml's).")] = None,
    phase: Annotated[list[PhaseName] | None, typer.Option(help="Only this phase; may be repeated.")] = None,
    cell: Annotated[str | None, typer.Option(help="Only this cell, as `harness plan` names it, without seed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Only part K of N, from 0, e.g. 3/8: for job arrays without a driver.")
    ] = None,
    executor: Annotated[
        ExecutorName, typer.Option(envvar="KDCAP_EXECUTOR", help="Who trains: this machine, a Ray cluster, or Slurm.")
    ] = ExecutorName.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="local: runs at once (default: as many as cores and GPUs hold).")
    ] = None,
    runs_per_gpu: Annotated[
        int | None,
        typer.Option(min=1, help="local, ray: runs at once on a GPU (default: as many as fit its memory; ray: 1)."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(envvar="KDCAP_RAY_ADDRESS", help="ray: address of the cluster.")
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

    A student starts when its teacher is done, and a chosen cell when its candidates are; the longest chain goes first.

    A run is skipped only when its description, the training code and every digest check out. Cut it whenever you
    like: the same command goes on from the last checkpoint, and ends with the same bits.

    \b
    Example:
      harness train                                            everything
      harness train --phase final --workers 4
      harness train --phase teachers --cell resnet34-none --seed 0
    """  # noqa: D301 - \b keeps line breaks in the help
    from harness.execute.executors import make_executor
    from harness.execute.job import CHECKPOINT_EVERY_S
    from harness.execute.phase import train_phases
    from harness.files import alone_in
    from harness.study.load import load_study, resolve_profile
    from harness.study.plan import PHASES
    from harness.workspace import DOWNLOADS, Workspace

    name = resolve_profile(profile)
    study = load_study(name)
    chosen = [one for one in PHASES if phase is None or PhaseName(one) in phase]
    if study.dataset.name != "digits":
        from harness.training.data import prepare  # imports torch, which the workers otherwise do alone

        with alone_in(DOWNLOADS):  # of two that would write the same archive one waits
            prepare(study.dataset, DOWNLOADS)
    train_phases(
        study,
        Workspace(name),
        chosen,
        make_executor(executor, study.methods, workers=workers, runs_per_gpu=runs_per_gpu, address=address),
        cell=cell,
        seed=seed,
        part=None if part is None else _part(part),
        checkpoint_every_s=CHECKPOINT_EVERY_S if checkpoint_every is None else checkpoint_every,
    )


def _part(text: str) -> tuple[int, int]:
    from harness.errors import StudyError

    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and int(number) < int(count):
        return int(number), int(count)
    raise StudyError(f"--part: expected K/N with K from 0 to N - 1, e.g. 3/8, found {text}; correct it.")
