"""The comparison: distillation as the paper's code, tutorials and torchvision's references write it.

A DataLoader over PIL images, per-image transforms, the teacher online, NCHW, the optimiser's defaults, a loss read back
in every step. Its losses are its own copies; networks are torchvision's, as `harness.training.models` builds them, so
that both sides start from the same weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.sides import Setting, Works, images_of, serve
from harness.study.spec import RunSpec
from harness.training.architectures import channels
from harness.training.data import Data
from harness.training.models import Network, build

BATCH_EVALUATED = 256


class PilImages(Dataset[tuple[Tensor, int]]):
    """Training images as torchvision's CIFAR10 gives them: a PIL image at a time, transformed when asked for.

    Args:
        data: Images and labels.
        spec: The run, for its augmentation.
    """

    def __init__(self, data: Data, spec: RunSpec) -> None:
        from torchvision.transforms import v2

        steps = [v2.RandomCrop(data.train_images.shape[-1], padding=spec.dataset.crop_padding)]
        if spec.dataset.horizontal_flip:
            steps.append(v2.RandomHorizontalFlip())
        steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        steps.append(v2.Normalize(data.mean.tolist(), data.std.tolist()))
        self._images = data.train_images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels, self._transform = data.train_labels.tolist(), v2.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class PlainRun:
    """One run of the plain loop.

    Args:
        spec: The run; the same as ours.
        data: Its images.
        device: Where to train.
        workers: Processes of the DataLoader; 0 loads in the loop itself.
    """

    def __init__(self, spec: RunSpec, data: Data, device: torch.device, workers: int) -> None:
        self.spec, self.data, self.device = spec, data, device
        self.student = _built(spec, data).to(device)
        self.teacher = None
        if spec.teacher is not None:  # untrained: as fast as a trained one
            self.teacher = _built(spec.teacher, data).to(device).eval().requires_grad_(requires_grad=False)
        self.parameters = list(self.student.parameters())
        settings = spec.optimisation
        torch.manual_seed(spec.seed)
        self.loader = DataLoader(
            PilImages(data, spec),
            batch_size=settings.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        self.projections = nn.ModuleList()
        if spec.teacher is not None and spec.method == "feature":
            pairs = zip(*(channels(of.architecture, of.model.width) for of in (spec, spec.teacher)), strict=True)
            for inputs, outputs in pairs:
                layer = nn.Conv2d(inputs, outputs, kernel_size=1, bias=False)
                nn.init.xavier_uniform_(layer.weight)
                self.projections.append(layer)
            self.parameters += list(self.projections.to(device).parameters())
        self.optimiser = torch.optim.SGD(
            self.parameters, settings.lr, settings.momentum, weight_decay=settings.weight_decay, nesterov=True
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, spec.epochs, settings.lr_min)
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def step(self) -> float:
        """One optimiser step; the images start again when they are through. Returns the loss."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.loader)
            batch = next(self._batches)
        return self._step(*batch)

    def epoch(self) -> float:
        """Train one epoch and validate; returns the validation accuracy, a fraction."""
        self.student.train()
        for images, labels in self.loader:
            self._step(images, labels)
        self.schedule.step()
        return self.accuracy(self.data.validation_images, self.data.validation_labels)

    def _step(self, images: Tensor, labels: Tensor) -> float:
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        with self._autocast():
            features, logits = self.student.outputs(images)
            loss = F.cross_entropy(logits, labels)
            if self.teacher is not None:
                with torch.no_grad():
                    teacher_features, teacher_logits = self.teacher.outputs(images)
                hyperparameters = dict(self.spec.hyperparameters)
                if self.spec.method == "feature":
                    kd = feature_loss(teacher_features, features, self.projections)
                else:
                    kd = logit_loss(teacher_logits, logits, hyperparameters["temperature"])
                alpha = hyperparameters["alpha"]
                loss = alpha * kd + (1 - alpha) * loss
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.spec.optimisation.clip_norm)
        self.optimiser.step()
        return loss.item()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        wanted = self.spec.optimisation.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if wanted else contextlib.nullcontext()

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Share of uint8 images that the student gets right."""
        self.student.eval()
        shape = (1, -1, 1, 1)
        mean, std = (values.view(shape).to(self.device) for values in (self.data.mean, self.data.std))
        right = 0
        with torch.no_grad(), self._autocast():
            for batch, wanted in zip(images.split(BATCH_EVALUATED), labels.split(BATCH_EVALUATED), strict=True):
                logits = self.student((batch.to(self.device).float() / 255 - mean) / std)
                right += int((logits.argmax(dim=1).cpu() == wanted).sum())
        self.student.train()
        return right / len(labels)


def _built(of: RunSpec, data: Data) -> Network:
    return build(of.architecture, of.stem, of.model, data.classes, of.role, of.seed)


def logit_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of logits (batch, classes), batch mean."""
    soft = F.kl_div(
        F.log_softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1), reduction="batchmean"
    )
    return temperature**2 * soft


def feature_loss(teacher: Sequence[Tensor], student: Sequence[Tensor], projections: nn.ModuleList) -> Tensor:
    """Mean over the layers of MSE + 0.5 * (1 - cosine of the pooled features)."""
    total = torch.zeros((), device=student[0].device)
    for wanted, found, project in zip(teacher, student, projections, strict=True):
        projected = project(found)
        ours, theirs = (F.adaptive_avg_pool2d(maps, 1).flatten(1) for maps in (projected, wanted))
        total = total + F.mse_loss(projected, wanted) + 0.5 * (1 - F.cosine_similarity(ours, theirs, dim=1).mean())
    return total / len(projections)


def works(setting: Setting) -> Works:
    """What the bench may ask of a plain run."""
    spec = setting.spec
    torch.set_num_threads(spec.optimisation.threads)
    cuda = spec.optimisation.device != "cpu" and torch.cuda.is_available()
    data = images_of(setting)
    run = PlainRun(spec, data, torch.device("cuda" if cuda else "cpu"), setting.workers)

    def test() -> float:
        data.test.unseal()
        return run.accuracy(*data.test.open())

    return {"step": run.step, "epoch": run.epoch, "test": test}


if __name__ == "__main__":
    serve(works)
