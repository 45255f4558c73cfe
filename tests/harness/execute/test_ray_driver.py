"""What the Ray executor makes of lost nodes, late news and refusals: a stand-in plays the cluster, move by move.

`make cluster-test` has a real one; there, no test can make a lost node speak again.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_study
from small_jobs import Place, carry_out, outcome

from harness.errors import EnvironmentProblem, StoreError
from harness.execute.job import Done, Job
from harness.execute.parcel import Parcel, pack
from harness.store import store
from harness.store.record import RECORD, parse
from harness.study.spec import RunSpec

pytest.importorskip("ray", reason="Ray is not installed: requirements/cluster.lock has it")

from ray import exceptions

from harness.execute import ray_cluster
from harness.execute.ray_cluster import ATTEMPTS, _Driver, _Ended, _Node

LOST = exceptions.WorkerCrashedError()


@dataclass
class Move:
    """What becomes of one task that is sent: what it and others tell, then how it ends."""

    tells: list[tuple[int, Any]] = field(default_factory=list)
    ends: _Ended | Exception = field(default_factory=lambda: LOST)


class Stopped(Exception):
    """The stand-in has no moves."""


class Cluster:
    """Stands in for the module `ray`: plays moves in the order in which tasks are sent. Its functions are Ray's."""

    def __init__(self, moves: list[Move], nodes: list[dict[str, float]] | None = None) -> None:
        self.moves, self.told, self.sent, self.cancelled = moves, [(0, "")][1:], [{}][1:], [0][1:]
        self.sizes = nodes or [{"CPU": 1.0}]

    def nodes(self) -> list[dict[str, Any]]:
        """As many as there are sizes."""
        names = ["a" * 56, "b" * 56]
        return [
            {"Alive": True, "NodeID": name, "Resources": size} for name, size in zip(names, self.sizes, strict=False)
        ]

    def get_runtime_context(self) -> SimpleNamespace:
        """Says on which node the driver is."""
        return SimpleNamespace(get_node_id=lambda: "a" * 56)

    def remote(self, thing: Any = None, **_: object) -> Any:  # noqa: ANN401 - as Ray's
        """The task, or the actor that is the mailbox."""
        if thing is None:
            return lambda _task: SimpleNamespace(options=self._task_options)
        mailbox = SimpleNamespace(take=SimpleNamespace(remote=lambda: self.told))
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: mailbox))

    def _task_options(self, **options: object) -> SimpleNamespace:
        def send(*_: object) -> int:
            self.sent.append(options)
            return len(self.sent) - 1

        return SimpleNamespace(remote=send)

    def wait(self, references: list[int], timeout: float) -> tuple[list[int], list[int]]:
        """The task that was sent first ends."""
        assert timeout > 0
        if not self.moves:
            raise Stopped
        self.told = self.moves[references[0]].tells
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:  # noqa: ANN401 - as Ray's
        """What was told, or how a task ended."""
        if isinstance(reference, list):
            return reference
        ends = self.moves[reference].ends
        if isinstance(ends, Exception):
            raise ends
        return ends

    def put(self, value: object) -> object:
        """A reference is the value itself."""
        return value

    def cancel(self, reference: int, *, force: bool) -> None:
        """Remembered."""
        assert force
        self.cancelled.append(reference)


Play = Callable[..., tuple[list[Done], Cluster, list[str]]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Carries out jobs on such a cluster: their ends, the cluster, and what people were told."""

    def playing(
        jobs: list[Job], moves: list[Move], nodes: list[dict[str, float]] | None = None, runs_per_gpu: int = 1
    ) -> tuple[list[Done], Cluster, list[str]]:
        cluster, said = Cluster(moves, nodes), [""][1:]
        monkeypatch.setattr(ray_cluster, "ray", cluster)
        driver = _Driver(runs_per_gpu, lambda *_: None, lambda _, sentence: said.append(sentence))
        return list(driver.carry_out(list(jobs))), cluster, said

    return playing


@pytest.fixture(scope="module")
def made(student_specs: list[RunSpec], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A baseline, trained."""
    job = Place(tmp_path_factory.mktemp("made")).job(student_specs[0])
    assert carry_out([job]) == {job.spec.name: None}
    return job


@pytest.fixture
def job(made: Job, tmp_path: Path) -> Job:
    """The same, not trained here yet."""
    return Place(tmp_path).job(made.spec)


def whole(made: Job) -> _Ended:
    """How its task ends."""
    return _Ended(None, pack(made.folder), 1.5)


def copy_of(made: Job, **changes: object) -> bytes:
    """Its record, as a node tells it; or one of other bits."""
    parcel: Parcel = pack(made.folder)
    return parse(parcel[RECORD].decode()).model_copy(update=changes).text().encode()


def test_a_lost_run_is_sent_again_first_to_its_own_node(play: Play, job: Job, made: Job) -> None:
    """Where its checkpoint is; if it is lost again, anywhere. People are told each time."""
    at = (0, _Node("b" * 56, "node 7"))
    nodes = [{"CPU": 1.0}, {"CPU": 1.0}]
    ends, cluster, said = play([job], [Move([at]), Move([at]), Move([at], whole(made))], nodes)
    assert ends == [Done(job, None, "node 7", 1.5)]
    assert outcome(job.folder) == outcome(made.folder)
    where = [options["scheduling_strategy"] for options in cluster.sent]
    assert (where[0], where[2]) == ("SPREAD", "SPREAD")
    assert (where[1].node_id, where[1].soft) == ("b" * 56, True)
    assert said == [
        f"node 7 or the run's process there was lost (WorkerCrashedError); the run is sent again, attempt {n} of 4."
        for n in (2, 3)
    ]


def test_a_run_that_is_lost_again_and_again_fails(play: Play, job: Job) -> None:
    """It may be what takes nodes with it."""
    ends, cluster, _ = play([job], [Move() for _ in range(ATTEMPTS)])
    assert len(cluster.sent) == ATTEMPTS
    assert ends[0].error is not None
    assert "in 4 attempts of 4; the run may be the cause" in ends[0].error
    assert not job.folder.exists()


def test_a_runs_own_failure_is_its_result(play: Play, job: Job) -> None:
    """It is not tried again."""
    ends, cluster, said = play([job], [Move([(0, _Node("a" * 56, "node 7"))], _Ended("loss is nan", {}, 2.0))])
    assert ends == [Done(job, "loss is nan", "node 7", 2.0)]
    assert len(cluster.sent) == 1
    assert not said


def test_a_damaged_run_folder_is_a_failure(play: Play, job: Job, made: Job) -> None:
    """It does not enter the store."""
    damaged = pack(made.folder) | {"weights.safetensors": b"nothing"}
    ends, _, _ = play([job], [Move([], _Ended(None, damaged, 2.0))])
    assert "came back damaged" in str(ends[0].error)
    assert not job.folder.exists()


def test_a_run_that_cannot_be_written_here_is_a_failure_of_no_node(
    play: Play, job: Job, made: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's disk is full: the words say so, and no node is named for it. The study can go on to its end."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder))

    monkeypatch.setattr(store, "commit", full)
    ends, _, _ = play([job], [Move([(0, _Node("a" * 56, "node 7"))], whole(made))])
    assert [(done.node, done.seconds) for done in ends] == [("", 1.5)]
    assert str(ends[0].error).startswith(f"OSError: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}")


def test_a_second_copy_of_the_same_bits_is_the_same_run(play: Play, job: Job, made: Job) -> None:
    """A node that was lost had ended the run; another has made it again."""
    moves = [
        Move([(0, ("node 1", copy_of(made)))]),
        Move([(0, ("node 2", copy_of(made, seconds=9.0)))], whole(made)),
    ]
    ends, _, _ = play([job], moves)
    assert [done.error for done in ends] == [None]
    assert outcome(job.folder) == outcome(made.folder)


def test_a_second_copy_of_other_bits_fails_the_run(play: Play, job: Job, made: Job) -> None:
    """The error names both nodes, and neither copy enters the store."""
    moves = [
        Move([(0, ("node 1", copy_of(made, last_weights_sha256="0" * 64)))]),
        Move([(0, ("node 2", copy_of(made)))], whole(made)),
    ]
    ends, _, _ = play([job], moves)
    assert "was made twice, on node 1 and on node 2, and the copies differ in last weights" in str(ends[0].error)
    assert not job.folder.exists()


def test_other_bits_that_come_to_light_late_end_the_study(
    play: Play, job: Job, made: Job, make_spec: Callable[..., RunSpec]
) -> None:
    """The first copy is in use by then; the running jobs are ended."""
    later = Place(job.folder.parents[1]).job(make_spec(seed=5))
    moves = [
        Move([(0, ("node 1", copy_of(made)))], whole(made)),
        Move([(0, ("node 2", copy_of(made, history_sha256="0" * 64)))]),
    ]
    with pytest.raises(StoreError, match="on node 1 and on node 2"):
        play([job, later], moves)
    assert ray_cluster.ray.cancelled == [1]


@pytest.mark.parametrize(
    ("device", "nodes", "runs_per_gpu", "num_gpus", "sent"),
    [
        ("cpu", [{"CPU": 4.0, "GPU": 1.0}], 1, 0, 5),
        ("auto", [{"CPU": 4.0}], 2, 0, 5),
        ("auto", [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}], 2, 0.5, 3),
        ("cuda", [{"CPU": 4.0, "GPU": 2.0}], 1, 1, 3),
        ("cuda", [{"CPU": 2.0, "GPU": 2.0}], 4, 0.25, 3),
    ],
)
def test_a_run_takes_its_share_of_a_gpu_where_it_may_use_one(
    device: str,
    nodes: list[dict[str, float]],
    runs_per_gpu: int,
    num_gpus: float,
    sent: int,
    play: Play,
    tmp_path: Path,
    make_spec: Callable[..., RunSpec],
) -> None:
    """And as many are sent at once as nodes hold, and one more."""
    jobs = [Place(tmp_path).job(make_spec(seed=seed, optimisation={"device": device})) for seed in range(8)]
    with pytest.raises(Stopped):
        play(jobs, [], nodes, runs_per_gpu)
    cluster = ray_cluster.ray
    assert len(cluster.sent) == sent
    assert {(options["num_cpus"], options["num_gpus"]) for options in cluster.sent} == {(1, num_gpus)}
    assert len(cluster.cancelled) == sent


def test_a_cluster_that_never_holds_a_run_is_refused(
    play: Play, tmp_path: Path, make_spec: Callable[..., RunSpec]
) -> None:
    """Rather than waited for: too few CPUs, or no GPU."""
    wide = Place(tmp_path).job(make_spec(optimisation={"threads": 4}))
    with pytest.raises(EnvironmentProblem, match="expected a node with 4 CPUs for a run, found 2 CPUs and 0 GPUs;"):
        play([wide], [], [{"CPU": 2.0}])
    on_gpu = Place(tmp_path).job(make_spec(optimisation={"device": "cuda"}))
    with pytest.raises(EnvironmentProblem, match="expected a node with 1 CPUs and a GPU for a run"):
        play([on_gpu], [], [{"CPU": 2.0}])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asked", [True, False])
def test_a_signal_waits_until_it_is_asked_for_or_the_block_ends(number: signal.Signals, asked: bool) -> None:
    """Then its handler does what it always does, and stands again."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before, went_on = signal.signal(number, stop), False
    try:
        with pytest.raises(SystemExit, match=str(128 + number)), ray_cluster._signals_held() as heed:  # noqa: PT012 - what follows the signal is what is tested
            heed()  # nothing has come
            signal.raise_signal(number)
            went_on = True
            if asked:
                heed()
                pytest.fail("it was not heeded")
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert went_on


def test_nodes_are_sent_kdcap_and_the_methods_with_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method of another package, and where its entry point is announced."""
    tiny_study.install(tmp_path, "mine", "mine", "mine_kd.losses:Mine")
    (tmp_path / "mine-1.0.dist-info" / "RECORD").write_text("mine-1.0.dist-info/entry_points.txt,,\n")
    (tmp_path / "mine_kd").mkdir()
    (tmp_path / "mine_kd" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = ray_cluster._modules(["logit", "mine"])
    assert {str(tmp_path / "mine_kd"), str(tmp_path / "mine-1.0.dist-info")} < set(found)
    assert str(Path(ray_cluster.harness.__file__).parent) in found
    assert any(Path(module).name.startswith("kdcap-") for module in found)
