"""The bench says what it could not measure, needs no torch for statistics, and loses the runs that it names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from bench import characteristics, engines
from bench.__main__ import main


def test_without_r_the_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """R is optional: its rows keep our time and a word on the other, and no ratio."""
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    primary = replace(engines.DESIGNS["primary"], draws=20)
    rows = engines._compare(primary, 1, {}, engines._r(1).told)
    by_r = [row for row in rows if not row.engine.startswith("statsmodels")]
    assert len(by_r) == 5
    assert all(row.note == "R not found: skipped" and row.ratio is None and row.ours_ms > 0 for row in by_r)


def test_a_failed_r_script_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without lme4 the script ends in an error, whose last line is passed on."""
    monkeypatch.setattr(engines.shutil, "which", lambda _: "/bin/false")
    failed = subprocess.CompletedProcess(
        [], 1, stdout="", stderr="Error in library(lme4) :\n  no package called 'lme4'\n"
    )
    monkeypatch.setattr(engines.subprocess, "run", lambda *_, **__: failed)
    assert engines._r(1).told == "R cannot run tests/r/speed.R: skipped (  no package called 'lme4')"


# statsmodels takes a variance below 0.01 for one on the boundary, whatever the unit
@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
def test_times_are_of_the_same_fit() -> None:
    """What statsmodels is timed at ends at our minimum, or the row says how far above it stopped."""
    design = engines.DESIGNS["primary"]
    table = engines._table(design)
    best = engines.fit(engines.build(design.formula, table))
    found = engines._statsmodels(design, table, best)["formula and fit"]["its default"]()
    assert -2 * found.llf == pytest.approx(best.minus_2_log_likelihood, abs=engines.SHORT)


def test_a_second_place_is_noted() -> None:
    """An engine that stops above the minimum is not compared in silence."""

    class Elsewhere:
        llf = 0.0

    design = engines.DESIGNS["primary"]
    best = engines.fit(engines.build(design.formula, engines._table(design)))
    row = engines._turns(design, "fit", lambda: None, {"other": Elsewhere}, best, 1)[0]
    assert row.note == "stopped 4e+01 above the minimum"


def test_statistics_are_measured_without_torch() -> None:
    """An extra is not needed where it is not used: only the training bench imports torch."""
    code = "import sys, bench.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_bench_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names what there is."""
    monkeypatch.setattr(sys, "argv", ["bench", "speed"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "invalid choice: 'speed' (choose from 'training', 'statistics'" in capsys.readouterr().err


def test_the_lost_runs_are_those_of_the_fixtures() -> None:
    """The unbalanced layout is the one that R's fixtures know."""
    left = characteristics._frame(characteristics.LOST)
    fixture = pd.read_csv(engines.DATA / "published_unbalanced.csv")
    assert sorted(zip(left["cell"], left["seed"], strict=True)) == sorted(
        zip(fixture["cell"], fixture["seed"], strict=True)
    )
