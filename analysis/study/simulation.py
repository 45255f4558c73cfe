"""How often the study's procedure errs, by simulation: false alarms, coverage, and how often a fit is singular.

Responses are drawn from a known truth on the design of a fitted primary model, and each goes the way of the published
runs: a REML fit, a refit without the zero variance where that fit is singular, an F test of the interaction and t
intervals of its contrasts with Kenward-Roger's degrees of freedom, or the residual ones after a refit. Testing for a
component and then leaving it out can cost level (Bancroft, Ann Math Stat 15, 1944, 190-204): here one sees how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.mixed.bootstrap import simulate
from analysis.mixed.fit import Fit
from analysis.mixed.inference import DfMethod
from analysis.mixed.model import Floats
from analysis.study.contrasts import LEVEL
from analysis.study.models import Fitted, Source, Weights, both_fits, identified

_CHUNK = 1000  # responses drawn at once

Judge = Callable[[Fitted], tuple[Source, DfMethod]]
"""Which fit a judgement rests on, and by which degrees of freedom."""


def by_used(fitted: Fitted) -> tuple[Source, DfMethod]:
    """The study's procedure: the fit, after a singular one the refit without its zero variances."""
    return fitted.used, fitted.used.df_method


def by_first(fitted: Fitted) -> tuple[Source, DfMethod]:
    """The other choice: the fit itself, with Kenward-Roger's degrees of freedom also where it is singular."""
    return fitted.first, fitted.first.df_method


@dataclass(frozen=True)
class Share:
    """A share of simulated data sets.

    Attributes:
        count: Data sets in which it happened.
        draws: Data sets.
    """

    count: int
    draws: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.draws

    @property
    def mc_se(self) -> float:
        """Monte-Carlo standard error of the share, as found."""
        return math.sqrt(self.value * (1 - self.value) / self.draws)

    def errors_from(self, nominal: float) -> float:
        """Distance from a nominal share, in the Monte-Carlo standard errors of that share; positive if larger."""
        return (self.value - nominal) / math.sqrt(nominal * (1 - nominal) / self.draws)


@dataclass(frozen=True)
class Judged:
    """What one way of judging does.

    Attributes:
        joint: The joint F test of all contrasts has p below 0.05.
        rejected: The 95% t interval of a contrast leaves out 0, as its t test has p below 0.05, by contrast.
        covered: The interval holds the contrast's true value, by contrast.
    """

    joint: Share
    rejected: Mapping[str, Share]
    covered: Mapping[str, Share]


@dataclass(frozen=True)
class Characteristics:
    """Behaviour on one design under one truth.

    Attributes:
        singular: Fits with a variance estimated as zero.
        judged: By way of judging; all ways see the same data sets.
    """

    singular: Share
    judged: Mapping[str, Judged]


class Procedure:
    """`analysis.study.models.fit_model` for any responses of one design, which is coded once.

    Args:
        fitted: The model fitted to the design, with any response.
    """

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self._model, self._problems, _ = identified(fitted.first.fit.model)

    def __call__(self, y: Floats) -> Fitted:
        """Fit a response (n,), and after a singular fit once more without the zero variances."""
        first, used = both_fits(self._model.with_response(y), self._problems)
        source = replace(self._fitted.first, fit=first)
        if used is first:
            return Fitted(source, source, self._fitted.notes)
        return Fitted(source, replace(source, model=f"{source.model}:refit", fit=used), self._fitted.notes)


def without_effects(fit: Fit, combinations: Floats) -> Fit:
    """A truth in which combinations (q, p) of the fixed effects are zero, else as near to the fit as can be."""
    return replace(fit, beta=fit.beta - np.linalg.pinv(combinations) @ (combinations @ fit.beta))


def with_icc(fit: Fit, icc: float) -> Fit:
    """A truth with another share of the seed's variance in the total, which stays as fitted.

    Args:
        fit: A fit with one component.
        icc: Intraclass correlation, 0 or more and below 1.

    Raises:
        ValueError: The share is out of range, or the fit has not one component.
    """
    if not 0 <= icc < 1 or len(fit.optimum.gamma) != 1:
        raise ValueError(f"expected one component and 0 <= icc < 1, found {len(fit.optimum.gamma)} and {icc}")
    total = fit.sigma2 * (1 + float(fit.optimum.gamma[0]))
    return replace(fit, sigma2=total * (1 - icc), optimum=replace(fit.optimum, gamma=np.array([icc / (1 - icc)])))


def characteristics(
    fitted: Fitted,
    truth: Fit,
    contrasts: Mapping[str, Weights],
    judges: Mapping[str, Judge],
    draws: int,
    generator: np.random.Generator,
) -> Characteristics:
    """Simulate the procedure.

    Args:
        fitted: The primary model of a design.
        truth: What responses are drawn from, on the same design: its fixed effects and variances.
        contrasts: The interaction's contrasts, by identifier.
        judges: Ways of judging, by name.
        draws: Data sets.
        generator: Source of randomness.
    """
    procedure = Procedure(fitted)
    combinations = np.stack([fitted.first.combination(weights) for weights in contrasts.values()])
    true = combinations @ truth.beta
    singular, counts = 0, {name: np.zeros(1 + 2 * len(true), dtype=np.int64) for name in judges}
    for start in range(0, draws, _CHUNK):
        for y in simulate(truth, min(_CHUNK, draws - start), generator):
            found = procedure(y)
            singular += found.first.singular
            chosen = {name: judge(found) for name, judge in judges.items()}
            # ways of judging that agree on fit and method are worked out once
            outcomes: dict[tuple[int, DfMethod], NDArray[np.bool_]] = {}
            for name, (source, method) in chosen.items():
                key = (id(source), method)
                if key not in outcomes:
                    outcomes[key] = _outcomes(source, method, contrasts, true)
                counts[name] += outcomes[key]
    return Characteristics(
        Share(singular, draws), {name: _judged(row.tolist(), tuple(contrasts), draws) for name, row in counts.items()}
    )


def _outcomes(source: Source, method: DfMethod, contrasts: Mapping[str, Weights], true: Floats) -> NDArray[np.bool_]:
    """Whether the joint test rejects, which contrasts' tests do, and which intervals cover."""
    combinations = np.stack([source.combination(weights) for weights in contrasts.values()])
    joint = source.inference.joint(combinations, method).p < 1 - LEVEL
    intervals = [source.inference.estimate(combination, method).interval(LEVEL) for combination in combinations]
    rejected = [not low <= 0 <= high for low, high in intervals]
    covered = [low <= value <= high for value, (low, high) in zip(true, intervals, strict=True)]
    return np.array([joint, *rejected, *covered])


def _judged(counts: Sequence[int], names: Sequence[str], draws: int) -> Judged:
    joint, *rest = (Share(count, draws) for count in counts)
    rejected, covered = rest[: len(names)], rest[len(names) :]
    return Judged(joint, dict(zip(names, rejected, strict=True)), dict(zip(names, covered, strict=True)))
