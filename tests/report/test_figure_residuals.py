"""The picture of residuals: every run at its place in both panels, the largest by name."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import replace
from statistics import NormalDist

import pytest
import sample_study
from drawing import SVG, marks, parsed, texts

from analysis.results import Analysis, Assumption, Diagnostic, VarianceComponent
from report.figures.canvas import Picture
from report.figures.residuals import LETTERS, TOOLTIPS, residuals
from report.figures.svg import COLOURS

CELLS = ("resnet18:none", "resnet34>resnet18:logit", "resnet50>resnet34:feature")
MINUS = "\N{MINUS SIGN}"


def residual(label: str, value_pp: float, fitted_pct: float, quantile: float) -> Diagnostic:
    """The residual of one run."""
    return Diagnostic(
        "primary", "test_acc_best", "all", "residual", "residual", label, value_pp, None, fitted_pct, quantile
    )


def some(values_pp: Iterable[float]) -> tuple[Diagnostic, ...]:
    """Residuals of these values in turn over three cells, with the quantiles of their ranks."""
    values = list(values_pp)
    quantiles = [NormalDist().inv_cdf((rank + 0.625) / (len(values) + 0.25)) for rank in range(len(values))]
    return tuple(
        residual(
            f"{CELLS[place % 3]}, seed {place // 3}", value, 94 + place % 7 / 10, quantiles[sorted(values).index(value)]
        )
        for place, value in enumerate(values)
    )


ROWS = some([0.11, -0.27, 0.02, 0.23, -0.05, 0.07, -0.14, 0.03])


def study(*rows: Diagnostic) -> Analysis:
    """The sample study with these residuals; its primary model's error has a standard deviation of 0.126 pp."""
    return replace(sample_study.analysis(), diagnostics=rows)


def drawn(*rows: Diagnostic) -> Picture:
    """Their picture."""
    picture = residuals(study(*rows))
    assert picture is not None
    return picture


def ranks(picture: Picture) -> list[ET.Element]:
    """The numbers beside the largest residuals; those of the axes are not bold."""
    return [e for e in parsed(picture).iter(f"{SVG}text") if "font-weight" in e.attrib and str(e.text).isdigit()]


def test_the_picture_tells_its_numbers_to_those_who_do_not_see_it() -> None:
    """Role, name, a description with the largest residuals, a caption that says what to see, the page's colours."""
    picture = drawn(*ROWS)
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "residuals-title residuals-desc"
    assert root[0].text == picture.title
    assert f"8 residuals from {MINUS}0.27 to +0.23 pp" in str(root[1].text)
    assert f"1. R34 → R18, logit, seed 0: {MINUS}0.27 pp" in str(root[1].text)
    assert picture.caption.startswith("What to see: ")
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{name}, {value})" for name, value in COLOURS.items()}


def test_marks_stand_where_the_data_are_in_both_panels() -> None:
    """Across, fitted value or quantile; up, the residual, on one scale in both panels."""
    picture = drawn(*ROWS)
    found = [(float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in marks(picture)]
    panels = (found[: len(ROWS)], found[len(ROWS) :])
    across = ([row.fitted_pct or 0.0 for row in ROWS], [row.normal_quantile for row in ROWS])
    scales = []
    for places, values in zip(panels, across, strict=True):
        low, high = values.index(min(values)), values.index(max(values))
        per_x = (places[high][0] - places[low][0]) / (values[high] - values[low])
        per_pp = (places[3][1] - places[1][1]) / (0.23 - -0.27)
        assert per_x > 0 > per_pp  # heights count from the top
        scales.append(per_pp)
        for (x, y), value, row in zip(places, values, ROWS, strict=True):
            assert x == pytest.approx(places[low][0] + per_x * (value - values[low]), abs=1e-2)
            assert y == pytest.approx(places[1][1] + per_pp * (row.value_pp - -0.27), abs=1e-2)
    assert scales[0] == pytest.approx(scales[1])


def test_the_largest_residuals_are_named_and_ringed() -> None:
    """Three by size whatever their sign, with the words of their cells; their numbers stand beside both marks."""
    picture = drawn(*ROWS)
    lines = texts(picture)
    assert f"1. R34 → R18, logit, seed 0: {MINUS}0.27 pp" in lines
    assert "2. R18, none, seed 1: +0.23 pp" in lines
    assert f"3. R18, none, seed 2: {MINUS}0.14 pp" in lines
    assert not any(line.startswith("4.") for line in lines)
    assert sorted(e.text or "" for e in ranks(picture)) == ["1", "1", "2", "2", "3", "3"]


def test_numbers_of_neighbours_do_not_overlap() -> None:
    """Runs of nearly the same residual are still told apart."""
    close = (
        *some([0.01 * place for place in range(6)]),
        *(residual(f"{CELLS[0]}, seed {9 + k}", 0.4 + k / 1e4, 94.5, 2) for k in range(3)),
    )
    places = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in ranks(drawn(*close))]
    assert len(places) == 6
    for position, (x, y) in enumerate(places):
        for other_x, other_y in places[:position]:
            assert max(abs(x - other_x), abs(y - other_y)) >= 9


def test_the_reference_line_is_that_of_the_models_error() -> None:
    """Its slope is the estimated standard deviation, in the scale of the marks; without one there is no line."""
    picture = drawn(*ROWS)
    assert "dashed: normal, sd 0.13 pp" in texts(picture)
    lower = [(float(m.attrib["x"]), float(m.attrib["y"])) for m in marks(picture)][len(ROWS) :]
    per_quantile = (lower[3][0] - lower[1][0]) / (ROWS[3].normal_quantile - ROWS[1].normal_quantile)
    per_pp = (lower[3][1] - lower[1][1]) / (0.23 - -0.27)
    dashed = next(e for e in parsed(picture).iter(f"{SVG}path") if "stroke-dasharray" in e.attrib)
    x1, y1, x2, y2 = map(float, re.findall(r"-?\d[\d.]*", dashed.attrib["d"]))
    assert (y2 - y1) / per_pp == pytest.approx(0.126 * (x2 - x1) / per_quantile, rel=1e-3)
    without = residuals(replace(study(*ROWS), variance_components=()))
    assert without is not None
    assert "dashed" not in without.svg + without.caption


def test_the_line_comes_from_the_model_of_the_residuals() -> None:
    """Another model's error, or this one's on other rows, is no reference."""
    of_refit = tuple(replace(row, model="primary:refit") for row in ROWS)
    own = VarianceComponent("primary:refit", "test_acc_best", "all", "residual", 0.5, None, None, 0.25, 1.0, False)
    others = (replace(own, subset="teachers:resnet50", sd_pp=0.7), *sample_study.analysis().variance_components)
    picture = residuals(replace(study(*of_refit), variance_components=(*others, own)))
    assert picture is not None
    assert "dashed: normal, sd 0.50 pp" in texts(picture)


def test_methods_differ_by_form_and_unknown_labels_stay() -> None:
    """The marks of three methods have three forms, named above; a label of no cell is shown as it is."""
    picture = drawn(*ROWS, residual("something else", 0.9, 94.2, 2))
    forms = {next(iter(v for k, v in mark.attrib.items() if k.endswith("href"))) for mark in marks(picture)[:3]}
    assert len(forms) == 3
    lines = texts(picture)
    assert {"none", "feature", "logit"} <= set(lines)
    assert "1. something else: +0.90 pp" in lines


def test_the_caption_quotes_the_tests_of_these_residuals() -> None:
    """Tests of group effects and of other models are not about this picture."""
    assumptions = (
        Assumption("primary", "residuals are normal", "Shapiro-Wilk", 0.98, 0.6),
        Assumption("primary", "effects of student:seed are normal", "Shapiro-Wilk", 0.9, 0.481),
        Assumption("pairs", "cells spread equally", "Levene", 0.9, 0.712),
    )
    picture = residuals(replace(study(*ROWS), assumptions=assumptions))
    assert picture is not None
    assert "(residuals are normal: Shapiro-Wilk, p 0.600)" in picture.caption
    assert "0.481" not in picture.caption
    assert "0.712" not in picture.caption


def test_many_runs_make_a_small_file() -> None:
    """Beyond a number of runs marks have no words of their own, and all of them are still there."""
    many = some([(37 * place % 1009) / 2000 - 0.25 for place in range(1000)])
    picture = drawn(*many)
    assert not marks(picture)
    uses = [e for e in parsed(picture).iter(f"{SVG}use") if "--method" in e.attrib.get("fill", "")]
    assert len(uses) >= 2 * len(many)
    assert len(picture.svg) < 300_000
    assert len(marks(drawn(*many[:TOOLTIPS]))) == 2 * TOOLTIPS


def test_one_run_or_no_scatter_still_make_a_picture() -> None:
    """A single point, and residuals that are rounding error, are drawn without odd scales."""
    assert len(marks(drawn(ROWS[0]))) == 2
    nothing = drawn(*(replace(row, value_pp=1e-16, fitted_pct=94.9) for row in ROWS))
    lines = [line.replace(MINUS, "-") for line in texts(nothing)]
    ticks = {float(line) for line in lines if re.fullmatch(r"-?\d+\.\d+", line)}
    assert {-0.01, 0.0, 0.01, 94.9} <= ticks
    assert max(ticks) < 94.95
    assert not any("1e" in line for line in lines)


def test_the_data_are_those_of_the_analysis() -> None:
    """Unrounded and in its order, with units in the headings and labels as the analysis has them."""
    picture = drawn(*ROWS)
    assert picture.head == ("model", "subset", "run", "fitted_pct", "residual_pp", "normal_quantile")
    assert picture.rows == tuple(
        ("primary", "all", row.label, row.fitted_pct, row.value_pp, row.normal_quantile) for row in ROWS
    )


def test_there_is_no_picture_without_residuals() -> None:
    """An analysis without diagnostics has none to draw."""
    assert residuals(study()) is None


def test_long_and_hostile_names_are_told_whole() -> None:
    """They are broken into lines that fit, escaped, and lose no word."""
    name = "<script>alert(1)</script> and a method of a name that no line of a phone can hold in one piece"
    analysis = study(residual(f"resnet18:{name}, seed 0", 0.3, 94.1, 0.0))
    picture = residuals(replace(analysis, cells=(replace(analysis.cells[0], method=name),)))
    assert picture is not None
    assert "<script>" not in picture.svg
    lines = texts(picture)
    assert " ".join(lines).count(name) == 2  # in the key, and at the largest residual
    assert max(map(len, lines)) <= LETTERS


def test_the_same_analysis_gives_the_same_bytes() -> None:
    """No clock and no chance."""
    assert drawn(*ROWS) == drawn(*ROWS)
