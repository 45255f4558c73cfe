"""The page: what a browser, a reader and a machine find in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path

import jinja2
import pytest
import reading
import sample_study

from analysis.runs.metric import Metric
from analysis.runs.table import check_runs
from harness.tables import read_runs
from report.contents import contrast_tables
from report.context import Verification
from report.drawers import Drawer, drawers
from report.evidence import engine_table
from report.render import Rendered, environment, headline, render
from report.tables import ALPHA, run_table

VOID = {"meta", "link"}
FOLDER = Path(__file__).parent


class Page(HTMLParser):
    """Every start tag with its attributes, all text by position, and a check that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that holds nothing."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """An element may only close the one opened last."""
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of each element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def test_nothing_leaves_the_page(page: str) -> None:
    """One script of the page's own, no style attribute, and every reference stays inside the file."""
    parsed = Page(page)
    assert parsed.of("script") == [{}]  # no source, and no kind that would be anything else
    for _, attributes in parsed.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(http" not in page
    assert "@import" not in page


def test_the_policy_allows_its_own_style_and_script_and_nothing_else(page: str) -> None:
    """The Content-Security-Policy names the digests of the one style sheet and the one script, and no other source."""

    def digest(tag: str) -> str:
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    policies = [m["content"] for m in Page(page).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest('style')}'; script-src 'sha256-{digest('script')}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    ]
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script>")


def test_the_order_is_a_doubting_readers(page: str) -> None:
    """From the question to every run, with what lies deeper behind the evidence; the answer before any table."""
    sections = [attributes["id"] for attributes in Page(page).of("section")]
    assert sections == [
        "question", "answer", "claims", "evidence", "deeper", "limits", "method", "environment", "runs",
    ]  # fmt: skip
    assert page.index(sample_study.analysis().answer[0]) < page.index("<table")
    assert page.index("not evidence about CIFAR-10") < page.index("<main>")


def test_ids_are_unique_and_every_reference_finds_one(page: str) -> None:
    """No id stands twice, in the figures neither, and labels and links point to ids that are there."""
    parsed = Page(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {name for _, a in parsed.tags for name in (a.get("aria-labelledby") or "").split()}
    wanted |= {(a.get("href") or "")[1:] for _, a in parsed.tags if (a.get("href") or "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)


def test_headings_descend_one_step_at_a_time(page: str) -> None:
    """One h1, and no level is skipped."""
    levels = [int(tag[1]) for tag, _ in Page(page).tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


EVIL = "<script>alert(2)</script>"


@pytest.fixture(scope="module")
def spoiled() -> Rendered:
    """A study whose method is called as a script, in its runs, curves, words and numbers alike."""
    analysis, runs = sample_study.renamed(
        {"feature": EVIL, "Feature": EVIL, "logit": "a&b $x$", "resnet34": "<b>&amp;"}
    )
    context = replace(
        sample_study.context(),
        title=EVIL,
        profile=EVIL,
        dataset=EVIL,
        banner=EVIL,
        environment={EVIL: EVIL},
        verification=Verification(EVIL, EVIL),
        curves=sample_study.curves().replace({"method": {"feature": EVIL}}),
    )
    return render(analysis, runs, context)


def test_a_method_called_script_is_text_wherever_it_stands(spoiled: Rendered) -> None:
    """In every table and figure that names methods it is shown whole; the one script of the page is its own."""
    page = spoiled.html
    root = reading.tree(page)
    own = (resources.files("report") / "templates" / "sort.js").read_text(encoding="utf-8")
    assert [element.text for element in root.iter("script")] == [own]
    assert page.count("<script") == 1
    assert not list(root.iter("b"))
    shown = {e.attrib["id"] for tag in ("table", "figure") for e in root.iter(tag) if EVIL in "".join(e.itertext())}
    assert shown == {
        *(f"table-{name}" for name in (
            "claims", "moderation", "gain", "cells", "budget", "curve", "choices", "intervals", "seeds", "power",
            "emmeans", "pairs", "ablations", "history", "effects", "fidelity", "agreement", "runs",
        )),
        *(f"figure-{name}" for name in (
            "forest", "equivalence", "interaction", "strip", "specification", "power", "convergence", "efficiency",
            "coverage",
        )),
    }  # fmt: skip
    assert page.count("&lt;script&gt;alert(2)&lt;/script&gt;") > 100


def test_a_method_called_script_is_text_in_what_is_taken_away(spoiled: Rendered) -> None:
    """Downloads hold the name as it is, as data; markdown shows it; set as markup it would be found."""
    root = reading.tree(spoiled.html)
    cells = [cell for row in reading.downloaded(reading.table(root, "cells")) for cell in row]
    assert any(cell.endswith(f", {EVIL}") for cell in cells)
    (drawn,) = [f for f in root.iter("figure") if f.attrib["id"] == "figure-interaction"]
    assert any(EVIL in row for row in reading.downloaded(drawn))
    assert "<script" not in spoiled.markdown.replace("\\<", "")
    unsafe = environment().overlay(autoescape=False).from_string("{{ name }}").render(name=EVIL)
    assert "script" in [tag for tag, _ in Page(unsafe).tags]


def test_names_from_the_table_are_shown_not_run(spoiled: Rendered) -> None:
    """A student called as markup and a method with an ampersand and dollars are text everywhere."""
    page = spoiled.html
    assert "&lt;b&gt;&amp;amp;" in page
    assert "a&amp;b $x$" in page
    assert "a&b $x$" in [method for row in spoiled.json["figures"]["interaction"]["rows"] for method in row]
    assert {claim["verdict"] for claim in spoiled.json["claims"]} == {
        "cannot tell",
        "supported",
        "refuted",
        "not tested",
    }


def test_every_run_has_its_row_and_every_final_run_its_dot(page: str) -> None:
    """53 rows in the table; 50 marks in the interaction plot, each named by its row's number."""
    runs = sample_study.runs()
    rows = [row[0] for row in reading.rows(reading.table(reading.tree(page), "runs"))]
    assert rows == [str(number) for number in range(1, 54)]
    dots = re.findall(r'<g class="run" id="interaction-run-(\d+)"><title>Run (\d+): ', page)
    assert [int(run) for run, _ in dots] == [n + 1 for n in range(53) if runs["stage"].iloc[n] == "final"]
    assert all(run == named for run, named in dots)


def test_a_page_says_which_runs_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table too long for a page the search's candidates, and what was cut before; rows keep their numbers."""
    frame = read_runs(Path(__file__).parents[2] / "reference/yasar2026-v2/runs.csv")
    monkeypatch.setattr("report.tables.MOST_ROWS", len(frame) - 1)
    table = run_table(frame, "test_acc_best", "7 final runs are elsewhere.")
    numbers = [str(row + 1) for row, stage in enumerate(frame["stage"]) if stage != "select"]
    assert [row[0] for row in table.rows] == numbers
    assert len(numbers) < len(frame)
    assert table.caption.startswith("Rows of the runs table")
    left_out = f"{len(frame) - len(numbers)} candidates of the search are left out here. 7 final runs are elsewhere."
    assert table.caption.endswith(left_out)


def test_what_tells_runs_apart_has_a_column_where_it_is_told() -> None:
    """Teacher's seed and further hyperparameters, between the columns that they belong to; none where none is known."""
    frame = sample_study.runs_frame()
    plain = [column.heading for column in run_table(check_runs(frame, "x"), "test_acc_best").columns]
    taught = frame["teacher"] != ""
    frame["teacher_seed"] = [2 if one else None for one in taught]
    frame["other_hyperparameters"] = ["beta=1000" if one else "" for one in frame["method"] == "feature"]
    table = run_table(check_runs(frame, "x"), "test_acc_best")
    headings = [column.heading for column in table.columns]
    assert [name for name in headings if name in plain] == plain
    assert headings[2:5] == ["Cell", "Teacher's seed", "Seed"]
    others = headings.index("Others")
    assert headings[others - 2 : others + 2] == [ALPHA, "T", "Others", "Stem"]
    kinds = {(row[2].rsplit(", ", 1)[1], row[3], row[others]) for row in table.rows}
    assert kinds == {
        ("none", "\N{EN DASH}", "\N{EN DASH}"),
        ("logit", "2", "\N{EN DASH}"),
        ("feature", "2", "beta=1000"),
    }


def test_a_dot_says_which_run_it_is(page: str) -> None:
    """The mark of R50 -> R34 logit at seed 3 carries that run's own accuracy."""
    runs = sample_study.runs()
    is_it = (runs["teacher"] == "resnet50") & (runs["student"] == "resnet34") & (runs["seed"] == 3)
    row = runs[is_it & (runs["method"] == "logit")].iloc[0]
    accuracy = f"{100 * row['test_acc_best']:.2f}"
    assert f": ResNet-50 → ResNet-34, logit, seed 3, {accuracy}%</title>" in page


def test_published_estimates_stand_beside_ours_where_the_estimand_is_the_same(page: str) -> None:
    """Our +0.21 has the published +0.54 in its row; the contrast that they lack has an en dash."""
    gains = reading.table(reading.tree(page), "gain")
    assert reading.headings(gains)[3] == "Published (pp)"
    found = {row[0]: row[3] for row in reading.rows(gains) if row[0] in {"ResNet-34, feature", "ResNet-18, logit"}}
    assert found == {"ResNet-34, feature": "+0.54 [+0.43, +0.65]", "ResNet-18, logit": "\N{EN DASH}"}
    assert "A paper (commit 4ec15c4)" in page
    alone = render(sample_study.analysis(), sample_study.runs(), replace(sample_study.context(), published=None)).html
    assert "Published runs" not in alone
    assert "Published (pp)" not in alone


@pytest.fixture(scope="module")
def opened() -> tuple[Drawer, ...]:
    """The drawers of the hand-made study."""
    return tuple(drawers(sample_study.analysis(), sample_study.runs(), sample_study.context()))


def test_only_estimands_of_the_same_rows_are_compared() -> None:
    """A published contrast from another subset is another estimand and is not shown."""
    published = sample_study.published()
    elsewhere = tuple(replace(contrast, subset="no-seed-0") for contrast in published.contrasts)
    context = replace(sample_study.context(), published=replace(published, contrasts=elsewhere))
    page = render(sample_study.analysis(), sample_study.runs(), context).html
    assert "+0.54" not in page
    assert "Published (pp)" not in page


def test_after_a_singular_fit_both_fits_are_shown_and_the_refit_counts() -> None:
    """The fit and the refit stand one below the other; the published estimate is beside the one that counts."""
    shown = contrast_tables(sample_study.singular(), sample_study.published())[1]
    named = [row for row in shown.rows if row[0].startswith("ResNet-34, feature")]
    assert [row[0] for row in named] == ["ResNet-34, feature (singular fit)", "ResNet-34, feature (refit)"]
    assert [row[1] for row in named] == ["+0.21", "+1.21"]
    assert [row[3] for row in named] == ["\N{EN DASH}", "+0.54 [+0.43, +0.65]"]
    assert [row[5] for row in named] == ["34.2 KR", "44 residual"]
    assert named == list(shown.rows[shown.rows.index(named[0]) :][:2])


def test_a_refit_of_the_published_runs_is_the_same_estimand() -> None:
    """Where theirs was singular and ours was not, their refit stands beside our fit."""
    there = sample_study.singular().contrasts
    published = replace(sample_study.published(), contrasts=there)
    row = next(r for r in contrast_tables(sample_study.analysis(), published)[1].rows if r[0] == "ResNet-34, feature")
    assert (row[1], row[3]) == ("+0.21", "+1.21 [+1.10, +1.32]")


def test_rows_of_a_further_model_say_so_where_a_phone_shows_it() -> None:
    """The same contrast by another model has that model's name in the first column."""
    analysis = sample_study.analysis()
    again = tuple(replace(c, model="gain:refit") for c in analysis.contrasts if c.family == "moderation")
    shown = contrast_tables(replace(analysis, contrasts=analysis.contrasts + again), None)[0]
    name = "gain from feature: ResNet-34 minus ResNet-18"
    assert [row[0] for row in shown.rows if row[0].startswith(name)] == [name, f"{name}, gain model (refit)"]


def test_the_headline_shows_what_was_tested() -> None:
    """Of the claims about moderation those without runs have no card, unless none has runs."""
    analysis = sample_study.analysis()
    untested = replace(analysis.claims[0], verdict="not tested", estimate=None)
    assert headline(replace(analysis, claims=(untested, *analysis.claims[1:]))) == analysis.claims[1:2]
    assert headline(replace(analysis, claims=(untested,))) == (untested,)


def test_intervals_for_other_images_are_a_column() -> None:
    """A row for new images adds no row: its interval stands beside the one for these images."""
    analysis = sample_study.analysis()
    before = contrast_tables(analysis, None)[0]
    wider = tuple(
        replace(c, model="primary:new-images", ci_low_pp=-0.5, ci_high_pp=0.7)
        for c in analysis.contrasts
        if c.family == "moderation"
    )
    after = contrast_tables(replace(analysis, contrasts=analysis.contrasts + wider), None)[0]
    assert [row[0] for row in after.rows] == [row[0] for row in before.rows]
    assert [column.heading for column in after.columns][3] == "95% interval, other images (pp)"
    assert [row[3] for row in after.rows] == ["[\N{MINUS SIGN}0.50, +0.70]"] * 2 + ["\N{EN DASH}"]
    assert [row[2] for row in after.rows] == [row[2] for row in before.rows]


def test_a_claim_is_shown_in_its_own_unit_with_its_source_and_caution(page: str) -> None:
    """Nats have four decimals; source, published number and caution stand with the claim they belong to."""
    root = reading.tree(page)
    table = reading.table(root, "claims")
    assert reading.headings(table) == [
        "Claim", "Verdict", "These runs", "90% interval, margin", "Published runs", "Seeds to settle",
        "Published with it",
    ]  # fmt: skip
    minus, none = "\N{MINUS SIGN}", "\N{EN DASH}"
    rows = reading.rows(table)
    assert len(rows) == 7
    assert rows[0] == [
        "Feature distillation helps the larger student more.", "? cannot tell", f"+0.10 pp[{minus}0.08, +0.28]",
        f"[{minus}0.08, +0.28]±0.2 pp", f"+0.10 pp[{minus}0.08, +0.28]cannot tell", "14",
        f"v2: {minus}0.08 and +0.06 pp",
    ]  # fmt: skip
    assert rows[3][2:-1] == ["+0.0702 nats[+0.0645, +0.0759]", "[+0.0645, +0.0759]±0.02 nats", none, none]
    assert rows[6][1:] == [f"{none} not tested", none, f"{none}±0.2 pp", none, none, none]
    words = reading.one(root, ".//details[@id='claims-in-words']")
    text = [" ".join(" ".join(claim.itertext()).split()) for claim in words.findall("./dl/div")]
    assert len(text) == 7
    assert "Caution: Students differ in their teachers too." in text[0]
    assert "Source: v2 abstract, first finding." in text[0]
    assert "Caution" not in text[2]
    held = [re.search(r"Held against: (.*?)\.(?: |$)", line) for line in text]
    assert [found[1] if found else "" for found in held] == [
        *["above 0, margin 0.2 pp"] * 3, "above 0, margin 0.02 nats", "none beyond ±0.2 pp",
        "at least 5.5, less 0.2 pp", "above 0, margin 0.2 pp",
    ]  # fmt: skip
    assert "Holm p 0.416." in text[0]
    assert "Holm p < 0.001." in text[3]
    assert "Holm p" not in text[6]


def test_a_claim_about_several_contrasts_names_the_weakest_in_words(page: str) -> None:
    """An identifier in the middle of a sentence becomes the words that the tables use."""
    assert "of 4 the weakest, “ResNet-50 → ResNet-18, logit minus feature”, from" in page
    assert f"of 1 the weakest, {sample_study.FEATURE}, from" in page


def test_both_engines_and_their_difference_are_shown(page: str, singular_page: str) -> None:
    """A row a model that was fitted twice: our criterion, and how far the second engine is from it."""
    (row,) = engine_table(sample_study.analysis()).rows
    assert row[:2] == ("primary", "\N{MINUS SIGN}51.83")
    assert row[3:6] == ("5e-15", "0", "1.0000")
    assert row[6] == "the second engine agrees to -1e-8 pp"
    assert '<table id="table-engines" class="data">' in page
    assert 'id="table-engines"' not in singular_page
    assert "no regular fit with a random part" in singular_page


def test_what_lies_deeper_is_there_and_closed(page: str, opened: tuple[Drawer, ...]) -> None:
    """Each drawer is a details element that works without scripts; every further table is in one of them."""
    parsed = Page(page)
    assert all("open" not in attributes for attributes in parsed.of("details"))
    named = [a["id"] for a in parsed.of("details")]
    assert named[0] == "claims-in-words"
    assert named[1 : len(opened) + 1] == [f"evidence-{drawer.id}" for drawer in opened]
    models = named[len(opened) + 1 :]
    assert len(models) == len(sample_study.analysis().models)
    assert all((name or "").startswith("model-") for name in models)
    inside = {name for drawer in opened for name in (table.id for table in drawer.tables)}
    assert inside == {
        "curve", "choices", "intervals", "seeds", "power", "emmeans", "variance", "omnibus", "assumptions",
        "effects", "rivals", "pairs", "ablations", "history", "fidelity", "agreement",
    }  # fmt: skip
    root = reading.tree(page)
    closed = [name for details in root.iter("details") for name in reading.ids(details)]
    assert all(closed.count(f"table-{name}") == 1 for name in inside)
    assert {name for name in closed if name.startswith("figure-")} == {
        f"figure-{picture.id}" for drawer in opened for picture in drawer.pictures
    }
    assert {picture.id for drawer in opened for picture in drawer.pictures} == {
        "specification", "power", "variance", "residuals", "efficiency",
    }  # fmt: skip


def test_an_empty_drawer_is_left_out() -> None:
    """A study without ablations, history or fidelity has no drawers for them."""
    analysis = sample_study.analysis()
    main = tuple(c for c in analysis.contrasts if c.family in ("gains", "moderation"))
    poor = replace(analysis, contrasts=main, fidelity=(), history=(), multiverse=(), choices=(), rivals=())
    left = {drawer.id for drawer in drawers(poor, sample_study.runs(), sample_study.context())}
    assert left == {"intervals", "power", "means", "variances", "effects", "efficiency"}
    bare = replace(poor, diagnostics=(), assumptions=(), variance_components=(), emmeans=(), omnibus=())
    left = {drawer.id for drawer in drawers(bare, sample_study.runs(), sample_study.context())}
    assert left == {"intervals", "power", "effects"}


def test_curves_open_a_drawer_of_their_own(opened: tuple[Drawer, ...]) -> None:
    """Where runs came with their histories there is one more drawer, with the figure of training."""
    with_curves = replace(sample_study.context(), curves=sample_study.curves())
    more = drawers(sample_study.analysis(), sample_study.runs(), with_curves)
    assert [p.id for drawer in more if drawer.id == "training" for p in drawer.pictures] == ["convergence"]
    assert "training" not in [drawer.id for drawer in opened]


def test_further_tables_say_what_the_analysis_says(opened: tuple[Drawer, ...]) -> None:
    """One row of each, in words and with the digits of its unit."""
    found = {table.id: table.rows for drawer in opened for table in drawer.tables}
    minus, none = "\N{MINUS SIGN}", "\N{EN DASH}"
    assert found["curve"][0] == ("feature", "3", "2", "0", "+0.09", "+0.41")
    assert found["choices"][0] == (
        "accuracy: test accuracy after the last epoch", "feature", "120", "25", "+0.01", "0.790"
    )  # fmt: skip
    assert found["choices"][1][4] == none
    assert found["intervals"][1][2:5] == ("+0.10", none, "0.397")
    assert found["seeds"][0][1:] == ("0.2", "80", "10", "7 to 17")
    assert found["seeds"][1][3:] == ("> 10000", "7364 to > 10000")
    assert found["power"][0][1:] == ("5", "0.10", "0.29", "17 [7, 27]", "42", "50 [40, 60]", "42")
    assert len(found["power"]) == 2
    assert found["variance"][1] == ("primary: residual", "0.13", "[0.00, 0.12]", "0.016", "90")
    assert found["omnibus"][0][1:6] == ("F", "0.94", "2, 34.2", "kenward-roger", "0.401")
    assert found["omnibus"][1][1:8] == (
        "likelihood ratio", "1.01", "2", "parametric bootstrap", "0.651", "0.005", "10000"
    )  # fmt: skip
    assert found["effects"][0][:5] == (
        "ResNet-50 → ResNet-34, feature", "5, 5", "+0.20", "+1.51 [+0.16, +3.11]", f"+1.51 [{minus}0.15, +3.16]"
    )  # fmt: skip
    assert found["rivals"][1][:3] == ("log10 FLOPs", "+0.27", "pp per factor of 10")
    assert [row[0] for row in found["pairs"]] == [
        "ResNet-50 → ResNet-18, feature minus logit",
        "taught by ResNet-101 minus by ResNet-50: ResNet-34, logit",
    ]
    assert [row[0] for row in found["ablations"]] == [
        "CIFAR stem minus ImageNet stem, ResNet-50",
        "projections not clipped minus clipped: ResNet-50 → ResNet-18, feature",
        "ResNet-34 minus ResNet-18 at equal accuracy gap",
        "first version minus these runs, mean over cells",
    ]
    assert found["fidelity"][0][:5] == (
        "ResNet-50 → ResNet-18, logit minus feature, KL at T = 1", "+0.0702", "[+0.0645, +0.0759]", "nats", "0.0028"
    )  # fmt: skip
    assert found["agreement"][0][0] == "ResNet-50 → ResNet-18, feature minus ResNet-50 → ResNet-18, logit"


def test_an_error_rate_is_shown_as_one_minus_itself(page: str) -> None:
    """Where less is better, figure and words speak of the turned metric; the runs table shows it as it is."""
    frame = sample_study.runs_frame()
    frame["error"] = 1 - frame["test_acc_best"]
    runs = check_runs(frame, "errors.csv", Metric("error", higher_is_better=False))
    analysis = replace(sample_study.analysis(), metric="error", higher_is_better=False)
    turned = render(analysis, runs, sample_study.context()).html
    assert "1 - error (%)" in turned
    assert "Cells: 1 - error over seeds" in turned
    assert re.findall(r"<title>Run .*?</title>", turned) == re.findall(r"<title>Run .*?</title>", page)
    assert '<th scope="col" class="number">error (%)</th>' in turned


def test_each_verdict_is_a_word(page: str) -> None:
    """Verdicts are words in the page, so that neither colour nor shape is needed to read them."""
    body = page[page.index("<body>") :]
    words = re.findall(r'<span class="pill [a-z-]+"><span aria-hidden="true">.</span> ([a-z ]+)</span>', body)
    each = ["cannot tell", "cannot tell", "supported", "supported", "refuted", "supported", "not tested"]
    assert words == [*["cannot tell"] * 2, *each, *each]  # cards, the claims table, and each claim in words


def test_a_verification_is_told_with_the_answer(full: Rendered) -> None:
    """The verdict of `harness verify` stands in the answer."""
    assert full.html.index("Verification: PASS.") < full.html.index('<section id="claims">')
    assert "Ten cells agree with resnet34&#39;s \N{MINUS SIGN}0.08." in full.html


def test_a_missing_value_stops_the_report() -> None:
    """An undefined name in a template raises instead of printing nothing."""
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ absent }}").render()
    with pytest.raises(jinja2.UndefinedError):
        environment().get_template("report.html.j2").render()


def test_the_same_input_gives_the_same_bytes(page: str) -> None:
    """Two other processes with other hash seeds and a user's own matplotlib style write the same page."""
    code = (
        "import hashlib, sys, matplotlib; sys.path[:0] = sys.argv[1:]; import sample_study as s;"
        "from report.render import render; matplotlib.rcParams['font.size'] = 30;"
        "print(hashlib.sha256(render(s.analysis(), s.runs(), s.context()).html.encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(FOLDER), str(FOLDER.parents[1])]
    others = [
        subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True)
        for seed in ("1", "2")
    ]
    digests = {process.communicate(timeout=60)[0].strip() for process in others}
    assert digests == {hashlib.sha256(page.encode()).hexdigest()}


def test_the_page_is_small(page: str) -> None:
    """Far below 2 MB."""
    assert len(page.encode()) < 400_000


def test_markdown_has_answer_banner_counts_and_claims(full: Rendered) -> None:
    """The short form says the same, with what markdown would take for markup made harmless."""
    text = full.markdown
    assert text.startswith("# A \\<b\\>bold\\</b\\> \\| title\n\n> **These are digits")
    assert "These runs cannot tell whether" in text
    shown = "supported | +0.21 \\[+0.08, +0.34\\] pp | \\< 0.001 | above 0, margin 0.2 pp |"
    assert f"| Feature distillation helps. | {shown}" in text
    assert "+0.0702 \\[+0.0645, +0.0759\\] nats" in text
    assert "7 claims: 3 supported, 1 refuted, 2 cannot tell, 1 not tested. Those that were tested:" in text
    assert "CIFAR-100" not in text  # the claim that was not tested
    assert "50 runs analysed." in text


def test_json_holds_the_numbers_unrounded(rendered: Rendered) -> None:
    """Machines get every estimate as it is; the object is plain JSON."""
    data = json.loads(json.dumps(rendered.json, allow_nan=False))
    assert data["answer"] == list(sample_study.analysis().answer)
    assert data["schema"] == "kdcap.report/3"
    assert [row["estimate_pp"] for row in data["moderation"]] == [0.10, 0.08, 0.02]
    assert len(data["gains"]) == 12
    assert data["claims"][6]["verdict"] == "not tested"
    assert (data["claims"][3]["estimate"], data["claims"][3]["unit"]) == (0.0702, "nats")
    assert data["seeds_needed"][0]["seeds"] == 10
    assert data["environment"]["torch"] == "2.13.0"
