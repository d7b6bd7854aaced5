"""Numbers at their ends: the smallest models, the wildest settings, no numbers at all.

What is legal must work, and what does not work must be refused in one plain sentence,
a ``ValueError``: never another exception, and never a result that is no number.
"""

import dataclasses
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from minillm import checkpoint, data, fast, huggingface
from minillm.cache import KVCache
from minillm.config import ModelConfig, RunConfig, TrainConfig, from_dict
from minillm.evaluate import evaluate
from minillm.generate import generate, window_start
from minillm.model import LanguageModel, build
from minillm.precision import Precision
from minillm.sample import Sampler
from minillm.train import train
from torture import victims
from torture.attack import Attack, Trial

ALPHABET = "abcdé"

EXTREMES = (0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, -1e30, 3e38, -3e38)
"""Numbers that float32 has, at its ends and in its middle."""
NO_NUMBERS = (math.nan, math.inf, -math.inf)


# ------------------------------------------------------------------ tiny models


def a_tiny_model(random: Random) -> ModelConfig:
    """A legal configuration whose sizes are from 1 to 5."""
    while True:
        sizes = {
            name: random.randint(1, 5)
            for name in ("n_layers", "n_heads", "n_kv_heads", "d_ff", "context_length")
        }
        choices = {
            "kind": random.choice(("bigram", *["transformer"] * 5)),
            "norm": random.choice(("layernorm", "rmsnorm")),
            "position": random.choice(("learned", "rope")),
            "feed_forward": random.choice(("gelu", "swiglu")),
            "bias": random.random() < 0.5,
            "tied": random.random() < 0.5,
            "dropout": random.choice((0.0, 0.5, 0.999)),
        }
        d_model = sizes["n_heads"] * random.randint(1, 4)
        try:
            return ModelConfig(d_model=d_model, **sizes, **choices)
        except ValueError:  # heads that cannot be shared out, or halves of a pair
            continue


def tiny_models(random: Random) -> Iterator[Trial]:
    """Each trains a step, is kept and read, speaks with a cache, and is exported."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in range(1, len(ALPHABET) + 1):
            text = "".join(random.choices(ALPHABET[:size], k=80))
            data.prepare_text(ALPHABET[:size] + text, folder / f"corpus{size}")
        number = 0
        while True:
            number += 1
            plan = RunConfig(
                model=a_tiny_model(random),
                data=dataclasses.replace(
                    RunConfig().data,
                    directory=folder / f"corpus{random.randint(1, len(ALPHABET))}",
                ),
                train=TrainConfig(
                    steps=random.randint(1, 2),
                    warmup_steps=0,
                    batch_size=random.randint(1, 3),
                    accumulate=random.randint(1, 3),
                    device="cpu",
                    seed=number,
                ),
            )
            lost = _lost(lambda plan=plan, n=number: lives(plan, folder / f"run{n}"))
            yield lost and f"{plan.model}: {lost}"


def lives(plan: RunConfig, folder: Path) -> Trial:
    """Lead one model through all that the package does with a model."""
    seen = []
    model = train(plan, seen.append, folder).eval()
    if not all(math.isfinite(one.val_loss or 0) for one in seen):
        return "its loss is no number"
    if model.config.vocab_size == 1 and seen[-1].val_loss != 0:
        return f"with one token there is nothing to guess, but {seen[-1].val_loss} lost"
    kept = checkpoint.load(folder, which="last")
    if not same(model, kept.model):
        return "what was read is not what was kept"
    with torch.no_grad():
        for parameter in kept.model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    if (lost := speaks(kept.model)) is not None:
        return lost
    if model.config.kind == "bigram":
        return None
    try:
        huggingface.to_huggingface(model)
    except ValueError:  # transformers has no such rung
        return None
    huggingface.export(model, kept.tokenizer, folder / "export")
    back = huggingface.from_huggingface(folder / "export")
    tokens = torch.arange(model.config.context_length)[None] % model.config.vocab_size
    with torch.inference_mode():
        if not torch.allclose(back(tokens), model(tokens), atol=1e-5):
            return "what was exported scores otherwise"
    return None


def same(one: LanguageModel, other: LanguageModel) -> bool:
    """Whether two models hold the same bits."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items()
    )


@torch.inference_mode()
def speaks(model: LanguageModel, n_new: int = 7) -> Trial:
    """Generate past the context with a cache; each token is a best one without it."""
    config = model.config
    for prompt_length in (1, config.context_length, 10 * config.context_length):
        prompt = torch.arange(prompt_length)[None] % config.vocab_size
        like = next(model.parameters())
        cache = KVCache.empty(config, 1, config.context_length, like)
        for one in (model, fast.fuse(model)):
            cache.clear()
            tokens = generate(
                one, prompt, n_new, past_key_values=cache, overflow="slide"
            )
            for end in range(prompt_length, prompt_length + n_new):
                start = window_start(end, config.context_length)
                scores = model(tokens[:, start:end])[0, -1]
                if scores[tokens[0, end]] < scores.max() - 1e-3:
                    return f"with a cache, token {end} is another"
    return None


# ------------------------------------------------------------------ wild settings

WILD: dict[str, tuple[float, ...]] = {
    "learning_rate": (1e-30, 1e-3, 1.0, 1e5, 1e30, 1e300, math.inf),
    "muon_learning_rate": (1e-30, 1e-2, 1e5, 1e30),
    "muon_momentum": (0.0, 0.95, 1 - 1e-12),
    "weight_decay": (0.0, 0.1, 1e5, 1e30),
    "beta1": (0.0, 0.9, 1 - 1e-12),
    "beta2": (0.0, 0.95, 1 - 1e-12),
    "grad_clip": (1e-320, 1e-30, 1.0, 1e30),
}
WILD_MODELS: dict[str, tuple[float, ...]] = {
    "norm_eps": (1e-320, 1e-30, 1e-5, 1.0, 1e30),
    "rope_base": (1e-30, 1.0, 1e4, 1e30),
    "dropout": (0.0, 0.5, 1 - 1e-12),
}


def wild_settings(random: Random) -> Iterator[Trial]:
    """Three steps under settings that nobody would choose."""
    with tempfile.TemporaryDirectory() as name:
        folder = victims.corpus(Path(name))
        number = 0
        while True:
            number += 1
            values = {
                "model": {
                    "n_layers": 1,
                    "n_heads": 2,
                    "d_model": 8,
                    "context_length": 5,
                    "position": random.choice(("rope", "learned")),
                    "norm": random.choice(("rmsnorm", "layernorm")),
                    **{key: random.choice(wild) for key, wild in WILD_MODELS.items()},
                },
                "data": {"directory": str(folder / "data" / "shakespeare")},
                "train": {
                    "steps": random.randint(1, 4),
                    "warmup_steps": 0,
                    "batch_size": 2,
                    "min_learning_rate": 0.0,
                    "checkpoint_every": 1,
                    "optimizer": random.choice(("adamw", "muon")),
                    "precision": random.choice(("float32", "bfloat16", "float16")),
                    "device": "cpu",
                    **{key: random.choice(wild) for key, wild in WILD.items()},
                },
            }
            lost = _lost(lambda v=values, n=number: trains(v, folder / f"run{n}"))
            yield lost and f"{values['model']}, {values['train']}: {lost}"


def trains(values: dict[str, Any], folder: Path) -> Trial:
    """Train, and see that what is kept can be read and measured."""
    diverged = None
    try:
        train(from_dict(RunConfig, values), directory=folder)
    except ValueError as error:
        diverged = error
    if not (folder / "checkpoints").is_dir():
        return None if diverged else "a run ended and kept nothing"
    best = checkpoint.load(folder)
    split = data.Corpus(best.config.data.directory).val
    precision = Precision(best.config.train.precision, "cpu")
    loss = evaluate(best.model, split, precision=precision).loss
    if not math.isfinite(loss):
        return "the best model has no finite loss"
    return None


# ------------------------------------------------------------------ no numbers


def a_sampler(random: Random) -> Sampler:
    """Legal settings, many of them at an end."""
    return Sampler(
        temperature=random.choice((0.0, 5e-324, 1e-9, 0.8, 1.0, 1e9, 1e300)),
        top_k=random.choice((None, 1, 2, 10**6, 10**30)),
        top_p=random.choice((None, 5e-324, 1e-12, 0.5, 1 - 1e-12, 1.0)),
        min_p=random.choice((None, 0.0, 5e-324, 0.5, 1.0)),
    )


def extreme_scores(random: Random) -> Iterator[Trial]:
    """A sampler meets scores of every kind, in every format."""
    while True:
        size, rows = random.randint(1, 6), random.randint(1, 3)
        dtype = random.choice((torch.float16, torch.bfloat16, torch.float32))
        pool = EXTREMES + random.choice(((), (-math.inf,), NO_NUMBERS))
        logits = torch.tensor(
            [[random.choice(pool) for _ in range(size)] for _ in range(rows)]
        ).to(dtype)
        sampler = a_sampler(random)
        lost = _lost(lambda s=sampler, x=logits: draws(s, x))
        yield lost and f"{sampler}, {logits.tolist()}, {dtype}: {lost}"


def draws(sampler: Sampler, logits: Tensor) -> Trial:
    """What is drawn is possible; what has no distribution is refused."""
    best = logits.max(dim=-1, keepdim=True).values
    try:
        chances = sampler.probabilities(logits)
        drawn = sampler(logits)
    except ValueError:
        return "finite scores are refused" if best.isfinite().all() else None
    if not best.isfinite().all():
        return "scores without a best one are drawn from"
    if not torch.allclose(chances.double().sum(-1), torch.ones(len(logits)).double()):
        return f"the chances are {chances.tolist()}"
    if (chances.gather(-1, drawn) == 0).any():
        return f"{drawn.tolist()} was drawn, which cannot be"
    if (chances[logits == -math.inf] > 0).any():
        return "a token that is ruled out has a chance"
    if sampler.temperature < 1e-300 and (logits.gather(-1, drawn) != best).any():
        return f"{drawn.tolist()} is not the best at a temperature of nearly 0"
    return None


def spoilt_weights(random: Random) -> Iterator[Trial]:
    """A weight is no number: nobody may load such a model, or draw NaN from it."""
    with tempfile.TemporaryDirectory() as name:
        folder = victims.corpus(Path(name))
        corpus = data.Corpus(folder / "data" / "shakespeare")
        number = 0
        while True:
            number += 1
            config = ModelConfig(
                vocab_size=corpus.vocab_size,
                n_layers=2,
                n_heads=2,
                d_model=8,
                context_length=9,
                position=random.choice(("rope", "learned")),
            )
            bad = random.choice(NO_NUMBERS + EXTREMES[-4:])
            model = build(config)
            name_, parameter = random.choice(list(model.named_parameters()))
            place = random.randrange(parameter.numel())
            parameter.data.view(-1)[place] = bad
            kept = folder / f"model{number}"
            kept.mkdir()
            checkpoint.write_model(
                kept, RunConfig(model=config), model, corpus.tokenizer
            )
            lost = _lost(lambda k=kept, b=bad, r=random: answers(k, b, a_sampler(r)))
            yield lost and f"{name_}[{place}] = {bad}: {lost}"


def answers(folder: Path, bad: float, sampler: Sampler) -> Trial:
    """Load and generate: a ValueError, or tokens of the vocabulary."""
    try:
        model = checkpoint.load(folder).model
    except ValueError:
        return "finite weights are refused" if math.isfinite(bad) else None
    if not math.isfinite(bad):
        return "weights that are no numbers are loaded"
    for one in (model, fast.fuse(model), fast.quantize(model)):
        prompt = torch.zeros(1, 3, dtype=torch.int64)
        try:
            tokens = generate(one, prompt, 5, sampler)
        except ValueError:  # what follows from huge weights is no number
            continue
        if not (tokens >= 0).all() or not (tokens < model.config.vocab_size).all():
            return f"{tokens.tolist()} are no tokens"
    return None


# ------------------------------------------------------------------ the same again

ELSEWHERE: tuple[dict[str, str], ...] = (
    {"PYTHONHASHSEED": "1"},
    {"PYTHONHASHSEED": "77", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "ascii", "TZ": "Asia/Kathmandu", "COLUMNS": "20"},
)
"""Environments in which the same command must give the same run."""


def same_again(random: Random) -> Iterator[Trial]:
    """The same command in other processes, folders and environments."""
    with tempfile.TemporaryDirectory() as name:
        folder = victims.corpus(Path(name))
        words = ["train", "llama", *victims.SMALL, "--dropout", "0.1", "--steps", "9"]
        words += ["--data", str(folder / "data" / "shakespeare")]
        wanted = _run(words, folder / "first", {})
        for number, environment in enumerate(ELSEWHERE):
            seed = {"PYTHONHASHSEED": str(random.randrange(1, 2**32))}
            place = folder / f"an other {number} ü"
            again = _run(words, place, {**seed, **environment})
            yield compare(wanted, again)


def compare(wanted: Path, again: Path) -> Trial:
    """Two runs are the same: in their weights, and in what was measured."""
    for file in ("model.safetensors", "trainer.safetensors"):
        ours, theirs = (checkpoint.find(one, "last") / file for one in (wanted, again))
        if ours.read_bytes() != theirs.read_bytes():
            return f"{file} differs"
    timings = ("seconds", "tokens_per_second")
    rows = [
        [
            {key: value for key, value in row.items() if key not in timings}
            for row in train_rows(one)
        ]
        for one in (wanted, again)
    ]
    return None if rows[0] == rows[1] else "metrics differ"


def train_rows(run: Path) -> list[dict[str, Any]]:
    """What a run has measured."""
    from minillm.run import RunFolder

    return RunFolder(run).rows()


def _run(words: list[str], place: Path, environment: dict[str, str]) -> Path:
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "minillm", *words],
        cwd=place,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return place / "runs" / "llama"


# ------------------------------------------------------------------ all of them


def _lost(trial: Callable[[], Trial]) -> Trial:
    """What a trial says, or the exception that nobody wanted."""
    try:
        return trial()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


ATTACKS = (
    Attack(
        "tiny models",
        "a random legal model of sizes 1 to 5 trains, is read back bit-equal, writes,"
        " and is exported if transformers has such a model",
        tiny_models,
        tries=400,
        few=10,
    ),
    Attack(
        "wild settings",
        "training under extreme legal settings keeps a model of finite loss, or ends"
        " with one sentence",
        wild_settings,
        tries=600,
        few=20,
    ),
    Attack(
        "extreme scores",
        "scores give a distribution and a possible token; without a finite best, one"
        " sentence",
        extreme_scores,
        tries=20_000,
        few=500,
    ),
    Attack(
        "spoilt weights",
        "NaN and infinity are refused; a huge weight gives tokens of the vocabulary, or"
        " one sentence",
        spoilt_weights,
        tries=500,
        few=20,
    ),
    Attack(
        "the same again",
        "the same bits in another process, folder, language, hash seed and time zone",
        same_again,
        tries=None,
        few=1,
    ),
)
