"""The page in a real browser: nothing overflows, is fetched or refused; keyboard, paper, sorting; scripts off."""

from __future__ import annotations

import base64
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import shots
from browser import EXECUTABLE, NAMES, Browser

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=f"no browser installed (looked for {', '.join(NAMES)})")


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, file: Path, width: int) -> None:
    """On a phone only tables scroll, inside their own box."""
    browser.open(file, width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_text_in_figures_can_be_read_on_a_phone(browser: Browser, file: Path) -> None:
    """At 375 px, letters in figures are at least 9 px high as drawn, and no label runs out of its figure."""
    browser.open(file, 375)
    scale = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('figure svg')]"
        ".map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width))"
    )
    assert scale * 12 >= 9
    outside = browser.evaluate(
        "[...document.querySelectorAll('figure svg text')].filter(t => {"
        "const box = t.getBoundingClientRect(), page = document.documentElement.clientWidth;"
        "return box.left < 0 || box.right > page }).map(t => t.textContent)"
    )
    assert outside == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_browser_has_nothing_to_complain_of(browser: Browser, file: Path, dark: bool) -> None:
    """No console message, no refused style or script, no error, and no request but the file itself."""
    browser.open(file, 1280, dark=dark)
    browser.open_drawers()
    browser.evaluate("document.querySelectorAll('thead button').forEach(button => button.click())")
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [file.absolute().as_uri()]


def test_light_and_dark_differ_on_the_page_and_in_figures(browser: Browser, file: Path) -> None:
    """The figures follow the page: their ink is the page's ink, dark on light and light on dark."""
    inks = []
    for dark in (False, True):
        browser.open(file, 1280, dark=dark)
        page = browser.evaluate("getComputedStyle(document.body).color")
        figure = browser.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert page == figure
        inks.append(page)
    assert inks == ["rgb(28, 32, 36)", "rgb(228, 230, 233)"]


def test_paper_shows_every_drawer(browser: Browser, file: Path) -> None:
    """In print all are open, since paper cannot be clicked."""
    browser.open(file, 1280)
    assert browser.evaluate("document.querySelector('#table-choices').checkVisibility()") is False
    browser.call("Emulation.setEmulatedMedia", media="print")
    closed = "[...document.querySelectorAll('details > :not(summary)')].filter(each => !each.checkVisibility())"
    assert browser.evaluate(f"{closed}.map(each => each.textContent)") == []
    assert browser.evaluate("document.querySelector('#table-choices').getBoundingClientRect().height") > 50


def test_open_drawers_do_not_scroll_the_page_sideways(browser: Browser, file: Path) -> None:
    """Their tables scroll inside their own box too."""
    for width in (320, 1280):
        browser.open(file, width)
        browser.open_drawers()
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_a_foreign_script_is_refused(browser: Browser, page: str, tmp_path: Path) -> None:
    """The policy works: script, style and image put into the file have no effect and are complained of."""
    spoiled = tmp_path / "spoiled.html"
    foreign = (
        "<script>document.title = 'taken'</script><style>body { color: red }</style><img src='file:///nowhere.png'>"
    )
    spoiled.write_text(page.replace("</body>", f"{foreign}</body>"), encoding="utf-8")
    browser.open(spoiled, 1280)
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(28, 32, 36)"
    assert browser.evaluate("document.title") != "taken"
    refused = [each["entry"]["text"] for each in browser.complaints if "entry" in each]
    assert len([text for text in refused if "Content Security Policy" in text]) == 3


def test_what_a_page_asks_for_and_complains_of_is_seen(browser: Browser, tmp_path: Path) -> None:
    """The checks above can fail: a request, an error and a message of a careless page are all noted."""
    careless = tmp_path / "careless.html"
    careless.write_text(
        "<!DOCTYPE html><title>T</title><img src='nowhere.png'><script>console.log('here'); missing()</script>",
        encoding="utf-8",
    )
    browser.open(careless, 800)
    assert (tmp_path / "nowhere.png").as_uri() in browser.requests
    assert [each.get("type") for each in browser.complaints if "type" in each] == ["log"]
    assert any("exceptionDetails" in each for each in browser.complaints)


# All that can have the focus, in the page's order.
STOPS = (
    """[...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')].filter(e => e.checkVisibility())"""
)
# What has it: where it stands among them, and whether it can be seen.
FOCUS = f"""(stops => {{
  const at = document.activeElement;
  const {{ outlineStyle, outlineWidth, outlineColor }} = getComputedStyle(at);
  const {{ top, bottom, left, right }} = at.getBoundingClientRect();
  return {{
    place: stops.indexOf(at), tag: at.tagName, text: at.textContent.trim().slice(0, 40),
    outline: [outlineStyle, outlineWidth, outlineColor],
    inView: bottom > 0 && top < innerHeight && right > 0 && left < innerWidth,
  }};
}})({STOPS})"""


def test_tab_goes_through_the_page_in_its_order_and_is_seen(browser: Browser, file: Path) -> None:
    """Skip link first, then the contents, then every control in the page's order; each in view, ringed by 3 px."""
    browser.open(file, 1280)
    stops = []
    for _ in range(browser.evaluate(f"{STOPS}.length")):
        browser.press("Tab")
        stops.append(browser.evaluate(FOCUS))
    assert [stop["place"] for stop in stops] == list(range(len(stops)))
    assert stops[0]["text"].startswith("Skip to")
    contents = browser.evaluate("[...document.querySelectorAll('nav a')].map(link => link.textContent)")
    assert [stop["text"] for stop in stops[1 : 1 + len(contents)]] == contents
    assert {"A", "BUTTON", "SUMMARY", "DIV"} <= {stop["tag"] for stop in stops}
    link = browser.evaluate("getComputedStyle(document.querySelector('nav a')).color")  # stands out, as text must
    assert [stop for stop in stops if stop["outline"] != ["solid", "3px", link] or not stop["inView"]] == []


def test_the_skip_link_leads_to_the_answer(browser: Browser, file: Path) -> None:
    """Enter on it: the answer stands at the top, and the next Tab goes on from there, past the contents."""
    browser.open(file, 1280)
    browser.press("Tab")
    browser.press("Enter")
    assert browser.evaluate("location.hash") == "#answer"
    assert abs(browser.evaluate("document.querySelector('#answer').getBoundingClientRect().top")) < 40
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.closest('nav')") is None
    after_or_in = "Node.DOCUMENT_POSITION_FOLLOWING | Node.DOCUMENT_POSITION_CONTAINED_BY"
    position = "document.querySelector('#answer').compareDocumentPosition(document.activeElement)"
    assert browser.evaluate(f"Boolean({position} & ({after_or_in}))")


@pytest.mark.parametrize("key", ["Enter", " "])
@pytest.mark.parametrize("scripts", [True, False])
def test_every_drawer_opens_and_closes_by_key(browser: Browser, file: Path, key: str, scripts: bool) -> None:
    """On its line, Enter or space opens it and shows all that is in it, scripts on or off; once more closes it."""
    browser.open(file, 1280, scripts=scripts)
    count = browser.evaluate("document.querySelectorAll('details').length")
    assert count > 3
    for number in range(count):
        drawer = f"document.querySelectorAll('details')[{number}]"
        browser.evaluate(f"{drawer}.querySelector('summary').focus()")
        browser.press(key)
        assert browser.evaluate(f"{drawer}.open")
        assert browser.evaluate(f"[...{drawer}.children].every(each => each.checkVisibility())")
        browser.press(key)
        assert not browser.evaluate(f"{drawer}.open")


def test_without_scripts_the_page_says_the_same(browser: Browser, file: Path) -> None:
    """The same words, drawers open, and no button that would do nothing."""
    said = []
    for scripts in (True, False):
        browser.open(file, 1280, scripts=scripts)
        browser.open_drawers()
        said.append(browser.evaluate("document.body.innerText").split())
    assert len(said[0]) > 1000
    assert said[0] == said[1]
    assert browser.evaluate("document.querySelectorAll('button, input, select').length") == 0


def test_a_link_into_a_closed_drawer_opens_it(browser: Browser, file: Path) -> None:
    """Every link within the page leads to a place that is then seen, though it lay in a drawer."""
    browser.open(file, 1280, scripts=False)
    hidden = browser.evaluate(
        "[...new Set([...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.hash))]"
        ".filter(hash => !document.getElementById(hash.slice(1)).checkVisibility())"
    )
    assert hidden
    for place in hidden:
        browser.evaluate(f"document.querySelector('a[href=\"{place}\"]').click()")
        assert browser.evaluate(f"document.getElementById('{place[1:]}').checkVisibility()")


# Every heading is pressed three times. For each, before and after each press: its state, each row's cell and text, and
# how many headings of the table have a state.
SORTED = """[...document.querySelectorAll('thead th')].map(heading => {
  const table = heading.closest('table');
  const seen = () => [
    heading.getAttribute('aria-sort'),
    [...table.tBodies[0].rows].map(row => [row.cells[heading.cellIndex].textContent.trim(), row.textContent]),
    table.querySelectorAll('[aria-sort]').length,
  ];
  const button = heading.querySelector('button');
  const states = [seen()];
  for (let press = 0; press < 3; press++) { button.click(); states.push(seen()) }
  return { name: `${table.id}: ${heading.textContent}`, numeric: heading.classList.contains('number'), states };
})"""
NUMBER = re.compile(r"([<>]?) ?([+-]?)([\d.]+(?:e-?\d+)?|\N{INFINITY})")


def value(cell: str) -> float | None:
    """A cell's first number, the lower end of an interval; "< 0.001" lies just below 0.001; None for no number."""
    found = NUMBER.search(cell.replace("\N{MINUS SIGN}", "-"))
    if found is None:
        return None
    bound, sign, digits = found.groups()
    size = math.inf if digits == "\N{INFINITY}" else float(digits)
    return (-size if sign == "-" else size) + {"<": -1e-9, ">": 1e-9, "": 0.0}[bound]


def test_every_column_sorts_up_down_and_back(browser: Browser, file: Path) -> None:
    """Numbers by value, with what is missing last either way; rows stay whole; a third press brings the order back."""
    browser.open(file, 1280)
    browser.open_drawers()
    columns: list[dict[str, Any]] = browser.evaluate(SORTED)
    assert len(columns) == browser.evaluate("document.querySelectorAll('thead th').length") > 50
    for column in columns:
        before, up, down, back = column["states"]
        assert [state for state, _, _ in column["states"]] == [None, "ascending", "descending", None], column["name"]
        assert [marked for _, _, marked in (up, down, back)] == [1, 1, 0], column["name"]
        assert back[1] == before[1], column["name"]
        for _, rows, _ in (up, down):
            assert sorted(row for _, row in rows) == sorted(row for _, row in before[1]), column["name"]
        if column["numeric"]:
            for (_, rows, _), sign in ((up, 1), (down, -1)):
                numbers = [value(cell) for cell, _ in rows]
                known = [number * sign for number in numbers if number is not None]
                assert known == sorted(known), column["name"]
                assert numbers[len(known) :] == [None] * (len(numbers) - len(known)), column["name"]


def test_rows_stand_in_the_order_that_a_person_expects(browser: Browser, page: str, tmp_path: Path) -> None:
    """Numbers by value, not as text; "< 0.001" before 0.001; what is missing last; equal rows keep their order."""
    cells = ["10", "0.001", "\N{EN DASH}", "\N{MINUS SIGN}0.2", "9", "< 0.001", "+0.5", "\N{MINUS SIGN}3", "9"]
    rows = "".join(
        f'<tr><th scope="row">row {n}</th><td class="number">{cell}</td></tr>' for n, cell in enumerate(cells)
    )
    table = (
        '<table class="data" id="made"><caption>Made</caption><thead><tr><th scope="col">Row</th>'
        f'<th scope="col" class="number">Number</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    path = tmp_path / "sorted.html"
    path.write_text(page.replace("</main>", f"{table}</main>"), encoding="utf-8")
    browser.open(path, 1280)
    order = "[...document.querySelectorAll('#made tbody th')].map(each => Number(each.textContent.slice(4)))"
    orders = []
    for _ in range(3):
        browser.evaluate("document.querySelectorAll('#made thead button')[1].click()")
        orders.append(browser.evaluate(order))
    assert orders == [[7, 3, 5, 1, 6, 4, 8, 0, 2], [0, 4, 8, 6, 1, 5, 3, 7, 2], list(range(9))]


def test_a_heading_sorts_by_enter_and_space(browser: Browser, file: Path) -> None:
    """Each press is told by `aria-sort`, on the heading that has the focus and keeps it, and on that one alone."""
    browser.open(file, 1280)
    browser.evaluate("document.querySelector('#table-runs').closest('.wide').focus()")
    links = browser.evaluate("document.querySelectorAll('#table-runs caption a').length")
    for _ in range(links + 1):
        browser.press("Tab")
    presses = (
        (1, "Enter", "ascending"), (1, " ", "descending"), (2, " ", "ascending"), (2, "Enter", "descending"),
        (2, "Enter", None), (3, "Enter", "ascending"),
    )  # fmt: skip
    at = 1
    for place, key, state in presses:
        if place > at:
            browser.press("Tab")
            at = place
        browser.press(key)
        states = browser.evaluate(
            "[...document.querySelectorAll('#table-runs thead th')].map(heading => "
            "[heading.getAttribute('aria-sort'), heading.contains(document.activeElement)])"
        )
        expected = [[None, False] for _ in states]
        expected[place - 1] = [state, True]
        assert states == expected


def test_a_download_gives_the_file_that_its_link_names(browser: Browser, file: Path, tmp_path: Path) -> None:
    """A click on "CSV" saves the bytes of the link under its name: the policy and the browser let it."""
    browser.open(file, 1280)
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    link = "document.querySelector('main a[download]')"
    address, name = browser.evaluate(f"[{link}.href, {link}.download]")
    browser.evaluate(f"{link}.click()")
    browser.wait_for("Page.downloadProgress", state="completed")
    assert (tmp_path / name).read_bytes() == base64.b64decode(address.partition(",")[2])
    assert browser.complaints == []


def test_pictures_of_a_page_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`shots.py` cuts a long page into bands at each width, light and dark, and prints it."""
    report = tmp_path / "long.html"
    report.write_text("<!DOCTYPE html><title>T</title><body style='margin: 0; height: 2500px'>Long", encoding="utf-8")
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "phone-dark-07.png").touch()  # of a longer page
    shots.main([str(report), str(tmp_path / "shots")])
    sizes = {path.name: png_size(path) for path in (tmp_path / "shots").glob("*-*-*.png")}
    assert sizes == {
        f"{name}-{scheme}-{band}.png": (width, height)
        for name, width in (("desktop", 1280), ("tablet", 768), ("phone", 390))
        for scheme in ("light", "dark")
        for band, height in (("01", 2000), ("02", 500))
    }
    assert (tmp_path / "shots" / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert str(tmp_path / "shots") in capsys.readouterr().out


def test_pictures_of_no_page_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named, with what makes one."""
    with pytest.raises(SystemExit):
        shots.main([str(tmp_path / "none.html"), str(tmp_path)])
    assert "none.html: make it first" in capsys.readouterr().err


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, in pixels."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height
