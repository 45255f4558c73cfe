"""Training: images a second of ours, of a plain loop and of torchdistill, at the paper's sizes, on a CPU in fp32.

Every way of training lives in a process of its own (see `bench.sides`) and all take turns, step by step; a figure is
the median of its turns, and a ratio the median of the ratios of neighbours. Images are random: speed does not depend
on what is seen. A large matrix product has its turn too, so that what is reached is told as a share of what can be.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from bench.runs import cell, changed, of_profile
from bench.show import table
from bench.sides import Setting, Side, Without, at_once, in_turn, ratio
from harness.study.cost import forward_flops, table_flops
from harness.study.load import load_study
from harness.study.spec import BASELINE, Architecture, RunSpec

METHODS = (BASELINE, "logit", "feature")
PARTS = ("cells", "scaling", "epochs")
TORCHDISTILL = ".bench/torchdistill/bin/python"
NOT_INSTALLED = "torchdistill is not installed, so it is not measured; bench/peers/make_env.sh installs it"
THREADS = 2
EDGE, CLASSES = 32, 10
IMAGES = {"train_images": 45_000, "validation_images": 128}  # as the paper trains; validation has no turn here
BATCHES = (32, 256)  # beside the paper's 128
# The bench itself at a size for tests: every line of it, no figure worth telling.
QUICK_MODEL, QUICK_IMAGES, QUICK_BATCH, QUICK_EDGE = {"width": 8}, {"train_images": 64, "validation_images": 16}, 16, 8
GIB, GIGA = 2**30, 1e9


@dataclass(frozen=True)
class Lane:
    """One way of training in a comparison.

    Attributes:
        name: In words.
        module: Module of its processes.
        setting: What each of them trains.
        processes: How many of them work at the same time.
        python: Interpreter.
    """

    name: str
    module: str
    setting: Setting
    processes: int = 1
    python: str = sys.executable


@dataclass(frozen=True)
class Row:
    """What one way of training reached.

    Attributes:
        cell: Teacher, student and method.
        side: Who trained.
        batch: Images a step.
        images_per_second: Of all its processes together.
        ratio: Images a second of the comparison's first side over its own; None for the first itself.
        ratio_with_table: The same where the first side's teacher table is counted in, shared by the cell's seeds.
        gflop_per_image: Operations that a training image takes, 10^9.
        gemm_pct: Its operations a second as a share of a matrix product's; None where that had no turn.
        peak_gib: Largest memory of one of its processes, a DataLoader's workers not counted.
    """

    cell: str
    side: str
    batch: int
    images_per_second: float
    ratio: float | None
    ratio_with_table: float | None
    gflop_per_image: float
    gemm_pct: float | None
    peak_gib: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench training`."""
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="cells (default: all three)")
    parser.add_argument("--pair", default="resnet50:resnet18", help="TEACHER:STUDENT (default resnet50:resnet18)")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=(*PARTS, "leads"), help=(
        "cells: all methods; scaling: batches, processes, workers; epochs: epochs of the quick profile; leads: ours "
        "without each of its leads (default: all but leads)"
    ))  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="tiny networks: tests the bench, measures nothing")


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the parts that the options name, and print them.

    Returns:
        The machine, how many cores other work kept busy meanwhile, the matrix product's rate, notes, and rows by part.
    """
    bench, before = Bench(options), _CpuTime.now()
    parts = {part: [asdict(row) for row in getattr(bench, part)()] for part in options.parts}
    found = {
        "machine": bench.machine,
        "threads": THREADS,
        "cores_busy_elsewhere": _CpuTime.now().elsewhere(before),
        "gemm_gflops": statistics.median(bench.gemm_gflops) if bench.gemm_gflops else None,
        "notes": [] if torchdistill_is_installed() else [NOT_INSTALLED],
        "parts": parts,
    }
    _show(found)
    return found


def _show(found: Mapping[str, Any]) -> None:
    """Print what was measured as Markdown."""
    machine = found["machine"]
    print(
        f"{found['threads']} cores of {machine['cpu']} ({machine['cpu_capability']}), no GPU; torch {machine['torch']}"
    )
    print(f"cores busy with other work meanwhile: {found['cores_busy_elsewhere']:.2f}", end="")
    print(f"; fp32 matrix product: {found['gemm_gflops']:.0f} GFLOP/s" if found["gemm_gflops"] else "")
    print(*found["notes"], sep="\n")
    head = [
        "cell",
        "side",
        "batch",
        "images/s",
        "ours over it",
        "with table",
        "GFLOP/image",
        "GFLOP/s",
        "% of GEMM",
        "GiB",
    ]
    for part, rows in found["parts"].items():
        print(f"\n{part}\n")
        lines: list[list[str | float | None]] = []
        for row in map(Row, *zip(*(row.values() for row in rows), strict=True)):
            gflops = row.images_per_second * row.gflop_per_image
            lines.append([
                row.cell, row.side, row.batch, row.images_per_second, row.ratio, row.ratio_with_table,
                row.gflop_per_image, gflops, row.gemm_pct, row.peak_gib,
            ])  # fmt: skip
        print(table(head, lines))


@dataclass(frozen=True)
class _CpuTime:
    """Seconds so far: on the clock, of all cores' work, and of this process and the sides that it ended."""

    clock: float
    all_work: float
    own_work: float

    @classmethod
    def now(cls) -> Self:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            user, nice, system, _idle, _waiting, *others = map(int, lines.readline().split()[1:9])
        own = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return cls(time.monotonic(), (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK"), own)

    def elsewhere(self, before: _CpuTime) -> float:
        """Cores that other processes kept busy since then."""
        other = (self.all_work - before.all_work) - (self.own_work - before.own_work)
        return max(0.0, other) / (self.clock - before.clock)


def torchdistill_is_installed() -> bool:
    """Whether torchdistill has its environment."""
    return Path(TORCHDISTILL).exists()


class Bench:
    """The parts, with the options of one command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rounds, self.methods, self.quick = options.rounds, options.methods, options.quick
        teacher, _, student = options.pair.partition(":")
        self.student, self.teacher = cast("Architecture", student), cast("Architecture", teacher)
        self.gemm_gflops: list[float] = []
        self.machine: dict[str, str] = {}

    def cells(self) -> list[Row]:
        """Every cell at the paper's size: ours, plain, torchdistill."""
        rows = []
        for method in self.methods:
            lanes = _ours_and_plain(self._setting(method))
            if torchdistill_is_installed() and method != "feature":  # it has no such method
                module = "bench.peers.torchdistill_side"
                lanes.append(Lane("torchdistill", module, lanes[0].setting, python=TORCHDISTILL))
            rows += self._compare(lanes, self.rounds, against_gemm=True)
        return rows

    def scaling(self) -> list[Row]:
        """Other batches, processes and workers."""
        rounds, rows = max(2, self.rounds // 2), []
        for method in [method for method in self.methods if method != "feature"]:
            for batch in BATCHES:
                rows += self._compare(_ours_and_plain(self._setting(method, batch_size=batch)), rounds)
            whole, one = self._setting(method), self._setting(method, threads=1)
            lanes = [
                Lane(f"ours, 1 process of {THREADS} threads", "bench.ours", whole),
                Lane(f"ours, {THREADS} processes of 1 thread", "bench.ours", one, processes=THREADS),
            ]
            rows += self._compare(lanes, rounds)
        plain = self._setting(BASELINE)
        lanes = [
            Lane(f"plain, {workers} workers", "bench.plain", plain.model_copy(update={"workers": workers}))
            for workers in (0, THREADS)
        ]
        return rows + self._compare(lanes, rounds)

    def epochs(self) -> list[Row]:
        """Epochs of the quick profile, with its images and its validation."""
        rows = []
        for method in self.methods:
            spec = of_profile("quick", method, self.student, self.teacher)
            small = {"dataset": {"train_images": 64}, "model": QUICK_MODEL} if self.quick else {}
            rows += self._compare(_ours_and_plain(Setting(spec=changed(spec, small))), self.rounds, work="epoch")
        return rows

    def leads(self) -> list[Row]:
        """Ours, and the same without each of the leads that its method has."""
        rows = []
        for method in self.methods:
            setting = self._setting(method)
            leads: list[Without] = ["channels_last", "allocator", "fused optimiser"]
            if method != BASELINE:
                leads.append("table" if method == "logit" else "folded teacher")
            lanes = [Lane("ours", "bench.ours", setting)]
            lanes += [
                Lane(f"without {lead}", "bench.ours", setting.model_copy(update={"without": lead})) for lead in leads
            ]
            rows += self._compare(lanes, self.rounds)
        return rows

    def _setting(self, method: str, **optimisation: int) -> Setting:
        spec = of_profile("paper", method, self.student, self.teacher)
        fields: dict[str, Any] = {"device": "cpu", "precision": "fp32", "threads": THREADS}
        if self.quick:
            fields["batch_size"] = QUICK_BATCH
        dataset, model = (QUICK_IMAGES, QUICK_MODEL) if self.quick else (IMAGES, {})
        spec = changed(spec, {"dataset": dataset, "model": model, "optimisation": fields | optimisation})
        return Setting(spec=spec, random_edge=QUICK_EDGE if self.quick else EDGE)

    def _compare(
        self, lanes: Sequence[Lane], rounds: int, *, work: str = "step", against_gemm: bool = False
    ) -> list[Row]:
        """Let lanes take turns; the first is what the others are compared with."""
        first, others = lanes[0], lanes[1:]
        spec = first.setting.spec
        turns = self._turns(lanes, rounds, work, against_gemm=against_gemm)
        images = spec.optimisation.batch_size if work == "step" else spec.dataset.train_images or 0
        an_image = {lane.name: [took / images / lane.processes for took in turns.seconds[lane.name]] for lane in lanes}
        tabled = None
        if "teach" in turns.seconds:
            both = zip(turns.seconds[first.name], turns.seconds["teach"], strict=True)
            tabled = [(step + table_share(spec) * teach) / images for step, teach in both]
        rows = []
        for lane in lanes:
            batch = lane.setting.spec.optimisation.batch_size
            gflop, own, told = turns.flops[lane.name] / batch / GIGA, an_image[lane.name], lane in others
            rows.append(Row(
                cell=cell(spec),
                side=lane.name,
                batch=batch,
                images_per_second=1 / statistics.median(own),
                ratio=ratio(own, an_image[first.name]) if told else None,
                ratio_with_table=ratio(own, tabled) if told and tabled else None,
                gflop_per_image=gflop,
                gemm_pct=100 * gflop * ratio(turns.gemm_seconds_per_gflop, own) if against_gemm else None,
                peak_gib=turns.peaks[lane.name] / GIB,
            ))  # fmt: skip
        return rows

    def _turns(self, lanes: Sequence[Lane], rounds: int, work: str, *, against_gemm: bool) -> _Turns:
        first = lanes[0]
        with ExitStack() as opened:

            def open_side(module: str, setting: Setting, python: str = sys.executable) -> Side:
                return opened.enter_context(Side(module, setting, python))

            sides = {
                lane.name: [open_side(lane.module, lane.setting, lane.python) for _ in range(lane.processes)]
                for lane in lanes
            }
            self.machine = sides[first.name][0].do("stack").value
            # the count is a step: it warms up too
            flops = {name: [side.do("flops").value for side in group][-1] for name, group in sides.items()}
            turns: dict[str, Callable[[], float]] = {
                name: partial(at_once, group, work) for name, group in sides.items()
            }
            gemm_gflop = 0.0
            if against_gemm:
                product = open_side("bench.gemm", first.setting)
                gemm_gflop = product.do("flops").value / GIGA
                turns["gemm"] = partial(at_once, [product], "step")
                if first.setting.spec.method == "logit":
                    turns["teach"] = partial(at_once, sides[first.name], "teach")
            seconds = in_turn(turns, rounds)
            peaks = {name: max(side.do("peak").peak_bytes for side in group) for name, group in sides.items()}
        gemm = [took / gemm_gflop for took in seconds.pop("gemm", [])]
        self.gemm_gflops += [1 / took for took in gemm]
        return _Turns(seconds, flops, peaks, gemm)


@dataclass(frozen=True)
class _Turns:
    """What lanes did in turn: seconds of each turn, operations of a step, largest memory, and the matrix product's."""

    seconds: Mapping[str, Sequence[float]]
    flops: Mapping[str, int]
    peaks: Mapping[str, int]
    gemm_seconds_per_gflop: Sequence[float]


def table_share(spec: RunSpec) -> float:
    """What a teacher's table costs a run of the paper's that shares it with the other seeds of its cell.

    Every view of every image is computed once, and serves the epochs of all the seeds. The selection's candidates and
    other students of the teacher use the table too, which is not counted here.

    Args:
        spec: The run.

    Returns:
        Teacher passes an image and step.
    """
    teacher = cast("RunSpec", spec.teacher)
    a_pass = forward_flops(teacher.architecture, teacher.stem, spec.model.width, EDGE, CLASSES)
    seen = len(load_study("paper").seeds) * spec.epochs * (spec.dataset.train_images or 0)
    return table_flops(spec) / a_pass / seen


def _ours_and_plain(setting: Setting) -> list[Lane]:
    return [Lane("ours", "bench.ours", setting), Lane("plain", "bench.plain", setting)]
