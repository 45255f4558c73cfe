"""Our side: the study's own training loop, set up as its worker does it, one step or epoch at a time."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bench.sides import Setting, Works, images_of, serve
from harness.study.cost import uses_table
from harness.training import allocator, determinism, loop, teacher_table
from harness.training.augment import crop, normalise, numbered_views, view_count
from harness.training.models import Network, Outputs, build
from harness.training.teacher import FrozenTeacher
from harness.training.teacher_table import TeacherTable

IDENTITY = "bench"
COMPARED_IMAGES = 8  # of a table: all their views


class Cut(Exception):
    """Training ends here, as if it had been killed."""


class OurSide:
    """A run of ours, and what the bench asks of it.

    Args:
        setting: What it trains.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.spec = setting, setting.spec
        if setting.without != "allocator":
            allocator.keep_memory()
        self.device = determinism.configure(self.spec.optimisation)
        self.data = images_of(setting)
        self.teaching = self._teaching()
        self.run = loop.Run(self.spec, self.data, self.teaching, self.device)
        if setting.without == "fused optimiser":
            self.run.optimiser = torch.optim.SGD(self.run.parameters, **self.run.optimiser.defaults | {"fused": False})
        if setting.without == "channels_last":
            self.run.student = ChannelsFirst(self.run.student)
        self._batches: Iterator[loop.Batch] = iter(())

    def works(self) -> Works:
        """What can be asked."""
        return {
            "step": self.step,
            "epoch": lambda: self.run.train_epoch().val_acc,
            "test": lambda: self.run.finish().last.accuracy,
            "teach": self.teach,
            "train": self.train,
            "train_half": self.train_half,
            "train_rest": lambda: self.train_in(self.folder),
            "table_difference": self.table_difference,
        }

    @property
    def folder(self) -> Path:
        """Where what outlives this process is kept."""
        return Path(self.setting.folder or ".")

    def step(self) -> None:
        """One optimiser step; the first epoch starts again when it is through."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = self.run.batches(1)
            batch = next(self._batches)
        self.run.step(*batch)

    def teach(self) -> None:
        """The teacher's logits of one batch, as its table is made of them."""
        index = torch.arange(self.spec.optimisation.batch_size, device=self.device)
        self._online(index, torch.zeros_like(index))

    def train(self) -> str:
        """A whole run, from nothing; returns the digest of its last weights."""
        with tempfile.TemporaryDirectory() as folder:
            return self.train_in(Path(folder))

    def train_in(self, folder: Path, last_kept: int | None = None) -> str:
        """A run to its end, going on from what the folder holds.

        Args:
            folder: For its checkpoints.
            last_kept: Cut the run when this epoch is kept.

        Returns:
            The digest of its last weights.
        """

        def on_epoch(epoch: loop.Epoch) -> None:
            if last_kept is not None and epoch.epoch > last_kept:
                raise Cut

        images = images_of(self.setting)  # a test set of its own: each opens once
        return loop.train(
            self.spec, images, self.teaching, self.device, folder, IDENTITY, on_epoch=on_epoch, checkpoint_every_s=0.0
        ).last_weights_sha256

    def train_half(self) -> None:
        """A run that is cut in the middle, at a border of epochs."""
        with contextlib.suppress(Cut):
            self.train_in(self.folder, last_kept=self.spec.epochs // 2)

    def table_difference(self) -> float:
        """Largest difference between the table's logits and the teacher's own, over all views of some images.

        Returns:
            0 where all are equal to the bit.
        """
        if self.teaching is None or self.teaching.table is None:
            raise ValueError("this run has no table")
        dataset = self.spec.dataset
        views = view_count(dataset.crop_padding, dataset.horizontal_flip)
        pairs = torch.randperm(COMPARED_IMAGES * views, generator=torch.Generator().manual_seed(0)).to(self.device)
        largest = 0.0
        # in an order of its own: a table must not depend on which views stood in a batch together
        for batch in pairs.split(self.spec.optimisation.batch_size):
            index, number = batch // views, batch % views
            difference = self.teaching.table.logits(index, number) - self._online(index, number)
            largest = max(largest, float(difference.abs().max()))
        return largest

    def _online(self, index: Tensor, number: Tensor) -> Tensor:
        """The teacher's logits of some views, by number."""
        if self.teaching is None:
            raise ValueError("a baseline has no teacher")
        padding, flip = self.spec.dataset.crop_padding, self.spec.dataset.horizontal_flip
        views = numbered_views(number, padding=padding, horizontal_flip=flip)
        images = crop(self.run.padded, index, views, padding=padding, horizontal_flip=flip)
        return self.teaching.teacher.logits(normalise(images, self.run.mean, self.run.std))

    def _teaching(self) -> loop.Teaching | None:
        """An untrained teacher, which is as fast as a trained one, and its table."""
        spec, without = self.spec, self.setting.without
        if spec.teacher is None:
            return None
        of = spec.teacher
        network = build(of.architecture, of.stem, of.model, self.data.classes, of.role, of.seed)
        teacher = FrozenTeacher(network, precision=spec.optimisation.precision, device=self.device)
        if without == "folded teacher":
            teacher.network = ChannelsFirst(network.eval().requires_grad_(requires_grad=False))
        if not uses_table(spec) or without == "table":
            return loop.Teaching(teacher, None)
        return loop.Teaching(teacher, self._table(teacher))

    def _table(self, teacher: FrozenTeacher) -> TeacherTable:
        """The teacher's table; numbers drawn at random where a paper-sized one would take longer than the bench."""
        dataset, images = self.spec.dataset, self.data
        if self.setting.random_edge is not None and self.setting.folder is None:
            views = view_count(dataset.crop_padding, dataset.horizontal_flip)
            shape = (len(images.train_labels), views, images.classes)
            return TeacherTable(torch.randn(shape, generator=torch.Generator().manual_seed(0)), self.device)
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(self.setting.folder or temporary) / "table.safetensors"
            return teacher_table.open_or_build(path, IDENTITY, teacher, images, dataset, self.device, lambda _: None)


class ChannelsFirst(Network):
    """A network as PyTorch lays it out by default: NCHW.

    Args:
        network: The network; changed in place.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # torch's stub

    def outputs(self, images: Tensor) -> Outputs:
        """See `Network.outputs`."""
        outputs: Outputs = self.network.outputs(images.contiguous())
        return outputs


def works(setting: Setting) -> Works:
    """What the bench may ask of our side."""
    return OurSide(setting).works()


if __name__ == "__main__":
    serve(works)
