"""A verdict as JUnit XML, which CI systems show as a test report (GitLab, Jenkins, actions for GitHub).

A suite for the verdict, one a family, one for the checks of the runs and one for the bitwise level; a test case a
member. There are no times: the same verdict gives the same bytes, and `time` is 0 because some readers want one.

A test case fails only if it makes the verdict FAIL, so that the report is red exactly if `harness verify` exits with
1, or would without --no-gate. All else that is not PASS is skipped, and says why: INCONCLUSIVE, NOT JUDGED, NOT
CHECKED, NOT COMPARABLE, and `FAIL, not gated` in a family that does not decide. Reasons stand in the attribute
`message`, which Jenkins shows, and in the element's text, which GitLab shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from harness.verify import rows
from harness.verify.bitwise import Bitwise
from harness.verify.verdict import Family, Integrity, Verdict

# Characters that XML 1.0 has no way to write (Char, section 2.2)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Case:
    """One test case; `decides` says whether its FAIL makes the verdict FAIL."""

    name: str
    verdict: str
    sentence: str
    decides: bool = True

    @property
    def outcome(self) -> str:
        """Element that says so in JUnit; empty for a PASS."""
        if self.verdict == "PASS":
            return ""
        return "failure" if self.verdict == "FAIL" and self.decides else "skipped"

    @property
    def message(self) -> str:
        """The sentence after the verdict, which some sentences begin with themselves."""
        if self.sentence.startswith((f"{self.verdict}: ", f"{self.verdict} against ")):
            return self.sentence
        gate = ", not gated" if self.verdict == "FAIL" and not self.decides else ""
        return f"{self.verdict}{gate}: {self.sentence}"


def junit(verdict: Verdict) -> str:
    """The verdict as a JUnit document, to be written as UTF-8."""
    suites = {"kdcap.verdict": [_Case("verdict", verdict.verdict, verdict.sentence)]}
    suites |= {f"kdcap.{family.family}": list(_members(family)) for family in verdict.families}
    if verdict.integrity:
        suites["kdcap.integrity"] = [_integrity(check) for check in verdict.integrity]
    if verdict.bitwise is not None:
        suites["kdcap.bitwise"] = list(_bitwise(verdict.bitwise))
    every = [case for cases in suites.values() for case in cases]
    root = ET.Element("testsuites", {"name": "harness verify", **_counts(every)})
    for name, cases in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": name, **_counts(cases)})
        if name == "kdcap.verdict":
            _add_properties(suite, verdict)
        for case in cases:
            _add_case(suite, name, case)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _members(family: Family) -> Iterator[_Case]:
    if not family.members:
        yield _Case(family.family, family.verdict, family.sentence, family.gated)
    for member in family.members:
        yield _Case(rows.label(family, member), member.verdict, member.sentence, family.gated)
    for name, (test, row) in rows.tests_of_the_whole(family).items():
        cells = dict(zip(rows.COLUMNS, row, strict=True))
        sentence = f"{name} {cells[rows.DIFFERENCE]} (interval {cells[rows.INTERVAL]})."
        yield _Case(name, "FAIL" if test.fails else "PASS", sentence, family.gated)


def _integrity(check: Integrity) -> _Case:
    return _Case(check.check, check.verdict, check.sentence)


def _bitwise(bitwise: Bitwise) -> Iterator[_Case]:
    for run in bitwise.runs:
        yield _Case(run.run, run.verdict, run.sentence)
    yield _Case("dvc.lock", bitwise.lock.verdict, bitwise.lock.sentence)


def _counts(cases: Sequence[_Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failure")),
        "errors": "0",
        "skipped": str(outcomes.count("skipped")),
        "time": "0",
    }


def _add_properties(suite: ET.Element, verdict: Verdict) -> None:
    named = verdict.reference
    values = {
        "schema": verdict.schema,
        "verdict": verdict.verdict,
        "exit_code": str(verdict.exit_code),
        "gate": " ".join(verdict.gate),
        "reference": named.name if named else "",
        "reference_sha256": named.sha256 if named else "",
        "runs_sha256": verdict.runs_sha256,
    }
    # numbered, since Jenkins keeps one property of a name
    values |= {f"override.{i}": f"{one.option}: {one.sentence}" for i, one in enumerate(verdict.overrides, 1)}
    values |= {f"note.{i}": note for i, note in enumerate(verdict.notes, 1)}
    properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=_xml(value))


def _add_case(suite: ET.Element, classname: str, case: _Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=classname, name=_xml(case.name), time="0")
    if case.outcome:
        message = _xml(case.message)
        ET.SubElement(element, case.outcome, message=message).text = message


def _xml(text: str) -> str:
    r"""Text with what XML cannot hold written out: `\x1b`."""
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
