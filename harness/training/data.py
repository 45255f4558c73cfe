"""Images: loading, the fixed split, and a test set that stays shut until training is over.

All images of a dataset live in uint8 tensors (count, 3, height, width); grey images get three equal channels.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.errors import DataError
from harness.study.spec import Dataset
from harness.training.streams import stream
from harness.training.vision import torchvision

# What Pillow raises for damaged files of its many formats.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Mean and standard deviation a channel of the training images, in [0, 1].
# CIFAR-10: paper, section 4. CIFAR-100: its 50,000 training images. Digits: all 1,797 images.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "digits": ((0.3053,) * 3, (0.3760,) * 3),
}


class SealedTestSet:
    """Test images that nobody sees before training is over, and that count how often they were taken out."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels
        self._training_is_over = False
        self.openings = 0

    def __len__(self) -> int:
        return len(self._labels)

    def unseal(self) -> None:
        """Say that training is over: no step and no choice follows."""
        self._training_is_over = True

    def open(self) -> tuple[Tensor, Tensor]:
        """The images (uint8) and labels; each call is counted.

        Raises:
            RuntimeError: Training is not over.
        """
        if not self._training_is_over:
            raise RuntimeError("the test set was asked for before training was over")
        self.openings += 1
        return self._images, self._labels


@dataclass(frozen=True)
class Data:
    """A dataset, split.

    Attributes:
        train_images: uint8, (count, 3, height, width).
        train_labels: int64, with label noise if the study asks for it.
        validation_images: uint8.
        validation_labels: int64, clean.
        test: The sealed test set.
        classes: Number of classes.
        mean: Per channel, in [0, 1].
        std: Per channel, in [0, 1].
        sha256: Digest of every image and label used, and of the split.
    """

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    test: SealedTestSet
    classes: int
    mean: Tensor
    std: Tensor
    sha256: str


@dataclass(frozen=True)
class _Images:
    images: Tensor
    labels: Tensor


def prepare(dataset: Dataset, folder: Path) -> None:
    """Make sure that the images are at hand, downloading CIFAR with its checksum if it is not.

    Args:
        dataset: Which images.
        folder: Where downloads go.

    Raises:
        DataError: They are not, and cannot be had.
    """
    if dataset.name in ("cifar10", "cifar100"):
        _cifar(dataset, folder, train=True, download=True)
    elif dataset.name == "folder":
        _need(Path(dataset.path or ""))


def load(dataset: Dataset, folder: Path) -> Data:
    """Load and split a dataset.

    The first `validation_images` of a permutation by `split_seed` validate, the rest trains, whatever the
    run's seed (paper, section 4).

    Args:
        dataset: Which images.
        folder: Where downloads are.

    Returns:
        The split data.

    Raises:
        DataError: The images are missing, damaged, or too few; names what and where.
    """
    generator = torch.Generator().manual_seed(dataset.split_seed)
    if dataset.name == "digits":
        pool, test, order = _digits(dataset, generator)
    else:
        read = _folder if dataset.name == "folder" else _cifar_images
        pool, test = read(dataset, folder)
        order = torch.randperm(len(pool.labels), generator=generator)
    validation, training = order[: dataset.validation_images], order[dataset.validation_images :]
    wanted = len(training) if dataset.train_images is None else dataset.train_images
    if len(training) < max(wanted, 1):
        raise DataError(
            f"dataset {dataset.name}: expected at least {dataset.validation_images} validation and {max(wanted, 1)} "
            f"training images, found {len(order)} in all; lower validation_images or train_images."
        )
    training = training[:wanted]
    classes = int(pool.labels.max()) + 1
    mean, std = _statistics(dataset, pool.images[training])
    train_labels = _noisy(pool.labels[training], classes, dataset)
    parts = (
        pool.images[training],
        train_labels,
        pool.images[validation],
        pool.labels[validation],
        *_pair(test),
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.contiguous().numpy().tobytes())
    return Data(*parts[:4], SealedTestSet(*parts[4:]), classes, mean, std, digest.hexdigest())


def _pair(images: _Images) -> tuple[Tensor, Tensor]:
    return images.images, images.labels


def _noisy(labels: Tensor, classes: int, dataset: Dataset) -> Tensor:
    """Redraw a share of the labels uniformly over all classes: the same for every run of a study."""
    generator = stream("label_noise", dataset.split_seed)
    redrawn = torch.rand(len(labels), generator=generator) < dataset.label_noise
    random = torch.randint(0, classes, (len(labels),), generator=generator)
    return torch.where(redrawn, random, labels)


def _statistics(dataset: Dataset, images: Tensor) -> tuple[Tensor, Tensor]:
    if dataset.name in STATISTICS:
        mean, std = STATISTICS[dataset.name]
        return torch.tensor(mean), torch.tensor(std)
    values = images.double() / 255
    return values.mean(dim=(0, 2, 3)).float(), values.std(dim=(0, 2, 3), correction=0).clamp_min(1e-3).float()


def _digits(dataset: Dataset, generator: torch.Generator) -> tuple[_Images, _Images, Tensor]:
    """scikit-learn's digits (UCI optdigits' test part): no test set of their own, so one is held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8))  # pixels are 0..16
    images = grey[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.randperm(len(labels), generator=generator)
    held_out = dataset.test_images or 0
    kept = len(labels) - held_out
    if kept < 0:
        raise DataError(f"dataset.test_images: expected at most {len(labels)} digits, found {held_out}.")
    test = order[kept:]
    return _Images(images, labels), _Images(images[test], labels[test]), order[:kept]


def _cifar(dataset: Dataset, folder: Path, *, train: bool, download: bool) -> torchvision.datasets.CIFAR10:
    """Read with torchvision, which checks every file's MD5 first (its batches are pickles)."""
    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[dataset.name]
    try:
        return kind(root=str(folder), train=train, download=download)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{dataset.name}: expected {kind.filename} (MD5 {kind.tgz_md5}) in {folder}, and it could be neither read "
            f"nor downloaded ({_first_line(error)}); connect to the internet once, or put that file there yourself."
        ) from error


def _cifar_images(dataset: Dataset, folder: Path) -> tuple[_Images, _Images]:
    parts = []
    for train in (True, False):
        source = _cifar(dataset, folder, train=train, download=False)
        images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
        parts.append(_Images(images, torch.tensor(source.targets)))
    return parts[0], parts[1]


def _folder(dataset: Dataset, _downloads: Path) -> tuple[_Images, _Images]:
    """An ImageFolder layout (train/CLASS/*, test/CLASS/*), as a directory or a tar archive."""
    path = Path(dataset.path or "")
    _need(path)
    read = _tar_files if path.is_file() else _directory_files
    found: dict[str, list[tuple[str, str, bytes]]] = {"train": [], "test": []}
    for name, content in read(path):
        *_, split, label, file = ("", "", *name.split("/"))
        if split in found and file.lower().endswith(SUFFIXES):
            found[split].append((label, name, content))
    classes, tested = (sorted({label for label, _, _ in found[split]}) for split in ("train", "test"))
    if not classes or tested != classes:
        odd = f" (only in one of them: {', '.join(unmatched)})" if (unmatched := sorted({*classes} ^ {*tested})) else ""
        raise DataError(
            f"{path}: expected train/CLASS/* and test/CLASS/* with the same classes, found {len(classes)} in train and "
            f"{len(tested)} in test{odd}; add what is missing."
        )
    numbers = {label: number for number, label in enumerate(classes)}
    # Sorted by name: the same images give the same tensors from any file system or archive.
    parts = [_decode(path, sorted(found[split], key=lambda item: item[1]), numbers) for split in ("train", "test")]
    if parts[0].images.shape[1:] != parts[1].images.shape[1:]:
        raise DataError(f"{path}: expected one image size, found another in test/ than in train/; resize them.")
    return parts[0], parts[1]


def _need(path: Path) -> None:
    if not path.exists():
        raise DataError(
            f"dataset.path: expected a directory or tar archive of images, found nothing at {path}; put it there or "
            "correct the path in the profile."
        )


def _directory_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in (found for found in path.glob("*/*/*") if found.is_file()):
        yield file.relative_to(path).as_posix(), file.read_bytes()


def _tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Files of an archive, read in memory: nothing is unpacked, so no member can leave its folder."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and (content := archive.extractfile(member)):
                    yield member.name, content.read()
            # tarfile takes a cut or damaged header for the end: the true end is a block of zeros.
            if archive.fileobj is not None:
                archive.fileobj.seek(archive.offset)
                if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it ends without an end")
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole tar archive, found a damaged one ({_first_line(error)}); make it again."
        ) from error


def _decode(path: Path, files: list[tuple[str, str, bytes]], numbers: dict[str, int]) -> _Images:
    images = []
    for _, name, content in files:
        try:
            with Image.open(io.BytesIO(content)) as image:
                images.append(np.asarray(image.convert("RGB")))
        except _UNREADABLE as error:
            raise DataError(f"{path}: {name} is not an image that can be read; replace or remove it.") from error
        if images[-1].shape != images[0].shape:
            sizes = ["x".join(map(str, found.shape[:2])) for found in (images[0], images[-1])]
            raise DataError(
                f"{path}: expected every image to be {sizes[0]} like the first, found {sizes[1]} in {name}; resize it."
            )
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return _Images(pixels, torch.tensor([numbers[label] for label, _, _ in files]))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
