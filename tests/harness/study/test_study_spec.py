"""A run's identity is everything that decides its bits, and nothing else."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from harness.study.spec import Dataset, Model, Optimisation, RunSpec

DATASET = Dataset(
    name="digits",
    train_images=400,
    validation_images=300,
    test_images=1097,
    split_seed=1234,
    label_noise=0.2,
    crop_padding=1,
    horizontal_flip=False,
)
OPTIMISATION = Optimisation(
    batch_size=32,
    lr=0.1,
    lr_min=1e-4,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    clip_norm=1.0,
    precision="fp32",
    threads=1,
    device="cpu",
)
TEACHER = RunSpec(
    role="teacher",
    architecture="resnet50",
    stem="cifar",
    method="none",
    seed=0,
    epochs=30,
    dataset=DATASET,
    model=Model(width=8, zero_init_residual=True),
    optimisation=OPTIMISATION,
)
SPEC = RunSpec(
    role="student",
    architecture="resnet18",
    stem="cifar",
    method="feature",
    alpha=0.5,
    temperature=4.0,
    clip_projections=True,
    teacher=TEACHER,
    seed=3,
    epochs=25,
    dataset=DATASET,
    model=Model(width=8, zero_init_residual=True),
    optimisation=OPTIMISATION,
)
# The same, written by hand: keys in order, no spaces.
BLOCKS = {
    "DATASET": '{"crop_padding":1,"horizontal_flip":false,"label_noise":0.2,"name":"digits","path":null,'
    '"split_seed":1234,"test_images":1097,"train_images":400,"validation_images":300}',
    "MODEL": '{"width":8,"zero_init_residual":true}',
    "OPTIMISATION": '{"batch_size":32,"clip_norm":1.0,"device":"cpu","lr":0.1,"lr_min":0.0001,"momentum":0.9,'
    '"nesterov":true,"precision":"fp32","threads":1,"weight_decay":0.0005}',
}
HAND_WRITTEN = (
    '{"alpha":0.5,"architecture":"resnet18","clip_projections":true,"dataset":DATASET,"epochs":25,'
    '"method":"feature","model":MODEL,"optimisation":OPTIMISATION,"role":"student","seed":3,"stem":"cifar",'
    '"teacher":{"alpha":null,"architecture":"resnet50","clip_projections":null,"dataset":DATASET,"epochs":30,'
    '"method":"none","model":MODEL,"optimisation":OPTIMISATION,"role":"teacher","seed":0,"stem":"cifar",'
    '"teacher":null,"temperature":null},"temperature":4.0}'
)
for block, text in BLOCKS.items():
    HAND_WRITTEN = HAND_WRITTEN.replace(block, text)


def test_the_identity_is_the_digest_of_the_whole_description() -> None:
    """SHA-256 of the description as JSON with sorted keys, teacher and all: anybody can compute it."""
    assert SPEC.sha256 == hashlib.sha256(HAND_WRITTEN.encode()).hexdigest()


def leaves(kind: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of every field of a description, blocks opened; the teacher is a description of its own."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, (*prefix, name))
        elif name != "teacher":
            yield (*prefix, name)


# Another value for every field. `name` and `path` of the dataset change with what they imply.
OTHERS: dict[str, Any] = {
    "role": "teacher",
    "architecture": "resnet34",
    "stem": "imagenet",
    "method": "logit",
    "alpha": 0.5000000000000001,  # one unit in the last place
    "temperature": None,
    "clip_projections": False,
    "seed": 4,
    "epochs": 26,
    "dataset.name": "cifar10",
    "dataset.path": "elsewhere",
    "dataset.train_images": None,
    "dataset.validation_images": 301,
    "dataset.test_images": 1096,
    "dataset.split_seed": 1235,
    "dataset.label_noise": 0.0,
    "dataset.crop_padding": 0,
    "dataset.horizontal_flip": True,
    "model.width": 16,
    "model.zero_init_residual": False,
    "optimisation.batch_size": 64,
    "optimisation.lr": 0.05,
    "optimisation.lr_min": 0.0,
    "optimisation.momentum": 0.8,
    "optimisation.nesterov": False,
    "optimisation.weight_decay": 0.0,
    "optimisation.clip_norm": 5.0,
    "optimisation.precision": "tf32",
    "optimisation.threads": 2,
    "optimisation.device": "auto",
}


def changed(description: dict[str, Any], key: str, value: Any) -> RunSpec:  # noqa: ANN401 - a field's value
    """The description with one field changed, checked again."""
    content = copy.deepcopy(description)
    block = content
    *path, name = key.split(".")
    for part in path:
        block = block[part]
    assert block[name] != value
    block[name] = value
    if key == "dataset.name":
        block["test_images"] = None
    if key == "dataset.path":
        block |= {"name": "folder", "test_images": None}
    return RunSpec.model_validate(content)


def test_every_field_is_in_the_table() -> None:
    """A field added to the description has to be added to the test below."""
    assert {".".join(path) for path in leaves(RunSpec)} == set(OTHERS)


@pytest.mark.parametrize("key", OTHERS)
def test_every_field_is_part_of_the_identity(key: str) -> None:
    """Another value anywhere is another run: its own value, and its teacher's."""
    description = SPEC.model_dump()
    assert changed(description, key, OTHERS[key]).sha256 != SPEC.sha256
    if OTHERS[key] == description["teacher"].get(key, ...):
        return  # the teacher has that value already
    of_teacher = changed(description["teacher"], key, OTHERS[key])
    taught = RunSpec.model_validate({**description, "teacher": of_teacher.model_dump()})
    assert len({SPEC.sha256, taught.sha256, of_teacher.sha256, TEACHER.sha256}) == 4


def test_the_teacher_is_part_of_the_identity() -> None:
    """A student of nobody is another run than a student of somebody."""
    assert RunSpec.model_validate({**SPEC.model_dump(), "teacher": None}).sha256 != SPEC.sha256


def test_reading_a_description_back_keeps_its_identity() -> None:
    """Through JSON, as the run record does, to the last digit."""
    back = RunSpec.model_validate_json(SPEC.model_dump_json())
    assert back == SPEC
    assert back.sha256 == SPEC.sha256


def test_whole_numbers_and_fractions_are_one_number() -> None:
    """`temperature: 4` and `temperature: 4.0` are one run."""
    written = SPEC.model_dump() | {"temperature": 4}
    assert RunSpec.model_validate(written).sha256 == SPEC.sha256


def test_a_copy_with_another_seed_has_another_identity() -> None:
    """However a description was made, its identity is that of its own values."""
    assert SPEC.sha256
    assert SPEC.model_copy(update={"seed": 7}).sha256 != SPEC.sha256


@pytest.mark.parametrize(
    ("key", "value"),
    [("alpha", 1.2), ("temperature", 0.0), ("seed", -1), ("seed", 2**31), ("epochs", 0), ("model", {"width": 3})],
)
def test_an_impossible_run_cannot_be_described(key: str, value: object) -> None:
    """Ranges hold for a run as they do for a study."""
    with pytest.raises(ValidationError):
        RunSpec.model_validate(SPEC.model_dump() | {key: value})


def test_a_run_is_frozen_and_can_be_a_key() -> None:
    """Equal descriptions are equal keys."""
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.seed = 4  # type: ignore[misc]
    assert {SPEC: 1}[RunSpec.model_validate(SPEC.model_dump())] == 1
