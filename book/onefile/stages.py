"""The stages of the refactoring: how to run one, load its parts, and count it.

    from book.onefile import stages
    stages.run("llama.py", steps=20)

A stage is ``llama.py``, the one file, or one of the folders ``step1`` to ``step4``.
"""

import ast
import contextlib
import importlib
import io
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

HERE = Path(__file__).resolve().parent
STAGES = {
    "one file": "llama.py",
    "step 1": "step1/llama.py",
    "step 2": "step2/llama.py",
    "step 3": "step3/llama.py",
    "step 4": "step4/train.py",
}
"""What to run for each stage, from book/onefile."""

PARTS = ("config", "data", "model", "train", "generate", "llama")
GOLDEN_RUN = {"steps": 20, "warmup_steps": 5, "log_every": 1, "eval_every": 10}
GOLDEN_RUN |= {"eval_batches": 4, "max_new_tokens": 0}
"""The short run whose losses must not move; a new seed would give other ones."""


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Find ``config``, ``model`` and the rest in ``folder``, and forget them again."""
    hidden = {name: sys.modules.pop(name) for name in PARTS if name in sys.modules}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in PARTS:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def run(script: str | Path, **settings: object) -> list[str]:
    """What ``python script name=value ...`` prints, run here to save the start-up.

    The caller's random state is put back.
    """
    path, printed = HERE / script, io.StringIO()
    arguments = [f"{name}={value}" for name, value in settings.items()]
    before, sys.argv = sys.argv, [str(path), *arguments]
    try:
        with (
            importing_from(path.parent),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(printed),
        ):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = before
    return printed.getvalue().splitlines()


def losses(lines: list[str], name: str = "loss") -> dict[int, float]:
    """The losses among what a stage has printed, by step."""
    found = (re.fullmatch(rf"step (\d+): {name} (\S+)", line) for line in lines)
    return {int(match[1]): float(match[2]) for match in found if match}


def load(folder: str | Path) -> dict[str, ModuleType]:
    """The parts of a stage that can be imported without training anything."""
    folder = HERE / folder
    with importing_from(folder):
        names = [name for name in PARTS if (folder / f"{name}.py").exists()]
        return {
            name: importlib.import_module(name)
            for name in names
            if not acts(folder / f"{name}.py")
        }


# ------------------------------------------------------------------ counting

DECLARES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def acts(path: Path) -> bool:
    """Whether importing a file trains: it has a loop outside every definition."""
    tree = ast.parse(path.read_text("utf8"))
    return any(isinstance(node, ast.For) for node in tree.body)


def variables(tree: ast.Module) -> set[str]:
    """Names that a file assigns outside every definition."""
    found = set()
    for statement in tree.body:
        if not isinstance(statement, DECLARES):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
    return found


def reads(definition: ast.AST, names: set[str]) -> set[str]:
    """Which of ``names`` a definition takes from outside."""
    inner, own = ast.walk(definition), set()
    used = set()
    for node in inner:
        if isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else own).add(node.id)
    return (used - own) & names


def hidden_inputs(path: Path) -> dict[str, set[str]]:
    """For each definition of a file: the file's variables that it reads."""
    tree = ast.parse(path.read_text("utf8"))
    names = variables(tree)
    return {
        node.name: reads(node, names)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def code_lines(path: Path) -> int:
    """Lines of a file that are neither empty nor only a comment."""
    lines = (line.strip() for line in path.read_text("utf8").splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def anatomy(stage: str) -> dict[str, int]:
    """Files, lines, imports, hidden inputs, and definitions that a test can reach."""
    script = HERE / STAGES[stage]
    files = [script]
    if script.parent != HERE:
        files = sorted(script.parent.glob("*.py"))
    found = {path: hidden_inputs(path) for path in files}
    importable = [path for path in files if not acts(path)]
    trees = [ast.parse(path.read_text("utf8")) for path in files]
    imports = [
        node
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return {
        "files": len(files),
        "lines": sum(code_lines(path) for path in files),
        "longest": max(code_lines(path) for path in files),
        "imports": len(imports),
        "definitions": sum(len(own) for own in found.values()),
        "hidden inputs": sum(len(r) for own in found.values() for r in own.values()),
        "within reach": sum(len(found[path]) for path in importable),
    }


def source(path: str | Path, name: str) -> str:
    """The text of one definition of a file."""
    text = (HERE / path).read_text("utf8")
    for node in ast.walk(ast.parse(text)):
        if getattr(node, "name", None) == name:
            return ast.get_source_segment(text, node) or ""
    raise ValueError(f"{path} defines no {name}")


def arrows(folder: Path, package: str = "") -> set[tuple[str, str]]:
    """Which file of a folder imports which other: pairs of their names.

    Args:
        folder: of Python files, and of packages that count as one file.
        package: what stands before the names in an import; nothing in the stages.
    """
    names = {path.stem for path in folder.glob("*.py")}
    names |= {path.parent.name for path in folder.glob("*/__init__.py")}
    found = set()
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own.startswith("_"):  # __init__ and __main__ hand on what others do
            continue
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                targets = [f"{package}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                targets = [node.module or ""]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                continue
            for target in targets:
                inner = target.removeprefix(f"{package}." if package else "")
                first = inner.partition(".")[0]
                if (not package or inner != target) and first in names - {own}:
                    found.add((own, first))
    return found
