"""A CIFAR-stem pair trained for real on 32x32 photographs.

The photographs are a JPEG re-encoding of a subset of CIFAR-10: good for testing the code, and never a CIFAR-10 result.
"""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.files import sha256_of_file
from harness.study.spec import RunSpec
from harness.training.checkpoint import tensors_digest
from harness.training.loop import Trained

MakeSpec = Callable[..., RunSpec]
TrainRun = Callable[..., Trained]

SHARED = Path(os.environ.get("KDCAP_SHARED", Path(__file__).parents[4] / "shared"))
ARCHIVE = SHARED / "data" / "cifar10-jpeg.tar.xz"
A_CLASS = {"train": 120, "test": 10}
VALIDATION = 400


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first images of each of the ten classes, as a directory in ImageFolder layout; read in one pass (5 s)."""
    if not ARCHIVE.is_file():
        pytest.skip(f"no images at {ARCHIVE}: set KDCAP_SHARED to the folder that holds data/{ARCHIVE.name}")
    root = tmp_path_factory.mktemp("photographs")
    taken: Counter[str] = Counter()
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        for member in archive:
            split, _, rest = member.name.partition("/")
            label = rest.partition("/")[0]
            if (
                member.isfile()
                and taken[f"{split}/{label}"] < A_CLASS[split]
                and (content := archive.extractfile(member))
            ):
                taken[f"{split}/{label}"] += 1
                target = root / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
    assert len(taken) == 20
    assert sum(taken.values()) == 10 * sum(A_CLASS.values())
    return root


@pytest.fixture(scope="session")
def spec_of(photographs: Path, make_spec: MakeSpec) -> Callable[..., RunSpec]:
    """Runs on 800 photographs with the paper's augmentation, at width 8."""

    def make(**fields: Any) -> RunSpec:  # noqa: ANN401 - any field of RunSpec
        images = {
            "name": "folder",
            "path": str(photographs),
            "train_images": 800,
            "validation_images": VALIDATION,
            "test_images": None,
            "crop_padding": 4,
            "horizontal_flip": True,
        }
        return make_spec(dataset=images, model={"width": 8}, **fields)

    return make


def test_a_pair_learns_from_photographs_and_repeats_to_the_bit(
    spec_of: Callable[..., RunSpec], train_run: TrainRun, tmp_path: Path
) -> None:
    """ResNet-34 teaches ResNet-18; they are clearly above chance, and a second student has the same weights.

    Chance is 10% of 400 validation images, sd 1.5%: 17% is more than four sd above it.
    """
    teacher_spec = spec_of(role="teacher", architecture="resnet34", epochs=2)
    teacher = train_run(teacher_spec, tmp_path / "teacher")
    spec = spec_of(method="logit", hyperparameters={"alpha": 0.5, "temperature": 4.0}, teacher=teacher_spec, epochs=2)
    first, second = (train_run(spec, tmp_path / name, teacher.best_weights) for name in ("first", "second"))
    assert max(epoch.val_acc for run in (teacher, first) for epoch in run.history) > 0.17
    assert tensors_digest(first.best_weights) == tensors_digest(second.best_weights)
    assert first.last_weights_sha256 == second.last_weights_sha256
    assert first.history == second.history
    assert first.best.correct.tolist() == second.best.correct.tolist()
    assert len(first.best.correct) == 100
    assert first.fidelity is not None
    assert first.fidelity.agreement > 0.1


def test_the_subset_is_the_one_meant(photographs: Path) -> None:
    """Named files in sorted order: the first airplane is the archive's first."""
    names = sorted(path.name for path in (photographs / "train" / "airplane").iterdir())
    assert names == [f"{number:04}.jpg" for number in range(120)]
    assert len({sha256_of_file(path) for path in photographs.glob("*/*/*")}) > 1280
