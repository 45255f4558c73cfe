"""Training in this process, with fresh images and a fresh, sealed test set for every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.study.spec import RunSpec
from harness.training import data, determinism
from harness.training.loop import Epoch, Trained, train

NOWHERE = Path("/nonexistent")  # digits need no downloads


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests in this folder compute on one thread, as the runs that they train do."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def train_here(
    spec: RunSpec,
    checkpoint: Path,
    weights: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    images: data.Data | None = None,
) -> Trained:
    """Train a run; goes on from `checkpoint` if it is there and whole."""
    device = determinism.configure(spec.optimisation)
    return train(
        spec,
        data.load(spec.dataset, NOWHERE) if images is None else images,
        weights,
        device,
        checkpoint,
        spec.sha256,
        on_epoch,
    )


@pytest.fixture(scope="session")
def train_run() -> Callable[..., Trained]:
    """`train_here`, for tests."""
    return train_here


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Where a run of this test keeps its state."""
    return tmp_path / "checkpoint.safetensors"
