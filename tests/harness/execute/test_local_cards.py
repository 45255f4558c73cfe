"""The local executor on a machine of two cards: real processes, an nvidia-smi of our own, and memory as we tell it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_study import install

from harness.study.spec import RunSpec

HERE = Path(__file__).parent
USABLE = {"GPU-big": 72_000, "GPU-small": 36_000}  # nine tenths of the MiB below
SMI = "#!/bin/sh\necho '0, GPU-big, 80000'\necho '1, GPU-small, 40000'\n"
MIB = {"resnet18": 30_000, "resnet34": 60_000}

# Loaded by the server of processes as a method's package is, it puts itself in the place of training.
TRAINING = """
import json, os, time
from pathlib import Path
import torch
from harness.execute import worker

LOG = Path(os.environ["FAKE_LOG"])
MIB = json.loads(os.environ["FAKE_MIB"])
PARTNER = {"resnet18-none-s0": "resnet18-none-s2"}  # does not end before the other has begun
run = None

def note(**what):
    with LOG.open("a") as log:
        log.write(json.dumps({"run": run.name, **what}) + "\\n")

def carry_out(job, on_epoch, say):
    global run
    run = job.spec
    note(event="start", card=os.environ.get("CUDA_VISIBLE_DEVICES"), cuda_was_there=torch.cuda.is_initialized())
    time.sleep(0.05)
    on_epoch(1, 0.5)
    partner, deadline = PARTNER.get(run.name), time.monotonic() + 60
    while partner and f'{{"run": "{partner}", "event": "start"' not in LOG.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{partner} was not started beside {run.name}")
        time.sleep(0.01)
    on_epoch(2, 0.6)
    note(event="end")

def gpu_memory_bytes():
    note(event="memory")
    return MIB[run.architecture] * 2**20

worker.carry_out, worker.gpu_memory_bytes = carry_out, gpu_memory_bytes
"""
COMMAND = """
import json, os, sys
from pathlib import Path
from harness.execute.local import LocalExecutor
from harness.study.spec import RunSpec
from small_jobs import Place
if __name__ == "__main__":
    jobs = [Place(Path("place")).job(RunSpec.model_validate(spec)) for spec in json.loads(sys.argv[1])]
    executor = LocalExecutor(int(sys.argv[2]), ["pretended"])
    ends = executor.run(jobs, lambda *_: None, lambda *_: None)
    print(json.dumps([(done.job.spec.name, done.error, done.node, done.seconds) for done in ends]))
"""


@dataclass(frozen=True)
class Carried:
    """What became of runs: `Done` by name (error, node, seconds), and what their processes noted, in order."""

    ends: dict[str, tuple[str | None, str, float]]
    events: list[dict[str, Any]]

    @property
    def cards(self) -> dict[str, str | None]:
        """What each run saw in CUDA_VISIBLE_DEVICES."""
        return {event["run"]: event["card"] for event in self.events if event["event"] == "start"}


@pytest.fixture
def carry_out(tmp_path: Path) -> Callable[..., Carried]:
    """Carries runs out on that machine, by a command of its own: the server of processes loads what it has to once."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text(  # a CPU build of torch would take no card
        "import harness.execute.cards\nharness.execute.cards.version = lambda _: '2.13.0'\n"
    )
    (tmp_path / "pretended_training.py").write_text(TRAINING)
    (tmp_path / "command.py").write_text(COMMAND)
    install(tmp_path, "pretended", "pretended", "pretended_training:carry_out")

    def run(specs: list[RunSpec], workers: int) -> Carried:
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run(
            [
                *(sys.executable, "command.py"),
                json.dumps([spec.model_dump(mode="json") for spec in specs]),
                str(workers),
            ],
            cwd=tmp_path,
            env=environment
            | {
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "PYTHONPATH": os.pathsep.join([str(tmp_path), str(HERE.parents[2]), str(HERE), str(HERE.parent)]),
                "FAKE_LOG": str(tmp_path / "log"),
                "FAKE_MIB": json.dumps(MIB),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        ends = {name: (error, node, seconds) for name, error, node, seconds in json.loads(done.stdout)}
        assert ends.keys() == {spec.name for spec in specs}
        return Carried(ends, [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()])

    return run


def misplaced(carried: Carried) -> list[str]:
    """Starts that a card had no room for: over its memory, or unmeasured beside another run."""
    at: dict[str, str] = {}
    measured: set[str] = set()
    wrong = []
    for event in carried.events:
        run, shape = event["run"], event["run"].partition("-")[0]
        match event["event"]:
            case "start" if event["card"] is not None:
                card = event["card"]
                there = [name.partition("-")[0] for name, its in at.items() if its == card]
                needed = sum(MIB[each] for each in [shape, *there])
                if there and (not {shape, *there} <= measured or needed > USABLE[card]):
                    wrong.append(f"{run} on {card} beside {there}")
                at[run] = card
            case "memory":
                measured.add(shape)
            case "end":
                at.pop(run, None)
    return wrong


@pytest.fixture
def specs(make_spec: Callable[..., RunSpec]) -> list[RunSpec]:
    """Four runs that need 30,000 MiB each, two that need 60,000, and one without a GPU."""
    gpu = {"device": "cuda"}
    return [
        *(make_spec(seed=seed, optimisation=gpu) for seed in range(4)),
        *(make_spec(architecture="resnet34", seed=seed, optimisation=gpu) for seed in range(2)),
        make_spec(architecture="resnet50"),
    ]


def test_runs_share_a_card_as_far_as_its_memory_goes(carry_out: Callable[..., Carried], specs: list[RunSpec]) -> None:
    """Measured by the first of its shape, which is alone; and each run sees its card only, before CUDA is there."""
    carried = carry_out(specs, workers=8)
    assert {error for error, _, _ in carried.ends.values()} == {None}
    assert misplaced(carried) == []
    cards = carried.cards
    assert (cards["resnet18-none-s0"], cards["resnet18-none-s1"]) == ("GPU-big", "GPU-small")
    assert cards["resnet18-none-s2"] == "GPU-big", "beside the first, which waits for it"
    assert cards["resnet50-none-s0"] is None
    assert not any(event.get("cuda_was_there") for event in carried.events)
    host, number = socket.gethostname(), {"GPU-big": 0, "GPU-small": 1, None: None}
    for name, (_, node, seconds) in carried.ends.items():
        card = number[cards[name]]
        assert node == (host if card is None else f"{host}, GPU {card}")
        assert seconds > 0


def test_the_check_of_places_can_fail() -> None:
    """A run beside one that was not measured; and, both measured, beyond the card's memory."""

    def event(run: str, what: str) -> dict[str, Any]:
        return {"run": f"{run}-none-s0", "event": what, "card": "GPU-big"}

    first, second = event("resnet34", "start"), event("resnet18", "start")
    assert misplaced(Carried({}, [first, second])) == ["resnet18-none-s0 on GPU-big beside ['resnet34']"]
    measured = [event(run, "memory") for run in ("resnet34", "resnet18")]
    assert misplaced(Carried({}, [*measured, first, second])) != []
    assert misplaced(Carried({}, [*measured, first, event("resnet34", "end"), second])) == []
