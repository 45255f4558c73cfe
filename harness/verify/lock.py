"""Are a profile's files those that DVC recorded in dvc.lock?

DVC itself looks: `dvc data status` holds every output against dvc.lock, whether the cache is there or not, and names
the files; `dvc status` adds outputs outside the cache, and says which stages `dvc repro` would run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from harness.provenance import LOCK, recorded_stages
from harness.workspace import Workspace

NAMED = 3  # changed files in the sentence; `changed` has them all


@dataclass(frozen=True)
class LockCheck:
    """dvc.lock held against the disk.

    Attributes:
        verdict: FAIL if an output was changed, added or deleted after DVC recorded it; NOT CHECKED if DVC cannot tell.
        changed: Paths of these: files, or a whole folder that is gone.
        to_run_again: Stages whose inputs, parameters or commands are others now, so that `dvc repro` would run them
            again. No failure: what is on the disk is still what was recorded.
        sentence: The verdict in words.
    """

    verdict: Literal["PASS", "FAIL", "NOT CHECKED"]
    changed: tuple[str, ...]
    to_run_again: tuple[str, ...]
    sentence: str


class _NotToldByDvc(Exception):
    """DVC ended with an error: what it said."""


def check_lock(workspace: Workspace) -> LockCheck:
    """Hold the outputs that dvc.lock records of a profile against the disk.

    Args:
        workspace: The profile's files; dvc.lock lies in the working folder, the root of a DVC repository.

    Returns:
        What was found. Whatever keeps DVC from answering (no repository, another DVC at work) is NOT CHECKED, with
        DVC's own words.
    """
    if not LOCK.exists():
        return _not_checked(f"there is no {LOCK} here; `dvc repro` writes one")
    try:
        # This one first: it refuses while a `dvc repro` is in the middle of a stage; the other does not.
        stages = _dvc("status", "--json")
        data = _dvc("data", "status", "--json", "--granular", "--unchanged")
    except _NotToldByDvc as error:
        return _not_checked(str(error))
    found = data.get("uncommitted", {})
    altered = {*_clean(found.get("modified", ())), *_clean(found.get("added", ())), *_outputs(stages, "modified")}
    deleted = {*_clean(found.get("deleted", ())), *_outputs(stages, "deleted")}
    recorded = _recorded(workspace)
    looked_at = recorded & {*_clean(data.get("unchanged", ())), *altered, *deleted}
    if not looked_at:
        return _not_checked(
            f"DVC looks after no output that {LOCK} records of profile {workspace.profile}; params.yaml names another "
            "profile, `dvc repro` was not run on this one, or this folder is not the root of the DVC repository"
        )
    named = _within(recorded, _deepest(altered | _topmost(deleted)))
    again = tuple(stage for stage, changes in stages.items() if any("changed outs" not in change for change in changes))
    of = f"{len(looked_at)} of {len(recorded)} outputs that {LOCK} records of {workspace.profile}"
    return _judged(of, named, again)


def _judged(looked_at: str, changed: tuple[str, ...], again: tuple[str, ...]) -> LockCheck:
    would = f" `dvc repro` would run again, for other inputs or commands: {', '.join(again)}." if again else ""
    if not changed:
        return LockCheck("PASS", (), again, f"{looked_at} were looked at and are as recorded.{would}")
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    sentence = (
        f"Changed after DVC recorded it in {LOCK}: {', '.join(changed[:NAMED])}{more}; `dvc repro` makes it again, "
        f"`dvc commit` records it as it is.{would}"
    )
    return LockCheck("FAIL", changed, again, sentence)


def _not_checked(reason: str) -> LockCheck:
    return LockCheck("NOT CHECKED", (), (), f"{LOCK} was not held against the disk: {reason}.")


def _dvc(*words: str) -> dict[str, Any]:
    """What a DVC command answers in JSON.

    Raises:
        _NotToldByDvc: It ended with an error.
    """
    done = subprocess.run(  # noqa: S603 - this environment's own DVC
        [sys.executable, "-m", "dvc", *words], capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode != 0:
        said = done.stderr.rpartition("ERROR: ")[2].partition("\n\n")[0]  # advice follows an empty line
        raise _NotToldByDvc(f"`dvc {' '.join(words[:-1])}` says: {' '.join(said.split()).rstrip('.')}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _outputs(stages: dict[str, Any], state: str) -> Iterable[str]:
    """Outputs that an answer of `dvc status` has in this state, of all stages."""
    for changes in stages.values():
        for change in changes:
            if "changed outs" in change:  # else "changed command", a word alone, or what its inputs are
                yield from (path for path, found in change["changed outs"].items() if found == state)


def _recorded(workspace: Workspace) -> set[str]:
    """Outputs of a profile's stages that dvc.lock has a digest of."""
    outputs = {path for made, _ in recorded_stages() for path in made}
    return {*_within({workspace.runs.as_posix(), workspace.results.as_posix()}, outputs)}


def _clean(paths: Iterable[str]) -> Iterable[str]:
    """Paths without the slash at the end by which DVC marks folders."""
    return (path.rstrip("/") for path in paths)


def _above(path: str) -> set[str]:
    """The folders that a path is in."""
    return {str(parent) for parent in PurePosixPath(path).parents}


def _within(places: set[str], paths: set[str]) -> tuple[str, ...]:
    """Those of the paths that are one of these places or in one, in order."""
    return tuple(sorted(path for path in paths if places & {path, *_above(path)}))


def _deepest(paths: set[str]) -> set[str]:
    """Without folders of which a file is named too."""
    return paths - {folder for path in paths for folder in _above(path)}


def _topmost(paths: set[str]) -> set[str]:
    """Without files of a folder that is named too."""
    return {path for path in paths if not paths & _above(path)}
