"""Arithmetic against what is really built, run and kept."""

import dataclasses
import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minillm import config, costs
from minillm.cache import KVCache
from minillm.config import ModelConfig, TrainConfig
from minillm.evaluate import next_token_loss
from minillm.model import build
from minillm.optim import build_optimizers

ALL = config.preset_names()


def shape(name: str) -> ModelConfig:
    """The rung ``name``, with sizes that cannot be mistaken for one another."""
    changes = {"context_length": 35, "vocab_size": 37, "d_model": 36, "n_layers": 5}
    return config.preset(name, changes={"model": changes}).model


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_parts_are_the_parameters_of_the_built_model(name, tied, bias):
    model_config = dataclasses.replace(shape(name), tied=tied, bias=bias)
    model = build(model_config)
    listed = {}
    for part in costs.parts(model_config):
        copies = range(part.count) if part.name.startswith("blocks.") else [None]
        for copy in copies:
            full = part.name.replace("blocks.", f"blocks.{copy}.")
            full += "" if full.endswith((".weight", ".bias")) else ".weight"
            listed[full] = part.shape
    built = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert listed == built
    assert costs.num_parameters(model_config) == model.num_parameters


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_flops_are_those_that_pytorch_counts(name, tied):
    """Counted by PyTorch while the model runs: an instrument we did not write."""
    model_config = dataclasses.replace(shape(name), tied=tied)
    tokens = torch.randint(37, (3, 35))
    model = build(model_config)
    # The plain kernel computes the whole square of scores, and masks half of it.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model(tokens)
        forward = counter.get_total_flops()
        next_token_loss(logits, tokens).backward()
    ours = costs.forward_flops_per_token(model_config, attended=35) * tokens.numel()
    assert forward == ours
    assert counter.get_total_flops() == 3 * ours


def test_training_flops_average_over_the_positions_of_a_context():
    model_config = shape("llama")
    by_position = [
        costs.forward_flops_per_token(model_config, attended)
        for attended in range(1, 36)
    ]
    mean = sum(by_position) / len(by_position)
    assert costs.train_flops_per_token(model_config) == pytest.approx(3 * mean)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cache_bytes_are_those_of_the_cache(precision):
    model_config = shape("llama")
    like = torch.zeros(1, dtype=getattr(torch, precision))
    cache = KVCache.empty(model_config, 3, 29, like)
    assert costs.cache_bytes(model_config, 3, 29, precision) == cache.num_bytes


@pytest.mark.parametrize("name", ALL)
def test_the_estimate_of_activations_is_within_a_third(name):
    model_config = config.preset(name, 65).model
    model = build(model_config)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    tokens = torch.randint(65, (2, model_config.context_length))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        next_token_loss(model(tokens), tokens)
    measured = sum(size for size, _ in kept.values())
    assert costs.activation_bytes(model_config, 2) == pytest.approx(measured, rel=0.33)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_optimiser_bytes_are_those_of_its_state(optimizer):
    settings = TrainConfig(optimizer=optimizer, device="cpu")
    model_config = shape("llama")
    model = build(model_config)
    tokens = torch.randint(37, (2, 9))
    optimizers = build_optimizers(model, settings)
    next_token_loss(model(tokens), tokens).backward()
    held = 0
    for one in optimizers:
        one.step()
        for state in one.state.values():
            held += sum(4 * t.numel() for t in state.values() if t.dim() > 0)
    assert costs.memory(model_config, settings).optimizer == held


def test_gradients_and_weights_take_four_bytes_a_parameter():
    model_config, settings = shape("swiglu"), TrainConfig()
    held = costs.memory(model_config, settings)
    assert held.weights == held.gradients == 4 * build(model_config).num_parameters
    assert held.training == (
        held.weights + held.gradients + held.optimizer + held.activations
    )


def test_hours_follow_from_flops_and_the_data_sheet():
    model_config = shape("gpt2")
    settings = TrainConfig(steps=1000, batch_size=7, accumulate=3)
    tokens = 1000 * 7 * 3 * 35
    assert costs.train_tokens(model_config, settings) == tokens
    flops = tokens * costs.train_flops_per_token(model_config)
    hours = costs.train_hours(model_config, settings, "a100", utilisation=0.5)
    assert math.isclose(hours, flops / 156e12 / 3600)


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown device 'b200'; known devices are h1"):
        costs.train_hours(shape("gpt2"), TrainConfig(), "b200")
    with pytest.raises(ValueError, match=r"utilisation \(2\) must be in \(0, 1\]"):
        costs.train_hours(shape("gpt2"), TrainConfig(), "a100", utilisation=2)
