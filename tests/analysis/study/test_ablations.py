"""Stems, clipping, fidelity and versions: by paired tests, plain means and arithmetic on the published numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.results import Analysis
from analysis.runs.metric import ACCURACY, Metric
from analysis.study import ablations
from analysis.study.models import pairs

Simulated = Callable[..., pd.DataFrame]


def by_seed(rows: pd.DataFrame, column: str = "test_acc_best") -> np.ndarray:
    """Values in order of seeds, in percent."""
    return 100 * rows.sort_values("seed")[column].to_numpy(dtype=float)


def stem_rows(published: pd.DataFrame, student: str, stem: str) -> pd.DataFrame:
    """Rows of the stem ablation."""
    rows = published[published["stage"] == "stem_ablation"]
    return rows[(rows["student"] == student) & (rows["stem"] == stem)]


def test_stems_are_paired_by_seed(published: pd.DataFrame) -> None:
    """+7.150 and +6.737 pp; the error is the pooled one of two paired t tests, on 2 + 2 degrees of freedom."""
    part = ablations.stems(published, ACCURACY)
    assert part is not None
    fitted, frame, contrasts = part
    assert list(contrasts) == ["stem:cifar-imagenet:resnet18", "stem:cifar-imagenet:resnet34"]
    assert (len(frame), fitted.first.model, fitted.first.singular) == (12, "stem", False)
    differences = {
        student: by_seed(stem_rows(published, student, "cifar")) - by_seed(stem_rows(published, student, "imagenet"))
        for student in ("resnet18", "resnet34")
    }
    pooled = math.sqrt(sum(d.var(ddof=1) for d in differences.values()) / 2)
    for student, expected in (("resnet18", 7.15), ("resnet34", 6.7367)):
        found = fitted.used.estimate(contrasts[f"stem:cifar-imagenet:{student}"])
        assert found.value == pytest.approx(differences[student].mean())
        assert found.value == pytest.approx(expected, abs=1e-4)
        assert (found.se, found.df) == pytest.approx((pooled / math.sqrt(3), 4))


@pytest.mark.parametrize(("student", "theirs"), [("resnet18", stats.ttest_rel), ("resnet34", stats.ttest_ind)])
def test_one_stem_alone_is_a_classical_t_test(
    published: pd.DataFrame, student: str, theirs: Callable[..., Any]
) -> None:
    """With one student it is scipy's: paired by seed, or of two samples where seeds turn out to share nothing."""
    rows = published[(published["stage"] != "stem_ablation") | (published["student"] == student)]
    part = ablations.stems(rows.reset_index(drop=True), ACCURACY)
    assert part is not None
    test = theirs(by_seed(stem_rows(published, student, "cifar")), by_seed(stem_rows(published, student, "imagenet")))
    found = part[0].used.estimate(part[2][f"stem:cifar-imagenet:{student}"])
    assert part[0].first.singular == (theirs is stats.ttest_ind)
    assert (found.t, found.df, found.p) == pytest.approx((test.statistic, test.df, test.pvalue))


def test_a_single_seed_has_no_interval_and_no_contrast(published: pd.DataFrame) -> None:
    """ResNet-50's one seed a stem is left out; without the ablation there is nothing."""
    assert set(stem_rows(published, "resnet50", "imagenet")["seed"]) == {0}
    assert ablations.stems(published[published["student"] == "resnet50"].reset_index(drop=True), ACCURACY) is None
    assert ablations.stems(published[published["stage"] == "final"].reset_index(drop=True), ACCURACY) is None
    other = Metric("test_acc_final", higher_is_better=True)
    empty = published.assign(test_acc_final=np.nan)
    assert ablations.stems(empty, other) is None
    assert ablations.clipping(empty, other) is None


def test_clipping_is_a_paired_t_test_with_the_final_runs(published: pd.DataFrame) -> None:
    """+0.050 pp for the runs whose projections were left out: scipy's paired t test, p 0.63."""
    part = ablations.clipping(published, ACCURACY)
    assert part is not None
    fitted, frame, contrasts = part
    cell = (published["teacher"] == "resnet50") & (published["student"] == "resnet18")
    cell &= published["method"] == "feature"
    bugged = published[published["stage"] == "bug_ablation"]
    final = published[cell & (published["stage"] == "final")]
    theirs = stats.ttest_rel(by_seed(bugged), by_seed(final))
    (name,) = contrasts
    assert name == "clipping:without-with:resnet50>resnet18:feature"
    found = fitted.used.estimate(contrasts[name])
    assert not fitted.first.singular
    assert (found.value, found.p) == pytest.approx((0.05, 0.63), abs=5e-3)
    assert (found.value, found.t, found.df, found.p) == pytest.approx(
        (np.mean(by_seed(bugged) - by_seed(final)), theirs.statistic, 4, theirs.pvalue)
    )
    assert len(frame) == 10


def test_a_singular_clipping_fit_compares_two_samples(published: pd.DataFrame) -> None:
    """Seeds that go against each other: the refit is Student's test of two independent samples."""
    runs = published.copy()
    bugged = runs["stage"] == "bug_ablation"
    final = (runs["stage"] == "final") & (runs["teacher"] == "resnet50") & (runs["student"] == "resnet18")
    final &= runs["method"] == "feature"
    ordered = np.sort(runs.loc[final, "test_acc_best"].to_numpy())
    runs.loc[final, "test_acc_best"] = ordered
    runs.loc[bugged, "test_acc_best"] = np.sort(runs.loc[bugged, "test_acc_best"].to_numpy())[::-1]
    part = ablations.clipping(runs, ACCURACY)
    assert part is not None
    fitted, _, contrasts = part
    assert fitted.first.singular
    theirs = stats.ttest_ind(by_seed(runs[bugged]), by_seed(runs[final]))
    found = fitted.used.estimate(next(iter(contrasts.values())))
    assert (found.t, found.df, found.df_method) == (pytest.approx(theirs.statistic), 8, "residual")


def test_clipping_compares_runs_of_one_setting(published: pd.DataFrame) -> None:
    """Runs at another alpha differ in more than clipping: they are not compared."""
    runs = published.copy()
    runs.loc[runs["stage"] == "bug_ablation", "alpha"] = 0.3
    assert ablations.clipping(runs, ACCURACY) is None
    few = published[(published["stage"] != "bug_ablation") | (published["seed"] == 0)].reset_index(drop=True)
    assert ablations.clipping(few, ACCURACY) is None


def test_clipping_compares_runs_of_one_checkpoint(published: pd.DataFrame) -> None:
    """The ablation learned from the first checkpoint: final runs of the second are none of its partners."""
    taught = published["teacher"] != ""
    first = published.assign(teacher_seed=pd.Series(0, published.index, dtype="Int64").where(taught))
    second = first[taught & (first["stage"] == "final")].assign(teacher_seed=1)
    found, plain = ablations.clipping(pd.concat([first, second]), ACCURACY), ablations.clipping(published, ACCURACY)
    assert found is not None
    assert plain is not None
    pd.testing.assert_series_equal(found[1]["y"], plain[1]["y"])
    assert found[2] == plain[2]


def finals_of(published: pd.DataFrame) -> pd.DataFrame:
    """Final rows."""
    return published[published["stage"] == "final"].reset_index(drop=True)


def fidelity_mean(published: pd.DataFrame, cell: str, column: str) -> float:
    """Plain mean of a distilled cell."""
    pair, method = cell.split(":")
    teacher, student = pair.split(">")
    rows = finals_of(published)
    own = rows[(rows["teacher"] == teacher) & (rows["student"] == student) & (rows["method"] == method)]
    return float(own[column].mean())


def test_agreement_compares_every_two_cells(published: pd.DataFrame) -> None:
    """28 differences of eight plain means, which lie between 95.33 and 95.53%."""
    part = ablations.fidelity(finals_of(published), "agreement")
    assert part is not None
    fitted, frame, contrasts = part
    assert (len(contrasts), len(frame)) == (28, 40)
    means = {cell: 100 * fidelity_mean(published, cell, "agreement") for cell in fitted.used.cells}
    assert (min(means.values()), max(means.values())) == pytest.approx((95.33, 95.53), abs=5e-3)
    for name, weights in contrasts.items():
        one, other = (cell for cell, _ in sorted(weights.items(), key=lambda item: -item[1]))
        assert name == f"agreement:{one}-{other}"
        assert fitted.used.estimate(weights).value == pytest.approx(means[one] - means[other])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("kl_t1", (0.070, 0.093, 0.099, 0.094)), ("kl_t4", (-0.005, -0.009, 0.003, 0.002))],
)
def test_closeness_is_logit_less_feature(published: pd.DataFrame, measure: str, expected: tuple[float, ...]) -> None:
    """In nats, by pair: feature follows more closely at T=1 everywhere, at T=4 not for ResNet-18."""
    part = ablations.fidelity(finals_of(published), measure)
    assert part is not None
    fitted, _, contrasts = part
    pairs_of = ("resnet34>resnet18", "resnet50>resnet18", "resnet50>resnet34", "resnet101>resnet34")
    for pair, value in zip(pairs_of, expected, strict=True):
        found = fitted.used.estimate(contrasts[f"closer:feature-logit:{pair}"])
        plain = fidelity_mean(published, f"{pair}:logit", measure) - fidelity_mean(
            published, f"{pair}:feature", measure
        )
        assert found.value == pytest.approx(plain)
        assert found.value == pytest.approx(value, abs=6e-4)
        assert found.df == pytest.approx(24)  # 40 runs less 10 seeds and 6 free means


def test_closeness_error_is_that_within_seeds(published: pd.DataFrame) -> None:
    """The error of a difference within seeds: from what is left of the table after seeds and cells, by hand."""
    rows = finals_of(published).query("method != 'none'")
    part = ablations.fidelity(finals_of(published), "kl_t1")
    assert part is not None
    cell = rows["teacher"] + rows["student"] + rows["method"]
    rest = rows["kl_t1"] - rows["kl_t1"].groupby(cell).transform("mean")
    rest -= rest.groupby([rows["student"], rows["seed"]]).transform("mean")
    sigma2 = float((rest**2).sum()) / 24
    found = part[0].used.estimate(part[2]["closer:feature-logit:resnet50>resnet34"])
    assert found.se == pytest.approx(math.sqrt(2 * sigma2 / 5))


def test_fidelity_without_its_column_or_its_cells_is_none(published: pd.DataFrame, simulated: Simulated) -> None:
    """Nothing measured, one cell, or feature without logit: nothing to compare."""
    rows = finals_of(published)
    assert ablations.fidelity(finals_of(simulated()), "agreement") is None
    assert ablations.fidelity(finals_of(simulated()), "kl_t1") is None
    one = rows[(rows["teacher"] == "resnet101") & (rows["method"] == "feature")].reset_index(drop=True)
    assert ablations.fidelity(one, "agreement") is None
    assert ablations.fidelity(rows[rows["method"] != "logit"].reset_index(drop=True), "kl_t1") is None


def test_versions_by_hand(published_analysis: Analysis, first_version: pd.DataFrame) -> None:
    """Six cells: v1's gain less the plain gain here, -0.02 to +0.15, +0.08 on average."""
    rows = published_analysis.history
    cells = {(c.teacher, c.student, c.method): c.mean_pct for c in published_analysis.cells}
    assert len(rows) == len(first_version) == 6
    published_gains = first_version.set_index(["teacher", "student", "method"])["gain_pp"]
    for row in rows:
        gain = cells[row.teacher, row.student, row.method] - cells["", row.student, "none"]
        assert row.gain_pp == pytest.approx(gain)
        assert row.v1_gain_pp == published_gains[row.teacher, row.student, row.method]
        assert row.difference_pp == pytest.approx(row.v1_gain_pp - gain)
    differences = [row.difference_pp for row in rows]
    assert (min(differences), max(differences)) == pytest.approx((-0.02, 0.15), abs=5e-3)
    assert np.mean(differences) == pytest.approx(0.08, abs=5e-3)


def test_choosing_on_test_images_would_have_added(published: pd.DataFrame) -> None:
    """Best tried test accuracy less that of the one chosen on validation images: 0.00 to 0.32 pp, by cell."""
    found = ablations.selection_optimism(published)
    expected = {
        ("resnet34", "resnet18", "feature"): 0.02, ("resnet34", "resnet18", "logit"): 0.27,
        ("resnet50", "resnet18", "feature"): 0.04, ("resnet50", "resnet18", "logit"): 0.14,
        ("resnet50", "resnet34", "feature"): 0.19, ("resnet50", "resnet34", "logit"): 0.32,
        ("resnet101", "resnet34", "feature"): 0.00, ("resnet101", "resnet34", "logit"): 0.01,
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for cell, value in expected.items():
        assert found[cell] == pytest.approx(value, abs=1e-9)
    assert np.mean(list(found.values())) == pytest.approx(0.12, abs=5e-3)
    assert ablations.selection_optimism(finals_of(published)) == {}


def test_the_versions_mean_has_both_versions_noise(
    published: pd.DataFrame, published_frame: pd.DataFrame, first_version: pd.DataFrame
) -> None:
    """These runs' variance over five seeds and v1's over three: by hand from the model's covariance.

    More seeds here leave v1's own noise: the standard error does not go to 0.
    """
    source = pairs(published_frame, "acc", "all").used
    gains = {
        (r.teacher, r.student, r.method): {f"{r.teacher}>{r.student}:{r.method}": 1.0, f"{r.student}:none": -1.0}
        for r in first_version.itertuples()
    }
    rows, mean = ablations.versions(first_version, source, gains, finals_of(published))
    assert mean is not None
    estimate, precision = mean
    sigma2 = source.fit.variances["residual"]
    # four R18 cells and two R34 cells of 5 runs at weight 1/6; baselines of 5 at 4/6 and 2/6; seed effects cancel
    squares = (6 * (1 / 6) ** 2 + (4 / 6) ** 2 + (2 / 6) ** 2) / 5
    here = math.sqrt(sigma2 * squares)
    assert estimate.value == pytest.approx(np.mean([row.difference_pp for row in rows]))
    assert (estimate.se, estimate.df) == pytest.approx((here * math.sqrt(1 + 5 / 3), 32))
    assert precision(5) == pytest.approx((estimate.se, 32))
    assert precision(10**9)[0] == pytest.approx(here * math.sqrt(5 / 3))
    assert {row.optimism_pp for row in rows} == {None}


def test_versions_of_other_cells_are_not_compared(
    published: pd.DataFrame, published_frame: pd.DataFrame, first_version: pd.DataFrame
) -> None:
    """A table of cells that these runs lack says nothing about them."""
    source = pairs(published_frame, "acc", "all").used
    assert ablations.versions(first_version, source, {}, finals_of(published)) == ((), None)
