"""The figures: named, described, themable, and true to the numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import pandas as pd
import pytest
import sample_study
from drawing import SVG, parsed, text_places

from analysis.runs.table import check_runs
from report.figures.canvas import WIDTH
from report.figures.coverage import LETTER
from report.figures.forest import forest
from report.figures.interaction import _seed_lines, interaction
from report.figures.svg import COLOURS

PICTURES = {
    "forest": forest(sample_study.analysis(), sample_study.published()),
    "interaction": interaction(sample_study.analysis(), sample_study.runs()),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_has_role_name_and_description(name: str) -> None:
    """Those who do not see the figure get its name and what it holds; all get a sentence on what to see."""
    root = parsed(PICTURES[name])
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == f"{name}-title {name}-desc"
    title, desc = root[0], root[1]
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert title.text
    assert desc.text
    assert PICTURES[name].caption.startswith("What to see: ")


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_takes_its_colours_from_the_page(name: str) -> None:
    """Every colour is a variable of the style sheet, so that dark and print are right; no style of its own."""
    root = parsed(PICTURES[name])
    painted = {e.attrib[key] for e in root.iter() for key in ("fill", "stroke") if key in e.attrib}
    assert painted <= {"none"} | {f"var(--{colour}, {value})" for colour, value in COLOURS.items()}
    assert not [e for e in root.iter() if "style" in e.attrib or e.tag.endswith(("metadata", "style"))]
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib


def test_figures_and_page_agree_on_colours() -> None:
    """The style sheet defines every colour of the figures, for light with the same value, and for dark."""
    style = (resources.files("report") / "templates" / "style.css").read_text(encoding="utf-8")
    defined = re.findall(r"--([\w-]+): (#\w{6})", style)
    for name, value in COLOURS.items():
        values = [colour for defined_name, colour in defined if defined_name == name]
        assert values[0] == value
        assert len(values) == 2


def test_the_forest_draws_what_is_estimated() -> None:
    """15 contrasts with their numbers in words; an interval's ends lie where the axis says."""
    texts = [e.text for e in parsed(PICTURES["forest"]).iter(f"{SVG}text")]
    assert sum(bool(re.search(r"\[.*\]", text or "")) for text in texts) == 15
    assert "+0.21 [+0.10, +0.32]" in texts
    assert "R101 → R34, logit" in texts
    assert "gain from feature: R34 \N{MINUS SIGN} R18" in texts


def test_the_forest_marks_the_published_runs_by_form() -> None:
    """Published intervals are dashed, so that colour is not needed; without them nothing is."""
    assert PICTURES["forest"].svg.count("stroke-dasharray") == 14
    assert "stroke-dasharray" not in forest(sample_study.analysis(), None).svg


def test_a_contrast_of_two_fits_is_drawn_once_from_the_refit() -> None:
    """After a singular fit the figure shows what the claims rest on, whatever the order, beside the same published."""
    singular = sample_study.singular()
    refit = replace(singular, contrasts=tuple(c for c in singular.contrasts if c.model.endswith(":refit")))
    backwards = replace(singular, contrasts=(*refit.contrasts, *sample_study.analysis().contrasts))
    published = sample_study.published()
    assert forest(singular, published).svg == forest(refit, published).svg == forest(backwards, published).svg
    assert forest(singular, published).svg.count("stroke-dasharray") == 14
    assert "+1.21 [+1.10, +1.32]" in forest(singular, None).svg


def test_a_contrast_of_several_models_is_drawn_once() -> None:
    """A sensitivity model further down does not add rows to the forest plot."""
    analysis = sample_study.analysis()
    again = tuple(replace(contrast, model="gain", estimate_pp=9.0) for contrast in analysis.contrasts)
    twice = replace(analysis, contrasts=analysis.contrasts + again)
    assert forest(twice, None).svg == forest(analysis, None).svg


def test_contrasts_of_other_families_and_images_add_no_rows() -> None:
    """Leads, ablations and fidelity stand in tables; intervals for new images beside those for these."""
    analysis = sample_study.analysis()
    drawn = tuple(c for c in analysis.contrasts if c.family in ("gains", "pair-gains", "moderation", "feature-logit"))
    images = tuple(replace(c, model=f"{c.model}:new-images", estimate_pp=9.0) for c in drawn)
    alone = forest(replace(analysis, contrasts=drawn), None).svg
    assert forest(analysis, None).svg == alone
    assert forest(replace(analysis, contrasts=analysis.contrasts + images), None).svg == alone


def test_means_of_the_refit_are_drawn() -> None:
    """The large marks are the means that claims rest on; means of a subset are not drawn."""
    singular, runs = sample_study.singular(), sample_study.runs()
    refit = replace(singular, emmeans=tuple(m for m in singular.emmeans if m.model == "primary:refit"))
    subset = tuple(replace(m, subset="teachers:resnet50", mean_pct=50.0) for m in singular.emmeans)
    drawn = interaction(singular, runs).svg
    assert drawn == interaction(refit, runs).svg
    assert drawn == interaction(replace(singular, emmeans=(*subset, *singular.emmeans)), runs).svg
    assert drawn != interaction(sample_study.analysis(), runs).svg


def test_a_dot_stands_at_its_accuracy() -> None:
    """Height is linear in accuracy: any two dots give the scale on which all others lie."""
    runs = sample_study.runs()
    heights = {}
    for group in parsed(PICTURES["interaction"]).iter(f"{SVG}g"):
        if group.attrib.get("class") == "run":
            mark = next(group.iter(f"{SVG}use"))
            heights[int(group.attrib["id"].rsplit("-", 1)[1])] = float(mark.attrib["y"])
    points = sorted((float(runs["test_acc_best"].iloc[run - 1]), y) for run, y in heights.items())
    (low, bottom), (high, top) = points[0], points[-1]
    assert top < bottom
    for accuracy, y in points:
        assert y == pytest.approx(bottom + (accuracy - low) / (high - low) * (top - bottom), abs=1e-3)


def test_students_stand_in_the_order_that_the_analysis_gives_them() -> None:
    """With names that say nothing of size, the smaller student of the contrasts stands to the left."""
    names = {"resnet18": "wide", "resnet34": "tiny"}  # by the alphabet, the other way round
    frame = check_runs(sample_study.runs_frame().replace({"student": names}), "sample.csv")
    analysis = sample_study.analysis()
    renamed = tuple(
        replace(contrast, contrast=contrast.contrast.replace("resnet34", "tiny").replace("resnet18", "wide"))
        for contrast in analysis.contrasts
    )
    picture = interaction(replace(analysis, contrasts=renamed), frame)
    texts = [e for e in parsed(picture).iter(f"{SVG}text") if e.text in names.values()]
    assert [e.text for e in sorted(texts, key=lambda e: float(e.attrib["x"]))] == ["wide", "tiny"]


def test_names_of_many_methods_do_not_run_into_the_axis_name() -> None:
    """Five methods, as `beyond` has with its baseline: below the axis' name, in lines, inside the picture."""
    frame, analysis, others = sample_study.runs_frame(), sample_study.analysis(), ("attention", "random_teacher")
    logit = frame[frame["method"] == "logit"]
    empty = {name: "" for name in frame if name.endswith("_sha256")}
    more = [logit.assign(method=name, **empty) for name in others]
    cells = [replace(cell, method=name) for cell in analysis.cells if cell.method == "logit" for name in others]
    runs = check_runs(pd.concat([frame, *more], ignore_index=True), "sample.csv")
    places = text_places(interaction(replace(analysis, cells=(*analysis.cells, *cells)), runs))
    ((_, axis_y),) = places["test accuracy (%)"]
    legend = [(y, x, name) for name in ("none", "feature", "logit", *others) for x, y in places[name]]
    assert len(legend) == 5
    assert all(y >= axis_y + 12 and x + LETTER * len(name) <= WIDTH for y, x, name in legend)
    for (y, x, name), (below, right, _) in pairwise(sorted(legend)):
        assert below >= y + 12 or right >= x + LETTER * len(name)


def test_every_student_stands_between_its_smaller_and_its_larger_ones() -> None:
    """Three students in the order that the contrasts of every two give, whatever the alphabet says."""
    names = {"resnet18": "b", "resnet34": "a"}
    frame = sample_study.runs_frame().replace({"student": names})
    third = frame[frame["student"] == "b"].assign(student="c", weights_sha256="")
    analysis = sample_study.analysis()
    one = next(c for c in analysis.contrasts if c.contrast.startswith("moderation:feature-none"))
    pairs = ["a-c", "b-a", "b-c"]  # c below a below b
    contrasts = tuple(replace(one, contrast=f"moderation:feature-none:{pair}") for pair in pairs)
    runs = check_runs(pd.concat([frame, third], ignore_index=True), "sample.csv")
    texts = [
        e for e in parsed(interaction(replace(analysis, contrasts=contrasts), runs)).iter(f"{SVG}text")
        if e.text in ("a", "b", "c")
    ]  # fmt: skip
    assert [e.text for e in sorted(texts, key=lambda e: float(e.attrib["x"]))] == ["c", "a", "b"]


def test_a_line_joins_runs_of_one_checkpoint() -> None:
    """Two checkpoints of a teacher make two lines a seed, and a run's words say which checkpoint taught it."""
    frame = sample_study.runs_frame()
    taught = frame["teacher"] != ""
    frame["teacher_seed"] = [0 if one else None for one in taught]
    twice = check_runs(pd.concat([frame, frame[taught].assign(teacher_seed=1, weights_sha256="")]), "sample.csv")
    for runs, lines in ((check_runs(frame, "sample.csv"), 4 * 5), (twice, 4 * 5 * 2)):
        final = runs[runs["stage"] == "final"].assign(number=1)
        found = list(_seed_lines(final, ["none", "feature", "logit"]))
        assert len(found) == lines
        assert {len(line) for line in found} == {3}
    assert "teacher seed 1, seed 3" in interaction(sample_study.analysis(), twice).svg
    assert "teacher seed" not in PICTURES["interaction"].svg


def test_moderation_under_one_teacher_stands_apart() -> None:
    """The same contrast over a subset of rows gets a heading that names the teacher; gains there do not repeat."""
    analysis = sample_study.analysis()
    subset = tuple(
        replace(contrast, subset="teachers:resnet50") for contrast in analysis.contrasts if contrast.model == "primary"
    )
    whole = forest(analysis, None).svg
    both = forest(replace(analysis, contrasts=analysis.contrasts + subset), None).svg
    assert "Moderation, taught by R50 alone" in both
    assert "taught by" not in whole
    assert both.count("gain from feature:") == 2
    assert both.count("R34, feature") == whole.count("R34, feature")
