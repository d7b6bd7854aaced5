"""Chapter 6: are heads shared as they should be, and what does their cache cost?"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minillm.checks import FailedError, Property, Report, attempt, run
from minillm.checks.gpt import (
    ATTENTION_ERRORS,
    ATTENTION_SUSPECTS,
    IN_PLACE,
    NOT_CONTIGUOUS,
    Formula,
)

# ------------------------------------------------------------------ grouped_attention

B, K, G, T, E = 2, 3, 4, 7, 5  # all different, and so is H: K = H/K hides mistakes
H = K * G
LOUD = 4000.0  # makes scores of ten thousands
ROUNDS = 10  # of a text of T tokens: longer than 64

Heads = Callable[[Tensor], Tensor]


def _qkv(
    n_texts: int = B,
    n_heads: int = H,
    n_kv_heads: int = K,
    length: int = T,
    width: int = E,
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)

    def part(heads: int) -> Tensor:
        return 1.5 * torch.randn(n_texts, heads, length, width, generator=generator)

    return part(n_heads), part(n_kv_heads), part(n_kv_heads)


def _past(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


def _mix(scores: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v


def _ordinary(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of chapter 2: every query head has a key/value head of its own."""
    return _mix(_scores(q, k), v, _past(q.shape[-2]))


def _shared(part: Tensor, n_heads: int = H) -> Tensor:
    """Each key/value head as often as query heads use it, side by side."""
    return part.repeat_interleave(n_heads // part.shape[1], dim=1)


def _right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _ordinary(q, _shared(k, q.shape[1]), _shared(v, q.shape[1]))


def _scaled(factor: float) -> Formula:
    return lambda q, k, v: _right(factor * q, k, v)


def _dealt(part: Tensor) -> Tensor:
    """As cards are dealt: query head h gets key/value head h % K."""
    return part.repeat(1, G, 1, 1)


def _first(part: Tensor) -> Tensor:
    return part[:, :1].expand(-1, H, -1, -1)


def _rolled(shift: int) -> Heads:
    return lambda part: _shared(part.roll(shift, 1))


def _along_time(part: Tensor) -> Tensor:
    return part.repeat_interleave(G, dim=2).reshape(B, H, T, E)


def _each(heads: Heads, values: Heads | None = None) -> Formula:
    """Ordinary attention after k and v were spread over H heads in some way."""
    return lambda q, k, v: _ordinary(q, heads(k), (values or heads)(v))


def _split(q: Tensor, n_groups: int) -> Tensor:
    return q.reshape(len(q), n_groups, -1, *q.shape[2:])


def _crossed(q: Tensor) -> Tensor:
    """H heads taken for (K, G) and put down as (G, K)."""
    return _split(q, K).transpose(1, 2).flatten(1, 2)


def _uncrossed(q: Tensor) -> Tensor:
    return _split(q, G).transpose(1, 2).flatten(1, 2)


def _folded(seen: Tensor, dim: int = -1, by_time: bool = False) -> Formula:
    """The G query heads of a group as rows of one long text: (B, K, G * T, E).

    Args:
        seen: the mask, for G * T queries and T keys.
        dim: where the softmax runs.
        by_time: row t * G + g instead of g * T + t.
    """

    def mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = _split(q, K)  # (B, K, G, T, E)
        if by_time:
            rows = rows.transpose(2, 3)
        scores = _scores(rows.flatten(2, 3), k).masked_fill(~seen, -math.inf)
        result = (scores.softmax(dim) @ v).view(rows.shape)
        return (result.transpose(2, 3) if by_time else result).flatten(1, 2)

    return mixed


def _group_softmax(dim: int) -> Formula:
    """A softmax over an axis of the scores (B, K, G, T, T)."""

    def mixed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = _scores(_split(q, K), k[:, :, None])
        scores = scores.masked_fill(~_past(T), -math.inf)
        return (scores.softmax(dim) @ v[:, :, None]).flatten(1, 2)

    return mixed


def _group_mean(part: Tensor) -> Tensor:
    return _shared(_split(part, K).mean(2))


_row, _key = torch.arange(G * T)[:, None], torch.arange(T)

# A wrong answer that equals one of these has told us its name. NaN counts as zero: a
# row without a single key gives the one or the other. What can go wrong in one head
# has its names in chapter 2.
SUSPECTS: tuple[tuple[str, Formula], ...] = (
    (
        "the heads are dealt out in turn: query head h uses key/value head h % K."
        " Neighbours share one: h // (H/K). That is repeat_interleave, not repeat;"
        " or q's heads seen as (K, H/K), not (H/K, K).",
        _each(_dealt),
    ),
    (
        "the keys are dealt out in turn (head h uses h % K), only the values are"
        " shared by neighbours. Use repeat_interleave for both.",
        _each(_dealt, _shared),
    ),
    (
        "the values are dealt out in turn (head h uses h % K), only the keys are"
        " shared by neighbours. Use repeat_interleave for both.",
        _each(_shared, _dealt),
    ),
    (
        "every query head uses the first key/value head. Each group has its own.",
        _each(_first),
    ),
    (
        "every query head uses the keys of the first head. Each group has its own.",
        _each(_first, _shared),
    ),
    (
        "every query head uses the values of the first head. Each group has its own.",
        _each(_shared, _first),
    ),
    (
        "every query head uses the last key/value head. Each group has its own.",
        _each(lambda part: part[:, -1:].expand(-1, H, -1, -1)),
    ),
    *(
        (
            "every group uses the values of another group than its keys. Both come from"
            " key/value head h // (H/K).",
            _each(_shared, _rolled(shift)),
        )
        for shift in range(1, K)
    ),
    (
        "the key/value heads are averaged. Each group has its own.",
        _each(lambda part: part.mean(1, keepdim=True).expand(-1, H, -1, -1)),
    ),
    (
        "the key/value heads are added up. Each group has its own.",
        _each(lambda part: part.sum(1, keepdim=True).expand(-1, H, -1, -1)),
    ),
    (
        "query head h uses key/value head h // K, as far as there is one. Divide by"
        " the size of a group, H/K.",
        _each(lambda part: part[:, [min(h // K, K - 1) for h in range(H)]]),
    ),
    (
        "keys and values are repeated along time, not along the heads: axis 1.",
        _each(_along_time),
    ),
    (
        "keys and values are repeated along the batch, so that texts mix. Repeat the"
        " heads: axis 1.",
        _each(lambda part: part.repeat(G, 1, 1, 1).reshape(B, H, T, E)),
    ),
    (
        "the heads share rightly, but come out in another order: (H/K, K) where q has"
        " (K, H/K).",
        lambda q, k, v: _crossed(_right(q, k, v)),
    ),
    (
        "the heads share rightly, but come out in another order: transpose back only"
        " what was transposed.",
        lambda q, k, v: _uncrossed(_right(q, k, v)),
    ),
    (
        "q's heads are seen as (H/K, K) and transposed: heads h, h + K, h + 2K ..."
        " share, and come out in another order. See them as (K, H/K).",
        lambda q, k, v: _right(_uncrossed(q), k, v),
    ),
    (
        "q's heads are transposed from (K, H/K) to (H/K, K), so that others share.",
        lambda q, k, v: _right(_crossed(q), k, v),
    ),
    (
        "the results of a group are averaged. Every query head keeps its own.",
        lambda q, k, v: _group_mean(_right(q, k, v)),
    ),
    (
        "the scores of a group are added up, so that its heads share one pattern. Every"
        " query head has weights of its own.",
        lambda q, k, v: _right(G * _group_mean(q), k, v),
    ),
    (
        "the queries of a group are averaged, or their scores. Every query head asks"
        " its own question.",
        lambda q, k, v: _right(_group_mean(q), k, v),
    ),
    (
        "the queries of a group form one long text, and the mask counts on through it:"
        " its second head already sees the future. Repeat the (T, T) mask.",
        _folded(_key <= _row),
    ),
    (
        "the queries of a group form one long text, and the mask is aligned at its"
        " end: all heads but the last see too little. Repeat the (T, T) mask.",
        _folded(_key <= _row + T - G * T),
    ),
    (
        "the queries of a group stand side by side for each position, and the mask"
        " counts each as a position: they see the future. Position t has H/K rows.",
        _folded(_key <= _row, by_time=True),
    ),
    (
        "the queries of a group stand head after head, but the mask (or a view) takes"
        " them for position after position: row g * T + t is at position t.",
        _folded(_key <= _row // G),
    ),
    (
        "the queries of a group stand position after position, but the mask takes them"
        " for head after head: row t * H/K + g is at position t.",
        _folded(_key <= _row % T, by_time=True),
    ),
    (
        "the softmax runs over all queries of a group. For each query the weights of"
        " its keys must sum to one: dim=-1.",
        _folded(_key <= _row % T, dim=-2),
    ),
    (
        "the softmax runs over the heads of a group. It belongs to dim=-1.",
        _group_softmax(2),
    ),
    (
        "the softmax runs over the groups. It belongs to dim=-1.",
        _group_softmax(1),
    ),
    (
        "the scores are divided by the root of E * H/K. Sharing heads does not change"
        " their width: use the root of E.",
        _scaled(G**-0.5),
    ),
    (
        "the scores are divided by the root of K * E, the width of all key/value heads"
        " together. Use the width of one head, E.",
        _scaled(K**-0.5),
    ),
    (
        "the scores are divided by the root of H, the number of heads. Use E, the width"
        " of one.",
        _scaled((E / H) ** 0.5),
    ),
    (
        "the scores are divided by the root of K, the number of heads. Use E, the width"
        " of one.",
        _scaled((E / K) ** 0.5),
    ),
    (
        "the results are divided by the size of a group. Nothing is averaged here.",
        lambda q, k, v: _right(q, k, v) / G,
    ),
)


def _in_every_head(formula: Formula) -> Formula:
    return lambda q, k, v: formula(q, _shared(k), _shared(v))


ALL_SUSPECTS = SUSPECTS + tuple(
    (hint, _in_every_head(formula)) for hint, formula in ATTENTION_SUSPECTS
)

NO_REPEAT = (
    "q has H heads, k and v have K. Let H/K query heads share each: repeat_interleave"
    " both along axis 1, or see q's heads as (K, H/K)."
)
FOLDED_MASK = (
    "the mask is (T, T), but the folded queries are H/K * T rows. Repeat it H/K times."
)
H_TIMES = "k and v are repeated H times. Each serves H/K query heads."
K_TIMES = (
    "k and v are repeated K times. Each serves H/K query heads: the two are equal"
    " only by chance."
)


def _errors(q: Tensor, k: Tensor) -> dict[str, str]:
    """What PyTorch says about these shapes, and what it means."""
    n_heads, n_kv_heads, length = q.shape[1], k.shape[1], q.shape[2]
    size = n_heads // n_kv_heads
    clash = "({}) must match the size of tensor b ({})"
    flat = "has size {} for operand 1 which does not broadcast"
    folded = (
        "q's heads are seen as (H/K, K), and k's K stand against the first of the two."
        " See them as (K, H/K)."
    )
    return {
        clash.format(n_heads, n_kv_heads**2): K_TIMES,
        flat.format(n_kv_heads**2): K_TIMES,
        f"invalid for input of size {k.numel() * n_kv_heads}": K_TIMES,
        clash.format(n_heads, n_kv_heads * n_heads): H_TIMES,
        flat.format(n_kv_heads * n_heads): H_TIMES,
        clash.format(n_heads, n_kv_heads): NO_REPEAT,
        flat.format(n_kv_heads) + f" with previously seen size {n_heads}": NO_REPEAT,
        f"expanded size of the tensor ({n_heads})": (
            "expand works on axes of length 1. Put one beside the heads,"
            " k[:, :, None], expand it to H/K, then flatten the two."
        ),
        clash.format(size, n_kv_heads): folded,
        flat.format(n_kv_heads) + f" with previously seen size {size}": folded,
        clash.format(length, size * length): FOLDED_MASK,
        clash.format(size * length, length): FOLDED_MASK,
        f"index {n_kv_heads} is out of bounds": (
            "the number of a key/value head runs past the last. Query head h uses"
            " h // (H/K), not h // K: divide by the size of a group."
        ),
        "invalid for input of size": (
            "a reshape does not fit. q's H heads are (K, H/K), and everything else"
            " keeps its size."
        ),
        "without overflow": (
            "the number that stands for minus infinity is too large for 16 bits. Use"
            " -inf."
        ),
        **ATTENTION_ERRORS,
    }


def _attend(function: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Call the reader's function; it must give a tensor of q's shape."""
    result = attempt(function, q, k, v, hints=_errors(q, k))
    if isinstance(result, tuple):
        raise FailedError("a tuple came back. Return the mixed values alone.")
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape == q.shape:
        return result
    told = f"the shape is {tuple(result.shape)}, not {tuple(q.shape)}"
    (n_texts, n_heads, length, width), n_kv_heads = q.shape, k.shape[1]
    size = n_heads // n_kv_heads
    known = {
        (n_texts, n_kv_heads, length, width): (
            "a group has one result. Every query head keeps its own"
        ),
        (n_texts, n_heads, length, length): "these are the weights. Multiply them by v",
        (n_texts, n_kv_heads, size, length, length): (
            "these are the weights. Multiply them by v, then flatten the heads"
        ),
        (n_texts, length, n_heads * width): "heads are joined later, outside",
        tuple(n for n in q.shape if n > 1): (
            "squeeze drops every axis of length 1. Name the one you mean"
        ),
        (n_texts, length, n_heads, width): "time and heads have changed places",
        (n_texts, n_kv_heads, size, length, width): (
            "flatten the two axes of heads into one again"
        ),
        (n_texts, n_kv_heads, size * length, width): (
            "the queries are still folded. See the rows as heads again"
        ),
    }
    if tuple(result.shape) in known:
        raise FailedError(f"{told}: {known[tuple(result.shape)]}.")
    raise FailedError(f"{told}.")


def _keeps_shape(function: Any) -> None:
    calm = _attend(function, *_qkv()).isfinite().all()
    for n_texts, n_heads, n_kv_heads in ((1, 6, 6), (3, 5, 1), (1, 1, 1), (2, 10, 5)):
        for length in (T, 1):
            try:
                _attend(function, *_qkv(n_texts, n_heads, n_kv_heads, length))
            except FailedError as failure:
                told = f"B = {n_texts}, H = {n_heads}, K = {n_kv_heads}, T = {length}"
                raise FailedError(
                    f"other sizes go well, but with {told}: {failure}"
                ) from failure
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        q, k, v = (part.to(dtype) for part in _qkv())
        try:
            result = _attend(function, q, k, v)
        except FailedError as failure:
            raise FailedError(f"in {dtype}: {failure}") from failure
        if result.dtype != dtype:
            raise FailedError(f"{dtype} goes in, {result.dtype} comes out. Keep it.")
        if calm and not result.isfinite().all():
            raise FailedError(
                f"in {dtype} NaN or infinity comes back: a mask's large number or an"
                " exp overflows. Use -inf and softmax."
            )


def _follows_the_formula(function: Any) -> None:
    q, k, v = _qkv()
    mixed = _attend(function, q.clone(), k.clone(), v.clone()).detach()
    again = _attend(function, q.clone(), k.clone(), v.clone()).detach()
    if not _close(mixed, again, equal_nan=True):
        raise FailedError("two calls give different results: is there a dropout?")
    if not _close(mixed, _right(q, k, v)):
        for hint, formula in ALL_SUSPECTS:
            if _close(mixed.nan_to_num(), formula(q, k, v).nan_to_num()):
                raise FailedError(hint)
        if mixed.isnan().any():
            raise FailedError("NaN comes back: some query has no key to look at.")
        raise FailedError(
            "the numbers differ from softmax(q k^T / root of E) v, where query head h"
            " uses key/value head h // (H/K)."
        )
    for sizes in ((3, 10, 5, 6, 4), (1, 6, 2, 9, 8), (2, 4, 4, 3, 5)):
        q, k, v = _qkv(*sizes)
        if not _close(
            _attend(function, q.clone(), k.clone(), v.clone()), _right(q, k, v)
        ):
            raise FailedError(
                f"{sizes[1]} query heads on {sizes[2]} key/value heads go wrong. Take"
                " every size from the tensors."
            )


def _shares_as_if_repeated(function: Any) -> None:
    q, k, v = _qkv(2, 6, 1)
    shared = _attend(function, q.clone(), k.clone(), v.clone())
    copied = _attend(function, q.clone(), _shared(k, 6), _shared(v, 6))
    if not _close(shared, copied, equal_nan=True):
        raise FailedError(
            "K = 1 differs from K = H with H copies of the same head. With K = H every"
            " query head has a key/value head of its own, with K = 1 all share one."
        )


def _sees_no_future(function: Any) -> None:
    q, k, v = _qkv(1)
    for loudness in (1.0, LOUD):
        before = _attend(function, loudness * q, k.clone(), v.clone())
        if not before.isfinite().all():
            if loudness == 1:
                return  # the formula says so
            raise FailedError(
                "scores of ten thousands give NaN or infinity: exp overflows. Use"
                " softmax."
            )
        for t in range(1, T):
            # keys that the question before t would love to look at
            later_k, later_v = k.clone(), v.clone()
            later_k[:, :, t:] = 2 * q[:, ::G, t - 1 : t]
            later_v[:, :, t:] += 10
            after = _attend(function, loudness * q, later_k, later_v)
            if not _close(after[:, :, :t], before[:, :, :t], 1e-4):
                if loudness == 1:
                    raise FailedError(f"what comes at {t} changes the result before.")
                raise FailedError(
                    "when scores are large the future shines through: the number that"
                    " stands for minus infinity is too near. Use -inf."
                )


def _moves_its_own_group(function: Any) -> None:
    for n_heads, n_kv_heads in ((H, K), (10, 5)):
        size = n_heads // n_kv_heads
        q, k, v = _qkv(1, n_heads, n_kv_heads)
        before = _attend(function, q.clone(), k.clone(), v.clone())
        for j in range(n_kv_heads):
            own = set(range(j * size, (j + 1) * size))
            for name, part in (("keys", k), ("values", v)):
                kept = part[:, j].clone()
                part[:, j] = kept.flip(-1) + 1
                after = _attend(function, q.clone(), k.clone(), v.clone())
                part[:, j] = kept
                moved = {
                    h
                    for h in range(n_heads)
                    if not _close(after[:, h], before[:, h], equal_nan=True)
                }
                told = f"other {name} in head {j} (of {n_kv_heads})"
                if own - moved:
                    raise FailedError(
                        f"{told} change nothing in query head {min(own - moved)} (of"
                        f" {n_heads}), which should use them."
                    )
                if moved - own:
                    raise FailedError(
                        f"{told} change query head {min(moved - own)} (of {n_heads}),"
                        " which should not use them."
                    )


def _bears_any_length(function: Any) -> None:
    q, k, v = _qkv(1, length=1)
    alone = _attend(function, q.clone(), k.clone(), v.clone())
    twice = _attend(function, *(part.repeat(1, 1, 2, 1) for part in (q, k, v)))
    if not _close(alone[:, :, 0], twice[:, :, 1]):
        raise FailedError("a text of one token differs from the same token twice.")
    q, k, v = _qkv(1)
    once = _attend(function, q.clone(), k.clone(), v.clone())
    often = _attend(function, *(part.repeat(1, 1, ROUNDS, 1) for part in (q, k, v)))
    if not _close(often[:, :, T - 1 :: T], once[:, :, -1:].expand(-1, -1, ROUNDS, -1)):
        raise FailedError(
            f"a text read {ROUNDS} times over, {ROUNDS * T} tokens, ends otherwise than"
            " read once: is there a limit to how far a token sees?"
        )


def _has_the_gradient(function: Any) -> None:
    kept = _qkv()
    q, k, v = (part.clone() for part in kept)
    mixed = _attend(function, q, k, v)
    for name, now, before in zip("qkv", (q, k, v), kept, strict=True):
        if not torch.equal(now, before):
            raise FailedError(f"{name} is changed in place. Make a new tensor instead.")
    # as a layer's output is split: (B, T, heads * E) seen as (B, heads, T, E)
    split = (part.transpose(1, 2).contiguous().transpose(1, 2) for part in kept)
    if not _close(_attend(function, *split), mixed, equal_nan=True):
        raise FailedError("the result depends on how the inputs lie in memory.")
    inputs = [part.double() for part in _qkv(2, 6, 2, 4, 3)]
    toward = _noise(7, *inputs[0].shape)
    # times one, as what a layer gives is no leaf either
    leaves = [part.clone().requires_grad_() for part in inputs]
    value = (_attend(function, *(leaf * 1.0 for leaf in leaves)) * toward).sum()
    slopes: tuple[Tensor | None, ...] = (None, None, None)
    if value.requires_grad:
        slopes = torch.autograd.grad(value, leaves, allow_unused=True)
    cut = [name for name, slope in zip("qkv", slopes, strict=True) if slope is None]
    if cut:
        raise FailedError(
            f"no gradient reaches {' and '.join(cut)}. Remove no_grad, detach, .data."
        )
    for i, (name, slope) in enumerate(zip("qkv", slopes, strict=True)):
        step = 3e-3 * _noise(8 + i, *inputs[i].shape)  # wide: float32 may be inside
        around = []
        with torch.no_grad():
            for moved in (inputs[i] + step, inputs[i] - step):
                parts = [*inputs[:i], moved, *inputs[i + 1 :]]
                around.append((_attend(function, *parts) * toward).sum())
        if slope is None or not _close(
            (slope * step).sum() / 3e-3, (around[0] - around[1]) / 6e-3, 1e-3
        ):
            raise FailedError(
                f"the gradient of {name} is not the slope of the result: a part of the"
                " computation is cut off. Every query head of a group adds its own."
            )


GROUPED_ATTENTION: tuple[Property, ...] = (
    ("the shape and dtype of q", _keeps_shape),
    (
        "causal softmax(q·k / √E) v, H/K neighbours to a key/value head",
        _follows_the_formula,
    ),
    ("one head for all (K = 1) is as good as H copies (K = H)", _shares_as_if_repeated),
    ("nothing that comes later counts, however large the scores", _sees_no_future),
    ("a key/value head moves its own group, and no other", _moves_its_own_group),
    (f"texts of one token and of {ROUNDS * T}", _bears_any_length),
    ("the gradient is right, the inputs are left alone", _has_the_gradient),
)


def grouped_attention(function: Any) -> Report:
    """Try ``function(q, k, v) -> mixed``: (B, H, T, E) and twice (B, K, T, E)."""
    return run(function, GROUPED_ATTENTION)


# ------------------------------------------------------------------ pool_heads

WIDTH, D = 10, 24  # of a head, and of the stream. D != H * WIDTH, but H divides D

Pool = Callable[[Tensor], Tensor]


def _weight(n_heads: int = H, width: int = WIDTH, d_model: int = D) -> Tensor:
    return _noise(9, n_heads * width, d_model).float()


def _pooled(weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    heads = weight.reshape(n_kv_heads, n_heads // n_kv_heads, -1, weight.shape[1])
    return heads.mean(1).reshape(-1, weight.shape[1])


def _by_group(reduce: Callable[[Tensor], Tensor]) -> Pool:
    """Another way than the mean to make one head of (K, G, E, D)."""
    return lambda weight: reduce(weight.view(K, G, WIDTH, D)).reshape(-1, D)


def _one_by_one(heads: Tensor) -> Tensor:
    """The mean of the mean so far and the next: later heads count more."""
    mean = heads[:, 0]
    for i in range(1, G):
        mean = (mean + heads[:, i]) / 2
    return mean


POOL_SUSPECTS: tuple[tuple[str, Pool], ...] = (
    (
        "the heads of a group are added up. Take their mean.",
        _by_group(lambda heads: heads.sum(1)),
    ),
    (
        "the sum is divided by n_kv_heads. Divide by the size of a group,"
        " n_heads / n_kv_heads.",
        _by_group(lambda heads: heads.sum(1) / K),
    ),
    (
        "the sum is divided by n_heads. Divide by the size of a group,"
        " n_heads / n_kv_heads.",
        _by_group(lambda heads: heads.sum(1) / H),
    ),
    (
        "the sum is divided by the root of the size of a group. A mean divides by the"
        " size.",
        _by_group(lambda heads: heads.sum(1) / G**0.5),
    ),
    (
        "the mean is divided by the size of the group once more.",
        _by_group(lambda heads: heads.mean(1) / G),
    ),
    (
        "the first head of each group is taken. Take the mean of all.",
        _by_group(lambda heads: heads[:, 0]),
    ),
    (
        "the last head of each group is taken. Take the mean of all.",
        _by_group(lambda heads: heads[:, -1]),
    ),
    (
        "only the first and the last head of each group are averaged. Take all.",
        _by_group(lambda heads: (heads[:, 0] + heads[:, -1]) / 2),
    ),
    (
        "a head of each group is left out: the last.",
        _by_group(lambda heads: heads[:, :-1].mean(1)),
    ),
    (
        "the mean is taken of the mean so far and the next head, so later heads count"
        " more. Add all, then divide.",
        _by_group(_one_by_one),
    ),
    (
        "the largest number of the group is taken (max). Take the mean.",
        _by_group(lambda heads: heads.amax(1)),
    ),
    (
        "the median of the group is taken. Take the mean.",
        _by_group(lambda heads: heads.median(1).values),
    ),
    (
        "the root of the mean square is taken. Take the plain mean.",
        _by_group(lambda heads: heads.square().mean(1).sqrt()),
    ),
    (
        "heads h, h + K, h + 2K, ... are averaged. A group is H/K neighbours: see the"
        " heads as (K, H/K), not (H/K, K).",
        lambda weight: weight.view(G, K, WIDTH, D).mean(0).reshape(-1, D),
    ),
    (
        "neighbouring rows are averaged, not neighbouring heads. A head is E rows in"
        " one piece: view as (K, H/K, E, D).",
        lambda weight: weight.view(K, WIDTH, G, D).mean(2).reshape(-1, D),
    ),
    (
        "the rows are read as if heads were the inner axis, (E, K, H/K). Head 0 is the"
        " first E rows: view as (K, H/K, E, D).",
        lambda weight: (
            weight.view(WIDTH, K, G, D).mean(2).transpose(0, 1).reshape(-1, D)
        ),
    ),
    (
        "the width of a head is taken as D // n_heads. It is the rows over n_heads: a"
        " layer may be wider or narrower than the stream.",
        lambda weight: weight.view(-1, G, D // H, D).mean(1).reshape(-1, D),
    ),
    (
        "all heads are averaged, and the mean stands n_kv_heads times. Average each"
        " group for itself.",
        lambda weight: weight.view(H, WIDTH, D).mean(0).repeat(K, 1),
    ),
    (
        "the first n_kv_heads heads are kept. Average each group.",
        lambda weight: weight[: K * WIDTH],
    ),
    (
        "the last n_kv_heads heads are kept. Average each group.",
        lambda weight: weight[-K * WIDTH :],
    ),
    (
        "every (H/K)th row is kept. Average the heads of each group.",
        lambda weight: weight[::G],
    ),
    (
        "the rows come out in another order: (E, K) where (K, E) belongs.",
        lambda weight: (
            _pooled(weight, H, K).view(K, WIDTH, D).transpose(0, 1).reshape(-1, D)
        ),
    ),
    (
        "the groups begin one head too late.",
        lambda weight: _pooled(weight.roll(-WIDTH, 0), H, K),
    ),
    (
        "the matrix is transposed, then read as if it were not: rows and columns mix."
        " An output is a row already; transpose nothing.",
        lambda weight: _pooled(weight.T.reshape(-1, D), H, K),
    ),
)

POOL_ERRORS = {
    "invalid for input of size": (
        "the rows do not divide so. A head has rows / n_heads of them (D says nothing),"
        " a group has n_heads / n_kv_heads heads: (K, H/K, E, D)."
    ),
    "view size is not compatible": NOT_CONTIGUOUS,
    "positional argument": "it is called as pool_heads(weight, n_heads, n_kv_heads).",
    "out of bounds": "an index runs past the last head or row.",
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
    "same dtype": "a dtype is changed on the way. Leave the matrix as it is.",
}


def _pool(function: Any, weight: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    """Call the reader's function; it must give a matrix of n_kv_heads heads."""
    result = attempt(function, weight, n_heads, n_kv_heads, hints=POOL_ERRORS)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    (rows, d_model), size = weight.shape, n_heads // n_kv_heads
    width = rows // n_heads
    expected = (n_kv_heads * width, d_model)
    if tuple(result.shape) == expected:
        return result.detach()
    told = f"the shape is {tuple(result.shape)}, not {expected}"
    known = {
        (size * width, d_model): (
            "n_kv_heads is taken for the size of a group. It is how many groups there"
            " are"
        ),
        (n_kv_heads * width, d_model)[::-1]: "the matrix comes back transposed",
        (width, d_model): "one head came back. There are n_kv_heads",
        (n_kv_heads, width, d_model): "put the heads under each other again",
        (n_kv_heads, 1, width, d_model): "put the heads under each other again",
        (n_kv_heads, d_model): "a head is E rows, and only one of each came back",
        (n_kv_heads, size, d_model): "the rows of a head are averaged, not the heads",
        (rows, d_model): (
            "as many heads as before came back. n_kv_heads of them remain, so repeat"
            " nothing"
        ),
        (rows, d_model // size): "columns are averaged. An output of a layer is a row",
        (n_kv_heads * (d_model // n_heads), d_model): (
            "the width of a head is taken as D // n_heads. It is rows / n_heads"
        ),
        (n_heads, d_model): "the rows of a head are averaged, not the heads",
    }
    if tuple(result.shape) in known:
        raise FailedError(f"{told}: {known[tuple(result.shape)]}.")
    raise FailedError(f"{told}.")


def _gives_fewer_heads(function: Any) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        weight = _weight().to(dtype)
        kept = weight.clone()
        result = _pool(function, weight, H, K)
        if result.dtype != dtype:
            raise FailedError(f"{dtype} goes in, {result.dtype} comes out.")
        if not torch.equal(weight, kept):
            raise FailedError("weight is changed in place. Make a new one instead.")
    for n_heads, n_kv_heads, width in ((6, 1, 2), (4, 4, 3), (10, 5, 1)):
        try:
            _pool(function, _weight(n_heads, width), n_heads, n_kv_heads)
        except FailedError as failure:
            raise FailedError(
                f"other sizes go well, but {n_heads} heads of {width} rows to"
                f" {n_kv_heads}: {failure}"
            ) from failure


def _takes_the_mean(function: Any) -> None:
    weight = _weight()
    result = _pool(function, weight.clone(), H, K)
    for _ in range(8):  # a head drawn by chance may be the same head twice
        again = _pool(function, weight.clone(), H, K)
        if not _close(result, again, equal_nan=True):
            raise FailedError("two calls give different results. Draw nothing.")
    if not _close(result, _pooled(weight, H, K)):
        for hint, formula in POOL_SUSPECTS:
            if _close(result, formula(weight)):
                raise FailedError(hint)
        raise FailedError("a head is not the mean of the heads of its group.")
    for n_heads, n_kv_heads, width, d_model in ((10, 5, 3, 4), (6, 2, 8, 48)):
        weight = _weight(n_heads, width, d_model)
        result = _pool(function, weight.clone(), n_heads, n_kv_heads)
        if not _close(result, _pooled(weight, n_heads, n_kv_heads)):
            raise FailedError(
                f"{n_heads} heads pooled to {n_kv_heads} go wrong. Take every size from"
                " what is given."
            )
    exact = _weight().double()
    if not _close(_pool(function, exact.clone(), H, K), _pooled(exact, H, K), 1e-12):
        raise FailedError(
            "float64 goes through something narrower. Leave the dtype as it is."
        )


def _keeps_what_is_not_shared(function: Any) -> None:
    for n_heads in (H, 1):
        weight = _weight(n_heads)
        if not _close(_pool(function, weight.clone(), n_heads, n_heads), weight):
            raise FailedError("as many heads as before must give the matrix back.")


def _may_go_in_steps(function: Any) -> None:
    weight = _weight()
    halfway = _pool(function, weight.clone(), H, 6)
    steps = _pool(function, halfway.clone(), 6, 2)
    if not _close(steps, _pool(function, weight.clone(), H, 2), equal_nan=True):
        raise FailedError(f"{H} heads to 6 and then to 2 is not {H} to 2 at once.")


def _loses_nothing_if_equal(function: Any) -> None:
    """With equal heads in each group, shared attention is attention as before."""
    few = [_noise(seed, K * WIDTH, D).float() for seed in (11, 12)]
    x, q = _noise(13, T, D).float(), _noise(14, 1, H, T, WIDTH).float()

    def heads(weight: Tensor) -> Tensor:
        return (x @ weight.T).view(1, T, -1, WIDTH).transpose(1, 2)

    many = [
        weight.view(K, 1, WIDTH, D).expand(K, G, WIDTH, D).reshape(-1, D)
        for weight in few
    ]
    pooled = [_pool(function, weight.clone(), H, K) for weight in many]
    before = _ordinary(q, *(heads(weight) for weight in many))
    if not _close(_right(q, *(heads(weight) for weight in pooled)), before, 1e-4):
        raise FailedError(
            "if the heads of each group are equal, attention must not change. It does."
        )


POOL_HEADS: tuple[Property, ...] = (
    ("n_kv_heads * E rows, the dtype as it was, weight left alone", _gives_fewer_heads),
    ("each head the mean of H/K neighbouring heads", _takes_the_mean),
    ("as many heads as before: the same matrix", _keeps_what_is_not_shared),
    (f"{H} heads to 6 to 2 is {H} to 2", _may_go_in_steps),
    ("equal heads in each group: attention as before", _loses_nothing_if_equal),
)


def pool_heads(function: Any) -> Report:
    """Try ``function(weight, n_heads, n_kv_heads) -> weight`` of fewer heads."""
    return run(function, POOL_HEADS)


# ------------------------------------------------------------------ cache_bytes

NAMES = ("n_layers", "n_kv_heads", "d_head", "length", "batch", "bytes_each")
Sizes = tuple[int, int, int, int, int, int]
GRID: tuple[Sizes, ...] = (
    (3, 5, 7, 11, 13, 2),
    (32, 8, 128, 100_000, 30, 4),  # many, so that not even gigabytes round to 0
    (5, 1, 64, 17, 9, 2),
    (7, 3, 20, 1, 1, 8),
    (2, 11, 6, 4097, 5, 1),
)
LLAMA_3_8B: Sizes = (32, 8, 128, 8192, 1, 2)
HUGE = 10**13 + 3  # tokens: too many bytes for a float64, few enough for an int64

Count = Callable[..., float]


def _bytes(*sizes: int) -> int:
    return 2 * math.prod(sizes)


def _without(missing: str) -> Count:
    i = NAMES.index(missing)
    return lambda *sizes: 2 * math.prod(sizes[:i] + sizes[i + 1 :])


def _in_units(size: int) -> Count:
    return lambda *sizes: _bytes(*sizes) / size


def _squared(name: str) -> Count:
    return lambda *sizes: _bytes(*sizes) * sizes[NAMES.index(name)]


COUNT_SUSPECTS: tuple[tuple[str, Count], ...] = (
    (
        "the 2 is missing: keys and values are both kept.",
        lambda *sizes: math.prod(sizes),
    ),
    (
        "there is a factor of 4. Two tensors are kept: keys and values.",
        lambda *sizes: 4 * math.prod(sizes),
    ),
    (
        "there is a factor of 3. Queries are not kept: only keys and values.",
        lambda *sizes: 3 * math.prod(sizes),
    ),
    *(
        (hint, _without(name))
        for name, hint in (
            ("n_layers", "n_layers is missing: every layer keeps its own."),
            ("n_kv_heads", "n_kv_heads is missing: every key/value head is kept."),
            ("d_head", "d_head is missing: a key is a vector."),
            ("length", "length is missing: this is one token's share."),
            ("batch", "batch is missing: this is one text's share."),
            ("bytes_each", "bytes_each is missing: these are numbers, not bytes."),
        )
    ),
    *(
        (f"{name} is a factor twice. Once is enough.", _squared(name))
        for name in NAMES
        if name != "length"
    ),
    (
        "length is a factor twice. Scores are length * length, but they are not kept:"
        " each token has one key and one value.",
        _squared("length"),
    ),
    ("these are bits. A byte has 8.", lambda *sizes: 8 * _bytes(*sizes)),
    (
        "bytes_each is taken for bits, and divided by 8. It is in bytes already.",
        lambda *sizes: _bytes(*sizes) / 8,
    ),
    *(
        (f"the result is in {unit}. Give bytes.", _in_units(size))
        for unit, size in (
            ("KiB (2**10 bytes)", 2**10),
            ("MiB (2**20 bytes)", 2**20),
            ("GiB (2**30 bytes)", 2**30),
            ("kilobytes (1000 bytes)", 10**3),
            ("megabytes (10**6 bytes)", 10**6),
            ("gigabytes (10**9 bytes)", 10**9),
        )
    ),
    (
        "every number has 2 bytes here. Use bytes_each.",
        lambda *sizes: 2 * _bytes(*sizes[:-1]),
    ),
    (
        "every number has 4 bytes here. Use bytes_each.",
        lambda *sizes: 4 * _bytes(*sizes[:-1]),
    ),
    (
        "the last token is left out. All `length` of them are kept.",
        lambda *sizes: _bytes(*sizes) // sizes[3] * (sizes[3] - 1),
    ),
    (
        "a token too many is counted: length of them are kept.",
        lambda *sizes: _bytes(*sizes) // sizes[3] * (sizes[3] + 1),
    ),
    (
        "the length is rounded up to blocks of 16. Count the tokens.",
        lambda *sizes: _bytes(*sizes) // sizes[3] * (-(-sizes[3] // 16) * 16),
    ),
    (
        "everything is added up. Multiply.",
        lambda *sizes: sum(sizes),
    ),
)

COUNT_ERRORS = {
    "OverflowError": "a large number passes through a float. Use * alone.",
    "positional argument": f"it is called as cache_bytes({', '.join(NAMES)}).",
}


def _count(function: Any, sizes: Sizes) -> float:
    """A float counts here, as long as its value is right: it has a line of its own."""
    result = attempt(function, *sizes, hints=COUNT_ERRORS)
    if isinstance(result, int | float) and not isinstance(result, bool):
        return result
    raise FailedError(f"a {type(result).__name__} came back, not an int.")


def _gives_a_whole_number(function: Any) -> None:
    for sizes in (*GRID, LLAMA_3_8B):
        if isinstance(_count(function, sizes), float):
            raise FailedError("a float came back. Bytes are whole: no / is needed.")


def _counts_the_bytes(function: Any) -> None:
    given = [_count(function, sizes) for sizes in GRID]
    if given == [_bytes(*sizes) for sizes in GRID]:
        return
    for hint, rule in COUNT_SUSPECTS:
        pairs = [(a, rule(*sizes)) for a, sizes in zip(given, GRID, strict=True)]
        if all(math.isclose(a, b, rel_tol=1e-9) for a, b in pairs) or (
            all(a in (math.floor(b), math.ceil(b)) for a, b in pairs)
        ):
            raise FailedError(hint)
    wrong = next(
        (one, sizes)
        for one, sizes in zip(given, GRID, strict=True)
        if one != _bytes(*sizes)
    )
    raise FailedError(f"{wrong[1]} gives {wrong[0]:.10g}, not {_bytes(*wrong[1])}.")


def _is_proportional(function: Any) -> None:
    for sizes in GRID:
        before = _count(function, sizes)
        for i, name in enumerate(NAMES):
            for times in (2, 3):
                more = list(sizes)
                more[i] *= times
                after = _count(function, (*more,))  # type: ignore[arg-type]
                if not math.isclose(after, times * before, rel_tol=1e-9):
                    word = "twice" if times == 2 else "three times"
                    raise FailedError(f"{word} the {name} must be {word} the bytes.")


def _fills_a_gib(function: Any) -> None:
    given = _count(function, LLAMA_3_8B)
    if given != 2**30:
        raise FailedError(
            f"32 layers, 8 heads of 128, 8192 tokens in 16 bits: {given:.10g}, not"
            " 2**30 bytes."
        )


def _is_exact(function: Any) -> None:
    one = _count(function, (3, 5, 129, 1, 7, 3))
    if _count(function, (3, 5, 129, HUGE, 7, 3)) != HUGE * one:
        raise FailedError(
            "with a large length the last digits are wrong: a float was in between."
            " Use * alone."
        )


CACHE_BYTES: tuple[Property, ...] = (
    ("all keys and all values, in bytes", _counts_the_bytes),
    ("a whole number", _gives_a_whole_number),
    ("proportional to each of the six", _is_proportional),
    ("8192 tokens of Llama 3 8B in 16 bits: 2**30", _fills_a_gib),
    ("exact for numbers too large for a float", _is_exact),
)


def cache_bytes(function: Any) -> Report:
    """Try ``function(n_layers, n_kv_heads, d_head, length, batch, bytes_each)``."""
    return run(function, CACHE_BYTES)


# ------------------------------------------------------------------ small tools


def _noise(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _close(
    a: Tensor, b: Tensor, tolerance: float = 1e-5, equal_nan: bool = False
) -> bool:
    a, b = a.detach().double(), b.detach().double()
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=equal_nan)
