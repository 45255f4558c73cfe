"""What made a report: kdcap's version, the analysis code, and the digests by which DVC knows the runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

import analysis
from harness import __version__
from harness.errors import KdcapError
from harness.files import canonical_json, sha256_of_bytes
from harness.store.code import python_digests
from harness.study.plan import PHASES
from harness.workspace import Workspace

LOCK = Path("dvc.lock")


def provenance(runs: Path, workspace: Workspace | None) -> dict[str, str]:
    """Facts on a report's making, as label and value; the same inputs give the same.

    Args:
        runs: The runs table that is reported.
        workspace: Files of its profile; None for a table that belongs to no profile.

    Returns:
        kdcap's version, a digest of the analysis code, and, if `dvc.lock` in the working folder records this very
        table, DVC's digests of it and of the run folders that it was collected from. Nothing that depends on the
        report itself is among them, so that a report made again after `dvc repro` has the same bytes.

    Raises:
        KdcapError: `dvc.lock` cannot be read.
    """
    facts = {"kdcap of this report": __version__, "analysis code digest": analysis_code_sha256()}
    return facts | (_recorded(runs, workspace) if workspace and LOCK.is_file() else {})


def analysis_code_sha256() -> str:
    """SHA-256 over the names and contents of analysis/**/*.py."""
    return sha256_of_bytes(canonical_json(python_digests(Path(analysis.__file__).parent)).encode())


def _recorded(runs: Path, workspace: Workspace) -> dict[str, str]:
    """DVC's md5 of the table, and of the run folders as they were when the table was made from them."""
    with runs.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    table = workspace.runs_table.as_posix()
    for outs, deps in recorded_stages():
        if outs.get(table) == digest:
            folders = [(workspace.runs / phase).as_posix() for phase in PHASES]
            known = {table: digest} | {folder: deps[folder] for folder in folders if folder in deps}
            return {f"DVC md5 of {path}": md5 for path, md5 in known.items()}
    return {}


def recorded_stages() -> list[tuple[dict[str, str], dict[str, str]]]:
    """What each stage in `dvc.lock` made and what it used: md5 by path.

    Raises:
        KdcapError: `dvc.lock` cannot be read.
    """
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"].values()
        return [(_digest_by_path(stage, "outs"), _digest_by_path(stage, "deps")) for stage in stages]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())
        raise KdcapError(
            f"{LOCK}: expected DVC's record of the pipeline, found something else ({problem}); delete it and run "
            "`dvc repro`, which keeps the runs that check out."
        ) from None


def _digest_by_path(stage: dict[str, list[dict[str, str]]], key: str) -> dict[str, str]:
    return {file["path"]: md5 for file in stage.get(key, []) if (md5 := file.get("md5"))}
