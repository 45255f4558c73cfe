"""The training loop: one run, from its spec to its test accuracies, on one screen a step.

Protocol: arXiv 2605.31191 v2, sections 3 and 4, and the authors' code (commit 4ec15c4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.study.spec import RunSpec
from harness.training import checkpoint as checkpoints
from harness.training.augment import normalise, pad, random_views
from harness.training.data import Data
from harness.training.evaluate import Fidelity, Outcome, fidelity, predict, score
from harness.training.losses import feature_loss, logit_loss
from harness.training.models import ScaledResNet, build, projections
from harness.training.streams import stream


class TrainingFailed(Exception):
    """A loss or gradient was not finite; names epoch, step, learning rate and norms."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a run's history; losses are means over images, norms means over steps.

    Attributes:
        epoch: 1, 2, ...
        lr: Learning rate.
        train_loss: The loss that was minimised.
        train_ce: Its cross-entropy part, before weighting.
        train_kd: Its distillation part, before weighting; None for a baseline.
        train_acc: Accuracy on the augmented training images as they were seen, a fraction.
        val_loss: Cross-entropy on the validation images.
        val_acc: Accuracy there, a fraction.
        grad_norm_student: Norm of the student's gradient before clipping.
        grad_norm_projections: Norm of the projections' gradient before clipping; None without projections.
    """

    epoch: int
    lr: float
    train_loss: float
    train_ce: float
    train_kd: float | None
    train_acc: float
    val_loss: float
    val_acc: float
    grad_norm_student: float
    grad_norm_projections: float | None


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        history: Every epoch.
        seconds: Wall time of every epoch, in step with `history`; differs from run to run.
        best_epoch: First epoch with the best validation accuracy.
        best_weights: The network's state at that epoch.
        last_weights_sha256: Digest of its state at the last epoch.
        best: Test outcome at the best epoch, the reported one.
        last: Test outcome at the last epoch.
        fidelity: Fidelity to the teacher at the best epoch; None for a baseline.
        parameters: Trainable parameters of the network, projections not counted.
        test_openings: How often the test set was taken out.
        resumed_at: Epochs after which the run was cut and went on, in order.
    """

    history: tuple[Epoch, ...]
    seconds: tuple[float, ...]
    best_epoch: int
    best_weights: Mapping[str, Tensor]
    last_weights_sha256: str
    best: Outcome
    last: Outcome
    fidelity: Fidelity | None
    parameters: int
    test_openings: int
    resumed_at: tuple[int, ...]


def train(
    spec: RunSpec,
    data: Data,
    teacher_weights: Mapping[str, Tensor] | None,
    device: torch.device,
    checkpoint: Path,
    identity: str,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """Train one run to its end, going on from its checkpoint if there is one.

    Args:
        spec: The run.
        data: Its images.
        teacher_weights: State of the teacher's network; None for a baseline.
        device: Where to train, as `determinism.configure` returned it.
        checkpoint: File that keeps the state of the last whole epoch.
        identity: Spec and code digests; a checkpoint of another identity is not used.
        on_epoch: Told of every epoch as it ends.

    Returns:
        The finished run.

    Raises:
        TrainingFailed: A loss or gradient is not finite.
    """
    run = Run(spec, data, teacher_weights, device)
    run.resume(checkpoints.restore(checkpoint, identity))
    while len(run.history) < spec.epochs:
        on_epoch(run.train_epoch())
        checkpoints.save(checkpoint, identity, run.state())
    return run.finish()


class Run:
    """A run in the making."""

    def __init__(
        self, spec: RunSpec, data: Data, teacher_weights: Mapping[str, Tensor] | None, device: torch.device
    ) -> None:
        self.spec, self.data, self.device = spec, data, device
        self.student = build(spec.architecture, spec.stem, spec.model, data.classes, spec.role, spec.seed).to(device)
        self.teacher = _frozen_teacher(spec, data.classes, teacher_weights, device)
        self.projections = nn.ModuleList()
        if spec.method == "feature" and spec.teacher is not None:
            self.projections = projections(
                spec.architecture, spec.teacher.architecture, spec.model.width, spec.role, spec.seed
            ).to(device)
        self.parameters = [*self.student.parameters(), *self.projections.parameters()]
        settings = spec.optimisation
        self.optimiser = torch.optim.SGD(
            self.parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=True,  # one kernel for all parameters: many small ones cost more to call than to run
        )
        self.padded = pad(data.train_images.to(device), spec.dataset.crop_padding)
        self.labels = data.train_labels.to(device)
        self.mean, self.std = data.mean.to(device), data.std.to(device)
        self.history: list[Epoch] = []
        self.seconds: list[float] = []
        self.resumed_at: list[int] = []
        self.best_weights: dict[str, Tensor] = {}

    def train_epoch(self) -> Epoch:
        """Train one epoch and validate."""
        started = time.perf_counter()
        epoch, spec = len(self.history) + 1, self.spec
        lr = cosine_lr(epoch, spec.epochs, spec.optimisation.lr, spec.optimisation.lr_min)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        order = torch.randperm(len(self.labels), generator=stream("order", spec.role, spec.seed, epoch))
        augmentation = stream("augment", spec.role, spec.seed, epoch)
        self.student.train()
        # Kept as tensors until the epoch's end: reading one would make a GPU wait.
        steps = [self._step(index, augmentation) for index in _batches(order, spec.optimisation.batch_size)]
        sums = torch.stack(steps).double().cpu()
        self._check_finite(sums, epoch, lr)
        validation = self._score(self.data.validation_images, self.data.validation_labels)
        if not math.isfinite(validation.loss):
            raise TrainingFailed(f"validation loss not finite after epoch {epoch}, learning rate {lr:g}.")
        images, means = sums[:, 0].sum(), sums[:, 5:].mean(dim=0)
        loss, ce, kd, right = (float(sums[:, column].sum() / images) for column in range(1, 5))
        self.history.append(
            Epoch(
                epoch=epoch,
                lr=lr,
                train_loss=loss,
                train_ce=ce,
                train_kd=None if self.teacher is None else kd,
                train_acc=right,
                val_loss=validation.loss,
                val_acc=validation.accuracy,
                grad_norm_student=float(means[0]),
                grad_norm_projections=float(means[1]) if len(self.projections) else None,
            )
        )
        if epoch == best_epoch(self.history):
            self.best_weights = _copy(self.student.state_dict())
        self.seconds.append(time.perf_counter() - started)
        return self.history[-1]

    def _step(self, index: Tensor, augmentation: torch.Generator) -> Tensor:
        """One optimiser step; returns images, summed loss, CE, KD and hits, and the two gradient norms."""
        dataset, settings = self.spec.dataset, self.spec.optimisation
        views = random_views(
            self.padded,
            index,
            augmentation,
            padding=dataset.crop_padding,
            horizontal_flip=dataset.horizontal_flip,
        )
        images, labels = normalise(views, self.mean, self.std), self.labels[index.to(self.device)]
        features, logits = self.student.features_and_logits(images)
        ce = F.cross_entropy(logits, labels)
        kd = self._distillation(images, features, logits)
        alpha = self.spec.alpha or 0.0
        loss = ce if self.teacher is None else alpha * kd + (1 - alpha) * ce
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        student_norm = _grad_norm(self.student)
        projections_norm = _grad_norm(self.projections) if len(self.projections) else torch.zeros_like(student_norm)
        if self.spec.clip_projections is False:  # the bug that the paper's ablation is about
            clipped, norm = list(self.student.parameters()), student_norm
        else:
            clipped, norm = self.parameters, torch.hypot(student_norm, projections_norm)
        torch.nn.utils.clip_grads_with_norm_(clipped, settings.clip_norm, norm, foreach=True)
        self.optimiser.step()
        hits = (logits.detach().argmax(dim=1) == labels).sum()
        count = torch.tensor(float(len(index)), device=self.device)
        per_image = [count * value.detach() for value in (loss, ce, kd)]
        return torch.stack([count, *per_image, hits.float(), student_norm, projections_norm])

    def _distillation(self, images: Tensor, features: list[Tensor], logits: Tensor) -> Tensor:
        """The distillation loss of one batch; zero for a baseline."""
        if self.teacher is None:
            return torch.zeros((), device=self.device)
        with torch.no_grad():
            teacher_features, teacher_logits = self.teacher.features_and_logits(images)
        if self.spec.method == "feature":
            return feature_loss(teacher_features, features, self.projections)
        return logit_loss(teacher_logits, logits, self.spec.temperature or 1.0)

    def _check_finite(self, steps: Tensor, epoch: int, lr: float) -> None:
        broken = (~steps.isfinite().all(dim=1)).nonzero()
        if len(broken):
            step = int(broken[0])
            loss, student, projected = (float(steps[step, column]) for column in (1, 5, 6))
            raise TrainingFailed(
                f"not finite in epoch {epoch}, step {step + 1} of {len(steps)}: loss {loss / float(steps[step, 0]):g}, "
                f"gradient norms {student:g} (student) and {projected:g} (projections), learning rate {lr:g}."
            )

    def _score(self, images: Tensor, labels: Tensor) -> Outcome:
        self.student.eval()
        return score(predict(self.student, images, self.data.mean, self.data.std, self.device), labels)

    def state(self) -> checkpoints.Checkpoint:
        """All that the next epoch needs."""
        momentum = self.optimiser.state_dict()["state"]
        return checkpoints.Checkpoint(
            tensors={
                "student": self.student.state_dict(),
                "projections": self.projections.state_dict(),
                "momentum": {
                    str(i): entry["momentum_buffer"] for i, entry in momentum.items() if self.spec.optimisation.momentum
                },
                "best": self.best_weights,
            },
            progress={
                "history": [asdict(epoch) for epoch in self.history],
                "seconds": self.seconds,
                "resumed_at": self.resumed_at,
            },
        )

    def resume(self, saved: checkpoints.Checkpoint | None) -> None:
        """Go on from a checkpoint; None starts afresh."""
        if saved is None:
            return
        self.student.load_state_dict(dict(saved.tensors["student"]))
        self.projections.load_state_dict(dict(saved.tensors.get("projections", {})))
        state: dict[str, Any] = self.optimiser.state_dict()
        state["state"] = {
            int(i): {"momentum_buffer": buffer} for i, buffer in saved.tensors.get("momentum", {}).items()
        }
        self.optimiser.load_state_dict(state)
        self.best_weights = {name: tensor.to(self.device) for name, tensor in saved.tensors["best"].items()}
        self.history = [Epoch(**epoch) for epoch in saved.progress["history"]]
        self.seconds = list(saved.progress["seconds"])
        self.resumed_at = [*saved.progress["resumed_at"], len(self.history)]

    def finish(self) -> Trained:
        """Open the test set, now that training is over, and measure both checkpoints on it."""
        test, data = self.data.test, self.data
        test.unseal()
        last_weights_sha256 = checkpoints.tensors_digest(self.student.state_dict())
        last = self._score(*test.open())
        self.student.load_state_dict(self.best_weights)
        self.student.eval()
        images, labels = test.open()
        logits = predict(self.student, images, data.mean, data.std, self.device)
        follows = None
        if self.teacher is not None:
            follows = fidelity(predict(self.teacher, images, data.mean, data.std, self.device), logits)
        return Trained(
            history=tuple(self.history),
            seconds=tuple(self.seconds),
            best_epoch=best_epoch(self.history),
            best_weights={name: tensor.cpu() for name, tensor in self.best_weights.items()},
            last_weights_sha256=last_weights_sha256,
            best=score(logits, labels),
            last=last,
            fidelity=follows,
            parameters=sum(parameter.numel() for parameter in self.student.parameters()),
            test_openings=test.openings,
            resumed_at=tuple(self.resumed_at),
        )


def cosine_lr(epoch: int, epochs: int, lr: float, lr_min: float) -> float:
    """Learning rate of an epoch (1, 2, ...): PyTorch's CosineAnnealingLR in closed form, T_max = epochs."""
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def best_epoch(history: list[Epoch]) -> int:
    """The first epoch with the highest validation accuracy."""
    return max(history, key=lambda epoch: (epoch.val_acc, -epoch.epoch)).epoch


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of an epoch; a last batch of one image is left out, since batch norm cannot train on it."""
    return [batch for batch in order.split(size) if len(batch) > 1]


def _grad_norm(module: nn.Module) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None], foreach=True)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _frozen_teacher(
    spec: RunSpec, classes: int, weights: Mapping[str, Tensor] | None, device: torch.device
) -> ScaledResNet | None:
    if spec.teacher is None:
        return None
    if weights is None:
        raise ValueError("a distilled run needs its teacher's weights")
    teacher = build(spec.teacher.architecture, spec.teacher.stem, spec.model, classes, "teacher", spec.teacher.seed)
    teacher.load_state_dict(dict(weights))
    teacher.to(device).eval().requires_grad_(requires_grad=False)
    return teacher
