"""Methods are found by name without importing them, or torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import ROOT, install

from harness.errors import StudyError
from harness.study.methods import GROUP, HYPERPARAMETERS, LOGITS_METHODS, STAGE_BY_STAGE, UNTRAINED_TEACHER, find

SHIPPED = ["attention", "feature", "logit", "random_teacher"]


@pytest.mark.parametrize("name", SHIPPED)
def test_this_packages_methods_are_installed(name: str) -> None:
    """Each is a class in a file of its own name."""
    point = find(name)
    assert (point.name, point.group) == (name, GROUP)
    assert point.module == f"harness.training.methods.{name}"


def test_what_is_known_without_torch_is_what_the_classes_say() -> None:
    """Plans and checks rest on short lists; here they are compared with the code that they speak of."""
    from harness.training.methods.method import method_class

    needs = {name: method_class(name).needs for name in SHIPPED}
    assert sorted(LOGITS_METHODS) == [name for name, what in needs.items() if what == "logits"]
    assert sorted(STAGE_BY_STAGE) == [name for name, what in needs.items() if what == "features"]
    assert {name: tuple(HYPERPARAMETERS[name]) for name in SHIPPED} == {
        name: method_class(name).hyperparameters for name in SHIPPED
    }
    assert len(HYPERPARAMETERS) == len(SHIPPED)
    variants = {name: method_class(name).teacher for name in SHIPPED}
    assert [name for name, variant in variants.items() if variant == "untrained"] == ["random_teacher"]
    assert UNTRAINED_TEACHER == ("random_teacher",)


def test_a_method_of_another_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its announcement alone: its code need not even be there."""
    install(tmp_path, "crd", "crd", "kdcap_crd:CRD")
    monkeypatch.syspath_prepend(tmp_path)
    assert find("crd").value == "kdcap_crd:CRD"
    with pytest.raises(StudyError, match=r"magic: .* found none \(known are attention, crd, feature, logit, random_"):
        find("magic")


def test_two_methods_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is meant cannot be guessed: both are named."""
    for package in ("one", "other"):
        install(tmp_path, package, "crd", f"kdcap_{package}:CRD")
    install(tmp_path, "third", "logit", "kdcap_third:Logit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match=r"method crd: expected one .*, found kdcap_\w+:CRD, kdcap_\w+:CRD \("):
        find("crd")
    with pytest.raises(StudyError, match=r"method logit: .* found (.*LogitKD.*kdcap_third|kdcap_third.*LogitKD)"):
        find("logit")


PLAN = """
import sys
from harness.cli.plan import plan
plan("beyond-width", False, False)
print(sorted({"torch", "torchvision", "sklearn", "pandas"} & set(sys.modules)))
"""


def test_a_plan_needs_no_torch() -> None:
    """Also where methods, networks and costs are looked up: it answers on a machine that cannot train."""
    command = [sys.executable, "-c", PLAN]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
