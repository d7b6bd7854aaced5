"""Learn byte pairs from a text, and print the tokens in the order they were learnt.

    prepare_merges.py minillm|rustbpe|tokenizers TEXT VOCAB_SIZE

VOCAB_SIZE counts the 256 bytes and an end-of-text token, which is not printed.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

who, path, size = sys.argv[1:]
vocab_size = int(size) - 1
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's rule, as it is published."""


def minillm(text: str) -> Iterator[bytes]:
    from minillm.tokenizer import BPETokenizer

    yield from BPETokenizer.train([text], vocab_size + 1).tokens[:-1]


def rustbpe(text: str) -> Iterator[bytes]:
    import rustbpe

    learner = rustbpe.Tokenizer()
    learner.train_from_iterator([text], vocab_size, pattern=PATTERN)
    ranks = learner.get_mergeable_ranks()
    yield from (bytes(token) for token, _ in sorted(ranks, key=lambda pair: pair[1]))


def tokenizers(text: str) -> Iterator[bytes]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from minillm.tokenizer import PRINTABLE_SIGNS

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learner.train_from_iterator([text], trainer)
    byte_of = {sign: byte for byte, sign in PRINTABLE_SIGNS.items()}
    for token, _ in sorted(learner.get_vocab().items(), key=lambda pair: pair[1]):
        yield bytes(byte_of[sign] for sign in token)


ways = {"minillm": minillm, "rustbpe": rustbpe, "tokenizers": tokenizers}
learnt = ways[who](Path(path).read_text(encoding="utf-8"))
print(json.dumps([token.hex() for token in learnt]))
