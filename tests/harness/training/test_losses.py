"""The losses against numbers worked out by hand, and the properties that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from harness.training.losses import feature_loss, kl_divergence, logit_loss

# KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.304098831 - 0.173286795
KL_FORTH = 0.130812036
# KL((1/2, 1/2) || (3/4, 1/4)) = 1/2 ln(2/3) + 1/2 ln 2 = -0.202732554 + 0.346573590
KL_BACK = 0.143841036

logits = arrays.arrays(np.float64, (3, 5), elements=st.floats(-20, 20))
temperatures = st.floats(0.5, 20)


def two_classes(*log_odds: float) -> Tensor:
    """Logits (log odds, 0) of a batch."""
    return torch.tensor([[value, 0.0] for value in log_odds], dtype=torch.float64)


def softened(values: np.ndarray, temperature: float) -> np.ndarray:
    """Class probabilities at a temperature, straight from the definition."""
    exponentials = np.exp(values / temperature)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_kl_of_three_to_one_against_even_odds() -> None:
    """Logits (ln 3, 0) are odds of 3 to 1; the divergence is the teacher's from the student's, not the other way."""
    teacher, student = two_classes(math.log(3)), two_classes(0.0)
    assert float(kl_divergence(teacher, student, 1.0)) == pytest.approx(KL_FORTH, abs=1e-9)
    assert float(kl_divergence(student, teacher, 1.0)) == pytest.approx(KL_BACK, abs=1e-9)


def test_kl_is_a_mean_over_the_batch() -> None:
    """An image on which both agree halves the mean; classes are summed, not averaged."""
    teacher, student = two_classes(math.log(3), 1.0), two_classes(0.0, 1.0)
    assert float(kl_divergence(teacher, student, 1.0)) == pytest.approx(KL_FORTH / 2, abs=1e-9)


def test_logit_loss_multiplies_by_the_temperature_squared() -> None:
    """Logits (2 ln 3, 0) at T = 2 are odds of 3 to 1 again, and the loss is T^2 = 4 times that divergence."""
    loss = logit_loss(two_classes(2 * math.log(3)), two_classes(0.0), 2.0)
    assert float(loss) == pytest.approx(4 * KL_FORTH, abs=4e-9)


@given(logits, logits, temperatures)
def test_logit_loss_follows_its_definition(teacher: np.ndarray, student: np.ndarray, temperature: float) -> None:
    """T^2 * sum_c p_c ln(p_c / q_c), batch mean, with softmax written out."""
    p, q = softened(teacher, temperature), softened(student, temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    found = float(logit_loss(torch.from_numpy(teacher), torch.from_numpy(student), temperature))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-11 * temperature**2)


@given(logits, logits, temperatures)
def test_kl_is_never_negative(teacher: np.ndarray, student: np.ndarray, temperature: float) -> None:
    """Gibbs' inequality, up to float64 rounding."""
    assert float(kl_divergence(torch.from_numpy(teacher), torch.from_numpy(student), temperature)) >= -1e-13


@given(logits, temperatures)
def test_logit_loss_is_zero_where_student_equals_teacher(values: np.ndarray, temperature: float) -> None:
    """Nothing to learn, no loss and no gradient."""
    student = torch.from_numpy(values).requires_grad_()
    loss = logit_loss(torch.from_numpy(values), student, temperature)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-12 * temperature**2
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12 * temperature


@given(logits, logits, temperatures, st.floats(-50, 50), st.floats(-50, 50))
def test_logit_loss_ignores_constants(
    teacher: np.ndarray, student: np.ndarray, temperature: float, up: float, down: float
) -> None:
    """Logits say the same after a constant is added to all of one network's."""
    a, b = torch.from_numpy(teacher), torch.from_numpy(student)
    plain, moved = logit_loss(a, b, temperature), logit_loss(a + up, b + down, temperature)
    assert float(moved) == pytest.approx(float(plain), rel=1e-9, abs=1e-11 * temperature**2)


@given(logits, logits, st.floats(1, 8), st.floats(0.25, 4))
def test_logit_loss_scales_with_the_square(
    teacher: np.ndarray, student: np.ndarray, temperature: float, factor: float
) -> None:
    """Logits and T times c leave the divergence as it was, so that the loss grows by c^2."""
    a, b = torch.from_numpy(teacher), torch.from_numpy(student)
    plain, scaled = logit_loss(a, b, temperature), logit_loss(factor * a, factor * b, factor * temperature)
    assert float(scaled) == pytest.approx(factor**2 * float(plain), rel=1e-9, abs=1e-9)


def test_a_high_temperature_matches_centred_logits() -> None:
    """As T grows, T^2 KL tends to the squared difference of centred logits / (2 classes), with an error like 1/T.

    Second order around uniform probabilities: KL = 1/2 Var_uniform((t - s) / T) (Hinton et al. 2015, section 2.1).
    """
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 6, 10, dtype=torch.float64, generator=generator)
    centred = [values - values.mean(dim=1, keepdim=True) for values in (teacher, student)]
    limit = float((centred[0] - centred[1]).square().sum(dim=1).mean()) / (2 * 10)
    errors = [abs(float(logit_loss(teacher, student, t)) - limit) for t in (10.0, 100.0, 1000.0)]
    assert errors[2] < 1e-3 * limit
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5


def identity(channels: int) -> nn.Conv2d:
    """A projection that changes nothing."""
    project = nn.Conv2d(channels, channels, kernel_size=1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        project.weight.copy_(torch.eye(channels, dtype=torch.float64)[:, :, None, None])
    return project


def maps(*images: list[list[float]]) -> Tensor:
    """Feature maps of height 1: images x channels x pixels."""
    return torch.tensor(images, dtype=torch.float64)[:, :, None, :]


def test_feature_loss_worked_by_hand() -> None:
    """Two layers of one image, two channels and two pixels, identity projections.

    Layer 1: student ((1, 3), (0, 0)), teacher ((0, 0), (2, 2)). MSE = (1 + 9 + 4 + 4) / 4 = 4.5. Pooled (2, 0) and
    (0, 2) are orthogonal: 0.5 * (1 - 0) = 0.5. Together 5.
    Layer 2: student is twice a teacher of ones. MSE = 1; same direction: 0. Together 1.
    Mean over layers: 3.
    """
    student = [maps([[1, 3], [0, 0]]), maps([[2, 2], [2, 2]])]
    teacher = [maps([[0, 0], [2, 2]]), maps([[1, 1], [1, 1]])]
    loss = feature_loss(teacher, student, nn.ModuleList([identity(2), identity(2)]))
    assert float(loss.detach()) == pytest.approx(3.0, abs=1e-12)


def test_feature_loss_averages_the_cosine_over_images() -> None:
    """One image opposite to its teacher, one equal: MSE (4 + 4 + 0 + 0) / 4 = 2, cosine part 0.5 * (2 + 0) / 2."""
    student, teacher = maps([[1, 1]], [[1, 1]]), maps([[-1, -1]], [[1, 1]])
    loss = feature_loss([teacher], [student], nn.ModuleList([identity(1)]))
    assert float(loss.detach()) == pytest.approx(2.5, abs=1e-12)


def test_feature_loss_pools_before_the_cosine() -> None:
    """Maps that differ pixel by pixel but have equal spatial means differ in MSE alone: (1 + 1) / 2."""
    student, teacher = maps([[2, 0]]), maps([[1, 1]])
    loss = feature_loss([teacher], [student], nn.ModuleList([identity(1)]))
    assert float(loss.detach()) == pytest.approx(1.0, abs=1e-12)


def test_feature_loss_projects_the_student() -> None:
    """A projection (1 -> 2 channels, weights 3 and -1) maps a student of ones onto its teacher: no loss."""
    project = nn.Conv2d(1, 2, kernel_size=1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        project.weight.copy_(torch.tensor([3.0, -1.0], dtype=torch.float64)[:, None, None, None])
    loss = feature_loss([maps([[3, 3], [-1, -1]])], [maps([[1, 1]])], nn.ModuleList([project]))
    assert abs(float(loss.detach())) < 1e-12


def test_feature_loss_refuses_layers_without_partners() -> None:
    """A layer more on one side is a mistake, not something to skip."""
    with pytest.raises(ValueError, match=r"shorter|longer"):
        feature_loss([maps([[1.0]])] * 2, [maps([[1.0]])], nn.ModuleList([identity(1)]))


def test_gradients_reach_student_and_projections() -> None:
    """Both losses move what is trained: the student's outputs, and with Feature-KD the projections."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 3, 4, 2, 2, dtype=torch.float64, generator=generator)
    student.requires_grad_()
    project = identity(4)
    feature_loss([teacher], [student], nn.ModuleList([project])).backward()
    assert student.grad is not None
    assert bool((student.grad.abs().sum(dim=(2, 3)) > 0).all())
    assert project.weight.grad is not None
    assert bool((project.weight.grad != 0).all())
    out = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    logit_loss(teacher[:, :, 0, 0], out, 4.0).backward()
    assert out.grad is not None
    assert bool((out.grad != 0).all())
