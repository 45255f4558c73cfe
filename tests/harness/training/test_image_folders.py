"""ImageFolder layouts: directories and archives, whole and damaged."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.errors import DataError
from harness.study.spec import Dataset
from harness.training.data import Data, load, prepare

CLASSES = ("ant", "bee", "cow")
PER_CLASS = {"train": 5, "test": 2}


def folder(path: Path, **changes: Any) -> Dataset:  # noqa: ANN401 - any field
    """The description of a folder's or archive's images."""
    fields = {"validation_images": 4, "split_seed": 7, "crop_padding": 0, "horizontal_flip": False} | changes
    return Dataset(name="folder", path=str(path), **fields)


def read(path: Path, **changes: Any) -> Data:  # noqa: ANN401 - any field
    """Load a folder or archive."""
    return load(folder(path, **changes), Path("/nonexistent"))


def picture(split: str, label: str, number: int) -> np.ndarray:
    """A 4x5 image whose pixels name it: red the split, green the class, blue the number."""
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    image[:] = (50 * (split == "test"), CLASSES.index(label), number)
    image[0, 4] = 255
    return image


NAMES = [(split, label, i) for split, count in PER_CLASS.items() for label in CLASSES for i in range(count)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """PNGs of three classes, made in shuffled order."""
    root = tmp_path / "pictures"
    for index in np.random.default_rng(0).permutation(len(NAMES)):
        split, label, number = NAMES[index]
        file = root / split / label / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(split, label, number)).save(file)
    return root


def archive(pictures: Path, suffix: str, prefix: str = "") -> Path:
    """The pictures as a tar archive, members in another shuffled order."""
    target = pictures.parent / f"pictures.{suffix}"
    files = sorted(pictures.glob("*/*/*"))
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[suffix]
    with tarfile.open(target, mode) as tar:  # type: ignore[call-overload] # a mode that is known
        for index in np.random.default_rng(1).permutation(len(files)):
            file = files[index]
            tar.add(file, arcname=prefix + file.relative_to(pictures).as_posix())
    return target


def test_images_are_read_in_the_order_of_their_names(pictures: Path) -> None:
    """Then split by the permutation: pixels tell which image stands where."""
    data = read(pictures)
    names = [(label, number) for label in CLASSES for number in range(5)]
    order = torch.randperm(15, generator=torch.Generator().manual_seed(7)).tolist()
    found = [
        (CLASSES[green], blue)
        for images in (data.validation_images, data.train_images)
        for green, blue in images[:, 1:, 2, 2].tolist()
    ]
    assert found == [names[i] for i in order]
    labels = torch.cat([data.validation_labels, data.train_labels]).tolist()
    assert [CLASSES[label] for label in labels] == [label for label, _ in found]
    data.test.unseal()
    images, test_labels = data.test.open()
    assert images.shape == (6, 3, 4, 5)
    assert images[0].permute(1, 2, 0).tolist() == picture("test", "ant", 0).tolist()
    assert test_labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("suffix", "prefix"), [("tar", ""), ("tar", "./"), ("tar.gz", "some/folder/"), ("tar.xz", "pictures/")]
)
def test_an_archive_is_its_directory(pictures: Path, suffix: str, prefix: str) -> None:
    """Same tensors and digest, whatever the compression, the order of members and the folder around them."""
    directory, tar = read(pictures), read(archive(pictures, suffix, prefix))
    assert tar.sha256 == directory.sha256
    assert torch.equal(tar.train_images, directory.train_images)
    assert torch.equal(tar.train_labels, directory.train_labels)
    assert torch.equal(tar.validation_images, directory.validation_images)


def test_one_changed_pixel_is_another_digest(pictures: Path) -> None:
    """In training, validation or test images."""
    before = read(pictures).sha256
    seen = {before}
    for split in ("train", "test"):
        file = pictures / split / "bee" / "01.png"
        image = picture(split, "bee", 1)
        image[3, 3, 0] += 1
        Image.fromarray(image).save(file)
        seen.add(read(pictures).sha256)
    assert len(seen) == 3


def test_statistics_come_from_the_training_images_alone(pictures: Path) -> None:
    """Mean and sd a channel by numpy, in units of one; neither validation nor test images count."""
    data = read(pictures)
    values = data.train_images.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert data.mean.tolist() == pytest.approx(values.mean(axis=1), abs=1e-6)
    assert data.std.tolist() == pytest.approx(values.std(axis=1), abs=1e-6)


def test_grey_images_get_three_equal_channels(pictures: Path) -> None:
    """A grey file beside colour ones is no obstacle."""
    Image.fromarray(np.full((4, 5), 77, dtype=np.uint8)).save(pictures / "test" / "ant" / "00.png")
    data = read(pictures)
    data.test.unseal()
    assert data.test.open()[0][0].unique().tolist() == [77]


def test_other_files_beside_the_images_are_ignored(pictures: Path) -> None:
    """A README, a list of names, a thumbnail database."""
    before = read(pictures).sha256
    (pictures / "README.md").write_text("pictures")
    (pictures / "train" / "names.txt").write_text("ant\nbee\n")
    (pictures / "train" / "ant" / "Thumbs.db").write_bytes(b"\0")
    assert read(pictures).sha256 == before


def test_a_directory_inside_a_class_is_ignored(pictures: Path) -> None:
    """Notebooks leave .ipynb_checkpoints wherever they look."""
    before = read(pictures).sha256
    (pictures / "train" / "ant" / ".ipynb_checkpoints").mkdir()
    assert read(pictures).sha256 == before


def refused(path: Path, *words: str, **changes: Any) -> str:  # noqa: ANN401 - any field
    """The one-line sentence with which loading is refused; it names the path and all `words`."""
    with pytest.raises(DataError) as caught:
        read(path, **changes)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in (str(path), *words):
        assert word in sentence
    return sentence


def test_a_missing_path(tmp_path: Path) -> None:
    """Before any training, by `prepare`; and by a worker."""
    with pytest.raises(
        DataError, match=r"dataset\.path: expected a directory or tar archive of images, found nothing at .*gone"
    ):
        prepare(folder(tmp_path / "gone"), tmp_path)
    refused(tmp_path / "gone", "found nothing", "correct the path")


def test_a_path_that_is_there_is_good(pictures: Path, tmp_path: Path) -> None:
    """The check can pass."""
    prepare(folder(pictures), tmp_path)


def test_damage_is_found_before_any_training(pictures: Path, tmp_path: Path) -> None:
    """By `prepare`, once, and not by every run for itself."""
    (pictures / "train" / "cow" / "03.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"train/cow/03\.png is not an image that can be read"):
        prepare(folder(pictures), tmp_path)


def test_a_class_without_test_images(pictures: Path) -> None:
    """Accuracy on classes never tested would mean nothing."""
    shutil.rmtree(pictures / "test" / "bee")
    refused(pictures, "same classes", "found 3 in train and 2 in test")


def test_a_class_without_training_images(pictures: Path) -> None:
    """Nor on classes never trained."""
    shutil.rmtree(pictures / "train" / "bee")
    refused(pictures, "same classes", "found 2 in train and 3 in test")


def test_an_empty_class_folder_is_a_missing_one(pictures: Path) -> None:
    """It is there, and holds nothing to test on."""
    for file in (pictures / "test" / "bee").iterdir():
        file.unlink()
    refused(pictures, "same classes", "only in one of them: bee", "add what is missing")


def test_one_class_is_none(pictures: Path) -> None:
    """Every network would be right."""
    for split in ("train", "test"):
        for label in ("bee", "cow"):
            shutil.rmtree(pictures / split / label)
    refused(pictures, "at least two, found 1 in train and 1 in test")


def test_images_of_another_format_are_no_images(pictures: Path) -> None:
    """The sentence lists the suffixes that are read."""
    for file in pictures.glob("*/*/*.png"):
        file.rename(file.with_suffix(".tiff"))
    refused(pictures, ".png, .jpg, .jpeg, .bmp, .webp", "found 0 in train and 0 in test")


def test_the_class_that_is_amiss_is_named(pictures: Path) -> None:
    """A misspelt class leaves equal numbers in train and test: only its name helps."""
    (pictures / "test" / "bee").rename(pictures / "test" / "bees")
    refused(pictures, "bees")


def test_a_file_that_is_no_image(pictures: Path) -> None:
    """The sentence names it and says what to do with it."""
    (pictures / "train" / "cow" / "03.png").write_text("not a picture")
    refused(pictures, "train/cow/03.png", "replace or remove it")


def test_a_truncated_image(pictures: Path) -> None:
    """Its header is fine; its pixels are not all there."""
    file = pictures / "train" / "cow" / "03.png"
    file.write_bytes(file.read_bytes()[:-30])
    refused(pictures, "train/cow/03.png", "replace or remove it")


def test_an_empty_file(pictures: Path) -> None:
    """What a full disk leaves."""
    (pictures / "test" / "cow" / "01.png").write_bytes(b"")
    refused(pictures, "test/cow/01.png", "replace or remove it")


def test_a_link_to_nothing(pictures: Path) -> None:
    """An image that is listed and not there is missing, not ignored."""
    file = pictures / "train" / "cow" / "03.png"
    file.unlink()
    file.symlink_to("gone.png")
    refused(pictures, "train/cow/03.png cannot be read (No such file or directory)", "replace or remove it")


def test_an_image_of_sixteen_bits(pictures: Path) -> None:
    """Cut off at 255 it would be white all over; the sentence says what to do instead."""
    Image.fromarray(np.full((4, 5), 300, dtype=np.uint16)).save(pictures / "train" / "cow" / "03.png")
    refused(pictures, "expected 8 bits a channel, found more in train/cow/03.png; convert it")


def test_an_image_that_claims_a_huge_size(pictures: Path) -> None:
    """A damaged width in a bitmap's header (offset 18, little endian) makes it a decompression bomb."""
    file = pictures / "train" / "cow" / "03.bmp"
    Image.fromarray(picture("train", "cow", 3)).save(file)
    content = bytearray(file.read_bytes())
    content[21] = 4
    file.write_bytes(content)
    refused(pictures, "train/cow/03.bmp", "replace or remove it")


def test_images_of_different_sizes(pictures: Path) -> None:
    """The sentence names the image, its size and the size expected, as height x width."""
    Image.fromarray(np.zeros((6, 5, 3), dtype=np.uint8)).save(pictures / "train" / "bee" / "02.png")
    refused(pictures, "4x5", "6x5", "train/bee/02.png")


def test_test_images_of_another_size(pictures: Path) -> None:
    """All alike, but not like the training images."""
    for file in pictures.glob("test/*/*"):
        Image.fromarray(np.zeros((6, 5, 3), dtype=np.uint8)).save(file)
    refused(pictures, "one image size", "test/")


def test_too_few_images(pictures: Path) -> None:
    """Fifteen images cannot give 4 to validate and 12 to train; they can give 11."""
    refused_sentence = r"at least 4 validation and 12 training images, found 15 in all; lower"
    with pytest.raises(DataError, match=refused_sentence):
        read(pictures, train_images=12)
    assert len(read(pictures, train_images=11).train_labels) == 11
    with pytest.raises(DataError, match=r"at least 15 validation and 1 training images, found 15"):
        read(pictures, validation_images=15)


def test_links_in_an_archive_are_the_images_that_they_name(pictures: Path) -> None:
    """As unpacking would make them: tar stores equal files, and links, once."""
    file = pictures / "train" / "cow" / "03.png"
    file.write_bytes((pictures / "train" / "cow" / "02.png").read_bytes())
    before = read(pictures).sha256
    for link in (lambda: file.symlink_to("02.png"), lambda: file.hardlink_to(pictures / "train" / "cow" / "02.png")):
        file.unlink()
        link()
        tar = archive(pictures, "tar")
        with tarfile.open(tar) as members:
            assert any(member.islnk() or member.issym() for member in members)
        assert read(tar).sha256 == before


def test_a_link_to_nothing_in_an_archive(pictures: Path) -> None:
    """The sentence says which."""
    (pictures / "train" / "cow" / "03.png").unlink()
    (pictures / "train" / "cow" / "03.png").symlink_to("gone.png")
    refused(archive(pictures, "tar"), "expected a whole tar archive", "gone.png")


def test_of_two_members_with_one_name_the_last_counts(pictures: Path) -> None:
    """As unpacking would leave it: counted twice, an image could train and validate."""
    tar = archive(pictures, "tar")
    with tarfile.open(tar, "a") as members:
        members.add(pictures / "train" / "cow" / "02.png", arcname="train/cow/03.png")
    (pictures / "train" / "cow" / "03.png").write_bytes((pictures / "train" / "cow" / "02.png").read_bytes())
    assert read(tar).sha256 == read(pictures).sha256


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    """A path to some other file."""
    path = tmp_path / "pictures.zip"
    path.write_bytes(b"PK" + bytes(1000))
    refused(path, "expected a whole tar archive")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz"])
def test_a_truncated_compressed_archive(pictures: Path, suffix: str) -> None:
    """Cut at many places; only the last bytes hold nothing but the filling after the end marker."""
    path = archive(pictures, suffix)
    whole = path.read_bytes()
    for length in range(1, len(whole) - 100, 97):
        path.write_bytes(whole[:length])
        refused(path, "expected a whole tar archive")


def test_an_archive_cut_inside_an_image(pictures: Path) -> None:
    """The last image's bytes end early."""
    path = archive(pictures, "tar")
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data + last.size // 2])
    refused(path, "expected a whole tar archive")


@pytest.mark.parametrize("cut", [0, 100])
def test_an_archive_cut_between_images(pictures: Path, cut: int) -> None:
    """At a member's header or inside it: the archive ends without its end marker, and images are missing."""
    path = archive(pictures, "tar")
    with tarfile.open(path) as tar:
        last = next(member for member in reversed(tar.getmembers()) if "train/" in member.name)
    path.write_bytes(path.read_bytes()[: last.offset + cut])
    refused(path, "expected a whole tar archive")


def test_an_archive_with_damaged_compression(pictures: Path) -> None:
    """A byte in the middle of an xz stream."""
    path = archive(pictures, "tar.xz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path, "expected a whole tar archive")
