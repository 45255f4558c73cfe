"""A run's identity is everything that decides its bits, and nothing else."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from harness.study.spec import Architecture, Dataset, Model, Optimisation, RunSpec

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
    teacher_logits="table",
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
    hyperparameters={"temperature": 4.0, "alpha": 0.5},  # type: ignore[arg-type]
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
    '"nesterov":true,"precision":"fp32","teacher_logits":"table","threads":1,"weight_decay":0.0005}',
}
HAND_WRITTEN = (
    '{"architecture":"resnet18","clip_projections":true,"dataset":DATASET,"epochs":25,'
    '"hyperparameters":{"alpha":0.5,"temperature":4.0},'
    '"method":"feature","model":MODEL,"optimisation":OPTIMISATION,"role":"student","seed":3,"stem":"cifar",'
    '"teacher":{"architecture":"resnet50","clip_projections":null,"dataset":DATASET,"epochs":30,"hyperparameters":{},'
    '"method":"none","model":MODEL,"optimisation":OPTIMISATION,"role":"teacher","seed":0,"stem":"cifar",'
    '"teacher":null}}'
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
    "hyperparameters": {"alpha": 0.5000000000000001, "temperature": 4.0},  # one unit in the last place
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
    "optimisation.precision": "bf16",
    "optimisation.teacher_logits": "online",
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
    if key in ("method", "hyperparameters") or OTHERS[key] == description["teacher"].get(key, ...):
        return  # the teacher has none, or has that value already
    of_teacher = changed(description["teacher"], key, OTHERS[key])
    taught = RunSpec.model_validate({**description, "teacher": of_teacher.model_dump()})
    assert len({SPEC.sha256, taught.sha256, of_teacher.sha256, TEACHER.sha256}) == 4


@pytest.mark.parametrize(
    "hyperparameters",
    [{"alpha": 0.7, "temperature": 4.0}, {"alpha": 0.5, "temperature": 2.0}, {"alpha": 0.5}, {"alpha": 0.5, "t": 4.0}],
)
def test_every_hyperparameter_is_part_of_the_identity(hyperparameters: dict[str, float]) -> None:
    """Its value, its name, and whether it is there."""
    other = RunSpec.model_validate(SPEC.model_dump() | {"hyperparameters": hyperparameters})
    assert other.sha256 != SPEC.sha256
    assert other.name != SPEC.name


@given(st.dictionaries(st.text("abz_", max_size=3).map("a".__add__), st.floats(0.001, 1e6), max_size=4), st.randoms())
def test_the_order_of_hyperparameters_means_nothing(others: dict[str, float], random: Random) -> None:
    """As a block or as pairs, shuffled: one run, with one identity and one name, and every value is found by name."""
    values = list(({"alpha": 0.5} | others | {"alpha": 0.5}).items())
    shuffled = random.sample(values, len(values))
    found = [
        RunSpec.model_validate(SPEC.model_dump() | {"hyperparameters": given})
        for given in (tuple(values), dict(values), tuple(shuffled), dict(shuffled))
    ]
    assert len({spec.sha256 for spec in found}) == len({spec.name for spec in found}) == len(set(found)) == 1
    assert found[0].hyperparameters == tuple(sorted(values))
    for name, value in values:
        assert found[0].hyperparameter(name) == value
    assert found[0].hyperparameter("no such name") is None


def test_the_teacher_is_part_of_the_identity() -> None:
    """The student of another checkpoint of the same network is another run, with another name."""
    taught = RunSpec.model_validate({**SPEC.model_dump(), "teacher": TEACHER.model_copy(update={"seed": 1})})
    assert taught.sha256 != SPEC.sha256
    assert (SPEC.name, taught.name) == (
        "resnet50-resnet18-feature-a0.5-T4-t0-s3",
        "resnet50-resnet18-feature-a0.5-T4-t1-s3",
    )


@pytest.mark.parametrize("spec", [SPEC, TEACHER], ids=["a student", "a baseline"])
def test_reading_a_description_back_keeps_its_identity(spec: RunSpec) -> None:
    """Through JSON, as the run record does, to the last digit; and through Python's own values."""
    for back in (RunSpec.model_validate_json(spec.model_dump_json()), RunSpec.model_validate(spec.model_dump())):
        assert back == spec
        assert back.sha256 == spec.sha256
        assert back.hyperparameters == spec.hyperparameters
        assert hash(back) == hash(spec)


def test_whole_numbers_and_fractions_are_one_number() -> None:
    """`temperature: 4` and `temperature: 4.0` are one run."""
    written = SPEC.model_dump() | {"hyperparameters": {"alpha": 0.5, "temperature": 4}}
    assert RunSpec.model_validate(written).sha256 == SPEC.sha256


def test_a_copy_with_another_seed_has_another_identity() -> None:
    """However a description was made, its identity is that of its own values."""
    assert SPEC.sha256
    assert SPEC.model_copy(update={"seed": 7}).sha256 != SPEC.sha256


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("seed", -1), ("seed", 2**31), ("epochs", 0), ("model", {"width": 7, "zero_init_residual": True})],
        *[("method", "Feature"), ("method", "../feature"), ("method", ""), ("method", "none")],
        *[("teacher", None), ("hyperparameters", {}), ("hyperparameters", {"temperature": 4.0})],
        ("hyperparameters", {"alpha": 1.2}),
        ("hyperparameters", {"alpha": -0.1}),
        ("hyperparameters", {"alpha": 0.5, "temperature": 0.0}),
        ("hyperparameters", {"alpha": 0.5, "temperature": float("inf")}),
        ("hyperparameters", {"alpha": 0.5, "temperature": float("nan")}),
        ("hyperparameters", (("alpha", 0.5), ("alpha", 0.7))),
    ],
)
def test_an_impossible_run_cannot_be_described(key: str, value: object) -> None:
    """Ranges hold for a run as they do for a study; a teacher, alpha and a method other than `none` go together."""
    with pytest.raises(ValidationError):
        RunSpec.model_validate(SPEC.model_dump() | {key: value})


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_only_resnets_have_the_imagenet_stem(architecture: str) -> None:
    """Of a WideResNet it is not known what that would be."""
    description = TEACHER.model_dump() | {"architecture": architecture}
    assert RunSpec.model_validate(description).cell == f"{architecture}-none"
    if architecture.startswith("resnet"):
        assert RunSpec.model_validate(description | {"stem": "imagenet"}).cell == f"{architecture}-none-imagenet"
    else:
        with pytest.raises(ValidationError, match=f"`stem: imagenet` is a ResNet's, found it for {architecture}"):
            RunSpec.model_validate(description | {"stem": "imagenet"})


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "resnet50-resnet18-feature-a0.5-T4-t0-s3"),
        ({"clip_projections": False}, "resnet50-resnet18-feature-a0.5-T4-unclipped-t0-s3"),
        ({"hyperparameters": {"beta": 1000.0, "alpha": 0.25}}, "resnet50-resnet18-feature-a0.25-beta1000-t0-s3"),
        ({"architecture": "wrn16_2", "seed": 10}, "resnet50-wrn16_2-feature-a0.5-T4-t0-s10"),
    ],
)
def test_a_name_says_what_a_run_is(fields: dict[str, Any], name: str) -> None:
    """Teacher, student, method, hyperparameters by their short names, and both seeds; a plain name of a folder."""
    spec = RunSpec.model_validate(SPEC.model_dump() | fields)
    assert spec.name == name
    assert spec.name.startswith(f"{spec.cell}-t0-s")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", spec.name)


def test_a_run_is_frozen_and_can_be_a_key() -> None:
    """Equal descriptions are equal keys."""
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.seed = 4  # type: ignore[misc]
    assert {SPEC: 1}[RunSpec.model_validate(SPEC.model_dump())] == 1
