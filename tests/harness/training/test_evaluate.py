"""What is measured on held-out images, against counts by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from harness.study.spec import RunSpec
from harness.training.augment import normalise
from harness.training.evaluate import BATCH, expected_calibration_error, fidelity, predict, score

MakeSpec = Callable[..., RunSpec]
CPU = torch.device("cpu")


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


# --- calibration ------------------------------------------------------------------------------------------------------


def two_classes(*confidence: float) -> Tensor:
    """Logits of a network that gives class 0 these probabilities, and class 1 the rest."""
    return torch.tensor([[math.log(p), math.log(1 - p)] for p in confidence], dtype=torch.float64)


def test_calibration_by_hand() -> None:
    """Five images, two bins of fifteenths that hold some: (11/15, 12/15] and (13/15, 14/15].

    Confidence 0.75, 0.75, 0.78 with right, wrong, right: accuracy 2/3, mean confidence 0.76, apart by 0.28/3.
    Confidence 0.9 twice, both right: accuracy 1, apart by 0.1.
    ECE = 3/5 * 0.28/3 + 2/5 * 0.1 = 0.056 + 0.04 = 0.096.
    """
    logits = two_classes(0.75, 0.75, 0.78, 0.9, 0.1)  # the last one is 90% sure of class 1
    labels = torch.tensor([0, 1, 0, 0, 1])
    assert expected_calibration_error(logits, labels) == pytest.approx(0.096, abs=1e-12)
    assert score(logits, labels).ece == pytest.approx(0.096, abs=1e-12)


def test_errors_of_one_bin_cancel_and_of_two_do_not() -> None:
    """Half right at a confidence of one half is calibrated; so is nobody who is right at 0.6 and wrong at 0.9.

    In bins of their own: (1 - 0.6) / 2 + (0.9 - 0) / 2 = 0.65.
    """
    assert expected_calibration_error(torch.zeros(2, 2), torch.tensor([0, 1])) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(two_classes(0.6, 0.9), torch.tensor([0, 1])) == pytest.approx(0.65, abs=1e-12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """One third is 5/15, and closes the fifth bin: an error of the sixth, at 0.36, does not cancel its success.

    In bins of their own: (1 - 1/3) / 2 + 0.36 / 2; in one it would be half the difference.
    """
    logits = torch.tensor([[1 / 3] * 3, [0.36, 0.32, 0.32]], dtype=torch.float64).log()
    found = expected_calibration_error(logits, torch.tensor([0, 1]))
    assert found == pytest.approx((1 - 1 / 3) / 2 + 0.36 / 2, abs=1e-12)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, 1.0)])
def test_certain_and_right_or_certain_and_wrong(label: int, expected: float) -> None:
    """The best and the worst that there is."""
    logits = torch.tensor([[200.0, 0.0]] * 3)
    assert expected_calibration_error(logits, torch.full((3,), label)) == pytest.approx(expected, abs=1e-12)


def slow_calibration(logits: np.ndarray, labels: np.ndarray) -> float:
    """Equation 3 of Guo et al. 2017, bin by bin: ((m - 1) / 15, m / 15] for m = 1 .. 15."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), logits.argmax(axis=1) == labels
    error = 0.0
    for m in range(1, 16):
        inside = ((m - 1) / 15 < confidence) & (confidence <= m / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


scored = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        arrays.arrays(np.float64, (count, 4), elements=st.integers(-700, 700).map(lambda value: value / 97)),
        arrays.arrays(np.int64, count, elements=st.integers(0, 3)),
    )
)


@given(scored)
def test_calibration_follows_its_definition(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """Whatever the logits; and it lies between |accuracy - mean confidence| and 1."""
    logits, labels = drawn
    found = expected_calibration_error(torch.from_numpy(logits), torch.from_numpy(labels))
    assert found == pytest.approx(slow_calibration(logits, labels), abs=1e-12)
    confidence = torch.from_numpy(logits).softmax(dim=1).amax(dim=1)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    assert abs(accuracy - float(confidence.mean())) - 1e-12 <= found <= 1


@given(scored, st.floats(-50, 50))
def test_calibration_ignores_constants_and_the_order_of_images(drawn: tuple[np.ndarray, np.ndarray], up: float) -> None:
    """Up to rounding, which may push an image over the edge of a bin; edges are avoided here."""
    logits, labels = drawn
    confidence = torch.from_numpy(logits).softmax(dim=1).amax(dim=1)
    off_edges = ((confidence * 15 - (confidence * 15).round()).abs() > 1e-9).numpy()
    logits, labels = logits[off_edges], labels[off_edges]
    if not len(labels):
        return
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    found = expected_calibration_error(torch.from_numpy(logits), torch.from_numpy(labels))
    moved = expected_calibration_error(torch.from_numpy(logits[order] + up), torch.from_numpy(labels[order]))
    assert moved == pytest.approx(found, abs=1e-9)


# --- forward passes ---------------------------------------------------------------------------------------------------


class ChannelMeans(nn.Module):
    """Logits that can be worked out by hand: the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        """Spatial means."""
        self.formats.append(images.is_contiguous(memory_format=torch.channels_last))
        return images.mean(dim=(2, 3))


def test_predict_normalises_and_keeps_the_order_over_batches(make_spec: MakeSpec) -> None:
    """More images than a batch holds; image i is all i mod 256, so that its logits are known."""
    count = BATCH + 3
    values = torch.arange(count) % 256
    images = values.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    mean, std = torch.tensor([0.5, 0.25, 0.0]), torch.tensor([0.5, 0.25, 1.0])
    network = ChannelMeans()
    logits = predict(network, images, mean, std, CPU, make_spec().optimisation)
    expected = torch.stack([(values / 255 - m) / s for m, s in zip(mean, std, strict=True)], dim=1)
    assert logits.shape == (count, 3)
    assert float((logits - expected).abs().max()) < 1e-5
    assert not logits.requires_grad
    assert network.formats == [True, True]  # pixel by pixel, as convolutions like it best


def test_logits_are_fetched_once(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a batch: a GPU would wait for the host between batches."""
    fetched = []
    fetch = Tensor.cpu

    def cpu(tensor: Tensor) -> Tensor:
        fetched.append(len(tensor))
        return fetch(tensor)

    monkeypatch.setattr(Tensor, "cpu", cpu)
    images = torch.zeros(2 * BATCH + 2, 3, 2, 2, dtype=torch.uint8)
    predict(ChannelMeans(), images, torch.zeros(3), torch.ones(3), CPU, make_spec().optimisation)
    assert fetched == [len(images)]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_predict_computes_in_the_runs_precision(make_spec: MakeSpec, precision: str) -> None:
    """In bfloat16 the classifier's inputs and weights keep 8 bits; logits come back as float32 all the same.

    On a CPU tf32 is fp32.
    """
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)
    images = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8, generator=generator)
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.25)
    spec = make_spec(optimisation={"precision": precision})
    found = predict(network, images, mean, std, CPU, spec.optimisation)
    inputs = normalise(images, mean, std).flatten(1)
    exact, rounded = (
        torch.nn.functional.linear(*(each.to(dtype) for each in (inputs, network[1].weight, network[1].bias))).float()
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert not torch.equal(exact, rounded)
    assert found.dtype == torch.float32
    assert torch.allclose(found, rounded if precision == "bf16" else exact, rtol=1e-6, atol=1e-6)
