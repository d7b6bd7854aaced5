"""The rows of an experiment: read, added, written, and where they came from.

Imports no PyTorch: some of the processes that are measured have no room for it.
"""

import csv
import io
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from minillm.files import write_atomically

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows of a table; none if it is not there yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


def append(
    path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Add rows of a finished run, under a header if the file is new."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a table by the rows of one run of its program."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def ratios(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """Each number over that of the first name in the same round."""
    base = next(iter(found.values()))
    return {
        name: [mine / other for mine, other in zip(values, base, strict=True)]
        for name, values in found.items()
    }


@cache
def commit() -> str:
    """The code's commit, or a word that says there was none."""
    told = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or "uncommitted"


def machine() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()
