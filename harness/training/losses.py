"""The divergence that Logit-KD minimises, and that fidelity is measured by."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


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
