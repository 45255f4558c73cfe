"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017): match where the teacher's features are strong."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from harness.training.methods.method import Method, same_stages
from harness.training.network import Outputs


class AttentionTransfer(Method):
    """beta times the sum over the stages of the mean squared difference of attention maps.

    An attention map is the mean over channels of the squared features, as a vector of length 1 an image (equation 1
    with p = 2, and equation 2). The authors' code takes beta = 1000 and adds the loss to the cross-entropy unweighted;
    here alpha = 0.5 weighs both alike: the same direction at half the length, which clipping hides where it acts.
    """

    needs = "features"
    hyperparameters = ("beta",)

    def build(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        generator: torch.Generator,  # noqa: ARG002 - the hook has it
    ) -> None:
        """See `Method.build`."""
        same_stages(student_channels, teacher_channels)

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """See `Method.forward`."""
        pairs = zip(student.features, teacher.features, strict=True)
        distances = [F.mse_loss(attention(ours), attention(theirs)) for ours, theirs in pairs]
        return self.values["beta"] * torch.stack(distances).sum()


def attention(features: Tensor) -> Tensor:
    """Attention maps (batch, height * width) of features (batch, channels, height, width), each of length 1."""
    return F.normalize(features.square().mean(dim=1).flatten(1), dim=1)
