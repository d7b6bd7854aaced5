"""Chapter 4: are a reader's pairs turned by the right angle, and weights converted?"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minillm.checks import FailedError, Property, Report, attempt, run

# ------------------------------------------------------------------ rotate

B, H, T, E = 2, 3, 5, 8
BASE = 60.0  # its square and its root are nobody's base
POSITIONS = (4, 0, 7, 1, 2)  # neither sorted nor counted from zero

Rotate = Callable[[Tensor, Tensor, float], Tensor]


def _vectors(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).float()


def _angles(positions: Tensor, base: float, size: int = E) -> Tensor:
    """Of shape (T, E/2): position times base ** (-2 i / E)."""
    pair = torch.arange(0, size, 2, dtype=torch.float64)
    return positions[:, None].double() * base ** (-pair / size)


def _turn(x: Tensor, angle: Tensor, sign: float = 1.0) -> Tensor:
    """Turn each pair of split halves; ``angle`` broadcasts to (B, H, T, E/2)."""
    a, b = x.double().chunk(2, dim=-1)
    cos, sin = angle.cos(), sign * angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _right(x: Tensor, positions: Tensor, base: float) -> Tensor:
    return _turn(x, _angles(positions, base, x.shape[-1]))


def _neighbours(x: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x.double()[..., 0::2], x.double()[..., 1::2]
    return a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()


def _woven(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a, b], dim=-1).flatten(-2)


def _with_table(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The field's usual form: x cos + rotate_half(x) sin, both tables (T, E)."""
    a, b = x.double().chunk(2, dim=-1)
    return x.double() * cos + torch.cat([-b, a], dim=-1) * sin


def _mixed(x: Tensor, p: Tensor, base: float) -> Tensor:
    table = _angles(p, base).repeat_interleave(2, dim=-1)
    return _with_table(x, table.cos(), table.sin())


def _mixed_otherwise(x: Tensor, p: Tensor, base: float) -> Tensor:
    table = torch.cat([_angles(p, base)] * 2, dim=-1)
    a, b = x.double()[..., 0::2], x.double()[..., 1::2]
    return x.double() * table.cos() + _woven(-b, a) * table.sin()


def _no_minus(x: Tensor, p: Tensor, base: float) -> Tensor:
    a, b = x.double().chunk(2, dim=-1)
    cos, sin = _angles(p, base).cos(), _angles(p, base).sin()
    return torch.cat([a * cos + b * sin, a * sin + b * cos], dim=-1)


def _overwritten(x: Tensor, p: Tensor, base: float) -> Tensor:
    a, b = x.double().chunk(2, dim=-1)
    cos, sin = _angles(p, base).cos(), _angles(p, base).sin()
    a = a * cos - b * sin
    return torch.cat([a, a * sin + b * cos], dim=-1)


def _swapped(x: Tensor, p: Tensor, base: float) -> Tensor:
    a, b = x.double().chunk(2, dim=-1)
    cos, sin = _angles(p, base).cos(), _angles(p, base).sin()
    return torch.cat([a * sin - b * cos, a * cos + b * sin], dim=-1)


def _halves_swapped(x: Tensor, p: Tensor, base: float) -> Tensor:
    return _right(x, p, base).roll(E // 2, -1)


def _only_first_half(x: Tensor, p: Tensor, base: float) -> Tensor:
    angle = _angles(p, base)
    angle[:, E // 4 :] = 0
    return _turn(x, angle)


def _partial(x: Tensor, p: Tensor, base: float) -> Tensor:
    front = _turn(x[..., : E // 2], _angles(p, base, E // 2))
    return torch.cat([front, x[..., E // 2 :].double()], dim=-1)


def _added(x: Tensor, p: Tensor, base: float) -> Tensor:
    angle = _angles(p, base)
    return x.double() + torch.cat([angle.cos(), angle.sin()], dim=-1)


def _of_angles(change: Callable[[Tensor, float], Tensor]) -> Rotate:
    """A suspect that turns split halves, but by other angles."""
    return lambda x, p, base: _turn(x, change(p, base))


def _powers(p: Tensor, powers: Tensor, base: float) -> Tensor:
    return p[:, None].double() * base ** powers.double()


PAIR = torch.arange(E // 2)

# A wrong rotation that equals one of these has told us its name.
ROTATE_SUSPECTS: tuple[tuple[str, Rotate], ...] = (
    (
        "pairs are neighbours (2i, 2i+1): the interleaved layout of the paper and of"
        " Meta. Here the two of a pair stand E/2 apart.",
        lambda x, p, base: _woven(*_neighbours(x, _angles(p, base))),
    ),
    (
        "the pairs are read as neighbours and written as halves. Read halves too.",
        lambda x, p, base: torch.cat(_neighbours(x, _angles(p, base)), dim=-1),
    ),
    (
        "the pairs are read as halves and written as neighbours: use cat, not stack.",
        lambda x, p, base: _woven(*_right(x, p, base).chunk(2, dim=-1)),
    ),
    (
        "two layouts are mixed: the angles are repeated for neighbours (a a b b), the"
        " pairs are halves. Repeat them as a b a b.",
        _mixed,
    ),
    (
        "two layouts are mixed: the angles are repeated for halves (a b a b), the"
        " pairs are neighbours. Pair x[i] with x[i + E/2].",
        _mixed_otherwise,
    ),
    (
        "the pairs turn clockwise: the sign of the sine is wrong. First a cos - b sin,"
        " second a sin + b cos.",
        lambda x, p, base: _turn(x, _angles(p, base), -1.0),
    ),
    (
        "a minus is missing: a cos + b sin does not turn. It is a cos - b sin.",
        _no_minus,
    ),
    (
        "the second of a pair is computed from the first one already turned. Keep the"
        " old value until both are done.",
        _overwritten,
    ),
    ("sine and cosine are swapped. At position 0 nothing may change.", _swapped),
    (
        "the two halves come back in the wrong order: first a cos - b sin, then the"
        " other.",
        _halves_swapped,
    ),
    (
        "only the cosine is used, so pairs shrink instead of turning.",
        lambda x, p, base: _with_table(
            x, torch.cat([_angles(p, base)] * 2, -1).cos(), torch.zeros(T, E)
        ),
    ),
    (
        "only some of the pairs turn. Every one does, each at its own speed.",
        _only_first_half,
    ),
    ("only half of the head is rotated. All E numbers form pairs.", _partial),
    ("sines and cosines are added to x. Rotate instead: multiply.", _added),
    ("x comes back as it was: nothing turns.", lambda x, p, base: x.double()),
    (
        "the pairs are turned twice: the angles are twice as large.",
        _of_angles(lambda p, base: 2 * _angles(p, base)),
    ),
    (
        "the exponent is i/E, not 2i/E: the frequencies fall half as fast as asked.",
        _of_angles(lambda p, base: _powers(p, -PAIR / E, base)),
    ),
    (
        "the exponent is 4i/E, not 2i/E: divide 2i by E, not by E/2.",
        _of_angles(lambda p, base: _powers(p, -4 * PAIR / E, base)),
    ),
    (
        "the exponent's sign is wrong: later pairs turn more slowly, base**(-2i/E).",
        _of_angles(lambda p, base: _powers(p, 2 * PAIR / E, base)),
    ),
    (
        "pairs are counted from 1, not from 0: the first turns by 1 radian a position.",
        _of_angles(lambda p, base: _powers(p, -2 * (PAIR + 1) / E, base)),
    ),
    (
        "the last pair turns by 1/base: the exponent reaches 1. It is 2i/E, i < E/2.",
        _of_angles(lambda p, base: _powers(p, -PAIR / (E // 2 - 1), base)),
    ),
    (
        "the frequencies stand in reverse order: pair 0 is the fastest.",
        _of_angles(lambda p, base: _angles(p, base).flip(-1)),
    ),
    (
        "all pairs turn at the same speed. Pair i turns by base**(-2i/E) a position.",
        _of_angles(lambda p, base: p[:, None].double().expand(-1, E // 2)),
    ),
    (
        "frequencies are linear in i. They are powers: base**(-2i/E).",
        _of_angles(lambda p, base: p[:, None] / (base * 2 * PAIR / E).clamp(min=1)),
    ),
    (
        "the base is ignored: 10000 stands in the code. Use the argument.",
        _of_angles(lambda p, base: _angles(p, 10_000.0)),
    ),
    (
        "the base is ignored: 500000 stands in the code. Use the argument.",
        _of_angles(lambda p, base: _angles(p, 500_000.0)),
    ),
    (
        "angles are in degrees. cos and sin take radians.",
        _of_angles(lambda p, base: _angles(p, base).deg2rad()),
    ),
    (
        "angles are counted in whole turns: no factor of 2 pi is needed.",
        _of_angles(lambda p, base: 2 * math.pi * _angles(p, base)),
    ),
    (
        "the positions are not used: x is turned as if they were 0, 1, 2, ...",
        _of_angles(lambda p, base: _angles(torch.arange(T), base)),
    ),
    (
        "positions are counted from 1. Add nothing: position 0 is not turned.",
        _of_angles(lambda p, base: _angles(p + 1, base)),
    ),
    (
        "positions are taken relative to the first. Use them as they are.",
        _of_angles(lambda p, base: _angles(p - p[0], base)),
    ),
    (
        "only the first position is used, the others are counted on from it. Each row"
        " has its own.",
        _of_angles(lambda p, base: _angles(p[0] + torch.arange(T), base)),
    ),
    (
        "the positions are sorted. Each row has its own, in the order given.",
        _of_angles(lambda p, base: _angles(p.sort().values, base)),
    ),
    (
        "the exponent is divided by d_model = H E, as if all heads were one. Every"
        " head has the same frequencies.",
        lambda x, p, base: _turn(
            x, _angles(p, base, H * E).view(T, H, E // 2).transpose(0, 1)
        ),
    ),
    (
        "each head is turned by its number: axis 1 is the head, axis 2 the position.",
        lambda x, p, base: _turn(x, _angles(torch.arange(H), base)[:, None]),
    ),
)

MIXED = "dtypes are mixed. Widen x first, and cast back at the end."
ROTATE_ERRORS = {
    "size of tensor": "shapes do not fit: cos and sin are (T, E/2), x is (B, H, T, E).",
    "be broadcast": "shapes do not fit: cos and sin are (T, E/2), x is (B, H, T, E).",
    "out of bounds": "a table of angles is too short for a position. Compute them.",
    "out of range": "a table of angles is too short for a position. Compute them.",
    "ComplexHalf": "complex numbers need float32. Widen x, and cast back at the end.",
    "view_as_complex": "view_as_complex needs float32, and pairs in the last axis of"
    " size 2. Widen x and stack the halves, or write out cos and sin.",
    "expected scalar type": MIXED,
    "same dtype": MIXED,
    "inplace": "x is changed in place. Make a new tensor instead.",
    "in-place": "x is changed in place. Make a new tensor instead.",
    "view size is not": "x need not be contiguous: it comes from a transpose. Use"
    " reshape instead of view.",
    "is a view": "x is changed in place. Make a new tensor instead.",
}


def _rotated(function: Any, x: Tensor, positions: Tensor, base: float = BASE) -> Tensor:
    """Call the reader's function; it must give a tensor like ``x``."""
    result = attempt(function, x, positions, base, hints=ROTATE_ERRORS)
    if isinstance(result, tuple | list):
        raise FailedError("several things came back. Return the rotated x alone.")
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.is_complex():
        raise FailedError("complex numbers came back. Write them as pairs: E reals.")
    if result.shape != x.shape:
        raise FailedError(
            f"the shape is {tuple(result.shape)}, not that of x, {tuple(x.shape)}."
        )
    return result


def _probe() -> tuple[Tensor, Tensor]:
    return _vectors(B, H, T, E), torch.tensor(POSITIONS)


def _keeps_shape_and_dtype(function: Any) -> None:
    for shape in ((B, H, T, E), (1, 2, 1, 6), (1, 1, 3, 2)):
        _rotated(function, _vectors(*shape), torch.arange(shape[2]))
    _rotated(function, _vectors(B, T, H, E).transpose(1, 2), torch.arange(T))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x = _vectors(B, H, T, E).to(dtype)
        result = _rotated(function, x, torch.arange(T))
        if result.dtype != dtype:
            raise FailedError(
                f"{dtype} went in, {result.dtype} came out. Cast back to x.dtype."
            )


def _follows_the_formula(function: Any) -> None:
    x, positions = _probe()
    result = _rotated(function, x.clone(), positions.clone())
    if not _close(result, _right(x, positions, BASE)):
        for hint, formula in ROTATE_SUSPECTS:
            if _close(result, formula(x, positions, BASE)):
                raise FailedError(hint)
        for shift in (1, -1):
            if _close(result, _right(x, positions.roll(shift), BASE)):
                raise FailedError("rows are turned by their neighbours' positions.")
        raise FailedError("the numbers are not (a cos - b sin, a sin + b cos).")
    other = 10_000.0
    result = _rotated(function, x.clone(), positions.clone(), other)
    if not _close(result, _right(x, positions, other)):
        if _close(result, _right(x, positions, BASE)):
            raise FailedError("the base of an earlier call is kept. Keep no table.")
        raise FailedError("another base than in the last call gives wrong angles.")
    wide = _vectors(1, 2, T, 12, seed=2)
    if not _close(
        _rotated(function, wide.clone(), positions), _right(wide, positions, BASE)
    ):
        raise FailedError("heads of another width than in the last call go wrong.")


def _keeps_lengths(function: Any) -> None:
    x, positions = _probe()
    result = _rotated(function, x.clone(), positions)
    if not _close(result[:, :, 1], x[:, :, 1]):  # whose position is 0
        raise FailedError("position 0 is an angle of 0, but something changed there.")
    if not _close(result.norm(dim=-1), x.norm(dim=-1)):
        raise FailedError("vectors change their length. A rotation does not do that.")


def _scores_depend_on_distance(function: Any) -> None:
    q, k = _vectors(1, 1, 1, E, seed=3), _vectors(1, 1, 1, E, seed=4)

    def score(query_at: int, key_at: int) -> Tensor:
        turned = _rotated(function, q.clone(), torch.tensor([query_at]))
        other = _rotated(function, k.clone(), torch.tensor([key_at]))
        return (turned * other).sum()

    near = score(5, 2)
    if not _close(score(105, 102), near, 1e-4):
        raise FailedError(
            "the score of a query and a key changes when both move on by 100. Only"
            " their distance may count."
        )
    if _close(score(5, 3), near, 1e-4) and _close(score(9, 2), near, 1e-4):
        raise FailedError("the score does not depend on the distance at all.")


def _takes_each_position_alone(function: Any) -> None:
    x, positions = _probe()
    whole = _rotated(function, x.clone(), positions.clone())
    for t in range(T):
        alone = _rotated(function, x[:, :, t : t + 1].clone(), positions[t : t + 1])
        if not _close(alone, whole[:, :, t : t + 1]):
            raise FailedError(
                "a vector alone is turned otherwise than beside others: the given"
                " positions are not used, or rows are mixed."
            )
    one = _rotated(function, x[:1, :1].clone(), positions.clone())
    if not _close(one, whole[:1, :1]):
        raise FailedError("a head alone is turned otherwise than beside others.")


def _widens_angles(function: Any) -> None:
    positions = torch.tensor([0, 257, 1027, 4099])
    for dtype in (torch.bfloat16, torch.float16):
        x = _vectors(1, 2, 4, E, seed=5).to(dtype)
        narrow = _rotated(function, x.clone(), positions, 10_000.0)
        wide = _rotated(function, x.float(), positions, 10_000.0)
        if not _close(narrow.float(), wide, 0.05):
            name = str(dtype).removeprefix("torch.")
            raise FailedError(
                f"in {name} the angles are rounded: at position 4099 they are"
                " noise. Take positions, frequencies and angles in float32."
            )
    x, (far, there) = _vectors(1, 2, 1, E, seed=5), (4000, 99)
    stages = x
    for step in (far, there):
        stages = _rotated(function, stages.clone(), torch.tensor([step]), 10_000.0)
    at_once = _rotated(function, x, torch.tensor([far + there]), 10_000.0)
    if not _close(stages, at_once, 0.02):
        raise FailedError(
            "turning by 4000 and then by 99 is not turning by 4099: far positions are"
            " clamped, or their angles are wrong in float32 too."
        )


def _leaves_x_alone(function: Any) -> None:
    x, positions = _probe()
    kept = x.clone(), positions.clone()
    _rotated(function, x, positions)
    if not torch.equal(x, kept[0]):
        raise FailedError("x is changed in place. Make a new tensor instead.")
    if not torch.equal(positions, kept[1]):
        raise FailedError("the positions are changed in place. Make a new tensor.")
    leaf = x.clone().requires_grad_()
    result = _rotated(function, leaf * 1.0, positions)
    along = _vectors(B, H, T, E, seed=6)
    slope = None
    if result.requires_grad:
        slope = torch.autograd.grad((result * along).sum(), leaf, allow_unused=True)[0]
    if slope is None:
        raise FailedError("no gradient reaches x. Remove no_grad and detach.")
    step = _vectors(B, H, T, E, seed=7)
    with torch.no_grad():
        up = (_rotated(function, x + step, positions) * along).sum()
        down = (_rotated(function, x - step, positions) * along).sum()
    if not _close((slope * step).sum(), (up - down) / 2, 1e-3):
        raise FailedError("part of the gradient is lost. Detach nothing.")


ROTATE: tuple[Property, ...] = (
    ("shape and dtype of x are kept", _keeps_shape_and_dtype),
    ("each pair (i, i + E/2) turned by position * base**(-2i/E)", _follows_the_formula),
    ("position 0 changes nothing, and lengths are kept", _keeps_lengths),
    ("a score depends on the distance alone", _scores_depend_on_distance),
    ("each vector is turned by its own position", _takes_each_position_alone),
    ("half precision gets exact angles, at position 4099 too", _widens_angles),
    ("the gradient is right, x is left alone", _leaves_x_alone),
)


def rotate(function: Any) -> Report:
    """Try ``function(x, positions, base) -> x``, from (B, H, T, E) to the same."""
    return run(function, ROTATE)


# ------------------------------------------------------------------ to_split_half

N_HEADS, D_HEAD, D = 3, 10, 7  # the reordering of 10 rows is not its own inverse

Convert = Callable[[Tensor, int], Tensor]


def _by_head(weight: Tensor, n_heads: int, order: list[int]) -> Tensor:
    heads = weight.reshape(n_heads, -1, *weight.shape[1:])
    return heads[:, order].reshape(weight.shape)


def _halves(size: int) -> list[int]:
    return [*range(0, size, 2), *range(1, size, 2)]


def _weave(size: int) -> list[int]:
    return [half * (size // 2) + i for i in range(size // 2) for half in (0, 1)]


def _converted(weight: Tensor, n_heads: int) -> Tensor:
    return _by_head(weight, n_heads, _halves(len(weight) // n_heads))


def _columns(weight: Tensor, n_heads: int) -> Tensor:
    return torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)


def _swapped_pairs(weight: Tensor) -> Tensor:
    return weight.reshape(-1, 2, weight.shape[1]).flip(1).reshape(weight.shape)


def _heads_inside(weight: Tensor, n_heads: int) -> Tensor:
    """Rows read as (E/2, 2, n_heads), as if the heads were the last axis."""
    rows = weight.reshape(-1, 2, n_heads, weight.shape[1])
    return rows.transpose(0, 1).reshape(weight.shape)


CONVERT_SUSPECTS: tuple[tuple[str, Convert], ...] = (
    ("the matrix comes back as it was.", lambda w, n: w),
    (
        "this is the way back, from split halves to neighbours. Put the even rows"
        " first: view as (E/2, 2), not as (2, E/2).",
        lambda w, n: _by_head(w, n, _weave(len(w) // n)),
    ),
    (
        "the rows are reordered across heads. Do it within each head.",
        lambda w, n: w[_halves(len(w))],
    ),
    (
        "the way back is taken, and across heads. Reorder within each head.",
        lambda w, n: w[_weave(len(w))],
    ),
    (
        "the rows are read as if heads were the innermost axis. Head 0 comes first.",
        _heads_inside,
    ),
    (
        "the odd rows come first. Rows 0, 2, 4, ... are the first of their pairs.",
        lambda w, n: _converted(_swapped_pairs(w), n),
    ),
    (
        "the columns are reordered. An output feature is a row.",
        _columns,
    ),
    (
        "the two of each pair are swapped. Nothing but their places changes: evens"
        " first, then odds.",
        lambda w, n: _swapped_pairs(w),
    ),
    (
        "the halves of a head are swapped. Even rows first, then odd rows.",
        lambda w, n: w.reshape(n, 2, -1, w.shape[1]).flip(1).reshape(w.shape),
    ),
    (
        "the rows are reordered twice.",
        lambda w, n: _converted(_converted(w, n), n),
    ),
    (
        "the rows of a head come in reverse order.",
        lambda w, n: w.reshape(n, -1, w.shape[1]).flip(1).reshape(w.shape),
    ),
    (
        "the heads come in reverse order. Each stays in its place.",
        lambda w, n: (
            _converted(w, n).reshape(n, -1, w.shape[1]).flip(0).reshape(w.shape)
        ),
    ),
    (
        "only the first head is reordered. Every head needs it.",
        lambda w, n: torch.cat(
            [_converted(w[: len(w) // n], 1), w[len(w) // n :]], dim=0
        ),
    ),
    (
        "the signs of the odd rows are changed. Rows only move.",
        lambda w, n: _converted(
            w * torch.tensor([1.0, -1.0]).repeat(len(w) // 2)[:, None], n
        ),
    ),
)

CONVERT_ERRORS = {
    "is invalid for input": "the rows do not divide so: a head has rows / n_heads of"
    " them. The columns (D) and the number of heads say nothing about E.",
    "view size is not": "a transposed tensor needs reshape instead of view.",
    "out of bounds": "an index runs off the rows. A head has rows / n_heads of them.",
    "inplace": "the matrix is changed in place. Make a new one instead.",
    "in-place": "the matrix is changed in place. Make a new one instead.",
}


def _new_weight(function: Any, weight: Tensor, n_heads: int) -> Tensor:
    """Call the reader's function; it must give a matrix like ``weight``."""
    result = attempt(function, weight, n_heads, hints=CONVERT_ERRORS)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape != weight.shape:
        if result.shape == weight.T.shape:
            raise FailedError("the matrix comes back transposed.")
        if result.numel() == weight.numel():
            raise FailedError(
                f"the shape is {tuple(result.shape)}. Flatten the heads again:"
                f" {tuple(weight.shape)}."
            )
        raise FailedError(
            f"the shape is {tuple(result.shape)}, not {tuple(weight.shape)}."
        )
    return result.detach()


def _weight() -> Tensor:
    return _vectors(N_HEADS * D_HEAD, D, seed=8)


def _keeps_the_matrix(function: Any) -> None:
    for n_heads, d_head in ((N_HEADS, D_HEAD), (1, 6), (4, 2)):
        weight = _vectors(n_heads * d_head, D)
        for dtype in (torch.float32, torch.bfloat16):
            result = _new_weight(function, weight.to(dtype), n_heads)
            if result.dtype != dtype:
                raise FailedError(f"{dtype} went in, {result.dtype} came out.")
    weight = _weight()
    _new_weight(function, weight, N_HEADS)
    if not torch.equal(weight, _weight()):
        raise FailedError("the matrix is changed in place. Make a new one instead.")


def _reorders_rows(function: Any) -> None:
    weight = _weight()
    result = _new_weight(function, weight.clone(), N_HEADS)
    if not _close(result, _converted(weight, N_HEADS)):
        for hint, formula in CONVERT_SUSPECTS:
            if _close(result, formula(weight, N_HEADS)):
                raise FailedError(hint)
        raise FailedError("a head's rows do not come as 0, 2, 4, ..., 1, 3, 5, ...")
    numbers = torch.arange(24.0)[:, None]
    expected = _converted(numbers, 2)
    if not _close(_new_weight(function, numbers.clone(), 2), expected):
        raise FailedError("another number of heads goes wrong. Use n_heads.")


def _only_moves_rows(function: Any) -> None:
    weight = _weight()
    result = _new_weight(function, weight.clone(), N_HEADS)
    if not _close(result.sort(dim=0).values, weight.sort(dim=0).values):
        raise FailedError("rows are changed, lost or doubled. They may only move.")


def _keeps_heads_apart(function: Any) -> None:
    weight = _weight()
    whole = _new_weight(function, weight.clone(), N_HEADS)
    alone = [_new_weight(function, head.clone(), 1) for head in weight.chunk(N_HEADS)]
    if not _close(whole, torch.cat(alone)):
        raise FailedError("a head alone is converted otherwise than beside others.")


def _keeps_scores(function: Any) -> None:
    """Neighbours turned with the old matrices, halves with the new: equal scores."""
    x = _vectors(T, D, seed=9).double()
    query, key = _weight(), _vectors(N_HEADS * D_HEAD, D, seed=10)
    angle = _angles(torch.arange(T), BASE, D_HEAD)

    def heads(weight: Tensor) -> Tensor:
        return (x @ weight.double().T).view(T, N_HEADS, D_HEAD).transpose(0, 1)

    old = [_woven(*_neighbours(heads(weight), angle)) for weight in (query, key)]
    new = [
        _turn(heads(_new_weight(function, weight.clone(), N_HEADS)), angle)
        for weight in (query, key)
    ]
    if not _close(new[0] @ new[0].mT, old[0] @ old[0].mT, 1e-4) or not _close(
        new[0] @ new[1].mT, old[0] @ old[1].mT, 1e-4
    ):
        raise FailedError(
            "the attention scores change. Position 0 alone would hide it: there"
            " nothing is turned."
        )


TO_SPLIT_HALF: tuple[Property, ...] = (
    ("a matrix of the same shape and dtype, the old one left alone", _keeps_the_matrix),
    ("within each head the rows 0, 2, 4, ..., then 1, 3, 5, ...", _reorders_rows),
    ("rows only move", _only_moves_rows),
    ("a head alone gives what it gives beside others", _keeps_heads_apart),
    ("neighbours with the old, halves with the new: same scores", _keeps_scores),
)


def to_split_half(function: Any) -> Report:
    """Try ``function(weight, n_heads) -> weight``, rows of pairs to rows of halves."""
    return run(function, TO_SPLIT_HALF)


# ------------------------------------------------------------------ small tools


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
