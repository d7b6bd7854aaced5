"""Chapter 12: does a reader's arithmetic of a whole run come out right?"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from minillm.checks import FailedError, Property, Report, attempt, run

TOLERANCE = 1e-4  # a number rounded to four digits or to a whole one is right
NEARLY = 0.05

# ------------------------------------------------------------------ chinchilla

Budget = tuple[float, float]  # FLOPs, tokens a parameter
Split = tuple[float, float]  # parameters, tokens

BUDGETS: tuple[Budget, ...] = (
    (1.3e17, 20.0),
    (5.76e23, 20.0),  # Chinchilla's
    (7e19, 3.0),
    (2e18, 170.0),
    (9e21, 55.0),
)
NAMES = ("parameters", "tokens")
CHINCHILLA = 5.76e23, 70e9, 1.4e12  # FLOPs, parameters, tokens; as published


def _split(flops: float, ratio: float) -> Split:
    parameters = math.sqrt(flops / (6 * ratio))
    return parameters, ratio * parameters


def _at_cost(each: float) -> Callable[[float, float], Split]:
    """The rule with another number of FLOPs for each parameter and token."""

    def rule(flops: float, ratio: float) -> Split:
        parameters = math.sqrt(flops / (each * ratio))
        return parameters, ratio * parameters

    return rule


def _from(size: Callable[[float, float], float]) -> Callable[[float, float], Split]:
    """A wrong number of parameters, and tokens that follow from it."""
    return lambda flops, ratio: (size(flops, ratio), ratio * size(flops, ratio))


SPLIT_SUSPECTS: tuple[tuple[str, Callable[[float, float], Split]], ...] = (
    (
        "the two are swapped, or the ratio is upside down: parameters come first, and"
        " tokens are tokens_per_parameter times as many.",
        lambda c, r: _split(c, r)[::-1],
    ),
    (
        "tokens_per_parameter is not used: it is 20 whatever is asked.",
        lambda c, r: _split(c, 20),
    ),
    (
        "this is C = 2 N D, the forward pass alone. Training costs 6 N D.",
        _at_cost(2),
    ),
    ("this is C = 3 N D. A parameter takes two FLOPs a pass: 6 N D.", _at_cost(3)),
    ("this is C = 4 N D, the backward pass alone. Both: 6 N D.", _at_cost(4)),
    ("this is C = 8 N D: the forward pass is counted twice. It is 6 N D.", _at_cost(8)),
    ("this is C = N D: the 6 is missing.", _at_cost(1)),
    (
        "the 6 stands outside the root: C / 6 / r is what the root is taken of.",
        _from(lambda c, r: math.sqrt(c / r) / 6),
    ),
    (
        "the ratio stands outside the root: with D = r N the budget is 6 r N².",
        _from(lambda c, r: math.sqrt(c / 6) / r),
    ),
    (
        "the root is missing: 6 N · r N = C has N twice, so N² = C / (6 r).",
        _from(lambda c, r: c / (6 * r)),
    ),
    (
        "a cube root is taken. N stands there twice: N² = C / (6 r).",
        _from(lambda c, r: (c / (6 * r)) ** (1 / 3)),
    ),
    (
        "half of C / (6 r) is taken, not its square root.",
        _from(lambda c, r: c / (6 * r) / 2),
    ),
    (
        "the root is of C · r / 6, so there are more parameters the more tokens each"
        " should see. Divide by r.",
        _from(lambda c, r: math.sqrt(c * r / 6)),
    ),
    (
        "the ratio is not used for the parameters: N² = C / (6 r).",
        _from(lambda c, r: math.sqrt(c / 6)),
    ),
    (
        "parameters and tokens are equal. Tokens are r times as many.",
        lambda c, r: (math.sqrt(c / 6), math.sqrt(c / 6)),
    ),
    (
        "the tokens are as many as the parameters: multiply by tokens_per_parameter.",
        lambda c, r: (_split(c, r)[0], _split(c, r)[0]),
    ),
    (
        "the tokens are 20 times the parameters whatever is asked.",
        lambda c, r: (_split(c, r)[0], 20 * _split(c, r)[0]),
    ),
    (
        "the tokens are divided by the ratio. Multiply.",
        lambda c, r: (_split(c, r)[0], _split(c, r)[0] / r),
    ),
    (
        "the 6 is missing from the tokens, or there twice: they are C / (6 N) = r N.",
        lambda c, r: (_split(c, r)[0], c / _split(c, r)[0]),
    ),
    (
        "the second number is the ratio, not the tokens.",
        lambda c, r: (_split(c, r)[0], r),
    ),
    (
        "the second number is the budget, not the tokens.",
        lambda c, r: (_split(c, r)[0], c),
    ),
    (
        "these are millions. Give plain numbers.",
        lambda c, r: (_split(c, r)[0] / 1e6, _split(c, r)[1] / 1e6),
    ),
    (
        "these are billions. Give plain numbers.",
        lambda c, r: (_split(c, r)[0] / 1e9, _split(c, r)[1] / 1e9),
    ),
    (
        "one is in other units than the other (10**9). Give plain numbers.",
        lambda c, r: (_split(c, r)[0] / 1e9, _split(c, r)[1]),
    ),
    (
        "the FLOPs are taken for a number of tokens.",
        lambda c, r: (c / r, c),
    ),
    (
        "the FLOPs are taken for a number of parameters.",
        lambda c, r: (c, c * r),
    ),
)

SPLIT_ERRORS = {
    "positional argument": "it is called as chinchilla(flops, tokens_per_parameter),"
    " and as chinchilla(flops).",
    "math domain": "a root of a negative number is taken.",
}


def _pair(function: Any, *arguments: float) -> Split:
    """Call the reader's function; it must give two numbers."""
    result = attempt(function, *arguments, hints=SPLIT_ERRORS)
    try:
        parts = [result[name] for name in NAMES]
    except (TypeError, KeyError, IndexError, ValueError, RuntimeError):
        try:
            parts = list(result)
        except TypeError:
            raise FailedError(
                "one thing came back. Return two: (parameters, tokens)."
            ) from None
    if len(parts) != 2:
        raise FailedError(
            f"{len(parts)} things came back. Return (parameters, tokens)."
        )
    return _number(parts[0]), _number(parts[1])


def _splits_the_budget(function: Any) -> None:
    given = [_pair(function, *budget) for budget in BUDGETS]
    _accuse(given, [_split(*budget) for budget in BUDGETS], BUDGETS, SPLIT_SUSPECTS)


def _spends_it(function: Any) -> None:
    for flops, ratio in BUDGETS:
        parameters, tokens = _pair(function, flops, ratio)
        spent = 6 * parameters * tokens
        if not _same(spent, flops):
            raise FailedError(
                f"of {flops:g} FLOPs, 6 N D spends {spent:.3g}. All must be spent."
            )


def _keeps_the_ratio(function: Any) -> None:
    for flops, ratio in BUDGETS:
        parameters, tokens = _pair(function, flops, ratio)
        if parameters == 0 or not _same(tokens / parameters, ratio):
            raise FailedError(
                f"asked for {ratio:g} tokens a parameter, it gives {tokens:.4g} tokens"
                f" for {parameters:.4g} parameters."
            )


def _both_double(function: Any) -> None:
    for flops, ratio in BUDGETS:
        before, after = _pair(function, flops, ratio), _pair(function, 4 * flops, ratio)
        for name, one, other in zip(NAMES, before, after, strict=True):
            if not _same(other, 2 * one):
                raise FailedError(
                    f"four times the FLOPs must give twice the {name}: both grow with"
                    " the root of the budget."
                )


def _twenty_by_itself(function: Any) -> None:
    for flops in (1e18, 3e20):
        try:
            given = _pair(function, flops)
        except FailedError as failure:
            raise FailedError(
                "chinchilla(flops) alone does not work: give tokens_per_parameter its"
                f" default of 20. ({failure})"
            ) from None
        if not all(map(_same, given, _split(flops, 20))):
            raise FailedError(
                f"chinchilla({flops:g}) alone must mean 20 tokens a parameter:"
                f" {_split(flops, 20)[0]:.4g} and {_split(flops, 20)[1]:.4g}, not"
                f" {given[0]:.4g} and {given[1]:.4g}."
            )


def _gives_chinchilla(function: Any) -> None:
    flops, parameters, tokens = CHINCHILLA
    given = _pair(function, flops, 20)
    for name, mine, theirs in zip(NAMES, given, (parameters, tokens), strict=True):
        if not 0.97 < mine / theirs < 1.03:
            raise FailedError(
                f"Chinchilla's {flops:g} FLOPs gave it {theirs:g} {name}; this says"
                f" {mine:.3g}."
            )


CHINCHILLA_SPLIT: tuple[Property, ...] = (
    ("parameters and tokens of five budgets", _splits_the_budget),
    ("6 N D is the whole budget", _spends_it),
    ("as many tokens a parameter as asked for", _keeps_the_ratio),
    ("20 of them, if nothing is said", _twenty_by_itself),
    ("four times the budget: twice of each", _both_double),
    ("Chinchilla: 70 billion, 1.4 trillion", _gives_chinchilla),
)


def chinchilla(function: Any) -> Report:
    """Try ``function(flops, tokens_per_parameter=20) -> (parameters, tokens)``."""
    return run(function, CHINCHILLA_SPLIT)


# ------------------------------------------------------------------ bits_per_byte

Measured = tuple[float, int, int]  # nats a token, tokens, bytes

TEXTS: tuple[Measured, ...] = (
    (1.5, 1000, 1300),
    (3.1, 420_000, 1_140_000),
    (0.7, 99, 101),
    (5.0, 7, 31),
    (2.2, 50_000, 70_000),
)


def _bits(loss: float, tokens: float, num_bytes: float) -> float:
    return loss * tokens / num_bytes / math.log(2)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


BITS_SUSPECTS: tuple[tuple[str, Callable[[float, int, int], float]], ...] = (
    (
        "these are nats per byte. A bit is ln 2 nats: divide by ln 2.",
        lambda n, t, b: n * t / b,
    ),
    (
        "it is multiplied by ln 2. A nat is more than a bit: divide.",
        lambda n, t, b: n * t / b * math.log(2),
    ),
    (
        "tokens and bytes are swapped: a loss of the whole text, over its bytes.",
        lambda n, t, b: n * b / t / math.log(2),
    ),
    (
        "tokens and bytes are swapped, and ln 2 is missing.",
        lambda n, t, b: n * b / t,
    ),
    (
        "these are bits per token. Multiply by tokens and divide by bytes.",
        lambda n, t, b: n / math.log(2),
    ),
    (
        "nothing is done with the loss: nats per token come back.",
        lambda n, t, b: n,
    ),
    (
        "these are the bits of the whole text. Divide by its bytes.",
        lambda n, t, b: n * t / math.log(2),
    ),
    (
        "tokens is missing: the loss is a mean over tokens, so multiply by them.",
        lambda n, t, b: n / b / math.log(2),
    ),
    (
        "the loss is divided by tokens once more. It is a mean already: multiply.",
        lambda n, t, b: n / t / b / math.log(2),
    ),
    (
        "divided by log 10 of 2. The loss is in nats: ln 2, math.log(2).",
        lambda n, t, b: n * t / b / math.log10(2),
    ),
    (
        "divided by ln 10. Bits have base 2: divide by ln 2.",
        lambda n, t, b: n * t / b / math.log(10),
    ),
    (
        "divided by 2 instead of ln 2.",
        lambda n, t, b: n * t / b / 2,
    ),
    (
        "divided by ln 2 twice.",
        lambda n, t, b: n * t / b / math.log(2) ** 2,
    ),
    (
        "the logarithm of the loss is taken. The loss is a logarithm already.",
        lambda n, t, b: math.log2(n) * t / b,
    ),
    (
        "these are bytes per byte: the bits are divided by 8. Give bits.",
        lambda n, t, b: _bits(n, t, b) / 8,
    ),
    (
        "there is a factor of 8: the loss is in nats, not in bytes.",
        lambda n, t, b: _bits(n, t, b) * 8,
    ),
    (
        "divided by the bits of the text, without ln 2: nats are not bits times 8.",
        lambda n, t, b: n * t / (8 * b),
    ),
    (
        "it is upside down: bits of loss over bytes, not bytes over bits.",
        lambda n, t, b: 1 / _bits(n, t, b),
    ),
    (
        "this is a compression ratio, 8 bits over the answer. Give bits per byte.",
        lambda n, t, b: 8 / _bits(n, t, b),
    ),
    (
        "perplexity goes in: exp(loss). The loss itself is what adds up.",
        lambda n, t, b: _exp(n) * t / b,
    ),
    (
        "2 to the power of the answer: that is a perplexity per byte.",
        lambda n, t, b: 2 ** _bits(n, t, b),
    ),
    (
        "tokens - 1 are counted. The loss is over `tokens` of them.",
        lambda n, t, b: _bits(n, t - 1, b),
    ),
    (
        "bytes - 1 are counted. Divide by all of them.",
        lambda n, t, b: _bits(n, t, b - 1),
    ),
    (
        "tokens per byte: the loss is not used.",
        lambda n, t, b: t / b,
    ),
    (
        "tokens and bytes are added up.",
        lambda n, t, b: n * t / (t + b) / math.log(2),
    ),
    (
        "tokens / bytes is divided with //, and the fraction is lost.",
        lambda n, t, b: n * (t // b) / math.log(2),
    ),
    (
        "bytes / tokens is divided with //: a token has 1.3 bytes, say, and not 1.",
        lambda n, t, b: n / (b // t) / math.log(2),
    ),
)

BITS_ERRORS = {
    "positional argument": "it is called as bits_per_byte(loss, tokens, num_bytes).",
    "math domain": "a logarithm of zero or less is taken. The only one is of 2.",
    "ZeroDivision": "it divides by something that can be zero.",
}


def _bits_of(function: Any, *arguments: float) -> float:
    return _number(attempt(function, *arguments, hints=BITS_ERRORS))


def _gives_the_bits(function: Any) -> None:
    given = [_bits_of(function, *text) for text in TEXTS]
    _accuse(given, [_bits(*text) for text in TEXTS], TEXTS, BITS_SUSPECTS)


def _eight_for_who_knows_nothing(function: Any) -> None:
    given = _bits_of(function, math.log(256), 5000, 5000)
    if not _same(given, 8):
        raise FailedError(
            f"one token a byte and a loss of ln 256 are 8 bits, not {given:.5g}."
        )


def _same_in_other_tokens(function: Any) -> None:
    for loss, tokens, num_bytes in TEXTS:
        before = _bits_of(function, loss, 2 * tokens, num_bytes)
        after = _bits_of(function, 2 * loss, tokens, num_bytes)
        if not _same(before, after):
            raise FailedError(
                "half as many tokens, each twice as hard to guess, are the same text:"
                " the answer must not change."
            )


def _nothing_for_who_knows_all(function: Any) -> None:
    given = _bits_of(function, 0.0, 300, 700)
    if abs(given) > TOLERANCE:
        raise FailedError(f"a loss of 0 needs no bits, not {given:.5g}.")


def _is_not_rounded(function: Any) -> None:
    loss, tokens, num_bytes = 0.002, 1_000_003, 999_983
    given = _bits_of(function, loss, tokens, num_bytes)
    if not _same(given, _bits(loss, tokens, num_bytes)):
        raise FailedError(
            f"({loss}, {tokens}, {num_bytes}) gives {given:.6g}, not"
            f" {_bits(loss, tokens, num_bytes):.6g}. Is something rounded, or divided"
            " with //?"
        )


BITS_PER_BYTE: tuple[Property, ...] = (
    ("the bits of five texts", _gives_the_bits),
    ("8 bits for who knows nothing about bytes", _eight_for_who_knows_nothing),
    ("the same for other tokens of the same text", _same_in_other_tokens),
    ("none for who knows everything", _nothing_for_who_knows_all),
    ("not rounded", _is_not_rounded),
)


def bits_per_byte(function: Any) -> Report:
    """Try ``function(loss_nats_per_token, tokens, num_bytes) -> bits per byte``."""
    return run(function, BITS_PER_BYTE)


# ------------------------------------------------------- model_flops_utilisation

Speed = tuple[float, float, float]  # tokens/s, FLOPs/token, peak FLOPs/s

SPEEDS: tuple[Speed, ...] = (
    (180_000, 855e6, 312e12),
    (2_600.0, 5e7, 1.4e11),
    (11_000, 4.2e10, 989e12),
    (37, 6e11, 65e12),
    (5_000, 9e7, 5e11),
)


def _share(speed: float, each: float, peak: float) -> float:
    return speed * each / peak


def _times(factor: float) -> Callable[[float, float, float], float]:
    return lambda *speed: factor * _share(*speed)


SHARE_SUSPECTS: tuple[tuple[str, Callable[[float, float, float], float]], ...] = (
    ("it is upside down: done over possible.", lambda *s: 1 / _share(*s)),
    ("these are per cent. Give a share: 0.4, not 40.", _times(100)),
    (
        "there is a factor of 6: flops_per_token counts FLOPs already, not parameters.",
        _times(6),
    ),
    (
        "there is a factor of 3: flops_per_token holds the backward pass already.",
        _times(3),
    ),
    (
        "there is a factor of 2: flops_per_token counts multiplications and additions"
        " already.",
        _times(2),
    ),
    (
        "divided by 3: the backward pass counts, too.",
        _times(1 / 3),
    ),
    (
        "divided by 6: flops_per_token is used as it is.",
        _times(1 / 6),
    ),
    (
        "divided by 2: the peak counts multiplications and additions, as the FLOPs do.",
        _times(1 / 2),
    ),
    ("there is a factor of 8. All is in FLOPs, nothing in bytes.", _times(8)),
    ("divided by 8: all is in FLOPs, and of one machine.", _times(1 / 8)),
    ("the peak is taken per hour. Both are per second.", _times(1 / 3600)),
    ("the speed is taken per hour. Both are per second.", _times(3600)),
    ("the peak is taken for teraFLOPs. It is in FLOPs.", _times(1e-12)),
    ("the peak is divided by 10**12. It is in FLOPs, as the work is.", _times(1e12)),
    ("divided by 100. It is a share already.", _times(1 / 100)),
    (
        "flops_per_token is not used: tokens are not FLOPs.",
        lambda s, f, p: s / p,
    ),
    (
        "the speed is not used: multiply by tokens_per_second.",
        lambda s, f, p: f / p,
    ),
    (
        "the peak is not used: these are FLOPs per second. Divide by the peak.",
        lambda s, f, p: s * f,
    ),
    (
        "divided by flops_per_token. Tokens a second, times FLOPs a token.",
        lambda s, f, p: s / f / p,
    ),
    (
        "divided by tokens_per_second: it is taken for seconds per token.",
        lambda s, f, p: f / s / p,
    ),
    (
        "it is the tokens that the peak would allow: peak / flops_per_token. Divide"
        " your speed by it.",
        lambda s, f, p: p / f,
    ),
    (
        "speed over the wrong quotient: FLOPs a token over peak are seconds; multiply.",
        lambda s, f, p: s * p / f,
    ),
    (
        "this is the share that is NOT used: 1 minus the answer.",
        lambda *s: 1 - _share(*s),
    ),
    (
        "the share is of done and possible together. Divide by the peak alone.",
        lambda s, f, p: s * f / (s * f + p),
    ),
    (
        "divided with //: whole times only, mostly 0. Use /.",
        lambda s, f, p: s * f // p,
    ),
    (
        "rounded to two digits.",
        lambda *s: round(_share(*s), 2),
    ),
    (
        "rounded to three digits.",
        lambda *s: round(_share(*s), 3),
    ),
    (
        "cut off at 1. More than the peak is a mistake in the counting: show it.",
        lambda *s: min(_share(*s), 1.0),
    ),
    (
        "the square root of the share is taken.",
        lambda *s: math.sqrt(_share(*s)),
    ),
)

SHARE_ERRORS = {
    "positional argument": "it is called as model_flops_utilisation(tokens_per_second,"
    " flops_per_token, peak_flops).",
    "math domain": "a root or a logarithm is taken. There is none.",
}
IMPOSSIBLE: Speed = (900_000, 8e8, 312e12)  # 2.3 times the peak: somebody miscounted


def _share_of(function: Any, *arguments: float) -> float:
    return _number(attempt(function, *arguments, hints=SHARE_ERRORS))


def _gives_the_share(function: Any) -> None:
    cases = (*SPEEDS, IMPOSSIBLE)
    given = [_share_of(function, *speed) for speed in SPEEDS]
    try:
        given.append(_share_of(function, *IMPOSSIBLE))
    except FailedError as failure:
        raise FailedError(
            f"a share above 1 is refused: {failure}. It shows that something was"
            " miscounted: return it."
        ) from None
    _accuse(given, [_share(*speed) for speed in cases], cases, SHARE_SUSPECTS)


def _one_at_the_peak(function: Any) -> None:
    for speed, each in ((1000.0, 3e8), (70.0, 2e10)):
        given = _share_of(function, speed, each, speed * each)
        if not _same(given, 1):
            raise FailedError(
                f"{speed:g} tokens a second of {each:g} FLOPs each, on a machine that"
                f" can do just that: 1, not {given:.5g}."
            )


def _proportional(function: Any) -> None:
    for speed in SPEEDS:
        before = _share_of(function, *speed)
        for i, (name, factor) in enumerate(
            (
                ("tokens_per_second", 2),
                ("flops_per_token", 2),
                ("peak_flops", 0.5),
            )
        ):
            more = list(speed)
            more[i] *= 2
            if not _same(_share_of(function, *more), factor * before):
                word = "half" if factor < 1 else "twice"
                raise FailedError(f"twice the {name} must be {word} the share.")


def _hides_nothing(function: Any) -> None:
    given = _share_of(function, *IMPOSSIBLE)
    if not given > 1:
        raise FailedError(
            f"a speed of {_share(*IMPOSSIBLE):.2g} times the peak is impossible, so"
            f" something was miscounted; {given:.3g} hides it."
        )


def _does_not_round_to_nothing(function: Any) -> None:
    slow: Speed = (3.0, 2e6, 312e12)
    given = _share_of(function, *slow)
    if not _same(given, _share(*slow)):
        raise FailedError(
            f"a very slow run uses {_share(*slow):.3g} of the peak, not {given:.3g}."
            " Is something rounded, or divided with //?"
        )


MODEL_FLOPS_UTILISATION: tuple[Property, ...] = (
    ("the share of six runs", _gives_the_share),
    ("1 at the peak", _one_at_the_peak),
    ("proportional to speed and work, and to 1 / peak", _proportional),
    ("more than 1 is shown", _hides_nothing),
    ("not rounded", _does_not_round_to_nothing),
)


def model_flops_utilisation(function: Any) -> Report:
    """Try ``function(tokens_per_second, flops_per_token, peak_flops) -> share``."""
    return run(function, MODEL_FLOPS_UTILISATION)


# ------------------------------------------------------------------ small tools


def _number(value: Any) -> float:
    """What a reader gave, as a float; numbers of NumPy and PyTorch count."""
    if not isinstance(value, bool | str | bytes | complex):
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise FailedError(f"a {type(value).__name__} came back where a number should be.")


def _same(given: float, wanted: float, tolerance: float = TOLERANCE) -> bool:
    return math.isclose(given, wanted, rel_tol=tolerance, abs_tol=1e-300)


def _alike(given: Any, wanted: Any, tolerance: float = TOLERANCE) -> bool:
    if isinstance(wanted, tuple):
        pairs = zip(given, wanted, strict=True)
        return all(_same(*pair, tolerance) for pair in pairs)
    return _same(given, wanted, tolerance)


def _accuse(
    given: Sequence[Any],
    wanted: Sequence[Any],
    cases: Sequence[tuple[Any, ...]],
    suspects: Sequence[tuple[str, Callable[..., Any]]],
) -> None:
    """Nothing, if all is right; else the name of the bug, or the first wrong number."""
    if all(map(_alike, given, wanted)):
        return
    for hint, rule in suspects:
        if all(
            _alike(one, rule(*case)) for one, case in zip(given, cases, strict=True)
        ):
            raise FailedError(hint)
    for one, right, case in zip(given, wanted, cases, strict=True):
        if not _alike(one, right):
            said = ", ".join(f"{number:g}" for number in case)
            told = f"({said}) gives {_said(one)}, not {_said(right)}."
            if _alike(one, right, NEARLY):
                told += " Is something rounded?"
            raise FailedError(told)


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_said(part) for part in value)})"
    return f"{value:.5g}"
