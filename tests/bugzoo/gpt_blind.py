"""Wrong and right answers to the exercises of chapter 2, written blind."""
# ruff: noqa: N806

import math

import torch
import torch.nn.functional as F

# causal_attention, right


def attention_plain(q, k, v):
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ v


def attention_einsum(queries, keys, values):
    length, width = queries.shape[2], queries.shape[3]
    scores = torch.einsum("bhqe,bhke->bhqk", queries * width**-0.5, keys)
    steps = torch.arange(length, device=queries.device)
    seen = steps[None, :] <= steps[:, None]
    scores = torch.where(seen, scores, torch.finfo(scores.dtype).min)
    return torch.einsum("bhqk,bhke->bhqe", scores.softmax(dim=3), values)


def attention_library(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_one_position_at_a_time(q, k, v):
    rows = []
    for t in range(q.size(2)):
        scores = (q[:, :, t : t + 1] * k[:, :, : t + 1]).sum(-1) / q.size(3) ** 0.5
        weights = torch.softmax(scores, dim=-1)
        rows.append((weights.unsqueeze(-1) * v[:, :, : t + 1]).sum(2))
    return torch.stack(rows, dim=2)


def attention_in_double(q, k, v):
    q2, k2, v2 = (x.double().flatten(0, 1) for x in (q, k, v))
    scores = torch.bmm(q2, k2.mT) / math.sqrt(q.shape[-1])
    bias = torch.full(scores.shape[1:], -math.inf, dtype=torch.float64).triu(1)
    scores = scores + bias.to(q.device)
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return torch.bmm(weights, v2).reshape(q.shape).to(q.dtype)


def attention_masked_then_normalised(q, k, v):
    scores = torch.matmul(q, k.permute(0, 1, 3, 2)) / q.shape[-1] ** 0.5
    allowed = torch.tril(torch.ones_like(scores))
    hidden = scores.masked_fill(allowed == 0, -math.inf)
    powers = torch.exp(hidden - hidden.amax(-1, keepdim=True))
    return torch.matmul(powers, v) / powers.sum(-1, keepdim=True)


# causal_attention, wrong


def mask_shows_the_next_position(q, k, v):
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(2)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def mask_multiplied_into_scores(q, k, v):
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    return (scores * torch.ones(T, T, dtype=q.dtype).tril()).softmax(-1) @ v


def mask_after_softmax(q, k, v):
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.softmax(-1).masked_fill(hidden, 0.0) @ v


def mask_value_too_small(q, k, v):
    # wrong only for large scores
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -20.0).softmax(-1) @ v


def scaled_by_model_width(q, k, v):
    # right only for one head
    _, H, T, E = q.shape
    scores = q @ k.transpose(-2, -1) / math.sqrt(H * E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def scaled_by_root_of_length(q, k, v):
    # right only for T == E
    T = q.shape[-2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(T)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def softmax_minus_maximum_of_all(q, k, v):
    # wrong (0/0) only when rows have very different scores
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    powers = (scores - scores.max()).masked_fill(hidden, float("-inf")).exp()
    return powers / powers.sum(-1, keepdim=True) @ v


def keys_viewed_instead_of_transposed(q, k, v):
    B, H, T, E = q.shape
    scores = q @ k.reshape(B, H, E, T) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def scales_the_query_in_place(q, k, v):
    # the answer is right, but the caller's q is changed
    T, E = q.shape[-2:]
    q.data /= math.sqrt(E)
    scores = q @ k.transpose(-2, -1)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def view_needs_contiguous_input(q, k, v):
    # crashes only for input that is not contiguous, e.g. after transpose(1, 2)
    B, H, T, E = q.shape
    q, k, v = (x.view(B * H, T, E) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    out = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
    return out.view(B, H, T, E)


def window_of_four(q, k, v):
    # right only for T <= 4
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    shown = torch.ones(T, T, dtype=torch.bool).tril().triu(-3)
    return scores.masked_fill(~shown, float("-inf")).softmax(-1) @ v


def weights_cut_from_the_graph(q, k, v):
    # the answer is right, but q and k get no gradient
    T, E = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(E)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1).detach() @ v


# layer_norm, right


def norm_plain(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * weight + bias


def norm_library(x, weight, bias, eps):
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def norm_with_var(inputs, gain, shift, small):
    mu = inputs.mean(dim=-1, keepdim=True)
    sigma2 = inputs.var(dim=-1, keepdim=True, correction=0)
    return torch.addcmul(shift, gain, (inputs - mu) * (sigma2 + small).rsqrt())


def norm_in_double(x, weight, bias, eps):
    wide = x.double()
    variance, mean = torch.var_mean(wide, -1, unbiased=False, keepdim=True)
    out = (wide - mean) * (variance + eps) ** -0.5 * weight.double() + bias.double()
    return out.to(x.dtype)


def norm_row_by_row(x, weight, bias, eps):
    rows = []
    for row in x.reshape(-1, x.size(-1)).unbind(0):
        off = row - row.sum() / row.numel()
        rows.append(off / (off.dot(off) / row.numel() + eps).sqrt() * weight + bias)
    return torch.stack(rows).reshape(x.shape)


# layer_norm, wrong


def variance_unbiased(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True)
    return centred / torch.sqrt(variance + eps) * weight + bias


def eps_outside_the_root(x, weight, bias, eps):
    # differs visibly only for small variance or large eps
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    return centred / (torch.sqrt(variance) + eps) * weight + bias


def eps_fixed(x, weight, bias, eps):
    # right for eps = 1e-5
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    return centred / torch.sqrt(variance + 1e-5) * weight + bias


def eps_as_lower_bound(x, weight, bias, eps):
    # differs visibly only for small variance or large eps
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    return centred / torch.sqrt(variance.clamp(min=eps)) * weight + bias


def statistics_over_axis_one(x, weight, bias, eps):
    # right only for x of two axes
    centred = x - x.mean(1, keepdim=True)
    variance = x.var(1, keepdim=True, unbiased=False)
    return centred / torch.sqrt(variance + eps) * weight + bias


def statistics_over_axis_two(x, weight, bias, eps):
    # right only for x of three axes
    centred = x - x.mean(2, keepdim=True)
    variance = x.var(2, keepdim=True, unbiased=False)
    return centred / torch.sqrt(variance + eps) * weight + bias


def shift_before_scale(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    return (centred / torch.sqrt(variance + eps) + bias) * weight


def difference_of_large_squares(x, weight, bias, eps):
    # numerically wrong only when the mean is large beside the spread
    mean = x.mean(-1, keepdim=True)
    variance = (x**2).mean(-1, keepdim=True) - mean**2
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


def centres_in_place(x, weight, bias, eps):
    # the answer is right, but the caller's x is changed
    x.data -= x.data.mean(-1, keepdim=True)
    variance = (x**2).mean(-1, keepdim=True)
    return x / torch.sqrt(variance + eps) * weight + bias


def axis_lost(x, weight, bias, eps):
    # without keepdim; crashes or, for a square x, uses the wrong row's statistics
    centred = x - x.mean(-1)
    variance = x.var(-1, unbiased=False)
    return centred / torch.sqrt(variance + eps) * weight + bias


def view_needs_contiguous_rows(x, weight, bias, eps):
    # crashes only for input that is not contiguous
    rows = x.view(-1, x.shape[-1])
    centred = rows - rows.mean(-1, keepdim=True)
    variance = rows.var(-1, keepdim=True, unbiased=False)
    return (centred / torch.sqrt(variance + eps) * weight + bias).view(x.shape)


def statistics_cut_from_the_graph(x, weight, bias, eps):
    # the answer is right, the gradient of x is not
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False).detach()
    return centred / torch.sqrt(variance + eps) * weight + bias


BUGS = {
    "causal_attention": {
        mask_shows_the_next_position: "sees the next one",
        mask_multiplied_into_scores: "multiplied by the mask",
        mask_after_softmax: "after the softmax",
        mask_value_too_small: "minus infinity is too near",
        scaled_by_model_width: "root of H \\* E",
        scaled_by_root_of_length: "root of T",
        softmax_minus_maximum_of_all: "row's own largest",
        keys_viewed_instead_of_transposed: "moves no axis",
        scales_the_query_in_place: "in place",
        view_needs_contiguous_input: "side by side in memory",
        window_of_four: "last four positions",
        weights_cut_from_the_graph: "no gradient reaches q",
    },
    "layer_norm": {
        variance_unbiased: "D - 1",
        eps_outside_the_root: "outside of the root",
        eps_fixed: "always the same small number",
        eps_as_lower_bound: "lower bound",
        statistics_over_axis_one: "axis 1",
        statistics_over_axis_two: "Use dim=-1",
        shift_before_scale: "before the weight scales",
        difference_of_large_squares: "difference of two large numbers",
        centres_in_place: "in place",
        axis_lost: "keepdim",
        view_needs_contiguous_rows: "side by side in memory",
        statistics_cut_from_the_graph: "not the slope",
    },
}

RIGHT = {
    "causal_attention": (
        attention_plain,
        attention_einsum,
        attention_library,
        attention_one_position_at_a_time,
        attention_in_double,
        attention_masked_then_normalised,
    ),
    "layer_norm": (
        norm_plain,
        norm_library,
        norm_with_var,
        norm_in_double,
        norm_row_by_row,
    ),
}
