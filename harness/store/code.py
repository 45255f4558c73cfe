"""The code hash: which code made a run."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import harness
from harness.errors import EnvironmentProblem
from harness.files import canonical_json, sha256_of_bytes, sha256_of_file
from harness.study.methods import find
from harness.study.spec import BASELINE


@cache
def training_code_sha256(method: str = BASELINE) -> str:
    """SHA-256 over the names and contents of harness/training/**/*.py, and of the method's own package.

    Only these modules decide a run's bits, so that a new report or statistic retrains nothing.

    Args:
        method: The run's; one of another package adds its entry point and every module of that package: which of
            them its loss rests on is not to be seen from outside.

    Raises:
        StudyError: The method is not installed.
        EnvironmentProblem: It is, but not its module.
    """
    code = {"harness.training": [python_digests(Path(harness.__file__).parent / "training")]}
    if method != BASELINE:
        point = find(method)
        package = point.module.partition(".")[0]
        if package != "harness":
            code[point.value] = [python_digests(place) for place in _places(package, point.value)]
    return sha256_of_bytes(canonical_json(code).encode())


def _places(package: str, entry_point: str) -> list[Path]:
    """Folder of an installed package (several of a namespace), or file of a module; nothing is imported for it."""
    spec = find_spec(package)  # of a submodule, this would import the package
    if spec is None:
        raise EnvironmentProblem(
            f"entry point {entry_point}: expected {package} to be installed, found no such module; install it again."
        )
    return [Path(place) for place in spec.submodule_search_locations or [str(spec.origin)]]


def python_digests(place: Path) -> list[tuple[str, str]]:
    """Names, relative to a folder, and digests of the Python files below it; or of one file."""
    files = place.rglob("*.py") if place.is_dir() else [place]
    return sorted((file.relative_to(place).as_posix(), sha256_of_file(file)) for file in files)
