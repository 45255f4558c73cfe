"use strict";
// Headings of tables become buttons that sort: up, down, as it was. Without scripts the page lacks nothing else.

const MISSING = "\u2013";

/** A number as the page writes it: true minus signs, the lower end of an interval, "< 0.001" below 0.001. */
function numberIn(text) {
  const found = text.replaceAll("\u2212", "-").replace("\u221e", "Infinity").match(/-?(\d+(\.\d+)?(e-?\d+)?|Infinity)/);
  if (!found) return NaN;
  return Number(found[0]) + (text.startsWith("<") ? -1e-9 : text.startsWith(">") ? 1e-9 : 0);
}

function compare(one, other, numeric) {
  const known = [one, other].map((text) => text !== MISSING && text !== "" && !(numeric && Number.isNaN(numberIn(text))));
  if (!known[0] || !known[1]) return { order: known[1] - known[0], fixed: true };  // nothing stands last either way
  const order = numeric ? numberIn(one) - numberIn(other) : one.localeCompare(other, "en", { numeric: true });
  return { order, fixed: false };
}

for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const asItWas = [...body.rows];
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { null: "ascending", ascending: "descending" }[heading.getAttribute("aria-sort")];
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (next) heading.setAttribute("aria-sort", next);
      const text = (row) => row.cells[heading.cellIndex].textContent.trim();
      const rows = [...asItWas];
      if (next) {
        rows.sort((a, b) => {
          const { order, fixed } = compare(text(a), text(b), heading.classList.contains("number"));
          return next === "descending" && !fixed ? -order : order;
        });
      }
      body.append(...rows);
    });
  }
}
