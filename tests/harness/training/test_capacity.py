"""The sizes that the statistics know of, counted again on the networks that are trained."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.study.capacity import CAPACITIES
from harness.study.cost import forward_flops
from harness.study.spec import Architecture, Model
from harness.training.models import build


def test_every_architecture_has_a_capacity() -> None:
    """None is forgotten when one is added, and none is listed that cannot be trained."""
    assert set(CAPACITIES) == set(get_args(Architecture))


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_parameters_and_operations_are_the_networks_own(architecture: Architecture) -> None:
    """Width 64, CIFAR stem, 10 classes, 32x32 images: parameters exactly, operations by our count and by torch's."""
    with torch.device("meta"):
        network = build(architecture, "cifar", Model(width=64, zero_init_residual=False), 10, "student", 0).eval()
        images = torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(images)
    capacity = CAPACITIES[architecture]
    assert capacity.parameters == sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert capacity.forward_gflop == round(forward_flops(architecture, "cifar", 64, 32) / 1e9, 4)
    assert capacity.forward_gflop == round(counter.get_total_flops() / 1e9, 4)


def test_size_and_work_order_the_students_alike() -> None:
    """Both moderators say which student is larger, in the order of depth."""
    by_depth = sorted(CAPACITIES, key=lambda name: int(name.removeprefix("resnet")))
    for measure in ("parameters", "forward_gflop"):
        sizes = [getattr(CAPACITIES[name], measure) for name in by_depth]
        assert sizes == sorted(sizes)
        assert all(math.isfinite(math.log10(size)) for size in sizes)
