"""What a practitioner could pick under a budget: what each architecture costs, and which method is best there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.results import Analysis, Contrast, EmMean
from analysis.runs.checks import SIZES
from analysis.runs.columns import BASELINE
from analysis.runs.layout import student_sizes
from report.estimands import Estimand, means_that_count, that_count
from report.numbers import MISSING, estimate, number
from report.tables import Spec, Table, build
from report.words import architecture, metric_name, natural_key

TOLD_APART_BELOW = 0.05  # p value, Holm-adjusted
LEAD = ("feature", "logit")  # the two methods that the analysis compares with each other; others with the baseline
Spread = tuple[float, float]  # the fastest and the slowest run


@dataclass(frozen=True)
class Cost:
    """What one architecture costs to run.

    Attributes:
        parameters: Trainable parameters; None where neither the table nor the study knows them.
        forward_gflop: Operations of one image's forward pass, in billions; None likewise.
        in_table: Whether the runs table gives both; if not, they are known by the architecture's name.
        latency_ms_batch1: The fastest and the slowest run's time for one image; None where none was measured.
        latency_ms_batch128: The same for a batch of 128 images.
    """

    parameters: int | None
    forward_gflop: float | None
    in_table: bool
    latency_ms_batch1: Spread | None
    latency_ms_batch128: Spread | None


@dataclass(frozen=True)
class Difference:
    """The best method's mean minus the next best one's, as the analysis compares them.

    Attributes:
        estimate_pp: Estimate.
        ci_low_pp: Lower end of its 95% interval, not adjusted.
        ci_high_pp: Upper end.
        p: Two-sided p value, Holm-adjusted where its family has several contrasts.
    """

    estimate_pp: float
    ci_low_pp: float
    ci_high_pp: float
    p: float


@dataclass(frozen=True)
class Step:
    """A budget that pays for one student.

    Attributes:
        student: Architecture.
        cost: What it costs.
        best: The method with the highest estimated mean.
        next_best: The one after it; None where there is no other.
        difference: Best minus next best; None where the analysis does not compare these two.
        smaller: The highest estimated mean of all smaller students; None where there is none, or size is not known.
    """

    student: str
    cost: Cost
    best: EmMean
    next_best: EmMean | None
    difference: Difference | None
    smaller: EmMean | None

    @property
    def rises(self) -> bool:
        """Whether the best mean is higher than that of every smaller student."""
        return self.smaller is None or self.smaller.mean_pct < self.best.mean_pct


def costs(runs: pd.DataFrame) -> dict[str, Cost]:
    """Size and latency of every student and teacher; a student that also teaches is one architecture.

    Args:
        runs: A checked runs table.
    """
    rows = runs[runs["stage"].isin(["final", "teachers"])]
    sizes = student_sizes(rows)
    found: dict[str, Cost] = {}
    for name, own in rows.groupby("student", sort=False):
        size = sizes.get(str(name))
        found[str(name)] = Cost(
            parameters=None if size is None else size.parameters,
            forward_gflop=None if size is None else float(size.forward_gflop),
            in_table=bool(own[list(SIZES)].notna().any().all()),
            latency_ms_batch1=_spread(own["latency_ms_batch1"]),
            latency_ms_batch128=_spread(own["latency_ms_batch128"]),
        )
    return found


def _spread(latency_ms: pd.Series[float]) -> Spread | None:
    """The range, no mean: what else a machine does only slows a network down, so the fastest run is nearest to it."""
    known = latency_ms.dropna()
    return None if known.empty else (float(known.min()), float(known.max()))


def smaller_first(names: Iterable[str], cost: Mapping[str, Cost]) -> list[str]:
    """Architectures by parameters, those of unknown size last, equals by name."""
    return sorted(names, key=lambda name: (cost[name].parameters or math.inf, natural_key(name)))


def steps(analysis: Analysis, runs: pd.DataFrame) -> tuple[Step, ...]:
    """One step a student, smaller first.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it.
    """
    cost, means = costs(runs), means_that_count(analysis.emmeans)
    contrasts = that_count(analysis.contrasts)
    found: list[Step] = []
    highest: EmMean | None = None
    for student in smaller_first({mean.student for mean in means} & cost.keys(), cost):
        own = sorted((mean for mean in means if mean.student == student), key=lambda m: (-m.mean_pct, m.method))
        best, next_best = own[0], own[1] if len(own) > 1 else None
        difference = None if next_best is None else _difference(contrasts, best, next_best)
        smaller = None if cost[student].parameters is None else highest
        found.append(Step(student, cost[student], best, next_best, difference, smaller))
        highest = max((highest or best, best), key=lambda mean: mean.mean_pct)
    return tuple(found)


def _difference(contrasts: Mapping[Estimand, Contrast], best: EmMean, next_best: EmMean) -> Difference | None:
    """The primary model's contrast of two methods of one student, turned the way that is asked for."""
    methods = (best.method, next_best.method)
    if BASELINE in methods:
        method = methods[methods[0] == BASELINE]
        name, forward = f"gain:{best.student}:{method}", method == best.method
    elif methods in (LEAD, LEAD[::-1]):
        name, forward = f"lead:{LEAD[0]}-{LEAD[1]}:{best.student}", methods == LEAD
    else:
        return None
    row = contrasts.get(Estimand("primary", best.metric, best.subset, name))
    if row is None:
        return None
    p = row.p if row.p_holm is None else row.p_holm
    if forward:
        return Difference(row.estimate_pp, row.ci_low_pp, row.ci_high_pp, p)
    return Difference(-row.estimate_pp, -row.ci_high_pp, -row.ci_low_pp, p)


def budget_table(analysis: Analysis, runs: pd.DataFrame) -> Table:
    """Student by student: what it costs, its best method by estimate, and whether that is told from the next best.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it.

    Returns:
        A row a student that has an estimated mean, smaller first. Columns of latency are there where it was measured.
    """
    found = steps(analysis, runs)
    columns: list[Spec[Step]] = [
        ("Student", False, lambda s: architecture(s.student)),
        ("Parameters (millions)", True, lambda s: millions(s.cost)),
        ("GFLOP an image", True, lambda s: three_digits(s.cost.forward_gflop)),
    ]
    if any(step.cost.latency_ms_batch1 for step in found):
        columns.append(("Latency, 1 image (ms)", True, lambda s: spread(s.cost.latency_ms_batch1)))
    if any(step.cost.latency_ms_batch128 for step in found):
        columns.append(("Latency, 128 images (ms)", True, lambda s: spread(s.cost.latency_ms_batch128)))
    columns += [
        ("Best by estimate", False, lambda s: s.best.method),
        (
            "Mean, 95% interval (%)",
            True,
            lambda s: estimate(s.best.mean_pct, s.best.ci_low_pct, s.best.ci_high_pct, "pct"),
        ),
        ("Next best", False, lambda s: MISSING if s.next_best is None else s.next_best.method),
        ("Best minus next, unadjusted 95% interval (pp)", True, lambda s: _difference_shown(s.difference)),
        ("p (Holm)", True, lambda s: number(None if s.difference is None else s.difference.p, "p")),
        ("Told apart?", False, _verdict_shown),
        ("Best smaller student, by estimate", False, _smaller_shown),
    ]
    return build("budget", _caption(analysis, found), columns, found)


def _difference_shown(row: Difference | None) -> str:
    return MISSING if row is None else estimate(row.estimate_pp, row.ci_low_pp, row.ci_high_pp, "signed_pp")


def verdict(step: Step) -> str:
    """Whether the best method is told apart from the next best: only where the analysis says so."""
    known = step.difference is not None and step.difference.p < TOLD_APART_BELOW
    return "told apart" if known else "not told apart"


def _verdict_shown(step: Step) -> str:
    if step.next_best is None:
        return "no other method"
    return verdict(step) + (": not compared" if step.difference is None else "")


def _smaller_shown(step: Step) -> str:
    best = step.smaller
    return MISSING if best is None else f"{architecture(best.student)}, {best.method}: {number(best.mean_pct, 'pct')}%"


def _caption(analysis: Analysis, found: Iterable[Step]) -> str:
    cost = {step.student: step.cost for step in found}
    parts = (
        f"What to pick under a budget: each student's best method by estimated mean of {metric_name(analysis)}, and "
        "whether the analysis tells it apart from the next best (p, Holm-adjusted, below "
        f"{number(TOLD_APART_BELOW, 'plain')}). The highest of several means is often highest by luck too.",
        size_note(cost),
        latency_note(cost),
    )
    return " ".join(filter(None, parts))


def size_note(cost: Mapping[str, Cost]) -> str:
    """A sentence on sizes that the runs table does not give; empty where it gives all."""
    by_name = any(one.parameters is not None and not one.in_table for one in cost.values())
    unknown = [architecture(name) for name, one in cost.items() if one.parameters is None]
    sentences = (
        "Sizes that the runs table does not give are those of the architecture of that name for images of 32x32 "
        "pixels and 10 classes."
        if by_name
        else "",
        f"The size of {', '.join(unknown)} is not known." if unknown else "",
    )
    return " ".join(filter(None, sentences))


def latency_note(cost: Mapping[str, Cost]) -> str:
    """A sentence on how to read latencies, or on why there are none."""
    if any(one.latency_ms_batch1 or one.latency_ms_batch128 for one in cost.values()):
        return (
            "Latency is that of a forward pass on the device that trained the run, from the fastest to the slowest: "
            "other work on the device makes it longer."
        )
    return "Latency is not known: it is measured when kdcap trains a study, and this runs table has none."


def millions(cost: Cost) -> str:
    """Parameters in millions."""
    return three_digits(None if cost.parameters is None else cost.parameters / 1e6)


def spread(latency_ms: Spread | None) -> str:
    """The fastest run and, where it differs, the slowest: `1.03 to 10.6`."""
    return MISSING if latency_ms is None else " to ".join(dict.fromkeys(map(three_digits, latency_ms)))


def three_digits(value: float | None) -> str:
    """A size or a time in three significant digits: no budget is drawn finer."""
    return number(None if value is None else float(f"{value:.3g}"), "plain")
