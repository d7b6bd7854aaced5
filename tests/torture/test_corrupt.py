"""No damaged file passes for a whole one, and who says so can tell the two apart."""

import os
import time

import pytest

from minillm import files
from torture import corrupt, trials
from torture.corrupt import Harm, Reader


def test_every_file_of_a_run_a_corpus_and_an_export_is_harmed():
    """A file that is added later would be read without ever having been attacked."""
    never_read = {
        *("generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    }  # of an export: transformers reads them
    with corrupt.victims() as folder:
        for place in ("corpus", "pairs", "run", "export", "packaged"):
            there = {
                path.relative_to(folder / "whole" / place).as_posix()
                for path in (folder / "whole" / place).rglob("*")
                if path.is_file() and path.name != ".lock"
            }
            harmed = {
                path
                for reader in corrupt.READERS
                if reader.place == place
                for path in reader.paths
            }
            if place == "export":
                there -= never_read
            assert there <= harmed | {corrupt.BEST + n for n in corrupt.CHECKPOINT}


def test_no_reader_changes_what_it_reads():
    """A loss would be found where an earlier trial has left its harm."""
    with corrupt.victims() as folder:
        for number in range(len(corrupt.READERS)):
            first = corrupt._expected.__wrapped__(number, folder)
            assert corrupt._expected.__wrapped__(number, folder) == first


# Readers with bugs; they stand in a module that the child imports. --------------------


def careless(place):
    return (place / "train.bin").read_bytes()


def crashing(place):
    return (place / "train.bin").read_bytes()[10]


def dying(place):
    if len((place / "train.bin").read_bytes()) < 100:
        os.abort()


def hanging(place):
    with (place / "train.bin").open("rb") as file:
        return file.read(10)


def silent(place):
    content = (place / "train.bin").read_bytes()
    if content != files.read_json(place / "meta.json"):
        raise ValueError("some file is damaged")


def greedy(place):
    return len(bytes((place / "train.bin").stat().st_size))


BUGS = [
    (careless, Harm(0, "train.bin", "flip", 3, 1), "another result, without a word"),
    (crashing, Harm(0, "train.bin", "cut", 5), "a traceback of IndexError"),
    (dying, Harm(0, "train.bin", "cut", 5), "the process ended with -6"),
    (hanging, Harm(0, "train.bin", "a pipe"), "it hung"),
    (silent, Harm(0, "train.bin", "flip", 3, 1), "a line without a place"),
    (greedy, Harm(0, "train.bin", "vast"), "a traceback of MemoryError"),
]


class Buggy(corrupt.Harmed):
    """Replaces the readers in the child by one with a bug."""

    def __init__(self, folder, read):
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "read", read)

    def __call__(self, harm):
        corrupt.READERS = (Reader(self.read, "corpus", ("train.bin",)),)
        if self.read is silent:
            corrupt._expected = lambda number, folder: None
        return super().__call__(harm)


@pytest.mark.parametrize(
    ("read", "harm", "loss"), BUGS, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_reader_with_a_bug_is_found(read, harm, loss, monkeypatch):
    """A judge that lets a crash pass would find that we survive everything."""
    monkeypatch.setattr(trials, "IMPORTS_SECONDS", 8.0)
    with corrupt.victims() as folder:
        (found,) = trials.tried(Buggy(folder, read), [harm], seconds=1)
    assert loss in found


def doubling(number):
    if number == 2:
        time.sleep(60)
    if number == 3:
        os.abort()
    return "lost" if number == 4 else None


def test_after_a_child_is_lost_another_takes_its_place(monkeypatch):
    """One crash would hide all that come after it."""
    monkeypatch.setattr(trials, "IMPORTS_SECONDS", 20.0)
    found = list(trials.tried(doubling, range(6), seconds=0.5))
    assert [lost is None for lost in found] == [True, True, False, False, False, True]
