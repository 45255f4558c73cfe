"""`make chaos`: the quick study, killed a hundred times, against one that nobody touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pipeline.conftest import killed_again_and_again, make_pipeline

KILLS = int(os.environ.get("KDCAP_KILLS", "100"))


@pytest.mark.chaos
def test_killed_at_random_moments_the_quick_study_ends_with_the_same_bits(tmp_path: Path) -> None:
    """A hundred SIGKILLs to every process, at seeded random moments: all weights and correctness files are equal."""
    uncut = make_pipeline(tmp_path / "uncut", "quick")
    code, output = uncut.run("dvc", "repro")
    assert code == 0, output
    rounds = killed_again_and_again(tmp_path, "quick", kills=KILLS, spread_s=6.0, seed=2605)
    assert sum(each.kills for each in rounds) == KILLS
    expected = uncut.digests()
    assert len(expected) == 3 * uncut.trained()
    for each in rounds:
        assert each.pipeline.digests() == expected
    line = f"{KILLS} kills in {len(rounds)} studies: {len(expected)} files each, all digests equal"
    print(line)  # noqa: T201 - what `make chaos` is run for
