"""Chapter 10: pasts that are forgotten, rooms that overflow, padding that is read."""

import math

import torch
import torch.nn.functional as F

# ------------------------------------------------------------------ attend_with_past


def _join(past, k, v):
    if past is None:
        return k, v
    return torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)


def _seen(n_new, n_keys, further=0):
    mask = torch.ones(n_new, n_keys, dtype=torch.bool)
    return mask.tril(n_keys - n_new + further)


def _mix(q, k, v, seen, scale=None):
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, scale=scale, enable_gqa=True
    )


def _spread(q, part):
    return part.repeat_interleave(q.shape[1] // part.shape[1], dim=1)


def causal_flag_with_a_past(q, k, v, past):
    """pytorch/pytorch#108108: is_causal is aligned at the top left."""
    k, v = _join(past, k, v)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out, (k, v)


def causal_flag_but_for_one_token(q, k, v, past):
    """The usual half of a mend: decoding goes well, a second prompt does not."""
    k, v = _join(past, k, v)
    causal = q.shape[2] > 1
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    return out, (k, v)


def causal_only_without_a_past(q, k, v, past):
    causal = past is None
    k, v = _join(past, k, v)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    return out, (k, v)


def no_mask(q, k, v, past):
    k, v = _join(past, k, v)
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True), (k, v)


def mask_one_further(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2], 1)), (k, v)


def mask_one_less(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2], -1)), (k, v)


def mask_one_less_with_a_past(q, k, v, past):
    less = 0 if past is None else -1
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2], less)), (k, v)


def mask_one_further_with_a_past(q, k, v, past):
    more = 0 if past is None else 1
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2], more)), (k, v)


def mask_of_the_new_only(q, k, v, past):
    n_new = q.shape[2]
    k, v = _join(past, k, v)
    k_all, v_all = _spread(q, k), _spread(q, v)
    scores = q @ k_all.mT / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~_seen(n_new, n_new), -math.inf)
    return scores.softmax(-1) @ v_all, (k, v)


def mask_of_all_rows(q, k, v, past):
    k, v = _join(past, k, v)
    n_keys = k.shape[2]
    return _mix(q, k, v, _seen(n_keys, n_keys)), (k, v)


def mask_by_chunk_length(q, k, v, past):
    k, v = _join(past, k, v)
    n_new, n_keys = q.shape[2], k.shape[2]
    shift = 0 if past is None else n_new
    return _mix(q, k, v, torch.ones(n_new, n_keys).bool().tril(shift)), (k, v)


def mask_by_batch(q, k, v, past):
    """`len` of a tensor (B, K, S, E) is B."""
    n_new, n_old = q.shape[2], 0 if past is None else len(past[0])
    k, v = _join(past, k, v)
    return _mix(q, k, v, torch.ones(n_new, k.shape[2]).bool().tril(n_old)), (k, v)


def mask_by_heads(q, k, v, past):
    n_new, n_old = q.shape[2], 0 if past is None else past[0].shape[1]
    k, v = _join(past, k, v)
    return _mix(q, k, v, torch.ones(n_new, k.shape[2]).bool().tril(n_old)), (k, v)


def mask_inverted(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, ~_seen(q.shape[2], k.shape[2])), (k, v)


def mask_minus_ten_thousand(q, k, v, past):
    k, v = _join(past, k, v)
    scores = q @ _spread(q, k).mT / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~_seen(q.shape[2], k.shape[2]), -1e4)
    return scores.softmax(-1) @ _spread(q, v), (k, v)


def mask_after_softmax(q, k, v, past):
    k, v = _join(past, k, v)
    weights = (q @ _spread(q, k).mT / q.shape[-1] ** 0.5).softmax(-1)
    return weights * _seen(q.shape[2], k.shape[2]) @ _spread(q, v), (k, v)


def exponentials_overflow(q, k, v, past):
    k, v = _join(past, k, v)
    powers = (q @ _spread(q, k).mT / q.shape[-1] ** 0.5).exp()
    powers = powers * _seen(q.shape[2], k.shape[2])
    return powers / powers.sum(-1, keepdim=True) @ _spread(q, v), (k, v)


def new_before_old(q, k, v, past):
    if past is not None:
        k, v = torch.cat([k, past[0]], dim=2), torch.cat([v, past[1]], dim=2)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def keys_new_first(q, k, v, past):
    if past is not None:
        k, v = torch.cat([k, past[0]], dim=2), torch.cat([past[1], v], dim=2)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def kept_new_first(q, k, v, past):
    out, (keys, values) = right_with_mask(q, k, v, past)
    n_new = q.shape[2]
    return out, (keys.roll(n_new, dims=2), values.roll(n_new, dims=2))


def past_ignored(q, k, v, past):
    out, _ = right_with_mask(q, k, v, None)
    return out, _join(past, k, v)


def looks_at_the_past_alone(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    out = F.scaled_dot_product_attention(q, *past, enable_gqa=True)
    return out, _join(past, k, v)


def last_key_only(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    keys, values = _join(past, k, v)
    return _spread(q, values[:, :, -1:]).expand_as(q), (keys, values)


def old_and_itself(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    n_new, n_old = q.shape[2], past[0].shape[2]
    k, v = _join(past, k, v)
    seen = torch.cat([torch.ones(n_new, n_old), torch.eye(n_new)], dim=1).bool()
    return _mix(q, k, v, seen), (k, v)


def window_of_the_chunk(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    k, v = _join(past, k, v)
    n_new, n_keys = q.shape[2], k.shape[2]
    seen = _seen(n_new, n_keys) & ~_seen(n_new, n_keys, -n_new)
    return _mix(q, k, v, seen), (k, v)


def last_64_only(q, k, v, past):
    k, v = _join(past, k, v)
    n_new, n_keys = q.shape[2], k.shape[2]
    seen = _seen(n_new, n_keys)
    if past is not None:
        seen = seen & ~_seen(n_new, n_keys, -64)
    return _mix(q, k, v, seen), (k, v)


def not_scaled(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), 1.0), (k, v)


def scaled_by_d_model(q, k, v, past):
    k, v = _join(past, k, v)
    scale = (q.shape[1] * q.shape[3]) ** -0.5
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), scale), (k, v)


def scaled_by_number_of_keys(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), k.shape[2] ** -0.5), (k, v)


def scale_forgotten_when_decoding(q, k, v, past):
    scale = None if past is None else 1.0
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), scale), (k, v)


def keeps_scaled_keys(q, k, v, past):
    k, v = _join(past, k / k.shape[-1] ** 0.5, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), 1.0), (k, v)


def scales_what_it_keeps_again(q, k, v, past):
    k, v = _join(past, k, v)
    k = k / k.shape[-1] ** 0.5
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), 1.0), (k, v)


def heads_dealt_out(q, k, v, past):
    k, v = _join(past, k, v)
    n = q.shape[1] // k.shape[1]
    seen = _seen(q.shape[2], k.shape[2])
    return _mix(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1), seen), (k, v)


def past_heads_dealt_out(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    n = q.shape[1] // k.shape[1]
    keys, values = (
        torch.cat([old.repeat(1, n, 1, 1), _spread(q, new)], dim=2)
        for old, new in zip(past, (k, v), strict=True)
    )
    seen = _seen(q.shape[2], keys.shape[2])
    return _mix(q, keys, values, seen), _join(past, k, v)


def keeps_all_heads(q, k, v, past):
    """Repeated before they are kept: the cache holds H heads, and saves nothing."""
    k, v = _spread(q, k), _spread(q, v)
    if past is not None and past[0].shape[1] != k.shape[1]:
        past = tuple(_spread(q, part) for part in past)
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def repeats_before_it_joins(q, k, v, past):
    keys, values = _join(past, _spread(q, k), _spread(q, v))
    kept = _join(past, k, v)
    return _mix(q, keys, values, _seen(q.shape[2], keys.shape[2])), kept


def nothing_repeated(q, k, v, past):
    k, v = _join(past, k, v)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(
        ~_seen(q.shape[2], k.shape[2]), -math.inf
    )
    return scores.softmax(-1) @ v, (k, v)


def past_not_returned(q, k, v, past):
    return right_with_mask(q, k, v, past)[0]


def keeps_only_the_new(q, k, v, past):
    return right_with_mask(q, k, v, past)[0], (k, v)


def keeps_only_the_old(q, k, v, past):
    out, kept = right_with_mask(q, k, v, past)
    return out, kept if past is None else past


def values_first(q, k, v, past):
    """Two slips of the same kind: it reads its own order and nobody else's."""
    out, (keys, values) = right_with_mask(q, k, v, past)
    return out, (values, keys)


def reads_values_first(q, k, v, past):
    if past is not None:
        past = past[::-1]
    out, kept = right_with_mask(q, k, v, past)
    if past is not None:
        kept = _join(past[::-1], k, v)
    return out, kept


def three_things(q, k, v, past):
    out, (keys, values) = right_with_mask(q, k, v, past)
    return out, keys, values


def past_first(q, k, v, past):
    return right_with_mask(q, k, v, past)[::-1]


def past_is_stacked(q, k, v, past):
    out, kept = right_with_mask(q, k, v, past)
    return out, torch.stack(kept)


def no_first_call(q, k, v, past):
    k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def asks_the_truth_of_a_tensor(q, k, v, past):
    if past is not None and past[0]:
        k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def joins_along_heads(q, k, v, past):
    if past is not None:
        k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def two_softmaxes(q, k, v, past):
    out, _ = right_with_mask(q, k, v, None)
    if past is not None:
        out = out + F.scaled_dot_product_attention(q, *past, enable_gqa=True)
    return out, _join(past, k, v)


def answers_for_every_key(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    n_old = past[0].shape[2]
    k, v = _join(past, k, v)
    padded = F.pad(q, (0, 0, n_old, 0))
    return _mix(padded, k, v, _seen(n_old + q.shape[2], k.shape[2])), (k, v)


def past_changed_in_place(q, k, v, past):
    out, kept = right_with_mask(q, k, v, past)
    if past is not None:
        past[0].mul_(0)
    return out, kept


def queries_scaled_in_place(q, k, v, past):
    q *= q.shape[-1] ** -0.5
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2]), 1.0), (k, v)


def tuple_written_to(q, k, v, past):
    if past is None:
        return right_with_mask(q, k, v, None)
    past[0] = torch.cat([past[0], k], dim=2)
    return right_with_mask(q, k, v, None)


def appends_to_a_list(q, k, v, past):
    past = past or ()
    past.append((k, v))
    return right_with_mask(q, k, v, None)


def remembers_by_itself():
    """State in the function: the second text reads the first one's keys."""
    room = []

    def remembers(q, k, v, past):
        room.append((k, v))
        last = room[-2][0] if len(room) > 1 else None
        if past is None and last is not None and last.shape == k.shape:
            past = tuple(part.to(k.dtype) for part in room[-2])
        return right_with_mask(q, k, v, past)

    return remembers


def shared_room():
    """All texts write into one buffer, so that one overwrites the other."""
    room = {}

    def shares_a_room(q, k, v, past):
        out, kept = right_with_mask(q, k, v, past)
        stop = kept[0].shape[2]
        key = (kept[0].shape[0], kept[0].shape[1], kept[0].dtype)
        if key not in room:
            shape = (*kept[0].shape[:2], 200, kept[0].shape[3])
            room[key] = [kept[0].new_zeros(shape) for _ in "kv"]
        for buffer, part in zip(room[key], kept, strict=True):
            buffer[:, :, :stop] = part
        return out, tuple(buffer[:, :, :stop] for buffer in room[key])

    return shares_a_room


def float32_comes_out(q, k, v, past):
    k, v = _join(past, k, v)
    seen = _seen(q.shape[2], k.shape[2])
    return _mix(q.float(), k.float(), v.float(), seen), (k, v)


def squeezes(q, k, v, past):
    out, kept = right_with_mask(q, k, v, past)
    return out.squeeze(), kept


def one_token_misses_itself(q, k, v, past):
    """Decoding one token looks at what was kept before the token was."""
    if past is not None and q.shape[2] == 1:
        out = F.scaled_dot_product_attention(q, *past, enable_gqa=True)
        return out, _join(past, k, v)
    return right_with_mask(q, k, v, past)


def gives_the_weights(q, k, v, past):
    k, v = _join(past, k, v)
    scores = q @ _spread(q, k).mT / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~_seen(q.shape[2], k.shape[2]), -math.inf)
    return scores.softmax(-1), (k, v)


def right_with_mask(q, k, v, past):
    k, v = _join(past, k, v)
    return _mix(q, k, v, _seen(q.shape[2], k.shape[2])), (k, v)


def right_with_flags_where_they_fit(q, k, v, past=None):
    """The library's fast paths: square and causal, or one token and no mask."""
    seen, causal = None, past is None
    if past is not None:
        k, v = (torch.cat(pair, dim=-2) for pair in zip(past, (k, v), strict=True))
        if q.size(-2) > 1:
            behind = k.size(-2) - q.size(-2)
            seen = (
                torch.arange(k.size(-2)) <= behind + torch.arange(q.size(-2))[:, None]
            )
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, is_causal=causal, enable_gqa=True
    )
    return out, (k, v)


def right_with_einsum(q, k, v, past):
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    grouped = q.unflatten(1, (k.shape[1], -1))  # (B, K, H/K, T, E)
    scores = torch.einsum("bkgte,bkse->bkgts", grouped, k) / math.sqrt(q.shape[-1])
    hidden = torch.full(scores.shape[-2:], -math.inf)
    scores = scores + hidden.triu(1 + k.shape[2] - q.shape[2]).to(q.dtype)
    mixed = torch.einsum("bkgts,bkse->bkgte", scores.softmax(-1), v)
    return mixed.flatten(1, 2), [k, v]


def right_position_by_position(q, k, v, past):
    keys, values = _join(past, k, v)
    n_old, out = keys.shape[2] - q.shape[2], torch.zeros_like(q)
    size = q.shape[1] // k.shape[1]
    for t in range(q.shape[2]):
        for j in range(k.shape[1]):
            heads = slice(j * size, (j + 1) * size)
            seen_k = keys[:, j, : n_old + t + 1]
            scores = q[:, heads, t] @ seen_k.mT / q.shape[-1] ** 0.5
            out[:, heads, t] = scores.softmax(-1) @ values[:, j, : n_old + t + 1]
    return out, (keys, values)


def right_in_place_on_its_own(q, k, v, past):
    n_old = 0 if past is None else past[0].shape[2]
    n_texts, n_kv_heads, n_new, width = k.shape
    keys = k.new_empty(n_texts, n_kv_heads, n_old + n_new, width)
    values = torch.empty_like(keys)
    for room, new, i in ((keys, k, 0), (values, v, 1)):
        if past is not None:
            room[:, :, :n_old] = past[i]
        room[:, :, n_old:] = new
    scores = q @ _spread(q, keys).mT
    scores /= width**0.5
    scores.masked_fill_(~_seen(n_new, n_old + n_new), -math.inf)
    return scores.softmax(-1) @ _spread(q, values), (keys, values)


# ------------------------------------------------------------------ layer_cache


class RightCache:
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        shape = (batch_size, n_kv_heads, max_length, d_head)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.length = 0

    def check(self, keys):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")
        if self.length + keys.shape[2] > self.keys.shape[2]:
            raise ValueError("no room")

    def write(self, keys, values):
        stop = self.length + keys.shape[2]
        self.keys[:, :, self.length : stop] = keys
        self.values[:, :, self.length : stop] = values
        self.length = stop

    def read(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def append(self, keys, values):
        self.check(keys)
        self.write(keys, values)
        return self.read()


class LengthStays(RightCache):
    def append(self, keys, values):
        self.check(keys)
        self.write(keys, values)
        given = self.read()
        self.length -= keys.shape[2]
        return given


class LengthByOne(RightCache):
    """Right as long as tokens come one by one."""

    def write(self, keys, values):
        before = self.length
        super().write(keys, values)
        self.length = before + 1


class LengthByBatch(RightCache):
    def write(self, keys, values):
        before = self.length
        super().write(keys, values)
        self.length = before + len(keys)


class LengthOfTheNewest(RightCache):
    def write(self, keys, values):
        super().write(keys, values)
        self.newest = keys.shape[2]

    @property
    def length(self):
        return getattr(self, "newest", self._length)

    @length.setter
    def length(self, length):
        self._length = length


class LengthIsTheRoom(RightCache):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.used, self.length = 0, sizes[2]

    def append(self, keys, values):
        self.length = self.used
        try:
            given = super().append(keys, values)
            self.used = self.length
        finally:
            self.length = self.keys.shape[2]
        return given


class LengthIsCalled:
    def __init__(self, *sizes):
        self.inner = RightCache(*sizes)

    def length(self):
        return self.inner.length

    def append(self, keys, values):
        return self.inner.append(keys, values)


class NoLength:
    def __init__(self, *sizes):
        self.inner = RightCache(*sizes)

    def append(self, keys, values):
        return self.inner.append(keys, values)


class NewOnly(RightCache):
    def append(self, keys, values):
        super().append(keys, values)
        n_new = keys.shape[2]
        return self.read()[0][:, :, -n_new:], self.read()[1][:, :, -n_new:]


class WholeRoom(RightCache):
    def read(self):
        return self.keys, self.values


class SlicedTooEarly(RightCache):
    def append(self, keys, values):
        self.check(keys)
        given = self.read()
        self.write(keys, values)
        return given


class OneShort(RightCache):
    def read(self):
        stop = self.length - 1
        return self.keys[:, :, :stop], self.values[:, :, :stop]


class ValuesFirst(RightCache):
    def read(self):
        return super().read()[::-1]


class OneRoomForBoth(RightCache):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.values = self.keys


class AlwaysAtTheStart(RightCache):
    def write(self, keys, values):
        n_new = keys.shape[2]
        self.keys[:, :, :n_new], self.values[:, :, :n_new] = keys, values
        self.length += n_new


class OneTooFar(RightCache):
    """Written behind the place where length, already advanced, points to."""

    def write(self, keys, values):
        self.length += keys.shape[2]
        stop = min(self.length + keys.shape[2], self.keys.shape[2])
        n = stop - self.length
        self.keys[:, :, self.length : stop] = keys[:, :, :n]
        self.values[:, :, self.length : stop] = values[:, :, :n]


class NewestFirst(RightCache):
    def write(self, keys, values):
        n_new = keys.shape[2]
        for room, part in ((self.keys, keys), (self.values, values)):
            room[:, :, n_new:] = room[:, :, :-n_new].clone()
            room[:, :, :n_new] = part
        self.length += n_new


class Grows(RightCache):
    """A new tensor at each append: T positions cost T * T / 2 copies."""

    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__(batch_size, n_kv_heads, max_length, d_head)
        self.max_length = max_length
        self.keys = self.values = torch.zeros(batch_size, n_kv_heads, 0, d_head)

    def append(self, keys, values):
        if len(keys) != len(self.keys) or self.length + keys.shape[2] > self.max_length:
            raise ValueError("does not fit")
        self.keys = torch.cat([self.keys, keys], dim=2)
        self.values = torch.cat([self.values, values], dim=2)
        self.length += keys.shape[2]
        return self.keys, self.values


class KeepsAList(RightCache):
    def write(self, keys, values):
        self.parts = [*getattr(self, "parts", []), (keys.clone(), values.clone())]
        self.length += keys.shape[2]

    def read(self):
        return tuple(torch.cat(side, 2) for side in zip(*self.parts, strict=True))


class Clones(RightCache):
    def read(self):
        return tuple(part.clone() for part in super().read())


class MadeContiguous(RightCache):
    def read(self):
        return tuple(part.contiguous() for part in super().read())


class FullTooEarly(RightCache):
    def check(self, keys):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")
        if self.length + keys.shape[2] >= self.keys.shape[2]:
            raise ValueError("no room")


class LastPlaceLost(RightCache):
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__(batch_size, n_kv_heads, max_length - 1, d_head)


class ChecksOnlyTheNew(RightCache):
    """Whether T fits alone; the slice then is shorter, and PyTorch says so."""

    def check(self, keys):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")
        if keys.shape[2] > self.keys.shape[2]:
            raise ValueError("no room")


class SilentlyCut(RightCache):
    def check(self, keys):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")

    def write(self, keys, values):
        n = min(keys.shape[2], self.keys.shape[2] - self.length)
        super().write(keys[:, :, :n], values[:, :, :n])


class SlidesOn(RightCache):
    """Past the end the oldest are dropped, and nobody is told."""

    def check(self, keys):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")

    def write(self, keys, values):
        room = self.keys.shape[2]
        keys, values = keys[:, :, -room:], values[:, :, -room:]
        over = max(0, self.length + keys.shape[2] - room)
        if over:
            self.keys = self.keys.roll(-over, dims=2)
            self.values = self.values.roll(-over, dims=2)
            self.length -= over
        super().write(keys, values)


class Asserts(RightCache):
    def check(self, keys):
        assert len(keys) == len(self.keys)
        assert self.length + keys.shape[2] <= self.keys.shape[2]


class CountsBeforeItRefuses(RightCache):
    def append(self, keys, values):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")
        start, self.length = self.length, self.length + keys.shape[2]
        if self.length > self.keys.shape[2]:
            raise ValueError("no room")
        self.length = start
        self.write(keys, values)
        return self.read()


class WritesBeforeItRefuses(RightCache):
    """Half of it is stored, at the front, before the sizes are compared."""

    def append(self, keys, values):
        if len(keys) != len(self.keys):
            raise ValueError("another batch size")
        if self.length + keys.shape[2] > self.keys.shape[2]:
            n = min(keys.shape[2], self.keys.shape[2])
            self.keys[:, :, :n] = keys[:, :, :n]
            raise ValueError("no room")
        self.write(keys, values)
        return self.read()


class EmptiesItself(RightCache):
    def append(self, keys, values):
        try:
            return super().append(keys, values)
        except ValueError:
            self.length = 0
            raise


class OneRowForAll(RightCache):
    """A row of one is broadcast into every row, without a word."""

    def check(self, keys):
        if self.length + keys.shape[2] > self.keys.shape[2]:
            raise ValueError("no room")


class RefusesOnlyMoreRows(RightCache):
    def check(self, keys):
        if len(keys) > len(self.keys):
            raise ValueError("another batch size")
        if self.length + keys.shape[2] > self.keys.shape[2]:
            raise ValueError("no room")


class RowsAsTheyCome(RightCache):
    """A new batch size makes a new room, and forgets what was read."""

    def check(self, keys):
        if len(keys) != len(self.keys):
            shape = (len(keys), *self.keys.shape[1:])
            self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        if self.length + keys.shape[2] > self.keys.shape[2]:
            raise ValueError("no room")


class RoomOfTheClass(RightCache):
    rooms = {}  # noqa: RUF012

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.keys, self.values = self.rooms.setdefault(sizes, (self.keys, self.values))


class LengthOfTheClass(RightCache):
    read_so_far = [0]  # noqa: RUF012

    def __init__(self, *sizes):
        super().__init__(*sizes)

    @property
    def length(self):
        return self.read_so_far[0]

    @length.setter
    def length(self, length):
        self.read_so_far[0] = length


class KeepsTheFirst(RightCache):
    """The first tensors are kept as they are; copies begin with the second."""

    def write(self, keys, values):
        if self.length == 0 and keys.shape[2] <= self.keys.shape[2]:
            self.first, self.length = (keys, values), keys.shape[2]
            self.late = True
            return
        if getattr(self, "late", False):
            n = self.length
            self.keys[:, :, :n], self.values[:, :, :n] = self.first
            self.late = False
        super().write(keys, values)

    def read(self):
        return self.first if getattr(self, "late", False) else super().read()


class KeepsWhatFills(KeepsTheFirst):
    """Only tensors that fill the whole room are kept as they are."""

    def write(self, keys, values):
        keeps = keys.shape[2] == self.keys.shape[2]
        (super() if keeps else super(KeepsTheFirst, self)).write(keys, values)


class FixedBatch(RightCache):
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__(2, n_kv_heads, max_length, d_head)


class RoomExchanged(RightCache):
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__(batch_size, max_length, n_kv_heads, d_head)


class GivesOne(RightCache):
    def append(self, keys, values):
        return super().append(keys, values)[0]


class TwoArguments(RightCache):
    def __init__(self, max_length, d_head):
        super().__init__(2, 3, max_length, d_head)


class RightInOneTensor:
    """Keys and values in one piece of memory, length worked out."""

    def __init__(self, batch_size, n_kv_heads, max_length, d_head, dtype=torch.float32):
        self.room = torch.empty(2, batch_size, n_kv_heads, max_length, d_head)
        self.room = self.room.to(dtype)
        self._stop = 0

    @property
    def length(self):
        return self._stop

    def append(self, keys, values):
        n_new = keys.size(2)
        if keys.size(0) != self.room.size(1) or n_new > self.room.size(3) - self._stop:
            raise ValueError(f"{tuple(keys.shape)} does not fit")
        place = self.room.narrow(3, self._stop, n_new)
        place[0].copy_(keys)
        place[1].copy_(values)
        self._stop += n_new
        everything = self.room.narrow(3, 0, self._stop)
        return everything[0], everything[1]


class RightWithTimeInFront:
    """As some kernels like it: (S, B, K, E) in memory, seen as (B, K, S, E)."""

    __slots__ = ("keys", "length", "values")

    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        self.keys = torch.zeros(max_length, batch_size, n_kv_heads, d_head)
        self.values = self.keys.clone()
        self.length = 0

    def append(self, keys, values):
        if keys.shape[0] != self.keys.shape[1]:
            raise ValueError("batch")
        if self.length + keys.shape[2] > len(self.keys):
            raise ValueError("length")
        for t in range(keys.shape[2]):
            self.keys[self.length + t] = keys[:, :, t]
            self.values[self.length + t] = values[:, :, t]
        self.length += keys.shape[2]
        seen = (part[: self.length].permute(1, 2, 0, 3) for part in self._both())
        return tuple(seen)

    def _both(self):
        return self.keys, self.values


class RightAsModule(torch.nn.Module):
    def __init__(self, batch_size, n_kv_heads, max_length, d_head):
        super().__init__()
        shape = (batch_size, n_kv_heads, max_length, d_head)
        self.register_buffer("keys", torch.zeros(shape), persistent=False)
        self.register_buffer("values", torch.zeros(shape), persistent=False)
        self.register_buffer("length", torch.tensor(0))

    def append(self, keys, values):
        start, stop = int(self.length), int(self.length) + keys.shape[2]
        if keys.shape[0] != self.keys.shape[0] or stop > self.keys.shape[2]:
            raise ValueError("does not fit")
        where = torch.arange(start, stop)
        self.keys.index_copy_(2, where, keys)
        self.values.index_copy_(2, where, values)
        self.length += keys.shape[2]
        return [self.keys[:, :, :stop], self.values[:, :, :stop]]


# ------------------------------------------------------------------ padded_positions


def _places(padding, start, n_tokens):
    return torch.arange(start, start + n_tokens) - padding[:, None]


def padding_ignored(padding, start, n_tokens):
    return torch.arange(start, start + n_tokens).repeat(len(padding), 1)


def start_ignored(padding, start, n_tokens):
    """Offset 0 in decode: every new token stands at the beginning."""
    return _places(padding, 0, n_tokens).clamp(min=0)


def start_added_late(padding, start, n_tokens):
    return _places(padding, 0, n_tokens).clamp(min=0) + start


def clamps_the_offset(padding, start, n_tokens):
    return (start - padding).clamp(min=0)[:, None] + torch.arange(n_tokens)


def prompt_alone_is_padded(padding, start, n_tokens):
    if start:
        return padding_ignored(padding, start, n_tokens)
    return _places(padding, 0, n_tokens).clamp(min=0)


def padding_added(padding, start, n_tokens):
    return torch.arange(start, start + n_tokens) + padding[:, None]


def not_clamped(padding, start, n_tokens):
    return _places(padding, start, n_tokens)


def pads_at_one(padding, start, n_tokens):
    """As in several libraries: masked_fill(mask == 0, 1)."""
    places = _places(padding, start, n_tokens)
    return places.masked_fill(places < 0, 1)


def counts_down_to_the_text(padding, start, n_tokens):
    return _places(padding, start, n_tokens).abs()


def counts_from_one(padding, start, n_tokens):
    return (_places(padding, start, n_tokens) + 1).clamp(min=0)


def one_too_small(padding, start, n_tokens):
    return (_places(padding, start, n_tokens) - 1).clamp(min=0)


def sign_turned(padding, start, n_tokens):
    return (-_places(padding, start, n_tokens)).clamp(min=0)


def padding_at_the_right(padding, start, n_tokens):
    last = start + n_tokens - 1 - padding
    return torch.minimum(torch.arange(start, start + n_tokens), last[:, None])


def largest_for_all(padding, start, n_tokens):
    row = _places(padding.max().view(1), start, n_tokens)
    return row.clamp(min=0).repeat(len(padding), 1)


def first_row_for_all(padding, start, n_tokens):
    row = _places(padding[:1], start, n_tokens)
    return row.clamp(min=0).repeat(len(padding), 1)


def one_row(padding, start, n_tokens):
    return _places(padding[:1], start, n_tokens).clamp(min=0)[0]


def wraps_round(padding, start, n_tokens):
    return _places(padding, start, n_tokens) % (start + n_tokens)


def modulo_of_the_chunk(padding, start, n_tokens):
    """Right for a prompt that is read at once."""
    return _places(padding, start, n_tokens).clamp(0, max(n_tokens, 8) - 1)


def rows_and_columns(padding, start, n_tokens):
    return _places(padding, start, n_tokens).clamp(min=0).T


def old_columns_too(padding, start, n_tokens):
    return _places(padding, 0, start + n_tokens).clamp(min=0)


def does_not_broadcast(padding, start, n_tokens):
    return (torch.arange(start, start + n_tokens) - padding).clamp(min=0)


def as_floats(padding, start, n_tokens):
    return _places(padding, start, n_tokens).clamp(min=0).float()


def in_thirty_two_bits(padding, start, n_tokens):
    return _places(padding, start, n_tokens).clamp(min=0).int()


def padding_lowered(padding, start, n_tokens):
    padding -= start
    return (torch.arange(n_tokens) - padding[:, None]).clamp(min=0)


def padding_left_of_all(padding, start, n_tokens):
    """Rows are made as short as the shortest padding lets them be."""
    return (_places(padding, start, n_tokens) + padding.min()).clamp(min=0)


def begins_one_late(padding, start, n_tokens):
    return _places(padding, start + 1, n_tokens).clamp(min=0)


def right_clamped(padding, start, n_tokens):
    return (torch.arange(start, start + n_tokens) - padding[:, None]).clamp(min=0)


def right_by_running_sum(padding, start, n_tokens):
    mask = torch.arange(start + n_tokens) >= padding.unsqueeze(1)
    return (mask.long().cumsum(1) - 1).clamp_min(0)[:, start:]


def right_row_by_row(lengths, start, n):
    rows = [
        [max(0, column - pads) for column in range(start, start + n)]
        for pads in lengths.tolist()
    ]
    return torch.tensor(rows)


def right_in_its_own_place(padding, start=0, n_tokens=1):
    places = torch.zeros(len(padding), n_tokens, dtype=torch.long)
    places += torch.arange(n_tokens)
    places += start
    places -= padding.view(-1, 1)
    places[places < 0] = 0
    return places


# ------------------------------------------------------------------ padded_mask


def _axes(padding, start, n_tokens):
    query = torch.arange(start, start + n_tokens)[None, :, None]
    return padding[:, None, None], query, torch.arange(start + n_tokens)


def future_only(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key <= query).repeat(len(pads), 1, 1)


def hides_pad_queries(padding, start, n_tokens):
    """The rows of pads are dark, their columns are not."""
    pads, query, key = _axes(padding, start, n_tokens)
    return (key <= query) & (query >= pads)


def padding_only(padding, start, n_tokens):
    pads, _, key = _axes(padding, start, n_tokens)
    return (key >= pads).repeat(1, n_tokens, 1)


def true_means_hidden(padding, start, n_tokens):
    return ~right_by_columns(padding, start, n_tokens)


def sees_the_next(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key <= query + 1)


def not_itself(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key < query)


def last_pad_seen(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads - 1) & (key <= query)


def first_token_hidden(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key > pads) & (key <= query)


def aligned_top_left(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key <= query - start)


def square_with_a_cache(padding, start, n_tokens):
    pads, query, key = _axes(padding, 0, n_tokens)
    return (key >= pads) & (key <= query)


def all_rows(padding, start, n_tokens):
    pads, query, key = _axes(padding, 0, start + n_tokens)
    return (key >= pads) & (key <= query)


def old_keys_hidden(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key <= query) & (key >= start)


def padding_from_start(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads + start) & (key <= query)


def padding_forgotten_later(padding, start, n_tokens):
    pads, query, key = _axes(padding if start == 0 else 0 * padding, start, n_tokens)
    return (key >= pads) & (key <= query)


def pads_at_the_right(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key < start + n_tokens - pads) & (key <= query)


def largest_padding(padding, start, n_tokens):
    pads, query, key = _axes(padding.max().expand(len(padding)), start, n_tokens)
    return (key >= pads) & (key <= query)


def first_rows_padding(padding, start, n_tokens):
    return right_by_columns(padding[:1].expand(len(padding)), start, n_tokens)


def one_mask_for_all(padding, start, n_tokens):
    return right_by_columns(padding, start, n_tokens)[0]


def either_or(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) | (key <= query)


def upside_down(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key >= query)


def pads_only(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key < pads) & (key <= query)


def places_against_columns(padding, start, n_tokens):
    """Positions on one side, columns on the other."""
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key <= query - pads)


def with_an_axis_of_heads(padding, start, n_tokens):
    return right_by_columns(padding, start, n_tokens)[:, None]


def zero_and_minus_infinity(padding, start, n_tokens):
    mask = right_by_columns(padding, start, n_tokens)
    return torch.zeros(mask.shape).masked_fill(~mask, -math.inf)


def whole_numbers(padding, start, n_tokens):
    return right_by_columns(padding, start, n_tokens).long()


def keys_first(padding, start, n_tokens):
    return right_by_columns(padding, start, n_tokens).mT


def row_of_keys(padding, start, n_tokens):
    return torch.arange(start + n_tokens) >= padding[:, None]


def not_broadcast(padding, start, n_tokens):
    query = torch.arange(start, start + n_tokens)[:, None]
    key = torch.arange(start + n_tokens)
    return (key >= padding) & (key <= query)


def unused_at_one_token(padding, start, n_tokens):
    """Decoding needs no mask, says everyone whose prompts are equally long."""
    if n_tokens == 1:
        return torch.ones(len(padding), 1, start + 1, dtype=torch.bool)
    return right_by_columns(padding, start, n_tokens)


def first_and_last_column(padding, start, n_tokens):
    padding.add_(0).clamp_(min=1)
    return right_by_columns(padding, start, n_tokens)


def right_by_columns(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return (key >= pads) & (key <= query)


def right_by_tril(padding, start, n_tokens):
    stop = start + n_tokens
    causal = torch.ones(stop, stop, dtype=torch.bool).tril()[start:]
    real = torch.arange(stop).expand(len(padding), -1) >= padding.unsqueeze(-1)
    return causal.unsqueeze(0) & real.unsqueeze(1)


def right_cell_by_cell(lengths, start, n):
    mask = torch.zeros(len(lengths), n, start + n, dtype=torch.bool)
    for b, pads in enumerate(lengths.tolist()):
        for t in range(n):
            mask[b, t, pads : start + t + 1] = True
    return mask


def right_and_pads_see_themselves(padding, start, n_tokens):
    """So that a softmax over the row of a pad is a number."""
    pads, query, key = _axes(padding, start, n_tokens)
    return ((key >= pads) & (key <= query)) | (key == query)


def right_by_hiding(padding, start, n_tokens):
    pads, query, key = _axes(padding, start, n_tokens)
    return torch.logical_not((key < pads) | (key > query))


BUGS = {
    "attend_with_past": {
        causal_flag_with_a_past: "top left.*is_causal",
        causal_flag_but_for_one_token: "top left",
        causal_only_without_a_past: "no mask among the new",
        no_mask: "no mask",
        mask_one_further: "sees the next",
        mask_one_less: "does not see itself",
        mask_one_less_with_a_past: "does not see itself.*diagonal=S",
        mask_one_further_with_a_past: "sees the next one.*diagonal=S",
        mask_of_the_new_only: "mask does not fit.*\\(T, S \\+ T\\), not \\(T, T\\)",
        mask_of_all_rows: "mask does not fit.*not \\(S \\+ T, S \\+ T\\)",
        mask_by_chunk_length: "shifted by T",
        mask_by_batch: "shifted by B",
        mask_by_heads: "shifted by K",
        mask_inverted: "mask is inverted",
        mask_minus_ten_thousand: "minus infinity is too near",
        mask_after_softmax: "after the softmax",
        exponentials_overflow: "exp overflows",
        new_before_old: "stand before the old ones",
        keys_new_first: "keys are joined as new, old",
        kept_new_first: "that comes back the new positions stand first",
        past_ignored: "past is not looked at",
        looks_at_the_past_alone: "only the old positions are seen",
        last_key_only: "only the newest key",
        old_and_itself: "but not the new ones before it",
        window_of_the_chunk: "last T positions only",
        last_64_only: "from position 64 on",
        not_scaled: "not scaled",
        scaled_by_d_model: "root of H \\* E",
        scaled_by_number_of_keys: "root of T",
        scale_forgotten_when_decoding: "not scaled when there is a past",
        keeps_scaled_keys: "scores of the old keys are not scaled",
        scales_what_it_keeps_again: "come back divided",
        heads_dealt_out: "h % K",
        past_heads_dealt_out: "old heads are dealt out",
        keeps_all_heads: "holds H heads",
        repeats_before_it_joins: "Join first, then repeat",
        nothing_repeated: "q has H heads, k and v have K",
        past_not_returned: "no past.*Return \\(out, \\(keys, values\\)\\)",
        keeps_only_the_new: "only the new positions come back",
        keeps_only_the_old: "without the new ones",
        values_first: "comes back as \\(values, keys\\)",
        reads_values_first: "keys and values are exchanged",
        three_things: "3 things came back",
        past_first: "past comes first",
        past_is_stacked: "is a Tensor, not a pair",
        no_first_call: "past is None at the first call",
        asks_the_truth_of_a_tensor: "`past is None`",
        joins_along_heads: "Positions are axis 2",
        two_softmaxes: "a softmax each, and the two results are added",
        answers_for_every_key: "a result for every key",
        past_changed_in_place: "past's keys: changed in place",
        queries_scaled_in_place: "q: changed in place",
        tuple_written_to: "not yours to change",
        appends_to_a_list: "past is a tuple",
        remembers_by_itself(): "the caller keeps the past",
        shared_room(): "changed when another text is read",
        float32_comes_out: "float64 goes in",
        squeezes: "squeeze drops",
        one_token_misses_itself: "T = 1",
        gives_the_weights: "these are the weights",
    },
    "layer_cache": {
        LengthStays: "length does not move",
        LengthByOne: "grows by 1",
        LengthByBatch: "grows by the batch size",
        LengthOfTheNewest: "only the newest positions are counted",
        LengthIsTheRoom: "a new cache has length 11",
        LengthIsCalled: "without \\(\\)",
        NoLength: "no attribute length",
        NewOnly: "only the new positions",
        WholeRoom: "the whole room",
        SlicedTooEarly: "new positions are missing",
        OneShort: "newest position is missing",
        ValuesFirst: "values, keys come back",
        OneRoomForBoth: "share one room",
        AlwaysAtTheStart: "written over the first ones",
        OneTooFar: "other numbers than they were",
        NewestFirst: "newest positions stand first",
        Grows: "lie elsewhere after the second append",
        KeepsAList: "a copy",
        Clones: "a copy",
        MadeContiguous: "a copy",
        FullTooEarly: "11 positions must fit",
        LastPlaceLost: "11 positions must fit",
        ChecksOnlyTheNew: "RuntimeError is raised, not ValueError",
        SilentlyCut: "no ValueError is raised",
        SlidesOn: "no ValueError is raised",
        Asserts: "AssertionError is raised, not ValueError",
        CountsBeforeItRefuses: "length went from 4",
        WritesBeforeItRefuses: "what the cache holds has changed",
        EmptiesItself: "length went from 4 to 0",
        OneRowForAll: "One row is silently copied into all",
        RefusesOnlyMoreRows: "One row is silently copied into all",
        RowsAsTheyCome: "One row|no ValueError",
        RoomOfTheClass: "two caches share their room",
        LengthOfTheClass: "changes the length of another",
        KeepsTheFirst: "lie elsewhere|keeps the caller's tensors",
        KeepsWhatFills: "keeps the caller's tensors",
        FixedBatch: "5 texts of 3 positions",
        RoomExchanged: "differ in size|other numbers",
        GivesOne: "Return all_keys, all_values",
        TwoArguments: "batch_size, n_kv_heads, max_length, d_head",
    },
    "padded_positions": {
        padding_ignored: "padding is not used",
        start_ignored: "start is not used",
        start_added_late: "start is added after the clamp",
        clamps_the_offset: "only start - padding is clamped",
        prompt_alone_is_padded: "first chunk only",
        padding_added: "padding is added",
        not_clamped: "negative positions",
        pads_at_one: "pad tokens get position 1",
        counts_down_to_the_text: "clamp, not abs",
        counts_from_one: "counted from 1",
        one_too_small: "both get 0",
        sign_turned: "sign is turned round",
        padding_at_the_right: "taken to be at the right",
        largest_for_all: "largest padding",
        first_row_for_all: "padding of the first",
        one_row: "one row for all",
        wraps_round: "remainder",
        modulo_of_the_chunk: "other positions than read at once",
        rows_and_columns: "changed places",
        old_columns_too: "old columns too",
        does_not_broadcast: "padding\\[:, None\\]",
        as_floats: "int64, but torch.float32",
        in_thirty_two_bits: "int64, but torch.int32",
        padding_lowered: "changed in place",
        padding_left_of_all: "Its own padding decides|the text gets",
        begins_one_late: "columns from start \\+ 1",
    },
    "padded_mask": {
        future_only: "padding is seen",
        hides_pad_queries: "padding is seen.*hiding the rows",
        padding_only: "the future is seen",
        true_means_hidden: "inverted",
        sees_the_next: "also sees the next",
        not_itself: "does not see itself",
        last_pad_seen: "last pad token is seen",
        first_token_hidden: "first token of each text is hidden",
        aligned_top_left: "top left",
        square_with_a_cache: "square. The keys that were read before",
        all_rows: "square. Only the new queries",
        old_keys_hidden: "what was read before is hidden",
        padding_from_start: "padding is counted from start",
        padding_forgotten_later: "first chunk only",
        pads_at_the_right: "at the right",
        largest_padding: "largest padding",
        first_rows_padding: "padding of the first",
        one_mask_for_all: "one mask for all",
        either_or: "everything is seen.*&, not",
        upside_down: "upside down",
        pads_only: "only padding is seen",
        places_against_columns: "column with column",
        with_an_axis_of_heads: "axis of heads",
        zero_and_minus_infinity: "boolean, but torch.float32",
        whole_numbers: "boolean, but torch.int64",
        keys_first: "changed places",
        row_of_keys: "a row of its own",
        not_broadcast: "padding\\[:, None\\]",
        unused_at_one_token: "something else than the same tokens",
        first_and_last_column: "changed in place",
    },
}

RIGHT = {
    "attend_with_past": (
        right_with_mask,
        right_with_flags_where_they_fit,
        right_with_einsum,
        right_position_by_position,
        right_in_place_on_its_own,
    ),
    "layer_cache": (
        RightCache,
        RightInOneTensor,
        RightWithTimeInFront,
        RightAsModule,
    ),
    "padded_positions": (
        right_clamped,
        right_by_running_sum,
        right_row_by_row,
        right_in_its_own_place,
    ),
    "padded_mask": (
        right_by_columns,
        right_by_tril,
        right_cell_by_cell,
        right_and_pads_see_themselves,
        right_by_hiding,
    ),
}
