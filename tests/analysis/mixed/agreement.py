"""How far the engine stands from R, quantity by quantity, over every fit of tests/r/fixtures.json.

`.venv/bin/python -m tests.analysis.mixed.agreement` prints the table; test_agreement_with_r.py asserts it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.mixed.bootstrap import likelihood_ratio
from analysis.mixed.describe import Prediction, explained, predictions
from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import DfMethod, Inference
from analysis.mixed.means import marginal_means
from analysis.mixed.model import Floats, Model, build
from analysis.mixed.profile import combination_interval, sd_interval

R = Path(__file__).resolve().parents[2] / "r"
KENWARD_ROGER: DfMethod = "kenward-roger"
SATTERTHWAITE: DfMethod = "satterthwaite"


@dataclass(frozen=True)
class Quantity:
    """What is compared, and how far apart the two may be.

    Attributes:
        unit: What a deviation of 1 means.
        tolerance: Largest deviation allowed.
    """

    unit: str
    tolerance: float


ABSOLUTE, RELATIVE = "absolute", "relative"
STANDARD, WIDTH = "of the component's sd", "of the interval's width"

QUANTITIES = {
    "-2 log likelihood, REML criterion": Quantity(ABSOLUTE, 1e-6),
    "fixed effect": Quantity(ABSOLUTE, 1e-8),
    "SE": Quantity(RELATIVE, 1e-6),
    "covariance": Quantity("of the two SEs' product", 1e-6),
    "sigma": Quantity(RELATIVE, 1e-6),
    "component sd": Quantity(RELATIVE, 1e-6),
    # kdcap promises 1e-4 for degrees of freedom and p; lmerTest's numerical derivatives are off by up to 2e-8 (`checks`
    # in the fixtures), pbkrtest's closed forms by 1e-12. p magnifies: 1e-8 of df is 1e-6 of p = 1e-45
    "Satterthwaite df": Quantity(RELATIVE, 1e-6),
    "Satterthwaite t": Quantity(RELATIVE, 1e-6),
    "Satterthwaite p": Quantity(RELATIVE, 1e-5),
    "Satterthwaite F": Quantity(RELATIVE, 1e-6),
    "Satterthwaite F: df": Quantity(RELATIVE, 1e-6),
    "Satterthwaite F: p": Quantity(RELATIVE, 1e-5),
    "Kenward-Roger covariance": Quantity("of the two SEs' product", 1e-6),
    "Kenward-Roger SE": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger df": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger t": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger p": Quantity(RELATIVE, 1e-5),
    "Kenward-Roger F": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger F: scale": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger F: df": Quantity(RELATIVE, 1e-6),
    "Kenward-Roger F: p": Quantity(RELATIVE, 1e-5),
    "marginal mean": Quantity(ABSOLUTE, 1e-8),
    "marginal mean: SE": Quantity(RELATIVE, 1e-6),
    "marginal mean: df": Quantity(RELATIVE, 1e-6),
    "moderation": Quantity(ABSOLUTE, 1e-8),
    "moderation: SE": Quantity(RELATIVE, 1e-6),
    "moderation: df": Quantity(RELATIVE, 1e-6),
    "moderation: p": Quantity(RELATIVE, 1e-5),
    "BLUP": Quantity(STANDARD, 1e-6),
    "BLUP's conditional sd": Quantity(RELATIVE, 1e-6),
    "R2": Quantity(ABSOLUTE, 1e-8),
    "likelihood ratio": Quantity(ABSOLUTE, 1e-6),
    "likelihood ratio: chi-square p": Quantity(RELATIVE, 1e-5),
    # the engine stops looking for an end at 1e-6 first steps; a first step is a quarter to a half of a width
    "profile interval": Quantity(WIDTH, 1e-6),
    "profile interval of an sd, by REML": Quantity(WIDTH, 1e-6),
    # lme4 reads its ends off a spline along the profile
    "profile interval, lme4's own": Quantity(WIDTH, 1e-5),
}


@dataclass(frozen=True)
class Deviation:
    """One number of ours beside R's.

    Attributes:
        combination: Which fit.
        quantity: Which of QUANTITIES.
        size: Distance, in the quantity's unit.
    """

    combination: str
    quantity: str
    size: float


@cache
def fixtures() -> dict[str, Any]:
    """What R said."""
    found: dict[str, Any] = json.loads((R / "fixtures.json").read_text(encoding="utf-8"))
    return found


def combinations() -> dict[str, dict[str, Any]]:
    """R's fits by name."""
    found: dict[str, dict[str, Any]] = fixtures()["combinations"]
    return found


def model_of(entry: dict[str, Any], formula: str | None = None) -> Model:
    """The model of an entry, or another formula's on its table, coded with the entry's order of levels."""
    table = pd.read_csv(R / entry["dataset"], keep_default_na=False)
    levels: dict[str, list[str]] = dict(entry["levels"])
    for column, order in levels.items():
        table[column] = pd.Categorical(table[column].tolist(), order)
    return build(formula or entry["formula"], table)


@cache
def fitted(name: str) -> Fit:
    """Our fit of a combination."""
    entry = combinations()[name]
    return fit(model_of(entry), "REML" if entry["reml"] else "ML")


def in_our_words(r_name: str) -> str:
    """R's name of a coefficient as formulaic has it: `studentresnet34:methodlogit` -> `student[T.resnet34]:...`."""
    if r_name == "(Intercept)":
        return "Intercept"
    if r_name.startswith("cell"):
        return f"cell[T.{r_name.removeprefix('cell')}]"
    parts = []
    for part in r_name.split(":"):
        factor = next((one for one in ("student", "method") if part.startswith(one)), None)
        parts.append(f"{factor}[T.{part.removeprefix(factor)}]" if factor else part)
    return ":".join(parts)


def component_named(model: Model, entry: dict[str, Any]) -> tuple[str, list[int]]:
    """Our name of R's component, and the order of R's factors in it (R says `inner:outer` of nested ones)."""
    for component in model.components:
        group, _, gate = component.name.partition("[")
        factors = group.split(":")
        gated = "" if entry["coefficient"] == "(Intercept)" else f"{entry['coefficient']}]"
        if sorted(factors) == sorted(entry["factors"]) and gate == gated:
            return component.name, [entry["factors"].index(factor) for factor in factors]
    raise KeyError(entry["group"])


def deviations(name: str) -> Iterator[Deviation]:
    """Every number of one combination."""
    entry = combinations()[name]
    for part in (estimates, _degrees_of_freedom, _marginal_means, _groups, _likelihood_ratio, _profiles):
        for quantity, size in part(entry, fitted(name)):
            yield Deviation(name, quantity, size)


Sizes = Iterator[tuple[str, float]]


def _relative(ours: Sequence[float] | Floats, theirs: Sequence[float] | Floats) -> float:
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float((np.abs(a - b) / np.abs(b)).max())


def _absolute(ours: Sequence[float] | Floats, theirs: Sequence[float] | Floats) -> float:
    return float(np.abs(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)).max())


def _correlated(ours: Floats, theirs: list[list[float]]) -> float:
    b = np.asarray(theirs, dtype=float)
    se = np.sqrt(np.diag(b))
    return float((np.abs(ours - b) / np.outer(se, se)).max())


def estimates(entry: dict[str, Any], ours: Fit) -> Sizes:
    """Fixed effects, variances, criterion and R2.

    Raises:
        ValueError: The coefficients are not R's, one by one.
    """
    names = [in_our_words(one) for one in entry["fixed"]["names"]]
    if list(ours.model.names) != names:
        raise ValueError(f"coefficients {ours.model.names} are not R's {names}")
    yield "-2 log likelihood, REML criterion", _absolute([ours.minus_2_log_likelihood], [entry["criterion"]])
    yield "fixed effect", _absolute(ours.beta, entry["fixed"]["beta"])
    yield "SE", _relative(np.sqrt(np.diag(ours.covariance)), entry["fixed"]["se"])
    yield "covariance", _correlated(ours.covariance, entry["fixed"]["vcov"])
    yield "sigma", _relative([math.sqrt(ours.sigma2)], [entry["sigma"]])
    for component in entry["components"]:
        sd = math.sqrt(ours.variances[component_named(ours.model, component)[0]])
        # a component that R puts at 0 must be at exactly 0 here
        size = _relative([sd], [component["sd"]]) if component["sd"] > 0 else (math.inf if sd > 0 else 0.0)
        yield "component sd", size
    explanation, r2 = explained(ours), entry["r2"]
    yield "R2", _absolute([explanation.r2_marginal, explanation.r2_conditional], [r2["marginal"], r2["conditional"]])


def _degrees_of_freedom(entry: dict[str, Any], ours: Fit) -> Sizes:
    inference = Inference(ours)
    methods: list[tuple[str, str, DfMethod]] = [("Satterthwaite", "satterthwaite", SATTERTHWAITE)]
    if entry["reml"]:
        methods.append(("Kenward-Roger", "kenward_roger", KENWARD_ROGER))
        yield "Kenward-Roger covariance", _correlated(inference.adjusted_covariance, entry["kenward_roger"]["vcov"])
    for title, key, method in methods:
        theirs = entry[key]
        estimates = [inference.estimate(row, method) for row in np.eye(len(ours.beta))]
        if method == KENWARD_ROGER:
            yield "Kenward-Roger SE", _relative([one.se for one in estimates], theirs["se"])
        yield f"{title} df", _relative([one.df for one in estimates], theirs["df"])
        yield f"{title} t", _relative([one.t for one in estimates], theirs["t"])
        yield f"{title} p", _relative([one.p for one in estimates], theirs["p"])
        for name, test in theirs["tests"].items():
            rows = np.asarray(entry["tests"][name]["L"], dtype=float)
            joint = inference.joint(rows, method)
            if joint.df_num != test["ndf"]:
                raise ValueError(f"{name}: {joint.df_num} combinations, R tested {test['ndf']}")
            yield f"{title} F", _relative([joint.f], [test["F"]])
            yield f"{title} F: df", _relative([joint.df_den], [test["ddf"]])
            yield f"{title} F: p", _relative([joint.p], [test["p"]])
            if method == KENWARD_ROGER:
                values, covariance = rows @ ours.beta, rows @ inference.adjusted_covariance @ rows.T
                unscaled = float(values @ np.linalg.solve(covariance, values)) / len(rows)
                yield "Kenward-Roger F: scale", _relative([joint.f / unscaled], [test["F_scaling"]])


def _marginal_means(entry: dict[str, Any], ours: Fit) -> Sizes:
    if "emmeans" not in entry:
        return
    theirs, inference = entry["emmeans"], Inference(ours)
    means = marginal_means(ours.model, entry["levels"], ("student", "method"))
    cells = theirs["cells"]
    estimates = [
        inference.estimate(means[key], theirs["df_method"])
        for key in zip(cells["student"], cells["method"], strict=True)
    ]
    yield "marginal mean", _absolute([one.value for one in estimates], cells["estimate"])
    yield "marginal mean: SE", _relative([one.se for one in estimates], cells["se"])
    yield "marginal mean: df", _relative([one.df for one in estimates], cells["df"])
    moderation = theirs["moderation"]
    differences = []
    for contrast in moderation["contrast"]:
        one, other = contrast.split(" - ")
        gain = {student: means[student, one] - means[student, other] for student in ("resnet18", "resnet34")}
        differences.append(inference.estimate(gain["resnet34"] - gain["resnet18"], theirs["df_method"]))
    yield "moderation", _absolute([one.value for one in differences], moderation["estimate"])
    yield "moderation: SE", _relative([one.se for one in differences], moderation["se"])
    yield "moderation: df", _relative([one.df for one in differences], moderation["df"])
    yield "moderation: p", _relative([one.p for one in differences], moderation["p"])


def _groups(entry: dict[str, Any], ours: Fit) -> Sizes:
    found = {(one.component, one.level): one for one in predictions(ours)}
    for component in entry["components"]:
        name, order = component_named(ours.model, component)
        blups = component["blups"]
        keys = [(name, ":".join(level.split(":")[index] for index in order)) for level in blups["level"]]
        # of a gated group that never acts (`alone`) R knows the prior alone; ours leaves it out
        untold = Prediction(name, "", 0.0, component["sd"])
        mine = [found.pop(key, untold) for key in keys]
        if component["sd"] == 0:
            yield "BLUP", max(abs(one.effect) + one.sd for one in mine)
            continue
        yield "BLUP", _absolute([one.effect for one in mine], blups["value"]) / component["sd"]
        yield "BLUP's conditional sd", _relative([one.sd for one in mine], blups["sd"])
    if found:
        raise ValueError(f"predictions that R does not have: {sorted(found)}")


def _likelihood_ratio(entry: dict[str, Any], ours: Fit) -> Sizes:
    if "lrt" not in entry:
        return
    theirs = entry["lrt"]
    null = model_of(entry, theirs["null_formula"])
    test = likelihood_ratio(ours.model, null, 1, np.random.default_rng(0))
    if test.df != theirs["df"]:
        raise ValueError(f"{test.df} degrees of freedom, R has {theirs['df']}")
    yield "likelihood ratio", _absolute([test.statistic], [theirs["chisq"]])
    yield "likelihood ratio: chi-square p", _relative([test.p_chi2], [theirs["p"]])
    yield (
        "-2 log likelihood, REML criterion",
        _absolute([fit(null, "ML").minus_2_log_likelihood], [theirs["null_deviance"]]),
    )


def _profiles(entry: dict[str, Any], ours: Fit) -> Sizes:
    if "profile" not in entry:
        return
    theirs, maximum = entry["profile"], fit(ours.model, "ML")
    sds = [component_named(ours.model, component)[0] for component in entry["components"]] + ["residual"]
    intervals = [sd_interval(maximum, name) for name in sds]
    intervals += [combination_interval(ours.model, row) for row in np.eye(len(ours.beta))]
    for key, quantity in (("", "profile interval"), ("_lme4", "profile interval, lme4's own")):
        low, high = theirs[f"low{key}"], theirs[f"high{key}"]
        yield quantity, _in_widths(intervals, low, high)
    by_reml = [sd_interval(ours, name) for name in sds]
    yield "profile interval of an sd, by REML", _in_widths(by_reml, theirs["sd_low_reml"], theirs["sd_high_reml"])


def _in_widths(ours: Sequence[tuple[float, float]], low: list[float], high: list[float]) -> float:
    theirs = np.column_stack([low, high])
    return float((np.abs(np.asarray(ours) - theirs) / (theirs[:, 1:] - theirs[:, :1])).max())


def largest(found: Sequence[Deviation]) -> dict[str, Deviation]:
    """The largest deviation of each quantity."""
    return {
        quantity: max((one for one in found if one.quantity == quantity), key=lambda one: one.size)
        for quantity in QUANTITIES
    }


def rows(found: Sequence[Deviation]) -> list[str]:
    """The table's rows, in Markdown."""
    return [
        f"| {quantity} | {QUANTITIES[quantity].unit} | {worst.size:.0e} | {QUANTITIES[quantity].tolerance:.0e} | "
        f"{worst.combination} |"
        for quantity, worst in largest(found).items()
    ]


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    """Print the table."""
    found = [one for name in combinations() for one in deviations(name)]
    versions = ", ".join(f"{name} {version}" for name, version in fixtures()["versions"].items())
    write(f"Largest deviation from R over {len(combinations())} fits ({versions})\n\n")
    write("| quantity | deviation | largest | allowed | at |\n|---|---|---|---|---|\n")
    write("\n".join(rows(found)) + "\n")


if __name__ == "__main__":
    main()
