"""Folders as bytes, for machines that share no disk: packed here, unpacked and checked there.

Folders that are sent (runs, CIFAR's images) hold files and no folders, so that a dictionary is all it takes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError
from harness.execute.job import Job
from harness.files import canonical_json, sha256_of_bytes
from harness.store import record as records
from harness.store import store
from harness.store.record import RunRecord
from harness.study.spec import RunSpec

Parcel = dict[str, bytes]  # contents by file name


def pack(folder: Path) -> Parcel:
    """Every file of a folder.

    Raises:
        OSError: A file cannot be read.
    """
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def digest_of(parcel: Parcel) -> str:
    """SHA-256 over names and contents, 64 hex digits: the name under which a node keeps a parcel."""
    return sha256_of_bytes(canonical_json({name: sha256_of_bytes(parcel[name]) for name in parcel}).encode())


def unpack(parcel: Parcel, folder: Path) -> None:
    """Write a parcel's files to a folder, all of them or none; what was there before goes.

    Raises:
        StoreError: A name would lead out of the folder.
    """
    for name in parcel:
        if name == ".." or Path(name).name != name:
            raise StoreError(
                f"{folder}: expected names of files without a folder, found {name!r}; nothing was written."
            )
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, content in parcel.items():
        (beside / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def receive(job: Job, parcel: Parcel, node: str) -> None:
    """Put a run that was made elsewhere into the store, once every digest, its description and its code are checked.

    So is a student's teacher, and that it saw the teacher's images. Which images a run without a teacher saw is not:
    nothing here tells what they should be.

    Args:
        job: What was asked for.
        parcel: The run folder that came back.
        node: Where from, for people.

    Raises:
        StoreError: It is damaged, or another run, or one by other code, of another teacher or other images than its
            teacher's.
        OSError: It cannot be written here.
    """
    received = job.partial / "received"
    unpack(parcel, received)
    try:
        record = store.read(received)
    except StoreError as error:
        raise StoreError(f"{job.spec.name} came back damaged from {node}: {error}") from None
    asked = {"description": job.spec.sha256, "training code": job.code_sha256}
    found = {"description": record.spec.sha256, "training code": record.code_sha256}
    if job.teacher is not None:
        teacher = store.read(job.teacher)
        asked |= {"teacher": teacher.files[records.WEIGHTS], "set of images": teacher.data_sha256}
        found["teacher"] = record.teacher.weights_sha256 if record.teacher else "none"
        found["set of images"] = record.data_sha256
    for what, wanted in asked.items():
        if found[what] != wanted:
            raise StoreError(
                f"{job.spec.name} came back from {node} with another {what}: expected {wanted[:12]}, found "
                f"{found[what][:12]}; it was not put into the store."
            )
    files = {name: content for name, content in parcel.items() if name in record.files}
    store.commit(job.partial, job.folder, files, record)


@dataclass
class Copies:
    """The finished copies of one run that are known of: the first, with which every other must agree to the bit.

    There is a second where a node was lost, or taken for lost, after it had ended the run and before its files were
    here: the run was sent again, and both nodes have told what they made.

    Attributes:
        spec: The run.
        first: Node and record of the first copy.
    """

    spec: RunSpec
    first: tuple[str, RunRecord] | None = None

    def add(self, node: str, record: RunRecord) -> None:
        """Take note of a copy.

        Args:
            node: Where it was made.
            record: Its record.

        Raises:
            StoreError: It differs from the first in what must be equal bit for bit; names both nodes.
        """
        from harness.verify.bitwise import COMPARED  # not at the top: nodes import this module, and have no pandas

        if self.first is None:
            self.first = node, record
            return
        first_node, first = self.first
        differs = [name for name, part in COMPARED.items() if part(first) != part(record)]
        if differs:
            raise StoreError(
                f"{self.spec.name} was made twice, on {first_node} and on {node}, and the copies differ in "
                f"{', '.join(differs)}. {_why(first, record)}"
            )


def _why(first: RunRecord, second: RunRecord) -> str:
    """What the bits depend on that is not the same on both nodes, in a sentence."""
    from harness.training.determinism import bits_depend_on  # imports torch

    here, there = (bits_depend_on(record.spec, record.stack) for record in (first, second))
    others = [
        f"{name}: {here.get(name, 'none')} and {there.get(name, 'none')}"
        for name in [*here, *(name for name in there if name not in here)]
        if here.get(name) != there.get(name)
    ]
    if others:
        return f"The nodes differ too ({'; '.join(others)}), so other bits are to be expected: use nodes of one kind."
    return "The nodes do not differ in anything that the bits should depend on: one of them may be at fault."
