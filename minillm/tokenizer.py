"""Which integers is this text, and which text are these integers?

Four vocabularies, from the one you can read to the one the field uses: characters,
bytes, byte pairs learnt from your own text, and GPT-2's. Each turns any text it knows
into ids ``0 .. vocab_size - 1`` and back without loss. Book: chapters 1 and 8.
"""

import codecs
import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minillm import files

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"
"""How the end-of-text token looks when decoded. Met in a text, it is plain text."""

SPLIT_PATTERN = (
    r"(?:'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
    r"|\s++$|\s+(?!\S)|\s"
)
"""GPT-2's rule for cutting a text into words, within which byte pairs are merged.

In its order: an English ending ('s, 'll), letters, digits, other signs, each with one
blank before it, then white space. Two things change no match. The first line is a group
of its own, since tiktoken's matcher hands what needs no looking around to an automaton,
which takes two thirds of the time. ``++`` is ``+`` that never looks back, so that a
million blanks in a row do not overflow the matcher's stack.
"""

SINGLE_BYTES = tuple(bytes([value]) for value in range(256))

_PRINTABLE = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
_HIDDEN = [b for b in range(256) if b not in _PRINTABLE]
PRINTABLE_SIGNS = {b: chr(b) for b in _PRINTABLE}
PRINTABLE_SIGNS |= {b: chr(256 + i) for i, b in enumerate(_HIDDEN)}
"""How GPT-2's files write each byte, in the order of its ids: bytes that are printable
as themselves, then the others as the characters from U+0100 on."""

Ids = Iterable[int] | NDArray[Any]
"""Ids to decode: a list, an array, or whatever else gives integers."""


class _Tokenizer(ABC):
    """What every tokenizer can do once it can do three things of its own."""

    kind: str
    vocab_size: int
    end_of_text: int | None

    @abstractmethod
    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]:
        """The ids of ``text`` as an array, without a Python integer for each."""

    @abstractmethod
    def decode_bytes(self, ids: Ids) -> bytes:
        """The UTF-8 bytes of ``ids``; the last character may be unfinished."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All that is needed to build the tokenizer again, ready for JSON."""

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``.

        Raises:
            ValueError: a character is not in the vocabulary, or is half of a surrogate
                pair, which no UTF-8 text can hold.
        """
        ids: list[int] = self.encode_to_numpy(text).tolist()
        return ids

    def decode(self, ids: Ids) -> str:
        """The text of ``ids``; bytes that are no character show as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def save(self, path: Path) -> None:
        """Write the tokenizer as JSON, for ``load`` to read."""
        files.write_json(path, self.to_dict())

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the tokenizer's dictionary: the same if and only if it is."""
        return dict_hash(self.to_dict())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(kind={self.kind!r}, vocab_size={self.vocab_size})"
        )


class CharTokenizer(_Tokenizer):
    """One id for each character, in the order of the alphabet: a reader sees every id.

    Args:
        characters: the alphabet, sorted, each character once; ``fit`` makes it.
    """

    kind = "chars"
    end_of_text = None

    def __init__(self, characters: str) -> None:
        if not characters:
            raise ValueError("characters must hold at least one character")
        if list(characters) != sorted(set(characters)):
            raise ValueError("characters must be sorted, each of them once")
        self.characters = characters
        self.vocab_size = len(characters)
        codes = _code_points(characters)
        # The id of each code point up to the last known one; vocab_size means unknown.
        self._ids = np.full(int(codes[-1]) + 1, self.vocab_size, dtype=np.uint32)
        self._ids[codes] = np.arange(self.vocab_size)

    @classmethod
    def fit(cls, text: str) -> "CharTokenizer":
        """The tokenizer that knows exactly the characters of ``text``."""
        return cls("".join(sorted(set(text))))

    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]:
        """The ids of ``text``."""
        codes = _code_points(text)
        ids = self._ids.take(codes, mode="clip")
        unknown = (codes >= len(self._ids)) | (ids == self.vocab_size)
        if unknown.any():
            character = text[int(unknown.argmax())]
            raise ValueError(
                f"character {character!r} (U+{ord(character):04X}) must be one of the"
                f" {self.vocab_size} characters in the vocabulary"
            )
        return ids

    def decode_bytes(self, ids: Ids) -> bytes:
        """The UTF-8 bytes of ``ids``."""
        known = _checked(ids, self.vocab_size)
        return "".join([self.characters[id_] for id_ in known]).encode()

    def to_dict(self) -> dict[str, Any]:
        """The alphabet."""
        return {"kind": self.kind, "characters": self.characters}


class ByteTokenizer(_Tokenizer):
    """One id for each byte of the text's UTF-8: needs no data, knows every text."""

    kind = "bytes"
    vocab_size = 257
    end_of_text = 256

    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]:
        """The ids of ``text``."""
        return np.frombuffer(_utf8(text), dtype=np.uint8).astype(np.uint32)

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes that ``ids`` are, and the end-of-text token's name."""
        tokens = (*SINGLE_BYTES, END_OF_TEXT.encode())
        return b"".join([tokens[id_] for id_ in _checked(ids, self.vocab_size)])

    def to_dict(self) -> dict[str, Any]:
        """Its kind says all."""
        return {"kind": self.kind}


class BPETokenizer(_Tokenizer):
    """Byte pairs merged, the pair learnt first merged first; knows every text.

    Paper: Sennrich, Haddow & Birch 2016, arXiv:1508.07909; on bytes as in GPT-2.

    Args:
        tokens: the bytes of each id in the order they were learnt, of which the 256
            single bytes are part; the end-of-text token comes after the last.
        kind: ``"bpe"`` for one's own, ``"gpt2"`` for GPT-2's.

    Raises:
        ValueError: a single byte is missing, or a token is empty or there twice.
    """

    def __init__(self, tokens: Sequence[bytes], kind: str = "bpe") -> None:
        # tiktoken ends the process on a bad vocabulary, so it never sees one.
        if missing := set(SINGLE_BYTES).difference(tokens):
            raise ValueError(
                f"tokens must hold all 256 single bytes ({len(missing)} are missing)"
            )
        if len(set(tokens)) != len(tokens):
            twice, _ = Counter(tokens).most_common(1)[0]
            raise ValueError(f"token {twice!r} must be in the vocabulary only once")
        if b"" in tokens:
            raise ValueError("a token must hold at least one byte")
        self.kind = kind
        self.tokens = (*tokens, END_OF_TEXT.encode())
        self.vocab_size = len(self.tokens)
        self.end_of_text = self.vocab_size - 1

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "BPETokenizer":
        """Learn ``vocab_size`` tokens: 256 bytes, the merges, and end-of-text.

        Again and again the most frequent pair of neighbours becomes a token of its
        own; of two equally frequent pairs, the one with the smaller ids.

        Raises:
            ValueError: ``vocab_size`` is below 257, or the texts have too few pairs
                that occur twice.
        """
        if vocab_size < 257:
            raise ValueError(
                f"vocab_size ({vocab_size}) must be at least 257: 256 bytes and"
                " end-of-text"
            )
        tokens = list(SINGLE_BYTES)
        for left, right in learn_merges(count_words(texts), vocab_size - 257):
            tokens.append(tokens[left] + tokens[right])
        if len(tokens) + 1 < vocab_size:
            raise ValueError(
                f"vocab_size ({vocab_size}) must be at most {len(tokens) + 1}, all that"
                " this text can teach"
            )
        return cls(tokens)

    def encode_to_numpy(self, text: str) -> NDArray[np.uint32]:
        """The ids of ``text``; releases the interpreter's lock while it works."""
        _utf8(text)  # tiktoken would replace half a surrogate pair without a word
        try:
            ids = self._encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError:
            raise ValueError(
                "text must not hold a million letters or blanks in a row"
            ) from None
        return ids.copy()  # tiktoken's own may not be written to

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of ``ids``, and the end-of-text token's name."""
        return b"".join([self.tokens[id_] for id_ in _checked(ids, self.vocab_size)])

    def to_dict(self) -> dict[str, Any]:
        """The tokens but the last, in the order they were learnt, as hexadecimal."""
        return {"kind": self.kind, "tokens": [t.hex() for t in self.tokens[:-1]]}

    @cached_property
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken  # here, for `minillm --help` never encodes

        return tiktoken.Encoding(
            name=self.hash,
            pat_str=SPLIT_PATTERN,
            mergeable_ranks={token: id_ for id_, token in enumerate(self.tokens[:-1])},
            # None is allowed in a text, where their names are ordinary text. But one
            # there must be: tiktoken looks for none at every single character.
            special_tokens={END_OF_TEXT: self.vocab_size - 1},
        )


Tokenizer = CharTokenizer | ByteTokenizer | BPETokenizer


def count_words(texts: Iterable[str]) -> Counter[bytes]:
    """How often each word of ``texts`` occurs: merging needs to see each one once."""
    import regex  # type: ignore[import-untyped]

    pattern = regex.compile(SPLIT_PATTERN)
    words: Counter[str] = Counter()
    for text in texts:
        words.update(pattern.findall(text))
    return Counter({_utf8(word): count for word, count in words.items()})


def learn_merges(words: Counter[bytes], num_merges: int) -> list[tuple[int, int]]:
    """The pairs of ids to merge, the first first; the i-th pair becomes id 256 + i.

    Counts every pair once and then only mends the counts of the words that a merge
    touches. The heap is lazy: a count that has fallen since it was pushed is noticed
    when it comes up. That is right because no count of an old pair ever grows.
    """
    spellings = [list(word) for word in words]
    frequencies = list(words.values())
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    homes: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for index, spelling in enumerate(spellings):
        for pair in pairwise(spelling):
            counts[pair] += frequencies[index]
            homes[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(merges) < num_merges:
        pushed, pair = heappop(heap)
        count = counts[pair]
        if count != -pushed:
            heappush(heap, (-count, pair))
            continue
        if count < 2:  # a pair seen once teaches nothing
            break
        new = 256 + len(merges)
        merges.append(pair)
        born = set()
        for index in homes.pop(pair):
            spelling, frequency = spellings[index], frequencies[index]
            merged = _merge(spelling, pair, new)
            for old_pair in pairwise(spelling):
                counts[old_pair] -= frequency
            for new_pair in pairwise(merged):
                counts[new_pair] += frequency
                if new in new_pair:
                    homes[new_pair].add(index)
                    born.add(new_pair)
            spellings[index] = merged
        for new_pair in born:
            heappush(heap, (-counts[new_pair], new_pair))
    return merges


def gpt2(vocab_bpe: bytes) -> BPETokenizer:
    """GPT-2's own vocabulary of 50,257, from its published list of merges.

    Args:
        vocab_bpe: the content of OpenAI's ``vocab.bpe``; ``corpora`` finds it.

    Raises:
        ValueError: the content is not such a list.
    """
    byte_of = {sign: byte for byte, sign in PRINTABLE_SIGNS.items()}
    tokens = [SINGLE_BYTES[byte] for byte in PRINTABLE_SIGNS]
    try:
        _version, *merges = vocab_bpe.decode().rstrip("\n").split("\n")
        for line in merges:
            left, right = line.split(" ")
            tokens.append(bytes(byte_of[sign] for sign in left + right))
    except (UnicodeDecodeError, ValueError, KeyError):
        raise ValueError("the list of merges must be that of GPT-2") from None
    return BPETokenizer(tokens, kind="gpt2")


def from_dict(value: dict[str, Any]) -> Tokenizer:
    """Build the tokenizer that ``to_dict`` described.

    Raises:
        ValueError: it describes none.
    """
    match value:
        case {"kind": "chars", "characters": str(characters)}:
            return CharTokenizer(characters)
        case {"kind": "bytes"}:
            return ByteTokenizer()
        case {"kind": "bpe" | "gpt2" as kind, "tokens": [*tokens]}:
            try:
                return BPETokenizer([bytes.fromhex(t) for t in tokens], kind)
            except TypeError:
                raise ValueError("tokens must be hexadecimal digits") from None
    raise ValueError(
        f"kind ({value.get('kind')!r}) must be chars with characters, bytes, or bpe or"
        " gpt2 with tokens"
    )


def load(path: Path) -> Tokenizer:
    """Read a tokenizer that ``save`` wrote.

    Raises:
        ValueError: the file is missing or damaged; names the path.
    """
    return read(files.read_json(path), path)


def read(value: dict[str, Any], path: Path) -> Tokenizer:
    """The tokenizer that a file describes, whose content is known already.

    Raises:
        ValueError: it describes none; names the path.
    """
    try:
        return from_dict(value)
    except ValueError as error:
        raise ValueError(f"{path} is not a tokenizer: {error}") from None


def dict_hash(value: dict[str, Any]) -> str:
    """The SHA-256 of a dictionary, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return files.sha256_bytes(canonical.encode())


class IncrementalDecoder:
    """Turns ids into text as they come, and never shows half a character.

    One token may be only a part of a character's UTF-8 bytes. Such bytes wait here
    until the rest arrives; the pieces joined equal ``decode`` of all ids at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Ids) -> str:
        """The text that ``ids`` complete, possibly none."""
        return self._waiting.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never finished."""
        return self._waiting.decode(b"", final=True)


def _merge(spelling: list[int], pair: tuple[int, int], new: int) -> list[int]:
    left, right = pair
    merged = []
    position, last = 0, len(spelling) - 1
    while position <= last:
        here = spelling[position]
        if here == left and position < last and spelling[position + 1] == right:
            merged.append(new)
            position += 2
        else:
            merged.append(here)
            position += 1
    return merged


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} of the text ({text[error.start]!r}) must not be"
            " half of a surrogate pair"
        ) from None


def _code_points(text: str) -> NDArray[np.uint32]:
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError:
        _utf8(text)
        raise


def _checked(ids: Ids, vocab_size: int) -> list[int]:
    known = [int(id_) for id_ in ids]
    if known and not (min(known) >= 0 and max(known) < vocab_size):
        wrong = next(id_ for id_ in known if not 0 <= id_ < vocab_size)
        raise ValueError(f"id ({wrong}) must be from 0 to {vocab_size - 1}")
    return known
