"""The engine against lme4, lmerTest, pbkrtest and emmeans: every number of every fit in tests/r/fixtures.json."""

from __future__ import annotations

from dataclasses import replace

import agreement
import numpy as np
import pytest
from agreement import QUANTITIES, Deviation, combinations, deviations, fitted, largest


@pytest.mark.parametrize("name", combinations())
def test_every_number_of_a_fit_is_r_s(name: str) -> None:
    """Estimates, degrees of freedom, tests, means, BLUPs, R2 and intervals stand within their tolerances of R's."""
    off = [one for one in deviations(name) if not one.size <= QUANTITIES[one.quantity].tolerance]
    assert not off


@pytest.mark.parametrize("name", combinations())
def test_the_same_components_are_singular_as_in_r(name: str) -> None:
    """Both engines put the same variances at exactly zero."""
    entry = combinations()[name]
    theirs = {agreement.component_named(fitted(name).model, one)[0] for one in entry["components"] if one["theta"] == 0}
    assert set(fitted(name).singular) == theirs
    assert bool(theirs) == entry["singular"]


def test_the_fixtures_cover_what_they_should() -> None:
    """Eight models and more, singular ones, REML and ML, both metrics; no quantity of the table is without numbers."""
    entries = combinations().values()
    assert len(entries) >= 8
    assert {one["reml"] for one in entries} == {True, False}
    assert sum(one["singular"] for one in entries) >= 3
    assert {"test_acc_best_pct", "test_acc_final_pct"} <= {one["response"] for one in entries}
    assert {len(one["components"]) for one in entries} == {1, 2, 3}
    names = ("primary", "crossed_ml")
    found = [one for name in names for one in deviations(name)]
    assert {one.quantity for one in found} == set(QUANTITIES)


def test_r_s_own_errors_are_far_below_the_tolerances() -> None:
    """R's distance from an independent dense computation, recorded beside each fit, cannot explain a disagreement."""
    limits = {
        "criterion": QUANTITIES["-2 log likelihood, REML criterion"].tolerance,
        "default_excess": QUANTITIES["-2 log likelihood, REML criterion"].tolerance,
        "satterthwaite_df": QUANTITIES["Satterthwaite df"].tolerance,
        "kenward_roger_df": QUANTITIES["Kenward-Roger df"].tolerance,
        "kenward_roger_se": QUANTITIES["Kenward-Roger SE"].tolerance,
    }
    for entry in combinations().values():
        for check, limit in limits.items():
            assert entry["checks"].get(check, 0.0) < limit / 10


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"sigma2": 1 + 1e-5}, {"sigma", "component sd", "SE", "Kenward-Roger SE"}),
        ({"beta": 1 + 1e-9}, {"fixed effect", "marginal mean"}),
    ],
)
def test_a_wrong_number_is_seen(monkeypatch: pytest.MonkeyPatch, change: dict[str, float], seen: set[str]) -> None:
    """An error variance off by 1e-5 of itself, or fixed effects by 1e-9 of theirs, break the comparison."""
    right = fitted("gated")
    wrong = replace(right, **{field: getattr(right, field) * factor for field, factor in change.items()})
    monkeypatch.setattr(agreement, "fitted", lambda _: wrong)
    off = {one.quantity for one in deviations("gated") if not one.size <= QUANTITIES[one.quantity].tolerance}
    assert seen <= off


def test_the_table_names_the_worst() -> None:
    """The printed table holds each quantity's largest deviation, what is allowed, and where it was."""
    found = [Deviation("one", quantity, 1e-12) for quantity in QUANTITIES]
    found.append(Deviation("two", "SE", 1e-7))
    assert largest(found)["SE"] == Deviation("two", "SE", 1e-7)
    assert agreement.rows(found)[2].split(" | ")[:3] == ["| SE", "relative", "1e-07"]


def test_missing_and_surplus_numbers_are_refused() -> None:
    """A coefficient that R names otherwise stops the comparison instead of pairing wrong numbers."""
    entry = combinations()["primary"]
    shuffled = entry | {"fixed": entry["fixed"] | {"names": entry["fixed"]["names"][::-1]}}
    with pytest.raises(ValueError, match="are not R's"):
        list(agreement.estimates(shuffled, fitted("primary")))
    assert np.isfinite([one.size for one in deviations("primary")]).all()
