"""Same description, same bits: alone, again, and cut at any epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.study.spec import RunSpec
from harness.training import footprint
from harness.training.checkpoint import tensors_digest
from harness.training.footprint import Footprint
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


@pytest.fixture(scope="module", autouse=True)
def unmeasured() -> Iterator[None]:
    """Networks are not timed at the end of each run: what they weigh is no part of what is compared here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footprint, "measure", lambda *_: Footprint(0, 0, {}))
        yield


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


METHODS: dict[str, dict[str, Any]] = {
    "none": {},
    "logit": {"method": "logit", "hyperparameters": {"alpha": 0.5, "temperature": 4.0}},
    "feature": {"method": "feature", "hyperparameters": {"alpha": 0.5}, "clip_projections": True},
    "attention": {"method": "attention", "hyperparameters": {"alpha": 0.5, "beta": 1000.0}},
    "random_teacher": {"method": "random_teacher", "hyperparameters": {"alpha": 0.5, "temperature": 4.0}},
}
CASES = {name: (name, {}) for name in METHODS} | {
    "logit from a table": ("logit", {"teacher_logits": "table"}),
    "feature in bfloat16": ("feature", {"precision": "bf16"}),
}


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest,
    make_spec: MakeSpec,
    teacher_spec: RunSpec,
    teacher: Trained,
    train_run: TrainRun,
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    """A run of each method, with label noise, crops and mirrors, trained without a cut."""
    method, optimisation = CASES[request.param]
    fields = METHODS[method] | ({} if method == "none" else {"teacher": teacher_spec})
    images = {"label_noise": 0.2, "horizontal_flip": True}
    spec = make_spec(dataset=images, optimisation=optimisation, epochs=EPOCHS, **fields)
    weights = None if method == "none" else dict(teacher.best_weights)
    return Case(spec, weights, train_run(spec, tmp_path_factory.mktemp("uncut") / "checkpoints", weights))


# Of what no method has a part in, one case is enough: the one whose state holds the most.
one_case = pytest.mark.parametrize("case", ["feature"], indirect=True)


def reseeded(spec: RunSpec, seed: int) -> RunSpec:
    """The run with another seed."""
    return RunSpec(**{name: getattr(spec, name) for name in RunSpec.model_fields} | {"seed": seed})


def cut_in(epoch: int) -> Callable[[Epoch], None]:
    """Fails when an epoch ends, before its state is saved: the run is left as it was after the epoch before."""

    def fail(ended: Epoch) -> None:
        if ended.epoch == epoch:
            raise Cut

    return fail


def test_the_same_description_gives_the_same_bits(case: Case, train_run: TrainRun, checkpoints: Path) -> None:
    """Trained again in the same process, after other runs and other random numbers."""
    torch.manual_seed(123)
    torch.rand(1000)
    assert bits(train_run(case.spec, checkpoints, case.weights)) == bits(case.uncut)


@pytest.mark.parametrize("after", range(1, EPOCHS))
def test_a_cut_run_goes_on_to_the_same_bits(after: int, case: Case, train_run: TrainRun, checkpoints: Path) -> None:
    """Cut after any epoch; the record says where."""
    with pytest.raises(Cut):
        train_run(case.spec, checkpoints, case.weights, cut_in(after + 1))
    seen: list[int] = []
    resumed = train_run(case.spec, checkpoints, case.weights, lambda epoch: seen.append(epoch.epoch))
    assert seen == list(range(after + 1, EPOCHS + 1)), "whole epochs are not trained again"
    assert resumed.resumed_at == (after,)
    assert bits(resumed) == bits(case.uncut)


def test_a_run_cut_again_and_again(case: Case, train_run: TrainRun, checkpoints: Path) -> None:
    """Before its first checkpoint, after each epoch, and after the last one before the test."""
    for epoch in range(1, EPOCHS + 1):
        with pytest.raises(Cut):
            train_run(case.spec, checkpoints, case.weights, cut_in(epoch))
    train_run(case.spec, checkpoints, case.weights)
    finished_again = train_run(case.spec, checkpoints, case.weights)
    assert finished_again.resumed_at == (1, 2, 3)
    assert bits(finished_again) == bits(case.uncut)
    assert len(finished_again.seconds) == EPOCHS


@one_case
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    case: Case, train_run: TrainRun, checkpoints: Path
) -> None:
    """Cut in its third epoch with the second one's state damaged, a run goes on from the first's, to the same bits."""
    with pytest.raises(Cut):
        train_run(case.spec, checkpoints, case.weights, cut_in(3))
    newest = max(path for path in checkpoints.iterdir() if path.is_file())
    newest.write_bytes(newest.read_bytes()[:-1])
    said: list[str] = []
    resumed = train_run(case.spec, checkpoints, case.weights, said=said)
    assert any(newest.name in sentence for sentence in said)
    assert resumed.resumed_at == (1,)
    assert bits(resumed) == bits(case.uncut)


@one_case
def test_without_a_whole_checkpoint_of_its_own_a_run_starts_afresh(
    case: Case, train_run: TrainRun, checkpoints: Path
) -> None:
    """Both damaged, or another run's: slower, said, and the same bits."""
    with pytest.raises(Cut):
        train_run(case.spec, checkpoints, case.weights, cut_in(3))
    for path in checkpoints.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []
    afresh = train_run(case.spec, checkpoints, case.weights, said=said)
    assert said
    assert afresh.resumed_at == ()
    assert bits(afresh) == bits(case.uncut)
    assert train_run(reseeded(case.spec, 1), checkpoints, case.weights).resumed_at == ()


def test_a_table_and_the_teacher_itself_teach_the_same_bits(
    make_spec: MakeSpec, teacher_spec: RunSpec, teacher: Trained, train_run: TrainRun, tmp_path: Path
) -> None:
    """Logits read from the table or computed in each step, trained or untrained teacher: one outcome."""
    for method in ("logit", "random_teacher"):
        found = []
        for source in ("table", "online"):
            fields = METHODS[method] | {"teacher": teacher_spec, "optimisation": {"teacher_logits": source}}
            folder = tmp_path / method / source / "checkpoints"
            found.append(bits(train_run(make_spec(epochs=2, **fields), folder, dict(teacher.best_weights))))
        assert found[0] == found[1]


def test_another_seed_gives_other_bits(case: Case, train_run: TrainRun, checkpoints: Path) -> None:
    """The comparison above can fail: weights, history and losses all differ."""
    other = bits(train_run(reseeded(case.spec, 1), checkpoints, case.weights))
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
    spec = make_spec(epochs=1, method="logit", hyperparameters={"alpha": 0.5, "temperature": 4.0}, teacher=teacher_spec)
    weights = dict(teacher.best_weights)
    louder = weights | {"fc.weight": 2 * weights["fc.weight"]}
    for number, taught in enumerate((weights, louder)):
        digests.add(train_run(spec, tmp_path / str(number), taught).last_weights_sha256)
    assert len(digests) == 4


def test_a_run_without_momentum_can_be_cut(make_spec: MakeSpec, train_run: TrainRun, checkpoints: Path) -> None:
    """The study's description allows momentum 0."""
    spec = make_spec(optimisation={"momentum": 0.0, "nesterov": False})
    with pytest.raises(Cut):
        train_run(spec, checkpoints, None, cut_in(3))
    assert train_run(spec, checkpoints).resumed_at == (2,)
