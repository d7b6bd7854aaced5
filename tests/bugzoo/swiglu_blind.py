"""Wrong and right answers to the exercises of chapter 5, written blind."""

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import nn

# gated_feed_forward, right


class FeedForwardPlain(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class FeedForwardFromOneMatrix(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.down = nn.Linear(hidden, width, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        both = F.linear(x, torch.cat([self.gate.weight, self.up.weight]))
        z, y = both.chunk(2, dim=-1)
        return self.down(y * z * z.sigmoid())


class FeedForwardInEinsum(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        sizes = {
            "gate": (d_model, d_ff),
            "up": (d_model, d_ff),
            "down": (d_ff, d_model),
        }
        for name, (inside, outside) in sizes.items():
            self.add_module(name, nn.Linear(inside, outside, bias=False))

    def forward(self, x):
        z = torch.einsum("...d,md->...m", x, self.gate.weight)
        y = torch.einsum("...d,md->...m", x, self.up.weight)
        half_silu = z * (1 + torch.tanh(z / 2))
        return torch.einsum("...m,dm->...d", half_silu * y / 2, self.down.weight)


class FeedForwardUnitByUnit(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.act = nn.SiLU()
        self.gate, self.up = (nn.Linear(d_model, d_ff, bias=False) for _ in "gu")
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        out = torch.zeros_like(x)
        rows = zip(self.gate.weight, self.up.weight, self.down.weight.T, strict=True)
        for gate, up, down in rows:
            unit = self.act((x * gate).sum(-1)) * (x * up).sum(-1)
            out = out + unit[..., None] * down
        return out


# gated_feed_forward, wrong


class ThreeParts(nn.Module):
    """What most of the wrong ones share; not an answer itself."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)


class GateAndUpSwapped(ThreeParts):
    def forward(self, x):
        return self.down(self.gate(x) * F.silu(self.up(x)))


class SigmoidForSilu(ThreeParts):
    def forward(self, x):
        return self.down(torch.sigmoid(self.gate(x)) * self.up(x))


class GeluForSilu(ThreeParts):
    def forward(self, x):
        return self.down(F.gelu(self.gate(x)) * self.up(x))


class GeluOfSigmoidForm(ThreeParts):
    # z * sigmoid(1.702 z), the quick gelu
    def forward(self, x):
        z = self.gate(x)
        return self.down(z * torch.sigmoid(1.702 * z) * self.up(x))


class SiluOfTheProduct(ThreeParts):
    def forward(self, x):
        return self.down(F.silu(self.gate(x) * self.up(x)))


class SiluOnBoth(ThreeParts):
    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * F.silu(self.up(x)))


class ExpWithoutCare(ThreeParts):
    # wrong (nan) only for large gates, above 88 in float32: inf / inf
    def forward(self, x):
        z = self.gate(x)
        return self.down(z * z.exp() / (1 + z.exp()) * self.up(x))


class DownHasBias(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class GateIsUp(nn.Module):
    # one nn.Linear under two names
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.gate = self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class PartsInAPlainList(nn.Module):
    # the answer is right, but parameters() holds only the down matrix
    def __init__(self, d_model, d_ff):
        super().__init__()
        object.__setattr__(self, "gate", nn.Linear(d_model, d_ff, bias=False))
        object.__setattr__(self, "up", nn.Linear(d_model, d_ff, bias=False))
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class SizesSwapped(nn.Module):
    # right only for d_ff == d_model
    def __init__(self, d_ff, d_model):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class RowsViewed(ThreeParts):
    # crashes only for x that is not contiguous
    def forward(self, x):
        rows = x.view(-1, x.shape[-1])
        return self.down(F.silu(self.gate(rows)) * self.up(rows)).view(x.shape)


# fair_width, right


def width_in_integers(d_model, multiple):
    return -(-8 * d_model // (3 * multiple)) * multiple


def width_by_remainder(d_model, multiple):
    blocks, rest = divmod(8 * d_model, 3 * multiple)
    return (blocks + (rest > 0)) * multiple


def width_in_fractions(d_model, multiple):
    return math.ceil(Fraction(8 * d_model, 3 * multiple)) * multiple


def width_in_two_steps(d_model, multiple):
    exact = (8 * d_model + 2) // 3
    return multiple * ((exact + multiple - 1) // multiple)


# fair_width, wrong


def floored_before_rounding_up(d_model, multiple):
    # wrong only where 8*d_model/3 is just above a multiple, e.g. (100, 1), (2, 5)
    return multiple * ((8 * d_model // 3 + multiple - 1) // multiple)


def always_one_block_more(d_model, multiple):
    # wrong only for exact multiples
    return (8 * d_model // (3 * multiple) + 1) * multiple


def rounded_to_the_nearest(d_model, multiple):
    return round(8 * d_model / 3 / multiple) * multiple


def number_of_blocks(d_model, multiple):
    # right only for multiple == 1
    return -(-8 * d_model // (3 * multiple))


def float_returned(d_model, multiple):
    # the number is right, but it is a float
    return float(-(-8 * d_model // (3 * multiple)) * multiple)


def blocks_for_each_number_in_float(d_model, multiple):
    # wrong only where float rounding lifts an exact multiple, e.g. (525, 100)
    return math.ceil(d_model * (8 / (3 * multiple))) * multiple


def rounded_factor(d_model, multiple):
    # 2.6667 for 8/3: wrong for exact multiples and for very wide models
    return math.ceil(2.6667 * d_model / multiple) * multiple


BUGS = {
    "gated_feed_forward": {
        GateAndUpSwapped: "gate and up are swapped",
        GeluForSilu: "GEGLU",
        GeluOfSigmoidForm: "1\\.702",
        SiluOfTheProduct: "silu is taken of the product",
        SiluOnBoth: "both sides",
        SigmoidForSilu: "sigmoid alone",
        ExpWithoutCare: "exp overflows",
        DownHasBias: "down has a bias",
        GateIsUp: "gate and up are the same matrix",
        PartsInAPlainList: "not among the layer's parameters",
        SizesSwapped: "d_model and d_ff are swapped",
        RowsViewed: "contiguous",
    },
    "fair_width": {
        floored_before_rounding_up: "loses its fraction",
        always_one_block_more: "one more",
        rounded_to_the_nearest: "nearest multiple",
        number_of_blocks: "how many multiples",
        float_returned: "a float came back",
        blocks_for_each_number_in_float: "a float (was )?in between",
        rounded_factor: "2\\.6667",
    },
}

RIGHT = {
    "gated_feed_forward": (
        FeedForwardPlain,
        FeedForwardFromOneMatrix,
        FeedForwardInEinsum,
        FeedForwardUnitByUnit,
    ),
    "fair_width": (
        width_in_integers,
        width_by_remainder,
        width_in_fractions,
        width_in_two_steps,
    ),
}
