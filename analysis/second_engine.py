"""statsmodels' MixedLM beside our own fit: what it found, and whether the two agree.

Its optimisers stop at wrong places now and then, some with `converged=True`, so no one optimiser is believed:
all are run, each is judged by the same criterion, and the best is compared with the exact solution.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import statsmodels
import statsmodels.api as sm

from analysis.split_plot import Fit, profile

OPTIMISERS = ("lbfgs", "bfgs", "powell")
NAME = f"statsmodels {statsmodels.__version__} MixedLM"
# both standard deviations within this: a tenth of one image in 10,000
TOLERANCE_PP = 0.001
# criteria (-2 log likelihood) this close are one optimum, not two
SAME = 1e-4


def check(fit: Fit) -> tuple[str, str, str]:
    """Fit the same model with statsmodels and compare.

    Args:
        fit: Our fit, with a random part.

    Returns:
        The engine that the numbers may be credited to, its optimiser, and a sentence on what the check found.
    """
    exact = "closed-form split-plot ANOVA" if fit.df_rule == "anova-strata" else "profile search of the criterion"
    found = {optimiser: ratio for optimiser in OPTIMISERS if (ratio := _ratio(fit, optimiser)) is not None}
    if not found:
        return (
            exact,
            "",
            f"statsmodels failed with each of {', '.join(OPTIMISERS)}; the {exact} stands alone.",
        )
    criteria = {optimiser: profile(fit.design, ratio)[1] for optimiser, ratio in found.items()}
    lowest = min(criteria.values())
    best = next(optimiser for optimiser, value in criteria.items() if value <= lowest + SAME)
    sigma2 = profile(fit.design, found[best])[0]
    theirs = math.sqrt(found[best] * sigma2), math.sqrt(sigma2)
    ours = math.sqrt(fit.tau2), math.sqrt(fit.sigma2)
    astray = [name for name in OPTIMISERS if name not in found or criteria[name] > min(fit.criterion, lowest) + SAME]
    wrong = f" Failed or stopped short of the optimum: {', '.join(astray)}." if astray else ""
    if max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) <= TOLERANCE_PP:
        agree = f"statsmodels ({best}) and the {exact} agree on both sds within {TOLERANCE_PP:g} pp"
        return NAME, best, f"{agree}; the latter's digits are shown.{wrong}"
    differ = (
        f"statsmodels' best ({best}) has standard deviations {theirs[0]:.4f} (student:seed) and "
        f"{theirs[1]:.4f} pp (residual), the {exact} {ours[0]:.4f} and {ours[1]:.4f}"
    )
    return exact, "", f"{differ}; the latter is used.{wrong}"


def _ratio(fit: Fit, optimiser: str) -> float | None:
    """MixedLM's var(group) / var(error), or None if it fails."""
    design = fit.design
    with warnings.catch_warnings():
        # it warns at boundaries and of optimisers that gave up; the comparison above is the judge of both
        warnings.simplefilter("ignore")
        try:
            model = sm.MixedLM(design.residual / design.residual.std(), design.x, groups=design.z.argmax(axis=1))
            result = model.fit(reml=True, method=optimiser)
            ratio = float(result.cov_re[0, 0]) / float(result.scale)
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
            return None
    return ratio if math.isfinite(ratio) and ratio >= 0 else None
