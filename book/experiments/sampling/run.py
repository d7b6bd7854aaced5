"""How does the way of drawing change a text, and which is nearest to human text?

    python -m book.experiments.sampling.run

Writes three tables beside this file. ``results.csv``: measures of texts by setting and
seed. ``contexts.csv``: what each setting leaves of the model's distributions in
held-out contexts. ``after.csv``: loss by distance after a draw from the tail. The
question and the measures are in question.md. Trains a judge (once, kept under runs/)
and takes about five minutes on one thread.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from book.experiments import records
from minillm import checkpoint, config, data
from minillm.cache import KVCache
from minillm.generate import generate
from minillm.model import LanguageModel
from minillm.sample import Sampler
from minillm.tokenizer import Tokenizer
from minillm.train import train

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SHIPPED = ROOT / "book/models/shakespeare"
CHARACTERS = ROOT / "data/shakespeare"
JUDGE = ROOT / "runs/experiments/sampling-judge"

PROMPT, NEW = 32, 96  # tokens read, and written
SEEDS, WINDOWS = range(5), 80  # windows for each seed
AFTER = 20  # tokens looked at after a forced draw
SETTINGS = {
    "greedy": Sampler(temperature=0),
    "temp 0.5": Sampler(temperature=0.5),
    "temp 0.7": Sampler(temperature=0.7),
    "top-k 10": Sampler(top_k=10),
    "top-k 50": Sampler(top_k=50),
    "top-p 0.8": Sampler(top_p=0.8),
    "top-p 0.9": Sampler(top_p=0.9),
    "top-p 0.95": Sampler(top_p=0.95),
    "min-p 0.1": Sampler(min_p=0.1),
    "temp 0.8, top-p 0.95": Sampler(temperature=0.8, top_p=0.95),
    "plain": Sampler(),
    "temp 1.3": Sampler(temperature=1.3),
}
BEAMS = 4
MEASURES = ["own_loss", "judge_gpt", "judge_table", "invented", "repeated"]
MEASURES += ["distinct_1", "distinct_2", "distinct_4", "loop"]
FIELDS = ["arm", "seed", *MEASURES, "model", "torch"]
CONTEXT_FIELDS = ["setting", "seed", "entropy", "kept", "kept_mass", "ruled_out"]
AFTER_FIELDS = ["draw", "seed", "offset", "loss"]
Row = dict[str, Any]

# ------------------------------------------------------------------ texts


def held_out(tokenizer: Tokenizer) -> Tensor:
    """The held-out text in the tokens of the model that writes."""
    characters = data.Corpus(CHARACTERS)
    text = characters.tokenizer.decode(characters.val.tokens)
    return torch.tensor(tokenizer.encode(text))


def windows(tokens: Tensor, seed: int, count: int = WINDOWS) -> Tensor:
    """The windows of one seed: (count, PROMPT + NEW), disjoint from other seeds'."""
    length = PROMPT + NEW
    whole = tokens[: len(tokens) // length * length].view(-1, length)
    return whole[seed :: len(SEEDS)][:count]


def generators(seed: int, count: int) -> list[Generator]:
    """One for each row, so that no row depends on its neighbours."""
    return [Generator().manual_seed(1_000 * seed + row) for row in range(count)]


def write(
    model: LanguageModel, prompts: Tensor, new: int, sampler: Sampler, seed: int
) -> Tensor:
    """Each prompt followed by ``new`` tokens."""
    cache = KVCache.empty(
        model.config,
        len(prompts),
        prompts.shape[1] + new,
        like=next(model.parameters()),
    )
    own = generators(seed, len(prompts))
    return generate(model, prompts, new, sampler, own, cache)


@torch.inference_mode()
def beam_search(model: LanguageModel, prompts: Tensor, new: int, beams: int) -> Tensor:
    """Keep the ``beams`` most probable texts so far, and return the best in the end."""
    count, room = len(prompts), prompts.shape[1] + new
    like = next(model.parameters())
    cache = KVCache.empty(model.config, count * beams, room, like=like)
    rows = unread = prompts.repeat_interleave(beams, dim=0)  # (B beams, T)
    total = torch.full((count, beams), -torch.inf)
    total[:, 0] = 0  # all beams are equal at first: let one speak
    first = torch.arange(count)[:, None] * beams
    size = model.config.vocab_size
    for _ in range(new):
        nats = model(unread, cache)[:, -1].log_softmax(-1)  # (B beams, V)
        sums = total[..., None] + nats.view(count, beams, size)
        total, best = sums.flatten(1).topk(beams)  # (B, beams)
        parents = (first + best // size).flatten()
        unread = (best % size).view(-1, 1)
        rows = torch.cat([rows[parents], unread], dim=1)
        for layer in cache.layers:
            layer.keys[:] = layer.keys[parents]
            layer.values[:] = layer.values[parents]
    return rows[::beams]


@torch.inference_mode()
def forced(model: LanguageModel, prompts: Tensor, from_tail: bool, seed: int) -> Tensor:
    """Each prompt, and one token from the tail alone, or from all but the tail."""
    chances = model(prompts)[:, -1].softmax(dim=-1)  # (B, V)
    tail = chances < 1 / chances.shape[-1]
    chances = torch.where(tail == from_tail, chances, 0)
    own = generators(500 + seed, len(prompts))
    drawn = [
        row.multinomial(1, generator=g) for row, g in zip(chances, own, strict=True)
    ]
    return torch.cat([prompts, torch.stack(drawn)], dim=1)


# ------------------------------------------------------------------ measures


@torch.inference_mode()
def losses(model: LanguageModel, rows: Tensor) -> Tensor:
    """Nats of every token but the first: (B, T - 1)."""
    logits = model(rows[:, :-1])
    return F.cross_entropy(logits.mT, rows[:, 1:], reduction="none")


def loop_length(row: Sequence[int]) -> int:
    """The shortest period of the end of a text, at least three rounds and 24 tokens.

    0 if the text does not end in a loop.
    """
    for period in range(1, len(row) // 3 + 1):
        end = row[-max(3 * period, 24) :]
        same = all(a == b for a, b in zip(end, end[period:], strict=False))
        if same and len(end) >= 24:
            return period
    return 0


def words(before: str, text: str) -> list[str]:
    """Words of ``text``, which follows ``before``, but those that an end may cut."""
    if before[-1:].isalpha():
        text = text.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'-")
    found = re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())
    return found[:-1] if text[-1:].isalpha() else found


def n_grams(of: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All sequences of ``n`` neighbours."""
    return list(zip(*(of[i:] for i in range(n)), strict=False))


class Judges:
    """Two readers of characters that have nothing of the writer but the same text."""

    context = 64

    def __init__(self) -> None:
        self.corpus = data.Corpus(CHARACTERS)
        self.alphabet = self.corpus.tokenizer
        if not (JUDGE / "checkpoints/step-00001500").is_dir():
            changes = {
                "data": {"directory": CHARACTERS},
                "train": {"seed": 1, "device": "cpu", "steps": 1500},
            }
            asked = config.preset("gpt2", self.corpus.vocab_size, changes)
            train(asked, directory=JUDGE, overwrite=True)
        self.gpt = checkpoint.load(JUDGE).model
        text = self.alphabet.decode(self.corpus.train.tokens)
        self.known = set(words("", text))
        self.text = text
        self.followers = [defaultdict(Counter) for _ in range(6)]
        for n, table in enumerate(self.followers):
            for i in range(n, len(text)):
                table[text[i - n : i]][text[i]] += 1

    def encode(self, text: str) -> list[int]:
        """Ids; a character that the plays do not have is a dollar, their rarest."""
        characters = set(self.alphabet.characters)
        return self.alphabet.encode(
            "".join(c if c in characters else "$" for c in text)
        )

    def table_nats(self, before: str, text: str) -> list[float]:
        """Nats of each character: five before it, and Witten and Bell's back-off."""
        whole, nats = before + text, []
        for i in range(len(before), len(whole)):
            p = 1 / self.corpus.vocab_size
            for n, table in enumerate(self.followers):
                seen = table.get(whole[i - n : i]) if i >= n else None
                if seen is None:
                    break
                kinds = len(seen)
                p = (seen[whole[i]] + kinds * p) / (seen.total() + kinds)
            nats.append(-math.log(p))
        return nats

    @torch.inference_mode()
    def gpt_nats(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Nats of each character that has at least 32 before it, in windows of 64."""
        half, found, wanted = self.context // 2, [], []
        for before, text in pairs:
            start = len(before[-48:])
            ids = torch.tensor(self.encode(before[-48:] + text))
            pieces = ids.unfold(0, self.context + 1, half)
            # The second half of a piece predicts these places of the text:
            places = torch.arange(len(pieces))[:, None] * half + half + 1
            wanted.append(places + torch.arange(half) >= start)
            found.append(pieces)
        nats = losses(self.gpt, torch.cat(found))[:, half:]
        return nats[torch.cat(wanted)].tolist()


def mean(values: Sequence[float]) -> float:
    """The mean, or 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def measure(
    model: LanguageModel, tokenizer: Tokenizer, judges: Judges, rows: Tensor, read: int
) -> Row:
    """All measures of what stands behind the first ``read`` tokens of each row."""
    pairs = [
        (tokenizer.decode(row[:read]), tokenizer.decode(row[read:]))
        for row in rows.tolist()
    ]
    texts = [words(*pair) for pair in pairs]
    every = [word for text in texts for word in text]
    fours = [n_grams(text, 4) for text in texts]
    distinct = {}
    for n in (1, 2, 4):
        grams = [gram for text in texts for gram in n_grams(text, n)]
        distinct[f"distinct_{n}"] = len(set(grams)) / len(grams)
    return {
        "own_loss": losses(model, rows)[:, read - 1 :].mean().item(),
        "judge_gpt": mean(judges.gpt_nats(pairs)),
        "judge_table": mean([x for pair in pairs for x in judges.table_nats(*pair)]),
        "invented": mean([word not in judges.known for word in every]),
        "repeated": mean([1 - len(set(f)) / len(f) for f in fours if f]),
        **distinct,
        "loop": mean([loop_length(row[read:]) > 0 for row in rows.tolist()]),
    }


@torch.inference_mode()
def contexts(model: LanguageModel, rows: Tensor) -> Iterator[Row]:
    """What each setting leaves of the distributions behind held-out contexts."""
    logits = model(rows[:, :-1])[:, PROMPT - 1 :].flatten(0, 1)  # (N, V)
    came = rows[:, PROMPT:].reshape(-1, 1)
    full = logits.softmax(dim=-1)
    left = {name: sampler.probabilities(logits) for name, sampler in SETTINGS.items()}
    left["not the tail"] = torch.where(full < 1 / full.shape[-1], 0, full)
    for name, p in left.items():
        kept = p > 0  # in float64 no temperature here rounds a chance to zero
        p = p / p.sum(dim=-1, keepdim=True)
        yield {
            "setting": name,
            "entropy": torch.special.entr(p).sum(-1).mean().item(),
            "kept": kept.sum(-1).float().mean().item(),
            "kept_mass": (full * kept).sum(-1).mean().item(),
            "ruled_out": (~kept.gather(-1, came)).float().mean().item(),
        }


# ------------------------------------------------------------------ the run


def fingerprint(folder: Path) -> str:
    """Which weights wrote: the beginning of their SHA-256."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def store(path: Path, rows: list[Row], fields: Sequence[str]) -> None:
    """Write a table; numbers with six digits."""
    told = (
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    )
    records.write(path, fields, told)


def main(shipped: Path = SHIPPED, out: Path = HERE) -> None:
    """All tables."""
    torch.set_num_threads(1)
    loaded = checkpoint.load(shipped)
    model, tokenizer = loaded.model, loaded.tokenizer
    tokens, judges = held_out(tokenizer), Judges()
    about = {"model": fingerprint(shipped), "torch": torch.__version__}
    results: list[Row] = []
    spread: list[Row] = []
    after: list[Row] = []
    for seed in SEEDS:
        rows = windows(tokens, seed)
        prompts = rows[:, :PROMPT]
        texts = {"human": rows}
        for name, sampler in SETTINGS.items():
            texts[name] = write(model, prompts, NEW, sampler, seed)
        texts[f"beam {BEAMS}"] = beam_search(model, prompts, NEW, BEAMS)
        for name, text in texts.items():
            found = measure(model, tokenizer, judges, text, PROMPT)
            results.append({"arm": name, "seed": seed, **found, **about})
        for name, from_tail in {"after tail": True, "after body": False}.items():
            begun = forced(model, prompts, from_tail, seed)
            text = write(model, begun, NEW - 1, Sampler(), seed)
            found = measure(model, tokenizer, judges, text, PROMPT + 1)
            results.append({"arm": name, "seed": seed, **found, **about})
            nats = losses(model, text)[:, PROMPT - 1 :].mean(dim=0)
            after += [
                {"draw": name[6:], "seed": seed, "offset": i, "loss": nats[i].item()}
                for i in range(AFTER + 1)
            ]
        spread += [row | {"seed": seed} for row in contexts(model, rows)]
        store(out / "results.csv", results, FIELDS)
        store(out / "contexts.csv", spread, CONTEXT_FIELDS)
        store(out / "after.csv", after, AFTER_FIELDS)
        print(f"seed {seed}: {len(results)} rows", flush=True)


if __name__ == "__main__":
    main()
