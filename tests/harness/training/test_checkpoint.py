"""Checkpoints: what went in comes out, or the one before does, and the reason is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from harness.training import checkpoint as module
from harness.training.checkpoint import Checkpoint, restore, save, tensors_digest

NAMES = {epoch: f"checkpoint-{epoch:06}.safetensors" for epoch in range(1, 8)}


def after(epoch: int) -> Checkpoint:
    """The state after an epoch; every epoch leaves other bits."""
    return Checkpoint(
        tensors={
            "student": {
                "conv.weight": torch.tensor([[0.1, -2.0], [3e-8, float("inf")]]) + epoch,
                "steps": torch.tensor(7 * epoch),
            },
            "momentum": {"0": torch.arange(3, dtype=torch.float64)},
        },
        progress={
            "history": [{"epoch": 1 + i, "val_acc": 0.1 + 0.2 * i} for i in range(epoch)],
            "seconds": [1.5] * epoch,
            "resumed_at": [],
        },
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of run "mine" after five epochs."""
    folder = tmp_path / "checkpoints"
    for epoch in (1, 2, 3, 4, 5):
        save(folder, "mine", after(epoch))
    return folder


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    """Whether two checkpoints hold the same bits."""
    if found is None or found.progress != expected.progress or found.tensors.keys() != expected.tensors.keys():
        return False
    return all(
        tensors_digest(found.tensors[group]) == tensors_digest(expected.tensors[group]) for group in found.tensors
    )


def restored(folder: Path, identity: str = "mine") -> tuple[Checkpoint | None, str]:
    """What comes back, and what was said: nothing, or one sentence."""
    said: list[str] = []
    found = restore(folder, identity, said.append)
    assert len(said) <= 1
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in said)
    return found, "".join(said)


def goes_on_from(folder: Path, epoch: int, *words: str) -> None:
    """The state after this epoch comes back, and the sentence says so, beside all `words`."""
    found, said = restored(folder)
    assert same(found, after(epoch)), said
    assert said.endswith(f"the run goes on from epoch {epoch}.")
    for word in words:
        assert word in said


def starts_afresh(folder: Path, *words: str) -> None:
    """Nothing comes back, and the sentence says so, beside all `words`."""
    found, said = restored(folder)
    assert found is None
    assert said.endswith("the run starts afresh.")
    for word in words:
        assert word in said


def test_round_trip(folder: Path) -> None:
    """Groups, names, types, shapes, bits and progress of the newest come back, and there is nothing to say."""
    found, said = restored(folder)
    assert found is not None
    assert same(found, after(5))
    assert found.epoch == 5
    assert found.tensors["student"]["conv.weight"].dtype == torch.float32
    assert said == ""


def test_another_comparison_would_fail(folder: Path) -> None:
    """The comparison of these tests notices one bit and one digit."""
    found, _ = restored(folder)
    expected = after(5)
    assert not same(found, replace(expected, progress=dict(expected.progress) | {"seconds": [1.25] * 5}))
    changed = dict(expected.tensors["student"]) | {"steps": torch.tensor(8)}
    assert not same(found, replace(expected, tensors=dict(expected.tensors) | {"student": changed}))


def test_channels_last_tensors_come_back_with_their_values(tmp_path: Path) -> None:
    """Networks lie in memory channel by channel or pixel by pixel; a file holds values."""
    weight = torch.arange(48.0).view(2, 3, 2, 4)
    state = Checkpoint({"student": {"w": weight.to(memory_format=torch.channels_last)}}, {"history": [{}]})
    save(tmp_path, "mine", state)
    found, _ = restored(tmp_path)
    assert found is not None
    assert torch.equal(found.tensors["student"]["w"], weight)


def test_what_is_restored_no_longer_hangs_on_the_file(folder: Path) -> None:
    """Tensors of a mapped file would change with it, after their digest was found right."""
    found, _ = restored(folder)
    with (folder / NAMES[5]).open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(bytes(len(content)))
    assert same(found, after(5))


def test_the_last_two_are_kept(folder: Path) -> None:
    """The newest and the one before it; nothing else stays in the folder."""
    assert sorted(file.name for file in folder.iterdir()) == [NAMES[4], NAMES[5]]


def test_the_one_before_goes_only_when_the_next_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sixth is written, and when its disk is full, both others are there; its half does not stay."""
    there = []
    write = safetensors.torch.save_file

    def disk_full(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        write(tensors, path, metadata)
        there.extend(sorted(file.name for file in folder.glob("checkpoint-*")))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, "mine", after(6))
    assert there == [NAMES[4], NAMES[5]]
    assert sorted(file.name for file in folder.iterdir()) == [NAMES[4], NAMES[5]]
    assert same(restored(folder)[0], after(5))


def test_what_a_killed_process_left_half_written_is_removed(folder: Path) -> None:
    """A full-size one would take half a gigabyte for ever."""
    (folder / f".{NAMES[6]}.12345.tmp").write_bytes(b"half")
    assert same(restored(folder)[0], after(5))
    save(folder, "mine", after(6))
    assert sorted(file.name for file in folder.iterdir()) == [NAMES[5], NAMES[6]]


def test_other_files_are_left_alone(folder: Path) -> None:
    """Only checkpoints come and go."""
    (folder / "notes.txt").write_text("mine")
    save(folder, "mine", after(6))
    assert sorted(file.name for file in folder.iterdir()) == [NAMES[5], NAMES[6], "notes.txt"]


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    """A new run starts, and there is nothing to say; neither where the folder is empty nor where there is none."""
    assert restored(tmp_path) == (None, "")
    assert restored(tmp_path / "none") == (None, "")


def test_a_truncated_checkpoint_gives_way_to_the_one_before(folder: Path) -> None:
    """Cut at many places: it is named, and the run goes on from the last good one."""
    whole = (folder / NAMES[5]).read_bytes()
    for length in range(0, len(whole), 5):
        (folder / NAMES[5]).write_bytes(whole[:length])
        goes_on_from(folder, 4, NAMES[5], "is cut short, or no checkpoint at all")


def test_an_edited_checkpoint_gives_way_to_the_one_before(folder: Path) -> None:
    """Other values under the old digest."""
    path = folder / NAMES[5]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    goes_on_from(folder, 4, str(path), "was changed after it was written")


def test_an_edited_history_is_noticed(folder: Path) -> None:
    """Progress is what a run's record is made of."""
    path = folder / NAMES[5]
    content = path.read_bytes()
    assert content.count(b"1.5,1.5") == 1 + 1
    path.write_bytes(content.replace(b"1.5,1.5", b"1.4,1.5", 1))
    goes_on_from(folder, 4, "was changed after it was written")


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"not a checkpoint", b"\xff" * 1000])
def test_a_strange_file_gives_way_to_the_one_before(folder: Path, content: bytes) -> None:
    """Not a safetensors file at all."""
    (folder / NAMES[5]).write_bytes(content)
    goes_on_from(folder, 4, NAMES[5], "is cut short, or no checkpoint at all")


def test_weights_are_no_checkpoint(folder: Path) -> None:
    """A safetensors file of another kind."""
    safetensors.torch.save_file({"w": torch.zeros(2)}, folder / NAMES[5])
    goes_on_from(folder, 4, NAMES[5], "is no checkpoint of a run")


def test_a_checkpoint_that_cannot_be_read(folder: Path) -> None:
    """Here a folder stands in its place; the system's own words are repeated."""
    (folder / NAMES[5]).unlink()
    (folder / NAMES[5]).mkdir()
    goes_on_from(folder, 4, NAMES[5], "cannot be read (")


def test_another_runs_checkpoint_is_not_used(folder: Path) -> None:
    """Identity holds description, code, images, teacher and stack; both files are named."""
    found, said = restored(folder, "yours")
    assert found is None
    words = "was made for another description, code or stack"
    assert said == f"{folder / NAMES[5]} {words}, and {folder / NAMES[4]} {words}; the run starts afresh."


def test_when_both_are_damaged_each_is_named_with_its_own_reason(folder: Path) -> None:
    """One cut, one foreign."""
    (folder / NAMES[5]).write_bytes(b"")
    save(folder.parent / "theirs", "yours", after(4))
    (folder.parent / "theirs" / NAMES[4]).replace(folder / NAMES[4])
    starts_afresh(folder, f"{NAMES[5]} is cut short", f"{NAMES[4]} was made for another description, code or stack")


def test_a_run_that_starts_afresh_clears_what_others_left(folder: Path) -> None:
    """Its first checkpoint must not lose to the fifth of another description."""
    save(folder, "yours", after(1))
    assert [file.name for file in folder.iterdir()] == [NAMES[1]]
    found, said = restored(folder, "yours")
    assert (same(found, after(1)), said) == (True, "")


def test_a_damaged_newest_is_replaced_when_its_epoch_is_trained_again(folder: Path) -> None:
    """The run goes on from the fourth, and its fifth takes the damaged one's place beside it."""
    (folder / NAMES[5]).write_bytes(b"damaged")
    save(folder, "mine", after(5))
    assert sorted(file.name for file in folder.iterdir()) == [NAMES[4], NAMES[5]]
    assert restored(folder)[1] == ""


def test_epochs_sort_as_numbers(tmp_path: Path) -> None:
    """The tenth comes after the ninth."""
    for epoch in (9, 10):
        save(tmp_path, "mine", after(epoch))
    assert same(restored(tmp_path)[0], after(10))


def flips(folder: Path, first: int) -> list[int]:
    """Bytes of the newest file, from `first` on, in which a flipped bit changes what is restored, unnoticed."""
    path = folder / NAMES[5]
    whole = path.read_bytes()
    unnoticed = []
    for position in range(first, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        found, said = restored(folder)
        if not same(found, after(5)) and not (same(found, after(4)) and NAMES[5] in said):
            unnoticed.append(position)
    return unnoticed


def test_a_flipped_bit_anywhere_is_noticed(folder: Path) -> None:
    """Names, types, shapes, history, seconds and every tensor: the one before is used, and no error is raised."""
    assert flips(folder, 0) == []


def test_the_digest_is_what_notices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one that sees nothing, every bit of the tensors could be flipped: the test above can fail."""
    monkeypatch.setattr(module, "tensors_digest", lambda _: "")
    save(folder, "mine", after(5))
    content = (folder / NAMES[5]).read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    assert set(flips(folder, header)) == set(range(header, len(content)))


def test_digest_sees_name_type_shape_and_every_bit() -> None:
    """Each change gives another digest."""
    plain = torch.tensor([1.0, 0.0, 2.0, 3.0])
    variants: list[dict[str, Tensor]] = [
        {"a": plain},
        {"b": plain},
        {"a": plain.double()},
        {"a": plain.view(torch.int32)},  # the same bytes
        {"a": plain.view(2, 2)},
        {"a": plain.view(4, 1)},
        {"a": torch.nextafter(plain, torch.tensor(9.0))},
        {"a": torch.tensor([1.0, -0.0, 2.0, 3.0])},
        {"a": plain.bfloat16()},
        {"a": plain.bool()},
        {"a": plain[:0]},
        {"a": plain, "b": plain},
        {},
    ]
    assert len({tensors_digest(tensors) for tensors in variants}) == len(variants)


def test_digest_ignores_order_and_memory_layout() -> None:
    """Equal values under equal names are equal."""
    a = torch.arange(24.0).view(1, 2, 3, 4)
    b = torch.ones(2)
    assert tensors_digest({"a": a, "b": b}) == tensors_digest({"b": b, "a": a})
    assert tensors_digest({"a": a.to(memory_format=torch.channels_last)}) == tensors_digest({"a": a})
    assert tensors_digest({"a": b.requires_grad_()}) == tensors_digest({"a": torch.ones(2)})


def test_nothing_is_pickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint comes from disk, and a pickle from disk runs whatever code it names."""
    import pickle

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a checkpoint was pickled")

    for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    save(folder, "mine", after(6))
    assert same(restored(folder)[0], after(6))


def test_a_damaged_checkpoint_never_takes_the_good_ones_place(folder: Path) -> None:
    """The run goes on from epoch 4 and saves after 7: kept beside it is 4, not the damaged 5."""
    newest = folder / NAMES[5]
    newest.write_bytes(newest.read_bytes()[:-1])
    goes_on_from(folder, 4)
    save(folder, "mine", after(7))
    latest = folder / "checkpoint-000007.safetensors"
    latest.write_bytes(latest.read_bytes()[:-1])
    goes_on_from(folder, 4, latest.name)
