"""References: shipped content, digests, and the refusals that keep them frozen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from harness.errors import ReferenceProblem
from harness.verify.reference import find_reference, read_reference

# results/final_results.csv of the authors' repository: test accuracy at the best checkpoint, percent
PUBLISHED = {
    ("", "resnet18", "none"): (94.86, 0.14),
    ("", "resnet34", "none"): (95.04, 0.13),
    ("resnet101", "resnet34", "feature"): (95.26, 0.11),
    ("resnet101", "resnet34", "logit"): (95.10, 0.16),
    ("resnet34", "resnet18", "feature"): (94.98, 0.15),
    ("resnet34", "resnet18", "logit"): (94.78, 0.09),
    ("resnet50", "resnet18", "feature"): (94.95, 0.20),
    ("resnet50", "resnet18", "logit"): (94.91, 0.08),
    ("resnet50", "resnet34", "feature"): (95.24, 0.10),
    ("resnet50", "resnet34", "logit"): (95.13, 0.16),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the published reference that a test may spoil."""
    return Path(shutil.copytree(find_reference("yasar2026-v2"), tmp_path / "reference" / "yasar2026-v2"))


def test_the_shipped_runs_are_the_published_ones() -> None:
    """Means and sds of all ten cells agree with the table that the authors publish."""
    finals = read_reference("yasar2026-v2").finals
    cells = finals.groupby(["teacher", "student", "method"])["test_acc_best"]
    assert cells.size().to_dict() == dict.fromkeys(PUBLISHED, 5)
    for cell, (mean, sd) in PUBLISHED.items():
        assert 100 * cells.get_group(cell).mean() == pytest.approx(mean, abs=0.0051)
        assert 100 * cells.get_group(cell).std() == pytest.approx(sd, abs=0.0051)


def test_the_shipped_table_is_complete() -> None:
    """All 126 rows are there: 9 teachers, 48 of the selection grid, 50 finals, 14 and 5 of the ablations."""
    stages = pd.read_csv(find_reference("yasar2026-v2") / "runs.csv")["stage"].value_counts().to_dict()
    assert stages == {"teachers": 9, "select": 48, "final": 50, "stem_ablation": 14, "bug_ablation": 5}


def test_a_reference_is_found_by_name_folder_and_in_the_working_directory(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name, a path, and a name under ./reference all lead to it."""
    content = read_reference("yasar2026-v2").card.content_sha256
    assert read_reference(str(copy)).card.content_sha256 == content
    monkeypatch.chdir(tmp_path)
    copy.rename(tmp_path / "reference" / "mine")
    assert find_reference("mine") == Path("reference/mine")
    assert find_reference("yasar2026-v2").is_absolute()


def test_an_unknown_reference_lists_those_that_there_are() -> None:
    """The sentence names what was asked and what exists; the history folder is none of these."""
    with pytest.raises(ReferenceProblem, match=r"no-such.*yasar2026-v2") as refusal:
        find_reference("no-such")
    assert "yasar2026-v1" not in str(refusal.value)


def test_edited_runs_are_refused(copy: Path) -> None:
    """One digit changed in runs.csv, and the reference cannot be judged by."""
    runs = copy / "runs.csv"
    runs.write_text(runs.read_text().replace("0.9545", "0.9546", 1))
    with pytest.raises(ReferenceProblem, match=r"runs\.csv was edited after it was frozen"):
        read_reference(str(copy))


def test_an_edited_margin_is_refused(copy: Path) -> None:
    """The rule is frozen as the runs are: a wider margin in reference.yaml is found."""
    card = copy / "reference.yaml"
    card.write_text(card.read_text().replace("accuracies_pp: 0.4", "accuracies_pp: 0.8"))
    with pytest.raises(ReferenceProblem, match=r"reference\.yaml was edited after it was frozen"):
        read_reference(str(copy))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("accuracies_pp: 0.4", "accuracies_pp: -0.4", "accuracies_pp"),
        ("dataset: cifar10", "datasets: cifar10", "dataset"),
        ("cells: 0.03", "cells: 0.02", "add up to 0.05"),
    ],
)
def test_a_broken_card_is_one_sentence(copy: Path, old: str, new: str, words: str) -> None:
    """Impossible values, unknown keys and errors that do not add up name the file and the key."""
    card = copy / "reference.yaml"
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(ReferenceProblem, match=words) as refusal:
        read_reference(str(copy))
    assert str(card) in str(refusal.value)


def test_a_card_without_a_log_or_runs_is_refused(copy: Path) -> None:
    """Without an entry there is no digest to trust, without runs nothing to judge by."""
    path = copy / "reference.yaml"
    card = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**card, "log": []}))
    with pytest.raises(ReferenceProblem, match="has no log"):
        read_reference(str(copy))
    (copy / "runs.csv").unlink()
    with pytest.raises(ReferenceProblem, match="is missing"):
        read_reference(str(copy))
