"""What do shared key/value heads save while a model writes, and who gives it away?

    python -m book.experiments.gqa.timing

Writes timing.csv beside this file, two tables in one. ``attention``: one query of each
head meets S cached positions, in the shape of a layer of Llama 3 8B, in three ways to
share heads and without sharing. ``token``: a whole model of four layers scores one
token that follows S others.

CPU milliseconds on one thread, medians of many rounds. The rounds are interleaved, so
that a busy moment of the machine hits all alike, and each ratio is to the first name
of the same round; ``low`` and ``high`` are the tenth and the ninetieth percentile of
the ratios. Takes a minute or two, and 1 GB of memory.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from book.experiments.records import machine, ratios, write
from minillm.cache import KVCache
from minillm.config import ModelConfig
from minillm.model import Transformer

OUT = Path(__file__).resolve().parent / "timing.csv"
FIELDS = ["what", "name", "positions", "ms", "ratio", "low", "high", "rounds"]
FIELDS += ["torch", "machine"]
POSITIONS = (64, 256, 1024, 4096)
HEADS, KV_HEADS, D_HEAD = 32, 8, 128  # a layer of Llama 3 8B
ROUNDS, TOKEN_ROUNDS = 61, 41
AT_LEAST = 0.004  # seconds in one measurement: short passes are repeated

Timed = Callable[[], object]
Way = Callable[[Tensor, Tensor, Tensor], Tensor]

# ------------------------------------------------------------------ ways to share


def repeat(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Copy each key/value head for every query head that uses it."""
    share = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v)


def built_in(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Let PyTorch find the shared head."""
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def fold(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One query a head: the heads of a group become the positions of one head."""
    grouped = q.view(len(q), k.shape[1], -1, q.shape[3])  # (B, K, H/K, E)
    return F.scaled_dot_product_attention(grouped, k, v).view(q.shape)


WAYS: dict[str, Way] = {"fold": fold, "enable_gqa": built_in, "repeat": repeat}

# ------------------------------------------------------------------ counts


class _NewMemory(TorchDispatchMode):
    """Adds up the memory of all tensors that are made, but not of views."""

    def __init__(self, known: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.sizes = {x.untyped_storage().data_ptr(): 0 for x in known}
        self.kept: list[Tensor] = []  # alive, so that no address is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple) else (result,):
            if isinstance(made, Tensor):
                memory = made.untyped_storage()
                self.sizes.setdefault(memory.data_ptr(), memory.nbytes())
                self.kept.append(made)
        return result


def bytes_made(way: Way, q: Tensor, k: Tensor, v: Tensor) -> int:
    """Memory of the tensors that PyTorch makes on the way, the result included."""
    with _NewMemory((q, k, v)) as memory:
        way(q, k, v)
    return sum(memory.sizes.values())


# ------------------------------------------------------------------ the clock


def milliseconds(runs: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """CPU time of one pass of each, a number a round; the names take turns."""
    passes = {}
    for name, run in runs.items():
        run()  # warm the caches
        began = time.process_time()
        run()
        passes[name] = 1 + int(AT_LEAST / max(time.process_time() - began, 1e-6))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            for _ in range(passes[name]):
                run()
            spent = time.process_time() - began
            found[name].append(1000 * spent / passes[name])
    return found


def attention_runs(positions: int, room: int) -> dict[str, Timed]:
    """One query a head against the first ``positions`` of a cache with ``room``."""
    source = torch.Generator().manual_seed(0)

    def noise(heads: int, length: int) -> Tensor:
        return torch.randn(1, heads, length, D_HEAD, generator=source)

    q = noise(HEADS, 1)
    shared = [noise(KV_HEADS, room)[:, :, :positions] for _ in "kv"]
    own = [noise(HEADS, room)[:, :, :positions] for _ in "kv"]
    runs: dict[str, Timed] = {
        name: lambda way=way: way(q, *shared)  # type: ignore[misc]
        for name, way in WAYS.items()
    }
    runs["no sharing"] = lambda: F.scaled_dot_product_attention(q, *own)
    return runs


SHAPE: dict[str, int] = {"vocab_size": 64, "n_layers": 4, "n_heads": 12, "d_model": 768}
KINDS = {"MHA": 12, "GQA": 4, "MQA": 1}
"""Key/value heads of the three models whose tokens are timed."""


def token_runs(positions: int) -> dict[str, Timed]:
    """A model of GPT-2's width scores one token behind ``positions`` others."""

    def stepper(n_kv_heads: int) -> Timed:
        room = positions + 1
        config = ModelConfig(**SHAPE, n_kv_heads=n_kv_heads, context_length=room)
        model = Transformer(config).eval()
        cache = KVCache.empty(config, 1, room, model.embedding.weight)
        for layer in cache.layers:
            layer.keys.normal_()
            layer.values.normal_()
        token = torch.zeros(1, 1, dtype=torch.int64)

        def step() -> None:
            for layer in cache.layers:
                layer.length = positions
            with torch.no_grad():
                model(token, cache)

        return step

    return {name: stepper(n_kv_heads) for name, n_kv_heads in KINDS.items()}


# ------------------------------------------------------------------ the table


def rows(
    what: str, positions: int, found: dict[str, list[float]]
) -> Iterator[dict[str, str]]:
    """Median time, and median and spread of the ratios, for each name."""
    for name, values in ratios(found).items():
        tenths = statistics.quantiles(values, n=10)
        numbers = (statistics.median(found[name]), statistics.median(values))
        cells = [what, name, str(positions)]
        cells += [f"{number:.4f}" for number in (*numbers, tenths[0], tenths[-1])]
        cells += [str(len(values)), torch.__version__, machine()]
        yield dict(zip(FIELDS, cells, strict=True))


def main() -> None:
    """Measure everything, and write the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table: list[dict[str, str]] = []
    for positions in POSITIONS:
        runs = attention_runs(positions, max(POSITIONS))
        table += rows("attention", positions, milliseconds(runs, ROUNDS))
    for positions in POSITIONS:
        steps = token_runs(positions)
        table += rows("token", positions, milliseconds(steps, TOKEN_ROUNDS))
    write(OUT, FIELDS, table)
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
