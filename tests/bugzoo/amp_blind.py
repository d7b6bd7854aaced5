"""Wrong and right answers to chapter 9, by someone who has not read its check."""

import math
from dataclasses import dataclass, field
from itertools import chain

import torch

# right; the first three for a single optimiser only


class ScalerPlain:
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = float(scale)
        self.growth_interval = growth_interval
        self.taken = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        self.skipped = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not torch.isfinite(p.grad).all():
                    self.skipped = True
        if not self.skipped:
            optimizer.step()
        return not self.skipped

    def update(self):
        if self.skipped:
            self.scale /= 2
            self.taken = 0
        else:
            self.taken += 1
            if self.taken == self.growth_interval:
                self.scale *= 2
                self.taken = 0


class ScalerOfExponents:
    """The scale is a power of two times the first one; ``x - x`` finds inf and NaN."""

    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.first, self.exponent = scale, 0
        self.interval = growth_interval
        self.streak = 0

    @property
    def scale(self):
        return math.ldexp(self.first, self.exponent)

    @staticmethod
    def gradients(optimizer):
        every = chain.from_iterable(g["params"] for g in optimizer.param_groups)
        return [p.grad for p in every if p.grad is not None]

    def backward(self, loss):
        loss.backward(torch.full_like(loss, self.scale))

    def unscale(self, optimizer):
        for gradient in self.gradients(optimizer):
            gradient *= 1 / self.scale

    def step(self, optimizer):
        good = all(((g - g) == 0).all().item() for g in self.gradients(optimizer))
        self.streak = self.streak + 1 if good else -1
        if good:
            optimizer.step()
        return good

    def update(self):
        if self.streak < 0:
            self.exponent -= 1
            self.streak = 0
        elif self.streak >= self.interval:
            self.exponent += 1
            self.streak = 0


class ScalerLikeTorch:
    """Looks for inf while it unscales, as torch.amp.GradScaler does."""

    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._found_inf = torch.zeros(1)

    def backward(self, loss):
        scaled = loss * self.scale
        scaled.backward()
        return scaled

    @torch.no_grad()
    def unscale(self, optimizer):
        self._found_inf = torch.zeros(1)
        for group in optimizer.param_groups:
            grads = [p.grad for p in group["params"] if p.grad is not None]
            if grads:
                torch._foreach_mul_(grads, 1.0 / self.scale)
                for grad in grads:
                    self._found_inf += (~grad.isfinite()).any()

    def step(self, optimizer):
        if self._found_inf.item() == 0:
            optimizer.step()
            return True
        return False

    def update(self):
        if self._found_inf.item():
            self.scale, self._growth_tracker = self.scale * 0.5, 0
        elif self._growth_tracker + 1 == self._growth_interval:
            self.scale, self._growth_tracker = self.scale * 2.0, 0
        else:
            self._growth_tracker += 1


@dataclass
class ScalerWithHistory:
    """Remembers the steps since the scale last changed."""

    scale: float = 2.0**16
    growth_interval: int = 2000
    history: list = field(default_factory=list)

    def backward(self, loss):
        torch.autograd.backward(loss.mul(self.scale))

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                p.grad.copy_(p.grad / self.scale)

    def step(self, optimizer):
        bad = 0
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                bad += int(p.grad.isnan().sum()) + int(p.grad.isinf().sum())
        self.history.append(bad == 0)
        if self.history[-1]:
            optimizer.step()
        return self.history[-1]

    def update(self):
        if not all(self.history):
            self.scale = self.scale / 2
            self.history.clear()
        if len(self.history) >= self.growth_interval:
            self.scale = self.scale + self.scale
            self.history.clear()


# wrong


class OnlyTheFirstGroup:
    # right for an optimiser of one group
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.good_steps = 0
        self.found_inf = False

    def backward(self, loss):
        (self.scale * loss).backward()

    def unscale(self, optimizer):
        for p in optimizer.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad /= self.scale

    def step(self, optimizer):
        self.found_inf = any(
            not p.grad.isfinite().all()
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        )
        if self.found_inf:
            return False
        optimizer.step()
        return True

    def update(self):
        if self.found_inf:
            self.scale /= 2
            self.good_steps = 0
            return
        self.good_steps += 1
        if self.good_steps >= self.growth_interval:
            self.scale *= 2
            self.good_steps = 0


class LooksOnlyForInf:
    # a NaN goes through: its abs().max() equals nothing
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.count = 0
        self.ok = True

    def backward(self, loss):
        (loss * self.scale).backward()

    def parameters(self, optimizer):
        for group in optimizer.param_groups:
            yield from (p for p in group["params"] if p.grad is not None)

    def unscale(self, optimizer):
        for p in self.parameters(optimizer):
            p.grad.mul_(1.0 / self.scale)

    def step(self, optimizer):
        self.ok = True
        for p in self.parameters(optimizer):
            if p.grad.abs().max() == float("inf"):
                self.ok = False
        if self.ok:
            optimizer.step()
        return self.ok

    def update(self):
        if not self.ok:
            self.scale = self.scale / 2
            self.count = 0
        else:
            self.count += 1
        if self.count == self.growth_interval:
            self.scale = self.scale * 2
            self.count = 0


class LooksOnlyForNaN:
    # inf goes through
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale, self.growth_interval = scale, growth_interval
        self.taken, self.last = 0, True

    def backward(self, loss):
        torch.mul(loss, self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.data = p.grad.data / self.scale

    def step(self, optimizer):
        grads = [
            p.grad.flatten()
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        self.last = not torch.cat(grads).isnan().any().item()
        if self.last:
            optimizer.step()
        return self.last

    def update(self):
        self.taken = self.taken + 1 if self.last else 0
        if not self.last:
            self.scale /= 2
        elif self.taken == self.growth_interval:
            self.scale *= 2
            self.taken = 0


class LastParameterDecides:
    # the flag is overwritten, so that only the last gradient counts
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = float(scale)
        self.growth_interval = int(growth_interval)
        self.steps_since_change = 0
        self.finite = True

    def backward(self, loss):
        scaled_loss = loss * self.scale
        scaled_loss.backward()

    def unscale(self, optimizer):
        inverse = 1.0 / self.scale
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(inverse)

    def step(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.finite = bool(torch.isfinite(parameter.grad).all())
        if self.finite:
            optimizer.step()
        return self.finite

    def update(self):
        if not self.finite:
            self.scale *= 0.5
            self.steps_since_change = 0
        else:
            self.steps_since_change += 1
            if self.steps_since_change == self.growth_interval:
                self.scale *= 2.0
                self.steps_since_change = 0


class NormDecides:
    # the squares of a finite 1e20 are inf, and a good step is skipped
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.streak = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        squares = 0.0
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    squares += p.grad.square().sum().item()
        self.skipped = not math.isfinite(math.sqrt(squares))
        if not self.skipped:
            optimizer.step()
        return not self.skipped

    def update(self):
        if self.skipped:
            self.scale /= 2
            self.streak = 0
        else:
            self.streak += 1
            if self.streak == self.growth_interval:
                self.scale *= 2
                self.streak = 0


class SkipDoesNotResetTheCount:
    # taken steps are counted, but not in a row
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.count = 0
        self.step_taken = True

    def backward(self, loss):
        (loss * self.scale).backward()

    def grads(self, optimizer):
        return [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]

    def unscale(self, optimizer):
        for grad in self.grads(optimizer):
            grad /= self.scale

    def step(self, optimizer):
        self.step_taken = all(g.isfinite().all() for g in self.grads(optimizer))
        if self.step_taken:
            optimizer.step()
        return self.step_taken

    def update(self):
        if self.step_taken:
            self.count += 1
        else:
            self.scale /= 2
        if self.count == self.growth_interval:
            self.scale *= 2
            self.count = 0


class DoublesEveryStepFromThenOn:
    # the count is not set back after doubling
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.in_a_row = 0
        self.overflow = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.grad.div_(self.scale)

    def step(self, optimizer):
        self.overflow = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.isnan().any() or p.grad.isinf().any():
                    self.overflow = True
                    return False
        optimizer.step()
        return True

    def update(self):
        if self.overflow:
            self.in_a_row = 0
            self.scale /= 2.0
        else:
            self.in_a_row += 1
            if self.in_a_row >= self.growth_interval:
                self.scale *= 2.0


class GrowsOneStepLate:
    # > for >=
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.interval = growth_interval
        self.n = 0
        self.bad = False

    def backward(self, loss):
        loss = loss * self.scale
        loss.backward()

    def unscale(self, optimizer):
        with torch.no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad *= 1 / self.scale

    def step(self, optimizer):
        self.bad = not all(
            torch.isfinite(p.grad).all()
            for g in optimizer.param_groups
            for p in g["params"]
            if p.grad is not None
        )
        if not self.bad:
            optimizer.step()
        return not self.bad

    def update(self):
        self.n += 1
        if self.bad:
            self.n = 0
            self.scale *= 0.5
        elif self.n > self.interval:
            self.n = 0
            self.scale *= 2


class ReturnsWhatTheOptimizerReturns:
    # None: as false as a skipped step
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.taken = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        self.skipped = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not torch.isfinite(p.grad).all():
                    self.skipped = True
        if self.skipped:
            return False
        return optimizer.step()

    def update(self):
        if self.skipped:
            self.scale /= 2
            self.taken = 0
            return
        self.taken += 1
        if self.taken == self.growth_interval:
            self.scale *= 2
            self.taken = 0


class SaysWhetherItOverflowed:
    # the opposite of what is asked
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.counter = 0
        self.has_overflow = False

    def backward(self, loss):
        (loss.float() * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.data.mul_(1.0 / self.scale)

    def step(self, optimizer):
        self.has_overflow = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not p.grad.data.isfinite().all():
                    self.has_overflow = True
        if not self.has_overflow:
            optimizer.step()
        return self.has_overflow

    def update(self):
        if self.has_overflow:
            self.scale, self.counter = self.scale / 2, 0
            return
        self.counter += 1
        if self.counter == self.growth_interval:
            self.scale, self.counter = self.scale * 2, 0


class EveryParameterNeedsAGradient:
    # p.grad is None raises
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.taken = 0
        self.good = True

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad.div_(self.scale)

    def step(self, optimizer):
        self.good = True
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.good = self.good and bool(p.grad.isfinite().all())
        if self.good:
            optimizer.step()
        return self.good

    def update(self):
        if self.good:
            self.taken += 1
            if self.taken == self.growth_interval:
                self.scale *= 2
                self.taken = 0
        else:
            self.scale /= 2
            self.taken = 0


class QuotientIsNotKept:
    # the name is bound to a new tensor, the gradient stays
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.taken = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def _grads(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    yield p.grad

    def unscale(self, optimizer):
        for grad in self._grads(optimizer):
            grad = grad / self.scale

    def step(self, optimizer):
        self.skipped = not all(g.isfinite().all() for g in self._grads(optimizer))
        if not self.skipped:
            optimizer.step()
        return not self.skipped

    def update(self):
        if self.skipped:
            self.scale /= 2
            self.taken = 0
        else:
            self.taken += 1
            if self.taken == self.growth_interval:
                self.scale *= 2
                self.taken = 0


class OnceSkippedAlwaysSkipped:
    # the flag is never taken down again
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.found_inf = False
        self.clean_steps = 0

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)
                    if not torch.isfinite(p.grad).all():
                        self.found_inf = True

    def step(self, optimizer):
        if self.found_inf:
            return False
        optimizer.step()
        return True

    def update(self):
        if self.found_inf:
            self.scale /= 2
            self.clean_steps = 0
        else:
            self.clean_steps += 1
            if self.clean_steps == self.growth_interval:
                self.scale *= 2
                self.clean_steps = 0


class HalvedTwice:
    # step halves the scale at once, update does it again
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.taken = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        grads = [p.grad for g in optimizer.param_groups for p in g["params"]]
        self.skipped = any(
            g is not None and (g.isnan() | g.isinf()).any() for g in grads
        )
        if self.skipped:
            self.scale /= 2
            self.taken = 0
            return False
        optimizer.step()
        return True

    def update(self):
        if self.skipped:
            self.scale /= 2
            self.taken = 0
        else:
            self.taken += 1
            if self.taken == self.growth_interval:
                self.scale *= 2
                self.taken = 0


class WholeNumbersOnly:
    # // for /: right until the scale is 1, then it is 0 for ever
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.good = 0
        self.last_was_good = True

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not p.grad.isfinite().all():
                    self.last_was_good = False
                    return False
        self.last_was_good = True
        optimizer.step()
        return True

    def update(self):
        if not self.last_was_good:
            self.scale = self.scale // 2
            self.good = 0
        else:
            self.good += 1
            if self.good % self.growth_interval == 0:
                self.scale = self.scale * 2
                self.good = 0


class CountSharedByAll:
    # the count belongs to the class: seen only with a second scaler
    count = 0

    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        self.skipped = any(
            not p.grad.isfinite().all()
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        )
        if not self.skipped:
            optimizer.step()
        return not self.skipped

    def update(self):
        if self.skipped:
            self.scale /= 2
            CountSharedByAll.count = 0
        else:
            CountSharedByAll.count += 1
            if CountSharedByAll.count >= self.growth_interval:
                self.scale *= 2
                CountSharedByAll.count = 0


class InfReplacedByNumbers:
    # the step is taken with zeros where inf and NaN stood
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.taken = 0
        self.bad = False

    def backward(self, loss):
        (loss * self.scale).backward()

    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.div_(self.scale)

    def step(self, optimizer):
        self.bad = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None and not p.grad.isfinite().all():
                    self.bad = True
                    torch.nan_to_num_(p.grad, nan=0.0, posinf=0.0, neginf=0.0)
        optimizer.step()
        return not self.bad

    def update(self):
        if self.bad:
            self.scale /= 2
            self.taken = 0
        else:
            self.taken += 1
            if self.taken == self.growth_interval:
                self.scale *= 2
                self.taken = 0


BUGS = {
    "loss_scaler": {
        OnlyTheFirstGroup: "first parameter group is unscaled",
        LooksOnlyForInf: "only inf is noticed",
        LooksOnlyForNaN: "only NaN is noticed",
        LastParameterDecides: "only the last parameter is looked at",
        NormDecides: "the norm decides",
        SkipDoesNotResetTheCount: "a skip does not begin the count anew",
        DoublesEveryStepFromThenOn: "every later step doubles",
        GrowsOneStepLate: "one step too late",
        ReturnsWhatTheOptimizerReturns: r"optimizer.step\(\) itself gives",
        SaysWhetherItOverflowed: "says whether it was skipped",
        EveryParameterNeedsAGradient: "may have no gradient",
        QuotientIsNotKept: "changes no gradient",
        OnceSkippedAlwaysSkipped: "Forget the skip",
        HalvedTwice: "quarters the scale",
        WholeNumbersOnly: "without //",
        CountSharedByAll: "belongs to the class",
        InfReplacedByNumbers: "replaced by numbers",
        ScalerPlain: "has forgotten the skip",
        ScalerOfExponents: "has forgotten the skip",
        ScalerLikeTorch: "has forgotten the skip",
    },
}

RIGHT = {
    "loss_scaler": (ScalerWithHistory,),
}
