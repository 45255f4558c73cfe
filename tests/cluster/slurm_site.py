"""A Slurm site on this machine: one controller and nodes of one core, in a folder of their own, as any user.

Debian's packages are enough: `slurm-wlm` and `munge`. No accounts are kept and no cgroups used.
"""

from __future__ import annotations

import getpass
import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

# For nodes that are up again and for jobs that were cut, Slurm waits; here for seconds.
CONFIGURATION = """\
ClusterName=kdcap
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=6
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=6
KillWait=1
ReturnToService=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=main Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2
"""
NODES = ("node1", "node2")


def missing() -> str | None:
    """Why no site can be had here; None where one can."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch")
    lacking = [program for program in programs if shutil.which(program, path=_path()) is None]
    return f"{', '.join(lacking)} not installed: apt-get install slurm-wlm munge" if lacking else None


class Site:
    """A running site.

    Attributes:
        environment: What Slurm's commands, and so the harness, need in theirs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Write the configuration and start all daemons; returns when both nodes wait for work."""
        (self._folder / "state").mkdir()
        (self._folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self._folder / "munge.key").chmod(0o400)
        text = CONFIGURATION.format(
            host=platform.node().partition(".")[0], user=getpass.getuser(), folder=self._folder, ports=_free_ports(3)
        )
        (self._folder / "slurm.conf").write_text(text, encoding="utf-8")
        files = {"socket": "munge.sock", "key-file": "munge.key", "log-file": "munged.log"}
        files |= {"pid-file": "munged.pid", "seed-file": "munged.seed"}
        self._start("munged", "--foreground", "--force", *(f"--{key}={self._folder / files[key]}" for key in files))
        wait_for((self._folder / "munge.sock").exists, "munged")
        self._start("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        idle = ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%t"]
        wait_for(lambda: self.ask(*idle).split() == ["idle", "idle"], "nodes")

    def start_node(self, node: str) -> None:
        """Start a node, for the first time or after it was killed."""
        self._start("slurmd", "-D", "-N", node, name=node)

    def _start(self, *words: str, name: str = "") -> None:
        with (self._folder / f"{name or words[0]}.out").open("wb") as out:
            self._daemons[name or words[0]] = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out)

    def ask(self, *words: str) -> str:
        """Run one of Slurm's commands: what it prints, empty where it fails."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False).stdout

    def states(self) -> dict[str, str]:
        """State of every job that Slurm knows, by its ID."""
        lines = self.ask("squeue", "--states=all", "--array", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def at_work(self) -> list[str]:
        """Jobs that have not come to an end."""
        return [job for job, state in self.states().items() if state not in ("COMPLETED", "CANCELLED", "FAILED")]

    def kill_node(self, node: str) -> None:
        """End a node as a power cut does: its daemon, its step daemons and what they run, by SIGKILL."""
        self._daemons[node].kill()
        self._daemons[node].wait()
        for process in self._jobs_of(node):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _jobs_of(self, node: str) -> list[psutil.Process]:
        """Processes of a node's jobs, and the step daemon above each: only they know which node they are of."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                mine = environment.get("SLURM_CONF") == self.environment["SLURM_CONF"]
                if mine and environment.get("SLURMD_NODENAME") == node:
                    parent = process.parent()
                    found += [parent, process] if parent and "slurmstepd" in parent.name() else [process]
        return found

    def stop(self) -> None:
        """End all jobs and daemons."""
        if "slurmctld" in self._daemons:
            self.ask("scancel", f"--user={getpass.getuser()}")
            with suppress(AssertionError):
                wait_for(lambda: not self.at_work(), "jobs to end")
        for node in NODES:
            for process in self._jobs_of(node):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


@contextmanager
def running_site() -> Iterator[Site]:
    """A site, up while the block runs. Its folder's name is short, since names of sockets may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="kdcap-slurm-"))
    site = Site(folder)
    try:
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(folder)


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something has happened.

    Raises:
        AssertionError: It has not.
    """
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def _path() -> str:
    """Daemons are in sbin, where users' paths need not lead."""
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
