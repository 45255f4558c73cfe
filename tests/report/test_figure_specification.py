"""The specification curve: every estimate in its place, the primary one marked, what is not drawn told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import sample_study
from drawing import SVG, parsed, texts

from analysis.results import Analysis, Choice, Specification
from analysis.runs.layout import layout_of
from analysis.runs.metric import ACCURACY
from analysis.runs.table import finals
from analysis.study import multiverse
from report.figures.canvas import Picture
from report.figures.specification import BOLD_LETTERS, CHOICES, LETTERS, OPTIONS, specification
from report.figures.svg import COLOURS

MINUS = "\N{MINUS SIGN}"
LINE = re.compile(r"M ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+)")


def way(estimate_pp: float, half_pp: float | None = 0.2, **taken: str | bool) -> Specification:
    """One specification of feature in points; the primary one unless choices are given."""
    low, high = (None, None) if half_pp is None else (estimate_pp - half_pp, estimate_pp + half_pp)
    row = Specification(
        "feature", "test_acc_best", "pp", "all", "all", "selected", "mixed", "kenward-roger", estimate_pp, 0.1, 36.0,
        low, high, 0.3, 0.6, 50, False, low is not None and low > 0, False,
    )  # fmt: skip
    return replace(row, **taken)


def study(*rows: Specification) -> Analysis:
    """The sample study with these specifications and what the analysis says of their choices."""
    return replace(sample_study.analysis(), multiverse=rows, choices=multiverse.choices(rows))


def drawn(*rows: Specification) -> Picture:
    """Their picture."""
    picture = specification(study(*rows))
    assert picture is not None
    return picture


def medians(picture: Picture) -> dict[str, float]:
    """Where the marks of the medians stand, by the start of their tooltips: method and option."""
    groups = [group for group in parsed(picture).iter(f"{SVG}g") if group.attrib.get("class") == "run"]
    return {
        (group[0].text or "").split(". Median")[0]: float(next(group.iter(f"{SVG}use")).attrib["x"]) for group in groups
    }


def lines(picture: Picture, colour: str, width: str) -> list[tuple[float, ...]]:
    """Straight lines (x, y, x, y) of a colour and a width."""
    found = [
        path.attrib["d"]
        for path in parsed(picture).iter(f"{SVG}path")
        if path.attrib.get("stroke", "").startswith(f"var(--{colour},") and path.attrib.get("stroke-width") == width
    ]
    return [tuple(map(float, ends)) for data in found for ends in LINE.findall(data)]


def scale(picture: Picture, **options_pp: float) -> tuple[float, float]:
    """Place of zero and of one point more, from the marks of two medians under `feature, seeds: NAME`."""
    (one, one_pp), (other, other_pp) = options_pp.items()
    places = medians(picture)
    x, x_other = places[f"feature, seeds: {one}"], places[f"feature, seeds: {other}"]
    unit = (x_other - x) / (other_pp - one_pp)
    return x - unit * one_pp, unit


CURVE = (way(0.1), way(-0.3, seeds="odd"), way(0.5, seeds="even"), way(0.3, seeds="even"))


def test_the_picture_tells_its_numbers_to_those_who_do_not_see_it() -> None:
    """Role, name, a description with counts, ends, the primary one and the outermost medians; the page's colours."""
    picture = drawn(*CURVE)
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "specification-title specification-desc"
    assert root[0].text == picture.title
    assert root[1].text == (
        f"feature: 4 specifications from {MINUS}0.30 to +0.50 pp; 2 with an interval above zero (0 after Holm's "
        f"correction), 1 below. The primary one: +0.10 [{MINUS}0.10, +0.30] pp. Medians of its options run from "
        f"{MINUS}0.30 (seeds: odd) to +0.40 (seeds: even)."
    )
    assert picture.caption.startswith("What to see: ")
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{name}, {value})" for name, value in COLOURS.items()}


def test_estimates_and_intervals_stand_where_the_axis_of_the_medians_says() -> None:
    """One axis for all parts: strokes at the estimates, the highest above, lines over their intervals."""
    picture = drawn(*CURVE)
    zero, unit = scale(picture, odd=-0.3, even=0.4)
    strokes = [line for line in lines(picture, "method-1", "2") if line[0] == line[2]]
    assert [x for x, _, _, _ in strokes] == pytest.approx([zero + unit * pp for pp in (0.5, 0.3, 0.1, -0.3)], abs=0.11)
    assert [y for _, y, _, _ in strokes] == sorted(y for _, y, _, _ in strokes)
    holds_zero, clear = lines(picture, "rule", "2"), lines(picture, "ink", "2")
    assert [(x0, x1) for x0, _, x1, _ in holds_zero] == [
        pytest.approx((zero - 0.1 * unit, zero + 0.3 * unit), abs=0.11)
    ]
    assert [x0 for x0, _, _, _ in clear] == pytest.approx([zero + unit * pp for pp in (0.3, 0.1, -0.5)], abs=0.11)


def test_specifications_of_an_option_stand_in_its_row() -> None:
    """A lane has a stroke at each of its option's estimates and a line from the lowest to the highest."""
    picture = drawn(*CURVE)
    zero, unit = scale(picture, odd=-0.3, even=0.4)
    small = lines(picture, "method-1", "0.8")
    strokes = sorted(x0 for x0, _, x1, _ in small if x0 == x1)
    assert strokes[0] == pytest.approx(zero - 0.3 * unit, abs=0.11)
    assert sorted({round(x) for x in strokes}) == [round(zero + unit * pp) for pp in (-0.3, 0.1, 0.3, 0.5)]
    assert [(x0, x1) for x0, y0, x1, y1 in small if y0 == y1] == [
        pytest.approx((zero + unit * 0.3, zero + unit * 0.5), abs=0.11)
    ]


def test_equal_estimates_are_one_stroke_in_the_order_of_the_file() -> None:
    """Models that agree but for the last digits are drawn as one, and sorting does not mix them."""
    rows = (way(0.1), way(0.1 + 1e-15, model="pairs"), way(0.1 - 1e-15, model="paired t"), way(0.3, seeds="odd"))
    picture = drawn(*rows)
    strokes = [line for line in lines(picture, "method-1", "2") if line[0] == line[2]]
    assert [y1 - y0 for _, y0, _, y1 in strokes] == pytest.approx([10, 30], abs=0.11)
    assert [row[5] for row in picture.rows] == ["mixed", "mixed", "pairs", "paired t"]


@pytest.fixture(scope="module")
def real() -> Analysis:
    """The sample study with the specifications that its runs give."""
    runs = sample_study.runs()
    generator = np.random.default_rng(0)
    return study(*multiverse.specifications(runs, layout_of(finals(runs), None), ACCURACY, generator))


def test_the_primary_specification_is_the_difference_of_mean_gains_over_all_runs(real: Analysis) -> None:
    """In a balanced study it can be had from the means by hand; it is marked, and its options are bold."""
    final = sample_study.runs().assign(pp=lambda table: 100 * table["test_acc_best"])
    means = final[final["stage"] == "final"].groupby(["student", "method"])["pp"].mean()
    picture = specification(real)
    assert picture is not None
    primary = {str(row[0]): row[7] for row in picture.rows if row[-1] == "yes"}
    assert primary.keys() == {"feature", "logit"}
    for method, estimate_pp in primary.items():
        gains = [means[student, method] - means[student, "none"] for student in ("resnet18", "resnet34")]
        assert estimate_pp == pytest.approx(gains[1] - gains[0], abs=1e-9)
    bold = {e.text for e in parsed(picture).iter(f"{SVG}text") if e.attrib.get("font-weight") in ("bold", "700")}
    assert bold >= {"feature", "logit", "test accuracy", "all", "mixed"}
    assert not bold & {"pairs", "paired t", "shared", "without 1"}


def test_the_data_are_the_specifications_in_points(real: Analysis) -> None:
    """Unrounded, each once; other scales are counted in the caption and stand nowhere else."""
    picture = specification(real)
    assert picture is not None
    in_points = [row for row in real.multiverse if row.scale == "pp"]
    columns = [picture.head.index(name) for name in ("method", "model", "estimate_pp", "ci_low_pp", "ci_high_pp", "p")]
    found = {tuple(row[column] for column in columns) for row in picture.rows}
    assert found == {(row.method, row.model, row.estimate, row.ci_low, row.ci_high, row.p) for row in in_points}
    assert len(picture.rows) == len(in_points)
    assert f"{len(real.multiverse) - len(in_points)} on other scales (log-odds and log error)" in picture.caption


def test_a_real_curve_is_small_and_always_the_same(real: Analysis) -> None:
    """Hundreds of specifications in less than 60 kB, the same bytes again."""
    picture, again = specification(real), specification(real)
    assert picture is not None
    assert picture == again
    assert len(picture.rows) > 200
    assert len(picture.svg) < 60_000


def test_a_permutation_test_counts_by_its_p_value_and_has_no_interval() -> None:
    """It gets a stroke; below zero as above."""
    rows = (way(0.1), way(-0.2, None, model="permutation", p=0.01), way(-0.1, None, model="permutation", p=0.3))
    picture = drawn(*rows)
    assert "Intervals above zero: 0 of 3 (0 after Holm's correction); below: 1;" in picture.caption
    assert "Permutation tests (2) have no interval" in picture.caption
    assert len(lines(picture, "rule", "2")) == 1
    assert not lines(picture, "ink", "2")


def test_permutation_tests_alone_can_be_drawn() -> None:
    """Without any interval the axis holds estimates and margin."""
    picture = drawn(way(0.1, None, model="permutation"), way(0.3, None, model="permutation", seeds="odd"))
    assert "2 specifications" in texts(picture)
    assert "primary" not in picture.caption


def test_an_endless_interval_does_not_squeeze_the_others() -> None:
    """Of many intervals those of designs without degrees of freedom are cut at the frame, and the caption says so."""
    usual = [way(0.01 * step, seeds=f"s{step % 2}") for step in range(30)]
    alone = drawn(*usual)
    picture = drawn(*usual, way(0.05, 1e40, model="pairs", seeds="s0"))
    assert scale(picture, s0=0.13, s1=0.15)[1] == pytest.approx(scale(alone, s0=0.14, s1=0.15)[1], rel=0.1)
    assert max(x for line in lines(picture, "rule", "2") for x in line[::2]) <= 392
    assert "Intervals that go on beyond the frame: 1." in re.sub(r"frame: \d", "frame: 1", picture.caption)


def test_there_is_no_figure_without_specifications_in_points() -> None:
    """No pair of students, or other scales alone: nothing is drawn rather than an empty frame."""
    assert specification(study()) is None
    assert specification(study(way(0.5, scale="log-odds"))) is None


def test_a_single_specification_has_a_curve_and_no_choices() -> None:
    """Where nothing was chosen there is nothing to compare."""
    picture = drawn(way(0.1))
    assert not medians(picture)
    assert "median" not in picture.caption
    assert len(picture.rows) == 1


def test_of_many_options_the_outermost_are_drawn() -> None:
    """Thirty seeds left out in turn: the first and the extremes stand there, and all others lie between them."""
    rows = [way(0.0), *(way(0.01 * ((7 * seed) % 30 - 15), seeds=f"without {seed}") for seed in range(30))]
    picture = drawn(*rows)
    names = [name for name in medians(picture) if name.startswith("feature, seeds:")]
    assert len(names) == OPTIONS
    assert "22 more lie between" in texts(picture)
    drawn_pp = [row.estimate for row in rows if f"feature, seeds: {row.seeds}" in names]
    left_out_pp = [row.estimate for row in rows if f"feature, seeds: {row.seeds}" not in names]
    assert min(drawn_pp) < min(left_out_pp)
    assert max(left_out_pp) < max(drawn_pp)
    assert "feature, seeds: all" in names


def test_names_of_any_length_and_kind_are_broken_and_never_cut() -> None:
    """A line of text keeps to its column, and a name that looks like a tag is text."""
    method, teacher = (
        "<script>alert(1)</script>_method_of_forty_two_letters",
        "a teacher of a very long name, wide_40_10",
    )
    rows = (way(0.1, method=method), way(0.2, method=method, teachers=f"without {teacher}"))
    analysis = study(*rows)
    cells = tuple(replace(cell, method=method) for cell in analysis.cells if cell.method == "feature")
    picture = specification(replace(analysis, cells=(*analysis.cells, *cells)))
    assert picture is not None
    root = parsed(picture)
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    words = [e.text or "" for e in root.iter(f"{SVG}text") if "pp" not in (e.text or "")]
    assert max(map(len, words)) <= LETTERS
    assert "".join(words).replace(" ", "").count(method) == 1
    assert "".join(words).replace(" ", "").count(f"without {teacher}".replace(" ", "")) == 1
    assert BOLD_LETTERS < LETTERS


def test_twelve_methods_of_many_specifications_stay_readable() -> None:
    """Each has its curve; lanes draw closer, so that the figure does not grow with methods times options."""
    names = [f"method{position}" for position in range(12)]
    rows = [
        way(0.01 * step - 0.02 * place, method=name, seeds=f"without {step % 6}", model=("mixed", "pairs")[step % 2])
        for place, name in enumerate(names)
        for step in range(72)
    ]
    analysis = study(*rows)
    cells = tuple(replace(cell, method=name) for name in names for cell in analysis.cells if cell.method == "feature")
    picture = specification(replace(analysis, cells=(*analysis.cells, *cells)))
    assert picture is not None
    assert set(names) <= set(texts(picture))
    assert len(medians(picture)) == 12 * (6 + 2)
    assert float(parsed(picture).attrib["viewBox"].split()[3]) < 12 * 160 + 8 * 50 + 2 * 30 + 80
    assert len(picture.svg) < 200_000


def test_medians_are_those_of_the_analysis() -> None:
    """The figure shows the analysis' number: it computes none of its own."""
    analysis = study(*CURVE)
    moved: Sequence[Choice] = [
        replace(one, median_estimate_pp=0.35) for one in analysis.choices if one.option == "even"
    ]
    kept = [one for one in analysis.choices if one.option != "even"]
    picture = specification(replace(analysis, choices=(*kept, *moved)))
    assert picture is not None
    before, after = medians(drawn(*CURVE)), medians(picture)
    unit = scale(drawn(*CURVE), odd=-0.3, even=0.4)[1]
    assert before["feature, seeds: even"] - after["feature, seeds: even"] == pytest.approx(0.05 * unit, abs=0.01)
    assert "df_method" not in CHOICES
