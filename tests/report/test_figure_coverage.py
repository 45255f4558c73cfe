"""The coverage figure: a mark for every entry, where its cell and seed say, and states told without colour."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest
from drawing import SVG, parsed, text_places

from analysis.runs.table import check_runs
from report.figures.canvas import WIDTH, Picture
from report.figures.coverage import MARKS, NAMED, PITCH, coverage
from report.figures.svg import COLOURS

Line = tuple[str, str, int | None, str, str, str, int, str, str]


def plan(*lines: Line) -> pd.DataFrame:
    """A table as `harness report` reads it: done entries have the numbers of their rows, in order."""
    columns = ["stage", "teacher", "teacher_seed", "student", "method", "setting", "seed", "state", "reason"]
    table = pd.DataFrame(lines, columns=columns)
    table["teacher_seed"] = table["teacher_seed"].astype("Int64")
    table["run_id"] = [f"{line[0]}/{position}" for position, line in enumerate(lines)]
    numbers = (table["state"] == "done").cumsum().astype("Int64")
    return table.assign(run=numbers.where(table["state"] == "done"))


def final(teacher: str, method: str, seed: int, state: str = "done", reason: str = "", setting: str = "") -> Line:
    """A final entry of student resnet18."""
    return ("final", teacher, 0 if teacher else None, "resnet18", method, setting, seed, state, reason)


STUDY = plan(
    ("teachers", "", None, "resnet50", "none", "", 0, "done", ""),
    ("select", "resnet50", 0, "resnet18", "logit", "alpha=0.7", 0, "done", ""),
    ("select", "resnet50", 0, "resnet18", "logit", "alpha=0.3", 0, "missing", ""),
    final("", "none", 0),
    final("", "none", 2, "stale", "it was trained by other training code"),
    final("resnet50", "logit", 0, setting="alpha=0.7"),
    final("resnet50", "logit", 1, "failed", "the loss of epoch 3 is not a number", setting="alpha=0.7"),
)


def drawn(table: pd.DataFrame, flagged: dict[int, str] | None = None) -> Picture:
    """The picture."""
    picture = coverage(table, flagged)
    assert picture is not None
    return picture


def marks(picture: Picture) -> dict[str, tuple[float, float]]:
    """Where every mark stands, by its words."""
    found = {}
    for group in parsed(picture).iter(f"{SVG}g"):
        if group.attrib.get("class") == "run":
            mark = next(group.iter(f"{SVG}use"))
            found[group[0].text or ""] = (float(mark.attrib["x"]), float(mark.attrib["y"]))
    return found


def test_it_has_role_name_description_and_caption() -> None:
    """Those who do not see it are told how many there are of each state, and which do not count and why."""
    picture = drawn(STUDY, {4: "copy of row 3 suspected"})
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    assert root[0].text == picture.title
    desc = root[1].text
    assert desc is not None
    assert desc.startswith("7 entries of the plan: 3 done, 1 flagged, 1 failed, 1 stale, 1 missing.")
    for told in (desc, picture.caption):
        assert "ResNet-18, none, seed 2, stale: it was trained by other training code" in told
        assert "ResNet-50 → ResNet-18, logit, alpha=0.3, teacher seed 0, seed 0, missing" in told
    assert picture.caption.startswith("What to see: 3 of 7 entries of the plan have no run that counts")


def test_a_mark_stands_in_its_cell_and_under_its_seed() -> None:
    """Rows are cells, columns are seeds, and a seed that a cell lacks leaves its place empty."""
    picture = drawn(STUDY)
    found = marks(picture)
    assert len(found) == 7
    first = found["Run 3: ResNet-18, none, seed 0"]
    logit = found["Run 4: ResNet-50 → ResNet-18, logit, alpha=0.7, teacher seed 0, seed 0"]
    (stale,) = (place for words, place in found.items() if ", stale" in words)
    (failed,) = (place for words, place in found.items() if ", failed" in words)
    assert stale == pytest.approx((first[0] + 2 * PITCH, first[1]))
    assert failed == pytest.approx((logit[0] + PITCH, logit[1]))
    assert logit[0] == first[0]
    (label,) = (place for place in text_places(picture)["R50 → R18, logit"] if abs(place[1] - logit[1]) < PITCH / 2)
    assert label[0] == 0
    headings = {name: text_places(picture)[name][-1] for name in "012"}
    assert [headings[name][0] for name in "012"] == pytest.approx([first[0] + PITCH * seed for seed in range(3)])
    assert all(y < first[1] for _, y in headings.values())


def test_a_state_is_told_by_letter_and_shape() -> None:
    """Five states: no letter twice, and the shape of each mark is its own, so that no colour is needed."""
    shapes = {(mark.shape, mark.size, mark.face) for mark in MARKS.values()}
    letters = {mark.letter for mark in MARKS.values()}
    assert len(shapes) == len(letters) == len(MARKS) == 5
    found = text_places(drawn(STUDY, {4: "copy of row 3 suspected"}))
    assert {letter for letter in found if letter in "!FSM"} == {"!", "F", "S", "M"}
    assert all(len(found[letter]) == 2 for letter in "!FSM"), "in its place, and in the legend"
    assert {"done 3", "flagged 1", "failed 1", "stale 1", "missing 1"} <= set(found)


def test_a_flagged_run_is_marked_with_its_reason() -> None:
    """By the number of its row in the runs table; a number of no row changes nothing."""
    words = "Run 4: ResNet-50 → ResNet-18, logit, alpha=0.7, teacher seed 0, seed 0, flagged: copy of row 3 suspected"
    assert words in marks(drawn(STUDY, {4: "copy of row 3 suspected"}))
    assert drawn(STUDY, {9: "nobody"}) == drawn(STUDY, {}) == drawn(STUDY)
    assert "!" not in text_places(drawn(STUDY))


def test_candidates_stand_side_by_side() -> None:
    """The selection has a row a pair and method, its candidates in the order of their settings."""
    found = marks(drawn(STUDY))
    (missing,) = (place for words, place in found.items() if ", missing" in words)
    done = found["Run 2: ResNet-50 → ResNet-18, logit, alpha=0.7, teacher seed 0, seed 0"]
    assert done == pytest.approx((missing[0] + PITCH, missing[1]))


def test_the_data_are_every_entry() -> None:
    """Plain values, unrounded and unshortened, in the table's order."""
    picture = drawn(STUDY)
    assert picture.head[-4:] == ("run", "run_id", "state", "reason")
    assert len(picture.rows) == len(STUDY)
    assert picture.rows[3] == ("final", "", None, "resnet18", "none", "", 0, 3, "final/3", "done", "")
    assert picture.rows[6][-4:] == (None, "final/6", "failed", "the loss of epoch 3 is not a number")
    assert {type(value) for row in picture.rows for value in row} == {str, int, type(None)}


def test_a_whole_plan_says_so() -> None:
    """Nothing left out is a finding too."""
    picture = drawn(STUDY[STUDY["state"] == "done"])
    assert "all 4 entries of the plan have their run; none was left out" in picture.caption
    assert set(text_places(picture)) >= {"done 4"}


def test_a_runs_table_is_drawn_without_its_plan() -> None:
    """Its rows are done, numbered as in the table; settings are read from its columns; what was planned is open."""
    rows = [
        {"stage": "final", "teacher": "", "student": "small", "method": "none", "seed": 7},
        {"stage": "final", "teacher": "big", "student": "small", "method": "logit", "seed": 7, "alpha": 0.5},
        {"stage": "stem_ablation", "teacher": "", "student": "small", "method": "none", "seed": 7, "stem": "cifar"},
        {"stage": "stem_ablation", "teacher": "", "student": "small", "method": "none", "seed": 7, "stem": "imagenet"},
        {"stage": "bug_ablation", "teacher": "big", "student": "small", "method": "feature", "seed": 7, "alpha": 0.3}
        | {"clip_projections": False, "other_hyperparameters": "beta=2"},
    ]
    runs = check_runs(pd.DataFrame(rows).assign(test_acc_best=[0.90, 0.91, 0.92, 0.93, 0.94]), "mine.csv")
    picture = drawn(runs, {2: "copy of row 1 suspected"})
    assert list(marks(picture)) == [
        "Run 1: small, none, seed 7",
        "Run 2: big → small, logit, alpha=0.5, seed 7, flagged: copy of row 1 suspected",
        "Run 3: small, none, seed 7",
        "Run 4: small, none, stem=imagenet, seed 7",
        "Run 5: big → small, feature, alpha=0.3 beta=2 clip_projections=false, seed 7",
    ]
    assert "small, none, stem=imagenet" in text_places(picture)
    assert "What was planned is not known" in picture.caption
    assert {type(value) for row in picture.rows for value in row} == {str, int, type(None)}


def test_checkpoints_of_a_teacher_have_rows_of_their_own() -> None:
    """A cell of two checkpoints is two rows, named as in the runs' folders, and the caption says how."""
    twice = [("final", "big", taught, "small", "logit", "alpha=0.5", 0, "done", "") for taught in (0, 1)]
    picture = drawn(plan(*twice))
    assert {"big → small, logit, t0", "big → small, logit, t1"} <= set(text_places(picture))
    assert "t0, t1 and so on are checkpoints of a teacher" in picture.caption
    assert "checkpoints" not in drawn(STUDY).caption
    (_, above), (_, below) = marks(picture).values()
    assert above < below


@pytest.mark.parametrize("seeds", [2, 30, 70])
def test_many_seeds_and_long_names_stay_inside_the_picture(seeds: int) -> None:
    """Labels go above the marks, marks go on in the next line; nothing touches or leaves the picture."""
    name = "<script>alert(1)</script> " + "a network with a very long name " * 3
    lines = [("final", "", None, name, "none", "", 1000 + seed, "done", "") for seed in range(seeds)]
    picture = drawn(plan(*lines))
    height = float(parsed(picture).attrib["viewBox"].split()[3])
    places = sorted(marks(picture).values(), key=lambda place: (place[1], place[0]))
    assert len(places) == seeds
    assert all(4 <= x <= WIDTH - 4 and 4 <= y <= height - 4 for x, y in places)
    assert all(abs(x - u) >= 13 or abs(y - v) >= 13 for i, (x, y) in enumerate(places) for u, v in places[:i])
    assert all(len(text) <= 60 for text in text_places(picture))
    assert "<script" not in picture.svg
    assert "&lt;script" in picture.svg
    headings = sorted(x for text, found in text_places(picture).items() if text.startswith("10") for x, _ in found)
    assert all(after - before >= 30 for before, after in pairwise(headings))


def test_of_many_that_do_not_count_a_few_are_named() -> None:
    """The rest is counted, and stands in the data."""
    picture = drawn(plan(*(final("", "none", seed, "missing") for seed in range(NAMED + 5))))
    assert picture.caption.count(", missing") == NAMED
    assert picture.caption.endswith("; and 5 more.")


def test_a_legend_of_large_counts_goes_on_in_the_next_line() -> None:
    """Every item of it ends inside the picture."""
    states = ["done"] * 110 + ["failed"] * 10 + ["stale"] * 10 + ["missing"] * 10
    table = plan(*(final("", "none", seed, state) for seed, state in enumerate(states)))
    found = text_places(drawn(table, dict.fromkeys(range(1, 11), "copied")))
    items = {text: found[text][0] for text in ("done 100", "flagged 10", "failed 10", "stale 10", "missing 10")}
    assert all(x + 6.5 * len(text) <= WIDTH for text, (x, _) in items.items())
    assert len({y for _, y in items.values()}) == 2


def test_an_empty_table_is_no_picture() -> None:
    """Nothing to draw."""
    assert coverage(STUDY[:0], None) is None


def test_it_takes_its_colours_from_the_page_and_gives_the_same_bytes() -> None:
    """Dark and print are right, and a report made again is the same."""
    picture = drawn(STUDY, {4: "copy of row 3 suspected"})
    painted = {e.attrib[key] for e in parsed(picture).iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}
    assert picture == drawn(STUDY.copy(), {4: "copy of row 3 suspected"})
