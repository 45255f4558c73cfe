"""Digests and whole-or-nothing writing of files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SMALL = 1 << 16  # bytes

FULL = (errno.ENOSPC, errno.EDQUOT)  # what writing to a full disk, or beyond a quota, ends with


def sha256_of_bytes(content: bytes | memoryview) -> str:
    """SHA-256 of `content`, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits; raises OSError if it cannot be read."""
    with path.open("rb", buffering=0) as stream:
        first = stream.read(_SMALL)
        if len(first) < _SMALL:  # most files: without `file_digest`, which makes a buffer of 256 kB for each
            return sha256_of_bytes(first)
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, on every machine.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends, and goes when the block fails.

    A reader sees the old file or the new one, never a half, also after a power cut: the content is on the disk before
    the file gets its name, and the name is on the disk before the block is left (fsync(2): "calling fsync() does not
    necessarily ensure that the entry in the directory containing the file has also reached disk").

    Args:
        path: Target; its folder is made if missing.

    Yields:
        Where to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block with a folder, which need not be writable and is made if missing."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all (see `whole_file`).

    Args:
        path: Target; its folder is made if missing.
        content: Text (written as UTF-8) or bytes.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write indented JSON with a final newline, whole or not at all; NaN and infinities are refused."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
