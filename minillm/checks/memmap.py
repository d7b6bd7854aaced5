"""Chapter 8: merges, narrow ids, and batches from a file that stays on the disk."""

import inspect
import operator
import random
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minillm.checks import FailedError, Property, Report, attempt, one_line, run

# ------------------------------------------------------------------ learn_merges

Pair = tuple[int, int]
Words = Mapping[bytes, int]
Spelled = list[tuple[list[int], int]]  # the tokens of a word, and how often it occurs
Counts = dict[Pair, int]

SMALL: dict[bytes, int] = {
    b"aaa": 4,
    b"abab": 3,
    b"banana": 4,
    b"nab": 1,
    b"cab": 5,
    b"cd": 7,
    b"dcdcd": 2,
    "é".encode(): 6,
    "dé".encode(): 3,
    b"xyz": 1,
    b"y": 40,
    b"yzz": 2,
}
"""Few words, in which every mistake below leads to merges of its own."""
N_SMALL = 13


def _count(words: Spelled) -> Counts:
    counts: Counter[Pair] = Counter()
    for tokens, times in words:
        for pair in pairwise(tokens):
            counts[pair] += times
    return counts


def _counted(
    pairs: Callable[[list[int]], Sequence[Pair]], by_words: bool = True
) -> Callable[[Spelled], Counts]:
    """Another choice of what to count in a word."""

    def count(words: Spelled) -> Counts:
        counts: Counter[Pair] = Counter()
        for tokens, times in words:
            for pair in pairs(tokens):
                counts[pair] += times if by_words else 1
        return counts

    return count


def _neighbours(tokens: list[int]) -> list[Pair]:
    return list(pairwise(tokens))


def _apart(tokens: list[int]) -> list[Pair]:
    """Pairs that share no token with the same pair before them: "aaa" has one."""
    found: list[Pair] = []
    last: dict[Pair, int] = {}
    for i, pair in enumerate(pairwise(tokens)):
        if last.get(pair, -2) < i - 1:
            found.append(pair)
            last[pair] = i
    return found


def _either_way(words: Spelled) -> Counts:
    counts: Counter[Pair] = Counter()
    for pair, times in _count(words).items():
        counts[min(pair), max(pair)] += times
    return counts


def _best(counts: Counts) -> Pair:
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _joined(tokens: list[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def _joined_from_the_right(tokens: list[int], pair: Pair, new: int) -> list[int]:
    return _joined(tokens[::-1], (pair[1], pair[0]), new)[::-1]


def _joined_once(tokens: list[int], pair: Pair, new: int) -> list[int]:
    for i, here in enumerate(pairwise(tokens)):
        if here == pair:
            return [*tokens[:i], new, *tokens[i + 2 :]]
    return tokens


def _joined_overlapping(tokens: list[int], pair: Pair, new: int) -> list[int]:
    merged, covered = [], -1
    for i, token in enumerate(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            merged.append(new)
            covered = i + 1
        elif i != covered:
            merged.append(token)
    return merged


def _joined_and_cut(tokens: list[int], pair: Pair, new: int) -> list[int]:
    """A last token that is no part of the pair is lost."""
    merged = _joined(tokens, pair, new)
    return merged if tuple(tokens[-2:]) == pair else merged[:-1]


def _joined_by_the_first(tokens: list[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(tokens):
        if tokens[i] == pair[0] and i + 1 < len(tokens):
            merged.append(new)
            i += 2
        else:
            merged.append(tokens[i])
            i += 1
    return merged


def _joined_and_left(tokens: list[int], pair: Pair, new: int) -> list[int]:
    """The new token is put in front of the pair's second one, which stays."""
    return [
        token
        for i, here in enumerate(tokens)
        for token in ((new,) if tuple(tokens[i : i + 2]) == pair else (here,))
    ]


def _learn(
    words: Words,
    num_merges: int,
    count: Callable[[Spelled], Counts] = _count,
    best: Callable[[Counts], Pair] = _best,
    join: Callable[[list[int], Pair, int], list[int]] = _joined,
    first: int = 256,
    fewest: int = 2,
) -> list[Pair]:
    """The plainest way: count everything anew for each merge."""
    spelled = [(list(word), times) for word, times in words.items()]
    merges: list[Pair] = []
    while len(merges) < num_merges:
        counts = count(spelled)
        if not counts:
            break
        pair = best(counts)
        if counts[pair] < fewest:
            break
        new = first + len(merges)
        merges.append(pair)
        spelled = [(join(tokens, pair, new), times) for tokens, times in spelled]
    return merges


def _by_spelling(words: Words, num_merges: int) -> list[Pair]:
    """Among equals, the pair whose bytes come first."""
    spellings = [bytes([value]) for value in range(256)]

    def best(counts: Counts) -> Pair:
        def rank(pair: Pair) -> tuple[int, bytes, bytes]:
            return -counts[pair], spellings[pair[0]], spellings[pair[1]]

        pair = min(counts, key=rank)
        spellings.append(spellings[pair[0]] + spellings[pair[1]])
        return pair

    return _learn(words, num_merges, best=best)


def _like_word_piece(words: Words, num_merges: int) -> list[Pair]:
    spelled = [(list(word), times) for word, times in words.items()]
    merges: list[Pair] = []
    for new in range(256, 256 + num_merges):
        counts = _count(spelled)
        single: Counter[int] = Counter()
        for tokens, times in spelled:
            for token in tokens:
                single[token] += times
        if not counts:
            break
        score = {p: n / (single[p[0]] * single[p[1]]) for p, n in counts.items()}
        pair = min(counts, key=lambda p: (-score[p], p))
        merges.append(pair)
        spelled = [(_joined(tokens, pair, new), times) for tokens, times in spelled]
    return merges


def _counts_never_fall(words: Words, num_merges: int) -> list[Pair]:
    """New pairs are counted, but old ones keep what a merge has taken from them."""
    spelled = [(list(word), times) for word, times in words.items()]
    counts, merges = dict(_count(spelled)), []
    for new in range(256, 256 + num_merges):
        if not counts or counts[pair := _best(counts)] < 2:
            break
        merges.append(pair)
        del counts[pair]
        spelled = [(_joined(tokens, pair, new), times) for tokens, times in spelled]
        counts |= {p: n for p, n in _count(spelled).items() if new in p}
    return merges


def _never_counts_again(words: Words, num_merges: int) -> list[Pair]:
    counts = _count([(list(word), times) for word, times in words.items()])
    ranked = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return [pair for pair in ranked if counts[pair] > 1][:num_merges]


def _of_old_tokens(words: Words, num_merges: int) -> list[Pair]:
    """Merged, but a new token is never a part of a pair."""

    def count(spelled: Spelled) -> Counts:
        return {p: n for p, n in _count(spelled).items() if max(p) < 256}

    return _learn(words, num_merges, count)


def _of_characters(words: Words, num_merges: int) -> list[Pair]:
    spelled = {word.decode().encode("latin-1"): n for word, n in words.items()}
    return _learn(spelled, num_merges)


MergeRule = Callable[[Words, int], list[Pair]]


def _with(**changes: Any) -> MergeRule:
    return lambda words, num_merges: _learn(words, num_merges, **changes)


# Wrong merges that equal one of these have told us their name.
MERGE_SUSPECTS: tuple[tuple[str, MergeRule], ...] = (
    (
        "each word counts once. A pair counts as often as its word occurs: add"
        " words[word], not 1.",
        _with(count=_counted(_neighbours, by_words=False)),
    ),
    (
        "among equally frequent pairs the largest ids win. Take the smallest.",
        _with(best=lambda counts: max(counts, key=lambda p: (counts[p], p))),
    ),
    (
        "among equally frequent pairs the one met first wins, so the order of the words"
        " decides. Take the smallest ids: min(counts, key=lambda p: (-counts[p], p)).",
        _with(best=lambda counts: max(counts, key=lambda p: counts[p])),
    ),
    (
        "among equally frequent pairs the one met last wins. Take the smallest ids.",
        _with(best=lambda counts: max(reversed(counts), key=lambda p: counts[p])),
    ),
    (
        "among equally frequent pairs the second id decides. Compare the first ids"
        " first.",
        _with(best=lambda counts: min(counts, key=lambda p: (-counts[p], p[1], p[0]))),
    ),
    (
        "among equally frequent pairs the bytes decide. Compare the ids.",
        _by_spelling,
    ),
    (
        "the rarest pair is merged. Take the most frequent.",
        _with(best=lambda counts: min(counts, key=lambda p: (counts[p], p)), fewest=1),
    ),
    (
        "the first new token gets id 255, which is a byte. Start at 256.",
        _with(first=255),
    ),
    (
        "the first new token gets id 257. The bytes are 0 to 255: start at 256.",
        _with(first=257),
    ),
    (
        "every merge makes the same id, 256. The i-th makes 256 + i.",
        _with(
            join=lambda tokens, pair, new: _joined(tokens, pair, 256),
        ),
    ),
    (
        "a run is merged from the right: the last two of 'aaa'. Go from left to right.",
        _with(join=_joined_from_the_right),
    ),
    (
        "merged pairs overlap: 'aaa' becomes two new tokens. After a merge go on behind"
        " it, two tokens further.",
        _with(join=_joined_overlapping),
    ),
    (
        "only the first place in each word is merged. Go on to the end of the word.",
        _with(join=_joined_once),
    ),
    (
        "a word's last token is lost when it is not merged. Keep it.",
        _with(join=_joined_and_cut),
    ),
    (
        "a merge looks at the first token only. Both must be those of the pair.",
        _with(join=_joined_by_the_first),
    ),
    (
        "the second token of a merged pair stays. Go on two tokens further.",
        _with(join=_joined_and_left),
    ),
    (
        "pairs reach from one word into the next. Count within each word alone.",
        lambda words, n: _learn({b"".join(w * k for w, k in words.items()): 1}, n),
    ),
    (
        "'aaa' counts the pair (a, a) once. Count all neighbours: twice.",
        _with(count=_counted(_apart)),
    ),
    (
        "a pair counts once a word, however often the word holds it. Count each place.",
        _with(count=_counted(lambda tokens: list(dict.fromkeys(pairwise(tokens))))),
    ),
    (
        "the pairs do not overlap: (0, 1), (2, 3), ... Each token but the last begins"
        " a pair.",
        _with(
            count=_counted(
                lambda tokens: list(zip(tokens[::2], tokens[1::2], strict=False))
            )
        ),
    ),
    (
        "the last pair of each word is not counted. The last token is a neighbour too.",
        _with(count=_counted(lambda tokens: list(pairwise(tokens[:-1])))),
    ),
    (
        "the first pair of each word is not counted. Start at the first token.",
        _with(count=_counted(lambda tokens: list(pairwise(tokens[1:])))),
    ),
    (
        "(a, b) and (b, a) are counted as one. Their order matters.",
        _with(count=_either_way),
    ),
    (
        "every word's pairs are weighted by its length too. Its count is enough.",
        _with(
            count=_counted(
                lambda tokens: [p for p in pairwise(tokens) for _ in tokens],
            )
        ),
    ),
    (
        "the count is divided by those of the two tokens: that is WordPiece. BPE takes"
        " the most frequent pair.",
        _like_word_piece,
    ),
    (
        "the pairs are counted once, before the first merge. Merge, then count again.",
        _never_counts_again,
    ),
    (
        "a new token never becomes part of a longer one. Count its pairs too.",
        _of_old_tokens,
    ),
    (
        "the counts never fall. A merge takes from its neighbours: 'ab' merged in 'abc'"
        " leaves one 'bc' fewer.",
        _counts_never_fall,
    ),
    (
        "the words are read as characters. 'é' is two bytes: use list(word).",
        _of_characters,
    ),
    (
        "one merge too many is learnt. num_merges says how many.",
        lambda words, n: _learn(words, n + 1),
    ),
    (
        "one merge is missing. num_merges says how many.",
        lambda words, n: _learn(words, n - 1),
    ),
    (
        "nothing is learnt. num_merges counts the merges alone, without the 256 bytes.",
        lambda words, n: [],
    ),
    (
        "the pairs come the wrong way round: (second, first).",
        lambda words, n: [(b, a) for a, b in _learn(words, n)],
    ),
    (
        "the pairs are sorted. Give them in the order they were learnt.",
        lambda words, n: sorted(_learn(words, n)),
    ),
    (
        "the last merge comes first. Give them in the order they were learnt.",
        lambda words, n: _learn(words, n)[::-1],
    ),
)

GOES_ON = (
    "a second call goes on from the first. Make all lists and counts inside the"
    " function."
)
NOTHING_LEFT = (
    "it fails when no pair is left. Stop before you look for the best of none."
)
MERGE_ERRORS = {
    "empty": NOTHING_LEFT,
    "heappop": NOTHING_LEFT,
    "not enough values to unpack": NOTHING_LEFT,
    "codec can't": "the words are any bytes, not always text. Decode nothing.",
    "changed size during iteration": "a dictionary changes while it is looped over.",
    "bytes must be in range": "an id above 255 is no byte. Keep ids as ints in a list.",
    "byte must be in range": "an id above 255 is no byte. Keep ids as ints in a list.",
    "positional argument": "it is called as learn_merges(words, num_merges).",
}


def _merges(function: Any, words: Words, num_merges: int) -> list[Pair]:
    """Call the reader's function; its merges as tuples of two ints."""
    result = attempt(function, Counter(words), num_merges, hints=MERGE_ERRORS)
    if isinstance(result, dict):
        raise FailedError("a dictionary came back. Give a list of the pairs, in order.")
    if isinstance(result, np.ndarray | Tensor):
        result = result.tolist()
    if not isinstance(result, list | tuple):
        kind = type(result).__name__
        raise FailedError(f"a {kind} came back, not a list of pairs of ids.")
    merges = []
    for pair in result:
        if isinstance(pair, np.ndarray | Tensor):
            pair = pair.tolist()
        if isinstance(pair, bytes | str) or (
            isinstance(pair, list | tuple)
            and any(isinstance(part, bytes | str) for part in pair)
        ):
            raise FailedError("the pairs hold bytes or text. Give two ids: (97, 98).")
        if not isinstance(pair, list | tuple):
            kind = type(pair).__name__
            raise FailedError(f"the list holds a {kind}. Give pairs of ids: (97, 98).")
        if len(pair) != 2:
            raise FailedError(
                f"a pair of ids has two numbers, and one has {len(pair)}."
            )
        if any(isinstance(part, list | tuple) for part in pair):
            raise FailedError("a pair is inside another. Give two ids alone: (97, 98).")
        try:
            merges.append((operator.index(pair[0]), operator.index(pair[1])))
        except TypeError as error:
            kind = type(pair[0]).__name__
            raise FailedError(f"an id is an int, not a {kind}.") from error
    return merges


def _gives_pairs(function: Any) -> None:
    raw = {bytes([200, 128, 0, 255]): 4, bytes([255, 200, 128]): 3, b"\xff": 2}
    for words in (raw, {b"q": 9}):
        for i, pair in enumerate(_merges(function, words, 3)):
            if not all(0 <= id_ < 256 + i for id_ in pair):
                raise FailedError(
                    f"merge {i} is {pair}, but then the largest id is {255 + i}. The"
                    " i-th merge (from 0) makes id 256 + i."
                )


def _learns_by_hand(function: Any) -> None:
    merges = _merges(function, SMALL, N_SMALL)
    right = _learn(SMALL, N_SMALL)
    if _merges(function, SMALL, N_SMALL) != merges:
        raise FailedError(GOES_ON)
    if merges == right:
        return
    if not merges and _merges(function, PLAIN, 5):  # no word of one byte in there
        raise FailedError(
            "nothing is learnt if one word has a single token. It has no pair: pass it"
            " over, and go on with the others."
        )
    for hint, rule in MERGE_SUSPECTS:
        if merges == rule(SMALL, N_SMALL):
            raise FailedError(hint)
    i = next((i for i, p in enumerate(merges) if [p] != right[i : i + 1]), len(merges))
    told = f"after {i} right merges" if i else "at the start"
    wanted = (
        f"{right[i]} is the most frequent pair" if i < len(right) else "none is due"
    )
    given = f"{merges[i]} is merged" if i < len(merges) else "nothing is merged"
    raise FailedError(f"{told} {wanted} (smallest ids first), but {given}.")


def _replayed(words: Words, merges: list[Pair]) -> Iterator[tuple[int, Pair, Counts]]:
    """Each merge, and what the counts were when its turn came."""
    spelled = [(list(word), times) for word, times in words.items()]
    for i, pair in enumerate(merges):
        yield i, pair, _count(spelled)
        spelled = [(_joined(tokens, pair, 256 + i), n) for tokens, n in spelled]


# No letter twice in a word: no run, and no two places for one pair.
PLAIN: dict[bytes, int] = {
    b"star": 17,
    b"tar": 31,
    b"art": 8,
    b"rat": 12,
    b"rats": 9,
    b"stare": 23,
    b"tears": 5,
    b"east": 40,
    b"sea": 3,
    b"steam": 14,
    b"team": 11,
    b"mates": 2,
}
EQUAL: dict[bytes, int] = {
    b"hgfe": 3,
    b"abc": 3,
    b"efgh": 3,
    b"dcba": 3,
    b"bda": 3,
    b"ca": 3,
}


def _takes_the_most_frequent(function: Any) -> None:
    merges = _merges(function, PLAIN, 12)
    if len(merges) < 5:
        raise FailedError(f"{len(merges)} merges came back where 12 can be learnt.")
    for i, pair, counts in _replayed(PLAIN, merges):
        most = max(counts.values())
        if counts.get(pair, 0) < most:
            raise FailedError(
                f"merge {i} is {pair}, which occurs {counts.get(pair, 0)} times within"
                f" words by then; {_best(counts)} occurs {most} times."
            )


def _breaks_ties(function: Any) -> None:
    merges = _merges(function, EQUAL, 8)
    backwards = _merges(function, dict(reversed(EQUAL.items())), 8)
    if merges != backwards:
        raise FailedError(
            "the same words in another order give other merges. Among equals the pair"
            " with the smallest ids wins."
        )
    for i, pair, counts in _replayed(EQUAL, merges):
        best = _best(counts)
        if counts.get(pair, 0) < counts[best]:
            return  # the counting itself is wrong, and others say how
        if pair != best:
            raise FailedError(
                f"merge {i} is {pair}, but {best} is as frequent, and its ids are"
                " smaller."
            )


def _merges_runs(function: Any) -> None:
    for length in (3, 4, 5, 7):
        words = {b"a" * length: 4}
        merges = _merges(function, words, 2)[:2]
        for i, pair, counts in _replayed(words, merges):
            if counts.get(pair, 0) < max(counts.values(), default=0):
                raise FailedError(
                    f"in '{'a' * length}' merge {i} is {pair}, not {_best(counts)}."
                    " Merge from left to right, and go on behind the pair."
                )


def _learns_in_steps(function: Any) -> None:
    ten = _merges(function, PLAIN, 10)
    for few in (5, 1, 0):
        if _merges(function, PLAIN, few) != ten[:few]:
            raise FailedError(
                f"asked for {few} merges, it does not give the first {few} of ten."
            )


def _stops(function: Any) -> None:
    cases: tuple[tuple[dict[bytes, int], int], ...] = (
        ({b"ab": 3, b"cd": 2}, 5),
        ({b"ab": 3, b"cd": 1}, 5),
        ({b"ab": 1, b"cd": 1}, 5),
        ({b"a": 7, b"b": 9}, 5),
        ({}, 5),
    )
    for words, asked in cases:
        merges, right = _merges(function, words, asked), _learn(words, asked)
        told = f"from {words} {len(merges)} merges come, not {len(right)}"
        if len(merges) > len(right):
            raise FailedError(
                f"{told}: a pair that occurs once is merged. Stop when the best count"
                " is below 2."
            )
        if len(merges) < len(right):
            raise FailedError(
                f"{told}: it stops too early. A pair that occurs twice is still merged."
            )


def _starts_afresh(function: Any) -> None:
    words = Counter(PLAIN)
    first = attempt(function, words, 6, hints=MERGE_ERRORS)
    if words != Counter(PLAIN) or list(words) != list(PLAIN):
        raise FailedError("the words are changed. Work on a copy of them.")
    kept = _merges(lambda *_: first, {}, 6)
    _merges(function, SMALL, 6)
    again = _merges(function, PLAIN, 6)
    if not kept == again == _merges(lambda *_: first, {}, 6):
        raise FailedError(GOES_ON)


LEARN_MERGES: tuple[Property, ...] = (
    ("the merges of a dozen words, made by hand", _learns_by_hand),
    ("a list of pairs of ids, from any bytes", _gives_pairs),
    ("each pair is the most frequent within words by then", _takes_the_most_frequent),
    ("of equals the smallest ids, in whatever order words come", _breaks_ties),
    ("'aaa' merges its first two, 'aaaa' twice two", _merges_runs),
    ("fewer merges are the first of more", _learns_in_steps),
    ("it stops when no pair occurs twice", _stops),
    ("the words are left alone, and each call starts afresh", _starts_afresh),
)


def learn_merges(function: Any) -> Report:
    """Try ``function(words, num_merges)``: how often each word occurs -> merges."""
    return run(function, LEARN_MERGES)


# ------------------------------------------------------------------ narrow

LIMIT = 65_536
# None is so large that it would take long to look for an id in range(vocab_size).
SIZES = (1, 200, 256, 257, 32_768, 32_769, 50_257, 65_535, 65_536, 65_537, 80_000)

TypeRule = Callable[[int], str]


def _type(vocab_size: int) -> str:
    return "<u2" if vocab_size <= LIMIT else "<u4"


TYPE_SUSPECTS: tuple[tuple[str, TypeRule], ...] = (
    (
        "65,536 tokens get uint32. Their largest id is 65,535, which uint16 holds.",
        lambda size: "<u2" if size < LIMIT else "<u4",
    ),
    (
        "65,537 tokens get uint16. Their largest id, 65,536, does not fit.",
        lambda size: "<u2" if size <= LIMIT + 1 else "<u4",
    ),
    (
        "uint16 ends at 32,768 here. That is int16's end; unsigned goes to 65,535.",
        lambda size: "<u2" if size <= LIMIT // 2 else "<u4",
    ),
    (
        "up to 256 tokens get uint8. Use uint16 or uint32 alone.",
        lambda size: "u1" if size <= 256 else _type(size),
    ),
    ("it is always uint16. More than 65,536 tokens need uint32.", lambda size: "<u2"),
    ("it is always uint32. Up to 65,536 tokens fit into uint16.", lambda size: "<u4"),
    (
        "it is always int64. Cast to uint16 or uint32, and keep what astype gives: it"
        " changes nothing in place.",
        lambda size: "<i8",
    ),
    ("it is always int32. Use the unsigned types.", lambda size: "<i4"),
    (
        "the types are signed: int16 and int32. Use uint16 and uint32.",
        lambda size: "<i2" if size <= LIMIT else "<i4",
    ),
    (
        "the types are signed, and chosen by what they hold. Use uint16 and uint32.",
        lambda size: "<i2" if size <= LIMIT // 2 else "<i4",
    ),
    (
        "more than 65,536 tokens get int32. Use uint32.",
        lambda size: "<u2" if size <= LIMIT else "<i4",
    ),
    (
        "more than 65,536 tokens get uint64. uint32 is enough.",
        lambda size: "<u2" if size <= LIMIT else "<u8",
    ),
    (
        "more than 65,536 tokens stay int64. Cast to uint32.",
        lambda size: "<u2" if size <= LIMIT else "<i8",
    ),
    (
        "the bytes are in big-endian order. Files are little-endian: '<u2', '<u4'.",
        lambda size: _type(size).replace("<", ">"),
    ),
    (
        "the sizes are exchanged: small vocabularies get uint32.",
        lambda size: "<u4" if size <= LIMIT else "<u2",
    ),
)
BY_THE_IDS = (
    "the type follows the ids that happen to come. It follows vocab_size, so that all"
    " files of a vocabulary are alike."
)
NARROW_ERRORS = {
    "zero-size array": "no ids at all make it fail. Give back an empty array.",
    "arg is an empty sequence": "no ids at all make it fail. Give back an empty array.",
    "iterable argument is empty": "no ids at all make it fail. Give an empty array.",
    "positional argument": "it is called as narrow(ids, vocab_size).",
    "'list' object has no attribute": "ids may be a list too. Begin with np.asarray.",
    "out of bounds for": "it raised OverflowError for ids that fit. Check the type.",
    "truth value of a": "ids may be an array. Use .any() or .all().",
    "'list' and 'int'": "ids may be a list too. Begin with np.asarray.",
}


def _narrowed(function: Any, ids: Any, vocab_size: int) -> NDArray[Any]:
    """Call the reader's function; it must give a row of as many numbers."""
    result = attempt(function, ids, vocab_size, hints=NARROW_ERRORS)
    if isinstance(result, Tensor):
        raise FailedError("a tensor came back. Give a numpy array.")
    if not isinstance(result, np.ndarray):
        raise FailedError(f"a {type(result).__name__} came back, not a numpy array.")
    if result.shape != (len(ids),):
        raise FailedError(f"the shape is {result.shape}, not ({len(ids)},).")
    return result


def _both(ids: Sequence[int]) -> tuple[list[int], NDArray[np.int64]]:
    return list(ids), np.array(ids, dtype=np.int64)


def _edges(vocab_size: int) -> list[int]:
    """The smallest ids, the largest, and those around what a type can hold."""
    near = (0, 1, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536)
    return [id_ for id_ in near if id_ < vocab_size] + [vocab_size - 1]


def _chooses_the_type(function: Any) -> None:
    given = []
    for size in SIZES:
        small, large = (
            np.dtype(_narrowed(function, ids, size).dtype)
            for ids in ([0], [0, size - 1])
        )
        if small != large:
            raise FailedError(BY_THE_IDS)
        given.append(large)
    if given == [np.dtype(_type(size)) for size in SIZES]:
        return
    for hint, rule in TYPE_SUSPECTS:
        if given == [np.dtype(rule(size)) for size in SIZES]:
            raise FailedError(hint)
    for size, dtype in zip(SIZES, given, strict=True):
        if dtype != np.dtype(_type(size)):
            raise FailedError(
                f"{size:,} tokens get {dtype}, not {np.dtype(_type(size))}."
            )


def _keeps_the_ids(function: Any) -> None:
    for size in SIZES:
        for ids in _both(_edges(size)):
            kept = _edges(size)
            given = _narrowed(function, ids, size).tolist()
            if given != kept:
                i = next(i for i, id_ in enumerate(given) if id_ != kept[i])
                raise FailedError(
                    f"of {size:,} tokens, id {kept[i]:,} comes back as {given[i]:,}."
                )
    order = [7, 3, 3, 9, 0, 7]
    for ids in _both(order):
        if _narrowed(function, ids, 10).tolist() != order:
            raise FailedError("the ids come back in another order or number.")


def _must_refuse(function: Any, bad: int, size: int, what: str) -> None:
    """A bad id, at the beginning, in the middle and at the end; list and array."""
    for row in ([bad], [bad, 1, 0], [0, bad, 1], [0, 1, bad])[: 4 if size < 999 else 1]:
        for ids in _both(row):
            kind = "a list" if isinstance(ids, list) else "an array"
            try:
                result = attempt(lambda *a: (function(*a),), ids, size)[0]
            except FailedError as failure:
                if isinstance(failure.__cause__, ValueError):
                    continue
                if isinstance(failure.__cause__, OverflowError):
                    raise FailedError(
                        f"{what} in {kind} raises OverflowError, NumPy's own. Check"
                        " first, and raise ValueError."
                    ) from failure
                told = str(failure).removeprefix("it raised ")
                raise FailedError(
                    f"{what} in {kind} must raise ValueError, and it raised {told}"
                ) from failure
            if result is None or result is ...:
                raise FailedError(f"{what} gives {result}. Raise ValueError.")
            place = {0: "", len(row) - 1: " at the end"}.get(row.index(bad), " between")
            values = result.tolist() if isinstance(result, np.ndarray) else []
            came = ""
            if len(values) == len(row):
                came = f" and comes out as {values[row.index(bad)]}"
            raise FailedError(
                f"{what} in {kind}{place} is let through{came}. Raise ValueError."
            )


def _refuses(function: Any, ids: list[int], size: int) -> bool:
    try:
        attempt(lambda *a: (function(*a),), ids, size)
    except FailedError as failure:
        return isinstance(failure.__cause__, ValueError)
    return False


def _refuses_large(function: Any) -> None:
    either = _refuses(function, [10], 10) or _refuses(function, [-1], 10)
    if not either and _refuses(function, [-1, 10], 10):
        raise FailedError(
            "it raises only if one id is negative and another too large. Either is"
            " enough: or, not and."
        )
    for size in (10, 50_257, 80_000):
        for bad in (size, size + 1):
            told = f"id {bad:,} of {size:,} tokens (0 to {size - 1:,})"
            _must_refuse(function, bad, size, told)


def _refuses_negative(function: Any) -> None:
    for size in (10, 50_257, 80_000):
        _must_refuse(function, -1, size, "a negative id (-1)")
        try:
            _must_refuse(function, -size, size, f"a negative id ({-size:,})")
        except FailedError as failure:
            raise FailedError(
                f"{failure} -1 is refused, so look before casting, not after: a"
                " negative id may wrap to a good one."
            ) from failure


def _refuses_what_would_wrap(function: Any) -> None:
    for size, wrap in ((1000, 2**16), (2**16, 2**16), (1000, 2**32), (80_000, 2**32)):
        for bad in (wrap + 3, 3 - wrap):
            try:
                _must_refuse(function, bad, size, f"id {bad:,}")
            except FailedError as failure:
                raise FailedError(
                    f"{failure} Cast to {8 * np.dtype(_type(size)).itemsize} bits it"
                    " would wrap to 3: check before casting."
                ) from failure


def _bears_none(function: Any) -> None:
    for size in (1000, 100_000):
        for ids in _both([]):
            result = _narrowed(function, ids, size)
            told = f"no ids give {result.dtype}. "
            if result.dtype.kind == "f":
                raise FailedError(f"{told}An empty list becomes float64: cast it too.")
            full = _narrowed(function, [1], size)
            if result.dtype != full.dtype:
                raise FailedError(f"{told}Some ids give {full.dtype}.")


def _leaves_the_ids(function: Any) -> None:
    row = [5, 2, 9, 2]
    for ids in _both(row):
        _narrowed(function, ids, 10)
        if list(ids) != row:
            raise FailedError("the ids are changed in place. Make a new array.")
        if isinstance(ids, np.ndarray):
            every = np.array([5, 1, 2, 1, 9, 1, 2, 1])[::2]
            if _narrowed(function, every, 10).tolist() != row:
                raise FailedError("an array with gaps in memory comes out wrong.")
            result = _narrowed(function, ids, 10)
            result[:] = 0
            if list(ids) != row:
                raise FailedError("the result shares memory with the ids. Copy them.")


NARROW: tuple[Property, ...] = (
    ("uint16 up to 65,536 tokens, uint32 for more", _chooses_the_type),
    ("every id that may be comes back as it was", _keeps_the_ids),
    ("an id that is too large raises ValueError", _refuses_large),
    ("a negative id raises ValueError", _refuses_negative),
    ("what would wrap to a good id raises it too", _refuses_what_would_wrap),
    ("no ids give an empty array of the same type", _bears_none),
    ("the ids handed in are left alone", _leaves_the_ids),
)


def narrow(function: Any) -> Report:
    """Try ``function(ids, vocab_size) -> array`` of uint16 or uint32."""
    return run(function, NARROW)


# ------------------------------------------------------------------ token_reader

T = 5
ROWS = NDArray[np.int64]

U2_VALUES = 31_000 + 111 * np.arange(6 * T + 1)  # beyond what int16 holds, too
U4_VALUES = 70_000 + 1_000_003 * np.arange(6 * T + 1)  # beyond what float32 holds


def _file_values(dtype: type) -> ROWS:
    return U2_VALUES if dtype is np.uint16 else U4_VALUES


# How a file's bytes may be read wrongly: what its tokens then are.
VALUE_SUSPECTS: tuple[tuple[str, Callable[[ROWS, int], NDArray[Any]]], ...] = (
    (
        "the bytes of each token are read in the wrong order. The file is"
        " little-endian: '<u2' or '<u4'.",
        lambda values, size: values.astype(f"<u{size}").view(f">u{size}"),
    ),
    (
        "the tokens are read as signed, so some are negative. Use the dtype given.",
        lambda values, size: values.astype(f"<u{size}").view(f"<i{size}"),
    ),
    (
        "the tokens are cut to 16 bits. Widen them to int64.",
        lambda values, size: values % 2**16,
    ),
    (
        "the file is read as uint16, whatever dtype says. Use the dtype given.",
        lambda values, size: values.astype(f"<u{size}").view("<u2"),
    ),
    (
        "the file is read as single bytes. Give np.memmap the dtype.",
        lambda values, size: values.astype(f"<u{size}").view("u1"),
    ),
    (
        "the tokens are narrowed to int16 on the way. Widen them to int64.",
        lambda values, size: values.astype("<i2"),
    ),
    (
        "the tokens pass through float32, which rounds large ids. Widen to int64.",
        lambda values, size: values.astype(np.float32).astype(np.int64),
    ),
    (
        "the places of the tokens came back, not the tokens.",
        lambda values, size: np.arange(len(values)),
    ),
)

# Where the targets of the inputs at these places may stand.
TARGET_SUSPECTS: tuple[tuple[str, Callable[[ROWS], ROWS]], ...] = (
    (
        "targets equal inputs. They stand one token later in the file.",
        lambda places: places,
    ),
    (
        "targets stand two tokens later. Shift by one.",
        lambda places: places + 2,
    ),
    (
        "inputs and targets are exchanged: targets stand one token earlier.",
        lambda places: places - 1,
    ),
    (
        "targets are the whole next window. They stand one token later.",
        lambda places: places + places.shape[1],
    ),
    (
        "the last target is the window's first token: np.roll. It is the token that"
        " follows in the file.",
        lambda places: np.roll(places, -1, axis=1),
    ),
    (
        "targets are rolled along the batch. They follow within the row.",
        lambda places: np.roll(places, -1, axis=0),
    ),
    (
        "the last target is the window's last input. It is the token that follows in"
        " the file.",
        lambda places: np.append(places[:, 1:], places[:, -1:], axis=1),
    ),
    (
        "the last target is the file's first token. Read one token more.",
        lambda places: np.append(places[:, 1:], 0 * places[:, -1:], axis=1),
    ),
)


def _n_windows(n_tokens: int, length: int) -> int:
    return (n_tokens - 1) // length


def _beginning(
    number: Callable[[int, int], int], at: Callable[[int, int], int]
) -> Callable[[int, int], set[int]]:
    """The set of where windows begin, from how many there are and where the i-th is."""
    return lambda n, length: {at(i, length) for i in range(number(n, length))}


# Where the windows of an epoch may begin, for a number of tokens and a length.
WINDOW_SUSPECTS: tuple[tuple[str, Callable[[int, int], set[int]]], ...] = (
    (
        "the last window is never seen. There are (tokens - 1) // context_length.",
        _beginning(lambda n, t: (n - 1) // t - 1, lambda i, t: i * t),
    ),
    (
        "the last window is lost when its last target is the file's last token. There"
        " are (tokens - 1) // context_length, not tokens // context_length - 1.",
        _beginning(lambda n, t: n // t - 1, lambda i, t: i * t),
    ),
    (
        "a window is lost where it just fits. There are (tokens - 1) // context_length,"
        " not (tokens - 2).",
        _beginning(lambda n, t: (n - 2) // t, lambda i, t: i * t),
    ),
    (
        "the first window is never seen. Count from 0.",
        lambda n, t: {i * t for i in range(1, _n_windows(n, t))},
    ),
    (
        "windows begin context_length + 1 tokens apart, so every last target is never"
        " an input. Begin at i * context_length.",
        _beginning(lambda n, t: n // (t + 1), lambda i, t: i * (t + 1)),
    ),
    (
        "windows begin one token late, at i * context_length + 1.",
        _beginning(lambda n, t: (n - 2) // t, lambda i, t: i * t + 1),
    ),
    (
        "the number of the window is taken for its first token. Multiply by"
        " context_length.",
        _beginning(_n_windows, lambda i, t: i),
    ),
    (
        "windows overlap by half. Begin at i * context_length.",
        lambda n, t: set(range(0, n - t, t // 2)),
    ),
    (
        "an extra last window overlaps the one before it. What is left over at the end"
        " of the file stays unread.",
        lambda n, t: {*range(0, _n_windows(n, t) * t, t), n - t - 1},
    ),
    (
        "every epoch is one single window. There are (tokens - 1) // context_length.",
        lambda n, t: {0},
    ),
)
ANYWHERE = (
    "windows begin at any token, so an epoch has holes and overlaps. Begin at"
    " i * context_length."
)
A_PHASE = (
    "each epoch's windows begin at another token. Window i begins at i * context_length"
    " in every epoch."
)
TWICE = (
    "an epoch shows some window twice and another never. Shuffle the windows; do not"
    " draw them."
)
GLOBAL = (
    "the order is drawn from the caller's random state: another state gives another"
    " batch. Make a generator of your own from (seed, epoch)."
)

Order = Callable[[int], list[int]]
Placed = Callable[[Order, int, int, int], list[int]]


def _sample(order: Order, n: int, sample: int) -> int:
    return order(sample // n)[sample % n]


def _placed(order: Order, n: int, step: int, rows: int) -> list[int]:
    return [_sample(order, n, step * rows + row) for row in range(rows)]


def _dropping(order: Order, n: int, step: int, rows: int) -> list[int]:
    whole = max(1, n // rows)
    epoch, first = step // whole, step % whole * rows
    return [order(epoch)[(first + row) % n] for row in range(rows)]


def _filling(
    order: Order, n: int, step: int, rows: int, fill: Callable[[int], int]
) -> list[int]:
    per_epoch = -(-n // rows)
    first = step % per_epoch * rows
    return [order(step // per_epoch)[fill(first + row)] for row in range(rows)]


# Which windows the rows of a batch may be, told by the reader's own order of an epoch.
PLACE_SUSPECTS: tuple[tuple[str, Placed], ...] = (
    (
        "a batch that straddles two epochs goes on with the old epoch's order. Each"
        " row's sample number decides: divmod(step * batch_size + row, n).",
        lambda order, n, step, rows: [
            order(step * rows // n)[(step * rows + row) % n] for row in range(rows)
        ],
    ),
    (
        "a batch that straddles two epochs takes all rows from the new one. Each row's"
        " sample number decides: divmod(step * batch_size + row, n).",
        lambda order, n, step, rows: [
            order((step * rows + rows - 1) // n)[(step * rows + row) % n]
            for row in range(rows)
        ],
    ),
    (
        "windows that do not fill a batch are dropped at an epoch's end. A batch may"
        " straddle: divmod(step * batch_size + row, n).",
        _dropping,
    ),
    (
        "an epoch's last batch is filled from the same epoch's beginning. Go on with"
        " the next epoch: divmod(step * batch_size + row, n).",
        lambda order, n, step, rows: _filling(order, n, step, rows, lambda p: p % n),
    ),
    (
        "an epoch's last batch is filled with its last window again. Go on with the"
        " next epoch: divmod(step * batch_size + row, n).",
        lambda order, n, step, rows: _filling(
            order, n, step, rows, lambda p: min(p, n - 1)
        ),
    ),
    (
        "step counts single windows, so that batches overlap. The sample number is"
        " step * batch_size + row.",
        lambda order, n, step, rows: [
            _sample(order, n, step + row) for row in range(rows)
        ],
    ),
    (
        "steps are counted from 1, so the first batch_size samples are missing. Step 0"
        " begins with sample 0.",
        lambda order, n, step, rows: [
            _sample(order, n, step * rows + row + rows - 1) for row in range(rows)
        ],
    ),
    (
        "the step is ignored: every batch is the first. The sample number is"
        " step * batch_size + row.",
        lambda order, n, step, rows: [_sample(order, n, row) for row in range(rows)],
    ),
    (
        "all rows are the same window. Add row to step * batch_size.",
        lambda order, n, step, rows: [_sample(order, n, step * rows)] * rows,
    ),
    (
        "row is multiplied where step belongs. The sample number is"
        " step * batch_size + row.",
        lambda order, n, step, rows: [
            _sample(order, n, row * rows + step) for row in range(rows)
        ],
    ),
    (
        "every step draws a new order and takes its first rows. The epoch decides the"
        " order: (step * batch_size + row) // n.",
        lambda order, n, step, rows: [order(step)[row % n] for row in range(rows)],
    ),
    (
        "every step has an order of its own. The epoch decides the order:"
        " (step * batch_size + row) // n.",
        lambda order, n, step, rows: [
            order(step)[(step * rows + row) % n] for row in range(rows)
        ],
    ),
    (
        "epochs are counted in steps: step // n. They are"
        " (step * batch_size + row) // n.",
        lambda order, n, step, rows: [
            order(step // n)[(step * rows + row) % n] for row in range(rows)
        ],
    ),
    (
        "the order of an epoch is never renewed. Its number is"
        " (step * batch_size + row) // n.",
        lambda order, n, step, rows: [
            order(0)[(step * rows + row) % n] for row in range(rows)
        ],
    ),
    (
        "the rows of a batch are sorted. Leave them in the order of the epoch.",
        lambda order, n, step, rows: sorted(_placed(order, n, step, rows)),
    ),
    (
        "the rows of a batch come in reverse.",
        lambda order, n, step, rows: _placed(order, n, step, rows)[::-1],
    ),
    (
        "each row reads its own part of the file. The sample number is"
        " step * batch_size + row.",
        lambda order, n, step, rows: [
            order(step // max(1, n // rows))[
                (row * max(1, n // rows) + step % max(1, n // rows)) % n
            ]
            for row in range(rows)
        ],
    ),
)

PAST_THE_END = (
    "a window runs past the end of the file. There are (tokens - 1) // context_length:"
    " the last target needs a token too."
)
READER_ERRORS = {
    "takes no arguments": "the class is built as Reader(path, dtype).",
    "__init__() takes": "the class is built as Reader(path, dtype).",
    "__init__() missing": "the class is built as Reader(path, dtype).",
    "batch() takes": "it is asked as batch(seed, step, batch_size, context_length).",
    "batch() missing": "it is asked as batch(seed, step, batch_size, context_length).",
    "getset_descriptor": "dtype is np.uint16 or np.uint32. Ask np.dtype(dtype).",
    "stack expects each tensor to be equal": PAST_THE_END,
    "same shape": PAST_THE_END,
    "inhomogeneous": PAST_THE_END,
    "could not broadcast": PAST_THE_END,
    "out of bounds": PAST_THE_END,
    "Permission denied": "the file is opened for writing. Use mode='r'.",
    "UInt16": "PyTorch hardly computes in uint16. Widen first: astype(np.int64).",
    "shape must be": "mode='w+' makes a new file. Use mode='r'.",
    "Seed must be between": "a seed is negative or too large on the way.",
}


@contextmanager
def _written(values: Any, dtype: type = np.uint16, extra: int = 0) -> Iterator[Path]:
    """A file of tokens, little-endian, with ``extra`` bytes behind them."""
    content = np.asarray(values).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "tokens.bin"
        path.write_bytes(content + bytes(extra))
        yield path


def _countable(n_tokens: int) -> ROWS:
    """Tokens that tell their place, and are the same in either order of bytes."""
    return 257 * np.arange(n_tokens)


@contextmanager
def _luck(seed: int = 0) -> Iterator[None]:
    """The caller's three random states, set to something and later put back."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        _set_luck(seed)
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def _set_luck(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes far longer


def _open(kind: Any, path: Path, dtype: type = np.uint16) -> Any:
    reader = attempt(kind, path, dtype, hints=READER_ERRORS)
    if not callable(getattr(reader, "batch", None)):
        raise FailedError(
            f"what it makes, a {type(reader).__name__}, has no method called batch."
        )
    return reader


def _raw(reader: Any, seed: int, step: int, rows: int, length: int) -> tuple[Any, Any]:
    result = attempt(reader.batch, seed, step, rows, length, hints=READER_ERRORS)
    if not isinstance(result, tuple | list) or len(result) != 2:
        kind = type(result).__name__
        raise FailedError(f"batch gives a {kind}. Give two tensors: inputs, targets.")
    return result[0], result[1]


def _batch(
    reader: Any, seed: int, step: int, rows: int, length: int
) -> tuple[ROWS, ROWS]:
    """Ask the reader's class; inputs and targets as arrays of int64.

    Other types pass here: the first property tells of them.
    """
    arrays = []
    parts = zip(
        ("inputs", "targets"), _raw(reader, seed, step, rows, length), strict=True
    )
    for name, part in parts:
        try:
            whole = part.long() if isinstance(part, Tensor) else part
            array = np.array(whole).astype(np.int64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise FailedError(f"{name} are no numbers: {one_line(error)}") from error
        if array.shape != (rows, length):
            told = f"{name} have shape {array.shape}, not ({rows}, {length})"
            if array.shape == (length, rows):
                raise FailedError(f"{told}: rows and columns are exchanged.")
            if array.shape == (rows, length + 1):
                raise FailedError(f"{told}: cut the extra token off.")
            if array.shape == (rows, length - 1):
                raise FailedError(
                    f"{told}: a window needs context_length + 1 tokens, and none may"
                    " run past the end of the file. There are"
                    " (tokens - 1) // context_length."
                )
            if array.shape == (rows * length,):
                raise FailedError(f"{told}: one row for each window.")
            if len(array) < rows:
                raise FailedError(
                    f"{told}: a batch is always full. At an epoch's end it goes on with"
                    " the next epoch."
                )
            raise FailedError(f"{told}.")
        arrays.append(array)
    return arrays[0], arrays[1]


def _new(
    kind: Any, path: Path, seed: int, step: int, rows: int, length: int
) -> tuple[ROWS, ROWS]:
    """The batch of a Reader that was asked nothing else, under the same luck."""
    _set_luck(0)
    return _batch(_open(kind, path), seed, step, rows, length)


def _begins(kind: Any, path: Path, seed: int, step: int, rows: int, length: int) -> Any:
    """Where the rows of a batch begin in a file of countable tokens."""
    inputs, _ = _new(kind, path, seed, step, rows, length)
    return (inputs[:, 0] // 257).tolist()


def _epoch(
    kind: Any, path: Path, seed: int, epoch: int, n: int, length: int
) -> list[int]:
    """Where the windows of an epoch of ``n`` begin, asked for one by one."""
    steps = range(epoch * n, (epoch + 1) * n)
    return [_begins(kind, path, seed, step, 1, length)[0] for step in steps]


def _places(values: ROWS, array: ROWS) -> ROWS:
    """Where the tokens stand in the file; -1 for one that it does not hold."""
    where = {int(value): i for i, value in enumerate(values)}
    flat = [where.get(int(value), -1) for value in array.flat]
    return np.array(flat).reshape(array.shape)


def _gives_pairs_of_rows(kind: Any) -> None:
    for dtype in (np.uint16, np.uint32):
        values, size = _file_values(dtype), np.dtype(dtype).itemsize
        with _luck(), _written(values, dtype) as path:
            n = _n_windows(len(values), T)
            inputs, targets = _batch(_open(kind, path, dtype), 1, 0, n, T)
            places = _places(values, inputs)
            if (places < 0).any():
                for hint, read in VALUE_SUSPECTS:
                    if np.isin(inputs, read(values, size).astype(np.int64)).all():
                        raise FailedError(hint)
                token = inputs[places < 0][0]
                raise FailedError(f"token {token} is not in the file.")
            if not (np.diff(places, axis=1) == 1).all():
                raise FailedError(
                    "the tokens of a row do not stand side by side in the file."
                )
            follow = _places(values, targets)
            if not np.array_equal(follow, places + 1):
                for hint, shift in TARGET_SUSPECTS:
                    suspect = shift(places)
                    there = (suspect >= 0) & (suspect < len(values))
                    if np.array_equal(follow[there], suspect[there]):
                        raise FailedError(hint)
                raise FailedError("targets are not the inputs one place later.")
            parts = _raw(_open(kind, path, dtype), 1, 0, n, T)
            for name, part in zip(("inputs", "targets"), parts, strict=True):
                if not isinstance(part, Tensor):
                    got = type(part).__name__
                    raise FailedError(f"{name} are a {got}, not a torch tensor.")
                if part.dtype != torch.int64:
                    got = str(part.dtype).removeprefix("torch.")
                    raise FailedError(f"{name} are {got}. Widen them to int64.")


def _sees_each_window_once(kind: Any) -> None:
    seen: list[tuple[int, list[list[int]]]] = []
    for n_tokens in (8 * T + 1, 8 * T, 8 * T - 1, 8 * T + 2, 8 * T + 3):
        n = _n_windows(n_tokens, T)
        with _luck(), _written(_countable(n_tokens)) as path:
            epochs = [_epoch(kind, path, 3, epoch, n, T) for epoch in range(5)]
        seen.append((n_tokens, epochs))
    wanted = [list(range(0, n * T, T)) for n in (_n_windows(m, T) for m, _ in seen)]
    if all(
        sorted(epoch) == right
        for (_, epochs), right in zip(seen, wanted, strict=True)
        for epoch in epochs
    ):
        return
    met = [(m, {start for epoch in epochs for start in epoch}) for m, epochs in seen]
    for hint, rule in WINDOW_SUSPECTS:
        if all(starts == rule(n_tokens, T) for n_tokens, starts in met):
            raise FailedError(hint)
    if any(start % T for _, starts in met for start in starts):
        rests = [
            [start % T for epoch in epochs for start in epoch] for _, epochs in seen
        ]
        pairs = [pair for row in rests for pair in pairwise(row)]
        often = sum(a == b for a, b in pairs) > 0.6 * len(pairs)
        raise FailedError(A_PHASE if often else ANYWHERE)
    if any(n_tokens - 1 < max(starts) + T for n_tokens, starts in met):
        raise FailedError(PAST_THE_END)
    _ignores_the_callers_luck(kind)
    _counts_samples(kind)  # a wrong number of the sample explains it better
    raise FailedError(TWICE)


N_ORDER = 40  # so many windows that two orders are not the same by chance


def _shuffles(kind: Any) -> None:
    seeds, length = (0, 1, 1337), 3
    with _luck(), _written(_countable(N_ORDER * length + 1)) as path:
        orders = {
            (seed, epoch): [
                start // length
                for start in _epoch(kind, path, seed, epoch, N_ORDER, length)
            ]
            for seed in seeds
            for epoch in range(3)
        }
    told = _same_orders(orders)
    if told:
        _ignores_the_callers_luck(kind)
        if any(sorted(order) != sorted(range(N_ORDER)) for order in orders.values()):
            _counts_samples(kind)  # explains it better
        raise FailedError(told)


def _same_orders(orders: dict[tuple[int, int], list[int]]) -> str:
    """Which orders of (seed, epoch) are what they must not be; nothing if none is."""
    plain = list(range(N_ORDER))
    still = [key for key, order in orders.items() if order == plain]
    if len(still) == len(orders):
        return "the windows are not shuffled. They come as in the file."
    if still:
        seed, epoch = still[0]
        return f"with seed {seed}, epoch {epoch} is not shuffled. Shuffle each."
    if all(_is_rotated(order) for order in orders.values()):
        return (
            "the windows come as in the file, only from another one on. Shuffle them."
        )
    if all(order == orders[seed, 0] for (seed, _), order in orders.items()):
        return (
            "every epoch has the same order. Its number belongs into the generator's"
            " seed: (seed, epoch)."
        )
    if all(order == orders[0, epoch] for (_, epoch), order in orders.items()):
        return "every seed has the same order. Make the generator from (seed, epoch)."
    for (key, order), (twin, other) in combinations(orders.items(), 2):
        if order == other and key[0] == twin[0]:
            return (
                f"with seed {key[0]}, epochs {key[1]} and {twin[1]} have the same"
                " order. Both seed and epoch must count."
            )
        if order == other and key[1] == twin[1]:
            return (
                f"in epoch {key[1]}, seeds {key[0]} and {twin[0]} have the same order."
                " Both seed and epoch must count."
            )
    return ""


def _is_rotated(order: list[int]) -> bool:
    return all((b - a) % len(order) == 1 for a, b in pairwise(order))


N_PLACE, SHORT = 7, 3  # 7 windows of 3 tokens
ASKED = ((1, 16), (2, 12), (3, 10), (5, 6), (16, 3))  # rows in a batch, and how many


def _counts_samples(kind: Any) -> None:
    with _luck(), _written(_countable(N_PLACE * SHORT + 1)) as path:

        @cache
        def one_by_one(epoch: int) -> list[int]:
            begins = _epoch(kind, path, 5, epoch, N_PLACE, SHORT)
            return [start // SHORT for start in begins]

        @cache
        def at_once(epoch: int) -> list[int]:
            begins = _begins(kind, path, 5, epoch, N_PLACE, SHORT)
            return [start // SHORT for start in begins]

        def draws(order: Order) -> bool:
            return any(len(set(order(epoch))) < N_PLACE for epoch in range(3))

        given = {
            (step, rows): [
                start // SHORT for start in _begins(kind, path, 5, step, rows, SHORT)
            ]
            for rows, steps in ASKED
            for step in range(steps)
        }
        if given == {key: _placed(one_by_one, N_PLACE, *key) for key in given}:
            return
        if draws(one_by_one) and draws(at_once):
            raise FailedError(TWICE)
        few = {key: windows for key, windows in given.items() if key[1] <= N_PLACE}
        for order in (one_by_one, at_once):
            for hint, rule in PLACE_SUSPECTS:
                if all(few[key] == rule(order, N_PLACE, *key) for key in few):
                    raise FailedError(hint)
    _remembers_nothing(kind)  # what it was asked before explains it better
    for b, steps in ASKED:
        samples = [window for k in range(steps) for window in given[k, b]]
        if sorted(samples[:N_PLACE]) != list(range(N_PLACE)):
            raise FailedError(
                f"with batches of {b}, the first {N_PLACE} samples are not the"
                f" {N_PLACE} windows: one comes twice. Sample step * batch_size + row"
                " belongs to epoch sample // n, place sample % n."
            )
    raise FailedError(
        "batches of another size come in another order. Sample step * batch_size + row"
        " belongs to epoch sample // n, place sample % n."
    )


def _same(one: tuple[ROWS, ROWS], other: tuple[ROWS, ROWS]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _remembers_nothing(kind: Any) -> None:
    asked = (5, 4, 3, SHORT)  # straddles epochs 1 and 2 of 7 windows
    before = {
        "for the same batch": [asked],
        "for the steps before it": [(5, step, 3, SHORT) for step in range(4)],
        "for a later step": [(5, 5, 3, SHORT)],
        "for a later epoch": [(5, 30, 3, SHORT)],
        "with another seed": [(6, 4, 3, SHORT)],
        "for another batch_size": [(5, 4, 2, SHORT), (5, 0, 7, SHORT)],
        "for a shorter context_length": [(5, 4, 3, 2)],
        "for a longer context_length": [(5, 4, 3, 4)],
    }
    with _luck(), _written(_countable(N_PLACE * SHORT + 1)) as path:
        fresh = _new(kind, path, *asked)
        for what, questions in before.items():
            reader = _open(kind, path)
            for question in questions:
                _set_luck(0)
                _batch(reader, *question)
            _set_luck(0)
            if not _same(_batch(reader, *asked), fresh):
                raise FailedError(
                    f"after it was asked {what}, a Reader gives another batch than a"
                    " new one. Compute it from seed and step alone; keep no counter, no"
                    " order and no generator."
                )
        reader = _open(kind, path)
        _set_luck(0)
        inputs, targets = _raw(reader, *asked)
        kept = [np.array(part) for part in (inputs, targets)]
        _batch(reader, 5, 0, 3, SHORT)
        if not all(
            np.array_equal(np.array(part), old)
            for part, old in zip((inputs, targets), kept, strict=True)
        ):
            raise FailedError(
                "a batch changes when the next one is asked for: both use one buffer."
                " Make new tensors each time."
            )
        for part in (inputs, targets):
            if isinstance(part, Tensor):
                part.zero_()
        _set_luck(0)
        if not _same(_batch(reader, *asked), fresh):
            raise FailedError(
                "who writes into a batch changes what is read later. Hand out copies."
            )
    _is_the_same_elsewhere(kind)


def _holds_text(thing: Any) -> bool:
    if isinstance(thing, tuple | frozenset):
        return any(_holds_text(part) for part in thing)
    return isinstance(thing, str | bytes | Path)


def _is_the_same_elsewhere(kind: Any) -> None:
    """Another process, where the hash of a text is another number."""

    def elsewhere(thing: Any) -> int:
        return hash(("elsewhere", thing) if _holds_text(thing) else thing)

    asked = (5, 1, N_ORDER, SHORT)
    with _luck(), _written(_countable(N_ORDER * SHORT + 1)) as path:
        here = _new(kind, path, *asked)
        names = getattr(inspect.unwrap(_open(kind, path).batch), "__globals__", {})
        if "hash" in names:
            return  # one of the reader's own
        names["hash"] = elsewhere
        try:
            same = _same(_new(kind, path, *asked), here)
        except FailedError:
            same = False
        finally:
            del names["hash"]
        if not same:
            raise FailedError(
                "in another process it gives another batch: the hash of a text is a new"
                " number in each. Make the generator from numbers: (seed, epoch)."
            )


def _ignores_the_callers_luck(kind: Any) -> None:
    with _luck(), _written(_countable(N_ORDER * SHORT + 1)) as path:
        several = []
        for seed in (1, 2, 3):
            _set_luck(seed)
            several.append(_batch(_open(kind, path), 5, 1, N_ORDER, SHORT))
        if not all(_same(one, several[0]) for one in several):
            raise FailedError(GLOBAL)


def _leaves_the_callers_luck(kind: Any) -> None:
    _ignores_the_callers_luck(kind)
    with _luck(7), _written(_countable(N_ORDER * SHORT + 1)) as path:
        states = _states()
        reader = _open(kind, path)
        for step in range(3):
            _batch(reader, 5, step, N_ORDER, SHORT)
        for name, before, after in zip(STATES, states, _states(), strict=True):
            if before != after:
                raise FailedError(
                    f"the caller's random state is changed ({name}). Make a generator"
                    " of your own: np.random.default_rng or torch.Generator."
                )


STATES = ("random", "numpy.random", "torch")


def _states() -> tuple[Any, ...]:
    legacy = np.random.get_state(legacy=False)
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), repr(legacy) + _key(legacy), torch_state


def _key(state: Any) -> str:
    return str(state["state"]["key"].tobytes())


def _checks_the_file(kind: Any) -> None:
    for dtype, extras in ((np.uint16, (1,)), (np.uint32, (1, 2, 3))):
        for extra in extras:
            n_bytes = 41 * np.dtype(dtype).itemsize + extra
            told = f"{n_bytes} bytes are no whole {np.dtype(dtype)} tokens"
            with _luck(), _written(np.arange(41), dtype, extra) as path:
                _must_raise(kind, path, dtype, T, told)
    for n_tokens in (T, T - 1, 1, 0):
        told = f"{n_tokens} tokens are too few for a window of {T} and its targets"
        if not n_tokens:
            told += f" ((0 - 1) // {T} is -1, not 0)"
        with _luck(), _written(np.arange(n_tokens)) as path:
            _must_raise(kind, path, np.uint16, T, told)
    with _luck(), _written(_countable(T + 1)) as path:
        try:
            begins = _begins(kind, path, 0, 0, 1, T)
        except FailedError as failure:
            if isinstance(failure.__cause__, ValueError):
                raise FailedError(
                    f"{T + 1} tokens are enough for a window of {T} and its targets,"
                    " but they are refused."
                ) from failure
            raise
        if begins != [0]:
            raise FailedError(f"{T + 1} tokens hold one window, which begins at 0.")


def _must_raise(kind: Any, path: Path, dtype: type, length: int, told: str) -> None:
    def ask(*arguments: Any) -> Any:
        return (kind(path, dtype).batch(0, 0, 1, length),)

    try:
        attempt(ask)
    except FailedError as failure:
        if isinstance(failure.__cause__, ValueError):
            return
        what = str(failure).removeprefix("it raised ")
        raise FailedError(f"{told}. Raise ValueError, not {what}") from failure
    raise FailedError(f"{told}, and nothing is said. Look at the size: ValueError.")


BIG_BYTES = 2**24  # a file of zeros that takes no room on the disk
BIG_LENGTH = 4096


def _stays_on_the_disk(kind: Any) -> None:
    n_tokens = N_PLACE * SHORT + 1
    asked = (5, 0, N_PLACE, SHORT)
    with _luck(), _written(_countable(n_tokens)) as path:
        content = path.read_bytes()
        _is_read_only(kind, path, asked)
        if path.read_bytes() != content:
            raise FailedError("the file itself was changed. Use mode='r'.")
        reader = _open(kind, path)
        _set_luck(0)
        _write(path, (_countable(n_tokens) + 257).astype("<u2").tobytes())
        inputs, _ = _batch(reader, *asked)
        if not np.isin(inputs, _countable(n_tokens)[1:]).all():
            raise FailedError(
                "the whole file is read when the Reader is made: what is written to it"
                " later is not seen. Keep np.memmap and copy only the windows."
            )
        _write(path, content)
        _set_luck(0)
        inputs, targets = _raw(reader, *asked)
        kept = [np.array(part) for part in (inputs, targets)]
        _write(path, bytes(len(content)))
        for part, old in zip((inputs, targets), kept, strict=True):
            if not np.array_equal(np.array(part), old):
                raise FailedError(
                    "a batch changes with the file: it is a view into the map. Copy it."
                )
        del reader, inputs, targets
    with _luck(), _written([]) as path:
        with path.open("r+b") as file:
            file.truncate(BIG_BYTES)
        _batch(_open(kind, path), 0, 0, 2, BIG_LENGTH)  # imports what it imports
        if _peak(kind, path) > BIG_BYTES // 4:
            raise FailedError(
                "the whole file is copied into memory. Keep np.memmap as it is, and"
                " convert only the windows of the batch."
            )


def _is_read_only(kind: Any, path: Path, asked: tuple[int, int, int, int]) -> None:
    modes: list[str] = []
    original = np.memmap

    class Seen(original):  # type: ignore[misc, valid-type]
        def __new__(
            cls,
            filename: Any,
            dtype: Any = np.uint8,
            mode: Any = "r+",
            *a: Any,
            **k: Any,
        ) -> Any:
            modes.append(mode)
            return original(filename, dtype, mode, *a, **k)

    path.chmod(0o444)
    try:
        with mock.patch.object(np, "memmap", Seen):
            _batch(_open(kind, path), *asked)
    finally:
        path.chmod(0o644)
    for mode in modes:
        if mode not in ("r", "readonly", "c", "copyonwrite"):
            raise FailedError(
                f"the file is opened for writing (mode {mode!r}, which np.memmap takes"
                " if none is given). Use mode='r'."
            )


def _write(path: Path, content: bytes) -> None:
    """Into the same file, so that who has it open sees the change."""
    with path.open("r+b") as file:
        file.write(content)


def _peak(kind: Any, path: Path) -> int:
    """The most bytes that Python and NumPy held more than before, during a batch."""
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        _batch(_open(kind, path), 0, 0, 2, BIG_LENGTH)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not already:
            tracemalloc.stop()
    return peak - before


TOKEN_READER: tuple[Property, ...] = (
    ("int64 rows of neighbours, targets one token later", _gives_pairs_of_rows),
    ("an epoch shows each window exactly once", _sees_each_window_once),
    ("another order in each epoch, and for each seed", _shuffles),
    ("step * batch_size + row decides epoch and place", _counts_samples),
    ("the same batch, whatever was asked before or done to it", _remembers_nothing),
    ("the caller's random state: not used, not changed", _leaves_the_callers_luck),
    ("a cut file, or one too short, raises ValueError", _checks_the_file),
    ("the file stays on the disk, and is only read", _stays_on_the_disk),
)


def token_reader(kind: Any) -> Report:
    """Try a class built as ``kind(path, dtype)``, with a method ``batch``."""
    return run(kind, TOKEN_READER)
