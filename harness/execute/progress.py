"""Progress of long work: a bar with runs and time left on a terminal, one line per run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from harness.execute.job import Done, Job
from harness.study.cost import training_flops
from harness.study.spec import RunSpec

_SHOWN = 3  # runs named beside the bar: their line stays a line on a machine of many cards


class StageProgress:
    """Shows how far a pool of runs is; time left is estimated from operations done, not from runs counted.

    Args:
        runs: By phase, the runs that will be trained, as far as it is known. With several phases, lines tell each
            run's, which is the name of the folder that its own goes to.
        known: By phase, what else is to be said of it at the start.
    """

    def __init__(self, runs: Mapping[str, Sequence[RunSpec]], known: Mapping[str, str] | None = None) -> None:
        self._mixed = len(runs) > 1
        self._name = " ".join(runs) if not self._mixed else "runs"
        expected = [run for of_phase in runs.values() for run in of_phase]
        self._count, self._ended = len(expected), 0
        self._total = float(sum(map(training_flops, expected)))
        self._worked = 0.0  # of runs that ended
        self._running: dict[Job, tuple[int, float]] = {}
        self._started = time.monotonic()
        self._console = Console(file=sys.stdout, highlight=False)
        self._bar: Progress | None = None
        for phase, of_phase in runs.items():
            self.tell(f"{phase}: {len(of_phase)} to train{(known or {}).get(phase, '')}")

    def __enter__(self) -> Self:
        """Start the bar, if there is a terminal."""
        if self._console.is_terminal and self._count:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[what]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(self._name, total=self._total, what="starting")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def expect(self, run: RunSpec, runs: int) -> None:
        """So many more runs like this one will be trained; fewer, below 0."""
        self._count += runs
        self._total += runs * training_flops(run)

    def epoch(self, job: Job, epoch: int, val_acc: float) -> None:
        """An epoch of a run has ended, with this validation accuracy (fraction)."""
        self._running[job] = (epoch, val_acc)
        if self._bar is not None:
            working = [f"{self._label(job)} {done}/{job.spec.epochs}" for job, (done, _) in self._running.items()]
            more = f" and {len(working) - _SHOWN} more" if len(working) > _SHOWN else ""
            what = f"{self._ended}/{self._count}  ETA {self._eta()}  {', '.join(working[:_SHOWN])}{more}"
            self._bar.update(self._task, completed=self._done(), total=self._total, what=what)

    def say(self, job: Job, sentence: str) -> None:
        """Something about a run that people should know."""
        self.tell(f"  {self._label(job)}: {sentence}")

    def ended(self, done: Done) -> None:
        """A run has ended, well or not."""
        self._ended += 1
        _, val_acc = self._running.pop(done.job, (0, 0.0))
        self._worked += training_flops(done.job.spec)
        how = f"last val {100 * val_acc:5.1f}%" if done.error is None else "FAILED"
        width = 62 if self._mixed else 48
        self.tell(f"  [{self._ended}/{self._count}] {self._label(done.job):<{width}} {how}  ETA {self._eta()}")

    def _label(self, job: Job) -> str:
        return f"{job.folder.parent.name}/{job.spec.name}" if self._mixed else job.spec.name

    def _done(self) -> float:
        return self._worked + sum(
            training_flops(job.spec) * epoch / job.spec.epochs for job, (epoch, _) in self._running.items()
        )

    def _eta(self) -> str:
        worked = self._done()
        seconds = (time.monotonic() - self._started) * (self._total - worked) / worked if worked else 0.0
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"

    def tell(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        (self._bar.console if self._bar is not None else self._console).print(line, soft_wrap=True, markup=False)
        sys.stdout.flush()
