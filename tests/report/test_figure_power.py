"""Power curves: lines and bands where the numbers are, seeds in logarithms, names that do not collide."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import sample_study
from drawing import SVG, parsed, texts

from analysis.results import Analysis, PowerPoint, SeedsNeeded
from report.figures.canvas import Picture
from report.figures.power import NAME, PANELS, power
from report.figures.svg import COLOURS

FEATURE, LOGIT = sample_study.FEATURE, sample_study.LOGIT
SEEDS = (2, 5, 10, 50)
POWERS = {0.1: (0.1, 0.2, 0.3, 0.6), 0.2: (0.2, 0.5, 0.8, 1.0), 0.4: (0.5, 0.9, 1.0, 1.0)}  # by effect in pp
VERDICTS = {0.1: (0.05, 0.3, 0.7, 1.0), 0.2: (0.1, 0.4, 0.75, 1.0), 0.4: (0.3, 0.85, 1.0, 1.0)}


def points(
    contrast: str = FEATURE, less: float = 0.0, effects: tuple[float, ...] = (0.1, 0.2, 0.4)
) -> list[PowerPoint]:
    """Every point of a contrast; all power lower by a little if asked."""
    return [
        PowerPoint(
            contrast, effect_pp, seeds, 0.1, 36, at - less, max(at - less - 0.1, 0), min(at - less + 0.1, 1), verdict,
            0.29,
        )
        for effect_pp in effects
        for seeds, at, verdict in zip(SEEDS, POWERS[effect_pp], VERDICTS[effect_pp], strict=True)
    ]  # fmt: skip


NEEDED = (SeedsNeeded(FEATURE, 0.1, 0.8, None, 90, None), SeedsNeeded(FEATURE, 0.2, 0.8, 10, 7, 17))


def study(*rows: PowerPoint, needed: tuple[SeedsNeeded, ...] = NEEDED) -> Analysis:
    """The sample study, five seeds a cell, with this planning."""
    return replace(sample_study.analysis(), power=rows, seeds_needed=needed)


def drawn(*rows: PowerPoint) -> Picture:
    """Its picture."""
    picture = power(study(*rows))
    assert picture is not None
    return picture


def marks(picture: Picture) -> list[tuple[float, float]]:
    """Where the points stand: power by effect and seeds, then verdicts in the same order."""
    page = f"var(--page, {COLOURS['page']})"
    uses = [use for use in parsed(picture).iter(f"{SVG}use") if use.attrib.get("stroke") == page]
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses]


def dashed(picture: Picture) -> list[list[tuple[float, float]]]:
    """The corners of the bands' edges."""
    paths = [
        e.attrib for e in parsed(picture).iter(f"{SVG}path") if e.attrib.get("stroke", "").startswith("var(--muted")
    ]
    edges = [path["d"] for path in paths if path.get("stroke-dasharray") and len(re.findall("[ML]", path["d"])) > 2]
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", edge)] for edge in edges]


def test_the_picture_tells_its_numbers_to_those_who_do_not_see_it() -> None:
    """Role, name, a description with what these runs' seeds find and how many it takes; colours of the page alone."""
    picture = drawn(*points())
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "power-title power-desc"
    assert root[0].text == picture.title
    told = (
        "With 5 seeds a cell a true effect of 0.2 pp is found with probability 50% (40 to 60%) and gets a verdict with "
        "40%. To find it with 80% takes 10 seeds (7 to 17)."
    )
    assert told in str(root[1].text)
    assert "a true effect of 0.1 pp is found with probability 20% (10 to 30%)" in str(root[1].text)
    assert "takes > 10000 seeds (90 to > 10000)" in str(root[1].text)
    assert picture.caption.startswith("What to see: ")
    assert told in picture.caption
    assert "says nothing about whether there is an effect" in picture.caption
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{name}, {value})" for name, value in COLOURS.items()}


def test_points_stand_at_their_probabilities_and_seeds() -> None:
    """Height is linear in the probability, the place linear in the logarithm of seeds, the same above and below."""
    found = marks(drawn(*points()))
    assert len(found) == 2 * 3 * len(SEEDS)
    for probabilities, places in ((POWERS, found[:12]), (VERDICTS, found[12:])):
        values = [value for own in probabilities.values() for value in own]
        scale = (places[3][1] - places[0][1]) / (values[3] - values[0])
        assert scale < 0
        for value, (_, y) in zip(values, places, strict=True):
            assert y == pytest.approx(places[0][1] + scale * (value - values[0]), abs=1e-2)
        unit = (places[3][0] - places[0][0]) / math.log(SEEDS[-1] / SEEDS[0])
        for seeds, (x, _) in zip(3 * SEEDS, places, strict=True):
            assert x == pytest.approx(places[0][0] + unit * math.log(seeds / SEEDS[0]), abs=1e-2)
    assert [x for x, _ in found[:12]] == [x for x, _ in found[12:]]


def test_a_band_has_dashed_edges_at_its_ends() -> None:
    """Both ends of the band are drawn, so that it is seen without its fill; verdicts have none."""
    picture = drawn(*points(effects=(0.2,)))
    edges = dashed(picture)
    assert len(edges) == 2
    line = marks(picture)[:4]
    tenth = (line[0][1] - line[1][1]) / 3
    low, high = sorted(edges, key=lambda edge: -edge[1][1])
    assert low[1] == pytest.approx((line[1][0], line[1][1] + tenth), abs=1e-2)
    assert high[1] == pytest.approx((line[1][0], line[1][1] - tenth), abs=1e-2)


def test_these_runs_are_marked() -> None:
    """An upright line at the seeds that a cell has now, named in bold below, whether or not a point stands there."""
    picture = drawn(*points())
    at_five = marks(picture)[1][0]
    bold = [e.text for e in parsed(picture).iter(f"{SVG}text") if e.attrib.get("font-weight") in ("bold", "700")]
    assert bold.count("these runs") == bold.count("5") == 2
    upright = re.findall(r'd="M ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+)"[^>]*stroke-width="1.6"', picture.svg)
    assert [float(x) for x, _, _, _ in upright] == pytest.approx([at_five, at_five], abs=1e-2)
    analysis = study(*points())
    other = power(replace(analysis, cells=tuple(replace(cell, n=80) for cell in analysis.cells)))
    assert other is not None
    assert {"80", "these runs"} <= set(texts(other))
    assert "With 2 seeds a cell a true effect of 0.2 pp is found with probability 20%" in other.caption
    assert "With 50 seeds a cell" in other.caption


def test_a_line_is_named_where_it_reaches_80_percent_with_its_seeds() -> None:
    """Above the axes at the crossing; one that does not reach it is named beside its end."""
    picture = drawn(*points())
    elements = [e for e in parsed(picture).iter(f"{SVG}text") if (e.text or "").endswith(" pp")]
    assert [e.text for e in elements] == ["▲ 0.4 pp", "■ 0.2 pp", "● 0.1 pp", "▲ 0.4 pp", "■ 0.2 pp", "● 0.1 pp"]
    places = marks(picture)
    assert float(elements[1].attrib["x"]) == pytest.approx(places[6][0], abs=0.1)  # 80% at 10 seeds
    assert float(elements[1].attrib["y"]) < places[11][1]
    assert float(elements[2].attrib["x"]) > places[3][0]
    assert float(elements[2].attrib["y"]) == pytest.approx(places[3][1], abs=12)
    assert "10 seeds" in texts(picture)
    assert "> 10000" in texts(picture)


def test_names_of_lines_that_cross_together_stand_apart() -> None:
    """Three effects that reach 80% at the same seeds: names side by side, inside the figure."""
    same = [replace(point, power=POWERS[0.2][SEEDS.index(point.seeds)]) for point in points()]
    names = [e for e in parsed(drawn(*same)).iter(f"{SVG}text") if (e.text or "").endswith(" pp")][:3]
    places = sorted(float(e.attrib["x"]) for e in names)
    assert all(right - left >= NAME - 0.01 for left, right in pairwise(places))
    assert places[0] > NAME / 2
    assert places[-1] < 400 - NAME / 2


def test_names_of_lines_that_end_together_stand_apart() -> None:
    """Three effects that never reach 80%, at nearly the same power: names one below the other."""
    same = [replace(point, power=0.3 + point.effect_pp / 100) for point in points()]
    names = [e for e in parsed(drawn(*same)).iter(f"{SVG}text") if (e.text or "").endswith(" pp")][:3]
    heights = sorted(float(e.attrib["y"]) for e in names)
    assert all(below - above >= 28 for above, below in pairwise(heights))


def test_contrasts_with_the_same_curves_share_a_panel() -> None:
    """What no eye tells apart is drawn once under both names; what differs stands apart."""
    both = drawn(*points(), *points(LOGIT, less=0.005))
    assert len(marks(both)) == len(marks(drawn(*points())))
    assert {f"gain from {name}: R34 \N{MINUS SIGN} R18" for name in ("feature", "logit")} <= set(texts(both))
    assert "share a panel" in both.caption
    apart = drawn(*points(), *points(LOGIT, less=0.05))
    assert len(marks(apart)) == 2 * len(marks(both))
    assert "share a panel" not in apart.caption
    fewer = drawn(*points(), *points(LOGIT, effects=(0.1, 0.2)))
    assert len(marks(fewer)) == len(marks(both)) + 2 * 2 * len(SEEDS)


def test_the_figure_does_not_grow_without_end() -> None:
    """Of many different curves the first are drawn; the caption counts the others, the data hold all."""
    rows = [point for place in range(9) for point in points(f"gain:s{place}:x", less=0.012 * place)]
    picture = drawn(*rows)
    assert len(marks(picture)) == PANELS * 2 * 3 * len(SEEDS)
    assert f"not drawn: {9 - PANELS};" in picture.caption
    assert len(picture.rows) == len(rows)


def test_the_data_are_the_points_of_the_analysis() -> None:
    """Unrounded, under headings with units."""
    rows = points()
    picture = drawn(*rows)
    assert picture.head[1] == "effect_pp"
    assert picture.rows == tuple(tuple(getattr(point, name) for name in picture.head) for point in rows)


def test_there_is_no_figure_without_a_plan() -> None:
    """Where nothing was planned nothing is drawn."""
    assert power(study()) is None


def test_one_point_is_drawn() -> None:
    """A single number of seeds, the present one, has marks and a scale."""
    picture = drawn(points()[1])
    assert len(marks(picture)) == 2
    assert {"5", "these runs", "● 0.1 pp"} <= set(texts(picture))


def test_a_name_that_looks_like_a_tag_is_text_and_a_long_one_is_broken() -> None:
    """Names come from the user's table."""
    name = f"gain:<script>alert(1)</script>:{'a_very_long_name_' * 8}"
    picture = drawn(*points(name))
    assert not [e for e in parsed(picture).iter() if e.tag.endswith("script")]
    shown = texts(picture)
    assert "".join(shown).count(name) == 1
    assert max(map(len, shown)) <= 62


def test_the_same_input_gives_the_same_bytes() -> None:
    """Nothing in the figure depends on chance or time, and it is small."""
    picture = drawn(*points(), *points(LOGIT))
    assert picture == drawn(*points(), *points(LOGIT))
    assert len(picture.svg) < 60_000
