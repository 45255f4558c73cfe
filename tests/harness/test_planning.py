"""`harness plan`: what is done, stale and missing, and the time left; text and JSON say the same."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_study import ENTRIES, ROOT, TRAININGS, Tiny, tree
from typer.testing import CliRunner

from harness import planning
from harness.cli import app
from harness.planning import overview
from harness.study.load import load_study
from harness.study.plan import PHASES
from harness.workspace import Workspace


def shown(*options: str) -> str:
    """What `harness plan` prints."""
    result = CliRunner().invoke(app, ["plan", *options])
    assert result.exit_code == 0, result.output
    return result.output


def shown_json(*options: str) -> dict[str, Any]:
    """What `harness plan --json` prints."""
    content = json.loads(shown("--json", *options))
    assert isinstance(content, dict)
    return content


def states(content: dict[str, Any]) -> dict[str, Counter[str]]:
    """How many entries of each phase are in which state."""
    return {
        phase: Counter(row["state"] for row in content["entries"] if row["phase"] == phase)
        for phase in dict.fromkeys(row["phase"] for row in content["entries"])
    }


@pytest.mark.usefixtures("untrained")
def test_an_untrained_study_is_all_missing() -> None:
    """Every entry stands there before anything is trained; what waits for the selection says so."""
    content = shown_json()
    assert states(content) == {phase: Counter(missing=count) for phase, count in ENTRIES.items()}
    assert content["entry_count"] == 15
    assert content["training_count"] == content["left"]["trainings"] == 11
    waiting = [row for row in content["entries"] if row["reason"]]
    assert {row["reason"] for row in waiting} == {"waits for the selection"}
    assert [row["run"] for row in waiting] == [
        "resnet34-resnet18-logit-s0",
        "resnet34-resnet18-logit-s1",
        "resnet34-resnet18-feature-s0",
        "resnet34-resnet18-feature-s1",
        "resnet34-resnet18-feature-unclipped-s0",
    ]
    assert {row["cell"] for row in waiting} == {
        "resnet34-resnet18-logit",
        "resnet34-resnet18-feature",
        "resnet34-resnet18-feature-unclipped",
    }


def test_a_plan_writes_nothing(untrained: Tiny) -> None:
    """Not a folder, not a lock: before and after training it only looks."""
    before = tree(untrained.root)
    shown()
    shown("--runs")
    shown("--json")
    assert tree(untrained.root) == before


def test_a_plan_of_a_trained_study_writes_nothing_either(trained: Tiny) -> None:
    """Checking every digest leaves every byte as it is."""
    before = tree(trained.root)
    content = shown_json()
    assert tree(trained.root) == before
    assert states(content) == {phase: Counter(done=count) for phase, count in ENTRIES.items()}


@pytest.mark.parametrize("profile", [path.stem for path in (ROOT / "profiles").glob("*.yaml")])
def test_every_shipped_profile_has_a_plan(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has trained nothing; the paper's counts are the published ones."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    content = shown_json("--profile", profile)
    assert content["profile"] == profile
    assert {state for counts in states(content).values() for state in counts} == {"missing"}
    if profile == "paper":
        assert (content["entry_count"], content["training_count"]) == (126, 111)
        assert {phase: counts.total() for phase, counts in states(content).items()} == {
            "teachers": 9,
            "select": 48,
            "final": 50,
            "stem_ablation": 14,
            "bug_ablation": 5,
        }


def test_what_is_left_costs_what_its_runs_cost(untrained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any run is done: operations at the stated rate of a CPU thread, three runs at once here."""
    monkeypatch.setattr(planning, "default_workers", lambda _: 3)
    content = overview(untrained.study, untrained.workspace)
    left = content["left"]
    owned = [row for row in content["entries"] if row["owner"] == row["phase"]]
    assert left["pflop"] == pytest.approx(sum(row["pflop"] for row in owned))
    assert left["basis"] == "12 GFLOP/s a CPU thread"
    assert left["run_hours"] == pytest.approx(left["pflop"] * 1e15 / 12e9 / 3600)
    assert left["hours"] == pytest.approx(left["run_hours"] / 3)
    shared = [row for row in content["entries"] if row["owner"] != row["phase"]]
    assert len(shared) == 4
    assert {row["pflop"] for row in shared} == {0.0}


def test_a_gpu_study_is_reckoned_by_the_published_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said, since no machine is an A100-80GB but that one."""
    monkeypatch.chdir(ROOT)
    left = overview(load_study("paper"), Workspace("nothing is trained under this name"))["left"]
    assert left["basis"].startswith("the published A100-80GB logs")
    assert left["run_hours"] == pytest.approx(52, abs=0.5)
    assert left["workers"] == 1


def test_the_time_left_is_learned_from_the_runs_done_here(trained: Tiny) -> None:
    """Seconds per operation of the trainings that are done, times the operations that are left."""
    shutil.rmtree("runs/tiny/bug_ablation")
    content = overview(trained.study, trained.workspace)
    seconds = [json.loads(path.read_text())["seconds"] for path in Path("runs/tiny").rglob("record.json")]
    assert len(seconds) == 10
    done = sum(row["pflop"] for row in content["entries"] if row["state"] == "done")
    (todo,) = [row["pflop"] for row in content["entries"] if row["state"] == "missing"]
    left = content["left"]
    assert left["basis"] == "the runs done here"
    assert left["trainings"] == 1
    assert left["run_hours"] == pytest.approx(todo * sum(seconds) / done / 3600)
    assert left["run_hours"] < 1


def test_nothing_left_is_said(trained: Tiny) -> None:
    """And that the digests were checked."""
    left = overview(trained.study, trained.workspace)["left"]
    assert (left["trainings"], left["pflop"], left["hours"]) == (0, 0.0, 0.0)
    assert shown().splitlines()[-1] == "left: nothing; every run is done and its digests check out"


@pytest.mark.usefixtures("trained")
def test_a_stale_run_and_its_reason_are_listed() -> None:
    """With --runs, beside the run; the counts of the phase tell it too."""
    path = Path("runs/tiny/final/resnet18-none-s1/correct_best.bin")
    path.write_bytes(b"")
    lines = shown("--runs").splitlines()
    (line,) = [line for line in lines if "stale  " in line]
    assert line.split()[:2] == ["resnet18-none-s1", "stale"]
    assert line.endswith(f"{path} was changed after it was written")
    assert "final: 6 entries (2 shared with earlier phases), 5 done, 1 stale" in lines
    assert lines[-1].startswith("left: 1 trainings, ")
    (row,) = [row for row in shown_json()["entries"] if row["state"] == "stale"]
    assert (row["run"], row["seed"], row["owner"]) == ("resnet18-none-s1", 1, "final")


@pytest.mark.parametrize("selected", [False, True])
def test_text_and_json_agree(request: pytest.FixtureRequest, selected: bool) -> None:
    """Phase by phase and cell by cell, every count in the text is the one in the JSON."""
    request.getfixturevalue("trained" if selected else "untrained")
    if selected:
        shutil.rmtree("runs/tiny/final/resnet18-none-s0")
    content, text = shown_json(), shown()
    assert content["title"] == text.splitlines()[0] == "A study for tests"
    assert f"{content['entry_count']} entries, {content['training_count']} distinct trainings" in text
    for phase in PHASES:
        rows = [row for row in content["entries"] if row["phase"] == phase]
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states(content)[phase].items()))
        (line,) = re.findall(rf"^{phase}: .*$", text, flags=re.MULTILINE)
        shared = ENTRIES[phase] - TRAININGS[phase]
        note = f" ({shared} shared with earlier phases)" if shared else ""
        assert line == f"{phase}: {len(rows)} entries{note}, {counts}"
        block = text.split(line)[1].split("\n\n")[0]
        cells = Counter(row["cell"] for row in rows)
        assert len(block.strip().splitlines()) == len(cells)
        for cell in cells:
            of_cell = [row for row in rows if row["cell"] == cell]
            seeds = ",".join(str(row["seed"]) for row in of_cell)
            state = ", ".join(f"{n} {s}" for s, n in sorted(Counter(row["state"] for row in of_cell).items()))
            assert re.search(rf"^  {re.escape(cell)} +seeds {seeds} +{state}$", block, flags=re.MULTILINE)
    assert re.search(rf"^left: {content['left']['trainings']} trainings, ", text, flags=re.MULTILINE)
    assert content["left"]["basis"] in text.splitlines()[-1]


@pytest.mark.usefixtures("trained")
def test_every_run_is_listed_with_its_owner() -> None:
    """--runs shows a line a run, and where a shared run lives."""
    lines = [line for line in shown("--runs").splitlines() if line.startswith("  ")]
    assert len(lines) == 15
    assert sum("(run of select)" in line for line in lines) == 2
    assert sum("(run of final)" in line for line in lines) == 1
    assert sum("(run of teachers)" in line for line in lines) == 1


def test_the_paths_of_a_profile() -> None:
    """The files that other programs look for."""
    workspace = Workspace("paper")
    found = {name: str(getattr(workspace, name)) for name in vars(Workspace) if not name.startswith("_")}
    found.pop("profile", None)
    assert found == {
        "runs": "runs/paper",
        "results": "results/paper",
        "selected": "results/paper/selected.json",
        "runs_table": "results/paper/runs.csv",
        "correct": "results/paper/correct.npz",
        "convergence": "results/paper/convergence.csv",
        "metrics": "results/paper/metrics.json",
        "environment": "results/paper/environment.json",
        "analysis": "results/paper/analysis",
        "report": "results/paper/report.html",
        "verdict": "results/paper/verdict.json",
    }
