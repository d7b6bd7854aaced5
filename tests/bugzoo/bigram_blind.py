"""Wrong answers to chapter 1, written by someone who has not read its checks."""

import random
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

# ---------------------------------------------------------------- count_bigrams


def count_transposed(tokens, vocab_size):
    """Rows are the token that follows, columns the token before."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for before, after in pairwise(tokens):
        counts[after, before] += 1
    return counts


def count_each_pair_once(tokens, vocab_size):
    """``+=`` with arrays of indices adds one to a field however often it is named."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    counts[tokens[:-1], tokens[1:]] += 1
    return counts


def count_with_uint16_index(tokens, vocab_size):
    """``token * vocab_size`` stays uint16 and wraps around at 65,536."""
    pairs = tokens[:-1] * vocab_size + tokens[1:]
    counts = np.bincount(pairs, minlength=vocab_size * vocab_size)
    return counts.reshape(vocab_size, vocab_size)


def count_without_last_pair(tokens, vocab_size):
    """The loop ends one pair too early."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    for i in range(len(tokens) - 2):
        counts[tokens[i], tokens[i + 1]] += 1
    return counts


def count_round_the_corner(tokens, vocab_size):
    """``roll`` makes the first token follow the last."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens, np.roll(tokens, -1)), 1)
    return counts


def count_every_second_pair(tokens, vocab_size):
    """The text is cut into pairs that do not overlap."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    even = len(tokens) // 2 * 2
    np.add.at(counts, (tokens[0:even:2], tokens[1:even:2]), 1)
    return counts


def count_in_the_type_of_the_tokens(tokens, vocab_size):
    """The counts are uint16 as the tokens are, and wrap around."""
    counts = np.zeros((vocab_size, vocab_size), dtype=tokens.dtype)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def count_what_occurs(tokens, vocab_size):
    """The table is only as large as the largest id that occurs."""
    size = int(tokens.max()) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def count_from_one(tokens, vocab_size):
    """The counts are smoothed already: they begin at one."""
    counts = np.ones((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts


def count_shares(tokens, vocab_size):
    """Each row is divided by its sum: probabilities, not counts."""
    counts = np.zeros((vocab_size, vocab_size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def count_one_hot_in_float16(tokens, vocab_size):
    """Sums of ones in float16 stand still at 2,048."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.float16)
    for before, after in pairwise(tokens):
        counts[before, after] += 1
    return counts


def count_new_words_only(tokens, vocab_size):
    """A token that follows itself is passed over."""
    before, after = tokens[:-1], tokens[1:]
    other = before != after
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (before[other], after[other]), 1)
    return counts


def count_two_apart(tokens, vocab_size):
    """Counts the token after the next."""
    counts = np.zeros((vocab_size, vocab_size), dtype=np.int64)
    np.add.at(counts, (tokens[:-2], tokens[2:]), 1)
    return counts


BUGS_COUNT_BIGRAMS = {
    count_transposed: "rows and columns exchanged",
    count_each_pair_once: "repeated pairs counted once",
    count_with_uint16_index: "the index wraps around in uint16",
    count_without_last_pair: "the last pair is missing",
    count_round_the_corner: "the first token follows the last",
    count_every_second_pair: "pairs that do not overlap",
    count_in_the_type_of_the_tokens: "the counts overflow in uint16",
    count_what_occurs: "a table smaller than the vocabulary",
    count_from_one: "smoothed: counts begin at one",
    count_shares: "probabilities instead of counts",
    count_one_hot_in_float16: "float16 counts that stop at 2,048",
    count_new_words_only: "doubled tokens passed over",
    count_two_apart: "the token after the next",
}


# ---------------------------------------------------------------- next_token_loss


def loss_shifted_again(logits, targets):
    """The targets are shifted once more, though the batch has shifted them."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


def loss_of_softmax(logits, targets):
    """``cross_entropy`` takes scores; here it is given probabilities."""
    return F.cross_entropy(logits.softmax(-1).flatten(0, 1), targets.flatten())


def loss_summed(logits, targets):
    """The sum over all positions, which grows with the batch."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def loss_in_bits(logits, targets):
    """Base two: bits instead of nats."""
    log_probabilities = logits.log_softmax(-1) / np.log(2)
    return -log_probabilities.gather(-1, targets[..., None]).mean()


def loss_without_minus(logits, targets):
    """The mean log-probability: the better the model, the larger."""
    return logits.log_softmax(-1).gather(-1, targets[..., None]).mean()


def loss_softmax_over_time(logits, targets):
    """Positions compete with each other, not the tokens of one position."""
    return -logits.log_softmax(1).gather(-1, targets[..., None]).mean()


def loss_reshaped(logits, targets):
    """(B, T, V) is reshaped to (B, V, T) where it should be transposed."""
    n_rows, length, vocab_size = logits.shape
    return F.cross_entropy(logits.reshape(n_rows, vocab_size, length), targets)


def loss_overflowing(logits, targets):
    """The exponentials of large scores are infinite before they are divided."""
    powers = logits.exp()
    probabilities = powers / powers.sum(-1, keepdim=True)
    return -probabilities.gather(-1, targets[..., None]).log().mean()


def loss_of_last_position(logits, targets):
    """Only the last position counts."""
    return F.cross_entropy(logits[:, -1], targets[:, -1])


def loss_of_mean_probability(logits, targets):
    """The logarithm of the mean where the mean of the logarithms is due."""
    return -logits.softmax(-1).gather(-1, targets[..., None]).mean().log()


def loss_per_row(logits, targets):
    """One loss a row, summed over its tokens and averaged over rows."""
    chosen = logits.log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    return -chosen.sum(-1).mean()


def loss_of_each_token(logits, targets):
    """Never averaged: one loss for each token."""
    return -logits.log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)


def loss_clamped(logits, targets):
    """A small number inside the logarithm bounds what a bad guess can cost."""
    chosen = logits.softmax(-1).gather(-1, targets[..., None])
    return -(chosen + 1e-8).log().mean()


def loss_ignoring_token_zero(logits, targets):
    """Token 0 is taken for padding and left out."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


def loss_detached(logits, targets):
    """A plain number that no gradient can flow through."""
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return torch.tensor(loss.item())


BUGS_NEXT_TOKEN_LOSS = {
    loss_shifted_again: "targets shifted twice",
    loss_of_softmax: "softmax taken twice",
    loss_summed: "sum instead of mean",
    loss_in_bits: "bits instead of nats",
    loss_without_minus: "the sign is missing",
    loss_softmax_over_time: "softmax over positions",
    loss_reshaped: "reshaped instead of transposed",
    loss_overflowing: "large scores overflow",
    loss_of_last_position: "only the last position",
    loss_of_mean_probability: "logarithm of the mean probability",
    loss_per_row: "summed over a row",
    loss_of_each_token: "not averaged at all",
    loss_clamped: "a bad guess costs too little",
    loss_ignoring_token_zero: "token 0 left out",
    loss_detached: "no gradient",
}


# ---------------------------------------------------------------- draw_token


def draw_the_best(probabilities, generator):
    """Greedy: always the most likely token."""
    return int(probabilities.argmax())


def draw_with_global_generator(probabilities, generator):
    """The generator is not passed on."""
    return int(torch.multinomial(probabilities, 1))


def draw_with_python_random(probabilities, generator):
    """Draws from Python's own generator, not from the one given."""
    ids = range(len(probabilities))
    return random.choices(ids, weights=probabilities.tolist())[0]


def draw_uniformly(probabilities, generator):
    """Every token is equally likely."""
    return int(torch.randint(len(probabilities), (1,), generator=generator))


def draw_among_the_possible(probabilities, generator):
    """Every token that is possible at all is equally likely."""
    possible = probabilities.nonzero().flatten()
    return int(possible[torch.randint(len(possible), (1,), generator=generator)])


def draw_after_another_softmax(probabilities, generator):
    """Probabilities are treated as scores."""
    return int(torch.multinomial(probabilities.softmax(-1), 1, generator=generator))


def draw_seeded_anew(probabilities, generator):
    """The generator is seeded in each call, so that each gives the same token."""
    generator.manual_seed(0)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def draw_from_a_copy(probabilities, generator):
    """Draws from a copy of the generator, which itself never moves on."""
    own = torch.Generator()
    own.set_state(generator.get_state())
    return int(torch.multinomial(probabilities, 1, generator=own))


def draw_rank(probabilities, generator):
    """Gives the place in the sorted order, not the token that stands there."""
    best_first = probabilities.sort(descending=True).values
    return int(torch.multinomial(best_first, 1, generator=generator))


def draw_probability(probabilities, generator):
    """Gives the probability of the token that was drawn, not the token."""
    token = int(torch.multinomial(probabilities, 1, generator=generator))
    return float(probabilities[token])


def draw_one_too_far(probabilities, generator):
    """Counts one place too many on the cumulated probabilities."""
    point = torch.rand(1, generator=generator)
    place = int((probabilities.cumsum(0) <= point).sum()) + 1
    return min(place, len(probabilities) - 1)


def draw_last_above(probabilities, generator):
    """Takes the last place above the point, which is always the last token."""
    point = torch.rand(1, generator=generator)
    return int((probabilities.cumsum(0) > point).nonzero()[-1])


def draw_noisy_argmax(probabilities, generator):
    """The largest of probability times noise prefers likely tokens too much."""
    noise = torch.rand(len(probabilities), generator=generator)
    return int((probabilities * noise).argmax())


def draw_gumbel_without_log(probabilities, generator):
    """Gumbel noise is added to probabilities, not to their logarithms."""
    noise = torch.rand(len(probabilities), generator=generator)
    return int((probabilities - (-noise.log()).log()).argmax())


def draw_and_strike_out(probabilities, generator):
    """Changes the table it is given: the drawn token is struck out."""
    token = int(torch.multinomial(probabilities, 1, generator=generator))
    probabilities[token] = 0.0
    return token


def draw_first_more_likely(probabilities, generator):
    """The first token whose own probability, not the sum, exceeds the point."""
    point = torch.rand(1, generator=generator)
    above = (probabilities > point).nonzero()
    return int(above[0]) if len(above) else len(probabilities) - 1


BUGS_DRAW_TOKEN = {
    draw_the_best: "greedy",
    draw_with_global_generator: "the generator is not used",
    draw_with_python_random: "another library's generator",
    draw_uniformly: "uniform over the vocabulary",
    draw_among_the_possible: "uniform over what is possible",
    draw_after_another_softmax: "softmax taken twice",
    draw_seeded_anew: "seeded in each call",
    draw_from_a_copy: "the generator never moves on",
    draw_rank: "rank instead of id",
    draw_probability: "probability instead of id",
    draw_one_too_far: "off by one",
    draw_last_above: "always the last token",
    draw_noisy_argmax: "argmax of probability times noise",
    draw_gumbel_without_log: "Gumbel noise without the logarithm",
    draw_and_strike_out: "changes the probabilities it is given",
    draw_first_more_likely: "probabilities are not cumulated",
}
