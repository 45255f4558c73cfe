"""Contrast of every text and every mark of a page, by WCAG 2.2's formula, from the colours that the browser computes.

Unlike a screenshot or axe-core, it decides text inside figures: what lies behind a text is the page, the boxes that it
stands in and, in a figure, the shapes drawn before it. A mark is held against the page. Lines and areas in the page's
own `--rule`, `--band` and `--page` are furniture (axes, grids, halos) and need no contrast, nor does shading, an area
so thin that what counts is the line in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from browser import Browser

Colour = tuple[float, float, float, float]  # red, green, blue in 0..255, opacity in 0..1

FURNITURE = ("--rule", "--band", "--page")
SHADING_BELOW = 0.25  # opacity
WHITE: Colour = (255.0, 255.0, 255.0, 1.0)
TEXT_RATIO, LARGE_RATIO = 4.5, 3.0  # WCAG 2.2, success criteria 1.4.3 and 1.4.11 (marks: as large text)
LARGE_PX, LARGE_BOLD_PX = 24.0, 18.66

# Answers one entry for each pair of colours: {example, size, bold, paints: [a colour a paint], layers: [from the
# page upwards]}; size is 0 for a mark. Elements whose text was judged stay in `judgedTexts`.
_COLLECT = """((furniture, shadingBelow) => {
  globalThis.judgedTexts = new Set();
  const found = new Map();
  const styles = new Map();
  const style = (element) => styles.get(element) ?? styles.set(element, getComputedStyle(element)).get(element);
  const up = (element) => element ? [...up(element.parentElement), element] : [];
  const opacity = (element) => up(element).reduce((product, each) => product * style(each).opacity, 1);
  const boxes = (element) => up(element).map((each) => [style(each).backgroundColor, 1]);
  const put = (example, size, bold, paints, layers) => {
    const key = JSON.stringify([size, bold, paints, layers]);
    if (!found.has(key)) found.set(key, { example: example.trim().slice(0, 60), size, bold, paints, layers });
  };
  const SHAPES = "path, use, line, rect, circle, ellipse, polygon, polyline";
  const drawn = (shape) => !shape.closest("defs, clipPath, mask, symbol");
  const paint = (shape, kind) => {  // what `use` points at has its own paint, or that of the `use`
    const pattern = shape.href ? document.querySelector(shape.href.baseVal) : null;
    const source = pattern?.hasAttribute(kind) ? pattern : shape;
    const { [kind]: colour, strokeWidth } = style(source);
    if (colour === "none" || (kind === "stroke" && parseFloat(strokeWidth) === 0)) return null;
    return [colour, style(source)[`${kind}Opacity`] * opacity(shape)];
  };
  const covers = (shape, x, y) => {
    const box = shape.getBoundingClientRect();
    if (x < box.left || x > box.right || y < box.top || y > box.bottom) return false;
    if (!shape.isPointInFill) return true;
    return shape.isPointInFill(new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse()));
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data;
    if (!text.trim() || element.closest("script, style, title, desc") || !element.checkVisibility()) continue;
    globalThis.judgedTexts.add(element);
    const { color, fill, fillOpacity, fontSize, fontWeight } = style(element);
    const figure = element.closest("svg");
    if (!figure) {
      put(text, parseFloat(fontSize), fontWeight >= 600, [[color, opacity(element)]], boxes(element));
      continue;
    }
    const scale = element.getScreenCTM().a;
    const box = element.getBoundingClientRect();
    const before = [...figure.querySelectorAll(SHAPES)].filter(
      (shape) => drawn(shape) && paint(shape, "fill") && element.compareDocumentPosition(shape) & 2,
    );
    for (const share of [0.1, 0.5, 0.9]) {
      const [x, y] = [box.left + share * box.width, box.top + box.height / 2];
      const behind = before.filter((shape) => covers(shape, x, y)).map((shape) => paint(shape, "fill"));
      const layers = [...boxes(figure), ...behind];
      put(text, parseFloat(fontSize) * scale, fontWeight >= 600, [[fill, fillOpacity * opacity(element)]], layers);
    }
  }
  for (const element of document.body.querySelectorAll("*")) {
    for (const part of ["::before", "::after"]) {
      const { content, color, fontSize, fontWeight } = getComputedStyle(element, part);
      if (["none", "normal", '""'].includes(content) || !element.checkVisibility()) continue;
      put(content, parseFloat(fontSize), fontWeight >= 600, [[color, opacity(element)]], boxes(element));
    }
  }
  const probe = document.body.appendChild(document.createElement("i"));
  const exempt = furniture.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  for (const shape of document.querySelectorAll(SHAPES)) {
    const box = shape.getBoundingClientRect();
    if (!drawn(shape) || !shape.checkVisibility() || box.width + box.height === 0) continue;
    const paints = ["stroke", "fill"].map((kind) => paint(shape, kind)).filter(Boolean);
    const strong = paints.filter(([colour, share]) => !exempt.includes(colour) && share >= shadingBelow);
    const name = shape.closest("svg").querySelector("title")?.textContent ?? "";
    if (strong.length) put(`mark in ${name}`, 0, false, strong, boxes(shape.closest("svg")));
  }
  return [...found.values()];
})"""


@dataclass(frozen=True)
class Pair:
    """A colour on another, as it occurs in the page.

    Attributes:
        example: One text or mark that has it.
        ratio: Contrast, 1 to 21.
        needed: The least that WCAG 2.2 AA asks for.
    """

    example: str
    ratio: float
    needed: float

    @property
    def weak(self) -> bool:
        """Whether there is too little contrast."""
        return self.ratio < self.needed


def pairs(browser: Browser) -> list[Pair]:
    """Every pair of colours that the open page shows; a closed drawer shows nothing.

    Raises:
        ValueError: The browser names a colour in a way that is not known here.
    """
    judged = []
    for item in browser.evaluate(f"{_COLLECT}({list(FURNITURE)}, {SHADING_BELOW})"):
        behind = stacked(_shade(*layer) for layer in item["layers"])
        ratio = max(contrast(stacked([_shade(*paint)], behind), behind) for paint in item["paints"])
        large = item["size"] >= (LARGE_BOLD_PX if item["bold"] else LARGE_PX)
        needed = LARGE_RATIO if large or item["size"] == 0 else TEXT_RATIO
        judged.append(Pair(item["example"], ratio, needed))
    return judged


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of two opaque colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def stacked(layers: Iterable[Colour], ground: Colour = WHITE) -> Colour:
    """The opaque colour of layers seen from above, the lowest first."""
    red, green, blue, _ = ground
    for *top, opacity in layers:
        red, green, blue = (
            opacity * above + (1 - opacity) * below for above, below in zip(top, (red, green, blue), strict=True)
        )
    return red, green, blue, 1.0


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2, "relative luminance")."""
    shares = (channel / 255 for channel in colour[:3])
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _shade(css: str, opacity: float) -> Colour:
    """A colour as the browser writes it, e.g. `rgb(28, 32, 36)`, `rgba(0, 0, 0, 0)` or `color(srgb 1 0 0 / 0.5)`."""
    parts = re.fullmatch(r"(rgba?|color)\((?:srgb )?([^()]+)\)", css)
    if parts is None:
        raise ValueError(f"expected an rgb() or srgb colour, found {css}: teach {__name__} to read it")
    numbers = [float(number) for number in re.split(r"[ ,/]+", parts[2])]
    unit = 255 if parts[1] == "color" else 1
    red, green, blue, *own = (*(channel * unit for channel in numbers[:3]), *numbers[3:])
    return red, green, blue, opacity * (own[0] if own else 1.0)
