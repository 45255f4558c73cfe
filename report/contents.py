"""What stands on the page, in its order: figures and tables, those of the evidence and those that lie deeper."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.results import Analysis
from analysis.runs.content import flagged_runs
from report.budget import budget_table
from report.context import Published, ReportContext
from report.drawers import Drawer, drawers
from report.estimands import GAINS, MODERATION
from report.evidence import engine_table
from report.figures.canvas import Picture
from report.figures.coverage import coverage
from report.figures.equivalence import equivalence
from report.figures.forest import forest
from report.figures.interaction import interaction
from report.figures.strip import strip
from report.tables import Table, cell_table, contrast_table, run_table


@dataclass(frozen=True)
class Contents:
    """Everything that can be numbered, linked to or downloaded.

    Attributes:
        pictures: Figures of the evidence.
        evidence: Its tables.
        drawers: What lies deeper.
        engines: Both engines beside each other.
        coverage: Which runs there are; empty or one.
        runs: Every run.
    """

    pictures: tuple[Picture, ...]
    evidence: tuple[Table, ...]
    drawers: tuple[Drawer, ...]
    engines: Table
    coverage: tuple[Picture, ...]
    runs: Table

    @property
    def every_picture(self) -> tuple[Picture, ...]:
        """In the order of the page."""
        return (*self.pictures, *(picture for drawer in self.drawers for picture in drawer.pictures), *self.coverage)

    @property
    def tables(self) -> tuple[Table, ...]:
        """In the order of the page, those that have rows."""
        every = (
            *self.evidence,
            *(table for drawer in self.drawers for table in drawer.tables),
            self.engines,
            self.runs,
        )
        return tuple(table for table in every if table.rows)


def contents(analysis: Analysis, runs: pd.DataFrame, context: ReportContext) -> Contents:
    """Draw and tabulate everything.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it.
        context: Where the runs come from, and what they may be compared with.
    """
    pictures = (
        forest(analysis, context.published),
        equivalence(analysis),
        interaction(analysis, runs),
        strip(analysis, runs),
    )
    covered = coverage(runs if context.coverage is None else context.coverage, flagged_runs(runs))
    return Contents(
        pictures=tuple(picture for picture in pictures if picture is not None),
        evidence=(
            *contrast_tables(analysis, context.published),
            cell_table(analysis),
            budget_table(analysis, runs),
        ),
        drawers=drawers(analysis, runs, context),
        engines=engine_table(analysis),
        coverage=() if covered is None else (covered,),
        runs=run_table(runs, analysis.metric, context.not_shown),
    )


def contrast_tables(analysis: Analysis, published: Published | None) -> tuple[Table, Table]:
    """The two tables of contrasts: what the question asks, and the gains it rests on."""
    return (
        contrast_table(analysis, published, "moderation", "Moderation: differences between gains", MODERATION),
        contrast_table(analysis, published, "gain", "Gains over the student trained alone", GAINS),
    )
