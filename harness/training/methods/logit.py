"""Logit-KD (Hinton, Vinyals & Dean 2015, section 2): match the teacher's softened class probabilities."""

from __future__ import annotations

from torch import Tensor

from harness.training.losses import kl_divergence
from harness.training.methods.method import Method
from harness.training.network import Outputs


class LogitKD(Method):
    """T^2 * KL(teacher || student) at temperature T, batch mean (arXiv 2605.31191 v2, section 3)."""

    hyperparameters = ("temperature",)

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """See `Method.forward`. The square undoes the 1 / T^2 by which softening shrinks the gradient."""
        temperature = self.values["temperature"]
        return temperature**2 * kl_divergence(teacher.logits, student.logits, temperature)
