"""The GPUs of this machine that this process may use."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_QUERY = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]  # memory in MiB
_DEVICES = Path("/dev")
_ANSWER_S = 60  # a machine of eight cards without persistence mode takes some seconds


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        index: Its number on this machine, for people.
        uuid: Its name in CUDA_VISIBLE_DEVICES.
        memory_bytes: Memory in all; 0 where it is not known (a slice of a card, a container without nvidia-smi).
    """

    index: int
    uuid: str
    memory_bytes: int


def cards() -> list[Card]:
    """The GPUs that nvidia-smi lists, as far as CUDA_VISIBLE_DEVICES lets them be seen; none for a CPU build of torch.

    CUDA's rules hold (CUDA C++ Programming Guide, "CUDA Environment Variables"): an empty list hides all cards, and one
    that names what is not there ends before it. Numbers are read in nvidia-smi's order, that of the bus; where cards
    differ and CUDA_DEVICE_ORDER is not PCI_BUS_ID, CUDA's own order may be another: name such cards by UUID.
    """
    return _visible(_listed(), os.environ.get("CUDA_VISIBLE_DEVICES")) if _torch_has_cuda() else []


def _torch_has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:  # a plan may be made where nothing is trained
        return True


def _listed() -> list[Card]:
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=_ANSWER_S).stdout  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):  # none there, or no driver: then there may still be devices
        devices = sorted(int(path.name.removeprefix("nvidia")) for path in _DEVICES.glob("nvidia[0-9]*"))
        return [Card(index, str(number), 0) for index, number in enumerate(devices)]
    found = []
    for line in answer.splitlines():
        index, uuid, mebibytes = (field.strip() for field in line.split(","))
        found.append(Card(int(index), uuid, int(mebibytes) * 2**20 if mebibytes.isdigit() else 0))
    return found


def _visible(found: list[Card], listed: str | None) -> list[Card]:
    if listed is None:
        return found
    chosen: list[Card] = []
    for name in (part.strip() for part in listed.split(",")):
        if name.startswith("MIG-"):
            card = Card(len(chosen), name, 0)
        else:
            # a UUID may be shortened as long as it is some card's alone
            same = [
                one for one in found if name == str(one.index) or (name[:4] == "GPU-" and one.uuid.startswith(name))
            ]
            if len(same) != 1:
                break
            card = same[0]
        chosen.append(card)
    return chosen
