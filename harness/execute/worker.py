"""Carries out one run in this process: loads what it needs, trains, and commits the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
from torch import Tensor

from harness.execute.job import Job
from harness.files import canonical_json, sha256_of_bytes
from harness.store import record as records
from harness.store import store
from harness.store.record import EpochRecord, FidelityRecord, RunRecord, TeacherRecord, TestRecord
from harness.training import data, determinism, loop
from harness.training.evaluate import Outcome


def carry_out(job: Job, on_epoch: Callable[[int, float], None]) -> Path:
    """Train one run and put it into the store.

    Args:
        job: The run and its folders.
        on_epoch: Told (epoch, validation accuracy) as each epoch ends.

    Returns:
        The run's folder.

    Raises:
        KdcapError: Images or teacher are missing or damaged.
        TrainingFailed: A loss or gradient was not finite.
    """
    spec = job.spec
    device = determinism.configure(spec.optimisation)
    images = data.load(spec.dataset, job.downloads)
    teacher, weights = _teacher(job)
    job.partial.mkdir(parents=True, exist_ok=True)
    teacher_weights_sha256 = teacher.weights_sha256 if teacher else ""
    stack = determinism.stack(device)
    bits_depend_on = {key: value for key, value in stack.items() if key != "platform"}  # a new kernel changes no bit
    trained = loop.train(
        spec,
        images,
        weights,
        device,
        checkpoint=job.partial / "checkpoint.safetensors",
        identity=canonical_json([spec.sha256, job.code_sha256, images.sha256, teacher_weights_sha256, bits_depend_on]),
        on_epoch=lambda epoch: on_epoch(epoch.epoch, epoch.val_acc),
    )
    files = {
        records.WEIGHTS: safetensors.torch.save({k: v.contiguous() for k, v in trained.best_weights.items()}),
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
        parameters=trained.parameters,
        test_images=len(images.test),
        test_openings=trained.test_openings,
        last_weights_sha256=trained.last_weights_sha256,
        history_sha256=records.history_digest(history),
        files={name: sha256_of_bytes(content) for name, content in files.items()},
    )
    store.commit(job.partial, job.folder, files, record)
    return job.folder


def _teacher(job: Job) -> tuple[TeacherRecord | None, dict[str, Tensor] | None]:
    if job.teacher is None:
        return None, None
    record = store.read(job.teacher)
    weights = safetensors.torch.load_file(job.teacher / records.WEIGHTS)
    return TeacherRecord(run=record.name, weights_sha256=record.files[records.WEIGHTS]), weights


def _outcome(outcome: Outcome) -> TestRecord:
    return TestRecord(accuracy=outcome.accuracy, loss=outcome.loss, per_class_accuracy=outcome.per_class_accuracy)


def _packed(correct: Tensor) -> bytes:
    """Correctness of each test image as bits, first image in the highest bit; the last byte is filled with zeros."""
    return np.packbits(correct.numpy()).tobytes()
