"""selected.json: what is written is what is read, and a file that is something else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_study import Tiny

from harness.errors import StudyError
from harness.selection import read_selected, write_selected
from harness.study.plan import Choice, candidates

LOGIT = Choice("resnet34", "resnet18", "logit")
FEATURE = Choice("resnet34", "resnet18", "feature")


@pytest.fixture
def selected(untrained: Tiny) -> Path:
    """A selection in which the second of two logit candidates is the better one."""
    accuracies = {}
    for specs in candidates(untrained.study).values():
        for place, spec in enumerate(specs):
            accuracies[spec.sha256] = 0.5 + 0.1 * place
    path = untrained.root / "selected.json"
    write_selected(path, untrained.study, accuracies)
    return path


def test_what_was_chosen_is_read(untrained: Tiny, selected: Path) -> None:
    """The candidate with the higher validation accuracy is the one that later phases get."""
    assert read_selected(selected, untrained.study) == {
        LOGIT: (("alpha", 0.7), ("temperature", 2.0)),
        FEATURE: (("alpha", 0.5),),
    }


def test_every_candidate_is_in_the_file(selected: Path) -> None:
    """With its setting, its seed, its accuracy, its run and whether it won: the search can be looked over."""
    rows = json.loads(selected.read_text())["candidates"]
    shown = [(row["method"], row["hyperparameters"], row["val_acc"], row["chosen"]) for row in rows]
    assert shown == [
        ("logit", {"alpha": 0.3, "temperature": 2.0}, 0.5, False),
        ("logit", {"alpha": 0.7, "temperature": 2.0}, 0.6, True),
        ("feature", {"alpha": 0.5}, 0.5, True),
    ]
    assert {(row["teacher"], row["student"], row["seed"]) for row in rows} == {("resnet34", "resnet18", 0)}
    assert rows[1]["run"] == "resnet34-resnet18-logit-a0.7-T2-t0-s0"


def test_no_file_is_no_selection(untrained: Tiny) -> None:
    """Before the selection there is nothing to read, and that is no error."""
    assert read_selected(Path("selected.json"), untrained.study) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alpha: [0.3, 0.7]", "alpha: [0.3, 0.9]"),
        ("alpha: [0.3, 0.7]", "alpha: [0.3, 0.5, 0.7]"),
        ("teacher: 2, student: 2", "teacher: 2, student: 3"),
        ("    feature: {alpha: [0.5]}\n", ""),
        ("    feature: {alpha: [0.5]}\n", "    feature: {alpha: [0.5]}\n    attention: {alpha: [0.5], beta: [9.0]}\n"),
        ("seeds: [0], distilled_seeds: [0]", "seeds: [0, 1], distilled_seeds: [1, 0]"),
        ("selection:\n  seed: 0", "selection:\n  seed: 7"),
        ("teacher_logits: table", "teacher_logits: online"),
    ],
)
def test_another_studys_selection_counts_as_none(untrained: Tiny, selected: Path, old: str, new: str) -> None:
    """Once the grid or any setting of its runs has changed, the selection has to be made again."""
    text = (untrained.root / "profiles/tiny.yaml").read_text()
    if not new:  # without Feature-KD there is no bug ablation either
        untrained.edit("bug_ablation:\n  - {teacher: resnet34, student: resnet18, seeds: [0]}", "bug_ablation: []")
    assert old in text
    untrained.edit(old, new)
    assert read_selected(selected, untrained.study) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{alpha: [0.3, 0.7], temperature: [2.0]}", "{temperature: [2.0], alpha: [0.3, 0.7]}"),
        ("seeds: [0], distilled_seeds: [0]", "seeds: [0, 1], distilled_seeds: [0, 1]"),
        ("seeds: [0, 1]\nstem", "seeds: [0, 1, 2, 3]\nstem"),
    ],
)
def test_a_selection_outlives_what_does_not_concern_it(untrained: Tiny, selected: Path, old: str, new: str) -> None:
    """Hyperparameters in another order, more teachers, more seeds: the search need not be made again."""
    before = read_selected(selected, untrained.study)
    untrained.edit(old, new)
    assert read_selected(selected, untrained.study) == before


def _choose(*chosen: bool) -> Callable[[Any], None]:
    def edit(content: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        for row, value in zip(content["candidates"], chosen, strict=True):
            row["chosen"] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_choose(True, True, True), "logit.* marked `chosen: True` against its val_acc"),
        (_choose(False, False, True), "logit.* marked `chosen: False` against its val_acc"),
        (_choose(True, False, False), "marked `chosen: (True|False)` against its val_acc"),
        (lambda content: content.pop("candidates"), r"kdcap.selected/2\), found something else"),
        (lambda content: content["candidates"][0].pop("chosen"), r"kdcap.selected/2\), found something else"),
        (lambda content: content.update(candidates=3), r"kdcap.selected/2\), found something else"),
        (
            lambda content: content.update(schema="kdcap.selected/1"),
            r"kdcap.selected/2\), found schema kdcap.selected/1",
        ),
    ],
)
def test_an_edited_selection_is_refused(
    untrained: Tiny, selected: Path, edit: Callable[[Any], object], words: str
) -> None:
    """No winner, two winners, or another structure: one sentence with the file and what to do."""
    content = json.loads(selected.read_text())
    edit(content)
    selected.write_text(json.dumps(content))
    with pytest.raises(StudyError, match=words) as error:
        read_selected(selected, untrained.study)
    assert str(selected) in str(error.value)
    assert "delete the file" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_selection_is_refused(untrained: Tiny, selected: Path, content: bytes) -> None:
    """A cut, empty or foreign file is never taken for `not selected yet`."""
    selected.write_bytes(content)
    with pytest.raises(StudyError, match=r"selected\.json: expected a selection"):
        read_selected(selected, untrained.study)
