"""`harness power`: the planning question alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from statsmodels.stats.power import FTestPower
from typer.testing import CliRunner

from analysis.errors import TableError
from harness.cli import app
from harness.errors import StudyError

ROOT = Path(__file__).parents[2]
runner = CliRunner()


def asked(*arguments: str) -> dict[str, object]:
    """The answer as JSON."""
    result = runner.invoke(app, ["power", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.output)
    return found


def test_seeds_for_a_fifth_of_a_point_on_the_published_runs() -> None:
    """By the split-plot analysis: SE^2 = 6 s^2 / (2 n), df = 8 n - 4, s the within-seed sd; power from statsmodels.

    A moderation contrast of the pooled model has two KD cells of 2 n runs (two teachers each) and two baselines of n:
    variance s^2 (1/(2n) + 1/n) 2 = 3 s^2 / n.
    """
    found = asked("--effect", "0.2", "--power", "0.8")
    sigma2 = 0.016444333333333  # mean square within student:seed, pp squared: tests of the engine have it from R

    def power(seeds: int) -> float:
        f_squared = 0.2**2 / (3 * sigma2 / seeds) / (8 * seeds - 4 + 2)  # statsmodels multiplies by df + df_num + 1
        return float(
            FTestPower().solve_power(effect_size=f_squared**0.5, df_num=8 * seeds - 4, df_denom=1, alpha=0.05, ncc=1)
        )

    needed = found["needed"]
    assert isinstance(needed, list)
    seeds = {row["contrast"]: row["seeds"] for row in needed}
    assert set(seeds.values()) == {10}
    curve = {row["seeds"]: row["power"] for row in found["curve"]}  # type: ignore[attr-defined] # a list, by the schema
    for n in (5, 10, 20):
        assert curve[n] == pytest.approx(power(n), abs=1e-6)


def test_the_screen_answers_first() -> None:
    """Seeds, the band, and what as many seeds as now would find."""
    result = runner.invoke(app, ["power", "--effect", "0.2"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("To find a true effect of 0.2 pp, seeds a cell")
    assert "moderation:feature-none:resnet34-resnet18   0.80     10  7 to 17" in result.output
    assert "With 5 seeds a cell, as in these runs" in result.output


def test_own_runs_have_their_own_variances() -> None:
    """Another table, another answer; larger effects need fewer seeds."""
    own = ("--runs", str(ROOT / "examples" / "smallest.csv"), "--order", "small,big", "--power", "0.8")
    small, large = (asked(*own, "--effect", effect)["needed"] for effect in ("0.1", "0.5"))
    assert isinstance(small, list)
    assert isinstance(large, list)
    assert small[0]["contrast"] == "moderation:kd-none:big-small"
    assert small[0]["seeds"] > large[0]["seeds"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--effect", "0"], "--effect: expected"), (["--effect", "nan"], "--effect: expected"),
     (["--power", "1"], "--power: expected"), (["--margin", "0"], "--margin: expected")],
)  # fmt: skip
def test_impossible_plans(arguments: list[str], words: str) -> None:
    """One sentence that says what was expected."""
    result = runner.invoke(app, ["power", *arguments])
    assert isinstance(result.exception, StudyError)
    assert words in str(result.exception)


def test_own_metrics_are_planned_with() -> None:
    """An error rate, of which less is better; the same seeds as its mirror image."""
    errors = ("--runs", str(ROOT / "examples" / "error_rate.csv"), "--order", "small,big")
    needed = asked(*errors, "--metric", "top1_error", "--lower-is-better")["needed"]
    assert isinstance(needed, list)
    assert needed[0]["contrast"] == "moderation:feature-none:big-small"


def test_nothing_to_plan_for(tmp_path: Path) -> None:
    """A table of baselines alone has no gain: one sentence."""
    table = tmp_path / "mine.csv"
    table.write_text("student,method,seed,accuracy\na,none,0,0.9\na,none,1,0.91\nb,none,0,0.92\nb,none,1,0.93\n")
    result = runner.invoke(app, ["power", "--runs", str(table), "--order", "a,b"])
    assert isinstance(result.exception, TableError)
    assert "no gain to plan for" in str(result.exception)
