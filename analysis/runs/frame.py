"""Final rows as the models see them: one response a run, factors in order, the baseline first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import TableError
from analysis.runs.columns import BASELINE, cell_label, text_of
from analysis.runs.layout import Layout, layout_of
from analysis.runs.metric import Metric
from analysis.runs.table import finals

ALONE = "alone"  # the teacher of a student trained without one


def accuracy(runs: pd.DataFrame, metric: Metric) -> pd.Series[float]:
    """The metric as a fraction that is better when higher: an error rate becomes one minus itself."""
    values = runs[metric.name].astype("float64")
    return values if metric.higher_is_better else 1 - values


def final_frame(
    runs: pd.DataFrame, metric: Metric, student_order: Sequence[str] | None
) -> tuple[pd.DataFrame, Layout, pd.DataFrame]:
    """Final rows, their layout, and the frame that models are fitted to, in percent.

    Args:
        runs: A checked runs table.
        metric: What runs are compared by.
        student_order: The two students to compare, smaller first; by default two ResNets by depth.

    Raises:
        TableError: There are no final rows, too few seeds, or gaps in the metric.
    """
    final = finals(runs)
    _refuse_gaps(final, metric)
    layout = layout_of(final, student_order)
    return final, layout, model_frame(final, 100 * accuracy(final, metric), students_of(layout), layout.methods)


def grouped(rows: pd.DataFrame) -> pd.DataFrame:
    """What random effects group runs by.

    Args:
        rows: Rows of a checked table.

    Returns:
        student, method, teacher (`alone` for a baseline), teacher_seed (text; empty where it is not known), seed, and
        kd (0 for a baseline, 1 otherwise).
    """
    return pd.DataFrame(
        {
            "student": rows["student"].to_numpy(),
            "method": rows["method"].to_numpy(),
            "teacher": rows["teacher"].replace("", ALONE).to_numpy(),
            "teacher_seed": [text_of(seed) for seed in rows["teacher_seed"]],
            "seed": rows["seed"].to_numpy(),
            "kd": (rows["method"] != BASELINE).astype(float).to_numpy(),
        }
    )


def checkpoints(frame: pd.DataFrame) -> dict[str, int]:
    """How many checkpoints of each teacher taught the distilled runs of a frame, as `grouped` names them."""
    taught = frame[frame["kd"] > 0].groupby("teacher")["teacher_seed"].nunique()
    return {str(teacher): int(count) for teacher, count in taught.items()}


def model_frame(
    final: pd.DataFrame, y: pd.Series[float], students: Sequence[str], methods: Sequence[str]
) -> pd.DataFrame:
    """Columns for formulas.

    Args:
        final: Checked final rows.
        y: Response of each row.
        students: Students in order, smaller first; rows of others are left out.
        methods: Methods in order, without the baseline, which comes first.

    Returns:
        y, the columns of `grouped` (student and method categorical, in order), cell (`teacher>student:method`,
        categorical) and `row`, the row's place in `final`.
    """
    cells = [cell_label(*names) for names in zip(final["teacher"], final["student"], final["method"], strict=True)]
    frame = grouped(final).assign(y=y.to_numpy(), cell=cells, row=range(len(final)))
    frame = frame[frame["student"].isin(students)].reset_index(drop=True)
    present = [name for name in (BASELINE, *methods) if name in set(frame["method"])]
    frame["student"] = pd.Categorical(frame["student"], [name for name in students if name in set(frame["student"])])
    frame["method"] = pd.Categorical(frame["method"], present)
    frame["cell"] = pd.Categorical(frame["cell"])
    return frame


def of_students(frame: pd.DataFrame, students: Sequence[str]) -> pd.DataFrame:
    """The runs of some students, with no level left of the others."""
    rows = frame[frame["student"].isin(students)].reset_index(drop=True)
    return rows.assign(**{name: rows[name].cat.remove_unused_categories() for name in ("student", "method", "cell")})


def taught_by(frame: pd.DataFrame, teachers: Sequence[str]) -> pd.DataFrame:
    """Baselines, and the runs of some teachers."""
    rows = frame[frame["teacher"].isin([ALONE, *teachers])].reset_index(drop=True)
    return rows.assign(**{name: rows[name].cat.remove_unused_categories() for name in ("method", "cell")})


def gain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Distilled runs whose student has a baseline at the same seed, y replaced by the gain over it."""
    alone = frame["method"] == BASELINE
    runs = list(zip(frame["student"], frame["seed"], strict=True))
    baseline = {run: y for run, y, first in zip(runs, frame["y"], alone, strict=True) if first}
    gains = frame["y"] - np.array([baseline.get(run, np.nan) for run in runs])
    rows: pd.DataFrame = frame.assign(y=gains)[~alone & gains.notna()]
    methods = [method for method in rows["method"].cat.categories if method != BASELINE]
    return rows.assign(method=rows["method"].cat.set_categories(methods)).reset_index(drop=True)


def unit_gains(frame: pd.DataFrame, method: str) -> dict[str, pd.Series[float]]:
    """Mean gain under a method of each student and seed, averaged over teachers: student -> gain by seed.

    Only seeds at which the runs of every teacher's every checkpoint are there count: the mean of other seeds would be
    of other teachers.
    """
    gains = gain_frame(frame[frame["method"].isin([BASELINE, method])])
    found: dict[str, pd.Series[float]] = {}
    for student, rows in gains.groupby("student", observed=True):
        seeds = rows.groupby("seed")["y"].agg(["mean", "size"])
        taught_by_each = len(rows[["teacher", "teacher_seed"]].drop_duplicates())
        found[str(student)] = seeds.loc[seeds["size"] == taught_by_each, "mean"]
    return found


def students_of(layout: Layout) -> tuple[str, ...]:
    """The students of the layout, a pair that was named in the order that was given."""
    if layout.pair is None or not layout.named:
        return layout.students
    return (*layout.pair, *(name for name in layout.students if name not in layout.pair))


def _refuse_gaps(final: pd.DataFrame, metric: Metric) -> None:
    empty = final[final[metric.name].isna()]
    if not empty.empty:
        run = empty.iloc[0]
        label = cell_label(run["teacher"], run["student"], run["method"])
        raise TableError(f"stage `final`, {label}, seed {run['seed']}: column {metric.name} is empty; fill it in.")
