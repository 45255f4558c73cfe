"""The specification curve: the moderation estimate under every defensible choice.

A choice is a checkpoint rule, a scale, seeds, teachers, hyperparameters, and a model with its degrees of freedom. No
specification is better for being listed: the curve shows which choices carry the answer. (Steegen and others,
Perspect Psychol Sci 11, 2016, 702-712; Simonsohn, Simmons and Nelson, Nat Hum Behav 4, 2020, 1208-1214.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

import numpy as np
import pandas as pd

from analysis.errors import ModelError
from analysis.inference import resampling
from analysis.inference.estimate import Estimate
from analysis.mixed.fit import Fit
from analysis.mixed.inference import DfMethod, Inference
from analysis.mixed.model import Floats, Model, build
from analysis.results import Choice, Specification
from analysis.runs.columns import ACCURACIES, BASELINE
from analysis.runs.frame import ALONE, accuracy, gain_frame, model_frame, unit_gains
from analysis.runs.layout import Layout
from analysis.runs.metric import Metric
from analysis.study.contrasts import LEVEL, holm
from analysis.study.models import Problems, both_fits, identified, random_part


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.nan


def _in_pp(a: pd.Series[float]) -> pd.Series[float]:
    return 100 * a


def _in_log_odds(a: pd.Series[float]) -> pd.Series[float]:
    return (a / (1 - a)).map(_log)


def _in_log_error(a: pd.Series[float]) -> pd.Series[float]:
    return -(1 - a).map(_log)


SCALES = {"pp": _in_pp, "log-odds": _in_log_odds, "log error": _in_log_error}
SELECTED = "selected"
CHOICES = ("metric", "scale", "seeds", "teachers", "hyperparameters", "model", "df_method")
MOST_LEFT_OUT = 20  # times that some seeds are left out: each alone would take time in the square of their number
MOST_TOLD = 3  # seeds left out that are named one by one
_ALPHA = 1 - LEVEL
_RANDOM = {
    "mixed": "",
    "teacher intercepts": " + (0 + kd | teacher)",
    "pair intercepts": " + (0 + kd | cell)",
}


@dataclass(frozen=True)
class _Data:
    """Rows under one set of choices."""

    metric: str
    scale: str
    seeds: str
    teachers: str
    hyperparameters: str
    frame: pd.DataFrame
    methods: tuple[str, ...]
    siblings: int

    @property
    def rows(self) -> tuple[str, str, str]:
        """Which rows these are; metric and scale only change their response."""
        return self.seeds, self.teachers, self.hyperparameters


@dataclass(frozen=True)
class _Design:
    """A model's design, made once for all responses, and the mean of each student under each method in it."""

    model: Model
    problems: Problems
    means: dict[tuple[str, str], Floats]


@dataclass(frozen=True)
class _Settled:
    """A fit, the refit where it was singular, and whether it was."""

    fit: Fit
    inference: Inference
    means: dict[tuple[str, str], Floats]
    singular: bool

    def answers(self, methods: Sequence[str], pair: tuple[str, str], asked: DfMethod) -> dict[str, _Answer | None]:
        """The moderation of each method that both students have; of gains there is no baseline to take off."""
        found = {}
        for method in methods:
            if not all((student, method) in self.means for student in pair):
                continue  # no seed has this method's run and a baseline
            gains = [
                self.means[student, method] - self.means.get((student, BASELINE), np.zeros(len(self.fit.beta)))
                for student in pair
            ]
            found[method] = self._answer(gains[1] - gains[0], asked)
        return found

    def _answer(self, combination: Floats, asked: DfMethod) -> _Answer | None:
        """An estimate; None where the method fails."""
        try:
            estimate = self.inference.estimate(combination, asked)
        except ModelError:
            return None
        return _Answer(estimate.value, estimate.p, estimate, asked, len(self.fit.model.y), self.singular)


@dataclass(frozen=True)
class _Answer:
    """One way's answer for one method; a permutation test has a p value alone."""

    value: float
    p: float
    estimate: Estimate | None
    df_method: str
    n: int
    singular: bool


def specifications(
    runs: pd.DataFrame, layout: Layout, metric: Metric, generator: np.random.Generator
) -> tuple[Specification, ...]:
    """Every specification of the moderation of each method's gain.

    Args:
        runs: The whole checked table.
        layout: Its shape; without a pair of students there is nothing to specify.
        metric: The metric analysed.
        generator: For permutation tests too large to be exact.

    Returns:
        Rows in a fixed order; choices that the runs do not allow (an intercept that nothing tells apart, a scale on
        which an accuracy is infinite) are left out.
    """
    if layout.pair is None or not layout.methods:
        return ()
    found: list[Specification] = []
    for _, same_rows in groupby(_datasets(runs, layout, metric), lambda data: data.rows):
        # by model, and only until the rows change: of many seeds they are large
        designs: dict[str, _Design | None] = {}
        for data in same_rows:
            for model, answers in _ways(data, layout.pair, designs, generator):
                found += _rows(data, model, answers)
    return tuple(found)


def _datasets(runs: pd.DataFrame, layout: Layout, metric: Metric) -> Iterator[_Data]:
    """Every choice of rows: seeds, teachers, rules and scales crossed; then some seeds and single teachers left out."""
    final = runs[runs["stage"] == "final"].reset_index(drop=True)
    others = [rule for rule in ACCURACIES if rule != metric.name] if metric.name in ACCURACIES else []
    rules = [rule for rule in (metric.name, *others) if final[rule].notna().all()]
    all_seeds, all_teachers = sorted(set(final["seed"])), sorted(set(final["teacher"]) - {""})
    chosen = sorted(set(runs.loc[runs["stage"] == "select", "seed"]) & set(all_seeds))
    seeds = [()] + ([tuple(chosen)] if chosen and len(all_seeds) - len(chosen) > 1 else [])
    taught = ["all", *(["shared"] if layout.shared_teachers else [])]
    crossed = [
        (without, teachers, rule, scale)
        for without in seeds
        for teachers in taught
        for rule in rules
        for scale in SCALES
    ]
    crossed += [(without, "all", rules[0], "pp") for without in _left_out(all_seeds) if without not in seeds]
    crossed += [((), f"without {teacher}", rules[0], "pp") for teacher in all_teachers if len(all_teachers) > 1]
    for without, teachers, rule, scale in crossed:
        yield _selected(final, layout, Metric(rule, metric.higher_is_better), scale, without, teachers)
    yield from _common_settings(runs, final, layout, Metric(rules[0], metric.higher_is_better))


def _left_out(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """Seeds to leave out in turn: each by itself, or of many a twentieth of them, neighbours by number."""
    if len(seeds) <= 2:  # noqa: PLR2004 - two must be left
        return []
    parts = min(len(seeds), MOST_LEFT_OUT)
    return [tuple(seeds[len(seeds) * i // parts : len(seeds) * (i + 1) // parts]) for i in range(parts)]


def _selected(
    final: pd.DataFrame, layout: Layout, rule: Metric, scale: str, without: tuple[int, ...], teachers: str
) -> _Data:
    """The selected cells, less some seeds and teachers."""
    pair = layout.pair or ()
    frame = model_frame(final, SCALES[scale](accuracy(final, rule)), pair, layout.methods)
    frame = frame[~frame["seed"].isin(without)]
    if teachers == "shared":
        frame = frame[frame["teacher"].isin([ALONE, *layout.shared_teachers])]
    elif teachers != "all":
        frame = frame[frame["teacher"] != teachers.removeprefix("without ")]
    frame = frame.reset_index(drop=True)
    frame["cell"] = frame["cell"].cat.remove_unused_categories()
    students = frame.groupby("method", observed=True)["student"].nunique()
    complete = {method for method, count in students.items() if count == len(pair)}
    methods = tuple(method for method in layout.methods if {method, BASELINE} <= complete)
    told = ", ".join(map(str, without)) if len(without) <= MOST_TOLD else f"{without[0]} to {without[-1]}"
    seeds = f"without {told}" if without else "all"
    return _Data(rule.name, scale, seeds, teachers, SELECTED, frame, methods, len(layout.methods))


def _common_settings(runs: pd.DataFrame, final: pd.DataFrame, layout: Layout, rule: Metric) -> Iterator[_Data]:
    """One setting of alpha and T for all pairs, from the selection phase's runs, beside the final baselines."""
    tried = runs[(runs["stage"] == "select") & runs[rule.name].notna()]
    pairs = set(zip(final["teacher"], final["student"], strict=True)) - {("", s) for s in layout.students}
    for (method, alpha, temperature), same in tried.groupby(["method", "alpha", "temperature"], dropna=False):
        if not pairs or set(zip(same["teacher"], same["student"], strict=True)) != pairs:
            continue
        table = pd.concat([final[final["method"] == BASELINE], same], ignore_index=True)
        y = SCALES["pp"](accuracy(table, rule))
        frame = model_frame(table, y, layout.pair or (), [str(method)])
        setting = f"alpha {alpha:g}" + ("" if math.isnan(float(str(temperature))) else f", T {temperature:g}")
        seeds = ", ".join(str(seed) for seed in sorted(set(same["seed"])))
        yield _Data(
            rule.name, "pp", f"distilled {seeds} only", "all", setting, frame, (str(method),), len(layout.methods)
        )


def _ways(
    data: _Data, pair: tuple[str, str], designs: dict[str, _Design | None], generator: np.random.Generator
) -> Iterator[tuple[str, Mapping[str, _Answer | None]]]:
    """Every model and df method on one set of rows: its name, and an answer for each distillation method."""
    if not data.methods or not np.isfinite(data.frame["y"]).all():
        return

    def fitted(name: str, formula: str, frame: pd.DataFrame) -> _Settled | None:
        if name not in designs:
            designs[name] = _design(formula, frame)
        design = designs[name]
        return _settled(design, frame["y"].to_numpy()) if design else None

    gains = gain_frame(data.frame) if data.hyperparameters == SELECTED else None
    random = random_part(data.frame)
    for name, extra in _RANDOM.items():
        found = fitted(name, f"y ~ student * method + {random}{extra}", data.frame)
        if found is not None:
            for df_method in _df_methods(name, found):
                yield name, found.answers(data.methods, pair, df_method)
    fits = [("least squares", fitted("least squares", "y ~ student * method", data.frame))]
    if gains is not None:  # with one run a cell, no seed has a gain of its own
        free = "y ~ 0 + student:method"
        with_teachers = fitted("gain model", f"{free} + (1 | teacher) + {random}", gains)
        fits += [
            ("pairs", fitted("pairs", f"y ~ 0 + cell + {random}", data.frame)),
            ("gain model", with_teachers or fitted("gain model, no teacher", f"{free} + {random}", gains)),
        ]
    for name, found in fits:
        if found is not None:
            yield name, found.answers(data.methods, pair, _df_methods(name, found)[0])
    if gains is not None:
        yield from _over_seeds(data, pair, generator)


def _df_methods(name: str, found: _Settled) -> tuple[DfMethod, ...]:
    """Ways to take degrees of freedom; without a random part they are the residual ones, whatever is asked."""
    exact: tuple[DfMethod, ...] = ("kenward-roger",) if found.fit.model.components else ("residual",)
    if name != "mixed":
        return exact
    return (*exact, *(("satterthwaite",) if found.fit.model.components else ()), "normal")


def _over_seeds(
    data: _Data, pair: tuple[str, str], generator: np.random.Generator
) -> Iterator[tuple[str, Mapping[str, _Answer | None]]]:
    """Comparisons of the mean gain of each student and seed, without a model of the runs."""
    units = {method: unit_gains(data.frame, method) for method in data.methods}
    units = {m: u for m, u in units.items() if all(len(u.get(s, ())) > 1 for s in pair)}
    if units:
        for name, way in (("paired t", _paired), ("Welch t", _welch)):
            answers = {m: a for m, u in units.items() if (a := way(u[pair[0]], u[pair[1]])) is not None}
            if answers:
                yield name, answers
        yield "permutation", {m: _permuted(u[pair[0]], u[pair[1]], generator) for m, u in units.items()}


def _design(formula: str, frame: pd.DataFrame) -> _Design | None:
    """The design of a formula on these rows; None if nothing tells a component apart."""
    try:
        built = build(formula, frame)
        model, problems, notes = identified(built)
        if notes and len(built.components) > 1:
            return None
    except ModelError:
        return None
    cells = frame[["student", "method", "cell"]].drop_duplicates()
    rows = model.x[cells.index]
    keys = list(zip(cells["student"].astype(str), cells["method"].astype(str), strict=True))
    # a student's mean under a method is over its pairs, each counting once; in pooled models they are all the same
    means = {key: np.asarray(rows[[other == key for other in keys]].mean(axis=0)) for key in dict.fromkeys(keys)}
    return _Design(model, problems, means)


def _settled(design: _Design, y: Floats) -> _Settled | None:
    try:
        _, found = both_fits(design.model.with_response(y), design.problems)
    except ModelError:
        return None
    singular = len(found.model.components) < len(design.model.components)
    return _Settled(found, Inference(found), design.means, singular)


def _paired(smaller: pd.Series, larger: pd.Series) -> _Answer | None:
    differences = (larger - smaller).dropna()
    if len(differences) < 2 or differences.std() == 0:  # noqa: PLR2004 - a spread needs two
        return None
    se = float(differences.std() / math.sqrt(len(differences)))
    estimate = Estimate(float(differences.mean()), se, float(len(differences) - 1), "residual")
    return _Answer(estimate.value, estimate.p, estimate, estimate.df_method, 2 * len(differences), singular=False)


def _welch(smaller: pd.Series, larger: pd.Series) -> _Answer | None:
    parts = [float(units.var() / len(units)) for units in (smaller, larger)]
    if min(parts) <= 0:
        return None
    df = sum(parts) ** 2 / sum(part**2 / (len(units) - 1) for part, units in zip(parts, (smaller, larger), strict=True))
    estimate = Estimate(float(larger.mean() - smaller.mean()), math.sqrt(sum(parts)), df, "welch")
    return _Answer(estimate.value, estimate.p, estimate, estimate.df_method, len(smaller) + len(larger), singular=False)


def _permuted(smaller: pd.Series, larger: pd.Series, generator: np.random.Generator) -> _Answer:
    found = resampling.permutation_test(smaller.to_numpy(), larger.to_numpy(), generator)
    how = "exact" if found.exact else "random arrangements"
    return _Answer(found.difference_pp, found.p, None, how, len(smaller) + len(larger), singular=False)


def _rows(data: _Data, model: str, answers: Mapping[str, _Answer | None]) -> list[Specification]:
    given = {method: answer for method, answer in answers.items() if answer is not None}
    # methods that a choice of rows leaves out are still asked about: one alone is corrected as one of all
    left_out = [1.0] * (data.siblings - len(given))
    steps = dict(zip(given, holm([*(answer.p for answer in given.values()), *left_out]), strict=False))
    rows = []
    for method, answer in given.items():
        low, high = answer.estimate.interval(LEVEL) if answer.estimate else (None, None)
        above = answer.value > 0
        rows.append(
            Specification(
                method=method, metric=data.metric, scale=data.scale, seeds=data.seeds, teachers=data.teachers,
                hyperparameters=data.hyperparameters, model=model,
                df_method=answer.df_method, estimate=answer.value,
                se=answer.estimate.se if answer.estimate else None,
                df=answer.estimate.df if answer.estimate and math.isfinite(answer.estimate.df) else None,
                ci_low=low, ci_high=high, p=answer.p, p_holm=steps[method].p, n=answer.n, singular=answer.singular,
                supports=above and answer.p < _ALPHA, supports_holm=above and steps[method].p < _ALPHA,
            )
        )  # fmt: skip
    return rows


def choices(found: Sequence[Specification]) -> tuple[Choice, ...]:
    """What each option of each choice does to the curve, one method at a time."""
    rows = []
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        for choice in CHOICES:
            for option in dict.fromkeys(getattr(one, choice) for one in own):
                taken = [one for one in own if getattr(one, choice) == option]
                in_pp = [one.estimate for one in taken if one.scale == "pp"]
                rows.append(
                    Choice(
                        method=method, choice=choice, option=option, specifications=len(taken),
                        share_supporting=sum(one.supports for one in taken) / len(taken),
                        median_estimate_pp=median(in_pp) if in_pp else None,
                        median_p=median(one.p for one in taken),
                    )
                )  # fmt: skip
    return tuple(rows)
