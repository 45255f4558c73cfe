"""The strip plot: every run where its accuracy is, the means and baselines beside it, and odd tables."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pandas as pd
import pytest
import sample_study
from drawing import SVG, parsed

from analysis.results import Analysis, Cell
from analysis.runs.metric import Metric
from analysis.runs.table import check_runs
from report.figures.canvas import Picture
from report.figures.strip import strip
from report.figures.svg import COLOURS

DRAWN = strip(sample_study.analysis(), sample_study.runs())


def texts(picture: Picture) -> list[str]:
    """Every line of text in the figure."""
    return [element.text or "" for element in parsed(picture).iter(f"{SVG}text")]


def marks(picture: Picture) -> dict[int, ET.Element]:
    """The mark of each run by the run's number."""
    groups = [group for group in parsed(picture).iter(f"{SVG}g") if group.attrib.get("class") == "run"]
    return {int(group.attrib["id"].rsplit("-", 1)[1]): next(group.iter(f"{SVG}use")) for group in groups}


def upright(picture: Picture, **attributes: str) -> list[tuple[float, float, float]]:
    """Place, top and bottom of each vertical line with these attributes."""
    lines = []
    for path in parsed(picture).iter(f"{SVG}path"):
        if attributes.items() <= path.attrib.items():
            x, one, again, other = map(float, re.findall(r"-?[\d.]+", path.attrib["d"]))
            assert x == again
            lines.append((x, *sorted((one, other))))
    return lines


def with_checkpoints(each_run_its_own: bool = False) -> pd.DataFrame:
    """The sample's runs, taught by two checkpoints of each teacher; or every run by one of its own."""
    frame = sample_study.runs_frame()
    taught = frame["teacher"] != ""
    frame["teacher_seed"] = frame["seed"].where(taught) if each_run_its_own else [0 if one else None for one in taught]
    if each_run_its_own:
        return check_runs(frame, "sample.csv")
    again = frame[taught].assign(teacher_seed=1, weights_sha256="")
    return check_runs(pd.concat([frame, again], ignore_index=True), "sample.csv")


def with_selection() -> pd.DataFrame:
    """The sample's runs, and two candidates for logit from ResNet-50 to ResNet-18, of which seed 0 of the cell won."""
    frame = sample_study.runs_frame()
    names = ("resnet50", "resnet18", "logit")
    cell = (frame["teacher"] == names[0]) & (frame["student"] == names[1]) & (frame["method"] == names[2])
    won = frame[cell & (frame["seed"] == 0)].assign(stage="select")
    lost = won.assign(alpha=0.1, val_acc=0.9, weights_sha256="")
    return check_runs(pd.concat([frame, won, lost], ignore_index=True), "sample.csv")


def renamed(names: dict[str, str]) -> tuple[Analysis, pd.DataFrame]:
    """The sample with other names of networks."""
    frame = sample_study.runs_frame().replace({"student": names, "teacher": names})
    analysis = sample_study.analysis()
    cells = tuple(
        replace(cell, teacher=names.get(cell.teacher, cell.teacher), student=names.get(cell.student, cell.student))
        for cell in analysis.cells
    )
    return replace(analysis, cells=cells, contrasts=()), check_runs(frame, "sample.csv")


def test_role_name_and_description() -> None:
    """Those who do not see the figure get every cell in numbers: the lowest, the highest and the mean of its runs."""
    root = parsed(DRAWN)
    assert (root.attrib["role"], root.attrib["aria-labelledby"]) == ("img", "strip-title strip-desc")
    assert root[0].text == DRAWN.title
    runs = sample_study.runs()
    own = runs[(runs["stage"] == "final") & (runs["method"] == "none") & (runs["student"] == "resnet18")]
    low, high = 100 * own["test_acc_best"].min(), 100 * own["test_acc_best"].max()
    assert f"ResNet-18, none: 5 runs from {low:.2f} to {high:.2f}, mean 94.86" in (root[1].text or "")
    assert (root[1].text or "").count(" runs from ") == 10
    assert DRAWN.caption.startswith("What to see: ")
    assert not [element for element in root.iter() if "style" in element.attrib]
    painted = {element.attrib[key] for element in root.iter() for key in ("fill", "stroke") if key in element.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}


def test_every_run_stands_at_its_distance_from_its_students_baseline() -> None:
    """To one scale for both students, with their baselines on one line; each run once."""
    runs, found = sample_study.runs(), marks(DRAWN)
    final = runs.index[runs["stage"] == "final"]
    assert sorted(found) == [place + 1 for place in final]
    baselines = {cell.student: cell.mean_pct for cell in sample_study.analysis().cells if cell.method == "none"}
    points = sorted(
        (100 * runs["test_acc_best"][place] - baselines[runs["student"][place]], float(found[place + 1].attrib["x"]))
        for place in final
    )
    (low, left), (high, right) = points[0], points[-1]
    for gain, x in points:
        assert x == pytest.approx(left + (gain - low) / (high - low) * (right - left), abs=2e-2)
    zero = left - low / (high - low) * (right - left)
    dashed = upright(DRAWN, **{"stroke-dasharray": "3,2"})
    assert len(dashed) == 10
    assert [x for x, _, _ in dashed] == pytest.approx([zero] * 10, abs=2e-2)
    drawn = sorted(x for x, _, _ in upright(DRAWN, **{"stroke-width": "2.5"}))
    means = [cell.mean_pct - baselines[cell.student] for cell in sample_study.analysis().cells]
    expected = sorted(zero + mean / (high - low) * (right - left) for mean in means)
    assert drawn == pytest.approx(expected, abs=2e-2)


def test_seeds_stand_in_order_from_the_top() -> None:
    """In every cell at the same depth, so that a seed can be followed from cell to cell."""
    runs, found = sample_study.runs(), marks(DRAWN)
    final = runs[runs["stage"] == "final"]
    depths = set()
    for _, cell in final.groupby(["teacher", "student", "method"]):
        heights = [float(found[place + 1].attrib["y"]) for place in cell.sort_values("seed").index]
        assert heights == sorted(heights)
        depths.add(tuple(round(height - heights[0], 3) for height in heights))
    assert len(depths) == 1


def test_the_baseline_comes_first_and_every_cell_has_its_name_and_mean() -> None:
    """Cells of the smaller student, then of the larger one; after the baseline by teacher and method."""
    shown = texts(DRAWN)
    names = [text for text in shown if ", " in text]
    assert names == [
        "R18, none", "R34 → R18, feature", "R34 → R18, logit", "R50 → R18, feature", "R50 → R18, logit",
        "R34, none", "R50 → R34, feature", "R50 → R34, logit", "R101 → R34, feature", "R101 → R34, logit",
    ]  # fmt: skip
    assert [text for text in shown if text.startswith("Student: ")] == ["Student: R18", "Student: R34"]
    assert {f"{cell.mean_pct:.2f}" for cell in sample_study.analysis().cells} <= set(shown)


def test_runs_that_chose_hyperparameters_are_hollow() -> None:
    """The winner of the selection alone, in words too; where nothing was selected nothing is hollow or said to be."""
    picture = strip(sample_study.analysis(), with_selection())
    page = f"var(--page, {COLOURS['page']})"
    hollow = [run for run, mark in marks(picture).items() if mark.attrib["fill"] == page]
    flagged = [row[0] for row in picture.rows if row[picture.head.index("chose_hyperparameters")] == "yes"]
    assert len(hollow) == 1
    assert hollow == flagged
    assert f"Run {hollow[0]}: ResNet-50 → ResNet-18, logit, seed 0, " in picture.svg
    assert "chose the hyperparameters; the same run as row" in picture.svg
    assert "Hollow marks" in picture.caption
    assert not [mark for mark in marks(DRAWN).values() if mark.attrib["fill"] == page]
    assert "Hollow" not in DRAWN.caption


def test_checkpoints_of_a_teacher_have_rows_of_their_own() -> None:
    """Two bands in each distilled cell, seeds of the second below those of the first, both named; in tooltips too."""
    runs = with_checkpoints()
    picture = strip(sample_study.analysis(), runs)
    found = marks(picture)
    assert "R50 → R18, logit (teacher seeds 0, 1)" in texts(picture)
    assert "teacher seed 1, seed 3" in picture.svg
    assert "one checkpoint of its teacher" in picture.caption
    taught = runs[(runs["stage"] == "final") & (runs["method"] != "none")]
    for _, cell in taught.groupby(["teacher", "student", "method"]):
        heights = cell.index.map(lambda place: float(found[place + 1].attrib["y"]))
        first = (cell["teacher_seed"] == 0).to_numpy()
        assert max(heights[first]) < min(heights[~first])
    assert "checkpoint" not in DRAWN.caption


def test_a_checkpoint_for_each_run_makes_no_rows() -> None:
    """A single run is no group: the cell looks as it does without checkpoints."""
    picture = strip(sample_study.analysis(), with_checkpoints(each_run_its_own=True))
    assert texts(picture) == texts(DRAWN)
    assert "one checkpoint of its teacher" not in picture.caption
    assert "teacher seed 3, seed 3" in picture.svg


def test_long_and_hostile_names_are_broken_not_cut() -> None:
    """No line is longer than the figure has room for, every letter is there, and markup stays text."""
    long = "a-network-with-a-name-that-is-longer-than-any-figure-of-this-page-is-wide"
    picture = strip(*renamed({"resnet18": long, "resnet50": "<script>alert(1)</script>"}))
    shown = texts(picture)
    assert max(map(len, shown)) <= 50
    assert "<script>" not in picture.svg
    assert "<script>alert(1)</script> → R34, logit" in shown
    assert f"<script>alert(1)</script>→{long},logit" in "".join(shown).replace(" ", "")
    assert f"Student:{long}" in "".join(shown).replace(" ", "")


def test_one_cell_and_no_baseline() -> None:
    """One cell is a figure; without a baseline there is no line and no band to hold it against."""
    runs, analysis = sample_study.runs(), sample_study.analysis()

    def only(cell: Cell) -> Picture:
        rows = (runs["teacher"] == cell.teacher) & (runs["student"] == cell.student) & (runs["method"] == cell.method)
        kept = runs[rows & (runs["stage"] == "final")].reset_index(drop=True)
        return strip(replace(analysis, cells=(cell,)), kept)

    alone, distilled = only(analysis.cells[0]), only(analysis.cells[2])
    assert len(marks(alone)) == len(marks(distilled)) == 5
    assert len(upright(alone, **{"stroke-dasharray": "3,2"})) == 1
    assert upright(distilled, **{"stroke-dasharray": "3,2"}) == []
    assert "none" not in " ".join(texts(distilled))


def test_its_data_are_the_tables_own() -> None:
    """Every final run, unrounded, with its row in the table of runs and its cell's mean."""
    runs = sample_study.runs()
    means = {(cell.teacher, cell.student, cell.method): cell.mean_pct for cell in sample_study.analysis().cells}
    final = [(place + 1, row) for place, row in enumerate(runs.to_dict("records")) if row["stage"] == "final"]
    assert len(DRAWN.rows) == len(final) == 50
    for (number, row), data in zip(final, DRAWN.rows, strict=True):
        told = dict(zip(DRAWN.head, data, strict=True))
        cell = (row["teacher"], row["student"], row["method"])
        assert (told["run"], told["teacher"], told["student"], told["method"]) == (number, *cell)
        assert (told["seed"], told["teacher_seed"], told["note"]) == (row["seed"], None, None)
        assert (told["accuracy_pct"], told["cell_mean_pct"]) == (100 * row["test_acc_best"], means[cell])


def test_an_error_rate_is_turned_round() -> None:
    """A figure of accuracies by name, and higher is better, as everywhere in the analysis."""
    frame = sample_study.runs_frame().assign(error=lambda rows: 1 - rows["test_acc_best"])
    runs = check_runs(frame, "sample.csv", Metric("error", higher_is_better=False))
    picture = strip(replace(sample_study.analysis(), metric="error", higher_is_better=False), runs)
    x = {run: float(mark.attrib["x"]) for run, mark in marks(picture).items()}
    assert x == pytest.approx({run: float(mark.attrib["x"]) for run, mark in marks(DRAWN).items()}, abs=1e-6)
    assert "1 - error (%)" in texts(picture)


def test_same_input_same_bytes() -> None:
    """Nothing of it depends on chance or on the clock."""
    assert strip(sample_study.analysis(), sample_study.runs()) == DRAWN
