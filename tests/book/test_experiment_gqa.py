"""What chapter 6 quotes besides the ablation: times, bytes made, and a conversion."""

import csv

import pytest
import torch
from torch.testing import assert_close

from book.experiments.gqa import conversion, timing
from minillm.config import ModelConfig
from minillm.model import Transformer


@pytest.mark.parametrize("name", timing.WAYS)
def test_every_way_to_share_gives_the_same_result(name):
    """A faster way that computes something else is no way."""
    source = torch.Generator().manual_seed(0)
    q = torch.randn(2, 12, 1, 5, generator=source)
    k, v = torch.randn(2, 2, 4, 7, 5, generator=source)
    slow = torch.stack(
        [
            (q[:, h] @ k[:, h // 3].mT / 5**0.5).softmax(-1) @ v[:, h // 3]
            for h in range(12)
        ],
        dim=1,
    )
    assert_close(timing.WAYS[name](q, k, v), slow)


def test_only_new_memory_is_counted_and_views_are_not():
    """A fold that copied, or a count that took views for copies, would mislead."""
    q, k = torch.ones(1, 6, 1, 4), torch.ones(1, 2, 8, 4)
    view = timing.bytes_made(lambda q, k, v: q.view(6, 4).T, q, k, k)
    copy = timing.bytes_made(lambda q, k, v: k.repeat(1, 3, 1, 1).mT, q, k, k)
    assert (view, copy) == (0, 4 * 6 * 8 * 4)
    assert timing.bytes_made(timing.repeat, q, k, k) > 2 * copy
    assert timing.bytes_made(timing.fold, q, k, k) < copy


def test_ratios_are_to_the_first_name_of_the_same_round():
    found = timing.ratios({"a": [1.0, 2.0], "b": [3.0, 2.0]})
    assert found == {"a": [1.0, 1.0], "b": [3.0, 1.0]}


def test_heads_are_pooled_by_neighbours():
    """Six heads of one row: three and three, not every second one."""
    weight = torch.arange(6.0)[:, None]
    assert conversion.mean(weight, 6, 2).flatten().tolist() == [1, 4]
    assert conversion.first(weight, 6, 2).flatten().tolist() == [0, 3]
    assert conversion.random(weight, 6, 2).shape == (2, 1)
    assert torch.equal(conversion.mean(weight, 6, 6), weight)


def test_only_keys_and_values_are_converted():
    config = ModelConfig(vocab_size=9, context_length=8, n_layers=1, d_model=24)
    model = Transformer(config)
    converted = conversion.convert(model, 2, conversion.mean)
    assert converted.config.n_kv_heads == 2
    before = model.state_dict()
    changed = {
        name.rpartition("attention.")[2]
        for name, weight in converted.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert changed == {"key.weight", "value.weight"}


def test_the_tables_are_complete():
    """Five seeds, four ways, four steps; and every name at every length."""
    rows = list(csv.DictReader(conversion.OUT.read_text().splitlines()))
    found = sorted((int(r["seed"]), r["way"], int(r["step"])) for r in rows)
    assert found == sorted(
        (seed, way, step)
        for seed in conversion.SEEDS
        for way in conversion.WAYS
        for step in (0, 20, 40, 60)
    )
    rows = list(csv.DictReader(timing.OUT.read_text().splitlines()))
    assert list(rows[0]) == timing.FIELDS
    kinds = {"attention": [*timing.WAYS, "no sharing"], "token": timing.KINDS}
    found = [(r["what"], int(r["positions"]), r["name"]) for r in rows]
    assert found == [
        (what, positions, name)
        for what, names in kinds.items()
        for positions in timing.POSITIONS
        for name in names
    ]
