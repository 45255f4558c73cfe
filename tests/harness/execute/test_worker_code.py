"""Which code a run is trained by: the one whose digest its record holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.study.spec import RunSpec

# A command installed elsewhere, as the script `harness` is.
COMMAND = """
import sys
from pathlib import Path
from harness.study.spec import RunSpec
from small_jobs import Place, carry_out
if __name__ == "__main__":  # workers read this file too
    print(carry_out([Place(Path(sys.argv[1])).job(RunSpec.model_validate_json(sys.argv[2]))], 1))
"""


def test_workers_use_their_parents_code(tmp_path: Path, make_spec: Callable[..., RunSpec]) -> None:
    """Not what lies in the working folder: a clone of another version, for instance, or a volume of an older image."""
    command = tmp_path / "bin" / "command.py"
    command.parent.mkdir()
    command.write_text(COMMAND)
    clone = tmp_path / "another clone" / "harness"
    clone.mkdir(parents=True)
    (clone / "__init__.py").write_text("from pathlib import Path; Path('imported').touch()\n")
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, command, tmp_path / "place", make_spec(epochs=1).model_dump_json()],
        cwd=clone.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parents[3]), str(here.parent)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "{'resnet18-none-s0': None}\n", done.stdout + done.stderr
    assert not (clone.parent / "imported").exists()
