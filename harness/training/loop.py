"""The training loop: one run, from its spec to its test accuracies, on one screen a step.

Protocol: arXiv 2605.31191 v2, sections 3 and 4, and the authors' code (commit 4ec15c4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.study.spec import RunSpec
from harness.training import checkpoint as checkpoints
from harness.training import determinism, footprint
from harness.training.augment import Views, crop, draw_views, normalise, pad, view_number
from harness.training.data import Data
from harness.training.evaluate import Fidelity, Outcome, fidelity, predict, score
from harness.training.footprint import Footprint
from harness.training.methods import method as methods
from harness.training.models import build
from harness.training.network import Outputs
from harness.training.streams import stream
from harness.training.teacher import FrozenTeacher
from harness.training.teacher_table import TeacherTable


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
        footprint: Parameters, operations and latency of the network, projections not counted.
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
    footprint: Footprint
    test_openings: int
    resumed_at: tuple[int, ...]


@dataclass(frozen=True)
class Teaching:
    """The teacher of a run, ready to teach.

    Attributes:
        teacher: The frozen network; also measured on the test images, for fidelity.
        table: Its logits on every view of every training image, where the method needs no more; None to compute them
            in each step.
    """

    teacher: FrozenTeacher
    table: TeacherTable | None


def train(
    spec: RunSpec,
    data: Data,
    teaching: Teaching | None,
    device: torch.device,
    checkpoints_folder: Path,
    identity: str,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    checkpoint_every_s: float = 0.0,
) -> Trained:
    """Train one run to its end, going on from its checkpoint if there is one.

    Args:
        spec: The run.
        data: Its images.
        teaching: The teacher; None for a baseline.
        device: Where to train, as `determinism.configure` returned it.
        checkpoints_folder: Folder that keeps the state of the last whole epochs.
        identity: Digests of all that the bits depend on; a checkpoint of another identity is not used.
        on_epoch: Told of every epoch as it ends.
        say: Told, in a sentence, of checkpoints that could not be used.
        checkpoint_every_s: Seconds between checkpoints, which are written at borders of epochs only; 0 for every
            epoch. The last epoch is always kept before the test set opens.

    Returns:
        The finished run.

    Raises:
        TrainingFailed: A loss or gradient is not finite.
        StudyError: The method is not installed, or takes other hyperparameters.
    """
    run = Run(spec, data, teaching, device)
    run.resume(checkpoints.restore(checkpoints_folder, identity, say))
    kept = time.monotonic()
    while len(run.history) < spec.epochs:
        on_epoch(run.train_epoch())
        if len(run.history) == spec.epochs or time.monotonic() - kept >= checkpoint_every_s:
            checkpoints.save(checkpoints_folder, identity, run.state())
            kept = time.monotonic()
    return run.finish()


class Batch(NamedTuple):
    """Training images of a step.

    Attributes:
        images: Which, int64 (batch,).
        views: How each is cropped and mirrored.
        taught: The teacher's logits (batch, classes) where they come from a table.
    """

    images: Tensor
    views: Views
    taught: Tensor | None


class Run:
    """A run in the making. Images, labels and random draws live on its device: no step waits for the host."""

    def __init__(self, spec: RunSpec, data: Data, teaching: Teaching | None, device: torch.device) -> None:
        if (teaching is None) != (spec.teacher is None):
            raise ValueError(f"{spec.name}: a distilled run needs its teacher, and a baseline has none")
        self.spec, self.data, self.device, self.teaching = spec, data, device, teaching
        student = build(spec.architecture, spec.stem, spec.model, data.classes, spec.role, spec.seed)
        self.student = student.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # stubs lack it
        self.method = None if teaching is None else methods.make(spec).to(device)
        self.alpha = spec.hyperparameter("alpha")
        own = [] if self.method is None else list(self.method.parameters())
        self.parameters = [*self.student.parameters(), *own]
        # The clipping bug: the projections' gradients are neither counted nor clipped.
        self.clipped = self.parameters if spec.clip_projections is not False else list(self.student.parameters())
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
        self.validation_images = data.validation_images.to(device)
        self.mean, self.std = data.mean.to(device), data.std.to(device)
        self.history: list[Epoch] = []
        self.seconds: list[float] = []
        self.resumed_at: list[int] = []
        self.best_weights: dict[str, Tensor] = {}

    def train_epoch(self) -> Epoch:
        """Train one epoch and validate."""
        started = time.perf_counter()
        epoch = len(self.history) + 1
        # Kept as tensors until the epoch's end: reading one would make a GPU wait.
        sums = torch.stack([self.step(*batch) for batch in self.batches(epoch)]).double().cpu()
        lr: float = self.optimiser.param_groups[0]["lr"]
        self._check_finite(sums, epoch, lr)
        validation = self._score(self.validation_images, self.data.validation_labels)
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
                train_kd=None if self.method is None else kd,
                train_acc=right,
                val_loss=validation.loss,
                val_acc=validation.accuracy,
                grad_norm_student=float(means[0]),
                grad_norm_projections=float(means[1]) if _has_parameters(self.method) else None,
            )
        )
        if epoch == best_epoch(self.history):
            self.best_weights = _copy(self.student.state_dict())
        self.seconds.append(time.perf_counter() - started)
        return self.history[-1]

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Begin an epoch: set its learning rate, draw its order and views, and cut them into batches.

        What a method draws by itself (a mask, a dropout) comes from torch's own generators: they begin each epoch anew,
        so that a run that was cut draws the same.

        Args:
            epoch: 1, 2, ...

        Yields:
            Batches. A last one of one image is left out, since batch norm cannot train on it.
        """
        spec = self.spec
        lr = cosine_lr(epoch, spec.epochs, spec.optimisation.lr, spec.optimisation.lr_min)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.student.train()
        if self.method is not None:
            torch.manual_seed(stream("method", spec.role, spec.seed, epoch).initial_seed())
        count, size = len(self.labels), spec.optimisation.batch_size
        order = torch.randperm(count, generator=stream("order", spec.role, spec.seed, epoch)).to(self.device)
        drawn = draw_views(count, stream("augment", spec.role, spec.seed, epoch), spec.dataset.crop_padding)
        views = drawn.to(self.device)
        taught = None  # fetched for the whole epoch: a table may lie in the computer's memory, for which a GPU waits
        if self.teaching is not None and self.teaching.table is not None:
            number = view_number(views, padding=spec.dataset.crop_padding, horizontal_flip=spec.dataset.horizontal_flip)
            taught = self.teaching.table.logits(order, number)
        for start in range(0, count - 1, size):
            part = slice(start, start + size)
            yield Batch(order[part], views[part], None if taught is None else taught[part])

    def step(self, index: Tensor, views: Views, taught: Tensor | None) -> Tensor:
        """One optimiser step on a batch from `batches` (its three parts).

        Returns:
            Images, summed loss, cross-entropy, distillation loss and hits, and the two gradient norms, on the device.
        """
        dataset, settings = self.spec.dataset, self.spec.optimisation
        padding, flip = dataset.crop_padding, dataset.horizontal_flip
        cropped = crop(self.padded, index, views, padding=padding, horizontal_flip=flip)
        images, labels = normalise(cropped, self.mean, self.std), self.labels[index]
        with determinism.autocast(settings, self.device):
            student = self.student.outputs(images)
        full = images.dtype  # of losses, whatever autocast made of the network's outputs
        logits = student.logits.to(full)
        loss = ce = F.cross_entropy(logits, labels)
        kd = torch.zeros_like(ce)
        if self.method is not None and self.alpha is not None:
            features = tuple(each.to(full) for each in student.features) if self.method.needs == "features" else ()
            kd = self.method(Outputs(features, logits), self._taught(images, taught))
            loss = self.alpha * kd + (1 - self.alpha) * ce
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norms = _grad_norm(self.student, ce), _grad_norm(self.method, ce)
        total = norms[0] if self.clipped is not self.parameters else torch.stack(norms).norm()
        torch.nn.utils.clip_grads_with_norm_(self.clipped, settings.clip_norm, total, foreach=True)
        self.optimiser.step()
        hits = (logits.detach().argmax(dim=1) == labels).sum()
        per_image = [len(index) * value.detach() for value in (loss, ce, kd)]
        return torch.stack([torch.full_like(total, len(index)), *per_image, hits.to(full), *norms])

    def _taught(self, images: Tensor, logits: Tensor | None) -> Outputs:
        """What the teacher says of a batch; its logits where the table had them."""
        if self.teaching is None or self.method is None:
            raise ValueError("a baseline has no teacher")
        if logits is not None:
            return Outputs((), logits)
        if self.method.needs == "logits":
            return Outputs((), self.teaching.teacher.logits(images))
        return self.teaching.teacher.outputs(images)

    def _check_finite(self, steps: Tensor, epoch: int, lr: float) -> None:
        broken = (~steps.isfinite().all(dim=1)).nonzero()
        if len(broken):
            step = int(broken[0])
            loss, student, projected = (float(steps[step, column]) for column in (1, 5, 6))
            raise TrainingFailed(
                f"not finite in epoch {epoch}, step {step + 1} of {len(steps)}: loss {loss / float(steps[step, 0]):g}, "
                f"gradient norms {student:g} (student) and {projected:g} (projections), learning rate {lr:g}."
            )

    def _predict(self, network: nn.Module, images: Tensor) -> Tensor:
        return predict(network, images, self.mean, self.std, self.device, self.spec.optimisation)

    def _score(self, images: Tensor, labels: Tensor) -> Outcome:
        self.student.eval()
        return score(self._predict(self.student, images), labels)

    def state(self) -> checkpoints.Checkpoint:
        """All that the next epoch needs."""
        momentum = self.optimiser.state_dict()["state"]
        return checkpoints.Checkpoint(
            tensors={
                "student": self.student.state_dict(),
                "method": {} if self.method is None else self.method.state_dict(),
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
        if self.method is not None:
            self.method.load_state_dict(dict(saved.tensors.get("method", {})))
        state: dict[str, Any] = self.optimiser.state_dict()
        # The fused kernel walks through memory: a buffer must lie there as its parameter does.
        state["state"] = {
            i: {"momentum_buffer": torch.empty_like(parameter).copy_(saved.tensors["momentum"][str(i)])}
            for i, parameter in enumerate(self.parameters)
            if self.spec.optimisation.momentum
        }
        self.optimiser.load_state_dict(state)
        self.best_weights = {name: tensor.to(self.device) for name, tensor in saved.tensors["best"].items()}
        self.history = [Epoch(**epoch) for epoch in saved.progress["history"]]
        self.seconds = list(saved.progress["seconds"])
        self.resumed_at = [*saved.progress["resumed_at"], len(self.history)]

    def finish(self) -> Trained:
        """Open the test set, now that training is over, and measure both checkpoints on it."""
        test = self.data.test
        test.unseal()
        last_weights_sha256 = checkpoints.tensors_digest(self.student.state_dict())
        last = self._score(*test.open())
        self.student.load_state_dict(self.best_weights)
        self.student.eval()
        images, labels = test.open()
        logits = self._predict(self.student, images)
        with determinism.autocast(self.spec.optimisation, self.device):
            size = footprint.measure(self.student, tuple(images.shape[1:]), self.device)
        follows = None
        if self.teaching is not None:
            follows = fidelity(self._predict(self.teaching.teacher, images), logits)
        return Trained(
            history=tuple(self.history),
            seconds=tuple(self.seconds),
            best_epoch=best_epoch(self.history),
            best_weights={name: tensor.cpu().contiguous() for name, tensor in self.best_weights.items()},
            last_weights_sha256=last_weights_sha256,
            best=score(logits, labels),
            last=last,
            fidelity=follows,
            footprint=size,
            test_openings=test.openings,
            resumed_at=tuple(self.resumed_at),
        )


def cosine_lr(epoch: int, epochs: int, lr: float, lr_min: float) -> float:
    """Learning rate of an epoch (1, 2, ...): PyTorch's CosineAnnealingLR in closed form, T_max = epochs."""
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2


def best_epoch(history: list[Epoch]) -> int:
    """The first epoch with the highest validation accuracy."""
    return max(history, key=lambda epoch: (epoch.val_acc, -epoch.epoch)).epoch


def _has_parameters(module: nn.Module | None) -> bool:
    return module is not None and any(True for _ in module.parameters())


def _grad_norm(module: nn.Module | None, like: Tensor) -> Tensor:
    """Length of all gradients of a module as one vector; 0, beside `like`, where it has none."""
    gradients = [] if module is None else [p.grad for p in module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, foreach=True) if gradients else torch.zeros_like(like.detach())


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
