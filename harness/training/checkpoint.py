"""Epoch checkpoints: one safetensors file that holds all that the next epoch needs.

Random streams are named by epoch (see `streams`), so there is no generator state to keep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from harness.files import canonical_json, sha256_of_bytes, write_whole


@dataclass(frozen=True)
class Checkpoint:
    """State at the end of an epoch.

    Attributes:
        tensors: Named groups (`student`, `projections`, `momentum`, `best`) of named tensors.
        progress: JSON values: history, seconds, best epoch.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Any]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, whatever device they are on."""
    parts = []
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        content = sha256_of_bytes(value.numpy().tobytes())
        parts.append([name, str(value.dtype), list(value.shape), content])
    return sha256_of_bytes(canonical_json(parts).encode())


def save(path: Path, identity: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole, in place of the last one.

    Args:
        path: The file.
        identity: Spec and code digests: a checkpoint is good for these alone.
        checkpoint: What to keep.
    """
    flat = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    progress = canonical_json(checkpoint.progress)
    digest = _digest(identity, progress, flat)
    write_whole(path, safetensors.torch.save(flat, {"identity": identity, "progress": progress, "digest": digest}))


def restore(path: Path, identity: str) -> Checkpoint | None:
    """The checkpoint in a file, or None if there is none that is whole and meant for this run.

    Args:
        path: The file.
        identity: Spec and code digests of the run.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError):
        return None
    progress = metadata.get("progress", "")
    if metadata.get("identity") != identity or metadata.get("digest") != _digest(identity, progress, flat):
        return None
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return Checkpoint(groups, json.loads(progress))


def _digest(identity: str, progress: str, tensors: Mapping[str, Tensor]) -> str:
    return sha256_of_bytes(canonical_json([identity, progress, tensors_digest(tensors)]).encode())
