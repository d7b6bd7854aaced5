"""How does a process end in the middle of its work? Traps that are laid inside it.

A trap is a function for ``victims.Call(before=...)``: it runs in the process that is to
be attacked, in the folder where the command was typed, before the command.
"""

import fcntl
import functools
import multiprocessing.util
import os
import resource
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
"""What Python tells an audit hook of changes to names; the first argument is a path."""


def note_begin(path: Path) -> None:
    """Make a file when the command begins, for whoever waits for that."""
    from minillm import cli

    honest = cli._parser

    def parser(*arguments: Any) -> Any:
        path.touch()
        return honest(*arguments)

    cli._parser = parser


def signal_at(step: int, number: int) -> None:
    """Get a signal before this step of training is taken."""
    _before_step(step, lambda: os.kill(os.getpid(), number))


def close_terminal_at(step: int) -> None:
    """Have a terminal of its own, which is closed before this step is taken."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(theirs, number)
    os.close(theirs)
    # Python's own were made for what stood there before, and remember what it was.
    sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
    _before_step(step, lambda: os.close(ours))


def overflow(scale: float) -> None:
    """Scale float16's gradients up so far that the first steps must be skipped."""
    import torch

    torch.amp.GradScaler = functools.partial(torch.amp.GradScaler, init_scale=scale)


def join(rank: int, world_size: int, port: int) -> None:
    """Be one of the processes that train together, as ``torchrun`` would start it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _before_step(step: int, act: Callable[[], object]) -> None:
    from minillm import train

    honest = train.take_step

    def take_step(number: int, *arguments: Any, **options: Any) -> Any:
        if number == step:
            act()
        return honest(number, *arguments, **options)

    train.take_step = take_step


def die_before(number: int, notes: Path) -> None:
    """Be killed before the ``number``-th operation on files of this folder.

    Operations are: to open for writing, to rename, remove and make a name, and to
    flush. Each is noted in a file, one a line. Zero kills never, and notes them all.
    """
    noted = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = 0

    def count(what: str) -> None:
        nonlocal done
        done += 1
        os.write(noted, f"{what}\n".encode())
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_operation(count)


def cut_power_before(number: int, disk: Path, names_survive: bool) -> None:
    """Be killed like that, and leave in ``disk`` what a power cut would leave.

    That is, of what was there at the beginning and what has changed since, what was
    flushed: of a file, its content when it was flushed last; of a folder, its list of
    names, without those that have been removed since, flushed or not. One operation
    more than there are means: after the end.

    What the model does not see: a disk that says "flushed" before it is true; a file
    that was flushed once and is half overwritten since (nothing here is overwritten in
    place, and a row that is appended may survive whole, in part or not at all: the torn
    row has an attack of its own); names that survive in another order than they were
    made, of which there are only the two extremes here.

    Args:
        number: which operation.
        disk: a folder to make.
        names_survive: names reach the disk at once, as a journal may write them, and
            only contents are lost. Without, the folder's list is lost as well.
    """
    flushed: dict[int, bytes] = {}
    names: dict[int, dict[str, tuple[int, bool]]] = {}
    removed: set[int] = set()
    held: list[int] = []  # an inode that is open is not given to another file
    here = Path.cwd()
    done = 0
    promised = {"rows": 0, "step": -1}

    def keep(path: Path) -> None:
        held.append(os.open(path, os.O_RDONLY))
        if path.is_dir():
            names[path.stat().st_ino] = {
                entry.name: (entry.inode(), entry.is_dir())
                for entry in os.scandir(path)
            }
        else:
            flushed[path.stat().st_ino] = path.read_bytes()

    def rebuild(inode: int, now: Path, to: Path) -> None:
        to.mkdir()
        entries = names.get(inode, {})
        if names_survive:
            entries = {e.name: (e.inode(), e.is_dir()) for e in os.scandir(now)}
        for name, (entry, is_folder) in entries.items():
            if entry in removed:
                continue
            if is_folder:
                rebuild(entry, now / name, to / name)
            else:
                (to / name).write_bytes(flushed.get(entry, b""))

    def die() -> None:
        nonlocal done
        done = number + 1  # what comes now is ours
        rebuild(here.stat().st_ino, here, disk)
        (disk.parent / f"{disk.name}.promised").write_text(
            f"{promised['step']} {promised['rows']}"
        )
        os.kill(os.getpid(), signal.SIGKILL)

    def count(what: str) -> None:
        nonlocal done
        done += 1
        if done == number:
            die()

    from minillm import checkpoint
    from minillm.run import RunFolder

    def note_promise(
        owner: Any, name: str, key: str, value: Callable[..., int]
    ) -> None:
        """What a function has returned from is promised to be on the disk."""
        honest = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = honest(*arguments, **options)
            promised[key] = value(*arguments)
            return result

        setattr(owner, name, wrapped)

    for path in [here, *here.rglob("*")]:
        keep(path)
    note_promise(checkpoint, "save", "step", lambda *given: given[4].step)
    note_promise(RunFolder, "append", "rows", lambda folder, row: len(folder.rows()))
    note_promise(RunFolder, "rewind", "rows", lambda folder, step: len(folder.rows()))
    note_promise(RunFolder, "begin", "rows", lambda *_: 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    _on_operation(count, keep, removed.add)
    # priority: before multiprocessing ends, as the process does
    multiprocessing.util.Finalize(None, die, exitpriority=1)


def end_in_write(size: int) -> None:
    """Be killed inside the write that would make a file longer than ``size``.

    The system writes up to there, and its signal, which Python ignores unless it is
    told otherwise, ends the process.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _on_operation(
    count: Callable[[str], None],
    flushed: Callable[[Path], object] = lambda _: None,
    removes: Callable[[int], object] = lambda _: None,
) -> None:
    """Call ``count`` before each operation.

    And ``flushed`` with the path of a file or folder that was flushed, and ``removes``
    with the inode of one that will be removed.
    """
    here = os.getcwd() + os.sep
    fsync = os.fsync

    def ours(path: Any) -> bool:
        if isinstance(path, int):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(here)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITES and ours(path):
                count(f"open {os.fsdecode(path)}")
        elif event in NAMED and ours(arguments[0]):
            count(f"{event} {os.fsdecode(arguments[0])}")
            if event in ("os.remove", "os.rmdir"):
                path, folder = arguments
                found = os.stat(path, dir_fd=None if folder == -1 else folder)
                removes(found.st_ino)

    def counted_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        count(f"fsync {path}")
        fsync(descriptor)
        flushed(Path(path))

    os.fsync = counted_fsync
    sys.addaudithook(hook)
