"""Epoch checkpoints: safetensors files that hold all that the next epoch needs, the last two of a run.

Random streams are named by epoch (see `streams`), so there is no generator state to keep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from harness.files import canonical_json, sha256_of_bytes, whole_file


@dataclass(frozen=True)
class Checkpoint:
    """State at the end of an epoch.

    Attributes:
        tensors: Named groups (`student`, `method`, `momentum`, `best`) of named tensors.
        progress: JSON values: history, seconds, where the run was resumed.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Any]

    @property
    def epoch(self) -> int:
        """The last epoch that was trained: `progress.history` has an entry for each."""
        return len(self.progress["history"])


class _Unusable(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, whatever device they are on."""
    parts = []
    for name in sorted(tensors):
        value = _plain(tensors[name])
        content = sha256_of_bytes(value.flatten().view(torch.uint8).numpy().data)
        parts.append([name, str(value.dtype), list(value.shape), content])
    return sha256_of_bytes(canonical_json(parts).encode())


def save(folder: Path, identity: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole; only then the last but one, and what a killed process left half written, is removed.

    Args:
        folder: Folder of the run's checkpoints; made if missing.
        identity: Digests of all that the bits depend on: a checkpoint is good for these alone.
        checkpoint: What to keep.
    """
    flat = {
        f"{group}/{name}": _plain(tensor)
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    progress = canonical_json(checkpoint.progress)
    metadata = {"identity": identity, "progress": progress, "digest": _digest(identity, progress, flat)}
    path = folder / f"checkpoint-{checkpoint.epoch:06}.safetensors"
    with whole_file(path) as temporary:
        safetensors.torch.save_file(flat, temporary, metadata)
    previous = [file for file in _newest_first(folder) if file.name < path.name][:1]
    for old in {*folder.glob("*checkpoint-*")} - {path, *previous}:
        old.unlink()


def restore(folder: Path, identity: str, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole and meant for this run; None without one. Others are removed.

    Args:
        folder: Folder of the run's checkpoints.
        identity: As given to `save`.
        say: Told, in one sentence, which files could not be used, why, and from which epoch the run goes on.
    """
    problems = []
    found = None
    for path in _newest_first(folder):
        try:
            found = _read(path, identity)
            break
        except _Unusable as problem:
            problems.append(f"{path} {problem}")
            with suppress(OSError):
                path.unlink()  # or the next `save` would keep it as the one before, and remove the good one
    if problems:
        start = f"goes on from epoch {found.epoch}" if found else "starts afresh"
        say(f"{', and '.join(problems)}; the run {start}.")
    return found


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


def _read(path: Path, identity: str) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned: the tensors of an open file are its pages, and change when the file does.
            flat = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except safetensors.SafetensorError:
        raise _Unusable("is cut short, or no checkpoint at all") from None
    except OSError as error:
        raise _Unusable(f"cannot be read ({error.strerror or error})") from None
    if "identity" not in metadata:
        raise _Unusable("is no checkpoint of a run")
    if metadata["identity"] != identity:
        raise _Unusable("was made for another description, code or stack")
    progress = metadata.get("progress", "")
    if metadata.get("digest") != _digest(identity, progress, flat):
        raise _Unusable("was changed after it was written")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return Checkpoint(groups, json.loads(progress))


def _digest(identity: str, progress: str, tensors: Mapping[str, Tensor]) -> str:
    return sha256_of_bytes(canonical_json([identity, progress, tensors_digest(tensors)]).encode())


def _plain(tensor: Tensor) -> Tensor:
    """A tensor as files and digests hold it: row by row (turned on its own device, which is faster), on the CPU."""
    return tensor.detach().contiguous().cpu()
