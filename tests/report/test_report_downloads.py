"""What a reader can take away: CSV of every table and figure, JSON of everything, short markdown."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from typing import NamedTuple

import numpy as np
import pytest
import reading
import sample_study

from report.contents import contents
from report.downloads import picture_csv, table_csv
from report.figures.canvas import Datum, Picture
from report.render import Rendered, render
from report.tables import Column, Table

FORMULA = ("=", "+", "-", "@")
MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"


class Study(NamedTuple):
    """A rendered study, its page as a tree, and its figures."""

    rendered: Rendered
    root: ET.Element
    pictures: dict[str, Picture]


@pytest.fixture(scope="module")
def study(full: Rendered) -> Study:
    """The hand-made study's."""
    shown = contents(sample_study.analysis(), sample_study.runs(), sample_study.full_context())
    return Study(full, reading.tree(full.html), {picture.id: picture for picture in shown.every_picture})


def data_tables(root: ET.Element) -> dict[str, ET.Element]:
    """Tables by name, apart from that of the claims, which holds more than one number a cell."""
    found = {t.attrib["id"].removeprefix("table-"): t for t in root.iter("table")}
    return {name: table for name, table in found.items() if name != "claims"}


def differences(table: ET.Element) -> list[tuple[str, str]]:
    """Cells of a table's CSV that are not what the page shows, as shown and as downloaded."""
    numeric = [cell.attrib.get("class") == "number" for cell in table.findall("./thead/tr/th")]
    head, *body = reading.downloaded(table)
    assert head == reading.headings(table)
    shown = reading.rows(table)
    assert len(body) == len(shown)
    return [
        (cell, found)
        for row, line in zip(shown, body, strict=True)
        for is_number, cell, found in zip(numeric, row, line, strict=True)
        if found != ("" if cell == MISSING else cell.replace(MINUS, "-") if is_number else cell)
    ]


def test_a_table_downloads_as_it_is_shown(study: Study) -> None:
    """Every cell, with plain minus signs among numbers, and nothing where the page has a dash."""
    tables = data_tables(study.root)
    assert {"moderation", "gain", "cells", "budget", "curve", "effects", "fidelity", "engines", "runs"} < set(tables)
    for name, table in tables.items():
        assert differences(table) == [], name
    flat = [cell for table in tables.values() for row in reading.downloaded(table) for cell in row]
    assert "-0.08" in flat
    assert "" in flat


def test_a_cell_that_differs_is_found(study: Study) -> None:
    """The comparison fails where the page shows something else than the download holds."""
    table = reading.table(reading.tree(study.rendered.html), "cells")
    reading.one(table, "./tbody/tr[1]/td[4]").text = "1.00"
    assert differences(table) == [("1.00", "94.86")]


def test_the_claims_download_with_all_that_their_row_shows(study: Study) -> None:
    """Sentence, verdict, estimate with unit and interval, 90% interval, margin and seeds, in text of one cell each."""
    table = reading.table(study.root, "claims")
    names = reading.headings(table)
    assert names == [
        "Claim", "Verdict", "These runs", "90% interval, margin", "Published runs", "Seeds to settle",
        "Published with it",
    ]  # fmt: skip
    head, *body = reading.downloaded(table)
    shown = reading.rows(table)
    assert len(shown) == len(body) == 7
    for row, line in zip(shown, body, strict=True):
        page, file = dict(zip(names, row, strict=True)), dict(zip(head, line, strict=True))
        told = {name: "" if cell == MISSING else cell.replace(MINUS, "-") for name, cell in page.items()}
        assert file["Claim"] == told["Claim"]
        assert told["Verdict"].endswith(f" {file['Verdict']}")
        estimate = re.sub(r"^(\S+) (\w+) ?(\[.*\])$", r"\1 \3 \2", told["These runs"])
        assert file["Estimate and adjusted 95% interval"] == estimate
        interval, margin = told["90% interval, margin"].split("±")
        assert file["90% interval"] == interval.replace(MISSING, "")
        assert file["Held against"].endswith(margin)
        assert file["Seeds to settle"] == told["Seeds to settle"]
        assert file["Published with it"] == page["Published with it"].replace(MISSING, "")


def same(found: str, datum: Datum) -> bool:
    """Whether a downloaded cell is a figure's datum, to the last digit."""
    if datum is None:
        return found == ""
    if isinstance(datum, str):
        return found == datum
    return math.isfinite(datum) and float(found) == datum


def test_a_figure_downloads_its_data_to_the_last_digit(study: Study) -> None:
    """Heads with units, a row for each of its rows; text that is a number reads as that number."""
    figures = {f.attrib["id"].removeprefix("figure-"): f for f in study.root.iter("figure")}
    assert set(figures) == set(study.pictures)
    assert {"forest", "equivalence", "interaction", "strip", "convergence", "coverage", "power"} < set(figures)
    for name, figure in figures.items():
        picture = study.pictures[name]
        head, *body = reading.downloaded(figure)
        assert tuple(head) == picture.head
        assert len(body) == len(picture.rows) > 0
        for line, row in zip(body, picture.rows, strict=True):
            assert all(map(same, line, row)), (name, line, row)
    assert not same("0.1", 0.10000000001)
    assert not same("nan", float("nan"))


def test_the_forests_download_holds_the_analysis_estimates(study: Study) -> None:
    """What is saved from the figure are the analysis' own numbers, not those that the page rounds."""
    head, *body = reading.downloaded(reading.one(study.root, ".//figure[@id='figure-forest']"))
    column = head.index("estimate_pp")
    drawn = {c.estimate_pp for c in sample_study.analysis().contrasts if c.family in ("gains", "pair-gains")}
    assert drawn <= {float(line[column]) for line in body}


def test_a_name_is_never_a_formula() -> None:
    """Names from the runs table that a spreadsheet would compute are quoted, in tables, figures and headings."""
    analysis, runs = sample_study.renamed({"resnet34": "=1+1", "feature": "@sum", "logit": "-logit"})
    root = reading.tree(render(analysis, runs, sample_study.full_context()).html)
    holders = [*data_tables(root).values(), reading.table(root, "claims"), *root.iter("figure")]
    cells = [cell for holder in holders for row in reading.downloaded(holder) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    assert not [cell for cell in cells if cell.startswith(FORMULA) and not re.match(r"[+-][\d.]", cell)]
    assert {"'=1+1", "'@sum", "'-logit"} < set(cells)


def test_formulas_in_every_place_of_a_file_are_quoted() -> None:
    """A heading (a metric of the user's own has any name), a cell of text, and a text among a figure's data."""
    table = Table(
        "x", "", (Column("=metric (%)", numeric=True), Column("Name", numeric=False)), ((f"{MINUS}1", "=A1"),)
    )
    assert table_csv(table) == "'=metric (%),Name\n-1,'=A1\n"
    picture = Picture("x", "", "", "", ("name", "value_pp"), (("=A1", -1.5), ("a,b", None)))
    assert picture_csv(picture) == 'name,value_pp\n\'=A1,-1.5\n"a,b",\n'


@pytest.mark.parametrize(
    ("value", "text"), [(np.float64(0.1), "0.1"), (np.int64(3), "3"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_a_number_of_another_kind_is_still_a_number(value: float, text: str) -> None:
    """A numpy number that finds its way into a figure's data is written as digits."""
    assert picture_csv(Picture("x", "", "", "", ("v",), ((value,),))) == f"v\n{text}\n"


def refuse(name: str) -> float:
    """JSON has no NaN and no infinity."""
    raise AssertionError(name)


def test_json_holds_every_table_and_figure_of_the_page(study: Study) -> None:
    """Under the ids that the page has, with the rows that it shows; it is plain JSON, without NaN."""
    data = json.loads(json.dumps(study.rendered.json, allow_nan=False), parse_constant=refuse)
    tables = data_tables(study.root)
    assert set(data["tables"]) == set(tables)
    for name, table in tables.items():
        assert data["tables"][name]["columns"] == reading.headings(table)
        assert data["tables"][name]["rows"] == reading.rows(table)
    assert set(data["figures"]) == {f.attrib["id"].removeprefix("figure-") for f in study.root.iter("figure")}
    for name, picture in study.pictures.items():
        assert data["figures"][name]["columns"] == list(picture.head)
        assert data["figures"][name]["rows"] == [list(row) for row in picture.rows]
    assert [claim["sentence"] for claim in data["claims"]] == [
        reading.text(row[0]) for row in reading.table(study.root, "claims").findall("./tbody/tr")
    ]
    assert data["verification"] == {"verdict": "PASS", "sentence": "Ten cells agree with resnet34's -0.08."}


def test_markdown_is_short_and_tells_the_verification(study: Study, rendered: Rendered) -> None:
    """Answer, verification and the claims that were tested fit on a screen, in words that people use."""
    lines = study.rendered.markdown.splitlines()
    assert len(lines) < 40
    assert f"**Verification:** PASS. Ten cells agree with resnet34's {MINUS}0.08." in lines
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("|")][2:] == [
        claim.sentence for claim in sample_study.claims() if claim.verdict != "not tested"
    ]
    assert "Verification" not in rendered.markdown
