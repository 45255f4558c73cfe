"""The container's entry point, on folders of this machine; tests/image runs it in a real container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import container
from harness.errors import EnvironmentProblem

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A pristine workspace of two files."""
    folder = tmp_path / "template"
    (folder / "profiles").mkdir(parents=True)
    (folder / "params.yaml").write_text("# which\nprofile: quick\n", encoding="utf-8")
    (folder / "profiles" / "quick.yaml").write_text("title: small\n", encoding="utf-8")
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An empty volume."""
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder but the entry point's own."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".kdcap."))
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_an_empty_volume_becomes_the_template(template: Path, volume: Path) -> None:
    """And a second start changes nothing, not even what the user has edited."""
    container.prepare(volume, template, revision="abc")
    assert content(volume) == content(template)
    (volume / "profiles" / "quick.yaml").write_text("title: mine\n", encoding="utf-8")
    container.prepare(volume, template, revision="abc")
    assert content(volume)["profiles/quick.yaml"] == "title: mine\n"


@pytest.mark.parametrize("there", ["data", "lost+found"])
def test_mounted_images_and_a_disk_of_its_own_count_as_empty(template: Path, volume: Path, there: str) -> None:
    """A data folder mounted into the volume, or ext4's own folder, is no foreign workspace."""
    (volume / there).mkdir()
    container.prepare(volume, template, revision="abc")
    assert "params.yaml" in content(volume)


def test_a_folder_of_somebody_else_is_refused_and_stays_as_it_is(template: Path, volume: Path) -> None:
    """A checkout mounted by mistake would be overwritten."""
    (volume / "params.yaml").write_text("mine\n", encoding="utf-8")
    with pytest.raises(EnvironmentProblem, match=r"expected an empty folder or a volume of kdcap, found params.yaml"):
        container.prepare(volume, template, revision="abc")
    assert content(volume) == {"params.yaml": "mine\n"}


def test_filling_that_was_cut_is_done_again(template: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that dies while it fills its volume leaves one that the next can fill."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("harness.container.write_json", full)
        with pytest.raises(OSError, match="No space"):
            container.prepare(volume, template, revision="abc")
    (volume / "params.yaml").write_text("prof", encoding="utf-8")  # as if the cut had come while files were copied
    container.prepare(volume, template, revision="abc")
    assert content(volume) == content(template)


def test_a_volume_of_another_version_is_refused_with_both_names(template: Path, volume: Path) -> None:
    """The sentence says which image made it, which this is, and the three ways out."""
    container.prepare(volume, template, revision="old")
    (template / "profiles" / "quick.yaml").write_text("title: other\n", encoding="utf-8")
    with pytest.raises(EnvironmentProblem, match=r"revision new.*revision old.*KDCAP_ADOPT=1"):
        container.prepare(volume, template, revision="new")
    assert content(volume)["profiles/quick.yaml"] == "title: small\n"


def test_another_revision_with_the_same_files_is_no_other_version(template: Path, volume: Path) -> None:
    """A new README or a rebuilt image must not cost anybody a volume, nor wait for a study at work on it."""
    container.prepare(volume, template, revision="old")
    with container.locked(volume, "dvc repro"):
        container.prepare(volume, template, revision="new")


def interrupted(*_: object) -> None:
    """A cut."""
    raise KeyboardInterrupt


def test_adopting_takes_the_images_files_and_keeps_runs_and_what_users_edit(
    template: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old code is gone, runs and own profiles stay, and what users edit lies aside as it was; a cut is made good."""
    for name in ("dvc.yaml", "harness/old.py"):
        (template / name).parent.mkdir(exist_ok=True)
        (template / name).write_text("of the old image", encoding="utf-8")
    container.prepare(volume, template, revision="old")
    (volume / "runs").mkdir()
    own = {"runs/record.json": "{}", "profiles/mine.yaml": "title: mine\n"}
    for name, text in own.items():
        (volume / name).write_text(text, encoding="utf-8")
    (volume / "profiles" / "quick.yaml").write_text("title: edited\n", encoding="utf-8")
    (template / "harness" / "old.py").rename(template / "harness" / "new.py")
    monkeypatch.setenv("KDCAP_ADOPT", "1")
    with monkeypatch.context() as patched:
        patched.setattr("harness.container.write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            container.prepare(volume, template, revision="new")
    monkeypatch.delenv("KDCAP_ADOPT")
    container.prepare(volume, template, revision="new")
    before = {name: text for name, text in content(volume).items() if name.startswith(container.BEFORE)}
    assert before[f"{container.BEFORE}/profiles/quick.yaml"] == "title: edited\n"
    assert {name: text for name, text in content(volume).items() if name not in before} == content(template) | own


@pytest.mark.parametrize("stamp", ["", "{}", "[]", '{"kdcap": "1"}'])
def test_a_damaged_stamp_is_told_with_the_way_out(template: Path, volume: Path, stamp: str) -> None:
    """And the way out works."""
    container.prepare(volume, template, revision="abc")
    (volume / container.STAMP).write_text(stamp, encoding="utf-8")
    with pytest.raises(EnvironmentProblem, match=r"make an empty file .kdcap.seeding beside it"):
        container.prepare(volume, template, revision="abc")
    (volume / container.SEEDING).touch()
    container.prepare(volume, template, revision="abc")


def test_a_volume_in_use_names_its_holder(volume: Path) -> None:
    """Which container, since when, and what it does; and when that has ended, the volume is free."""
    with (
        container.locked(volume, "dvc repro"),
        pytest.raises(EnvironmentProblem, match=r"in use by container \S+ since .* UTC \(dvc repro\)"),
        container.locked(volume, "dvc status"),
    ):
        pass
    with container.locked(volume, "dvc status"):
        pass


@pytest.mark.parametrize(
    ("mounts", "lasts"),
    [
        ("overlay / overlay rw 0 0\n/dev/sda1 /kdcap ext4 rw 0 0\n", True),
        ("overlay / overlay rw 0 0\n", False),
        ("overlay / overlay rw 0 0\ntmpfs /kdcap tmpfs rw 0 0\n", False),
        ("overlay / overlay rw 0 0\n/dev/sda1 /kdcap/data ext4 rw 0 0\n", False),
    ],
)
def test_only_a_volume_outlives_its_container(mounts: str, lasts: bool) -> None:
    """No mount, or one in memory: a warning that says how to keep results."""
    said = container.dies_with_container(Path("/kdcap"), mounts)
    assert (said is None) == lasts
    assert lasts or "-v kdcap:/kdcap" in str(said)


def test_mounted_images_appear_in_the_data_folder(tmp_path: Path) -> None:
    """A link to each as long as it is mounted; files that are there stay."""
    mounted, data = tmp_path / "mounted", tmp_path / "kdcap" / "data"
    data.parent.mkdir()
    container.link_data(mounted, data)
    assert not data.exists()
    mounted.mkdir()
    (mounted / "cifar-10-python.tar.gz").write_text("archive", encoding="utf-8")
    container.link_data(mounted, data)
    assert (data / "cifar-10-python.tar.gz").read_text(encoding="utf-8") == "archive"
    mounted.rename(tmp_path / "elsewhere")
    container.link_data(mounted, data)
    assert list(data.iterdir()) == []  # through a dangling link a download would be written nowhere
    (data / "cifar-10-python.tar.gz").write_text("downloaded", encoding="utf-8")
    container.link_data(tmp_path / "elsewhere", data)
    assert (data / "cifar-10-python.tar.gz").read_text(encoding="utf-8") == "downloaded"


PLAN = {
    "profile": "paper",
    "title": "The published study",
    "training_count": 111,
    "left": {"trainings": 11, "hours": 2.5, "workers": 1, "basis": "A100 logs"},
}


def test_the_start_says_study_work_left_hours_and_places() -> None:
    """All in two lines; with a third where the study wants a GPU and there is none."""
    said = container.announcement(PLAN, Path("/kdcap"), gpu_missing=False)
    assert "profile paper: The published study" in said
    assert "11 of 111 trainings left, about 2.5 h with 1 at once (by A100 logs)" in said
    assert "/kdcap/runs/paper" in said
    assert "/kdcap/results/paper" in said
    assert "GPU" not in said
    assert "--gpus all" in container.announcement(PLAN, Path("/kdcap"), gpu_missing=True)


def test_a_study_that_is_done_needs_no_gpu_and_no_hours() -> None:
    """Nothing left is said as such."""
    done = PLAN | {"left": {"trainings": 0, "hours": 0.0, "workers": 1, "basis": "the runs done here"}}
    said = container.announcement(done, Path("/kdcap"), gpu_missing=True)
    assert "all 111 trainings are done" in said
    assert "GPU" not in said


def test_an_unknown_command_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`docker run kdcap verify` forgot `harness`; 127 is the shell's code for it."""
    monkeypatch.setattr("sys.argv", ["entry point", "verifyy"])
    with pytest.raises(SystemExit) as end:
        container.main()
    assert end.value.code == 127
    assert capsys.readouterr().err.startswith("error: verifyy: expected a command of the image")


@pytest.mark.parametrize(("ending", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_commands_end_is_the_containers(ending: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit codes pass through, and a signal's is the shell's."""
    monkeypatch.setattr("harness.container.WORKSPACE", Path.cwd())
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own handlers stay
    assert container.supervise(["sh", "-c", ending]) == code


def test_sigterm_reaches_all_and_the_last_word_is_waited_for(tmp_path: Path) -> None:
    """The command ends at once, its own child a moment later, and the supervisor after both."""
    child = 'trap "sleep 0.5; echo child tidied up; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
    script = textwrap.dedent(f"""
        from pathlib import Path
        from harness import container
        container.WORKSPACE = Path({str(tmp_path)!r})
        raise SystemExit(container.supervise(["sh", "-c", {f"sh -c '{child}' & wait"!r}]))
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "child tidied up\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_settings_for_any_user_lie_on_the_volume(tmp_path: Path) -> None:
    """Home and DVC's cache, whatever the id is called; a user's own name stays."""
    found = container.homes(tmp_path, {})
    assert found["USER"] == "kdcap"
    assert all(Path(found[name]).is_relative_to(tmp_path) for name in ("HOME", "DVC_SITE_CACHE_DIR"))
    assert container.homes(tmp_path, {"USER": "me"})["USER"] == "me"


@NOT_ROOT
def test_a_volume_of_another_user_is_told(template: Path, volume: Path) -> None:
    """The sentence names both ids' side of it."""
    volume.chmod(0o555)
    with pytest.raises(EnvironmentProblem, match="can write to"):
        container.prepare(volume, template, revision="abc")


def test_the_stamp_is_plain_json(template: Path, volume: Path) -> None:
    """For people and scripts that ask which image a volume belongs to."""
    container.prepare(volume, template, revision="abc")
    stamp = json.loads((volume / container.STAMP).read_text(encoding="utf-8"))
    assert stamp["revision"] == "abc"
    assert len(stamp["template_sha256"]) == 64
