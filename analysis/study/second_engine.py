"""statsmodels' MixedLM beside our own fit: what it found, and whether the two agree.

Its optimisers stop at wrong places now and then, some with `converged=True`, so no one optimiser is believed: all are
run, each is judged by our criterion at its variances, and the best is compared. Regular fits only: on singular ones
its standard errors are wrong even at the right optimum, and its fixed effects can be zero (statsmodels #10239).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import statsmodels
import statsmodels.api as sm
from statsmodels.regression.mixed_linear_model import VCSpec

from analysis.mixed.fit import Fit
from analysis.mixed.model import Floats

OPTIMISERS = ("lbfgs", "bfgs", "powell")
NAME = f"statsmodels {statsmodels.__version__} MixedLM"
SAME = 1e-4  # criteria (-2 log likelihood) this close are one optimum, not two


@dataclass(frozen=True)
class Comparison:
    """What the second engine found.

    Attributes:
        name: Engine and its best optimiser.
        excess: Its criterion less ours, both by our formula.
        effect_difference: Largest absolute difference of a fixed effect, in the response's unit.
        se_ratio: Its standard error over ours where they differ most.
        told: A sentence.
    """

    name: str
    excess: float
    effect_difference: float
    se_ratio: float
    told: str


@dataclass(frozen=True)
class _Found:
    gamma: Floats
    beta: Floats
    se: Floats


def compare(fit: Fit) -> Comparison | None:
    """Fit the same model with statsmodels and compare.

    Args:
        fit: Our fit by REML, with a random part, not singular.

    Returns:
        The comparison; None if statsmodels failed with each of its optimisers.
    """
    found = {optimiser: result for optimiser in OPTIMISERS if (result := _fit(fit, optimiser)) is not None}
    if not found:
        return None
    data = fit.problem.data(fit.model.y[None, :])
    criteria = {
        name: float(fit.problem.evaluate(result.gamma[None, :], data).value[0]) - fit.optimum.value
        for name, result in found.items()
    }
    best = min(criteria, key=criteria.__getitem__)
    theirs = found[best]
    ratios = theirs.se / np.sqrt(np.diag(fit.covariance))
    worst = float(ratios[np.argmax(np.abs(np.log(ratios)))])
    difference = float(np.abs(theirs.beta - fit.beta).max())
    astray = [name for name in OPTIMISERS if name not in found or criteria[name] > SAME]
    agrees = "agrees" if criteria[best] <= SAME else "stopped short of the optimum"
    told = (
        f"{NAME} ({best}) {agrees}: criterion {criteria[best]:+.1e}, fixed effects within {difference:.1e}, "
        f"standard errors within {abs(worst - 1):.1e} of ours"
    )
    if astray:
        told += f"; failed or stopped short: {', '.join(astray)}"
    return Comparison(f"{NAME}, {best}", criteria[best], difference, worst, told)


def _fit(fit: Fit, optimiser: str) -> _Found | None:
    model = fit.model
    start = np.linalg.lstsq(model.x, model.y, rcond=None)[0]
    rest = model.y - model.x @ start
    unit = float(rest.std())
    with warnings.catch_warnings():
        # it warns at boundaries and of optimisers that gave up; the comparison above is the judge of both
        warnings.simplefilter("ignore")
        try:
            if len(model.components) == 1 and set(np.unique(model.components[0].z)) <= {0.0, 1.0}:
                groups = model.components[0].z.argmax(axis=1)
                result = sm.MixedLM(rest / unit, model.x, groups=groups).fit(reml=True, method=optimiser)
                variances = np.asarray(result.cov_re, dtype=np.float64).ravel()
            else:
                names = [component.name for component in model.components]
                columns = [[list(component.levels)] for component in model.components]
                parts = VCSpec(names, columns, [[component.z] for component in model.components])
                lm = sm.MixedLM(rest / unit, model.x, groups=np.ones(len(rest)), exog_vc=parts, exog_re=None)
                result = lm.fit(reml=True, method=optimiser)
                variances = np.asarray(result.vcomp, dtype=np.float64)  # in the order given, not by name
            gamma = variances / float(result.scale)
            beta = start + unit * np.asarray(result.fe_params, dtype=np.float64)
            se = unit * np.asarray(result.bse_fe, dtype=np.float64)
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
            return None
    usable = np.isfinite(gamma).all() and (gamma >= 0).all() and np.isfinite(se).all() and (se > 0).all()
    return _Found(gamma, beta, se) if usable and math.isfinite(unit) else None
