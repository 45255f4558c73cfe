"""Measures a network on held-out images: accuracy, loss, calibration, and fidelity to its teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.training.augment import normalise
from harness.training.losses import kl_divergence

BATCH = 512


@dataclass(frozen=True)
class Outcome:
    """What a network makes of some images.

    Attributes:
        accuracy: Top-1, a fraction.
        loss: Mean cross-entropy in nats.
        correct: Whether each image is classified rightly, bool (count,).
        per_class_accuracy: Fractions, one a class; NaN-free: a class without images counts as 0 of 0 = 0.
    """

    accuracy: float
    loss: float
    correct: Tensor
    per_class_accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Fidelity:
    """How closely a student follows its teacher on the test images (paper, section 5).

    Attributes:
        agreement: Share of images with the same top class.
        kl_t1: KL(teacher || student) at T = 1, in nats.
        kl_t4: The same at T = 4.
    """

    agreement: float
    kl_t1: float
    kl_t4: float


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, mean: Tensor, std: Tensor, device: torch.device) -> Tensor:
    """Logits of all images, on the CPU.

    Args:
        network: In evaluation mode, on `device`.
        images: uint8, (count, 3, height, width).
        mean: Per channel.
        std: Per channel.
        device: Where to compute.

    Returns:
        Logits, float32, (count, classes).
    """
    mean, std = mean.to(device), std.to(device)
    return torch.cat([network(normalise(batch.to(device), mean, std)).cpu() for batch in images.split(BATCH)])


def score(logits: Tensor, labels: Tensor) -> Outcome:
    """Accuracy, loss and per-image correctness of logits (count, classes) against labels (count,)."""
    correct = logits.argmax(dim=1) == labels
    classes = logits.shape[1]
    images = torch.bincount(labels, minlength=classes)
    right = torch.bincount(labels[correct], minlength=classes)
    return Outcome(
        accuracy=int(correct.sum()) / len(labels),
        loss=float(F.cross_entropy(logits, labels)),
        correct=correct,
        per_class_accuracy=tuple((right / images.clamp_min(1)).tolist()),
    )


def fidelity(teacher_logits: Tensor, student_logits: Tensor) -> Fidelity:
    """Agreement and divergence of two sets of logits (count, classes) on the same images."""
    same = teacher_logits.argmax(dim=1) == student_logits.argmax(dim=1)
    return Fidelity(
        agreement=int(same.sum()) / len(same),
        kl_t1=float(kl_divergence(teacher_logits, student_logits, 1.0)),
        kl_t4=float(kl_divergence(teacher_logits, student_logits, 4.0)),
    )
