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
from itertools import pairwise
from pathlib import Path

import jinja2
import pytest
import sample_study

from analysis.table import check_runs
from report.context import Verification
from report.render import environment, render, render_json, render_markdown

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
    """No script, no style attribute, and every reference stays inside the file."""
    parsed = Page(page)
    assert not parsed.of("script")
    for _, attributes in parsed.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(http" not in page
    assert "@import" not in page


def test_the_policy_allows_its_own_style_and_nothing_else(page: str) -> None:
    """The Content-Security-Policy names the digest of the one style sheet and no other source."""
    policies = [m["content"] for m in Page(page).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    style = page[page.index("<style>") + len("<style>") : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_the_order_is_a_doubting_readers(page: str) -> None:
    """Question, answer, claims, evidence, limits, method, environment, runs; the answer before any table."""
    sections = [attributes["id"] for attributes in Page(page).of("section")]
    assert sections == [
        "question", "answer", "claims", "evidence", "limits", "method", "environment", "runs",
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


def test_names_from_the_table_are_shown_not_run() -> None:
    """A student called `<script>` and a method with an ampersand and dollars are text everywhere."""
    evil = "<script>alert(1)</script>"
    frame = sample_study.runs_frame().replace({"student": {"resnet34": evil}, "method": {"logit": "a&b $x$"}})
    analysis = sample_study.analysis()
    cells = tuple(
        replace(
            c,
            student=evil if c.student == "resnet34" else c.student,
            method=c.method.replace("logit", "a&b $x$"),
        )
        for c in analysis.cells
    )
    page = render(replace(analysis, cells=cells), check_runs(frame, "evil.csv"), sample_study.context())
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a&amp;b $x$" in page
    assert not Page(page).of("script")


def test_every_run_has_its_row_and_every_final_run_its_dot(page: str) -> None:
    """53 rows in the table; 50 marks in the interaction plot, each named by its row's number."""
    runs = sample_study.runs()
    table = page[page.index('<table id="table-runs">') :]
    rows = re.findall(r'<tr><th scope="row" class="number">(\d+)</th>', re.sub(r"\n", "", table))
    assert rows == [str(number) for number in range(1, 54)]
    dots = re.findall(r'<g class="run" id="interaction-run-(\d+)"><title>Run (\d+): ', page)
    assert [int(run) for run, _ in dots] == [n + 1 for n in range(53) if runs["stage"].iloc[n] == "final"]
    assert all(run == named for run, named in dots)


def test_a_dot_says_which_run_it_is(page: str) -> None:
    """The mark of R50 -> R34 logit at seed 3 carries that run's own accuracy."""
    runs = sample_study.runs()
    is_it = (runs["teacher"] == "resnet50") & (runs["student"] == "resnet34") & (runs["seed"] == 3)
    row = runs[is_it & (runs["method"] == "logit")].iloc[0]
    accuracy = f"{100 * row['test_acc_best']:.2f}"
    assert f": ResNet-50 → ResNet-34, logit, seed 3, {accuracy}%</title>" in page


def test_published_estimates_stand_beside_ours_where_the_estimand_is_the_same(page: str) -> None:
    """Our +0.21 has the published +0.54 in its row; the contrast that they lack has an en dash."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    found = {
        row[0]: row[3]
        for row in cells
        if row and row[0] in {"ResNet-34, feature", "ResNet-18, logit"} and len(row) == 10
    }
    assert found == {"ResNet-34, feature": "+0.54 [+0.43, +0.65]", "ResNet-18, logit": "\N{EN DASH}"}
    assert "A paper (commit 4ec15c4)" in page
    alone = replace(sample_study.context(), published=None, published_source="")
    assert "ublished" not in render(sample_study.analysis(), sample_study.runs(), alone)


def test_only_estimands_of_the_same_rows_are_compared() -> None:
    """A published contrast from another subset is another estimand and is not shown."""
    published = sample_study.published()
    elsewhere = tuple(replace(contrast, subset="no-seed-0") for contrast in published.contrasts)
    context = replace(sample_study.context(), published=replace(published, contrasts=elsewhere))
    assert "+0.54" not in render(sample_study.analysis(), sample_study.runs(), context)


def test_each_verdict_is_a_word(page: str) -> None:
    """Verdicts are words in the page, so that neither colour nor shape is needed to read them."""
    body = page[page.index("<body>") :]
    words = re.findall(r'<span class="pill [a-z-]+"><span aria-hidden="true">.</span> ([a-z ]+)</span>', body)
    assert words == ["cannot tell"] * 2 + ["cannot tell", "cannot tell", "supported", "not tested"]


def test_a_verification_is_told_with_the_answer() -> None:
    """The verdict of `harness verify` stands in the answer."""
    context = replace(sample_study.context(), verification=Verification("FAIL", "Two cells differ."))
    page = render(sample_study.analysis(), sample_study.runs(), context)
    assert page.index("Verification: FAIL.") < page.index('<section id="claims">')
    assert "Two cells differ." in page


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
        "print(hashlib.sha256(render(s.analysis(), s.runs(), s.context()).encode()).hexdigest())"
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
    assert len(page.encode()) < 300_000


def test_markdown_has_answer_banner_claims_and_gains() -> None:
    """The short form says the same, with what markdown would take for markup made harmless."""
    context = replace(sample_study.context(), title="A <b>bold</b> | title")
    text = render_markdown(sample_study.analysis(), context)
    assert text.startswith("# A \\<b\\>bold\\</b\\> \\| title\n\n> **These are digits")
    assert "These runs cannot tell whether" in text
    assert "| Feature distillation helps. | supported | +0.21 \\[+0.08, +0.34\\] | \\< 0.001 | 0.20 |" in text
    assert "| ResNet-34, feature | +0.21 |" in text


def test_json_holds_the_numbers_unrounded() -> None:
    """Machines get every estimate as it is; the object is plain JSON."""
    data = json.loads(json.dumps(render_json(sample_study.analysis(), sample_study.context()), allow_nan=False))
    assert data["answer"] == list(sample_study.analysis().answer)
    assert [row["estimate_pp"] for row in data["moderation"]] == [0.10, 0.08]
    assert len(data["gains"]) == 12
    assert data["claims"][3]["verdict"] == "not tested"
    assert data["environment"]["torch"] == "2.13.0"
