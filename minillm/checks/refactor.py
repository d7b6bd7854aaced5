"""Chapter 7: are a reader's batches, checkpoints and configurations to be trusted?"""

import builtins
import dataclasses
import inspect
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from minillm.checks import (
    FailedError,
    NotStartedError,
    Property,
    Report,
    attempt,
    one_line,
    run,
)

# ------------------------------------------------------------------ batch_of_step

B, T, N = 5, 7, 83  # different, so that no size passes for another
PURE = (
    "Draw from a generator of the call's own: torch.Generator().manual_seed(...), with"
    " a number made from seed and step."
)

Shift = Callable[[Tensor, Tensor, int], Tensor]


def _text(length: int = N) -> Tensor:
    """Tokens that tell their place, and are not it."""
    return 3 * torch.arange(length) + 7


def _windows(text: Tensor, starts: Tensor, length: int) -> Tensor:
    return text[starts[:, None] + torch.arange(length)]


def _rolled(text: Tensor, starts: Tensor, length: int) -> Tensor:
    return _windows(text, starts, length).roll(-1, 1)


SHIFT_SUSPECTS: tuple[tuple[str, Shift], ...] = (
    (
        "the targets are the inputs themselves: a model would learn to copy. Shift"
        " them by one: tokens[i + 1 : i + 1 + context_length].",
        _windows,
    ),
    (
        "the targets are shifted by two: one character in two is never a target of the"
        " one before it. Shift by one.",
        lambda text, starts, length: _windows(text, starts + 2, length),
    ),
    (
        "the targets are shifted backwards: they are the past. The target of a token is"
        " the one that follows it.",
        lambda text, starts, length: _windows(text, starts - 1, length),
    ),
    (
        "the last target is the window's first token: it was rolled around. Take it"
        " from the text: tokens[i + context_length].",
        _rolled,
    ),
    (
        "the last target repeats the window's last token. Take it from the text.",
        lambda text, starts, length: torch.cat(
            [
                _windows(text, starts + 1, length - 1),
                text[starts + length - 1][:, None],
            ],
            dim=1,
        ),
    ),
    (
        "the last target is zero, a filling. Take it from the text.",
        lambda text, starts, length: torch.cat(
            [_windows(text, starts + 1, length - 1), torch.zeros_like(starts)[:, None]],
            dim=1,
        ),
    ),
    (
        "the targets are whole windows further on: they begin where the inputs end."
        " Shift by one token.",
        lambda text, starts, length: _windows(text, starts + length, length),
    ),
)


def _batch(
    function: Any,
    seed: int = 3,
    step: int = 4,
    text: Tensor | None = None,
    batch_size: int = B,
    length: int = T,
) -> tuple[Tensor, Tensor]:
    """What a reader's function gives, if it has the right form."""
    text = _text() if text is None else text
    result = attempt(
        function,
        text,
        seed,
        step,
        batch_size,
        length,
        hints={
            "stack expects each tensor": (
                "a window runs past the end of the text. The last start is"
                " n - context_length - 1, so that its last target exists."
            ),
            "out of bounds": (
                "a window runs past the end of the text. The last start is"
                " n - context_length - 1, so that its last target exists."
            ),
        },
    )
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise FailedError("it must return two tensors: inputs, targets.")
    for name, part in zip(("inputs", "targets"), result, strict=True):
        if not isinstance(part, Tensor):
            kind = type(part).__name__
            raise FailedError(f"{name} must be a tensor, not a {kind}.")
        if tuple(part.shape) != (batch_size, length):
            wanted = f"(batch_size, context_length) = ({batch_size}, {length})"
            told = f"{name} has shape {tuple(part.shape)}, not {wanted}"
            if tuple(part.shape) == (length, batch_size):
                raise FailedError(f"{told}. One row a window: stack along dim 0.")
            if tuple(part.shape) == (batch_size, length + 1):
                raise FailedError(f"{told}. Cut the extra token off at one end.")
            if tuple(part.shape) == (batch_size, length - 1):
                raise FailedError(
                    f"{told}. A window needs context_length + 1 tokens of the text."
                )
            if part.dim() == 2 and part.shape[0] < batch_size:
                raise FailedError(
                    f"{told}. Starts may repeat: a short text still fills a batch."
                )
            raise FailedError(f"{told}.")
        if part.dtype != torch.int64:
            raise FailedError(f"{name} must be int64, as the tokens are.")
    inputs, targets = result
    return inputs.clone(), targets.clone()


def _starts(inputs: Tensor) -> Tensor:
    return (inputs[:, 0] - 7) // 3


def _same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def _are_windows(function: Any) -> None:
    if all(
        _batch(function, 3, step)[0].diff(dim=0).any().logical_not()
        for step in range(4)
    ):
        raise FailedError("all rows of a batch are one window. Draw a start a row.")
    gaps = [_starts(_batch(function, 1, s, _text(997))[0]).diff() for s in range(6)]
    if sum(torch.equal(g, g[:1].expand(B - 1)) for g in gaps) > 3:  # some wrap around
        raise FailedError(
            "the rows of a batch follow each other at one distance. Draw a start a row."
        )
    for text, length, batch_size in (
        (_text(), T, B),
        (_text(2 * N)[::2], 11, 3),
        (_text(), 1, 4),
        (_text(), 6, 1),
    ):
        before = text.clone()
        for step in range(4):
            inputs, targets = _batch(function, 3, step, text, batch_size, length)
            if not torch.equal(text, before):
                raise FailedError("it changes the tokens it was given.")
            places = {int(token): i for i, token in enumerate(text)}
            if not all(int(token) in places for token in inputs.flatten()):
                raise FailedError(
                    "the inputs hold numbers that are not in the text: positions"
                    " instead of tokens? Index the tokens with them."
                )
            starts = torch.tensor([places[int(row[0])] for row in inputs])
            n = len(text)
            inside = starts + length <= n
            if not inside.all() or not torch.equal(
                inputs, _windows(text, starts, length)
            ):
                raise FailedError(
                    "a row of the inputs is no window: its tokens do not stand side by"
                    " side in the text."
                )
            if (starts + length > n - 1).any():
                raise FailedError(
                    "a window begins at n - context_length: its last target would lie"
                    " behind the end of the text. The last start is one less."
                )
            if torch.equal(targets, _windows(text, starts + 1, length)):
                continue
            long = torch.cat([text, text])  # what lies beyond is nobody's
            for hint, formula in SHIFT_SUSPECTS:
                if length > 1 and torch.equal(targets, formula(long, starts, length)):
                    raise FailedError(hint)
            raise FailedError("the targets are not the inputs, shifted by one.")


@contextmanager
def _another_process() -> Iterator[None]:
    """What would differ in one: the clock, the process, and the hash of a string."""
    kept_hash, clock, pid = builtins.hash, time.time, os.getpid
    clock_ns = time.time_ns
    builtins.hash = lambda x: (
        kept_hash(x) + 12345 if isinstance(x, str | bytes) else kept_hash(x)
    )
    time.time = lambda: clock() + 98765.4
    time.time_ns = lambda: clock_ns() + 98765_400_000_000
    os.getpid = lambda: pid() + 77
    try:
        yield
    finally:
        builtins.hash, time.time, os.getpid = kept_hash, clock, pid
        time.time_ns = clock_ns


@contextmanager
def _global_seeds(seed: int) -> Iterator[None]:
    """The three global generators at a seed, and back where they were."""
    kept_torch, kept_numpy = torch.get_rng_state(), np.random.get_state()
    kept_python = random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(kept_torch)
        np.random.set_state(kept_numpy)
        random.setstate(kept_python)


def _is_a_function_of_its_address(function: Any) -> None:
    with _global_seeds(1):
        first = _batch(function)
    with _global_seeds(2):
        second = _batch(function)
    with _global_seeds(1):
        third = _batch(function)
    if not _same(first, second):
        if _same(first, third):
            raise FailedError(
                "the batch depends on the global random state, so that whoever draws"
                f" a number in between changes it. {PURE}"
            )
        raise FailedError(
            "the same seed and step give another batch at the second call: something"
            f" remembers the calls before. {PURE}"
        )
    for other in ((3, 5), (3, 0), (4, 4), (0, 0)):
        _batch(function, *other)
    _batch(function, 3, 4, _text(40), 2, 3)
    if not _same(first, _batch(function)):
        raise FailedError(
            "the batch of a step depends on which batches were asked for before."
            f" A resumed run asks for none of them. {PURE}"
        )
    longer = torch.cat([_text(), _text()[:1]])
    _batch(function, 3, 4, longer)
    if not _same(first, _batch(function, 3, 4, _text().clone())):
        raise FailedError("an equal text, elsewhere in memory, gives another batch.")
    with _another_process():
        if not _same(first, _batch(function)):
            raise FailedError(
                "another process would get another batch: hash() of a string, the"
                " clock and the process's number differ from run to run. Make the"
                " number by arithmetic, or with hashlib."
            )
    changed = _batch(function, 3, 4, _text() + 3000)
    if not torch.equal(changed[0] - 3000, first[0]):
        raise FailedError(
            "with other tokens in the text the windows lie elsewhere, or an old text is"
            " remembered. The places depend on seed, step and the sizes alone."
        )


def _differs_by_address(function: Any) -> None:
    text = _text(997)

    def at(seed: int, step: int) -> tuple[Tensor, Tensor]:
        return _batch(function, seed, step, text, B, T)

    if _same(at(1, 0), at(1, 1)) and _same(at(1, 1), at(1, 2)):
        raise FailedError("every step gives the same batch. Let the step in.")
    if _same(at(0, 1), at(0, 2)) or _same(at(0, 3), at(0, 4)):
        raise FailedError(
            "with seed 0 every step gives the same batch: seed and step are"
            " multiplied. Let the two count apart: seed * 1_000_003 + step, say."
        )
    if _same(at(1, 5), at(2, 5)) and _same(at(2, 6), at(3, 6)):
        raise FailedError(
            "every seed gives the same batches. Either the seed is not used, or it"
            " stands above the lowest 32 bits, which are all that the CPU's"
            " torch.Generator reads (seed * 2**32 + step becomes step)."
        )
    if _same(at(1, 3), at(2, 2)):
        raise FailedError(
            "seed and step are added: the batches of seed 1 are those of seed 0, a step"
            " later. Let the two count apart, for instance seed * 1_000_003 + step."
        )
    if _same(at(1, 2), at(2, 1)):
        raise FailedError(
            "seed and step can change places: (1, 2) and (2, 1) give one batch. Let the"
            " two count apart, for instance seed * 1_000_003 + step."
        )
    for k in (2, 8, 10, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 4096, 9999):
        _collides(at, k)
    for k in (10_000, 65_535, 65_536, 100_000, 1_000_000, 2**20):
        began = time.perf_counter()
        at(0, 2000)
        if time.perf_counter() - began > 0.002:  # it draws its way to the step
            break
        _collides(at, k)
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    for seed in (0, 1, 2, 3, 42, 1337):
        for step in (0, 1, 2, 3, 4, 5, 6, 7, 50, 99, 500, 999):
            rows = tuple(_starts(at(seed, step)[0]).tolist())
            if rows in seen:
                raise FailedError(
                    f"(seed, step) = {seen[rows]} and ({seed}, {step}) give one batch."
                )
            seen[rows] = seed, step
    before, after = (_starts(at(1, step)[0]).tolist() for step in (4, 5))
    if before[1:] == after[:-1] or after[1:] == before[:-1]:
        raise FailedError(
            "the next step repeats all rows but one: step and row are added. Draw all"
            " rows of a step from one generator."
        )
    if len({tuple(_starts(at(1, step)[0]).tolist()[:1]) for step in range(8)}) < 3:
        raise FailedError("the first row hardly changes from step to step.")


def _collides(at: Callable[[int, int], tuple[Tensor, Tensor]], k: int) -> None:
    if _same(at(1, 0), at(0, k)) and _same(at(1, 1), at(0, k + 1)):
        raise FailedError(
            f"seed * {k} + step: step {k} of seed 0 is step 0 of seed 1. Runs are"
            " longer than that; take a larger factor."
        )
    if k > 1024:  # so large a seed may be too large for a reader's generator
        return
    if _same(at(0, 1), at(k, 0)) and _same(at(1, 1), at(k + 1, 0)):
        raise FailedError(
            f"step * {k} + seed: seed {k} begins at the second step of seed 0. Take a"
            " larger factor."
        )


def _leaves_global_state(function: Any) -> None:
    for name, state in (
        ("torch", lambda: torch.get_rng_state().tolist()),
        ("numpy", lambda: str(np.random.get_state())),
        ("Python's random", lambda: str(random.getstate())),
    ):
        with _global_seeds(5):
            np.random.random(3)
            before = state()
            _batch(function)
            if state() != before:
                raise FailedError(
                    f"the global random state of {name} is changed: whatever the"
                    f" program draws next depends on the batches. {PURE}"
                )


def _draws_every_start(function: Any) -> None:
    if not any((_starts(_batch(function, 1, s)[0]) % T).any() for s in range(9)):
        raise FailedError(
            "every start is a multiple of context_length: the text is cut into pieces"
            " that do not overlap. A window may begin at any token."
        )
    n = 12
    counts = torch.zeros(n, dtype=torch.int64)
    for step in range(240):
        inputs, _ = _batch(function, 1, step, _text(n), 8 * B, T)
        counts += _starts(inputs).bincount(minlength=n)
    possible, total = n - T, int(counts.sum())  # starts 0 to n - T - 1
    if counts[possible:].any():
        raise FailedError(
            "a window begins behind n - context_length - 1: its last target would lie"
            " outside the text."
        )
    if counts[possible - 1] == 0:
        raise FailedError(
            "the last window, at n - context_length - 1, is never drawn: the last token"
            " is never a target. The end of randint and range is exclusive."
        )
    if counts[0] == 0:
        raise FailedError("the first window, at 0, is never drawn.")
    if (counts[:possible] == 0).any():
        raise FailedError(
            "some starts are never drawn. Any place of the text may be a beginning,"
            " not only every n-th."
        )
    shares = counts[:possible] * possible / total
    if shares[[0, -1]].max() < 0.8 < shares[1:-1].min():
        raise FailedError(
            "the first and the last start are drawn half as often as the others: a"
            " fraction was rounded to the nearest start. Round down, or use randint."
        )
    if shares.max() > 1.25 or shares.min() < 0.8:  # ten standard deviations
        raise FailedError(
            "some starts are drawn far more often than others. All starts are equally"
            " likely: draw them from the right range, instead of moving those outside."
        )
    rows = [_starts(_batch(function, 1, s, _text(T + 9))[0]) for s in range(60)]
    if all(len(set(row.tolist())) == B for row in rows):
        raise FailedError(
            "no start ever comes twice in a batch: they are drawn without replacement."
            " Rows are drawn independently of each other, with randint."
        )


def _refuses_short_texts(function: Any) -> None:
    shortest = _text(T + 1)
    try:
        inputs, _ = _batch(function, 1, 1, shortest, B, T)
    except FailedError as failure:
        if "raised" not in str(failure):
            raise
        raise FailedError(
            "a text of context_length + 1 tokens holds exactly one window, and its"
            f" targets; {failure}"
        ) from None
    if _starts(inputs).any():
        raise FailedError("a text of context_length + 1 tokens has one window, at 0.")
    for length in (T, T - 1, 1, 0):
        try:
            function(_text(length), 1, 1, B, T)
        except ValueError:
            continue
        except NotImplementedError as error:
            raise NotStartedError from error
        except Exception as error:
            raise FailedError(
                f"a text of {length} tokens is too short for context_length {T}, and"
                f" raises {one_line(error)}. Say so in a ValueError of your own."
            ) from error
        raise FailedError(
            f"a text of {length} tokens is too short for context_length {T}, and no"
            " ValueError says so. A window needs context_length + 1 tokens."
        )


BATCH_OF_STEP: tuple[Property, ...] = (
    ("windows of the text, and targets one token later", _are_windows),
    ("same seed and step, same batch, always", _is_a_function_of_its_address),
    ("another seed or step, another batch", _differs_by_address),
    ("global random state untouched", _leaves_global_state),
    ("every start possible, the last one too", _draws_every_start),
    ("too short a text is a ValueError", _refuses_short_texts),
)


def batch_of_step(function: Any) -> Report:
    """Try ``function(tokens, seed, step, batch_size, context_length)``."""
    return run(function, BATCH_OF_STEP)


# ------------------------------------------------------------------ resume


class _Tiny(nn.Module):
    """Every kind of thing that a model's state can hold, and nothing else."""

    count: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 13)
        self.down = nn.Linear(13, 6, bias=False)
        self.unused = nn.Parameter(torch.zeros(3))  # never gets a gradient
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=source) / 3)

    def forward(self, tokens: Tensor) -> Tensor:
        self.count += 1
        x = self.embedding(tokens)
        x = x + self.down(torch.tanh(self.up(x)))
        return x @ self.embedding.weight.T


State = dict[str, Tensor]


def _fresh(seed: int) -> tuple[_Tiny, torch.optim.Optimizer]:
    model = _Tiny(seed)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=0.03, betas=(0.9, 0.95))


def _train(
    model: _Tiny, optimizer: torch.optim.Optimizer, first: int, last: int
) -> None:
    for step in range(first, last):
        if step == 3:  # lowered once, and kept by the optimiser alone
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / 3
        source = torch.Generator().manual_seed(step)
        tokens = torch.randint(11, (4, 9), generator=source)
        logits = model(tokens[:, :-1]).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _weights(model: _Tiny) -> State:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def _moments(model: _Tiny, optimizer: torch.optim.Optimizer) -> State:
    return {
        f"{name}/{key}": torch.as_tensor(value).detach().clone()
        for name, weight in model.named_parameters()
        for key, value in optimizer.state.get(weight, {}).items()
    }


def _rates(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [  # JSON knows no tuple, and betas may come back as a list
        {k: list(v) if isinstance(v, tuple) else v for k, v in group.items()}
        for group in ({**group, "params": 0} for group in optimizer.param_groups)
    ]


def _differing(a: State, b: State) -> str:
    """The first name whose tensors differ, or that only one side has."""
    for name in [*a, *b]:
        if name not in a or name not in b:
            return name
        same = a[name].dtype == b[name].dtype and torch.equal(a[name], b[name])
        if not same:
            return name
    return ""


class _Pair:
    """A reader's two functions, however they were handed in."""

    def __init__(self, save: Any, load: Any = None) -> None:
        self.save, self.load, self.alone = save, load, False
        if load is None:
            holder = save
            if isinstance(holder, type) and hasattr(holder, "save"):
                try:
                    needs_self = len(inspect.signature(holder.save).parameters) == 5
                    holder = holder() if needs_self else holder
                except (TypeError, ValueError):
                    pass
            if isinstance(save, tuple | list) and len(save) == 2:
                self.save, self.load = save
            elif hasattr(holder, "save") and hasattr(holder, "load"):
                self.save, self.load = holder.save, holder.load
            else:
                self.alone = True
        self.__name__ = "save and load"
        if load is None and isinstance(getattr(save, "__name__", None), str):
            self.__name__ = save.__name__


def _save(pair: Any, folder: Path, model: Any, optimizer: Any, step: int) -> None:
    if pair.alone and not callable(pair.save):
        kind = type(pair.save).__name__
        raise FailedError(f"a {kind} is neither save nor load. Hand in both functions.")
    try:
        pair.save(folder, model, optimizer, step)
    except NotImplementedError as error:
        if "implemented for" in str(error):
            raise FailedError(f"save raised {one_line(error)}") from error
        raise NotStartedError from error
    except (Exception, SystemExit) as error:
        told = one_line(error)
        if "exp_avg" in told or "'step'" in told:
            raise FailedError(
                f"save raised {told}. A parameter that has had no gradient has no state"
                " in the optimiser."
            ) from error
        raise FailedError(f"save raised {told}") from error
    if not folder.exists():
        if not any(folder.parent.iterdir()):
            raise NotStartedError("save has written nothing into the folder.")
        raise FailedError(
            "after save there is no folder of the name that it was given. If it was"
            " written under another name, rename it at the end."
        )
    if not folder.is_dir():
        raise FailedError("save made a file. A checkpoint is a folder of files.")


def _load(pair: Any, folder: Path, model: Any, optimizer: Any) -> int:
    if pair.alone or not callable(pair.load):
        raise FailedError("there is no load. Hand in both: checks.resume(save, load).")
    try:
        step = pair.load(folder, model, optimizer)
    except NotImplementedError as error:
        raise NotStartedError("save is there, load is not.") from error
    except (Exception, SystemExit) as error:
        told = one_line(error)
        if "pickle" in told.lower() or "weights_only" in told.lower():
            raise FailedError(f"load reads a pickle: {told}") from error
        raise FailedError(f"load raised {told}") from error
    if step is None:
        raise FailedError("load returns None. It must return the step.")
    if isinstance(step, bool) or not isinstance(step, int):
        kind = type(step).__name__
        raise FailedError(f"load returns a {kind}. The step is an int.")
    return step


@contextmanager
def _room() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _goes_on(pair: Any) -> None:
    straight = _fresh(1)
    _train(*straight, 0, 10)
    first = _fresh(1)
    _train(*first, 0, 5)
    saved, moments = _weights(first[0]), _moments(*first)
    with _room() as room:
        _save(pair, room / "five", *first, 5)
        second = _fresh(2)
        step = _load(pair, room / "five", *second)
        _compare(second, saved, moments, first)
        if step != 5:
            advice = " Resuming must neither skip nor repeat one." if step else ""
            raise FailedError(f"saved at step 5, load says {step}.{advice}")
        for name, own in first[0].named_parameters():
            if own.data_ptr() == dict(second[0].named_parameters())[name].data_ptr():
                raise FailedError("the loaded model shares memory with the saved one.")
        _train(*second, 5, 10)
    wrong = _differing(_weights(second[0]), _weights(straight[0]))
    if wrong:
        raise FailedError(
            f"after load all numbers are right, but five steps later {wrong} differs"
            " from a run without a break: the optimiser no longer moves the model's own"
            " parameters. Copy into them; do not replace them."
        )


def _compare(
    second: tuple[_Tiny, torch.optim.Optimizer],
    saved: State,
    moments: State,
    first: tuple[_Tiny, torch.optim.Optimizer],
) -> None:
    found = _weights(second[0])
    wrong = _differing(saved, found)
    if wrong:
        fresh = _weights(_fresh(2)[0])
        if not _differing(found, fresh):
            raise FailedError("load leaves the model as it was: no weight arrives.")
        for dtype in (torch.float16, torch.bfloat16):
            rounded = saved[wrong].to(dtype).to(saved[wrong].dtype)
            if wrong in found and torch.equal(rounded, found[wrong].to(rounded.dtype)):
                raise FailedError(
                    f"{wrong} was rounded to 16 bits on the way. A resumed run then"
                    " drifts from the one it continues."
                )
        if wrong == "count":
            raise FailedError(
                "a buffer, which is no parameter, is not restored. Save state_dict(),"
                " not parameters()."
            )
        if found[wrong].dtype != saved[wrong].dtype:
            raise FailedError(f"{wrong} comes back in another dtype.")
        for rate in (0.03, 0.02 / 3):
            decayed = saved[wrong] * (1 - rate * 0.1)
            if torch.allclose(found[wrong], decayed, rtol=1e-6, atol=1e-8):
                raise FailedError(
                    f"{wrong} comes back smaller by one weight decay: load takes a step"
                    " of the optimiser after the weights are in. Its state can be set"
                    " without one."
                )
        if torch.allclose(found[wrong], saved[wrong], atol=1e-3):
            raise FailedError(f"{wrong} comes back rounded. Keep every bit.")
        raise FailedError(f"after load, {wrong} is not what was saved.")
    own = list(second[0].parameters())
    listed = [p for g in second[1].param_groups for p in g["params"]]
    if {id(p) for p in own} != {id(p) for p in listed}:
        raise FailedError(
            "after load the optimiser's parameters are not the model's own. Copy into"
            " them; do not replace them."
        )
    held = _moments(*second)
    wrong = _differing(moments, held)
    if wrong:
        what = wrong.rpartition("/")[2]
        if not held:
            raise FailedError(
                "the optimiser's state is not restored: its means start at zero again,"
                " and the first steps after the break are wild. Save optimizer.state"
                " too."
            )
        if wrong not in moments:
            raise FailedError(
                f"the optimiser holds {wrong}, which was not saved: state from before"
                " load. Clear optimizer.state first."
            )
        if wrong not in held:
            owner = wrong.rpartition("/")[0]
            for name in held.keys() - moments.keys():
                stray, key = name.rsplit("/", 1)
                sent = moments.get(f"{owner}/{key}")
                if key == "step" or sent is None:  # all steps are alike
                    continue
                if torch.equal(held[name], sent):
                    raise FailedError(
                        f"the state of {owner} arrives at {stray}, which has none: the"
                        " states were counted, not the parameters. Count those"
                        " without a state too, or go by name."
                    )
            raise FailedError(f"{what} of the optimiser does not come back ({wrong}).")
        if held[wrong].shape != moments[wrong].shape:
            raise FailedError(f"{wrong} belongs to another parameter: mixed up.")
        if what == "step":
            raise FailedError(
                "the optimiser's own count of steps is not restored as it was: AdamW"
                " corrects its means by it."
            )
        for dtype in (torch.float16, torch.bfloat16):
            if torch.equal(
                moments[wrong].to(dtype).float(), held[wrong].to(dtype).float()
            ) and torch.equal(held[wrong].to(dtype).float(), held[wrong].float()):
                raise FailedError(f"{what} was rounded to 16 bits on the way.")
        raise FailedError(f"{what} of the optimiser is not what was saved ({wrong}).")
    was, now = _rates(first[1]), _rates(second[1])
    if len(was) != len(now):
        raise FailedError(f"{len(was)} param_groups were saved; {len(now)} came back.")
    for i, (old, new) in enumerate(zip(was, now, strict=True)):
        for name in [*old, *new]:
            if name not in old:
                raise FailedError(f"param_groups[{i}] has grown a setting: {name}.")
            if new.get(name) == old[name]:
                continue
            raise FailedError(
                f"the optimiser's {name} was {old[name]} when it was saved, and is"
                f" {new.get(name)} after load (param_groups[{i}]). Keep the settings of"
                f" {'every one of the' if i else 'the'} param_groups too."
            )


def _replaces_what_was_there(pair: Any) -> None:
    first = _fresh(1)
    _train(*first, 0, 5)
    saved, moments = _weights(first[0]), _moments(*first)
    with _room() as room:
        _save(pair, room / "five", *first, 5)
        _train(*first, 5, 8)
        later, later_moments = _weights(first[0]), _moments(*first)
        _save(pair, room / "eight", *first, 8)
        used = _fresh(2)
        _train(*used, 0, 2)
        used[0].unused.grad = torch.ones(3)  # a state that no checkpoint has
        used[1].step()
        used[1].zero_grad()
        used[0].eval()
        other = _fresh(1)
        _train(*other, 0, 5)
        step = _load(pair, room / "five", *used)
        if used[0].training:
            raise FailedError("load switches the model to training mode. Leave it.")
        if not _differing(_weights(used[0]), later):
            raise FailedError(
                "of two checkpoints, the one asked for is not the one that comes back:"
                " the second has overwritten the first. Write into the folder given."
            )
        _compare(used, saved, moments, other)
        if step != 5:
            raise FailedError(f"of two checkpoints, step 5 comes back as {step}.")
        again = _fresh(3)
        if _load(pair, room / "eight", *again) != 8:
            raise FailedError("the second checkpoint says another step than 8.")
        _compare(again, later, later_moments, first)


def _holds_no_pickle(pair: Any) -> None:
    first = _fresh(1)
    _train(*first, 0, 5)
    with _room() as room:
        _save(pair, room / "five", *first, 5)
        beside = sorted(p.name for p in room.iterdir() if p.name != "five")
        if beside:
            raise FailedError(
                f"{beside[0]} is left beside the folder. Rename the temporary folder,"
                " so that nothing stays behind."
            )
        files = [p for p in sorted((room / "five").rglob("*")) if p.is_file()]
        for file in files:
            content = file.read_bytes()
            if content[:2] == b"PK" or content[:1] == b"\x80":
                raise FailedError(
                    f"{file.name} is a pickle: reading it can run any code. Tensors go"
                    " into safetensors, the rest into JSON."
                )
            if file.suffix == ".safetensors":
                try:
                    load_safetensors(content)
                except Exception as error:
                    raise FailedError(
                        f"{file.name} is no safetensors file: {one_line(error)}"
                    ) from error
            elif file.suffix == ".json":
                try:
                    json.loads(content)
                except ValueError as error:
                    raise FailedError(f"{file.name} is not JSON.") from error
            else:
                raise FailedError(
                    f"{file.name} is neither safetensors nor JSON by its name."
                )
        kinds = {file.suffix for file in files}
        if ".safetensors" not in kinds:
            raise FailedError("no .safetensors file is there: tensors belong in one.")
        if ".json" not in kinds:
            raise FailedError("no .json file is there: the step belongs in one.")


def _contents(folder: Path) -> dict[str, int] | None:
    """Names and sizes in a folder; None if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {e.name: e.stat().st_size for e in entries}
    except OSError:
        return None


class _Crash(BaseException):
    pass


@contextmanager
def _watching(look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` between any two calls of functions inside the block."""
    before, busy = sys.getprofile(), False

    def on_event(frame: Any, event: str, argument: Any) -> None:
        nonlocal busy
        if not busy:
            busy = True
            try:
                look()
            finally:
                busy = False

    sys.setprofile(on_event)
    try:
        yield
    finally:
        sys.setprofile(before)


def _appears_whole(pair: Any) -> None:
    first = _fresh(1)
    _train(*first, 0, 5)
    with _room() as room:
        folder = room / "five"
        seen: list[dict[str, int]] = []

        def look() -> None:
            now = _contents(folder)
            if now is not None and (not seen or seen[-1] != now):
                seen.append(now)

        with _watching(look):
            _save(pair, folder, *first, 5)
        last = _contents(folder)
        early = [now for now in seen if now != last]
        if early:
            names = ", ".join(sorted(early[0])) or "nothing"
            raise FailedError(
                f"while it is written, the folder stands there under its own name with"
                f" {names} in it. After a power cut it would pass for a checkpoint."
                " Fill a folder of another name, and rename it when it is whole."
            )


def _survives_a_crash(pair: Any) -> None:
    first = _fresh(1)
    _train(*first, 0, 5)
    saved, moments = _weights(first[0]), _moments(*first)
    with _room() as room:
        folder = room / "five"
        crashed = False

        def look() -> None:
            nonlocal crashed
            if not crashed and any(
                e.is_file() for e in room.rglob("*") if e.parent != room
            ):
                crashed = True
                raise _Crash

        try:
            with _watching(look):
                _save(pair, folder, *first, 5)
        except _Crash:
            pass
        if crashed and folder.exists():
            raise FailedError(
                "the first file that appears beside the other checkpoints is in the"
                " folder itself: it was filled in place, or elsewhere and moved here."
                " From another disk a move is a copy, which a crash cuts in two. Fill a"
                " folder beside it, and rename that as the very last act."
            )
        if not crashed:  # whole at once, by a way of its own
            return
        try:
            _save(pair, folder, *first, 5)
        except FailedError as failure:
            raise FailedError(
                "after a crash, what was left behind stops the next save:"
                f" {failure}. Remove it first."
            ) from None
        second = _fresh(2)
        _load(pair, folder, *second)
        _compare(second, saved, moments, first)


def _leaves_the_run_alone(pair: Any) -> None:
    first = _fresh(1)
    _train(*first, 0, 5)
    model, optimizer = first
    model.up.eval()  # a part that is frozen while the rest learns
    before = _weights(model), _moments(model, optimizer), _rates(optimizer)
    grads = {
        n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }
    ids = [id(p) for p in model.parameters()]
    modes = [part.training for part in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    with _room() as room:
        where = os.getcwd()
        try:
            _save(pair, room / "five", model, optimizer, 5)
            moved = os.getcwd() != where
        finally:
            os.chdir(where)
        if moved:
            raise FailedError("save changes the working directory.")
        if not torch.equal(state, torch.get_rng_state()):
            raise FailedError("save draws from the global random state.")
        if [part.training for part in model.modules()] != modes:
            raise FailedError(
                "save switches the model's mode. Saving needs no eval(), and train()"
                " afterwards wakes parts that were asleep."
            )
        wrong = _differing(before[0], _weights(model))
        if wrong:
            raise FailedError(f"save changes {wrong} of the model it saves.")
        if [id(p) for p in model.parameters()] != ids:
            raise FailedError("save replaces the model's parameters.")
        if [p.requires_grad for p in model.parameters()] != needs:
            raise FailedError("save changes requires_grad of the model it saves.")
        wrong = _differing(before[1], _moments(model, optimizer))
        if wrong:
            raise FailedError(f"save changes {wrong} of the optimiser.")
        if _rates(optimizer) != before[2]:
            raise FailedError("save changes the optimiser's settings.")
        for name, weight in model.named_parameters():
            had = grads.get(name)
            if (had is None) != (weight.grad is None) or (
                had is not None and not torch.equal(had, weight.grad)  # type: ignore[arg-type]
            ):
                raise FailedError("save clears or changes gradients.")
        other = _fresh(2)
        state = torch.get_rng_state()
        files = _contents(room / "five")
        _load(pair, room / "five", *other)
        if not torch.equal(state, torch.get_rng_state()):
            raise FailedError("load draws from the global random state, or sets it.")
        if _contents(room / "five") != files:
            raise FailedError("load changes the folder. Reading leaves it as it is.")


RESUME: tuple[Property, ...] = (
    ("five steps, a break, five more: bit for bit as ten", _goes_on),
    ("the checkpoint asked for replaces whatever was there", _replaces_what_was_there),
    ("safetensors and JSON in the folder, nothing beside it", _holds_no_pickle),
    ("the folder appears when it is whole, not before", _appears_whole),
    ("a crash leaves no checkpoint, and stops no later save", _survives_a_crash),
    ("saving leaves the run as it is, loading the folder", _leaves_the_run_alone),
)


def resume(save: Any, load: Any = None) -> Report:
    """Try ``save(folder, model, optimizer, step)`` and ``load(folder, model, ...)``.

    Args:
        save: the function, or a class, module or pair that holds both.
        load: the function, if ``save`` is one.
    """
    return run(_Pair(save, load), RESUME)


# ------------------------------------------------------------------ strict_config


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a reader's function has to read first."""

    n_heads: int
    d_model: int = 96
    dropout: float = 0.0
    rate: float = 3e-3
    name: str = "llama"
    tied: bool = True
    n_kv_heads: int = 0
    note: str = field(default_factory=str)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Another class, so that none is built in."""

    path: str
    shuffle: bool
    share: float = 0.1


@dataclass(frozen=True)
class Pair:
    """Fields in an order, without defaults."""

    first: int
    second: float


def _read(function: Any, kind: Any, values: dict[str, Any]) -> Any:
    given = dict(values)
    try:
        result = attempt(function, kind, given)
    except FailedError as failure:
        told = f"{kind.__name__} and {values!r} are in order, but {failure}"
        if "positional argument" in told:
            told += ". A class may be kw_only: build it by names, kind(**values)."
        for key in dataclasses.fields(kind):
            made_anew = key.default_factory is not dataclasses.MISSING
            if made_anew and key.name not in values and key.name in str(failure):
                told += f". {key.name} has a default_factory, which is a default too."
        raise FailedError(told) from None
    if not isinstance(result, kind):
        told = type(result).__name__
        raise FailedError(f"it returns a {told}, not a {kind.__name__}.")
    return result


def _default(kind: Any, name: str) -> Any:
    return next(key.default for key in dataclasses.fields(kind) if key.name == name)


def _builds(function: Any) -> None:
    everything: dict[str, Any] = {
        "n_heads": 6,
        "d_model": 48,
        "dropout": 0.25,
        "rate": 0.5,
    }
    everything |= {"name": "b", "tied": False, "n_kv_heads": 3, "note": "hm"}
    for kind, values in (
        (Shape, everything),
        (Shape, {"n_heads": 6}),
        (Shape, {"tied": False, "n_heads": 1}),
        (Corpus, {"path": "x", "shuffle": False}),
        (Pair, {"second": 0.5, "first": 2}),
    ):
        made = _read(function, kind, values)
        if made != kind(**values):
            wanted = kind(**values)
            wrong = next(
                (
                    key.name
                    for key in dataclasses.fields(kind)
                    if getattr(made, key.name) != getattr(wanted, key.name)
                ),
                "something",
            )
            got, want = getattr(made, wrong, None), getattr(wanted, wrong, None)
            told = f"{values!r} gives {wrong} = {got!r}, not {want!r}."
            if wrong in values and not want and got == _default(kind, wrong):
                told += (
                    " The default took its place: False, 0 and '' are values too, so"
                    " ask whether the key is there, not whether its value is true."
                )
            raise FailedError(told)
        for key in dataclasses.fields(kind):
            got, want = getattr(made, key.name), getattr(kind(**values), key.name)
            if type(got) is not type(want):
                raise FailedError(
                    f"{key.name} became a {type(got).__name__}, and was a"
                    f" {type(want).__name__}."
                )
        extra = set(vars(made)) - {key.name for key in dataclasses.fields(kind)}
        if extra:
            raise FailedError(f"the result has grown a field: {min(extra)}.")
        try:
            object.__getattribute__(made, "__dataclass_fields__")
            made.__class__.__setattr__(made, dataclasses.fields(kind)[0].name, 1)
        except dataclasses.FrozenInstanceError:
            continue
        raise FailedError("the result is not frozen: a field could be set afterwards.")


def _refusal(
    function: Any, kind: Any, values: dict[str, Any], rule: str, *named: str
) -> None:
    """The function must raise a ValueError that names everything in ``named``."""
    try:
        result = function(kind, dict(values))
    except ValueError as error:
        told = str(error)
        for word in named:
            if word not in told:
                what = "key" if word == named[0] else "value"
                raise FailedError(
                    f"{rule}, and the error does not name the {what} {word}: {told!r}."
                ) from error
        return
    except NotImplementedError as error:
        raise NotStartedError from error
    except (Exception, SystemExit) as error:
        own = " kind(**values) raises it; look before you build."
        advice = own if isinstance(error, TypeError) else ""
        raise FailedError(
            f"{rule}, and it raises {type(error).__name__} instead of ValueError."
            f"{advice}"
        ) from error
    if result is None:
        raise FailedError(f"{rule}, but it returns None. Raise a ValueError.")
    told = repr(result)
    raise FailedError(f"{rule}, but it was taken: {told}.")


def _refuses_unknown(function: Any) -> None:
    rule = "an unknown key must be refused"
    for kind, values, key in (
        (Shape, {"n_heads": 6, "drop_out": 0.1}, "drop_out"),
        (Shape, {"n_heads": 6, "Rate": 0.1}, "Rate"),
        (Shape, {"n_heads": 6, "rat": 0.1}, "rat"),
        (Shape, {"n_heads": 6, "rates": 0.1}, "rates"),
        (Shape, {"n_heads": 6, "n-kv-heads": 2}, "n-kv-heads"),
        (Shape, {"n_heads": 6, "extra": None}, "extra"),
        (Shape, {"n_heads": 6, "_hidden": 1}, "_hidden"),
        (Shape, {"n_heads": 6, "__class__": 1}, "__class__"),
        (Corpus, {"path": "x", "shuffle": True, "n_heads": 6}, "n_heads"),
        (Pair, {"first": 1, "second": 2.0, "third": 3}, "third"),
    ):
        _refusal(function, kind, values, f"{rule} ({key})", key)


def _refuses_missing(function: Any) -> None:
    for kind, values, key in (
        (Shape, {"d_model": 48}, "n_heads"),
        (Shape, {}, "n_heads"),
        (Corpus, {"path": "x"}, "shuffle"),
        (Corpus, {"shuffle": True, "share": 0.5}, "path"),
        (Pair, {"first": 1}, "second"),
    ):
        rule = f"{key} has no default and is missing"
        _refusal(function, kind, values, rule, key)


def _tells_bool_from_int(function: Any) -> None:
    for key, value in (
        ("n_heads", True),
        ("n_kv_heads", False),
        ("rate", True),
        ("tied", 1),
        ("tied", 0),
    ):
        wanted = {"n_heads": "int", "n_kv_heads": "int", "rate": "float"}
        rule = f"{value!r} is no {wanted.get(key, 'bool')} for {key}"
        if isinstance(value, bool):
            rule += " (to Python a bool is an int)"
        _refusal(function, Shape, {"n_heads": 6, key: value}, rule, key, repr(value))


def _refuses_wrong_types(function: Any) -> None:
    for kind, key, value in (
        (Shape, "n_heads", "3"),
        (Shape, "n_heads", 3.0),
        (Shape, "d_model", "many"),
        (Shape, "n_kv_heads", None),
        (Shape, "n_heads", [3]),
        (Shape, "rate", "0.25"),
        (Shape, "dropout", None),
        (Shape, "rate", "fast"),
        (Shape, "name", 7),
        (Shape, "note", 7.5),
        (Shape, "note", None),
        (Shape, "tied", "yes"),
        (Shape, "tied", "false"),
        (Shape, "tied", None),
        (Corpus, "path", 12),
        (Corpus, "share", "half"),
        (Pair, "second", "2"),
        (Pair, "first", 2.5),
    ):
        fine: dict[Any, dict[str, Any]] = {
            Shape: {"n_heads": 6},
            Corpus: {"path": "x", "shuffle": True},
            Pair: {"first": 1, "second": 2.0},
        }
        types: dict[str, Any] = {k.name: k.type for k in dataclasses.fields(kind)}
        rule = f"{value!r} is no {types[key].__name__} for {key}"
        named = str(value) if not isinstance(value, str) else value
        _refusal(function, kind, {**fine[kind], key: value}, rule, key, named)


def _welcomes_int_for_float(function: Any) -> None:
    try:
        made = _read(function, Shape, {"n_heads": 6, "rate": 3, "dropout": 0})
    except FailedError as failure:
        raise FailedError(f"an int may stand for a float. {failure}") from None
    if (made.rate, made.dropout) != (3, 0):
        raise FailedError("an int for a float changes its value.")


def _leaves_values(function: Any) -> None:
    values = {"n_heads": 6, "rate": 0.5}
    before = dict(values)
    attempt(function, Shape, values)
    if values != before:
        raise FailedError("it changes the dictionary it was given. Read, do not pop.")
    bad = {"n_heads": 6, "drop_out": 0.1}
    with suppress(Exception):
        function(Shape, bad)
    if bad != {"n_heads": 6, "drop_out": 0.1}:
        raise FailedError("it changes the dictionary it was given. Read, do not pop.")
    if _read(function, Shape, {"n_heads": 2}) != Shape(n_heads=2):
        raise FailedError("what was read once is remembered at the next call.")


STRICT_CONFIG: tuple[Property, ...] = (
    ("a frozen object of the class, defaults filled in", _builds),
    ("an unknown key is refused by name", _refuses_unknown),
    ("a missing key is refused by name", _refuses_missing),
    ("true is no number, and 1 is no truth", _tells_bool_from_int),
    ("no other type passes, none is converted", _refuses_wrong_types),
    ("a whole number may stand for a float", _welcomes_int_for_float),
    ("the dictionary stays as it was", _leaves_values),
)


def strict_config(function: Any) -> Report:
    """Try ``function(kind, values)``: a frozen dataclass and a dictionary."""
    return run(function, STRICT_CONFIG)
