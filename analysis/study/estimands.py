"""Which contrasts are estimated: weights on cell means, in the families that multiplicity is controlled over."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from analysis.runs.columns import BASELINE, cell_label
from analysis.runs.layout import Layout
from analysis.study.contrasts import gain, moderation, moderation_id
from analysis.study.models import Weights

Families = Mapping[str, Mapping[str, Weights]]


def student_families(layout: Layout) -> dict[str, dict[str, Weights]]:
    """Gains, moderation, and feature's lead over logit, in cells `student:method`.

    Claims are about one pair of students; every other two, where there are more and their order is known, are a family
    of their own.
    """
    families = {"gains": {f"gain:{s}:{m}": gain(s, m) for s in layout.students for m in layout.methods}}
    if layout.pair is not None:
        smaller, larger = layout.pair
        families["moderation"] = moderations(layout)
        families["feature-logit"] = {
            moderation_id(smaller, larger, "feature", "logit"): moderation(smaller, larger, "feature", "logit")
        }
    others = {
        moderation_id(smaller, larger, method): moderation(smaller, larger, method)
        for smaller, larger in combinations(layout.students, 2)
        for method in layout.methods
        if layout.ordered and layout.pair not in ((smaller, larger), (larger, smaller))
    }
    if others:
        families["moderation-others"] = others
    families["feature-logit-students"] = {
        f"lead:feature-logit:{s}": {f"{s}:feature": 1.0, f"{s}:logit": -1.0} for s in layout.students
    }
    return families


def moderations(layout: Layout) -> dict[str, Weights]:
    """The moderation contrast of each method, by identifier; none without a pair of students."""
    if layout.pair is None:
        return {}
    return {moderation_id(*layout.pair, method): moderation(*layout.pair, method) for method in layout.methods}


def main_contrasts(layout: Layout) -> dict[str, Weights]:
    """What a study is planned for: the moderation of each method, or the gains where no two students are compared."""
    return moderations(layout) or student_families(layout)["gains"]


def pair_families(final: pd.DataFrame) -> dict[str, dict[str, Weights]]:
    """Gains by pair, feature's lead over logit by pair, and two teachers of one student by method."""
    cells = list(dict.fromkeys(zip(final["teacher"], final["student"], final["method"], strict=True)))
    gains = {f"gain:{cell_label(*cell)}": weights for cell, weights in gains_by_cell(final).items()}
    leads = {
        f"lead:feature-logit:{t}>{s}": {cell_label(t, s, "feature"): 1.0, cell_label(t, s, "logit"): -1.0}
        for t, s in dict.fromkeys((t, s) for t, s, m in cells if m != BASELINE)
    }
    teachers = {
        f"teacher:{one}-{other}:{student}:{method}": {
            cell_label(one, student, method): 1.0,
            cell_label(other, student, method): -1.0,
        }
        for one, student, method in cells
        for other, same, way in cells
        if (student, method) == (same, way) and "" not in (one, other) and one < other
    }
    return {"pair-gains": gains, "feature-logit-pairs": leads, "teachers": teachers}


def gains_by_cell(final: pd.DataFrame) -> dict[tuple[str, str, str], Weights]:
    """The gain of each distilled cell, by teacher, student and method, in cells `teacher>student:method`."""
    cells = dict.fromkeys(zip(final["teacher"], final["student"], final["method"], strict=True))
    return {
        (t, s, m): {cell_label(t, s, m): 1.0, cell_label("", s, BASELINE): -1.0} for t, s, m in cells if m != BASELINE
    }


def gain_families(layout: Layout) -> dict[str, dict[str, Weights]]:
    """The same gains and moderation where the response is the gain: a gain is a cell's mean."""
    families = {"gains": {f"gain:{s}:{m}": {f"{s}:{m}": 1.0} for s in layout.students for m in layout.methods}}
    if layout.pair is not None:
        smaller, larger = layout.pair
        families["moderation"] = {
            moderation_id(smaller, larger, m): {f"{larger}:{m}": 1.0, f"{smaller}:{m}": -1.0} for m in layout.methods
        }
    return families
