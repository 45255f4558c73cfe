"""Asks torch for deterministic arithmetic, and says what was asked and on which stack."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from harness.errors import EnvironmentProblem
from harness.study.spec import Optimisation, RunSpec
from harness.study.study import Study

# Environment variables by which libraries under torch take other kernels: oneDNN's "CPU dispatcher control" and
# "floating-point math mode" (under its old and its new name), MKL's "conditional numerical reproducibility" and
# "instruction set specific dispatching", and NVIDIA's switch for TF32.
SWITCHES = (
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)


def configure(optimisation: Optimisation) -> torch.device:
    """Set threads, precision and deterministic kernels for this process, and pick its device.

    Args:
        optimisation: The run's arithmetic.

    Returns:
        The device to train on.

    Raises:
        EnvironmentProblem: The study asks for cuda and there is none.
    """
    if optimisation.device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "optimisation.device: expected a CUDA device, found none; use `device: auto` or a machine with a GPU."
        )
    # cuBLAS needs this before its first call: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN only unmasks operators that read it, and costs 10% of a small network's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # made at import
    torch.backends.cudnn.benchmark = False  # a kernel chosen by its timing would be another one tomorrow
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined] # made at import
    convolutions.fp32_precision = "ieee" if optimisation.precision == "fp32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # PyTorch's default, as in the paper: convolutions only
    torch.set_num_threads(optimisation.threads)
    use_cuda = optimisation.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def autocast(optimisation: Optimisation, device: torch.device) -> AbstractContextManager[object]:
    """The arithmetic of forward passes; gradients follow it by themselves.

    Args:
        optimisation: Says the precision.
        device: Where the passes run.

    Returns:
        A context: torch's autocast to bfloat16 for `bf16`, nothing for `fp32` and `tf32` (see `configure`).
    """
    if optimisation.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def stack(device: torch.device) -> dict[str, str]:
    """Versions and hardware under a run, for its record. Call it after `configure`.

    Args:
        device: Where the run trains.

    Returns:
        Values by name; `gpu` and what belongs to it on a GPU only, switches in the environment where they are set.
    """
    found = {"device": device.type}
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        }
    found |= {
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),  # has the ResNets, and how they are initialised
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
    }
    return found | {name: os.environ[name] for name in SWITCHES if name in os.environ}


def bits_depend_on(run: RunSpec | Study, stack: Mapping[str, str]) -> dict[str, str]:
    """Where and how a run computes, as far as another value may give other bits.

    What it computes (its description, the training code, the images, the teacher's weights) has digests of its own.

    Args:
        run: A run, or the study that it is of.
        stack: As `stack` returned it. Left out are Python, numpy and the operating system, which compute nothing in
            training, and on a GPU the CPU's name: its capability, which random numbers depend on, stays.

    Returns:
        Values by name: settings, device, hardware, libraries, switches.
    """
    settings = run.optimisation
    idle = {"python", "numpy", "platform"} | ({"cpu"} if "gpu" in stack else set())
    return {
        "threads": str(settings.threads),
        "precision": settings.precision,
        "teacher_logits": settings.teacher_logits,
        **{name: value for name, value in stack.items() if name not in idle},
    }


def settings() -> dict[str, str | int | bool]:
    """The settings in force, read back from torch rather than repeated from what was asked."""
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "conv_fp32_precision": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined] # made at import
        "matmul_fp32_precision": torch.backends.cuda.matmul.fp32_precision,
        "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a file on disk
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
