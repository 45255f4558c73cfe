"""The local executor: a process a run, as many at once as there are cores for.

Each run is forked from a server process that has torch imported already: a fresh process a run costs
milliseconds, nothing of one run reaches another, and a run that crashes takes nothing with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import harness
from harness.errors import KdcapError
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.study.methods import find
from harness.study.spec import Optimisation

_Running = dict[Connection, tuple[Job, BaseProcess]]
_PRELOAD = ["harness.execute.worker", "sklearn.datasets"]


def default_workers(optimisation: Optimisation) -> int:
    """As many runs at once as this process's cores hold; one where a run may take the GPU."""
    if optimisation.device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // optimisation.threads)


class LocalExecutor:
    """Runs jobs on this machine.

    Args:
        workers: Runs at once.
        methods: The study's methods. Their modules are imported by the server at its start, like all other code that
            trains: what is edited later changes no run of this stage.
    """

    def __init__(self, workers: int, methods: Iterable[str] = ()) -> None:
        self.workers = workers
        self._preload = [*_PRELOAD, *(find(method).module for method in methods)]

    def run(self, jobs: Iterable[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `Executor.run`. Leaving the iterator early, by any exception, ends the running jobs."""
        waiting = deque(jobs)
        running: _Running = {}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        os.environ.update(_server_environment())
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    job = waiting.popleft()
                    here, there = context.Pipe(duplex=False)
                    process: BaseProcess = context.Process(target=_child, args=(job, there), name=job.spec.name)
                    process.start()
                    there.close()
                    running[here] = (job, process)
                for connection in wait(list(running)):
                    if isinstance(connection, Connection) and (done := _hear(connection, running, on_epoch, say)):
                        yield done
        finally:
            for connection, (_, process) in running.items():
                process.kill()  # every file is written whole, so there is nothing to tidy
                process.join()
                connection.close()


def _server_environment() -> dict[str, str]:
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


def _hear(connection: Connection, running: _Running, on_epoch: OnEpoch, say: Say) -> Done | None:
    """Take one message of a run; returns its end, or None while it goes on."""
    job, process = running[connection]
    try:
        message = connection.recv()
    except EOFError:  # it ended without a word
        message = None
    match message:
        case (int(epoch), float(val_acc)):
            on_epoch(job, epoch, val_acc)
            return None
        case (str(sentence),):
            say(job, sentence)
            return None
    process.join()
    del running[connection]
    connection.close()
    if message is None:
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return Done(job, f"its process was {how} (out of memory, perhaps)")
    return Done(job, message or None)


def _child(job: Job, connection: Connection) -> None:
    """Body of a run's process: sends (epoch, accuracy) and (sentence,) messages, then "" or what went wrong."""
    from harness.execute import worker  # imported already, by the server
    from harness.training.loop import TrainingFailed

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker.carry_out(
            job,
            on_epoch=lambda epoch, accuracy: connection.send((epoch, accuracy)),
            say=lambda sentence: connection.send((sentence,)),
        )
        error = ""
    except (KdcapError, TrainingFailed) as known:
        error = str(known)
    except OSError as full:
        error = f"{type(full).__name__}: {full}"
    except Exception:  # noqa: BLE001 - whatever it is, the other runs go on and the stage tells it
        error = traceback.format_exc()
    connection.send(error)


def _end_with_parent() -> None:
    """End this process when the one that asked for it has ended, however: no orphan goes on training.

    Linux's parent-death signal would not do: the parent of a forked run is the server, and the server lives as long
    as its children.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
