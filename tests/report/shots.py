"""What the report looks like: pictures of a page at three widths, light and dark, and of its pages on paper.

    .venv/bin/python tests/report/shots.py results/quick/report.html /tmp/shots

A long page is cut into bands that can be read when they are looked at; `--drawers` opens every `<details>` first (on
paper they are always open). Needs Chromium; pages of paper become pictures where poppler's `pdftoppm` is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from browser import EXECUTABLE, NAMES, Browser

WIDTHS_PX = {"desktop": 1280, "tablet": 768, "phone": 390}
BAND_PX = 2000
PAPER_DPI = 90


def shoot(report: Path, folder: Path, *, drawers: bool) -> Iterator[Path]:
    """Take all pictures of a page.

    Args:
        report: The HTML file.
        folder: Where they go; it must exist. Pictures of the same names are replaced.
        drawers: Whether every `<details>` is opened first.

    Yields:
        Each file when it has been written: `phone-dark-02.png` is the second band, `paper-02.png` the second page.
    """
    with Browser() as browser:
        for name, width_px in WIDTHS_PX.items():
            for scheme in ("light", "dark"):
                browser.open(report, width_px, dark=scheme == "dark")
                if drawers:
                    browser.open_drawers()
                yield from _bands(browser, folder / f"{name}-{scheme}", width_px)
        paper = folder / "paper.pdf"
        browser.open(report, WIDTHS_PX["desktop"])
        browser.pdf(paper)
    yield paper
    if shutil.which("pdftoppm"):
        subprocess.run(["pdftoppm", "-png", "-r", str(PAPER_DPI), paper, folder / "paper"], check=True)
        yield from sorted(folder.glob("paper-*.png"))


def _bands(browser: Browser, stem: Path, width_px: int) -> Iterator[Path]:
    """Pictures of the page that is open, from top to bottom."""
    height_px = browser.evaluate("document.documentElement.scrollHeight")
    for number, top_px in enumerate(range(0, height_px, BAND_PX), start=1):
        path = stem.with_name(f"{stem.name}-{number:02d}.png")
        browser.screenshot(path, top_px, width_px, min(BAND_PX, height_px - top_px))
        yield path


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="the HTML file")
    parser.add_argument("folder", type=Path, help="where the pictures go; earlier ones are removed")
    parser.add_argument("--drawers", action="store_true", help="open every drawer first")
    options = parser.parse_args(arguments)
    if EXECUTABLE is None:
        parser.error(f"expected one of {', '.join(NAMES)} on the path, found none: install Chromium")
    if not options.report.is_file():
        parser.error(f"expected an HTML file, found none at {options.report}: make it first with `harness report`")
    options.folder.mkdir(parents=True, exist_ok=True)
    names = (*WIDTHS_PX, "paper")
    for old in [path for name in names for path in options.folder.glob(f"{name}-*.png")]:
        old.unlink()  # a shorter page has fewer bands
    count = sum(1 for _ in shoot(options.report, options.folder, drawers=options.drawers))
    sys.stdout.write(f"{count} files in {options.folder}\n")
    if not list(options.folder.glob("paper-*.png")):
        sys.stdout.write("no pictures of the pages of paper: pdftoppm (poppler-utils) is not installed\n")


if __name__ == "__main__":
    main()
