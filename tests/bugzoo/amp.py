"""Chapter 9: scalers that scale the wrong thing, look away, or never recover."""

import math

import torch


def _params(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


class RightScaler:
    """One part a method, so that each animal may spoil one."""

    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale = scale
        self.growth_interval = growth_interval
        self.count = 0
        self.skipped = False

    def backward(self, loss):
        (loss * self.scale).backward()

    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad /= self.scale

    def finite(self, optimizer):
        return all(
            bool(p.grad.isfinite().all())
            for p in _params(optimizer)
            if p.grad is not None
        )

    def step(self, optimizer):
        finite = self.finite(optimizer)
        self.skipped |= not finite
        if finite:
            optimizer.step()
        return finite

    def update(self):
        if self.skipped:
            self.halve()
        else:
            self.grow()
        self.skipped = False

    def halve(self):
        self.scale /= 2
        self.count = 0

    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale *= 2
            self.count = 0


# ------------------------------------------------------------------ backward


class LossNotScaled(RightScaler):
    def backward(self, loss):
        loss.backward()


class LossDivided(RightScaler):
    def backward(self, loss):
        (loss / self.scale).backward()


class ScaledTwice(RightScaler):
    def backward(self, loss):
        scaled = loss * self.scale
        (scaled * self.scale).backward()


class AlwaysTheDefaultScale(RightScaler):
    def backward(self, loss):
        (loss * 2.0**16).backward()


class BackwardTwice(RightScaler):
    def backward(self, loss):
        scaled = loss * self.scale
        scaled.backward(retain_graph=True)
        scaled.backward()


class LossScaledInPlace(RightScaler):
    def backward(self, loss):
        loss *= self.scale
        loss.backward()


class LossScaledInItsData(RightScaler):
    """The number grows, and the gradient does not know of it."""

    def backward(self, loss):
        loss.data.mul_(self.scale)
        loss.backward()


class ScaledOutsideTheGraph(RightScaler):
    def backward(self, loss):
        (loss.detach() * self.scale).requires_grad_().backward()


class ForgetsBackward(RightScaler):
    def backward(self, loss):
        return loss * self.scale


class DetachesTheLoss(RightScaler):
    def backward(self, loss):
        torch.tensor(loss.item() * self.scale).backward()


class ClearsBefore(RightScaler):
    def step(self, optimizer):
        self.known = _params(optimizer)
        return super().step(optimizer)

    def backward(self, loss):
        """The gradients of this loss alone, put where others were."""
        leaves, seen = [], [loss.grad_fn]
        while seen:
            node = seen.pop()
            if hasattr(node, "variable"):
                leaves.append(node.variable)
            seen += [n for n, _ in node.next_functions if n is not None]
        for leaf in leaves:
            leaf.grad = None
        super().backward(loss)


# ------------------------------------------------------------------ unscale


class UnscaleMultiplies(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad *= self.scale


class UnscalesTwice(RightScaler):
    def unscale(self, optimizer):
        super().unscale(optimizer)
        super().unscale(optimizer)


class FirstGroupUnscaled(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in optimizer.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad /= self.scale


class LastGroupUnscaled(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            parameters = group["params"]
        for p in parameters:
            if p.grad is not None:
                p.grad /= self.scale


class FirstOfEachGroupUnscaled(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad /= self.scale
                    break


class FirstParameterUnscaled(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad /= self.scale
                return


class StopsWhereNothingIs(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is None:
                break
            p.grad /= self.scale


class FailsWhereNothingIs(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            p.grad /= self.scale


class MakesGradients(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            p.grad /= self.scale


class ReplacesGradients(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad = p.grad / self.scale


class DividesACopy(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                grad = p.grad
                grad = grad / self.scale


class DividesTheRate(RightScaler):
    def unscale(self, optimizer):
        for group in optimizer.param_groups:
            group["lr"] /= self.scale


class DividesTheParameters(RightScaler):
    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p /= self.scale


class UnscalesByTheFirstScale(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, growth_interval)
        self.inverse = 1 / scale

    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad *= self.inverse


class ScalesByTheFirstScale(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, growth_interval)
        self.first = scale

    def backward(self, loss):
        (loss * self.first).backward()


class ClipsToo(RightScaler):
    def unscale(self, optimizer):
        super().unscale(optimizer)
        torch.nn.utils.clip_grad_norm_(_params(optimizer), 1.0)


# ------------------------------------------------------------------ step


class AlwaysSteps(RightScaler):
    def step(self, optimizer):
        optimizer.step()
        return True


class StepsThenLooks(RightScaler):
    def step(self, optimizer):
        optimizer.step()
        self.skipped = not self.finite(optimizer)
        return not self.skipped


class NeverSteps(RightScaler):
    def step(self, optimizer):
        self.skipped = not self.finite(optimizer)
        return not self.skipped


class WrongWayRound(RightScaler):
    def finite(self, optimizer):
        return not super().finite(optimizer)


class OnlyNan(RightScaler):
    def finite(self, optimizer):
        return not any(
            p.grad.isnan().any() for p in _params(optimizer) if p.grad is not None
        )


class OnlyInf(RightScaler):
    def finite(self, optimizer):
        return not any(
            p.grad.isinf().any() for p in _params(optimizer) if p.grad is not None
        )


class OnlyPlusInf(RightScaler):
    def finite(self, optimizer):
        grads = [p.grad for p in _params(optimizer) if p.grad is not None]
        return not any((grad == math.inf).any() for grad in grads)


class TheLargest(RightScaler):
    def finite(self, optimizer):
        return all(
            math.isfinite(p.grad.max())
            for p in _params(optimizer)
            if p.grad is not None
        )


class TheNorm(RightScaler):
    def finite(self, optimizer):
        norms = [p.grad.norm() for p in _params(optimizer) if p.grad is not None]
        return bool(torch.stack(norms).norm().isfinite())


class TheSum(RightScaler):
    def finite(self, optimizer):
        return all(
            bool(p.grad.sum().isfinite())
            for p in _params(optimizer)
            if p.grad is not None
        )


class FirstGroupOnly(RightScaler):
    def finite(self, optimizer):
        grads = [p.grad for p in optimizer.param_groups[0]["params"]]
        return all(bool(g.isfinite().all()) for g in grads if g is not None)


class LastGroupOnly(RightScaler):
    def finite(self, optimizer):
        for group in optimizer.param_groups:
            grads = [p.grad for p in group["params"] if p.grad is not None]
            good = all(bool(grad.isfinite().all()) for grad in grads)
        return good


class FirstParameterOnly(RightScaler):
    def finite(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                return bool(p.grad.isfinite().all())
        return True


class LastParameterOnly(RightScaler):
    def finite(self, optimizer):
        good = True
        for p in _params(optimizer):
            if p.grad is not None:
                good = bool(p.grad.isfinite().all())
        return good


class FirstNumberOnly(RightScaler):
    def finite(self, optimizer):
        return all(
            math.isfinite(p.grad.flatten()[0])
            for p in _params(optimizer)
            if p.grad is not None
        )


class OneNumberIsEnough(RightScaler):
    def finite(self, optimizer):
        return all(
            bool(p.grad.isfinite().any())
            for p in _params(optimizer)
            if p.grad is not None
        )


class OneGradientIsEnough(RightScaler):
    def finite(self, optimizer):
        return any(
            bool(p.grad.isfinite().all())
            for p in _params(optimizer)
            if p.grad is not None
        )


class NoneIsBad(RightScaler):
    def finite(self, optimizer):
        return all(
            p.grad is not None and bool(p.grad.isfinite().all())
            for p in _params(optimizer)
        )


class ReturnsNothing(RightScaler):
    def step(self, optimizer):
        super().step(optimizer)


class ReturnsNothingWhenSkipped(RightScaler):
    def step(self, optimizer):
        if super().step(optimizer):
            return True
        return None


class ReturnsWhatTheOptimizerDoes(RightScaler):
    def step(self, optimizer):
        self.skipped = not self.finite(optimizer)
        if self.skipped:
            return False
        return optimizer.step()


class ReturnsSkipped(RightScaler):
    def step(self, optimizer):
        return not super().step(optimizer)


class AlwaysSaysTrue(RightScaler):
    def step(self, optimizer):
        super().step(optimizer)
        return True


class StepsTwice(RightScaler):
    def step(self, optimizer):
        if super().step(optimizer):
            optimizer.step()
            return True
        return False


class Repairs(RightScaler):
    """NaN and inf become numbers, and on it goes."""

    @torch.no_grad()
    def step(self, optimizer):
        self.skipped = not self.finite(optimizer)
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
        return not self.skipped


class ClearsOnSkip(RightScaler):
    def step(self, optimizer):
        taken = super().step(optimizer)
        if not taken:
            optimizer.zero_grad()
        return taken


class ClearsAfterStep(RightScaler):
    def step(self, optimizer):
        taken = super().step(optimizer)
        if taken:
            optimizer.zero_grad(set_to_none=False)
        return taken


class StepUnscalesAgain(RightScaler):
    def step(self, optimizer):
        self.unscale(optimizer)
        return super().step(optimizer)


class StepUnscalesAlone(RightScaler):
    def unscale(self, optimizer):
        pass

    def step(self, optimizer):
        super().unscale(optimizer)
        return super().step(optimizer)


class StepsBeforeUnscaling(RightScaler):
    """The true gradients come only after they were used."""

    def unscale(self, optimizer):
        pass

    def step(self, optimizer):
        taken = super().step(optimizer)
        super().unscale(optimizer)
        return taken


class Undoes(RightScaler):
    @torch.no_grad()
    def step(self, optimizer):
        before = [p.clone() for p in _params(optimizer)]
        self.skipped = not self.finite(optimizer)
        optimizer.step()
        if self.skipped:
            for p, old in zip(_params(optimizer), before, strict=True):
                p.copy_(old)
        return not self.skipped


class SlowsDownOnSkip(RightScaler):
    def step(self, optimizer):
        taken = super().step(optimizer)
        if not taken:
            for group in optimizer.param_groups:
                group["lr"] /= 2
        return taken


# ------------------------------------------------------------------ update


class UpdateDoesNothing(RightScaler):
    def update(self):
        pass


class NeverHalves(RightScaler):
    def halve(self):
        self.count = 0


class SkipForgotten(RightScaler):
    def update(self):
        self.grow()


class NeverDoubles(RightScaler):
    def grow(self):
        self.count += 1


class IntervalIgnored(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, 2000)


class SkipLeavesTheCount(RightScaler):
    def halve(self):
        self.scale /= 2


class DoublingLeavesTheCount(RightScaler):
    def grow(self):
        self.count += 1
        if self.count >= self.growth_interval:
            self.scale *= 2


class DoublesOnce(RightScaler):
    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale *= 2


class DoublesEveryStep(RightScaler):
    def grow(self):
        self.scale *= 2


class OneStepLate(RightScaler):
    def grow(self):
        self.count += 1
        if self.count > self.growth_interval:
            self.scale *= 2
            self.count = 0


class OneStepEarly(RightScaler):
    def grow(self):
        self.count += 1
        if self.count >= self.growth_interval - 1:
            self.scale *= 2
            self.count = 0


class ComparesThenCounts(RightScaler):
    def grow(self):
        if self.count == self.growth_interval:
            self.scale *= 2
            self.count = 0
        else:
            self.count += 1


class CountFromOneAgain(RightScaler):
    def grow(self):
        self.count += 1
        if self.count >= self.growth_interval:
            self.scale *= 2
            self.count = 1


class SkipIsTheFirst(RightScaler):
    def halve(self):
        self.scale /= 2
        self.count = 1


class SkipsCountToo(RightScaler):
    def update(self):
        if self.skipped:
            self.scale /= 2
        self.grow()
        self.skipped = False


class Quarters(RightScaler):
    def halve(self):
        self.scale /= 4
        self.count = 0


class DoublesOnSkip(RightScaler):
    def halve(self):
        self.scale *= 2
        self.count = 0


class Quadruples(RightScaler):
    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale *= 4
            self.count = 0


class HalvesForGood(RightScaler):
    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale /= 2
            self.count = 0


class Exchanged(RightScaler):
    def halve(self):
        self.scale *= 2
        self.count = 0

    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale /= 2
            self.count = 0


class RoundsDown(RightScaler):
    def halve(self):
        self.scale //= 2
        self.count = 0


class BackToTheStart(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, growth_interval)
        self.start = scale

    def halve(self):
        self.scale = self.start
        self.count = 0


class GrowsByTheStart(BackToTheStart):
    def halve(self):
        RightScaler.halve(self)

    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale += self.start
            self.count = 0


class NeverBelowOne(RightScaler):
    def halve(self):
        self.scale = max(self.scale / 2, 1.0)
        self.count = 0


class NeverAboveTheStart(BackToTheStart):
    def halve(self):
        RightScaler.halve(self)

    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.scale = min(2 * self.scale, self.start)
            self.count = 0


class SkipNeverForgotten(RightScaler):
    def update(self):
        if self.skipped:
            self.halve()
        else:
            self.grow()


class SkipForgottenByTheNextOptimizer(RightScaler):
    def step(self, optimizer):
        self.skipped = False
        return super().step(optimizer)


class OneStepBehind(RightScaler):
    before = False

    def update(self):
        now, self.skipped = self.skipped, self.before
        super().update()
        self.before = now


class StartsLower(RightScaler):
    def __init__(self, scale=2.0**15, growth_interval=2000):
        super().__init__(scale, growth_interval)


class ScaleIgnored(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(2.0**16, growth_interval)


class ShorterInterval(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=1000):
        super().__init__(scale, growth_interval)


class ShorterIntervalUnseen(RightScaler):
    def __init__(self, *arguments):
        super().__init__(*arguments, *(2.0**16, 100)[len(arguments) :])


class ScaleIsATensor(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(torch.tensor(scale), growth_interval)


class ScaleIsCalledOtherwise(RightScaler):
    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, growth_interval)
        self.factor = self.__dict__.pop("scale")

    def backward(self, loss):
        (loss * self.factor).backward()

    @torch.no_grad()
    def unscale(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None:
                p.grad /= self.factor

    def halve(self):
        self.factor /= 2
        self.count = 0

    def grow(self):
        self.count += 1
        if self.count == self.growth_interval:
            self.factor *= 2
            self.count = 0


class NoUpdate:
    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.scale, self.skipped = scale, False

    backward, unscale = RightScaler.backward, RightScaler.unscale
    finite, step = RightScaler.finite, RightScaler.step


# ------------------------------------------------------------------ right


class AsPyTorchDoes:
    """The original behind these four names."""

    def __init__(self, scale=2.0**16, growth_interval=2000):
        self.inner = torch.amp.GradScaler(
            "cpu", init_scale=scale, growth_interval=growth_interval
        )

    @property
    def scale(self):
        return self.inner.get_scale()

    def backward(self, loss):
        self.inner.scale(loss).backward()

    def unscale(self, optimizer):
        grads = [p.grad for p in _params(optimizer)]
        if any(grad is not None for grad in grads):
            self.inner.unscale_(optimizer)

    def step(self, optimizer):
        state = self.inner._per_optimizer_states[id(optimizer)]
        found = sum(v.item() for v in state["found_inf_per_device"].values())
        self.inner.step(optimizer)
        return found == 0

    def update(self):
        self.inner.update()


class LooksWhenUnscaling:
    """The gradients are looked at as they are unscaled; powers of two are kept."""

    def __init__(self, scale=65536.0, growth_interval=2000):
        self.scale, self.every = float(scale), growth_interval
        self.row, self.good, self.bad = 0, None, False

    def backward(self, loss):
        loss.backward(gradient=torch.full_like(loss, self.scale))

    def unscale(self, optimizer):
        self.good = True
        for group in optimizer.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                p.grad.data.mul_(1.0 / self.scale)
                self.good = self.good and not (p.grad - p.grad).isnan().any()

    def step(self, optimizer):
        self.good = bool(self.good)
        self.bad = self.bad or not self.good
        return self.good and (optimizer.step(), True)[1]

    def update(self):
        self.row = 0 if self.bad else self.row + 1
        if self.bad:
            self.scale *= 0.5
        elif self.row % self.every == 0:
            self.scale *= 2.0
        self.bad = False


class AsOneTensor:
    """All gradients in one row; answers with a tensor of one truth."""

    def __init__(self, scale=2**16, growth_interval=2_000):
        self.scale = scale
        self.left = self.growth_interval = growth_interval
        self.all = True

    def backward(self, loss):
        return torch.autograd.backward([self.scale * loss])

    def unscale(self, optimizer):
        grads = [p.grad for p in _params(optimizer) if p.grad is not None]
        torch._foreach_div_(grads, self.scale)
        return grads

    def step(self, optimizer):
        grads = [p.grad.flatten() for p in _params(optimizer) if p.grad is not None]
        taken = torch.cat(grads).abs().max() < math.inf
        self.all = self.all and taken
        if taken:
            optimizer.step()
        return taken

    def update(self):
        every, self.all = self.all, True
        if not every:
            self.scale, self.left = self.scale * 0.5, self.growth_interval
            return
        self.left -= 1
        if not self.left:
            self.scale, self.left = self.scale * 2, self.growth_interval


class WithExponents(RightScaler):
    """Keeps what it does as a list of events."""

    def __init__(self, scale=2.0**16, growth_interval=2000):
        super().__init__(scale, growth_interval)
        self.events, self.row = [], 0

    def step(self, optimizer):
        for p in _params(optimizer):
            if p.grad is not None and not torch.isfinite(p.grad).all():
                self.events.append("skip")
                return False
        self.events.append(optimizer.step())
        return True

    def update(self):
        self.row = 0 if "skip" in self.events else self.row + 1
        if not self.row:
            self.scale = math.ldexp(self.scale, -1)
        elif self.row == self.growth_interval:
            self.scale, self.row = math.ldexp(self.scale, 1), 0
        self.events.clear()


BUGS = {
    "loss_scaler": {
        LossNotScaled: "loss is not scaled",
        LossDivided: "loss is divided",
        ScaledTwice: "by the scale twice",
        AlwaysTheDefaultScale: "65,536 whatever",
        BackwardTwice: "backward runs twice",
        LossScaledInPlace: "loss itself is changed",
        LossScaledInItsData: "loss itself is changed",
        ScaledOutsideTheGraph: "no gradients",
        ForgetsBackward: "Call .backward",
        DetachesTheLoss: "detached",
        ClearsBefore: "zero_grad to the caller",
        UnscaleMultiplies: "unscale multiplies",
        UnscalesTwice: "divided by the scale twice",
        FirstGroupUnscaled: "only the first parameter group is unscaled",
        LastGroupUnscaled: "only the last parameter group is unscaled",
        FirstOfEachGroupUnscaled: "first parameter of each group is unscaled",
        FirstParameterUnscaled: "only the first parameter is unscaled",
        StopsWhereNothingIs: "first parameter without gradient",
        FailsWhereNothingIs: "p.grad is None",
        MakesGradients: "was given one",
        ReplacesGradients: "in place",
        DividesACopy: "changes no gradient",
        DividesTheRate: "learning rate",
        DividesTheParameters: "parameters themselves",
        UnscalesByTheFirstScale: "as it is now",
        ScalesByTheFirstScale: "as it is now",
        ClipsToo: "divide the gradients by the scale",
        AlwaysSteps: "every step is taken",
        StepsThenLooks: "says False, but has called",
        NeverSteps: "no step is ever taken",
        WrongWayRound: "wrong way round",
        OnlyNan: "only NaN",
        OnlyInf: "only inf is noticed",
        OnlyPlusInf: "only \\+inf",
        TheLargest: "-inf is not noticed",
        TheNorm: "the norm decides",
        TheSum: "the sum decides",
        FirstGroupOnly: "only the first parameter group is looked at",
        LastGroupOnly: "only the last parameter group is looked at",
        FirstParameterOnly: "only the first parameter is looked at",
        LastParameterOnly: "only the last parameter is looked at",
        FirstNumberOnly: "first number",
        OneNumberIsEnough: "not .any\\(\\)",
        OneGradientIsEnough: "one finite gradient",
        NoneIsBad: "without gradient makes it skip",
        ReturnsNothing: "step returns None",
        ReturnsNothingWhenSkipped: "skipped, and step said None",
        ReturnsWhatTheOptimizerDoes: "taken, and step said None",
        ReturnsSkipped: "whether it was skipped",
        AlwaysSaysTrue: "skipped, and step said True",
        StepsTwice: "optimizer.step\\(\\) twice",
        Repairs: "replaced by numbers",
        ClearsOnSkip: "a skipped step clears",
        ClearsAfterStep: "a taken step clears",
        StepUnscalesAgain: "unscales again",
        StepUnscalesAlone: "changes no gradient",
        StepsBeforeUnscaling: "changes no gradient",
        Undoes: "says False, but has called",
        SlowsDownOnSkip: "a skipped step changes the learning rate",
        UpdateDoesNothing: "update changes nothing",
        NeverHalves: "does not halve",
        SkipForgotten: "counted as one that was taken",
        NeverDoubles: "never doubles",
        IntervalIgnored: "never doubles",
        SkipLeavesTheCount: "a skip does not begin the count anew",
        DoublingLeavesTheCount: "every later step doubles",
        DoublesOnce: "only once",
        DoublesEveryStep: "every taken step doubles",
        OneStepLate: "one step too late",
        OneStepEarly: "one step too early. growth",
        ComparesThenCounts: "one step too late",
        CountFromOneAgain: "begins again at 1",
        SkipIsTheFirst: "first of the next row",
        SkipsCountToo: "counted too",
        Quarters: "quarters",
        DoublesOnSkip: "a skip doubles",
        Quadruples: "quadruple",
        HalvesForGood: "in a row halve",
        Exchanged: "exchanged",
        RoundsDown: "without //",
        BackToTheStart: "back to its first value",
        GrowsByTheStart: "grows by its first value",
        NeverBelowOne: "never falls below 1",
        NeverAboveTheStart: "never rises above",
        SkipNeverForgotten: "every update halves",
        SkipForgottenByTheNextOptimizer: "has forgotten the skip",
        OneStepBehind: "step before the last",
        StartsLower: "starts at 32768",
        ScaleIgnored: "65,536 whatever",
        ShorterInterval: "growth_interval is 1000",
        ShorterIntervalUnseen: "growth_interval is 100 ",
        ScaleIsATensor: "scale is a Tensor",
        ScaleIsCalledOtherwise: "no attribute called scale",
        NoUpdate: "no method called update",
    },
}

RIGHT = {
    "loss_scaler": (
        RightScaler,
        AsPyTorchDoes,
        LooksWhenUnscaling,
        AsOneTensor,
        WithExponents,
    ),
}
