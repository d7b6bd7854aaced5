"""A trained model with six heads of keys and values gets two: how, and at what loss?

    python -m book.experiments.gqa.conversion

Writes conversion.csv beside this file, from five seeds. For each, a model with a head
of keys and values for every query head is trained for 220 steps. Then it is converted:
each new head is the mean of three, or the first of them, or random; one copy stays as
it is. All four are trained for 60 more steps on the same batches. A row is the loss on
the whole held-out text, 0, 20, 40 and 60 steps after the conversion. Takes about five
minutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from book.experiments.records import write
from minillm.config import ModelConfig, preset
from minillm.model import LanguageModel, Transformer
from minillm.train import Metrics, train

OUT = Path(__file__).resolve().parent / "conversion.csv"
FIELDS = ["seed", "way", "step", "val_loss", "torch"]
DATA = Path(__file__).resolve().parents[3] / "data" / "shakespeare"
SEEDS = range(5)
STEPS, RATE = 220, 6e-3
MORE_STEPS, MORE_RATE = 60, 2e-3

Pool = Callable[[Tensor, int, int], Tensor]
Build = Callable[[ModelConfig], LanguageModel]


def _by_group(weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return weight.unflatten(0, (n_kv_heads, n_heads // n_kv_heads, -1))


def mean(weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """Each new head is the mean of its group."""
    return _by_group(weight, n_heads, n_kv_heads).mean(dim=1).flatten(0, 1)


def first(weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """Each new head is the first of its group."""
    return _by_group(weight, n_heads, n_kv_heads)[:, 0].flatten(0, 1)


def random(weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """New heads that know nothing, as large as the old ones."""
    rows = len(weight) * n_kv_heads // n_heads
    noise = torch.Generator().manual_seed(1)
    return torch.randn(rows, weight.shape[1], generator=noise) * weight.std()


WAYS: dict[str, tuple[int, Pool]] = {
    "stays MHA": (6, mean),
    "mean": (2, mean),
    "first head": (2, first),
    "random": (2, random),
}
"""How many heads of keys and values remain, and how they are made."""


def convert(model: Transformer, n_kv_heads: int, pool: Pool) -> Transformer:
    """A model with fewer heads of keys and values, and all else as it was."""
    weights = dict(model.state_dict())
    for name, weight in weights.items():
        if name.endswith(("key.weight", "value.weight")):
            weights[name] = pool(weight, model.config.n_heads, n_kv_heads)
    converted = Transformer(replace(model.config, n_kv_heads=n_kv_heads))
    converted.load_state_dict(weights)
    return converted


def short_run(
    n_kv_heads: int, steps: int, rate: float, seed: int, build: Build = Transformer
) -> tuple[LanguageModel, dict[int, float]]:
    """Train the two-layer rung; return it, and its held-out loss by step."""
    settings = {"steps": steps, "warmup_steps": steps // 11, "seed": seed}
    settings |= {"eval_every": 20 if steps == MORE_STEPS else steps}
    rates = {"learning_rate": rate, "min_learning_rate": rate / 10}
    changes = {
        "model": {"n_layers": 2, "n_kv_heads": n_kv_heads},
        "train": settings | rates,
        "data": {"directory": str(DATA)},
    }
    losses: dict[int, float] = {}

    def note(metrics: Metrics) -> None:
        if metrics.val_loss is not None:
            losses[metrics.step] = metrics.val_loss

    return train(preset("llama", changes=changes), note, build=build), losses


def rows() -> Iterator[dict[str, str]]:
    """Every seed, every way, every loss."""
    for seed in SEEDS:
        trained, _ = short_run(6, STEPS, RATE, seed)
        assert isinstance(trained, Transformer)
        for way, (n_kv_heads, pool) in WAYS.items():
            start = convert(trained, n_kv_heads, pool)
            _, losses = short_run(
                n_kv_heads, MORE_STEPS, MORE_RATE, seed + 100, lambda _, s=start: s
            )
            for step, loss in losses.items():
                cells = [str(seed), way, str(step), f"{loss:.6f}", torch.__version__]
                yield dict(zip(FIELDS, cells, strict=True))


def main() -> None:
    """Run everything, and write the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = list(rows())
    write(OUT, FIELDS, table)
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
