"""`harness report`: from files to a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analysis.analyze import analyze
from harness.analysis_files import write_analysis
from harness.cli.report import PUBLISHED, report
from harness.errors import KdcapError
from harness.files import sha256_of_file, write_json
from harness.tables import read_runs
from harness.verify.reference import RUNS, find_reference

ROOT = Path(__file__).parents[2]
app = typer.Typer(rich_markup_mode=None)
app.command()(report)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose quick profile holds the published runs' first four seeds, as if they were its own."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    (folder / "params.yaml").write_text("profile: quick\n", encoding="utf-8")
    results = folder / "results" / "quick"
    results.mkdir(parents=True)
    head, *rows = (find_reference(PUBLISHED) / RUNS).read_text(encoding="utf-8").splitlines()
    seed = head.split(",").index("seed")
    kept = [f"{row},quick" for row in rows if row.split(",")[seed] != "4"]
    (results / "runs.csv").write_text("\n".join([f"{head},profile", *kept, ""]), encoding="utf-8")
    write_analysis(results / "analysis", analyze(read_runs(results / "runs.csv")))
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
    assert "Published runs (pp)" in page
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


def test_the_published_runs_are_not_compared_with_themselves(tmp_path: Path) -> None:
    """The published table is shown alone, without banner, wherever it lies, and needs no profile."""
    mine = tmp_path / "mine.csv"
    shutil.copy(find_reference(PUBLISHED) / RUNS, mine)
    write_analysis(tmp_path / "analysis", analyze(read_runs(mine)))
    run("--runs", str(mine), "--out", str(tmp_path / "mine.html"), "--title", "Published <runs>")
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert "Published runs (pp)" not in page
    assert "not evidence" not in page
    assert "<h1>Published &lt;runs&gt;</h1>" in page
    assert page.count('class="run"') == 50
    assert (tmp_path / "mine.md").is_file()
    assert (tmp_path / "mine.json").is_file()


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
