"""The README cannot go stale: its outputs are the commands' own, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from harness.cli import app
from harness.study.load import load_study
from harness.study.plan import any_winner, candidates, distinct, plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_outputs_are_current() -> None:
    """Every block behind an `output of` marker is what the command prints now."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr}"
    assert README.count("<!-- output of:") >= 3


def test_the_check_can_fail() -> None:
    """A changed digit in a block is found."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate
    finally:
        sys.path.pop(0)
    stale = "<!-- output of: harness --version -->\n```text\nkdcap 9.9.9\n```\n"
    assert "9.9.9" not in generate.rendered(stale)
    assert generate.rendered(generate.rendered(stale)) == generate.rendered(stale)


def test_every_verb_is_in_the_readme() -> None:
    """Each verb of the command line has its line in the README's table, and no other verb has one."""
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined] # a group, since there are several verbs
    assert set(re.findall(r"^\| `harness (\w+)", README, re.MULTILINE)) == verbs


def test_the_transcript_shows_runs_that_exist() -> None:
    """The runs that the README shows in training are the quick study's, and so are their counts."""
    study = load_study("quick")
    names = {entry.label for entry in plan(study, any_winner(study))} | {
        spec.name for specs in candidates(study).values() for spec in specs
    }
    cells = {name.rpartition("-s")[0] for name in names}
    shown = re.findall(r"^  \[\d+/(\d+)\] (\S+)-s\d+ ", README, re.MULTILINE)
    trained = [entry for entry in distinct(plan(study, any_winner(study))) if entry.phase == "final"]
    assert shown
    assert all(cell in cells and int(count) == len(trained) for count, cell in shown)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^harness [^\n#]+", README, re.MULTILINE))))
def test_every_command_exists(line: str) -> None:
    """Each `harness` line in the README names a verb and options that exist."""
    _, verb, *rest = line.split()
    command = get_command(app).commands[verb]  # type: ignore[attr-defined] # as above
    if verb == "reference":
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_every_target_exists(target: str) -> None:
    """Each `make` word in the README is a target."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_to_a_file(path: str) -> None:
    """Each relative link or picture is there."""
    assert (ROOT / path).exists()
