"""Jobs of a second each, and ways to look at how they ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.execute.job import Done, Job
from harness.execute.local import LocalExecutor
from harness.files import sha256_of_file
from harness.store.code import training_code_sha256
from harness.store.store import read
from harness.study.spec import RunSpec


@dataclass(frozen=True)
class Place:
    """A folder that jobs work in."""

    root: Path

    def job(self, spec: RunSpec) -> Job:
        """The job of a run here, in the folders that a store would give it."""
        return Job(
            spec=spec,
            teacher=self.root / "teachers" / spec.teacher.name if spec.teacher else None,
            partial=self.root / ".partial" / spec.role / spec.name,
            folder=self.root / f"{spec.role}s" / spec.name,
            tables=self.root / ".tables",
            downloads=self.root / "data",
            code_sha256=training_code_sha256(spec.method),
            checkpoint_every_s=0.0,
        )

    def with_teacher(self, job: Job) -> Place:
        """This place with a copy of a finished teacher."""
        shutil.copytree(job.folder, self.root / "teachers" / job.spec.name)
        return self


def carry_out(
    jobs: list[Job],
    workers: int = 2,
    on_epoch: Callable[[Job, int, float], None] = lambda *_: None,
    say: Callable[[Job, str], None] = lambda *_: None,
) -> dict[str, str | None]:
    """What went wrong with each run, by its name; None for one that is done."""
    ends: list[Done] = list(LocalExecutor(workers).run(list(jobs), on_epoch, say))
    assert sorted(done.job.spec.name for done in ends) == sorted(job.spec.name for job in jobs)
    return {done.job.spec.name: done.error for done in ends}


def outcome(folder: Path) -> dict[str, str]:
    """Digests of all that a run folder holds and that must not depend on how the run was carried out."""
    record = read(folder)
    files = {path.name: sha256_of_file(path) for path in folder.iterdir() if path.name != "record.json"}
    return files | {
        "spec": record.spec_sha256,
        "data": record.data_sha256,
        "history": record.history_sha256,
        "last weights": record.last_weights_sha256,
        "test": f"{record.test_best} {record.test_last} {record.fidelity}",
    }


def workers_alive(parent: int | None = None) -> list[psutil.Process]:
    """Processes that train for a parent (this process, if none is named): children of its server of processes."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            found += child.children()
        except psutil.NoSuchProcess:
            continue
    return found
