"""The counter counts what a reader reads."""

from dataclasses import replace

import pytest
from count import Count, count, words


def prose(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text, tags=()):
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)},
        "source": text,
        "outputs": [],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three", 3),
        ("# A heading", 2),
        ("(ch-here)=\n# Here", 1),
        ("the sum $a + b + c$ is", 4),
        ("so\n\n$$\na = b + c\n$$\n\nholds", 3),
        ("call `f(x, y)` and {numref}`fig-one` twice", 5),
        ("read [this page](https://example.org/a-b-c) now", 4),
        ("before\n\n```python\nx = 1 + 2\n```\n\nafter", 2),
        ("```{note}\n:class: tip\nthree words here\n```", 3),
        ("````{note}\none\n```\nnot counted\n```\ntwo\n````", 2),
        ("| a | b |\n|---|---|\n| c | d |", 4),
        ("- one -- two", 2),
    ],
)
def test_words_are_counted_as_they_are_read(text, expected):
    """Counting markup, or code, would let a chapter of neither pass for prose."""
    assert words(text) == expected


def test_references_are_not_counted_but_what_follows_them_is():
    text = "one two\n\n## References\n\n- A. Author. *Title.* 2020."
    assert count({"cells": [prose(text)]}).open_words == 2
    assert count({"cells": [prose(f"{text}\n\n## After")]}).open_words == 3


def test_folded_text_is_counted_apart_even_across_cells():
    """A solution may run over cells of code; all its prose is folded."""
    notebook = {
        "cells": [
            prose("two words"),
            code("x = 1"),
            prose("```{solution-start} ex-a\n:class: dropdown\n```\n\none"),
            code("y = 2"),
            prose("two three\n\n```{solution-end}\n```\n\nopen again"),
            code("z = 3"),
            prose("<details>\n<summary>Why?</summary>\n\nBecause.\n\n</details>"),
        ]
    }
    found = count(notebook)
    assert (found.open_words, found.folded_words) == (4, 5)


def test_the_shared_first_cell_is_not_held_against_a_chapter():
    """It is long because all share it, and no reader of the page sees it."""
    long = "\n".join(["x = 1"] * 40)
    found = count({"cells": [code(long, ["remove-cell"]), code("assert x\n\ny = 2")]})
    assert (found.longest_lines, found.asserts, found.code_cells) == (2, 1, 2)


def test_each_limit_is_checked_at_both_ends():
    """A limit that is never reported is no limit."""
    good = Count(56, 30, 2000, 500, 8, 30, 75, 7, 20)
    assert list(good.problems()) == []
    bad = replace(good, cells=61, open_words=1799, longest_columns=76, figures=8)
    assert [line.split()[0] for line in bad.problems()] == [
        "cells",
        "open_words",
        "longest_columns",
    ]
    few = replace(good, figures=6)
    assert [line.split()[0] for line in few.problems()] == ["figures"]


def test_an_exception_holds_for_its_own_chapter_only():
    """A limit that is raised for one chapter, and so for all, is raised unseen."""
    long = Count(50, 30, 3100, 500, 8, 30, 75, 7, 20)
    assert list(long.problems("01-bigram")) == []
    assert [line.split()[0] for line in long.problems("03-rmsnorm")] == ["open_words"]
