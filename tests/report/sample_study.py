"""A study made by hand: four pairs, three methods, five seeds, with numbers as papers report them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pandas as pd

from analysis.results import (
    SCHEMA,
    Analysis,
    Cell,
    Claim,
    Contrast,
    EmMean,
    ModelFit,
    Omnibus,
    VarianceComponent,
    Verdict,
)
from analysis.table import check_runs
from report.context import ReportContext

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
CONTRASTS = (  # model, contrast, estimate, standard error (pp), p; one rounds to zero, one p is tiny
    ("primary", "gain:resnet18:feature", 0.11, 0.055, 0.053),
    ("primary", "gain:resnet18:logit", -0.004, 0.055, 0.942),
    ("primary", "gain:resnet34:feature", 0.21, 0.055, 0.0004),
    ("primary", "gain:resnet34:logit", 0.07, 0.055, 0.212),
    ("primary", FEATURE, 0.10, 0.078, 0.208),
    ("primary", LOGIT, 0.08, 0.078, 0.312),
    ("pairs", "gain:resnet34>resnet18:feature", 0.12, 0.07, 0.095),
    ("pairs", "gain:resnet34>resnet18:logit", -0.08, 0.07, 0.26),
    ("pairs", "gain:resnet50>resnet18:feature", 0.09, 0.07, 0.21),
    ("pairs", "gain:resnet50>resnet18:logit", 0.05, 0.07, 0.48),
    ("pairs", "gain:resnet50>resnet34:feature", 0.20, 0.07, 0.007),
    ("pairs", "gain:resnet50>resnet34:logit", 0.09, 0.07, 0.21),
    ("pairs", "gain:resnet101>resnet34:feature", 0.22, 0.07, 0.003),
    ("pairs", "gain:resnet101>resnet34:logit", 0.06, 0.07, 0.40),
)


def _contrast(model: str, name: str, estimate_pp: float, se_pp: float, p: float) -> Contrast:
    return Contrast(
        model=model,
        metric="test_acc_best",
        subset="all",
        contrast=name,
        estimate_pp=estimate_pp,
        se_pp=se_pp,
        df=34.2 if model == "primary" else 32,
        df_method="Kenward-Roger",
        ci_low_pp=estimate_pp - 2 * se_pp,
        ci_high_pp=estimate_pp + 2 * se_pp,
        t=estimate_pp / se_pp,
        p=p,
        p_holm=min(1.0, 2 * p),
        family=name.partition(":")[0],
        n=50,
        singular=False,
    )


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
        df_method="Kenward-Roger",
        ci_low_pct=mean_pct - 0.13,
        ci_high_pct=mean_pct + 0.13,
        n=10,
        singular=False,
    )


def _claim(name: str, sentence: str, contrast: str, numbers: tuple[float, ...] | None, verdict: Verdict) -> Claim:
    estimate_pp, low_pp, high_pp, p_holm = numbers or (None,) * 4
    because = "The sentence that goes with it, from -0.08 on."
    return Claim(name, sentence, contrast, "directional", 0.2, estimate_pp, low_pp, high_pp, p_holm, verdict, because)


def analysis() -> Analysis:
    """An analysis of these runs as the statistics would give it."""
    larger = "distillation helps the larger student more."
    undecided, certain = (0.10, -0.08, 0.28, 0.416), (0.21, 0.08, 0.34, 0.0008)
    return Analysis(
        schema=SCHEMA,
        metric="test_acc_best",
        margin_pp=0.2,
        n_runs=50,
        answer=(
            "These runs cannot tell whether capacity moderates the gain from distillation.",
            "Under feature distillation resnet34 gains 0.10 pp more (95% interval -0.08 to 0.28).",
        ),
        flags=("Seed 0 chose the hyperparameters and is counted among the five seeds.",),
        cells=tuple(Cell(t, s, m, a, temp, 5, mean, 0.13) for t, s, m, a, temp, mean in CELLS),
        emmeans=tuple(_mean(*cell, mean_pct) for cell, mean_pct in MEANS_PCT.items()),
        contrasts=tuple(_contrast(*row) for row in CONTRASTS),
        variance_components=(
            VarianceComponent("primary", "test_acc_best", "all", "student:seed", 0.043, 0.0018, 0.105, False),
            VarianceComponent("primary", "test_acc_best", "all", "residual", 0.126, 0.0159, 0.895, False),
        ),
        omnibus=(
            Omnibus(
                "primary", "test_acc_best", "all", "student:method", 0.94, 2, 34.2, "K-R", 0.401, 50, False
            ),
        ),
        claims=(
            _claim("moderation:feature", f"Feature {larger}", FEATURE, undecided, "cannot tell"),
            _claim("moderation:logit", f"Logit {larger}", LOGIT, undecided, "cannot tell"),
            _claim("gain", "Feature distillation helps.", "gain:resnet34:feature", certain, "supported"),
            _claim("far", "Distillation helps on CIFAR-100.", "gain:cifar100", None, "not tested"),
        ),
        models=(
            ModelFit(
                "primary", "acc ~ student * method + (1 | student:seed)", "test_acc_best", "all", "MixedLM",
                "lbfgs", "REML", -51.83, 50, 10, False, "closed-form split-plot ANOVA: equal to 1e-8 pp",
            ),
        ),
    )  # fmt: skip


def published() -> Analysis:
    """Another analysis of the same estimands, every contrast shifted by 0.33 pp; one contrast is missing."""
    ours = analysis()
    theirs = [
        replace(c, estimate_pp=c.estimate_pp + 0.33, ci_low_pp=c.ci_low_pp + 0.33, ci_high_pp=c.ci_high_pp + 0.33)
        for c in ours.contrasts
        if c.contrast != "gain:resnet18:logit"
    ]
    return replace(ours, contrasts=tuple(theirs), claims=ours.claims[:1])


def context() -> ReportContext:
    """A context with everything that a page can show."""
    return ReportContext(
        title="Capacity and distillation",
        profile="quick",
        dataset="digits",
        banner="These are digits, a test of the pipeline, not evidence about CIFAR-10.",
        environment={"Python": "3.11.9", "torch": "2.13.0", "Device": "cpu, 1 thread"},
        published=published(),
        published_source="A paper (commit 4ec15c4)",
    )
