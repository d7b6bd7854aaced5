"""Chapter 2: do a reader's attention and LayerNorm do what a GPT needs?"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minillm.checks import FailedError, Property, Report, attempt, run

Formula = Callable[..., Tensor]

IN_PLACE = "an input is changed in place. Make a new tensor instead."
NOT_CONTIGUOUS = (
    "view needs numbers that lie side by side in memory, and after a transpose they"
    " do not. Use reshape, or no view at all."
)

# ------------------------------------------------------------------ causal_attention

B, H, T, E = 2, 3, 7, 4  # all different, and so is H * E
LONG = 70
LOUD = 40.0  # makes scores of several hundred


def _qkv(size: tuple[int, int, int, int] = (B, H, T, E)) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple(1.5 * torch.randn(size, generator=generator) for _ in range(3))


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5


def _hide(scores: Tensor, seen: Tensor) -> Tensor:
    return scores.masked_fill(~seen, -math.inf)


def _past(q: Tensor, furthest: int = 0) -> Tensor:
    """True where a query may look, if it may look ``furthest`` positions ahead."""
    return torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril(furthest)


def _right_attention(q: Tensor, k: Tensor, v: Tensor, scale: float = 1.0) -> Tensor:
    return _hide(scale * _scores(q, k), _past(q)).softmax(-1) @ v


def _renormalised(q: Tensor, k: Tensor, seen: Tensor, dim: int) -> Tensor:
    return _hide(_scores(q, k), seen).softmax(dim)


# A wrong answer that equals one of these has told us its name. NaN counts as zero:
# a row without a single key gives the one or the other.
ATTENTION_SUSPECTS: tuple[tuple[str, Formula], ...] = (
    (
        "the scores are not scaled. Divide them by the root of E.",
        lambda q, k, v: _right_attention(q, k, v, q.shape[-1] ** 0.5),
    ),
    (
        "the scores are divided by E. Divide by its root.",
        lambda q, k, v: _right_attention(q, k, v, q.shape[-1] ** -0.5),
    ),
    (
        "the scores are multiplied by the root of E. Divide by it.",
        lambda q, k, v: _right_attention(q, k, v, q.shape[-1]),
    ),
    (
        "the scores are divided by the root of H * E, the width of all heads together."
        " Use the width of one head.",
        lambda q, k, v: _right_attention(q, k, v, q.shape[1] ** -0.5),
    ),
    (
        "the scores are divided by the root of T, the length of the text. Use E.",
        lambda q, k, v: _right_attention(q, k, v, (q.shape[-1] / q.shape[-2]) ** 0.5),
    ),
    (
        "the weights are divided by the root of E after the softmax. Divide the scores"
        " before it.",
        lambda q, k, v: (
            _hide(q @ k.transpose(-2, -1), _past(q)).softmax(-1)
            @ v
            / q.shape[-1] ** 0.5
        ),
    ),
    (
        "there is no mask: every position sees the future.",
        lambda q, k, v: _scores(q, k).softmax(-1) @ v,
    ),
    (
        "every position also sees the next one. Hide what lies above the diagonal:"
        " triu(1), not triu(2).",
        lambda q, k, v: _renormalised(q, k, _past(q, 1), -1) @ v,
    ),
    (
        "a position does not see itself. The diagonal belongs to the past.",
        lambda q, k, v: _renormalised(q, k, _past(q, -1), -1) @ v,
    ),
    (
        "the mask is upside down: a position sees itself and what comes later.",
        lambda q, k, v: _renormalised(q, k, _past(q).T, -1) @ v,
    ),
    (
        "the mask is inverted: only what comes later is seen. Is True 'look' or 'do not"
        " look'?",
        lambda q, k, v: _renormalised(q, k, ~_past(q), -1) @ v,
    ),
    (
        "the scores are multiplied by the mask, so the future has score 0 and still"
        " gets weight. Put minus infinity there.",
        lambda q, k, v: (_scores(q, k) * _past(q)).softmax(-1) @ v,
    ),
    (
        "the mask comes after the softmax, so the weights no longer sum to one. Mask"
        " the scores.",
        lambda q, k, v: (_scores(q, k).softmax(-1) * _past(q)) @ v,
    ),
    (
        "the mask adds 1 and 0 to the scores. Add 0 and minus infinity.",
        lambda q, k, v: (_scores(q, k) + _past(q)).softmax(-1) @ v,
    ),
    (
        "the softmax runs over the queries. For each query the weights of its keys must"
        " sum to one: dim=-1.",
        lambda q, k, v: _renormalised(q, k, _past(q), -2) @ v,
    ),
    (
        "the softmax runs over the heads. It belongs to dim=-1.",
        lambda q, k, v: _renormalised(q, k, _past(q), 1) @ v,
    ),
    (
        "the softmax runs over the batch. It belongs to dim=-1.",
        lambda q, k, v: _renormalised(q, k, _past(q), 0) @ v,
    ),
    (
        "there is no softmax: the scores themselves are the weights.",
        lambda q, k, v: (_scores(q, k) * _past(q)) @ v,
    ),
    (
        "softmax is applied twice.",
        lambda q, k, v: _renormalised(q, k, _past(q), -1).softmax(-1) @ v,
    ),
    (
        "q and k have changed places: the rows belong to the queries, q @ k^T.",
        lambda q, k, v: _right_attention(k, q, v),
    ),
    (
        "the weights are transposed before they meet v.",
        lambda q, k, v: _renormalised(q, k, _past(q), -1).transpose(-2, -1) @ v,
    ),
    (
        "the keys are averaged. The weights belong to v.",
        lambda q, k, v: _right_attention(q, k, k),
    ),
    (
        "the queries are averaged. The weights belong to v.",
        lambda q, k, v: _right_attention(q, k, q),
    ),
    (
        "the sum of the weighted values is missing its weights: this is the plain"
        " average of the past.",
        lambda q, k, v: _right_attention(0 * q, k, v),
    ),
    (
        "k is reshaped to (E, T), which moves no axis. Use k.transpose(-2, -1).",
        lambda q, k, v: (
            _hide(
                q
                @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
                / q.shape[-1] ** 0.5,
                _past(q),
            ).softmax(-1)
            @ v
        ),
    ),
    (
        "heads look at each other, not positions: axes 1 and 2 are mixed up. The shape"
        " is (B, H, T, E).",
        lambda q, k, v: _right_attention(
            *(part.transpose(1, 2) for part in (q, k, v))
        ).transpose(1, 2),
    ),
    (
        "positions are scrambled: a reshape moves no axis. Use transpose(1, 2).",
        lambda q, k, v: (
            _right_attention(q, k, v)
            .reshape(q.shape[0], q.shape[2], q.shape[1], q.shape[3])
            .transpose(1, 2)
        ),
    ),
    (
        "only the last four positions are seen, whatever the length of the text.",
        lambda q, k, v: _renormalised(q, k, _past(q) & ~_past(q, -4), -1) @ v,
    ),
    (
        "position t of v is added to the result. The residual comes later.",
        lambda q, k, v: _right_attention(q, k, v) + v,
    ),
)

ATTENTION_ERRORS = {
    "view size is not compatible": NOT_CONTIGUOUS,
    "batch1 and batch2": "q @ k cannot be: transpose the last two axes of k.",
    "Expected size for first two dimensions of batch2": (
        "q @ k cannot be: transpose the last two axes of k."
    ),
    "mat1 and mat2": "the shapes do not fit. Transpose the last two axes of k.",
    "unexpected keyword": "the function is called with q, k and v alone.",
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
}


def _attend(function: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Call the reader's function; it must give a tensor of q's shape."""
    result = attempt(function, q, k, v, hints=ATTENTION_ERRORS)
    if isinstance(result, tuple):
        raise FailedError("a tuple came back. Return the mixed values alone.")
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape != q.shape:
        n_texts, n_heads, length, width = q.shape
        told = f"the shape is {tuple(result.shape)}, not {tuple(q.shape)}"
        if result.shape == (n_texts, n_heads, length, length):
            raise FailedError(f"{told}: these are the weights. Multiply them by v.")
        if result.shape == (n_texts, length, n_heads * width):
            raise FailedError(f"{told}: heads are joined later, outside.")
        raise FailedError(f"{told}.")
    return result


def _follows_attention(function: Any) -> None:
    q, k, v = _qkv()
    mixed = _attend(function, q.clone(), k.clone(), v.clone()).detach()
    if not torch.equal(
        mixed.nan_to_num(),
        _attend(function, q.clone(), k.clone(), v.clone()).detach().nan_to_num(),
    ):
        raise FailedError("two calls give different results: is there a dropout?")
    if _close(mixed, _right_attention(q, k, v)):
        return
    for hint, formula in ATTENTION_SUSPECTS:
        if _close(mixed.nan_to_num(), formula(q, k, v).nan_to_num()):
            raise FailedError(hint)
    if mixed.isnan().any():
        raise FailedError("NaN comes back: some row of scores has no key to look at.")
    raise FailedError("the numbers differ from softmax(q k^T / root of E) v.")


def _sees_no_future(function: Any) -> None:
    q, k, v = _qkv()
    for loudness in (1.0, LOUD):
        before = _attend(function, loudness * q, k.clone(), v.clone())
        if not before.isfinite().all():
            return  # another property says so
        for t in range(1, T):
            # keys that the last question before t would love to look at
            later_k, later_v = k.clone(), v.clone()
            later_k[:, :, t:] = 2 * q[:, :, t - 1 : t]
            later_v[:, :, t:] += 10
            after = _attend(function, loudness * q, later_k, later_v)
            if not _close(after[:, :, :t], before[:, :, :t], 1e-4):
                if loudness == 1:
                    raise FailedError(f"what comes at {t} changes the result before.")
                raise FailedError(
                    "when scores are large the future shines through: the number that"
                    " stands for minus infinity is too near. Use -inf."
                )


def _averages_what_is_equal(function: Any) -> None:
    q, k, v = _qkv((1, 2, LONG, 3))
    same = k[:, :, :1].expand_as(k).clone()
    mixed = _attend(function, q, same, v.clone())
    counts = torch.arange(1, LONG + 1)[:, None]  # (T, 1)
    if not _close(mixed, v.cumsum(2) / counts):
        weights = _attend(function, q, same, torch.ones_like(v))
        if not _close(weights, torch.ones_like(v)):
            raise FailedError("a query's weights do not sum to one.")
        raise FailedError(
            f"with equal keys, position t of {LONG} is not the plain average of 0..t."
        )


def _keeps_heads_apart(function: Any) -> None:
    q, k, v = _qkv()
    together = _attend(function, q.clone(), k.clone(), v.clone())
    for b in range(B):
        for h in range(H):
            parts = (part[b : b + 1, h : h + 1].clone() for part in (q, k, v))
            alone = _attend(function, *parts)
            if not _close(alone[0, 0], together[b, h], equal_nan=True):
                raise FailedError(
                    "a head depends on the other heads or texts beside it."
                )
    short = _qkv((2, 3, 1, 4))
    if not _close(_attend(function, *(part.clone() for part in short)), short[2]):
        raise FailedError("a text of one position must give back its v.")


def _bears_large_scores(function: Any) -> None:
    q, k, v = _qkv()
    for factor in (torch.tensor(LOUD), torch.linspace(-200, 200, T)[:, None]):
        mixed = _attend(function, factor * q, k.clone(), v.clone())
        if not mixed.isfinite().all():
            raise FailedError(
                "scores of several hundred give NaN or infinity: exp leaves float32."
                " Subtract each row's own largest score first, or use softmax."
            )
        wide = (part.double() for part in (factor * q, k, v))
        calm = _attend(function, *wide).float()
        if not _close(mixed, calm, 1e-3):
            raise FailedError("large scores give other numbers in float32 and float64.")


def _has_attention_gradient(function: Any) -> None:
    q, k, v = _qkv()
    kept = [part.clone() for part in (q, k, v)]
    _attend(function, q, k, v)
    if not all(torch.equal(a, b) for a, b in zip((q, k, v), kept, strict=True)):
        raise FailedError(IN_PLACE)
    # as after a projection: (B, T, H, E) seen as (B, H, T, E)
    split = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in kept]
    if not _close(
        _attend(function, *split), _attend(function, q, k, v), equal_nan=True
    ):
        raise FailedError("the result depends on how the inputs lie in memory.")
    wide = [part.double() for part in kept]
    if _attend(function, *wide).dtype != torch.float64:
        raise FailedError("float64 comes in and something narrower goes out.")
    toward = _qkv()[2].roll(1, 0).double()
    _compare_slopes(
        lambda *parts: (_attend(function, *parts) * toward).sum(), wide, "qkv"
    )


CAUSAL_ATTENTION: tuple[Property, ...] = (
    ("softmax(q·k / √E) over the past, weighted mean of v", _follows_attention),
    ("nothing that comes later changes a result", _sees_no_future),
    (
        f"equal keys: the plain average of the past, for {LONG} positions",
        _averages_what_is_equal,
    ),
    ("each head of each text is on its own", _keeps_heads_apart),
    ("scores of several hundred do no harm", _bears_large_scores),
    ("the gradient is right, the inputs are left alone", _has_attention_gradient),
)


def causal_attention(function: Any) -> Report:
    """Try ``function(q, k, v) -> mixed``, all four of shape (B, H, T, E)."""
    return run(function, CAUSAL_ATTENTION)


# ------------------------------------------------------------------ layer_norm

SHAPE = (4, 3, 5)
EPS = 0.3  # as large as the variance, so that its place shows


def _vectors(size: Sequence[int] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = 0.7 + 0.6 * torch.randn(tuple(size), generator=generator)
    weight = 1.5 + 0.5 * torch.randn(size[-1], generator=generator)
    return x, weight, torch.randn(size[-1], generator=generator)


def _standard(
    x: Tensor, eps: float, dim: int | tuple[int, ...] = -1, correction: int = 0
) -> Tensor:
    variance = x.var(dim, keepdim=True, correction=correction)
    return (x - x.mean(dim, keepdim=True)) / (variance + eps).sqrt()


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _variance(x: Tensor) -> Tensor:
    return x.var(-1, keepdim=True, correction=0)


def _right_norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
    return _standard(x, eps) * w + b


NORM_SUSPECTS: tuple[tuple[str, Formula], ...] = (
    (
        "the variance divides by D - 1. Here it divides by D: unbiased=False.",
        lambda x, w, b, eps: _standard(x, eps, correction=1) * w + b,
    ),
    (
        "eps stands outside of the root. It is added to the variance.",
        lambda x, w, b, eps: _centred(x) / (_variance(x).sqrt() + eps) * w + b,
    ),
    (
        "std() divides by D - 1, and eps stands outside of the root: two slips in one"
        " line.",
        lambda x, w, b, eps: _centred(x) / (x.std(-1, keepdim=True) + eps) * w + b,
    ),
    (
        "eps is always the same small number, or none. Use the one that is given.",
        lambda x, w, b, eps: _standard(x, 1e-5) * w + b,
    ),
    (
        "eps is a lower bound of the variance (clamp). Add it.",
        lambda x, w, b, eps: _centred(x) / _variance(x).clamp(min=eps).sqrt() * w + b,
    ),
    (
        "eps is squared before it is added. Add it as it is.",
        lambda x, w, b, eps: _standard(x, eps**2) * w + b,
    ),
    (
        "the root is missing: divide by the standard deviation, not the variance.",
        lambda x, w, b, eps: _centred(x) / (_variance(x) + eps) * w + b,
    ),
    (
        "it multiplies by the root. Divide by it, or multiply by rsqrt.",
        lambda x, w, b, eps: _centred(x) * (_variance(x) + eps).sqrt() * w + b,
    ),
    (
        "the mean is not subtracted (this is RMSNorm, the next chapter's).",
        lambda x, w, b, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b,
    ),
    (
        "the mean is subtracted for the variance only. Divide what is centred.",
        lambda x, w, b, eps: x / (_variance(x) + eps).sqrt() * w + b,
    ),
    (
        "the divisor is the root of the mean square of x itself. Centre x first.",
        lambda x, w, b, eps: (
            _centred(x) / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b
        ),
    ),
    (
        "the mean is subtracted, but nothing is divided.",
        lambda x, w, b, eps: _centred(x) * w + b,
    ),
    (
        "the squares are summed. Take their mean.",
        lambda x, w, b, eps: (
            _centred(x) / (_variance(x) * x.shape[-1] + eps).sqrt() * w + b
        ),
    ),
    (
        "the divisor is the mean distance from the mean. Use the root of the mean"
        " square.",
        lambda x, w, b, eps: (
            _centred(x) / (_centred(x).abs().mean(-1, keepdim=True) + eps) * w + b
        ),
    ),
    (
        "the bias is added before the weight scales. Scale, then shift.",
        lambda x, w, b, eps: (_standard(x, eps) + b) * w,
    ),
    ("the weight is not used.", lambda x, w, b, eps: _standard(x, eps) + b),
    ("the bias is not used.", lambda x, w, b, eps: _standard(x, eps) * w),
    (
        "neither weight nor bias is used.",
        lambda x, w, b, eps: _standard(x, eps),
    ),
    (
        "weight and bias have changed places.",
        lambda x, w, b, eps: _standard(x, eps) * b + w,
    ),
    (
        "one is added to the weight. It starts at one already.",
        lambda x, w, b, eps: _standard(x, eps) * (1 + w) + b,
    ),
    (
        "the bias is subtracted. Add it.",
        lambda x, w, b, eps: _standard(x, eps) * w - b,
    ),
    (
        "mean and variance are taken over axis 1, so positions mix. Use dim=-1.",
        lambda x, w, b, eps: _standard(x, eps, 1) * w + b,
    ),
    (
        "mean and variance are taken over the batch, axis 0. Use dim=-1.",
        lambda x, w, b, eps: _standard(x, eps, 0) * w + b,
    ),
    (
        "mean and variance are taken over the last two axes, so positions mix. Use"
        " dim=-1.",
        lambda x, w, b, eps: _standard(x, eps, (-2, -1)) * w + b,
    ),
    (
        "mean and variance are taken over the whole tensor. Use dim=-1.",
        lambda x, w, b, eps: _standard(x, eps, (0, 1, 2)) * w + b,
    ),
    (
        "each feature is averaged over all positions and texts: that is batch"
        " normalisation. Use dim=-1.",
        lambda x, w, b, eps: _standard(x, eps, (0, 1)) * w + b,
    ),
)

NORM_ERRORS = {
    "view size is not compatible": NOT_CONTIGUOUS,
    "must match the size of tensor": (
        "the shapes do not fit: a mean has lost its axis. Keep it: keepdim=True."
    ),
    "Dimension out of range": "x may have any number of axes. Use dim=-1.",
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
}


def _normalise(function: Any, x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
    """Call the reader's function; it must give a tensor of x's shape."""
    result = attempt(function, x, w, b, eps, hints=NORM_ERRORS)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape != x.shape:
        raise FailedError(
            f"the shape is {tuple(result.shape)}, not {tuple(x.shape)} as x has."
        )
    return result


def _follows_norm(function: Any) -> None:
    x, w, b = _vectors()
    y = _normalise(function, x.clone(), w.clone(), b.clone(), EPS).detach()
    if not _close(y, _right_norm(x, w, b, EPS)):
        for hint, formula in NORM_SUSPECTS:
            if _close(y, formula(x, w, b, EPS), 3e-3):  # no eps, or a tiny one
                raise FailedError(hint)
        raise FailedError("the numbers differ from (x - mean) / root * weight + bias.")


def _treats_vectors_alone(function: Any) -> None:
    for size in ((7,), (6, 7), (2, 6, 7), (2, 3, 6, 7)):
        x, w, b = _vectors(size)
        rows = x.reshape(-1, size[-1])
        together = _normalise(function, x.clone(), w, b, EPS).reshape(rows.shape)
        for i in range(len(rows)):
            alone = _normalise(function, rows[i : i + 1].clone(), w, b, EPS)
            if not _close(together[i : i + 1], alone):
                raise FailedError(
                    f"with {len(size)} axes a vector's result depends on the vectors"
                    " beside it. Use dim=-1, counted from the end."
                )


def _ignores_shift_and_stretch(function: Any) -> None:
    x, w, b = _vectors()
    before = _normalise(function, x.clone(), w, b, 1e-9)
    for name, other in (("adding 3 to", x + 3), ("stretching", 8 * x)):
        if not _close(_normalise(function, other, w, b, 1e-9), before, 1e-3):
            raise FailedError(f"{name} a vector changes its result. It must not.")


def _bears_a_large_mean(function: Any) -> None:
    x, w, b = _vectors((4, 16))
    far = x + 3000  # exact to 1e-4 or so
    y = _normalise(function, far.clone(), w, b, 1e-5)
    if not _close(y, _normalise(function, far - 3000, w, b, 1e-5), 1e-2):
        raise FailedError(
            "a mean of 3000 beside a spread of 1 spoils the result: the variance is a"
            " difference of two large numbers. Subtract the mean first, then square."
        )


def _bears_equal_numbers(function: Any) -> None:
    _, w, b = _vectors()
    x = torch.full((2, SHAPE[-1]), 2.0, requires_grad=True)
    y = _normalise(function, x * 1.0, w, b, 1e-5)
    if not _close(y, b.expand(2, -1)):
        raise FailedError(
            "a vector of equal numbers must give the bias. Is eps under the root?"
        )
    if y.requires_grad:
        slope = torch.autograd.grad(y.sum(), x, allow_unused=True)[0]
        if slope is not None and not slope.isfinite().all():
            raise FailedError(
                "a vector of equal numbers has no finite gradient: the root is taken"
                " of 0. Add eps before the root."
            )


def _has_norm_gradient(function: Any) -> None:
    kept = [*_vectors()]
    x, w, b = (part.clone() for part in kept)
    y = _normalise(function, x, w, b, EPS)
    if not all(torch.equal(a, c) for a, c in zip((x, w, b), kept, strict=True)):
        raise FailedError(IN_PLACE)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    if not _close(_normalise(function, turned, w, b, EPS), y):
        raise FailedError("the result depends on how x lies in memory.")
    toward = kept[0].roll(1, 0).double()
    wide = [part.double() for part in kept]
    if _normalise(function, wide[0], wide[1], wide[2], EPS).dtype != torch.float64:
        raise FailedError("float64 comes in and something narrower goes out.")

    def along(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return (_normalise(function, x, w, b, EPS) * toward).sum()

    _compare_slopes(along, wide, ("x", "weight", "bias"))


LAYER_NORM: tuple[Property, ...] = (
    ("(x - mean) / √(variance + eps), scaled, then shifted", _follows_norm),
    ("each vector alone, however many axes x has", _treats_vectors_alone),
    ("a vector moved or stretched gives the same", _ignores_shift_and_stretch),
    ("a mean of 3000 beside a spread of 1 does no harm", _bears_a_large_mean),
    ("a vector of equal numbers gives the bias", _bears_equal_numbers),
    ("the gradient is right, the inputs are left alone", _has_norm_gradient),
)


def layer_norm(function: Any) -> Report:
    """Try ``function(x, weight, bias, eps) -> y``, with x and y of shape (..., D)."""
    return run(function, LAYER_NORM)


# ------------------------------------------------------------------ small tools


def _compare_slopes(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], names: Sequence[str]
) -> None:
    """Backward's slope along a direction must be the measured one, for each input."""
    for i, name in enumerate(names):
        step = (
            torch.linspace(-1, 1, inputs[i].numel()).view_as(inputs[i]).cos().double()
        )
        leaf = inputs[i].clone().requires_grad_()
        value = function(*inputs[:i], leaf * 1.0, *inputs[i + 1 :])
        slope = None
        if value.requires_grad:
            slope = torch.autograd.grad(value, leaf, allow_unused=True)[0]
        if slope is None:
            raise FailedError(
                f"no gradient reaches {name}. Remove no_grad, detach and .data."
            )
        with torch.no_grad():
            up = function(*inputs[:i], inputs[i] + 1e-4 * step, *inputs[i + 1 :])
            down = function(*inputs[:i], inputs[i] - 1e-4 * step, *inputs[i + 1 :])
        if not _close((slope * step).sum(), (up - down) / 2e-4, 1e-3):
            raise FailedError(
                f"the gradient of {name} is not the slope of the result: a part of the"
                " computation is cut off. Detach nothing."
            )


def _close(
    a: Tensor, b: Tensor, tolerance: float = 1e-5, equal_nan: bool = False
) -> bool:
    a, b = a.detach().double(), b.detach().double()
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=equal_nan)
