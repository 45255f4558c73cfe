"""Split, label noise, sealed test set, digits and CIFAR."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from harness.errors import DataError
from harness.study.spec import Dataset
from harness.training.data import STATISTICS, Data, SealedTestSet, load, prepare
from harness.training.vision import torchvision

DIGITS = 1797


def digits(**changes: Any) -> Dataset:  # noqa: ANN401 - any field
    """The quick profile's kind of split of scikit-learn's digits."""
    fields = {"train_images": 400, "validation_images": 300, "test_images": 1097, "split_seed": 1234}
    return Dataset(name="digits", crop_padding=1, horizontal_flip=False, **fields | changes)


def cifar(name: str = "cifar10", **changes: Any) -> Dataset:  # noqa: ANN401 - any field
    """A split of CIFAR."""
    fields = {"validation_images": 5000, "split_seed": 1234, "crop_padding": 4, "horizontal_flip": True} | changes
    return Dataset(name=name, **fields)


def opened(data: Data) -> tuple[Tensor, Tensor]:
    """The test set, at the end of training."""
    data.test.unseal()
    return data.test.open()


def fingerprints(images: Tensor) -> set[bytes]:
    """Images as things that can be compared."""
    return {image.numpy().tobytes() for image in images}


def test_sizes_are_those_asked_for(tmp_path: Path) -> None:
    """Training, validation and test images, all uint8 with three channels; labels int64."""
    data = load(digits(), tmp_path)
    images, labels = opened(data)
    assert data.train_images.shape == (400, 3, 8, 8)
    assert data.validation_images.shape == (300, 3, 8, 8)
    assert images.shape == (1097, 3, 8, 8)
    assert [len(each) for each in (data.train_labels, data.validation_labels, labels)] == [400, 300, 1097]
    assert {each.dtype for each in (data.train_images, data.validation_images, images)} == {torch.uint8}
    assert {each.dtype for each in (data.train_labels, data.validation_labels, labels)} == {torch.int64}
    assert data.classes == 10


def test_without_a_number_all_that_is_left_trains(tmp_path: Path) -> None:
    """1,797 digits less 300 and 1,097."""
    assert len(load(digits(train_images=None), tmp_path).train_labels) == DIGITS - 300 - 1097


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    """All digits differ from each other, so that a shared one would be seen."""
    data = load(digits(), tmp_path)
    parts = [fingerprints(images) for images in (data.train_images, data.validation_images, opened(data)[0])]
    assert [len(part) for part in parts] == [400, 300, 1097]
    assert len(parts[0] | parts[1] | parts[2]) == DIGITS


def test_fewer_training_images_leave_the_other_parts_alone(tmp_path: Path) -> None:
    """They are the first ones of the many; validation and test stay as they are."""
    many, few = load(digits(), tmp_path), load(digits(train_images=50), tmp_path)
    assert torch.equal(few.train_images, many.train_images[:50])
    assert torch.equal(few.validation_images, many.validation_images)
    assert torch.equal(opened(few)[0], opened(many)[0])


def test_the_split_follows_its_own_seed_alone(tmp_path: Path) -> None:
    """The same for every run of a study whatever torch's global generator did; another split seed, another split."""
    torch.manual_seed(0)
    first = load(digits(), tmp_path)
    torch.manual_seed(1)
    assert load(digits(), tmp_path).sha256 == first.sha256
    other = load(digits(split_seed=1), tmp_path)
    assert other.sha256 != first.sha256
    assert fingerprints(other.validation_images) != fingerprints(first.validation_images)


def test_digits_keep_their_pixels_and_labels(tmp_path: Path) -> None:
    """Grey 0..16 becomes 0..255 in three equal channels, and each image keeps its label."""
    bunch = load_digits()
    known = {
        np.rint(image * 255 / 16).astype(np.uint8).tobytes(): int(label)
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    data = load(digits(), tmp_path)
    assert int(data.train_images.max()) == 255
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.validation_images, data.validation_labels),
        opened(data),
    ):
        assert torch.equal(images[:, 0], images[:, 1])
        assert torch.equal(images[:, 0], images[:, 2])
        assert [known[image.numpy().tobytes()] for image in images[:, 0]] == labels.tolist()


def test_digits_statistics_are_those_of_the_images() -> None:
    """Mean and sd of all pixels in units of one, as scikit-learn ships them (0..16)."""
    values = load_digits().images / 16
    (mean, *_), (std, *_) = STATISTICS["digits"]
    assert mean == pytest.approx(values.mean(), abs=5e-4)
    assert std == pytest.approx(values.std(), abs=5e-4)


def test_label_noise_redraws_the_share_asked_for(tmp_path: Path) -> None:
    """Half of 690 labels redrawn over 10 classes: 45% change, give or take 4 sd (1.9% each)."""
    spec = {"train_images": 690, "validation_images": 10}
    clean, noisy = load(digits(**spec), tmp_path), load(digits(**spec, label_noise=0.5), tmp_path)
    changed = float((clean.train_labels != noisy.train_labels).double().mean())
    assert changed == pytest.approx(0.45, abs=4 * 0.019)
    assert set(noisy.train_labels.tolist()) == set(range(10))


def test_label_noise_touches_training_labels_only(tmp_path: Path) -> None:
    """Images, validation labels and test labels stay clean; the digest says that something changed."""
    clean, noisy = load(digits(), tmp_path), load(digits(label_noise=1.0), tmp_path)
    assert not torch.equal(noisy.train_labels, clean.train_labels)
    assert torch.equal(noisy.train_images, clean.train_images)
    assert torch.equal(noisy.validation_labels, clean.validation_labels)
    assert torch.equal(opened(noisy)[1], opened(clean)[1])
    assert noisy.sha256 != clean.sha256


def test_label_noise_is_the_same_for_every_run(tmp_path: Path) -> None:
    """It belongs to the images, not to a run's seed; none at all leaves every label."""
    assert torch.equal(
        load(digits(label_noise=0.2), tmp_path).train_labels, load(digits(label_noise=0.2), tmp_path).train_labels
    )
    plain = load(digits(), tmp_path).train_labels
    assert torch.equal(load(digits(label_noise=0.0), tmp_path).train_labels, plain)


def test_a_sealed_test_set_does_not_open() -> None:
    """Nobody sees it before training is over; then each opening is counted."""
    sealed = SealedTestSet(torch.zeros(2, 3, 1, 1, dtype=torch.uint8), torch.tensor([0, 1]))
    assert len(sealed) == 2
    with pytest.raises(RuntimeError, match="before training was over"):
        sealed.open()
    assert sealed.openings == 0
    sealed.unseal()
    sealed.open()
    images, labels = sealed.open()
    assert sealed.openings == 2
    assert images.shape == (2, 3, 1, 1)
    assert labels.tolist() == [0, 1]


def test_too_many_images_asked_for(tmp_path: Path) -> None:
    """The sentence says how many of each, and what to lower."""
    with pytest.raises(DataError, match=r"at least 300 validation and 5000 training images.*; lower"):
        load(digits(train_images=5000), tmp_path)
    with pytest.raises(DataError, match=r"test_images: expected at most 1797 digits, found 1798"):
        load(digits(test_images=1798), tmp_path)


def test_images_held_out_for_the_end_are_not_found_for_training(tmp_path: Path) -> None:
    """1,797 digits less 1,097 for the test leave 700, fewer than 300 and 500."""
    with pytest.raises(DataError, match=r"found 700\b"):
        load(digits(train_images=500), tmp_path)


class Offline:
    """Stands in for torchvision's download and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, url: str, root: str, **_: str) -> None:
        """No network."""
        self.asked.append((url, root))
        raise URLError("[Errno -3] Temporary failure in name resolution")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Offline:
    """A machine that reaches nothing."""
    stand_in = Offline()
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("name", "file"), [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "cifar-100-python.tar.gz")]
)
def test_cifar_absent_offline(tmp_path: Path, offline: Offline, name: str, file: str) -> None:
    """The sentence names file, checksum, folder and cause, and says what to do; the download was for that folder."""
    with pytest.raises(DataError, match=r"to the internet once, or put that file there yourself\.$") as caught:
        prepare(cifar(name), tmp_path)
    sentence = str(caught.value)
    assert file in sentence
    assert re.search(r"MD5 [0-9a-f]{32}\b", sentence)
    assert f"in {tmp_path}, found nothing, and it could not be downloaded" in sentence
    assert "name resolution" in sentence
    assert "\n" not in sentence
    [(url, root)] = offline.asked
    assert url.endswith(file)
    assert Path(root) == tmp_path


def test_loading_never_downloads(tmp_path: Path, offline: Offline) -> None:
    """A worker that finds no images says so; only `prepare` asks the network."""
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz"):
        load(cifar(), tmp_path)
    assert offline.asked == []


def test_prepare_needs_nothing_for_digits(tmp_path: Path, offline: Offline) -> None:
    """They come with scikit-learn."""
    prepare(digits(), tmp_path)
    assert offline.asked == []
    assert list(tmp_path.iterdir()) == []


def pickled(path: Path, rows: np.ndarray, labels: list[int]) -> list[str]:
    """Write a batch in CIFAR's format; returns its name and checksum as torchvision lists them."""
    content = pickle.dumps({"data": rows, "labels": labels})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return [path.name, hashlib.md5(content, usedforsecurity=False).hexdigest()]


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve training and three test images in CIFAR-10's files, with torchvision's list of checksums to match.

    Image i is all i in red, 100 + i in green, and has its row number in blue.
    """
    kind = torchvision.datasets.CIFAR10
    folder = tmp_path / kind.base_folder
    rows = np.zeros((15, 3, 32, 32), dtype=np.uint8)
    rows[:, 0] = np.arange(15)[:, None, None]
    rows[:, 1] = 100 + np.arange(15)[:, None, None]
    rows[:, 2] = np.arange(32)[None, :, None]
    rows = rows.reshape(15, -1)
    labels = [i % 10 for i in range(15)]
    lists = {
        "train_list": [
            pickled(folder / "data_batch_1", rows[:5], labels[:5]),
            pickled(folder / "data_batch_2", rows[5:12], labels[5:12]),
        ],
        "test_list": [pickled(folder / "test_batch", rows[12:], labels[12:])],
    }
    for name, value in lists.items():
        monkeypatch.setattr(kind, name, value)
    content = pickle.dumps({"label_names": [str(i) for i in range(10)]})
    (folder / "batches.meta").write_bytes(content)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": digest})
    return tmp_path


def test_cifar_validates_on_the_first_of_the_permutation(small_cifar: Path) -> None:
    """The paper's rule: the first N of randperm(count, seed) validate, the rest trains, in that order."""
    data = load(cifar(validation_images=4), small_cifar)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1234)).tolist()
    assert data.validation_images[:, 0, 0, 0].tolist() == order[:4]
    assert data.train_images[:, 0, 0, 0].tolist() == order[4:]
    assert data.validation_labels.tolist() == [i % 10 for i in order[:4]]
    assert data.train_labels.tolist() == [i % 10 for i in order[4:]]


def test_cifar_pixels_are_where_they_belong(small_cifar: Path) -> None:
    """Channels first, rows before columns; CIFAR's own test batch is the test set."""
    images, labels = opened(load(cifar(validation_images=4), small_cifar))
    assert images.shape == (3, 3, 32, 32)
    assert images[:, 0, 5, 9].tolist() == [12, 13, 14]
    assert images[:, 1, 5, 9].tolist() == [112, 113, 114]
    assert images[:, 2, 5, 9].tolist() == [5, 5, 5]
    assert labels.tolist() == [2, 3, 4]


def test_cifar_is_normalised_with_the_papers_numbers(small_cifar: Path) -> None:
    """Section 4 of the paper, whatever the images at hand."""
    data = load(cifar(validation_images=4), small_cifar)
    assert data.mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert data.std.tolist() == pytest.approx([0.2470, 0.2435, 0.2616])


def test_a_changed_cifar_batch_is_refused(small_cifar: Path) -> None:
    """Torchvision's checksum comes before the pickle is read."""
    batch = small_cifar / torchvision.datasets.CIFAR10.base_folder / "data_batch_2"
    content = bytearray(batch.read_bytes())
    content[-20] ^= 1
    batch.write_bytes(content)
    with pytest.raises(DataError, match=r"found .*data_batch_2 cut short or changed \(MD5 [0-9a-f]{32} instead of"):
        load(cifar(validation_images=4), small_cifar)


def test_a_missing_cifar_batch_is_told(small_cifar: Path) -> None:
    """Half unpacked, it is not nothing."""
    (small_cifar / torchvision.datasets.CIFAR10.base_folder / "test_batch").unlink()
    with pytest.raises(DataError, match=r"found files missing from .*cifar-10-batches-py; run `harness train`"):
        load(cifar(validation_images=4), small_cifar)


@pytest.fixture
def packed_cifar(small_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only the small CIFAR's archive, as it is downloaded, its checksum known to torchvision; and no network."""
    kind = torchvision.datasets.CIFAR10
    path = small_cifar / kind.filename
    with tarfile.open(path, "w:gz") as archive:
        archive.add(small_cifar / kind.base_folder, arcname=kind.base_folder)
    shutil.rmtree(small_cifar / kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", unreachable)
    return path


unpacks = pytest.mark.filterwarnings("ignore:Python 3.14 will, by default, filter:DeprecationWarning")  # torchvision's


@unpacks
def test_an_archive_that_was_put_there_is_unpacked(packed_cifar: Path) -> None:
    """Without the network, once its checksum is right."""
    prepare(cifar(validation_images=4), packed_cifar.parent)
    assert len(load(cifar(validation_images=4), packed_cifar.parent).train_labels) == 8


@unpacks
def test_a_damaged_batch_is_unpacked_again(packed_cifar: Path) -> None:
    """Where the archive is still there."""
    prepare(cifar(validation_images=4), packed_cifar.parent)
    (packed_cifar.parent / torchvision.datasets.CIFAR10.base_folder / "data_batch_1").write_bytes(b"damaged")
    prepare(cifar(validation_images=4), packed_cifar.parent)


@pytest.mark.parametrize("content", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"<html>"])
def test_a_truncated_or_foreign_archive_is_not_unpacked(packed_cifar: Path, content: Callable[[bytes], bytes]) -> None:
    """Torchvision would fetch it anew; offline the sentence names the file, both checksums and what to do."""
    packed_cifar.write_bytes(content(packed_cifar.read_bytes()))
    found = hashlib.md5(packed_cifar.read_bytes(), usedforsecurity=False).hexdigest()
    wanted = torchvision.datasets.CIFAR10.tgz_md5
    with pytest.raises(DataError) as caught:
        prepare(cifar(validation_images=4), packed_cifar.parent)
    assert str(caught.value) == (
        f"cifar10: expected cifar-10-python.tar.gz (MD5 {wanted}) in {packed_cifar.parent}, found {packed_cifar} cut "
        f"short or changed (MD5 {found} instead of {wanted}), and it could not be downloaded (<urlopen error no "
        "network>); run `harness train` with a connection to the internet once, or put that file there yourself."
    )
    assert [file.name for file in packed_cifar.parent.iterdir()] == [packed_cifar.name]


def test_the_digest_covers_images_labels_and_split(tmp_path: Path) -> None:
    """Every setting that changes what is trained, chosen or tested on changes the digest."""
    variants = [
        digits(),
        digits(split_seed=5),
        digits(train_images=399),
        digits(validation_images=299),
        digits(test_images=1096),
        digits(label_noise=0.1),
    ]
    assert len({load(dataset, tmp_path).sha256 for dataset in variants}) == len(variants)
