"""The plan is the published study: the same runs, the same choices, the same runs shared between phases."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest
from tiny_study import ENTRIES, PUBLISHED, ROOT, TRAININGS, Tiny

from harness.errors import StudyError
from harness.study.load import load_study
from harness.study.plan import PHASES, Choice, Entry, any_winner, candidates, choose, distinct, plan
from harness.study.spec import Hyperparameters
from harness.study.study import Study

Setting = tuple[str, str, str, str, float | None, float | None, str, bool | None, int, int]
Row = Mapping[str, str]
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))

# Paper, section 4 and its table of selected hyperparameters.
CHOSEN_BY_THE_PAPER = {
    Choice("resnet101", "resnet34", "feature"): (("alpha", 0.3),),
    Choice("resnet101", "resnet34", "logit"): (("alpha", 0.7), ("temperature", 2.0)),
    Choice("resnet34", "resnet18", "feature"): (("alpha", 0.7),),
    Choice("resnet34", "resnet18", "logit"): (("alpha", 0.7), ("temperature", 2.0)),
    Choice("resnet50", "resnet18", "feature"): (("alpha", 0.7),),
    Choice("resnet50", "resnet18", "logit"): (("alpha", 0.5), ("temperature", 4.0)),
    Choice("resnet50", "resnet34", "feature"): (("alpha", 0.5),),
    Choice("resnet50", "resnet34", "logit"): (("alpha", 0.3), ("temperature", 3.0)),
}
# 3 teachers x 3 seeds; 4 pairs x (3 x 3 + 3); (8 cells + 2 baselines) x 5; 2 stems x (3 + 3 + 1); 5 unclipped runs.
PAPER_ENTRIES = {"teachers": 9, "select": 48, "final": 50, "stem_ablation": 14, "bug_ablation": 5}
# Without the 8 winners at seed 0, and without the 6 baselines and the teacher that have the cifar stem already.
PAPER_TRAININGS = {"teachers": 9, "select": 48, "final": 42, "stem_ablation": 7, "bug_ablation": 5}


@pytest.fixture(scope="module")
def published() -> list[dict[str, str]]:
    """The published runs, as text."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Study:
    """The paper's study."""
    monkeypatch.chdir(ROOT)
    return load_study("paper")


@pytest.fixture(params=PROFILES)
def shipped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Each study that is shipped."""
    monkeypatch.chdir(ROOT)
    return load_study(request.param)


def number(text: str) -> float | None:
    """A cell of the published table."""
    return float(text) if text else None


def setting_of_row(row: Row) -> Setting:
    """What a published row says was trained."""
    clipped = {"": None, "true": True, "false": False}[row["clip_projections"]]
    return (
        *(row["stage"], row["teacher"], row["student"], row["method"]),
        *(number(row["alpha"]), number(row["temperature"]), row["stem"], clipped, int(row["seed"]), int(row["epochs"])),
    )


def setting_of_entry(entry: Entry) -> Setting:
    """What an entry of the plan trains, in the words of the published table."""
    run = entry.run
    teacher = run.teacher.architecture if run.teacher else ""
    return (
        *(entry.phase, teacher, run.architecture, run.method),
        *(
            run.hyperparameter("alpha"),
            run.hyperparameter("temperature"),
            run.stem,
            run.clip_projections,
            run.seed,
            run.epochs,
        ),
    )


def last_choice(study: Study) -> dict[Choice, Hyperparameters]:
    """Some choice, and not the one that a plan assumes before there is any: the last candidate of each cell."""
    return {choice: specs[-1].hyperparameters for choice, specs in candidates(study).items()}


def published_choice(study: Study, published: list[dict[str, str]]) -> dict[Choice, Hyperparameters]:
    """The choice by the published validation accuracies of the hyperparameter search."""
    val_acc = {
        (row["teacher"], row["student"], row["method"], number(row["alpha"]), number(row["temperature"])): float(
            row["val_acc"]
        )
        for row in published
        if row["stage"] == "select"
    }
    by_identity = {
        spec.sha256: val_acc[
            *(choice.teacher, choice.student, choice.method),
            *(spec.hyperparameter("alpha"), spec.hyperparameter("temperature")),
        ]
        for choice, specs in candidates(study).items()
        for spec in specs
    }
    assert len(by_identity) == len(val_acc) == 48
    return choose(study, by_identity)


def test_the_published_accuracies_choose_what_the_paper_chose(paper: Study, published: list[dict[str, str]]) -> None:
    """Our rule on the paper's 48 validation accuracies gives its 8 selected settings."""
    assert published_choice(paper, published) == CHOSEN_BY_THE_PAPER


def test_the_plan_is_the_published_table(paper: Study, published: list[dict[str, str]]) -> None:
    """Entry for row: the same stages, networks, methods, settings, seeds and epochs, each as often as there."""
    entries = plan(paper, published_choice(paper, published))
    assert Counter(map(setting_of_entry, entries)) == Counter(map(setting_of_row, published))


def test_runs_are_shared_exactly_where_the_published_rows_repeat(paper: Study, published: list[dict[str, str]]) -> None:
    """A row with another stage's setting, seed and numbers is one training, owned by the first of the stages."""
    measured = ("best_epoch", "val_acc", "test_acc_best", "test_acc_final")
    stages: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for row in published:
        stages[(*setting_of_row(row)[1:], *(row[column] for column in measured))].append(row["stage"])
    owner_there = {}
    for same, names in stages.items():
        first, *_ = sorted(names, key=PHASES.index)
        owner_there |= {(name, *same[: -len(measured)]): first for name in names}
    assert len(owner_there) == 126
    entries = plan(paper, published_choice(paper, published))
    assert {setting_of_entry(entry): entry.owner for entry in entries} == owner_there
    shared = Counter((entry.phase, entry.owner) for entry in entries if entry.owner != entry.phase)
    assert shared == {("final", "select"): 8, ("stem_ablation", "final"): 6, ("stem_ablation", "teachers"): 1}


def test_the_paper_has_126_entries_and_111_trainings(paper: Study) -> None:
    """Phase by phase, whatever was chosen."""
    entries = plan(paper, last_choice(paper))
    assert Counter(entry.phase for entry in entries) == PAPER_ENTRIES
    assert Counter(entry.phase for entry in distinct(entries)) == PAPER_TRAININGS
    assert len(entries) == 126
    assert len(distinct(entries)) == 111


def test_the_plan_stands_in_the_published_order(paper: Study, published: list[dict[str, str]]) -> None:
    """Phase after phase as there; within a phase as the profile lists networks, pairs, methods, values and seeds."""
    entries = plan(paper, published_choice(paper, published))
    assert [entry.phase for entry in entries] == [row["stage"] for row in published]
    cells = {phase: list(dict.fromkeys(e.run.cell for e in entries if e.phase == phase)) for phase in PHASES}
    assert cells["teachers"] == ["resnet34-none", "resnet50-none", "resnet101-none"]
    assert cells["select"][:12] == [
        *(f"resnet34-resnet18-logit-a{alpha}-T{t}" for alpha in (0.3, 0.5, 0.7) for t in (2, 3, 4)),
        *(f"resnet34-resnet18-feature-a{alpha}" for alpha in (0.3, 0.5, 0.7)),
    ]
    assert cells["final"] == [
        *("resnet18-none", "resnet34-none"),
        *("resnet34-resnet18-logit-a0.7-T2", "resnet34-resnet18-feature-a0.7"),
        *("resnet50-resnet18-logit-a0.5-T4", "resnet50-resnet18-feature-a0.7"),
        *("resnet50-resnet34-logit-a0.3-T3", "resnet50-resnet34-feature-a0.5"),
        *("resnet101-resnet34-logit-a0.7-T2", "resnet101-resnet34-feature-a0.3"),
    ]
    for phase in PHASES:
        for cell in cells[phase]:
            seeds = [entry.seed for entry in entries if (entry.phase, entry.run.cell) == (phase, cell)]
            assert seeds == sorted(set(seeds))


def test_the_plan_is_the_same_before_the_selection(shipped: Study) -> None:
    """What waits for the selection stands there already, with its seeds, under the phase that will own it."""
    before, after = plan(shipped, None), plan(shipped, last_choice(shipped))
    for early, late in zip(before, after, strict=True):
        assert (early.phase, early.owner) == (late.phase, late.owner)
        assert (early.teacher_seed, early.seed) == (late.teacher_seed, late.seed)
        assert (late.label, late.cell) == (late.run.name, late.run.cell)
        if early.spec is not None:
            assert early == late
        elif early.phase == "final":
            assert late.cell.startswith(f"{early.cell}-a")
    waiting = Counter(entry.phase for entry in before if entry.spec is None)
    crossed = len(shipped.teachers.distilled_seeds) * len(shipped.seeds)
    assert waiting["final"] == len(shipped.pairs) * len(shipped.methods) * crossed
    assert waiting["bug_ablation"] == sum(len(bug.seeds) for bug in shipped.bug_ablation)
    assert waiting.total() == waiting["final"] + waiting["bug_ablation"]


def test_every_teacher_teaches_every_seed(shipped: Study) -> None:
    """Teacher and student seeds are crossed in the final phase; the search and the bug see the first teacher alone."""
    seeds = defaultdict(list)
    for entry in plan(shipped, last_choice(shipped)):
        if entry.run.teacher is not None:
            assert (entry.teacher_seed, entry.seed) == (entry.run.teacher.seed, entry.run.seed)
            seeds[entry.phase, entry.cell].append((entry.teacher_seed, entry.seed))
    first = shipped.teachers.distilled_seeds[0]
    crossed = [(teacher, seed) for teacher in shipped.teachers.distilled_seeds for seed in shipped.seeds]
    for (phase, _), found in seeds.items():
        if phase == "final":
            assert found == crossed
        elif phase == "select":
            assert found == [(first, shipped.selection.seed)]
        else:
            assert {teacher for teacher, _ in found} == {first}
    assert Counter(phase for phase, _ in seeds)["final"] == len(shipped.pairs) * len(shipped.methods)


CROSSED = """  seed: 0
  grid:
    logit: {alpha: [0.3, 0.7], temperature: [2.0]}
    feature: {alpha: [0.5]}
seeds: [0, 1]"""


@pytest.mark.parametrize(
    ("selection_seed", "shared"),
    [pytest.param(1, [(2, 1)], id="a counted seed"), pytest.param(100, [], id="a seed of its own")],
)
def test_only_the_first_teachers_student_was_a_candidate(
    untrained: Tiny, selection_seed: int, shared: list[tuple[int, int]]
) -> None:
    """With crossed seeds one run of a cell may be the winning candidate; before the selection it is known which."""
    untrained.edit("seeds: [0], distilled_seeds: [0]", "seeds: [0, 1, 2], distilled_seeds: [2, 0]")
    untrained.edit(CROSSED, CROSSED.replace("seed: 0", f"seed: {selection_seed}", 1))
    study = untrained.study
    for entries in (plan(study, None), plan(study, last_choice(study))):
        finals = [entry for entry in entries if entry.phase == "final" and entry.teacher_seed is not None]
        assert len(finals) == 2 * 2 * 2
        found = [(entry.teacher_seed, entry.seed) for entry in finals if entry.owner == "select"]
        assert found == shared * 2
        assert {entry.owner for entry in finals} <= {"select", "final"}


def test_the_order_of_hyperparameters_in_a_file_means_nothing(untrained: Tiny) -> None:
    """Same candidates in the same order, so that of equals the same one wins."""
    there = plan(untrained.study, None)
    untrained.edit("logit: {alpha: [0.3, 0.7], temperature: [2.0]}", "logit: {temperature: [2.0], alpha: [0.3, 0.7]}")
    assert plan(untrained.study, None) == there


def test_the_tiny_study_is_counted_as_by_hand(untrained: Tiny) -> None:
    """The counts that other tests rest on."""
    entries = plan(untrained.study, last_choice(untrained.study))
    assert Counter(entry.phase for entry in entries) == ENTRIES
    assert Counter(entry.phase for entry in distinct(entries)) == TRAININGS


def test_a_run_that_waits_says_what_it_waits_for(paper: Study) -> None:
    """Asking for its description names it and the command to run."""
    waiting = next(entry for entry in plan(paper, None) if entry.spec is None)
    with pytest.raises(StudyError, match="waits for the selection; run `harness train --phase select` first"):
        _ = waiting.run
    assert (waiting.label, waiting.cell) == ("resnet34-resnet18-logit-t0-s0", "resnet34-resnet18-logit")


def test_of_equals_the_first_in_grid_order_wins(paper: Study) -> None:
    """All equal: the smallest alpha and temperature. Two equal best ones: the earlier of the two."""
    identities = {choice: [spec.sha256 for spec in specs] for choice, specs in candidates(paper).items()}
    equal = {identity: 0.95 for every in identities.values() for identity in every}
    for choice, chosen in choose(paper, equal).items():
        assert chosen == (("alpha", 0.3), *([("temperature", 2.0)] if choice.method == "logit" else []))
    logit = Choice("resnet50", "resnet18", "logit")
    best = {**equal, identities[logit][5]: 0.96, identities[logit][7]: 0.96}
    # alpha runs over {.3, .5, .7} outside, T over {2, 3, 4} inside: the sixth is (.5, 4), the eighth (.7, 3)
    assert choose(paper, best)[logit] == (("alpha", 0.5), ("temperature", 4.0))


def test_a_candidate_without_accuracy_is_no_loser(paper: Study) -> None:
    """Nothing is chosen from an unfinished search."""
    accuracies = {spec.sha256: 0.9 for specs in candidates(paper).values() for spec in specs}
    accuracies.popitem()
    with pytest.raises(KeyError):
        choose(paper, accuracies)


def test_before_the_selection_the_first_candidates_stand_for_the_winners(shipped: Study) -> None:
    """To reckon what a study costs, any would do."""
    assert any_winner(shipped) == {choice: specs[0].hyperparameters for choice, specs in candidates(shipped).items()}
    assert len(any_winner(shipped)) == len(shipped.pairs) * len(shipped.methods)


def test_teachers_come_before_their_students(shipped: Study) -> None:
    """In plan order, every student's teacher is a run of the teachers' phase that stands earlier."""
    there: set[str] = set()
    phases = []
    students = 0
    for entry in plan(shipped, last_choice(shipped)):
        phases.append(PHASES.index(entry.phase))
        if entry.phase == "teachers":
            there.add(entry.run.sha256)
        if entry.run.teacher is not None:
            students += 1
            assert entry.run.teacher.sha256 in there
            assert entry.run.teacher.seed in shipped.teachers.distilled_seeds
    assert phases == sorted(phases)
    assert students > 50


def test_an_owner_is_the_first_phase_of_a_run_and_trains_it_once(shipped: Study) -> None:
    """One identity, one training; no phase points to a later one."""
    entries = plan(shipped, last_choice(shipped))
    first: dict[str, str] = {}
    for entry in entries:
        assert entry.owner == first.setdefault(entry.run.sha256, entry.phase)
    trained = [entry.run.sha256 for entry in distinct(entries)]
    assert len(trained) == len(set(trained)) == len(first)


def names_clash(study: Study) -> list[tuple[str, str]]:
    """Folders (owner, name) that two different trainings of a study would share."""
    folders = Counter((entry.owner, entry.run.name) for entry in distinct(plan(study, last_choice(study))))
    return [folder for folder, trainings in folders.items() if trainings > 1]


def test_no_two_runs_of_a_phase_share_a_name(shipped: Study) -> None:
    """A name is a folder: two runs in one would take turns in overwriting each other."""
    assert names_clash(shipped) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            "{architecture: resnet34, role: teacher, seeds: [0]}",
            "{architecture: resnet18, role: student, seeds: [0, 1]}",
            id="a stem ablation's seed in two lines",
        ),
        pytest.param(
            "{architecture: resnet34, role: teacher, seeds: [0]}",
            "{architecture: resnet18, role: teacher, seeds: [0]}",
            id="one architecture as teacher and as student",
        ),
        pytest.param(
            "  - {teacher: resnet34, student: resnet18, seeds: [0]}",
            "  - {teacher: resnet34, student: resnet18, seeds: [0]}\n"
            "  - {teacher: resnet34, student: resnet18, seeds: [0, 1]}",
            id="a clipping bug's seed in two lines",
        ),
        pytest.param("alpha: [0.3, 0.7]", "alpha: [0.3, 0.3000001]", id="alphas that differ in the seventh digit"),
    ],
)
def test_a_study_whose_runs_would_share_a_folder_is_refused_or_named_apart(untrained: Tiny, old: str, new: str) -> None:
    """Twice within a phase is an error: either the description is refused, or its runs get different names."""
    untrained.edit(old, new)
    try:
        clashes = names_clash(untrained.study)
    except StudyError:
        clashes = []
    assert clashes == []


def test_names_say_what_a_run_is(paper: Study, published: list[dict[str, str]]) -> None:
    """Readable names, as the README and the folders show them."""
    names = {(entry.phase, entry.run.name) for entry in plan(paper, published_choice(paper, published))}
    assert {
        ("teachers", "resnet101-none-s2"),
        ("select", "resnet50-resnet18-logit-a0.5-T4-t0-s0"),
        ("final", "resnet18-none-s4"),
        ("final", "resnet101-resnet34-feature-a0.3-t0-s1"),
        ("stem_ablation", "resnet50-none-imagenet-s0"),
        ("bug_ablation", "resnet50-resnet18-feature-a0.7-unclipped-t0-s3"),
    } <= names


def test_the_bug_ablation_differs_from_the_final_runs_by_the_bug_alone(paper: Study) -> None:
    """Same teacher, setting, seed and epochs: whatever changes is due to clipping."""
    entries = plan(paper, last_choice(paper))
    finals = {entry.run.name: entry.run for entry in entries if entry.phase == "final"}
    bugs = [entry.run for entry in entries if entry.phase == "bug_ablation"]
    assert len(bugs) == 5
    for bug in bugs:
        twin = finals[bug.name.replace("-unclipped", "")]
        assert bug.model_dump() == {**twin.model_dump(), "clip_projections": False}
        assert twin.clip_projections is True


@pytest.mark.parametrize(("clash", "times"), [("beta: [1000.0, 1000.0001]", 2), ("beta: [2.0, 3.0]", 0)])
def test_candidates_with_one_name_are_refused(untrained: Tiny, clash: str, times: int) -> None:
    """Values that differ beyond the digits of a name would share a folder; the sentence names run and phase."""
    untrained.edit(
        "    feature: {alpha: [0.5]}\n", f"    feature: {{alpha: [0.5]}}\n    attention: {{alpha: [0.5], {clash}}}\n"
    )
    if not times:
        assert names_clash(untrained.study) == []
        return
    with pytest.raises(StudyError, match=r"found resnet34-resnet18-attention-a0.5-beta1000-t0-s0 2 times in select"):
        _ = untrained.study


DIGEST_OF_A_PLAN = """
import hashlib
from harness.study.load import load_study
from harness.study.plan import plan
identities = [entry.spec.sha256 if entry.spec else entry.label for entry in plan(load_study("quick"), None)]
print(hashlib.sha256("".join(identities).encode()).hexdigest())
"""


def test_identities_are_the_same_in_every_process() -> None:
    """However Python's hashes are salted: plans made on two machines name the same runs, in the same order."""
    found = set()
    for salt in ("0", "1", "4711"):
        command = [sys.executable, "-c", DIGEST_OF_A_PLAN]
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        found.add(answer.stdout)
    assert len(found) == 1
