"""One number says how good a model is, and only the model can change it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from models import V, random_model, random_tokens, randomise, small_config

from minillm.config import ModelConfig
from minillm.data import TokenFile
from minillm.evaluate import Evaluation, evaluate, next_token_loss
from minillm.model import build
from minillm.precision import Precision


@pytest.fixture
def split(tmp_path: Path) -> TokenFile:
    """103 tokens: ten windows of ten targets each, and two targets left over."""
    tokens = np.random.default_rng(0).integers(0, V, 103).astype("<u2")
    tokens.tofile(tmp_path / "val.bin")
    return TokenFile(tmp_path / "val.bin", "<u2", vocab_size=V, num_bytes=250)


# ------------------------------------------------------------------ one batch


def test_the_loss_is_the_mean_surprise_in_nats() -> None:
    """By hand: chances of 1/2 and 1/8 surprise by 1 and 3 bits, 2 ln 2 on average."""
    chances = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.375, 0.5]]])
    loss = next_token_loss(chances.log(), torch.tensor([[0, 0]]))
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert loss.shape == ()


def test_a_model_that_knows_nothing_loses_ln_v() -> None:
    targets = torch.randint(V, (3, 5))
    loss = next_token_loss(torch.full((3, 5, V), 7.0), targets)
    assert loss.item() == pytest.approx(math.log(V))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_is_computed_in_a_wide_format(dtype: torch.dtype) -> None:
    """In float16 the loss of a batch has three digits, and its sum overflows."""
    logits = (20 * torch.randn(4, 50, V)).to(dtype)
    targets = torch.randint(V, (4, 50))
    loss = next_token_loss(logits, targets)
    assert loss.dtype == torch.float32
    exact = next_token_loss(logits.double(), targets)
    assert exact.dtype == torch.float64
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("scores", "loss"),
    [
        ([1e30, -1e30, 0.0], 0.0),
        ([-1e30, 1e30, 0.0], 2e30),
        ([-1e30, -1e30, -1e30], math.log(3)),
        ([0.0, -math.inf, -math.inf], 0.0),
        ([-math.inf, 0.0, 0.0], math.inf),
        ([math.inf, 0.0, 0.0], math.nan),
        ([-math.inf, -math.inf, -math.inf], math.nan),
        ([0.0, math.nan, 0.0], math.nan),
    ],
)
def test_extreme_scores_have_a_defined_loss(scores: list[float], loss: float) -> None:
    """exp(1e30) overflows, and an impossible target must not cost 0."""
    logits = torch.tensor([[scores]])
    found = next_token_loss(logits, torch.zeros(1, 1, dtype=torch.int64)).item()
    assert found == pytest.approx(loss, rel=1e-6, nan_ok=True)


# ------------------------------------------------------------------ a whole split


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_every_token_but_the_first_is_predicted_once(
    split: TokenFile, batch_size: int
) -> None:
    """The last window is shorter: averaging means of batches counts it too much."""
    model = build(ModelConfig(kind="bigram", vocab_size=V, context_length=10))
    randomise(model)
    tokens = torch.from_numpy(split.tokens.astype(np.int64))
    chances = model.table.weight.log_softmax(-1)[tokens[:-1]]
    wanted = -chances.gather(-1, tokens[1:, None]).double().mean().item()
    found = evaluate(model, split, batch_size=batch_size)
    assert found.tokens == 102
    assert found.loss == pytest.approx(wanted, rel=1e-6)


def test_a_window_begins_where_the_one_before_has_ended(split: TokenFile) -> None:
    """Each window is read alone: ten tokens of context at most, and no overlap."""
    model = random_model(small_config("llama", n_layers=1, context_length=10))
    tokens = torch.from_numpy(split.tokens.astype(np.int64))
    total = 0.0
    for start in range(0, 102, 10):
        window = tokens[start : start + 11]
        chances = model(window[None, :-1])[0].log_softmax(-1)
        total -= chances.gather(-1, window[1:, None]).double().sum().item()
    assert evaluate(model, split).loss == pytest.approx(total / 102, rel=1e-5)


def test_units_are_converted_right() -> None:
    """Bits per byte compares models whose tokens differ in length."""
    found = Evaluation(loss=2 * math.log(2), tokens=30, num_bytes=80)
    assert found.bits_per_byte == pytest.approx(2 * 30 / 80)
    assert found.perplexity == pytest.approx(4)
    assert Evaluation(loss=1.0, tokens=30, num_bytes=None).bits_per_byte is None
    assert Evaluation(loss=1.0, tokens=30, num_bytes=0).bits_per_byte is None
    assert Evaluation(loss=1e4, tokens=30, num_bytes=1).perplexity == math.inf


def test_the_bytes_of_a_split_are_those_its_maker_noted(split: TokenFile) -> None:
    model = build(ModelConfig(kind="bigram", vocab_size=V))
    found = evaluate(model, split)
    assert found.num_bytes == 250
    assert found.bits_per_byte == pytest.approx(math.log2(V) * 102 / 250)


# ------------------------------------------------------------------ nothing else moves


def test_evaluation_switches_dropout_off_and_training_back_on(
    split: TokenFile,
) -> None:
    """With dropout on, the same model gets another number each time."""
    config = small_config("gpt2", n_layers=1, context_length=10, dropout=0.5)
    model = random_model(config).train()
    without = random_model(dataclasses.replace(config, dropout=0.0))
    assert evaluate(model, split) == evaluate(without, split)
    assert all(module.training for module in model.modules())
    evaluate(without, split)
    assert not without.training


def test_evaluation_draws_nothing_and_leaves_no_trace(split: TokenFile) -> None:
    """Evaluating more often once changed which batches training saw."""
    model = random_model(small_config("llama", n_layers=1, context_length=10))
    before, state = torch.get_rng_state(), model.state_dict()
    state = {name: tensor.clone() for name, tensor in state.items()}
    first = evaluate(model, split)
    assert first == evaluate(model, split)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())
    model(random_tokens(model.config, 1, 5)).sum().backward()  # still trainable


def test_the_mode_is_restored_if_the_split_cannot_be_read(tmp_path: Path) -> None:
    np.zeros(1, dtype="<u2").tofile(tmp_path / "val.bin")
    model = random_model(small_config("gpt2", n_layers=1)).train()
    with pytest.raises(ValueError, match=r"\(1 tokens\) must have at least 2"):
        evaluate(model, TokenFile(tmp_path / "val.bin", "<u2"))
    assert model.training


def test_evaluation_in_bfloat16_is_close(split: TokenFile) -> None:
    model = random_model(small_config("llama", n_layers=1, context_length=10))
    exact = evaluate(model, split).loss
    half = evaluate(model, split, precision=Precision("bfloat16", "cpu")).loss
    assert half == pytest.approx(exact, rel=0.02)
    assert half != exact
