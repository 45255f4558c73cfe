"""Asks torch for deterministic arithmetic, and says what was asked and on which stack."""

from __future__ import annotations

import os
import platform

import numpy as np
import torch

from harness.errors import EnvironmentProblem
from harness.study.spec import Optimisation


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
    convolutions.fp32_precision = "tf32" if optimisation.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # PyTorch's default, as in the paper: convolutions only
    torch.set_num_threads(optimisation.threads)
    use_cuda = optimisation.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def stack(device: torch.device) -> dict[str, str]:
    """Versions and hardware that bits depend on; runs agree to the bit only where these agree."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
    return found


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
