"""The code hash: which training code made a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import harness
from harness.files import canonical_json, sha256_of_bytes, sha256_of_file


@cache
def training_code_sha256() -> str:
    """SHA-256 over the names and contents of harness/training/*.py.

    Only these modules decide a run's bits, so that a new report or statistic retrains nothing.
    """
    folder = Path(harness.__file__).parent / "training"
    files = [[file.name, sha256_of_file(file)] for file in sorted(folder.glob("*.py"))]
    return sha256_of_bytes(canonical_json(files).encode())
