"""Files are whole or not there."""

import os

import pytest
from filelock import Timeout

from minillm import files


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A crash in the middle of a write left half a file where a whole one had been."""
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_only_when_its_block_succeeds(tmp_path):
    """A corpus interrupted while it was written looked like a finished one."""

    def interrupted():
        with files.new_folder(tmp_path / "corpus") as folder:
            (folder / "train.bin").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with files.new_folder(tmp_path / "corpus") as folder:
        (folder / "train.bin").write_bytes(b"whole")
        assert not (tmp_path / "corpus").exists()
    assert (tmp_path / "corpus" / "train.bin").read_bytes() == b"whole"


def test_an_existing_folder_is_replaced_only_on_request(tmp_path):
    (tmp_path / "there").mkdir()

    def fill(**options):
        with files.new_folder(tmp_path / "there", **options) as folder:
            (folder / "new").touch()

    with pytest.raises(ValueError, match="exists already"):
        fill()
    assert not (tmp_path / "there" / "new").exists()
    fill(replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "must hold a JSON object"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, content, message):
    path = tmp_path / "meta.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_a_lock_that_cannot_be_made_says_so_at_once(tmp_path):
    """FileLock alone would try again until it times out, an hour later."""
    with pytest.raises(OSError, match="no such folder"):
        files.lock_file(tmp_path / "no such folder" / ".lock")
    with files.lock_file(tmp_path / ".lock"):
        second = files.lock_file(tmp_path / ".lock")
        with pytest.raises(Timeout):
            second.acquire(timeout=0)


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"meta\.json does not exist"):
        files.read_json(tmp_path / "meta.json")


def test_a_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180
    )
    assert files.sha256_file(tmp_path / "abc") == files.sha256_bytes(b"abc") == known
