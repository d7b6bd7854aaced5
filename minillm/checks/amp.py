"""Chapter 9: does a reader's gradient scaler scale, look, skip and recover?"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minillm.checks import FailedError, NotStartedError, Property, Report, attempt, run

# ------------------------------------------------------------------ what it is tried on

SHAPES = ((3,), (2, 2), (4,), (2,))  # two parameters in each of two groups
RATES = (0.5, 0.25)
LONG = 10_000  # a growth_interval that no try comes to the end of

Grads = list[Tensor]


class Watched(torch.optim.SGD):
    """SGD that counts how often it was told to step."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        return super().step(closure)


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _wanted() -> Grads:
    """The true gradients of the tries, none of them zero."""
    return [_noise(9 + i, *shape) for i, shape in enumerate(SHAPES)]


class Bench:
    """Four parameters in two groups of an optimiser, and losses with known slopes.

    Args:
        momentum: of the optimiser.
        idle: whether the second group begins with a parameter without gradient.
    """

    def __init__(self, momentum: float = 0.0, idle: bool = False) -> None:
        self.parameters = [nn.Parameter(_noise(i, *s)) for i, s in enumerate(SHAPES)]
        self.idle = nn.Parameter(torch.ones(2))
        second = [self.idle] * idle + self.parameters[2:]
        groups = [
            {"params": self.parameters[:2], "lr": RATES[0]},
            {"params": second, "lr": RATES[1]},
        ]
        self.optimizer = Watched(groups, lr=1.0, momentum=momentum)

    def loss(self, slopes: Grads) -> Tensor:
        """A number whose gradients are ``slopes``."""
        pairs = zip(self.parameters, slopes, strict=True)
        return torch.stack([(p * slope).sum() for p, slope in pairs]).sum()

    @property
    def grads(self) -> Grads:
        """What the parameters hold; where they hold nothing, NaN."""
        return [
            torch.full_like(p, math.nan) if p.grad is None else p.grad
            for p in self.parameters
        ]

    def values(self) -> Grads:
        """The parameters, copied."""
        return [p.detach().clone() for p in self.parameters]

    def rates(self) -> list[float]:
        """The learning rates."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def momenta(self) -> Grads:
        """The optimiser's memory, copied."""
        states = [self.optimizer.state.get(p, {}) for p in self.parameters]
        return [
            torch.zeros_like(p)
            if state.get("momentum_buffer") is None
            else state["momentum_buffer"].clone()
            for p, state in zip(self.parameters, states, strict=True)
        ]


# ------------------------------------------------------------------ suspects

# What backward leaves, from the true gradients and the scale.
BACKWARD_SUSPECTS: tuple[tuple[str, Callable[[Tensor, float], Tensor]], ...] = (
    (
        "the loss is not scaled. Multiply it by self.scale before backward.",
        lambda grad, scale: grad,
    ),
    (
        "the loss is divided by the scale. Multiply.",
        lambda grad, scale: grad / scale,
    ),
    (
        "the loss is multiplied by the scale twice.",
        lambda grad, scale: grad * scale**2,
    ),
    (
        "backward runs twice, so the gradients are there twice.",
        lambda grad, scale: 2 * grad * scale,
    ),
    (
        "the loss is multiplied by 65,536 whatever the scale is. Use self.scale.",
        lambda grad, scale: grad * 2.0**16,
    ),
    (
        "the loss is multiplied by the root of the scale. Use the scale.",
        lambda grad, scale: grad * scale**0.5,
    ),
)

# What unscale leaves, from the scaled gradients of four parameters and the scale.
UNSCALE_SUSPECTS: tuple[tuple[str, Callable[[Grads, float], Grads]], ...] = (
    (
        "unscale changes no gradient. Divide each by self.scale.",
        lambda grads, scale: grads,
    ),
    (
        "unscale multiplies the gradients by the scale. Divide.",
        lambda grads, scale: [grad * scale for grad in grads],
    ),
    (
        "the gradients are divided by the scale twice.",
        lambda grads, scale: [grad / scale**2 for grad in grads],
    ),
    (
        "only the first parameter group is unscaled. Loop over all param_groups.",
        lambda grads, scale: [grad / scale for grad in grads[:2]] + grads[2:],
    ),
    (
        "only the last parameter group is unscaled. Loop over all param_groups.",
        lambda grads, scale: grads[:2] + [grad / scale for grad in grads[2:]],
    ),
    (
        "only the first parameter of each group is unscaled. Loop over them all.",
        lambda grads, scale: [
            grads[0] / scale,
            grads[1],
            grads[2] / scale,
            grads[3],
        ],
    ),
    (
        "only the last parameter of each group is unscaled. Loop over them all.",
        lambda grads, scale: [grads[0], grads[1] / scale, grads[2], grads[3] / scale],
    ),
    (
        "only the first parameter is unscaled. Loop over them all.",
        lambda grads, scale: [grads[0] / scale, *grads[1:]],
    ),
    (
        "the gradients are set to zero. Divide them by the scale.",
        lambda grads, scale: [0 * grad for grad in grads],
    ),
    (
        "the gradients are brought to length 1. Divide them by the scale.",
        lambda grads, scale: [grad / grad.norm() for grad in grads],
    ),
    (
        "the scale is subtracted from the gradients. Divide.",
        lambda grads, scale: [grad - scale for grad in grads],
    ),
    (
        "the gradients are divided by 65,536 whatever the scale is. Use self.scale.",
        lambda grads, scale: [grad / 2.0**16 for grad in grads],
    ),
)
AT_NONE = (
    "unscale stops at the first parameter without gradient. Go on with the next one."
)

# The gradients of a step, and how they are changed: (parameter, place, value).
Change = tuple[int, int, float]
HUGE = 3e38  # twice that leaves float32
CASES: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("ordinary gradients", ()),
    ("one huge gradient", ((2, 1, HUGE),)),
    ("huge gradients of one sign", ((0, 0, HUGE), (0, 1, HUGE), (0, 2, HUGE))),
    ("huge gradients of both signs", ((1, 0, HUGE), (1, 1, -HUGE))),
    ("NaN in the first gradient", ((0, 0, math.nan),)),
    ("inf in the first gradient", ((0, 0, math.inf),)),
    ("-inf in the first gradient", ((0, 0, -math.inf),)),
    ("inf within the first gradient", ((0, 1, math.inf),)),
    ("NaN in the first group's last gradient", ((1, 3, math.nan),)),
    ("inf in the first group's last gradient", ((1, 2, math.inf),)),
    ("NaN in the second group", ((2, 2, math.nan),)),
    ("inf in the second group", ((2, 3, math.inf),)),
    ("NaN in the last gradient", ((3, 1, math.nan),)),
    ("inf in the last gradient", ((3, 1, math.inf),)),
    ("-inf in the last gradient", ((3, 0, -math.inf),)),
    ("inf and -inf at once", ((1, 0, math.inf), (1, 1, -math.inf))),
    ("a last gradient of nothing but inf", ((3, 0, math.inf), (3, 1, math.inf))),
    (
        "nothing but inf",
        tuple(
            (i, j, math.inf) for i, s in enumerate(SHAPES) for j in range(math.prod(s))
        ),
    ),
)


def _case(changes: Sequence[Change]) -> Grads:
    grads = _wanted()
    for parameter, place, value in changes:
        grads[parameter].view(-1)[place] = value
    return grads


def _finite(grads: Grads) -> bool:
    return all(bool(grad.isfinite().all()) for grad in grads)


# For which gradients a wrong scaler takes a step.
TAKEN_SUSPECTS: tuple[tuple[str, Callable[[Grads], bool]], ...] = (
    (
        "every step is taken. If any gradient is inf or NaN, leave optimizer.step out.",
        lambda grads: True,
    ),
    (
        "no step is ever taken. If all gradients are finite, call optimizer.step.",
        lambda grads: False,
    ),
    (
        "it is the wrong way round: steps are taken when a gradient is inf or NaN.",
        lambda grads: not _finite(grads),
    ),
    (
        "only NaN is noticed. Look for inf too: torch.isfinite.",
        lambda grads: not any(grad.isnan().any() for grad in grads),
    ),
    (
        "only inf is noticed. Look for NaN too: torch.isfinite.",
        lambda grads: not any(grad.isinf().any() for grad in grads),
    ),
    (
        "only +inf is noticed, neither -inf nor NaN. Use torch.isfinite.",
        lambda grads: not any((grad == math.inf).any() for grad in grads),
    ),
    (
        "-inf is not noticed. Use torch.isfinite.",
        lambda grads: all(bool(grad.max().isfinite()) for grad in grads),
    ),
    (
        "only the first parameter group is looked at. Look at all param_groups.",
        lambda grads: _finite(grads[:2]),
    ),
    (
        "only the last parameter group is looked at. Look at all param_groups.",
        lambda grads: _finite(grads[2:]),
    ),
    (
        "only the first parameter is looked at. Look at every one.",
        lambda grads: _finite(grads[:1]),
    ),
    (
        "only the last parameter is looked at. Look at every one.",
        lambda grads: _finite(grads[3:]),
    ),
    (
        "only the first parameter of each group is looked at. Look at every one.",
        lambda grads: _finite([grads[0], grads[2]]),
    ),
    (
        "only the last parameter of each group is looked at. Look at every one.",
        lambda grads: _finite([grads[1], grads[3]]),
    ),
    (
        "only the first number of each gradient is looked at. Look at all: .all().",
        lambda grads: _finite([grad.flatten()[:1] for grad in grads]),
    ),
    (
        "one finite number is enough for a gradient. All must be: .all(), not .any().",
        lambda grads: all(bool(grad.isfinite().any()) for grad in grads),
    ),
    (
        "one finite gradient is enough for a step. All must be: all, not any.",
        lambda grads: any(bool(grad.isfinite().all()) for grad in grads),
    ),
    (
        "the norm decides. The squares of large gradients overflow, so a good step is"
        " skipped. Look at the gradients: torch.isfinite.",
        lambda grads: all(bool(g.square().sum().isfinite()) for g in grads),
    ),
    (
        "the sum decides. Large gradients add up to inf, so a good step is skipped."
        " Look at each: torch.isfinite.",
        lambda grads: all(bool(grad.sum().isfinite()) for grad in grads),
    ),
)


TAKEN, SKIPPED = True, False
Schedule = Callable[[Sequence[bool], int, float], list[float]]
PATTERN = tuple(sign == "t" for sign in "stttttttstttssttsttttttsttstttttsst")
PATTERN_INTERVAL, PATTERN_START = 3, 1.0


def _scheduled(
    halve: float = 0.5,
    double: float = 2.0,
    late: int = 0,
    after_skip: int | None = 0,
    after_double: int | None = 0,
    skip_counts: bool = False,
    exactly: bool = False,
    least: float = 0.0,
    most: float = math.inf,
) -> Schedule:
    """How a scale moves; None for a count that is not begun anew."""

    def schedule(outcomes: Sequence[bool], interval: int, start: float) -> list[float]:
        scale, count, scales = start, 0, []
        for taken in outcomes:
            if not taken:
                scale = max(scale * halve, min(start, least))
                count = count if after_skip is None else after_skip
            if taken or skip_counts:
                count += 1
                full = interval + late
                if count == full if exactly else count >= full:
                    scale = min(scale * double, max(start * most, 0.0))
                    count = count if after_double is None else after_double
            scales.append(scale)
        return scales

    return schedule


def _stuck(outcomes: Sequence[bool], interval: int, start: float) -> list[float]:
    """After the first skip, every update takes the step for skipped."""
    first = outcomes.index(SKIPPED) if SKIPPED in outcomes else len(outcomes)
    return _scheduled()([i < first for i in range(len(outcomes))], interval, start)


def _from_the_start(
    outcomes: Sequence[bool], interval: int, start: float
) -> list[float]:
    scale, count, scales = start, 0, []
    for taken in outcomes:
        count = count + 1 if taken else 0
        if not taken:
            scale = start
        elif count == interval:
            scale, count = 2 * scale, 0
        scales.append(scale)
    return scales


def _added(outcomes: Sequence[bool], interval: int, start: float) -> list[float]:
    scale, count, scales = start, 0, []
    for taken in outcomes:
        count = count + 1 if taken else 0
        if not taken:
            scale = scale / 2
        elif count == interval:
            scale, count = scale + start, 0
        scales.append(scale)
    return scales


def _delayed(outcomes: Sequence[bool], interval: int, start: float) -> list[float]:
    """The schedule of an update that looks at the step before the last."""
    return _scheduled()([TAKEN, *outcomes[:-1]], interval, start)


SCHEDULE_SUSPECTS: tuple[tuple[str, Schedule], ...] = (
    (
        "update changes nothing. Halve after a skip, double after growth_interval"
        " steps.",
        _scheduled(halve=1.0, double=1.0),
    ),
    (
        "a skipped step does not halve the scale. Remember in step that it was skipped,"
        " for update.",
        _scheduled(halve=1.0),
    ),
    (
        "a skipped step is counted as one that was taken. Let step remember what it"
        " did, for update.",
        _scheduled(halve=1.0, after_skip=None, skip_counts=True),
    ),
    (
        "the scale never doubles. Count the steps taken, up to growth_interval.",
        _scheduled(double=1.0),
    ),
    (
        "a skip does not begin the count anew. Set it to 0 when the scale is halved.",
        _scheduled(after_skip=None),
    ),
    (
        "a doubling does not begin the count anew, so every later step doubles. Set the"
        " count to 0.",
        _scheduled(after_double=None),
    ),
    (
        "a doubling does not begin the count anew, so it happens only once. Set the"
        " count to 0.",
        _scheduled(after_double=None, exactly=True),
    ),
    (
        "every taken step doubles the scale. Wait for growth_interval of them in a"
        " row.",
        lambda outcomes, interval, start: _scheduled()(outcomes, 1, start),
    ),
    (
        "the scale doubles one step too late. The growth_interval-th step in a row"
        " doubles it: count first, then compare.",
        _scheduled(late=1),
    ),
    (
        "the scale doubles one step too early. growth_interval steps must be taken.",
        _scheduled(late=-1),
    ),
    (
        "after the first doubling the scale doubles one step too early: the count"
        " begins again at 1. Begin at 0.",
        _scheduled(after_double=1),
    ),
    (
        "a skipped step counts as the first of the next row. After a skip the count is"
        " 0.",
        _scheduled(after_skip=1),
    ),
    (
        "skipped steps are counted too. Only steps taken in a row count.",
        _scheduled(after_skip=None, skip_counts=True),
    ),
    (
        "a skip quarters the scale. Halve it once.",
        _scheduled(halve=0.25),
    ),
    (
        "a skip doubles the scale. Halve it: the gradients were too large.",
        _scheduled(halve=2.0),
    ),
    (
        "growth_interval steps in a row quadruple the scale. Double it.",
        _scheduled(double=4.0),
    ),
    (
        "growth_interval steps in a row halve the scale. Double it.",
        _scheduled(double=0.5),
    ),
    (
        "halving and doubling are exchanged. A skip halves.",
        _scheduled(halve=2.0, double=0.5),
    ),
    (
        "a skip sets the scale to 0 or rounds it down. Divide by 2.0, without //.",
        _scheduled(halve=0.0),
    ),
    (
        "a skip sets the scale back to its first value. Halve it.",
        _from_the_start,
    ),
    (
        "the scale grows by its first value. Double it.",
        _added,
    ),
    (
        "the scale never falls below 1. There is no such floor.",
        _scheduled(least=1.0),
    ),
    (
        "the scale never rises above its first value. There is no such ceiling.",
        _scheduled(most=1.0),
    ),
    (
        "after the first skip every update halves. Forget the skip once it has"
        " counted.",
        _stuck,
    ),
    (
        "update looks at the step before the last one. It belongs to the step just"
        " made.",
        _delayed,
    ),
)

BUILD_ERRORS = {
    "positional argument": "it is built as LossScaler(scale, growth_interval).",
    "takes no arguments": "it is built as LossScaler(scale, growth_interval).",
}
NO_GRADIENT = "a parameter may have no gradient: p.grad is None. Leave it alone."
CALL_ERRORS = {
    "'NoneType'": NO_GRADIENT,
    "NoneType": NO_GRADIENT,
    "backward through the graph a second time": "backward runs twice on one loss.",
    "does not require grad and does not": "the loss is detached before backward.",
    "leaf Variable that requires grad": "a parameter is changed where gradients flow.",
    "param_groups": "parameters are in optimizer.param_groups, each group['params'].",
    "positional argument": (
        "the methods are backward(loss), unscale(optimizer), step(optimizer), update()."
    ),
}

# ------------------------------------------------------------------ handling it


def _build(kind: Any, *arguments: Any) -> Any:
    return attempt(kind, *arguments, hints=BUILD_ERRORS)


def _call(scaler: Any, name: str, *arguments: Any) -> Any:
    """Call a method that may well return nothing."""
    method = getattr(scaler, name, None)
    if not callable(method):
        raise FailedError(
            f"what it makes, a {type(scaler).__name__}, has no method called {name}."
        )
    result = attempt(lambda *a: (method(*a),), *arguments, hints=CALL_ERRORS)[0]
    if result is ...:
        raise NotStartedError
    return result


def _scale(scaler: Any) -> float:
    """A tensor counts here: the halving has a line for what kind of number it is."""
    scale = getattr(scaler, "scale", None)
    if scale is None:
        raise FailedError("the scaler has no attribute called scale.")
    try:
        return float(scale)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(scale).__name__
        raise FailedError(f"scale is a {kind}, not a float.") from error


def _cycle(scaler: Any, bench: Bench, slopes: Grads) -> Any:
    """One step but for update: what ``step`` says."""
    bench.optimizer.zero_grad()
    _call(scaler, "backward", bench.loss(slopes))
    _call(scaler, "unscale", bench.optimizer)
    return _call(scaler, "step", bench.optimizer)


def _scales(kind: Any, outcomes: Sequence[bool], *arguments: float) -> list[float]:
    """The scale after each update, where steps overflow as asked."""
    scaler, bench = _build(kind, *arguments), Bench()
    broken, scales = _case(((0, 0, math.inf), (3, 1, math.nan))), []
    for taken in outcomes:
        _cycle(scaler, bench, [0 * g for g in _wanted()] if taken else broken)
        _call(scaler, "update")
        scales.append(_scale(scaler))
    return scales


def _close(a: Grads, b: Grads, tolerance: float = 1e-5) -> bool:
    return all(
        x.shape == y.shape
        and torch.allclose(x, y, rtol=tolerance, atol=0, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def _equal(a: Grads, b: Grads) -> bool:
    return _close(a, b, 0.0)


# ------------------------------------------------------------------ the properties


def _scales_the_loss(kind: Any) -> None:
    for scale in (1024.0, 3.0, 1.0):
        scaler, bench, wanted = _build(kind, scale, LONG), Bench(), _wanted()
        loss = bench.loss(wanted)
        before, values = loss.detach().clone(), bench.values()
        _call(scaler, "backward", loss)
        if all(p.grad is None for p in bench.parameters):
            for p in bench.parameters:
                p.grad = torch.ones_like(p)
            if _call(scaler, "step", bench.optimizer) is None:
                raise NotStartedError(
                    "backward leaves no gradients, and step returns None."
                )
            raise FailedError("backward leaves no gradients. Call .backward().")
        if not torch.equal(loss.detach(), before):
            raise FailedError(
                "the loss itself is changed, which others will print. Multiply into a"
                " new tensor."
            )
        if not _close(bench.grads, [scale * grad for grad in wanted]):
            for hint, rule in BACKWARD_SUSPECTS:
                if _close(bench.grads, [rule(grad, scale) for grad in wanted]):
                    raise FailedError(hint)
            raise FailedError("backward does not leave the gradients times the scale.")
        if not _equal(bench.values(), values):
            raise FailedError("backward changes the parameters. Only a step may.")
        _call(scaler, "backward", bench.loss(wanted))
        if not _close(bench.grads, [2 * scale * grad for grad in wanted]):
            raise FailedError(
                "a second backward does not add to the gradients of the first. Leave"
                " zero_grad to the caller."
            )


def _unscales(kind: Any) -> None:
    for idle in (False, True):
        for scale in (64.0, 10.0):
            scaler, bench, wanted = (
                _build(kind, scale, LONG),
                Bench(idle=idle),
                _wanted(),
            )
            _call(scaler, "backward", bench.loss(wanted))
            bench.optimizer.zero_grad()
            held = [scale * grad for grad in wanted]
            for p, grad in zip(bench.parameters, held, strict=True):
                p.grad = grad.clone()
            grads, values, rates = bench.grads, bench.values(), bench.rates()
            _call(scaler, "unscale", bench.optimizer)
            if bench.rates() != rates:
                raise FailedError(
                    "unscale changes the learning rate. Divide the gradients instead."
                )
            if not _equal(bench.values(), values):
                raise FailedError(
                    "unscale changes the parameters themselves. Divide p.grad."
                )
            if not _close(bench.grads, wanted):
                for hint, rule in UNSCALE_SUSPECTS:
                    if _close(bench.grads, rule(held, scale)):
                        raise FailedError(AT_NONE if idle and scale == 64 else hint)
                if any(p.grad is None for p in bench.parameters):
                    raise FailedError("unscale takes gradients away. Divide them.")
                raise FailedError("unscale does not divide the gradients by the scale.")
            if not _close(grads, wanted):
                raise FailedError(
                    "the gradients are replaced by others, and who holds the old ones"
                    " sees no change. Divide in place: p.grad.div_(self.scale)."
                )
            if bench.idle.grad is not None:
                raise FailedError("a parameter without gradient was given one.")
            if _scale(scaler) != scale:
                raise FailedError("unscale changes the scale. Leave that to update.")


def _steps_if_finite(kind: Any) -> None:
    taken, said, repaired = [], [], True
    for _, changes in CASES:
        scaler, bench = _build(kind, 1.0, LONG), Bench()
        said.append(_cycle(scaler, bench, _case(changes)))
        taken.append(bench.optimizer.steps)
        repaired = repaired and _finite(bench.grads)
    if all(answer is None for answer in said):
        raise FailedError("step returns None. Say whether the step was taken.")
    right = [_finite(_case(changes)) for _, changes in CASES]
    if max(taken) > 1:
        raise FailedError("one call of step calls optimizer.step() twice.")
    if [bool(n) for n in taken] != right:
        for hint, rule in TAKEN_SUSPECTS:
            if [bool(n) for n in taken] == [rule(_case(c)) for _, c in CASES]:
                if hint == TAKEN_SUSPECTS[0][0] and repaired:
                    raise FailedError(
                        "inf and NaN are replaced by numbers, and the step is taken."
                        " Leave it out."
                    )
                if hint == TAKEN_SUSPECTS[0][0] and [_truth(a) for a in said] == right:
                    raise FailedError(
                        "step says False, but has called optimizer.step() all the same."
                        " Look at the gradients first, and leave it out."
                    )
                raise FailedError(hint)
        i = next(i for i, n in enumerate(taken) if bool(n) != right[i])
        told = "taken" if taken[i] else "skipped"
        raise FailedError(f"{CASES[i][0]}: the step is {told}, and should not be.")
    answers = [_truth(answer) for answer in said]
    if answers == [not one for one in right]:
        raise FailedError("step says whether it was skipped. Say whether it was taken.")
    if answers != right:
        i = next(i for i, answer in enumerate(answers) if answer != right[i])
        did = "taken" if right[i] else "skipped"
        told = f"a step was {did}, and step said {said[i]}."
        if right[i] and said[i] is None:
            told += " Return True: what optimizer.step() itself gives is None."
        raise FailedError(told)
    scaler, bench = _build(kind, 1.0, LONG), Bench(idle=True)
    if not _truth(_cycle(scaler, bench, _wanted())):
        raise FailedError("a parameter without gradient makes it skip. Pass it over.")


def _truth(answer: Any) -> bool | None:
    """True or False in whatever form; None for what is neither."""
    if isinstance(answer, Tensor):
        return bool(answer) if answer.numel() == 1 else None
    known = type(answer).__name__ in ("bool", "bool_", "int")
    return bool(answer) if known and answer in (0, 1) else None


def _touches_nothing_else(kind: Any) -> None:
    scaler, bench = _build(kind, 4.0, LONG), Bench(momentum=0.9)
    _cycle(scaler, bench, _wanted())  # so that there is momentum
    _call(scaler, "update")
    for name, slopes in (
        ("taken", _wanted()),
        ("skipped", _case(((2, 0, math.inf),))),
    ):
        scaler = _build(kind, 4.0, LONG)
        bench.optimizer.zero_grad()
        _call(scaler, "backward", bench.loss(slopes))
        _call(scaler, "unscale", bench.optimizer)
        grads = [grad.clone() for grad in bench.grads]
        values, momenta, rates = bench.values(), bench.momenta(), bench.rates()
        steps = bench.optimizer.steps
        _call(scaler, "step", bench.optimizer)
        if not _close(bench.grads, grads):
            empty = all(p.grad is None or not p.grad.any() for p in bench.parameters)
            if empty:
                raise FailedError(
                    f"a {name} step clears the gradients. Leave zero_grad to the"
                    " caller."
                )
            if _close(bench.grads, [grad / 4 for grad in grads]):
                raise FailedError(
                    "step unscales again. The gradients are unscaled when it is called."
                )
            raise FailedError(
                f"a {name} step changes the gradients. Only look at them."
            )
        if bench.rates() != rates:
            raise FailedError(f"a {name} step changes the learning rate.")
        if bench.optimizer.steps == steps:
            if not _equal(bench.values(), values):
                raise FailedError("parameters change without optimizer.step().")
            if not _equal(bench.momenta(), momenta):
                raise FailedError("a skipped step changes the optimiser's memory.")
        elif name == "skipped" and _equal(bench.values(), values):
            raise FailedError(
                "a bad step is taken and then undone, but the optimiser remembers it."
                " Look at the gradients first."
            )
        elif name == "taken":
            expected = [
                value - RATES[i // 2] * (0.9 * momentum + grad)
                for i, (value, momentum, grad) in enumerate(
                    zip(values, momenta, grads, strict=True)
                )
            ]
            if not all(
                torch.allclose(a, b, atol=1e-5)
                for a, b in zip(bench.values(), expected, strict=True)
            ):
                raise FailedError(
                    "the optimiser's step is not made with the gradients."
                )


def _check_schedule(
    kind: Any, outcomes: Sequence[bool], interval: int, say: str
) -> None:
    """Compare the scales; if they are wrong, let a longer pattern tell the name."""
    start = PATTERN_START
    scales = _scales(kind, outcomes, start, interval)
    right = _scheduled()(outcomes, interval, start)
    if scales == right:
        return
    _counts_for_itself(kind)
    longer = _scales(kind, PATTERN, PATTERN_START, PATTERN_INTERVAL)
    for hint, rule in SCHEDULE_SUSPECTS:
        if longer == rule(PATTERN, PATTERN_INTERVAL, PATTERN_START):
            raise FailedError(hint)
    i = next(i for i, scale in enumerate(scales) if scale != right[i])
    row = " ".join("taken" if taken else "skipped" for taken in outcomes[: i + 1])
    raise FailedError(
        f"{say}: with growth_interval {interval}, after {row} a scale of {start:g} is"
        f" {scales[i]:g}, not {right[i]:g}."
    )


def _counts_for_itself(kind: Any) -> None:
    after = []
    for earlier in ((SKIPPED,), (SKIPPED, TAKEN)):
        _scales(kind, earlier, 1.0, LONG)
        after.append(_scales(kind, (TAKEN,) * 3, 1.0, 3))
    if after[0] != after[1]:
        raise FailedError(
            "a new scaler goes on with the count of the one before: it belongs to the"
            " class. Set self.count to 0 in __init__."
        )


def _halves(kind: Any) -> None:
    scaler = _build(kind)
    if _scale(scaler) != 2.0**16:
        raise FailedError(
            f"the scale starts at {_scale(scaler):g} if none is given, not at 2.0**16."
        )
    scaler = _build(kind, 8.0, LONG)
    if _scale(scaler) != 8.0:
        raise FailedError(f"built with a scale of 8, it has {_scale(scaler):g}.")
    kept = scaler.scale
    if isinstance(kept, Tensor) or not isinstance(kept, int | float):
        raise FailedError(f"scale is a {type(kept).__name__}. Keep a Python float.")
    outcomes = (TAKEN, SKIPPED, TAKEN, SKIPPED, SKIPPED, TAKEN)
    _check_schedule(kind, outcomes, LONG, "each skip halves")


def _doubles(kind: Any) -> None:
    for interval in (1, 2, 4):
        _check_schedule(kind, (TAKEN,) * 9, interval, "steps taken in a row double")
    try:
        default = inspect.signature(kind).parameters["growth_interval"].default
    except (TypeError, ValueError, KeyError):
        default = None
    if not isinstance(default, int):  # it does not show: try it
        scales = _scales(kind, (TAKEN,) * 2000, 1.0)
        default = 2000 if scales[-2:] == [1.0, 2.0] else scales.count(1.0) + 1
    if default != 2000:
        raise FailedError(f"growth_interval is {default} if none is given, not 2000.")


def _counts_anew(kind: Any) -> None:
    for signs in ("ttstttst", "ttsttt", "stttsttstttttt"):
        outcomes = [sign == "t" for sign in signs]
        _check_schedule(kind, outcomes, 3, "a skip begins the count anew")


def _changes_no_run(kind: Any) -> None:
    def train(scaler: Any) -> Grads:
        bench = Bench(momentum=0.5)
        targets = [value.roll(1, 0) for value in _wanted()]
        for _ in range(12):
            bench.optimizer.zero_grad()
            pairs = zip(bench.parameters, targets, strict=True)
            losses = [((p - target) ** 2).mean() for p, target in pairs]
            loss = torch.stack(losses).sum()
            if scaler is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                _call(scaler, "backward", loss)
                _call(scaler, "unscale", bench.optimizer)
            nn.utils.clip_grad_norm_(bench.parameters, 1.5)
            if scaler is None:
                bench.optimizer.step()
            else:
                _call(scaler, "step", bench.optimizer)
                _call(scaler, "update")
        return bench.values()

    def alike(*arguments: float) -> bool:
        ours = train(_build(kind, *arguments))
        return all(
            torch.allclose(a, b, rtol=1e-4, atol=1e-5)
            for a, b in zip(ours, train(None), strict=True)
        )

    if not alike(1024.0, LONG):
        raise FailedError(
            "a run of 12 clipped steps ends with other parameters than without the"
            " scaler. What is multiplied into the loss must come out of every gradient."
        )
    if not alike(1024.0, 2):
        raise FailedError(
            "a run in which the scale doubles ends with other parameters than without"
            " the scaler. backward and unscale must both use the scale as it is now."
        )


def _remembers(kind: Any) -> None:
    scaler, first, second = _build(kind, 8.0, LONG), Bench(), Bench()
    _cycle(scaler, first, _case(((0, 0, math.inf), (3, 1, math.nan))))
    _cycle(scaler, second, _wanted())
    _call(scaler, "update")
    if _scale(scaler) == 8.0:
        raise FailedError(
            "one optimiser skips, another steps, and update has forgotten the skip."
            " Remember it until update."
        )
    if _scale(scaler) != 4.0:
        raise FailedError(
            "one optimiser skips, another steps, then update: a scale of 8 is"
            f" {_scale(scaler):g}, not 4."
        )


LOSS_SCALER: tuple[Property, ...] = (
    ("backward: the gradients times the scale, added up", _scales_the_loss),
    ("unscale: the true gradients, in place, in every group", _unscales),
    ("step: taken if all gradients are finite, and says so", _steps_if_finite),
    ("step touches nothing else, skipped or taken", _touches_nothing_else),
    ("update: a skip halves the scale, which starts at 2**16", _halves),
    ("update: growth_interval steps in a row double it", _doubles),
    ("update: after a skip the count begins anew", _counts_anew),
    ("a clipped run ends as it does without the scaler", _changes_no_run),
    ("update: one skip among several optimisers is a skip", _remembers),
)


def loss_scaler(kind: Any) -> Report:
    """Try a class built as ``kind(scale, growth_interval)``, a gradient scaler."""
    return run(kind, LOSS_SCALER)
