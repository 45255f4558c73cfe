"""What a run costs, before it is run: floating-point operations from the layouts, hours from a measured rate."""

from __future__ import annotations

from harness.study.spec import Architecture, Dataset, RunSpec, Stem
from harness.training.architectures import LAYOUTS

# Images of each dataset: edge in pixels, training images before the validation split.
_IMAGES = {"digits": (8, 1797), "cifar10": (32, 50_000), "cifar100": (32, 50_000), "folder": (32, 50_000)}
# The published logs (A100-80GB) put the whole study at about 52 hours; by this module it is 4,273 PFLOP.
A100_SECONDS_PER_PFLOP = 52 * 3600 / 4273
# One thread of a server CPU on networks of width 8: 12 GFLOP/s, measured on the quick profile's ResNet-18 and -101.
CPU_THREAD_SECONDS_PER_PFLOP = 1e15 / 12e9


def forward_flops(architecture: Architecture, stem: Stem, width: int, edge: int) -> float:
    """Floating-point operations of one image's forward pass: 2 for each multiply-add of convolutions and classifier.

    Args:
        architecture: Which ResNet.
        stem: Its stem.
        width: Channels of the first stage.
        edge: Height and width of an image in pixels.
    """
    layout = LAYOUTS[architecture]
    kernel, stride = (3, 1) if stem == "cifar" else (7, 2)
    edge = -(-edge // stride)
    multiply_adds = float(3 * width * kernel**2 * edge**2)
    edge = edge if stem == "cifar" else -(-edge // 2)
    inputs = width
    for stage, blocks in enumerate(layout.blocks):
        inner, outputs = width * 2**stage, layout.channels(width)[stage]
        for block in range(blocks):
            before = edge
            if block == 0 and stage > 0:
                edge = -(-edge // 2)
            if layout.expansion == 1:  # two 3x3 convolutions
                multiply_adds += 9 * (inputs * inner + inner * inner) * edge**2
            else:  # 1x1, 3x3 (which strides), 1x1
                multiply_adds += inputs * inner * before**2 + (9 * inner * inner + inner * outputs) * edge**2
            if inputs != outputs:  # the shortcut's 1x1 convolution
                multiply_adds += inputs * outputs * edge**2
            inputs = outputs
    return 2 * (multiply_adds + inputs * 10)


def training_flops(spec: RunSpec) -> float:
    """Floating-point operations of all epochs: backward counts twice forward; teacher and validation forward only."""
    edge, _ = _IMAGES[spec.dataset.name]
    width = spec.model.width
    forward = forward_flops(spec.architecture, spec.stem, width, edge)
    step = 3 * forward
    if spec.teacher is not None:
        step += forward_flops(spec.teacher.architecture, spec.teacher.stem, width, edge)
    an_epoch = step * _training_images(spec.dataset) + forward * spec.dataset.validation_images
    return an_epoch * spec.epochs


def nominal_seconds(spec: RunSpec) -> float:
    """Seconds of a run on the machine that the profile is meant for: a CPU thread, or one A100-80GB."""
    rate = CPU_THREAD_SECONDS_PER_PFLOP if spec.optimisation.device == "cpu" else A100_SECONDS_PER_PFLOP
    return training_flops(spec) / 1e15 * rate


def _training_images(dataset: Dataset) -> int:
    _, images = _IMAGES[dataset.name]
    return dataset.train_images or images - dataset.validation_images - (dataset.test_images or 0)
