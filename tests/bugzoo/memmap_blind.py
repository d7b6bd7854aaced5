"""Wrong and right answers to chapter 8, by someone who has not read its checks."""

import hashlib
import os
import random
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

# learn_merges, right


def merges_plain(words, num_merges):
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == best:
                    out.append(new)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return merges


def merges_as_text(words, num_merges):
    # every token is a character, so that str.replace does the merging
    texts = [("".join(map(chr, word)), count) for word, count in words.items()]
    learnt = []
    while len(learnt) < num_merges:
        tally = {}
        for text, count in texts:
            for a, b in pairwise(text):
                tally[a + b] = tally.get(a + b, 0) + count
        ranked = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
        if not ranked or ranked[0][1] < 2:
            return learnt
        pair = ranked[0][0]
        new = chr(256 + len(learnt))
        texts = [(text.replace(pair, new), count) for text, count in texts]
        learnt.append((ord(pair[0]), ord(pair[1])))
    return learnt


def merges_in_numpy(words, num_merges):
    # one long array; -1 stands between words
    ids, weights = [], []
    for word, count in words.items():
        ids += [*word, -1]
        weights += [count] * (len(word) + 1)
    ids, weights = np.array(ids, np.int64), np.array(weights, np.int64)
    merges = []
    for new in range(256, 256 + num_merges):
        inside = (ids[:-1] >= 0) & (ids[1:] >= 0)
        keys = (ids[:-1] * 2**32 + ids[1:])[inside]
        if not keys.size:
            break
        kinds, where = np.unique(keys, return_inverse=True)
        totals = np.zeros(len(kinds), np.int64)
        np.add.at(totals, where, weights[:-1][inside])
        best = int(totals.argmax())
        if totals[best] < 2:
            break
        left, right = divmod(int(kinds[best]), 2**32)
        merges.append((left, right))
        keep = np.ones(len(ids), bool)
        i = 0
        while i < len(ids) - 1:
            if ids[i] == left and ids[i + 1] == right:
                ids[i], keep[i + 1] = new, False
                i += 1
            i += 1
        ids, weights = ids[keep], weights[keep]
    return merges


def merges_by_recursion(words, num_merges):
    def join(tokens, pair, new):
        if len(tokens) < 2:
            return tokens
        if tokens[:2] == pair:
            return (new, *join(tokens[2:], pair, new))
        return (tokens[0], *join(tokens[1:], pair, new))

    def learn(table, left, new):
        counts = defaultdict(int)
        for tokens, count in table.items():
            for pair in pairwise(tokens):
                counts[pair] += count
        often = [(-count, pair) for pair, count in counts.items() if count > 1]
        if not left or not often:
            return []
        pair = min(often)[1]
        after = {join(tokens, pair, new): count for tokens, count in table.items()}
        return [pair, *learn(after, left - 1, new + 1)]

    return learn({tuple(word): n for word, n in words.items()}, num_merges, 256)


# learn_merges, wrong


def largest_ids_win_ties(words, num_merges):
    # right while the best pair is alone
    split = {word: list(word) for word in words}
    merges = []
    for step in range(num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for word, tokens in split.items():
            out = []
            i = 0
            while i < len(tokens):
                if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == best:
                    out.append(256 + step)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return merges


def first_seen_wins_ties(words, num_merges):
    # the order of the dictionary decides
    vocabulary = [(tuple(word), count) for word, count in words.items()]
    merges = []
    for new_id in range(256, 256 + num_merges):
        stats = Counter()
        for tokens, count in vocabulary:
            for pair in pairwise(tokens):
                stats[pair] += count
        if not stats:
            return merges
        pair, frequency = stats.most_common(1)[0]
        if frequency < 2:
            return merges
        merges.append(pair)
        merged = []
        for tokens, count in vocabulary:
            result, at = [], 0
            while at < len(tokens):
                if tokens[at : at + 2] == pair:
                    result.append(new_id)
                    at += 2
                else:
                    result.append(tokens[at])
                    at += 1
            merged.append((tuple(result), count))
        vocabulary = merged
    return merges


def ties_by_the_bytes(words, num_merges):
    # compares what the tokens spell; differs only once a tie has a merged token
    spelling = {i: bytes([i]) for i in range(256)}
    table = {tuple(word): count for word, count in words.items()}
    merges = []
    while len(merges) < num_merges:
        counts = Counter()
        for tokens, count in table.items():
            for pair in pairwise(tokens):
                counts[pair] += count
        if not counts or max(counts.values()) < 2:
            break
        a, b = min(counts, key=lambda p: (-counts[p], (spelling[p[0]], spelling[p[1]])))
        new = 256 + len(merges)
        spelling[new] = spelling[a] + spelling[b]
        merges.append((a, b))
        after = {}
        for tokens, count in table.items():
            out = []
            rest = list(tokens)
            while rest:
                if rest[:2] == [a, b]:
                    out.append(new)
                    rest = rest[2:]
                else:
                    out.append(rest.pop(0))
            after[tuple(out)] = count
        table = after
    return merges


def ties_by_second_id_only(words, num_merges):
    # "smallest ids" compared from the right
    split = [[list(word), count] for word, count in words.items()]
    merges = []
    for new in range(256, 256 + num_merges):
        counts = defaultdict(int)
        for tokens, count in split:
            for a, b in pairwise(tokens):
                counts[a, b] += count
        ranked = sorted(counts, key=lambda p: (-counts[p], p[1], p[0]))
        if not ranked or counts[ranked[0]] < 2:
            break
        a, b = ranked[0]
        merges.append((a, b))
        for entry in split:
            tokens = entry[0]
            i = 0
            while i < len(tokens) - 1:
                if tokens[i] == a and tokens[i + 1] == b:
                    tokens[i : i + 2] = [new]
                i += 1
    return merges


def counts_of_words_forgotten(words, num_merges):
    # right when every word occurs once
    texts = [list(word) for word in words]
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter(pair for tokens in texts for pair in pairwise(tokens))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], *pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for tokens in texts:
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i] = new
                    del tokens[i + 1]
                i += 1
    return merges


def new_ids_begin_at_257(words, num_merges):
    # a place is kept free for an end-of-text token; seen from the second merge on
    split = {word: list(word) for word in words}
    merges = []
    next_id = 257
    for _ in range(num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts.items(), key=lambda item: (-item[1], item[0]))
        if best[1] < 2:
            break
        merges.append(best[0])
        for word in split:
            old, new = split[word], []
            while old:
                if tuple(old[:2]) == best[0]:
                    new.append(next_id)
                    old = old[2:]
                else:
                    new.append(old[0])
                    old = old[1:]
            split[word] = new
        next_id += 1
    return merges


def only_the_first_place_in_a_word(words, num_merges):
    # right while no word holds the pair twice
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for tokens in split.values():
            for i in range(len(tokens) - 1):
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [new]
                    break
    return merges


def merged_from_the_right(words, num_merges):
    # "aaa" becomes a, aa
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for tokens in split.values():
            i = len(tokens) - 2  # from behind, so that deleting moves nothing
            while i >= 0:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [new]
                    i -= 1
                i -= 1
    return merges


def counts_without_overlap(words, num_merges):
    # "aaa" counts (a, a) once, as bytes.count would
    table = [("".join(map(chr, word)), count) for word, count in words.items()]
    merges = []
    for new in range(256, 256 + num_merges):
        seen = {a + b for text, _ in table for a, b in pairwise(text)}
        counts = {p: sum(text.count(p) * n for text, n in table) for p in seen}
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], p))
        if counts[best] < 2:
            break
        merges.append((ord(best[0]), ord(best[1])))
        table = [(text.replace(best, chr(new)), n) for text, n in table]
    return merges


def counts_a_pair_once_a_word(words, num_merges):
    # in how many words the pair is, not how often
    split = {word: tuple(word) for word in words}
    merges = []
    while len(merges) < num_merges:
        counts = Counter()
        for word, tokens in split.items():
            for pair in set(pairwise(tokens)):
                counts[pair] += words[word]
        if not counts:
            break
        top = max(counts.values())
        if top < 2:
            break
        best = min(pair for pair, count in counts.items() if count == top)
        new = 256 + len(merges)
        merges.append(best)
        for word, tokens in split.items():
            out, skip = [], False
            for i, token in enumerate(tokens):
                if skip:
                    skip = False
                elif tokens[i : i + 2] == best:
                    out.append(new)
                    skip = True
                else:
                    out.append(token)
            split[word] = tuple(out)
    return merges


def goes_on_with_single_pairs(words, num_merges):
    # merges what occurs once
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for i in range(len(tokens) - 1):
                counts[tokens[i], tokens[i + 1]] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == best:
                    out.append(new)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return merges


def stops_when_one_word_is_whole(words, num_merges):
    # one word of a single token ends it for all
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        if any(len(tokens) < 2 for tokens in split.values()):
            break
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens):
                if tuple(tokens[i : i + 2]) == best:
                    out.append(new)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return merges


def last_token_is_lost(words, num_merges):
    # the merging loop ends one early, unless it has just jumped
    split = {word: list(word) for word in words}
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for word, tokens in split.items():
            out, i = [], 0
            while i < len(tokens) - 1:
                if tokens[i] == best[0] and tokens[i + 1] == best[1]:
                    out.append(new)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            split[word] = out
    return merges


def counted_only_at_the_beginning(words, num_merges):
    # takes the best pairs of bytes and never counts again
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    ranked = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return [pair for pair in ranked if counts[pair] >= 2][:num_merges]


def words_run_together(words, num_merges):
    # pairs reach across the border of two words
    text = [token for word, count in words.items() for token in list(word) * count]
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter(pairwise(text))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        out, i = [], 0
        while i < len(text):
            if tuple(text[i : i + 2]) == best:
                out.append(new)
                i += 2
            else:
                out.append(text[i])
                i += 1
        text = out
    return merges


def words_are_used_up(words, num_merges):
    # the merges are right; the caller's dictionary has other keys afterwards
    for word in list(words):
        words[tuple(word)] = words.pop(word)
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter()
        for tokens, count in words.items():
            for pair in pairwise(tokens):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        merges.append(best)
        for tokens in list(words):
            out, i = [], 0
            while i < len(tokens):
                if tokens[i : i + 2] == best:
                    out.append(new)
                    i += 2
                else:
                    out.append(tokens[i])
                    i += 1
            words[tuple(out)] = words.pop(tokens)
    return merges


# narrow, right


def narrow_plain(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(f"an id is not in 0 ... {vocab_size - 1}")
    return ids.astype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def narrow_in_python(ids, vocab_size):
    for i in ids:
        if not 0 <= i < vocab_size:
            raise ValueError("id out of range: " + str(i))
    kind = "<u2" if vocab_size <= 65_536 else "<u4"
    return np.fromiter((int(i) for i in ids), dtype=kind, count=len(ids))


def narrow_through_torch(ids, vocab_size):
    wide = torch.as_tensor(ids).to(torch.int64)
    if ((wide < 0) | (wide >= vocab_size)).any():
        raise ValueError("there is an id that the vocabulary has not")
    narrow = wide.numpy().astype("uint32")
    if vocab_size - 1 <= np.iinfo("uint16").max:
        narrow = narrow.astype("uint16")
    return narrow


def narrow_by_bytes(ids, vocab_size):
    size = 2 if (vocab_size - 1).bit_length() <= 16 else 4
    try:
        raw = b"".join(int(i).to_bytes(size, "little") for i in ids)
    except OverflowError as error:
        raise ValueError("an id does not fit") from error
    out = np.frombuffer(raw, dtype=f"<u{size}").copy()
    if len(out) and int(out.max()) >= vocab_size:
        raise ValueError("an id is too large")
    return out


# narrow, wrong


def border_below_65536(ids, vocab_size):
    # uint32 for exactly 65,536
    array = np.array(ids, dtype=np.int64)
    if ((array < 0) | (array >= vocab_size)).any():
        raise ValueError("id out of range")
    return array.astype(np.uint16 if vocab_size < 65536 else np.uint32)


def border_at_65537(ids, vocab_size):
    # 65,536 as an id becomes 0
    ids = np.asarray(ids, dtype=np.int64)
    if len(ids) > 0 and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise ValueError("id out of range")
    largest = vocab_size - 1
    return ids.astype("uint16") if largest <= 2**16 else ids.astype("uint32")


def looked_at_after_the_cast(ids, vocab_size):
    # what has wrapped looks harmless
    dtype = np.uint16 if vocab_size <= 65536 else np.uint32
    out = np.asarray(ids, dtype=np.int64).astype(dtype)
    if np.any(out < 0) or np.any(out >= vocab_size):
        raise ValueError(f"ids must lie below {vocab_size}")
    return out


def negatives_forgotten(ids, vocab_size):
    # looks at the largest only
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and ids.max() >= vocab_size:
        raise ValueError(f"id {ids.max()} is outside the vocabulary")
    if vocab_size <= 65536:
        return ids.astype(np.uint16)
    return ids.astype(np.uint32)


def vocab_size_itself_allowed(ids, vocab_size):
    # > for >=
    for one in ids:
        if one < 0 or one > vocab_size:
            raise ValueError(f"bad id {one}")
    return np.array(ids, dtype=np.int64).astype("<u2" if vocab_size <= 65536 else "<u4")


def raises_only_for_both(ids, vocab_size):
    # "and" where "or" was meant
    ids = np.asarray(ids, dtype=np.int64)
    lowest, highest = ids.min(initial=0), ids.max(initial=0)
    if lowest < 0 and highest >= vocab_size:
        raise ValueError("ids out of range")
    return ids.astype([np.uint16, np.uint32][vocab_size > 65536])


def no_ids_raise(ids, vocab_size):
    # the maximum of nothing; NumPy's error even is a ValueError
    ids = np.asarray(ids, dtype=np.int64)
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError("ids out of range")
    return ids.astype(np.uint16 if vocab_size <= 65536 else np.uint32)


def no_ids_are_uint16(ids, vocab_size):
    # an early return that forgets the large vocabulary
    if len(ids) == 0:
        return np.array([], dtype=np.uint16)
    ids = np.asarray(ids)
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError("ids out of range")
    return ids.astype(np.uint16 if vocab_size <= 65536 else np.uint32)


def type_by_the_ids_there(ids, vocab_size):
    # two files of one vocabulary may have two types
    ids = np.asarray(ids, dtype=np.int64)
    largest = ids.max(initial=0)
    if ids.min(initial=0) < 0 or largest >= vocab_size:
        raise ValueError("ids out of range")
    return ids.astype(np.uint16 if largest < 2**16 else np.uint32)


def left_to_numpy(ids, vocab_size):
    # a list raises OverflowError, an array wraps
    dtype = np.uint16 if vocab_size <= 65536 else np.uint32
    out = np.array(ids, dtype=dtype)
    if out.size and int(out.max()) >= vocab_size:
        raise ValueError("an id is too large for the vocabulary")
    return out


def an_assertion(ids, vocab_size):
    # the wrong kind of error, and none under python -O
    ids = np.asarray(ids, dtype=np.int64)
    assert ((ids >= 0) & (ids < vocab_size)).all(), "ids out of range"
    return ids.astype(np.uint16 if vocab_size <= 65536 else np.uint32)


def bad_ids_clipped(ids, vocab_size):
    # does not wrap, but is silent all the same
    ids = np.clip(np.asarray(ids, dtype=np.int64), 0, vocab_size - 1)
    return ids.astype(np.uint16 if vocab_size <= 65536 else np.uint32)


def cast_thrown_away(ids, vocab_size):
    # astype gives a new array; it is not kept
    out = np.asarray(ids, dtype=np.int64)
    if not np.all((out >= 0) & (out < vocab_size)):
        raise ValueError("ids out of range")
    if vocab_size <= 65536:
        out.astype(np.uint16)
    else:
        out.astype(np.uint32)
    return out


def signed_32_bits(ids, vocab_size):
    # int32 holds every vocabulary there is, but the reader expects uint32
    ids = np.asarray(ids, dtype=np.int64)
    if (ids < 0).any() or (ids >= vocab_size).any():
        raise ValueError("ids out of range")
    return ids.astype(np.uint16 if vocab_size <= 65536 else np.int32)


# token_reader, right


class ReaderPlain:
    def __init__(self, path, dtype):
        self.data = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.data) - 1) // context_length
        if n < 1:
            raise ValueError("the file is too short for one window")
        inputs, targets = [], []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            start = order[place] * context_length
            window = self.data[start : start + context_length + 1].astype(np.int64)
            inputs.append(torch.from_numpy(window[:-1]))
            targets.append(torch.from_numpy(window[1:]))
        return torch.stack(inputs), torch.stack(targets)


class ReaderOpensEachTime:
    """Keeps no file open; both tensors look into one block of copies."""

    def __init__(self, path, dtype):
        size, item = path.stat().st_size, np.dtype(dtype).itemsize
        if size % item:
            raise ValueError(f"{path} holds half a token")
        self.path, self.dtype, self.tokens = path, dtype, size // item

    def order(self, seed, epoch, n):
        generator = torch.Generator()
        generator.manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(n, generator=generator).tolist()

    def batch(self, seed, step, batch_size, context_length):
        n = (self.tokens - 1) // context_length
        if n < 1:
            raise ValueError("not one window")
        first = step * batch_size
        epochs = {(first + row) // n for row in range(batch_size)}
        orders = {epoch: self.order(seed, epoch, n) for epoch in epochs}
        at = [orders[i // n][i % n] for i in range(first, first + batch_size)]
        places = np.array(at)[:, None] * context_length + np.arange(context_length + 1)
        block = torch.tensor(np.memmap(self.path, self.dtype, "r")[places].tolist())
        return block[:, :-1], block[:, 1:]


class ReaderBySum:
    """Seed and epoch are added; Python's own shuffle."""

    def __init__(self, path, dtype):
        self.tokens = np.memmap(str(path), mode="r", dtype=dtype)
        self.orders = {}

    def windows(self, seed, epoch, n):
        key = seed, epoch, n
        if key not in self.orders:
            self.orders[key] = random.Random(seed + epoch).sample(range(n), n)
        return self.orders[key]

    def batch(self, seed, step, batch_size, context_length):
        n = (self.tokens.size - 1) // context_length
        if n <= 0:
            raise ValueError("too few tokens")
        x = torch.empty((batch_size, context_length), dtype=torch.long)
        y = torch.empty_like(x)
        for row in range(batch_size):
            number = step * batch_size + row
            window = self.windows(seed, number // n, n)[number % n]
            for column in range(context_length):
                x[row, column] = int(self.tokens[window * context_length + column])
                y[row, column] = int(self.tokens[window * context_length + column + 1])
        return x, y


class ReaderByHash:
    """The order is that of digests: no random numbers at all."""

    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = max(len(self.tokens) - 1, 0) // context_length
        if n < 1:
            raise ValueError("fewer tokens than one window needs")
        rows = []
        for number in range(step * batch_size, (step + 1) * batch_size):
            epoch, place = divmod(number, n)

            def digest(window, epoch=epoch):
                return hashlib.sha256(f"{seed}/{epoch}/{window}".encode()).digest()

            start = sorted(range(n), key=digest)[place] * context_length
            rows.append(np.array(self.tokens[start : start + context_length + 1]))
        both = torch.from_numpy(np.stack(rows).astype("int64"))
        return both[:, :-1].clone(), both[:, 1:].clone()


class ReaderByHashOfNumbers:
    """hash() of whole numbers is the same in every process."""

    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        inputs, targets = [], []
        for sample in range(step * batch_size, (step + 1) * batch_size):
            order = list(range(n))
            random.Random(hash((seed, sample // n))).shuffle(order)
            start = order[sample % n] * context_length
            inputs.append(self.tokens[start : start + context_length].tolist())
            targets.append(self.tokens[start + 1 : start + 1 + context_length].tolist())
        return torch.tensor(inputs), torch.tensor(targets)


# token_reader, wrong


class TargetsRolledWithinTheWindow:
    # only the last target of a window is wrong: it is the window's first token
    def __init__(self, path, dtype):
        self.data = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.data) - 1) // context_length
        if n < 1:
            raise ValueError("the file is too short for one window")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng((seed, epoch)).permutation(n)
            start = order[place] * context_length
            rows.append(self.data[start : start + context_length].astype(np.int64))
        inputs = torch.from_numpy(np.stack(rows))
        return inputs, torch.roll(inputs, -1, dims=1)


class LastTargetForgotten:
    # n = tokens // context_length: wrong only when that leaves nothing over
    def __init__(self, path, dtype):
        self.data = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = len(self.data) // context_length
        if n < 1 or len(self.data) <= context_length:
            raise ValueError("the file is too short for one window")
        numbers = np.arange(step * batch_size, (step + 1) * batch_size)
        starts = []
        for number in numbers:
            order = np.random.default_rng([seed, number // n]).permutation(n)
            starts.append(order[number % n] * context_length)
        x = [self.data[s : s + context_length].astype("int64") for s in starts]
        y = [self.data[s + 1 : s + 1 + context_length].astype("int64") for s in starts]
        return torch.tensor(np.array(x)), torch.tensor(np.array(y))


class LastWindowNeverRead:
    # n one too small, "to be safe"; one window alone is no window
    def __init__(self, path, dtype):
        self.data = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        if len(self.data) < context_length + 1:
            raise ValueError("the file is too short for one window")
        n = max(1, (len(self.data) - 1) // context_length - 1)
        inputs, targets = [], []
        for i in range(step * batch_size, step * batch_size + batch_size):
            generator = torch.Generator().manual_seed(7919 * seed + i // n)
            start = torch.randperm(n, generator=generator)[i % n] * context_length
            piece = torch.from_numpy(
                self.data[start : start + context_length + 1].astype(np.int64)
            )
            inputs.append(piece[:-1])
            targets.append(piece[1:])
        return torch.stack(inputs), torch.stack(targets)


class SameOrderEveryEpoch:
    # shuffled by the seed alone
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        order = np.random.default_rng(seed).permutation(n)
        samples = step * batch_size + np.arange(batch_size)
        starts = order[samples % n] * context_length
        where = starts[:, None] + np.arange(context_length)
        inputs = torch.from_numpy(self.tokens[where].astype(np.int64))
        targets = torch.from_numpy(self.tokens[where + 1].astype(np.int64))
        return inputs, targets


class DrawnWithReplacement:
    # right windows, but one may come twice in an epoch and another never
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        windows = np.random.default_rng([seed, step]).integers(n, size=batch_size)
        where = windows[:, None] * context_length + np.arange(context_length + 1)
        block = torch.from_numpy(self.tokens[where].astype(np.int64))
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()


class EpochOfTheFirstRow:
    # a batch that straddles goes on in the order of the epoch it began in
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        epoch = step * batch_size // n
        order = np.random.default_rng([seed, epoch]).permutation(n)
        inputs = torch.zeros(batch_size, context_length, dtype=torch.int64)
        targets = torch.zeros(batch_size, context_length, dtype=torch.int64)
        for row in range(batch_size):
            start = order[(step * batch_size + row) % n] * context_length
            both = torch.from_numpy(
                self.tokens[start : start + context_length + 1].astype(np.int64)
            )
            inputs[row], targets[row] = both[:-1], both[1:]
        return inputs, targets


class RestOfTheEpochDropped:
    # as DataLoader(drop_last=True) does: batches never straddle
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        per_epoch = max(1, n // batch_size)
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(n)
        chosen = [order[(place * batch_size + row) % n] for row in range(batch_size)]
        rows = []
        for window in chosen:
            start = int(window) * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.array(rows, dtype=np.int64))
        return both[:, :-1], both[:, 1:]


class SeedsTheGlobalState:
    # the batches are right; whoever draws afterwards draws other numbers
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        inputs, targets = [], []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            np.random.seed(seed * 65537 + epoch)
            start = np.random.permutation(n)[place] * context_length
            inputs.append(self.tokens[start : start + context_length])
            targets.append(self.tokens[start + 1 : start + 1 + context_length])
        return (
            torch.from_numpy(np.stack(inputs).astype(np.int64)),
            torch.from_numpy(np.stack(targets).astype(np.int64)),
        )


class ShufflesTheShuffled:
    # one array is shuffled in place again and again: the past decides
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")
        self.key = None

    def order(self, seed, epoch, n):
        if self.key is None or len(self.windows) != n:
            self.windows = np.arange(n)
        if self.key != (seed, epoch, n):
            np.random.default_rng([seed, epoch]).shuffle(self.windows)
            self.key = (seed, epoch, n)
        return self.windows

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            start = self.order(seed, epoch, n)[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class OrderKeptForTheFirstSeed:
    # a cache whose key forgets the seed: seen only when one reader serves two
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")
        self.orders = {}

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for number in range(step * batch_size, (step + 1) * batch_size):
            epoch = number // n
            if (epoch, n) not in self.orders:
                shuffled = np.random.default_rng([seed, epoch]).permutation(n)
                self.orders[epoch, n] = shuffled
            start = self.orders[epoch, n][number % n] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class WindowsCountedOnce:
    # n is that of the first context length asked for
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")
        self.n = None

    def batch(self, seed, step, batch_size, context_length):
        if self.n is None:
            self.n = (len(self.tokens) - 1) // context_length
        if self.n == 0:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, self.n)
            order = np.random.default_rng([seed, epoch]).permutation(self.n)
            start = order[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class HalfATokenCutOff:
    # a broken file is read as if it were whole
    def __init__(self, path, dtype):
        count = os.path.getsize(path) // np.dtype(dtype).itemsize
        self.tokens = np.memmap(path, dtype=dtype, mode="r", shape=(count,))

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            start = order[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class OneBufferForAllBatches:
    # the next batch overwrites the last one
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")
        self.room = torch.empty(0, 0, dtype=torch.int64)

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        if self.room.shape != (batch_size, context_length + 1):
            self.room = torch.empty(batch_size, context_length + 1, dtype=torch.int64)
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            start = order[place] * context_length
            window = self.tokens[start : start + context_length + 1]
            self.room[row] = torch.from_numpy(window.astype(np.int64))
        return self.room[:, :-1], self.room[:, 1:]


class FileOpenedForWriting:
    # NumPy's own default mode, "r+"
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype)

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            start = order[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class WholeFileInMemory:
    # the batches are right; a file of 100 GB would not fit
    def __init__(self, path, dtype):
        raw = Path(path).read_bytes()
        self.tokens = np.frombuffer(raw, dtype=dtype)

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            start = order[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


class EmptyFileHasMinusOneWindows:
    # (0 - 1) // context_length is -1, which is not 0
    def __init__(self, path, dtype):
        self.path, self.dtype = path, np.dtype(dtype)
        self.n_tokens, rest = divmod(os.path.getsize(path), self.dtype.itemsize)
        if rest:
            raise ValueError("half a token at the end")

    def batch(self, seed, step, batch_size, context_length):
        n = (self.n_tokens - 1) // context_length
        if n == 0:
            raise ValueError("too few tokens")
        both = torch.empty(batch_size, context_length + 1, dtype=torch.int64)
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = np.random.default_rng([seed, epoch]).permutation(n)
            window = np.memmap(
                self.path,
                self.dtype,
                mode="r",
                offset=int(order[place]) * context_length * self.dtype.itemsize,
                shape=(context_length + 1,),
            )
            both[row] = torch.from_numpy(window.astype(np.int64))
        return both[:, :-1], both[:, 1:]


class SeededByHashOfText:
    # the hash of a text is another one in every process
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")

    def batch(self, seed, step, batch_size, context_length):
        n = (len(self.tokens) - 1) // context_length
        if n < 1:
            raise ValueError("too few tokens")
        rows = []
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, n)
            order = list(range(n))
            random.Random(hash(f"{seed}-{epoch}")).shuffle(order)
            start = order[place] * context_length
            rows.append(self.tokens[start : start + context_length + 1])
        both = torch.from_numpy(np.stack(rows).astype(np.int64))
        return both[:, :-1], both[:, 1:]


BUGS = {
    "learn_merges": {
        largest_ids_win_ties: "largest ids win",
        first_seen_wins_ties: "met first wins",
        ties_by_the_bytes: "the bytes decide",
        ties_by_second_id_only: "second id decides",
        counts_of_words_forgotten: "each word counts once",
        new_ids_begin_at_257: "gets id 257",
        only_the_first_place_in_a_word: "only the first place",
        merged_from_the_right: "merged from the right",
        counts_without_overlap: "counts the pair .* once",
        counts_a_pair_once_a_word: "once a word",
        goes_on_with_single_pairs: "occurs once is merged",
        stops_when_one_word_is_whole: "one word has a single token",
        last_token_is_lost: "last token is lost",
        counted_only_at_the_beginning: "before the first merge",
        words_run_together: "from one word into the next",
        words_are_used_up: "words are changed",
    },
    "narrow": {
        border_below_65536: "65,536 tokens get uint32",
        border_at_65537: "65,537 tokens get uint16",
        looked_at_after_the_cast: "before casting, not after",
        negatives_forgotten: "negative id .* let through",
        vocab_size_itself_allowed: "id 10 of 10 .* let through",
        raises_only_for_both: "or, not and",
        no_ids_raise: "no ids at all",
        no_ids_are_uint16: "no ids give uint16",
        type_by_the_ids_there: "follows vocab_size",
        left_to_numpy: "raises OverflowError",
        an_assertion: "raised AssertionError",
        bad_ids_clipped: "comes out as 9",
        cast_thrown_away: "keep what astype gives",
        signed_32_bits: "get int32",
    },
    "token_reader": {
        TargetsRolledWithinTheWindow: "window's first token",
        LastTargetForgotten: r"past the end .*\(tokens - 1\) // context_length",
        LastWindowNeverRead: "last window is never seen",
        SameOrderEveryEpoch: "every epoch has the same order",
        DrawnWithReplacement: "do not draw them",
        EpochOfTheFirstRow: "straddles .* old epoch's order",
        RestOfTheEpochDropped: "do not fill a batch are dropped",
        SeedsTheGlobalState: r"changed \(numpy.random\)",
        ShufflesTheShuffled: "after it was asked .* keep no counter, no order",
        OrderKeptForTheFirstSeed: "asked with another seed",
        WindowsCountedOnce: "asked for a shorter context_length",
        HalfATokenCutOff: "no whole uint16 tokens",
        OneBufferForAllBatches: "both use one buffer",
        FileOpenedForWriting: "opened for writing",
        WholeFileInMemory: "whole file is read",
        EmptyFileHasMinusOneWindows: "0 tokens are too few .* is -1",
        SeededByHashOfText: "hash of a text",
    },
}

RIGHT = {
    "learn_merges": (
        merges_plain,
        merges_as_text,
        merges_in_numpy,
        merges_by_recursion,
    ),
    "narrow": (
        narrow_plain,
        narrow_in_python,
        narrow_through_torch,
        narrow_by_bytes,
    ),
    "token_reader": (
        ReaderPlain,
        ReaderOpensEachTime,
        ReaderBySum,
        ReaderByHash,
        ReaderByHashOfNumbers,
    ),
}
