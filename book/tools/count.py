"""Count a chapter's cells and words, and compare them with what a chapter may hold.

    python book/tools/count.py book/01-bigram.ipynb

A formula is one word, code is none; references are looked up, not read. Folded text is
what a reader must open: details, and solutions, also where one runs over several cells.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

# inclusive; what a reader can hold in one sitting
LIMITS = {
    "cells": (40, 60),
    "code_cells": (25, 40),
    "open_words": (1800, 2800),
    "folded_words": (0, 800),
    "median_lines": (0, 8),
    "longest_lines": (0, 30),
    "longest_columns": (0, 75),
    "figures": (4, 20),  # and one for every eight cells
}

CELLS_PER_FIGURE = 8

# what a single chapter may hold instead, by its file's stem
EXCEPTIONS = {
    # it also introduces PyTorch, to readers who have never seen it
    "01-bigram": {"open_words": (1800, 3200), "folded_words": (0, 900)},
    # it builds a whole Transformer, for readers who have never seen a part of one
    "02-gpt": {"open_words": (1800, 3400)},
    # it holds a laboratory of its own: six ways to read beyond the training length
    "04-rope": {"open_words": (1800, 2900)},
}


def limits(stem: str) -> dict[str, tuple[int, int]]:
    """Return the limits of one chapter."""
    return LIMITS | EXCEPTIONS.get(stem, {})


FOLDED = re.compile(
    r"<details>.*?</details>"
    r"|`{3,}\{solution-start\}.*?`{3,}\{solution-end\}\s*`{3,}"
    r"|(?P<fence>[`:]{3,})\{[a-z-]+\}[^\n]*\n:class:[^\n]*dropdown.*?\n(?P=fence)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Count:
    """What one chapter holds."""

    cells: int
    code_cells: int
    open_words: int
    folded_words: int
    median_lines: float
    longest_lines: int
    longest_columns: int
    figures: int
    asserts: int

    def problems(self, stem: str = "") -> Iterator[str]:
        """Yield a sentence for each limit of a chapter that is not kept."""
        for name, (least, most) in limits(stem).items():
            value = getattr(self, name)
            if not least <= value <= most:
                yield f"{name} ({value}) must be between {least} and {most}"
        if self.cells > CELLS_PER_FIGURE * self.figures:
            yield (
                f"figures ({self.figures}) must be at least one for every"
                f" {CELLS_PER_FIGURE} cells ({self.cells})"
            )


def without_code(text: str) -> str:
    """Drop blocks of code and the fences of directives, whose body is prose."""
    kept, fences = [], []  # open fences: their marks, and whether they hold code
    for line in text.splitlines():
        mark = re.match(r"`{3,}|:{3,}", line)
        if mark and fences and line.strip() == fences[-1][0]:
            fences.pop()
        elif mark and not (fences and fences[-1][1]):
            rest = line[mark.end() :]
            fences.append((mark.group(), not rest.startswith("{")))
        elif not (fences and fences[-1][1]):
            kept.append(line)
    return "\n".join(kept)


def words(text: str) -> int:
    """Count the words of some MyST Markdown."""
    text = without_code(text)
    text = re.sub(r"(?m)^:[a-z]+:.*$", " ", text)  # and its options
    text = re.sub(r"(?m)^\([\w-]+\)=$", " ", text)  # a label
    text = re.sub(r"<[^>\n]*>", " ", text)
    text = re.sub(r"(?s)\$\$.*?\$\$", " x ", text)
    text = re.sub(r"(?s)\\begin\{(\w+\*?)\}.*?\\end\{\1\}", " x ", text)
    text = re.sub(r"\$[^$]+\$", "x", text)
    text = re.sub(r"(\{[\w:-]+\})?`[^`\n]+`", "x", text)
    text = re.sub(r"\]\([^)\n]*\)", "] ", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def source(cell: dict[str, Any]) -> str:
    """Return a cell's text, however the file stores it."""
    return "".join(cell["source"])


def has_figure(cell: dict[str, Any]) -> bool:
    """Say whether a cell shows an image."""
    return any(
        kind.startswith("image/")
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    )


def count(notebook: dict[str, Any]) -> Count:
    """Count a notebook given as parsed JSON."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    # the shared first cell is not the chapter's, and readers do not see it
    shown = [c for c in code if "remove-cell" not in c["metadata"].get("tags", [])]
    lines = [[line for line in source(c).splitlines() if line.strip()] for c in shown]
    prose = "\n\n".join(source(c) for c in cells if c["cell_type"] == "markdown")
    prose = re.sub(r"(?ms)^## References$.*?(?=^## |\Z)", "", prose)
    folded = [match.group() for match in FOLDED.finditer(prose)]
    return Count(
        cells=len(cells),
        code_cells=len(code),
        open_words=words(FOLDED.sub("\n\n", prose)),
        folded_words=sum(words(text) for text in folded),
        median_lines=median(len(cell) for cell in lines) if lines else 0,
        longest_lines=max((len(cell) for cell in lines), default=0),
        longest_columns=max(
            (len(line) for c in shown for line in source(c).splitlines()), default=0
        ),
        figures=sum(has_figure(cell) for cell in cells),
        asserts=sum(
            line.lstrip().startswith(("assert ", "assert_", "torch.testing.assert_"))
            for cell in lines
            for line in cell
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Count chapters.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    bad = 0
    for path in parser.parse_args().notebooks:
        found = count(json.loads(path.read_text(encoding="utf8")))
        held = limits(path.stem)
        print(path)
        for name, value in asdict(found).items():
            limit = "{}-{}".format(*held[name]) if name in held else ""
            print(f"  {name:16} {value:8g}  {limit}")
        for problem in found.problems(path.stem):
            bad = 1
            print(f"  {problem}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
