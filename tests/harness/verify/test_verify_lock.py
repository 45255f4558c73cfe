"""dvc.lock held against the disk by a real DVC, in a small repository of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.verify.lock import LockCheck, check_lock
from harness.workspace import Workspace

PIPELINE = """\
vars: [params.yaml]
stages:
  final:
    cmd: >-
      mkdir -p runs/${profile}/final/a results/${profile} && cp input runs/${profile}/final/a/record.json &&
      cp input runs/${profile}/final/a/weights.bin && cp input results/${profile}/runs.csv
    deps: [input]
    outs:
      - runs/${profile}/final: {persist: true}
      - results/${profile}/runs.csv
"""
RECORD, TABLE = Path("runs/tiny/final/a/record.json"), Path("results/tiny/runs.csv")


def dvc(*words: str) -> None:
    """Run DVC here; it must end well."""
    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one stage was run. Shared by all tests: read only."""
    root = tmp_path_factory.mktemp("dvc")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("profile: tiny\n")
    (root / "input").write_text("1\n")
    for words in (["init", "--no-scm"], ["config", "core.analytics", "false"], ["repro"]):
        dvc("--cd", str(root), *words)
    return root


@pytest.fixture
def repository(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one test, which works there."""
    root = tmp_path / "a repository"
    shutil.copytree(reproduced, root)
    monkeypatch.chdir(root)
    return root


def check() -> LockCheck:
    """The check of the profile `tiny`, here."""
    return check_lock(Workspace("tiny"))


@pytest.mark.usefixtures("repository")
def test_untouched_outputs_pass() -> None:
    """Both are counted; nothing is to run again."""
    found = check()
    assert (found.verdict, found.changed, found.to_run_again) == ("PASS", (), ())
    assert "2 of 2 outputs that dvc.lock records of tiny" in found.sentence


@pytest.mark.usefixtures("repository")
def test_another_input_or_command_is_told_and_fails_nothing() -> None:
    """The outputs are still those that were recorded; the stage that `dvc repro` would run again is named."""
    Path("input").write_text("2\n")
    Path("dvc.yaml").write_text(PIPELINE.replace("mkdir -p", "mkdir -p -v"))
    found = check()
    assert (found.verdict, found.changed, found.to_run_again) == ("PASS", (), ("final",))
    assert "`dvc repro` would run again, for other inputs or commands: final." in found.sentence


@pytest.mark.usefixtures("repository")
def test_what_was_edited_added_or_deleted_fails_by_name() -> None:
    """Files by name, also those within a folder that DVC recorded as a whole."""
    TABLE.write_text("2\n")
    RECORD.write_text("2\n")
    (RECORD.parent / "new.json").write_text("2\n")
    (RECORD.parent / "weights.bin").unlink()
    found = check()
    assert found.verdict == "FAIL"
    folder = RECORD.parent.as_posix()
    assert found.changed == (str(TABLE), f"{folder}/new.json", f"{folder}/record.json", f"{folder}/weights.bin")
    assert f"{TABLE}, {folder}/new.json, {folder}/record.json and 1 more" in found.sentence


@pytest.mark.usefixtures("repository")
def test_it_fails_without_the_cache_too() -> None:
    """`dvc status` alone would call both outputs `not in cache`, edited or not; of folders the name is then all."""
    shutil.rmtree(".dvc/cache")
    TABLE.unlink()
    RECORD.write_text("2\n")
    found = check()
    assert (found.verdict, found.changed) == ("FAIL", (str(TABLE), "runs/tiny/final"))


@pytest.mark.usefixtures("repository")
def test_a_folder_that_is_gone_is_named_once() -> None:
    """Not each file that was in it."""
    shutil.rmtree("runs/tiny/final")
    assert check().changed == ("runs/tiny/final",)


# --- not checked ------------------------------------------------------------------------------------------------------


def assert_not_checked(found: LockCheck, reason: str) -> None:
    """It says so with this reason, in one line."""
    assert (found.verdict, found.changed, found.to_run_again) == ("NOT CHECKED", (), ())
    assert reason in found.sentence
    assert "\n" not in found.sentence


@pytest.mark.usefixtures("repository")
def test_without_a_lock_file() -> None:
    """Nothing was recorded."""
    Path("dvc.lock").unlink()
    assert_not_checked(check(), "there is no dvc.lock here")


@pytest.mark.usefixtures("repository")
def test_outside_a_dvc_repository() -> None:
    """A lock file alone is no repository."""
    shutil.rmtree(".dvc")
    assert_not_checked(check(), "`dvc status` says: you are not inside of a DVC repository")


@pytest.mark.usefixtures("repository")
def test_while_another_dvc_holds_the_repository() -> None:
    """DVC waits some seconds, and gives up."""
    with Path(".dvc/tmp/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_not_checked(check(), "Unable to acquire lock")


def test_while_a_stage_is_running(repository: Path) -> None:
    """`dvc repro` lets others look meanwhile, but what it makes is half-made: that is no edit."""
    writing = {"write": {str(repository / "runs/tiny/final"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    Path(".dvc/tmp/rwlock").write_text(json.dumps(writing))
    RECORD.write_text("2\n")
    assert_not_checked(check(), f"is busy, it is being blocked by: (PID {os.getpid()}): dvc repro")


@pytest.mark.usefixtures("repository")
def test_a_profile_that_dvc_does_not_look_after() -> None:
    """Its outputs stand in dvc.lock, but dvc.yaml speaks of another profile's: no PASS on what nobody looked at."""
    Path("params.yaml").write_text("profile: other\n")
    TABLE.write_text("2\n")
    assert_not_checked(check(), "params.yaml names another profile")
