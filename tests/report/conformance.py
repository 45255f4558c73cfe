"""Faults of an HTML page by the HTML Standard: html5lib's parse errors, and the content rules that a report meets.

A parser repairs in silence what stands in the wrong place, so the tree is held to the standard's rules too: which
elements may stand in which (sections 4.2 to 4.11), attributes, ids and references to them, rows of equal width. What
names and roles mean to a screen reader is left to axe-core; what is inside `<svg>` only has its ids and references
checked.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

import html5lib

HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
CHARSET_WITHIN_BYTES = 1024

HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
SECTIONS = frozenset({"article", "aside", "nav", "section"})
TRANSPARENT = frozenset({"a", "del", "ins"})  # may hold what their parent may
PHRASING = TRANSPARENT | {
    "abbr", "b", "bdi", "bdo", "br", "button", "cite", "code", "data", "dfn", "em", "i", "img", "input",
    "kbd", "label", "mark", "math", "meter", "output", "progress", "q", "ruby", "s", "samp", "script",
    "select", "small", "span", "strong", "sub", "sup", "svg", "template", "textarea", "time", "u", "var",
    "wbr",
}  # fmt: skip
HOLDS_PHRASING = PHRASING - TRANSPARENT | HEADINGS | {"p", "pre"}
FLOW = PHRASING | HEADINGS | SECTIONS | {
    "address", "blockquote", "details", "dialog", "div", "dl", "fieldset", "figure", "footer", "form",
    "header", "hr", "main", "menu", "ol", "p", "pre", "table", "ul",
}  # fmt: skip

# Elements that hold nothing but these, and no text.
CHILDREN = {
    "html": {"head", "body"},
    "head": {"base", "link", "meta", "script", "style", "template", "title"},
    "ul": {"li", "script", "template"},
    "ol": {"li", "script", "template"},
    "dl": {"dt", "dd", "div", "script", "template"},
    "table": {"caption", "colgroup", "thead", "tbody", "tfoot", "tr", "script", "template"},
    "colgroup": {"col", "template"},
    "thead": {"tr", "script", "template"},
    "tbody": {"tr", "script", "template"},
    "tfoot": {"tr", "script", "template"},
    "tr": {"th", "td", "script", "template"},
}
# Elements that hold flow content and one of their own, which must stand first (a caption of a figure: first or last).
OWN_CHILD = {"details": "summary", "figure": "figcaption", "fieldset": "legend"}
# What must not stand anywhere within.
INTERACTIVE = frozenset({"a", "button", "details", "iframe", "input", "label", "select", "textarea"})
WITHIN = {
    "a": INTERACTIVE,
    "button": INTERACTIVE,
    "caption": {"table"},
    "dt": {"header", "footer"} | SECTIONS | HEADINGS,
    "th": {"header", "footer"} | SECTIONS | HEADINGS,
    "header": {"header", "footer", "main"},
    "footer": {"header", "footer", "main"},
    "nav": {"main"},
    "aside": {"main"},
    "article": {"main"},
    "form": {"form"},
}
GLOBAL_ATTRIBUTES = {
    "accesskey", "autofocus", "class", "contenteditable", "dir", "draggable", "hidden", "id", "inert", "lang",
    "nonce", "popover", "role", "spellcheck", "style", "tabindex", "title", "translate",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href", "target", "download", "rel", "hreflang", "type", "referrerpolicy"},
    "button": {"type", "disabled", "name", "value", "popovertarget"},
    "col": {"span"},
    "colgroup": {"span"},
    "data": {"value"},
    "details": {"open", "name"},
    "img": {"src", "alt", "width", "height", "loading", "decoding", "srcset", "sizes"},
    "li": {"value"},
    "link": {"rel", "href", "type", "sizes", "media"},
    "meta": {"charset", "content", "http-equiv", "name", "media"},
    "ol": {"reversed", "start", "type"},
    "script": {"type", "src"},
    "style": {"media"},
    "td": {"colspan", "rowspan", "headers"},
    "th": {"colspan", "rowspan", "headers", "scope", "abbr"},
    "time": {"datetime"},
}
REFERENCES = ("aria-controls", "aria-describedby", "aria-details", "aria-labelledby", "aria-owns", "for", "headers")


def faults(page: str) -> list[str]:
    """Everything in a page that the HTML Standard does not allow; empty for a valid page.

    Args:
        page: The document as text.

    Returns:
        One plain sentence a fault.
    """
    parser = html5lib.HTMLParser()
    root = parser.parse(page)
    found = [f"line {line}: {code} {details or ''}".rstrip() for (line, _), code, details in parser.errors]
    found += _document_faults(page, root)
    found += _reference_faults(root)
    found += _content_faults(root, "", (), phrasing=False)
    for table in root.iter(f"{HTML}table"):
        found += _table_faults(table)
    return found


def _document_faults(page: str, root: ET.Element) -> Iterator[str]:
    """Language, title, encoding, one `main`."""
    if not root.get("lang"):
        yield "<html> has no lang"
    titles = ["".join(title.itertext()).strip() for title in root.iter(f"{HTML}title")]
    if len(titles) != 1 or not titles[0]:
        yield f"expected one <title> with text, found {titles}"
    charset = page.encode().lower().find(b'<meta charset="utf-8">')
    if not 0 <= charset < CHARSET_WITHIN_BYTES:
        yield f'no <meta charset="utf-8"> within the first {CHARSET_WITHIN_BYTES} bytes'
    mains = sum(1 for _ in root.iter(f"{HTML}main"))
    if mains != 1:
        yield f"expected one <main>, found {mains}"


def _reference_faults(root: ET.Element) -> Iterator[str]:
    """Ids that occur twice or cannot be used, and references to ids that are not there."""
    ids = Counter(element.attrib["id"] for element in root.iter() if "id" in element.attrib)
    for name, count in ids.items():
        if count > 1:
            yield f'id="{name}" occurs {count} times'
        if not name or re.search(r"\s", name):
            yield f'id="{name}" is empty or has a space'
    for element in root.iter():
        for attribute, text in element.attrib.items():
            name = attribute.rpartition("}")[2]
            wanted = text.split() if name in REFERENCES else re.findall(r"url\(#([^)]+)\)", text)
            if name == "href" and text.startswith("#"):
                wanted = [text[1:]]
            for target in wanted:
                if target not in ids:
                    yield f'<{_name(element)} {name}="{text}"> refers to an id that is not there: {target}'


def _content_faults(element: ET.Element, parent: str, above: tuple[str, ...], *, phrasing: bool) -> Iterator[str]:
    """What must not stand where it stands, from an element downwards; `phrasing`: only phrasing content may."""
    name = _name(element)
    within = (*above, name)
    yield from _attribute_faults(element, name)
    for outer in above:
        if name in WITHIN.get(outer, ()) or (outer in {"a", "button"} and "tabindex" in element.attrib):
            yield f"<{name}> stands within <{outer}>"
    children = [child for child in element if isinstance(child.tag, str)]  # no comments
    names = [_name(child) for child in children]
    own = OWN_CHILD.get(name)
    if own and own in names:
        places = [place for place, child in enumerate(names) if child == own]
        if places != [0] and not (name == "figure" and places == [len(names) - 1]):
            yield f"<{own}> does not stand first in <{name}>, or more than once"
    if name == "details" and "summary" not in names:
        yield "<details> has no <summary>"
    phrasing = phrasing if name in TRANSPARENT else name in HOLDS_PHRASING
    text = "".join([element.text or "", *(child.tail or "" for child in children)]).strip()
    if text and name in CHILDREN:
        yield f"text stands in <{name}>: {text[:40]}"
    for child, child_name in zip(children, names, strict=True):
        if not _may_stand(child_name, name, parent, phrasing=phrasing):
            yield f"<{child_name}> stands in <{name}>"
        if child_name != "svg":
            yield from _content_faults(child, name, within, phrasing=phrasing)


def _may_stand(child: str, name: str, parent: str, *, phrasing: bool) -> bool:
    """Whether an element may be the child of another, whose own parent is `parent`."""
    if name == "dl" or (name == "div" and parent == "dl"):
        return child in CHILDREN["dl"] - ({"div"} if name == "div" else set())
    if name in CHILDREN:
        return child in CHILDREN[name]
    if name == "summary":
        return child in PHRASING | HEADINGS
    if child == OWN_CHILD.get(name):
        return True
    return child in (PHRASING if phrasing else FLOW)


def _attribute_faults(element: ET.Element, name: str) -> Iterator[str]:
    allowed = GLOBAL_ATTRIBUTES | ATTRIBUTES.get(name, set())
    for attribute, text in element.attrib.items():
        if attribute not in allowed and not attribute.startswith(("aria-", "data-")):
            yield f"<{name}> has an attribute that the standard does not know: {attribute}"
        if attribute == "href" and re.search(r"\s", text):
            yield f"<{name}> has an address with a space: {text[:60]}"
    if name == "img" and "alt" not in element.attrib:
        yield "<img> has no alt"


def _table_faults(table: ET.Element) -> Iterator[str]:
    """Rows that are wider or narrower than the first; a table without rows."""
    widths = [sum(int(cell.get("colspan", "1")) for cell in row) for row in table.iter(f"{HTML}tr")]
    if len(set(widths)) != 1:
        yield f'<table id="{table.get("id")}"> has rows of different widths: {sorted(set(widths))}'


def _name(element: ET.Element) -> str:
    return element.tag.removeprefix(HTML).removeprefix(SVG)
