"""How does text grow? A prompt in, pieces of text out.

Tokens are not characters: a token may be half of one. What is yielded here is always
whole characters, and never a part of a stop string. Book: chapter 11.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator

from minillm.cache import KVCache
from minillm.generate import Overflow, stream
from minillm.model import LanguageModel
from minillm.sample import Sampler
from minillm.tokenizer import IncrementalDecoder, Tokenizer


def complete(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int,
    sampler: Sampler | None = None,
    generator: Generator | None = None,
    *,
    stop: str | Sequence[str] = (),
    use_cache: bool = True,
    past_key_values: KVCache | None = None,
    overflow: Overflow = "slide",
) -> Iterator[str]:
    """Yield the text that follows ``prompt``, piece by piece.

    Args:
        model: what scores.
        tokenizer: the one the model was trained with.
        prompt: at least one character, all of them known to ``tokenizer``.
        max_new_tokens: tokens, not characters.
        sampler: greedy if left out.
        generator: makes the text repeatable.
        stop: strings that end the text, the one that is complete first; it is not
            yielded, and neither is what follows. The tokenizer's end of text always
            stops.
        use_cache: False reads everything again for each token. Same text, slower.
        past_key_values: an empty cache to use; one that is large enough is made if left
            out.
        overflow: see :func:`minillm.generate.stream`.

    Raises:
        ValueError: the prompt is empty or cannot be encoded; a stop string is empty;
            ``max_new_tokens`` is negative.
    """
    if not prompt:
        raise ValueError("prompt ('') must hold at least one character")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(stops):
        raise ValueError("stop ('') must not be an empty string")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens ({max_new_tokens}) must not be negative")
    device = next(model.parameters()).device
    tokens = torch.tensor([tokenizer.encode(prompt)], device=device)  # (1, T)
    if use_cache and past_key_values is None:
        room = min(model.config.context_length, tokens.shape[1] + max_new_tokens)
        past_key_values = KVCache.empty(
            model.config, 1, room, like=next(model.parameters())
        )
    end = tokenizer.end_of_text
    decoder, held = IncrementalDecoder(tokenizer), ""
    for column in stream(
        model,
        tokens,
        max_new_tokens,
        sampler,
        generator,
        past_key_values,
        stop_tokens=() if end is None else (end,),
        overflow=overflow,
    ):
        token = int(column)
        if token == end:
            break
        held += decoder.feed([token])
        ready = len(held) - _undecided(held, stops)
        if (stopped := _stop_position(held, stops)) is not None:
            ready = stopped
        if ready:
            yield held[:ready]
        if stopped is not None:
            return
        held = held[ready:]
    held += decoder.flush()
    if rest := held[: _stop_position(held, stops)]:
        yield rest


def _stop_position(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string begins that is complete first, the longest if two are."""
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops]
    return min((pair for pair in found if pair[1] >= 0), default=(0, None))[1]


def _undecided(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a stop string."""
    beginnings = (stop[:size] for stop in stops for size in range(1, len(stop)))
    return max((len(part) for part in beginnings if text.endswith(part)), default=0)
