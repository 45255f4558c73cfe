"""Digests and whole-or-nothing writing of files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of `content`, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits; raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, on every machine.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half.

    Args:
        path: Target; its folder is made if missing.
        content: Text (written as UTF-8) or bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write indented JSON with a final newline, whole or not at all; NaN and infinities are refused."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
