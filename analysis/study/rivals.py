"""Rival moderators: is it the student, its parameters, its operations, or the accuracy gap to the teacher?

Each rival is one model of the same gains, `gain ~ method + moderator + (1 | student:seed)` by ML, ranked by Akaike's
criterion with small-sample correction (Hurvich and Tsai, Biometrika 76, 1989, 297-307). How far the design can tell
them apart is found by simulation: data are drawn from each fitted rival, and counted is how often it is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.mixed.bootstrap import refit, simulate
from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import Inference
from analysis.mixed.model import Floats, Model, build
from analysis.results import Rival
from analysis.runs.columns import BASELINE
from analysis.runs.frame import accuracy, checkpoints, gain_frame, of_students
from analysis.runs.layout import student_sizes
from analysis.runs.metric import Metric
from analysis.study.models import Fitted, Source, fit_model, identified, random_part

DRAWS = 500
AT_EQUAL_GAP = "moderation-at-equal-gap"
GAPS = {"gap": "gap_checkpoint_pp", "gap-mean": "gap_mean_pp"}  # the checkpoint that taught, or its seeds' mean
_SAME_SPACE = 1e-8


@dataclass(frozen=True)
class _Candidate:
    name: str
    unit: str
    column: str
    fit: Fit


def gap_frame(runs: pd.DataFrame, frame: pd.DataFrame, metric: Metric, pair: tuple[str, str] | None) -> pd.DataFrame:
    """Gains with the moderators of their pair.

    Args:
        runs: The whole checked table; teachers' accuracies are in its stage `teachers`.
        frame: As `analysis.runs.frame.model_frame` returns it, in percent.
        metric: The metric analysed.
        pair: The students compared, smaller first: the rows are theirs alone. None where there is no such pair: the
            rows are all students', who are told apart by their numbers only.

    Returns:
        The gain frame with `larger` (1 for the larger student of the pair), `gap_mean_pp` (mean of the teacher's seeds
        less the student's mean baseline), `gap_checkpoint_pp` (the checkpoint that taught; where the table does not
        say, the teacher's lowest seed, which the students of the published study learned from), `log10_parameters` and
        `log10_flops` of the student; a moderator that is not known for every run is left out.
    """
    if pair is not None:
        frame = of_students(frame, pair)
    gains = gain_frame(frame)
    teachers = runs[(runs["stage"] == "teachers") & runs[metric.name].notna()].sort_values("seed")
    teacher_pct = 100 * accuracy(teachers, metric)
    mean = teacher_pct.groupby(teachers["student"]).mean()
    known: dict[tuple[str, str], float] = {}
    for name, seed, pct in zip(teachers["student"], teachers["seed"], teacher_pct, strict=True):
        known[name, str(seed)] = pct
        known.setdefault((name, ""), pct)  # where it is not known, the first one taught
    taught = zip(gains["teacher"], gains["teacher_seed"], strict=True)
    checkpoint = pd.Series([known.get(one, math.nan) for one in taught], gains.index, dtype=float)
    baseline = frame[frame["method"] == BASELINE].groupby("student", observed=True)["y"].mean()
    student = gains["student"].astype(str)
    own = student.map({str(name): value for name, value in baseline.items()}).astype(float)
    sizes = student_sizes(runs[runs["stage"] == "final"])
    moderators = {
        "larger": (student == pair[1]).astype(float) if pair else pd.Series(math.nan, gains.index),
        "log10_parameters": student.map({name: math.log10(size.parameters) for name, size in sizes.items()}),
        "log10_flops": student.map({name: math.log10(size.forward_gflop) for name, size in sizes.items()}),
        "gap_mean_pp": gains["teacher"].map(mean) - own,
        "gap_checkpoint_pp": checkpoint - own,
    }
    return gains.assign(**{name: values for name, values in moderators.items() if values.notna().all() and len(values)})


def at_equal_gap(gaps: pd.DataFrame, metric: str, name: str) -> Fitted | None:
    """The students' difference in gain at equal accuracy gap: `gain ~ method + larger + gap + (1 | student:seed)`.

    Args:
        gaps: As `gap_frame` returns it.
        metric: Name of the metric.
        name: A model of `GAPS`, which says whose accuracy the teacher's is.

    Returns:
        The model; its one cell, `larger`, is that difference. None where the gap is not known or is the student under
        another name.
    """
    gap = GAPS[name]
    if gap not in gaps or "larger" not in gaps or not _varies(gaps["larger"]):
        return None
    pairs = gaps[["teacher", "student", "larger", gap]].drop_duplicates()
    if _correlation(pairs["larger"], pairs[gap]) > 1 - _SAME_SPACE:
        return None
    method = "method + " if _varies(gaps["method"]) else ""
    fitted = fit_model(name, f"y ~ {method}larger + {gap} + {random_part(gaps)}", gaps, {}, metric=metric, subset="all")
    first = _with_larger(fitted.first)
    return Fitted(first, first if fitted.used is fitted.first else _with_larger(fitted.used), fitted.notes)


def _with_larger(source: Source) -> Source:
    place = list(source.fit.model.names).index("larger")
    return replace(source, cells={"larger": np.eye(len(source.fit.beta))[place]})


def rivals(gaps: pd.DataFrame, generator: np.random.Generator) -> tuple[Rival, ...]:
    """Rank the rival moderators.

    Args:
        gaps: As `gap_frame` returns it.
        generator: For the simulations.

    Returns:
        A row a rival, best first; none where there are fewer than two students, or too few gains for the criterion.
    """
    if not _varies(gaps["student"]):
        return ()
    taught = "the checkpoint that taught" if max(checkpoints(gaps).values()) > 1 else "the teacher's first seed"
    columns = {
        "larger": ("student", "pp from the smaller to the larger student"),
        "log10_parameters": ("log10 parameters", "pp per factor of 10"),
        "log10_flops": ("log10 FLOPs", "pp per factor of 10"),
        "gap_mean_pp": ("accuracy gap (mean of the teacher's seeds)", "pp per pp"),
        "gap_checkpoint_pp": (f"accuracy gap ({taught})", "pp per pp"),
    }
    method = "method" if _varies(gaps["method"]) else "1"
    found = [_Candidate("none", "", "", _ml(f"y ~ {method} + {random_part(gaps)}", gaps))]
    for column, (name, unit) in columns.items():
        if column in gaps and _varies(gaps[column]):
            found.append(_Candidate(name, unit, column, _ml(f"y ~ {method} + {column} + {random_part(gaps)}", gaps)))
    if min(_spare(one.fit.model) for one in found) < 1:
        return ()
    criteria = [_aicc(one.fit.minus_2_log_likelihood, one.fit.model) for one in found]
    chosen = _chosen_if_true(found, generator)
    pairs = gaps.drop_duplicates(["teacher", "student"])
    rows = [
        _row(one, aicc, min(criteria), share, pairs) for one, aicc, share in zip(found, criteria, chosen, strict=True)
    ]
    # equal models keep their order, whatever their last digits say
    return tuple(sorted(rows, key=lambda row: round(row.aicc, 6)))


def _ml(formula: str, gaps: pd.DataFrame) -> Fit:
    return fit(identified(build(formula, gaps))[0], "ML")


def _row(one: _Candidate, aicc: float, best: float, share: float, pairs: pd.DataFrame) -> Rival:
    estimate = None
    if one.column:
        place = list(one.fit.model.names).index(one.column)
        estimate = Inference(one.fit).estimate(np.eye(len(one.fit.beta))[place], "satterthwaite")
    known = one.column and "larger" in pairs
    return Rival(
        moderator=one.name,
        slope_pp=estimate.value if estimate else None,
        slope_unit=one.unit,
        se_pp=estimate.se if estimate else None,
        p=estimate.p if estimate else None,
        minus_2_log_likelihood=one.fit.minus_2_log_likelihood,
        aicc=aicc,
        delta_aicc=aicc - best,
        correlation_with_student=_correlation(pairs["larger"], pairs[one.column]) if known else None,
        chosen_if_true=share,
        n=len(one.fit.model.y),
    )


def _parameters(model: Model) -> int:
    return int(model.x.shape[1]) + len(model.components) + 1


def _spare(model: Model) -> int:
    """What the correction of Akaike's criterion divides by; below 1 there is no such criterion."""
    return len(model.y) - _parameters(model) - 1


def _aicc(minus_2_log_likelihood: float, model: Model) -> float:
    return minus_2_log_likelihood + 2 * _parameters(model) * len(model.y) / _spare(model)


def _chosen_if_true(found: Sequence[_Candidate], generator: np.random.Generator) -> list[float]:
    """Share of simulated data sets of each rival in which it has the lowest criterion."""
    shares = []
    for index, truth in enumerate(found):
        y = simulate(truth.fit, DRAWS, generator)
        criteria = np.stack([_criteria(one.fit, y) for one in found])
        ties = criteria <= criteria.min(axis=0) + _SAME_SPACE
        shares.append(float((ties[index] / ties.sum(axis=0)).mean()))
    return shares


def _criteria(fitted: Fit, y: Floats) -> Floats:
    """Akaike's criterion of responses (B, n); where variances are costly to fit anew, at the ratios first fitted."""
    problem = fitted.problem
    if problem.stratified:
        lowest = refit(fitted.model, y, "ML").minus_2_log_likelihood
    else:
        lowest = problem.values(fitted.optimum.gamma[None, :], problem.data(y))[:, 0] + problem.constant
    return np.asarray(lowest + _aicc(0.0, fitted.model))


def _correlation(one: pd.Series, other: pd.Series) -> float:
    """Absolute correlation; 0 where one does not vary."""
    if not (_varies(one) and _varies(other)):
        return 0.0
    return abs(float(np.corrcoef(one.astype(float), other.astype(float))[0, 1]))


def _varies(values: pd.Series) -> bool:
    return bool(len(values)) and bool((values != values.iloc[0]).any())
