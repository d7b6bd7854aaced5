"""The glossary is true to the chapters; links land where a word is first used."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import glossary_links
import pytest
from docutils import nodes
from docutils.utils import new_document

BOOK = Path(__file__).resolve().parents[2] / "book"
ENTRIES = re.findall(
    r"(?m)^(\w[^\n:`{]*)\n  (.+)$", (BOOK / "glossary.md").read_text(encoding="utf8")
)


def text_of(number):
    [path] = BOOK.glob(f"{int(number):02}-*.ipynb")
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    prose = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"\s+", " ", " ".join(prose))


def linked(*parts):
    """The words that become links in a page of these parts, and the page."""
    page = new_document("page")
    page.extend(parts)
    names = {
        "token": "term-token",
        "held-out text": "term-held",
        "memory map": "term-m",
    }
    objects = {
        ("term", name): (glossary_links.GLOSSARY, label)
        for name, label in names.items()
    }
    app = SimpleNamespace(
        env=SimpleNamespace(domaindata={"std": {"objects": objects}}),
        builder=SimpleNamespace(get_relative_uri=lambda page, to: "glossary.html"),
    )
    glossary_links.link_terms(app, page, "book/01-bigram")
    links = [n.astext() for n in page.findall(nodes.reference) if n.get("internal")]
    return links, page


def paragraph(text):
    return nodes.paragraph("", text)


def test_the_first_use_of_each_word_is_a_link():
    links, page = linked(
        paragraph("A tokenizer is no word here, two tokens are one."),
        paragraph("Another token, and held-out text: Memory maps."),
    )
    assert links == ["tokens", "held-out text", "Memory maps"]
    assert page.astext().startswith("A tokenizer is no word here, two tokens are one.")
    [first, *_] = page.findall(nodes.reference)
    assert first["refuri"] == "glossary.html#term-token"


@pytest.mark.parametrize(
    "part",
    [
        nodes.title("", "token"),
        nodes.literal_block("", "token"),
        nodes.paragraph("", "", nodes.literal("", "token")),
        nodes.paragraph("", "", nodes.reference("", "token", refuri="x")),
        nodes.caption("", "token"),
        nodes.container("", paragraph("token"), classes=["cell_output"]),
        nodes.section("", nodes.title("", "References"), paragraph("On a token")),
    ],
    ids=["heading", "block", "code", "link", "caption", "output", "references"],
)
def test_no_link_outside_running_text(part):
    assert linked(part)[0] == []


def test_only_chapters_are_linked():
    """The glossary itself, and pages of reference, stay as they are."""
    page = new_document("page")
    page += paragraph("token")
    glossary_links.link_terms(None, page, "book/notation")
    assert not list(page.findall(nodes.reference))


def test_entries_stand_in_the_order_of_the_alphabet():
    names = [name.lower() for name, _ in ENTRIES]
    assert len(names) > 50
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "meaning"), ENTRIES, ids=[name.replace(" ", "-") for name, _ in ENTRIES]
)
def test_a_word_occurs_in_the_chapter_that_is_named(name, meaning):
    """An entry for a word that its chapter never says explains nothing."""
    if found := re.search(r"Chapters? \{doc\}`(\d+)", meaning):
        assert glossary_links.pattern([name]).search(text_of(found[1])), found[1]
