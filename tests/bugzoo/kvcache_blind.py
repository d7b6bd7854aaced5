"""Wrong and right answers to chapter 10, by someone who has not read its checks."""

import math

import torch
import torch.nn.functional as F

# ------------------------------------------------------------- attend_with_past
# right


def attend_by_library(q, k, v, past):
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    groups = q.shape[1] // k.shape[1]
    allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    allowed = allowed.tril(k.shape[2] - q.shape[2])
    out = F.scaled_dot_product_attention(
        q,
        k.repeat_interleave(groups, 1),
        v.repeat_interleave(groups, 1),
        attn_mask=allowed,
    )
    return out, (k, v)


def attend_by_groups(q, k, v, past):
    batch, heads, n_new, width = q.shape
    keys, values = past or (k[:, :, :0], v[:, :, :0])
    n_old = keys.shape[2]
    keys = torch.cat((keys, k), dim=-2)
    values = torch.cat((values, v), dim=-2)
    grouped = q.unflatten(1, (k.shape[1], -1))
    scores = torch.einsum("bkgte,bkse->bkgts", grouped, keys) * width**-0.5
    when = torch.arange(n_old, n_old + n_new)[:, None]
    scores = scores.masked_fill(torch.arange(n_old + n_new) > when, -torch.inf)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype)
    out = torch.einsum("bkgts,bkse->bkgte", weights, values)
    return out.reshape(batch, heads, n_new, width), [keys, values]


def attend_one_by_one(q, k, v, past):
    # as a text is generated: every position sees what is there when it comes
    if past is None:
        keys, values = k[:, :, 0:0], v[:, :, 0:0]
    else:
        keys, values = past
    outs = []
    shared = q.shape[1] // k.shape[1]
    for t in range(q.shape[2]):
        keys = torch.cat([keys, k[:, :, t : t + 1]], dim=2)
        values = torch.cat([values, v[:, :, t : t + 1]], dim=2)
        heads = []
        for h in range(q.shape[1]):
            s = (keys[:, h // shared] @ q[:, h, t, :, None]) / math.sqrt(q.shape[3])
            w = torch.softmax(s, dim=1)
            heads.append((w * values[:, h // shared]).sum(1))
        outs.append(torch.stack(heads, dim=1))
    return torch.stack(outs, dim=2), (keys, values)


# wrong


def causal_flag_of_the_library(q, k, v, past):
    # is_causal counts from the top left: right only without a past
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    groups = q.shape[1] // k.shape[1]
    out = F.scaled_dot_product_attention(
        q,
        k.repeat_interleave(groups, 1),
        v.repeat_interleave(groups, 1),
        is_causal=True,
    )
    return out, (k, v)


def causal_only_at_first(q, k, v, past):
    # right for a prompt and for single tokens, not for a second chunk
    first = past is None
    if not first:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    groups = q.shape[1] // k.shape[1]
    big_k, big_v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    out = F.scaled_dot_product_attention(q, big_k, big_v, is_causal=first)
    return out, (k, v)


def diagonal_one_too_far(q, k, v, past):
    keys, values = k, v
    if past is not None:
        keys = torch.cat([past[0], k], dim=2)
        values = torch.cat([past[1], v], dim=2)
    t, s = q.shape[2], keys.shape[2]
    h, kv = q.shape[1], k.shape[1]
    all_k = keys.repeat_interleave(h // kv, dim=1)
    all_v = values.repeat_interleave(h // kv, dim=1)
    att = q @ all_k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = torch.tril(torch.ones(t, s), diagonal=s - t + 1)
    att = att.masked_fill(mask == 0, float("-inf"))
    return F.softmax(att, dim=-1) @ all_v, (keys, values)


def new_ones_in_front(q, k, v, past):
    # the mask is made for old ones first
    n_old = 0
    if past is not None:
        old_k, old_v = past
        n_old = old_k.size(2)
        k = torch.cat([k, old_k], dim=2)
        v = torch.cat([v, old_v], dim=2)
    new_past = (k, v)
    rep = q.size(1) // k.size(1)
    kk = k.repeat_interleave(rep, dim=1)
    vv = v.repeat_interleave(rep, dim=1)
    scores = torch.matmul(q, kk.mT) * q.size(-1) ** -0.5
    rows = torch.arange(q.size(2)).unsqueeze(1) + n_old
    cols = torch.arange(k.size(2)).unsqueeze(0)
    scores = scores.masked_fill(cols > rows, -float("inf"))
    return torch.matmul(scores.softmax(-1), vv), new_past


def heads_tiled(q, k, v, past):
    # repeat gives 0 1 0 1 where 0 0 1 1 is wanted
    if past is not None:
        k = torch.cat([past[0], k], dim=2)
        v = torch.cat([past[1], v], dim=2)
    present = (k, v)
    n = q.shape[1] // k.shape[1]
    k = k.repeat(1, n, 1, 1)
    v = v.repeat(1, n, 1, 1)
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    mask = mask.tril(diagonal=k.shape[2] - q.shape[2])
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out, present


def past_of_repeated_heads(q, k, v, past):
    # what comes back has H heads, not K
    groups = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(groups, dim=1)
    v = v.repeat_interleave(groups, dim=1)
    if past is not None:
        pk, pv = past
        if pk.shape[1] != k.shape[1]:
            pk = pk.repeat_interleave(groups, dim=1)
            pv = pv.repeat_interleave(groups, dim=1)
        k, v = torch.cat([pk, k], dim=2), torch.cat([pv, v], dim=2)
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    mask = mask.tril(diagonal=k.shape[2] - q.shape[2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask), (k, v)


def past_of_the_last_chunk(q, k, v, past):
    # right for two calls, not for three
    keys, values = k, v
    if past is not None:
        keys = torch.cat([past[0], k], dim=2)
        values = torch.cat([past[1], v], dim=2)
    b, h, t, e = q.shape
    kv, s = keys.shape[1:3]
    q5 = q.view(b, kv, h // kv, t, e)
    scores = q5 @ keys[:, :, None].transpose(-1, -2) / e**0.5
    hidden = torch.ones(t, s, dtype=torch.bool).triu(s - t + 1)
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return (weights @ values[:, :, None]).view(b, h, t, e), (k, v)


def keys_remembered_as_values(q, k, v, past):
    # a slip of the fingers in the last but one cat
    old_k, old_v = (None, None) if past is None else past
    all_k = k if old_k is None else torch.cat([old_k, k], dim=2)
    all_v = v if old_v is None else torch.cat([old_v, k], dim=2)
    s, t = all_k.shape[2], k.shape[2]
    ratio = q.shape[1] // k.shape[1]
    scores = q @ all_k.repeat_interleave(ratio, 1).mT / math.sqrt(k.shape[3])
    ok = torch.arange(s)[None, :] <= torch.arange(s - t, s)[:, None]
    scores = torch.where(ok, scores, torch.tensor(float("-inf"), dtype=q.dtype))
    weights = torch.softmax(scores, dim=-1)
    return weights @ all_v.repeat_interleave(ratio, 1), (all_k, all_v)


def scores_not_scaled(q, k, v, past):
    if past is not None:
        k = torch.cat((past[0], k), 2)
        v = torch.cat((past[1], v), 2)
    t, g = q.shape[2], q.shape[1] // k.shape[1]
    scores = torch.einsum("bhte,bhse->bhts", q, k.repeat_interleave(g, 1))
    late = torch.triu(torch.ones_like(scores), k.shape[2] - t + 1).bool()
    scores[late] = -torch.inf
    att = scores.softmax(dim=3)
    return torch.einsum("bhts,bhse->bhte", att, v.repeat_interleave(g, 1)), (k, v)


def masked_after_softmax(q, k, v, past):
    # the weights of a row no longer sum to one
    if past is not None:
        k = torch.cat([past[0], k], dim=2)
        v = torch.cat([past[1], v], dim=2)
    n_all, n_new = k.shape[2], q.shape[2]
    group = q.shape[1] // k.shape[1]
    keys = k.repeat_interleave(group, dim=1)
    values = v.repeat_interleave(group, dim=1)
    att = F.softmax(q @ keys.transpose(2, 3) / math.sqrt(q.shape[3]), dim=-1)
    att = att.tril(n_all - n_new)
    return att @ values, (k, v)


def query_scaled_in_place(q, k, v, past):
    # the answer is right; the caller's queries are not theirs any more
    q *= q.shape[-1] ** -0.5
    if past is not None:
        k, v = (torch.cat(pair, dim=2) for pair in zip(past, (k, v), strict=True))
    repeats = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(repeats, dim=1).mT
    future = torch.ones(scores.shape[-2:]).triu(k.shape[2] - q.shape[2] + 1) > 0
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return weights @ v.repeat_interleave(repeats, dim=1), (k, v)


def softmax_stays_float(q, k, v, past):
    # wrong only for half precision: the dtype of out
    if past is not None:
        k = torch.cat([past[0], k], dim=2)
        v = torch.cat([past[1], v], dim=2)
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, dim=1).mT * q.shape[3] ** -0.5
    s, t = k.shape[2], q.shape[2]
    seen = torch.arange(s) <= torch.arange(t)[:, None] + (s - t)
    scores = scores.masked_fill(~seen, float("-inf"))
    wide = torch.promote_types(q.dtype, torch.float32)
    weights = torch.softmax(scores.to(wide), dim=-1)
    return weights @ v.repeat_interleave(group, dim=1).to(wide), (k, v)


# ------------------------------------------------------------------ layer_cache
# right


class CacheOfTwoRooms:
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.values = torch.zeros_like(self.keys)
        self.length = 0

    def append(self, keys, values):
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit in {self.keys.shape[2]}")
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError(f"batch size {keys.shape[0]}, not {self.keys.shape[0]}")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class CacheOfOneRoom:
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.room = torch.empty(2, batch_size, n_kv_heads, max_length, d_head)
        self.free = max_length

    @property
    def length(self):
        return self.room.size(3) - self.free

    @torch.no_grad()
    def append(self, keys, values):
        n = keys.size(-2)
        if keys.size(0) != self.room.size(1) or n > self.free:
            raise ValueError("that does not fit")
        for room, new in zip(self.room, (keys, values), strict=True):
            room.narrow(2, self.length, n).copy_(new)
        self.free -= n
        return tuple(self.room[:, :, :, : self.length].unbind())


class CacheWithTimeFirst(torch.nn.Module):
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__()
        shape = (max_length, batch_size, n_kv_heads, d_head)
        self.register_buffer("k", torch.full(shape, torch.nan), persistent=False)
        self.register_buffer("v", torch.full(shape, torch.nan), persistent=False)
        self.length = 0

    def append(self, keys, values):
        places = torch.arange(self.length, self.length + keys.shape[2])
        if keys.shape[0] != self.k.shape[1]:
            raise ValueError("another batch size")
        if len(places) and places[-1] >= len(self.k):
            raise ValueError("the cache is full")
        self.k.index_copy_(0, places, keys.detach().permute(2, 0, 1, 3).float())
        self.v.index_copy_(0, places, values.detach().permute(2, 0, 1, 3).float())
        self.length += len(places)
        views = self.k[: self.length], self.v[: self.length]
        return tuple(view.permute(1, 2, 0, 3) for view in views)


# wrong


class GrowsByCat:
    # the numbers are right, but every append copies everything
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.batch_size, self.max_length = batch_size, max_length
        self.keys = torch.zeros(batch_size, n_kv_heads, 0, d_head)
        self.values = torch.zeros(batch_size, n_kv_heads, 0, d_head)
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.batch_size:
            raise ValueError("wrong batch size")
        if self.length + keys.shape[2] > self.max_length:
            raise ValueError("too long")
        self.keys = torch.cat([self.keys, keys], dim=2)
        self.values = torch.cat([self.values, values], dim=2)
        self.length = self.keys.shape[2]
        return self.keys, self.values


class HandsOutCopies:
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.k_cache = torch.zeros((batch_size, n_kv_heads, max_length, d_head))
        self.v_cache = torch.zeros((batch_size, n_kv_heads, max_length, d_head))
        self.length = 0

    def append(self, keys, values):
        b, _, t, _ = keys.shape
        if b != self.k_cache.size(0) or self.length + t > self.k_cache.size(2):
            raise ValueError(f"cannot take {tuple(keys.shape)}")
        self.k_cache[:, :, self.length : self.length + t] = keys
        self.v_cache[:, :, self.length : self.length + t] = values
        self.length += t
        k = self.k_cache[:, :, : self.length].clone()
        v = self.v_cache[:, :, : self.length].clone()
        return k, v


class HandsOutTheWholeRoom:
    # right when the room is full
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.k = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.v = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.max_length = max_length
        self.length = 0

    def append(self, keys, values):
        if len(keys) != len(self.k):
            raise ValueError("batch size")
        start, stop = self.length, self.length + keys.shape[2]
        if stop > self.max_length:
            raise ValueError("no room left")
        self.k[:, :, start:stop] = keys
        self.v[:, :, start:stop] = values
        self.length = stop
        return self.k, self.v


class HandsOutTheNewOnes:
    # right for the first append
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        shape = batch_size, n_kv_heads, max_length, d_head
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.length = 0

    def append(self, keys, values):
        n_new = keys.shape[-2]
        here = slice(self.length, self.length + n_new)
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("the batch has another size")
        if here.stop > self.keys.shape[-2]:
            raise ValueError("full")
        self.keys[..., here, :] = keys
        self.values[..., here, :] = values
        self.length = here.stop
        return self.keys[..., here, :], self.values[..., here, :]


class OneRoomForBoth:
    # a = b = zeros(...) makes one tensor with two names
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = self.values = torch.zeros(
            batch_size, n_kv_heads, max_length, d_head
        )
        self.length = 0

    def append(self, keys, values):
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError("cache overflow")
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("batch mismatch")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class FitLeftToTorch:
    # the assignment fails by itself, but with a RuntimeError
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.values = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("wrong batch size")
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class LastPlaceStaysEmpty:
    # >= for >
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.room = [
            torch.zeros(batch_size, n_kv_heads, max_length, d_head) for _ in range(2)
        ]
        self.max_length = max_length
        self.batch_size = batch_size
        self.length = 0

    def append(self, keys, values):
        t = keys.size(2)
        if self.length + t >= self.max_length:
            raise ValueError(f"the cache holds {self.max_length} positions")
        if keys.size(0) != self.batch_size:
            raise ValueError(f"the cache holds {self.batch_size} rows")
        for room, new in zip(self.room, [keys, values], strict=True):
            room[:, :, self.length : self.length + t] = new
        self.length += t
        return tuple(room[:, :, : self.length] for room in self.room)


class CountsBeforeItLooks:
    # after a refusal the length is wrong
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.values = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.max_length = max_length
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("batch size differs")
        old = self.length
        self.length += keys.shape[2]
        if self.length > self.max_length:
            raise ValueError("does not fit")
        self.keys[:, :, old : self.length] = keys
        self.values[:, :, old : self.length] = values
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class FillsUpThenRefuses:
    # writes what fits, and only then raises
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.values = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("batch size")
        for t in range(keys.shape[2]):
            if self.length == self.keys.shape[2]:
                raise ValueError("the cache is full")
            self.keys[:, :, self.length] = keys[:, :, t]
            self.values[:, :, self.length] = values[:, :, t]
            self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class OneRowForAll:
    # a batch of one is broadcast without a word
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.k = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.v = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.length = 0

    def append(self, keys, values):
        n = self.length + keys.shape[2]
        if n > self.k.shape[2]:
            raise ValueError(f"{n} > {self.k.shape[2]}")
        self.k[:, :, self.length : n] = keys
        self.v[:, :, self.length : n] = values
        self.length = n
        return self.k[:, :, :n], self.v[:, :, :n]


class CountsCalls:
    # right for one token at a time
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.values = torch.zeros(batch_size, n_kv_heads, max_length, d_head)
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.keys.shape[0]:
            raise ValueError("batch size")
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError("too many positions")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length += 1
        return self.keys[:, :, :end], self.values[:, :, :end]


class RoomOfTheClass:
    # right as long as there is one cache of a shape
    rooms: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}  # noqa: RUF012

    def __init__(self, *shape):
        if shape not in self.rooms:
            self.rooms[shape] = torch.zeros(shape), torch.zeros(shape)
        self.keys, self.values = self.rooms[shape]
        self.length = 0

    def append(self, keys, values):
        batch_size, _, max_length, _ = self.keys.shape
        if keys.shape[0] != batch_size:
            raise ValueError("batch size")
        end = self.length + keys.shape[2]
        if end > max_length:
            raise ValueError("too long")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


# ------------------------------------------------------------- padded_positions
# right


def positions_clamped(lengths_of_padding, start, n_tokens):
    columns = torch.arange(start, start + n_tokens)
    return (columns - lengths_of_padding[:, None]).clamp(min=0)


def positions_counted(lengths_of_padding, start, n_tokens):
    place = torch.arange(start + n_tokens).expand(len(lengths_of_padding), -1)
    real = place >= lengths_of_padding.unsqueeze(1)
    counted = real.long().cumsum(dim=1) - 1
    return torch.where(real, counted, 0)[:, start:]


def positions_in_lists(lengths_of_padding, start, n_tokens):
    rows = [
        [max(0, start + i - padding) for i in range(n_tokens)]
        for padding in lengths_of_padding.tolist()
    ]
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), n_tokens)


# wrong


def below_zero_in_the_padding(lengths_of_padding, start, n_tokens):
    return torch.arange(start, start + n_tokens)[None] - lengths_of_padding[:, None]


def start_forgotten(lengths_of_padding, start, n_tokens):
    # right for the prompt
    steps = torch.arange(n_tokens).unsqueeze(0)
    return torch.clamp(steps - lengths_of_padding.unsqueeze(1), min=0)


def padding_forgotten(lengths_of_padding, start, n_tokens):
    # right for rows without padding
    batch = lengths_of_padding.shape[0]
    return torch.arange(start, start + n_tokens).repeat(batch, 1)


def padding_forgotten_later(lengths_of_padding, start, n_tokens):
    # right for the prompt: "the padding is behind us"
    columns = start + torch.arange(n_tokens)
    if start > 0:
        return columns.expand(len(lengths_of_padding), n_tokens)
    return torch.relu(columns - lengths_of_padding.view(-1, 1))


def padding_added(lengths_of_padding, start, n_tokens):
    out = torch.zeros(len(lengths_of_padding), n_tokens, dtype=torch.int64)
    for b, padding in enumerate(lengths_of_padding.tolist()):
        for i in range(n_tokens):
            if start + i >= padding:
                out[b, i] = start + i + padding
    return out


def counted_from_one(lengths_of_padding, start, n_tokens):
    column = torch.arange(start, start + n_tokens)
    real = column >= lengths_of_padding[:, None]
    return real * (column - lengths_of_padding[:, None] + 1)


def ones_for_the_padding(lengths_of_padding, start, n_tokens):
    # as in a well known library
    attention_mask = (
        torch.arange(start + n_tokens)[None, :] >= lengths_of_padding[:, None]
    )
    position_ids = attention_mask.long().cumsum(-1) - 1
    position_ids.masked_fill_(attention_mask == 0, 1)
    return position_ids[:, -n_tokens:]


def counted_in_the_new_ones(lengths_of_padding, start, n_tokens):
    # the running count begins anew at every call
    real = torch.arange(start, start + n_tokens) >= lengths_of_padding[:, None]
    return (real.cumsum(dim=1) - 1).clamp_min(0)


def first_row_for_all(lengths_of_padding, start, n_tokens):
    row = torch.arange(start, start + n_tokens) - lengths_of_padding[0]
    return row.clamp(min=0).expand(lengths_of_padding.numel(), -1)


def end_for_number(lengths_of_padding, start, n_tokens):
    # arange(start, n_tokens): right for the prompt
    idx = torch.arange(start, n_tokens)
    return (idx[None, :] - lengths_of_padding[:, None]).clamp(min=0)


def positions_as_floats(lengths_of_padding, start, n_tokens):
    ramp = torch.linspace(start, start + n_tokens - 1, n_tokens)
    return F.relu(ramp[None, :] - lengths_of_padding[:, None])


def padding_used_up(lengths_of_padding, start, n_tokens):
    # the answer is right; the caller's numbers have changed
    lengths_of_padding -= start
    now = torch.arange(n_tokens)
    return (now - lengths_of_padding[:, None]).clamp(min=0)


# ------------------------------------------------------------------ padded_mask
# right


def mask_of_two(padding, start, n_tokens):
    keys = torch.arange(start + n_tokens)
    queries = torch.arange(start, start + n_tokens)
    past = keys[None, :] <= queries[:, None]
    real = keys[None, :] >= padding[:, None]
    return past[None] & real[:, None]


def mask_by_tril(padding, start, n_tokens):
    total = start + n_tokens
    mask = torch.ones(len(padding), total, total, dtype=torch.bool).tril()
    for row, pad in zip(mask, padding.tolist(), strict=True):
        row[:, :pad] = False
        row.fill_diagonal_(True)  # so that a pad token sees itself
    return mask[:, start:]


def mask_in_lists(padding, start, n_tokens):
    return torch.tensor(
        [
            [[p <= key <= start + t for key in range(start + n_tokens)] for t in span]
            for p, span in ((int(p), range(n_tokens)) for p in padding)
        ]
    )


# wrong


def future_seen(padding, start, n_tokens):
    # right for one token at a time
    keys = torch.arange(start + n_tokens)
    real = keys[None, :] >= padding[:, None]
    return real[:, None, :].expand(-1, n_tokens, -1)


def padding_seen(padding, start, n_tokens):
    # right for rows without padding
    causal = torch.ones(n_tokens, start + n_tokens, dtype=torch.bool)
    causal = causal.tril(diagonal=start)
    return causal.unsqueeze(0).repeat(padding.shape[0], 1, 1)


def start_left_out(padding, start, n_tokens):
    # tril counts from the top left: right for the prompt
    causal = torch.tril(torch.ones(n_tokens, start + n_tokens)).bool()
    real = torch.arange(start + n_tokens) >= padding.unsqueeze(-1)
    return torch.logical_and(causal, real.unsqueeze(1))


def padded_on_the_right(padding, start, n_tokens):
    total = start + n_tokens
    mask = torch.zeros(len(padding), n_tokens, total, dtype=torch.bool)
    for b in range(len(padding)):
        for t in range(n_tokens):
            for s in range(total - int(padding[b])):
                mask[b, t, s] = s <= start + t
    return mask


def first_token_hidden(padding, start, n_tokens):
    # > for >=
    k = torch.arange(start + n_tokens).view(1, 1, -1)
    q = torch.arange(start, start + n_tokens).view(1, -1, 1)
    return (k <= q) & (k > padding.view(-1, 1, 1))


def itself_hidden(padding, start, n_tokens):
    # < for <=
    k = torch.arange(start + n_tokens)[None, None]
    q = start + torch.arange(n_tokens)[None, :, None]
    return (k < q) * (k >= padding[:, None, None])


def true_where_hidden(padding, start, n_tokens):
    # the other convention: True is what is masked
    total = start + n_tokens
    future = torch.ones(total, total).triu(1).bool()[start:]
    pad = torch.arange(total)[None] < padding[:, None]
    return future[None] | pad[:, None]


def padded_queries_only(padding, start, n_tokens):
    # the rows of the padding are empty, its columns are not
    queries = torch.arange(start, start + n_tokens)
    keys = torch.arange(start + n_tokens)
    causal = keys[None, :] <= queries[:, None]
    real = queries[None, :] >= padding[:, None]
    return causal[None, :, :] & real[:, :, None]


def only_the_new_keys(padding, start, n_tokens):
    # right for the prompt
    place = torch.arange(start, start + n_tokens)
    causal = place[None, :] <= place[:, None]
    real = place[None, :] >= padding[:, None]
    return causal.unsqueeze(0) & real.unsqueeze(1)


def either_is_enough(padding, start, n_tokens):
    total = start + n_tokens
    causal = torch.ones(n_tokens, total, dtype=torch.bool).tril(start)
    real = torch.arange(total).expand(len(padding), total) >= padding[:, None]
    return causal[None] | real[:, None]


def numbers_to_add(padding, start, n_tokens):
    # a mask of 0 and -inf, as one adds to the scores
    keys = torch.arange(start + n_tokens)
    hidden = keys > torch.arange(start, start + n_tokens)[:, None]
    hidden = hidden | (keys < padding[:, None, None])
    return torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))


def axis_for_the_heads(padding, start, n_tokens):
    # ready for scores of four axes, but that was not asked
    keys = torch.arange(start + n_tokens)
    queries = torch.arange(start, start + n_tokens)
    mask = (keys <= queries[:, None]) & (keys >= padding[:, None, None])
    return mask[:, None]


BUGS = {
    "attend_with_past": {
        causal_flag_of_the_library: "aligned at the top left",
        causal_only_at_first: "no mask among the new",
        diagonal_one_too_far: "also sees the next",
        new_ones_in_front: "stand before the old",
        heads_tiled: "dealt out in turn",
        past_of_repeated_heads: "holds H heads",
        past_of_the_last_chunk: "only the new positions come back",
        keys_remembered_as_values: "new keys are joined to the old values",
        scores_not_scaled: "scores are not scaled",
        masked_after_softmax: "mask comes after the softmax",
        query_scaled_in_place: "q: changed in place",
        softmax_stays_float: "out comes out as torch.float32",
    },
    "layer_cache": {
        GrowsByCat: "copied to make room",
        HandsOutCopies: "come back are a copy",
        HandsOutTheWholeRoom: "the whole room",
        HandsOutTheNewOnes: "only the new positions",
        OneRoomForBoth: "keys and values share one room",
        FitLeftToTorch: "RuntimeError is raised, not ValueError",
        LastPlaceStaysEmpty: "must fit into a room",
        CountsBeforeItLooks: "refused, but length went from 4 to 12",
        FillsUpThenRefuses: "refused, but length went from 4 to 11",
        OneRowForAll: "One row is silently copied",
        CountsCalls: "length grows by 1",
        RoomOfTheClass: "two caches share their room",
    },
    "padded_positions": {
        below_zero_in_the_padding: "negative positions",
        start_forgotten: "start is not used",
        padding_forgotten: "padding is not used",
        padding_forgotten_later: "subtracted in the first chunk only",
        padding_added: "padding is added",
        counted_from_one: "counted from 1",
        ones_for_the_padding: "pad tokens get position 1",
        counted_in_the_new_ones: "from 0 again in every chunk",
        first_row_for_all: "padding of the first",
        end_for_number: "where to end, not how many",
        positions_as_floats: "int64, but torch.float32",
        padding_used_up: "padding is changed in place",
    },
    "padded_mask": {
        future_seen: "the future is seen",
        padding_seen: "padding is seen",
        start_left_out: "start is not used",
        padded_on_the_right: "taken to be at the right",
        first_token_hidden: "first token of each text is hidden",
        itself_hidden: "does not see itself",
        true_where_hidden: "mask is inverted",
        padded_queries_only: "rows of pad queries does not do it",
        only_the_new_keys: "read before have columns too",
        either_is_enough: "joined with &",
        numbers_to_add: "boolean, but torch.float32",
        axis_for_the_heads: "axis of heads comes later",
    },
}

RIGHT = {
    "attend_with_past": (attend_by_library, attend_by_groups, attend_one_by_one),
    "layer_cache": (CacheOfTwoRooms, CacheOfOneRoom, CacheWithTimeFirst),
    "padded_positions": (positions_clamped, positions_counted, positions_in_lists),
    "padded_mask": (mask_of_two, mask_by_tril, mask_in_lists),
}
