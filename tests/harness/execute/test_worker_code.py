"""Which code a run is trained by: the one whose digest its record holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_jobs import outcome

from harness.study.spec import RunSpec

HERE = Path(__file__).parent
# A command that finds its own harness first, as a clone's `python -m` does.
COMMAND = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(HERE.parents[2]), str(HERE)]}
from harness.study.spec import RunSpec
from small_jobs import Place, carry_out
if __name__ == "__main__":  # workers read this file too
    print(carry_out([Place(Path(sys.argv[1])).job(RunSpec.model_validate_json(sys.argv[2]))], 1))
"""


@pytest.mark.parametrize(
    "other",
    [
        "in the working folder",
        pytest.param(
            "installed",
        ),
    ],
)
def test_workers_use_their_parents_code(other: str, tmp_path: Path, make_spec: Callable[..., RunSpec]) -> None:
    """Not another version's: a clone or a volume that one works in, or an installation beside the clone that runs."""
    command = tmp_path / "bin" / "command.py"
    command.parent.mkdir()
    command.write_text(COMMAND)
    decoy, seen = tmp_path / "another version" / "harness", tmp_path / "imported"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text(f"from pathlib import Path; Path({str(seen)!r}).touch()\n")
    done = subprocess.run(
        [sys.executable, command, tmp_path / "place", make_spec(epochs=1).model_dump_json()],
        cwd=tmp_path if other == "installed" else decoy.parent,
        env={**os.environ, "PYTHONPATH": str(decoy.parent) if other == "installed" else ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "{'resnet18-none-s0': None}\n", done.stdout + done.stderr
    assert not seen.exists()


def test_two_checkouts_in_different_folders_train_the_same_bits(
    tmp_path: Path, make_spec: Callable[..., RunSpec]
) -> None:
    """Copies of the code, one below a path with spaces, each trained by its own command from another folder."""
    found = []
    for name in ("here", "somewhere else/deep below"):
        checkout = tmp_path / name / "checkout"
        shutil.copytree(HERE.parents[2] / "harness", checkout / "harness", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "small_jobs.py", checkout)
        (checkout / "command.py").write_text(COMMAND.replace(str(HERE.parents[2]), str(checkout)))
        spec = make_spec(epochs=2, dataset={"horizontal_flip": True})
        done = subprocess.run(
            [sys.executable, "command.py", "place", spec.model_dump_json()],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout == "{'resnet18-none-s0': None}\n", done.stdout + done.stderr
        found.append(outcome(checkout / "place" / "students" / spec.name))
    assert found[0] == found[1]
