"""From a formula and a table to matrices: codings, groups, gates, aliased columns, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from designs import CROSSED, METHODS, STUDY, crossed, gated, study

from analysis.errors import ModelError
from analysis.mixed.fit import fit
from analysis.mixed.model import build

TABLE = study(np.random.default_rng(0))


def test_the_first_level_is_the_reference() -> None:
    """Categorical columns keep their order, text columns are sorted; coefficients are differences to the first."""
    model = build(STUDY, TABLE)
    assert model.names == (
        "Intercept", "student[T.resnet34]", "method[T.feature]", "method[T.logit]",
        "student[T.resnet34]:method[T.feature]", "student[T.resnet34]:method[T.logit]",
    )  # fmt: skip
    means = TABLE.groupby(["student", "method"], observed=True)["acc_pct"].mean()
    first = means["resnet18", "none"]
    ordinary = np.linalg.lstsq(model.x, model.y, rcond=None)[0]
    assert ordinary[:3] == pytest.approx(
        [first, means["resnet34", "none"] - first, means["resnet18", "feature"] - first]
    )


def test_each_run_belongs_to_one_group() -> None:
    """A plain component has a 1 where a run belongs to a group, and each level's name is its column's."""
    (component,) = build(STUDY, TABLE).components
    assert component.name == "student:seed"
    assert component.z.shape == (30, 10)
    assert (component.z.sum(axis=1) == 1).all()
    for label, column in zip(component.levels, component.z.T, strict=True):
        runs = TABLE[column == 1]
        assert set(runs["student"] + ":" + runs["seed"].astype(str)) == {label}


def test_a_slash_nests() -> None:
    """`a/b` is `a` and `a:b`, as in lme4."""
    nested, spelt = (
        build(f"acc_pct ~ {term}", TABLE) for term in ("(1|student/seed)", "(1|student) + (1|student:seed)")
    )
    assert [one.name for one in nested.components] == ["student", "student:seed"]
    for one, other in zip(nested.components, spelt.components, strict=True):
        assert one.levels == other.levels
        assert (one.z == other.z).all()


def test_a_gate_acts_where_it_is_one() -> None:
    """`(0 + kd | teacher)` touches distilled runs alone, and a teacher that never acts is no level."""
    table = gated(np.random.default_rng(0))
    (component,) = build("acc_pct ~ 1 + (0 + kd | teacher)", table).components
    assert (component.name, component.term) == ("teacher[kd]", "(0 + kd | teacher)")
    assert component.levels == tuple("abc")
    assert (component.z.sum(axis=1) == table["kd"]).all()


def test_random_terms_may_stand_anywhere() -> None:
    """The order of terms in a formula changes nothing."""
    one, other = (
        build(CROSSED, TABLE.assign(teacher="a")),
        build("acc_pct ~ (1 | teacher) + method + (1 | seed)", TABLE.assign(teacher="a")),
    )
    assert one.names == other.names
    assert [c.name for c in one.components] == [c.name for c in other.components]
    assert build("acc_pct ~ (1 | seed)", TABLE).names == ("Intercept",)


def test_labels_with_colons_stay_apart() -> None:
    """`x:y` with `z` is not `x` with `y:z`, though both would be called `x:y:z`."""
    table = pd.DataFrame({"y": [1.0, 2, 3, 4], "a": ["x:y", "x:y", "x", "x"], "b": ["z", "z", "y:z", "y:z"]})
    (component,) = build("y ~ 1 + (1 | a:b)", table).components
    assert component.z.shape == (4, 2)


def test_without_leaves_a_component_out() -> None:
    """Formula and components follow, and the rest is what the shorter formula builds."""
    table = crossed(np.random.default_rng(0))
    shorter = build(CROSSED, table).without(["teacher"])
    assert shorter.formula == "acc_pct ~ method + (1 | seed)"
    direct = build(shorter.formula, table)
    assert [c.name for c in shorter.components] == ["seed"]
    assert fit(shorter).minus_2_log_likelihood == fit(direct).minus_2_log_likelihood


def test_with_response_changes_the_response_alone() -> None:
    """The design is kept."""
    model = build(STUDY, TABLE)
    other = model.with_response(model.y + 1)
    assert (other.y == model.y + 1).all()
    assert other.x is model.x
    assert other.components is model.components


def test_aliased_columns_are_left_out() -> None:
    """With a cell missing, its interaction column says nothing; the others stay, and the fit is the other cells'."""
    table = TABLE[(TABLE["student"] == "resnet18") | (TABLE["method"] != "logit")]
    model = build(STUDY, table)
    assert len(model.names) == 5
    assert "student[T.resnet34]:method[T.logit]" not in model.names
    assert np.linalg.matrix_rank(model.x) == 5


def test_the_mean_of_a_missing_cell_is_refused_by_name() -> None:
    """No run tells it; the other cells' means are told."""
    table = TABLE[(TABLE["student"] == "resnet18") | (TABLE["method"] != "logit")]
    model = build(STUDY, table)
    told = pd.DataFrame({"student": ["resnet34", "resnet18"], "method": ["feature", "logit"]})
    observed = table.groupby(["student", "method"], observed=True)["acc_pct"].mean()
    means = model.rows(told) @ np.linalg.lstsq(model.x, model.y, rcond=None)[0]
    assert means == pytest.approx([observed["resnet34", "feature"], observed["resnet18", "logit"]])
    with pytest.raises(ModelError, match="no run tells the mean of student resnet34, method logit"):
        model.rows(pd.DataFrame({"student": ["resnet34"], "method": ["logit"]}))


def test_an_additive_model_tells_a_missing_cell() -> None:
    """Without an interaction the runs do say what the missing cell's mean is."""
    table = TABLE[(TABLE["student"] == "resnet18") | (TABLE["method"] != "logit")]
    model = build("acc_pct ~ student + method + (1 | student:seed)", table)
    assert model.rows(pd.DataFrame({"student": ["resnet34"], "method": ["logit"]})).tolist() == [[1, 1, 0, 1]]


def test_a_level_without_runs_is_refused() -> None:
    """A level that the runs do not have, or that was declared and never ran, has no mean."""
    with pytest.raises(ModelError, match="no run tells the mean of student resnet50"):
        build(STUDY, TABLE).rows(pd.DataFrame({"student": ["resnet50"], "method": ["none"]}))
    declared = TABLE.assign(method=TABLE["method"].cat.add_categories(["relation"]))
    model = build("acc_pct ~ method + (1 | student:seed)", declared)
    assert len(model.names) == 3
    with pytest.raises(ModelError, match="no run tells the mean of method relation"):
        model.rows(pd.DataFrame({"method": pd.Categorical(["relation"], declared["method"].cat.categories)}))


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1.0, 1e12])
def test_a_covariate_s_unit_does_not_matter(unit: float) -> None:
    """FLOPs, GFLOPs or anything between: no column is dropped for being small, no direction lost beside a large one."""
    table = TABLE.assign(flops=(1.0 + TABLE["seed"] ** 2) * unit)
    model = build("acc_pct ~ flops + (1 | student:seed)", table)
    assert model.names == ("Intercept", "flops")
    assert model.null.shape[1] == 0
    assert model.rows(table.head(2)).tolist() == [[1.0, unit], [1.0, unit]]
    twice = build("acc_pct ~ flops + again + (1 | student:seed)", table.assign(again=3 * table["flops"]))
    assert twice.names == ("Intercept", "flops")
    told = pd.DataFrame({"flops": [2 * unit], "again": [6 * unit]})
    assert twice.rows(told).tolist() == [[1.0, 2 * unit]]
    with pytest.raises(ModelError, match="no run tells"):
        twice.rows(table.head(1).assign(again=5 * unit)[["flops", "again"]])


SENTENCES = {
    "acc_pct ~ method + (kd | seed)": r"expected a random intercept .* found \(kd \| seed\)",
    "acc_pct ~ method + (1 + kd | seed)": "random slopes are not fitted here",
    "acc_pct ~ method + (1 || seed)": r"expected random terms like \(1 \| group\)",
    "acc_pct ~ method + (1 | batch)": "no column 'batch'; the table has student, method, seed",
    "acc_pct ~ method + (0 + gate | seed)": "no column 'gate'",
    "acc_pct ~ method + (0 + student | seed)": "gate 'student' must be a column of numbers",
    "acc_pct ~ batch + (1 | seed)": "cannot be coded: .*batch",
    "top1 ~ method + (1 | seed)": "cannot be coded: .*top1",
    "method ~ student + (1 | seed)": "expected one numeric response",
    "method + (1 | seed)": "expected one numeric response",
}


@pytest.mark.parametrize("formula", SENTENCES)
def test_a_formula_that_does_not_fit_the_table_is_refused(formula: str) -> None:
    """One sentence says what was expected and what was found."""
    with pytest.raises(ModelError, match=SENTENCES[formula]):
        build(formula, TABLE)


@pytest.mark.parametrize(("column", "value"), [("acc_pct", np.nan), ("acc_pct", np.inf), ("student", None)])
def test_gaps_are_refused(column: str, value: object) -> None:
    """A missing or infinite number in a column that is used is named; in another column it does not matter."""
    table = TABLE.astype({"student": object})
    table.loc[3, column] = value
    with pytest.raises(ModelError, match=f"column '{column}' has gaps"):
        build(STUDY, table)
    build("kd ~ method + (1 | seed)", table)


def test_factor_order_is_the_table_s() -> None:
    """Reversing a categorical's levels changes the reference, not the fitted means."""
    reversed_ = TABLE.assign(method=pd.Categorical(TABLE["method"], METHODS[::-1]))
    one, other = build(STUDY, TABLE), build(STUDY, reversed_)
    assert one.names != other.names
    assert fit(one).fitted == pytest.approx(fit(other).fitted, abs=1e-10)
