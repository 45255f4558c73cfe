"""The training benches: both sides compute the same thing, turns are told rightly, and predictions add up."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import distributions, entry_points
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from PIL import Image

from bench import accuracy, gpu, runs, sides, training
from bench.__main__ import BENCHES, main
from bench.show import table
from bench.sides import Answer, Setting, Side
from harness.study.methods import GROUP
from harness.study.spec import RunSpec

TINY = {
    "dataset": {"train_images": 16, "validation_images": 8, "crop_padding": 0, "horizontal_flip": False},
    "model": {"width": 8},
    "optimisation": {"batch_size": 16, "threads": 1, "device": "cpu", "precision": "fp32"},
}


class HereSide:
    """A side in this process: starting many takes longer than what they do here."""

    def __init__(self, module: str, setting: Setting, python: str = sys.executable) -> None:
        assert python == sys.executable
        self.works = sides.all_works(import_module(module).works(setting))
        self.answers: list[Answer] = []

    def ask(self, work: str, times: int = 1) -> None:
        """See `Side`."""
        self.answers.append(sides.perform(self.works[work], times))

    def answer(self) -> Answer:
        """See `Side`."""
        return self.answers.pop()

    def do(self, work: str, times: int = 1) -> Answer:
        """See `Side`."""
        self.ask(work, times)
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sides of this test work in this process, without torchdistill, on one thread."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    for module in (training, gpu, accuracy):
        monkeypatch.setattr(module, "Side", HereSide)
    monkeypatch.setattr(training, "torchdistill_is_installed", lambda: False)
    monkeypatch.setattr(training, "THREADS", 1)
    with torch.random.fork_rng(devices=[]):  # the plain loop draws from torch's global generator
        yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def options(add: Callable[[argparse.ArgumentParser], None], *given: str) -> argparse.Namespace:
    """A bench's options as its command line would give them."""
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(given)


def cell(method: str, **dataset: object) -> RunSpec:
    """A tiny R34 -> R18 run of the paper's; keyword arguments change its dataset."""
    blocks = {**TINY, "dataset": {**TINY["dataset"], **dataset}}
    return runs.changed(runs.of_profile("paper", method, "resnet18", "resnet34"), blocks, 2)


@pytest.mark.parametrize("method", ["none", "logit", "feature"])
def test_ours_and_plain_take_the_same_step(method: str) -> None:
    """Speed is compared at equal work: from the same weights, one step on the same images ends at the same weights."""
    from bench.ours import OurSide
    from bench.plain import PlainRun

    setting = Setting(spec=cell(method), random_edge=8, without="table")
    ours = OurSide(setting)
    plain = PlainRun(setting.spec, ours.data, torch.device("cpu"), workers=0)
    if ours.run.method is not None:  # each draws its own projections
        plain.projections.load_state_dict(
            {name.removeprefix("projections."): value for name, value in ours.run.method.state_dict().items()}
        )
    ours.step()
    plain.step()
    for name, value in plain.student.state_dict().items():
        torch.testing.assert_close(ours.run.student.state_dict()[name], value, rtol=2e-4, atol=2e-6, msg=name)


def test_plain_images_are_augmented_one_by_one() -> None:
    """Without augmentation an item is the normalised image; with it, items of one image differ."""
    from bench.plain import PilImages

    setting = Setting(spec=cell("none"), random_edge=8)
    data = sides.images_of(setting)
    item, label = PilImages(data, setting.spec)[3]
    torch.testing.assert_close(item, (data.train_images[3] / 255 - 0.5) / 0.5)
    assert label == int(data.train_labels[3])
    augmented = PilImages(data, cell("none", crop_padding=4, horizontal_flip=True))
    assert len({tuple(augmented[3][0].flatten().tolist()) for _ in range(8)}) > 1


def test_the_table_is_spread_over_the_seeds_of_a_cell() -> None:
    """162 views of each image, over 5 seeds of 2 epochs."""
    assert training.table_share(cell("logit", crop_padding=4, horizontal_flip=True)) == 162 / (5 * 2)


def test_ratios_are_of_neighbours() -> None:
    """A spell of noise that doubles both sides leaves the ratio alone."""
    assert sides.ratio([2.0, 4.0, 2.0], [1.0, 2.0, 1.0]) == 2.0


def test_turns_alternate() -> None:
    """Each lane works once a round."""
    order: list[str] = []
    lanes = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert sides.in_turn(lanes, 2) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert order == ["a", "b", "a", "b"]


def test_a_side_works_in_a_process_of_its_own() -> None:
    """It answers what it is asked, and when it dies the last line that it wrote says why."""
    with Side("bench.gemm", Setting(spec=cell("none"))) as side:
        assert side.do("flops").value == 2 * 64**3  # of a matrix product
        answer = side.do("step", 2)
        assert side.do("stack").value["device"] == "cpu"
        with pytest.raises(RuntimeError, match=r"bench\.gemm ended with exit code 1: KeyError: 'dance'"):
            side.do("dance")
    assert answer.seconds > 0
    assert answer.value is None
    assert 2**20 < answer.peak_bytes < 2**33


@pytest.mark.usefixtures("here")
def test_the_training_bench_runs_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Every part has its rows, the first side of a comparison has no ratio, and what is missing is said."""
    given = ["--quick", "--rounds", "2", "--parts", *training.PARTS, "leads"]
    found = training.main(options(training.add_options, *given))
    assert json.loads(json.dumps(found)) == found
    parts = {part: [(row["cell"], row["side"]) for row in rows] for part, rows in found["parts"].items()}
    assert parts["cells"] == [
        (name, side) for name in ("R18 none", "R50->R18 logit", "R50->R18 feature") for side in ("ours", "plain")
    ]
    assert [side for _, side in parts["leads"]] == [
        *("ours", "without channels_last", "without allocator", "without fused optimiser"),
        *("ours", "without channels_last", "without allocator", "without fused optimiser", "without table"),
        *("ours", "without channels_last", "without allocator", "without fused optimiser", "without folded teacher"),
    ]
    for rows in found["parts"].values():
        for row in rows:
            assert (row["ratio"] is None) == (
                row["side"] in ("ours", "ours, 1 process of 1 threads", "plain, 0 workers")
            )
    plain = found["parts"]["cells"][3]
    assert plain["ratio_with_table"] < plain["ratio"]  # the table costs something
    printed = capsys.readouterr().out
    assert "torchdistill is not installed" in printed
    assert "| R50->R18 logit   | plain |" in printed


@pytest.mark.usefixtures("here")
def test_ours_needs_fewer_operations_only_by_the_table() -> None:
    """Operations are counted on a real step: a table spares the teacher's forward pass, and nothing else."""
    given = ["--quick", "--rounds", "1", "--parts", "cells", "--methods", "logit", "feature"]
    rows = training.main(options(training.add_options, *given))["parts"]["cells"]
    flops = {(row["cell"], row["side"]): row["gflop_per_image"] for row in rows}
    assert flops["R50->R18 feature", "ours"] == pytest.approx(flops["R50->R18 feature", "plain"])
    teacher = training.forward_flops("resnet50", "cifar", training.QUICK_MODEL["width"], 8, 10) / 1e9
    assert flops["R50->R18 logit", "plain"] - flops["R50->R18 logit", "ours"] == pytest.approx(teacher)


@pytest.mark.usefixtures("here")
def test_the_gpu_bench_runs_whole_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs repeat, cut or not, a table equals its teacher to the bit, and hours follow from the epochs."""
    image_folder(tmp_path, 8)
    given = ["--device", "cpu", "--tiny", "--precisions", "fp32", "--images", str(tmp_path), "--epochs", "2"]
    found = gpu.main(options(gpu.add_options, *given, "--workers", "0"))
    assert json.loads(json.dumps(found)) == found
    assert [(row["cell"], row["twice"], row["resumed"], row["table_equal"]) for row in found["bits"]] == [
        ("R50->R18 logit", True, True, True),
        ("R50->R18 feature", True, True, None),
    ]
    assert len(found["epochs"]) == 12
    assert [row["processes"] for row in found["card"]] == [1, 2, 4]
    (hours,) = found["hours"]
    assert hours["share"] == pytest.approx(hours["ours_hours"] / hours["plain_hours"])
    assert found["accuracy"][0]["images"] == "JPEG re-encodings, lossy: not a CIFAR-10 result"
    assert "| fp32      | R50->R18 logit   | yes   | yes     | yes         |" in capsys.readouterr().out


def test_bits_that_differ_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The check can fail: other digests, a table that is off."""
    values = iter(["a", "b", None, 0.25, "c", "a", "a", None, "a"])

    class Says(HereSide):
        def __init__(self, *_: object) -> None:
            """Has no works."""

        def do(self, work: str, times: int = 1) -> Answer:
            """Says the next value."""
            del work, times
            return Answer(1.0, 1, next(values))

    monkeypatch.setattr(gpu, "Side", Says)
    bench = gpu.Bench(options(gpu.add_options, "--precisions", "fp32", "--device", "cpu"), tmp_path)
    logit, feature = bench.bits()
    assert (logit.twice, logit.resumed, logit.table_equal, logit.table_difference) == (False, False, False, 0.25)
    assert (feature.twice, feature.resumed) == (True, True)


def test_hours_add_up() -> None:
    """By hand: 1, 2, 4 and 8 s an epoch; logit adds 0.5 s and feature 1 s with R50; a table pass of 128 takes 0.1 s."""
    seconds = {"R18 none": 1.0, "R34 none": 2.0, "R50 none": 4.0, "R101 none": 8.0}
    seconds |= {"R50->R18 logit": 1.5, "R50->R18 feature": 2.0}
    speeds = [
        gpu.Speed("bf16", name, side, value, 1.0, 1.0, 1.0, 1.0, 0.1 if side == "ours" and "logit" in name else None)
        for name, value in seconds.items()
        for side in gpu.MODULES
    ]

    def predicted(side: str, *cells: RunSpec) -> float:
        return gpu.predicted_seconds(cells, speeds, "bf16", side)

    def of(method: str, student: Any = "resnet18", teacher: Any = "resnet50") -> RunSpec:  # noqa: ANN401 - names
        return runs.of_profile("paper", method, student, teacher)

    times = gpu.forward_flops("resnet101", "cifar", 64, 32, 10) / gpu.forward_flops("resnet50", "cifar", 64, 32, 10)
    assert predicted("ours", of("none")) == pytest.approx(100.0)
    assert predicted("ours", of("feature", "resnet34", "resnet101")) == pytest.approx(100 * (2 + times))
    assert predicted("plain", of("logit", "resnet34", "resnet101")) == pytest.approx(100 * (2 + 0.5 * times))
    table = 162 * 45_000 / 128 * 0.1
    assert predicted("ours", of("logit")) == pytest.approx(100 * 1.5 + table)
    assert predicted("ours", of("logit"), of("logit", "resnet34")) == pytest.approx(100 * (1.5 + 2.5) + table)
    stem = of("none").model_copy(update={"stem": "imagenet"})
    assert 2 < predicted("ours", stem) < 10  # a sixteenth of the pixels


def test_methods_are_found_without_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare checkout on a GPU machine knows the methods that pyproject.toml names."""
    installed = {(point.name, point.value) for point in entry_points(group=GROUP)}
    monkeypatch.setattr(gpu, "entry_points", lambda **_: ())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    gpu.announce(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    assert {(point.name, point.value) for point in found.entry_points.select(group=GROUP)} == installed
    assert sys.path[0] == str(tmp_path)


def image_folder(root: Path, each: int) -> None:
    """Write pictures of one colour a class: what a network of width 8 can learn in two epochs, if at all."""
    for split, count in (("train", each), ("test", 2)):
        for number in range(10):
            folder = root / split / f"class{number}"
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = torch.full((32, 32, 3), 25 * number, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{image}.png")


@pytest.mark.usefixtures("here")
def test_accuracy_is_told_by_epoch_for_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both train on the same images, and the table says that they are not CIFAR-10."""
    image_folder(tmp_path, 6)
    sizes = ["--train-images", "40", "--validation-images", "20", "--epochs", "2", "--width", "8", "--threads", "1"]
    found = accuracy.main(options(accuracy.add_options, "--images", str(tmp_path), *sizes))
    assert json.loads(json.dumps(found)) == found
    for side in found["sides"].values():
        assert len(side["val_acc"]) == 2
        assert 0 <= side["test_acc_last"] <= 1
    assert "not a CIFAR-10 result" in capsys.readouterr().out


def test_the_command_writes_its_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--json` keeps what was measured, by bench."""
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(tmp_path / "x.json"), "gpu", "--only", "card"])
    monkeypatch.setitem(BENCHES, "gpu", lambda options: {"only": options.only})
    main()
    assert json.loads((tmp_path / "x.json").read_text()) == {"gpu": {"only": ["card"]}}


def test_without_a_name_training_and_statistics_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make bench` measures both, with the options' defaults."""
    seen: list[tuple[str, int]] = []
    for name in BENCHES:
        monkeypatch.setitem(BENCHES, name, lambda options: seen.append((options.bench, options.rounds)))
    monkeypatch.setattr(sys, "argv", ["bench"])
    main()
    assert seen == [("training", 5), ("statistics", 31)]


def test_tables_are_markdown() -> None:
    """Numbers to the right with three digits, nothing measured as a dash."""
    assert table(["side", "images/s"], [["ours", 1234.5], ["plain", None]]) == (
        "| side  | images/s |\n|-------|---------:|\n| ours  |    1,234 |\n| plain |        - |"
    )


@pytest.mark.skipif(not training.torchdistill_is_installed(), reason="torchdistill's environment is not made")
def test_torchdistill_does_the_plain_loops_work() -> None:
    """Its step takes the same operations, and its loss is that of the same run."""
    setting = Setting(spec=cell("logit"), random_edge=8)
    theirs = Side("bench.peers.torchdistill_side", setting, training.TORCHDISTILL)
    with theirs, Side("bench.plain", setting) as plain:
        # of the first step: the whole batch, in whatever order, from the same weights
        assert theirs.do("step").value == pytest.approx(plain.do("step").value, rel=1e-4)
        assert theirs.do("flops").value == plain.do("flops").value


def test_other_work_on_the_machine_is_told() -> None:
    """Of 20 s of work in 10 s on the clock, 2 s were the bench's own: 1.8 cores were busy elsewhere."""
    before, after = training._CpuTime(0.0, 5.0, 1.0), training._CpuTime(10.0, 25.0, 3.0)
    assert after.elsewhere(before) == pytest.approx(1.8)
