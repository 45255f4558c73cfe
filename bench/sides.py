"""Ways of training, side by side: each in a process of its own that is kept warm and works only when it is asked to.

Sides take turns, so that a noisy machine disturbs all alike; and since each has its own process, what one does to its
process (allocator, threads, deterministic kernels, memory) touches no other. They speak JSON, a line each way:
`{"do": WORK, "times": N}` is answered by `{"seconds": ..., "peak_bytes": ..., "value": ...}`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from harness.study.spec import Frozen, RunSpec

if TYPE_CHECKING:
    from harness.training.data import Data

# A lead that ours can do without.
Without = Literal["channels_last", "folded teacher", "table", "allocator", "fused optimiser"]
# What can be asked of a side, by name; a result that is not None must be what JSON can hold.
Works = Mapping[str, Callable[[], object]]


class Setting(Frozen):
    """What one side trains.

    Attributes:
        spec: The run; its optimisation names threads, device and precision.
        random_edge: Edge in pixels of random images that stand in for the dataset's, as many as the spec says; None
            for the images themselves. Speed does not depend on what is seen.
        workers: Processes of a DataLoader, for sides that have one.
        without: The lead that ours does without, for the ablation.
        folder: Folder for a table or a state, for sides that write one.
    """

    spec: RunSpec
    random_edge: int | None = None
    workers: int = 0
    without: Without | None = None
    folder: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a side says of its work.

    Attributes:
        seconds: Wall time of the work, without the talk.
        peak_bytes: The process's largest resident set so far; on a GPU, the largest memory held on the card.
        value: The last work's result.
    """

    seconds: float
    peak_bytes: int
    value: Any


class Side:
    """A process that holds one way of training.

    Args:
        module: Module that is run, which calls `serve`.
        setting: What it trains.
        python: Interpreter, for sides with an environment of their own.
    """

    def __init__(self, module: str, setting: Setting, python: str = sys.executable) -> None:
        self.module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - the project's own modules
            [python, "-m", module, setting.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, work: str, times: int = 1) -> None:
        """Set it to work, without waiting."""
        try:
            print(json.dumps({"do": work, "times": times}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None

    def answer(self) -> Answer:
        """Wait for what was asked.

        Raises:
            RuntimeError: The process died; gives the last line that it wrote.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._died()
        return Answer(**json.loads(line))

    def do(self, work: str, times: int = 1) -> Answer:
        """Ask and wait."""
        self.ask(work, times)
        return self.answer()

    def _died(self) -> RuntimeError:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
        return RuntimeError(f"{self.module} ended with exit code {self._process.returncode}: {lines[-1]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr] # made with pipes
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr] # made with pipes
        self._errors.close()


def in_turn(lanes: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let every lane have its turn, round after round.

    Args:
        lanes: By name, what does the work of a turn and returns its seconds.
        rounds: Turns of each.

    Returns:
        Seconds of every turn, by name, in step with each other.
    """
    seconds: dict[str, list[float]] = {name: [] for name in lanes}
    for _ in range(rounds):
        for name, lane in lanes.items():
            seconds[name].append(lane())
    return seconds


def at_once(sides: Sequence[Side], work: str, times: int = 1) -> float:
    """Set some sides to work at the same moment; returns the seconds of the slowest."""
    for side in sides:
        side.ask(work, times)
    return max(side.answer().seconds for side in sides)


def ratio(theirs: Iterable[float], ours: Iterable[float]) -> float:
    """How many times as long theirs took: the median over neighbours in time."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def serve(make: Callable[[Setting], Works]) -> None:
    """The other end: make a side from the setting in argv, and work as asked until nobody asks any more.

    Args:
        make: Makes what can be asked; see also `all_works`.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    works = all_works(make(Setting.model_validate_json(sys.argv[1])))
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(asdict(perform(works[asked["do"]], asked["times"]))), file=answers, flush=True)


def all_works(works: Works) -> Works:
    """What every side can be asked beside its own works.

    `stack` tells versions and hardware, `peak` nothing but the memory. Where there is a `step`, `flops` counts a step's
    floating-point operations as torch does: convolutions and matrix products, those with the padding's zeros included.
    """
    import torch

    from harness.training.determinism import stack

    common: dict[str, Callable[[], object]] = {
        "stack": lambda: stack(torch.device("cuda" if torch.cuda.is_initialized() else "cpu")),
        "peak": lambda: None,
    }
    if "step" in works:
        common["flops"] = lambda: _counted(works["step"])
    return {**works, **common}


def perform(work: Callable[[], object], times: int) -> Answer:
    """Work some times, and tell how long it took."""
    import torch

    value: object = None
    started = time.perf_counter()
    for _ in range(times):
        value = work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return Answer(time.perf_counter() - started, _peak_bytes(), value)


def _counted(step: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def _peak_bytes() -> int:
    import torch

    if torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    # ru_maxrss would also count the process that this one was forked from
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def images_of(setting: Setting) -> Data:
    """A side's images: the dataset's, or random ones of the same number."""
    import torch

    from harness.training import data

    spec, edge = setting.spec, setting.random_edge
    if edge is None:
        return data.load(spec.dataset, Path("data"))
    generator = torch.Generator().manual_seed(0)
    counts = (spec.dataset.train_images or 0, spec.dataset.validation_images, spec.dataset.validation_images)
    images = [torch.randint(0, 256, (n, 3, edge, edge), dtype=torch.uint8, generator=generator) for n in counts]
    labels = [torch.randint(0, 10, (n,), generator=generator) for n in counts]
    test = data.SealedTestSet(images[2], labels[2])
    half = torch.full((3,), 0.5)
    return data.Data(images[0], labels[0], images[1], labels[1], test, 10, half, half, sha256="0" * 64)
