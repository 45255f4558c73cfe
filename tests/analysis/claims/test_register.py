"""The register in a table's own words: placeholders, wildcards, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from analysis.claims.register import Registered, bind
from analysis.runs.layout import Layout

LAYOUT = Layout(("resnet18", "resnet34"), ("feature", "logit"), ("resnet18", "resnet34"), "", ("resnet50",), 5)
ALONE = Layout(("resnet18",), ("feature",), None, "it compares two students", (), 5)


def entry(**fields: object) -> Registered:
    """A claim; the arguments change what they name."""
    usual = {
        "id": "a", "sentence": "A.", "effect": "the effect", "source": "here", "published": "", "kind": "directional",
        "unit": "pp", "margin": None, "threshold": 0.0, "model": "primary", "metric": "",
        "subset": "all", "contrast": "gain:resnet18:feature", "needs": "runs are missing", "caution": "",
    }  # fmt: skip
    return Registered(**usual | fields)


def one(claim: Registered, layout: Layout = LAYOUT, methods: Sequence[str] = ("feature", "logit")) -> Registered:
    """The claim, bound; there must be one."""
    (bound,) = bind([claim], layout, methods)
    return bound


def test_the_pair_and_its_teachers_are_named_everywhere() -> None:
    """In every text that a reader or a table sees."""
    words = "{larger} and {smaller} under {shared}"
    names = ("id", "sentence", "effect", "subset", "contrast", "needs", "caution")
    bound = one(entry(**dict.fromkeys(names, words)))
    for name in names:
        assert getattr(bound, name) == "resnet34 and resnet18 under resnet50"


def test_several_teachers_are_named_as_their_subset_is() -> None:
    """`teachers:a+b` is how contrasts.csv calls the rows."""
    layout = Layout(("s", "l"), ("m",), ("s", "l"), "", ("a", "b"), 3)
    assert one(entry(subset="teachers:{shared}"), layout).subset == "teachers:a+b"
    assert one(entry(subset="teachers:{shared}"), Layout(("s", "l"), ("m",), ("s", "l"), "", (), 3)).subset == (
        "teachers:none shared"
    )


def test_one_claim_for_each_student_and_each_method() -> None:
    """In the layout's order, methods within students; a placeholder anywhere in id, sentence or contrast counts."""
    claim = entry(id="gain:{student}:{method}", contrast="gain:{student}:{method}")
    assert [bound.id for bound in bind([claim], LAYOUT, ["feature", "logit", "mine"])] == [
        f"gain:{student}:{method}" for student in ("resnet18", "resnet34") for method in ("feature", "logit", "mine")
    ]
    in_words = entry(sentence="{student} gains.")
    assert [bound.sentence for bound in bind([in_words], LAYOUT, ["m"])] == ["resnet18 gains.", "resnet34 gains."]
    assert len(bind([entry(effect="{method}")], LAYOUT, ["m", "n"])) == 1


def test_only_the_star_is_a_wildcard() -> None:
    """It stands for any text, also none; brackets and question marks stand for themselves."""
    assert one(entry(contrast="gain:*")).matches("gain:a:b")
    assert one(entry(contrast="gain:*:b")).matches("gain::b")
    assert not one(entry(contrast="gain:*:b")).matches("gain:a:c")
    assert one(entry(contrast="lead:[x]?")).matches("lead:[x]?")
    assert not one(entry(contrast="lead:[x]?")).matches("lead:xy")
    assert not one(entry(contrast="Gain:*")).matches("gain:a:b")
    assert not one(entry(contrast="")).matches("gain:a:b")


@pytest.mark.parametrize("odd", ["a*", "a[xy]", "a?", "[!a]", "**", "a{method}", "{smaller}", "ax]"])
def test_names_may_hold_any_character(odd: str) -> None:
    """A student called `a*` is that student alone; what looks like a placeholder in a name is no placeholder."""
    layout = Layout(("plain", odd), ("m",), ("plain", odd), "", ("t",), 3)
    claim = entry(id="gain:{student}:{method}", contrast="gain:{student}:{method}")
    bound = {one.id: one for one in bind([claim], layout, ["m"])}
    mine = bound[f"gain:{odd}:m"]
    assert mine.contrast == f"gain:{odd}:m"
    assert mine.matches(f"gain:{odd}:m")
    assert not mine.matches("gain:plain:m")
    assert not mine.matches("gain:ax:m")
    assert not bound["gain:plain:m"].matches(f"gain:{odd}:m")
    starred = one(entry(contrast="lead:{larger}:*"), layout)
    assert starred.matches(f"lead:{odd}:anything")
    assert not starred.matches("lead:ab:anything")


def test_without_a_pair_the_reason_is_the_layouts() -> None:
    """Only for claims that ask for the pair; others keep their own reason."""
    for asked in (
        entry(contrast="moderation:{larger}-{smaller}"),
        entry(subset="teachers:{shared}"),
    ):
        assert one(asked, ALONE).needs == "it compares two students"
    assert one(entry(contrast="gain:x"), ALONE).needs == "runs are missing"
    assert one(entry(sentence="{larger} gains.", contrast="gain:x"), ALONE).sentence == "larger student gains."
    assert one(entry(contrast="moderation:{larger}-{smaller}")).needs == "runs are missing"


def test_sources_are_not_rewritten() -> None:
    """Who said it, and what was published, is quoted as it stands in the file."""
    bound = one(entry(source="{larger}", published="{method}"))
    assert (bound.source, bound.published) == ("{larger}", "{method}")


def test_unknown_placeholders_stay_visible() -> None:
    """A misspelt one is no empty word."""
    assert one(entry(sentence="{larger} beats {smalest}.")).sentence == "resnet34 beats {smalest}."


def test_the_projects_register_leaves_no_placeholder(register: Sequence[Registered]) -> None:
    """Every text of every claim is filled for the published layout, and for one student alone."""
    for layout in (LAYOUT, ALONE):
        bound = bind(register, layout, ["feature", "logit"])
        for claim in bound:
            for name in ("id", "sentence", "effect", "subset", "contrast", "needs", "caution"):
                assert "{" not in getattr(claim, name)
        assert len({claim.id for claim in bound}) == len(bound)
