"""Chapter 3: does a reader's RMSNorm do what the models of the field need?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minillm.checks import FailedError, Property, Report, attempt, run

B, T, D = 4, 3, 5  # different, so that no axis passes for another
EPS = 0.02  # as large as the probe's mean square, so that its misuse shows
DEFAULT_EPS = 1e-5

Formula = Callable[[Tensor, Tensor, float], Tensor]


def _probe(*shape: int) -> Tensor:
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return 0.1 * noise + 0.05


def _gain() -> Tensor:
    return torch.linspace(0.5, 2.5, D)


def _ms(x: Tensor, dim: int | tuple[int, ...] = -1) -> Tensor:
    return x.pow(2).mean(dim=dim, keepdim=True)


def _right(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (_ms(x) + eps).sqrt() * weight


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _var(x: Tensor, correction: int) -> Tensor:
    return x.var(-1, keepdim=True, correction=correction)


# Said when eps is missing from the formula, and when a zero vector shows it.
NO_EPS = "eps is not used: a zero vector is divided by zero. Add it under the root."

# A wrong answer that equals one of these has told us its name.
SUSPECTS: tuple[tuple[str, Formula], ...] = (
    (
        "eps stands outside the root. Add it to the mean of squares, then the root.",
        lambda x, w, e: x / (_ms(x).sqrt() + e) * w,
    ),
    (NO_EPS, lambda x, w, e: x / _ms(x).sqrt() * w),
    (
        "eps is a fixed 1e-5 in forward. Use the eps given to the constructor.",
        lambda x, w, e: _right(x, w, 1e-5),
    ),
    (
        "eps is a fixed 1e-6 in forward. Use the eps given to the constructor.",
        lambda x, w, e: _right(x, w, 1e-6),
    ),
    (
        "eps is squared. Add it to the mean of squares as it is.",
        lambda x, w, e: _right(x, w, e * e),
    ),
    (
        "eps is a floor (clamp or maximum). Add it to the mean of squares.",
        lambda x, w, e: x / _ms(x).clamp(min=e).sqrt() * w,
    ),
    (
        "eps is subtracted. Add it to the mean of squares.",
        lambda x, w, e: x / (_ms(x) - e).abs().sqrt() * w,
    ),
    (
        "eps is added to x before the squares. Add it to their mean.",
        lambda x, w, e: x / _ms(x + e).sqrt() * w,
    ),
    (
        "the mean is subtracted. That is LayerNorm; RMSNorm leaves the mean in.",
        lambda x, w, e: _right(_centred(x), w, e),
    ),
    (
        "the mean is subtracted, and the spread divides by D - 1. That is a LayerNorm;"
        " RMSNorm leaves the mean in.",
        lambda x, w, e: _centred(x) / (_var(x, 1) + e).sqrt() * w,
    ),
    (
        "the mean is subtracted, and eps stands outside the root. RMSNorm leaves the"
        " mean in, and adds eps before the root.",
        lambda x, w, e: _centred(x) / (_var(x, 0).sqrt() + e) * w,
    ),
    (
        "the mean is subtracted, the spread divides by D - 1, and eps stands outside"
        " the root. RMSNorm leaves the mean in.",
        lambda x, w, e: _centred(x) / (_var(x, 1).sqrt() + e) * w,
    ),
    (
        "the mean is subtracted from x, but not before the squares. RMSNorm never"
        " subtracts it.",
        lambda x, w, e: _centred(x) / (_ms(x) + e).sqrt() * w,
    ),
    (
        "the standard deviation is used. Do not subtract the mean before squaring.",
        lambda x, w, e: x / (_var(x, 0) + e).sqrt() * w,
    ),
    (
        "the standard deviation is used, with D - 1. Take the mean of the squares.",
        lambda x, w, e: x / (_var(x, 1) + e).sqrt() * w,
    ),
    (
        "the standard deviation is used, and eps stands outside the root. Take the"
        " mean of the squares, add eps, then the root.",
        lambda x, w, e: x / (_var(x, 1).sqrt() + e) * w,
    ),
    (
        "the squares are divided by D - 1. Nothing was subtracted: divide by D.",
        lambda x, w, e: x / (_ms(x) * D / (D - 1) + e).sqrt() * w,
    ),
    (
        "the mean is squared. Square first, then take the mean.",
        lambda x, w, e: x / (x.mean(-1, keepdim=True) ** 2 + e).sqrt() * w,
    ),
    (
        "absolute values are averaged. Square first, then the mean, then the root.",
        lambda x, w, e: x / (x.abs().mean(-1, keepdim=True) + e) * w,
    ),
    (
        "x is divided by its largest entry. Divide by the root mean square.",
        lambda x, w, e: x / (x.abs().amax(-1, keepdim=True) + e) * w,
    ),
    (
        "the root is missing: x is divided by the mean of squares itself.",
        lambda x, w, e: x / (_ms(x) + e) * w,
    ),
    (
        "the root is taken twice. rsqrt is already one over the root.",
        lambda x, w, e: x / (_ms(x) + e).sqrt().sqrt() * w,
    ),
    (
        "x is multiplied by the root mean square. Divide, or multiply by rsqrt.",
        lambda x, w, e: x * (_ms(x) + e).sqrt() * w,
    ),
    (
        "x is missing: the result is only the gain over the root mean square.",
        lambda x, w, e: (torch.ones_like(x) / (_ms(x) + e).sqrt()) * w,
    ),
    (
        "the squares are summed, not averaged: the result shrinks as D grows.",
        lambda x, w, e: x / (x.pow(2).sum(-1, keepdim=True) + e).sqrt() * w,
    ),
    (
        "x is divided by its length: the squares are summed, not averaged.",
        lambda x, w, e: x / x.norm(dim=-1, keepdim=True) * w,
    ),
    (
        "x is divided by its length, and eps stands outside the root. The squares are"
        " summed, not averaged.",
        lambda x, w, e: x / (x.norm(dim=-1, keepdim=True) + e) * w,
    ),
    (
        "the mean runs over time (dim=-2): a token sees later tokens. Use dim=-1.",
        lambda x, w, e: x / (_ms(x, -2) + e).sqrt() * w,
    ),
    (
        "the mean runs over the batch (dim=0): one text changes another. Use dim=-1.",
        lambda x, w, e: x / (_ms(x, 0) + e).sqrt() * w,
    ),
    (
        "the mean runs over time and features at once. Use dim=-1 alone.",
        lambda x, w, e: x / (_ms(x, (-2, -1)) + e).sqrt() * w,
    ),
    (
        "the mean runs over batch and time at once. Use dim=-1 alone.",
        lambda x, w, e: x / (_ms(x, (0, 1)) + e).sqrt() * w,
    ),
    (
        "the mean runs over the whole tensor. Give mean a dim: dim=-1.",
        lambda x, w, e: x / (x.pow(2).mean() + e).sqrt() * w,
    ),
    (
        "the gain is never applied. Multiply the result by self.weight.",
        lambda x, w, e: _right(x, torch.ones_like(w), e),
    ),
    (
        "the gain is used as 1 + weight (Gemma's way). Ours starts at one: use weight.",
        lambda x, w, e: _right(x, 1 + w, e),
    ),
    (
        "the gain is added. Multiply the result by self.weight.",
        lambda x, w, e: _right(x, torch.ones_like(w), e) + w,
    ),
    (
        "the gain is applied twice. Multiply by self.weight once, at the end.",
        lambda x, w, e: _right(x, w * w, e),
    ),
    (
        "the result is divided by the gain. Multiply by self.weight.",
        lambda x, w, e: _right(x, 1 / w, e),
    ),
    (
        "the gain is applied before the squares are taken. First normalise, then gain.",
        lambda x, w, e: _right(x * w, torch.ones_like(w), e),
    ),
    (
        "the squares are taken of x times the gain. Take them of x alone.",
        lambda x, w, e: x / (_ms(x * w) + e).sqrt(),
    ),
    (
        "x is added to the result. The block adds it, the norm does not.",
        lambda x, w, e: x + _right(x, w, e),
    ),
)

BUILD_HINTS = {
    "before Module.__init__": "call super().__init__() first, in __init__.",
    "super().__init__": "call super().__init__() first, in __init__.",
    "positional argument": "the class must be built as YourRMSNorm(d_model, eps).",
}
IN_PLACE = "the input is changed in place. Make a new tensor instead."
CALL_HINTS = {
    "must match the size": "the mean lost its last dimension. Keep it: keepdim=True.",
    "broadcast": "the mean lost its last dimension. Keep it: keepdim=True.",
    "Dimension out of range": "dim is counted from the front. From the end: dim=-1.",
    "in-place": IN_PLACE,
    "inplace": IN_PLACE,
    "not enough values to unpack": "forward expects three axes. x is (..., D).",
    "too many values to unpack": "forward expects three axes. x is (..., D).",
}


# ------------------------------------------------------------------ handling it


def _module(kind: Any, *arguments: Any) -> nn.Module:
    """Build the reader's class as it is meant to be built."""
    module = attempt(kind, *arguments, hints=BUILD_HINTS)
    if not isinstance(module, nn.Module):
        raise FailedError("this makes no nn.Module. Hand in a class that inherits it.")
    return module


def _apply(module: nn.Module, x: Tensor) -> Tensor:
    y = attempt(module, x, hints=CALL_HINTS)
    if not isinstance(y, Tensor):
        raise FailedError(f"forward returns a {type(y).__name__}, not a tensor.")
    if y.shape != x.shape:
        raise FailedError(
            f"the shape changed from {tuple(x.shape)} to {tuple(y.shape)}."
        )
    return y


def _weight(module: nn.Module) -> nn.Parameter:
    weight = getattr(module, "weight", None)
    if weight is None:
        _apply(module, _probe(B, T, D))  # an untouched stub has no gain either
        names = [name for name, _ in module.named_parameters()]
        if names:
            raise FailedError(f"the gain is called {names[0]}. Call it weight.")
        raise FailedError("the gain is missing. Give the module a weight of D ones.")
    if not isinstance(weight, nn.Parameter):
        raise FailedError("weight is no nn.Parameter: no optimiser will ever find it.")
    if not weight.requires_grad:
        raise FailedError("weight has requires_grad=False, so it never learns.")
    if weight.shape != (D,):
        raise FailedError(
            f"weight has shape {tuple(weight.shape)}, not ({D},): one for each feature."
        )
    return weight


def _ready(kind: Any, *eps: float) -> nn.Module:
    """The reader's module with a gain that is no constant."""
    module = _module(kind, D, *eps)
    weight = getattr(module, "weight", None)
    if not (isinstance(weight, Tensor) and weight.shape == (D,)):
        weight = _weight(module)  # says what is wrong with it
    with torch.no_grad():
        weight.copy_(_gain())
    return module


def _slope(out: Tensor, by: Tensor) -> Tensor | None:
    """The gradient, or None if ``out`` does not depend on ``by``."""
    if not out.requires_grad:
        return None
    try:
        return torch.autograd.grad(out.sum(), by, allow_unused=True)[0]
    except RuntimeError as error:
        if "inplace" in str(error):
            raise FailedError(IN_PLACE) from error
        raise


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    if a.is_complex() or b.is_complex():
        return False
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ------------------------------------------------------------------ the properties


def _follows_the_formula(kind: Any) -> None:
    x = _probe(B, T, D)
    y = _apply(_ready(kind, EPS), x.clone()).detach()
    if not _close(y, _right(x, _gain(), EPS)):
        for hint, formula in SUSPECTS:
            if _close(y, formula(x, _gain(), EPS)):
                raise FailedError(hint)
        _treats_vectors_alone(kind)  # explains more than a wrong number does
        if _close(y, _right(x, _gain(), EPS), 0.01):
            raise FailedError(
                "nearly right: something is rounded to 16 bits on the way. The squares,"
                " their mean and the root belong in float32."
            )
        raise FailedError("the numbers are not x / sqrt(mean(x**2) + eps) * weight.")
    small = 0.01 * x
    y = _apply(_ready(kind), small.clone()).detach()
    if not _close(y, _right(small, _gain(), DEFAULT_EPS), 1e-4):
        raise FailedError("eps is not 1e-5 if none is given. That is its default.")


def _has_a_gain(kind: Any) -> None:
    module = _module(kind, D, EPS)
    weight = _weight(module)
    if not weight.any():
        raise FailedError(
            "weight starts at zero, so a fresh layer gives zeros. Start at one."
        )
    if not torch.equal(weight.detach().float(), torch.ones(D)):
        raise FailedError("weight does not start at one. A fresh layer has no opinion.")
    x = _probe(B, T, D)
    if _slope(_apply(module, x), weight) is None:
        raise FailedError("no gradient reaches the gain. Use self.weight itself.")
    others = [name for name, p in module.named_parameters() if p is not weight]
    if others:
        raise FailedError(
            f"there is a parameter called {others[0]}. RMSNorm has a gain, and no bias."
        )


def _treats_vectors_alone(kind: Any) -> None:
    module = _ready(kind, EPS)
    for shape in ((T, D), (B, T, D), (2, B, T, D)):
        x = _probe(*shape)
        alone = [_apply(module, vector.clone()) for vector in x.view(-1, D)]
        if not _close(_apply(module, x.clone()).view(-1, D), torch.stack(alone)):
            raise FailedError("a vector's result depends on others. Use dim=-1 only.")


def _survives_zero(kind: Any) -> None:
    zero = torch.zeros(2, T, D, requires_grad=True)
    y = _apply(_ready(kind, DEFAULT_EPS), zero * 1.0)
    if not torch.equal(y, torch.zeros_like(y)):
        raise FailedError(NO_EPS if y.isnan().any() else "a zero vector must stay so.")
    slope = _slope(y, zero)
    if slope is not None and not slope.isfinite().all():
        raise FailedError(
            "the gradient at a zero vector is not finite. Add eps before the root,"
            " whose slope at zero is infinite."
        )


def _keeps_half_precision(kind: Any) -> None:
    x = 3000 * _probe(B, T, D).sign() * torch.linspace(0.5, 1.5, D)
    for dtype in (torch.float16, torch.bfloat16):
        narrow, name = x.to(dtype), _name(dtype)
        wide = _apply(_ready(kind, DEFAULT_EPS), narrow.float())
        for gain in (dtype, torch.float32):
            y = _apply(_ready(kind, DEFAULT_EPS).to(gain), narrow.clone())
            if not _close(y, wide, 0.02):
                raise FailedError(
                    f"{name} cannot hold the squares of values in the thousands."
                    " Widen x to float32 before squaring, not after."
                )
            if y.dtype != dtype:
                told = f"{name} in, {_name(y.dtype)} out"
                if gain == dtype:
                    raise FailedError(f"{told}. Cast back at the end: .to(x.dtype).")
                raise FailedError(
                    f"{told} where the gain is float32: the gain widens the result."
                    " Cast after the gain, or cast the gain too."
                )
    small = 0.03 * _probe(B, T, D).half()
    y = _apply(_ready(kind, DEFAULT_EPS).half(), small.clone())
    if not _close(y, _apply(_ready(kind, DEFAULT_EPS), small.float()), 5e-3):
        raise FailedError(
            "float16 loses the squares of small values. Widen x before squaring."
        )


def _keeps_float64(kind: Any) -> None:
    x = _probe(B, T, D).double()
    y = _apply(_ready(kind, EPS).double(), x.clone())
    if y.dtype != torch.float64:
        raise FailedError(f"float64 in, {_name(y.dtype)} out. Cast back to x.dtype.")
    # a nudge that float32 cannot see must move y as much, for its size, as a large one
    nudge = _probe(B, T, D).roll(1, -1).double()
    module = _ready(kind, EPS).double()
    seen = (_apply(module, x + 1e-9 * nudge) - y) / 1e-9
    if not _close(seen, (_apply(module, x + 1e-5 * nudge) - y) / 1e-5, 1e-3):
        raise FailedError(
            "float64 is narrowed to float32 on the way. Widen only what is narrower:"
            " torch.promote_types(x.dtype, torch.float32)."
        )


def _keeps_input_and_gradient(kind: Any) -> None:
    module, x = _ready(kind, EPS), _probe(B, T, D)
    before = x.clone()
    _apply(module, x)
    if not torch.equal(x, before):
        raise FailedError(IN_PLACE)
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and not torch.equal(weight.detach(), _gain()):
        raise FailedError("forward changes the gain. Only the optimiser may.")

    def loss(v: Tensor) -> Tensor:
        return _apply(module, v * 1.0).pow(3).sum()

    leaf = before.clone().requires_grad_()
    slope = _slope(loss(leaf), leaf)
    if slope is None:
        raise FailedError("no gradient reaches x. Remove no_grad, detach and .data.")
    # mostly along x, where a norm's gradient hides
    step = before + 0.1 * _probe(B, T, D).roll(1, -1)
    with torch.no_grad():
        up, down = loss(before + 0.01 * step), loss(before - 0.01 * step)
    if not _close((slope * step).sum(), (up - down) / 0.02, 0.02):
        raise FailedError(
            "no gradient flows through the mean of squares. Do not detach it."
        )


RMS_NORM: tuple[Property, ...] = (
    ("the numbers of the formula, eps included", _follows_the_formula),
    ("one parameter: a gain of D ones, which learns", _has_a_gain),
    ("each vector alone, whatever stands around it", _treats_vectors_alone),
    ("a zero vector stays zero, with a finite gradient", _survives_zero),
    ("half precision in and out, squares in float32", _keeps_half_precision),
    ("float64 in and out, nothing narrowed on the way", _keeps_float64),
    ("the gradient is right, the input is left alone", _keeps_input_and_gradient),
)


def rms_norm(kind: Any) -> Report:
    """Try a class built as ``kind(d_model, eps)``: an nn.Module with a ``weight``."""
    return run(kind, RMS_NORM)
