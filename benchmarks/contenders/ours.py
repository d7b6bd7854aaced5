"""minillm's Llama, in each of the ways in which it can be run.

    python ours.py FOLDER MODE

FOLDER holds the weights, and MODE is one of ``MODES``.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders.llama import Llama
from benchmarks.harness import Stopwatch
from book.experiments.kvcache.timing import growing_cache
from minillm import fast
from minillm.cache import KVCache
from minillm.config import DataConfig, RunConfig, TrainConfig
from minillm.data import Batch, Corpus, TokenFile
from minillm.generate import generate
from minillm.huggingface import from_huggingface
from minillm.model import Transformer
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.tokenizer import CharTokenizer
from minillm.train import take_step

NewCache = Callable[[int, int], KVCache | None]
"""Rows and room to what a text is written with."""

# ------------------------------------------------------------------ generation


class Writer:
    """A way to write.

    Args:
        model: what scores the tokens: the model, or something made of it.
        new_cache: None for a text that is read again for each token.
    """

    def __init__(self, model: Transformer, new_cache: NewCache) -> None:
        self.model, self.new_cache = model, new_cache

    def generate(self, prompt: Tensor, new_tokens: int) -> Tensor:
        """The new tokens alone."""
        rows, length = prompt.shape
        cache = self.new_cache(rows, length + new_tokens)
        said = generate(self.model, prompt, new_tokens, past_key_values=cache)
        return said[:, length:]

    def read(self, tokens: list[list[int]]) -> None:
        """Read all but the last token of one row, in the room of a full context."""
        self.tokens = torch.tensor(tokens)
        self.cache = self.new_cache(1, self.model.config.context_length)
        if self.cache is not None:
            with torch.inference_mode():
                self.model(self.tokens[:, :-1], self.cache)
            self.before = [(x.keys, x.values) for x in self.cache.layers]

    def next_token(self, passes: int) -> dict[str, Any]:
        """Score what follows, as often as asked; say what, and how long one took."""
        with torch.inference_mode(), Stopwatch() as watch:
            for _ in range(passes):
                logits = self._once()
        return {
            "id": int(logits.argmax()),
            "milliseconds": 1000 * watch.wall_seconds / passes,
        }

    def _once(self) -> Tensor:
        if self.cache is None:
            return self.model(self.tokens)[0, -1]
        for layer, (keys, values) in zip(self.cache.layers, self.before, strict=True):
            # The last token is forgotten, so that each pass reads it again.
            layer.keys, layer.values = keys, values
            layer.length = self.tokens.shape[1] - 1
        return self.model(self.tokens[:, -1:], self.cache)[0, -1]


class PackagedWriter(Writer):
    """Writes with machine code, which is made for the first text's number of rows.

    Args:
        model: what to package.
        folder: keeps the packages, for the next process that needs one.
    """

    def __init__(self, model: Transformer, folder: Path) -> None:
        super().__init__(model, self._whole_cache)
        self.plain, self.folder = model, folder

    def _whole_cache(self, rows: int, room: int) -> KVCache:
        assert isinstance(self.model, fast.Packaged)
        return self.model.empty_cache()

    def _prepare(self, rows: int) -> None:
        if isinstance(self.model, fast.Packaged) and self.model.batch_size == rows:
            return
        folder = self.folder / f"package-{rows}"
        if not folder.exists():
            # Any tokenizer of that size: what is compared are ids.
            size = self.plain.config.vocab_size
            signs = CharTokenizer.fit("".join(map(chr, range(0x4E00, 0x4E00 + size))))
            run = RunConfig(model=self.plain.config)
            fast.package(self.plain, run, signs, folder, batch_size=rows)
        packaged = fast.load_package(folder).model
        assert isinstance(packaged, fast.Packaged)
        self.model = packaged

    def generate(self, prompt: Tensor, new_tokens: int) -> Tensor:
        """As the others; the first time takes a minute."""
        self._prepare(len(prompt))
        return super().generate(prompt, new_tokens)

    def read(self, tokens: list[list[int]]) -> None:
        """As the others; the first time takes a minute."""
        self._prepare(len(tokens))
        super().read(tokens)


def _roomy(model: Transformer, scorer: Transformer | None = None) -> Writer:
    """With the package's cache; ``scorer`` is what was made of the model."""
    like = model.embedding.weight
    return Writer(
        model if scorer is None else scorer,
        lambda rows, room: KVCache.empty(model.config, rows, room, like),
    )


def _growing(model: Transformer) -> Writer:
    like = model.embedding.weight
    return Writer(model, lambda rows, room: growing_cache(model.config, rows, like))


def _fused(model: Transformer) -> Writer:
    return _roomy(model, fast.fuse(model))


MODES: dict[str, Callable[[Transformer, Path], Writer]] = {
    "plain": lambda model, _: _roomy(model),
    "fused": lambda model, _: _fused(model),  # what `minillm generate` does
    "int8": lambda model, _: _fused(fast.quantize(model)),
    "compiled": lambda model, _: _roomy(model, torch.compile(model)),
    "packaged": PackagedWriter,
    "cat": lambda model, _: _growing(model),
    "none": lambda model, _: Writer(model, lambda rows, room: None),
}
"""What each way makes of the model; it may use the folder for what must be kept."""

# ------------------------------------------------------------------ the data path


def watch_batches(split: TokenFile) -> Stopwatch:
    """A watch that holds how long the last batch of ``split`` has taken."""
    watch, batch = Stopwatch(), split.batch

    def watched(*arguments: Any, **more: Any) -> Batch:
        with watch:
            return batch(*arguments, **more)

    split.batch = watched  # type: ignore[method-assign]
    return watch


def take_steps(
    model: Transformer, directory: str, batch_size: int, length: int, steps: int
) -> dict[str, list[float]]:
    """Train as ``minillm train`` does, and say what each step and its batch took.

    Args:
        model: its parameters move.
        directory: a corpus as ``minillm prepare`` makes it.
        batch_size: windows in a batch.
        length: tokens in a window.
        steps: how many; one more comes before, when the file is opened.
    """
    corpus = Corpus(directory)
    config = RunConfig(
        model=replace(model.config, context_length=length),
        data=DataConfig(directory=corpus.directory),
        train=TrainConfig(batch_size=batch_size, device="cpu"),
    )
    of_batch = watch_batches(corpus.train)
    optimizers = build_optimizers(model, config.train)
    precision = Precision(config.train.precision, "cpu")
    found: dict[str, list[float]] = {"step_seconds": [], "batch_seconds": []}
    model.train()
    for step in range(steps + 1):
        with Stopwatch() as of_step:
            take_step(step, model, optimizers, precision, corpus.train, config)
        if step > 0:
            found["step_seconds"].append(of_step.wall_seconds)
            found["batch_seconds"].append(of_batch.wall_seconds)
    return found


# ------------------------------------------------------------------ the process

if __name__ == "__main__":
    folder, mode = sys.argv[1:]
    model = from_huggingface(folder)
    assert isinstance(model, Transformer)
    writer = MODES[mode](model, Path(folder))
    llama = Llama(model, model, writer.generate, compiled=mode == "compiled")
    llama.serve(
        read=writer.read,
        next_token=writer.next_token,
        take_steps=partial(take_steps, model),
    )
