"""The caterpillar plot: every group at its predicted effect, by size, under a name that can be read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sample_study
from drawing import SVG, marks, parsed, texts

from analysis.results import Analysis, Diagnostic
from report.figures.canvas import Picture
from report.figures.caterpillar import ENDS, LETTERS, NAMED, caterpillar
from report.figures.svg import COLOURS

CHECKPOINTS = "teacher:teacher_seed:student:method[kd]"


def effect(label: str, value_pp: float, sd_pp: float = 0.03, component: str = "student:seed") -> Diagnostic:
    """The prediction of one group."""
    return Diagnostic("primary", "test_acc_best", "all", "random effect", component, label, value_pp, sd_pp, None, 0.0)


EFFECTS = (effect("resnet18:0", -0.02), effect("resnet18:1", 0.05), effect("resnet34:0", 0.01))


def study(*effects: Diagnostic) -> Analysis:
    """The sample study with these predictions, beside the residual that it has."""
    analysis = sample_study.analysis()
    return replace(analysis, diagnostics=(*analysis.diagnostics, *effects))


def drawn(*effects: Diagnostic) -> Picture:
    """Their picture."""
    picture = caterpillar(study(*effects))
    assert picture is not None
    return picture


def test_the_picture_tells_its_numbers_to_those_who_do_not_see_it() -> None:
    """Role, name, a description with the ends, a caption that says which intervals, colours of the page alone."""
    picture = drawn(*EFFECTS)
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "caterpillar-title caterpillar-desc"
    assert root[0].text == picture.title
    told = "3 groups of student:seed, from R18, seed 1 at +0.05 down to R18, seed 0 at \N{MINUS SIGN}0.02 pp."
    assert str(root[1].text).startswith(told)
    assert picture.caption.startswith("What to see: ")
    assert "conditional standard deviation" in picture.caption
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{name}, {value})" for name, value in COLOURS.items()}


def test_marks_stand_at_their_effects_the_largest_on_top() -> None:
    """The place is linear in the effect; lines end one and two conditional standard deviations from it."""
    picture = drawn(*EFFECTS)
    places = [(float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in marks(picture)]
    assert [y for _, y in places] == sorted(y for _, y in places)
    scale = (places[0][0] - places[2][0]) / (0.05 - -0.02)
    zero = places[0][0] - 0.05 * scale
    assert places[1][0] == pytest.approx(zero + 0.01 * scale, abs=1e-2)
    paths = [e.attrib["d"] for e in parsed(picture).iter(f"{SVG}path")]
    lines = [tuple(map(float, found)) for d in paths for found in re.findall(r"^M (\S+) \S+ L (\S+) \S+$", d)]
    for row in EFFECTS:
        for reach in (1, 2):
            ends = [zero + scale * (row.value_pp + side * reach * 0.03) for side in (-1, 1)]
            assert any(line == pytest.approx(ends, abs=1e-2) for line in lines)
    assert any(line == pytest.approx([zero, zero], abs=1e-2) for line in lines)


def test_the_caption_counts_what_clears_zero() -> None:
    """A line of two conditional standard deviations that ends at one side of zero is counted, no other."""
    crossing = (effect("resnet18:0", -0.05), effect("resnet18:1", 0.05))
    assert "All 2 thin lines cross zero" in drawn(*crossing).caption
    assert "1 of 3 thin lines clears zero" in drawn(*crossing, effect("resnet34:0", -0.07)).caption


@pytest.mark.parametrize(
    ("component", "label", "name"),
    [
        ("student:seed", "resnet18:12", "R18, seed 12"),
        ("student:seed", "my:own:net:3", "my:own:net, seed 3"),
        (CHECKPOINTS, "resnet50:1:resnet34:logit", "R50 seed 1 → R34, logit"),
        (CHECKPOINTS, "resnet50::resnet34:logit", "R50 seed unknown → R34, logit"),
        (CHECKPOINTS.replace(":method", ""), "resnet50:1:resnet34", "R50 seed 1 → R34"),
        (CHECKPOINTS, "of:no:cell", "of:no:cell"),
        ("teacher", "resnet50", "resnet50"),
    ],
)
def test_groups_have_names_in_words(component: str, label: str, name: str) -> None:
    """Names are looked up among the cells, since they may hold colons; what is not understood keeps its label."""
    lines = texts(drawn(effect(label, 0.1, component=component)))
    assert name in " ".join(lines)


def test_every_component_has_its_own_heading_and_order() -> None:
    """Groups of different kinds are not sorted into one another."""
    picture = drawn(*EFFECTS, effect("resnet50:1:resnet34:logit", 0.03, component=CHECKPOINTS))
    assert [row[2] for row in picture.rows] == ["student:seed"] * 3 + [CHECKPOINTS]
    assert "from seed to seed (student:seed)" in texts(picture)
    assert CHECKPOINTS in " ".join(texts(picture))


def test_a_crowd_is_named_at_its_ends() -> None:
    """Of hundreds of groups both ends have names and marks, bands stand between, and the data hold all of them."""
    many = [
        effect(f"net{number}:{seed}", (37 * (30 * number + seed) % 361) / 1000)
        for number in range(12)
        for seed in range(30)
    ]
    picture = drawn(*many)
    assert len(marks(picture)) == 2 * ENDS
    assert "bands join" in picture.caption
    assert len(picture.rows) == len(many)
    assert [row[4] for row in picture.rows] == sorted((row.value_pp for row in many), reverse=True)
    assert len(picture.svg) < 60_000
    few = drawn(*many[:NAMED])
    assert len(marks(few)) == NAMED
    assert "bands join" not in few.caption


def test_the_data_are_those_of_the_analysis() -> None:
    """Unrounded, with units in the headings and labels as the analysis has them."""
    picture = drawn(effect("resnet18:0", 0.0123456789012345, 0.0345678901234567))
    assert picture.head == ("model", "subset", "component", "group", "effect_pp", "conditional_sd_pp")
    assert picture.rows == (("primary", "all", "student:seed", "resnet18:0", 0.0123456789012345, 0.0345678901234567),)


def test_there_is_no_picture_without_predictions() -> None:
    """A variance estimated as zero leaves none; residuals alone make no picture."""
    assert caterpillar(study()) is None


def test_long_and_hostile_names_are_told_whole() -> None:
    """They are broken into lines that fit, escaped, and lose no word."""
    name = "<script>x</script> and a student of a name that no line can hold"
    picture = drawn(effect(f"{name}:0", 0.1))
    assert "<script>" not in picture.svg
    lines = texts(picture)
    assert f"{name}, seed 0" in " ".join(lines)
    named = [line for line in lines if line and line in f"{name}, seed 0"]
    assert max(map(len, named)) <= LETTERS


def test_the_same_analysis_gives_the_same_bytes_in_any_order() -> None:
    """No clock and no chance; equal effects stand by name."""
    tied = (effect("resnet18:0", 0.01), effect("resnet34:0", 0.01), effect("resnet18:1", 0.02))
    assert drawn(*tied) == drawn(*tied[::-1])
