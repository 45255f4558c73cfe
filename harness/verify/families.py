"""The families of a verdict: which values are compared, by which rule, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.replication import judge as replication
from analysis.replication.judge import Judgement, Rule, SeedsToDecide
from analysis.replication.spread import Floats, Layout, Spread, Weights, cell_means, spread, weights
from analysis.runs.columns import BASELINE
from analysis.runs.table import distinct_runs
from harness.errors import ReferenceProblem
from harness.verify import words
from harness.verify.cells import CELL, has_several_checkpoints, labels_of, layout_of, with_labels
from harness.verify.comparable import Comparable
from harness.verify.contrasts import OnCells, claim_contrasts, conclusions, gain_contrasts
from harness.verify.reference import METRIC, Reference
from harness.verify.verdict import Family, FamilyName, FamilyTest, Judged, Member, Outcome

FIDELITY: tuple[tuple[str, Literal["pp", "nats"]], ...] = (("agreement", "pp"), ("kl_t1", "nats"), ("kl_t4", "nats"))


@dataclass(frozen=True)
class Response:
    """A column of a runs table as it is compared.

    Attributes:
        column: Its name.
        unit: Unit of differences; fractions become percent where it is `pp`.
    """

    column: str
    unit: Literal["pp", "nats"]

    def of(self, rows: pd.DataFrame) -> Floats:
        """Its values in percent or nats, in row order; this is where fractions end."""
        return rows[self.column].to_numpy(dtype=float) * (100 if self.unit == "pp" else 1)


ACCURACY = Response(METRIC, "pp")


@dataclass(frozen=True)
class Compared:
    """Cell means of both studies; arrays are one entry a cell.

    Attributes:
        response: What was compared.
        cells: Names of the cells that both have.
        first: First row of each, for its settings.
        n: Runs of the new study.
        n_reference: Runs of the reference.
        mean: Means of the new study.
        reference_mean: Means of the reference.
        of_reference: Weights of the reference's means.
        both: Weights of the differences.
        spread: Spread of the reference's runs, over all of its cells.
        layout: Layout of the new study's runs.
        y: Their values.
    """

    response: Response
    cells: list[str]
    first: pd.DataFrame
    n: list[int]
    n_reference: list[int]
    mean: Floats
    reference_mean: Floats
    of_reference: Weights
    both: Weights
    spread: Spread
    layout: Layout
    y: Floats

    @property
    def students(self) -> np.ndarray:
        """Student of each cell."""
        return self.first["student"].to_numpy(dtype=str)


def compare(rows: pd.DataFrame, known: pd.DataFrame, cells: Sequence[str], response: Response) -> Compared | None:
    """Compare cell means.

    Args:
        rows: Rows of the new study.
        known: Rows of the reference; all of them say how far runs scatter.
        cells: Cells that both have.
        response: What is compared; filled in every row.

    Returns:
        The comparison; None where the reference has one run a cell, so that nothing says how far runs scatter.
    """
    every_known = sorted(set(labels_of(known)))
    layout_known, y_known = layout_of(known, every_known), response.of(known)
    try:
        noise = spread(y_known, layout_known)
    except ValueError:
        return None
    chosen = np.array([every_known.index(cell) for cell in cells])
    of_reference = weights(layout_known).take(chosen)
    kept = with_labels(rows, cells)
    layout, y = layout_of(kept, cells), response.of(kept)
    counted, counted_known = (dict(pd.Series(labels_of(frame)).value_counts()) for frame in (kept, known))
    first = kept.assign(label=labels_of(kept)).drop_duplicates("label").set_index("label").loc[list(cells)]
    return Compared(
        response=response,
        cells=list(cells),
        first=first,
        n=[int(counted[cell]) for cell in cells],
        n_reference=[int(counted_known[cell]) for cell in cells],
        mean=cell_means(y, layout),
        reference_mean=cell_means(y_known, layout_known)[chosen],
        of_reference=of_reference,
        both=weights(layout) + of_reference,
        spread=noise,
        layout=layout,
        y=y,
    )


@dataclass(frozen=True)
class _Judged:
    """Members of one response, and what they come to together."""

    members: tuple[Member, ...]
    judgement: Judgement
    seeds: SeedsToDecide
    excuse: float


def _judge(
    compared: Compared,
    rule: Rule,
    quantity: str,
    contrasts: Mapping[str, OnCells] | None = None,
    keys: Mapping[str, dict[str, str | int]] | None = None,
) -> _Judged:
    """Judge each cell, or each contrast of cells."""
    names = compared.cells if contrasts is None else list(contrasts)
    on_cells = [{cell: 1.0} for cell in names] if contrasts is None else list(contrasts.values())
    combinations = np.array([[one.get(cell, 0.0) for cell in compared.cells] for one in on_cells])
    difference = compared.mean - compared.reference_mean
    judgement = replication.judge(difference, compared.both, compared.spread, rule, combinations)
    seeds = replication.seeds_to_decide(
        difference, compared.students, compared.of_reference, compared.spread, rule, combinations, min(compared.n)
    )
    value, reference_value = combinations @ compared.mean, combinations @ compared.reference_mean
    members = []
    for m, name in enumerate(names):
        used = [i for i, weight in enumerate(combinations[m]) if weight]
        verdict: Judged = "INCONCLUSIVE"
        if judgement.member_fails[m]:
            verdict = "FAIL"
        elif judgement.member_passes[m]:
            verdict = "PASS"
        d, family, equivalence = (
            float(one[m]) for one in (judgement.difference, judgement.family_half, judgement.equivalence_half)
        )
        numbers = {
            "n": min(compared.n[i] for i in used),
            "n_reference": min(compared.n_reference[i] for i in used),
            "value": float(value[m]),
            "reference_value": float(reference_value[m]),
            "difference": d,
            "ci_low": d - family,
            "ci_high": d + family,
            "equivalence_low": d - equivalence,
            "equivalence_high": d + equivalence,
            "margin": rule.margin,
        }
        members.append(
            Member(
                name=name,
                quantity=quantity,
                unit=compared.response.unit,
                key=dict((keys or {}).get(name, {})),
                verdict=verdict,
                seeds_to_decide=seeds.members[m] if verdict == "INCONCLUSIVE" else None,
                sentence=words.member_sentence(name, quantity, verdict, compared.response.unit, numbers),
                **numbers,  # type: ignore[arg-type]  # counts and numbers, each to the field of its name
            )
        )
    excuse = replication.excusing_sd(judgement, compared.both, compared.spread, rule, combinations)
    return _Judged(tuple(members), judgement, seeds, excuse)


def _family(
    name: FamilyName,
    parts: Sequence[_Judged],
    alpha: float,
    in_reference: int,
    gate: Sequence[FamilyName],
    *,
    why_not: str = "",
    mean_shift: FamilyTest | None = None,
    spread_ratio: FamilyTest | None = None,
) -> Family:
    """One family from its parts; without members it is not judged, and `why_not` says why."""
    members = tuple(member for part in parts for member in part.members)
    outcome: Outcome = "NOT JUDGED"
    if members:
        wholes = [one for one in (mean_shift, spread_ratio) if one is not None]
        verdicts = {member.verdict for member in members}
        if "FAIL" in verdicts or any(one.fails for one in wholes):
            outcome = "FAIL"
        else:
            outcome = "PASS" if verdicts == {"PASS"} else "INCONCLUSIVE"
    seeds = _seeds_to_decide([part.seeds for part in parts])
    spread_fails = spread_ratio is not None and spread_ratio.fails
    excuse = parts[0].excuse if outcome == "FAIL" and len(parts) == 1 and not spread_fails else None
    family = Family(
        family=name,
        verdict=outcome,
        sentence=why_not,
        gated=name in gate,
        alpha=alpha,
        members_in_reference=in_reference,
        members=members,
        mean_shift=mean_shift,
        spread_ratio=spread_ratio,
        seeds_to_decide=seeds if outcome == "INCONCLUSIVE" else None,
        excusing_between_study_sd=excuse,
        conclusions=(),
    )
    return words.with_sentence(family)


def _seeds_to_decide(parts: Sequence[SeedsToDecide]) -> int | None:
    """Seeds that decide a family: until one part fails, or all are decided."""
    found = [part.fails for part in parts if part.fails is not None]
    decided = [part.decided for part in parts if part.decided is not None]
    if decided and len(decided) == len(parts):
        found.append(max(decided))
    return min(found, default=None)


def accuracies(found: Comparable, reference: Reference, rule: Rule, gate: Sequence[FamilyName]) -> Family:
    """Test accuracies of the chosen cells, their mean shift, and the spread of runs."""
    card = reference.card
    compared = compare(found.rows, reference.finals, found.chosen, ACCURACY)
    in_reference = len(set(labels_of(reference.finals)))
    if compared is None:  # `judgeable` refuses such a reference
        raise ValueError(f"reference {card.name} shows no spread")
    keys = {
        cell: {
            "dataset": card.dataset,
            **{field: str(row[field]) for field in CELL},
            "stem": str(row["stem"]),
            "epochs": int(row["epochs"]) if not pd.isna(row["epochs"]) else "",
            "checkpoint": str(row["checkpoint"]) or card.checkpoint,
        }
        for cell, row in compared.first.iterrows()
    }
    judged = _judge(compared, rule, METRIC, keys={str(cell): key for cell, key in keys.items()})
    shift, half = float(judged.judgement.shift), float(judged.judgement.shift_half)
    # over several checkpoints of a teacher runs scatter by the checkpoint too, which is no spread of seeds
    one_checkpoint = not has_several_checkpoints(found.rows)
    ratio = (
        replication.spread_ratio(compared.y, compared.layout, compared.spread, rule.alpha_spread)
        if one_checkpoint
        else None
    )
    return _family(
        "accuracies",
        [judged],
        rule.alpha,
        in_reference,
        gate,
        mean_shift=None  # of one cell it would be that cell's own difference again
        if len(found.chosen) == 1
        else FamilyTest(shift, shift - half, shift + half, bool(judged.judgement.shift_fails)),
        spread_ratio=None
        if ratio is None
        else FamilyTest(float(ratio.ratio), float(ratio.low), float(ratio.high), bool(ratio.fails)),
    )


def teachers(found: Comparable, reference: Reference, gate: Sequence[FamilyName]) -> Family:
    """Test accuracies of the teachers that taught the chosen cells."""
    margin, rows = reference.card.margins.teachers_pp, found.teachers
    known = distinct_runs(reference.runs[reference.runs["stage"] == "teachers"])
    cells = sorted(set(labels_of(rows)) & set(labels_of(known)))
    compared = compare(rows, known, cells, ACCURACY) if cells else None
    alpha, in_reference = reference.card.alpha.total, len(set(labels_of(known)))
    if margin is None or compared is None:
        if rows.empty:
            why_not = "this table has no runs of stage `teachers` that taught the cells judged"
        elif cells:
            why_not = "the reference has too few runs of each teacher to say how far they scatter"
        else:
            why_not = "the reference has no runs of these teachers"
        return _family("teachers", [], alpha, in_reference, gate, why_not=why_not)
    judged = _judge(compared, reference.card.alpha.of_others(margin), METRIC)
    return _family("teachers", [judged], alpha, in_reference, gate)


def fidelity(found: Comparable, reference: Reference, gate: Sequence[FamilyName]) -> Family:
    """How closely students follow their teachers: agreement, and divergence at T=1 and T=4, of the distilled cells.

    Raises:
        ReferenceProblem: A cell has a value for some of its runs and not for others.
    """
    margins, alpha = reference.card.margins, reference.card.alpha
    by_column = {"agreement": margins.agreement_pp, "kl_t1": margins.kl_t1_nats, "kl_t4": margins.kl_t4_nats}
    comparisons, in_reference = [], 0
    for column, unit in FIDELITY:
        known, rows = measured(reference.finals, column), measured(with_labels(found.rows, found.chosen), column)
        in_reference += len(set(labels_of(known)))
        cells = sorted(set(labels_of(rows)) & set(labels_of(known)))
        compared = compare(rows, known, cells, Response(column, unit)) if cells else None
        if compared is not None and (margin := by_column[column]) is not None:
            comparisons.append((compared, margin, column))
    parts = [
        _judge(compared, alpha.of_others(margin, share=len(comparisons)), column)
        for compared, margin, column in comparisons
    ]
    why_not = "no distilled cell has agreement or divergence in both tables"
    return _family("fidelity", parts, alpha.total, in_reference, gate, why_not=why_not)


def measured(finals: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows of the distilled cells that were measured.

    Raises:
        ReferenceProblem: A cell has a value for some of its runs and not for others: one that is left out could be
            the one that differs.
    """
    distilled = finals[finals["method"] != BASELINE].reset_index(drop=True)
    cells = pd.Series(labels_of(distilled), index=distilled.index, dtype="str")
    filled = distilled[column].notna()
    some, every = filled.groupby(cells).any(), filled.groupby(cells).all()
    if (some & ~every).any():
        cell = str((some & ~every).idxmax())
        raise ReferenceProblem(
            f"column {column} of cell {cell}: expected a value for every run or for none, found gaps; fill them in, or "
            "leave the column empty for this cell."
        )
    return distilled[filled].reset_index(drop=True)


def gains(found: Comparable, reference: Reference, gate: Sequence[FamilyName]) -> Family:
    """Gains of the chosen distilled cells over their students' baselines."""
    every = gain_contrasts(reference.finals)
    known = {name: on for name, on in every.items() if on.keys() <= set(labels_of(reference.finals))}
    kept = {name: on for name, on in known.items() if name in found.chosen and on.keys() <= set(found.cells)}
    why_not = "no cell judged has its student's baseline in both tables"
    return _contrasts("gains", "gain", kept, len(known), found, reference, gate, why_not)


def claims(
    runs: pd.DataFrame, found: Comparable, reference: Reference, gate: Sequence[FamilyName]
) -> tuple[Family, tuple[str, ...]]:
    """Contrasts that the claims rest on, where every cell of theirs is judged; what the claims come to, and notes."""
    known = claim_contrasts(reference.finals)
    kept = {name: on for name, on in known.items() if on.keys() <= set(found.cells)}
    why_not = "no claim's contrast has all of its cells among those judged"
    family = _contrasts("claims", "contrast", kept, len(known), found, reference, gate, why_not)
    if not kept:
        return family, ()
    told, notes = conclusions(runs, reference.runs, reference.card.margins.effects_pp)
    return words.with_conclusions(family, told), notes


def _contrasts(
    name: FamilyName,
    quantity: str,
    kept: Mapping[str, OnCells],
    in_reference: int,
    found: Comparable,
    reference: Reference,
    gate: Sequence[FamilyName],
    why_not: str,
) -> Family:
    card = reference.card
    compared = compare(found.rows, reference.finals, found.cells, ACCURACY) if kept else None
    if compared is None:
        return _family(name, [], card.alpha.total, in_reference, gate, why_not=why_not)
    rule = card.alpha.of_others(card.margins.effects_pp, card.between_study_sd_pp)
    return _family(name, [_judge(compared, rule, quantity, kept)], card.alpha.total, in_reference, gate)
