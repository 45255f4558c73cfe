"""Looks over the machine: what would make a run fail, or its bits differ from another machine's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from harness import __version__
from harness.errors import StudyError
from harness.execute.local import default_workers
from harness.study.cost import peak_checkpoint_bytes, run_bytes, table_bytes, teacher_tables
from harness.study.plan import any_winner, candidates, distinct, plan
from harness.study.study import Study
from harness.workspace import DOWNLOADS

LOCKS = Path("requirements")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `note` (works, but bits or speed may differ), or `problem` (fix it first)."""

    topic: str
    status: Literal["ok", "note", "problem"]
    found: str


def examine(study: Study) -> list[Finding]:
    """Look over Python, packages, locks, device, all that bits depend on, memory, methods, disk and images.

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

    from harness.training import vision

    threads = f"{study.optimisation.threads} a run (part of a run's identity), {os.cpu_count()} cores"
    return [
        Finding("torch", "ok", f"torch {torch.__version__}, torchvision {vision.torchvision.__version__}"),
        Finding("threads", "ok", threads),
        *_device(study),
        _allocator(),
        _methods(study),
    ]


def _device(study: Study) -> list[Finding]:
    """The device, and what bits depend on once it is configured."""
    import torch

    from harness.training import determinism

    wanted = study.optimisation
    if wanted.device == "cuda" and not torch.cuda.is_available():
        return [Finding("device", "problem", "the study asks for cuda, and there is none")]
    device = determinism.configure(wanted)
    stack = determinism.stack(device)
    hardware = stack.get("gpu", f"{stack['cpu']} ({stack['cpu_capability']})")
    slow = wanted.device == "auto" and device.type == "cpu"
    note = "; no GPU: a full-size study takes months on this device" if slow else ""
    bits = determinism.bits_depend_on(study, stack)
    switched = any(name.isupper() for name in bits)  # by a variable of the environment
    return [
        Finding("device", "note" if slow else "ok", f"{device.type}: {hardware}{note}"),
        Finding("determinism", "ok", _pairs(determinism.settings())),
        Finding(
            "bits",
            "note" if switched else "ok",
            f"runs agree to the bit where these agree: {_pairs(bits)}; and description, code, images and teacher",
        ),
    ]


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _allocator() -> Finding:
    from harness.training.allocator import keep_memory

    if keep_memory():
        return Finding("allocator", "ok", "glibc keeps the memory of a step for the next one (same bits, fewer faults)")
    return Finding("allocator", "note", "not glibc: on a CPU every step asks the system for its memory again")


def _methods(study: Study) -> Finding:
    """Make every pair's methods, as a run does: are they installed, and do they take the grid's hyperparameters?"""
    from harness.training.methods.method import make

    for choice, specs in candidates(study).items():
        try:
            make(specs[0])
        except StudyError as error:
            return Finding("methods", "problem", str(error))
        except (ImportError, AttributeError) as error:  # announced by a package that does not have it
            return Finding(
                "methods", "problem", f"method {choice.method} cannot be imported ({error}); mend its package"
            )
    return Finding("methods", "ok", f"{', '.join(study.methods)} are installed and take the grid's hyperparameters")


def _disk(study: Study) -> Finding:
    """What a whole study leaves, the tables that its runs share, and checkpoints of the heaviest runs at once."""
    free = shutil.disk_usage(Path.cwd()).free
    runs = [entry.run for entry in distinct(plan(study, any_winner(study)))]
    needed = sum(map(run_bytes, runs)) + sum(map(table_bytes, teacher_tables(runs).values()))
    needed += peak_checkpoint_bytes(runs, default_workers(study.optimisation))
    status: Literal["ok", "problem"] = "ok" if free >= needed else "problem"
    return Finding("disk", status, f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed for a whole study")


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
