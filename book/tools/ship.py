"""Keep the best model of a run, without what only training needs.

    python book/tools/ship.py runs/shakespeare book/models/shakespeare

Copies weights, configuration, tokenizer and the run's metrics, and writes a manifest of
them: ``minillm.checkpoint.load`` opens the folder.
"""

import argparse
import shutil
from pathlib import Path

from minillm import checkpoint
from minillm.run import write_manifest

KEPT = ("config.json", "model.safetensors", "tokenizer.json")


def ship(run: Path, folder: Path) -> None:
    """Copy the best checkpoint of ``run``; ``folder`` is replaced when it is whole."""
    source = checkpoint.find(run)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(source / name, new / name)
    shutil.copyfile(run / "metrics.jsonl", new / "metrics.jsonl")
    write_manifest(new)
    checkpoint.load(new)  # or it is not kept
    if folder.exists():
        checkpoint.remove(folder)
    new.rename(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    ship(options.run, options.folder)
