"""What has to be done before what, in the published study and in a tiny one."""

from __future__ import annotations

from collections import Counter

import pytest
from tiny_study import ROOT, Tiny

from harness.study.graph import choice_of, needs
from harness.study.load import load_study
from harness.study.plan import Choice, any_winner, decided, distinct, plan
from harness.study.study import Study


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Study:
    """The paper's study."""
    monkeypatch.chdir(ROOT)
    return load_study("paper")


def test_the_needs_of_a_tiny_study(untrained: Tiny) -> None:
    """By name, every one of its eleven trainings."""
    entries = distinct(plan(untrained.study, None))
    names = [f"{entry.phase}/{entry.label}" for entry in entries]
    found = {names[i]: {names[earlier] for earlier in before} for i, before in enumerate(needs(entries))}
    teacher = "teachers/resnet34-none-s0"
    logit = {f"select/resnet34-resnet18-logit-a{alpha}-T2-t0-s0" for alpha in (0.3, 0.7)}
    feature = {"select/resnet34-resnet18-feature-a0.5-t0-s0"}
    assert found == {
        teacher: set(),
        **{name: {teacher} for name in logit | feature},
        "final/resnet18-none-s0": set(),
        "final/resnet18-none-s1": set(),
        "final/resnet34-resnet18-logit-t0-s1": {teacher, *logit},
        "final/resnet34-resnet18-feature-t0-s1": {teacher, *feature},
        "stem_ablation/resnet18-none-imagenet-s0": set(),
        "stem_ablation/resnet34-none-imagenet-s0": set(),
        "bug_ablation/resnet34-resnet18-feature-unclipped-t0-s0": {teacher, *feature},
    }


def test_the_needs_of_the_published_study(paper: Study) -> None:
    """48 candidates need their teacher, 32 chosen runs and 5 unclipped ones also 9 or 3 candidates."""
    entries = distinct(plan(paper, None))
    counts = Counter((entry.phase, len(before)) for entry, before in zip(entries, needs(entries), strict=True))
    assert counts == {
        ("teachers", 0): 9,
        ("select", 1): 48,
        ("final", 0): 10,
        ("final", 1 + 9): 16,
        ("final", 1 + 3): 16,
        ("stem_ablation", 0): 7,
        ("bug_ablation", 1 + 3): 5,
    }


def test_a_known_run_needs_its_own_teacher_alone(paper: Study) -> None:
    """After the selection; and nothing of what is not among the entries."""
    entries = distinct(plan(paper, any_winner(paper)))
    for entry, before in zip(entries, needs(entries), strict=True):
        assert [entries[earlier].run for earlier in before] == ([entry.run.teacher] if entry.run.teacher else [])
    assert not any(needs([entry for entry in entries if entry.phase != "teachers"]))


def test_a_decided_entry_is_the_planned_one(paper: Study) -> None:
    """One choice after the other gives the same entries as all at once, owner and name included."""
    winners = any_winner(paper)
    for before, after in zip(plan(paper, None), plan(paper, winners), strict=True):
        assert choice_of(before) == choice_of(after)
        if before.choice is not None:
            assert decided(paper, before, winners[before.choice]) == after
    known = next(entry for entry in plan(paper, None) if entry.spec is not None)
    with pytest.raises(ValueError, match="waits for no selection"):
        decided(paper, known, winners[Choice("resnet34", "resnet18", "logit")])
