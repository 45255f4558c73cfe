"""The specification curve: what it holds, and numbers of it made again by other libraries and by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from statistics import median

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.inference import resampling
from analysis.results import Analysis, Specification
from analysis.runs.layout import layout_of
from analysis.runs.metric import ACCURACY, Metric
from analysis.runs.table import check_runs, finals
from analysis.study import multiverse
from analysis.study.contrasts import moderation
from analysis.study.models import primary

Simulated = Callable[..., pd.DataFrame]
KEY = ("method", "metric", "scale", "seeds", "teachers", "hyperparameters", "model", "df_method")
USUAL = {
    "method": "feature", "metric": "test_acc_best", "scale": "pp", "seeds": "all", "teachers": "all",
    "hyperparameters": "selected",
}  # fmt: skip
SCALES = {
    "pp": lambda a: 100 * a,
    "log-odds": lambda a: np.log(a) - np.log1p(-a),
    "log error": lambda a: -np.log1p(-a),
}


@pytest.fixture(scope="module")
def curve(published_analysis: Analysis) -> tuple[Specification, ...]:
    """The published runs' curve."""
    return published_analysis.multiverse


def specify(runs: pd.DataFrame, metric: Metric = ACCURACY, order: list[str] | None = None) -> tuple[Specification, ...]:
    """The curve of some runs."""
    return multiverse.specifications(runs, layout_of(finals(runs), order), metric, np.random.default_rng(0))


def one(curve: tuple[Specification, ...], **choice: str) -> Specification:
    """The row with the usual choices but for those given."""
    wanted = USUAL | choice
    (row,) = [row for row in curve if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def rows_of(
    published: pd.DataFrame, without: tuple[int, ...] = (), teachers: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """Final rows, less some seeds, or with baselines and some teachers alone."""
    final = published[published["stage"] == "final"]
    final = final[~final["seed"].isin(without)]
    return final if teachers is None else final[final["teacher"].isin(["", *teachers])]


def units(final: pd.DataFrame, y: pd.Series, method: str) -> dict[str, np.ndarray]:
    """Gain of each student at each seed under a method, averaged over teachers; by dictionaries."""
    found = {}
    for student in ("resnet18", "resnet34"):
        gains = []
        for seed in sorted(set(final["seed"])):
            own = (final["student"] == student) & (final["seed"] == seed)
            taught = y[own & (final["method"] == method)]
            gains.append(taught.mean() - y[own & (final["method"] == "none")].item())
        found[student] = np.array(gains)
    return found


def test_more_than_a_hundred_ways_and_none_twice(curve: tuple[Specification, ...]) -> None:
    """Of each method's moderation; every checkpoint rule, scale, model and df method is taken by some."""
    counts = Counter(row.method for row in curve)
    assert set(counts) == {"feature", "logit"}
    assert min(counts.values()) >= 100
    assert max(Counter(tuple(getattr(row, name) for name in KEY) for row in curve).values()) == 1
    assert {row.metric for row in curve} == {"test_acc_best", "test_acc_final", "val_acc"}
    assert {row.scale for row in curve} == set(SCALES)
    assert {row.model for row in curve} == {
        "mixed", "teacher intercepts", "pair intercepts", "least squares", "pairs", "gain model", "paired t",
        "Welch t", "permutation",
    }  # fmt: skip
    assert {row.df_method for row in curve} == {
        "kenward-roger", "satterthwaite", "normal", "residual", "welch", "exact",
    }  # fmt: skip


def test_each_seed_and_each_teacher_is_left_out(curve: tuple[Specification, ...]) -> None:
    """Seed 0, which chose the hyperparameters, crossed with everything; the others on the main metric in pp."""
    assert {row.seeds for row in curve} == {"all", *(f"without {s}" for s in range(5)), "distilled 0 only"}
    teachers = {"all", "shared", *(f"without {t}" for t in ("resnet34", "resnet50", "resnet101"))}
    assert {row.teachers for row in curve} == teachers
    assert {row.scale for row in curve if row.seeds == "without 0"} == set(SCALES)
    assert {(row.metric, row.scale) for row in curve if row.seeds == "without 3"} == {("test_acc_best", "pp")}


def test_the_primary_specification_is_the_primary_contrast(
    published_analysis: Analysis, curve: tuple[Specification, ...]
) -> None:
    """Same estimate, error, df and p as contrasts.csv, and its adjusted p over both methods."""
    for method in ("feature", "logit"):
        row = one(curve, method=method, model="mixed", df_method="kenward-roger")
        name = f"moderation:{method}-none:resnet34-resnet18"
        (base,) = [
            c for c in published_analysis.contrasts if (c.model, c.subset, c.contrast) == ("primary", "all", name)
        ]
        assert (row.estimate, row.se, row.df, row.p, row.p_holm) == pytest.approx(
            (base.estimate_pp, base.se_pp, base.df, base.p, base.p_holm)
        )
        assert (row.ci_low, row.ci_high, row.n) == pytest.approx((base.ci_low_pp, base.ci_high_pp, 50))


CHOICES = [
    ("test_acc_best", "pp", (), None),
    ("test_acc_best", "pp", (0,), None),
    ("test_acc_best", "log-odds", (), None),
    ("test_acc_final", "log error", (), ("resnet50",)),
    ("val_acc", "pp", (0,), ("resnet50",)),
    ("test_acc_best", "pp", (3,), None),
]


@pytest.mark.parametrize("method", ["feature", "logit"])
@pytest.mark.parametrize(("metric", "scale", "without", "teachers"), CHOICES)
def test_tests_of_seeds_are_scipys(
    curve: tuple[Specification, ...], published: pd.DataFrame, method: str, metric: str, scale: str,
    without: tuple[int, ...], teachers: tuple[str, ...] | None,
) -> None:  # fmt: skip
    """Paired t, Welch t and permutation of ten gains, one a student and seed; the permutation by enumeration."""
    final = rows_of(published, without, teachers)
    gains = units(final, SCALES[scale](final[metric]), method)
    smaller, larger = gains["resnet18"], gains["resnet34"]
    chosen = {
        "method": method, "metric": metric, "scale": scale,
        "seeds": f"without {without[0]}" if without else "all", "teachers": "shared" if teachers else "all",
    }  # fmt: skip
    difference = pytest.approx(larger.mean() - smaller.mean(), abs=1e-9)
    for model, theirs in (
        ("paired t", stats.ttest_rel(larger, smaller)),
        ("Welch t", stats.ttest_ind(larger, smaller, equal_var=False)),
    ):
        row = one(curve, model=model, **chosen)
        interval = theirs.confidence_interval(0.95)
        assert row.estimate == difference
        assert (row.p, row.df) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-6)
        assert (row.ci_low, row.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-6)
        assert (row.n, row.singular) == (2 * len(smaller), False)
    pooled = np.concatenate([smaller, larger])
    ways = [list(places) for places in combinations(range(len(pooled)), len(larger))]
    away = np.array([abs(pooled[way].mean() - np.delete(pooled, way).mean()) for way in ways])
    row = one(curve, model="permutation", **chosen)
    assert row.p == pytest.approx(np.mean(away >= abs(larger.mean() - smaller.mean()) - 1e-9))
    assert (row.estimate, row.df_method) == (difference, "exact")
    assert (row.se, row.df, row.ci_low, row.ci_high) == (None, None, None, None)


def design(final: pd.DataFrame, *, blocks: bool) -> np.ndarray:
    """Columns by hand; the last two are moderation by feature and by logit."""
    larger = (final["student"] == "resnet34").to_numpy(dtype=float)
    methods = [(final["method"] == method).to_numpy(dtype=float) for method in ("feature", "logit")]
    labels = final["student"] + final["seed"].astype(str) if blocks else final["student"]
    return np.column_stack([pd.get_dummies(labels, dtype=float), *methods, *(larger * m for m in methods)])


@pytest.mark.parametrize(("scale", "without"), [("pp", ()), ("log-odds", (0,))])
def test_least_squares_is_statsmodels(
    curve: tuple[Specification, ...], published: pd.DataFrame, scale: str, without: tuple[int, ...]
) -> None:
    """Ordinary least squares of every run, on two scales; Holm's p over the two methods."""
    final = rows_of(published, without)
    theirs = sm.OLS(SCALES[scale](final["test_acc_best"]).to_numpy(), design(final, blocks=False)).fit()
    adjusted = multipletests(theirs.pvalues[-2:], method="holm")[1]
    for place, method in ((-2, "feature"), (-1, "logit")):
        seeds = "without 0" if without else "all"
        row = one(curve, method=method, scale=scale, seeds=seeds, model="least squares")
        low, high = theirs.conf_int()[place]
        assert (row.estimate, row.se) == pytest.approx((theirs.params[place], theirs.bse[place]), rel=1e-6)
        assert (row.p, row.df) == pytest.approx((theirs.pvalues[place], theirs.df_resid), rel=1e-6)
        assert (row.ci_low, row.ci_high) == pytest.approx((low, high), rel=1e-6)
        assert row.p_holm == pytest.approx(adjusted[place])


def test_mixed_models_within_seeds_are_regressions_with_dummies(
    curve: tuple[Specification, ...], published: pd.DataFrame
) -> None:
    """In a balanced regular fit all df methods share the within-seed error; `normal` refers it to z."""
    final = rows_of(published)
    theirs = sm.OLS(100 * final["test_acc_best"].to_numpy(), design(final, blocks=True)).fit()
    for place, method in ((-2, "feature"), (-1, "logit")):
        for df_method, df in (("kenward-roger", 36), ("satterthwaite", 36), ("normal", np.inf)):
            row = one(curve, method=method, model="mixed", df_method=df_method)
            assert not row.singular
            assert (row.estimate, row.se) == pytest.approx((theirs.params[place], theirs.bse[place]), rel=1e-6)
            assert row.df == (None if df == np.inf else pytest.approx(df))
            assert row.p == pytest.approx(2 * stats.t.sf(abs(row.estimate / row.se), df))


def test_singular_fits_are_refitted_and_named(curve: tuple[Specification, ...], published: pd.DataFrame) -> None:
    """Where the seeds' variance is 0, the mixed model's number is that of least squares, on residual df."""
    singular = [row for row in curve if row.model == "mixed" and row.singular]
    assert {row.df_method for row in singular} == {"residual", "normal"}
    for row in singular:
        if row.df_method == "residual" and row.hyperparameters == "selected":
            same = one(curve, **{name: getattr(row, name) for name in USUAL}, model="least squares")
            assert (row.estimate, row.se, row.df) == pytest.approx((same.estimate, same.se, same.df))
            assert not same.singular
    assert len(published) == 126


def test_the_gain_model_of_shared_teachers_is_a_comparison_of_gains(
    curve: tuple[Specification, ...], published: pd.DataFrame
) -> None:
    """One teacher, two gains a seed: where regular, the mean gains' difference by a split plot's own formula.

    Each student has one gain a seed and method: the difference between the students' means of one method has variance
    2 (tau^2 + sigma^2) / n, estimated by (MS seeds + MS error) / n of gains, df by Satterthwaite.
    """
    final = rows_of(published, (), ("resnet50",))
    y = 100 * final["test_acc_best"]
    table = np.stack([[units(final, y, m)[s] for m in ("feature", "logit")] for s in ("resnet18", "resnet34")])
    rest = table - table.mean(axis=2, keepdims=True)  # student, method, seed
    seeds = rest.mean(axis=1, keepdims=True)
    n = table.shape[2]
    seeds_ms = 2 * float((seeds**2).sum()) / (2 * (n - 1))
    error_ms = float(((rest - seeds) ** 2).sum()) / (2 * (n - 1))
    assert seeds_ms > error_ms  # regular
    variance = (seeds_ms + error_ms) / n
    df = (seeds_ms + error_ms) ** 2 / (seeds_ms**2 / (2 * (n - 1)) + error_ms**2 / (2 * (n - 1)))
    for place, method in enumerate(("feature", "logit")):
        row = one(curve, method=method, teachers="shared", model="gain model")
        difference = table[1, place].mean() - table[0, place].mean()
        assert (row.estimate, row.se, row.df) == pytest.approx((difference, np.sqrt(variance), df))
        assert (row.n, row.singular, row.df_method) == (20, False, "kenward-roger")


def test_pairs_count_once_each(curve: tuple[Specification, ...], published: pd.DataFrame) -> None:
    """The model of pairs weighs a student's pairs alike; with 32 df it differs from the pooled one in its error."""
    final = rows_of(published)
    means = (100 * final["test_acc_best"]).groupby([final["teacher"], final["student"], final["method"]]).mean()
    taught = {"resnet18": ("resnet34", "resnet50"), "resnet34": ("resnet50", "resnet101")}
    for method in ("feature", "logit"):
        gains = {
            s: np.mean([means[t, s, method] for t in teachers]) - means["", s, "none"] for s, teachers in taught.items()
        }
        row = one(curve, method=method, model="pairs")
        assert row.estimate == pytest.approx(gains["resnet34"] - gains["resnet18"])
        assert row.df == pytest.approx(32)


def test_common_settings_come_from_the_selection_phase(
    curve: tuple[Specification, ...], published: pd.DataFrame
) -> None:
    """One alpha for all pairs: seed 0's selection runs against all baselines, by least squares."""
    settings = {row.hyperparameters for row in curve if row.method == "feature"}
    assert settings == {"selected", "alpha 0.3", "alpha 0.5", "alpha 0.7"}
    settings = {row.hyperparameters for row in curve if row.method == "logit"}
    assert settings == {"selected", *(f"alpha {a}, T {t}" for a in (0.3, 0.5, 0.7) for t in (2, 3, 4))}
    tried = published[
        (published["stage"] == "select") & (published["method"] == "feature") & (published["alpha"] == 0.5)
    ]
    table = pd.concat([rows_of(published).query("method == 'none'"), tried])
    larger = (table["student"] == "resnet34").to_numpy(dtype=float)
    feature = (table["method"] == "feature").to_numpy(dtype=float)
    x = np.column_stack([1 - larger, larger, feature, feature * larger])
    theirs = sm.OLS(100 * table["test_acc_best"].to_numpy(), x).fit()
    row = one(curve, seeds="distilled 0 only", hyperparameters="alpha 0.5", model="least squares")
    assert (row.estimate, row.se, row.df) == pytest.approx((theirs.params[-1], theirs.bse[-1], 10))
    assert row.n == 14
    models = {row.model for row in curve if row.seeds == "distilled 0 only"}
    assert models == {"mixed", "teacher intercepts", "least squares"}  # one run a cell: no seed has a gain of its own


def test_a_setting_that_a_pair_did_not_try_is_no_common_one(published: pd.DataFrame) -> None:
    """Without one selection run of one pair its alpha is left out, the others stay."""
    tried = (published["stage"] == "select") & (published["method"] == "feature") & (published["alpha"] == 0.3)
    lost = published.index[tried & (published["teacher"] == "resnet101")]
    assert len(lost) == 1
    rows = published.drop(index=lost).assign(val_acc=np.nan, test_acc_final=np.nan).reset_index(drop=True)
    settings = {row.hyperparameters for row in specify(rows) if row.method == "feature"}
    assert settings == {"selected", "alpha 0.5", "alpha 0.7"}


def test_two_seeds_are_not_left_out(simulated: Simulated) -> None:
    """A single seed has no spread: with two there is nothing to leave out."""
    assert {row.seeds for row in specify(simulated(draw=1, seeds=2))} == {"all"}


def test_of_many_seeds_some_are_left_out_together(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn, each once: time would grow with the square of the seeds."""
    monkeypatch.setattr(multiverse, "MOST_LEFT_OUT", 3)
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["mine"], seeds=9, draw=1)
    first = min(runs["seed"])
    runs.loc[runs["seed"] == first + 8, "seed"] = first + 90
    curve = specify(runs)
    assert {row.seeds for row in curve} == {
        "all",
        f"without {first}, {first + 1}, {first + 2}",
        f"without {first + 3}, {first + 4}, {first + 5}",
        f"without {first + 6}, {first + 7}, {first + 90}",
    }
    mixed = {row.seeds: row for row in curve if (row.model, row.df_method) == ("least squares", "residual")}
    assert {row.seeds: row.n for row in mixed.values()} == {seeds: 4 * (9 if seeds == "all" else 6) for seeds in mixed}
    monkeypatch.setattr(multiverse, "MOST_LEFT_OUT", 2)
    assert {row.seeds for row in specify(runs)} == {
        "all",
        f"without {first} to {first + 3}",
        f"without {first + 4} to {first + 90}",
    }


def test_support_is_an_interval_above_zero(curve: tuple[Specification, ...]) -> None:
    """Before and after Holm's correction; a permutation test has its p alone."""
    for row in curve:
        above = row.estimate > 0 and row.p < 0.05
        assert row.supports == (above if row.ci_low is None else row.ci_low > 0)
        assert row.supports_holm == (row.estimate > 0 and row.p_holm < 0.05)
        assert row.p_holm >= row.p
        assert row.supports or not row.supports_holm
    assert any(row.supports for row in curve)


def test_choices_count_every_specification(published_analysis: Analysis, curve: tuple[Specification, ...]) -> None:
    """The options of a choice add up to the method's whole curve; medians and shares are over the option's rows."""
    for method in ("feature", "logit"):
        own = [row for row in curve if row.method == method]
        for choice in multiverse.CHOICES:
            options = [c for c in published_analysis.choices if (c.method, c.choice) == (method, choice)]
            assert sum(option.specifications for option in options) == len(own)
            assert len({option.option for option in options}) == len(options)
            for option in options:
                taken = [row for row in own if getattr(row, choice) == option.option]
                in_pp = [row.estimate for row in taken if row.scale == "pp"]
                assert option.share_supporting == pytest.approx(np.mean([row.supports for row in taken]))
                assert option.median_p == pytest.approx(median(row.p for row in taken))
                assert option.median_estimate_pp == (median(in_pp) if in_pp else None)


def test_a_table_of_one_checkpoint_rule(simulated: Simulated) -> None:
    """Where only `test_acc_best` is filled, the curve has that rule alone, and still a hundred ways a method."""
    found = specify(simulated(draw=1))
    assert {row.metric for row in found} == {"test_acc_best"}
    assert min(Counter(row.method for row in found).values()) >= 100
    assert {row.hyperparameters for row in found} == {"selected"}
    # no seed chose the hyperparameters: each is left out once, in pp
    assert {row.scale for row in found if row.seeds == "without 0"} == {"pp"}


def test_single_seeds_are_left_out_of_the_metric_analysed(published: pd.DataFrame) -> None:
    """Whoever analyses the last epoch wants to know what its seeds do."""
    final = Metric("test_acc_final", higher_is_better=True)
    few = published[published["stage"] != "select"].reset_index(drop=True)
    found = specify(few, final)
    assert {row.metric for row in found if row.seeds == "without 3"} == {"test_acc_final"}
    assert {row.metric for row in found if row.teachers == "without resnet34"} == {"test_acc_final"}


def test_an_accuracy_of_one_has_no_logarithm(simulated: Simulated) -> None:
    """A perfect run leaves points only; an accuracy of 0 leaves out log-odds, whose error is 1, but not log error."""
    runs = simulated(draw=1, seeds=3)
    perfect, hopeless = runs.copy(), runs.copy()
    perfect.loc[3, "test_acc_best"] = 1.0
    hopeless.loc[3, "test_acc_best"] = 0.0
    assert {row.scale for row in specify(perfect)} == {"pp"}
    assert {row.scale for row in specify(hopeless)} == {"pp", "log error"}
    without = [row for row in specify(perfect) if row.seeds == f"without {perfect.loc[3, 'seed']}"]
    assert without


def test_lower_is_better_turns_the_sign_once(simulated: Simulated) -> None:
    """An error rate's curve is that of the accuracy: a gain is a reduction, on all scales."""
    runs = simulated(draw=1, seeds=3)
    metric = Metric("top1_error", higher_is_better=False)
    errors = runs[["teacher", "student", "method", "seed"]].assign(top1_error=1 - runs["test_acc_best"])
    by_accuracy, by_error = specify(runs), specify(check_runs(errors, "errors.csv", metric), metric)
    assert len(by_accuracy) == len(by_error)
    for here, there in zip(by_accuracy, by_error, strict=True):
        assert (there.model, there.scale, there.df_method) == (here.model, here.scale, here.df_method)
        assert (there.estimate, there.p) == pytest.approx((here.estimate, here.p), abs=1e-6)
        assert there.metric == "top1_error"


def test_a_method_without_shared_seeds_loses_its_gains_alone(simulated: Simulated) -> None:
    """Logit runs at seeds of their own have no gain over a baseline: models of gains speak of feature only."""
    runs = simulated(draw=1, seeds=3)
    runs.loc[runs["method"] == "logit", "seed"] += 10
    models: dict[str, set[str]] = {}
    for row in specify(runs):
        models.setdefault(row.model, set()).add(row.method)
    for model in ("gain model", "paired t", "Welch t", "permutation"):
        assert models[model] == {"feature"}
    assert models["least squares"] == {"feature", "logit"}


def test_many_seeds_are_permuted_at_random(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seeds a student have 184,756 arrangements: drawn ones, from the generator that is given."""
    monkeypatch.setattr(resampling, "RANDOM_ARRANGEMENTS", 200)
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["mine"], seeds=10, draw=1)
    rows = [row for row in specify(runs) if row.model == "permutation" and row.seeds == "all"]
    assert {row.df_method for row in rows} == {"random arrangements"}
    assert rows == [row for row in specify(runs) if row.model == "permutation" and row.seeds == "all"]


def test_nothing_to_specify(simulated: Simulated) -> None:
    """No pair of students, or no method: no curve and no choices."""
    runs = simulated(draw=1, seeds=3)
    assert specify(runs[runs["student"] == "resnet18"].reset_index(drop=True)) == ()
    assert specify(runs[runs["method"] == "none"].reset_index(drop=True)) == ()
    assert multiverse.choices(()) == ()


def test_the_third_student_takes_no_part(simulated: Simulated) -> None:
    """The curve is of the named pair's runs, whatever else the table holds."""
    runs = simulated(pairs=[("t", "resnet18"), ("t", "resnet34"), ("t", "resnet50")], seeds=3, draw=1)
    two = runs[runs["student"] != "resnet34"].reset_index(drop=True)
    assert specify(runs, order=["resnet18", "resnet50"]) == specify(two)


def test_specifications_tell_checkpoints_apart(simulated: Simulated, framed: Callable[..., pd.DataFrame]) -> None:
    """The mixed specification is the primary contrast, checkpoints and all; comparisons of seeds average over them."""
    runs = simulated(checkpoints=2, checkpoint_pp=0.3, seeds=4, draw=4)
    curve = specify(runs)
    source = primary(framed(runs), "acc", "all").used
    base = source.estimate(moderation("resnet18", "resnet34", "feature"))
    row = one(curve, model="mixed", df_method="kenward-roger")
    assert (row.estimate, row.se, row.df) == pytest.approx((base.value, base.se, base.df))
    final = runs[runs["stage"] == "final"]
    gains = units(final, 100 * final["test_acc_best"], "feature")
    test = stats.ttest_ind(gains["resnet34"], gains["resnet18"], equal_var=False)
    welch = one(curve, model="Welch t")
    assert (welch.estimate, welch.p) == pytest.approx((base.value, test.pvalue))
    assert {row.model for row in curve} >= {"teacher intercepts", "gain model", "pairs", "least squares"}
