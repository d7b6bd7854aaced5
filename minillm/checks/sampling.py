"""Chapter 11: are the right tokens kept, and one of them drawn?"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Generator, Tensor

from minillm.checks import FailedError, NotStartedError, Property, Report, attempt, run
from minillm.checks.bigram import FAR, SEED_OF_ZERO
from minillm.checks.gpt import IN_PLACE
from minillm.checks.kvcache import called_as

Filter = Callable[[Tensor], Tensor]

# ------------------------------------------------------------------ both filters


def _cut(scores: Tensor, kept: Tensor, value: float = -math.inf) -> Tensor:
    return scores.masked_fill(~kept, value)


def _order(scores: Tensor) -> Tensor:
    """Ids, best first; among equals the lower id first."""
    return scores.sort(dim=-1, descending=True, stable=True).indices


def _rank(scores: Tensor) -> Tensor:
    """0 for the best token of each row, V - 1 for the worst."""
    return _order(scores).argsort(-1)


def _kept(result: Tensor) -> Tensor:
    return result > -math.inf


def _told(kept: Tensor) -> str:
    """The ids that one row keeps, in words."""
    ids = kept.nonzero().flatten().tolist()
    return ("tokens " + ", ".join(map(str, ids))) if ids else "no token"


def _batch(n_rows: int, n_tokens: int, seed: int = 1) -> Tensor:
    return 1.5 * _noise(seed, n_rows, n_tokens) - 0.4


FILTER_ERRORS = {
    "sort() takes": (
        "it raised TypeError: sort and argsort take stable=True beside names only:"
        " sort(dim=-1, descending=True, stable=True)."
    ),
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
    "must match the size of tensor": (
        "shapes do not fit. A threshold for each row is (B, 1): use keepdim=True."
    ),
    "Boolean value of Tensor with more than one": (
        "a tensor has no truth. Compare all rows at once, with torch.where or a mask."
    ),
}


def _filter(function: Any, scores: Tensor, setting: float, name: str) -> Tensor:
    """Call the reader's function; it must give a tensor of scores of that shape."""
    hints = called_as(function, name)
    beyond = (
        "an index runs past the last token. k may be larger than V, and then all stay."
        if name == CALL_K
        else "an index runs past the end. Ids belong to the last axis: gather or"
        " scatter along -1, where [order] would take rows."
    )
    hints |= {"out of range": beyond, "out of bounds": beyond, **FILTER_ERRORS}
    result = attempt(function, scores, setting, hints=hints)
    if isinstance(result, tuple | list):
        raise FailedError("several things came back. Return the scores alone: (B, V).")
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    expected, shape = tuple(scores.shape), tuple(result.shape)
    if shape == expected:
        if result.is_complex():
            raise FailedError(f"{result.dtype} came back. Scores are real.")
        return result.detach()
    told = f"the shape is {shape}, not {expected}"
    if len(shape) == 2 and shape[0] == expected[0] and shape[1] < expected[1]:
        raise FailedError(
            f"{told}: the tokens ruled out are dropped, and ids lose their meaning. Put"
            " -inf in their places."
        )
    if shape == expected[1:]:
        raise FailedError(f"{told}: one row came back. Every row has its own.")
    raise FailedError(f"{told}.")


def _accepts_shapes(function: Any, setting: float, name: str) -> None:
    for n_rows, n_tokens in ((3, 7), (1, 9), (5, 4)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            scores = _batch(n_rows, n_tokens).to(dtype)
            given = scores.clone()
            result = _filter(function, given, setting, name)
            if not torch.equal(given, scores):
                raise FailedError(
                    "the scores are changed in place. Make a new tensor instead."
                )
            if result.dtype == torch.bool:
                raise FailedError("a mask came back. Return scores, -inf where False.")
            if result.dtype != dtype:
                raise FailedError(f"{dtype} goes in, {result.dtype} comes out.")


def _compare(
    result: Tensor,
    scores: Tensor,
    kept: Tensor,
    suspects: Sequence[tuple[str, Filter]],
) -> None:
    """Raise the hint that fits if ``result`` is not ``scores`` cut to ``kept``."""
    if torch.equal(result, _cut(scores, kept)):
        return
    for hint, formula in suspects:
        if _close(result, formula(scores)):
            raise FailedError(hint)
    if _close(result, _cut(scores, kept)):
        raise FailedError(
            "kept scores are changed in their last digits. Copy them as they are."
        )
    others = result[~kept]
    if torch.equal(result[kept], scores[kept]) and (others == others[0]).all():
        raise FailedError(
            f"the right tokens are ruled out, but with {others[0].item():g}. Use -inf:"
            " only that gives a probability of exactly 0."
        )
    if torch.equal(_kept(result), kept):
        raise FailedError(
            "the right tokens stay, but their scores are changed. Copy them as they"
            " are."
        )
    row = int((_kept(result) != kept).any(1).nonzero()[0])
    raise FailedError(
        f"row {row} keeps {_told(_kept(result)[row])}. It should keep"
        f" {_told(kept[row])}."
    )


def _refuses(function: Any, setting: float, name: str, rule: str) -> None:
    try:
        function(_batch(2, 5), setting)
    except ValueError:
        return
    except NotImplementedError as error:
        raise NotStartedError from error
    except (Exception, SystemExit) as error:
        raise FailedError(
            f"{name} = {setting} raises {type(error).__name__}, not ValueError. {rule}"
        ) from error
    raise FailedError(f"{name} = {setting} raises no ValueError. {rule}")


EQUALS_STAY = (
    "all tokens as good as the last one kept stay as well. A threshold keeps equals:"
    " choose by rank, and among equals the lower ids."
)
TIES: tuple[tuple[float, ...], ...] = (
    (2, 5, 5, 5, 1, 5, 0, 5),
    (3, 3, 3, 3, 3, 3, 3, 3),
    (-1, 0, 4, 0, -1, 0, 0, -1),
    (1,) * 40,  # sorting so many moves equals, if it is not asked to be stable
)


def _breaks_ties(function: Any, settings: Sequence[float], name: str) -> None:
    """The same tokens as if each id were a hair better than the next."""
    for values in TIES:
        tied = torch.tensor([values], dtype=torch.float32)
        apart = tied - 1e-4 * torch.arange(len(values))
        for setting in settings:
            given = _kept(_filter(function, tied.clone(), setting, name))[0]
            wanted = _kept(_filter(function, apart.clone(), setting, name))[0]
            if torch.equal(given, wanted):
                continue
            if given.sum() > wanted.sum():
                raise FailedError(EQUALS_STAY)
            if given.sum() < wanted.sum():
                raise FailedError(
                    "all tokens as good as the last one kept are lost. A threshold"
                    " drops equals: choose by rank, and among equals the lower ids."
                )
            raise FailedError(
                f"among equals {_told(given)} stay, not {_told(wanted)}: lower ids come"
                " first. Neither topk nor sort promise that, only"
                " sort(descending=True, stable=True)."
            )


def _takes_rows_alone(function: Any, setting: float, name: str) -> None:
    scores = _batch(4, 7, seed=3) * torch.tensor([[0.3], [1.0], [2.0], [4.0]])
    together = _filter(function, scores.clone(), setting, name)
    for row in range(len(scores)):
        alone = _filter(function, scores[row : row + 1].clone(), setting, name)
        if not _close(alone[0], together[row]):
            raise FailedError(
                "a row alone keeps other tokens than beside others. Work along the last"
                " axis: dim=-1."
            )


# ------------------------------------------------------------------ keep_top_k

B, V, TOP = 3, 9, 3
CALL_K = "keep_top_k(logits, k)"


def _scores() -> Tensor:
    return _batch(B, V, seed=3)


def _best(scores: Tensor, k: int = TOP) -> Tensor:
    return _rank(scores) < k


def _first_row_only(formula: Filter) -> Filter:
    return lambda z: torch.cat([formula(z[:1]), z[1:]])


TOP_K_SUSPECTS: tuple[tuple[str, Filter], ...] = (
    (
        "one token too many stays: k + 1 of them. Is the threshold the next score?",
        lambda z: _cut(z, _best(z, TOP + 1)),
    ),
    (
        "the k-th best is lost: k - 1 stay. Drop what is below the k-th (<), not what"
        " equals it (<=).",
        lambda z: _cut(z, _best(z, TOP - 1)),
    ),
    (
        "the k worst stay: the sort is ascending. Use descending=True.",
        lambda z: _cut(z, _best(-z)),
    ),
    (
        "the k best are removed, and the others stay. Turn the mask round.",
        lambda z: _cut(z, ~_best(z)),
    ),
    (
        "the k worst are removed, and all others stay: the sort is ascending.",
        lambda z: _cut(z, ~_best(-z)),
    ),
    (
        "the scores come back sorted, so that an id no longer names its token. Put each"
        " back into its place: scatter.",
        lambda z: _cut(z, _best(z)).sort(-1, descending=True).values,
    ),
    (
        "order[i] is the id of the i-th best; it is read as the rank of token i."
        " Rule out the tokens order[:, k:], with scatter.",
        lambda z: _cut(z, _order(z) < TOP),
    ),
    (
        "the mask belongs to the sorted scores, but is laid on those in the order of"
        " ids: the first k ids stay.",
        lambda z: _cut(z, torch.arange(V).expand_as(z) < TOP),
    ),
    ("nothing is ruled out.", lambda z: z),
    ("everything is ruled out.", lambda z: _cut(z, z > math.inf)),
    ("only the best token stays. Keep k.", lambda z: _cut(z, _best(z, 1))),
    ("only the first row is cut. Every row is.", _first_row_only(lambda z: _keep(z))),
    (
        "every row keeps the tokens that are best in the first row. Each has its own.",
        lambda z: _cut(z, _best(z)[:1].expand_as(z)),
    ),
    (
        "every row is cut at the threshold of the first. Each has its own: keepdim.",
        lambda z: _cut(z, z >= _kth(z)[0]),
    ),
    (
        "every row is cut at the highest of the thresholds. Each has its own.",
        lambda z: _cut(z, z >= _kth(z).max()),
    ),
    (
        "every row is cut at the lowest of the thresholds. Each has its own.",
        lambda z: _cut(z, z >= _kth(z).min()),
    ),
    (
        "the k best of the whole batch stay. Keep k in every row: dim=-1.",
        lambda z: _cut(z, _best(z.view(1, -1)).view(z.shape)),
    ),
    (
        "the k * B best of the whole batch stay. Keep k in every row: dim=-1.",
        lambda z: _cut(z, _best(z.view(1, -1), TOP * B).view(z.shape)),
    ),
    (
        "tokens are compared down the batch, not along the vocabulary: dim=-1.",
        lambda z: _cut(z, _rank(z.T).T < B - 1),
    ),
    (
        "the size of a score decides, without its sign. Negative scores are low.",
        lambda z: _cut(z, _best(z.abs())),
    ),
    (
        "probabilities come back. Return the scores: softmax comes later.",
        lambda z: _keep(z).softmax(-1),
    ),
    (
        "log-probabilities come back. Return the scores as they are.",
        lambda z: _keep(z).log_softmax(-1),
    ),
    (
        "kept tokens have score 0 now, all alike. Keep their scores.",
        lambda z: _cut(torch.zeros_like(z), _best(z)),
    ),
    (
        "the tokens ruled out get 0, which is a good score among negative ones. Use"
        " -inf.",
        lambda z: _cut(z, _best(z), 0.0),
    ),
    (
        "the tokens ruled out get +inf. Use -inf.",
        lambda z: _cut(z, _best(z), math.inf),
    ),
    (
        "the tokens ruled out get NaN: 0 * inf is none of the two. Use masked_fill.",
        lambda z: _cut(z, _best(z), math.nan),
    ),
    (
        "the scores are multiplied by the mask and the rest by -inf, or the mask is"
        " added: kept scores have moved by 1.",
        lambda z: _keep(z) + 1,
    ),
)


def _keep(z: Tensor) -> Tensor:
    return _cut(z, _best(z))


def _kth(z: Tensor) -> Tensor:
    return z.topk(TOP).values[:, -1:]


def _keeps_shape_of_k(function: Any) -> None:
    _accepts_shapes(function, 1, CALL_K)
    _accepts_shapes(function, 3, CALL_K)


def _keeps_the_best(function: Any) -> None:
    scores = _scores()
    result = _filter(function, scores.clone(), TOP, CALL_K)
    _compare(result, scores, _best(scores), TOP_K_SUSPECTS)
    for k in (1, 2, V - 1):
        result = _filter(function, scores.clone(), k, CALL_K)
        if not torch.equal(result, _cut(scores, _best(scores, k))):
            raise FailedError(f"k = {TOP} goes well, k = {k} does not.")


def _keeps_exactly_k(function: Any) -> None:
    _breaks_ties(function, (1, 3, 5), CALL_K)


def _keeps_all(function: Any) -> None:
    scores = _scores()
    for k in (V, V + 1, 50 * V):
        try:
            result = _filter(function, scores.clone(), k, CALL_K)
        except FailedError as failure:
            raise FailedError(
                f"k = {k}, of {V} tokens, must keep all. Take min(k, V) of them. Now:"
                f" {failure}"
            ) from failure
        if not torch.equal(result, scores):
            raise FailedError(f"k = {k}, of {V} tokens, must keep all as they are.")
    single = _batch(4, 1)
    if not torch.equal(_filter(function, single.clone(), 1, CALL_K), single):
        raise FailedError("in a vocabulary of one token k = 1 must keep it.")
    few = _scores()
    few[:, 2:] = -math.inf  # another filter was here before
    result = _filter(function, few.clone(), TOP, CALL_K)
    if not torch.equal(result, few):
        raise FailedError(
            f"two tokens are left, the others are -inf already: k = {TOP} must change"
            " nothing."
        )


def _refuses_no_k(function: Any) -> None:
    for k in (0, -1):
        _refuses(function, k, "k", "Ask first whether k is at least 1.")


def _rows_of_k(function: Any) -> None:
    _takes_rows_alone(function, 3, CALL_K)


KEEP_TOP_K: tuple[Property, ...] = (
    ("shape and dtype as they came, the scores left alone", _keeps_shape_of_k),
    ("the k best as they were, -inf for all others", _keeps_the_best),
    ("exactly k, and among equals the lower ids", _keeps_exactly_k),
    ("k = V and more: everything stays", _keeps_all),
    ("k below 1 is a ValueError", _refuses_no_k),
    ("a row alone keeps what it keeps beside others", _rows_of_k),
)


def keep_top_k(function: Any) -> Report:
    """Try ``function(logits, k) -> logits``, (B, V) to the same."""
    return run(function, KEEP_TOP_K)


# ------------------------------------------------------------------ keep_top_p

CALL_P = "keep_top_p(logits, p)"
MASS = Fraction(33, 50)
SHARES = (  # in hundredths, and no sum of them is MASS
    (5, 28, 2, 27, 7, 26, 4, 1),
    (4, 2, 6, 1, 71, 8, 5, 3),
    (12, 9, 36, 14, 3, 13, 8, 5),
)


def _logs(shares: Sequence[Sequence[int]]) -> Tensor:
    """Scores whose softmax gives these shares."""
    return torch.tensor(shares, dtype=torch.float64).log()


def _nucleus(shares: Sequence[int], p: Fraction) -> list[bool]:
    """The smallest set of best tokens with mass p or more, in exact numbers."""
    order = sorted(range(len(shares)), key=lambda i: (-shares[i], i))
    kept, reached = [False] * len(shares), Fraction(0)
    for token in order:
        if reached >= p:
            break
        kept[token] = True
        reached += Fraction(shares[token], sum(shares))
    return kept


def _wanted_nucleus() -> Tensor:
    return torch.tensor([_nucleus(row, MASS) for row in SHARES])


def _nuclear_scores() -> Tensor:
    """Each row moved by a constant of its own, which a softmax does not see."""
    return _logs(SHARES) + torch.tensor([[-5.0], [-3.5], [-3.0]], dtype=torch.float64)


def _sorted_mass(z: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, best first, and the mass before each."""
    mass = z.softmax(-1).gather(-1, _order(z))
    return mass, mass.cumsum(-1) - mass


def _by_rank(kept: Callable[[Tensor, Tensor], Tensor]) -> Filter:
    """A rule for sorted probabilities and the mass before them, put back by ids."""

    def cut(z: Tensor) -> Tensor:
        stays = kept(*_sorted_mass(z))
        return _cut(z, stays.gather(-1, _rank(z)))

    return cut


def _at(p: float) -> Filter:
    return _by_rank(lambda mass, before: before < p)


def _with_best(kept: Tensor) -> Tensor:
    return kept | (torch.arange(kept.shape[-1]) == 0)


P = float(MASS)
_inside = _at(P)


def _unsorted(z: Tensor) -> Tensor:
    mass = z.softmax(-1)
    return _cut(z, mass.cumsum(-1) - mass < P)


def _ascending(z: Tensor) -> Tensor:
    """The mass of a token and of all that are worse."""
    before = _sorted_mass(z)[1]
    return (1 - before).gather(-1, _rank(z))


def _by_sums(sums: Callable[[Tensor], Tensor]) -> Filter:
    """Kept while a running sum of something else, best first, is below p."""

    def cut(z: Tensor) -> Tensor:
        given = sums(z.gather(-1, _order(z)))
        return _cut(z, _with_best(given.cumsum(-1) - given < P).gather(-1, _rank(z)))

    return cut


def _down_the_batch(z: Tensor) -> Tensor:
    mass = z.softmax(0).gather(-1, _order(z))
    return _cut(z, _with_best(mass.cumsum(-1) - mass < P).gather(-1, _rank(z)))


def _sorted_mask(z: Tensor) -> Tensor:
    return _sorted_mass(z)[1] < P


def _over_everything(z: Tensor) -> Tensor:
    return _inside(z.reshape(1, -1)).view(z.shape)


TOP_P_SUSPECTS: tuple[tuple[str, Filter], ...] = (
    (
        "the token that crosses p is dropped, so that less than p stays, or nothing."
        " Compare the sum before a token with p, not the sum with it.",
        _by_rank(lambda mass, before: before + mass <= P),
    ),
    (
        "the token that crosses p is dropped, but for the best one. Compare the sum"
        " before a token with p, not the sum with it.",
        _by_rank(lambda mass, before: _with_best(before + mass <= P)),
    ),
    (
        "one token too many stays. The one that crosses p is the last.",
        _by_rank(lambda mass, before: before - _before_that(mass) < P),
    ),
    (
        "the probabilities are summed in the order of ids. Sort them first, best in"
        " front.",
        _unsorted,
    ),
    (
        "the sum runs from the worst token up, and stops at p: the worst stay. Sort"
        " with descending=True.",
        lambda z: _cut(z, _ascending(z) - z.softmax(-1) < P),
    ),
    (
        "1 - p is kept, not p. From the best token down the sum stops at p; from the"
        " worst up, what it leaves below 1 - p is ruled out.",
        _at(1 - P),
    ),
    (
        "softmax is missing: scores are summed, not probabilities.",
        _by_sums(lambda z: z),
    ),
    (
        "exp(score) is summed without dividing by the row's total. Use softmax.",
        _by_sums(torch.exp),
    ),
    (
        "sigmoids are summed. The probabilities of a row are its softmax.",
        _by_sums(torch.sigmoid),
    ),
    (
        "softmax is applied twice, which makes the probabilities nearly equal.",
        _by_sums(lambda z: z.softmax(-1).softmax(-1)),
    ),
    (
        "the mask belongs to the sorted scores, but is laid on those in the order of"
        " ids. Put it back: scatter(-1, order, mask).",
        lambda z: _cut(z, _sorted_mask(z)),
    ),
    (
        "the mask is put back with gather. order says where each goes: use"
        " scatter(-1, order, mask).",
        lambda z: _cut(z, _sorted_mask(z).gather(-1, _order(z))),
    ),
    (
        "the scores come back sorted, so that an id no longer names its token. Put each"
        " back into its place: scatter.",
        lambda z: _inside(z).sort(-1, descending=True).values,
    ),
    (
        "tokens of probability p or more stay. Sum the best until they reach p.",
        lambda z: _cut(z, z.softmax(-1) >= P),
    ),
    (
        "tokens of probability 1 - p or more stay. Sum the best until they reach p.",
        lambda z: _cut(z, z.softmax(-1) >= 1 - P),
    ),
    (
        "tokens at least p times as probable as the best stay: that is min-p. Sum the"
        " best until they reach p.",
        lambda z: _cut(z, z.softmax(-1) >= P * z.softmax(-1).amax(-1, keepdim=True)),
    ),
    (
        "a share p of the vocabulary stays. Count probability, not tokens.",
        lambda z: _cut(z, _rank(z) < math.ceil(P * z.shape[-1])),
    ),
    (
        "the nucleus is removed, and the others stay. Turn the mask round.",
        lambda z: _cut(z, ~_kept(_inside(z))),
    ),
    (
        "nothing is ruled out. Is the sum one of probabilities, and is the mask used?",
        lambda z: z,
    ),
    ("everything is ruled out.", lambda z: _cut(z, z > math.inf)),
    ("only the best token stays.", lambda z: _cut(z, _rank(z) == 0)),
    ("only the first row is cut. Every row is.", _first_row_only(_inside)),
    (
        "every row keeps the tokens of the first row. Each has its own.",
        lambda z: _cut(z, _kept(_inside(z))[:1].expand_as(z)),
    ),
    (
        "every row keeps as many tokens as the first. Each has its own number.",
        lambda z: _cut(z, _rank(z) < _kept(_inside(z))[0].sum()),
    ),
    (
        "every row keeps as many tokens as the one that needs most. Each has its own"
        " number.",
        lambda z: _cut(z, _rank(z) < _kept(_inside(z)).sum(-1).max()),
    ),
    (
        "the probabilities of the whole batch sum to one. Each row has its own softmax"
        " and its own sum: dim=-1.",
        _over_everything,
    ),
    (
        "the softmax runs down the batch. It belongs to dim=-1.",
        _down_the_batch,
    ),
    (
        "the sum runs down the batch. It belongs to dim=-1.",
        lambda z: _cut(
            z,
            (_sorted_mass(z)[0].cumsum(0) - _sorted_mass(z)[0] < P).gather(
                -1, _rank(z)
            ),
        ),
    ),
    (
        "probabilities come back. Return the scores: softmax comes later.",
        lambda z: _inside(z).softmax(-1),
    ),
    (
        "probabilities come back, not yet renormalised. Return the scores, -inf for"
        " those ruled out.",
        lambda z: _cut(z.softmax(-1), _kept(_inside(z))),
    ),
    (
        "probabilities come back, with 0 for those ruled out. Return the scores, and"
        " -inf.",
        lambda z: _cut(z.softmax(-1), _kept(_inside(z)), 0.0),
    ),
    (
        "log-probabilities come back. Return the scores as they are.",
        lambda z: _inside(z).log_softmax(-1),
    ),
    (
        "log-probabilities come back. Return the scores as they are.",
        lambda z: _cut(z.log_softmax(-1), _kept(_inside(z))),
    ),
    (
        "the tokens ruled out get 0, which is a good score among negative ones. Use"
        " -inf.",
        lambda z: _cut(z, _kept(_inside(z)), 0.0),
    ),
    (
        "the tokens ruled out get NaN: 0 * inf is none of the two. Use masked_fill.",
        lambda z: _cut(z, _kept(_inside(z)), math.nan),
    ),
    (
        "the token that crosses p is dropped when it is the best: that row is empty."
        " One token always stays.",
        lambda z: _cut(
            z, _kept(_inside(z)) & (z.softmax(-1).amax(-1, keepdim=True) < P)
        ),
    ),
)


def _before_that(mass: Tensor) -> Tensor:
    """The mass of the token before each, in the order given."""
    return torch.nn.functional.pad(mass, (1, -1))


Case = tuple[tuple[int, ...], Fraction]
EXACT: tuple[Case, ...] = (  # binary fractions: no rounding could excuse it
    ((1, 1, 1, 1), Fraction(1, 2)),
    ((2, 8, 1, 4, 1), Fraction(3, 4)),
    ((1, 1, 1, 1, 1, 1, 1, 1), Fraction(3, 8)),
    ((1, 2, 1), Fraction(1, 2)),
)
ROUNDED: tuple[Case, ...] = (
    *(((1,) * 10, Fraction(tenths, 10)) for tenths in range(1, 10)),
    ((1, 1, 1), Fraction(2, 3)),
    ((1,) * 7, Fraction(3, 7)),
    ((1,) * 25, Fraction(1, 5)),  # spoilt in float32, where sums of ten are not
    ((1,) * 25, Fraction(3, 5)),
    ((2, 4, 1, 3), Fraction(7, 10)),
    ((2, 4, 1, 3), Fraction(9, 10)),
)
NEAR = Fraction(1, 500)


def _counts_stay(function: Any, shares: Sequence[int], p: Fraction) -> tuple[int, int]:
    """How many tokens stay, and how many should; the larger of two dtypes' errors."""
    wanted = sum(_nucleus(shares, p))
    equal = len(set(shares)) == 1  # unequal logs are rounded before p is met
    for dtype in (torch.float32, torch.float64) if equal else (torch.float64,):
        scores = _logs([shares]).to(dtype)
        given = int(_kept(_filter(function, scores, float(p), CALL_P)).sum())
        if given != wanted:
            return given, wanted
    return wanted, wanted


def _keeps_shape_of_p(function: Any) -> None:
    _accepts_shapes(function, 0.5, CALL_P)
    _accepts_shapes(function, 0.97, CALL_P)


def _keeps_the_nucleus(function: Any) -> None:
    scores = _nuclear_scores()
    result = _filter(function, scores.clone(), P, CALL_P)
    _compare(result, scores, _wanted_nucleus(), TOP_P_SUSPECTS)
    for p in (0.05, 0.33, 0.52, 0.865):
        wanted = torch.tensor([_nucleus(row, Fraction(p)) for row in SHARES])
        result = _filter(function, scores.clone(), p, CALL_P)
        if not torch.equal(result, _cut(scores, wanted)):
            raise FailedError(
                f"p = {P} goes well, p = {p} does not. Take p from the argument."
            )


def _reaches_p_exactly(function: Any) -> None:
    off = _crossing(function)
    for shares, p in EXACT:
        given, wanted = _counts_stay(function, shares, p)
        if given != wanted + off:
            if given == len(shares) and len(set(shares)) == 1:
                raise FailedError(EQUALS_STAY)
            told = f"shares {shares} of {sum(shares)} and p = {float(p):g}"
            if given == wanted + 1:
                raise FailedError(
                    f"{told}: one token too many stays. A sum that equals p has reached"
                    " it: rule out where the sum before is >= p, not > p."
                )
            raise FailedError(f"{told}: {given} tokens stay, not {wanted}.")
    for shares, p in ROUNDED:
        for near, why in (
            (p, "rounding"),
            (p + NEAR, "tolerance"),
            (p - NEAR, "tolerance"),
        ):
            given, wanted = _counts_stay(function, shares, near)
            if given == wanted + off:
                continue
            told = (
                f"shares {shares} of {sum(shares)} and p = {float(near):.3g}: {given}"
                f" tokens stay, not {wanted}."
            )
            if why == "rounding":
                raise FailedError(
                    f"{told} The sum is p, but for its last digit: let what lies a"
                    " hair (1e-6) below p pass for p."
                )
            raise FailedError(f"{told} The tolerance is too wide. A hair is 1e-6.")


def _crossing(function: Any) -> int:
    """How many tokens too many stay far from equality: another property's word."""
    given, wanted = _counts_stay(function, (50, 30, 15, 5), Fraction(7, 10))
    return given - wanted


def _keeps_one_and_lower_ids(function: Any) -> None:
    scores = _batch(3, 6, seed=5)
    result = _kept(_filter(function, scores.clone(), 1e-9, CALL_P))
    if not result.any(-1).all():
        raise FailedError(
            "with p = 1e-9 nothing stays. The best token always does, whatever p is and"
            " however the sum is compared."
        )
    _breaks_ties(function, (0.31, 0.56, 0.92), CALL_P)


def _keeps_all_at_one(function: Any) -> None:
    rare = torch.tensor([[0.0, -200.0, 30.0, 5.0, -30.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    for p in (1.0, 1):
        for scores in (rare, rare.double(), _scores(), torch.zeros(1, 300)):
            try:
                result = _filter(function, scores.clone(), p, CALL_P)
            except FailedError as failure:
                raise FailedError(
                    f"p = {p} is allowed, and must keep everything. Now: {failure}"
                ) from failure
            if not _kept(result).all():
                raise FailedError(
                    "p = 1 must keep everything, but tokens are lost: the sum reaches 1"
                    " before the last of them. Treat p = 1 on its own."
                )
            if not torch.equal(result, scores):
                raise FailedError("p = 1 must give the scores back as they are.")


def _refuses_other_p(function: Any) -> None:
    for p in (0.0, -0.5, 1.5):
        _refuses(function, p, "p", "Ask first whether 0 < p <= 1.")


def _sees_only_differences(function: Any) -> None:
    scores = _batch(3, 6, seed=6)
    kept = _kept(_filter(function, scores.clone(), P, CALL_P))
    for constant in (5.0, -5.0, 1000.0, -1000.0):
        moved = scores + constant
        result = _filter(function, moved.clone(), P, CALL_P)
        if not torch.equal(_kept(result), kept):
            raise FailedError(
                f"{constant:g} added to all scores changes what stays. Probabilities do"
                " not change: use softmax."
            )
    wide = torch.full((3, 9), -math.inf)  # another filter was here before
    wide[:, ::2][:, :5] = scores[:, :5]
    few = _kept(_filter(function, scores[:, :5].clone(), P, CALL_P))
    result = _filter(function, wide.clone(), P, CALL_P)
    if result.isnan().any():
        raise FailedError("where a score is -inf already, NaN comes back.")
    if not torch.equal(_kept(result)[:, ::2], few):
        raise FailedError(
            "tokens that are -inf already change what stays. They have probability 0,"
            " and take no part."
        )


def _rows_of_p(function: Any) -> None:
    _takes_rows_alone(function, P, CALL_P)


KEEP_TOP_P: tuple[Property, ...] = (
    ("shape and dtype as they came, the scores left alone", _keeps_shape_of_p),
    ("the best until their sum reaches p, -inf for all others", _keeps_the_nucleus),
    ("a sum that equals p has reached it, rounding or not", _reaches_p_exactly),
    ("at least one, and among equals the lower ids", _keeps_one_and_lower_ids),
    ("p = 1: everything stays, even what rounds to zero", _keeps_all_at_one),
    ("p outside of (0, 1] is a ValueError", _refuses_other_p),
    ("a constant added changes nothing, -inf takes no part", _sees_only_differences),
    ("a row alone keeps what it keeps beside others", _rows_of_p),
)


def keep_top_p(function: Any) -> Report:
    """Try ``function(logits, p) -> logits``, (B, V) to the same."""
    return run(function, KEEP_TOP_P)


# ------------------------------------------------------------------ next_probabilities

WARM, FEW, MOST = 2.0, 4, 0.8  # temperature, top_k and top_p of the probe
Setting = tuple[float, int | None, float | None]
Distribution = Callable[[Tensor, float], Tensor]
Chain = Callable[[Tensor, float, int, float], Tensor]


def _raw() -> Tensor:
    return 2 * _noise(1, B, 8)


def _top_k(z: Tensor, k: int) -> Tensor:
    return _cut(z, _best(z, k))


def _top_p(z: Tensor, p: float) -> Tensor:
    return _at(p)(z)


def _right_chain(z: Tensor, temperature: float, k: int, p: float) -> Tensor:
    return _top_p(_top_k(z / temperature, k), p).softmax(-1)


TEMPERATURE_SUSPECTS: tuple[tuple[str, Distribution], ...] = (
    (
        "the scores are multiplied by the temperature. Divide by it: above 1 makes the"
        " distribution flatter.",
        lambda z, t: (z * t).softmax(-1),
    ),
    ("the temperature is not used.", lambda z, t: z.softmax(-1)),
    (
        "the scores are divided by the root of the temperature. Divide by it.",
        lambda z, t: (z / t**0.5).softmax(-1),
    ),
    (
        "the scores are divided by the temperature twice.",
        lambda z, t: (z / t**2).softmax(-1),
    ),
    (
        "the probabilities are divided by the temperature. Divide the scores, before"
        " softmax.",
        lambda z, t: z.softmax(-1) / t,
    ),
    (
        "the probabilities are divided by the temperature, and softmax is applied once"
        " more. Divide the scores, before softmax.",
        lambda z, t: (z.softmax(-1) / t).softmax(-1),
    ),
    (
        "1 is added to the temperature. Divide by it as it is.",
        lambda z, t: (z / (1 + t)).softmax(-1),
    ),
    (
        "softmax is applied twice, which makes the probabilities nearly equal.",
        lambda z, t: (z / t).softmax(-1).softmax(-1),
    ),
    (
        "the softmax runs down the batch. It belongs to dim=-1.",
        lambda z, t: (z / t).softmax(0),
    ),
    (
        "the softmax runs over the whole batch. It belongs to dim=-1.",
        lambda z, t: (z / t).flatten().softmax(0).view(z.shape),
    ),
    (
        "log-probabilities come back. Use softmax.",
        lambda z, t: (z / t).log_softmax(-1),
    ),
    ("scores come back. Softmax is missing.", lambda z, t: z / t),
    (
        "exp(score) comes back, not yet divided by the row's sum. Use softmax.",
        lambda z, t: (z / t).exp(),
    ),
    (
        "all mass lies on the best token. That belongs to temperature 0.",
        lambda z, t: _one_hot(z.argmax(-1), z),
    ),
    (
        "every token gets the same probability.",
        lambda z, t: torch.full_like(z, 1 / z.shape[-1]),
    ),
)


def _one_hot(ids: Tensor, z: Tensor) -> Tensor:
    return torch.zeros_like(z).scatter(-1, ids[:, None], 1.0)


def _without_renormalising(z: Tensor, t: float, k: int, p: float) -> Tensor:
    """Top-p reads the probabilities that all tokens had."""
    kept = _kept(_top_p(z / t, p)) & _best(z, k)
    return _cut(z / t, kept).softmax(-1)


CHAIN_SUSPECTS: tuple[tuple[str, Chain], ...] = (
    (
        "top-p comes before top-k, or reads the probabilities from before it. It adds"
        " up what top-k has left, renormalised.",
        _without_renormalising,
    ),
    (
        "the temperature comes last. Divide first: top-p reads the probabilities that"
        " the temperature has made.",
        lambda z, t, k, p: (_top_p(_top_k(z, k), p) / t).softmax(-1),
    ),
    (
        "the temperature comes last, and top-p before top-k. The order is temperature,"
        " top-k, top-p.",
        lambda z, t, k, p: _cut(z / t, _kept(_top_p(z, p)) & _best(z, k)).softmax(-1),
    ),
    (
        "beside top-p, top-k is not used. Is there an `elif`? Both are `if`.",
        lambda z, t, k, p: _top_p(z / t, p).softmax(-1),
    ),
    (
        "beside top-k, top-p is not used. Is there an `elif`? Both are `if`.",
        lambda z, t, k, p: _top_k(z / t, k).softmax(-1),
    ),
    (
        "neither top-k nor top-p is used.",
        lambda z, t, k, p: (z / t).softmax(-1),
    ),
    (
        "with filters the temperature is not used.",
        lambda z, t, k, p: _right_chain(z, 1.0, k, p),
    ),
    (
        "with filters the scores are divided by the temperature twice: once before"
        " them, once behind.",
        lambda z, t, k, p: (_top_p(_top_k(z / t, k), p) / t).softmax(-1),
    ),
    (
        "what is left is not renormalised: the probabilities of the others are cut out"
        " and the rest does not sum to 1. Softmax comes last.",
        lambda z, t, k, p: _cut(
            (z / t).softmax(-1), _kept(_top_p(_top_k(z / t, k), p)), 0.0
        ),
    ),
    (
        "what top-p leaves is not renormalised. Softmax comes last.",
        lambda z, t, k, p: _cut(
            _top_k(z / t, k).softmax(-1), _kept(_top_p(_top_k(z / t, k), p)), 0.0
        ),
    ),
    (
        "softmax is applied to probabilities with 0 for the others, which gives them"
        " weight again. Filter scores, and apply softmax once.",
        lambda z, t, k, p: _right_chain(z, t, k, p).softmax(-1),
    ),
    (
        "softmax is applied to probabilities. Filter scores, and apply softmax once.",
        lambda z, t, k, p: _cut(
            (z / t).softmax(-1), _kept(_top_p(_top_k(z / t, k), p))
        ).softmax(-1),
    ),
    (
        "the filters are joined by 'or': what one of them keeps stays. Each cuts what"
        " the one before has left.",
        lambda z, t, k, p: _cut(z / t, _kept(_top_p(z / t, p)) | _best(z, k)).softmax(
            -1
        ),
    ),
    (
        "with filters all mass lies on the best token. That belongs to temperature 0.",
        lambda z, t, k, p: _one_hot(z.argmax(-1), z),
    ),
    (
        "the tokens ruled out get 0 as score, and probability again from softmax. Use"
        " -inf.",
        lambda z, t, k, p: _cut(z / t, _kept(_top_p(_top_k(z / t, k), p)), 0.0).softmax(
            -1
        ),
    ),
    (
        "what is left gets equal probabilities. Keep the scores.",
        lambda z, t, k, p: _cut(
            torch.zeros_like(z), _kept(_top_p(_top_k(z / t, k), p))
        ).softmax(-1),
    ),
    (
        "every row keeps the tokens of the first row. Each has its own.",
        lambda z, t, k, p: _cut(
            z / t, _kept(_top_p(_top_k(z / t, k), p))[:1].expand_as(z)
        ).softmax(-1),
    ),
    (
        "one token too many stays after top-k.",
        lambda z, t, k, p: _right_chain(z, t, k + 1, p),
    ),
    (
        "one token too few stays after top-k.",
        lambda z, t, k, p: _right_chain(z, t, k - 1, p),
    ),
    (
        "in top-p the token that crosses p is dropped.",
        lambda z, t, k, p: _by_rank(
            lambda mass, before: _with_best(before + mass <= p)
        )(_top_k(z / t, k)).softmax(-1),
    ),
)

NEXT_ERRORS = {
    "NoneType": "None switches a filter off: ask `is not None` before you use it.",
    "ZeroDivisionError": (
        "temperature 0 cannot be divided by. It is greedy: all mass on the best token."
    ),
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
}


def _next(function: Any, scores: Tensor, setting: Setting) -> Tensor:
    """Call the reader's function; it must give a tensor of that shape."""
    temperature, k, p = setting
    how = "next_probabilities(logits, temperature, top_k, top_p)"
    hints = called_as(function, how) | NEXT_ERRORS
    result = attempt(function, scores, temperature, k, p, hints=hints)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape != scores.shape:
        told = f"the shape is {tuple(result.shape)}, not {tuple(scores.shape)}"
        if result.numel() == len(scores):
            raise FailedError(f"{told}: a token came back. Give every probability.")
        raise FailedError(f"{told}.")
    if not result.is_floating_point():
        raise FailedError(f"{result.dtype} came back. Probabilities are floats.")
    return result.detach()


def _said(setting: Setting) -> str:
    return f"temperature {setting[0]:g}, top_k {setting[1]}, top_p {setting[2]}"


OPEN: tuple[int, float] = (8, 1.0)  # filters that let everything through
COUNTED: tuple[Setting, ...] = (
    (1.0, *OPEN),
    (0.5, 3, 0.9),
    (3.0, 5, 0.4),
    (1.3, 1, 0.2),
)


def _sums_to_one(function: Any) -> None:
    for setting in COUNTED:
        for dtype in (torch.float32, torch.float64):
            scores = _raw().to(dtype)
            given = scores.clone()
            result = _next(function, given, setting)
            if not torch.equal(given, scores):
                raise FailedError(
                    "the scores are changed in place. Make a new tensor instead."
                )
            if result.isnan().any():
                raise FailedError(f"{_said(setting)}: NaN comes back.")
            if result.min() < 0:
                _name_the_next(function)
                raise FailedError(f"{_said(setting)}: a probability is negative.")
            total = result.sum(-1)
            if not _close(total, torch.ones_like(total)):
                _name_the_next(function)
                raise FailedError(
                    f"{_said(setting)}: a row sums to {total[0].item():.3g}, not to 1."
                    " Softmax comes last, along dim=-1."
                )


def _name_the_next(function: Any) -> None:
    """Raise the hint of the suspect that the answer equals, if there is one."""
    z = _raw()
    for temperature in (WARM, 0.6):
        result = _next(function, z.clone(), (temperature, *OPEN))
        for hint, formula in TEMPERATURE_SUSPECTS:
            if _close(result, formula(z, temperature)):
                raise FailedError(hint)
    _name_the_chain(function)


def _name_the_chain(function: Any) -> None:
    z = _raw()
    result = _next(function, z.clone(), (WARM, FEW, MOST))
    for hint, formula in CHAIN_SUSPECTS:
        if _close(result, formula(z, WARM, FEW, MOST)):
            raise FailedError(hint)


def _warm_alone_is_right(function: Any) -> bool:
    z = _raw()
    given = _next(function, z.clone(), (WARM, *OPEN))
    return _close(given, (z / WARM).softmax(-1))


def _divides_by_temperature(function: Any) -> None:
    z = _raw()
    for temperature in (WARM, 0.6, 1.0, 5.0):
        result = _next(function, z.clone(), (temperature, *OPEN))
        if not _close(result, (z / temperature).softmax(-1)):
            for hint, formula in TEMPERATURE_SUSPECTS:
                if _close(result, formula(z, temperature)):
                    raise FailedError(hint)
            raise FailedError(
                f"temperature {temperature:g} alone, with filters wide open, does not"
                " give softmax(scores / temperature)."
            )


def _is_greedy_at_zero(function: Any) -> None:
    tied = torch.tensor(
        [[1.0, 3.0, 3.0, 0.0, 3.0], [2.0, 2.0, 2.0, 2.0, 2.0], [-5, -2, -9, -2, -3]]
    )
    cases = (
        (_raw(), _raw().argmax(-1), "the best token is not the only one possible"),
        (tied, torch.tensor([1, 0, 1]), "among equals the lowest id takes it all"),
    )
    for scores, best, rule in cases:
        n_tokens = scores.shape[1]
        for temperature in (0.0, 0):
            for k, p in ((n_tokens, 1.0), (3, 0.5)):
                setting = (temperature, k, p)
                result = _next(function, scores.clone(), setting)
                if result.isnan().any():
                    raise FailedError(
                        f"{_said(setting)}: NaN comes back. Nothing can be divided by"
                        " 0: put all mass on the best token."
                    )
                if _close(result, _one_hot(best, scores)):
                    continue
                ties = scores == scores.amax(-1, keepdim=True)
                if _close(result, ties / ties.sum(-1, keepdim=True)):
                    raise FailedError(
                        "temperature 0: equal best tokens share the mass. The lowest id"
                        " gets all of it, as argmax says."
                    )
                if (
                    _close(result.amax(-1), torch.ones(len(result)))
                    and ties.gather(-1, result.argmax(-1, keepdim=True)).all()
                ):
                    raise FailedError(
                        "temperature 0: among equals another token than the lowest id"
                        " gets the mass. Use argmax of the scores."
                    )
                if _close(result.sum(-1), torch.ones(len(result))):
                    raise FailedError(
                        f"{_said(setting)}: {rule}. 0 is greedy: 1.0 for the best"
                        " token, 0.0 for all others."
                    )
                raise FailedError(f"{_said(setting)}: a row does not sum to 1.")


def _bears_small_temperatures(function: Any) -> None:
    z, probe = _raw(), (WARM, FEW, MOST)
    if not _warm_alone_is_right(function):
        return  # the formula says so
    filters = [OPEN]
    if _close(_next(function, z.clone(), probe), _right_chain(z, *probe)):
        filters.append((3, 0.9))
    for factor in (1.0, 40.0, 1e-3):  # scores that differ little show a lower limit
        for dtype in (torch.float32, torch.float64):
            scores = factor * _raw().to(dtype)
            for k, p in filters:
                result = _next(function, scores.clone(), (1e-6, k, p))
                if not result.isfinite().all():
                    raise FailedError(
                        "temperature 1e-6 gives NaN or infinity: exp overflows."
                        " Subtract the row's best score first, or use softmax."
                    )
                if not _close(result, _one_hot(scores.argmax(-1), scores)):
                    raise FailedError(
                        "temperature 1e-6 is all but greedy, yet other tokens get mass:"
                        " is there a lower limit, or something added to it?"
                    )


def _chains(function: Any) -> None:
    if not _warm_alone_is_right(function):
        return  # the formula says so
    z = _raw()
    for setting in ((WARM, FEW, MOST), (0.8, 6, 0.95), (2.5, 3, 0.6)):
        result = _next(function, z.clone(), setting)
        if not _close(result, _right_chain(z, *setting)):
            _name_the_chain(function)
            row = int((_apart(result, _right_chain(z, *setting))).any(1).nonzero()[0])
            raise FailedError(
                f"{_said(setting)}: row {row} leaves {_told(result[row] > 0)}, not"
                f" {_told(_right_chain(z, *setting)[row] > 0)}, or other"
                " probabilities."
            )


def _apart(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).abs() > 1e-5


def _switches_off(function: Any) -> None:
    z = _raw()
    for off, on in (
        ((WARM, None, None), (WARM, *OPEN)),
        ((WARM, FEW, None), (WARM, FEW, 1.0)),
        ((WARM, None, MOST), (WARM, 8, MOST)),
        ((0.0, None, None), (0.0, *OPEN)),
    ):
        result = _next(function, z.clone(), off)
        if not _close(result, _next(function, z.clone(), on)):
            raise FailedError(
                f"{_said(off)} differs from top_k {on[1]}, top_p {on[2]}, which let"
                " everything through. None switches a filter off."
            )
    wide = 0.1 * _noise(22, 2, 300)
    if not (_next(function, wide.clone(), (1.0, None, None)) > 0).all():
        raise FailedError(
            "with top_k None and top_p None some of 300 tokens get probability 0. None"
            " switches a filter off: there is no other default."
        )


def _rows_and_constants(function: Any) -> None:
    z = _raw()
    for setting in ((1.0, *OPEN), (WARM, FEW, MOST)):
        together = _next(function, z.clone(), setting)
        for row in range(B):
            alone = _next(function, z[row : row + 1].clone(), setting)
            if not _close(alone[0], together[row]):
                raise FailedError(
                    "a row alone gets other probabilities than beside others. Work"
                    " along the last axis: dim=-1."
                )
        for constant in (10.0, -10.0, 1000.0):
            moved = _next(function, z + constant, setting)
            if not _close(moved, together, 1e-3):
                raise FailedError(
                    f"{constant:g} added to all scores changes the probabilities. Only"
                    " differences count: use softmax."
                )


NEXT_PROBABILITIES: tuple[Property, ...] = (
    ("rows of probabilities that sum to 1, the scores left alone", _sums_to_one),
    ("temperature alone: softmax(scores / temperature)", _divides_by_temperature),
    ("temperature 0: all on the best, the lowest id of equals", _is_greedy_at_zero),
    ("temperature 1e-6 is all but greedy, and no trouble", _bears_small_temperatures),
    ("temperature, then top-k, then top-p, each on what is left", _chains),
    ("None switches a filter off", _switches_off),
    ("a row alone, or all scores raised: the same", _rows_and_constants),
)


def next_probabilities(function: Any) -> Report:
    """Try ``function(logits, temperature, top_k, top_p) -> probabilities``."""
    return run(function, NEXT_PROBABILITIES)


# ------------------------------------------------------------------ draw

ODDS = (
    (0.04, 0.12, 0.74, 0.0, 0.10),
    (0.45, 0.05, 0.0, 0.3, 0.2),
    (0.1, 0.15, 0.2, 0.25, 0.3),
    (0.0, 0.6, 0.07, 0.08, 0.25),
)
DRAWS = 4000
SEED_OF_ALMOST_ONE = 22_771_378  # the first torch.rand is 1 - 2**-24, the largest
SHORT = (0.0, 0.5, 0.4999998, 0.0)  # as a softmax rounds: the sum ends below 1

Shares = Callable[[Tensor], Tensor]

ALWAYS_THE_BEST = "the likeliest token always wins. Draw instead of argmax."


def _below(odds: Tensor) -> Tensor:
    """Shares if u is compared with the odds themselves; none below: token 0."""
    highest = odds.cummax(-1).values
    shares = highest - torch.nn.functional.pad(highest, (1, -1))
    shares[:, 0] += 1 - highest[:, -1]
    return shares


def _last_lost(odds: Tensor) -> Tensor:
    shares = odds.clone()
    shares[:, -1] = 0
    return shares / shares.sum(-1, keepdim=True)


DRAW_SUSPECTS: tuple[tuple[str, Shares], ...] = (
    (ALWAYS_THE_BEST, lambda odds: _one_hot(odds.argmax(-1), odds)),
    (
        "every token comes equally often. Use the probabilities.",
        lambda odds: torch.full_like(odds, 1 / odds.shape[-1]),
    ),
    (
        "every possible token comes equally often: only zero counts, not how much.",
        lambda odds: (odds > 0) / (odds > 0).sum(-1, keepdim=True),
    ),
    (
        "softmax is applied to probabilities, which makes them nearly equal.",
        lambda odds: odds.softmax(-1),
    ),
    (
        "the draw is a rank, not a token: the probabilities were sorted downwards.",
        lambda odds: odds.sort(-1, descending=True).values,
    ),
    (
        "the draw is a rank, not a token: the probabilities were sorted upwards.",
        lambda odds: odds.sort(-1).values,
    ),
    (
        "u is compared with the probabilities. Compare it with their running sum.",
        _below,
    ),
    (
        "the draws are one token too high. Check where the running sum starts.",
        lambda odds: odds.roll(1, -1),
    ),
    (
        "the draws are one token too low. Check where the running sum starts.",
        lambda odds: odds.roll(-1, -1),
    ),
    (
        "the first token always wins: is u compared the wrong way round?",
        lambda odds: _one_hot(torch.zeros(len(odds), dtype=torch.int64), odds),
    ),
    (
        "the last token always wins: is u compared the wrong way round?",
        lambda odds: _one_hot(torch.full((len(odds),), odds.shape[1] - 1), odds),
    ),
    ("the last token never comes: the search ends too early.", _last_lost),
    (
        "the tokens come back to front: is the running sum taken from the end?",
        lambda odds: odds.flip(-1),
    ),
    (
        "every row draws from the first row's distribution. Each has its own.",
        lambda odds: odds[:1].expand_as(odds),
    ),
    (
        "every row draws from the last row's distribution. Each has its own.",
        lambda odds: odds[-1:].expand_as(odds),
    ),
    (
        "every row draws from the mean of all rows. Each has its own distribution.",
        lambda odds: odds.mean(0, keepdim=True).expand_as(odds),
    ),
    (
        "the probabilities are squared on the way.",
        lambda odds: odds**2 / (odds**2).sum(-1, keepdim=True),
    ),
    (
        "the root of the probabilities is taken on the way.",
        lambda odds: odds**0.5 / (odds**0.5).sum(-1, keepdim=True),
    ),
    (
        "1 - p is drawn from: the likely tokens are rare.",
        lambda odds: (1 - odds) / (1 - odds).sum(-1, keepdim=True),
    ),
)

DRAW_ERRORS = {
    "StopIteration": "no token is found for some u. Compare u with the running sum.",
    "list index out of range": "an index runs off the end of the probabilities.",
    "Generator": "the generator is a keyword: torch.rand(..., generator=generator).",
    "only one element tensors": "probabilities come as (B, V): draw one token a row.",
    "a Tensor with": "probabilities come as (B, V): draw one token a row.",
    "Boolean value of Tensor": "probabilities come as (B, V): draw one token a row.",
    "inplace": IN_PLACE,
    "in-place": IN_PLACE,
}


def _odds() -> Tensor:
    return torch.tensor(ODDS)


def _seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def _draw(function: Any, odds: Tensor, generator: Generator) -> Tensor:
    """Call the reader's function; it must give (B, 1) ids that there are."""
    hints = called_as(function, "draw(probabilities, generator)") | DRAW_ERRORS
    result = attempt(function, odds, generator, hints=hints)
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    n_rows, n_tokens = odds.shape
    if tuple(result.shape) != (n_rows, 1):
        known = {
            (n_rows,): "an axis is missing. Keep it, keepdim=True or [:, None]",
            (n_rows, n_tokens): "a number for each token. Give one id for each row",
            (n_rows, n_rows): "as many draws a row as there are rows. Draw one a row",
            (1,): "one token for all. Draw one a row",
            (1, 1): "one token for all. Draw one a row",
            (1, n_rows): "rows and columns have changed places",
            (): "one token for all. Draw one a row",
        }
        told = f"the shape is {tuple(result.shape)}, not {(n_rows, 1)}"
        why = known.get(tuple(result.shape))
        raise FailedError(f"{told}: {why}." if why else f"{told}.")
    if result.dtype != torch.int64:
        if result.is_floating_point() and (result < 1).all() and (result > 0).any():
            raise FailedError(
                f"{result.dtype} came back, below 1: is it u, or a probability? Give"
                " the token's id."
            )
        raise FailedError(f"{result.dtype} came back. An id is an int64.")
    wrong = (result < 0) | (result >= n_tokens)
    if wrong.any():
        raise FailedError(
            f"token {int(result[wrong][0])} came back, of {n_tokens} that start at 0:"
            " off by one?"
        )
    return result.detach()


def _draws(function: Any, odds: Tensor, n: int, seed: int = 0) -> Tensor:
    """(n, B) tokens from one generator."""
    generator = _seeded(seed)
    return torch.stack(
        [_draw(function, odds.clone(), generator)[:, 0] for _ in range(n)]
    )


def _draws_ids(function: Any) -> None:
    equal = torch.full((1, 7), 1 / 7), torch.full((9, 2), 0.5)
    for odds in (_odds(), *equal, torch.tensor([SHORT])):
        given = odds.clone()
        generator = _seeded(0)
        for _ in range(20):
            _draw(function, given, generator)
        if not torch.equal(given, odds):
            raise FailedError(
                "the probabilities are changed in place. Make a new tensor instead."
            )


def _uses_the_generator(function: Any) -> None:
    equal = torch.full((3, 7), 1 / 7)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _draws(function, equal, 20)
    moved = not torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    if not torch.equal(_draws(function, equal, 20), first):
        raise FailedError(
            "the same seed gives other tokens. Draw from the generator you are given."
        )
    if (first == first[0]).all():
        if (first == first[0, 0]).all():
            return  # argmax, or something like it: the odds say so
        raise FailedError(
            "each call draws the same tokens: the generator is seeded again inside, or"
            " not used."
        )
    if torch.equal(_draws(function, equal, 20, seed=1), first):
        raise FailedError("another seed gives the same tokens. Use the generator.")
    if moved:
        raise FailedError(
            "the global random state moves on. Draw from the generator alone."
        )


def _follows_the_odds(function: Any) -> None:
    odds = _odds()
    n_rows, n_tokens = odds.shape
    often = odds.repeat(10, 1)  # ten draws of each row at once
    few = _draws(function, often, 30)
    if (few == few[0]).all():
        n = 30
    elif (few[:, :n_rows] == few[:, n_rows : 2 * n_rows]).all():
        few, often, n = few[:, :n_rows], odds, DRAWS  # rows that move together
    else:
        n = DRAWS // 10
    tokens = few if n == 30 else _draws(function, often, n)
    tokens = tokens.reshape(-1, n_rows)  # (draws, rows)
    counts = [row.bincount(minlength=n_tokens) for row in tokens.T]
    shares = torch.stack(counts) / len(tokens)
    if _distance(shares, odds) > FAR:
        for hint, suspect in DRAW_SUSPECTS:
            if _distance(shares, suspect(odds)) < FAR:
                raise FailedError(hint)
        if n == 30:
            raise FailedError(
                "each call draws the same tokens: the generator is seeded again inside,"
                " or not used."
            )
        row = int((shares - odds).abs().sum(-1).argmax())
        told = ", ".join(f"{share:.2f}" for share in shares[row].tolist())
        raise FailedError(
            f"probabilities {ODDS[row]} are drawn with shares {told}. They should be"
            " alike."
        )


def _respects_zero_and_one(function: Any) -> None:
    for size in (2, 5):
        sure = _draws(function, torch.eye(size), 20)
        if not (sure == torch.arange(size)).all():
            raise FailedError("a token of probability one does not always come.")
    odds = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])
    if not set(_draws(function, odds, 300).flatten().tolist()) <= {1, 3}:
        raise FailedError("a token of probability zero came. It never may.")
    odds = torch.tensor([[0.0, 0.5, 0.5]])
    if _draw(function, odds, _seeded(SEED_OF_ZERO)).item() == 0:
        raise FailedError(
            "a token of probability zero came: torch.rand gave exactly 0, once in 2**24"
            " draws. Take the first token whose running sum is above u, not at it, and"
            " add nothing to the probabilities."
        )
    odds = torch.tensor([SHORT])
    try:
        last = _draw(function, odds, _seeded(SEED_OF_ALMOST_ONE)).item()
    except FailedError as failure:
        raise FailedError(
            "the running sum of float32 probabilities ends at 0.9999998, and"
            f" torch.rand gave more, so that no token was found. {WHERE_IT_ENDS}"
        ) from failure
    if odds[0, int(last)] == 0:
        raise FailedError(
            "a token of probability zero came: the running sum of float32 probabilities"
            f" ends at 0.9999998, and torch.rand gave more. {WHERE_IT_ENDS}"
        )


WHERE_IT_ENDS = "Multiply u by the last of the running sums."


def _draws_rows_apart(function: Any) -> None:
    equal = torch.full((2, 7), 1 / 7)
    tokens = _draws(function, equal, 40)
    if (tokens == tokens[0]).all():
        return  # it draws nothing: another property says so
    if (tokens[:, 0] == tokens[:, 1]).all():
        raise FailedError(
            "two rows with the same probabilities always get the same token: one u is"
            " drawn for all. Draw one for each row: torch.rand(B, 1)."
        )
    if ((tokens[:, 0] + tokens[:, 1]) == 6).all():
        raise FailedError("one row draws with u, the next with 1 - u. Draw one a row.")


DRAW: tuple[Property, ...] = (
    ("(B, 1) ids from 0 to V - 1, the probabilities left alone", _draws_ids),
    ("from the generator alone: the same seed, the same token", _uses_the_generator),
    ("each token as often as its row's probability says", _follows_the_odds),
    ("never what has probability zero, always what has one", _respects_zero_and_one),
    ("each row has a draw of its own", _draws_rows_apart),
)


def draw(function: Any) -> Report:
    """Try ``function(probabilities, generator) -> ids``, from (B, V) to (B, 1)."""
    return run(function, DRAW)


# ------------------------------------------------------------------ small tools


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _distance(shares: Tensor, odds: Tensor) -> float:
    """Of the row that is furthest: half the sum of the differences."""
    return (shares - odds).abs().sum(-1).max().item() / 2


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    """Infinities must agree, and NaN with NaN."""
    a, b = a.double(), b.double()
    if a.shape != b.shape:
        return False
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
