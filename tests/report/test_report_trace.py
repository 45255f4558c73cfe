"""The trail: from a claim to its contrast, from there to its model, and on to the runs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import NamedTuple

import pytest
import reading
import sample_study

from analysis.results import Analysis
from report.numbers import effect_unit, number
from report.render import render
from report.words import spoken

CONTRASTS = ("moderation", "gain", "pairs", "ablations", "fidelity", "agreement")  # tables of contrasts
NO_MODEL = "first version minus these runs, mean over cells"  # a difference of means


class Trail(NamedTuple):
    """A page as a tree, and what it was made of."""

    root: ET.Element
    analysis: Analysis


def trail(analysis: Analysis) -> Trail:
    """The page of an analysis."""
    return Trail(reading.tree(render(analysis, sample_study.runs(), sample_study.context()).html), analysis)


@pytest.fixture(scope="module")
def sample() -> Trail:
    """The hand-made study's, whose claim about fidelity is about the model of fidelity."""
    analysis = sample_study.analysis()
    claims = (replace(c, model="fidelity", metric="kl_t1") if c.id == "closer" else c for c in analysis.claims)
    return trail(replace(analysis, claims=tuple(claims)))


def by_id(root: ET.Element) -> dict[str, ET.Element]:
    """Elements by id."""
    return {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}


def targets(element: ET.Element) -> list[str]:
    """Where its links inside the page lead."""
    return [a.attrib["href"][1:] for a in element.iter("a") if a.attrib.get("href", "").startswith("#")]


def dead_links(root: ET.Element) -> list[str]:
    """Places that a link leads to and that are not there."""
    return [target for target in targets(root) if target not in by_id(root)]


def test_every_link_leads_somewhere(sample: Trail, page: str) -> None:
    """Also those inside closed details; of a page that lost a row's id, the dead links are named."""
    assert len(targets(sample.root)) > 70
    assert dead_links(sample.root) == []
    spoiled = reading.tree(page)
    del by_id(spoiled)["run-4"].attrib["id"]
    assert "run-4" in dead_links(spoiled)


def test_every_contrast_leads_to_its_model(sample: Trail) -> None:
    """The last cell of each contrast's row is a link to the details of the model that it names, for its metric."""
    places = by_id(sample.root)
    seen = 0
    for name in CONTRASTS:
        for row in reading.table(sample.root, name).findall("./tbody/tr"):
            if reading.text(row[0]) == NO_MODEL:
                assert targets(row) == []
                continue
            (target,) = targets(row)
            assert places[target].tag == "details"
            title = reading.text(reading.one(places[target], "./summary/h4"))
            expected = reading.text(row[-1]) + (", KL at T = 1" if name == "fidelity" else "")
            assert title == expected
            seen += 1
    assert seen == len(sample.analysis.contrasts) + len(sample.analysis.fidelity) - 1


def test_every_contrast_of_the_analysis_has_a_row_of_its_own(sample: Trail) -> None:
    """No family is left out of the tables, and every row can be linked to."""
    found = [row for name in CONTRASTS for row in reading.table(sample.root, name).findall("./tbody/tr")]
    anchors = [row.attrib["id"] for row in found]
    assert len(set(anchors)) == len(found) == len(sample.analysis.contrasts) + len(sample.analysis.fidelity)


def test_a_model_lists_the_rows_behind_it(sample: Trail) -> None:
    """Runs 4 to 53 as one stretch, and with gaps as several; each leads to the row of that number."""
    broken = replace(sample.analysis.models[0], runs=(4, 5, 6, 9, 20, 21))
    gaps = trail(replace(sample.analysis, models=(broken, *sample.analysis.models[1:])))
    for page, expected in ((sample, ["4 to 53"]), (gaps, ["4 to 6", "9", "20 to 21"])):
        places = by_id(page.root)
        first = next(e for name, e in places.items() if name.startswith("model-primary"))
        (facts,) = [div for div in first.iter("div") if reading.text(div[0]) == "Rows of the response"]
        links = facts[1].findall("a")
        assert [reading.text(link) for link in links] == expected
        for link in links:
            row = places[link.attrib["href"][1:]]
            assert row.tag == "tr"
            assert reading.text(row[0]) == reading.text(link).split(" ")[0]


def test_every_run_has_a_row_that_can_be_linked_to(sample: Trail) -> None:
    """Ids of the runs' rows carry the number that stands in their first cell."""
    rows = reading.table(sample.root, "runs").findall("./tbody/tr")
    assert [row.attrib["id"] for row in rows] == [f"run-{number}" for number in range(1, 54)]
    assert [reading.text(row[0]) for row in rows] == [str(number) for number in range(1, 54)]


def test_a_claim_leads_to_its_words_and_from_there_to_its_contrast(sample: Trail) -> None:
    """The row it leads to holds the estimate that its own contrast has; a claim about no row has no such link."""
    places, analysis = by_id(sample.root), sample.analysis
    estimates = {(c.metric, c.contrast): number(c.estimate_pp, "signed_pp") for c in analysis.contrasts}
    estimates |= {(f.metric, f.contrast): number(f.estimate, effect_unit(f.unit)) for f in analysis.fidelity}
    rows = reading.table(sample.root, "claims").findall("./tbody/tr")
    followed = []
    for claim, row in zip(analysis.claims, rows, strict=True):
        (target,) = targets(row)
        words = places[target]
        assert reading.text(words.findall("dt")[0]) == claim.sentence == reading.text(row[0])
        wanted = estimates.get((claim.metric, claim.contrast))
        assert len(targets(words)) == (wanted is not None)
        for contrast in targets(words):
            assert reading.text(places[contrast][1]) == wanted
            followed.append(claim.id)
    assert followed == ["moderation:feature", "moderation:logit", "gain", "closer", "null"]


def test_after_a_singular_fit_a_claim_leads_to_the_refit(singular_page: str) -> None:
    """Both fits stand in the table; the claim's link finds the one that it rests on."""
    places = by_id(reading.tree(singular_page))
    words = next(e for name, e in places.items() if name.startswith("claim-in-words-gain"))
    (target,) = targets(words)
    assert reading.text(places[target][0]) == "ResNet-34, feature (refit)"
    (model,) = targets(places[target])
    assert reading.text(reading.one(places[model], "./summary/h4")) == "primary, refit"


def test_names_that_look_alike_have_places_of_their_own() -> None:
    """Methods that differ only in characters an id cannot hold do not share an id."""
    analysis, runs = sample_study.renamed({"feature": "a b", "logit": "a+b"})
    root = reading.tree(render(analysis, runs, sample_study.context()).html)
    found = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(found) == len(set(found))
    assert dead_links(root) == []


def test_headings_and_figures_can_be_linked_to(sample: Trail) -> None:
    """Each section but the question and each figure has a permalink to itself, with words for a screen reader."""
    links = [a for a in sample.root.iter("a") if a.attrib.get("class") == "permalink"]
    wanted = [section.attrib["id"] for section in sample.root.iter("section")][1:]
    figures = [figure.attrib["id"] for figure in sample.root.iter("figure")]
    assert sorted(a.attrib["href"][1:] for a in links) == sorted([*wanted, *figures])
    assert all(re.match(r"Link to (“.+”|figure \d+)$", a.attrib["aria-label"]) for a in links)
    for name in (*wanted, *figures):
        assert f"#{name}" in [a.attrib.get("href") for a in by_id(sample.root)[name].iter("a")]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Under feature distillation resnet34 gains 0.10.", "Under feature distillation ResNet-34 gains 0.10."),
        ("resnet101 teaches (resnet18), resnet50.", "ResNet-101 teaches (ResNet-18), ResNet-50."),
        ("gain:resnet50>resnet18:feature", "gain:resnet50>resnet18:feature"),
        ("moderation:feature-none:resnet34-resnet18 is", "moderation:feature-none:resnet34-resnet18 is"),
        ("wideresnet28, my_resnet18, resnet18x2", "wideresnet28, my_resnet18, resnet18x2"),
    ],
)
def test_sentences_name_architectures_as_people_write_them(sentence: str, expected: str) -> None:
    """Identifiers and other names are left alone: they must be found again in the files."""
    assert spoken(sentence) == expected
