"""torchvision's ResNets, with the CIFAR stem and a width.

At width 64 and the ImageNet stem they are torchvision's own, parameter for parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.study.spec import Architecture, Model, Stem
from harness.training.architectures import FULL_WIDTH, layout
from harness.training.network import Network, Outputs
from harness.training.vision import torchvision

resnet = torchvision.models.resnet


class ScaledResNet(Network, resnet.ResNet):  # type: ignore[misc, name-defined] # torchvision ships no types
    """torchvision's ResNet with the channels of every stage scaled by width / 64.

    Its features are the outputs of layer1..layer4.
    """

    # torchvision's; their types are unknown otherwise
    relu: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module
    avgpool: nn.Module

    def __init__(self, architecture: Architecture, stem: Stem, model: Model, classes: int) -> None:
        """Build with torchvision's own initialisation, then fit stem, first norm and classifier to the width."""
        self.width = model.width
        plan = layout(architecture, model.width)
        super().__init__(
            resnet.BasicBlock if plan.expansion == 1 else resnet.Bottleneck,
            list(plan.blocks),
            num_classes=classes,
            zero_init_residual=model.zero_init_residual,
        )
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, plan.stem, kernel_size=3, stride=1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif self.width != FULL_WIDTH:
            self.conv1 = nn.Conv2d(3, plan.stem, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if self.width != FULL_WIDTH:
            self.bn1 = nn.BatchNorm2d(plan.stem)
            self.fc = nn.Linear(plan.channels[-1], classes)

    def _make_layer(
        self, block: type[nn.Module], planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        if planes == FULL_WIDTH:  # the first stage: its input comes from the stem
            self.inplanes = self.width
        layer: nn.Sequential = super()._make_layer(block, planes * self.width // FULL_WIDTH, blocks, stride, dilate)
        return layer

    def outputs(self, images: Tensor) -> Outputs:
        """See `Network.outputs`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return Outputs(tuple(features), self.fc(torch.flatten(self.avgpool(x), 1)))
