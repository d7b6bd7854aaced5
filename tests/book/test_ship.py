"""The model that ships is the one whose numbers stand beside it."""

import json
from pathlib import Path

import pytest
import torch

from minillm import checkpoint
from minillm.evaluate import next_token_loss

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "book" / "models" / "shakespeare"


@pytest.fixture(scope="module")
def shipped():
    return checkpoint.load(SHIPPED)


@pytest.fixture(scope="module")
def held_out(shipped, shakespeare):
    text = shakespeare.tokenizer.decode(shakespeare.val.tokens.tolist())
    return torch.tensor(shipped.tokenizer.encode(text))


def test_it_reaches_the_loss_that_its_metrics_state(shipped, held_out):
    """Over the whole held-out text, read in its own tokens."""
    width = shipped.model.config.context_length
    windows = held_out[: (len(held_out) - 1) // width * width + 1]
    inputs, targets = windows[:-1].view(-1, width), windows[1:].view(-1, width)
    with torch.inference_mode():
        losses = [
            (len(x) * next_token_loss(shipped.model(x), y)).item()
            for x, y in zip(inputs.split(64), targets.split(64), strict=True)
        ]
    lines = (SHIPPED / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    rows = [json.loads(line) for line in lines]
    best = min(row["val_loss"] for row in rows if row["val_loss"] is not None)
    assert sum(losses) / len(inputs) == pytest.approx(best, abs=2e-3)


def test_only_what_a_reader_needs_is_kept():
    names = {path.name for path in SHIPPED.iterdir()}
    assert names == {
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "tokenizer.json",
    }
