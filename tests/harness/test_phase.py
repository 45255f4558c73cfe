"""Phases train what is missing and nothing twice, say what they train again, and lose nothing to a failed run."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tiny_study import TRAININGS, InProcess, Tiny, entry_named, plan_of

from harness.errors import EnvironmentProblem, RunsFailed, StoreError, StudyError
from harness.execute.job import Job, OnEpoch, Say
from harness.execute.phase import train_phases
from harness.planning import overview
from harness.store.store import Store
from harness.study.cost import training_flops
from harness.study.plan import PHASES, Phase, distinct

FEATURE = "resnet34-resnet18-feature-a0.5"


def train(
    tiny: Tiny,
    *phases: Phase,
    fails: tuple[str, ...] = (),
    cell: str | None = None,
    seed: int | None = None,
) -> list[str]:
    """Bring phases (all, if none is named) up to date; returns what was trained, as PHASE/NAME in order."""
    executor = InProcess(fails, tiny.finished)
    train_phases(tiny.study, tiny.workspace, phases or PHASES, executor, cell=cell, seed=seed)
    return executor.trained


def digests(tiny: Tiny) -> dict[str, str]:
    """Digest of the weights of every run."""
    store = Store(tiny.workspace.runs)
    found = {}
    for entry in distinct(plan_of(tiny)):
        record = store.check(entry).record
        assert record is not None, entry.label
        found[entry.label] = record.files["weights.safetensors"]
    return found


def damage(tiny: Tiny, name: str, file: str = "weights.safetensors") -> None:
    """Flip one bit of a file of a run."""
    path = tiny.workspace.runs / name / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_everything_is_trained_once(first_training: tuple[Tiny, InProcess]) -> None:
    """From nothing: each distinct run of the plan, phase after phase, and none twice, shared or not."""
    tiny, executor = first_training
    assert Counter(name.partition("/")[0] for name in executor.trained) == TRAININGS
    assert len(set(executor.trained)) == len(executor.trained) == 11
    order = [PHASES.index(name.partition("/")[0]) for name in executor.trained]  # type: ignore[arg-type]
    assert order == sorted(order)
    folders = {str(path.parent.relative_to(tiny.root / "runs/tiny")) for path in tiny.root.rglob("record.json")}
    assert folders == set(executor.trained)


def test_the_longest_run_comes_first(first_training: tuple[Tiny, InProcess]) -> None:
    """Within a phase, so that none is left alone at the end."""
    _, executor = first_training
    assert len(executor.asked) == len(PHASES)
    for jobs in executor.asked:
        costs = [training_flops(job.spec) for job in jobs]
        assert costs == sorted(costs, reverse=True)


def test_nothing_is_trained_again(trained: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """What is done stays as it is, and the phase says how much that is."""
    assert train(trained) == []
    said = capsys.readouterr().out
    assert "final: 0 to train, 6 done before" in said
    assert "again" not in said


@pytest.mark.parametrize("file", ["weights.safetensors", "correct_last.bin", "record.json"])
def test_an_edited_run_is_named_and_trained_again_alone(
    trained: Tiny, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    """Exactly that run; and it comes out with the same bits as before."""
    before = digests(trained)
    damage(trained, "final/resnet18-none-s1", file)
    assert train(trained) == ["final/resnet18-none-s1"]
    said = [line for line in capsys.readouterr().out.splitlines() if "again" in line]
    assert len(said) == 1
    assert said[0].startswith("runs/tiny/final/resnet18-none-s1 is trained again: ")
    assert file in said[0]
    assert digests(trained) == before
    assert train(trained) == []


def test_a_deleted_run_is_trained_again(trained: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing run is nothing to explain."""
    shutil.rmtree("runs/tiny/bug_ablation")
    assert train(trained) == [f"bug_ablation/{FEATURE}-unclipped-t0-s0"]
    assert "again" not in capsys.readouterr().out


def test_a_restored_teacher_leaves_its_students_alone(trained: Tiny) -> None:
    """Trained again it has the same bits, so what was learned from it still holds."""
    damage(trained, "teachers/resnet34-none-s0")
    assert train(trained) == ["teachers/resnet34-none-s0"]


def test_another_teacher_has_its_students_trained_again(trained: Tiny) -> None:
    """Another budget of the teacher changes every student that learns from it, and no baseline."""
    trained.edit("{teacher: 2, student: 2}", "{teacher: 1, student: 2}")
    assert set(train(trained)) == {
        "teachers/resnet34-none-s0",
        "select/resnet34-resnet18-logit-a0.3-T2-t0-s0",
        "select/resnet34-resnet18-logit-a0.7-T2-t0-s0",
        f"select/{FEATURE}-t0-s0",
        *(path for path in _finals(trained) if "resnet34-resnet18" in path),
        "stem_ablation/resnet34-none-imagenet-s0",
        f"bug_ablation/{FEATURE}-unclipped-t0-s0",
    }


def _finals(tiny: Tiny) -> list[str]:
    """Folders of the final phase by the selection that stands now."""
    return [f"final/{entry.label}" for entry in distinct(plan_of(tiny)) if entry.phase == "final"]


# --- order ------------------------------------------------------------------------------------------------------------


def test_the_final_phase_waits_for_the_selection(to_copy: Tiny) -> None:
    """Refused with the command that comes first; nothing is trained."""
    train(to_copy, "teachers")
    with pytest.raises(StudyError, match="waits for the selection; run `harness train --phase select` first"):
        train(to_copy, "final")
    assert not Path("runs/tiny/final").exists()


def test_students_wait_for_their_teachers(untrained: Tiny) -> None:
    """Refused with the teacher's folder and the command that makes it."""
    with pytest.raises(StoreError, match=r"runs/tiny/teachers/resnet34-none-s0.*run `harness train --phase teachers`"):
        train(untrained, "select")
    assert not Path("runs/tiny/select").exists()


def test_a_shared_run_is_not_trained_by_the_second_phase(trained: Tiny) -> None:
    """Without its owner's run, the final phase names it and the phase to carry out."""
    chosen = entry_named(plan_of(trained), "final", f"{FEATURE}-t0-s0")
    assert chosen.owner == "select"
    shutil.rmtree(f"runs/tiny/select/{FEATURE}-t0-s0")
    with pytest.raises(
        StoreError, match=f"final shares the run runs/tiny/select/{FEATURE}-t0-s0, which is missing.*--phase select"
    ):
        train(trained, "final")
    damage(trained, "final/resnet18-none-s0")
    with pytest.raises(StoreError, match=r"stem_ablation shares .*which is stale \(.*changed.*--phase final"):
        train(trained, "stem_ablation")


def test_no_student_learns_from_a_teacher_of_another_description(trained: Tiny) -> None:
    """The teacher's folder is there, but its run is not the one that the students' descriptions name."""
    trained.edit("{teacher: 2, student: 2}", "{teacher: 3, student: 2}")
    with pytest.raises(StoreError, match=r"teachers/resnet34-none-s0.*run `harness train --phase teachers`"):
        train(trained, "select")


def test_no_student_learns_from_a_damaged_teacher(trained: Tiny) -> None:
    """Its file is named, and nothing is trained."""
    damage(trained, "teachers/resnet34-none-s0")
    shutil.rmtree("runs/tiny/bug_ablation")
    with pytest.raises((StoreError, RunsFailed), match=r"resnet34-none-s0/weights\.safetensors was changed"):
        train(trained, "bug_ablation")
    assert not Path("runs/tiny/bug_ablation").exists()


# --- selection --------------------------------------------------------------------------------------------------------


def test_the_selection_lists_every_candidate_and_one_winner_a_cell(trained: Tiny) -> None:
    """With the accuracy that its record shows; the winner has the highest of its cell."""
    rows = json.loads(trained.workspace.selected.read_text())["candidates"]
    assert [(row["method"], row["hyperparameters"]) for row in rows] == [
        ("logit", {"alpha": 0.3, "temperature": 2.0}),
        ("logit", {"alpha": 0.7, "temperature": 2.0}),
        ("feature", {"alpha": 0.5}),
    ]
    for row in rows:
        record = json.loads(Path(f"runs/tiny/select/{row['run']}/record.json").read_text())
        assert row["val_acc"] == max(epoch["val_acc"] for epoch in record["history"])
    for method in ("logit", "feature"):
        of_cell = [row for row in rows if row["method"] == method]
        (winner,) = [row for row in of_cell if row["chosen"]]
        assert winner["val_acc"] == max(row["val_acc"] for row in of_cell)


def test_an_edited_selection_is_made_again(trained: Tiny) -> None:
    """The phase chooses from the runs, not from what the file said."""
    before = trained.workspace.selected.read_bytes()
    content = json.loads(before)
    content["candidates"][0]["chosen"] ^= True
    content["candidates"][1]["chosen"] ^= True
    trained.workspace.selected.write_text(json.dumps(content))
    assert train(trained, "select") == []
    assert trained.workspace.selected.read_bytes() == before


# --- some runs only ---------------------------------------------------------------------------------------------------


def test_a_part_of_a_selection_selects_nothing(to_copy: Tiny) -> None:
    """Only what was asked for is trained, and the choice waits until all candidates are there."""
    train(to_copy, "teachers")
    assert train(to_copy, "select", cell=FEATURE) == [f"select/{FEATURE}-t0-s0"]
    assert not to_copy.workspace.selected.exists()
    assert len(train(to_copy, "select")) == 2
    assert to_copy.workspace.selected.exists()


def test_one_seed_of_one_cell(trained: Tiny) -> None:
    """`--cell` and `--seed` together name one run."""
    shutil.rmtree("runs/tiny/final")
    assert train(trained, "final", cell="resnet18-none", seed=1) == ["final/resnet18-none-s1"]
    assert set(train(trained, "final", seed=1)) == {path for path in _finals(trained) if path.endswith("-s1")} - {
        "final/resnet18-none-s1"
    }


def test_a_cell_that_is_none_is_a_mistake(trained: Tiny) -> None:
    """A misspelt cell must not look like one that is done."""
    with pytest.raises(
        StudyError, match=r"--cell, --seed: .* cell resnet81-none and seed any; .*`harness plan --runs`"
    ):
        train(trained, cell="resnet81-none")
    with pytest.raises(StudyError, match=r"expected a run of final, found none .* cell any and seed 7;"):
        train(trained, "final", seed=7)


def test_a_baseline_needs_no_selection(to_copy: Tiny) -> None:
    """Asked for by its cell, it is trained while other cells of the phase still wait."""
    assert train(to_copy, "final", cell="resnet18-none", seed=1) == ["final/resnet18-none-s1"]


def test_a_phase_without_runs_has_its_folder(untrained: Tiny) -> None:
    """The pipeline expects the output of every stage, also where a study leaves an ablation out."""
    untrained.edit("bug_ablation:\n  - {teacher: resnet34, student: resnet18, seeds: [0]}", "bug_ablation: []")
    assert train(untrained, "bug_ablation") == []
    assert list(Path("runs/tiny/bug_ablation").iterdir()) == []


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_run_loses_no_other(to_copy: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """The phase goes on to its end, then names what failed and why; the same command tries only that again."""
    train(to_copy, "teachers")
    failing = "resnet34-resnet18-logit-a0.3-T2-t0-s0"
    with pytest.raises(RunsFailed) as error:
        train(to_copy, "select", "final", fails=(failing, f"{FEATURE}-t0-s0"))
    summary, *reasons = str(error.value).splitlines()
    assert summary.startswith("2 of 3 runs of select")
    assert "other 1 are done" in summary
    assert sorted(reasons) == [
        f"  runs/tiny/select/{FEATURE}-t0-s0: this run was told to fail",
        f"  runs/tiny/select/{failing}: this run was told to fail",
    ]
    assert [path.name for path in Path("runs/tiny/select").iterdir()] == ["resnet34-resnet18-logit-a0.7-T2-t0-s0"]
    assert not to_copy.workspace.selected.exists()
    assert not Path("runs/tiny/final").exists()  # a later phase does not begin
    assert capsys.readouterr().out.count("FAILED") == 2
    shown = overview(to_copy.study, to_copy.workspace)["entries"]
    assert [(row["run"], row["reason"]) for row in shown if row["state"] == "failed"] == [
        (failing, "this run was told to fail"),
        (f"{FEATURE}-t0-s0", "this run was told to fail"),
    ]
    assert set(train(to_copy, "select")) == {f"select/{failing}", f"select/{FEATURE}-t0-s0"}
    assert to_copy.workspace.selected.exists()
    assert not any(row["state"] == "failed" for row in overview(to_copy.study, to_copy.workspace)["entries"])


class OnFullDisk(InProcess):
    """Every run ends as one does whose checkpoint finds no room."""

    def _end(self, job: Job, on_epoch: OnEpoch, say: Say) -> str | None:
        del on_epoch, say
        return f"OSError: {OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.partial))}"


def test_a_full_disk_ends_the_phase_at_once_with_one_sentence(to_copy: Tiny) -> None:
    """Every other run would fail alike; what is done stays, and the same command goes on from there."""
    train(to_copy, "teachers")
    with pytest.raises(EnvironmentProblem, match=r"found the disk full \([\d,]+ MB free\); all that was whole is kept"):
        train_phases(to_copy.study, to_copy.workspace, ["select"], OnFullDisk())
    assert not Path("runs/tiny/.failed").exists()
    assert len(train(to_copy, "teachers", "select")) == TRAININGS["select"]


def test_two_trainers_do_not_meet(trained: Tiny) -> None:
    """While one is at work, a second is refused before it looks at a run."""
    with Store(trained.workspace.runs).locked(), pytest.raises(EnvironmentProblem, match="at work here"):
        train(trained)
