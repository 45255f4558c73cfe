"""Run folders: where they are, whether they can be believed, and how one is written whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.errors import EnvironmentProblem, StoreError
from harness.files import sha256_of_file, sync, write_json, write_whole
from harness.store import record as records
from harness.store.code import training_code_sha256
from harness.store.record import RunRecord
from harness.study.plan import Entry
from harness.study.spec import Frozen, RunSpec

State = Literal["done", "stale", "failed", "missing"]


@dataclass(frozen=True)
class Check:
    """Whether a run is at hand.

    Attributes:
        state: `done`; `stale` (there is a folder, but of another spec or code, or damaged); `failed` (there is none,
            because the last try ended with an error); `missing`.
        reason: What is wrong with a stale run, or how a failed one ended, in words.
        record: The record of a run that is done.
    """

    state: State
    reason: str = ""
    record: RunRecord | None = None


class Failure(Frozen):
    """How a run failed: a sentence, or a traceback."""

    error: Annotated[str, Field(min_length=1)]
    spec_sha256: str

    @property
    def words(self) -> str:
        """Its first line; of a traceback, the first line of what was raised."""
        last = self.error.rpartition("Traceback (most recent call last):")[2]
        return next((line for line in last.splitlines() if line.strip() and line[0] != " "), self.error.strip())


class Store:
    """The run folders of one profile: ROOT/PHASE/NAME/.

    Args:
        root: `runs/<profile>`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._weights: dict[tuple[Path, int, int, int], str] = {}

    def folder(self, entry: Entry) -> Path:
        """Folder of an entry's run, in the phase that owns it."""
        return self.root / entry.owner / entry.run.name

    def partial(self, entry: Entry) -> Path:
        """Folder where an entry's run is made, outside the phases' folders so that those hold whole runs only."""
        return self.root / ".partial" / entry.owner / entry.run.name

    @property
    def tables(self) -> Path:
        """Folder of the teachers' tables (see `harness.training.teacher_table`), shared by the runs of all phases."""
        return self.root / ".tables"

    def failed_path(self, entry: Entry) -> Path:
        """Note of how an entry's run failed, outside the phases' folders too."""
        return self.root / ".failed" / entry.owner / f"{entry.run.name}.json"

    def mark(self, entry: Entry, error: str | None) -> None:
        """Note how an entry's run ended: its error, or None for a whole run, which takes an older note away."""
        path = self.failed_path(entry)
        if error is None:
            path.unlink(missing_ok=True)
        else:
            write_json(path, Failure(error=error, spec_sha256=entry.run.sha256).model_dump())

    def teacher_folder(self, spec: RunSpec) -> Path | None:
        """Folder of the teacher's run; None for a run without one."""
        return self.root / "teachers" / spec.teacher.name if spec.teacher else None

    def check(self, entry: Entry) -> Check:
        """Look whether an entry's run is done: identity, code, and every digest, the files' and the record's own."""
        if entry.spec is None:
            return Check("missing", "waits for the selection")
        check = self._check(self.folder(entry), entry.spec)
        failure = None if check.state == "done" else self._failure(entry)
        if failure is None:
            return check
        if check.state == "missing":
            return Check("failed", failure.words)
        return Check("stale", f"{check.reason}; when it was trained again, it failed: {failure.words}")

    def _failure(self, entry: Entry) -> Failure | None:
        """How the last try of this very run failed, if it did."""
        try:
            failure = Failure.model_validate_json(self.failed_path(entry).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # no note, or one that nobody can read
            return None
        return failure if failure.spec_sha256 == entry.run.sha256 else None

    def check_teacher(self, spec: RunSpec) -> Check:
        """The same for the teacher of a distilled run; its folder is `teacher_folder(spec)`."""
        folder = self.teacher_folder(spec)
        if folder is None or spec.teacher is None:
            raise ValueError(f"{spec.name} has no teacher")
        return self._check(folder, spec.teacher)

    def _check(self, folder: Path, spec: RunSpec) -> Check:
        if not folder.exists():
            return Check("missing")
        try:
            record = read(folder)
        except StoreError as error:
            return Check("stale", str(error))
        wrong = self._mismatch(spec, record)
        return Check("stale", wrong) if wrong else Check("done", record=record)

    def _mismatch(self, spec: RunSpec, record: RunRecord) -> str:
        """What a whole record was made for or with that is not so now; empty if nothing."""
        if record.spec != spec:
            return "it was trained for another description"
        if record.code_sha256 != training_code_sha256(spec.method):
            return "it was trained by other training code"
        teacher = self.teacher_folder(spec)
        if teacher is not None and record.teacher is not None:
            weights = self._weights_sha256(teacher)
            if weights is not None and weights != record.teacher.weights_sha256:
                return "its teacher has other weights now"
        return ""

    def _weights_sha256(self, folder: Path) -> str | None:
        """Digest of a teacher's weights, read anew once they are another file or were written to; None without any.

        Thousands of students may share a teacher. Its own check reads every byte.
        """
        path = folder / records.WEIGHTS
        try:
            now = path.stat()
        except FileNotFoundError:
            return None
        key = (path, now.st_ino, now.st_mtime_ns, now.st_size)
        if key not in self._weights:
            self._weights[key] = sha256_of_file(path)
        return self._weights[key]

    @contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[None]:
        """Hold this store alone; the kernel frees the lock when the process ends, however it ends.

        Args:
            shared: Let others hold it in the same way, for whom single runs (`holding`) are enough.

        Raises:
            EnvironmentProblem: Another process holds it; names it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "with some of the runs"
                raise EnvironmentProblem(
                    f"{self.root}: another `harness train` ({holder}) is at work here; wait for it, or end it."
                ) from None
            lock.truncate(0)
            if not shared:
                lock.write(f"process {os.getpid()} on {socket.gethostname()}")
                lock.flush()
            yield

    @contextmanager
    def holding(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Hold the runs of some entries alone: a byte of one file for each, since a process may have few files open.

        Raises:
            EnvironmentProblem: Another process holds one; names it.
        """
        with (self.root / ".runs.lock").open("a") as lock:
            for entry in entries:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(entry.run.sha256[:15], 16))
                except (BlockingIOError, PermissionError):  # lockf(3): either, by system
                    raise EnvironmentProblem(
                        f"{self.folder(entry)}: another `harness train` is at work on this run; wait for it, or end it."
                    ) from None
            yield


def read(folder: Path) -> RunRecord:
    """The record of a run folder, after checking that nothing in it was changed.

    Raises:
        StoreError: A file is missing, damaged or edited; names it.
    """
    path = folder / records.RECORD
    try:
        record = records.parse(path.read_bytes().decode())
    except FileNotFoundError:
        raise StoreError(f"{path} is missing") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path} is not a run record (it is no text)") from None
    except (ValueError, OSError) as error:
        raise StoreError(f"{folder}: {error}") from None
    for name, digest in record.files.items():
        file = folder / name
        try:
            found = sha256_of_file(file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise StoreError(f"{file} is missing") from None
        if found != digest:
            raise StoreError(f"{file} was changed after it was written")
    return record


def commit(partial: Path, folder: Path, files: dict[str, bytes], record: RunRecord) -> None:
    """Turn a finished run into its folder: write beside, then rename, so that there is all of it or nothing.

    Args:
        partial: The run's working folder; removed.
        folder: Its place in the store; a stale run there is replaced.
        files: Contents by name, without the record.
        record: The record, sealed here.
    """
    whole = partial / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    for name, content in files.items():
        write_whole(whole / name, content)
    write_whole(whole / records.RECORD, record.text())
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)
    sync(folder.parent)  # before the checkpoints go: after a power cut there is the run or the way to it
    shutil.rmtree(partial, ignore_errors=True)
