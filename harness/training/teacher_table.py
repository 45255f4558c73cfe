"""The teacher's logits on every view of every training image, computed once and kept in one file.

They serve every seed, alpha and temperature of a method that needs the teacher's logits alone, and are what the same
`FrozenTeacher` would compute in each step, to the bit on a CPU. On a GPU the library chooses its kernels by the size of
a batch, so there a table is as good as computing online but not the same bits: which of both a run does is in its spec.

The file is in safetensors format (https://github.com/huggingface/safetensors#format), written from front to back, and
mapped into memory when it is read: processes share it, and it may be larger than memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from harness.errors import EnvironmentProblem
from harness.files import canonical_json, sha256_of_bytes, whole_file
from harness.study.spec import Dataset
from harness.training.augment import crop, normalise, numbered_views, pad, view_count
from harness.training.data import Data
from harness.training.teacher import FrozenTeacher

_LOGITS = "logits"
# Measured on a CPU: small networks gain until 512 views, full-size ones are as fast with 32; memory grows with it.
_BATCH = 256
_SAY_EVERY_S = 30.0
_SHARE_OF_GPU = 0.25  # of its free memory; a larger table stays in the computer's


class TeacherTable:
    """Logits of every view of every training image.

    Args:
        logits: float32, (images, views, classes), mapped from a file.
        device: Where the logits are wanted. A GPU with room for it gets the whole table.
    """

    def __init__(self, logits: Tensor, device: torch.device) -> None:
        if device.type == "cuda" and logits.nbytes < _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]:
            logits = logits.to(device)
        self._views = logits.shape[1]
        self._rows = logits.flatten(0, 1)

    def logits(self, index: Tensor, number: Tensor) -> Tensor:
        """The teacher's logits on some views, float32, (batch, classes).

        Args:
            index: Which training image each view is of, int64, shape (batch,), on the wanted device. Only a GPU that
                had no room for the table waits here.
            number: Its number as `augment.view_number` counts, likewise.
        """
        row = index * self._views + number
        return self._rows.index_select(0, row.to(self._rows.device)).to(row.device)


def open_or_build(
    path: Path,
    identity: str,
    build_from: FrozenTeacher,
    data: Data,
    dataset: Dataset,
    device: torch.device,
    say: Callable[[str], None],
) -> TeacherTable:
    """Open a table after checking it; if it is missing, damaged or another one, compute it.

    Of several processes that want the same table one computes it while the others wait. If that one is killed, its lock
    goes with it and the next takes its place.

    Args:
        path: The table's file; a lock file is kept beside it.
        identity: All that the logits depend on: the teacher's weights, the images, their views, precision, threads,
            code and stack.
        build_from: The teacher.
        data: The images.
        dataset: How they are augmented.
        device: Where to compute and where the logits are wanted.
        say: Told in one line when a table has to be computed and why, and every 30 seconds how far it is.

    Raises:
        EnvironmentProblem: There is no room on the disk, or what was written cannot be read back.
    """
    shape = len(data.train_images), view_count(dataset.crop_padding, dataset.horizontal_flip), data.classes
    found = _read(path, identity, shape)
    if isinstance(found, str):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, say):
            found = _read(path, identity, shape)  # it may have come while this process waited
            if isinstance(found, str):
                images, views, _ = shape
                size = f"{images:,} images x {views} views, {_bytes(shape) / 1e6:,.0f} MB"
                say(f"{path}: {found}; computing the teacher's logits ({size}).")
                _build(path, identity, shape, _batches(build_from, data, dataset, device), say)
                found = _read(path, identity, shape)
    if isinstance(found, str):
        raise EnvironmentProblem(f"{path}: expected the table just written, found it {found}; check the disk.")
    return TeacherTable(found, device)


def _batches(teacher: FrozenTeacher, data: Data, dataset: Dataset, device: torch.device) -> Iterator[Tensor]:
    """Logits of the first image's views by number, then the second's, ..., in batches, on the CPU."""
    padding, flip = dataset.crop_padding, dataset.horizontal_flip
    padded = pad(data.train_images.to(device), padding)
    mean, std = data.mean.to(device), data.std.to(device)
    views = view_count(padding, flip)
    total = len(padded) * views
    for start in range(0, total, _BATCH):
        row = torch.arange(start, min(start + _BATCH, total), device=device)
        chosen = numbered_views(row % views, padding=padding, horizontal_flip=flip)
        images = crop(padded, row // views, chosen, padding=padding, horizontal_flip=flip)
        yield teacher.logits(normalise(images, mean, std)).float().cpu()


def _build(
    path: Path, identity: str, shape: tuple[int, int, int], batches: Iterator[Tensor], say: Callable[[str], None]
) -> None:
    """Write a table batch by batch, whole or not at all."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed: the lock is ours now
        left.unlink()
    if (free := shutil.disk_usage(path.parent).free) < _bytes(shape):
        raise EnvironmentProblem(
            f"{path}: expected {_bytes(shape) / 1e6:,.0f} MB of free disk for the teacher's logits, found "
            f"{free / 1e6:,.0f} MB; make room, or set `optimisation.teacher_logits: online`."
        )
    digest, done, rows = hashlib.sha256(), 0, shape[0] * shape[1]
    started = said = time.monotonic()
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header(identity, "0" * 64, shape))  # the digest is known at the end
        for batch in batches:
            content = batch.contiguous().numpy().data
            digest.update(content)
            file.write(content)
            done += len(batch)
            if (now := time.monotonic()) - said >= _SAY_EVERY_S:
                said, left_s = now, (now - started) * (rows - done) / done
                say(f"{path}: {done / rows:.0%}, {left_s / 60:,.0f} minutes left.")
        file.seek(0)
        file.write(_header(identity, digest.hexdigest(), shape))


def _header(identity: str, digest: str, shape: tuple[int, int, int]) -> bytes:
    """What stands before the numbers in a safetensors file with one tensor."""
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, _bytes(shape)]}
    header = canonical_json({"__metadata__": {"identity": identity, "sha256": digest}, _LOGITS: tensor}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _bytes(shape: tuple[int, int, int]) -> int:
    images, views, classes = shape
    return 4 * images * views * classes


def _read(path: Path, identity: str, shape: tuple[int, int, int]) -> Tensor | str:
    """The logits of a file, mapped into memory; or why they cannot be used."""
    if not path.exists():
        return "not there yet"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            logits: Tensor = file.get_tensor(_LOGITS)
    except (OSError, safetensors.SafetensorError):
        return "truncated or damaged"
    if metadata.get("identity") != identity or logits.shape != shape or logits.dtype != torch.float32:
        return "made from another teacher, other images or by another version"
    if metadata.get("sha256") != sha256_of_bytes(logits.numpy().data):
        return "changed since it was written"
    return logits


@contextmanager
def _alone(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a table's lock; the kernel frees it when the process ends, however it ends."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{path}: waiting for another process that computes it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
