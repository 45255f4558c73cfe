"""`harness train`, ended from outside: nobody goes on training, nothing is half-written, and the bits come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from small_jobs import Place, carry_out, outcome, workers_alive

from harness.store.store import read
from harness.study.load import load_strict
from harness.study.plan import PHASES, plan
from harness.study.spec import RunSpec
from harness.study.study import Study

STUDY = """
title: Two teachers long enough to be caught at work
evidence: false
dataset: {name: digits, train_images: 64, validation_images: 50, test_images: 100, split_seed: 1, crop_padding: 1,
  horizontal_flip: false}
model: {width: 8, zero_init_residual: true}
optimisation: {batch_size: 32, lr: 0.1, lr_min: 0.0001, momentum: 0.9, nesterov: true, weight_decay: 0.0005,
  clip_norm: 1.0, precision: fp32, teacher_logits: table, threads: 1, device: cpu}
epochs: {teacher: 60, student: 2}
teachers: {architectures: [resnet18], seeds: [0, 1], distilled_seeds: [0]}
baselines: [resnet18]
pairs: [{teacher: resnet18, student: resnet18}]
selection: {seed: 0, grid: {logit: {alpha: [0.5], temperature: [4.0]}}}
seeds: [0]
stem_ablation: []
bug_ablation: []
margins: {gain_pp: 1.0}
reference: null
"""
COMMAND = "from harness.cli import main; main()"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder for `harness train`."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "caught.yaml").write_text(STUDY)
    (tmp_path / "params.yaml").write_text("profile: caught\n")
    return tmp_path


def start(workspace: Path) -> subprocess.Popen[str]:
    """Bring the teachers up to date, two at a time, as the first of a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "train", "--phase", "teachers", "--workers", "2", "--checkpoint-every", "0"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def checkpoints(workspace: Path) -> dict[str, str]:
    """The newest whole checkpoint of each unfinished run."""
    files = sorted(workspace.glob("runs/caught/.partial/*/*/checkpoints/checkpoint-*.safetensors"))
    return {file.parents[1].name: file.name for file in files}


@contextmanager
def caught_at_work(workspace: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """`harness train` with both its runs in the middle, and every process that it has started."""
    before = checkpoints(workspace)
    process = start(workspace)
    try:
        both = wait_until(
            lambda: (
                sum(before.get(name) != saved for name, saved in checkpoints(workspace).items()) == 2
                and len(workers_alive(process.pid)) == 2
            ),
            seconds=180,
        )
        assert both, process.communicate(timeout=5) if process.poll() is not None else "no run began in three minutes"
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=10)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of them that still run; a process that is dead and not yet collected does not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def assert_only_whole_runs(workspace: Path) -> None:
    """Every folder under a final name is whole, to the digest."""
    for folder in workspace.glob("runs/caught/[!.]*/*"):
        read(folder)


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """A terminal sends it to the command and to all that it has started."""
    os.killpg(process.pid, signal.SIGINT)


def test_interrupted_ended_and_killed_it_goes_on_to_the_same_bits(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ctrl-C, SIGTERM, and SIGKILL to the command alone: no process is left within seconds; then it ends its work.

    Its weights, correctness and histories are those of runs that nobody interrupted.
    """
    endings = ((press_ctrl_c, 130), (subprocess.Popen.terminate, 143), (subprocess.Popen.kill, -signal.SIGKILL))
    for end, code in endings:
        with caught_at_work(workspace) as (process, children):
            assert len(alive(children)) >= 3, "two runs and their server"
            end(process)
            output, _ = process.communicate(timeout=10)
            assert process.returncode == code
            assert "Traceback" not in output
            assert wait_until(lambda: not alive(children), seconds=5), alive(children)
        assert_only_whole_runs(workspace)

    last = start(workspace)
    output, _ = last.communicate(timeout=120)
    assert last.returncode == 0, output
    study = load_strict(workspace / "profiles" / "caught.yaml", Study)
    teachers = [entry.run for entry in plan(study, None) if entry.phase == PHASES[0]]
    undisturbed = Place(tmp_path_factory.mktemp("undisturbed"))
    assert set(carry_out([undisturbed.job(spec) for spec in teachers]).values()) == {None}
    for spec in teachers:
        folder = workspace / "runs" / "caught" / "teachers" / spec.name
        assert outcome(folder) == outcome(undisturbed.job(spec).folder)
        assert len(read(folder).resumed_at) == 3


SLOW_PARENT = """
import sys
from pathlib import Path
from small_jobs import Place, carry_out
from harness.study.spec import RunSpec
carry_out([Place(Path(sys.argv[1])).job(RunSpec.model_validate_json(sys.argv[2]))], 1)
"""


def test_a_run_notices_its_parents_death_within_an_epoch(tmp_path: Path, make_spec: Callable[..., RunSpec]) -> None:
    """An epoch may take an hour: a run whose parent was killed does not wait for its end, when it would report.

    That it did not is seen from the checkpoint that it would have left.
    """
    spec = make_spec(architecture="resnet101", model={"width": 32}, dataset={"train_images": 1500})
    here = Path(__file__)
    parent = subprocess.Popen(
        [sys.executable, "-c", SLOW_PARENT, tmp_path, spec.model_dump_json()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parents[3]), str(here.parent)])},
        start_new_session=True,
    )
    try:
        assert wait_until(
            lambda: any(worker.cpu_times().user > 1.5 for worker in workers_alive(parent.pid)), seconds=90
        )
        children = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait(timeout=10)
    assert wait_until(lambda: not alive(children), seconds=90), alive(children)
    assert not list(tmp_path.rglob("checkpoints/*")), "it was in its first epoch"


def test_a_live_process_counts_as_alive() -> None:
    """The check above can fail: a process that waits is alive, and one that ended is not."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = [psutil.Process(process.pid)]
    assert alive(watched) == watched
    process.kill()
    assert wait_until(lambda: not alive(watched), seconds=5)
    process.communicate()
