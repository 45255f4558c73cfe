"""The page for those who do not see it well, or at all: axe-core's rules, and contrast of every text and mark."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from browser import EXECUTABLE, NAMES, Browser
from contrast import contrast, pairs, stacked

needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason=f"no browser installed (looked for {', '.join(NAMES)})")
each_look = pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])

# The rules that look at colours have a test of their own, in light and dark; no other rule depends on that.
COLOUR_RULES = ("color-contrast", "link-in-text-block")
RULES = {**{rule: {"enabled": False} for rule in COLOUR_RULES}, "target-size": {"enabled": True}}


def axe(browser: Browser, **options: object) -> dict[str, Any]:
    """What axe-core says of the open page: its rules' results under `violations` and `incomplete`."""
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    browser.evaluate(f"{script};0")
    # Nothing is preloaded: the page has no other file. Of rules that pass, one place each is told.
    asked = {"preload": False, "resultTypes": ["violations", "incomplete"], **options}
    answer: dict[str, Any] = browser.evaluate(f"axe.run(document, {json.dumps(asked)})")
    return answer


def named(results: list[dict[str, Any]]) -> str:
    """A line for each place that breaks a rule, for a message that can be acted on; empty where there is none."""
    return "\n".join(
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}" for rule in results for node in rule["nodes"]
    )


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_fault(browser: Browser, file: Path, width: int) -> None:
    """No rule is broken, of whatever impact, and none is left undecided, with every drawer open."""
    browser.open(file, width)
    browser.open_drawers()
    found = axe(browser, rules=RULES)
    assert named(found["violations"]) == ""
    assert named(found["incomplete"]) == ""
    assert len(found["passes"]) > 30  # it did look


@needs_browser
@each_look
def test_every_text_and_mark_stands_out(browser: Browser, file: Path, width: int, dark: bool) -> None:
    """WCAG 2.2 AA: texts 4.5 to 1, large ones and marks of figures 3 to 1, against what is behind them."""
    browser.open(file, width, dark=dark)
    browser.open_drawers()
    found = pairs(browser)
    assert "\n".join(str(pair) for pair in found if pair.weak) == ""
    assert any(pair.example.startswith("mark in") for pair in found)


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_agrees_on_colours_and_leaves_nothing_undecided(
    browser: Browser, file: Path, width: int, dark: bool
) -> None:
    """A second judge: axe-core sees no weak text, and what it cannot decide (text in figures) is decided above."""
    browser.open(file, width, dark=dark)
    browser.open_drawers()
    browser.evaluate(  # rows of a table are alike, and axe-core is slow
        "document.querySelectorAll('tbody tr:nth-child(n + 4)').forEach(row => row.remove())"
    )
    pairs(browser)
    found = axe(browser, runOnly=COLOUR_RULES)
    assert named(found["violations"]) == ""
    assert {rule["id"] for rule in found["incomplete"]} == {"color-contrast"}
    undecided = [node["target"][0] for rule in found["incomplete"] for node in rule["nodes"]]
    judged = browser.evaluate(f"{json.dumps(undecided)}.map(at => judgedTexts.has(document.querySelector(at)))")
    assert len(judged) > 50
    assert all(judged)


@needs_browser
def test_a_page_with_faults_is_found_out(browser: Browser, tmp_path: Path) -> None:
    """An image and a link without a name, a weak text and a second `main` are each named."""
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(
        '<!DOCTYPE html><html lang="en"><title>T</title><body bgcolor="#ffffff"><main><h1>T</h1><img src="data:,">'
        '<p><font color="#777777">Weak</font></p><a href="#answer"></a></main><main></main></body></html>',
        encoding="utf-8",
    )
    browser.open(spoiled, 1280)
    found = axe(browser)
    rules = {rule["id"]: rule["impact"] for rule in found["violations"]}
    assert rules == {
        "color-contrast": "serious", "image-alt": "critical", "landmark-no-duplicate-main": "moderate",
        "landmark-unique": "moderate", "link-name": "serious",
    }  # fmt: skip
    assert "color-contrast (serious): <font" in named(found["violations"])


@needs_browser
def test_weak_colours_are_found_in_figures_too(browser: Browser, tmp_path: Path) -> None:
    """Text in a faint colour, text on a shape of nearly its colour, a faint mark and a faint large text are weak."""
    made = tmp_path / "figure.html"
    made.write_text(
        """<!DOCTYPE html><html lang="en"><title>T</title><body bgcolor="#ffffff" text="#000000">
        <h1><font color="#999999">Large and weak</font></h1><h1><font color="#888888">Large</font></h1>
        <p><font color="#777777">Weak</font></p><p><font color="#767676">Just right</font></p>
        <svg viewBox="0 0 400 120" width="400" height="120"><title>figure</title>
        <rect x="0" y="0" width="200" height="50" fill="#0b62a8"/>
        <text x="10" y="30" fill="#1c2024">On a bar</text><text x="10" y="80" fill="#1c2024">Beside it</text>
        <text x="210" y="30" fill="#1c2024" opacity="0.5">Faded</text><circle cx="300" cy="90" r="9" fill="#aaaaaa"/>
        <rect x="350" width="50" height="50" fill="#0b62a8" opacity="0.2"/></svg></body></html>""",
        encoding="utf-8",
    )
    browser.open(made, 800)
    found = pairs(browser)
    weak, strong = ({pair.example for pair in found if pair.weak is which} for which in (True, False))
    assert weak == {"Faded", "Large and weak", "On a bar", "Weak", "mark in figure"}  # the dot
    assert strong == {"Large", "Just right", "Beside it", "mark in figure"}  # the bar
    assert len(found) == 9  # the thin area is shading


def test_contrast_is_that_of_the_standard() -> None:
    """Known ratios: black on white is 21; #767676 on white is the lightest grey that passes, #777777 does not."""
    white = (255.0, 255.0, 255.0, 1.0)
    assert contrast((0.0, 0.0, 0.0, 1.0), white) == pytest.approx(21)
    assert contrast((0x76, 0x76, 0x76, 1.0), white) == pytest.approx(4.54, abs=0.005)
    assert contrast(white, (0x77, 0x77, 0x77, 1.0)) == pytest.approx(4.48, abs=0.005)
    assert contrast((255.0, 0.0, 0.0, 1.0), white) == pytest.approx(4.00, abs=0.005)


def test_layers_are_seen_through() -> None:
    """Half black over white is grey; what is opaque hides what lies below."""
    half: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.5)
    assert stacked([half]) == (127.5, 127.5, 127.5, 1.0)
    assert stacked([half, (10.0, 20.0, 30.0, 1.0)]) == (10.0, 20.0, 30.0, 1.0)
