"""`harness reanalyze`: the published runs through the whole analysis, without torch."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "analysis.json", "contrasts.csv", "emmeans.csv", "variance_components.csv", "omnibus.csv", "claims.csv",
    "multiverse.csv", "power.csv", "diagnostics.csv", "models.csv",
}  # fmt: skip
COLUMNS = (
    "model,metric,subset,contrast,estimate_pp,se_pp,df,df_method,ci_low_pp,ci_high_pp,ci90_low_pp,ci90_high_pp,t,p,"
    "p_holm,p_equivalence,family,n,singular"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a run in an empty folder, on a machine without torch, wrote to, and what it printed."""
    folder = tmp_path_factory.mktemp("reanalyze")
    blocked = folder / "blocked"
    for name in ("torch", "torchvision"):  # importing either would fail
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    program = "import sys; from harness.cli import main; sys.argv = ['harness', 'reanalyze', '--out', 'out']; main()"
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done.stdout


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of a CSV file, as text."""
    return list(csv.DictReader((folder / name).read_text(encoding="utf-8").splitlines()))


def test_every_file_is_written(written: tuple[Path, str]) -> None:
    """The tables that other programs look for, and the same rows in analysis.json."""
    folder, _ = written
    assert {path.name for path in folder.iterdir()} >= FILES
    whole = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
    assert whole["schema"] == "kdcap.analysis/3"
    for name in FILES - {"analysis.json"}:
        table = rows(folder, name)
        assert len(table) == len(whole[name.removesuffix(".csv")]) > 0, name
        assert list(table[0]) == list(whole[name.removesuffix(".csv")][0])


def test_contrasts_have_the_promised_columns(written: tuple[Path, str]) -> None:
    """Columns in order; the primary model's rows by their promised names; values from plain means of the table."""
    folder, _ = written
    assert (folder / "contrasts.csv").read_text(encoding="utf-8").splitlines()[0] == COLUMNS
    primary = [r for r in rows(folder, "contrasts.csv") if (r["model"], r["subset"]) == ("primary", "all")]
    assert {(r["metric"], r["df_method"], r["singular"]) for r in primary} == {
        ("test_acc_best", "kenward-roger", "false")
    }
    final = [r for r in rows(ROOT / "reference" / "yasar2026-v2", "runs.csv") if r["stage"] == "final"]

    def mean(student: str, method: str) -> float:
        values = [float(r["test_acc_best"]) for r in final if (r["student"], r["method"]) == (student, method)]
        return 100 * sum(values) / len(values)

    by_name = {r["contrast"]: r for r in primary}
    for method in ("feature", "logit"):
        gains = {s: mean(s, method) - mean(s, "none") for s in ("resnet18", "resnet34")}
        found = by_name[f"moderation:{method}-none:resnet34-resnet18"]
        assert float(found["estimate_pp"]) == pytest.approx(gains["resnet34"] - gains["resnet18"], abs=1e-9)
        assert float(found["df"]) == pytest.approx(36)


def test_one_screen(written: tuple[Path, str]) -> None:
    """The answer first, a line a claim, nothing wider than 100 columns, and no more than a tall terminal shows."""
    _, printed = written
    lines = printed.splitlines()
    assert lines[0] == "Cannot tell whether larger students gain more from distillation."
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 60
    assert sum(line.startswith("gain:resnet34:feature ") for line in lines) == 1


def test_at_least_a_hundred_specifications(written: tuple[Path, str]) -> None:
    """Of each method's moderation, no two alike."""
    keys = ("method", "metric", "scale", "seeds", "teachers", "hyperparameters", "model", "df_method")
    found = [tuple(row[key] for key in keys) for row in rows(written[0], "multiverse.csv")]
    assert len(set(found)) == len(found)
    for method in ("feature", "logit"):
        assert sum(key[0] == method for key in found) >= 100
