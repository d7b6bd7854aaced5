"""Measure what each chapter costs a reader, into book/costs.json.

    python book/tools/measure.py book/*.ipynb

One thread, a fresh kernel each. CPU seconds, because another program on the machine
hardly moves them; on one idle thread they are also the seconds to wait.
"""

import argparse
import json
import platform
from pathlib import Path

import nbformat
from renb import execute

COSTS = Path(__file__).resolve().parents[1] / "costs.json"

# run last, in the notebook's own kernel; programs that a chapter starts cost, too
ASK = """\
import resource
_who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
_use = [resource.getrusage(_one) for _one in _who]
_seconds = sum(_one.ru_utime + _one.ru_stime for _one in _use)
print(_seconds, max(_one.ru_maxrss for _one in _use))
"""


def measure(path: Path) -> dict[str, int]:
    """Run a notebook and return its CPU seconds and its peak memory in MB."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    execute(notebook, path.parent)
    # a busy machine may hand over one line in two pieces
    answer = "".join(piece.text for piece in notebook.cells[-1].outputs)
    seconds, peak = answer.split()
    unit = 1 if platform.system() == "Darwin" else 1024  # getrusage's, in bytes
    return {
        "seconds": round(float(seconds)),
        "peak_mb": round(int(peak) * unit / 1e6),
    }


def main(arguments: list[str] | None = None, costs: Path = COSTS) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    known = json.loads(costs.read_text(encoding="utf8")) if costs.is_file() else {}
    chapters = known.get("chapters", {})
    for path in options.notebooks:
        chapters[path.stem] = measure(path)
        print(path.stem, chapters[path.stem])
    written = {
        "what": "CPU seconds on one thread, and peak memory; by book/tools/measure.py",
        "chapters": dict(sorted(chapters.items())),
    }
    costs.write_text(json.dumps(written, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
