"""What a table lacks or repeats, in sentences; and silence where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.content import flagged_runs, missing_cells, suspected_copies, unequal_seeds
from analysis.runs.metric import Metric
from analysis.runs.table import check_runs, finals

REFERENCE = Path(__file__).parents[3] / "reference"
NUMBERS = ["best_epoch", "val_acc", "test_acc_best", "test_acc_final", "agreement", "kl_t1", "kl_t4"]
DIGESTS = ["weights_sha256", "history_sha256", "correct_sha256"]


@pytest.fixture(params=["yasar2026-v2", "quick"])
def shipped(request: pytest.FixtureRequest) -> pd.DataFrame:
    """Each shipped runs table, checked."""
    raw = pd.read_csv(REFERENCE / request.param / "runs.csv", dtype=str, keep_default_na=False)
    return check_runs(raw, request.param)


def copied(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, with seed 1 of R101 > R34 under logit a copy of seed 0, and no digests."""
    runs = runs.assign(**dict.fromkeys(DIGESTS, ""))
    cell = (runs["stage"] == "final") & (runs["teacher"] == "resnet101") & (runs["method"] == "logit")
    for column in NUMBERS:
        value = runs.loc[cell & (runs["seed"] == 0), column].iloc[0]
        runs.loc[cell & (runs["seed"] == 1), column] = value
    return runs


def test_shipped_tables_are_whole(shipped: pd.DataFrame) -> None:
    """Nothing is missing, unequal or copied, though runs stand in several stages."""
    final = finals(shipped)
    assert suspected_copies(shipped) == missing_cells(final) == unequal_seeds(final) == ()


def test_a_copied_run_is_suspected(shipped: pd.DataFrame) -> None:
    """Seven equal numbers under two seeds are named, also where seed 0 stands in stage `select` with fewer."""
    assert suspected_copies(copied(shipped)) == (
        "Runs of resnet101>resnet34:logit with seed 0 and seed 1 have the same best_epoch, val_acc, test_acc_best, "
        "test_acc_final, agreement, kl_t1 and kl_t4: one run copied?",
    )


def test_digests_tell_runs_apart(shipped: pd.DataFrame) -> None:
    """Equal numbers are chance where the weights differ, and no chance where even these are equal."""
    runs = copied(shipped)
    apart = runs.assign(weights_sha256=[f"{row:064x}" for row in range(len(runs))])
    assert suspected_copies(apart) == ()
    assert len(suspected_copies(runs.assign(weights_sha256="a" * 64))) == 1


def test_one_number_that_differs_is_enough(published: pd.DataFrame) -> None:
    """A copy in all but the last epoch's accuracy is another run."""
    runs = copied(published)
    runs.loc[(runs["method"] == "logit") & (runs["seed"] == 1), "test_acc_final"] = 0.5
    assert suspected_copies(runs) == ()


def test_two_equal_numbers_are_chance() -> None:
    """Accuracies on a small test set coincide; with an own metric and a third number they would be suspect."""
    rows = [("small", "none", seed, 0.9, 0.8, 0.7) for seed in range(2)]
    frame = pd.DataFrame(rows, columns=["student", "method", "seed", "accuracy", "val_acc", "f1"])
    assert suspected_copies(check_runs(frame.drop(columns="f1"), "x")) == ()
    assert suspected_copies(check_runs(frame, "x", Metric("f1", higher_is_better=True))) == (
        "Runs of small:none with seed 0 and seed 1 have the same val_acc, test_acc_best and f1: one run copied?",
    )


def test_a_copy_under_another_teacher_names_both() -> None:
    """What tells the rows apart is what the sentence shows."""
    rows = [(t, "small", "kd", 0, 3, 0.9, 0.8) for t in ("a", "b")]
    columns = ["teacher", "student", "method", "seed", "best_epoch", "accuracy", "val_acc"]
    (sentence,) = suspected_copies(check_runs(pd.DataFrame(rows, columns=columns), "x"))
    assert sentence.startswith("Runs of small:kd with teacher a and teacher b have the same best_epoch")


def small_table(**columns: list[object]) -> pd.DataFrame:
    """Rows of a table of one baseline and one distilled cell, with some columns replaced."""
    rows: dict[str, list[object]] = {
        "stage": ["select", "select", "final", "final", "final", "stem_ablation"],
        "teacher": ["big", "big", "", "big", "big", ""],
        "student": ["small"] * 6,
        "method": ["kd", "kd", "none", "kd", "kd", "none"],
        "alpha": [0.3, 0.7, None, 0.7, 0.7, None],
        "seed": [0, 0, 0, 0, 1, 0],
        "epochs": [100] * 6,
        "val_acc": [0.90, 0.91, 0.89, 0.91, 0.92, 0.89],
        "accuracy": [0.80, 0.81, 0.79, 0.81, 0.82, 0.79],
    }
    return check_runs(pd.DataFrame(rows | columns), "x")


def test_runs_that_count_twice_are_flagged_one_by_one() -> None:
    """The run that selection chose at its own seed, and both rows of every run that stands in two stages."""
    assert flagged_runs(small_table()) == {
        2: "the same run as row 4 (final)",
        3: "the same run as row 6 (stem_ablation)",
        4: "chose the hyperparameters; the same run as row 2 (select)",
        6: "the same run as row 3 (final)",
    }


def test_only_what_the_table_tells_of_a_choice_is_told() -> None:
    """Not the best of its seed, or the only candidate: no choice; trained longer: another run of the chosen setting."""
    second_best = small_table(val_acc=[0.95, 0.91, 0.89, 0.91, 0.92, 0.89])
    assert flagged_runs(second_best)[4] == "the same run as row 2 (select)"
    alone = small_table()[1:].reset_index(drop=True)
    assert flagged_runs(alone)[3] == "the same run as row 1 (select)"
    longer = small_table(epochs=[50, 50, 100, 100, 100, 100], val_acc=[0.90, 0.91, 0.89, 0.93, 0.92, 0.89])
    assert flagged_runs(longer) == {
        3: "the same run as row 6 (stem_ablation)",
        4: "the hyperparameters were chosen at its seed",
        6: "the same run as row 3 (final)",
    }
    without_validation = small_table(val_acc=[None] * 6)
    assert flagged_runs(without_validation)[4] == "the same run as row 2 (select)"


def test_a_suspected_copy_names_the_other_row(published: pd.DataFrame) -> None:
    """Both rows of a copied run, and in every stage that they stand in; nothing is suspected of the table itself."""
    assert not any("suspected" in reason for reason in flagged_runs(published).values())
    runs = copied(published)
    cell = (runs["stage"] == "final") & (runs["teacher"] == "resnet101") & (runs["method"] == "logit")
    first, second = (1 + int(runs.index[cell & (runs["seed"] == seed)][0]) for seed in (0, 1))
    reasons = {row: reason for row, reason in flagged_runs(runs).items() if "suspected" in reason}
    chosen = next(row for row in reasons if row not in (first, second))
    assert runs["stage"][chosen - 1] == "select"
    assert list(reasons) == [chosen, first, second]
    assert reasons[second] == f"copy of row {chosen} suspected"
    assert reasons[first] == (
        f"chose the hyperparameters; the same run as row {chosen} (select); copy of row {second} suspected"
    )


def test_published_winners_are_flagged(published: pd.DataFrame) -> None:
    """Seed 0 of each of the eight distilled cells chose its hyperparameters, and no other final run did."""
    chose = [row for row, reason in flagged_runs(published).items() if reason.startswith("chose")]
    final = (published["stage"] == "final") & (published["seed"] == 0) & (published["method"] != "none")
    assert chose == [1 + place for place in published.index[final]]
    assert len(chose) == 8
    final_alone = published[published["stage"] == "final"].reset_index(drop=True)
    assert flagged_runs(final_alone) == {}


def test_missing_methods_and_baselines_are_named(simulated: Callable[..., pd.DataFrame]) -> None:
    """A student without a method, one without a baseline, and a pair with fewer methods than its student."""
    final = simulated()
    small, logit = final["student"] == "resnet18", final["method"] == "logit"
    assert missing_cells(final[~(small & logit)]) == (
        "resnet18 has no final runs of logit, which another student has.",
    )
    assert missing_cells(final[~(small & (final["method"] == "none"))]) == (
        "resnet18 has no baseline among the final runs, so its gains cannot be estimated.",
    )
    assert missing_cells(final[~(small & logit & (final["teacher"] == "resnet50"))]) == (
        "resnet50>resnet18 has no final runs of logit, which resnet18 learned from another teacher.",
    )
    assert missing_cells(final[final["method"] != "none"])[1].startswith("resnet34 has no baseline")


def test_seeds_that_cells_lack_are_named(simulated: Callable[..., pd.DataFrame]) -> None:
    """Cells that lack the same seeds share a sentence; a student with fewer seeds in all its cells has one too."""
    final = simulated(seeds=12)
    small, alone = final["student"] == "resnet18", final["method"] == "none"
    assert unequal_seeds(final[~(small & alone & (final["seed"] == 3))]) == (
        "resnet18:none lacks seed 3, which other cells of resnet18 have.",
    )
    assert unequal_seeds(final[~(small & ~alone & (final["seed"] > 9))]) == (
        "resnet34>resnet18:feature, resnet34>resnet18:logit, resnet50>resnet18:feature and resnet50>resnet18:logit "
        "lack seeds 10 and 11, which other cells of resnet18 have.",
    )
    assert unequal_seeds(final[~(small & (final["seed"] > 9))]) == (
        "Students differ in their number of seeds: resnet18 10 and resnet34 12.",
    )
    (long,) = unequal_seeds(final[~(small & alone & (final["seed"] > 1))])
    assert "seeds 2, 3, 4, 5, 6, 7, 8 and 3 more, which" in long


def test_checkpoints_are_missed_one_by_one(simulated: Callable[..., pd.DataFrame]) -> None:
    """A seed, or a method, that one checkpoint's students lack is named with the checkpoint."""
    final = simulated(checkpoints=2)
    assert missing_cells(final) == unequal_seeds(final) == ()
    own = (final["teacher"] == "resnet50") & (final["teacher_seed"] == 1) & (final["student"] == "resnet18")
    logit = own & (final["method"] == "logit")
    assert unequal_seeds(final[~(logit & (final["seed"] == 3))]) == (
        "resnet50>resnet18:logit (teacher seed 1) lacks seed 3, which other cells of resnet18 have.",
    )
    assert missing_cells(final[~logit]) == (
        "resnet50>resnet18 (teacher seed 1) has no final runs of logit, which resnet18 learned from another teacher.",
    )
