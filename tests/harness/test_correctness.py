"""`correct.npz`: the bits of every run beside the runs table, and each way in which they can disagree with it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.runs.table import check_runs
from harness.correctness import BITS, COUNT, DIGESTS, read_correct, write_correct
from harness.errors import StoreError

COUNT_OF_IMAGES = 20
Bools = NDArray[np.bool_]


def pack(correct: Bools) -> tuple[str, bytes]:
    """Digest and packed bits, as a run folder holds them."""
    content = np.packbits(correct).tobytes()
    return hashlib.sha256(content).hexdigest(), content


@pytest.fixture
def correct() -> Bools:
    """Four runs on twenty images."""
    return np.random.default_rng(1).random((4, COUNT_OF_IMAGES)) < 0.8


def table(correct: Bools, **columns: Sequence[object]) -> pd.DataFrame:
    """A checked runs table of these runs, as the seeds of one cell."""
    rows: dict[str, Sequence[object]] = {
        "stage": ["final"] * len(correct),
        "teacher": [""] * len(correct),
        "student": ["resnet18"] * len(correct),
        "method": ["none"] * len(correct),
        "seed": list(range(len(correct))),
        "test_acc_best": [float(row.sum()) / row.size for row in correct],
        "correct_sha256": [pack(row)[0] for row in correct],
    }
    return check_runs(pd.DataFrame(rows | columns), "runs.csv")


def write(path: Path, correct: Bools) -> Path:
    """The archive of these runs."""
    write_correct(path, dict(pack(row) for row in correct), correct.shape[1])
    return path


def sentence(path: Path, runs: pd.DataFrame) -> str:
    """What is said of an archive that cannot be used: one sentence that ends with the way out."""
    with pytest.raises(StoreError) as caught:
        read_correct(path, runs)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith("make both again with `harness collect`.")
    assert "\n" not in text
    return text


def test_what_was_written_is_read(tmp_path: Path, correct: Bools) -> None:
    """A row for each row of the table, in the table's order, a column an image."""
    path = write(tmp_path / "correct.npz", correct)
    order = [2, 0, 3, 1]
    found = read_correct(path, table(correct[order]))
    assert found is not None
    assert found.dtype == np.bool_
    assert np.array_equal(found, correct[order])


def test_runs_that_stand_in_the_table_twice_are_read_twice(tmp_path: Path, correct: Bools) -> None:
    """Rows are entries of the plan; the archive holds each run once."""
    twice = np.vstack([correct, correct[:1]])
    runs = table(twice, stage=["final"] * 4 + ["stem_ablation"], seed=[0, 1, 2, 3, 0])
    path = write(tmp_path / "correct.npz", twice)
    with np.load(path, allow_pickle=False) as archive:
        assert len(archive[BITS]) == 4
    found = read_correct(path, runs)
    assert found is not None
    assert np.array_equal(found, twice)


def test_runs_of_other_test_images_are_refused(tmp_path: Path, correct: Bools) -> None:
    """In rows of one table they would run into each other."""
    others = dict([pack(correct[0]), pack(np.tile(correct[1], 2))])
    with pytest.raises(StoreError, match=r"same test images, found 24 bits of them in some and 40 in others; train"):
        write_correct(tmp_path / "correct.npz", others, COUNT_OF_IMAGES)
    assert not list(tmp_path.iterdir())


def test_the_same_runs_give_the_same_bytes(tmp_path: Path, correct: Bools) -> None:
    """No clock and no order of arrival in the file."""
    one, two = write(tmp_path / "one.npz", correct), write(tmp_path / "two.npz", correct[::-1])
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert one.read_bytes() != write(tmp_path / "three.npz", ~correct).read_bytes()


def test_numpy_alone_can_read_it(tmp_path: Path, correct: Bools) -> None:
    """Digests, the packed bits that they are of, and the number of images; nothing is pickled."""
    with np.load(write(tmp_path / "correct.npz", correct), allow_pickle=False) as archive:
        assert int(archive[COUNT]) == COUNT_OF_IMAGES
        found = {
            digest.tobytes().hex(): row.tobytes() for digest, row in zip(archive[DIGESTS], archive[BITS], strict=True)
        }
    assert found == dict(map(pack, correct))


def test_tables_of_other_trainers_have_none(tmp_path: Path, correct: Bools) -> None:
    """No file, or a row that names no bits: nothing to read, and no error."""
    runs = table(correct)
    assert read_correct(tmp_path / "correct.npz", runs) is None
    path = write(tmp_path / "correct.npz", correct)
    assert read_correct(path, table(correct, correct_sha256=[""] * 4)) is None
    assert read_correct(path, table(correct, correct_sha256=[*runs["correct_sha256"][:3], ""])) is None


def test_a_run_that_is_not_there_is_named(tmp_path: Path, correct: Bools) -> None:
    """The table was made from more runs than the archive."""
    path = write(tmp_path / "correct.npz", correct[:3])
    assert "expected the test images of resnet18:none, seed 3 (" in sentence(path, table(correct))
    names = [f"final/resnet18-none-s{seed}" for seed in range(4)]
    assert "of final/resnet18-none-s3 (" in sentence(path, table(correct, run_id=names))


def test_changed_bits_are_found(tmp_path: Path, correct: Bools) -> None:
    """Two images swapped keep the accuracy, not the digest."""
    swapped = correct.copy()
    right, wrong = int(np.flatnonzero(correct[1])[0]), int(np.flatnonzero(~correct[1])[0])
    swapped[1, [right, wrong]] = [False, True]
    packed = dict(pack(row) for row in correct)
    packed[pack(correct[1])[0]] = pack(swapped[1])[1]
    path = tmp_path / "correct.npz"
    write_correct(path, packed, COUNT_OF_IMAGES)
    assert "resnet18:none, seed 1 (" in (text := sentence(path, table(correct)))
    assert "was changed after it was written" in text


def test_an_accuracy_that_the_images_do_not_give_is_found(tmp_path: Path, correct: Bools) -> None:
    """An edited cell of the table, one image off."""
    right = [float(row.sum()) / COUNT_OF_IMAGES for row in correct]
    said = [*right[:2], right[2] - 1 / COUNT_OF_IMAGES, right[3]]
    text = sentence(write(tmp_path / "correct.npz", correct), table(correct, test_acc_best=said))
    assert f"resnet18:none, seed 2 got {right[2]:.6f} of 20 test images right" in text
    assert f"the runs table says test_acc_best {said[2]:.6f}" in text


@pytest.mark.parametrize("count", [0, 16, 25, -3])
def test_another_number_of_images_is_found(tmp_path: Path, correct: Bools, count: int) -> None:
    """20 images fill 3 bytes: more than 16, at most 24, and what is over must be zeros."""
    path = tmp_path / "correct.npz"
    write_correct(path, dict(pack(row) for row in correct), count)
    assert f"expected bits of {count} test images, found 24" in sentence(path, table(correct))


def test_bits_beyond_the_last_image_are_found(tmp_path: Path, correct: Bools) -> None:
    """19 images with a twentieth bit set are 20 images."""
    correct[:, -1] = True
    path = tmp_path / "correct.npz"
    write_correct(path, dict(pack(row) for row in correct), COUNT_OF_IMAGES - 1)
    assert "expected bits of 19 test images, found 24" in sentence(path, table(correct))


def test_a_damaged_file_is_named(tmp_path: Path, correct: Bools) -> None:
    """Cut, foreign, empty, without an array, a bare array, or pickled: one sentence each, nothing unpickled."""
    runs, path = table(correct), tmp_path / "correct.npz"
    whole = write(path, correct).read_bytes()
    for content in (whole[:-40], b"no archive", b"", whole[: len(whole) // 2] + b"\0" * (len(whole) // 2)):
        path.write_bytes(content)
        assert "is no archive of packed bits" in sentence(path, runs)
    with np.load(write(path, correct), allow_pickle=False) as archive:
        arrays = dict(archive)
    others = [{name: arrays[name] for name in arrays if name != missing} for missing in arrays]
    others += [
        arrays | {DIGESTS: arrays[DIGESTS][:-1]},
        arrays | {name: np.array([{}], dtype=object) for name in arrays},
    ]
    for other in others:
        np.savez(path, **other)  # type: ignore[arg-type]  # the stubs take a name for allow_pickle
        assert "is no archive of packed bits" in sentence(path, runs)
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    assert "is no archive of packed bits" in sentence(path, runs)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, correct: Bools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all."""
    path = write(tmp_path / "correct.npz", correct)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, ~correct)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
