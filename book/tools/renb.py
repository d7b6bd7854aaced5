"""Run notebooks again and store what they print: the same bytes each time.

    python book/tools/renb.py book/*.ipynb            # rewrite what has changed
    python book/tools/renb.py --check book/*.ipynb    # only say, and exit 1

A clock never gives the same bytes. So a cell tagged ``nbval-ignore-output`` (its text
is timed) or ``timed`` (a figure of times) does not count as a change: if nothing else
differs, the file stays as it is.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from notebook_kernel import prepare_environment

METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
KEPT = ("mystnb", "tags")  # of a cell's metadata
TIMED = {"nbval-ignore-output", "timed"}


def join_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream, which arrive as the machine pleases."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            joined.append(output)
    return joined


def normalise(notebook: NotebookNode, stem: str) -> None:
    """Leave nothing in a notebook that depends on who ran it, and when."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        kept = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        cell.id = f"{stem[:2]}-{number:03d}"
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = nbformat.from_dict({})


def execute(notebook: NotebookNode, folder: Path, timeout: int = 600) -> None:
    """Run every cell in a fresh kernel that works in ``folder``."""
    prepare_environment()
    notebook.metadata = nbformat.from_dict(METADATA)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def write(notebook: NotebookNode) -> str:
    """Return a notebook's file."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def without_times(notebook: NotebookNode) -> str:
    """Return a notebook's file without what a clock decides."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if TIMED & set(cell.metadata.get("tags", [])):
            cell.outputs = []
    return write(notebook)


def renew(path: Path) -> str:
    """Run a notebook; return what its file should hold."""
    stored = path.read_text(encoding="utf8")
    old = nbformat.reads(stored, as_version=4)
    new = copy.deepcopy(old)
    execute(new, path.parent)
    normalise(new, path.stem)
    if without_times(new) == without_times(old):
        new = old  # only clocks moved
    return write(new)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if any differs"
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    changed = 0
    for path in options.notebooks:
        began = time.perf_counter()
        new = renew(path)
        differs = new != path.read_text(encoding="utf8")
        changed += differs
        if differs and not options.check:
            path.write_text(new, encoding="utf8")
        verdict = "differs" if differs else "same"
        print(f"{path}: {verdict} ({time.perf_counter() - began:.0f} s)")
    return int(options.check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
