"""A table that is too large to be analysed is cut by the numbers of its seeds, whatever its runs found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.runs.reach import MOST_FINALS, first_seeds
from analysis.runs.table import check_runs

SEEDS = (3, 4, 7, 8, 9)  # numbers need not follow each other


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two cells at five seeds, and a candidate of the search at a seed of its own."""
    generator = np.random.default_rng(1)
    rows = [
        {"stage": "final", "teacher": teacher, "student": "resnet18", "method": method, "seed": seed,
         "test_acc_best": float(generator.random())}
        for teacher, method in (("", "none"), ("resnet50", "logit"))
        for seed in SEEDS
    ]  # fmt: skip
    rows.append({**rows[-1], "stage": "select", "seed": 100})
    return check_runs(pd.DataFrame(rows), "a table")


def test_a_table_of_usual_size_is_left_alone(runs: pd.DataFrame) -> None:
    """The very same table, and nothing to say."""
    for most in (MOST_FINALS, 10):
        kept, said = first_seeds(runs, most)
        assert kept is runs
        assert said == ""


def test_a_larger_one_keeps_the_first_seeds_of_every_cell(runs: pd.DataFrame) -> None:
    """As many as fit, the other stages whole, rows numbered from 0; the sentence has the counts."""
    kept, said = first_seeds(runs, 7)
    final = kept[kept["stage"] == "final"]
    assert sorted(zip(final["method"], final["seed"], strict=True)) == [
        (method, seed) for method in ("logit", "none") for seed in (3, 4, 7)
    ]
    assert kept.loc[kept["stage"] != "final", "seed"].tolist() == [100]
    assert kept.index.tolist() == list(range(7))
    assert said.startswith("Of 10 final runs 6 are analysed, 3 of 5 a cell:")


def test_results_have_no_say_in_which_runs_count(runs: pd.DataFrame) -> None:
    """Other accuracies, the same seeds."""
    other = runs.assign(test_acc_best=1 - runs["test_acc_best"])
    assert first_seeds(runs, 7)[0]["seed"].tolist() == first_seeds(other, 7)[0]["seed"].tolist()


def finals_at(seeds: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """A table of final runs: a cell a method, each at seeds of its own."""
    rows = [
        {"stage": "final", "teacher": "" if method == "none" else "resnet50", "student": "resnet18", "method": method,
         "seed": seed, "test_acc_best": 0.5}
        for method, numbers in seeds.items()
        for seed in numbers
    ]  # fmt: skip
    return check_runs(pd.DataFrame(rows), "a table")


def seeds_kept(seeds: Mapping[str, Sequence[int]], most: int) -> tuple[dict[str, list[int]], str]:
    """Seeds that are left of each cell, and what is said."""
    kept, said = first_seeds(finals_at(seeds), most)
    return {str(method): rows["seed"].tolist() for method, rows in kept.groupby("method")}, said


def test_cells_that_share_no_seed_keep_equally_many() -> None:
    """Seeds numbered through the whole study: no cell is lost, and the sentence counts runs a cell."""
    kept, said = seeds_kept({"none": range(5), "logit": range(5, 10), "feature": range(10, 15)}, most=11)
    assert kept == {"none": [0, 1, 2], "logit": [5, 6, 7], "feature": [10, 11, 12]}
    assert said.startswith("Of 15 final runs 9 are analysed, 3 of 5 a cell:")


def test_a_seed_that_is_taken_is_taken_in_every_cell() -> None:
    """A cell whose first seeds are missing keeps its own first ones, and its baseline keeps them too: pairs stay."""
    kept, said = seeds_kept({"none": range(10), "logit": range(4, 10)}, most=8)
    assert kept == {"none": [0, 1, 4, 5], "logit": [4, 5]}
    assert said.startswith("Of 16 final runs 6 are analysed, 2 to 4 of 6 to 10 a cell:")


def test_no_cell_is_left_with_fewer_runs_than_an_interval_needs() -> None:
    """Also where a seed comes first in one cell and late in another; else the table is refused."""
    generator = np.random.default_rng(2)
    refused = 0
    for _ in range(50):
        seeds = {method: sorted(generator.choice(12, 5, replace=False)) for method in ("none", "logit", "feature")}
        try:
            kept, _ = seeds_kept(seeds, most=8)
        except TableError:
            refused += 1
            continue
        assert sum(map(len, kept.values())) <= 8
        for method, numbers in seeds.items():
            assert kept[method][:2] == numbers[:2]
    assert 0 < refused < 50


def test_too_many_cells_for_two_seeds_are_refused(runs: pd.DataFrame) -> None:
    """An interval needs two seeds; the way out is named."""
    with pytest.raises(TableError, match=r"at most 3 final runs, and the first 2 seeds of every cell have 4; leave"):
        first_seeds(runs, 3)


def test_the_largest_study_that_is_shipped_is_taken_whole() -> None:
    """The profile `beyond` has 870 final runs."""
    assert MOST_FINALS > 870
