"""A run on a machine without the store: the same bits, cut or not, and each teacher fetched once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_jobs import Place, carry_out, outcome

from harness.errors import EnvironmentProblem
from harness.execute import elsewhere, worker
from harness.execute.elsewhere import Enclosed, carry_out_elsewhere
from harness.execute.job import Job
from harness.execute.parcel import Parcel, digest_of, pack, receive
from harness.store.store import read
from harness.study.spec import RunSpec

Epochs = Callable[[int, float], None]


class Node:
    """A machine with a scratch folder that remembers how often a teacher was fetched and what was said."""

    def __init__(self, scratch: Path, teacher: Job) -> None:
        self.scratch, self._teacher = scratch, pack(teacher.folder)
        self._name = teacher.spec.name
        self.fetched, self.said = 0, [""][1:]

    def carry_out(self, job: Job, on_epoch: Epochs = lambda *_: None) -> Parcel:
        """Train a job here; its own folders are not at hand."""
        far = Path("/nowhere")
        away = replace(job, teacher=job.teacher and far, partial=far, folder=far, tables=far, downloads=far)
        teacher = Enclosed(self._name, digest_of(self._teacher), self._fetch) if job.teacher else None
        return carry_out_elsewhere(away, self.scratch, "node 7", teacher, None, on_epoch, self.said.append)

    def _fetch(self) -> Parcel:
        self.fetched += 1
        return self._teacher


@pytest.fixture
def node(tmp_path: Path, teacher: Job) -> Node:
    """A machine that has nothing yet."""
    return Node(tmp_path / "scratch", teacher)


@pytest.fixture(scope="module")
def here(student_specs: list[RunSpec], teacher: Job, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """All students, trained by the local executor."""
    place = Place(tmp_path_factory.mktemp("here")).with_teacher(teacher)
    assert set(carry_out([place.job(spec) for spec in student_specs]).values()) == {None}
    return place


def test_it_gives_the_bits_of_the_local_executor(
    node: Node, here: Place, place: Place, student_specs: list[RunSpec]
) -> None:
    """A baseline, and a student of each kind, which share one teacher; of the runs themselves nothing stays behind."""
    for spec in student_specs:
        receive(place.job(spec), node.carry_out(place.job(spec)), "node 7")
        assert outcome(place.job(spec).folder) == outcome(here.job(spec).folder)
    assert node.fetched == 1
    assert [path.name for path in (node.scratch / "runs").iterdir() if not path.name.startswith(".")] == []


def test_a_table_is_made_once_a_node(node: Node, place: Place, student_specs: list[RunSpec]) -> None:
    """The second run of one teacher's logits finds it."""
    logit = student_specs[1]
    for seed in (0, 1):
        node.carry_out(place.job(logit.model_copy(update={"seed": seed})))
    assert len(node.said) == 1
    assert "computing the teacher's logits" in node.said[0]


def test_a_cut_run_goes_on_where_it_was_on_this_node(
    node: Node, here: Place, place: Place, student_specs: list[RunSpec]
) -> None:
    """To the same bits."""
    job = place.job(student_specs[2])

    def cut(epoch: int, _val_acc: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node.carry_out(job, cut)
    receive(job, node.carry_out(job), "node 7")
    assert read(job.folder).resumed_at == (1,)
    assert outcome(job.folder) == outcome(here.job(job.spec).folder)


def test_a_damaged_teacher_on_a_node_is_fetched_again(node: Node, place: Place, student_specs: list[RunSpec]) -> None:
    """Its runs do not fail for it."""
    job = place.job(student_specs[2])
    node.carry_out(job)
    (weights,) = node.scratch.glob("enclosed/*/*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    node.carry_out(job)
    assert node.fetched == 2


def test_a_node_with_other_training_code_trains_nothing(node: Node, place: Place, student_specs: list[RunSpec]) -> None:
    """It says which node, and what to do."""
    job = replace(place.job(student_specs[0]), code_sha256="0" * 64)
    with pytest.raises(EnvironmentProblem, match=r"^node 7: expected the training code .* \(000000000000\), found"):
        node.carry_out(job)
    assert not node.scratch.exists()


def test_images_that_were_sent_are_where_the_run_looks_for_downloads(
    tmp_path: Path, place: Place, student_specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their folder, for every run of the node, fetched once."""
    images, fetched, seen = {"data_batch_1": b"images"}, [], []

    def fetch() -> Parcel:
        fetched.append(1)
        return images

    def look(job: Job, *_: object) -> None:
        seen.append(pack(job.downloads / "cifar-10-batches-py"))
        job.folder.mkdir(parents=True)

    monkeypatch.setattr(worker, "carry_out", look)
    sent = Enclosed("cifar-10-batches-py", digest_of(images), fetch)
    for spec in (student_specs[0], student_specs[3]):
        carry_out_elsewhere(
            place.job(spec), tmp_path / "scratch", "node 7", None, sent, lambda *_: None, lambda _: None
        )
    assert seen == [images, images]
    assert fetched == [1]


def test_scratch_folders_of_two_nodes_on_one_machine_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both in the system's folder for temporary files."""
    monkeypatch.setattr(elsewhere.tempfile, "tempdir", str(tmp_path))
    first, second = (elsewhere.scratch_of(f"127.0.0.{number}") for number in (2, 3))
    assert first != second
    assert tmp_path in first.parents
