"""The sizes that the statistics know of, counted again on the networks that are trained."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.study.capacity import CAPACITIES
from harness.study.spec import Architecture, Model
from harness.training.models import build


def test_every_architecture_has_a_capacity() -> None:
    """None is forgotten when one is added, and none is listed that cannot be trained."""
    assert set(CAPACITIES) == set(get_args(Architecture))


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_parameters_and_operations_are_the_networks_own(architecture: Architecture) -> None:
    """Width 64, CIFAR stem, 10 classes, 32x32 images: parameters exactly, operations as torch counts them."""
    with torch.device("meta"):
        network = build(architecture, "cifar", Model(width=64, zero_init_residual=False), 10, "student", 0).eval()
        images = torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(images)
    capacity = CAPACITIES[architecture]
    assert capacity.parameters == sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert capacity.forward_gflop == round(counter.get_total_flops() / 1e9, 4)


@pytest.mark.parametrize(
    "by_size",
    [
        ["resnet18", "resnet34", "resnet50", "resnet101"],
        *([f"wrn{depth}_{widening}" for depth in (16, 28, 40)] for widening in (1, 2, 4)),
        *([f"wrn{depth}_{widening}" for widening in (1, 2, 4)] for depth in (16, 28, 40)),
    ],
    ids=lambda by_size: f"{by_size[0]}-{by_size[-1]}",
)
@pytest.mark.parametrize("measure", ["parameters", "forward_gflop"])
def test_size_and_work_order_the_students_alike(measure: str, by_size: list[str]) -> None:
    """Both moderators say which student is larger: the deeper, and of one depth the wider."""
    sizes = [getattr(CAPACITIES[name], measure) for name in by_size]
    assert sizes == sorted(set(sizes))
    assert all(math.isfinite(math.log10(size)) for size in sizes)
