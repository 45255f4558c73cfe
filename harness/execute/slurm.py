"""The Slurm executor: job arrays through sbatch, followed by squeue and by the journals that the runs write.

Only sbatch, squeue and scancel are used, not submitit: it hands functions and results over as pickles on the shared
disk, where this project reads none, and without them has neither jobs nor, at sites that keep no accounts, states.
Slurm does the scheduling, and requeues what a lost node or a preemption cuts; what it does not, this executor submits
again. A run goes on from its checkpoint either way: that is `carry_out`'s doing.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import EnvironmentProblem
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.execute.local import server_environment
from harness.execute.task import read_lines, write_job
from harness.files import sha256_of_bytes, write_whole
from harness.study.load import Slurm
from harness.study.spec import Optimisation

JOURNALS_EVERY_S = 2.0
QUEUE_EVERY_S = 15.0  # the controller serves the whole site
# What a run wrote last may take this long to be seen from another machine: NFS looks at a folder's names again after at
# most 60 s (nfs(5), acdirmax).
LAST_WORDS_S = 60.0
OUTAGE_S = 1800.0  # a controller that is restarted or moved is back by then
LOG_LINES = 5

_FOLDER, _ACTIVE = ".slurm", "active"  # in the profile's run folder; and there, while jobs may be at work: their name

# squeue(1), "JOB STATE CODES": those that a job does not leave. Of these Slurm's or the site's doing are the cuts.
_CUT = frozenset({"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "TIMEOUT"})
_GONE = "GONE"  # our word: Slurm has forgotten the job
_OVER = _CUT | {_GONE, "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED"}
# squeue(1), "JOB REASON CODES": the usual ones of a job that will run.
_USUAL = frozenset({"None", "Priority", "Resources", "BeginTime", "Cleaning", "Dependency"})


class _Refused(Exception):
    """What Slurm answered instead of doing what it was told."""


@dataclass(frozen=True)
class _Place:
    """A job as squeue lists it: its state, its nodes, and the reason why it waits."""

    state: str
    nodes: str
    reason: str


@dataclass(eq=False)
class _Task:
    """A job in Slurm's queue.

    Attributes:
        job: The job.
        number: Its number among the files of this session.
        journal: Its journal.
        slurm_id: Its name in the queue, e.g. `1207_3`.
        heard_bytes: Bytes of the journal that were read.
        node: Where it runs, or ran last; "" before its first start.
        epoch: The furthest epoch that it has told of.
        epoch_before: The same when it went into the queue.
        ended: Whether it has told its end.
        error: What it told of it; None for a good one.
        seconds: Wall time of its last start.
        over_since: Since when it is over for Slurm (seconds of the monotonic clock); None before.
    """

    job: Job
    number: int
    journal: Path
    slurm_id: str = ""
    heard_bytes: int = 0
    node: str = ""
    epoch: int = 0
    epoch_before: int = 0
    ended: bool = False
    error: str | None = None
    seconds: float | None = None
    over_since: float | None = None

    def submitted(self, slurm_id: str) -> None:
        """It went into the queue under this name."""
        self.slurm_id, self.epoch_before, self.over_since = slurm_id, self.epoch, None

    def hear(self, on_epoch: OnEpoch, say: Say) -> bool:
        """Read what was added to the journal; returns whether there was anything."""
        lines, self.heard_bytes = read_lines(self.journal, self.heard_bytes)
        for line in lines:
            match line:
                case {"node": str(node)}:
                    if self.node:
                        say(self.job, f"was cut on {self.node} and goes on on {node}")
                    self.node = node
                case {"epoch": int(epoch), "val_acc": float(val_acc)}:
                    self.epoch = max(self.epoch, epoch)
                    on_epoch(self.job, epoch, val_acc)
                case {"say": str(sentence)}:
                    say(self.job, sentence)
                case {"error": error, "seconds": float(seconds)}:
                    self.ended, self.error, self.seconds = True, error, seconds
        return bool(lines)

    def over_for(self) -> float:
        """Seconds since Slurm first said that it is over."""
        now = time.monotonic()
        self.over_since = now if self.over_since is None else self.over_since
        return now - self.over_since


class SlurmExecutor:
    """Runs jobs on a Slurm site.

    The workspace, with its run folders and downloads, lies on a directory that all nodes have under the same path, and
    so does this Python. A site where that is not so is told by the first job that ends without a word.

    Args:
        settings: Block `slurm:` of params.yaml.
    """

    def __init__(self, settings: Slurm) -> None:
        self._settings = settings

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `harness.execute.job.Executor`.

        Raises:
            EnvironmentProblem: Slurm is not there, refuses the jobs, or has nodes that do not share the workspace;
                another driver is at work on this profile.
        """
        if not ready:
            return
        place = ready[0].tables.with_name(_FOLDER).absolute()  # on the shared disk, outside the phases' folders
        # One name for all jobs of these run folders: by it is found what a driver that was killed has left.
        name = f"kdcap-{sha256_of_bytes(str(place).encode())[:12]}"
        with _locked(place):
            _cancel(name)
            shutil.rmtree(place, ignore_errors=True)
            session = _Session(self._settings, place / secrets.token_hex(8), name, on_epoch, say)
            session.folder.mkdir(parents=True)
            write_whole(place / _ACTIVE, name)
            try:
                yield from session.run(ready)
            finally:
                with suppress(_Refused):  # then the next driver of these run folders does it
                    _slurm("scancel", f"--name={name}")
            (place / _ACTIVE).unlink(missing_ok=True)  # who leaves early does not wait until the jobs have ended
            if not session.failed:  # else failed runs name their logs there, which stay until the next start
                shutil.rmtree(place, ignore_errors=True)  # NFS keeps the name of a file that a node has open


def need_no_jobs(runs: Path) -> None:
    """Refuse to train here by other means while jobs that this executor has submitted may be at work.

    Args:
        runs: Run folder of the profile.

    Raises:
        EnvironmentProblem: A driver has not come to its end, and Slurm does not say that all its jobs are over.
    """
    marker = runs / _FOLDER / _ACTIVE
    try:
        name = marker.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    with suppress(_Refused, EnvironmentProblem):  # no answer, or no Slurm here
        if not _at_work(name):
            return
    raise EnvironmentProblem(
        f"{runs}: jobs of another `harness train --executor slurm` may still be at work, even if it was killed; wait "
        "for it, or give the same command again: it ends them first and goes on. Or end them with "
        f"`scancel --name={name}` and remove {marker}."
    )


class _Session:
    """One call of `SlurmExecutor.run`: its folder, and its jobs in Slurm's queue by their names there."""

    def __init__(self, settings: Slurm, folder: Path, name: str, on_epoch: OnEpoch, say: Say) -> None:
        self.settings, self.folder, self.name = settings, folder, name
        self.on_epoch, self.say = on_epoch, say
        self.tasks: dict[str, _Task] = {}
        self.failed = False
        self._waiting: list[_Task] = []  # to be submitted, cut ones among them
        self._numbers = 0
        self._accepted = False  # whether Slurm has taken any jobs: what it refuses later is no mistake in the settings
        self._heard = False  # whether any node has seen the folder
        self._said: set[str] = set()
        self._answered = time.monotonic()

    def run(self, ready: list[Job]) -> Iterator[Done]:
        """Submit and follow until nothing is left."""
        looked = time.monotonic()
        may_submit = True
        while ready or self._waiting or self.tasks:
            if may_submit:
                may_submit = self._submit(ready)
            time.sleep(JOURNALS_EVERY_S)
            journals = set(self.folder.glob("*.jsonl"))  # a listing makes a network disk look again
            for task in [task for task in self.tasks.values() if task.journal in journals]:
                self._heard |= task.hear(self.on_epoch, self.say)
                if task.ended and (task.error or _listed(task.job.folder)):
                    yield self._done(task, task.error)
            if time.monotonic() - looked >= QUEUE_EVERY_S:
                yield from self._look()
                looked = time.monotonic()
                may_submit = True

    def _submit(self, ready: list[Job]) -> bool:
        """Put what there is room for into the queue, as one array; returns False where Slurm takes no more for now."""
        room = self.settings.runs_at_once - len(self.tasks) - len(self._waiting)
        taken = ready[:room]
        del ready[:room]
        for job in taken:
            write_job(self.folder, self._numbers, job)
            self._waiting.append(_Task(job, self._numbers, self.folder / f"{self._numbers}.jsonl"))
            self._numbers += 1
        if not self._waiting:
            return True
        numbers = [task.number for task in self._waiting]
        needs = self._waiting[0].job.spec.optimisation
        try:
            answer = _slurm(*submission(self.settings, self.name, self.folder, numbers, needs))
        except _Refused as refused:
            if not self._accepted:
                raise EnvironmentProblem(
                    f"Slurm refuses the jobs ({refused}); correct the block `slurm` of params.yaml, or ask the site."
                ) from None
            self._say_once(self._waiting[0].job, f"Slurm takes no more jobs now ({refused}); they are offered again")
            return False
        self._accepted = True
        array = answer.strip().partition(";")[0]  # ID, or ID;CLUSTER
        for index, task in enumerate(self._waiting):
            task.submitted(f"{array}_{index}")
            self.tasks[task.slurm_id] = task
        self._waiting.clear()
        return True

    def _look(self) -> Iterator[Done]:
        """Ask Slurm what became of the jobs that have not told their end."""
        try:
            places = _places(self.name)
        except _Refused as refused:
            if time.monotonic() - self._answered > OUTAGE_S:
                raise EnvironmentProblem(
                    f"Slurm has not answered for {OUTAGE_S / 60:.0f} minutes ({refused}); its jobs may be running: run "
                    "the same command again when `squeue` works, it ends them first and goes on from their checkpoints."
                ) from None
            return
        self._answered = time.monotonic()
        for task in list(self.tasks.values()):
            place = places.get(task.slurm_id, _Place(_GONE, "", ""))
            if place.state in _CUT and (place.state != "TIMEOUT" or task.epoch > task.epoch_before):
                self.say(task.job, f"was cut on {place.nodes} ({place.state}) and goes on from its checkpoint")
                self._waiting.append(self.tasks.pop(task.slurm_id))
            elif place.state in _OVER:
                if task.over_for() > LAST_WORDS_S:
                    yield self._done(task, self._how_it_ended(task, place))
            else:
                task.over_since = None
                if place.reason not in _USUAL:
                    self._say_once(task.job, f"Slurm lets it wait ({place.reason}); `scontrol show job` tells more")

    def _done(self, task: _Task, error: str | None) -> Done:
        del self.tasks[task.slurm_id]
        if error is None:  # a folder of a hundred thousand old files would be listed every two seconds
            # The job before its journal: see `harness.execute.task.main`.
            for path in (task.journal.with_suffix(".json"), task.journal, self.folder / f"{task.slurm_id}.log"):
                path.unlink(missing_ok=True)
        self.failed |= error is not None
        return Done(task.job, error, task.node, task.seconds)

    def _how_it_ended(self, task: _Task, place: _Place) -> str:
        """What is known of a job that ended without a word of its own."""
        if task.ended:
            return f"it ended well on {task.node}, but {task.job.folder} is not to be seen from here"
        if place.state == "TIMEOUT":
            return (
                f"its time on {place.nodes} ended before a new epoch did; raise `slurm.minutes` in params.yaml above "
                "the time of an epoch, or take it out"
            )
        log = self.folder / f"{task.slurm_id}.log"
        try:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except FileNotFoundError:
            last = []
        if place.state == _GONE:
            how = f"Slurm knows nothing more of job {task.slurm_id}"
        else:
            how = f"Slurm ended job {task.slurm_id} as {place.state} on {place.nodes or 'no node'}"
        if not self._heard and not last:
            raise EnvironmentProblem(
                f"{how}, and nothing of it is to be seen here: expected all nodes to share {self.folder.parent}; move "
                "the workspace to a directory that they share, under the same path."
            )
        return "\n".join([f"{how}; the end of {log}:", *last] if last else [how])

    def _say_once(self, job: Job, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.say(job, sentence)


def submission(
    settings: Slurm, name: str, folder: Path, numbers: Sequence[int], optimisation: Optimisation
) -> list[str]:
    """The sbatch command of a job array.

    Args:
        settings: Block `slurm:` of params.yaml.
        name: Name of the jobs.
        folder: Folder of the jobs' files; the logs go there too.
        numbers: The jobs' numbers there, in the order of the array.
        optimisation: What the runs need: their threads, and a GPU where their device is not `cpu`.

    Returns:
        The words; it answers with the array's ID.
    """
    work = [sys.executable, "-m", "harness.execute.task", str(folder), *map(str, numbers)]
    words = [
        "sbatch",
        "--parsable",
        f"--job-name={name}",
        f"--array=0-{len(numbers) - 1}",
        f"--chdir={Path.cwd()}",
        f"--output={folder}/%A_%a.log",
        "--open-mode=append",  # a job that is started again goes on in its log
        "--requeue",
        "--export=ALL",
        f"--cpus-per-task={optimisation.threads}",
    ]
    if optimisation.device != "cpu":
        words.append(f"--gres={settings.gres}")
    if settings.partition is not None:
        words.append(f"--partition={settings.partition}")
    if settings.minutes is not None:
        words.append(f"--time={settings.minutes}")
    return [*words, *settings.options, f"--wrap=exec {shlex.join(work)}"]


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Be the only driver of a folder: its files, and the name of its jobs, are one driver's."""
    with place.with_name(f"{place.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentProblem(
                f"{place.parent}: another `harness train --executor slurm` is at work here, if on other runs; wait for "
                "it, or end it."
            ) from None
        yield


def _cancel(name: str) -> None:
    """End all jobs of a name and wait until none is at work: two on one run would be in each other's way."""
    try:
        _slurm("scancel", f"--name={name}")
        while _at_work(name):
            time.sleep(JOURNALS_EVERY_S)
    except _Refused as refused:
        raise EnvironmentProblem(f"Slurm does not answer ({refused}); try again when `squeue` works here.") from None


def _at_work(name: str) -> bool:
    """Whether any job of a name runs, waits or is about to end."""
    return any(place.state not in _OVER for place in _places(name).values())


def _places(name: str) -> dict[str, _Place]:
    """Where all jobs of a name are, by their own names (`1207_3`); Slurm forgets those that are over for minutes."""
    lines = _slurm("squeue", f"--name={name}", "--states=all", "--array", "--noheader", "--format=%i|%T|%N|%r")
    return {slurm_id: _Place(*rest) for slurm_id, *rest in (line.split("|", 3) for line in lines.splitlines())}


def _slurm(*words: str) -> str:
    """Run one of Slurm's commands: what it prints."""
    try:
        answer = subprocess.run(  # noqa: S603 - words of our own and of params.yaml, no shell
            words, env={**os.environ, **server_environment()}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise EnvironmentProblem(
            f"--executor slurm: expected Slurm's command `{words[0]}`, found none; run this on a submit host of the "
            "site, or see docs/scaling.md for job arrays without one."
        ) from None
    if answer.returncode:
        raise _Refused(" ".join(answer.stderr.split()) or f"{words[0]} ended with code {answer.returncode}")
    return answer.stdout


def _listed(folder: Path) -> bool:
    """Whether a folder is to be seen. A listing makes a network disk look again; asked for a name it may remember."""
    try:
        return folder in folder.parent.iterdir()
    except FileNotFoundError:
        return False
