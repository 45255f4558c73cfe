"""Further tables: what else the analysis found, from the specification curve to the second engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from analysis.inference.power import MOST_SEEDS
from analysis.results import AlternativeInterval, Analysis, PowerPoint, Specification
from report.estimands import is_refit, plain_model
from report.numbers import MISSING, interval, number
from report.tables import (
    Linked,
    Spec,
    Table,
    build,
    contrast_anchor,
    degrees,
    fit_name,
    model_anchor,
    told_apart,
)
from report.words import cell_name, choice_name, contrast_labels, measure_name, option_name


def curve_table(analysis: Analysis) -> Table:
    """The specification curve in a row a method: how many, how many support the claim, the lowest and the highest."""

    def extreme(rows: Sequence[Specification], position: int) -> str:
        ordered = sorted(row.estimate for row in rows if row.scale == "pp")
        return number(ordered[position], "signed_pp") if ordered else MISSING

    methods = dict.fromkeys(row.method for row in analysis.multiverse)
    return build(
        "curve",
        "Specification curve, in short",
        [
            ("Method", False, lambda rows: rows[0].method),
            ("Specifications", True, lambda rows: str(len(rows))),
            ("Interval above 0", True, lambda rows: str(sum(row.supports for row in rows))),
            ("Above 0 after Holm", True, lambda rows: str(sum(row.supports_holm for row in rows))),
            ("Lowest estimate (pp)", True, lambda rows: extreme(rows, 0)),
            ("Highest estimate (pp)", True, lambda rows: extreme(rows, -1)),
        ],
        [[row for row in analysis.multiverse if row.method == method] for method in methods],
    )


def choice_table(analysis: Analysis) -> Table:
    """What each option of each choice does to the curve."""
    return build(
        "choices",
        "What each choice does, over all specifications that take it",
        [
            ("Choice", False, lambda c: f"{choice_name(c.choice)}: {option_name(c.choice, c.option)}"),
            ("Method", False, lambda c: c.method),
            ("Specifications", True, lambda c: number(c.specifications, "plain")),
            ("Interval above 0 (%)", True, lambda c: number(c.share_supporting, "share")),
            ("Median estimate (pp)", True, lambda c: number(c.median_estimate_pp, "signed_pp")),
            ("Median p", True, lambda c: number(c.median_p, "p")),
        ],
        analysis.choices,
    )


def interval_table(analysis: Analysis) -> Table:
    """The moderation contrasts by every other method."""
    labels = contrast_labels(analysis)

    def source(row: AlternativeInterval) -> str:
        return plain_model(row.model) + (", refit" if is_refit(row.model) else "")

    return build(
        "intervals",
        "95% intervals of moderation by other methods",
        [
            ("Contrast", False, lambda i: labels.get(i.contrast, i.contrast)),
            ("Method", False, lambda i: i.method),
            ("Estimate (pp)", True, lambda i: number(i.estimate_pp, "signed_pp")),
            ("95% interval (pp)", True, lambda i: interval(i.low_pp, i.high_pp, "signed_pp")),
            ("p", True, lambda i: number(i.p, "p")),
            ("Simulation error", True, lambda i: number(i.mc_se, "p")),
            ("Draws", True, lambda i: number(i.draws, "plain")),
            ("From", False, source),
        ],
        analysis.intervals,
    )


def seeds_table(analysis: Analysis) -> Table:
    """Seeds a cell for an effect and a power."""
    labels = contrast_labels(analysis)

    def seeds(count: int | None) -> str:
        return f"> {MOST_SEEDS}" if count is None else str(count)

    return build(
        "seeds",
        "Seeds a cell that find a true effect",
        [
            ("Contrast", False, lambda s: labels.get(s.contrast, s.contrast)),
            ("True effect (pp)", True, lambda s: number(s.effect_pp, "plain")),
            ("Power (%)", True, lambda s: number(s.power, "share")),
            ("Seeds a cell", True, lambda s: seeds(s.seeds)),
            ("Band", True, lambda s: f"{seeds(s.seeds_low)} to {seeds(s.seeds_high)}"),
        ],
        analysis.seeds_needed,
    )


def power_table(analysis: Analysis) -> Table:
    """What a study with some number of seeds would find out: a row a number of seeds, a pair of columns an effect."""
    labels = contrast_labels(analysis)
    studies: dict[tuple[str, int], dict[float, PowerPoint]] = {}
    for point in analysis.power:
        studies.setdefault((point.contrast, point.seeds), {})[point.effect_pp] = point
    columns: list[Spec[dict[float, PowerPoint]]] = [
        ("Contrast", False, lambda s: labels.get(_any(s).contrast, _any(s).contrast)),
        ("Seeds a cell", True, lambda s: str(_any(s).seeds)),
        ("SE (pp)", True, lambda s: number(_any(s).se_pp, "pp")),
        ("Found with 80% (pp)", True, lambda s: number(_any(s).smallest_detectable_pp, "pp")),
    ]
    for effect in dict.fromkeys(point.effect_pp for point in analysis.power):
        size = f"{number(effect, 'plain')} pp"
        columns += [
            (f"Power at {size} (%)", True, partial(_power, effect)),
            (f"A verdict at {size} (%)", True, partial(_verdict, effect)),
        ]
    return build(
        "power",
        "Power, with its band: how probable it is that the unadjusted 95% interval excludes zero; and how probable a "
        "verdict",
        columns,
        studies.values(),
    )


def _any(study: Mapping[float, PowerPoint]) -> PowerPoint:
    return next(iter(study.values()))


def _power(effect_pp: float, study: Mapping[float, PowerPoint]) -> str:
    point = study.get(effect_pp)
    if point is None:
        return MISSING
    return f"{number(point.power, 'share')} {interval(point.power_low, point.power_high, 'share')}"


def _verdict(effect_pp: float, study: Mapping[float, PowerPoint]) -> str:
    point = study.get(effect_pp)
    return MISSING if point is None else number(point.verdict_probability, "share")


def assumption_table(analysis: Analysis) -> Table:
    """Tests of the main model's assumptions."""
    return build(
        "assumptions",
        "Assumptions of the main model. With few runs these tests see gross failures only.",
        [
            ("Assumption", False, lambda a: a.assumption),
            ("Test", False, lambda a: a.test),
            ("Statistic", True, lambda a: number(a.statistic, "statistic")),
            ("p", True, lambda a: number(a.p, "p")),
            ("Model", False, lambda a: plain_model(a.model) + (", refit" if is_refit(a.model) else "")),
        ],
        analysis.assumptions,
    )


def effect_table(analysis: Analysis) -> Table:
    """Hedges' g of each gain, exact and approximate, and the classical tests."""
    labels = contrast_labels(analysis)

    def size(value: float, low: float, high: float) -> str:
        return f"{number(value, 'signed_pp')} {interval(low, high, 'signed_pp')}"

    return build(
        "effects",
        "Hedges' g of each gain, and the classical tests",
        [
            ("Gain", False, lambda e: labels.get(e.label, e.label)),
            ("Runs", True, lambda e: f"{e.n_x}, {e.n_y}"),
            ("Gain (pp)", True, lambda e: number(e.difference_pp, "signed_pp")),
            ("g, exact", True, lambda e: size(e.g_exact, e.g_exact_ci_low, e.g_exact_ci_high)),
            ("g, pingouin", True, lambda e: size(e.g_pingouin, e.g_pingouin_ci_low, e.g_pingouin_ci_high)),
            ("Welch t", True, lambda e: number(e.t_welch, "statistic")),
            ("df", True, lambda e: number(e.df_welch, "df")),
            ("p (Welch)", True, lambda e: number(e.p_welch, "p")),
            ("p (Student)", True, lambda e: number(e.p_student, "p")),
        ],
        analysis.effect_sizes,
    )


def rival_table(analysis: Analysis) -> Table:
    """Candidates for what moderates the gain, best first."""
    return build(
        "rivals",
        "What moderates the gain? Models of the same gains",
        [
            ("Moderator", False, lambda r: r.moderator),
            ("Slope", True, lambda r: number(r.slope_pp, "signed_pp")),
            ("Unit of the slope", False, lambda r: r.slope_unit or MISSING),
            ("SE", True, lambda r: number(r.se_pp, "pp")),
            ("p", True, lambda r: number(r.p, "p")),
            ("AICc above the best", True, lambda r: number(r.delta_aicc, "statistic")),
            ("Correlation with the student", True, lambda r: number(r.correlation_with_student, "statistic")),
            ("Told apart (%)", True, lambda r: number(r.chosen_if_true, "share")),
            ("Gains", True, lambda r: number(r.n, "plain")),
        ],
        analysis.rivals,
    )


def history_table(analysis: Analysis) -> Table:
    """The first version's gains beside these."""
    return build(
        "history",
        "Gains in the paper's first version, which chose settings on the test images, beside these runs' (pp)",
        [
            ("Cell", False, lambda v: cell_name(v.teacher, v.student, v.method)),
            ("First version", True, lambda v: number(v.v1_gain_pp, "signed_pp")),
            ("These runs", True, lambda v: number(v.gain_pp, "signed_pp")),
            ("Difference", True, lambda v: number(v.difference_pp, "signed_pp")),
            ("What choosing on test adds", True, lambda v: number(v.optimism_pp, "signed_pp")),
        ],
        analysis.history,
    )


def fidelity_table(analysis: Analysis) -> Table:
    """Divergences from the teacher: logit's less feature's."""
    labels = contrast_labels(analysis)
    return build(
        "fidelity",
        "Divergence from the teacher under logit minus under feature distillation: above zero, feature is closer",
        [
            (
                "Contrast",
                False,
                lambda f: told_apart(f"{labels.get(f.contrast, f.contrast)}, {measure_name(f.metric)}", f),
            ),
            ("Estimate", True, lambda f: number(f.estimate, "signed_fine")),
            ("95% interval", True, lambda f: interval(f.ci_low, f.ci_high, "signed_fine")),
            ("Unit", False, lambda f: f.unit),
            ("SE", True, lambda f: number(f.se, "fine")),
            ("df", True, lambda f: degrees(f.df, f.df_method)),
            ("p", True, lambda f: number(f.p, "p")),
            ("p (Holm)", True, lambda f: number(f.p_holm, "p")),
            ("Runs", True, lambda f: number(f.n, "plain")),
            ("Model", False, lambda f: Linked(plain_model(f.model), model_anchor(f))),
        ],
        analysis.fidelity,
        lambda f: contrast_anchor(f.model, f.metric, f.subset, f.contrast),
    )


def engine_table(analysis: Analysis) -> Table:
    """Our engine and the second one on the same fits, and how they differ."""
    return build(
        "engines",
        "Two engines on the same models: ours, and how far the second one is from it",
        [
            ("Model", False, fit_name),
            ("Ours: \N{MINUS SIGN}2 log-likelihood", True, lambda m: number(m.minus_2_log_likelihood, "statistic")),
            ("Second engine", False, lambda m: m.second_engine),
            ("Its criterion less ours", True, lambda m: number(m.second_excess, "power_of_ten")),
            (
                "Largest difference of an effect (pp)",
                True,
                lambda m: number(m.second_effect_difference_pp, "power_of_ten"),
            ),
            ("Its SE over ours", True, lambda m: number(m.second_se_ratio, "ratio")),
            ("Check", False, lambda m: m.check),
        ],
        [model for model in analysis.models if model.second_engine],
    )
