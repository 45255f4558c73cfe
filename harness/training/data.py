"""Images: loading, the fixed split, and a test set that stays shut until training is over.

All images of a dataset live in uint8 tensors (count, 3, height, width); grey images get three equal channels.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
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
    """Make sure that the images are at hand and whole, downloading CIFAR with its checksum if it is not.

    Args:
        dataset: Which images.
        folder: Where downloads go.

    Raises:
        DataError: They are not, and cannot be had.
    """
    if dataset.name in ("cifar10", "cifar100"):
        _cifar(dataset, folder, train=True, download=True)
    # All of it once, here: otherwise every run would find the same damaged file by itself, and fail.
    load(dataset, folder)


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
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        tried = f", and it could not be downloaded ({_first_line(error)})" if download else ""
        raise DataError(
            f"{dataset.name}: expected {kind.filename} (MD5 {kind.tgz_md5}) in {folder}, found "
            f"{_found_of_cifar(kind, folder)}{tried}; run `harness train` with a connection to the internet once, or "
            "put that file there yourself."
        ) from error


def _found_of_cifar(kind: type[torchvision.datasets.CIFAR10], folder: Path) -> str:
    """The first of CIFAR's files that is not as it should be, in words."""
    unpacked = folder / kind.base_folder
    files = {unpacked / name: md5 for name, md5 in (*kind.train_list, *kind.test_list)}
    meta = {unpacked / kind.meta["filename"]: kind.meta["md5"]}
    for file, wanted in {folder / kind.filename: kind.tgz_md5, **files, **meta}.items():
        if file.is_file() and (md5 := torchvision.datasets.utils.calculate_md5(file)) != wanted:
            return f"{file} cut short or changed (MD5 {md5} instead of {wanted})"
    return "nothing" if not unpacked.exists() else f"files missing from {unpacked}"


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
    if not path.exists():
        raise DataError(
            f"dataset.path: expected a directory or tar archive of images, found nothing at {path}; put it there or "
            "correct the path in the profile."
        )
    found: dict[str, dict[str, bytes]] = {"train": {}, "test": {}}
    for name, content in (_tar_files if path.is_file() else _directory_files)(path):
        found[name.split("/")[-3]][name] = content  # of two members with one name the last counts, as if unpacked
    classes, tested = (sorted({_class_of(name) for name in found[split]}) for split in ("train", "test"))
    if len(classes) < 2 or tested != classes:  # noqa: PLR2004 - there is nothing to tell apart in one
        odd = f" (only in one of them: {', '.join(unmatched)})" if (unmatched := sorted({*classes} ^ {*tested})) else ""
        raise DataError(
            f"{path}: expected train/CLASS/* and test/CLASS/* ({', '.join(SUFFIXES)}) with the same classes, at least "
            f"two, found {len(classes)} in train and {len(tested)} in test{odd}; add what is missing."
        )
    numbers = {label: number for number, label in enumerate(classes)}
    parts = [_decode(path, found[split], numbers) for split in ("train", "test")]
    if parts[0].images.shape[1:] != parts[1].images.shape[1:]:
        raise DataError(f"{path}: expected one image size, found another in test/ than in train/; resize them.")
    return parts[0], parts[1]


def _class_of(name: str) -> str:
    return name.split("/")[-2]


def _is_image(name: str) -> bool:
    """Whether a path ends like train/CLASS/FILE or test/CLASS/FILE, with an image's suffix."""
    *_, split, _label, file = ("", "", *name.split("/"))
    return split in ("train", "test") and file.lower().endswith(SUFFIXES)


def _directory_files(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in path.glob("*/*/*"):
        name = file.relative_to(path).as_posix()
        if not _is_image(name) or file.is_dir():
            continue
        try:
            yield name, file.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {name} cannot be read ({error.strerror}); replace or remove it.") from error


def _tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Files of an archive, read in memory: nothing is unpacked, so no member can leave its folder."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isdir() and _is_image(member.name) and (content := archive.extractfile(member)):
                    yield member.name, content.read()
            # tarfile takes a cut or damaged header for the end: the true end is a block of zeros.
            if archive.fileobj is not None:
                archive.fileobj.seek(archive.offset)
                if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it ends without an end")
    except (tarfile.TarError, KeyError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole tar archive, found a damaged one ({_first_line(error)}); make it again."
        ) from error


def _decode(path: Path, files: Mapping[str, bytes], numbers: Mapping[str, int]) -> _Images:
    images: list[np.ndarray] = []
    names = sorted(files)  # the same images give the same tensors from any file system or archive
    for name in names:
        try:
            with Image.open(io.BytesIO(files[name])) as image:
                mode, pixels = image.mode, np.asarray(image.convert("RGB"))
        except _UNREADABLE as error:
            raise DataError(f"{path}: {name} is not an image that can be read; replace or remove it.") from error
        if mode.startswith(("I", "F")):  # Pillow cuts such values off at 255: a dark grey becomes white
            raise DataError(f"{path}: expected 8 bits a channel, found more in {name}; convert it to 8 bits.")
        images.append(pixels)
        if pixels.shape != images[0].shape:
            sizes = ["x".join(map(str, found.shape[:2])) for found in (images[0], pixels)]
            raise DataError(
                f"{path}: expected every image to be {sizes[0]} like the first, found {sizes[1]} in {name}; resize it."
            )
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return _Images(stacked, torch.tensor([numbers[_class_of(name)] for name in names]))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
