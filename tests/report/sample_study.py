"""A study made by hand: four pairs, three methods, five seeds, with numbers as papers report them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from analysis.inference.effect_sizes import EffectSize
from analysis.results import (
    SCHEMA,
    AlternativeInterval,
    Analysis,
    Assumption,
    Cell,
    Choice,
    Claim,
    ClaimKind,
    Contrast,
    Diagnostic,
    EmMean,
    Fidelity,
    ModelFit,
    Omnibus,
    PowerPoint,
    Rival,
    SeedsNeeded,
    Specification,
    VarianceComponent,
    Verdict,
    Version,
)
from analysis.runs.table import check_runs
from report.context import Published, ReportContext, Verification

SEED_PP = (0.12, -0.08, 0.03, -0.15, 0.08)
CELLS = (  # teacher, student, method, alpha, temperature, mean accuracy in percent
    ("", "resnet18", "none", None, None, 94.86),
    ("", "resnet34", "none", None, None, 95.04),
    ("resnet34", "resnet18", "logit", 0.7, 2.0, 94.78),
    ("resnet34", "resnet18", "feature", 0.7, None, 94.98),
    ("resnet50", "resnet18", "logit", 0.5, 4.0, 94.91),
    ("resnet50", "resnet18", "feature", 0.7, None, 94.95),
    ("resnet50", "resnet34", "logit", 0.3, 3.0, 95.13),
    ("resnet50", "resnet34", "feature", 0.5, None, 95.24),
    ("resnet101", "resnet34", "logit", 0.7, 2.0, 95.10),
    ("resnet101", "resnet34", "feature", 0.3, None, 95.26),
)


def runs_frame() -> pd.DataFrame:
    """Raw rows: the 50 final runs and three teachers."""
    rows: list[dict[str, object]] = [
        {
            "stage": "teachers",
            "teacher": "",
            "student": name,
            "method": "none",
            "seed": 0,
            "test_acc_best": 0.953,
        }
        for name in ("resnet34", "resnet50", "resnet101")
    ]
    for cell, (teacher, student, method, alpha, temperature, mean_pct) in enumerate(CELLS):
        for seed, shift_pp in enumerate(SEED_PP):
            own_pp = 0.05 * ((cell * 3 + seed * 2) % 5 - 2)
            rows.append(
                {
                    "stage": "final",
                    "teacher": teacher,
                    "student": student,
                    "method": method,
                    "alpha": alpha,
                    "temperature": temperature,
                    "stem": "cifar",
                    "seed": seed,
                    "epochs": 100,
                    "best_epoch": 97 - seed,
                    "val_acc": 0.951,
                    "test_acc_best": round((mean_pct + shift_pp + own_pp) / 100, 6),
                    "test_acc_final": round((mean_pct + own_pp) / 100, 6),
                    "weights_sha256": hashlib.sha256(f"{cell} {seed}".encode()).hexdigest(),
                }
            )
    return pd.DataFrame(rows)


def runs() -> pd.DataFrame:
    """The checked runs table."""
    return check_runs(runs_frame(), "sample.csv")


MEANS_PCT = {
    ("resnet18", "none"): 94.86,
    ("resnet18", "feature"): 94.97,
    ("resnet18", "logit"): 94.85,
    ("resnet34", "none"): 95.04,
    ("resnet34", "feature"): 95.25,
    ("resnet34", "logit"): 95.11,
}
FEATURE = "moderation:feature-none:resnet34-resnet18"
LOGIT = "moderation:logit-none:resnet34-resnet18"
FEATURE_LOGIT = "moderation:feature-logit:resnet34-resnet18"
EVERY_FAMILY = (  # family, model, contrast, estimate: what stands in no table of the open page
    ("feature-logit-pairs", "pairs", "lead:feature-logit:resnet50>resnet18", 0.04),
    ("teachers", "pairs", "teacher:resnet101-resnet50:resnet34:logit", -0.026),
    ("stems", "stem", "stem:cifar-imagenet:resnet50", 5.5),
    ("clipping", "clipping", "clipping:without-with:resnet50>resnet18:feature", 0.05),
    ("accuracy gap", "gap", "moderation-at-equal-gap:resnet34-resnet18", 0.218),
    ("versions", "history", "v1-v2:mean", 0.083),
    ("agreement", "fidelity", "agreement:resnet50>resnet18:feature-resnet50>resnet18:logit", 0.162),
)
CONTRASTS = (  # model, contrast, estimate, standard error (pp), p; one rounds to zero, one p is tiny
    ("primary", "gain:resnet18:feature", 0.11, 0.055, 0.053),
    ("primary", "gain:resnet18:logit", -0.004, 0.055, 0.942),
    ("primary", "gain:resnet34:feature", 0.21, 0.055, 0.0004),
    ("primary", "gain:resnet34:logit", 0.07, 0.055, 0.212),
    ("primary", FEATURE, 0.10, 0.078, 0.208),
    ("primary", LOGIT, 0.08, 0.078, 0.312),
    ("primary", FEATURE_LOGIT, 0.02, 0.07, 0.78),
    ("pairs", "gain:resnet34>resnet18:feature", 0.12, 0.07, 0.095),
    ("pairs", "gain:resnet34>resnet18:logit", -0.08, 0.07, 0.26),
    ("pairs", "gain:resnet50>resnet18:feature", 0.09, 0.07, 0.21),
    ("pairs", "gain:resnet50>resnet18:logit", 0.05, 0.07, 0.48),
    ("pairs", "gain:resnet50>resnet34:feature", 0.20, 0.07, 0.007),
    ("pairs", "gain:resnet50>resnet34:logit", 0.09, 0.07, 0.21),
    ("pairs", "gain:resnet101>resnet34:feature", 0.22, 0.07, 0.003),
    ("pairs", "gain:resnet101>resnet34:logit", 0.06, 0.07, 0.40),
)


FURTHER_MODELS = (  # model, what it explains; differences between versions come from no model
    *((name, "test_acc_best") for name in ("pairs", "stem", "clipping", "gap", "fidelity")),
    ("fidelity", "kl_t1"),
)
FAMILIES = {FEATURE: "moderation", LOGIT: "moderation", FEATURE_LOGIT: "feature-logit"}
CLOSER = "closer:feature-logit:resnet50>resnet18"


def _contrast(model: str, name: str, estimate_pp: float, se_pp: float, p: float, family: str = "") -> Contrast:
    return Contrast(
        model=model,
        metric="test_acc_best",
        subset="all",
        contrast=name,
        estimate_pp=estimate_pp,
        se_pp=se_pp,
        df=34.2 if model == "primary" else 32,
        df_method="kenward-roger",
        ci_low_pp=estimate_pp - 2 * se_pp,
        ci_high_pp=estimate_pp + 2 * se_pp,
        ci90_low_pp=estimate_pp - 1.7 * se_pp,
        ci90_high_pp=estimate_pp + 1.7 * se_pp,
        t=estimate_pp / se_pp,
        p=p,
        p_holm=min(1.0, 2 * p),
        p_equivalence=0.01 if abs(estimate_pp) + 1.7 * se_pp < 0.2 else 0.3,
        family=family or FAMILIES.get(name, "pair-gains" if ">" in name else "gains"),
        n=50,
        singular=False,
    )


def _shifted(row: Contrast, by_pp: float) -> Contrast:
    names = ("estimate_pp", "ci_low_pp", "ci_high_pp", "ci90_low_pp", "ci90_high_pp")
    return replace(row, p_equivalence=0.9, **{name: getattr(row, name) + by_pp for name in names})


def _mean(student: str, method: str, mean_pct: float) -> EmMean:
    return EmMean(
        model="primary",
        metric="test_acc_best",
        subset="all",
        student=student,
        method=method,
        mean_pct=mean_pct,
        se_pp=0.06,
        df=12.4,
        df_method="kenward-roger",
        ci_low_pct=mean_pct - 0.13,
        ci_high_pct=mean_pct + 0.13,
        n=10,
        singular=False,
    )


def _claim(
    name: str, sentence: str, contrast: str, numbers: tuple[float, ...] | None, verdict: Verdict,
    *, kind: ClaimKind = "directional", unit: str = "pp", margin: float = 0.2, contrasts: int = 1,
) -> Claim:  # fmt: skip
    estimate, low, high, p_holm = numbers or (None,) * 4
    return Claim(
        id=name,
        sentence=sentence,
        source="v2 abstract, first finding",
        published="v2: -0.08 and +0.06 pp" if numbers else "",
        kind=kind,
        unit=unit,
        margin=margin,
        threshold=5.5 if kind == "at least" else 0.0,
        family=name,
        model="primary",
        metric="test_acc_best",
        subset="all",
        contrast=contrast,
        contrasts=contrasts if numbers else 0,
        estimate=estimate,
        ci_low=low,
        ci_high=high,
        ci90_low=low,
        ci90_high=high,
        p_holm=p_holm,
        p_equivalence=None if estimate is None else 0.2,
        verdict=verdict,
        statement=f"The sentence that goes with it: of {contrasts} the weakest, {contrast}, from -0.08 on.",
        caution="Students differ in their teachers too." if name.startswith("moderation") else "",
        seeds_to_settle=14 if verdict == "cannot tell" else None,
    )


def claims() -> tuple[Claim, ...]:
    """Claims of every verdict, kind and unit."""
    larger = "distillation helps the larger student more."
    undecided, certain = (0.10, -0.08, 0.28, 0.416), (0.21, 0.08, 0.34, 0.0008)
    closer = (0.0702, 0.0645, 0.0759, 1e-9)
    return (
        _claim("moderation:feature", f"Feature {larger}", FEATURE, undecided, "cannot tell"),
        _claim("moderation:logit", f"Logit {larger}", LOGIT, undecided, "cannot tell"),
        _claim("gain", "Feature distillation helps.", "gain:resnet34:feature", certain, "supported"),
        _claim("closer", "Feature is closer.", CLOSER, closer, "supported", unit="nats", margin=0.02, contrasts=4),
        _claim("null", "Logit does nothing.", "gain:resnet18:logit", undecided, "refuted", kind="null"),
        _claim("stem", "The stem is worth 5.5.", "stem:x", (6.7, 6.5, 6.9, 0.01), "supported", kind="at least"),
        _claim("far", "Distillation helps on CIFAR-100.", "gain:cifar100", None, "not tested"),
    )


def _model(name: str, metric: str = "test_acc_best", *, engine: bool = True, singular: bool = False) -> ModelFit:
    return ModelFit(
        model=name,
        formula="y ~ student * method + (1 | student:seed)",
        metric=metric,
        subset="all",
        engine="our own",
        optimiser="grid of 25, Newton from 8 starts (slope 1e-16)",
        criterion="REML",
        minus_2_log_likelihood=-51.83,
        n=50,
        runs=tuple(range(4, 54)),
        groups=10,
        singular=singular,
        zero_components="student:seed" if singular else "",
        r2_marginal=0.54,
        r2_conditional=0.59,
        second_engine="statsmodels MixedLM, powell" if engine else "",
        second_excess=5.3e-15 if engine else None,
        second_effect_difference_pp=0.0 if engine else None,
        second_se_ratio=1.00002 if engine else None,
        check="the second engine agrees to -1e-8 pp" if engine else "regular fit",
    )


def _variance(component: str, sd_pp: float, share: float) -> VarianceComponent:
    low, high = (0.0, 0.12) if component == "residual" else (None, None)
    return VarianceComponent("primary", "test_acc_best", "all", component, sd_pp, low, high, sd_pp**2, share, False)


def _specification(method: str, estimate: float, scale: str, *, supports: bool) -> Specification:
    return Specification(
        method, "test_acc_best", scale, "all", "all", "selected", "mixed", "kenward-roger", estimate, 0.1, 36.0,
        estimate - 0.2, estimate + 0.2, 0.3, 0.6, 50, False, supports, False,
    )  # fmt: skip


def _power(seeds: int, effect_pp: float, power: float) -> PowerPoint:
    return PowerPoint(FEATURE, effect_pp, seeds, 0.1, 36, power, power - 0.1, power + 0.1, 0.42, 0.29)


def analysis() -> Analysis:
    """An analysis of these runs as the statistics would give it."""
    return Analysis(
        schema=SCHEMA,
        metric="test_acc_best",
        higher_is_better=True,
        margin_pp=0.2,
        n_runs=50,
        answer=(
            "These runs cannot tell whether capacity moderates the gain from distillation.",
            "Under feature distillation resnet34 gains 0.10 pp more (95% interval -0.08 to 0.28).",
        ),
        flags=("Seed 0 chose the hyperparameters and is counted among the five seeds.",),
        cells=tuple(Cell(t, s, m, a, temp, 5, mean, 0.13) for t, s, m, a, temp, mean in CELLS),
        emmeans=tuple(_mean(*cell, mean_pct) for cell, mean_pct in MEANS_PCT.items()),
        contrasts=(
            *(_contrast(*row) for row in CONTRASTS),
            *(_contrast(model, name, value, 0.08, 0.3, family) for family, model, name, value in EVERY_FAMILY),
        ),
        fidelity=(
            Fidelity(
                "fidelity", "kl_t1", "all", CLOSER, "nats", 0.0702, 0.0028, 24.0, "kenward-roger", 0.0645, 0.0759,
                25.5, 1e-9, None, "kl_t1", 40, False,
            ),
        ),
        variance_components=(_variance("student:seed", 0.043, 0.105), _variance("residual", 0.126, 0.895)),
        omnibus=(
            Omnibus(
                "primary", "test_acc_best", "all", "student:method", "F", 0.94, 2, 34.2, "kenward-roger", 0.401, None,
                None, 50, False,
            ),
            Omnibus(
                "primary", "test_acc_best", "all", "student:method", "LRT", 1.01, 2, None, "parametric bootstrap",
                0.651, 0.0048, 10_000, 50, False,
            ),
        ),
        claims=claims(),
        models=(_model("primary"), *(_model(*fit, engine=False) for fit in FURTHER_MODELS)),
        intervals=(
            AlternativeInterval(FEATURE, "primary", "profile likelihood", 0.1, -0.097, 0.281, None, None, None),
            AlternativeInterval(FEATURE, "seeds", "exact permutation of seeds", 0.1, None, None, 0.397, None, None),
        ),
        multiverse=(
            _specification("feature", 0.09, "pp", supports=False),
            _specification("feature", 0.41, "pp", supports=True),
            _specification("feature", 9.9, "log-odds", supports=True),
            _specification("logit", -0.05, "pp", supports=False),
        ),
        choices=(
            Choice("feature", "metric", "test_acc_final", 120, 0.25, 0.0085, 0.79),
            Choice("feature", "scale", "log-odds", 120, 0.0, None, 0.7),
        ),
        rivals=(
            Rival("none", None, "", None, None, -38.0, -28.9, 0.0, None, 0.69, 40),
            Rival("log10 FLOPs", 0.27, "pp per factor of 10", 0.24, 0.286, -39.2, -27.5, 1.42, 1.0, 0.08, 40),
        ),
        power=(_power(5, 0.1, 0.17), _power(5, 0.2, 0.5), _power(10, 0.1, 0.29), _power(10, 0.2, 0.8)),
        seeds_needed=(
            SeedsNeeded(FEATURE, 0.2, 0.8, 10, 7, 17),
            SeedsNeeded(FEATURE, 0.01, 0.9, None, 7364, None),
        ),
        effect_sizes=(
            EffectSize(
                "gain:resnet50>resnet34:feature", 5, 5, 0.2, 1.51, 0.16, 3.11, 1.51, -0.15, 3.16, -0.001, 2.64, 7.6,
                0.031, 0.030,
            ),
        ),
        diagnostics=(
            Diagnostic(
                "primary", "test_acc_best", "all", "residual", "residual", "resnet18:none, seed 0", 0.1, None, 94.9, 1.2
            ),
        ),
        assumptions=(Assumption("primary", "cells spread equally", "Levene", 0.33, 0.96),),
        history=(Version("resnet50", "resnet34", "feature", 0.3, 0.194, 0.106, 0.19),),
    )  # fmt: skip


def singular() -> Analysis:
    """The same after a singular fit: the refit has other numbers, and claims and figures rest on it."""
    first = analysis()

    def refitted(row: Contrast) -> Contrast:
        return replace(_shifted(row, 1), model=f"{row.model}:refit", df=44.0, df_method="residual")

    contrasts = [replace(row, singular=True) for row in first.contrasts]
    return replace(
        first,
        contrasts=(*contrasts, *map(refitted, first.contrasts)),
        emmeans=(
            *(replace(mean, singular=True) for mean in first.emmeans),
            *(replace(mean, model="primary:refit", mean_pct=mean.mean_pct + 0.01) for mean in first.emmeans),
        ),
        claims=tuple(replace(claim, model="primary:refit") for claim in first.claims),
        models=(_model("primary", engine=False, singular=True), _model("primary:refit", engine=False)),
    )


def renamed(names: Mapping[str, str]) -> tuple[Analysis, pd.DataFrame]:
    """The study under other names of methods and architectures, in the analysis and in the runs table alike.

    Args:
        names: New names by old ones.
    """
    word = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(names)})(?![A-Za-z0-9])")

    def other(value: Any, key: str = "") -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return {name: other(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [other(inner) for inner in value]
        return word.sub(lambda found: names[found[0]], value) if isinstance(value, str) and key != "family" else value

    adapter = TypeAdapter(Analysis)
    frame = runs_frame().replace({column: dict(names) for column in ("teacher", "student", "method")})
    return adapter.validate_python(other(adapter.dump_python(analysis(), mode="json"))), check_runs(frame, "x.csv")


def curves() -> pd.DataFrame:
    """Two runs of two methods, epoch by epoch."""
    return pd.DataFrame(
        {
            "run_id": f"final/{method}",
            "stages": "final",
            "teacher": "" if method == "none" else "resnet34",
            "teacher_seed": None if method == "none" else 0,
            "student": "resnet18",
            "method": method,
            "seed": 0,
            "epoch": epoch,
            "lr": 0.1 / epoch,
            "train_loss": 1 / epoch,
            "val_acc": 0.9 + epoch / 100,
        }
        for method in ("none", "feature")
        for epoch in (1, 2, 3)
    )


def published() -> Published:
    """The same estimands elsewhere, every contrast shifted by 0.33 pp; one contrast is missing."""
    theirs = [_shifted(c, 0.33) for c in analysis().contrasts if c.contrast != "gain:resnet18:logit"]
    return Published("A paper (commit 4ec15c4)", 0.2, tuple(theirs), claims()[:1])


def context() -> ReportContext:
    """A context with everything that a page can show."""
    return ReportContext(
        title="Capacity and distillation",
        profile="quick",
        dataset="digits",
        banner="These are digits, a test of the pipeline, not evidence about CIFAR-10.",
        environment={"Python": "3.11.9", "torch": "2.13.0", "Device": "cpu, 1 thread"},
        published=published(),
    )


def full_context() -> ReportContext:
    """The same with curves, a verification, and a title that looks like markup."""
    return replace(
        context(),
        title="A <b>bold</b> | title",
        curves=curves(),
        verification=Verification("PASS", "Ten cells agree with resnet34's -0.08."),
    )
