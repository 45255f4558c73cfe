"""Final rows as models see them: factors in order, gains over the same seed's baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.runs.frame import (
    ALONE,
    accuracy,
    checkpoints,
    gain_frame,
    model_frame,
    of_students,
    students_of,
    taught_by,
    unit_gains,
)
from analysis.runs.layout import layout_of
from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.table import finals

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]


def by_hand(runs: pd.DataFrame, teacher: str, student: str, method: str, seed: int) -> float:
    """Gain of one run in pp, looked up in the table."""
    own = (runs["student"] == student) & (runs["seed"] == seed)
    run = runs[own & (runs["teacher"] == teacher) & (runs["method"] == method)]["test_acc_best"].item()
    return 100 * float(run - runs[own & (runs["method"] == "none")]["test_acc_best"].item())


def test_the_frame_keeps_place_order_and_names(published: pd.DataFrame) -> None:
    """The baseline is the first method, the smaller student the first; `row` leads back to the final rows."""
    final = finals(published)
    frame = model_frame(final, 100 * accuracy(final, ACCURACY), ["resnet18", "resnet34"], ["feature", "logit"])
    assert list(frame["student"].cat.categories) == ["resnet18", "resnet34"]
    assert list(frame["method"].cat.categories) == ["none", "feature", "logit"]
    assert len(frame["cell"].cat.categories) == 10
    assert frame["y"].to_numpy() == pytest.approx(100 * final["test_acc_best"].to_numpy()[frame["row"]])
    assert (frame["kd"] == (frame["method"] != "none")).all()
    assert set(frame.loc[frame["kd"] == 0, "teacher"]) == {ALONE}
    assert frame["cell"].iloc[-1] == "resnet50>resnet34:logit"


def test_rows_of_other_students_are_left_out(published: pd.DataFrame) -> None:
    """Also their levels, so that no coefficient is asked for them."""
    final = finals(published)
    frame = model_frame(final, 100 * accuracy(final, ACCURACY), ["resnet34"], ["feature", "logit", "absent"])
    assert list(frame["student"].cat.categories) == ["resnet34"]
    assert list(frame["method"].cat.categories) == ["none", "feature", "logit"]
    assert frame.index.tolist() == list(range(len(frame)))


def test_an_error_rate_becomes_an_accuracy() -> None:
    """One minus itself; an accuracy is left as it is."""
    runs = pd.DataFrame({"err": [0.1, 0.25], "test_acc_best": [0.9, 0.8]})
    assert accuracy(runs, Metric("err", higher_is_better=False)).tolist() == [0.9, 0.75]
    assert accuracy(runs, ACCURACY).tolist() == [0.9, 0.8]


def test_gains_are_over_the_same_seeds_baseline(published: pd.DataFrame, published_frame: pd.DataFrame) -> None:
    """Forty distilled runs, each less its own student's baseline at its own seed; no baseline is left."""
    gains = gain_frame(published_frame)
    final = published[published["stage"] == "final"]
    assert len(gains) == 40
    assert list(gains["method"].cat.categories) == ["feature", "logit"]
    for row in gains.itertuples():
        assert row.y == pytest.approx(by_hand(final, row.teacher, row.student, row.method, row.seed), abs=1e-9)
    assert gains.index.tolist() == list(range(40))


def test_runs_without_their_baseline_have_no_gain(simulated: Simulated, framed: Framed) -> None:
    """A lost baseline costs its seed's gains; without any there are none, and no crash."""
    runs = simulated()
    lost = runs[~((runs["student"] == "resnet18") & (runs["method"] == "none") & (runs["seed"] == 2))]
    gains = gain_frame(framed(lost.reset_index(drop=True)))
    assert set(zip(gains["student"], gains["seed"], strict=True)) == {
        (student, seed) for student in ("resnet18", "resnet34") for seed in range(5)
    } - {("resnet18", 2)}
    bare = gain_frame(framed(runs[runs["method"] != "none"].reset_index(drop=True)))
    assert len(bare) == 0
    assert list(bare["method"].cat.categories) == ["feature", "logit"]


def test_unit_gains_average_a_seeds_teachers(published: pd.DataFrame, published_frame: pd.DataFrame) -> None:
    """Five numbers a student, each the mean over its two teachers, indexed by seed."""
    final = published[published["stage"] == "final"]
    found = unit_gains(published_frame, "feature")
    assert list(found) == ["resnet18", "resnet34"]
    for student, teachers in (("resnet18", ("resnet34", "resnet50")), ("resnet34", ("resnet50", "resnet101"))):
        assert found[student].index.tolist() == [0, 1, 2, 3, 4]
        for seed, gain in found[student].items():
            expected = np.mean([by_hand(final, teacher, student, "feature", int(seed)) for teacher in teachers])
            assert gain == pytest.approx(expected, abs=1e-9)


def test_incomplete_seeds_have_no_unit_gain(simulated: Simulated, framed: Framed) -> None:
    """A seed that lacks one teacher's run, or the baseline, is dropped: its mean would be of other teachers."""
    runs = simulated()
    one_teacher = (runs["teacher"] == "resnet34") & (runs["method"] == "logit") & (runs["seed"] == 1)
    baseline = (runs["student"] == "resnet34") & (runs["method"] == "none") & (runs["seed"] == 4)
    frame = framed(runs[~(one_teacher | baseline)].reset_index(drop=True))
    found = unit_gains(frame, "logit")
    assert found["resnet18"].index.tolist() == [0, 2, 3, 4]
    assert found["resnet34"].index.tolist() == [0, 1, 2, 3]
    assert unit_gains(frame, "feature")["resnet18"].index.tolist() == [0, 1, 2, 3, 4]
    assert unit_gains(frame, "absent") == {}


def test_unit_gains_average_over_checkpoints_too(simulated: Simulated, framed: Framed) -> None:
    """A seed's gain is the mean over both teachers' three checkpoints; a seed that lacks one of the six is dropped."""
    runs = simulated(checkpoints=3, checkpoint_pp=0.2)
    lost = (runs["teacher"] == "resnet50") & (runs["teacher_seed"] == 2) & (runs["seed"] == 1)
    found = unit_gains(framed(runs[~lost].reset_index(drop=True)), "logit")["resnet18"]
    own = runs[runs["student"] == "resnet18"]
    assert found.index.tolist() == [0, 2, 3, 4]
    for seed, gain in found.items():
        at = own[own["seed"] == seed]
        kd, none = (100 * at[at["method"] == method]["test_acc_best"] for method in ("logit", "none"))
        assert len(kd) == 6
        assert gain == pytest.approx(kd.mean() - none.item())


def test_checkpoints_are_counted_by_teacher(
    published_frame: pd.DataFrame, simulated: Simulated, framed: Framed
) -> None:
    """Those that taught; a table that does not speak of them has one a teacher, and baselines have none."""
    assert checkpoints(published_frame) == {"resnet34": 1, "resnet50": 1, "resnet101": 1}
    runs = simulated(checkpoints=3)
    fewer = runs[~((runs["teacher"] == "resnet34") & (runs["teacher_seed"] > 0))].reset_index(drop=True)
    assert checkpoints(framed(fewer)) == {"resnet34": 1, "resnet50": 3, "resnet101": 3}
    assert checkpoints(framed(runs[runs["method"] == "none"].reset_index(drop=True))) == {}


def test_taught_by_keeps_baselines(published_frame: pd.DataFrame) -> None:
    """Thirty rows under ResNet-50 and alone, with no cell of another teacher left."""
    rows = taught_by(published_frame, ["resnet50"])
    assert (len(rows), set(rows["teacher"])) == (30, {ALONE, "resnet50"})
    assert len(rows["cell"].cat.categories) == 6
    assert rows.index.tolist() == list(range(30))


def test_of_students_leaves_no_trace_of_others(simulated: Simulated, framed: Framed) -> None:
    """Neither rows nor levels, nor a method that only the others had."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")])
    runs = runs[(runs["student"] == "resnet34") | (runs["method"] != "logit")].reset_index(drop=True)
    rows = of_students(framed(runs), ["resnet18", "resnet50"])
    assert list(rows["student"].cat.categories) == ["resnet18", "resnet50"]
    assert list(rows["method"].cat.categories) == ["none", "feature"]
    assert not any("resnet34" in cell for cell in rows["cell"].cat.categories)


def test_students_in_the_order_that_was_given(simulated: Simulated) -> None:
    """A named pair comes first and as named; the rest follow, and without a pair it is the layout's own order."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")])
    assert students_of(layout_of(runs)) == ("resnet18", "resnet34", "resnet50")
    assert students_of(layout_of(runs, ["resnet50", "resnet18"])) == ("resnet50", "resnet18", "resnet34")
