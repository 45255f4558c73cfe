"""Same description, same bits: alone, again, and cut at any epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import EnvironmentProblem
from harness.study.spec import RunSpec
from harness.training import determinism
from harness.training.checkpoint import tensors_digest
from harness.training.loop import Epoch, Trained

MakeSpec = Callable[..., RunSpec]
TrainRun = Callable[..., Trained]
EPOCHS = 3


class Cut(Exception):
    """The machine fails."""


@dataclass(frozen=True)
class Case:
    """A run, its teacher's weights, and how it ended uncut."""

    spec: RunSpec
    weights: dict[str, torch.Tensor] | None
    uncut: Trained


def bits(trained: Trained) -> dict[str, Any]:
    """All of a run's outcome that must not depend on when, where and how often it was cut."""
    return {
        "best weights": tensors_digest(trained.best_weights),
        "last weights": trained.last_weights_sha256,
        "history": trained.history,
        "best epoch": trained.best_epoch,
        "correct at best": trained.best.correct.tolist(),
        "correct at last": trained.last.correct.tolist(),
        "losses": (trained.best.loss, trained.last.loss),
        "fidelity": trained.fidelity,
    }


@pytest.fixture(scope="module")
def teacher_spec(make_spec: MakeSpec) -> RunSpec:
    """A teacher of other channels than the student's."""
    return make_spec(role="teacher", architecture="resnet50", epochs=2)


@pytest.fixture(scope="module")
def teacher(teacher_spec: RunSpec, train_run: TrainRun, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """That teacher, trained."""
    return train_run(teacher_spec, tmp_path_factory.mktemp("teacher") / "checkpoint")


@pytest.fixture(scope="module", params=["none", "logit", "feature"])
def case(
    request: pytest.FixtureRequest,
    make_spec: MakeSpec,
    teacher_spec: RunSpec,
    teacher: Trained,
    train_run: TrainRun,
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    """A run of each method, with label noise, crops and mirrors, trained without a cut."""
    fields: dict[str, Any] = {"dataset": {"label_noise": 0.2, "horizontal_flip": True}, "epochs": EPOCHS}
    if request.param != "none":
        fields |= {"method": request.param, "alpha": 0.5, "teacher": teacher_spec}
    if request.param == "logit":
        fields |= {"temperature": 4.0}
    if request.param == "feature":
        fields |= {"clip_projections": True}
    spec = make_spec(**fields)
    weights = None if request.param == "none" else dict(teacher.best_weights)
    return Case(spec, weights, train_run(spec, tmp_path_factory.mktemp("uncut") / "checkpoint", weights))


def reseeded(spec: RunSpec, seed: int) -> RunSpec:
    """The run with another seed."""
    return RunSpec(**{name: getattr(spec, name) for name in RunSpec.model_fields} | {"seed": seed})


def cut_in(epoch: int) -> Callable[[Epoch], None]:
    """Fails when an epoch ends, before its state is saved: the run is left as it was after the epoch before."""

    def fail(ended: Epoch) -> None:
        if ended.epoch == epoch:
            raise Cut

    return fail


def test_the_same_description_gives_the_same_bits(case: Case, train_run: TrainRun, checkpoint: Path) -> None:
    """Trained again in the same process, after other runs and other random numbers."""
    torch.manual_seed(123)
    torch.rand(1000)
    assert bits(train_run(case.spec, checkpoint, case.weights)) == bits(case.uncut)


@pytest.mark.parametrize("after", range(1, EPOCHS))
def test_a_cut_run_goes_on_to_the_same_bits(after: int, case: Case, train_run: TrainRun, checkpoint: Path) -> None:
    """Cut after any epoch; the record says where."""
    with pytest.raises(Cut):
        train_run(case.spec, checkpoint, case.weights, cut_in(after + 1))
    seen: list[int] = []
    resumed = train_run(case.spec, checkpoint, case.weights, lambda epoch: seen.append(epoch.epoch))
    assert seen == list(range(after + 1, EPOCHS + 1)), "whole epochs are not trained again"
    assert resumed.resumed_at == (after,)
    assert bits(resumed) == bits(case.uncut)


def test_a_run_cut_again_and_again(case: Case, train_run: TrainRun, checkpoint: Path) -> None:
    """Before its first checkpoint, after each epoch, and after the last one before the test."""
    for epoch in range(1, EPOCHS + 1):
        with pytest.raises(Cut):
            train_run(case.spec, checkpoint, case.weights, cut_in(epoch))
    train_run(case.spec, checkpoint, case.weights)
    finished_again = train_run(case.spec, checkpoint, case.weights)
    assert finished_again.resumed_at == (1, 2, 3)
    assert bits(finished_again) == bits(case.uncut)
    assert len(finished_again.seconds) == EPOCHS


def test_a_damaged_checkpoint_starts_the_run_afresh(case: Case, train_run: TrainRun, checkpoint: Path) -> None:
    """Slower, and the same bits; so does the checkpoint of another run."""
    with pytest.raises(Cut):
        train_run(case.spec, checkpoint, case.weights, cut_in(3))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    afresh = train_run(case.spec, checkpoint, case.weights)
    assert afresh.resumed_at == ()
    assert bits(afresh) == bits(case.uncut)
    assert train_run(reseeded(case.spec, 1), checkpoint, case.weights).resumed_at == ()


def test_another_seed_gives_other_bits(case: Case, train_run: TrainRun, checkpoint: Path) -> None:
    """The comparison above can fail: weights, history and losses all differ."""
    other = bits(train_run(reseeded(case.spec, 1), checkpoint, case.weights))
    uncut = bits(case.uncut)
    for name in ("best weights", "last weights", "history", "losses"):
        assert other[name] != uncut[name], name


def test_role_and_teacher_change_the_bits(
    make_spec: MakeSpec, teacher_spec: RunSpec, teacher: Trained, train_run: TrainRun, tmp_path: Path
) -> None:
    """A teacher of seed 0 is not the student of seed 0; a student follows the weights that it is given."""
    digests = {
        train_run(make_spec(epochs=1, role=role), tmp_path / role).last_weights_sha256
        for role in ("student", "teacher")
    }
    spec = make_spec(epochs=1, method="logit", alpha=0.5, temperature=4.0, teacher=teacher_spec)
    weights = dict(teacher.best_weights)
    louder = weights | {"fc.weight": 2 * weights["fc.weight"]}
    for number, taught in enumerate((weights, louder)):
        digests.add(train_run(spec, tmp_path / str(number), taught).last_weights_sha256)
    assert len(digests) == 4


def test_a_run_without_momentum_can_be_cut(make_spec: MakeSpec, train_run: TrainRun, checkpoint: Path) -> None:
    """The study's description allows momentum 0."""
    spec = make_spec(optimisation={"momentum": 0.0, "nesterov": False})
    with pytest.raises(Cut):
        train_run(spec, checkpoint, None, cut_in(3))
    assert train_run(spec, checkpoint).resumed_at == (2,)


@pytest.fixture
def settings_back() -> Iterator[None]:
    """Puts torch's settings back after a test that changes them."""
    threads = torch.get_num_threads()
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined] # made at import
    precision = convolutions.fp32_precision, products.fp32_precision
    yield
    torch.set_num_threads(threads)
    convolutions.fp32_precision, products.fp32_precision = precision


@pytest.mark.usefixtures("settings_back")
@pytest.mark.parametrize(("precision", "convolutions"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_settings_are_read_back_from_torch(precision: str, convolutions: str, make_spec: MakeSpec) -> None:
    """Deterministic kernels, no timing-chosen ones, the precision and the threads asked for."""
    torch.use_deterministic_algorithms(False)
    spec = make_spec(optimisation={"precision": precision, "threads": 2})
    assert determinism.configure(spec.optimisation) == torch.device("cpu")
    assert determinism.settings() == {
        "deterministic_algorithms": True,
        "cudnn_benchmark": False,
        "conv_fp32_precision": convolutions,
        "matmul_fp32_precision": "ieee",
        "cublas_workspace_config": ":4096:8",
        "threads": 2,
    }
    torch.use_deterministic_algorithms(False)
    assert determinism.settings()["deterministic_algorithms"] is False, "what is in force, not what was asked"


def test_the_stack_names_what_bits_depend_on() -> None:
    """Versions, machine and device, all of them known."""
    stack = determinism.stack(torch.device("cpu"))
    assert stack.keys() == {"python", "torch", "numpy", "platform", "cpu", "cpu_capability", "device"}
    assert stack["torch"] == torch.__version__
    assert stack["device"] == "cpu"
    assert all(stack.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_a_gpu_where_there_is_none(make_spec: MakeSpec) -> None:
    """The sentence says what to change; `auto` takes what there is."""
    with pytest.raises(EnvironmentProblem, match="use `device: auto`"):
        determinism.configure(make_spec(optimisation={"device": "cuda"}).optimisation)
    assert determinism.configure(make_spec(optimisation={"device": "auto"}).optimisation).type == "cpu"
