"""Files are written whole or not at all; equal values give equal text and digests."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.files import alone_in, canonical_json, sha256_of_bytes, sha256_of_file, whole_file, write_json, write_whole

# FIPS 180-2, appendix B: the digest of "abc".
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digest_of_a_known_text() -> None:
    """The digest is SHA-256, as the standard's own example has it."""
    assert sha256_of_bytes(b"abc") == ABC


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    """Also a file larger than any buffer."""
    (tmp_path / "small").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "small") == ABC
    content = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(content)
    assert sha256_of_file(tmp_path / "large") == sha256_of_bytes(content)


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    """It is an error, not the digest of nothing."""
    with pytest.raises(FileNotFoundError):
        sha256_of_file(tmp_path / "none")


def test_canonical_json_is_one_text_for_one_value() -> None:
    """Keys are sorted at every depth, there are no spaces, and all is ASCII."""
    assert canonical_json({"b": [1, 2.5], "a": {"y": None, "x": True}}) == '{"a":{"x":true,"y":null},"b":[1,2.5]}'
    assert canonical_json(["é"]) == '["\\u00e9"]'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_json_for_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    """NaN and infinities are refused, at any depth, and the old file stays."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [value]})
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": [value]})
    assert json.loads((tmp_path / "x.json").read_text()) == [1]


def test_written_json_reads_back_and_ends_with_a_newline(tmp_path: Path) -> None:
    """Files are for people too: indented, in the writer's order, characters as they are, a last newline."""
    write_json(tmp_path / "x.json", {"b": "é", "a": 0.1})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": "é",\n  "a": 0.1\n}\n'


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    """Text is written as UTF-8, bytes as they are; a second writing replaces the first; nothing else stays."""
    path = tmp_path / "deep" / "er" / "file"
    write_whole(path, "é")
    assert path.read_bytes() == b"\xc3\xa9"
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["file"]  # noqa: PTH208 - hidden files count, and names suffice


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """When the disk is full or the rename fails, the old content is there, and no temporary file."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_whole(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """Whatever fails while the temporary file is written, and whatever it held."""
    path = tmp_path / "file"
    write_whole(path, "old")

    def fail_half_way() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            assert temporary.parent == path.parent  # a rename across file systems is no rename
            assert path.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, rename, folder: in another order a power cut can leave an empty file, or bring the old one back."""
    events = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append(f"{kind} {os.fstat(descriptor).st_size}" if kind == "file" else kind)
        sync(descriptor)

    def rename(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_whole(tmp_path / "file", b"12345")
    assert events == ["file 5", "rename", "folder"]


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """A study writes thousands of files."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names suffice
    for number in range(20):
        write_whole(tmp_path / str(number), "x")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names suffice


def test_two_do_not_meet_in_a_folder(tmp_path: Path) -> None:
    """The second waits until the first has left, also in a folder that it may only read; and nothing is left there."""
    folder = tmp_path / "data"
    script = (
        "import sys; from pathlib import Path; from harness.files import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print('in', flush=True)"
    )
    with alone_in(folder):
        folder.chmod(0o555)
        other = subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=3)
    assert other.communicate()[0] == "in\n"
    assert other.returncode == 0
    assert list(folder.iterdir()) == []
