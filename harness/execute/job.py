"""What an executor is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.study.spec import RunSpec

# What a cut may cost. Written at every epoch, the state of a full-size network would cost more than the cut.
CHECKPOINT_EVERY_S = 30.0


@dataclass(frozen=True)
class Job:
    """One run to carry out.

    Attributes:
        spec: The run.
        teacher: Folder of its teacher's run; None without one.
        partial: Working folder, kept when the run is cut.
        folder: Where the finished run goes.
        tables: Folder of the teachers' tables, shared by runs that learn from one teacher's logits.
        downloads: Where downloaded images are.
        code_sha256: Digest of the training code as it was when the stage began and its workers loaded it.
        checkpoint_every_s: Seconds between checkpoints; 0 for every epoch.
    """

    spec: RunSpec
    teacher: Path | None
    partial: Path
    folder: Path
    tables: Path
    downloads: Path
    code_sha256: str
    checkpoint_every_s: float


@dataclass(frozen=True)
class Done:
    """A job's end: its folder, or what went wrong."""

    job: Job
    error: str | None


OnEpoch = Callable[[Job, int, float], None]
Say = Callable[[Job, str], None]


class Executor(Protocol):
    """Carries out jobs that do not depend on each other, in any order and place."""

    def run(self, jobs: Iterable[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """Carry out every job and yield each as it ends; one job's failure is no other's.

        Args:
            jobs: What to do, most urgent first.
            on_epoch: Told (job, epoch, validation accuracy) along the way.
            say: Told (job, sentence) of what people should know: a damaged checkpoint, a long computation.
        """
        ...
