"""The forms in which a verdict leaves the program: terminal, JUnit XML, Markdown, and JSON with its schema."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import subprocess
import sys
import types
import typing
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from analysis.results import Verdict as ClaimVerdict
from harness.cli import app
from harness.tables import read_runs
from harness.verify.bitwise import Bitwise, RunComparison
from harness.verify.judge import not_judged
from harness.verify.junit import junit
from harness.verify.lock import LockCheck
from harness.verify.markdown import summary
from harness.verify.records import RecordsCheck
from harness.verify.reference import find_reference
from harness.verify.terminal import table
from harness.verify.verdict import (
    EXIT_CODES,
    FAMILIES,
    SCHEMA,
    Conclusion,
    Family,
    FamilyTest,
    Integrity,
    Member,
    Named,
    Override,
    Verdict,
)

SCHEMA_FILE = resources.files("harness.verify") / "verdict.schema.json"
DOCUMENT: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
CELL = "resnet50>resnet34:feature"
LONG = "moderation:feature-none:resnet34-resnet18 (teachers:resnet50+resnet101+resnet152)"
STEM = Override("--allow stem", "Stem of cell resnet18:none: reference r has cifar, this table says imagenet.")
MARGIN = Override("--margin 0.6", "Accuracies agree within 0.6 pp; the reference's margin is 0.4.")


def a_member(name: str, verdict: str = "PASS", quantity: str = "test_acc_best", **changes: object) -> Member:
    """A member whose difference is +0.12 pp, or nats."""
    made = Member(
        name=name, quantity=quantity, unit="pp", key={}, n=5, n_reference=7, value=95.31, reference_value=95.19,
        difference=0.12, ci_low=-0.2, ci_high=0.45, equivalence_low=0.0, equivalence_high=0.25, margin=0.4,
        verdict=verdict, seeds_to_decide=12 if verdict == "INCONCLUSIVE" else None, sentence=f"{name} is {verdict}.",
    )  # fmt: skip
    return replace(made, **changes)


def a_family(name: str, verdict: str, *members: Member, **changes: object) -> Family:
    """A family that does not decide."""
    made = Family(
        family=name, verdict=verdict, sentence=f"Why {name} are {verdict}.", gated=False, alpha=0.05,
        members_in_reference=10, members=members, mean_shift=None, spread_ratio=None, seeds_to_decide=None,
        excusing_between_study_sd=None, conclusions=(),
    )  # fmt: skip
    return replace(made, **changes)


def of_everything() -> Verdict:
    """A FAIL with every family, outcome, check and level there is."""
    key = {
        "dataset": "cifar10", "teacher": "", "student": "resnet18", "method": "none", "stem": "cifar", "epochs": 200,
        "checkpoint": "best-validation",
    }  # fmt: skip
    accuracies = a_family(
        "accuracies", "FAIL", a_member("resnet18:none", key=key), a_member(CELL, "FAIL"),
        a_member("resnet50>resnet18:logit", "INCONCLUSIVE"),
        gated=True, mean_shift=FamilyTest(0.12, 0.026, 0.224, fails=True),
        spread_ratio=FamilyTest(1.5, 0.5, 3.25, fails=False), excusing_between_study_sd=0.11,
    )  # fmt: skip
    fidelity = a_family(
        "fidelity", "FAIL", a_member(CELL, quantity="agreement"),
        a_member(CELL, "FAIL", "kl_t1", unit="nats", value=0.21234, ci_low=0.00124, margin=0.018),
    )  # fmt: skip
    gains = a_family("gains", "INCONCLUSIVE", a_member(CELL, "INCONCLUSIVE", "gain", value=0.3, seeds_to_decide=None))
    claims = a_family(
        "claims", "PASS", a_member(LONG, quantity="contrast", value=-0.05),
        conclusions=(Conclusion("gain:resnet18", "Distillation helps.", "supported", "cannot tell"),),
    )  # fmt: skip
    runs = (
        RunComparison("final/a-s0", "PASS", (), "final/a-s0 is the same to the bit."),
        RunComparison("final/b-s0", "FAIL", ("history",), "final/b-s0 differs in history."),
        RunComparison("final/c-s0", "NOT COMPARABLE", ("torch: record 2.11, here 2.13",), "final/c-s0 was left."),
    )
    lock = LockCheck("NOT CHECKED", (), (), "dvc.lock was not checked: there is none.")
    return Verdict(
        schema=SCHEMA, verdict="FAIL", sentence=f"FAIL against r: {CELL} differs.", exit_code=1, gate=("accuracies",),
        runs_sha256="ab" * 32, reference=Named("r", "A reference", "cd" * 32), overrides=(STEM, MARGIN),
        integrity=(
            Integrity("test openings", "FAIL", "A run opened the test set three times."),
            Integrity("records", "NOT CHECKED", "No run folder is at hand."),
        ),
        families=(accuracies, a_family("teachers", "NOT JUDGED"), fidelity, gains, claims),
        bitwise=Bitwise("FAIL", "FAIL: final/b-s0 differs in history.", runs, lock),
        model={
            "seed_sd_pp": 0.05, "residual_sd_pp": 0.14, "icc": 0.1, "df_group": 8, "df_within": 32.0,
            "between_study_sd_pp": 0.0,
        },
        notes=("Seeds of the reference not run for any cell: 4.",),
    )  # fmt: skip


def passing() -> Verdict:
    """A PASS beside whose gate something fails."""
    everything = of_everything()
    accuracies = a_family("accuracies", "PASS", a_member(CELL), gated=True)
    return replace(
        everything, verdict="PASS", exit_code=0, sentence="PASS against r: all agree.", bitwise=None, integrity=(),
        families=(accuracies, *everything.families[1:]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All outputs on the published runs, as the command writes them, by name."""
    place = tmp_path_factory.mktemp("outputs")
    files = {name: place / f"verdict.{name}" for name in ("json", "junit", "summary")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    runs = find_reference("yasar2026-v2") / "runs.csv"
    asked = ["verify", "--runs", str(runs), "--reference", "yasar2026-v2", "--margin", "0.3", *options]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    return {"terminal": result.output} | {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def parsed(xml: str) -> ET.Element:
    """An XML document, by the parser of the standard library, which refuses what is not well-formed."""
    return ET.fromstring(xml.encode())  # noqa: S314 - what junit() wrote


def squeezed(text: str) -> str:
    """Text on one line, whatever its line breaks."""
    return " ".join(text.split())


# --- terminal ---------------------------------------------------------------------------------------------------------


def line_of(text: str, *words: str) -> str:
    """The one line that holds all of these words."""
    found = [line for line in text.splitlines() if all(word in line for word in words)]
    assert len(found) == 1, found
    return found[0]


def test_a_member_is_a_line_with_its_numbers() -> None:
    """Runs, value, reference, difference, interval, verdict and the seeds that would decide."""
    line = line_of(table(of_everything()), "resnet50>resnet18:logit")
    wanted = [
        "resnet50>resnet18:logit",
        "5",
        "95.31",
        "95.19",
        "+0.12 pp",
        "-0.20 to +0.45",
        "INCONCLUSIVE",
        "12 seeds",
    ]
    assert re.split(r"\s{2,}", line) == wanted


def test_digits_follow_the_unit() -> None:
    """Points have two decimals, nats four; a gain has a sign, as it is a difference itself."""
    text = table(of_everything())
    assert re.search(r"KL at T = 1, nats \(margin 0.018 nats\).*\n-+\n.* 0.2123 .*\+0.1200 nats +\+0.0012 to", text)
    assert re.search(r"gain, pp \(margin 0.4 pp\).*\n-+\n.* \+0.30 .*INCONCLUSIVE +>1000 seeds", text)


def test_tests_of_the_whole_family_have_their_lines() -> None:
    """The mean shift fails here, the spread does not."""
    text = table(of_everything())
    assert re.split(r"\s{2,}", line_of(text, "mean shift")) == ["mean shift", "+0.12 pp", "+0.03 to +0.22", "FAIL"]
    assert re.split(r"\s{2,}", line_of(text, "variance ratio")) == [
        "variance ratio", "1.50", "0.50 to 3.25", "not different",
    ]  # fmt: skip


def test_each_family_says_whether_it_counts() -> None:
    """A family's head has its verdict; one that is not judged is a line with the reason."""
    text = table(of_everything())
    assert "accuracies: FAIL (decides the exit code)\n" in text
    assert "fidelity: FAIL (not gated)\n" in text
    assert "\n\nteachers: NOT JUDGED (not gated): Why teachers are NOT JUDGED.\n\n" in text


def test_everything_else_has_its_place() -> None:
    """Reference first; conclusions, checks, the bitwise level and notes; families at a glance; the sentence last."""
    text = table(of_everything())
    parts = [
        "A reference (r, digest ", "accuracies: FAIL", "gain:resnet18  supported  cannot tell",
        "test openings: FAIL: A run opened", "bitwise: FAIL\nfinal/b-s0 differs in history.", "final/b-s0  FAIL",
        "dvc.lock    NOT CHECKED", "Overruled: --allow stem", "Note: Seeds of the reference",
        "accuracies     FAIL          gated      3 of 10: 1 PASS, 1 FAIL, 1 INCONCLUSIVE",
        "bitwise        FAIL          always     3 runs, dvc.lock", "FAIL against r:",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.endswith("differs.")


def test_lines_keep_within_120_columns_and_names_are_whole(real: dict[str, str]) -> None:
    """A name that leaves too little room stands on its own line, its numbers below; only a longer name sticks out."""
    for text in (table(of_everything()), real["terminal"].split("Written to")[0]):
        assert max(map(len, text.splitlines())) <= 120
    lines = table(of_everything()).splitlines()
    assert lines[lines.index(LONG) + 1].split()[0] == "5"
    name = "x" * 150
    wide = replace(passing(), families=(a_family("accuracies", "PASS", a_member(name), a_member(CELL), gated=True),))
    assert [line for line in table(wide).splitlines() if len(line) > 120] == [name]


def test_a_verdict_without_reference_has_every_form() -> None:
    """NOT JUDGED has no families and no members, and says so everywhere."""
    runs = read_runs(find_reference("yasar2026-v2") / "runs.csv")
    verdict = not_judged("quick", runs, "ab" * 32, RecordsCheck(len(runs), 0, ()))
    assert verdict.verdict == "NOT JUDGED"
    assert table(verdict).startswith("No reference.\n\n")
    assert "## harness verify: NOT JUDGED\n" in summary(verdict)
    assert all(case.find("skipped") is not None for case in parsed(junit(verdict)).iter("testcase"))
    assert problems(verdict.as_json()) == []


# --- JUnit ------------------------------------------------------------------------------------------------------------


def outcomes(text: str) -> dict[tuple[str, str], str]:
    """Status of each test case by class and name, read as GitLab's parser does: the first of these elements decides."""
    found = {}
    for case in parsed(text).iter("testcase"):
        key = case.attrib["classname"], case.attrib["name"]
        assert key not in found, "GitLab tells test cases apart by class and name"
        found[key] = next((tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None), "passed")
    return found


def test_each_member_and_check_is_a_test_case() -> None:
    """What decides and fails is a failure; whatever is open, or fails beside the gate, is skipped."""
    assert outcomes(junit(of_everything())) == {
        ("kdcap.verdict", "verdict"): "failure",
        ("kdcap.accuracies", "resnet18:none"): "passed",
        ("kdcap.accuracies", CELL): "failure",
        ("kdcap.accuracies", "resnet50>resnet18:logit"): "skipped",
        ("kdcap.accuracies", "mean shift"): "failure",
        ("kdcap.accuracies", "variance ratio"): "passed",
        ("kdcap.teachers", "teachers"): "skipped",
        ("kdcap.fidelity", f"agreement of {CELL}"): "passed",
        ("kdcap.fidelity", f"kl_t1 of {CELL}"): "skipped",
        ("kdcap.gains", CELL): "skipped",
        ("kdcap.claims", LONG): "passed",
        ("kdcap.integrity", "test openings"): "failure",
        ("kdcap.integrity", "records"): "skipped",
        ("kdcap.bitwise", "final/a-s0"): "passed",
        ("kdcap.bitwise", "final/b-s0"): "failure",
        ("kdcap.bitwise", "final/c-s0"): "skipped",
        ("kdcap.bitwise", "dvc.lock"): "skipped",
    }


def test_counts_add_up(real: dict[str, str]) -> None:
    """A suite's attributes are the counts of its test cases, and the root's are their sums."""
    for text in (junit(of_everything()), real["junit"]):
        root = parsed(text)
        sums: Counter[str] = Counter()
        for suite in root:
            counted = {"tests": len(suite.findall("testcase"))} | {
                name: len(suite.findall(f"testcase/{tag}"))
                for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
            }
            assert {name: int(suite.attrib[name]) for name in counted} == counted, suite.attrib
            sums.update(counted)
        assert {name: int(root.attrib[name]) for name in sums} == dict(sums)
    root = parsed(junit(of_everything()))
    assert [root.attrib[name] for name in ("tests", "failures", "errors", "skipped")] == ["17", "5", "0", "7"]


# Attributes and children, in order, of the schema that Jenkins' plugins go by (junit-4.xsd of Thales' dtkit), and what
# it lacks and other writers have: `skipped` of testsuites, `message` of skipped
ALLOWED = {
    "testsuites": ("name time tests failures disabled errors skipped", "testsuite"),
    "testsuite": (
        "name tests failures errors time disabled skipped timestamp hostname id package",
        "properties testcase system-out system-err",
    ),
    "properties": ("", "property"),
    "property": ("name value", ""),
    "testcase": ("name assertions time classname status", "skipped error failure system-out system-err"),
    "failure": ("type message", ""),
    "skipped": ("message", ""),
}


def test_elements_and_attributes_are_those_that_readers_know(real: dict[str, str]) -> None:
    """Nothing that JUnit's schemas do not have, in their order; no time stamps; a time everywhere, which is 0."""
    for text in (junit(of_everything()), real["junit"]):
        for element in parsed(text).iter():
            attributes, children = (words.split() for words in ALLOWED[element.tag])
            assert element.attrib.keys() <= set(attributes)
            places = [children.index(child.tag) for child in element]
            assert places == sorted(places)
            assert not element.attrib.keys() & {"timestamp", "hostname"}
            assert element.tag not in ("testsuites", "testsuite", "testcase") or element.attrib["time"] == "0"


def test_the_reason_stands_in_message_and_text() -> None:
    """Jenkins shows the attribute, GitLab the text; the verdict comes first and comes once."""
    cases = {case.attrib["name"]: case for case in parsed(junit(of_everything())).iter("testcase")}
    wanted = {
        "verdict": f"FAIL against r: {CELL} differs.",
        "mean shift": "FAIL: mean shift +0.12 pp (interval +0.03 to +0.22).",
        f"kl_t1 of {CELL}": f"FAIL, not gated: {CELL} is FAIL.",
        "teachers": "NOT JUDGED: Why teachers are NOT JUDGED.",
        "records": "NOT CHECKED: No run folder is at hand.",
        "final/c-s0": "NOT COMPARABLE: final/c-s0 was left.",
    }
    for name, message in wanted.items():
        (reason,) = cases[name]
        assert (reason.attrib["message"], reason.text) == (message, message)


def test_the_report_is_red_exactly_if_the_exit_code_is_1(real: dict[str, str]) -> None:
    """What fails beside the gate leaves an exit code of 0 and a green report."""
    assert "failure" not in outcomes(junit(passing())).values()
    assert outcomes(junit(passing()))["kdcap.fidelity", f"kl_t1 of {CELL}"] == "skipped"
    assert "failure" not in outcomes(real["junit"]).values()
    assert "failure" in outcomes(junit(of_everything())).values()


def test_properties_say_what_was_judged_and_how() -> None:
    """Reference, digests, gate, and each override and note under a name of its own."""
    suite = parsed(junit(of_everything())).find("testsuite")
    assert suite is not None
    assert {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")} == {
        "schema": SCHEMA, "verdict": "FAIL", "exit_code": "1", "gate": "accuracies", "reference": "r",
        "reference_sha256": "cd" * 32, "runs_sha256": "ab" * 32,
        "override.1": f"{STEM.option}: {STEM.sentence}", "override.2": f"{MARGIN.option}: {MARGIN.sentence}",
        "note.1": "Seeds of the reference not run for any cell: 4.",
    }  # fmt: skip


def test_any_name_makes_well_formed_xml() -> None:
    """Markup is text; characters that XML has no way to write are written out."""
    name = "a<b>&amp;\"'\x1b[31m\x00\ufffe\ud800 \N{GREEK SMALL LETTER ALPHA}\U0001f600"
    text = junit(replace(passing(), families=(a_family("gains", "FAIL", a_member(name, "FAIL")),)))
    (case,) = parsed(text).findall("testsuite[@name='kdcap.gains']/testcase")
    assert case.attrib["name"] == ("a<b>&amp;\"'\\x1b[31m\\x00\\ufffe\\ud800 \N{GREEK SMALL LETTER ALPHA}\U0001f600")
    assert case[0].text == f"FAIL, not gated: {case.attrib['name']} is FAIL."


@pytest.mark.parametrize("form", [table, junit, summary])
def test_the_same_verdict_gives_the_same_bytes(form: Callable[[Verdict], str]) -> None:
    """Nothing of the clock, of the machine or of memory addresses."""
    assert form(of_everything()) == form(copy.deepcopy(of_everything()))


# --- Markdown ---------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Text of table cells and list points, row by row, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - HTMLParser calls it so
        """Begin a row or a cell."""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        """Add to the cell, if any, and to the text."""
        self.text += data
        if self._open:
            self.rows[-1][-1] += data


def shown(markdown: str) -> Cells:
    """What a reader sees, by an independent Markdown parser with GitHub's tables and strikethrough."""
    return Cells(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def test_the_summary_starts_with_the_verdict() -> None:
    """Heading, sentence and overrides come before any table, and all families at a glance come before members."""
    text = summary(of_everything())
    assert text.startswith("## harness verify: FAIL\n\nFAIL against r: ")
    assert text.endswith("\n")
    parts = ["> [!WARNING]\n> **Overruled:** --allow stem", "A reference (r, digest ", "| accuracies | FAIL | gated |",
             "**fidelity FAIL** (not gated): Why", "### Not passed", "<details>", "### Notes"]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_members_that_did_not_pass_stand_in_the_open() -> None:
    """FAIL and INCONCLUSIVE are listed; every member stands in the folded table."""
    text = summary(of_everything())
    front, folded = text.split("<details>")[:2]
    rows = [row[:2] for row in shown(front.split("### Not passed")[1]).rows[1:]]
    assert rows == [
        ["accuracies", CELL], ["accuracies", "resnet50>resnet18:logit"], ["accuracies", "mean shift"],
        ["fidelity", f"kl_t1 of {CELL}"], ["gains", CELL],
    ]  # fmt: skip
    every = [row[1] for row in shown(folded.split("</summary>")[1]).rows[1:]]
    assert {member.name for family in of_everything().families for member in family.members} <= {
        name.rpartition(" of ")[2] for name in every
    }
    assert ["gain:resnet18", "Distillation helps.", "supported", "cannot tell"] in shown(text).rows
    assert "| claim | sentence | here | reference |\n| --- | --- | --- | --- |" in text
    assert "### Not passed" not in summary(
        replace(passing(), families=(a_family("accuracies", "PASS", a_member(CELL), gated=True),))
    )


NASTY = r"a|b<i>&`c`*d*_e_~~f~~[g](http://h)\|#<!--"


def test_names_do_no_harm_to_markdown() -> None:
    """Pipes, tags, code, emphasis, links and backslashes in names and sentences are shown as they are."""
    family = a_family("gains", "FAIL", a_member(NASTY, "FAIL"), sentence=f"{NASTY} differs")
    override = Override(f"--cells {NASTY}", f"{NASTY} too")
    text = summary(replace(passing(), families=(family,), overrides=(override,), notes=(NASTY,), sentence=NASTY))
    page = shown(text)
    named = [row for row in page.rows if row[1:2] == [NASTY]]
    assert [(row[0], row[8]) for row in named] == [("gains", "FAIL")] * 2
    assert page.text.count(NASTY) == 7  # sentence, override (twice), family, note, and twice the member
    assert NASTY not in shown(f"|name|verdict|\n|-|-|\n|{NASTY}|FAIL|\n").text, "unescaped it would do harm"


# --- all forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        table,
        lambda verdict: " ".join(one.attrib["value"] for one in parsed(junit(verdict)).iter("property")),
        lambda verdict: shown(summary(verdict)).text,
        lambda verdict: json.dumps(verdict.as_json()),
    ],
    ids=["terminal", "junit", "markdown", "json"],
)
def test_overrides_stand_in_every_form(form: Callable[[Verdict], str]) -> None:
    """Whoever sees any form sees what was overruled, though the sentence does not tell."""
    said = squeezed(form(of_everything()))
    for one in (STEM, MARGIN):
        assert one.option in said
        assert one.sentence in said
    assert STEM.option not in form(replace(of_everything(), overrides=()))


def test_the_command_writes_each_form(real: dict[str, str]) -> None:
    """The published runs pass by a margin that was changed; every form says both."""
    verdict = json.loads(real["json"])
    for form in ("terminal", "junit", "summary"):
        assert "--margin 0.3" in real[form]
    assert squeezed(verdict["sentence"]) in squeezed(real["terminal"])
    assert verdict["sentence"] in shown(real["summary"]).text
    assert outcomes(real["junit"])["kdcap.accuracies", CELL] == "passed"


# --- JSON and its schema ----------------------------------------------------------------------------------------------


def problems(verdict: dict[str, Any]) -> list[str]:
    """Where a verdict breaks the schema."""
    return [error.json_path for error in Draft202012Validator(DOCUMENT).iter_errors(verdict)]


def written(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a reader of verdict.json has it."""
    return json.loads(json.dumps(verdict.as_json(), allow_nan=False))


def test_the_schema_is_one() -> None:
    """It obeys draft 2020-12, and its name is the version that verdicts carry."""
    Draft202012Validator.check_schema(DOCUMENT)
    assert DOCUMENT["$id"] == DOCUMENT["properties"]["schema"]["const"] == SCHEMA


def test_verdicts_obey_the_schema(real: dict[str, str]) -> None:
    """Made by hand and made by the command."""
    assert problems(written(of_everything())) == []
    assert problems(written(passing())) == []
    assert problems(json.loads(real["json"])) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("$.verdict", "MAYBE"),
        ("$.verdict", None),
        ("$.schema", "kdcap.verdict/2"),
        ("$.exit_code", 70),
        ("$.exit_code", "1"),
        ("$.runs_sha256", "ab"),
        ("$.gate[0]", "accuracy"),
        ("$.model.icc", "0.1"),
        ("$.notes[0]", 1),
        ("$.families[0].family", "cells"),
        ("$.families[0].verdict", "NOT CHECKED"),
        ("$.families[0].gated", 1),
        ("$.families[0].mean_shift.fails", "no"),
        ("$.families[0].members[0].verdict", "NOT JUDGED"),
        ("$.families[0].members[0].difference", "0.125"),
        ("$.families[0].members[0].difference", None),
        ("$.families[0].members[0].unit", "percent"),
        ("$.families[0].members[0].n", 4.5),
        ("$.families[0].members[0].key.epochs", 0.5),
        ("$.families[4].conclusions[0].here", "proved"),
        ("$.integrity[0].check", "luck"),
        ("$.integrity[0].verdict", "INCONCLUSIVE"),
        ("$.bitwise.verdict", "INCONCLUSIVE"),
        ("$.bitwise.runs[0].differs", "history"),
        ("$.bitwise.lock.verdict", "NOT COMPARABLE"),
    ],
)
def test_the_schema_refuses_a_wrong_value(place: str, value: object) -> None:
    """Words that do not exist, and values of another type, are refused where they stand, or in what holds them."""
    verdict = written(of_everything())
    *path, last = re.findall(r"\w+", place)
    holder: Any = verdict
    for step in path:
        holder = holder[int(step) if step.isdigit() else step]
    holder[int(last) if last.isdigit() else last] = value
    assert any(place.startswith(found) for found in problems(verdict))


def objects(value: object) -> Iterator[dict[str, Any]]:
    """Every object of a tree."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(part)


def test_the_schema_refuses_an_extra_key_and_a_missing_key_anywhere() -> None:
    """In every object of a verdict that has all of them."""
    verdict = written(of_everything())
    found = list(objects(verdict))
    assert len(found) > 30
    for one in found:
        if one:  # an empty key has nothing to lose
            name, value = one.popitem()
            assert problems(verdict), f"{name} may be missing"
            one[name] = value
        one["extra"] = 1
        assert problems(verdict), f"{sorted(one)} may have more"
        del one["extra"]
    assert problems(verdict) == []


SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def kinds(part: dict[str, Any]) -> set[str]:
    """JSON types of values that a part of a schema without structure takes; words are strings."""
    kind = part.get("type", "string" if all(isinstance(word, str) for word in part.get("enum", [""])) else "?")
    return {kind} if isinstance(kind, str) else set(kind)


def differences(hint: object, part: dict[str, Any], document: dict[str, Any], place: str = "$") -> Iterator[str]:
    """Where a type and a part of the schema differ, all the way down."""
    if "$ref" in part:
        part = document["$defs"][part["$ref"].removeprefix("#/$defs/")]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        yield from fields_differ(typing.get_type_hints(hint), part, document, place)
    elif origin is tuple:
        if part["type"] != "array":
            yield place
        yield from differences(inner[0], part["items"], document, f"{place}[]")
    elif "anyOf" in part and origin is types.UnionType:
        if part["anyOf"][1:] != [{"type": "null"}] or inner[1:] != (types.NoneType,):
            yield place
        yield from differences(inner[0], part["anyOf"][0], document, place)
    elif not alike(hint, part):
        yield place


def fields_differ(fields: dict[str, Any], part: dict[str, Any], document: dict[str, Any], place: str) -> Iterator[str]:
    """Where a record's fields and an object's properties differ; the object must be closed, with all of them."""
    properties = part.get("properties", {})
    if part.get("additionalProperties") is not False or set(part["required"]) != fields.keys():
        yield place
    yield from (f"{place}.{name}" for name in fields.keys() ^ properties.keys())
    for name in fields.keys() & properties.keys():
        yield from differences(fields[name], properties[name], document, f"{place}.{name}")


def alike(hint: object, part: dict[str, Any]) -> bool:
    """Whether words, simple values and dictionaries of these are the same in a type and in the schema."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return set(part.get("enum", ())) == set(inner)
    if origin is dict:
        allowed = {SIMPLE[one] for one in typing.get_args(inner[1]) or inner[1:]}
        closed = part.get("additionalProperties") is False
        return closed and all(kinds(one) <= allowed for one in part["properties"].values())
    return kinds(part) == {SIMPLE[one] for one in inner or (hint,)}


def test_schema_and_dataclasses_are_the_same() -> None:
    """Every field is a property and every property a field, of the same type; words are those that the code knows."""
    assert list(differences(Verdict, DOCUMENT, DOCUMENT)) == []
    defined = DOCUMENT["$defs"]
    assert set(EXIT_CODES.values()) == set(DOCUMENT["properties"]["exit_code"]["enum"])
    assert set(FAMILIES) == set(defined["family_name"]["enum"])
    for side in ("here", "reference"):
        assert set(typing.get_args(ClaimVerdict)) == set(defined["conclusion"]["properties"][side]["enum"])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("extra", {"type": "string"}),
        ("margin", None),
        ("n", {"type": "number"}),
        ("value", {"type": ["number", "null"]}),
        ("seeds_to_decide", {"type": "integer"}),
        ("verdict", {"enum": ["PASS", "FAIL"]}),
        ("sentence", {"type": "integer"}),
        ("key", {"type": "object", "properties": {}}),
    ],
)
def test_the_comparison_of_schema_and_dataclasses_can_fail(name: str, change: dict[str, Any] | None) -> None:
    """A property added, removed or of another type is found, also deep down."""
    edited = copy.deepcopy(DOCUMENT)
    member = edited["$defs"]["member"]
    if change is None:
        del member["properties"][name]
    else:
        member["properties"][name] = change
    assert list(differences(Verdict, edited, edited)) == [f"$.families[].members[].{name}"]
    member["required"].remove("name")
    assert "$.families[].members[]" in list(differences(Verdict, edited, edited))


def test_every_part_of_the_schema_is_described() -> None:
    """Whoever reads the schema needs no code beside it."""
    for part in objects({"properties": DOCUMENT["properties"], "defs": DOCUMENT["$defs"]}):
        for name, one in part.get("properties", {}).items():
            assert one.get("description") or "$ref" in one, name


def test_the_schema_is_in_the_wheel(tmp_path: Path) -> None:
    """It travels with the package; here it is found as a resource."""
    root = Path(__file__).parents[3]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert json.loads(archive.read("harness/verify/verdict.schema.json")) == DOCUMENT
