"""Which tokens come next? A corpus on disk, as one long row of tokens, and its batches.

``prepare`` turns text into a folder: ``train.bin`` and ``val.bin`` (little-endian
integers, nothing else), ``tokenizer.json``, and ``meta.json``, which says what they
must be. ``Corpus`` opens the folder, and ``TokenFile`` reads a file through
``np.memmap``, so that it may be larger than memory. Book: chapter 8.
"""

import errno
import hashlib
import math
import mmap
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import Timeout
from jaxtyping import Int
from numpy.typing import NDArray

from minillm import corpora, files
from minillm import tokenizer as tokenizers
from minillm.corpora import Document, Source, Survey
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor
else:
    # To prepare text takes no PyTorch: it is imported when the first batch is made.
    Tensor = Any

Batch = tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]
"""Inputs and targets: ``targets[b, t]`` is the token that follows ``inputs[b, t]``."""

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

FORMAT = "minillm corpus"
FORMAT_VERSION = 1

SEAL = "sha256 of the rest"
"""The key of ``meta.json`` under which stands what all others together must be."""

LARGEST_UINT16_VOCABULARY = 65_536

FILE_NAMES = {
    "meta.json",
    "tokenizer.json",
    "train.bin",
    "train.idx",
    "val.bin",
    "val.idx",
}

LOCK_SECONDS = 600
"""How long to wait for another process that prepares the same folder."""

BPE_TRAINING_BYTES = 50_000_000
"""How much of the train part own byte pairs are learnt from, at most."""

# Which window comes when ------------------------------------------------------------


_GOLDEN, _HALF = np.array([0x9E3779B97F4A7C15, 32], dtype=np.uint64)
"""2^64 divided by the golden ratio, the usual factor of such hashes; half of 64."""


@dataclass(frozen=True)
class Shuffle:
    """The numbers ``0 .. size - 1`` in an order that looks random, without a list.

    A shuffled list of all windows would grow with the corpus. Here every place of the
    shuffled order is computed by itself. Think of the numbers written row by row into a
    table that is nearly square. Shift each column down by an amount that depends on the
    column, what falls out at the bottom coming in at the top; then shift each row in
    the same way; and a few times more, by other amounts. No shift makes two numbers
    meet, so each number has exactly one place, and to find it takes no more than its
    own row and column. (Ciphers such as DES are built so: a Feistel network.)

    The table may have a few fields more than there are numbers. What comes to stand on
    such a field is sent through the table again, until it stands on a number.

    The amounts come from BLAKE2b, a hash that is the same everywhere and for ever,
    which is not promised of the numbers that NumPy's generators draw.

    Args:
        size: how many numbers.
        seed: the run's seed.
        epoch: which pass over the corpus.
    """

    size: int
    seed: int
    epoch: int

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers at ``places`` of the shuffled order."""
        values = self._once(places.astype(np.uint64))
        while (outside := values >= self.size).any():
            values[outside] = self._once(values[outside])
        return values.astype(np.int64)

    def phase(self, limit: int) -> int:
        """A number from 0 to ``limit``, of its own for each seed and epoch."""
        return int.from_bytes(self._hash(b"phase")[:8], "little") % (limit + 1)

    def _once(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        side = math.isqrt(self.size - 1) + 1
        num_rows, num_columns = np.array([side, -(-self.size // side)], np.uint64)
        row, column = np.divmod(values, num_columns)
        # A key and a product that wraps around 2^64 make an amount out of a number; the
        # upper half of the product depends on all of it.
        for down, along in self._keys:
            row = (row + ((column ^ down) * _GOLDEN >> _HALF)) % num_rows
            column = (column + ((row ^ along) * _GOLDEN >> _HALF)) % num_columns
        shuffled: NDArray[np.uint64] = row * num_columns + column
        return shuffled

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        # 64 bytes are 16 keys: 8 for columns and 8 for rows. With fewer, the orders of
        # as few as six numbers are not all equally frequent.
        keys = np.frombuffer(self._hash(b"keys"), dtype="<u4")
        return keys.astype(np.uint64).reshape(-1, 2)

    def _hash(self, purpose: bytes) -> bytes:
        address = f"{self.seed} {self.epoch}".encode()
        return hashlib.blake2b(address, person=purpose).digest()


def window_starts(
    num_tokens: int, context_length: int, seed: int, samples: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where each of the global ``samples`` begins in a row of ``num_tokens``.

    An epoch cuts the row into windows that do not overlap and visits each once, in a
    shuffled order. The first window begins at a phase, below one window's length,
    which differs from epoch to epoch, so that in time every place becomes a beginning.
    """
    num_windows = max(1, (num_tokens - context_length) // context_length)
    room = num_tokens - 1 - num_windows * context_length
    starts = np.empty_like(samples)
    epochs, places = np.divmod(samples, num_windows)
    for epoch in np.unique(epochs):
        now = epochs == epoch
        shuffle = Shuffle(num_windows, seed, int(epoch))
        phase = shuffle.phase(min(context_length - 1, room))
        starts[now] = phase + context_length * shuffle(places[now])
    return starts


# Reading ----------------------------------------------------------------------------

SHARD_HEADER_BYTES = 1024
SHARD_DTYPES = {(20240520, 1): "<u2", (20240801, 7): "<u4"}
"""The (magic, version) of llm.c's token files, and what follows their header."""


class TokenFile:
    """A file of tokens, read piece by piece; the file itself is opened when first used.

    Args:
        path: the file.
        dtype: uint16 or uint32, little-endian.
        header_bytes: what to pass over at the beginning.
        vocab_size: every id must be below it, where it is known.
        num_bytes: of the text's UTF-8 that the tokens encode, where it is known.

    Raises:
        ValueError: the file is missing, or its size is not whole tokens.
    """

    def __init__(
        self,
        path: str | Path,
        dtype: str | np.dtype[Any],
        header_bytes: int = 0,
        vocab_size: int | None = None,
        num_bytes: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.dtype = _token_dtype(dtype)
        self.header_bytes = header_bytes
        self.vocab_size = vocab_size
        self.num_bytes = num_bytes
        found = files.status(self.path)
        self._file_bytes, self._inode = found.st_size, found.st_ino
        content_bytes = self._file_bytes - header_bytes
        self._length, rest = divmod(content_bytes, self.dtype.itemsize)
        if content_bytes < 0 or rest:
            raise ValueError(
                f"{path} ({self._file_bytes} bytes) must hold whole tokens of"
                f" {self.dtype.itemsize} bytes"
            )

    @classmethod
    def open(
        cls, path: str | Path, dtype: str | np.dtype[Any] | None = None
    ) -> "TokenFile":
        """Open a token file that has no manifest: a bare ``.bin``, or llm.c's.

        Args:
            path: the file.
            dtype: needed for a bare file, such as nanoGPT writes (uint16).

        Raises:
            ValueError: the dtype is missing or contradicts the header.
        """
        files.status(Path(path))
        with Path(path).open("rb") as file:
            header = [int.from_bytes(file.read(4), "little") for _ in range(3)]
        found = SHARD_DTYPES.get((header[0], header[1]))
        if found is None:
            if dtype is None:
                raise ValueError(f"{path} has no header, so its dtype must be given")
            return cls(path, dtype)
        if dtype is not None and _token_dtype(dtype) != np.dtype(found):
            raise ValueError(
                f"dtype ({dtype}) must be that of the header of {path}"
                f" ({np.dtype(found)})"
            )
        opened = cls(path, found, SHARD_HEADER_BYTES)
        if len(opened) != header[2]:
            raise ValueError(
                f"{path} ({len(opened)} tokens) must hold as many as its header says"
                f" ({header[2]})"
            )
        return opened

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"TokenFile({self.name!r}, {len(self):,} tokens)"

    @cached_property
    def tokens(self) -> "np.memmap[Any, np.dtype[Any]]":
        """All tokens, as an array that the system reads from disk where it is touched.

        Raises:
            ValueError: the file is another than when this object was made.
        """
        files.status(self.path)
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            self._check_size(found.st_size)
            if found.st_ino != self._inode:
                raise ValueError(
                    f"{self.path} must stay as it was opened: it is another"
                )
            mapped = np.memmap(
                file, self.dtype, "r", self.header_bytes, shape=(len(self),)
            )
        if isinstance(mapped.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            # Windows lie anywhere: do not read ahead what will not be used.
            mapped.base.madvise(mmap.MADV_RANDOM)
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        # Pickling a memmap would copy the file; another process maps it for itself.
        return {key: v for key, v in self.__dict__.items() if key != "tokens"}

    def batch(
        self,
        seed: int,
        step: int,
        batch_size: int,
        context_length: int,
        *,
        rows: slice = slice(None),
    ) -> Batch:
        """The batch of a step: a function of its arguments and of nothing else.

        So a resumed run reads what an uninterrupted one would have read, and looking
        at a batch changes nothing. Row b is sample ``step * batch_size + b`` of the
        run; see ``window_starts`` for the order.

        Args:
            seed: the run's seed.
            step: which batch, from 0.
            batch_size: windows in the whole batch.
            context_length: tokens in a window.
            rows: which rows of the batch; each of several processes asks for its share.

        Raises:
            ValueError: the split is shorter than a window and the token after it, or
                a token is not in the vocabulary.
        """
        _check_positive("batch_size", batch_size)
        _check_positive("context_length", context_length)
        if step < 0:
            raise ValueError(f"step ({step}) must not be negative")
        if len(self) < context_length + 1:
            raise ValueError(
                f"context_length ({context_length}) must be below the {len(self)}"
                f" tokens of {self.name}"
            )
        samples = step * batch_size + np.arange(batch_size, dtype=np.int64)[rows]
        starts = window_starts(len(self), context_length, seed, samples)
        return self._batch_at(starts.tolist(), context_length)

    def windows(self, context_length: int, batch_size: int) -> Iterator[Batch]:
        """The whole file from beginning to end: each token but the first is a target.

        Windows do not overlap. The last may be shorter and is a batch of its own.

        Raises:
            ValueError: there are fewer than two tokens.
        """
        _check_positive("batch_size", batch_size)
        _check_positive("context_length", context_length)
        num_targets = len(self) - 1
        if num_targets < 1:
            raise ValueError(f"{self.name} ({len(self)} tokens) must have at least 2")
        start = 0
        while start < num_targets:
            left = num_targets - start
            rows = min(batch_size, left // context_length) or 1
            width = min(context_length, left)
            yield self._batch_at([start + row * width for row in range(rows)], width)
            start += rows * width

    def _batch_at(self, starts: list[int], width: int) -> Batch:
        mapped = self.tokens
        if isinstance(mapped.base, mmap.mmap):
            # Of the file that is mapped: another may have taken its path since.
            self._check_size(mapped.base.size())
        tokens = np.asarray(mapped)
        rows = np.empty((len(starts), width + 1), dtype=np.int64)
        for row, start in zip(rows, starts, strict=True):
            row[:] = tokens[start : start + width + 1]
        if self.vocab_size is not None and rows.max(initial=0) >= self.vocab_size:
            row_number, place = np.argwhere(rows >= self.vocab_size)[0].tolist()
            raise ValueError(
                f"token {starts[row_number] + place} of {self.name}"
                f" ({rows[row_number, place]}) must be below vocab_size"
                f" ({self.vocab_size})"
            )
        # Copies, so that neither changes when the other is written to.
        inputs, targets = rows[:, :-1].copy(), rows[:, 1:].copy()
        import torch  # here, for `minillm prepare` never asks for a batch

        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def _check_size(self, now: int) -> None:
        # Reading a mapped page that is no longer there kills the process.
        if now != self._file_bytes:
            raise ValueError(
                f"{self.path} ({now} bytes) must stay as it was opened"
                f" ({self._file_bytes} bytes)"
            )


MANIFEST = {
    "dtype": str,
    "vocab_size": int,
    "tokenizer sha256": str,
    "files train.bin tokens": int,
    "files train.bin bytes": int,
    "files train.bin sha256": str,
    "files val.bin tokens": int,
    "files val.bin bytes": int,
    "files val.bin sha256": str,
    "source sha256": str,
    "request": dict,
}
"""What ``meta.json`` must have: the keys, from the outermost in, and the type."""


class Corpus:
    """A prepared folder, checked: ``train``, ``val`` and the tokenizer that made them.

    Args:
        directory: what ``prepare`` has made.

    Raises:
        ValueError: it is not such a folder, or a file is not what ``meta.json`` says.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        path = self.directory / "meta.json"
        if not path.is_file():
            bare = self.directory.suffix == ".bin" or (
                any(self.directory.glob("*.bin"))
                and not (self.directory / "tokenizer.json").exists()
            )
            folder = (
                self.directory if self.directory.is_dir() else self.directory.parent
            )
            how = (
                f"{folder} --out {folder / 'corpus'} --tokenizer gpt2 --dtype uint16,"
                " or as it was written"
            )
            raise ValueError(
                f"{directory} is not a prepared corpus (it has no meta.json): run"
                f" minillm prepare{f' {how}' if bare else ''}"
            )
        self.meta = files.read_json(path)
        if (format_ := self.meta.get("format")) != FORMAT:
            raise ValueError(f"format ({format_!r}) of {path} must be {FORMAT!r}")
        if (version := self.meta.get("version")) != FORMAT_VERSION:
            raise ValueError(
                f"version ({version!r}) of {path} must be {FORMAT_VERSION}: prepare it"
                " again"
            )
        seal = self.meta.pop(SEAL, None)  # a corpus of an early version has none
        if seal not in (None, tokenizers.dict_hash(self.meta)):
            raise ValueError(
                f"{path} is damaged: its {SEAL} is not that of the rest; prepare the"
                " corpus again"
            )
        for keys, kind in MANIFEST.items():
            self.demand(kind, *keys.split())
        if self.meta["dtype"] not in ("uint16", "uint32"):
            raise ValueError(
                f"{path} is damaged: dtype ({self.meta['dtype']}) must be uint16 or"
                " uint32"
            )
        self.vocab_size: int = self.meta["vocab_size"]
        self.train = self._split("train")
        self.val = self._split("val")
        described = files.read_json(self.directory / "tokenizer.json")
        self._tokenizer = described
        found, said = tokenizers.dict_hash(described), self.meta["tokenizer"]["sha256"]
        if found != said:
            raise ValueError(
                f"{self.directory / 'tokenizer.json'} ({found[:12]}...) must be the"
                f" tokenizer that made the corpus ({said[:12]}...)"
            )

    @property
    def hash(self) -> str:
        """The SHA-256 of what a model can see of the corpus: tokens and tokenizer."""
        seen = {key: self.meta[key] for key in ("dtype", "tokenizer", "files")}
        return tokenizers.dict_hash(seen)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the corpus."""
        # As it was read: another corpus may have taken the folder's place since.
        return tokenizers.read(self._tokenizer, self.directory / "tokenizer.json")

    def __repr__(self) -> str:
        return (
            f"Corpus({str(self.directory)!r}, vocab_size={self.vocab_size},"
            f" train={len(self.train):,} tokens, val={len(self.val):,} tokens)"
        )

    def demand(self, kind: type, *keys: str) -> None:
        """See that ``meta.json`` has a value of that type under these keys.

        Raises:
            ValueError: it has not.
        """
        value: Any = self.meta
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if type(value) is not kind:  # true is no number
            raise ValueError(
                f"{self.directory / 'meta.json'} is damaged: {' of '.join(keys[::-1])}"
                f" ({value!r}) must be of type {kind.__name__}"
            )

    def _split(self, split: Split) -> TokenFile:
        path = self.directory / f"{split}.bin"
        said = self.meta["files"][path.name]
        opened = TokenFile(
            path,
            self.meta["dtype"],
            vocab_size=self.vocab_size,
            num_bytes=said["bytes"],
        )
        if len(opened) != said["tokens"]:
            raise ValueError(
                f"{path} ({len(opened)} tokens) must hold as many as meta.json says"
                f" ({said['tokens']})"
            )
        return opened


def verify(directory: str | Path) -> Corpus:
    """Open a corpus and read every byte of it once, to see that none has changed.

    Raises:
        ValueError: a file's SHA-256 is not what ``meta.json`` says.
    """
    corpus = Corpus(directory)
    for name, said in corpus.meta["files"].items():
        corpus.demand(str, "files", name, "sha256")
        path = corpus.directory / name
        if name not in FILE_NAMES:  # a manifest leads to no other folder
            raise ValueError(
                f"{corpus.directory / 'meta.json'} names {name!r}, which is no file of"
                " a corpus"
            )
        size = files.status(path).st_size
        if name.endswith(".idx"):
            corpus.demand(int, "files", name, "documents")
            if size != 8 * said["documents"]:
                raise ValueError(
                    f"{path} ({size} bytes) must hold 8 bytes for each document"
                    f" ({said['documents']})"
                )
        if (found := files.sha256_file(path)) != said["sha256"]:
            raise ValueError(
                f"SHA-256 of {path} ({found[:12]}...) must be what meta.json says"
                f" ({said['sha256'][:12]}...)"
            )
    return corpus


# Writing ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """How far ``prepare`` is.

    Args:
        stage: "wait" (for another process that prepares the same folder), "read" (the
            source, once, to know it), "learn" (byte pairs), "encode".
        done: bytes of text.
        total: bytes of text; None while it is not known.
        owner: who is waited for.
    """

    stage: Literal["wait", "read", "learn", "encode"]
    done: int
    total: int | None
    owner: str = ""


Report = Callable[[Progress], None]


def prepare(
    source: str | Path | Sequence[str | Path],
    directory: str | Path,
    *,
    tokenizer: str | Tokenizer = "chars",
    val_fraction: float = 0.1,
    workers: int = 1,
    report: Report | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Turn text into a folder of tokens, whole or not at all.

    One text, and a single document, is cut in two: its tail is held out. Of few
    documents, each one's tail is. Of many, each is held out or not by the SHA-256 of
    its own text, so that a copy of it can never be on both sides. A document, or what a
    split has of it, ends with the end-of-text token, or with a line end where the
    tokenizer has none. The files are the same, byte for byte, for any number of
    workers.

    The alphabet of ``"chars"`` is that of the whole text, held-out part included: it
    tells a model nothing but which signs exist, and a text could not be scored at all
    if it held a sign without an id. Byte pairs are learnt from the train part only.

    Args:
        source: see ``corpora.open_source``.
        directory: the folder to make. If it holds the same corpus already, made from
            the same source in the same way, that is returned.
        tokenizer: "chars", "bytes", "bpe:N" (N tokens in all), "gpt2", or a tokenizer.
        val_fraction: how much of the text to hold out, in bytes.
        workers: how many threads encode.
        report: told how far it is.
        overwrite: replace a corpus that is in ``directory``.

    Raises:
        ValueError: a wrong argument; a source that cannot be read; too little text;
            ``directory`` holds something else.
        OSError: ``directory`` cannot be written, or a corpus cannot be fetched.
    """
    return _prepare(
        corpora.open_source(source),
        directory,
        tokenizer=tokenizer,
        val_fraction=val_fraction,
        workers=workers,
        report=report,
        overwrite=overwrite,
    )


def prepare_text(
    text: str, directory: str | Path, tokenizer: str | Tokenizer = "chars"
) -> Corpus:
    """``prepare`` for a text that is in memory."""
    return _prepare(corpora.text_source(text), directory, tokenizer=tokenizer)


def adopt(
    paths: Sequence[str | Path],
    directory: str | Path,
    *,
    tokenizer: str | Tokenizer = "gpt2",
    dtype: str | None = None,
    report: Report | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Copy token files that another program has written into a corpus.

    Files whose name has the word val, or one that begins so, are validated on, the
    others trained on, in the order given.

    Args:
        paths: nanoGPT's ``.bin`` files, llm.c's shards, or folders of either.
        directory: the folder to make.
        tokenizer: what made the tokens: "gpt2", "bytes", or a tokenizer.
        dtype: uint16 or uint32, for files that have no header.
        report: told how many bytes of the files are copied.
        overwrite: replace a corpus that is in ``directory``.

    Raises:
        ValueError: a file is damaged or another tokenizer's; one of the two splits has
            no file; or ``directory`` holds something else.
        OSError: ``directory`` cannot be written, or GPT-2's vocabulary not fetched.
    """
    if not isinstance(tokenizer, str):
        made_by: Tokenizer = tokenizer
    elif tokenizer in ("gpt2", "bytes"):
        made_by = ByteTokenizer()
        if tokenizer == "gpt2":
            made_by = tokenizers.gpt2(corpora.gpt2_vocabulary())
    else:
        raise ValueError(
            f"tokenizer ({tokenizer!r}) must be gpt2 or bytes: these tokens are made"
        )
    opened = [
        TokenFile.open(file, dtype)
        for path in map(Path, paths)
        # by name: Windows' paths compare without case, and the order would be another
        for file in (
            sorted(path.glob("*.bin"), key=lambda file: file.name)
            if path.is_dir()
            else [path]
        )
    ]
    splits: list[Split] = [
        "val" if re.search(r"(?<![a-z])val", file.path.name.lower()) else "train"
        for file in opened
    ]
    for wanted in SPLITS:
        if wanted not in splits:
            raise ValueError(
                "of the files, one must have val in its name and one not:"
                f" {wanted} would be empty"
            )
    target, told = _real(directory), report or (lambda _progress: None)
    _check_replaceable(directory, target)
    # What a token adds to the text, for bits per byte; the end of text is none.
    sizes = np.array(
        [len(made_by.decode_bytes([i])) for i in range(made_by.vocab_size)]
    )
    if made_by.end_of_text is not None:
        sizes[made_by.end_of_text] = 0
    wide = np.dtype("<u2" if made_by.vocab_size <= LARGEST_UINT16_VOCABULARY else "<u4")
    done, total = 0, sum(len(file) * file.dtype.itemsize for file in opened)
    with _only_process(target, directory, told):
        if not overwrite and (target / "meta.json").exists():
            raise ValueError(f"{directory} holds a corpus already: overwrite it")
        with (
            files.new_folder(
                target, True, partial(_check_replaceable, directory)
            ) as folder,
            ExitStack() as held,
        ):
            writers = {split: _Writer(folder, split, False) for split in SPLITS}
            for writer in writers.values():
                held.callback(writer.close)
            for file, split in zip(opened, splits, strict=True):
                for start in range(0, len(file), corpora.PIECE_LENGTH):
                    ids = file.tokens[start : start + corpora.PIECE_LENGTH]
                    if (largest := int(ids.max())) >= made_by.vocab_size:
                        raise ValueError(
                            f"{file.name} holds token {largest}, which must be below"
                            f" vocab_size ({made_by.vocab_size}): the tokenizer or the"
                            " dtype is another"
                        )
                    tokens, num_bytes = ids.astype(wide), int(sizes[ids].sum())
                    writers[split].write(_Encoded(_Part("", split), tokens, num_bytes))
                    done += ids.nbytes
                    told(Progress("encode", done, total))
            source = {
                "name": " ".join(file.path.name for file in opened),
                "sha256": files.sha256_bytes(
                    "".join(files.sha256_file(file.path) for file in opened).encode()
                ),
            }
            meta = _manifest(folder, writers, made_by, wide, NAMES_OF_FILES, source)
            request = {"tokenizer": _name(tokenizer), "dtype": dtype}
            _seal(folder, {**meta, "request": request})
    return Corpus(directory)


def _prepare(
    source: Source,
    directory: str | Path,
    *,
    tokenizer: str | Tokenizer = "chars",
    val_fraction: float = 0.1,
    workers: int = 1,
    report: Report | None = None,
    overwrite: bool = False,
) -> Corpus:
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction ({val_fraction}) must be between 0 and 1")
    _check_positive("workers", workers)
    request = {"tokenizer": _name(tokenizer), "val_fraction": val_fraction}
    told = report or (lambda _progress: None)
    # "." has no name of its own to put a lock and a temporary folder beside, and of a
    # link, the folder is to be replaced and not the link.
    target = _real(directory)
    _check_replaceable(directory, target)
    with _only_process(target, directory, told):
        survey = None if source.sha256 else _survey(source, tokenizer, told)
        if not overwrite and (target / "meta.json").exists():
            try:
                existing = Corpus(directory)
            except ValueError as error:
                raise ValueError(f"{error}; to make it again, overwrite it") from None
            made_from = existing.meta["source"]["sha256"], existing.meta.get("split")
            asked = source.sha256, TAIL  # a text whose hash is known is one text
            if survey:
                asked = survey.sha256, _Plan(source, survey, val_fraction).rule
            if existing.meta["request"] == request and made_from == asked:
                return existing
            raise ValueError(
                f"{directory} holds another corpus already: name another folder, or"
                " overwrite it"
            )
        survey = survey or _survey(source, tokenizer, told)
        plan = _Plan(source, survey, val_fraction)
        fitted = _fit(tokenizer, plan, told)
        try:
            may_go = partial(_check_replaceable, directory)
            with files.new_folder(target, True, may_go) as folder:
                meta = _write(folder, plan, fitted, workers, told)
                _seal(folder, {**meta, "request": request})
        except OSError as error:
            if error.filename != str(target):
                raise
            with files.writing(directory):  # as the user calls it
                raise
    return Corpus(directory)


@contextmanager
def _only_process(target: Path, directory: str | Path, told: Report) -> Iterator[None]:
    path = target.with_name(f".{target.name}.lock")

    def waits(owner: str) -> None:
        told(Progress("wait", 0, None, owner))

    with ExitStack() as held:
        try:
            with files.writing(directory):
                files.make_folder(target.parent)
                held.enter_context(files.only_process(path, LOCK_SECONDS, waits))
                files.tidy(target.parent, target.name.__eq__)
        except Timeout:
            raise ValueError(
                f"{directory} has been prepared by {files.owner(path)} for more than"
                f" {LOCK_SECONDS} seconds: wait for it, or stop it"
            ) from None
        yield


def _real(directory: str | Path) -> Path:
    """The folder that is meant; ``Path.resolve`` would raise on a link to itself."""
    return Path(os.path.realpath(directory))


def _check_replaceable(directory: str | Path, target: Path) -> None:
    """Make sure that ``target``, which the user calls ``directory``, holds no more."""
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"{directory} must be a folder")
    if target == Path.cwd():  # to replace it would leave the shell in a deleted folder
        raise ValueError(f"directory ({directory}) must not be the one you are in")
    names = {path.name for path in target.iterdir()}
    ours = "meta.json" in names
    if ours and not _is_ours(target / "meta.json"):
        raise ValueError(
            f"{directory} must be empty or a prepared corpus, but its meta.json is"
            " another program's"
        )
    # Without a manifest, even files of these names are somebody else's.
    foreign = names - FILE_NAMES if ours else names
    if foreign:
        raise ValueError(
            f"{directory} must be empty or a prepared corpus, but it holds"
            f" {min(foreign)}"
        )


def _is_ours(manifest: Path) -> bool:
    """Whether we wrote it; what is no JSON any more is taken for ours, and damaged."""
    try:
        return files.read_json(manifest).get("format") == FORMAT
    except ValueError:
        return True


def _name(tokenizer: str | Tokenizer) -> str:
    if not isinstance(tokenizer, str):
        return f"{tokenizer.kind} {tokenizer.hash}"
    kind, _, size = tokenizer.partition(":")
    if tokenizer in ("chars", "bytes", "gpt2") or (kind == "bpe" and size.isdecimal()):
        return tokenizer
    raise ValueError(
        f"tokenizer ({tokenizer!r}) must be chars, bytes, bpe:N (such as bpe:1024) or"
        " gpt2"
    )


def _survey(source: Source, tokenizer: str | Tokenizer, told: Report) -> Survey:
    return corpora.survey(
        source,
        want_characters=tokenizer == "chars",
        report=lambda done: told(Progress("read", done, None)),
    )


@dataclass(frozen=True)
class _Part:
    """A piece of text, the file it goes to, and whether a document ends with it."""

    text: str
    split: Split
    ends_document: bool = False


TAIL = "tail of the text"
TAILS = "tail of each document"
HASHES = "SHA-256 of each document"
NAMES_OF_FILES = "names of the files"
"""How train and val were told apart, as ``meta.json`` says it."""

FEW_HELD_OUT = 2
"""Chance holds out about as many documents as it should only if that is more."""


@dataclass(frozen=True)
class _Plan:
    """What goes where; can be followed more than once."""

    source: Source
    survey: Survey
    val_fraction: float

    @property
    def rule(self) -> str:
        """How the text is split: ``TAIL``, ``TAILS`` or ``HASHES``."""
        num_documents = self.survey.num_documents
        if self.source.is_one_text or num_documents == 1:
            return TAIL
        smaller_share = min(self.val_fraction, 1 - self.val_fraction)
        return TAILS if num_documents * smaller_share < FEW_HELD_OUT else HASHES

    def parts(self) -> Iterator[_Part]:
        """All text in order; no part is much longer than a piece of the source."""
        for document in self.source.documents():
            if self.rule == TAIL:
                yield from self._cut(document, self.survey.num_bytes)
            elif self.rule == TAILS:
                num_bytes = sum(len(piece.encode()) for piece in document.pieces())
                yield from _ended(self._cut(document, num_bytes))
            else:
                yield from _ended(self._whole(document))

    def _cut(self, document: Document, num_bytes: int) -> Iterator[_Part]:
        left = num_bytes - round(num_bytes * self.val_fraction)  # bytes, for train
        for piece in document.pieces():
            size = len(piece.encode())
            place = len(piece) if size <= left else _place(piece, left)
            if place > 0:
                yield _Part(piece[:place], "train")
            if place < len(piece):
                yield _Part(piece[place:], "val")
            left -= size

    def _whole(self, document: Document) -> Iterator[_Part]:
        digest = corpora.document_hash(document)
        limit = int(self.val_fraction * 2**64)
        # The smallest hash is held out whatever it is, so that something is.
        is_val = int.from_bytes(digest[:8]) < limit or digest == self.survey.smallest
        for piece in document.pieces():
            yield _Part(piece, "val" if is_val else "train")


def _ended(parts: Iterator[_Part]) -> Iterator[_Part]:
    """The same parts; the last that a split has of the document ends it there."""
    waiting: _Part | None = None
    for part in parts:
        if waiting is not None:
            ends = part.split != waiting.split
            yield replace(waiting, ends_document=ends)
        waiting = part
    if waiting is not None:
        yield replace(waiting, ends_document=True)


LONGEST_WORD = 100
"""How far from the exact place, in characters, the cut between train and val may be."""


def _place(piece: str, left: int) -> int:
    """The first safe place of ``piece`` that has ``left`` bytes or more before it."""
    if left <= 0:
        return 0
    exact = len(piece.encode()[:left].decode(errors="ignore"))
    safe = corpora.SAFE_PLACE.search(piece, max(0, exact - 1), exact + LONGEST_WORD)
    return safe.end() if safe else exact


def _fit(tokenizer: str | Tokenizer, plan: _Plan, told: Report) -> Tokenizer:
    if not isinstance(tokenizer, str):
        return tokenizer
    if tokenizer == "chars":
        end = "" if plan.rule == TAIL else "\n"
        return CharTokenizer.fit(plan.survey.characters + end)
    if tokenizer == "bytes":
        return ByteTokenizer()
    if tokenizer == "gpt2":
        return tokenizers.gpt2(corpora.gpt2_vocabulary())

    def train_texts() -> Iterator[str]:
        done, total = 0, min(plan.survey.num_bytes, BPE_TRAINING_BYTES)
        for part in plan.parts():
            if part.split == "train" and done < BPE_TRAINING_BYTES:
                yield part.text
                done += len(part.text.encode())
                told(Progress("learn", min(done, total), total))

    return BPETokenizer.train(train_texts(), int(tokenizer.removeprefix("bpe:")))


@dataclass
class _Encoded:
    """A part as tokens, ready to be written."""

    part: _Part
    tokens: NDArray[Any]
    num_bytes: int


class _Encoder:
    """Parts to tokens, in any thread: it changes nothing of itself."""

    def __init__(self, tokenizer: Tokenizer, dtype: "np.dtype[Any]") -> None:
        self.tokenizer = tokenizer
        self.dtype = dtype
        tokenizer.encode("")  # what a tokenizer builds when first used is built here

    def __call__(self, parts: list[_Part]) -> list[_Encoded]:
        return [self._encode(part) for part in parts]

    def _encode(self, part: _Part) -> _Encoded:
        text, end_of_text = part.text, self.tokenizer.end_of_text
        if part.ends_document and end_of_text is None:
            text += "\n"
        ids = self.tokenizer.encode_to_numpy(text)
        if part.ends_document and end_of_text is not None:
            ids = np.append(ids, np.uint32(end_of_text))
        return _Encoded(part, narrow(ids, self.dtype), len(text.encode()))


def narrow(ids: NDArray[np.uint32], dtype: "np.dtype[Any]") -> NDArray[Any]:
    """The same ids in ``dtype``, in which a cast alone would wrap around in silence.

    Raises:
        ValueError: an id does not fit.
    """
    largest = np.iinfo(dtype).max
    if len(ids) and int(ids.max()) > largest:
        raise ValueError(f"id ({ids.max()}) must be at most {largest} to fit {dtype}")
    return ids.astype(dtype)


class _Writer:
    """One split's files, and what the manifest will say of them."""

    def __init__(self, folder: Path, split: Split, has_documents: bool) -> None:
        self.split = split
        self._bin = (folder / f"{split}.bin").open("wb")
        self._idx = (folder / f"{split}.idx").open("wb") if has_documents else None
        self._bin_sha256, self._idx_sha256 = hashlib.sha256(), hashlib.sha256()
        self.num_tokens = self.num_bytes = self.num_documents = self.largest_id = 0

    def write(self, encoded: _Encoded) -> None:
        content = encoded.tokens.tobytes()
        self._bin.write(content)
        self._bin_sha256.update(content)
        self.num_tokens += len(encoded.tokens)
        self.num_bytes += encoded.num_bytes
        if len(encoded.tokens):
            self.largest_id = max(self.largest_id, int(encoded.tokens.max()))
        if self._idx is not None and encoded.part.ends_document:
            end = self.num_tokens.to_bytes(8, "little")
            self._idx.write(end)
            self._idx_sha256.update(end)
            self.num_documents += 1

    def close(self) -> None:
        self._bin.close()
        if self._idx is not None:
            self._idx.close()

    def files(self) -> dict[str, dict[str, Any]]:
        described: dict[str, dict[str, Any]] = {
            f"{self.split}.bin": {
                "tokens": self.num_tokens,
                "bytes": self.num_bytes,
                "sha256": self._bin_sha256.hexdigest(),
            }
        }
        if self._idx is not None:
            described[f"{self.split}.idx"] = {
                "documents": self.num_documents,
                "sha256": self._idx_sha256.hexdigest(),
            }
        return described


def _write(
    folder: Path, plan: _Plan, tokenizer: Tokenizer, workers: int, told: Report
) -> dict[str, Any]:
    small = tokenizer.vocab_size <= LARGEST_UINT16_VOCABULARY
    dtype = np.dtype("<u2" if small else "<u4")
    has_documents = plan.rule != TAIL
    total = plan.survey.num_bytes
    done = 0
    writers = {split: _Writer(folder, split, has_documents) for split in SPLITS}
    try:
        encode = _Encoder(tokenizer, dtype)
        for encoded in _in_order(encode, _jobs(plan.parts()), workers):
            for one in encoded:
                writers[one.part.split].write(one)
                done += len(one.part.text.encode())
            told(Progress("encode", done, total))
    finally:
        for writer in writers.values():
            writer.close()
    if done != total:
        raise ValueError(
            f"source ({plan.source.name}) must not change while it is read: it had"
            f" {total} bytes of text, then {done}"
        )
    source = {
        "name": plan.source.name,
        "documents": plan.survey.num_documents,
        "bytes": plan.survey.num_bytes,
        "sha256": plan.survey.sha256,
    }
    hint = f", or val_fraction ({plan.val_fraction}) another"
    return _manifest(folder, writers, tokenizer, dtype, plan.rule, source, hint)


def _manifest(
    folder: Path,
    writers: "dict[Split, _Writer]",
    tokenizer: Tokenizer,
    dtype: "np.dtype[Any]",
    rule: str,
    source: dict[str, Any],
    hint: str = "",
) -> dict[str, Any]:
    """What ``meta.json`` says; and the tokenizer is put beside it."""
    for split, writer in writers.items():
        if writer.num_tokens < 2:
            raise ValueError(
                f"source ({source['name']}) must be longer{hint}: {split} would have"
                f" {writer.num_tokens} tokens of the 2 it needs"
            )
    tokenizer.save(folder / "tokenizer.json")
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "dtype": f"uint{8 * dtype.itemsize}",
        "vocab_size": tokenizer.vocab_size,
        "largest_id": max(writer.largest_id for writer in writers.values()),
        "end_of_text": tokenizer.end_of_text,
        "tokenizer": {"kind": tokenizer.kind, "sha256": tokenizer.hash},
        "files": {
            name: said
            for writer in writers.values()
            for name, said in writer.files().items()
        },
        "split": rule,
        "source": source,
    }


def _seal(folder: Path, meta: dict[str, Any]) -> None:
    files.write_json(folder / "meta.json", {**meta, SEAL: tokenizers.dict_hash(meta)})


def _jobs(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    """Parts put together until there is enough work for a thread."""
    job: list[_Part] = []
    length = 0
    for part in parts:
        job.append(part)
        length += len(part.text)
        if length >= corpora.PIECE_LENGTH:
            yield job
            job, length = [], 0
    if job:
        yield job


def _in_order(
    encode: _Encoder, jobs: Iterator[list[_Part]], workers: int
) -> Iterator[list[_Encoded]]:
    """Encode in ``workers`` threads; results come in the order of the jobs.

    Never more than a few jobs are in memory, however fast the source is.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[list[_Encoded]]] = deque()
    try:
        for job in jobs:
            try:
                waiting.append(pool.submit(encode, job))
            except RuntimeError as error:  # the system starts no further thread
                raise OSError(
                    errno.EAGAIN, f"{error}; end other programs, or use fewer workers"
                ) from None
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _token_dtype(dtype: str | np.dtype[Any]) -> np.dtype[Any]:
    try:
        little_endian: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    except (TypeError, ValueError):
        little_endian = np.dtype(object)
    if little_endian not in (np.dtype("<u2"), np.dtype("<u4")):
        raise ValueError(f"dtype ({dtype}) must be uint16 or uint32")
    return little_endian


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} ({value}) must be at least 1")
