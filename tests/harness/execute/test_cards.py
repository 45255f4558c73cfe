"""The GPUs that are found: those of nvidia-smi, as far as CUDA_VISIBLE_DEVICES lets them be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.execute import cards as module
from harness.execute.cards import Card, cards

LISTED = "0, GPU-aaaa1111, 81559\n1, GPU-aabb2222, 81559\n2, GPU-cccc3333, [N/A]\n"
CARDS = [
    Card(0, "GPU-aaaa1111", 81559 * 2**20),
    Card(1, "GPU-aabb2222", 81559 * 2**20),
    Card(2, "GPU-cccc3333", 0),
]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that lists three cards and takes down how it was called; a build of torch for them."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\ncat <<END\n{LISTED}END\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "version", lambda _: "2.13.0")
    return fake


def test_every_card_is_found(smi: Path) -> None:
    """With its number, UUID and memory in bytes; memory that the driver does not tell is 0."""
    assert cards() == CARDS
    asked = (smi.parent / "called").read_text()
    assert asked == "--query-gpu=index,uuid,memory.total --format=csv,noheader,nounits\n"


@pytest.mark.usefixtures("smi")
@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1", [1]),
        ("2,0", [2, 0]),
        ("GPU-aabb2222, GPU-aaaa1111", [1, 0]),
        ("GPU-cc", [2]),  # may be shortened
        ("GPU-aa", []),  # but not so that it is two cards'
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),  # CUDA reads the list up to what is not there
        ("NoDevFiles", []),
    ],
)
def test_a_list_of_visible_cards_is_obeyed(visible: str, found: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, by number or UUID, as CUDA itself reads it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cards() == [CARDS[number] for number in found]


@pytest.mark.usefixtures("smi")
def test_a_slice_of_a_card_is_a_card_of_unknown_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it has one run at a time."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-11,MIG-22")
    assert cards() == [Card(0, "MIG-11", 0), Card(1, "MIG-22", 0)]


def test_a_cpu_build_of_torch_sees_none(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs take cores, whatever the machine has."""
    assert smi.exists()
    monkeypatch.setattr(module, "version", lambda _: "2.13.0+cpu")
    assert cards() == []


def test_without_nvidia_smi_devices_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None here; in a container without the driver's tools they are cards of unknown memory."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "version", lambda _: "2.13.0")
    monkeypatch.setattr(module, "_DEVICES", tmp_path)
    assert cards() == []
    for name in ("nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert cards() == [Card(0, "0", 0), Card(1, "1", 0)]


def test_an_nvidia_smi_that_fails_lists_none(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has it but no driver."""
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    monkeypatch.setattr(module, "_DEVICES", smi.parent)
    assert cards() == []


def test_the_memory_of_a_run_is_its_allocators_peak_and_all_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 bytes 40 are in use, 25 by the allocator: 15 beside it, on top of its peak of 30. Without a GPU, 0."""
    import torch

    from harness.execute.worker import gpu_memory_bytes

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_memory_bytes() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60, 100))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 30)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 25)
    assert gpu_memory_bytes() == 30 + 15
