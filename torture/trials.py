"""Who tries what may end the process? A child, which is lost without harm.

Thousands of trials a minute run in one forked child, one after the other. If one of
them hangs the child, or ends it, that trial is lost, and the next gets a new child.
"""

import multiprocessing.connection
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minillm import cli
from torture import victims
from torture.attack import Trial

Item = TypeVar("Item")

SECONDS = 10.0
"""What takes longer hangs. The machine may be busy; a trial takes milliseconds."""

IMPORTS_SECONDS = 60.0
"""What the first trial in a child may take longer, for it imports what is lacking."""

ROOM = 3 * 2**30
"""Bytes of addresses that a child may ask for beyond those it has from its start.

A file that says it needs terabytes must be refused, and not believed.
"""


def tried(
    work: Callable[[Item], Trial],
    items: Iterable[Item],
    seconds: float = SECONDS,
    room: int = ROOM,
) -> Iterator[Trial]:
    """Do ``work`` on each of ``items`` in a child; also what happens to it is lost.

    Args:
        work: says what was lost, or nothing. It goes to the child by pickling.
        items: one for each trial.
        seconds: how long one may take.
        room: how many bytes of memory a child may ask for.
    """
    child = None
    try:
        for item in items:
            child = child or _Child(work, room)
            lost = child.ask(item, seconds)
            if child.ended:
                child = None
            yield None if lost is None else f"{item}: {lost}"
    finally:
        if child is not None:
            child.end()


LONGEST_MESSAGE = 600
"""Characters. A line that repeats a damaged file is no plain line."""


def objection(error: BaseException, names: Sequence[str] = ()) -> Trial:
    """What is wrong with an error, if it is not one plain line for the user.

    Args:
        error: what the package raised.
        names: the line must hold one of them, if there are any.
    """
    said = f"{type(error).__name__}: {str(error)[-300:]!r}"
    if not isinstance(error, ValueError | OSError):
        return f"a traceback of {said}"
    line = cli.one_line(error)
    if not line or not line.isprintable() or len(line) > LONGEST_MESSAGE:
        return f"not one plain line: {said}"
    if names and not any(name in line for name in names):
        return f"a line without a place: {said}"
    return None


class _Child:
    """A forked process that does one piece of work after the other."""

    def __init__(self, work: Callable[[Any], Trial], room: int) -> None:
        context = victims.server()
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs, room))
        self._process.start()
        theirs.close()
        self.ended, self._new = False, True

    def ask(self, item: Any, seconds: float) -> Trial:
        lost: Trial
        if self._new:
            seconds += IMPORTS_SECONDS
            self._new = False
        try:
            self._ours.send(item)
            if self._ours.poll(seconds):
                lost = self._ours.recv()
                return lost
            lost = f"it hung for {seconds:g} seconds"
        except (EOFError, OSError):
            self._process.join()
            lost = f"the process ended with {self._process.exitcode}"
        self.end()
        return lost

    def end(self) -> None:
        self.ended = True
        self._process.kill()
        self._process.join()
        self._ours.close()


def _serve(
    work: Callable[[Any], Trial],
    pipe: "multiprocessing.connection.Connection[Trial, Any]",
    room: int,
) -> None:
    memory = Path("/proc/self/statm")
    if memory.exists():  # Linux alone keeps to such a limit
        used = int(memory.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
    os.fsync = lambda descriptor: None  # what is tried survives no power cut
    while True:
        try:
            item = pipe.recv()
        except EOFError:  # whoever asked has gone
            return
        pipe.send(work(item))
