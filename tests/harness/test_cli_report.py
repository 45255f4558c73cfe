"""`harness report`: from files to a page."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analysis.results import Analysis
from analysis.runs.metric import Metric
from harness.analysing import analyse_files
from harness.analysis_files import write_analysis
from harness.cli.report import report
from harness.errors import KdcapError
from harness.files import sha256_of_file, write_json
from harness.provenance import analysis_code_sha256
from harness.reporting import banner_of
from harness.verify.reference import PUBLISHED, RUNS, find_reference

ROOT = Path(__file__).parents[2]
app = typer.Typer(rich_markup_mode=None)
app.command()(report)


@pytest.fixture(scope="module")
def workspace(published_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    write_analysis(results / "analysis", published_analysis)
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
    assert "Profile quick is a test of the pipeline: these numbers are no evidence." in page
    assert sha256_of_file(study / "runs.csv") in page
    assert analysis_code_sha256() in page
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


@pytest.fixture(scope="module")
def alone(published_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the report of the published runs, as someone makes it who has their table only."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copy(find_reference(PUBLISHED) / RUNS, folder / "mine.csv")
    write_analysis(folder / "analysis", published_analysis)
    run("--runs", str(folder / "mine.csv"), "--out", str(folder / "mine.html"), "--title", "Published <runs>")
    return folder


def test_the_published_runs_are_not_compared_with_themselves(alone: Path) -> None:
    """The published table is shown alone, without banner, wherever it lies, and needs no profile."""
    page = (alone / "mine.html").read_text(encoding="utf-8")
    assert "Published runs</th>" not in page
    assert "not evidence" not in page
    assert len(page.encode()) < 1_200_000
    assert "<h1>Published &lt;runs&gt;</h1>" in page
    assert len(set(re.findall(r'<g class="run" id="(interaction-run-\d+)"', page))) == 50
    assert (alone / "mine.md").is_file()
    assert (alone / "mine.json").is_file()


def test_every_published_estimate_can_be_traced_to_its_runs(published_analysis: Analysis, alone: Path) -> None:
    """All contrasts have a row that leads to a model, models lead to runs, and tested claims to their contrast.

    Only the difference between versions is a difference of means, with no model; fits again for other images stand
    beside those for these.
    """
    published, page = published_analysis, (alone / "mine.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r' href="#([^"]+)"', page)) <= set(ids)
    rows = re.findall(r'<tr id="contrast-[^"]*">.*?</tr>', page, re.DOTALL)
    fitted = [row.model for found in (published.contrasts, published.fidelity) for row in found]
    assert len(rows) == len([model for model in fitted if "new-images" not in model]) > 70
    without = [row for row in rows if 'href="#model-' not in row]
    assert len(without) == 1
    assert "first version minus these runs" in without[0]
    models = re.findall(r'<details id="model-.*?</details>', page, re.DOTALL)
    assert len(models) == len(published.models)
    assert all('<a href="#run-' in model for model in models)
    claims = re.findall(r'<div id="claim-in-words-.*?</div>', page, re.DOTALL)
    untraced = [claim for claim in claims if 'href="#contrast-' not in claim]
    assert len(claims) == len(published.claims)
    assert len(untraced) == sum(claim.verdict == "not tested" for claim in published.claims) == 2


def test_what_machines_get_of_the_published_runs_is_plain(alone: Path) -> None:
    """JSON without NaN; a CSV for every table and figure, whose every line has as many cells as its heading."""

    def refuse(name: str) -> float:
        raise AssertionError(name)

    data = json.loads((alone / "mine.json").read_text(encoding="utf-8"), parse_constant=refuse)
    page = (alone / "mine.html").read_text(encoding="utf-8")
    found = re.findall(r'download="([^"]+)\.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    names = [name for name, _ in found]
    assert sorted(names) == sorted(["claims", *data["tables"], *(f"figure-{name}" for name in data["figures"])])
    for name, content in found:
        text = base64.b64decode(content).decode("utf-8")
        head, *body = csv.reader(io.StringIO(text))
        assert body, name
        assert {len(line) for line in body} == {len(head)}, name
        assert not re.search(r"\b(nan|inf|np\.|None)\b", text), name


def test_markdown_of_the_published_runs_fits_a_summary(alone: Path) -> None:
    """Below 60 lines: the answer, the counts and a row for each claim that was tested."""
    lines = (alone / "mine.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert any(line.startswith("26 claims: ") for line in lines)
    assert sum(line.startswith("| ") for line in lines) == 2 + 24


def test_a_metric_of_ones_own_is_reported_alone(
    tmp_path: Path, in_haste: Callable[..., AbstractContextManager[None]]
) -> None:
    """An error rate, which the published runs do not have, is read by the analysis' own metric and direction."""
    mine = tmp_path / "mine.csv"
    shutil.copy(ROOT / "examples" / "error_rate.csv", mine)
    with in_haste():
        found = analyse_files(mine, metric=Metric("top1_error", higher_is_better=False), order=("small", "big"))
    write_analysis(tmp_path / "analysis", found)
    run("--runs", str(mine))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Published runs</th>" not in page
    assert "1 - top1_error (%)" in page
    assert '<th scope="col" class="number">top1_error (%)</th>' in page
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["metric"] == "top1_error"


def test_runs_with_no_cell_in_common_are_reported_alone(tmp_path: Path, published_analysis: Analysis) -> None:
    """Students of other names are other estimands: no column of the published runs stands beside them."""
    names = {"resnet18": "tiny", "resnet34": "wide", "resnet50": "deep", "resnet101": "huge"}
    mine = tmp_path / "mine.csv"
    text = (find_reference(PUBLISHED) / RUNS).read_text(encoding="utf-8")
    mine.write_text(re.sub("|".join(names), lambda found: names[found[0]], text), encoding="utf-8")
    cells = [replace(c, teacher=names.get(c.teacher, ""), student=names[c.student]) for c in published_analysis.cells]
    write_analysis(tmp_path / "analysis", replace(published_analysis, cells=tuple(cells)))
    run("--runs", str(mine))
    assert "Published runs</th>" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_only_a_verdict_on_this_very_table_is_shown(study: Path) -> None:
    """A verdict is told if its digest is that of the runs table; one on older runs is left out."""
    verdict = {"verdict": "FAIL", "sentence": "One cell differs.", "runs_sha256": sha256_of_file(study / "runs.csv")}
    write_json(study / "verdict.json", verdict)
    run()
    assert "Verification: FAIL." in (study / "report.html").read_text(encoding="utf-8")
    assert "**Verification:** FAIL. One cell differs." in (study / "report.md").read_text(encoding="utf-8")
    write_json(study / "verdict.json", verdict | {"runs_sha256": "0" * 64})
    run()
    assert "Verification" not in (study / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("dataset", "profile", "evidence", "words"),
    [
        ("digits", "paper", True, "not evidence about CIFAR-10"),  # whatever its profile says
        ("digits", "", True, "not evidence about CIFAR-10"),
        ("cifar10", "mine", False, "no evidence"),
        ("cifar10", "beyond", True, "not the published one"),
        ("cifar10", "paper", True, ""),
        ("cifar10", "", True, ""),
    ],
)
def test_the_banner_goes_by_the_table(dataset: str, profile: str, evidence: bool, words: str) -> None:
    """What the numbers are not is told by the data, and by the profile that they say they are of."""
    banner = banner_of(dataset, profile, evidence=evidence)
    assert words in banner
    assert bool(banner) is bool(words)


def test_runs_of_another_profile_are_refused(study: Path) -> None:
    """`--profile paper` does not make digits evidence."""
    text = (study / "runs.csv").read_text(encoding="utf-8").replace(",quick\n", ",mine\n")
    (study / "runs.csv").write_text(text, encoding="utf-8")
    with pytest.raises(KdcapError, match="expected runs of profile quick, found those of mine"):
        run()


def test_the_environment_is_shown_as_collected(study: Path) -> None:
    """What `harness collect` noted of the machine stands in the page, escaped."""
    facts = {"torch": "2.13.0+cpu", "Device": "<cpu>"}
    write_json(study / "environment.json", facts | {"runs_sha256": "0" * 64})
    run()
    assert "2.13.0+cpu" not in (study / "report.html").read_text(encoding="utf-8")  # another table's
    write_json(study / "environment.json", facts | {"runs_sha256": sha256_of_file(study / "runs.csv")})
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


@pytest.mark.parametrize("name", ["curves.csv", "coverage.csv"])
def test_a_damaged_table_beside_the_runs_is_named(study: Path, name: str) -> None:
    """Curves and coverage are read with the runs, or refused by name; nothing is written."""
    (study / name).write_text("stage,student\n", encoding="utf-8")
    with pytest.raises(KdcapError, match=f"{name}: expected a table of"):
        run()
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
