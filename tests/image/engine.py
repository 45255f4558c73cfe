"""A Docker engine to test the image with: the one that runs here, or one that is started for it.

`python -m tests.image.engine` says whether there can be one, and `... stop` ends the one that was started.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCAL = ROOT.parent / "shared" / "tools" / "local-docker"
STAND_IN = "kdcap-base:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# The rules that a careful site sets for a container; kdcap must work under all of them.
LOCKED_DOWN = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
SOURCES = (
    "harness",
    "analysis",
    "report",
    "reference",
    "profiles",
    "requirements",
    "Dockerfile",
    ".dockerignore",
    ".dvc",
    ".dvcignore",
    "params.yaml",
    "dvc.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


class NoEngine(Exception):
    """There is no engine, and none can be started; says why."""


def say(line: str) -> None:
    """A measured figure or a piece of transcript, shown by `make image-test`."""
    print(f"\n{line}", flush=True)  # noqa: T201 - what `make image-test` is run for


@dataclass(frozen=True)
class Engine:
    """A running Docker engine.

    Attributes:
        environment: Variables that its client needs.
        local: Whether it is the one started here, which reaches no image registry and has no network bridge.
    """

    environment: dict[str, str]
    local: bool

    def docker(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the client; standard output and error are joined, as a terminal shows them."""
        return subprocess.run(
            ["docker", *map(str, arguments)],
            env={**os.environ, **self.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=check,
        )

    def build(self, torch: str, context: Path, **arguments: str) -> str:
        """Build the image with one build of torch; returns its tag.

        Args:
            torch: `cpu` or `cuda`.
            context: Folder to gather the sources in.
            arguments: Build arguments.
        """
        gather(context, wheels=torch == "cpu")
        options = ["--build-arg", f"TORCH={torch}", "--tag", f"kdcap:{torch}-test"]
        if self.local:
            base = Path(__file__).parent
            self.docker(
                "build",
                "--network",
                "host",
                "--build-arg",
                "DEBIAN=debian-local:bookworm",
                "--tag",
                STAND_IN,
                "--file",
                base / "base.Dockerfile",
                base,
            )
            options += ["--network", "host", "--build-arg", f"BASE={STAND_IN}"]
        if CERTIFICATES.exists() and "PIP_CERT" in os.environ:
            options += ["--secret", f"id=build_ca,src={CERTIFICATES}"]
            options += [
                "--build-arg",
                "PIP_CERT=/run/secrets/build_ca",
                "--build-arg",
                "SSL_CERT_FILE=/run/secrets/build_ca",
            ]
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            if name in os.environ:
                options += ["--build-arg", name]
        for name, value in arguments.items():
            options += ["--build-arg", f"{name}={value}"]
        built = self.docker("build", *options, context, check=False)
        assert built.returncode == 0, built.stdout[-4000:]
        return f"kdcap:{torch}-test"


def gather(context: Path, *, wheels: bool) -> None:
    """Copy what git knows of the image's sources, as they are now; add torch's CPU wheel, which PyPI has not."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *SOURCES],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, context / name)
    if wheels:
        pin = next(
            line
            for line in (ROOT / "requirements/torch-cpu.lock").read_text().splitlines()
            if line.startswith("torch==")
        )
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                context / "requirements/wheels",
                pin.split()[0],
            ],
            check=True,
        )


def find() -> Engine:
    """The engine that runs here, or one started by the local tool.

    Raises:
        NoEngine: Neither is to be had.
    """
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return Engine({}, local="local-docker" in os.environ.get("DOCKER_HOST", ""))
    if not LOCAL.exists():
        raise NoEngine("no Docker engine runs here")
    started = subprocess.run([LOCAL, "start"], text=True, capture_output=True, check=False)
    if started.returncode != 0:
        raise NoEngine(f"no Docker engine runs here, and none could be started: {started.stderr.strip()[-300:]}")
    environment = {}
    for word in shlex.split(started.stdout):
        name, equals, value = word.partition("=")
        if equals:
            environment[name] = value.replace("$PATH", os.environ["PATH"])
    return Engine(environment, local=True)


@dataclass
class Volume:
    """A volume of an engine, and containers on it.

    Attributes:
        engine: The engine.
        image: Tag of the image to run.
        options: Options of every `docker run`.
        name: Name of the volume.
    """

    engine: Engine
    image: str
    options: Sequence[str] = LOCKED_DOWN
    name: str = field(default_factory=lambda: f"kdcap-test-{uuid.uuid4().hex[:12]}")

    def run(self, *command: str, options: Sequence[str] = (), profile: str = "quick") -> tuple[int, str]:
        """A container, to its end: exit code and output."""
        done = self.engine.docker("run", "--rm", *self._arguments(options, profile), *command, check=False)
        return done.returncode, done.stdout

    def start(self, *command: str, options: Sequence[str] = (), profile: str = "quick") -> str:
        """A container in the background: its id."""
        return self.engine.docker("run", "--detach", *self._arguments(options, profile), *command).stdout.strip()

    def _arguments(self, options: Sequence[str], profile: str) -> list[str]:
        mount = ["--volume", f"{self.name}:/kdcap"]
        return [*self.options, *mount, "--env", f"KDCAP_PROFILE={profile}", *options, self.image]

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that must repeat to the bit, as `tests.pipeline.conftest.Pipeline.digests` has them."""
        files = r"find runs -path '*/.*' -prune -o \( -name weights.safetensors -o -name '*.bin' \) -print"
        code, output = self.run("sh", "-c", f"{files} | xargs sha256sum")
        assert code == 0, output
        return {name: digest for digest, name in (line.split("  ", 1) for line in output.splitlines())}

    def text(self, path: str) -> str:
        """A file's content."""
        code, output = self.run("cat", path)
        assert code == 0, output
        return output


@contextlib.contextmanager
def volume(engine: Engine, image: str, *options: str) -> Iterator[Volume]:
    """A volume of its own, made with options of `docker volume create`; it and all its containers go at the end."""
    made = Volume(engine, image)
    engine.docker("volume", "create", *options, made.name)
    try:
        yield made
    finally:
        left = engine.docker("ps", "--all", "--quiet", "--filter", f"volume={made.name}").stdout.split()
        if left:
            engine.docker("rm", "--force", *left)
        engine.docker("volume", "rm", made.name)


if __name__ == "__main__":
    if sys.argv[1:] == ["stop"]:
        if LOCAL.exists():
            subprocess.run([LOCAL, "stop"], check=True)
    else:
        try:
            find()
        except NoEngine as none:
            raise SystemExit(str(none)) from None
