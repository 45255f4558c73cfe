"""Runs that come back as bytes: believed only when every digest, description, code and teacher is the right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_jobs import Place, carry_out, outcome

from harness.errors import StoreError
from harness.execute.job import Job
from harness.execute.parcel import Copies, Parcel, digest_of, pack, receive, unpack
from harness.store.record import RECORD, WEIGHTS, RunRecord, parse
from harness.store.store import read
from harness.study.spec import RunSpec

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="module")
def made(
    student_specs: list[RunSpec], teacher: Job, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, RunSpec, Parcel]:
    """A student that learned from features, trained on another machine: where, which, and what it sends."""
    place, spec = Place(tmp_path_factory.mktemp("made")).with_teacher(teacher), student_specs[2]
    assert carry_out([place.job(spec)]) == {spec.name: None}
    return place, spec, pack(place.job(spec).folder)


def record_of(parcel: Parcel) -> RunRecord:
    """The record in a parcel."""
    return parse(parcel[RECORD].decode())


def test_a_folder_arrives_as_it_was_sent(tmp_path: Path) -> None:
    """Names and contents; what lay there before goes, and nothing is left beside it."""
    sent = {"a": b"one", "b.bin": bytes(range(256))}
    unpack({"old": b""}, tmp_path / "there")
    unpack(sent, tmp_path / "there")
    assert pack(tmp_path / "there") == sent
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_digest_of_a_parcel_is_of_names_and_contents() -> None:
    """In whichever order they come."""
    parcel = {"a": b"1", "b": b"2"}
    assert digest_of(parcel) == digest_of({"b": b"2", "a": b"1"})
    others: list[Parcel] = [{"a": b"1", "b": b"3"}, {"a": b"2", "b": b"1"}, {"a": b"1", "c": b"2"}, {"a": b"1"}]
    assert len({digest_of(each) for each in [parcel, *others]}) == 5


@pytest.mark.parametrize("name", ["../a", "a/b", "/a", "..", "."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(StoreError, match="expected names of files"):
        unpack({"good": b"", name: b""}, tmp_path / "there")
    assert not list(tmp_path.iterdir())


def test_a_run_made_elsewhere_enters_the_store_unchanged(made: tuple[Place, RunSpec, Parcel], place: Place) -> None:
    """Every byte of it; a stale run there is replaced, and the working folder goes."""
    job = place.job(made[1])
    unpack({"stale": b""}, job.folder)
    receive(job, made[2], "node 7")
    assert pack(job.folder) == made[2]
    assert outcome(job.folder) == outcome(made[0].job(made[1]).folder)
    assert not job.partial.exists()


@pytest.mark.parametrize("name", [WEIGHTS, "correct_best.bin", RECORD])
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_a_damaged_run_does_not_enter_the_store(
    name: str, how: str, made: tuple[Place, RunSpec, Parcel], place: Place
) -> None:
    """The error names run and node, and what the store held stays."""
    content = made[2][name]
    damaged = {"changed": content[:-3] + b"\0" + content[-2:], "cut": content[:-1], "missing": b""}[how]
    parcel = {key: value for key, value in made[2].items() if key != name}
    if how != "missing":
        parcel[name] = damaged if how == "changed" or name != RECORD else content[:-20]
    job = place.job(made[1])
    unpack({"held": b"before"}, job.folder)
    with pytest.raises(StoreError, match=f"{made[1].name} came back damaged from node 7: .*{name}"):
        receive(job, parcel, "node 7")
    assert pack(job.folder) == {"held": b"before"}


def test_another_run_or_other_code_does_not_enter_the_store(
    made: tuple[Place, RunSpec, Parcel], place: Place, student_specs: list[RunSpec]
) -> None:
    """Whole as it may be."""
    other = place.job(student_specs[0])
    with pytest.raises(StoreError, match="came back from node 7 with another description: expected"):
        receive(other, made[2], "node 7")
    job = place.job(made[1])
    with pytest.raises(StoreError, match="with another training code: expected 000000000000, found"):
        receive(replace(job, code_sha256="0" * 64), made[2], "node 7")
    assert not other.folder.exists()
    assert not job.folder.exists()


def test_a_student_of_another_teacher_does_not_enter_the_store(
    made: tuple[Place, RunSpec, Parcel], place: Place, teacher: Job, make_spec: MakeSpec
) -> None:
    """A teacher that was trained again to other weights while its student was away."""
    elsewhere = Place(place.root / "elsewhere")
    longer = make_spec(role="teacher", architecture="resnet34", epochs=1)
    assert carry_out([elsewhere.job(longer)]) == {longer.name: None}
    job = place.job(made[1])
    assert job.teacher is not None
    unpack(pack(elsewhere.job(longer).folder), job.teacher)
    with pytest.raises(StoreError, match="with another teacher: expected"):
        receive(job, made[2], "node 7")
    assert read(teacher.folder).files[WEIGHTS] != read(job.teacher).files[WEIGHTS]


def test_a_student_of_other_images_than_its_teachers_does_not_enter_the_store(
    made: tuple[Place, RunSpec, Parcel], place: Place
) -> None:
    """A node may have other images under the same path."""
    other = record_of(made[2]).model_copy(update={"data_sha256": "0" * 64})
    job = place.job(made[1])
    with pytest.raises(StoreError, match=r"with another set of images: expected .*, found 000000000000"):
        receive(job, made[2] | {RECORD: other.text().encode()}, "node 7")
    assert not job.folder.exists()


def test_two_copies_of_the_same_bits_are_one_run(made: tuple[Place, RunSpec, Parcel]) -> None:
    """However long each took."""
    first = record_of(made[2])
    copies = Copies(made[1])
    copies.add("node 1", first)
    copies.add("node 2", first.model_copy(update={"seconds": 2 * first.seconds, "resumed_at": (1,)}))
    assert copies.first == ("node 1", first)


@pytest.mark.parametrize(
    ("what", "said"),
    [("weights", "best weights"), ("last_weights_sha256", "last weights"), ("history_sha256", "history")],
)
def test_two_copies_of_other_bits_are_an_error_that_names_both_nodes(
    what: str, said: str, made: tuple[Place, RunSpec, Parcel]
) -> None:
    """And what of the nodes differs too, if anything: other bits are then to be expected."""
    first = record_of(made[2])
    changed = {"files": {**first.files, WEIGHTS: "0" * 64}} if what == "weights" else {what: "0" * 64}
    copies = Copies(made[1])
    copies.add("node 1", first)
    with pytest.raises(
        StoreError, match=f"made twice, on node 1 and on node 2, and the copies differ in {said}.*fault"
    ):
        copies.add("node 2", first.model_copy(update=changed))
    elsewhere = {**first.stack, "cpu": "Another CPU", "python": "3.12.1"}
    with pytest.raises(StoreError, match=r"differ too \(cpu: .* and Another CPU\), so other bits are to be expected"):
        copies.add("node 3", first.model_copy(update={**changed, "stack": elsewhere}))
