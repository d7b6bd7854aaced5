"""How does a file get onto the disk whole, and how is it known again?

Every file of the package is written to a temporary name beside its target, flushed to
the disk and renamed. A reader therefore sees the old file or the new one, never half
of one, whenever the machine stops. What a killed process leaves under a temporary name
is cleared away by the next one that works there; see ``tidy``.
"""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

ADVICE = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EFBIG: "no larger file is allowed here (ulimit -f): choose another folder",
    errno.ENOSYS: "this disk has no locks: choose a folder on another",
    errno.ENOLCK: "this disk has no locks: choose a folder on another",
    errno.EOPNOTSUPP: "this disk has no locks: choose a folder on another",
    errno.EEXIST: "a file is where a folder should be: choose another folder",
    errno.ENOTDIR: "a file is where a folder should be: choose another folder",
}
"""What to do when a file cannot be written."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Let every error inside tell of ``path``, as the user calls it, and what to do.

    The names of temporary files, which are gone by then, would tell nothing.

    Raises:
        OSError: something inside has raised one that the system gave a number.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason, advice = str(error.strerror), ADVICE.get(error.errno)
        if advice and advice not in reason:
            reason = f"{reason}; {advice}"
        raise OSError(error.errno, reason, str(path)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, in a folder that is there: all of it, or nothing.

    Raises:
        OSError: the disk is full or the folder read-only; ``path`` is as it was.
    """
    temporary = _beside(path)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def new_folder(
    path: Path,
    replace: bool = False,
    may_go: Callable[[Path], object] | None = None,
) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes ``path`` if the block succeeds.

    When it is ``path``, everything in it is on the disk.

    Args:
        path: the folder to make.
        replace: put it in the place of what is there. Whoever replaces holds a lock of
            their own already; otherwise one is held here.
        may_go: looks at what is to be replaced, at the end and moved aside, and raises
            if it must stay; then it goes back to its place.

    Raises:
        ValueError: ``path`` exists and ``replace`` is false, at the beginning or at the
            end, or another process is just making it.
        OSError: the disk is full or the folder read-only; names ``path``.
    """
    with ExitStack() as held:
        if not replace:
            held.enter_context(_only_maker(path))
            _require_free(path)
        yield held.enter_context(_becomes(path, replace, may_go))


def _require_free(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path} exists already: choose another folder")


@contextmanager
def _only_maker(path: Path) -> Iterator[None]:
    whole = path.absolute()  # "." has no name
    lock = whole.with_name(f".{whole.name}.lock")
    with ExitStack() as held:
        try:
            with writing(path):
                make_folder(path.parent)
                held.enter_context(only_process(lock, MOMENT))
        except Timeout:
            raise ValueError(f"{path} is being made by {owner(lock)}") from None
        yield


@contextmanager
def _becomes(
    path: Path, replace: bool, may_go: Callable[[Path], object] | None
) -> Iterator[Path]:
    temporary = _beside(path)
    with writing(path):
        make_folder(path.parent)
        tidy(path.parent, path.name.__eq__)
        if path.exists() and not path.is_dir():  # to remove a pipe's tree would hang
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    try:
        with writing(path):
            temporary.mkdir()
        try:
            yield temporary
        except OSError as error:
            # Not what the block has read: that file has a name of its own.
            if error.filename and str(temporary) not in str(error.filename):
                raise
            with writing(path):
                raise
        with writing(path):
            _flush(temporary)
            if not replace:  # somebody may have made it meanwhile
                _require_free(path)
            _put(temporary, path, may_go)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _flush(folder: Path) -> None:
    for entry in folder.rglob("*"):
        if entry.is_dir():
            sync_folder(entry)
        elif entry.is_file():
            with entry.open("rb+") as opened:
                os.fsync(opened.fileno())
    sync_folder(folder)


def _put(temporary: Path, path: Path, may_go: Callable[[Path], object] | None) -> None:
    old = _beside(path, "old")
    try:
        if path.exists():
            path.rename(old)
            # Only now can nobody add to it by its name.
            if may_go is not None:
                may_go(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Take a folder away at once: nobody ever sees half, not even after a power cut."""
    gone = _beside(folder)
    folder.rename(gone)
    sync_folder(folder.parent)
    shutil.rmtree(gone, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; their names are on the disk at the end."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def tidy(folder: Path, belongs: Callable[[str], object]) -> None:
    """Clear away what killed processes have left in ``folder``.

    What was half written goes. A whole folder that had been moved aside, for one that
    never came in its place, comes back.

    Only who holds a lock may do so: what another process is just writing looks alike.

    Args:
        folder: where to look; it need not exist.
        belongs: whether the lock guards the file or folder of that name.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        trace = TRACE.fullmatch(path.name)
        if trace is None or not belongs(trace[1]):
            continue
        target = folder / trace[1]
        if trace[2] == "old" and not target.exists():
            path.rename(target)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def lock_file(path: Path) -> FileLock:
    """A lock between processes, not yet taken; ends with the process, however it ends.

    Raises:
        ValueError: something is there that is no file; to open a pipe would hang.
        OSError: the file cannot be made, and the lock alone would try again and again;
            or the disk knows no locks.
    """
    if path.exists():
        status(path)
    with path.open("ab") as file:
        if sys.platform != "win32":
            import fcntl

            # A disk without locks refuses this too. filelock would make do with a mere
            # file there, which a killed process leaves behind for ever.
            fcntl.flock(file, fcntl.LOCK_UN)
    return FileLock(path)


@contextmanager
def signed(lock: Path) -> Iterator[None]:
    """Inside, a file beside a lock says who holds it; a courtesy, which may fail."""
    path = _owner_file(lock)
    with suppress(OSError, ValueError):
        if path.exists():
            status(path)
        path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def owner(lock: Path) -> str:
    """Who holds a lock, as they have signed it: ``process 12 on a-host``."""
    path = _owner_file(lock)
    try:
        status(path)
        signed = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # not signed yet, or not for us to read
        signed = ""
    name = " ".join(signed.split())
    return name if name.isprintable() and 0 < len(name) < 300 else "another process"


def _owner_file(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}-owner")


MOMENT = 0.5
"""Seconds to wait for a lock without a word."""


@contextmanager
def only_process(
    path: Path, seconds: float, waits: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Wait for the lock at ``path``, hold it, and leave no file behind.

    Who has to wait for more than a moment calls ``waits`` with the owner's name.

    To remove the file of a lock is safe only while it is held, and if whoever waits
    looks again: a process that gets the lock of a file which has no name any more
    holds nothing that others would see. filelock does look, from version 3.21 on.

    Raises:
        Timeout: another process has held it for so long.
        OSError: the file cannot be made.
    """
    lock = lock_file(path)
    try:
        lock.acquire(timeout=min(MOMENT, seconds))
    except Timeout:
        if waits is not None:
            waits(owner(path))
        lock.acquire(timeout=seconds)
    try:
        with signed(path):
            yield
    finally:
        with suppress(OSError):  # Windows removes no open file; filelock does it there
            path.unlink()
        lock.release()


def sync_folder(folder: Path) -> None:
    """Flush the folder's own list of names, where the system knows such a thing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows does not open folders
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def status(path: Path) -> os.stat_result:
    """What the system knows of a file, which is an ordinary one: opens, and ends.

    To open a pipe waits for somebody who writes, and ``/dev/zero`` has no end.

    Raises:
        ValueError: nothing is there, or something else; names the path.
        OSError: the system does not let us look; that is no damage.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, ValueError):  # a zero byte is in no file's name
        raise ValueError(f"{path} does not exist") from None
    except NotADirectoryError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{path} is a folder, but must be a file")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is a pipe or a device, but must be a file")
    return found


LARGEST_DESCRIPTION = 2**26
"""Bytes of the longest JSON or TOML file that is read, and of a run's metrics. A
vocabulary of 200,000 tokens takes a twentieth of it."""


def read_description(path: Path) -> bytes:
    """The bytes of a file that describes something, and is short therefore.

    Raises:
        ValueError: the file is missing, no file or too long; names the path.
        OSError: the system does not let us read.
    """
    if (size := status(path).st_size) > LARGEST_DESCRIPTION:
        raise ValueError(
            f"{path} ({size} bytes) must have at most {LARGEST_DESCRIPTION} bytes"
        )
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is missing, not JSON, or not an object; names the path.
        OSError: the system does not let us read; that is no damage.
    """
    content = read_description(path)
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError):  # also of a number with too many digits
        raise ValueError(f"{path} is not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return value


def sha256_bytes(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits; reads it piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TRACE = re.compile(r"\.(.+)\.[0-9a-f]{12}\.(tmp|old)")
"""The names that ``_beside`` gives; first the name that is meant."""


def _beside(path: Path, kind: Literal["tmp", "old"] = "tmp") -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{kind}")
