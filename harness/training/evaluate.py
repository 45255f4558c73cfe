"""Measures a network on held-out images: accuracy, loss, calibration, and fidelity to its teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.study.spec import Optimisation
from harness.training import determinism
from harness.training.augment import normalise
from harness.training.losses import kl_divergence

BATCH = 512
CONFIDENCE_BINS = 15  # Guo et al. 2017, section 5


@dataclass(frozen=True)
class Outcome:
    """What a network makes of some images.

    Attributes:
        accuracy: Top-1, a fraction.
        loss: Mean cross-entropy in nats.
        ece: Expected calibration error, a fraction (see `expected_calibration_error`).
        correct: Whether each image is classified rightly, bool (count,).
        per_class_accuracy: Fractions, one a class; NaN-free: a class without images counts as 0 of 0 = 0.
    """

    accuracy: float
    loss: float
    ece: float
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
def predict(
    network: nn.Module,
    images: Tensor,
    mean: Tensor,
    std: Tensor,
    device: torch.device,
    optimisation: Optimisation,
) -> Tensor:
    """Logits of all images, on the CPU, in the arithmetic that the network is trained in.

    Args:
        network: In evaluation mode, on `device`.
        images: uint8, (count, 3, height, width); best on `device` already, where they are used as they are.
        mean: Per channel.
        std: Per channel.
        device: Where to compute.
        optimisation: Says the precision.

    Returns:
        Logits, float32, (count, classes).
    """
    mean, std = mean.to(device), std.to(device)
    with determinism.autocast(optimisation, device):
        # Logits stay on the device until all are there: fetching those of one batch would make a GPU wait for it.
        logits = [
            network(normalise(batch, mean, std).contiguous(memory_format=torch.channels_last))
            for batch in images.to(device).split(BATCH)
        ]
    return torch.cat(logits).float().cpu()


def score(logits: Tensor, labels: Tensor) -> Outcome:
    """Accuracy, loss, calibration and per-image correctness of logits (count, classes) against labels (count,)."""
    correct = logits.argmax(dim=1) == labels
    classes = logits.shape[1]
    images = torch.bincount(labels, minlength=classes)
    right = torch.bincount(labels[correct], minlength=classes)
    return Outcome(
        accuracy=int(correct.sum()) / len(labels),
        loss=float(F.cross_entropy(logits, labels)),
        ece=expected_calibration_error(logits, labels),
        correct=correct,
        per_class_accuracy=tuple((right / images.clamp_min(1)).tolist()),
    )


def expected_calibration_error(logits: Tensor, labels: Tensor) -> float:
    """How far a network's confidence is from its accuracy (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Images are sorted into 15 bins of confidence (the highest class probability), each open below and closed above;
    the error is the mean over images of |accuracy - mean confidence| of their bin.

    Args:
        logits: Shape (count, classes), on the CPU; there is at least one image.
        labels: Shape (count,).

    Returns:
        A fraction, 0 (calibrated) to 1; computed in float64.
    """
    confidence, classes = logits.double().softmax(dim=1).max(dim=1)
    edges = torch.arange(1, CONFIDENCE_BINS, dtype=torch.float64) / CONFIDENCE_BINS
    bins = torch.bucketize(confidence, edges)
    excess = torch.bincount(bins, weights=(classes == labels).double() - confidence, minlength=CONFIDENCE_BINS)
    return float(excess.abs().sum()) / len(labels)


def fidelity(teacher_logits: Tensor, student_logits: Tensor) -> Fidelity:
    """Agreement and divergence of two sets of logits (count, classes) on the same images."""
    same = teacher_logits.argmax(dim=1) == student_logits.argmax(dim=1)
    return Fidelity(
        agreement=int(same.sum()) / len(same),
        kl_t1=float(kl_divergence(teacher_logits, student_logits, 1.0)),
        kl_t4=float(kl_divergence(teacher_logits, student_logits, 4.0)),
    )
