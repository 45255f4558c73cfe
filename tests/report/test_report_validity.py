"""The page is valid HTML: no parse error, nothing in the wrong place, every id once, every reference answered."""

from __future__ import annotations

import pytest
from conformance import faults

VALID = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>T</title></head><body><main>{}</main></body></html>"""


def test_the_page_is_valid(page: str) -> None:
    """The whole page, figures included."""
    assert faults(page) == []


@pytest.mark.parametrize(
    "content",
    [
        '<p id="a">a &lt; b &amp; <a href="#a">c</a></p>',
        "<details><summary><h3>Title</h3></summary><p>Text</p></details>",
        "<dl><div><dt>Word</dt><dd><p>Meaning</p></dd></div></dl>",
        '<figure><svg viewBox="0 0 1 1"><defs><path id="m"/></defs><use href="#m"/></svg>'
        "<figcaption>A</figcaption></figure>",
        '<table><caption>C</caption><thead><tr><th scope="col"><button type="button">A</button></th></tr></thead>'
        "<tbody><tr><td>1</td></tr></tbody></table>",
    ],
)
def test_what_the_standard_allows_is_no_fault(content: str) -> None:
    """No false alarm on what the report is made of."""
    assert faults(VALID.format(content)) == []


FAULTY = {
    "an attribute twice": '<p title="a" title="b">x</p>',
    "an unknown entity": "<p>&nosuch; x</p>",
    "a naked sign": "<p>p<0.05</p>",
    "no space between attributes": '<p title="a"class="b">x</p>',
    "tags that cross": "<p><b><i>x</b></i></p>",
    "an end without a start": "<section><p>x</section></p>",
    "a paragraph in a table": "<table><tr><td>x</td></tr><p>y</p></table>",
    "an element that closes itself": "<div/>",
    "a link in a link": '<p id="a"><a href="#a">x <a href="#a">y</a></a></p>',
    "HTML in a figure": '<svg viewBox="0 0 1 1"><p>x</p></svg>',
    "an id twice": '<p id="a">x</p><p id="a">y</p>',
    "an id with a space": '<p id="a b">x</p>',
    "a link to nowhere": '<p><a href="#nowhere">x</a></p>',
    "a name from nowhere": '<section aria-labelledby="nowhere"><p>x</p></section>',
    "a pattern from nowhere": '<svg viewBox="0 0 1 1"><path fill="url(#nowhere)" d="M0 0"/></svg>',
    "a block in a phrase": "<p><span><ins><h2>x</h2></ins></span></p>",
    "a block in a button": "<button><ul><li>x</li></ul></button>",
    "a link in a button": '<p id="a"><button><a href="#a">x</a></button></p>',
    "a heading in a table's heading": "<table><tr><th><h3>x</h3></th></tr></table>",
    "a paragraph in a list": "<ul><p>x</p></ul>",
    "text in a list": "<ul>x</ul>",
    "a paragraph in definitions": "<dl><div><dt>x</dt><p>y</p></div></dl>",
    "a drawer without a line": "<details><p>x</p></details>",
    "a drawer's line at its end": "<details><p>x</p><summary>y</summary></details>",
    "rows of two widths": "<table><tr><td>x</td></tr><tr><td>y</td><td>z</td></tr></table>",
    "a table within a caption": "<table><caption><table><tr><td>x</table></caption><tr><td>y</td></tr></table>",
    "an obsolete element": "<center>x</center>",
    "an obsolete attribute": '<table align="left"><tr><td>x</td></tr></table>',
    "an image without words": '<p><img src="data:,"></p>',
    "an address with a space": '<p><a download="x" href="data:text/csv,a b">x</a></p>',
    "a second main": "</main><main><p>x</p>",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_is_found(fault: str) -> None:
    """The Nu HTML Checker complains of each too, but for references to nowhere and the entity."""
    assert faults(VALID.format(FAULTY[fault]))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("<!DOCTYPE html>\n", ""),
        ('<meta charset="utf-8">', ""),
        ("<title>T</title>", "<title></title>"),
        (' lang="en"', ""),
    ],
)
def test_a_document_lacks_nothing(right: str, wrong: str) -> None:
    """Doctype, encoding, title and language are each missed."""
    sound = VALID.format("<p>x</p>")
    assert faults(sound) == []
    assert faults(sound.replace(right, wrong))
