"""What bits depend on: settings, hardware, libraries and switches in the environment, all named."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from harness.study.spec import RunSpec
from harness.training import determinism

MakeSpec = Callable[..., RunSpec]
CPU = torch.device("cpu")
ON_A_CPU = {
    "device": "cpu",
    "cpu": "Some CPU",
    "cpu_capability": "AVX2",
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "python": "3.11.9",
    "numpy": "2.4.0",
    "platform": "Linux",
}
ON_A_GPU = ON_A_CPU | {"device": "cuda", "gpu": "Some GPU", "cuda": "13.0", "cudnn": "91000"}


def test_bits_depend_on_these_in_this_order(make_spec: MakeSpec) -> None:
    """Settings, device and hardware, libraries."""
    found = determinism.bits_depend_on(make_spec(), ON_A_CPU)
    assert list(found.items()) == [
        ("threads", "1"),
        ("precision", "fp32"),
        ("teacher_logits", "online"),
        ("device", "cpu"),
        ("cpu", "Some CPU"),
        ("cpu_capability", "AVX2"),
        ("torch", "2.13.0"),
        ("torchvision", "0.28.0"),
    ]


@pytest.mark.parametrize("changed", ["device", "cpu", "cpu_capability", "torch", "torchvision"])
def test_another_value_is_another_answer(make_spec: MakeSpec, changed: str) -> None:
    """So that a checkpoint from there is not used here."""
    spec = make_spec()
    other = determinism.bits_depend_on(spec, ON_A_CPU | {changed: "other"})
    assert other != determinism.bits_depend_on(spec, ON_A_CPU)


@pytest.mark.parametrize("changed", ["python", "numpy", "platform"])
def test_what_does_not_compute_does_not_count(make_spec: MakeSpec, changed: str) -> None:
    """A new kernel or a new Python is no reason to train from the start again."""
    spec = make_spec()
    other = determinism.bits_depend_on(spec, ON_A_CPU | {changed: "other"})
    assert other == determinism.bits_depend_on(spec, ON_A_CPU)


def test_on_a_gpu_its_name_and_libraries_count_and_the_cpus_name_does_not(make_spec: MakeSpec) -> None:
    """A run may go on beside another CPU; its capability stays, since initial weights are drawn there."""
    found = determinism.bits_depend_on(make_spec(), ON_A_GPU)
    assert {"gpu", "cuda", "cudnn", "cpu_capability"} <= found.keys()
    assert "cpu" not in found


@pytest.mark.parametrize(("name", "value"), [("threads", 2), ("precision", "bf16"), ("teacher_logits", "table")])
def test_the_runs_own_settings_count(make_spec: MakeSpec, name: str, value: object) -> None:
    """As the description says them."""
    found = determinism.bits_depend_on(make_spec(optimisation={name: value}), ON_A_CPU)
    assert found[name] == str(value)


def test_this_machines_stack_is_named(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is empty; switches count when they are set."""
    monkeypatch.delenv("MKL_CBWR", raising=False)
    stack = determinism.stack(CPU)
    assert all(stack.values())
    assert stack["torch"] == torch.__version__
    assert "MKL_CBWR" not in stack
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert determinism.stack(CPU)["MKL_CBWR"] == "COMPATIBLE"
    assert determinism.bits_depend_on(make_spec(), determinism.stack(CPU))["MKL_CBWR"] == "COMPATIBLE"


# Two processes, since oneDNN looks at its switch once: the child has it set.
CONVOLUTIONS = """
import os
import torch

torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
images, weight = torch.randn(8, 16, 16, 16, generator=draw), torch.randn(32, 16, 3, 3, generator=draw)
child = os.fork()
if child == 0:
    os.environ["DNNL_MAX_CPU_ISA"] = "SSE41"
else:
    os.waitpid(child, 0)
print(torch.conv2d(images, weight).double().sum().item().hex())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the switch chooses among x86's instruction sets")
def test_a_switch_changes_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to do with old instructions, oneDNN convolves in another order: the same numbers, not the same bits."""
    for switch in determinism.SWITCHES:
        monkeypatch.delenv(switch, raising=False)
    ended = subprocess.run([sys.executable, "-c", CONVOLUTIONS], capture_output=True, text=True, check=True)
    old, plain = (float.fromhex(line) for line in ended.stdout.split())
    assert plain != old
    assert plain == pytest.approx(old, rel=1e-3)


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_is_for_bfloat16_alone(make_spec: MakeSpec, precision: str, expected: torch.dtype) -> None:
    """Convolutions and classifier; batch norms keep their statistics, losses are float32, and it ends with its block.

    A bf16 run's gradients have its parameters' type.
    """
    context = determinism.autocast(make_spec(optimisation={"precision": precision}).optimisation, CPU)
    convolution = torch.nn.Conv2d(3, 4, 3)
    norm = torch.nn.BatchNorm2d(4)
    images = torch.ones(2, 3, 4, 4)
    for _ in range(2):  # an epoch enters it at every step
        with context:
            features = norm(convolution(images))
            assert convolution(images).dtype == expected
            assert torch.nn.functional.cross_entropy(features.flatten(1), torch.tensor([0, 1])).dtype == torch.float32
        features.float().sum().backward()
        assert convolution(images).dtype == torch.float32
    assert norm.running_mean is not None
    assert norm.running_mean.dtype == torch.float32
    assert convolution.weight.grad is not None
    assert convolution.weight.grad.dtype == torch.float32
