"""How does a row of tokens grow? Needs a checkpoint, and nothing of the training.

    python book/onefile/step4/generate.py temperature=0.5 prompt=ROMEO

It reads what train.py has kept.
"""

import sys
from dataclasses import replace

import torch
from config import from_arguments
from model import Llama

from data import Corpus


@torch.no_grad()
def generate(model, tokens, settings, context_length):
    for _ in range(settings.max_new_tokens):
        scores = model(tokens[:, -context_length:])[:, -1] / settings.temperature
        worst_kept = scores.topk(settings.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < worst_kept, -torch.inf)
        new = torch.multinomial(scores.softmax(dim=-1), 1)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens


def main(arguments):
    config = from_arguments(arguments)
    torch.manual_seed(config.train.seed)
    corpus = Corpus(config.train.corpus)
    shape = replace(config.model, vocab_size=corpus.vocab_size)
    model = Llama(shape)
    model.load_state_dict(torch.load(config.train.out, weights_only=False)["model"])
    model.eval()
    first = torch.tensor([corpus.encode(config.sample.prompt)])
    tokens = generate(model, first, config.sample, shape.context_length)
    print(corpus.decode(tokens[0].tolist()))


if __name__ == "__main__":
    main(sys.argv[1:])
