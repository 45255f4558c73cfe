"""A method in a package of one's own: the documented example, installed as a user would, in a study that uses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.store.store import read
from tests.pipeline.conftest import ROOT, TINY

# The tiny study with one pair and this method alone.
STUDY = yaml.safe_load(TINY) | {
    "teachers": {"architectures": ["resnet18"], "seeds": [0], "distilled_seeds": [0]},
    "baselines": ["resnet18"],
    "pairs": [{"teacher": "resnet18", "student": "resnet18"}],
    "selection": {"seed": 0, "grid": {"similarity": {"alpha": [0.5], "gamma": [3000.0]}}},
    "seeds": [0],
    "stem_ablation": [],
    "bug_ablation": [],
}
RUN = "select/resnet18-resnet18-similarity-a0.5-gamma3000-t0-s0"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip without a network, beside this environment's packages."""
    source = shutil.copytree(ROOT / "examples" / "method", tmp_path_factory.mktemp("source") / "method")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True)
    return target


def harness(workspace: Path, site: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a workspace, with or without the example installed."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, site) if folder is not None)
    return subprocess.run(
        [Path(sys.executable).with_name("harness"), *words],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def workspace(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with that method, its teacher and candidate trained."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "own.yaml").write_text(yaml.safe_dump(STUDY))
    (folder / "params.yaml").write_text("profile: own\n")
    done = harness(folder, site, "train", "--phase", "teachers", "--phase", "select")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def states(workspace: Path, site: Path) -> dict[str, str]:
    """State of every entry that is known, as `harness plan` tells it."""
    answer = harness(workspace, site, "plan", "--json")
    assert answer.returncode == 0, answer.stderr
    return {f"{entry['owner']}/{entry['run']}": entry["state"] for entry in json.loads(answer.stdout)["entries"]}


def test_the_documented_example_trains_from_its_own_package(workspace: Path) -> None:
    """30 lines and an entry point: the run is whole, learns from its loss, and says where the method came from."""
    assert len((ROOT / "examples" / "method" / "kdcap_similarity.py").read_text().splitlines()) <= 30
    record = read(workspace / "runs" / "own" / RUN)
    assert record.method_source == "kdcap-similarity 1.0"
    assert record.spec.hyperparameters == (("alpha", 0.5), ("gamma", 3000.0))
    assert all((epoch.train_kd or 0.0) > 0 for epoch in record.history)
    assert record.fidelity is not None


def test_another_version_of_the_method_makes_its_runs_stale(workspace: Path, site: Path) -> None:
    """The code hash covers the package that a method comes from: its runs are stale, the teacher is not."""
    assert states(workspace, site)[RUN] == "done"
    module = site / "kdcap_similarity.py"
    text = module.read_text()
    module.write_text(text.replace(".square()", ".abs()"))
    try:
        found = states(workspace, site)
    finally:
        module.write_text(text)
    assert found[RUN] == "stale"
    assert found["teachers/resnet18-none-s0"] == "done"


def test_a_method_that_is_not_installed_is_named(workspace: Path) -> None:
    """One sentence: which method, what is known, what to do."""
    answer = harness(workspace, None, "plan")
    assert answer.returncode == 2
    assert "similarity" in answer.stderr
    assert "install" in answer.stderr
    assert "attention, feature, logit, random_teacher" in answer.stderr
    assert "Traceback" not in answer.stderr
