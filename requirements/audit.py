"""Looks up every package that the locks pin among the known vulnerabilities: `make audit`.

pip-audit asks PyPI, and passes what PyPI says nothing about: an index without advisories would make every lock clean.
So a pass here means three things: a version that is known to be vulnerable was reported as such (the canary), every
pinned package has an answer, and no answer names a vulnerability.

Exit codes: 0 that pass, 1 known vulnerabilities, 3 could not audit (which is no pass).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent
CANARY = ("jinja2", "2.10")  # CVE-2019-10906: escape from the sandbox, mended in 2.10.1


class CouldNotAudit(Exception):
    """Some package has no answer; the text says which and why."""


def pins(lock: str) -> set[tuple[str, str]]:
    """Name and version of each pin in a lock's text, on whatever Python and platform it is for.

    A local version (`2.13.0+cpu`) is a build of the public one, which is what advisories name.
    """
    return set(re.findall(r"^([a-z0-9._-]+)==([^\s;+]+)", lock, re.MULTILINE))


def advisories(pinned: set[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """What pip-audit knows against each pin, in words; an empty list for a clean one.

    Args:
        pinned: Names and versions; a name may have several versions.

    Raises:
        CouldNotAudit: pip-audit is missing, has failed, or left out a package.
    """
    versions = dict(sorted(pinned))  # pip-audit refuses two versions at once
    others = pinned - set(versions.items())
    answers = {(answer["name"], answer["version"]): answer["vulns"] for answer in ask(versions) if "vulns" in answer}
    if missing := [name for name, version in versions.items() if (name, version) not in answers]:
        raise CouldNotAudit(f"{len(missing)} of {len(versions)} packages have no answer: {', '.join(missing)}")
    found = {
        pin: [f"{flaw['id']} (mended in {', '.join(flaw['fix_versions']) or 'no version'})" for flaw in answers[pin]]
        for pin in versions.items()
    }
    return found | (advisories(others) if others else {})


def ask(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """pip-audit's answers, one a package: `name`, and `version` and `vulns` or a `skip_reason`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        options = ["--strict", "--disable-pip", "--no-deps", "--desc=off", "--progress-spinner=off", "--format=json"]
        # A cache of its own: an old answer proves nothing about today's database.
        command = ["pip-audit", *options, f"--cache-dir={folder}/cache", f"--requirement={file}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        except FileNotFoundError:
            raise CouldNotAudit("pip-audit is not on the PATH; `make audit` installs it") from None
    try:  # pip-audit exits with 1 for a vulnerability and for any failure; only the first comes with answers
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        why = done.stderr.strip().splitlines() or [f"pip-audit exited with {done.returncode} and said nothing"]
        raise CouldNotAudit(why[-1].removeprefix("ERROR:pip_audit._cli:")) from None
    return answers


def audit() -> bool:
    """Audits all locks and prints a line for each and for each vulnerable package; true if none is vulnerable."""
    locks = {file.name: pins(file.read_text(encoding="utf-8")) for file in sorted(LOCKS.glob("*.lock"))}
    if not all([locks, *locks.values()]):
        raise CouldNotAudit(f"expected pins in each lock of {LOCKS}, found none in one; run `make lock`")
    canary = advisories({CANARY})[CANARY]
    if not canary:
        raise CouldNotAudit(f"the database has nothing against {'=='.join(CANARY)}, which is known to be vulnerable")
    print(f"the database answers: {'=='.join(CANARY)} has {len(canary)} known vulnerabilities, as it should")
    found = advisories(set().union(*locks.values()))
    for name, pinned in locks.items():
        flawed = sorted(pin for pin in pinned if found[pin])
        print(f"{name}: {len(pinned)} pins, {len(flawed) or 'none'} with known vulnerabilities")
        for pin in flawed:
            print(f"  {'=='.join(pin)}: {'; '.join(found[pin])}")
    return not any(found.values())


def main() -> int:
    """Audits and returns the exit code."""
    try:
        return 0 if audit() else 1
    except CouldNotAudit as problem:
        print(f"could not audit: {problem}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
