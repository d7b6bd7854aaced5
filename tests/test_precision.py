"""Half precision changes the speed, not what a step is."""

import copy

import pytest
import torch
from torch import Tensor, nn

from minillm.precision import DTYPES, Precision, pick_device

NAMES = list(DTYPES)


@pytest.fixture
def layers() -> list[nn.Linear]:
    """Two parts, each with an optimiser of its own, as AdamW and Muon would be."""
    return [nn.Linear(7, 5, bias=False), nn.Linear(5, 3, bias=False)]


def loss_of(layers: list[nn.Linear], x: Tensor) -> Tensor:
    return layers[1](layers[0](x)).float().pow(2).mean()


# ------------------------------------------------------------------ autocast


@pytest.mark.parametrize("name", NAMES)
def test_products_are_computed_in_the_format_asked_for(name: str) -> None:
    """And parameters and losses stay in float32."""
    layer, x = nn.Linear(7, 5), torch.randn(2, 7)
    with Precision(name, "cpu").autocast():
        assert layer(x).dtype == DTYPES[name]
        assert nn.functional.mse_loss(layer(x), layer(x)).dtype == torch.float32
    assert layer(x).dtype == layer.weight.dtype == torch.float32


def test_only_float16_scales_its_gradients() -> None:
    """A scaler made for CUDA switches itself off on a CPU; this one must not."""
    enabled = {name: Precision(name, "cpu").scaler.is_enabled() for name in NAMES}
    assert enabled == {"float32": False, "bfloat16": False, "float16": True}


# ------------------------------------------------------------------ one step


@pytest.mark.parametrize("name", NAMES)
def test_a_step_clips_the_true_gradient(name: str, layers: list[nn.Linear]) -> None:
    """Clipped before it is unscaled, a gradient of 65,536 times its size is tiny."""
    x = torch.randn(11, 7)
    plain = copy.deepcopy(layers)
    loss_of(plain, x).backward()
    weights = [layer.weight for layer in plain]
    norm = nn.utils.clip_grad_norm_(weights, 0.05).item()
    torch.optim.SGD(weights, lr=2.0).step()

    precision = Precision(name, "cpu")
    ours = [layer.weight for layer in layers]
    optimizers = [torch.optim.SGD([weight], lr=2.0) for weight in ours]
    with precision.autocast():
        loss = loss_of(layers, x)
    precision.backward(loss)
    found, taken = precision.step(optimizers, ours, grad_clip=0.05)
    assert taken
    assert norm > 0.05  # else nothing was clipped
    tolerance = 8 * torch.finfo(DTYPES[name]).eps
    assert found == pytest.approx(norm, rel=tolerance)
    for mine, wanted in zip(ours, weights, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=tolerance, atol=0.1 * tolerance)


def test_a_small_gradient_survives_float16(layers: list[nn.Linear]) -> None:
    """Below 6e-8 float16 knows only zero: the loss is scaled up before backward."""
    layer, x = layers[0], torch.ones(1, 7)
    with torch.autocast("cpu", torch.float16):
        bare = (layer(x).float() * 1e-9).sum()
    bare.backward()
    assert layer.weight.grad.abs().max() == 0
    precision = Precision("float16", "cpu")
    with precision.autocast():
        loss = (layer(x).float() * 1e-9).sum()
    precision.backward(loss)
    optimizer = torch.optim.SGD([layer.weight], lr=1.0)
    norm, _ = precision.step([optimizer], [layer.weight], grad_clip=1.0)
    assert norm == pytest.approx(1e-9 * 35**0.5, rel=0.01)


def test_one_overflow_skips_every_optimiser(layers: list[nn.Linear]) -> None:
    """Muon stepped while AdamW skipped: a model that no batch has asked for."""
    precision = Precision("float16", "cpu")
    weights = [layer.weight for layer in layers]
    optimizers = [torch.optim.AdamW([weight], lr=0.1) for weight in weights]
    before, scale = copy.deepcopy(weights), precision.scaler.get_scale()
    precision.backward(loss_of(layers, torch.randn(11, 7)))
    weights[1].grad[0, 0] = torch.inf
    _, taken = precision.step(optimizers, weights, grad_clip=1.0)
    assert not taken
    assert all(map(torch.equal, weights, before))
    assert not any(optimizer.state for optimizer in optimizers)
    assert precision.scaler.get_scale() == scale / 2

    for optimizer in optimizers:
        optimizer.zero_grad()
    precision.backward(loss_of(layers, torch.randn(11, 7)))
    _, taken = precision.step(optimizers, weights, grad_clip=1.0)
    assert taken
    assert not any(map(torch.equal, weights, before))


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_gradient_that_is_no_number_moves_nothing(
    name: str, layers: list[nn.Linear]
) -> None:
    """One NaN would be clipped into all parameters at once."""
    precision, weight = Precision(name, "cpu"), layers[0].weight
    before = weight.detach().clone()
    weight.grad = torch.full_like(weight, torch.nan)
    norm, taken = precision.step([torch.optim.SGD([weight], lr=1.0)], [weight], 1.0)
    assert norm != norm
    assert not taken
    assert torch.equal(weight, before)


def test_scaled_gradients_add_up_over_micro_batches(layers: list[nn.Linear]) -> None:
    """Unscaled or updated in between, the parts would be of different size."""
    precision, weight = Precision("float16", "cpu"), layers[0].weight
    for _ in range(3):
        precision.backward(weight.sum())
    norm, _ = precision.step([torch.optim.SGD([weight], lr=0.0)], [weight], 1e9)
    assert norm == pytest.approx(3 * 35**0.5)


def test_a_scaler_that_always_halves_is_exhausted(layers: list[nn.Linear]) -> None:
    """Training would skip every step for ever and report a constant loss."""
    precision, weight = Precision("float16", "cpu"), layers[0].weight
    optimizer = torch.optim.SGD([weight], lr=1.0)
    steps = 0
    while not precision.exhausted:
        precision.backward((weight * torch.inf).sum())
        _, taken = precision.step([optimizer], [weight], 1.0)
        assert not taken
        steps += 1
    assert steps == 37  # from 2**16 to below 2**-20
    assert not Precision("float32", "cpu").exhausted


# ------------------------------------------------------------------ devices


def test_auto_takes_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"cuda": False, "mps": False}
    monkeypatch.setattr("torch.cuda.is_available", lambda: there["cuda"])
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: there["mps"])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cpu")
    there["mps"] = True
    assert pick_device("auto") == torch.device("mps")
    there["cuda"] = True
    assert pick_device("auto") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("cuda:2", "cuda:", "cuda:01", "cuda:0:1"):
        with pytest.raises(
            ValueError, match=rf"device \({name}\) must be cuda or cuda:0 or cuda:1$"
        ):
            pick_device(name)
    there["cuda"] = False
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ValueError, match=rf"device \({name}\) is not available"):
            pick_device(name)


@pytest.mark.parametrize("name", ["cpu:", "cpu:0", "cpu:x"])
def test_a_processor_has_no_number(name: str) -> None:
    """RuntimeError: Invalid device string: 'cpu:'."""
    with pytest.raises(ValueError, match=rf"device \({name}\) must be cpu$"):
        pick_device(name)


def test_a_gpu_without_bfloat16_is_told_what_it_can_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would emulate the format at a tenth of the speed."""
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    with pytest.raises(ValueError, match="must be float16 or float32"):
        Precision("bfloat16", "cuda")
