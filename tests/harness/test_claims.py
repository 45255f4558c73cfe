"""Reading a register of claims: the project's own, and every way in which another can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.claims import REGISTER, read_claims
from harness.errors import StudyError

ENTRY = {
    "id": "a", "sentence": "A gains.", "effect": "the gain of a", "source": "here", "published": "", "kind": "null",
    "unit": "pp", "margin": "gain", "model": "primary", "subset": "all", "contrast": "gain:a:m",
    "needs": "runs are missing",
}  # fmt: skip


def written(folder: Path, *entries: dict[str, Any]) -> Path:
    """A register with these entries, each the usual one but for what it says."""
    path = folder / "claims.yaml"
    claims = [{key: value for key, value in (ENTRY | entry).items() if value is not None} for entry in entries]
    path.write_text(yaml.safe_dump({"claims": claims}), encoding="utf-8")
    return path


def test_the_projects_register_is_read_whole() -> None:
    """Every entry of the file in its order, `gain` as no margin of its own, and defaults where a key is left out."""
    entries = yaml.safe_load(REGISTER.read_text(encoding="utf-8"))["claims"]
    claims = read_claims()
    assert [claim.id for claim in claims] == [entry["id"] for entry in entries]
    for claim, entry in zip(claims, entries, strict=True):
        assert claim.margin == (None if entry["margin"] == "gain" else entry["margin"])
        assert (claim.kind, claim.contrast, claim.needs) == (entry["kind"], entry["contrast"], entry["needs"])
        assert claim.metric == entry.get("metric", "")
        assert claim.threshold == entry.get("threshold", 0)
        assert claim.caution == entry.get("caution", "")


def test_every_finding_of_the_paper_is_registered() -> None:
    """Moderation pooled and under one teacher, both nulls, rivals, fidelity, ablations, versions, determinism."""
    names = {claim.id.split(":")[0] for claim in read_claims()}
    assert names == {
        "moderation", "moderation-same-teacher", "gain", "no-gain", "larger-teacher", "student-not-gap",
        "persists-at-resnet50", "feature-at-least-logit", "feature-closer-kl1", "feature-closer-kl4", "agreement-flat",
        "stem-worth", "clipping-no-effect", "v1-larger", "determinism", "feature-over-logit", "student-not-gap-mean",
    }  # fmt: skip


def test_margins_are_in_the_claims_unit() -> None:
    """A claim in nats has a number of its own; a margin of gains is in percentage points."""
    for claim in read_claims():
        assert (claim.margin is None) == (claim.unit == "pp")


def test_a_register_of_ones_own(tmp_path: Path) -> None:
    """Numbers may be written as whole ones; text is taken as it stands."""
    (claim,) = read_claims(written(tmp_path, {"kind": "at least", "margin": 1, "threshold": 5, "caution": "beware"}))
    assert (claim.margin, claim.threshold, claim.caution, claim.published) == (1.0, 5.0, "beware", "")
    (claim,) = read_claims(written(tmp_path, {"unit": "nats", "margin": 0.02, "metric": "kl_t1"}))
    assert (claim.unit, claim.margin, claim.metric) == ("nats", 0.02, "kl_t1")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"sentence": None}, "`claims.0.sentence` is missing; add it"),
        ({"id": ""}, "`claims.0.id`"),
        ({"treshold": 5.5}, "`claims.0.treshold` is not a key of this file"),
        ({"kind": "directed"}, "`claims.0.kind` expected 'directional', 'null' or 'at least', found 'directed'"),
        ({"margin": 0}, "claims.0.margin: expected `gain` or a number above 0, found 0"),
        ({"margin": -0.2}, "expected `gain` or a number above 0, found -0.2"),
        ({"margin": "large"}, "expected `gain` or a number above 0, found 'large'"),
        ({"margin": True}, "found True"),
        ({"margin": float("inf")}, "found inf"),
        ({"threshold": 5.5}, "claims.0: threshold 5.5 belongs to a claim of kind `at least`; this is null"),
        ({"threshold": "x"}, "`claims.0.threshold`"),
        ({"unit": "nats"}, "claims.0: margin `gain` is in pp, but the unit is nats; give a number in that unit"),
        ({"contrast": 5}, "`claims.0.contrast`"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    """File, place in the list, key, what was expected and what was found."""
    path = written(tmp_path, entry)
    with pytest.raises(StudyError) as caught:
        read_claims(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_one_id_is_one_claim(tmp_path: Path) -> None:
    """Two entries of one id would be told apart by nothing."""
    with pytest.raises(StudyError, match="id 'a' stands there twice; rename one"):
        read_claims(written(tmp_path, {}, {"id": "b"}, {}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("claims: []\n", "expected at least 1 value"),
        ("- id: a\n", "expected `key: value` lines, found list"),
        ("claims:\n  - id: a\n    id: b\n", "key `id` is given twice"),
        ("claims: {\n", "line 2"),
        ("claim:\n  - id: a\n", "`claim` is not a key of this file"),
    ],
)
def test_a_file_that_is_no_register(tmp_path: Path, text: str, words: str) -> None:
    """An empty list, another shape, a key twice, broken YAML: a sentence each."""
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        read_claims(path)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Where it was looked for."""
    with pytest.raises(StudyError, match=r"nowhere\.yaml: no such file"):
        read_claims(tmp_path / "nowhere.yaml")
