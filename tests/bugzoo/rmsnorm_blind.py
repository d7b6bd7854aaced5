"""Wrong and right answers to chapter 3, by someone who has not read its check."""

import torch
import torch.nn.functional as F
from torch import nn


def wide(x):
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


# right


class NormPlain(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class NormLikeLlama(nn.Module):
    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.variance_epsilon = eps

    def forward(self, hidden):
        states = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        variance = (states * states).mean(dim=-1, keepdim=True)
        states = states * torch.rsqrt(variance + self.variance_epsilon)
        return (self.weight * states).type_as(hidden)


class NormInDouble(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x):
        y = x.double()
        squares = torch.einsum("...d,...d->...", y, y) / x.shape[-1]
        scale = (squares + self.eps) ** -0.5
        out = torch.einsum("...d,...,d->...d", y, scale, self.weight.double())
        return out.to(x.dtype)


class NormFromLength(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.full((width,), 1.0)))
        self.width = width
        self.small = eps

    def forward(self, x):
        rows = wide(x).reshape(-1, self.width)
        total = torch.stack([row.dot(row) for row in rows]) + self.width * self.small
        rows = rows * (self.width / total).sqrt()[:, None] * self.weight
        return rows.reshape(x.shape).to(x.dtype)


class NormFromLibrary(nn.RMSNorm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps=eps)

    def forward(self, x):
        y = wide(x)
        weight = self.weight.to(y.dtype)
        return F.rms_norm(y, self.normalized_shape, weight, self.eps).to(x.dtype)


# wrong


class Norm(nn.Module):
    """What most of the wrong ones share; not an answer itself."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))


class EpsOutsideTheRoot(Norm):
    # differs visibly only for small x or large eps
    def forward(self, x):
        y = wide(x)
        y = y / (torch.sqrt(y.pow(2).mean(-1, keepdim=True)) + self.eps)
        return (y * self.weight).to(x.dtype)


class EpsArgumentIgnored(nn.Module):
    # right for the default eps
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class OtherDefaultEps(nn.Module):
    # right when eps is given; otherwise differs visibly only for small x
    def __init__(self, d_model, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class VarianceForMeanOfSquares(Norm):
    # right only for rows of mean zero
    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.var(-1, keepdim=True, unbiased=False) + self.eps)
        return (y * self.weight).to(x.dtype)


class MeanOverPositionsAndWidth(Norm):
    # right only for T == 1; lets the future into the past
    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean((-2, -1), keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class MeanOverAxisTwo(Norm):
    # right only for x of three axes
    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(2, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class MeanWidenedAfterSquaring(Norm):
    # wrong only for half precision
    def forward(self, x):
        squares = wide(x.pow(2)).mean(-1, keepdim=True)
        y = wide(x) / torch.sqrt(squares + self.eps)
        return (y * self.weight).to(x.dtype)


class DoubleNarrowedToFloat(Norm):
    # wrong only for float64, by rounding
    def forward(self, x):
        y = x.float()
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class OutputStaysFloat(Norm):
    # wrong only for half precision: the dtype of the output
    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return y * self.weight


class WeightIsPlainTensor(nn.Module):
    # the answer is right, but parameters() is empty
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = torch.ones(d_model)

    def forward(self, x):
        y = wide(x)
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class WeightedBeforeTheMean(Norm):
    # right until the weight has been trained
    def forward(self, x):
        y = wide(x) * self.weight
        y = y / torch.sqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return y.to(x.dtype)


class ChangesItsInput(Norm):
    # the answer is right for one use of x; x itself is divided, too
    def forward(self, x):
        y = wide(x)
        y.data /= torch.sqrt(y.data.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


BUGS = {
    "rms_norm": {
        EpsOutsideTheRoot: "eps stands outside the root",
        EpsArgumentIgnored: "eps is a fixed 1e-5",
        OtherDefaultEps: "eps is not 1e-5",
        VarianceForMeanOfSquares: "standard deviation",
        MeanOverPositionsAndWidth: "over time and features",
        MeanOverAxisTwo: "counted from the front",
        MeanWidenedAfterSquaring: "cannot hold the squares",
        DoubleNarrowedToFloat: "float64 is narrowed",
        OutputStaysFloat: "float16 in, float32 out",
        WeightIsPlainTensor: "no nn.Parameter",
        WeightedBeforeTheMean: "before the squares",
        ChangesItsInput: "changed in place",
    },
}

RIGHT = {
    "rms_norm": (
        NormPlain,
        NormLikeLlama,
        NormInDouble,
        NormFromLength,
        NormFromLibrary,
    ),
}
