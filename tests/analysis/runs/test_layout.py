"""Reading off a table which questions it can answer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.errors import TableError
from analysis.runs.layout import cell_sizes, layout_of, student_sizes
from analysis.runs.table import check_runs, finals
from analysis.study.capacity import CAPACITIES, Capacity

Simulated = Callable[..., pd.DataFrame]


def test_published_layout(published: pd.DataFrame) -> None:
    """R18 before R34; only R50 taught both."""
    layout = layout_of(finals(published))
    assert layout.students == layout.pair == ("resnet18", "resnet34")
    assert layout.shared_teachers == ("resnet50",)
    assert (layout.methods, layout.seeds) == (("feature", "logit"), 5)


def test_depth_is_a_number_not_a_word(simulated: Simulated) -> None:
    """ResNet-101 is larger than ResNet-34, though "1" sorts before "3"."""
    runs = simulated(pairs=[("t", "resnet101"), ("t", "resnet34")])
    assert layout_of(runs).pair == ("resnet34", "resnet101")


def test_unknown_names_need_an_order(simulated: Simulated) -> None:
    """Capacity cannot be guessed from a name; a given order settles it."""
    runs = simulated(pairs=[("t", "big"), ("t", "small")])
    unordered = layout_of(runs)
    assert unordered.pair is None
    assert "give their order" in unordered.no_pair
    assert layout_of(runs, ["small", "big"]).pair == ("small", "big")


def test_of_three_the_extremes_are_compared_unless_two_are_named(simulated: Simulated) -> None:
    """The smallest and the largest, where the order of all is known; else nobody until two are named."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet50"), ("t", "resnet34")])
    layout = layout_of(runs)
    assert (layout.students, layout.ordered) == (("resnet18", "resnet34", "resnet50"), True)
    assert (layout.pair, layout.named) == (("resnet18", "resnet50"), False)
    named = layout_of(runs, ["resnet34", "resnet18"])
    assert (named.pair, named.named) == (("resnet34", "resnet18"), True)
    odd = simulated(pairs=[("t", "a"), ("t", "b"), ("t", "resnet34")])
    assert (layout_of(odd).pair, layout_of(odd).ordered) == (None, False)
    assert "have 3 (a, b, resnet34); name two" in layout_of(odd).no_pair


def sized(runs: pd.DataFrame, parameters: dict[str, int]) -> pd.DataFrame:
    """The runs, with sizes of some students."""
    return check_runs(
        runs.assign(
            parameters=runs["student"].map(parameters).astype("Int64"),
            forward_gflop=runs["student"].map({name: count / 1e7 for name, count in parameters.items()}),
        ),
        "sized",
    )


def test_the_table_s_own_sizes_order_any_names(simulated: Simulated) -> None:
    """Parameters of every student settle who is larger, whatever the names say; of some they settle nothing."""
    runs = simulated(pairs=[("t", "wide"), ("t", "deep"), ("t", "resnet18")])
    known = {"wide": 3_000_000, "deep": 2_000_000, "resnet18": 5_000_000}
    layout = layout_of(sized(runs, known))
    assert layout.students == ("deep", "wide", "resnet18")
    assert layout.pair == ("deep", "resnet18")
    assert layout_of(sized(runs, known | {"wide": 2_000_000})).pair is None  # two of one size
    assert layout_of(sized(simulated(pairs=[("t", "wide"), ("t", "deep")]), {"wide": 3_000_000})).pair is None


def test_sizes_are_the_table_s_before_the_architectures(simulated: Simulated) -> None:
    """A narrow ResNet-18 is as large as its row says; a student that nothing is known of has no size."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "mine")])
    assert student_sizes(runs) == {name: CAPACITIES[name] for name in ("resnet18", "resnet34")}
    assert student_sizes(sized(runs, {"resnet18": 175_000})) == {
        "resnet18": Capacity(175_000, 0.0175),
        "resnet34": CAPACITIES["resnet34"],
    }


def test_seeds_are_counted_once_whatever_the_checkpoints(simulated: Simulated) -> None:
    """Ten runs a cell of five seeds from two checkpoints are five seeds."""
    runs = simulated(checkpoints=2)
    assert layout_of(runs).seeds == 5
    assert cell_sizes(runs)["resnet101>resnet34:logit"] == 10


@pytest.mark.parametrize(
    ("order", "words"),
    [(["a"], "must name two"), (["a", "a"], "must name two"), (["resnet18", "x"], "student x")],
)
def test_impossible_orders(simulated: Simulated, order: list[str], words: str) -> None:
    """An order that names no pair of the table is refused."""
    with pytest.raises(TableError, match=words):
        layout_of(simulated(), order)


def test_one_seed_is_refused(simulated: Simulated) -> None:
    """A single run has no spread."""
    with pytest.raises(TableError, match="has 1 run of resnet18:none; an interval needs at least 2 seeds"):
        layout_of(simulated(seeds=1))


def test_a_teacher_is_shared_only_if_it_taught_both_alike(simulated: Simulated) -> None:
    """A teacher that taught one student by one method less is not an identical condition."""
    runs = simulated()
    less = runs[~((runs["teacher"] == "resnet50") & (runs["student"] == "resnet34") & (runs["method"] == "logit"))]
    assert layout_of(runs).shared_teachers == ("resnet50",)
    assert layout_of(less).shared_teachers == ()


def test_an_unnamed_teacher_is_no_shared_one(simulated: Simulated) -> None:
    """A table without names says nothing about who taught whom."""
    runs = simulated(pairs=[("teacher", "resnet18"), ("teacher", "resnet34")])
    assert layout_of(runs).shared_teachers == ()
    assert layout_of(simulated(pairs=[("t", "resnet18"), ("t", "resnet34")])).shared_teachers == ("t",)


def test_the_smallest_cell_counts(simulated: Simulated) -> None:
    """Seeds are those of the cell that has fewest; cells are counted by their label."""
    runs = simulated(seeds=4)
    less = runs.drop(index=runs.index[runs["teacher"] == "resnet101"][:1])
    assert layout_of(less).seeds == 3
    assert cell_sizes(less)["resnet101>resnet34:feature"] + cell_sizes(less)["resnet101>resnet34:logit"] == 7
    assert cell_sizes(less)["resnet18:none"] == 4


def test_two_students_of_one_depth_have_no_order(simulated: Simulated) -> None:
    """Equal depths and unknown depths alike need a named order."""
    assert layout_of(simulated(pairs=[("t", "resnet18"), ("t", "ResNet-18")])).pair is None
    assert (
        "do not tell which student is larger" in layout_of(simulated(pairs=[("t", "vit"), ("t", "resnet18")])).no_pair
    )
    assert layout_of(simulated(pairs=[("t", "ResNet-34"), ("t", "resnet18")])).pair == ("resnet18", "ResNet-34")
