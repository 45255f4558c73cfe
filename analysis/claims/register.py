"""The register of claims: what is claimed, by whom, and which contrasts decide it; bound to a table's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from itertools import product

from analysis.results import ClaimKind
from analysis.runs.layout import Layout


@dataclass(frozen=True)
class Registered:
    """A claim before it is judged. Text may hold placeholders.

    `{smaller}` and `{larger}` are the pair of students compared, `{shared}` the teachers that taught both, `{student}`
    and `{method}` stand for one claim for each student and each method.

    Attributes:
        id: Stable identifier.
        sentence: The claim in words.
        effect: What is estimated, as a noun phrase.
        source: Who says it, and where.
        published: The number published with it, in words; empty if there is none.
        kind: As in `analysis.claims.verdict.Rule`.
        unit: Unit of the effect.
        margin: Smallest difference that matters; None for the study's margin (then in percentage points).
        threshold: What an `at least` claim is held against.
        model: Model of the contrasts; its refit counts where the fit is singular.
        metric: Metric of the contrasts; empty for the metric analysed.
        subset: Subset of the contrasts.
        contrast: Identifier of the contrast, with `*` where several must all hold; empty where a runs table cannot
            tell.
        needs: What is missing where there is no such contrast, as a clause.
        caution: What a reader must know beside the verdict; may be empty.
        pattern: `contrast` as `fnmatch` reads it: its own `*` is the only wildcard, whatever a table's names hold.
            Made by `bind`.
    """

    id: str
    sentence: str
    effect: str
    source: str
    published: str
    kind: ClaimKind
    unit: str
    margin: float | None
    threshold: float
    model: str
    metric: str
    subset: str
    contrast: str
    needs: str
    caution: str
    pattern: str = ""

    def matches(self, contrast: str) -> bool:
        """Whether a contrast is one that the claim rests on."""
        return fnmatchcase(contrast, self.pattern)


def bind(register: Sequence[Registered], layout: Layout, methods: Sequence[str]) -> list[Registered]:
    """The claims in a table's own words.

    Args:
        register: The register.
        layout: Students and pair of the table.
        methods: Methods that `{method}` stands for.
    """
    bound = []
    for claim in register:
        if layout.pair is None and ("{smaller}" in claim.id or "{larger}" in claim.id):
            continue  # of a student that is not known there is nothing to ask
        words = " ".join((claim.id, claim.sentence, claim.contrast))
        students = layout.students if "{student}" in words else ("",)
        taken = methods if "{method}" in words else ("",)
        for student, method in product(students, taken):
            bound.append(_bound(claim, layout, {"student": student, "method": method}))
    return bound


def _bound(claim: Registered, layout: Layout, names: Mapping[str, str]) -> Registered:
    smaller, larger = layout.pair or ("smaller student", "larger student")
    names = {
        **names, "smaller": smaller, "larger": larger,
        "shared": "+".join(layout.shared_teachers) or "none shared",
    }  # fmt: skip
    asks_pair = any(word in claim.contrast + claim.subset for word in ("{smaller}", "{larger}", "{shared}"))
    needs = layout.no_pair if asks_pair and layout.pair is None else _filled(claim.needs, names)
    return replace(
        claim,
        id=_filled(claim.id, names),
        sentence=_filled(claim.sentence, names),
        effect=_filled(claim.effect, names),
        subset=_filled(claim.subset, names),
        contrast=_filled(claim.contrast, names),
        needs=needs,
        caution=_filled(claim.caution, names),
        pattern=_filled(
            claim.contrast.replace("[", "[[]").replace("?", "[?]"),
            {name: escape(value) for name, value in names.items()},
        ),
    )


def _filled(text: str, names: Mapping[str, str]) -> str:
    """Placeholders replaced, all at once; names may hold any character, so `str.format` is not used."""
    return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], found[0]), text)
