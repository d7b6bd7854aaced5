"""Count a bigram table, train it with two optimisers, and write down what they reach.

The question, the hypothesis and the protocol are in question.md, the arms in *.toml.

    python -m book.experiments.bigram.run [--check]     # in the repository's folder
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from book.experiments import records
from book.experiments.ablation import text
from minillm.config import RunConfig, fingerprint, from_dict, read_toml
from minillm.data import Corpus
from minillm.evaluate import evaluate
from minillm.model import Bigram
from minillm.precision import Precision
from minillm.train import take_step, with_vocabulary

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.csv"
TUNING_SEEDS, SEEDS = (100, 101), tuple(range(8))
EARLY = 50  # a row of each run at this step too, for --check
FIELDS = ["stage", "arm", "alpha", "learning_rate", "seed", "step", "tokens"]
FIELDS += ["train_loss", "val_loss", "cpu_seconds", "threads", "fingerprint"]
FIELDS += ["commit", "torch"]
KEY = ("stage", "arm", "alpha", "learning_rate", "seed", "fingerprint")


def arm(name: str, seed: int, rate: float, corpus: Corpus) -> tuple[RunConfig, dict]:
    """An arm's configuration, and its own table."""
    values = read_toml(HERE / f"{name}.toml")
    experiment = values.pop("experiment")
    train = {"learning_rate": rate} if rate else {}
    values["train"] = {**values.get("train", {}), **train, "seed": seed}
    config = with_vocabulary(from_dict(RunConfig, values, name), corpus)
    return config, experiment


def mark(name: str, setting: float, corpus: Corpus) -> str:
    """The fingerprint of an arm with its alpha or its rate."""
    rate = 0.0 if name == "counted" else setting
    config, experiment = arm(name, 0, rate, corpus)
    chosen = {"optimizer": experiment.get("optimizer", name)}
    if name == "counted":
        chosen["alpha"] = setting
    return fingerprint(config, corpus.hash, chosen)


def row(stage: str, name: str, setting: float, seed: int | str, corpus: Corpus) -> dict:
    """What identifies a run."""
    counted = name == "counted"
    return {
        "stage": stage,
        "arm": name,
        "alpha": setting if counted else "",
        "learning_rate": "" if counted else setting,
        "seed": seed,
        "fingerprint": mark(name, setting, corpus),
        "commit": records.commit(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def losses(model: Bigram, corpus: Corpus) -> dict[str, str]:
    """Nats per token over both splits, each of them whole."""
    return {
        "train_loss": f"{evaluate(model, corpus.train).loss:.5f}",
        "val_loss": f"{evaluate(model, corpus.val).loss:.5f}",
    }


def counted(alpha: float, corpus: Corpus) -> Bigram:
    """The table of smoothed log shares."""
    config, _ = arm("counted", 0, 0.0, corpus)
    size = corpus.vocab_size
    tokens = torch.from_numpy(corpus.train.tokens.astype(np.int64))
    pairs = torch.bincount(tokens[:-1] * size + tokens[1:], minlength=size**2)
    counts = pairs.view(size, size).double() + alpha
    model = Bigram(config.model)
    with torch.no_grad():
        model.table.weight.copy_((counts / counts.sum(dim=1, keepdim=True)).log())
    return model


def trained(
    name: str, rate: float, seed: int, corpus: Corpus, last: int | None = None
) -> Iterator[tuple[int, float, Bigram]]:
    """Train one table; yield it after the early step and after the last."""
    config, experiment = arm(name, seed, rate, corpus)
    model, precision = Bigram(config.model), Precision("float32", "cpu")
    makers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizer = makers[experiment["optimizer"]](
        model.parameters(), lr=rate, weight_decay=0.0
    )
    began = time.process_time()
    for step in range(last or config.train.steps):
        take_step(step, model, [optimizer], precision, corpus.train, config)
        if step + 1 in (EARLY, config.train.steps):
            yield step + 1, time.process_time() - began, model


def read() -> list[dict[str, str]]:
    """The rows written so far."""
    return records.read(RESULTS)


def write(rows: list[dict]) -> None:
    """Add rows to the file, under a header if it is new."""
    records.append(RESULTS, FIELDS, rows)


def run_once(
    stage: str, name: str, setting: float, seed: int | str, corpus: Corpus
) -> float:
    """Make a run unless its rows are there; return its validation loss."""
    head = row(stage, name, setting, seed, corpus)
    wanted = [str(head[key]) for key in KEY]
    found = [r for r in read() if [r[key] for key in KEY] == wanted]
    if found:
        return float(found[-1]["val_loss"])
    rows = []
    if name == "counted":
        began = time.process_time()
        model = counted(setting, corpus)
        cost = {"step": 0, "tokens": len(corpus.train) - 1}
        cost["cpu_seconds"] = f"{time.process_time() - began:.2f}"
        rows.append({**head, **cost, **losses(model, corpus)})
    else:
        train = arm(name, 0, setting, corpus)[0].train
        for step, seconds, model in trained(name, setting, int(seed), corpus):
            cost = {"step": step, "tokens": step * train.batch_size * 128}
            cost["cpu_seconds"] = f"{seconds:.2f}"
            rows.append({**head, **cost, **losses(model, corpus)})
    write(rows)
    print(*(rows[-1][key] for key in ("stage", "arm", "seed", "val_loss")), flush=True)
    return float(rows[-1]["val_loss"])


def experiment(corpus: Corpus) -> None:
    """Tune each arm, then make the runs that count, seed by seed."""
    alphas = read_toml(HERE / "counted.toml")["experiment"]["alphas"]
    for alpha in alphas:
        run_once("final" if alpha == 0 else "tune", "counted", alpha, "", corpus)
    best = {}
    for name in ("adamw", "sgd"):
        rates = read_toml(HERE / f"{name}.toml")["experiment"]["learning_rates"]
        means = {
            rate: statistics.mean(
                run_once("tune", name, rate, seed, corpus) for seed in TUNING_SEEDS
            )
            for rate in rates
        }
        best[name] = min(means, key=means.__getitem__)
    tuned = {a: run_once("tune", "counted", a, "", corpus) for a in alphas if a}
    run_once("final", "counted", min(tuned, key=tuned.__getitem__), "", corpus)
    for seed in SEEDS:
        for name, rate in best.items():
            run_once("final", name, rate, seed, corpus)


def check(corpus: Corpus) -> bool:
    """Make the first steps of one run of each arm again, and compare.

    Of SGD all of them: at its large rate the first overshoot, and there the last bit
    of a processor's sums decides which way. In the end all come to the same place.
    """
    rows = [r for r in read() if r["stage"] == "final"]
    right = True
    for name in ("adamw", "sgd"):
        mine = [row for row in rows if row["arm"] == name]
        last = max(int(row["step"]) for row in mine)
        step = EARLY if name == "adamw" else last
        old = next(row for row in mine if int(row["step"]) == step)
        rate, seed = float(old["learning_rate"]), int(old["seed"])
        for _, _, model in trained(name, rate, seed, corpus, step):
            new = evaluate(model, corpus.val).loss
        same = abs(new - float(old["val_loss"])) < 1e-3
        same = same and old["fingerprint"] == mark(name, rate, corpus)
        print(f"{name} at step {step}: {old['val_loss']} then, {new:.5f} now")
        right = right and same
    return right


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
