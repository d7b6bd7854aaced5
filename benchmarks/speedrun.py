"""How soon is a character model good? Our presets against the classic recipe.

Whole processes, from a prepared text to a measured model: start, training, and a pass
over the whole validation split. CPU seconds and memory are what the system says of
each. The classic recipe is ``benchmarks/classic.py``; the others are presets of the
package, trained by its command line as anybody would:

    classic         2,000 steps of AdamW
    speedrun        the preset, all its steps: about the classic recipe's CPU seconds
    speedrun-short  the same, with as many --steps as it needs to reach the target
    speedrun-adamw  the preset's shape with plain AdamW, and as many steps as that needs

How many steps a short run needs was chosen beforehand, with seeds that are not used
here (``book/experiments/speedrun``); if one of them does not reach the target, the goal
is missed.

Two processes run side by side, on one thread each, and the next begins when one ends:
everybody always has one neighbour, and CPU seconds are those of a busy machine. Only
the very last may be alone.

All are judged on the same characters: the classic recipe is told where our corpus was
cut, one character beside int(0.9 n). The variable MINILLM_TINYSHAKESPEARE names the
file of the field's well-known sample, on which the classic recipe must first reach what
is known of it; only then are there ratios. Without it the text is ours, and the ratios
are not comparable with those of others: they are stored under another name.
"""

import hashlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Goal, Usage, ratios, run, spread, write
from minillm import corpora, costs, data
from minillm.config import preset
from minillm.files import read_json

VARIABLE = "MINILLM_TINYSHAKESPEARE"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
"""Of the exact text."""
KNOWN, TOLERANCE = 1.90, 0.02
"""What the classic recipe reaches on it, in nats per character."""
TARGET = 1.88
SEEDS = (0, 1, 2)
SIDE_BY_SIDE = 2
ONCE = 10**9  # an ``eval_every`` that leaves the first and the last measurement

CONTENDERS: dict[str, list[str]] = {
    "classic": [],
    "speedrun": ["speedrun"],
    "speedrun-short": ["speedrun", "--steps", "400"],
    "speedrun-adamw": [
        *("speedrun", "--steps", "740", "--optimizer", "adamw"),
        *("--learning_rate", "6e-3", "--warmup_steps", "50"),
    ],
}
"""By name: the preset and what the command line changes in it."""


@dataclass(frozen=True)
class Outcome:
    """What one process has reached, and what it took."""

    contender: str
    seed: int
    val_loss: float
    steps: int
    tokens: int
    parameters: int
    usage: Usage

    def row(self) -> dict[str, Any]:
        """A row of the table."""
        return {
            "contender": self.contender,
            "seed": self.seed,
            "val_loss": round(self.val_loss, 4),
            "steps": self.steps,
            "tokens": self.tokens,
            "parameters": self.parameters,
            **self.usage.row(),
        }


def main(threads: int) -> None:
    """Let all contenders train on each seed, and store what they reached."""
    with tempfile.TemporaryDirectory() as folder:
        text, exact = find_text(Path(folder))
        corpus = prepared(text, Path(folder) / "corpus")
        jobs = [
            (name, seed)
            for seed in SEEDS
            # the order rotates: nobody always has the same neighbour
            for name in [*CONTENDERS][seed:] + [*CONTENDERS][:seed]
        ]
        with ThreadPoolExecutor(max(1, SIDE_BY_SIDE // threads)) as pool:
            outcomes = list(
                pool.map(
                    lambda job: contend(*job, text, corpus, Path(folder), threads), jobs
                )
            )
    by_name = {
        name: [one for one in outcomes if one.contender == name] for name in CONTENDERS
    }
    losses = {name: [one.val_loss for one in all_] for name, all_ in by_name.items()}
    target = TARGET if exact else statistics.mean(losses["classic"]) + TARGET - KNOWN
    if exact:
        require_known(losses["classic"])
    write(
        "speedrun" if exact else "speedrun-nine-plays",
        goals(by_name, target, exact),
        [one.row() for one in outcomes],
        threads,
        text="tinyshakespeare" if exact else "the nine plays; not comparable",
        target=round(target, 4),
        seeds=list(SEEDS),
        side_by_side=max(1, SIDE_BY_SIDE // threads),
    )


def find_text(folder: Path) -> tuple[Path, bool]:
    """The exact text, or ours written into ``folder``; and whether it is the exact one.

    Raises:
        SystemExit: the variable names something else.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        print(f"{VARIABLE} is not set: our text, ratios not comparable", flush=True)
        path = folder / "text.txt"
        with path.open("w", encoding="utf-8", newline="") as file:
            for document in corpora.open_source("shakespeare").documents():
                file.writelines(document.pieces())
        return path, False
    path = Path(named)
    if not path.is_file():
        raise SystemExit(f"{VARIABLE} ({named}) must be a file")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{VARIABLE} ({named}) must be the exact text: {SHA256}")
    return path, True


def prepared(text: Path, folder: Path) -> data.Corpus:
    """The text as our corpus, and the promise that nothing was lost on the way.

    Raises:
        SystemExit: its two splits one after the other are not the text.
    """
    corpus = data.prepare(text, folder, tokenizer="chars", val_fraction=0.1)
    decoded = "".join(
        corpus.tokenizer.decode(split.tokens.tolist())
        for split in (corpus.train, corpus.val)
    )
    if decoded != text.read_text(encoding="utf-8"):
        raise SystemExit(f"{folder} does not hold the text of {text}")
    return corpus


def contend(
    name: str, seed: int, text: Path, corpus: data.Corpus, folder: Path, threads: int
) -> Outcome:
    """Let one contender train with one seed, in a process of its own."""
    if name == "classic":
        command = [sys.executable, "-m", "benchmarks.classic", text]
        command += ["--seed", seed, "--train_characters", len(corpus.train)]
        usage, said = run([str(word) for word in command], threads)
        outcome = classic_outcome(json.loads(said), usage, corpus)
    else:
        out = folder / f"{name}-{seed}"
        command = [sys.executable, "-m", "minillm.train", *CONTENDERS[name]]
        command += ["--data", corpus.directory, "--out", out, "--seed", seed]
        command += ["--device", "cpu", "--eval_every", ONCE]
        usage, _ = run([str(word) for word in command], threads)
        outcome = our_outcome(name, seed, out, usage)
    print(
        f"{name}, seed {seed}: {outcome.val_loss:.4f} nats per character,"
        f" {usage.cpu_seconds:.1f} CPU s",
        flush=True,
    )
    return outcome


def classic_outcome(
    said: Mapping[str, Any], usage: Usage, corpus: data.Corpus
) -> Outcome:
    """What the classic recipe has printed.

    Raises:
        SystemExit: it was not trained and judged on the characters that ours were.
    """
    theirs = said["train_characters"], said["val_characters"]
    ours = len(corpus.train), len(corpus.val) - 1  # the first has nothing before it
    if theirs != ours:
        raise SystemExit(f"characters to train on and to predict: {theirs}, not {ours}")
    numbers = {key: said[key] for key in ("seed", "val_loss", "steps", "parameters")}
    return Outcome("classic", tokens=said["tokens"], usage=usage, **numbers)


def our_outcome(name: str, seed: int, out: Path, usage: Usage) -> Outcome:
    """What one of our runs has stored.

    Raises:
        SystemExit: it measured more than before the first step and after the last.
    """
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    measured = [row for row in metrics if row["val_loss"] is not None]
    stored = read_json(out / "config.json")
    steps = stored["train"]["steps"]
    if [row["step"] for row in measured] != [0, steps]:
        raise SystemExit(f"{name} must be measured before its steps and after them")
    vocab_size = stored["model"]["vocab_size"]
    shape = preset(CONTENDERS[name][0], vocab_size).model
    return Outcome(
        contender=name,
        seed=seed,
        val_loss=measured[-1]["val_loss"],
        steps=steps,
        tokens=measured[-1]["tokens"],
        parameters=costs.num_parameters(shape),
        usage=usage,
    )


def require_known(losses: Sequence[float]) -> None:
    """No ratio to a recipe that is not the one that others know.

    Raises:
        SystemExit: the mean loss is not what is known of the recipe.
    """
    mean = statistics.mean(losses)
    if not abs(mean - KNOWN) <= TOLERANCE:
        raise SystemExit(
            f"the classic recipe reached {mean:.4f}, not {KNOWN} ± {TOLERANCE}:"
            " no ratio means anything"
        )


def goals(
    by_name: Mapping[str, Sequence[Outcome]], target: float, exact: bool
) -> list[Goal]:
    """How many times sooner, and how much better in the same time."""
    seconds = {
        name: [one.usage.cpu_seconds for one in all_] for name, all_ in by_name.items()
    }
    found = []
    for name, what, at_least, aim in (
        ("speedrun-short", "speedrun", 4.0, 6.0),
        ("speedrun-adamw", "plain AdamW", 1.8, 2.5),
    ):
        measured = ratios(seconds["classic"], seconds[name])
        late = [one for one in by_name[name] if one.val_loss > target]
        if late:  # a run that has not arrived has no time of arrival
            measured = spread([0.0] * len(seconds[name]))
        why_not = WHY_NOT.get(name, "")
        if late:
            seeds = ", ".join(str(one.seed) for one in late)
            why_not = f"above {target:.4f} with seed {seeds}. {why_not}".rstrip()
        found.append(
            Goal(
                f"{what}: CPU seconds to {target:.3g} nats, classic / ours",
                at_least,
                aim,
                measured,
                why_not,
            )
        )
    if exact:
        late = [
            one.seed
            for one, theirs in zip(by_name["speedrun"], seconds["classic"], strict=True)
            if one.usage.cpu_seconds > theirs
        ]
        # Who took longer does not count: what the short run reached was in time.
        loss = spread(
            [
                (shorter if one.seed in late else one).val_loss
                for one, shorter in zip(
                    by_name["speedrun"], by_name["speedrun-short"], strict=True
                )
            ]
        )
        why_not = WHY_NOT.get("speedrun", "")
        if late:
            seeds = ", ".join(map(str, late))
            why_not = f"longer than the classic recipe with seed {seeds}. {why_not}"
        name = "speedrun: nats per character within the classic CPU seconds"
        found.append(Goal(name, 1.62, 1.55, loss, why_not.rstrip()))
    return found


WHY_NOT = {
    "speedrun-short": "A third of a short run is no training: PyTorch and its compiler"
    " are imported, and the validation split is read twice.",
    "speedrun": "The preset was tuned over the short distance and has two layers.",
}
"""By contender, if its goal is missed: what is known about the reason."""
