"""What chapter 8 quotes: memory under a limit, pairs looked at, holes, and times."""

import csv
import mmap
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from book.experiments.memmap import counting, memory
from minillm import tokenizer


@pytest.fixture(scope="module")
def rows():
    with memory.OUT.open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


def test_made_memory_is_anonymous_and_a_map_is_a_files(tmp_path):
    """An instrument that took one for the other would prove the opposite."""
    before = memory.held()
    if before is None:
        pytest.skip("this system has no /proc/self/status")
    path = tmp_path / "tokens.bin"
    memory.repeat(np.ones(1000, dtype=np.uint16), path, 30)
    # Asked of the system itself: malloc may hand out memory that is held already.
    own = mmap.mmap(-1, 30_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = np.frombuffer(own, dtype=np.uint8)
    block[:] = 1
    made = memory.held()
    mapped = np.memmap(path, dtype="<u2", mode="r")
    assert mapped.max() == block.max() == 1
    read = memory.held()
    assert 25 < made["anon"] - before["anon"] < 40
    assert read["anon"] - made["anon"] < 5
    assert 25 < read["file"] - made["file"] < 40


@pytest.mark.slow
def test_a_child_with_little_memory_reads_and_trains_but_cannot_load(tmp_path):
    path = tmp_path / "tokens.bin"
    memory.repeat(np.arange(1000, dtype=np.uint16), path, 300)
    answer = memory.in_a_child([path], 100, "load", "train", "touch")
    outcomes = [one["outcome"] for one in answer["results"]]
    if answer["limit"] is not None:
        assert outcomes[0] == "MemoryError"
    assert outcomes[1].startswith("loss")
    assert outcomes[2] == "largest 999"


def test_pairs_are_counted_as_three_programs_look_at_them():
    """Merges replayed wrongly, or a word's number forgotten."""
    words = Counter({b"the": 5, b"then": 2, b"hen": 3})
    merges = tokenizer.learn_merges(words, 3)
    looked = counting.pairs_looked_at(words, merges)
    spelled = {word: list(word) for word in words}
    every, different, mended = 0, 0, sum(len(word) - 1 for word in words)
    for number, pair in enumerate(merges):
        every += sum(n * (len(spelled[word]) - 1) for word, n in words.items())
        different += sum(len(ids) - 1 for ids in spelled.values())
        found = [totals[number] for totals in looked.values()]
        assert found == [every, different, mended]
        for word, ids in spelled.items():
            if pair in pairwise(ids):
                mended += len(ids) - 1
                at = list(pairwise(ids)).index(pair)
                spelled[word] = [*ids[:at], 256 + number, *ids[at + 2 :]]
                mended += len(spelled[word]) - 1


def test_holes_are_as_many_as_the_formula_says():
    """1/e for a thousandth of it would be a slip in the formula, not in the draw."""
    random = memory.missed_at_random(16_719, 3, seed=0)
    assert np.allclose(random, np.exp([-1, -2, -3]), atol=0.01)
    assert memory.missed_when_shuffled(1_001, 3, seed=0) == [0, 0, 0]


def test_the_kept_rows_are_of_a_file_ten_times_the_limit(rows):
    limited = [row for row in rows if row["what"] == "limit"]
    assert [row["name"] for row in limited] == ["load", "train", "touch"]
    assert [row["outcome"] == "MemoryError" for row in limited] == [True, False, False]
    for row in limited:
        assert float(row["size_mb"]) > 10 * float(row["limit_mb"])


def test_what_the_chapter_says_of_the_kept_rows_is_true(rows):
    """Hypotheses 2 to 5 of question.md, as the rows answer them."""
    for row in rows:
        if (row["what"], row["name"]) == ("growth", "touch"):
            assert float(row["anon_mb"]) < 5
            assert float(row["file_mb"]) == pytest.approx(float(row["size_mb"]), abs=1)
        if (row["what"], row["epochs"]) == ("coverage", "1"):
            missed = 0.368 if row["name"] == "with replacement" else 0
            assert float(row["share"]) == pytest.approx(missed, abs=0.01)
    times = {
        row["name"]: float(row["ratio"]) for row in rows if row["what"] == "latency"
    }
    assert times["memmap, kept"] < 1.5
    assert times["memmap, anew for each batch"] > 2
    step = next(row for row in rows if row["name"] == "step")
    assert float(step["ratio"]) > 50
