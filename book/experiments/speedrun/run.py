"""Which settings train the plain rung fastest? Every run that was made, one row each.

The question, what was expected and what came out are in README.md. A run is named by
what it changes in the preset `llama`, as `name=value` pairs.

    python -m book.experiments.speedrun.run TEXT            # resumes where it stopped
    python -m book.experiments.speedrun.run TEXT --check    # one short run again

TEXT is the file of the field's well-known Shakespeare sample; it may stand in the
variable MINILLM_TINYSHAKESPEARE instead. Run it in the repository's folder.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from book.experiments import records
from book.experiments.parts import BUILDS
from minillm import costs
from minillm.config import ModelConfig, RunConfig, fingerprint, preset
from minillm.data import Corpus, prepare
from minillm.evaluate import evaluate
from minillm.model import Transformer
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import DivergedError, take_step, with_vocabulary

VARIABLE = "MINILLM_TINYSHAKESPEARE"
RESULTS = Path(__file__).resolve().parent / "results.csv"
README = RESULTS.with_name("README.md")
BEGIN, END = "<!-- rows:begin -->\n", "<!-- rows:end -->\n"
FIELDS = ["changes", "seed", "steps", "tokens", "parameters", "val_loss"]
FIELDS += ["cpu_seconds", "threads", "fingerprint", "corpus", "commit", "torch"]
MODEL_FIELDS = {field.name for field in dataclasses.fields(ModelConfig)}

Row = dict[str, str]


@dataclass(frozen=True)
class Run:
    """One model to train: what differs from `llama`, and the seed."""

    changes: str
    seed: int


@torch.no_grad()
def silent(config: ModelConfig) -> Transformer:
    """Matrices that write to the residual stream start at zero."""
    model = Transformer(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("out.weight", "down.weight")):
            nn.init.zeros_(parameter)
    return model


def plain_values(changes: str) -> dict[str, dict[str, Any]]:
    """``"d_model=128 optimizer=muon"`` by section, as a preset's tables."""
    tables: dict[str, dict[str, Any]] = {"model": {}, "train": {}, "experiment": {}}
    for pair in changes.split():
        name, _, said = pair.partition("=")
        try:
            value = tomllib.loads(f"value = {said}")["value"]
        except tomllib.TOMLDecodeError:
            value = said  # a word
        section = "model" if name in MODEL_FIELDS else "train"
        tables["experiment" if name == "build" else section][name] = value
    return tables


def configuration(run: Run, vocab_size: int) -> tuple[RunConfig, dict[str, Any]]:
    """A run's configuration, and what of it only this experiment has."""
    tables = plain_values(run.changes)
    own = tables.pop("experiment")
    tables["train"]["seed"] = run.seed
    return preset("llama", vocab_size, tables), own


def mark(run: Run, corpus_hash: str, vocab_size: int) -> str:
    """The fingerprint of all that a row depends on besides its seed."""
    config, own = configuration(run, vocab_size)
    return fingerprint(config, corpus_hash, own)


def measure(run: Run, corpus: Corpus) -> Row:
    """Train, evaluate once, and say what came out."""
    config, own = configuration(run, corpus.vocab_size)
    config, precision = with_vocabulary(config, corpus), Precision("float32", "cpu")
    torch.manual_seed(config.train.seed)
    model = {**BUILDS, "silent": silent}[own.get("build", "plain")](config.model)
    optimizers = build_optimizers(model, config.train)
    began, loss = time.process_time(), "inf"
    try:
        for step in range(config.train.steps):
            take_step(step, model, optimizers, precision, corpus.train, config)
        seconds = time.process_time() - began
        loss = f"{evaluate(model, corpus.val).loss:.4f}"
    except DivergedError:
        seconds = time.process_time() - began
    return {
        "changes": run.changes,
        "seed": str(run.seed),
        "steps": str(config.train.steps),
        "tokens": str(costs.train_tokens(config.model, config.train)),
        "parameters": str(costs.num_parameters(config.model)),
        "val_loss": loss,
        "cpu_seconds": f"{seconds:.1f}",
        "threads": str(torch.get_num_threads()),
        "fingerprint": fingerprint(config, corpus.hash, own),
        "corpus": corpus.hash,
        "commit": records.commit(),
        "torch": torch.__version__,
    }


def made(run: Run, corpus: Corpus) -> float:
    """Make a run unless its row is there; return its validation loss."""
    wanted = mark(run, corpus.hash, corpus.vocab_size), str(run.seed)
    for row in records.read(RESULTS):
        if (row["fingerprint"], row["seed"]) == wanted:
            return float(row["val_loss"])
    row = measure(run, corpus)
    records.append(RESULTS, FIELDS, [row])
    print(row["val_loss"], row["cpu_seconds"], run.seed, run.changes, flush=True)
    return float(row["val_loss"])


# ------------------------------------------------------------------ what is asked

TUNING_SEEDS = (1001, 1002)
"""The race has others, and nothing is chosen by those."""


def joined(base: str, changes: str) -> str:
    """A base with some of its pairs replaced, in alphabetical order."""
    pairs = dict(pair.split("=") for pair in f"{base} {changes}".split())
    return " ".join(f"{name}={pairs[name]}" for name in sorted(pairs))


MUON = "optimizer=muon muon_learning_rate=4e-2 learning_rate=3e-2 muon_momentum=0.9"
MUON += " muon_newton_schulz_steps=3 batch_size=12 warmup_steps=10 min_learning_rate=0"
ADAMW = "warmup_steps=20 min_learning_rate=0 schedule=linear"

BETTER = joined(MUON, "learning_rate=2e-2 muon_momentum=0.85 batch_size=16")
BETTER = joined(BETTER, "schedule=linear")

SEARCH: tuple[tuple[str, list[str]], ...] = (
    (
        MUON + " steps=250",
        [
            "d_model=128 n_heads=4 n_kv_heads=4 muon_learning_rate=2e-2 batch_size=8"
            " steps=270 warmup_steps=20",
            "n_kv_heads=2",
            "muon_learning_rate=8e-2",
            "d_model=128 n_heads=4 n_kv_heads=2",
            "d_model=128 n_heads=4 n_kv_heads=2 muon_learning_rate=8e-2",
            "learning_rate=1e-2",
            "weight_decay=0.0",
            "steps=370",
            "muon_learning_rate=2e-2",
            "learning_rate=1e-1",
            "schedule=wsd decay_steps=240",
            "batch_size=8 steps=480",
            "n_layers=3 steps=470",
            "n_layers=2 d_model=144 steps=400",
        ],
    ),
    (
        MUON + " n_layers=3 steps=470",
        [
            "n_layers=2 steps=620",
            "schedule=wsd decay_steps=460",
            "muon_newton_schulz_steps=2",
            "muon_learning_rate=3e-2",
            "n_heads=3 n_kv_heads=1",
            "muon_momentum=0.95",
            "batch_size=8 steps=600",
            "learning_rate=5e-2",
            "d_model=128 n_heads=4 n_kv_heads=2 steps=330",
        ],
    ),
    (
        MUON + " n_layers=2 steps=450 schedule=wsd",
        [
            "decay_steps=440",
            "decay_steps=220",
            "decay_steps=440 muon_momentum=0.85",
            "batch_size=16 steps=350 decay_steps=340",
            "d_model=128 n_heads=4 n_kv_heads=2 steps=320 decay_steps=310",
            "decay_steps=440 learning_rate=2e-2",
            "decay_steps=440 muon_learning_rate=6e-2",
            "decay_steps=440 build=silent",
        ],
    ),
    (
        MUON + " schedule=linear",
        ["n_layers=3 steps=2000", "n_layers=4 steps=1550"],
    ),
    (
        BETTER + " n_layers=3 steps=320",
        [
            "steps=320",
            "n_layers=2 steps=400",
            "rope_base=1000.0",
            "n_layers=2 steps=2600",
        ],
    ),
    (
        ADAMW + " batch_size=16 n_layers=3 steps=550 beta2=0.95",
        [
            "learning_rate=8e-3",
            "learning_rate=16e-3",
            "learning_rate=12e-3 n_layers=2 steps=750",
        ],
    ),
    (
        ADAMW + " batch_size=16 n_layers=3 steps=800 warmup_steps=50",
        [
            "learning_rate=4e-3",
            "learning_rate=6e-3 n_layers=2 steps=1000",
            "learning_rate=4e-3 batch_size=12 steps=1000",
        ],
    ),
    (
        ADAMW + " batch_size=16 n_layers=2 warmup_steps=50 learning_rate=6e-3",
        ["steps=760"],
    ),
    (BETTER + " n_layers=3", ["steps=1950 muon_learning_rate=3e-2"]),
)
"""What was tried on the way to the preset, with the first tuning seed alone: a base,
and what differs from it."""

SHORT = joined(BETTER, "n_layers=2 steps=420 muon_learning_rate=3e-2")
ADAMW_SHORT = joined(
    ADAMW, "batch_size=16 n_layers=2 steps=700 warmup_steps=50 learning_rate=6e-3"
)

BOTH = (
    SHORT,
    joined(SHORT, "muon_learning_rate=2e-2"),
    joined(SHORT, "muon_learning_rate=4e-2"),
    ADAMW_SHORT,
    joined(SHORT, "steps=320 muon_learning_rate=4e-2"),
    joined(ADAMW_SHORT, "steps=850"),
)
"""What was trained with both tuning seeds."""

FOUR, THREE = joined(MUON, "steps=250"), joined(MUON, "n_layers=3 steps=470")
TWO = joined(MUON, "n_layers=2 steps=450 schedule=wsd decay_steps=440")
WIDE = "d_model=128 n_heads=4 n_kv_heads=2"

COMPARED: tuple[tuple[str, str, str], ...] = (
    (
        "plain AdamW to Muon, 700 to 420 steps",
        ADAMW_SHORT,
        SHORT,
    ),
    (
        "4 to 3 layers, 370 to 470 steps",
        joined(FOUR, "steps=370"),
        THREE,
    ),
    ("3 to 2 layers, 470 to 620 steps", THREE, joined(THREE, "n_layers=2 steps=620")),
    (
        "width 96 to 128, 470 to 330 steps, 3 layers",
        THREE,
        joined(THREE, f"{WIDE} steps=330"),
    ),
    (
        "width 96 to 128, 450 to 320 steps, 2 layers",
        TWO,
        joined(TWO, f"{WIDE} steps=320 decay_steps=310"),
    ),
    (
        "6 heads on 2 to 3 heads on 1",
        THREE,
        joined(THREE, "n_heads=3 n_kv_heads=1"),
    ),
    (
        "half a cosine to a straight line",
        THREE,
        joined(THREE, "schedule=wsd decay_steps=460"),
    ),
    (
        "a straight line to one over the second half",
        TWO,
        joined(TWO, "decay_steps=220"),
    ),
    ("Newton-Schulz steps 3 to 2", THREE, joined(THREE, "muon_newton_schulz_steps=2")),
    ("Newton-Schulz steps 3 to 5", SHORT, joined(SHORT, "muon_newton_schulz_steps=5")),
    ("Muon's momentum 0.9 to 0.95", THREE, joined(THREE, "muon_momentum=0.95")),
    ("Muon's momentum 0.9 to 0.85", TWO, joined(TWO, "muon_momentum=0.85")),
    ("Muon's rate 0.04 to 0.08", FOUR, joined(FOUR, "muon_learning_rate=8e-2")),
    ("Muon's rate 0.04 to 0.06", TWO, joined(TWO, "muon_learning_rate=6e-2")),
    ("Muon's rate 0.03 to 0.04", SHORT, joined(SHORT, "muon_learning_rate=4e-2")),
    ("Muon's rate 0.03 to 0.02", SHORT, joined(SHORT, "muon_learning_rate=2e-2")),
    ("AdamW's rate 0.03 to 0.1", FOUR, joined(FOUR, "learning_rate=1e-1")),
    ("AdamW's rate 0.03 to 0.05", THREE, joined(THREE, "learning_rate=5e-2")),
    ("AdamW's rate 0.03 to 0.02", TWO, joined(TWO, "learning_rate=2e-2")),
    ("AdamW's rate 0.03 to 0.01", FOUR, joined(FOUR, "learning_rate=1e-2")),
    (
        "batches of 12 to 8, 470 to 600 steps",
        THREE,
        joined(THREE, "batch_size=8 steps=600"),
    ),
    (
        "batches of 12 to 16, 450 to 350 steps",
        TWO,
        joined(TWO, "batch_size=16 steps=350 decay_steps=340"),
    ),
    ("weight decay 0.1 to 0", FOUR, joined(FOUR, "weight_decay=0.0")),
    ("writers to the stream start at zero", TWO, joined(TWO, "build=silent")),
    (
        "base of RoPE 10,000 to 1,000",
        joined(BETTER, "n_layers=3 steps=320"),
        joined(BETTER, "n_layers=3 steps=320 rope_base=1000.0"),
    ),
    (
        "long: 4 to 3 layers, 1,550 to 2,000 steps",
        joined(MUON, "schedule=linear n_layers=4 steps=1550"),
        joined(MUON, "schedule=linear n_layers=3 steps=2000"),
    ),
    (
        "long: 2 to 3 layers, 2,600 to 1,950 steps, Muon's rate 0.04 to 0.03",
        joined(BETTER, "n_layers=2 steps=2600"),
        joined(BETTER, "n_layers=3 steps=1950 muon_learning_rate=3e-2"),
    ),
)
"""What the README shows: in words, the changes before, and the changes after."""


def runs() -> list[Run]:
    """All runs of the table."""
    first, _ = TUNING_SEEDS
    searched = [Run(joined(base, one), first) for base, all_ in SEARCH for one in all_]
    searched.append(Run(joined(SHORT, "muon_newton_schulz_steps=5"), first))
    return searched + [Run(changes, seed) for changes in BOTH for seed in TUNING_SEEDS]


def found(changes: str) -> dict[str, Row]:
    """The rows of a configuration, by seed."""
    wanted = mark(Run(changes, 0), "", 0)
    return {
        row["seed"]: row
        for row in records.read(RESULTS)
        if mark(Run(row["changes"], 0), "", 0) == wanted
    }


def table() -> str:
    """What one change at a time has done, as Markdown."""
    lines = ["| | seeds | loss before | after | difference | CPU seconds | after |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|"]
    for words, before, after in COMPARED:
        old, new = found(before), found(after)
        seeds = sorted(old.keys() & new.keys())

        def mean(name: str, rows: dict[str, Row], seeds: list[str] = seeds) -> float:
            return statistics.mean(float(rows[seed][name]) for seed in seeds)

        losses = mean("val_loss", old), mean("val_loss", new)
        seconds = mean("cpu_seconds", old), mean("cpu_seconds", new)
        lines.append(
            f"| {words} | {len(seeds)} | {losses[0]:.3f} | {losses[1]:.3f} |"
            f" {losses[1] - losses[0]:+.3f} | {seconds[0]:.0f} | {seconds[1]:.0f} |"
        )
    return "\n".join(lines) + "\n"


def check(corpus: Corpus) -> bool:
    """Make the shortest run again, and compare."""
    row = min(records.read(RESULTS), key=lambda row: float(row["cpu_seconds"]))
    new = measure(Run(row["changes"], int(row["seed"])), corpus)
    print(f"{row['changes']}: {row['val_loss']} then, {new['val_loss']} now")
    same = abs(float(new["val_loss"]) - float(row["val_loss"])) < 1e-2
    return same and new["fingerprint"] == row["fingerprint"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", default=os.environ.get(VARIABLE))
    parser.add_argument("--check", action="store_true", help="one short run again")
    options = parser.parse_args()
    if options.text is None:
        parser.error(f"name the text's file, or set {VARIABLE}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(options.text, Path(folder) / "corpus")
        if options.check:
            return 0 if check(corpus) else 1
        for run in runs():
            made(run, corpus)
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(
        before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1],
        encoding="utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
