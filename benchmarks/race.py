"""One Llama for all: its weights, who can load them, and whether they agree.

7.15 million parameters in float32: 4,096 tokens, 6 layers of width 288 with 6 heads and
a feed-forward width of 768, RMSNorm, RoPE, a tied head and no bias. minillm draws the
weights, three times larger than a new model's, so that an error shows and no text runs
in a circle, and stores them under transformers' names; every peer loads that file.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks import litgpt_environment
from benchmarks.harness import Contender, ratios, spread
from minillm.checkpoint import write_safetensors
from minillm.config import ModelConfig
from minillm.files import write_json
from minillm.huggingface import to_huggingface
from minillm.model import Transformer

SHAPE = ModelConfig(
    vocab_size=4096,
    context_length=2048,
    n_layers=6,
    n_heads=6,
    d_model=288,
    d_ff=768,
)
LOUD = 3.0
TOLERANCE = 1e-4
"""Of scores, which in float32 are right to 1e-5."""
QUIET = 0.5
"""Scores with a smaller standard deviation would agree whatever the model does."""
WORK_TOLERANCE = 0.002
"""By how much of its parameters and FLOPs a peer with other weights may differ."""

SCRIPTS = Path(__file__).parent / "contenders"


@dataclass(frozen=True)
class Peer:
    """A contender of the race: its program, and how that is told to run."""

    script: str
    mode: str = ""
    same_weights: bool = True
    """Whether it loads the file; if not, it only does the same amount of work."""
    scored: bool = True
    """Whether its scores are compared before the race. Those of a compiled model are
    not, which would be compiled for their shape, nor those of rounded weights. What it
    learns or writes is compared anyway."""

    def start(self, folder: Path, threads: int) -> Contender:
        """Start it with the weights in ``folder``."""
        python = sys.executable
        if self.script.startswith("litgpt"):
            python = str(litgpt_environment.python())
        command = [SCRIPTS / self.script, folder, *([self.mode] if self.mode else [])]
        return Contender(command, threads, python)


def write_weights(folder: Path) -> None:
    """Put ``config.json`` and ``model.safetensors`` into ``folder``."""
    model = Transformer(SHAPE)
    model.reset_parameters(seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(LOUD)
    config, tensors = to_huggingface(model)
    write_json(folder / "config.json", config)
    write_safetensors(folder / "model.safetensors", tensors)


def random_tokens(*size: int, seed: int = 0) -> list[Any]:
    """Nested lists of tokens, every one of them as likely as the others."""
    source = torch.Generator().manual_seed(seed)
    return torch.randint(SHAPE.vocab_size, size, generator=source).tolist()


def start(
    stack: ExitStack, peers: Mapping[str, Peer], folder: Path, threads: int
) -> dict[str, Contender]:
    """Start all of them with the same weights, and see that they are one model.

    Raises:
        SystemExit: somebody's scores or sizes are not those of the first.
    """
    write_weights(folder)
    started = {
        name: stack.enter_context(peer.start(folder, threads))
        for name, peer in peers.items()
    }
    tokens = random_tokens(2, 64)
    first = next(iter(peers))
    wanted_work = started[first].ask("count")
    wanted = _scores(started[first], tokens, folder)
    for name, contender in started.items():
        peer = peers[name]
        if not peer.scored:
            continue
        work = contender.ask("count")
        allowed = 0.0 if peer.same_weights else WORK_TOLERANCE
        for what, number in work.items():
            if abs(number / wanted_work[what] - 1) > allowed:
                raise SystemExit(
                    f"{name} has {number:,} {what}, {first} {wanted_work[what]:,}:"
                    " they are not the same model"
                )
        if peer.same_weights:
            require_close(first, wanted, name, _scores(contender, tokens, folder))
    return started


def _scores(contender: Contender, tokens: list[Any], folder: Path) -> torch.Tensor:
    path = folder / "scores.safetensors"
    contender.ask("score", tokens=tokens, path=str(path))
    return load_file(path)["scores"].clone()  # the file is written to again


def require_close(
    first: str, wanted: torch.Tensor, name: str, found: torch.Tensor
) -> None:
    """Two models with the same weights must give the same scores.

    Raises:
        SystemExit: they do not.
    """
    if wanted.std() < QUIET:
        raise SystemExit(f"the scores of {first} are too quiet to tell anything")
    if found.shape != wanted.shape:
        raise SystemExit(
            f"{name} gives scores of shape {list(found.shape)},"
            f" {first} of {list(wanted.shape)}"
        )
    apart = (found - wanted).abs().max().item()
    if not apart <= TOLERANCE:
        raise SystemExit(f"the scores of {name} and {first} are {apart:.2g} apart")


# ------------------------------------------------------------------ rows


def row(
    name: str,
    speeds: Mapping[str, Sequence[float]],
    against: str,
    cpu_seconds: Sequence[float],
    memory: Mapping[str, float],
    **more: Any,
) -> dict[str, Any]:
    """A contender as one row of a table.

    Args:
        name: whose.
        speeds: tokens a second of each, round by round.
        against: whom it is compared with, in the same rounds.
        cpu_seconds: of its turns.
        memory: from its ``memory``; a compiler runs in the process that it serves.
        more: what else is known.
    """
    speed, ratio = spread(speeds[name]), ratios(speeds[name], speeds[against])
    return {
        "contender": name,
        **more,
        "tokens_per_second": round(speed.median, 1),
        "low": round(speed.low, 1),
        "high": round(speed.high, 1),
        "rounds": speed.rounds,
        f"ratio_to_{against}": round(ratio.median, 3),
        "ratio_low": round(ratio.low, 3),
        "ratio_high": round(ratio.high, 3),
        "cpu_seconds": round(spread(cpu_seconds).median, 3),
        **{key: round(value, 1) for key, value in memory.items()},
    }
