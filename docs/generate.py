"""Keeps the documents true: outputs are the commands' own, tables of columns are the classes' own.

    <!-- output of: harness analyze --runs reference/quick/runs.csv --margin 1 -->

In the README and in docs/*.md every block behind such a marker is the real output of its command; docs/analysis.md
lists the columns of every result file, and docs/analysis.schema.json is the schema of analysis.json. `python
docs/generate.py` rewrites them; with --check it changes nothing, shows what is stale, and exits with 1. Commands run
in a copy of the project's data files, so that nothing is written here.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = (ROOT / "docs" / "statistics.md",)
PAGE = """# The files of an analysis

`harness analyze` and `harness reanalyze` write one CSV file a table, and all of them together as `analysis.json`
(schema `SCHEMA`, [analysis.schema.json](analysis.schema.json)). `pp` is percentage points of accuracy, `pct`
percent; an empty cell is a number that does not exist. `singular` says whether a variance of the model was estimated as
zero; `model`, `metric` and `subset` name the fit, as in `models.csv`. This page is generated from the classes in
`analysis/results.py`."""
COMMON = {
    "model": "Which model.", "metric": "Column of the runs table.", "subset": "Rows used.", "student": "Architecture.",
    "method": "Method.", "mean_pct": "Estimated mean.", "se_pp": "Standard error.", "df": "Degrees of freedom.",
    "df_method": "How they were obtained.", "ci_low_pct": "Lower end of the 95% interval.",
    "ci_high_pct": "Upper end.", "n": "Runs.", "singular": "Whether a variance was estimated as zero.",
}  # fmt: skip
BLOCK = re.compile(r"(<!-- output of: (?P<command>[^\n]+) -->\n```text\n)(?P<output>.*?)(```\n)", re.DOTALL)


def output_of(command: str, folder: Path) -> str:
    """What a command prints when it is run in `folder`, with a narrow terminal and this environment's programs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S602 - the commands are the README's own
        command, cwd=folder, env=environment, shell=True, text=True, capture_output=True, check=False
    )
    if done.returncode not in (0, 1, 3):  # verdicts have exit codes of their own
        raise SystemExit(f"README: `{command}` exits with {done.returncode}: {done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()) + "\n"


def rendered(text: str) -> str:
    """The text with every marked block replaced by the present output of its command."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kdcap"
        folder.mkdir()
        for name in ("params.yaml", "profiles", "reference", "examples"):
            source = ROOT / name
            shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
        return BLOCK.sub(lambda found: found[1] + output_of(found["command"], folder) + found[4], text)


def analysis_page() -> str:
    """docs/analysis.md: every file of an analysis, its columns and what they mean."""
    from analysis.results import SCHEMA
    from harness.analysis_files import TABLES

    parts = [PAGE.replace("SCHEMA", SCHEMA)]
    for name, kind in TABLES.items():
        summary, told = described(kind)
        types = {field.name: field.type for field in dataclasses.fields(kind)}
        rows = [f"| `{column}` | {types[column]} | {told.get(column, COMMON.get(column, ''))} |" for column in types]
        parts.append(
            "\n".join([f"## {name}.csv", "", summary, "", "| column | type | meaning |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts).replace(" | None", " or empty") + "\n"


def described(kind: type) -> tuple[str, dict[str, str]]:
    """A class's summary, and what its docstring says of each attribute."""
    text = inspect.cleandoc(kind.__doc__ or "")
    summary, _, attributes = text.partition("Attributes:\n")
    told: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        head = re.fullmatch(r"    (\w+): (.*)", line)
        if head:
            name = head[1]
            told[name] = head[2]
        elif name:
            told[name] += f" {line.strip()}"
    return " ".join(summary.split()), {key: value.strip().replace("|", "\\|") for key, value in told.items()}


def documents() -> dict[Path, str]:
    """Every document as it should be."""
    from harness.analysis_files import json_schema

    found = {page: rendered(page.read_text(encoding="utf-8")) for page in (README, *PAGES)}
    found[ROOT / "docs" / "analysis.md"] = analysis_page()
    found[ROOT / "docs" / "analysis.schema.json"] = json.dumps(json_schema(), indent=1) + "\n"
    return found


def main() -> None:
    """Rewrite or check the documents."""
    stale = False
    for path, new in documents().items():
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        if "--check" in sys.argv[1:]:
            name = str(path.relative_to(ROOT))
            print("\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), name, "now", lineterm="")), end="")
            stale |= old != new
        else:
            path.write_text(new, encoding="utf-8")
    sys.exit(stale)


if __name__ == "__main__":
    main()
