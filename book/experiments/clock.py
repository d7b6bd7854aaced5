"""How long does a training step of each arm take, beside the others?

    python -m book.experiments.clock rope swiglu     # some claims; all without a name

The ``cpu_seconds`` of results.csv were measured while other runs went on, and copied
rows on other days. Here the arms of a claim take turns, a step each, in one process on
one thread, so that a busy moment of the machine hits all alike. Each ratio is to the
claim's baseline in the same round. Writes steps.csv into the claim's folder; takes
about half a minute a claim.
"""

import argparse
import platform
import statistics
import sys
import time

import torch

from book.experiments import ablation
from book.experiments.ablation import Run
from book.experiments.records import write
from minillm.data import Corpus
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import take_step

BASELINES = {
    "gpt2": "gpt2",
    "rmsnorm": "layernorm",
    "rope": "learned",
    "swiglu": "gelu",
    "gqa": "mha",
}
"""The arm that a claim's others are compared with."""

WARM, ROUNDS = 5, 101
FIELDS = ["arm", "ratio", "low", "high", "rounds", "torch", "machine"]


def ratios(claim: str, corpus: Corpus, rounds: int) -> dict[str, list[float]]:
    """For each arm the time of a step over that of the baseline, a ratio a round."""
    made = {}
    for arm in ablation.arms(claim):
        if not arm.endswith("-longer"):  # the same step, more often
            config, model = ablation.fresh(Run(claim, arm, "final", 4e-3, 0), corpus)
            made[arm] = config, model, build_optimizers(model, config.train)
    precision = Precision("float32", "cpu")
    found: dict[str, list[float]] = {arm: [] for arm in made}
    for step in range(WARM + rounds):
        seconds = {}
        for arm, (config, model, optimizers) in made.items():
            began = time.process_time()
            take_step(step, model, optimizers, precision, corpus.train, config)
            seconds[arm] = time.process_time() - began
        if step >= WARM:
            for arm, value in seconds.items():
                found[arm].append(value / seconds[BASELINES[claim]])
    return found


def rows(found: dict[str, list[float]]) -> list[dict[str, str]]:
    """Median, tenth and ninetieth percentile of each arm's ratios."""
    table = []
    for arm, values in found.items():
        tenths = statistics.quantiles(values, n=10)
        numbers = (statistics.median(values), tenths[0], tenths[-1])
        cells = [arm, *(f"{number:.3f}" for number in numbers), str(len(values))]
        cells += [torch.__version__, platform.machine()]
        table.append(dict(zip(FIELDS, cells, strict=True)))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claims", nargs="*", metavar="claim", help="all, if left out")
    options = parser.parse_args()
    if unknown := sorted(set(options.claims) - set(BASELINES)):
        known = ", ".join(BASELINES)
        parser.error(f"no claim is called {unknown[0]!r}; there are {known}")
    torch.set_num_threads(1)
    corpus = ablation.text()
    for claim in options.claims or BASELINES:
        table = rows(ratios(claim, corpus, ROUNDS))
        path = ablation.HERE / claim / "steps.csv"
        write(path, FIELDS, table)
        for row in table:
            print(claim, *row.values(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
