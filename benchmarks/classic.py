"""What does the classic recipe reach? A small GPT-2 on the characters of a text.

The baseline of the race, and nothing of it is ours: no module of ``minillm`` is
imported, so that no mistake of the package can slow it down. Model and numbers are
those that were published with nanoGPT for an ordinary CPU
(https://github.com/karpathy/nanoGPT): four layers of width 128, four heads, no biases,
a tied head; 2,000 steps of 12 random windows of 64 characters, AdamW at 1e-3 along
half a cosine to 1e-4. The program was written for this comparison.

    python -m benchmarks.classic TEXT --seed 0

Trains on the first nine tenths of the characters, predicts each of the others once, and
prints one line of JSON.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT, LAYERS, HEADS, WIDTH = 64, 4, 4, 128
STEPS, BATCH, WARM_UP = 2000, 12, 100
PEAK, LOWEST = 1e-3, 1e-4
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.99), 0.1, 1.0


class Block(nn.Module):
    """Attention, then a feed-forward network four times as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.norm_2 = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        qkv = self.qkv(self.norm_1(x)).view(rows, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    """Learned positions, four blocks, and a head that is the embedding."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, 0, 0.02 / (2 * LAYERS) ** 0.5 if last else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


def split(text: str, cut: int | None = None) -> tuple[Tensor, Tensor, int]:
    """Ids of the first ``cut`` and of the rest, and how many signs there are."""
    alphabet = sorted(set(text))
    place = {sign: number for number, sign in enumerate(alphabet)}
    ids = torch.tensor([place[sign] for sign in text])
    if cut is None:
        cut = int(0.9 * len(ids))
    return ids[:cut], ids[cut:], len(alphabet)


def rate(step: int) -> float:
    """The learning rate: up on a straight line, down along half a cosine."""
    if step < WARM_UP:
        return PEAK * (step + 1) / (WARM_UP + 1)
    done = (step - WARM_UP) / (STEPS - WARM_UP)
    return LOWEST + (PEAK - LOWEST) * 0.5 * (1 + math.cos(math.pi * done))


def train(ids: Tensor, vocabulary: int, seed: int, steps: int = STEPS) -> GPT:
    """The recipe, up to ``steps``."""
    torch.manual_seed(seed)
    model = GPT(vocabulary)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=BETAS)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,)).tolist()
        windows = torch.stack([ids[i : i + CONTEXT + 1] for i in starts])
        logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    return model


@torch.inference_mode()
def evaluate(model: GPT, ids: Tensor, rows: int = 64) -> tuple[float, int]:
    """Nats per character over all characters but the first, and how many they are."""
    total, predicted, room = 0.0, len(ids) - 1, rows * CONTEXT
    for begin in range(0, predicted, room):
        piece = ids[begin : min(begin + room, predicted) + 1]
        whole = (len(piece) - 1) // CONTEXT * CONTEXT
        # the whole windows of the piece, and then what is left of the text
        for first, last, length in (
            (0, whole, CONTEXT),
            (whole, len(piece) - 1, len(piece) - 1 - whole),
        ):
            if first < last:
                logits = model(piece[first:last].view(-1, length))
                targets = piece[first + 1 : last + 1]
                loss = F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
                total += loss.item()
    return total / predicted, predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="a text file, UTF-8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="stop early")
    parser.add_argument(
        "--train_characters", type=int, help="where the rest begins (nine tenths)"
    )
    options = parser.parse_args()
    if not options.text.is_file():
        parser.error(f"text ({options.text}) must be a file")
    text = options.text.read_text(encoding="utf-8")
    train_ids, val_ids, vocabulary = split(text, options.train_characters)
    for what, ids in (("train on", train_ids), ("predict", val_ids)):
        if len(ids) < CONTEXT + 2:
            parser.error(
                f"characters to {what} ({len(ids)}) must be at least {CONTEXT + 2}"
            )
    model = train(train_ids, vocabulary, options.seed, options.steps)
    loss, predicted = evaluate(model, val_ids)
    said = {
        "seed": options.seed,
        "steps": options.steps,
        "tokens": options.steps * BATCH * CONTEXT,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_characters": len(train_ids),
        "val_characters": predicted,
        "val_loss": loss,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
