"""The fast model computes what the slow one does, to the last digits of float64."""

import dataclasses
import math

import pytest
import reference
import torch
from models import B, T, random_model, random_tokens, small_config
from torch import Tensor

from minillm.config import ModelConfig
from minillm.evaluate import next_token_loss

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def check(config: ModelConfig, n_tokens: int) -> None:
    """Of a batch, one row: the slow model reads one sequence at a time."""
    model = random_model(config).double()
    rows = random_tokens(config, B, n_tokens)
    slow = reference.logits(
        model.state_dict(), dataclasses.asdict(config), rows[2].tolist()
    )
    with torch.no_grad():
        fast = model(rows)[2]
    assert fast.abs().max() > 1  # else the weights are too small to show anything
    torch.testing.assert_close(fast, torch.from_numpy(slow), **EXACT)


def test_every_rung_computes_what_the_slow_model_does(rung: str) -> None:
    """Over 64 tokens: RoPE in the wrong layout or a wrong mask shows late."""
    check(small_config(rung), n_tokens=T)


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
    check(small_config(rung, **changes), n_tokens=11)


@pytest.mark.parametrize("rung", ["rmsnorm", "rope"])
def test_gradients_are_the_slopes_of_the_slow_model(rung: str) -> None:
    """On these rungs no other library's gradients are there to be compared with.

    The slow loss, a small step to either side along a random direction of each
    parameter, in float64. Every size differs from every other but for the heads, which
    these rungs do not share.
    """
    config = small_config(rung, n_layers=3)
    model = random_model(config).double()
    rows = random_tokens(config, 2, 6)
    next_token_loss(model(rows[:, :-1]), rows[:, 1:]).backward()
    state, plain = model.state_dict(), dataclasses.asdict(config)

    def slow_loss(name: str, change: Tensor) -> float:
        moved = {**state, name: state[name] + change}
        losses = []
        for row in rows.tolist():
            scores = reference.logits(moved, plain, row[:-1])
            for score, target in zip(scores, row[1:], strict=True):
                losses.append(-math.log(reference.softmax(score)[target]))
        return sum(losses) / len(losses)

    size = 1e-4
    for name, parameter in model.named_parameters():
        step = torch.randn_like(parameter)
        step *= size / step.norm()
        slope = (slow_loss(name, step) - slow_loss(name, -step)) / 2
        assert abs(slope) > 1e-9, name  # else there is nothing to compare
        found = (parameter.grad * step).sum().item()
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-11), name


def test_a_bias_free_layernorm_has_no_bias() -> None:
    """The rung without biases once kept those of its norms."""
    state = random_model(small_config("gpt2-nobias")).state_dict()
    assert not [name for name in state if name.endswith("bias")]
