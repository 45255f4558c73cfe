"""The short form, which .ci/run runs: the CPU image, the quick study's first runs in it, verify, digests."""

from __future__ import annotations

import json

import pytest

from harness import __version__
from tests.image.engine import Engine, Volume, say
from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.image


def test_the_image_is_lean_labelled_and_not_roots(engine: Engine, image: str, revision: str) -> None:
    """User, entry point, labels, deterministic environment, NVIDIA's variables, size; no compiler, no pip cache."""
    found = json.loads(engine.docker("image", "inspect", image).stdout)[0]
    config = found["Config"]
    assert config["User"] == "1000"
    assert config["Entrypoint"][0] == "tini"
    assert not config["Volumes"]  # an anonymous volume would look like one that lasts
    labels = {name.rpartition(".image.")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["revision"] == revision
    assert labels["licenses"] == "GPL-3.0-or-later"
    assert labels["source"]
    assert {
        "CUBLAS_WORKSPACE_CONFIG=:4096:8",
        "PYTHONHASHSEED=0",
        "OMP_NUM_THREADS=1",
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "KDCAP_PROFILE=paper",
    } <= {*config["Env"]}
    assert found["Size"] < 2.2e9  # the stand-in base of the tests is larger than the pinned one
    compilers = "for name in gcc cc g++ make; do command -v $name; done"
    left = f"{compilers}; ls -d /root/.cache /home/*/.cache /var/lib/apt/lists/* /opt/build /src; true"
    output = engine.docker("run", "--rm", "--network", "none", image, "sh", "-c", f"({left}) 2>/dev/null").stdout
    assert output == ""


def test_alone_it_prints_help(engine: Engine, image: str) -> None:
    """Without a volume, a network or a writable root; nothing is made ready for a page of help."""
    for command in ([], ["harness", "train", "--help"], ["dvc", "--version"]):
        done = engine.docker("run", "--rm", "--network", "none", "--read-only", image, *command)
        assert "warning" not in done.stdout
    assert "Usage: harness" in engine.docker("run", "--rm", "--network", "none", image).stdout


def test_the_bill_of_materials_is_of_this_image(engine: Engine, image: str) -> None:
    """CycloneDX, with kdcap's own version, torch's CPU build, and Debian's packages."""
    sbom = json.loads(
        engine.docker("run", "--rm", "--network", "none", image, "cat", "/opt/kdcap/share/sbom.cdx.json").stdout
    )
    assert sbom["bomFormat"] == "CycloneDX"
    versions = {part["name"]: part["version"] for part in sbom["components"]}
    assert versions["torch"].endswith("+cpu")
    assert "dvc" in versions
    assert "tini" in versions
    installed = "import importlib.metadata as m; print(len({d.name for d in m.distributions()}))"
    count = int(engine.docker("run", "--rm", "--network", "none", image, "python3", "-c", installed).stdout)
    assert sum("pkg:pypi/" in part.get("purl", "") for part in sbom["components"]) >= count - 1  # kdcap is its subject


def test_without_a_volume_it_warns_and_works(engine: Engine, image: str) -> None:
    """Results die with the container, and are there until then."""
    done = engine.docker("run", "--rm", "--network", "none", image, "harness", "plan", "--profile", "quick")
    assert "runs and results die with this container; `-v kdcap:/kdcap` keeps them" in done.stdout
    assert "left: 65 trainings" in done.stdout


def test_without_anything_to_write_to_it_says_so(engine: Engine, image: str) -> None:
    """A read-only root needs a volume: one sentence, exit code 2."""
    done = engine.docker("run", "--rm", "--network", "none", "--read-only", image, "harness", "plan", check=False)
    assert done.returncode == 2
    assert done.stdout.startswith("error: /kdcap: expected a folder that user id 1000 can write to")
    assert len(done.stdout.splitlines()) == 1


def test_any_user_id_will_do(volume: Volume) -> None:
    """One that no file of the image knows, in no group, trains and asks DVC."""
    options = ("--user", "54321:54321")
    code, output = volume.run("harness", "train", "--phase", "teachers", "--cell", "resnet34-none", options=options)
    assert code == 0, output
    code, output = volume.run("dvc", "status", options=options)
    assert code == 0, output
    code, output = volume.run("dvc", "status")
    assert code == 2
    assert "give it `--user 54321`" in output


def test_weights_are_those_of_the_host(trained: Volume, on_host: Pipeline) -> None:
    """Same locks, same processor: every weight and every image's correctness to the bit, in a container or not."""
    inside, outside = trained.digests(), on_host.digests()
    assert len(outside) == 3 * 8  # three teachers, five baselines
    assert inside == outside
    say(f"{len(inside)} files of 8 runs, container and host: all digests equal, the first {min(inside.items())}")


def test_verify_judges_what_is_there(trained: Volume) -> None:
    """One of the reference's cells is trained, and its verdict stands in the exit code and in the file."""
    code, output = trained.run("harness", "collect", "--partial")
    assert code == 0, output
    code, output = trained.run("harness", "verify")
    say(output)
    verdict = json.loads(trained.text("results/quick/verdict.json"))
    assert {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[verdict["verdict"]] == code
    assert "resnet18:none" in output
    assert "records        PASS" in output


def test_the_published_runs_are_analysed_offline(volume: Volume) -> None:
    """`harness reanalyze` needs no run, no network and no GPU; its report stays on the volume."""
    code, output = volume.run("harness", "reanalyze")
    assert code == 0, output
    assert "Cannot tell whether larger students gain more from distillation." in output
    assert "<html" in volume.text("results/published/report.html")


def test_images_that_are_nowhere_are_told_with_both_ways_to_get_them(volume: Volume) -> None:
    """Offline and absent: one sentence, what is expected and where, exit code 2."""
    code, output = volume.run("harness", "train", profile="paper")
    assert code == 2
    last = output.splitlines()[-1]
    assert last.startswith("error: cifar10: expected cifar-10-python.tar.gz")
    assert "with a connection to the internet once, or put that file there yourself" in last


def test_a_mounted_archive_is_found_and_its_checksum_counts(
    volume: Volume, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An archive mounted under /data is what the study reads; one that is not CIFAR-10 is refused by its checksum."""
    archive = tmp_path_factory.mktemp("mounted") / "cifar-10-python.tar.gz"
    archive.write_bytes(b"not CIFAR-10")
    archive.chmod(0o444)
    mount = ("--volume", f"{archive}:/data/{archive.name}:ro")
    code, output = volume.run("harness", "train", profile="paper", options=mount)
    assert code == 2
    assert "data/cifar-10-python.tar.gz cut short or changed (MD5" in output
