"""`harness report`: from files to a page."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analysis.results import Analysis
from analysis.runs.metric import ACCURACY, Metric
from harness.analysing import analyse_files
from harness.analysis_files import write_analysis
from harness.cli.report import report
from harness.errors import KdcapError
from harness.files import sha256_of_file, write_json
from harness.verify.reference import PUBLISHED, RUNS, V1_TABLE, find_reference

ROOT = Path(__file__).parents[2]
app = typer.Typer(rich_markup_mode=None)
app.command()(report)


@pytest.fixture(scope="module")
def published() -> Iterator[Analysis]:
    """The published runs' analysis, which takes seconds, made once; every command of this module gets it from here."""
    cached = functools.cache(analyse_files)

    def remembered(runs: Path, **options: object) -> Analysis:
        return cached(runs.resolve(), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.analysing.analyse_files", remembered)
        yield remembered(find_reference(PUBLISHED) / RUNS, metric=ACCURACY, history=V1_TABLE)


@pytest.fixture(scope="module")
def workspace(published: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose quick profile holds the published runs' first four seeds, as if they were its own.

    Its analysis is that of all five seeds: what is tested here is the way from files to a page.
    """
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    (folder / "params.yaml").write_text("profile: quick\n", encoding="utf-8")
    results = folder / "results" / "quick"
    results.mkdir(parents=True)
    head, *rows = (find_reference(PUBLISHED) / RUNS).read_text(encoding="utf-8").splitlines()
    seed = head.split(",").index("seed")
    kept = [f"{row},quick" for row in rows if row.split(",")[seed] != "4"]
    (results / "runs.csv").write_text("\n".join([f"{head},profile", *kept, ""]), encoding="utf-8")
    write_analysis(results / "analysis", published)
    return folder


@pytest.fixture
def study(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of the quick profile in a workspace of the test's own, which is the current folder."""
    mine = shutil.copytree(workspace, tmp_path / "mine")
    monkeypatch.chdir(mine)
    return mine / "results" / "quick"


def run(*arguments: str) -> str:
    """Run the command, which must succeed, and return what it prints."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_current_profile_is_reported_without_an_option(study: Path) -> None:
    """HTML, markdown and JSON appear beside the analysis, with banner, digest and the published runs."""
    assert "report.html" in run()
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "not evidence about CIFAR-10" in page
    assert sha256_of_file(study / "runs.csv") in page
    assert '<th scope="col" class="number">Published runs</th>' in page
    assert '<th scope="col" class="number">Published (pp)</th>' in page
    assert "kd-capacity-gap" in page
    assert (study / "report.md").read_text(encoding="utf-8").startswith("# ")
    assert json.loads((study / "report.json").read_text(encoding="utf-8"))["profile"] == "quick"


def test_the_same_results_give_the_same_bytes(study: Path) -> None:
    """Reporting twice changes no byte of any file."""
    files = [study / f"report.{ending}" for ending in ("html", "md", "json")]
    run()
    first = [file.read_bytes() for file in files]
    run()
    assert [file.read_bytes() for file in files] == first


def test_the_published_runs_are_not_compared_with_themselves(published: Analysis, tmp_path: Path) -> None:
    """The published table is shown alone, without banner, wherever it lies, and needs no profile."""
    mine = tmp_path / "mine.csv"
    shutil.copy(find_reference(PUBLISHED) / RUNS, mine)
    write_analysis(tmp_path / "analysis", published)
    run("--runs", str(mine), "--out", str(tmp_path / "mine.html"), "--title", "Published <runs>")
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert "Published runs</th>" not in page
    assert "not evidence" not in page
    assert len(page.encode()) < 500_000
    assert "<h1>Published &lt;runs&gt;</h1>" in page
    assert page.count('class="run"') == 50
    assert (tmp_path / "mine.md").is_file()
    assert (tmp_path / "mine.json").is_file()


def test_a_metric_of_ones_own_is_reported_alone(tmp_path: Path) -> None:
    """An error rate, which the published runs do not have, is read by the analysis' own metric and direction."""
    mine = tmp_path / "mine.csv"
    shutil.copy(ROOT / "examples" / "error_rate.csv", mine)
    found = analyse_files(mine, metric=Metric("top1_error", higher_is_better=False), order=("small", "big"))
    write_analysis(tmp_path / "analysis", found)
    run("--runs", str(mine))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Published runs</th>" not in page
    assert "1 - top1_error (%)" in page
    assert '<th scope="col" class="number">top1_error (%)</th>' in page
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["metric"] == "top1_error"


def test_runs_with_no_cell_in_common_are_reported_alone(tmp_path: Path, published: Analysis) -> None:
    """Students of other names are other estimands: no column of the published runs stands beside them."""
    names = {"resnet18": "tiny", "resnet34": "wide", "resnet50": "deep", "resnet101": "huge"}
    mine = tmp_path / "mine.csv"
    text = (find_reference(PUBLISHED) / RUNS).read_text(encoding="utf-8")
    mine.write_text(re.sub("|".join(names), lambda found: names[found[0]], text), encoding="utf-8")
    cells = [replace(c, teacher=names.get(c.teacher, ""), student=names[c.student]) for c in published.cells]
    write_analysis(tmp_path / "analysis", replace(published, cells=tuple(cells)))
    run("--runs", str(mine))
    assert "Published runs</th>" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_only_a_verdict_on_this_very_table_is_shown(study: Path) -> None:
    """A verdict is told if its digest is that of the runs table; one on older runs is left out."""
    verdict = {"verdict": "FAIL", "sentence": "One cell differs.", "runs_sha256": sha256_of_file(study / "runs.csv")}
    write_json(study / "verdict.json", verdict)
    run()
    assert "Verification: FAIL." in (study / "report.html").read_text(encoding="utf-8")
    write_json(study / "verdict.json", verdict | {"runs_sha256": "0" * 64})
    run()
    assert "Verification" not in (study / "report.html").read_text(encoding="utf-8")


def test_the_environment_is_shown_as_collected(study: Path) -> None:
    """What `harness collect` noted of the machine stands in the page, escaped."""
    write_json(study / "environment.json", {"torch": "2.13.0+cpu", "Device": "<cpu>"})
    run()
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "<dt>torch</dt><dd>2.13.0+cpu</dd>" in page
    assert "&lt;cpu&gt;" in page


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"torch": 2}', "expected text for torch"),
        ("[1]", "expected a JSON object"),
        ("{", "no JSON file"),
    ],
)
def test_a_damaged_environment_is_named(study: Path, content: str, words: str) -> None:
    """A file that is not a flat object of text is refused with its name and what to do; nothing is written."""
    (study / "environment.json").write_text(content, encoding="utf-8")
    with pytest.raises(KdcapError, match=words) as caught:
        run()
    assert "environment.json" in str(caught.value)
    assert not (study / "report.html").exists()


def test_missing_inputs_say_which_command_makes_them(study: Path) -> None:
    """Without runs or analysis the sentence names the file and the verb."""
    (study / "analysis" / "analysis.json").unlink()
    with pytest.raises(KdcapError, match="harness analyze"):
        run()
    (study / "runs.csv").unlink()
    with pytest.raises(KdcapError, match="harness collect"):
        run()


def test_a_page_must_be_called_html(study: Path) -> None:
    """--out with another ending would clash with the files beside it."""
    with pytest.raises(KdcapError, match=r"ending in \.html"):
        run("--out", str(study / "report.json"))
