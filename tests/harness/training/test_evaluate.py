"""What is measured on held-out images, against counts by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from harness.training.evaluate import BATCH, fidelity, predict, score


def test_score_by_hand() -> None:
    """Four images, three classes: three right; the classes' shares are 2 of 2, 1 of 2 and 0 of 0.

    Loss: the right class has odds of 3 to 1 to 1 (probability 3/5) three times, and 1 to 3 to 1 (1/5) once.
    """
    three = math.log(3)
    logits = torch.tensor([[three, 0, 0], [0, three, 0], [three, 0, 0], [three, 0, 0]])
    outcome = score(logits, torch.tensor([1, 1, 0, 0]))
    assert outcome.accuracy == 0.75
    assert outcome.correct.tolist() == [False, True, True, True]
    assert outcome.per_class_accuracy == (1.0, 0.5, 0.0)
    assert outcome.loss == pytest.approx(-(3 * math.log(3 / 5) + math.log(1 / 5)) / 4, abs=1e-6)


def test_score_of_a_guesser() -> None:
    """Equal logits lose ln(classes) on every image."""
    outcome = score(torch.zeros(5, 10), torch.arange(5))
    assert outcome.loss == pytest.approx(math.log(10), abs=1e-6)


def test_fidelity_by_hand() -> None:
    """Three images: same top class on two; divergences as worked out for odds of 3 to 1 against even odds.

    At T = 1: logits (ln 3, 0) against (0, 0) is KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812036 on the first image, 0 on
    the others. At T = 4 the same for logits (4 ln 3, 0), and no factor T^2.
    """
    same = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    teacher = torch.cat([torch.tensor([[math.log(3), 0.0]]), same])
    found = fidelity(teacher, torch.cat([torch.tensor([[0.0, 0.0]]), same]))
    assert found.agreement == 1.0  # of equal logits the first counts
    assert found.kl_t1 == pytest.approx(0.130812036 / 3, abs=1e-7)
    softer = torch.cat([torch.tensor([[4 * math.log(3), 0.0]]), same])
    assert fidelity(softer, torch.cat([torch.tensor([[-1e-3, 0.0]]), same])).agreement == pytest.approx(2 / 3)
    assert fidelity(softer, torch.cat([torch.tensor([[0.0, 0.0]]), same])).kl_t4 == pytest.approx(
        0.130812036 / 3, abs=1e-7
    )


def test_fidelity_has_a_direction() -> None:
    """KL(teacher || student), not the reverse: 0.130812 one way, 0.143841 the other."""
    sharp, even = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    assert fidelity(sharp, even).kl_t1 == pytest.approx(0.130812036, abs=1e-7)
    assert fidelity(even, sharp).kl_t1 == pytest.approx(0.143841036, abs=1e-7)


class ChannelMeans(nn.Module):
    """Logits that can be worked out by hand: the mean of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        """Spatial means."""
        return images.mean(dim=(2, 3))


def test_predict_normalises_and_keeps_the_order_over_batches() -> None:
    """More images than a batch holds; image i is all i mod 256, so that its logits are known."""
    count = BATCH + 3
    values = torch.arange(count) % 256
    images = values.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    mean, std = torch.tensor([0.5, 0.25, 0.0]), torch.tensor([0.5, 0.25, 1.0])
    logits = predict(ChannelMeans(), images, mean, std, torch.device("cpu"))
    expected = torch.stack([(values / 255 - m) / s for m, s in zip(mean, std, strict=True)], dim=1)
    assert logits.shape == (count, 3)
    assert float((logits - expected).abs().max()) < 1e-5
    assert not logits.requires_grad
