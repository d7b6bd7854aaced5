"""Odd input ends in a result or a plain line, and what once did harm is fed again."""

import importlib
import os
from random import Random

import pytest
from hypothesis import strategies as st

from torture import fuzz
from torture.fuzz import Fed


@pytest.mark.parametrize(
    "path", fuzz.findings(), ids=lambda path: f"{path.parent.name}-{path.name[:12]}"
)
def test_what_once_did_harm_does_none(path, tmp_path):
    assert fuzz.fed(path.parent.name, path.read_bytes(), tmp_path) is None


def test_a_finding_stands_under_a_target():
    """A folder of another name would never be fed to anything."""
    assert {path.parent.name for path in fuzz.findings()} <= fuzz.TARGETS.keys()


@pytest.mark.parametrize("name", sorted(fuzz.TARGETS))
def test_valid_input_is_taken(name, tmp_path):
    """A target that refuses everything would survive everything."""
    for example in fuzz.TARGETS[name].examples:
        if name != "foreign-config":
            fuzz.TARGETS[name].feed(example, tmp_path)
        assert fuzz.fed(name, example, tmp_path) is None


@pytest.mark.parametrize("name", ["tokenizer", "config", "lines", "rows", "sampler"])
def test_much_of_what_is_drawn_is_taken_and_much_is_not(name, tmp_path):
    """Drawn too wildly, nothing comes past the first check."""
    target, taken = fuzz.TARGETS[name], 0
    for _, content in zip(
        range(60), fuzz.drawn(target.strategy, Random(0)), strict=False
    ):
        try:
            target.feed(content, tmp_path)
            taken += 1
        except ValueError:
            pass
    assert 3 < taken < 60


def test_a_seed_repeats_what_is_drawn_and_changed():
    def made(number):
        random = Random(number)
        some = fuzz.drawn(st.binary(), random)
        changed = [fuzz.mutated([b"abc", b"defgh"], random) for _ in range(9)]
        return [next(some) for _ in range(9)], changed

    assert made(1) == made(1) != made(2)


# Bugs that are planted where the child will meet them. --------------------------------


def forgetful(self):
    return ""


def crash(value):
    raise KeyError("a bug")


def no_merges(words, most):
    return []


def die(value):
    os.abort()


class Buggy(fuzz._InFolder):
    """Replaces a part of the package in the child."""

    def __init__(self, folder, where, what):
        super().__init__(folder)
        object.__setattr__(self, "plant", (where, what))

    def __call__(self, item):
        (module, *inner, last), what = self.plant
        where = importlib.import_module(module)
        for name in inner:
            where = getattr(where, name)
        setattr(where, last, what)
        return super().__call__(item)


@pytest.mark.parametrize(
    ("where", "what", "item", "loss"),
    [
        (
            ("minillm.tokenizer", "IncrementalDecoder", "flush"),
            forgetful,
            Fed("text", b"\xff\xc3"),
            "pieces are not the whole",
        ),
        (
            ("minillm.tokenizer", "from_dict"),
            crash,
            Fed("tokenizer", b'{"kind": "bytes"}'),
            "a traceback of KeyError",
        ),
        (
            ("minillm.tokenizer", "learn_merges"),
            no_merges,
            Fed("merges", b"aa aa"),
            "other pairs",
        ),
        (
            ("minillm.tokenizer", "from_dict"),
            die,
            Fed("tokenizer", b'{"kind": "bytes"}'),
            "the process ended with -6",
        ),
    ],
    ids=["decoder", "crash", "merges", "death"],
)
def test_a_bug_that_is_planted_is_found(where, what, item, loss, tmp_path):
    """A judge that lets a crash pass would find that we survive everything."""
    (found,) = fuzz.tried(Buggy(tmp_path, where, what), [item])
    assert loss in found
