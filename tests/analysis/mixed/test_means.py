"""Estimated marginal means: each level of the factors left out counts equally."""

from __future__ import annotations

import numpy as np
import pytest
from designs import METHODS, STUDENTS, STUDY, study

from analysis.errors import ModelError
from analysis.mixed.fit import fit
from analysis.mixed.means import marginal_means
from analysis.mixed.model import build

FACTORS = {"student": STUDENTS, "method": METHODS}
TABLE = study(np.random.default_rng(0))
# resnet34 distilled by logits ran three times less: plain means are then no longer means of cells
UNEQUAL = TABLE.drop(index=[17, 20, 23])


def test_cell_means_of_a_full_model_are_the_cells_means() -> None:
    """In a balanced table each combination's estimate is its average."""
    found = fit(build(STUDY, TABLE))
    means = marginal_means(found.model, FACTORS, ("student", "method"))
    observed = TABLE.groupby(["student", "method"], observed=True)["acc_pct"].mean()
    assert {key: c @ found.beta for key, c in means.items()} == pytest.approx(observed.to_dict(), abs=1e-9)


def test_keys_follow_the_order_asked_for() -> None:
    """`by` names the factors kept and orders them."""
    model = build(STUDY, TABLE)
    assert list(marginal_means(model, FACTORS, ("method",))) == [(one,) for one in METHODS]
    swapped = marginal_means(model, FACTORS, ("method", "student"))
    assert set(swapped) == {(method, student) for method in METHODS for student in STUDENTS}
    straight = marginal_means(model, FACTORS, ("student", "method"))
    assert all((swapped[b, a] == c).all() for (a, b), c in straight.items())


@pytest.mark.parametrize("kept", ["student", "method"])
def test_what_is_left_out_counts_equally(kept: str) -> None:
    """With unequal numbers of runs a margin is the plain mean of its cells, not of its runs."""
    found = fit(build(STUDY, UNEQUAL))
    cells = {
        key: float(c @ found.beta) for key, c in marginal_means(found.model, FACTORS, ("student", "method")).items()
    }
    place = ("student", "method").index(kept)
    for (level,), c in marginal_means(found.model, FACTORS, (kept,)).items():
        mine = [value for key, value in cells.items() if key[place] == level]
        assert c @ found.beta == pytest.approx(np.mean(mine), abs=1e-9)
    student = marginal_means(found.model, FACTORS, ("student",))
    runs = UNEQUAL.groupby("student")["acc_pct"].mean()
    assert abs(student["resnet34",] @ found.beta - runs["resnet34"]) > 1e-6


def test_no_factor_kept_is_the_grand_mean() -> None:
    """One key, the mean of all cells."""
    found = fit(build(STUDY, TABLE))
    ((key, c),) = marginal_means(found.model, FACTORS, ()).items()
    assert key == ()
    assert c @ found.beta == pytest.approx(TABLE["acc_pct"].mean(), abs=1e-9)


def test_a_missing_cell_has_no_mean() -> None:
    """Neither it nor a margin over it; the margin's refusal names the cell."""
    table = TABLE[(TABLE["student"] == "resnet18") | (TABLE["method"] != "logit")]
    model = build(STUDY, table)
    for by in (("student", "method"), ("student",), ("method",)):
        with pytest.raises(ModelError, match="no run tells the mean of student resnet34, method logit"):
            marginal_means(model, FACTORS, by)
    told = marginal_means(model, {"student": STUDENTS, "method": METHODS[:2]}, ("student",))
    assert len(told) == 2


def test_a_misspelt_level_is_refused() -> None:
    """It is not taken for the reference level."""
    with pytest.raises(ModelError, match="no run tells the mean of student resnet-34"):
        marginal_means(build(STUDY, TABLE), {"student": ("resnet18", "resnet-34"), "method": METHODS}, ("student",))
