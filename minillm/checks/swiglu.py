"""Chapter 5: does a reader's gated layer gate, and is its width the fair one?"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.checks import FailedError, Property, Report, attempt, run

# ------------------------------------------------------------------ gated_feed_forward

B, T, D, M = 4, 3, 5, 7  # different, so that no axis passes for another
SHAPES = {"gate": (M, D), "up": (M, D), "down": (D, M)}  # of the weights: (out, in)

Weights = dict[str, Tensor]
Formula = Callable[[Tensor, Weights], Tensor]


def _noise(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _probe(*shape: int) -> Tensor:
    return _noise(0, *(shape or (B, T, D))).float()


def _weights() -> Weights:
    """Large ones: a small gate is nearly linear, and hides which bend it has."""
    return {n: _noise(i, *s).float() for i, (n, s) in enumerate(SHAPES.items(), 1)}


def _right(x: Tensor, w: Weights) -> Tensor:
    return (F.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def _hidden(combine: Callable[[Tensor, Tensor], Tensor]) -> Formula:
    """A layer whose hidden numbers are ``combine(gate(x), up(x))``."""
    return lambda x, w: combine(x @ w["gate"].T, x @ w["up"].T) @ w["down"].T


def _bent_input(x: Tensor, w: Weights) -> Tensor:
    return ((F.silu(x) @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


# A wrong output that equals one of these has told us its name.
SUSPECTS: tuple[tuple[str, Formula], ...] = (
    (
        "gate and up are swapped: silu goes around gate(x), and up(x) stays as it is.",
        _hidden(lambda g, u: g * F.silu(u)),
    ),
    (
        "silu is taken of the product. A bracket is misplaced: silu(gate(x)) * up(x).",
        _hidden(lambda g, u: F.silu(g * u)),
    ),
    (
        "silu is applied to both sides. Only the gate is bent; up(x) stays linear.",
        _hidden(lambda g, u: F.silu(g) * F.silu(u)),
    ),
    (
        "the bend is missing: gate(x) * up(x) is the bilinear layer. Apply silu.",
        _hidden(lambda g, u: g * u),
    ),
    (
        "the gate is a sigmoid alone: that is the GLU of 2016. silu(z) = z sigmoid(z).",
        _hidden(lambda g, u: g.sigmoid() * u),
    ),
    (
        "the gate is a sigmoid alone, and on the wrong side: silu(gate(x)) * up(x).",
        _hidden(lambda g, u: g * u.sigmoid()),
    ),
    (
        "this is F.glu's order: up(x) is bent. SwiGLU bends gate(x), by silu.",
        _hidden(lambda g, u: F.relu(u) * g),
    ),
    (
        "the gate is bent by ReLU: that is ReGLU. Use silu.",
        _hidden(lambda g, u: F.relu(g) * u),
    ),
    (
        "the gate is bent by the square of ReLU. Use silu.",
        _hidden(lambda g, u: F.relu(g).square() * u),
    ),
    (
        "the gate is bent by GELU: that is GEGLU. Use silu.",
        _hidden(lambda g, u: F.gelu(g) * u),
    ),
    (
        "the gate is bent by GELU (tanh form): that is GEGLU. Use silu.",
        _hidden(lambda g, u: F.gelu(g, approximate="tanh") * u),
    ),
    (
        "the gate is z sigmoid(1.702 z), the quick GELU. In silu the factor is 1.",
        _hidden(lambda g, u: g * (1.702 * g).sigmoid() * u),
    ),
    (
        "the gate is bent by tanh. Use silu.",
        _hidden(lambda g, u: g.tanh() * u),
    ),
    (
        "the gate is bent by softplus. Use silu.",
        _hidden(lambda g, u: F.softplus(g) * u),
    ),
    (
        "the gate is bent by mish. Use silu.",
        _hidden(lambda g, u: F.mish(g) * u),
    ),
    (
        "the gate is bent by hardswish. Use silu.",
        _hidden(lambda g, u: F.hardswish(g) * u),
    ),
    (
        "the gate is bent by ELU. Use silu.",
        _hidden(lambda g, u: F.elu(g) * u),
    ),
    (
        "the gate is bent by leaky ReLU. Use silu.",
        _hidden(lambda g, u: F.leaky_relu(g) * u),
    ),
    (
        "the gate is a softmax over the hidden units. Each gate is alone: use silu.",
        _hidden(lambda g, u: g.softmax(-1) * u),
    ),
    (
        "the gate is a softmax over the tokens beside it. Each gate is alone: silu.",
        _hidden(lambda g, u: g.softmax(-2) * u),
    ),
    (
        "the sign in the sigmoid is wrong: silu(z) = z / (1 + exp(-z)).",
        _hidden(lambda g, u: g * (-g).sigmoid() * u),
    ),
    (
        "z is missing a factor twice: silu(z) is z sigmoid(z), not z² sigmoid(z).",
        _hidden(lambda g, u: g * g * g.sigmoid() * u),
    ),
    (
        "silu is applied twice to the gate. Once is enough.",
        _hidden(lambda g, u: F.silu(F.silu(g)) * u),
    ),
    (
        "the gate and up are added. A gate multiplies.",
        _hidden(lambda g, u: F.silu(g) + u),
    ),
    (
        "one is added to the gate. A shut gate must give zero: silu(gate(x)) alone.",
        _hidden(lambda g, u: (1 + F.silu(g)) * u),
    ),
    (
        "up is not used: silu(gate(x)) goes to down without its partner. Multiply.",
        _hidden(lambda g, u: F.silu(g)),
    ),
    (
        "gate is not used: this is silu(up(x)) without a gate. Multiply both.",
        _hidden(lambda g, u: F.silu(u)),
    ),
    (
        "gate is not used: both factors come from up.",
        _hidden(lambda g, u: F.silu(u) * u),
    ),
    (
        "up is not used: both factors come from gate.",
        _hidden(lambda g, u: F.silu(g) * g),
    ),
    (
        "only up goes to down: the gate is lost.",
        _hidden(lambda g, u: u),
    ),
    (
        "x is added to the output. The residual stream is the block's business.",
        lambda x, w: x + _right(x, w),
    ),
    (
        "silu comes after down. It belongs to gate(x) alone.",
        lambda x, w: F.silu(_hidden(lambda g, u: g * u)(x, w)),
    ),
    (
        "silu is applied once more after down. The output is not bent.",
        lambda x, w: F.silu(_right(x, w)),
    ),
    (
        "silu is applied to x, before gate. It belongs after it: silu(gate(x)).",
        _bent_input,
    ),
    (
        "the output of the gate goes through down alone, times up's: one down, of the"
        " product.",
        lambda x, w: (
            (F.silu(x @ w["gate"].T) @ w["down"].T) * ((x @ w["up"].T) @ w["down"].T)
        ),
    ),
)

WIDTHS = {
    4 * D: "4 d_model",
    8 * D // 3: "8/3 d_model",
    2 * M // 3: "2/3 d_ff",
    M // 2: "half of d_ff",
    2 * M: "2 d_ff",
    D: "d_model",
}
LAYER_ERRORS = {
    "positional argument": "it must be built as YourSwiGLU(d_model, d_ff).",
    "cannot be multiplied": "two shapes do not fit: gate and up go from D to M, down"
    " back to D.",
    "must match the size": "two shapes do not fit: gate(x) and up(x) are both M wide.",
    "before Module.__init__": "call super().__init__() before anything is assigned.",
    "same dtype": "a dtype is changed on the way. Leave x and the weights as they are.",
    "expected scalar type": "a dtype is changed on the way. Leave x as it is.",
    "view size is not compatible": "view wants a contiguous x. The layers need no view;"
    " else use reshape.",
    "in-place operation": "a tensor is changed in place that the backward pass needs.",
    "in-place": "the input is changed in place. Make a new tensor instead.",
}


def _weight(part: Any) -> Tensor | None:
    weight = getattr(part, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def _part(layer: nn.Module, name: str) -> nn.Module:
    """The part of this name, if its matrix has the right shape."""
    part = getattr(layer, name, None)
    if part is None:
        raise FailedError(
            f"there is no part named {name}. The three are gate, up and down, and"
            " assigned in __init__: self.gate = nn.Linear(...)."
        )
    weight = _weight(part)
    if not isinstance(part, nn.Module) or weight is None:
        raise FailedError(f"{name} is a {type(part).__name__}, not an nn.Linear.")
    if tuple(weight.shape) == SHAPES[name]:
        return part
    others = {n: _weight(getattr(layer, n, None)) for n in SHAPES}
    if all(w is not None and w.shape == SHAPES[n][::-1] for n, w in others.items()):
        raise FailedError("d_model and d_ff are swapped: it is built (d_model, d_ff).")
    if tuple(weight.shape) == SHAPES[name][::-1]:
        raise FailedError(
            f"{name} runs the wrong way: gate and up are Linear(d_model, d_ff), down"
            " is Linear(d_ff, d_model)."
        )
    width = weight.shape[1 if name == "down" else 0]
    said = f" = {WIDTHS[width]}" if width in WIDTHS else ""
    raise FailedError(
        f"{name} is {width} wide{said}, not d_ff ({M}). The given d_ff is already the"
        " width: take it as it is."
    )


def _layer(kind: Any, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Build the reader's layer and give it our weights; a bias becomes zero."""
    layer = attempt(kind, D, M, hints=LAYER_ERRORS)
    if not isinstance(layer, nn.Module):
        name = type(layer).__name__
        raise FailedError(f"a {name} came back, not an nn.Module. Hand in the class.")
    if not hasattr(layer, "gate") and not hasattr(layer, "up"):
        attempt(layer, _probe(), hints=LAYER_ERRORS)  # a stub says so
    weights = _weights()
    parts = {name: _part(layer, name) for name in SHAPES}
    with torch.no_grad():
        for name, part in parts.items():
            for key, parameter in part.named_parameters():
                parameter.copy_(weights[name] if key == "weight" else torch.zeros(()))
    return layer.to(dtype)


def _output(layer: nn.Module, x: Tensor) -> Tensor:
    """Call the layer; its output must have the input's shape."""
    y = attempt(layer, x, hints=LAYER_ERRORS)
    if not isinstance(y, Tensor):
        raise FailedError(f"a {type(y).__name__} came back, not a tensor.")
    if y.shape == x.shape:
        return y
    if y.shape == (*x.shape[:-1], M):
        raise FailedError("the output is d_ff wide: down is missing at the end.")
    raise FailedError(f"shape {tuple(x.shape)} became {tuple(y.shape)}.")


def _has_three_matrices(kind: Any) -> None:
    layer = _layer(kind)
    _output(layer, _probe())  # a stub says so
    for name in SHAPES:
        if getattr(_part(layer, name), "bias", None) is not None:
            raise FailedError(f"{name} has a bias. Build it with bias=False.")
    if _part(layer, "gate").weight is _part(layer, "up").weight:
        raise FailedError("gate and up are the same matrix. Build two.")
    found = {name for name, _ in layer.named_parameters()}
    for name in SHAPES:
        if f"{name}.weight" not in found:
            raise FailedError(
                f"{name} is not among the layer's parameters, so an optimiser would"
                " never move it. Assign it plainly: self.name = nn.Linear(...)."
            )
    extra = found - {f"{name}.weight" for name in SHAPES}
    if extra:
        raise FailedError(
            f"there are more parameters than the three matrices: {min(extra)}."
        )


def _follows_the_formula(kind: Any) -> None:
    layer, x, weights = _layer(kind), _probe(), _weights()
    if getattr(layer, "gate", None) is getattr(layer, "up", None):
        raise FailedError("gate and up are the same matrix. Build two.")
    with torch.no_grad():
        y = _output(layer.eval(), x)
        if _close(y, _right(x, weights)):
            return
    for hint, formula in SUSPECTS:
        if _close(y, formula(x, weights)):
            raise FailedError(hint)
    for dim, axis in ((0, "batch"), (1, "time"), (2, "width")):
        if _close(y.mean(dim), torch.zeros(()), 1e-4):
            raise FailedError(f"the output is normalised along the {axis}. Leave it.")
    raise FailedError("the output differs from down(silu(gate(x)) * up(x)).")


def _works_token_by_token(kind: Any) -> None:
    layer, x = _layer(kind).eval(), _probe()
    with torch.no_grad():
        whole = _output(layer, x)
        alone = torch.stack([_output(layer, x[b : b + 1, 1:2]) for b in range(B)])
        same = _close(alone[:, 0, 0], whole[:, 1])
        for some in (x[0], x[0, 0], _probe(2, B, T, D), x.mT.contiguous().mT):
            if same:
                _output(layer, some)
    if not same:
        raise FailedError(
            "a token's output depends on the tokens beside it. Every step works on the"
            " last dimension alone."
        )


def _is_linear_in_up(kind: Any) -> None:
    layer, x = _layer(kind).eval(), _probe()
    with torch.no_grad():
        before = _output(layer, x)
        _part(layer, "up").weight.mul_(-2.0)  # type: ignore[operator]
        after = _output(layer, x)
    if not _close(after, -2 * before, 1e-4):
        raise FailedError("up(x) is bent. It must stay as it is; only gate(x) is bent.")


def _shuts(kind: Any) -> None:
    layer, x = _layer(kind).eval(), _probe()
    with torch.no_grad():
        _part(layer, "gate").weight.zero_()  # type: ignore[operator]
        y = _output(layer, x)
    if not _close(y, torch.zeros(())):
        raise FailedError("gate(x) = 0 must give 0: silu(0) = 0, and it multiplies.")
    with torch.no_grad():
        _part(layer, "gate").weight.copy_(100 * _weights()["gate"])  # type: ignore[operator]
        y = _output(layer, x)
    if not y.isfinite().all():
        raise FailedError(
            "gates near 100 give NaN or infinity: exp overflows. Use torch.sigmoid."
        )


def _has_the_gradient(kind: Any) -> None:
    layer, x = _layer(kind, torch.float64), _probe().double()
    kept, before = x.clone(), torch.is_grad_enabled()
    y = _output(layer.train(), x)
    if not torch.equal(x, kept):
        raise FailedError("the input is changed in place. Make a new tensor instead.")
    if not torch.equal(y, _output(layer, x)):
        raise FailedError("two calls differ: something random (dropout?) is inside.")
    if not _close(_output(layer.eval(), x), y, 1e-9):
        raise FailedError("training and evaluation differ. Nothing here should.")
    if torch.is_grad_enabled() != before:
        raise FailedError("gradients are switched off for what comes after.")
    if y.dtype != torch.float64:
        raise FailedError(f"float64 becomes {y.dtype}. Leave the dtype as it is.")
    aim = _noise(9, B, T, D)
    found = [_weight(_part(layer, name)) for name in SHAPES]
    leaves = [x.requires_grad_(), *(matrix for matrix in found if matrix is not None)]
    total = (_output(layer.train(), x) * aim).sum()
    slopes: tuple[Tensor | None, ...] = (None,) * 4
    if total.requires_grad:
        slopes = torch.autograd.grad(total, leaves, allow_unused=True)
    right = _right(kept, {n: v.double() for n, v in _weights().items()})
    if _close(y, right) and not _close(y, right, 1e-10):
        raise FailedError(
            "float64 goes through something narrower. Leave the dtype as it is."
        )
    for name, leaf, slope in zip(("x", *SHAPES), leaves, slopes, strict=True):
        if slope is None:
            raise FailedError(f"no gradient reaches {name}. Detach nothing.")
        step = 1e-6 * _noise(10, *leaf.shape)
        with torch.no_grad():
            leaf += step
            above = (_output(layer, x) * aim).sum()
            leaf -= 2 * step
            below = (_output(layer, x) * aim).sum()
            leaf += step
        if not _close((slope * step).sum() * 1e6, (above - below) * 5e5, 1e-3):
            raise FailedError(
                f"the gradient of {name} is not the slope of the layer. Detach nothing."
            )


GATED_FEED_FORWARD: tuple[Property, ...] = (
    ("gate, up and down: three matrices without bias", _has_three_matrices),
    ("down(silu(gate(x)) * up(x))", _follows_the_formula),
    ("every token is worked on alone, in a tensor of any shape", _works_token_by_token),
    ("minus twice up gives minus twice the output", _is_linear_in_up),
    ("a gate of zeros shuts the layer, a gate of 100 is no trouble", _shuts),
    ("gradients reach x and all three, float64 stays", _has_the_gradient),
)


def gated_feed_forward(kind: Any) -> Report:
    """Try the class ``kind(d_model, d_ff)``, a layer from (..., D) to (..., D)."""
    return run(kind, GATED_FEED_FORWARD)


# ------------------------------------------------------------------ fair_width

DS, MULTIPLES = (96, 100, 128, 131, 250, 4096, 90_000), (1, 7, 64, 256)
GRID = tuple((d, m) for d in DS for m in MULTIPLES)
LLAMAS = {4096: 11008, 5120: 13824, 6656: 17920, 8192: 22016}  # at multiples of 256
HUGE = 3 * 10**17 + 1  # float64 counts exactly up to 9 * 10**15

Rule = Callable[[int, int], int]


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _fair(d: int, m: int) -> int:
    return _up(8 * d, 3 * m) * m


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


WIDTH_SUSPECTS: tuple[tuple[str, Rule], ...] = (
    (
        "the width is rounded down. Round up to the next multiple.",
        lambda d, m: 8 * d // (3 * m) * m,
    ),
    (
        "the width is rounded to the nearest multiple. Round up.",
        lambda d, m: _nearest(8 * d, 3 * m) * m,
    ),
    (
        "8 d / 3 loses its fraction before it is rounded up (as in Meta's code, where"
        " it makes no difference at multiples of 8). Round once, at the end.",
        lambda d, m: _up(8 * d // 3, m) * m,
    ),
    (
        "8 d / 3 is rounded to the nearest number before it is rounded up. Round once.",
        lambda d, m: _up(_nearest(8 * d, 3), m) * m,
    ),
    (
        "a width that is a multiple already gets one more. Add multiple - 1, not"
        " multiple.",
        lambda d, m: (8 * d // (3 * m) + 1) * m,
    ),
    (
        "a width that is a whole multiple already gets one more. Round up, and only"
        " what needs it.",
        lambda d, m: (_up(8 * d, 3) // m + 1) * m,
    ),
    (
        "the multiple is not used.",
        lambda d, m: _up(8 * d, 3),
    ),
    (
        "the multiple is not used, and the fraction is cut off.",
        lambda d, m: 8 * d // 3,
    ),
    (
        "this is 4 d, the width for two matrices. Three need 2/3 of it.",
        lambda d, m: _up(4 * d, m) * m,
    ),
    (
        "this is 2/3 d. The 2/3 are taken of 4 d.",
        lambda d, m: _up(2 * d, 3 * m) * m,
    ),
    (
        "this is 3 d. Solve 3 d M = 8 d d.",
        lambda d, m: _up(3 * d, m) * m,
    ),
    (
        "this is 2 d: as if gate and up each took half of 4 d, and down had shrunk"
        " with them. Count three matrices: 3 d M = 8 d d.",
        lambda d, m: _up(2 * d, m) * m,
    ),
    (
        "this is 6 d: 3/2 where 2/3 belongs. The gated layer is the narrower one.",
        lambda d, m: _up(6 * d, m) * m,
    ),
    (
        "this is 16/3 d: 8/3 taken of 2 d. It is 8/3 of d.",
        lambda d, m: _up(16 * d, 3 * m) * m,
    ),
    (
        "this is 3/8 d: the fraction is upside down.",
        lambda d, m: _up(3 * d, 8 * m) * m,
    ),
    (
        "this is 8 d. Divide by the three matrices.",
        lambda d, m: _up(8 * d, m) * m,
    ),
    (
        "the 2/3 are taken after rounding. Round last, or the multiple is lost.",
        lambda d, m: _up(2 * (_up(4 * d, m) * m), 3),
    ),
    (
        "the 2/3 are taken after rounding, and cut off. Round last, and up.",
        lambda d, m: 2 * (_up(4 * d, m) * m) // 3,
    ),
    (
        "d_model is rounded before it is multiplied. Round last.",
        lambda d, m: _up(8 * (_up(d, m) * m), 3),
    ),
    (
        "how many multiples, not how wide: multiply by multiple at the end.",
        lambda d, m: _up(8 * d, 3 * m),
    ),
    (
        "the parameters are counted, not the width: this is 3 d M.",
        lambda d, m: 3 * d * _fair(d, m),
    ),
    (
        "d_model and multiple are swapped.",
        lambda d, m: _fair(m, d),
    ),
    (
        "8/3 is written as 2.6667, a little too much. Keep the fraction: 8 * d over 3.",
        lambda d, m: math.ceil(2.6667 * d / m) * m,
    ),
    (
        "8/3 is written as 2.667, too much. Keep the fraction: 8 * d over 3.",
        lambda d, m: math.ceil(2.667 * d / m) * m,
    ),
    (
        "8/3 is written as 2.67, too much. Keep the fraction: 8 * d over 3.",
        lambda d, m: math.ceil(2.67 * d / m) * m,
    ),
    (
        "8/3 is written as 2.66, too little. Keep the fraction: 8 * d over 3.",
        lambda d, m: math.ceil(2.66 * d / m) * m,
    ),
    (
        "the next power of two is taken. Any multiple of `multiple` will do.",
        lambda d, m: 1 << (_up(8 * d, 3) - 1).bit_length(),
    ),
)

WIDTH_ERRORS = {
    "OverflowError": "a large number passes through a float. Use integers: // only.",
    "positional argument": "it is called as fair_width(d_model, multiple).",
    "division by zero": "it divides by something that can be zero.",
    "ZeroDivision": "it divides by something that can be zero.",
}


def _width(function: Any, d_model: int, multiple: int) -> int:
    """Call the reader's function; it must give a whole number."""
    result = attempt(function, d_model, multiple, hints=WIDTH_ERRORS)
    if isinstance(result, float):
        raise FailedError(
            "a float came back. A width is an int: divide by // and not by /."
        )
    if isinstance(result, bool) or not isinstance(result, int):
        raise FailedError(f"a {type(result).__name__} came back, not an int.")
    return result


def _gives_a_whole_number(function: Any) -> None:
    for d, m in GRID:
        if _width(function, d, m) <= 0:
            raise FailedError(f"d_model {d} and multiple {m} give no positive width.")


def _is_the_fair_one(function: Any) -> None:
    given = [_loosely(function, d, m) for d, m in GRID]
    if given == [_fair(d, m) for d, m in GRID]:
        return
    for hint, rule in WIDTH_SUSPECTS:
        if given == [rule(d, m) for d, m in GRID]:
            raise FailedError(hint)
    wrong = [
        (d, m, w) for (d, m), w in zip(GRID, given, strict=True) if w != _fair(d, m)
    ]
    d, m, width = wrong[0]
    said = f"({d}, {m}) gives {width:.10g}, not {_fair(d, m)}."
    if len(wrong) < len(GRID) / 2 and abs(width - _fair(d, m)) == m:
        said += " Is a float in between (/ or math.ceil)? Use // only."
    raise FailedError(said)


def _loosely(function: Any, d: int, m: int) -> float:
    """A float counts here, as long as its value is right: it has a line of its own."""
    result = attempt(function, d, m, hints=WIDTH_ERRORS)
    if isinstance(result, int | float) and not isinstance(result, bool):
        return result
    return _width(function, d, m)


def _is_a_multiple(function: Any) -> None:
    for d, m in GRID:
        if _loosely(function, d, m) % m:
            raise FailedError(f"d_model {d}: the width is no multiple of {m}.")


def _never_has_fewer_parameters(function: Any) -> None:
    for d, m in GRID:
        width = _loosely(function, d, m)
        if 3 * d * width < 8 * d * d:
            raise FailedError(
                f"d_model {d}, multiple {m}: three matrices of width {width:g} hold"
                " fewer than 8 d² numbers. Round up."
            )
        if 3 * d * (width - m) >= 8 * d * d:
            raise FailedError(
                f"d_model {d}, multiple {m}: a width of {width - m:g} would be enough."
            )


def _gives_the_llamas(function: Any) -> None:
    for d, width in LLAMAS.items():
        if (given := _loosely(function, d, 256)) != width:
            raise FailedError(
                f"Llama's {d} at multiples of 256: {given:g}, not {width}."
            )


def _is_exact(function: Any) -> None:
    for d, m in ((HUGE, 1), (HUGE, 256), (3 * HUGE, 8), (3, 8), (6, 16), (99, 11)):
        if _loosely(function, d, m) != _fair(d, m):
            raise FailedError(
                "with a large d_model the last digits are wrong: a float was in between"
                " (/ or math.ceil). Use // only: -(-a // b) rounds up."
                if d > 99
                else f"({d}, {m}) must give {_fair(d, m)}."
            )


FAIR_WIDTH: tuple[Property, ...] = (
    ("a whole number", _gives_a_whole_number),
    ("8 d_model / 3, rounded up to a multiple", _is_the_fair_one),
    ("a multiple of what was asked", _is_a_multiple),
    (
        "no fewer parameters than 8 d², and no more than needed",
        _never_has_fewer_parameters,
    ),
    ("the widths of the first Llamas", _gives_the_llamas),
    ("exact for numbers too large for a float", _is_exact),
)


def fair_width(function: Any) -> Report:
    """Try ``function(d_model, multiple) -> d_ff``, all three whole numbers."""
    return run(function, FAIR_WIDTH)


# ------------------------------------------------------------------ small tools


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
