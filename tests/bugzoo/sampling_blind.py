"""Wrong and right answers to chapter 11, by someone who has not read its checks."""

import random

import torch
import torch.nn.functional as F

# ------------------------------------------------------------------- keep_top_k
# right


def k_by_stable_sort(logits, k):
    if k < 1:
        raise ValueError("k must be at least 1")
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices
    kept = order[:, :k]
    out = torch.full_like(logits, float("-inf"))
    return out.scatter(1, kept, logits.gather(1, kept))


def k_by_rank(logits, k):
    if k <= 0:
        raise ValueError(f"k is {k}")
    order = logits.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    return torch.where(rank < k, logits, -torch.inf)


def k_in_lists(logits, k):
    if k < 1:
        raise ValueError("nothing would stay")
    out = logits.clone()
    for scores in out:
        ids = sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i))
        scores[ids[k:]] = -torch.inf
    return out


# wrong


def all_equals_stay(logits, k):
    # the line everyone has seen; more than k stay when scores are equal
    if k < 1:
        raise ValueError("k must be positive")
    v, _ = torch.topk(logits, min(k, logits.size(-1)))
    out = logits.clone()
    out[out < v[:, [-1]]] = -float("inf")
    return out


def last_of_equals_stay(logits, k):
    # sorted upwards and taken from the end: higher ids win
    if k < 1:
        raise ValueError("k")
    order = torch.argsort(logits, dim=-1, stable=True)
    kept = order[:, -k:]
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter(1, kept, True)
    return logits.masked_fill(~mask, float("-inf"))


def order_of_equals_left_open(logits, k):
    # topk promises nothing about equal scores
    if k < 1:
        raise ValueError("k must be >= 1")
    best = logits.topk(min(k, logits.shape[1]), dim=1)
    return torch.full_like(logits, -torch.inf).scatter_(1, best.indices, best.values)


def more_than_all(logits, k):
    # k > V: an index out of range
    if k < 1:
        raise ValueError("k < 1")
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
    kept = torch.stack([ids[:, i] for i in range(k)], dim=1)
    result = torch.zeros_like(logits) - float("inf")
    result.scatter_(-1, kept, ordered[:, :k])
    return result


def zero_lets_all_through(logits, k):
    # "0 switches the filter off", as some libraries have it
    if k < 1:
        return logits.clone()
    rank = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return logits.masked_fill(rank >= k, float("-inf"))


def zeros_for_the_rest(logits, k):
    # a score of 0 is no score of -inf
    if k < 1:
        raise ValueError("k must be at least one")
    ids = logits.argsort(dim=-1, descending=True, stable=True)[:, :k]
    keep = torch.zeros_like(logits)
    keep.scatter_(1, ids, 1.0)
    return torch.where(keep == 1, logits, torch.zeros_like(logits))


def one_too_many(logits, k):
    if k < 1:
        raise ValueError("k")
    out = []
    for row in logits:
        ids = row.argsort(descending=True, stable=True)
        new = torch.full_like(row, -torch.inf)
        new[ids[: k + 1]] = row[ids[: k + 1]]
        out.append(new)
    return torch.stack(out)


def order_taken_for_rank(logits, k):
    # one argsort gives the id at a place, not the place of an id
    if k < 1:
        raise ValueError("k must be at least 1")
    rank = torch.argsort(logits, dim=-1, descending=True, stable=True)
    return torch.where(rank < k, logits, float("-inf"))


def smallest_stay(logits, k):
    # descending=True is missing
    if not k >= 1:
        raise ValueError(f"top-k with k = {k}")
    indices = torch.sort(logits, dim=1, stable=True)[1]
    drop = indices[:, k:]
    return logits.scatter(1, drop, -torch.inf)


def over_the_whole_batch(logits, k):
    # right for a batch of one
    if k < 1:
        raise ValueError("k must be at least 1")
    flat = logits.flatten()
    order = flat.argsort(descending=True, stable=True)
    flat = flat.index_fill(0, order[k:], float("-inf"))
    return flat.view_as(logits)


def written_into_the_input(logits, k):
    if k < 1:
        raise ValueError("k >= 1, please")
    order = logits.argsort(dim=-1, descending=True, stable=True)
    for b in range(logits.shape[0]):
        logits[b, order[b, k:]] = float("-inf")
    return logits


def already_probabilities(logits, k):
    # the softmax belongs to the caller
    if k < 1:
        raise ValueError("k")
    order = logits.argsort(dim=-1, descending=True, stable=True)
    mask = torch.ones_like(logits).scatter(-1, order[..., :k], 0.0).bool()
    return F.softmax(logits.masked_fill(mask, -torch.inf), dim=-1)


# ------------------------------------------------------------------- keep_top_p
# right


def p_by_mass_before(logits, p):
    if not 0 < p <= 1:
        raise ValueError("p must be in (0, 1]")
    if p == 1:
        return logits.clone()
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sorted_probs = logits.softmax(-1).gather(-1, order)
    before = sorted_probs.cumsum(-1) - sorted_probs
    drop = before >= p - 1e-6
    drop[:, 0] = False
    return logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)


def p_by_count(logits, p):
    if p <= 0 or p > 1:
        raise ValueError(f"p is {p}")
    ordered, ids = torch.sort(logits, dim=1, descending=True, stable=True)
    sums = torch.cumsum(ordered.double().softmax(dim=1), dim=1)
    number = (sums < p - 1e-5).sum(dim=1, keepdim=True) + 1
    if p == 1.0:
        number = torch.full_like(number, logits.shape[1])
    place = torch.arange(logits.shape[1]).expand_as(ids)
    keep = torch.empty_like(ids, dtype=torch.bool).scatter_(1, ids, place < number)
    return torch.where(keep, logits, float("-inf"))


def p_in_lists(logits, p):
    if not (p > 0 and p <= 1):
        raise ValueError("p")
    out = torch.full_like(logits, -torch.inf)
    for b, row in enumerate(logits):
        probs = torch.softmax(row.double(), 0).tolist()
        total = 0.0
        for i in sorted(range(len(probs)), key=lambda i: (-row[i].item(), i)):
            out[b, i] = row[i]
            total += probs[i]
            if p < 1 and total > p - 1e-6:
                break
    return out


# wrong


def crossing_token_dropped(logits, p):
    if not 0 < p <= 1:
        raise ValueError("p must lie in (0, 1]")
    if p == 1:
        return logits.clone()
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sums = logits.softmax(-1).gather(-1, order).cumsum(-1)
    drop = sums > p + 1e-6
    drop[:, 0] = False
    return logits.masked_fill(
        torch.zeros_like(drop).scatter(1, order, drop), -torch.inf
    )


def one_beyond_the_crossing(logits, p):
    # shifted twice
    if p <= 0 or p > 1:
        raise ValueError(p)
    if p == 1:
        return logits.clone()
    scores, ids = torch.sort(logits, descending=True, stable=True)
    sums = scores.softmax(dim=-1).cumsum(dim=-1)
    n_keep = (sums < p - 1e-6).sum(dim=-1) + 2
    out = torch.full_like(logits, float("-inf"))
    for b in range(len(logits)):
        kept = ids[b, : n_keep[b]]
        out[b, kept] = logits[b, kept]
    return out


def sums_taken_as_they_are(logits, p):
    # no tolerance: rounding keeps one too many
    if not 0.0 < p <= 1.0:
        raise ValueError("p")
    if p == 1.0:
        return logits.clone()
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probs = torch.softmax(logits, dim=-1).gather(1, order)
    before = probs.cumsum(dim=1).roll(1, dims=1)
    before[:, 0] = 0
    keep = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, before < p)
    return torch.where(keep, logits, -torch.inf)


def tolerance_eats_a_token(logits, p):
    # 0.01 is a real probability
    if not 0 < p <= 1:
        raise ValueError("p is out of range")
    if p == 1:
        return logits.clone()
    order = torch.argsort(logits, dim=1, descending=True, stable=True)
    sums = torch.gather(logits.softmax(1), 1, order).cumsum(1)
    count = (sums < p - 1e-2).sum(1, keepdim=True) + 1
    rank = order.argsort(1)
    return torch.where(rank < count, logits, -torch.inf)


def nothing_stays_for_tiny_p(logits, p):
    # the tolerance is larger than p
    if not 0 < p <= 1:
        raise ValueError("p is out of range")
    if p == 1:
        return logits.clone()
    order = torch.argsort(logits, dim=1, descending=True, stable=True)
    probs = torch.gather(torch.softmax(logits, 1), 1, order)
    keep = (probs.cumsum(1) - probs) < p - 1e-6
    rank = order.argsort(1)
    return logits.masked_fill(~keep.gather(1, rank), -torch.inf)


def mask_in_sorted_order(logits, p):
    # right for scores that are sorted already
    if p <= 0 or p > 1:
        raise ValueError("p")
    if p == 1:
        return logits.clone()
    ranked = logits.sort(dim=-1, descending=True, stable=True).values
    probs = F.softmax(ranked, dim=-1)
    remove = probs.cumsum(-1) - probs > p - 1e-6
    remove[:, 0] = False
    return logits.masked_fill(remove, float("-inf"))


def scattered_the_wrong_way(logits, p):
    # gather where scatter is needed: right for orders that are their own inverse
    if not 0 < p <= 1:
        raise ValueError("p must be in (0, 1]")
    if p == 1:
        return logits.clone()
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probs = ranked.softmax(-1)
    remove = probs.cumsum(-1) - probs >= p - 1e-6
    remove[..., 0] = False
    return torch.where(remove.gather(-1, order), -torch.inf, logits)


def not_sorted(logits, p):
    if not (0 < p <= 1):
        raise ValueError("0 < p <= 1")
    if p == 1:
        return logits.clone()
    probs = torch.softmax(logits, dim=-1)
    before = torch.cumsum(probs, dim=-1) - probs
    out = logits.clone()
    out[before >= p - 1e-6] = -torch.inf
    out[:, 0] = logits[:, 0]
    return out


def removed_from_below(logits, p):
    # sorted upwards, as a well known library does it: of equals the higher ids stay
    if p <= 0 or p > 1:
        raise ValueError("`p` has to be in (0, 1]")
    if p == 1:
        return logits.clone()
    sorted_logits, sorted_indices = torch.sort(logits, descending=False, stable=True)
    cumulative_probs = sorted_logits.softmax(dim=-1).cumsum(dim=-1)
    sorted_to_remove = cumulative_probs <= (1 - p) + 1e-6
    sorted_to_remove[..., -1:] = False
    to_remove = sorted_to_remove.scatter(1, sorted_indices, sorted_to_remove)
    return logits.masked_fill(to_remove, -float("inf"))


def cut_at_the_last_score(logits, p):
    # equals of the last kept token stay, too
    if not 0 < p <= 1:
        raise ValueError("p")
    if p == 1:
        return logits.clone()
    ranked = logits.sort(dim=-1, descending=True).values
    sums = ranked.softmax(-1).cumsum(-1)
    last = (sums < p - 1e-6).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    least = ranked.gather(-1, last)
    return torch.where(logits >= least, logits, -torch.inf)


def one_is_no_special_case(logits, p):
    # p = 1 drops what the sum no longer feels
    if not 0 < p <= 1:
        raise ValueError("p must be in (0, 1]")
    ranked, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    probs = torch.softmax(ranked, dim=-1)
    drop = torch.cumsum(probs, dim=-1) - probs >= p - 1e-6
    drop[:, 0] = False
    return logits.masked_fill(drop.gather(1, order.argsort(1)), float("-inf"))


def one_is_refused(logits, p):
    if not 0 < p < 1:
        raise ValueError("p must be between 0 and 1")
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probs = logits.softmax(-1).gather(-1, order)
    keep = probs.cumsum(-1) - probs < p - 1e-6
    keep[:, 0] = True
    out = torch.full_like(logits, -torch.inf)
    for row, ids, kept, scores in zip(out, order, keep, logits, strict=True):
        row[ids[kept]] = scores[ids[kept]]
    return out


# ----------------------------------------------------------- next_probabilities
# right


def next_by_functions(logits, temperature, top_k, top_p):
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    scores = logits.double() / temperature
    if top_k is not None:
        scores = k_by_rank(scores, top_k)
    if top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    return scores.softmax(-1)


def next_by_zeroing(logits, temperature, top_k, top_p):
    # works on sorted probabilities from the start
    ranked, ids = logits.sort(dim=1, descending=True, stable=True)
    ranked = ranked - ranked[:, :1]
    if temperature == 0:
        probs = torch.zeros_like(ranked)
        probs[:, 0] = 1
    else:
        probs = torch.softmax(ranked / temperature, dim=1)
    if top_k is not None:
        probs[:, top_k:] = 0
        probs = probs / probs.sum(dim=1, keepdim=True)
    if top_p is not None and top_p < 1:
        before = probs.cumsum(dim=1) - probs
        before[:, 0] = -1
        probs[before >= top_p - 1e-6] = 0
        probs = probs / probs.sum(dim=1, keepdim=True)
    return torch.zeros_like(probs).scatter(1, ids, probs)


def next_in_rows(logits, temperature, top_k, top_p):
    rows = []
    for row in logits.double().unbind():
        ids = sorted(range(len(row)), key=lambda i: -row[i].item())
        ids = ids[: 1 if temperature == 0 else top_k]
        weights = ((row[ids] - row[ids[0]]) / (temperature or 1)).exp()
        weights = weights / weights.sum()
        out = torch.zeros_like(row)
        total = 0.0
        for i, weight in zip(ids, weights, strict=True):
            out[i] = weight
            total += weight.item()
            if top_p is not None and top_p < 1 and total > top_p - 1e-6:
                break
        rows.append(out / out.sum())
    return torch.stack(rows)


# wrong


def temperature_last(logits, temperature, top_k, top_p):
    # right without top-p
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    if top_k is not None:
        logits = k_by_stable_sort(logits, top_k)
    if top_p is not None:
        logits = p_by_count(logits, top_p)
    return torch.softmax(logits / temperature, dim=-1)


def temperature_multiplied(logits, temperature, top_k, top_p):
    # right at 1
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits).scatter_(-1, best, 1.0)
    logits = logits * temperature
    if top_k is not None:
        logits = k_by_rank(logits, top_k)
    if top_p is not None:
        logits = p_by_mass_before(logits, top_p)
    return logits.softmax(dim=-1)


def divided_by_zero(logits, temperature, top_k, top_p):
    scaled = logits / temperature
    if top_k is not None:
        scaled = k_by_rank(scaled, top_k)
    if top_p is not None:
        scaled = p_by_count(scaled, top_p)
    return F.softmax(scaled, dim=-1)


def zero_made_small(logits, temperature, top_k, top_p):
    # equals share the mass; small differences survive
    temperature = max(temperature, 1e-5)
    scores = logits.double() / temperature
    if top_k is not None:
        scores = k_by_stable_sort(scores, top_k)
    if top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    return scores.softmax(1)


def temperature_with_a_floor(logits, temperature, top_k, top_p):
    # 0 is seen to, but below 0.01 nothing gets colder
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).float()
    scores = logits.double().div(max(temperature, 1e-2))
    if top_k is not None:
        scores = k_by_rank(scores, top_k)
    if top_p is not None:
        scores = p_by_count(scores, top_p)
    return scores.softmax(dim=1)


def greedy_among_equals(logits, temperature, top_k, top_p):
    # all tokens of the best score share the mass
    if temperature == 0:
        best = (logits == logits.max(dim=-1, keepdim=True).values).double()
        return best / best.sum(dim=-1, keepdim=True)
    scores = logits.double() / temperature
    scores = scores if top_k is None else k_by_rank(scores, top_k)
    scores = scores if top_p is None else p_by_count(scores, top_p)
    return torch.softmax(scores, -1)


def top_p_first(logits, temperature, top_k, top_p):
    # right with one filter at a time
    if temperature == 0:
        top_k, temperature = 1, 1.0
    x = logits / temperature
    if top_p is not None:
        x = p_by_mass_before(x, top_p)
    if top_k is not None:
        x = k_by_rank(x, top_k)
    return F.softmax(x, dim=-1)


def top_p_of_all(logits, temperature, top_k, top_p):
    # both filters look at the whole distribution
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    scores = logits.double() / temperature
    mask = torch.zeros_like(scores)
    if top_k is not None:
        mask = mask + k_by_rank(scores, top_k).isinf()
    if top_p is not None:
        mask = mask + p_by_count(scores, top_p).isinf()
    return scores.masked_fill(mask > 0, -torch.inf).softmax(-1)


def either_filter(logits, temperature, top_k, top_p):
    # elif for if
    if temperature == 0:
        return torch.eye(logits.shape[1])[logits.argmax(1)]
    scores = logits / temperature
    if top_k is not None:
        scores = k_by_stable_sort(scores, top_k)
    elif top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    return scores.softmax(1)


def exp_without_the_maximum(logits, temperature, top_k, top_p):
    # inf / inf for large scores or small temperatures
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits)
    scores = logits / temperature
    if top_k is not None:
        scores = k_by_rank(scores, top_k)
    if top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    weights = scores.exp()
    return weights / weights.sum(dim=-1, keepdim=True)


def not_renormalised(logits, temperature, top_k, top_p):
    # what the filters took away is missing in the sum
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()
    scores = logits.double() / temperature
    probs = scores.softmax(dim=-1)
    if top_k is not None:
        scores = k_by_rank(scores, top_k)
    if top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    return probs.masked_fill(scores == -torch.inf, 0.0)


def softmax_down_the_batch(logits, temperature, top_k, top_p):
    if temperature == 0:
        hot = torch.zeros_like(logits)
        hot[torch.arange(len(logits)), logits.argmax(dim=-1)] = 1
        return hot
    scores = logits / temperature
    if top_k is not None:
        scores = k_by_stable_sort(scores, top_k)
    if top_p is not None:
        scores = p_by_count(scores, top_p)
    return torch.exp(scores - torch.logsumexp(scores, dim=0))


def greedy_token_itself(logits, temperature, top_k, top_p):
    # at temperature 0 the id comes back, not a distribution
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    scores = logits / temperature
    if top_k is not None:
        scores = k_by_stable_sort(scores, top_k)
    if top_p is not None:
        scores = p_by_mass_before(scores, top_p)
    return scores.softmax(dim=-1)


# ------------------------------------------------------------------------- draw
# right


def draw_by_library(probabilities, generator):
    return torch.multinomial(probabilities, num_samples=1, generator=generator)


def draw_by_search(probabilities, generator):
    sums = probabilities.double().cumsum(dim=-1)
    u = torch.rand(len(sums), 1, generator=generator, dtype=sums.dtype)
    return torch.searchsorted(sums, u * sums[:, -1:], right=True)


def draw_in_a_loop(probabilities, generator):
    tokens = []
    for row in probabilities.tolist():
        alive = [i for i, mass in enumerate(row) if mass > 0]
        left = torch.rand((), generator=generator).item() * sum(row)
        token = alive[-1]
        for i in alive:
            left -= row[i]
            if left < 0:
                token = i
                break
        tokens.append([token])
    return torch.tensor(tokens)


# wrong


def always_the_best(probabilities, generator):
    return probabilities.argmax(dim=-1, keepdim=True)


def global_state_of_the_library(probabilities, generator):
    return torch.multinomial(probabilities, 1)


def global_state_by_hand(probabilities, generator):
    # the generator is asked for, and not passed on
    sums = torch.cumsum(probabilities, dim=-1)
    u = torch.rand(probabilities.shape[0], 1) * sums[:, -1:]
    return (sums <= u).sum(dim=-1, keepdim=True)


def dice_of_python(probabilities, generator):
    # another global state: that of the module random
    ids = range(probabilities.shape[1])
    tokens = [random.choices(ids, row)[0] for row in probabilities.tolist()]
    return torch.tensor(tokens, dtype=torch.int64).unsqueeze(1)


def seeded_anew(probabilities, generator):
    # the same token at every call
    fresh = torch.Generator().manual_seed(generator.initial_seed())
    return torch.multinomial(probabilities, 1, generator=fresh)


def one_u_for_all(probabilities, generator):
    # right for a batch of one
    sums = probabilities.cumsum(-1)
    u = torch.rand(1, generator=generator)
    return (sums / sums[:, -1:] <= u).sum(-1, keepdim=True)


def zero_may_be_drawn(probabilities, generator):
    # right=False: u = 0 finds a first token of probability 0
    sums = probabilities.cumsum(dim=1)
    u = torch.rand(probabilities.shape[0], 1, generator=generator)
    return torch.searchsorted(sums, u * sums[:, -1:])


def last_sum_below_u(probabilities, generator):
    # float sums may end below u; then clamped to a token of probability 0
    sums = probabilities.cumsum(dim=1)
    u = torch.rand(len(probabilities), 1, generator=generator)
    tokens = torch.searchsorted(sums, u, right=True)
    return tokens.clamp(max=probabilities.shape[1] - 1)


def id_out_of_range(probabilities, generator):
    # the same without a clamp: the id V comes back
    u = torch.rand((probabilities.size(0), 1), generator=generator)
    return (probabilities.cumsum(dim=-1) <= u).long().sum(dim=-1, keepdim=True)


def axis_lost(probabilities, generator):
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


def softmax_once_more(probabilities, generator):
    probs = F.softmax(probabilities, dim=-1)
    return torch.multinomial(probs, 1, generator=generator)


def rank_for_id(probabilities, generator):
    # drawn among the sorted ones, and not looked up
    ranked = probabilities.sort(dim=-1, descending=True, stable=True)
    sums = ranked.values.cumsum(dim=-1)
    u = torch.rand(len(sums), 1, generator=generator) * sums[:, -1:]
    return torch.searchsorted(sums, u, right=True)


def normalised_in_place(probabilities, generator):
    # shows when a row does not sum to one to the last digit
    probabilities /= probabilities.sum(dim=-1, keepdim=True)
    return torch.multinomial(probabilities, 1, generator=generator)


BUGS = {
    "keep_top_k": {
        all_equals_stay: "threshold keeps equals",
        last_of_equals_stay: "lower ids come first",
        order_of_equals_left_open: "Neither topk nor sort promise",
        more_than_all: "k may be larger than V",
        zero_lets_all_through: "k = 0 raises no ValueError",
        zeros_for_the_rest: "ruled out get 0",
        one_too_many: "one token too many",
        order_taken_for_rank: "read as the rank",
        smallest_stay: "sort is ascending",
        over_the_whole_batch: "of the whole batch",
        written_into_the_input: "changed in place",
        already_probabilities: "probabilities come back",
    },
    "keep_top_p": {
        crossing_token_dropped: "crosses p is dropped",
        one_beyond_the_crossing: "one token too many",
        sums_taken_as_they_are: "but for its last digit",
        tolerance_eats_a_token: "tolerance is too wide",
        nothing_stays_for_tiny_p: "p = 1e-9 nothing stays",
        mask_in_sorted_order: "belongs to the sorted scores",
        scattered_the_wrong_way: "put back with gather",
        not_sorted: "summed in the order of ids",
        removed_from_below: "lower ids come first",
        cut_at_the_last_score: "threshold keeps equals",
        one_is_no_special_case: "p = 1 must keep everything",
        one_is_refused: "p = 1.0 is allowed",
    },
    "next_probabilities": {
        temperature_last: "temperature comes last",
        temperature_multiplied: "multiplied by the temperature",
        divided_by_zero: "divided by 0",
        zero_made_small: "equal best tokens share",
        temperature_with_a_floor: "is there a lower limit",
        greedy_among_equals: "equal best tokens share",
        top_p_first: "top-p comes before top-k",
        top_p_of_all: "from before it",
        either_filter: "top-p is not used.*elif",
        exp_without_the_maximum: "exp overflows",
        not_renormalised: "not renormalised",
        softmax_down_the_batch: "runs down the batch",
        greedy_token_itself: "a token came back",
    },
    "draw": {
        always_the_best: "likeliest token always wins",
        global_state_of_the_library: "generator you are given",
        global_state_by_hand: "generator you are given",
        dice_of_python: "generator you are given",
        seeded_anew: "seeded again inside",
        one_u_for_all: "one u is drawn for all",
        zero_may_be_drawn: "gave exactly 0",
        last_sum_below_u: "running sum .* ends at 0.9999998",
        id_out_of_range: "no token was found",
        axis_lost: "an axis is missing",
        softmax_once_more: "softmax is applied to probabilities",
        rank_for_id: "a rank, not a token",
        normalised_in_place: "changed in place",
    },
}

RIGHT = {
    "keep_top_k": (k_by_stable_sort, k_by_rank, k_in_lists),
    "keep_top_p": (p_by_mass_before, p_by_count, p_in_lists),
    "next_probabilities": (next_by_functions, next_by_zeroing, next_in_rows),
    "draw": (draw_by_library, draw_by_search, draw_in_a_loop),
}
