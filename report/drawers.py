"""What lies deeper: figures and tables that a doubting reader opens, each set under a heading with what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.results import Analysis
from report.context import ReportContext
from report.evidence import (
    assumption_table,
    choice_table,
    curve_table,
    effect_table,
    fidelity_table,
    history_table,
    interval_table,
    power_table,
    rival_table,
    seeds_table,
)
from report.figures.canvas import Picture
from report.figures.caterpillar import caterpillar
from report.figures.convergence import convergence
from report.figures.efficiency import efficiency
from report.figures.fidelity import fidelity
from report.figures.power import power
from report.figures.residuals import residuals
from report.figures.specification import specification
from report.figures.variance import variance
from report.tables import Table, contrast_table, emmean_table, omnibus_table, variance_table

SPECIFIC = ("feature-logit-students", "feature-logit-pairs", "teachers")
ABLATIONS = ("stems", "clipping", "accuracy gap", "versions")


@dataclass(frozen=True)
class Drawer:
    """Figures and tables that open on demand.

    Attributes:
        id: Id of the drawer in the page.
        title: What is inside.
        note: What it is for, and how to read it.
        pictures: The figures that have something to draw.
        tables: The tables that have rows.
    """

    id: str
    title: str
    note: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]


def drawers(analysis: Analysis, runs: pd.DataFrame, context: ReportContext) -> tuple[Drawer, ...]:
    """Every drawer that has something in it, in the order in which a doubting reader asks.

    Args:
        analysis: What the runs say.
        runs: The runs table behind it.
        context: Where the runs come from.
    """
    found = (
        _drawer(
            "curve",
            f"Other ways to analyse: {len(analysis.multiverse)} specifications of moderation",
            "Every defensible combination of checkpoint rule, scale, seeds, teachers, hyperparameters, model and "
            "degrees of freedom. No one is better for being listed: look at which choices move the answer. They "
            "share their runs, so shares are no probabilities.",
            (specification(analysis),),
            (curve_table(analysis), choice_table(analysis)),
        ),
        _drawer(
            "intervals",
            "Other intervals for moderation",
            "The same contrasts by other methods than the t interval that the verdicts rest on.",
            (),
            (interval_table(analysis),),
        ),
        _drawer(
            "power",
            "Seeds needed, and what more seeds would find",
            "If the variances are those fitted here. The band is that of sigma's own 95% interval.",
            (power(analysis),),
            (seeds_table(analysis), power_table(analysis)),
        ),
        _drawer(
            "means",
            "Estimated means and joint tests",
            "What the models estimate, apart from contrasts.",
            (),
            (emmean_table(analysis), omnibus_table(analysis)),
        ),
        _drawer(
            "variances",
            "Variances, group effects and residuals: does the model fit?",
            "How far runs scatter and why, and what a reader looks at before trusting a model. With few runs these "
            "find gross failures only.",
            (variance(analysis), caterpillar(analysis), residuals(analysis)),
            (variance_table(analysis), assumption_table(analysis)),
        ),
        _drawer(
            "effects",
            "Standardised effect sizes",
            "Gains in units of the spread between seeds, each cell against its student's baseline, with the exact "
            "interval (noncentral t) and pingouin's approximate one. Not corrected for their number.",
            (),
            (effect_table(analysis),),
        ),
        _drawer(
            "rivals",
            "Rival moderators: size, or the gap to the teacher?",
            "Models of the same gains that differ in what moderates them, best first. “Told apart” is the share "
            "of data sets, simulated from that model, in which it wins: where it is small, these runs cannot say.",
            (),
            (rival_table(analysis),),
        ),
        _drawer(
            "others",
            "Feature against logit, teachers, ablations, earlier versions",
            "Contrasts that the claims beside moderation rest on.",
            (),
            (
                contrast_table(analysis, None, "pairs", "Feature against logit, and teacher against teacher", SPECIFIC),
                contrast_table(analysis, None, "ablations", "Stem, clipping, accuracy gap, versions", ABLATIONS),
                history_table(analysis),
            ),
        ),
        _drawer(
            "fidelity",
            "Fidelity to the teacher",
            "How closely students follow their teachers on the test images.",
            (fidelity(analysis, runs),),
            (
                fidelity_table(analysis),
                contrast_table(
                    analysis, None, "agreement", "Agreement with the teacher's top class, cell by cell", ("agreement",)
                ),
            ),
        ),
        _drawer(
            "training",
            "How the runs were trained: accuracy epoch by epoch",
            "Validation accuracy, which chooses the checkpoint; test images are not looked at on the way.",
            (None if context.curves is None else convergence(context.curves),),
            (),
        ),
        _drawer(
            "efficiency",
            "Accuracy against size, operations and latency",
            "What a practitioner could pick under a budget.",
            efficiency(analysis, runs),
            (),
        ),
    )
    return tuple(drawer for drawer in found if drawer.pictures or drawer.tables)


def _drawer(name: str, title: str, note: str, pictures: Sequence[Picture | None], tables: Sequence[Table]) -> Drawer:
    drawn = tuple(picture for picture in pictures if picture is not None)
    return Drawer(name, title, note, drawn, tuple(table for table in tables if table.rows))
