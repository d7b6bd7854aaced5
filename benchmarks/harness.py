"""How do we compare? In turns, in one run, and only when both computed the same.

Two programs that are measured one after the other meet different machines: other work
comes and goes. So every comparison here takes turns, A B C, B C A, C A B, and the ratio
of two programs is taken within each round. What is reported is the median round, with
the quartiles as its spread. Where a whole process is measured, its CPU seconds count,
which other work hardly moves.

A *contender* is a process of its own: its peak memory is its own, its libraries may
live in another environment, and it does something only when it is told to. It answers
on its standard output, one line of JSON for each line it reads. :func:`serve` is the
contender's side, :class:`Contender` the other.
"""

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minillm.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"

# ------------------------------------------------------------------ numbers


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the quartiles around it."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of one value, that value three times."""
    low, high = values[0], values[0]
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high, len(values))


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """``over / under``, round by round."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Let each contender measure itself once a round, in an order that rotates.

    Args:
        contenders: each returns what it took, in whatever unit all of them use.
        rounds: how often each has its turn.
        warm_up: rounds before, which are not kept.
    """
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = contenders[name]()
            if number >= 0:
                taken[name].append(value)
    return taken


@dataclass(frozen=True)
class Goal:
    """What we set out to reach, and what came out.

    A goal whose ``at_least`` lies above its ``aim`` is one where less is better.
    """

    name: str
    at_least: float
    aim: float
    measured: Spread
    why_not: str = ""
    """If the goal is missed: what is known about the reason."""

    @property
    def holds(self) -> bool:
        """Whether the median reaches what was asked at least."""
        if self.at_least > self.aim:
            return self.measured.median <= self.at_least
        return self.measured.median >= self.at_least

    def row(self) -> dict[str, Any]:
        """The goal as it is stored."""
        return {
            "name": self.name,
            "at_least": self.at_least,
            "aim": self.aim,
            "measured": round(self.measured.median, 4),
            "spread": [round(self.measured.low, 4), round(self.measured.high, 4)],
            "rounds": self.measured.rounds,
            "holds": self.holds,
            "why_not": "" if self.holds else self.why_not,
        }


def write(
    name: str,
    goals: Sequence[Goal],
    rows: Sequence[Mapping[str, Any]],
    threads: int,
    packages: Sequence[str] = (),
    **more: Any,
) -> None:
    """Store one benchmark in ``results/NAME.json`` and print its goals.

    Args:
        name: the benchmark.
        goals: what it set out to reach.
        rows: everything measured, one plain row each.
        threads: of every contender.
        packages: whose versions matter besides PyTorch's.
        more: anything else that a reader of the numbers must know.
    """
    stored = {
        "goals": [goal.row() for goal in goals],
        "rows": [dict(row) for row in rows],
        "about": {**about(threads, packages), **more},
    }
    write_json(RESULTS / f"{name}.json", stored)
    for goal in stored["goals"]:
        verdict = "holds" if goal["holds"] else "is missed"
        low, high = goal["spread"]
        print(
            f"{goal['name']}: {goal['measured']:.3g} ({low:.3g} to {high:.3g}),"
            f" at least {goal['at_least']:g}, aim {goal['aim']:g}: {verdict}",
            flush=True,
        )


def read(name: str) -> dict[str, Any]:
    """What :func:`write` has stored."""
    return read_json(RESULTS / f"{name}.json")


def about(threads: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Machine and versions: what a number means nothing without."""
    import torch

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores,"
        f" {torch.backends.cpu.get_cpu_capability()}",
        "threads": threads,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


# ------------------------------------------------------------------ processes


@dataclass(frozen=True)
class Usage:
    """What the system says that a process, and all it waited for, has taken."""

    wall_seconds: float
    cpu_seconds: float
    peak_mebibytes: float

    def row(self) -> dict[str, float]:
        """Rounded, for storing."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


def environment(threads: int) -> dict[str, str]:
    """The variables of a process that is measured: threads set, no network asked."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }


_STARTER = """
import os, sys, time
report, *words = sys.argv[1:]
began = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(words[0], words, os.environ), 0)
wall, cpu = time.perf_counter() - began, used.ru_utime + used.ru_stime
code = os.waitstatus_to_exitcode(status)
os.write(int(report), f"{code} {wall} {cpu} {used.ru_maxrss / 1024}".encode())
"""
"""Starts a program from a small process: on Linux, the peak memory that is counted for
a program begins with the peak of the process that started it."""


def run(
    command: Sequence[str | Path], threads: int = 1, cwd: Path = ROOT
) -> tuple[Usage, str]:
    """Run a program to its end; return what it took and what it printed.

    Raises:
        SystemExit: the program failed; says what it said.
    """
    words = [str(word) for word in command]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as report,
    ):
        fd = report.fileno()
        subprocess.run(
            [sys.executable, "-IS", "-c", _STARTER, str(fd), *words],
            stdout=out,
            stderr=err,
            env=environment(threads),
            cwd=cwd,
            pass_fds=[fd],
            check=False,
        )
        for file in (out, err, report):
            file.seek(0)
        code, *used = report.read().decode().split() or ["not started"]
        if code != "0":
            said = err.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(words)}: code {code}\n{said}")
        return Usage(*map(float, used)), out.read().decode()


class Contender:
    """A process that waits to be told what to do; use it as a context.

    Args:
        command: a program that calls :func:`serve`, by its path, and its arguments.
        threads: how many it may use.
        python: the interpreter of its environment; ours if left out.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        threads: int,
        python: str | Path = sys.executable,
    ) -> None:
        words = [str(python), *map(str, command)]
        self.name = " ".join(words[1:])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with us)
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(threads),
            cwd=ROOT,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have one thing done, and return its answer.

        Raises:
            SystemExit: the process has died; says what it said.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{self.name}, asked to {do}, has died:\n{said}")
        return json.loads(line)["answer"]

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has died, which `ask` has told
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def serve(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Do what the lines of standard input say, until there are no more.

    What the verbs print goes to standard error: standard output carries the answers.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        answer = verbs[order.pop("do")](**order)
        answers.write(json.dumps({"answer": answer}) + "\n")
        answers.flush()


@dataclass
class Stopwatch:
    """Wall and CPU seconds of this process between entering and leaving."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __enter__(self) -> "Stopwatch":
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall_seconds = time.perf_counter() - self._began[0]
        self.cpu_seconds = time.process_time() - self._began[1]


def peak_mebibytes() -> float:
    """The most memory that this process has held so far."""
    import resource  # Windows has none, and reads the results all the same

    status = Path("/proc/self/status")
    if status.exists():
        # Linux lets a new program inherit the peak of the one that started it, in the
        # count below but not in this one.
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
