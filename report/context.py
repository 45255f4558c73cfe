"""What a report knows besides the numbers: where they come from and what they may be taken for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.results import Claim, Contrast


@dataclass(frozen=True)
class Verification:
    """The outcome of comparing the runs with a reference.

    Attributes:
        verdict: One word, e.g. `pass`, `fail`, `inconclusive`.
        sentence: What was compared and what came out.
    """

    verdict: str
    sentence: str


@dataclass(frozen=True)
class Published:
    """What the published runs say, analysed as ours are.

    Attributes:
        source: Where they come from.
        margin_pp: Margin that they were judged by.
        contrasts: Their contrasts.
        claims: Their judged claims.
    """

    source: str
    margin_pp: float
    contrasts: tuple[Contrast, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class ReportContext:
    """Everything on the page that is neither a run nor an estimate.

    Attributes:
        title: Heading of the document.
        profile: Name of the study's profile; empty for a foreign runs table.
        dataset: Name of the dataset as the runs table gives it.
        banner: Sentence that says what these numbers are not; empty when they are what they seem.
        environment: Versions, device, threads and digests, as label and value.
        verification: Outcome of `harness verify` on these very runs, None if there is none.
        published: What the published runs say, shown beside ours where estimands are the same, or None.
        curves: Every run's history, a row a run and epoch: `run_id`, `stages` (all that the run stands in, with
            spaces between), `teacher`, `teacher_seed`, `student`, `method`, `seed`, `epoch`, `lr`, `train_loss`,
            `val_acc` (a fraction); None where runs came without.
        coverage: What became of every entry of the plan: `stage`, `teacher`, `teacher_seed`, `student`, `method`,
            `seed`, `setting`, `run_id`, `state` (done, failed, stale, missing), `reason`, and `run`, the number of the
            entry's row in the runs table, counted from 1; None where the plan is not known.
        not_shown: Sentence on runs of the table that are not on the page; empty where all are.
    """

    title: str
    profile: str
    dataset: str
    banner: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    verification: Verification | None = None
    published: Published | None = None
    curves: pd.DataFrame | None = None
    coverage: pd.DataFrame | None = None
    not_shown: str = ""
