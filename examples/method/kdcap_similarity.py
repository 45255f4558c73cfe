"""Similarity-preserving distillation (Tung & Mori, ICCV 2019), as a method of kdcap."""

from torch import Tensor
from torch.nn.functional import normalize

from harness.training.methods.method import Method
from harness.training.network import Outputs


def similarities(features: Tensor) -> Tensor:
    """How alike each two images of a batch are (equation 1): rows of length 1, shape (batch, batch)."""
    flat = features.flatten(1)
    return normalize(flat @ flat.T, dim=1)


class Similarity(Method):
    """Images alike to the teacher shall be alike to the student: gamma * mean squared difference, last stage."""

    needs = "features"  # of teacher and student; `logits` would do without
    hyperparameters = ("gamma",)  # beside alpha; the profile must give exactly these

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The loss of a batch; kdcap minimises alpha * this + (1 - alpha) * cross-entropy."""
        difference = similarities(student.features[-1]) - similarities(teacher.features[-1])
        return self.values["gamma"] * difference.square().mean()
