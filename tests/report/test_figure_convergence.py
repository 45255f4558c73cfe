"""The convergence figure: true to the curves, sparing with points, readable however many lines there are."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from drawing import SVG, parsed, text_places

from report.figures.canvas import Picture
from report.figures.convergence import LATE_POINTS, LINE, POINTS, convergence
from report.figures.svg import COLOURS


def run(
    name: str, stages: str, student: str, method: str, accuracies: list[float], teacher: str = "", last_lr: float = 1e-4
) -> pd.DataFrame:
    """One run's curve: accuracies are fractions, the learning rate falls from 0.1 to `last_lr`."""
    count = len(accuracies)
    return pd.DataFrame(
        {
            "run_id": f"{stages.split(maxsplit=1)[0]}/{name}",
            "stages": stages,
            "teacher": teacher,
            "teacher_seed": pd.array([0 if teacher else None] * count, dtype="Int64"),
            "student": student,
            "method": method,
            "seed": 0,
            "epoch": range(1, count + 1),
            "lr": [*[0.1] * (count - 1), last_lr],
            "train_loss": 1.0,
            "val_acc": accuracies,
        }
    )


STUDY = pd.concat(
    [
        run("r34", "teachers stem_ablation", "resnet34", "none", [0.3, 0.6, 0.92]),
        run("a", "final", "resnet18", "none", [0.2, 0.5, 0.90]),
        run("b", "final", "resnet18", "none", [0.4, 0.6, 0.93]),
        run("c", "select final", "resnet18", "logit", [0.3, 0.7, 0.94], "resnet34"),
        run("d", "select", "resnet18", "logit", [0.1, 0.1, 0.10], "resnet34"),
        run("e", "stem_ablation", "resnet18", "none", [0.1, 0.1, 0.10]),
        run("f", "final", "resnet101", "none", [0.3, 0.7, 0.95]),
    ],
    ignore_index=True,
)


def drawn(curves: pd.DataFrame) -> Picture:
    """The picture."""
    picture = convergence(curves)
    assert picture is not None
    return picture


def paths(picture: Picture, colour: str) -> list[list[tuple[float, float]]]:
    """Points of every open line in a colour of the page."""
    found = []
    for path in parsed(picture).iter(f"{SVG}path"):
        if path.attrib.get("fill") == "none" and path.attrib.get("stroke") == f"var(--{colour}, {COLOURS[colour]})":
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
            found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return found


def test_it_has_role_name_description_and_caption() -> None:
    """Those who do not see it are told where every line ends, in numbers."""
    picture = drawn(STUDY)
    root = parsed(picture)
    assert root.attrib["role"] == "img"
    title, desc = root[0].text, root[1].text
    assert title == picture.title
    assert desc is not None
    assert "ResNet-18, student: none 91.50% (2 runs, 90.00 to 93.00), epoch 3; logit 94.00% (1 run), epoch 3." in desc
    assert "Teachers: ResNet-34 92.00% (1 run), epoch 3." in desc
    assert picture.caption.startswith("What to see: ")


def test_the_data_are_means_and_ranges_of_final_runs_and_teachers() -> None:
    """Counted by hand; a candidate that did not win and an ablation are nobody's curve."""
    picture = drawn(STUDY)
    assert picture.head == ("panel", "line", "epoch", "runs", "mean_pct", "low_pct", "high_pct")
    expected: dict[tuple[str, str], list[tuple[float, ...]]] = {
        ("ResNet-18, student", "none"): [(1, 2, 30, 20, 40), (2, 2, 55, 50, 60), (3, 2, 91.5, 90, 93)],
        ("ResNet-18, student", "logit"): [(1, 1, 30, 30, 30), (2, 1, 70, 70, 70), (3, 1, 94, 94, 94)],
        ("ResNet-101, student", "none"): [(1, 1, 30, 30, 30), (2, 1, 70, 70, 70), (3, 1, 95, 95, 95)],
        ("Teachers", "ResNet-34"): [(1, 1, 30, 30, 30), (2, 1, 60, 60, 60), (3, 1, 92, 92, 92)],
    }
    rows: list[tuple[Any, ...]] = [
        (panel, line, *values) for (panel, line), epochs in expected.items() for values in epochs
    ]
    assert [row[:4] for row in picture.rows] == [row[:4] for row in rows]
    for row, wanted in zip(picture.rows, rows, strict=True):
        assert row[4:] == pytest.approx(wanted[4:])
        assert all(type(value) in (str, int, float) for value in row), "plain values, as a CSV file shows them"


def test_a_line_stands_at_its_means() -> None:
    """Height is linear in the mean, across the epochs at equal steps; both scales show the last epoch."""
    whole, late = paths(drawn(STUDY), "method-1")[:2]  # logit: 30, 70, 94
    rounding = 0.02  # coordinates are written to a hundredth of a unit
    assert whole[2][0] - whole[1][0] == pytest.approx(whole[1][0] - whole[0][0], abs=rounding)
    scale = (whole[0][1] - whole[2][1]) / (94 - 30)
    assert whole[0][1] - whole[1][1] == pytest.approx(scale * (70 - 30), abs=rounding)
    assert scale > 0
    assert len(late) == 2
    assert late[0][1] - late[1][1] > whole[1][1] - whole[2][1], "enlarged"


def test_lines_are_named_at_their_ends_in_the_order_of_their_accuracies() -> None:
    """Name and number stand to the right; students come before teachers, smaller numbers first."""
    found = text_places(drawn(STUDY))
    ((x, logit),), ((same, none),) = found["logit 94.00"], found["none 91.50"]
    assert x == same > 200
    assert logit < none
    headings = [found[name][0][1] for name in ("ResNet-18, student", "ResNet-101, student", "Teachers")]
    assert headings == sorted(headings)


def test_methods_differ_in_line_and_mark_and_not_in_colour_alone() -> None:
    """The baseline is dotted, the next solid, the third dashed, as in the other figures."""
    more = run("g", "final", "resnet18", "feature", [0.2, 0.6, 0.91], "resnet34")
    dashes = set()
    for path in parsed(drawn(pd.concat([STUDY, more]))).iter(f"{SVG}path"):
        if "method-" in path.attrib.get("stroke", "") and path.attrib.get("stroke-width") == "1.4":
            dashes.add((path.attrib["stroke"][6:14], path.attrib.get("stroke-dasharray")))
    assert len({dash for _, dash in dashes}) == len(dashes) == 3


def test_twelve_methods_with_long_names_do_not_touch() -> None:
    """Every line of every label has a height of its own inside the picture, whatever the names hold."""
    names = ["none", "<script>alert(1)</script>", "a_method_with_a_name_that_is_longer_than_any_line_has_room_for"]
    names += [f"method{number}" for number in range(9)]
    runs = [run(name, "final", "resnet18", name, [0.5, 0.9, 0.95 + 0.0001 * i]) for i, name in enumerate(names)]
    picture = drawn(pd.concat(runs))
    right = max(x for places in text_places(picture).values() for x, _ in places)
    heights = sorted(y for places in text_places(picture).values() for x, y in places if x == right)
    assert len(heights) >= 12
    assert min(after - before for before, after in pairwise(heights)) >= LINE - 1e-6
    height = float(parsed(picture).attrib["viewBox"].split()[3])
    assert 0 < heights[0] < heights[-1] < height
    assert "<script" not in picture.svg
    assert "&lt;script&gt;" in picture.svg
    assert "a_method_with_a_name_that_is_longer_than_any_line_has_room_for" in "".join(text_places(picture))


def test_long_curves_are_thinned_from_the_first_epoch_to_the_last() -> None:
    """Of 200 epochs as many are drawn as can be told apart; those that are drawn have their own values."""
    accuracies = [0.9 * epoch / 200 for epoch in range(1, 201)]
    picture = drawn(run("a", "final", "resnet18", "none", accuracies))
    whole, late = paths(picture, "method-0")[:2]
    assert (len(whole), len(late)) == (POINTS, LATE_POINTS)
    epochs = [row[2] for row in picture.rows]
    assert (epochs[0], epochs[-1]) == (1, 200)
    assert len(set(epochs)) == len(epochs)
    assert [row[4] for row in picture.rows] == pytest.approx(
        [100 * accuracies[int(str(epoch)) - 1] for epoch in epochs]
    )
    assert f"At most {POINTS} epochs" in picture.caption
    assert f"At most {POINTS} epochs" not in drawn(STUDY).caption


def test_the_caption_says_how_far_the_ends_moved_and_what_a_flat_end_does_not_say() -> None:
    """The largest change over the last tenth, and a caution where the learning rate ends near zero."""
    flat = [0.9] * 19
    curves = [
        run("a", "final", "resnet18", "none", [*flat, 0.9]),
        run("b", "final", "resnet18", "logit", [*flat, 0.91]),
    ]
    caption = drawn(pd.concat(curves)).caption
    assert "no mean moved by more than 1.00 pp" in caption
    assert "ends near zero" in caption
    constant = drawn(run("a", "final", "resnet18", "none", flat, last_lr=0.1)).caption
    assert "ends near zero" not in constant
    assert "no mean moved by more than 0.00 pp" in constant


def test_nothing_and_next_to_nothing() -> None:
    """No final run and no teacher: no picture. One run of one epoch is a picture."""
    assert convergence(STUDY[STUDY["stages"].isin(["select", "stem_ablation"])]) is None
    assert convergence(STUDY[:0]) is None
    single = drawn(run("a", "final", "resnet18", "none", [0.5]))
    assert "none 50.00" in text_places(single)
    assert len(single.rows) == 1


def test_it_takes_its_colours_from_the_page_and_gives_the_same_bytes() -> None:
    """Dark and print are right, and a report made again is the same."""
    picture = drawn(STUDY)
    painted = {e.attrib[key] for e in parsed(picture).iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}
    assert picture == drawn(STUDY.copy())
