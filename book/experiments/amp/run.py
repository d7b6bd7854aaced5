"""Train one rung in several number formats, and write down what each run reached.

The question and the hypothesis are in question.md, the arms in *.toml.

    python -m book.experiments.amp.run            # resumes where it stopped
    python -m book.experiments.amp.run --check    # the first steps of one run again

Run it in the repository's folder. Rows are written as runs finish.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from book.experiments import records
from book.experiments.ablation import text
from minillm.config import RunConfig, fingerprint, preset, read_toml
from minillm.data import Corpus
from minillm.evaluate import evaluate
from minillm.model import build
from minillm.optim import build_optimizers
from minillm.precision import DTYPES, Precision
from minillm.train import DivergedError, take_step, with_vocabulary

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.csv"
ARMS = ("float32", "bfloat16", "bfloat16-weights", "float16", "float16-bare")
ARMS += ("float32-nudged",)
SEEDS = (0, 1, 2, 3, 4)
RUNG = "llama"
STEPS, BATCH_SIZE, WARMUP_STEPS = 120, 8, 30
EARLY = 50  # a row at this step too, for --check
FIELDS = ["stage", "arm", "learning_rate", "seed", "step", "tokens", "val_loss"]
FIELDS += ["bits_per_byte", "skipped", "scale", "zero_share", "cpu_seconds"]
FIELDS += ["threads", "fingerprint", "commit", "torch"]

Row = dict[str, str]


def arm(name: str, seed: int, corpus: Corpus) -> tuple[RunConfig, dict[str, Any]]:
    """An arm's configuration, and its own table."""
    values = read_toml(HERE / f"{name}.toml")
    experiment = values.pop("experiment")
    train = {"steps": STEPS, "warmup_steps": WARMUP_STEPS, "device": "cpu"}
    train |= {"batch_size": BATCH_SIZE, **values["train"], "seed": seed}
    where = {"directory": str(corpus.directory)}
    config = preset(RUNG, changes={"train": train, "data": where})
    return with_vocabulary(config, corpus), experiment


def mark(name: str, corpus: Corpus) -> str:
    """The fingerprint of an arm."""
    config, experiment = arm(name, 0, corpus)
    return fingerprint(config, corpus.hash, experiment)


def fresh(name: str, seed: int, corpus: Corpus) -> tuple[Any, ...]:
    """Configuration, model, optimisers and precision before the first step."""
    config, experiment = arm(name, seed, corpus)
    torch.manual_seed(seed)
    model = build(config.model)
    if experiment.get("nudged"):
        model = model.to(torch.bfloat16).to(torch.float32)
    model = model.to(DTYPES[experiment.get("weights", "float32")])
    precision = Precision(config.train.precision, "cpu")
    if "scaler" in experiment:
        precision.scaler = torch.amp.GradScaler("cpu", enabled=experiment["scaler"])
    return config, model, build_optimizers(model, config.train), precision


def zero_share(model: nn.Module) -> float:
    """The share of entries of the last gradient that are exactly zero."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    zeros = sum(int((gradient == 0).sum()) for gradient in gradients)
    return zeros / sum(gradient.numel() for gradient in gradients)


def trained(
    name: str, seed: int, corpus: Corpus, last: int = STEPS
) -> Iterator[dict[str, Any]]:
    """Train one model; say what is known after the early step and after the last.

    The loss is computed in float32 from the weights as they are. A run that diverges
    ends with an infinite loss.
    """
    config, model, optimizers, precision = fresh(name, seed, corpus)
    skipped, seconds = 0, 0.0
    for step in range(last):
        began = time.process_time()
        try:
            done = take_step(
                step,
                model,
                optimizers,
                precision,
                corpus.train,
                config,
                skipped=skipped,
            )
        except DivergedError:
            yield {"step": STEPS, "val_loss": math.inf, "skipped": skipped}
            return
        seconds += time.process_time() - began
        skipped += not done.taken
        if step + 1 in (EARLY, last):
            wide = build(config.model)
            wide.load_state_dict(model.state_dict())
            reached = evaluate(wide, corpus.val)
            yield {
                "step": step + 1,
                "val_loss": reached.loss,
                "bits_per_byte": reached.bits_per_byte,
                "skipped": skipped,
                "scale": precision.scaler.get_scale(),
                "zero_share": zero_share(model),
                "cpu_seconds": seconds,
            }


def read() -> list[Row]:
    """The rows written so far."""
    return records.read(RESULTS)


def make(name: str, seed: int, corpus: Corpus) -> list[Row]:
    """Train one model and describe it in rows."""
    config, _ = arm(name, seed, corpus)
    rows = []
    for found in trained(name, seed, corpus):
        tokens = found["step"] * config.train.batch_size * config.model.context_length
        cells = {
            "stage": "final",
            "arm": name,
            "learning_rate": f"{config.train.learning_rate:g}",
            "seed": str(seed),
            "step": str(found["step"]),
            "tokens": str(tokens),
            "val_loss": f"{found['val_loss']:.5f}",
            "bits_per_byte": f"{found.get('bits_per_byte', math.inf):.5f}",
            "skipped": str(found["skipped"]),
            "scale": f"{found.get('scale', math.nan):g}",
            "zero_share": f"{found.get('zero_share', math.nan):.6f}",
            "cpu_seconds": f"{found.get('cpu_seconds', math.inf):.1f}",
            "threads": str(torch.get_num_threads()),
            "fingerprint": mark(name, corpus),
            "commit": records.commit(),
            "torch": torch.__version__,
        }
        rows.append(cells)
    return rows


def write(rows: list[Row]) -> None:
    """Add rows to the file, under a header if it is new."""
    records.append(RESULTS, FIELDS, rows)


def check(corpus: Corpus) -> bool:
    """Make the first steps of one run again, and compare."""
    old = next(r for r in read() if r["step"] == str(EARLY))
    new = next(trained(old["arm"], int(old["seed"]), corpus, EARLY))["val_loss"]
    print(f"amp, {old['arm']}, step {EARLY}: {old['val_loss']} then, {new:.5f} now")
    return abs(new - float(old["val_loss"])) < 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only repeat a beginning")
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = text()
    if options.check:
        return 0 if check(corpus) else 1
    for seed in SEEDS:
        for name in ARMS:
            key = (name, str(seed), mark(name, corpus))
            if key in {(r["arm"], r["seed"], r["fingerprint"]) for r in read()}:
                continue
            rows = make(name, seed, corpus)
            write(rows)
            print(*rows[-1].values(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
