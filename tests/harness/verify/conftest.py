"""The published runs as text, for tests that change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.verify.reference import find_reference


@pytest.fixture
def published() -> pd.DataFrame:
    """Final rows of the published runs; accuracies as numbers, all else as written."""
    frame = pd.read_csv(find_reference("yasar2026-v2") / "runs.csv", dtype=str, keep_default_na=False)
    frame["test_acc_best"] = frame["test_acc_best"].astype(float)
    return frame[frame["stage"] == "final"].reset_index(drop=True)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Writes a frame as a runs table."""

    def save(frame: pd.DataFrame) -> Path:
        path = tmp_path / "mine.csv"
        frame.to_csv(path, index=False)
        return path

    return save
