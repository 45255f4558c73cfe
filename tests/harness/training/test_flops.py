"""Operation counts where edges are odd: what torch counts on the real networks, exactly."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.study.cost import forward_flops
from harness.study.spec import Architecture, Model, Stem
from harness.training.models import build


def counted(architecture: Architecture, stem: Stem, edge: int) -> int:
    """Operations of one image's forward pass as torch counts them; no numbers are computed."""
    with torch.device("meta"):
        network = build(architecture, stem, Model(width=8, zero_init_residual=False), 10, "student", 0).eval()
        images = torch.empty(1, 3, edge, edge)
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


@pytest.mark.parametrize("edge", [28, 33])
@pytest.mark.parametrize("stem", get_args(Stem))
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_odd_edges_are_halved_upwards(architecture: Architecture, stem: Stem, edge: int) -> None:
    """28 goes 14, 7, 4 and 33 goes 17, 9, 5, with the padding that torchvision's strided layers have."""
    assert forward_flops(architecture, stem, 8, edge) == counted(architecture, stem, edge)


def test_the_counter_tells_networks_apart() -> None:
    """The comparison above would notice a row of pixels, or another stem."""
    numbers = {counted("resnet18", "cifar", 33), counted("resnet18", "cifar", 34), counted("resnet18", "imagenet", 33)}
    assert len(numbers) == 3
