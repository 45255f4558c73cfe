"""A run as a process that somebody else starts: reads its job from a file, trains, tells what happens in a journal.

`python -m harness.execute.task FOLDER NUMBER...` is what an array of jobs starts. Job NUMBER is FOLDER/NUMBER.json; its
journal, FOLDER/NUMBER.jsonl, has a line for all that people should know. Both are text: pickles from a disk that others
write to could hold any code.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.errors import StoreError
from harness.execute.attempt import error_of, need_same_code
from harness.execute.job import Job
from harness.execute.parcel import Copies
from harness.files import canonical_json, write_whole
from harness.store import store
from harness.store.record import RunRecord

_JOB = TypeAdapter(Job)


class Superseded(BaseException):
    """Another process carries out this job now. No `Exception`: nothing that records failures may take it for one."""


def write_job(folder: Path, number: int, job: Job) -> None:
    """Put a job where the process that carries it out finds it."""
    write_whole(folder / f"{number}.json", _JOB.dump_json(job))


class Journal:
    """What happens to a job, a line of JSON each, for whoever reads along from another machine.

    The file is opened for each line: on a network disk others see what was closed. A line that somebody else has added
    means that the job was started again elsewhere, as when Slurm gives up a node that has only lost its network: then
    this process must not write into the run's folders any more.

    Args:
        path: The file; lines are added to what an earlier start of the job has left.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = path.stat().st_size if path.exists() else 0

    def tell(self, line: Mapping[str, Any]) -> None:
        """Add a line, on a new one where a full disk or a power cut has left half of another.

        Raises:
            Superseded: The file is not as this process has left it.
        """
        with self._path.open("a+b", buffering=0) as stream:
            if stream.seek(0, os.SEEK_END) != self._end:
                raise Superseded
            stream.seek(max(0, self._end - 1))
            torn = stream.read(1) not in (b"", b"\n")
            rest = b"\n" * torn + f"{canonical_json(line)}\n".encode()
            while rest:  # what was written counts as ours also when the disk is full before the end
                written = stream.write(rest) or 0
                self._end, rest = self._end + written, rest[written:]


def read_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """Whole lines of a journal; one that was torn is left out.

    Args:
        path: The journal; may be missing yet.
        start: Bytes that were read before.

    Returns:
        The lines after them, and the bytes that are read now.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            whole, _, _ = stream.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], start
    lines = [_parsed(line) for line in whole.split(b"\n")]
    return [line for line in lines if line is not None], start + len(whole) + bool(whole)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def main(folder: Path, number: str) -> None:
    """Carry out a job unless an earlier start has seen its end.

    Args:
        folder: Folder of the job's file and journal.
        number: Which job.
    """
    path, file = folder / f"{number}.jsonl", folder / f"{number}.json"
    before = read_lines(path, 0)[0]
    if any("error" in line for line in before):
        return
    journal = Journal(path)
    began = time.monotonic()
    try:
        # In this order: the driver takes away the file of a job that is done before its journal, so that a start which
        # finds no end there any more finds no job either.
        journal.tell({"node": _node()})
        job = _JOB.validate_json(file.read_bytes())
        error = error_of(lambda: _carry_out(job, journal, [line["node"] for line in before if "node" in line]))
        journal.tell({"error": error, "seconds": time.monotonic() - began})
    except FileNotFoundError:
        sys.exit(f"{file}: expected a job, found none; it is done, or this machine does not share the folder.")
    except Superseded:
        print("this job was started again elsewhere: ending here")  # noqa: T201 - the job's log


def _carry_out(job: Job, journal: Journal, earlier: list[str]) -> None:
    from harness.execute import worker  # imports torch, for seconds: the driver has heard of this start by then

    def before_commit(record: RunRecord) -> None:
        journal.tell({"whole": True})  # a last look whether the run is another's now
        _need_same_copy(job, record, " or ".join(dict.fromkeys(earlier)) or "another node")

    need_same_code(job, _node())
    worker.carry_out(
        job,
        on_epoch=lambda epoch, accuracy: journal.tell({"epoch": epoch, "val_acc": accuracy}),
        say=lambda sentence: journal.tell({"say": sentence}),
        before_commit=before_commit,
    )


def _need_same_copy(job: Job, record: RunRecord, earlier: str) -> None:
    """Compare a run with the copy that another start may have put into its folder meanwhile.

    Args:
        job: The job.
        record: The run as this start has made it.
        earlier: Nodes of the earlier starts, for people.

    Raises:
        StoreError: There is one and it differs; both are gone then.
    """
    try:
        first = store.read(job.folder)
    except StoreError:  # none, or a damaged one
        return
    if (first.spec, first.code_sha256, first.teacher) != (record.spec, record.code_sha256, record.teacher):
        return
    try:
        Copies(job.spec, (earlier, first)).add(_node(), record)
    except StoreError as differs:
        shutil.rmtree(job.folder)  # it would count as done
        shutil.rmtree(job.partial, ignore_errors=True)  # and a new start would go on from the end of the second
        raise StoreError(f"{differs} Neither copy is kept.") from None


def _node() -> str:
    """This machine as Slurm names it, and the cards it was given."""
    cards = os.environ.get("SLURM_JOB_GPUS")
    node = os.environ.get("SLURMD_NODENAME") or platform.node()
    return f"{node}, GPU {cards}" if cards else node


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2 + int(os.environ["SLURM_ARRAY_TASK_ID"])])
