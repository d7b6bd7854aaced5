"""Every chapter keeps the rules that make it readable, comparable and accessible."""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from colab_cell import CELL
from count import count, has_figure, source

BOOK = Path(__file__).resolve().parents[2] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
NOTEBOOKS = [*CHAPTERS, *(BOOK / f"{p}.ipynb" for p in ("claims", "speed", "promises"))]

# Cells whose output nbval does not compare, by id, and why not. It may only grow here,
# in sight.
NOT_COMPARED: dict[str, str] = {
    "03-045": "ratios of times on the machine that runs it",
    "04-048": "the share of a step that RoPE takes, by the clock",
    "05-044": "times of the feed-forward layers on this machine",
    "06-033": "three ways to share heads, by the clock of this machine",
    "08-005": "whether this system keeps a limit on memory, and in which words",
    "08-032": "memory that a child process gains on this system",
    "08-048": "time of a batch, by the clock of this machine",
    "09-045": "a product in three number formats, by the clock of this machine",
    "10-051": "a token with and without a cache, by the clock of this machine",
    "11-048": "what a draw costs beside a plain one, by the clock of this machine",
}

# Progress bars and widgets load scripts from elsewhere when the page is shown.
FORBIDDEN_IMPORTS = {"ipywidgets", "tqdm.auto", "tqdm.notebook", "tqdm.autonotebook"}

MACHINE_PATH = re.compile(r"(?:/home|/root|/tmp|/work|/Users|/var|/usr)/\w|[A-Z]:\\\\")


def pytest_generate_tests(metafunc):
    if "path" in metafunc.fixturenames:
        chapters_only = "chapter" in metafunc.fixturenames
        paths = CHAPTERS if chapters_only else NOTEBOOKS
        metafunc.parametrize("path", paths, ids=lambda path: path.stem)


@pytest.fixture
def chapter(path):
    """Asked for by tests of what only a chapter has."""
    return path


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf8"))


@pytest.fixture
def cells(notebook):
    return notebook["cells"]


@pytest.fixture
def code(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


def tags(cell):
    return cell["metadata"].get("tags", [])


def outputs_as_text(cell):
    for output in cell["outputs"]:
        yield "".join(output.get("text", []))
        yield "\n".join(output.get("traceback", []))
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield "".join(value)


def test_every_cell_was_run_in_order(code):
    """Nbval compares nothing for a cell that was never run."""
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


def test_every_figure_has_alt_text_and_a_caption(cells):
    """A figure without alt text is a hole in the page for one who cannot see it."""
    for cell in filter(has_figure, cells):
        about = cell["metadata"].get("mystnb", {})
        alt = about.get("image", {}).get("alt", "")
        assert len(alt) >= 40, cell["id"]
        figure = about.get("figure", {})
        assert figure.get("caption"), cell["id"]
        assert figure.get("name", "").startswith("fig-"), cell["id"]
        assert alt != figure["caption"], cell["id"]


def test_figures_are_bitmaps(cells):
    """Nbval compares SVG, in which matplotlib writes new ids each time."""
    for cell in filter(has_figure, cells):
        for output in cell["outputs"]:
            assert "image/svg+xml" not in output.get("data", {}), cell["id"]


def test_no_two_prose_cells_stand_side_by_side(cells):
    """Two in a row are one thought that was cut, or a cell of code that is missing."""
    kinds = [cell["cell_type"] for cell in cells]
    assert ("markdown", "markdown") not in pairwise(kinds)


def test_a_chapter_is_of_a_size_that_can_be_read_in_one_sitting(chapter, notebook):
    """Cells, words and lines within the template's limits; see book/tools/count.py."""
    assert list(count(notebook).problems(chapter.stem)) == []


def test_ids_are_unique_and_say_the_notebook(path, cells):
    """A cell is known by its id in a review and in the table above."""
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(name.startswith(f"{path.stem[:2]}-") for name in ids)


def test_outputs_name_no_path_of_the_machine_that_made_them(code):
    """Such a path differs on the next machine, and tells a reader nothing."""
    for cell in code:
        for text in outputs_as_text(cell):
            assert not MACHINE_PATH.search(text), (cell["id"], text[:200])


def test_nothing_was_written_to_stderr(code):
    """A warning in a published page is a question that nobody answers."""
    for cell in code:
        streams = {output.get("name") for output in cell["outputs"]}
        assert "stderr" not in streams, cell["id"]


def test_no_cell_loads_a_widget(code):
    """Widgets need two scripts from elsewhere, and do not work on a page at all."""
    for cell in code:
        for node in ast.walk(ast.parse(source(cell))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not FORBIDDEN_IMPORTS & set(names), cell["id"]


def test_a_cell_that_is_not_compared_is_listed_with_its_reason(path, code):
    """Ignored outputs spread: each one is a claim that no test holds any more."""
    ignored = {c["id"] for c in code if "nbval-ignore-output" in tags(c)}
    listed = {name for name in NOT_COMPARED if name[:2] == path.stem[:2]}
    assert ignored == listed
    assert not any("nbval-skip" in tags(cell) for cell in code)


def test_the_first_cell_is_the_shared_one(cells):
    """Twelve copies that drift are twelve ways for Colab to fail."""
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert source(first) == CELL
    assert tags(first) == ["remove-cell"]


def test_a_chapter_has_its_beats(chapter, cells):
    """Guess, do it yourself, recall, sources: none may be forgotten."""
    prose = "\n".join(source(c) for c in cells if c["cell_type"] == "markdown")
    headings = re.findall(r"(?m)^## (.+)$", prose)
    for beat in ("Predict first", "Recap", "Recall", "Exercises", "References"):
        assert beat in headings
    assert any("your-turn" in tags(cell) for cell in cells)
    assert 6 <= len(re.findall(r"<details>\s*<summary>\d+\.", prose)) <= 10


def test_a_chapter_leads_to_its_verdict_in_the_ledger(chapter, cells):
    """And the other way: the ledger leads to each chapter by its label."""
    prose = "\n".join(source(c) for c in cells if c["cell_type"] == "markdown")
    ledger = (BOOK / "claims.ipynb").read_text(encoding="utf8")
    [row] = re.findall(r"\{ref\}`the ledger of claims <(claims|claim-\d)>`", prose)
    assert f"({row})=" in ledger
    label = re.match(r"\((ch-[\w-]+)\)=", source(cells[0]))[1]
    assert row == "claims" or f"{{ref}}`{label}`" in ledger


def test_the_card_states_the_measured_cost(chapter, cells):
    """A cost on the card that nobody measured is a promise that nobody keeps."""
    costs = json.loads((BOOK / "costs.json").read_text(encoding="utf8"))["chapters"]
    card = next(
        line for line in source(cells[0]).splitlines() if line.startswith("| **Cost**")
    )
    gigabytes = float(re.search(r"([\d.]+) GB", card)[1])
    assert gigabytes == pytest.approx(costs[chapter.stem]["peak_mb"] / 1000, abs=0.15)
    assert costs[chapter.stem]["seconds"] <= 120


def test_the_book_has_exactly_the_chapters_that_exist(root):
    """A notebook outside the table of contents is written, tested and never read."""
    listed = re.findall(r"file: book/(\d.*)", (root / "_toc.yml").read_text())
    assert listed == [path.stem for path in CHAPTERS]
