"""The study's models against least squares with a dummy a block, analysis of variance, and dense likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import optimize, stats

from analysis.runs.frame import gain_frame, taught_by
from analysis.study.models import SEEDS, Source, components, describe, gains, pairs, primary, random_part

Simulated = Callable[..., pd.DataFrame]
Framed = Callable[[pd.DataFrame], pd.DataFrame]
Floats = NDArray[np.float64]


def cells_of(frame: pd.DataFrame, *, by_pair: bool) -> list[str]:
    """Name of each run's cell."""
    student_method = (frame["student"].astype(str) + ":" + frame["method"].astype(str)).tolist()
    return frame["cell"].astype(str).tolist() if by_pair else student_method


def mean_of(frame: pd.DataFrame, cell: str, *, by_pair: bool = False) -> float:
    """Plain mean of a cell's runs."""
    return float(frame["y"].to_numpy()[[name == cell for name in cells_of(frame, by_pair=by_pair)]].mean())


def within_blocks(frame: pd.DataFrame, cells: Sequence[str], distilled: str) -> tuple[float, float, float]:
    """A cell's gain, its standard error and df by statsmodels' least squares with a dummy for each student and seed."""
    names = sorted(name for name in set(cells) if not name.endswith(":none"))  # a student's baseline is its origin
    blocks = pd.get_dummies(frame["student"].astype(str) + frame["seed"].astype(str), dtype=float).to_numpy()
    inside = np.array([[float(cell == name) for name in names] for cell in cells])
    fit = sm.OLS(frame["y"].to_numpy(), np.hstack([blocks, inside])).fit()
    test = fit.t_test(np.concatenate([np.zeros(blocks.shape[1]), [float(name == distilled) for name in names]]))
    return float(test.effect.item()), float(test.sd.item()), float(fit.df_resid)


def dense_reml(y: Floats, x: Floats, groups: Sequence[Floats]) -> tuple[Floats, float, Floats, Floats]:
    """Variances of the groups, the error's, fixed effects and their covariance: REML by a search over logarithms."""

    def parts(logs: Floats) -> tuple[Floats, Floats, Floats, float]:
        v = np.eye(len(y)) + sum(np.exp(log) * z @ z.T for log, z in zip(logs, groups, strict=True))
        inverse = np.linalg.inv(v)
        phi = np.linalg.inv(x.T @ inverse @ x)
        beta = phi @ x.T @ inverse @ y
        rest = y - x @ beta
        sigma2 = float(rest @ inverse @ rest) / (len(y) - x.shape[1])
        return v, phi, beta, sigma2

    def criterion(logs: Floats) -> float:
        v, phi, _, sigma2 = parts(logs)
        free = len(y) - x.shape[1]
        return float(np.linalg.slogdet(v)[1] - np.linalg.slogdet(phi)[1] + free * np.log(sigma2))

    found = optimize.minimize(
        criterion, np.full(len(groups), -2.0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    _, phi, beta, sigma2 = parts(found.x)
    return np.exp(found.x) * sigma2, sigma2, beta, sigma2 * phi


def indicators(labels: Sequence[str]) -> Floats:
    """A column for each label, in alphabetical order."""
    return np.array([[float(label == name) for name in sorted(set(labels))] for label in labels])


@pytest.fixture(scope="module")
def matched_frame(published_frame: pd.DataFrame) -> pd.DataFrame:
    """Baselines and the runs that ResNet-50 taught."""
    return taught_by(published_frame, ["resnet50"])


MODELS = [
    ("primary", "published_frame", False, 36),
    ("primary", "matched_frame", False, 16),
    ("pairs", "published_frame", True, 32),
]


@pytest.mark.parametrize(("model", "rows", "by_pair", "df"), MODELS)
def test_gains_are_differences_of_means_within_blocks(
    model: str, rows: str, by_pair: bool, df: int, request: pytest.FixtureRequest
) -> None:
    """In a balanced table a gain, its SE and df are those of least squares with a dummy per student and seed."""
    frame = request.getfixturevalue(rows)
    source = {"primary": primary, "pairs": pairs}[model](frame, "acc", "all").used
    cells = cells_of(frame, by_pair=by_pair)
    distilled = [cell for cell in source.cells if not cell.endswith(":none")]
    assert len(distilled) == (8 if by_pair else 4)
    for cell in distilled:
        student = cell.split(":")[0].split(">")[-1]
        weights = {cell: 1.0, f"{student}:none": -1.0}
        found = source.estimate(weights)
        value, se, residual = within_blocks(frame, cells, cell)
        plain = mean_of(frame, cell, by_pair=by_pair) - mean_of(frame, f"{student}:none", by_pair=by_pair)
        assert found.value == pytest.approx(plain, abs=1e-9)
        assert found.value == pytest.approx(value, abs=1e-7)
        assert found.se == pytest.approx(se, rel=1e-7)
        assert (found.df, residual, found.df_method) == (pytest.approx(df), df, "kenward-roger")


def test_matched_moderation_of_the_published_runs(matched_frame: pd.DataFrame) -> None:
    """Under ResNet-50 alone: +0.096 by feature and +0.026 pp by logit, as plain means say."""
    source = primary(matched_frame, "acc", "teachers:resnet50").used
    for method, expected in (("feature", 0.096), ("logit", 0.026)):
        weights = {f"resnet34:{method}": 1.0, "resnet34:none": -1.0, f"resnet18:{method}": -1.0, "resnet18:none": 1.0}
        assert source.estimate(weights).value == pytest.approx(expected, abs=1e-9)


def test_variances_are_those_of_the_analysis_of_variance(published_frame: pd.DataFrame) -> None:
    """Blocks of five runs: error MS within, and (block MS - error MS) / 5; shares add to 1."""
    frame = published_frame
    mean = frame["y"].mean()
    centred = frame.assign(y=frame["y"] - mean, block=frame["student"].astype(str) + frame["seed"].astype(str))
    centred["y"] -= centred.groupby(["student", "method"], observed=True)["y"].transform("mean")
    block_means = centred.groupby("block")["y"].transform("mean")
    error_ms = float(((centred["y"] - block_means) ** 2).sum()) / 36
    block_ms = float((block_means**2).sum()) / 8
    source = primary(frame, "acc", "all").used
    seeds, residual = components(source, {"residual": (0.1, 0.2)})
    assert (seeds.component, residual.component) == ("student:seed", "residual")
    assert residual.variance_pp2 == pytest.approx(error_ms)
    assert seeds.variance_pp2 == pytest.approx((block_ms - error_ms) / 5)
    assert seeds.sd_pp == pytest.approx(np.sqrt(seeds.variance_pp2))
    assert seeds.share == pytest.approx(seeds.variance_pp2 / (seeds.variance_pp2 + error_ms))
    assert seeds.share + residual.share == pytest.approx(1)
    assert (residual.sd_ci_low_pp, residual.sd_ci_high_pp, seeds.sd_ci_low_pp) == (0.1, 0.2, None)


def test_a_singular_fit_is_refitted_by_least_squares(simulated: Simulated, framed: Framed) -> None:
    """Seeds that share less than nothing: the refit is ordinary least squares with 44 residual df."""
    frame = framed(simulated(tau_pp=0, draw=1))
    fitted = primary(frame, "acc", "all")
    first, refit = fitted.sources
    assert (first.model, first.singular, first.df_method) == ("primary", True, "kenward-roger")
    assert (refit.model, refit.singular, refit.df_method) == ("primary:refit", False, "residual")
    assert fitted.used is refit
    theirs = smf.ols("y ~ 0 + cell", frame.assign(cell=cells_of(frame, by_pair=False))).fit()
    for cell in ("resnet34:feature", "resnet18:logit"):
        base = f"{cell.split(':')[0]}:none"
        test = theirs.t_test(f"cell[{cell}] - cell[{base}] = 0")
        found = refit.estimate({cell: 1.0, base: -1.0})
        assert (found.df, theirs.df_resid) == (44, 44)
        assert (found.value, found.se) == pytest.approx((test.effect.item(), test.sd.item()), rel=1e-7)
        assert first.estimate({cell: 1.0, base: -1.0}).value == pytest.approx(found.value)
    told, again = describe(fitted, range(50), second=True)
    assert (told.zero_components, told.second_engine, again.zero_components) == ("student:seed", "", "")
    assert told.check == "singular: the variance of student:seed is 0; primary:refit is without it"
    assert again.check == "refit of primary without student:seed, whose variance is 0"
    assert (again.engine, again.optimiser, again.groups) == ("least squares", "closed form", 0)


def test_a_component_that_nothing_tells_apart_is_left_out_and_noted(simulated: Simulated, framed: Framed) -> None:
    """One run a student and seed: its variance is the error's, so there is none of its own, and no refit."""
    runs = simulated(draw=2)
    frame = framed(runs.assign(seed=range(len(runs))))
    fitted = primary(frame, "acc", "all")
    assert fitted.sources == (fitted.first,)
    assert (fitted.used.fit.model.components, fitted.used.df_method) == ((), "residual")
    assert len(fitted.notes) == 1
    assert "student:seed" in fitted.notes[0]
    assert fitted.used.fit.model.formula == "y ~ student * method"
    weights = {"resnet34:feature": 1.0, "resnet34:none": -1.0}
    ordinary = smf.ols("y ~ 0 + cell", frame.assign(cell=cells_of(frame, by_pair=False))).fit()
    test = ordinary.t_test("cell[resnet34:feature] - cell[resnet34:none] = 0")
    assert fitted.used.estimate(weights).se == pytest.approx(test.sd.item(), rel=1e-7)
    (told,) = describe(fitted, range(50), second=True)
    assert told.check.startswith("no random part; ")
    assert fitted.notes[0] in told.check


def test_lost_runs_are_weighed_by_the_dense_likelihood(simulated: Simulated, framed: Framed) -> None:
    """Without four runs: variances, estimates and plain standard errors of a REML fit with n-by-n matrices."""
    runs = simulated(draw=6, tau_pp=0.15)
    frame = framed(runs.drop(index=[0, 7, 21, 33]).reset_index(drop=True))
    source = primary(frame, "acc", "all").used
    assert not source.singular
    cells = cells_of(frame, by_pair=False)
    blocks = indicators((frame["student"].astype(str) + frame["seed"].astype(str)).tolist())
    y = frame["y"].to_numpy() - 90
    (tau2,), sigma2, beta, phi = dense_reml(y, indicators(cells), [blocks])
    assert source.fit.variances["student:seed"] == pytest.approx(tau2, rel=1e-4)
    assert source.fit.variances["residual"] == pytest.approx(sigma2, rel=1e-4)
    names = sorted(set(cells))
    c = np.zeros(len(names))
    c[names.index("resnet34:logit")], c[names.index("resnet18:logit")] = 1.0, -1.0
    weights = {"resnet34:logit": 1.0, "resnet18:logit": -1.0}
    plain = source.estimate(weights, "normal")
    assert plain.value == pytest.approx(float(c @ beta), abs=1e-6)
    assert plain.se == pytest.approx(float(np.sqrt(c @ phi @ c)), rel=1e-4)
    adjusted = source.estimate(weights)
    assert plain.se * (1 - 1e-9) <= adjusted.se < 1.01 * plain.se
    assert adjusted.df < 46


def test_the_gain_model_fits_gains_with_teachers(simulated: Simulated, framed: Framed) -> None:
    """Gains over the same seed's baseline, by a dense REML fit with teachers and seeds; means weigh all teachers."""
    runs = simulated(draw=11, tau_pp=0.1, seeds=6)
    shift = runs["teacher"].map({"": 0.0, "resnet34": 0.0, "resnet50": 0.003, "resnet101": -0.003})
    frame = gain_frame(framed(runs.assign(test_acc_best=runs["test_acc_best"] + shift)))
    source = gains(frame, "acc", "all").first
    assert source.fit.model.formula == "y ~ student * method + (1 | teacher) + (1 | student:seed)"
    assert not source.singular
    cells = cells_of(frame, by_pair=False)
    groups = [
        indicators(frame["teacher"].astype(str).tolist()),
        indicators((frame["student"].astype(str) + frame["seed"].astype(str)).tolist()),
    ]
    variances, sigma2, beta, _ = dense_reml(frame["y"].to_numpy(), indicators(cells), groups)
    assert list(source.fit.variances.values()) == pytest.approx([*variances, sigma2], rel=1e-3)
    found = [source.estimate({cell: 1.0}).value for cell in sorted(set(cells))]
    assert found == pytest.approx(beta.tolist(), abs=1e-5)


def test_a_missing_cell_leaves_the_others_alone(simulated: Simulated, framed: Framed) -> None:
    """An empty student-by-method cell has no mean; the others have plain ones (each student's table is balanced)."""
    runs = simulated(draw=7)
    frame = framed(runs[~((runs["student"] == "resnet18") & (runs["method"] == "logit"))].reset_index(drop=True))
    source = primary(frame, "acc", "all").used
    assert set(source.cells) == {f"{s}:{m}" for s in ("resnet18", "resnet34") for m in ("none", "logit", "feature")} - {
        "resnet18:logit"
    }
    for cell in source.cells:
        assert source.estimate({cell: 1.0}).value == pytest.approx(mean_of(frame, cell))


def one_way(frame: pd.DataFrame, source: Source) -> None:
    """Every cell of a model has the plain mean of its runs."""
    for cell in source.cells:
        assert source.estimate({cell: 1.0}).value == pytest.approx(mean_of(frame, cell))


def test_factors_that_do_not_vary_are_left_out(simulated: Simulated, framed: Framed) -> None:
    """One student, one method, or both: the formula holds what varies, and means stay plain."""
    runs = simulated(draw=3)
    larger = framed(runs[runs["student"] == "resnet34"].reset_index(drop=True))
    baselines = framed(runs[runs["method"] == "none"].reset_index(drop=True))
    both = framed(runs[(runs["student"] == "resnet34") & (runs["method"] == "none")].reset_index(drop=True))
    for frame, fixed in ((larger, "method"), (baselines, "student"), (both, "1")):
        fitted = primary(frame, "acc", "all")
        assert fitted.first.fit.model.fixed_formula == f"y ~ {fixed}"
        one_way(frame, fitted.used)
    assert primary(both, "acc", "all").used.estimate({"resnet34:none": 1.0}).se == pytest.approx(
        float(both["y"].std() / np.sqrt(5))
    )


def test_regular_fits_are_described_with_the_second_engine(published_frame: pd.DataFrame) -> None:
    """What was fitted, on how many runs and groups, and statsmodels beside it."""
    (told,) = describe(primary(published_frame, "test_acc_best", "all"), [9, *range(58, 107)], second=True)
    assert told.runs == (9, *range(58, 107))
    assert told.run_ranges == ((9, 9), (58, 106))
    assert (told.model, told.metric, told.subset, told.n, told.groups) == ("primary", "test_acc_best", "all", 50, 10)
    assert told.formula == "y ~ student * method + (1 | student:seed)"
    assert (told.criterion, told.singular, told.zero_components) == ("REML", False, "")
    assert told.second_engine.startswith("statsmodels")
    assert told.second_se_ratio == pytest.approx(1, abs=1e-3)
    assert 0 < told.r2_marginal < told.r2_conditional < 1
    (alone,) = describe(primary(published_frame, "test_acc_best", "all"), (), second=False)
    assert (alone.second_engine, alone.second_excess, alone.check) == ("", None, "regular fit")


# --- checkpoints ------------------------------------------------------------------------------------------------------

OF_CHECKPOINTS = ["teacher:teacher_seed:student[kd]", "teacher:teacher_seed:student:method[kd]"]


def test_checkpoints_have_effects_where_a_teacher_has_several(simulated: Simulated, framed: Framed) -> None:
    """On each student, and on it by each method; with one checkpoint a teacher every model is what it was."""
    several = framed(simulated(checkpoints=2, checkpoint_pp=0.2))
    assert random_part(several) == f"{SEEDS} + (0 + kd | teacher:teacher_seed:student/method)"
    assert random_part(gain_frame(several)) == random_part(several)
    for model in (primary, pairs, gains):
        frame = gain_frame(several) if model is gains else several
        names = [component.name for component in model(frame, "acc", "all").first.fit.model.components]
        assert names == [*(["teacher"] if model is gains else []), "student:seed", *OF_CHECKPOINTS]
    one_method = framed(simulated(methods=["kd"], checkpoints=2))
    assert random_part(one_method) == f"{SEEDS} + (0 + kd | teacher:teacher_seed:student)"
    for frame in (framed(simulated()), framed(simulated(checkpoints=1))):
        assert random_part(frame) == SEEDS
    runs = simulated(checkpoints=2)
    fewer = (runs["teacher"] != "resnet50") & (runs["teacher_seed"] > 0)
    assert random_part(framed(runs[~fewer].reset_index(drop=True))) != SEEDS  # one teacher with two is enough
    assert random_part(taught_by(framed(runs[~fewer].reset_index(drop=True)), ["resnet101"])) == SEEDS


def test_baselines_have_no_checkpoint(simulated: Simulated, framed: Framed) -> None:
    """No group holds a baseline; every distilled run is in one group of each component."""
    frame = framed(simulated(checkpoints=3, checkpoint_pp=0.2))
    model = primary(frame, "acc", "all").first.fit.model
    for component in model.components[1:]:
        assert (component.z.sum(axis=1) == frame["kd"]).all()
    groups = [len(component.levels) for component in model.components]
    assert groups == [10, 4 * 3, 4 * 3 * 2]


def test_the_checkpoints_variances_are_those_of_a_dense_fit(simulated: Simulated, framed: Framed) -> None:
    """REML with n-by-n matrices, built from labels here, and scipy's search: variances, means, standard errors."""
    frame = framed(simulated(checkpoints=2, checkpoint_pp=0.3, seeds=4, draw=4))
    source = primary(frame, "acc", "all").used
    assert not source.singular
    pair = frame["teacher"] + frame["teacher_seed"] + frame["student"].astype(str)
    kd = frame["kd"].to_numpy()[:, None]
    groups = [
        indicators((frame["student"].astype(str) + frame["seed"].astype(str)).tolist()),
        indicators(pair.tolist()) * kd,
        indicators((pair + frame["method"].astype(str)).tolist()) * kd,
    ]
    variances, sigma2, beta, covariance = dense_reml(frame["y"].to_numpy(), source.fit.model.x, groups)
    assert list(source.fit.variances.values()) == pytest.approx([*variances, sigma2], rel=1e-3)
    weights = {"resnet34:logit": 1.0, "resnet34:none": -1.0, "resnet18:logit": -1.0, "resnet18:none": 1.0}
    combination = source.combination(weights)
    assert source.estimate(weights).value == pytest.approx(combination @ beta, abs=1e-6)
    assert source.estimate(weights, "normal").se == pytest.approx(
        np.sqrt(combination @ covariance @ combination), rel=1e-4
    )


def test_under_one_teacher_moderation_is_a_t_test_on_checkpoints(simulated: Simulated, framed: Framed) -> None:
    """With baselines known exactly, what is left is a difference of means over checkpoints: 2 (k - 1) df.

    Baselines of a thousand seeds' precision are stood in for by no seed effects and hardly any noise.
    """
    runs = simulated(
        pairs=[("t", "resnet18"), ("t", "resnet34")], methods=["kd"], checkpoints=4, checkpoint_pp=0.3, sigma_pp=1e-3,
        tau_pp=0, seeds=6,
    )  # fmt: skip
    frame = framed(runs)
    source = primary(frame, "acc", "all").used
    found = source.estimate({"resnet34:kd": 1.0, "resnet34:none": -1.0, "resnet18:kd": -1.0, "resnet18:none": 1.0})
    means = frame[frame["kd"] > 0].groupby(["student", "teacher_seed"], observed=True)["y"].mean()
    test = stats.ttest_ind(means["resnet34"], means["resnet18"])
    assert found.df == pytest.approx(6, abs=0.1)
    assert found.t == pytest.approx(test.statistic, rel=0.01)


def test_a_checkpoint_of_its_own_for_each_seed(simulated: Simulated, framed: Framed) -> None:
    """One run of a cell tells no method's part from the error, and one run of a student no checkpoint's at all."""
    runs = simulated(checkpoints=5, checkpoint_pp=0.2)
    own = runs[(runs["method"] == "none") | (runs["teacher_seed"] == runs["seed"])].reset_index(drop=True)
    assert random_part(framed(own)) == f"{SEEDS} + (0 + kd | teacher:teacher_seed:student)"
    assert random_part(framed(own[own["method"] != "logit"].reset_index(drop=True))) == SEEDS
