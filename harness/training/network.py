"""What the training core needs of a network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Outputs(NamedTuple):
    """What a network computes of a batch.

    Attributes:
        features: Outputs of the stages, each (batch, channels, height, width); none where nobody needs them.
        logits: Shape (batch, classes).
    """

    features: tuple[Tensor, ...]
    logits: Tensor


class Network(nn.Module):
    """An image classifier made of stages."""

    def outputs(self, images: Tensor) -> Outputs:
        """Forward pass that keeps the stages' outputs.

        Args:
            images: Normalised images, shape (batch, 3, height, width).
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, height, width)."""
        return self.outputs(images).logits
