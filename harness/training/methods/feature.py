"""Feature-KD (arXiv 2605.31191 v2, section 3): match the teacher's feature maps through learnt projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.training.methods.method import Method, same_stages
from harness.training.network import Outputs


class FeatureKD(Method):
    """Mean over the stages of MSE + 0.5 * (1 - cosine of the pooled features).

    Each stage has a projection, student channels to teacher channels: a 1x1 convolution without bias, Xavier uniform.
    """

    needs = "features"

    def build(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], generator: torch.Generator
    ) -> None:
        """See `Method.build`."""
        self.projections = nn.ModuleList()
        for inputs, outputs in same_stages(student_channels, teacher_channels):
            # skip_init: torch's own initialisation would draw from the global generator
            layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel_size=1, bias=False)
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            self.projections.append(layer)

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """See `Method.forward`. The squared error compares whole maps; the cosine, their means over space."""
        losses = []
        for project, ours, theirs in zip(self.projections, student.features, teacher.features, strict=True):
            projected = project(ours)
            cosine = F.cosine_similarity(projected.mean(dim=(2, 3)), theirs.mean(dim=(2, 3)), dim=1)
            losses.append(F.mse_loss(projected, theirs) + 0.5 * (1 - cosine).mean())
        return torch.stack(losses).mean()
