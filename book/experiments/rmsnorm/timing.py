"""How long do LayerNorm and RMSNorm take, each written out and each from PyTorch?

    python -m book.experiments.rmsnorm.timing

Writes timing.csv beside this file: for each implementation the time of one pass,
divided by that of PyTorch's LayerNorm in the same round. The rounds are interleaved,
so that a busy moment of the machine hits all alike; ``low`` and ``high`` are the tenth
and the ninetieth percentile of the ratios. CPU seconds on one thread. Compiling needs
a C++ compiler and takes a minute.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from book.experiments.records import write
from minillm.config import preset
from minillm.evaluate import next_token_loss
from minillm.model import RMSNorm, Transformer

OUT = Path(__file__).resolve().parent / "timing.csv"
FIELDS = ["what", "mode", "norm", "ratio", "low", "high", "rounds", "torch"]
SHAPE = (8, 256, 384)  # (B, T, D)
ROUNDS, STEP_ROUNDS = 41, 51
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


def operations(norm: nn.Module, x: Tensor) -> int:
    """How many separate operations PyTorch runs for one forward pass."""
    graph = make_fx(norm)(x).graph
    return sum("aten" in str(node.target) for node in graph.nodes)


def copies_kept(norm: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Memory kept for the backward pass, in copies of ``x``; ``x`` itself counts."""
    kept: dict[int, int] = {}  # bytes, by address

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = norm(x.clone().requires_grad_())
    return sum(kept.values()) / y.untyped_storage().nbytes()


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


def forward(norm: nn.Module, x: Tensor) -> Timed:
    """One pass of ``x`` through the norm, as in generation."""

    def run() -> None:
        with torch.no_grad():
            norm(x)

    return run


def both(norm: nn.Module, x: Tensor) -> Timed:
    """One pass of ``x`` through the norm, and one of a gradient back."""
    leaf = x.clone().requires_grad_()

    def run() -> None:
        leaf.grad = None
        norm(leaf).backward(x)

    return run


def layer_rows() -> list[dict[str, str]]:
    """One norm alone, eager and compiled; all ratios are to the eager BASE."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    norms: dict[str, tuple[str, str, nn.Module]] = {}
    for name, make in NORMS.items():
        norm = make(SHAPE[-1])
        norms[name] = ("eager", name, norm)
        norms[f"{name}, compiled"] = ("compiled", name, torch.compile(norm))
    table = []
    for what, timed in ("forward", forward), ("forward and backward", both):
        runs = {key: timed(norm, x) for key, (_, _, norm) in norms.items()}
        found = ratios(runs, ROUNDS)
        for wanted in ("eager", "compiled"):
            part = {
                name: found[key]
                for key, (mode, name, _) in norms.items()
                if mode == wanted
            }
            table += rows(what, wanted, part)
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
    write(OUT, FIELDS, table)
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
