"""The local executor: a process a run, as many at once as cores and GPUs hold.

Each run is forked from a server process that has torch imported already: a fresh process a run costs
milliseconds, nothing of one run reaches another, and a run that crashes takes nothing with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import harness
from harness.execute.attempt import error_of
from harness.execute.cards import Card, cards
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.execute.placement import Placement
from harness.parallel import cores, end_with_parent
from harness.study.methods import find
from harness.study.spec import Optimisation

_PRELOAD = ["harness.execute.worker", "sklearn.datasets"]


@dataclass(frozen=True)
class _Running:
    """A run at work: its process, its card if it has one, and when it began (seconds of the monotonic clock)."""

    job: Job
    process: BaseProcess
    card: Card | None
    started: float

    def ended(self, last: object) -> Done:
        """Its end, by its last word: "" or what went wrong; None if it ended without one."""
        self.process.join()
        error = str(last) or None
        if last is None:
            code = self.process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            error = f"its process was {how} (out of memory, perhaps)"
        node = socket.gethostname() + (f", GPU {self.card.index}" if self.card else "")
        return Done(self.job, error, node, time.monotonic() - self.started)


def default_workers(optimisation: Optimisation) -> int:
    """As many runs at once as this process's cores hold; where a run may take a GPU, as there are GPUs, or one."""
    if optimisation.device != "cpu":
        return max(1, len(cards()))
    return max(1, cores() // optimisation.threads)


class LocalExecutor:
    """Runs jobs on this machine.

    Args:
        workers: Runs at once; None for as many as cores and GPUs hold.
        methods: The study's methods. Their modules are imported by the server at its start, like all other code that
            trains: what is edited later changes no run of this stage.
        runs_per_gpu: Runs at once on a GPU; None to let measured memory decide.
    """

    def __init__(self, workers: int | None, methods: Iterable[str] = (), runs_per_gpu: int | None = None) -> None:
        self._workers, self._runs_per_gpu = workers, runs_per_gpu
        self._preload = [*_PRELOAD, *(find(method).module for method in methods)]

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `harness.execute.job.Executor`."""
        placement = Placement(cards() if ready else [], cores(), self._workers, self._runs_per_gpu)
        running: dict[Connection, _Running] = {}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        os.environ.update(server_environment())
        try:
            while ready or running:
                while (taken := placement.take(ready)) is not None:
                    job, card = taken
                    here, there = context.Pipe(duplex=False)
                    process: BaseProcess = context.Process(target=_child, args=(job, card, there), name=job.spec.name)
                    process.start()
                    there.close()
                    running[here] = _Running(job, process, card, time.monotonic())
                for connection in wait(list(running)):
                    if not isinstance(connection, Connection):
                        continue
                    run = running[connection]
                    match _message(connection):
                        case (int(epoch), float(val_acc)):
                            on_epoch(run.job, epoch, val_acc)
                        case (str(sentence),):
                            say(run.job, sentence)
                        case int(memory_bytes):
                            placement.measured(run.job, memory_bytes)
                        case end:
                            del running[connection]
                            connection.close()
                            placement.leave(run.job)
                            yield run.ended(end)
        finally:
            for connection, run in running.items():
                run.process.kill()  # every file is written whole, so there is nothing to tidy
                run.process.join()
                connection.close()


def server_environment() -> dict[str, str]:
    """Settings that the server passes on to every run.

    OpenBLAS and OpenMP read their thread counts once, when they are loaded. The two paths make the server import
    this very package: on Python 3.11 it does not get its parent's import path, and would look into the working
    folder first, where another version of kdcap may lie.
    """
    here = str(Path(harness.__file__).parents[1])
    return {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
    }


def _message(connection: Connection) -> object:
    """What a run says; None if it ended without a word."""
    try:
        return connection.recv()
    except EOFError:
        return None


def _child(job: Job, card: Card | None, connection: Connection) -> None:
    """Body of a run's process: sends (epoch, accuracy), (sentence,) and bytes of memory, then "" or what went wrong."""
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card.uuid  # read when CUDA is initialised, which the server never does
    from harness.execute import worker  # imported already, by the server

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    end_with_parent()
    measured = card is None

    def on_epoch(epoch: int, val_acc: float) -> None:
        nonlocal measured
        if not measured:
            connection.send(worker.gpu_memory_bytes())
            measured = True
        connection.send((epoch, val_acc))

    def say(sentence: str) -> None:
        connection.send((sentence,))

    connection.send(error_of(lambda: worker.carry_out(job, on_epoch, say)) or "")
