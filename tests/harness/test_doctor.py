"""`harness doctor`: says what would make a run fail, or its bits differ, and exits with 1 only for the former."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_study import ROOT, Tiny, install
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.planning import overview

TOPICS = [
    "python",
    "locks",
    "torch",
    "threads",
    "device",
    "determinism",
    "bits",
    "allocator",
    "methods",
    "disk",
    "images",
]
NUMPY = importlib.metadata.version("numpy")
TORCH = importlib.metadata.version("torch").split("+")[0]


def doctor(*options: str) -> Result:
    """Run the verb in this process."""
    return CliRunner().invoke(app, ["doctor", *options])


def findings(*options: str, exit_code: int = 0) -> dict[str, dict[str, str]]:
    """What it found, by topic."""
    result = doctor("--json", *options)
    assert result.exit_code == exit_code, result.output
    found = json.loads(result.stdout)
    return {finding["topic"]: finding for finding in found}


def lock(base: str, torch: str = "") -> None:
    """Write locks in the form that `make lock` writes."""
    Path("requirements").mkdir()
    Path("requirements/base.lock").write_text(f"# Made by `make lock`; do not edit.\n{base}")
    Path("requirements/torch-cuda.lock").write_text(f"# Made by `make lock`; do not edit.\n{torch}")


def pin(line: str) -> str:
    """A pin with its digests, as in a lock."""
    return f"{line} \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"


@pytest.mark.usefixtures("untrained")
def test_a_fit_machine_is_looked_over_in_every_topic() -> None:
    """Each finding is ok or a note here, and says what was found; nothing is a problem, so the exit code is 0."""
    found = findings()
    assert list(found) == TOPICS
    for finding in found.values():
        assert set(finding) == {"topic", "status", "found"}
        assert finding["status"] in ("ok", "note")
        assert finding["found"]
    assert found["device"]["found"].startswith("cpu: ")
    assert found["device"]["status"] == "ok"  # the study asks for the CPU
    assert "deterministic_algorithms True" in found["determinism"]["found"]
    assert found["threads"]["found"].startswith("1 a run")
    assert found["methods"]["found"] == "logit, feature are installed and take the grid's hyperparameters"
    assert TORCH in found["torch"]["found"]
    assert found["images"] == {
        "topic": "images",
        "status": "ok",
        "found": "digits come with scikit-learn; nothing to download",
    }


@pytest.mark.usefixtures("untrained")
def test_text_and_json_say_the_same() -> None:
    """A line a finding: status, topic, words."""
    found = findings()
    lines = [line.split(maxsplit=2) for line in doctor().stdout.splitlines()]
    expected = [[finding["status"], topic, finding["found"]] for topic, finding in found.items()]
    assert [line for line in lines if line[1] != "disk"] == [line for line in expected if line[1] != "disk"]


@pytest.mark.usefixtures("untrained")
def test_nothing_is_written(untrained: Tiny) -> None:
    """It looks, and that is all."""
    before = sorted(untrained.root.rglob("*"))
    findings()
    assert sorted(untrained.root.rglob("*")) == before


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untrained")
def test_without_locks_nothing_can_be_compared() -> None:
    """An installed package brings none: a note, not a problem."""
    assert findings()["locks"]["status"] == "note"
    assert "no requirements/" in findings()["locks"]["found"]


@pytest.mark.usefixtures("untrained")
def test_pins_that_are_installed_are_counted() -> None:
    """Digests, comments and pins for other machines do not count; torch's build suffix is no difference."""
    lock(
        pin(f"numpy=={NUMPY}")
        + pin(f"pydantic=={importlib.metadata.version('pydantic')} ; python_version >= '3.8'")
        + pin("pywin32==1.0 ; sys_platform == 'win32'"),
        pin(f"torch=={TORCH}") + pin("nvidia-cublas==0.0.1") + pin("triton==0.0.1 ; sys_platform == 'linux'"),
    )
    found = findings()["locks"]
    assert (found["status"], found["found"]) == ("ok", "all 3 locked packages are installed at their pins")


@pytest.mark.usefixtures("untrained")
def test_a_wrong_pin_is_named() -> None:
    """With the version that is installed and the one that is locked; so is a package that is not there."""
    lock(pin("numpy==0.0.1") + pin("no-such-package==1.2.3"), pin(f"torch=={TORCH}"))
    found = findings()["locks"]
    assert found["status"] == "note"
    assert found["found"] == (
        f"2 of 3 packages differ from the locks: numpy {NUMPY} (locked 0.0.1), no-such-package missing (locked 1.2.3)"
    )


@pytest.mark.usefixtures("untrained")
def test_a_wrong_pin_among_the_shipped_ones_is_named() -> None:
    """The real locks are read line by line; their first pin, changed to a version that never was, is named first."""
    shutil.copytree(ROOT / "requirements", "requirements")
    path = Path("requirements/base.lock")
    name, version = re.findall(r"^(\S+)==(\S+)", path.read_text(), flags=re.MULTILINE)[0]
    path.write_text(path.read_text().replace(f"{name}=={version}", f"{name}==0.0.0"))
    found = findings()["locks"]
    assert found["status"] == "note"
    counts = re.match(r"(\d+) of (\d+) packages differ from the locks: ", found["found"])
    assert counts
    assert int(counts[2]) > 50
    assert re.search(rf"locks: {re.escape(name)} \S+ \(locked 0\.0\.0\)", found["found"])


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("gone", ["base.lock", "torch-cuda.lock"])
def test_a_missing_lock_is_a_note(gone: str) -> None:
    """Half of the locks is as good as none."""
    lock(pin(f"numpy=={NUMPY}"))
    Path("requirements", gone).unlink()
    assert findings()["locks"]["status"] == "note"


# --- what must be fixed -----------------------------------------------------------------------------------------------


def test_too_little_disk_is_a_problem(untrained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a whole study needs is what its plan says; full-size networks need far more than tiny ones."""
    free = {"bytes": 0.0}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free["bytes"]))
    for gb_at_least in (0, 0.5):
        planned = sum(overview(untrained.study, untrained.workspace)["disk_gb"].values())
        assert planned > gb_at_least
        free["bytes"] = planned * 0.999e9
        found = findings(exit_code=1)["disk"]
        gb = f"{planned:.1f} GB"
        assert (found["status"], found["found"]) == ("problem", f"{gb} free, {gb} needed for a whole study")
        free["bytes"] = planned * 1.001e9
        assert findings()["disk"]["status"] == "ok"
        if not gb_at_least:
            untrained.edit("model: {width: 8", "model: {width: 64")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "from harness.training.methods.logit import LogitKD\nclass CRD(LogitKD):\n  hyperparameters = ('beta',)\n",
            "method crd: expected the hyperparameters alpha, beta, found alpha, temperature; correct `selection.grid` "
            "in the profile.",
        ),
        (
            "from no_such_package import Memory",
            "method crd cannot be imported (No module named 'no_such_package'); mend its package",
        ),
    ],
)
def test_a_method_that_cannot_run_is_a_problem(
    untrained: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, sentence: str
) -> None:
    """Another package's method that takes other hyperparameters than the grid has, or that misses something."""
    install(tmp_path / "site", "crd", "crd", "kdcap_crd:CRD")
    (tmp_path / "site" / "kdcap_crd.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "kdcap_crd", raising=False)
    untrained.edit("logit: {alpha", "crd: {alpha")
    found = findings(exit_code=1)["methods"]
    assert (found["status"], found["found"]) == ("problem", sentence)


def test_a_study_that_needs_a_gpu(untrained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cuda` without one is a problem; `auto` works on the CPU, with a warning of how long it takes."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    untrained.edit("device: cpu", "device: cuda")
    found = findings(exit_code=1)
    assert found["device"]["status"] == "problem"
    assert list(found) == [topic for topic in TOPICS if topic not in ("determinism", "bits")]  # nothing to configure
    untrained.edit("device: cuda", "device: auto")
    device = findings()["device"]
    assert device["status"] == "note"
    assert "no GPU" in device["found"]


@pytest.mark.usefixtures("untrained")
def test_without_torch_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Analysis, report and verify need none, so its absence is a note."""
    find = importlib.util.find_spec

    def hide(name: str, package: str | None = None) -> Any:  # noqa: ANN401 - a module's spec or None
        return None if name == "torch" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hide)
    found = findings()
    assert list(found) == ["python", "locks", "torch", "disk", "images"]
    assert found["torch"]["status"] == "note"


@pytest.mark.parametrize(("version", "exit_code"), [((3, 10), 1), ((3, 11), 0), ((3, 12), 0), ((3, 13), 1)])
@pytest.mark.usefixtures("untrained")
def test_other_pythons_are_a_problem(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], exit_code: int) -> None:
    """3.11 and 3.12 are what the locks are made for."""
    from harness import doctor as module

    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=version))
    assert findings(exit_code=exit_code)["python"]["status"] == ("problem" if exit_code else "ok")


# --- what bits depend on ----------------------------------------------------------------------------------------------


def test_all_that_bits_depend_on_is_named_in_order(untrained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, device, hardware, libraries; a switch in the environment is a note, since others will not have it."""
    from harness.training import determinism

    for switch in determinism.SWITCHES:
        monkeypatch.delenv(switch, raising=False)
    found = findings()["bits"]
    assert found["status"] == "ok"
    places = [found["found"].index(f"{name} ") for name in ("threads", "precision", "teacher_logits", "device", "cpu")]
    assert places == sorted(places)
    assert f"torch {importlib.metadata.version('torch')}" in found["found"]
    assert found["found"].endswith("; and description, code, images and teacher")
    untrained.edit("threads: 1", "threads: 2")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    found = findings()["bits"]
    assert found["status"] == "note"
    assert "threads 2" in found["found"]
    assert "MKL_CBWR COMPATIBLE" in found["found"]


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("works", "status", "words"), [(True, "ok", "glibc keeps"), (False, "note", "not glibc")])
def test_whether_memory_is_kept(monkeypatch: pytest.MonkeyPatch, works: bool, status: str, words: str) -> None:
    """It changes no bit, so its absence is no problem."""
    from harness.training import allocator

    monkeypatch.setattr(allocator, "keep_memory", lambda: works)
    found = findings()["allocator"]
    assert found["status"] == status
    assert found["found"].startswith(words)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar_is_there_or_will_be_downloaded(untrained: Tiny, name: str, folder: str) -> None:
    """Its absence is a note: training fetches it."""
    untrained.edit(
        "name: digits, train_images: 64, validation_images: 40, test_images: 60", f"name: {name}, validation_images: 40"
    )
    found = findings()["images"]
    assert (found["status"], found["found"]) == ("note", f"{name} will be downloaded to data/")
    Path("data", folder).mkdir(parents=True)
    found = findings()["images"]
    assert (found["status"], found["found"]) == ("ok", f"{name} is in data/")


def test_a_folder_of_images_must_be_there(untrained: Tiny) -> None:
    """Nobody can download it."""
    untrained.edit(
        "name: digits, train_images: 64, validation_images: 40, test_images: 60",
        "name: folder, path: my images, validation_images: 40",
    )
    found = findings(exit_code=1)["images"]
    assert (found["status"], found["found"]) == ("problem", "my images not found")
    Path("my images").mkdir()
    assert findings()["images"]["status"] == "ok"


def test_a_broken_profile_is_no_finding(untrained: Tiny) -> None:
    """It is bad input, as for every other verb."""
    untrained.edit("width: 8", "width: eight")
    assert "`model.width`" in str(doctor().exception)
