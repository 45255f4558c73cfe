"""What a run costs, before it is run: operations and bytes from the layouts, hours from a measured rate."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import NamedTuple

from harness.study.methods import LOGITS_METHODS, UNTRAINED_TEACHER
from harness.study.spec import Architecture, Dataset, RunSpec, Stem
from harness.training.architectures import channels, convolutions, norms

# The published logs (A100-80GB) put the whole study, teachers online, at about 52 hours; by this module it is then
# 4,273 PFLOP.
A100_SECONDS_PER_PFLOP = 52 * 3600 / 4273
# One thread of a server CPU on networks of width 8: 12 GFLOP/s, measured on the quick profile's ResNet-18 and -101.
CPU_THREAD_SECONDS_PER_PFLOP = 1e15 / 12e9
CHECKPOINTS_KEPT = 2  # the last one, and the one before until that is whole
_FLOAT32, _INT64 = 4, 8  # bytes


class _Images(NamedTuple):
    edge: int  # pixels
    training: int  # images before the validation split
    test: int  # images; 0: as the profile says
    classes: int


# A plan opens no files, so for a folder the numbers of CIFAR-10 are assumed.
_IMAGES = {
    "digits": _Images(8, 1797, 0, 10),
    "cifar10": _Images(32, 50_000, 10_000, 10),
    "cifar100": _Images(32, 50_000, 10_000, 100),
    "folder": _Images(32, 50_000, 10_000, 10),
}


@cache  # a plan asks it for each run, and there are few networks
def forward_flops(architecture: Architecture, stem: Stem, width: int, edge: int, classes: int) -> int:
    """Floating-point operations of one image's forward pass: 2 for each multiply-add of convolutions and classifier.

    Args:
        architecture: Which network.
        stem: Its stem.
        width: `model.width` of the study: 64 is full size.
        edge: Height and width of an image in pixels.
        classes: Number of outputs.

    Raises:
        StudyError: There is no such network.
    """
    multiply_adds = channels(architecture, width)[-1] * classes
    for layer in convolutions(architecture, stem, width):
        pixels = (-(-edge // layer.reduction)) ** 2
        multiply_adds += layer.inputs * layer.outputs * layer.kernel**2 * pixels
    return 2 * multiply_adds


@cache
def parameters(architecture: Architecture, stem: Stem, width: int, classes: int) -> int:
    """Trainable parameters of a network: convolutions, batch norms (two a channel), and the classifier with its bias.

    Args:
        architecture: Which network.
        stem: Its stem.
        width: `model.width` of the study: 64 is full size.
        classes: Number of outputs.

    Raises:
        StudyError: There is no such network.
    """
    kernels = sum(each.inputs * each.outputs * each.kernel**2 for each in convolutions(architecture, stem, width))
    return kernels + 2 * sum(norms(architecture, width)) + (channels(architecture, width)[-1] + 1) * classes


def training_flops(spec: RunSpec) -> int:
    """Floating-point operations of all epochs: backward counts twice forward; teacher and validation forward only.

    A teacher whose logits come from a table costs a run nothing; the table's own cost is `table_flops`.
    """
    forward = _forward(spec, spec)
    step = 3 * forward
    if spec.teacher is not None and not uses_table(spec):
        step += _forward(spec.teacher, spec)
    an_epoch = step * _training_images(spec.dataset) + forward * spec.dataset.validation_images
    return an_epoch * spec.epochs


def nominal_seconds(spec: RunSpec) -> float:
    """Seconds of a run on the machine that the profile is meant for: a CPU thread, or one A100-80GB."""
    rate = CPU_THREAD_SECONDS_PER_PFLOP if spec.optimisation.device == "cpu" else A100_SECONDS_PER_PFLOP
    return training_flops(spec) / 1e15 * rate


@dataclass(frozen=True)
class Pace:
    """How fast runs go: as fast as those that are done, or else at the nominal rates.

    Args:
        done: Seconds of training of each run that is done.
    """

    done: Mapping[RunSpec, float]

    def run_seconds(self, spec: RunSpec) -> float:
        """Seconds of a run: by the epochs of runs of its shape, else by the operations of all that are done."""
        if not self.done:
            return nominal_seconds(spec)
        if spec.shape in self._epoch_seconds:
            return self._epoch_seconds[spec.shape] * spec.epochs
        return training_flops(spec) * self._flop_seconds

    def table_seconds(self, spec: RunSpec) -> float:
        """Seconds of a run's teacher table."""
        if not self.done:
            return nominal_seconds(spec) * table_flops(spec) / training_flops(spec)
        return table_flops(spec) * self._flop_seconds

    @cached_property
    def _flop_seconds(self) -> float:
        return sum(self.done.values()) / sum(map(training_flops, self.done))

    @cached_property
    def _epoch_seconds(self) -> dict[Hashable, float]:
        of_shape: dict[Hashable, list[float]] = {}
        for run, seconds in self.done.items():
            of_shape.setdefault(run.shape, []).append(seconds / run.epochs)
        return {shape: fmean(seconds) for shape, seconds in of_shape.items()}


def uses_table(spec: RunSpec) -> bool:
    """Whether a run reads its teacher's logits from a table."""
    return spec.teacher is not None and spec.optimisation.teacher_logits == "table" and spec.method in LOGITS_METHODS


def teacher_tables(runs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    """A run of each teacher table that runs read, by what the table's file name begins with: teacher and variant."""
    return {
        f"{run.teacher.name}-{'untrained' if run.method in UNTRAINED_TEACHER else 'trained'}": run
        for run in runs
        if run.teacher is not None and uses_table(run)
    }


def table_flops(spec: RunSpec) -> int:
    """Floating-point operations of a run's teacher table, which other runs may share; 0 for a run without one."""
    if spec.teacher is None or not uses_table(spec):
        return 0
    return _views(spec.dataset) * _training_images(spec.dataset) * _forward(spec.teacher, spec)


def table_bytes(spec: RunSpec) -> int:
    """Bytes of a run's teacher table on disk, float32, which other runs may share; 0 for a run without one."""
    if not uses_table(spec):
        return 0
    return _views(spec.dataset) * _training_images(spec.dataset) * _IMAGES[spec.dataset.name].classes * _FLOAT32


def run_bytes(spec: RunSpec) -> int:
    """Bytes of a finished run on disk: weights, and a bit a test image for each of the two checkpoints.

    The record and the weights' header, some kilobytes, are not counted.
    """
    test_images = spec.dataset.test_images or _IMAGES[spec.dataset.name].test
    return _state_bytes(spec) + 2 * -(-test_images // 8)


def checkpoint_bytes(spec: RunSpec) -> int:
    """Bytes of a run's checkpoints while it trains: network, best network, momentum; Feature-KD's projections too.

    What methods of other packages add is not known, and not counted.
    """
    trained, width = _parameters(spec), spec.model.width
    projections = 0
    if spec.method == "feature" and spec.teacher is not None:
        pairs = zip(channels(spec.architecture, width), channels(spec.teacher.architecture, width), strict=True)
        projections = sum(ours * theirs for ours, theirs in pairs)
    momentum = trained + projections if spec.optimisation.momentum else 0
    return CHECKPOINTS_KEPT * (2 * _state_bytes(spec) + (projections + momentum) * _FLOAT32)


def peak_checkpoint_bytes(runs: Iterable[RunSpec], workers: int) -> int:
    """Bytes of checkpoints while the heaviest runs, as many as there are workers, are trained at once."""
    return sum(sorted(map(checkpoint_bytes, runs))[-workers:])


def _forward(network: RunSpec, run: RunSpec) -> int:
    """Operations of a network (a run's own, or its teacher's) on an image of a run."""
    images = _IMAGES[run.dataset.name]
    return forward_flops(network.architecture, network.stem, run.model.width, images.edge, images.classes)


def _parameters(spec: RunSpec) -> int:
    return parameters(spec.architecture, spec.stem, spec.model.width, _IMAGES[spec.dataset.name].classes)


def _state_bytes(spec: RunSpec) -> int:
    """Parameters, and of every batch norm its two running statistics and its counter."""
    of_norms = norms(spec.architecture, spec.model.width)
    return _FLOAT32 * (_parameters(spec) + 2 * sum(of_norms)) + _INT64 * len(of_norms)


def _training_images(dataset: Dataset) -> int:
    images = _IMAGES[dataset.name].training
    return dataset.train_images or images - dataset.validation_images - (dataset.test_images or 0)


def _views(dataset: Dataset) -> int:
    """Different crops of an image, mirrored ones too."""
    return (2 * dataset.crop_padding + 1) ** 2 * (2 if dataset.horizontal_flip else 1)
