"""Chapter 8: merges that went astray, ids that wrapped, batches that came twice."""

import hashlib
import heapq
import itertools
import mmap
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

# ------------------------------------------------------------------ learn_merges


def _spelled(words):
    return [(list(word), times) for word, times in words.items()]


def _counted(spelled):
    counts = Counter()
    for tokens, times in spelled:
        for pair in itertools.pairwise(tokens):
            counts[pair] += times
    return counts


def _winner(counts):
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _replaced(tokens, pair, new):
    merged, i = [], 0
    while i < len(tokens):
        if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def _bpe(
    words,
    num_merges,
    spell=_spelled,
    count=_counted,
    winner=_winner,
    replace=_replaced,
    least=2,
):
    """The plain loop, in which each animal exchanges one part."""
    spelled, merges = spell(words), []
    for i in range(num_merges):
        counts = count(spelled)
        if not counts:
            break
        pair = winner(counts)
        if counts[pair] < least:
            break
        merges.append(pair)
        spelled = [(replace(tokens, pair, 256 + i), n) for tokens, n in spelled]
    return merges


def each_word_counts_once(words, num_merges):
    def count(spelled):
        return Counter(
            pair for tokens, _ in spelled for pair in itertools.pairwise(tokens)
        )

    return _bpe(words, num_merges, count=count)


def largest_ids_win(words, num_merges):
    return _bpe(
        words, num_merges, winner=lambda c: max((n, p) for p, n in c.items())[1]
    )


def first_met_wins(words, num_merges):
    return _bpe(words, num_merges, winner=lambda c: c.most_common(1)[0][0])


def last_met_wins(words, num_merges):
    def winner(counts):
        best = None
        for pair in counts:
            if best is None or counts[pair] >= counts[best]:
                best = pair
        return best

    return _bpe(words, num_merges, winner=winner)


def second_id_decides(words, num_merges):
    return _bpe(
        words, num_merges, winner=lambda c: min(c, key=lambda p: (-c[p], p[::-1]))
    )


def bytes_decide(words, num_merges):
    tokens = {i: bytes([i]) for i in range(256)}

    def winner(counts):
        a, b = min(counts, key=lambda p: (-counts[p], tokens[p[0]], tokens[p[1]]))
        tokens[len(tokens)] = tokens[a] + tokens[b]
        return a, b

    return _bpe(words, num_merges, winner=winner)


def rarest_first(words, num_merges):
    return _bpe(
        words, num_merges, winner=lambda c: min(c, key=lambda p: (c[p], p)), least=1
    )


def ids_from_255(words, num_merges):
    return _bpe(words, num_merges, replace=lambda t, p, new: _replaced(t, p, new - 1))


def ids_from_257(words, num_merges):
    return _bpe(words, num_merges, replace=lambda t, p, new: _replaced(t, p, new + 1))


def always_256(words, num_merges):
    return _bpe(words, num_merges, replace=lambda t, p, new: _replaced(t, p, 256))


def from_the_right(words, num_merges):
    def replace(tokens, pair, new):
        tokens, i = list(tokens), len(tokens) - 2
        while i >= 0:
            if (tokens[i], tokens[i + 1]) == pair:
                tokens[i : i + 2] = [new]
                i -= 1
            i -= 1
        return tokens

    return _bpe(words, num_merges, replace=replace)


def merges_overlap(words, num_merges):
    def replace(tokens, pair, new):
        hits = [i for i in range(len(tokens) - 1) if (tokens[i], tokens[i + 1]) == pair]
        covered = {i + 1 for i in hits} - set(hits)
        return [
            new if i in hits else token
            for i, token in enumerate(tokens)
            if i not in covered
        ]

    return _bpe(words, num_merges, replace=replace)


def first_place_only(words, num_merges):
    def replace(tokens, pair, new):
        for i in range(len(tokens) - 1):
            if (tokens[i], tokens[i + 1]) == pair:
                return [*tokens[:i], new, *tokens[i + 2 :]]
        return tokens

    return _bpe(words, num_merges, replace=replace)


def last_token_lost(words, num_merges):
    def replace(tokens, pair, new):
        merged, i = [], 0
        while i < len(tokens) - 1:
            hit = (tokens[i], tokens[i + 1]) == pair
            merged.append(new if hit else tokens[i])
            i += 2 if hit else 1
        return merged

    return _bpe(words, num_merges, replace=replace)


def first_token_is_enough(words, num_merges):
    def replace(tokens, pair, new):
        merged, i = [], 0
        while i < len(tokens):
            hit = tokens[i] == pair[0] and i + 1 < len(tokens)
            merged.append(new if hit else tokens[i])
            i += 2 if hit else 1
        return merged

    return _bpe(words, num_merges, replace=replace)


def second_token_stays(words, num_merges):
    def replace(tokens, pair, new):
        pairs = zip(tokens, [*tokens[1:], None], strict=True)
        return [new if here == pair else here[0] for here in pairs]

    return _bpe(words, num_merges, replace=replace)


def across_words(words, num_merges):
    ids = [id_ for word, times in words.items() for id_ in word * times]
    return _bpe(words, num_merges, spell=lambda words: [(ids, 1)])


def runs_count_apart(words, num_merges):
    def count(spelled):
        counts = Counter()
        for tokens, times in spelled:
            for pair in set(itertools.pairwise(tokens)):
                counts[pair] += times * _replaced(tokens, pair, -1).count(-1)
        return Counter({p: counts[p] for p in _counted(spelled)})

    return _bpe(words, num_merges, count=count)


def once_a_word(words, num_merges):
    def count(spelled):
        counts = Counter()
        for tokens, times in spelled:
            for pair in set(itertools.pairwise(tokens)):
                counts[pair] += times
        return counts

    return _bpe(words, num_merges, count=count)


def every_second_pair(words, num_merges):
    def count(spelled):
        counts = Counter()
        for tokens, times in spelled:
            for i in range(0, len(tokens) - 1, 2):
                counts[tokens[i], tokens[i + 1]] += times
        return counts

    return _bpe(words, num_merges, count=count)


def last_pair_not_counted(words, num_merges):
    def count(spelled):
        counts = Counter()
        for tokens, times in spelled:
            for i in range(len(tokens) - 2):
                counts[tokens[i], tokens[i + 1]] += times
        return counts

    return _bpe(words, num_merges, count=count)


def first_pair_not_counted(words, num_merges):
    def count(spelled):
        counts = Counter()
        for tokens, times in spelled:
            for i in range(1, len(tokens) - 1):
                counts[tokens[i], tokens[i + 1]] += times
        return counts

    return _bpe(words, num_merges, count=count)


def order_forgotten(words, num_merges):
    def count(spelled):
        counts = Counter()
        for pair, times in _counted(spelled).items():
            counts[tuple(sorted(pair))] += times
        return counts

    return _bpe(words, num_merges, count=count)


def long_words_weigh_more(words, num_merges):
    def count(spelled):
        return _counted([(tokens, times * len(tokens)) for tokens, times in spelled])

    return _bpe(words, num_merges, count=count)


def like_wordpiece(words, num_merges):
    single = Counter()

    def count(spelled):
        single.clear()
        for tokens, times in spelled:
            for token in tokens:
                single[token] += times
        return _counted(spelled)

    def winner(counts):
        score = {p: n / (single[p[0]] * single[p[1]]) for p, n in counts.items()}
        return min(score, key=lambda p: (-score[p], p))

    return _bpe(words, num_merges, count=count, winner=winner, least=1)


def counted_before_the_first_merge(words, num_merges):
    counts = _counted(_spelled(words))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [pair for pair, times in ranked[:num_merges] if times > 1]


def new_tokens_never_pair(words, num_merges):
    counts = _counted(_spelled(words))

    def count(spelled):
        now = _counted(spelled)
        return Counter({pair: now[pair] for pair in counts if now[pair]})

    return _bpe(words, num_merges, count=count)


def counts_never_fall(words, num_merges):
    """The quick way, but what a merge takes from its neighbours was forgotten."""
    spelled = _spelled(words)
    counts, merges = _counted(spelled), []
    while len(merges) < num_merges and counts:
        pair = _winner(counts)
        if counts[pair] < 2:
            break
        new = 256 + len(merges)
        merges.append(pair)
        spelled = [(_replaced(tokens, pair, new), n) for tokens, n in spelled]
        del counts[pair]
        for born, times in _counted(spelled).items():
            if new in born:
                counts[born] = times
    return merges


def characters(words, num_merges):
    def spell(words):
        return [([ord(c) for c in w.decode("utf-8")], n) for w, n in words.items()]

    return _bpe(words, num_merges, spell=spell)


def strict_characters_replaced(words, num_merges):
    def spell(words):
        return [
            ([ord(c) for c in w.decode("utf-8", errors="ignore")], n)
            for w, n in words.items()
        ]

    return _bpe(words, num_merges, spell=spell)


def one_too_many(words, num_merges):
    return _bpe(words, num_merges + 1)


def one_too_few(words, num_merges):
    return _bpe(words, num_merges - 1)


def num_merges_is_a_vocabulary(words, num_merges):
    return _bpe(words, num_merges - 256)


def pairs_reversed(words, num_merges):
    return [(b, a) for a, b in _bpe(words, num_merges)]


def merges_sorted(words, num_merges):
    return sorted(_bpe(words, num_merges))


def last_first(words, num_merges):
    merges = []
    for pair in _bpe(words, num_merges):
        merges.insert(0, pair)
    return merges


def merges_what_occurs_once(words, num_merges):
    return _bpe(words, num_merges, least=1)


def stops_at_two(words, num_merges):
    return _bpe(words, num_merges, least=3)


def fails_when_nothing_is_left(words, num_merges):
    spelled, merges = _spelled(words), []
    while len(merges) < num_merges:
        counts = _counted(spelled)
        pair = _winner(counts)
        if counts[pair] < 2:
            break
        new = 256 + len(merges)
        spelled = [(_replaced(tokens, pair, new), n) for tokens, n in spelled]
        merges.append(pair)
    return merges


def a_dictionary_of_merges(words, num_merges):
    return {pair: 256 + i for i, pair in enumerate(_bpe(words, num_merges))}


def pairs_of_bytes(words, num_merges):
    tokens = [bytes([i]) for i in range(256)]
    pairs = []
    for a, b in _bpe(words, num_merges):
        pairs.append((tokens[a], tokens[b]))
        tokens.append(tokens[a] + tokens[b])
    return pairs


def with_the_new_id(words, num_merges):
    return [(a, b, 256 + i) for i, (a, b) in enumerate(_bpe(words, num_merges))]


def takes_the_words_away(words, num_merges):
    spelled = []
    while words:
        word, times = words.popitem()
        spelled.append((list(word), times))
    return _bpe({}, num_merges, spell=lambda _: spelled)


_ALL_MERGES = []


def goes_on_from_the_last_call(words, num_merges):
    _ALL_MERGES.extend(_bpe(words, num_merges))
    return _ALL_MERGES


def counts_in_int8(words, num_merges):
    """A count above 127 turns negative."""

    def count(spelled):
        wide = _counted(spelled)
        return Counter({p: (n + 128) % 256 - 128 for p, n in wide.items()})

    return _bpe(words, num_merges, count=count, least=1)


def right_quickly(words, num_merges):
    """Counts are mended where a merge has changed them, not made anew."""
    spelled = _spelled(words)
    counts, where = Counter(), defaultdict(set)
    for i, (tokens, times) in enumerate(spelled):
        for pair in itertools.pairwise(tokens):
            counts[pair] += times
            where[pair].add(i)
    merges = []
    while len(merges) < num_merges:
        heap = [(-n, p) for p, n in counts.items() if n > 1]
        if not heap:
            break
        heapq.heapify(heap)
        pair = heap[0][1]
        for i in where.pop(pair):
            tokens, times = spelled[i]
            merged = _replaced(tokens, pair, 256 + len(merges))
            for old in itertools.pairwise(tokens):
                counts[old] -= times
            for born in itertools.pairwise(merged):
                counts[born] += times
                where[born].add(i)
            spelled[i] = (merged, times)
        merges.append(pair)
    return merges


def right_as_lists_of_numpy(words, num_merges):
    return np.array(_bpe(words, num_merges), dtype=np.int64).reshape(-1, 2)


def right_on_text(words, num_merges):
    """One text with a wall between the words, as ids in a string."""
    text = "\uffff".join(
        "".join(map(chr, w)) for w, n in words.items() for _ in range(n)
    )
    merges = []
    for new in range(256, 256 + num_merges):
        counts = Counter(
            pair for pair in itertools.pairwise(text) if "\uffff" not in pair
        )
        ranked = sorted(counts, key=lambda p: (-counts[p], ord(p[0]), ord(p[1])))
        if not ranked or counts[ranked[0]] == 1:
            return merges
        text = text.replace("".join(ranked[0]), chr(new))
        merges.append([ord(sign) for sign in ranked[0]])
    return merges


def right_one_merge_at_a_time(words, num_merges):
    spelled = {tuple(word): times for word, times in words.items()}
    merges = ()
    while len(merges) != num_merges:
        counts = {}
        for tokens in spelled:
            for i in range(1, len(tokens)):
                pair = tokens[i - 1 : i + 1]
                counts[pair] = counts.get(pair, 0) + spelled[tokens]
        most = max(counts.values(), default=0)
        if most <= 1:
            return merges
        pair = sorted(p for p in counts if counts[p] == most)[0]
        merges += (pair,)
        spelled = {
            tuple(_replaced(list(tokens), pair, 255 + len(merges))): times
            for tokens, times in spelled.items()
        }
    return merges


# ------------------------------------------------------------------ narrow


def _refused(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(f"every id must be from 0 to {vocab_size - 1}")
    return ids


def just_casts(ids, vocab_size):
    return np.asarray(ids).astype("<u2" if vocab_size <= 65_536 else "<u4")


def numpy_decides(ids, vocab_size):
    """Of -1 in a list NumPy complains itself, in an array it does not."""
    if len(ids) and max(ids) >= vocab_size:
        raise ValueError("an id is too large")
    return np.array(ids, dtype="<u2" if vocab_size <= 65_536 else "<u4")


def uint32_for_65536(ids, vocab_size):
    return _refused(ids, vocab_size).astype("<u2" if vocab_size < 65_536 else "<u4")


def uint32_for_65535(ids, vocab_size):
    dtype = "<u2" if vocab_size < np.iinfo(np.uint16).max else "<u4"
    return _refused(ids, vocab_size).astype(dtype)


def uint16_for_65537(ids, vocab_size):
    ids = _refused(ids, vocab_size)
    return ids.astype("<u2" if vocab_size - 1 <= 65_536 else "<u4")


def always_uint16(ids, vocab_size):
    return _refused(ids, vocab_size).astype(np.uint16)


def always_uint32(ids, vocab_size):
    return _refused(ids, vocab_size).astype(np.uint32)


def uint8_too(ids, vocab_size):
    return _refused(ids, vocab_size).astype(np.min_scalar_type(vocab_size - 1))


def signed_types(ids, vocab_size):
    ids = _refused(ids, vocab_size)
    return ids.astype(np.int16 if vocab_size <= 65_536 else np.int32)


def signed_and_careful(ids, vocab_size):
    ids = _refused(ids, vocab_size)
    return ids.astype(np.int16 if vocab_size <= 32_768 else np.int32)


def stays_int64(ids, vocab_size):
    return _refused(ids, vocab_size)


def big_endian(ids, vocab_size):
    return _refused(ids, vocab_size).astype(">u2" if vocab_size <= 65_536 else ">u4")


def by_the_largest_id(ids, vocab_size):
    ids = _refused(ids, vocab_size)
    return ids.astype("<u2" if ids.max(initial=0) < 65_536 else "<u4")


def vocab_size_is_allowed(ids, vocab_size):
    return _refused(ids, vocab_size + 1).astype(
        "<u2" if vocab_size <= 65_536 else "<u4"
    )


def negative_ids_pass(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if (ids >= vocab_size).any():
        raise ValueError("an id is too large")
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def checks_after_the_cast(ids, vocab_size):
    ids = np.asarray(ids)
    narrowed = ids.astype("<u2" if vocab_size <= 65_536 else "<u4")
    if (ids < 0).any() or (narrowed >= vocab_size).any():
        raise ValueError("an id is too large")
    return narrowed


def clips(ids, vocab_size):
    ids = np.clip(np.asarray(ids, dtype=np.int64), 0, vocab_size - 1)
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def wraps_like_an_index(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if (ids >= vocab_size).any() or (ids < -vocab_size).any():
        raise ValueError("an id is out of range")
    return (ids % vocab_size).astype("<u2" if vocab_size <= 65_536 else "<u4")


def drops_the_bad(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    ids = ids[(ids >= 0) & (ids < vocab_size)]
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def asserts(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    assert ((ids >= 0) & (ids < vocab_size)).all(), "an id is out of range"
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def raises_index_error(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise IndexError("an id is out of range")
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def looks_at_the_first_only(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if ids.size and not 0 <= ids[0] < vocab_size:
        raise ValueError("an id is out of range")
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def fails_on_none(ids, vocab_size):
    ids = np.asarray(ids, dtype=np.int64)
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError("an id is out of range")
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def float_for_none(ids, vocab_size):
    if len(ids) == 0:
        return np.array([])
    return _refused(ids, vocab_size).astype("<u2" if vocab_size <= 65_536 else "<u4")


def list_methods_only(ids, vocab_size):
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        raise ValueError("an id is out of range")
    return np.array(ids, dtype="<u2" if vocab_size <= 65_536 else "<u4")


def array_methods_only(ids, vocab_size):
    if ((ids < 0) | (ids >= vocab_size)).any():
        raise ValueError("an id is out of range")
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def sorts_in_place(ids, vocab_size):
    narrowed = _refused(ids, vocab_size).astype(
        "<u2" if vocab_size <= 65_536 else "<u4"
    )
    ids.sort()
    if len(ids) and not 0 <= ids[0] <= ids[-1] < vocab_size:
        raise ValueError("an id is out of range")
    return narrowed


def a_tensor(ids, vocab_size):
    ids = _refused(ids, vocab_size)
    return torch.from_numpy(ids.astype("<u2" if vocab_size <= 65_536 else "<u4"))


def through_float16(ids, vocab_size):
    ids = _refused(ids, vocab_size).astype(np.float16)
    return ids.astype("<u2" if vocab_size <= 65_536 else "<u4")


def right_with_min_and_max(ids, vocab_size):
    dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
    return _refused(ids, vocab_size).astype(dtype)


def right_in_python(ids, vocab_size):
    for id_ in ids:
        if id_ not in range(vocab_size):
            raise ValueError(f"id ({id_}) must be from 0 to {vocab_size - 1}")
    return np.array(
        [int(i) for i in ids], dtype=f"<u{2 if vocab_size <= 65_536 else 4}"
    )


def right_with_there_and_back(ids, vocab_size):
    """What differs after the cast has wrapped."""
    wide = np.array(ids, dtype=np.int64)
    narrowed = wide.astype([np.uint32, np.uint16][vocab_size - 1 < 65_536])
    if not (np.array_equal(narrowed, wide) and (wide < vocab_size).all()):
        raise ValueError("an id wraps")
    return narrowed


class TokenError(ValueError):
    pass


def right_with_its_own_error(ids, vocab_size):
    ids = np.asarray(ids).astype(np.int64)
    bad = np.flatnonzero((ids < 0) | (ids > vocab_size - 1))
    if len(bad):
        raise TokenError(f"{ids[bad[0]]} at {bad[0]}")
    largest = np.iinfo(np.uint16).max
    return np.ascontiguousarray(
        ids, np.uint16 if vocab_size - 1 <= largest else np.uint32
    )


# ------------------------------------------------------------------ token_reader


class RightReader:
    """One part a method, so that each animal may spoil one."""

    def __init__(self, path, dtype):
        self.path, self.dtype = path, np.dtype(dtype).newbyteorder("<")
        self.check_size()
        self.tokens = self.opened()

    def check_size(self):
        if self.path.stat().st_size % self.dtype.itemsize:
            raise ValueError(f"{self.path} must hold whole tokens")

    def opened(self):
        return np.memmap(self.path, dtype=self.dtype, mode="r")

    def n_windows(self, length):
        n = (len(self.tokens) - 1) // length
        if n < 1:
            raise ValueError(f"{self.path} is too short for a window of {length}")
        return n

    def order(self, seed, epoch, n):
        return np.random.default_rng((seed, epoch)).permutation(n)

    def samples(self, step, batch_size, n):
        """The epoch and the place of each row."""
        return [divmod(step * batch_size + row, n) for row in range(batch_size)]

    def start(self, window, length):
        return window * length

    def windows(self, seed, step, batch_size, length):
        n = self.n_windows(length)
        return [
            int(self.order(seed, epoch, n)[place])
            for epoch, place in self.samples(step, batch_size, n)
        ]

    def rows(self, starts, length):
        return np.stack(
            [self.tokens[s : s + length + 1].astype(np.int64) for s in starts]
        )

    def cut(self, rows):
        return torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(
            rows[:, 1:].copy()
        )

    def batch(self, seed, step, batch_size, context_length):
        windows = self.windows(seed, step, batch_size, context_length)
        starts = [self.start(window, context_length) for window in windows]
        return self.cut(self.rows(starts, context_length))


class TargetsNotShifted(RightReader):
    def cut(self, rows):
        return torch.tensor(rows[:, :-1]), torch.tensor(rows[:, :-1])


class ShiftedTwice(RightReader):
    def rows(self, starts, length):
        end = len(self.tokens)
        return np.stack(
            [
                self.tokens[np.arange(s, s + length + 2) % end].astype(int)
                for s in starts
            ]
        )

    def cut(self, rows):
        return torch.tensor(rows[:, :-2]), torch.tensor(rows[:, 2:])


class Exchanged(RightReader):
    def cut(self, rows):
        return torch.tensor(rows[:, 1:]), torch.tensor(rows[:, :-1])


class RolledTargets(RightReader):
    def cut(self, rows):
        inputs = torch.tensor(rows[:, :-1])
        return inputs, inputs.roll(-1, dims=1)


class RolledAlongTheBatch(RightReader):
    def cut(self, rows):
        inputs = torch.tensor(rows[:, :-1])
        return inputs, inputs.roll(-1, dims=0)


class LastTargetRepeated(RightReader):
    def cut(self, rows):
        inputs = torch.tensor(rows[:, :-1])
        return inputs, torch.cat((inputs[:, 1:], inputs[:, -1:]), dim=1)


class NextWindowAsTarget(RightReader):
    def n_windows(self, length):
        return max(super().n_windows(length) - 1, 1)

    def rows(self, starts, length):
        return super().rows(starts, 2 * length - 1)

    def cut(self, rows):
        half = rows.shape[1] // 2
        return torch.tensor(rows[:, :half]), torch.tensor(rows[:, half:])


class OneTokenShort(RightReader):
    def rows(self, starts, length):
        return super().rows(starts, length)[:, :-1]


class NotCutOff(RightReader):
    def cut(self, rows):
        return torch.tensor(rows), torch.tensor(rows)


class Int32(RightReader):
    def cut(self, rows):
        return tuple(part.int() for part in super().cut(rows))


class TargetsInt32(RightReader):
    def cut(self, rows):
        inputs, targets = super().cut(rows)
        return inputs, targets.to(torch.int32)


class AsTheFileHasThem(RightReader):
    """Rows of the map itself, uint16 or uint32."""

    def cut(self, rows):
        small = rows.astype(self.dtype)
        return torch.from_numpy(small[:, :-1]), torch.from_numpy(small[:, 1:])


class NumpyArrays(RightReader):
    def cut(self, rows):
        return rows[:, :-1], rows[:, 1:]


class Floats(RightReader):
    def cut(self, rows):
        return torch.Tensor(rows[:, :-1]), torch.Tensor(rows[:, 1:]).long()


class Transposed(RightReader):
    def cut(self, rows):
        return tuple(part.T for part in super().cut(rows))


class Flat(RightReader):
    def cut(self, rows):
        return tuple(part.flatten() for part in super().cut(rows))


class OneTensor(RightReader):
    def cut(self, rows):
        return torch.from_numpy(rows)


class BigEndian(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype=self.dtype.newbyteorder(">"), mode="r")


class Signed(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype=f"<i{self.dtype.itemsize}", mode="r")


class AlwaysUint16(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype="<u2", mode="r")


class DtypeForgotten(RightReader):
    def opened(self):
        return np.memmap(self.path, mode="r")


class CastToUint16(RightReader):
    def rows(self, starts, length):
        return super().rows(starts, length).astype(np.uint16).astype(np.int64)


class ThroughFloat32(RightReader):
    def rows(self, starts, length):
        return super().rows(starts, length).astype(np.float32).astype(np.int64)


class Places(RightReader):
    def rows(self, starts, length):
        return np.stack([np.arange(s, s + length + 1) for s in starts])


class LastWindowLost(RightReader):
    def n_windows(self, length):
        return max(super().n_windows(length) - 1, 1)


class LastWindowLostIfItJustFits(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return max(len(self.tokens) // length - 1, 1)


class OneTokenMoreThanNeeded(RightReader):
    """As (tokens - context_length - 1) // context_length + 1, minus a token."""

    def n_windows(self, length):
        super().n_windows(length)
        return max((len(self.tokens) - 2) // length, 1)


class OneWindowTooMany(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return len(self.tokens) // length


class FirstWindowNeverSeen(RightReader):
    def order(self, seed, epoch, n):
        return 1 + super().order(seed, epoch, n - 1) if n > 1 else np.array([0])

    def samples(self, step, batch_size, n):
        return super().samples(step, batch_size, max(n - 1, 1))


class TargetsNeverInputs(RightReader):
    def n_windows(self, length):
        n = len(self.tokens) // (length + 1)
        if n < 1:
            raise ValueError("too short")
        return n

    def start(self, window, length):
        return window * (length + 1)


class OneTokenLate(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return max((len(self.tokens) - 2) // length, 1)

    def start(self, window, length):
        return window * length + (len(self.tokens) > length + 1)


class NumberForToken(RightReader):
    def start(self, window, length):
        return window


class HalfOverlapping(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return len(range(0, len(self.tokens) - length, length // 2))

    def start(self, window, length):
        return window * (length // 2)


class ExtraWindowForTheRest(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return -(-(len(self.tokens) - 1) // length)

    def start(self, window, length):
        return min(window * length, len(self.tokens) - length - 1)


class PhaseByEpoch(RightReader):
    def n_windows(self, length):
        super().n_windows(length)
        return max((len(self.tokens) - length) // length, 1)

    def batch(self, seed, step, batch_size, context_length):
        n = self.n_windows(context_length)
        room = min(context_length, len(self.tokens) - n * context_length)
        starts = []
        for epoch, place in self.samples(step, batch_size, n):
            rng = np.random.default_rng((seed, epoch))
            phase, order = rng.integers(room), rng.permutation(n)
            starts.append(phase + context_length * int(order[place]))
        return self.cut(self.rows(starts, context_length))


class RandomOffsets(RightReader):
    """nanoGPT's way: any token may begin a window."""

    def batch(self, seed, step, batch_size, context_length):
        self.n_windows(context_length)
        rng = np.random.default_rng((seed, step))
        starts = rng.integers(len(self.tokens) - context_length, size=batch_size)
        return self.cut(self.rows(starts, context_length))


class DrawnWithReplacement(RightReader):
    def order(self, seed, epoch, n):
        return np.random.default_rng((seed, epoch)).integers(n, size=n)


class NotShuffled(RightReader):
    def order(self, seed, epoch, n):
        return np.arange(n)


class FirstEpochNotShuffled(RightReader):
    def order(self, seed, epoch, n):
        return super().order(seed, epoch, n) if epoch else np.arange(n)


class OnlyRotated(RightReader):
    def order(self, seed, epoch, n):
        first = np.random.default_rng((seed, epoch)).integers(1, max(n, 2))
        return np.roll(np.arange(n), first)


class EpochIgnored(RightReader):
    def order(self, seed, epoch, n):
        return np.random.default_rng(seed).permutation(n)


class SeedIgnored(RightReader):
    def order(self, seed, epoch, n):
        return np.random.default_rng(epoch).permutation(n)


class SeedTimesEpoch(RightReader):
    def order(self, seed, epoch, n):
        return np.random.default_rng(seed * epoch).permutation(n)


class SeedOrDefault(RightReader):
    def order(self, seed, epoch, n):
        return super().order(seed or 1337, epoch, n)


class GlobalRandomness(RightReader):
    def order(self, seed, epoch, n):
        return np.random.permutation(n)

    def windows(self, seed, step, batch_size, length):
        order = self.order(seed, 0, self.n_windows(length))
        return [
            int(order[place]) for _, place in self.samples(step, batch_size, len(order))
        ]


class GlobalTorchRandomness(GlobalRandomness):
    def order(self, seed, epoch, n):
        return torch.randperm(n).numpy()


class SeedsNumpyGlobally(RightReader):
    def order(self, seed, epoch, n):
        np.random.seed(seed * 1000 + epoch)
        return np.random.permutation(n)


class SeedsTorchGlobally(RightReader):
    def order(self, seed, epoch, n):
        torch.manual_seed(seed * 1000 + epoch)
        return torch.randperm(n)


class SeedsPythonGlobally(RightReader):
    def order(self, seed, epoch, n):
        random.seed(seed * 1000 + epoch)
        return random.sample(range(n), n)


class StaysInTheOldEpoch(RightReader):
    def samples(self, step, batch_size, n):
        epoch, first = divmod(step * batch_size, n)
        return [(epoch, (first + row) % n) for row in range(batch_size)]


class GoesIntoTheNewEpoch(RightReader):
    def samples(self, step, batch_size, n):
        first = step * batch_size
        epoch = (first + batch_size - 1) // n
        return [(epoch, (first + row) % n) for row in range(batch_size)]


class DropsTheLast(RightReader):
    def samples(self, step, batch_size, n):
        epoch, number = divmod(step, max(n // batch_size, 1))
        return [(epoch, (number * batch_size + r) % n) for r in range(batch_size)]


class FillsFromTheBeginning(RightReader):
    def samples(self, step, batch_size, n):
        epoch, number = divmod(step, -(-n // batch_size))
        return [(epoch, (number * batch_size + r) % n) for r in range(batch_size)]


class FillsWithTheLast(RightReader):
    def samples(self, step, batch_size, n):
        epoch, number = divmod(step, -(-n // batch_size))
        return [(epoch, min(number * batch_size + r, n - 1)) for r in range(batch_size)]


class ShortLastBatch(RightReader):
    def samples(self, step, batch_size, n):
        epoch, number = divmod(step, -(-n // batch_size))
        first = number * batch_size
        return [(epoch, place) for place in range(first, min(first + batch_size, n))]


class StepCountsWindows(RightReader):
    def samples(self, step, batch_size, n):
        return [divmod(step + row, n) for row in range(batch_size)]


class StepFromOne(RightReader):
    def samples(self, step, batch_size, n):
        return super().samples(step + 1, batch_size, n)


class StepIgnored(RightReader):
    def samples(self, step, batch_size, n):
        return super().samples(0, batch_size, n)


class AllRowsAlike(RightReader):
    def samples(self, step, batch_size, n):
        return [divmod(step * batch_size, n)] * batch_size


class NewOrderEachStep(RightReader):
    def samples(self, step, batch_size, n):
        return [(step, row % n) for row in range(batch_size)]


class OrderOfTheStep(RightReader):
    def samples(self, step, batch_size, n):
        return [(step, (step * batch_size + row) % n) for row in range(batch_size)]


class EpochsOfSteps(RightReader):
    def samples(self, step, batch_size, n):
        return [(step // n, (step * batch_size + r) % n) for r in range(batch_size)]


class SortedRows(RightReader):
    def windows(self, *arguments):
        return sorted(super().windows(*arguments))


class ReversedRows(RightReader):
    def windows(self, *arguments):
        return super().windows(*arguments)[::-1]


class Streams(RightReader):
    def samples(self, step, batch_size, n):
        each = max(n // batch_size, 1)
        epoch, place = divmod(step, each)
        return [(epoch, (row * each + place) % n) for row in range(batch_size)]


class BatchSizeShuffles(RightReader):
    def samples(self, step, batch_size, n):
        self.batch_size = batch_size
        return super().samples(step, batch_size, n)

    def order(self, seed, epoch, n):
        return np.random.default_rng((seed, epoch, self.batch_size)).permutation(n)


class OrderKeptForEver(RightReader):
    kept = None

    def order(self, seed, epoch, n):
        if self.kept is None or len(self.kept) != n:
            self.kept = super().order(seed, epoch, n)
        return self.kept


class OrderKeptForTheEpoch(RightReader):
    """Kept for each epoch, but not for each seed and length."""

    def __init__(self, path, dtype):
        super().__init__(path, dtype)
        self.orders = {}

    def order(self, seed, epoch, n):
        if (epoch, n) not in self.orders:
            self.orders[epoch, n] = super().order(seed, epoch, n)
        return self.orders[epoch, n]


class WindowsKept(RightReader):
    """The number of windows is computed once, for the first context_length."""

    n = None

    def n_windows(self, length):
        if self.n is None:
            self.n = super().n_windows(length)
        return min(self.n, super().n_windows(length))


class CountsByItself(RightReader):
    def __init__(self, path, dtype):
        super().__init__(path, dtype)
        self.position = None

    def samples(self, step, batch_size, n):
        first = step * batch_size if self.position is None else self.position
        self.position = first + batch_size
        return [divmod(first + row, n) for row in range(batch_size)]


class GeneratorLivesOn(RightReader):
    rng = None

    def order(self, seed, epoch, n):
        if self.rng is None:
            self.rng = np.random.default_rng((seed, epoch))
        return self.rng.permutation(n)

    def windows(self, seed, step, batch_size, length):
        samples = self.samples(step, batch_size, self.n_windows(length))
        orders = {}
        for epoch, _ in samples:
            if epoch not in orders:
                if not orders:
                    orders[epoch] = self.order(seed, epoch, self.n_windows(length))
                else:
                    orders[epoch] = RightReader.order(
                        self, seed, epoch, self.n_windows(length)
                    )
        return [int(orders[epoch][place]) for epoch, place in samples]


class OneBuffer(RightReader):
    buffer = None

    def cut(self, rows):
        if self.buffer is None or self.buffer.shape != rows.shape:
            self.buffer = torch.empty(rows.shape, dtype=torch.int64)
        self.buffer.copy_(torch.from_numpy(rows))
        return self.buffer[:, :-1], self.buffer[:, 1:]


class BatchesKept(RightReader):
    def __init__(self, path, dtype):
        super().__init__(path, dtype)
        self.known = {}

    def batch(self, *asked):
        if asked not in self.known:
            self.known[asked] = super().batch(*asked)
        return self.known[asked]


class SizeNotChecked(RightReader):
    """np.memmap would look; with a shape it does not."""

    def check_size(self):
        self.n_tokens = self.path.stat().st_size // self.dtype.itemsize

    def opened(self):
        return np.memmap(self.path, self.dtype, "r", shape=(self.n_tokens,))


class SizeCheckedForUint16(RightReader):
    def check_size(self):
        n_bytes = self.path.stat().st_size
        if n_bytes % 2:
            raise ValueError("odd")
        self.n_tokens = n_bytes // self.dtype.itemsize

    def opened(self):
        return np.memmap(self.path, self.dtype, "r", shape=(self.n_tokens,))


class SizeAsserted(RightReader):
    def check_size(self):
        assert self.path.stat().st_size % self.dtype.itemsize == 0, "no whole tokens"


class TooShortIsZero(RightReader):
    def n_windows(self, length):
        return (len(self.tokens) - 1) // length


class ShortFilesRepeat(RightReader):
    def n_windows(self, length):
        return max((len(self.tokens) - 1) // length, 1)

    def rows(self, starts, length):
        whole = np.arange(length + 1) % max(len(self.tokens), 1)
        return np.stack([self.tokens[s + whole].astype(np.int64) for s in starts])


class RefusesASingleWindow(RightReader):
    def n_windows(self, length):
        if len(self.tokens) <= length + 1:
            raise ValueError("too short")
        return super().n_windows(length)


class Loaded(RightReader):
    def opened(self):
        return np.fromfile(self.path, dtype=self.dtype)


class LoadedByTorch(RightReader):
    def opened(self):
        mapped = super().opened()
        return torch.tensor(mapped.astype(np.int64)).numpy()


class WidenedAtOnce(RightReader):
    """The map is kept, but each batch widens all of it."""

    def rows(self, starts, length):
        wide = self.tokens.astype(np.int64)
        return np.stack([wide[s : s + length + 1] for s in starts])


class ReadAgainEachTime(RightReader):
    def rows(self, starts, length):
        tokens = np.frombuffer(Path(self.path).read_bytes(), dtype=self.dtype)
        return np.stack([tokens[s : s + length + 1].astype(np.int64) for s in starts])


class OpenForWriting(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype=self.dtype)


class OpenForWritingByName(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype=self.dtype, mode="r+")


class MadeAnew(RightReader):
    def opened(self):
        return np.memmap(self.path, dtype=self.dtype, mode="w+")


class WritesIntoTheFile(RightReader):
    """Opens for writing and leaves a mark."""

    def opened(self):
        tokens = np.memmap(self.path, dtype=self.dtype, mode="r+")
        tokens[len(tokens) // 2 :] = tokens[len(tokens) // 2 :][::1]
        return tokens


class TypeHasNoItemsize(RightReader):
    def __init__(self, path, dtype):
        if path.stat().st_size % dtype.itemsize:
            raise ValueError("no whole tokens")
        super().__init__(path, dtype)


class NoBatch:
    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype=dtype, mode="r")


class ShuffleWithTheSum(RightReader):
    """As PyTorch's DistributedSampler does it."""

    def order(self, seed, epoch, n):
        generator = torch.Generator().manual_seed(seed + epoch)
        return torch.randperm(n, generator=generator).tolist()


class RightWithViewsOfOneTensor(RightReader):
    """Inputs and targets share memory with each other, with nobody else."""

    def cut(self, rows):
        rows = torch.from_numpy(rows)
        return [rows[:, :-1], rows[:, 1:]]


class RightLazily:
    """Opened anew for each batch, with a window's numbers hashed into an order."""

    def __init__(self, path, dtype):
        self.path, self.dtype = Path(path), np.dtype(dtype)

    def batch(self, seed, step, batch_size, context_length):
        data = np.memmap(self.path, self.dtype, mode="c")
        count = (data.size - 1) // context_length
        if not count:
            raise ValueError("no window")
        x = torch.zeros(batch_size, context_length, dtype=torch.long)
        y = torch.zeros_like(x)
        for row in range(batch_size):
            epoch, place = divmod(step * batch_size + row, count)

            def key(i, epoch=epoch):
                return hashlib.sha256(f"{seed}/{epoch}/{i}".encode()).digest()

            start = sorted(range(count), key=key)[place] * context_length
            piece = torch.tensor(data[start : start + context_length + 1].tolist())
            x[row], y[row] = piece[:-1], piece[1:]
        return x, y


class RightByHand:
    """No np.memmap: the system's own map, and Python's generator."""

    def __init__(self, path, dtype):
        size = path.stat().st_size
        self.itemsize = np.dtype(dtype).itemsize
        if size % self.itemsize or size == 0:
            raise ValueError("size")
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def batch(self, seed, step, batch_size, context_length):
        n_tokens = len(self.map) // self.itemsize
        n_windows = (n_tokens - 1) // context_length
        if n_windows == 0:
            raise ValueError("short")
        rows = []
        for sample in range(step * batch_size, (step + 1) * batch_size):
            order = list(range(n_windows))
            random.Random(f"{seed},{sample // n_windows}").shuffle(order)
            start = order[sample % n_windows] * context_length
            rows.append(
                [self.token(i) for i in range(start, start + context_length + 1)]
            )
        whole = torch.tensor(rows)
        return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()

    def token(self, i):
        piece = self.map[i * self.itemsize : (i + 1) * self.itemsize]
        return int.from_bytes(piece, "little")


class RightWithOneIndex:
    """Fancy indexing takes the windows in one go, and copies."""

    def __init__(self, path, dtype):
        self.data = np.memmap(path, dtype=dtype, mode="r")
        self.cache = {}

    def permutation(self, seed, epoch, n):
        if (seed, epoch, n) not in self.cache:
            sequence = np.random.SeedSequence([seed, epoch])
            rng = np.random.Generator(np.random.Philox(sequence))
            order = np.arange(n)
            rng.shuffle(order)
            self.cache[seed, epoch, n] = order
        return self.cache[seed, epoch, n]

    def batch(self, seed, step, batch_size, context_length):
        n = (self.data.shape[0] - 1) // context_length
        if n <= 0:
            raise ValueError("too few tokens")
        samples = np.arange(batch_size) + step * batch_size
        order = np.concatenate(
            [
                self.permutation(seed, int(e), n)[samples[samples // n == e] % n]
                for e in np.unique(samples // n)
            ]
        )
        grid = order[:, None] * context_length + np.arange(context_length)
        inputs, targets = self.data[grid], self.data[grid + 1]
        return torch.as_tensor(inputs.astype("i8")), torch.as_tensor(
            targets.astype("i8")
        )


BUGS = {
    "learn_merges": {
        each_word_counts_once: "each word counts once",
        largest_ids_win: "largest ids win",
        first_met_wins: "met first wins",
        last_met_wins: "met last wins",
        second_id_decides: "second id decides",
        bytes_decide: "bytes decide. Compare the ids",
        rarest_first: "rarest",
        ids_from_255: "255, which is a byte",
        ids_from_257: "id 257",
        always_256: "same id, 256",
        from_the_right: "merged from the right",
        merges_overlap: "overlap: 'aaa'",
        first_place_only: "only the first place",
        last_token_lost: "last token is lost",
        first_token_is_enough: "first token only",
        second_token_stays: "second token of a merged pair stays",
        across_words: "from one word into the next",
        runs_count_apart: "counts the pair \\(a, a\\) once",
        once_a_word: "once a word",
        every_second_pair: "pairs do not overlap",
        last_pair_not_counted: "last pair of each word",
        first_pair_not_counted: "first pair of each word",
        order_forgotten: "\\(b, a\\) are counted as one",
        long_words_weigh_more: "weighted by its length",
        like_wordpiece: "WordPiece",
        counted_before_the_first_merge: "before the first merge",
        new_tokens_never_pair: "never becomes part of a longer",
        counts_never_fall: "counts never fall",
        characters: "read as characters",
        strict_characters_replaced: "read as characters",
        one_too_many: "one merge too many",
        one_too_few: "one merge is missing",
        num_merges_is_a_vocabulary: "without the 256 bytes",
        pairs_reversed: "wrong way round",
        merges_sorted: "pairs are sorted",
        last_first: "last merge comes first",
        merges_what_occurs_once: "occurs once is merged",
        stops_at_two: "stops too early",
        fails_when_nothing_is_left: "no pair is left",
        a_dictionary_of_merges: "dictionary",
        pairs_of_bytes: "hold bytes",
        with_the_new_id: "one has 3",
        takes_the_words_away: "words are changed",
        goes_on_from_the_last_call: "goes on from the first",
        counts_in_int8: "occurs",
    },
    "narrow": {
        just_casts: "let through",
        numpy_decides: "OverflowError",
        uint32_for_65536: "65,536 tokens get uint32",
        uint32_for_65535: "65,535 tokens get uint32",
        uint16_for_65537: "65,537 tokens get uint16",
        always_uint16: "always uint16",
        always_uint32: "always uint32",
        uint8_too: "uint8",
        signed_types: "signed: int16 and int32",
        signed_and_careful: "signed, and chosen",
        stays_int64: "always int64",
        big_endian: "big-endian",
        by_the_largest_id: "follows the ids",
        vocab_size_is_allowed: "id 10 of 10 tokens",
        negative_ids_pass: "negative id \\(-1\\)",
        checks_after_the_cast: "check before casting",
        clips: "comes out as 9",
        wraps_like_an_index: "negative id .* comes out as 9",
        drops_the_bad: "let through",
        asserts: "AssertionError",
        raises_index_error: "IndexError",
        looks_at_the_first_only: "between is let through",
        fails_on_none: "no ids at all",
        float_for_none: "float64",
        list_methods_only: "ids may be an array",
        array_methods_only: "ids may be a list",
        sorts_in_place: "changed in place",
        a_tensor: "a tensor came back",
        through_float16: "comes back as",
    },
    "token_reader": {
        TargetsNotShifted: "targets equal inputs",
        ShiftedTwice: "two tokens later",
        Exchanged: "exchanged",
        RolledTargets: "np.roll",
        RolledAlongTheBatch: "along the batch",
        LastTargetRepeated: "the window's last input",
        NextWindowAsTarget: "whole next window",
        OneTokenShort: "needs context_length \\+ 1",
        NotCutOff: "cut the extra token off",
        Int32: "inputs are int32",
        TargetsInt32: "targets are int32",
        AsTheFileHasThem: "inputs are uint16",
        NumpyArrays: "ndarray, not a torch tensor",
        Floats: "inputs are float32|float32, which rounds",
        Transposed: "rows and columns",
        Flat: "one row for each window",
        OneTensor: "Give two tensors",
        BigEndian: "wrong order",
        Signed: "read as signed",
        AlwaysUint16: "whatever dtype says",
        DtypeForgotten: "single bytes",
        CastToUint16: "cut to 16 bits",
        ThroughFloat32: "float32, which rounds",
        Places: "places of the tokens",
        LastWindowLost: "last window is never seen",
        LastWindowLostIfItJustFits: "last target is the file's last",
        OneTokenMoreThanNeeded: "not \\(tokens - 2\\)",
        OneWindowTooMany: "past the end",
        FirstWindowNeverSeen: "first window is never seen",
        TargetsNeverInputs: "context_length \\+ 1 tokens apart",
        OneTokenLate: "one token late",
        NumberForToken: "number of the window is taken",
        HalfOverlapping: "overlap by half",
        ExtraWindowForTheRest: "extra last window",
        PhaseByEpoch: "begin at another token",
        RandomOffsets: "begin at any token",
        DrawnWithReplacement: "do not draw them",
        NotShuffled: "not shuffled. They come",
        FirstEpochNotShuffled: "epoch 0 is not shuffled",
        OnlyRotated: "only from another one on",
        EpochIgnored: "every epoch has the same order",
        SeedIgnored: "every seed has the same order",
        SeedTimesEpoch: "with seed 0, epochs 0 and 1|in epoch 0, seeds",
        GlobalRandomness: "caller's random state: another",
        GlobalTorchRandomness: "caller's random state: another",
        SeedsNumpyGlobally: "is changed \\(numpy.random\\)",
        SeedsTorchGlobally: "is changed \\(torch\\)",
        SeedsPythonGlobally: "is changed \\(random\\)",
        StaysInTheOldEpoch: "goes on with the old",
        GoesIntoTheNewEpoch: "all rows from the new",
        DropsTheLast: "dropped at an epoch's end",
        FillsFromTheBeginning: "same epoch's beginning",
        FillsWithTheLast: "filled with its last window",
        ShortLastBatch: "always full",
        StepCountsWindows: "batches overlap",
        StepFromOne: "counted from 1",
        StepIgnored: "step is ignored",
        AllRowsAlike: "same window",
        NewOrderEachStep: "every step draws a new order",
        OrderOfTheStep: "every step has an order",
        EpochsOfSteps: "counted in steps",
        SortedRows: "rows of a batch are sorted",
        ReversedRows: "reverse",
        Streams: "own part of the file",
        BatchSizeShuffles: "belongs to epoch sample // n",
        OrderKeptForEver: "goes on with the old epoch's order",
        OrderKeptForTheEpoch: "another seed",
        WindowsKept: "a longer context_length",
        CountsByItself: "for the same batch",
        GeneratorLivesOn: "for the same batch",
        OneBuffer: "one buffer",
        BatchesKept: "who writes into a batch",
        SizeNotChecked: "no whole uint16 tokens",
        SizeCheckedForUint16: "no whole uint32 tokens",
        SizeAsserted: "AssertionError",
        TooShortIsZero: "ZeroDivisionError|too few",
        ShortFilesRepeat: "too few for a window",
        RefusesASingleWindow: "enough for a window",
        Loaded: "whole file is read when",
        LoadedByTorch: "whole file is read when",
        WidenedAtOnce: "copied into memory",
        ReadAgainEachTime: "copied into memory",
        OpenForWriting: "for writing",
        OpenForWritingByName: "for writing",
        MadeAnew: "mode='r'",
        WritesIntoTheFile: "for writing",
        TypeHasNoItemsize: "Ask np.dtype\\(dtype\\)",
        NoBatch: "no method called batch",
    },
}

RIGHT = {
    "learn_merges": (
        _bpe,
        right_quickly,
        right_as_lists_of_numpy,
        right_on_text,
        right_one_merge_at_a_time,
    ),
    "narrow": (
        right_with_min_and_max,
        right_in_python,
        right_with_there_and_back,
        right_with_its_own_error,
    ),
    "token_reader": (
        RightReader,
        ShuffleWithTheSum,
        RightWithViewsOfOneTensor,
        RightLazily,
        RightByHand,
        RightWithOneIndex,
    ),
}
