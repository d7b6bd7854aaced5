"""The README's table and the drawing show the rows that were measured."""

import json
import re
from pathlib import Path

from benchmarks import climb, ladder

ROWS = json.loads(ladder.RESULTS.read_text(encoding="utf8"))["rows"]


def test_the_readme_shows_the_rows():
    assert ladder.table(ROWS) in ladder.README.read_text(encoding="utf8")


def test_the_drawing_shows_the_rows():
    assert ladder.DRAWING.read_text(encoding="utf8") == climb.draw(ROWS)


def test_a_better_rung_stands_lower():
    losses = [row["val_loss"] for row in ROWS]
    heights = [
        int(y) for y in re.findall(r'd="M\d+ (\d+)h', climb.draw(ROWS))
    ]  # down the page is up in y
    order = sorted(range(len(losses)), key=lambda i: -losses[i])
    assert [heights[i] for i in order] == sorted(heights)


def test_the_alternative_text_of_the_first_page_is_true():
    text = (Path(ladder.ROOT) / "book" / "index.md").read_text(encoding="utf8")
    by_name = {row["preset"]: row["val_loss"] for row in ROWS}
    for name, said in (("gpt2", "1.88"), ("rope", "1.80"), ("swiglu", "1.77")):
        assert said in text
        assert f"{by_name[name]:.2f}" == said
