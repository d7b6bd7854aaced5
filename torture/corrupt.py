"""Does a damaged file ever give a wrong result, or worse, without a word?

Every file that the package reads is harmed in every way we could think of, while it is
read as a verb would read it. Either a plain line says where the harm is, or the result
is the one that the whole file gives.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from minillm import data, files
from minillm import tokenizer as tokenizers
from torture.attack import Attack, Trial
from torture.trials import objection, tried
from torture.victims import TEXT, call

# Who is harmed ----------------------------------------------------------------------


def build(folder: Path, number: int) -> Path:
    """Make one small file of every kind that the package reads.

    Args:
        folder: where.
        number: another one gives other text and other weights under the same names.
    """
    import pyarrow
    from pyarrow import parquet

    from minillm import checkpoint, config, fast, huggingface, run, train

    texts = [
        TEXT[start : start + 90]
        for start in range(500 * number, 500 * number + 720, 90)
    ]
    data.prepare_text("".join(texts), folder / "corpus")
    sources = folder / "sources"
    sources.mkdir()
    (sources / "text.txt").write_text("".join(texts), encoding="utf-8")
    (sources / "lines.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8"
    )
    parquet.write_table(pyarrow.table({"text": texts[:3]}), sources / "table.parquet")
    data.prepare(
        sources / "lines.jsonl",
        folder / "pairs",
        tokenizer="bpe:265",
        val_fraction=0.4,
    )
    settings = {
        "model": {"d_model": 4, "n_heads": 2, "n_layers": 1, "context_length": 5},
        "data": {"directory": (folder / "corpus").as_posix()},
        "train": {
            **{"steps": 3, "batch_size": 2, "warmup_steps": 1, "eval_every": 1},
            **{"checkpoint_every": 1, "log_every": 1, "device": "cpu"},
            **{"seed": number, "learning_rate": 1.0, "min_learning_rate": 0.5},
        },
    }
    plan = config.from_dict(config.RunConfig, settings)
    (sources / "plan.toml").write_text(_toml(settings), encoding="utf-8")
    train.train(plan, directory=folder / "run")
    # The best is made an older one than the last, so that both are there to be read.
    loaded = checkpoint.load(folder / "run", which="last")
    huggingface.export(loaded.model, loaded.tokenizer, folder / "export")
    packaged = folder / "packaged"
    packaged.mkdir()
    checkpoint.write_model(packaged, loaded.config, loaded.model, loaded.tokenizer)
    (packaged / fast.PACKAGE).write_bytes(b"never run before it is checked")
    files.write_json(packaged / fast.PASSPORT, {**fast._here(), "batch_size": 1})
    run.write_manifest(packaged)
    for name in ("bare", "shards"):
        (folder / name).mkdir()
        for split in data.SPLITS:
            tokens = np.frombuffer("".join(texts[:2]).encode(), np.uint8).astype("<u2")
            header = b""
            if name == "shards":
                numbers = np.array([20240520, 1, len(tokens)], "<u4").tobytes()
                header = numbers.ljust(data.SHARD_HEADER_BYTES, b"\0")
            path = folder / name / f"{split}.bin"
            path.write_bytes(header + tokens.tobytes())
    return folder


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items())
        for name, table in tables.items()
    )


# Who reads --------------------------------------------------------------------------


def read_corpus(folder: Path) -> Any:
    """Open a corpus, and read all its windows without ``verify``."""
    corpus = data.Corpus(folder)
    seen = []
    for split in (corpus.train, corpus.val):
        batches = [split.batch(0, 0, 2, 5), *split.windows(5, 3)]
        seen.append([inputs.tolist() + targets.tolist() for inputs, targets in batches])
        if any(id_ >= corpus.vocab_size for id_ in _flat(seen)):
            raise AssertionError("an id outside the vocabulary was given out")
    return corpus.vocab_size, corpus.train.num_bytes, corpus.val.num_bytes, seen


def read_verified_corpus(folder: Path) -> Any:
    """Verify a corpus, and read it."""
    corpus = data.verify(folder)
    used = {key.split()[0] for key in data.MANIFEST} | {"split", "end_of_text"}
    return (
        {key: corpus.meta.get(key) for key in used},
        corpus.tokenizer.to_dict(),
        read_corpus(folder),
    )


def read_tokens(folder: Path) -> Any:
    """Make a corpus of another program's token files."""
    with tempfile.TemporaryDirectory() as out:
        corpus = data.adopt(
            [folder], Path(out) / "x", tokenizer="bytes", dtype=_dtype(folder)
        )
        return read_corpus(corpus.directory)


def _dtype(folder: Path) -> str | None:
    return "uint16" if folder.name == "bare" else None


def read_model(folder: Path) -> Any:
    """Load a model as ``generate`` does: the best of a run, or what the folder is."""
    from minillm import checkpoint, fast, huggingface

    if (folder / fast.PASSPORT).exists():
        fast._run = lambda path: _never_run
        loaded = fast.load_package(folder)
    elif huggingface.is_huggingface(folder):
        loaded = huggingface.load(folder)
    else:
        loaded = checkpoint.load(folder)
    return _known(loaded)


def read_last_model(folder: Path) -> Any:
    """Load the last model of a run."""
    from minillm import checkpoint

    return _known(checkpoint.load(folder, which="last"))


def _never_run(*tensors: Any) -> Any:
    raise AssertionError("machine code was run")


def _known(loaded: Any) -> Any:
    from minillm.config import to_dict

    weights = _hashes(loaded.model.state_dict())
    return weights, to_dict(loaded.config), loaded.tokenizer.to_dict()


def _hashes(tensors: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }


def read_run(folder: Path) -> Any:
    """Go on with a run that is one step from its end."""
    from minillm import config, train

    plan = config.from_dict(
        config.RunConfig, config.read_toml(folder.parent / "sources" / "plan.toml")
    )
    plan = replace(plan, data=config.DataConfig(directory=folder.parent / "corpus"))
    model = train.train(plan, directory=folder, resume=True)
    return _hashes(model.state_dict())


def read_rows(folder: Path) -> Any:
    """Read the metrics, and write them again."""
    from minillm.run import RunFolder

    run = RunFolder(folder)
    rows = run.rows()
    run.rewind(10**9)
    return rows


def read_text(path: Path) -> Any:
    """Make a corpus of somebody's text."""
    with tempfile.TemporaryDirectory() as out:
        return read_corpus(data.prepare(path, Path(out) / "x").directory)


def read_settings(path: Path) -> Any:
    """Read a run from TOML, as ``describe`` does."""
    from minillm import config

    return asdict(config.preset(str(path), vocab_size=7, changes={"model": {}}))


def _flat(nested: Any) -> Iterator[int]:
    for one in nested:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


@dataclass(frozen=True)
class Reader:
    """One way to read one place, and what is harmed there.

    Args:
        read: gives what a user would get, ready to be compared.
        place: a folder or a file.
        paths: the files in it that this reader uses; none: ``place`` itself.
        trusts: those of them that are taken at their word, because nothing anywhere
            says what they should be. A change there may give another result; it must
            still be a sound one.
    """

    read: Callable[[Path], Any]
    place: str
    paths: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()


CHECKPOINT = (
    *("config.json", "manifest.json", "model.safetensors", "tokenizer.json"),
    *("trainer.json", "trainer.safetensors"),
)
BEST, LAST = "checkpoints/step-00000000/", "checkpoints/step-00000003/"
BINS = ("train.bin", "val.bin")

READERS = (
    Reader(read_corpus, "corpus", ("meta.json", "tokenizer.json", *BINS), BINS),
    Reader(
        read_verified_corpus,
        "pairs",
        ("meta.json", "tokenizer.json", "train.idx", "val.idx", *BINS),
    ),
    Reader(read_tokens, "bare", BINS, BINS),
    Reader(read_tokens, "shards", BINS, BINS),
    Reader(
        read_model,
        "run",
        (*(BEST + name for name in CHECKPOINT), LAST + "trainer.json"),
    ),
    Reader(read_last_model, "run", tuple(LAST + name for name in CHECKPOINT)),
    Reader(
        read_run,
        "run",
        (
            *("config.json", "metrics.jsonl"),
            *(LAST + name for name in CHECKPOINT if name.startswith("trainer")),
        ),
    ),
    Reader(read_rows, "run", ("metrics.jsonl",), ("metrics.jsonl",)),
    Reader(
        read_model,
        "export",
        (
            *("config.json", "manifest.json", "minillm_tokenizer.json"),
            "model.safetensors",
        ),
    ),
    Reader(read_model, "packaged", ("decoder.json", "decoder.pt2", *CHECKPOINT[:4])),
    *(
        Reader(read_text, f"sources/{name}", (), ("",))
        for name in ("text.txt", "lines.jsonl", "table.parquet")
    ),
    Reader(read_settings, "sources/plan.toml", (), ("",)),
)


# How it is harmed -------------------------------------------------------------------

VAST = 2**40
"""Bytes of a file that has no content: more than any machine should believe."""

NOBODY = 65_534
"""The user that has no rights; the system's own user may read everything."""


def _empty(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b"")


def _swapped(path: Path, content: bytes, other: Path) -> None:
    shutil.copy(other, path)


def _missing(path: Path, content: bytes, other: Path) -> None:
    path.unlink()


def _folder(path: Path, content: bytes, other: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to_nowhere(path: Path, content: bytes, other: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _link_to_itself(path: Path, content: bytes, other: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _link_to_zeros(path: Path, content: bytes, other: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _pipe(path: Path, content: bytes, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _locked(path: Path, content: bytes, other: Path) -> None:
    path.chmod(0)


def _vast(path: Path, content: bytes, other: Path) -> None:
    os.truncate(path, VAST)


def _vast_and_empty(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, VAST)


def _longer(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(content + b"\0")


def _twice(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(content + content)


def _marked(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + content)


def _utf16(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(content.decode("latin-1").encode("utf-16"))


def _nested(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b'{"a":' + b"[" * 200_000)


def _endless_number(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b'{"a": ' + b"9" * 10_000 + b"}\n")


def _endless_setting(path: Path, content: bytes, other: Path) -> None:
    path.write_bytes(b"[train]\nsteps = 0x" + b"9" * 10_000 + b"\n")


WAYS: dict[str, Callable[[Path, bytes, Path], None]] = {
    "empty": _empty,
    "another's": _swapped,
    "missing": _missing,
    "a folder": _folder,
    "a link to nowhere": _link_to_nowhere,
    "a link to itself": _link_to_itself,
    "a link to /dev/zero": _link_to_zeros,
    "a pipe": _pipe,
    "not readable": _locked,
    "vast": _vast,
    "vast and empty": _vast_and_empty,
    "a zero at the end": _longer,
    "twice": _twice,
    "a byte-order mark": _marked,
    "UTF-16": _utf16,
    "nested deeply": _nested,
    "an endless number": _endless_number,
    "an endless setting": _endless_setting,
}
"""What a file can be instead of itself."""


@dataclass(frozen=True)
class Harm:
    """What is done to which file before which reader comes.

    Args:
        reader: its place among ``READERS``.
        path: of the file, in the reader's place.
        way: one of ``WAYS``; "cut"; "flip"; or "say", in a JSON file.
        at: where it is cut or flipped.
        bits: which bits are flipped.
        keys: where something else is said.
        value: what is said, as it stands in the file; nothing takes the key away.
    """

    reader: int
    path: str
    way: str
    at: int = 0
    bits: int = 0
    keys: tuple[str | int, ...] = ()
    value: str = ""

    def __str__(self) -> str:
        reader = READERS[self.reader]
        how = self.way
        if self.way in ("cut", "flip"):
            how += f" {self.at} {self.bits:#04x}"
        if self.way == "say":
            how = f"{' of '.join(map(str, self.keys[::-1]))} is {self.value[:40]}"
        return f"{reader.read.__name__} {reader.place}/{self.path}: {how}"


@dataclass(frozen=True)
class Harmed:
    """Does harm, reads, and compares; the files are whole again before the next harm.

    Args:
        folder: holds what :func:`build` has made, twice: ``here`` is harmed, and
            ``whole`` never is. ``other`` is another's.
    """

    folder: Path

    def __call__(self, harm: Harm) -> Trial:
        reader = READERS[harm.reader]
        expected = _expected(harm.reader, self.folder)
        place = self.folder / "here" / reader.place
        path = do(harm, self.folder)
        try:
            with _as_nobody(harm.way == "not readable"):
                found = reader.read(place)
        except BaseException as error:
            return objection(error, (path.name, path.stem, place.name))
        if found == expected or harm.path in reader.trusts or harm.way == "say":
            return None
        return "another result, without a word"


@contextmanager
def _as_nobody(wanted: bool) -> Iterator[None]:
    if not wanted or os.getuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def do(harm: Harm, folder: Path) -> Path:
    """Make whole what was harmed last, and do harm; returns the file harmed."""
    place = folder / "here" / READERS[harm.reader].place
    path = place / harm.path
    # Who believes a lie may write more than the file that was harmed.
    _mend(folder, place if harm.way == "say" else path)
    content = path.read_bytes()
    if harm.way == "flip":
        harmed = bytearray(content)
        harmed[harm.at] ^= harm.bits
        path.write_bytes(harmed)
    elif harm.way == "cut":
        path.write_bytes(content[: harm.at])
    elif harm.way == "say":
        _say(path, harm.keys, harm.value)
    else:
        WAYS[harm.way](
            path, content, folder / "other" / path.relative_to(folder / "here")
        )
    return path


def _say(path: Path, keys: tuple[str | int, ...], value: str) -> None:
    """Let a JSON file say something else, and whatever vouches for it vouch for it."""
    from minillm.run import MANIFEST, write_manifest

    said = files.read_json(path)
    seal = said.pop(data.SEAL, None)
    *outer, last = keys
    inner: Any = said
    for key in outer:
        inner = inner[key]
    if value:
        inner[last] = "instead"
    else:
        del inner[last]
    content = json.dumps(said).replace('"instead"', value or '""')
    if seal is not None:
        with suppress(ValueError, RecursionError):
            said = json.loads(content)
            said[data.SEAL] = tokenizers.dict_hash(said)
            content = json.dumps(said)
    path.write_text(content, encoding="utf-8")
    if path.name != MANIFEST and (path.parent / MANIFEST).exists():
        write_manifest(path.parent)


@cache
def _expected(number: int, folder: Path) -> Any:
    _mend(folder, None)
    reader = READERS[number]
    return reader.read(folder / "here" / reader.place)


def _mend(folder: Path, harmed: Path | None) -> None:
    """Make whole what was harmed last, and note what is harmed next."""
    note = folder / "harmed"
    if note.exists():
        path = Path(note.read_text())
        whole = folder / "whole" / path.relative_to(folder / "here")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, path)
    if harmed is not None:
        note.write_text(str(harmed))


# Attacks ----------------------------------------------------------------------------


@cache
def _built() -> tempfile.TemporaryDirectory[str]:
    """What is harmed, and another of each; made once, and copied for each attack."""
    room = tempfile.TemporaryDirectory()
    build(Path(room.name) / "whole", 0)
    build(Path(room.name) / "other", 1)
    return room


@contextmanager
def victims() -> Iterator[Path]:
    """A folder for :class:`Harmed`, which everyone may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part, copied in (("here", "whole"), ("whole", "whole"), ("other", "other")):
            shutil.copytree(Path(_built().name) / copied, folder / part)
        yield folder


def harms(
    folder: Path, of_file: Callable[[int, str, bytes], list[Harm]], random: Random
) -> Iterator[Harm]:
    """All harms, in an order in which every file has its turn before one has two."""
    of_files = []
    for number, reader in enumerate(READERS):
        for name in reader.paths or ("",):
            content = (folder / "whole" / reader.place / name).read_bytes()
            of_one = of_file(number, name, content)
            random.shuffle(of_one)
            of_files.append(of_one)
    random.shuffle(of_files)
    return (h for turn in zip_longest(*of_files) for h in turn if h is not None)


def _attack_with(
    of_file: Callable[[Random], Callable[[int, str, bytes], list[Harm]]],
) -> Callable[[Random], Iterator[Trial]]:
    def trials(random: Random) -> Iterator[Trial]:
        with victims() as folder:
            yield from tried(Harmed(folder), harms(folder, of_file(random), random))

    return trials


def _flips(random: Random) -> Callable[[int, str, bytes], list[Harm]]:
    return lambda number, name, content: [
        Harm(number, name, "flip", at, random.choice([1 << random.randrange(8), 255]))
        for at in range(len(content))
    ]


def _cuts(random: Random) -> Callable[[int, str, bytes], list[Harm]]:
    return lambda number, name, content: [
        Harm(number, name, "cut", at) for at in range(len(content))
    ]


def _ways(random: Random) -> Callable[[int, str, bytes], list[Harm]]:
    def of_file(number: int, name: str, content: bytes) -> list[Harm]:
        # Of a text, and of tokens that nothing describes, any length may be meant.
        any_length = READERS[number].read in (read_text, read_tokens)
        ways = [w for w in WAYS if not (any_length and w.startswith("vast"))]
        return [Harm(number, name, way) for way in ways]

    return of_file


LIES = (
    *("", "null", "true", "0", "-1", "2.5", "1000000000", "1" + 30 * "0", "1e400"),
    *("NaN", "-Infinity", "9" * 5000, '""', '"x"', r'"\u0000"', r'"\ud800"', '"../x"'),
    *(f'"{"x" * 5000}"', "[]", "[[]]", "{}", '{"x": 1}', "[" * 500 + "]" * 500),
)
"""What is said instead, as it stands in the file; nothing takes the key away."""


def _keys(
    said: Any, outer: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Where something is said: every place of a JSON value, of a long list a few."""
    pairs = said.items() if isinstance(said, dict) else enumerate(said[:3])
    for key, value in pairs:
        yield (*outer, key)
        if isinstance(value, dict | list):
            yield from _keys(value, (*outer, key))


def _lies(random: Random) -> Callable[[int, str, bytes], list[Harm]]:
    def of_file(number: int, name: str, content: bytes) -> list[Harm]:
        if not name.endswith(".json"):
            return []
        return [
            Harm(number, name, "say", keys=keys, value=value)
            for keys in _keys(json.loads(content))
            if keys != (data.SEAL,)
            for value in LIES
        ]

    return of_file


# While it is in use, and on the command line ----------------------------------------


@dataclass(frozen=True)
class InUse:
    """Harms a token file between two batches, or between opening and the first."""

    folder: Path

    def __call__(self, harm: tuple[bool, str, int]) -> Trial:
        mapped, way, at = harm
        place = self.folder / "here" / "corpus"
        _mend(self.folder, place)
        expected = read_corpus(place)
        corpus = data.Corpus(place)
        if mapped:
            corpus.train.batch(0, 0, 2, 5)
        path = corpus.train.path
        if way == "cut":
            os.truncate(path, at)
        elif way == "longer":
            os.truncate(path, path.stat().st_size + at)
        else:
            path.rename(path.with_suffix(".old"))
            if way == "replaced":
                path.write_bytes(bytes(at))
            elif way == "a folder":
                path.mkdir()
        try:
            found = [
                inputs.tolist() + targets.tolist()
                for inputs, targets in (
                    corpus.train.batch(0, 0, 2, 5),
                    *corpus.train.windows(5, 3),
                )
            ]
        except BaseException as error:
            return objection(error, (path.name,))
        return None if found == expected[-1][0] else "other tokens, without a word"


def _in_use(random: Random) -> Iterator[Trial]:
    with victims() as folder:
        size = (folder / "whole" / "corpus" / "train.bin").stat().st_size
        harms = [
            (mapped, way, at)
            for mapped in (True, False)
            for way, at in (
                *(("cut", at) for at in range(size)),
                *(("longer", at) for at in (1, 2, 4096)),
                *(("replaced", at) for at in (0, size - 2, size, size + 2)),
                *(("removed", 0), ("a folder", 0)),
            )
        ]
        random.shuffle(harms)
        yield from tried(InUse(folder), harms)


def words(reader: Reader, place: Path) -> list[str]:
    """What a person types to use what stands in a place."""
    if reader.read in (read_corpus, read_verified_corpus):
        return ["prepare", "--verify", f"{place}"]
    if reader.read in (read_text, read_tokens):
        made = ["--tokenizer", "bytes", "--overwrite", "--out", f"{place.parent}/made"]
        dtype = ["--dtype", "uint16"] if _dtype(place) else []
        files = sorted(map(str, place.iterdir())) if place.is_dir() else [str(place)]
        return ["prepare", *files, *made, *dtype]
    if reader.read is read_settings:
        return ["describe", f"{place}"]
    if reader.read is read_run:
        plan = place.parent / "sources" / "plan.toml"
        there = ["--data", f"{place.parent}/corpus", "--out", f"{place}"]
        return ["train", f"{plan}", "--resume", *there]
    which = ["--which", "last"] if reader.read is read_last_model else []
    return ["generate", f"{place}", "--max_new_tokens", "2", *which]


def _typed(random: Random) -> Iterator[Trial]:
    with victims() as folder:
        of_files = (_flips(random), _cuts(random), _ways(random), _lies(random))

        def of_file(number: int, name: str, content: bytes) -> list[Harm]:
            if READERS[number].place == "packaged":  # nobody has made its machine code
                return []
            return [
                random.choice(some)
                for harms_of in of_files
                if (some := harms_of(number, name, content))
            ]

        for harm in harms(folder, of_file, random):
            do(harm, folder)
            reader = READERS[harm.reader]
            place = folder / "here" / reader.place
            fault = call(*words(reader, place), folder=folder).fault
            yield None if fault is None else f"{harm}: {fault}"


IN_THE_WAY = (
    *("run", "run/checkpoints", "run/checkpoints/step-00000003", "run/metrics.jsonl"),
    *("run/config.json", "run/.lock", "run/.lock-owner", "corpus", "sources"),
    *("made", ".made.lock", ".made.lock-owner"),
)
"""Places where a file or a folder is read or written."""


def _in_the_way(random: Random) -> Iterator[Trial]:
    shapes = ("empty", "a folder", "a link to nowhere", "a link to itself", "a pipe")
    verbs = {
        "resume": ("train", "sources/plan.toml", "--resume", "--out", "run"),
        "overwrite": ("train", "sources/plan.toml", "--overwrite", "--out", "run"),
        "prepare": ("prepare", "sources", "--overwrite", "--out", "made"),
        "generate": ("generate", "run", "--max_new_tokens", "2"),
        "export": ("export", "run", "--out", "made"),
    }
    trials = [
        (place, shape, verb)
        for place in IN_THE_WAY
        for shape in shapes
        for verb in verbs
    ]
    random.shuffle(trials)
    for place, shape, verb in trials:
        with victims() as folder:
            path = folder / "here" / place
            if path.is_dir():
                shutil.rmtree(path)
            path.touch()
            WAYS[shape](path, b"", path)
            fault = call(*verbs[verb], folder=folder / "here").fault
        yield None if fault is None else f"{verb}: {place} is {shape}: {fault}"


PROMISE = (
    "a plain line, or the result of the whole file; without a checksum, some result"
)

ATTACKS = (
    Attack(
        "a byte of a file is changed",
        PROMISE,
        _attack_with(_flips),
        None,
        250,
    ),
    Attack(
        "a file is cut at every length",
        PROMISE,
        _attack_with(_cuts),
        None,
        200,
    ),
    Attack(
        "something else stands in place of a file",
        PROMISE,
        _attack_with(_ways),
        None,
        400,
    ),
    Attack(
        "a file says something absurd under a right checksum",
        "a plain line, or some result, and no flood of memory",
        _attack_with(_lies),
        None,
        300,
    ),
    Attack(
        "a token file is cut, lengthened, replaced or removed in use",
        "a plain line, or the tokens that it held",
        _in_use,
        None,
        100,
    ),
    Attack(
        "a damaged file meets the command line",
        "success, or one line and exit code 2",
        _typed,
        120,
        14,
    ),
    Attack(
        "something else stands where a file or folder belongs",
        "success, or one line and exit code 2",
        _in_the_way,
        120,
        6,
    ),
)
