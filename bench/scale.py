"""A study of many runs that nobody trained: what plan, collect, analyze, verify and report take of time and memory.

The design is that of the profile `beyond` on digits: 87 runs a seed (3 baselines, 7 pairs by 4 methods by 3 teacher
checkpoints). Numbers of runs are drawn; their folders are written by the store's own code, with 20 epochs of history
and weights of 4 KiB. Weights of a real size are hashed on top of that, at the speed of the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml

from bench.show import table
from harness import files as whole_files
from harness.files import sha256_of_bytes
from harness.selection import write_selected
from harness.store import record as records
from harness.store import store as stores
from harness.store.code import training_code_sha256
from harness.store.record import EpochRecord, FidelityRecord, FootprintRecord, RunRecord, TeacherRecord, TestRecord
from harness.store.store import Store
from harness.study.load import load_study
from harness.study.plan import Entry, candidates, distinct, plan
from harness.study.spec import RunSpec
from harness.workspace import Workspace

PROFILE = "scale"
CHECKPOINTS, SEARCH_SEED = (0, 1, 2), 1_000_000
IMAGES, WEIGHT_BYTES = 1097, 4096
SYNCED = 200  # runs that are written with every fsync, for its cost
STUDENTS = {"resnet18": 88.0, "resnet34": 89.0, "resnet50": 90.0}  # accuracies of baselines, percent
GAINS_PP = {"none": 0.0, "feature": 0.6, "logit": 1.2, "attention": 0.4, "random_teacher": 0.1}
SD_SEED_PP, SD_CHECKPOINT_PP, SD_RUN_PP = 0.5, 0.3, 1.2
HARNESS = str(Path(sys.executable).with_name("harness"))
STAGES = ("plan", "collect", "analyze", "verify", "report")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench scale`."""
    parser.add_argument("--runs", type=int, default=100_000, help="runs, or a few more (default 100000)")
    parser.add_argument("--dir", type=Path, help="an empty folder to keep the study in (default: one that is deleted)")
    parser.add_argument(
        "--stages", nargs="*", choices=STAGES, default=STAGES, metavar="STAGE", help=f"of {', '.join(STAGES)}"
    )


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Write the study, measure every command on it, and print.

    Returns:
        Counts, how long writing took, and by command its seconds, processor seconds and peak memory (MB), of all its
        processes together, and the size of what it wrote (MB).
    """
    with contextlib.ExitStack() as opened:
        folder = options.dir or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kdcap-scale-")))
        opened.enter_context(contextlib.chdir(folder))
        made = None if Path("runs").exists() else _make(options.runs)
        rows = [_measure(*command) for command in _commands() if command[0] in options.stages]
    if made:
        print(
            f"{made['runs']} runs written in {made['seconds']:.0f} s by 2 processes without fsync; with every fsync "
            f"{made['synced_ms']:.1f} ms a run, without {made['unsynced_ms']:.1f} ms\n"
        )
    print(table(["stage", "seconds", "CPU seconds", "peak MB", "written MB"], [list(row.values()) for row in rows]))
    return {"made": made, "stages": rows}


# --- the study --------------------------------------------------------------------------------------------------------


def _make(runs: int) -> dict[str, float]:
    """The profile, its runs and its selection; how long that took."""
    Path("profiles").mkdir()
    Path("params.yaml").write_text(f"profile: {PROFILE}\n", encoding="utf-8")
    Path(f"profiles/{PROFILE}.yaml").write_text(yaml.safe_dump(_profile(runs), sort_keys=False), encoding="utf-8")
    study, workspace = load_study(PROFILE), Workspace(PROFILE)
    grid = candidates(study)
    write_selected(workspace.selected, study, {spec.sha256: 0.9 for specs in grid.values() for spec in specs})
    entries = distinct(plan(study, {choice: specs[0].hyperparameters for choice, specs in grid.items()}))
    seconds = {}
    for name, sync in (("synced", whole_files.sync), ("unsynced", _no_sync)):
        started = time.perf_counter()
        _write(entries[:SYNCED], sync)
        seconds[name] = time.perf_counter() - started
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_write, [entries[i : i + 500] for i in range(SYNCED, len(entries), 500)]))
    return {
        "runs": len(entries),
        "seconds": time.perf_counter() - started,
        "synced_ms": 1000 * seconds["synced"] / len(entries[:SYNCED]),
        "unsynced_ms": 1000 * seconds["unsynced"] / len(entries[:SYNCED]),
    }


def _profile(runs: int) -> dict[str, Any]:
    """The study `beyond` on the images of `quick`, with as many seeds as it takes."""
    root = Path(__file__).parents[1] / "profiles"
    quick, beyond = (yaml.safe_load((root / f"{name}.yaml").read_text("utf-8")) for name in ("quick", "beyond"))
    a_seed = len(beyond["baselines"]) + len(beyond["pairs"]) * len(beyond["selection"]["grid"]) * len(CHECKPOINTS)
    first = {name: [values[0]] for name, values in {"alpha": [0.5], "temperature": [4.0], "beta": [1000.0]}.items()}
    grid = {method: {name: first[name] for name in values} for method, values in beyond["selection"]["grid"].items()}
    return quick | {
        "title": "A study of many runs that nobody trained",
        "epochs": quick["epochs"],
        "teachers": beyond["teachers"],
        "baselines": beyond["baselines"],
        "pairs": beyond["pairs"],
        "selection": {"seed": SEARCH_SEED, "grid": grid},
        "seeds": list(range(max(2, -(-runs // a_seed)))),
        "stem_ablation": [],
        "bug_ablation": [],
        "reference": None,
    }


def _no_sync(path: Path) -> None:
    """In place of fsync: a benchmark need not outlive a power cut."""


def _write(entries: Sequence[Entry], sync: Any = _no_sync) -> None:  # noqa: ANN401 - a function of a path
    store = Store(Workspace(PROFILE).runs)
    with mock.patch.object(stores, "sync", sync), mock.patch.object(whole_files, "sync", sync):
        for entry in entries:
            content, record = _run(entry.run)
            stores.commit(store.partial(entry), store.folder(entry), content, record)


def _weights(spec: RunSpec) -> bytes:
    """Noise in place of weights: a run's own, so that no two look copied."""
    return np.random.default_rng(int(spec.sha256[:16], 16)).bytes(WEIGHT_BYTES)


def _run(spec: RunSpec) -> tuple[dict[str, bytes], RunRecord]:
    """A run's files and record, drawn from its identity."""
    draw = np.random.default_rng(int(spec.sha256[:15], 16) + 1)
    teacher = spec.teacher
    mean = STUDENTS.get(spec.architecture, 91.0) + GAINS_PP[spec.method] / (2 if spec.architecture == "resnet50" else 1)
    mean += SD_SEED_PP * np.random.default_rng([spec.seed, len(spec.architecture), 1]).standard_normal()
    if teacher is not None:
        shared = [teacher.seed, *teacher.architecture.encode(), *spec.architecture.encode()]
        mean += SD_CHECKPOINT_PP * np.random.default_rng(shared).standard_normal()
    right, right_last = (_right(draw, mean + SD_RUN_PP * draw.standard_normal()) for _ in range(2))
    files = {
        records.WEIGHTS: _weights(spec),
        records.CORRECT_BEST: np.packbits(right).tobytes(),
        records.CORRECT_LAST: np.packbits(right_last).tobytes(),
    }
    epochs = spec.epochs
    rise = 1 - 0.8 * np.exp(-np.arange(1, epochs + 1) / 4) - 0.01 * draw.random(epochs)
    history = tuple(
        EpochRecord(
            epoch=epoch,
            lr=0.05 * (1 + float(np.cos(np.pi * epoch / epochs))),
            train_loss=float(3 * (1 - value) + draw.random() / 10),
            train_ce=float(2 * (1 - value) + draw.random() / 10),
            train_kd=float(draw.random()) if teacher else None,
            train_acc=float(value),
            val_loss=float(2.5 * (1 - value)),
            val_acc=round(300 * float(value)) / 300,
            grad_norm_student=float(1 + draw.random()),
            grad_norm_projections=float(draw.random()) if spec.method == "feature" else None,
        )
        for epoch, value in enumerate(rise, start=1)
    )
    record = RunRecord(
        name=spec.name,
        spec=spec,
        spec_sha256=spec.sha256,
        code_sha256=training_code_sha256(spec.method),
        data_sha256="d" * 64,
        teacher=teacher
        and TeacherRecord(
            run=teacher.name,
            weights_sha256=sha256_of_bytes(_weights(teacher)),
            variant="untrained" if spec.method == "random_teacher" else "trained",
        ),
        method_source="kdcap 0" if teacher else None,
        stack={"torch": "none", "device": "cpu", "processor": "none"},
        settings={"deterministic_algorithms": True, "threads": 1},
        history=history,
        seconds_per_epoch=tuple(float(x) for x in 0.1 + draw.random(epochs) / 100),
        seconds=2.0 + float(draw.random()) / 10,
        resumed_at=(),
        best_epoch=max(history, key=lambda epoch: epoch.val_acc).epoch,
        test_best=_outcome(draw, right),
        test_last=_outcome(draw, right_last),
        fidelity=teacher
        and FidelityRecord(
            agreement=float(0.9 + draw.random() / 50), kl_t1=float(draw.random() / 5), kl_t4=float(draw.random() / 20)
        ),
        footprint=FootprintRecord(
            parameters=1000 * int(spec.architecture[6:]),
            forward_flop=10**6 * int(spec.architecture[6:]),
            latency_ms={"1": 1.0 + float(draw.random()), "128": 20.0 + float(draw.random())},
        ),
        test_images=IMAGES,
        test_openings=2,
        last_weights_sha256=sha256_of_bytes(files[records.CORRECT_LAST]),
        history_sha256=records.history_digest(history),
        files={name: sha256_of_bytes(content) for name, content in files.items()},
    )
    return files, record


def _right(draw: np.random.Generator, pct: float) -> np.ndarray:
    """Which images are classified rightly."""
    right = np.zeros(IMAGES, dtype=bool)
    right[draw.permutation(IMAGES)[: round(IMAGES * min(pct, 100.0) / 100)]] = True
    return right


def _outcome(draw: np.random.Generator, right: np.ndarray) -> TestRecord:
    classes = tuple(float(min(1.0, 0.85 + x / 8)) for x in draw.random(10))
    return TestRecord(accuracy=float(right.mean()), loss=float(draw.random()), ece=float(draw.random() / 20),
                      per_class_accuracy=classes)  # fmt: skip


# --- the measuring ----------------------------------------------------------------------------------------------------


def _commands() -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, arguments and outputs of each command; verify needs a reference, frozen from the runs themselves."""
    results, frozen = Path("results") / PROFILE, Path("reference") / PROFILE
    yield "plan", ["plan"], []
    yield "collect", ["collect"], ["*.csv", "*.npz", "*.json"]
    yield "analyze", ["analyze"], ["analysis/*"]
    if (results / "runs.csv").exists() and not frozen.exists():
        freeze = ["reference", "freeze", "--runs", str(results / "runs.csv"), "--name", PROFILE, "--between-study-sd",
                  "0.3", "--why", "a benchmark"]  # fmt: skip
        subprocess.run([HARNESS, *freeze], check=True)  # noqa: S603 - our own command
    yield "verify", ["verify", "--reference", str(frozen), "--no-gate"], []
    yield "report", ["report"], ["report.*"]


@dataclass
class _Watch:
    """What a process and its children take, looked at twice a second.

    Attributes:
        process: Its number.
        peak_bytes: Most memory that all held at once: their proportional set sizes together.
        ticks: Processor time of each, user and system, when it was last seen.
    """

    process: int
    peak_bytes: int = 0
    ticks: dict[int, int] = field(default_factory=dict)

    def until(self, ended: threading.Event) -> None:
        """Look until the event comes."""
        while not ended.wait(0.5):
            running = list(_tree(self.process))
            self.peak_bytes = max(self.peak_bytes, sum(map(_pss_bytes, running)))
            self.ticks |= {process: ticks for process in running if (ticks := _cpu_ticks(process))}

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all."""
        return sum(self.ticks.values()) / os.sysconf("SC_CLK_TCK")


def _tree(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text(encoding="ascii").split():
                yield from _tree(int(child))


def _pss_bytes(process: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        return 1024 * int(text.split("Pss:")[1].split()[0])
    return 0


def _cpu_ticks(process: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # proc(5): utime and stime
    return 0


def _measure(name: str, arguments: Sequence[str], outputs: Sequence[str]) -> Mapping[str, Any]:
    """Run a command and see what it takes."""
    with Path(f"{name}.log").open("w", encoding="utf-8") as log:
        started = time.perf_counter()
        process = subprocess.Popen([HARNESS, *arguments], stdout=log, stderr=log)  # noqa: S603 - our own command
        watch, ended = _Watch(process.pid), threading.Event()
        watcher = threading.Thread(target=watch.until, args=(ended,))
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - started
        ended.set()
        watcher.join()
    if code:
        print(f"{name} ended with {code}: {Path(f'{name}.log').read_text(encoding='utf-8')[-2000:]}")
    results = Path("results") / PROFILE
    size = sum(path.stat().st_size for pattern in outputs for path in results.glob(pattern))
    return {
        "stage": name,
        "seconds": seconds,
        "cpu_seconds": watch.cpu_seconds,
        "peak_mb": watch.peak_bytes / 1e6,
        "written_mb": size / 1e6,
    }
