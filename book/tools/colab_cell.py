"""The first cell of every chapter, tagged ``remove-cell``: find or fetch the course.

    python book/tools/colab_cell.py            # print it
    python book/tools/colab_cell.py NOTEBOOK…  # write it into these notebooks

Beside the package it does nothing but prepare the text, once. Alone, in Colab or in a
folder of downloads, it clones the repository. The address is in MINILLM_REPO; in a
published copy the book's build has written it in (``book/_ext/course_site.py``).
"""

import argparse
import json
from pathlib import Path

CELL = """\
# Finds the course's package, or fetches it when this notebook is alone.
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

if not Path("../minillm/__init__.py").is_file():
    url = os.environ.get("MINILLM_REPO", "")
    if not url:
        raise SystemExit(
            "This notebook is alone: set MINILLM_REPO to the address of"
            " the course's repository, or open it in a clone's book/."
        )
    if not Path("minillm-course").is_dir():
        clone = ["git", "clone", "-q", "--depth", "1", url]
        subprocess.run([*clone, "minillm-course"], check=True)
    os.chdir("minillm-course/book")
    needs = ["torch", "tiktoken", "safetensors", "jaxtyping", "filelock"]
    missing = [name for name in needs if find_spec(name) is None]
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "-q"]
        subprocess.run([*pip, *missing], check=True)
sys.path.insert(0, str(Path("..").resolve()))

from minillm import data

if not Path("../data/shakespeare/meta.json").is_file():
    data.prepare("shakespeare", Path("../data/shakespeare"))"""


def as_lines(source: str) -> list[str]:
    """Return a cell's source as a notebook stores it."""
    return source.splitlines(keepends=True)


def put(notebook: dict) -> bool:
    """Replace the source of the first code cell; say whether it changed."""
    cell = next(c for c in notebook["cells"] if c["cell_type"] == "code")
    if "remove-cell" not in cell["metadata"].get("tags", []):
        raise ValueError("the first code cell must be tagged remove-cell")
    changed = "".join(cell["source"]) != CELL
    cell["source"] = as_lines(CELL)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path)
    notebooks = parser.parse_args().notebooks
    if not notebooks:
        print(CELL)
    for path in notebooks:
        notebook = json.loads(path.read_text(encoding="utf8"))
        if put(notebook):
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf8")
            print(f"{path}: changed")


if __name__ == "__main__":
    main()
