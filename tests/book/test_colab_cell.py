"""A notebook that is alone finds the course, or says in one sentence what it needs."""

import json
import os
import shutil
import subprocess
import sys

import colab_cell
import pytest
from colab_cell import CELL

pytestmark = pytest.mark.xdist_group("colab")


def run(folder, **environment):
    """Run the cell in ``folder`` as a notebook would, and print where it found us."""
    program = CELL + "\nimport minillm\nprint(minillm.__file__)\n"
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "MINILLM_REPO")
    }
    return subprocess.run(
        # -P: Python must not find the package because of where it was started
        [sys.executable, "-P", "-c", program],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def repository(root, tmp_path_factory):
    """A git repository with the package as it stands, and a text already prepared."""
    if not (root / ".git").exists():
        pytest.skip("this copy of the course is not a git repository")
    made = tmp_path_factory.mktemp("origin")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "minillm", made / "minillm", ignore=ignore)
    (made / "book").mkdir()
    (made / "book" / "here").touch()
    prepared = made / "data" / "shakespeare"
    prepare = (
        "import sys; from minillm import data;"
        "data.prepare_text('Hear me speak. ' * 200, sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", prepare, str(prepared)], cwd=root, check=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=made, check=True)
    return made


def test_a_lone_notebook_clones_the_course_and_imports_it(repository, tmp_path):
    """On Colab the working folder holds nothing of the course."""
    for _ in range(2):  # a reader runs the first cell again
        done = run(tmp_path, MINILLM_REPO=repository.as_uri())
        assert done.returncode == 0, done.stderr
        here = tmp_path / "minillm-course" / "minillm" / "__init__.py"
        assert done.stdout == f"{here}\n"
        assert done.stderr == ""


def test_beside_the_package_nothing_is_fetched(repository):
    """In a clone, the clone's own package is the one that counts."""
    done = run(repository / "book", MINILLM_REPO="file:///nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{repository / 'minillm' / '__init__.py'}\n"


def test_without_an_address_one_sentence_says_what_is_missing(tmp_path):
    """A traceback out of git would tell a beginner nothing."""
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "MINILLM_REPO" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_cell_asks_for_its_address_as_the_build_expects():
    """The build replaces this text; if it drifted, published copies know nothing."""
    from course_site import UNKNOWN_ADDRESS

    assert json.dumps(CELL).count(UNKNOWN_ADDRESS) == 1


def test_the_cell_keeps_the_rules_of_cells():
    """It stands in every chapter, so it would break every chapter's test."""
    lines = CELL.splitlines()
    assert max(map(len, lines)) <= 75
    assert len([line for line in lines if line]) <= 30
    assert not CELL.endswith("\n")


def test_put_replaces_only_a_cell_that_is_meant_for_it():
    """A chapter whose first cell is its own must not lose it."""
    cell = {"cell_type": "code", "metadata": {"tags": ["remove-cell"]}, "source": "x"}
    notebook = {"cells": [{"cell_type": "markdown", "source": "y"}, cell]}
    assert colab_cell.put(notebook)
    assert "".join(cell["source"]) == CELL
    assert not colab_cell.put(notebook)
    cell["metadata"] = {}
    with pytest.raises(ValueError, match="remove-cell"):
        colab_cell.put(notebook)
