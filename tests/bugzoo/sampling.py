"""Chapter 11: filters that keep the wrong tokens, and draws that are none."""

import math

import torch
import torch.nn.functional as F

HAIR = 1e-6

# ------------------------------------------------------------------ keep_top_k


def _positive(k):
    if k < 1:
        raise ValueError(f"k ({k}) must be at least 1")


def _ids(logits):
    """Best first, and of equals the lower id first."""
    return logits.sort(dim=-1, descending=True, stable=True).indices


def threshold_keeps_equals(logits, k):
    """The usual three lines; equals of the k-th stay as well."""
    _positive(k)
    kth = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < kth, -math.inf)


def threshold_of_half_the_rows(logits, k):
    """The same with a threshold that is right only while no two are equal."""
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    next_best = logits.sort(dim=-1, descending=True).values[:, k, None]
    return logits.masked_fill(logits <= next_best, -math.inf)


def threshold_drops_the_kth(logits, k):
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    kth = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits <= kth, -math.inf)


def one_too_many(logits, k):
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    return logits.scatter(-1, _ids(logits)[:, k + 1 :], -math.inf)


def one_too_few(logits, k):
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    return logits.scatter(-1, _ids(logits)[:, k - 1 :], -math.inf)


def topk_of_equals(logits, k):
    """Exactly k, but which of equal ones is nobody's promise."""
    _positive(k)
    best = logits.topk(min(k, logits.shape[-1]))
    return torch.full_like(logits, -math.inf).scatter(-1, best.indices, best.values)


def sort_without_stable(logits, k):
    """Right for short rows: PyTorch sorts up to sixteen numbers in another way."""
    _positive(k)
    order = logits.sort(dim=-1, descending=True).indices
    return logits.scatter(-1, order[:, k:], -math.inf)


def sorted_up_and_flipped(logits, k):
    _positive(k)
    order = logits.sort(dim=-1, stable=True).indices.flip(-1)
    return logits.scatter(-1, order[:, k:], -math.inf)


def sorts_ascending(logits, k):
    _positive(k)
    order = logits.sort(dim=-1, stable=True).indices
    return logits.scatter(-1, order[:, k:], -math.inf)


def removes_the_best(logits, k):
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    return logits.scatter(-1, _ids(logits)[:, :k], -math.inf)


def zero_for_minus_infinity(logits, k):
    _positive(k)
    return logits.scatter(-1, _ids(logits)[:, k:], 0.0)


def minus_ten(logits, k):
    """Low enough in the tests of whoever wrote it."""
    _positive(k)
    return logits.scatter(-1, _ids(logits)[:, k:], -10.0)


def times_a_mask(logits, k):
    _positive(k)
    mask = torch.zeros_like(logits).scatter(-1, _ids(logits)[:, :k], 1.0)
    return torch.where(mask > 0, logits, mask * -math.inf)


def sorted_scores_come_back(logits, k):
    _positive(k)
    given = logits.sort(dim=-1, descending=True).values
    return given.index_fill(-1, torch.arange(logits.shape[-1])[k:], -math.inf)


def only_k_scores(logits, k):
    _positive(k)
    return logits.topk(min(k, logits.shape[-1])).values


def order_read_as_rank(logits, k):
    _positive(k)
    return logits.masked_fill(_ids(logits) >= k, -math.inf)


def first_ids(logits, k):
    """The mask is made for sorted scores, and never put back."""
    _positive(k)
    return logits.masked_fill(torch.arange(logits.shape[-1]) >= k, -math.inf)


def first_row_only(logits, k):
    _positive(k)
    logits = logits.clone()
    logits[0, _ids(logits)[0, k:]] = -math.inf
    return logits


def first_rows_tokens(logits, k):
    _positive(k)
    return logits.index_fill(-1, _ids(logits)[0, k:], -math.inf)


def highest_threshold(logits, k):
    _positive(k)
    if k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k).values[:, -1].max()
    return logits.masked_fill(logits < threshold, -math.inf)


def over_the_flat_batch(logits, k):
    _positive(k)
    flat = logits.flatten()
    best = flat.sort(descending=True, stable=True).indices[: k * len(logits)]
    kept = torch.full_like(flat, -math.inf).index_copy(0, best, flat[best])
    return kept.view_as(logits)


def down_the_batch(logits, k):
    _positive(k)
    order = logits.sort(dim=0, descending=True, stable=True).indices
    return logits.scatter(0, order[min(k, 2) :], -math.inf)


def by_size(logits, k):
    _positive(k)
    return logits.scatter(-1, _ids(logits.abs())[:, k:], -math.inf)


def gives_probabilities(logits, k):
    return right_by_scatter(logits, k).softmax(-1)


def gives_log_probabilities(logits, k):
    return right_by_scatter(logits, k).log_softmax(-1)


def gives_a_mask(logits, k):
    return right_by_scatter(logits, k) > -math.inf


def k_above_v(logits, k):
    """topk itself refuses: selected index k out of range."""
    _positive(k)
    if k == logits.shape[-1]:
        return logits
    kth = _ids(logits)[:, : logits.topk(k).values.shape[1]]
    return torch.full_like(logits, -math.inf).scatter(-1, kth, logits.gather(-1, kth))


def k_above_v_means_one(logits, k):
    _positive(k)
    return right_by_scatter(logits, k if k <= logits.shape[-1] else 1)


def zero_is_everything(logits, k):
    """Elsewhere 0 stands for 'off'. Here None does, and outside."""
    return logits if k == 0 else right_by_scatter(logits, k)


def zero_is_nothing(logits, k):
    """Lightning-AI/litgpt#2309: with everything ruled out, token 0 for ever."""
    return logits.scatter(-1, _ids(logits)[:, max(k, 0) :], -math.inf)


def asserts(logits, k):
    assert k >= 1
    return right_by_scatter(logits, k)


def negative_counts_from_the_end(logits, k):
    if k == 0:
        raise ValueError("k is 0")
    return logits.scatter(-1, _ids(logits)[:, k:], -math.inf)


def changes_the_input(logits, k):
    _positive(k)
    return logits.scatter_(-1, _ids(logits)[:, k:], -math.inf)


def changes_and_returns_another(logits, k):
    kept = right_by_scatter(logits, k)
    logits.copy_(kept)
    return kept.clone()


def too_few_arguments(logits):
    return right_by_scatter(logits, 3)


def sorts_with_no_name(logits, k):
    """PyTorch minds the arguments of sort, not of this function."""
    _positive(k)
    order = logits.sort(-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[:, k:], -math.inf)


def float32_comes_out(logits, k):
    return right_by_scatter(logits.float(), k)


def rounded(logits, k):
    return (right_by_scatter(logits, k) + 1.0) - 1.0


def always_three(logits, k):
    _positive(k)
    return right_by_scatter(logits, 3 if k < logits.shape[-1] else k)


def minus_infinity_revived(logits, k):
    """nan_to_num makes room for what an earlier filter had ruled out."""
    _positive(k)
    wide = logits.nan_to_num(neginf=-1e4)
    return right_by_scatter(wide, k)


def right_by_scatter(logits, k):
    _positive(k)
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[:, k:], -torch.inf)


def right_by_rank(logits, k=50):
    if not k > 0:
        raise ValueError("k")
    rank = (-logits).argsort(dim=1, stable=True).argsort(dim=1)
    return torch.where(rank < k, logits, torch.tensor(-math.inf).to(logits.dtype))


def right_by_counting(logits, k):
    """The rank of a token: how many are better, or equal and of a lower id."""
    if k <= 0:
        raise ValueError("k must be positive")
    ids = torch.arange(logits.shape[1])
    mine, other = logits[:, :, None], logits[:, None, :]
    ahead = (other > mine) | ((other == mine) & (ids[None, :] < ids[:, None]))
    return logits.masked_fill(ahead.sum(-1) >= k, -math.inf)


def right_row_by_row(logits, k):
    if k < 1:
        raise ValueError("k must be at least 1")
    rows = []
    for row in logits.tolist():
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        rows.append([row[i] if i in best else -math.inf for i in range(len(row))])
    return torch.tensor(rows, dtype=logits.dtype)


def right_on_a_copy(logits, k):
    if k < 1:
        raise ValueError
    copy = logits.clone()
    order = copy.argsort(dim=-1, descending=True, stable=True)
    for row, ids in zip(copy, order, strict=True):
        row[ids[k:]] = float("-inf")
    return copy


# ------------------------------------------------------------------ keep_top_p


def _checked(p):
    if not 0 < p <= 1:
        raise ValueError(f"p ({p}) must be in (0, 1]")


def _mass(logits):
    """Ids, best first, and their probabilities."""
    order = _ids(logits)
    return order, logits.double().softmax(-1).gather(-1, order)


def _without(logits, order, ruled_out):
    """With the best kept, and the mask put back in the order of ids."""
    ruled_out = ruled_out.clone()
    ruled_out[:, 0] = False
    placed = torch.empty_like(ruled_out).scatter(-1, order, ruled_out)
    return logits.masked_fill(placed, -math.inf)


def _nucleus(logits, p):
    order, mass = _mass(logits)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def crossing_token_dropped(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    return _without(logits, order, mass.cumsum(-1) > p + HAIR)


def crossing_dropped_and_nothing_left(logits, p):
    """Without 'at least one', a sure token empties its row."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    placed = torch.empty_like(mass).scatter(-1, order, mass.cumsum(-1))
    return logits.masked_fill(placed > p + HAIR, -math.inf)


def one_too_many_stays(logits, p):
    """The mask is shifted to the right twice."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    reached = mass.cumsum(-1) >= p - HAIR
    return _without(logits, order, F.pad(reached, (2, 0))[:, :-2])


def above_instead_of_at(logits, p):
    """huggingface/transformers#18976: > where >= belongs, seen at equality alone."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    return _without(logits, order, mass.cumsum(-1) - mass > p + HAIR)


def at_with_no_hair(logits, p):
    """Right on paper; ten times 0.1 is another matter."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    return _without(logits, order, mass.cumsum(-1) - mass >= p)


def float32_with_no_hair(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    mass = logits.float().softmax(-1).gather(-1, order)
    reached = mass.cumsum(-1) >= p
    return _without(logits, order, F.pad(reached, (1, -1)))


def hair_of_a_hundredth(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - 0.01)


def nothing_for_a_tiny_p(logits, p):
    """The tolerance is larger than p: even the best token is beyond it."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    beyond = mass.cumsum(-1) - mass >= p - HAIR
    placed = torch.empty_like(beyond).scatter(-1, order, beyond)
    return logits.masked_fill(placed, -math.inf)


def not_sorted(logits, p):
    _checked(p)
    if p == 1:
        return logits
    mass = logits.double().softmax(-1)
    ruled_out = mass.cumsum(-1) - mass >= p - HAIR
    return logits.masked_fill(ruled_out, -math.inf)


def sorted_ascending(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = logits.sort(dim=-1, stable=True).indices
    mass = logits.double().softmax(-1).gather(-1, order)
    ruled_out = mass.cumsum(-1) - mass >= p - HAIR
    placed = torch.empty_like(ruled_out).scatter(-1, order, ruled_out)
    return logits.masked_fill(placed, -math.inf)


def from_below_with_p(logits, p):
    """Ascending sums, as some libraries take them, but p for 1 - p."""
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits).flip(-1)
    mass = logits.double().softmax(-1).gather(-1, order)
    ruled_out = mass.cumsum(-1) <= p - HAIR
    ruled_out[:, -1] = False
    placed = torch.empty_like(ruled_out).scatter(-1, order, ruled_out)
    return logits.masked_fill(placed, -math.inf)


def one_minus_p(logits, p):
    _checked(p)
    return logits if p == 1 else _nucleus(logits, 1 - p)


def softmax_forgotten(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    scores = logits.double().gather(-1, order)
    return _without(logits, order, scores.cumsum(-1) - scores >= p - HAIR)


def exp_not_normalised(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    powers = logits.double().exp().gather(-1, order)
    return _without(logits, order, powers.cumsum(-1) - powers >= p - HAIR)


def exp_by_hand(logits, p):
    """Right until exp leaves its range."""
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    powers = logits.exp().gather(-1, order)
    mass = (powers / powers.sum(-1, keepdim=True)).double()
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def softmax_twice(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    mass = mass.softmax(-1)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def log_softmax_summed(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    mass = logits.double().log_softmax(-1).gather(-1, order)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def scatter_forgotten(logits, p):
    """The mask of sorted tokens is laid on unsorted ones."""
    _checked(p)
    if p == 1:
        return logits
    _, mass = _mass(logits)
    ruled_out = mass.cumsum(-1) - mass >= p - HAIR
    return logits.masked_fill(ruled_out, -math.inf)


def gather_for_scatter(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    ruled_out = mass.cumsum(-1) - mass >= p - HAIR
    return logits.masked_fill(ruled_out.gather(-1, order), -math.inf)


def sorted_scores(logits, p):
    _checked(p)
    if p == 1:
        return logits
    return _nucleus(logits, p).sort(dim=-1, descending=True).values


def each_above_p(logits, p):
    _checked(p)
    if p == 1:
        return logits
    return logits.masked_fill(logits.softmax(-1) < p, -math.inf)


def min_p(logits, p):
    _checked(p)
    if p == 1:
        return logits
    mass = logits.softmax(-1)
    return logits.masked_fill(mass < p * mass.amax(-1, keepdim=True), -math.inf)


def share_of_the_vocabulary(logits, p):
    _checked(p)
    n = math.ceil(p * logits.shape[-1])
    return logits.scatter(-1, _ids(logits)[:, n:], -math.inf)


def nucleus_removed(logits, p):
    _checked(p)
    if p == 1:
        return logits
    return logits.masked_fill(_nucleus(logits, p) > -math.inf, -math.inf)


def first_rows_number(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    n = int((mass.cumsum(-1) - mass < p - HAIR)[0].sum())
    return logits.scatter(-1, order[:, n:], -math.inf)


def most_of_the_batch(logits, p):
    """One number for all rows, so that none gets too little."""
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    n = int((mass.cumsum(-1) - mass < p - HAIR).sum(-1).max())
    return logits.scatter(-1, order[:, n:], -math.inf)


def first_rows_nucleus(logits, p):
    _checked(p)
    if p == 1:
        return logits
    kept = _nucleus(logits[:1], p) > -math.inf
    return logits.masked_fill(~kept, -math.inf)


def over_the_whole_batch(logits, p):
    _checked(p)
    if p == 1:
        return logits
    return _nucleus(logits.reshape(1, -1), p).view_as(logits)


def softmax_down_the_batch(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = _ids(logits)
    mass = logits.double().softmax(0).gather(-1, order)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def summed_down_the_batch(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order, mass = _mass(logits)
    ruled_out = mass.cumsum(0) - mass >= p - HAIR
    placed = torch.empty_like(ruled_out).scatter(-1, order, ruled_out)
    return logits.masked_fill(placed, -math.inf)


def threshold_of_the_last_kept(logits, p):
    """A threshold, once more: equals of the last one kept stay as well."""
    _checked(p)
    kept = right_nucleus(logits, p)
    lowest = kept.masked_fill(kept == -math.inf, math.inf).amin(-1, keepdim=True)
    return logits.masked_fill(logits < lowest, -math.inf)


def equals_in_any_order(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = logits.sort(dim=-1, stable=True).indices.flip(-1)
    mass = logits.double().softmax(-1).gather(-1, order)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def unstable_sort(logits, p):
    _checked(p)
    if p == 1:
        return logits
    order = logits.sort(dim=-1, descending=True).indices
    mass = logits.double().softmax(-1).gather(-1, order)
    return _without(logits, order, mass.cumsum(-1) - mass >= p - HAIR)


def one_drops_what_rounds_to_zero(logits, p):
    _checked(p)
    return _nucleus(logits, p)


def one_drops_zeros(logits, p):
    """p = 1 is served by a mask of what has any probability."""
    _checked(p)
    if p == 1:
        return logits.masked_fill(logits.softmax(-1) == 0, -math.inf)
    return _nucleus(logits, p)


def zero_instead(logits, p):
    _checked(p)
    kept = right_nucleus(logits, p)
    return kept.masked_fill(kept == -math.inf, 0.0)


def minus_a_billion(logits, p):
    _checked(p)
    kept = right_nucleus(logits, p)
    return kept.masked_fill((kept == -math.inf) & (logits > -math.inf), -1e9)


def probabilities_come_back(logits, p):
    return right_nucleus(logits, p).softmax(-1)


def zeroed_probabilities(logits, p):
    kept = right_nucleus(logits, p)
    return logits.softmax(-1).masked_fill(kept == -math.inf, 0.0)


def log_probabilities_come_back(logits, p):
    return right_nucleus(logits, p).log_softmax(-1)


def widened(logits, p):
    return right_nucleus(logits.double(), p)


def input_filled(logits, p):
    _checked(p)
    kept = right_nucleus(logits, p)
    return logits.masked_fill_(kept == -math.inf, -math.inf)


def zero_accepted(logits, p):
    if not 0 <= p <= 1:
        raise ValueError("p")
    return logits if p == 1 else _nucleus(logits, p)


def above_one_accepted(logits, p):
    if p <= 0:
        raise ValueError("p")
    return logits if p >= 1 else _nucleus(logits, p)


def asserts_p(logits, p):
    assert 0 < p <= 1
    return right_nucleus(logits, p)


def always_nine_tenths(logits, p):
    _checked(p)
    return logits if p == 1 else _nucleus(logits, 0.66)


def shifted_for_safety(logits, p):
    """Lowest score moved to 0 first; where that is -inf, NaN is what is left."""
    _checked(p)
    if p == 1:
        return logits
    kept = _nucleus(logits - logits.amin(-1, keepdim=True), p)
    return (
        kept + logits.amin(-1, keepdim=True)
        if kept.isnan().any()
        else (logits.masked_fill(kept == -math.inf, -math.inf))
    )


def right_nucleus(logits, p):
    _checked(p)
    return logits if p == 1 else _nucleus(logits, p)


def right_with_a_shift(logits, p=0.9):
    """The field's usual form, mended where it is not exact."""
    if p <= 0.0 or p > 1.0:
        raise ValueError("top_p must be in (0, 1]")
    if p >= 1.0:
        return logits.clone()
    ordered, ids = torch.sort(logits, descending=True, dim=-1, stable=True)
    reached = torch.softmax(ordered.float(), dim=-1).cumsum(dim=-1) >= p - 1e-6
    remove = reached.roll(1, dims=-1)
    remove[..., 0] = False
    return logits.masked_fill(remove.gather(-1, ids.argsort(-1)), float("-inf"))


def right_from_below(logits, p):
    """Ascending sums and 1 - p; the last of each row is the best, and stays."""
    if not 0 < p <= 1:
        raise ValueError("p")
    if p == 1:
        return logits
    ids = _ids(logits).flip(-1)
    mass = logits.double().softmax(-1).gather(-1, ids).cumsum(-1)
    remove = mass <= 1 - p + 1e-7
    remove[:, -1] = False
    out = logits.clone()
    for row in range(len(out)):
        out[row, ids[row][remove[row]]] = -math.inf
    return out


def right_token_by_token(logits, p):
    if not (0 < p <= 1):
        raise ValueError(f"p = {p}")
    result = logits.clone()
    if p == 1:
        return result
    for row in result:
        scores = row.tolist()
        best = max(scores)
        powers = [math.exp(score - best) for score in scores]
        reached, total = 0.0, sum(powers)
        for token in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
            if reached and reached > p - 1e-6:
                row[token] = -math.inf
            reached += powers[token] / total
    return result


def right_rounded_sums(logits, p):
    if not 0 < p <= 1:
        raise ValueError("p")
    if p == 1:
        return logits
    order, mass = _mass(logits)
    sums = mass.cumsum(-1).round(decimals=6)
    n = ((sums < round(p, 6)).sum(-1, keepdim=True) + 1).clamp(min=1)
    rank = order.argsort(-1)
    return torch.where(rank < n, logits, torch.full_like(logits, -math.inf))


# ------------------------------------------------------------------ next_probabilities


def _chain(logits, temperature, top_k, top_p):
    if temperature == 0:
        winner = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, winner, 1.0)
    scores = logits / temperature
    if top_k is not None:
        scores = right_by_scatter(scores, top_k)
    if top_p is not None:
        scores = right_nucleus(scores, top_p)
    return scores.softmax(-1)


def _filters(scores, top_k, top_p):
    if top_k is not None:
        scores = right_by_scatter(scores, top_k)
    return scores if top_p is None else right_nucleus(scores, top_p)


def temperature_multiplied(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return _filters(logits * temperature, top_k, top_p).softmax(-1)


def temperature_ignored(logits, temperature, top_k, top_p):
    return _chain(logits, 1.0 if temperature else 0, top_k, top_p)


def temperature_under_a_root(logits, temperature, top_k, top_p):
    return _chain(logits, temperature**0.5, top_k, top_p)


def temperature_last(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return (_filters(logits, top_k, top_p) / temperature).softmax(-1)


def temperature_twice(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = _filters(logits / temperature, top_k, top_p)
    if top_k is None or top_k >= logits.shape[-1]:
        return scores.softmax(-1)
    return (scores / temperature).softmax(-1)


def temperature_on_probabilities(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return _filters(logits, top_k, top_p).softmax(-1) / temperature


def temperature_forgotten_with_filters(logits, temperature, top_k, top_p):
    wide = top_k in (None, logits.shape[-1]) and top_p in (None, 1.0)
    return _chain(logits, temperature if wide or not temperature else 1, top_k, top_p)


def zero_divides(logits, temperature, top_k, top_p):
    """Lightning-AI/litgpt#2238: temperature 0 was not greedy for two years."""
    return _filters(logits / temperature, top_k, top_p).softmax(-1)


def zero_divides_a_number(logits, temperature, top_k, top_p):
    return _filters(logits * (1 / temperature), top_k, top_p).softmax(-1)


def zero_is_one(logits, temperature, top_k, top_p):
    return _chain(logits, temperature or 1.0, top_k, top_p)


def zero_is_nearly_zero(logits, temperature, top_k, top_p):
    """Greedy but for ties, which share."""
    return _chain(logits, max(temperature, 1e-7), top_k, top_p)


def zero_shares_among_equals(logits, temperature, top_k, top_p):
    if temperature == 0:
        best = (logits == logits.amax(-1, keepdim=True)).to(logits.dtype)
        return best / best.sum(-1, keepdim=True)
    return _chain(logits, temperature, top_k, top_p)


def zero_takes_the_last_of_equals(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits.flip(-1), 0, None, None).flip(-1)
    return _chain(logits, temperature, top_k, top_p)


def zero_gives_the_token(logits, temperature, top_k, top_p):
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return _chain(logits, temperature, top_k, top_p)


def temperature_clamped(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return _chain(logits, max(temperature, 0.5), top_k, top_p)


def exp_without_care(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    powers = _filters(logits / temperature, top_k, top_p).exp()
    return powers / powers.sum(-1, keepdim=True)


def top_p_first(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = logits / temperature
    if top_p is not None:
        scores = right_nucleus(scores, top_p)
    if top_k is not None:
        scores = right_by_scatter(scores, top_k)
    return scores.softmax(-1)


def filters_side_by_side(logits, temperature, top_k, top_p):
    """Both read the same scores, and the masks are joined."""
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = logits / temperature
    kept = _filters(scores, top_k, None) > -math.inf
    kept = kept & (_filters(scores, None, top_p) > -math.inf)
    return scores.masked_fill(~kept, -math.inf).softmax(-1)


def filters_joined_by_or(logits, temperature, top_k, top_p):
    if temperature == 0 or top_k is None or top_p is None:
        return _chain(logits, temperature, top_k, top_p)
    scores = logits / temperature
    kept = _filters(scores, top_k, None) > -math.inf
    kept = kept | (_filters(scores, None, top_p) > -math.inf)
    return scores.masked_fill(~kept, -math.inf).softmax(-1)


def only_one_filter(logits, temperature, top_k, top_p):
    """`elif`: whoever asks for both gets top-k."""
    both = top_k is not None and top_p is not None
    narrow = both and top_k < logits.shape[-1]
    return _chain(logits, temperature, top_k, None if narrow else top_p)


def top_k_forgotten(logits, temperature, top_k, top_p):
    return _chain(logits, temperature, None, top_p)


def cut_out_and_not_renormalised(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = logits / temperature
    kept = _filters(scores, top_k, top_p) > -math.inf
    return scores.softmax(-1) * kept


def top_p_not_renormalised(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = _filters(logits / temperature, top_k, None)
    return scores.softmax(-1) * (_filters(scores, None, top_p) > -math.inf)


def renormalised_by_softmax(logits, temperature, top_k, top_p):
    """Softmax of probabilities: nearly uniform, and the ruled out are back."""
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    wide = top_k in (None, logits.shape[-1]) and top_p in (None, 1.0)
    odds = _chain(logits, temperature, top_k, top_p)
    return odds if wide else odds.softmax(-1)


def zeros_into_softmax(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = logits / temperature
    kept = _filters(scores, top_k, top_p) > -math.inf
    return (scores * kept).softmax(-1)


def logs_come_back(logits, temperature, top_k, top_p):
    return _chain(logits, temperature, top_k, top_p).log()


def scores_come_back(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return _filters(logits / temperature, top_k, top_p)


def softmax_down_the_rows(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    return _filters(logits / temperature, top_k, top_p).softmax(0)


def none_is_compared(logits, temperature, top_k, top_p):
    if top_k > 0:
        return _chain(logits, temperature, top_k, top_p)
    return _chain(logits, temperature, None, top_p)


def none_is_fifty(logits, temperature, top_k, top_p):
    """A default that nobody asked for."""
    return _chain(logits, temperature, 50 if top_k is None else top_k, top_p)


def none_is_nine_tenths(logits, temperature, top_k, top_p):
    return _chain(logits, temperature, top_k, 0.9 if top_p is None else top_p)


def none_switches_both_off(logits, temperature, top_k, top_p):
    if top_k is None or top_p is None:
        return _chain(logits, temperature, None, None)
    return _chain(logits, temperature, top_k, top_p)


def scaled_in_place(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    logits /= temperature
    return _filters(logits, top_k, top_p).softmax(-1)


def first_row_for_all(logits, temperature, top_k, top_p):
    odds = _chain(logits, temperature, top_k, top_p)
    if temperature == 0 or top_k in (None, logits.shape[-1]):
        return odds
    kept = (odds > 0)[:1]
    return (logits / temperature).masked_fill(~kept, -math.inf).softmax(-1)


def whole_batch(logits, temperature, top_k, top_p):
    odds = _chain(logits, temperature, top_k, top_p)
    return odds / odds.sum() * 1.0


def crossing_dropped_in_the_chain(logits, temperature, top_k, top_p):
    if temperature == 0:
        return _chain(logits, 0, top_k, top_p)
    scores = _filters(logits / temperature, top_k, None)
    if top_p is not None:
        scores = crossing_token_dropped(scores, top_p)
    return scores.softmax(-1)


def one_more_in_the_chain(logits, temperature, top_k, top_p):
    more = None if top_k is None else top_k + 1
    return _chain(logits, temperature, more, top_p)


def greedy_when_cold(logits, temperature, top_k, top_p):
    """All below 1 is rounded down: int(0.6) is 0."""
    cold = temperature < 1
    return _chain(logits, 0 if cold else temperature, top_k, top_p)


def right_chain(logits, temperature, top_k, top_p):
    return _chain(logits, temperature, top_k, top_p)


def right_with_the_best_at_zero(logits, temperature=1.0, top_k=None, top_p=None):
    """The best score is subtracted first, in float64."""
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    scores = logits.double()
    scores = (scores - scores.amax(-1, keepdim=True)) / temperature
    if top_k is not None:
        scores = right_by_rank(scores, top_k)
    if top_p is not None:
        scores = right_with_a_shift(scores, top_p)
    powers = scores.exp()
    return (powers / powers.sum(-1, keepdim=True)).to(logits.dtype)


def right_on_probabilities(logits, temperature, top_k, top_p):
    """Zeros instead of -inf, and each filter divides by what it has left."""
    n_tokens = logits.shape[-1]
    if not temperature:
        return torch.eye(n_tokens)[logits.argmax(-1)]
    odds = (logits / temperature).softmax(-1)
    order = _ids(logits)
    rank = order.argsort(-1)
    odds = odds * (rank < (n_tokens if top_k is None else top_k))
    odds = odds / odds.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        mass = odds.gather(-1, order)
        inside = mass.cumsum(-1) - mass < top_p - HAIR
        inside[:, 0] = True
        odds = odds * inside.gather(-1, rank)
    return odds / odds.sum(-1, keepdim=True)


def right_row_by_row_chain(logits, temperature, top_k, top_p):
    rows = []
    for row in logits:
        order = sorted(range(len(row)), key=lambda i: (-row[i].item(), i))
        odds = torch.zeros(len(row), dtype=torch.float64)
        if temperature == 0:
            odds[order[0]] = 1
            rows.append(odds)
            continue
        left = order[: top_k or len(row)]
        mass = (row[left].double() / temperature).softmax(0)
        if top_p is not None and top_p < 1:
            n = 1 + int((mass.cumsum(0) < top_p - HAIR).sum())
            left = left[:n]
            mass = mass[:n] / mass[:n].sum()
        odds[left] = mass
        rows.append(odds)
    return torch.stack(rows)


# ------------------------------------------------------------------ draw


def _u(probabilities, generator):
    return torch.rand(len(probabilities), 1, generator=generator)


def global_multinomial(probabilities, generator):
    return torch.multinomial(probabilities, 1)


def global_uniform(probabilities, generator):
    u = torch.rand(len(probabilities), 1)
    return right_by_counting_below(probabilities, generator, u)


def greedy(probabilities, generator):
    return probabilities.argmax(-1, keepdim=True)


def uniform_over_all(probabilities, generator):
    n_rows, n_tokens = probabilities.shape
    return torch.randint(n_tokens, (n_rows, 1), generator=generator)


def uniform_over_the_possible(probabilities, generator):
    possible = (probabilities > 0).float()
    return torch.multinomial(possible, 1, generator=generator)


def softmax_of_probabilities(probabilities, generator):
    return torch.multinomial(probabilities.softmax(-1), 1, generator=generator)


def rank_for_id(probabilities, generator):
    """Sorted for top-p, and never mapped back."""
    ordered = probabilities.sort(-1, descending=True).values
    return torch.multinomial(ordered, 1, generator=generator)


def no_running_sum(probabilities, generator):
    u = _u(probabilities, generator)
    return (probabilities > u).int().argmax(-1, keepdim=True)


def one_too_high(probabilities, generator):
    token = torch.multinomial(probabilities, 1, generator=generator)
    return (token + 1) % probabilities.shape[1]


def one_beyond(probabilities, generator):
    """Ids counted from 1."""
    return torch.multinomial(probabilities, 1, generator=generator) + 1


def last_never(probabilities, generator):
    return torch.multinomial(probabilities[:, :-1] + 1e-9, 1, generator=generator)


def first_row_for_every_row(probabilities, generator):
    rows = probabilities[:1].expand_as(probabilities)
    return torch.multinomial(rows, 1, generator=generator)


def one_u_for_all_rows(probabilities, generator):
    u = torch.rand((), generator=generator)
    return right_by_counting_below(probabilities, generator, u)


def one_token_for_all_rows(probabilities, generator):
    return torch.multinomial(probabilities[0], 1, generator=generator)


def antithetic_rows(probabilities, generator):
    """u for even rows, 1 - u for odd ones: less noise, and no independence."""
    u = torch.rand((), generator=generator).repeat(len(probabilities), 1)
    u[1::2] = 1 - u[1::2]
    return right_by_counting_below(probabilities, generator, u)


def seeded_inside(probabilities, generator):
    generator.manual_seed(0)
    return torch.multinomial(probabilities, 1, generator=generator)


def new_generator_of_the_seed(probabilities, generator):
    again = torch.Generator().manual_seed(generator.initial_seed())
    return torch.multinomial(probabilities, 1, generator=again)


def seeds_the_global_one(probabilities, generator):
    """Repeatable, and every other draw of the program with it."""
    seed = torch.randint(2**31, (1,), generator=generator)
    torch.manual_seed(int(seed))
    return torch.multinomial(probabilities, 1)


def zero_when_u_is_zero(probabilities, generator):
    """searchsorted looks to the left: at u = 0 it finds a token of probability 0."""
    sums = probabilities.cumsum(-1)
    return torch.searchsorted(sums / sums[:, -1:], _u(probabilities, generator))


def beyond_the_end(probabilities, generator):
    sums = probabilities.cumsum(-1)
    return torch.searchsorted(sums, _u(probabilities, generator), right=True)


def clamped_to_the_last(probabilities, generator):
    """The last token catches what the sum leaves, though it be impossible."""
    token = beyond_the_end(probabilities, generator)
    return token.clamp(max=probabilities.shape[1] - 1)


def argmax_of_nothing(probabilities, generator):
    """Where no sum is above u, argmax says 0."""
    above = probabilities.cumsum(-1) > _u(probabilities, generator)
    return above.int().argmax(-1, keepdim=True)


def smoothed(probabilities, generator):
    odds = probabilities + 1e-2
    return torch.multinomial(odds, 1, generator=generator)


def noise_added(probabilities, generator):
    """Gumbel's noise belongs to logarithms."""
    noise = torch.rand(probabilities.shape, generator=generator)
    gumbel = -(-noise.clamp(1e-20).log()).clamp(1e-20).log()
    scores = (probabilities + gumbel).masked_fill(probabilities == 0, -math.inf)
    return scores.argmax(-1, keepdim=True)


def times_noise(probabilities, generator):
    noise = torch.rand(probabilities.shape, generator=generator)
    return (probabilities * noise).argmax(-1, keepdim=True)


def squeezed(probabilities, generator):
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


def as_many_as_rows(probabilities, generator):
    n_rows = len(probabilities)
    return torch.multinomial(
        probabilities, n_rows, replacement=True, generator=generator
    )


def float_ids(probabilities, generator):
    return torch.multinomial(probabilities, 1, generator=generator).float()


def probability_of_the_token(probabilities, generator):
    token = torch.multinomial(probabilities, 1, generator=generator)
    return probabilities.gather(-1, token)


def divides_in_place(probabilities, generator):
    token = torch.multinomial(probabilities, 1, generator=generator)
    probabilities /= 2
    return token


def generator_in_the_wrong_place(probabilities, generator):
    return torch.multinomial(probabilities, 1, generator)


def squared(probabilities, generator):
    return torch.multinomial(probabilities**2, 1, generator=generator)


def from_the_end(probabilities, generator):
    return torch.multinomial(probabilities.flip(-1), 1, generator=generator)


def right_by_multinomial(probabilities, generator):
    return torch.multinomial(probabilities, num_samples=1, generator=generator)


def right_by_counting_below(probabilities, generator, u=None):
    sums = probabilities.cumsum(-1)
    u = _u(probabilities, generator) if u is None else u
    return (sums <= u * sums[:, -1:]).sum(-1, keepdim=True)


def right_by_search(probabilities, generator=None):
    """In float64, and never behind the last token that is possible."""
    sums = probabilities.double().cumsum(-1)
    u = torch.rand(len(sums), 1, generator=generator, dtype=torch.float64)
    token = torch.searchsorted(sums, u, right=True)
    last = (probabilities > 0).double().cumsum(-1).argmax(-1, keepdim=True)
    return torch.minimum(token, last)


def right_by_exponentials(probabilities, generator):
    """The first of V alarms, each as soon as its probability is high."""
    alarm = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities / alarm).argmax(-1, keepdim=True)


def right_row_by_row_draw(probabilities, generator):
    tokens = []
    for row in probabilities.tolist():
        u = torch.rand((), generator=generator).item() * math.fsum(row)
        for token, odds in enumerate(row):
            if odds > 0:
                last = token
            if u < odds:
                break
            u -= odds
        tokens.append([token if odds > 0 and u < odds else last])
    return torch.tensor(tokens)


BUGS = {
    "keep_top_k": {
        threshold_keeps_equals: "stay as well.*choose by rank",
        threshold_of_half_the_rows: "are lost.*choose by rank",
        threshold_drops_the_kth: "k-th best is lost",
        one_too_many: "k \\+ 1 of them",
        one_too_few: "k - 1 stay",
        topk_of_equals: "lower ids come first.*stable=True",
        sort_without_stable: "lower ids come first.*stable=True",
        sorted_up_and_flipped: "lower ids come first",
        sorts_ascending: "k worst stay",
        removes_the_best: "k best are removed",
        zero_for_minus_infinity: "get 0, which is a good score",
        minus_ten: "ruled out, but with -10. Use -inf",
        times_a_mask: "get NaN",
        sorted_scores_come_back: "come back sorted",
        only_k_scores: "ids lose their meaning",
        order_read_as_rank: "read as the rank",
        first_ids: "first k ids stay",
        first_row_only: "only the first row",
        first_rows_tokens: "best in the first row",
        highest_threshold: "highest of the thresholds",
        over_the_flat_batch: "k \\* B best of the whole batch",
        down_the_batch: "down the batch",
        by_size: "without its sign",
        gives_probabilities: "probabilities come back",
        gives_log_probabilities: "log-probabilities come back",
        gives_a_mask: "a mask came back",
        k_above_v: "must keep all. Take min\\(k, V\\)",
        k_above_v_means_one: "must keep all as they are",
        zero_is_everything: "k = 0 raises no ValueError",
        zero_is_nothing: "k = 0 raises no ValueError",
        asserts: "AssertionError, not ValueError",
        negative_counts_from_the_end: "k = -1 raises no ValueError",
        changes_the_input: "changed in place",
        changes_and_returns_another: "changed in place",
        too_few_arguments: "it is called as keep_top_k",
        sorts_with_no_name: "it raised TypeError: sort",
        float32_comes_out: "float64 goes in",
        rounded: "last digits",
        always_three: "k = 1 does not",
        minus_infinity_revived: "two tokens are left",
    },
    "keep_top_p": {
        crossing_token_dropped: "crosses p is dropped, but for the best",
        crossing_dropped_and_nothing_left: "crosses p is dropped, so that less",
        one_too_many_stays: "one token too many",
        above_instead_of_at: "has reached it: rule out where the sum before is >= p",
        at_with_no_hair: "but for its last digit",
        float32_with_no_hair: "but for its last digit",
        hair_of_a_hundredth: "tolerance is too wide",
        nothing_for_a_tiny_p: "p = 1e-9 nothing stays",
        not_sorted: "in the order of ids. Sort",
        sorted_ascending: "from the worst token up, and stops at p",
        from_below_with_p: "1 - p is kept.*from the worst up",
        one_minus_p: "1 - p is kept",
        softmax_forgotten: "softmax is missing",
        exp_not_normalised: "without dividing by the row's total",
        exp_by_hand: "added to all scores changes what stays",
        softmax_twice: "applied twice",
        log_softmax_summed: "nothing is ruled out. Is the sum one of probabilities",
        scatter_forgotten: "Put it back: scatter",
        gather_for_scatter: "put back with gather",
        sorted_scores: "come back sorted",
        each_above_p: "tokens of probability p or more",
        min_p: "that is min-p",
        share_of_the_vocabulary: "share p of the vocabulary",
        nucleus_removed: "nucleus is removed",
        first_rows_number: "as many tokens as the first",
        most_of_the_batch: "as the one that needs most",
        first_rows_nucleus: "keeps the tokens of the first row",
        over_the_whole_batch: "whole batch sum to one",
        softmax_down_the_batch: "softmax runs down the batch",
        summed_down_the_batch: "sum runs down the batch",
        threshold_of_the_last_kept: "stay as well.*choose by rank",
        equals_in_any_order: "lower ids come first",
        unstable_sort: "lower ids come first.*stable=True",
        one_drops_what_rounds_to_zero: "p = 1 must keep everything",
        one_drops_zeros: "p = 1 must keep everything",
        zero_instead: "get 0, which is a good score",
        minus_a_billion: "ruled out, but with -1e\\+09",
        probabilities_come_back: "probabilities come back. Return the scores: softmax",
        zeroed_probabilities: "probabilities come back, with 0",
        log_probabilities_come_back: "log-probabilities come back",
        widened: "float32 goes in",
        input_filled: "changed in place",
        zero_accepted: "p = 0.0 raises no ValueError",
        above_one_accepted: "p = 1.5 raises no ValueError",
        asserts_p: "AssertionError, not ValueError",
        always_nine_tenths: "p = 0.66 goes well, p = 0.05 does not",
        shifted_for_safety: "-inf already|NaN",
    },
    "next_probabilities": {
        temperature_multiplied: "multiplied by the temperature",
        temperature_ignored: "temperature is not used",
        temperature_under_a_root: "root of the temperature",
        temperature_last: "temperature comes last",
        temperature_twice: "divided by the temperature twice",
        temperature_on_probabilities: "probabilities are divided by the temperature",
        temperature_forgotten_with_filters: "with filters the temperature is not used",
        zero_divides: "NaN comes back.*temperature 0|temperature 0.*NaN comes back",
        zero_divides_a_number: "temperature 0 cannot be divided by",
        zero_is_one: "1.0 for the best",
        zero_is_nearly_zero: "equal best tokens share|lowest id takes it all",
        zero_shares_among_equals: "equal best tokens share the mass",
        zero_takes_the_last_of_equals: "another token than the lowest id",
        zero_gives_the_token: "a token came back",
        temperature_clamped: "lower limit",
        exp_without_care: "exp overflows",
        top_p_first: "top-p comes before top-k",
        filters_side_by_side: "top-p comes before top-k, or reads",
        filters_joined_by_or: "joined by 'or'",
        only_one_filter: "top-p is not used",
        top_k_forgotten: "top-k is not used",
        cut_out_and_not_renormalised: "what is left is not renormalised",
        top_p_not_renormalised: "what top-p leaves is not renormalised",
        renormalised_by_softmax: "softmax is applied to probabilities",
        zeros_into_softmax: "get 0 as score",
        logs_come_back: "log-probabilities come back",
        scores_come_back: "softmax is missing",
        softmax_down_the_rows: "down the batch",
        none_is_compared: "None switches a filter off: ask",
        none_is_fifty: "some of 300 tokens",
        none_is_nine_tenths: "None switches a filter off",
        none_switches_both_off: "None switches a filter off",
        scaled_in_place: "changed in place",
        first_row_for_all: "tokens of the first row",
        whole_batch: "over the whole batch|sums to 0.333",
        crossing_dropped_in_the_chain: "crosses p is dropped",
        one_more_in_the_chain: "one token too many stays after top-k",
        greedy_when_cold: "all mass lies on the best token",
    },
    "draw": {
        global_multinomial: "the same seed gives other tokens",
        global_uniform: "the same seed gives other tokens",
        greedy: "likeliest token always wins",
        uniform_over_all: "every token comes equally often",
        uniform_over_the_possible: "every possible token",
        softmax_of_probabilities: "softmax is applied to probabilities",
        rank_for_id: "sorted downwards",
        no_running_sum: "their running sum",
        one_too_high: "one token too high",
        one_beyond: "token 5 came back|off by one",
        last_never: "last token never comes",
        first_row_for_every_row: "first row's distribution",
        one_u_for_all_rows: "one u is drawn for all",
        one_token_for_all_rows: "one token for all",
        antithetic_rows: "1 - u",
        seeded_inside: "seeded again inside",
        new_generator_of_the_seed: "seeded again inside",
        seeds_the_global_one: "global random state",
        zero_when_u_is_zero: "torch.rand gave exactly 0",
        beyond_the_end: "no token was found.*Multiply u",
        clamped_to_the_last: "probability zero came.*Multiply u",
        argmax_of_nothing: "probability zero came.*Multiply u",
        smoothed: "probability (zero|one)",
        noise_added: "drawn with shares",
        times_noise: "drawn with shares",
        squeezed: "an axis is missing",
        as_many_as_rows: "draw one a row",
        float_ids: "An id is an int64",
        probability_of_the_token: "the token's id",
        divides_in_place: "changed in place",
        generator_in_the_wrong_place: "generator is a keyword",
        squared: "squared",
        from_the_end: "back to front",
    },
}

RIGHT = {
    "keep_top_k": (
        right_by_scatter,
        right_by_rank,
        right_by_counting,
        right_row_by_row,
        right_on_a_copy,
    ),
    "keep_top_p": (
        right_nucleus,
        right_with_a_shift,
        right_from_below,
        right_token_by_token,
        right_rounded_sums,
    ),
    "next_probabilities": (
        right_chain,
        right_with_the_best_at_zero,
        right_on_probabilities,
        right_row_by_row_chain,
    ),
    "draw": (
        right_by_multinomial,
        right_by_counting_below,
        right_by_search,
        right_by_exponentials,
        right_row_by_row_draw,
    ),
}
