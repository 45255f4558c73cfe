"""A whole quick study in the container: killed, stopped, shared by two, on a full disk; and the CUDA image."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.image import engine as engines
from tests.image.engine import Engine, Volume, say
from tests.pipeline.conftest import make_pipeline

pytestmark = pytest.mark.image


def wait_for(engine: Engine, container: str, shown: str) -> str:
    """Wait until a container's log shows a pattern, or it has ended; returns the log."""
    while True:
        running = engine.docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip() == "true"
        log = engine.docker("logs", container).stdout
        if re.search(shown, log) or not running:
            assert re.search(shown, log), log
            return log
        time.sleep(0.3)


def test_killed_and_stopped_a_study_ends_with_the_bits_of_one_that_was_not(
    engine: Engine, volume: Volume, tmp_path: Path
) -> None:
    """SIGKILL among the candidates, SIGTERM among the final runs, then to the end: all digests are the host's."""
    first = volume.start("dvc", "repro")
    say(wait_for(engine, first, r"\[3/"))
    engine.docker("kill", first)
    second = volume.start("dvc", "repro")
    log = wait_for(engine, second, r"final: [\s\S]*\[4/")
    assert "of 65 trainings left" in log
    engine.docker("stop", second)
    say(engine.docker("logs", second).stdout)
    # 137 would be docker's SIGKILL, after the time of grace
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", second).stdout.strip() == "143"
    assert "what was whole is kept" in engine.docker("logs", second).stdout
    code, output = volume.run("dvc", "repro")
    say(output)
    assert code == 0, output
    code, output = volume.run("dvc", "repro")
    assert "all 65 trainings are done" in output
    assert "Data and pipelines are up to date" in output
    code, output = volume.run("harness", "verify")
    say(output)
    assert code == 0, output
    assert "<html" in volume.text("results/quick/report.html")

    host = make_pipeline(tmp_path, "quick")
    code, output = host.run("dvc", "repro")
    assert code == 0, output
    inside, outside = volume.digests(), host.digests()
    assert len(outside) == 3 * 65
    assert inside == outside
    say(f"{len(inside)} files of 65 runs, container (killed, stopped, resumed) and host (uncut): all digests equal")


def test_two_containers_on_one_volume_do_not_meet(engine: Engine, volume: Volume) -> None:
    """The second says who holds it, whichever command it is; one that only reads works beside the first."""
    holder = volume.start("dvc", "repro")
    wait_for(engine, holder, "teachers: 3 to train")
    for command, named in ((("dvc", "repro"), "dvc repro"), (("harness", "train"), "harness train")):
        code, output = volume.run(*command)
        say(output)
        assert code == 2
        assert holder[:12] in output
        assert named in output
    code, output = volume.run("harness", "plan")
    assert code == 0
    assert re.search(r"left: \d+ trainings", output)
    engine.docker("stop", holder)


def test_a_full_disk_is_told_and_loses_nothing(engine: Engine, image: str) -> None:
    """One sentence; after room is made the same command goes on with every run that was whole."""
    limited = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=96m,mode=1777")
    with engines.volume(engine, image, *limited) as small:
        small.start("sleep", "infinity")  # such a volume is there as long as a container has it
        code, output = small.run("harness", "train", "--phase", "teachers", "--cell", "resnet34-none")
        assert code == 0, output
        whole = small.digests()
        fill = "cat /dev/zero > ballast 2>/dev/null; truncate -s -6M ballast; df -m . | tail -1"  # 6 MiB are left
        say(small.run("sh", "-c", fill)[1])
        code, output = small.run("harness", "train", "--phase", "teachers")
        say(output)
        assert code == 2
        assert len([line for line in output.splitlines() if "the disk full" in line]) == 1
        assert "Traceback" not in output
        assert small.digests() == whole
        small.run("rm", "/kdcap/ballast")
        code, output = small.run("harness", "train", "--phase", "teachers")
        assert code == 0, output
        assert "teachers: 2 to train, 1 done before" in output
        assert whole.items() <= small.digests().items()


def test_the_cuda_image_is_built_and_imports(
    engine: Engine, revision: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a GPU it can at least be asked which CUDA it has, and warns at a start that there is none."""
    started = time.monotonic()
    tag = engine.build("cuda", tmp_path_factory.mktemp("context"), REVISION=revision)
    size = int(engine.docker("image", "inspect", "--format", "{{.Size}}", tag).stdout)
    say(f"cuda image: {size / 1e9:.2f} GB, built in {time.monotonic() - started:.0f} s")
    names = "torch.__version__, torch.version.cuda, torchvision.__version__"
    ask = f"import torch, torchvision, harness.execute.worker; print({names})"
    output = engine.docker("run", "--rm", "--network", "none", tag, "python3", "-c", ask).stdout
    say(output)
    assert re.fullmatch(r"2\.13\.0(\+cu13\d)? 13\.\d+ 0\.28\.0(\+cu13\d)?\n", output)
    with engines.volume(engine, tag) as made:
        code, output = made.run("harness", "train", profile="paper")
        assert code == 2  # no images, no network
        assert "warning: torch finds no GPU here" in output
