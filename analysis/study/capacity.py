"""How large the study's architectures are: capacity as a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """Size of a network for 32x32 images and 10 classes, with the CIFAR stem, at full width.

    Attributes:
        parameters: Trainable parameters.
        forward_gflop: Floating-point operations of one image's forward pass, 2 for each multiply-add, in billions.
    """

    parameters: int
    forward_gflop: float


# torchvision's ResNets with a 3x3 stem of stride 1; the training tests count the parameters and operations again.
CAPACITIES = {
    "resnet18": Capacity(11_173_962, 1.1108),
    "resnet34": Capacity(21_282_122, 2.3188),
    "resnet50": Capacity(23_520_842, 2.5957),
    "resnet101": Capacity(42_512_970, 5.0200),
}
