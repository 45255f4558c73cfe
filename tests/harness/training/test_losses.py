"""The divergence against numbers worked out by hand, and the properties that define it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from harness.training.losses import kl_divergence

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


def divergence(teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    """What is tested, of numpy's arrays."""
    return float(kl_divergence(torch.from_numpy(teacher), torch.from_numpy(student), temperature))


def test_three_to_one_against_even_odds() -> None:
    """Logits (ln 3, 0) are odds of 3 to 1; the divergence is the teacher's from the student's, not the other way."""
    teacher, student = two_classes(math.log(3)), two_classes(0.0)
    assert float(kl_divergence(teacher, student, 1.0)) == pytest.approx(KL_FORTH, abs=1e-9)
    assert float(kl_divergence(student, teacher, 1.0)) == pytest.approx(KL_BACK, abs=1e-9)


def test_it_is_a_mean_over_the_batch() -> None:
    """An image on which both agree halves the mean; classes are summed, not averaged."""
    teacher, student = two_classes(math.log(3), 1.0), two_classes(0.0, 1.0)
    assert float(kl_divergence(teacher, student, 1.0)) == pytest.approx(KL_FORTH / 2, abs=1e-9)


def test_the_temperature_divides_the_logits_of_both() -> None:
    """Logits (2 ln 3, 0) at T = 2 are odds of 3 to 1 again, whoever has them; there is no factor T^2."""
    teacher, student = two_classes(2 * math.log(3)), two_classes(0.0)
    assert float(kl_divergence(teacher, student, 2.0)) == pytest.approx(KL_FORTH, abs=1e-9)
    assert float(kl_divergence(student, teacher, 2.0)) == pytest.approx(KL_BACK, abs=1e-9)


@given(logits, logits, temperatures)
def test_it_follows_its_definition(teacher: np.ndarray, student: np.ndarray, temperature: float) -> None:
    """sum_c p_c ln(p_c / q_c), batch mean, with softmax written out."""
    p, q = softened(teacher, temperature), softened(student, temperature)
    expected = (p * np.log(p / q)).sum(axis=1).mean()
    assert divergence(teacher, student, temperature) == pytest.approx(expected, rel=1e-9, abs=1e-11)


@given(logits, logits, temperatures)
def test_it_is_never_negative(teacher: np.ndarray, student: np.ndarray, temperature: float) -> None:
    """Gibbs' inequality, up to float64 rounding."""
    assert divergence(teacher, student, temperature) >= -1e-13


@given(logits, temperatures, st.floats(-50, 50))
def test_it_is_zero_where_both_say_the_same(values: np.ndarray, temperature: float, up: float) -> None:
    """Equal logits, or logits that differ by a constant."""
    assert abs(divergence(values, values, temperature)) < 1e-12
    assert abs(divergence(values, values + up, temperature)) < 1e-12
