"""What chapter 10 quotes: times of a token without a cache, with one, and with room."""

import csv
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from book.experiments.kvcache import timing
from minillm.cache import KVCache
from minillm.config import ModelConfig
from minillm.model import Transformer


def small():
    config = ModelConfig(
        vocab_size=11,
        context_length=24,
        n_layers=3,
        n_heads=4,
        n_kv_heads=2,
        d_model=24,
    )
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() == 2 else 1)
    return model


def rows(name):
    text = (timing.HERE / name).read_text(encoding="utf8")
    return list(csv.DictReader(text.splitlines()))


@torch.no_grad()
def test_a_cache_that_grows_by_copying_holds_what_the_package_holds():
    """Otherwise the two are timed at different work."""
    model, like = small(), torch.zeros(1)
    tokens = torch.randint(11, (3, 20), generator=torch.Generator().manual_seed(0))
    growing = timing.growing_cache(model.config, 3, like)
    roomy = KVCache.empty(model.config, 3, 24, like)
    for part in tokens.split([7, 1, 12], dim=1):
        assert_close(model(part, growing), model(part, roomy))
    assert growing.length == roomy.length == 20
    for a, b in zip(growing.layers, roomy.layers, strict=True):
        assert torch.equal(a.keys, b.keys[:, :, :20])
        assert torch.equal(a.values, b.values[:, :, :20])


def test_all_ways_write_the_same_text():
    model, prompt = small(), torch.tensor([[3, 1, 4]])
    texts = [timing.greedy(model, prompt, 9, way) for way in timing.WAYS]
    assert all(torch.equal(text, texts[0]) for text in texts)
    assert texts[0].shape == (1, 12)


def test_a_step_may_be_taken_again_and_again():
    """A second pass that found its own token in the cache would time another length."""
    model, tokens = small(), torch.arange(10)[None]
    with torch.no_grad():
        expected = model(tokens)[0, -1]
    for run in timing.steps(model, tokens).values():
        for _ in range(3):
            assert_close(run(), expected)


def test_ways_that_disagree_are_not_timed(monkeypatch):
    model, tokens = small(), torch.arange(10)[None]
    runs = {"none": lambda: torch.tensor([0.0, 1]), "cat": lambda: torch.tensor([1, 0])}
    monkeypatch.setattr(timing, "steps", lambda *_: runs)
    with pytest.raises(ValueError, match="disagree"):
        timing.measure(model, tokens, (8,), 1)


def test_the_exponent_of_a_power_is_found():
    places = [64, 128, 512, 2048]
    assert timing.slope(places, [0.3 * p**1.7 for p in places]) == pytest.approx(1.7)


def test_the_tables_hold_every_way_and_length():
    table = rows("timing.csv")
    found = [(row["name"], int(row["context"])) for row in table]
    assert found == [(w, c) for w in timing.WAYS for c in timing.CONTEXTS]
    for row in table:
        read = row["context"] if row["name"] == "none" else "1"
        assert row["tokens"] == read
        assert float(row["low"]) <= float(row["ratio"]) <= float(row["high"])
        assert int(row["rounds"]) == timing.ROUNDS
    assert [row["name"] for row in rows("exponents.csv")] == list(timing.WAYS)


def test_the_claims_of_the_chapter_stand_in_the_tables():
    """Its sentences on the four hypotheses, in the order in which they are written."""
    ratio = {(r["name"], int(r["context"])): r for r in rows("timing.csv")}
    fits = {row["name"]: float(row["exponent"]) for row in rows("exponents.csv")}
    assert 1.0 < fits["none"] < 1.3
    assert 0 < fits["preallocated"] < 0.5
    assert float(ratio["cat", 1024]["low"]) < 1 < float(ratio["cat", 2048]["low"])
    assert float(ratio["none", 1024]["ratio"]) > 25
    none = [float(ratio["none", c]["ms"]) for c in timing.CONTEXTS]
    assert all(later > 1.5 * before for before, later in pairwise(none))
