"""Contrasts beside the final phase's own: stems, clipping, fidelity to the teacher, the paper's first version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from analysis.inference.estimate import Estimate
from analysis.inference.power import Precision
from analysis.results import Version
from analysis.runs.columns import BASELINE, cell_label
from analysis.runs.frame import accuracy, grouped
from analysis.runs.metric import Metric
from analysis.study.models import Fitted, Source, Weights, cell_places, fit_model, random_part

STEMS = ("cifar", "imagenet")
FEWEST = 2  # seeds a level: a spread needs two
CELL = ["teacher", "student", "method"]
# all but what the clipping ablation changes
SETTING = [*CELL, "teacher_seed", "alpha", "temperature", "other_hyperparameters", "stem", "epochs"]


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(row=range(len(rows)))


def _levels(rows: pd.DataFrame, y: pd.Series[float], level: pd.Series[str]) -> pd.DataFrame:
    return grouped(rows).assign(y=y.to_numpy(), level=pd.Categorical(level.to_numpy()), row=rows["row"].to_numpy())


def _fit(name: str, frame: pd.DataFrame, metric: str) -> Fitted:
    cells = cell_places(frame["level"])
    return fit_model(name, f"y ~ 0 + level + {random_part(frame)}", frame, cells, metric=metric, subset="all")


def stems(runs: pd.DataFrame, metric: Metric) -> tuple[Fitted, pd.DataFrame, dict[str, Weights]] | None:
    """The CIFAR stem against the ImageNet stem, for every architecture with two seeds or more of each.

    Returns:
        The model `stem`, its rows (`row` is their place in `runs`), and a contrast `stem:cifar-imagenet:STUDENT` each;
        None where there is none.
    """
    runs = _placed(runs)
    rows = runs[(runs["stage"] == "stem_ablation") & runs["stem"].isin(STEMS)]
    rows = rows[rows[metric.name].notna()]
    counts = rows.groupby(["student", "stem"]).size()
    kept = [s for s in dict.fromkeys(rows["student"]) if all(counts.get((s, t), 0) >= FEWEST for t in STEMS)]
    if not kept:
        return None
    rows = rows[rows["student"].isin(kept)]
    frame = _levels(rows, 100 * accuracy(rows, metric), rows["student"] + ":" + rows["stem"])
    contrasts = {f"stem:cifar-imagenet:{s}": {f"{s}:cifar": 1.0, f"{s}:imagenet": -1.0} for s in kept}
    return _fit("stem", frame, metric.name), frame, contrasts


def clipping(runs: pd.DataFrame, metric: Metric) -> tuple[Fitted, pd.DataFrame, dict[str, Weights]] | None:
    """Projections left out of gradient clipping (the first version's bug) against the final runs of the same setting.

    Returns:
        The model `clipping`, its rows (`row` is their place in `runs`), and a contrast `clipping:without-with:CELL`
        each; None where there is none.
    """
    runs = _placed(runs)
    bugged = runs[runs["stage"] == "bug_ablation"]
    rows = pd.concat([bugged, runs[runs["stage"] == "final"].merge(bugged[SETTING].drop_duplicates(), on=SETTING)])
    rows = rows[rows[metric.name].notna()].reset_index(drop=True)
    label = pd.Series([cell_label(*cell) for cell in rows[CELL].itertuples(index=False)], index=rows.index, dtype=str)
    level = label + rows["stage"].map({"bug_ablation": ":without", "final": ":with"})
    counts = level.value_counts()
    kept = [c for c in label.unique() if min(counts.get(f"{c}:without", 0), counts.get(f"{c}:with", 0)) >= FEWEST]
    if not kept:
        return None
    inside = label.isin(kept)
    frame = _levels(rows[inside], 100 * accuracy(rows[inside], metric), level[inside])
    contrasts = {f"clipping:without-with:{c}": {f"{c}:without": 1.0, f"{c}:with": -1.0} for c in kept}
    return _fit("clipping", frame, metric.name), frame, contrasts


def fidelity(final: pd.DataFrame, measure: str) -> tuple[Fitted, pd.DataFrame, dict[str, Weights]] | None:
    """How closely students follow their teachers, cell by cell.

    Args:
        final: Final rows.
        measure: `agreement` (a fraction, analysed in percent), `kl_t1` or `kl_t4` (nats).

    Returns:
        The model `fidelity`, its rows (`row` is their place in `final`), and contrasts: every pair of cells for
        agreement (`agreement:CELL-CELL`), and for a divergence logit's less feature's in each teacher-student pair
        (`closer:feature-logit:PAIR`, positive where feature distillation follows more closely); None where there is
        nothing to compare.
    """
    final = _placed(final)
    rows = final[(final["method"] != BASELINE) & final[measure].notna()]
    labels = [cell_label(*cell) for cell in rows[CELL].itertuples(index=False)]
    level = pd.Series(labels, index=rows.index, dtype=str)
    counts = level.value_counts()
    level = level[level.map(counts) >= FEWEST]
    rows = rows.loc[level.index]
    cells = sorted(level.unique())
    contrasts: dict[str, Weights]
    if measure == "agreement":
        contrasts = {f"agreement:{a}-{b}": {a: 1.0, b: -1.0} for a, b in combinations(cells, 2)}
    else:
        pairs = dict.fromkeys(zip(rows["teacher"], rows["student"], strict=True))
        contrasts = {
            f"closer:feature-logit:{t}>{s}": {cell_label(t, s, "logit"): 1.0, cell_label(t, s, "feature"): -1.0}
            for t, s in pairs
        }
        contrasts = {name: weights for name, weights in contrasts.items() if set(cells) >= weights.keys()}
    if not contrasts:
        return None
    frame = _levels(rows, (100 if measure == "agreement" else 1) * rows[measure], level)
    return _fit("fidelity", frame, measure), frame, contrasts


def versions(
    table: pd.DataFrame, pairs: Source, gains: Mapping[tuple[str, str, str], Weights], runs: pd.DataFrame
) -> tuple[tuple[Version, ...], tuple[Estimate, Precision] | None]:
    """The first version's gains beside these runs'.

    Args:
        table: The first version's table: teacher, student, method, gain_pp, n_seeds.
        pairs: The model `pairs` of these runs.
        gains: Its contrasts, by teacher, student and method.
        runs: The whole checked table.

    Returns:
        A row a cell, and the mean difference, first version less these runs, with its precision if these runs had
        other seeds. The first version published no raw runs: its variances are taken to be these runs', over its own
        number of seeds, which stays what it was.
    """
    optimism = selection_optimism(runs)
    rows, weights, seeds = [], [], []
    for row in table.to_dict("records"):
        cell = (str(row["teacher"]), str(row["student"]), str(row["method"]))
        if cell not in gains:
            continue
        here, before = pairs.estimate(gains[cell]).value, float(row["gain_pp"])
        rows.append(Version(*cell, before, here, before - here, optimism.get(cell)))
        weights.append(gains[cell])
        seeds.append(int(row["n_seeds"]))
    if not rows:
        return (), None
    mean: Weights = {}
    for one in weights:
        for name, weight in one.items():
            mean[name] = mean.get(name, 0.0) + weight / len(weights)
    these = pairs.estimate(mean)
    largest = max(int((pairs.fit.model.x @ pairs.cells[name] != 0).sum()) for name in mean)
    difference = sum(row.difference_pp for row in rows) / len(rows)

    def precision(here: int) -> tuple[float, float]:
        return these.se * math.sqrt(largest / here + largest / min(seeds)), these.df

    return tuple(rows), (Estimate(difference, precision(largest)[0], these.df, these.df_method), precision)


def selection_optimism(runs: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """What choosing hyperparameters on test instead of validation images adds to the choice's test accuracy, in pp.

    From the selection phase; never negative by its making, so that it is no evidence of a difference by itself.
    """
    rows = runs[(runs["stage"] == "select") & runs["val_acc"].notna() & runs["test_acc_best"].notna()]
    found: dict[tuple[str, str, str], float] = {}
    for (teacher, student, method), tried in rows.groupby(CELL):
        on_test = tried["test_acc_best"].to_numpy()
        chosen = on_test[int(tried["val_acc"].to_numpy().argmax())]
        found[str(teacher), str(student), str(method)] = 100 * float(on_test.max() - chosen)
    return found
