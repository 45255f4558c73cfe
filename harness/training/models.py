"""The networks, by the names that a study gives them."""

from __future__ import annotations

import torch

from harness.study.spec import Architecture, Model, Stem
from harness.training.architectures import LAYOUTS, check_stem
from harness.training.network import Network, Outputs
from harness.training.resnet import ScaledResNet
from harness.training.streams import stream
from harness.training.wide_resnet import WideResNet

__all__ = ["Network", "Outputs", "ScaledResNet", "WideResNet", "build"]


def build(architecture: Architecture, stem: Stem, model: Model, classes: int, *name: str | int) -> Network:
    """A freshly initialised network.

    Args:
        architecture: Which network.
        stem: `cifar`: 3x3 convolution of stride 1 and no pooling; `imagenet`: torchvision's, for ResNets alone.
        model: Width and initialisation.
        classes: Number of outputs.
        name: Role and seed of the run, the name of its initialisation stream.

    Returns:
        The network on the CPU, in training mode.

    Raises:
        StudyError: There is no such network.
    """
    check_stem(architecture, stem)
    with torch.random.fork_rng(devices=[]):  # layers draw from torch's global generator
        # Not torch.manual_seed: that would seed the GPUs' generators too.
        torch.default_generator.manual_seed(stream("init", *name).initial_seed())
        if LAYOUTS[architecture].family == "wide_resnet":
            return WideResNet(architecture, model, classes)
        return ScaledResNet(architecture, stem, model, classes)
