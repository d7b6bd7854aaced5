"""Text grows the same way with and without a cache, alone and in company."""

import dataclasses
from collections.abc import Iterator

import pytest
import reference
import torch
from models import V, random_model, random_tokens, randomise, small_config
from torch import Generator, Tensor

from minillm.cache import KVCache
from minillm.config import ModelConfig
from minillm.generate import generate, left_pad, stream, window_start
from minillm.model import LanguageModel, Transformer, build
from minillm.sample import Sampler

GREEDY, DRAWN = Sampler(temperature=0), Sampler(temperature=1.5, top_p=0.95)


@pytest.fixture(params=["gpt2", "llama"])
def rung(request: pytest.FixtureRequest) -> str:
    """Only the kind of position and the shared heads can matter here."""
    return request.param


@pytest.fixture
def small(rung: str) -> Transformer:
    """In float64: two equally good tokens would be a matter of rounding."""
    return random_model(small_config(rung, n_layers=2, context_length=23)).double()


def room(model: LanguageModel, n_rows: int, length: int) -> KVCache:
    like = next(model.parameters())
    return KVCache.empty(model.config, n_rows, length, like)


def seeds(n_rows: int) -> list[Generator]:
    return [Generator().manual_seed(10 + row) for row in range(n_rows)]


@pytest.fixture
def reads() -> Iterator[list[int]]:
    """How many positions each forward call of any Transformer has computed."""
    seen: list[int] = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, Transformer):
            seen.append(inputs[0].shape[1])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield seen
    handle.remove()


# ------------------------------------------------------------------ with and without


def test_text_is_the_one_the_slow_model_writes(rung: str) -> None:
    """Prompt, growth, two hops of the window: each token from a full recompute."""
    model = random_model(small_config(rung, n_layers=1, context_length=7)).double()
    settings = dataclasses.asdict(model.config)
    prompt = random_tokens(model.config, 1, 3)

    def score(window: list[int]) -> list[float]:
        return reference.logits(model.state_dict(), settings, window)[-1].tolist()

    slow = reference.generate(score, prompt[0].tolist(), 11, 7, reference.greedy)
    for cache in (None, room(model, 1, 7)):
        fast = generate(model, prompt, 11, past_key_values=cache, overflow="slide")
        assert fast[0].tolist() == slow
    assert len(set(slow)) > 3  # a model that repeats itself would hide a lost past


@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_cache_changes_no_word(small: Transformer, sampler: Sampler) -> None:
    """A position or a mask that is wrong in decoding shows after a few tokens."""
    prompt = random_tokens(small.config, 3, 4)
    texts = [
        generate(small, prompt, 20, sampler, seeds(3), cache)
        for cache in (None, room(small, 3, 23))
    ]
    assert texts[0].shape == (3, 24)
    assert torch.equal(texts[0], texts[1])


def test_a_cached_step_reads_one_token(reads: list[int]) -> None:
    """Reading all again is right as well, and a hundred times slower."""
    model = random_model(small_config("llama", n_layers=1))
    prompt = random_tokens(model.config, 2, 5)
    generate(model, prompt, 4, past_key_values=room(model, 2, 8))
    assert reads == [5, 1, 1, 1]
    reads.clear()
    generate(model, prompt, 4)
    assert reads == [5, 6, 7, 8]


def test_tokens_come_as_soon_as_they_are_known(reads: list[int]) -> None:
    """A list returned at the end is no stream."""
    model = random_model(small_config("llama", n_layers=1))
    columns = stream(model, random_tokens(model.config, 2, 5), 10)
    assert reads == []
    first = next(columns)
    assert first.shape == (2, 1)
    assert reads == [5]
    columns.close()


def test_generation_is_the_prompt_and_then_the_stream(small: Transformer) -> None:
    prompt = random_tokens(small.config, 2, 5)
    columns = list(stream(small, prompt, 6, DRAWN, seeds(2)))
    whole = generate(small, prompt, 6, DRAWN, seeds(2))
    assert torch.equal(whole, torch.cat([prompt, *columns], dim=1))
    assert torch.equal(generate(small, prompt, 0), prompt)
    assert not whole.requires_grad
    assert not whole.is_inference()  # else nobody could train on it


def test_a_bigram_writes_with_and_without_a_cache() -> None:
    """It has nothing to keep, and every room for it is large enough."""
    model = build(ModelConfig(kind="bigram", vocab_size=V, context_length=4))
    randomise(model)
    prompt = random_tokens(model.config, 3, 9)
    texts = [
        generate(model, prompt, 20, DRAWN, seeds(3), cache, overflow="slide")
        for cache in (None, room(model, 3, 1))
    ]
    assert torch.equal(texts[0], texts[1])


# ------------------------------------------------------------------ the end of context


@pytest.mark.parametrize("cached", [False, True])
def test_a_text_that_may_outgrow_the_context_is_refused_at_once(
    small: Transformer, cached: bool, reads: list[int]
) -> None:
    """Not after minutes of good text, and never by clamping positions in silence."""
    prompt, cache = random_tokens(small.config, 1, 20), None
    refusal = (
        r"prompt \(20 tokens\) and max_new_tokens \(5\) must fit into"
        r" context_length \(23\)"
    )
    if cached:
        cache = room(small, 1, 99)
    with pytest.raises(ValueError, match=refusal):
        generate(small, prompt, 5, past_key_values=cache)
    assert reads == []
    # The last token is said and never read: 20 + 4 words fit into 23 places.
    assert generate(small, prompt, 4, past_key_values=cache).shape == (1, 24)


@pytest.mark.parametrize("context_length", [1, 2, 3, 7, 10])
def test_the_window_hops_as_its_docstring_says(context_length: int) -> None:
    starts = [window_start(length, context_length) for length in range(1, 60)]
    for length, start in enumerate(starts, start=1):
        assert start == reference.window_start(length, context_length)
        assert length - start <= context_length
        assert start == 0 or length - start > context_length - context_length / 2 - 1
    assert starts == sorted(starts)


@pytest.mark.parametrize("n_prompt", [3, 7, 8, 19])
@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_sliding_window_equals_a_full_recompute(
    rung: str, n_prompt: int, sampler: Sampler
) -> None:
    """Keys that were rotated for their old places must not survive a hop."""
    model = random_model(small_config(rung, n_layers=1, context_length=7)).double()
    prompt = random_tokens(model.config, 2, n_prompt)
    tokens, draw = prompt, seeds(2)
    for _ in range(17):
        window = tokens[:, reference.window_start(tokens.shape[1], 7) :]
        tokens = torch.cat([tokens, sampler(model(window)[:, -1], draw)], dim=1)
    for cache in (None, room(model, 2, 7)):
        slid = generate(model, prompt, 17, sampler, seeds(2), cache, overflow="slide")
        assert torch.equal(slid, tokens)


def test_a_sliding_window_reads_each_token_about_twice(reads: list[int]) -> None:
    """Moving by one token a step would read a full context for each."""
    model = random_model(small_config("llama", n_layers=1, context_length=10))
    prompt = random_tokens(model.config, 1, 10)
    generate(model, prompt, 60, past_key_values=room(model, 1, 10), overflow="slide")
    assert max(reads) == 10
    assert sum(reads) - 10 < 2.1 * 60


# ------------------------------------------------------------------ unequal prompts


def test_prompts_are_padded_on_the_left() -> None:
    tokens, padding = left_pad([[5, 6, 7], [8], [9, 10]])
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8], [0, 9, 10]]
    assert padding.tolist() == [0, 2, 1]
    for prompts in ([], [[1], []]):
        with pytest.raises(ValueError, match="must hold a token each"):
            left_pad(prompts)


@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("cached", [False, True])
def test_each_row_of_a_batch_is_written_as_if_alone(
    small: Transformer, sampler: Sampler, cached: bool
) -> None:
    """Right padding without a mask gave every shorter prompt another text."""
    lengths = [2, 9, 1, 6]
    prompts = [
        random_tokens(small.config, 1, length, seed=length)[0].tolist()
        for length in lengths
    ]
    tokens, padding = left_pad(prompts)
    cache = room(small, 4, 23) if cached else None
    together = generate(small, tokens, 12, sampler, seeds(4), cache, padding=padding)
    for row, prompt in enumerate(prompts):
        alone = generate(
            small, torch.tensor([prompt]), 12, sampler, seeds(4)[row : row + 1]
        )
        assert together[row, padding[row] :].tolist() == alone[0].tolist()


def test_the_padding_of_a_cache_is_not_forgotten(small: Transformer) -> None:
    """It was overwritten by None: a batch of texts behind unmasked pads."""
    tokens, padding = left_pad([[1, 2, 3], [4]])
    cache = room(small, 2, 23)
    cache.padding = padding
    assert torch.equal(
        generate(small, tokens, 9, past_key_values=cache),
        generate(small, tokens, 9, padding=padding),
    )


# ------------------------------------------------------------------ stopping


def test_a_finished_row_repeats_its_stop_token_until_all_are(
    small: Transformer,
) -> None:
    """And the others go on as if nothing had happened."""
    prompt = random_tokens(small.config, 4, 3)
    free = generate(small, prompt, 20, DRAWN, seeds(4))
    first, second = int(free[0, 5]), int(free[1, 8])
    stopped = generate(small, prompt, 20, DRAWN, seeds(4), stop_tokens=(first, second))
    ends = []
    for row in range(4):
        said = free[row, 3:].tolist()
        ends.append(min([said.index(t) for t in (first, second) if t in said] or [19]))
        text = said[: ends[-1] + 1]
        n_columns = stopped.shape[1] - 3
        wanted = text + [text[-1]] * (n_columns - len(text))
        assert stopped[row, 3:].tolist() == wanted
    assert stopped.shape[1] == 3 + max(ends) + 1
    assert ends[0] <= 2


def test_a_stop_token_in_the_prompt_stops_nothing(small: Transformer) -> None:
    """Chats are full of them."""
    prompt = random_tokens(small.config, 1, 5)
    free = generate(small, prompt, 6)
    stop = next(t for t in prompt[0].tolist() if t not in free[0, 5:].tolist())
    assert torch.equal(generate(small, prompt, 6, stop_tokens=[stop]), free)


# ------------------------------------------------------------------ the model's mode


def test_dropout_is_off_while_text_grows_and_back_on_after(rung: str) -> None:
    """Also if the reader leaves early, or the sampler raises."""
    config = small_config(rung, n_layers=1, dropout=0.5)
    prompt = random_tokens(config, 2, 5)
    without = random_model(dataclasses.replace(config, dropout=0.0))
    model = random_model(config).train()
    assert torch.equal(generate(model, prompt, 9), generate(without, prompt, 9))
    assert all(module.training for module in model.modules())

    left_early = stream(model, prompt, 9)
    next(left_early)
    left_early.close()
    assert model.training

    torch.nn.init.constant_(model.norm.weight, torch.nan)
    with pytest.raises(ValueError, match="must be finite"):
        generate(model, prompt, 9)
    assert model.training
    model.eval()
    with pytest.raises(ValueError, match="must be finite"):
        generate(model, prompt, 9)
    assert not model.training


# ------------------------------------------------------------------ refusals


def test_an_impossible_request_is_refused_by_name() -> None:
    model = random_model(small_config("llama", n_layers=1))
    prompt = random_tokens(model.config, 2, 5)

    def refused(message: str, prompt: Tensor = prompt, **changes: object) -> None:
        settings = {"max_new_tokens": 4, **changes}
        with pytest.raises(ValueError, match=message):
            generate(model, prompt, **settings)

    refused(r"prompt \(0 tokens\) must hold at least one", prompt=prompt[:, :0])
    refused(r"max_new_tokens \(-1\) must not be negative", max_new_tokens=-1)
    refused(
        r"token 40, but ids must be in \[0, vocab_size=37\)",
        prompt=prompt.clamp(max=3) + 37,
    )
    refused(r"token -1, but ids must be in", prompt=torch.full((1, 1), -1))
    refused("room for 7 positions, not for 8", past_key_values=room(model, 2, 7))
    read = room(model, 2, 20)
    model(prompt, read)
    refused("must be empty, but holds 5 positions", past_key_values=read)
    padding = torch.tensor([0, 2])
    refused("cannot be used with padding", padding=padding, overflow="slide")
    refused(r"padding \(5\) must be in \[0, prompt=5\)", padding=padding + 3)
    refused(r"padding \(-1\) must be in \[0, prompt=5\)", padding=padding - 1)
