"""A run as a process that somebody else starts: its job's file, its journal, and what is told of its end."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from small_jobs import Place, outcome

from harness.execute import task
from harness.execute.task import Journal, Superseded, read_lines, write_job
from harness.files import sha256_of_bytes
from harness.store import store
from harness.store.record import CORRECT_BEST
from harness.study.spec import RunSpec
from harness.training import loop


def told(folder: Path) -> list[dict[str, object]]:
    """Every line of the journal of job 0."""
    return read_lines(folder / "0.jsonl", 0)[0]


def test_it_trains_the_job_of_its_file_and_tells_each_epoch(
    tmp_path: Path, place: Place, student_specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student with a teacher: its folder is whole, the journal has node, epochs and end; a second start is idle."""
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    job = place.job(student_specs[1])
    write_job(tmp_path, 0, job)
    task.main(tmp_path, "0")
    first, *rest, last = told(tmp_path)
    assert first == {"node": "node7, GPU 3"}
    assert [line["epoch"] for line in rest if "epoch" in line] == [1, 2, 3]
    assert any("computing the teacher's logits" in str(line["say"]) for line in rest if "say" in line)
    assert last["error"] is None
    assert float(str(last["seconds"])) > 0
    assert outcome(job.folder)["spec"] == job.spec.sha256
    journal = (tmp_path / "0.jsonl").read_bytes()
    task.main(tmp_path, "0")
    assert (tmp_path / "0.jsonl").read_bytes() == journal


def test_other_training_code_on_the_node_is_refused(tmp_path: Path, make_spec: type[RunSpec]) -> None:
    """The node looks at its own code, says so in a sentence, and trains nothing."""
    job = replace(Place(tmp_path).job(make_spec()), code_sha256="0" * 64)
    write_job(tmp_path, 0, job)
    task.main(tmp_path, "0")
    assert "expected the training code of `harness train` (000000000000)" in str(told(tmp_path)[-1]["error"])
    assert not job.folder.exists()


def test_a_process_whose_job_was_started_again_elsewhere_ends(tmp_path: Path) -> None:
    """The newest start owns the journal: an older one may not go on, or two would write one run."""
    older = Journal(tmp_path / "0.jsonl")
    older.tell({"node": "node1"})
    older.tell({"epoch": 1, "val_acc": 0.5})
    newer = Journal(tmp_path / "0.jsonl")
    newer.tell({"node": "node2"})
    with pytest.raises(Superseded):
        older.tell({"epoch": 2, "val_acc": 0.5})
    newer.tell({"epoch": 2, "val_acc": 0.5})
    assert [line.get("node") for line in told(tmp_path)] == ["node1", None, "node2", None]


def test_a_process_that_was_superseded_during_its_test_puts_nothing_into_the_store(
    tmp_path: Path, make_spec: type[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks again right before the run gets its folder, not only as epochs end."""
    finish = loop.Run.finish

    def slowly(run: loop.Run) -> loop.Trained:
        Journal(tmp_path / "0.jsonl").tell({"node": "node2"})
        return finish(run)

    monkeypatch.setattr(loop.Run, "finish", slowly)
    job = Place(tmp_path).job(make_spec())
    write_job(tmp_path, 0, job)
    task.main(tmp_path, "0")
    assert told(tmp_path)[-1] == {"node": "node2"}
    assert not job.folder.exists()


def test_copies_of_one_run_are_compared(
    tmp_path: Path, make_spec: type[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that finds the copy of an earlier one: equal, they are one run; if not, both nodes are named."""
    job = Place(tmp_path).job(make_spec())
    write_job(tmp_path, 0, job)

    def start_again() -> object:
        (tmp_path / "0.jsonl").write_text('{"node":"node1"}\n')  # it was cut off after its run got its folder
        task.main(tmp_path, "0")
        return told(tmp_path)[-1]["error"]

    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    assert start_again() is None  # alone
    assert start_again() is None
    record = store.read(job.folder)
    files = {name: (job.folder / name).read_bytes() for name in record.files}
    files[CORRECT_BEST] = bytes(len(files[CORRECT_BEST]))
    digests = {name: sha256_of_bytes(content) for name, content in files.items()}
    other_code = record.model_copy(update={"files": digests, "code_sha256": "0" * 64})
    store.commit(job.partial, job.folder, files, other_code)
    assert start_again() is None  # no copy of this run
    store.commit(job.partial, job.folder, files, record.model_copy(update={"files": digests}))
    error = str(start_again())
    assert "made twice, on node1 and on node2, and the copies differ in correctness of the best." in error
    assert error.endswith("Neither copy is kept.")
    assert not job.folder.exists()
    assert start_again() is None


def test_a_line_after_half_a_line_begins_on_a_new_one(tmp_path: Path) -> None:
    """A power cut left it; or a full disk, which the same process may outlive."""
    path = tmp_path / "0.jsonl"
    path.write_text('{"epoch":1}\n{"epo')
    journal = Journal(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.tell({"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.tell({"epoch": 3})
    assert read_lines(path, 0) == ([{"epoch": 1}, {"epoch": 3}], path.stat().st_size)
    assert json.loads(path.read_bytes().splitlines()[-1]) == {"epoch": 3}


def test_half_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    """A reader on another machine may come while a line is being written."""
    path = tmp_path / "0.jsonl"
    assert read_lines(path, 0) == ([], 0)
    path.write_text('{"epoch":1}\n{"epo')
    lines, heard = read_lines(path, 0)
    assert (lines, heard) == ([{"epoch": 1}], 12)
    path.write_text('{"epoch":1}\n{"epoch":2}\n')
    assert read_lines(path, heard) == ([{"epoch": 2}], 24)
