"""Train every arm of a claim on paired seeds, and write down what each run reached.

A claim is a folder beside this file: question.md says what is asked and what was
expected, one TOML file an arm says what is trained, results.csv holds the rows. What
all arms share is in common.toml.

    python -m book.experiments.ablation rmsnorm [--workers 2]   # resumes
    python -m book.experiments.ablation rmsnorm --check         # the first steps again

Run it in the repository's folder. Rows are written as runs finish, so it may be
stopped at any time. A run that another claim has made already is copied, not made
again: the fingerprint says that it is the same.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from book.experiments import records
from book.experiments.parts import BUILDS
from minillm.config import RunConfig, fingerprint, preset, read_toml
from minillm.data import Corpus, prepare
from minillm.evaluate import evaluate
from minillm.model import Transformer
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import DivergedError, take_step, with_vocabulary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMON = read_toml(HERE / "common.toml")
CLAIMS = ("gpt2", "rmsnorm", "rope", "swiglu", "gqa")
SEEDS: list[int] = COMMON["experiment"]["seeds"]
TUNING_SEEDS: list[int] = COMMON["experiment"]["tuning_seeds"]
EARLY = 50  # a row at this step too, for --check
MEASURED = (EARLY, 500)  # and after the last step
FIELDS = ["stage", "arm", "learning_rate", "seed", "step", "tokens", "val_loss"]
FIELDS += ["bits_per_byte", "cpu_seconds", "threads", "fingerprint", "commit", "torch"]

Row = dict[str, str]


@dataclass(frozen=True)
class Run:
    """One model to train."""

    claim: str
    arm: str
    stage: str
    learning_rate: float
    seed: int


# ------------------------------------------------------------------ what is asked


def text() -> Corpus:
    """The course's Shakespeare, prepared if it is not there yet."""
    folder = ROOT / "data" / "shakespeare"
    if not (folder / "meta.json").is_file():
        prepare("shakespeare", folder)
    return Corpus(folder)


def arms(claim: str) -> list[str]:
    """The names of a claim's arms."""
    return sorted(path.stem for path in (HERE / claim).glob("*.toml"))


def own_table(claim: str, arm: str) -> dict[str, Any]:
    """What an arm's file says to this program: its rung, its build, its grid."""
    values = read_toml(HERE / claim / f"{arm}.toml")
    return {**COMMON["experiment"], **values.pop("experiment")}


def configuration(run: Run, corpus: Corpus) -> RunConfig:
    """All that the package needs to know of a run."""
    values = read_toml(HERE / run.claim / f"{run.arm}.toml")
    rung = values.pop("experiment")["preset"]
    train = {**COMMON["train"], **values.get("train", {}), "seed": run.seed}
    train["learning_rate"] = run.learning_rate
    train["min_learning_rate"] = run.learning_rate / 10
    changes = {**values, "train": train}
    return with_vocabulary(
        preset(rung, changes={**changes, "data": {"directory": str(corpus.directory)}}),
        corpus,
    )


def mark(run: Run, corpus: Corpus) -> str:
    """The fingerprint of a run: equal for runs that must give the same rows."""
    build = own_table(run.claim, run.arm).get("build")
    chosen = {"build": build} if build else {}
    return fingerprint(configuration(run, corpus), corpus.hash, chosen)


# ------------------------------------------------------------------ the file of rows


def read(claim: str) -> list[Row]:
    """The rows written so far."""
    return records.read(HERE / claim / "results.csv")


def write(claim: str, rows: Iterable[Row]) -> None:
    """Add rows to the file, under a header if it is new."""
    records.append(HERE / claim / "results.csv", FIELDS, rows)


def found(run: Run, corpus: Corpus) -> list[Row]:
    """The finished rows of a run, copied from another claim if that one has them."""
    wanted = (run.stage, str(run.seed), mark(run, corpus))
    last = str(configuration(run, corpus).train.steps)
    for claim in (run.claim, *(c for c in CLAIMS if c != run.claim)):
        rows = [
            row
            for row in read(claim)
            if (row["stage"], row["seed"], row["fingerprint"]) == wanted
            and (claim != run.claim or row["arm"] == run.arm)
        ]
        # the same run may be two arms of another claim: take the first of them
        rows = [row for row in rows if row["arm"] == rows[0]["arm"]]
        if any(row["step"] == last for row in rows):
            if claim != run.claim:
                rows = [{**row, "arm": run.arm} for row in rows]
                write(run.claim, rows)
            return rows
    return []


# ------------------------------------------------------------------ training


def weights(run: Run, corpus: Corpus) -> Path:
    """Where a run's trained model is kept; not part of the repository."""
    name = f"{mark(run, corpus)}-{run.seed}.safetensors"
    return ROOT / "runs" / "experiments" / name


def fresh(run: Run, corpus: Corpus) -> tuple[RunConfig, Transformer]:
    """A run's configuration, and its model before the first step."""
    config = configuration(run, corpus)
    torch.manual_seed(config.train.seed)
    kind = own_table(run.claim, run.arm).get("build", "plain")
    return config, BUILDS[kind](config.model)


def trained(
    run: Run, corpus: Corpus, last: int | None = None
) -> Iterator[tuple[int, float, Transformer]]:
    """Train; yield step, CPU seconds so far and model wherever it is measured.

    A run whose loss is no longer finite ends with an infinite number of seconds.
    """
    config, model = fresh(run, corpus)
    optimizers = build_optimizers(model, config.train)
    precision, seconds = Precision("float32", "cpu"), 0.0
    last = last or config.train.steps
    measured = {*MEASURED, last} if run.stage == "final" else {last}
    for step in range(last):
        began = time.process_time()
        try:
            take_step(step, model, optimizers, precision, corpus.train, config)
        except DivergedError:
            yield config.train.steps, float("inf"), model
            return
        seconds += time.process_time() - began
        if step + 1 in measured:
            yield step + 1, seconds, model


def make(run: Run) -> list[Row]:
    """Train one model and describe it in rows."""
    torch.set_num_threads(1)
    corpus = text()
    train = configuration(run, corpus).train
    rows = []
    for step, seconds, model in trained(run, corpus):
        diverged = seconds == float("inf")
        result = None if diverged else evaluate(model, corpus.val)
        tokens = step * train.batch_size * model.config.context_length
        rows.append(
            {
                "stage": run.stage,
                "arm": run.arm,
                "learning_rate": f"{run.learning_rate:g}",
                "seed": str(run.seed),
                "step": str(step),
                "tokens": str(tokens),
                "val_loss": f"{result.loss:.5f}" if result else "inf",
                "bits_per_byte": f"{result.bits_per_byte:.5f}" if result else "inf",
                "cpu_seconds": f"{seconds:.1f}",
                "threads": str(torch.get_num_threads()),
                "fingerprint": mark(run, corpus),
                "commit": records.commit(),
                "torch": torch.__version__,
            }
        )
        path = weights(run, corpus)
        if run.stage == "final" and step == train.steps and not diverged:
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {n: p.detach().clone() for n, p in model.named_parameters()}
            save_file(tensors, path)
    return rows


def all_of(runs: list[Run], corpus: Corpus, workers: int) -> None:
    """Make the runs that are not there yet, several at once."""
    todo = [run for run in runs if not found(run, corpus)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(make, run): run for run in todo}
        for job in as_completed(jobs):
            rows, run = job.result(), jobs[job]
            write(run.claim, rows)
            told = [run.claim, run.stage, run.arm, f"{run.learning_rate:g}", run.seed]
            told += [rows[-1]["val_loss"], rows[-1]["cpu_seconds"]]
            print(*told, flush=True)


def tuned(claim: str, arm: str, corpus: Corpus, grid: list[float]) -> float:
    """The best rate of a grid whose runs are all there."""
    means = {
        rate: statistics.mean(
            float(found(Run(claim, arm, "tune", rate, seed), corpus)[-1]["val_loss"])
            for seed in TUNING_SEEDS
        )
        for rate in grid
    }
    return min(means, key=means.__getitem__)


def tune(claim: str, corpus: Corpus, workers: int) -> dict[str, float]:
    """Each arm's best rate; a best rate at an edge widens the grid by a factor of 2."""
    grids = {
        arm: sorted(own_table(claim, arm)["learning_rates"]) for arm in arms(claim)
    }
    chosen: dict[str, float] = {}
    while len(chosen) < len(grids):
        all_of(
            [
                Run(claim, arm, "tune", rate, seed)
                for arm, grid in grids.items()
                for rate in grid
                for seed in TUNING_SEEDS
            ],
            corpus,
            workers,
        )
        for arm, grid in grids.items():
            best = tuned(claim, arm, corpus, grid)
            if best == grid[0]:
                grids[arm] = [best / 2, *grid]
            elif best == grid[-1]:
                grids[arm] = [*grid, best * 2]
            else:
                chosen[arm] = best
    return chosen


def experiment(claim: str, corpus: Corpus, workers: int) -> None:
    """Tune each arm, then make the runs that count, seed by seed."""
    rates = tune(claim, corpus, workers)
    finals = [
        Run(claim, arm, "final", rate, seed)
        for seed in SEEDS
        for arm, rate in rates.items()
    ]
    all_of(finals, corpus, workers)


def check(claim: str, corpus: Corpus) -> bool:
    """Make the first steps of one run again, and compare."""
    old = next(
        r for r in read(claim) if r["stage"] == "final" and r["step"] == str(EARLY)
    )
    run = Run(claim, old["arm"], "final", float(old["learning_rate"]), int(old["seed"]))
    _, _, model = next(trained(run, corpus, EARLY))
    new = evaluate(model, corpus.val).loss
    print(f"{claim}, {run.arm}, step {EARLY}: {old['val_loss']} then, {new:.5f} now")
    same = abs(new - float(old["val_loss"])) < 1e-3
    return same and old["fingerprint"] == mark(run, corpus)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claims", nargs="+", choices=CLAIMS, metavar="claim")
    parser.add_argument("--workers", type=int, default=2, help="runs at once")
    parser.add_argument(
        "--check", action="store_true", help="only repeat the first steps and compare"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = text()
    if options.check:
        same = [check(claim, corpus) for claim in options.claims]
        return 0 if all(same) else 1
    for claim in options.claims:
        experiment(claim, corpus, options.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
