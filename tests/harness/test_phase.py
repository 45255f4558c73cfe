"""Phases train what is missing and nothing twice, say what they train again, and lose nothing to a failed run."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tiny_study import TRAININGS, InProcess, Tiny, entry_named, plan_of

from harness.errors import EnvironmentProblem, RunsFailed, StoreError, StudyError
from harness.execute.agenda import Agenda
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.execute.phase import train_phases
from harness.planning import overview
from harness.store.store import Store
from harness.study.cost import training_flops
from harness.study.plan import PHASES, Phase, distinct, plan

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
    """From nothing: each distinct run of the plan, none twice, shared or not."""
    tiny, executor = first_training
    assert Counter(name.partition("/")[0] for name in executor.trained) == TRAININGS
    assert len(set(executor.trained)) == len(executor.trained) == 11
    folders = {str(path.parent.relative_to(tiny.root / "runs/tiny")) for path in tiny.root.rglob("record.json")}
    assert folders == set(executor.trained)


def test_what_a_run_needs_comes_before_it(first_training: tuple[Tiny, InProcess]) -> None:
    """Its teacher, and of a chosen run every candidate of its method; other methods' candidates may come later."""
    _, executor = first_training
    order = executor.trained
    teacher = order.index("teachers/resnet34-none-s0")
    for method in ("logit", "feature"):
        of_method = [name for name in order if f"-{method}-" in name]
        candidates = [order.index(name) for name in of_method if name.startswith("select/")]
        chosen = [order.index(name) for name in of_method if not name.startswith("select/")]
        assert teacher < min(candidates)
        assert max(candidates) < min(chosen)


def test_the_longest_chain_comes_first(first_training: tuple[Tiny, InProcess]) -> None:
    """A teacher with all that waits for it; of runs that nothing waits for, the longest."""
    _, executor = first_training
    assert executor.trained[0] == "teachers/resnet34-none-s0"
    for ready in executor.asked[1:]:
        costs = [training_flops(job.spec) for job in ready if job.folder.parent.name != "select"]
        assert costs == sorted(costs, reverse=True)
    first_chosen = next(i for i, name in enumerate(executor.trained) if name.startswith(("final/", "bug_ablation/")))
    assert all(name.startswith("select/") for name in executor.trained[1:first_chosen])


def test_readers_of_a_table_wait_without_taking_a_place(first_training: tuple[Tiny, InProcess]) -> None:
    """Of two candidates that read one teacher's table, the second comes ready when the first has made it."""
    _, executor = first_training
    readers = [[name_of(job) for job in ready if "logit" in job.spec.name] for ready in executor.asked]
    first, second = (f"select/resnet34-resnet18-logit-a{alpha}-T2-t0-s0" for alpha in (0.3, 0.7))
    made = executor.trained.index(first)
    assert readers[made] == [first]
    assert readers[made + 1] == [second]


class NoTable(InProcess):
    """Every run tells an epoch and fails then; a table that it makes is nowhere to be seen, as on a cluster."""

    def _end(self, job: Job, on_epoch: OnEpoch, say: Say) -> str | None:
        del say
        on_epoch(job, 1, 0.5)
        return "this run was told to fail"


def three_readers(tiny: Tiny) -> list[str]:
    """Give the study three candidates that read one table, and train their teacher; their names."""
    tiny.edit("alpha: [0.3, 0.7]", "alpha: [0.3, 0.5, 0.7]")
    train(tiny, "teachers")
    return [f"select/resnet34-resnet18-logit-a{alpha}-T2-t0-s0" for alpha in (0.3, 0.5, 0.7)]


def candidates_of(tiny: Tiny) -> Agenda:
    """The search of a study, looked at for the first time."""
    entries = [(entry, entry.run) for entry in plan(tiny.study, None) if entry.phase == "select"]
    agenda = Agenda(Store(tiny.workspace.runs), tiny.study, entries, 0.0, lambda _: None)
    agenda.survey()
    return agenda


def test_all_readers_come_ready_when_the_table_is_made_wherever_it_is(to_copy: Tiny) -> None:
    """Its maker's first epoch shows that it is made; nobody looks for it in this store, where a cluster has none."""
    first, *others = three_readers(to_copy)
    executor = NoTable()
    with pytest.raises(RunsFailed, match="4 of 4 runs"):
        train_phases(to_copy.study, to_copy.workspace, ["select"], executor)
    made = executor.trained.index(first)
    assert not set(others) & {name_of(job) for job in executor.asked[made]}
    assert set(others) <= {name_of(job) for job in executor.asked[made + 1]}


def test_a_maker_that_ends_without_an_epoch_has_one_follower(to_copy: Tiny) -> None:
    """Another reader makes the table, and the rest wait for that one."""
    first, *others = three_readers(to_copy)
    agenda = candidates_of(to_copy)
    for maker, waiting in ((first, others), (others[0], others[1:])):
        (job,) = [job for job in agenda.ready if name_of(job) == maker]
        assert not set(waiting) & {name_of(job) for job in agenda.ready}
        agenda.ready.remove(job)
        agenda.past_table(job, ended=True)
    assert [name_of(job) for job in agenda.ready if "logit" in job.spec.name] == others[1:]


def test_a_tables_maker_is_as_urgent_as_the_longest_that_waits_for_it(to_copy: Tiny) -> None:
    """A short run that makes what long ones read goes before those that it would follow by itself."""
    to_copy.edit(TWO_TEACHERS, TWO_TEACHERS.replace("\n", "\n  - {teacher: resnet34, student: resnet34}\n"))
    to_copy.edit("baselines: [resnet18]", "baselines: [resnet18, resnet34]")
    train(to_copy, "teachers")
    agenda = candidates_of(to_copy)
    order = [job.spec.name.removesuffix("-t0-s0") for job in agenda.ready]
    assert order == ["resnet34-resnet34-feature-a0.5", "resnet34-resnet18-logit-a0.3-T2", FEATURE]
    maker, short = agenda.ready[1:]
    assert training_flops(maker.spec) < training_flops(short.spec)


def test_phase_after_phase_gives_the_same_bits(first_training: tuple[Tiny, InProcess], untrained: Tiny) -> None:
    """As the pipeline's stages train: the same weights in every run as all in one pool."""
    for phase in PHASES:
        order = train(untrained, phase)
        assert {name.partition("/")[0] for name in order} == {phase}
        assert len(order) == TRAININGS[phase]
    found = digests(untrained)
    with contextlib.chdir(first_training[0].root):
        assert found == digests(first_training[0])
    assert len(set(found.values())) == len(found) == 11


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
        train(to_copy, "select", fails=(failing, f"{FEATURE}-t0-s0"))
    summary, *reasons = str(error.value).splitlines()
    assert summary.startswith("2 of 3 runs of select")
    assert "other 1 are done" in summary
    assert sorted(reasons) == [
        f"  runs/tiny/select/{FEATURE}-t0-s0: this run was told to fail",
        f"  runs/tiny/select/{failing}: this run was told to fail",
    ]
    assert [path.name for path in Path("runs/tiny/select").iterdir()] == ["resnet34-resnet18-logit-a0.7-T2-t0-s0"]
    assert not to_copy.workspace.selected.exists()
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
    with pytest.raises(
        EnvironmentProblem, match=r"disk full on here \(runs/tiny has [\d,]+ MB free\); all that was whole"
    ):
        train_phases(to_copy.study, to_copy.workspace, ["select"], OnFullDisk())
    assert not Path("runs/tiny/.failed").exists()
    assert len(train(to_copy, "teachers", "select")) == TRAININGS["select"]


class Slow(InProcess):
    """Two workers or more, of which one is at work on slow runs, in turn, until nothing else is left to do.

    Args:
        slow: PHASE/NAME of runs that are started as they come, and end last.
        fails: As of `InProcess`.
    """

    def __init__(self, slow: Iterable[str], fails: Iterable[str] = ()) -> None:
        super().__init__(fails)
        self.slow, self.ended = set(slow), list[str]()

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `harness.execute.job.Executor`."""
        at_work: list[Job] = []
        while ready or at_work:
            fast = [job for job in ready if name_of(job) not in self.slow]
            at_work += [job for job in ready if name_of(job) in self.slow]
            ready[:] = fast[1:]
            job = (fast or at_work)[0]
            if not fast:
                at_work.remove(job)
            self.ended.append(name_of(job))
            yield Done(job, self._end(job, on_epoch, say), "a node", 2.5)


def name_of(job: Job) -> str:
    """PHASE/NAME of a run."""
    return f"{job.folder.parent.name}/{job.folder.name}"


TWO_TEACHERS = "  - {teacher: resnet34, student: resnet18}\nselection"


def test_a_student_does_not_wait_for_other_teachers(untrained: Tiny) -> None:
    """While a slow teacher trains, a fast one's students are searched for, chosen and trained to the last."""
    untrained.edit("architectures: [resnet34]", "architectures: [resnet34, resnet18]")
    untrained.edit(TWO_TEACHERS, TWO_TEACHERS.replace("\n", "\n  - {teacher: resnet18, student: resnet18}\n"))
    executor = Slow(["teachers/resnet34-none-s0"])
    train_phases(untrained.study, untrained.workspace, PHASES, executor)
    order = executor.ended
    slow = order.index("teachers/resnet34-none-s0")
    of_fast = [i for i, name in enumerate(order) if "/resnet18-resnet18-" in name]
    of_slow = [i for i, name in enumerate(order) if "/resnet34-resnet18-" in name]
    assert (len(of_fast), len(of_slow)) == (3 + 2, 3 + 2 + 1)
    assert max(of_fast) < slow < min(of_slow)
    assert untrained.workspace.selected.exists()
    assert train(untrained) == []


def test_chosen_runs_do_not_wait_for_other_candidates(untrained: Tiny) -> None:
    """While a candidate of one method trains, the other method's runs are done; the file comes when all are."""
    slow = f"select/{FEATURE}-t0-s0"
    executor = Slow([slow])
    there = []
    original = executor._end

    def end(job: Job, on_epoch: OnEpoch, say: Say) -> str | None:
        there.append((name_of(job), untrained.workspace.selected.exists()))
        return original(job, on_epoch, say)

    executor._end = end  # type: ignore[method-assign] # looks at what is there when each run is trained
    train_phases(untrained.study, untrained.workspace, PHASES, executor)
    order = executor.ended
    chosen = [i for i, name in enumerate(order) if name.startswith("final/resnet34-resnet18-logit-")]
    assert len(chosen) == 1
    assert chosen[0] < order.index(slow) < order.index(f"final/{FEATURE}-t0-s1")
    assert {name for name, selected in there if selected} == {
        f"final/{FEATURE}-t0-s1",
        f"bug_ablation/{FEATURE}-unclipped-t0-s0",
    }


def test_a_failure_stops_only_what_needs_it(untrained: Tiny) -> None:
    """A candidate's: the runs chosen from it, which are told as not started; the same command goes on from there."""
    failing = "resnet34-resnet18-logit-a0.3-T2-t0-s0"
    with pytest.raises(RunsFailed) as error:
        train(untrained, fails=(failing,))
    assert str(error.value).splitlines() == [
        "1 of 11 runs (the other 9 are done and kept, 1 was not started; the same command tries the failed ones "
        "again):",
        f"  runs/tiny/select/{failing}: this run was told to fail",
        "    not started, since they need it: final/resnet34-resnet18-logit-t0-s1",
    ]
    assert not untrained.workspace.selected.exists()
    trained = train(untrained)
    assert trained[0] == f"select/{failing}"
    assert len(trained) == 2
    assert trained[1].startswith("final/resnet34-resnet18-logit-")
    assert untrained.workspace.selected.exists()


def test_a_failed_teacher_stops_all_its_students(untrained: Tiny) -> None:
    """However far behind it they come, each counted once; runs without a teacher are trained."""
    with pytest.raises(RunsFailed) as error:
        train(untrained, fails=("resnet34-none-s0",))
    first, _, lost = str(error.value).splitlines()
    assert first.startswith("1 of 11 runs (the other 4 are done and kept, 6 were not started;")
    assert lost.startswith("    not started, since they need it: select/")
    assert lost.endswith(" and 3 more")


def test_every_end_is_noted(untrained: Tiny) -> None:
    """Which node ran what, for how long and how it ended; the log grows from call to call."""
    executor = Slow([], fails=["resnet18-none-s1"])
    with pytest.raises(RunsFailed):
        train_phases(untrained.study, untrained.workspace, PHASES, executor, cell="resnet18-none")
    train(untrained, "final", cell="resnet18-none")
    with Path("runs/tiny/executions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["run"], row["executor"], row["node"], row["outcome"]) for row in rows] == [
        ("final", "resnet18-none-s0", "Slow", "a node", "done"),
        ("final", "resnet18-none-s1", "Slow", "a node", "failed"),
        ("final", "resnet18-none-s1", "InProcess", "here", "done"),
    ]
    assert [row["seconds"] for row in rows] == ["2.5", "2.5", ""]
    assert all(datetime.fromisoformat(row["ended_utc"]).utcoffset() == timedelta() for row in rows)


def test_jobs_that_a_killed_driver_left_in_a_queue_are_not_met_either(untrained: Tiny) -> None:
    """Their mark is there, and no Slurm that says that they are over: nothing is trained, and the way out is told."""
    mark = untrained.workspace.runs / ".slurm" / "active"
    mark.parent.mkdir(parents=True)
    mark.write_text("kdcap-abc", encoding="utf-8")
    with pytest.raises(EnvironmentProblem, match=r"may still be at work.*scancel --name=kdcap-abc"):
        train(untrained, "teachers")
    assert not list(untrained.workspace.runs.glob("teachers/*"))


def test_two_trainers_do_not_meet(trained: Tiny) -> None:
    """While one is at work, a second is refused before it looks at a run."""
    with Store(trained.workspace.runs).locked(), pytest.raises(EnvironmentProblem, match="at work here"):
        train(trained)
