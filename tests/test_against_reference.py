"""The fast model computes what the slow one does, to the last digits of float64."""

import dataclasses

import pytest
import reference
import torch
from models import random_model, random_tokens, small_config

from minillm.config import ModelConfig

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def check(config: ModelConfig, n_tokens: int) -> None:
    model = random_model(config).double()
    row = random_tokens(config, 1, n_tokens)
    slow = reference.logits(
        model.state_dict(), dataclasses.asdict(config), row[0].tolist()
    )
    with torch.no_grad():
        fast = model(row)[0]
    assert fast.abs().max() > 1  # else the weights are too small to show anything
    torch.testing.assert_close(fast, torch.from_numpy(slow), **EXACT)


def test_every_rung_computes_what_the_slow_model_does(rung: str) -> None:
    """Over 64 tokens: RoPE in the wrong layout or a wrong mask shows late."""
    check(small_config(rung, n_layers=2), n_tokens=67)


@pytest.mark.parametrize(
    "changes",
    [
        {"tied": False},
        {"norm_eps": 0.1},
        {"rope_base": 50.0},
        {"n_kv_heads": 1},
        {"n_kv_heads": 2},
        {"n_kv_heads": 3},
        {"n_kv_heads": 6},
        {"bias": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("rung", ["gpt2", "llama"])
def test_every_field_means_what_the_slow_model_means(
    rung: str, changes: dict[str, object]
) -> None:
    """A field read by nobody, or by one part only, goes unseen at its default."""
    check(small_config(rung, n_layers=2, **changes), n_tokens=11)


def test_a_bias_free_layernorm_has_no_bias() -> None:
    """The rung without biases once kept those of its norms."""
    state = random_model(small_config("gpt2-nobias")).state_dict()
    assert not [name for name in state if name.endswith("bias")]
