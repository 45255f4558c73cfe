"""How many final runs an analysis takes in, and which they are where there are more."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.errors import TableError
from analysis.runs.layout import FEWEST_SEEDS, cell_sizes

MOST_FINALS = 3000
"""Room for three times the largest shipped study (870): a minute and a half with crossed checkpoints, six minutes
of a study that is nothing but seeds. The time of a model grows with the third power of these (docs/scaling.md)."""


def first_seeds(runs: pd.DataFrame, most: int = MOST_FINALS) -> tuple[pd.DataFrame, str]:
    """A table small enough to be analysed: of its final runs those of the first seeds, and all of the other stages.

    Seeds are taken by their number, the first so many of every cell, so that no result has a say in which runs count
    and no cell is lost. A seed that is taken is taken in every cell that has it, so that cells stay paired.

    Args:
        runs: A table that went through `analysis.runs.table.check_runs`.
        most: Final runs that are taken at most.

    Returns:
        The table and nothing, where it is small enough; else the rows that are left, numbered anew, and a sentence that
        says which.

    Raises:
        TableError: There are too many even at as few seeds as an interval needs.
    """
    final = runs[runs["stage"] == "final"]
    if len(final) <= most:
        return runs, ""
    place = final.groupby(["teacher", "student", "method"])["seed"].rank("dense").astype(int)
    earliest = place.groupby(final["seed"]).transform("min")  # a seed's place in the cell where it comes first
    too_late = int(earliest.sort_values().iloc[most])  # of the first run that there is no room for
    if too_late <= FEWEST_SEEDS:
        raise TableError(
            f"an analysis takes in at most {most} final runs, and the first {FEWEST_SEEDS} seeds of every cell have "
            f"{int((earliest <= FEWEST_SEEDS).sum())}; leave cells out and analyse them by themselves."
        )
    kept = runs.drop(index=final.index[earliest >= too_late]).reset_index(drop=True)
    used = kept[kept["stage"] == "final"]
    return kept, (
        f"Of {len(final)} final runs {len(used)} are analysed, {_span(cell_sizes(used).values())} of "
        f"{_span(cell_sizes(final).values())} a cell: an analysis takes in {most} at most, and takes the first seeds "
        "of every cell by number, whatever they found."
    )


def _span(counts: Iterable[int]) -> str:
    """`3`, or `3 to 5` where they differ."""
    low, *between = sorted(set(counts))
    return f"{low} to {between[-1]}" if between else str(low)
