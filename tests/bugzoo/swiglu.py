"""Chapter 5: gates on the wrong side, and widths that are not fair."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------ gated_feed_forward


class Three(nn.Module):
    """The three matrices; what follows differs in ``forward``."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)


class SiluAroundTheProduct(Three):
    """Nijikadesu/breakdown-minimind#3."""

    def forward(self, x):
        return self.down(F.silu(self.gate(x) * self.up(x)))


class GateAndUpSwapped(Three):
    """ml-explore/mlx-lm#767."""

    def forward(self, x):
        return self.down(F.silu(self.up(x)) * self.gate(x))


class HalfTheWidth(nn.Module):
    """EleutherAI/gpt-neox#1309: d_ff was taken for gate and up together."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff // 2, bias=False)
        self.up = nn.Linear(d_model, d_ff // 2, bias=False)
        self.down = nn.Linear(d_ff // 2, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TwoThirdsAgain(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        width = int(2 * d_ff / 3)
        self.gate = nn.Linear(d_model, width, bias=False)
        self.up = nn.Linear(d_model, width, bias=False)
        self.down = nn.Linear(width, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Glu(Three):
    def forward(self, x):
        return self.down(torch.sigmoid(self.gate(x)) * self.up(x))


class Bilinear(Three):
    def forward(self, x):
        return self.down(self.gate(x) * self.up(x))


class Reglu(Three):
    def forward(self, x):
        return self.down(F.relu(self.gate(x)) * self.up(x))


class Geglu(Three):
    def forward(self, x):
        return self.down(F.gelu(self.gate(x), approximate="tanh") * self.up(x))


class BothBent(Three):
    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * F.silu(self.up(x)))


class Added(Three):
    def forward(self, x):
        return self.down(F.silu(self.gate(x)) + self.up(x))


class UpForgotten(Three):
    def forward(self, x):
        return self.down(F.silu(self.gate(x)))


class QuickGelu(Three):
    def forward(self, x):
        z = self.gate(x)
        return self.down(z * torch.sigmoid(1.702 * z) * self.up(x))


class WithBias(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff)
        self.up = nn.Linear(d_model, d_ff)
        self.down = nn.Linear(d_ff, d_model)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class NamedByNumbers(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.w1 = nn.Linear(d_model, d_ff, bias=False)
        self.w2 = nn.Linear(d_ff, d_model, bias=False)
        self.w3 = nn.Linear(d_model, d_ff, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class OneMatrixTwice(Three):
    def __init__(self, d_model, d_ff):
        super().__init__(d_model, d_ff)
        self.up = self.gate

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class DownForgotten(Three):
    def forward(self, x):
        return F.silu(self.gate(x)) * self.up(x)


class Residual(Three):
    def forward(self, x):
        return x + self.down(F.silu(self.gate(x)) * self.up(x))


class DropoutInside(Three):
    def forward(self, x):
        h = F.silu(self.gate(x)) * self.up(x)
        return self.down(F.dropout(h, 0.1, self.training))


class GateDetached(Three):
    def forward(self, x):
        return self.down(F.silu(self.gate(x)).detach() * self.up(x))


class SoftmaxOverTime(Three):
    def forward(self, x):
        return self.down(self.gate(x).softmax(-2) * self.up(x))


class Narrowed(Three):
    def forward(self, x):
        h = F.silu(self.gate(x)).float() * self.up(x).float()
        return self.down(h.to(x.dtype))


class RightByHand(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.down = nn.Linear(inner, width, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.gate = nn.Linear(width, inner, bias=False)

    def forward(self, stream):
        z = self.gate(stream)
        return self.down(self.up(stream) * z / (1 + torch.exp(-z)))


class RightInOneProduct(Three):
    def forward(self, x):
        both = x @ torch.cat([self.gate.weight, self.up.weight]).T
        gate, up = both.chunk(2, dim=-1)
        return torch.mul(up, nn.SiLU()(gate)) @ self.down.weight.T


class RightInDouble(Three):
    def __init__(self, d_model, d_ff):
        super().__init__(d_model, d_ff)
        self.double()

    def forward(self, x):
        wide = x.to(self.down.weight.dtype)
        return self.down(F.silu(self.gate(wide)) * self.up(wide)).to(x.dtype)


# ------------------------------------------------------------------ fair_width


def rounded_down(d_model, multiple):
    return 8 * d_model // (3 * multiple) * multiple


def rounded_to_the_nearest(d_model, multiple):
    return round(8 * d_model / 3 / multiple) * multiple


def metas(d_model, multiple):
    """The released code of Llama: meta-llama/llama#1019."""
    width = int(2 * (4 * d_model) / 3)
    return multiple * ((width + multiple - 1) // multiple)


def one_multiple_more(d_model, multiple):
    return (8 * d_model // (3 * multiple) + 1) * multiple


def four_times(d_model, multiple):
    return math.ceil(4 * d_model / multiple) * multiple


def multiple_forgotten(d_model, multiple):
    return -(-8 * d_model // 3)


def two_thirds_after_rounding(d_model, multiple):
    """The order of EleutherAI/gpt-neox#1309: the multiple is lost."""
    return 2 * (-(-4 * d_model // multiple) * multiple) // 3


def three_halves(d_model, multiple):
    return math.ceil(4 * d_model * 3 / 2 / multiple) * multiple


def through_a_float(d_model, multiple):
    return math.ceil(8 * d_model / 3 / multiple) * multiple


def a_float(d_model, multiple):
    return -(-8 * d_model // (3 * multiple)) * multiple * 1.0


def swapped(d_model, multiple):
    return -(-8 * multiple // (3 * d_model)) * d_model


def right_with_a_remainder(d_model, multiple):
    blocks, rest = divmod(8 * d_model, 3 * multiple)
    return (blocks + bool(rest)) * multiple


def right_by_adding(width, step):
    return (8 * width + 3 * step - 1) // (3 * step) * step


BUGS = {
    "gated_feed_forward": {
        SiluAroundTheProduct: "silu is taken of the product",
        GateAndUpSwapped: "gate and up are swapped",
        HalfTheWidth: "half of d_ff",
        TwoThirdsAgain: "2/3 d_ff",
        Glu: "sigmoid alone",
        Bilinear: "bilinear",
        Reglu: "ReGLU",
        Geglu: "GEGLU",
        BothBent: "both sides",
        Added: "are added",
        UpForgotten: "up is not used",
        QuickGelu: "1.702",
        WithBias: "bias=False",
        NamedByNumbers: "no part named gate",
        OneMatrixTwice: "same matrix",
        DownForgotten: "down is missing",
        Residual: "residual stream",
        DropoutInside: "dropout",
        GateDetached: "no gradient reaches gate|gradient of x",
        SoftmaxOverTime: "tokens beside it|softmax",
        Narrowed: "dtype",
    },
    "fair_width": {
        rounded_down: "rounded down",
        rounded_to_the_nearest: "nearest",
        metas: "Meta",
        one_multiple_more: "one more",
        four_times: "two matrices",
        multiple_forgotten: "multiple is not used",
        two_thirds_after_rounding: "after rounding",
        three_halves: "3/2",
        through_a_float: "float",
        a_float: "float",
        swapped: "swapped",
    },
}

RIGHT = {
    "gated_feed_forward": (RightByHand, RightInOneProduct, RightInDouble),
    "fair_width": (right_with_a_remainder, right_by_adding),
}
