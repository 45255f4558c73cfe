"""Reads a figure: its tree, its text, and the marks of its runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from report.figures.canvas import Picture

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: Picture) -> ET.Element:
    """The figure's root element; raises unless it is well-formed."""
    return ET.fromstring(picture.svg)  # noqa: S314 - our own renderer wrote it


def texts(picture: Picture) -> list[str]:
    """What can be read in the figure, line by line."""
    return [element.text or "" for element in parsed(picture).iter(f"{SVG}text")]


def marks(picture: Picture) -> list[ET.Element]:
    """The marks that have a tooltip, in the order in which they were drawn."""
    groups = [e for e in parsed(picture).iter(f"{SVG}g") if e.attrib.get("class") == "run"]
    return [next(group.iter(f"{SVG}use")) for group in groups]


def text_places(picture: Picture) -> dict[str, list[tuple[float, float]]]:
    """Where every text stands, in units from the left and from the top."""
    found: dict[str, list[tuple[float, float]]] = {}
    for text in parsed(picture).iter(f"{SVG}text"):
        found.setdefault(text.text or "", []).append((float(text.attrib["x"]), float(text.attrib["y"])))
    return found


def assert_linear(pairs: list[tuple[float, float]]) -> None:
    """One scale takes every value to its place; the outermost two give it."""
    (low, first), *_, (high, last) = sorted(pairs)
    assert first != last
    for value, place in pairs:
        assert place == pytest.approx(first + (value - low) / (high - low) * (last - first), abs=2e-2)
