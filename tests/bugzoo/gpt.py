"""Chapter 2: attention and LayerNorm that went wrong."""

import math

import torch
import torch.nn.functional as F

# ------------------------------------------------------------------ causal_attention


def _future(q):
    length = q.shape[-2]
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _mixed(scores, v):
    return scores.masked_fill(_future(v), -math.inf).softmax(dim=-1) @ v


def not_scaled(q, k, v):
    return _mixed(q @ k.mT, v)


def scaled_twice(q, k, v):
    """F.scaled_dot_product_attention scales by itself."""
    q = q / q.shape[-1] ** 0.5
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def multiplied_by_the_root(q, k, v):
    return _mixed(q @ k.mT * math.sqrt(q.shape[-1]), v)


def scaled_by_d_model(q, k, v):
    """The slip of ng-video-lecture#6: the width of all heads together."""
    d_model = q.shape[1] * q.shape[-1]
    return _mixed(q @ k.mT * d_model**-0.5, v)


def scaled_after_the_softmax(q, k, v):
    return _mixed(q @ k.mT, v) / q.shape[-1] ** 0.5


def not_causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def triu_from_two(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(2)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def hides_itself(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(0)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def upside_down(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    hidden = torch.ones_like(scores, dtype=torch.bool).tril(-1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def true_means_look(q, k, v):
    """Two conventions of one library; LLMs-from-scratch#1061."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_future(q))


def mask_minus_ten_thousand(q, k, v):
    """minGPT#75: a model learned scores below the mask's."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_future(q), -100.0).softmax(-1) @ v


def mask_is_zero(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_future(q), 0.0).softmax(-1) @ v


def mask_after_softmax(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


def mask_added_as_it_is(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores + (~_future(q)).float()).softmax(-1) @ v


def softmax_over_queries(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_future(q), -math.inf).softmax(dim=-2) @ v


def softmax_over_heads(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_future(q), -math.inf).softmax(dim=1) @ v


def no_softmax(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).tril() @ v


def keys_ask(q, k, v):
    return _mixed(k @ q.mT / q.shape[-1] ** 0.5, v)


def forgets_the_values(q, k, v):
    return _mixed(q @ k.mT / q.shape[-1] ** 0.5, k)


def returns_the_weights(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_future(q), -math.inf).softmax(-1)


def returns_both(q, k, v):
    weights = returns_the_weights(q, k, v)
    return weights @ v, weights


def joins_the_heads(q, k, v):
    return right_with_library(q, k, v).transpose(1, 2).flatten(2)


def joins_without_transposing(q, k, v):
    """transformer-from-scratch#6: positions are scrambled, and training still works."""
    n_texts, n_heads, length, width = q.shape
    mixed = right_with_library(q, k, v)
    return mixed.reshape(n_texts, length, n_heads, width).transpose(1, 2)


def forgets_to_transpose_keys(q, k, v):
    return _mixed(q @ k / q.shape[-1] ** 0.5, v)


def reshapes_the_keys(q, k, v):
    turned = k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
    return _mixed(q @ turned / q.shape[-1] ** 0.5, v)


def heads_for_positions(q, k, v):
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return right_with_library(q, k, v).transpose(1, 2)


def drops_some(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)


def exponentials_overflow(q, k, v):
    powers = (q @ k.mT / q.shape[-1] ** 0.5).exp().tril()
    return powers / powers.sum(-1, keepdim=True) @ v


def buffer_for_64(q, k, v):
    seen = torch.ones(64, 64, dtype=torch.bool).tril()[: q.shape[2], : q.shape[2]]
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v


def last_16_only(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    seen = ~_future(q) & ~torch.ones_like(_future(q)).tril(-16)
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v


def rounds_through_half(q, k, v):
    return right_with_library(q.bfloat16(), k.bfloat16(), v.bfloat16()).to(q.dtype)


def narrows_to_float32(q, k, v):
    return right_with_library(q.float(), k.float(), v.float())


def no_gradient(q, k, v):
    with torch.no_grad():
        return right_with_library(q, k, v)


def weights_detached(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(_future(q), -math.inf).softmax(-1)
    return weights.data @ v


def in_place(q, k, v):
    with torch.no_grad():
        q *= q.shape[-1] ** -0.5
    return _mixed(q @ k.mT, v)


def view_of_a_transpose(q, k, v):
    flat = (part.view(-1, *part.shape[2:]) for part in (q, k, v))
    return right_with_library(*flat).view(q.shape)


def residual_inside(q, k, v):
    return v + right_with_library(q, k, v)


def right_with_library(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def right_with_loops(queries, keys, values):
    rows = []
    for t in range(queries.shape[2]):
        dots = torch.einsum("bhe,bhse->bhs", queries[:, :, t], keys[:, :, : t + 1])
        shares = F.softmax(dots / queries.shape[3] ** 0.5, dim=2)
        rows.append(torch.einsum("bhs,bhse->bhe", shares, values[:, :, : t + 1]))
    return torch.stack(rows, 2)


def right_in_float64(a, b, c):
    wide = a.double() * a.size(-1) ** -0.5
    scores = torch.matmul(wide, b.double().transpose(2, 3))
    ahead = torch.full(scores.shape[-2:], float("-inf")).triu(diagonal=1)
    return ((scores + ahead).softmax(3) @ c.double()).to(a.dtype)


def right_masked_after_and_divided(q, k, v):
    """A mask after the softmax is no bug if the weights are made to sum to one."""
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(_future(q), -1e30)
    weights = (scores - scores.amax(-1, keepdim=True)).exp().tril()
    return (weights @ v) / weights.sum(-1, keepdim=True)


# ------------------------------------------------------------------ layer_norm


def unbiased_variance(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.var(-1, keepdim=True) + eps).sqrt() * weight + bias


def eps_outside(x, weight, bias, eps):
    """As in OLMo#281."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.std(-1, keepdim=True, correction=0) + eps) * weight + bias


def widely_copied(x, weight, bias, eps):
    """As in annotated-transformer#122: two slips that came together."""
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    return weight * (x - mean) / (std + eps) + bias


def eps_of_its_own(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def no_eps(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / x.std(-1, keepdim=True, correction=0) * weight + bias


def no_root(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps) * weight + bias


def multiplies(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred * spread * weight + bias


def not_centred(x, weight, bias, eps):
    return F.rms_norm(x, x.shape[-1:], weight, eps) + bias


def centred_for_the_variance_only(x, weight, bias, eps):
    variance = x.var(-1, keepdim=True, correction=0)
    return x / (variance + eps).sqrt() * weight + bias


def square_of_x(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(x.square().mean(-1, True) + eps) * weight + bias


def only_centred(x, weight, bias, eps):
    return (x - x.mean(-1, keepdim=True)) * weight + bias


def sum_of_squares(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().sum(-1, True) + eps).sqrt() * weight + bias


def shift_then_scale(x, weight, bias, eps):
    return (F.layer_norm(x, x.shape[-1:], eps=eps) + bias) * weight


def forgets_the_weight(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], eps=eps) + bias


def forgets_the_bias(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], weight, None, eps)


def weight_and_bias_swapped(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], bias, weight, eps)


def one_plus_weight(x, weight, bias, eps):
    """Right for Gemma's files, wrong for GPT-2's."""
    return F.layer_norm(x, x.shape[-1:], 1 + weight, bias, eps)


def over_positions(x, weight, bias, eps):
    """A popular tutorial's norm mixes time steps."""
    centred = x - x.mean(1, keepdim=True)
    variance = x.var(1, keepdim=True, correction=0)
    return centred / (variance + eps).sqrt() * weight + bias


def over_positions_and_features(x, weight, bias, eps):
    centred = x - x.mean((-2, -1), keepdim=True)
    variance = x.var((-2, -1), keepdim=True, correction=0)
    return centred / (variance + eps).sqrt() * weight + bias


def over_everything(x, weight, bias, eps):
    return (x - x.mean()) / (x.var(correction=0) + eps).sqrt() * weight + bias


def batch_norm(x, weight, bias, eps):
    flat = F.batch_norm(x.flatten(0, -2), None, None, weight, bias, True, 0.1, eps)
    return flat.view_as(x)


def axis_two(x, weight, bias, eps):
    centred = x - x.mean(2, keepdim=True)
    variance = x.var(2, keepdim=True, correction=0)
    return centred / (variance + eps).sqrt() * weight + bias


def loses_the_axis(x, weight, bias, eps):
    return (x - x.mean(-1)) / (x.var(-1, correction=0) + eps).sqrt() * weight + bias


def large_squares(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    variance = (x * x).mean(-1, keepdim=True) - mean * mean
    return (x - mean) / (variance.clamp(min=0) + eps).sqrt() * weight + bias


def in_place_norm(x, weight, bias, eps):
    with torch.no_grad():
        x -= x.mean(-1, keepdim=True)
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def variance_detached(x, weight, bias, eps):
    variance = x.detach().var(-1, keepdim=True, correction=0)
    return (x - x.mean(-1, keepdim=True)) / (variance + eps).sqrt() * weight + bias


def weight_as_data(x, weight, bias, eps):
    return F.layer_norm(x, x.shape[-1:], weight.data, bias.data, eps)


def always_float32(x, weight, bias, eps):
    return F.layer_norm(x.float(), x.shape[-1:], weight.float(), bias.float(), eps)


def right_by_hand(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return weight * (x - mean) * torch.rsqrt(variance + eps) + bias


def right_norm_in_float64(v, g, b, small):
    wide = v.double()
    wide = wide - wide.sum(-1, keepdim=True) / v.shape[-1]
    root = torch.sqrt(torch.einsum("...d,...d->...", wide, wide) / v.shape[-1] + small)
    return (wide / root[..., None] * g.double() + b.double()).to(v.dtype)


def right_norm_with_library(x, weight, bias, eps):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


BUGS = {
    "causal_attention": {
        not_scaled: "not scaled",
        scaled_twice: "divided by E. Divide by its root",
        multiplied_by_the_root: "multiplied by the root of E",
        scaled_by_d_model: "root of H \\* E",
        scaled_after_the_softmax: "after the softmax",
        not_causal: "no mask",
        triu_from_two: "sees the next one",
        hides_itself: "does not see itself",
        upside_down: "upside down",
        true_means_look: "inverted",
        mask_minus_ten_thousand: "minus infinity is too near",
        mask_is_zero: "has score 0",
        mask_after_softmax: "after the softmax",
        mask_added_as_it_is: "adds 1 and 0",
        softmax_over_queries: "over the queries",
        softmax_over_heads: "over the heads",
        no_softmax: "no softmax",
        keys_ask: "changed places",
        forgets_the_values: "keys are averaged",
        returns_the_weights: "these are the weights",
        returns_both: "tuple",
        joins_the_heads: "joined later",
        joins_without_transposing: "scrambled",
        forgets_to_transpose_keys: "transpose the last two axes",
        reshapes_the_keys: "moves no axis",
        heads_for_positions: "heads look at each other",
        drops_some: "dropout",
        exponentials_overflow: "exp leaves float32",
        buffer_for_64: "64|70",
        last_16_only: "plain average",
        rounds_through_half: "numbers differ",
        narrows_to_float32: "narrower",
        no_gradient: "no gradient",
        weights_detached: "no gradient reaches q",
        in_place: "in place",
        view_of_a_transpose: "side by side in memory",
        residual_inside: "residual comes later",
    },
    "layer_norm": {
        unbiased_variance: "D - 1",
        eps_outside: "outside of the root",
        widely_copied: "two slips",
        eps_of_its_own: "always the same small number",
        no_eps: "or none",
        no_root: "root is missing",
        multiplies: "multiplies by the root",
        not_centred: "mean is not subtracted",
        centred_for_the_variance_only: "for the variance only",
        square_of_x: "Centre x first",
        only_centred: "nothing is divided",
        sum_of_squares: "squares are summed",
        shift_then_scale: "before the weight scales",
        forgets_the_weight: "weight is not used",
        forgets_the_bias: "bias is not used",
        weight_and_bias_swapped: "changed places",
        one_plus_weight: "one is added",
        over_positions: "axis 1",
        over_positions_and_features: "last two axes",
        over_everything: "whole tensor",
        batch_norm: "batch normalisation",
        axis_two: "counted from the end|dim=-1",
        loses_the_axis: "keepdim",
        large_squares: "difference of two large numbers",
        in_place_norm: "in place",
        variance_detached: "not the slope",
        weight_as_data: "no gradient reaches weight",
        always_float32: "narrower",
    },
}

RIGHT = {
    "causal_attention": (
        right_with_library,
        right_with_loops,
        right_in_float64,
        right_masked_after_and_divided,
    ),
    "layer_norm": (right_by_hand, right_norm_in_float64, right_norm_with_library),
}
