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


# torchvision's ResNets with a 3x3 stem of stride 1, and WideResNets by depth and widening factor; the training tests
# count the parameters and operations again.
CAPACITIES = {
    "resnet18": Capacity(11_173_962, 1.1108),
    "resnet34": Capacity(21_282_122, 2.3188),
    "resnet50": Capacity(23_520_842, 2.5957),
    "resnet101": Capacity(42_512_970, 5.0200),
    "wrn16_1": Capacity(175_066, 0.0533),
    "wrn16_2": Capacity(691_674, 0.2022),
    "wrn16_4": Capacity(2_748_890, 0.7852),
    "wrn28_1": Capacity(369_498, 0.1099),
    "wrn28_2": Capacity(1_467_610, 0.4287),
    "wrn28_4": Capacity(5_849_050, 1.6912),
    "wrn40_1": Capacity(563_930, 0.1666),
    "wrn40_2": Capacity(2_243_546, 0.6552),
    "wrn40_4": Capacity(8_949_210, 2.5972),
}
