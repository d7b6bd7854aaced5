"""How fast does it write, and what does one more token cost?

Each contender reads a prompt of 64 tokens and writes 128 more, the likeliest each time,
alone and in a batch of 8, in float32. All must write the same ids. The weights are
random, so the prompts are some whose every new token leads by more than rounding. Only
eight-bit weights may choose others: what they cost is measured in ``eight_bits``.

``minillm`` is what ``minillm generate`` runs: eager, with fused steps. Our other rows
say what is different.

Then one more token is scored behind 64 to 2,000 others, by the ways that minillm has or
had: read everything again (no cache), a cache that is copied when it grows (cat), and
one with room (preallocated: the package's own), all three with the plain model; and
with room, in fused steps or packaged.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks import litgpt_environment, race
from benchmarks.harness import Contender, Goal, interleave, ratios, spread, write
from benchmarks.race import Peer

PROMPT, NEW_TOKENS = 64, 128
BATCHES = {1: 7, 8: 5}
"""Rows at a time, and rounds."""
PROMPT_SEED = 15
SMALLEST_LEAD = 2e-4
"""In scores, of the first token over the second; float32 is right to 1e-5."""

BASE = "transformers"
PEERS = {
    "minillm": Peer("ours.py", "fused"),
    "minillm, plain": Peer("ours.py", "plain"),
    "minillm, compiled": Peer("ours.py", "compiled", scored=False),
    "minillm, packaged": Peer("ours.py", "packaged"),
    "minillm, int8": Peer("ours.py", "int8", scored=False),
    "minillm, no cache": Peer("ours.py", "none"),
    BASE: Peer("transformers_llama.py", "dynamic"),
    "transformers, static cache": Peer("transformers_llama.py", "static"),
    "litgpt": Peer("litgpt_llama.py"),
}
FASTEST = ("minillm, compiled", "minillm, packaged")
"""Those of which one should reach the goal of a compiled or packaged model."""
INEXACT = ("minillm, int8",)
"""Those that may write another text."""
ALONE_ONLY = ("minillm, packaged", "minillm, no cache")
"""Not run in a batch: one takes a minute to be made for it, one a minute to write."""

CONTEXTS = (64, 128, 256, 512, 1024, 2000)
WAYS = {
    "no cache": Peer("ours.py", "none"),
    "cat": Peer("ours.py", "cat"),
    "preallocated": Peer("ours.py", "plain"),
    "fused": Peer("ours.py", "fused"),
    "packaged": Peer("ours.py", "packaged"),
}
WAY_ROUNDS = 9
TURN_MILLISECONDS = 100
"""A turn repeats what takes less."""


def require_same_ids(ids: Mapping[str, list[list[int]]]) -> None:
    """Everyone must have written what the first one wrote.

    Raises:
        SystemExit: somebody has not; says where.
    """
    first, *others = ids
    for name in others:
        if len(ids[name]) != len(ids[first]):
            raise SystemExit(f"{name} writes {len(ids[name])} rows, not as {first}")
        for row, (wanted, found) in enumerate(zip(ids[first], ids[name], strict=True)):
            if found == wanted:
                continue
            pairs = zip(wanted, found, strict=False)
            same = [a == b for a, b in pairs]
            place = same.index(False) if False in same else len(same)
            raise SystemExit(
                f"{name} does not write what {first} writes: row {row} differs at new"
                f" token {place}"
            )


def smallest_lead(scores: torch.Tensor, ids: list[list[int]]) -> float:
    """By how much the chosen tokens lead over the second, at the closest call.

    Args:
        scores: (B, T, V), of prompt and new tokens.
        ids: the new tokens, (B, n).

    Raises:
        SystemExit: a token written was not the likeliest.
    """
    chosen = torch.tensor(ids)
    before = scores[:, -chosen.shape[1] - 1 : -1]  # the score that each followed from
    best = before.topk(2, dim=-1)
    if not torch.equal(best.indices[..., 0], chosen):
        raise SystemExit("a token was written that was not the likeliest")
    return (best.values[..., 0] - best.values[..., 1]).min().item()


# ------------------------------------------------------------------ writing


def write_in_turns(
    started: Mapping[str, Contender], prompt: list[list[int]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], list[list[int]]]:
    """Let all write the same text, in turns.

    Returns:
        Tokens a second and CPU seconds of each, round by round, and the text.
    """
    cpu: dict[str, list[float]] = {name: [] for name in started}
    ids: dict[str, list[list[int]]] = {}

    def turn(name: str) -> float:
        said = started[name].ask("generate", prompt=prompt, new_tokens=NEW_TOKENS)
        cpu[name].append(said["cpu_seconds"])
        if ids.setdefault(name, said["ids"]) != said["ids"]:
            raise SystemExit(f"{name} does not write the same twice")
        return len(prompt) * NEW_TOKENS / said["wall_seconds"]

    # Before the first round that counts, models are compiled and caches get their room.
    speeds = interleave(
        {name: lambda name=name: turn(name) for name in started}, rounds
    )
    require_same_ids({name: ids[name] for name in ids if name not in INEXACT})
    return speeds, {name: cpu[name][-rounds:] for name in cpu}, ids[next(iter(ids))]


def rows_of(
    rows: int,
    speeds: Mapping[str, list[float]],
    cpu: Mapping[str, list[float]],
    started: Mapping[str, Contender],
) -> list[dict[str, Any]]:
    """A row of the table for each contender, with ``rows`` texts at a time."""
    return [
        race.row(name, speeds, BASE, cpu[name], started[name].ask("memory"), batch=rows)
        for name in speeds
    ]


# ------------------------------------------------------------------ one more token


def one_more_token(
    started: Mapping[str, Contender], tokens: list[int], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of scoring what follows ``tokens``, by each way, in turns.

    Raises:
        SystemExit: two ways choose different tokens.
    """
    passes, chosen = {}, {}
    for name, contender in started.items():
        contender.ask("read", tokens=[tokens])
        contender.ask("next_token", passes=1)
        said = contender.ask("next_token", passes=1)
        chosen[name] = said["id"]
        passes[name] = 1 + int(TURN_MILLISECONDS / said["milliseconds"])
    if len(set(chosen.values())) > 1:
        raise SystemExit(f"after {len(tokens)} tokens the ways disagree: {chosen}")

    def turn(name: str) -> float:
        said = started[name].ask("next_token", passes=passes[name])
        return said["milliseconds"]

    return interleave({name: lambda name=name: turn(name) for name in started}, rounds)


def context_rows(
    context: int, milliseconds: Mapping[str, list[float]]
) -> list[dict[str, Any]]:
    """A row of the second table for each way."""
    found = []
    for name, taken in milliseconds.items():
        one, ratio = spread(taken), ratios(taken, milliseconds["preallocated"])
        found.append(
            {
                "way": name,
                "context": context,
                "milliseconds": round(one.median, 3),
                "low": round(one.low, 3),
                "high": round(one.high, 3),
                "rounds": one.rounds,
                "ratio_to_preallocated": round(ratio.median, 3),
                "ratio_low": round(ratio.low, 3),
                "ratio_high": round(ratio.high, 3),
            }
        )
    return found


# ------------------------------------------------------------------ the benchmark


def main(
    threads: int,
    batches: Mapping[int, int] = BATCHES,
    way_rounds: int = WAY_ROUNDS,
) -> None:
    """Take turns, compare, and store what came out."""
    with tempfile.TemporaryDirectory() as folder:
        measure(threads, batches, way_rounds, Path(folder))


def measure(
    threads: int, batches: Mapping[int, int], way_rounds: int, folder: Path
) -> None:
    """The same, with weights and packages in ``folder``."""
    rows: list[dict[str, Any]] = []
    speeds: dict[int, dict[str, list[float]]] = {}
    leads = []
    shares: dict[int, float] = {}
    for batch, rounds in batches.items():
        # New processes: a model that was compiled for one row is not fast for eight,
        # and the peak of one batch is not that of another.
        peers = {
            name: peer
            for name, peer in PEERS.items()
            if batch == 1 or name not in ALONE_ONLY
        }
        prompt = race.random_tokens(batch, PROMPT, seed=PROMPT_SEED)
        with ExitStack() as stack:
            started = race.start(stack, peers, folder, threads)
            speeds[batch], cpu, ids = write_in_turns(started, prompt, rounds)
            rows += rows_of(batch, speeds[batch], cpu, started)
            shares[batch] = started["minillm"].ask(
                "product_share", prompt=prompt, new_tokens=NEW_TOKENS
            )
            text = [old + new for old, new in zip(prompt, ids, strict=True)]
            path = folder / "text.safetensors"
            started["minillm"].ask("score", tokens=text, path=str(path))
            leads.append(smallest_lead(load_file(path)["scores"], ids))
    if min(leads) < SMALLEST_LEAD:
        raise SystemExit(
            f"a token was chosen by {min(leads):.2g}: too close for peers to agree"
        )

    contexts: list[dict[str, Any]] = []
    milliseconds = {}
    with ExitStack() as stack:
        started = race.start(stack, WAYS, folder, threads)
        tokens = race.random_tokens(max(CONTEXTS), seed=3)
        for context in CONTEXTS:
            taken = one_more_token(started, tokens[:context], way_rounds)
            contexts += context_rows(context, taken)
            milliseconds[context] = taken

    def against(name: str, base: str, batch: int = 1) -> Any:
        return ratios(speeds[batch][name], speeds[batch][base])

    fastest = max(FASTEST, key=lambda name: against(name, BASE).median)
    write(
        "generation",
        [
            Goal(
                "generation, batch 1, eager, against transformers",
                at_least=1.6,
                aim=2.2,
                measured=against("minillm", BASE),
            ),
            Goal(
                "generation, batch 1, eager, against litgpt",
                at_least=1.2,
                aim=1.6,
                measured=against("minillm", "litgpt"),
            ),
            Goal(
                "generation, batch 8, eager, against transformers",
                at_least=1.4,
                aim=2.0,
                measured=against("minillm", BASE, batch=8),
                why_not=(
                    "matrix products and attention, PyTorch's own in all eager code,"
                    f" take {shares[8]:.0%} of our time for eight texts on this machine"
                    f" ({shares[1]:.0%} for one): little is left to be spared"
                ),
            ),
            Goal(
                f"generation, batch 1, {fastest}, against transformers",
                at_least=2.5,
                aim=3.5,
                measured=against(fastest, BASE),
            ),
            Goal(
                "one more token at context 1,024, cached against uncached",
                at_least=25.0,
                aim=35.0,
                measured=ratios(
                    milliseconds[1024]["no cache"], milliseconds[1024]["preallocated"]
                ),
            ),
        ],
        rows,
        threads,
        ("transformers",),
        litgpt=litgpt_environment.VERSION,
        prompt=PROMPT,
        new_tokens=NEW_TOKENS,
        share_of_products={str(rows): round(x, 3) for rows, x in shares.items()},
        smallest_lead=round(min(leads), 4),
        contexts=contexts,
    )
