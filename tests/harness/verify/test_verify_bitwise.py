"""The bitwise level: honest runs pass, a consistent forgery fails, another stack is not compared, no run is touched.

The runs are the tiny study's, trained for real, in fresh processes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
import safetensors.torch
from tiny_study import Tiny, entry_named, plan_of, tree

from harness.errors import RunsFailed, StoreError, StudyError
from harness.execute.job import Done
from harness.execute.local import LocalExecutor
from harness.files import sha256_of_file
from harness.store.record import RunRecord, parse
from harness.store.store import read
from harness.verify.bitwise import COMPARED, Bitwise, RunComparison, compare_bitwise
from harness.verify.lock import LockCheck

RUNS = Path("runs/tiny")
BASELINE, TEACHER = "final/resnet18-none-s0", "teachers/resnet34-none-s0"


@pytest.fixture(scope="module", autouse=True)
def environment_back() -> Iterator[None]:
    """Puts back the variables that the executor sets for its workers."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def compare(tiny: Tiny, *runs: str) -> Bitwise:
    """The bitwise level of the tiny study."""
    return compare_bitwise(tiny.study, tiny.workspace, runs)


def the_run(found: Bitwise) -> RunComparison:
    """The only run that was compared."""
    (run,) = found.runs
    return run


def reseal(run: str, change: Callable[[RunRecord], dict[str, Any]]) -> None:
    """Edit a record as a careful forger does: every digest that `harness collect` checks fits afterwards."""
    path = RUNS / run / "record.json"
    record = parse(path.read_text())
    path.write_text(record.model_copy(update=change(record)).text())
    assert read(path.parent) != record  # whole, and another


def with_stack(**values: str) -> Callable[[RunRecord], dict[str, Any]]:
    """A change of the record's stack."""
    return lambda record: {"stack": record.stack | values}


def logit_student(tiny: Tiny) -> str:
    """A run of the final phase that learns from its teacher's table."""
    (run,) = [f"final/{each.label}" for each in plan_of(tiny) if each.owner == "final" and "logit" in each.label]
    return run


def timestamps(root: Path) -> dict[str, int]:
    """When each file and folder was last changed."""
    return {str(path): path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}


# --- the same ---------------------------------------------------------------------------------------------------------


def test_honest_runs_pass_and_nothing_of_the_study_is_touched(
    trained: Tiny,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """By default the cheapest run of each phase, a distilled one with its table anew among them; scratch files go."""
    scratch = tmp_path_factory.mktemp("s")  # sockets of processes lie there, whose paths may have 107 characters
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = tree(trained.root), timestamps(trained.root / "runs")
    found = compare(trained)
    assert (tree(trained.root), timestamps(trained.root / "runs")) == before
    assert list(scratch.glob("kdcap*")) == []
    # Counted by hand: learning from logits in a table costs no more than the student, from features the teacher too;
    # the imagenet stem reduces images before the first stage. Of equals the first of the plan.
    assert [run.run for run in found.runs] == [
        TEACHER,
        "select/resnet34-resnet18-logit-a0.3-T2-t0-s0",
        BASELINE,
        "stem_ablation/resnet18-none-imagenet-s0",
        "bug_ablation/resnet34-resnet18-feature-a0.5-unclipped-t0-s0",
    ]
    assert {(run.verdict, run.differs) for run in found.runs} == {("PASS", ())}
    assert found.verdict == "PASS"
    assert "5 runs trained again, the same to the bit" in found.sentence
    assert found.lock.verdict == "NOT CHECKED"
    assert found.lock.sentence in found.sentence
    said = capsys.readouterr().out
    assert "bitwise: 5 to train" in said
    assert "computing the teacher's logits" in said  # the stored table was not used
    assert json.loads(json.dumps(dataclasses.asdict(found)))["runs"][0]["run"] == TEACHER


def test_named_runs_are_compared_each_once(trained: Tiny) -> None:
    """In the order given; a run that a later phase shares is its owner's."""
    found = compare(trained, "stem_ablation/resnet18-none-s0", TEACHER, BASELINE)
    assert [run.run for run in found.runs] == [BASELINE, TEACHER]
    assert found.verdict == "PASS"
    for run in found.runs:
        assert all(name in run.sentence for name in COMPARED)


# --- not the same -----------------------------------------------------------------------------------------------------


def test_a_consistent_forgery_fails(trained: Tiny) -> None:
    """Weights of nobody's training, their digest in the record, the record sealed: nothing else could tell."""
    run = logit_student(trained)
    weights = RUNS / run / "weights.safetensors"
    tensors = safetensors.torch.load_file(weights)
    first = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[first] = tensors[first] * 1.01
    weights.write_bytes(safetensors.torch.save(tensors))
    reseal(run, lambda record: {"files": record.files | {weights.name: sha256_of_file(weights)}})
    found = compare(trained, run, BASELINE)
    assert [(each.run, each.verdict, each.differs) for each in found.runs] == [
        (run, "FAIL", ("best weights",)),
        (BASELINE, "PASS", ()),
    ]
    assert found.verdict == "FAIL"
    assert f"{run}, trained again on the same stack, differs in best weights; the same: last weights" in found.sentence


EDITS: dict[str, tuple[str, Callable[[RunRecord], dict[str, Any]]]] = {
    "weights": ("best weights", lambda record: {"files": record.files | {"weights.safetensors": "0" * 64}}),
    "no weights": ("best weights", lambda record: {"files": without(record.files, "weights.safetensors")}),
    "last weights": ("last weights", lambda _: {"last_weights_sha256": "0" * 64}),
    "digest of the history": ("history", lambda _: {"history_sha256": "0" * 64}),
    "history under its old digest": ("history", lambda record: {"history": record.history[::-1]}),
    "best epoch": ("history", lambda record: {"best_epoch": 3 - record.best_epoch}),
    "best bits": ("correctness of the best", lambda record: {"files": record.files | {"correct_best.bin": "0" * 64}}),
    "last bits": ("correctness of the last", lambda record: {"files": record.files | {"correct_last.bin": "0" * 64}}),
    "accuracy": (
        "test results",
        lambda record: {"test_best": record.test_best.model_copy(update={"accuracy": 0.99})},
    ),
}


def without(files: dict[str, str], name: str) -> dict[str, str]:
    """The files but one."""
    return {file: digest for file, digest in files.items() if file != name}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.usefixtures("trained")
def test_each_edit_shows_in_one_part(edit: str) -> None:
    """In a digest, or in contents whose digest was left as it was; the wall times of two trainings show in none."""
    differs, change = EDITS[edit]
    record = read(RUNS / BASELINE)
    edited = record.model_copy(update=change(record))
    assert [name for name, part in COMPARED.items() if part(record) != part(edited)] == [differs]


# --- not comparable ---------------------------------------------------------------------------------------------------


def test_another_torch_is_named_and_nothing_is_trained(trained: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """With both versions; the statistical level stands instead."""
    here = read(RUNS / BASELINE).stack["torch"]
    reseal(BASELINE, with_stack(torch="2.5.0"))
    found = compare(trained, BASELINE)
    run = the_run(found)
    assert (run.verdict, run.differs) == ("NOT COMPARABLE", (f"torch: record 2.5.0, here {here}",))
    assert found.verdict == "NOT COMPARABLE"
    assert f"the first {BASELINE} (torch: record 2.5.0, here {here})" in found.sentence
    assert "the statistical verdict stands instead" in found.sentence
    assert "to train" not in capsys.readouterr().out


def test_what_can_be_compared_is(trained: Tiny) -> None:
    """A run of another machine keeps the whole from a PASS, not the others from being trained again."""
    reseal(TEACHER, with_stack(cpu="another"))
    found = compare(trained, TEACHER, BASELINE)
    assert [run.verdict for run in found.runs] == ["NOT COMPARABLE", "PASS"]
    assert found.verdict == "NOT COMPARABLE"
    assert "1 run trained again, the same to the bit. 1 run not trained again" in found.sentence


ELSEWHERE: dict[str, tuple[str, Callable[[RunRecord], dict[str, Any]]]] = {
    "code": ("training code: record 000000000000, here ", lambda _: {"code_sha256": "0" * 64}),
    "images": ("images: record 000000000000, here ", lambda _: {"data_sha256": "0" * 64}),
    "a switch": ("MKL_CBWR: record AVX2, here none", with_stack(MKL_CBWR="AVX2")),
    "threads": ("threads: record 2, here 1", lambda record: {"settings": record.settings | {"threads": 2}}),
    "nondeterministic": (
        "deterministic_algorithms: record False, here True",
        lambda record: {"settings": record.settings | {"deterministic_algorithms": False}},
    ),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_whatever_bits_depend_on_is_named(trained: Tiny, what: str) -> None:
    """Training code, images, switches of libraries, settings."""
    differs, change = ELSEWHERE[what]
    reseal(BASELINE, change)
    run = the_run(compare(trained, BASELINE))
    assert (run.verdict, len(run.differs)) == ("NOT COMPARABLE", 1)
    assert run.differs[0].startswith(differs)
    assert run.differs[0] in run.sentence


def test_a_gpu_is_another_device(trained: Tiny) -> None:
    """Each part of its stack is named; the CPU beside it is its owner's affair."""
    reseal(
        BASELINE, with_stack(device="cuda", gpu="H100", cuda="13.0", cudnn="9", cpu=read(RUNS / BASELINE).stack["cpu"])
    )
    assert the_run(compare(trained, BASELINE)).differs == (
        "device: record cuda, here cpu",
        "gpu: record H100, here none",
        "cuda: record 13.0, here none",
        "cudnn: record 9, here none",
    )


def test_without_the_gpu_that_the_study_asks_for(trained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile says `device: cuda`: a machine without one has only the statistical level."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    trained.edit("device: cpu", "device: cuda")
    spec = entry_named(plan_of(trained), "final", "resnet18-none-s0").run
    reseal(BASELINE, lambda record: {"spec": spec, "stack": record.stack | {"device": "cuda"}})
    assert the_run(compare(trained, BASELINE)).differs == ("device: record cuda, here none that the study asks for",)


def test_without_torch(trained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts on tables do without it, and so this level says what it lacks."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else find_spec(name))
    (differs,) = the_run(compare(trained, BASELINE)).differs
    assert differs == f"torch: record {read(RUNS / BASELINE).stack['torch']}, here none"


def test_what_bits_do_not_depend_on_is_no_difference(trained: Tiny) -> None:
    """Another Python, numpy or operating system: the run is trained again, and is the same."""
    reseal(BASELINE, with_stack(python="3.12.1", numpy="2.0.0", platform="another"))
    assert the_run(compare(trained, BASELINE)).verdict == "PASS"


def test_students_of_another_teacher_are_not_compared(trained: Tiny) -> None:
    """The teacher there now has other weights than the record says it learned from."""
    run = logit_student(trained)
    reseal(
        run,
        lambda record: {"teacher": record.teacher and record.teacher.model_copy(update={"weights_sha256": "0" * 64})},
    )
    found = the_run(compare(trained, run))
    assert found.verdict == "NOT COMPARABLE"
    assert found.differs[0].startswith("teacher's weights: record 000000000000, here ")


# --- dvc.lock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lock", "verdict"), [("PASS", "PASS"), ("NOT CHECKED", "PASS"), ("FAIL", "FAIL")])
def test_the_lock_can_fail_the_whole(
    trained: Tiny, monkeypatch: pytest.MonkeyPatch, lock: Literal["PASS", "FAIL", "NOT CHECKED"], verdict: str
) -> None:
    """And stands in the sentence in any case. What DVC answers is tested in test_verify_lock.py."""
    monkeypatch.setattr("harness.verify.bitwise.check_lock", lambda _: LockCheck(lock, (), (), "So says the lock."))
    found = compare(trained, BASELINE)
    assert (found.verdict, the_run(found).verdict) == (verdict, "PASS")
    assert found.sentence.startswith(f"{verdict}: ")
    assert "So says the lock." in found.sentence


# --- refused ----------------------------------------------------------------------------------------------------------


def test_an_unknown_run_is_refused(trained: Tiny) -> None:
    """With the way to see the others."""
    with pytest.raises(StudyError, match=r"PHASE/NAME .* found final/resnet18-none-s7; `harness plan --runs` lists"):
        compare(trained, BASELINE, "final/resnet18-none-s7")


def test_a_run_that_waits_for_the_selection_is_refused(trained: Tiny) -> None:
    """Its hyperparameters are not known, so there is nothing to train again."""
    trained.workspace.selected.unlink()
    with pytest.raises(StudyError, match="waits for the selection; run `harness train --phase select` first"):
        compare(trained, "final/resnet34-resnet18-logit-t0-s1")


def test_an_untrained_study_is_refused(untrained: Tiny) -> None:
    """With the command that trains it."""
    with pytest.raises(StoreError, match="expected at least one trained run, found none; run `harness train` first"):
        compare(untrained)


def test_a_missing_run_is_refused_and_by_default_left_out(trained: Tiny) -> None:
    """A phase that has not trained its cheapest run yet is represented by another, or by none."""
    shutil.rmtree(RUNS / BASELINE)
    with pytest.raises(
        StoreError, match=f"{BASELINE}: expected a trained run, .*record.json is missing; `harness plan"
    ):
        compare(trained, BASELINE)
    shutil.rmtree(RUNS / "select")
    for run in (TEACHER, "stem_ablation/resnet18-none-imagenet-s0", "final/resnet18-none-s1"):
        reseal(run, with_stack(torch="another"))  # so that nothing is trained here
    shutil.rmtree(RUNS / "bug_ablation")
    assert [run.run for run in compare(trained).runs] == [
        TEACHER,
        "final/resnet18-none-s1",
        "stem_ablation/resnet18-none-imagenet-s0",
    ]


@pytest.mark.parametrize("chosen", [(), (BASELINE,)], ids=["by default", "by name"])
def test_a_damaged_run_is_refused(trained: Tiny, chosen: tuple[str, ...]) -> None:
    """Not stepped over: its file is named."""
    with (RUNS / BASELINE / "weights.safetensors").open("ab") as file:
        file.write(b"!")
    with pytest.raises(StoreError, match=f"{BASELINE}: .*weights.safetensors was changed after it was written"):
        compare(trained, *chosen)


def test_a_run_of_another_description_is_refused(trained: Tiny) -> None:
    """The profile was edited, and the run not trained again."""
    trained.edit("weight_decay: 0.0005", "weight_decay: 0.0004")
    with pytest.raises(StoreError, match=f"{BASELINE}: .* was trained for another description; .*`harness train`"):
        compare(trained, BASELINE)


def test_a_damaged_teacher_is_refused(trained: Tiny) -> None:
    """A student cannot be trained again without it."""
    with (RUNS / TEACHER / "weights.safetensors").open("ab") as file:
        file.write(b"!")
    with pytest.raises(StoreError, match=f"{TEACHER}: .*weights.safetensors was changed"):
        compare(trained, logit_student(trained))


def test_a_training_that_breaks_off_is_no_verdict(trained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is named with what went wrong; nothing is left in the scratch folder."""
    scratch = trained.root / "full"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(LocalExecutor, "run", lambda _self, jobs, *_: (Done(job, "no space left") for job in jobs))
    with pytest.raises(RunsFailed, match=f"1 of 1 runs could not be trained again.*\n  {BASELINE}: no space left"):
        compare(trained, BASELINE)
    assert list(scratch.iterdir()) == []
