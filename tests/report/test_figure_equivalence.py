"""The equivalence plot: intervals where their ends are, words that the verdict rules allow, and odd analyses."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import sample_study
from drawing import SVG, parsed

from analysis.claims.judge import evidence_of
from analysis.claims.verdict import Rule, judge
from analysis.inference.estimate import Estimate
from analysis.results import Analysis, Contrast
from analysis.study.contrasts import contrast_rows
from report.figures.canvas import Picture
from report.figures.equivalence import equivalence
from report.figures.forest import forest
from report.figures.svg import COLOURS

MARGIN_PP = 0.2


def drawn(analysis: Analysis) -> Picture:
    """The picture of an analysis that has one."""
    picture = equivalence(analysis)
    assert picture is not None
    return picture


DRAWN = drawn(sample_study.analysis())


def texts(picture: Picture) -> list[str]:
    """Every line of text in the figure."""
    return [element.text or "" for element in parsed(picture).iter(f"{SVG}text")]


def ends(picture: Picture, width: str, dash: str | None = None) -> list[tuple[float, ...]]:
    """Both ends (x, y, x, y) of every line of this width."""
    root = parsed(picture)
    marks = {path for defs in root.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path")}
    return [
        tuple(map(float, re.findall(r"-?[\d.]+", path.attrib["d"])))
        for path in root.iter(f"{SVG}path")
        if path not in marks
        if path.attrib.get("stroke-width", "1") == width and path.attrib.get("stroke-dasharray") == dash
    ]


def word(picture: Picture, contrast: str) -> str:
    """The word in the data of one contrast."""
    (found,) = [row for row in picture.rows if row[picture.head.index("contrast")] == contrast]
    return str(found[picture.head.index("word")])


def contrast(name: str, ci90: tuple[float, float], p: float, p_holm: float | None) -> Contrast:
    """A gain of the sample with another 90% interval (pp) and other p values."""
    one = next(row for row in sample_study.analysis().contrasts if row.contrast == "gain:resnet18:feature")
    return replace(
        one, contrast=name, estimate_pp=sum(ci90) / 2, ci90_low_pp=ci90[0], ci90_high_pp=ci90[1],
        ci_low_pp=ci90[0] - 0.01, ci_high_pp=ci90[1] + 0.01, p=p, p_holm=p_holm,
    )  # fmt: skip


def test_role_name_and_description() -> None:
    """Those who do not see the figure get every contrast with its 90% interval and its word, and the counts."""
    root = parsed(DRAWN)
    assert (root.attrib["role"], root.attrib["aria-labelledby"]) == ("img", "equivalence-title equivalence-desc")
    assert root[0].text == DRAWN.title
    desc = root[1].text or ""
    # 0.07 -+ 1.7 x 0.055, p 0.424 after Holm
    assert "ResNet-34, logit +0.07 [\N{MINUS SIGN}0.02, +0.16] inside the margin" in desc
    assert "Of 15: 3 “beyond zero”, 6 “inside the margin”, 6 “cannot tell”." in desc
    assert "Of 15: 3 “beyond zero”, 6 “inside the margin”, 6 “cannot tell”." in DRAWN.caption
    assert DRAWN.caption.startswith("What to see: ")
    assert not [element for element in root.iter() if "style" in element.attrib]
    painted = {element.attrib[key] for element in root.iter() for key in ("fill", "stroke") if key in element.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}


def test_both_intervals_lie_where_the_margin_says() -> None:
    """The lines of the margin give the scale on which the thick bars and the thin lines end at their numbers."""
    sides = sorted({line[0] for line in ends(DRAWN, "1") if line[0] == line[2]})  # upright
    assert len(sides) == 2
    centre, unit = sum(sides) / 2, (sides[1] - sides[0]) / (2 * MARGIN_PP)
    (zero,) = {line[0] for line in ends(DRAWN, "1", "2,2")}
    assert zero == pytest.approx(centre, abs=2e-2)
    columns = {"4": ("ci90_low_pp", "ci90_high_pp"), "1.2": ("ci95_low_pp", "ci95_high_pp")}
    for width, (low, high) in columns.items():
        bars = sorted(ends(DRAWN, width), key=lambda line: line[1])
        assert len(bars) == len(DRAWN.rows) == 15
        for bar, data in zip(bars, DRAWN.rows, strict=True):
            told = dict(zip(DRAWN.head, data, strict=True))
            assert bar[0] == pytest.approx(centre + unit * float(told[low] or 0), abs=2e-2)
            assert bar[2] == pytest.approx(centre + unit * float(told[high] or 0), abs=2e-2)
            assert bar[1] == bar[3]


@pytest.mark.parametrize(
    ("ci90", "p", "p_holm", "expected"),
    [
        ((-0.1, 0.19), 0.5, 0.9, "inside the margin"),
        ((0.01, 0.19), 0.01, 0.04, "beyond zero, inside the margin"),
        ((0.05, 0.21), 0.01, 0.04, "beyond zero"),
        ((-0.5, -0.05), 0.01, 0.04, "beyond zero"),
        ((0.05, 0.21), 0.03, 0.06, "cannot tell"),  # only the unadjusted interval is clear of zero
        ((0.05, 0.21), 0.03, None, "beyond zero"),  # a family of one is not adjusted
        ((0.0, 0.2), 0.2, 0.2, "cannot tell"),  # on the margin is not inside it
        ((-0.21, 0.1), 0.5, 0.9, "cannot tell"),
    ],
)
def test_the_word_follows_from_the_intervals(
    ci90: tuple[float, float], p: float, p_holm: float | None, expected: str
) -> None:
    """The 90% interval against the margin, the family's adjusted p against zero."""
    one = contrast("gain:resnet18:feature", ci90, p, p_holm)
    picture = drawn(replace(sample_study.analysis(), contrasts=(one,)))
    assert word(picture, one.contrast) == expected
    assert expected in texts(picture)


def test_no_word_says_more_than_the_verdict() -> None:
    """Of random families: open exactly where a claim of a gain would be, beyond zero exactly where it says so."""
    rng = np.random.default_rng(3)
    labels = {"model": "primary", "metric": "test_acc_best", "subset": "all", "singular": False}
    evidence, contrasts = {}, ()
    for network in range(30):
        estimates = {
            f"gain:network{network}:{method}": Estimate(rng.normal(0, 0.15), rng.uniform(0.02, 0.12), 30.0, "residual")
            for method in ("feature", "logit", "mine")
        }
        evidence |= evidence_of(estimates)
        contrasts += contrast_rows(estimates, "gains", n=50, **labels)
    picture = drawn(replace(sample_study.analysis(), contrasts=contrasts))
    seen = set()
    for name, one in evidence.items():
        verdict, said = judge(Rule("directional", MARGIN_PP), one), word(picture, name)
        seen.add((verdict, said))
        assert (verdict == "cannot tell") == (said == "cannot tell")
        assert ("beyond zero" in said) == (one.ci95[0] > 0 or one.ci95[1] < 0)
        assert (verdict == "supported") == ("beyond zero" in said and one.estimate > 0)
    assert len(seen) >= 5


def test_the_order_is_the_forest_plots() -> None:
    """A reader who goes from one to the other finds the same rows at the same places."""
    shown = [text for text in texts(DRAWN) if text not in ("cannot tell", "inside the margin", "beyond zero")]
    there = [text for text in texts(forest(sample_study.analysis(), None)) if not re.search(r"\[.*\]", text)]
    assert [text for text in shown if re.search("[a-z]", text)] == [text for text in there if re.search("[a-z]", text)]


def test_the_refit_counts() -> None:
    """After a singular fit the numbers are those that claims rest on, each contrast once; other images stay out."""
    singular = sample_study.singular()
    refit = tuple(row for row in singular.contrasts if row.model.endswith(":refit"))
    images = tuple(replace(row, model=f"{row.model}:new-images", ci90_low_pp=-9.0) for row in refit)
    picture = drawn(replace(singular, contrasts=(*singular.contrasts, *images)))
    assert picture == drawn(replace(singular, contrasts=refit))
    assert len(picture.rows) == 15
    assert picture != DRAWN


def test_nothing_to_draw() -> None:
    """Without gains and moderation there is no figure."""
    analysis = sample_study.analysis()
    others = tuple(row for row in analysis.contrasts if row.family in ("stems", "agreement"))
    assert others
    assert equivalence(replace(analysis, contrasts=others)) is None
    assert equivalence(replace(analysis, contrasts=())) is None


def test_long_and_hostile_names_are_broken_not_cut() -> None:
    """No line is longer than the figure has room for, no word is lost, and markup stays text."""
    name = "gain:<script>alert(1)</script>-of-a-network-with-a-name-that-is-longer-than-any-figure-is-wide:feature"
    picture = drawn(replace(sample_study.analysis(), contrasts=(contrast(name, (-0.1, 0.1), 0.9, None),)))
    shown = texts(picture)
    assert max(map(len, shown)) <= 54
    assert "<script>" not in picture.svg
    assert name in "".join(shown).replace(" ", "")
    assert "inside the margin" in shown


def test_its_data_are_the_analysis_own() -> None:
    """Both intervals, both p values and the margin of every contrast, unrounded."""
    known = {row.contrast: row for row in sample_study.analysis().contrasts}
    for data in DRAWN.rows:
        told = dict(zip(DRAWN.head, data, strict=True))
        row = known[str(told["contrast"])]
        assert (told["estimate_pp"], told["ci90_low_pp"], told["ci90_high_pp"]) == (
            row.estimate_pp, row.ci90_low_pp, row.ci90_high_pp,
        )  # fmt: skip
        assert (told["ci95_low_pp"], told["ci95_high_pp"]) == (row.ci_low_pp, row.ci_high_pp)
        assert (told["p"], told["p_holm"], told["p_equivalence"]) == (row.p, row.p_holm, row.p_equivalence)
        assert told["margin_pp"] == MARGIN_PP


def test_same_input_same_bytes() -> None:
    """Nothing of it depends on chance or on the clock."""
    assert equivalence(sample_study.analysis()) == DRAWN
