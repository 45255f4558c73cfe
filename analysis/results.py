"""What an analysis returns: frozen rows, one class a table, units in the names.

`pp` is percentage points of accuracy, `pct` is percent. Every class is one CSV file of
`results/<profile>/analysis/` (fields in file order) and one list of `analysis.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA = "kdcap.analysis/1"

Verdict = Literal["supported", "refuted", "cannot tell", "not tested"]


@dataclass(frozen=True)
class Cell:
    """Plain description of one cell of the final phase, before any model.

    Attributes:
        teacher: Architecture, empty for a baseline.
        student: Architecture.
        method: none, logit, feature, or a plugin's name.
        alpha: Weight of the distillation loss, None for a baseline.
        temperature: Softening temperature, None where it means nothing.
        n: Number of runs.
        mean_pct: Mean test accuracy at the best-validation checkpoint.
        sd_pp: Standard deviation over seeds (n - 1), None if n is 1.
    """

    teacher: str
    student: str
    method: str
    alpha: float | None
    temperature: float | None
    n: int
    mean_pct: float
    sd_pp: float | None


@dataclass(frozen=True)
class EmMean:
    """An estimated marginal mean of a model: accuracy of one student under one method."""

    model: str
    metric: str
    subset: str
    student: str
    method: str
    mean_pct: float
    se_pp: float
    df: float
    df_method: str
    ci_low_pct: float
    ci_high_pct: float
    n: int
    singular: bool


@dataclass(frozen=True)
class Contrast:
    """A linear contrast: estimate, interval and test.

    Attributes:
        model: Which model (`primary`, `pairs`, ...); rows of `models.csv` describe them.
        metric: Column of the runs table (`test_acc_best`, ...).
        subset: Rows used (`all`, ...).
        contrast: Stable identifier, e.g. `gain:resnet34:feature`, `gain:resnet101>resnet34:feature`,
            `moderation:feature-none:resnet34-resnet18`.
        estimate_pp: Estimate in percentage points.
        se_pp: Standard error.
        df: Degrees of freedom of the t interval.
        df_method: How df was obtained.
        ci_low_pp: Lower end of the two-sided 95% interval, not adjusted.
        ci_high_pp: Upper end.
        t: Statistic.
        p: Two-sided p value, not adjusted.
        p_holm: Holm-adjusted within `family`; None where the family is one contrast.
        family: Name of the family that multiplicity is controlled over.
        n: Runs used.
        singular: Whether the model's random part was estimated as zero.
    """

    model: str
    metric: str
    subset: str
    contrast: str
    estimate_pp: float
    se_pp: float
    df: float
    df_method: str
    ci_low_pp: float
    ci_high_pp: float
    t: float
    p: float
    p_holm: float | None
    family: str
    n: int
    singular: bool


@dataclass(frozen=True)
class VarianceComponent:
    """One variance of a model, as a standard deviation and its share of the total."""

    model: str
    metric: str
    subset: str
    component: str
    sd_pp: float
    variance_pp2: float
    share: float
    singular: bool


@dataclass(frozen=True)
class Omnibus:
    """A joint F test of one term."""

    model: str
    metric: str
    subset: str
    term: str
    f: float
    df_num: float
    df_den: float
    df_method: str
    p: float
    n: int
    singular: bool


@dataclass(frozen=True)
class ModelFit:
    """What was fitted, by which engine, and how it was checked."""

    model: str
    formula: str
    metric: str
    subset: str
    engine: str
    optimiser: str
    criterion: str
    minus_2_log_likelihood: float
    n: int
    groups: int
    singular: bool
    check: str


@dataclass(frozen=True)
class Claim:
    """A sentence judged by the verdict rules.

    Attributes:
        id: Stable identifier.
        sentence: The claim in words.
        contrast: Identifier of the contrast it rests on.
        kind: `directional` (an effect > 0) or `null` (no effect beyond the margin).
        margin_pp: Smallest difference that matters.
        estimate_pp: Estimate, None if not tested.
        ci_low_pp: Lower end of the family-adjusted 95% interval.
        ci_high_pp: Upper end.
        p_holm: Holm-adjusted p value.
        verdict: supported, refuted, cannot tell, or not tested.
        statement: One sentence generated from these numbers, never stronger than the verdict.
        model: Model of the contrast.
        subset: Subset of the contrast; with model and contrast it names one row of `contrasts.csv`.
        ci90_low_pp: Lower end of the 90% interval, not adjusted, that is held against the margin.
        ci90_high_pp: Upper end.
        seeds_to_settle: Seeds a cell that would give a verdict with probability 0.8 if the true effect is the
            estimate (approximate); None unless the verdict is `cannot tell`.
    """

    id: str
    sentence: str
    contrast: str
    kind: Literal["directional", "null"]
    margin_pp: float
    estimate_pp: float | None
    ci_low_pp: float | None
    ci_high_pp: float | None
    p_holm: float | None
    verdict: Verdict
    statement: str
    model: str = "primary"
    subset: str = "all"
    ci90_low_pp: float | None = None
    ci90_high_pp: float | None = None
    seeds_to_settle: int | None = None


@dataclass(frozen=True)
class Analysis:
    """Everything that one runs table says.

    Attributes:
        schema: Version of this structure.
        metric: Column analysed.
        margin_pp: Margin for gains and interactions.
        n_runs: Distinct runs analysed.
        answer: The answer in one to three sentences.
        flags: Sentences a reader must know (seed 0 selects and counts, singular fit, missing runs, ...).
        cells: Plain descriptions.
        emmeans: Estimated marginal means.
        contrasts: Gains and moderation contrasts.
        variance_components: Variances of each model.
        omnibus: Joint tests.
        claims: Judged claims.
        models: What was fitted.
    """

    schema: str
    metric: str
    margin_pp: float
    n_runs: int
    answer: tuple[str, ...]
    flags: tuple[str, ...]
    cells: tuple[Cell, ...]
    emmeans: tuple[EmMean, ...]
    contrasts: tuple[Contrast, ...]
    variance_components: tuple[VarianceComponent, ...]
    omnibus: tuple[Omnibus, ...]
    claims: tuple[Claim, ...]
    models: tuple[ModelFit, ...]
