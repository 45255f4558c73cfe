"""A run is believed only when every digest agrees; it is written whole or not at all; one process writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_study import ROOT, Tiny, entry_named, install, plan_of

from harness.errors import EnvironmentProblem, StoreError
from harness.store import record as records
from harness.store import store as store_module
from harness.store.code import training_code_sha256
from harness.store.store import Check, Store, commit, read
from harness.study.plan import Entry, plan

FILES = {"record.json", "weights.safetensors", "correct_best.bin", "correct_last.bin"}


@pytest.fixture
def store(trained: Tiny) -> Store:
    """The store of the trained study."""
    return Store(trained.root / trained.workspace.runs)


@pytest.fixture
def student(trained: Tiny) -> Entry:
    """A Feature-KD student: it has everything that a run can have."""
    return entry_named(plan_of(trained), "final", "resnet34-resnet18-feature-a0.5-t0-s1")


def assert_stale(check: Check, *words: str) -> None:
    """The run is there, is not believed, and the reason says why."""
    assert check.state == "stale"
    assert check.record is None
    for word in words:
        assert word in check.reason, f"expected {word!r} in: {check.reason}"


# --- what is believed -------------------------------------------------------------------------------------------------


def test_a_trained_study_is_done(trained: Tiny, store: Store) -> None:
    """Every entry of the plan checks out, with the record of the run that it asked for."""
    for entry in plan_of(trained):
        check = store.check(entry)
        assert (check.state, check.reason) == ("done", "")
        assert check.record is not None
        assert check.record.spec == entry.run
        assert check.record.name == entry.label == store.folder(entry).name


def test_a_folder_holds_its_files_and_no_others(trained: Tiny, store: Store) -> None:
    """Nothing of the making is left, neither here nor in the working folder; phases hold run folders only."""
    for entry in plan_of(trained):
        assert {path.name for path in store.folder(entry).iterdir()} == FILES
    assert not [path for path in (store.root / ".partial").rglob("*") if path.is_file()]
    folders = {path.name for path in store.root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders == {"teachers", "select", "final", "stem_ablation", "bug_ablation"}


def test_a_run_that_waits_for_the_selection_is_missing(untrained: Tiny) -> None:
    """It has no folder yet, and nobody can say which it will be."""
    waiting = entry_named(plan_of(untrained), "final", "resnet34-resnet18-logit-t0-s1")
    check = Store(untrained.workspace.runs).check(waiting)
    assert (check.state, check.reason) == ("missing", "waits for the selection")


def test_a_run_without_folder_is_missing(store: Store, student: Entry) -> None:
    """That is all there is to say."""
    shutil.rmtree(store.folder(student))
    assert store.check(student) == Check("missing")


# --- what is not ------------------------------------------------------------------------------------------------------


def _flip(place: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[place * (len(content) - 1) // 2] ^= 1
        path.write_bytes(content)

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_flip(0), id="first byte"),
        pytest.param(_flip(1), id="middle byte"),
        pytest.param(_flip(2), id="last byte"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"\0"), id="a byte more"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="a byte less"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "correct_best.bin", "correct_last.bin"])
def test_a_changed_file_is_named(store: Store, student: Entry, name: str, damage: Callable[[Path], object]) -> None:
    """One bit, one byte, or all of it: the run is stale, and the reason says which file."""
    damage(store.folder(student) / name)
    assert_stale(store.check(student), str(store.folder(student) / name))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]), id="cut"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"{}"), id="no record"),
        pytest.param(
            lambda path: path.write_bytes(b"\xff\xfe"),
            id="no text",
        ),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    ],
)
def test_a_damaged_record_is_named(store: Store, student: Entry, damage: Callable[[Path], object]) -> None:
    """Without a record there is no run, whatever else lies in the folder."""
    damage(store.folder(student) / "record.json")
    assert_stale(store.check(student), store.folder(student).name, "record.json")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*path, place))
    else:
        yield path


def _other(value: Any) -> Any:  # noqa: ANN401 - a JSON value that is another one, of the same kind
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * (1 + 2**-50) if value else 2**-50
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return "something"


def test_no_value_of_a_record_can_be_edited(store: Store, student: Entry) -> None:
    """Each of its numbers, words and digests in turn, in the last digit: still JSON, and not believed."""
    text = (store.folder(student) / "record.json").read_text()
    paths = list(_leaves(json.loads(text)))
    assert len(paths) > 100
    for path in paths:
        content = json.loads(text)
        *outer, last = path
        block = content
        for key in outer:
            block = block[key]
        block[last] = _other(block[last])
        with pytest.raises(ValueError, match=r"record\.json (was edited after it was written|is not a run record)"):
            records.parse(json.dumps(content, indent=1) + "\n")
    assert json.dumps(json.loads(text), indent=1) + "\n" == text  # so that it is the value alone that was other
    records.parse(text)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: text + "\n", id="a line more"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="Windows' line ends"),
        pytest.param(lambda text: json.dumps(json.loads(text)), id="one line"),
        pytest.param(lambda text: text.replace(' "name"', '  "name"', 1), id="a space"),
        pytest.param(lambda text: text[: text.index(',\n "record_sha256')] + "\n}\n", id="no digest"),
        pytest.param(lambda text: text.replace('"record_sha256": "', '"record_sha256": "0', 1), id="a digit more"),
    ],
)
def test_not_even_the_layout_of_a_record_can_be_edited(
    store: Store, student: Entry, edit: Callable[[str], str]
) -> None:
    """The digest is that of the text."""
    text = (store.folder(student) / "record.json").read_text()
    with pytest.raises(ValueError, match=r"record\.json was edited after it was written"):
        records.parse(edit(text))


def test_an_edited_accuracy_makes_a_run_stale(store: Store, student: Entry) -> None:
    """The number that one would wish to be better: a valid record, and not believed."""
    path = store.folder(student) / "record.json"
    content = json.loads(path.read_text())
    content["test_best"]["accuracy"] = 0.99
    path.write_text(json.dumps(content))
    assert_stale(store.check(student), str(store.folder(student)), "record.json was edited after it was written")


def test_a_record_takes_no_unknown_key_and_no_other_version(store: Store, student: Entry) -> None:
    """Another version's record is not read as if it were this one's."""
    content = json.loads((store.folder(student) / "record.json").read_text())
    with pytest.raises(ValueError, match=r"comment: "):
        records.parse(json.dumps(content | {"comment": "fine"}))
    with pytest.raises(ValueError, match=r"schema_version: .*kdcap\.run/3"):
        records.parse(json.dumps(content | {"schema_version": "kdcap.run/1"}))


def test_reading_an_unbelievable_run_is_an_error(store: Store, student: Entry) -> None:
    """`read` is what others use for a teacher: it refuses by name."""
    folder = store.folder(student)
    assert read(folder).name == student.label
    _flip(1)(folder / "weights.safetensors")
    with pytest.raises(StoreError, match=r"weights\.safetensors was changed after it was written"):
        read(folder)


def test_another_description_makes_a_run_stale(trained: Tiny, store: Store) -> None:
    """The folder has the right name, and the run in it is another one."""
    trained.edit("{teacher: 2, student: 2}", "{teacher: 2, student: 3}")
    entries = {entry.label: store.check(entry) for entry in plan_of(trained) if entry.spec is not None}
    assert entries["resnet34-none-s0"].state == "done"  # the teacher's epochs are what they were
    assert_stale(entries["resnet18-none-s1"], "another description")


def test_a_run_in_anothers_folder_is_stale(store: Store, trained: Tiny) -> None:
    """Two folders that changed places."""
    one, other = (entry_named(plan_of(trained), "final", f"resnet18-none-s{seed}") for seed in (0, 1))
    store.folder(one).rename(store.root / "aside")
    store.folder(other).rename(store.folder(one))
    (store.root / "aside").rename(store.folder(other))
    assert_stale(store.check(one), "another description")
    assert_stale(store.check(other), "another description")


def test_other_training_code_makes_every_run_stale(
    trained: Tiny, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same description by other code is another run."""
    monkeypatch.setattr(store_module, "training_code_sha256", lambda _: "0" * 64)
    for entry in plan_of(trained):
        assert_stale(store.check(entry), "other training code")


def test_other_code_of_a_method_makes_its_own_runs_stale(
    trained: Tiny, store: Store, student: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method of another package is part of the code of its runs, and of no others."""
    site = tmp_path / "site"
    install(site, "crd", "crd", "kdcap_crd:CRD")
    (site / "kdcap_crd.py").write_text("# one\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(store_module, "training_code_sha256", training_code_sha256.__wrapped__)  # without the cache
    trained.edit("    feature: {alpha: [0.5]}\n", "    feature: {alpha: [0.5]}\n    crd: {alpha: [0.5]}\n")
    entry = entry_named(plan(trained.study, None), "select", "resnet34-resnet18-crd-a0.5-t0-s0")
    files, record = _parts(store, student)
    run = {"name": entry.run.name, "spec": entry.run, "spec_sha256": entry.run.sha256}
    made = record.model_copy(update={**run, "code_sha256": training_code_sha256.__wrapped__("crd")})
    commit(store.partial(entry), store.folder(entry), files, made)
    assert store.check(entry).state == "done"
    (site / "kdcap_crd.py").write_text("# another\n")
    assert_stale(store.check(entry), "other training code")
    assert store.check(student).state == "done"


def test_a_teacher_that_changes_between_two_looks_is_noticed(trained: Tiny, store: Store, student: Entry) -> None:
    """Its weights are not read anew for every student, but once they are written to or replaced."""
    weights = store.folder(entry_named(plan_of(trained), "teachers", "resnet34-none-s0")) / "weights.safetensors"
    content = weights.read_bytes()
    assert store.check(student).state == "done"
    _flip(1)(weights)
    assert_stale(store.check(student), "teacher has other weights")
    weights.unlink()
    weights.write_bytes(content)
    assert store.check(student).state == "done"


def test_weights_of_a_shared_teacher_are_read_once(
    trained: Tiny, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many students it taught, beside the looks at the teacher itself, which stands in an ablation too."""
    teacher = entry_named(plan_of(trained), "teachers", "resnet34-none-s0")
    digested: list[Path] = []
    digest = store_module.sha256_of_file
    monkeypatch.setattr(store_module, "sha256_of_file", lambda path: [digested.append(path), digest(path)][1])
    for entry in plan_of(trained):
        assert store.check(entry).state == "done"
    own = [entry for entry in plan_of(trained) if store.folder(entry) == store.folder(teacher)]
    assert digested.count(store.folder(teacher) / "weights.safetensors") == len(own) + 1


def test_a_changed_teacher_makes_its_students_stale(trained: Tiny, store: Store) -> None:
    """They learned from weights that are no longer there; baselines do not care."""
    teacher = entry_named(plan_of(trained), "teachers", "resnet34-none-s0")
    _flip(1)(store.folder(teacher) / "weights.safetensors")
    for entry in plan_of(trained):
        check = store.check(entry)
        if entry.run.teacher is not None:
            assert_stale(check, "teacher has other weights")
        else:
            assert check.state == ("stale" if entry.run == teacher.run else "done")


# --- what failed ------------------------------------------------------------------------------------------------------


@pytest.fixture
def missing(untrained: Tiny) -> tuple[Store, Entry]:
    """An untrained study's store, and a run of it."""
    return Store(untrained.workspace.runs), entry_named(plan_of(untrained), "final", "resnet18-none-s1")


def test_a_run_that_failed_says_how(missing: tuple[Store, Entry]) -> None:
    """Until it is whole, or is to be another run; of a traceback the last line is what happened."""
    store, entry = missing
    store.mark(entry, "loss is not finite in epoch 3, step 7")
    assert store.failed_path(entry) == store.root / ".failed" / "final" / "resnet18-none-s1.json"
    assert json.loads(store.failed_path(entry).read_text()) == {
        "error": "loss is not finite in epoch 3, step 7",
        "spec_sha256": entry.run.sha256,
    }
    assert store.check(entry) == Check("failed", "loss is not finite in epoch 3, step 7")
    store.mark(entry, "Traceback (most recent call last):\n  File ...\nZeroDivisionError: division by zero\n")
    assert store.check(entry) == Check("failed", "ZeroDivisionError: division by zero")
    other = replace(entry, spec=entry.run.model_copy(update={"epochs": 3}))
    assert store.check(other) == Check("missing")
    store.mark(entry, None)
    assert store.check(entry) == Check("missing")
    assert not store.failed_path(entry).exists()
    store.mark(entry, None)  # what never failed is no different


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"error": "", "spec_sha256": "0"}'])
def test_a_note_that_cannot_be_read_says_nothing(missing: tuple[Store, Entry], content: bytes) -> None:
    """A note is for people: the run is missing, with or without it."""
    store, entry = missing
    store.mark(entry, "an error")
    store.failed_path(entry).write_bytes(content)
    assert store.check(entry) == Check("missing")


def test_a_run_that_is_there_has_not_failed(store: Store, student: Entry) -> None:
    """Done or stale is what its folder says; of a stale one, how training it again failed is told too."""
    store.mark(student, "an error")
    assert store.check(student).state == "done"
    _flip(1)(store.folder(student) / "weights.safetensors")
    assert_stale(store.check(student), "weights.safetensors", "an error")


def test_what_is_no_run_lies_outside_the_phases(missing: tuple[Store, Entry]) -> None:
    """The pipeline tracks the phases' folders: notes, tables and unfinished runs are none of its outputs."""
    store, entry = missing
    for path in (store.failed_path(entry), store.partial(entry), store.tables):
        assert path.relative_to(store.root).parts[0].startswith(".")


# --- writing whole ----------------------------------------------------------------------------------------------------


def _parts(store: Store, entry: Entry) -> tuple[dict[str, bytes], records.RunRecord]:
    folder = store.folder(entry)
    record = read(folder)
    return {name: (folder / name).read_bytes() for name in record.files}, record


@pytest.mark.parametrize("writes", range(4))
def test_a_commit_that_fails_leaves_no_run(
    store: Store, student: Entry, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Whichever file cannot be written: no folder under the final name, and the next try is whole."""
    files, record = _parts(store, student)
    folder = store.folder(student)
    shutil.rmtree(folder)
    done: list[Path] = []

    def write(path: Path, content: str | bytes) -> None:
        if len(done) == writes:
            raise OSError(28, "No space left on device")
        done.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_whole", write)
        with pytest.raises(OSError, match="No space left"):
            commit(store.partial(student), folder, files, record)
    assert not folder.exists()
    assert store.check(student).state == "missing"
    commit(store.partial(student), folder, files, record)
    assert store.check(student).state == "done"
    assert not store.partial(student).exists()


def test_a_commit_that_fails_leaves_the_stale_run_alone(
    store: Store, student: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be replaced goes only when the new run is whole; then all of it goes."""
    files, record = _parts(store, student)
    folder = store.folder(student)
    (folder / "correct_best.bin").write_bytes(b"stale")
    (folder / "left over").write_bytes(b"")

    def refuse(_path: Path, _content: str | bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_whole", refuse)
        with pytest.raises(OSError, match="No space left"):
            commit(store.partial(student), folder, files, record)
    assert (folder / "correct_best.bin").read_bytes() == b"stale"
    commit(store.partial(student), folder, files, record)
    assert {path.name for path in folder.iterdir()} == FILES
    assert store.check(student).state == "done"


COMMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from harness.store import store
from harness.store.store import commit, read
source, partial, folder = (Path(word) for word in sys.argv[1:4])
record = read(source)
files = {name: (source / name).read_bytes() for name in record.files}
write, left = store.write_whole, int(sys.argv[4])
def dying(path, content):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(path, content)
store.write_whole = dying
if left == len(files) + 1:
    Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
commit(partial, folder, files, record)
"""


@pytest.mark.parametrize("writes", [0, 2, 4], ids=["at the first file", "in the middle", "before the rename"])
def test_a_commit_that_is_killed_leaves_no_run(tmp_path: Path, store: Store, student: Entry, writes: int) -> None:
    """SIGKILL, when nothing can be tidied: no folder under the final name, and the next try is whole."""
    source, partial, folder = store.folder(student), tmp_path / "partial", tmp_path / "phase" / student.label
    words = [str(path) for path in (source, partial, folder)]
    killed = subprocess.run([sys.executable, "-c", COMMIT_AND_DIE, *words, str(writes)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not folder.exists()
    files, record = _parts(store, student)
    commit(partial, folder, files, record)
    assert {path.name for path in folder.iterdir()} == FILES
    assert read(folder) == read(source)
    assert not partial.exists()


# --- one writer -------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from harness.store.store import Store
with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store `runs/tiny` in the test's folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "runs")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_is_at_work(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """By its number, and what to do; other stores are free. Killed, however hard, the holder holds nothing."""
    store = Store(tmp_path / "runs")
    with (
        pytest.raises(EnvironmentProblem, match=rf"runs: another .*\(process {holder.pid} on \S+\).* wait for it"),
        store.locked(),
    ):
        pytest.fail("two writers")
    with Store(tmp_path / "other").locked():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with store.locked():
        pass


def test_the_lock_names_its_holder_now(tmp_path: Path) -> None:
    """It is held against the same process too; an earlier holder's number, however long, is gone."""
    store = Store(tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".lock").write_text("4194304999")
    with (
        store.locked(),
        pytest.raises(EnvironmentProblem, match=rf"\(process {os.getpid()} on {socket.gethostname()}\)"),
        Store(tmp_path / "runs").locked(),
    ):
        pytest.fail("two writers")


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    """What went wrong while it was held does not keep others out."""
    store = Store(tmp_path / "runs")
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with store.locked():
        pass


def test_nobody_waits_for_the_lock_to_look(trained: Tiny, store: Store) -> None:
    """Checking runs takes no lock: `harness plan` works beside `harness train`."""
    with store.locked():
        assert store.check(plan_of(trained)[0]).state == "done"
