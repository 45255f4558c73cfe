"""Keeps the README true: every block behind a marker is the real output of the command in the marker.

    <!-- output of: harness analyze --runs reference/quick/runs.csv --margin 1 -->

`python docs/generate.py` rewrites the blocks; with --check it changes nothing, names stale blocks, and exits with 1.
Commands run in a copy of the project's data files, so that nothing is written here.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
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
        for name in ("params.yaml", "profiles", "reference"):
            source = ROOT / name
            shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
        return BLOCK.sub(lambda found: found[1] + output_of(found["command"], folder) + found[4], text)


def main() -> None:
    """Rewrite or check the README."""
    old = README.read_text(encoding="utf-8")
    new = rendered(old)
    if "--check" in sys.argv[1:]:
        changes = difflib.unified_diff(old.splitlines(), new.splitlines(), "README.md", "now", lineterm="")
        print("\n".join(changes))
        sys.exit(old != new)
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
