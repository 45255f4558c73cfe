"""The code hash: what changes a run's bits changes it, and nothing else does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import ROOT, install

import harness
from harness.errors import EnvironmentProblem, StudyError
from harness.store.code import training_code_sha256

HASH: Callable[..., str] = training_code_sha256.__wrapped__  # without the cache


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this package, which the hash takes for the package itself."""
    folder = tmp_path / "harness"
    shutil.copytree(ROOT / "harness", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(harness, "__file__", str(folder / "__init__.py"))
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_code_hash_covers_the_training_modules_alone(copy: Path) -> None:
    """A byte, a name, a place or a module more in harness/training counts; a new report or verb does not."""
    first = HASH()
    assert first == training_code_sha256()  # the same content in another folder
    (copy / "collect.py").write_text("# another\n")
    (copy / "training" / "notes.txt").write_text("not code")
    assert HASH() == first
    training, seen = copy / "training", [first]
    for old, new in (("losses.py", "losses.py"), ("methods/logit.py", "methods/logit.py"), ("losses.py", "loss.py")):
        (training / new).write_text((training / old).read_text() + "\n")
        seen.append(HASH())
    (training / "methods" / "logit.py").rename(training / "logit.py")
    seen.append(HASH())
    (training / "methods" / "deeper").mkdir()
    (training / "methods" / "deeper" / "extra.py").write_text("")
    seen.append(HASH())
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("method", ["attention", "feature", "logit", "random_teacher"])
def test_this_packages_methods_are_part_of_the_training_code(method: str) -> None:
    """They need no second look: a baseline's code is theirs too."""
    assert HASH(method) == HASH()


BROKEN = "raise RuntimeError('this module must not be imported')\n"


def test_a_method_in_a_file_counts_as_that_file(site: Path) -> None:
    """Its content, and which class it is; neighbours in the same folder are other people's. Nothing is imported."""
    install(site, "crd", "crd", "kdcap_crd:CRD")
    module = site / "kdcap_crd.py"
    module.write_text(BROKEN)
    first = HASH("crd")
    assert first != HASH()
    (site / "other.py").write_text("")
    assert HASH("crd") == first
    (site / "crd-1.0.dist-info" / "entry_points.txt").write_text("[kdcap.methods]\ncrd = kdcap_crd:Other\n")
    second = HASH("crd")
    module.write_text(BROKEN + "# another\n")
    assert len({first, second, HASH("crd"), HASH()}) == 4
    assert "kdcap_crd" not in sys.modules


@pytest.mark.parametrize("namespace", [False, True], ids=["a package", "a package without __init__.py"])
def test_a_method_in_a_package_counts_as_the_whole_package(site: Path, namespace: bool) -> None:
    """Every module, wherever it stands: which of them the loss rests on is not known. Nothing is imported."""
    install(site, "kdcap-lab", "crd", "kdcap_lab.losses.crd:CRD")
    package = site / "kdcap_lab"
    (package / "losses").mkdir(parents=True)
    for module in ("losses/crd.py", "losses/common.py", "data.py") + (() if namespace else ("__init__.py",)):
        (package / module).write_text(BROKEN)
    first, seen = HASH("crd"), {HASH()}
    (package / "data.csv").write_text("no code")
    assert HASH("crd") == first
    for module in ("losses/crd.py", "losses/common.py", "data.py", "new.py"):
        seen.add(HASH("crd"))
        (package / module).write_text(BROKEN + "# another\n")
    seen.add(HASH("crd"))
    assert len(seen) == 6
    assert not [name for name in sys.modules if name.startswith("kdcap_lab")]


def test_the_same_package_elsewhere_has_the_same_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No path of this machine is in it."""
    found = set()
    for place in ("here", "there"):
        site = tmp_path / place
        install(site, "crd", "crd", "kdcap_crd.method:CRD")
        (site / "kdcap_crd").mkdir()
        (site / "kdcap_crd" / "method.py").write_text(BROKEN)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(site)
            found.add(HASH("crd"))
    assert len(found) == 1


def test_a_method_that_is_announced_but_not_there_is_named(site: Path) -> None:
    """Half an installation: the entry point, the package that is missing, and what to do."""
    install(site, "crd", "crd", "kdcap_crd.method:CRD")
    with pytest.raises(EnvironmentProblem, match=r"kdcap_crd\.method:CRD: expected kdcap_crd .* install it again"):
        HASH("crd")
    with pytest.raises(StudyError, match="method magic: expected one installed method"):
        HASH("magic")
