"""What does each rung reach, and what does it cost?

Trains every preset of the ladder as a user would, in a process of its own, and
measures what the system says of that process: wall-clock time, CPU seconds, peak
memory. One seed, the preset's own learning rate: a price list, not a comparison of
ideas. Those are in ``book/experiments``, with seeds and tuned rates.

As many runs as fit on the cores go side by side. On one thread each, other work on the
machine hardly moves their CPU seconds; more threads would wait for each other busily.

Results go to ``results/ladder.json``, as they come; a rung whose configuration has not
changed is not run again. The table of the README and the drawing on the book's first
page are made from them.
"""

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import climb, harness
from minillm import config, costs
from minillm.config import LADDER, fingerprint, preset
from minillm.data import Corpus
from minillm.files import read_json, write_atomically, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "ladder.json"
README = ROOT / "README.md"
DRAWING = ROOT / "book" / "_static" / "ladder.svg"
BEGIN, END = "<!-- ladder:begin -->\n", "<!-- ladder:end -->\n"


def measure(name: str, corpus: Corpus, threads: int) -> dict[str, Any]:
    """Train one preset and describe what it took."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "minillm.train", name, "--device", "cpu"]
        command += ["--data", str(corpus.directory), "--out", str(run)]
        used, _ = harness.run(command, threads)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    last, about = rows[-1], harness.about(threads)
    shape = preset(name, corpus.vocab_size).model
    return {
        "preset": name,
        "parameters": costs.num_parameters(shape),
        "tokens": last["tokens"],
        "val_loss": round(last["val_loss"], 4),
        "val_bits_per_byte": round(last["val_bits_per_byte"], 4),
        "wall_seconds": round(last["seconds"], 1),
        "cpu_seconds": round(used.cpu_seconds, 1),
        "peak_mebibytes": round(used.peak_mebibytes),
        "threads": threads,
        "seed": preset(name).train.seed,
        "fingerprint": fingerprint(preset(name, corpus.vocab_size), corpus.hash),
        "torch": about["versions"]["torch"],
        "machine": about["machine"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The measurements as a Markdown table."""
    lines = [
        "| preset | parameters | tokens read | validation loss, nats | bits per byte |"
        " CPU seconds | peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| `{row['preset']}` | {row['parameters']:,} | {row['tokens']:,} |"
        f" {row['val_loss']:.3f} | {row['val_bits_per_byte']:.3f} |"
        f" {row['cpu_seconds']:.0f} |"
        f" {row['peak_mebibytes']} MiB |"
        for row in rows
    ]
    one = rows[0]
    lines += [
        "",
        f"Measured by `make bench` ({one['machine']}, {one['threads']} thread each,"
        f" PyTorch {one['torch'].partition('+')[0]}), seed {one['seed']}, on the nine"
        " plays, over the whole validation split. CPU seconds count everything, start"
        " and evaluation included, and are longer where cores are shared with other"
        " work. One seed and one learning rate for all: a price list. What each idea is"
        " worth is measured in its chapter.",
        "",
    ]
    return "\n".join(lines)


def main(threads: int) -> None:
    """Measure what is not measured yet, and write the table and the drawing."""
    corpus = Corpus(ROOT / config.DataConfig().directory)
    stored = read_json(RESULTS)["rows"] if RESULTS.exists() else []
    known = {row["fingerprint"]: row for row in stored}
    keys = [
        fingerprint(preset(name, corpus.vocab_size), corpus.hash) for name in LADDER
    ]
    missing = [name for name, key in zip(LADDER, keys, strict=True) if key not in known]
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // threads)) as pool:
        for row in pool.map(lambda name: measure(name, corpus, threads), missing):
            known[row["fingerprint"]] = row
            write_json(RESULTS, {"rows": list(known.values())})
            name, loss = row["preset"], row["val_loss"]
            print(f"{name:12} {loss:.4f} nats, {row['cpu_seconds']} CPU s", flush=True)
    rows = [known[key] for key in keys]
    write_json(RESULTS, {"rows": rows})
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = before + BEGIN + "\n" + table(rows) + "\n" + END + after
    write_atomically(README, new.encode())
    write_atomically(DRAWING, climb.draw(rows).encode())
