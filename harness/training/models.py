"""The networks: torchvision's ResNets, with the CIFAR stem and a width.

At width 64 and the ImageNet stem they are torchvision's own, parameter for parameter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.study.spec import Architecture, Model, Stem
from harness.training.architectures import LAYOUTS
from harness.training.streams import stream
from harness.training.vision import torchvision

resnet = torchvision.models.resnet

_TORCHVISION_WIDTH = 64


class ScaledResNet(resnet.ResNet):  # type: ignore[misc, name-defined] # torchvision ships no types
    """torchvision's ResNet with the channels of every stage scaled by width / 64."""

    def __init__(self, architecture: Architecture, stem: Stem, model: Model, classes: int) -> None:
        """Build with torchvision's own initialisation, then fit stem, first norm and classifier to the width."""
        self.width = model.width
        layout = LAYOUTS[architecture]
        super().__init__(
            getattr(resnet, layout.block),
            list(layout.blocks),
            num_classes=classes,
            zero_init_residual=model.zero_init_residual,
        )
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, self.width, kernel_size=3, stride=1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif self.width != _TORCHVISION_WIDTH:
            self.conv1 = nn.Conv2d(3, self.width, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if self.width != _TORCHVISION_WIDTH:
            self.bn1 = nn.BatchNorm2d(self.width)
            self.fc = nn.Linear(layout.channels(self.width)[-1], classes)

    def _make_layer(
        self, block: type[nn.Module], planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        if planes == _TORCHVISION_WIDTH:  # the first stage: its input comes from the stem
            self.inplanes = self.width
        scaled = planes * self.width // _TORCHVISION_WIDTH
        layer: nn.Sequential = super()._make_layer(block, scaled, blocks, stride, dilate)
        return layer

    def features_and_logits(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Forward pass that keeps the outputs of layer1..layer4.

        Args:
            images: Normalised images, shape (batch, 3, height, width).

        Returns:
            The four feature maps, each (batch, channels, height, width), and the logits (batch, classes).
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return features, logits


def build(architecture: Architecture, stem: Stem, model: Model, classes: int, *name: str | int) -> ScaledResNet:
    """A freshly initialised network.

    Args:
        architecture: Which ResNet.
        stem: `cifar`: 3x3 convolution of stride 1 and no pooling; `imagenet`: torchvision's.
        model: Width and initialisation.
        classes: Number of outputs.
        name: Role and seed of the run, the name of its initialisation stream.

    Returns:
        The network on the CPU, in training mode.
    """
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
        torch.manual_seed(stream("init", *name).initial_seed())
        return ScaledResNet(architecture, stem, model, classes)


def projections(student: Architecture, teacher: Architecture, width: int, *name: str | int) -> nn.ModuleList:
    """Feature-KD's projections: a 1x1 convolution without bias per layer, Xavier uniform (paper, section 3).

    Args:
        student: Architecture that the features come from.
        teacher: Architecture whose channels they are brought to.
        width: Channels of the first stage of both.
        name: Role and seed of the run, the name of the projections' stream.

    Returns:
        Four convolutions, student channels to teacher channels.
    """
    generator = stream("projections", *name)
    pairs = zip(LAYOUTS[student].channels(width), LAYOUTS[teacher].channels(width), strict=True)
    layers = [nn.Conv2d(inputs, outputs, kernel_size=1, bias=False) for inputs, outputs in pairs]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight, generator=generator)
    return nn.ModuleList(layers)
