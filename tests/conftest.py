"""What several folders of tests share: runs small enough to train in a second, analyses, and one made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from harness.study.spec import Dataset, Model, Optimisation, RunSpec

if TYPE_CHECKING:
    from analysis.results import Analysis

# No deadline: a busy machine is no failure. The same examples every time: a red test is the code's doing, not a
# draw's.
hypothesis.settings.register_profile("kdcap", deadline=None, derandomize=True)
hypothesis.settings.load_profile("kdcap")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's tests first: they share pipelines, so one process has them all, and needs half the time of all."""
    items.sort(key=lambda item: "pipeline" not in item.path.parts)


def tiny_spec(
    *,
    dataset: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    optimisation: Mapping[str, Any] | None = None,
    **fields: Any,  # noqa: ANN401 - any field of RunSpec
) -> RunSpec:
    """A run of three epochs on 64 digits with a network of width 8; the arguments change what they name."""
    digits = {
        "name": "digits",
        "train_images": 64,
        "validation_images": 50,
        "test_images": 100,
        "split_seed": 1,
        "crop_padding": 1,
        "horizontal_flip": False,
    }
    sgd = {
        "batch_size": 32,
        "lr": 0.1,
        "lr_min": 0.0001,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.0005,
        "clip_norm": 1.0,
        "precision": "fp32",
        "teacher_logits": "online",
        "threads": 1,
        "device": "cpu",
    }
    run = {
        "role": "student",
        "architecture": "resnet18",
        "stem": "cifar",
        "method": "none",
        "seed": 0,
        "epochs": 3,
        "dataset": Dataset(**digits | dict(dataset or {})),
        "model": Model(**{"width": 8, "zero_init_residual": True} | dict(model or {})),
        "optimisation": Optimisation(**sgd | dict(optimisation or {})),
    }
    return RunSpec(**run | fields)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., RunSpec]:
    """Makes a tiny run's description; keyword arguments change single fields, block by block."""
    return tiny_spec


@contextmanager
def _in_haste(*, second: bool = False) -> Iterator[None]:
    """Analyses without the specification curve, with few draws and plans; variances unprofiled unless `second`."""
    import analysis.analyze as front  # imports that most tests do without
    from analysis.study import multiverse, precision, rivals, second_engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "estimate_all", partial(front.estimate_all, second=second))
        patch.setattr(multiverse, "specifications", lambda *_: ())
        patch.setattr(precision, "DRAWS", 100)
        patch.setattr(precision, "SEEDS", (5,))
        patch.setattr(rivals, "DRAWS", 20)
        patch.setattr(second_engine, "OPTIMISERS", ("bfgs",))
        yield


@pytest.fixture(scope="session")
def in_haste() -> Callable[..., AbstractContextManager[None]]:
    """Within it an analysis takes a fraction of its time and has the same contrasts and claims."""
    return _in_haste


@pytest.fixture(scope="session")
def published_analysis() -> Analysis:
    """The published runs, analysed as `harness reanalyze` does; made once, it takes seconds."""
    from harness.analysing import analyse_files
    from harness.verify.reference import PUBLISHED, RUNS, V1_TABLE, find_reference

    return analyse_files(find_reference(PUBLISHED) / RUNS, history=V1_TABLE)
