"""The Ray executor on a real cluster: two nodes on this machine that share no folder, and a node that is lost."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import psutil
import pytest
import yaml

from harness.store.record import RunRecord
from harness.store.store import read
from tests.cluster.ray_nodes import HEAD, OTHER, TOKEN, Node, running_cluster, short_folder, wait_until
from tests.pipeline.conftest import ROOT, Pipeline

pytest.importorskip(
    "ray", reason="Ray is not installed: requirements/cluster.lock has it, `make cluster-test` installs"
)
pytestmark = pytest.mark.cluster

# The quick study reduced to its first pair, two seeds and no search; networks and images are its own.
STUDY = yaml.safe_load((ROOT / "profiles" / "quick.yaml").read_text(encoding="utf-8")) | {
    "teachers": {"architectures": ["resnet34"], "seeds": [0], "distilled_seeds": [0]},
    "baselines": ["resnet18"],
    "pairs": [{"teacher": "resnet34", "student": "resnet18"}],
    "epochs": {"teacher": 6, "student": 10},
    "selection": {"seed": 0, "grid": {"logit": {"alpha": [0.5], "temperature": [2.0]}, "feature": {"alpha": [0.3]}}},
    "seeds": [0, 1],
    "stem_ablation": [],
    "bug_ablation": [],
    "reference": None,
}
FINALS = 3 * 2 - 2  # a baseline and two methods at two seeds; two of them were trained for the selection


def make_workspace(folder: Path) -> Pipeline:
    """A workspace with the study."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "small.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    (folder / "params.yaml").write_text("profile: small\n", encoding="utf-8")
    return Pipeline(folder, "small")


@contextmanager
def train(pipeline: Pipeline, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Popen[str]]:
    """A `harness train` at work, as the leader of its own process group; of Ray's variables it has only those given."""
    with short_folder() as folder:
        process = Popen(
            [sys.executable, "-c", "from harness.cli import main; main()", "train", "--checkpoint-every=0", *options],
            cwd=pipeline.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
            | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **(environment or {})},
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=10)


def records(pipeline: Pipeline) -> dict[str, RunRecord]:
    """PHASE/NAME and record of every run, each checked to the digest."""
    return {f"{path.parent.name}/{path.name}": read(path) for path in pipeline.folder.glob("runs/small/[!.]*/*-s*")}


def nodes_of(pipeline: Pipeline) -> dict[str, str]:
    """Which node ended each final run."""
    path = pipeline.folder / "runs" / "small" / "executions.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["run"]: row["node"] for row in csv.DictReader(file) if row["phase"] == "final"}


def test_cut_and_with_a_node_lost_the_final_runs_end_with_the_bits_of_the_local_executor(tmp_path: Path) -> None:
    """Ctrl-C with a run on each node, then a training killed on one node and the other node killed: all runs are done.

    Nothing of ours goes on training after Ctrl-C, runs go on from checkpoints that lie on their node, weights,
    correctness and histories equal the local executor's, and both nodes are on record.
    """
    alone = make_workspace(tmp_path / "alone")
    with train(alone, "--phase", "teachers", "--phase", "select") as first:
        output, _ = first.communicate(timeout=900)
        assert first.returncode == 0, output
    spread = Pipeline(tmp_path / "spread", "small")
    shutil.copytree(alone.folder, spread.folder)
    with train(alone, "--phase", "final") as local:
        output, _ = local.communicate(timeout=900)
        assert local.returncode == 0, output

    with running_cluster() as (address, nodes):
        final = ("--phase", "final", "--executor", "ray", "--address", address)
        with train(spread, *final, environment=TOKEN) as process:
            both = wait_until(lambda: all(node.checkpoints() for node in nodes.values()) or process.poll(), 600)
            assert both, "no run began on each node in ten minutes"
            assert process.poll() is None, process.communicate()
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 130, output
            assert "Traceback" not in output
        assert wait_until(lambda: not any(node.tasks() for node in nodes.values()), 30), "runs went on after Ctrl-C"
        cut = {name for node in nodes.values() for name in node.checkpoints()}
        assert cut
        print(f"\nCtrl-C: {', '.join(sorted(cut))} cut; no training left on either node")  # noqa: T201 - for people

        with train(spread, *final, environment=TOKEN) as process:
            kill_a_training(nodes[HEAD], process)
            kill_a_node(nodes[OTHER], spread, process)
            output, _ = process.communicate(timeout=900)
            print(output)  # noqa: T201 - for people
            assert process.returncode == 0, output
        assert "the run is sent again, attempt 2 of 4" in output

    assert spread.digests() == alone.digests()
    ours, theirs = records(spread), records(alone)
    assert set(ours) == set(theirs)
    for name, record in ours.items():
        assert record.history == theirs[name].history
        assert record.last_weights_sha256 == theirs[name].last_weights_sha256
    assert any(record.resumed_at for record in ours.values()), "no run went on from a checkpoint"
    ran = nodes_of(spread)
    assert len(ran) == FINALS
    assert {address for address in (HEAD, OTHER) for node in ran.values() if f"({address})" in node} == {HEAD, OTHER}
    for run, node in ran.items():
        name, record = f"final/{run}", ours[f"final/{run}"]
        cuts = f", resumed after epoch {', '.join(map(str, record.resumed_at))}" if record.resumed_at else ""
        digest = record.files["weights.safetensors"][:16]
        print(f"{name:52} {digest} {'=' if record.files == theirs[name].files else '!'} local  {node}{cuts}")  # noqa: T201


def kill_a_training(node: Node, driver: Popen[str]) -> None:
    """SIGKILL to a run's process alone, once it has kept a state."""
    before = node.checkpoints()
    at_work = wait_until(lambda: (node.tasks() and changed(before, node.checkpoints())) or driver.poll(), 600)
    assert at_work, "no run began in ten minutes"
    assert driver.poll() is None, driver.communicate()
    (task,) = node.tasks()
    task.kill()


def kill_a_node(node: Node, pipeline: Pipeline, driver: Popen[str]) -> None:
    """SIGKILL to all of a node, when it has ended a run and is in the middle of another."""

    def in_the_middle() -> bool:
        ended = {run for run, where in nodes_of(pipeline).items() if f"({node.address})" in where}
        return bool(ended) and bool(node.tasks()) and any(name[:-13] not in ended for name in node.checkpoints())

    assert wait_until(lambda: in_the_middle() or driver.poll() is not None, 600), "no second run began in ten minutes"
    assert driver.poll() is None, driver.communicate()
    node.kill()


def changed(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether some run has kept a state since."""
    return any(before.get(name) != checkpoint for name, checkpoint in after.items())


def test_without_an_address_a_cluster_of_this_machine_comes_and_goes(tmp_path: Path) -> None:
    """It trains a run with the local executor's bits; no process of it is left, and nothing in the user's home."""
    ends = {}
    home = {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    for executor in ("ray", "local"):
        pipeline = make_workspace(tmp_path / executor)
        with train(
            pipeline, "--cell", "resnet18-none", "--seed", "1", "--executor", executor, environment=home
        ) as process:
            children: set[psutil.Process] = set()

            def ended(process: Popen[str] = process, children: set[psutil.Process] = children) -> bool:
                children.update(psutil.Process(process.pid).children(recursive=True))
                return process.poll() is not None

            assert wait_until(ended, 600)
            output, _ = process.communicate(timeout=10)
            assert process.returncode == 0, output
            assert wait_until(lambda: not any(child.is_running() for child in children), 10)  # noqa: B023 - at once
        ends[executor] = pipeline.digests()
    assert not (tmp_path / "home" / ".ray").exists()
    assert len(ends["local"]) == 3
    assert ends["ray"] == ends["local"]


def test_an_address_without_a_cluster_is_bad_input(tmp_path: Path) -> None:
    """One sentence and exit code 2."""
    pipeline = make_workspace(tmp_path)
    options = ("--cell", "resnet18-none", "--seed", "1", "--executor", "ray", "--address", "127.0.0.2:9")
    with train(pipeline, *options) as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 2, output
    assert "--address 127.0.0.2:9: expected a cluster of Ray" in output
    assert "Traceback" not in output
