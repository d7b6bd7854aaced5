"""Two programs agree on the tokens only if every document is the same."""

import json

import numpy as np
import pytest

from benchmarks import preparation
from benchmarks.harness import Usage

END = 9


def tokens(*documents: list[int]) -> np.ndarray:
    return np.array([id_ for one in documents for id_ in [*one, END]], dtype="<u2")


def test_documents_held_out_are_found_in_their_place():
    """Only the number of tokens was compared, or documents in any order."""
    whole = tokens([1, 2], [3], [], [1, 2], [4, 5, 6])
    parts = tokens([1, 2], [], [4, 5, 6]), tokens([3], [1, 2])
    assert preparation.same_documents(whole, parts, END)
    assert preparation.same_documents(whole, [whole], END)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ([[1, 2]], []),  # one is missing
        ([[1, 2], [3], [3]], []),  # one is there twice
        ([[3], [1, 2]], []),  # another order
        ([[1, 2]], [[4]]),  # another token
        ([[1], [2]], [[3]]),  # another end
    ],
)
def test_documents_that_differ_are_noticed(train, val):
    """A peer that is slower or faster because it does something else."""
    whole = tokens([1, 2], [3])
    assert not preparation.same_documents(whole, [tokens(*train), tokens(*val)], END)


def test_a_last_document_without_an_end_is_noticed():
    """What follows the last end-of-text token was compared by nobody."""
    whole = tokens([1, 2], [3])
    assert not preparation.same_documents(whole[:-1], [whole], END)
    assert not preparation.same_documents(np.append(whole, 7), [whole], END)


def test_text_is_written_until_there_is_enough(tmp_path):
    """Empty documents, or characters counted for bytes."""
    path = tmp_path / "text.jsonl"
    found = iter(["", "é" * 10, 'a "quoted"\nline', "", "more", "too much"])
    about = preparation.write_documents(found, path, num_bytes=37)
    lines = path.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts == ["é" * 10, 'a "quoted"\nline', "more"]
    assert about == {"documents": 3, "bytes": 39}
    with pytest.raises(SystemExit, match="8 bytes of text, not 9"):
        preparation.write_documents(["too much"], path, num_bytes=9)


def test_a_folder_gives_its_own_texts_in_order(tmp_path):
    """Packages counted twice where they lie below the standard library."""
    for name in ("b.py", "a/z.md", "a.txt", "site-packages/c.py", "d.so", "bad.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff" if name == "bad.py" else name.encode())
    assert list(preparation.texts(tmp_path)) == ["a/z.md", "a.txt", "b.py"]


def test_merges_agree_up_to_the_first_that_differs():
    """Bytes counted as merges, or the same tokens in another order as the same."""
    ours = ["00"] * 256 + ["61", "62", "63", "64"]
    theirs = ["11"] * 256 + ["61", "63", "62", "65"]
    assert preparation.agreement(ours, ours) == (4, 4)
    assert preparation.agreement(ours, theirs) == (1, 3)


def test_a_row_says_how_many_times_ours():
    """A ratio upside down is a goal that holds by mistake."""
    taken = {"minillm": [Usage(1, 2, 50)], "other": [Usage(3, 8, 500)]}
    row = preparation.row("encode", "other", 1, taken, tokens=5)
    assert (row["cpu_times_ours"], row["peak_times_ours"]) == (4, 10)
    assert row["tokens"] == 5
