"""Looks over the machine: what would make a run fail, or its bits differ from another machine's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from harness import __version__
from harness.study.study import Study
from harness.workspace import DOWNLOADS

LOCKS = Path("requirements")
_NEEDED_GB = {True: 1.0, False: 15.0}  # runs of a small study; of the paper's 111 full-size runs


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `note` (works, but bits or speed may differ), or `problem` (fix it first)."""

    topic: str
    status: Literal["ok", "note", "problem"]
    found: str


def examine(study: Study) -> list[Finding]:
    """Look over Python, packages, locks, device, determinism, disk and images.

    Args:
        study: The study that is to run here.

    Returns:
        Findings in reading order.
    """
    return [_python(), _locks(), *_torch(study), _disk(study), _images(study)]


def _python() -> Finding:
    version = platform.python_version()
    status: Literal["ok", "problem"] = "ok" if sys.version_info[:2] in ((3, 11), (3, 12)) else "problem"
    return Finding("python", status, f"kdcap {__version__} on Python {version} (3.11 or 3.12 needed)")


def _locks() -> Finding:
    """Compare what is installed with the exact pins; torch's build suffix does not count."""
    locks = [LOCKS / "base.lock", LOCKS / "torch-cuda.lock"]
    absent = [str(lock) for lock in locks if not lock.is_file()]
    if absent:
        return Finding("locks", "note", f"no {' and no '.join(absent)} here to compare the installed versions with")
    wrong = []
    count = 0
    for lock in locks:
        for line in lock.read_text(encoding="utf-8").splitlines():
            try:
                pin = Requirement(line.rstrip("\\ "))
            except InvalidRequirement:
                continue  # a hash, a comment, an empty line
            if (pin.marker and not pin.marker.evaluate()) or pin.name.startswith(("nvidia-", "cuda-", "triton")):
                continue
            count += 1
            wanted = next(iter(pin.specifier)).version
            installed = _version(pin.name)
            if installed.split("+")[0] != wanted:
                wrong.append(f"{pin.name} {installed} (locked {wanted})")
    if wrong:
        return Finding(
            "locks", "note", f"{len(wrong)} of {count} packages differ from the locks: {', '.join(wrong[:5])}"
        )
    return Finding("locks", "ok", f"all {count} locked packages are installed at their pins")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _torch(study: Study) -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding("torch", "note", "not installed: analysis, report and verify work, training does not")]
    import torch

    from harness.training import determinism, vision

    wanted = study.optimisation
    threads = f"{wanted.threads} a run (part of a run's identity), {os.cpu_count()} cores"
    findings = [
        Finding("torch", "ok", f"torch {torch.__version__}, torchvision {vision.torchvision.__version__}"),
        Finding("threads", "ok", threads),
    ]
    if wanted.device == "cuda" and not torch.cuda.is_available():
        return [*findings, Finding("device", "problem", "the study asks for cuda, and there is none")]
    device = determinism.configure(wanted)
    stack = determinism.stack(device)
    hardware = stack.get("gpu", f"{stack['cpu']} ({stack['cpu_capability']})")
    slow = wanted.device == "auto" and device.type == "cpu"
    note = "; no GPU: a full-size study takes months on this device" if slow else ""
    findings.append(Finding("device", "note" if slow else "ok", f"{device.type}: {hardware}{note}"))
    settings = ", ".join(f"{key} {value}" for key, value in determinism.settings().items())
    findings.append(Finding("determinism", "ok", settings))
    return findings


def _disk(study: Study) -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    needed = _NEEDED_GB[study.model.width < 64]  # noqa: PLR2004 - torchvision's width: full-size networks
    status: Literal["ok", "problem"] = "ok" if free >= needed else "problem"
    return Finding("disk", status, f"{free:.0f} GB free, about {needed:.0f} GB needed")


def _images(study: Study) -> Finding:
    dataset = study.dataset
    if dataset.name == "digits":
        return Finding("images", "ok", "digits come with scikit-learn; nothing to download")
    if dataset.name == "folder":
        there = Path(dataset.path or "").exists()
        return Finding("images", "ok" if there else "problem", f"{dataset.path} {'found' if there else 'not found'}")
    folders = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
    there = (DOWNLOADS / folders[dataset.name]).is_dir()
    return Finding(
        "images",
        "ok" if there else "note",
        f"{dataset.name} {'is in' if there else 'will be downloaded to'} {DOWNLOADS}/",
    )
