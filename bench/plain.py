"""The comparison: a distillation loop written the way tutorials and the published code write it.

A DataLoader over single images, per-image transforms, teacher online, a metric read back every step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.study.spec import RunSpec
from harness.training.data import Data
from harness.training.losses import feature_loss, logit_loss
from harness.training.models import ScaledResNet, build, projections
from harness.training.vision import torchvision


class _SingleImages(Dataset[tuple[Tensor, int]]):
    def __init__(self, data: Data, spec: RunSpec) -> None:
        from torchvision.transforms import v2

        steps = [v2.RandomCrop(data.train_images.shape[-1], padding=spec.dataset.crop_padding)]
        if spec.dataset.horizontal_flip:
            steps.append(v2.RandomHorizontalFlip())
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean.tolist(), data.std.tolist())]
        self._images, self._labels, self._transform = data.train_images, data.train_labels, v2.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


class PlainRun:
    """One run of the plain loop.

    Args:
        spec: The run; the same as ours.
        data: Its images.
        teacher: A frozen teacher, or None for a baseline.
    """

    def __init__(self, spec: RunSpec, data: Data, teacher: ScaledResNet | None) -> None:
        settings = spec.optimisation
        self.spec, self.teacher = spec, teacher
        self.loader = DataLoader(_SingleImages(data, spec), batch_size=settings.batch_size, shuffle=True)
        self.student = build(spec.architecture, spec.stem, spec.model, data.classes, spec.role, spec.seed)
        self.parameters = list(self.student.parameters())
        if spec.method == "feature" and spec.teacher is not None:
            teacher_name = spec.teacher.architecture
            self.projections = projections(spec.architecture, teacher_name, spec.model.width, spec.role, spec.seed)
            self.parameters += list(self.projections.parameters())
        self.optimiser = torch.optim.SGD(
            self.parameters, settings.lr, settings.momentum, weight_decay=settings.weight_decay, nesterov=True
        )

    def train_epoch(self) -> float:
        """Train one epoch; returns the summed loss."""
        self.student.train()
        total = 0.0
        for images, labels in self.loader:
            features, logits = self.student.features_and_logits(images)
            loss = F.cross_entropy(logits, labels)
            if self.teacher is not None:
                with torch.no_grad():
                    teacher_features, teacher_logits = self.teacher.features_and_logits(images)
                if self.spec.method == "feature":
                    kd = feature_loss(teacher_features, features, self.projections)
                else:
                    kd = logit_loss(teacher_logits, logits, self.spec.temperature or 1.0)
                alpha = self.spec.alpha or 0.0
                loss = alpha * kd + (1 - alpha) * loss
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.spec.optimisation.clip_norm)
            self.optimiser.step()
            total += loss.item() * len(labels)
        return total


def warm_up_torchvision() -> str:
    """Import torchvision, so that no timing holds its import; returns its version."""
    return str(torchvision.__version__)
