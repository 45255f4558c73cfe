"""The picture of variance components: true to the analysis, open about zeros, readable with any name."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import sample_study
from drawing import SVG, marks, parsed, texts

from analysis.results import Analysis, VarianceComponent
from report.figures.canvas import Picture
from report.figures.svg import COLOURS
from report.figures.variance import LETTERS, variance


def component(
    model: str, name: str, sd_pp: float, interval: tuple[float | None, float | None], subset: str = "all"
) -> VarianceComponent:
    """One component of a model of the metric analysed."""
    return VarianceComponent(model, "test_acc_best", subset, name, sd_pp, *interval, sd_pp**2, 0.5, sd_pp == 0)


REGULAR = (
    component("primary", "student:seed", 0.04, (0.0, 0.12)),
    component("primary", "residual", 0.13, (0.10, 0.16)),
)
SINGULAR = (  # the fit that found the zero, and the refit without it, whose numbers count
    component("gain", "teacher", 0.0, (None, None)),
    component("gain", "student:seed", 0.11, (None, None)),
    component("gain", "residual", 0.19, (None, None)),
    component("gain:refit", "student:seed", 0.12, (0.06, 0.23)),
    component("gain:refit", "residual", 0.17, (0.10, 0.19)),
)


def study(*components: VarianceComponent) -> Analysis:
    """The sample study (margin 0.2 pp) with these variance components."""
    return replace(sample_study.analysis(), variance_components=components)


def drawn(*components: VarianceComponent) -> Picture:
    """Their picture."""
    picture = variance(study(*components))
    assert picture is not None
    return picture


def test_the_picture_tells_its_numbers_to_those_who_do_not_see_it() -> None:
    """Role, name, a description with every number, a caption that says what to see, colours of the page alone."""
    picture = drawn(*REGULAR)
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "variance-title variance-desc"
    assert root[0].text == picture.title
    assert "student:seed 0.04 [0.00, 0.12], residual 0.13 [0.10, 0.16]" in str(root[1].text)
    assert "margin 0.20 pp" in str(root[1].text)
    assert picture.caption.startswith("What to see: ")
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{name}, {value})" for name, value in COLOURS.items()}


def test_marks_intervals_and_margin_stand_where_the_data_are() -> None:
    """Two marks give the scale; on it lie all other marks, the ends of each interval, and the margin."""
    components = (*REGULAR, component("pairs", "residual", 0.08, (0.05, 0.14)))
    picture = drawn(*components)
    places = [float(mark.attrib["x"]) for mark in marks(picture)]
    scale = (places[1] - places[0]) / (0.13 - 0.04)
    zero = places[0] - 0.04 * scale
    assert scale > 0
    assert places == pytest.approx([zero + scale * row.sd_pp for row in components], abs=1e-2)
    paths = [e.attrib["d"] for e in parsed(picture).iter(f"{SVG}path")]
    lines = [tuple(map(float, found)) for d in paths for found in re.findall(r"^M (\S+) \S+ L (\S+) \S+$", d)]
    for row in components:
        ends = [zero + scale * end for end in (row.sd_ci_low_pp or 0.0, row.sd_ci_high_pp or 0.0)]
        assert any(line == pytest.approx(ends, abs=1e-2) for line in lines)
    assert sum(line == pytest.approx([zero + scale * 0.2] * 2, abs=1e-2) for line in lines) == len(components)


def test_a_zero_is_drawn_at_zero_and_said() -> None:
    """It has a hollow mark left of all others; its unknown limit is no zero either, and the caption names it."""
    picture = drawn(*REGULAR, *SINGULAR)
    hollow = [mark for mark in marks(picture) if "--page" in mark.attrib["fill"]]
    assert len(hollow) == 1
    assert float(hollow[0].attrib["x"]) == min(float(mark.attrib["x"]) for mark in marks(picture))
    assert "zero; limit not known" in texts(picture)
    assert "estimated as zero (teacher in model gain)" in picture.caption
    assert "estimated as zero" not in drawn(*REGULAR).caption
    assert "no effects to draw" not in picture.caption
    assert "no effects to draw" in drawn(replace(REGULAR[0], sd_pp=0.0), REGULAR[1]).caption


def test_the_upper_limit_of_a_zero_is_drawn_where_it_is_known() -> None:
    """A zero with an interval says how large the component may still be."""
    picture = drawn(component("primary", "student:seed", 0.0, (0.0, 0.31)), REGULAR[1])
    assert "zero [0.00, 0.31]" in texts(picture)
    assert not any("not known" in text for text in texts(picture))


def test_companions_of_a_zero_come_from_the_refit() -> None:
    """A component of two fits is drawn once, from the refit, whatever the order."""
    assert [row[0:3:2] for row in drawn(*SINGULAR).rows] == [
        ("gain", "teacher"),
        ("gain:refit", "student:seed"),
        ("gain:refit", "residual"),
    ]
    backwards = drawn(*SINGULAR[3:], *SINGULAR[:3])
    assert {row[2]: row[3] for row in backwards.rows} == {"teacher": 0.0, "student:seed": 0.12, "residual": 0.17}


def test_the_data_are_those_of_the_analysis() -> None:
    """Unrounded, with units in the headings."""
    odd = replace(REGULAR[0], sd_pp=0.0412345678912345)
    picture = drawn(odd)
    assert picture.head == ("model", "subset", "component", "sd_pp", "sd_ci_low_pp", "sd_ci_high_pp", "margin_pp")
    assert picture.rows == (("primary", "all", "student:seed", 0.0412345678912345, 0.0, 0.12, 0.2),)


def test_there_is_no_picture_without_components_of_the_main_models() -> None:
    """Neither a table without rows nor one of other models or metrics makes a picture."""
    assert variance(study()) is None
    assert variance(study(replace(REGULAR[0], model="clipping"), replace(REGULAR[1], metric="agreement"))) is None


def test_an_unbounded_interval_runs_out_of_the_picture() -> None:
    """An upper limit that lies nowhere neither breaks the scale nor gets an end."""
    picture = drawn(component("primary", "student:seed", 0.04, (0.0, math.inf)), REGULAR[1])
    assert "0.04 [0.00, ∞]" in texts(picture)
    assert not re.search(r"\b(inf|nan)\b", picture.svg)


def test_long_and_hostile_names_are_told_whole() -> None:
    """They are broken into lines that fit, escaped, and lose no word."""
    name = "<script>alert(1)</script> and a teacher of a name that no line of a phone can hold in one piece"
    picture = drawn(replace(REGULAR[0], subset=f"teachers:{name}"), replace(REGULAR[1], subset=f"teachers:{name}"))
    assert "<script>" not in picture.svg
    lines = texts(picture)
    assert name in " ".join(lines)
    assert max(map(len, lines)) <= LETTERS


def test_the_same_analysis_gives_the_same_bytes() -> None:
    """No clock and no chance."""
    assert drawn(*REGULAR, *SINGULAR) == drawn(*REGULAR, *SINGULAR)
