"""What does one more token cost: without a cache, with one that is copied, with room?

    python -m book.experiments.kvcache.timing

Writes timing.csv and exponents.csv beside this file. A Llama of 6.3 million parameters
scores the token that follows 64 to 2,048 others, in three ways that take turns:

    none          the whole text is read again
    cat           keys and values are kept, and grow by ``torch.cat``
    preallocated  the package's cache

CPU milliseconds on one thread, medians of many rounds; each ratio is to
``preallocated`` in the same round, and ``low`` and ``high`` are the tenth and the
ninetieth percentile. ``tokens`` is how many tokens went through the model. All ways
must choose the same tokens, or nothing is written. Takes about a minute.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from book.experiments import records
from book.experiments.gqa.timing import milliseconds
from minillm.cache import KVCache, LayerCache
from minillm.config import ModelConfig
from minillm.model import Transformer

HERE = Path(__file__).resolve().parent
FIELDS = ["name", "context", "tokens", "ms", "ratio", "low", "high", "rounds"]
FIELDS += ["torch", "machine"]
CONTEXTS = (64, 128, 256, 512, 1024, 2048)
ROUNDS = 21
SHAPE = {"vocab_size": 1024, "n_layers": 6, "n_heads": 6, "d_model": 288}
WAYS = ("preallocated", "cat", "none")

Step = Callable[[], Tensor]

# ------------------------------------------------------------------ three ways


@dataclass
class GrowingLayer(LayerCache):
    """A layer's keys and values, copied as a whole whenever one is added."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Join old and new positions; everything old is copied."""
        self.keys = torch.cat([self.keys, keys], dim=2)
        self.values = torch.cat([self.values, values], dim=2)
        self.length = self.keys.shape[2]
        return self.keys, self.values


def growing_cache(config: ModelConfig, batch_size: int, like: Tensor) -> KVCache:
    """An empty cache without any room."""
    empty = KVCache.empty(config, batch_size, 0, like)
    return KVCache([GrowingLayer(layer.keys, layer.values) for layer in empty.layers])


def loud_model(context_length: int, seed: int = 0) -> Transformer:
    """A new model with matrices five times too large, so that errors show."""
    config = ModelConfig(**SHAPE, context_length=context_length)  # type: ignore[arg-type]
    model = Transformer(config).eval()
    model.reset_parameters(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(5)
    return model


def empty_cache(way: str, model: Transformer) -> KVCache | None:
    """What each way hands to the model before the first token."""
    like, room = model.embedding.weight, model.config.context_length
    if way == "none":
        return None
    if way == "cat":
        return growing_cache(model.config, 1, like)
    return KVCache.empty(model.config, 1, room, like)


@torch.no_grad()
def greedy(model: Transformer, tokens: Tensor, n_new: int, way: str) -> Tensor:
    """The ``n_new`` most likely tokens after ``tokens`` (1, T), one after another."""
    cache, fresh = empty_cache(way, model), tokens
    for _ in range(n_new):
        logits = model(tokens if cache is None else fresh, cache)
        fresh = logits[:, -1:].argmax(dim=-1)
        tokens = torch.cat([tokens, fresh], dim=1)
    return tokens


@torch.no_grad()
def steps(model: Transformer, tokens: Tensor) -> dict[str, Step]:
    """For each way: score what follows ``tokens`` (1, T), all but the last read."""
    length = tokens.shape[1]
    runs: dict[str, Step] = {}
    for way in WAYS:
        cache = empty_cache(way, model)
        if cache is None:
            runs[way] = lambda: _last(model, tokens, None)
            continue
        model(tokens[:, :-1], cache)
        before = [(layer.keys, layer.values) for layer in cache.layers]

        def again(cache: KVCache = cache, before: list = before) -> Tensor:  # type: ignore[type-arg]
            for layer, (keys, values) in zip(cache.layers, before, strict=True):
                layer.keys, layer.values, layer.length = keys, values, length - 1
            return _last(model, tokens[:, -1:], cache)

        runs[way] = again
    return runs


@torch.no_grad()
def _last(model: Transformer, tokens: Tensor, cache: KVCache | None) -> Tensor:
    return model(tokens, cache)[0, -1]


# ------------------------------------------------------------------ arithmetic


def slope(places: list[int], heights: list[float]) -> float:
    """The exponent b of a * x ** b that fits best, on logarithms."""
    x, y = [math.log(p) for p in places], [math.log(h) for h in heights]
    return statistics.linear_regression(x, y).slope


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, tenth and ninetieth percentile."""
    tenths = statistics.quantiles(values, n=10)
    return statistics.median(values), tenths[0], tenths[-1]


# ------------------------------------------------------------------ the tables


def measure(
    model: Transformer, tokens: Tensor, contexts: tuple[int, ...], rounds: int
) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each round, by way and length; the ways must agree.

    Raises:
        ValueError: two ways choose different tokens.
    """
    found: dict[str, dict[int, list[float]]] = {way: {} for way in WAYS}
    for context in contexts:
        runs = steps(model, tokens[:, :context])
        chosen = {way: int(run().argmax()) for way, run in runs.items()}
        if len(set(chosen.values())) > 1:
            raise ValueError(f"after {context} tokens the ways disagree: {chosen}")
        for way, times in milliseconds(runs, rounds).items():  # type: ignore[arg-type]
            found[way][context] = times
    return found


def write(path: Path, table: list[dict[str, str]]) -> None:
    """A CSV file with a row for each dictionary, and the same on the screen."""
    records.write(path, list(table[0]), table)
    for row in table:
        print(*row.values())


def main() -> None:
    """Compare what the ways say, measure what they cost, and write the tables."""
    torch.set_num_threads(1)
    model = loud_model(max(CONTEXTS))
    source = torch.Generator().manual_seed(0)
    size = (1, max(CONTEXTS))
    tokens = torch.randint(SHAPE["vocab_size"], size, generator=source)
    said = {way: greedy(model, tokens[:, :64], 192, way) for way in WAYS}
    for way in WAYS:
        if not torch.equal(said[way], said["none"]):
            raise ValueError(f"{way} writes another text than none")
    new = said["none"][0, 64:].unique().numel()
    print(f"the same 192 tokens in {len(WAYS)} ways, {new} of them different")

    found = measure(model, tokens, CONTEXTS, ROUNDS)
    table, fits = [], []
    for way, by_context in found.items():
        for context, times in by_context.items():
            base = found["preallocated"][context]
            ratios = [a / b for a, b in zip(times, base, strict=True)]
            read = context if way == "none" else 1
            cells = [way, str(context), str(read), f"{statistics.median(times):.4f}"]
            cells += [f"{number:.4f}" for number in spread(ratios)]
            cells += [str(len(times)), torch.__version__, records.machine()]
            table.append(dict(zip(FIELDS, cells, strict=True)))
        each_round = zip(*by_context.values(), strict=True)
        found_slopes = [slope(list(CONTEXTS), list(times)) for times in each_round]
        numbers = [f"{number:.4f}" for number in spread(found_slopes)]
        names = ("exponent", "low", "high")
        fits.append(
            {"name": way, **dict(zip(names, numbers, strict=True))}
            | {"rounds": str(ROUNDS)}
        )
    write(HERE / "timing.csv", table)
    write(HERE / "exponents.csv", fits)


if __name__ == "__main__":
    main()
