"""What all figures share: size, style, and how a method looks.

Drawn 400 units wide with letters of 12, they can be read on a phone and match the text on a desk.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.results import Analysis
from report.figures.svg import COLOURS, STYLE

WIDTH = 400.0
POINTS_PER_INCH = 72.0


Datum = str | int | float | None


@dataclass(frozen=True)
class Picture:
    """A finished figure.

    Attributes:
        id: Its id in the page, `figure-ID`.
        title: What it shows, in a few words.
        svg: The element.
        caption: What to see, in sentences that go below it.
        head: Column headings of its data, with units.
        rows: Its data, unrounded: a reader can draw it anew. None is written as nothing.
    """

    id: str
    title: str
    svg: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Datum, ...], ...]


@dataclass(frozen=True)
class Look:
    """How a method is drawn: three ways to tell it apart, so that no single one is needed."""

    colour: str
    marker: str
    line: str


LOOKS = (
    Look(COLOURS["method-0"], "o", ":"),
    Look(COLOURS["method-1"], "s", "-"),
    Look(COLOURS["method-2"], "^", "--"),
    Look(COLOURS["method-3"], "D", "-."),
)


def method_looks(analysis: Analysis) -> dict[str, Look]:
    """The look of each method: the baseline first, then by name; the fifth begins anew."""
    return looks_of({cell.method for cell in analysis.cells})


def looks_of(names: Set[str]) -> dict[str, Look]:
    """The look of each of some methods, where there is no analysis to ask."""
    methods = ["none", *sorted(names - {"none"})]
    return {method: LOOKS[position % len(LOOKS)] for position, method in enumerate(methods)}


@contextmanager
def canvas(height: float) -> Iterator[Figure]:
    """A figure of `WIDTH` by `height` units in our style, whatever the user's is; finish it inside."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield Figure(figsize=(WIDTH / POINTS_PER_INCH, height / POINTS_PER_INCH))


def wrapped(text: str, letters: int) -> tuple[str, ...]:
    """Lines of at most so many letters; names with hyphens stay whole where they can."""
    return tuple(textwrap.wrap(text, letters, break_on_hyphens=False))


def bare(axes: Axes) -> None:
    """Leave of the frame only the axis below: the rest would be ink without information."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(color=COLOURS["rule"])
