"""The table of a teacher's logits against the teacher itself; damaged, strange and contended files."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from harness.errors import EnvironmentProblem
from harness.study.spec import Architecture, Dataset, Model
from harness.training import data, teacher_table
from harness.training.augment import crop, draw_views, normalise, pad, view_count, view_number
from harness.training.models import build
from harness.training.teacher import FrozenTeacher
from harness.training.teacher_table import TeacherTable, open_or_build

CPU = torch.device("cpu")
IDENTITY = "this teacher, these images"
PLAIN = Dataset(name="cifar10", validation_images=1, split_seed=0, crop_padding=1, horizontal_flip=True)


def images_of(count: int, classes: int = 10) -> data.Data:
    """Random images of 8 x 8 pixels."""
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(count) % classes
    return data.Data(
        train_images=pixels,
        train_labels=labels,
        validation_images=pixels,
        validation_labels=labels,
        test=data.SealedTestSet(pixels, labels),
        classes=classes,
        mean=torch.tensor([0.5, 0.4, 0.3]),
        std=torch.tensor([0.2, 0.3, 0.25]),
        sha256="",
    )


def teacher_of(
    architecture: Architecture = "wrn16_2", classes: int = 10, precision: str = "fp32", seed: int = 0
) -> FrozenTeacher:
    """An untrained network of width 8."""
    network = build(architecture, "cifar", Model(width=8, zero_init_residual=False), classes, "teacher", seed)
    return FrozenTeacher(network, precision=precision, device=CPU)


IMAGES, TEACHER = images_of(30), teacher_of()


def opened(
    path: Path,
    teacher: FrozenTeacher = TEACHER,
    images: data.Data = IMAGES,
    dataset: Dataset = PLAIN,
    identity: str = IDENTITY,
) -> tuple[TeacherTable, list[str]]:
    """A table, and what was said on the way."""
    said: list[str] = []
    table = open_or_build(path, identity, teacher, images, dataset, CPU, said.append)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)
    return table, said


def all_logits(table: TeacherTable, images: data.Data = IMAGES, dataset: Dataset = PLAIN) -> Tensor:
    """Every row, image by image."""
    views = view_count(dataset.crop_padding, dataset.horizontal_flip)
    rows = torch.arange(len(images.train_images) * views)
    return table.logits(rows // views, rows % views)


class NeverTeacher(FrozenTeacher):
    """A teacher that must not be asked."""

    def __init__(self) -> None:
        super().__init__(teacher_of().network, precision="fp32", device=CPU)

    def logits(self, images: Tensor) -> Tensor:
        """Fails."""
        raise AssertionError(f"{len(images)} logits were computed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a table goes; its folder is not there yet."""
    return tmp_path / "tables" / "teacher.safetensors"


@pytest.mark.parametrize(
    ("architecture", "classes", "precision", "threads"),
    [
        ("resnet50", 10, "fp32", 1),
        ("resnet50", 10, "bf16", 1),
        ("wrn16_2", 100, "fp32", 1),
        ("wrn16_2", 100, "fp32", 2),
    ],
)
def test_a_table_says_what_the_teacher_says(
    path: Path, architecture: Architecture, classes: int, precision: str, threads: int
) -> None:
    """Bit for bit what a step would compute online: random views in batches of any size, the last ones small."""
    images, teacher = images_of(30, classes), teacher_of(architecture, classes, precision)
    torch.set_num_threads(threads)
    try:
        table, _ = opened(path, teacher, images)
        padded = pad(images.train_images, 1)
        for batch in (1, 2, 3, 13, 16, 32, 57):
            generator = torch.Generator().manual_seed(batch)
            index = torch.randint(0, 30, (batch,), generator=generator)
            views = draw_views(batch, generator, 1)
            shown = normalise(crop(padded, index, views, padding=1, horizontal_flip=True), images.mean, images.std)
            found = table.logits(index, view_number(views, padding=1, horizontal_flip=True))
            assert found.dtype == torch.float32
            assert torch.equal(found, teacher.logits(shown))
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(("padding", "flip", "count"), [(0, False, 1), (0, True, 2), (1, False, 9), (2, True, 50)])
def test_every_setting_has_its_views(path: Path, padding: int, flip: bool, count: int) -> None:
    """A row for each view of each image, those of images without padding being the images themselves."""
    dataset = PLAIN.model_copy(update={"crop_padding": padding, "horizontal_flip": flip})
    table, said = opened(path, dataset=dataset)
    assert f"30 images x {count} views" in said[0]
    assert all_logits(table, dataset=dataset).shape == (30 * count, 10)
    middle = (padding * (2 * padding + 1) + padding) * (1 + flip)  # the crop in the middle, unmirrored
    plain = TEACHER.logits(normalise(IMAGES.train_images, IMAGES.mean, IMAGES.std))
    assert torch.equal(table.logits(torch.arange(30), torch.full((30,), middle)), plain)


def test_a_last_batch_of_one_view_is_a_view_like_any_other(path: Path) -> None:
    """257 images of one view each end with a batch of one."""
    images = images_of(257)
    dataset = PLAIN.model_copy(update={"crop_padding": 0, "horizontal_flip": False})
    table, _ = opened(path, images=images, dataset=dataset)
    expected = TEACHER.logits(normalise(images.train_images, images.mean, images.std))
    assert torch.equal(all_logits(table, images, dataset), expected)


def test_a_table_is_computed_once(path: Path) -> None:
    """Said in one line with its reason, images, views and size; the next time it is read, and nothing is said."""
    first, said = opened(path)
    (line,) = said
    assert str(path) in line
    assert "not there yet" in line
    assert "30 images x 18 views, 0 MB" in line
    second, said = opened(path, NeverTeacher())
    assert said == []
    assert torch.equal(all_logits(first), all_logits(second))


def test_a_table_is_a_safetensors_file_and_nothing_else_is_left(path: Path) -> None:
    """Any reader of the format can read it; beside it lies its lock alone."""
    table, _ = opened(path)
    (logits,) = safetensors.torch.load_file(path).values()
    assert logits.shape == (30, 18, 10)
    assert torch.equal(logits.flatten(0, 1), all_logits(table))
    assert {file.name for file in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_the_same_teacher_writes_the_same_file(path: Path) -> None:
    """Byte for byte."""
    opened(path)
    opened(other := path.with_name("other.safetensors"))
    assert other.read_bytes() == path.read_bytes()


def flip_bit(path: Path, place: int) -> None:
    """Change one bit of a file; `place` counts bytes from its start or, if negative, its end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path: Path, left: int) -> None:
    """Keep the first bytes of a file."""
    os.truncate(path, left)


def without_digest(path: Path) -> None:
    """The same numbers, without the digest."""
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"identity": IDENTITY})


def half_of_it(path: Path) -> None:
    """A whole file, but with the views of half of the images."""
    (logits,) = safetensors.torch.load_file(path).values()
    safetensors.torch.save_file({"logits": logits[:15].clone()}, path, {"identity": IDENTITY})


def other_name(path: Path) -> None:
    """A safetensors file with another tensor."""
    safetensors.torch.save_file({"weights": torch.zeros(3)}, path, {"identity": IDENTITY})


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit of the last number": (lambda path: flip_bit(path, -1), "changed"),
    "one bit of the first number": (lambda path: flip_bit(path, -30 * 18 * 10 * 4), "changed"),
    "one bit of the digest": (lambda path: flip_bit(path, path.read_bytes().index(b'"sha256":"') + 12), "changed"),
    "one bit of the identity": (lambda path: flip_bit(path, path.read_bytes().index(b"this teacher")), "another"),
    "one byte missing": (lambda path: cut(path, path.stat().st_size - 1), "truncated"),
    "one byte too many": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "truncated"),
    "half a header": (lambda path: cut(path, 20), "truncated"),
    "empty": (lambda path: cut(path, 0), "truncated"),
    "not safetensors": (lambda path: path.write_bytes(b"x" * 1000), "truncated"),
    "another tensor": (other_name, "truncated"),
    "no digest": (without_digest, "changed"),
    "other images": (half_of_it, "another"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_found_named_and_computed_again(path: Path, damage: str) -> None:
    """Whatever is wrong with it, the logits are right in the end; without damage nothing is said."""
    table, _ = opened(path)
    expected, whole = all_logits(table).clone(), path.read_bytes()
    change, reason = DAMAGE[damage]
    replacement = path.with_name("replacement")
    shutil.copy(path, replacement)  # a mapped file must not be cut
    change(replacement)
    replacement.replace(path)
    again, said = opened(path)
    (line,) = said
    assert str(path) in line
    assert reason in line
    assert torch.equal(all_logits(again), expected)
    assert path.read_bytes() == whole


def test_a_table_of_another_identity_is_not_used(path: Path) -> None:
    """Another teacher's table in the same place is named and replaced, also while somebody reads it."""
    first, _ = opened(path)
    expected = all_logits(first).clone()
    other = teacher_of(seed=1)
    second, said = opened(path, other, identity="another teacher, these images")
    assert "another teacher" in said[0]
    assert not torch.equal(all_logits(second), expected)
    assert torch.equal(all_logits(first), expected)  # its file is gone, its map is not


def test_a_disk_without_room_is_said_before_work_begins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence: how much is needed, how much there is, what to do."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 21_599))  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentProblem, match=r"expected 0 MB of free disk.*teacher_logits: online"):
        opened(path, NeverTeacher())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 21_600))  # type: ignore[attr-defined]
    opened(path)  # 30 images x 18 views x 10 classes x 4 bytes


def test_a_disk_that_loses_what_is_written_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read back is not used."""
    monkeypatch.setattr(teacher_table, "_read", lambda *_: "truncated or damaged")
    with pytest.raises(EnvironmentProblem, match="check the disk"):
        opened(path)


class StoppingTeacher(FrozenTeacher):
    """A teacher that fails at its second batch."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__(teacher_of().network, precision="fp32", device=CPU)
        self.asked, self.then = 0, then

    def logits(self, images: Tensor) -> Tensor:
        """As the others', once."""
        self.asked += 1
        if self.asked > 1:
            self.then()
        return super().logits(images)


def test_a_build_that_fails_leaves_the_old_table(path: Path) -> None:
    """And no half of a new one."""
    opened(path)
    before = path.read_bytes()

    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        opened(path, StoppingTeacher(fail), identity="another")
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_progress_is_told_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten seconds a batch, every third batch: how much is done and how long the rest takes."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(teacher_table.time, "monotonic", lambda: next(clock))
    images = images_of(256 * 9 // 18)  # nine batches
    _, said = opened(path, images=images)
    assert [line.split(": ", 1)[1] for line in said[1:]] == [
        "33%, 1 minutes left.",
        "67%, 0 minutes left.",
        "100%, 0 minutes left.",
    ]


def _hang_in_child(path: Path, building: multiprocessing.synchronize.Event) -> None:
    def hang() -> None:
        building.set()
        time.sleep(600)

    torch.set_num_threads(1)
    opened(path, StoppingTeacher(hang))


@contextlib.contextmanager
def another_process(work: Callable[..., None], *given: object) -> Iterator[multiprocessing.process.BaseProcess]:
    """A process of its own at work, killed in the end."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=given)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_one_computes_while_the_others_wait(path: Path) -> None:
    """A second process that wants the table says that it waits, and then reads what the first has written."""
    path.parent.mkdir()
    said: list[str] = []
    lock = path.with_name(f".{path.name}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def release() -> None:
        time.sleep(0.2)
        opened(other := path.with_name("other.safetensors"))
        other.replace(path)
        lock.close()

    thread = threading.Thread(target=release)
    thread.start()
    table = open_or_build(path, IDENTITY, NeverTeacher(), IMAGES, PLAIN, CPU, said.append)
    thread.join()
    assert all_logits(table).shape == (540, 10)
    (line,) = said
    assert "waiting" in line


def test_a_killed_builder_hands_over(path: Path) -> None:
    """Its lock goes with it; the next removes the half that it left, and computes the table."""
    building = multiprocessing.get_context("spawn").Event()
    with another_process(_hang_in_child, path, building) as builder:
        assert building.wait(60)
        (half,) = path.parent.glob("*.tmp")
        threading.Timer(0.2, builder.kill).start()
        table, said = opened(path)
    assert builder.exitcode == -signal.SIGKILL
    assert ["waiting" in line for line in said] == [True, False]
    assert not half.exists()
    assert all_logits(table).shape == (540, 10)


def test_a_table_that_fits_lives_on_the_gpu(path: Path) -> None:
    """Where there is one: rows are picked there, and equal those of the file."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    table, _ = opened(path)
    expected = all_logits(table)
    (logits,) = safetensors.torch.load_file(path).values()
    rows = torch.arange(540, device="cuda")
    found = TeacherTable(logits, torch.device("cuda")).logits(rows // 18, rows % 18)
    assert found.device.type == "cuda"
    assert torch.equal(found.cpu(), expected)
