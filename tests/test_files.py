"""Files are whole or not there."""

import errno
import os
import sys
import threading
import time

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


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose a folder that you may write to"),
        (errno.EROFS, "choose a folder that you may write to"),
        (errno.EEXIST, "a file is where a folder should be"),
    ],
)
def test_what_cannot_be_written_is_named_as_the_user_knows_it(
    tmp_path, monkeypatch, number, advice
):
    """`.x.0f3a91c2.tmp: No space left on device` names a file that nobody made."""

    def refuse(descriptor):
        raise OSError(number, os.strerror(number), "some/.x.0f3a91c2.tmp")

    def fill_a_folder():
        with files.new_folder(tmp_path / "x") as folder:
            files.write_atomically(folder / "a.json", b"a")

    def fill_it_by_hand():
        with files.new_folder(tmp_path / "x") as folder, (folder / "a").open("w"):
            raise OSError(number, os.strerror(number), str(folder / "a"))

    monkeypatch.setattr(os, "fsync", refuse)
    for fails in (
        lambda: files.write_atomically(tmp_path / "x", b"a"),
        fill_a_folder,
        fill_it_by_hand,
    ):
        with pytest.raises(OSError, match=advice) as error:
            fails()
        assert error.value.filename == str(tmp_path / "x")
        assert error.value.errno == number
        assert error.value.strerror.count(advice) == 1
        assert ".tmp" not in str(error.value)
        assert list(tmp_path.iterdir()) == []


def test_what_a_block_cannot_read_keeps_its_own_name(tmp_path):
    """An unreadable source was told as a folder that cannot be written."""

    def read():
        with files.new_folder(tmp_path / "x"):
            (tmp_path / "none").read_text()

    with pytest.raises(FileNotFoundError) as error:
        read()
    assert error.value.filename == str(tmp_path / "none")


def test_a_file_in_the_way_of_a_folder_is_said(tmp_path):
    """ "Not a directory", of a folder that is not there."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(OSError, match="a file is where a folder should be"):
            files.write_atomically(path, b"a")


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

    (tmp_path / ".there.lock").touch()  # of a process that was killed
    with pytest.raises(ValueError, match="exists already"):
        fill()
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert not (tmp_path / "there" / "new").exists()
    fill(replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "new").exists()


def test_what_was_made_meanwhile_is_not_replaced(tmp_path):
    """An export took a minute, and then the place of what somebody had put there."""
    there = tmp_path / "there"

    def fill():
        with files.new_folder(there) as folder:
            (folder / "new").touch()
            there.mkdir()
            (there / "precious").touch()

    with pytest.raises(ValueError, match="exists already"):
        fill()
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "precious"]


def test_what_may_not_go_comes_back(tmp_path):
    there = tmp_path / "there"
    there.mkdir()

    def may_go(moved):
        assert not there.exists()  # so nobody can add to it after this look
        if (moved / "precious").exists():
            raise ValueError("no")

    def fill(name):
        with files.new_folder(there, replace=True, may_go=may_go) as folder:
            (folder / "new").touch()
            (there / name).touch()

    with pytest.raises(ValueError, match="no"):
        fill("precious")
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "precious"]
    (there / "precious").unlink()
    fill("rubbish")
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "new"]


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


@pytest.mark.skipif(sys.platform == "win32", reason="locks are another thing there")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said(tmp_path, monkeypatch, number):
    """For ten minutes, somebody waited for a lock that they had made themselves."""

    def flock(*_arguments):
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(OSError, match="this disk has no locks"),
        files.writing(tmp_path),
        files.only_process(tmp_path / ".lock", 600),
    ):
        pass


def test_only_one_at_a_time_and_no_lock_stays_behind(tmp_path):
    """A lock removed by its holder let the one who waited and a newcomer in at once."""
    inside, most = [], []

    def work():
        for _ in range(40):
            with files.only_process(tmp_path / ".lock", seconds=60):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 160
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff\x00\x1b[2J", b"a" * 1000, None])
def test_a_damaged_owner_is_another_process(tmp_path, content):
    """Whoever was refused got a traceback, or the bytes on their terminal."""
    path = tmp_path / ".lock-owner"
    path.mkdir() if content is None else path.write_bytes(content)
    assert files.owner(tmp_path / ".lock") == "another process"
    with files.only_process(tmp_path / ".lock", 0):
        pass  # neither is the lock refused for it


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"meta\.json does not exist"):
        files.read_json(tmp_path / "meta.json")


def test_a_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180
    )
    assert files.sha256_file(tmp_path / "abc") == files.sha256_bytes(b"abc") == known


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    """Nothing ever removed it: gigabytes of a killed `prepare`, under a hidden name."""
    for name in ("a", "b"):
        (tmp_path / f".{name}.0123456789ab.tmp").mkdir()
        (tmp_path / f".{name}.0123456789ab.tmp" / "half").touch()
        (tmp_path / f".{name}.ba9876543210.tmp").touch()
    (tmp_path / ".a.mine.tmp").touch()
    files.tidy(tmp_path, "a".__eq__)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.mine.tmp",
        ".b.0123456789ab.tmp",
        ".b.ba9876543210.tmp",
    ]
    files.tidy(tmp_path / "none", "a".__eq__)


@pytest.mark.parametrize("new_is_there", [False, True])
def test_a_folder_moved_aside_comes_back_unless_replaced(tmp_path, new_is_there):
    """Killed between two renames, `prepare --overwrite` left no corpus at all."""
    (tmp_path / ".a.0123456789ab.old").mkdir()
    (tmp_path / ".a.0123456789ab.old" / "old").touch()
    if new_is_there:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "new").touch()
    files.tidy(tmp_path, "a".__eq__)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    expected = "new" if new_is_there else "old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [expected]


def test_two_processes_do_not_make_the_same_folder(tmp_path):
    """The one that came second replaced what the first had written, unasked."""

    def second():
        with files.new_folder(tmp_path / "a"):
            pass

    with files.new_folder(tmp_path / "a") as folder:
        (folder / "first").touch()
        with pytest.raises(ValueError, match=r"a is being made by process \d+ on"):
            second()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "first").exists()


def test_a_folders_name_is_flushed_as_well(tmp_path, monkeypatch):
    """After a power cut a checkpoint is there only if every folder above it is."""
    flushed = []
    monkeypatch.setattr(files, "sync_folder", flushed.append)
    files.make_folder(tmp_path / "runs" / "llama")
    assert flushed == [tmp_path, tmp_path / "runs"]
    files.make_folder(tmp_path / "runs" / "llama")
    assert len(flushed) == 2


def test_a_folder_is_gone_on_the_disk_before_its_files_are(tmp_path, monkeypatch):
    """After a power cut, a checkpoint without half of its files was the best again."""
    (tmp_path / "step" / "x").mkdir(parents=True)
    seen = []

    def look(folder):
        seen.append([path.name for path in folder.iterdir()])
        assert all((path / "x").exists() for path in folder.iterdir())

    monkeypatch.setattr(files, "sync_folder", look)
    files.remove_folder(tmp_path / "step")
    ((name,),) = seen
    assert name.startswith(".step.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_what_is_no_file_is_refused_and_never_opened(tmp_path):
    """To open a pipe waits for ever, and /dev/zero filled all memory."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, what in (("pipe", "pipe"), ("zeros", "device"), ("folder", "folder")):
        for read in (files.read_json, files.status, files.lock_file):
            with pytest.raises(ValueError, match=what) as caught:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)


def test_a_description_that_could_fill_memory_is_refused(tmp_path):
    """A file of holes, as a crash may leave it, takes no disk but all memory."""
    path = tmp_path / "meta.json"
    path.write_text("{}")
    os.truncate(path, 2**40)
    with pytest.raises(
        ValueError, match=r"meta\.json \(1099511627776 bytes\) must have"
    ):
        files.read_json(path)


def test_a_number_with_too_many_digits_is_not_valid_json(tmp_path):
    """Python's own refusal said nothing of the file."""
    path = tmp_path / "meta.json"
    path.write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(ValueError, match=r"meta\.json is not valid JSON"):
        files.read_json(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_in_the_place_of_a_signature_is_not_waited_for(tmp_path):
    """The lock was held, and its owner hung for ever in signing it."""
    os.mkfifo(tmp_path / ".lock-owner")
    assert files.owner(tmp_path / ".lock") == "another process"
    with files.signed(tmp_path / ".lock"):
        pass


def test_a_name_that_no_file_can_have_is_said(tmp_path):
    """ "embedded null byte", of no file at all."""
    with pytest.raises(ValueError, match="does not exist"):
        files.status(tmp_path / "a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_what_is_no_folder_is_not_replaced_by_one(tmp_path):
    """To remove a pipe as if it were a folder waited for ever, at the end of it all."""
    os.mkfifo(tmp_path / "step")

    def replace():
        with files.new_folder(tmp_path / "step", replace=True):
            pass

    with pytest.raises(OSError, match="a file is where a folder should be"):
        replace()
    assert [path.name for path in tmp_path.iterdir()] == ["step"]
