"""Judging a runs table against a reference: what may be compared, the families, the verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.replication.spread import spread
from analysis.runs.table import finals
from harness.errors import ReferenceProblem
from harness.verify import families, words
from harness.verify.bitwise import Bitwise
from harness.verify.cells import (
    CHOSEN,
    has_several_checkpoints,
    labels_of,
    layout_of,
    with_labels,
)
from harness.verify.comparable import Allowed, Comparable, comparable
from harness.verify.openings import Openings, openings_of
from harness.verify.records import RecordsCheck
from harness.verify.reference import Reference
from harness.verify.verdict import (
    EXIT_CODES,
    SCHEMA,
    Family,
    FamilyName,
    Integrity,
    Named,
    Outcome,
    Override,
    Verdict,
)


@dataclass(frozen=True)
class Asked:
    """How a verdict is asked for.

    Attributes:
        cells: Names of the cells to judge, with `*` and `?`; empty for all.
        gate: Families that decide the verdict.
        margin_pp: Margin of accuracies in place of the reference's; None for the reference's.
        allowed: Fields whose difference is no refusal.
    """

    cells: Sequence[str] = ()
    gate: Sequence[FamilyName] = ("accuracies",)
    margin_pp: float | None = None
    allowed: Collection[Allowed] = ()


def judge_runs(
    runs: pd.DataFrame,
    reference: Reference,
    runs_sha256: str,
    asked: Asked,
    records: RecordsCheck,
) -> Verdict:
    """Judge a checked table.

    Args:
        runs: From `analysis.runs.table.check_runs`.
        reference: From `harness.verify.reference.read_reference`.
        runs_sha256: Digest of the file that `runs` came from.
        asked: How the verdict is asked for.
        records: From `harness.verify.records.check_records`.

    Raises:
        ReferenceProblem: The table must not be compared with this reference; names the field and what to do.
        analysis.errors.TableError: No final rows, or a cell under two settings.
    """
    card = reference.card
    edited = _edited(records, asked.allowed)
    found = comparable(runs, reference, asked.cells, asked.allowed)
    margin_pp = card.margins.accuracies_pp if asked.margin_pp is None else asked.margin_pp
    rule = replace(card.rule, margin=margin_pp)
    overrides = [*edited, *found.overrides]
    if asked.margin_pp is not None and margin_pp != card.margins.accuracies_pp:
        sentence = (
            f"Accuracies agree within {margin_pp:g} pp; the reference's margin is {card.margins.accuracies_pp:g}."
        )
        overrides.append(Override(f"--margin {margin_pp:g}", sentence))
    gate = tuple(dict.fromkeys(asked.gate))
    claims, of_claims = families.claims(runs, found, reference, gate)
    judged = (
        families.accuracies(found, reference, rule, gate),
        families.teachers(found, reference, gate),
        families.fidelity(found, reference, gate),
        families.gains(found, reference, gate),
        claims,
    )
    integrity = _integrity(runs, records)
    outcome = _outcome(judged, integrity)
    verdict = Verdict(
        schema=SCHEMA,
        verdict=outcome,
        sentence="",
        exit_code=EXIT_CODES[outcome],
        gate=gate,
        runs_sha256=runs_sha256,
        reference=Named(card.name, card.title, card.content_sha256),
        overrides=tuple(overrides),
        integrity=integrity,
        families=judged,
        bitwise=None,
        model=_model(reference),
        notes=(*_notes(runs, reference, found, judged, margin_pp), *of_claims),
    )
    return replace(verdict, sentence=words.verdict_sentence(verdict))


def not_judged(profile: str, runs: pd.DataFrame, runs_sha256: str, records: RecordsCheck) -> Verdict:
    """The verdict on a profile that names no reference: none, unless the runs themselves are not what they should be.

    Args:
        profile: Its name.
        runs: Its runs table.
        runs_sha256: Digest of the file.
        records: From `harness.verify.records.check_records`.

    Raises:
        ReferenceProblem: The table is not what its run folders say.
    """
    _edited(records, ())
    integrity = _integrity(runs, records)
    note = (
        f"Profile {profile} names no reference to judge by; make one with `harness reference freeze`, or name one with "
        "--reference."
    )
    outcome: Outcome = "FAIL" if "FAIL" in {one.verdict for one in integrity} else "NOT JUDGED"
    verdict = Verdict(
        schema=SCHEMA, verdict=outcome, sentence="", exit_code=EXIT_CODES[outcome], gate=(), runs_sha256=runs_sha256,
        reference=None, overrides=(), integrity=integrity, families=(), bitwise=None, model={}, notes=(note,),
    )  # fmt: skip
    return replace(verdict, sentence=words.verdict_sentence(verdict))


def with_bitwise(verdict: Verdict, bitwise: Bitwise) -> Verdict:
    """The verdict with the bitwise level beside the statistical one.

    Digests that differ are a FAIL. Where digests could not be compared the statistical verdict stands; where there is
    none, the bitwise level alone decides.
    """
    outcome = verdict.verdict
    if bitwise.verdict == "FAIL" or (outcome == "NOT JUDGED" and bitwise.verdict == "PASS"):
        outcome = bitwise.verdict
    both = replace(verdict, verdict=outcome, exit_code=EXIT_CODES[outcome], bitwise=bitwise)
    return replace(both, sentence=words.verdict_sentence(both))


def _edited(records: RecordsCheck, allowed: Collection[Allowed]) -> list[Override]:
    if not records.problems:
        return []
    more = len(records.problems) - 1
    others = f" (and {more} more)" if more else ""
    problem = f"the runs table is not what its run folders say: {records.problems[0]}{others}"
    if "records" not in allowed:
        raise ReferenceProblem(
            f"{problem}; collect anew with `harness collect`, or restore the folders; if you know why they differ, "
            "say --allow records."
        )
    return [Override("--allow records", f"{problem[0].upper()}{problem[1:]}.")]


def _outcome(judged: Sequence[Family], integrity: Sequence[Integrity]) -> Outcome:
    gated = [family.verdict for family in judged if family.gated]
    if "FAIL" in (*gated, *(one.verdict for one in integrity)):
        return "FAIL"
    return "PASS" if set(gated) == {"PASS"} else "INCONCLUSIVE"


def _integrity(runs: pd.DataFrame, records: RecordsCheck) -> tuple[Integrity, ...]:
    return _openings(openings_of(runs)), _records(records)


def _openings(openings: Openings) -> Integrity:
    if openings.wrong:
        return Integrity("test openings", "FAIL", f"{openings.sentence}.")
    if openings.recorded == 0:
        return Integrity("test openings", "NOT CHECKED", openings.note)
    told = openings.note or "every run opened the test set twice, after training"
    return Integrity("test openings", "PASS", told)


def _records(records: RecordsCheck) -> Integrity:
    if records.problems:  # allowed, or there would be no verdict
        return Integrity("records", "NOT CHECKED", "the table is not what its run folders say, which was allowed")
    if records.checked < records.rows:  # a row that names no folder could be any row
        return Integrity("records", "NOT CHECKED", records.note)
    told = records.note or f"all {records.rows} rows are what their run folders say, digest by digest"
    return Integrity("records", "PASS", told)


def _model(reference: Reference) -> dict[str, float]:
    known = reference.finals
    noise = spread(families.ACCURACY.of(known), layout_of(known, sorted(set(labels_of(known)))))
    return {
        "seed_sd_pp": float(np.sqrt(noise.tau2)),
        "residual_sd_pp": float(np.sqrt(noise.sigma2)),
        "icc": float(noise.icc),
        "df_group": noise.df_group,
        "df_within": noise.df_within,
        "between_study_sd_pp": reference.card.between_study_sd_pp,
    }


def _notes(
    runs: pd.DataFrame, reference: Reference, found: Comparable, judged: Sequence[Family], margin_pp: float
) -> list[str]:
    """What differs without forbidding the comparison, and what a verdict does not say."""
    notes = []
    accuracies = judged[0]
    rows = finals(runs)
    everywhere, here = set(labels_of(reference.finals)), set(labels_of(rows))
    if missing := sorted(everywhere - here):
        notes.append(f"Not in this table, so not judged: {', '.join(missing)}.")
    if extra := sorted(here - everywhere):
        notes.append(f"Not in the reference, so not judged: {', '.join(extra)}.")
    if left := sorted((here & everywhere) - set(found.chosen)):
        notes.append(f"Left out by --cells: {', '.join(left)}.")
    absent: dict[str, list[str]] = {}
    new = {str(label): group for label, group in found.rows.groupby(labels_of(found.rows))}
    known = {str(label): group for label, group in reference.finals.groupby(labels_of(reference.finals))}
    for cell in found.chosen:
        notes += [
            f"{cell} ran with {field} {words.value(new[cell][field].iloc[0])}, the reference with "
            f"{words.value(known[cell][field].iloc[0])}; judged all the same."
            for field in CHOSEN
            if words.value(new[cell][field].iloc[0]) != words.value(known[cell][field].iloc[0])
        ]
        seeds = ", ".join(map(str, sorted(set(known[cell]["seed"]) - set(new[cell]["seed"]))))
        absent.setdefault(seeds, []).append(cell)
    for seeds, of_cells in absent.items():
        if seeds:
            whose = "any cell" if len(of_cells) == len(found.chosen) else ", ".join(of_cells)
            notes.append(f"Seeds of the reference not run for {whose}: {seeds}.")
    if not rows["checkpoint"].iloc[0]:
        notes.append(
            f"The table does not say by which rule its checkpoints were chosen; {reference.card.metric} is taken to be "
            f"at the {reference.card.checkpoint} one."
        )
    if has_several_checkpoints(found.rows) or has_several_checkpoints(reference.finals):
        notes.append(
            "Cells pool runs from several checkpoints of their teachers, taken for independent: what the runs of one "
            f"checkpoint share is covered by the between-study sd of {reference.card.between_study_sd_pp:g} pp alone."
        )
    elif accuracies.spread_ratio is None:
        notes.append("Too few runs share a student and seed to compare the spread; means alone were judged.")
    if unmeasured := _unmeasured(found, reference, judged):
        notes.append(
            f"Without agreement or divergence in this table, so not judged in fidelity: {', '.join(unmeasured)}."
        )
    notes.append(
        f"Accuracies are judged to within {margin_pp:g} pp, gains and claims to within "
        f"{reference.card.margins.effects_pp:g} pp; a PASS says nothing about smaller differences."
    )
    return notes


def _unmeasured(found: Comparable, reference: Reference, judged: Sequence[Family]) -> list[str]:
    """Cells that the reference's fidelity has and this table's has not."""
    fidelity = next(family for family in judged if family.family == "fidelity")
    have = {(member.quantity, member.name) for member in fidelity.members}
    known = {
        (column, cell)
        for column, _ in families.FIDELITY
        for cell in labels_of(families.measured(with_labels(reference.finals, found.chosen), column))
    }
    return sorted({cell for column, cell in known - have}) if have else []
