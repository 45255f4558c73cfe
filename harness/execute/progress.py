"""Progress of long work: a bar with run, cell and time left on a terminal, one line per run elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from harness.execute.job import Done, Job
from harness.study.cost import training_flops


class StageProgress:
    """Shows how far a phase is; time left is estimated from operations done, not from runs counted.

    Args:
        phase: Name shown.
        jobs: Everything that the phase will train.
        skipped: Runs of the phase that were done before.
    """

    def __init__(self, phase: str, jobs: list[Job], skipped: int) -> None:
        self._phase, self._count, self._ended = phase, len(jobs), 0
        self._left = {job: float(training_flops(job.spec)) for job in jobs}
        self._total = sum(self._left.values())
        self._running: dict[Job, tuple[int, float]] = {}
        self._started = time.monotonic()
        self._console = Console(file=sys.stdout, highlight=False)
        self._bar: Progress | None = None
        known = f", {skipped} done before" if skipped else ""
        self._say(f"{phase}: {len(jobs)} to train{known}")

    def __enter__(self) -> Self:
        """Start the bar, if there is a terminal."""
        if self._console.is_terminal and self._count:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[what]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(self._phase, total=self._total, what="starting")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def epoch(self, job: Job, epoch: int, val_acc: float) -> None:
        """An epoch of a run has ended, with this validation accuracy (fraction)."""
        self._running[job] = (epoch, val_acc)
        self._left[job] = training_flops(job.spec) * (1 - epoch / job.spec.epochs)
        if self._bar is not None:
            cells = ", ".join(
                f"{each.spec.name} {done}/{each.spec.epochs}" for each, (done, _) in self._running.items()
            )
            what = f"{self._ended}/{self._count}  ETA {self._eta()}  {cells}"
            self._bar.update(self._task, completed=self._total - sum(self._left.values()), what=what)

    def say(self, job: Job, sentence: str) -> None:
        """Something about a run that people should know."""
        self._say(f"  {job.spec.name}: {sentence}")

    def ended(self, done: Done) -> None:
        """A run has ended, well or not."""
        self._ended += 1
        _, val_acc = self._running.pop(done.job, (0, 0.0))
        self._left[done.job] = 0.0
        how = f"last val {100 * val_acc:5.1f}%" if done.error is None else "FAILED"
        self._say(f"  [{self._ended}/{self._count}] {done.job.spec.name:<48} {how}  ETA {self._eta()}")

    def _eta(self) -> str:
        left = sum(self._left.values())
        worked = self._total - left
        seconds = (time.monotonic() - self._started) * left / worked if worked else 0.0
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"

    def _say(self, line: str) -> None:
        (self._bar.console if self._bar is not None else self._console).print(line, soft_wrap=True, markup=False)
        sys.stdout.flush()
