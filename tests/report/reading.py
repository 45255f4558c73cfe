"""Reads a finished page as a tree, so that tests can ask what stands where."""

from __future__ import annotations

import base64
import csv
import io
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

VOID = {"meta", "link"}


class _Reader(HTMLParser):
    """Builds the tree; raises AssertionError where an element closes that was not opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = ET.TreeBuilder()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that holds nothing."""
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        self.builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        """Text."""
        if self.open:
            self.builder.data(data)


def tree(html: str) -> ET.Element:
    """The page as a tree."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.builder.close()


def text(element: ET.Element) -> str:
    """Its text, with single spaces."""
    return " ".join("".join(element.itertext()).split())


def table(root: ET.Element, name: str) -> ET.Element:
    """The table of this id."""
    return one(root, f".//table[@id='table-{name}']")


def one(root: ET.Element, path: str) -> ET.Element:
    """The only element at a path."""
    (found,) = root.findall(path)
    return found


def headings(table: ET.Element) -> list[str]:
    """Of its columns."""
    return [text(cell) for cell in table.findall("./thead/tr/th")]


def rows(table: ET.Element) -> list[list[str]]:
    """Text of its cells."""
    return [[text(cell) for cell in row] for row in table.findall("./tbody/tr")]


def ids(root: ET.Element) -> set[str]:
    """Every id."""
    return {element.attrib["id"] for element in root.iter() if "id" in element.attrib}


def downloaded(element: ET.Element) -> list[list[str]]:
    """The CSV that the one download inside offers, heading first."""
    (link,) = [a for a in element.iter("a") if "download" in a.attrib]
    start = "data:text/csv;charset=utf-8;base64,"
    assert link.attrib["href"].startswith(start)
    content = base64.b64decode(link.attrib["href"].removeprefix(start), validate=True).decode("utf-8")
    return list(csv.reader(io.StringIO(content)))
