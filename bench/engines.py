"""Mixed models: ours against statsmodels in one process, and against R's lme4 and pbkrtest where R is there.

Engines take turns at each fit. Times are medians, and a ratio is the median of the ratios of neighbours; R is timed
inside R, in a process of its own right after (tests/r/speed.R). Everything is warm: compiled, imported, formulas read.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels
import statsmodels.api as sm
import statsmodels.formula.api as smf

from analysis.mixed import bootstrap
from analysis.mixed.fit import Fit, fit
from analysis.mixed.inference import Inference
from analysis.mixed.model import build

DATA = Path("tests/r/data")
SPEED_R = Path("tests/r/speed.R")
R_DRAWS = 100
OPTIMISERS = {"its default": None, "lbfgs": "lbfgs", "powell": "powell"}
SHORT = 1e-4  # -2 log likelihood this far above the minimum is another place

Work = Callable[[], Any]


@dataclass(frozen=True)
class Design:
    """A model and its table.

    Attributes:
        name: In words.
        table: File with the runs.
        fixed: The formula's fixed part.
        groups: Random intercepts, columns joined by colons.
        draws: Parametric bootstrap draws.
    """

    name: str
    table: str
    fixed: str
    groups: tuple[str, ...]
    draws: int

    @property
    def formula(self) -> str:
        """Fixed and random part."""
        return " + ".join([self.fixed, *(f"(1 | {group})" for group in self.groups)])


DESIGNS = {
    "primary": Design(
        "primary model, 50 published runs", "published.csv",
        "test_acc_best_pct ~ student * method", ("student:seed",), 10_000,
    ),
    "crossed": Design(
        "two crossed components, 140 runs", "simulated_crossed.csv",
        "acc_pct ~ student * method", ("teacher", "student:seed"), 2_000,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """One comparison.

    Attributes:
        design: What was fitted.
        what: What was done.
        ours_ms: Our time.
        engine: The other engine.
        theirs_ms: Its time; None where it gave no result.
        ratio: Their time over ours.
        note: What is wrong with its result, or what it leaves out.
    """

    design: str
    what: str
    ours_ms: float
    engine: str
    theirs_ms: float | None
    ratio: float | None
    note: str = ""


def measure(rounds: int) -> list[Timing]:
    """Time every engine.

    Args:
        rounds: Fits of each engine.
    """
    found: list[Timing] = []
    r = _r(rounds)
    for key, design in DESIGNS.items():
        found += _compare(design, rounds, r.times.get(key, {}), r.told)
    return found


def _compare(design: Design, rounds: int, r: Mapping[str, float], told: str) -> list[Timing]:
    table = _table(design)
    model = build(design.formula, table)
    best = fit(model)

    def formula_and_fit() -> Fit:
        return fit(build(design.formula, table))

    def with_inference() -> None:
        inference = Inference(formula_and_fit())
        for combination in np.eye(model.x.shape[1]):
            _ = inference.estimate(combination).p

    rows: list[Timing] = []
    theirs = _statsmodels(design, table, best)
    ours: dict[str, Work] = {"formula and fit": formula_and_fit, "fit": lambda: fit(model)}
    with warnings.catch_warnings():
        # statsmodels warns of boundaries and of optimisers that gave up; the notes tell
        warnings.simplefilter("ignore")
        for what, works in theirs.items():
            rows += _turns(design, what, ours[what], works, best, rounds)
    boot, draws = f"{design.draws:,} bootstrap refits, simulated", design.draws
    from_r: list[tuple[str, Work, int, str, str]] = [
        ("formula and fit", ours["formula and fit"], rounds, "fit_median_ms", "lme4"),
        ("fit", ours["fit"], rounds, "fit_coded_median_ms", "lme4"),
        ("the same, Kenward-Roger table", with_inference, rounds, "fit_and_kenward_roger_median_ms", "pbkrtest"),
        (boot, lambda: _bootstrap(best, draws), 5, "simulate_and_fit_seconds_per_1000", "lme4's lmer()"),
        (boot, lambda: _bootstrap(best, draws), 5, "simulate_and_refit_seconds_per_1000", "lme4's refit()"),
    ]
    for what, work, times, key, name in from_r:
        ours_ms = _median_ms(work, times)
        if key not in r:
            rows.append(Timing(design.name, what, ours_ms, name, None, None, told))
            continue
        theirs_ms = r[key] if key.endswith("_ms") else r[key] * draws  # seconds per 1000 are milliseconds each
        note = told if key.endswith("_ms") else f"from {R_DRAWS} draws"
        rows.append(Timing(design.name, what, ours_ms, name, theirs_ms, theirs_ms / ours_ms, note))
    return rows


def _table(design: Design) -> pd.DataFrame:
    table = pd.read_csv(DATA / design.table)
    # factors, as the study's own tables hold them
    table["student"] = pd.Categorical(table["student"])
    table["method"] = pd.Categorical(table["method"], ["none", "feature", "logit"])
    for group in design.groups:  # statsmodels takes groups as columns
        parts = [table[name].astype(str) for name in group.split(":")]
        table[group.replace(":", "_")] = [":".join(labels) for labels in zip(*parts, strict=True)]
    return table


def _statsmodels(design: Design, table: pd.DataFrame, best: Fit) -> dict[str, dict[str, Work]]:
    """Their ways to the same fits, by what is done and by optimiser."""
    columns = [group.replace(":", "_") for group in design.groups]
    crossed = len(columns) > 1
    groups = np.ones(len(table)) if crossed else table[columns[0]].to_numpy()
    parts = {name: f"0 + C({name})" for name in columns} if crossed else None

    def formula(optimiser: str | None) -> Any:  # noqa: ANN401 - statsmodels has no types
        lm = smf.mixedlm(design.fixed, table, groups=groups, vc_formula=parts)
        return lm.fit(reml=True, method=optimiser)

    def arrays(optimiser: str | None) -> Any:  # noqa: ANN401 - statsmodels has no types
        return sm.MixedLM(best.model.y, best.model.x, groups=groups).fit(reml=True, method=optimiser)

    # crossed components cannot be given as arrays alone
    ways = {"formula and fit": formula} | ({} if crossed else {"fit": arrays})
    return {
        what: {name: partial(way, optimiser) for name, optimiser in OPTIMISERS.items()} for what, way in ways.items()
    }


def _turns(
    design: Design, what: str, ours: Work, theirs: Mapping[str, Work], best: Fit, rounds: int
) -> list[Timing]:  # fmt: skip
    """Ours and theirs in turn."""
    rows = []
    for name, work in theirs.items():
        engine = f"statsmodels, {name}"
        ours()
        try:
            result = work()
        except np.linalg.LinAlgError as error:
            rows.append(Timing(design.name, what, _median_ms(ours, rounds), engine, None, None, f"no fit: {error}"))
            continue
        excess = -2 * float(result.llf) - best.minus_2_log_likelihood
        note = f"stopped {excess:.1g} above the minimum" if excess > SHORT else ""
        pairs = [(_ms(ours), _ms(work)) for _ in range(rounds)]
        mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        rows.append(Timing(design.name, what, mine, engine, other, ratio, note))
    return rows


def _bootstrap(best: Fit, draws: int) -> None:
    y = bootstrap.simulate(best, draws, np.random.default_rng(1))
    refits = bootstrap.refit(best.model, y, "REML")
    bootstrap.fixed_effects(best.model, y, refits.gamma)


def _ms(work: Work) -> float:
    gc.disable()  # as timeit does: another engine's garbage is not this one's time
    started = time.perf_counter()
    work()
    took = 1e3 * (time.perf_counter() - started)
    gc.enable()
    return took


def _median_ms(work: Work, rounds: int) -> float:
    work()
    return statistics.median(_ms(work) for _ in range(rounds))


@dataclass(frozen=True)
class _R:
    """R's own times by design, and its versions, or why there are none."""

    times: Mapping[str, Mapping[str, float]]
    told: str


def _r(rounds: int) -> _R:
    rscript = shutil.which("Rscript")
    if rscript is None:
        return _R({}, "R not found: skipped")
    done = subprocess.run(  # noqa: S603 - the project's own script
        [rscript, str(SPEED_R), str(rounds), str(R_DRAWS)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return _R({}, f"R cannot run {SPEED_R}: skipped ({reason})")
    found: dict[str, Any] = json.loads(done.stdout)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return _R({key: found[key] for key in DESIGNS}, versions)


def show(rows: list[Timing]) -> None:
    """Print the timings as a table."""
    header = f"other engine (statsmodels {statsmodels.__version__})"
    print(f"{'':<34}{'ours, ms':>10}{'theirs, ms':>12}{'ratio':>8}  {header}")
    design = ""
    for row in rows:
        if row.design != design:
            design = row.design
            print(design)
        theirs = "-" if row.theirs_ms is None else f"{row.theirs_ms:,.1f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.1f}"
        note = f" ({row.note})" if row.note else ""
        print(f"  {row.what:<32}{row.ours_ms:>10,.1f}{theirs:>12}{ratio:>8}  {row.engine}{note}")


def as_json(rows: list[Timing]) -> list[dict[str, object]]:
    """The timings as JSON holds them."""
    return [asdict(row) for row in rows]
