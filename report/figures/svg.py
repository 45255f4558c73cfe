"""Turns a matplotlib figure into SVG for a page: named, themable, without styles or outside references."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
_LONG = re.compile(r"-?\d+\.\d{3,}")  # a hundredth of a unit is less than a screen or a printer can show
_HREF = "{http://www.w3.org/1999/xlink}href"

# Colours are drawn as stand-ins and leave as CSS variables, so that one figure serves light, dark and paper.
# The stand-in itself stays as the fallback: the figure can still be read when it is cut out of the page.
COLOURS = {
    "ink": "#1c2024",
    "muted": "#5c6268",
    "rule": "#c9cdd2",
    "band": "#e9ebee",
    "page": "#fffffe",
    "method-0": "#5f6670",
    "method-1": "#0b62a8",
    "method-2": "#b45309",
    "method-3": "#12715b",
}
_VARIABLES = {colour: f"var(--{name}, {colour})" for name, colour in COLOURS.items()}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "text.parse_math": False,  # an architecture may have a dollar in its name
    "font.size": 12.0,
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "axes.unicode_minus": True,
    "axes.linewidth": 1.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def inline_svg(figure: Figure, name: str, title: str, desc: str, tooltips: Mapping[str, str]) -> str:
    """Render a figure as an inline `<svg>` element, the same bytes for the same figure; call it under `STYLE`.

    Args:
        figure: The figure, drawn in `COLOURS`.
        name: Prefix that makes its ids unique in the page.
        title: Its accessible name.
        desc: Its description for those who do not see it.
        tooltips: Text by group id (`set_gid` in matplotlib); these groups keep their id.

    Returns:
        The element as text: no prolog, no metadata, no inline style (strict policies refuse it), no size.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - our own renderer wrote it a line above
    for tag in ("metadata", "defs"):  # the first of each: who wrote it, and a style for the whole page
        root.remove(next(root.iter(f"{{{SVG}}}{tag}")))
    used = {element.attrib[_HREF][1:] for element in root.iter() if _HREF in element.attrib}
    used |= {element.attrib["clip-path"][5:-1] for element in root.iter() if "clip-path" in element.attrib}
    for element in root.iter():
        _tidy(element, name, used, tooltips)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "preserveAspectRatio": "xMinYMin",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "stroke-linejoin": "round",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", desc))):
        label = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        label.text = text
        root.insert(position, label)
    ET.register_namespace("", SVG)
    return ET.tostring(root, encoding="unicode")


def _tidy(element: ET.Element, name: str, used: set[str], tooltips: Mapping[str, str]) -> None:
    """Drop ids that nothing needs, prefix the others, and turn inline styles into attributes."""
    for declaration in filter(None, element.attrib.pop("style", "").split(";")):
        attribute, value = (part.strip() for part in declaration.split(":", 1))
        if attribute != "font-family":  # the page's own
            element.set(attribute, _VARIABLES.get(value.lower(), value))
    identity = element.attrib.pop("id", "")
    if identity in tooltips:
        tooltip = ET.Element(f"{{{SVG}}}title")
        tooltip.text = tooltips[identity]
        element.insert(0, tooltip)
        element.set("class", "run")
    if identity in used or identity in tooltips:
        element.set("id", f"{name}-{identity}")
    if _HREF in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(_HREF)[1:]}")
    if "clip-path" in element.attrib:
        element.set("clip-path", f"url(#{name}-{element.attrib['clip-path'][5:]}")
    for attribute in ("text", "tail"):  # indentation and line breaks inside paths' data
        content = getattr(element, attribute)
        if content is not None and not content.strip():
            setattr(element, attribute, None)
    if "d" in element.attrib:
        element.set("d", _LONG.sub(lambda found: f"{float(found[0]):.2f}", " ".join(element.attrib["d"].split())))
