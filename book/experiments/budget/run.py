"""Train one family of models at fixed budgets of operations, and see which size wins.

The question, the hypothesis and the protocol are in question.md.

    python -m book.experiments.budget.run [--check]     # in the repository's folder

Writes results.csv beside this file, a row as each run finishes, and resumes where it
was stopped. Takes about ten minutes on one idle core.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from book.experiments import records
from book.experiments.ablation import text
from minillm import costs
from minillm.config import RunConfig, fingerprint, preset
from minillm.data import Corpus
from minillm.evaluate import evaluate
from minillm.model import build
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import DivergedError, take_step, with_vocabulary

RESULTS = Path(__file__).resolve().parent / "results.csv"
WIDTHS = {1e11: (12, 18, 24, 36, 48, 72), 2.5e10: (6, 12, 18, 24, 36)}
"""By budget, in training FLOPs."""

RATES = (4e-3, 8e-3, 16e-3)
TUNING_SEED, SEEDS = 100, (0, 1, 2)
EARLY = 50  # the training loss of this step is kept too, for --check
FIELDS = ["stage", "budget", "d_model", "learning_rate", "seed", "parameters"]
FIELDS += ["steps", "tokens", "flops", "early_loss", "val_loss", "bits_per_byte"]
FIELDS += ["cpu_seconds", "threads", "fingerprint", "commit", "torch"]

Row = dict[str, str]


@dataclass(frozen=True)
class Run:
    """One model to train."""

    stage: str
    budget: float
    d_model: int
    learning_rate: float
    seed: int


def configuration(run: Run, corpus: Corpus) -> RunConfig:
    """A run's configuration: as many steps as its budget pays for."""
    rate: dict[str, Any] = {"learning_rate": run.learning_rate, "seed": run.seed}
    rate["min_learning_rate"] = run.learning_rate / 10
    changes: dict[str, dict[str, Any]] = {
        "model": {"d_model": run.d_model, "n_heads": 3, "n_kv_heads": 1},
        "train": rate,
        "data": {"directory": str(corpus.directory)},
    }
    plan = with_vocabulary(preset("llama", changes=changes), corpus)
    per_step = plan.train.batch_size * plan.model.context_length
    steps = round(run.budget / (per_step * costs.train_flops_per_token(plan.model)))
    changes["train"] = {**rate, "steps": steps, "warmup_steps": steps // 10}
    return with_vocabulary(preset("llama", changes=changes), corpus)


def mark(run: Run, corpus: Corpus) -> str:
    """The fingerprint of all that a row depends on besides its seed."""
    return fingerprint(configuration(run, corpus), corpus.hash)


def losses(run: Run, corpus: Corpus, last: int | None = None) -> Row:
    """Train, and say what came out; only the first steps, if ``last`` is given."""
    config, precision = configuration(run, corpus), Precision("float32", "cpu")
    torch.manual_seed(config.train.seed)
    model = build(config.model)
    optimizers = build_optimizers(model, config.train)
    found, began = {"early_loss": ""}, time.process_time()
    for step in range(last or config.train.steps):
        try:
            done = take_step(step, model, optimizers, precision, corpus.train, config)
        except DivergedError:
            return {**found, "val_loss": "inf", "bits_per_byte": "inf"}
        if step + 1 == EARLY:
            found["early_loss"] = f"{done.loss:.5f}"
    found["cpu_seconds"] = f"{time.process_time() - began:.1f}"
    if last is None:
        measured = evaluate(model, corpus.val)
        found["val_loss"] = f"{measured.loss:.5f}"
        found["bits_per_byte"] = f"{measured.bits_per_byte:.5f}"
    return found


# ------------------------------------------------------------------ the file of rows


def read() -> list[Row]:
    """The rows written so far."""
    return records.read(RESULTS)


def write(row: Row) -> None:
    """Add a row to the file, under a header if it is new."""
    records.append(RESULTS, FIELDS, [row])


def made(run: Run, corpus: Corpus) -> float:
    """Make a run unless its row is there; return its validation loss."""
    head = {
        "stage": run.stage,
        "budget": f"{run.budget:g}",
        "d_model": str(run.d_model),
        "learning_rate": f"{run.learning_rate:g}",
        "seed": str(run.seed),
        "fingerprint": mark(run, corpus),
    }
    for row in read():
        if all(row[name] == value for name, value in head.items()):
            return float(row["val_loss"])
    config = configuration(run, corpus)
    tokens = costs.train_tokens(config.model, config.train)
    flops = tokens * costs.train_flops_per_token(config.model)
    head |= {
        "parameters": str(costs.num_parameters(config.model)),
        "steps": str(config.train.steps),
        "tokens": str(tokens),
        "flops": f"{flops:.4g}",
        "threads": str(torch.get_num_threads()),
        "commit": records.commit(),
        "torch": torch.__version__,
    }
    row = head | losses(run, corpus)
    write(row)
    print(*(row[name] for name in FIELDS[:7]), row["val_loss"], flush=True)
    return float(row["val_loss"])


# ------------------------------------------------------------------ what is asked


def tuned(budget: float, d_model: int, corpus: Corpus) -> float:
    """The best learning rate of a width at a budget, inside its grid."""
    rates = list(RATES)
    while True:
        found = {
            rate: made(Run("tune", budget, d_model, rate, TUNING_SEED), corpus)
            for rate in rates
        }
        best = min(found, key=found.__getitem__)
        if best == rates[-1]:
            rates.append(2 * best)
        elif best == rates[0]:
            rates.insert(0, best / 2)
        else:
            return best


Point = tuple[float, float, float]
"""Parameters, loss, and tokens read."""


def points(budget: float, seed: int | None = None) -> list[Point]:
    """Each width of a budget, the smallest first; means of all seeds, or one seed."""
    found: dict[tuple[int, int], list[float]] = {}
    for row in read():
        wanted = row["stage"] == "final" and float(row["budget"]) == budget
        if wanted and seed in (None, int(row["seed"])):
            place = int(row["parameters"]), int(row["tokens"])
            found.setdefault(place, []).append(float(row["val_loss"]))
    return sorted((n, statistics.fmean(all_), d) for (n, d), all_ in found.items())


def lowest(points: Sequence[Point]) -> tuple[float, float]:
    """Where a parabola through the lowest point and its neighbours is lowest.

    Args:
        points: at least three; parameters enter by logarithm.

    Returns:
        Parameters there, and the tokens that the budget pays for at that size.

    Raises:
        ValueError: the lowest point is the first or the last.
    """
    points = sorted(points)
    at = min(range(len(points)), key=lambda i: points[i][1])
    if at in (0, len(points) - 1):
        raise ValueError(f"the lowest loss is at an edge: {points[at][0]:,} parameters")
    (x0, y0, _), (x1, y1, tokens), (x2, y2, _) = (
        (math.log(size), loss, read) for size, loss, read in points[at - 1 : at + 2]
    )
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = (right - left) / (x2 - x0)
    x = (x0 + x1) / 2 - left / (2 * bend)
    return math.exp(x), tokens * math.exp(x1 - x)  # close by, tokens go with 1 / size


def best(budget: float, seed: int | None = None) -> tuple[float, float]:
    """The best size at a budget, and the tokens it reads: by all seeds, or by one."""
    return lowest(points(budget, seed))


def experiment(corpus: Corpus) -> None:
    """Tune every width, then make the runs that count, seed by seed."""
    for budget, start in WIDTHS.items():
        rates = {width: tuned(budget, width, corpus) for width in start}
        means: dict[int, list[float]] = {}
        for seed in SEEDS:
            for width, rate in rates.items():
                run = Run("final", budget, width, rate, seed)
                means.setdefault(width, []).append(made(run, corpus))
        best = min(means, key=lambda width: statistics.fmean(means[width]))
        print(f"{budget:g} FLOPs: the best width is {best}", flush=True)


def check(corpus: Corpus) -> bool:
    """Make the first steps of one run again, and compare."""
    row = next(r for r in read() if r["stage"] == "final" and r["d_model"] == "48")
    numbers = float(row["budget"]), int(row["d_model"]), float(row["learning_rate"])
    run = Run("final", *numbers, int(row["seed"]))
    new = losses(run, corpus, last=EARLY)["early_loss"]
    print(f"step {EARLY}: {row['early_loss']} then, {new} now")
    same = abs(float(new) - float(row["early_loss"])) < 1e-3
    return same and row["fingerprint"] == mark(run, corpus)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only repeat the first steps and compare"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = text()
    if options.check:
        return 0 if check(corpus) else 1
    experiment(corpus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
