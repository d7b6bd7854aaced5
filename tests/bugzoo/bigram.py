"""Chapter 1: counts, losses and draws that went wrong."""

import random

import numpy as np
import torch
import torch.nn.functional as F

# ------------------------------------------------------------------ count_bigrams


def transposed(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[1:], tokens[:-1]), 1)
    return counts


def targets_not_shifted(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens, tokens), 1)
    return counts


def targets_not_shifted_but_cut(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[:-1]), 1)
    return counts


def rolled_in_a_circle(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens, np.roll(tokens, -1)), 1)
    return counts


def looks_back_from_zero(tokens, vocab_size):
    """Python's tokens[-1] at i = 0 wraps too."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(len(tokens)):
        counts[tokens[i - 1], tokens[i]] += 1
    return counts


def forgets_the_last_pair(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(len(tokens) - 2):
        counts[tokens[i], tokens[i + 1]] += 1
    return counts


def forgets_the_first_pair(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(1, len(tokens) - 1):
        counts[tokens[i], tokens[i + 1]] += 1
    return counts


def runs_off_the_end(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(len(tokens)):
        counts[tokens[i], tokens[i + 1]] += 1
    return counts


def shifted_twice(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-2], tokens[2:]), 1)
    return counts


def pairs_do_not_overlap(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(0, len(tokens) - 1, 2):
        counts[tokens[i], tokens[i + 1]] += 1
    return counts


def fancy_index_adds_once(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    counts[tokens[:-1], tokens[1:]] += 1
    return counts


def both_directions(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    np.add.at(counts, (tokens[1:], tokens[:-1]), 1)
    return counts


def smoothed_already(tokens, vocab_size):
    counts = np.ones((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def divided_already(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def divided_by_zero(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def sized_by_the_text(tokens, vocab_size):
    size = int(tokens.max()) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def flat(tokens, vocab_size):
    wide = tokens.astype(np.int64)
    pair = wide[:-1] * vocab_size + wide[1:]
    return np.bincount(pair, minlength=vocab_size**2)


def index_wraps_in_uint16(tokens, vocab_size):
    pair = tokens[:-1] * vocab_size + tokens[1:]
    counts = np.bincount(pair, minlength=vocab_size**2)
    return counts.reshape(vocab_size, vocab_size)


def ids_wrap_in_uint8(tokens, vocab_size):
    tokens = tokens.astype(np.uint8)
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def counts_wrap_in_uint16(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.uint16)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def counts_stick_in_float16(tokens, vocab_size):
    """2048 + 1 is 2048 in float16."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.float16)
    np.add.at(counts, (tokens[:-1], tokens[1:]), np.float16(1))
    return counts


def uint16_in_torch(tokens, vocab_size):
    ids = torch.from_numpy(tokens)
    counts = torch.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size**2)
    return counts.view(vocab_size, vocab_size)


_TABLES: dict[int, np.ndarray] = {}


def goes_on_from_the_last_call(tokens, vocab_size):
    counts = _TABLES.setdefault(vocab_size, np.zeros((vocab_size, vocab_size)))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def sorts_the_tokens(tokens, vocab_size):
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    tokens = np.sort(tokens)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def sorts_in_place_afterwards(tokens, vocab_size):
    counts = right_with_bincount(tokens, vocab_size)
    tokens.sort()
    return counts


def a_dictionary(tokens, vocab_size):
    counts: dict[tuple[int, int], int] = {}
    for pair in zip(tokens.tolist(), tokens[1:].tolist(), strict=False):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def right_with_bincount(tokens, vocab_size):
    wide = torch.from_numpy(tokens.astype(np.int64))
    pair = wide[:-1] * vocab_size + wide[1:]
    return torch.bincount(pair, minlength=vocab_size**2).view(vocab_size, vocab_size)


def right_in_plain_python(ids, size):
    table = [[0] * size for _ in range(size)]
    previous = None
    for token in ids.tolist():
        if previous is not None:
            table[previous][token] += 1
        previous = token
    return table


def right_with_one_hot(tokens, vocab_size):
    hot = np.eye(vocab_size)[tokens]
    return hot[:-1].T @ hot[1:]


# ------------------------------------------------------------------ next_token_loss


def _pick(logs, targets):
    return logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def in_bits(logits, targets):
    return -_pick(logits.log_softmax(-1), targets).mean() / torch.tensor(2.0).log()


def in_log10(logits, targets):
    top = logits.max(-1, keepdim=True).values
    odds = (logits - top).exp()
    chosen = _pick(logits - top, targets).exp() / odds.sum(-1)
    return -chosen.log10().mean()


def no_minus(logits, targets):
    return _pick(logits.log_softmax(-1), targets).mean()


def summed(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def summed_over_time(logits, targets):
    return -_pick(logits.log_softmax(-1), targets).sum(1).mean()


def one_per_token(logits, targets):
    return -_pick(logits.log_softmax(-1), targets)


def mean_over_the_vocabulary(logits, targets):
    hot = F.one_hot(targets, logits.shape[-1])
    return -(hot * logits.log_softmax(-1)).mean()


def softmax_over_time(logits, targets):
    return -_pick(logits.log_softmax(1), targets).mean()


def softmax_over_the_batch(logits, targets):
    return -_pick(F.log_softmax(logits, 0), targets).mean()


def softmax_over_everything(logits, targets):
    logs = logits - logits.flatten().logsumexp(0)
    return -_pick(logs, targets).mean()


def softmax_twice(logits, targets):
    probabilities = logits.softmax(dim=-1)
    return F.cross_entropy(probabilities.flatten(0, 1), targets.flatten())


def no_softmax(logits, targets):
    return F.nll_loss(logits.flatten(0, 1), targets.flatten())


def no_logarithm(logits, targets):
    return F.nll_loss(logits.softmax(-1).flatten(0, 1), targets.flatten())


def mean_before_log(logits, targets):
    return -_pick(logits.softmax(-1), targets).mean().log()


def perplexity(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()).exp()


def shifted_again(logits, targets):
    """The model that shifts for you, fed by a batch that has shifted already."""
    z, y = logits[:, :-1].contiguous(), targets[:, 1:].contiguous()
    if y.numel() == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(z.view(-1, z.shape[-1]), y.view(-1))


def reshaped_not_transposed(logits, targets):
    n_rows, length, vocab_size = logits.shape
    return F.cross_entropy(logits.view(n_rows, vocab_size, length), targets)


def classes_not_second(logits, targets):
    return F.cross_entropy(logits, targets)


def flattened_differently(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.T.flatten())


def best_not_target(logits, targets):
    return -logits.log_softmax(-1).amax(-1).mean()


def binary(logits, targets):
    hot = F.one_hot(targets, logits.shape[-1]).float()
    return F.binary_cross_entropy(logits.softmax(-1), hot)


def overflows(logits, targets):
    odds = logits.exp()
    return -(_pick(odds, targets) / odds.sum(-1)).log().mean()


def largest_of_all_rows(logits, targets):
    odds = (logits - logits.max()).exp()
    return -(_pick(odds, targets) / odds.sum(-1)).log().mean()


def largest_of_all_rows_in_logs(logits, targets):
    """No trouble with a target 200 below the best, only with rows far apart."""
    logits = logits - logits.max()
    logs = logits - logits.exp().sum(-1, keepdim=True).log()
    return -_pick(logs, targets).mean()


def log_of_softmax(logits, targets):
    return -_pick(logits.softmax(-1), targets).log().mean()


def log_of_softmax_and_a_little(logits, targets):
    return -(_pick(logits.softmax(-1), targets) + 1e-9).log().mean()


def without_gradient(logits, targets):
    with torch.no_grad():
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def with_item(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()


def normaliser_detached(logits, targets):
    logs = logits - logits.logsumexp(-1, keepdim=True).detach()
    return -_pick(logs, targets).mean()


def subtracts_in_place(logits, targets):
    with torch.no_grad():
        logits -= logits.amax(-1, keepdim=True)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def right_with_logsumexp(logits, targets):
    return (logits.logsumexp(-1) - _pick(logits, targets)).mean()


def right_in_float64(scores, answers):
    wide = scores.double()
    wide = wide - wide.amax(dim=2, keepdim=True)
    odds = wide.exp()
    chosen = torch.gather(wide, 2, answers[:, :, None])[:, :, 0]
    return (odds.sum(dim=2).log() - chosen).sum() / answers.numel()


def right_with_one_hot_mask(logits, targets):
    hot = F.one_hot(targets, logits.shape[-1])
    return -(hot * F.log_softmax(logits, -1)).sum(-1).mean().float()


def right_with_pytorch(logits, targets):
    return F.cross_entropy(logits.transpose(1, 2), targets)


# ------------------------------------------------------------------ draw_token


def greedy(probabilities, generator):
    return int(probabilities.argmax())


def uniform(probabilities, generator):
    return torch.randint(len(probabilities), (), generator=generator)


def uniform_over_the_possible(probabilities, generator):
    return torch.multinomial((probabilities > 0).float(), 1, generator=generator)


def softmax_of_probabilities(probabilities, generator):
    return torch.multinomial(probabilities.softmax(-1), 1, generator=generator)


def a_rank(probabilities, generator):
    best, _ = probabilities.sort(descending=True)
    return torch.multinomial(best, 1, generator=generator).item()


def a_rank_upwards(probabilities, generator):
    return torch.multinomial(probabilities.sort().values, 1, generator=generator)


def no_running_sum(probabilities, generator):
    u = torch.rand((), generator=generator)
    return int((u < probabilities).int().argmax())


def wrong_way_round(probabilities, generator):
    u = torch.rand((), generator=generator)
    return int((probabilities.cumsum(0) < u).int().argmax())


def one_too_high(probabilities, generator):
    u = torch.rand((), generator=generator)
    return int((probabilities.cumsum(0) < u).sum()) + 1


def one_too_low(probabilities, generator):
    u = torch.rand((), generator=generator)
    return int((probabilities.cumsum(0) < u).sum()) - 1


def zero_when_u_is_zero(probabilities, generator):
    """The one in sixteen million of pytorch#48841."""
    u = torch.rand((), generator=generator)
    return int((probabilities.cumsum(0) < u).sum())


def last_never(probabilities, generator):
    return torch.multinomial(probabilities[:-1] + 1e-12, 1, generator=generator)


def global_randomness(probabilities, generator):
    return torch.multinomial(probabilities, 1).item()


def pythons_randomness(probabilities, generator):
    tokens = range(len(probabilities))
    return random.choices(tokens, weights=probabilities.tolist())[0]


def seeds_again(probabilities, generator):
    generator.manual_seed(1)
    return torch.multinomial(probabilities, 1, generator=generator)


def a_probability(probabilities, generator):
    token = torch.multinomial(probabilities, 1, generator=generator)
    return probabilities[token]


def smoothed_draw(probabilities, generator):
    return torch.multinomial(probabilities + 0.01, 1, generator=generator)


def many(probabilities, generator):
    return torch.multinomial(probabilities, 2, replacement=True, generator=generator)


def running_sum_in_place(probabilities, generator):
    u = torch.rand((), generator=generator)
    return int((probabilities.cumsum_(0) <= u).sum())


def normalises_in_place(probabilities, generator):
    probabilities /= probabilities.max()
    return torch.multinomial(probabilities, 1, generator=generator)


def no_keyword(probabilities, generator):
    return int((probabilities.cumsum(0) < torch.rand(1, generator)).sum())


def right_with_running_sum(probabilities, generator):
    u = torch.rand((), generator=generator) * probabilities.sum()
    return int(torch.searchsorted(probabilities.cumsum(0), u, right=True))


def right_with_a_loop(odds, source):
    left = torch.rand(1, generator=source, dtype=torch.float64).item()
    last = 0
    for token, p in enumerate(odds.tolist()):
        if p > 0:
            last = token
            if left < p:
                return token
        left -= p
    return last


def right_with_gumbel(probabilities, generator):
    noise = torch.rand(len(probabilities), generator=generator, dtype=torch.float64)
    return (probabilities.log() - (-noise.log()).log()).argmax()


def right_with_multinomial(probabilities, generator):
    return torch.multinomial(probabilities, 1, generator=generator)


BUGS = {
    "count_bigrams": {
        transposed: "swapped",
        targets_not_shifted: "paired with itself",
        targets_not_shifted_but_cut: "but the last is paired with itself",
        rolled_in_a_circle: "circle",
        looks_back_from_zero: "circle",
        forgets_the_last_pair: "last pair",
        forgets_the_first_pair: "first pair",
        runs_off_the_end: "one pair fewer|outside the table",
        shifted_twice: "skip a token",
        pairs_do_not_overlap: "do not overlap",
        fancy_index_adds_once: "counted once",
        both_directions: "both directions",
        smoothed_already: "starts at one",
        divided_already: "shares of each row",
        divided_by_zero: "not a number",
        sized_by_the_text: "comes from the text",
        flat: "flat",
        index_wraps_in_uint16: "index wraps",
        ids_wrap_in_uint8: "wraps|uint8|outside",
        counts_wrap_in_uint16: "too narrow",
        counts_stick_in_float16: "too narrow",
        uint16_in_torch: "hardly computes in uint16",
        goes_on_from_the_last_call: "second call",
        sorts_the_tokens: "sorted",
        sorts_in_place_afterwards: "in place",
        a_dictionary: "dictionary",
    },
    "next_token_loss": {
        in_bits: "in bits",
        in_log10: "powers of ten",
        no_minus: "minus is missing",
        summed: "summed, not averaged",
        summed_over_time: "summed over T",
        one_per_token: "one loss per token",
        mean_over_the_vocabulary: "V times too small",
        softmax_over_time: "over time",
        softmax_over_the_batch: "over the batch",
        softmax_over_everything: "whole tensor",
        softmax_twice: "twice",
        no_softmax: "no softmax",
        no_logarithm: "logarithm is missing",
        mean_before_log: "before the logarithm",
        perplexity: "perplexity",
        shifted_again: "shifted again",
        reshaped_not_transposed: "reshape moves no axis",
        classes_not_second: "classes second",
        flattened_differently: "different orders",
        best_not_target: "best score",
        binary: "yes-or-no",
        overflows: "exp leaves float32",
        largest_of_all_rows: "each row's largest",
        largest_of_all_rows_in_logs: "each row's largest",
        log_of_softmax: "log of a softmax",
        log_of_softmax_and_a_little: "added to the probability",
        without_gradient: "no gradient",
        with_item: "item",
        normaliser_detached: "not the slope",
        subtracts_in_place: "in place",
    },
    "draw_token": {
        greedy: "likeliest",
        uniform: "equally often. Use the probabilities",
        uniform_over_the_possible: "only zero counts",
        softmax_of_probabilities: "softmax is applied",
        a_rank: "sorted downwards",
        a_rank_upwards: "sorted upwards",
        no_running_sum: "running sum",
        wrong_way_round: "wrong way round",
        one_too_high: "off by one",
        one_too_low: "off by one",
        zero_when_u_is_zero: "exactly 0",
        last_never: "last token never",
        global_randomness: "same seed gives other",
        pythons_randomness: "same seed gives other",
        seeds_again: "same token",
        a_probability: "not a whole number",
        smoothed_draw: "probability zero|one does not always",
        many: "one token",
        running_sum_in_place: "in place",
        normalises_in_place: "in place",
        no_keyword: "keyword",
    },
}

RIGHT = {
    "count_bigrams": (right_with_bincount, right_in_plain_python, right_with_one_hot),
    "next_token_loss": (
        right_with_logsumexp,
        right_in_float64,
        right_with_one_hot_mask,
        right_with_pytorch,
    ),
    "draw_token": (
        right_with_running_sum,
        right_with_a_loop,
        right_with_gumbel,
        right_with_multinomial,
    ),
}
