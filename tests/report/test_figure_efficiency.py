"""Accuracy against what it costs: marks where the estimates are, and a table that claims no more than the analysis."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
import sample_study
from drawing import SVG, assert_linear, parsed, texts

from analysis.results import Analysis, EmMean
from analysis.runs.table import check_runs
from analysis.study.capacity import CAPACITIES
from report.budget import budget_table, three_digits
from report.figures.canvas import Picture
from report.figures.efficiency import LETTERS, PANEL, efficiency
from report.figures.svg import COLOURS
from report.numbers import MISSING

SIZES = {"resnet18": (170_000, 0.0011), "resnet34": (340_000, 0.0023), "resnet50": (380_000, 0.0026),
         "resnet101": (680_000, 0.0049)}  # fmt: skip
LATENCY_MS = {"resnet18": 1.0, "resnet34": 1.8, "resnet50": 5.5, "resnet101": 12.0}


def timed() -> pd.DataFrame:
    """The sample study's rows with sizes, and latencies that grow from seed to seed."""
    rows = sample_study.runs_frame()
    rows["parameters"] = [SIZES[name][0] for name in rows["student"]]
    rows["forward_gflop"] = [SIZES[name][1] for name in rows["student"]]
    one = rows["student"].map(LATENCY_MS) * (1 + 0.5 * rows["seed"])
    return rows.assign(latency_ms_batch1=one, latency_ms_batch128=8 * one)


def checked(rows: pd.DataFrame) -> pd.DataFrame:
    """As the report gets it."""
    return check_runs(rows, "sample.csv")


def drawn(analysis: Analysis, runs: pd.DataFrame) -> Picture:
    """The picture, which must be there."""
    (picture,) = efficiency(analysis, runs)
    return picture


PUBLISHED = drawn(sample_study.analysis(), sample_study.runs())  # of known architectures, without sizes or times
TRAINED = drawn(sample_study.analysis(), checked(timed()))


def marks(picture: Picture, panel: str) -> dict[int, tuple[float, float]]:
    """Where the marks of one panel stand, by row of the picture's data."""
    found = {}
    for group in parsed(picture).iter(f"{SVG}g"):
        identity = group.attrib.get("id", "")
        if group.attrib.get("class") == "run" and identity.startswith(f"efficiency-{panel}-"):
            mark = next(group.iter(f"{SVG}use"))
            found[int(identity.rsplit("-", 1)[1])] = (float(mark.attrib["x"]), float(mark.attrib["y"]))
    return found


def front(picture: Picture) -> tuple[float, ...]:
    """Heights of the first panel's step line, from left to right: the ink's longest path of its width."""
    paths = [e.attrib["d"].split() for e in parsed(picture).iter(f"{SVG}path") if e.attrib.get("stroke-width") == "1.2"]
    line = next(path for path in paths if path.count("L") > 1)  # that of the key has two points
    return tuple(dict.fromkeys(float(y) for y in line[2::3]))


def mean(student: str, method: str, mean_pct: float) -> EmMean:
    """An estimated mean like those of the sample."""
    return replace(sample_study.analysis().emmeans[0], student=student, method=method, mean_pct=mean_pct)


def shown(analysis: Analysis, runs: pd.DataFrame) -> list[dict[str, str]]:
    """The table of budgets, a dictionary a row."""
    table = budget_table(analysis, runs)
    heads = [column.heading for column in table.columns]
    return [dict(zip(heads, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("picture", [PUBLISHED, TRAINED])
def test_the_figure_is_named_described_and_takes_the_pages_colours(picture: Picture) -> None:
    """Those who do not see it get the best of each student in numbers."""
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "efficiency-title efficiency-desc"
    desc = root[1].text or ""
    assert "feature, 94.97 [94.84, 95.10]%" in desc
    assert "ResNet-50, teacher, seed 0: 95.30%" in desc
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}
    assert picture.caption.startswith("What to see: ")


@pytest.mark.parametrize("panel", ["size", "work", "one", "batch"])
def test_a_mark_stands_at_its_accuracy_in_every_panel(panel: str) -> None:
    """Up is linear in accuracy; all six means and three teachers are there."""
    places = marks(TRAINED, panel)
    assert len(places) == 9
    pairs = [(float(TRAINED.rows[row][4]), y) for row, (_, y) in places.items()]  # type: ignore[arg-type]
    assert_linear(pairs)
    assert max(pairs)[1] < min(pairs)[1]


def test_a_mark_stands_at_its_size() -> None:
    """Across is linear in parameters: the middle of an architecture's marks is its place."""
    places = marks(PUBLISHED, "size")
    beside: dict[str, list[float]] = {}
    for row, (x, _) in places.items():
        beside.setdefault(str(PUBLISHED.rows[row][1]), []).append(x)
    middles = [(CAPACITIES[name].parameters, (min(own) + max(own)) / 2) for name, own in beside.items()]
    assert len(middles) == 4
    assert_linear([(float(size), place) for size, place in middles])


def test_a_wide_range_is_drawn_by_factors() -> None:
    """Latencies from 1 to 12 ms: the axis says that it is logarithmic, and places are linear in the logarithm."""
    assert "(ms, log scale)" in texts(TRAINED)
    beside: dict[str, list[float]] = {}
    for row, (x, _) in marks(TRAINED, "one").items():
        beside.setdefault(str(TRAINED.rows[row][1]), []).append(x)
    assert_linear([(math.log(LATENCY_MS[name]), (min(own) + max(own)) / 2) for name, own in beside.items()])


def test_the_line_is_the_best_mean_so_far() -> None:
    """It starts at the smaller student's best and rises to the larger one's, where its mark stands."""
    heights = {
        (row[1], row[2]): y for row, (_, y) in zip(PUBLISHED.rows, marks(PUBLISHED, "size").values(), strict=True)
    }
    best = heights["resnet18", "feature"], heights["resnet34", "feature"]

    assert front(PUBLISHED) == pytest.approx(best, abs=2e-2)
    worse = replace(sample_study.analysis(), emmeans=(mean("resnet18", "logit", 95.0), mean("resnet34", "none", 94.0)))
    assert len(front(drawn(worse, sample_study.runs()))) == 1
    assert "picks ResNet-18, logit (95.00%, its only method)." in drawn(worse, sample_study.runs()).caption


def test_what_is_not_known_is_said_and_not_drawn() -> None:
    """The published runs have no times, and sizes by name alone; a study that was trained has both."""
    assert not any("latency" in text for text in texts(PUBLISHED))
    assert "Latency is not known" in PUBLISHED.caption
    assert "Sizes that the runs table does not give" in PUBLISHED.caption
    assert {"latency, 1 image", "latency, 128 images"} <= set(texts(TRAINED))
    assert "Latency is not known" not in TRAINED.caption
    assert "Sizes that the runs table does not give" not in TRAINED.caption
    unknown = checked(sample_study.runs_frame().replace({"resnet18": "a", "resnet34": "b"}))
    renamed = tuple(
        replace(m, student={"resnet18": "a", "resnet34": "b"}[m.student]) for m in sample_study.analysis().emmeans
    )
    assert efficiency(replace(sample_study.analysis(), emmeans=renamed), unknown) == ()
    assert efficiency(replace(sample_study.analysis(), emmeans=()), sample_study.runs()) == ()


def test_the_data_are_the_analysis_unrounded() -> None:
    """Means with intervals, teachers' runs, and sizes as the table gives them."""
    rows = [dict(zip(TRAINED.head, row, strict=True)) for row in TRAINED.rows]
    assert {(r["architecture"], r["method"]): r["accuracy_pct"] for r in rows[:6]} == sample_study.MEANS_PCT
    assert [r["mark"] for r in rows[6:]] == ["teacher's run"] * 3
    assert [r["accuracy_pct"] for r in rows[6:]] == [100 * 0.953] * 3
    for row in rows:
        assert (row["parameters"], row["forward_gflop"]) == SIZES[str(row["architecture"])]
    assert (rows[0]["latency_ms_batch1_fastest"], rows[0]["latency_ms_batch1_slowest"]) == (1.0, 3.0)


def test_the_refits_means_count() -> None:
    """After a singular fit the marks are the means that claims rest on."""
    refitted = drawn(sample_study.singular(), sample_study.runs())
    assert [row[4] for row in refitted.rows[:6]] == [pct + 0.01 for pct in sample_study.MEANS_PCT.values()]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$", "a name of many words " * 4])
def test_any_name_is_shown_whole(name: str) -> None:
    """Names of methods and architectures are text, and break into lines instead of running out of the picture."""
    name = name.strip()
    rows = sample_study.runs_frame().replace({"method": {"logit": name}, "student": {"resnet18": name}})
    rows["parameters"], rows["forward_gflop"] = 1000 + 1000 * (rows["student"] == "resnet34"), 0.5
    changed = {"logit": name, "resnet18": name}
    analysis = sample_study.analysis()
    picture = drawn(
        replace(
            analysis,
            emmeans=tuple(
                replace(m, student=changed.get(m.student, m.student), method=changed.get(m.method, m.method))
                for m in analysis.emmeans
            ),
            cells=tuple(replace(c, method=changed.get(c.method, c.method)) for c in analysis.cells),
        ),
        checked(rows.assign(parameters=rows["parameters"].where(rows["student"] != "resnet50", 5000))),
    )
    assert "<script" not in picture.svg
    lines = texts(picture)
    assert all(len(line) <= LETTERS for line in lines)
    assert name in " ".join(lines)


def test_names_of_architectures_of_like_size_stand_above_each_other() -> None:
    """ResNet-34 and ResNet-50 have nearly as many parameters: their names share no height."""
    places = {
        e.text: (float(e.attrib["x"]), float(e.attrib["y"]))
        for e in parsed(PUBLISHED).iter(f"{SVG}text")
        if e.text in ("R18", "R34", "R50", "R101") and float(e.attrib["x"]) < 45 + PANEL
    }
    assert places["R34"][1] != places["R50"][1]
    assert places["R18"][1] == places["R34"][1] == places["R101"][1]


def test_the_table_names_the_best_and_does_not_claim_more_than_the_analysis() -> None:
    """ResNet-34: feature before logit, which the sample's analysis does not compare; ResNet-18: p 0.09 by Holm."""
    small, large = shown(sample_study.analysis(), sample_study.runs())
    assert (small["Student"], small["Parameters (millions)"], small["GFLOP an image"]) == ("ResNet-18", "11.2", "1.11")
    assert (small["Best by estimate"], small["Mean, 95% interval (%)"]) == ("feature", "94.97 [94.84, 95.10]")
    assert (small["Next best"], small["Told apart?"]) == ("none", "not told apart")
    assert small["Best smaller student, by estimate"] == MISSING
    assert (large["Next best"], large["Best minus next, unadjusted 95% interval (pp)"]) == ("logit", MISSING)
    assert large["Told apart?"] == "not told apart: not compared"
    assert large["Best smaller student, by estimate"] == "ResNet-18, feature: 94.97%"
    assert not any("Latency" in heading for heading in small)


def test_a_difference_is_shown_from_the_best_down_whichever_way_it_was_estimated() -> None:
    """Where the baseline is best, the gain's interval changes sign; where logit is, so does feature's lead."""
    analysis = sample_study.analysis()
    gain = next(c for c in analysis.contrasts if c.contrast == "gain:resnet18:feature" and c.model == "primary")
    loss = replace(gain, estimate_pp=-0.3, ci_low_pp=-0.5, ci_high_pp=-0.1, p=0.001, p_holm=0.004)
    lead = replace(loss, contrast="lead:feature-logit:resnet34", family="feature-logit-students")
    others = tuple(c for c in analysis.contrasts if c is not gain)
    changed = replace(
        analysis,
        contrasts=(*others, loss, lead),
        emmeans=(
            mean("resnet18", "none", 94.9), mean("resnet18", "feature", 94.6),
            mean("resnet34", "logit", 95.2), mean("resnet34", "feature", 94.9), mean("resnet34", "none", 94.0),
        ),
    )  # fmt: skip
    for row in shown(changed, sample_study.runs()):
        assert row["Best minus next, unadjusted 95% interval (pp)"] == "+0.30 [+0.10, +0.50]"
        assert (row["p (Holm)"], row["Told apart?"]) == ("0.004", "told apart")


@pytest.mark.parametrize(("p", "p_holm", "verdict"), [
    (0.001, 0.06, "not told apart"), (0.001, 0.04, "told apart"), (0.04, None, "told apart"),
    (0.06, None, "not told apart"),
])  # fmt: skip
def test_the_adjusted_p_decides(p: float, p_holm: float | None, verdict: str) -> None:
    """An unadjusted p counts only where the family is one contrast."""
    analysis = sample_study.analysis()
    contrasts = tuple(
        replace(c, p=p, p_holm=p_holm) if c.contrast == "gain:resnet18:feature" else c for c in analysis.contrasts
    )
    assert shown(replace(analysis, contrasts=contrasts), sample_study.runs())[0]["Told apart?"] == verdict


def test_the_table_shows_how_far_latencies_spread() -> None:
    """Fastest and slowest run of the five; seeds 0 to 4 take 1 to 3 times as long."""
    small, large = shown(sample_study.analysis(), checked(timed()))
    assert small["Latency, 1 image (ms)"] == "1 to 3"
    assert large["Latency, 128 images (ms)"] == "14.4 to 43.2"
    assert small["Parameters (millions)"] == "0.17"


def test_students_of_unknown_size_come_last_and_are_not_called_larger() -> None:
    """Without a size nothing is smaller than they are."""
    rows = sample_study.runs_frame().replace({"student": {"resnet18": "unknown"}})
    means = tuple(
        replace(m, student="unknown") if m.student == "resnet18" else m for m in sample_study.analysis().emmeans
    )
    known, unknown = shown(replace(sample_study.analysis(), emmeans=means), checked(rows))
    assert (known["Student"], unknown["Student"]) == ("ResNet-34", "unknown")
    assert (unknown["Parameters (millions)"], unknown["Best smaller student, by estimate"]) == (MISSING, MISSING)


def test_one_method_has_no_next_best_and_no_means_no_rows() -> None:
    """The page leaves a table without rows out."""
    analysis = sample_study.analysis()
    (row,) = shown(replace(analysis, emmeans=(mean("resnet18", "none", 94.0),)), sample_study.runs())
    assert (row["Next best"], row["Told apart?"]) == (MISSING, "no other method")
    assert budget_table(replace(analysis, emmeans=()), sample_study.runs()).rows == ()


def test_sizes_have_three_digits() -> None:
    """From millions of parameters to thousandths of a GFLOP, and never in powers of ten."""
    assert [three_digits(value) for value in (11.173962, 0.176402, 0.00111, 123.4, 1234.0, None)] == [
        "11.2", "0.176", "0.00111", "123", "1230", MISSING,
    ]  # fmt: skip


def test_a_mark_out_of_place_would_be_found() -> None:
    """The check of places fails for one that is a unit off."""
    assert_linear([(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)])
    with pytest.raises(AssertionError):
        assert_linear([(0.0, 10.0), (1.0, 21.0), (2.0, 30.0)])


def test_the_same_study_gives_the_same_bytes() -> None:
    """The report can be compared byte by byte."""
    assert drawn(sample_study.analysis(), checked(timed().iloc[::-1])) == TRAINED
