"""Executors refuse options that they do not have, before anything is started."""

from __future__ import annotations

import pytest

from harness.errors import StudyError
from harness.execute.executors import make_executor


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_an_address_is_for_a_ray_cluster_alone(name: str) -> None:
    """Rather than ignored: whoever gives one means a cluster. It may have come from the environment."""
    with pytest.raises(StudyError, match=f"found with --executor {name}.*or unset KDCAP_RAY_ADDRESS"):
        make_executor(name, [], address="there:6379")
