"""Judging a runs table against a reference: what may be compared, the numbers, the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.replication import judge as replication
from analysis.replication.judge import Judgement, SpreadRatio
from analysis.replication.spread import Floats, Spread, Weights, cell_means, spread, weights
from analysis.runs.table import finals
from harness.errors import ReferenceProblem
from harness.verify import words
from harness.verify.cells import CELL, CHOSEN, FIXED, accuracies_pct, labels_of, layout_of
from harness.verify.openings import Openings, openings_of
from harness.verify.reference import Reference
from harness.verify.verdict import EXIT_CODES, SCHEMA, CellVerdict, Outcome, Verdict


@dataclass(frozen=True)
class _Compared:
    """Numbers of one comparison; arrays are one entry a cell of `cells`."""

    cells: list[str]
    new: list[pd.DataFrame]
    known: list[pd.DataFrame]
    mean_pct: Floats
    known_mean_pct: Floats
    of_reference: Weights
    both: Weights
    spread: Spread
    judgement: Judgement
    ratio: SpreadRatio | None

    @property
    def outcome(self) -> Outcome:
        if self.judgement.fails or self.spread_fails:
            return "FAIL"
        return "PASS" if self.judgement.passes else "INCONCLUSIVE"

    @property
    def spread_fails(self) -> bool:
        return self.ratio is not None and bool(self.ratio.fails)


def judge_runs(runs: pd.DataFrame, reference: Reference, runs_sha256: str) -> Verdict:
    """Judge the final runs of a checked table.

    Args:
        runs: From `analysis.runs.table.check_runs`.
        reference: From `harness.verify.reference.read_reference`.
        runs_sha256: Digest of the file that `runs` came from.

    Raises:
        ReferenceProblem: The table must not be compared with this reference; names the field and what to do.
        analysis.errors.TableError: No final rows, or a cell under two settings.
    """
    rows, card = finals(runs), reference.card
    cells = _comparable_cells(rows, reference)
    compared = _compare(rows, reference, cells)
    openings = openings_of(runs)
    outcome, judgement = "FAIL" if openings.wrong else compared.outcome, compared.judgement
    seeds = excuse = None
    if outcome == "INCONCLUSIVE":
        students = np.array([group["student"].iloc[0] for group in compared.new])
        seeds = replication.seeds_to_decide(
            judgement.difference_pp, students, compared.of_reference, compared.spread, card.rule
        )
    elif outcome == "FAIL" and not compared.spread_fails and not openings.wrong:
        excuse = replication.excusing_sd_pp(judgement, compared.both, compared.spread, card.rule)
    shift, half, ratio = float(judgement.shift_pp), float(judgement.shift_half_pp), compared.ratio
    verdicts = _cell_verdicts(compared, reference)
    count = [cell.verdict for cell in verdicts].count
    verdict = Verdict(
        schema=SCHEMA,
        verdict=outcome,
        sentence="",
        exit_code=EXIT_CODES[outcome],
        runs_sha256=runs_sha256,
        cells_in_reference=len(set(labels_of(reference.finals))),
        cells_judged=len(verdicts),
        cells_passed=count("PASS"),
        cells_failed=count("FAIL"),
        cells_inconclusive=count("INCONCLUSIVE"),
        largest_diff_pp=max((cell.diff_pp for cell in verdicts), key=abs),
        margin_pp=card.margin_pp,
        mean_shift_pp=shift,
        mean_shift_ci_low_pp=shift - half,
        mean_shift_ci_high_pp=shift + half,
        mean_shift_fails=bool(judgement.shift_fails),
        spread_ratio=None if ratio is None else float(ratio.ratio),
        spread_ratio_ci_low=None if ratio is None else float(ratio.low),
        spread_ratio_ci_high=None if ratio is None else float(ratio.high),
        spread_fails=compared.spread_fails,
        openings_recorded=openings.recorded,
        openings_wrong=openings.wrong,
        openings_sentence=openings.sentence,
        seeds_to_decide=seeds,
        excusing_between_study_sd_pp=excuse,
        reference={"name": card.name, "title": card.title, "sha256": card.content_sha256},
        alpha=card.alpha.model_dump(),
        model={
            "seed_sd_pp": float(np.sqrt(compared.spread.tau2)),
            "residual_sd_pp": float(np.sqrt(compared.spread.sigma2)),
            "icc": float(compared.spread.icc),
            "df_group": compared.spread.df_group,
            "df_within": compared.spread.df_within,
            "between_study_sd_pp": card.between_study_sd_pp,
        },
        notes=tuple(_notes(rows, reference, compared, openings)),
        cells=verdicts,
    )
    return replace(verdict, sentence=words.verdict_sentence(verdict))


def _comparable_cells(rows: pd.DataFrame, reference: Reference) -> list[str]:
    """Cells that both have, sorted; refuses what must not be compared."""
    name = reference.card.name
    dataset = str(rows["dataset"].iloc[0])
    if dataset != reference.card.dataset:
        raise ReferenceProblem(
            f"field dataset: reference {name} has {reference.card.dataset}, this table says "
            f"{dataset or 'nothing'}; verify against a reference of that data, or correct the column."
        )
    new, known = _by_cell(rows), _by_cell(reference.finals)
    common = sorted(new.keys() & known.keys())
    if not common:
        raise ReferenceProblem(
            f"fields {', '.join(CELL)}: no cell of this table is in reference {name}; it knows {', '.join(known)}."
        )
    for cell in common:
        for field in FIXED:
            here, there = new[cell][field].iloc[0], known[cell][field].iloc[0]
            if str(here) != str(there):
                found = "nothing" if pd.isna(here) or here == "" else here
                raise ReferenceProblem(
                    f"field {field} of cell {cell}: reference {name} has {there}, this table says {found}; "
                    "that is another experiment: leave these runs out or verify against their own reference."
                )
    return common


def _by_cell(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(label): group for label, group in rows.groupby(labels_of(rows))}


def _compare(rows: pd.DataFrame, reference: Reference, cells: list[str]) -> _Compared:
    card, known = reference.card, reference.finals
    every_known = sorted(set(labels_of(known)))
    layout_known = layout_of(known, every_known)
    y_known = accuracies_pct(known, card.metric)
    noise = spread(y_known, layout_known)
    chosen = np.array([every_known.index(cell) for cell in cells])
    of_reference = weights(layout_known).take(chosen)
    known_mean = cell_means(y_known, layout_known)[chosen]

    new = rows[[label in cells for label in labels_of(rows)]]
    layout = layout_of(new, cells)
    y = accuracies_pct(new, card.metric)
    mean = cell_means(y, layout)
    both = weights(layout) + of_reference
    return _Compared(
        cells=cells,
        new=[_by_cell(new)[cell] for cell in cells],
        known=[_by_cell(known)[cell] for cell in cells],
        mean_pct=mean,
        known_mean_pct=known_mean,
        of_reference=of_reference,
        both=both,
        spread=noise,
        judgement=replication.judge(mean - known_mean, both, noise, card.rule),
        ratio=replication.spread_ratio(y, layout, noise, card.rule.alpha_spread),
    )


def _cell_verdicts(compared: _Compared, reference: Reference) -> tuple[CellVerdict, ...]:
    judgement, verdicts = compared.judgement, []
    for i, cell in enumerate(compared.cells):
        first = compared.new[i].iloc[0]
        diff, family = float(judgement.difference_pp[i]), float(judgement.family_half_pp[i])
        equivalence = float(judgement.equivalence_half_pp[i])
        outcome: Outcome = "INCONCLUSIVE"
        if judgement.cell_fails[i]:
            outcome = "FAIL"
        elif judgement.cell_passes[i]:
            outcome = "PASS"
        verdict = CellVerdict(
            cell=cell,
            dataset=reference.card.dataset,
            **{field: str(first[field]) for field in CELL},
            stem=str(first["stem"]),
            epochs=int(first["epochs"]),
            checkpoint=reference.card.checkpoint,
            n=len(compared.new[i]),
            n_reference=len(compared.known[i]),
            mean_pct=float(compared.mean_pct[i]),
            reference_mean_pct=float(compared.known_mean_pct[i]),
            diff_pp=diff,
            ci_low_pp=diff - family,
            ci_high_pp=diff + family,
            equivalence_low_pp=diff - equivalence,
            equivalence_high_pp=diff + equivalence,
            verdict=outcome,
            sentence="",
        )
        verdicts.append(replace(verdict, sentence=words.cell_sentence(verdict, reference.card.margin_pp)))
    return tuple(verdicts)


def _notes(rows: pd.DataFrame, reference: Reference, compared: _Compared, openings: Openings) -> list[str]:
    """What differs without forbidding the comparison, and what a verdict does not say."""
    notes = []
    everywhere, here = set(labels_of(reference.finals)), set(labels_of(rows))
    if missing := sorted(everywhere - here):
        notes.append(f"Not in this table, so not judged: {', '.join(missing)}.")
    if extra := sorted(here - everywhere):
        notes.append(f"Not in the reference, so not judged: {', '.join(extra)}.")
    absent: dict[str, list[str]] = {}
    for cell, new, known in zip(compared.cells, compared.new, compared.known, strict=True):
        notes += [
            f"{cell} ran with {field} {words.value(new[field].iloc[0])}, the reference with "
            f"{words.value(known[field].iloc[0])}; judged all the same."
            for field in CHOSEN
            if words.value(new[field].iloc[0]) != words.value(known[field].iloc[0])
        ]
        seeds = ", ".join(map(str, sorted(set(known["seed"]) - set(new["seed"]))))
        absent.setdefault(seeds, []).append(cell)
    for seeds, of_cells in absent.items():
        if seeds:
            whose = "any cell" if len(of_cells) == len(compared.cells) else ", ".join(of_cells)
            notes.append(f"Seeds of the reference not run for {whose}: {seeds}.")
    if openings.note:
        notes.append(openings.note)
    if compared.ratio is None:
        notes.append("Too few runs share a student and seed to compare the spread; means alone were judged.")
    notes.append(
        f"This judges accuracies to within {reference.card.margin_pp:g} pp; "
        "it says nothing about gains or claims smaller than that."
    )
    return notes
