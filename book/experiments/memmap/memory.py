"""What does reading a token file cost: in memory, in holes, in time?

    python -m book.experiments.memmap.memory

Writes results.csv beside this file; question.md says what was expected. Four tables in
one. ``limit``: child processes may have little memory of their own and meet a file ten
times as large. ``growth``: without a limit, what files of several sizes leave behind.
``coverage``: which share of an epoch's windows is never drawn. ``latency``: CPU time of
a batch, rounds interleaved, ratios to the first name of the same round; ``low`` and
``high`` are the tenth and the ninetieth percentile. ``step`` is a whole training step
beside a batch. Needs Linux, for a moment 6 GB of disk and 8 GB of memory, and about two
minutes.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from book.experiments import records
from book.experiments.records import machine, ratios, write

if TYPE_CHECKING:
    from minillm.data import Batch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUT = HERE / "results.csv"
FIELDS = ["what", "name", "size_mb", "limit_mb", "anon_mb", "file_mb", "outcome"]
FIELDS += [
    "seed",
    "epochs",
    "share",
    "ms",
    "ratio",
    "low",
    "high",
    "rounds",
    "torch",
    "machine",
]
ROOM = 100  # megabytes beyond what Python, PyTorch and a small model hold
SIZES = (40, 130, 400, 1300, 4000)
MB = 1_000_000

# ------------------------------------------------------------------ the instrument


def held() -> dict[str, float] | None:
    """Megabytes this process holds, by kind; None where no system says so.

    ``anon`` is memory with no file behind it, ``file`` is pages of mapped files, and
    ``data`` is what a limit on data counts: all private memory that can be written to,
    whether it was touched or not.
    """
    wanted = {"RssAnon": "anon", "RssFile": "file", "VmData": "data"}
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf8").splitlines()
    except OSError:
        return None
    pairs = (line.split(":") for line in lines if line.partition(":")[0] in wanted)
    found = {wanted[key]: int(text.split()[0]) * 1024 / MB for key, text in pairs}
    return found if len(found) == len(wanted) else None


def forbid_more_than(room: float) -> float | None:
    """Let this process have ``room`` megabytes more of its own, and no more for ever.

    Returns the limit in megabytes; None where the system keeps none.
    """
    before = held()
    if before is None:
        return None
    import resource

    limit = before["data"] + room
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * MB),) * 2)
    try:  # an instrument is tried before it is used
        np.empty(int(2 * room * MB), dtype=np.uint8)
    except MemoryError:
        return limit
    return None


# ------------------------------------------------------------------ in a child process


def load(path: str) -> tuple[str, object]:
    """Read the whole file into memory."""
    tokens = np.fromfile(path, dtype="<u2")
    return f"{len(tokens)} tokens", tokens


def touch(path: str) -> tuple[str, object]:
    """Map the file, and read every token of it once."""
    from minillm.data import TokenFile

    tokens = TokenFile.open(path, "uint16").tokens
    pieces = range(0, len(tokens), MB)
    largest = max(int(tokens[i : i + MB].max()) for i in pieces)
    return f"largest {largest}", tokens


def train(path: str, steps: int = 30) -> tuple[str, object]:
    """Train a small model on windows from everywhere in the mapped file."""
    from minillm.data import TokenFile

    file = TokenFile.open(path, "uint16")
    losses = train_on(lambda step: file.batch(0, step, 16, 64), steps)
    return f"loss {losses[0]:.1f} to {losses[-1]:.1f}", file


def train_on(batch: "Callable[[int], Batch]", steps: int) -> list[float]:
    """The losses of a small model that is trained on some batches."""
    import torch

    from minillm.config import ModelConfig
    from minillm.evaluate import next_token_loss
    from minillm.model import Transformer

    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=1024, context_length=64, n_layers=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    losses = []
    for step in range(steps):
        tokens, following = batch(step)
        loss = next_token_loss(model(tokens), following)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


Way = Callable[[str], tuple[str, object]]
WAYS: dict[str, Way] = {"load": load, "touch": touch, "train": train}


def child(paths: Sequence[str], room: float, ways: Sequence[str]) -> dict[str, Any]:
    """Try the ways one after another, under a limit if ``room`` is above zero."""
    import torch

    torch.set_num_threads(1)
    nothing = torch.zeros(16, 64, dtype=torch.int64)
    train_on(lambda _: (nothing, nothing), 1)  # all that PyTorch needs once
    start, limit = held(), forbid_more_than(room) if room else None
    results = []
    for path in paths:
        for way in ways:
            before, kept = held(), None
            try:
                outcome, kept = WAYS[way](path)
            except MemoryError:
                outcome = "MemoryError"
            tried = {"path": path, "way": way, "outcome": outcome}
            results.append({**tried, "before": before, "after": held()})
            del kept  # it was there to be counted
    return {"start": start, "limit": limit, "results": results}


def in_a_child(paths: Sequence[Path], room: float, *ways: str) -> dict[str, Any]:
    """The same in a process of its own, which ends with its limit and its memory."""
    call = f"memory.child({[str(path) for path in paths]}, {room}, {ways!r})"
    program = "import json\nfrom book.experiments.memmap import memory\n"
    program += f"print(json.dumps({call}))"
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def repeat(tokens: NDArray[np.uint16], path: Path, megabytes: int) -> int:
    """Write the tokens over and over until the file is so large; return its tokens."""
    times = -(-megabytes * MB // tokens.nbytes)
    with path.open("wb") as file:
        for _ in range(times):
            file.write(tokens.tobytes())
    return times * len(tokens)


# ------------------------------------------------------------------ holes


def missed_at_random(num_windows: int, epochs: int, seed: int) -> list[float]:
    """Share of windows not seen yet after each epoch, drawn with replacement."""
    import torch

    source = torch.Generator().manual_seed(seed)
    seen = np.zeros(num_windows, dtype=bool)
    shares = []
    for _ in range(epochs):
        drawn = torch.randint(num_windows, (num_windows,), generator=source)
        seen[drawn.numpy()] = True
        shares.append(1 - float(seen.mean()))
    return shares


def missed_when_shuffled(num_windows: int, epochs: int, seed: int) -> list[float]:
    """The same in the package's order."""
    from minillm.data import Shuffle

    seen = np.zeros(num_windows, dtype=bool)
    shares = []
    for epoch in range(epochs):
        seen[Shuffle(num_windows, seed, epoch)(np.arange(num_windows))] = True
        shares.append(1 - float(seen.mean()))
    return shares


# ------------------------------------------------------------------ the clock


def ways_to_read(path: Path) -> dict[str, Callable[[int], object]]:
    """A batch of 16 windows of 64, by step: the first from memory."""
    import torch

    from minillm.data import TokenFile

    mapped, loaded = (TokenFile.open(path, "uint16") for _ in range(2))
    # In the place where the package keeps its map, an array in memory.
    loaded.__dict__["tokens"] = np.fromfile(path, dtype="<u2")
    flat = torch.from_numpy(loaded.tokens.astype(np.int64))

    def stacked(step: int) -> object:
        source = torch.Generator().manual_seed(step)
        starts = torch.randint(len(flat) - 64, (16,), generator=source).tolist()
        x = torch.stack([flat[i : i + 64] for i in starts])
        return x, torch.stack([flat[i + 1 : i + 65] for i in starts])

    return {
        "array in memory": lambda step: loaded.batch(0, step, 16, 64),
        "memmap, kept": lambda step: mapped.batch(0, step, 16, 64),
        "memmap, anew for each batch": lambda step: TokenFile.open(
            path, "uint16"
        ).batch(0, step, 16, 64),
        "random windows of an int64 tensor": stacked,
    }


def interleaved(
    runs: dict[str, Callable[[int], object]], rounds: int, passes: int = 20
) -> dict[str, list[float]]:
    """CPU milliseconds a call, one number a round; the names take turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(-1, rounds):
        for name, run in runs.items():
            began = time.process_time()
            for step in range(passes):
                run(number * passes + step + passes)
            spent = time.process_time() - began
            if number >= 0:  # the first round warms the caches
                found[name].append(1000 * spent / passes)
    return found


# ------------------------------------------------------------------ the table


def read() -> list[dict[str, str]]:
    """The rows that are kept beside this file."""
    return records.read(OUT)


def _memory_rows(tokens: NDArray[np.uint16], folder: Path) -> Iterator[dict[str, Any]]:
    paths = [folder / f"{size}.bin" for size in SIZES]
    for path, size in zip(paths, SIZES, strict=True):
        repeat(tokens, path, size)
    free = in_a_child(paths, 0, "load", "touch")
    limited = in_a_child(paths[-1:], ROOM, "load", "train", "touch")
    for what, answer in ("growth", free), ("limit", limited):
        for one in answer["results"]:
            before, after = one["before"], one["after"]
            size = Path(one["path"]).stat().st_size / MB
            assert answer["limit"] is None or size > 10 * answer["limit"]
            yield {
                "what": what,
                "name": one["way"],
                "size_mb": f"{size:.0f}",
                "limit_mb": f"{answer['limit']:.0f}" if answer["limit"] else "",
                "anon_mb": f"{after['anon'] - before['anon']:.1f}",
                "file_mb": f"{after['file'] - before['file']:.1f}",
                "outcome": one["outcome"],
            }
    for path in paths:
        path.unlink()


def _coverage_rows() -> Iterator[dict[str, Any]]:
    for name, way in {
        "with replacement": missed_at_random,
        "shuffled": missed_when_shuffled,
    }.items():
        for seed in range(5):
            for epoch, share in enumerate(way(16_719, 5, seed), 1):
                yield {
                    "what": "coverage",
                    "name": name,
                    "seed": seed,
                    "epochs": epoch,
                    "share": f"{share:.5f}",
                }


def _latency_rows(tokens: NDArray[np.uint16], folder: Path) -> Iterator[dict[str, Any]]:
    import torch

    from minillm.config import preset
    from minillm.data import TokenFile
    from minillm.evaluate import next_token_loss
    from minillm.model import Transformer

    path = folder / "tokens.bin"
    repeat(tokens, path, 400)
    runs = ways_to_read(path)
    model = Transformer(preset("llama", vocab_size=1024).model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    file = TokenFile.open(path, "uint16")
    batch, following = file.batch(0, 0, 16, 64)

    def step(_number: int) -> None:
        next_token_loss(model(batch), following).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = interleaved(runs, 61)
    steps = interleaved({"memmap, kept": runs["memmap, kept"], "step": step}, 15, 5)
    tables = ("latency", found), ("step", steps)
    for what, table in tables:
        for name, values in ratios(table).items():
            tenths = statistics.quantiles(values, n=10)
            yield {
                "what": what,
                "name": name,
                "size_mb": 400,
                "ms": f"{statistics.median(table[name]):.4f}",
                "ratio": f"{statistics.median(values):.3f}",
                "low": f"{tenths[0]:.3f}",
                "high": f"{tenths[-1]:.3f}",
                "rounds": len(values),
            }


def main() -> None:
    """Run everything, and write the table."""
    import torch

    from minillm.data import Corpus, prepare_text

    torch.set_num_threads(1)
    chars = Corpus(ROOT / "data" / "shakespeare")
    splits = (chars.train.tokens, chars.val.tokens)
    text = "".join(chars.tokenizer.decode(tokens) for tokens in splits)
    folder = Path(tempfile.mkdtemp())
    try:
        own = prepare_text(text, folder / "own", "bpe:1024")
        tokens = np.array(own.train.tokens)
        table = [*_memory_rows(tokens, folder), *_coverage_rows()]
        table += _latency_rows(tokens, folder)
    finally:
        shutil.rmtree(folder)
    about = {"torch": torch.__version__, "machine": machine()}
    write(OUT, FIELDS, ({**row, **about} for row in table))
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
