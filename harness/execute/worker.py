"""Carries out one run in this process: loads what it needs, trains, and commits the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from harness.execute.job import Job
from harness.files import canonical_json, sha256_of_bytes
from harness.store import record as records
from harness.store import store
from harness.store.record import (
    EpochRecord,
    FidelityRecord,
    FootprintRecord,
    RunRecord,
    TeacherRecord,
    TestRecord,
)
from harness.study.methods import source
from harness.training import allocator, data, determinism, loop, teacher_table
from harness.training.evaluate import Outcome
from harness.training.methods import method as methods
from harness.training.teacher import teacher_of


def carry_out(
    job: Job,
    on_epoch: Callable[[int, float], None] = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
    before_commit: Callable[[RunRecord], None] = lambda _: None,
) -> Path:
    """Train one run and put it into the store.

    Args:
        job: The run and its folders.
        on_epoch: Told (epoch, validation accuracy) as each epoch ends.
        say: Told, in a sentence, what people should know: a damaged checkpoint, a table in the making.
        before_commit: Told the record, before the run gets its folder; what it raises keeps the run out.

    Returns:
        The run's folder.

    Raises:
        KdcapError: Images, teacher or method are missing, damaged or do not fit.
        TrainingFailed: A loss or gradient was not finite.
    """
    spec = job.spec
    allocator.keep_memory()
    device = determinism.configure(spec.optimisation)
    images = data.load(spec.dataset, job.downloads)
    stack = determinism.stack(device)
    bits_depend_on = [job.code_sha256, images.sha256, determinism.bits_depend_on(spec, stack)]
    teacher, teaching = _teaching(job, images, device, bits_depend_on, say)
    trained = loop.train(
        spec,
        images,
        teaching,
        device,
        job.partial / "checkpoints",
        identity=canonical_json([spec.sha256, teacher.weights_sha256 if teacher else "", *bits_depend_on]),
        on_epoch=lambda epoch: on_epoch(epoch.epoch, epoch.val_acc),
        say=say,
        checkpoint_every_s=job.checkpoint_every_s,
    )
    files = {
        records.WEIGHTS: safetensors.torch.save(dict(trained.best_weights)),
        records.CORRECT_BEST: _packed(trained.best.correct),
        records.CORRECT_LAST: _packed(trained.last.correct),
    }
    history = tuple(EpochRecord(**asdict(epoch)) for epoch in trained.history)
    record = RunRecord(
        name=spec.name,
        spec=spec,
        spec_sha256=spec.sha256,
        code_sha256=job.code_sha256,
        data_sha256=images.sha256,
        teacher=teacher,
        method_source=source(spec.method) if teacher else None,
        stack=stack,
        settings=determinism.settings(),
        history=history,
        seconds_per_epoch=trained.seconds,
        seconds=sum(trained.seconds),
        resumed_at=trained.resumed_at,
        best_epoch=trained.best_epoch,
        test_best=_outcome(trained.best),
        test_last=_outcome(trained.last),
        fidelity=FidelityRecord(**asdict(trained.fidelity)) if trained.fidelity else None,
        footprint=FootprintRecord(**asdict(trained.footprint)),
        test_images=len(images.test),
        test_openings=trained.test_openings,
        last_weights_sha256=trained.last_weights_sha256,
        history_sha256=records.history_digest(history),
        files={name: sha256_of_bytes(content) for name, content in files.items()},
    )
    before_commit(record)
    store.commit(job.partial, job.folder, files, record)
    return job.folder


def gpu_memory_bytes() -> int:
    """GPU memory that this process needs at its peak, in bytes; 0 without a GPU.

    What torch's allocator reserved at most, and what it does not know of: the CUDA context and its kernels. That is
    all that is in use on the card but for what the allocator holds now, so another process there would be counted too.
    """
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return torch.cuda.max_memory_reserved() + (total - free) - torch.cuda.memory_reserved()


def _teaching(
    job: Job, images: data.Data, device: torch.device, bits_depend_on: list[Any], say: Callable[[str], None]
) -> tuple[TeacherRecord | None, loop.Teaching | None]:
    """The teacher of a distilled run: its record, and the network with its table where the run takes one."""
    if job.teacher is None:
        return None, None
    spec, record = job.spec, store.read(job.teacher)
    method = methods.method_class(spec.method)
    weights = safetensors.torch.load_file(job.teacher / records.WEIGHTS)
    network = teacher_of(spec, images, weights, device, untrained=method.teacher == "untrained")
    taught = TeacherRecord(run=record.name, weights_sha256=record.files[records.WEIGHTS], variant=method.teacher)
    table = None
    if method.needs == "logits" and spec.optimisation.teacher_logits == "table":
        dataset = spec.dataset
        views = [dataset.crop_padding, dataset.horizontal_flip]
        identity = canonical_json([taught.model_dump(mode="json"), views, *bits_depend_on])
        name = f"{record.name}-{method.teacher}-{sha256_of_bytes(identity.encode())[:12]}.safetensors"
        table = teacher_table.open_or_build(job.tables / name, identity, network, images, dataset, device, say)
    return taught, loop.Teaching(network, table)


def _outcome(outcome: Outcome) -> TestRecord:
    return TestRecord(
        accuracy=outcome.accuracy, loss=outcome.loss, ece=outcome.ece, per_class_accuracy=outcome.per_class_accuracy
    )


def _packed(correct: Tensor) -> bytes:
    """Correctness of each test image as bits, first image in the highest bit; the last byte is filled with zeros."""
    return np.packbits(correct.numpy()).tobytes()
