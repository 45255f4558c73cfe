"""A study small enough to be trained in seconds, and ways to look at what it leaves behind."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import KdcapError
from harness.execute.job import Done, Job, OnEpoch, Say
from harness.store.store import read
from harness.study.load import load_study
from harness.study.plan import Entry, plan
from harness.study.study import Study
from harness.workspace import Workspace

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reference" / "yasar2026-v2" / "runs.csv"

PROFILE = """\
title: "A study for tests"
evidence: false
dataset: {name: digits, train_images: 64, validation_images: 40, test_images: 60, split_seed: 1234, label_noise: 0.1,
  crop_padding: 1, horizontal_flip: false}
model: {width: 8, zero_init_residual: true}
optimisation: {batch_size: 32, lr: 0.1, lr_min: 0.0001, momentum: 0.9, nesterov: true, weight_decay: 0.0005,
  clip_norm: 1.0, precision: fp32, teacher_logits: table, threads: 1, device: cpu}
epochs: {teacher: 2, student: 2}
teachers: {architectures: [resnet34], seeds: [0], distilled_seeds: [0]}
baselines: [resnet18]
pairs:
  - {teacher: resnet34, student: resnet18}
selection:
  seed: 0
  grid:
    logit: {alpha: [0.3, 0.7], temperature: [2.0]}
    feature: {alpha: [0.5]}
seeds: [0, 1]
stem_ablation:
  - {architecture: resnet18, role: student, seeds: [0]}
  - {architecture: resnet34, role: teacher, seeds: [0]}
bug_ablation:
  - {teacher: resnet34, student: resnet18, seeds: [0]}
margins: {gain_pp: 1.0}
reference: null
"""

# Counted by hand from the profile: a teacher; 2 + 1 candidates; 2 baselines and 2 methods x 2 seeds, of which the two
# at seed 0 are candidates; 2 networks x 2 stems, of which the two cifar ones were trained before; 1 unclipped run.
ENTRIES = {"teachers": 1, "select": 3, "final": 6, "stem_ablation": 4, "bug_ablation": 1}
TRAININGS = {"teachers": 1, "select": 3, "final": 4, "stem_ablation": 2, "bug_ablation": 1}


@dataclass(frozen=True)
class Tiny:
    """A folder with params.yaml and the tiny profile; tests work inside it, since a workspace's paths are relative.

    Attributes:
        root: The folder.
        finished: The same study where it is trained already, for `InProcess`; None to train in earnest.
    """

    root: Path
    finished: Path | None = None

    @property
    def study(self) -> Study:
        """The study, as its file is now."""
        with contextlib.chdir(self.root):
            return load_study("tiny")

    @property
    def workspace(self) -> Workspace:
        """Its paths."""
        return Workspace("tiny")

    def edit(self, old: str, new: str) -> None:
        """Replace a piece of the profile that stands there once."""
        path = self.root / "profiles" / "tiny.yaml"
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the profile"
        path.write_text(text.replace(old, new))


def make(root: Path) -> Tiny:
    """Write an untrained workspace."""
    (root / "profiles").mkdir(parents=True)
    (root / "params.yaml").write_text("profile: tiny\n")
    (root / "profiles" / "tiny.yaml").write_text(PROFILE)
    return Tiny(root)


class InProcess:
    """An executor that trains here and now, one run after another, and remembers what it was asked for.

    Args:
        fails: Names of runs that end with an error instead.
        finished: A trained study's folder; a run that it has, to the same description, is copied from there.
    """

    def __init__(self, fails: Iterable[str] = (), finished: Path | None = None) -> None:
        self.fails = set(fails)
        self.finished = finished
        self.asked: list[list[Job]] = []

    @property
    def trained(self) -> list[str]:
        """PHASE/NAME of every run that was started, in order."""
        return [f"{ready[0].folder.parent.name}/{ready[0].folder.name}" for ready in self.asked]

    def run(self, ready: list[Job], on_epoch: OnEpoch, say: Say) -> Iterator[Done]:
        """See `harness.execute.job.Executor`; `asked` keeps what was ready each time that one was started."""
        while ready:
            self.asked.append(list(ready))
            job = ready.pop(0)
            yield Done(job, self._end(job, on_epoch, say), "here")

    def _end(self, job: Job, on_epoch: OnEpoch, say: Say) -> str | None:
        if job.spec.name in self.fails:
            return "this run was told to fail"
        if (
            self.finished is not None
            and (there := self.finished / job.folder).exists()
            and read(there).spec == job.spec
        ):
            shutil.copytree(there, job.folder)
            return None
        from harness.execute import worker  # imports torch, which most tests do without

        try:
            worker.carry_out(
                job,
                on_epoch=lambda epoch, accuracy: on_epoch(job, epoch, accuracy),
                say=lambda sentence: say(job, sentence),
            )
        except KdcapError as error:
            return str(error)
        return None


def install(site: Path, package: str, method: str, value: str) -> None:
    """Announce a method in a folder of packages, as an installer does; its code is up to the test."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kdcap.methods]\n{method} = {value}\n")


def tree(root: Path) -> dict[str, bytes]:
    """Every file under a folder with its content, and every folder: what a verb that writes nothing leaves alone."""
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def entry_named(entries: Iterable[Entry], phase: str, label: str) -> Entry:
    """The one entry of a phase with this label."""
    (found,) = [entry for entry in entries if (entry.phase, entry.label) == (phase, label)]
    return found


def plan_of(tiny: Tiny) -> tuple[Entry, ...]:
    """The tiny study's entries, by the selection that stands in its folder."""
    from harness.selection import read_selected

    return plan(tiny.study, read_selected(tiny.root / tiny.workspace.selected, tiny.study))
