"""What a network weighs where it is used: parameters, operations, and the time of a forward pass."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Footprint:
    """A network's size and speed.

    Attributes:
        parameters: Trainable parameters.
        forward_flop: Floating-point operations of one image's forward pass as torch counts them: 2 for each
            multiply-add of convolutions and matrix products.
        latency_ms: Median wall time of a forward pass in milliseconds, by batch size (its digits: a key of JSON). It
            depends on the machine, its threads and the moment.
    """

    parameters: int
    forward_flop: int
    latency_ms: Mapping[str, float]


def measure(
    network: nn.Module, image_shape: Sequence[int], device: torch.device, batches: Sequence[int] = (1, 128)
) -> Footprint:
    """Measure a network in evaluation mode, in its own memory format and the arithmetic that is set now.

    A pass is timed ten times; fewer times, but three at least, where that takes more than half a second.

    Args:
        network: The network, which stays as it is: a copy is measured.
        image_shape: Channels, height and width of an image.
        device: Where to measure.
        batches: Batch sizes to time, in images.
    """
    measured = copy.deepcopy(network).to(device).eval()
    parameters = sum(parameter.numel() for parameter in measured.parameters() if parameter.requires_grad)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            measured(_images(1, image_shape, device))
        latency_ms = {str(batch): _latency_ms(measured, _images(batch, image_shape, device)) for batch in batches}
    return Footprint(parameters, counter.get_total_flops(), latency_ms)


def _images(batch: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Values in the range of normalised images: a GPU computes zeros faster. Not random: nothing may be drawn."""
    return torch.linspace(-2, 2, batch * math.prod(shape), device=device).reshape(batch, *shape)


def _latency_ms(network: nn.Module, images: Tensor) -> float:
    def forward() -> float:
        started = time.perf_counter()
        network(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        return time.perf_counter() - started

    _repeat(forward, at_least=1, at_most=3, seconds=0.1)  # warm up: kernels are chosen, memory is taken
    return 1000 * statistics.median(_repeat(forward, at_least=3, at_most=10, seconds=0.5))


def _repeat(timed: Callable[[], float], *, at_least: int, at_most: int, seconds: float) -> list[float]:
    """Times in seconds of repeated calls: no further ones once they have taken `seconds` together."""
    times: list[float] = []
    while len(times) < at_least or (len(times) < at_most and sum(times) < seconds):
        times.append(timed())
    return times
