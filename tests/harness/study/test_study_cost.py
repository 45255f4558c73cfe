"""What a run costs: operations against torch's own counter and the measured figures, hours by a stated rate."""

from __future__ import annotations

import pytest
import torch
from tiny_study import ROOT, Tiny
from torch.utils.flop_counter import FlopCounterMode

from harness.study.cost import forward_flops, nominal_seconds, training_flops
from harness.study.load import load_study
from harness.study.plan import Hyperparameters, candidates, distinct, plan
from harness.study.spec import Architecture, Model, Stem
from harness.study.study import Study
from harness.training.models import build

ARCHITECTURES: tuple[Architecture, ...] = ("resnet18", "resnet34", "resnet50", "resnet101")


@pytest.mark.parametrize("edge", [8, 32])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_operations_are_those_that_torch_counts(architecture: Architecture, stem: Stem, edge: int) -> None:
    """The closed form from the layouts equals torch's count of the network that is really built, to the last one."""
    network = build(architecture, stem, Model(width=8, zero_init_residual=False), 10, "student", 0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, edge, edge))
    assert forward_flops(architecture, stem, 8, edge) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("architecture", "gflop"), [("resnet18", 1.11), ("resnet34", 2.32), ("resnet50", 2.60), ("resnet101", 5.02)]
)
def test_full_size_networks_on_cifar(architecture: Architecture, gflop: float) -> None:
    """The figures measured for the CIFAR networks, in GFLOP an image."""
    assert forward_flops(architecture, "cifar", 64, 32) / 1e9 == pytest.approx(gflop, abs=0.005)


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Study:
    """The paper's study."""
    monkeypatch.chdir(ROOT)
    return load_study("paper")


def test_an_epoch_by_hand(paper: Study) -> None:
    """Backward is two forwards; a teacher is one forward; validation is one forward on 5,000 images."""
    teacher, student = 2.595659776e9, 1.11084544e9  # GFLOP, as above
    (of_teacher,) = [e.run for e in plan(paper, None) if e.phase == "teachers" and e.run.name == "resnet50-none-s0"]
    assert training_flops(of_teacher) == pytest.approx(200 * (3 * teacher * 45_000 + teacher * 5_000))
    taught = next(e.run for e in plan(paper, None) if e.phase == "select" and "resnet50-resnet18" in e.run.name)
    assert training_flops(taught) == pytest.approx(100 * ((3 * student + teacher) * 45_000 + student * 5_000))


def test_a_small_study_is_counted_on_its_own_images(untrained: Tiny) -> None:
    """64 training and 40 validation images of 8x8, 2 epochs, on one thread of 12 GFLOP/s."""
    run = next(e.run for e in plan(untrained.study, None) if e.phase == "final")
    forward = forward_flops("resnet18", "cifar", 4, 8)
    operations = 2 * (3 * 64 + 40) * forward
    assert training_flops(run) == pytest.approx(operations)
    assert nominal_seconds(run) == pytest.approx(operations / 12e9)


def test_the_whole_paper_takes_the_hours_of_its_logs(paper: Study) -> None:
    """111 trainings on the published A100 are about 52 hours, the estimate made from the authors' logs."""
    some = {
        choice: Hyperparameters(specs[0].alpha or 0.0, specs[0].temperature)
        for choice, specs in candidates(paper).items()
    }
    runs = [entry.run for entry in distinct(plan(paper, some))]
    assert len(runs) == 111
    assert sum(map(nominal_seconds, runs)) / 3600 == pytest.approx(52, abs=0.5)
