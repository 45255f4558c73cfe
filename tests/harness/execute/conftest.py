"""A trained teacher, its students' descriptions, and folders to train them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from small_jobs import Place, carry_out

from harness.execute.job import Job
from harness.study.spec import RunSpec

MakeSpec = Callable[..., RunSpec]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(scope="session", autouse=True)
def environment_back() -> Iterator[None]:
    """Puts back the variables that the executor sets for its workers."""
    before = {name: os.environ.get(name) for name in THREADS}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def teacher_spec(make_spec: MakeSpec) -> RunSpec:
    """A teacher of two epochs."""
    return make_spec(role="teacher", architecture="resnet34", epochs=2)


@pytest.fixture(scope="session")
def teacher(teacher_spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """That teacher, trained."""
    job = Place(tmp_path_factory.mktemp("teacher")).job(teacher_spec)
    assert carry_out([job]) == {teacher_spec.name: None}
    return job


@pytest.fixture(scope="session")
def student_specs(make_spec: MakeSpec, teacher_spec: RunSpec) -> list[RunSpec]:
    """A baseline of each family, and a student of each of the paper's methods."""
    return [
        make_spec(seed=0),
        make_spec(
            method="logit",
            hyperparameters={"alpha": 0.5, "temperature": 4.0},
            teacher=teacher_spec,
            optimisation={"teacher_logits": "table"},
        ),
        make_spec(method="feature", hyperparameters={"alpha": 0.5}, clip_projections=True, teacher=teacher_spec),
        make_spec(architecture="wrn16_1", model={"width": 32}, seed=1),
    ]


@pytest.fixture
def new_place(teacher: Job, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """Makes folders with a copy of the teacher."""
    return lambda: Place(tmp_path_factory.mktemp("place")).with_teacher(teacher)


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    """Such a folder."""
    return new_place()
