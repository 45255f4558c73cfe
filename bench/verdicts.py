"""How often `harness verify` errs and what it finds: its verdict on simulated studies, judged by the code that judges.

Each draw is a reference of five seeds and a new study, both in the published layout, with the runs' total spread as
fitted to the published runs and with its seed ICC or another one. All cases at one ICC and number of seeds see the same
draws. Judged by the rules of yasar2026-v2.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from analysis.replication.judge import Bools, Rule, judge, spread_ratio
from analysis.replication.spread import Floats, Layout, Spread, cell_means, spread, weights
from analysis.study.contrasts import moderation_id
from analysis.study.simulation import Share
from bench.show import table
from harness.files import write_whole
from harness.verify.cells import labels_of, layout_of
from harness.verify.contrasts import OnCells, claim_contrasts, gain_contrasts
from harness.verify.families import ACCURACY
from harness.verify.reference import read_reference

REFERENCE = "reference/yasar2026-v2"
STUDENTS, METHODS = ("resnet18", "resnet34"), ("feature", "logit")
SEEDS = (1, 2, 3, 5, 10)
REFERENCE_SEEDS = 5
HIGH_ICC = 0.3
SEED = 20_260_502
TITLES = {
    "replicate": "An exact replicate",
    "different": "A study that differs",
    "moved": "A replicate whose true means moved, by this sd (new teachers, re-selected hyperparameters)",
    "effects": "Gains and contrasts of an exact replicate",
}
BLOCK = re.compile(r"(<!-- printed by: python -m bench verdicts -->\n).*?(<!-- end of print -->)", re.DOTALL)


@dataclass(frozen=True)
class Published:
    """The published study: its cells and what is judged of them, by which rules, and how far its runs scatter.

    Attributes:
        cells: Names of the cells, sorted.
        student: Index of each cell's student; its cells share seeds.
        accuracies: Rule of accuracies.
        effects: Rule of gains, and of the contrasts that claims rest on.
        gains: Combinations of cells, by name.
        claims: Likewise.
        total_variance_pp2: Variance of a run around its cell's mean, seed effect and rest, pp squared.
        icc: Share of it that the cells of one student and seed have in common.
    """

    cells: tuple[str, ...]
    student: tuple[int, ...]
    accuracies: Rule
    effects: Rule
    gains: Mapping[str, OnCells]
    claims: Mapping[str, OnCells]
    total_variance_pp2: float
    icc: float

    @property
    def distilled(self) -> Floats:
        """1.0 for a distilled cell, 0.0 for a baseline."""
        return np.array([cell in self.gains for cell in self.cells], dtype=float)

    def combinations(self, contrasts: Iterable[OnCells]) -> Floats:
        """Contrasts x cells."""
        return np.array([[contrast.get(cell, 0.0) for cell in self.cells] for contrast in contrasts])

    def layout(self, seeds: int) -> Layout:
        """Runs of a study with this many seeds a cell, cell by cell."""
        cell = np.repeat(np.arange(len(self.cells)), seeds)
        return Layout(cell, np.array(self.student)[cell] * seeds + np.tile(np.arange(seeds), len(self.cells)))


@dataclass(frozen=True)
class Case:
    """What becomes of a new study, and how it is judged.

    Attributes:
        name: What it is called in the table.
        iccs: Seed ICCs that it is simulated at.
        rule: The rule.
        combinations: As in `analysis.replication.judge.judge`.
        independent: Whether cell means are wrongly taken for independent, the seed's variance for that of runs.
        shift_pp: Added to the new study's true means, one for all cells or one a cell.
        scatter: The new study's standard deviation of runs, as a multiple of the reference's.
        moved_pp: Sd by which both studies' true means move, likewise one for all or one a cell.
    """

    name: str
    iccs: tuple[float, ...]
    rule: Rule
    combinations: Floats | None = None
    independent: bool = False
    shift_pp: Floats | float = 0.0
    scatter: float = 1.0
    moved_pp: Floats | float = 0.0


@dataclass(frozen=True)
class Draws:
    """Simulated pairs of studies with equal true means; pairs x runs, or pairs x cells for standard normal moves."""

    reference_pp: Floats
    new_pp: Floats
    reference_moves: Floats
    new_moves: Floats


@dataclass(frozen=True)
class Row:
    """How often a case, at one ICC and number of seeds, ends in FAIL and in PASS; else it is INCONCLUSIVE."""

    table: str
    case: str
    icc: float
    seeds: int
    fails: Share
    passes: Share

    @property
    def shares(self) -> dict[str, Share]:
        """All three, by verdict."""
        draws = self.fails.draws
        neither = Share(draws - self.fails.count - self.passes.count, draws)
        return {"fail": self.fails, "pass": self.passes, "inconclusive": neither}


def published() -> Published:
    """Read the published study and fit the spread of its runs."""
    reference = read_reference(REFERENCE)
    rows, card = reference.finals, reference.card
    cells = sorted(set(labels_of(rows)))
    student = dict(zip(labels_of(rows), rows["student"], strict=True))
    noise = spread(ACCURACY.of(rows), layout_of(rows, cells))
    return Published(
        cells=tuple(cells),
        student=tuple(sorted(set(student.values())).index(student[cell]) for cell in cells),
        accuracies=card.rule,
        effects=card.alpha.of_others(card.margins.effects_pp, card.between_study_sd_pp),
        gains=gain_contrasts(rows),
        claims=claim_contrasts(rows),
        total_variance_pp2=float(noise.sigma2 + noise.tau2),
        icc=float(noise.icc),
    )


def cases(study: Published) -> dict[str, tuple[Case, ...]]:
    """All cases, by table."""
    fitted, every, margin_pp = (study.icc,), (0.0, study.icc, HIGH_ICC), study.accuracies.margin
    one = np.eye(len(study.cells))[int(study.distilled.argmax())]

    def as_judged(name: str, **settings: Any) -> Case:  # noqa: ANN401 - fields of a case
        return Case(name, fitted, study.accuracies, **settings)

    moved = [
        case
        for sd in (0.05, 0.1)
        for case in (
            replace(as_judged(f"distilled cells by {sd:.2f} pp", moved_pp=sd * study.distilled), iccs=every),
            as_judged(f"every cell by {sd:.2f} pp", moved_pp=sd),
            Case(
                f"every cell by {sd:.2f} pp, as the rule then assumes",
                fitted, replace(study.accuracies, between_study_sd=sd), moved_pp=sd,
            ),
        )
    ]  # fmt: skip
    moderation = [study.claims[moderation_id(*STUDENTS, method)] for method in METHODS]

    def effects(name: str, contrasts: Collection[OnCells]) -> Case:
        return Case(f"{len(contrasts)} {name}", every, study.effects, study.combinations(contrasts))

    return {
        "replicate": (
            Case("as `harness verify` judges", every, study.accuracies),
            Case("cells taken for independent", every, study.accuracies, independent=True),
        ),
        "different": (
            as_judged("one cell lower by 0.3 pp", shift_pp=-0.3 * one),
            as_judged(f"one cell lower by {margin_pp:g} pp, the margin", shift_pp=-margin_pp * one),
            as_judged("one cell lower by 0.5 pp", shift_pp=-0.5 * one),
            as_judged("all cells lower by 0.1 pp", shift_pp=-0.1),
            as_judged("all cells lower by 0.3 pp", shift_pp=-0.3),
            as_judged("runs scatter twice as far", scatter=2.0),
            as_judged("runs scatter four times as far", scatter=4.0),
        ),
        "moved": tuple(moved),
        "effects": (
            effects("gains", study.gains.values()),
            effects("contrasts of the claims", study.claims.values()),
            effects("moderation contrasts alone", moderation),
        ),
    }


def draw(study: Published, icc: float, seeds: int, draws: int, seed: int = SEED) -> Draws:
    """Simulate pairs of a reference and a new study with `seeds` seeds a cell, the same ones for the same `seed`."""
    # each ICC and number of seeds has draws of its own, so that others may come and go
    generator = np.random.default_rng([seed, round(1000 * icc), seeds])

    def runs(of: Layout) -> Floats:
        groups = generator.standard_normal((draws, of.membership.shape[1])) @ of.membership.T
        own = generator.standard_normal((draws, of.cell.size))
        return np.asarray(np.sqrt(study.total_variance_pp2) * (np.sqrt(icc) * groups + np.sqrt(1 - icc) * own))

    cells = (draws, len(study.cells))
    return Draws(
        runs(study.layout(REFERENCE_SEEDS)), runs(study.layout(seeds)),
        generator.standard_normal(cells), generator.standard_normal(cells),
    )  # fmt: skip


def judged(case: Case, drawn: Draws, study: Published, seeds: int) -> tuple[Bools, Bools]:
    """FAIL and PASS of each pair, put together as `harness verify` does: a strange spread fails too."""
    old, of = study.layout(REFERENCE_SEEDS), study.layout(seeds)
    reference = drawn.reference_pp + (case.moved_pp * drawn.reference_moves)[:, old.cell]
    new = case.scatter * drawn.new_pp + (case.shift_pp + case.moved_pp * drawn.new_moves)[:, of.cell]
    noise = spread(reference, old)
    judgement = judge(
        cell_means(new, of) - cell_means(reference, old),
        weights(old) + weights(of),
        _pooled(noise) if case.independent else noise,
        case.rule,
        case.combinations,
    )
    ratio = spread_ratio(new, of, noise, case.rule.alpha_spread) if case.rule.alpha_spread else None
    fails = judgement.fails if ratio is None else judgement.fails | ratio.fails
    return fails, judgement.passes & ~fails


def _pooled(noise: Spread) -> Spread:
    """The same runs' spread, if no two of them shared a seed: one variance from both mean squares."""
    both = noise.df_within * noise.ms_within + noise.df_group * noise.ms_group
    pooled = np.asarray(both / (noise.df_within + noise.df_group))
    return replace(noise, ms_within=pooled, ms_group=pooled)


def measure(draws: int, seed: int = SEED) -> Iterator[Row]:
    """Simulate and judge every case at every number of seeds.

    Args:
        draws: Pairs of studies a row.
        seed: Of the generators; the same rows for the same seed.
    """
    study = published()
    by_table = cases(study)
    for icc, seeds in product((0.0, study.icc, HIGH_ICC), SEEDS):
        drawn = draw(study, icc, seeds, draws, seed)
        for name, case in ((name, case) for name, found in by_table.items() for case in found if icc in case.iccs):
            fails, passes = (Share(int(found.sum()), draws) for found in judged(case, drawn, study, seeds))
            yield Row(name, case.name, icc, seeds, fails, passes)


def as_markdown(rows: Sequence[Row]) -> str:
    """The tables, with what their figures are."""
    draws = rows[0].fails.draws
    at_5, at_50 = (100 * math.sqrt(share * (1 - share) / draws) for share in (0.05, 0.5))
    told = (
        f"FAIL / PASS / INCONCLUSIVE in percent of {draws:,} pairs of studies; Monte-Carlo standard error {at_5:.2f} "
        f"at 5%, {at_50:.2f} at 50%."
    )
    return "\n\n".join([told, *(f"{title}:\n\n{_table(name, rows)}" for name, title in TITLES.items())]) + "\n"


def _table(name: str, rows: Sequence[Row]) -> str:
    by_seeds: dict[tuple[str, float], dict[int, str]] = {}
    for row in rows:
        if row.table == name:
            text = " / ".join(f"{100 * share.value:.1f}" for share in row.shares.values())
            by_seeds.setdefault((row.case, row.icc), {})[row.seeds] = text
    # rows come by ICC first, lines go by case first
    order = list(dict.fromkeys(case for case, _ in by_seeds))
    lines = sorted(by_seeds, key=lambda line: (order.index(line[0]), line[1]))
    head = ["", "ICC", *(f"{seeds} {'seed' if seeds == 1 else 'seeds'}" for seeds in SEEDS)]
    return table(head, [[case, f"{icc:.3f}", *(by_seeds[case, icc][n] for n in SEEDS)] for case, icc in lines])


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as JSON holds them: each share in percent with its Monte-Carlo standard error."""
    return [
        {
            "table": row.table, "case": row.case, "icc": row.icc, "seeds": row.seeds, "draws": row.fails.draws,
            **{f"{verdict}_pct": 100 * share.value for verdict, share in row.shares.items()},
            **{f"{verdict}_mc_se_pct": 100 * share.mc_se for verdict, share in row.shares.items()},
        }
        for row in rows
    ]  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench verdicts`."""
    parser.add_argument("--draws", type=int, default=20_000, help="pairs of studies a row (default 20000)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also put the tables between the page's two markers")


def main(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Simulate and print.

    Returns:
        The rows, as JSON holds them.
    """
    if options.page:
        _marked(options.page)  # refused before minutes of simulation
    started = time.perf_counter()
    rows = list(measure(options.draws))
    seconds = time.perf_counter() - started
    printed = as_markdown(rows)
    print(printed, end="")
    print(f"{len(rows)} rows in {seconds:.0f} seconds", file=sys.stderr)
    if options.page:
        page = _marked(options.page)
        write_whole(options.page, BLOCK.sub(lambda found: f"{found[1]}\n{printed}\n{found[2]}", page))
    return as_json(rows)


def _marked(page: Path) -> str:
    """A page's text, if it has the markers."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if not BLOCK.search(text):
        raise SystemExit(
            f"--page {page}: expected a page with the markers of `python -m bench verdicts`, found none; "
            "copy them from docs/verify.md."
        )
    return text
