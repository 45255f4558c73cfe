"""How rows of a runs table become cells and seed groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from analysis.replication.spread import Layout
from analysis.runs.table import cell_label

CELL = ("teacher", "student", "method")
SETTING = ("stem", "epochs")  # must agree for a cell to be comparable
CHOSEN = (
    "alpha",
    "temperature",
    "other_hyperparameters",
    "clip_projections",
)  # may differ, and are named where they do


def labels_of(rows: pd.DataFrame) -> list[str]:
    """Name of each row's cell, in row order."""
    return [cell_label(*key) for key in rows[list(CELL)].itertuples(index=False, name=None)]


def with_labels(rows: pd.DataFrame, cells: Collection[str]) -> pd.DataFrame:
    """The rows of some cells, by name."""
    kept = np.array([label in cells for label in labels_of(rows)], dtype=bool)
    return rows.loc[kept].reset_index(drop=True)


def has_several_checkpoints(rows: pd.DataFrame) -> bool:
    """Whether a cell's runs learned from more than one checkpoint of their teacher."""
    checkpoints = rows[[*CELL, "teacher_seed"]].drop_duplicates()
    return bool(checkpoints.duplicated(list(CELL)).any())


def layout_of(rows: pd.DataFrame, cells: Sequence[str]) -> Layout:
    """Layout of rows whose cells are all among `cells`, numbered in that order."""
    group = [f"{student}:{seed}" for student, seed in zip(rows["student"], rows["seed"], strict=True)]
    return Layout(
        cell=np.array([cells.index(label) for label in labels_of(rows)]),
        group=np.unique(group, return_inverse=True)[1],
    )
