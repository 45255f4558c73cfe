"""`harness train` on a part of the runs, beside others: who holds what, and that all parts together are the whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_study
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import EnvironmentProblem, StudyError
from harness.execute.job import Done, Job
from harness.execute.phase import train_phases
from harness.store.store import Store
from harness.study.load import load_study
from harness.study.plan import Entry, plan
from harness.workspace import Workspace

HOLDER = """
import sys
from harness.store.store import Store
from harness.study.load import load_study
from harness.study.plan import plan
from pathlib import Path
entries = [entry for entry in plan(load_study("tiny"), None) if entry.phase == "teachers"]
store = Store(Path("runs/tiny"))
with store.locked(shared=True), store.holding(entries):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The tiny study, untrained."""
    tiny = tiny_study.make(tmp_path)
    monkeypatch.chdir(tiny.root)
    return tiny.workspace


@contextmanager
def another_holds_the_teachers() -> Iterator[None]:
    """Another process has the runs of the phase `teachers`."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate("")


class Names:
    """An executor that trains nothing and remembers what it was asked for; every run fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, ready: list[Job], *_: Callable[..., None]) -> Iterator[Done]:
        """See `harness.execute.job.Executor`."""
        self.asked += [job.spec.name for job in ready]
        ready.clear()
        yield from ()


def test_all_parts_together_are_the_phase(workspace: Workspace) -> None:
    """Each run is in one part; of more parts than runs some have nothing to do."""
    study = load_study("tiny")
    baselines = Names()
    train_phases(study, workspace, ["teachers"], baselines)
    parts = [Names() for _ in range(3)]
    for number, executor in enumerate(parts):
        train_phases(study, workspace, ["teachers"], executor, part=(number, 3))
    assert sorted(name for each in parts for name in each.asked) == sorted(baselines.asked)
    assert [] in [each.asked for each in parts]


def test_a_run_that_another_process_has_is_refused_and_others_are_not(workspace: Workspace) -> None:
    """Parts are at work beside each other, and nobody has the whole store meanwhile; a process's end frees its runs."""
    study = load_study("tiny")
    store = Store(workspace.runs)
    entries: list[Entry] = list(plan(study, None))
    with another_holds_the_teachers():
        with store.locked(shared=True):
            with store.holding([entry for entry in entries if entry.phase == "select"]):
                pass
            refused = pytest.raises(EnvironmentProblem, match=r"resnet34-none-s0: another .* on this run")
            with refused, store.holding(entries[:1]):
                pass
        with pytest.raises(EnvironmentProblem, match="with some of the runs"), store.locked():
            pass
    with store.locked():
        pass
    with store.locked(shared=True), store.holding(entries[:1]):
        pass


@pytest.mark.parametrize("text", ["8/8", "3", "-1/8", "a/b", "0/0"])
def test_a_part_that_is_none_is_a_sentence(text: str, workspace: Workspace) -> None:  # noqa: ARG001 - to work in
    """It says what a part looks like."""
    result = CliRunner().invoke(app, ["train", "--phase", "teachers", f"--part={text}"])
    assert isinstance(result.exception, StudyError)
    assert "--part: expected K/N" in str(result.exception)
