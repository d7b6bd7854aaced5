"""Plant one bug at a time and see that a test fails.

python tests/mutants/run.py [--only WORD] [--sample N] [--jobs N]

Each mutant gets a copy of the package and the tests. First the tests of its own room
run, then, if none has failed, all others. A mutant that nothing notices has survived:
that is a missing test, and the command fails.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutants.blind import BLIND
from mutants.known import KNOWN
from mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = (*KNOWN, *BLIND)
NEIGHBOURS = {
    "model": ("cache", "generate", "against_reference"),
    "cache": ("generate",),
    "precision": ("train",),
    "run": ("train",),
}
"""Rooms whose tests are the likeliest to notice, after those of the room itself."""
SECONDS = 900
"""A suite that takes longer than this hangs; a hang is noticed too."""


def apply(mutant: Mutant, package: Path) -> None:
    """Change the one place in a copy of the package.

    Raises:
        ValueError: the place is not there, or is there twice.
    """
    path = package / mutant.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.file}: {source.count(mutant.old)} places read {mutant.old!r}"
        )
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")


def killer(mutant: Mutant) -> str:
    """The test that notices the bug; empty if none does."""
    room = mutant.file.removesuffix(".py")
    near = [f"test_{name}.py" for name in (room, *NEIGHBOURS.get(room, ()))]
    with _copy() as copy:
        apply(mutant, copy / "minillm")
        return _first_failure(copy, near) or _first_failure(copy, [""])


def check_the_healthy() -> None:
    """See that all tests pass where nothing is planted: else no kill means anything.

    Raises:
        RuntimeError: a test fails by itself.
    """
    with _copy() as copy:
        if name := _first_failure(copy, [""]):
            raise RuntimeError(f"without any bug, {name} fails")


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of the package and its tests, to spoil."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("minillm", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        for name in ("book", "torture"):
            (copy / name).symlink_to(ROOT / name)
        yield copy


def _first_failure(copy: Path, names: list[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    ignored = ("book", "benchmarks", "mutants")
    command += [f"--ignore=tests/{name}" for name in ignored]
    command += [f"tests/{name}" for name in names]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "(hangs)"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:  # machine code that writes where it must not, for example
        return f"(signal {-done.returncode})"
    if done.returncode not in (1, 2):  # 1: a test failed, 2: a test file did
        raise RuntimeError(f"pytest could not run:\n{done.stdout}{done.stderr}")
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else f"(exit code {done.returncode})"


def main() -> None:
    """Print a table, and fail if a mutant survives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutants whose file or why has it")
    parser.add_argument(
        "--sample", type=int, default=0, help="every n-th so as to get N"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only in f"{m.file} {m.why}"]
    if options.sample:
        chosen = chosen[:: max(1, len(chosen) // options.sample)][: options.sample]
    if not options.sample:
        check_the_healthy()
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, name in zip(chosen, pool.map(killer, chosen), strict=True):
            survivors += not name
            print(f"{mutant.file:15} {mutant.why}")
            print(f"{'':15} {'killed by ' + name if name else 'SURVIVED'}", flush=True)
    print(f"{len(chosen)} mutants, {survivors} survived")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
