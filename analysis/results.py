"""What an analysis returns: frozen rows, one class a table, units in the names.

`pp` is percentage points of accuracy, `pct` is percent. Every class is one CSV file of
`results/<profile>/analysis/` (fields in file order) and one list of `analysis.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.inference.effect_sizes import EffectSize

SCHEMA = "kdcap.analysis/3"

Verdict = Literal["supported", "refuted", "cannot tell", "not tested"]
ClaimKind = Literal["directional", "null", "at least"]


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
        mean_pct: Mean of the metric analysed.
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
        model: Which model (`primary`, `pairs`, ...); rows of `models.csv` describe them. After a singular fit
            `primary:refit` is the same without its zero variance, and claims rest on it. `new-images` gives the
            primary and pairs estimates with an interval for other test images.
        metric: Column of the runs table (`test_acc_best`, ...).
        subset: Rows used (`all`, `teachers:resnet50`, ...).
        contrast: Stable identifier, e.g. `gain:resnet34:feature`, `gain:resnet101>resnet34:feature`,
            `moderation:feature-none:resnet34-resnet18`.
        estimate_pp: Estimate in percentage points.
        se_pp: Standard error.
        df: Degrees of freedom of the t interval.
        df_method: How df was obtained.
        ci_low_pp: Lower end of the two-sided 95% interval, not adjusted.
        ci_high_pp: Upper end.
        ci90_low_pp: Lower end of the two-sided 90% interval, not adjusted, that is held against the margin.
        ci90_high_pp: Upper end.
        t: Statistic.
        p: Two-sided p value, not adjusted.
        p_holm: Holm-adjusted within `family`; None where the family is one contrast.
        p_equivalence: p of the two one-sided tests at the analysis' margin, not adjusted: below 0.05 exactly where the
            90% interval lies inside the margin. None where contrasts were estimated without a margin.
        family: Name of the family that multiplicity is controlled over.
        n: Runs used.
        singular: Whether a variance of the model was estimated as zero.
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
    ci90_low_pp: float
    ci90_high_pp: float
    t: float
    p: float
    p_holm: float | None
    p_equivalence: float | None
    family: str
    n: int
    singular: bool


@dataclass(frozen=True)
class Fidelity:
    """A contrast of what is not an accuracy: a divergence from the teacher.

    Attributes:
        model: Which model.
        metric: Column of the runs table (`kl_t1`, `kl_t4`).
        subset: Rows used.
        contrast: Stable identifier, e.g. `closer:feature-logit:resnet50>resnet34`.
        unit: Unit of estimate, standard error and interval.
        estimate: Estimate.
        se: Standard error.
        df: Degrees of freedom.
        df_method: How df was obtained.
        ci_low: Lower end of the two-sided 95% interval, not adjusted.
        ci_high: Upper end.
        t: Statistic.
        p: Two-sided p value, not adjusted.
        p_holm: Holm-adjusted within `family`.
        family: Name of the family.
        n: Runs used.
        singular: Whether a variance of the model was estimated as zero.
    """

    model: str
    metric: str
    subset: str
    contrast: str
    unit: str
    estimate: float
    se: float
    df: float
    df_method: str
    ci_low: float
    ci_high: float
    t: float
    p: float
    p_holm: float | None
    family: str
    n: int
    singular: bool


@dataclass(frozen=True)
class VarianceComponent:
    """One variance of a model.

    Attributes:
        model: Which model.
        metric: Column of the runs table.
        subset: Rows used.
        component: Grouping (`student:seed`), or `residual`.
        sd_pp: Standard deviation.
        sd_ci_low_pp: Lower end of its 95% profile likelihood interval; None where it was not computed.
        sd_ci_high_pp: Upper end.
        variance_pp2: Variance.
        share: Share in the variance around the fixed part (the intraclass correlation).
        singular: Whether a variance of the model was estimated as zero.
    """

    model: str
    metric: str
    subset: str
    component: str
    sd_pp: float
    sd_ci_low_pp: float | None
    sd_ci_high_pp: float | None
    variance_pp2: float
    share: float
    singular: bool


@dataclass(frozen=True)
class Omnibus:
    """A joint test of one term.

    Attributes:
        model: Which model.
        metric: Column of the runs table.
        subset: Rows used.
        term: What is tested.
        test: `F`, or `LRT` (likelihood ratio by ML).
        statistic: F (Kenward-Roger's is scaled) or the likelihood ratio.
        df_num: Effects tested.
        df_den: Denominator degrees of freedom; None for a likelihood ratio.
        df_method: `kenward-roger`, `satterthwaite`, `residual`, `chi-square`, or `parametric bootstrap`.
        p: p value.
        p_mc_se: Monte-Carlo standard error of p; None unless simulated.
        draws: Simulated responses; None unless simulated.
        n: Runs used.
        singular: Whether a variance of the model was estimated as zero.
    """

    model: str
    metric: str
    subset: str
    term: str
    test: str
    statistic: float
    df_num: float
    df_den: float | None
    df_method: str
    p: float
    p_mc_se: float | None
    draws: int | None
    n: int
    singular: bool


@dataclass(frozen=True)
class ModelFit:
    """What was fitted, how its optimum was checked, and what the second engine found.

    Attributes:
        model: Name.
        formula: Fixed and random part.
        metric: Response.
        subset: Rows used.
        engine: What the numbers come from.
        optimiser: How the optimum was sought and what the check of it said.
        criterion: REML or ML.
        minus_2_log_likelihood: At the optimum, with lme4's constants.
        n: Runs, or gains.
        runs: Rows of the runs table that the responses come from, ascending, counted from 1 in the table's canonical
            order (`analysis.runs.table.check_runs`); in CSV as `1 to 3, 7`. A gain comes from two rows: the distilled
            run and its baseline.
        groups: Groups of all random intercepts.
        singular: Whether a variance was estimated as zero.
        zero_components: Their names.
        r2_marginal: Share of the fixed part in the variance of a run.
        r2_conditional: Share of fixed and random part.
        second_engine: Engine and optimiser of the second fit; empty where there is none.
        second_excess: Its criterion less ours, at its variances: above 0 it stopped short.
        second_effect_difference_pp: Largest difference of a fixed effect.
        second_se_ratio: Its standard error over ours, where they differ most (before Kenward-Roger's adjustment).
        check: A sentence on all of this.
    """

    model: str
    formula: str
    metric: str
    subset: str
    engine: str
    optimiser: str
    criterion: str
    minus_2_log_likelihood: float
    n: int
    runs: tuple[int, ...]
    groups: int
    singular: bool
    zero_components: str
    r2_marginal: float
    r2_conditional: float
    second_engine: str
    second_excess: float | None
    second_effect_difference_pp: float | None
    second_se_ratio: float | None
    check: str

    @property
    def run_ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last of each stretch of neighbouring `runs`: (1, 3) and (7, 7) for 1, 2, 3, 7."""
        known = set(self.runs)
        firsts = [run for run in self.runs if run - 1 not in known]
        lasts = [run for run in self.runs if run + 1 not in known]
        return tuple(zip(firsts, lasts, strict=True))


@dataclass(frozen=True)
class AlternativeInterval:
    """A 95% interval of a contrast by another method than the t interval.

    Attributes:
        contrast: Identifier, as in `contrasts.csv`.
        model: Which model or which data it rests on.
        method: `t`, `profile likelihood`, `parametric bootstrap`, `BCa bootstrap over seeds`, ...
        estimate_pp: Estimate.
        low_pp: Lower end.
        high_pp: Upper end.
        p: Two-sided p value where the method gives one (a permutation test).
        mc_se: Monte-Carlo standard error of the ends in pp, or of p; None for exact methods.
        draws: Simulated or permuted data sets; None for exact methods.
    """

    contrast: str
    model: str
    method: str
    estimate_pp: float
    low_pp: float | None
    high_pp: float | None
    p: float | None
    mc_se: float | None
    draws: int | None


@dataclass(frozen=True)
class Claim:
    """A sentence judged by the verdict rules.

    Attributes:
        id: Stable identifier.
        sentence: The claim in words.
        source: Who says it, and where.
        published: The number that was published with it, in words; empty if there is none.
        kind: `directional` (an effect above 0), `null` (none beyond the margin), or `at least` (no lower than the
            threshold by more than the margin).
        unit: Unit of estimate, interval, threshold and margin.
        margin: Smallest difference that matters.
        threshold: What an `at least` claim is held against; 0 otherwise.
        family: Contrasts that multiplicity is controlled over together, as in `contrasts.csv`; empty if not tested.
        model: Model of its contrasts.
        metric: Metric of its contrasts.
        subset: Subset of its contrasts; with model and contrast it names rows of `contrasts.csv`.
        contrast: The contrast it rests on; of several (all must hold) the weakest.
        contrasts: How many contrasts it rests on.
        estimate: Estimate, None if not tested.
        ci_low: Lower end of the family-adjusted 95% interval.
        ci_high: Upper end.
        ci90_low: Lower end of the 90% interval, not adjusted, that is held against the margin.
        ci90_high: Upper end.
        p_holm: Holm-adjusted p value; None in a family of one.
        p_equivalence: p of the two one-sided tests at the margin.
        verdict: supported, refuted, cannot tell, or not tested.
        statement: One sentence generated from these numbers, never stronger than the verdict.
        caution: What a reader must know beside it; empty if nothing.
        seeds_to_settle: Seeds a cell that would give a verdict with probability 0.8 if the true effect is the
            estimate; None unless the verdict is `cannot tell`, or if 10,000 would not do.
        adjusted_for: Contrasts that the 95% interval is widened for (its step of Holm's procedure); 1 where it is not.
    """

    id: str
    sentence: str
    source: str
    published: str
    kind: ClaimKind
    unit: str
    margin: float
    threshold: float
    family: str
    model: str
    metric: str
    subset: str
    contrast: str
    contrasts: int
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    ci90_low: float | None
    ci90_high: float | None
    p_holm: float | None
    p_equivalence: float | None
    verdict: Verdict
    statement: str
    caution: str
    seeds_to_settle: int | None
    adjusted_for: int = 1


@dataclass(frozen=True)
class Specification:
    """One defensible way to estimate moderation.

    Attributes:
        method: Distillation method whose gain is compared between the students.
        metric: Checkpoint rule: column of the runs table.
        scale: `pp`, `log-odds` (of a correct answer) or `log error` (minus the log of the error rate: relative error).
        seeds: `all`, `without 0`, ...
        teachers: `all`, `shared` (those that taught both students), or `without NAME`.
        hyperparameters: `selected`, or the common setting (`alpha 0.5, T 3`) whose selection runs stand in.
        model: `mixed`, `least squares`, `gain model`, `teacher intercepts`, `pair intercepts`, `pairs`, `paired t`,
            `Welch t`, `permutation`.
        df_method: How degrees of freedom were obtained.
        estimate: Gain of the larger student less that of the smaller one, in the scale's unit, positive where the
            larger student gains more.
        se: Standard error; None for a permutation test.
        df: Degrees of freedom; None for a permutation test.
        ci_low: Lower end of the 95% interval.
        ci_high: Upper end.
        p: Two-sided p value.
        p_holm: Holm-adjusted over the methods under the same choices.
        n: Runs used.
        singular: Whether a variance was estimated as zero (and the model refitted without it).
        supports: Whether the unadjusted 95% interval lies above 0 (a permutation test: p below 0.05 and estimate
            above 0).
        supports_holm: The same after Holm's correction.
    """

    method: str
    metric: str
    scale: str
    seeds: str
    teachers: str
    hyperparameters: str
    model: str
    df_method: str
    estimate: float
    se: float | None
    df: float | None
    ci_low: float | None
    ci_high: float | None
    p: float
    p_holm: float
    n: int
    singular: bool
    supports: bool
    supports_holm: bool


@dataclass(frozen=True)
class Choice:
    """What one choice does to the specification curve.

    Attributes:
        method: Distillation method.
        choice: A choice (`scale`, `seeds`, ...).
        option: One way to take it.
        specifications: Specifications that take it so.
        share_supporting: Share of them whose interval lies above 0.
        median_estimate_pp: Median estimate over those on the scale `pp`; None where there is none.
        median_p: Median p value.
    """

    method: str
    choice: str
    option: str
    specifications: int
    share_supporting: float
    median_estimate_pp: float | None
    median_p: float


@dataclass(frozen=True)
class Rival:
    """One candidate for what moderates the gain, as a model of the gains.

    Attributes:
        moderator: `student`, `log10 parameters`, `log10 FLOPs`, `accuracy gap (...)`, or `none`.
        slope_pp: Change of the gain per unit of the moderator; None for `none`.
        slope_unit: That unit.
        se_pp: Its standard error.
        p: Its p value (Satterthwaite).
        minus_2_log_likelihood: ML criterion.
        aicc: Akaike's criterion with small-sample correction.
        delta_aicc: Less the best one's.
        correlation_with_student: Over teacher-student pairs; 1 means that the runs cannot tell the two apart.
        chosen_if_true: Share of data sets simulated from this model in which it has the lowest criterion; shared
            equally where models coincide.
        n: Gains used.
    """

    moderator: str
    slope_pp: float | None
    slope_unit: str
    se_pp: float | None
    p: float | None
    minus_2_log_likelihood: float
    aicc: float
    delta_aicc: float
    correlation_with_student: float | None
    chosen_if_true: float
    n: int


@dataclass(frozen=True)
class PowerPoint:
    """What a study with some number of seeds would find out, if the variances are the fitted ones.

    Attributes:
        contrast: Identifier of the contrast.
        effect_pp: True effect assumed.
        seeds: Seeds a cell.
        se_pp: Standard error.
        df: Degrees of freedom.
        power: Probability that the unadjusted 95% interval excludes 0.
        power_low: The same at the upper end of sigma's own 95% interval.
        power_high: The same at its lower end.
        verdict_probability: Probability of a verdict other than `cannot tell`.
        smallest_detectable_pp: Effect found with probability 0.8.
    """

    contrast: str
    effect_pp: float
    seeds: int
    se_pp: float
    df: float
    power: float
    power_low: float
    power_high: float
    verdict_probability: float
    smallest_detectable_pp: float


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds a cell for a contrast and a true effect, with the band from sigma's own 95% interval.

    Attributes:
        contrast: Identifier of the contrast.
        effect_pp: True effect assumed.
        power: Power asked for.
        seeds: Seeds a cell; None if 10,000 would not do.
        seeds_low: The same at the lower end of sigma's interval.
        seeds_high: The same at its upper end.
    """

    contrast: str
    effect_pp: float
    power: float
    seeds: int | None
    seeds_low: int | None
    seeds_high: int | None


@dataclass(frozen=True)
class Diagnostic:
    """A residual of a run, or the prediction of a group's effect.

    Attributes:
        model: Which model.
        metric: Response.
        subset: Rows used.
        kind: `residual` or `random effect`.
        component: Variance component; `residual` for residuals.
        label: Run (`cell, seed`) or group.
        value_pp: Residual (given fixed part and random effects) or prediction.
        sd_pp: Conditional standard deviation of a prediction; None for residuals.
        fitted_pct: Fitted accuracy of a run; None for random effects.
        normal_quantile: Standard normal quantile of its rank ((rank - 3/8) / (n + 1/4), Blom 1958).
    """

    model: str
    metric: str
    subset: str
    kind: str
    component: str
    label: str
    value_pp: float
    sd_pp: float | None
    fitted_pct: float | None
    normal_quantile: float


@dataclass(frozen=True)
class Version:
    """A gain as the first version of the paper gave it, beside the runs analysed.

    Attributes:
        teacher: Architecture.
        student: Architecture.
        method: Method.
        v1_gain_pp: Gain in the first version's table (few seeds, chosen on the test set).
        gain_pp: Gain in these runs (model `pairs`).
        difference_pp: First version's less these runs'.
        optimism_pp: What choosing the hyperparameters on test instead of validation images adds to the chosen run's
            test accuracy, in these runs' selection phase; None where there is none.
    """

    teacher: str
    student: str
    method: str
    v1_gain_pp: float
    gain_pp: float
    difference_pp: float
    optimism_pp: float | None


@dataclass(frozen=True)
class Assumption:
    """A test of an assumption of a model, on its residuals.

    Attributes:
        model: Which model.
        assumption: What is assumed.
        test: Name of the test.
        statistic: Its statistic.
        p: Small values speak against the assumption.
    """

    model: str
    assumption: str
    test: str
    statistic: float
    p: float


@dataclass(frozen=True)
class Analysis:
    """Everything that one runs table says.

    Attributes:
        schema: Version of this structure.
        metric: Column analysed.
        higher_is_better: Its direction; where False, 1 minus the metric was analysed.
        margin_pp: Margin for gains and interactions.
        n_runs: Distinct final runs analysed.
        answer: The answer in one to three sentences.
        flags: Sentences a reader must know (seed 0 selects and counts, singular fit, missing runs, ...).
        cells: Plain descriptions.
        emmeans: Estimated marginal means.
        contrasts: Gains, moderation, and every other contrast in percentage points.
        fidelity: Contrasts in other units.
        variance_components: Variances of each model.
        omnibus: Joint tests.
        claims: Judged claims.
        models: What was fitted.
        intervals: The main contrasts' intervals by other methods.
        multiverse: The specification curve.
        choices: What each choice does to it.
        rivals: Rival moderators.
        power: What more seeds would find out.
        seeds_needed: Seeds for a given effect and power.
        effect_sizes: Standardised gains of each cell.
        diagnostics: Residuals and predictions of the primary model.
        assumptions: Tests of its assumptions.
        history: The first version's gains beside these; empty where they are not compared.
    """

    schema: str
    metric: str
    higher_is_better: bool
    margin_pp: float
    n_runs: int
    answer: tuple[str, ...]
    flags: tuple[str, ...]
    cells: tuple[Cell, ...]
    emmeans: tuple[EmMean, ...]
    contrasts: tuple[Contrast, ...]
    fidelity: tuple[Fidelity, ...]
    variance_components: tuple[VarianceComponent, ...]
    omnibus: tuple[Omnibus, ...]
    claims: tuple[Claim, ...]
    models: tuple[ModelFit, ...]
    intervals: tuple[AlternativeInterval, ...]
    multiverse: tuple[Specification, ...]
    choices: tuple[Choice, ...]
    rivals: tuple[Rival, ...]
    power: tuple[PowerPoint, ...]
    seeds_needed: tuple[SeedsNeeded, ...]
    effect_sizes: tuple[EffectSize, ...]
    diagnostics: tuple[Diagnostic, ...]
    assumptions: tuple[Assumption, ...]
    history: tuple[Version, ...]
