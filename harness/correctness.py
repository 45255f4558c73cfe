"""Which test image each run got right, beside the runs table: `correct.npz`, written and read with checks."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.files import sha256_of_bytes, write_whole

COUNT, DIGESTS, BITS = "test_images", "sha256", "bits"
"""The arrays: how many images; of each distinct run the SHA-256 (32 bytes) of its packed bits, and these bits, in rows.
Not an array a run: of a hundred thousand, each with a header of its own, writing and reading took ten seconds. Not
compressed: bits of networks that are right nine times in ten shrink by half at most."""
_REMEDY = "make both again with `harness collect`."


def write_correct(path: Path, packed: Mapping[str, bytes], test_images: int) -> None:
    """Write packed bits as a numpy archive, whole or not at all; equal contents give equal bytes.

    Args:
        path: Target file.
        packed: For each distinct run its `correct_best.bin`, a bit an image, first image first, the last byte
            filled up with zeros; by SHA-256 (64 hex digits).
        test_images: Images in the test set.

    Raises:
        StoreError: Runs saw different numbers of test images.
    """
    lengths = sorted({len(bits) for bits in packed.values()})
    if len(lengths) > 1:
        raise StoreError(
            f"{path}: expected all runs to have seen the same test images, found {8 * lengths[0]} bits of them in some "
            f"and {8 * lengths[-1]} in others; train those again whose images have changed since."
        )
    digests = sorted(packed)
    arrays: dict[str, Any] = {
        COUNT: np.array(test_images, dtype=np.int64),
        DIGESTS: _table([bytes.fromhex(digest) for digest in digests]),
        BITS: _table([packed[digest] for digest in digests]),
    }
    archive = io.BytesIO()
    # numpy leaves the arrays' time at zipfile's default, the year 1980, so the clock is not in the bytes
    np.savez(archive, allow_pickle=False, **arrays)
    write_whole(path, archive.getvalue())


def _table(rows: Sequence[bytes]) -> NDArray[np.uint8]:
    """Rows of bytes, all of one length, as an array."""
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)


def read_correct(path: Path, runs: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Read and check which images each row of a runs table got right, at the best-validation checkpoint.

    Args:
        path: `correct.npz` beside the table.
        runs: A table that went through `analysis.runs.table.check_runs`.

    Returns:
        A row for each row of `runs`, a column an image. None if there is nothing to read: no file beside the table, or
        a row without `correct_sha256` (runs of another trainer), since an analysis needs all rows or none.

    Raises:
        StoreError: The file is damaged, lacks a run, or disagrees with the table; names the run.
    """
    if not path.exists() or (runs["correct_sha256"] == "").any():
        return None
    packed, count = _load(path)
    rows = []
    for digest, accuracy, name in zip(runs["correct_sha256"], runs["test_acc_best"], _names(runs), strict=True):
        if digest not in packed:
            raise StoreError(f"{path}: expected the test images of {name} ({digest[:12]}), found none; {_REMEDY}")
        right = _unpack(packed[digest], count, f"{path}: {name} ({digest[:12]})", digest)
        if not abs(right.mean() - accuracy) <= 1e-9:  # noqa: PLR2004 - rounding of a fraction of whole images; NaN fails
            raise StoreError(
                f"{path}: {name} got {right.mean():.6f} of {count} test images right, but the runs table says "
                f"test_acc_best {accuracy:.6f}; {_REMEDY}"
            )
        rows.append(right)
    return np.stack(rows)


def _load(path: Path) -> tuple[dict[str, bytes], int]:
    """The packed bits of each run by their digest, and the number of images."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            count, digests, bits = int(archive[COUNT]), archive[DIGESTS], archive[BITS]
        packed = {bytes(digest).hex(): bytes(row) for digest, row in zip(digests, bits, strict=True)}
    except (
        OSError,
        EOFError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        problem = f"is no archive of packed bits with their number of test images ({error})"
        raise StoreError(f"{path} {problem}; {_REMEDY}") from None
    return packed, count


def _unpack(packed: bytes, count: int, where: str, digest: str) -> NDArray[np.bool_]:
    if sha256_of_bytes(packed) != digest:
        raise StoreError(f"{where} was changed after it was written (its SHA-256 is another); {_REMEDY}")
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))
    if not count <= len(bits) < count + 8 or bits[count:].any():
        raise StoreError(f"{where}: expected bits of {count} test images, found {len(bits)}; {_REMEDY}")
    return bits[:count].astype(np.bool_)


def _names(runs: pd.DataFrame) -> list[str]:
    """How to name each row's run to a person."""
    columns = zip(runs["run_id"], runs["student"], runs["method"], runs["seed"], strict=True)
    return [str(run_id or f"{student}:{method}, seed {seed}") for run_id, student, method, seed in columns]
