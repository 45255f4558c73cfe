"""The locks: exact pins with hashes, and a CUDA lock that does not smuggle in the CPU build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCKS = Path(__file__).parents[1] / "requirements"


def blocks(name: str) -> dict[str, str]:
    """Each requirement of a lock with its continuation lines, by package name."""
    text = (LOCKS / name).read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9._-]+)==(.*?)(?=^[a-z0-9#]|\Z)", text, re.MULTILINE | re.DOTALL)
    return dict(found)


NAMES = ["base.lock", "cluster.lock", "dev.lock", "supply.lock", "torch-cpu.lock", "torch-cuda.lock"]


@pytest.mark.parametrize("name", NAMES)
def test_every_pin_has_a_hash(name: str) -> None:
    """Each package is pinned to one version and carries at least one SHA-256."""
    assert blocks(name)
    for package, pin in blocks(name).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), package


def test_each_torch_lock_pins_its_own_build() -> None:
    """The CPU lock takes only the +cpu build; the CUDA lock takes PyPI's, on every Python and platform."""
    assert blocks("torch-cpu.lock")["torch"].startswith("2.13.0+cpu ")
    cuda = blocks("torch-cuda.lock")
    assert cuda["torch"].startswith("2.13.0 \\")
    assert "+cpu" not in cuda["torch"]
    assert any(package.startswith("nvidia-cudnn") for package in cuda)
    assert not any(package.startswith(("nvidia", "torch")) for package in blocks("base.lock"))
