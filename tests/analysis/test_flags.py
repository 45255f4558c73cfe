"""What a reader is warned of, and only where it is so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pytest

from analysis.flags import flags, told_apart
from analysis.results import Rival
from analysis.runs.layout import layout_of
from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.table import check_runs, finals
from analysis.study.models import Fitted, primary

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]


def told(runs: pd.DataFrame, metric: Metric = ACCURACY, fitted: Sequence[Fitted] = ()) -> list[str]:
    """Flags of a table."""
    final = finals(runs)
    return list(flags(runs, final, layout_of(final), metric, fitted))


def test_published_flags(published: pd.DataFrame) -> None:
    """Seed 0 chooses and counts, checkpoints are not told apart, 15 rows repeat others."""
    found = told(published)
    assert found[0].startswith("Seed 0 both chose the hyperparameters and counts")
    assert "these checkpoints of resnet101, resnet34, resnet50 only" in found[1]
    assert found[2].startswith("126 rows are 111 distinct runs")
    assert len(found) == 3


def test_selection_by_other_seeds_is_no_flaw(published: pd.DataFrame) -> None:
    """Hyperparameters chosen at a seed that does not count, or by no runs of the table, are not flagged."""
    elsewhere = published.copy()
    elsewhere.loc[elsewhere["stage"] == "select", "seed"] = 99
    assert not any("both chose" in flag for flag in told(elsewhere))
    assert not any("both chose" in flag for flag in told(published[published["stage"] == "final"]))


def test_only_distilled_seeds_can_have_chosen(published: pd.DataFrame) -> None:
    """A baseline has no hyperparameters: seed 0 among baselines alone is no selection effect."""
    distilled = (published["stage"] == "final") & (published["method"] != "none") & (published["seed"] == 0)
    assert not any("both chose" in flag for flag in told(published[~distilled]))


def test_teachers_without_names_or_absent(simulated: Simulated) -> None:
    """One unnamed teacher is told as such; baselines alone have none to speak of."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34")])
    unnamed = check_runs(runs.drop(columns="teacher"), "x")
    assert "The table names no teachers" in " ".join(told(unnamed))
    bare = runs[runs["method"] == "none"].reset_index(drop=True)
    assert not any("eacher" in flag for flag in told(bare))
    assert "these checkpoints of t only" in " ".join(told(runs))


def test_checkpoints_are_counted(simulated: Simulated) -> None:
    """With several, intervals hold beyond them; one teacher with several is enough, and the others are counted too."""
    runs = simulated(checkpoints=3)
    (flag,) = [flag for flag in told(runs) if "heckpoints" in flag]
    assert flag.startswith(
        "Teacher checkpoints are told apart (3 of resnet101, 3 of resnet34, 3 of resnet50): intervals"
    )
    one = runs[(runs["teacher"] != "resnet34") | (runs["teacher_seed"] == 0)].reset_index(drop=True)
    assert any("(3 of resnet101, 1 of resnet34, 3 of resnet50)" in flag for flag in told(one))
    assert any("Teacher checkpoints are not told apart" in flag for flag in told(simulated(checkpoints=1)))


def test_a_lower_is_better_metric_is_told_first(simulated: Simulated) -> None:
    """Whoever reads a gain of an error rate must know that it is a reduction."""
    runs = simulated()
    errors = runs[["teacher", "student", "method", "seed"]].assign(err=1 - runs["test_acc_best"])
    metric = Metric("err", higher_is_better=False)
    assert told(check_runs(errors, "x", metric), metric)[0].startswith("Of err a lower value is better")


def test_missing_pairs_are_told_with_their_reason(simulated: Simulated) -> None:
    """Moderation needs two students; the flag says why there are not."""
    runs = simulated(pairs=[("t", "resnet18")])
    assert any(
        flag.startswith("Capacity as a moderator is not tested: it compares two students") for flag in told(runs)
    )
    assert not any("not tested" in flag for flag in told(simulated()))


def test_fits_speak_for_themselves(simulated: Simulated, framed: Framed) -> None:
    """A singular fit is named, a component that was left out is explained, a regular fit is silent."""
    regular = primary(framed(simulated(draw=2, tau_pp=0.3)), "acc", "all")
    singular = primary(framed(simulated(draw=1, tau_pp=0)), "acc", "teachers:t")
    runs = simulated(draw=2)
    unpaired = primary(framed(runs.assign(seed=range(len(runs)))), "acc", "all")
    assert told(runs, fitted=[regular]) == told(runs)
    (flag,) = [flag for flag in told(runs, fitted=[regular, singular]) if flag not in told(runs)]
    assert "primary of acc (teachers:t). Each was refitted" in flag
    (flag,) = [flag for flag in told(runs, fitted=[unpaired]) if flag not in told(runs)]
    assert "the runs cannot tell its variance apart" in flag


def rival(name: str, correlation: float | None, share: float) -> Rival:
    """A rival of which only what the sentence uses is set."""
    return Rival(name, 0.1, "pp", 0.1, 0.5, 0.0, 0.0, 0.0, correlation, share, 40)


def test_rivals_are_told_by_what_can_be_found_out() -> None:
    """What is one moderator here, and how often each other one would be found."""
    none = rival("none", None, 0.9)
    same = [rival("student", 1.0, 0.3), rival("log10 parameters", 1.0, 0.3)]
    sentence = told_apart([none, *same, rival("accuracy gap (x)", 0.9, 0.131)])
    assert sentence.startswith("Rival moderators: student, log10 parameters are one moderator here")
    assert sentence.endswith("accuracy gap (x) is found in 13% of data sets in which it is the truth.")
    assert told_apart([none, same[0], rival("gap", 0.5, 0.5)]).count("is found in") == 1
    assert "are one moderator" not in told_apart([none, same[0], rival("gap", 0.5, 0.5)])
    assert told_apart([none, rival("log10 FLOPs", None, 0.25)]) == (
        "Rival moderators: log10 FLOPs is found in 25% of data sets in which it is the truth."
    )


@pytest.mark.parametrize(
    "rivals", [[], [rival("none", None, 1.0)], [rival("none", None, 1.0), rival("student", 1.0, 1)]]
)
def test_without_rivals_nothing_is_told(rivals: list[Rival]) -> None:
    """One moderator alone has nothing to be confused with."""
    assert told_apart(rivals) == ""
