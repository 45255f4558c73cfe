"""Training in this process, with fresh images and a fresh, sealed test set for every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.files import sha256_of_bytes
from harness.study.spec import RunSpec
from harness.training import data, determinism
from harness.training.checkpoint import tensors_digest
from harness.training.loop import Epoch, Teaching, Trained, train
from harness.training.methods import method as methods
from harness.training.teacher import teacher_of
from harness.training.teacher_table import open_or_build

NOWHERE = Path("/nonexistent")  # digits need no downloads


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests in this folder compute on one thread, as the runs that they train do."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def teaching_of(
    spec: RunSpec, images: data.Data, weights: Mapping[str, Tensor] | None, device: torch.device, folder: Path
) -> Teaching | None:
    """The teacher of a run with these weights, its table in `folder` where the run takes one."""
    if spec.teacher is None:
        return None
    method = methods.method_class(spec.method)
    network = teacher_of(spec, images, dict(weights or {}), device, untrained=method.teacher == "untrained")
    if method.needs != "logits" or spec.optimisation.teacher_logits != "table":
        return Teaching(network, None)
    identity = f"{tensors_digest(dict(weights or {}))} {images.sha256}"
    path = folder / f"{sha256_of_bytes(identity.encode())}.safetensors"
    return Teaching(network, open_or_build(path, identity, network, images, spec.dataset, device, print))


def train_here(
    spec: RunSpec,
    checkpoints: Path,
    weights: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    images: data.Data | None = None,
    said: list[str] | None = None,
) -> Trained:
    """Train a run; goes on from the last good one of `checkpoints`."""
    device = determinism.configure(spec.optimisation)
    images = data.load(spec.dataset, NOWHERE) if images is None else images
    return train(
        spec,
        images,
        teaching_of(spec, images, weights, device, checkpoints.parent / "tables"),
        device,
        checkpoints,
        spec.sha256,
        on_epoch=on_epoch,
        say=([] if said is None else said).append,
    )


@pytest.fixture(scope="session")
def train_run() -> Callable[..., Trained]:
    """`train_here`, for tests."""
    return train_here


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Where a run of this test keeps its state."""
    return tmp_path / "checkpoints"
