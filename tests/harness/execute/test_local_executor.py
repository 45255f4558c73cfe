"""The local executor: the same bits in any order and number, and one run's failure is no other's."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from small_jobs import Place, carry_out, outcome, workers_alive

from harness.execute.job import Job
from harness.execute.local import LocalExecutor, default_workers
from harness.execute.worker import carry_out as carry_out_here
from harness.store.code import training_code_sha256
from harness.store.store import read
from harness.study.spec import Optimisation, RunSpec
from harness.training.data import load
from harness.training.evaluate import predict
from harness.training.models import build

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="module")
def finished(
    student_specs: list[RunSpec], teacher: Job, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, list[tuple[str, int, float]]]:
    """All students, trained two at a time, and what was told along the way. Read it, do not change it."""
    place, told = Place(tmp_path_factory.mktemp("finished")).with_teacher(teacher), []
    ends = carry_out(
        [place.job(spec) for spec in student_specs],
        2,
        lambda job, epoch, val_acc: told.append((job.spec.name, epoch, val_acc)),
    )
    assert set(ends.values()) == {None}
    return place, told


def test_order_and_number_of_workers_change_no_bit(
    finished: tuple[Place, object], place: Place, student_specs: list[RunSpec]
) -> None:
    """Two at once in one order, one after the other in the reverse order: the same files and histories."""
    jobs = [place.job(spec) for spec in student_specs]
    assert set(carry_out(jobs[::-1], 1).values()) == {None}
    for job in jobs:
        found = outcome(job.folder)
        assert found == outcome(finished[0].job(job.spec).folder)
        assert found.keys() >= {"weights.safetensors", "correct_best.bin", "correct_last.bin", "history"}


def test_another_executor_changes_no_bit(
    finished: tuple[Place, object], place: Place, student_specs: list[RunSpec]
) -> None:
    """Carried out in this very process, one after the other, without a server or workers: the same outcome."""
    threads = torch.get_num_threads()
    for spec in student_specs:
        carry_out_here(place.job(spec))
        assert outcome(place.job(spec).folder) == outcome(finished[0].job(spec).folder)
    torch.set_num_threads(threads)


def test_runs_that_learn_from_one_teachers_logits_share_its_table(place: Place, student_specs: list[RunSpec]) -> None:
    """Two at once want it: one makes it, and a damaged one is named, made again, and teaches the same bits."""
    taught = next(spec for spec in student_specs if spec.method == "logit")
    jobs = [place.job(taught), place.job(taught.model_copy(update={"seed": 1}))]
    said: list[str] = []
    assert set(carry_out(jobs, 2, say=lambda _, sentence: said.append(sentence)).values()) == {None}
    (table,) = place.root.glob(".tables/*.safetensors")
    first = outcome(jobs[0].folder)
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)
    shutil.rmtree(jobs[0].folder)
    again: list[str] = []
    assert carry_out(jobs[:1], 1, say=lambda _, sentence: again.append(sentence)) == {taught.name: None}
    assert any(table.name in sentence for sentence in again)
    assert not any("damaged" in sentence for sentence in said)
    assert outcome(jobs[0].folder) == first


def test_different_runs_differ(finished: tuple[Place, object], student_specs: list[RunSpec]) -> None:
    """The comparison above can fail: methods and seeds give other weights and histories."""
    outcomes = [outcome(finished[0].job(spec).folder) for spec in student_specs]
    for one, other in combinations(outcomes, 2):
        assert one["weights.safetensors"] != other["weights.safetensors"]
        assert one["history"] != other["history"]


def test_every_epoch_is_told(finished: tuple[Place, list[tuple[str, int, float]]]) -> None:
    """In order for each run, with the accuracy that its record keeps."""
    place, told = finished
    for name in {name for name, _, _ in told}:
        history = read(place.root / "students" / name).history
        assert [(epoch, val_acc) for run, epoch, val_acc in told if run == name] == [
            (epoch.epoch, epoch.val_acc) for epoch in history
        ]


def test_nothing_of_the_making_is_left(finished: tuple[Place, object]) -> None:
    """Checkpoints are gone; run folders hold weights, correctness of both checkpoints, and the record."""
    assert [path for path in (finished[0].root / ".partial").rglob("*") if path.is_file()] == []
    for folder in (finished[0].root / "students").iterdir():
        names = {path.name for path in folder.iterdir()}
        assert names == {"record.json", "weights.safetensors", "correct_best.bin", "correct_last.bin"}


def test_the_record_tells_what_was_done(finished: tuple[Place, object], student_specs: list[RunSpec]) -> None:
    """Description, code, stack, settings, teacher and openings of the test set."""
    for spec in student_specs:
        record = read(finished[0].job(spec).folder)
        assert record.spec == spec
        assert record.code_sha256 == training_code_sha256()
        assert record.settings["threads"] == 1
        assert record.settings["deterministic_algorithms"] is True
        assert record.stack["device"] == "cpu"
        assert (record.teacher is None) == (record.fidelity is None) == (spec.teacher is None)
        if record.teacher is not None:
            assert record.teacher.run == "resnet34-none-s0"
        assert len(record.history) == len(record.seconds_per_epoch) == spec.epochs
        assert record.test_openings == 2
        assert record.test_images == 100
        assert record.resumed_at == ()


def test_stored_bits_are_those_of_the_stored_weights(
    finished: tuple[Place, object], student_specs: list[RunSpec]
) -> None:
    """One bit a test image, the first image in the highest bit, zeros to fill the last byte."""
    for spec in student_specs:
        folder = finished[0].job(spec).folder
        data = load(spec.dataset, Path("/nonexistent"))
        network = build(spec.architecture, spec.stem, spec.model, 10, "student", 99).eval()
        network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
        data.test.unseal()
        images, labels = data.test.open()
        correct = (
            predict(network, images, data.mean, data.std, torch.device("cpu"), spec.optimisation).argmax(dim=1)
            == labels
        )
        stored = (folder / "correct_best.bin").read_bytes()
        expected = [
            sum(bool(bit) << (7 - place) for place, bit in enumerate(correct[i : i + 8])) for i in range(0, 100, 8)
        ]
        assert list(stored) == expected
        assert read(folder).test_best.accuracy == int(correct.sum()) / 100
        assert int(np.unpackbits(np.frombuffer((folder / "correct_last.bin").read_bytes(), np.uint8)).sum()) == round(
            100 * read(folder).test_last.accuracy
        )


def test_a_damaged_teacher_fails_its_students_alone(place: Place, student_specs: list[RunSpec]) -> None:
    """A sentence that names the file; the baseline beside them is done."""
    baseline, *taught = student_specs[:3]
    weights = place.root / "teachers" / "resnet34-none-s0" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    ends = carry_out([place.job(spec) for spec in (*taught, baseline)])
    assert ends.pop(baseline.name) is None
    assert list(ends.values()) == [f"{weights} was changed after it was written"] * 2
    assert sorted(path.name for path in (place.root / "students").iterdir()) == [baseline.name]


def test_numbers_that_run_away_are_told_in_a_sentence(place: Place, make_spec: MakeSpec) -> None:
    """Not with a traceback; the other run is done."""
    wild, tame = make_spec(optimisation={"lr": 1e30}, seed=7), make_spec()
    ends = carry_out([place.job(wild), place.job(tame)])
    assert ends[tame.name] is None
    assert str(ends[wild.name]).startswith("not finite in epoch 1, step 2 of 2: loss ")
    assert "\n" not in str(ends[wild.name])
    assert not place.job(wild).folder.exists()


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(place: Place, make_spec: MakeSpec) -> None:
    """A full disk or missing rights: the kind of error and the file, no traceback."""
    job = place.job(make_spec())
    job.partial.parent.mkdir(parents=True)
    job.partial.write_text("in the way")
    [error] = carry_out([job]).values()
    assert error == f"NotADirectoryError: [Errno 20] Not a directory: '{job.partial / 'checkpoints'}'"


def test_an_unexpected_error_is_told_with_its_traceback(place: Place, student_specs: list[RunSpec]) -> None:
    """Whoever mends it needs the place where it happened; the other run is done."""
    baseline, taught, *_ = student_specs
    ends = carry_out([replace(place.job(taught), teacher=None), place.job(baseline)])
    assert ends[baseline.name] is None
    assert str(ends[taught.name]).startswith("Traceback")
    wrong = "a distilled run needs its teacher, and a baseline has none"
    assert str(ends[taught.name]).endswith(f"ValueError: {taught.name}: {wrong}\n")


def test_a_killed_run_is_told_and_the_others_go_on(place: Place, make_spec: MakeSpec) -> None:
    """As the kernel does when memory runs out: by its signal; no half-written folder is left."""
    long, short = make_spec(epochs=2000, seed=1), make_spec()
    seen = []

    def kill(job: Job, epoch: int, _: float) -> None:
        if job.spec == long and not seen:
            [worker] = workers_alive()
            seen.append(epoch)
            worker.send_signal(signal.SIGKILL)

    ends = carry_out([place.job(long), place.job(short)], 1, kill)
    assert ends[short.name] is None
    assert ends[long.name] == "its process was killed by SIGKILL (out of memory, perhaps)"
    assert sorted(path.name for path in (place.root / "students").iterdir()) == [short.name]


def test_leaving_early_ends_the_running_jobs(place: Place, make_spec: MakeSpec) -> None:
    """An exception in the middle, as Ctrl-C raises it: it comes through, and no worker is alive afterwards."""
    jobs = [place.job(make_spec(epochs=2000, seed=seed)) for seed in range(2)]
    alive = []

    def interrupt(*_: object) -> None:
        alive.extend(workers_alive())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(LocalExecutor(2).run(jobs, interrupt, lambda *_: None))
    assert len(alive) == 2
    assert not any(process.is_running() and process.status() != "zombie" for process in alive)
    assert workers_alive() == []
    assert not (place.root / "students").exists()


def paint(folder: Path, seed: int) -> None:
    """An ImageFolder of two classes of noise."""
    noise = np.random.default_rng(seed)
    for split, count in (("train", 60), ("test", 5)):
        for label in ("ant", "bee"):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number:02}.png")


def test_a_run_does_not_go_on_with_other_images(place: Place, make_spec: MakeSpec) -> None:
    """Cut, and its images exchanged under the same path: half of it learned from each would be no run at all."""
    images = {"name": "folder", "path": str(place.root / "images"), "test_images": None}
    job = place.job(make_spec(dataset=images, epochs=5))

    def cut(_: Job, epoch: int, __: float) -> None:
        if epoch == 3:  # so the second is saved
            raise KeyboardInterrupt

    paint(place.root / "images", 0)
    with pytest.raises(KeyboardInterrupt):
        list(LocalExecutor(1).run([job], cut, lambda *_: None))
    paint(place.root / "images", 1)
    assert set(carry_out([job]).values()) == {None}
    assert read(job.folder).resumed_at == ()


def test_no_jobs_is_no_work() -> None:
    """An up-to-date phase starts no process."""
    assert list(LocalExecutor(2).run([], lambda *_: None, lambda *_: None)) == []


def test_as_many_workers_as_cores_hold(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores of this process over threads of a run, at least one; one where a GPU may be used."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)

    def workers(**fields: object) -> int:
        optimisation: Optimisation = make_spec(optimisation=fields).optimisation
        return default_workers(optimisation)

    assert workers(threads=1) == 6
    assert workers(threads=4) == 1
    assert workers(threads=2) == 3
    assert workers(threads=16) == 1
    assert workers(device="auto") == 1
