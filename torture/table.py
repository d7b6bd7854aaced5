"""What came of the attacks? A file of rows, and a table of them."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minillm.files import read_json, write_json
from torture.attack import Result

RESULTS = Path(__file__).parent / "results.json"

OPTION = re.compile(r"--\w+")
"""Two hyphens that Markdown would make a dash of."""


def keep(kind: str, result: Result, seed: int, path: Path = RESULTS) -> None:
    """Put a row into the file, in the place of the one of that kind and name."""
    import torch

    row = {
        "kind": kind,
        **result.row(),
        "seed": seed,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    replace(path, row, ("kind", "attack"))


def replace(path: Path, row: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Put a row into a file, in the place of the one with the same values of keys."""
    rows: list[Mapping[str, Any]] = [*read(path)] if path.exists() else []
    names = [[one[key] for key in keys] for one in rows]
    name = [row[key] for key in keys]
    if name in names:
        rows[names.index(name)] = row
    else:
        rows.append(row)
    write_json(path, {"rows": rows})


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows that are kept."""
    rows: list[dict[str, Any]] = read_json(path)["rows"]
    return rows


def summary(kind: str, path: Path = RESULTS) -> str:
    """The attacks of a kind as Markdown: what is done, what holds, and the counts."""
    lines = ["| attack | what holds | tries | lost |", "|---|---|--:|--:|"]
    for row in read(path):
        if row["kind"] == kind:
            tries = f"{row['tries']:,}"
            if row["why_not"]:
                tries += f" (not possible: {row['why_not']})"
            words = (OPTION.sub(r"`\g<0>`", row[key]) for key in ("attack", "promise"))
            cells = (*words, tries, f"{row['lost']:,}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def made(path: Path = RESULTS) -> str:
    """When and where the rows were made, in a sentence for the book."""
    rows = read(path)
    tries, lost = (f"{sum(row[key] for row in rows):,}" for key in ("tries", "lost"))
    minutes = sum(row["seconds"] for row in rows) / 60
    places = {
        f"{row['machine']}, Python {row['python']}, PyTorch {row['torch']}"
        for row in rows
    }
    where = "; ".join(sorted(places))
    return f"{tries} tries, {lost} lost, in {minutes:.0f} minutes ({where})."


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table: attack, tries, survived, lost, seconds, and a last row for all."""
    lines = [("attack", "tries", "survived", "lost", "seconds")]
    for row in rows:
        counts = [str(row[key]) for key in ("tries", "survived", "lost", "seconds")]
        lines.append((row["attack"], *counts))
        if row["why_not"]:
            lines.append((f"  not tried: {row['why_not']}", "", "", "", ""))
    sums = [sum(row[key] for row in rows) for key in ("tries", "survived", "lost")]
    seconds = sum(row["seconds"] for row in rows)
    lines.append(("all", *map(str, sums), f"{seconds:.0f}"))
    width = max(len(line[0]) for line in lines)
    return "\n".join(
        f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells)
        for name, *cells in lines
    )
