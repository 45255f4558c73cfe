"""An engine, and the CPU image built by it, for all tests of the image."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.image import engine as engines
from tests.image.engine import ROOT, Engine, Volume, say
from tests.pipeline.conftest import Pipeline, make_pipeline


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine."""
    try:
        return engines.find()
    except engines.NoEngine as none:
        pytest.fail(f"{none}; the tests of the image need one")


@pytest.fixture(scope="session")
def revision() -> str:
    """What the image is built from."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="session")
def image(engine: Engine, revision: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tag of the CPU image, built from the sources as they are now."""
    started = time.monotonic()
    tag = engine.build("cpu", tmp_path_factory.mktemp("context"), REVISION=revision)
    size = int(engine.docker("image", "inspect", "--format", "{{.Size}}", tag).stdout)
    say(f"cpu image: {size / 1e9:.2f} GB, built in {time.monotonic() - started:.0f} s")
    return tag


@pytest.fixture
def volume(engine: Engine, image: str) -> Iterator[Volume]:
    """An empty volume."""
    with engines.volume(engine, image) as made:
        yield made


@pytest.fixture(scope="module")
def trained(engine: Engine, image: str) -> Iterator[Volume]:
    """A volume with the quick study's first runs, trained offline on a read-only root without capabilities."""
    with engines.volume(engine, image) as made:
        code, output = made.run("harness", "train", "--phase", "teachers")
        assert code == 0, output
        code, output = made.run("harness", "train", "--phase", "final", "--cell", "resnet18-none")
        assert code == 0, output
        say(output)
        yield made


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The same runs, trained on this machine without a container."""
    pipeline = make_pipeline(tmp_path_factory.mktemp("host"), "quick")
    for arguments in (["--phase", "teachers"], ["--phase", "final", "--cell", "resnet18-none"]):
        code, output = pipeline.run("harness", "train", *arguments)
        assert code == 0, output
    return pipeline
