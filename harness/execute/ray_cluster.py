"""The Ray executor: runs on the nodes of a Ray cluster, which need share no disk with the store or each other.

A run is a Ray task in a process of its own. With it go the training code, its teacher's run folder and CIFAR's images,
each fetched by a node once; back comes the whole run folder, which is checked before it enters the store. A run's
failure is its result. A lost node or process is not: its run is sent again.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
from harness.errors import EnvironmentProblem, StoreError
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.execute.local import server_environment
from harness.execute.parcel import Copies, Parcel, digest_of, pack, receive
from harness.store import record as records
from harness.study.methods import find
from harness.study.spec import Dataset, Optimisation

try:
    import ray
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise EnvironmentProblem(
        "--executor ray: expected Ray to be installed, found it missing; `pip install 'kdcap[ray]'`, or install "
        "requirements/cluster.lock."
    ) from None

# A run that has taken its node or process with it so often is taken for the cause.
ATTEMPTS = 4
_POLL_S = 0.5
_CONNECT_S = 10.0
_MESSAGES = 10_000  # kept for a driver that does not listen; then the oldest go
_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,  # Ray ends processes before a node is out of memory
    exceptions.ObjectLostError,  # the run was done, and its node went before its files were here
)


@dataclass(frozen=True)
class _Sent:
    """A folder in Ray's object store: see `harness.execute.elsewhere.Enclosed`."""

    name: str
    sha256: str
    parcel: Any  # ray.ObjectRef[Parcel]


@dataclass(frozen=True)
class _Node:
    """Where a task runs: Ray's identifier, and a name for people."""

    id: str
    name: str


@dataclass(frozen=True)
class _Ended:
    """What a task returns: what went wrong, or the run folder; and seconds of wall time."""

    error: str | None
    parcel: Parcel
    seconds: float


@dataclass
class _Run:
    """A run that was sent, as the driver knows it."""

    job: Job
    copies: Copies
    node: _Node | None = None
    attempts: int = 0
    conflict: str | None = None
    done: bool = False


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Args:
        address: HOST:PORT of a cluster that this machine is a node of, or `auto`; None to start one on this machine
            alone, which ends with the runs.
        methods: The study's methods; their packages are sent to the nodes like kdcap itself.
        runs_per_gpu: Runs at once on a GPU.
    """

    def __init__(self, address: str | None, methods: Iterable[str] = (), runs_per_gpu: int = 1) -> None:
        self._address, self._methods, self._runs_per_gpu = address, tuple(methods), runs_per_gpu

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `harness.execute.job.Executor`."""
        if ready:
            threads = ready[0].spec.optimisation.threads
            with _connected(self._address, self._methods, threads), _signals_held() as heed:
                yield from _Driver(self._runs_per_gpu, on_epoch, say).carry_out(ready, heed)


class _Driver:
    """The side of a study that sends runs and takes them back."""

    def __init__(self, runs_per_gpu: int, on_epoch: OnEpoch, say: Say) -> None:
        self._runs_per_gpu, self._on_epoch, self._say = runs_per_gpu, on_epoch, say
        self._there_are_gpus = any(gpus for _, gpus in _sizes())
        self._folders: dict[Path, _Sent] = {}
        self._runs: list[_Run] = []
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(max_calls=1, max_retries=0)(_task)  # a process a run, as on one machine

    def carry_out(self, ready: list[Job], heed: Callable[[], None] = lambda: None) -> Iterator[Done]:
        self._need_room(ready[0].spec.optimisation)
        running: dict[Any, int] = {}
        try:
            while ready or running:
                # One more than there is room for waits in Ray's queue: so an autoscaler sees that there is work.
                while ready and len(running) <= self._room(ready[0].spec.optimisation):
                    job = ready.pop(0)
                    self._runs.append(_Run(job, Copies(job.spec)))
                    running[self._send(len(self._runs) - 1)] = len(self._runs) - 1
                ended, _ = ray.wait([*running], timeout=_POLL_S)
                heed()
                self._hear()
                for reference in ended:
                    number = running.pop(reference)
                    done = self._end(self._runs[number], reference)
                    if done is None:
                        running[self._send(number)] = number
                    else:
                        yield done
        finally:
            for reference in running:
                ray.cancel(reference, force=True)  # every file is written whole, so there is nothing to tidy

    def _send(self, number: int) -> Any:  # noqa: ANN401 - ray.ObjectRef[_Ended]
        """Start a run as a task; the second time on the same node, if it lives, where its checkpoint is."""
        run = self._runs[number]
        run.attempts += 1
        job, settings = run.job, run.job.spec.optimisation
        where: Any = "SPREAD"
        if run.attempts == 2 and run.node and run.node.id in [node["NodeID"] for node in _alive()]:  # noqa: PLR2004 - once
            where = NodeAffinitySchedulingStrategy(run.node.id, soft=True)
        images = _cifar(job.spec.dataset, job.downloads)
        return self._task.options(
            num_cpus=settings.threads,
            num_gpus=1 / self._runs_per_gpu if self._takes_gpu(settings) else 0,
            scheduling_strategy=where,
            name=job.spec.name,
        ).remote(
            self._mailbox,
            number,
            job,
            self._sent(job.teacher) if job.teacher else None,
            self._sent(images) if images else None,
        )

    def _sent(self, folder: Path) -> _Sent:
        """A folder in the object store; put there once."""
        if folder not in self._folders:
            parcel = pack(folder)
            self._folders[folder] = _Sent(folder.name, digest_of(parcel), ray.put(parcel))
        return self._folders[folder]

    def _end(self, run: _Run, reference: Any) -> Done | None:  # noqa: ANN401 - ray.ObjectRef[_Ended]
        """The end of a run whose task has ended; None if it is to be sent again."""
        node = run.node.name if run.node else ""
        try:
            ended: _Ended = ray.get(reference)
        except _LOST as lost:
            how = f"{node or 'a node'} or the run's process there was lost ({type(lost).__name__})"
            if run.attempts == ATTEMPTS:
                return Done(run.job, f"{how} in {ATTEMPTS} attempts of {ATTEMPTS}; the run may be the cause", node)
            self._say(run.job, f"{how}; the run is sent again, attempt {run.attempts + 1} of {ATTEMPTS}.")
            if not self._room(run.job.spec.optimisation):
                self._say(run.job, "the cluster has no node left that it fits on; it waits for one.")
            return None
        except exceptions.RayError as failure:  # not the run's own: that would have come back as its end
            return Done(run.job, str(failure), node)
        run.done = True
        error = ended.error or run.conflict
        if error is None:
            try:
                receive(run.job, ended.parcel, node)
            except StoreError as wrong:
                error = str(wrong)
            except OSError as wrong:  # went wrong here and not on the node, which is not named for it
                return Done(run.job, f"{type(wrong).__name__}: {wrong}", seconds=ended.seconds)
        return Done(run.job, error, node, ended.seconds)

    def _hear(self) -> None:
        """Pass on what tasks have told since the last time."""
        for number, message in ray.get(self._mailbox.take.remote()):
            run = self._runs[number]
            match message:
                case _Node():
                    run.node = message
                case (int(epoch), float(val_acc)) if not run.done:
                    self._on_epoch(run.job, epoch, val_acc)
                case str(sentence):
                    self._say(run.job, sentence)
                case (str(node), bytes(record)):
                    self._hear_of_copy(run, node, record)

    def _hear_of_copy(self, run: _Run, node: str, record: bytes) -> None:
        try:
            run.copies.add(node, records.parse(record.decode()))
        except StoreError as conflict:
            if run.done:  # nobody can take the first copy back now
                raise
            run.conflict = str(conflict)

    def _takes_gpu(self, settings: Optimisation) -> bool:
        return settings.device == "cuda" or (settings.device == "auto" and self._there_are_gpus)

    def _room(self, settings: Optimisation) -> int:
        """Runs that the cluster holds at once, as it is now."""
        on_cpus = [int(cpus // settings.threads) for cpus, _ in _sizes()]
        on_gpus = [int(gpus) * self._runs_per_gpu for _, gpus in _sizes()]
        return sum(map(min, on_cpus, on_gpus)) if self._takes_gpu(settings) else sum(on_cpus)

    def _need_room(self, settings: Optimisation) -> None:
        if not self._room(settings):
            gpu = " and a GPU" if self._takes_gpu(settings) else ""
            nodes = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in _sizes())
            raise EnvironmentProblem(
                f"--executor ray: expected a node with {settings.threads} CPUs{gpu} for a run, found "
                f"{nodes or 'none'}; start larger ones, or change optimisation.threads or device in the profile."
            )


class _Mailbox:
    """What tasks tell, kept until the driver asks. An actor on the driver's node, so that it is lost with no other."""

    def __init__(self) -> None:
        self._messages: deque[tuple[int, Any]] = deque(maxlen=_MESSAGES)

    def put(self, number: int, message: Any) -> None:  # noqa: ANN401 - see `_Driver._hear`
        self._messages.append((number, message))

    def take(self) -> list[tuple[int, Any]]:
        messages = list(self._messages)
        self._messages.clear()
        return messages


def _task(mailbox: Any, number: int, job: Job, teacher: _Sent | None, images: _Sent | None) -> _Ended:  # noqa: ANN401
    """Body of a task, on whichever node Ray has chosen."""
    started = time.monotonic()
    address = ray.util.get_node_ip_address()
    gpus = "".join(f", GPU {gpu}" for gpu in ray.get_gpu_ids())
    node = f"{socket.gethostname()} ({address}){gpus}"
    mailbox.put.remote(number, _Node(ray.get_runtime_context().get_node_id(), node))

    from harness.execute.attempt import error_of  # these import torch, for seconds
    from harness.execute.elsewhere import Enclosed, carry_out_elsewhere, scratch_of

    parcel: Parcel = {}

    def enclosed(sent: _Sent | None) -> Enclosed | None:
        return Enclosed(sent.name, sent.sha256, lambda: ray.get(sent.parcel)) if sent else None

    def work() -> None:
        parcel.update(
            carry_out_elsewhere(
                job,
                scratch_of(address),
                node,
                enclosed(teacher),
                enclosed(images),
                on_epoch=lambda epoch, val_acc: mailbox.put.remote(number, (epoch, val_acc)),
                say=lambda sentence: mailbox.put.remote(number, f"{sentence} ({node})"),
            )
        )
        # Waited for: whoever makes this run again, should this node now be lost, must agree with this copy.
        ray.get(mailbox.put.remote(number, (node, parcel[records.RECORD])))

    return _Ended(error_of(work), parcel, time.monotonic() - started)


@contextmanager
def _connected(address: str | None, methods: Iterable[str], threads: int) -> Iterator[None]:
    """A connection to a cluster, or a cluster of this machine's own; it ends with the block.

    Raises:
        EnvironmentProblem: There is no such cluster, or it has another Ray or Python.
    """
    from harness.training.determinism import SWITCHES  # imports torch

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a study reports to nobody
    environment = {name: value for name, value in server_environment().items() if name.endswith("_THREADS")}
    environment |= {name: os.environ[name] for name in SWITCHES if name in os.environ}  # bits depend on them
    own: Mapping[str, Any] = {}
    if address is None:
        # Ray asks everybody for a token here. If it finds none it leaves one in the user's home, and from then on every
        # cluster that the user starts asks for that.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        own = {"num_cpus": max(os.cpu_count() or 1, threads), "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None and address != "auto":
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()  # Ray itself tries for minutes
        ray.init(
            address=address or "local",
            runtime_env={"py_modules": _modules(methods), "excludes": ["__pycache__"], "env_vars": environment},
            log_to_driver=False,
            logging_level=logging.ERROR,
            **own,
        )
    except (OSError, RuntimeError, ValueError, exceptions.RayError) as error:
        ray.shutdown()
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise EnvironmentProblem(
            f"--address {address or '(a cluster of its own)'}: expected a cluster of Ray {ray.__version__} and Python "
            f"{platform.python_version()} with this machine as a node, found: {first_line}; see `ray status`."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray sets its own
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _signals_held() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C and SIGTERM waiting until the function yielded is called, or the block ends.

    What a handler raises while Ray's own code is at work comes out as KeyboardInterrupt, whatever it was.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came: list[int] = []

    def heed() -> None:
        if came:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.raise_signal(came.pop())

    for number in handlers:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield heed
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        heed()


def _modules(methods: Iterable[str]) -> list[str]:
    """What nodes import from here and not from their own installation: kdcap, the methods' packages, entry points."""
    found = {str(Path(harness.__file__).parent)}
    for point in map(find, methods):
        package = find_spec(point.module.partition(".")[0])
        if package is not None:
            found.update(package.submodule_search_locations or [str(package.origin)])
        for file in (point.dist.files if point.dist else None) or ():
            if file.name == "entry_points.txt":
                found.add(str(Path(str(file.locate())).parent))
    return sorted(found)


def _cifar(dataset: Dataset, downloads: Path) -> Path | None:
    """The folder with CIFAR's files; None for other images, which every node has."""
    if dataset.name not in ("cifar10", "cifar100"):
        return None
    from harness.training.vision import torchvision

    folder: str = getattr(torchvision.datasets, dataset.name.upper()).base_folder
    return downloads / folder


def _alive() -> list[Any]:
    return [node for node in ray.nodes() if node["Alive"]]


def _sizes() -> list[tuple[float, float]]:
    """CPUs and GPUs of each living node."""
    return [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in _alive()]
