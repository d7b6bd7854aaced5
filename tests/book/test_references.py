"""Every paper that the course names is in its list of references."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAPER = re.compile(r"(?:arXiv:|arxiv\.org/abs/)(\d{4}\.\d{4,5})", re.IGNORECASE)
LISTED = (BOOK / "references.bib").read_text(encoding="utf8")

CODE = [
    path
    for folder in ("minillm", "benchmarks", "book/experiments", "book/onefile")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if PAPER.search(path.read_text(encoding="utf8"))
]


def prose(path):
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf8")
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize(
    "path",
    [*CODE, *sorted(BOOK.glob("*.ipynb")), *sorted(BOOK.glob("*.md"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_a_paper_that_is_named_is_listed(path):
    missing = {key for key in PAPER.findall(prose(path)) if key not in LISTED}
    assert not missing


def test_entries_are_in_the_order_of_the_alphabet_and_unique():
    keys = re.findall(r"(?m)^@\w+\{(\w+),", LISTED)
    assert len(keys) > 30
    assert keys == sorted(set(keys))
