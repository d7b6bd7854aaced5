"""Who is attacked? The command line, in a process of its own that may be killed.

To start Python with PyTorch takes seconds. So a server imports all that once, and for
every call it forks: the child is a process like any other, with its own memory, its own
limits and its own end, and is there in milliseconds.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from minillm import data

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a command to stop."""

PRELOADED = (
    *("minillm.cli", "minillm.train", "minillm.complete", "minillm.huggingface"),
    "torch._dynamo",  # every optimiser imports it when it is made: four seconds
)

TEXT = "".join(
    f"{number}. {who} {does} the {what}.\n"
    for number, (who, does, what) in enumerate(
        (who, does, what)
        for who in ("Ada", "Grace", "Emmy", "Hedy", "Mary")
        for does in ("counts", "meets", "names", "draws", "hides", "hears")
        for what in ("wheel", "lamp", "bridge", "garden", "café", "mirror", "key")
    )
)
"""About five thousand characters; one of them takes two bytes."""

SMALL = (
    *("--d_model", "24", "--n_heads", "4", "--n_kv_heads", "2", "--n_layers", "2"),
    *("--context_length", "13", "--batch_size", "6", "--steps", "24"),
    *("--warmup_steps", "3", "--eval_every", "8", "--checkpoint_every", "5"),
    *("--log_every", "3", "--learning_rate", "1e-2", "--device", "cpu"),
)
"""Flags of a run that takes a second. Nothing in it is a multiple of anything else."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended, and what it said."""

    code: int | None
    """Exit code; minus the signal that ended it; None: it hung, and was killed."""
    out: str
    err: str

    @property
    def fault(self) -> str | None:
        """What is wrong with such an end, if it is neither success nor one plain line.

        A user's mistake, or a damaged file, is one line on standard error, exit code 2.
        """
        if self.code is None:
            return "it hung"
        if self.code < 0:
            return f"signal {-self.code} ended it: {self.err[-300:]!r}"
        if "Traceback" in self.err:
            return f"a traceback: {self.err[-300:]!r}"
        if "Warning: " in self.err:
            return f"a warning: {self.err[-300:]!r}"
        if self.code == 0:
            return None
        if self.code != 2:
            return f"exit code {self.code}: {self.err[-300:]!r}"
        lines = [line for line in self.err.splitlines() if "minillm: error: " in line]
        if len(lines) != 1 or not self.err.rstrip().endswith(lines[0]):
            return f"not one line: {self.err[-300:]!r}"
        return None


class Call:
    """The command line at work in a process of its own.

    Args:
        words: what a person would type after ``minillm``.
        folder: where they stand.
        before: functions of a module with their arguments, which the process calls
            before it begins: to set a limit, or to lay a trap.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        before: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]] = (),
    ) -> None:
        self._said = tempfile.TemporaryDirectory()
        for name in ("out", "err"):  # a process may be killed before it makes them
            (Path(self._said.name) / name).touch()
        self.process: ForkServerProcess = server().Process(
            target=_work, args=(list(words), folder, Path(self._said.name), before)
        )
        self.process.start()

    def wait(self, seconds: float = 60) -> Outcome:
        """Wait for the end, and give up on a process that takes longer."""
        self.process.join(seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
        with self._said:
            said = [
                (Path(self._said.name) / name).read_text(errors="replace")
                for name in ("out", "err")
            ]
        return Outcome(code, *said)


def call(*words: str, folder: Path, **options: Any) -> Outcome:
    """Type a command, and wait for its end. For ``options``, see :class:`Call`."""
    return Call(words, folder, **options).wait()


def corpus(folder: Path, text: str = TEXT) -> Path:
    """Prepare ``text`` by characters as ``folder/data/shakespeare``, the default."""
    data.prepare_text(text, folder / "data" / "shakespeare")
    return folder


def server() -> ForkServerContext:
    """Whoever forks: it has imported the package, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _work(
    words: list[str],
    folder: Path,
    said: Path,
    before: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]],
) -> None:
    os.setsid()  # a signal meant for us shall not reach it, nor the other way round
    # A shell has what runs in its background ignore these, and whatever that starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for name, number in (("out", 1), ("err", 2)):
        descriptor = os.open(said / name, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
    os.chdir(folder)
    from minillm import cli  # loaded already, by the server

    for function, arguments in before:
        function(*arguments)
    try:
        cli.main(words)
    finally:  # what comes now is not the command's any more
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
