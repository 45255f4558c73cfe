"""Freezing: runs and a rule become a reference, and every change leaves an entry in its log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from analysis.replication.judge import replicate_margin_pp
from analysis.replication.spread import spread
from harness.errors import ReferenceProblem, StudyError
from harness.files import sha256_of_bytes, write_whole
from harness.study.load import load_strict
from harness.verify.cells import accuracies_pct, labels_of, layout_of
from harness.verify.reference import (
    CARD,
    METRIC,
    RUNS,
    Alpha,
    Environment,
    LogEntry,
    ReferenceCard,
    Source,
    judgeable,
)

KEPT_STAGES = ("teachers", "final")


def default_margin_pp(rows: pd.DataFrame, alpha: Alpha, between_study_sd_pp: float, pass_probability: float) -> float:
    """Margin at which an exact replicate of these final runs passes with the given probability.

    Raises:
        ReferenceProblem: No margin can do that.
    """
    layout = layout_of(rows, sorted(set(labels_of(rows))))
    noise = spread(accuracies_pct(rows, METRIC), layout)
    try:
        return replicate_margin_pp(layout, noise, alpha.rule(0.0, between_study_sd_pp), pass_probability)
    except ValueError as error:
        raise ReferenceProblem(f"--pass-probability: {error}; give a smaller one.") from None


def freeze(
    runs: Path,
    folder: Path,
    *,
    title: str,
    source: Mapping[str, str],
    environment: Mapping[str, str],
    margin_pp: float | None,
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
        margin_pp: Margin; None for the smallest that `pass_probability` allows.
        pass_probability: Chance that an exact replicate passes, used where `margin_pp` is None.
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
    log = _log_to_extend(folder, why, replace)
    rows = judgeable(runs)
    content = _rows_kept(runs)
    alpha = Alpha()
    margin_note = "set by hand when frozen"
    if margin_pp is None:
        margin_pp = default_margin_pp(rows, alpha, between_study_sd_pp, pass_probability)
        margin_note = f"an exact replicate of these runs passes with probability at least {pass_probability:g}"
    try:
        card = ReferenceCard(
            name=folder.name,
            title=title,
            source=Source(**source),
            dataset=str(rows["dataset"].iloc[0]),
            metric=METRIC,
            unit="fraction",
            direction="higher",
            checkpoint="best-validation",
            margin_pp=margin_pp,
            margin_note=margin_note,
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
    kept = text[text["stage"].str.strip().isin(KEPT_STAGES)]
    return str(kept.to_csv(index=False, lineterminator="\n")).encode()
