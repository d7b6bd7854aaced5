"""How long do LayerNorm and RMSNorm take, each written out and each from PyTorch?

    python -m book.experiments.rmsnorm.timing

Writes timing.csv beside this file: for each implementation the time of one pass,
divided by that of PyTorch's LayerNorm in the same round. The rounds are interleaved,
so that a busy moment of the machine hits all alike; ``low`` and ``high`` are the tenth
and the ninetieth percentile of the ratios. CPU seconds on one thread. Compiling needs
a C++ compiler and takes a minute.
"""

import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm.config import preset
from minillm.evaluate import next_token_loss
from minillm.model import RMSNorm, Transformer

OUT = Path(__file__).resolve().parent / "timing.csv"
FIELDS = ["what", "mode", "norm", "ratio", "low", "high", "rounds", "torch"]
SHAPE = (8, 256, 384)  # (B, T, D)
ROUNDS, STEP_ROUNDS = 41, 31
BASE = "nn.LayerNorm"

Timed = Callable[[], object]


class HandLayerNorm(nn.LayerNorm):
    """LayerNorm written out, one operation of PyTorch after the other."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.pow(2).mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "LayerNorm by hand": lambda d_model: HandLayerNorm(d_model, bias=False),
    "RMSNorm by hand": RMSNorm,
    "nn.RMSNorm": lambda d_model: nn.RMSNorm(d_model, eps=1e-5),
    BASE: lambda d_model: nn.LayerNorm(d_model, bias=False),
}


def ratios(runs: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """For each name its time over that of BASE, a ratio a round."""
    for run in runs.values():  # compile, and warm the caches
        run()
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        seconds = {}
        for name, run in runs.items():
            began = time.process_time()
            run()
            seconds[name] = time.process_time() - began
        for name, value in seconds.items():
            found[name].append(value / seconds[BASE])
    return found


def rows(what: str, mode: str, found: dict[str, list[float]]) -> list[dict[str, str]]:
    """Median and spread of each name's ratios."""
    table = []
    for name, values in found.items():
        tenths = statistics.quantiles(values, n=10)
        numbers = (statistics.median(values), tenths[0], tenths[-1])
        cells = [what, mode, name, *(f"{number:.3f}" for number in numbers)]
        cells += [str(len(values)), torch.__version__]
        table.append(dict(zip(FIELDS, cells, strict=True)))
    return table


def layer_rows() -> list[dict[str, str]]:
    """One norm alone: forward, and forward with backward; eager and compiled."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    leaf = x.clone().requires_grad_()
    eager = {name: make(SHAPE[-1]) for name, make in NORMS.items()}
    modes = {
        "eager": eager,
        "compiled": {name: torch.compile(norm) for name, norm in eager.items()},
    }

    def forward(norm: nn.Module) -> None:
        with torch.no_grad():
            norm(x)

    def both(norm: nn.Module) -> None:
        leaf.grad = None
        norm(leaf).backward(x)

    # eager and compiled take turns too: all ratios are to the eager nn.LayerNorm
    table = []
    for what, run in ("forward", forward), ("forward and backward", both):
        named = {
            (mode, name): (lambda norm=norm, run=run: run(norm))
            for mode, norms in modes.items()
            for name, norm in norms.items()
        }
        keys = {f"{mode}|{name}": timed for (mode, name), timed in named.items()}
        keys[BASE] = keys.pop(f"eager|{BASE}")
        found = ratios(keys, ROUNDS)
        found[f"eager|{BASE}"] = found.pop(BASE)
        for mode in modes:
            part = {n: found[f"{mode}|{n}"] for n in NORMS}
            table += rows(what, mode, part)
    return table


def step_rows() -> list[dict[str, str]]:
    """A whole training step of the rung, with each norm and with none."""
    config = preset("gpt2-nobias", vocab_size=64)
    shape = config.train.batch_size, config.model.context_length
    source = torch.Generator().manual_seed(0)
    tokens = torch.randint(64, shape, generator=source)
    places: dict[str, Callable[[int], nn.Module]] = dict(NORMS)
    places["no norm"] = lambda _: nn.Identity()

    def stepper(make: Callable[[int], nn.Module]) -> Timed:
        model = Transformer(config.model)
        for block in model.blocks:
            block.attention_norm = make(config.model.d_model)
            block.feed_forward_norm = make(config.model.d_model)
        model.norm = make(config.model.d_model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            loss = next_token_loss(model(tokens), tokens)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    runs = {name: stepper(make) for name, make in places.items()}
    return rows("training step", "eager", ratios(runs, STEP_ROUNDS))


def main() -> None:
    """Measure everything, and write the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = layer_rows() + step_rows()
    with OUT.open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
