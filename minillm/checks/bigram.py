"""Chapter 1: do a reader's counts, loss and draws do what a bigram model needs?"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minillm.checks import FailedError, Property, Report, attempt, run

# ------------------------------------------------------------------ count_bigrams

ABRACADABRA = (0, 1, 4, 0, 2, 0, 3, 0, 1, 4, 0)  # a b r a c a d a b r a
LETTERS = 6  # a, b, c, d, r and one that never occurs
MANY = 70_000  # more than uint16 can count, less than a second of plain Python

Pairs = Sequence[tuple[int, int]]


def _table(pairs: Pairs, vocab_size: int) -> Tensor:
    counts = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    for now, following in pairs:
        counts[now, following] += 1
    return counts


def _count(text: Sequence[int], vocab_size: int) -> Tensor:
    return _table(list(pairwise(text)), vocab_size)


def _shares(counts: Tensor, dim: int | tuple[int, int]) -> Tensor:
    return counts / counts.sum(dim, keepdim=True).clamp(min=1)


# A wrong table that equals one of these has told us its name.
COUNT_SUSPECTS: tuple[tuple[str, Callable[[Sequence[int], int], Tensor]], ...] = (
    (
        "rows and columns are swapped. counts[now, next]: the row is what came first.",
        lambda text, v: _count(text, v).T,
    ),
    (
        "each token is paired with itself: the second column of pairs is not shifted.",
        lambda text, v: _table([(a, a) for a in text], v),
    ),
    (
        "each token but the last is paired with itself. Pair t[:-1] with t[1:].",
        lambda text, v: _table([(a, a) for a in text[:-1]], v),
    ),
    (
        "the last token is followed by the first. A text does not run in a circle.",
        lambda text, v: _count([*text, text[0]], v),
    ),
    (
        "the first pair is left out. Start at the first token.",
        lambda text, v: _count(text[1:], v),
    ),
    (
        "the last pair is left out. The last token is a next token too.",
        lambda text, v: _count(text[:-1], v),
    ),
    (
        "the pairs skip a token: t[:-2] with t[2:]. Shift by one.",
        lambda text, v: _table(list(zip(text, text[2:], strict=False)), v),
    ),
    (
        "the pairs do not overlap. Every token but the last begins a pair.",
        lambda text, v: _table(list(zip(text[::2], text[1::2], strict=False)), v),
    ),
    (
        "each pair counts in both directions. 'ab' is not 'ba'.",
        lambda text, v: _count(text, v) + _count(text, v).T,
    ),
    (
        "a pair that occurs twice is counted once: counts[a, b] += 1 with arrays adds"
        " only once a cell. Use np.add.at or bincount.",
        lambda text, v: _count(text, v).clamp(max=1),
    ),
    (
        "the tokens were sorted before counting. Their order is what we count.",
        lambda text, v: _count(sorted(text), v),
    ),
    (
        "every count starts at one. Smoothing comes later; begin with zeros.",
        lambda text, v: _count(text, v) + 1,
    ),
    (
        "ids start at 0 here, so no 1 is subtracted to find the row.",
        lambda text, v: _count(text, v).roll((-1, -1), (0, 1)),
    ),
    (
        "these are shares of each row, not counts. Divide later.",
        lambda text, v: _shares(_count(text, v), 1),
    ),
    (
        "these are shares of each column, not counts. Divide later, and by rows.",
        lambda text, v: _shares(_count(text, v), 0),
    ),
    (
        "these are shares of all pairs, not counts. Divide later.",
        lambda text, v: _shares(_count(text, v), (0, 1)),
    ),
)

COUNT_ERRORS = {
    "UInt16": "PyTorch hardly computes in uint16. Widen: tokens.astype(np.int64).",
    "uint16": "PyTorch hardly computes in uint16. Widen: tokens.astype(np.int64).",
    "out of bounds": "an index lies outside the table. Its size is vocab_size.",
    "out of range": "an index runs off the end. There is one pair fewer than tokens.",
}


def _ids(text: Sequence[int]) -> NDArray[np.uint16]:
    return np.array(text, dtype=np.uint16)


def _counts(function: Any, text: NDArray[np.uint16], vocab_size: int) -> Tensor:
    """Call the reader's function; its table as float64 of shape (V, V)."""
    result = attempt(function, text, vocab_size, hints=COUNT_ERRORS)
    if isinstance(result, dict):
        raise FailedError("a dictionary came back. Write its numbers into a table.")
    if isinstance(result, Tensor):
        result = result.detach().double()
    try:
        counts = torch.as_tensor(np.asarray(result, dtype=np.float64))
    except (TypeError, ValueError) as error:
        kind = type(result).__name__
        raise FailedError(f"a {kind} came back, not a table of numbers.") from error
    square = (vocab_size, vocab_size)
    if counts.shape == square:
        return counts
    if counts.numel() == vocab_size**2:
        raise FailedError("the table is flat. Give it two dimensions: reshape(V, V).")
    seen = len(np.unique(text)), int(text.max(initial=0)) + 1
    if counts.shape in [(n, n) for n in seen]:
        raise FailedError("the table's size comes from the text. Use vocab_size.")
    raise FailedError(f"the table's shape is {tuple(counts.shape)}, not {square}.")


def _is_a_table(function: Any) -> None:
    for text in (ABRACADABRA, (3, 1, 1, 0)):
        counts = _counts(function, _ids(text), LETTERS)
        if not counts.isfinite().all() or (counts < 0).any():
            raise FailedError("a count is negative, infinite or not a number.")


def _counts_abracadabra(function: Any) -> None:
    counts = _counts(function, _ids(ABRACADABRA), LETTERS)
    if not torch.equal(counts, _count(ABRACADABRA, LETTERS)):
        for hint, formula in COUNT_SUSPECTS:
            if _close(counts, formula(ABRACADABRA, LETTERS)):
                raise FailedError(hint)
        _starts_afresh(function)  # a table that lives on explains a wrong count
        raise FailedError("the counts of 'abracadabra' are not those made by hand.")


def _adds_up(function: Any) -> None:
    left, right = ABRACADABRA[:4], ABRACADABRA[4:]
    whole = _counts(function, _ids(ABRACADABRA), LETTERS)
    parts = [_counts(function, _ids(part), LETTERS) for part in (left, right)]
    seam = _table([(left[-1], right[0])], LETTERS)
    if not torch.equal(whole, parts[0] + parts[1] + seam):
        raise FailedError("a text cut in two must lose one pair, the one at the cut.")
    if _counts(function, _ids([2]), LETTERS).any():
        raise FailedError("a text of one token has no pair, but one was counted.")


def _does_not_wrap(function: Any) -> None:
    low, shift, vocab_size = (0, 2, 1, 2, 0, 1), 297, 300
    small = _counts(function, _ids(low), 3)
    large = _counts(function, _ids([token + shift for token in low]), vocab_size)
    if not torch.equal(large[shift:, shift:], small) or large.sum() != small.sum():
        raise FailedError(
            "with 300 tokens an index wraps: now * V + next does not fit into uint16."
            " Widen the ids first: tokens.astype(np.int64)."
        )


def _counts_many(function: Any) -> None:
    few = 100
    if _counts(function, np.zeros(few + 1, dtype=np.uint16), 2)[0, 0] != few:
        return  # the counting itself is wrong, and others say how
    counts = _counts(function, np.zeros(MANY + 1, dtype=np.uint16), 2)
    if counts[0, 0] != MANY:
        raise FailedError(
            f"{MANY:,} equal pairs were counted as {counts[0, 0]:,.0f}: the table's"
            " dtype is too narrow. Count in int64."
        )


def _starts_afresh(function: Any) -> None:
    tokens = _ids(ABRACADABRA)
    first = _counts(function, tokens, LETTERS).clone()
    if not np.array_equal(tokens, _ids(ABRACADABRA)):
        raise FailedError("the tokens are changed in place. Leave them as they are.")
    if not torch.equal(_counts(function, _ids(ABRACADABRA), LETTERS), first):
        raise FailedError(
            "a second call goes on from the first. Make the table inside the function."
        )


COUNT_BIGRAMS: tuple[Property, ...] = (
    ("a V x V table, also where some tokens never occur", _is_a_table),
    ("the ten pairs of 'abracadabra', each in its place", _counts_abracadabra),
    ("two parts of a text hold all its pairs but one", _adds_up),
    ("300 tokens: no index wraps in uint16", _does_not_wrap),
    (f"{MANY:,} equal pairs: no count overflows", _counts_many),
    ("each call starts at zero and leaves the tokens alone", _starts_afresh),
)


def count_bigrams(function: Any) -> Report:
    """Try ``function(tokens, vocab_size) -> counts``, from uint16 ids to (V, V)."""
    return run(function, COUNT_BIGRAMS)


# ------------------------------------------------------------------ next_token_loss

B, T, V = 3, 4, 5
Loss = Callable[[Tensor, Tensor], Tensor]


def _scores() -> Tensor:
    return 2 * torch.randn(B, T, V, generator=torch.Generator().manual_seed(1))


def _targets() -> Tensor:
    return torch.tensor([[3, 1, 4, 0], [2, 4, 0, 0], [1, 2, 3, 4]])


def _picked(logs: Tensor, targets: Tensor) -> Tensor:
    return logs.gather(-1, targets[..., None])[..., 0]


def _right(z: Tensor, y: Tensor) -> Tensor:
    return -_picked(z.log_softmax(-1), y).mean()


def _binary(z: Tensor, y: Tensor) -> Tensor:
    hot = torch.nn.functional.one_hot(y, z.shape[-1]).to(z.dtype)
    return torch.nn.functional.binary_cross_entropy(z.softmax(-1), hot)


LOSS_SUSPECTS: tuple[tuple[str, Loss], ...] = (
    (
        "the loss is in bits. Use the natural logarithm: torch.log, not log2.",
        lambda z, y: _right(z, y) / math.log(2),
    ),
    (
        "the loss is in powers of ten. Use the natural logarithm: torch.log.",
        lambda z, y: _right(z, y) / math.log(10),
    ),
    (
        "the minus is missing: a logarithm of a probability is negative.",
        lambda z, y: -_right(z, y),
    ),
    (
        "the losses are summed, not averaged over B and T.",
        lambda z, y: _right(z, y) * y.numel(),
    ),
    (
        "the losses are summed over T. Average over B and T alike.",
        lambda z, y: _right(z, y) * y.shape[1],
    ),
    (
        "the losses are summed over B. Average over B and T alike.",
        lambda z, y: _right(z, y) * y.shape[0],
    ),
    (
        "the mean runs over the vocabulary too, so the loss is V times too small.",
        lambda z, y: _right(z, y) / z.shape[-1],
    ),
    (
        "the softmax runs over time (dim=1). Probabilities sum to one over dim=-1.",
        lambda z, y: -_picked(z.log_softmax(1), y).mean(),
    ),
    (
        "the softmax runs over the batch (dim=0). It belongs to dim=-1.",
        lambda z, y: -_picked(z.log_softmax(0), y).mean(),
    ),
    (
        "the softmax runs over the whole tensor at once. It belongs to dim=-1.",
        lambda z, y: -_picked(z.flatten().log_softmax(0).view_as(z), y).mean(),
    ),
    (
        "softmax is applied twice. cross_entropy expects scores, not probabilities.",
        lambda z, y: _right(z.softmax(-1), y),
    ),
    (
        "there is no softmax: the scores themselves are averaged.",
        lambda z, y: -_picked(z, y).mean(),
    ),
    (
        "the logarithm is missing: this is minus the mean probability.",
        lambda z, y: -_picked(z.softmax(-1), y).mean(),
    ),
    (
        "the logarithm is missing: this is the mean of 1 - p.",
        lambda z, y: 1 - _picked(z.softmax(-1), y).mean(),
    ),
    (
        "the mean is taken before the logarithm. First the log of each, then the mean.",
        lambda z, y: -_picked(z.softmax(-1), y).mean().log(),
    ),
    (
        "this is the perplexity. Leave the exponential to the reader of the loss.",
        lambda z, y: _right(z, y).exp(),
    ),
    (
        "the targets are shifted again. The batch has done it: y[t] follows x[t].",
        lambda z, y: _right(z[:, :-1], y[:, 1:]),
    ),
    (
        "the scores are shifted against the targets. z[t] already belongs to y[t].",
        lambda z, y: _right(z[:, 1:], y[:, :-1]),
    ),
    (
        "only the last position counts. Every position predicts its next token.",
        lambda z, y: _right(z[:, -1:], y[:, -1:]),
    ),
    (
        "the best score is used whatever the target. Pick the target's.",
        lambda z, y: -z.log_softmax(-1).max(-1).values.mean(),
    ),
    (
        "the targets are not used: this is the entropy of the prediction.",
        lambda z, y: -(z.softmax(-1) * z.log_softmax(-1)).sum(-1).mean(),
    ),
    (
        "(B, T, V) is read as (B, V, T). A reshape moves no axis: use transpose.",
        lambda z, y: (
            -(
                z.reshape(z.shape[0], z.shape[2], z.shape[1])
                .log_softmax(1)
                .gather(1, y[:, None])
                .mean()
            )
        ),
    ),
    (
        "scores and targets are flattened in different orders.",
        lambda z, y: _right(z.flatten(0, 1), y.T.flatten()),
    ),
    (
        "each token is a yes-or-no question (binary cross-entropy). Use one softmax.",
        _binary,
    ),
)

LOSS_ERRORS = {
    "Expected target size": "cross_entropy wants the classes second. Flatten B and T.",
    "expected target size": "cross_entropy wants the classes second. Flatten B and T.",
    "inplace": "the scores are changed in place. Make a new tensor instead.",
    "in-place": "the scores are changed in place. Make a new tensor instead.",
}


def _loss(function: Any, z: Tensor, y: Tensor) -> Tensor:
    """Call the reader's function; it must give one number, as a tensor."""
    result = attempt(function, z, y, hints=LOSS_ERRORS)
    if isinstance(result, int | float):
        raise FailedError("a Python number carries no gradient. Leave .item() out.")
    if not isinstance(result, Tensor):
        raise FailedError(f"a {type(result).__name__} came back, not a tensor.")
    if result.shape == y.shape and y.numel() > 1:
        raise FailedError("there is one loss per token. Take their mean.")
    if result.numel() != 1:
        raise FailedError(f"the loss has shape {tuple(result.shape)}, not ().")
    return result.reshape(())


def _follows_the_formula(function: Any) -> None:
    z, y = _scores(), _targets()
    loss = _loss(function, z.clone(), y.clone()).detach()
    if not _close(loss, _right(z, y)):
        for hint, formula in LOSS_SUSPECTS:
            if _close(loss, formula(z, y)):
                raise FailedError(hint)
        raise FailedError("the number differs from the mean of -ln p(target).")


def _starts_at_ln_v(function: Any) -> None:
    for size in (V, 65):
        z = torch.zeros(2, 3, size)
        y = torch.tensor([[0, 1, 2], [4, 3, 1]])
        if not _close(_loss(function, z, y), torch.tensor(math.log(size))):
            raise FailedError("equal scores for V tokens must cost ln V.")


def _averages_tokens(function: Any) -> None:
    z, y = _scores(), _targets()
    whole = _loss(function, z.clone(), y.clone())
    alone = [
        _loss(function, z[b : b + 1, t : t + 1].clone(), y[b : b + 1, t : t + 1])
        for b in range(B)
        for t in range(T)
    ]
    if not _close(whole, torch.stack(alone).mean()):
        raise FailedError("a token's loss depends on the tokens beside it.")


def _ignores_a_constant(function: Any) -> None:
    z, y = _scores(), _targets()
    before = _loss(function, z.clone(), y)
    if not _close(_loss(function, z + 3 * _scores()[..., :1], y), before, 1e-4):
        raise FailedError("a constant added to a row of scores changes the loss.")
    for shift in (1000 * torch.ones(T, 1), 1000 * torch.linspace(-1, 1, T)[:, None]):
        after = _loss(function, z + shift, y)
        if not _close(after, before, 1e-3):
            raise FailedError(
                f"scores near 1000 give {after.item():.4g}: exp leaves float32."
                " Subtract each row's largest score first, or use logsumexp."
            )


def _bears_surprise(function: Any) -> None:
    z = torch.tensor([[[200.0, 0.0, 0.0]]])
    loss = _loss(function, z, torch.tensor([[1]])).item()
    if math.isinf(loss) or math.isnan(loss):
        raise FailedError(
            "a target 200 below the best costs infinity: its probability rounds to 0."
            " Never take the log of a softmax; use log_softmax or logsumexp."
        )
    if abs(loss - 200) > 0.01:
        raise FailedError(
            f"a target 200 below the best costs {loss:.3g}, not 200: something is added"
            " to the probability, or it is clamped. Use logsumexp instead."
        )


def _has_the_gradient(function: Any) -> None:
    z, y = _scores(), _targets()
    kept = z.clone(), y.clone()
    _loss(function, z, y)
    if not (torch.equal(z, kept[0]) and torch.equal(y, kept[1])):
        raise FailedError("the scores are changed in place. Make a new tensor instead.")
    leaf = z.clone().requires_grad_()
    loss = _loss(function, leaf * 1.0, y)
    slope = None
    if loss.requires_grad:
        slope = torch.autograd.grad(loss, leaf, allow_unused=True)[0]
    if slope is None:
        raise FailedError("no gradient reaches the scores. Remove no_grad and detach.")
    step = _scores().roll(1, -1)
    with torch.no_grad():
        up = _loss(function, z + 0.01 * step, y)
        down = _loss(function, z - 0.01 * step, y)
    if not _close((slope * step).sum(), (up - down) / 0.02, 0.01):
        raise FailedError("the gradient is not the slope of the loss. Detach nothing.")


NEXT_TOKEN_LOSS: tuple[Property, ...] = (
    ("the mean of -ln p(target), as one number", _follows_the_formula),
    ("ln V when all scores are equal", _starts_at_ln_v),
    ("a batch costs what its tokens cost alone, on average", _averages_tokens),
    ("a constant added to the scores changes nothing, even 1000", _ignores_a_constant),
    ("a target 200 below the best score costs 200", _bears_surprise),
    ("the gradient is right, the scores are left alone", _has_the_gradient),
)


def next_token_loss(function: Any) -> Report:
    """Try ``function(logits, targets) -> loss``, from (B, T, V) and (B, T) to nats."""
    return run(function, NEXT_TOKEN_LOSS)


# ------------------------------------------------------------------ draw_token

ODDS = (0.04, 0.12, 0.74, 0.0, 0.10)
DRAWS = 4000
SEED_OF_ZERO = 5_528_393  # the first torch.rand of this generator is exactly 0.0
FAR = 0.05  # half the sum of |share - probability|; chance alone stays below 0.03


def _first_below() -> tuple[float, ...]:
    """Shares if u is compared with the odds themselves, and 0 stands for none."""
    shares, reached = [], 0.0
    for odds in ODDS:
        shares.append(max(odds - reached, 0.0))
        reached = max(reached, odds)
    shares[0] += 1 - reached
    return tuple(shares)


ALWAYS_THE_BEST = "the likeliest token always wins. Draw instead of argmax."
ALWAYS_THE_FIRST = "the first token always wins: is u compared the wrong way round?"
DRAW_SUSPECTS: tuple[tuple[str, tuple[float, ...]], ...] = (
    (ALWAYS_THE_BEST, (0, 0, 1, 0, 0)),
    ("every token comes equally often. Use the probabilities.", (0.2,) * 5),
    (
        "every possible token comes equally often: only zero counts, not how much.",
        (0.25, 0.25, 0.25, 0, 0.25),
    ),
    (
        "softmax is applied to probabilities, which makes them nearly equal.",
        tuple(torch.tensor(ODDS).softmax(0).tolist()),
    ),
    (
        "the draw is a rank, not a token: the probabilities were sorted downwards.",
        tuple(sorted(ODDS, reverse=True)),
    ),
    (
        "the draw is a rank, not a token: the probabilities were sorted upwards.",
        tuple(sorted(ODDS)),
    ),
    (
        "u is compared with the probabilities. Compare it with their running sum.",
        _first_below(),
    ),
    (
        "the draws are one token too high. Check where the running sum starts.",
        (*ODDS[-1:], *ODDS[:-1]),
    ),
    (
        "the draws are one token too low. Check where the running sum starts.",
        (*ODDS[1:], *ODDS[:1]),
    ),
    (ALWAYS_THE_FIRST, (1, 0, 0, 0, 0)),
    (
        "the last token never comes: the loop ends too early.",
        (*(odds / (1 - ODDS[-1]) for odds in ODDS[:-1]), 0),
    ),
)

DRAW_ERRORS = {
    "StopIteration": "no token is found for some u. Compare u with the running sum.",
    "list index out of range": "an index runs off the end of the probabilities.",
    "must be a Tensor": "the probabilities come as a tensor of shape (V,).",
    "Generator": "the generator is a keyword: torch.rand((), generator=generator).",
}


def _draw(function: Any, odds: Tensor, generator: torch.Generator) -> int:
    """Call the reader's function; it must give one token, as a whole number."""
    result = attempt(function, odds, generator, hints=DRAW_ERRORS)
    if isinstance(result, Tensor | np.ndarray):
        if math.prod(result.shape) != 1:
            raise FailedError(
                f"{math.prod(result.shape)} numbers came back. Draw one token."
            )
        result = result.item()
    if isinstance(result, bool) or not isinstance(result, int | np.integer):
        raise FailedError(f"a {type(result).__name__} came back, not a whole number.")
    if not 0 <= result < len(odds):
        raise FailedError(
            f"token {result} came back, of {len(odds)} that start at 0: off by one?"
        )
    return int(result)


def _draws(function: Any, odds: Tensor, n: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [_draw(function, odds.clone(), generator) for _ in range(n)]


def _draws_a_token(function: Any) -> None:
    for odds in (torch.tensor(ODDS), torch.full((7,), 1 / 7)):
        _draws(function, odds, 200)


def _uses_the_generator(function: Any) -> None:
    equal = torch.full((7,), 1 / 7)
    torch.manual_seed(1)
    first = _draws(function, equal, 30)
    torch.manual_seed(2)
    if _draws(function, equal, 30) != first:
        raise FailedError(
            "the same seed gives other tokens. Draw from the generator you are given."
        )
    if len(set(first)) > 1:
        if _draws(function, equal, 30, seed=1) == first:
            raise FailedError("another seed gives the same tokens. Use the generator.")
        return
    # A draw from a fixed u moves when the likeliest of five does, but not with it.
    won = []
    for best in range(5):
        odds = torch.full((5,), 0.15)
        odds[best] = 0.4
        won.append(set(_draws(function, odds, 20)))
    if won == [{0}, {1}, {2}, {3}, {4}]:
        raise FailedError(ALWAYS_THE_BEST)
    rare = torch.tensor([0.02, 0.245, 0.245, 0.245, 0.245])
    if [*won, set(_draws(function, rare, 20))] == [{0}] * 6:
        raise FailedError(ALWAYS_THE_FIRST)
    if all(len(tokens) == 1 for tokens in won):
        raise FailedError(
            "each call draws the same token: the generator is seeded again inside,"
            " or not used."
        )
    _follows_the_odds(function)


def _follows_the_odds(function: Any) -> None:
    n = 200 if len(set(_draws(function, torch.tensor(ODDS), 200))) == 1 else DRAWS
    tokens = torch.tensor(_draws(function, torch.tensor(ODDS), n))
    shares = tokens.bincount(minlength=len(ODDS)) / n
    if _distance(shares, ODDS) > FAR:
        for hint, suspect in DRAW_SUSPECTS:
            if _distance(shares, suspect) < FAR:
                raise FailedError(hint)
        raise FailedError("the tokens do not come as often as their probabilities say.")


def _respects_zero_and_one(function: Any) -> None:
    for size in (2, 5):
        for sure in range(size):
            odds = torch.zeros(size)
            odds[sure] = 1.0
            if set(_draws(function, odds, 20)) != {sure}:
                raise FailedError("a token of probability one does not always come.")
    odds = torch.tensor([0.0, 0.5, 0.5])
    if _draw(function, odds, torch.Generator().manual_seed(SEED_OF_ZERO)) == 0:
        raise FailedError(
            "a token of probability zero came: torch.rand gave exactly 0, once in 2**24"
            " draws. Take the first token whose running sum is above u, not at it."
        )
    odds = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    if not set(_draws(function, odds, 500)) <= {1, 3}:
        raise FailedError("a token of probability zero came. It never may.")


def _leaves_the_odds(function: Any) -> None:
    odds = torch.tensor(ODDS)
    _draw(function, odds, torch.Generator().manual_seed(0))
    if not torch.equal(odds, torch.tensor(ODDS)):
        raise FailedError("the probabilities are changed in place. Make a new tensor.")


DRAW_TOKEN: tuple[Property, ...] = (
    ("one whole number from 0 to V - 1", _draws_a_token),
    ("draws differ, and repeat when the seed does", _uses_the_generator),
    ("each token as often as its probability says", _follows_the_odds),
    ("never what has probability zero, always what has one", _respects_zero_and_one),
    ("the probabilities are left alone", _leaves_the_odds),
)


def draw_token(function: Any) -> Report:
    """Try ``function(probabilities, generator) -> token``, from (V,) to one id."""
    return run(function, DRAW_TOKEN)


# ------------------------------------------------------------------ small tools


def _close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)


def _distance(shares: Tensor, odds: Sequence[float]) -> float:
    """Half the sum of the differences: 0 for equal, 1 for nothing in common."""
    return (shares - torch.tensor(odds)).abs().sum().item() / 2
