"""What grows with the text, and what with the model?

Nothing should grow with the text: texts of 10 MB to 2 GB are prepared and trained on,
each by a process of its own, and the most *anonymous* memory that it has held is kept,
which is memory with no file behind it. Pages of a mapped file are counted in resident
memory, but the system takes them back when it needs room; both are reported.

A training step should grow with the model's FLOPs, and with nothing else: steps of
several widths, depths and context lengths, each of 1,024 tokens, take turns with a
multiplication of two large matrices, which is as fast as the machine gets. CPU seconds,
so that other work on the machine counts for little; the share of the peak is taken
within a round.

Needs Linux, and for a moment 9 GB of disk.
"""

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import (
    ROOT,
    Goal,
    Spread,
    Stopwatch,
    environment,
    interleave,
    ratios,
    spread,
    write,
)
from minillm import corpora, costs
from minillm.config import RunConfig, preset
from minillm.data import Corpus, TokenFile
from minillm.model import build
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import take_step

# ------------------------------------------------------------------ memory

MEGABYTES = (10, 100, 1000, 2000)
FREE_BYTES = 9_000_000_000
HELD_OUT = 20_000
"""Bytes, of every text: a run ends with a pass over all that is held out."""

TRAIN_ROUNDS = 3
STEPS = 20
PAUSE = 0.005
"""Seconds between two looks at a process."""


@dataclass(frozen=True)
class Held:
    """The most that a process was seen to hold, and the time it took."""

    anonymous_mebibytes: float
    resident_mebibytes: float
    wall_seconds: float
    cpu_seconds: float


def watch(command: Sequence[str | Path], threads: int) -> Held:
    """Run a program to its end and look again and again at what it holds.

    Raises:
        SystemExit: the program failed; says what it said.
    """
    words = [str(word) for word in command]
    anonymous = resident = 0
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words, stdout=said, stderr=said, env=environment(threads), cwd=ROOT
        )
        status = Path(f"/proc/{process.pid}/status")
        while True:
            done, code, used = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            # A process that has just ended still has a status, without these lines.
            seen = dict(re.findall(r"(RssAnon|VmHWM):\s*(\d+)", status.read_text()))
            anonymous = max(anonymous, int(seen.get("RssAnon", 0)))
            resident = max(resident, int(seen.get("VmHWM", 0)))
            time.sleep(PAUSE)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(words)}: code {process.returncode}\n{last}")
    cpu = used.ru_utime + used.ru_stime
    return Held(anonymous / 1024, resident / 1024, wall, cpu)


def write_text(path: Path, num_bytes: int) -> None:
    """The plays, over and over; the last line may be cut."""
    (document,) = corpora.open_source("shakespeare").documents()
    block = "".join(document.pieces()).encode()
    with path.open("wb") as file:
        left = num_bytes
        while left > 0:
            left -= file.write(block[:left])


def prepare(text: Path, corpus: Path, threads: int) -> Held:
    """Bytes as tokens; see that there are as many.

    Raises:
        SystemExit: there are not.
    """
    size = text.stat().st_size
    held = watch(
        [
            *(sys.executable, "-m", "minillm", "prepare", text, "--out", corpus),
            *("--tokenizer", "bytes", "--val_fraction", str(HELD_OUT / size)),
        ],
        threads,
    )
    made = Corpus(corpus)
    if len(made.train) + len(made.val) != size:
        raise SystemExit(f"{size} bytes have become {made}")
    return held


def train(corpus: Path, run: Path, threads: int) -> Held:
    """A short run of the preset ``llama``; see that it took its steps.

    Raises:
        SystemExit: it did not.
    """
    held = watch(
        [
            *(sys.executable, "-m", "minillm", "train", "llama", "--device", "cpu"),
            *("--data", corpus, "--out", run, "--steps", str(STEPS), "--overwrite"),
        ],
        threads,
    )
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    if last["step"] != STEPS:
        raise SystemExit(f"the run was to take {STEPS} steps, and took {last['step']}")
    return held


def memory(
    work: Path, threads: int
) -> tuple[list[dict[str, Any]], dict[str, dict[int, list[Held]]]]:
    """Prepare each text once, then train on all of them in turns.

    Returns:
        A row for each task and text, and what was seen, by task and megabytes.

    Raises:
        SystemExit: there is too little disk.
    """
    if (free := shutil.disk_usage(work).free) < FREE_BYTES:
        raise SystemExit(f"{work} must have {FREE_BYTES:,} bytes of disk, not {free:,}")
    prepared: dict[int, list[Held]] = {}
    trained: dict[int, list[Held]] = {size: [] for size in MEGABYTES}
    for size in MEGABYTES:
        text = work / "text.txt"
        write_text(text, size * 1_000_000)
        prepared[size] = [prepare(text, work / str(size), threads)]
        text.unlink()

    def turn(size: int) -> float:
        held = train(work / str(size), work / "run", threads)
        trained[size].append(held)
        return held.anonymous_mebibytes

    turns = {str(size): partial(turn, size) for size in MEGABYTES}
    interleave(turns, TRAIN_ROUNDS, warm_up=0)
    found = {"prepare": prepared, "train": trained}
    rows = [
        {"what": task, "megabytes": size, **summary(held), "rounds": len(held)}
        for task, by_size in found.items()
        for size, held in by_size.items()
    ]
    return rows, found


def summary(held: Sequence[Held]) -> dict[str, float]:
    """The median of everything, each by itself."""
    return {
        field.name: round(statistics.median(getattr(h, field.name) for h in held), 1)
        for field in fields(Held)
    }


def growth(held: dict[int, list[Held]]) -> Spread:
    """Anonymous memory with the largest text over that with the smallest."""
    largest, smallest = (
        [one.anonymous_mebibytes for one in held[size]]
        for size in (max(held), min(held))
    )
    return ratios(largest, smallest)


# ------------------------------------------------------------------ time

TOKENS = 1024
"""In every step, however they are divided among windows."""

VOCAB_SIZE = 1024
WIDTHS = (96, 192, 288, 384)
DEPTHS = (2, 4, 8)
CONTEXT = 256
CONTEXTS = (64, 128, 256, 512, 1024)
STEP_ROUNDS = 5
SIDE = 1536
"""Of the square matrices that are multiplied: 9 MiB each."""


def shapes() -> list[RunConfig]:
    """Every width with every depth, and every context length with one of them."""
    wanted = [(width, depth, CONTEXT) for width in WIDTHS for depth in DEPTHS]
    wanted += [(WIDTHS[1], DEPTHS[1], c) for c in CONTEXTS if c != CONTEXT]
    return [
        preset(
            "llama",
            VOCAB_SIZE,
            changes={
                "model": {
                    "d_model": width,
                    "n_layers": depth,
                    "context_length": context,
                    "n_heads": width // 32,
                    "n_kv_heads": width // 96,
                },
                "train": {"batch_size": TOKENS // context},
            },
        )
        for width, depth, context in wanted
    ]


def flops(config: RunConfig) -> float:
    """Of one training step."""
    return TOKENS * costs.train_flops_per_token(config.model)


def stepper(config: RunConfig, tokens: TokenFile) -> Callable[[], float]:
    """A model that takes a whole training step when called; returns CPU seconds."""
    model = build(config.model)
    optimizers = build_optimizers(model, config.train)
    precision = Precision("float32", "cpu")
    numbers = itertools.count()

    def step() -> float:
        with Stopwatch() as watch:
            take_step(next(numbers), model, optimizers, precision, tokens, config)
        return watch.cpu_seconds

    return step


def multiplier() -> Callable[[], float]:
    """Two large matrices that are multiplied when called; returns CPU seconds."""
    left, right = torch.randn(2, SIDE, SIDE)

    def multiply() -> float:
        with Stopwatch() as watch:
            torch.mm(left, right)
        return watch.cpu_seconds

    return multiply


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms: y grows as x to this."""
    slope, _ = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope)


def steps(work: Path) -> list[dict[str, Any]]:
    """A row for each shape, and one for the matrices."""
    path = work / "tokens.bin"
    numbers = np.random.default_rng(0).integers(VOCAB_SIZE, size=1_000_000)
    numbers.astype("<u2").tofile(path)
    tokens = TokenFile(path, "<u2", vocab_size=VOCAB_SIZE)
    configs = shapes()
    turns = {str(n): stepper(config, tokens) for n, config in enumerate(configs)}
    taken = interleave({**turns, "gemm": multiplier()}, STEP_ROUNDS)
    speeds = [2 * SIDE**3 / seconds / 1e9 for seconds in taken["gemm"]]
    rows = [
        {
            "what": "gemm",
            "gflop": round(2 * SIDE**3 / 1e9, 3),
            **timing(taken["gemm"], 2 * SIDE**3, speeds),
        }
    ]
    for number, config in enumerate(configs):
        model = config.model
        rows.append(
            {
                "what": "step",
                "varies": "size" if model.context_length == CONTEXT else "context",
                "d_model": model.d_model,
                "n_layers": model.n_layers,
                "context_length": model.context_length,
                "batch_size": config.train.batch_size,
                "parameters": costs.num_parameters(model),
                "gflop": round(flops(config) / 1e9, 3),
                **timing(taken[str(number)], flops(config), speeds),
            }
        )
    return rows


def timing(
    seconds: Sequence[float], num_flops: float, peak: Sequence[float]
) -> dict[str, Any]:
    """CPU seconds and what they mean: GFLOP/s, and the share of each round's peak."""
    took = spread(seconds)
    speeds = [num_flops / one / 1e9 for one in seconds]
    share = ratios(speeds, peak)
    return {
        "cpu_seconds": round(took.median, 5),
        "cpu_spread": [round(took.low, 5), round(took.high, 5)],
        "gflop_per_second": round(statistics.median(speeds), 1),
        "share_of_peak": round(share.median, 3),
        "share_spread": [round(share.low, 3), round(share.high, 3)],
        "rounds": len(seconds),
    }


def fitted(rows: Sequence[dict[str, Any]]) -> float:
    """The power of a step's FLOPs with which its CPU seconds grow, over all sizes."""
    sizes = [row for row in rows if row.get("varies") == "size"]
    gflop, seconds = ([row[key] for row in sizes] for key in ("gflop", "cpu_seconds"))
    return round(exponent(gflop, seconds), 3)


def main(threads: int) -> None:
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(threads)
        timed = steps(Path(folder))
        torch.set_num_threads(before)
        rows, held = memory(Path(folder), threads)
    goals = [
        Goal(
            f"growth, anonymous memory of {task}, text of 2 GB against 10 MB",
            at_least=1.1,
            aim=1.05,
            measured=growth(by_size),
        )
        for task, by_size in held.items()
    ]
    write("growth", goals, [*rows, *timed], threads, ["numpy"], exponent=fitted(timed))
