"""Which tokens come next? A text as integers, and windows of it."""

import json

import numpy as np
import torch


class Corpus:
    """The folder that ``minillm prepare`` has made, read into memory."""

    def __init__(self, folder):
        described = json.loads((folder / "tokenizer.json").read_text("utf8"))
        self.symbols = described["characters"]
        self.train = read_tokens(folder / "train.bin")
        self.val = read_tokens(folder / "val.bin")

    @property
    def vocab_size(self):
        return len(self.symbols)

    def encode(self, text):
        return [self.symbols.index(character) for character in text]

    def decode(self, tokens):
        return "".join(self.symbols[token] for token in tokens)


def read_tokens(path):
    return torch.from_numpy(np.fromfile(path, dtype="<u2").astype("int64"))


def get_batch(tokens, batch_size, context_length):
    starts = torch.randint(len(tokens) - context_length, (batch_size,)).tolist()
    inputs = torch.stack([tokens[i : i + context_length] for i in starts])
    targets = torch.stack([tokens[i + 1 : i + 1 + context_length] for i in starts])
    return inputs, targets
