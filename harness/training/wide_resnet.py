"""Wide residual networks for small images (Zagoruyko & Komodakis 2016, arXiv 1605.07146, table 1), without dropout.

Checked against the authors' code (szagoruyko/wide-residual-networks, models/wide-resnet.lua).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.study.spec import Architecture, Model
from harness.training.architectures import layout
from harness.training.network import Network, Outputs


class WideResNet(Network):
    """A WideResNet with every channel scaled by width / 64.

    Its features are the sums that the three groups of blocks put out, before the batch norm and ReLU that follow: those
    which attention transfer compares (szagoruyko/attention-transfer, cifar.py: g0, g1, g2).
    """

    def __init__(self, architecture: Architecture, model: Model, classes: int) -> None:
        """Build and initialise as the authors do: convolutions Kaiming normal by fan-out, the classifier's bias zero.

        Batch norms start at 1, as PyTorch's do; the authors draw them from [0, 1]. With `zero_init_residual` residuals
        start at zero, as those of ResNets do. Their last layer is a convolution here, so that is what starts at zero:
        the last batch norm cannot, since the ReLU after it would pass no gradient back.
        """
        super().__init__()
        plan = layout(architecture, model.width)
        self.conv1 = nn.Conv2d(3, plan.stem, kernel_size=3, padding=1, bias=False)
        inputs = (plan.stem, *plan.channels)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                Block(inputs[group], inputs[group + 1], stride=1 if group == 0 else 2),
                *(Block(inputs[group + 1], inputs[group + 1], stride=1) for _ in range(blocks - 1)),
            )
            for group, blocks in enumerate(plan.blocks)
        )
        self.bn = nn.BatchNorm2d(inputs[-1])
        self.fc = nn.Linear(inputs[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)
        if model.zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.conv2.weight)

    def outputs(self, images: Tensor) -> Outputs:
        """See `Network.outputs`."""
        x = self.conv1(images)
        features = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            features.append(x)
        pooled = F.adaptive_avg_pool2d(F.relu(self.bn(x), inplace=True), 1)
        return Outputs(tuple(features), self.fc(torch.flatten(pooled, 1)))


class Block(nn.Module):
    """A basic pre-activation block, B(3,3): twice batch norm, ReLU, 3x3 convolution, around a shortcut.

    Where channels change, the shortcut is a 1x1 convolution of the activated input, as in the authors' code.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, outputs, height, width), edges divided by the stride."""
        activated = F.relu(self.bn1(x), inplace=True)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        residual += x if self.shortcut is None else self.shortcut(activated)
        return residual
