"""What does a training step cost, and who takes it fastest?

One step reads four windows of 256 tokens: forward, loss, backward, the gradient clipped
to length 1, AdamW (PyTorch's fused one for all), gradients dropped. All peers take it
in the same words (``contenders/llama.py``), from the same weights, on the same batches,
in float32; only the model is each library's own. Their losses must stay equal, step by
step, to the last.

x-transformers cannot load the weights: it is measured at the same amount of work.

At the end the package's own step, with its own batches, is taken apart: the share of
its time that goes into the batch.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import litgpt_environment, race
from benchmarks.harness import ROOT, Goal, interleave, ratios, spread, write
from benchmarks.race import Peer
from minillm.config import DataConfig

BATCH_SIZE, LENGTH = 4, 256
STEPS = 3
"""In one turn."""
ROUNDS = 7
NUM_BATCHES = 8
LOSS_TOLERANCE = 1e-4
"""By which share of the loss two peers may differ."""
DATA_STEPS = 15
PROFILED = 5
"""Steps that are taken apart, for the share of matrix products and attention."""

BASE = "transformers"
PEERS = {
    "minillm": Peer("ours.py", "plain"),
    "minillm, compiled": Peer("ours.py", "compiled", scored=False),
    BASE: Peer("transformers_llama.py", "eager"),
    "transformers, compiled": Peer("transformers_llama.py", "compiled", scored=False),
    "litgpt": Peer("litgpt_llama.py"),
    "x-transformers": Peer("x_transformers_llama.py", same_weights=False),
}


def require_same_losses(losses: Mapping[str, Sequence[float]]) -> None:
    """Everyone's loss must follow the first one's, and have moved.

    Raises:
        SystemExit: somebody's does not; says at which step.
    """
    first, *others = losses
    wanted = losses[first]
    if not wanted[-1] < 0.9 * wanted[0]:
        raise SystemExit(
            f"the loss of {first} went from {wanted[0]:.3f} to {wanted[-1]:.3f}: it"
            " has not learnt enough to tell anything"
        )
    for name in others:
        for step, (a, b) in enumerate(zip(wanted, losses[name], strict=True)):
            if not abs(a - b) <= LOSS_TOLERANCE * a:
                raise SystemExit(
                    f"at step {step} the loss of {name} is {b:.5f}, of {first} {a:.5f}"
                )


def main(threads: int, rounds: int = ROUNDS) -> None:
    """Take turns, compare, and store what came out."""
    tokens = STEPS * BATCH_SIZE * LENGTH
    batches = race.random_tokens(NUM_BATCHES, BATCH_SIZE, LENGTH + 1, seed=1)
    said: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = race.start(stack, PEERS, folder, threads)
        for contender in started.values():
            contender.ask("begin", batches=batches)

        def turn(name: str) -> float:
            said[name].append(started[name].ask("train", steps=STEPS))
            return tokens / said[name][-1]["wall_seconds"]

        speeds = interleave(
            {name: lambda name=name: turn(name) for name in PEERS}, rounds, warm_up=2
        )
        work = {name: contender.ask("count") for name, contender in started.items()}
        memory = {name: contender.ask("memory") for name, contender in started.items()}
        products = [started["minillm"].ask("product_share") for _ in range(PROFILED)]
        parts = started["minillm"].ask(
            "take_steps",
            directory=str(ROOT / DataConfig().directory),
            batch_size=BATCH_SIZE,
            length=LENGTH,
            steps=DATA_STEPS,
        )
    losses = {
        name: [loss for turn in said[name] for loss in turn["losses"]]
        for name, peer in PEERS.items()
        if peer.same_weights
    }
    require_same_losses(losses)

    rows = [
        race.row(
            name,
            speeds,
            BASE,
            [turn["cpu_seconds"] / STEPS for turn in said[name][-rounds:]],
            memory[name],
            first_turn_seconds=round(said[name][0]["wall_seconds"], 1),
            last_loss=round(said[name][-1]["losses"][-1], 5),
            **work[name],
        )
        for name in PEERS
    ]
    of_products = spread(products).median
    why_not = (
        f"matrix products and attention, the same for all, take {of_products:.0%} of an"
        f" eager step on this machine: sparing all the rest would give"
        f" {1 / of_products:.2f}"
    )
    share = ratios(parts["batch_seconds"], parts["step_seconds"])
    package_speed = spread([BATCH_SIZE * LENGTH / s for s in parts["step_seconds"]])
    write(
        "step",
        [
            Goal(
                "training step, eager, against transformers",
                at_least=1.0,
                aim=1.1,
                measured=ratios(speeds["minillm"], speeds[BASE]),
                why_not=why_not,
            ),
            Goal(
                "training step, compiled, against transformers",
                at_least=1.3,
                aim=1.45,
                measured=ratios(speeds["minillm, compiled"], speeds[BASE]),
                why_not=why_not,
            ),
            Goal(
                "share of a training step that reads its batch",
                at_least=0.02,
                aim=0.005,
                measured=share,
            ),
        ],
        rows,
        threads,
        ("transformers", "x-transformers"),
        litgpt=litgpt_environment.VERSION,
        share_of_products=round(of_products, 3),
        steps_compared=len(losses["minillm"]),
        package_step_tokens_per_second=round(package_speed.median, 1),
        batch_milliseconds=round(1000 * spread(parts["batch_seconds"]).median, 3),
    )
