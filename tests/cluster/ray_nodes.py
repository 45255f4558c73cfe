"""A Ray cluster on this machine: two nodes of one core each, on loopback addresses of their own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # on 127.0.0.1 a second node waits for ever
# A node that says nothing for three seconds is lost; by default Ray waits for fifteen.
QUICK = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
# A token of this cluster's own: whichever the user has is neither needed nor touched.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@dataclass(frozen=True)
class Node:
    """A node: its address, `ray start` with all that it has started, and its folder for temporary files."""

    address: str
    process: subprocess.Popen[str]
    folder: Path

    def processes(self) -> list[psutil.Process]:
        """Every process of the node."""
        try:
            here = psutil.Process(self.process.pid)
            return [here, *here.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def tasks(self) -> list[psutil.Process]:
        """Of these, those that train: Ray names a process after its task, and a task after its run."""
        return [process for process in self.processes() if _title(process).startswith("ray::resnet")]

    def checkpoints(self) -> dict[str, str]:
        """The newest checkpoint of every run that is at work here, or was cut."""
        found = self.folder.glob(f"kdcap-*/{self.address}/runs/*/partial/checkpoints/checkpoint-*.safetensors")
        return {path.parents[2].name: path.name for path in sorted(found)}

    def kill(self) -> None:
        """As a power cut: SIGKILL to every process, its trainings included."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # so that none sees another's end and starts something
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=10)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A fresh folder for temporary files: Ray's sockets lie there, and their paths may have no more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        yield Path(folder)


@contextmanager
def running_cluster() -> Iterator[tuple[str, dict[str, Node]]]:
    """Two nodes, and the cluster's address; none of their processes is left in the end."""
    with short_folder() as folder:
        with socket.create_server((HEAD, 0)) as free:
            cluster = f"{HEAD}:{free.getsockname()[1]}"
        nodes: dict[str, Node] = {}
        try:
            head = [
                "--head",
                f"--port={cluster.partition(':')[2]}",
                "--include-dashboard=false",
                f"--temp-dir={folder}",
            ]
            nodes[HEAD] = _start(HEAD, folder, head)
            nodes[OTHER] = _start(OTHER, folder, [f"--address={cluster}"])
            yield cluster, nodes
        finally:
            for node in nodes.values():
                node.kill()


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not (found := bool(condition())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _start(address: str, folder: Path, where: list[str]) -> Node:
    command = ["start", f"--node-ip-address={address}", "--num-cpus=1", "--object-store-memory=100000000", "--block"]
    ports = ["--min-worker-port=0", "--max-worker-port=0"]  # any that are free
    log = folder / f"{address}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "ray", *command, *ports, *where],
            env={**os.environ, **QUICK, **TOKEN, "TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
            | {"PYTHONUNBUFFERED": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    if not wait_until(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, seconds=120):
        raise TimeoutError(f"{address} did not start in two minutes:\n{log.read_text()}")
    if process.poll() is not None:
        raise RuntimeError(f"{address} ended at once:\n{log.read_text()}")
    return Node(address, process, folder)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
