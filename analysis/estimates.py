"""Everything that is estimated from a runs table without drawing a random number: models, contrasts, joint tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.claims.judge import Family, judge_all
from analysis.claims.register import Registered, bind
from analysis.errors import ModelError
from analysis.inference.estimate import Estimate
from analysis.inference.power import Precision
from analysis.mixed.profile import sd_interval
from analysis.results import (
    AlternativeInterval,
    Claim,
    Contrast,
    Fidelity,
    ModelFit,
    Omnibus,
    VarianceComponent,
    Version,
)
from analysis.runs.columns import BASELINE
from analysis.runs.frame import final_frame, gain_frame, of_students, taught_by
from analysis.runs.layout import Layout
from analysis.runs.metric import ACCURACY, Metric
from analysis.study import ablations, rivals
from analysis.study.contrasts import contrast_family, contrast_rows, fidelity_family, interaction_tests, joint_tests
from analysis.study.estimands import Families, gain_families, gains_by_cell, pair_families, student_families
from analysis.study.images import images_of, new_images
from analysis.study.models import Fitted, Source, Weights, components, describe, pairs, primary
from analysis.study.models import gains as gain_model
from analysis.study.planning import Plan
from analysis.study.precision import paired_intervals

# the paper's methods are asked about even where a table has no runs of them: the answer is then "not tested"
PAPER_METHODS = ("feature", "logit")
DIVERGENCES = ("kl_t1", "kl_t4")


@dataclass
class Estimates:
    """Rows as they are gathered from one model after another.

    Attributes:
        final: Final rows.
        numbers: Row of the runs table, counted from 1, of each final row.
        layout: Their shape.
        metric: The metric analysed.
        frame: Final rows as the models see them.
        main: The primary model on all rows.
        sources: The primary model's fits, on all rows and under the shared teachers.
        gaps: Gains with their rival moderators.
        contrasts: Rows in percentage points.
        fidelity: Rows in other units.
        variances: Variance components.
        models: What was fitted.
        omnibus: Joint F tests.
        intervals: Paired comparisons on the same images, where these are known.
        families: Estimates that claims can rest on.
        fitted: Every model.
        history: The first version's gains beside these.
    """

    final: pd.DataFrame
    numbers: NDArray[np.int_]
    layout: Layout
    metric: Metric
    frame: pd.DataFrame
    main: Fitted
    sources: list[Source]
    gaps: pd.DataFrame
    contrasts: list[Contrast] = field(default_factory=list)
    fidelity: list[Fidelity] = field(default_factory=list)
    variances: list[VarianceComponent] = field(default_factory=list)
    models: list[ModelFit] = field(default_factory=list)
    omnibus: list[Omnibus] = field(default_factory=list)
    intervals: list[AlternativeInterval] = field(default_factory=list)
    families: list[Family] = field(default_factory=list)
    fitted: list[Fitted] = field(default_factory=list)
    history: tuple[Version, ...] = ()

    def add(
        self,
        fitted: Fitted,
        frame: pd.DataFrame,
        families: Families,
        runs: Iterable[int],
        *,
        unit: str = "pp",
        second: bool = False,
    ) -> None:
        """A model with its families of contrasts; after a singular fit those of the fit and of the refit.

        Args:
            fitted: The model.
            frame: Its rows.
            families: What is asked of it.
            runs: Rows of the runs table that its responses come from, counted from 1, each once.
            unit: Of the contrasts.
            second: Whether to fit the second engine beside it, and to profile its variances.
        """
        self.fitted.append(fitted)
        self.models += describe(fitted, runs, second=second)
        for source in fitted.sources:
            if unit == "pp":
                self.variances += components(source, _sd_intervals(source) if second else {})
            for family, contrasts in families.items():
                if unit == "pp":
                    self.contrasts += contrast_family(source, family, contrasts)
                else:
                    self.fidelity += fidelity_family(source, family, unit, contrasts)
        plan = Plan(fitted.used, frame)
        self.families += [_family(name, fitted, plan, contrasts) for name, contrasts in families.items()]

    def judged(self, claims: Sequence[Registered], margin_pp: float) -> tuple[Claim, ...]:
        """The claims of a register, in this table's words, judged by these estimates."""
        layout = self.layout
        methods = (*PAPER_METHODS, *(method for method in layout.methods if method not in PAPER_METHODS))
        return judge_all(
            bind(claims, layout, methods),
            self.families,
            metric=self.metric.name,
            margin_pp=margin_pp,
            seeds=layout.seeds,
        )


def estimate_all(
    runs: pd.DataFrame,
    *,
    metric: Metric = ACCURACY,
    student_order: Sequence[str] | None = None,
    correct: NDArray[np.bool_] | None = None,
    history: pd.DataFrame | None = None,
    second: bool = True,
) -> Estimates:
    """Fit every model of the study.

    Arguments and errors as in `analysis.analyze.analyze`; without `second`, no second engine is fitted beside the main
    models and their variances have no intervals, which takes a fraction of the time and changes no contrast or claim.
    """
    found, seen = _means(runs, metric, student_order, second=second)
    final, layout, frame = found.final, found.layout, found.frame
    for source in found.sources:
        found.omnibus += interaction_tests(source, layout.students, layout.methods)
    _add_gain_model(found, frame, layout, metric, second=second)
    _add_gap_model(found, rivals.gap_frame(runs, frame, metric, layout.pair), layout, metric)
    _add_ablations(found, runs, final, metric)
    found.history = _add_history(found, runs, final, seen[1].source, history)
    if correct is not None and metric == ACCURACY:
        right = correct[(runs["stage"] == "final").to_numpy()]
        for one in seen:
            found.contrasts += _for_new_images(one.source, one.rows, one.families, right[one.rows["row"]])
        found.intervals += paired_intervals(final, right)
    return found


def estimate_means(
    runs: pd.DataFrame, *, metric: Metric = ACCURACY, student_order: Sequence[str] | None = None
) -> Estimates:
    """Fit the models of cell means alone: all that claims about accuracies rest on, in a fraction of the time.

    Without the second engine and the profile intervals, which no claim needs; arguments and errors as in
    `analysis.analyze.analyze`.
    """
    return _means(runs, metric, student_order, second=False)[0]


@dataclass(frozen=True)
class _Seen:
    """A fit, the rows that it saw, and what was asked of it."""

    source: Source
    rows: pd.DataFrame
    families: Families


def _means(
    runs: pd.DataFrame, metric: Metric, student_order: Sequence[str] | None, *, second: bool
) -> tuple[Estimates, list[_Seen]]:
    """The primary model, that of pairs, and the primary one under the teachers that both students share."""
    final, layout, frame = final_frame(runs, metric, student_order)
    by_student, by_pair = student_families(layout), pair_families(final)
    main, by_cell = primary(frame, metric.name, "all"), pairs(frame, metric.name, "all")
    # the extremes of several students answer the claims; what moderates the gain is asked of all
    asked = layout.pair if layout.named or len(layout.students) == 2 else None  # noqa: PLR2004 - a pair
    gaps = rivals.gap_frame(runs, frame, metric, asked)
    numbers = 1 + np.flatnonzero(runs["stage"] == "final")
    found = Estimates(final, numbers, layout, metric, frame, main, [*main.sources], gaps)
    found.add(main, frame, by_student, numbers[frame["row"]], second=second)
    found.add(by_cell, frame, by_pair, numbers[frame["row"]], second=second)
    seen = [_Seen(main.used, frame, by_student), _Seen(by_cell.used, frame, by_pair)]
    if layout.shared_teachers:
        taught = taught_by(of_students(frame, layout.pair or ()), layout.shared_teachers)
        matched = primary(taught, metric.name, "teachers:" + "+".join(layout.shared_teachers))
        found.add(matched, taught, by_student, numbers[taught["row"]], second=second)
        found.sources += matched.sources
        seen.append(_Seen(matched.used, taught, by_student))
    return found, seen


def _family(name: str, fitted: Fitted, plan: Plan, contrasts: Mapping[str, Weights]) -> Family:
    source = fitted.used
    kept = source.known(contrasts)

    def planned(name: str) -> Precision:
        return plan.precision(source.combination(kept[name]))

    estimates = {name: source.estimate(weights) for name, weights in kept.items()}
    return Family(name, fitted.first.model, source.model, source.metric, source.subset, estimates, planned)


def _sd_intervals(source: Source) -> dict[str, tuple[float, float]]:
    names = source.fit.singular if source.singular else source.fit.variances  # of a zero, how large it could be
    return {name: sd_interval(source.fit, name) for name in names}


def _add_gain_model(found: Estimates, frame: pd.DataFrame, layout: Layout, metric: Metric, *, second: bool) -> None:
    """Gains as the response: a gain is a cell's mean, moderation a difference of two."""
    gains = gain_frame(frame)
    try:
        fitted = gain_model(gains, metric.name, "all")
    except ModelError:  # too few seeds with a baseline of their own
        return
    families = gain_families(layout)
    found.add(fitted, gains, families, _behind_gains(found, gains), second=second)
    moderated = list(families.get("moderation", {}).values())
    for source in fitted.sources:  # without baselines the students' common difference is part of moderation
        found.omnibus += joint_tests(source, "student + student:method", moderated)


def _add_gap_model(found: Estimates, gaps: pd.DataFrame, layout: Layout, metric: Metric) -> None:
    for name in rivals.GAPS if layout.pair is not None else ():
        fitted = rivals.at_equal_gap(gaps, metric.name, name)
        if fitted is not None and layout.pair is not None:
            smaller, larger = layout.pair
            asked = {"accuracy gap": {f"{rivals.AT_EQUAL_GAP}:{larger}-{smaller}": {"larger": 1.0}}}
            found.add(fitted, gaps, asked, _behind_gains(found, gaps))


def _behind_gains(found: Estimates, gains: pd.DataFrame) -> NDArray[np.int_]:
    """The runs that gains are differences of: distilled ones, and the baselines of their students and seeds."""
    alone = found.frame[found.frame["method"] == BASELINE]
    asked = set(zip(gains["student"], gains["seed"], strict=True))
    used = [run in asked for run in zip(alone["student"], alone["seed"], strict=True)]
    return found.numbers[[*gains["row"], *alone.loc[used, "row"]]]


def _add_ablations(found: Estimates, runs: pd.DataFrame, final: pd.DataFrame, metric: Metric) -> None:
    for family, part in (("stems", ablations.stems(runs, metric)), ("clipping", ablations.clipping(runs, metric))):
        if part is not None:
            found.add(part[0], part[1], {family: part[2]}, 1 + part[1]["row"])
    for measure in ("agreement", *DIVERGENCES):
        part = ablations.fidelity(final, measure)
        if part is not None:
            unit = "pp" if measure == "agreement" else "nats"
            found.add(part[0], part[1], {measure: part[2]}, found.numbers[part[1]["row"]], unit=unit)


def _add_history(
    found: Estimates, runs: pd.DataFrame, final: pd.DataFrame, by_cell: Source, table: pd.DataFrame | None
) -> tuple[Version, ...]:
    if table is None:
        return ()
    rows, found_mean = ablations.versions(table, by_cell, gains_by_cell(final), runs)
    if found_mean is not None:
        mean, precise = found_mean
        estimates = {"v1-v2:mean": mean}
        labels = {**by_cell.labels, "model": "history"}
        found.contrasts += contrast_rows(estimates, "versions", n=len(final), **labels)
        found.families.append(
            Family("versions", "history", "history", by_cell.metric, "all", estimates, lambda _: precise)
        )
    return rows


def _for_new_images(
    source: Source, frame: pd.DataFrame, families: Families, right: NDArray[np.bool_]
) -> list[Contrast]:
    """Rows for other test images: the seeds' noise and the images' together."""
    blocks = [f"{student}:{seed}" for student, seed in zip(frame["student"], frame["seed"], strict=True)]
    if "student:seed" not in source.fit.variances:  # without a common effect of a seed, each run is its own
        blocks = [str(row) for row in range(len(frame))]
    cells = [f"{cell}:{checkpoint}" for cell, checkpoint in zip(frame["cell"], frame["teacher_seed"], strict=True)]
    images = images_of(right, cells, blocks)
    rows: list[Contrast] = []
    for family, contrasts in families.items():
        estimates: dict[str, Estimate] = {}
        for name, weights in source.known(contrasts).items():
            run_weights = source.fit.run_weights(source.combination(weights))
            noise = new_images(source.estimate(weights), run_weights, images)
            why = ", images' part not above 0" if noise.floored else ""
            estimates[name] = replace(noise.estimate, df_method=f"{noise.estimate.df_method}{why}")
        labels = {**source.labels, "model": f"{source.model}:new-images"}
        rows += contrast_rows(estimates, family, n=len(frame), **labels)
    return rows
