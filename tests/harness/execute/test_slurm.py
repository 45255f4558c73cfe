"""The Slurm executor, with the site's commands played by the test: what is asked of them, and what comes of answers."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from small_jobs import Place

from harness.errors import EnvironmentProblem, StudyError
from harness.execute import slurm, task
from harness.execute.job import Done, Job
from harness.execute.slurm import SlurmExecutor, need_no_jobs, submission
from harness.execute.task import Journal
from harness.study.load import Params, Slurm, load_strict
from harness.study.spec import RunSpec

ROOT = Path(__file__).parents[3]
MakeSpec = Callable[..., RunSpec]
Play = Callable[["Start"], str]  # what a job does when it is started, and its state afterwards


@dataclass
class Start:
    """A job as its node sees it."""

    slurm_id: str
    folder: Path
    number: str

    def tell(self, **line: object) -> None:
        """Add a line to its journal."""
        Journal(self.folder / f"{self.number}.jsonl").tell(line)


@dataclass
class FakeSite:
    """Slurm's commands: each job submitted is started at once, and plays what is next on the list for its number.

    Attributes:
        plays: By job number, what each of its starts does; a job without a list ends well.
        asked: Every command, in order.
        refusals: By command, answers of failing calls that come first.
    """

    plays: dict[str, list[Play]] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    refusals: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str) -> str:
        """Answer a command."""
        if self.refusals.get(words[0]):
            self.asked.append(("refused", *words))
            raise slurm._Refused(self.refusals[words[0]].pop(0))
        self.asked.append(words)
        if words[0] == "squeue":
            return "".join(f"{job}|{state}|node1|None\n" for job, state in self.states.items())
        return self._submit(words) if words[0] == "sbatch" else ""

    def _submit(self, words: tuple[str, ...]) -> str:
        array = str(len(self.arrays))
        folder, *numbers = shlex.split(words[-1])[4:]
        for index, number in enumerate(numbers):
            start = Start(f"{array}_{index}", Path(folder), number)
            play = self.plays[number].pop(0) if self.plays.get(number) else self.well
            self.states[start.slurm_id] = play(start)
        return f"{array}\n"

    def well(self, start: Start) -> str:
        """A job that comes to its end."""
        job = json.loads((start.folder / f"{start.number}.json").read_text(encoding="utf-8"))
        Path(job["folder"]).mkdir(parents=True)
        start.tell(node="node1")
        start.tell(epoch=1, val_acc=0.25)
        start.tell(error=None, seconds=2.5)
        return "COMPLETED"

    @property
    def arrays(self) -> list[list[str]]:
        """Numbers of the jobs of each array submitted."""
        return [shlex.split(words[-1])[5:] for words in self.asked if words[0] == "sbatch"]


@pytest.fixture
def jobs(tmp_path: Path, make_spec: MakeSpec) -> list[Job]:
    """Three jobs."""
    place = Place(tmp_path)
    return [place.job(make_spec(seed=seed)) for seed in range(3)]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """A site that answers at once, and an executor that waits for nothing."""
    site = FakeSite()
    monkeypatch.setattr(slurm, "_slurm", site)
    for name in ("JOURNALS_EVERY_S", "QUEUE_EVERY_S", "LAST_WORDS_S"):
        monkeypatch.setattr(slurm, name, 0.0)
    return site


@dataclass
class Heard:
    """What an executor told along the way."""

    epochs: list[tuple[str, int, float]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def run(self, ready: list[Job], **settings: object) -> Iterator[Done]:
        """The ends of jobs."""
        return SlurmExecutor(Slurm.model_validate(settings)).run(
            ready,
            lambda job, epoch, val_acc: self.epochs.append((job.spec.name, epoch, val_acc)),
            lambda _, sentence: self.sentences.append(sentence),
        )


def dies(start: Start) -> str:
    """A job that ends without a word of its own."""
    start.tell(node="node1")
    (start.folder / f"{start.slurm_id}.log").write_text("a line\nslurmstepd: error: Detected 1 oom_kill event\n")
    return "OUT_OF_MEMORY"


def cut(state: str, epoch: int) -> Play:
    """A job that is cut after an epoch."""

    def play(start: Start) -> str:
        start.tell(node="node1")
        start.tell(epoch=epoch, val_acc=0.5)
        return state

    return play


def refuse(site: FakeSite, command: str, answer: str, times: int) -> None:
    """Let the next calls of a command fail."""
    site.refusals[command] = [answer] * times


def test_jobs_are_arrays_and_their_words_reach_the_caller(site: FakeSite, jobs: list[Job]) -> None:
    """Most urgent first, no more at once than the setting says; epochs, node and time come back; nothing is left."""
    heard = Heard()
    ready = list(jobs)
    ends = list(heard.run(ready, runs_at_once=2))
    assert ready == []
    assert site.arrays == [["0", "1"], ["2"]]
    assert [done.job for done in ends] == jobs
    assert {(done.error, done.node, done.seconds) for done in ends} == {(None, "node1", 2.5)}
    assert heard.epochs == [(job.spec.name, 1, 0.25) for job in jobs]
    assert not jobs[0].tables.with_name(".slurm").exists()


def test_what_comes_ready_later_goes_into_further_arrays(site: FakeSite, jobs: list[Job]) -> None:
    """As students do, whose teacher is done."""
    ready = jobs[:1]
    for done in Heard().run(ready):
        if done.job == jobs[0]:
            ready += jobs[1:]
    assert site.arrays == [["0"], ["1", "2"]]


def test_a_failed_run_is_told_in_its_own_words(site: FakeSite, jobs: list[Job]) -> None:
    """And is no other's failure; its log stays."""

    def fails(start: Start) -> str:
        start.tell(node="node1")
        start.tell(error="loss is nan in epoch 3", seconds=1.0)
        return "COMPLETED"

    site.plays = {"1": [fails]}
    errors = {done.job: done.error for done in Heard().run(list(jobs))}
    assert errors == {jobs[0]: None, jobs[1]: "loss is nan in epoch 3", jobs[2]: None}
    assert len(list(jobs[0].tables.with_name(".slurm").iterdir())) == 1


def test_of_a_job_that_died_state_node_and_log_are_told(site: FakeSite, jobs: list[Job]) -> None:
    """Slurm knows why, and the end of its log says more."""
    site.plays = {"0": [dies]}
    (done,) = Heard().run(jobs[:1])
    assert done.error is not None
    assert done.error.startswith("Slurm ended job 1_0 as OUT_OF_MEMORY on node1; the end of ")
    assert done.error.endswith("1_0.log:\na line\nslurmstepd: error: Detected 1 oom_kill event")


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "TIMEOUT"])
def test_what_slurm_cuts_and_does_not_requeue_is_submitted_again(site: FakeSite, jobs: list[Job], state: str) -> None:
    """With the same job's file and journal, before anything else."""
    site.plays = {"0": [cut(state, epoch=1)]}
    heard = Heard()
    ends = list(heard.run(list(jobs), runs_at_once=1))
    assert [done.error for done in ends] == [None, None, None]
    assert site.arrays == [["0"], ["0"], ["1"], ["2"]]
    assert f"was cut on node1 ({state}) and goes on from its checkpoint" in heard.sentences
    assert "was cut on node1 and goes on on node1" in heard.sentences


def test_a_time_limit_below_an_epoch_is_an_error(site: FakeSite, jobs: list[Job]) -> None:
    """It would be submitted for ever: after a start that got no further, it is told what to change."""
    site.plays = {"0": [cut("TIMEOUT", epoch=2), cut("TIMEOUT", epoch=2)]}
    (done,) = Heard().run(jobs[:1])
    assert len(site.arrays) == 2
    assert done.error is not None
    assert "raise `slurm.minutes`" in done.error


def test_nodes_that_do_not_share_the_folder_are_told(site: FakeSite, jobs: list[Job]) -> None:
    """One sentence for all jobs, which are ended."""
    site.plays = {"0": [lambda _: "FAILED"]}
    with pytest.raises(EnvironmentProblem, match=r"1_0 as FAILED on node1, .*expected all nodes to share"):
        list(Heard().run(jobs[:1]))
    assert site.asked[-1][0] == "scancel"


def test_a_whole_run_that_is_not_seen_here_is_an_error(site: FakeSite, jobs: list[Job]) -> None:
    """It ended well on its node, and yet there is no folder: another disk, perhaps."""

    def unseen(start: Start) -> str:
        start.tell(node="node1")
        start.tell(error=None, seconds=1.0)
        return "COMPLETED"

    site.plays = {"0": [unseen]}
    (done,) = Heard().run(jobs[:1])
    assert done.error == f"it ended well on node1, but {jobs[0].folder} is not to be seen from here"


def test_a_job_that_slurm_has_forgotten_is_an_error(site: FakeSite, jobs: list[Job]) -> None:
    """Slurm keeps jobs that are over for minutes only; one that told its end needs it no more."""
    site.plays = {"0": [cut("RUNNING", epoch=1)]}
    ends = Heard().run(jobs[:2])
    assert next(ends).error is None
    site.states.clear()
    assert next(ends).error == "Slurm knows nothing more of job 1_0"


def test_leaving_early_ends_the_jobs_and_a_new_driver_ends_what_is_left(site: FakeSite, jobs: list[Job]) -> None:
    """By their name, which depends on the run folders alone; nothing is submitted before the old ones are over."""
    site.plays = {"1": [cut("RUNNING", epoch=1)]}
    ends = Heard().run(jobs[:2])
    next(ends)
    ends.close()  # type: ignore[attr-defined] # a generator
    assert site.asked[-1][0] == "scancel"
    name = site.asked[-1][1]
    site.states["7_0"] = "COMPLETING"
    states = iter(["COMPLETING", "COMPLETED"])
    before = len(site.asked)

    def slowly(*words: str) -> str:
        if words[0] == "squeue":
            site.states["7_0"] = site.states["1_1"] = next(states, "COMPLETED")
        return site(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "_slurm", slowly)
        list(Heard().run(jobs[2:]))
    assert [words[0] for words in site.asked[before : before + 4]] == ["scancel", "squeue", "squeue", "sbatch"]
    assert site.asked[before][1] == name


def test_a_second_driver_of_a_profile_is_refused(site: FakeSite, jobs: list[Job]) -> None:
    """Jobs' name and files are one driver's, also where two train other runs; the first one's end lets others in."""
    first = Heard().run(jobs[:2])
    next(first)
    asked = list(site.asked)
    with pytest.raises(EnvironmentProblem, match="another `harness train --executor slurm` is at work here"):
        next(Heard().run(jobs[2:]))
    assert site.asked == asked
    assert [done.error for done in first] == [None]
    assert [done.error for done in Heard().run(jobs[2:])] == [None]


def test_what_a_killed_driver_has_left_keeps_other_executors_out(site: FakeSite, jobs: list[Job]) -> None:
    """Both would train the same runs, until Slurm says that its jobs are over; without an answer it stays so."""
    site.plays = {"1": [cut("RUNNING", epoch=1)]}
    ends = Heard().run(jobs[:2])
    next(ends)
    ends.close()  # type: ignore[attr-defined] # a generator; what it asks Slurm at its end changes nothing here
    runs = jobs[0].tables.parent
    sentence = r"may still be at work.*the same command again.*`scancel --name=kdcap-\w+` and remove .*/\.slurm/active"
    with pytest.raises(EnvironmentProblem, match=sentence):
        need_no_jobs(runs)
    site.refusals = {"squeue": ["no controller"]}
    with pytest.raises(EnvironmentProblem, match=sentence):
        need_no_jobs(runs)
    site.states = dict.fromkeys(site.states, "COMPLETED")
    need_no_jobs(runs)


def test_a_driver_that_came_to_its_end_keeps_nobody_out(site: FakeSite, jobs: list[Job]) -> None:
    """Nor does one with failed runs, whose logs stay."""
    site.plays = {"0": [dies]}
    (done,) = Heard().run(jobs[:1])
    assert done.error
    assert jobs[0].tables.with_name(".slurm").exists()
    site.refusals = {"squeue": ["no controller"]}
    need_no_jobs(jobs[0].tables.parent)


def test_files_of_done_jobs_go_at_once_and_a_late_start_trains_nothing(site: FakeSite, jobs: list[Job]) -> None:
    """A study may have a hundred thousand; Slurm may start a job again whose node it lost after the run's end."""
    ends = Heard().run(jobs[:2], runs_at_once=1)
    next(ends)
    (folder,) = (path for path in jobs[0].tables.with_name(".slurm").iterdir() if path.is_dir())
    assert list(folder.iterdir()) == []
    with pytest.raises(SystemExit, match=r"0\.json: expected a job, found none; it is done"):
        task.main(folder, "0")
    assert [done.error for done in ends] == [None]
    assert len(site.arrays) == 2


def test_a_folder_that_nfs_does_not_let_go_of_is_no_failure(
    site: FakeSite, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is about to end has its log open; the runs are done."""

    def refuses(*_: object, **__: object) -> None:
        raise OSError(39, "Directory not empty")

    ends = Heard().run(jobs[:1])
    assert next(ends).error is None
    monkeypatch.setattr(os, "rmdir", refuses)
    assert list(ends) == []
    assert site.asked[-1][0] == "scancel"


def test_a_torn_line_of_a_journal_is_passed_over(site: FakeSite, jobs: list[Job]) -> None:
    """A power cut may leave half a line, or zeros, in the file of a run that goes on."""

    def torn(start: Start) -> str:
        with (start.folder / f"{start.number}.jsonl").open("ab") as journal:
            journal.write(b'{"node":"no\n\0\0\0\0\n7\n{"epo')
        return site.well(start)

    site.plays = {"0": [torn]}
    heard = Heard()
    assert [(done.error, done.node) for done in heard.run(jobs[:1])] == [(None, "node1")]
    assert heard.epochs == [(jobs[0].spec.name, 1, 0.25)]


def test_jobs_that_slurm_refuses_are_an_error_at_first_and_wait_later(
    site: FakeSite, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong setting is told at once; a limit of the queue passes, and is tried once a look at the queue."""
    site.refusals = {"sbatch": ["sbatch: error: invalid partition specified: gpu"]}
    with pytest.raises(EnvironmentProblem, match=r"invalid partition specified: gpu.*`slurm` of params\.yaml"):
        list(Heard().run(jobs[:1]))
    site.refusals = {}
    site.plays = {
        "0": [lambda start: refuse(site, "sbatch", "AssocMaxSubmitJobLimit", 2) or cut("NODE_FAIL", 1)(start)]
    }
    monkeypatch.setattr(slurm, "QUEUE_EVERY_S", 0.05)
    heard = Heard()
    assert {done.error for done in heard.run(list(jobs), runs_at_once=2)} == {None}
    asked = [words[0] for words in site.asked]
    assert (asked.count("sbatch"), asked.count("refused")) == (2, 1 + 2)
    assert {after for before, after in pairwise(asked[4:]) if before == "refused"} == {"squeue"}
    assert sum("AssocMaxSubmitJobLimit" in sentence for sentence in heard.sentences) == 1


def test_a_controller_that_is_away_is_waited_for(
    site: FakeSite, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs go on meanwhile; only after long is it an error, which says what to do."""
    away = "slurm_load_jobs error: Unable to contact slurm controller"
    site.plays = {"0": [lambda start: refuse(site, "squeue", away, 3) or dies(start)]}
    (done,) = Heard().run(jobs[:1])
    assert "OUT_OF_MEMORY" in str(done.error)
    monkeypatch.setattr(slurm, "OUTAGE_S", -1.0)
    site.plays = {"0": [lambda start: refuse(site, "squeue", away, 3) or dies(start)]}
    with pytest.raises(EnvironmentProblem, match=r"Unable to contact slurm controller.*run the same command again"):
        list(Heard().run(jobs[:1]))
    site.refusals = {"squeue": [away]}
    with pytest.raises(EnvironmentProblem, match="Slurm does not answer"):
        list(Heard().run(jobs[:1]))


def test_a_machine_without_slurm_is_told(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence instead of a traceback."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentProblem, match="expected Slurm's command `scancel`, found none"):
        list(Heard().run(jobs))


def test_a_command_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its standard error is the answer."""
    command = tmp_path / "scancel"
    command.write_text("#!/bin/sh\necho 'scancel: error: no controller' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm._Refused, match=r"^scancel: error: no controller$"):
        slurm._slurm("scancel", "--name=x")


def test_the_submission_says_what_a_run_needs(make_spec: MakeSpec) -> None:
    """Threads are the study's; a GPU where it may use one; the rest is the site's block, its own options last."""
    cpu = make_spec(optimisation={"threads": 2}).optimisation
    words = submission(Slurm(), "kdcap-x", Path("/shared/x"), [4, 7], cpu)
    assert words[:4] == ["sbatch", "--parsable", "--job-name=kdcap-x", "--array=0-1"]
    assert {"--cpus-per-task=2", "--requeue", "--output=/shared/x/%A_%a.log", f"--chdir={Path.cwd()}"} < {*words}
    assert not [word for word in words if word.startswith(("--gres", "--partition", "--time"))]
    assert words[-1].endswith(" -m harness.execute.task /shared/x 4 7")
    gpu = make_spec(optimisation={"device": "auto"}).optimisation
    settings = Slurm(partition="a100", minutes=240, gres="gpu:a100:1", options=("--account=ml", "--mem=8G"))
    words = submission(settings, "kdcap-x", Path("/shared/x"), [4], gpu)
    assert {"--gres=gpu:a100:1", "--partition=a100", "--time=240"} < {*words}
    assert words[-3:-1] == ["--account=ml", "--mem=8G"]


def test_the_block_in_params_is_documented_by_its_defaults() -> None:
    """The commented block parses, names every key, and shows the defaults where it says so."""
    assert load_strict(ROOT / "params.yaml", Params).slurm == Slurm()
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").partition("# slurm:\n")[2].splitlines()
    block = yaml.safe_load("\n".join(line.removeprefix("#") for line in lines))
    assert [*block] == [*Slurm.model_fields]
    assert {block[key] == Slurm.model_fields[key].default for key in ("gres", "runs_at_once")} == {True}
    Slurm.model_validate(block)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{minuets: 5}", ["slurm.minuets", "not a key"]),
        ("{minutes: 4h}", ["slurm.minutes", "integer", "4h"]),
        ("{runs_at_once: 5000}", ["slurm.runs_at_once", "1000", "5000"]),
        ("{options: --mem=8G}", ["slurm.options", "--mem=8G"]),
    ],
)
def test_a_mistake_in_the_block_is_a_sentence(tmp_path: Path, block: str, said: list[str]) -> None:
    """It names the key, what is expected and what was found."""
    path = tmp_path / "params.yaml"
    path.write_text(f"profile: quick\nslurm: {block}\n")
    with pytest.raises(StudyError) as error:
        load_strict(path, Params)
    assert all(word in str(error.value) for word in said), error.value
