"""The course of a run: schedule, choice of epoch, history, the sealed test set, and numbers that run away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.errors import DataError
from harness.study.spec import RunSpec
from harness.training import determinism
from harness.training.checkpoint import restore, tensors_digest
from harness.training.data import load
from harness.training.loop import Epoch, Run, Teaching, Trained, TrainingFailed, best_epoch, cosine_lr
from harness.training.models import build
from harness.training.teacher import teacher_of

MakeSpec = Callable[..., RunSpec]
TrainRun = Callable[..., Trained]


@pytest.mark.parametrize(
    ("epochs", "lr", "lr_min"), [(1, 0.1, 1e-4), (25, 0.1, 1e-4), (100, 0.1, 1e-4), (200, 0.4, 0.0)]
)
def test_schedule_is_torchs_cosine(epochs: int, lr: float, lr_min: float) -> None:
    """CosineAnnealingLR with T_max = epochs and eta_min, stepped once an epoch, over all epochs."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs, eta_min=lr_min)
    for epoch in range(1, epochs + 1):
        assert cosine_lr(epoch, epochs, lr, lr_min) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-12)
        optimiser.step()
        schedule.step()


def epochs_with(*val_acc: float) -> list[Epoch]:
    """A history with these validation accuracies."""
    first = Epoch(1, 0.1, 2.0, 2.0, None, 0.5, 2.0, 0.0, 1.0, None)
    return [replace(first, epoch=number, val_acc=value) for number, value in enumerate(val_acc, start=1)]


def test_of_equal_epochs_the_first_is_best() -> None:
    """The reported checkpoints is the earliest with the highest validation accuracy."""
    assert best_epoch(epochs_with(0.2, 0.5, 0.4, 0.5)) == 2
    assert best_epoch(epochs_with(0.1, 0.1, 0.1)) == 1
    assert best_epoch(epochs_with(0.1, 0.2, 0.3)) == 3


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=12))
def test_best_epoch_is_numpys_argmax(val_acc: list[float]) -> None:
    """Which takes the first of equals, too."""
    assert best_epoch(epochs_with(*val_acc)) == int(np.argmax(val_acc)) + 1


@pytest.fixture(scope="module")
def teacher(make_spec: MakeSpec) -> RunSpec:
    """A teacher's description; its weights are those that it starts with."""
    return make_spec(role="teacher", architecture="resnet34")


@pytest.fixture(scope="module")
def weights(teacher: RunSpec) -> dict[str, torch.Tensor]:
    """State of the teacher's network."""
    return build(teacher.architecture, teacher.stem, teacher.model, 10, "teacher", 0).state_dict()


def method(name: str, teacher: RunSpec) -> dict[str, object]:
    """Fields of a method: none, logit, feature, or feature with the clipping bug."""
    if name == "none":
        return {}
    if name == "logit":
        return {"method": "logit", "hyperparameters": {"alpha": 0.5, "temperature": 4.0}, "teacher": teacher}
    return {
        "method": "feature",
        "hyperparameters": {"alpha": 0.5},
        "clip_projections": name == "feature",
        "teacher": teacher,
    }


@pytest.mark.parametrize("name", ["none", "logit", "feature", "unclipped"])
def test_history_has_an_epoch_an_epoch(
    name: str,
    make_spec: MakeSpec,
    train_run: TrainRun,
    teacher: RunSpec,
    weights: dict[str, torch.Tensor],
    checkpoints: Path,
) -> None:
    """Numbered from 1, with the schedule's rates; KD loss with a teacher only, both gradient norms with projections."""
    spec = make_spec(epochs=3, **method(name, teacher))
    told: list[Epoch] = []
    trained = train_run(spec, checkpoints, None if name == "none" else weights, told.append)
    assert list(trained.history) == told
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3]
    assert len(trained.seconds) == 3
    assert [epoch.lr for epoch in trained.history] == [cosine_lr(number, 3, 0.1, 0.0001) for number in (1, 2, 3)]
    assert trained.best_epoch == best_epoch(told)
    for epoch in trained.history:
        assert epoch.grad_norm_student > 0
        assert (epoch.train_kd is None) == (name == "none")
        if name in ("feature", "unclipped"):
            assert epoch.grad_norm_projections is not None
            assert epoch.grad_norm_projections > 0
        else:
            assert epoch.grad_norm_projections is None
        kd, alpha = (0.0, 0.0) if epoch.train_kd is None else (epoch.train_kd, 0.5)
        assert epoch.train_loss == pytest.approx(alpha * kd + (1 - alpha) * epoch.train_ce, rel=1e-5)
    assert (trained.fidelity is None) == (name == "none")
    assert trained.footprint.parameters == sum(
        p.numel() for p in build("resnet18", "cifar", spec.model, 10, "student", 0).parameters()
    )


def logits_of(state: Mapping[str, torch.Tensor], spec: RunSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a state on the test images, and the labels."""
    data = load(spec.dataset, Path("/nonexistent"))
    network = build(spec.architecture, spec.stem, spec.model, 10, "student", 5).eval()
    network.load_state_dict(dict(state))
    data.test.unseal()
    images, labels = data.test.open()
    with torch.inference_mode():
        inputs = (images.float() / 255 - data.mean.view(1, 3, 1, 1)) / data.std.view(1, 3, 1, 1)
        return network(inputs), labels


def test_both_checkpoints_are_measured(make_spec: MakeSpec, train_run: TrainRun, tmp_path: Path) -> None:
    """Best and last weights, put into a network again, make the mistakes that were reported for each."""
    specs = (make_spec(epochs=4, seed=seed) for seed in range(8))  # until one is best before its end
    runs = ((spec, train_run(spec, tmp_path / spec.name)) for spec in specs)
    spec, trained = next((spec, run) for spec, run in runs if run.best_epoch < 4 and run.best.loss != run.last.loss)
    saved = restore(tmp_path / spec.name, spec.sha256, print)
    assert saved is not None
    assert tensors_digest(saved.tensors["student"]) == trained.last_weights_sha256
    assert tensors_digest(trained.best_weights) != trained.last_weights_sha256
    for state, outcome in ((trained.best_weights, trained.best), (saved.tensors["student"], trained.last)):
        logits, labels = logits_of(state, spec)
        assert torch.equal(logits.argmax(dim=1) == labels, outcome.correct)
        assert outcome.accuracy == int(outcome.correct.sum()) / 100
        assert outcome.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_fidelity_compares_the_best_student_with_its_teacher(
    make_spec: MakeSpec,
    train_run: TrainRun,
    teacher: RunSpec,
    weights: dict[str, torch.Tensor],
    checkpoints: Path,
) -> None:
    """Agreement and KL at T = 1 and 4 on the test images, from both networks' softmax."""
    weights = weights | {"fc.weight": 20 * weights["fc.weight"]}  # a teacher with opinions
    spec = make_spec(**method("logit", teacher))
    trained = train_run(spec, checkpoints, weights)
    student, _ = logits_of(trained.best_weights, spec)
    taught, _ = logits_of(weights, teacher)
    assert trained.fidelity is not None
    assert trained.fidelity.agreement == int((student.argmax(1) == taught.argmax(1)).sum()) / 100
    for temperature, found in ((1, trained.fidelity.kl_t1), (4, trained.fidelity.kl_t4)):
        p, q = ((logits.double() / temperature).softmax(1) for logits in (taught, student))
        assert found == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-4)
        assert found > 0.001


def test_the_test_set_stays_shut_until_the_end(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """No epoch can open it; afterwards it was opened twice, once for each checkpoints."""
    spec = make_spec(epochs=2)
    data = load(spec.dataset, Path("/nonexistent"))
    seen = []

    def try_to_open(_: Epoch) -> None:
        with pytest.raises(RuntimeError, match="before training was over"):
            data.test.open()
        seen.append(data.test.openings)

    trained = train_run(spec, checkpoints, None, try_to_open, data)
    assert seen == [0, 0]
    assert data.test.openings == trained.test_openings == 2


@pytest.mark.parametrize("name", ["logit", "feature"])
def test_the_teacher_is_not_touched(
    name: str, make_spec: MakeSpec, teacher: RunSpec, weights: dict[str, torch.Tensor]
) -> None:
    """Its state stays to the bit and it gathers no gradient, while the student moves."""
    spec = make_spec(epochs=2, **method(name, teacher))
    device = determinism.configure(spec.optimisation)
    images = load(spec.dataset, Path("/nonexistent"))
    network = teacher_of(spec, images, weights, device, untrained=False)
    run = Run(spec, images, Teaching(network, None), device)
    given, taught, student = (
        tensors_digest(state) for state in (weights, network.state_dict(), run.student.state_dict())
    )
    run.train_epoch()
    assert tensors_digest(weights) == given
    assert tensors_digest(network.state_dict()) == taught
    assert tensors_digest(run.student.state_dict()) != student
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is not None for parameter in run.student.parameters())
    assert not any(module.training for module in network.modules())


def test_numbers_that_run_away_end_the_run(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """The sentence names epoch, step, loss, both norms and learning rate; no checkpoints of that epoch stays behind."""
    with pytest.raises(TrainingFailed) as caught:
        train_run(make_spec(optimisation={"lr": 1e30}), checkpoints)
    assert re.fullmatch(
        r"not finite in epoch 1, step 2 of 2: loss (nan|inf), gradient norms (nan|inf) \(student\) and 0 "
        r"\(projections\), learning rate 1e\+30\.",
        str(caught.value),
    )
    assert not any(checkpoints.glob("*"))


def test_numbers_that_run_away_in_the_last_step(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """With one step an epoch the training loss is still finite, and the validation loss is not."""
    with pytest.raises(TrainingFailed, match="epoch 1"):
        train_run(make_spec(optimisation={"lr": 1e30, "batch_size": 64}), checkpoints)


def test_a_last_batch_of_one_is_left_out(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """Batch norm cannot train on one image of one pixel; 65 images in batches of 32 are two steps of 32."""
    spec = make_spec(dataset={"train_images": 65}, epochs=1)
    trained = train_run(spec, checkpoints)
    assert trained.history[0].train_acc * 64 == pytest.approx(round(trained.history[0].train_acc * 64), abs=1e-9)


def test_one_training_image_is_too_few(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """Batch norm cannot train on it; the study's description or the images' loader says so."""
    with pytest.raises((ValidationError, DataError), match="train_images"):
        train_run(make_spec(dataset={"train_images": 1}), checkpoints)


def test_training_learns(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """On 400 digits a network of width 8 is far above chance (10%) within five epochs."""
    spec = make_spec(dataset={"train_images": 400, "validation_images": 300}, model={"width": 8}, epochs=5)
    assert train_run(spec, checkpoints).history[-1].val_acc > 0.5
