"""How does a row of tokens grow? One token at a time, with or without a cache.

Book: chapters 10 and 11.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from minillm.cache import KVCache
from minillm.model import LanguageModel
from minillm.sample import Sampler

Overflow = Literal["refuse", "slide"]
"""What happens when a text outgrows ``context_length``."""


def left_pad(
    prompts: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Prompts of unequal length as one batch, aligned at the right.

    Returns:
        The tokens, pads on the left, and how many pads each row has: the ``padding``
        that :class:`~minillm.cache.KVCache` and :func:`stream` take.

    Raises:
        ValueError: there is no prompt, or one is empty.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError(f"prompts ({len(prompts)} of them) must hold a token each")
    longest = max(len(prompt) for prompt in prompts)
    pads = [longest - len(prompt) for prompt in prompts]
    rows = [[0] * pad + list(row) for pad, row in zip(pads, prompts, strict=True)]
    return torch.tensor(rows), torch.tensor(pads)


def window_start(length: int, context_length: int) -> int:
    """The first of ``length`` tokens that a model with a full context still reads.

    Zero while everything fits. After that the window moves in hops of half a context:
    each hop reads the kept half again, so that text of any length costs about twice
    a cached token, and never a whole window for each.
    """
    if length <= context_length:
        return 0
    hop = max(1, context_length // 2)
    return -(-(length - context_length) // hop) * hop


@torch.inference_mode()
def stream(
    model: LanguageModel,
    prompt: Int[Tensor, "B T"],
    max_new_tokens: int,
    sampler: Sampler | None = None,
    generator: Generator | Sequence[Generator] | None = None,
    past_key_values: KVCache | None = None,
    *,
    padding: Int[Tensor, " B"] | None = None,
    stop_tokens: Sequence[int] = (),
    overflow: Overflow = "refuse",
) -> Iterator[Int[Tensor, "B 1"]]:
    """Yield new tokens, one column for the whole batch at a time.

    With an empty cache each step reads one token; without one, each step reads the
    whole sequence again. Both yield the same tokens.

    Args:
        model: in evaluation mode; it is put there, and back when the stream ends.
        prompt: at least one token a row.
        max_new_tokens: columns to yield at most.
        sampler: greedy if left out.
        generator: see :meth:`minillm.sample.Sampler.__call__`.
        past_key_values: an empty cache with room for the whole text, or for a full
            context if the window slides.
        padding: pads at the left of each row, from :func:`left_pad`; the cache's own
            if left out.
        stop_tokens: a row that yields one of these is finished and repeats it until
            all rows are.
        overflow: ``refuse`` raises before the first token if prompt and new tokens
            together may exceed ``context_length``; ``slide`` moves a window
            (:func:`window_start`), with or without a cache in the same way.

    Raises:
        ValueError: the prompt is empty or holds no token of the vocabulary; the text
            may outgrow the context or the cache; the cache is not empty; ``padding``
            leaves a row without a token, or meets a sliding window; or, at any token,
            a row's best score is NaN or infinite: the model has diverged.
    """
    sampler = Sampler(temperature=0) if sampler is None else sampler
    if past_key_values is not None:
        padding = past_key_values.padding if padding is None else padding
        past_key_values.padding = padding
    _check(model, prompt, max_new_tokens, past_key_values, padding, overflow)
    was_training = model.training
    model.eval()
    try:
        tokens, read, start = prompt, 0, 0
        finished = torch.zeros_like(prompt[:, :1], dtype=torch.bool)  # (B, 1)
        stops = torch.tensor(list(stop_tokens), device=prompt.device)
        for _ in range(max_new_tokens):
            length = tokens.shape[1]
            moved = window_start(length, model.config.context_length)
            if past_key_values is not None and moved > start:
                past_key_values.clear()
                read = moved
            start = moved
            if past_key_values is not None:
                logits = model(tokens[:, read:], past_key_values)
            elif padding is not None:  # a cache for one step, to carry the padding
                like = next(model.parameters())
                once = KVCache.empty(model.config, len(prompt), length, like, padding)
                logits = model(tokens, once)
            else:
                logits = model(tokens[:, start:])
            read = length
            new = sampler(logits[:, -1], generator)
            if len(stops):
                new = torch.where(finished, tokens[:, -1:], new)
                finished |= torch.isin(new, stops)
            yield new
            if len(stops) and finished.all():
                return
            tokens = torch.cat([tokens, new], dim=1)
    finally:
        model.train(was_training)


def generate(
    model: LanguageModel,
    prompt: Int[Tensor, "B T"],
    max_new_tokens: int,
    sampler: Sampler | None = None,
    generator: Generator | Sequence[Generator] | None = None,
    past_key_values: KVCache | None = None,
    *,
    padding: Int[Tensor, " B"] | None = None,
    stop_tokens: Sequence[int] = (),
    overflow: Overflow = "refuse",
) -> Int[Tensor, "B T_all"]:
    """The prompt followed by everything :func:`stream` yields; same arguments."""
    columns = stream(
        model,
        prompt,
        max_new_tokens,
        sampler,
        generator,
        past_key_values,
        padding=padding,
        stop_tokens=stop_tokens,
        overflow=overflow,
    )
    return torch.cat([prompt, *columns], dim=1)


def _check(
    model: LanguageModel,
    prompt: Tensor,
    max_new_tokens: int,
    past_key_values: KVCache | None,
    padding: Tensor | None,
    overflow: Overflow,
) -> None:
    context_length = model.config.context_length
    if prompt.shape[1] == 0:
        raise ValueError("prompt (0 tokens) must hold at least one token")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens ({max_new_tokens}) must not be negative")
    low, high = int(prompt.min()), int(prompt.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(
            f"prompt holds token {low if low < 0 else high}, but ids must be in"
            f" [0, vocab_size={model.config.vocab_size})"
        )
    # The last token is said, but never read.
    to_read = prompt.shape[1] + max(0, max_new_tokens - 1)
    if padding is not None:
        if overflow == "slide":
            raise ValueError("overflow ('slide') cannot be used with padding")
        least, most = int(padding.min()), int(padding.max())
        if least < 0 or most >= prompt.shape[1]:
            raise ValueError(
                f"padding ({least if least < 0 else most}) must be in"
                f" [0, prompt={prompt.shape[1]})"
            )
        to_read -= least
    if overflow == "refuse" and to_read > context_length:
        raise ValueError(
            f"prompt ({prompt.shape[1]} tokens) and max_new_tokens"
            f" ({max_new_tokens}) must fit into context_length ({context_length});"
            " ask for fewer, or let the window slide"
        )
    if past_key_values is None:
        return
    if past_key_values.length:
        raise ValueError(
            f"past_key_values must be empty, but holds {past_key_values.length}"
            " positions"
        )
    room, needed = past_key_values.max_length, prompt.shape[1] + max_new_tokens - 1
    if overflow == "slide":
        needed = min(needed, context_length)
    if room is not None and room < needed:
        raise ValueError(
            f"past_key_values has room for {room} positions, not for {needed}"
        )


if __name__ == "__main__":
    from minillm.cli import main

    main(["generate", *sys.argv[1:]])
