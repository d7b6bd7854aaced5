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

# run last, in the notebook's own kernel
ASK = """\
import resource
_use = resource.getrusage(resource.RUSAGE_SELF)
print(_use.ru_utime + _use.ru_stime, _use.ru_maxrss)
"""


def measure(path: Path) -> dict[str, int]:
    """Run a notebook and return its CPU seconds and its peak memory in MB."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    execute(notebook, path.parent)
    seconds, peak = notebook.cells[-1].outputs[0].text.split()
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
