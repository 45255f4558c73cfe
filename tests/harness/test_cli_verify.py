"""`harness verify` and `harness reference freeze` as a user meets them: exit codes, files, words."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.errors import KdcapError, ReferenceProblem
from harness.files import sha256_of_file
from harness.verify.reference import find_reference

PUBLISHED = find_reference("yasar2026-v2").resolve() / "runs.csv"


def harness(*words: str | Path) -> Result:
    """Run a verb in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def shifted(tmp_path: Path) -> Path:
    """The published finals with every accuracy 0.3 pp lower."""
    frame = pd.read_csv(PUBLISHED)
    frame = frame[frame["stage"] == "final"].assign(test_acc_best=lambda runs: runs["test_acc_best"] - 0.003)
    frame.to_csv(tmp_path / "shifted.csv", index=False)
    return tmp_path / "shifted.csv"


def test_a_pass_exits_with_0_and_writes_what_it_says(tmp_path: Path) -> None:
    """The published runs PASS; JSON holds verdict, sentence and the digest of the table judged."""
    target = tmp_path / "verdict.json"
    result = harness("verify", "--runs", PUBLISHED, "--reference", "yasar2026-v2", "--json", target)
    assert result.exit_code == 0, result.output
    verdict = json.loads(target.read_text())
    assert verdict["verdict"] == "PASS"
    assert verdict["runs_sha256"] == sha256_of_file(PUBLISHED)
    assert verdict["sentence"] in " ".join(result.output.split())
    assert "resnet50>resnet34:feature" in result.output


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    """verdict.json holds no time and no path: two runs write the same file."""
    for name in ("a", "b"):
        harness("verify", "--runs", PUBLISHED, "--reference", "yasar2026-v2", "--json", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_fail_exits_with_1_unless_it_is_no_gate(shifted: Path) -> None:
    """The bare command is a gate; --no-gate reports the same verdict and exits with 0."""
    gate = harness("verify", "--runs", shifted, "--reference", "yasar2026-v2")
    assert gate.exit_code == 1
    assert "FAIL against yasar2026-v2" in gate.output
    open_gate = harness("verify", "--runs", shifted, "--reference", "yasar2026-v2", "--no-gate")
    assert open_gate.exit_code == 0
    assert open_gate.output == gate.output


def test_inconclusive_exits_with_3(shifted: Path) -> None:
    """One seed of a cell is no verdict."""
    frame = pd.read_csv(PUBLISHED)
    frame[(frame["stage"] == "final") & (frame["seed"] == 0)].to_csv(shifted, index=False)
    assert harness("verify", "--runs", shifted, "--reference", "yasar2026-v2").exit_code == 3


@pytest.mark.parametrize("gate", [(), ("--no-gate",)])
def test_bad_input_is_refused_with_and_without_gate(shifted: Path, gate: tuple[str, ...]) -> None:
    """A table that must not be compared is an error, not a verdict; the command line exits with 2 for it."""
    frame = pd.read_csv(shifted).assign(dataset="digits")
    frame.to_csv(shifted, index=False)
    result = harness("verify", "--runs", shifted, "--reference", "yasar2026-v2", *gate)
    assert isinstance(result.exception, KdcapError)
    assert "field dataset" in str(result.exception)


def test_a_profile_finds_its_runs_reference_and_verdict_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options the profile says it all, and the verdict lands beside the runs."""
    profiles = Path("profiles/paper.yaml").read_text(), Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("profiles").mkdir()
    Path("profiles/paper.yaml").write_text(profiles[0])
    Path("params.yaml").write_text(profiles[1].replace("quick", "paper"))
    Path("results/paper").mkdir(parents=True)
    Path("results/paper/runs.csv").write_bytes(PUBLISHED.read_bytes())
    result = harness("verify")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("results/paper/verdict.json").read_text())["reference"]["name"] == "yasar2026-v2"


def test_freeze_then_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference frozen here is found by its name here, and its own runs pass."""
    monkeypatch.chdir(tmp_path)
    result = harness("reference", "freeze", "--runs", PUBLISHED, "--name", "mine", "--who", "me")
    assert result.exit_code == 0, result.output
    assert "margin of accuracies 0.4 pp" in result.output
    assert harness("verify", "--runs", PUBLISHED, "--reference", "mine").exit_code == 0


def test_two_ways_to_set_the_margin_are_one_too_many(tmp_path: Path) -> None:
    """--margin and --pass-probability together are refused."""
    result = harness(
        "reference", "freeze", "--runs", PUBLISHED, "--name", "mine", "--out", tmp_path,
        "--margin", "1", "--pass-probability", "0.8",
    )  # fmt: skip
    assert isinstance(result.exception, ReferenceProblem)
    assert not (tmp_path / "mine").exists()


def test_references_are_listed_after_their_digests_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that kdcap ships and those of this folder; one that was edited is named instead."""
    monkeypatch.chdir(tmp_path)
    harness("reference", "freeze", "--runs", PUBLISHED, "--name", "mine", "--who", "me")
    shown = harness("reference", "list").output
    assert "mine: mine" in shown
    assert "yasar2026-v2: ResNet pairs on CIFAR-10" in shown
    assert "cifar10, 10 cells of 50 final runs; margins 0.4 pp (accuracies), 0.2 pp (gains, claims)" in shown
    (tmp_path / "reference/mine/runs.csv").write_text("edited")
    assert isinstance(harness("reference", "list").exception, ReferenceProblem)


@pytest.mark.parametrize("verb", [("verify",), ("reference", "freeze"), ("reference", "list")])
def test_help_teaches(verb: tuple[str, ...]) -> None:
    """Each verb shows an example."""
    result = harness(*verb, "--help")
    assert result.exit_code == 0
    assert f"harness {' '.join(verb)} " in result.output
