"""The whole analysis: published runs, simulated truth, and tables that lack something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from analysis.analyze import analyze
from analysis.errors import TableError
from analysis.results import Analysis, Claim, Contrast
from analysis.table import check_runs

Simulated = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def analysis(published: pd.DataFrame) -> Analysis:
    """The published runs, analysed."""
    return analyze(published)


def contrast(analysis: Analysis, name: str, subset: str = "all", model: str = "primary") -> Contrast:
    """One row of contrasts."""
    (row,) = [c for c in analysis.contrasts if (c.contrast, c.subset, c.model) == (name, subset, model)]
    return row


def claim(analysis: Analysis, name: str) -> Claim:
    """One claim."""
    (row,) = [c for c in analysis.claims if c.id == name]
    return row


def mean_pct(runs: pd.DataFrame, student: str, method: str, teacher: str | None = None) -> float:
    """A plain mean of final runs."""
    rows = runs[(runs["stage"] == "final") & (runs["student"] == student) & (runs["method"] == method)]
    return float(100 * rows[rows["teacher"] == teacher if teacher else slice(None)]["test_acc_best"].mean())


def test_published_estimates_are_differences_of_means(analysis: Analysis, published: pd.DataFrame) -> None:
    """Pooled gains, pair gains and moderation, from plain means of the table."""
    base = {s: mean_pct(published, s, "none") for s in ("resnet18", "resnet34")}
    for method in ("feature", "logit"):
        gains = {s: mean_pct(published, s, method) - base[s] for s in base}
        for student, value in gains.items():
            assert contrast(analysis, f"gain:{student}:{method}").estimate_pp == pytest.approx(value)
        row = contrast(analysis, f"moderation:{method}-none:resnet34-resnet18")
        assert row.estimate_pp == pytest.approx(gains["resnet34"] - gains["resnet18"])
        for teacher, student in (("resnet101", "resnet34"), ("resnet50", "resnet18")):
            pair = contrast(analysis, f"gain:{teacher}>{student}:{method}", model="pairs")
            expected = mean_pct(published, student, method, teacher) - base[student]
            assert pair.estimate_pp == pytest.approx(expected)


def test_published_degrees_of_freedom_and_matched_moderation(analysis: Analysis) -> None:
    """36 within-stratum df in the primary model; under ResNet-50 alone +0.096 and +0.026 pp."""
    pooled = contrast(analysis, "moderation:feature-none:resnet34-resnet18")
    assert (pooled.df, pooled.df_method, pooled.n, pooled.singular) == (36, "anova-strata", 50, False)
    for method, expected in (("feature", 0.096), ("logit", 0.026)):
        row = contrast(analysis, f"moderation:{method}-none:resnet34-resnet18", "teachers:resnet50")
        assert row.estimate_pp == pytest.approx(expected, abs=1e-9)
        assert (row.df, row.n) == (16, 30)


def test_published_pair_gains_equal_group_fixed_effects(analysis: Analysis, published: pd.DataFrame) -> None:
    """A pair's gain and SE are those of least squares with a dummy per student:seed."""
    rows = published[published["stage"] == "final"].assign(
        y=lambda f: 100 * f["test_acc_best"],
        seeds=lambda f: f["student"] + f["seed"].astype(str),
        cell=lambda f: np.where(f["method"] == "none", "base", f["teacher"] + f["student"] + f["method"]),
    )
    fit = smf.ols("y ~ C(seeds) + C(cell, Treatment('base'))", rows).fit()
    row = contrast(analysis, "gain:resnet50>resnet34:logit", model="pairs")
    name = "C(cell, Treatment('base'))[T.resnet50resnet34logit]"
    assert row.estimate_pp == pytest.approx(fit.params[name], abs=1e-8)
    assert (row.se_pp, row.df) == (pytest.approx(fit.bse[name], rel=1e-8), fit.df_resid)


def test_published_answer(analysis: Analysis) -> None:
    """The verdict comes first, its numbers after, and the flaws of the design are flagged."""
    assert analysis.answer[0] == "Cannot tell whether larger students gain more from distillation."
    assert "+0.09 under feature" in analysis.answer[1]
    assert "(resnet50): cannot tell, +0.10 under feature" in analysis.answer[2]
    told = " ".join(analysis.flags)
    for word in ("Seed 0 both chose", "these checkpoints of resnet101, resnet34, resnet50", "111 distinct"):
        assert word in told
    assert "singular" not in told
    assert "unbalanced" not in told


def test_published_verdicts(analysis: Analysis) -> None:
    """By the rules, from the numbers above: R34 gains under feature; the lead of feature does not grow."""
    verdicts = {c.id: c.verdict for c in analysis.claims}
    assert verdicts == {
        "moderation:feature": "cannot tell",
        "moderation:logit": "cannot tell",
        "moderation-same-teacher:feature": "cannot tell",
        "moderation-same-teacher:logit": "cannot tell",
        "moderation:feature-logit": "refuted",
        "gain:resnet18:feature": "cannot tell",
        "gain:resnet18:logit": "refuted",
        "gain:resnet34:feature": "supported",
        "gain:resnet34:logit": "refuted",
    }
    for row in analysis.claims:
        assert row.statement.startswith(row.verdict.capitalize())
        assert (row.seeds_to_settle is not None) == (row.verdict == "cannot tell")
        assert row.estimate_pp == contrast(analysis, row.contrast, row.subset).estimate_pp


def test_variance_components_share_one_total(analysis: Analysis) -> None:
    """Shares of a model add to 1, and the seed's share in the published runs is 0.105."""
    rows = [c for c in analysis.variance_components if (c.model, c.subset) == ("primary", "all")]
    assert [row.component for row in rows] == ["student:seed", "residual"]
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert rows[0].share == pytest.approx(0.105, abs=0.0005)


def test_same_table_same_answer(analysis: Analysis, raw_published: pd.DataFrame) -> None:
    """Rows in another order: equal to the last digit."""
    shuffled = raw_published.sample(frac=1, random_state=5)
    assert analyze(check_runs(shuffled, "x")) == analysis


def test_other_metrics(published: pd.DataFrame) -> None:
    """The last epoch's accuracy has its own means; an unknown column is our caller's mistake."""
    found = analyze(published, metric="test_acc_final")
    assert {row.metric for row in found.contrasts} == {"test_acc_final"}
    with pytest.raises(ValueError, match="metric must be one of"):
        analyze(published, metric="agreement")
    with pytest.raises(ValueError, match="margin_pp must be a number above 0"):
        analyze(published, margin_pp=0)


def test_true_moderation_is_found(simulated: Simulated) -> None:
    """A large true difference is supported, its lead says so, and no more under the same teacher."""
    effects = {("resnet34", "feature"): 1.0, ("resnet34", "logit"): 1.0}
    found = analyze(simulated(effects_pp=effects, draw=2))
    assert found.answer[0] == "Supported: larger students gain more from distillation."
    assert claim(found, "moderation:feature").verdict == "supported"


def test_no_moderation_is_refuted(simulated: Simulated) -> None:
    """Equal gains measured well are refuted as a difference, in words that keep the margin."""
    found = analyze(simulated(sigma_pp=0.03, tau_pp=0.03, draw=3))
    expected = "Refuted: larger students do not gain 0.2 percentage points more from distillation."
    assert found.answer[0] == expected


def test_mixed_verdicts_are_told_apart(simulated: Simulated) -> None:
    """One method moderates and the other does not: the lead names both."""
    found = analyze(simulated(effects_pp={("resnet34", "feature"): 1.0}, sigma_pp=0.03, draw=4))
    expected = "Larger students gain more from distillation: supported under feature, refuted under logit."
    assert found.answer[0] == expected


def test_small_real_moderation_is_told_as_such(simulated: Simulated) -> None:
    """Beyond zero and inside the margin: supported, real but below the margin."""
    effects = {("resnet34", method): 0.1 for method in ("feature", "logit")}
    found = analyze(simulated(effects_pp=effects, sigma_pp=0.01, tau_pp=0.01, draw=5))
    assert claim(found, "moderation:logit").verdict == "supported"
    assert "real but below the margin" in claim(found, "moderation:logit").statement
    assert "real but below the margin" in found.answer[1]


def test_singular_fit_is_told_and_refitted(simulated: Simulated) -> None:
    """Seeds that share less than nothing: flagged, both models shown, contrasts by plain least squares."""
    runs = simulated(tau_pp=0, draw=1)
    found = analyze(runs)
    rows = runs.assign(y=100 * runs["test_acc_best"], cell=runs["student"] + runs["method"])
    fit = smf.ols("y ~ C(cell) - 1", rows).fit()
    gain = fit.t_test("C(cell)[resnet34feature] - C(cell)[resnet34none] = 0")
    row = contrast(found, "gain:resnet34:feature")
    assert (row.df, row.df_method, row.singular) == (44, "residual", True)
    assert row.se_pp == pytest.approx(gain.sd.item(), rel=1e-8)
    shown = [(c.model, c.component) for c in found.variance_components if c.subset == "all"]
    assert shown[:3] == [("primary", "student:seed"), ("primary", "residual"), ("primary:refit", "residual")]
    assert found.variance_components[0].variance_pp2 == 0
    assert any("Model primary (all): the fit is singular" in flag for flag in found.flags)


def test_a_lost_run_is_flagged_and_survived(published: pd.DataFrame) -> None:
    """Without one run there is still an answer, with its df method and the cell named."""
    lost = (published["stage"] == "final") & (published["method"] == "logit") & (published["seed"] == 3)
    found = analyze(published.drop(index=published.index[lost][0]))
    row = contrast(found, "moderation:logit-none:resnet34-resnet18")
    assert (row.df, row.df_method, row.n) == (35, "containment", 49)
    told = " ".join(found.flags)
    assert "fewer than 5 seeds: resnet101>resnet34:logit (4)" in told
    assert "Model primary (all): the table is unbalanced" in told


def test_one_student_has_gains_but_no_moderation(published: pd.DataFrame) -> None:
    """Gains are estimated; moderation is not tested, and the answer says why."""
    found = analyze(published[published["student"] == "resnet34"])
    assert claim(found, "gain:resnet34:feature").verdict in ("supported", "cannot tell")
    assert claim(found, "moderation:feature").verdict == "not tested"
    assert claim(found, "moderation:feature").statement.startswith("Not tested: it compares two students")
    assert found.answer[0].startswith("Not tested whether larger students gain more")
    assert "resnet34 supported, +0.20 under feature" in found.answer[1]
    assert found.omnibus == ()


def test_baselines_alone_are_no_crash(published: pd.DataFrame) -> None:
    """Nothing was distilled: every claim is not tested, means are still given."""
    found = analyze(published[published["method"] == "none"])
    assert {c.verdict for c in found.claims} == {"not tested"}
    assert found.contrasts == ()
    assert len(found.emmeans) == 2
    assert not any(row.singular for row in found.emmeans)
    assert found.models[0].engine == "ordinary least squares"
    assert found.answer == (
        "Not tested whether larger students gain more from distillation: both students need final runs of a "
        "baseline and of one method.",
    )


def test_a_student_without_baseline_has_no_gain(simulated: Simulated) -> None:
    """Its gains are not tested and flagged; the other student's are."""
    runs = simulated()
    found = analyze(runs[~((runs["student"] == "resnet18") & (runs["method"] == "none"))])
    assert claim(found, "gain:resnet18:logit").verdict == "not tested"
    assert claim(found, "gain:resnet34:logit").verdict != "not tested"
    assert any("resnet18 has no baseline" in flag for flag in found.flags)


def test_a_new_method_is_asked_about_too(simulated: Simulated) -> None:
    """A plugin's method gets claims of its own; the paper's methods, absent, are not tested."""
    found = analyze(simulated(methods=["mine"]))
    assert claim(found, "moderation:mine").verdict != "not tested"
    assert claim(found, "moderation:feature").verdict == "not tested"
    assert contrast(found, "moderation:mine-none:resnet34-resnet18").p_holm is None


def test_three_students_have_a_joint_test(simulated: Simulated) -> None:
    """The interaction has (3-1) x 2 numerator df; moderation needs a named pair, and then works."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")])
    found = analyze(runs)
    assert found.omnibus[0].df_num == 4
    assert claim(found, "moderation:logit").verdict == "not tested"
    named = analyze(runs, student_order=["resnet18", "resnet50"])
    assert claim(named, "moderation:logit").contrast == "moderation:logit-none:resnet50-resnet18"
    assert claim(named, "moderation-same-teacher:logit").verdict != "not tested"
    assert named.omnibus[1].df_num == 2


def test_gaps_in_the_metric_are_refused(published: pd.DataFrame) -> None:
    """An empty accuracy is no zero."""
    runs = published.copy()
    runs.loc[runs.index[-10], "val_acc"] = np.nan
    runs["stage"] = runs["stage"].replace("bug_ablation", "stem_ablation")
    final = runs.index[runs["stage"] == "final"][4]
    runs.loc[final, "val_acc"] = np.nan
    with pytest.raises(TableError, match=r"stage `final`, resnet18:none, seed 4: column val_acc is empty"):
        analyze(runs, metric="val_acc")
