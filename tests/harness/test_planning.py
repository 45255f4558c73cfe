"""`harness plan`: what is done, stale and missing, and the time left; text and JSON say the same."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_study import ENTRIES, ROOT, TRAININGS, Tiny, entry_named, tree
from typer.testing import CliRunner

from harness import planning
from harness.cli import app
from harness.planning import overview, render_text
from harness.store.store import Store
from harness.study import cost
from harness.study.load import load_study
from harness.study.plan import PHASES, any_winner, distinct, plan
from harness.study.spec import RunSpec
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
        "resnet34-resnet18-logit-t0-s0",
        "resnet34-resnet18-logit-t0-s1",
        "resnet34-resnet18-feature-t0-s0",
        "resnet34-resnet18-feature-t0-s1",
        "resnet34-resnet18-feature-unclipped-t0-s0",
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


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped profiles, where nothing is trained."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "profiles"


PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_shipped_profile_has_a_plan(profile: str, shipped: Path) -> None:
    """On a machine that has trained nothing; it costs what the profile's comment says, and fits a terminal."""
    content = overview(load_study(profile), Workspace(profile))
    assert content["profile"] == profile
    assert {state for counts in states(content).values() for state in counts} == {"missing"}
    comment = (shipped / f"{profile}.yaml").read_text()
    (said,) = re.findall(r"^# Cost.*: ([\d,]+) trainings, ([\d,.]+) PFLOP", comment, flags=re.MULTILINE)
    trainings, pflop = (float(number.replace(",", "")) for number in said)
    assert content["left"]["trainings"] == content["training_count"] == trainings
    assert content["left"]["pflop"] == pytest.approx(pflop, rel=0.02)
    lines = render_text(content, runs=False).splitlines()
    assert max(map(len, lines[:-1])) <= 100
    assert len(lines[-1]) <= 110
    assert len(render_text(content, runs=True).splitlines()) > content["entry_count"]


def test_the_plan_of_the_paper_is_the_published_study(shipped: Path) -> None:
    """126 entries, 111 trainings, phase by phase; three teachers have a table, 162 views of 45,000 images each."""
    content = shown_json("--profile", "paper")
    assert shipped.is_dir()
    assert (content["entry_count"], content["training_count"]) == (126, 111)
    assert {phase: counts.total() for phase, counts in states(content).items()} == {
        "teachers": 9,
        "select": 48,
        "final": 50,
        "stem_ablation": 14,
        "bug_ablation": 5,
    }
    assert content["left"]["tables"] == 3
    assert content["disk_gb"]["teacher_tables"] == pytest.approx(3 * 162 * 45_000 * 10 * 4 / 1e9)


@pytest.mark.usefixtures("shipped")
def test_a_long_plan_is_told_in_short() -> None:
    """Crossed seeds as ranges; the candidates of a search, which differ in hyperparameters alone, in one line.

    A control arm's untrained teacher has a table of its own: two for each of nine teachers.
    """
    lines = [" ".join(line.split()) for line in shown("--profile", "beyond").splitlines()]
    assert len(lines) < 80
    assert "resnet34-none s0-2 3 missing" in lines
    assert "resnet101-resnet50-logit t0 s100 9 candidates: 9 missing" in lines
    assert "resnet101-resnet50-random_teacher t0 s100 1 missing" in lines
    assert "resnet50-none s0-9 10 missing" in lines
    assert "resnet34-resnet34-attention t0-2 s0-9 30 missing" in lines
    assert ", 18 teacher tables, " in lines[-1]


@pytest.mark.parametrize(
    ("numbers", "words"), [([0], "0"), ([2, 1, 0], "0-2"), ([0, 1, 3, 5, 6, 7], "0-1,3,5-7"), ([100, 0, 2], "0,2,100")]
)
def test_ranges_of_seeds(numbers: list[int], words: str) -> None:
    """As people write them."""
    assert planning._ranges(numbers) == words


def runs_of(tiny: Tiny) -> list[RunSpec]:
    """Every training of the tiny study."""
    study = tiny.study
    return [entry.run for entry in distinct(plan(study, any_winner(study)))]


def test_what_is_left_costs_what_its_runs_cost(untrained: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any run is done: operations, of runs and of one teacher's table, at the stated rate of a CPU thread."""
    monkeypatch.setattr(planning, "default_workers", lambda _: 3)
    content = overview(untrained.study, untrained.workspace)
    left = content["left"]
    owned = [row for row in content["entries"] if row["owner"] == row["phase"]]
    (table,) = {cost.table_flops(run) for run in runs_of(untrained)} - {0}
    assert left["tables"] == 1
    assert left["pflop"] == pytest.approx(sum(row["pflop"] for row in owned) + table / 1e15)
    assert left["basis"] == "12 GFLOP/s a CPU thread"
    assert left["run_hours"] == pytest.approx(left["pflop"] * 1e15 / 12e9 / 3600)
    assert left["hours"] == pytest.approx(left["run_hours"] / 3)
    shared = [row for row in content["entries"] if row["owner"] != row["phase"]]
    assert len(shared) == 4
    assert {row["pflop"] for row in shared} == {0.0}


def test_a_table_that_is_there_costs_nothing(untrained: Tiny) -> None:
    """It is known by its teacher's name and variant; where every step asks the teacher there is none."""
    before = overview(untrained.study, untrained.workspace)
    tables = Store(untrained.workspace.runs).tables
    tables.mkdir(parents=True)
    for other in ("resnet34-none-s0-untrained-0123.safetensors", "resnet34-none-s1-trained-0123.safetensors"):
        (tables / other).touch()
    assert overview(untrained.study, untrained.workspace) == before
    (tables / "resnet34-none-s0-trained-0123.safetensors").touch()
    after = overview(untrained.study, untrained.workspace)
    assert (before["left"]["tables"], after["left"]["tables"]) == (1, 0)
    assert after["left"]["pflop"] == pytest.approx(sum(row["pflop"] for row in after["entries"]))
    assert after["disk_gb"] == before["disk_gb"]
    (tables / "resnet34-none-s0-trained-0123.safetensors").unlink()
    untrained.edit("teacher_logits: table", "teacher_logits: online")
    online = overview(untrained.study, untrained.workspace)
    assert (online["left"]["tables"], online["disk_gb"]["teacher_tables"]) == (0, 0.0)
    assert sum(row["pflop"] for row in online["entries"]) > sum(row["pflop"] for row in after["entries"])


@pytest.mark.parametrize("workers", [1, 2, 100])
def test_the_disk_that_a_study_needs(untrained: Tiny, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """All its runs and tables, and the checkpoints of as many of the heaviest runs as train at once."""
    monkeypatch.setattr(planning, "default_workers", lambda _: workers)
    runs = runs_of(untrained)
    checkpoints = sorted(map(cost.checkpoint_bytes, runs), reverse=True)
    assert overview(untrained.study, untrained.workspace)["disk_gb"] == {
        "runs": pytest.approx(sum(map(cost.run_bytes, runs)) / 1e9),
        "teacher_tables": pytest.approx(max(map(cost.table_bytes, runs)) / 1e9),
        "checkpoints": pytest.approx(sum(checkpoints[:workers]) / 1e9),
    }
    assert len(set(checkpoints)) > 2
    assert re.search(r"^disk: 0\.\d+ GB of runs, \S+ GB of teacher tables, at most \S+ GB of", shown(), re.MULTILINE)


def test_a_gpu_study_is_reckoned_by_the_published_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said, since no machine is an A100-80GB but that one. With teachers in every step it took 52 hours."""
    monkeypatch.chdir(ROOT)
    study, nowhere = load_study("paper"), Workspace("nothing is trained under this name")
    left = overview(study, nowhere)["left"]
    assert left["basis"] == "A100 logs"
    assert left["workers"] == 1
    assert 40 < left["run_hours"] < 52
    online = study.optimisation.model_copy(update={"teacher_logits": "online"})
    left = overview(study.model_copy(update={"optimisation": online}), nowhere)["left"]
    assert left["run_hours"] == pytest.approx(52, abs=0.5)


def test_a_run_that_failed_is_left_and_says_why(untrained: Tiny) -> None:
    """Counted as failed, with its reason among the runs; what is left does not change by it."""
    before = overview(untrained.study, untrained.workspace)["left"]
    entry = entry_named(plan(untrained.study, None), "final", "resnet18-none-s1")
    Store(untrained.workspace.runs).mark(entry, "gradient is not finite in epoch 2, step 1")
    assert overview(untrained.study, untrained.workspace)["left"] == before
    assert "final: 6 entries (2 shared with earlier phases), 1 failed, 5 missing, " in shown()
    (line,) = [line for line in shown("--runs").splitlines() if " failed " in line and line.startswith("  ")]
    assert line.split()[:2] == ["resnet18-none-s1", "failed"]
    assert line.endswith("  gradient is not finite in epoch 2, step 1")


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
    assert (left["trainings"], left["tables"]) == (1, 0)
    assert left["run_hours"] == pytest.approx(todo * sum(seconds) / done / 3600)
    assert left["run_hours"] < 1


def test_a_trained_studys_table_is_found(trained: Tiny) -> None:
    """Under the name that training gave it; removed, it has to be made again for the run that needs it."""
    (run,) = Path("runs/tiny/final").glob("resnet34-resnet18-logit-*-t0-s1")
    shutil.rmtree(run)
    there = overview(trained.study, trained.workspace)["left"]
    shutil.rmtree(Store(trained.workspace.runs).tables)
    gone = overview(trained.study, trained.workspace)["left"]
    assert [(left["trainings"], left["tables"]) for left in (there, gone)] == [(1, 0), (1, 1)]
    assert gone["pflop"] > there["pflop"]


def test_nothing_left_is_said(trained: Tiny) -> None:
    """And that the digests were checked."""
    left = overview(trained.study, trained.workspace)["left"]
    assert (left["trainings"], left["tables"], left["pflop"], left["hours"]) == (0, 0, 0.0, 0.0)
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
    assert [
        line for line in lines if line.startswith("final: 6 entries (2 shared with earlier phases), 5 done, 1 stale")
    ]
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
        pflop = sum(row["pflop"] for row in rows)
        assert line == f"{phase}: {len(rows)} entries{note}, {counts}, {pflop:.2g} PFLOP"
        block = text.split(line)[1].split("\n\n")[0]
        pairs = {(row["teacher"], row["student"], row["method"]) for row in rows}
        cells = {"-".join(pair) for pair in pairs} if phase == "select" else {row["cell"] for row in rows}
        assert {line.split()[0] for line in block.strip().splitlines()} == cells
        for cell in cells:
            of_cell = [
                row for row in rows if row["cell"] == cell or (phase == "select" and row["cell"].startswith(cell))
            ]
            taught = "" if of_cell[0]["teacher"] is None else "t0 "
            seeds = "s0-1" if {row["seed"] for row in of_cell} == {0, 1} else f"s{of_cell[0]['seed']}"
            tried = f"{len(of_cell)} candidates: " if phase == "select" and len(of_cell) > 1 else ""
            state = ", ".join(f"{n} {s}" for s, n in sorted(Counter(row["state"] for row in of_cell).items()))
            assert re.search(rf"^  {re.escape(cell)} +{taught}{seeds} +{tried}{state}$", block, flags=re.MULTILINE)
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


# --- how many workers -------------------------------------------------------------------------------------------------


def test_one_worker_takes_the_sum_and_many_the_longest_chain(untrained: Tiny) -> None:
    """Of runs and of the one teacher table, at the stated rate: teacher, its table, a candidate, a run chosen."""
    content = overview(untrained.study, untrained.workspace, [3])
    schedule, left = content["schedule"], content["left"]
    by_workers = {row["workers"]: row for row in schedule["table"]}
    assert {1, 2, 3} <= by_workers.keys()
    assert by_workers[1]["hours"] == pytest.approx(left["run_hours"])
    assert by_workers[1]["utilisation"] == pytest.approx(1)
    path = [step["task"] for step in schedule["critical_path"]]
    assert path == [
        "teachers/resnet34-none-s0",
        "table of resnet34-none-s0-trained",
        "select/resnet34-resnet18-logit-a0.3-T2-t0-s0",
        "final/resnet34-resnet18-logit-t0-s1",
    ]
    (run, *_) = [run for run in runs_of(untrained) if run.name == "resnet34-resnet18-logit-a0.3-T2-t0-s0"]
    hours = [step["hours"] for step in schedule["critical_path"]]
    assert hours[1] == pytest.approx(cost.table_flops(run) / 12e9 / 3600)
    assert hours[2] == hours[3] == pytest.approx(cost.training_flops(run) / 12e9 / 3600)
    assert schedule["critical_hours"] == pytest.approx(sum(step["hours"] for step in schedule["critical_path"]))
    last = schedule["table"][-1]
    assert last["workers"] >= schedule["enough_workers"]
    assert schedule["critical_hours"] <= last["hours"] <= 1.01 * schedule["critical_hours"]
    for row in schedule["table"]:
        assert row["utilisation"] == pytest.approx(left["run_hours"] / row["workers"] / row["hours"])


def test_a_table_stands_between_its_teacher_and_its_readers(untrained: Tiny) -> None:
    """One task for all that read it; Feature-KD does not wait for it; a table that is there is none."""
    study = untrained.study
    left = [
        (line, line.label, entry.run)
        for line, entry in zip(plan(study, None), plan(study, any_winner(study)), strict=True)
    ]
    tables = cost.teacher_tables(run for _, _, run in left)
    tasks = planning._tasks(left, tables, cost.Pace({}))
    table = tasks.names.index("table of resnet34-none-s0-trained")
    assert len(tasks.names) == 11 + 1
    assert tasks.needs[table] == {tasks.names.index("teachers/resnet34-none-s0")}
    readers = {name for name, before in zip(tasks.names, tasks.needs, strict=True) if table in before}
    assert readers == {name for name in tasks.names if "-logit-" in name}
    assert len(readers) == 3
    without = planning._tasks(left, {}, cost.Pace({}))
    assert len(without.names) == 11


def test_what_is_done_is_not_scheduled(trained: Tiny) -> None:
    """A run of which everything before is done is a chain of its own, at the pace of the runs of its shape."""
    shutil.rmtree("runs/tiny/final/resnet18-none-s1")
    schedule = overview(trained.study, trained.workspace, [2])["schedule"]
    record = json.loads(Path("runs/tiny/final/resnet18-none-s0/record.json").read_text())
    assert [step["task"] for step in schedule["critical_path"]] == ["final/resnet18-none-s1"]
    assert schedule["critical_hours"] == pytest.approx(record["seconds"] / 3600)
    assert schedule["enough_workers"] == 1
    shutil.rmtree("runs/tiny/bug_ablation")
    assert "schedule" not in overview(trained.study, trained.workspace)


@pytest.mark.usefixtures("trained")
def test_nothing_left_is_no_schedule() -> None:
    """There is nothing to divide."""
    assert "schedule" not in shown_json("--workers", "4")


@pytest.mark.usefixtures("shipped")
def test_the_published_study_on_many_workers() -> None:
    """Numbers are asked for as a list or one by one; text and JSON say the same; the longest chain is R101's."""
    content = shown_json("--profile", "paper", "--workers", "3,5", "--workers", "24")
    rows = content["schedule"]["table"]
    assert [row["workers"] for row in rows] == [1, 2, 3, 4, 5, 8, 16, 24, 32]
    assert [row["hours"] for row in rows] == sorted((row["hours"] for row in rows), reverse=True)
    lines = shown("--profile", "paper", "--workers", "3,5", "--workers", "24").splitlines()
    table = lines[lines.index("workers      time  at work") + 1 :]
    for row, line in zip(rows, table, strict=False):
        assert line.split() == [str(row["workers"]), f"{row['hours']:.1f}", "h", f"{row['utilisation']:.0%}"]
    assert table[-3].split()[0] == "teachers/resnet101-none-s0"
    assert all(len(line) <= 100 for line in table)


@pytest.mark.parametrize("words", ["0", "-2", "1,,2", "many", "2.5"])
def test_what_is_no_number_of_workers_is_refused(untrained: Tiny, words: str) -> None:
    """With what is expected, and the exit code of bad input."""
    assert untrained.root.exists()
    result = CliRunner().invoke(app, ["plan", f"--workers={words}"])
    assert result.exit_code == 2
    assert "above 0" in result.output


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
        "curves": "results/paper/curves.csv",
        "coverage": "results/paper/coverage.csv",
        "convergence": "results/paper/convergence.csv",
        "metrics": "results/paper/metrics.json",
        "environment": "results/paper/environment.json",
        "analysis": "results/paper/analysis",
        "report": "results/paper/report.html",
        "verdict": "results/paper/verdict.json",
    }
