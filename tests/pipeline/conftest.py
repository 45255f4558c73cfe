"""A workspace of its own for a pipeline: the project's real dvc.yaml, and a study that takes seconds."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = """
title: A study of seconds
evidence: false
dataset: {name: digits, train_images: 64, validation_images: 100, test_images: 200, split_seed: 1234,
  label_noise: 0.1, crop_padding: 1, horizontal_flip: false}
model: {width: 8, zero_init_residual: true}
optimisation: {batch_size: 16, lr: 0.1, lr_min: 0.0001, momentum: 0.9, nesterov: true, weight_decay: 0.0005,
  clip_norm: 1.0, precision: fp32, teacher_logits: table, threads: 1, device: cpu}
epochs: {teacher: 3, student: 2}
teachers: {architectures: [resnet34], seeds: [0], distilled_seeds: [0]}
baselines: [resnet18, resnet34]
pairs: [{teacher: resnet34, student: resnet18}, {teacher: resnet34, student: resnet34}]
selection: {seed: 0, grid: {logit: {alpha: [0.5], temperature: [2.0, 4.0]}, feature: {alpha: [0.5]}}}
seeds: [0, 1, 2]
stem_ablation: [{architecture: resnet18, role: student, seeds: [0]}]
bug_ablation: [{teacher: resnet34, student: resnet18, seeds: [1]}]
margins: {gain_pp: 1.0}
reference: null
"""
TRAININGS = 1 + 6 + (18 - 4) + 1 + 1


@dataclass(frozen=True)
class Pipeline:
    """A workspace with a real DVC repository."""

    folder: Path
    profile: str

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start one of the environment's own commands here, as the leader of its own process group."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": path, "KDCAP_CHECKPOINT_EVERY": "0"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command to its end: exit code and output."""
        process = self.popen(*command)
        output, _ = process.communicate(timeout=1200)
        return process.returncode, output

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file of the runs that must repeat to the bit: weights and correctness."""
        files = [*self.folder.glob("runs/*/*/*/weights.safetensors"), *self.folder.glob("runs/*/*/*/*.bin")]
        return {
            file.relative_to(self.folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
        }

    def trained(self) -> int:
        """Runs that are whole."""
        return len(list(self.folder.glob("runs/*/*/*/record.json")))


def make_pipeline(folder: Path, profile: str = "tiny") -> Pipeline:
    """A workspace in `folder`: the pipeline's own files, the code it depends on, and the profiles, one more added."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("harness", "analysis", "report", "reference", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "profiles" / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (folder / "params.yaml").write_text(f"profile: {profile}\n", encoding="utf-8")
    return Pipeline(folder, profile)


@dataclass(frozen=True)
class Round:
    """A study that was killed some times and then run to its end."""

    pipeline: Pipeline
    kills: int


def killed_again_and_again(folder: Path, profile: str, *, kills: int, spread_s: float, seed: int) -> list[Round]:
    """Run studies until `kills` SIGKILLs have hit them, and the last one to its end.

    Each kill ends every process of a `dvc repro` at a random moment, up to `spread_s` seconds after some run has kept
    a state in the middle. A study that is done before there were enough begins anew in another folder.
    """
    moments = random.Random(seed)
    rounds: list[Round] = []
    while (left := kills - sum(each.kills for each in rounds)) > 0:
        pipeline = make_pipeline(folder / f"round {len(rounds) + 1}", profile)
        hits = 0
        while hits < left and _killed(pipeline, moments.uniform(0, spread_s)):
            hits += 1
        code, output = pipeline.run("dvc", "repro")
        assert code == 0, output
        rounds.append(Round(pipeline, hits))
    return rounds


def _killed(pipeline: Pipeline, wait_s: float) -> bool:
    """Kill a `dvc repro` that long after it is at work; False if it came to its end before."""
    partial = pipeline.folder / "runs" / pipeline.profile / ".partial"
    stale = set(partial.glob("*/*/checkpoints/*"))
    process = pipeline.popen("dvc", "repro")
    try:
        while not set(partial.glob("*/*/checkpoints/*")) - stale:
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline run to its end without a break, in a folder with a space in its name. Read it, do not change it."""
    pipeline = make_pipeline(tmp_path_factory.mktemp("a folder"))
    code, output = pipeline.run("dvc", "repro")
    assert code == 0, output
    return pipeline
