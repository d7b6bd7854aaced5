"""Wrong RMSNorms that people have really written, each with the hint it must get.

Each differs from the right answer in one place; ``RIGHT`` holds right answers that are
written differently, which the check must not accuse.
"""

import torch
import torch.nn.functional as F
from torch import nn

from minillm.model import RMSNorm


class Base(nn.Module):
    """The right answer; the animals change one method of it."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def widened(self, x):
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def forward(self, x):
        return (self.normalise(self.widened(x)) * self.weight).to(x.dtype)

    def normalise(self, x):
        return x / (self.mean_square(x) + self.eps).sqrt()

    def mean_square(self, x):
        return x.pow(2).mean(dim=-1, keepdim=True)


class EpsOutsideRoot(Base):
    """allenai/OLMo#281."""

    def normalise(self, x):
        return x / (self.mean_square(x).sqrt() + self.eps)


class NoEps(Base):
    def normalise(self, x):
        return x / self.mean_square(x).sqrt()


class EpsHardCoded(Base):
    def normalise(self, x):
        return x / (self.mean_square(x) + 1e-6).sqrt()


class EpsIsAFloor(Base):
    def normalise(self, x):
        return x / self.mean_square(x).clamp(min=self.eps).sqrt()


class OtherDefault(Base):
    def __init__(self, d_model, eps=1e-6):
        super().__init__(d_model, eps)


class NoDefault(Base):
    def __init__(self, d_model, eps):
        super().__init__(d_model, eps)


class MeanSubtracted(Base):
    def normalise(self, x):
        return super().normalise(x - x.mean(dim=-1, keepdim=True))


class StandardDeviation(Base):
    def mean_square(self, x):
        return x.var(dim=-1, keepdim=True, correction=0)


class UnbiasedDeviation(Base):
    def normalise(self, x):
        return x / (x.std(dim=-1, keepdim=True) + self.eps)


class MeanThenSquare(Base):
    def mean_square(self, x):
        return x.mean(dim=-1, keepdim=True).pow(2)


class MeanOfSizes(Base):
    def normalise(self, x):
        return x / (x.abs().mean(dim=-1, keepdim=True) + self.eps)


class NoRoot(Base):
    def normalise(self, x):
        return x / (self.mean_square(x) + self.eps)


class RootTwice(Base):
    def normalise(self, x):
        return x * (self.mean_square(x) + self.eps).sqrt().rsqrt()


class Multiplied(Base):
    def normalise(self, x):
        return x * (self.mean_square(x) + self.eps).sqrt()


class ReciprocalOnly(Base):
    def normalise(self, x):
        return (self.mean_square(x) + self.eps).rsqrt().expand_as(x)


class SumNotMean(Base):
    def mean_square(self, x):
        return x.pow(2).sum(dim=-1, keepdim=True)


class UnitLength(Base):
    def normalise(self, x):
        return F.normalize(x, dim=-1, eps=self.eps)


class OverTime(Base):
    """A tutorial's attention was not causal because its norm mixed time steps."""

    def mean_square(self, x):
        return x.pow(2).mean(dim=-2 if x.dim() > 1 else -1, keepdim=True)


class OverTimeAndFeatures(Base):
    def mean_square(self, x):
        return x.pow(2).mean(dim=(-2, -1) if x.dim() > 1 else -1, keepdim=True)


class OverEverything(Base):
    def mean_square(self, x):
        return x.pow(2).mean()


class FixedAxis(Base):
    def mean_square(self, x):
        return x.pow(2).mean(dim=2, keepdim=True)


class NoKeepdim(Base):
    def mean_square(self, x):
        return x.pow(2).mean(dim=-1)


class NoGain(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        del self.weight

    def forward(self, x):
        return self.normalise(self.widened(x)).to(x.dtype)


class GainForgotten(Base):
    def forward(self, x):
        return self.normalise(self.widened(x)).to(x.dtype)


class GainCalledScale(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        del self.weight
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return (self.normalise(self.widened(x)) * self.scale).to(x.dtype)


class GainStartsAtZero(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        nn.init.zeros_(self.weight)


class GainStartsRandom(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        nn.init.normal_(self.weight)


class GainNotParameter(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        del self.weight
        self.register_buffer("weight", torch.ones(d_model))


class GainDetached(Base):
    def forward(self, x):
        return (self.normalise(self.widened(x)) * self.weight.data).to(x.dtype)


class OneNumber(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.weight = nn.Parameter(torch.ones(1))


class OnePlusGain(Base):
    def forward(self, x):
        return (self.normalise(self.widened(x)) * (1 + self.weight)).to(x.dtype)


class GainFirst(Base):
    def forward(self, x):
        return self.normalise(self.widened(x) * self.weight).to(x.dtype)


class WithBias(Base):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return super().forward(x) + self.bias.to(x.dtype)


class NoSuper(Base):
    def __init__(self, d_model, eps=1e-5):
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))


class NoUpcast(Base):
    """pytorch/pytorch#133085."""

    def forward(self, x):
        return self.normalise(x) * self.weight.to(x.dtype)


class UpcastTooLate(Base):
    """jingyaogong/minimind#301."""

    def forward(self, x):
        root = (self.mean_square(x) + self.eps).rsqrt()
        return (self.widened(x) * root * self.weight).to(x.dtype)


class CastBackBeforeTheRoot(Base):
    def mean_square(self, x):
        return super().mean_square(x).half().to(x.dtype)


class NoCastBack(Base):
    def forward(self, x):
        return self.normalise(self.widened(x)) * self.weight.float()


class GainWidens(Base):
    """huggingface/transformers#30236."""

    def forward(self, x):
        return self.normalise(self.widened(x)).to(x.dtype) * self.weight


class Narrows(Base):
    """``float()`` narrows float64, so that gradcheck cannot pass."""

    def widened(self, x):
        return x.float()


class InPlace(Base):
    def forward(self, x):
        x /= (self.mean_square(self.widened(x)) + self.eps).sqrt().to(x.dtype)
        return (x * self.weight).to(x.dtype)


class RootDetached(Base):
    def mean_square(self, x):
        return super().mean_square(x).detach()


class NoGradient(Base):
    @torch.no_grad()
    def normalise(self, x):
        return super().normalise(x)


class ForgetsReturn(Base):
    def normalise(self, x):
        super().normalise(x)

    def forward(self, x):
        return (x, super().normalise(self.widened(x)))


class WithRsqrt(nn.Module):
    """Meta's order: cast back first, then the gain, which is cast too."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d_model)), eps

    def forward(self, x):
        wide = x if x.dtype == torch.float64 else x.to(torch.float32)
        wide = wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + self.eps)
        return wide.type_as(x) * self.weight.type_as(x)


class WithLength(nn.Module):
    """The same number from the vector's length: |x|^2 = D * mean square."""

    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        wide, width = x if x.dtype == torch.float64 else x.float(), x.shape[-1]
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        floor = torch.tensor(self.eps**0.5, dtype=wide.dtype)
        root = torch.hypot(length / width**0.5, floor)
        return (wide / root * self.weight.to(wide.dtype)).to(x.dtype)


class WithEinsumInFloat64(nn.Module):
    """Everything in float64, the mean as a product."""

    def __init__(self, d, epsilon=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.epsilon = epsilon

    def forward(self, vectors):
        wide = vectors.double()
        power = torch.einsum("...d,...d->...", wide, wide) / wide.size(-1)
        unit = wide / torch.sqrt(power + self.epsilon).unsqueeze(-1)
        return torch.mul(self.weight, unit).to(dtype=vectors.dtype)


class WithPyTorch(nn.Module):
    """The library's own function."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d_model)), eps

    def forward(self, x):
        weight = self.weight.to(x.dtype)
        return F.rms_norm(x, (x.shape[-1],), weight, self.eps)


BUGS = {
    "rms_norm": {
        EpsOutsideRoot: "eps stands outside the root",
        NoEps: "eps is not used",
        EpsHardCoded: "eps is a fixed 1e-6",
        EpsIsAFloor: "eps is a floor",
        OtherDefault: "eps is not 1e-5",
        NoDefault: "built as YourRMSNorm|default",
        MeanSubtracted: "the mean is subtracted",
        StandardDeviation: "standard deviation",
        UnbiasedDeviation: "standard deviation",
        MeanThenSquare: "the mean is squared",
        MeanOfSizes: "absolute values",
        NoRoot: "the root is missing",
        RootTwice: "root is taken twice",
        Multiplied: "multiplied by the root mean square",
        ReciprocalOnly: "x is missing",
        SumNotMean: "summed, not averaged",
        UnitLength: "summed, not averaged",
        OverTime: r"over time \(dim=-2\)",
        OverTimeAndFeatures: "over time and features",
        OverEverything: "over the whole tensor",
        FixedAxis: "counted from the front",
        NoKeepdim: "keepdim=True",
        NoGain: "the gain is missing",
        GainForgotten: "the gain is never applied",
        GainCalledScale: "called scale",
        GainStartsAtZero: "weight starts at zero",
        GainStartsRandom: "does not start at one",
        GainNotParameter: "no nn.Parameter",
        GainDetached: "no gradient reaches the gain",
        OneNumber: "one for each feature",
        OnePlusGain: r"1 \+ weight",
        GainFirst: "before the squares",
        WithBias: "no bias",
        NoSuper: r"super\(\).__init__",
        NoUpcast: "cannot hold the squares",
        UpcastTooLate: "cannot hold the squares",
        CastBackBeforeTheRoot: "rounded to 16 bits",
        NoCastBack: "Cast back",
        GainWidens: "the gain widens",
        Narrows: "float64 is narrowed",
        InPlace: "changed in place",
        RootDetached: "Do not detach",
        NoGradient: "no gradient",
        ForgetsReturn: "returns a tuple",
    },
}

RIGHT = {
    "rms_norm": (
        Base,
        RMSNorm,
        WithRsqrt,
        WithLength,
        WithEinsumInFloat64,
        WithPyTorch,
    ),
}
