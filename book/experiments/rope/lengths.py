"""Read trained models in windows longer than those they were trained on.

    python -m book.experiments.rope.lengths      # resumes where it stopped

Run it in the repository's folder, after `python -m book.experiments.ablation rope`. The
models are the final runs of this claim's arms, as the ablation kept them in
runs/experiments; one that is not there is trained again. They read the validation
split in windows of 64 to 512 characters that do not overlap, and each character's loss
is booked under its position in the window. The row of a bucket is the mean over its
positions and all whole windows; lengths.csv holds the rows.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from book.experiments import ablation, records
from book.experiments.ablation import Run
from book.experiments.parts import BUILDS, STRETCHES, stretched
from minillm.data import Corpus, TokenFile
from minillm.model import Transformer

TABLE = Path(__file__).resolve().parent / "lengths.csv"
SCALES = (1, 2, 4, 8)
BUCKET = 32  # positions
TOKENS = 8192  # at once
FIELDS = ["arm", "method", "seed", "length", "first", "loss", "windows"]
FIELDS += ["fingerprint", "commit", "torch"]

Row = dict[str, str]


# ------------------------------------------------------------------ the models


def final_runs() -> list[Run]:
    """The runs whose models are read, as the ablation's rows name them."""
    runs = {
        (row["arm"], int(row["seed"])): float(row["learning_rate"])
        for row in ablation.read("rope")
        if row["stage"] == "final"
    }
    return [
        Run("rope", arm, "final", rate, seed)
        for (arm, seed), rate in sorted(runs.items(), key=lambda item: item[0][::-1])
    ]


def trained(run: Run, corpus: Corpus) -> Transformer:
    """The model that a run ended with: the one it kept, or else made again."""
    _, model = ablation.fresh(run, corpus)
    path = ablation.weights(run, corpus)
    if path.is_file():
        model.load_state_dict(load_file(path))
    else:
        print(f"{run.arm}, seed {run.seed}: training again", flush=True)
        for _, _, last in ablation.trained(run, corpus):
            model = last
    return model.eval()


def readers(arm: str, model: Transformer) -> Iterator[tuple[str, Transformer]]:
    """Each method and length that an arm can be read with.

    A learned table ends at the training length; without positions there is nothing to
    stretch; at the training length itself all stretches are plain RoPE.
    """
    if arm == "learned":
        yield "plain", model
    elif arm == "nope":
        for scale in SCALES:
            length = scale * model.config.context_length
            longer = BUILDS["nope"](replace(model.config, context_length=length))
            longer.load_state_dict(model.state_dict())
            yield "plain", longer.eval()
    else:
        for method in STRETCHES:
            for scale in SCALES:
                if scale > 1 or method == "plain":
                    yield method, stretched(model, method, scale)


# ------------------------------------------------------------------ measuring


@torch.inference_mode()
def loss_by_position(
    model: Transformer, split: TokenFile, most: int | None = None
) -> tuple[Tensor, int]:
    """Mean loss at each position of a window as long as the model reads; how many.

    Args:
        model: any that reads windows of its ``context_length``.
        split: the tokens; what is left behind the last whole window is not read.
        most: stop after this many windows; all of them if left out.
    """
    length = model.config.context_length
    total, windows = torch.zeros(length, dtype=torch.float64), 0
    for inputs, targets in split.windows(length, max(1, TOKENS // length)):
        if inputs.shape[1] < length or (most and windows >= most):
            break
        losses = F.cross_entropy(
            model(inputs).transpose(1, 2), targets, reduction="none"
        )  # (B, T)
        total += losses.double().sum(dim=0)
        windows += len(inputs)
    return total / windows, windows


def measure(run: Run, corpus: Corpus) -> Iterator[Row]:
    """All rows of one trained model."""
    for method, model in readers(run.arm, trained(run, corpus)):
        losses, windows = loss_by_position(model, corpus.val)
        for bucket, loss in enumerate(losses.view(-1, BUCKET).mean(dim=1).tolist()):
            yield {
                "arm": run.arm,
                "method": method,
                "seed": str(run.seed),
                "length": str(len(losses)),
                "first": str(bucket * BUCKET),
                "loss": f"{loss:.5f}",
                "windows": str(windows),
                "fingerprint": ablation.mark(run, corpus),
                "commit": records.commit(),
                "torch": torch.__version__,
            }


def read() -> list[Row]:
    """The rows written so far."""
    return records.read(TABLE)


def write(rows: list[Row]) -> None:
    """Add the rows of a model, under a header if the file is new."""
    records.append(TABLE, FIELDS, rows)


def main() -> int:
    torch.set_num_threads(1)
    corpus = ablation.text()
    runs = final_runs()
    if not runs:
        print("no final runs: first python -m book.experiments.ablation rope")
        return 2
    for run in runs:
        mark = ablation.mark(run, corpus)
        done = [(r["arm"], r["seed"], r["fingerprint"]) for r in read()]
        if (run.arm, str(run.seed), mark) not in done:
            rows = list(measure(run, corpus))
            write(rows)
            told = {(r["method"], r["length"]): r["loss"] for r in rows}
            print(run.arm, run.seed, *(f"{m}@{n} {x}" for (m, n), x in told.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
