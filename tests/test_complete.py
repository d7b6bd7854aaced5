"""Text comes out in whole characters, and ends where it should."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_model, small_config
from torch import Generator

from minillm.complete import complete
from minillm.config import ModelConfig
from minillm.model import Transformer
from minillm.sample import Sampler
from minillm.tokenizer import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
)

BYTES = ByteTokenizer()
SINGLE_BYTES = [bytes([value]) for value in range(256)]
PAIRS = BPETokenizer([*SINGLE_BYTES, b"ab", b"ba", b"aba", b"b.", "aé".encode()])


@torch.no_grad()
def reciter(ids: list[int], tokenizer: Tokenizer) -> Transformer:
    """A model that answers any one token with ``ids``: each position knows its word."""
    size = len(ids) + 1
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        context_length=size,
        d_model=size,
        n_layers=1,
        n_heads=1,
        d_ff=1,
        position="learned",
        tied=False,
    )
    model = Transformer(config)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.zero_()
    torch.nn.init.eye_(model.position.weight)
    for position, token in enumerate(ids):
        model.head.weight[token, position] = 1.0
    return model


def recite(
    ids: list[int], tokenizer: Tokenizer = BYTES, stop: str | list[str] = ()
) -> list[str]:
    return list(complete(reciter(ids, tokenizer), tokenizer, "?", len(ids), stop=stop))


# ------------------------------------------------------------------ characters


def test_a_character_is_never_cut() -> None:
    """A token may be a quarter of an emoji; shown at once it is four U+FFFD."""
    text = "a é€😀 b"
    assert recite(list(text.encode())) == list(text)


@given(st.binary(max_size=12))
@settings(deadline=None, max_examples=25)
def test_the_pieces_joined_are_the_whole_text(content: bytes) -> None:
    """Also if the bytes are no text: an unfinished character shows at the end."""
    pieces = recite(list(content))
    assert "".join(pieces) == BYTES.decode(content)
    assert all(pieces)


def test_a_text_that_ends_within_a_character_says_so() -> None:
    assert recite(list("a€".encode()[:3])) == ["a", "\ufffd"]


# ------------------------------------------------------------------ stop strings


def cut(text: str, stops: list[str]) -> str:
    """Type the text letter by letter; stop as soon as it ends in a stop string."""
    for end in range(1, len(text) + 1):
        lengths = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if lengths:
            return text[: end - max(lengths)]
    return text


@given(
    st.text("ab.é", max_size=12),
    st.lists(st.text("ab.é", min_size=1, max_size=4), max_size=3),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_stop_strings_are_found_wherever_tokens_begin_and_end(
    text: str, stops: list[str], in_pairs: bool
) -> None:
    """The same text, in one token or ten, ends in the same place."""
    tokenizer = PAIRS if in_pairs else BYTES
    pieces = recite(tokenizer.encode(text), tokenizer, stops)
    assert "".join(pieces) == cut(text, stops)
    assert all(pieces)


def test_of_two_stop_strings_in_one_token_the_one_complete_first_wins() -> None:
    """As it would if the token had come letter by letter."""
    assert PAIRS.encode("abab") == [PAIRS.encode("ab")[0]] * 2
    for stops in (["abab", "b"], ["b", "abab"], ["aba", "b"], ["abab", "ba"]):
        pieces = recite(PAIRS.encode("abab"), PAIRS, stops)
        assert "".join(pieces) == cut("abab", stops)
    assert recite(PAIRS.encode("abab"), PAIRS, ["abab", "ba"]) == ["a"]


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    """Holding back a fixed number of letters makes every stream lag."""
    assert recite(list(b"xSTxyS"), stop=["STOP"]) == ["x", "STx", "y", "S"]
    assert recite(list(b"xSTOPyz"), stop=["STOP"]) == ["x"]
    assert recite(list(b"STOP"), stop=["STOP"]) == []


def test_a_single_stop_string_need_not_stand_in_a_list() -> None:
    """Taken letter by letter, "ab" would stop at the first a."""
    assert recite(list(b"xaybab."), stop="ab") == ["x", "ay", "b"]


def test_the_end_of_text_ends_the_text() -> None:
    """It is not shown, and what would come after it is never asked for."""
    ids = [*b"fin", 256, *b"more"]
    assert recite(ids) == ["f", "i", "n"]
    assert recite([*b"fiS", 256], stop="ST") == ["f", "i", "S"]
    assert recite(list(b"fin<|endoftext|>"))[-1] == ">"  # written out, it is text


# ------------------------------------------------------------------ the settings


def test_a_cache_and_a_generator_decide_nothing_and_everything() -> None:
    """Same text with and without the cache; the same again with the same seed."""
    tokenizer = CharTokenizer("".join(map(chr, range(48, 85))))  # 37 signs
    model = random_model(small_config("llama", n_layers=1, context_length=9)).double()
    sampler = Sampler(temperature=2.0)
    texts = [
        "".join(
            complete(
                model,
                tokenizer,
                "0123456789AB",
                30,
                sampler,
                Generator().manual_seed(seed),
                use_cache=use_cache,
            )
        )
        for seed, use_cache in ((1, True), (1, False), (1, True), (2, True))
    ]
    assert len(texts[0]) == 30
    assert texts[0] == texts[1] == texts[2] != texts[3]
    with pytest.raises(ValueError, match="must fit into context_length"):
        list(complete(model, tokenizer, "012", 30, overflow="refuse"))


def test_the_likeliest_text_is_the_default() -> None:
    tokenizer = CharTokenizer("".join(map(chr, range(48, 85))))
    model = random_model(small_config("gpt2", n_layers=1)).double()
    texts = [
        list(complete(model, tokenizer, "012", 9, sampler))
        for sampler in (None, Sampler(temperature=0))
    ]
    assert texts[0] == texts[1]
    assert list(complete(model, tokenizer, "012", 0)) == []


def test_an_impossible_request_is_refused_by_name() -> None:
    tokenizer = CharTokenizer("ab")
    model = random_model(small_config("gpt2", vocab_size=2, n_layers=1))
    for prompt, stop, message in (
        ("", (), r"prompt \(''\) must hold at least one character"),
        ("ab", ["a", ""], r"stop \(''\) must not be an empty string"),
        ("ab", "", r"stop \(''\) must not be an empty string"),
        ("abc", (), r"character 'c' \(U\+0063\) must be one of the 2"),
    ):
        with pytest.raises(ValueError, match=message):
            next(complete(model, tokenizer, prompt, 5, stop=stop))
