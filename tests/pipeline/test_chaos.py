"""`make chaos`: the quick study, killed at random moments until it is done, against one that nobody touched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import make_pipeline

KILLS = 6
SECONDS_BETWEEN_KILLS = (5, 45)


@pytest.mark.chaos
def test_killed_at_random_moments_the_quick_study_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Six SIGKILLs to every process, at seeded random moments: all weights and correctness files are equal."""
    uncut, cut = make_pipeline(tmp_path / "uncut", "quick"), make_pipeline(tmp_path / "cut here", "quick")
    moments = random.Random(2605)
    kills = 0
    while kills < KILLS:
        process = cut.popen("dvc", "repro")
        try:
            output, _ = process.communicate(timeout=moments.uniform(*SECONDS_BETWEEN_KILLS))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            assert process.returncode == 0, output
            break
    for pipeline in (cut, uncut):
        code, output = pipeline.run("dvc", "repro")
        assert code == 0, output
    assert kills > 0
    assert cut.digests() == uncut.digests()
    assert len(uncut.digests()) == 3 * uncut.trained()
