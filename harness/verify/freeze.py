"""Freezing: runs and a rule become a reference, and every change leaves an entry in its log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from analysis.replication.judge import Rule, replicate_margin
from analysis.replication.spread import spread
from analysis.runs.table import distinct_runs
from harness.collect import CHECKPOINT
from harness.errors import ReferenceProblem, StudyError
from harness.files import sha256_of_bytes, write_whole
from harness.study.load import load_strict
from harness.verify.cells import has_several_checkpoints, labels_of, layout_of
from harness.verify.families import ACCURACY, FIDELITY, Response, measured
from harness.verify.reference import (
    CARD,
    METRIC,
    RUNS,
    Alpha,
    Environment,
    LogEntry,
    Margins,
    ReferenceCard,
    Source,
    judgeable,
)

WIDEST = 100.0  # a margin from here on says nothing, in percentage points or in nats
STEPS = {"pp": 0.1, "nats": 0.001}  # margins are read by people
KEPT_STAGES = ("teachers", "final")


def default_margin(rows: pd.DataFrame, response: Response, rule: Rule, pass_probability: float) -> float | None:
    """Margin at which an exact replicate of these runs passes with the given probability.

    Returns:
        The margin; None where no two runs of a cell differ, or they scatter too far for any margin that says something.

    Raises:
        ReferenceProblem: No margin can do that.
    """
    if rows.empty:
        return None
    layout = layout_of(rows, sorted(set(labels_of(rows))))
    try:
        noise = spread(response.of(rows), layout)
    except ValueError:  # one run a cell
        return None
    if not (noise.ms_within > 0 or noise.ms_group > 0):
        return None
    try:
        margin = replicate_margin(layout, noise, rule, pass_probability, STEPS[response.unit])
    except ValueError as error:
        raise ReferenceProblem(f"--pass-probability: {error}; give a smaller one.") from None
    return margin if margin < WIDEST else None


def default_margins(
    runs: pd.DataFrame,
    rows: pd.DataFrame,
    alpha: Alpha,
    between_study_sd_pp: float,
    pass_probability: float,
    *,
    accuracies_pp: float | None,
    effects_pp: float,
) -> Margins:
    """Margins by the same rule for every family but gains and claims: of these, what matters is no matter of noise.

    Args:
        runs: Every row.
        rows: The final ones.
        alpha: Errors.
        between_study_sd_pp: Assumed sd of a cell's true mean from study to study.
        pass_probability: Chance that an exact replicate passes.
        accuracies_pp: Margin of accuracies, where it is set by hand.
        effects_pp: Smallest gain or interaction that matters.

    Raises:
        ReferenceProblem: No margin can do that.
    """
    teachers = distinct_runs(runs[runs["stage"] == "teachers"])
    rule = alpha.of_accuracies(0.0, between_study_sd_pp)
    if accuracies_pp is None:
        accuracies_pp = default_margin(rows, ACCURACY, rule, pass_probability)
    if accuracies_pp is None:  # `judgeable` refuses a table without spread
        raise ReferenceProblem("the runs scatter too far for any margin to say something; add seeds, or give --margin.")
    shared = len(FIDELITY)  # its responses share the chance to fail, so that the family passes as often as promised
    by_column = {
        column: default_margin(
            measured(rows, column),
            Response(column, unit),
            alpha.of_others(0.0, share=shared),
            1 - (1 - pass_probability) / shared,
        )
        for column, unit in FIDELITY
    }
    return Margins(
        accuracies_pp=accuracies_pp,
        teachers_pp=default_margin(teachers, ACCURACY, alpha.of_others(0.0), pass_probability),
        agreement_pp=by_column["agreement"],
        kl_t1_nats=by_column["kl_t1"],
        kl_t4_nats=by_column["kl_t4"],
        effects_pp=effects_pp,
    )


def freeze(
    runs: Path,
    folder: Path,
    *,
    title: str,
    source: Mapping[str, str],
    environment: Mapping[str, str],
    margin_pp: float | None,
    effects_margin_pp: float,
    pass_probability: float,
    between_study_sd_pp: float,
    between_study_note: str,
    who: str,
    when: dt.date,
    why: str | None,
    replace: bool,
) -> ReferenceCard:
    """Make a reference from the final runs and teachers of a runs table.

    Args:
        runs: Runs table, CSV.
        folder: The reference's folder; its name is the reference's.
        title: One line for people.
        source: Provenance, the fields of `Source`.
        environment: What the runs were made on, the fields of `Environment`.
        margin_pp: Margin of accuracies; None for the smallest that `pass_probability` allows.
        effects_margin_pp: Margin of gains and claims: the smallest effect that matters.
        pass_probability: Chance that an exact replicate passes, for the margins that are not given.
        between_study_sd_pp: Assumed sd of a cell's true mean from study to study.
        between_study_note: Why that much.
        who: Who freezes, for the log.
        when: Today, for the log.
        why: Reason, for the log; needed to replace.
        replace: Whether a reference stands there and is to be changed.

    Raises:
        ReferenceProblem: A reference stands there and `replace` is not asked, or runs or words cannot be one.
        analysis.errors.TableError: The runs table breaks its schema.
    """
    if not 0 <= between_study_sd_pp < 100:  # noqa: PLR2004 - percentage points of an accuracy
        raise ReferenceProblem(
            f"--between-study-sd: expected percentage points from 0 to below 100, found {between_study_sd_pp:g}."
        )
    log = _log_to_extend(folder, why, replace)
    table, rows = judgeable(runs)
    if has_several_checkpoints(rows) and not between_study_sd_pp:
        raise ReferenceProblem(
            f"{runs}: cells hold runs from several checkpoints of their teachers, and what the runs of one checkpoint "
            "share would be taken for nothing; say how far cell means vary between studies with --between-study-sd, or "
            "freeze the runs of one checkpoint."
        )
    content = _rows_kept(runs)
    alpha = Alpha()
    by_rule = f"an exact replicate of these runs passes with probability at least {pass_probability:g}"
    by_hand = "" if margin_pp is None else "; accuracies: set by hand when frozen"
    try:
        margins = default_margins(
            table,
            rows,
            alpha,
            between_study_sd_pp,
            pass_probability,
            accuracies_pp=margin_pp,
            effects_pp=effects_margin_pp,
        )
        card = ReferenceCard(
            name=folder.name,
            title=title,
            source=Source(**source),
            dataset=str(rows["dataset"].iloc[0]),
            metric=METRIC,
            unit="fraction",
            direction="higher",
            checkpoint=str(rows["checkpoint"].iloc[0]) or CHECKPOINT,
            margins=margins,
            margins_note=f"{by_rule}{by_hand}; effects: the smallest that matters, whatever the noise",
            alpha=alpha,
            between_study_sd_pp=between_study_sd_pp,
            between_study_note=between_study_note,
            environment=Environment(**environment),
            runs_sha256=sha256_of_bytes(content),
            log=log,
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ReferenceProblem(f"{field}: {first['msg']}, found {first['input']!r}; give another.") from None
    return seal(folder, card, content, who=who, when=when, why=why or "first frozen")


def seal(folder: Path, card: ReferenceCard, content: bytes, *, who: str, when: dt.date, why: str) -> ReferenceCard:
    """Add an entry to the log and write both files; `content` is what `card.runs_sha256` belongs to."""
    old = card.log[-1].new_sha256 if card.log else None
    entry = LogEntry(who=who, when=when, why=why, old_sha256=old, new_sha256=card.content_sha256)
    sealed = card.model_copy(update={"log": (*card.log, entry)})
    write_whole(folder / RUNS, content)
    write_whole(folder / CARD, yaml.safe_dump(sealed.model_dump(), sort_keys=False, allow_unicode=True, width=100))
    return sealed


def _log_to_extend(folder: Path, why: str | None, replace: bool) -> tuple[LogEntry, ...]:
    exists = (folder / CARD).exists()
    if exists and not replace:
        raise ReferenceProblem(
            f"{folder} is a frozen reference already; choose another --name, or change it with --replace --why TEXT."
        )
    if replace and not exists:
        raise ReferenceProblem(f"--replace: there is no reference in {folder}; leave --replace out to make one.")
    if replace and not why:
        raise ReferenceProblem("--replace: say why the reference changes with --why TEXT; it goes into its log.")
    try:
        return load_strict(folder / CARD, ReferenceCard).log if exists else ()
    except StudyError as error:
        raise ReferenceProblem(str(error)) from None


def _rows_kept(runs: Path) -> bytes:
    """The rows that a reference needs, their text as it was written."""
    text = pd.read_csv(runs, dtype=str, keep_default_na=False)
    text.columns = text.columns.str.strip()
    # a table without stages holds final runs alone
    kept = text[text["stage"].str.strip().isin(KEPT_STAGES)] if "stage" in text else text
    return str(kept.to_csv(index=False, lineterminator="\n")).encode()
