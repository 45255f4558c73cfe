"""Freezing: what is kept, which margin, and the trace that a change leaves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import ReferenceProblem
from harness.verify.freeze import freeze
from harness.verify.reference import ReferenceCard, find_reference, read_reference

PUBLISHED = find_reference("yasar2026-v2").resolve() / "runs.csv"


def frozen(folder: Path, runs: Path = PUBLISHED, **changes: Any) -> ReferenceCard:  # noqa: ANN401 - arguments of freeze
    """Freeze with what most tests do not care about."""
    arguments: dict[str, Any] = {
        "title": "A test",
        "source": {"title": "t", "location": "l", "version": "v", "licence": "CC0"},
        "environment": {"hardware": "h", "software": "s", "precision": "fp32"},
        "margin_pp": None,
        "effects_margin_pp": 0.2,
        "pass_probability": 0.9,
        "between_study_sd_pp": 0.0,
        "between_study_note": "n",
        "who": "a tester",
        "when": dt.date(2026, 6, 1),
        "why": None,
        "replace": False,
    }
    return freeze(runs, folder, **(arguments | changes))


def test_what_was_frozen_can_be_read_and_judged_by(tmp_path: Path) -> None:
    """Finals and teachers are kept, as they were written; selection and ablations are not."""
    card = frozen(tmp_path / "mine")
    reference = read_reference(str(tmp_path / "mine"))
    assert reference.card == card
    assert len(reference.finals) == 50
    kept = (tmp_path / "mine" / "runs.csv").read_text().splitlines()
    assert set(kept) <= set(PUBLISHED.read_text().splitlines())
    assert len(kept) == 1 + 9 + 50


def test_the_default_margin_of_the_published_runs(tmp_path: Path) -> None:
    """Exact replicates of the published runs pass with probability 0.9 at 0.4 pp; an assumed sd widens it."""
    assert frozen(tmp_path / "a").margins.accuracies_pp == pytest.approx(0.4)
    assert "at least 0.9" in frozen(tmp_path / "b").margins_note
    assert frozen(tmp_path / "c", between_study_sd_pp=0.2).margins.accuracies_pp > 1


def test_a_margin_given_is_taken(tmp_path: Path) -> None:
    """The user's margin stands, and the card says that it was set by hand."""
    card = frozen(tmp_path / "mine", margin_pp=0.25)
    assert card.margins.accuracies_pp == 0.25
    assert "by hand" in card.margins_note


def test_an_existing_reference_is_not_changed_silently(tmp_path: Path) -> None:
    """A second freeze under the same name is refused and leaves both files as they were."""
    folder = tmp_path / "mine"
    frozen(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ReferenceProblem, match="--replace"):
        frozen(folder, margin_pp=9.0)
    with pytest.raises(ReferenceProblem, match="--why"):
        frozen(folder, margin_pp=9.0, replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_replacement_leaves_an_entry(tmp_path: Path) -> None:
    """Who, when, why, and both digests stand in the log, after the entries that were there."""
    folder = tmp_path / "mine"
    first = frozen(folder)
    second = frozen(folder, margin_pp=0.5, replace=True, why="half a point will do", who="another")
    assert second.log[0] == first.log[0]
    entry = second.log[1]
    assert (entry.who, entry.when, entry.why) == ("another", dt.date(2026, 6, 1), "half a point will do")
    assert entry.old_sha256 == first.log[0].new_sha256 == first.content_sha256
    assert entry.new_sha256 == second.content_sha256 != first.content_sha256
    assert read_reference(str(folder)).card == second


def test_replacing_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """`--replace` on a new name is a slip of the pen."""
    with pytest.raises(ReferenceProblem, match="there is no reference"):
        frozen(tmp_path / "mine", replace=True, why="a slip")


@pytest.mark.parametrize(
    ("folder", "changes", "words"),
    [
        ("My Reference", {}, "name"),
        ("mine", {"between_study_sd_pp": float("inf")}, "--between-study-sd"),
        ("mine", {"between_study_sd_pp": float("nan")}, "--between-study-sd"),
        ("mine", {"margin_pp": -1.0}, "accuracies_pp"),
        ("mine", {"margin_pp": 0.0}, "accuracies_pp"),
        ("mine", {"effects_margin_pp": 0.0}, "effects_pp"),
        ("mine", {"margin_pp": float("inf")}, "accuracies_pp"),
        ("mine", {"between_study_sd_pp": -0.1}, "--between-study-sd"),
        ("mine", {"title": ""}, "title"),
    ],
)
def test_impossible_words_and_numbers_are_one_sentence(
    tmp_path: Path, folder: str, changes: dict[str, Any], words: str
) -> None:
    """What the card could not hold is refused by field, and nothing is written."""
    with pytest.raises(ReferenceProblem, match=rf"^{words}: .* found "):
        frozen(tmp_path / folder, **changes)
    assert not (tmp_path / folder).exists()


def test_a_table_without_stages_can_be_frozen_and_judged_by(tmp_path: Path) -> None:
    """Every row is final then, also with blanks around the headings."""
    runs = pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)
    runs = runs[runs["stage"] == "final"].drop(columns="stage").rename(columns={"seed": " seed "})
    runs.to_csv(tmp_path / "mine.csv", index=False)
    frozen(tmp_path / "mine", tmp_path / "mine.csv")
    assert len(read_reference(f"{tmp_path}/mine").finals) == 50


def test_several_checkpoints_need_an_assumed_sd(tmp_path: Path) -> None:
    """What the runs of one checkpoint share would be taken for nothing, and replicates fail far too often."""
    runs = pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)
    runs = runs[runs["stage"] == "final"].assign(
        teacher_seed=lambda rows: [
            str(int(seed) % 2) if one else "" for one, seed in zip(rows["teacher"], rows["seed"], strict=True)
        ]
    )
    runs.to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(ReferenceProblem, match="several checkpoints"):
        frozen(tmp_path / "mine", tmp_path / "mine.csv")
    card = frozen(tmp_path / "mine", tmp_path / "mine.csv", between_study_sd_pp=0.1)
    assert card.between_study_sd_pp == 0.1


def test_a_pass_probability_that_no_margin_reaches_is_refused(tmp_path: Path) -> None:
    """False FAILs take 5%, so 0.95 is out of reach; nothing is written."""
    with pytest.raises(ReferenceProblem, match="--pass-probability"):
        frozen(tmp_path / "mine", pass_probability=0.95)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda runs: runs[runs["seed"] == "0"], "no spread"),
        (lambda runs: runs.assign(dataset=""), "column dataset is empty"),
        (lambda runs: runs.assign(stem=""), "column stem is empty"),
        (lambda runs: runs.assign(epochs="", best_epoch=""), "column epochs is empty"),
    ],
)
def test_runs_that_cannot_be_a_reference_are_refused(
    tmp_path: Path,
    published: pd.DataFrame,
    saved: Callable[[pd.DataFrame], Path],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: str,
) -> None:
    """A reference needs its settings by name and at least one cell with two seeds."""
    with pytest.raises(ReferenceProblem, match=words):
        frozen(tmp_path / "mine", saved(change(published)))
