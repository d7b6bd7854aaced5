"""Chapter 10: is what was read kept in order, and seen by those who may see it?"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minillm.checks import FailedError, NotStartedError, Property, Report, attempt, run
from minillm.checks.gpt import IN_PLACE, NOT_CONTIGUOUS
from minillm.checks.gqa import ALL_SUSPECTS, LOUD, B, E, G, H, K, T


def called_as(function: Any, how: str) -> dict[str, str]:
    """What to say if the function itself, and nothing inside, minds its arguments."""
    name = getattr(function, "__qualname__", type(function).__name__)
    names = (name, f"{name}.__init__", f"{name}.__call__")
    return {
        f"{one}() {verb}": f"it is called as {how}."
        for one in names
        for verb in ("takes", "missing", "got an unexpected")
    }


# ------------------------------------------------------------------ attend_with_past

S = 9  # remembered positions: another number than any that chapter 6 chose
LONG = 70
CHUNKS: tuple[tuple[int, ...], ...] = (
    (1,) * LONG,
    (6, 1, 1, 30, 12, 20),
    (69, 1),
    (35, 35),
)

Pair = tuple[Tensor, Tensor]
Attend = Callable[[Tensor, Pair, Pair], Tensor]


def _qkv(
    n_texts: int = B,
    n_heads: int = H,
    n_kv_heads: int = K,
    length: int = T,
    seed: int = 10,
) -> tuple[Tensor, Tensor, Tensor]:
    def part(i: int, heads: int) -> Tensor:
        return 1.5 * _noise(3 * seed + i, n_texts, heads, length, E)

    return part(0, n_heads), part(1, n_kv_heads), part(2, n_kv_heads)


def _probe() -> tuple[Tensor, Pair, Pair]:
    """Queries, the old keys and values, and the new ones."""
    q, k, v = _qkv()
    _, old_k, old_v = _qkv(length=S, seed=11)
    return q, (old_k, old_v), (k, v)


def _joined(old: Pair, new: Pair) -> Pair:
    return torch.cat([old[0], new[0]], dim=2), torch.cat([old[1], new[1]], dim=2)


def _seen(n_old: int, n_new: int, furthest: int = 0) -> Tensor:
    """(T, S + T): True where a new position may look, and ``furthest`` beyond."""
    return torch.ones(n_new, n_old + n_new, dtype=torch.bool).tril(n_old + furthest)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    return q @ k.mT / q.shape[-1] ** 0.5


def _weigh(scores: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    v = v.repeat_interleave(scores.shape[1] // v.shape[1], dim=1)
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v


def _right(q: Tensor, old: Pair, new: Pair) -> Tensor:
    k, v = _joined(old, new)
    seen = _seen(old[0].shape[2], q.shape[2])
    return _weigh(_scores(q, k), v, seen)


def _alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weigh(_scores(q, k), v, _seen(0, q.shape[2]))


def _looking(seen: Tensor) -> Attend:
    """Everything right but for the mask."""

    def mixed(q: Tensor, old: Pair, new: Pair) -> Tensor:
        k, v = _joined(old, new)
        return _weigh(_scores(q, k), v, seen)

    return mixed


def _two_softmaxes(q: Tensor, old: Pair, new: Pair) -> Tensor:
    return _weigh(_scores(q, old[0]), old[1], _everything(S)) + _alone(q, *new)


def _everything(n_keys: int) -> Tensor:
    return torch.ones(T, n_keys, dtype=torch.bool)


def _old_dealt(q: Tensor, old: Pair, new: Pair) -> Tensor:
    """The new heads are shared by neighbours, the old ones dealt out in turn."""
    k, v = (
        torch.cat([a.repeat(1, G, 1, 1), b.repeat_interleave(G, 1)], dim=2)
        for a, b in zip(old, new, strict=True)
    )
    return _weigh(_scores(q, k), v, _seen(S, T))


def _old_not_scaled(q: Tensor, old: Pair, new: Pair) -> Tensor:
    return _right(q, (old[0] * E**0.5, old[1]), new)


def _old_scaled_twice(q: Tensor, old: Pair, new: Pair) -> Tensor:
    return _right(q, (old[0] / E**0.5, old[1]), new)


_row, _key = torch.arange(T)[:, None], torch.arange(S + T)

# What can go wrong without a past has its names in chapters 2 and 6. A wrong answer
# that equals one of these has told us its name. NaN counts as zero.
PAST_SUSPECTS: tuple[tuple[str, Attend], ...] = (
    (
        "the mask is aligned at the top left: new position t sees the first t + 1 keys,"
        " the oldest. is_causal=True does that. New position t is row S + t: hand over"
        " a mask, tril(diagonal=S).",
        _looking(_seen(0, S + T)[:T]),
    ),
    (
        "there is no mask among the new positions: each sees the later ones of its own"
        " chunk. That is right for one new token only.",
        _looking(_everything(S + T)),
    ),
    (
        "every new position also sees the next one. New position t sees keys 0 to"
        " S + t: tril(diagonal=S).",
        _looking(_seen(S, T, 1)),
    ),
    (
        "a new position does not see itself. Key S + t is its own: tril(diagonal=S).",
        _looking(_seen(S, T, -1)),
    ),
    (
        "the past is not looked at: only the new keys count. Attend to old and new.",
        _looking(_seen(S, T) & (_key >= S)),
    ),
    (
        "only the old positions are seen. The new ones up to t belong to it as well.",
        _looking(_key.expand(T, -1) < S),
    ),
    (
        "a new position sees the old ones and itself, but not the new ones before it.",
        _looking((_key < S) | (_key == S + _row)),
    ),
    (
        "a new position sees itself alone. It sees all that came before, too.",
        _looking(_key == S + _row),
    ),
    (
        "every new position sees only the newest key.",
        _looking((_key == S + T - 1).expand(T, -1)),
    ),
    (
        "the mask is inverted: what comes later is seen. Is True 'look' or 'do not"
        " look'?",
        _looking(~_seen(S, T)),
    ),
    (
        "the mask is upside down: a position sees itself and what comes later.",
        _looking(_key >= S + _row),
    ),
    (
        "the mask is shifted by T, the number of new positions. Shift it by S, the"
        " number of old ones.",
        _looking(_key <= T + _row),
    ),
    (
        "the mask is shifted by B, the size of the batch. Shift it by S, the number of"
        " old positions: keys.shape[2].",
        _looking(_key <= B + _row),
    ),
    (
        "the mask is shifted by K, the number of heads. Shift it by S, the number of"
        " old positions: keys.shape[2].",
        _looking(_key <= K + _row),
    ),
    (
        "the mask is shifted by E, the width of a head. Shift it by S, the number of"
        " old positions: keys.shape[2].",
        _looking(_key <= E + _row),
    ),
    (
        "a position looks back over the last T positions only. It sees all old ones.",
        _looking(_seen(S, T) & (_key > S + _row - T)),
    ),
    (
        "a position looks back over the last S positions only. It sees all old ones.",
        _looking(_seen(S, T) & (_key > _row)),
    ),
    (
        "new position t sees only the old ones from t on. It sees all of them.",
        _looking(_seen(S, T) & (_key >= _row)),
    ),
    (
        "the oldest position is left out.",
        _looking(_seen(S, T) & (_key > 0)),
    ),
    (
        "the newest of the old positions is left out, or a new one is written over it.",
        _looking(_seen(S, T) & (_key != S - 1)),
    ),
    (
        "the new keys and values stand before the old ones, and the mask takes them for"
        " the old. Join as cat([old, new], dim=2).",
        lambda q, old, new: _looking(_seen(S, T))(q, new, old),
    ),
    (
        "the keys are joined as new, old, the values as old, new. Both are old, new.",
        lambda q, old, new: _right_of(
            q, (new[0], old[0]), (old[1], new[1]), _seen(S, T)
        ),
    ),
    (
        "the values are joined as new, old, the keys as old, new. Both are old, new.",
        lambda q, old, new: _right_of(
            q, (old[0], new[0]), (new[1], old[1]), _seen(S, T)
        ),
    ),
    (
        "the past's keys and values are exchanged. It is (keys, values).",
        lambda q, old, new: _right(q, old[::-1], new),
    ),
    (
        "the past's keys are used as its values, too. It is (keys, values).",
        lambda q, old, new: _right(q, (old[0], old[0]), new),
    ),
    (
        "the past's values are used as its keys, too. It is (keys, values).",
        lambda q, old, new: _right(q, (old[1], old[1]), new),
    ),
    (
        "the new keys are joined to the old values as well. v belongs there.",
        lambda q, old, new: _right(q, old, (new[0], new[0])),
    ),
    (
        "the new values are joined to the old keys as well. k belongs there.",
        lambda q, old, new: _right(q, old, (new[1], new[1])),
    ),
    (
        "old and new get a softmax each, and the two results are added. One softmax"
        " runs over all keys.",
        _two_softmaxes,
    ),
    (
        "old and new get a softmax each, and the two results are averaged. One softmax"
        " runs over all keys.",
        lambda q, old, new: _two_softmaxes(q, old, new) / 2,
    ),
    (
        "the old heads are dealt out in turn (head h uses h % K), the new ones are"
        " shared by neighbours. Join first, then repeat_interleave.",
        _old_dealt,
    ),
    (
        "the scores of the old keys are not scaled. Divide all of them by the root"
        " of E.",
        _old_not_scaled,
    ),
    (
        "the scores of the old keys are scaled twice. Divide once by the root of E.",
        _old_scaled_twice,
    ),
    (
        "the scores are divided by the root of S + T, the number of keys. Use E, the"
        " width of a head.",
        lambda q, old, new: _right(q * (E / (S + T)) ** 0.5, old, new),
    ),
    (
        "the scores are divided by the root of S, the number of old positions. Use E,"
        " the width of a head.",
        lambda q, old, new: _right(q * (E / S) ** 0.5, old, new),
    ),
    (
        "the scores are not scaled when there is a past. Divide them by the root of E.",
        lambda q, old, new: _right(q * E**0.5, old, new),
    ),
    (
        "all batch rows look at the past of the first one. Each has its own.",
        lambda q, old, new: _right(
            q, (old[0][:1].expand_as(old[0]), old[1][:1].expand_as(old[1])), new
        ),
    ),
    (
        "all groups look at the past of the first key/value head. Each has its own.",
        lambda q, old, new: _right(
            q, (old[0][:, :1].expand_as(old[0]), old[1][:, :1].expand_as(old[1])), new
        ),
    ),
    (
        "the new keys and values are joined twice.",
        lambda q, old, new: _looking(_seen(S + T, T))(q, _joined(old, new), new),
    ),
    (
        "the old keys and values are joined twice.",
        lambda q, old, new: _looking(_seen(2 * S, T))(q, _joined(old, old), new),
    ),
)


def _right_of(q: Tensor, keys: Pair, values: Pair, seen: Tensor) -> Tensor:
    return _weigh(_scores(q, torch.cat(keys, 2)), torch.cat(values, 2), seen)


REPEATED = (
    "the past that comes back holds H heads. Keep the K it came with, and repeat them"
    " for the scores only: that is what sharing heads saves"
)
REMEMBER_SUSPECTS: tuple[tuple[str, Callable[[Pair, Pair], Pair]], ...] = (
    (
        "in the past that comes back the new positions stand first. Old ones first:"
        " cat([old, new], dim=2).",
        lambda old, new: _joined(new, old),
    ),
    (
        "the past comes back as (values, keys). It is (keys, values).",
        lambda old, new: _joined(old, new)[::-1],
    ),
    (
        "the past comes back with its keys twice. It is (keys, values).",
        lambda old, new: (_joined(old, new)[0], _joined(old, new)[0]),
    ),
    (
        "the past comes back with its values twice. It is (keys, values).",
        lambda old, new: (_joined(old, new)[1], _joined(old, new)[1]),
    ),
    (
        "in the past that comes back the new keys stand behind the old values, too.",
        lambda old, new: _joined(old, (new[0], new[0])),
    ),
    (
        "in the past that comes back the new values stand behind the old keys, too.",
        lambda old, new: _joined(old, (new[1], new[1])),
    ),
    (
        "in the past that comes back the new keys and values have changed places.",
        lambda old, new: _joined(old, new[::-1]),
    ),
    (
        "in the past that comes back the old keys and values have changed places.",
        lambda old, new: _joined(old[::-1], new),
    ),
    (
        "in the past that comes back the keys are new, old and the values old, new."
        " Old ones first, in both.",
        lambda old, new: (_joined(new, old)[0], _joined(old, new)[1]),
    ),
    (
        "in the past that comes back the values are new, old and the keys old, new."
        " Old ones first, in both.",
        lambda old, new: (_joined(old, new)[0], _joined(new, old)[1]),
    ),
    (
        "the new keys come back divided by the root of E. They would be scaled again at"
        " the next call: scale the scores, not what is kept.",
        lambda old, new: _joined(old, (new[0] / E**0.5, new[1])),
    ),
    (
        "the keys come back divided by the root of E, the old ones at every call anew."
        " Scale the scores, not what is kept.",
        lambda old, new: _joined((old[0] / E**0.5, old[1]), (new[0] / E**0.5, new[1])),
    ),
)


def _errors(q: Tensor, k: Tensor, past: Pair | None) -> dict[str, str]:
    """What PyTorch says about these shapes, and what it means."""
    n_heads, n_kv_heads, n_new = q.shape[1], k.shape[1], q.shape[2]
    n_old = 0 if past is None else past[0].shape[2]
    clash = "({}) must match the size of tensor b ({})"
    grown = "expanded size of the tensor ({}) must match the existing size ({})"
    mask = (
        "the mask does not fit the scores. T new queries look at S + T keys: it is"
        " (T, S + T), not (T, T) and not (S + T, S + T)."
    )
    heads = (
        "q has H heads, k and v have K. Repeat both with repeat_interleave along axis"
        " 1, or see q's heads as (K, H/K)."
    )
    known = {
        f"Expected size {n_kv_heads} but got size {n_heads}": (
            "heads that were repeated already meet a past of K heads. Join first, then"
            " repeat for the scores only."
        ),
        f"Expected size {n_heads} but got size {n_kv_heads}": (
            "heads that were repeated already meet K heads. Join first, then repeat for"
            " the scores only."
        ),
        "Sizes of tensors must match except in dimension": (
            "old and new do not fit side by side. Positions are axis 2: cat([old, new],"
            " dim=2)."
        ),
        clash.format(n_heads, n_kv_heads): heads,
        clash.format(n_kv_heads, n_heads): heads,
        "NoneType": "past is None at the first call: there is nothing to join then.",
        "does not support item assignment": (
            "past is a tuple, and is not yours to change. Make a new one."
        ),
        "'tuple' object has no attribute": "past is a tuple: keys, values = past.",
        "'list' object has no attribute": "past is a tuple: keys, values = past.",
        "Boolean value of Tensor with more than one": (
            "a tensor has no truth. Ask `past is None`."
        ),
        "not enough values to unpack": "past is a tuple: keys, values = past.",
        "view size is not compatible": NOT_CONTIGUOUS,
        "inplace": IN_PLACE,
        "in-place": IN_PLACE,
    }
    if n_old:
        for sizes in ((n_old + n_new, n_new), (n_new, n_old + n_new)):
            known[clash.format(*sizes)] = known[grown.format(*sizes)] = mask
    return known


def _attend(
    function: Any, q: Tensor, k: Tensor, v: Tensor, past: Pair | None
) -> tuple[Tensor, Pair]:
    """Call the reader's function; it must give q's shape, and two tensors beside."""
    hints = called_as(function, "attend_with_past(q, k, v, past)")
    hints |= _errors(q, k, past)
    result = attempt(function, q, k, v, past, hints=hints)
    wanted = "Return (out, (keys, values))."
    if isinstance(result, Tensor):
        raise FailedError(f"one tensor came back, and no past. {wanted}")
    if not isinstance(result, tuple | list):
        raise FailedError(f"a {type(result).__name__} came back. {wanted}")
    if len(result) != 2:
        raise FailedError(f"{len(result)} things came back, not two. {wanted}")
    out, new = result
    if isinstance(out, tuple | list) and isinstance(new, Tensor):
        raise FailedError(f"the past comes first. {wanted}")
    if not isinstance(out, Tensor):
        raise FailedError(f"out is a {type(out).__name__}, not a tensor. {wanted}")
    if out.shape != q.shape:
        raise FailedError(_about_out(out, q, k, past))
    if new is None:
        raise FailedError(f"the past that comes back is None. {wanted}")
    if not isinstance(new, tuple | list) or len(new) != 2:
        raise FailedError(
            f"the past that comes back is a {type(new).__name__}, not a pair of keys"
            f" and values. {wanted}"
        )
    for name, part in zip(("keys", "values"), new, strict=True):
        if not isinstance(part, Tensor):
            raise FailedError(
                f"the past's {name} are a {type(part).__name__}, not a tensor. {wanted}"
            )
    return out, (new[0], new[1])


def _about_out(out: Tensor, q: Tensor, k: Tensor, past: Pair | None) -> str:
    n_texts, n_heads, n_new, width = q.shape
    n_kv_heads = k.shape[1]
    n_keys = n_new + (0 if past is None else past[0].shape[2])
    known = {
        (n_texts, n_heads, n_new, n_keys): "these are the weights. Multiply them by v",
        (n_texts, n_new, n_heads * width): "heads are joined later, outside",
        (n_texts, n_new, n_heads, width): "time and heads have changed places",
        (n_texts, n_kv_heads, n_heads // n_kv_heads, n_new, width): (
            "flatten the two axes of heads into one again"
        ),
        (n_texts, n_kv_heads, n_new, width): (
            "a group has one result. Every query head keeps its own"
        ),
        (n_texts, n_heads, n_keys, width): (
            "there is a result for every key. Only the T new positions ask"
        ),
        tuple(n for n in q.shape if n > 1): (
            "squeeze drops every axis of length 1. Name the one you mean"
        ),
    }
    told = f"the shape of out is {tuple(out.shape)}, not {tuple(q.shape)}"
    why = known.get(tuple(out.shape))
    return f"{told}: {why}." if why else f"{told}."


def _look_at_past(
    name: str, part: Tensor, q: Tensor, k: Tensor, past: Pair | None
) -> None:
    n_texts, n_kv_heads, n_new, width = k.shape
    n_heads, n_old = q.shape[1], 0 if past is None else past[0].shape[2]
    n_keys = n_old + n_new
    expected = (n_texts, n_kv_heads, n_keys, width)
    shape = tuple(part.shape)
    if shape == expected:
        return
    if shape == (n_texts, n_heads, n_keys, width):
        raise FailedError(f"{REPEATED}.")
    known = {
        (n_texts, n_kv_heads, n_new, width): (
            "only the new positions come back. The old ones belong to it, and stand"
            " first"
        ),
        (n_texts, n_kv_heads, n_old, width): (
            "the old positions come back without the new ones"
        ),
        (n_texts, n_heads, n_new, width): "these are heads of q. Keep k and v",
        (n_texts, n_kv_heads, n_keys - 1, width): "one position is lost",
        (n_texts, n_kv_heads, n_keys + n_new, width): "the new positions stand twice",
        (n_texts, n_kv_heads, n_keys + n_old, width): "the old positions stand twice",
        (n_texts, n_keys, n_kv_heads, width): "time and heads have changed places",
        (n_texts, n_kv_heads, width, n_keys): "the last two axes have changed places",
    }
    told = f"the past's {name} come back as {shape}, not {expected}"
    if shape in known:
        raise FailedError(f"{told}: {known[shape]}.")
    raise FailedError(f"{told}.")


def _copied(past: Pair | None) -> Pair | None:
    return None if past is None else (past[0].clone(), past[1].clone())


def _ask(function: Any, q: Tensor, new: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
    """The same with copies, so that nothing the reader does to them is felt here."""
    out, now = _attend(
        function, q.clone(), new[0].clone(), new[1].clone(), _copied(past)
    )
    keys, values = (part.detach().clone() for part in now)
    return out.detach().clone(), (keys, values)


def _keeps_shapes(function: Any) -> None:
    q, old, new = _probe()
    _attend(function, q, *new, None)
    _attend(function, q, *new, old)
    for n_texts, n_heads, n_kv_heads in ((1, 6, 6), (3, 5, 1), (2, 10, 5)):
        for n_new in (3, 1):
            q, k, v = _qkv(n_texts, n_heads, n_kv_heads, n_new)
            _, *olds = _qkv(n_texts, n_heads, n_kv_heads, 4)
            for past in (None, (olds[0], olds[1])):
                told = f"B = {n_texts}, H = {n_heads}, K = {n_kv_heads}, T = {n_new}"
                try:
                    _attend(function, q, k, v, past)
                except FailedError as failure:
                    raise FailedError(
                        f"other sizes go well, but with {told}: {failure}"
                    ) from failure
    q, old, new = _probe()
    for dtype in (torch.float64, torch.bfloat16):
        k, v, old_k, old_v = (part.to(dtype) for part in (*new, *old))
        out, past = _attend(function, q.to(dtype), k, v, (old_k, old_v))
        for name, part in (("out", out), ("keys", past[0]), ("values", past[1])):
            if part.dtype != dtype:
                raise FailedError(
                    f"{dtype} goes in, but {name} comes out as {part.dtype}. Keep it."
                )


def _begins_rightly(function: Any) -> None:
    q, _, new = _probe()
    out, _ = _ask(function, q, new, None)
    again, _ = _ask(function, q, new, None)
    if not _close(out, again):
        raise FailedError(
            "two calls give different results. Draw nothing, and remember nothing: the"
            " caller keeps the past."
        )
    if _close(out, _alone(q, *new)):
        return
    for hint, formula in ALL_SUSPECTS:
        if _close(out, formula(q, *new)):
            raise FailedError(hint)
    raise FailedError(
        "without a past, the numbers differ from causal softmax(q k^T / root of E) v,"
        " where query head h uses key/value head h // (H/K)."
    )


def _goes_on_rightly(function: Any) -> None:
    q, old, new = _probe()
    out, _ = _ask(function, q, new, old)
    if not _close(out, _right(q, old, new)):
        for hint, formula in PAST_SUSPECTS:
            if _close(out, formula(q, old, new)):
                raise FailedError(hint)
        begun, _ = _ask(function, q, new, None)
        if not _close(begun, _alone(q, *new)):  # the same slip, met before
            raise FailedError(
                "with a past, too, the numbers differ from softmax(q k^T / root of E)"
                " v. Mend the first call, without a past, before this."
            )
        if out.isnan().any():
            raise FailedError("NaN comes back: some new position has no key to see.")
        for s in range(S):
            if _close(_ask(function, q, new, _shaken(old, s))[0], out):
                raise FailedError(
                    f"of {S} old positions, number {s} changes nothing. Every new"
                    " position sees all of them."
                )
        raise FailedError(
            "with a past the numbers differ from softmax(q k^T / root of E) v over the"
            " S old positions and the new ones 0 to t."
        )
    q, old, new = q[:, :, :1], old, (new[0][:, :, :1], new[1][:, :, :1])
    if not _close(_ask(function, q, new, old)[0], _right(q, old, new)):
        raise FailedError(
            "several new positions go well, a single one (T = 1) does not. It sees all"
            " S old ones and itself."
        )


def _shaken(past: Pair, s: int) -> Pair:
    keys, values = past[0].clone(), past[1].clone()
    keys[:, :, s] = keys[:, :, s].flip(-1) + 1
    values[:, :, s] = values[:, :, s].flip(-1) + 1
    return keys, values


def _remembers(function: Any) -> None:
    q, old, new = _probe()
    _, first = _ask(function, q, new, None)
    _, past = _ask(function, q, new, old)
    for given, kept in ((None, first), (old, past)):
        for name, part in zip(("keys", "values"), kept, strict=True):
            _look_at_past(name, part, q, new[0], given)
    if all(torch.equal(a, b) for a, b in zip(past, _joined(old, new), strict=True)):
        if all(torch.equal(a, b) for a, b in zip(first, new, strict=True)):
            return
        if torch.equal(first[0], new[1]) and torch.equal(first[1], new[0]):
            raise FailedError("without a past, (values, keys) come back.")
        raise FailedError("without a past, what comes back is not (k, v) as they were.")
    for hint, formula in REMEMBER_SUSPECTS:
        if all(_close(a, b) for a, b in zip(past, formula(old, new), strict=True)):
            raise FailedError(hint)
    for name, got, before, now in zip(("keys", "values"), past, old, new, strict=True):
        if not torch.equal(got[:, :, :S], before):
            raise FailedError(
                f"the old {name} come back changed. The new past is cat([old, new],"
                " dim=2), and no more."
            )
        if not torch.equal(got[:, :, S:], now):
            raise FailedError(
                f"the new {name} come back changed. The new past is cat([old, new],"
                " dim=2), and no more."
            )


def _reads(function: Any, q: Tensor, new: Pair, sizes: Sequence[int]) -> Tensor:
    """Read a text in chunks, handing on what comes back."""
    past: Pair | None = None
    outs, start = [], 0
    for size in sizes:
        chunk = slice(start, start + size)
        part = (new[0][:, :, chunk], new[1][:, :, chunk])
        out, past = _ask(function, q[:, :, chunk], part, past)
        outs.append(out)
        start += size
    return torch.cat(outs, dim=2)


def _reads_in_any_chunks(function: Any) -> None:
    q, k, v = _qkv(1, 4, 2, LONG)
    whole, _ = _ask(function, q, (k, v), None)
    for sizes in CHUNKS:
        parts = _reads(function, q, (k, v), sizes)
        if not _close(parts, whole, 1e-4):
            off = (parts - whole).nan_to_num(1e9).abs().amax(dim=(0, 1, 3)) > 1e-3
            t = int(off.nonzero()[0]) if off.any() else 0
            told = "one by one" if len(sizes) == LONG else f"in chunks of {sizes}"
            raise FailedError(
                f"{LONG} positions read {told} differ from position {t} on from the"
                " same ones read at once."
            )


def _bears_large_scores(function: Any) -> None:
    q, old, new = _probe()
    # every key that may be seen is disliked; those that may not are loved
    q, old, new = q.abs(), (-old[0].abs(), old[1]), (-new[0].abs(), new[1])
    later = [new]
    for t in range(1, T):
        k, v = new[0].clone(), new[1].clone()
        k[:, :, t:] = 2 * q[:, ::G, t - 1 : t]
        v[:, :, t:] += 10
        later.append((k, v))
    for loudness in (1.0, LOUD):
        before, _ = _ask(function, loudness * q, new, old)
        if not before.isfinite().all():
            if loudness == 1:
                return  # the formula says so
            raise FailedError(
                "scores of ten thousands give NaN or infinity: exp overflows. Use"
                " softmax."
            )
        for t in range(1, T):
            after, _ = _ask(function, loudness * q, later[t], old)
            if not _close(after[:, :, :t], before[:, :, :t], 1e-4):
                if loudness == 1:
                    return  # the formula says so
                raise FailedError(
                    "when scores are large the future shines through: the number that"
                    " stands for minus infinity is too near. Use -inf."
                )


def _leaves_the_past_alone(function: Any) -> None:
    q, old, new = _probe()
    kept = [part.clone() for part in (q, *new, *old)]
    _, past = _attend(function, q, *new, old)
    for name, now, before in zip(
        ("q", "k", "v", "the past's keys", "the past's values"),
        (q, *new, *old),
        kept,
        strict=True,
    ):
        if not torch.equal(now, before):
            raise FailedError(
                f"{name}: changed in place. Make a new tensor instead, so that several"
                " texts can go on from one past."
            )
    remembered = _copied(past)
    assert remembered is not None
    ends = [_qkv(length=3, seed=seed) for seed in (12, 13)]
    outs = [_attend(function, *end, past)[0].detach().clone() for end in ends]
    if not all(torch.equal(a, b) for a, b in zip(past, remembered, strict=True)):
        raise FailedError(
            "the past that came back is changed by a later call. Make a new one, so"
            " that several texts can go on from it."
        )
    _attend(function, *_qkv(length=S + T, seed=14), None)  # another text
    if not all(torch.equal(a, b) for a, b in zip(past, remembered, strict=True)):
        raise FailedError(
            "the past that came back is changed when another text is read. The caller"
            " keeps it: write into no room of your own."
        )
    again = _attend(function, *ends[0], past)[0]
    if not _close(again, outs[0]):
        raise FailedError("two texts that go on from one past disturb each other.")
    # as a layer's output is split: (B, T, heads * E) seen as (B, heads, T, E)
    split = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in kept]
    out, _ = _attend(function, split[0], split[1], split[2], (split[3], split[4]))
    if not _close(out, _ask(function, q, new, old)[0]):
        raise FailedError("the result depends on how the inputs lie in memory.")


ATTEND_WITH_PAST: tuple[Property, ...] = (
    ("out of q's shape and dtype, keys and values beside it", _keeps_shapes),
    ("without a past: causal attention, heads shared", _begins_rightly),
    ("with a past: all S old positions and the new ones 0 to t", _goes_on_rightly),
    ("the past comes back: K heads, old positions, then new", _remembers),
    (
        f"{LONG} positions in any chunks are the same {LONG} at once",
        _reads_in_any_chunks,
    ),
    ("large scores do no harm, and the future stays dark", _bears_large_scores),
    ("the inputs are left alone: two texts can share a past", _leaves_the_past_alone),
)


def attend_with_past(function: Any) -> Report:
    """Try ``function(q, k, v, past) -> (out, past)``; ``past`` is (keys, values)."""
    return run(function, ATTEND_WITH_PAST)


# ------------------------------------------------------------------ layer_cache

ROOM = 11  # positions, for B texts of K heads of E numbers


def _new_cache(thing: Any, n_texts: int = B, room: int = ROOM) -> Any:
    """Make the reader's cache; it must have ``append`` and ``length``."""
    how = "LayerCache(batch_size, n_kv_heads, max_length, d_head)"
    cache = attempt(thing, n_texts, K, room, E, hints=called_as(thing, how))
    if not callable(getattr(cache, "append", None)):
        kind = type(cache).__name__
        raise FailedError(f"a {kind} came, without a method append(keys, values).")
    return cache


def _length(cache: Any) -> int:
    try:
        length = cache.length
    except NotImplementedError as error:
        raise NotStartedError from error
    except Exception as error:
        raise FailedError(
            "the cache has no attribute length. Set it to 0 at the start."
        ) from error
    if callable(length):
        raise FailedError("length is a method. It is read as cache.length, without ().")
    try:
        return operator.index(length)
    except (TypeError, RuntimeError, ValueError) as error:
        kind = type(length).__name__
        raise FailedError(f"length is a {kind}, not a whole number.") from error


def _shown_length(cache: Any) -> int | None:
    """The same, or None where another property has a word to say."""
    try:
        return _length(cache)
    except FailedError:
        return None


def _new(length: int, seed: int = 20, n_texts: int = B) -> Pair:
    """Keys and values of ``length`` positions."""
    return _noise(seed, n_texts, K, length, E), _noise(seed + 1, n_texts, K, length, E)


APPEND_ERRORS = {
    "NoneType": "something is None still when the first positions come.",
    "expanded size of the tensor": (
        "the place and what is put there differ in size. T new positions go to"
        " [:, :, length : length + T]."
    ),
    "must match the size of tensor": (
        "the place and what is put there differ in size. T new positions go to"
        " [:, :, length : length + T]."
    ),
}


def _append(cache: Any, new: Pair) -> Pair:
    """Call append; it must give keys and values of all positions so far."""
    hints = called_as(cache.append, "cache.append(keys, values)") | APPEND_ERRORS
    result = attempt(cache.append, *new, hints=hints)
    if not isinstance(result, tuple | list):
        raise FailedError(
            f"append gives a {type(result).__name__}. Return all_keys, all_values."
        )
    if len(result) != 2 or not all(isinstance(part, Tensor) for part in result):
        raise FailedError("append must return two tensors: all_keys, all_values.")
    return result[0], result[1]


def _counts(thing: Any) -> None:
    cache = _new_cache(thing)
    if _length(cache) != 0:
        raise FailedError(f"a new cache has length {_length(cache)}, not 0.")
    read = 0
    for size in (3, 1, 2):
        _append(cache, _new(size))
        before, read = read, read + size
        length = _length(cache)
        if length == read:
            continue
        known = {
            before: "length does not move. Add the T new positions to it",
            size: "only the newest positions are counted. Add them to length",
            before + 1: "length grows by 1. Add T, the number of new positions",
            before + 2 * size: "the new positions are counted twice",
            before + B: "length grows by the batch size. Positions are axis 2",
            before + K: "length grows by the number of heads. Positions are axis 2",
            before + E: "length grows by the width of a head. Positions are axis 2",
            ROOM: "this is the room there is. length counts what has been read",
            ROOM - read: "this is the room that is left. length counts what was read",
        }
        told = f"after {read} positions length is {length}"
        why = known.get(length)
        raise FailedError(f"{told}: {why}." if why else f"{told}.")


def _wanted(appended: Sequence[Pair]) -> Pair:
    return (
        torch.cat([keys for keys, _ in appended], dim=2),
        torch.cat([values for _, values in appended], dim=2),
    )


def _gives_all(thing: Any) -> None:
    cache = _new_cache(thing)
    appended = []
    for i, size in enumerate((3, 1, 2)):
        appended.append(_new(size, 20 + 2 * i))
        new = appended[-1]
        got = _append(cache, (new[0].clone(), new[1].clone()))
        wanted = _wanted(appended)
        if all(_same(a, b) for a, b in zip(got, wanted, strict=True)):
            continue
        raise FailedError(_about_all(got, appended))


def _about_all(got: Pair, appended: Sequence[Pair]) -> str:
    keys, values = _wanted(appended)
    read, size = keys.shape[2], appended[-1][0].shape[2]
    if _same(got[0], values) and _same(got[1], keys):
        return "values, keys come back. Return keys first."
    if _same(got[0], keys) and _same(got[1], keys):
        return "the keys come back twice. Keep the values in a room of their own."
    if _same(got[0], values) and _same(got[1], values):
        return "the values come back twice: keys and values share one room."
    shape = tuple(got[0].shape)
    if tuple(got[1].shape) != shape:
        return f"keys come back as {shape}, values as {tuple(got[1].shape)}."
    told = f"after {read} positions keys come back as {shape}"
    known = {
        (B, K, size, E): "only the new positions. Return all so far, [:, :, :length]",
        (B, K, ROOM, E): "the whole room. Return what was read, [:, :, :length]",
        (B, K, read - size, E): (
            "the new positions are missing. Advance length before you slice"
        ),
        (B, K, read - 1, E): "the newest position is missing",
        (B, K, read + 1, E): "one more than was read",
        (B, read, K, E): "time and heads have changed places",
        (B, K, ROOM - read, E): "the room that is left. Return [:, :, :length]",
    }
    if shape in known and shape != tuple(keys.shape):
        return f"{told}: {known[shape]}."
    if shape != tuple(keys.shape):
        return f"{told}, not {tuple(keys.shape)}."
    newest = appended[-1]
    if len(appended) == 1:
        return "the first positions come back as other numbers than they were."
    if _same(got[0][:, :, :size], newest[0]) and read > size:
        if _same(got[0][:, :, size:], _wanted(appended[:-1])[0]):
            return "the newest positions stand first. Put them behind the old ones."
        return (
            "the newest positions are written over the first ones. Write them behind"
            " what is there: [:, :, length : length + T]."
        )
    if _same(got[0][:, :, : read - size], _wanted(appended[:-1])[0]):
        return (
            "the old positions are there, but not the new ones: they are written at"
            " another place than [:, :, length : length + T]."
        )
    return (
        "what was appended does not come back in order: an old position is overwritten"
        " or moved."
    )


def _held(cache: Any) -> list[Tensor]:
    """The tensors that a cache shows as attributes, if it shows any."""
    try:
        shown = [*vars(cache).values()]
    except TypeError:
        return []
    found: list[Tensor] = []
    while shown:
        one = shown.pop()
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            shown += one
        elif isinstance(one, dict):
            shown += one.values()
    return found


def _memory(part: Tensor) -> int:
    return part.untyped_storage().data_ptr()


def _room_is_made_once(thing: Any) -> None:
    cache = _new_cache(thing)
    first = _append(cache, _new(3))
    kept = [part[:, :, :3].clone() for part in first]
    for size in (1, 2, ROOM - 7):
        now = _append(cache, _new(size, 30 + size))
        for name, a, b in zip(("keys", "values"), first, now, strict=True):
            if _memory(a) == _memory(b):
                continue
            held = {_memory(part) for part in _held(cache)}
            if held and _memory(b) not in held:
                raise FailedError(
                    f"the {name} that come back are a copy. A slice of the room,"
                    " [:, :, :length], is a view and costs nothing."
                )
            raise FailedError(
                f"the {name} lie elsewhere after the second append: old ones are copied"
                " to make room. Allocate max_length positions once, in __init__."
            )
    if not all(_same(a[:, :, :3], b) for a, b in zip(first, kept, strict=True)):
        raise FailedError(
            "a view handed out before has changed: a later append wrote over the"
            " positions it shows."
        )


def _copies_what_it_is_given(cache: Any, given: Pair) -> Pair:
    before = [part.clone() for part in given]
    views = _append(cache, given)
    if not all(torch.equal(a, b) for a, b in zip(given, before, strict=True)):
        raise FailedError("append changes what it is given. It only reads it.")
    kept = [part.clone() for part in views]
    for part in given:
        part.add_(100)  # the caller's tensors live on
    if not all(_same(a, b) for a, b in zip(views, kept, strict=True)):
        raise FailedError(
            "the cache keeps the caller's tensors, and changes with them. Write the"
            " numbers into a room of its own."
        )
    return views


def _fills_up(thing: Any) -> None:
    for sizes in ((ROOM,), (ROOM - 1, 1), (4, 7), (1,) * ROOM):
        cache = _new_cache(thing)
        for size in sizes:
            try:
                _append(cache, _new(size))
            except FailedError as failure:
                raise FailedError(
                    f"{ROOM} positions must fit into a room of {ROOM}, appended as"
                    f" {sizes}: {failure}"
                ) from failure
    for n_texts, room in ((5, 3), (1, 4), (3, 1)):  # another room than the last
        cache = _new_cache(thing, n_texts, room)
        try:
            # what fills the whole room is tempting to keep as it is
            keys, _ = _copies_what_it_is_given(cache, _new(room, n_texts=n_texts))
        except FailedError as failure:
            raise FailedError(
                f"a room for {n_texts} texts of {room} positions: {failure}"
            ) from failure
        if len(keys) != n_texts:
            raise FailedError(
                f"a room for {n_texts} texts gives keys of {len(keys)}. Take every size"
                " from the arguments."
            )


def _refuses(cache: Any, new: Pair, what: str) -> None:
    """Append must raise ValueError, and length must be what it was."""
    length = _shown_length(cache)
    try:
        cache.append(*new)
    except ValueError:
        pass
    except NotImplementedError as error:
        raise NotStartedError from error
    except (Exception, SystemExit) as error:
        raise FailedError(
            f"{what}: {type(error).__name__} is raised, not ValueError. Compare the"
            " sizes before you write."
        ) from error
    else:
        raise FailedError(f"{what}: no ValueError is raised.")
    after = _shown_length(cache)
    if after != length:
        raise FailedError(
            f"{what}: refused, but length went from {length} to {after}. Check first,"
            " then change."
        )


def _refuses_unharmed(thing: Any, new: Pair, what: str) -> None:
    """As if nothing had been: the same as a cache that nobody has tried to spoil."""
    after = []
    for spoilt in (False, True):
        cache = _new_cache(thing)
        _append(cache, _new(4))
        if spoilt:
            _refuses(cache, new, what)
        after.append([part.clone() for part in _append(cache, _new(1, 40))])
    if not all(_same(a, b) for a, b in zip(*after, strict=True)):
        raise FailedError(
            f"{what}: refused, but what the cache holds has changed. Check first, then"
            " write."
        )


def _refuses_what_is_too_long(thing: Any) -> None:
    for size in (ROOM - 3, ROOM + 2, 2 * ROOM):
        what = f"{size} more positions in a room of {ROOM} with 4 read"
        _refuses_unharmed(thing, _new(size, 50), what)
    cache = _new_cache(thing)
    _refuses(cache, _new(ROOM + 1), f"{ROOM + 1} positions in an empty room of {ROOM}")
    try:
        _append(cache, _new(ROOM))
    except FailedError:
        return  # exactly as many as fit: another property says so
    _refuses(cache, _new(1, 50), "one position in a full room")


def _refuses_another_batch(thing: Any) -> None:
    for n_texts in (1, B + 1):
        what = f"keys of {n_texts} rows in a cache for {B}"
        try:
            _refuses_unharmed(thing, _new(2, 50, n_texts), what)
        except FailedError as failure:
            if n_texts > 1 or "no ValueError" not in str(failure):
                raise
            raise FailedError(
                f"{what}: no ValueError is raised. One row is silently copied into all:"
                " compare len(keys) with the batch size."
            ) from failure


def _keeps_caches_apart(thing: Any) -> None:
    alone = _new_cache(thing)
    _copies_what_it_is_given(alone, _new(3))
    kept = [part.clone() for part in _append(alone, _new(2, 60))]
    one, other = _new_cache(thing), _new_cache(thing)
    before = _shown_length(other)
    _append(one, _new(3))
    if _shown_length(other) != before:
        raise FailedError(
            "an append to one cache changes the length of another. It belongs on self."
        )
    _append(other, _new(4, 70))
    again = _append(one, _new(2, 60))
    if not all(_same(a, b) for a, b in zip(again, kept, strict=True)):
        raise FailedError(
            "two caches share their room. Allocate it in __init__, on self."
        )


LAYER_CACHE: tuple[Property, ...] = (
    ("length is 0, then the number of positions read", _counts),
    ("append gives all positions so far, in order", _gives_all),
    ("room is made once, and what comes back are views of it", _room_is_made_once),
    ("exactly max_length positions fit, however they come", _fills_up),
    ("one too many is a ValueError, and changes nothing", _refuses_what_is_too_long),
    ("another batch size is a ValueError, and changes nothing", _refuses_another_batch),
    ("a cache shares its room with nobody", _keeps_caches_apart),
)


def layer_cache(thing: Any) -> Report:
    """Try ``thing(batch_size, n_kv_heads, max_length, d_head)``, a class of caches."""
    return run(thing, LAYER_CACHE)


# ------------------------------------------------------------------ padded_positions

PADDING = (4, 2, 6, 3)
FIRST, NEXT = 9, 6  # tokens read at once, and tokens that come afterwards
# (start, n_tokens): the last one begins within the padding of three rows
PLACES = ((0, FIRST), (FIRST, NEXT), (2, 7))

Positions = Callable[[Tensor, int, int], Tensor]


def _padding() -> Tensor:
    return torch.tensor(PADDING)


def _columns(start: int, n_tokens: int) -> Tensor:
    return torch.arange(start, start + n_tokens)


def _within(padding: Tensor, start: int, n_tokens: int) -> Tensor:
    return _columns(start, n_tokens) - padding[:, None]


def _is_text(padding: Tensor, start: int, n_tokens: int) -> Tensor:
    return _within(padding, start, n_tokens) >= 0


def _right_positions(padding: Tensor, start: int, n_tokens: int) -> Tensor:
    return _within(padding, start, n_tokens).clamp(min=0)


def _shifted(shift: int, pads: int = 0) -> Positions:
    """Positions of text moved by ``shift``, pads at ``pads``."""

    def positions(padding: Tensor, start: int, n_tokens: int) -> Tensor:
        within = _within(padding, start, n_tokens)
        moved = (within + shift).clamp(min=0)
        return torch.where(within >= 0, moved, torch.full_like(within, pads))

    return positions


def _of_padding(change: Callable[[Tensor], Tensor]) -> Positions:
    """Right, but for another padding than the one given."""
    return lambda padding, start, n: _right_positions(change(padding), start, n)


POSITION_SUSPECTS: tuple[tuple[str, Positions], ...] = (
    (
        "the padding is not used: positions are counted from the left edge. Subtract"
        " each row's own padding.",
        lambda p, start, n: _columns(start, n).expand(len(p), -1),
    ),
    (
        "start is not used: every chunk begins at the left edge again. Count from start"
        " on.",
        lambda p, start, n: _right_positions(p, 0, n),
    ),
    (
        "start is added after the clamp. Subtract the padding from start + t, then"
        " clamp.",
        lambda p, start, n: start + _right_positions(p, 0, n),
    ),
    (
        "only start - padding is clamped, before t is added. Clamp at the end.",
        lambda p, start, n: (start - p).clamp(min=0)[:, None] + torch.arange(n),
    ),
    (
        "the padding is subtracted in the first chunk only. It is there for ever:"
        " subtract it whatever start is.",
        lambda p, start, n: _right_positions(p if start == 0 else 0 * p, start, n),
    ),
    (
        "the padding is added. Subtract it.",
        lambda p, start, n: _columns(start, n) + p[:, None],
    ),
    (
        "the padding is added. Subtract it.",
        lambda p, start, n: torch.where(
            _is_text(p, start, n), _columns(start, n) + p[:, None], 0
        ),
    ),
    (
        "pad tokens get negative positions. Clamp them at 0.",
        _within,
    ),
    (
        "pad tokens get position 1. Here they get 0.",
        _shifted(0, pads=1),
    ),
    (
        "pad tokens get position -1. Here they get 0.",
        _shifted(0, pads=-1),
    ),
    (
        "pad tokens count down to the text. They get 0: clamp, not abs.",
        lambda p, start, n: _within(p, start, n).abs(),
    ),
    (
        "pad tokens keep their column. They get 0.",
        lambda p, start, n: torch.where(
            _is_text(p, start, n), _within(p, start, n), _columns(start, n)
        ),
    ),
    (
        "positions are counted from 1, or columns from start + 1. The first token"
        " behind the padding has position 0.",
        _shifted(1),
    ),
    (
        "the first two tokens behind the padding both get 0. The second has 1.",
        _shifted(-1),
    ),
    (
        "the sign is turned round: padding - column. Take column - padding.",
        lambda p, start, n: (-_within(p, start, n)).clamp(min=0),
    ),
    (
        "the padding is taken to be at the right. Here it is at the left.",
        lambda p, start, n: torch.minimum(
            _columns(start, n), (start + n - 1 - p)[:, None]
        ),
    ),
    (
        "every row gets the largest padding. Each has its own.",
        _of_padding(lambda p: p.max().expand_as(p)),
    ),
    (
        "every row gets the smallest padding. Each has its own.",
        _of_padding(lambda p: p.min().expand_as(p)),
    ),
    (
        "every row gets the padding of the first. Each has its own.",
        _of_padding(lambda p: p[:1].expand_as(p)),
    ),
    (
        "every row gets the padding of the last. Each has its own.",
        _of_padding(lambda p: p[-1:].expand_as(p)),
    ),
    (
        "start counts twice. The columns are start, start + 1, ...",
        lambda p, start, n: _right_positions(p, 2 * start, n),
    ),
    (
        "the rows wrap round: a remainder (%) stands where a clamp belongs.",
        lambda p, start, n: _within(p, start, n) % (start + n),
    ),
    (
        "the padding is subtracted twice.",
        _of_padding(lambda p: 2 * p),
    ),
    (
        "every row begins with 0, whatever was read before. Behind the first chunk the"
        " count goes on.",
        lambda p, start, n: torch.arange(n).expand(len(p), -1),
    ),
    (
        "the text's tokens are counted from 0 again in every chunk. Count those that"
        " were read before, too: all start + n_tokens columns, then the last n_tokens.",
        lambda p, start, n: (_is_text(p, start, n).cumsum(-1) - 1).clamp(min=0),
    ),
)

PADDING_ERRORS = {
    "upper bound and lower bound inconsistent": (
        "arange takes where to begin and where to end, not how many: start, start +"
        " n_tokens."
    ),
    "must match the size of tensor": (
        "rows and columns do not meet: padding is (B,), the columns are (n_tokens,)."
        " Take padding[:, None]."
    ),
    "be broadcast": (
        "rows and columns do not meet: padding is (B,), the columns are (n_tokens,)."
        " Take padding[:, None]."
    ),
    "only integer tensors of a single element": (
        "padding holds one number for each row. Use it as a tensor, or row by row."
    ),
    "a Tensor with": (
        "padding holds one number for each row. Use it as a tensor, or row by row."
    ),
    "only one element tensors": (
        "padding holds one number for each row. Use it as a tensor, or row by row."
    ),
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
}


def _placed(function: Any, padding: Tensor, start: int, n_tokens: int) -> Tensor:
    """Call the reader's function; it must give (B, n_tokens) positions, int64."""
    hints = called_as(function, "positions(padding, start, n_tokens)") | PADDING_ERRORS
    result = attempt(function, padding, start, n_tokens, hints=hints)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    expected, shape = (len(padding), n_tokens), tuple(result.shape)
    if shape != expected:
        known = {
            expected[::-1]: "rows and columns have changed places",
            (n_tokens,): "one row for all. Each has its own padding",
            (len(padding), start + n_tokens): "the old columns too. Only the new ones",
            (len(padding), 1, n_tokens): "an axis too many",
        }
        told = f"the shape is {shape}, not {expected}"
        why = known.get(shape)
        raise FailedError(f"{told}: {why}." if why else f"{told}.")
    return result.detach()


def _places(function: Any, padding: Tensor, start: int, n_tokens: int) -> Tensor:
    """The same as int64: what kind of number they are is another property's word."""
    return _placed(function, padding, start, n_tokens).real.to(torch.int64)


def _name_the_place(function: Any) -> None:
    """Raise the hint of the suspect that the answers equal, if there is one."""
    answers = [_places(function, _padding(), *place) for place in PLACES]
    for hint, formula in POSITION_SUSPECTS:
        if all(
            torch.equal(answer, formula(_padding(), *place))
            for answer, place in zip(answers, PLACES, strict=True)
        ):
            raise FailedError(hint)


SHAPES = (
    (PADDING, 0, FIRST),
    (PADDING, FIRST, NEXT),
    (PADDING, FIRST, 1),
    ((0,), 0, 3),
    ((2,), 3, 1),
    ((0, 0, 4), 4, 5),
)
"""Padding, positions read and tokens to come, in batches of all sizes."""


def _leaves_alone(given: Tensor, padding: tuple[int, ...]) -> None:
    if given.tolist() != list(padding):
        raise FailedError("padding is changed in place. Make a new tensor instead.")


def _gives_positions(function: Any) -> None:
    for padding, start, n_tokens in SHAPES:
        given = torch.tensor(padding)
        result = _placed(function, given, start, n_tokens)
        if result.dtype != torch.int64:
            raise FailedError(f"positions are int64, but {result.dtype} came back.")
        _leaves_alone(given, padding)


def _counts_from_behind(function: Any) -> None:
    for padding in (_padding(), torch.tensor([0, 2]), torch.tensor([7])):
        text = _is_text(padding, 0, FIRST)
        given = _places(function, padding.clone(), 0, FIRST)
        wanted = _right_positions(padding, 0, FIRST)
        if not torch.equal(given[text], wanted[text]):
            _name_the_place(function)
            row = int(((given != wanted) & text).any(1).nonzero()[0])
            raise FailedError(
                f"{FIRST} tokens with {padding[row]} of padding: the text gets"
                f" {given[row][text[row]].tolist()}, not"
                f" {wanted[row][text[row]].tolist()}."
            )


def _puts_pads_at_zero(function: Any) -> None:
    pads = ~_is_text(_padding(), 0, FIRST)
    given = _places(function, _padding(), 0, FIRST)[pads]
    if given.any():
        _name_the_place(function)
        raise FailedError(f"pad tokens get {given.tolist()}. All get 0.")


def _goes_on_counting(function: Any) -> None:
    total = FIRST + NEXT
    whole = _places(function, _padding(), 0, total)
    for sizes in ((FIRST, NEXT), (2, 7, 6), (1,) * total):
        parts, start = [], 0
        for size in sizes:
            parts.append(_places(function, _padding(), start, size))
            start += size
        if not torch.equal(torch.cat(parts, dim=1), whole):
            _name_the_place(function)
            raise FailedError(
                f"{total} tokens read in chunks of {sizes} get other positions than"
                " read at once."
            )


def _takes_rows_alone(function: Any) -> None:
    for start, n_tokens in PLACES:
        together = _places(function, _padding(), start, n_tokens)
        for row in range(len(PADDING)):
            alone = _places(function, _padding()[row : row + 1], start, n_tokens)
            if not torch.equal(alone[0], together[row]):
                _name_the_place(function)
                raise FailedError(
                    "a row alone gets other positions than beside longer ones. Its own"
                    " padding decides, nothing else."
                )


PADDED_POSITIONS: tuple[Property, ...] = (
    ("(B, n_tokens) whole numbers, padding left alone", _gives_positions),
    ("behind the padding 0, 1, 2, ...", _counts_from_behind),
    ("pad tokens get 0", _puts_pads_at_zero),
    ("in any chunks the same positions as at once", _goes_on_counting),
    ("a row alone gets what it gets beside others", _takes_rows_alone),
)


def padded_positions(function: Any) -> Report:
    """Try ``function(padding, start, n_tokens) -> positions``, (B, n_tokens)."""
    return run(function, PADDED_POSITIONS)


# ------------------------------------------------------------------ padded_mask

Mask = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""True or False from (padding, query column, key column, start, n_tokens)."""


def _grid(formula: Mask, padding: Tensor, start: int, n_tokens: int) -> Tensor:
    """A rule about columns as a mask of shape (B, n_tokens, start + n_tokens)."""
    query = _columns(start, n_tokens)[:, None]
    key = torch.arange(start + n_tokens)
    seen = formula(padding[:, None, None], query, key, start, n_tokens)
    return seen.expand(len(padding), n_tokens, start + n_tokens)


def _right_mask(p: Tensor, q: Tensor, k: Tensor, start: int, n: int) -> Tensor:
    return (k >= p) & (k <= q)


def _with_padding(change: Callable[[Tensor], Tensor]) -> Mask:
    return lambda p, q, k, start, n: _right_mask(change(p), q, k, start, n)


MASK_SUSPECTS: tuple[tuple[str, Mask], ...] = (
    (
        "padding is seen. Hide the keys left of the text, the columns below padding;"
        " hiding the rows of pad queries does not do it.",
        lambda p, q, k, start, n: (k <= q) & (p >= 0),
    ),
    (
        "the future is seen. A query sees keys up to its own column, start + t.",
        lambda p, q, k, start, n: (k >= p) & (q >= 0),
    ),
    (
        "everything is seen. Hide the padding and the future: the two are joined with"
        " &, not |.",
        lambda p, q, k, start, n: (k >= 0) & (q >= 0) & (p >= 0),
    ),
    (
        "the mask is inverted: True must mean 'look'.",
        lambda p, q, k, start, n: ~_right_mask(p, q, k, start, n),
    ),
    (
        "a query also sees the next token. Its own column, start + t, is the last.",
        lambda p, q, k, start, n: (k >= p) & (k <= q + 1),
    ),
    (
        "a query does not see itself. Its own column belongs to the past: <=, not <.",
        lambda p, q, k, start, n: (k >= p) & (k < q),
    ),
    (
        "the last pad token is seen. Columns below padding are pads: key >= padding.",
        _with_padding(lambda p: p - 1),
    ),
    (
        "the first token of each text is hidden. It stands in column padding: >=, not"
        " >.",
        _with_padding(lambda p: p + 1),
    ),
    (
        "start is not used: the mask is aligned at the top left, and the first new"
        " query sees column 0 alone. Query t stands in column start + t.",
        lambda p, q, k, start, n: (k >= p) & (k <= q - start),
    ),
    (
        "what was read before is hidden. Queries see the old columns as well.",
        lambda p, q, k, start, n: (k >= p) & (k <= q) & (k >= start),
    ),
    (
        "padding is counted from start. It stands at the left of all that was read:"
        " column 0.",
        lambda p, q, k, start, n: (k >= p + start) & (k <= q),
    ),
    (
        "the padding is hidden in the first chunk only. It stays in the cache: hide it"
        " whatever start is.",
        lambda p, q, k, start, n: (k >= (p if start == 0 else 0 * p)) & (k <= q),
    ),
    (
        "the padding is taken to be at the right. Here it is at the left.",
        lambda p, q, k, start, n: (k < start + n - p) & (k <= q),
    ),
    (
        "every row hides the largest padding. Each has its own.",
        _with_padding(lambda p: p.max()[None, None, None].expand_as(p)),
    ),
    (
        "every row hides the smallest padding. Each has its own.",
        _with_padding(lambda p: p.min()[None, None, None].expand_as(p)),
    ),
    (
        "every row hides the padding of the first. Each has its own.",
        _with_padding(lambda p: p[:1].expand_as(p)),
    ),
    (
        "every row hides the padding of the last. Each has its own.",
        _with_padding(lambda p: p[-1:].expand_as(p)),
    ),
    (
        "the mask is upside down: a query sees itself and what comes later.",
        lambda p, q, k, start, n: (k >= p) & (k >= q),
    ),
    (
        "only padding is seen: the comparison with padding is turned round.",
        lambda p, q, k, start, n: (k < p) & (k <= q),
    ),
    (
        "a query sees what was read before and itself, but not the new ones before it.",
        lambda p, q, k, start, n: (k >= p) & ((k < start) | (k == q)),
    ),
    (
        "a query sees itself alone.",
        lambda p, q, k, start, n: (k == q) & (p >= 0),
    ),
    (
        "the new queries see what was read before, and nothing new.",
        lambda p, q, k, start, n: (k >= p) & (k < start) & (q >= 0),
    ),
    (
        "the padding is subtracted from the query's column, but not from the key's."
        " Compare column with column.",
        lambda p, q, k, start, n: (k >= p) & (k <= q - p),
    ),
    (
        "the padding is added to the query's column: it sees the future.",
        lambda p, q, k, start, n: (k >= p) & (k <= q + p),
    ),
    (
        "start counts twice: query t stands in column start + t.",
        lambda p, q, k, start, n: (k >= p) & (k <= q + start),
    ),
)


def _masked(function: Any, padding: Tensor, start: int, n_tokens: int) -> Tensor:
    """Call the reader's function; it must give (B, n_tokens, start + n_tokens)."""
    hints = called_as(function, "visible(padding, start, n_tokens)") | PADDING_ERRORS
    result = attempt(function, padding, start, n_tokens, hints=hints)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    n_texts, n_keys = len(padding), start + n_tokens
    expected, shape = (n_texts, n_tokens, n_keys), tuple(result.shape)
    if shape != expected:
        known = {
            (n_texts, 1, n_tokens, n_keys): "the axis of heads comes later",
            (n_texts, n_tokens, n_tokens): (
                "square. The keys that were read before have columns too: start +"
                " n_tokens"
            ),
            (n_texts, n_keys, n_keys): (
                "square. Only the new queries ask: take the last n_tokens rows"
            ),
            (n_texts, n_keys, n_tokens): "queries and keys have changed places",
            (n_tokens, n_keys): "one mask for all. Each row has its own padding",
            (1, n_tokens, n_keys): "one mask for all. Each row has its own padding",
            (n_texts, n_keys): "each query needs a row of its own",
            (n_texts, 1, n_keys): "each query needs a row of its own",
        }
        told = f"the shape is {shape}, not {expected}"
        why = known.get(shape)
        raise FailedError(f"{told}: {why}." if why else f"{told}.")
    return result.detach()


def _looks(function: Any, padding: Tensor, start: int, n_tokens: int) -> Tensor:
    """The same as bool: what kind of mask it is is another property's word."""
    mask = _masked(function, padding, start, n_tokens).real
    added = mask.is_floating_point() and bool((mask < 0).any())  # 0 and -inf
    return mask == 0 if added else mask.to(torch.bool)


def _name_the_mask(function: Any) -> None:
    answers = [_looks(function, _padding(), *place) for place in PLACES]
    for hint, formula in MASK_SUSPECTS:
        if all(
            torch.equal(_read(answer, place), _read(_suspected(formula, place), place))
            for answer, place in zip(answers, PLACES, strict=True)
        ):
            raise FailedError(hint)


def _suspected(formula: Mask, place: tuple[int, int]) -> Tensor:
    return _grid(formula, _padding(), *place)


def _read(mask: Tensor, place: tuple[int, int]) -> Tensor:
    """The rows that somebody reads: those of queries that are no pads."""
    return mask[_is_text(_padding(), *place)]


def _gives_a_mask(function: Any) -> None:
    for padding, start, n_tokens in SHAPES:
        given = torch.tensor(padding)
        result = _masked(function, given, start, n_tokens)
        if result.dtype != torch.bool:
            raise FailedError(
                f"the mask is boolean, but {result.dtype} came back. Compare columns,"
                " and join with &."
            )
        _leaves_alone(given, padding)


def _sees_its_own_past(function: Any) -> None:
    for padding in (_padding(), torch.tensor([0, 2]), torch.tensor([6])):
        given = _looks(function, padding.clone(), 0, FIRST)
        wanted = _grid(_right_mask, padding, 0, FIRST)
        text = _is_text(padding, 0, FIRST)
        if torch.equal(given[text], wanted[text]):
            continue
        _name_the_mask(function)
        b, t, s = ((given != wanted) & text[:, :, None]).nonzero()[0].tolist()
        see = "does not see" if wanted[b, t, s] else "sees"
        raise FailedError(
            f"with {padding[b]} of padding the query in column {t} {see} column {s}."
        )


def _hides_padding(function: Any) -> None:
    for place in PLACES:
        mask = _looks(function, _padding(), *place)
        pads = torch.arange(sum(place)) < _padding()[:, None]  # (B, start + n)
        text = _is_text(_padding(), *place)
        if (mask & pads[:, None, :] & text[:, :, None]).any():
            _name_the_mask(function)
            raise FailedError(
                "a text looks at its padding. Hide the columns below padding, in every"
                " chunk."
            )


def _goes_on_masking(function: Any) -> None:
    total = FIRST + NEXT
    whole = _looks(function, _padding(), 0, total)
    text = _is_text(_padding(), 0, total)
    for sizes in ((FIRST, NEXT), (2, 7, 6), (1,) * total):
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            part = _looks(function, _padding(), start, size)
            if not torch.equal(
                part[text[:, rows]], whole[:, rows, : start + size][text[:, rows]]
            ):
                _name_the_mask(function)
                raise FailedError(
                    f"{size} tokens behind {start} see something else than the same"
                    " tokens when all are read at once."
                )
            start += size


def _masks_rows_alone(function: Any) -> None:
    for place in PLACES:
        together = _looks(function, _padding(), *place)
        text = _is_text(_padding(), *place)
        for row in range(len(PADDING)):
            alone = _looks(function, _padding()[row : row + 1], *place)
            if not torch.equal(alone[0][text[row]], together[row][text[row]]):
                _name_the_mask(function)
                raise FailedError(
                    "a row alone sees something else than beside longer ones. Its own"
                    " padding decides, nothing else."
                )


PADDED_MASK: tuple[Property, ...] = (
    ("(B, n_tokens, start + n_tokens) of True and False", _gives_a_mask),
    ("at the start: each token sees its own text up to itself", _sees_its_own_past),
    ("no text looks at its padding, in no chunk", _hides_padding),
    ("in any chunks the same rows as at once", _goes_on_masking),
    ("a row alone sees what it sees beside others", _masks_rows_alone),
)


def padded_mask(function: Any) -> Report:
    """Try ``function(padding, start, n_tokens) -> mask``; True where a query looks."""
    return run(function, PADDED_MASK)


# ------------------------------------------------------------------ small tools


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal in shape and numbers; a cache may be wider than what it is given."""
    return a.shape == b.shape and torch.equal(a.double(), b.double())


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    """NaN counts as zero: a row without a single key gives the one or the other."""
    a, b = a.detach().double().nan_to_num(), b.detach().double().nan_to_num()
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
