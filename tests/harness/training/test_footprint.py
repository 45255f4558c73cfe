"""Parameters and operations against known numbers; latency's bookkeeping with a clock of our own."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn

from harness.study.cost import forward_flops, parameters
from harness.study.spec import Architecture, Model
from harness.training import footprint
from harness.training.checkpoint import tensors_digest
from harness.training.footprint import measure
from harness.training.models import build

CPU = torch.device("cpu")


class Recorder(nn.Module):
    """A network that notes what it is given, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 5, 7)
        self.frozen = nn.Parameter(torch.zeros(100), requires_grad=False)
        self.shapes: list[tuple[int, ...]] = []
        self.calls: list[tuple[bool, bool, bool]] = []

    def __deepcopy__(self, memo: object) -> Recorder:
        return self  # so that the test sees what the copy was given

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Notes, and a linear layer."""
        self.shapes.append(tuple(images.shape))
        self.calls.append((self.training, torch.is_inference_mode_enabled(), bool(images.isfinite().all())))
        return self.layer(images.flatten(1))


@pytest.mark.parametrize("architecture", ["resnet18", "wrn16_1"])
def test_numbers_are_those_of_the_layouts(architecture: Architecture) -> None:
    """Parameters and operations to the last one; a latency for each batch size, positive and finite."""
    network = build(architecture, "cifar", Model(width=8, zero_init_residual=True), 10, "student", 0)
    found = measure(network, (3, 8, 8), CPU)
    assert found.parameters == parameters(architecture, "cifar", 8, 10)
    assert found.forward_flop == forward_flops(architecture, "cifar", 8, 8, 10)
    assert list(found.latency_ms) == ["1", "128"]
    assert all(0 < milliseconds < math.inf for milliseconds in found.latency_ms.values())


def test_operations_count_multiply_adds_twice_and_parameters_what_is_trained() -> None:
    """A linear layer of 60 inputs and 7 outputs by hand; what is frozen is no parameter."""
    found = measure(Recorder(), (3, 4, 5), CPU)
    assert found.forward_flop == 2 * 60 * 7
    assert found.parameters == 60 * 7 + 7


def test_the_batches_asked_for_are_timed_in_inference() -> None:
    """Evaluation and inference mode; each batch at least four times, once to warm up; nothing else but one image."""
    network = Recorder()
    found = measure(network, (3, 4, 5), CPU, batches=(2, 5))
    assert list(found.latency_ms) == ["2", "5"]
    counts = {batch: network.shapes.count((batch, 3, 4, 5)) for batch in (1, 2, 5)}
    assert counts[1] == 1
    assert counts[2] == counts[5] == 13  # a quick one: 3 to warm up and 10 timed
    assert sum(counts.values()) == len(network.shapes)
    assert set(network.calls) == {(False, True, True)}


def test_a_network_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, running statistics, gradients, the modes of its parts, and torch's global generator."""
    monkeypatch.setattr(footprint, "_latency_ms", lambda network, images: float(network(images).sum() < math.inf))
    network = build("wrn16_1", "cifar", Model(width=32, zero_init_residual=True), 10, "student", 0)
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    next(network.children()).eval()
    modes = [module.training for module in network.modules()]
    assert len(set(modes)) == 2
    before, gradients = tensors_digest(network.state_dict()), [p.grad for p in network.parameters()]
    generator = torch.get_rng_state()
    measure(network, (3, 8, 8), CPU)
    assert tensors_digest(network.state_dict()) == before
    assert all(p.grad is kept for p, kept in zip(network.parameters(), gradients, strict=True))
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize(
    ("seconds", "passes"),
    [(2.0, 1 + 3), (0.2, 1 + 3), (0.125, 1 + 4), (0.01, 3 + 10)],
)
def test_slow_passes_are_timed_three_times_and_quick_ones_ten(
    monkeypatch: pytest.MonkeyPatch, seconds: float, passes: int
) -> None:
    """Bounded in time: no new pass once half a second is spent, with one to three before to warm up."""
    calls = 0

    monkeypatch.setattr(time, "perf_counter", lambda: seconds * calls)

    class Slow(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return images

    found = footprint._latency_ms(Slow(), torch.zeros(1))
    assert calls == passes
    assert found == pytest.approx(1000 * seconds)


def test_latency_is_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass that was held up, and the first, which is always slow, do not count."""
    durations = iter([9.0, 0.2, 5.0, 0.1])
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    class Uneven(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal now
            now += next(durations)
            return images

    assert footprint._latency_ms(Uneven(), torch.zeros(1)) == pytest.approx(200)
