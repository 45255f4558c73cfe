"""torchdistill as its own examples use it: a DistillationBox with KDLoss, or a TrainingBox for a baseline.

Networks and transforms are the plain loop's; the loop around a step is that of `examples/torchvision/
image_classification.py` in its repository (forward_process, post_forward_process, loss.item() for its log).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler

from bench.plain import PilImages
from bench.sides import Setting, Works, images_of, serve
from harness.study.spec import RunSpec
from harness.training.models import build
from harness.training.vision import torchvision as _  # noqa: F401 - it can be imported once this one was

# isort: split
import torchdistill
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box

logging.getLogger("torchdistill").setLevel(logging.WARNING)


def _term(name: str, criterion: dict[str, Any]) -> dict[str, Any]:
    """A loss of one term, as torchdistill's YAML would say it."""
    return {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {name: {**criterion, "weight": 1.0}}}}


def _loss(spec: RunSpec) -> dict[str, Any]:
    reads = {"is_from_teacher": False, "module_path": ".", "io": "output"}
    if spec.teacher is None:
        wrapper = {"key": "SimpleLossWrapper", "kwargs": {"input": reads, "target": {"uses_label": True}}}
        return _term("ce", {"criterion": {"key": "CrossEntropyLoss", "kwargs": {}}, "criterion_wrapper": wrapper})
    hyperparameters = dict(spec.hyperparameters)
    settings = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
        "temperature": hyperparameters["temperature"],
        "alpha": 1 - hyperparameters["alpha"],  # theirs weighs the cross-entropy
        "reduction": "batchmean",
    }
    return _term("kd", {"criterion": {"key": "KDLoss", "kwargs": settings}})


def _config(spec: RunSpec, workers: int) -> dict[str, Any]:
    settings, network = spec.optimisation, {"forward_proc": "forward_batch_only"}
    sgd = {name: getattr(settings, name) for name in ("lr", "momentum", "weight_decay", "nesterov")}
    return {
        "num_epochs": spec.epochs,
        "train_data_loader": {
            "dataset_id": "images",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": settings.batch_size, "num_workers": workers},
        },
        "teacher": {**network, "requires_grad": False},
        "student": network,
        "model": network,
        "optimizer": {"key": "SGD", "kwargs": sgd, "max_grad_norm": settings.clip_norm},
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": spec.epochs, "eta_min": settings.lr_min}},
        "criterion": _loss(spec),
    }


def works(setting: Setting) -> Works:
    """What the bench may ask of a torchdistill run."""
    spec, device = setting.spec, torch.device("cpu")
    torch.set_num_threads(spec.optimisation.threads)
    data = images_of(setting)
    networks = [spec] if spec.teacher is None else [spec.teacher, spec]
    made = [build(of.architecture, of.stem, of.model, data.classes, of.role, of.seed) for of in networks]
    if spec.teacher is not None:
        made[0].eval()  # a box leaves the teacher in the mode that it comes in
    get_box = get_training_box if spec.teacher is None else get_distillation_box
    box = get_box(
        *made, {"images": PilImages(data, spec)}, _config(spec, setting.workers),
        device=device, device_ids=None, distributed=False, lr_factor=1,
    )  # fmt: skip
    box.pre_epoch_process(epoch=0)
    batches: Iterator[Any] = iter(())

    def step() -> float:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(box.train_data_loader)
            batch = next(batches)
        images, targets, others = batch
        loss = box.forward_process(images.to(device), targets.to(device), others)
        box.post_forward_process(loss)
        return float(loss.item())

    return {"step": step, "version": lambda: torchdistill.__version__}


if __name__ == "__main__":
    serve(works)
