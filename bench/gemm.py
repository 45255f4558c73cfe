"""What this machine can do at best: the product of two large matrices, in a run's arithmetic."""

from __future__ import annotations

import torch

from bench.sides import Setting, Works, serve
from harness.training import determinism

# Large enough for full speed: 0.14 TFLOP on a CPU, 1.1 on a GPU.
EDGE = {"cpu": 4096, "cuda": 8192}


def works(setting: Setting) -> Works:
    """A matrix product of the spec's threads, device and precision."""
    device = determinism.configure(setting.spec.optimisation)
    precision = setting.spec.optimisation.precision
    torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    # a side of width 64 is full-sized; narrower ones are tests
    edge = EDGE[device.type] if setting.spec.model.width == 64 else 64  # noqa: PLR2004 - torchvision's width
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(edge, edge, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(a)

    def step() -> None:
        torch.mm(a, b, out=out)

    return {"step": step}


if __name__ == "__main__":
    serve(works)
