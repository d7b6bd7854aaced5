"""A corpus and a run small enough to train in a test."""

from pathlib import Path

from minillm import data
from minillm.config import RunConfig, from_dict

TEXT = "".join(
    f"Line {i}: the {a} {b} the {c}.\n"
    for i, (a, b, c) in enumerate(
        (a, b, c)
        for a in ("cat", "dog", "king", "fool")
        for b in ("sees", "loves", "fears", "hears", "follows")
        for c in ("moon", "queen", "sea", "storm", "wolf", "rose", "night")
    )
)


def corpus(folder: Path, text: str = TEXT) -> Path:
    """Prepare ``text`` by characters, and say where."""
    data.prepare_text(text, folder)
    return folder


def run(folder: Path, model: dict | None = None, **train) -> RunConfig:
    """A run on the corpus in ``folder``: odd sizes, 23 steps, two heads to a key."""
    return from_dict(
        RunConfig,
        {
            "model": {
                "context_length": 13,
                "n_layers": 3,
                "n_heads": 4,
                "n_kv_heads": 2,
                "d_model": 24,
                **(model or {}),
            },
            "data": {"directory": folder.as_posix()},
            "train": {
                "steps": 23,
                "batch_size": 6,
                "learning_rate": 1e-2,
                "min_learning_rate": 1e-3,
                "warmup_steps": 4,
                "eval_every": 9,
                "checkpoint_every": 7,
                "log_every": 3,
                "device": "cpu",
                **train,
            },
        },
    )
