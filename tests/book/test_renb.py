"""Running a notebook again gives the same bytes, but for what a clock decides."""

import nbformat
import pytest
import renb
from measure import measure
from nbclient.exceptions import CellExecutionError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CELLS = [
    ("import os\nprint(os.environ['OMP_NUM_THREADS'])", []),
    ("import sys\nprint('a', flush=True)\nsys.stdout.flush()\nprint('b')\n1 + 1", []),
    ("import time\ntime.perf_counter()", ["nbval-ignore-output"]),
    ("print(time.perf_counter())", ["timed"]),
]


@pytest.fixture
def path(tmp_path):
    notebook = nbformat.v4.new_notebook(metadata={"who": "somebody"})
    notebook.cells = [nbformat.v4.new_markdown_cell("Hello.")]
    for source, tags in CELLS:
        cell = nbformat.v4.new_code_cell(source)
        cell.metadata = {"tags": tags, "collapsed": False} if tags else {}
        notebook.cells.append(cell)
    path = tmp_path / "07-tiny.ipynb"
    nbformat.write(notebook, path)
    return path


def test_the_second_run_changes_no_byte(path, capsys):
    """Else every commit of a notebook is a page of noise."""
    assert renb.main(["--check", str(path)]) == 1  # it holds no outputs yet
    assert renb.main([str(path)]) == 0
    first = path.read_bytes()
    stored = nbformat.reads(first.decode(), as_version=4)
    assert stored.metadata == renb.METADATA
    assert [cell.id for cell in stored.cells] == [f"07-{n:03d}" for n in range(5)]
    assert stored.cells[1].outputs[0].text == "1\n"
    assert [out.output_type for out in stored.cells[2].outputs] == [
        "stream",
        "execute_result",
    ]
    assert stored.cells[2].outputs[0].text == "a\nb\n"
    assert stored.cells[3].metadata == {"tags": ["nbval-ignore-output"]}
    assert renb.main([str(path)]) == 0
    assert path.read_bytes() == first
    assert renb.main(["--check", str(path)]) == 0
    assert "same" in capsys.readouterr().out


def test_a_change_is_found_and_check_writes_nothing(path):
    """Check is for CI: it must not repair what it reports."""
    renb.main([str(path)])
    stale = path.read_text().replace('"a\\n",\n      "b\\n"', '"stale\\n"')
    assert "stale" in stale or "b" in stale
    stale = stale.replace('"1\\n"', '"2\\n"')
    path.write_text(stale)
    assert renb.main(["--check", str(path)]) == 1
    assert path.read_text() == stale
    assert renb.main([str(path)]) == 0
    assert '"2\\n"' not in path.read_text()


def test_a_notebook_that_fails_is_not_stored(path):
    """Half a run must not replace a whole one."""
    broken = path.read_text().replace("1 + 1", "1 / 0")
    path.write_text(broken)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        renb.main([str(path)])
    assert path.read_text() == broken


def test_a_chapter_is_measured_in_its_own_kernel(path):
    """The measuring process's own memory would be counted otherwise."""
    cost = measure(path)
    assert 0 <= cost["seconds"] < 60
    assert 20 < cost["peak_mb"] < 2_000
    assert "getrusage" not in path.read_text()
