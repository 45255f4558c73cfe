"""Whole runs against a plain training loop, written out from the paper's formulas.

The plain loop shares with the harness only what other tests pin down: the initial networks, the order of images, their
augmentation, and the forward pass. Losses, clipping and the optimiser are written out here. In float64 both agree in
every tensor, so that rounding hides nothing; in float32, which runs really use, as closely as rounding lets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.study.spec import RunSpec
from harness.training.augment import crop, draw_views, pad
from harness.training.checkpoint import restore
from harness.training.data import load
from harness.training.loop import Epoch, Trained
from harness.training.methods.method import make
from harness.training.models import Outputs, build
from harness.training.streams import stream

MakeSpec = Callable[..., RunSpec]
TrainRun = Callable[..., Trained]

METHODS = ("none", "logit", "feature", "unclipped")
Named = dict[str, Tensor]


@pytest.fixture(scope="module")
def teacher(make_spec: MakeSpec) -> RunSpec:
    """A teacher with other channels than the student's."""
    return make_spec(role="teacher", architecture="resnet50")


@pytest.fixture(scope="module")
def weights(teacher: RunSpec) -> Named:
    """A teacher that says something: its batch norms have seen images, its residual blocks do not start at zero."""
    network = build(
        "resnet50", "cifar", teacher.model.model_copy(update={"zero_init_residual": False}), 10, "teacher", 0
    )
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        network(images)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def spec_of(make_spec: MakeSpec, teacher: RunSpec) -> Callable[..., RunSpec]:
    """Two epochs of two steps without augmentation, with alpha 0.3 and T = 3."""

    def make(method: str, clip_norm: float = 1.0, epochs: int = 2, batch_size: int = 32) -> RunSpec:
        fields: dict[str, object] = {}
        if method == "logit":
            fields = {"method": "logit", "hyperparameters": {"alpha": 0.3, "temperature": 3.0}, "teacher": teacher}
        elif method != "none":
            fields = {
                "method": "feature",
                "hyperparameters": {"alpha": 0.3},
                "clip_projections": method == "feature",
                "teacher": teacher,
            }
        return make_spec(
            dataset={"crop_padding": 0},
            optimisation={"clip_norm": clip_norm, "batch_size": batch_size},
            epochs=epochs,
            **fields,
        )

    return make


@dataclass(frozen=True)
class Plain:
    """What the plain loop ends with: weights, and (loss, CE, KD, student's norm, projections' norm) of each epoch."""

    student: Named
    projections: Named
    epochs: list[list[float]]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -ln(softmax) of the right class."""
    return -torch.stack([row.softmax(0)[label].log() for row, label in zip(logits, labels, strict=True)]).mean()


def distillation(
    spec: RunSpec, features: Sequence[Tensor], logits: Tensor, taught: Outputs, maps: list[Tensor]
) -> Tensor:
    """T^2 KL for Logit-KD; for Feature-KD MSE plus half of one minus cosine, mean over layers."""
    if spec.method == "logit":
        t = spec.hyperparameter("temperature") or math.nan
        p, q = (taught[1] / t).softmax(1), (logits / t).softmax(1)
        return t**2 * (p * (p.log() - q.log())).sum(1).mean()
    layers = []
    for weight, ours, theirs in zip(maps, features, taught[0], strict=True):
        projected = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], ours)
        a, b = projected.mean((2, 3)), theirs.mean((2, 3))
        cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
        layers.append((projected - theirs).pow(2).mean() + 0.5 * (1 - cosine).mean())
    return sum(layers, torch.tensor(0.0)) / len(layers)


def norm(gradients: list[Tensor]) -> float:
    """Length of all gradients as one vector."""
    return math.sqrt(sum(float(gradient.double().pow(2).sum()) for gradient in gradients))


def plain_run(spec: RunSpec, teacher_weights: Mapping[str, Tensor]) -> Plain:
    """Train as the paper says, one obvious statement after the other."""
    data, sgd = load(spec.dataset, Path("/nonexistent")), spec.optimisation
    student = build(spec.architecture, spec.stem, spec.model, 10, spec.role, spec.seed)
    parameters = list(student.parameters())
    maps: list[Tensor] = []
    teacher = None
    if spec.teacher is not None:
        teacher = build(spec.teacher.architecture, "cifar", spec.model, 10, "teacher", 0).eval()
        teacher.load_state_dict(dict(teacher_weights))
        if spec.method == "feature":
            maps = list(make(spec).parameters())
    padding = spec.dataset.crop_padding
    padded = pad(data.train_images, padding)
    momenta: list[Tensor | None] = [None] * len(parameters + maps)
    epochs = []
    for epoch in range(1, spec.epochs + 1):
        lr = sgd.lr_min + (sgd.lr - sgd.lr_min) * (1 + math.cos(math.pi * (epoch - 1) / spec.epochs)) / 2
        order = torch.randperm(len(data.train_labels), generator=stream("order", spec.role, spec.seed, epoch))
        views = draw_views(len(order), stream("augment", spec.role, spec.seed, epoch), padding)
        seen = []
        for start in range(0, len(order), sgd.batch_size):
            batch = slice(start, start + sgd.batch_size)
            index, flip = order[batch], spec.dataset.horizontal_flip
            pixels = (
                crop(padded, index, views[batch], padding=padding, horizontal_flip=flip).to(torch.get_default_dtype())
                / 255
            )
            images = (pixels - data.mean.view(1, 3, 1, 1)) / data.std.view(1, 3, 1, 1)
            features, logits = student.outputs(images)
            ce = loss = cross_entropy(logits, data.train_labels[index])
            kd = torch.tensor(0.0)
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher.outputs(images)
                kd = distillation(spec, features, logits, taught, maps)
                alpha = spec.hyperparameter("alpha") or math.nan
                loss = alpha * kd + (1 - alpha) * ce
            gradients = list(torch.autograd.grad(loss, parameters + maps))
            ours, projected = norm(gradients[: len(parameters)]), norm(gradients[len(parameters) :])
            clipped = ours if spec.clip_projections is False else norm(gradients)
            factor = min(1.0, sgd.clip_norm / (clipped + 1e-6))
            for i, (parameter, gradient) in enumerate(zip(parameters + maps, gradients, strict=True)):
                is_projection = i >= len(parameters)
                step = gradient * (1.0 if is_projection and spec.clip_projections is False else factor)
                step = step + sgd.weight_decay * parameter.detach()
                before = momenta[i]
                velocity = step if before is None else sgd.momentum * before + step
                momenta[i] = velocity
                with torch.no_grad():
                    parameter.sub_(lr * (step + sgd.momentum * velocity))  # Nesterov
            seen.append([float(value.detach()) for value in (loss, ce, kd)] + [ours, projected])
        epochs.append([sum(column) / len(seen) for column in zip(*seen, strict=True)])
    return Plain(
        {name: tensor.detach() for name, tensor in student.state_dict().items()},
        {f"projections.{i}.weight": weight.detach() for i, weight in enumerate(maps)},
        epochs,
    )


def trained_weights(spec: RunSpec, checkpoints: Path) -> tuple[Named, Named]:
    """Student and projections after the last epoch, as the run's checkpoints holds them."""
    saved = restore(checkpoints, spec.sha256, print)
    assert saved is not None
    return dict(saved.tensors["student"]), dict(saved.tensors.get("method", {}))


def furthest(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Largest difference in any tensor, in units of that tensor's largest number."""
    assert found.keys() == expected.keys()
    gaps = [
        float((found[name].double() - value.double()).abs().max() / value.double().abs().max())
        for name, value in expected.items()
    ]
    return max(gaps, default=0.0)


def overall(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Length of the difference of all numbers, in units of their length."""
    assert found.keys() == expected.keys()
    gaps = [found[name].double() - value.double() for name, value in expected.items()]
    return norm(gaps) / norm(list(expected.values())) if gaps else 0.0


@pytest.fixture
def in_float64() -> Iterator[None]:
    """Networks, losses and optimiser compute in double precision for the time of a test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("clip_norm", [1.0, 1000.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_what_the_plain_loop_makes(
    method: str,
    clip_norm: float,
    spec_of: Callable[..., RunSpec],
    weights: Named,
    train_run: TrainRun,
    checkpoints: Path,
) -> None:
    """Two epochs of two steps, clipped (gradients are longer than 1) or not: every weight, norm and loss, to 1e-9."""
    spec = spec_of(method, clip_norm)
    history: list[Epoch] = []
    train_run(spec, checkpoints, None if method == "none" else weights, history.append)
    plain = plain_run(spec, weights)
    student, projected = trained_weights(spec, checkpoints)
    assert furthest(student, plain.student) < 1e-9
    assert furthest(projected, plain.projections) < 1e-9
    assert bool(projected) == (method in ("feature", "unclipped"))
    for epoch, expected in zip(history, plain.epochs, strict=True):
        kd, projections_norm = epoch.train_kd or 0.0, epoch.grad_norm_projections or 0.0
        found = [epoch.train_loss, epoch.train_ce, kd, epoch.grad_norm_student, projections_norm]
        assert found == pytest.approx(expected, rel=1e-6)  # summed in float32
        assert expected[3] > 1, "clipping has something to do"


@pytest.mark.usefixtures("in_float64")
def test_an_augmented_run_is_what_the_plain_loop_makes(
    make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path
) -> None:
    """Crops, mirrors and noisy labels, at another seed; each epoch of each seed has an order and crops of its own."""
    images = {"crop_padding": 2, "horizontal_flip": True, "label_noise": 0.3}
    spec = make_spec(dataset=images, seed=3, epochs=2)
    train_run(spec, checkpoints)
    assert furthest(trained_weights(spec, checkpoints)[0], plain_run(spec, {}).student) < 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_one_float32_step_is_the_plain_loops(
    method: str, spec_of: Callable[..., RunSpec], weights: Named, train_run: TrainRun, checkpoints: Path
) -> None:
    """One step on all images: all weights together within 1e-6."""
    spec = spec_of(method, clip_norm=0.5, epochs=1, batch_size=64)
    train_run(spec, checkpoints, None if method == "none" else weights)
    plain = plain_run(spec, weights)
    student, projected = trained_weights(spec, checkpoints)
    assert overall(student, plain.student) < 1e-6
    assert overall(projected, plain.projections) < 1e-6


def changed(spec: RunSpec, **fields: object) -> RunSpec:
    """The run with other settings of the optimiser."""
    return spec.model_copy(update={"optimisation": spec.optimisation.model_copy(update=fields)})


@pytest.mark.usefixtures("in_float64")
def test_the_comparison_notices_small_mistakes(spec_of: Callable[..., RunSpec], weights: Named) -> None:
    """The clipping bug, momentum or weight decay slightly off, another temperature: each is 1,000 tolerances away."""
    feature, logit = spec_of("feature"), spec_of("logit")
    mistakes = {
        feature: [feature.model_copy(update={"clip_projections": False}), changed(feature, weight_decay=0.000501)],
        logit: [
            changed(logit, momentum=0.901),
            logit.model_copy(update={"hyperparameters": (("alpha", 0.3), ("temperature", 3.01))}),
        ],
    }
    for spec, wrong in mistakes.items():
        right = plain_run(spec, weights)
        for other in wrong:
            assert furthest(plain_run(other, weights).student, right.student) > 1e-6
