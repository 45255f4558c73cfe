"""The picture of fidelity beside gains: every run where it is, cells in order of their gain, any name readable."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import sample_study
from drawing import SVG, assert_linear, parsed, texts

from analysis.results import Analysis
from analysis.runs.table import check_runs
from report.figures.canvas import Picture
from report.figures.fidelity import LABEL, LETTERS, _apart, fidelity
from report.figures.svg import COLOURS

MEASURES = ("agreement", "kl_t1", "kl_t4")


def frame() -> pd.DataFrame:
    """The sample study's rows with made-up fidelity: no two distilled runs alike."""
    rows = sample_study.runs_frame()
    distilled = rows["teacher"] != ""
    rows.loc[distilled, "agreement"] = [0.9 + 0.001 * (7 * i % 40) for i in range(distilled.sum())]
    rows.loc[distilled, "kl_t1"] = [0.2 + 0.002 * (11 * i % 40) for i in range(distilled.sum())]
    rows.loc[distilled, "kl_t4"] = [0.02 + 0.0003 * (3 * i % 40) for i in range(distilled.sum())]
    return rows


def checked(rows: pd.DataFrame) -> pd.DataFrame:
    """As the report gets it."""
    return check_runs(rows, "sample.csv")


def drawn(analysis: Analysis, rows: pd.DataFrame) -> Picture:
    """The picture, which must be there."""
    picture = fidelity(analysis, checked(rows))
    assert picture is not None
    return picture


PICTURE = drawn(sample_study.analysis(), frame())


def dots(picture: Picture) -> dict[int, list[tuple[float, float]]]:
    """Where the marks of the upper panel stand, by cell."""
    return {
        int(group.attrib["id"].rsplit("-", 1)[1]): [
            (float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in group.iter(f"{SVG}use")
        ]
        for group in parsed(picture).iter(f"{SVG}g")
        if group.attrib.get("class") == "run"
    }


def test_the_figure_is_named_described_and_takes_the_pages_colours() -> None:
    """Those who do not see it get every cell in numbers."""
    root = parsed(PICTURE)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "fidelity-title fidelity-desc"
    desc = root[1].text or ""
    assert "8 cells from the highest gain to the lowest" in desc
    assert "1, ResNet-101 → ResNet-34, feature: gain +0.22 [+0.08, +0.36] pp, agreement 9" in desc
    assert desc.count("5 runs") == 8
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}
    assert PICTURE.caption.startswith("What to see: ")


def test_a_run_stands_at_its_agreement_and_at_its_cells_gain() -> None:
    """Across is linear in agreement, up in the gain that the analysis gives; 8 cells of 5 runs."""
    rows = {number: [row for row in PICTURE.rows if row[0] == number] for number in range(1, 9)}
    places = dots(PICTURE)
    across, up = [], []
    for number, marks in places.items():
        agreements = sorted(float(row[7]) for row in rows[number])  # type: ignore[arg-type]  # a number, by its heading
        across += list(zip(agreements, [x for x, _ in marks], strict=True))
        up += [(float(rows[number][0][10]), y) for _, y in marks]  # type: ignore[arg-type]
    assert len(across) == 40
    assert_linear(across)
    assert_linear(up)
    highest, lowest = max(up), min(up)
    assert highest[1] < lowest[1]


@pytest.mark.parametrize("measure", ["kl_t1", "kl_t4"])
def test_a_tick_stands_at_its_divergence(measure: str) -> None:
    """The ticks of every cell, read back from their paths, are the divergences of its runs on one scale."""
    column = PICTURE.head.index(f"{measure}_nats")
    paths = [e.attrib["d"] for e in parsed(PICTURE).iter(f"{SVG}path") if e.attrib.get("d", "").count("M") == 5]
    assert len(paths) == 8 * 2  # two divergences a cell, column by column
    own = paths[:8] if measure == "kl_t1" else paths[8:]
    pairs = []
    for number, path in enumerate(own, 1):
        places = sorted(float(x) for x in re.findall(r"M ([\d.]+)", path))
        values = sorted(float(row[column]) for row in PICTURE.rows if row[0] == number)  # type: ignore[arg-type]
        pairs += list(zip(values, places, strict=True))
    assert_linear(pairs)


def test_the_data_are_the_runs_and_the_analysis_unrounded() -> None:
    """A row a distilled run, with its number in the table of runs and its cell's gain."""
    runs = checked(frame())
    gains = {row.contrast: row for row in sample_study.analysis().contrasts if row.family == "pair-gains"}
    assert len(PICTURE.rows) == 40
    for row in PICTURE.rows:
        datum = dict(zip(PICTURE.head, row, strict=True))
        run = runs.iloc[int(datum["run"]) - 1]  # type: ignore[arg-type]
        gain = gains[f"gain:{datum['teacher']}>{datum['student']}:{datum['method']}"]
        assert (run["teacher"], run["student"], run["method"], run["seed"]) == tuple(
            datum[name] for name in ("teacher", "student", "method", "seed")
        )
        assert (datum["agreement_pct"], datum["kl_t1_nats"], datum["kl_t4_nats"]) == (
            100 * run["agreement"], run["kl_t1"], run["kl_t4"],
        )  # fmt: skip
        assert (datum["cell_gain_pp"], datum["cell_gain_ci_low_pp"], datum["cell_gain_ci_high_pp"]) == (
            gain.estimate_pp, gain.ci_low_pp, gain.ci_high_pp,
        )  # fmt: skip


def test_cells_stand_by_their_gain_and_keep_their_number() -> None:
    """The list below has the numbers of the picture above, the highest gain first."""
    names = [text for text in texts(PICTURE) if re.match(r"\d: ", text)]
    assert names[0] == "1: R101 → R34, feature"
    assert names[-1] == "8: R34 → R18, logit"
    gains = [float(row[10]) for row in PICTURE.rows]  # type: ignore[arg-type]
    assert gains == sorted(gains, reverse=True)
    assert {str(number) for number in range(1, 9)} <= set(texts(PICTURE))


def test_the_refits_gains_count() -> None:
    """After a singular fit cells stand where the claims see them: 1 pp higher in the sample."""
    refitted = drawn(sample_study.singular(), frame())
    pairs = zip(refitted.rows, PICTURE.rows, strict=True)
    assert all(there[10] == pytest.approx(here[10] + 1) for there, here in pairs)  # type: ignore[operator]


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    """No measure, only baselines, or no gain of any measured cell: no figure."""
    analysis = sample_study.analysis()
    assert fidelity(analysis, sample_study.runs()) is None
    assert fidelity(analysis, checked(frame()[frame()["teacher"] == ""])) is None
    assert fidelity(replace(analysis, contrasts=()), checked(frame())) is None


@pytest.mark.parametrize("known", MEASURES)
def test_one_measure_is_enough(known: str) -> None:
    """What is missing is neither drawn nor spoken of."""
    rows = frame()
    rows[[name for name in MEASURES if name != known]] = None
    picture = drawn(sample_study.analysis(), rows)
    assert (dots(picture) != {}) == (known == "agreement")
    assert ("Above, each mark is a run" in picture.caption) == (known == "agreement")
    assert ("A tick is one run's divergence" in picture.caption) == (known != "agreement")
    assert ("agreement" in (parsed(picture)[1].text or "")) == (known == "agreement")


def test_one_cell_of_equal_runs_can_be_drawn() -> None:
    """A scale needs no spread; a run without a measure keeps its row of data."""
    rows = frame()
    one = rows[(rows["teacher"] == "resnet50") & (rows["student"] == "resnet34") & (rows["method"] == "logit")].copy()
    one["agreement"] = 0.95
    one.loc[one["seed"] == 0, "kl_t4"] = None
    picture = drawn(sample_study.analysis(), one)
    assert len({place for place, _ in dots(picture)[1]}) == 1
    assert [row[9] for row in picture.rows].count(None) == 1
    assert "1 cell from the highest gain" in (parsed(picture)[1].text or "")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$", "a method with a name of many words " * 3])
def test_any_name_is_shown_whole(name: str) -> None:
    """Names are text, never markup or mathematics, and break into lines instead of running out of the picture."""
    rows = frame().replace({"method": {"logit": name.strip()}})
    analysis = sample_study.analysis()
    contrasts = tuple(replace(c, contrast=c.contrast.replace(":logit", f":{name.strip()}")) for c in analysis.contrasts)
    picture = drawn(replace(analysis, contrasts=contrasts), rows)
    assert "<script" not in picture.svg
    lines = texts(picture)
    assert all(len(line) <= LETTERS for line in lines)
    assert name.strip() in " ".join(lines).replace("  ", " ")


def test_numbers_of_cells_never_overlap() -> None:
    """Forty cells of one gain get numbers a line apart, inside the picture; far ones stay where they are."""
    gap = 1 / 40
    places = _apart([0.5] * 40, gap)
    assert all(above - below >= gap - 1e-9 for above, below in pairwise(places))
    assert 0 <= places[-1] <= places[0] <= 1
    assert _apart([0.9, 0.5, 0.1], gap) == [0.9, 0.5, 0.1]
    assert LABEL >= 12  # the height of the letters


def test_the_caption_says_what_the_claims_on_fidelity_came_to() -> None:
    """Judged claims are counted; untested ones and those about gains are not."""
    analysis = sample_study.analysis()
    closer = replace(analysis.claims[0], metric="kl_t1", verdict="refuted")
    untested = replace(analysis.claims[0], metric="agreement", verdict="not tested")
    told = drawn(replace(analysis, claims=(*analysis.claims, closer, untested)), frame()).caption
    assert told.endswith("On fidelity this page judges 1 claim: 1 refuted.")
    assert "judges" not in PICTURE.caption


def test_the_same_study_gives_the_same_bytes_whatever_the_order_of_rows() -> None:
    """The report can be compared byte by byte."""
    assert drawn(sample_study.analysis(), frame()) == PICTURE
    assert drawn(sample_study.analysis(), frame().iloc[::-1]).svg == PICTURE.svg


def test_a_mark_out_of_place_would_be_found() -> None:
    """The check of places fails for one that is a unit off."""
    assert_linear([(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)])
    with pytest.raises(AssertionError):
        assert_linear([(0.0, 10.0), (1.0, 21.0), (2.0, 30.0)])
