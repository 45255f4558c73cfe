"""What a run costs: operations, hours and bytes of whole runs, by hand and by the measured figures.

`tests/harness/training/test_flops.py` counts the networks themselves with torch.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_study import ROOT, Tiny

from harness.study.cost import (
    checkpoint_bytes,
    forward_flops,
    nominal_seconds,
    run_bytes,
    table_bytes,
    table_flops,
    training_flops,
    uses_table,
)
from harness.study.load import load_study
from harness.study.plan import any_winner, distinct, plan
from harness.study.spec import Architecture, RunSpec
from harness.study.study import Study

STUDENT, TEACHER = 1_110_845_440, 2_595_659_776  # operations of ResNet-18 and -50 on an image, as torch counts them


@pytest.mark.parametrize(
    ("architecture", "gflop"), [("resnet18", 1.11), ("resnet34", 2.32), ("resnet50", 2.60), ("resnet101", 5.02)]
)
def test_full_size_networks_on_cifar(architecture: Architecture, gflop: float) -> None:
    """The figures measured for the CIFAR networks, in GFLOP an image."""
    assert forward_flops(architecture, "cifar", 64, 32, 10) / 1e9 == pytest.approx(gflop, abs=0.005)


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Study:
    """The paper's study."""
    monkeypatch.chdir(ROOT)
    return load_study("paper")


def changed(run: RunSpec, block: str, **fields: object) -> RunSpec:
    """A run with some fields of a block changed."""
    return run.model_copy(update={block: getattr(run, block).model_copy(update=fields)})


def candidate(study: Study, method: str) -> RunSpec:
    """A candidate of ResNet-50 -> ResNet-18."""
    return next(e.run for e in plan(study, None) if e.cell.startswith(f"resnet50-resnet18-{method}"))


def test_an_epoch_by_hand(paper: Study) -> None:
    """Backward is two forwards; a teacher is one forward in each step, if the run does not read a table."""
    (of_teacher,) = [e.run for e in plan(paper, None) if e.phase == "teachers" and e.run.name == "resnet50-none-s0"]
    assert training_flops(of_teacher) == 200 * (3 * TEACHER * 45_000 + TEACHER * 5_000)
    alone = 100 * (3 * STUDENT * 45_000 + STUDENT * 5_000)
    with_teacher = alone + 100 * TEACHER * 45_000
    logit, feature = candidate(paper, "logit"), candidate(paper, "feature")
    assert training_flops(logit) == alone
    assert training_flops(feature) == with_teacher
    assert training_flops(changed(logit, "optimisation", teacher_logits="online")) == with_teacher
    assert training_flops(logit.model_copy(update={"method": "a_method_of_somebody_else"})) == with_teacher


def test_the_papers_table_by_hand(paper: Study) -> None:
    """81 crops, mirrored or not, of 45,000 images, 10 float32 each: 292 MB, and the work of 162 teacher epochs."""
    logit = candidate(paper, "logit")
    assert uses_table(logit)
    assert table_bytes(logit) == 291_600_000
    assert table_flops(logit) == 162 * 45_000 * TEACHER
    hundred = changed(logit, "dataset", name="cifar100")
    assert table_bytes(hundred) == 10 * table_bytes(logit)
    assert table_flops(hundred) == table_flops(logit) + 162 * 45_000 * 2 * 2048 * 90
    still = changed(logit, "dataset", crop_padding=1, horizontal_flip=False)
    assert table_bytes(still) * 162 == table_bytes(logit) * 9
    control = logit.model_copy(update={"method": "random_teacher"})
    assert (table_bytes(control), table_flops(control)) == (table_bytes(logit), table_flops(logit))


def test_who_reads_no_table_pays_for_none(paper: Study) -> None:
    """Baselines, methods that need features, and runs that ask for the teacher online."""
    baseline = next(e.run for e in plan(paper, None) if e.phase == "final" and e.run.method == "none")
    online = changed(candidate(paper, "logit"), "optimisation", teacher_logits="online")
    for run in (baseline, candidate(paper, "feature"), online):
        assert not uses_table(run)
        assert (table_bytes(run), table_flops(run)) == (0, 0)


def test_a_full_size_run_on_disk(paper: Study) -> None:
    """11,173,962 parameters and 20 norms (4,800 channels) of ResNet-18, and 10,000 test images twice."""
    state = 4 * (11_173_962 + 2 * 4_800) + 8 * 20
    run = candidate(paper, "feature")
    assert run_bytes(run) == state + 2 * 1_250
    projections = 64 * 256 + 128 * 512 + 256 * 1024 + 512 * 2048
    assert checkpoint_bytes(run) == 2 * (2 * state + 4 * (11_173_962 + 2 * projections))
    assert checkpoint_bytes(candidate(paper, "logit")) == 2 * (2 * state + 4 * 11_173_962)
    # 100 classes have a larger classifier; of a folder of images nothing is known, and CIFAR-10's numbers are taken
    assert run_bytes(changed(run, "dataset", name="cifar100")) == run_bytes(run) + 4 * 90 * 513
    folder = changed(run, "dataset", name="folder", path="images")
    for count in (run_bytes, checkpoint_bytes, training_flops):
        assert count(folder) == count(run)


def test_a_small_study_is_counted_on_its_own_images(untrained: Tiny) -> None:
    """64 training and 40 validation images of 8x8, 2 epochs, on one thread of 12 GFLOP/s."""
    run = next(e.run for e in plan(untrained.study, None) if e.phase == "final")
    operations = 2 * (3 * 64 + 40) * forward_flops("resnet18", "cifar", 8, 8, 10)
    assert training_flops(run) == operations
    assert nominal_seconds(run) == pytest.approx(operations / 12e9)


def test_images_that_nobody_holds_out_are_trained_on(make_spec: Callable[..., RunSpec]) -> None:
    """All 1,797 digits less 50 for validation and 100 for the test."""
    whole, part = make_spec(dataset={"train_images": None}), make_spec(dataset={"train_images": 1_647})
    assert training_flops(whole) == training_flops(part)


def test_the_whole_paper_takes_the_hours_of_its_logs(paper: Study) -> None:
    """111 trainings with teachers online, as the authors', are about 52 hours on the published A100.

    Three tables, their own cost counted, save 15% of the operations.
    """
    runs = [entry.run for entry in distinct(plan(paper, any_winner(paper)))]
    assert len(runs) == 111
    online = [changed(run, "optimisation", teacher_logits="online") for run in runs]
    assert sum(map(nominal_seconds, online)) / 3600 == pytest.approx(52, abs=0.5)
    tables = {run.teacher.sha256: table_flops(run) for run in runs if run.teacher and uses_table(run)}
    assert len(tables) == 3
    left = sum(map(training_flops, runs)) + sum(tables.values())
    assert left / sum(map(training_flops, online)) == pytest.approx(0.845, abs=0.001)
