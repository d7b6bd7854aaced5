"""Does the wheel pass its tests elsewhere? ``python -m torture.ports``.

For each Python that is found, and for the lowest and the newest dependencies that
``pyproject.toml`` allows: a new environment, the wheel in it, the package's own tests
in an empty folder, and no checkout beside them. That takes about ten minutes each, so
it is no part of the automatic check.

"Lowest" is the newest patch of the lowest release: ``torch>=2.9`` is tried as
``torch==2.9.*``. The tools of the tests are as new as ``requirements.txt`` lets them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torture import table
from torture.attack import NotPossibleError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "ports.json"

PYTHONS = ("3.11", "3.12", "3.13")
BOUNDS = ("lowest", "newest")
EXTRAS = ("plots", "huggingface", "parquet")
"""What some tests need besides; they are bounded in the same way."""
TOOLS = ("pytest", "hypothesis", "beartype")
"""What runs the tests; a range of each stands in ``requirements.txt``."""
SOURCES = ("minillm", "pyproject.toml", "README.md", "LICENSE")
"""All that a wheel is made of."""


def requirements() -> list[str]:
    """What ``pyproject.toml`` asks for, the extras that the tests need among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = project["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(one for e in EXTRAS for one in extras[e])]


def lowest(wanted: Iterable[str]) -> list[str]:
    """Constraints that hold each requirement to the release of its lower bound.

    Raises:
        ValueError: a requirement is not of the form ``name>=version``.
    """
    constraints = []
    for one in wanted:
        found = re.fullmatch(r"([\w-]+)>=([\d.]+)", one)
        if found is None:
            raise ValueError(f"requirement ({one}) must be a lower bound: name>=1.2")
        release = found[2] if "." in found[2] else f"{found[2]}.0"
        constraints.append(f"{found[1]}=={release}.*")
    return constraints


def tools() -> list[str]:
    """The lines of ``requirements.txt`` for what runs the tests."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {re.split(r"[=<>]", line)[0]: line for line in lines if line}
    return [named[tool] for tool in TOOLS]


def build_wheel(folder: Path) -> Path:
    """Make the wheel from a copy, so that nothing of older builds gets into it."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    _run([*pip, "--no-build-isolation", "--wheel-dir", folder, source])
    [wheel] = folder.glob("*.whl")
    return wheel


def copy_tests(folder: Path) -> None:
    """The tests that need the package alone: the files in ``tests``, not its folders.

    ``bugzoo`` are the wrong answers that the tests of the checks hand in.
    ``pyproject.toml`` has pytest's settings, such as that a warning is an error.
    """
    (folder / "tests").mkdir(parents=True)
    for file in (ROOT / "tests").glob("*.py"):
        shutil.copy(file, folder / "tests")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        ROOT / "tests" / "bugzoo", folder / "tests" / "bugzoo", ignore=ignored
    )
    shutil.copy(ROOT / "pyproject.toml", folder)


def find_python(version: str) -> str | None:
    """A Python of that version on PATH, if there is one that starts."""
    name = f"python{version}"
    for place in os.environ["PATH"].split(os.pathsep):
        if (path := shutil.which(name, path=place)) is None:
            continue
        command = [path, "-c", "import venv, ensurepip"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return path
    return None


def measure(
    version: str, bounds: str, wheel: Path, folder: Path, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Make one environment, run the tests in it, and remove it again.

    Args:
        version: of Python, as in ``python3.12``.
        bounds: ``lowest`` or ``newest``.
        wheel: of the package.
        folder: where the environment may stand; it is removed.
        only: test files instead of all.

    Raises:
        NotPossibleError: there is no such Python, or the versions do not exist for it.
    """
    if (python := find_python(version)) is None:
        raise NotPossibleError(f"no python{version} on PATH")
    try:
        _run([python, "-m", "venv", folder / "venv"])
        inside = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        constraints = folder / "constraints.txt"
        wanted = requirements()
        lines = lowest(wanted) if bounds == "lowest" else []
        constraints.write_text("\n".join(lines), encoding="utf-8")
        pip = [inside, "-m", "pip", "install", "--quiet", "--no-compile"]
        pip += ["--disable-pip-version-check", "--constraint", constraints]
        # Nobody who reads the book shall need a compiler to install it.
        pip.append("--only-binary=:all:")
        _run([*pip, wheel, *wanted, *tools()])
        copy_tests(folder / "here")
        return {
            **_versions(inside),
            **_pytest(inside, folder / "here", only),
            "why_not": "",
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _versions(python: Path) -> dict[str, str]:
    code = "import platform, torch, numpy; print(platform.python_version(), "
    code += "torch.__version__, numpy.__version__)"
    exact, torch, numpy = _run([python, "-c", code]).split()
    return {"exact": exact, "torch": torch, "numpy": numpy}


def _pytest(python: Path, here: Path, only: Sequence[str]) -> dict[str, Any]:
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-m", "not browser and not cuda", "--junit-xml", here / "said.xml"]
    command += [f"tests/{name}" for name in only]
    environment = {**_environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    if not (here / "said.xml").is_file():
        raise NotPossibleError(f"pytest could not run: {_last_line(done)}")
    return counted((here / "said.xml").read_text(encoding="utf-8"))


def counted(junit: str) -> dict[str, Any]:
    """What pytest's report in JUnit's form says: counts, and the names of failures."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))  # noqa: S314 -- pytest wrote it

    def having(*tags: str) -> list[str]:
        found = []
        for case in cases:
            for said in (one for tag in tags for one in case.findall(tag)):
                why = (said.get("message") or "").partition("\n")[0]
                found.append(f"{case.get('classname')}::{case.get('name')}: {why}")
                break
        return found

    failures, skipped = having("failure", "error"), having("skipped")
    return {
        "passed": len(cases) - len(failures) - len(skipped),
        "failed": len(failures),
        "skipped": len(skipped),
        "failures": failures[:50],
    }


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotPossibleError(_last_line(done))
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours without PYTHONPATH: pip took a checkout there for an installed package."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
    errors = [line for line in said if line.startswith("ERROR: ")]
    return (errors or [line for line in said if line] or ["it said nothing"])[-1]


def keep(row: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Put a row into the file, in the place of the one it repeats."""
    table.replace(path, row, ("python", "bounds"))


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    return PYTHONS.index(row["python"]), BOUNDS.index(row["bounds"])


def text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table: Python, bounds, torch, NumPy, passed, failed, skipped."""
    titles = ("exact", "bounds", "torch", "numpy", "passed", "failed", "skipped")
    widths = (8, 8, 14, 8, 8, 8, 8)
    lines = [("Python", *titles[1:])]
    reasons = []
    for row in rows:
        cells = [str(row.get(title, "")) for title in titles]
        lines.append((cells[0] or row["python"], *cells[1:]))
        if row["why_not"]:
            reasons.append(f"{row['python']} {row['bounds']}: {row['why_not']}")
        reasons += [f"failed: {name}" for name in row.get("failures", ())]
    aligned = [
        "".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([line.rstrip() for line in aligned] + reasons)


def summary(path: Path = RESULTS) -> str:
    """The kept rows as Markdown, for the book."""
    titles = ("Python", "versions", "PyTorch", "NumPy", "passed", "failed", "skipped")
    lines = [f"| {' | '.join(titles)} |", "|---|---|---|---|--:|--:|--:|"]
    for row in sorted(table.read(path), key=_place):
        version = row.get("exact", row["python"])
        cells = [version, row["bounds"]]
        if row["why_not"]:
            cells += [f"not possible: {row['why_not']}", "", "", "", ""]
        else:
            keys = ("torch", "numpy", "passed", "failed", "skipped")
            cells += [str(row[key]).partition("+")[0] for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table and keep it; the exit code is 1 if a test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m torture.ports", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--bounds", nargs="+", choices=BOUNDS, default=BOUNDS)
    parser.add_argument("--only", nargs="+", default=(), help="test files (all)")
    parser.add_argument("--folder", type=Path, help="for the environments (temporary)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="(%(default)s)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        wheel = build_wheel(Path(name))
        for version in options.python:
            for bounds in options.bounds:
                print(f"Python {version}, {bounds} ...", flush=True)
                row = {"python": version, "bounds": bounds}
                folder = Path(name) / f"{version}-{bounds}"
                try:
                    row |= measure(version, bounds, wheel, folder, options.only)
                except NotPossibleError as reason:
                    row["why_not"] = str(reason)
                rows.append(row)
                keep(row, options.out)
    print(text(rows))
    return int(any(row.get("failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
