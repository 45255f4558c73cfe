"""The front door: what comes out of a table, of one that lacks something, and of the same one twice."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.analyze import analyze
from analysis.claims.register import Registered
from analysis.errors import TableError
from analysis.results import Analysis, Claim, Contrast
from analysis.runs.metric import Metric
from analysis.runs.table import check_runs

Simulated = Callable[..., pd.DataFrame]
Quickly = Callable[..., Analysis]
PAIR = "resnet34-resnet18"
ERROR = Metric("top1_error", higher_is_better=False)


def contrast(analysis: Analysis, name: str, subset: str = "all", model: str = "primary") -> Contrast:
    """One row of contrasts."""
    (row,) = [c for c in analysis.contrasts if (c.contrast, c.subset, c.model) == (name, subset, model)]
    return row


def claim(analysis: Analysis, name: str) -> Claim:
    """One claim."""
    (row,) = [c for c in analysis.claims if c.id == name]
    return row


def without(runs: pd.DataFrame, student: str, method: str) -> pd.DataFrame:
    """The runs less those of a student under a method."""
    return runs[~((runs["student"] == student) & (runs["method"] == method))].reset_index(drop=True)


def error_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The same final runs, told by their error rate."""
    columns = runs[["teacher", "student", "method", "seed"]]
    return check_runs(columns.assign(top1_error=1 - runs["test_acc_best"]), "errors.csv", ERROR)


def test_published_answer(published_analysis: Analysis) -> None:
    """The verdict comes first, its numbers after, then the same under one teacher."""
    answer = published_analysis.answer
    assert answer[0] == "Cannot tell whether larger students gain more from distillation."
    assert "+0.09 under feature (Holm-adjusted 95% interval -0.14 to +0.32)" in answer[1]
    assert "(resnet50): cannot tell, +0.10 under feature" in answer[2]
    assert "cannot tell, +0.03 under logit" in answer[2]


def test_primary_rows_are_named_as_documented(published_analysis: Analysis) -> None:
    """Whoever reads contrasts.csv finds them by these words; no estimate stands there twice."""
    rows = [c for c in published_analysis.contrasts if c.model == "primary" and c.subset == "all"]
    assert {(c.metric, c.df_method, c.n, c.singular) for c in rows} == {("test_acc_best", "kenward-roger", 50, False)}
    assert [c.contrast for c in rows] == [
        *(f"gain:{s}:{m}" for s in ("resnet18", "resnet34") for m in ("feature", "logit")),
        f"moderation:feature-none:{PAIR}",
        f"moderation:logit-none:{PAIR}",
        f"moderation:feature-logit:{PAIR}",
        "lead:feature-logit:resnet18",
        "lead:feature-logit:resnet34",
    ]
    keys = Counter((c.model, c.metric, c.subset, c.contrast) for c in published_analysis.contrasts)
    assert set(keys.values()) == {1}


def test_every_contrast_row_agrees_with_itself(published_analysis: Analysis) -> None:
    """T, p and interval follow from estimate, standard error and degrees of freedom, by scipy."""
    for row in published_analysis.contrasts:
        assert row.t == pytest.approx(row.estimate_pp / row.se_pp)
        assert row.p == pytest.approx(2 * stats.t.cdf(-abs(row.t), row.df))
        interval = stats.t.interval(0.95, row.df, row.estimate_pp, row.se_pp)
        assert (row.ci_low_pp, row.ci_high_pp) == pytest.approx(interval)
        narrower = stats.t.interval(0.90, row.df, row.estimate_pp, row.se_pp)
        assert (row.ci90_low_pp, row.ci90_high_pp) == pytest.approx(narrower)
        inside = max(abs(row.ci90_low_pp), abs(row.ci90_high_pp)) < 0.2
        assert row.p_equivalence is not None
        assert (row.p_equivalence < 0.05) == inside


def test_a_claim_and_its_contrast_say_the_same_of_the_margin(published_analysis: Analysis) -> None:
    """The claim's 90% interval and test at the margin are those of its row in contrasts.csv."""
    rows = {(c.model, c.metric, c.subset, c.contrast): c for c in published_analysis.contrasts}
    held = [c for c in published_analysis.claims if c.unit == "pp" and c.kind != "at least" and c.contrasts]
    assert len(held) > 10
    for one in held:
        row = rows[one.model, one.metric, one.subset, one.contrast]
        assert (one.ci90_low, one.ci90_high) == pytest.approx((row.ci90_low_pp, row.ci90_high_pp))
        assert one.p_equivalence == pytest.approx(row.p_equivalence)


def rows_where(runs: pd.DataFrame, keep: Callable[[dict[str, object]], bool]) -> tuple[int, ...]:
    """Rows of a table, counted from 1, by a filter of our own."""
    return tuple(number for number, row in enumerate(runs.to_dict("records"), 1) if keep(row))


def test_models_name_their_runs(published_analysis: Analysis, published: pd.DataFrame) -> None:
    """All final rows; of one teacher's model baselines and its students'; of gains the runs and their baselines."""
    found = {(m.model, m.metric, m.subset): m for m in published_analysis.models}
    final = rows_where(published, lambda row: row["stage"] == "final")
    assert len(final) == 50
    for model in ("primary", "pairs", "gain", "gain:refit", "gap", "gap-mean"):
        assert found[model, "test_acc_best", "all"].runs == final
    assert found["gain", "test_acc_best", "all"].n == 40
    by_one = found["primary", "test_acc_best", "teachers:resnet50"]
    assert by_one.runs == rows_where(
        published, lambda row: row["stage"] == "final" and row["teacher"] in ("", "resnet50")
    )
    assert by_one.n == len(by_one.runs) == 30


def test_ablations_name_their_runs(published_analysis: Analysis, published: pd.DataFrame) -> None:
    """Stems without the student of one seed; clipping with the final runs of its cell; fidelity without baselines."""
    found = {(m.model, m.metric): m for m in published_analysis.models}
    assert found["stem", "test_acc_best"].runs == rows_where(
        published, lambda row: row["stage"] == "stem_ablation" and row["student"] != "resnet50"
    )
    cell = ("resnet50", "resnet18", "feature")
    assert found["clipping", "test_acc_best"].runs == rows_where(
        published,
        lambda row: (
            row["stage"] in ("final", "bug_ablation") and (row["teacher"], row["student"], row["method"]) == cell
        ),
    )
    distilled = rows_where(published, lambda row: row["stage"] == "final" and row["method"] != "none")
    for measure in ("agreement", "kl_t1", "kl_t4"):
        assert found["fidelity", measure].runs == distilled
    for model in published_analysis.models:
        if not model.model.startswith(("gain", "gap")):
            assert len(model.runs) == model.n


def test_runs_of_gains_are_those_with_a_baseline_at_their_seed(quickly: Quickly, simulated: Simulated) -> None:
    """Without the baseline of one seed its distilled runs have no gain; other students' rows stay out of the pair's."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")], draw=2)
    lost = (runs["student"] == "resnet18") & (runs["method"] == "none") & (runs["seed"] == 3)
    runs = runs[~lost].reset_index(drop=True)
    found = {(m.model, m.subset): m.runs for m in quickly(runs).models}
    assert found["primary", "all"] == tuple(range(1, len(runs) + 1))
    assert found["gain", "all"] == rows_where(runs, lambda row: (row["student"], row["seed"]) != ("resnet18", 3))
    assert found["primary", "teachers:t"] == rows_where(runs, lambda row: row["student"] != "resnet34")


def test_cells_are_plain_descriptions(published_analysis: Analysis, published: pd.DataFrame) -> None:
    """Mean, sd and n of each of ten cells; alpha and temperature only where they mean something."""
    cells = {(c.teacher, c.student, c.method): c for c in published_analysis.cells}
    assert len(cells) == 10
    own = published[published["stage"] == "final"].query("teacher == 'resnet50' and method == 'logit'")
    own = 100 * own[own["student"] == "resnet34"]["test_acc_best"]
    cell = cells["resnet50", "resnet34", "logit"]
    assert (cell.mean_pct, cell.sd_pp) == pytest.approx((np.mean(own), np.std(own, ddof=1)))
    assert (cell.alpha, cell.temperature, cell.n) == (0.3, 3.0, 5)
    assert (cells["", "resnet34", "none"].alpha, cells["", "resnet34", "none"].temperature) == (None, None)
    assert cells["resnet50", "resnet34", "feature"].temperature is None


def test_effect_sizes_stand_for_every_distilled_cell(published_analysis: Analysis, published: pd.DataFrame) -> None:
    """Eight gains with Welch's test, as scipy gives it; the paper's 0.031 and 0.022 for ResNet-34 are among them."""
    found = {e.label: e for e in published_analysis.effect_sizes}
    assert len(found) == 8
    final = published[published["stage"] == "final"]
    base = final[(final["student"] == "resnet34") & (final["method"] == "none")]["test_acc_best"]
    for teacher, p in (("resnet50", 0.031), ("resnet101", 0.022)):
        own = final[(final["teacher"] == teacher) & (final["student"] == "resnet34") & (final["method"] == "feature")]
        row = found[f"gain:{teacher}>resnet34:feature"]
        assert row.p_welch == pytest.approx(stats.ttest_ind(own["test_acc_best"], base, equal_var=False).pvalue)
        assert row.p_welch == pytest.approx(p, abs=5e-4)


def test_planning_tables_belong_to_moderation(published_analysis: Analysis) -> None:
    """Half the margin, the margin and twice it, for both contrasts; the effect found at five seeds is above 0.2."""
    names = {f"moderation:{m}-none:{PAIR}" for m in ("feature", "logit")}
    assert {row.contrast for row in published_analysis.power} == names
    assert {row.contrast for row in published_analysis.seeds_needed} == names
    assert {row.effect_pp for row in published_analysis.power} == {0.1, 0.2, 0.4}
    (now,) = [r for r in published_analysis.power if (r.seeds, r.effect_pp) == (5, 0.2) and "feature" in r.contrast]
    assert now.smallest_detectable_pp > 0.2


def test_rows_in_another_order_are_the_same_table(
    quickly: Quickly, raw_published: pd.DataFrame, quick_published: Analysis
) -> None:
    """To the last digit, of every table that comes out."""
    shuffled = check_runs(raw_published.sample(frac=1, random_state=5), "x")
    assert quickly(shuffled, second=True) == quick_published


def test_chance_comes_from_the_generator_alone(
    quickly: Quickly, published: pd.DataFrame, quick_published: Analysis
) -> None:
    """The same seed gives the same digits, another seed other ones, and only where something is drawn."""
    one, other = (quickly(published, seed=seed, second=True) for seed in (0, 2))
    assert one == quick_published
    assert one.intervals != other.intervals
    assert (one.contrasts, one.claims, one.power) == (other.contrasts, other.claims, other.power)


def test_an_accuracy_and_its_error_rate_say_the_same(quickly: Quickly, simulated: Simulated) -> None:
    """Gains are reductions of an error: same numbers, same verdicts, and a flag that says so."""
    runs = simulated(draw=3)
    by_accuracy, by_error = quickly(runs), quickly(error_table(runs), metric=ERROR)
    assert (by_error.metric, by_error.higher_is_better) == ("top1_error", False)
    for one, other in zip(by_accuracy.contrasts, by_error.contrasts, strict=True):
        assert (other.contrast, other.metric) == (one.contrast, "top1_error")
        assert other.estimate_pp == pytest.approx(one.estimate_pp, abs=1e-9)
        assert other.se_pp == pytest.approx(one.se_pp)
    assert [c.verdict for c in by_error.claims] == [c.verdict for c in by_accuracy.claims]
    assert by_error.flags[0].startswith("Of top1_error a lower value is better")
    assert not any("lower value" in flag for flag in by_accuracy.flags)


def test_another_accuracy_has_its_own_means(quickly: Quickly, published: pd.DataFrame) -> None:
    """The last epoch's moderation is +0.027 and +0.062 pp; fidelity keeps its own metric."""
    found = quickly(published, metric=Metric("test_acc_final", higher_is_better=True))
    for method, expected in (("feature", 0.027), ("logit", 0.062)):
        row = contrast(found, f"moderation:{method}-none:{PAIR}")
        assert (row.metric, row.estimate_pp) == ("test_acc_final", pytest.approx(expected, abs=5e-4))
    assert claim(found, "agreement-flat").metric == "agreement"
    assert claim(found, "moderation:feature").metric == "test_acc_final"


@pytest.mark.parametrize("margin_pp", [0, -0.2, float("nan"), float("inf")])
def test_a_margin_without_width_is_refused(published: pd.DataFrame, margin_pp: float) -> None:
    """With no margin nothing could ever be shown to be small."""
    with pytest.raises(ValueError, match="margin_pp must be a number above 0"):
        analyze(published, margin_pp=margin_pp, generator=np.random.default_rng(0))


def test_the_margin_reaches_claims_and_plans(quickly: Quickly, published: pd.DataFrame) -> None:
    """A wide margin turns `cannot tell` into `refuted`; a claim's own margin in its own unit stays."""
    wide = quickly(published, margin_pp=1.0)
    assert claim(wide, "moderation:feature").verdict == "refuted"
    assert claim(wide, "moderation:feature").margin == 1.0
    assert claim(wide, "feature-closer-kl1").margin == 0.02
    feature = contrast(wide, f"moderation:feature-none:{PAIR}")
    ends = [(feature.estimate_pp + side) / feature.se_pp for side in (-1.0, 1.0)]
    assert feature.p_equivalence == pytest.approx(
        max(stats.t.cdf(ends[0], feature.df), stats.t.sf(ends[1], feature.df))
    )
    assert {row.effect_pp for row in wide.power} == {0.5, 1.0, 2.0}
    assert wide.answer[0] == "Refuted: larger students do not gain 1 percentage points more from distillation."


def test_true_moderation_is_found(quickly: Quickly, simulated: Simulated) -> None:
    """A large true difference is supported, and the answer's lead says so."""
    effects = {("resnet34", "feature"): 1.0, ("resnet34", "logit"): 1.0}
    found = quickly(simulated(effects_pp=effects, draw=2))
    assert found.answer[0] == "Supported: larger students gain more from distillation."
    assert claim(found, "moderation:feature").verdict == "supported"


def test_no_moderation_is_refuted(quickly: Quickly, simulated: Simulated) -> None:
    """Equal gains measured well are refuted as a difference, in words that keep the margin."""
    found = quickly(simulated(sigma_pp=0.03, tau_pp=0.03, draw=3))
    assert found.answer[0] == "Refuted: larger students do not gain 0.2 percentage points more from distillation."


def test_mixed_verdicts_are_told_apart(quickly: Quickly, simulated: Simulated) -> None:
    """One method moderates and the other does not: the lead names both."""
    found = quickly(simulated(effects_pp={("resnet34", "feature"): 1.0}, sigma_pp=0.03, draw=4))
    expected = "Whether larger students gain more from distillation: supported under feature, refuted under logit."
    assert found.answer[0] == expected


def test_small_real_moderation_is_told_as_such(quickly: Quickly, simulated: Simulated) -> None:
    """Beyond zero and inside the margin: supported, real but below the margin."""
    effects = {("resnet34", method): 0.1 for method in ("feature", "logit")}
    found = quickly(simulated(effects_pp=effects, sigma_pp=0.01, tau_pp=0.01, draw=5))
    assert claim(found, "moderation:logit").verdict == "supported"
    assert "real but below the margin" in claim(found, "moderation:logit").statement
    assert "real but below the margin" in found.answer[1]


def test_a_singular_fit_is_shown_with_its_refit(quickly: Quickly, simulated: Simulated) -> None:
    """Both models in every table, claims on the refit, and a flag that names the model."""
    found = quickly(simulated(tau_pp=0, draw=1), second=True)
    shown = [(c.model, c.component) for c in found.variance_components if c.subset == "all"]
    assert shown[:3] == [("primary", "student:seed"), ("primary", "residual"), ("primary:refit", "residual")]
    assert found.variance_components[0].variance_pp2 == 0
    name = f"moderation:feature-none:{PAIR}"
    first, refit = contrast(found, name), contrast(found, name, model="primary:refit")
    assert (first.singular, refit.singular) == (True, False)
    assert (refit.df, refit.df_method) == (44, "residual")
    assert refit.estimate_pp == pytest.approx(first.estimate_pp)
    assert claim(found, "moderation:feature").model == "primary:refit"
    models = {(m.model, m.subset): m for m in found.models}
    assert models["primary", "all"].zero_components == "student:seed"
    assert "primary:refit is without it" in models["primary", "all"].check
    assert any(flag.startswith("Singular fits") and "primary (all)" in flag for flag in found.flags)
    assert {row.model for row in found.emmeans} >= {"primary", "primary:refit"}
    assert {row.model for row in found.omnibus if row.test == "F"} >= {"primary", "primary:refit"}


def test_one_student_has_gains_but_no_moderation(quickly: Quickly, published: pd.DataFrame) -> None:
    """Gains are estimated and planned for; moderation is not tested, and the answer says why."""
    found = quickly(published[published["student"] == "resnet34"], second=True)
    assert claim(found, "gain:resnet34:feature").verdict == "supported"
    assert claim(found, "moderation:feature").verdict == "not tested"
    assert claim(found, "moderation:feature").statement.startswith("Not tested: it compares two students")
    assert found.answer[0].startswith("Not tested whether larger students gain more")
    assert "resnet34 supported, +0.20 under feature" in found.answer[1]
    assert (found.intervals, found.rivals, found.choices) == ((), (), ())
    assert not any(row.term == "student:method" for row in found.omnibus)
    assert {row.contrast for row in found.power} == {"gain:resnet34:feature", "gain:resnet34:logit"}


def test_baselines_alone_are_no_crash(quickly: Quickly, published: pd.DataFrame) -> None:
    """Nothing was distilled: no contrast, no claim tested, means still given."""
    found = quickly(published[published["method"] == "none"], second=True)
    assert {c.verdict for c in found.claims if c.id != "stem-worth"} == {"not tested"}
    assert not [c for c in found.contrasts if c.model in ("primary", "pairs")]
    assert len(found.emmeans) == 2
    assert (found.power, found.effect_sizes, found.rivals) == ((), (), ())
    expected = "both students need final runs of a baseline and of one method"
    assert found.answer == (f"Not tested whether larger students gain more from distillation: {expected}.",)


def test_one_cell_is_a_table_too(quickly: Quickly, published: pd.DataFrame) -> None:
    """One student's baselines: a mean with its interval, and nothing else to say."""
    rows = (published["student"] == "resnet18") & (published["method"] == "none") & (published["stage"] == "final")
    found = quickly(published[rows].reset_index(drop=True), second=True)
    (mean,) = found.emmeans
    own = 100 * published[rows]["test_acc_best"]
    interval = stats.t.interval(0.95, 4, own.mean(), own.std() / np.sqrt(5))
    assert (mean.ci_low_pct, mean.ci_high_pct) == pytest.approx(interval)
    assert (found.contrasts, found.omnibus) == ((), ())
    assert {c.verdict for c in found.claims} == {"not tested"}


def test_a_table_without_baselines_is_no_crash(quickly: Quickly, simulated: Simulated) -> None:
    """No gain can be estimated, and every student is flagged; feature against logit still can."""
    runs = simulated()
    found = quickly(runs[runs["method"] != "none"].reset_index(drop=True), second=True)
    assert claim(found, "gain:resnet34:feature").verdict == "not tested"
    assert claim(found, "moderation:feature-logit").verdict != "not tested"
    assert claim(found, "feature-at-least-logit").contrasts == 4
    assert sum("has no baseline" in flag for flag in found.flags) == 2


def test_a_student_without_baseline_has_no_gain(quickly: Quickly, simulated: Simulated) -> None:
    """Its gains are not tested and flagged; the other student's are."""
    found = quickly(without(simulated(), "resnet18", "none"))
    assert claim(found, "gain:resnet18:logit").verdict == "not tested"
    assert claim(found, "gain:resnet34:logit").verdict != "not tested"
    assert any("resnet18 has no baseline" in flag for flag in found.flags)


def test_a_missing_cell_costs_its_own_contrasts_alone(quickly: Quickly, simulated: Simulated) -> None:
    """ResNet-18 was not distilled by logit: that moderation is not tested, all else is a difference of means."""
    runs = without(simulated(draw=7), "resnet18", "logit")
    found = quickly(runs)
    assert claim(found, "moderation:logit").verdict == "not tested"
    assert claim(found, "gain:resnet18:logit").verdict == "not tested"
    means = (100 * runs["test_acc_best"]).groupby([runs["student"], runs["method"]]).mean()
    gain = contrast(found, "gain:resnet34:logit").estimate_pp
    assert gain == pytest.approx(means["resnet34", "logit"] - means["resnet34", "none"])
    names = {row.contrast for row in found.intervals}
    assert names == {f"moderation:feature-none:{PAIR}"}


def test_a_lost_run_is_flagged_and_survived(quickly: Quickly, published: pd.DataFrame) -> None:
    """Without one run there is still an answer, and the cell and its seed are named."""
    lost = (published["stage"] == "final") & (published["method"] == "logit") & (published["seed"] == 3)
    found = quickly(published.drop(index=published.index[lost][0]), second=True)
    row = contrast(found, f"moderation:logit-none:{PAIR}")
    assert (row.n, row.df_method) == (49, "kenward-roger")
    assert 34 < row.df < 36
    assert any("resnet101>resnet34:logit lacks seed 3" in flag for flag in found.flags)


def test_a_new_method_is_asked_about_too(quickly: Quickly, simulated: Simulated) -> None:
    """A plugin's method gets claims of its own; the paper's methods, absent, are not tested."""
    found = quickly(simulated(methods=["mine"]))
    assert claim(found, "moderation:mine").verdict != "not tested"
    assert claim(found, "moderation:feature").verdict == "not tested"
    assert contrast(found, f"moderation:mine-none:{PAIR}").p_holm is None


def test_the_smallest_table_that_works(quickly: Quickly, simulated: Simulated) -> None:
    """Two students, one method, two seeds: an answer, a joint test that is t squared, and no rival models."""
    found = quickly(simulated(pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["mine"], seeds=2), second=True)
    row = contrast(found, f"moderation:mine-none:{PAIR}")
    joint = next(o for o in found.omnibus if (o.model, o.term) == ("primary", "student:method"))
    assert (joint.statistic, joint.p) == (pytest.approx(row.t**2), pytest.approx(row.p))
    assert found.rivals == ()
    assert found.answer


def test_three_students_have_a_joint_test_and_every_two_are_compared(quickly: Quickly, simulated: Simulated) -> None:
    """The interaction has (3 - 1) x 2 numerator df; the claims are asked of the extremes, or of two that are named."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")], draw=2)
    means = (100 * runs["test_acc_best"]).groupby([runs["student"], runs["method"]]).mean()
    gains = {student: means[student, "logit"] - means[student, "none"] for student in set(runs["student"])}
    found, named = quickly(runs), quickly(runs, student_order=["resnet18", "resnet34"])
    assert found.omnibus[0].df_num == 4
    for analysis, larger in ((found, "resnet50"), (named, "resnet34")):
        row = claim(analysis, "moderation:logit")
        assert row.contrast == f"moderation:logit-none:{larger}-resnet18"
        assert row.estimate == pytest.approx(gains[larger] - gains["resnet18"])
        assert claim(analysis, "moderation-same-teacher:logit").subset == "teachers:t"
        matched = contrast(analysis, row.contrast, "teachers:t")
        assert (matched.n, matched.estimate_pp) == (30, pytest.approx(row.estimate))
        others = {c.contrast: c for c in analysis.contrasts if c.family == "moderation-others"}
        pairs = {f"{a}-{b}" for a, b in (("resnet34", "resnet18"), ("resnet50", "resnet18"), ("resnet50", "resnet34"))}
        assert set(others) == {
            f"moderation:{method}-none:{pair}"
            for method in ("feature", "logit")
            for pair in pairs - {f"{larger}-resnet18"}
        }
        middle = others["moderation:logit-none:resnet50-resnet34"]
        assert middle.estimate_pp == pytest.approx(gains["resnet50"] - gains["resnet34"])
    unknown = quickly(runs.replace({"student": {"resnet50": "mine"}}), student_order=["resnet18", "resnet34"])
    assert not any(c.family == "moderation-others" for c in unknown.contrasts)  # of a third nobody knows the sign
    # what moderates the gain is asked of all three, or of the two that were named
    assert {r.n for r in found.rivals} == {30}
    assert {r.n for r in named.rivals} == {20}
    assert "student" not in {r.moderator for r in found.rivals}
    assert any(
        flag.startswith("Of 3 students the smallest and the largest, resnet18 and resnet50") for flag in found.flags
    )
    assert not any("the smallest and the largest" in flag for flag in named.flags)


def test_the_seed_of_the_one_checkpoint_changes_nothing(
    raw_published: pd.DataFrame, quickly: Quickly, quick_published: Analysis
) -> None:
    """Where each teacher has one checkpoint, telling which it was leaves every number and word as it is."""
    told = raw_published.assign(teacher_seed=["" if teacher == "" else "0" for teacher in raw_published["teacher"]])
    assert quickly(check_runs(told, "x"), second=True) == quick_published


def test_runs_of_several_checkpoints_are_no_independent_replicates(quickly: Quickly, simulated: Simulated) -> None:
    """Every model of distilled runs tells checkpoints apart, and intervals are as wide as they differ."""
    runs = simulated(checkpoints=3, checkpoint_pp=0.4, sigma_pp=0.05, tau_pp=0.05, draw=3)
    runs = runs.assign(agreement=0.9 + np.random.default_rng(0).normal(0, 0.01, len(runs)))
    runs.loc[runs["method"] == "none", "agreement"] = np.nan
    found = quickly(runs, second=True)
    part = "(0 + kd | teacher:teacher_seed:student/method)"
    for model in ("primary", "pairs", "gain", "fidelity"):
        assert {part in row.formula for row in found.models if row.model == model} == {True}, model
    row = contrast(found, f"moderation:logit-none:{PAIR}")
    # a checkpoint's part of a cell has variance 2 x 0.4^2, and moderation is of four pairs' means over three of them
    assert row.se_pp == pytest.approx(np.sqrt(2 * 0.4**2 / 3), rel=0.4)
    assert row.df < 20  # of 130 runs
    assert found.flags[0].startswith(
        "Teacher checkpoints are told apart (3 of resnet101, 3 of resnet34, 3 of resnet50)"
    )
    assert claim(found, "moderation:logit").seeds_to_settle is None  # more seeds at these checkpoints would not do
    assert found.effect_sizes == ()
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_checkpoints_and_new_images(quickly: Quickly, simulated: Simulated) -> None:
    """Per-image correctness of runs over checkpoints: wider intervals, one t over seeds a cell, a test a network."""
    runs = simulated(checkpoints=2, checkpoint_pp=0.2, seeds=3)
    right = correctness(runs, images=2_000)
    found = quickly(runs.assign(test_acc_best=right.mean(axis=1)), correct=right)
    base = contrast(found, f"moderation:feature-none:{PAIR}")
    wider = contrast(found, base.contrast, model="primary:new-images")
    cell = ["teacher", "teacher_seed", "student", "method"]  # another checkpoint is another teacher, no other seed
    assert wider.se_pp == pytest.approx(se_for_new_images(runs, right, base, cell))
    intervals = [row for row in found.intervals if row.contrast == "gain:resnet50>resnet34:logit"]
    assert [row.model for row in intervals] == [
        "seeds", "seeds", *(f"teacher seed {checkpoint}, seed {seed}" for checkpoint in (0, 1) for seed in range(3))
    ]  # fmt: skip
    assert intervals[0].method == "paired t over seeds, these images, these checkpoints"


def test_the_order_of_students_turns_the_sign(quickly: Quickly, simulated: Simulated) -> None:
    """Whoever says which student is larger decides what a positive difference means."""
    runs = simulated(pairs=[("t", "wide"), ("t", "deep")], draw=1)
    one = quickly(runs, student_order=["wide", "deep"])
    other = quickly(runs, student_order=["deep", "wide"])
    here, there = claim(one, "moderation:logit"), claim(other, "moderation:logit")
    assert here.estimate == pytest.approx(-(there.estimate or 0))
    assert quickly(runs).answer[0].endswith("give their order with --order SMALLER,LARGER.")


def test_gaps_in_the_metric_are_refused(published: pd.DataFrame) -> None:
    """An empty accuracy is no zero."""
    runs = published.copy()
    final = runs.index[runs["stage"] == "final"][4]
    runs.loc[final, "val_acc"] = np.nan
    with pytest.raises(TableError, match=r"stage `final`, resnet18:none, seed 4: column val_acc is empty"):
        analyze(runs, metric=Metric("val_acc", higher_is_better=True), generator=np.random.default_rng(0))


def test_runs_without_spread_are_refused(simulated: Simulated) -> None:
    """Equal accuracies under every seed have no noise to hold an effect against."""
    runs = simulated()
    flat = runs.assign(test_acc_best=0.9)
    with pytest.raises(TableError, match="no spread between seeds"):
        analyze(flat, generator=np.random.default_rng(0))


def correctness(runs: pd.DataFrame, images: int = 10_000) -> np.ndarray:
    """Right answers, a row a run, as many as its accuracy says: each cell finds other images hard."""
    rng = np.random.default_rng(9)
    kinds = (runs["teacher"] + runs["student"] + runs["method"]).to_numpy()
    hardness = {kind: rng.normal(size=images) for kind in dict.fromkeys(kinds)}
    right = np.zeros((len(runs), images), dtype=bool)
    for row, kind, accuracy in zip(right, kinds, runs["test_acc_best"], strict=True):
        easiest = np.argsort(hardness[kind] + 0.5 * rng.normal(size=images))
        row[easiest[: round(accuracy * images)]] = True
    return right


def se_for_new_images(runs: pd.DataFrame, right: np.ndarray, base: Contrast, cell: list[str]) -> float:
    """Standard error of feature's moderation for new images, worked out from the rows by hand.

    Of d[i], the estimate on image i alone, var(d) / N; less the seed x image noise that the seeds' variance holds
    already, from what is left of each right answer after its run's and its image's mean in the cell.
    """
    here = (runs["stage"] == "final").to_numpy()
    final, y = runs[here].reset_index(drop=True), 100.0 * right[here]
    sign = {("resnet34", "feature"): 1, ("resnet34", "none"): -1, ("resnet18", "feature"): -1, ("resnet18", "none"): 1}
    counts = final.groupby(["student", "method"]).size()
    weights = np.array(
        [sign.get((s, m), 0) / counts[s, m] for s, m in zip(final["student"], final["method"], strict=True)]
    )
    images = y.shape[1]
    leftover = np.zeros_like(y)
    for places in final.assign(row=range(len(final))).groupby(cell, dropna=False)["row"].agg(list):
        own = y[places]
        residual = own - own.mean(axis=0) - own.mean(axis=1, keepdims=True) + own.mean()
        leftover[places] = residual * np.sqrt(len(own) / (len(own) - 1))
    noise = 0.0
    for places in final.groupby(["student", "seed"]).groups.values():
        noise += float(((weights[places] @ leftover[places]) ** 2).sum()) / images / (images - 1)
    return float(np.sqrt(base.se_pp**2 + float(np.var(weights @ y, ddof=1)) / images - noise))


def test_new_images_add_the_images_variance(quickly: Quickly, published: pd.DataFrame) -> None:
    """Same estimates, and for moderation the variance that the images add, worked out from the rows by hand."""
    right = correctness(published)
    found = quickly(published, correct=right)
    rows = [c for c in found.contrasts if c.model.endswith(":new-images")]
    assert {(c.model.split(":")[0], c.subset) for c in rows} >= {("primary", "all"), ("pairs", "all")}
    for row in rows:
        base = contrast(found, row.contrast, row.subset, row.model.removesuffix(":new-images"))
        assert row.estimate_pp == pytest.approx(base.estimate_pp)
        assert row.se_pp > base.se_pp
        assert (row.family, row.n) == (base.family, base.n)

    base = contrast(found, f"moderation:feature-none:{PAIR}")
    wider = contrast(found, base.contrast, model="primary:new-images")
    assert wider.se_pp == pytest.approx(se_for_new_images(published, right, base, ["teacher", "student", "method"]))
    assert not any("correctness is not known" in flag for flag in found.flags)


def test_an_own_register_is_judged_alone(
    quickly: Quickly, simulated: Simulated, register: Sequence[Registered]
) -> None:
    """Only its claims come out; an answer that no claim asks for says so."""
    runs = simulated()
    kept = [one for one in register if one.id == "gain:{student}:{method}"]
    found = quickly(runs, claims=kept)
    assert [c.id for c in found.claims] == [
        f"gain:{s}:{m}" for s in ("resnet18", "resnet34") for m in ("feature", "logit")
    ]
    assert found.answer[0] == "Not tested whether larger students gain more from distillation: no claim asks it."
    assert found.answer[1].startswith("Gains in percentage points: resnet18 ")


@pytest.mark.parametrize("methods", [["kd"], ["feature", "logit"]])
def test_two_seeds_a_cell_are_enough(simulated: Simulated, quickly: Quickly, methods: list[str]) -> None:
    """Tests that do not exist with so few groups are left out; every number that is left can be written as JSON."""
    found = quickly(simulated(methods=methods, seeds=2, draw=3), second=True)
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert found.claims
    assert {row.term for row in found.omnibus} >= {"student:method"}
