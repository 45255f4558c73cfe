"""Was the test set opened as the protocol has it: twice a run, after training?"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.runs.table import cell_label, distinct_runs

PROTOCOL = 2  # the best-validation checkpoint's and the last one's test (paper, section 4)


@dataclass(frozen=True)
class Openings:
    """How often the runs of a table opened the test set.

    Attributes:
        runs: Runs, each once.
        recorded: Runs that say how often.
        wrong: Of these, runs with another count than `PROTOCOL`.
        sentence: The first of them in words, as a clause; empty where there is none.
    """

    runs: int
    recorded: int
    wrong: int
    sentence: str

    @property
    def note(self) -> str:
        """What is not known, as a sentence; empty where every run says how often."""
        missing = self.runs - self.recorded
        if missing == 0:
            return ""
        whose = "" if self.recorded == 0 else f" for {missing} of {self.runs} runs"
        return f"Test set openings not recorded{whose}: nothing shows that it stayed shut until training was over."


def openings_of(runs: pd.DataFrame) -> Openings:
    """Count over a whole checked table, every stage."""
    # a run that stands in several stages may be recorded in one of them alone, so each count is of its own rows
    recorded = runs[runs["test_openings"].notna()]
    wrong = distinct_runs(recorded[recorded["test_openings"] != PROTOCOL])
    return Openings(len(distinct_runs(runs)), len(distinct_runs(recorded)), len(wrong), _sentence(wrong))


def _sentence(wrong: pd.DataFrame) -> str:
    if wrong.empty:
        return ""
    run = wrong.iloc[0]
    name = run["run_id"] or f"{run['stage']} {cell_label(run['teacher'], run['student'], run['method'])}"
    seed = "" if run["run_id"] else f", seed {run['seed']}"
    count = int(run["test_openings"])
    times = "once" if count == 1 else f"{count} times"
    others = len(wrong) - 1
    more = f", and {others} more {'runs' if others > 1 else 'run'} did not open it twice" if others else ""
    return f"run {name}{seed} opened the test set {times} where the protocol has {PROTOCOL}{more}"
