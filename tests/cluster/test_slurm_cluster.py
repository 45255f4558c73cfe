"""The Slurm executor on a real Slurm: two nodes on this machine, a node that is lost, and a job that is preempted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.slurm_site import Site, missing, running_site, wait_for
from tests.pipeline.conftest import ROOT, TINY, Pipeline

pytestmark = pytest.mark.cluster

# The quick study reduced: one pair, and epochs enough to be cut between two.
STUDY = yaml.safe_load(TINY) | {
    "epochs": {"teacher": 6, "student": 6},
    "baselines": ["resnet18"],
    "pairs": [{"teacher": "resnet34", "student": "resnet18"}],
    "seeds": [0, 1],
    "stem_ablation": [],
    "bug_ablation": [],
}
STUDY["dataset"] |= {"train_images": 300}
SOME = STUDY["epochs"]["student"] // 2  # of a run's epochs: there are as many left for what is done to it meanwhile
TRAININGS = 1 + 3 + (6 - 2)  # a teacher; candidates; a baseline and two methods at two seeds, two of them candidates


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site for all tests of this file."""
    if reason := missing():
        pytest.skip(reason)
    with running_site() as site:
        yield site


def make_workspace(folder: Path) -> Pipeline:
    """A workspace with the study."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "small.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    (folder / "params.yaml").write_text("profile: small\nslurm: {partition: main, minutes: 30}\n", encoding="utf-8")
    return Pipeline(folder, "small")


class Driver:
    """A `harness train` at work; on a site, where one is given.

    Args:
        pipeline: The workspace.
        site: The site; None for this machine alone.
    """

    def __init__(self, pipeline: Pipeline, site: Site | None) -> None:
        environment = {**os.environ, "KDCAP_CHECKPOINT_EVERY": "0", "PYTHONPATH": str(ROOT)}
        if site is not None:
            environment |= site.environment | {"KDCAP_EXECUTOR": "slurm"}
        self._pipeline, self._site = pipeline, site
        self._output = pipeline.folder / "output.txt"
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("harness"), "train"],
                cwd=pipeline.folder,
                env=environment,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text(encoding="utf-8")

    def __enter__(self) -> Driver:
        """It is at work."""
        return self

    def __exit__(self, *_: object) -> None:
        """Never leave it behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def finish(self) -> str:
        """Let it come to its end, a good one: what it has printed."""
        assert self.process.wait(timeout=600) == 0, self.output
        return self.output

    def between_epochs(self, node: str) -> str:
        """Wait until a job on a node has told of an epoch and is not near its end: the job's ID."""
        assert self._site is not None
        found: list[str] = []

        def one_is() -> bool:
            assert self.process.poll() is None, self.output
            journals = [path.read_text() for path in self._pipeline.folder.glob("runs/*/.slurm/*/*.jsonl")]
            last = [text.rpartition('"node":')[2] for text in journals]  # since its last start
            if not any(
                f'"{node}"' in text and 0 < text.count('"epoch"') < SOME and '"error"' not in text for text in last
            ):
                return False
            found[:] = self._site.ask(
                "squeue", "--states=running", "--array", "--noheader", f"--nodelist={node}", "--format=%i"
            ).split()
            return bool(found)

        wait_for(one_is, f"an epoch on {node}", seconds=240)
        return found[0]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The study, trained by the local executor."""
    pipeline = make_workspace(tmp_path_factory.mktemp("local"))
    with Driver(pipeline, None) as driver:
        driver.finish()
    assert pipeline.trained() == TRAININGS
    return pipeline


def test_a_lost_node_and_a_preempted_job_change_no_bit(site: Site, local: Pipeline, tmp_path: Path) -> None:
    """Every run is done, those that were cut went on from their checkpoints, and the digests are the local ones."""
    pipeline = make_workspace(tmp_path / "on slurm")
    with Driver(pipeline, site) as driver:
        lost = driver.between_epochs("node2")
        site.kill_node("node2")
        print(f"node2 killed under job {lost}")  # noqa: T201 - the transcript
        preempted = driver.between_epochs("node1")
        site.ask("sbatch", "--partition=urgent", "--nodelist=node1", "--output=/dev/null", "--wrap=sleep 1")
        print(f"job {preempted} preempted on node1")  # noqa: T201 - the transcript
        output = driver.finish()
    print(output)  # noqa: T201 - the transcript
    assert "was cut on node2 and goes on on node1" in output
    assert "was cut on node1 and goes on on node1" in output
    assert pipeline.trained() == TRAININGS
    digests = pipeline.digests()
    for name, digest in sorted(digests.items()):
        print(digest[:16], name)  # noqa: T201 - the transcript
    assert digests == local.digests()
    resumed = [json.loads(path.read_text())["resumed_at"] for path in pipeline.folder.glob("runs/*/*/*/record.json")]
    assert sum(map(bool, resumed)) >= 2
    wait_for(lambda: not site.at_work(), "the last job to leave")
    site.start_node("node2")


def test_no_job_outlives_its_driver_for_long(site: Site, tmp_path: Path) -> None:
    """One that is interrupted ends its jobs; what one that was killed has left is ended by the next, which goes on."""
    pipeline = make_workspace(tmp_path)
    with Driver(pipeline, site) as driver:
        orphan = driver.between_epochs("node1")
        driver.process.kill()
    assert site.states()[orphan] == "RUNNING"
    with Driver(pipeline, site) as driver:
        wait_for(lambda: site.states()[orphan] == "CANCELLED", "the orphan's end")
        driver.between_epochs("node1")
        driver.process.send_signal(signal.SIGINT)
        assert driver.process.wait(timeout=60) != 0
    wait_for(lambda: not site.at_work(), "the jobs' end")
    assert list(pipeline.folder.glob("runs/*/.partial/*/*/checkpoints/*"))


def test_a_job_array_without_a_driver_makes_the_same_bits(site: Site, local: Pipeline, tmp_path: Path) -> None:
    """The recipe for sites without Python where jobs are submitted, with a task that runs out of its time."""
    pipeline = make_workspace(tmp_path)
    environment = f"KDCAP={Path(sys.executable).with_name('harness')},PYTHONPATH={ROOT},KDCAP_CHECKPOINT_EVERY=0"
    recipe = ROOT / "examples" / "slurm" / "part.sbatch"
    options = [
        "--parsable",
        "--array=0-1",
        f"--chdir={tmp_path}",
        f"--output={tmp_path}/%a.log",
        f"--export={environment}",
    ]
    array = site.ask("sbatch", *options, str(recipe), "teachers").strip()
    wait_for(
        lambda: bool(list(tmp_path.glob("runs/*/.partial/teachers/*/checkpoints/*.safetensors"))), "a checkpoint", 120
    )
    site.ask("scancel", "--batch", "--signal=USR1", f"{array}_0")  # as Slurm does by `--signal=B:USR1@120`
    wait_for(lambda: not site.at_work(), "both tasks", seconds=240)
    log = (tmp_path / "0.log").read_text()
    print(log)  # noqa: T201 - the transcript
    assert "DUE TO JOB REQUEUE" in log
    digests = pipeline.digests()
    assert digests
    assert digests == {name: digest for name, digest in local.digests().items() if "/teachers/" in name}
