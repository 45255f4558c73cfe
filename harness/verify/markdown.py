"""A verdict in GitHub's Markdown, for the summary page of a CI run (`$GITHUB_STEP_SUMMARY`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from harness.verify import rows, words
from harness.verify.verdict import Family, Verdict
from report.markdown import escape
from report.markdown import table as pipe_table
from report.tables import Column, Table

_MEMBERS = ("family", "member", *rows.COLUMNS)
_VERDICT = _MEMBERS.index(rows.VERDICT)


def summary(verdict: Verdict) -> str:
    """Verdict and sentence, what was overruled, everything at a glance, what did not pass, all members folded away.

    Returns:
        Markdown that ends with a line break. Names and sentences are text in it, never markup.
    """
    members = [row for family in verdict.families for row in _members(family)]
    open_ones = [row for row in members if row[_VERDICT] in ("FAIL", "INCONCLUSIVE")]
    parts = [f"## harness verify: {verdict.verdict}", escape(verdict.sentence), _overruled(verdict)]
    if verdict.reference is not None:
        named = verdict.reference
        parts.append(f"Reference: {escape(named.title)} ({escape(named.name)}, digest {named.sha256[:12]}).")
    parts += [_table(rows.OVERVIEW, rows.overview(verdict)), _list(_reasons(verdict))]
    if open_ones:
        parts += ["### Not passed", _table(_MEMBERS, open_ones, rows.NUMERIC)]
    if members:
        parts.append(_folded("All members, mean shift and spread", _table(_MEMBERS, members, rows.NUMERIC)))
    for family in verdict.families:
        if family.conclusions:
            told = [(one.claim, one.sentence, one.here, one.reference) for one in family.conclusions]
            parts.append(_folded("Claims", _table(("claim", "sentence", "here", "reference"), told)))
    if verdict.notes:
        parts += ["### Notes", _list(escape(note) for note in verdict.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _members(family: Family) -> Iterator[rows.Row]:
    for member in family.members:
        yield family.family, rows.label(family, member), *rows.member_row(member)
    for name, (_, row) in rows.tests_of_the_whole(family).items():
        yield family.family, name, *row


def _overruled(verdict: Verdict) -> str:
    """A warning, which GitHub frames in colour; elsewhere it is a quotation."""
    told = [f"> **Overruled:** {escape(f'{one.option}: {one.sentence}')}" for one in verdict.overrides]
    return "> [!WARNING]\n" + "\n>\n".join(told) if told else ""


def _reasons(verdict: Verdict) -> Iterator[str]:
    """Why each family, check and level has its verdict."""
    for family in verdict.families:
        gate = "" if family.gated else " (not gated)"
        yield f"**{family.family} {family.verdict}**{gate}: {escape(family.sentence)}"
    for check in verdict.integrity:
        yield f"**{check.check} {check.verdict}**: {escape(check.sentence)}"
    if verdict.bitwise is not None:
        yield f"**bitwise {verdict.bitwise.verdict}**: {escape(words.bitwise_sentence(verdict.bitwise))}"


def _table(heads: Sequence[str], lines: Sequence[rows.Row], numeric: Collection[str] = ()) -> str:
    columns = tuple(Column(head, head in numeric) for head in heads)
    return pipe_table(Table("", "", columns, tuple(lines))) if lines else ""


def _list(points: Iterable[str]) -> str:
    return "\n".join(f"- {point}" for point in points)


def _folded(title: str, content: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"
