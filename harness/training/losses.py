"""The losses of the paper (arXiv 2605.31191 v2, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of the softened class probabilities, mean over the batch, in nats.

    Args:
        teacher_logits: Shape (batch, classes).
        student_logits: Shape (batch, classes).
        temperature: T > 0; logits are divided by it.

    Returns:
        A scalar, at least 0 up to rounding; 0 when the softened probabilities agree.
    """
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    student = F.log_softmax(student_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def logit_loss(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Logit-KD: T^2 * KL(teacher || student) at temperature T (Hinton et al. 2015, section 2)."""
    return temperature**2 * kl_divergence(teacher_logits, student_logits, temperature)


def feature_loss(
    teacher_features: Sequence[Tensor], student_features: Sequence[Tensor], projections: nn.ModuleList
) -> Tensor:
    """Feature-KD: mean over the layers of MSE + 0.5 * (1 - cosine of the pooled features).

    Args:
        teacher_features: One map a layer, each (batch, teacher channels, height, width).
        student_features: One map a layer, each (batch, student channels, height, width).
        projections: One module a layer, student channels to teacher channels.

    Returns:
        A scalar. The mean squared error compares whole maps; the cosine compares their spatial means, averaged over
        the batch.
    """
    losses = []
    for teacher, student, project in zip(teacher_features, student_features, projections, strict=True):
        projected = project(student)
        cosine = F.cosine_similarity(projected.mean(dim=(2, 3)), teacher.mean(dim=(2, 3)), dim=1)
        losses.append(F.mse_loss(projected, teacher) + 0.5 * (1 - cosine).mean())
    return torch.stack(losses).mean()
