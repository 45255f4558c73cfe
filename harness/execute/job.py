"""What an executor is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """A job's end.

    Attributes:
        job: The job.
        error: What went wrong; None for a run that is in its folder.
        node: Where it ran, for people: host, and card where it had one; "" where not known.
        seconds: Wall time there, without waiting in a queue; None where not known.
    """

    job: Job
    error: str | None
    node: str = ""
    seconds: float | None = None


OnEpoch = Callable[[Job, int, float], None]
Say = Callable[[Job, str], None]


class Executor(Protocol):
    """Carries out jobs that can start, in any order and place."""

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """Carry out jobs until `ready` is empty and nothing runs; yield each as it ends; one's failure is no other's.

        Leaving the iterator early, by any exception, ends the running jobs.

        Args:
            ready: What can start now, most urgent first. What is started is taken out, the front first where it can.
                After each end that was yielded the caller may have put more in, so it is looked at again. The same
                after `on_epoch` (runs whose teacher's table is there by then), as soon as that is convenient.
            on_epoch: Told (job, epoch, validation accuracy) along the way.
            say: Told (job, sentence) of what people should know: a damaged checkpoint, a long computation.
        """
        ...
