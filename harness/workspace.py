"""Where a profile's files are: the fixed paths of a study, relative to the folder that holds params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = Path("data")
CORRECT, CURVES, COVERAGE = "correct.npz", "curves.csv", "coverage.csv"  # beside a runs table, wherever it lies


@dataclass(frozen=True)
class Workspace:
    """Paths of one profile.

    Args:
        profile: Its name.
    """

    profile: str

    @property
    def runs(self) -> Path:
        """Run folders."""
        return Path("runs") / self.profile

    @property
    def results(self) -> Path:
        """All that is made from the runs."""
        return Path("results") / self.profile

    @property
    def selected(self) -> Path:
        """The selection's candidates and winners."""
        return self.results / "selected.json"

    @property
    def runs_table(self) -> Path:
        """The runs table."""
        return self.results / "runs.csv"

    @property
    def correct(self) -> Path:
        """Which test images each run got right."""
        return self.results / CORRECT

    @property
    def curves(self) -> Path:
        """Every run's history, for the report."""
        return self.results / CURVES

    @property
    def coverage(self) -> Path:
        """What became of every entry of the plan, for the report."""
        return self.results / COVERAGE

    @property
    def convergence(self) -> Path:
        """Mean validation accuracy an epoch, for `dvc plots show`."""
        return self.results / "convergence.csv"

    @property
    def metrics(self) -> Path:
        """Mean accuracies, for `dvc metrics show`."""
        return self.results / "metrics.json"

    @property
    def environment(self) -> Path:
        """Versions, devices and digests that the runs were made with."""
        return self.results / "environment.json"

    @property
    def analysis(self) -> Path:
        """Folder of the analysis."""
        return self.results / "analysis"

    @property
    def report(self) -> Path:
        """The report."""
        return self.results / "report.html"

    @property
    def verdict(self) -> Path:
        """The verdict of `harness verify`."""
        return self.results / "verdict.json"
