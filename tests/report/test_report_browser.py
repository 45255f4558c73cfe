"""The page in a real browser: nothing overflows, nothing is fetched or refused, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import EXECUTABLE, NAMES, Browser

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=f"no browser installed (looked for {', '.join(NAMES)})")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser() as running:
        yield running


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


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
    """No console message, no refused style, and no request but the file itself."""
    browser.open(file, 1280, dark=dark)
    complaints = [e for e in browser.events if e["method"] in {"Log.entryAdded", "Runtime.consoleAPICalled"}]
    assert complaints == []
    requests = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith("data:")] == [file.absolute().as_uri()]


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


def test_a_drawer_opens_without_scripts_and_paper_shows_them_all(browser: Browser, file: Path) -> None:
    """A click opens a drawer while scripts are off; in print all are open, since paper cannot be clicked."""
    visible = "document.querySelector('#table-choices').checkVisibility()"
    browser.open(file, 1280)
    assert browser.evaluate(visible) is False
    browser.evaluate("document.querySelector('#evidence-curve summary').click() || true")
    assert browser.evaluate(visible) is True
    browser.open(file, 1280)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.evaluate(visible) is True
        assert browser.evaluate("document.querySelector('#table-choices').getBoundingClientRect().height") > 50
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_open_drawers_do_not_scroll_the_page_sideways(browser: Browser, page: str, tmp_path: Path) -> None:
    """Their tables scroll inside their own box too."""
    opened = tmp_path / "open.html"
    opened.write_text(page.replace("<details", "<details open"), encoding="utf-8")
    for width in (320, 1280):
        browser.open(opened, width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_a_foreign_script_is_refused(browser: Browser, page: str, tmp_path: Path) -> None:
    """The policy works: a script or a style put into the file has no effect and is complained of."""
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(
        page.replace("</body>", "<style>body { color: red }</style><img src='file:///nowhere.png'></body>")
    )
    browser.open(spoiled, 1280)
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(28, 32, 36)"
    refused = [e["params"]["entry"]["text"] for e in browser.events if e["method"] == "Log.entryAdded"]
    assert len([text for text in refused if "Content Security Policy" in text]) == 2
