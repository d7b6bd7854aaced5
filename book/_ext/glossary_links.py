"""Sphinx extension: a glossary's words are links where a page first uses them.

The notebooks themselves stay plain text, which also reads well in Jupyter. A word is
linked once a page, in running text only: not in headings, code, captions, links or
references. A plural counts. Where two entries begin at the same word, the longer wins.
"""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes

GLOSSARY = "book/glossary"
PAGES = "book/[0-9]*"

# text inside these says something else already, or is not prose
NOT_PROSE = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.caption,
    nodes.math,
    nodes.math_block,
    nodes.term,
    nodes.raw,
)


def pattern(words: list[str]) -> re.Pattern[str]:
    """A search for any of the words, long ones first, alone or in the plural."""
    longest_first = sorted(words, key=len, reverse=True)
    choice = "|".join(re.escape(word) for word in longest_first)
    return re.compile(rf"(?<![\w-])(?P<word>{choice})(?:e?s)?(?![\w-])", re.IGNORECASE)


def prose(doctree: nodes.document) -> Iterator[nodes.Text]:
    """The pieces of running text, in reading order."""
    for text in list(doctree.findall(nodes.Text)):
        above: Any = text.parent
        inside_paragraph = False
        while above is not None:
            if isinstance(above, NOT_PROSE) or _is_apart(above):
                break
            inside_paragraph |= isinstance(above, nodes.paragraph)
            above = above.parent
        else:
            if inside_paragraph:
                yield text


def _is_apart(node: nodes.Element) -> bool:
    """Whether a node shows what code printed, or lists titles of papers."""
    heading = node.next_node(nodes.title) if isinstance(node, nodes.section) else None
    return "cell_output" in node.get("classes", []) or (
        heading is not None and heading.astext() == "References"
    )


def link_terms(app: Any, doctree: nodes.document, page: str) -> None:
    """Turn the first use of each word on a chapter's page into a link."""
    if not re.fullmatch(r"book/\d.*", page):
        return
    targets = {
        name.lower(): label
        for (kind, name), (where, label) in app.env.domaindata["std"]["objects"].items()
        if kind == "term" and where == GLOSSARY
    }
    left = dict(targets)
    for text in prose(doctree):
        if not left:
            return
        pieces: list[nodes.Node] = []
        rest = text.astext()
        while left and (found := pattern(list(left)).search(rest)):
            label = left.pop(found["word"].lower())
            address = app.builder.get_relative_uri(page, GLOSSARY)
            link = nodes.reference(
                "", found[0], refuri=f"{address}#{label}", internal=True
            )
            link["classes"] = ["term-link"]
            if found.start():
                pieces.append(nodes.Text(rest[: found.start()]))
            pieces.append(link)
            rest = rest[found.end() :]
        if pieces:
            pieces.append(nodes.Text(rest))
            text.parent.replace(text, pieces)


def setup(app: Any) -> dict[str, Any]:
    """Connect the above to Sphinx, after all other links are made."""
    app.connect("doctree-resolved", link_terms, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
