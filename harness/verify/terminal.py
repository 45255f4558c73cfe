"""A verdict for a terminal: each family in a block, then everything at a glance, the sentence last.

Lines keep within 120 columns. Names are never cut: a name that leaves too little room has a line to itself.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from harness.verify import rows, words
from harness.verify.bitwise import Bitwise
from harness.verify.verdict import Family, Integrity, Verdict

WIDTH = 120
_GAP = "  "


def table(verdict: Verdict) -> str:
    """All of a verdict, in lines of at most 120 columns as far as names allow."""
    named = verdict.reference
    blocks = [
        _wrapped(f"{named.title} ({named.name}, digest {named.sha256[:12]})" if named is not None else "No reference.")
    ]
    blocks += [_family(family) for family in verdict.families]
    blocks.append([line for check in verdict.integrity for line in _integrity(check)])
    if verdict.bitwise is not None:
        blocks.append(_bitwise(verdict.bitwise))
    blocks.append([line for one in verdict.overrides for line in _wrapped(f"Overruled: {one.option}: {one.sentence}")])
    blocks.append([line for note in verdict.notes for line in _wrapped(f"Note: {note}")])
    overview = rows.overview(verdict)
    blocks.append(_aligned([rows.OVERVIEW, *overview], numeric=()) if overview else [])
    blocks.append(_wrapped(verdict.sentence, hanging=""))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _family(family: Family) -> list[str]:
    gate = "decides the exit code" if family.gated else "not gated"
    head = f"{family.family}: {family.verdict} ({gate})"
    if not family.members:
        return _wrapped(f"{head}: {family.sentence}")
    lines = [head, *_wrapped(family.sentence, hanging="")]
    groups = [
        [(heading, *rows.COLUMNS), *((member.name, *rows.member_row(member)) for member in members)]
        for heading, members in rows.by_quantity(family).items()
    ]
    groups[-1] += [(name, *row) for name, (_, row) in rows.tests_of_the_whole(family).items()]
    columns = [column for column in rows.COLUMNS if column != rows.MARGIN]  # stands in the heading
    picked = [0, *(1 + rows.COLUMNS.index(column) for column in columns)]
    numeric = [i for i, column in enumerate(columns, 1) if column in rows.NUMERIC]
    for group in groups:
        lines += ["", *_aligned([tuple(line[i] for i in picked) for line in group], numeric)]
    if family.conclusions:
        told = [("claim", "here", "reference"), *((one.claim, one.here, one.reference) for one in family.conclusions)]
        lines += ["", *_aligned(told, numeric=())]
    return lines


def _integrity(check: Integrity) -> list[str]:
    return _wrapped(f"{check.check}: {check.verdict}: {check.sentence}")


def _bitwise(bitwise: Bitwise) -> list[str]:
    lines = [f"bitwise: {bitwise.verdict}", *_wrapped(words.bitwise_sentence(bitwise), hanging=""), ""]
    told = [("run", "verdict"), *((run.run, run.verdict) for run in bitwise.runs), ("dvc.lock", bitwise.lock.verdict)]
    return lines + _aligned(told, numeric=())


def _wrapped(text: str, hanging: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)


def _aligned(lines: Sequence[rows.Row], numeric: Collection[int]) -> list[str]:
    """A table under its head, which is the first line; numeric columns stand to the right, empty ones are left out.

    A first column too long for the width has a line to itself, above the rest of its row.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*lines[1:], strict=True)]
    shown = [i for i, width in enumerate(widths) if width]
    widths = [max(width, len(name)) for width, name in zip(widths, lines[0], strict=True)]
    room = WIDTH - sum(len(_GAP) + widths[i] for i in shown[1:])
    fitting = [len(line[0]) for line in lines if len(line[0]) <= room]
    widths[0] = max(fitting, default=0)
    written = []
    for line in lines:
        name, *cells = (f"{line[i]:>{widths[i]}}" if i in numeric else f"{line[i]:{widths[i]}}" for i in shown)
        if len(name) > widths[0]:
            written.append(name)
            name = " " * widths[0]
        written.append(_GAP.join([name, *cells]).rstrip())
    rule = "-" * (sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1))
    return [written[0], rule, *written[1:]]
