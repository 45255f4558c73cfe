"""A run on a machine that does not have the store: carried out in a scratch folder there, and packed.

The scratch folder stays between runs, for what later ones need: checkpoints of a run that was cut, teachers, their
tables, images.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.execute import worker
from harness.execute.attempt import need_same_code
from harness.execute.job import Job
from harness.execute.parcel import Parcel, digest_of, pack, unpack
from harness.files import canonical_json, sha256_of_bytes


@dataclass(frozen=True)
class Enclosed:
    """A folder that a job needs, fetched by a node once.

    Attributes:
        name: What the folder is called.
        sha256: Digest of its contents (`digest_of`).
        fetch: Gets them.
    """

    name: str
    sha256: str
    fetch: Callable[[], Parcel]


def scratch_of(node: str) -> Path:
    """This user's scratch folder on a node, in the system's folder for temporary files (TMPDIR)."""
    return Path(tempfile.gettempdir()) / f"kdcap-{os.getuid()}" / node


def carry_out_elsewhere(
    job: Job,
    scratch: Path,
    node: str,
    teacher: Enclosed | None,
    images: Enclosed | None,
    on_epoch: Callable[[int, float], None],
    say: Callable[[str], None],
) -> Parcel:
    """Train a run of a store on another machine; a cut one goes on from the checkpoint that it left on this node.

    Args:
        job: The run; its folders are the other machine's and are not looked at.
        scratch: The node's scratch folder.
        node: The node, for people.
        teacher: The teacher's run folder; None without one.
        images: CIFAR's files; None for images that every node has.
        on_epoch: Told (epoch, validation accuracy) as each epoch ends.
        say: Told, in a sentence, what people should know.

    Returns:
        The run folder.

    Raises:
        KdcapError: The training code here is another one; or see `harness.execute.worker.carry_out`.
        TrainingFailed: A loss or gradient was not finite.
        OSError: The scratch folder cannot be written.
    """
    need_same_code(job, node)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = [job.spec.sha256, job.code_sha256, teacher.sha256 if teacher else ""]
    place = scratch / "runs" / f"{job.spec.name}-{sha256_of_bytes(canonical_json(identity).encode())[:12]}"
    here = replace(
        job,
        teacher=_at_hand(scratch, teacher) if teacher else None,
        partial=place / "partial",
        folder=place / job.spec.name,
        tables=scratch / "tables",
        downloads=_at_hand(scratch, images).parent if images else scratch,
    )
    with _alone(place):  # against a second study that wants the same run
        worker.carry_out(here, on_epoch, say)
        parcel = pack(here.folder)
        shutil.rmtree(place)
    return parcel


def _at_hand(scratch: Path, enclosed: Enclosed) -> Path:
    """Where an enclosed folder lies on this node; the first run that needs it fetches it."""
    folder = scratch / "enclosed" / enclosed.sha256[:12] / enclosed.name
    with _alone(folder):
        if not folder.exists() or digest_of(pack(folder)) != enclosed.sha256:
            unpack(enclosed.fetch(), folder)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works on a folder; the kernel frees the lock however its holder ends."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
