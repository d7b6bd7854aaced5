"""Wrong and right answers to the exercises of chapter 6, written blind."""

import math

import torch
import torch.nn.functional as F

# grouped_attention, right


def attention_in_einsum(q, k, v):
    b, h, t, e = q.shape
    kv = k.shape[1]
    grouped = q.reshape(b, kv, h // kv, t, e)
    scores = torch.einsum("bkgte,bkse->bkgts", grouped, k) / math.sqrt(e)
    future = torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return torch.einsum("bkgts,bkse->bkgte", weights, v).reshape(b, h, t, e)


def attention_head_by_head(q, k, v):
    n_heads, length, width = q.shape[1:]
    per_group = n_heads // k.size(1)
    allowed = torch.tril(torch.ones(length, length, device=q.device)) == 1
    outputs = []
    for head in range(n_heads):
        shared = head // per_group
        scores = q[:, head] @ k[:, shared].mT * width**-0.5
        scores = torch.where(allowed, scores, -torch.inf)
        outputs.append(F.softmax(scores, dim=-1) @ v[:, shared])
    return torch.stack(outputs, dim=1)


def attention_by_sdpa(q, k, v):
    repeats = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(
        q,
        k.repeat_interleave(repeats, dim=1),
        v.repeat_interleave(repeats, dim=1),
        is_causal=True,
    )


def attention_with_folded_queries(q, k, v):
    batch, n_heads, length, width = q.shape
    n_kv_heads = k.shape[1]
    rows = (q / width**0.5).reshape(batch, n_kv_heads, -1, width)
    row = torch.arange(rows.shape[2], device=q.device) % length
    column = torch.arange(length, device=q.device)
    scores = rows @ k.transpose(-2, -1)
    scores = scores.masked_fill(column > row[:, None], -torch.inf)
    return (torch.softmax(scores, -1) @ v).reshape(batch, n_heads, length, width)


def attention_token_by_token(q, k, v):
    query, key, value = q.double(), k.double(), v.double()
    b, h, t, e = query.shape
    query = query.unflatten(1, (k.shape[1], -1))
    steps = []
    for i in range(t):
        seen_keys, seen_values = key[:, :, : i + 1], value[:, :, : i + 1]
        scores = query[:, :, :, i] @ seen_keys.transpose(2, 3) / math.sqrt(e)
        shares = (scores - scores.logsumexp(-1, keepdim=True)).exp()
        steps.append(shares @ seen_values)
    return torch.stack(steps, dim=3).reshape(b, h, t, e).to(q.dtype)


# grouped_attention, wrong


def causal_softmax(scores):
    length = scores.shape[-1]
    future = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def shared_round_robin(q, k, v):
    """Tile for repeat_interleave: onnx/onnx, pull request 7274."""
    n_rep = q.shape[1] // k.shape[1]
    k = k.repeat(1, n_rep, 1, 1)
    v = v.repeat(1, n_rep, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def values_round_robin(q, k, v):
    # keys are shared as they should be; right only for K == H and K == 1
    b, h, t, e = q.shape
    kv = k.shape[1]
    k = k[:, :, None].expand(b, kv, h // kv, t, e).reshape(b, h, t, e)
    v = v[:, None].expand(b, h // kv, kv, t, e).reshape(b, h, t, e)
    return causal_softmax(q @ k.mT / math.sqrt(e)) @ v


def head_divided_by_number_of_kv_heads(q, k, v):
    # right only for H == K * K; crashes for H > K * K
    n_kv_heads = k.shape[1]
    out = torch.empty_like(q)
    for head in range(q.shape[1]):
        keys, values = k[:, head // n_kv_heads], v[:, head // n_kv_heads]
        scores = q[:, head] @ keys.mT / math.sqrt(q.shape[-1])
        out[:, head] = causal_softmax(scores) @ values
    return out


def texts_crossed_in_flat_batch(q, k, v):
    # right only for K == H, and for K == 1 with one text
    b, h, t, e = q.shape
    n_rep = h // k.shape[1]
    queries = q.reshape(-1, t, e)
    keys = k.reshape(-1, t, e).repeat(n_rep, 1, 1)
    values = v.reshape(-1, t, e).repeat(n_rep, 1, 1)
    scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(e)
    return torch.bmm(causal_softmax(scores), values).reshape(b, h, t, e)


def scores_summed_over_group(q, k, v):
    # right only for K == H
    b, h, t, e = q.shape
    kv = k.shape[1]
    grouped = q.reshape(b, kv, h // kv, t, e)
    scores = torch.einsum("bkgte,bkse->bkts", grouped, k) / math.sqrt(e)
    out = torch.einsum("bkts,bkse->bkte", causal_softmax(scores), v)
    return out.repeat_interleave(h // kv, dim=1)


def heads_returned_in_another_order(q, k, v):
    # right only for K == H and K == 1
    b, h, t, e = q.shape
    kv = k.shape[1]
    grouped = q.reshape(b, kv, h // kv, t, e).transpose(1, 2)
    weights = causal_softmax(grouped @ k.mT[:, None] / math.sqrt(e))
    return (weights @ v[:, None]).reshape(b, h, t, e)


def mask_ignores_folded_queries(q, k, v):
    # the first head of each group is right, the others see everything
    b, h, t, e = q.shape
    rows = q.reshape(b, k.shape[1], -1, e)
    allowed = torch.ones(rows.shape[2], t, dtype=torch.bool, device=q.device).tril()
    out = F.scaled_dot_product_attention(rows, k, v, attn_mask=allowed)
    return out.reshape(b, h, t, e)


def scaled_before_sdpa_too(q, k, v):
    n_rep = q.shape[1] // k.shape[1]
    q = q * q.shape[-1] ** -0.5
    k, v = (x.repeat_interleave(n_rep, dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def queries_scaled_in_place(q, k, v):
    # the answer is right, but the caller's q is changed
    n_rep = q.shape[1] // k.shape[1]
    q /= math.sqrt(q.shape[-1])
    scores = q @ k.repeat_interleave(n_rep, dim=1).mT
    return causal_softmax(scores) @ v.repeat_interleave(n_rep, dim=1)


def left_in_float32(q, k, v):
    # wrong only when q is not float32: the dtype, and float64 loses digits
    b, h, t, e = q.shape
    kv = k.shape[1]
    grouped = q.float().reshape(b, kv, h // kv, t, e)
    scores = grouped @ k.float()[:, :, None].mT / math.sqrt(e)
    return (causal_softmax(scores) @ v.float()[:, :, None]).reshape(b, h, t, e)


@torch.no_grad()
def repeat_kv(x, n_rep):
    b, kv, t, e = x.shape
    return x[:, :, None].expand(b, kv, n_rep, t, e).reshape(b, kv * n_rep, t, e)


def no_gradient_for_shared_heads(q, k, v):
    # the answer is right, but k and v get no gradient
    n_rep = q.shape[1] // k.shape[1]
    scores = q @ repeat_kv(k, n_rep).mT / math.sqrt(q.shape[-1])
    return causal_softmax(scores) @ repeat_kv(v, n_rep)


def batch_and_heads_viewed_as_one(q, k, v):
    # crashes only for inputs that are not contiguous
    b, h, t, e = q.shape
    kv = k.shape[1]
    queries = q.view(b * kv, h // kv, t, e)
    keys, values = k.view(b * kv, 1, t, e), v.view(b * kv, 1, t, e)
    weights = causal_softmax(queries @ keys.mT / math.sqrt(e))
    return (weights @ values).view(b, h, t, e)


def tokens_repeated_for_heads(q, k, v):
    """The tokens' axis is repeated: ByteDance-Seed/VeOmni, pull request 162."""
    n_rep = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(n_rep, dim=2).reshape(q.shape)
    v = v.repeat_interleave(n_rep, dim=2).reshape(q.shape)
    return causal_softmax(q @ k.mT / math.sqrt(q.shape[-1])) @ v


def mask_number_too_large_for_half(q, k, v):
    # crashes only for float16
    t, e = q.shape[-2:]
    n_rep = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_rep, dim=1), v.repeat_interleave(n_rep, dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(e)
    causal = torch.tril(torch.ones(t, t, device=q.device))
    scores = scores.masked_fill(causal == 0, -1e9)
    return F.softmax(scores, dim=-1) @ v


# pool_heads, right


def pool_by_reshape(weight, n_heads, n_kv_heads):
    rows, columns = weight.shape
    e = rows // n_heads
    groups = weight.reshape(n_kv_heads, n_heads // n_kv_heads, e, columns)
    return groups.mean(dim=1).reshape(n_kv_heads * e, columns)


def pool_by_slices(weight, n_heads, n_kv_heads):
    pooled = []
    for group in weight.tensor_split(n_kv_heads):
        heads = group.chunk(n_heads // n_kv_heads)
        pooled.append(sum(heads) / len(heads))
    return torch.cat(pooled)


def pool_by_matrix(weight, n_heads, n_kv_heads):
    size = n_heads // n_kv_heads
    options = {"dtype": weight.dtype, "device": weight.device}
    mean = torch.full((1, size), 1 / size, **options)
    chosen = torch.kron(torch.eye(n_kv_heads, **options), mean)
    head = torch.eye(weight.shape[0] // n_heads, **options)
    return torch.kron(chosen, head) @ weight


def pool_by_index_add(weight, n_heads, n_kv_heads):
    size = n_heads // n_kv_heads
    heads = weight.double().unflatten(0, (n_heads, -1))
    owner = torch.arange(n_heads, device=weight.device) // size
    pooled = heads.new_zeros(n_kv_heads, *heads.shape[1:])
    pooled = pooled.index_add(0, owner, heads, alpha=1 / size)
    return pooled.flatten(0, 1).to(weight.dtype)


# pool_heads, wrong


def pooled_round_robin(weight, n_heads, n_kv_heads):
    # right only for n_kv_heads == n_heads and n_kv_heads == 1
    columns = weight.shape[1]
    groups = weight.reshape(n_heads // n_kv_heads, n_kv_heads, -1, columns)
    return groups.mean(dim=0).reshape(-1, columns)


def pooled_as_sum(weight, n_heads, n_kv_heads):
    columns = weight.shape[1]
    groups = weight.reshape(n_kv_heads, n_heads // n_kv_heads, -1, columns)
    return groups.sum(dim=1).reshape(-1, columns)


def first_head_of_each_group(weight, n_heads, n_kv_heads):
    heads = weight.reshape(n_heads, -1, weight.shape[1])
    return heads[:: n_heads // n_kv_heads].flatten(0, 1)


def neighbouring_rows_pooled(weight, n_heads, n_kv_heads):
    # right only for n_kv_heads == n_heads and E == 1
    rows, columns = weight.shape
    e = rows // n_heads
    groups = weight.reshape(n_kv_heads, e, n_heads // n_kv_heads, columns)
    return groups.mean(dim=2).reshape(n_kv_heads * e, columns)


def divided_by_number_of_groups(weight, n_heads, n_kv_heads):
    # right only for n_heads == n_kv_heads ** 2
    e = weight.shape[0] // n_heads
    per_group = n_heads // n_kv_heads
    out = weight.new_zeros(n_kv_heads * e, weight.shape[1])
    for head in range(n_heads):
        group = head // per_group
        rows = weight[head * e : (head + 1) * e] / n_kv_heads
        out[group * e : (group + 1) * e] += rows
    return out


def head_width_from_the_columns(weight, n_heads, n_kv_heads):
    """E as hidden size / heads: LMCache/LMCache, issue 688, in a calculator."""
    hidden = weight.shape[1]
    d_head = hidden // n_heads
    groups = weight.reshape(n_kv_heads, -1, d_head, hidden)
    return groups.mean(dim=1).reshape(n_kv_heads * d_head, hidden)


def transposed_for_another_layout(weight, n_heads, n_kv_heads):
    # the shape is right, the numbers are shuffled
    columns = weight.shape[1]
    groups = weight.T.reshape(n_kv_heads, n_heads // n_kv_heads, -1, columns)
    return groups.mean(dim=1).reshape(-1, columns)


def summed_into_the_first_head(weight, n_heads, n_kv_heads):
    # the answer is right, but the caller's weight is changed
    n_rep = n_heads // n_kv_heads
    heads = weight.detach().view(n_kv_heads, n_rep, -1, weight.shape[1])
    pooled = heads[:, 0]
    for i in range(1, n_rep):
        pooled += heads[:, i]
    pooled /= n_rep
    return pooled.reshape(-1, weight.shape[1])


def halved_again_and_again(weight, n_heads, n_kv_heads):
    # right only for groups of one or two heads
    pooled = []
    for group in weight.chunk(n_kv_heads):
        first, *others = group.chunk(n_heads // n_kv_heads)
        mean = first
        for head in others:
            mean = (mean + head) / 2
        pooled.append(mean)
    return torch.cat(pooled)


def repeated_for_every_query_head(weight, n_heads, n_kv_heads):
    rows, columns = weight.shape
    groups = weight.reshape(n_kv_heads, n_heads // n_kv_heads, -1, columns)
    mean = groups.mean(dim=1, keepdim=True)
    return mean.expand_as(groups).reshape(rows, columns)


def groups_of_n_kv_heads(weight, n_heads, n_kv_heads):
    # right only for n_heads == n_kv_heads ** 2
    heads = weight.reshape(n_heads, -1, weight.shape[1])
    groups = heads.split(n_kv_heads)
    return torch.cat([group.mean(0) for group in groups])


# cache_bytes, right


def bytes_as_product(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return 2 * n_layers * n_kv_heads * d_head * length * batch * bytes_each


def bytes_layer_by_layer(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    total = 0
    for _ in range(n_layers):
        keys = math.prod((batch, n_kv_heads, length, d_head))
        values = math.prod((batch, n_kv_heads, length, d_head))
        total += (keys + values) * bytes_each
    return total


def bytes_of_a_tensor(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    shape = (n_layers, 2, batch, n_kv_heads, length, d_head)
    return torch.empty(shape, device="meta").numel() * bytes_each


# cache_bytes, wrong


def keys_only(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    return n_layers * n_kv_heads * d_head * length * batch * bytes_each


def one_layer_only(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # right only for one layer
    per_token = 2 * n_kv_heads * d_head * bytes_each
    return per_token * length * batch


def one_text_only(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # right only for one text
    per_token = 2 * n_layers * n_kv_heads * d_head * bytes_each
    return per_token * length


def heads_counted_twice(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    """The heads times the width of all heads: jranaraki/vllm-fit, issue 2."""
    hidden = n_kv_heads * d_head
    per_token = 2 * n_layers * n_kv_heads * hidden * bytes_each
    return per_token * length * batch


def float_from_bits(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # the number is right, but it is a float
    bits = 2 * n_layers * n_kv_heads * d_head * length * batch * bytes_each * 8
    return bits / 8


def in_kibibytes(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    total = 2 * n_layers * n_kv_heads * d_head * length * batch * bytes_each
    return total // 1024


def whole_blocks_of_tokens(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # right only when length is a multiple of 16
    blocks = (length + 15) // 16
    per_block = 2 * 16 * n_layers * n_kv_heads * d_head * bytes_each
    return blocks * per_block * batch


def product_in_float32(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # wrong only where the product has more than 24 significant bits, e.g.
    # (46, 16, 128, 32767, 25, 2)
    sizes = [2, n_layers, n_kv_heads, d_head, length, batch, bytes_each]
    return int(torch.Tensor(sizes).prod())


def two_bytes_for_everything(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    # right only for bytes_each == 2
    return 4 * n_layers * n_kv_heads * d_head * length * batch


def last_token_not_stored(n_layers, n_kv_heads, d_head, length, batch, bytes_each):
    per_token = 2 * n_layers * n_kv_heads * d_head * bytes_each
    return per_token * (length - 1) * batch


BUGS = {
    "grouped_attention": {
        shared_round_robin: "h % K.*not repeat",
        values_round_robin: "the values are dealt out in turn",
        head_divided_by_number_of_kv_heads: "h // \\(H/K\\), not h // K",
        texts_crossed_in_flat_batch: "along the batch, so that texts mix",
        scores_summed_over_group: "scores of a group are added up",
        heads_returned_in_another_order: "come out in another order: \\(H/K, K\\)",
        mask_ignores_folded_queries: "mask counts on.*second head.*the future",
        scaled_before_sdpa_too: "divided by E\\. Divide by its root",
        queries_scaled_in_place: "q is changed in place",
        left_in_float32: "float64 goes in, torch\\.float32 comes out",
        no_gradient_for_shared_heads: "no gradient reaches k and v",
        batch_and_heads_viewed_as_one: "side by side in memory",
        tokens_repeated_for_heads: "repeated along time, not along the heads",
        mask_number_too_large_for_half: "float16.*too large for 16 bits",
    },
    "pool_heads": {
        pooled_round_robin: "heads h, h \\+ K",
        pooled_as_sum: "added up\\. Take their mean",
        first_head_of_each_group: "the first head of each group is taken",
        neighbouring_rows_pooled: "neighbouring rows are averaged",
        divided_by_number_of_groups: "divided by n_kv_heads",
        head_width_from_the_columns: "D // n_heads\\. It is rows / n_heads",
        transposed_for_another_layout: "transposed.*rows and columns mix",
        summed_into_the_first_head: "weight is changed in place",
        halved_again_and_again: "later heads count more",
        repeated_for_every_query_head: "as many heads as before came back",
        groups_of_n_kv_heads: "n_kv_heads is taken for the size of a group",
    },
    "cache_bytes": {
        keys_only: "2 is missing: keys and values",
        one_layer_only: "n_layers is missing",
        one_text_only: "batch is missing",
        heads_counted_twice: "n_kv_heads is a factor twice",
        float_from_bits: "a float came back",
        in_kibibytes: "KiB",
        whole_blocks_of_tokens: "rounded up to blocks of 16",
        product_in_float32: "a float was in between",
        two_bytes_for_everything: "every number has 2 bytes",
        last_token_not_stored: "last token is left out",
    },
}

RIGHT = {
    "grouped_attention": (
        attention_in_einsum,
        attention_head_by_head,
        attention_by_sdpa,
        attention_with_folded_queries,
        attention_token_by_token,
    ),
    "pool_heads": (
        pool_by_reshape,
        pool_by_slices,
        pool_by_matrix,
        pool_by_index_add,
    ),
    "cache_bytes": (
        bytes_as_product,
        bytes_layer_by_layer,
        bytes_of_a_tensor,
    ),
}
