"""A tiny study, trained once a session; every test gets a copy of its own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
import tiny_study
from tiny_study import InProcess, Tiny

from harness.execute.phase import train_phases
from harness.study.plan import PHASES


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The tiny study before anything is trained; the test works in its folder."""
    tiny = tiny_study.make(tmp_path / "a study")  # a path with a space, as people have
    monkeypatch.chdir(tiny.root)
    return tiny


@pytest.fixture
def to_copy(untrained: Tiny, first_training: tuple[Tiny, InProcess]) -> Tiny:
    """The same, for tests of what is trained and when: its runs are copies of trained ones."""
    return Tiny(untrained.root, first_training[0].root)


@pytest.fixture(scope="session")
def first_training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, InProcess]:
    """The tiny study, trained from nothing in all phases, with its executor. Shared by all tests: read only."""
    tiny = tiny_study.make(tmp_path_factory.mktemp("trained") / "study")
    executor = InProcess()
    with contextlib.chdir(tiny.root):
        train_phases(tiny.study, tiny.workspace, PHASES, executor)
    return tiny, executor


@pytest.fixture
def trained(first_training: tuple[Tiny, InProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A copy of the trained study for one test, which works in its folder and may change what it likes."""
    root = tmp_path / "a study"
    shutil.copytree(first_training[0].root, root)
    monkeypatch.chdir(root)
    return Tiny(root)
