"""Chapter 6: heads that share wrongly, and caches of the wrong size."""

import math

import torch
import torch.nn.functional as F

# ------------------------------------------------------------------ grouped_attention


def _attention(q, k, v, scale=None):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)


def _size(q, k):
    return q.shape[1] // k.shape[1]


def _twins(q, *parts):
    return (part.repeat_interleave(_size(q, part), dim=1) for part in parts)


def _ahead(length):
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def repeat_for_repeat_interleave(q, k, v):
    """onnx/onnx#7274: the standard's own attention had Tile here."""
    n = _size(q, k)
    return _attention(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1))


def size_and_count_exchanged(q, k, v):
    """The slip of ggml-org/llama.cpp#3364, where 64 heads / 8 happened to be 8."""
    n_rep = k.shape[1]
    k, v = k.repeat_interleave(n_rep, 1), v.repeat_interleave(n_rep, 1)
    return _attention(q, k, v)


def repeats_the_wrong_axis(q, k, v):
    """ByteDance-Seed/VeOmni#162: written for (B, H, T, E), used on (B, T, H, E)."""
    n = _size(q, k)
    k, v = (part.transpose(1, 2).repeat_interleave(n, 1) for part in (k, v))
    return _attention(q, k.transpose(1, 2), v.transpose(1, 2))


def causal_top_left_of_a_fold(q, k, v):
    """The alignment of pytorch/pytorch#108108, met by H/K heads in one column."""
    rows = q.reshape(len(q), k.shape[1], -1, q.shape[3])  # (B, K, H/K * T, E)
    return _attention(rows, k, v).reshape(q.shape)


def repeats_along_time_then_reshapes(q, k, v):
    n = _size(q, k)
    k, v = (part.repeat_interleave(n, 2).reshape(q.shape) for part in (k, v))
    return _attention(q, k, v)


def expands_in_front(q, k, v):
    """`None` one place too early: the first axis of the pair is H/K, not K."""
    n_texts, n_kv_heads, length, width = k.shape
    shape = (n_texts, q.shape[1] // n_kv_heads, n_kv_heads, length, width)
    k, v = (part[:, None].expand(shape).reshape(q.shape) for part in (k, v))
    return _attention(q, k, v)


def folds_the_other_way(q, k, v):
    n_texts, n_heads, length, width = q.shape
    n_kv_heads = k.shape[1]
    grouped = q.reshape(n_texts, n_heads // n_kv_heads, n_kv_heads, length, width)
    scores = grouped @ k[:, None].mT / width**0.5
    scores = scores.masked_fill(_ahead(length), -math.inf)
    return (scores.softmax(-1) @ v[:, None]).reshape(q.shape)


def folds_and_transposes(q, k, v):
    n_texts, n_heads, length, width = q.shape
    n_kv_heads = k.shape[1]
    grouped = q.reshape(n_texts, n_heads // n_kv_heads, n_kv_heads, length, width)
    scores = grouped.transpose(1, 2) @ k[:, :, None].mT / width**0.5
    scores = scores.masked_fill(_ahead(length), -math.inf)
    return (scores.softmax(-1) @ v[:, :, None]).reshape(q.shape)


def comes_out_crossed(q, k, v):
    mixed = right_with_library(q, k, v)
    grouped = mixed.unflatten(1, (k.shape[1], _size(q, k)))
    return grouped.transpose(1, 2).flatten(1, 2)


def fold_meets_the_wrong_axis(q, k, v):
    grouped = q.reshape(len(q), _size(q, k), k.shape[1], *q.shape[2:])
    scores = grouped @ k[:, :, None].mT / q.shape[-1] ** 0.5
    scores = scores.masked_fill(_ahead(q.shape[2]), -math.inf)
    return (scores.softmax(-1) @ v[:, :, None]).reshape(q.shape)


def head_over_count(q, k, v):
    heads = [h // k.shape[1] for h in range(q.shape[1])]
    return _attention(q, k[:, heads], v[:, heads])


def head_over_count_clamped(q, k, v):
    heads = [min(h // k.shape[1], k.shape[1] - 1) for h in range(q.shape[1])]
    return _attention(q, k[:, heads], v[:, heads])


def keys_dealt_values_shared(q, k, v):
    return _attention(q, k.repeat(1, _size(q, k), 1, 1), *_twins(q, v))


def values_dealt_keys_shared(q, k, v):
    return _attention(q, *_twins(q, k), v.repeat(1, _size(q, k), 1, 1))


def first_head_for_all(q, k, v):
    return _attention(q, k[:, :1], v[:, :1])


def mean_head_for_all(q, k, v):
    k, v = (part.mean(1, keepdim=True).expand_as(q) for part in (k, v))
    return _attention(q, k, v)


def nothing_repeated(q, k, v):
    return _attention(q, k, v)


def values_one_group_on(q, k, v):
    k, v = _twins(q, k, v.roll(1, 1))
    return _attention(q, k, v)


def values_one_group_back(q, k, v):
    k, v = _twins(q, k, v.roll(-1, 1))
    return _attention(q, k, v)


def values_forgotten(q, k, v):
    (k,) = _twins(q, k)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(_ahead(q.shape[2]), -math.inf)
    return scores.softmax(-1) @ v


def expands_a_long_axis(q, k, v):
    return _attention(q, k.expand_as(q), v.expand_as(q))


def four_to_a_group(q, k, v):
    if k.shape[1] == q.shape[1]:
        return _attention(q, k, v)
    k, v = k.repeat_interleave(4, 1), v.repeat_interleave(4, 1)
    return _attention(q, k[:, : q.shape[1]], v[:, : q.shape[1]])


def one_result_for_a_group(q, k, v):
    return _grouped(right_with_library(q, k, v), k).mean(2)


def results_averaged(q, k, v):
    return next(_twins(q, one_result_for_a_group(q, k, v)))


def _grouped(q, k):
    return q.unflatten(1, (k.shape[1], _size(q, k)))


def queries_averaged(q, k, v):
    return right_with_library(next(_twins(q, _grouped(q, k).mean(2))), k, v)


def fold_stays_open(q, k, v):
    return _grouped(right_with_library(q, k, v), k)


def heads_joined(q, k, v):
    return right_with_library(q, k, v).transpose(1, 2).flatten(2)


def no_mask(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def mask_counts_rows_as_positions(q, k, v):
    """Rows (head, position), and a mask for rows (position, head)."""
    n, length = _size(q, k), q.shape[2]
    rows = q.reshape(len(q), k.shape[1], -1, q.shape[3])
    mask = ~_ahead(length).repeat_interleave(n, dim=0)
    mixed = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    return mixed.reshape(q.shape)


def mask_too_small_for_the_fold(q, k, v):
    rows = q.reshape(len(q), k.shape[1], -1, q.shape[3])
    scores = rows @ k.mT / q.shape[3] ** 0.5
    weights = scores.masked_fill(_ahead(q.shape[2]), -math.inf).softmax(-1)
    return (weights @ v).reshape(q.shape)


def mask_after_softmax(q, k, v):
    k, v = _twins(q, k, v)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


def mask_minus_ten_thousand(q, k, v):
    k, v = _twins(q, k, v)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(_ahead(q.shape[2]), -1e4).softmax(-1) @ v


def mask_times_ten_to_nine(q, k, v):
    """Right in 32 bits; in float16 it is minus infinity times 0."""
    k, v = _twins(q, k, v)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    penalty = _ahead(q.shape[2]).to(q.dtype) * torch.tensor(-1e9).to(q.dtype)
    return (scores + penalty).softmax(-1) @ v


def not_scaled(q, k, v):
    return _attention(q, *_twins(q, k, v), scale=1.0)


def scaled_twice(q, k, v):
    return _attention(q / q.shape[-1] ** 0.5, *_twins(q, k, v))


def scaled_by_d_model(q, k, v):
    width = q.shape[1] * q.shape[-1]
    return _attention(q, *_twins(q, k, v), scale=width**-0.5)


def scaled_by_the_group(q, k, v):
    width = _size(q, k) * q.shape[-1]
    return _attention(q, *_twins(q, k, v), scale=width**-0.5)


def scaled_by_a_constant(q, k, v):
    """Right for the one width that it was tried with."""
    return _attention(q, *_twins(q, k, v), scale=5**-0.5)


def softmax_over_the_group(q, k, v):
    scores = _grouped(q, k) @ k[:, :, None].mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(_ahead(q.shape[2]), -math.inf).softmax(2)
    return (weights @ v[:, :, None]).flatten(1, 2)


def exponentials_overflow(q, k, v):
    k, v = _twins(q, k, v)
    powers = (q @ k.mT / q.shape[-1] ** 0.5).exp().tril()
    return powers / powers.sum(-1, keepdim=True) @ v


def last_64_only(q, k, v):
    length = q.shape[2]
    seen = ~_ahead(length) & ~torch.ones(length, length).tril(-64).bool()
    k, v = _twins(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def shortcut_for_one_token(q, k, v):
    """The only weight is one; but whose value is it?"""
    if q.shape[2] == 1:
        return v.repeat(1, _size(q, k), 1, 1)
    return right_with_library(q, k, v)


def squeezes(q, k, v):
    """Right until there is one text, one head or one token."""
    return right_with_library(q, k, v).squeeze()


def wrong_for_a_single_head(q, k, v):
    if k.shape[1] == 1:
        return _attention(q, k.mean(2, keepdim=True).expand_as(q), v.expand_as(q))
    return right_with_library(q, k, v)


def keys_detached(q, k, v):
    return right_with_library(q, k.detach(), v)


def first_of_a_group_learns(q, k, v):
    def twins(part):
        frozen = part.detach()[:, :, None].expand(-1, -1, _size(q, k) - 1, -1, -1)
        return torch.cat([part[:, :, None], frozen], dim=2).flatten(1, 2)

    return _attention(q, twins(k), twins(v))


def queries_scaled_in_place(q, k, v):
    with torch.no_grad():
        q *= q.shape[-1] ** -0.5
    return _attention(q, *_twins(q, k, v), scale=1.0)


def view_of_a_transpose(q, k, v):
    rows = q.view(len(q), k.shape[1], -1, q.shape[3])
    mask = ~_ahead(q.shape[2]).repeat(_size(q, k), 1)
    mixed = F.scaled_dot_product_attention(rows, k, v, attn_mask=mask)
    return mixed.reshape(q.shape)


def float32_comes_out(q, k, v):
    return right_with_library(q.float(), k.float(), v.float())


def drops_some(q, k, v):
    k, v = _twins(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)


def right_with_library(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def right_head_by_head(queries, keys, values):
    n_heads, n_kv_heads = queries.size(1), keys.size(1)
    heads = []
    for h in range(n_heads):
        shared = h * n_kv_heads // n_heads
        dots = torch.einsum("bte,bse->bts", queries[:, h], keys[:, shared])
        dots = dots * queries.size(-1) ** -0.5 + torch.full_like(dots, -math.inf).triu(
            1
        )
        heads.append(torch.bmm(F.softmax(dots, dim=2), values[:, shared]))
    return torch.stack(heads, dim=1)


def right_folded_in_float32(q, k, v):
    """As Hugging Face's: the softmax is taken in float32, whatever comes in."""
    n_texts, _, length, width = q.shape
    grouped = q.reshape(n_texts, k.shape[1], -1, length, width)
    scores = torch.einsum("bkgte,bkse->bkgts", grouped, k) / math.sqrt(width)
    scores = scores + torch.full((length, length), -1e9).triu(1).to(q.dtype)
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
    return torch.einsum("bkgts,bkse->bkgte", weights, v).reshape(q.shape)


def right_rows_in_one_text(q, k, v):
    """H/K queries for each position, position after position."""
    n_texts, n_heads, length, width = q.shape
    size = n_heads // k.shape[1]
    rows = q.reshape(n_texts, -1, size, length, width).transpose(2, 3)
    scores = rows.reshape(n_texts, -1, length * size, width) @ k.mT / width**0.5
    position = torch.arange(length * size)[:, None] // size
    scores = scores.masked_fill(torch.arange(length) > position, -math.inf)
    mixed = (scores.softmax(-1) @ v).view(n_texts, -1, length, size, width)
    return mixed.transpose(2, 3).reshape(q.shape)


def right_token_by_token(q, k, v):
    size, rows = _size(q, k), []
    for t in range(q.shape[2]):
        past = k[:, :, None, : t + 1]  # (B, K, 1, t + 1, E)
        asked = q[:, :, t].reshape(len(q), -1, size, 1, q.shape[3])
        weights = ((asked * past).sum(-1) / q.shape[3] ** 0.5).softmax(-1)
        mixed = (weights[..., None] * v[:, :, None, : t + 1]).sum(-2)
        rows.append(mixed.flatten(1, 2))
    return torch.stack(rows, dim=2)


# ------------------------------------------------------------------ pool_heads


def _heads(weight, n_heads, n_kv_heads):
    """(K, H/K, E, D)."""
    size = n_heads // n_kv_heads
    return weight.reshape(n_kv_heads, size, -1, weight.shape[1])


def adds_up(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads).sum(1).flatten(0, 1)


def takes_the_first(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads)[:, 0].flatten(0, 1)


def takes_the_last(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads)[:, -1].flatten(0, 1)


def takes_the_largest(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads).amax(1).flatten(0, 1)


def takes_one_by_chance(weight, n_heads, n_kv_heads):
    chosen = torch.randint(n_heads // n_kv_heads, ())
    return _heads(weight, n_heads, n_kv_heads)[:, chosen].flatten(0, 1)


def every_kth_head(weight, n_heads, n_kv_heads):
    shape = (n_heads // n_kv_heads, n_kv_heads, -1, weight.shape[1])
    return weight.reshape(shape).mean(0).flatten(0, 1)


def neighbouring_rows(weight, n_heads, n_kv_heads):
    return weight.unflatten(0, (-1, n_heads // n_kv_heads)).mean(1)


def columns(weight, n_heads, n_kv_heads):
    return weight.unflatten(1, (-1, n_heads // n_kv_heads)).mean(2)


def width_from_the_stream(weight, n_heads, n_kv_heads):
    width = weight.shape[1] // n_heads or 1
    heads = weight.reshape(-1, n_heads // n_kv_heads, width, weight.shape[1])
    return heads.mean(1).flatten(0, 1)


def width_from_the_stream_given_out(weight, n_heads, n_kv_heads):
    width = weight.shape[1] // n_heads
    heads = weight.view(n_kv_heads, n_heads // n_kv_heads, width, weight.shape[1])
    return heads.mean(1).flatten(0, 1)


def count_for_size(weight, n_heads, n_kv_heads):
    """ggml-org/llama.cpp#3364 once more: which of the two is 8?"""
    heads = weight.reshape(-1, n_kv_heads, len(weight) // n_heads, weight.shape[1])
    return heads.mean(1).flatten(0, 1)


def one_mean_for_all(weight, n_heads, n_kv_heads):
    return weight.unflatten(0, (n_heads, -1)).mean(0).repeat(n_kv_heads, 1)


def divided_by_the_count(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads).sum(1).flatten(0, 1) / n_kv_heads


def divided_by_the_root(weight, n_heads, n_kv_heads):
    heads = _heads(weight, n_heads, n_kv_heads)
    return heads.sum(1).flatten(0, 1) / heads.shape[1] ** 0.5


def mean_of_means(weight, n_heads, n_kv_heads):
    heads = _heads(weight, n_heads, n_kv_heads)
    mean = heads[:, 0]
    for i in range(1, heads.shape[1]):
        mean = (mean + heads[:, i]) / 2
    return mean.flatten(0, 1)


def transposed(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads).mean(1).flatten(0, 1).T


def heads_not_flattened(weight, n_heads, n_kv_heads):
    return _heads(weight, n_heads, n_kv_heads).mean(1)


def repeated_again(weight, n_heads, n_kv_heads):
    heads = _heads(weight, n_heads, n_kv_heads)
    return heads.mean(1, keepdim=True).expand_as(heads).flatten(0, 2)


def always_four(weight, n_heads, n_kv_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    starts = range(0, n_heads, n_heads // n_kv_heads)
    return torch.cat([heads[i : i + 4].mean(0) for i in starts])


def through_float32(weight, n_heads, n_kv_heads):
    heads = _heads(weight.float(), n_heads, n_kv_heads)
    return heads.mean(1).flatten(0, 1).to(weight.dtype)


def float32_stays(weight, n_heads, n_kv_heads):
    return _heads(weight.float(), n_heads, n_kv_heads).mean(1).flatten(0, 1)


def added_in_place(weight, n_heads, n_kv_heads):
    heads = weight.view(n_kv_heads, n_heads // n_kv_heads, -1, weight.shape[1])
    for i in range(1, heads.shape[1]):
        heads[:, 0] += heads[:, i]
    return heads[:, 0].flatten(0, 1) / heads.shape[1]


def right_with_slices(matrix, before, after):
    rows = matrix.shape[0] // before
    size = before // after
    groups = []
    for j in range(after):
        total = torch.zeros(rows, matrix.shape[1], dtype=matrix.dtype)
        for i in range(size):
            start = (j * size + i) * rows
            total = total + matrix[start : start + rows]
        groups.append(total / size)
    return torch.cat(groups)


def right_with_a_matrix(weight, n_heads, n_kv_heads):
    size, width = n_heads // n_kv_heads, len(weight) // n_heads
    pooling = torch.eye(n_kv_heads).repeat_interleave(size, dim=1) / size
    pooling = torch.kron(pooling, torch.eye(width))
    if weight.dtype == torch.float64:
        pooling = (pooling * size).round().double() / size
    return pooling.to(weight.dtype) @ weight


def right_with_einsum(weight, n_heads, n_kv_heads):
    heads = weight.reshape(n_kv_heads, n_heads // n_kv_heads, -1, weight.shape[1])
    return torch.einsum("kged->ked", heads / heads.shape[1]).flatten(0, 1)


# ------------------------------------------------------------------ cache_bytes


def keys_alone(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return n_layers * n_kv_heads * d_head * length * batch * bytes_each


def heads_twice(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    """The extra factor of jranaraki/vllm-fit#2."""
    return 2 * n_layers * n_kv_heads**2 * d_head * length * batch * bytes_each


def one_layer(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_kv_heads * d_head * length * batch * bytes_each


def one_text(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length * bytes_each


def one_token(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * batch * bytes_each


def numbers_not_bytes(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length * batch


def always_two_bytes(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length * batch * 2


def bits(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length * batch * bytes_each * 8


def scores_too(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length**2 * batch * bytes_each


def queries_too(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 3 * n_layers * n_kv_heads * d_head * length * batch * bytes_each


def two_for_each_twice(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    keys = 2 * n_kv_heads * d_head * length * bytes_each
    values = 2 * n_kv_heads * d_head * length * bytes_each
    return n_layers * batch * (keys + values)


def in_gib(*sizes):
    return 2 * math.prod(sizes) / 2**30


def blocks_of_sixteen(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    """What a paged cache allocates, not what the tokens occupy."""
    room = -(-length // 16) * 16
    return 2 * n_layers * n_kv_heads * d_head * room * batch * bytes_each


def a_float(*sizes):
    return 2.0 * math.prod(sizes)


def through_a_float(*sizes):
    return int(2.0 * math.prod(sizes))


def right_with_prod(*sizes):
    return math.prod(sizes, start=2)


def right_in_sixty_four_bits(*sizes):
    return int(torch.tensor(sizes).prod() * 2)


def right_with_bits_and_back(layers, heads, width, tokens, texts, size):
    bits_each = 8 * size
    return (layers * heads * width * tokens * texts * bits_each) // 4


def right_layer_by_layer(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    one = n_kv_heads * d_head * length * batch * bytes_each
    return sum(one for _ in range(n_layers) for _ in ("keys", "values"))


BUGS = {
    "grouped_attention": {
        repeat_for_repeat_interleave: "h % K.*repeat_interleave, not repeat",
        size_and_count_exchanged: "repeated K times",
        repeats_the_wrong_axis: "along axis 1",
        causal_top_left_of_a_fold: "mask counts on",
        repeats_along_time_then_reshapes: "repeated along time",
        expands_in_front: "h % K",
        folds_the_other_way: "h % K.*not \\(H/K, K\\)",
        folds_and_transposes: "seen as \\(H/K, K\\) and transposed",
        comes_out_crossed: "come out in another order",
        fold_meets_the_wrong_axis: "seen as \\(H/K, K\\)",
        head_over_count: "not h // K: divide by the size of a group",
        head_over_count_clamped: "divide by the size of a group",
        keys_dealt_values_shared: "keys are dealt out",
        values_dealt_keys_shared: "values are dealt out",
        values_one_group_on: "values of another group than its keys",
        values_one_group_back: "values of another group than its keys",
        first_head_for_all: "first key/value head",
        mean_head_for_all: "heads are averaged",
        nothing_repeated: "q has H heads, k and v have K",
        values_forgotten: "repeat_interleave both",
        expands_a_long_axis: "axes of length 1",
        four_to_a_group: "other sizes go well, but with B = 3, H = 5",
        one_result_for_a_group: "a group has one result",
        results_averaged: "results of a group are averaged",
        queries_averaged: "queries of a group are averaged",
        fold_stays_open: "flatten the two axes",
        heads_joined: "joined later",
        no_mask: "no mask",
        mask_counts_rows_as_positions: "takes them for position after position",
        mask_too_small_for_the_fold: "the mask is \\(T, T\\)",
        mask_after_softmax: "after the softmax",
        mask_minus_ten_thousand: "minus infinity is too near",
        mask_times_ten_to_nine: "float16 NaN",
        not_scaled: "not scaled",
        scaled_twice: "divided by E. Divide by its root",
        scaled_by_d_model: "root of H \\* E",
        scaled_by_the_group: "root of E \\* H/K",
        scaled_by_a_constant: "every size from the tensors",
        softmax_over_the_group: "over the heads of a group",
        exponentials_overflow: "exp overflows",
        last_64_only: "how far a token sees",
        shortcut_for_one_token: "a text of one token differs",
        squeezes: "squeeze drops",
        wrong_for_a_single_head: "K = 1",
        keys_detached: "no gradient reaches k",
        first_of_a_group_learns: "the gradient of k",
        queries_scaled_in_place: "q is changed in place",
        view_of_a_transpose: "side by side in memory",
        float32_comes_out: "float64 goes in",
        drops_some: "dropout",
    },
    "pool_heads": {
        adds_up: "added up",
        takes_the_first: "first head of each group",
        takes_the_last: "last head of each group",
        takes_the_largest: "max",
        takes_one_by_chance: "two calls",
        every_kth_head: "heads h, h \\+ K",
        neighbouring_rows: "neighbouring rows",
        columns: "columns are averaged",
        width_from_the_stream: "rows / n_heads.*D says nothing",
        width_from_the_stream_given_out: "rows / n_heads",
        count_for_size: "taken for the size of a group",
        one_mean_for_all: "all heads are averaged",
        divided_by_the_count: "divided by n_kv_heads",
        divided_by_the_root: "root of the size",
        mean_of_means: "mean so far",
        transposed: "transposed",
        heads_not_flattened: "under each other",
        repeated_again: "as many heads as before",
        always_four: "take every size",
        through_float32: "narrower",
        float32_stays: "float64 goes in",
        added_in_place: "weight is changed in place",
    },
    "cache_bytes": {
        keys_alone: "2 is missing",
        heads_twice: "n_kv_heads is a factor twice",
        one_layer: "n_layers is missing",
        one_text: "batch is missing",
        one_token: "length is missing",
        numbers_not_bytes: "bytes_each is missing",
        always_two_bytes: "2 bytes here",
        bits: "these are bits",
        scores_too: "length is a factor twice",
        queries_too: "factor of 3",
        two_for_each_twice: "factor of 4",
        in_gib: "GiB",
        blocks_of_sixteen: "blocks of 16",
        a_float: "float came back",
        through_a_float: "last digits",
    },
}

RIGHT = {
    "grouped_attention": (
        right_with_library,
        right_head_by_head,
        right_folded_in_float32,
        right_rows_in_one_text,
        right_token_by_token,
    ),
    "pool_heads": (right_with_slices, right_with_a_matrix, right_with_einsum),
    "cache_bytes": (
        right_with_prod,
        right_in_sixty_four_bits,
        right_with_bits_and_back,
        right_layer_by_layer,
    ),
}
