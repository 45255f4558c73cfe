"""All that can only be measured on a GPU, by one command: bits, seconds an epoch, share of peak, hours of the study.

`python -m bench.gpu` needs a checkout, torch 2.11 to 2.13, torchvision, numpy, pillow, safetensors, pydantic and
pyyaml, and no network; kdcap itself need not be installed. Images are random, of CIFAR's size and number, since speed
does not depend on what is seen; `--images` adds one real ResNet-18 baseline. Where no GPU is at hand, `--device cpu
--tiny` goes through every line with networks that measure nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bench.accuracy import CAUTION, MODULES
from bench.runs import cell, changed, of_profile, short_name
from bench.show import table
from bench.sides import Setting, Side, at_once
from harness.files import write_json
from harness.study.cost import forward_flops, table_flops, training_flops, uses_table
from harness.study.load import load_study
from harness.study.methods import GROUP
from harness.study.plan import any_winner, distinct, plan
from harness.study.spec import BASELINE, Architecture, RunSpec

SECTIONS = ("bits", "epochs", "card", "accuracy")
PRECISIONS = ("tf32", "bf16")
BASELINES: tuple[Architecture, ...] = ("resnet18", "resnet34", "resnet50", "resnet101")
STUDENT, TEACHER = BASELINES[0], BASELINES[2]  # of the distilled cells
METHODS = ("logit", "feature")
PROCESSES = (1, 2, 4)
CLASSES, EDGE, TINY_EDGE = 10, 32, 8
TINY: dict[str, dict[str, Any]] = {
    "dataset": {"train_images": 32, "validation_images": 16},
    "model": {"width": 8},
    "optimisation": {"batch_size": 16, "threads": 1},
}
SHORT_EPOCHS = 2
SHORT = {"train_images": 1280, "validation_images": 256}  # 10 steps an epoch: enough to tell bits apart


@dataclass(frozen=True)
class Bits:
    """Whether a short run repeats.

    Attributes:
        precision: Its arithmetic.
        cell: What was trained.
        twice: The same run again, in the same process, ended with the same weights.
        resumed: Cut at a border of epochs and taken up by another process, it did too.
        table_equal: Every logit of the teacher's table equals the one computed online in a batch, to the bit; None
            without a table.
        table_difference: Largest difference between the two.
    """

    precision: str
    cell: str
    twice: bool
    resumed: bool
    table_equal: bool | None
    table_difference: float | None


@dataclass(frozen=True)
class Speed:
    """One cell on one side.

    Attributes:
        precision: Its arithmetic.
        cell: What was trained.
        side: Who trained.
        epoch_seconds: An epoch of the study, with its validation.
        images_per_second: Training images over that.
        tflops: Operations of its steps over the epoch's seconds, 10^12 a second.
        gemm_pct: The same as a share of a matrix product's in that arithmetic.
        peak_gib: Largest memory held on the card.
        teach_seconds: What the teacher's table takes a batch; None without one.
    """

    precision: str
    cell: str
    side: str
    epoch_seconds: float
    images_per_second: float
    tflops: float
    gemm_pct: float
    peak_gib: float
    teach_seconds: float | None


@dataclass(frozen=True)
class Card:
    """Runs that share a card: ResNet-18 baselines at once.

    Attributes:
        precision: Their arithmetic.
        processes: How many.
        images_per_second: Of all together.
    """

    precision: str
    processes: int
    images_per_second: float


@dataclass(frozen=True)
class Hours:
    """The paper profile, a run after another, predicted from seconds an epoch.

    Attributes:
        precision: Its arithmetic.
        ours_hours: With ours.
        plain_hours: With the plain loop.
        share: Ours over plain.
    """

    precision: str
    ours_hours: float
    plain_hours: float
    share: float


@dataclass(frozen=True)
class Accuracy:
    """A real run.

    Attributes:
        cell: What was trained.
        epochs: For how long.
        val_acc_best_pct: Best validation accuracy.
        test_acc_last_pct: Test accuracy after the last epoch.
        images: What the images are.
    """

    cell: str
    epochs: int
    val_acc_best_pct: float
    test_acc_last_pct: float
    images: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench gpu`."""
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="default cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and few images: tests the bench")
    parser.add_argument("--only", nargs="+", default=SECTIONS, choices=SECTIONS, help="sections (default: all)")
    parser.add_argument(
        "--precisions", nargs="+", default=PRECISIONS, choices=(*PRECISIONS, "fp32"), help="default both"
    )
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="the plain loop's DataLoader")
    parser.add_argument("--images", help="folder or tar archive of real images: train/CLASS/*, test/CLASS/*")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of the real baseline (default 100)")


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the sections that the options name, and print them as they end.

    Returns:
        The machine, and the rows of each section.
    """
    with tempfile.TemporaryDirectory() as temporary:
        announce(Path(temporary))
        bench = Bench(options, Path(temporary))
        with bench.open("gemm", bench.spec(BASELINE, options.precisions[0])) as side:
            machine = side.do("stack").value
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        found: dict[str, Any] = {"machine": machine}
        for section in options.only:
            for name, rows in bench.section(section).items():
                _show(name, rows)
                found[name] = [asdict(row) for row in rows]
    return found


class Bench:
    """The sections, with the options of one command."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.edge, self.warm_up_steps = (TINY_EDGE, 1) if options.tiny else (EDGE, 10)

    def spec(
        self, method: str, precision: str, student: Architecture = STUDENT, **dataset: object
    ) -> RunSpec:  # fmt: skip
        """A cell of the paper's on this device; keyword arguments change its dataset."""
        study = load_study("paper")
        held_out = study.dataset.validation_images
        blocks: dict[str, dict[str, Any]] = {
            "dataset": {"train_images": 50_000 - held_out, **dataset},
            "optimisation": {"device": self.options.device, "precision": precision},
        }
        if self.options.tiny:
            blocks = {name: {**blocks.get(name, {}), **TINY[name]} for name in TINY}
        return changed(of_profile("paper", method, student, TEACHER), blocks)

    def open(self, side: str, spec: RunSpec, folder: str | None = None) -> Side:
        """A side's process; its images are random unless they come from a folder."""
        edge = None if spec.dataset.name == "folder" else self.edge
        setting = Setting(spec=spec, random_edge=edge, workers=self.options.workers, folder=folder)
        return Side(MODULES.get(side, f"bench.{side}"), setting)

    def section(self, name: str) -> dict[str, Sequence[Any]]:
        """Measure a section; epochs also tell the hours of the study."""
        rows = getattr(self, name)()
        return {name: rows, "hours": self.hours(rows)} if name == "epochs" else {name: rows}

    def bits(self) -> list[Bits]:
        """A short run of each method: twice; cut and resumed; and its table beside the teacher online."""
        rows = []
        for precision in self.options.precisions:
            for method in METHODS:
                spec = changed(
                    self.spec(method, precision), {"dataset": {} if self.options.tiny else SHORT}, SHORT_EPOCHS
                )
                folder = str(self.folder / f"{precision}-{method}")
                with self.open("ours", spec, folder) as side:
                    digests = [side.do("train").value for _ in range(2)]
                    side.do("train_half")
                    tables = side.do("table_difference").value if uses_table(spec) else None
                with self.open("ours", spec, folder) as side:
                    resumed = side.do("train_rest").value
                difference = None if tables is None else float(tables)
                rows.append(Bits(
                    precision=precision,
                    cell=cell(spec),
                    twice=digests[0] == digests[1],
                    resumed=resumed == digests[0],
                    table_equal=None if difference is None else difference == 0.0,
                    table_difference=difference,
                ))  # fmt: skip
        return rows

    def epochs(self) -> list[Speed]:
        """An epoch of every cell, ours and plain, beside a matrix product."""
        rows = []
        for precision in self.options.precisions:
            with self.open("gemm", self.spec(BASELINE, precision)) as side:
                flop = side.do("flops").value
                gemm_flops = flop / statistics.median(side.do("step").seconds for _ in range(self.warm_up_steps))
            cells = [self.spec(BASELINE, precision, student) for student in BASELINES]
            cells += [self.spec(method, precision) for method in METHODS]
            for spec in cells:
                with ExitStack() as opened:  # both start at once, and work in turn
                    sides = {name: opened.enter_context(self.open(name, spec)) for name in MODULES}
                    rows += [self._epoch(spec, name, side, gemm_flops) for name, side in sides.items()]
        return rows

    def _epoch(self, spec: RunSpec, name: str, side: Side, gemm_flops: float) -> Speed:
        count, batch = spec.dataset.train_images or 0, spec.optimisation.batch_size
        an_image = side.do("flops").value / batch
        side.do("step", self.warm_up_steps)
        epoch = side.do("epoch")
        tabled = name == "ours" and uses_table(spec)
        teach = side.do("teach", self.warm_up_steps).seconds / self.warm_up_steps if tabled else None
        reached = an_image * count / epoch.seconds
        return Speed(
            precision=spec.optimisation.precision,
            cell=cell(spec),
            side=name,
            epoch_seconds=epoch.seconds,
            images_per_second=count / epoch.seconds,
            tflops=reached / 1e12,
            gemm_pct=100 * reached / gemm_flops,
            peak_gib=epoch.peak_bytes / 2**30,
            teach_seconds=teach,
        )

    def card(self) -> list[Card]:
        """One, two and four baselines at once."""
        rows = []
        for precision in self.options.precisions:
            spec = self.spec(BASELINE, precision)
            with ExitStack() as opened:
                sides = [opened.enter_context(self.open("ours", spec)) for _ in range(max(PROCESSES))]
                at_once(sides, "step", self.warm_up_steps)
                for processes in PROCESSES:
                    seconds = at_once(sides[:processes], "epoch")
                    rows.append(Card(precision, processes, processes * (spec.dataset.train_images or 0) / seconds))
        return rows

    def accuracy(self) -> list[Accuracy]:
        """A real ResNet-18 baseline, where images are given: validation by epoch, and test."""
        if self.options.images is None:
            print("\nno --images: no real run")
            return []
        spec = self.spec(BASELINE, self.options.precisions[0], name="folder", path=self.options.images)
        spec = changed(spec, {}, self.options.epochs)
        with self.open("ours", spec) as side:
            validation = [side.do("epoch").value for _ in range(spec.epochs)]
            return [Accuracy(cell(spec), spec.epochs, 100 * max(validation), 100 * side.do("test").value, CAUTION)]

    def hours(self, speeds: Sequence[Speed]) -> list[Hours]:
        """The whole paper profile from seconds an epoch."""
        study = load_study("paper")
        runs = [entry.run for entry in distinct(plan(study, any_winner(study)))]
        rows = []
        for precision in self.options.precisions:
            ours, plain = (predicted_seconds(runs, speeds, precision, side) / 3600 for side in MODULES)
            rows.append(Hours(precision, ours, plain, ours / plain))
        return rows


def predicted_seconds(runs: Sequence[RunSpec], speeds: Sequence[Speed], precision: str, side: str) -> float:
    """Seconds of some runs, one after another, and of their teachers' tables.

    An epoch of a student is its baseline's; what a method adds was measured with one pair, and is scaled by the
    teacher's operations where the teacher is in every step. Another stem is scaled by the student's operations.

    Args:
        runs: Runs of the paper's size.
        speeds: All cells on that side.
        precision: Whose rows to take.
        side: `ours`, where teachers' tables are used, or `plain`.
    """
    epoch = {row.cell: row for row in speeds if (row.precision, row.side) == (precision, side)}
    base = {name: epoch[short_name(name, method=BASELINE)].epoch_seconds for name in BASELINES}
    added = {
        method: max(0.0, epoch[short_name(TEACHER, STUDENT, method=method)].epoch_seconds - base[STUDENT])
        for method in METHODS
    }
    teach_seconds = epoch[short_name(TEACHER, STUDENT, method="logit")].teach_seconds
    seconds, tables = 0.0, {}
    for run in runs:
        alone = run.model_copy(update={"method": BASELINE, "teacher": None, "hyperparameters": ()})
        cifar = alone.model_copy(update={"stem": "cifar"})
        an_epoch = base[run.architecture] * training_flops(alone) / training_flops(cifar)
        if run.teacher is not None:
            tabled = side == "ours" and uses_table(run)
            an_epoch += added[run.method] * (1.0 if tabled else _forward(run.teacher) / _forward(TEACHER))
            if tabled:
                tables[run.teacher.name] = table_flops(run)
        seconds += run.epochs * an_epoch
    if teach_seconds is not None and runs:
        seconds += sum(tables.values()) / (_forward(TEACHER) * runs[0].optimisation.batch_size) * teach_seconds
    return seconds


def announce(folder: Path) -> None:
    """Where kdcap is not installed, let this process and its children find its methods all the same.

    Args:
        folder: Empty folder that outlives the processes; their path begins with it.
    """
    if list(entry_points(group=GROUP)):
        return
    described = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{described['name']}-{described['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {described['name']}\nVersion: {described['version']}\n", encoding="utf-8")
    points = "".join(f"{name} = {value}\n" for name, value in described["entry-points"][GROUP].items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}", encoding="utf-8")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def _forward(of: RunSpec | Architecture) -> int:
    return forward_flops(of if isinstance(of, str) else of.architecture, "cifar", 64, EDGE, CLASSES)


def _show(section: str, rows: Sequence[Any]) -> None:
    if not rows:
        return
    print(f"\n{section}\n")
    head = [field.name for field in fields(rows[0])]
    cells = [[_word(value) for value in asdict(row).values()] for row in rows]
    print(table(head, cells), flush=True)


def _word(value: Any) -> str | float | None:  # noqa: ANN401 - any field
    return ("yes" if value else "no") if isinstance(value, bool) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    add_options(parser)
    chosen = parser.parse_args()
    measured = main(chosen)
    if chosen.json:
        write_json(chosen.json, measured)
