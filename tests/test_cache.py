"""Reading through a cache changes nothing but the speed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import B, E, H, K, L, T, random_model, random_tokens, small_config
from torch import Tensor

from minillm.cache import KVCache, LayerCache
from minillm.model import Transformer

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def read_in_chunks(
    model: Transformer,
    tokens: Tensor,
    chunks: list[int],
    padding: Tensor | None = None,
) -> Tensor:
    cache = KVCache.empty(
        model.config, len(tokens), tokens.shape[1], model.embedding.weight, padding
    )
    with torch.inference_mode():
        pieces = [model(piece, cache) for piece in tokens.split(chunks, dim=1)]
    assert cache.length == tokens.shape[1]
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize(
    "chunks",
    [[T], [1] * T, [5, 1, 1, 30, 2, 28]],
    ids=["at once", "one by one", "in pieces"],
)
def test_any_way_of_reading_gives_the_same_scores(rung: str, chunks: list[int]) -> None:
    """A position that starts again at 0, a square mask, SDPA's top-left alignment."""
    model = random_model(small_config(rung, n_layers=2)).double()
    tokens = random_tokens(model.config)
    whole = model(tokens)
    torch.testing.assert_close(read_in_chunks(model, tokens, chunks), whole, **EXACT)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_sharing_heads_is_cached_right(n_kv_heads: int) -> None:
    model = random_model(small_config("llama", n_kv_heads=n_kv_heads)).double()
    tokens = random_tokens(model.config)
    read = read_in_chunks(model, tokens, [7, 1, T - 8])
    torch.testing.assert_close(read, model(tokens), **EXACT)


TINY = {
    rung: random_model(small_config(rung, n_layers=2, context_length=12)).double()
    for rung in ("gpt2", "llama")
}


@given(
    st.sampled_from(["gpt2", "llama"]),
    st.lists(st.integers(1, 5), min_size=1, max_size=6).filter(lambda c: sum(c) <= 12),
    st.lists(st.integers(0, 11), min_size=3, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_any_split_and_any_padding_give_the_same_scores(
    rung: str, chunks: list[int], pads: list[int]
) -> None:
    """Each row, read in any pieces behind any pads, equals its solo run."""
    model, length = TINY[rung], sum(chunks)
    padding = torch.tensor([min(pad, length - 1) for pad in pads])
    tokens = random_tokens(model.config, 3, length)
    read = read_in_chunks(model, tokens, chunks, padding)
    for row, pad in enumerate(padding.tolist()):
        alone = model(tokens[row : row + 1, pad:])
        torch.testing.assert_close(read[row : row + 1, pad:], alone, **EXACT)


def test_pads_are_never_read(rung: str) -> None:
    """Whatever stands in them, the text behind them is scored the same."""
    model = random_model(small_config(rung))
    tokens = random_tokens(model.config)
    padding = torch.tensor([3, 0, 66, 20])
    before = read_in_chunks(model, tokens, [40, 27], padding)
    text = torch.arange(T) >= padding[:, None]
    other = torch.where(text, tokens, (tokens + 1) % model.config.vocab_size)
    after = read_in_chunks(model, other, [40, 27], padding)
    assert torch.equal(before[text], after[text])
    assert before.isfinite().all()  # a query without any key would give NaN


def test_positions_count_from_the_first_real_token() -> None:
    """Learned positions once started at the pads: fluent text, of another model."""
    config = small_config("gpt2")
    cache = KVCache.empty(config, 3, 9, torch.zeros(1))
    assert cache.positions(4).tolist() == [0, 1, 2, 3]
    cache.padding = torch.tensor([2, 0, 1])
    assert cache.positions(4).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 1, 2]]
    for layer in cache.layers:
        layer.length = 5
    assert cache.positions(2).tolist() == [[3, 4], [5, 6], [4, 5]]


def test_padded_rows_may_use_the_whole_context(rung: str) -> None:
    """Pads take room in the cache, but none of the context."""
    config = small_config(rung, n_layers=1, context_length=8)
    model, tokens = random_model(config), random_tokens(config, 2, 11)
    padding = torch.tensor([3, 5])
    read_in_chunks(model, tokens, [6, 5], padding)
    with pytest.raises(ValueError, match=r"9 tokens exceed context_length \(8\)"):
        read_in_chunks(model, tokens, [6, 5], padding - 1)


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 8)]
)
def test_the_cache_holds_key_value_heads_and_no_more(
    dtype: torch.dtype, size: int
) -> None:
    """With a copy for each query head, sharing heads would save nothing."""
    config = small_config("llama")
    cache = KVCache.empty(config, B, T, torch.zeros(1, dtype=dtype))
    assert len(cache.layers) == L
    for layer in cache.layers:
        for buffer in (layer.keys, layer.values):
            assert buffer.shape == (B, K, T, E)
            assert buffer.dtype == dtype
    assert cache.num_bytes == 2 * L * B * K * T * E * size
    assert cache.max_length == T
    full = KVCache.empty(small_config("swiglu"), B, T, torch.zeros(1, dtype=dtype))
    assert full.num_bytes == cache.num_bytes * H // K


def test_reading_copies_nothing_that_was_read_before() -> None:
    """Concatenating at every token makes a text of T tokens cost T squared copies."""
    layer = LayerCache(torch.zeros(B, K, T, E), torch.zeros(B, K, T, E))
    old = torch.randn(2, B, K, 5, E)
    layer.append(*old)
    new = torch.randn(2, B, K, 2, E)
    keys, values = layer.append(*new)
    assert keys.data_ptr() == layer.keys.data_ptr()
    assert values.data_ptr() == layer.values.data_ptr()
    assert torch.equal(torch.stack([keys, values]), torch.cat([old, new], dim=3))
    assert layer.length == 7


def test_a_full_cache_refuses_and_stays_as_it_was(rung: str) -> None:
    """Once, the last position was overwritten again and again."""
    config = small_config(rung)
    model, tokens = random_model(config), random_tokens(config)
    cache = KVCache.empty(config, B, 10, model.embedding.weight)
    model(tokens[:, :8], cache)
    with pytest.raises(ValueError, match="room for 10 positions, not for 11"):
        model(tokens[:, 8:11], cache)
    assert {layer.length for layer in cache.layers} == {8}
    torch.testing.assert_close(
        model(tokens[:, 8:10], cache), model(tokens[:, :10])[:, 8:], atol=1e-3, rtol=0
    )


def test_a_cache_of_another_batch_is_refused() -> None:
    """One row fits into a cache of three by broadcasting: three answers for one."""
    config = small_config("llama")
    model, tokens = random_model(config), random_tokens(config)
    cache = KVCache.empty(config, B, T, model.embedding.weight)
    with pytest.raises(ValueError, match="has 4 rows, but the batch 1"):
        model(tokens[:1], cache)


def test_a_cleared_cache_remembers_nothing(model: Transformer, tokens: Tensor) -> None:
    """A second text in the same room must not see the first, nor its padding."""
    padding = torch.tensor([1, 0, 2, 3])
    cache = KVCache.empty(model.config, B, T, model.embedding.weight, padding)
    with torch.no_grad():
        model(tokens.flip(1), cache)
        cache.clear()
        assert cache.length == 0
        read = model(tokens, cache)
    torch.testing.assert_close(read, model(tokens))
