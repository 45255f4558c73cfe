"""Checkpoints: what went in comes out, or nothing does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.training.checkpoint import Checkpoint, restore, save, tensors_digest

SAVED = Checkpoint(
    tensors={
        "student": {"conv.weight": torch.tensor([[0.1, -2.0], [3e-8, float("inf")]]), "steps": torch.tensor(7)},
        "momentum": {"0": torch.arange(3, dtype=torch.float64)},
    },
    progress={"history": [{"epoch": 1, "val_acc": 0.1 + 0.2}], "seconds": [1.5], "resumed_at": []},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of run "mine"."""
    path = tmp_path / "checkpoint.safetensors"
    save(path, "mine", SAVED)
    return path


def same(found: Checkpoint | None, expected: Checkpoint = SAVED) -> bool:
    """Whether two checkpoints hold the same bits."""
    if found is None or found.progress != expected.progress or found.tensors.keys() != expected.tensors.keys():
        return False
    return all(
        tensors_digest(found.tensors[group]) == tensors_digest(expected.tensors[group]) for group in found.tensors
    )


def test_round_trip(path: Path) -> None:
    """Groups, names, types, shapes, bits and progress come back; nothing else is left in the folder."""
    found = restore(path, "mine")
    assert found is not None
    assert same(found)
    assert found.tensors["student"]["conv.weight"].dtype == torch.float32
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_comparison_would_fail(path: Path) -> None:
    """The comparison of these tests notices one bit and one digit."""
    found = restore(path, "mine")
    assert found is not None
    assert not same(found, replace(SAVED, progress=SAVED.progress | {"seconds": [1.25]}))
    changed = SAVED.tensors["student"] | {"steps": torch.tensor(8)}
    assert not same(found, replace(SAVED, tensors=SAVED.tensors | {"student": changed}))


def test_a_later_checkpoint_takes_the_earlier_ones_place(path: Path) -> None:
    """The file always holds the last whole epoch."""
    later = replace(SAVED, progress=SAVED.progress | {"seconds": [1.5, 2.5]})
    save(path, "mine", later)
    assert same(restore(path, "mine"), later)


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    """A run without one starts afresh."""
    assert restore(tmp_path / "none", "mine") is None


def test_another_runs_checkpoint_is_not_used(path: Path) -> None:
    """Identity holds description, code and teacher."""
    assert restore(path, "yours") is None


def test_a_truncated_checkpoint_is_not_used(path: Path) -> None:
    """Cut anywhere."""
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert restore(path, "mine") is None, length


def test_a_strange_file_is_not_used(path: Path) -> None:
    """Not a safetensors file at all."""
    path.write_bytes(b"\0" * 1000)
    assert restore(path, "mine") is None


def flips(path: Path, first: int, last: int | None = None) -> list[int]:
    """Positions where a flipped bit is not noticed, out of a range of the file."""
    whole = path.read_bytes()
    unnoticed = []
    for position in range(first, len(whole) if last is None else last):
        for bit in (1, 128):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            found = restore(path, "mine")
            if found is not None and not same(found):
                unnoticed.append(position)
    return unnoticed


def test_a_flipped_bit_in_a_tensor_is_noticed(path: Path) -> None:
    """Every bit of every tensor is covered by the digest."""
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert flips(path, header) == []


def test_a_flipped_bit_anywhere_is_noticed(path: Path) -> None:
    """Names, shapes, history and seconds too: the damaged file is not used, and no error is raised."""
    assert flips(path, 0) == []


def test_digest_sees_name_type_shape_and_every_bit() -> None:
    """Each change gives another digest."""
    plain = torch.tensor([1.0, 0.0, 2.0, 3.0])
    variants: list[dict[str, Tensor]] = [
        {"a": plain},
        {"b": plain},
        {"a": plain.double()},
        {"a": plain.view(torch.int32)},  # the same bytes
        {"a": plain.view(2, 2)},
        {"a": plain.view(4, 1)},
        {"a": torch.nextafter(plain, torch.tensor(9.0))},
        {"a": torch.tensor([1.0, -0.0, 2.0, 3.0])},
        {"a": plain, "b": plain},
        {},
    ]
    assert len({tensors_digest(tensors) for tensors in variants}) == len(variants)


def test_digest_ignores_order_and_memory_layout() -> None:
    """Equal values under equal names are equal."""
    a = torch.arange(24.0).view(1, 2, 3, 4)
    b = torch.ones(2)
    assert tensors_digest({"a": a, "b": b}) == tensors_digest({"b": b, "a": a})
    assert tensors_digest({"a": a.to(memory_format=torch.channels_last)}) == tensors_digest({"a": a})
    assert tensors_digest({"a": b.requires_grad_()}) == tensors_digest({"a": torch.ones(2)})
